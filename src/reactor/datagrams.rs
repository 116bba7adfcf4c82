//! Discovery: one socket that receives the group on the interfaces it was joined on, one that sends and picks the
//! interface for each datagram.

use super::{Reactor, token};
use crate::machine::{Fault, Input, Machine};
use mio::Interest;
use mio::net::UdpSocket;
use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// The two sockets.
#[derive(Debug)]
pub(super) struct Discovery {
    group: SocketAddrV4,
    receive: UdpSocket,
    send: Socket,
    readable: bool,
}

impl Discovery {
    fn open(group: SocketAddr) -> io::Result<Discovery> {
        let SocketAddr::V4(group) = group else { return Err(io::ErrorKind::Unsupported.into()) };
        let receive = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        // Several nodes on one box share the port. SO_REUSEPORT would hand each datagram to one of them only.
        receive.set_reuse_address(true)?;
        // Else we would hear the group on interfaces other processes joined it on.
        receive.set_multicast_all_v4(false)?;
        receive.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, group.port()).into())?;
        let send = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        send.set_multicast_ttl_v4(1)?;
        send.set_multicast_loop_v4(true)?;
        Ok(Discovery { group, receive: UdpSocket::from_std(receive.into()), send, readable: false })
    }

    fn join(&self, interface: u32, addr: Ipv4Addr) -> Result<(), Errno> {
        match sockopt::set_ip_add_membership_with_ifindex(&self.receive, self.group.ip(), &addr, interface) {
            Err(Errno::ADDRINUSE) => Ok(()), // joined already
            result => result,
        }
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
            self.poll.registry().register(&mut discovery.receive, token::DISCOVERY, Interest::READABLE)?;
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
        if let Some(mut discovery) = self.discovery.take() {
            let _ = self.poll.registry().deregister(&mut discovery.receive);
        }
    }

    pub(super) fn join_group(&mut self, interface: u32, addr: Ipv4Addr) {
        let Some(discovery) = &self.discovery else { return };
        if let Err(errno) = discovery.join(interface, addr) {
            // The node says it, once; here it would be said with each try.
            log::debug!("cannot join the group on the interface of {addr}: {errno}");
            self.answer(Input::JoinFailed { interface, fault: super::beneath::fault(errno) });
        }
    }

    pub(super) fn leave_group(&mut self, interface: u32, addr: Ipv4Addr) {
        let Some(discovery) = &self.discovery else { return };
        let group = discovery.group.ip();
        // Gone with its interface, perhaps.
        let _ = sockopt::set_ip_drop_membership_with_ifindex(&discovery.receive, group, &addr, interface);
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
            discovery.readable = true;
        }
    }

    pub(super) fn discovery_waits(&self) -> bool {
        self.discovery.as_ref().is_some_and(|discovery| discovery.readable)
    }

    /// A bounded number of datagrams.
    pub(super) fn datagrams_turn(&mut self, machine: &mut dyn Machine) {
        // One byte more than is looked at tells that a datagram is longer.
        let mut bytes = vec![0; if self.discovery_waits() { self.limits.datagram_max + 1 } else { 0 }];
        for _ in 0..self.limits.datagrams_per_turn {
            let Some(discovery) = &mut self.discovery else { return };
            if !discovery.readable {
                return;
            }
            match discovery.receive.recv_from(&mut bytes) {
                Ok((len, from)) if len > 0 && len < bytes.len() => {
                    self.stats.datagrams += 1;
                    let now = self.clock.now();
                    machine.handle_input(now, Input::Datagram { from, bytes: &bytes[..len] });
                    self.drain(machine);
                }
                Ok(_) => self.stats.datagrams_dropped += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => discovery.readable = false,
                // hostile: 50. An error of an earlier datagram (ICMP) is reported once; the next call goes on.
                Err(_) => self.stats.datagrams_dropped += 1,
            }
        }
    }
}
