//! How the way to a node ends, and why a session does.

use crate::machine::{ConnId, Fault};
use crate::proto::v2::handshake::Mismatch;
use crate::proto::v2::identity::NodeId;
use std::net::SocketAddr;

/// How freely an address is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// Typed by the operator, proven, or in one of our own networks.
    Near,
    /// Somebody said that a node is there.
    Far,
}

/// The other end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// Of the connection.
    pub(crate) peer: SocketAddr,
    /// We dialled it; else it came in.
    pub(crate) dialled: bool,
    /// It came in, and says that it listens here.
    pub(crate) listens: Option<SocketAddr>,
    /// Once that is certain.
    pub(crate) node: Option<NodeId>,
}

/// A dial of ours that led to no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) conn: ConnId,
    pub(crate) addr: SocketAddr,
    pub(crate) class: Class,
    pub(crate) stage: Stage,
    /// It said which node it is for.
    pub(crate) bound: bool,
}

/// How far a dial got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It waited for its turn.
    Waiting,
    Dialing,
    /// There was a connection.
    Greeting,
}

/// Why a node was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// No connection.
    Failed(Fault),
    /// A session that had been open for a while ended before the answer: it may have had nothing to do with the question.
    Lost(Fault),
    /// No dial was free in time: it was not tried.
    NotTried,
    /// Neither connection nor failure in time.
    TimedOut,
    /// A connection, and then nothing.
    Silent,
    /// It answered as one that speaks v1 only, or has done so lately.
    Old,
    /// It took the connection and hung up, or said what no node says: it is none of our group, none at all, or too busy.
    NotOurs,
    /// It is this node.
    Myself,
    /// It speaks other versions: these.
    Version(Mismatch),
}

/// Why a session ends, on our side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The node ends.
    Quit,
    /// Nothing was asked for a long time.
    Idle,
    /// There is another session with the same node, which stays.
    Duplicate,
    /// The other side broke the rules of the protocol.
    Protocol(String),
    /// It speaks other versions only: these.
    Version(Mismatch),
}

impl CloseReason {
    /// As the other side reads it.
    pub(crate) fn text(&self) -> String {
        match self {
            CloseReason::Quit => "this node ends".to_owned(),
            CloseReason::Idle => "nothing was asked for a long time".to_owned(),
            CloseReason::Duplicate => "there is another session between us".to_owned(),
            CloseReason::Protocol(what) => what.clone(),
            CloseReason::Version(mismatch) => mismatch.to_string(),
        }
    }
}
