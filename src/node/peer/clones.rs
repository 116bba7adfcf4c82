//! Nodes with this node's own key: copies of its state folder somewhere else. Each of them takes the other for itself, and neither
//! sees the other's files. By multicast they say so; where a dial meets one, it has proved it.

use super::Peer;
use crate::proto::v2::announcement::Announcement;
use crate::time::{Duration, Instant};
use log::warn;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Addresses that are named in the log: in an open network anybody can say that he has our key.
const NAMED_MAX: usize = 8;
/// One that was met is shown for so long: it is dialled again before, if somebody names it and anything is searched.
const MET_LASTS: Duration = Duration::from_secs(600);

/// Who has it.
#[derive(Debug, Default)]
pub(super) struct Clones {
    named: BTreeSet<SocketAddr>,
    /// The last one, and until when it counts.
    last: Option<(SocketAddr, Instant)>,
}

impl Clones {
    /// The last one, unless that is too long ago.
    pub(super) fn now(&self, now: Instant) -> Option<SocketAddr> {
        let (addr, until) = self.last?;
        (now < until).then_some(addr)
    }

    /// One is there. Whether that is to be said.
    fn seen(&mut self, addr: SocketAddr, until: Instant) -> bool {
        if self.last.is_none_or(|(last, lasts)| last != addr || lasts < until) {
            self.last = Some((addr, until));
        }
        self.named.len() < NAMED_MAX && self.named.insert(addr)
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
        let said = SocketAddr::V4(said);
        if member.goodbye {
            self.clones.last = self.clones.last.filter(|(addr, _)| *addr != said);
            return;
        }
        if self.clones.seen(said, now + self.patience()) {
            warn_of(said, ", as it says");
            // It has not heard us yet, and is to say the same.
            self.greet_soon(now);
        }
    }

    /// A dial met one.
    pub(super) fn met_clone(&mut self, now: Instant, addr: SocketAddr) {
        if self.clones.seen(addr, now + MET_LASTS) {
            warn_of(addr, "");
        }
    }
}

fn warn_of(addr: SocketAddr, how: &str) {
    warn!(
        "{addr} has this node's own key{how}: is one state folder a copy of the other? The two do not see each \
         other's files. Stop one of them, give it a key of its own with `ds-peer identity new`, and start it again"
    );
}
