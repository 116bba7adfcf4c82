//! What all parts of a world share.

use crate::content::Content;
use crate::net::Net;
use crate::queue::Queue;
use crate::trace::Trace;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

pub(crate) struct Env {
    pub(crate) seed: u64,
    /// Microseconds since the world began.
    pub(crate) now: u64,
    pub(crate) queue: Queue,
    pub(crate) net: Net,
    pub(crate) trace: Trace,
    /// What the resolver knows.
    pub(crate) names: BTreeMap<String, IpAddr>,
    pub(crate) truth: Truth,
    /// How often each address was dialled, over all nodes together.
    pub(crate) dials: BTreeMap<SocketAddr, u64>,
}

/// What the files of this world really hold, by the last component of their names.
#[derive(Default)]
pub(crate) struct Truth {
    known: BTreeMap<String, Vec<Content>>,
    pub(crate) generators: Vec<u64>,
    /// Names that somebody lies about: nothing is promised for them.
    pub(crate) tainted: BTreeSet<String>,
    /// Downloads that are the beginning of a file and end too early. v1 cannot tell, so this is no breach by itself.
    pub(crate) short: Vec<(usize, String)>,
    /// It is one all the same: nobody dies or lies in this run.
    pub(crate) forbid_short: bool,
}

impl Truth {
    pub(crate) fn add(&mut self, name: &str, content: &Content) {
        if let Content::Generated { seed, .. } = content {
            if !self.generators.contains(seed) {
                self.generators.push(*seed);
            }
        }
        self.known.entry(last(name).to_owned()).or_default().push(content.clone());
    }

    pub(crate) fn whole(&self, name: &str, content: &Content) -> bool {
        self.known.get(last(name)).is_some_and(|all| all.iter().any(|known| known.same(content)))
    }

    /// A node gave `content` the final name `got`, having asked for `name`.
    pub(crate) fn committed(&mut self, node: usize, name: &str, got: &str, content: &Content) {
        if self.tainted.contains(last(name)) || self.whole(name, content) {
            return;
        }
        let begins = |known: &Content| content.is_prefix_of(known);
        let short = self.known.get(last(name)).is_some_and(|all| all.iter().any(begins));
        assert!(short, "node {node} saved {got:?}, and nobody ever shared that content as {name:?}");
        assert!(!self.forbid_short, "node {node} saved {got:?} cut short at {} bytes", content.len());
        self.short.push((node, got.to_owned()));
    }
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
