//! Where to listen, as it was typed.

use super::host::with_zone;
use super::{Result, wrong};
use crate::config::{NO_ZONE, is_link_local, lacks_zone, parse_port, zoned};
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// A port; 0 is any free one.
pub(super) fn port_of(text: &str) -> Result<u16> {
    match (text, parse_port(text)) {
        ("0", _) => Ok(0),
        (_, Some(port)) => Ok(port),
        _ if text.parse::<SocketAddr>().is_ok() => {
            let (ip, port) = text.rsplit_once(':').unwrap_or((text, ""));
            wrong(format!(
                "`{text}`: give address and port as two words: {} {port}",
                ip.trim_matches(['[', ']'])
            ))
        }
        _ => wrong(format!("`{text}` is no port: give a number from 1 to 65535, or 0 for any free one")),
    }
}

/// An address, with the zone that a link-local one needs.
pub(super) fn address_of(text: &str, port: u16) -> Result<SocketAddr> {
    let addr = match (zoned(text), text.parse::<IpAddr>()) {
        (Some(_), _) => with_zone(text, port),
        (None, Ok(ip)) => Some(SocketAddr::new(ip, port)),
        (None, Err(_)) => {
            return wrong(format!("`{text}` is no address of a host: give one like 192.168.1.42"));
        }
    };
    match addr {
        Some(addr) if addr.ip().is_multicast() => {
            wrong(format!("`{text}` is no address of a host: give one like 192.168.1.42"))
        }
        Some(addr) if !lacks_zone(addr) => Ok(addr),
        _ => wrong(format!("`{text}`: {NO_ZONE}")),
    }
}

/// Where a node listens that was given this address, and what it announces: ours, or one that leads here as a router's public one
/// does.
pub(super) fn listen_at(given: SocketAddr, any: SocketAddr) -> Result<(SocketAddr, Option<IpAddr>)> {
    match given.ip() {
        ip if ip.is_unspecified() || is_here(given) => Ok((given, None)),
        _ if is_link_local(given) => {
            wrong(format!("{given}: a link-local address must be this host's, and it is not one there"))
        }
        ip => Ok((any, Some(ip))),
    }
}

/// Whether an address is one of this host's: only then can a socket be bound to it.
fn is_here(mut addr: SocketAddr) -> bool {
    addr.set_port(0);
    UdpSocket::bind(addr).is_ok()
}
