//! Hosts, their interfaces, the segments these are on, and who cannot hear whom.

use crate::ids::{HostId, LanId, SockId};
use distrishare::machine::Interface;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// A network interface; the loopback has no segment.
#[derive(Clone, Debug)]
pub(crate) struct Iface {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) addr: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) lan: Option<LanId>,
    pub(crate) up: bool,
}

/// A machine.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) ifaces: Vec<Iface>,
    /// Has power.
    pub(crate) up: bool,
    /// Behind a firewall: nobody reaches it who was not dialled from there.
    pub(crate) deaf: bool,
    /// Nanoseconds per byte sent; 8 is a gigabit.
    pub(crate) byte_ns: u64,
    /// When its link has sent what was given to it, in microseconds.
    pub(crate) link_free: u64,
    /// Its connections share that rate in turn, and these wait for theirs. Else who comes first is first.
    pub(crate) shaped: bool,
    pub(crate) waiting: VecDeque<SockId>,
    pub(crate) link_armed: bool,
    /// Microseconds from its network to another host's, least and most.
    pub(crate) latency: (u64, u64),
    next_port: u16,
}

/// The hosts and what lies between them.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    pub(crate) hosts: Vec<Host>,
    lans: usize,
    by_addr: BTreeMap<Ipv4Addr, HostId>,
    /// From the first nothing gets to the second.
    blocked: BTreeSet<(HostId, HostId)>,
    /// Hosts without a common segment reach each other through routers.
    pub(crate) routed: bool,
}

/// The way from one host to an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) host: HostId,
    pub(crate) source: Ipv4Addr,
}

impl Topology {
    pub(crate) fn add_lan(&mut self) -> LanId {
        self.lans += 1;
        LanId(self.lans - 1)
    }

    /// A host with the loopback and one interface per segment: 10.LAN.x.y/16, where x.y counts the hosts.
    pub(crate) fn add_host(&mut self, lans: &[LanId]) -> HostId {
        let host = HostId(self.hosts.len());
        let [.., high, low] = (host.0 as u32 + 1).to_be_bytes();
        let lo =
            Iface { index: 1, name: "lo".into(), addr: Ipv4Addr::LOCALHOST, prefix: 8, lan: None, up: true };
        let mut ifaces = vec![lo];
        for (i, &lan) in lans.iter().enumerate() {
            let addr = Ipv4Addr::new(10, lan.0 as u8, high, low);
            self.by_addr.insert(addr, host);
            let (index, name) = (i as u32 + 2, format!("eth{i}"));
            ifaces.push(Iface { index, name, addr, prefix: 16, lan: Some(lan), up: true });
        }
        self.hosts.push(Host {
            ifaces,
            up: true,
            deaf: false,
            byte_ns: 8,
            link_free: 0,
            shaped: false,
            waiting: VecDeque::new(),
            link_armed: false,
            latency: (50, 500),
            next_port: 32_768,
        });
        host
    }

    /// Gives an interface another address, as DHCP does.
    pub(crate) fn set_addr(&mut self, host: HostId, index: u32, addr: Ipv4Addr) {
        let iface = self.hosts[host.0].ifaces.iter_mut().find(|i| i.index == index).expect("interface");
        self.by_addr.remove(&iface.addr);
        iface.addr = addr;
        self.by_addr.insert(addr, host);
    }

    pub(crate) fn host(&self, host: HostId) -> &Host {
        &self.hosts[host.0]
    }

    pub(crate) fn host_mut(&mut self, host: HostId) -> &mut Host {
        &mut self.hosts[host.0]
    }

    /// The host's first address that others can reach, or the loopback's.
    pub(crate) fn addr(&self, host: HostId) -> Ipv4Addr {
        let ifaces = &self.hosts[host.0].ifaces;
        ifaces.get(1).unwrap_or(&ifaces[0]).addr
    }

    pub(crate) fn iface(&self, host: HostId, index: u32) -> Option<&Iface> {
        self.hosts[host.0].ifaces.iter().find(|i| i.index == index)
    }

    pub(crate) fn set_link(&mut self, host: HostId, index: u32, up: bool) {
        if let Some(iface) = self.hosts[host.0].ifaces.iter_mut().find(|i| i.index == index) {
            iface.up = up;
        }
    }

    /// The list as the kernel tells it: what is up.
    pub(crate) fn interfaces(&self, host: HostId) -> Vec<Interface> {
        let up = self.hosts[host.0].ifaces.iter().filter(|i| i.up);
        up.map(|i| Interface {
            index: i.index,
            name: i.name.clone(),
            addr: i.addr,
            prefix: i.prefix,
            multicast: true,
        })
        .collect()
    }

    pub(crate) fn ephemeral(&mut self, host: HostId) -> u16 {
        let host = &mut self.hosts[host.0];
        host.next_port = if host.next_port >= 60_999 { 32_768 } else { host.next_port + 1 };
        host.next_port
    }

    /// Whether `host` may listen on `ip`.
    pub(crate) fn owns(&self, host: HostId, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => ip.is_loopback() || self.hosts[host.0].ifaces.iter().any(|i| i.addr == ip),
            IpAddr::V6(ip) => ip.is_unspecified(),
        }
    }

    /// `None`: there is no way (ENETUNREACH). The host at the other end may still be down or deaf.
    pub(crate) fn route(&self, from: HostId, to: SocketAddr) -> Result<Route, NoRoute> {
        let IpAddr::V4(to) = to.ip() else { return Err(NoRoute::Unreachable) };
        let ours = &self.hosts[from.0].ifaces;
        if to.is_loopback() || to.is_unspecified() {
            return Ok(Route { host: from, source: Ipv4Addr::LOCALHOST });
        }
        if ours.iter().any(|i| i.up && i.addr == to) {
            return Ok(Route { host: from, source: to });
        }
        let mut up = ours.iter().filter(|i| i.up && i.lan.is_some());
        let host = self.by_addr.get(&to).copied();
        let lan = host.and_then(|h| self.hosts[h.0].ifaces.iter().find(|i| i.addr == to)?.lan);
        let shared = up.clone().find(|i| i.lan == lan);
        match (shared.or_else(|| up.next().filter(|_| self.routed)), host) {
            (Some(_), Some(host)) if self.hosts[host.0].deaf => Err(NoRoute::Silence),
            (Some(via), Some(host)) => Ok(Route { host, source: via.addr }),
            // Nobody answers for that address: the packets go nowhere.
            (Some(_), None) => Err(NoRoute::Silence),
            (None, _) if ours.iter().any(|i| i.up && on_link(i, to)) => Err(NoRoute::Silence),
            (None, _) => Err(NoRoute::Unreachable),
        }
    }

    /// Whether a packet gets from `a`'s address to `b`'s now.
    pub(crate) fn passes(&self, a: HostId, a_addr: SocketAddr, b: HostId, b_addr: SocketAddr) -> bool {
        let up = |host: HostId, addr: SocketAddr| {
            let host = &self.hosts[host.0];
            host.up && (addr.ip().is_loopback() || host.ifaces.iter().any(|i| i.up && i.addr == addr.ip()))
        };
        up(a, a_addr) && up(b, b_addr) && self.hears(a, b)
    }

    /// Whether what `a` sends is not cut off from `b` by a partition.
    pub(crate) fn hears(&self, a: HostId, b: HostId) -> bool {
        a == b || !self.blocked.contains(&(a, b))
    }

    /// Cuts, or joins again, the way from `a` to `b`.
    pub(crate) fn block(&mut self, a: HostId, b: HostId, cut: bool) {
        if cut {
            self.blocked.insert((a, b));
        } else {
            self.blocked.remove(&(a, b));
        }
    }

    /// Everything up, nothing cut.
    pub(crate) fn heal(&mut self) {
        self.blocked.clear();
        for host in &mut self.hosts {
            host.up = true;
            host.ifaces.iter_mut().for_each(|i| i.up = true);
        }
    }
}

/// Why there is no [`Route`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    Unreachable,
    Silence,
}

fn on_link(iface: &Iface, ip: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(iface.prefix)).unwrap_or(0);
    u32::from(iface.addr) & mask == u32::from(ip) & mask
}

/// `ip:port`, shorter than the type's own constructor.
pub(crate) fn at(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(ip, port))
}
