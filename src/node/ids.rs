//! Names by which parts speak of what another part owns. Only the owner looks behind them.

use crate::machine::{ConnId, Id, RequestId};

/// A download, by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransferId(pub(crate) Id);

/// A command under way, by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId(pub(crate) Id);

/// A front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FrontId {
    /// The operator's own.
    Console,
    /// A connection at the control socket.
    Control(ConnId),
}

/// An operation: whatever a front end asks for. Every event that comes of it bears its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    /// Who asked.
    pub(crate) front: FrontId,
    /// From 1 on; no other operation in the life of this process has it.
    pub(crate) number: u32,
    /// The command's name, as `done` and `error` say it; empty where the line was none.
    pub(crate) command: &'static str,
    /// The next command does not wait for it.
    pub(crate) background: bool,
}

/// Numbers for questions to the driver.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    last: u32,
}

impl Requests {
    /// One that no other question has.
    pub(crate) fn next(&mut self) -> RequestId {
        self.last = self.last.wrapping_add(1);
        RequestId(self.last)
    }
}

/// Numbers by which the operator names downloads and uploads.
#[derive(Debug, Default)]
pub(crate) struct TransferNumbers {
    last: u32,
}

impl TransferNumbers {
    /// One that no other transfer has.
    pub(crate) fn next(&mut self) -> u32 {
        self.last = self.last.wrapping_add(1).max(1);
        self.last
    }
}
