//! Discovery: sockets that receive the group on the interfaces they joined it on, one that sends and picks the interface for
//! each datagram.

use super::{Reactor, token};
use crate::machine::{Fault, Input, Machine};
use mio::net::UdpSocket;
use mio::{Interest, Registry};
use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Sockets that receive: the system bounds how many groups each of them may join (`net.ipv4.igmp_max_memberships`, 20), and
/// every interface counts.
const RECEIVERS: usize = 8;

/// The sockets.
#[derive(Debug)]
pub(super) struct Discovery {
    group: SocketAddrV4,
    /// At least one.
    receive: Vec<UdpSocket>,
    send: Socket,
    /// How many of those that receive have nothing more to give, the first ones.
    drained: usize,
}

impl Discovery {
    fn open(group: SocketAddr) -> io::Result<Discovery> {
        let SocketAddr::V4(group) = group else { return Err(io::ErrorKind::Unsupported.into()) };
        let send = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        send.set_multicast_ttl_v4(1)?;
        send.set_multicast_loop_v4(true)?;
        Ok(Discovery { group, receive: Vec::new(), send, drained: 0 })
    }

    /// One more socket that receives.
    fn add_receiver(&mut self, registry: &Registry) -> io::Result<()> {
        let receive = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        // Several nodes on one box share the port. SO_REUSEPORT would hand each datagram to one of them only.
        receive.set_reuse_address(true)?;
        // Else we would hear the group on interfaces other processes joined it on.
        receive.set_multicast_all_v4(false)?;
        receive.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.group.port()).into())?;
        let mut receive = UdpSocket::from_std(receive.into());
        registry.register(&mut receive, token::DISCOVERY, Interest::READABLE)?;
        self.receive.push(receive);
        Ok(())
    }

    /// Joins the group by the first socket that may join one more.
    fn join(&mut self, interface: u32, addr: Ipv4Addr, registry: &Registry) -> Result<(), Errno> {
        // One that came back with another address may be a member by any of them.
        self.leave(interface, addr);
        for i in 0..RECEIVERS {
            if i == self.receive.len() {
                self.add_receiver(registry)
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            }
            let group = self.group.ip();
            match sockopt::set_ip_add_membership_with_ifindex(&self.receive[i], group, &addr, interface) {
                Err(Errno::NOBUFS) => {}
                Err(Errno::ADDRINUSE) => return Ok(()), // joined already
                result => return result,
            }
        }
        Err(Errno::NOBUFS)
    }

    /// It may be gone with its interface.
    fn leave(&self, interface: u32, addr: Ipv4Addr) {
        for receive in &self.receive {
            let _ = sockopt::set_ip_drop_membership_with_ifindex(receive, self.group.ip(), &addr, interface);
        }
    }

    fn is_readable(&self) -> bool {
        self.drained < self.receive.len()
    }

    /// Address *and* number of the interface: by the number alone a datagram on the loopback has no source.
    fn send(&self, interface: u32, addr: Ipv4Addr, bytes: &[u8]) -> io::Result<usize> {
        sockopt::set_ip_multicast_if_with_ifindex(&self.send, self.group.ip(), &addr, interface)?;
        self.send.send_to(bytes, &self.group.into())
    }
}

impl Reactor {
    pub(super) fn open_discovery(&mut self, group: SocketAddr) {
        self.close_discovery();
        let opened = Discovery::open(group).and_then(|mut discovery| {
            discovery.add_receiver(self.poll.registry())?;
            Ok(discovery)
        });
        match opened {
            Ok(discovery) => {
                self.discovery = Some(discovery);
                self.answer(Input::DiscoveryOpened);
            }
            Err(error) => self.answer(Input::DiscoveryFailed { fault: Fault::of(&error) }),
        }
    }

    pub(super) fn close_discovery(&mut self) {
        for mut receive in self.discovery.take().into_iter().flat_map(|discovery| discovery.receive) {
            let _ = self.poll.registry().deregister(&mut receive);
        }
    }

    pub(super) fn join_group(&mut self, interface: u32, addr: Ipv4Addr) {
        let Some(discovery) = &mut self.discovery else { return };
        if let Err(errno) = discovery.join(interface, addr, self.poll.registry()) {
            // The node says it, once; here it would be said with each try.
            log::debug!("cannot join the group on the interface of {addr}: {errno}");
            self.answer(Input::JoinFailed { interface, fault: super::beneath::fault(errno) });
        }
    }

    pub(super) fn leave_group(&mut self, interface: u32, addr: Ipv4Addr) {
        if let Some(discovery) = &self.discovery {
            discovery.leave(interface, addr);
        }
    }

    pub(super) fn send_datagram(&mut self, interface: u32, addr: Ipv4Addr, bytes: &[u8]) {
        let Some(discovery) = &self.discovery else { return };
        // hostile: 49. Nobody waits for a datagram; the next period sends another.
        if let Err(error) = discovery.send(interface, addr, bytes) {
            self.stats.datagrams_unsent += 1;
            log::debug!("a datagram could not be sent from {addr}: {error}");
        }
    }

    pub(super) fn discovery_event(&mut self) {
        if let Some(discovery) = &mut self.discovery {
            discovery.drained = 0;
        }
    }

    pub(super) fn discovery_waits(&self) -> bool {
        self.discovery.as_ref().is_some_and(Discovery::is_readable)
    }

    /// A bounded number of datagrams.
    pub(super) fn datagrams_turn(&mut self, machine: &mut dyn Machine) {
        // One byte more than is looked at tells that a datagram is longer.
        let mut bytes = vec![0; if self.discovery_waits() { self.limits.datagram_max + 1 } else { 0 }];
        for _ in 0..self.limits.datagrams_per_turn {
            let Some(discovery) = &mut self.discovery else { return };
            let Some(receive) = discovery.receive.get(discovery.drained) else { return };
            match receive.recv_from(&mut bytes) {
                Ok((len, from)) if len > 0 && len < bytes.len() => {
                    self.stats.datagrams += 1;
                    let now = self.clock.now();
                    machine.handle_input(now, Input::Datagram { from, bytes: &bytes[..len] });
                    self.drain(machine);
                }
                Ok(_) => self.stats.datagrams_dropped += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => discovery.drained += 1,
                // hostile: 50. An error of an earlier datagram (ICMP) is reported once; the next call goes on.
                Err(_) => self.stats.datagrams_dropped += 1,
            }
        }
    }
}
