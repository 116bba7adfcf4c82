//! One source: what it has, what it was asked for, how it does.

use super::bits::Bits;
use super::pieces::place;
use super::rate::Window;
use super::{Block, Bounds};
use crate::proto::content::{PIECE, PieceHasher, group_of, piece_len};
use crate::time::{Duration, Instant};

/// A source that owes bytes sends some at least so often. From the table of hostile input, case 109.
pub(super) const LATE: Duration = Duration::from_secs(10);

/// A piece under way from one source. Bytes of it are counted from its beginning.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) piece: u64,
    len: u64,
    pub(super) asked: u64,
    pub(super) got: u64,
    hasher: PieceHasher,
    /// Nobody asks for it, it comes by itself.
    streamed: bool,
    /// How often it was taken from one source and given to another.
    pub(super) taken: u32,
}

impl Flight {
    pub(super) fn new(size: u64, piece: u64, streamed: bool, taken: u32) -> Flight {
        let hasher = PieceHasher::new(size, piece);
        Flight { piece, len: piece_len(size, piece), asked: 0, got: 0, hasher, streamed, taken }
    }

    /// Bytes that were asked for and are not there.
    pub(super) fn owed(&self) -> u64 {
        self.asked.saturating_sub(self.got)
    }

    /// Bytes that are not there.
    pub(super) fn rest(&self) -> u64 {
        self.len - self.got
    }

    pub(super) fn is_asked(&self) -> bool {
        self.streamed || self.asked == self.len
    }

    /// The next block, at most `most` bytes long.
    pub(super) fn block(&self, most: u64) -> Block {
        let offset = self.piece * PIECE + self.asked;
        Block { piece: self.piece, offset, len: most.min(self.len - self.asked) }
    }

    /// Whether these are its next bytes, and no more than it waits for.
    fn takes(&self, offset: u64, len: u64) -> bool {
        let awaited = if self.streamed { self.rest() } else { self.owed() };
        offset == self.piece * PIECE + self.got && len <= awaited
    }

    pub(super) fn hasher(self) -> PieceHasher {
        self.hasher
    }
}

/// A source.
#[derive(Debug)]
pub(super) struct Source {
    /// Whether it stands before us in the row of all nodes, once that is known.
    pub(super) before_us: Option<bool>,
    /// It has the whole file.
    pub(super) full: bool,
    /// The group that `map` speaks of: what it has of that.
    pub(super) of: u64,
    pub(super) map: Bits,
    /// Pieces of the current group that it had wrong.
    pub(super) wrong: Bits,
    pub(super) strikes: u32,
    /// In the order of asking.
    pub(super) flights: Vec<Flight>,
    /// The sum of what they owe.
    pub(super) asked: u64,
    pub(super) window: Window,
    /// When it began to owe bytes, or sent the last of them.
    pub(super) heard: Instant,
    /// The piece it was asked for last.
    pub(super) last: Option<u64>,
}

impl Source {
    pub(super) fn new(now: Instant, bounds: &Bounds) -> Source {
        Source {
            before_us: None,
            full: false,
            of: 0,
            map: Bits::NONE,
            wrong: Bits::NONE,
            strikes: 0,
            flights: Vec::new(),
            asked: 0,
            window: Window::new(bounds),
            heard: now,
            last: None,
        }
    }

    /// What it may be asked for of the current group.
    pub(super) fn offers(&self, group: u64) -> Bits {
        if self.of == group { self.map.without(&self.wrong) } else { Bits::NONE }
    }

    /// Who has all of the file has all of the group that is fetched now.
    pub(super) fn spread(&mut self, group: Option<u64>) {
        if let (true, Some(group)) = (self.full, group) {
            (self.of, self.map) = (group, Bits::ALL);
        }
    }

    /// One more piece of it, of the group that is fetched now or that its map speaks of.
    /// Whether that is new.
    pub(super) fn gains(&mut self, piece: u64, group: Option<u64>) -> bool {
        let of = group_of(piece);
        if of != self.of && Some(self.of) == group {
            return false;
        }
        if of != self.of {
            (self.of, self.map) = (of, Bits::NONE);
        }
        let new = !self.map.has(place(piece));
        self.map.insert(place(piece));
        new
    }

    /// Whether bytes are to come from it.
    pub(super) fn owes(&self) -> bool {
        self.asked > 0 || self.flights.iter().any(|flight| flight.streamed)
    }

    /// The flight that goes on with these bytes.
    pub(super) fn flight_for(&self, offset: u64, len: u64) -> Option<usize> {
        self.flights.iter().position(|flight| flight.takes(offset, len))
    }

    /// A block of one of its flights is asked for. The first of an idle source starts the clocks.
    pub(super) fn ask(&mut self, now: Instant, flight: usize, len: u64) {
        self.begin(now);
        self.flights[flight].asked += len;
        self.asked += len;
    }

    /// Bytes are to come from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        if !self.owes() {
            self.window.start(now);
            self.heard = now;
        }
    }

    /// Bytes of one of its flights came. Gives the flight if that was its end.
    pub(super) fn take(&mut self, now: Instant, flight: usize, bytes: &[u8]) -> Option<Flight> {
        let len = bytes.len() as u64;
        self.window.came(now, len);
        self.heard = now;
        let at = &mut self.flights[flight];
        at.hasher.update(bytes);
        at.got += len;
        if !at.streamed {
            self.asked -= len;
        }
        (at.rest() == 0).then(|| self.flights.remove(flight))
    }

    /// It is not to fetch the piece any more. Whether it did.
    pub(super) fn drop_flight(&mut self, piece: u64) -> Option<Flight> {
        let at = self.flights.iter().position(|flight| flight.piece == piece)?;
        let flight = self.flights.remove(at);
        self.asked -= flight.owed();
        Some(flight)
    }

    /// The block, as far as it did not come, and what was asked for behind it in its piece, was not asked for. True: nothing
    /// of the piece came, it may as well be somebody else's.
    pub(super) fn put_back(&mut self, block: &Block) -> bool {
        let Some(at) = self.flights.iter().position(|flight| flight.piece == block.piece) else {
            return false;
        };
        let flight = &mut self.flights[at];
        let Some(from) = block.offset.checked_sub(flight.piece * PIECE) else { return false };
        // A source may send some of a block before it has no time for the rest.
        let from = from.max(flight.got);
        if flight.streamed || from >= flight.asked {
            return false;
        }
        self.asked -= flight.asked - from;
        flight.asked = from;
        if from == 0 {
            self.flights.remove(at);
        }
        from == 0
    }

    /// When it is late, unless it sends something before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.owes().then(|| self.heard + LATE)
    }
}
