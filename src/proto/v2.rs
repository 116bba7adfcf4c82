//! Version 2 of the protocol between nodes (docs/PROTOCOL.md): preamble, handshake, records, messages, announcement.
//!
//! * [`identity`] is a node's static key, its id and the text of its state file;
//! * [`preamble`] is the first 32 bytes, by which a member knows a member before any key is computed;
//! * [`handshake`] makes two strangers' bytes into a session: it takes bytes and gives bytes, in any segmentation;
//! * [`record`] seals and opens what flows afterwards, [`message`] is what it means;
//! * [`announcement`] tells the members on a network of one another.

pub mod announcement;
pub mod handshake;
pub mod identity;
pub mod message;
pub mod preamble;
pub mod record;

/// The lowest and the highest version of the messages that this node speaks.
pub const VERSIONS: (u8, u8) = (1, 1);
