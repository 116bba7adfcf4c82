//! Names by which parts speak of what another part owns. Only the owner looks behind them.

use crate::machine::{Id, RequestId};

/// A download, by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransferId(pub(crate) Id);

/// A command under way, by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId(pub(crate) Id);

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
