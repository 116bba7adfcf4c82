//! Nodes that say they have this node's own key. It is a copy of the state folder somewhere else: each of them takes the
//! other for itself, and neither sees the other's files.

use super::Peer;
use crate::proto::v2::announcement::Announcement;
use crate::time::{Duration, Instant};
use log::warn;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

/// Addresses that are named in the log: in an open network anybody can say that he has our key.
const NAMED_MAX: usize = 8;

/// Who says so.
#[derive(Debug, Default)]
pub(super) struct Clones {
    named: BTreeSet<SocketAddrV4>,
    last: Option<(SocketAddrV4, Instant)>,
}

impl Clones {
    /// The one last heard, unless that is `patience` ago or longer.
    pub(super) fn now(&self, now: Instant, patience: Duration) -> Option<SocketAddr> {
        let (addr, heard) = self.last?;
        (now < heard + patience).then_some(SocketAddr::V4(addr))
    }
}

impl Peer {
    /// An announcement with our own id that another run of a node made. `source` is where it came from.
    pub(super) fn heard_clone(&mut self, now: Instant, source: IpAddr, member: &Announcement) {
        let said = member.addr;
        // Where we listen ourselves nobody else does: that is a word of an earlier run of ours, or of a liar.
        let ours = said.port() == self.listen.port() && self.own.contains(said.ip());
        let neighbour = source.is_loopback() && self.own.contains(said.ip());
        if ours || source != IpAddr::V4(*said.ip()) && !neighbour {
            return;
        }
        if member.goodbye {
            self.clones.last = self.clones.last.filter(|(addr, _)| *addr != said);
            return;
        }
        self.clones.last = Some((said, now));
        if self.clones.named.len() >= NAMED_MAX || !self.clones.named.insert(said) {
            return;
        }
        warn!(
            "{said} has this node's own key, as it says: is one state folder a copy of the other? The two do not see each \
             other's files. Stop one of them, give it a key of its own with `ds-peer identity new`, and start it again"
        );
        // It has not heard us yet, and is to say the same.
        self.greet_soon(now);
    }
}
