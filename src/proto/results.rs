//! What many nodes answered to one search, as one list. Nothing that a node says is believed without looking: a file must
//! answer the query that was asked, under a name that a shared file may have.
//!
//! **What is the same.** Files with the same root and the same size are one result, with all their names and sources; one
//! root with two sizes is somebody's lie, and stays apart. A file without a root is the same as another only if the same
//! node told it twice, with one name and one size.
//!
//! **What is fair.** Of each node a bounded number of answers is looked at, so that each costs a bounded time. While there
//! is room, everything is taken. Once the list is full, a node with fewer entries than the one with the most gets
//! room, by taking from that one its worst; so no number of files pushes out the node that has few, and in the end
//! all who have much have the same share. An entry goes with its last source.

mod found;

pub use crate::proto::content::Root;
pub use found::{Found, NAMES_BYTES_MAX, NAMES_MAX, SOURCES_MAX};

use crate::proto::fold::fold;
use crate::proto::name::check_name;
use crate::proto::query::{Candidate, Query, Score};
use found::{Joined, NameId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The answers to one search so far; `N` names a node. Holds at most `total_max` results of about 3 KiB of names each, and
/// `per_node_max` entries for each node that answered.
#[derive(Clone, Debug)]
pub struct Results<N> {
    query: Query,
    per_node_max: usize,
    total_max: usize,
    found: BTreeMap<usize, Found<N>>,
    keys: BTreeMap<Key<N>, usize>,
    next_id: usize,
    nodes: BTreeMap<N, Teller>,
    /// How many entries each node has: the one with the most is the last.
    loads: BTreeSet<(usize, N)>,
    refused: u64,
    bytes: usize,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// A new result with this number ([`Found::id`]).
    New(usize),
    /// One more source or name of this result, or nothing new about it.
    Merged(usize),
    /// It was left out.
    Refused(Refusal),
}

/// Why an answer was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The node has told more than anybody wants to hear.
    NodeLimit,
    /// The list is full, and the node has its share.
    Full,
    /// That content has enough sources already.
    Sources,
    /// No shared file has such a name: a lie, or a fault of the node.
    Name,
    /// The file does not answer the query: a lie, or a fault of the node.
    Mismatch,
}

/// What makes two answers the same file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<N> {
    Content(Root, Option<u64>),
    Unknown(N, String, Option<u64>),
}

/// What one node has told.
#[derive(Clone, Debug, Default)]
struct Teller {
    /// Answers that were looked at.
    told: usize,
    /// Its entries: the worst, and among those the newest, first.
    entries: BTreeSet<(Score, Reverse<usize>, NameId)>,
}

impl<N: Copy + Ord> Results<N> {
    /// None so far. `per_node_max`: answers that are looked at of each node; `total_max`: results that are kept.
    pub fn new(query: Query, per_node_max: usize, total_max: usize) -> Results<N> {
        Results {
            query,
            per_node_max,
            total_max,
            found: BTreeMap::new(),
            keys: BTreeMap::new(),
            next_id: 0,
            nodes: BTreeMap::new(),
            loads: BTreeSet::new(),
            refused: 0,
            bytes: 0,
        }
    }

    /// One file that `node` says it has. `size` in bytes; `None` from a node that knows names only (v1), and no answer then
    /// to a query about sizes. Needs no trust in any of it.
    pub fn add(&mut self, node: N, name: &str, size: Option<u64>, root: Option<Root>) -> Added {
        self.take(node, name, size, root).unwrap_or_else(|refusal| {
            self.refused += 1;
            Added::Refused(refusal)
        })
    }

    /// How many results there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there is no result.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What all of them take in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether so much of a node was looked at that the rest of what it has, if there is more, is not known.
    pub fn has_told_all_it_may(&self, node: N) -> bool {
        self.nodes.get(&node).is_some_and(|teller| teller.told >= self.per_node_max)
    }

    /// Whether there is room for no other result.
    pub fn is_full(&self) -> bool {
        self.found.len() >= self.total_max
    }

    /// How many answers were left out.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The result with this number, unless it had to give way.
    pub fn get(&self, id: usize) -> Option<&Found<N>> {
        self.found.get(&id)
    }

    /// All results, the best first: by how the words fit, then by how many nodes have the file, then shorter names first,
    /// then in the order of names.
    pub fn ranked(&self) -> Vec<&Found<N>> {
        let mut list: Vec<_> = self.found.values().map(|found| (rank(found), found)).collect();
        list.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.name().cmp(other.name())));
        list.into_iter().map(|(_, found)| found).collect()
    }

    fn take(&mut self, node: N, name: &str, size: Option<u64>, root: Option<Root>) -> Result<Added, Refusal> {
        let teller = self.nodes.entry(node).or_default();
        if teller.told >= self.per_node_max {
            return Err(Refusal::NodeLimit);
        }
        teller.told += 1;
        let score = self.judge(name, size, root)?;
        let key = match root {
            Some(root) => Key::Content(root, size),
            None => Key::Unknown(node, name.to_owned(), size),
        };
        let known = self.keys.get(&key).copied();
        let id = match known {
            Some(id) => id,
            None => self.open(node, key, size)?,
        };
        match self.change(id, |found| found.join(node, name, score)) {
            Some(Joined::Listed(name)) => self.charge(node, (score, Reverse(id), name)),
            Some(Joined::Full) => return Err(Refusal::Sources),
            Some(Joined::Known) | None => {}
        }
        Ok(if known.is_some() { Added::Merged(id) } else { Added::New(id) })
    }

    /// Asks the file the very question that the node was asked.
    fn judge(&self, name: &str, size: Option<u64>, root: Option<Root>) -> Result<Score, Refusal> {
        check_name(name).map_err(|_| Refusal::Name)?;
        if size.is_none() && self.query.has_size() {
            return Err(Refusal::Mismatch);
        }
        let root = root.as_ref().map(Root::as_bytes);
        let file = Candidate { name, folded: &fold(name), size: size.unwrap_or(0), root };
        self.query.matches(&file).ok_or(Refusal::Mismatch)
    }

    /// A new result, still without a source.
    fn open(&mut self, node: N, key: Key<N>, size: Option<u64>) -> Result<usize, Refusal> {
        while self.found.len() >= self.total_max {
            let own = self.nodes.get(&node).map_or(0, |teller| teller.entries.len());
            match self.loads.last() {
                // With one more entry the node still has no more than that one with one less.
                Some(&(most, other)) if most > own + 1 => self.drop_worst(other),
                _ => return Err(Refusal::Full),
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        self.keys.insert(key.clone(), id);
        let found = Found::new(id, key, size);
        self.bytes += found.bytes();
        self.found.insert(id, found);
        Ok(id)
    }

    /// The one place where a result changes.
    fn change<T>(&mut self, id: usize, edit: impl FnOnce(&mut Found<N>) -> T) -> Option<T> {
        let found = self.found.get_mut(&id)?;
        let before = found.bytes();
        let said = edit(found);
        self.bytes = self.bytes + found.bytes() - before;
        Some(said)
    }

    fn drop_worst(&mut self, node: N) {
        let Some(teller) = self.nodes.get_mut(&node) else { return };
        let load = teller.entries.len();
        let Some((_, Reverse(id), name)) = teller.entries.pop_first() else { return };
        self.loads.remove(&(load, node));
        if load > 1 {
            self.loads.insert((load - 1, node));
        }
        let emptied = self.change(id, |found| !found.leave(node, name)) == Some(true);
        if let Some(found) = emptied.then(|| self.found.remove(&id)).flatten() {
            self.bytes -= found.bytes();
            self.keys.remove(&found.key);
        }
    }

    fn charge(&mut self, node: N, entry: (Score, Reverse<usize>, NameId)) {
        let teller = self.nodes.entry(node).or_default();
        let load = teller.entries.len();
        if teller.entries.insert(entry) {
            self.loads.remove(&(load, node));
            self.loads.insert((load + 1, node));
        }
    }
}

/// What comes first in a list; the greater the better.
fn rank<N: Copy + Ord>(found: &Found<N>) -> impl Ord + use<N> {
    let score = found.score();
    (score.map(Score::fit), found.source_count(), score)
}

#[cfg(test)]
mod tests;
