//! Listed nodes in a circle, so that each answer goes on where the last one ended.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Bound::{Excluded, Included, Unbounded};

/// Listed nodes, and who was given out last.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pub(super) nodes: BTreeSet<SocketAddr>,
    pub(super) last: Option<SocketAddr>,
}

impl Ring {
    /// All of them once, from the one behind the last.
    pub(super) fn turn(&self) -> impl Iterator<Item = SocketAddr> {
        let last = self.last.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
        let behind = self.nodes.range((Excluded(last), Unbounded));
        behind.chain(self.nodes.range((Unbounded, Included(last)))).copied()
    }
}
