//! Version 2 of the protocol between nodes (docs/PROTOCOL.md): preamble, handshake, records, messages, announcement.
//!
//! * [`identity`] is a node's static key, its id and the text of its state file;
//! * [`preamble`] is the first 32 bytes, by which a member knows a member before any key is computed;
//! * [`handshake`] makes two strangers' bytes into a session: it takes bytes and gives bytes, in any segmentation;
//! * [`record`] seals and opens what flows afterwards.

pub mod handshake;
pub mod identity;
pub mod preamble;
pub mod record;
