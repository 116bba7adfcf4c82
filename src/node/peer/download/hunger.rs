//! Downloads that nobody gives: all known nodes are asked, at once and then now and then.

use super::Candidate;
use super::Starving;
use crate::node::ids::TransferId;
use crate::node::peer::Peer;
use crate::time::{Duration, Instant};
use std::net::SocketAddr;

/// Between two looks for sources among all known nodes, the first and the longest.
const SEEK: Duration = Duration::from_secs(5);
const SEEK_MAX: Duration = Duration::from_secs(60);
/// A node that became known is asked after this, together with others that become known in the same moment.
const SOON: Duration = Duration::from_millis(250);
/// How long a download whose sources have nothing more for us waits for them to get it.
const PATIENCE: Duration = Duration::from_secs(30);

impl Peer {
    /// Is nobody left who gives anything? Then all known nodes are asked, and those who wait hear of it.
    pub(super) fn look_for_hunger(&mut self, now: Instant, id: TransferId) {
        let max = self.config.limits.swarm.sources;
        let Some(download) = self.download_mut(id) else { return };
        if !download.is_running() {
            return;
        }
        let partial = download.sources.values().any(|s| s.is_ready() && !s.all);
        if download.throttled || !download.is_stuck(max) {
            if !partial || download.sources.values().any(|s| !s.asked.is_empty()) {
                download.starving = None;
            }
            return;
        }
        let starving = *download.starving.get_or_insert(Starving { since: now, seek: now, sought: 0 });
        // Somebody who has a part may get more.
        let patience = if partial { PATIENCE } else { Duration::ZERO };
        if starving.sought == 0 {
            return self.seek_sources(now, id);
        }
        if now - starving.since >= patience {
            self.hunger(now, id);
        }
    }

    /// Asks known nodes whether they have some of it, when that is due.
    pub(super) fn seek_sources(&mut self, now: Instant, id: TransferId) {
        let max = self.config.limits.swarm.sources;
        let nodes: Vec<SocketAddr> = self.contacts.book.merged().map(|(addr, _)| addr).collect();
        let Some(download) = self.download_mut(id) else { return };
        let Some(starving) = download.starving.as_mut().filter(|starving| starving.seek <= now) else {
            return;
        };
        starving.seek = now + (SEEK * 2u32.saturating_pow(starving.sought.min(8))).min(SEEK_MAX);
        starving.sought += 1;
        let fresh: Vec<SocketAddr> =
            nodes.into_iter().filter(|addr| !download.was_tried(now, *addr)).take(max).collect();
        for addr in fresh {
            download.add_candidate(Candidate::perhaps(addr, now));
        }
        self.launch_sources(now, id);
        self.look_for_hunger(now, id);
    }

    /// A node became known: downloads that nobody gives to look whether it has some of them. A neighbour is asked by all others too,
    /// as long as they have a place for a source.
    pub(in crate::node::peer) fn heard_of_a_node(&mut self, now: Instant, neighbour: Option<SocketAddr>) {
        let max = self.config.limits.swarm.sources;
        for id in self.running_downloads() {
            let Some(download) = self.download_mut(id) else { continue };
            if let Some(starving) = &mut download.starving {
                starving.seek = starving.seek.min(now + SOON);
            } else if let Some(addr) = neighbour.filter(|addr| !download.was_tried(now, *addr)) {
                if download.sources.len() < max {
                    download.add_candidate(Candidate::perhaps(addr, now + SOON));
                }
            }
            self.arm_download(now, id);
        }
    }
}
