//! The table of registered nodes: who is listed, whose lease ends when, who makes room. Pure: no connections here.
//!
//! ```text
//!             register                    lease nearly over            probe answered
//!   (new) ───────────────► Leased ───────────────────────────► probed ───────────────► Leased
//!   (file) ──► Remembered ──────── its turn after a start ───► probed
//!                                                              probed ── no answer ──► Doubtful{1}, {2}, then gone
//! ```
//!
//! Any registration leads back to `Leased`. A node is *verified* while its last probe was answered; that is what keeps
//! it when the table is full. *Listed*, given out to others, are `Leased` nodes, and `Remembered` ones for a short
//! time after a start.

mod ring;

use crate::config::unmapped;
use crate::machine::Deadline;
use crate::node::gate::source;
use crate::node::timers::Timers;
use crate::proto::address::{Here, Learned, admit, normalise};
use crate::proto::registry_file::Record;
use crate::time::{Duration, Instant, WallTime};
use fastrand::Rng;
use ring::{Listing, Place};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// After a start, remembered nodes are given out for so long, and all of them are probed within it.
pub(crate) const GRACE: Duration = Duration::from_secs(120);
/// A node is gone when this many probes more than one failed in a row.
const RETRIES: u8 = 2;
/// The mean wait before the first retry; the second takes twice as long.
const RETRY: Duration = Duration::from_secs(20);
/// With more nodes than this waiting to be probed, one whose lease ends is not given out until it was its turn.
const LONG_QUEUE: usize = 64;
/// An age beyond this, or below nothing, says that one of the two clocks was wrong.
const AGE_MAX_S: u64 = 30 * 24 * 3600;

/// Nodes by address.
#[derive(Debug)]
pub(crate) struct Registry {
    bounds: Bounds,
    nodes: BTreeMap<SocketAddr, Node>,
    /// Who makes room first: not verified before verified, long unseen before lately seen.
    by_age: BTreeSet<(bool, Instant, SocketAddr)>,
    /// Those that are given out.
    listing: Listing,
    /// When each lease is to be looked at.
    due: Timers<SocketAddr>,
    /// Nodes to be probed, first come first served.
    waiting: BTreeSet<(u64, SocketAddr)>,
    tickets: u64,
    /// Whether remembered nodes are still given out.
    grace: bool,
}

/// What the table is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) nodes: usize,
    /// Of one source (`gate::source`); loopback is exempt.
    pub(crate) per_ip: usize,
    pub(crate) lease: Duration,
    /// A node that renews does so at least this often.
    pub(crate) refresh: Duration,
    /// Where the registry itself listens.
    pub(crate) listen: SocketAddr,
}

#[derive(Debug)]
struct Node {
    first_seen: Moment,
    verified_at: Option<Moment>,
    /// When it last registered or answered.
    seen: Instant,
    verified: bool,
    standing: Standing,
    probe: Probe,
    /// Among those that are given out.
    place: Option<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Registered or answered a probe, less than a lease ago.
    Leased,
    /// Its lease ended and many others wait to be probed before it.
    Overdue,
    /// Read from the file, not heard of since.
    Remembered,
    /// So many probes in a row failed.
    Doubtful { failures: u8 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// Never probed.
    Untried,
    /// In the queue, with this ticket.
    Waiting(u64),
    /// Dialled now. Only if the answer `decides` does a failure count against the node: its lease is over.
    Dialling { decides: bool },
    /// Probed before.
    Tried,
}

/// A point in time that outlives the process: kept by the monotonic clock while we run, whatever the wall clock does.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Here(Instant),
    Before(Option<WallTime>),
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    /// A new node; the table may have dropped another for it.
    New,
    /// It was there already.
    Renewed,
}

/// No room for another node of this source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany(pub(crate) IpAddr);

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let net = if self.0.is_ipv6() { "/56" } else { "" };
        write!(f, "too many nodes from {}{net}", self.0)
    }
}

/// What became of a node whose probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// Stays as it was.
    Kept,
    /// Not given out until it is heard of again; probed again later.
    Doubted,
    /// Gone.
    Dropped,
}

impl Registry {
    /// An empty table; `number` tells its pages from those of other tables.
    pub(crate) fn new(bounds: Bounds, number: u32) -> Registry {
        Registry {
            bounds,
            nodes: BTreeMap::new(),
            by_age: BTreeSet::new(),
            listing: Listing::new(number),
            due: Timers::new(),
            waiting: BTreeSet::new(),
            tickets: 0,
            grace: true,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Armed timers.
    pub(crate) fn timers(&self) -> usize {
        self.due.len()
    }

    /// Takes a registration from `addr` in, or renews it.
    pub(crate) fn register(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        rng: &mut Rng,
    ) -> Result<Registered, TooMany> {
        let known = self.nodes.contains_key(&addr);
        if !known {
            self.make_room(now, addr)?;
            self.insert(now, addr, Moment::Here(now), None, Standing::Leased);
        }
        self.unqueue(addr);
        self.change(addr, |node| {
            node.seen = now;
            node.standing = Standing::Leased;
            if let Probe::Dialling { decides } = &mut node.probe {
                *decides = false;
            }
        });
        self.due.set(addr, now + self.probe_after(rng), "lease");
        Ok(if known { Registered::Renewed } else { Registered::New })
    }

    /// Takes the nodes of the file in, unverified; those heard of lately first, as many as there is room for.
    /// Returns how many.
    pub(crate) fn remember(
        &mut self,
        now: Instant,
        wall: Option<WallTime>,
        mut records: Vec<Record>,
        rng: &mut Rng,
    ) -> usize {
        records.sort_by_key(|record| {
            age(wall, record.last_verified).or(age(wall, record.first_seen)).unwrap_or(u64::MAX)
        });
        let before = self.len();
        for record in records {
            let addr = unmapped(record.addr);
            let full = self.len() >= self.bounds.nodes || self.crowded(addr.ip());
            if full || refusal(addr, self.bounds.listen).is_some() || self.nodes.contains_key(&addr) {
                continue;
            }
            let verified_at = record.last_verified.map(|t| Moment::Before(Some(t)));
            self.insert(now, addr, Moment::Before(record.first_seen), verified_at, Standing::Remembered);
            self.due.set(addr, now + fraction(GRACE, rng.f64()), "remembered node");
        }
        self.len() - before
    }

    /// From now on remembered nodes are given out only once they were heard of.
    pub(crate) fn end_grace(&mut self) {
        self.grace = false;
        let silent: Vec<SocketAddr> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.standing == Standing::Remembered)
            .map(|(&addr, _)| addr)
            .collect();
        for addr in silent {
            self.change(addr, |_| ());
        }
    }

    /// When [`Registry::expire`] has something to do.
    pub(crate) fn next_deadline(&mut self) -> Option<Deadline> {
        self.due.next_deadline()
    }

    /// Puts one node whose time has come into the queue of those to be probed; `false` if there is none.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let Some((addr, _)) = self.due.pop_due(now) else { return false };
        let crowd = self.waiting.len() >= LONG_QUEUE;
        let Some(node) = self.nodes.get(&addr) else { return true };
        if let Probe::Dialling { .. } = node.probe {
            self.change(addr, |node| node.probe = Probe::Dialling { decides: true });
            return true;
        }
        self.enqueue(addr);
        self.change(addr, |node| {
            if crowd && node.standing == Standing::Leased {
                node.standing = Standing::Overdue;
            }
        });
        true
    }

    /// Nodes waiting to be probed.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next node to probe. It is out of the queue: [`Registry::dialled`] or [`Registry::requeue`] must follow.
    pub(crate) fn next_waiting(&mut self) -> Option<SocketAddr> {
        self.waiting.pop_first().map(|(_, addr)| addr)
    }

    /// It cannot be dialled now: others first.
    pub(crate) fn requeue(&mut self, addr: SocketAddr) {
        self.enqueue(addr);
    }

    /// A node from the queue is being dialled.
    pub(crate) fn dialled(&mut self, addr: SocketAddr) {
        self.change(addr, |node| node.probe = Probe::Dialling { decides: true });
    }

    /// Whether the node was not probed yet.
    pub(crate) fn is_untried(&self, addr: SocketAddr) -> bool {
        self.nodes.get(&addr).is_some_and(|node| node.probe == Probe::Untried)
    }

    /// A node that is not in the queue is being dialled; its silence will not count.
    pub(crate) fn dialled_early(&mut self, addr: SocketAddr) {
        self.change(addr, |node| node.probe = Probe::Dialling { decides: false });
    }

    /// The node answered.
    pub(crate) fn answered(&mut self, now: Instant, addr: SocketAddr, rng: &mut Rng) {
        if !self.nodes.contains_key(&addr) {
            return;
        }
        self.unqueue(addr);
        self.change(addr, |node| {
            node.probe = Probe::Tried;
            node.verified = true;
            node.verified_at = Some(Moment::Here(now));
            node.seen = now;
            node.standing = Standing::Leased;
        });
        self.due.set(addr, now + self.probe_after(rng), "lease");
    }

    /// The node did not answer.
    pub(crate) fn failed(&mut self, now: Instant, addr: SocketAddr, rng: &mut Rng) -> AfterFailure {
        let Some(node) = self.nodes.get(&addr) else { return AfterFailure::Kept };
        // Another node may have had this address when the dial began.
        let Probe::Dialling { decides } = node.probe else { return AfterFailure::Kept };
        let failures = match node.standing {
            Standing::Doubtful { failures } => failures + 1,
            _ => 1,
        };
        if decides && failures > RETRIES {
            self.remove(addr);
            return AfterFailure::Dropped;
        }
        self.change(addr, |node| {
            node.probe = Probe::Tried;
            node.verified = false;
            if decides {
                node.standing = Standing::Doubtful { failures };
            }
        });
        if !decides {
            return AfterFailure::Kept;
        }
        self.due.set(addr, now + fraction(RETRY * u32::from(failures), 0.5 + rng.f64()), "probe again");
        AfterFailure::Doubted
    }

    /// The probe failed for a reason of this host's: it says nothing about the node, and is made again.
    pub(crate) fn inconclusive(&mut self, now: Instant, addr: SocketAddr, rng: &mut Rng) {
        let Some(node) = self.nodes.get(&addr) else { return };
        let Probe::Dialling { decides } = node.probe else { return };
        self.change(addr, |node| node.probe = if decides { Probe::Tried } else { Probe::Untried });
        if decides {
            self.due.set(addr, now + fraction(RETRY, 0.5 + rng.f64()), "probe again");
        }
    }

    /// What the file is to keep, the most trusted first.
    pub(crate) fn records(&self, now: Instant, wall: Option<WallTime>) -> Vec<Record> {
        let wall_time = |moment: Moment| match moment {
            Moment::Before(time) => time,
            Moment::Here(at) => wall.map(|wall| WallTime(wall.0.saturating_sub(now.since(at).as_secs()))),
        };
        let record = |&(_, _, addr): &(bool, Instant, SocketAddr)| {
            let node = self.nodes.get(&addr)?;
            let last_verified = node.verified_at.and_then(wall_time);
            Some(Record { addr, first_seen: wall_time(node.first_seen), last_verified })
        };
        self.by_age.iter().rev().filter_map(record).collect()
    }

    /// The time from being heard of to the probe: the last tenth of a lease, by lot, so that nodes which came
    /// together are not dialled together, and the answer is there before the lease is over.
    fn probe_after(&self, rng: &mut Rng) -> Duration {
        fraction(self.bounds.lease, 1.0 - 0.1 * rng.f64())
    }

    /// Drops a node if that is what a newcomer takes.
    fn make_room(&mut self, now: Instant, newcomer: SocketAddr) -> Result<(), TooMany> {
        if self.crowded(newcomer.ip()) {
            // A node that moved to another port leaves its old entry behind: that one may go. The others of this
            // source are in use.
            let stale = self
                .of_source(newcomer.ip())
                .filter(|(_, node)| !node.verified && now.since(node.seen) > self.bounds.refresh)
                .min_by_key(|(_, node)| node.seen)
                .map(|(&addr, _)| addr);
            self.remove(stale.ok_or(TooMany(source(newcomer.ip())))?);
        }
        if self.nodes.len() >= self.bounds.nodes {
            if let Some(&(_, _, addr)) = self.by_age.first() {
                self.remove(addr);
            }
        }
        Ok(())
    }

    fn crowded(&self, ip: IpAddr) -> bool {
        !ip.is_loopback() && self.of_source(ip).take(self.bounds.per_ip).count() >= self.bounds.per_ip
    }

    /// All nodes of the source that `ip` belongs to.
    fn of_source(&self, ip: IpAddr) -> impl Iterator<Item = (&SocketAddr, &Node)> {
        let ip = source(ip);
        self.nodes.range(SocketAddr::new(ip, 0)..).take_while(move |(addr, _)| source(addr.ip()) == ip)
    }

    fn insert(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        first_seen: Moment,
        verified_at: Option<Moment>,
        standing: Standing,
    ) {
        let probe = Probe::Untried;
        let node = Node { first_seen, verified_at, seen: now, verified: false, standing, probe, place: None };
        self.by_age.insert((node.verified, node.seen, addr));
        self.nodes.insert(addr, node);
        self.change(addr, |_| ());
    }

    fn remove(&mut self, addr: SocketAddr) {
        self.unqueue(addr);
        self.due.cancel(addr);
        if let Some(node) = self.nodes.remove(&addr) {
            self.listing.moved(addr, node.place, None);
            self.by_age.remove(&(node.verified, node.seen, addr));
        }
    }

    /// The one place where a node changes: the indexes follow.
    fn change(&mut self, addr: SocketAddr, edit: impl FnOnce(&mut Node)) {
        let Some(node) = self.nodes.get_mut(&addr) else { return };
        let before = (node.verified, node.seen, addr);
        edit(node);
        let after = (node.verified, node.seen, addr);
        let listed = match node.standing {
            Standing::Leased => true,
            Standing::Remembered => self.grace,
            Standing::Overdue | Standing::Doubtful { .. } => false,
        };
        node.place = self.listing.moved(addr, node.place, listed.then_some(node.verified));
        if before != after {
            self.by_age.remove(&before);
            self.by_age.insert(after);
        }
    }

    fn enqueue(&mut self, addr: SocketAddr) {
        let ticket = self.tickets;
        self.tickets += 1;
        self.waiting.insert((ticket, addr));
        self.change(addr, |node| node.probe = Probe::Waiting(ticket));
    }

    fn unqueue(&mut self, addr: SocketAddr) {
        if let Some(Node { probe: Probe::Waiting(ticket), .. }) = self.nodes.get(&addr) {
            self.waiting.remove(&(*ticket, addr));
            self.change(addr, |node| node.probe = if node.verified { Probe::Tried } else { Probe::Untried });
        }
    }
}

/// Why a node at `addr` is not taken in, if so. `listen`: our own socket, which is no node.
pub(crate) fn refusal(addr: SocketAddr, listen: SocketAddr) -> Option<String> {
    let ip = addr.ip();
    // Without the interface it was seen on, a link-local address leads nowhere; and IPv4 in other clothes than
    // the mapped form would list an address that nobody observed.
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if link_local || normalise(ip) != ip {
        return Some(format!("{ip} cannot be given to others"));
    }
    let here = Here { interfaces: &[], listen };
    admit(addr, Learned::Observed, &here).err().map(|refused| format!("{addr}: {refused}"))
}

/// Seconds since `then`, if both clocks can be believed.
fn age(wall: Option<WallTime>, then: Option<WallTime>) -> Option<u64> {
    wall?.0.checked_sub(then?.0).filter(|&age| age <= AGE_MAX_S)
}

fn fraction(whole: Duration, part: f64) -> Duration {
    Duration::from_secs_f64(whole.as_secs_f64() * part)
}

#[cfg(test)]
mod tests;
