//! What is found at other nodes: searches of many, listings of one. The state alone; who is asked how is the node's business.

pub(crate) mod browse;
pub(crate) mod search;
mod tally;

pub(crate) use tally::Tally;

use crate::node::api::plural;
use browse::Browse;
use search::Search;

/// One that is under way.
#[derive(Debug)]
pub(crate) enum Find {
    Search(Box<Search>),
    Browse(Browse),
}

impl Find {
    /// Bytes of what was found and not shown yet.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Find::Search(search) => search.bytes(),
            Find::Browse(_) => 0,
        }
    }

    /// For the line that says that it goes on.
    pub(crate) fn so_far(&self) -> String {
        match self {
            Find::Search(search) => search.so_far(),
            Find::Browse(browse) => format!("{} so far", plural(browse.files, "file", "files")),
        }
    }
}
