//! What to ask a source for: the rest of what it is asked for already, a piece that nobody fetches, or one that somebody
//! fetches too slowly.

use super::bits::Bits;
use super::pieces::{State, piece_at, place};
use super::source::{Flight, Source};
use super::{SourceNo, Step, Swarm};
use crate::config::CHUNK;
use crate::proto::content::{PIECE, group_of};
use crate::time::{Duration, Instant};

/// A source that has sent nothing for so long, and for as long as [`LUMP`] takes it, has stalled.
const STALL: u64 = 1_000_000;
/// A slow source may deliver in lumps of so many bytes.
const LUMP: u64 = 64 * 1024;
/// What is left of a stalled source's piece takes so long, in microseconds: until it is late.
const STALLED: u64 = 10_000_000;
/// A piece of somebody who was never measured takes so long, in microseconds.
const UNKNOWN: u64 = 1_000_000;
/// Others who fetch the same are waited for at most so long, in microseconds.
const PATIENCE: u64 = 5_000_000;
/// What depends on measured rates is looked at again after so long.
const LOOK: Duration = Duration::from_millis(100);

impl Swarm {
    /// What to ask this source for now, `room` bytes at most (a rate limit's; below a chunk: nothing). It counts as asked
    /// from now on. Called again until it says nothing.
    pub fn next(&mut self, now: Instant, source: SourceNo, room: u64) -> Option<Step> {
        let at = self.sources.get(&source)?;
        let (flight, instead_of) = match at.flights.iter().position(|flight| !flight.is_asked()) {
            Some(open) => (open, None),
            None => self.open(now, source, room)?,
        };
        let most = self.bounds.block.min(room);
        let at = self.sources.get(&source)?;
        let mut block = at.flights[flight].block(self.bounds.block);
        if !self.fits(at, block.len) {
            return None;
        }
        if block.len > most {
            block.len = most - most % CHUNK as u64;
        }
        if block.len == 0 {
            return None;
        }
        self.sources.get_mut(&source)?.ask(now, flight, block.len);
        Some(Step { block, instead_of })
    }

    /// Whether so many more bytes may be asked of the source. The first always may.
    fn fits(&self, source: &Source, len: u64) -> bool {
        let total: u64 = self.sources.values().map(|source| source.asked).sum();
        (source.asked == 0 || source.asked.saturating_add(len) <= source.window.bytes())
            && (total == 0 || total.saturating_add(len) <= self.bounds.total)
    }

    /// Begins a piece, if a block of it can be asked for at once.
    fn open(&mut self, now: Instant, no: SourceNo, room: u64) -> Option<(usize, Option<SourceNo>)> {
        let source = self.sources.get(&no)?;
        if room < CHUNK as u64 || !self.fits(source, self.bounds.block) {
            return None;
        }
        let group = self.group()?;
        let free = self.pieces.missing(group).and(&source.offers(group));
        let (piece, from) = match free.is_empty() {
            true => self.slowest(now, no, group).map(|(piece, from)| (piece, Some(from)))?,
            false => (piece_at(group, self.pick(now, no, group, &free)?), None),
        };
        let dropped = from.and_then(|from| self.sources.get_mut(&from)?.drop_flight(piece));
        let taken = dropped.map_or(0, |flight| flight.taken + 1);
        self.pieces.set(piece, State::Busy);
        let flight = Flight::new(self.pieces.size(), piece, false, taken);
        let source = self.sources.get_mut(&no)?;
        source.flights.push(flight);
        source.last = Some(piece);
        Some((source.flights.len() - 1, from))
    }

    /// One of these pieces: rarest first.
    fn pick(&mut self, now: Instant, no: SourceNo, group: u64, free: &Bits) -> Option<usize> {
        let fewest = free.iter().map(|at| self.holders[at]).min()?;
        let source = self.sources.get(&no)?;
        if source.full && fewest > 0 && self.is_spared(source, group) {
            self.look_again(now + LOOK);
            return None;
        }
        let mut equal = Bits::NONE;
        free.iter().filter(|&at| self.holders[at] == fewest).for_each(|at| equal.insert(at));
        let others = if source.full && fewest == 0 { self.fetching(group).count() } else { 0 };
        if others > 0 {
            let own = equal.and(&self.own_part(group));
            if self.waits(now, no, others, equal.count(), !own.is_empty()) {
                return None;
            }
            equal = if own.is_empty() { equal } else { own };
        }
        let last = self.sources.get(&no)?.last.filter(|_| others == 0);
        let next = last.map(|last| last + 1).filter(|&next| group_of(next) == group).map(place);
        if let Some(next) = next.filter(|&next| equal.has(next)) {
            return Some(next);
        }
        let chance = self.rng.usize(..equal.count().max(1));
        equal.iter().nth(chance)
    }

    /// Sources that still fetch the group themselves, most likely from the same full sources.
    fn fetching(&self, group: u64) -> impl Iterator<Item = &Source> {
        let all = self.pieces.all(group);
        let fetches = move |source: &&Source| source.of == group && !all.without(&source.map).is_empty();
        self.sources.values().filter(|source| !source.full).filter(fetches)
    }

    /// The part of the group that is fetched here from full sources before any other, so that each of those who fetch the same
    /// begins with another one: they stand in a row that all of them know, and so do equal parts. Where not all know each other
    /// some of it is another's, too.
    fn own_part(&self, group: u64) -> Bits {
        let others = || self.fetching(group).filter_map(|source| source.before_us);
        let (place, row) = (others().filter(|before_us| *before_us).count(), others().count() + 1);
        let count = self.pieces.all(group).count();
        let mut part = Bits::NONE;
        (place * count / row..(place + 1) * count / row).for_each(|at| part.insert(at));
        part
    }

    /// Whether a full source is not asked yet for one of the `left` pieces that only full sources have, because others are
    /// likely to fetch the same one just now: they tell of it in a moment. No piece is begun long before the last one ends.
    /// And when there are few of them, all are under way; who still wants one that is not of his `own` part waits about as
    /// long as a piece takes him, by chance: in that time one of those who wait has fetched it, and told the others.
    fn waits(&mut self, now: Instant, no: SourceNo, others: usize, left: usize, own: bool) -> bool {
        let Some(source) = self.sources.get(&no) else { return false };
        let rate = source.window.meter.mean();
        if source.asked > (rate.saturating_mul(2 * source.window.trip()) / 1_000_000).max(LUMP) {
            return true;
        }
        if rate == 0 || own || left > 2 * others {
            return false;
        }
        let time = (PIECE * 1_000_000 / rate).min(PATIENCE);
        let chance = Duration::from_micros(time / 2 + self.rng.u64(..=time));
        let until = *self.patience.get_or_insert(now + chance);
        if until <= now {
            self.patience = None;
            return false;
        }
        self.look_again(until);
        true
    }

    /// Whether a full source is left to those who need it more: what is missing here others have, who are together as
    /// fast as all full sources are. They are many when many download the same; a source is asked before it is known.
    fn is_spared(&self, source: &Source, group: u64) -> bool {
        let missing = self.pieces.missing(group);
        let (mut partly, mut fully) = (0, 0u64);
        for source in self.sources.values() {
            if source.full {
                fully += source.window.meter.mean();
            } else if !source.offers(group).and(&missing).is_empty() {
                partly += source.window.meter.mean();
            }
        }
        source.window.is_known() && partly >= fully && self.sources.values().any(|source| source.asked > 0)
    }

    /// The piece that another source takes longest for, if this one does it clearly sooner: at least in half the time, and
    /// again half of that for each time it was taken from somebody already, so that none goes to and fro.
    fn slowest(&mut self, now: Instant, no: SourceNo, group: u64) -> Option<(u64, SourceNo)> {
        let source = self.sources.get(&no)?;
        let offers = source.offers(group);
        let mut found: Option<(u64, u64, SourceNo)> = None;
        let mut others = false;
        for (&other, holder) in self.sources.iter().filter(|(other, _)| **other != no) {
            let mut ahead = 0;
            for flight in &holder.flights {
                ahead += flight.rest();
                if group_of(flight.piece) != group || !offers.has(place(flight.piece)) {
                    continue;
                }
                others = true;
                let (rest, own) = (holder.takes(now, ahead), source.would_take(flight));
                let clearly = own.saturating_mul(2 << flight.taken.min(16)) < rest;
                if clearly && found.is_none_or(|(longest, ..)| rest > longest) {
                    found = Some((rest, flight.piece, other));
                }
            }
        }
        if found.is_none() && others {
            self.look_again(now + LOOK);
        }
        found.map(|(_, piece, other)| (piece, other))
    }

    fn look_again(&mut self, at: Instant) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }
}

impl Source {
    /// Microseconds until so many bytes came, as far as that can be said. Nothing while nothing can.
    fn takes(&self, now: Instant, bytes: u64) -> u64 {
        let rate = self.window.meter.at(now);
        let micros = bytes.saturating_mul(1_000_000).checked_div(rate);
        let silent = u64::try_from((now - self.heard).as_micros()).unwrap_or(u64::MAX);
        let lump = (LUMP * 1_000_000).checked_div(self.window.meter.mean()).unwrap_or(0);
        match micros {
            _ if silent >= STALL + lump => micros.unwrap_or(STALLED).max(STALLED),
            micros => micros.unwrap_or(0),
        }
    }

    /// Microseconds that this source would take for another's piece.
    fn would_take(&self, flight: &Flight) -> u64 {
        let bytes = self.asked + flight.rest() + flight.got;
        let known = bytes.saturating_mul(1_000_000).checked_div(self.window.meter.mean());
        known.unwrap_or(UNKNOWN).saturating_add(self.window.trip())
    }
}
