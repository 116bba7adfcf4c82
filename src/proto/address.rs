//! The address rule: one function decides which addresses a node remembers, gives out and dials. It is asked when an
//! address comes in and again before each dial, because interfaces come and go.
//!
//! Whoever names an address could have us dial a stranger's service or one of our own that trusts the inside. So the
//! less a source proves, the less it may name: see [`Learned`].

use crate::machine::Interface;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Well-known services above port 1024 (databases, caches, search, remote control): neither a registry nor another
/// node may point us there.
const SERVICE_PORTS: [u16; 16] =
    [1433, 1521, 2049, 2375, 2376, 3306, 3389, 5432, 5900, 5984, 6379, 9042, 9200, 9300, 11211, 27017];

/// Where an address comes from, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The operator typed it.
    Operator,
    /// It is the source of a connection that was made to us, so packets to it arrive.
    Observed,
    /// A datagram advertised it.
    Multicast {
        /// Where the datagram came from.
        source: IpAddr,
    },
    /// A registry listed it.
    Registry {
        /// Where the registry itself was reached.
        at: IpAddr,
    },
    /// Another node named it, as one that follows the same file. Judged as a registry's.
    Member {
        /// Where that node was reached.
        at: IpAddr,
    },
}

/// What an address is judged against: where we are.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// Our interfaces.
    pub interfaces: &'a [Interface],
    /// Where we listen; unspecified: on every address.
    pub listen: SocketAddr,
}

/// Why an address is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Port 0.
    PortZero,
    /// A port below 1024 that the operator did not name.
    LowPort,
    /// A port of a well-known service.
    ServicePort,
    /// 0.0.0.0 or ::.
    Unspecified,
    /// A multicast group.
    Multicast,
    /// The broadcast address of all networks or of one of ours.
    Broadcast,
    /// The address of one of our networks itself.
    Network,
    /// A range that no host has.
    Reserved,
    /// A range for examples in documents, and not one of our own networks.
    Documentation,
    /// Loopback, from a source that cannot mean this host.
    Loopback,
    /// Private or link-local, from a registry or another node that does not share our site.
    Private,
    /// Our own listening address.
    Own,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::PortZero => "port 0 cannot be dialled",
            Refused::LowPort => "ports below 1024 are dialled only when the operator names them",
            Refused::ServicePort => "the port is that of a well-known service",
            Refused::Unspecified => "the address is unspecified",
            Refused::Multicast => "the address is a multicast group",
            Refused::Broadcast => "the address is a broadcast address",
            Refused::Network => "the address is that of a network, not of a host",
            Refused::Reserved => "the address is in a reserved range",
            Refused::Documentation => "the address is in a range for documentation",
            Refused::Loopback => "a loopback address is meaningless from another host",
            Refused::Private => "who named it is outside, whose private addresses are not ours",
            Refused::Own => "the address is this node's own",
        })
    }
}

impl std::error::Error for Refused {}

/// The one reader of addresses that others wrote: IPv4 without leading zeros, IPv6 without zone, no blanks, no names.
/// IPv4 in IPv6 clothes comes out as IPv4.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(normalise)
}

/// Undresses IPv4 from the forms of IPv6 that carry it (mapped, compatible, NAT64, 6to4): a filter that only knew the
/// outer form would let `::ffff:127.0.0.1` through.
pub fn normalise(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let embedded = |hi: u16, lo: u16| IpAddr::V4(Ipv4Addr::from(u32::from(hi) << 16 | u32::from(lo)));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => embedded(g, h),
        [0, 0, 0, 0, 0, 0] if g != 0 => embedded(g, h),
        [0x2002, hi, lo, ..] => embedded(hi, lo),
        _ => ip,
    }
}

/// Whether `candidate` may be used, and the address to use in its place.
///
/// # Errors
/// The first rule that refuses it.
pub fn admit(candidate: SocketAddr, learned: Learned, here: &Here<'_>) -> Result<SocketAddr, Refused> {
    let ip = match learned {
        // An operator behind NAT64 means the NAT64 address; only the mapped form is the same socket in both clothes.
        Learned::Operator => candidate.ip().to_canonical(),
        Learned::Multicast { source } => advertised(normalise(candidate.ip()), normalise(source), here),
        Learned::Observed | Learned::Registry { .. } | Learned::Member { .. } => normalise(candidate.ip()),
    };
    let port = candidate.port();
    // A link-local IPv6 address keeps its scope.
    let addr = if ip == candidate.ip() { candidate } else { SocketAddr::new(ip, port) };
    check_port(port, learned)?;
    check_never(ip, here)?;
    if is_here(addr, here) {
        return Err(Refused::Own);
    }
    if learned != Learned::Operator {
        check_range(ip, here)?;
        check_scope(ip, learned, here)?;
    }
    Ok(addr)
}

/// Whether `ip` is this host.
pub fn is_own(ip: IpAddr, here: &Here<'_>) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || here.interfaces.iter().any(|i| IpAddr::V4(i.addr) == ip) || is_listen(ip, here)
}

/// Whether `addr` is this node: to dial it is to dial ourselves.
pub fn is_here(addr: SocketAddr, here: &Here<'_>) -> bool {
    let everywhere = here.listen.ip().is_unspecified();
    addr.port() == here.listen.port()
        && if everywhere { is_own(addr.ip(), here) } else { is_listen(addr.ip().to_canonical(), here) }
}

/// Whether `ip` is near enough to be free of the limits for strangers: loopback, or inside one of our networks.
pub fn is_local_net(ip: IpAddr, here: &Here<'_>) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || here.interfaces.iter().any(|i| i.contains(ip))
}

/// Old nodes advertise 127.0.0.1 unless told otherwise, and anyone can advertise a stranger: the source counts. From
/// this very host the advertised address does, because a node here may know its public one.
fn advertised(claimed: IpAddr, source: IpAddr, here: &Here<'_>) -> IpAddr {
    if is_own(source, here) { claimed } else { source }
}

fn is_listen(ip: IpAddr, here: &Here<'_>) -> bool {
    !ip.is_unspecified() && here.listen.ip().to_canonical() == ip
}

fn check_port(port: u16, learned: Learned) -> Result<(), Refused> {
    match (port, learned) {
        (0, _) => Err(Refused::PortZero),
        (_, Learned::Operator) => Ok(()),
        (..1024, _) => Err(Refused::LowPort),
        (_, Learned::Registry { .. } | Learned::Member { .. }) if SERVICE_PORTS.contains(&port) => {
            Err(Refused::ServicePort)
        }
        _ => Ok(()),
    }
}

/// What nobody may name, the operator included.
fn check_never(ip: IpAddr, here: &Here<'_>) -> Result<(), Refused> {
    if ip.is_unspecified() {
        return Err(Refused::Unspecified);
    }
    if ip.is_multicast() {
        return Err(Refused::Multicast);
    }
    if ip == IpAddr::V4(Ipv4Addr::BROADCAST) || here.interfaces.iter().any(|i| is_edge(ip, i, u32::MAX)) {
        return Err(Refused::Broadcast);
    }
    Ok(())
}

/// What no host has.
fn check_range(ip: IpAddr, here: &Here<'_>) -> Result<(), Refused> {
    if here.interfaces.iter().any(|i| is_edge(ip, i, 0)) {
        return Err(Refused::Network);
    }
    let (reserved, documentation) = match ip {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            (first == 0 || first >= 240, v4.is_documentation())
        }
        IpAddr::V6(v6) => (is_reserved_v6(v6), is_documentation_v6(v6)),
    };
    if reserved {
        return Err(Refused::Reserved);
    }
    if documentation && !is_local_net(ip, here) {
        return Err(Refused::Documentation);
    }
    Ok(())
}

/// Loopback, private and link-local addresses mean something only where they are from.
fn check_scope(ip: IpAddr, learned: Learned, here: &Here<'_>) -> Result<(), Refused> {
    if ip.is_loopback() {
        let from_here = match learned {
            // A connection from a loopback address was made on this host.
            Learned::Operator | Learned::Observed => true,
            Learned::Multicast { source } => is_own(source, here),
            Learned::Registry { at } | Learned::Member { at } => at.to_canonical().is_loopback(),
        };
        return if from_here { Ok(()) } else { Err(Refused::Loopback) };
    }
    if let Learned::Registry { at } | Learned::Member { at } = learned {
        let at = normalise(at);
        let of_our_site = is_site(at) || at.is_loopback() || is_local_net(ip, here);
        if is_site(ip) && !of_our_site {
            return Err(Refused::Private);
        }
    }
    Ok(())
}

/// Private, shared (carrier) and link-local ranges: the same numbers are other hosts elsewhere.
fn is_site(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xC0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Discard-only, Teredo and local NAT64: they reach no node, or another one than they say.
fn is_reserved_v6(ip: Ipv6Addr) -> bool {
    matches!(ip.segments(), [0x100, 0, 0, 0, ..] | [0x2001, 0, ..] | [0x64, 0xff9b, 1, ..])
}

fn is_documentation_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    (a == 0x2001 && b == 0xdb8) || (a == 0x3fff && b < 0x1000)
}

/// Whether `ip` is in the interface's network with all host bits as in `host_bits`. Networks of one or two addresses
/// have neither a broadcast nor a network address.
fn is_edge(ip: IpAddr, interface: &Interface, host_bits: u32) -> bool {
    let IpAddr::V4(v4) = ip else { return false };
    if interface.prefix > 30 || !interface.contains(ip) {
        return false;
    }
    let mask = u32::MAX >> interface.prefix;
    u32::from(v4) & mask == host_bits & mask
}

#[cfg(test)]
mod tests;
