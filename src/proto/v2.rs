//! Version 2 of the protocol between nodes (docs/PROTOCOL.md): preamble, handshake, records, messages, announcement.

pub mod announcement;
pub mod identity;
pub mod message;
