//! Who may become a source of a download: remembered until there is a place for them.

use super::Who;
use super::sources::State;
use crate::time::{Duration, Instant};
use std::net::SocketAddr;

/// Those that are remembered.
pub(super) const CANDIDATES_MAX: usize = 256;
/// A node that did not have the file is not asked again within this.
pub(super) const TRIED: Duration = Duration::from_secs(60);

/// Somebody who may become a source.
#[derive(Clone, Copy, Debug)]
pub(in crate::node::peer) struct Candidate {
    pub(in crate::node::peer) addr: SocketAddr,
    /// It has all of the file, as far as is known.
    pub(in crate::node::peer) all: bool,
    /// Named by the operator or found by a search.
    pub(in crate::node::peer) named: bool,
    /// It speaks v1 only.
    pub(in crate::node::peer) old: bool,
    pub(in crate::node::peer) not_before: Instant,
    pub(in crate::node::peer) losses: u32,
}

impl Candidate {
    /// Somebody who has the file.
    pub(in crate::node::peer) fn holder(addr: SocketAddr, now: Instant) -> Candidate {
        Candidate { addr, all: true, named: true, old: false, not_before: now, losses: 0 }
    }

    /// An old node that has a file of that name.
    pub(in crate::node::peer) fn old(addr: SocketAddr, now: Instant) -> Candidate {
        Candidate { old: true, ..Candidate::holder(addr, now) }
    }

    /// Somebody who may have some of it.
    pub(super) fn perhaps(addr: SocketAddr, now: Instant) -> Candidate {
        Candidate { all: false, named: false, ..Candidate::holder(addr, now) }
    }
}

impl super::Download {
    /// Remembers somebody who may give something, unless he is asked already.
    pub(in crate::node::peer) fn add_candidate(&mut self, candidate: Candidate) {
        let asked = self.sources.iter_mut().find(|(_, source)| source.addr == candidate.addr);
        if let Some((no, source)) = asked {
            source.named |= candidate.named;
            // What it says itself counts more, but it has not yet.
            if candidate.all && matches!(source.state, State::Reaching | State::Following(_)) {
                source.all = true;
                if let State::Following(_) = source.state {
                    source.state = State::Ready;
                    self.swarm.has_all(*no);
                }
            }
            return;
        }
        let room = self.candidates.len() < CANDIDATES_MAX;
        let known = self.candidates.iter_mut().find(|other| other.addr == candidate.addr);
        match known {
            Some(other) => {
                other.all |= candidate.all;
                other.named |= candidate.named;
            }
            None if room => self.candidates.push_back(candidate),
            None if candidate.named => {
                // Whoever was found to have it counts more than hearsay.
                if let Some(other) = self.candidates.iter_mut().find(|other| !other.named) {
                    *other = candidate;
                }
            }
            None => {}
        }
    }

    pub(super) fn is_banned(&self, now: Instant, who: Who) -> bool {
        self.banned.get(&who).is_some_and(|until| *until > now)
    }

    pub(super) fn was_tried(&self, now: Instant, addr: SocketAddr) -> bool {
        self.tried.get(&addr).is_some_and(|at| now - *at < TRIED)
    }
}
