//! One result: a content, the names it goes by, and the nodes that have it.

use super::{Key, Root};
use crate::proto::query::Score;
use std::cmp::Reverse;

/// Most names that are kept of one result.
pub const NAMES_MAX: usize = 8;
/// Most bytes of all its names but the first.
pub const NAMES_BYTES_MAX: usize = 2048;
/// Most sources of one result. A node that has it under two names counts twice.
pub const SOURCES_MAX: usize = 256;

/// Bytes of a source among those of its node.
const MENTION: usize = 96;

/// One result of a search.
#[derive(Clone, Debug)]
pub struct Found<N> {
    pub(super) key: Key<N>,
    id: usize,
    size: Option<u64>,
    /// The best one first.
    names: Vec<Name>,
    next_name: u32,
    /// Sorted.
    sources: Vec<(N, NameId)>,
}

/// Names come and go; `None`: one of those that are not kept.
pub(super) type NameId = Option<u32>;

#[derive(Clone, Debug)]
struct Name {
    id: u32,
    text: String,
    score: Score,
    sources: usize,
}

/// What became of a source.
pub(super) enum Joined {
    /// It was there before.
    Known,
    /// Listed, with this name and its score.
    Listed(NameId),
    /// Too many have it.
    Full,
}

impl<N: Copy + Ord> Found<N> {
    pub(super) fn new(id: usize, key: Key<N>, size: Option<u64>) -> Found<N> {
        Found { key, id, size, names: Vec::new(), next_name: 0, sources: Vec::new() }
    }

    /// Its number, which no other result of the search ever has.
    pub fn id(&self) -> usize {
        self.id
    }

    /// The name that fits the query best; among equals the one that most nodes use.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", |name| &name.text)
    }

    /// All names that are kept, the best first; never none, never more than [`NAMES_MAX`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| name.text.as_str())
    }

    /// Bytes; not known of a file on a node that knows names only (v1).
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// BLAKE3 root, where the node knows it.
    pub fn root(&self) -> Option<Root> {
        match self.key {
            Key::Content(root, _) => Some(root),
            Key::Unknown(..) => None,
        }
    }

    /// Who has it, in the order of nodes, and under which name where that one is kept. A node is listed once
    /// for each of its names. Never none.
    pub fn sources(&self) -> impl Iterator<Item = (N, Option<&str>)> {
        self.sources.iter().map(|&(node, id)| {
            let name = self.names.iter().find(|name| Some(name.id) == id);
            (node, name.map(|name| name.text.as_str()))
        })
    }

    /// What it takes in memory, about: never less.
    pub(super) fn bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| name.text.capacity() + size_of::<Name>()).sum();
        // A source stands here and with its node; what is not known by its content has its name in its key.
        let sources = self.sources.capacity() * 3 * size_of::<(N, NameId)>() + self.sources.len() * MENTION;
        size_of::<Found<N>>() + 2 * names + sources
    }

    /// How many nodes have it.
    pub fn source_count(&self) -> usize {
        self.sources.chunk_by(|a, b| a.0 == b.0).count()
    }

    /// How well the best name answers.
    pub fn score(&self) -> Option<Score> {
        self.names.iter().map(|name| name.score).max()
    }

    pub(super) fn join(&mut self, node: N, text: &str, score: Score) -> Joined {
        let known = self.names.iter().find(|name| name.text == text).map(|name| name.id);
        let listed = match known {
            Some(_) => self.sources.binary_search(&(node, known)).is_ok(),
            None => false,
        };
        if listed {
            return Joined::Known;
        }
        if self.sources.len() == SOURCES_MAX {
            return Joined::Full;
        }
        let id = known.or_else(|| self.admit(text, score));
        if id.is_none() && self.sources.iter().any(|source| source.0 == node) {
            return Joined::Known;
        }
        if let Some(name) = self.names.iter_mut().find(|name| Some(name.id) == id) {
            name.sources += 1;
        }
        let at = self.sources.partition_point(|source| *source < (node, id));
        self.sources.insert(at, (node, id));
        self.sort_names();
        Joined::Listed(id)
    }

    /// A source goes; whether any is left.
    pub(super) fn leave(&mut self, node: N, id: NameId) -> bool {
        if let Ok(at) = self.sources.binary_search(&(node, id)) {
            self.sources.remove(at);
        }
        if let Some(name) = self.names.iter_mut().find(|name| Some(name.id) == id) {
            name.sources -= 1;
        }
        if self.sources.is_empty() {
            return false;
        }
        // A result has a name as long as it has a source, were it that of one that has gone.
        if self.names.iter().any(|name| name.sources > 0) {
            self.names.retain(|name| name.sources > 0);
        }
        self.sort_names();
        true
    }

    /// A name that is new here gets a place, or that of a worse one which one node alone uses.
    fn admit(&mut self, text: &str, score: Score) -> NameId {
        let bytes: usize = self.names.iter().skip(1).map(|name| name.text.len()).sum();
        let mut spare = NAMES_BYTES_MAX - bytes.min(NAMES_BYTES_MAX);
        let mut replaced = None;
        if self.names.len() >= NAMES_MAX || !self.names.is_empty() && spare < text.len() {
            let weak = self.names.iter().enumerate().filter(|(_, name)| name.sources <= 1);
            let (at, name) = weak.min_by_key(|(_, name)| (name.score, Reverse(name.id)))?;
            spare += name.text.len();
            if name.score >= score || spare < text.len() {
                return None;
            }
            replaced = Some(at);
        }
        if let Some(at) = replaced {
            self.names.remove(at);
        }
        let id = self.next_name;
        self.next_name += 1;
        self.names.push(Name { id, text: text.to_owned(), score, sources: 0 });
        Some(id)
    }

    fn sort_names(&mut self) {
        self.names.sort_by(|a, b| {
            let rank = |name: &Name| (name.score.fit(), name.sources, name.score);
            rank(b).cmp(&rank(a)).then_with(|| a.text.cmp(&b.text))
        });
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert!(!self.sources.is_empty() && self.sources.len() <= SOURCES_MAX);
        assert!(self.sources.is_sorted_by(|a, b| a < b), "each once");
        assert!(!self.names.is_empty() && self.names.len() <= NAMES_MAX);
        for name in &self.names {
            assert_eq!(name.sources, self.sources.iter().filter(|source| source.1 == Some(name.id)).count());
        }
        let bytes: usize = self.names.iter().map(|name| name.text.len()).sum();
        assert!(bytes <= NAMES_BYTES_MAX + 2 * crate::proto::name::NAME_MAX);
    }

    #[cfg(test)]
    pub(super) fn mentions(&self) -> &[(N, NameId)] {
        &self.sources
    }
}
