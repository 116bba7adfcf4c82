//! Why a handshake ends.

use crate::proto::v2::preamble::Refused;
use std::fmt;

/// Why a handshake ended without a session. All of them mean: close, and say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The preamble has another magic, or the tag of another group.
    NotOurs,
    /// The preamble is ours and of a version that this node does not know.
    Version(u8),
    /// A frame announces a length outside 1 to 256.
    Frame(u16),
    /// A message does not authenticate, is too short for its keys, or carries what it must not.
    Decrypt,
    /// Somebody sends our bytes back.
    Mirror,
    /// The other side proved that it has our own key: it is this node itself, or one with a copy of its key.
    OwnKey,
    /// A public key gives everybody the same secret: all zeros, or a point of low order.
    WeakKey,
    /// The other side proved its key, and its abilities are not what they must be.
    Payload(&'static str),
    /// The handshake was done before this call.
    Over,
    /// A step failed that cannot: a defect of this program.
    Internal,
}

impl HandshakeError {
    /// Whether the sender proved nothing: it may be anybody, and counts as a stranger.
    pub const fn is_strangers(self) -> bool {
        match self {
            HandshakeError::NotOurs
            | HandshakeError::Version(_)
            | HandshakeError::Frame(_)
            | HandshakeError::Decrypt
            | HandshakeError::WeakKey => true,
            HandshakeError::Mirror
            | HandshakeError::OwnKey
            | HandshakeError::Payload(_)
            | HandshakeError::Over
            | HandshakeError::Internal => false,
        }
    }

    /// Whether a frame's length is really the first two letters of an answer of v1: `ERROR…`, which is what a node says to our
    /// dial that speaks v1 only, or `FOUND` or `NOT_FOUND`.
    pub fn is_v1_answer(self) -> bool {
        let letters = [*b"ER", *b"FO", *b"NO"];
        matches!(self, HandshakeError::Frame(length) if letters.map(u16::from_le_bytes).contains(&length))
    }
}

impl From<Refused> for HandshakeError {
    fn from(refused: Refused) -> HandshakeError {
        match refused {
            Refused::NotOurs => HandshakeError::NotOurs,
            Refused::Version(version) => HandshakeError::Version(version),
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::NotOurs => f.write_str("not a member of this group, or another protocol"),
            HandshakeError::Version(version) => {
                write!(f, "version {version} of the session is not known here")
            }
            HandshakeError::Frame(length) => write!(f, "a handshake message of {length} bytes"),
            HandshakeError::Decrypt => f.write_str("a handshake message does not authenticate"),
            HandshakeError::Mirror => f.write_str("our own bytes came back"),
            HandshakeError::OwnKey => f.write_str("the other side has this node's own key"),
            HandshakeError::WeakKey => f.write_str("a public key that keeps no secret"),
            HandshakeError::Payload(why) => write!(f, "the other node's abilities: {why}"),
            HandshakeError::Over => f.write_str("the handshake is over"),
            HandshakeError::Internal => f.write_str("the handshake failed inside this program"),
        }
    }
}

impl std::error::Error for HandshakeError {}
