//! What all parts of a world share.

use crate::content::Content;
use crate::net::Net;
use crate::queue::Queue;
use crate::trace::Trace;
use distrishare::proto::content::FileHasher;
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
    /// By root in hex, of the sizes that were asked for.
    roots: BTreeMap<String, Content>,
    sizes: BTreeSet<u64>,
}

/// Larger contents are not hashed to check what journals say of them.
const HASHED_MAX: u64 = 64 << 20;

impl Truth {
    pub(crate) fn add(&mut self, name: &str, content: &Content) {
        if let Content::Generated { seed, .. } = content {
            if !self.generators.contains(seed) {
                self.generators.push(*seed);
            }
        }
        if self.sizes.contains(&content.len()) {
            self.roots.insert(root_of(content), content.clone());
        }
        self.known.entry(last(name).to_owned()).or_default().push(content.clone());
    }

    pub(crate) fn whole(&self, name: &str, content: &Content) -> bool {
        self.known.get(last(name)).is_some_and(|all| all.iter().any(|known| known.same(content)))
    }

    /// The content of that root (in hex) and size, if somebody shares it.
    pub(crate) fn by_root(&self, root: &str, size: u64) -> Option<Content> {
        self.roots.get(root).filter(|content| content.len() == size).cloned()
    }

    /// Teaches it what has this root, so that journals of it can be checked.
    pub(crate) fn learn(&mut self, size: u64) {
        if size > HASHED_MAX || !self.sizes.insert(size) {
            return;
        }
        for content in self.known.values().flatten().filter(|content| content.len() == size) {
            self.roots.insert(root_of(content), content.clone());
        }
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

/// In hex.
pub(crate) fn root_of(content: &Content) -> String {
    let mut hasher = FileHasher::new();
    let step = 64 << 10;
    (0..content.len()).step_by(step).for_each(|at| hasher.update(&content.read(at, step)));
    hasher.finish().root.to_string()
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
