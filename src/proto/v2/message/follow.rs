//! `have` and `peers`, the answers to `follow`: who has which pieces, and who else wants them.

use super::{Message, MessageError, PIECES_MAX, within};
use crate::config::parse_port;
use crate::proto::address::parse_ip;
use crate::proto::content::GROUP_PIECES;
use crate::proto::v2::identity::hex;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;

/// Bytes of a map: a bit for each piece of a group.
pub const MAP_MAX: usize = (GROUP_PIECES / 8) as usize;
/// Pieces told one by one in one message.
pub const HAVE_MAX: usize = 256;
/// Nodes of one message.
pub const NODES_MAX: usize = 16;

#[derive(Serialize)]
struct OutgoingHave<'a> {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    all: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<String>,
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    pieces: &'a [u64],
}

pub(super) fn put_have(id: u32, all: bool, map: &[u8], pieces: &[u64], out: &mut Vec<u8>) {
    let map = (!map.is_empty()).then(|| hex(map));
    super::put(out, &OutgoingHave { id, all: all.then_some(true), map, pieces });
}

#[derive(Serialize)]
struct OutgoingPeers {
    id: u32,
    nodes: Vec<String>,
}

pub(super) fn put_peers(id: u32, nodes: &[SocketAddr], out: &mut Vec<u8>) {
    // A zone means an interface of this host.
    let nodes = nodes.iter().map(|node| SocketAddr::new(node.ip(), node.port()).to_string()).collect();
    super::put(out, &OutgoingPeers { id, nodes });
}

#[derive(Deserialize)]
pub(super) struct Have<'a> {
    id: u32,
    all: Option<bool>,
    map: Option<Cow<'a, str>>,
    pieces: Option<List<u64, HAVE_MAX>>,
}

pub(super) fn have(Have { id, all, map, pieces }: Have<'_>) -> Result<Message, MessageError> {
    let map = map.map_or(Some(Vec::new()), |map| bytes(&map)).ok_or(MessageError::Map)?;
    let List { kept: pieces, more } = pieces.unwrap_or_default();
    if more {
        return Err(MessageError::TooManyPieces);
    }
    pieces.iter().try_for_each(|&piece| within(piece, 1, PIECES_MAX))?;
    Ok(Message::Have { id, all: all.unwrap_or(false), map, pieces })
}

#[derive(Deserialize)]
pub(super) struct Peers {
    id: u32,
    nodes: List<String, NODES_MAX>,
}

pub(super) fn peers(Peers { id, nodes: List { kept, more } }: Peers) -> Result<Message, MessageError> {
    if more {
        return Err(MessageError::TooManyNodes);
    }
    // One bad entry must not hide the good ones beside it.
    let nodes = kept.iter().filter_map(|text| address(text)).collect();
    Ok(Message::Peers { id, nodes })
}

/// Lower case only: one map has one spelling.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    if digits.len() > 2 * MAP_MAX || digits.len() % 2 != 0 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
    digits
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok())
        .collect()
}

/// `ip:port`, IPv6 in brackets: no names, no zones, no blanks, no port 0.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.rsplit_once(':')?;
    let v6 = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    let ip = v6.unwrap_or(ip);
    if ip.contains(':') != v6.is_some() {
        return None;
    }
    Some(SocketAddr::new(parse_ip(ip)?, parse_port(port)?))
}

/// A list of which at most `MAX` entries are kept.
struct List<T, const MAX: usize> {
    kept: Vec<T>,
    /// There were more.
    more: bool,
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        List { kept: Vec::new(), more: false }
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<List<T, MAX>, D::Error> {
        deserializer.deserialize_seq(Entries(PhantomData))
    }
}

struct Entries<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Entries<T, MAX> {
    type Value = List<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T, MAX>, A::Error> {
        let mut list = List::default();
        while list.kept.len() < MAX {
            let Some(entry) = seq.next_element()? else { return Ok(list) };
            list.kept.push(entry);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            list.more = true;
        }
        Ok(list)
    }
}
