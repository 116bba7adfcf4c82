//! What v2 nodes shout to the multicast group (docs/PROTOCOL.md, section 6), in a form that the original ignores: a word
//! of its own, no colon, nothing but ASCII. It is sealed with a key made from the group's, so a stranger can neither
//! read, forge nor change it; what a stranger can do is send a recorded one again, which [`Replay`] tells.
//!
//! Without a group the key is public: then the seal is a checksum, and an announcement is worth what a HELLO is.

use super::identity::NodeId;
use crate::config::Key;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Bytes of a datagram, all of them ASCII.
pub const ANNOUNCEMENT_LEN: usize = PREFIX.len() + 2 * SEALED;

/// The original splits at colons and wants three fields: this is one.
const PREFIX: &[u8] = b"DS2 ";
/// Of the key, so that the group key itself never seals anything.
const CONTEXT: &str = "DistriShare v2 announcement";
const VERSION: u8 = 1;
const HELLO: u8 = 1;
const GOODBYE: u8 = 2;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Version, kind, flags, instance, sequence, node, address, port.
const PLAIN: usize = 3 + 8 + 8 + 32 + 4 + 2;
const SEALED: usize = NONCE + PLAIN + TAG;

/// Instances of one node that are remembered: replays of what an earlier one said are told, too.
const INSTANCES: usize = 4;

/// A node says where it is, or that it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// It leaves; otherwise it is there.
    pub goodbye: bool,
    /// Drawn at each start of the node.
    pub instance: u64,
    /// Grows with each datagram of that instance, on whichever interface.
    pub sequence: u64,
    /// Who it is.
    pub node: NodeId,
    /// Where it listens: the address of the interface the datagram left by, and a port that is not 0. The address rule
    /// decides whether to believe it.
    pub addr: SocketAddrV4,
}

/// Seals and opens the announcements of one group, or of all open nodes.
pub struct AnnouncementKey(LessSafeKey);

impl AnnouncementKey {
    /// The key of a group; none: of open nodes, which everybody knows.
    pub fn new(group: Option<&Key>) -> AnnouncementKey {
        let secret = group.map_or([0; 32], |key| *key.reveal());
        let key = blake3::derive_key(CONTEXT, &secret);
        // constant: the cipher's keys have 32 bytes
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).expect("32 bytes");
        AnnouncementKey(LessSafeKey::new(key))
    }

    /// The datagram. `nonce` must be drawn anew for each: all members seal with the same key.
    pub fn seal(&self, announcement: &Announcement, nonce: [u8; NONCE]) -> Vec<u8> {
        let Announcement { goodbye, instance, sequence, node, addr } = announcement;
        let mut sealed = Vec::with_capacity(PLAIN + TAG);
        sealed.extend([VERSION, if *goodbye { GOODBYE } else { HELLO }, 0]);
        sealed.extend(instance.to_le_bytes());
        sealed.extend(sequence.to_le_bytes());
        sealed.extend(node.as_bytes());
        sealed.extend(addr.ip().octets());
        sealed.extend(addr.port().to_le_bytes());
        let nonced = Nonce::assume_unique_for_key(nonce);
        // constant: the cipher seals up to 2^38 bytes
        self.0.seal_in_place_append_tag(nonced, Aad::from(PREFIX), &mut sealed).expect("57 bytes");
        let mut datagram = Vec::with_capacity(ANNOUNCEMENT_LEN);
        datagram.extend(PREFIX);
        datagram.extend(nonce.iter().chain(&sealed).flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
        datagram
    }

    /// Reads a whole datagram. Anything but an announcement of this group and version, written exactly as
    /// [`AnnouncementKey::seal`] does, is none.
    pub fn open(&self, datagram: &[u8]) -> Option<Announcement> {
        let digits: &[u8; 2 * SEALED] = datagram.strip_prefix(PREFIX)?.try_into().ok()?;
        let mut bytes = [0; SEALED];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut rest: &[u8] = self.0.open_in_place(nonce, Aad::from(PREFIX), sealed).ok()?;
        let [version, kind, flags] = take(&mut rest)?;
        let goodbye = kind == GOODBYE;
        if version != VERSION || !(goodbye || kind == HELLO) || flags != 0 {
            return None;
        }
        let instance = u64::from_le_bytes(take(&mut rest)?);
        let sequence = u64::from_le_bytes(take(&mut rest)?);
        let node = NodeId::from_bytes(take(&mut rest)?);
        let ip = Ipv4Addr::from(take::<4>(&mut rest)?);
        let port = u16::from_le_bytes(take(&mut rest)?);
        let announcement =
            Announcement { goodbye, instance, sequence, node, addr: SocketAddrV4::new(ip, port) };
        (port != 0 && rest.is_empty()).then_some(announcement)
    }
}

impl fmt::Debug for AnnouncementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnnouncementKey(…)")
    }
}

/// The first `N` bytes, which `rest` loses.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*first)
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// Lower case only: one announcement has one spelling.
fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// What an announcement that could be opened is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// A HELLO of a node, or of an instance of it, that was not the one last heard.
    New,
    /// The next word of the instance last heard; a GOODBYE that may be believed.
    Next,
    /// Heard before, too late, or a GOODBYE out of nowhere: ignore it.
    Stale,
}

/// Tells announcements from their recordings. A datagram is good for one use; a GOODBYE counts only of the instance
/// last heard.
///
/// **What it cannot tell:** a recording of an instance that it never heard, or has forgotten. Such a HELLO is believed
/// until the node's own next one; such a GOODBYE only right after such a HELLO, and for as long.
#[derive(Clone, Debug)]
pub struct Replay {
    capacity: usize,
    heard: BTreeMap<Speaker, Heard>,
    /// The same, the one longest silent first.
    order: BTreeMap<u64, Speaker>,
    turn: u64,
}

/// A node at one of its addresses. What it says at the same time on two networks that we share may come in any order.
type Speaker = (NodeId, SocketAddrV4);

#[derive(Clone, Debug)]
struct Heard {
    /// Its key in `order`.
    turn: u64,
    /// Instance and highest sequence, the last heard first; [`INSTANCES`] at most.
    instances: Vec<(u64, u64)>,
}

impl Replay {
    /// Remembers up to `capacity` nodes, each address of one counted, at least one; then the one longest silent is forgotten.
    pub fn new(capacity: usize) -> Replay {
        Replay { capacity: capacity.max(1), heard: BTreeMap::new(), order: BTreeMap::new(), turn: 0 }
    }

    /// Judges an announcement and remembers it.
    pub fn fresh(&mut self, announcement: &Announcement) -> Fresh {
        let Announcement { goodbye, instance, sequence, node, addr } = *announcement;
        let speaker = (node, addr);
        let mut instances = match self.heard.get(&speaker) {
            Some(heard) => heard.instances.clone(),
            None => Vec::new(),
        };
        let known = instances.iter().position(|&(known, _)| known == instance);
        if known.is_some_and(|at| sequence <= instances[at].1) || (goodbye && known != Some(0)) {
            return Fresh::Stale;
        }
        if let Some(at) = known {
            instances.remove(at);
        }
        instances.insert(0, (instance, sequence));
        instances.truncate(INSTANCES);
        self.keep(speaker, instances);
        if known == Some(0) { Fresh::Next } else { Fresh::New }
    }

    /// Nodes remembered, each address of one counted.
    pub fn len(&self) -> usize {
        self.heard.len()
    }

    /// Whether nobody was heard yet.
    pub fn is_empty(&self) -> bool {
        self.heard.is_empty()
    }

    fn keep(&mut self, speaker: Speaker, instances: Vec<(u64, u64)>) {
        self.turn += 1;
        let turn = self.turn;
        if let Some(before) = self.heard.insert(speaker, Heard { turn, instances }) {
            self.order.remove(&before.turn);
        }
        self.order.insert(turn, speaker);
        if self.heard.len() > self.capacity {
            if let Some((_, oldest)) = self.order.pop_first() {
                self.heard.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests;
