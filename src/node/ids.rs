//! Names by which parts speak of what another part owns. Only the owner looks behind them.

use crate::machine::Id;

/// A download, by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransferId(pub(crate) Id);

/// A command under way, by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId(pub(crate) Id);
