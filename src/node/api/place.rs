//! Where a node is, as events tell it.

use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::fmt;
use std::net::SocketAddr;

/// An address of a node. In JSON two keys, `ip` and `port`; a link-local `ip` has the zone that it means something in, by its number
/// (`fe80::1%2`), as it can be typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) SocketAddr);

impl From<SocketAddr> for Place {
    fn from(addr: SocketAddr) -> Place {
        Place(addr)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the address's own: its flow label is nothing to be typed.
        match (self.0, Host(self.0)) {
            (SocketAddr::V4(addr), _) => addr.fmt(f),
            (SocketAddr::V6(addr), host) => f.pad(&format!("[{host}]:{}", addr.port())),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut place = serializer.serialize_struct("Place", 2)?;
        place.serialize_field("ip", &format_args!("{}", Host(self.0)))?;
        place.serialize_field("port", &self.0.port())?;
        place.end()
    }
}

/// An address without its port.
struct Host(SocketAddr);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SocketAddr::V6(addr) if addr.scope_id() != 0 => write!(f, "{}%{}", addr.ip(), addr.scope_id()),
            addr => addr.ip().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddrV6;

    #[test]
    fn a_place_is_told_as_it_can_be_typed() {
        for (addr, text, json) in [
            ("10.0.0.5:1", "10.0.0.5:1", r#"{"ip":"10.0.0.5","port":1}"#),
            ("[2001:db8::1]:2", "[2001:db8::1]:2", r#"{"ip":"2001:db8::1","port":2}"#),
            ("[fe80::1%3]:9000", "[fe80::1%3]:9000", r#"{"ip":"fe80::1%3","port":9000}"#),
        ] {
            let place = Place(addr.parse().unwrap());
            assert_eq!(
                (place.to_string(), serde_json::to_string(&place).unwrap()),
                (text.into(), json.into())
            );
            assert_eq!(format!("{place:<20}|"), format!("{text:<20}|"));
        }
        let labelled = SocketAddrV6::new("fe80::1".parse().unwrap(), 9000, 7, 3);
        assert_eq!(Place(labelled.into()).to_string(), "[fe80::1%3]:9000");
    }
}
