//! Who waits for what of another node.

use crate::node::ids::{JobId, TransferId};
use crate::node::sessions::Tag;
use crate::node::swarm::SourceNo;

/// What somebody waits for of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pending {
    /// The files that a search of ours is for.
    Search(JobId),
    /// The next page of what it shares.
    Browse(JobId),
    /// What it has under the name of a download.
    Name(TransferId),
    /// What a download asks of one of its sources.
    Source(TransferId, SourceNo),
}

impl Tag for Pending {
    fn is_brief(self) -> bool {
        matches!(self, Pending::Search(_))
    }
}

impl Pending {
    /// Whether it is the same whoever answers: content is verified, and a listing promises nothing. A name may stand for
    /// anything, so it is asked for only where a dial met the node.
    pub(super) fn trusts_claims(self) -> bool {
        !matches!(self, Pending::Name(_))
    }

    /// Whether it is of a download: that asks for many things at once, is told of a loss once, and counts its losses, so that it
    /// ends. A search that asks twice waits twice.
    pub(super) fn is_of_download(self) -> bool {
        matches!(self, Pending::Name(_) | Pending::Source(..))
    }
}
