//! One download of known content, as far as it is about others: who has which pieces, what is asked of whom next, what came
//! right and what wrong. Pure: it is told, and asked; its owner speaks to sources and disks.
//!
//! A piece is fetched whole from one source, so that a wrong one has one culprit. Pieces of one group are fetched at a time,
//! because only its values are held. A source is asked in blocks, some of them ahead: as many as its measured rate and
//! round trip keep under way.
//!
//! When many fetch the same, each asks a full source for other pieces than the others, and them for the rest: each begins
//! with its own part of the group, which follows from where it stands among them ([`Swarm::stands`]); after that chance and
//! what they tell of decide. It does so best if who sends gives one asker the rest of a piece before it turns to the next:
//! pieces are then out, and told of, one after the other and not all at the end of the same time.

mod bits;
mod pick;
mod pieces;
mod rate;
mod source;

use crate::config::CHUNK;
use crate::node::meter::Meter;
use crate::proto::content::{Expected, group_of, group_range};
use crate::time::Instant;
use bits::Bits;
use pieces::{Pieces, State, place};
use source::{Flight, Source};
use std::collections::{BTreeMap, BTreeSet};

/// How much may be under way. All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The largest block: a whole number of chunks, at most a piece.
    pub block: u64,
    /// Asked of one source and not there yet.
    pub per_source: u64,
    /// The same for all sources together.
    pub total: u64,
}

/// A source of a swarm: numbers are never used twice in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceNo(pub u32);

/// Bytes of the file, inside one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The piece.
    pub piece: u64,
    /// The first byte, counted from the beginning of the file: a multiple of a chunk.
    pub offset: u64,
    /// Bytes: a whole number of chunks, or up to the file's end.
    pub len: u64,
}

/// What to ask a source for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// This.
    pub block: Block,
    /// In place of this source, which was too slow with the piece: what is asked of it for the piece is to be taken back,
    /// and what still comes from it is [`Came::Unwanted`].
    pub instead_of: Option<SourceNo>,
}

/// What bytes of a source came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// Not asked of that source, or not any more. They must not be stored.
    Unwanted,
    /// A part of a piece, to be stored.
    Part,
    /// The rest of a piece, and the piece is right. It counts once [`Swarm::stored`] is told.
    Right(u64),
    /// The rest of a piece, and the piece is wrong: it is to be fetched again, from somebody else. `strikes`: wrong
    /// pieces of this source so far.
    Wrong {
        /// The piece.
        piece: u64,
        /// Wrong pieces of this source, this one included.
        strikes: u32,
    },
}

/// One download of known content.
#[derive(Debug)]
pub struct Swarm {
    bounds: Bounds,
    rng: fastrand::Rng,
    pieces: Pieces,
    /// Right, and not stored yet.
    right: BTreeSet<u64>,
    sources: BTreeMap<SourceNo, Source>,
    next_no: u32,
    /// For each piece of the current group, how many sources have it that do not have all of the file.
    holders: Vec<u16>,
    /// When what [`Swarm::next`] says may be different only because time went by.
    again: Option<Instant>,
    /// Until when others are waited for who fetch the same, unless they tell of something new.
    patience: Option<Instant>,
    meter: Meter,
}

impl Swarm {
    /// Nothing is here, nobody has anything. `size`: at most [`crate::proto::content::SIZE_MAX`] bytes. `seed`: for
    /// choices among equals.
    pub fn new(size: u64, bounds: Bounds, seed: u64) -> Swarm {
        Swarm {
            bounds,
            rng: fastrand::Rng::with_seed(seed),
            pieces: Pieces::new(size),
            right: BTreeSet::new(),
            sources: BTreeMap::new(),
            next_no: 0,
            holders: vec![0; crate::proto::content::GROUP_PIECES as usize],
            again: None,
            patience: None,
            meter: Meter::default(),
        }
    }

    /// Whether every piece is here.
    pub fn is_complete(&self) -> bool {
        self.group().is_none()
    }

    /// Bytes of the pieces that are here.
    pub fn bytes(&self) -> u64 {
        self.pieces.bytes()
    }

    /// The same with what came of others so far, which may turn out wrong.
    pub fn arrived(&self) -> u64 {
        let flights = self.sources.values().flat_map(|source| &source.flights);
        self.pieces.bytes() + flights.map(|flight| flight.got).sum::<u64>()
    }

    /// Whether the piece is here: right, and stored.
    pub fn has(&self, piece: u64) -> bool {
        self.pieces.state(piece) == Some(State::Here)
    }

    /// The piece is here, from an earlier life: checked, or taken on trust.
    pub fn put(&mut self, piece: u64) {
        self.settle(piece, State::Here);
    }

    /// The piece may be here: it is not fetched until [`Swarm::put`] or [`Swarm::lose`] says what it is.
    pub fn doubt(&mut self, piece: u64) {
        self.settle(piece, State::Doubted);
    }

    /// The piece is not here (any more): it is to be fetched, from its beginning. What still comes of it from a source
    /// that was asked for it before is [`Came::Unwanted`].
    pub fn lose(&mut self, piece: u64) {
        self.settle(piece, State::Missing);
    }

    /// The group whose pieces are fetched: the first that is not all here. `None`: everything is.
    pub fn group(&self) -> Option<u64> {
        self.pieces.group()
    }

    /// Which pieces of a group are here: bit `n % 8` of byte `n / 8` for its n-th piece.
    pub fn map(&self, group: u64) -> Vec<u8> {
        let count = group_range(self.pieces.size(), group).map_or(0, |range| range.end - range.start);
        self.pieces.here(group).to_bytes(count as usize)
    }

    /// A source that may be asked, once it is known what it has.
    pub fn join(&mut self, now: Instant) -> SourceNo {
        let no = SourceNo(self.next_no);
        // Four thousand millions of sources do not come in the life of one download.
        self.next_no = self.next_no.wrapping_add(1);
        self.sources.insert(no, Source::new(now, &self.bounds));
        no
    }

    /// Whether the source stands before us in the row of all nodes, an order that all of them know: those who fetch the
    /// same share it out among them in that order.
    pub fn stands(&mut self, source: SourceNo, before_us: bool) {
        if let Some(source) = self.sources.get_mut(&source) {
            source.before_us = Some(before_us);
        }
    }

    /// The source is gone: what it was asked for is to be fetched from others. Nothing happens if it is gone already.
    pub fn leave(&mut self, now: Instant, source: SourceNo) {
        let _ = now;
        self.count(source, false);
        if let Some(mut gone) = self.sources.remove(&source) {
            self.free_all(&mut gone);
        }
    }

    /// It has all of the file.
    pub fn has_all(&mut self, source: SourceNo) {
        self.count(source, false);
        let group = self.group();
        if let Some(source) = self.sources.get_mut(&source) {
            source.full = true;
            source.spread(group);
        }
    }

    /// It has these pieces of a group, and no others (see [`Swarm::map`]); bits that stand for no piece are ignored. Of
    /// one group at a time: another group's map takes the place of this one, and once another group is fetched it is to
    /// be told again.
    pub fn has_pieces(&mut self, source: SourceNo, group: u64, map: &[u8]) {
        self.count(source, false);
        let all = self.pieces.all(group);
        if let Some(source) = self.sources.get_mut(&source) {
            source.full = false;
            (source.of, source.map) = (group, Bits::from_bytes(map).and(&all));
        }
        self.count(source, true);
    }

    /// It has this piece, too.
    pub fn has_piece(&mut self, source: SourceNo, piece: u64) {
        if self.pieces.state(piece).is_none() {
            return;
        }
        let group = self.group();
        let Some(source) = self.sources.get_mut(&source) else { return };
        // Of other groups nothing is counted, and of who has all neither. Only this piece's count changes: a message may
        // name hundreds.
        if !source.gains(piece, group) || source.full || Some(source.of) != group {
            return;
        }
        let holders = &mut self.holders[place(piece)];
        if *holders == 0 {
            self.patience = None;
        }
        *holders = holders.saturating_add(1);
    }

    /// The source has no time for a block, the first of those it was asked for or a later one: what did not
    /// come of that block and those asked after it for the same piece are to be asked again.
    pub fn put_back(&mut self, now: Instant, source: SourceNo, block: &Block) {
        let _ = now;
        let Some(source) = self.sources.get_mut(&source) else { return };
        if source.put_back(block) {
            self.pieces.set(block.piece, State::Missing);
        }
    }

    /// The source does not have the piece after all.
    pub fn lacks(&mut self, now: Instant, source: SourceNo, piece: u64) {
        let _ = now;
        self.count(source, false);
        if let Some(at) = self.sources.get_mut(&source) {
            if at.of == group_of(piece) {
                at.map.remove(place(piece));
            }
            if at.drop_flight(piece).is_some() {
                self.pieces.set(piece, State::Missing);
            }
        }
        self.count(source, true);
    }

    /// Bytes came, of one piece. `expected`: what their piece must come to.
    pub fn data(
        &mut self,
        now: Instant,
        source: SourceNo,
        offset: u64,
        bytes: &[u8],
        expected: &Expected,
    ) -> Came {
        let len = bytes.len() as u64;
        let ends = offset.checked_add(len) == Some(self.pieces.size());
        let whole = len > 0 && (ends || len % CHUNK as u64 == 0);
        let Some(source) = self.sources.get_mut(&source).filter(|_| whole) else { return Came::Unwanted };
        let Some(at) = source.flight_for(offset, len) else { return Came::Unwanted };
        self.meter.add(now, len);
        let Some(flight) = source.take(now, at, bytes) else { return Came::Part };
        let piece = flight.piece;
        if flight.hasher().verify(expected) {
            self.right.insert(piece);
            return Came::Right(piece);
        }
        source.strikes = source.strikes.saturating_add(1);
        let strikes = source.strikes;
        if self.pieces.group() == Some(group_of(piece)) {
            source.wrong.insert(place(piece));
        }
        self.pieces.set(piece, State::Missing);
        Came::Wrong { piece, strikes }
    }

    /// A source that sends the whole file from its beginning has come to this piece. True: it is missing, of the group
    /// that is fetched, and nobody fetches it: it is this source's now, its bytes go to [`Swarm::data`]. False: they are
    /// not needed. Its bytes are in no bound, because nobody asks for them; another source may get the piece in its place
    /// ([`Step::instead_of`]), and then the rest of it is not needed either.
    pub fn stream(&mut self, now: Instant, source: SourceNo, piece: u64) -> bool {
        let fetched = self.group() == Some(group_of(piece));
        let Some(source) = self.sources.get_mut(&source) else { return false };
        if !fetched || self.pieces.state(piece) != Some(State::Missing) || source.wrong.has(place(piece)) {
            return false;
        }
        source.begin(now);
        source.flights.push(Flight::new(self.pieces.size(), piece, true, 0));
        self.pieces.set(piece, State::Busy);
        true
    }

    /// The right piece is stored and counts.
    pub fn stored(&mut self, piece: u64) {
        if self.right.contains(&piece) {
            self.settle(piece, State::Here);
        }
    }

    /// Whether the source has something of the group that is missing here.
    pub fn is_useful(&self, source: SourceNo) -> bool {
        let Some(group) = self.group() else { return false };
        let Some(at) = self.sources.get(&source) else { return false };
        let all = self.pieces.all(group);
        !at.offers(group).and(&all).without(&self.pieces.here(group)).is_empty()
    }

    /// Numbers of sources go on where those of an earlier try of the same download ended.
    pub fn number_after(&mut self, earlier: &Swarm) {
        self.next_no = earlier.next_no;
    }

    /// Bytes asked of the source and not there yet.
    pub fn asked(&self, source: SourceNo) -> u64 {
        self.sources.get(&source).map_or(0, |source| source.asked)
    }

    /// Sources that owe bytes and sent none for too long: 10 s since the last ones, or since they began to owe. Each is
    /// named once for each such time. What they were asked for is to be fetched from others and is [`Came::Unwanted`] if
    /// it still comes; they may be asked again.
    pub fn late(&mut self, now: Instant) -> Vec<SourceNo> {
        self.again = self.again.filter(|&again| again > now);
        let late = |source: &Source| source.deadline().is_some_and(|deadline| deadline <= now);
        let named: Vec<SourceNo> = self.sources.iter().filter(|(_, s)| late(s)).map(|(&no, _)| no).collect();
        for no in &named {
            if let Some(mut source) = self.sources.remove(no) {
                self.free_all(&mut source);
                source.window.forget();
                self.sources.insert(*no, source);
            }
        }
        named
    }

    /// When to call [`Swarm::late`] next, and after it [`Swarm::next`] for every source: it may have something else to
    /// say only because time went by.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sources.values().filter_map(Source::deadline).chain(self.again).min()
    }

    /// Bytes a second that came from all sources lately.
    pub fn rate(&self, now: Instant) -> u64 {
        self.meter.at(now)
    }

    /// The same for one source: while it owed bytes.
    pub fn source_rate(&self, now: Instant, source: SourceNo) -> u64 {
        self.sources.get(&source).map_or(0, |source| source.window.meter.at(now))
    }

    /// The piece is known to be this now, whatever was under way of it.
    fn settle(&mut self, piece: u64, state: State) {
        if self.pieces.state(piece) == Some(State::Busy) && !self.right.remove(&piece) {
            self.sources.values_mut().any(|source| source.drop_flight(piece).is_some());
        }
        let before = self.group();
        self.pieces.set(piece, state);
        if self.group() != before {
            self.turn();
        }
    }

    /// Another group is fetched from now on.
    fn turn(&mut self) {
        self.holders.fill(0);
        let group = self.group();
        for no in self.sources.keys().copied().collect::<Vec<_>>() {
            if let Some(source) = self.sources.get_mut(&no) {
                source.wrong = Bits::NONE;
                source.spread(group);
            }
            self.count(no, true);
        }
    }

    /// What a source was asked for is to be fetched from others.
    fn free_all(&mut self, source: &mut Source) {
        for flight in source.flights.drain(..) {
            self.pieces.set(flight.piece, State::Missing);
        }
        source.asked = 0;
    }

    /// What the source has of the current group counts among what is held, or does not any more.
    fn count(&mut self, source: SourceNo, on: bool) {
        let Some(source) = self.sources.get(&source) else { return };
        if source.full || Some(source.of) != self.pieces.group() {
            return;
        }
        for at in source.map.iter() {
            let holders = &mut self.holders[at];
            *holders = if on { holders.saturating_add(1) } else { holders.saturating_sub(1) };
        }
    }
}

#[cfg(test)]
mod tests;
