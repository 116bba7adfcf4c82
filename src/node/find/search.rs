//! One search of ours: what it asks for, what it found so far, and who has not answered.

use super::tally::Tally;
use crate::node::api::plural;
use crate::node::hit::Hit;
use crate::proto::query::Query;
use crate::proto::results::Results;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A search under way.
#[derive(Debug)]
pub(crate) struct Search {
    /// As typed.
    pub(crate) text: String,
    pub(crate) query: Query,
    /// What nodes that speak v1 only are asked for: a file of exactly that name.
    pub(crate) old_name: Option<String>,
    pub(crate) results: Results<SocketAddr>,
    /// Nodes that told at least one.
    pub(crate) found_at: BTreeSet<SocketAddr>,
    /// Those of v1 that have it.
    pub(crate) old: Vec<SocketAddr>,
    /// Nodes that have not answered yet.
    pub(crate) waiting: usize,
    /// Answers that there was no memory for.
    pub(crate) left_out: usize,
    /// Nodes that told as much as they may, so that they may have more.
    pub(crate) full: usize,
    pub(crate) tally: Tally,
    pub(crate) then: Then,
}

/// What a search is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// To be shown.
    Show,
    /// To download the one file of that name.
    Get,
    /// To download all files beneath that folder.
    Folder,
}

impl Search {
    /// Bytes of what it found so far.
    pub(crate) fn bytes(&self) -> usize {
        self.results.bytes()
    }

    /// For the line that says that it goes on.
    pub(super) fn so_far(&self) -> String {
        let (found, waiting) = (self.tally.found, plural(self.waiting, "node", "nodes"));
        format!("found at {found} so far, waiting for {waiting}")
    }

    /// What was found, the best first; what only old nodes have comes last, since nobody knows what it is.
    pub(crate) fn hits(&self) -> Vec<Hit> {
        let mut hits: Vec<Hit> = self
            .results
            .ranked()
            .into_iter()
            .map(|found| Hit {
                name: found.name().to_owned(),
                names: found.names().skip(1).map(str::to_owned).collect(),
                size: found.size(),
                root: found.root(),
                sources: distinct(found.sources().map(|(addr, _)| addr)),
                old: self
                    .old_name
                    .as_deref()
                    .filter(|name| *name == found.name())
                    .map_or(Vec::new(), |_| self.old.clone()),
            })
            .collect();
        if let (false, Some(name)) = (self.old.is_empty(), &self.old_name) {
            let (sources, old) = (self.old.clone(), Vec::new());
            hits.push(Hit { name: name.clone(), names: Vec::new(), size: None, root: None, sources, old });
        }
        hits
    }
}

/// Each once. A node may be listed with several names.
fn distinct(sources: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut sources: Vec<SocketAddr> = sources.collect();
    sources.dedup();
    sources
}
