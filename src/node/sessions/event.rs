//! What sessions tell the rest of the node.

use super::outcome::{Dial, Remote, Unreached};
use crate::machine::{ConnId, Fault};
use crate::proto::v2::handshake::Mismatch;
use crate::proto::v2::identity::NodeId;
use crate::proto::v2::message::Message;
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// What happened. `pending`: who waited for answers there, and waits no more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<T> {
    /// Who came in is a member.
    Valid { conn: ConnId, from: IpAddr, accepted: Instant },
    /// The handshake is over: the node at the other end is who it says. It listens at this port, as it says.
    Up { conn: ConnId, node: NodeId, peer: SocketAddr, dialled: bool, port: u16 },
    /// What is pending on the session can be asked now: [`super::Sessions::take_pending`].
    Ready { conn: ConnId },
    /// The session can be asked no more, and nothing is sent on it.
    Retired { conn: ConnId },
    /// The connection is closed, whoever did it, or was never dialled (then it is no `socket`). Where from it came in, and when.
    Gone { conn: ConnId, came: Option<(IpAddr, Instant)>, socket: bool },
    /// A session ended that was open. `lived`: for longer than a moment; `silent`: nothing came for too long.
    Down { conn: ConnId, remote: Remote, lived: bool, silent: bool, fault: Fault, pending: Vec<T> },
    /// A dial of ours failed.
    Unreached { dial: Dial, why: Unreached, pending: Vec<T> },
    /// The other side hung up on a handshake of ours, without a word.
    HungUp { dial: Dial, fault: Fault, pending: Vec<T> },
    /// A member speaks other versions only: these.
    Version { addr: SocketAddr, mismatch: Mismatch, pending: Vec<T> },
    /// An answer did not come in time, and is waited for no longer.
    Late { tag: T },
    /// A node with our own key was met there.
    Clone { addr: SocketAddr },
    /// Who came in speaks no v2 that we know, and may speak v1. It is no session any more.
    SpeaksV1 { conn: ConnId, came: (SocketAddr, Instant) },
    /// A stranger's mistake that the operator may want to hear of.
    Notice { what: &'static str, who: SocketAddr },
}

/// What bytes that came were, for the rest of the node: one message at most. What follows it is given in again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<T> {
    /// Nothing more; what was not consumed is no whole record yet.
    Wait,
    /// The same, and no more is to come until what is to be sent has shrunk.
    Full,
    /// The session is open.
    Opened,
    /// Data for a request, which stand there in the bytes.
    Data { tag: T, number: u32, offset: u64, bytes: Range<usize> },
    /// Hashes of pieces from `first` on, likewise.
    Hashes { tag: T, number: u32, first: u64, bytes: Range<usize> },
    /// Another answer to a request.
    Answer { tag: T, message: Message },
    /// A request of the other side's.
    Request(Message),
}
