//! The handshake without a curve, for the simulator: the same messages, lengths and refusals, and no secrecy at all.
//! Static keys cross in clear and nobody proves that one is his own; tags are a keyed hash of everything before them,
//! so that another group's key and every changed byte are noticed as with the real one.

use super::HandshakeError;
use super::noise::Parts;
use crate::config::Key;
use crate::proto::v2::identity::NodeId;
use crate::proto::v2::preamble;

const KEY: usize = 32;
const TAG: usize = 16;

pub(super) struct Null {
    /// Over all that was said.
    hash: [u8; 32],
    ephemeral: [u8; KEY],
    id: NodeId,
    remote: Option<NodeId>,
    /// The number of the next message.
    next: u8,
    /// In a group, the first message has a tag, too.
    group: bool,
}

impl Null {
    pub(super) fn new(parts: &Parts<'_>) -> Null {
        let key = blake3::derive_key("DistriShare v2 null", &preamble::group_key(parts.group));
        Null {
            hash: *blake3::keyed_hash(&key, parts.prologue).as_bytes(),
            ephemeral: *parts.ephemeral.reveal(),
            id: parts.identity.id(),
            remote: None,
            next: 1,
            group: parts.group.is_some(),
        }
    }

    pub(super) fn write(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        let number = self.turn();
        if number < 3 {
            let ephemeral = self.ephemeral;
            self.put(&mut message, &ephemeral, false);
        }
        if number > 1 {
            let id = self.id;
            self.put(&mut message, id.as_bytes(), true);
        }
        self.put(&mut message, payload, number > 1 || self.group);
        message
    }

    pub(super) fn read(&mut self, mut message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        let number = self.turn();
        if number < 3 {
            self.take_key(&mut message, false)?;
        }
        if number > 1 {
            self.remote = Some(NodeId::from_bytes(self.take_key(&mut message, true)?));
        }
        let tagged = number > 1 || self.group;
        let len = message.len().checked_sub(if tagged { TAG } else { 0 }).ok_or(HandshakeError::Decrypt)?;
        self.take(&mut message, len, tagged).map(<[u8]>::to_vec)
    }

    pub(super) fn remote(&self) -> Option<NodeId> {
        self.remote
    }

    pub(super) fn split(self) -> (Key, Key) {
        let half = |name: &[u8]| Key::new(*blake3::keyed_hash(&self.hash, name).as_bytes());
        debug_assert!(self.next == 4, "a split before the end");
        (half(b"initiator"), half(b"responder"))
    }

    fn turn(&mut self) -> u8 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        number
    }

    fn put(&mut self, message: &mut Vec<u8>, field: &[u8], tagged: bool) {
        message.extend_from_slice(field);
        self.mix(field);
        if tagged {
            message.extend_from_slice(&self.hash[..TAG]);
        }
    }

    fn take_key(&mut self, message: &mut &[u8], tagged: bool) -> Result<[u8; KEY], HandshakeError> {
        let key = self.take(message, KEY, tagged)?.try_into().map_err(|_| HandshakeError::Decrypt)?;
        if key == [0; KEY] { Err(HandshakeError::WeakKey) } else { Ok(key) }
    }

    fn take<'a>(
        &mut self,
        message: &mut &'a [u8],
        len: usize,
        tagged: bool,
    ) -> Result<&'a [u8], HandshakeError> {
        let (field, rest) = message.split_at_checked(len).ok_or(HandshakeError::Decrypt)?;
        self.mix(field);
        *message = match rest.split_at_checked(TAG) {
            _ if !tagged => rest,
            Some((tag, rest)) if *tag == self.hash[..TAG] => rest,
            _ => return Err(HandshakeError::Decrypt),
        };
        Ok(field)
    }

    fn mix(&mut self, field: &[u8]) {
        self.hash = *blake3::keyed_hash(&self.hash, field).as_bytes();
    }
}
