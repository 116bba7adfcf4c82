//! One search of ours: what it asks for, what it found so far, and who has not answered.

use super::tally::Tally;
use crate::config::Limits;
use crate::node::api::plural;
use crate::node::hit::Hit;
use crate::proto::name::check_name;
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
    /// Nobody was asked yet. `text`: as the operator typed it.
    pub(crate) fn new(text: &str, query: Query, then: Then, limits: &Limits) -> Search {
        Search {
            text: text.to_owned(),
            results: Results::new(query.clone(), limits.results_per_node, limits.results_total),
            old_name: query.exact_name().filter(|name| check_name(name).is_ok()).map(str::to_owned),
            query,
            found_at: BTreeSet::new(),
            old: Vec::new(),
            waiting: 0,
            left_out: 0,
            full: 0,
            tally: Tally::default(),
            then,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::content::Root;

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 9000))
    }

    fn search(text: &str) -> Search {
        Search::new(text, Query::parse(text).unwrap(), Then::Show, &Limits::desktop())
    }

    #[test]
    fn what_new_nodes_have_comes_first_and_what_only_old_ones_have_last() {
        let mut search = search("\"a b.txt\"");
        assert_eq!(search.old_name.as_deref(), Some("a b.txt"));
        let root = Root::new([1; 32]);
        for (node, root) in [(1, Some(root)), (2, Some(root)), (2, Some(root)), (3, None)] {
            search.results.add(at(node), "a b.txt", Some(7), root);
        }
        search.old = vec![at(8), at(9)];
        let hits = search.hits();
        let told = |hit: &Hit| (hit.size, hit.root, hit.sources.clone(), hit.old.len());
        let expected = [
            (Some(7), Some(root), vec![at(1), at(2)], 2),
            (Some(7), None, vec![at(3)], 2),
            (None, None, vec![at(8), at(9)], 0),
        ];
        assert_eq!(hits.iter().map(told).collect::<Vec<_>>(), expected);
        assert!(hits.iter().all(|hit| hit.name == "a b.txt") && search.bytes() > 0);
    }

    #[test]
    fn old_nodes_are_asked_for_one_exact_name_or_for_nothing() {
        assert_eq!(search("some words").old_name.as_deref(), Some("some words"));
        assert_eq!(search("some ext:mp3").old_name, None);
        assert_eq!(search("\"../up\"").old_name, None, "no file is called that");
        assert!(search("some ext:mp3").hits().is_empty());
    }

    #[test]
    fn a_search_says_how_far_it_is() {
        let mut search = search("x");
        (search.tally.found, search.waiting) = (2, 1);
        assert_eq!(search.so_far(), "found at 2 so far, waiting for 1 node");
    }
}
