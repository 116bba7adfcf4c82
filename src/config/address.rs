//! Addresses as people type them and as the kernel gives them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An IPv6 address and its zone, as in `fe80::1%eth0`: the zone is an interface of this host, by name or number.
pub fn zoned(text: &str) -> Option<(Ipv6Addr, &str)> {
    let (ip, zone) = text.split_once('%')?;
    let is_zone = !zone.is_empty() && !zone.contains(['%', '/', '[', ']']);
    ip.parse().ok().filter(|_| is_zone).map(|ip| (ip, zone))
}

/// Whether it is an address and no name, with a zone or without.
pub fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || zoned(text).is_some()
}

/// A caller by IPv4 at a socket of both families comes as `::ffff:a.b.c.d`: limits, lists and v1 know it as IPv4 only. Zones
/// stay.
pub fn unmapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, addr.port())),
        IpAddr::V6(_) => addr,
    }
}

/// Whether it means something on one network only, so that a zone has to say on which.
pub fn is_link_local(addr: SocketAddr) -> bool {
    matches!(addr, SocketAddr::V6(addr) if addr.ip().is_unicast_link_local())
}

/// Said where [`lacks_zone`], or where the zone is none.
pub const NO_ZONE: &str = "a link-local address needs an interface of this host, as in fe80::1%eth0";

/// Whether it is link-local and no zone stands behind it.
pub fn lacks_zone(addr: SocketAddr) -> bool {
    is_link_local(addr) && matches!(addr, SocketAddr::V6(addr) if addr.scope_id() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_in_ipv6_clothes_is_ipv4_and_zones_stay() {
        for (from, to) in [
            ("[::ffff:10.0.0.5]:9000", "10.0.0.5:9000"),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1"),
            ("10.0.0.5:9000", "10.0.0.5:9000"),
            ("[::1]:9000", "[::1]:9000"),
            ("[fe80::1%3]:9000", "[fe80::1%3]:9000"),
        ] {
            let addr = from.parse().expect("an address");
            assert_eq!(unmapped(addr).to_string(), to);
        }
    }

    #[test]
    fn a_zone_stands_behind_an_ipv6_address_only() {
        assert_eq!(zoned("fe80::1%eth0"), Some((Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), "eth0")));
        for bad in ["fe80::1", "fe80::1%", "fe80::1%a%b", "fe80::1%a/b", "10.0.0.1%eth0", "box%eth0", "%eth0"]
        {
            assert_eq!(zoned(bad), None, "{bad}");
        }
        assert!(is_ip("fe80::1%2") && is_ip("::1") && is_ip("10.0.0.1") && !is_ip("box%2"));
    }
}
