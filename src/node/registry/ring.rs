//! Who is given out, and in which order: verified nodes before the others, each kind in the order in which it was listed.
//! A sample goes round in that order, so that each answer goes on where the last one ended; pages go through it once.

use super::Registry;
use crate::proto::registry::Cursor;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound::{Excluded, Included, Unbounded};

/// So many verified nodes come first in an answer, …
const VERIFIED_FIRST: usize = 16;
/// … then so many that are not yet, however many verified ones there are: else nobody would hear of a newcomer whose probe is
/// late. Both fit into every answer: with the longest addresses, 26 nodes do.
const NEWCOMERS: usize = 2;

/// Listed nodes of one kind by ticket, and the ticket that was given out last.
#[derive(Debug, Default)]
struct Ring {
    nodes: BTreeMap<u64, SocketAddr>,
    last: u64,
}

impl Ring {
    /// All of them once, from the one behind the last.
    fn turn(&self) -> impl Iterator<Item = SocketAddr> {
        let behind = self.nodes.range((Excluded(self.last), Unbounded));
        behind.chain(self.nodes.range((Unbounded, Included(self.last)))).map(|(_, &addr)| addr)
    }
}

/// Where a node stands among those that are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) verified: bool,
    ticket: u64,
}

/// Nodes of one kind: given out to everybody, and to askers on this host only.
#[derive(Debug, Default)]
struct Kind {
    public: Ring,
    local: Ring,
}

impl Kind {
    fn ring(&mut self, addr: SocketAddr) -> &mut Ring {
        if addr.ip().is_loopback() { &mut self.local } else { &mut self.public }
    }

    /// All in turn. Public and local ones take turns, too: each gets half of the room, and all of it if the other has no more.
    fn turn(&self, on_host: bool) -> impl Iterator<Item = SocketAddr> {
        let mut public = self.public.turn();
        let mut local = self.local.turn().filter(move |_| on_host);
        let pairs = std::iter::from_fn(move || {
            let pair = [local.next(), public.next()];
            (pair != [None, None]).then_some(pair)
        });
        pairs.flatten().flatten()
    }

    /// Those behind `ticket`, in order.
    fn behind(&self, ticket: u64, on_host: bool) -> impl Iterator<Item = (u64, SocketAddr)> {
        let range = (Excluded(ticket), Unbounded);
        let mut public = self.public.nodes.range(range).map(|(&ticket, &addr)| (ticket, addr)).peekable();
        let mut local = self.local.nodes.range(range).map(|(&ticket, &addr)| (ticket, addr)).peekable();
        std::iter::from_fn(move || {
            let local_first = match (local.peek(), public.peek()) {
                (Some((mine, _)), Some((theirs, _))) => mine < theirs,
                (mine, _) => mine.is_some(),
            };
            if on_host && local_first { local.next() } else { public.next() }
        })
    }
}

/// All that are given out.
#[derive(Debug)]
pub(super) struct Listing {
    verified: Kind,
    others: Kind,
    /// The last ticket that was drawn.
    tickets: u64,
    /// Tells the tickets of this table from those of one before the last start.
    table: u32,
}

impl Listing {
    pub(super) fn new(table: u32) -> Listing {
        Listing { verified: Kind::default(), others: Kind::default(), tickets: 0, table }
    }

    fn kind(&mut self, verified: bool) -> &mut Kind {
        if verified { &mut self.verified } else { &mut self.others }
    }

    /// `addr`, which stood at `place`, is to be given out as verified or not, or (`None`) not at all. Where it stands now.
    pub(super) fn moved(
        &mut self,
        addr: SocketAddr,
        place: Option<Place>,
        wanted: Option<bool>,
    ) -> Option<Place> {
        if place.map(|place| place.verified) == wanted {
            return place;
        }
        if let Some(Place { verified, ticket }) = place {
            self.kind(verified).ring(addr).nodes.remove(&ticket);
        }
        let verified = wanted?;
        self.tickets += 1;
        let ticket = self.tickets;
        self.kind(verified).ring(addr).nodes.insert(ticket, addr);
        Some(Place { verified, ticket })
    }

    /// The cursor, if it is one of this table; else the beginning.
    fn checked(&self, cursor: Cursor) -> Cursor {
        let ours =
            cursor.table == self.table && cursor.verified <= self.tickets && cursor.others <= self.tickets;
        if ours { cursor } else { Cursor { table: self.table, verified: 0, others: 0 } }
    }

    #[cfg(test)]
    pub(super) fn at(&self, addr: SocketAddr, place: Place) -> bool {
        let kind = if place.verified { &self.verified } else { &self.others };
        let ring = if addr.ip().is_loopback() { &kind.local } else { &kind.public };
        ring.nodes.get(&place.ticket) == Some(&addr)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        [&self.verified, &self.others]
            .map(|kind| kind.public.nodes.len() + kind.local.nodes.len())
            .iter()
            .sum()
    }
}

/// A part of the listing, and where the next one goes on.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) nodes: Vec<SocketAddr>,
    /// The cursor behind each of them.
    cursors: Vec<Cursor>,
    start: Cursor,
    /// Whether there was more than these.
    cut: bool,
}

impl Page {
    /// Where to go on if the first `given` were given out, and whether there is something.
    pub(crate) fn next(&self, given: usize) -> (Cursor, bool) {
        let behind = given.checked_sub(1).and_then(|i| self.cursors.get(i)).copied();
        (behind.unwrap_or(self.start), self.cut || given < self.nodes.len())
    }
}

impl Registry {
    /// Up to `max` listed nodes, `caller` first, the others in turn: verified ones, with a few newcomers among them, then the
    /// rest. `on_host`: the asker is on this host and may learn of nodes that only this host reaches.
    pub(crate) fn sample(&self, caller: SocketAddr, on_host: bool, max: usize) -> Vec<SocketAddr> {
        let mut verified = self.listing.verified.turn(on_host).filter(|&addr| addr != caller);
        let mut others = self.listing.others.turn(on_host).filter(|&addr| addr != caller);
        let mut picked = vec![caller];
        picked.extend(verified.by_ref().take(VERIFIED_FIRST));
        picked.extend(others.by_ref().take(NEWCOMERS));
        picked.extend(verified.chain(others).take(max.saturating_sub(picked.len())));
        picked.truncate(max);
        picked
    }

    /// These were given out (besides the caller): the next sample goes on behind them.
    pub(crate) fn gave(&mut self, given: &[SocketAddr]) {
        for &addr in given {
            if let Some(place) = self.nodes.get(&addr).and_then(|node| node.place) {
                self.listing.kind(place.verified).ring(addr).last = place.ticket;
            }
        }
    }

    /// Up to `max` listed nodes behind `after`, the verified ones first; on the first page `caller` before all.
    pub(crate) fn page(&self, caller: SocketAddr, on_host: bool, after: Cursor, max: usize) -> Page {
        let start = self.listing.checked(after);
        let mut page = Page { nodes: Vec::new(), cursors: Vec::new(), start, cut: false };
        if (start.verified, start.others) == (0, 0) {
            page.nodes.push(caller);
            page.cursors.push(start);
        }
        let Listing { verified, others, .. } = &self.listing;
        let verified = verified.behind(start.verified, on_host).map(|(ticket, addr)| (true, ticket, addr));
        let others = others.behind(start.others, on_host).map(|(ticket, addr)| (false, ticket, addr));
        let mut cursor = start;
        for (verified, ticket, addr) in verified.chain(others) {
            if page.nodes.len() >= max {
                page.cut = true;
                break;
            }
            *(if verified { &mut cursor.verified } else { &mut cursor.others }) = ticket;
            if addr != caller {
                page.nodes.push(addr);
                page.cursors.push(cursor);
            }
        }
        page
    }
}
