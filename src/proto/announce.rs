//! HELLO and GOODBYE, as the original's nodes shout them to the multicast group.

use crate::config::parse_port;
use std::net::{IpAddr, Ipv4Addr};

/// Longest announcement we send, in bytes.
pub const ANNOUNCE_MAX: usize = 64;

/// A datagram of the v1 group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// The sender is there.
    Hello(Sender),
    /// The sender leaves.
    Goodbye(Sender),
}

/// Who an announcement speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// As advertised: anyone can write anything here, and old nodes write 127.0.0.1. The address rule decides.
    pub ip: IpAddr,
    /// Where it listens.
    pub port: u16,
}

/// Reads a whole datagram: three fields, joined by colons as the original sends them or by single blanks as its
/// description has it. Anything else is none. Only IPv4 fits between colons, and the group is IPv4.
pub fn parse(bytes: &[u8]) -> Option<Announce> {
    if bytes.len() > ANNOUNCE_MAX {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let separator = if text.contains(':') { ':' } else { ' ' };
    let mut fields = text.split(separator);
    let (word, ip, port, None) = (fields.next()?, fields.next()?, fields.next()?, fields.next()) else {
        return None;
    };
    let sender = Sender { ip: IpAddr::V4(ip.parse::<Ipv4Addr>().ok()?), port: parse_port(port)? };
    match word {
        "HELLO" => Some(Announce::Hello(sender)),
        "GOODBYE" => Some(Announce::Goodbye(sender)),
        _ => None,
    }
}

/// The datagram, with colons. An IPv6 sender can be written, but then has too many fields for every reader.
pub fn encode(announce: &Announce) -> Vec<u8> {
    let (word, Sender { ip, port }) = match announce {
        Announce::Hello(sender) => ("HELLO", sender),
        Announce::Goodbye(sender) => ("GOODBYE", sender),
    };
    format!("{word}:{ip}:{port}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sender(ip: [u8; 4], port: u16) -> Sender {
        Sender { ip: IpAddr::V4(ip.into()), port }
    }

    #[test]
    fn both_spellings_are_read() {
        let hello = Some(Announce::Hello(sender([192, 168, 1, 42], 9100)));
        assert_eq!(parse(b"HELLO:192.168.1.42:9100"), hello);
        assert_eq!(parse(b"HELLO 192.168.1.42 9100"), hello);
        assert_eq!(parse(b"GOODBYE:127.0.0.1:65535"), Some(Announce::Goodbye(sender([127, 0, 0, 1], 65535))));
        assert_eq!(encode(&Announce::Hello(sender([10, 0, 0, 5], 9000))), b"HELLO:10.0.0.5:9000");
        assert_eq!(encode(&Announce::Goodbye(sender([10, 0, 0, 5], 9000))), b"GOODBYE:10.0.0.5:9000");
    }

    #[test]
    fn anything_else_is_none() {
        let bad: [&[u8]; 37] = [
            b"", // hostile: 33
            b"\xFF\xFE",
            b"\x00\x01\x02",
            b"HELLO:1.2.3.4:90\xC3", // hostile: 34
            &[b'A'; 513],
            &[b':'; 1024], // hostile: 35
            b"HELLO:1.2.3.4",
            b"HELLO:1.2.3.4:",
            b"HELLO::9001",
            b"HELLO:1.2.3.4:9001:9", // hostile: 36
            b"HELLO:1.2.3.4:-5",
            b"HELLO:1.2.3.4:0",
            b"HELLO:1.2.3.4:65536",
            b"HELLO:1.2.3.4:999999999999",
            "HELLO:1.2.3.4:٣٤".as_bytes(),
            b"HELLO:1.2.3.4:+80",
            b"HELLO:1.2.3.4: 80",
            b"HELLO:1.2.3.4:0x50", // hostile: 37
            b"HELLO:victim.example.com:25",
            b"HELLO:localhost:9000", // hostile: 38
            b"HELLO:1.2.3.4:9001\x1b]0;pwn\x07",
            b"HELLO:1.2.3.4:9001\n",
            b"HELLO:1.2.3.4:9001\0", // hostile: 46
            b"\nHELLO:1.2.3.4:9001",
            b" HELLO:1.2.3.4:9001",
            b"hello:1.2.3.4:9001",
            b"HELLO:01.2.3.4:9001",
            b"HELLO:1.2.3:9001",
            b"HELLO:::1:9001",
            b"HELLO ::1 9001",
            b"HELLO  1.2.3.4 9001",
            b"HELLO 1.2.3.4 9001 ",
            b"HELLO 1.2.3.4:9001",
            b"HELLO\t1.2.3.4\t9001",
            b"DS2:1.2.3.4:9001",
            b"HELLO",
            b"::",
        ];
        for bytes in bad {
            assert_eq!(parse(bytes), None, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn what_we_send_is_short_ascii(ip: IpAddr, port: u16, hello: bool) {
            // hostile: 51
            let announce = if hello { Announce::Hello(Sender { ip, port }) } else { Announce::Goodbye(Sender { ip, port }) };
            let bytes = encode(&announce);
            prop_assert!(bytes.is_ascii() && bytes.len() <= ANNOUNCE_MAX);
            prop_assert!(bytes.iter().all(|b| b.is_ascii_graphic()));
            let readable = ip.is_ipv4() && port != 0;
            prop_assert_eq!(parse(&bytes), readable.then_some(announce));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(announce) = parse(&bytes) {
                let blanks: Vec<u8> = encode(&announce).iter().map(|&b| if b == b':' { b' ' } else { b }).collect();
                prop_assert!(bytes.len() <= ANNOUNCE_MAX && (bytes.starts_with(b"HELLO") || bytes.starts_with(b"GOODBYE")));
                prop_assert_eq!(blanks.iter().filter(|&&b| b == b' ').count(), 2);
            }
        }
    }
}
