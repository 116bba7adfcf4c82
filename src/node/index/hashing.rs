//! Which file is hashed when, and how fast.

use super::file::{FileNo, State};
use super::table::Table;
use crate::machine::Meta;
use crate::node::timers::Timers;
use crate::proto::content::{FileHasher, Value};
use crate::time::{Duration, Instant};
use std::collections::VecDeque;

/// While transfers run a slice is hashed so often: two hundredths of the processor for 256 KiB.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// They count as running for so long after they ended: who fetches asks for piece after piece.
const BUSY_LASTS: Duration = Duration::from_millis(250);
/// Where the system has no descriptors or memory left nothing is opened for so long.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(10);
/// Files that were asked for.
const WANTED_MAX: usize = 64;
/// A file that changed, or cannot be read, is left alone for so long, and twice as long each time that happens again …
const RESTLESS_PAUSE: Duration = Duration::from_secs(1);
/// … doubled so often at most.
const RESTLESS_MAX: u8 = 8;
/// A file that was left alone for so long (nanoseconds) before it changed is read at once.
const CALM: u64 = 600_000_000_000;
/// Files that somebody doubted and that were not read again yet.
const DOUBTS_MAX: usize = 16;
/// Anybody may doubt anything: after a file that was read for it the next one waits so long at least …
const DOUBT_PAUSE: Duration = Duration::from_secs(10);
/// … and so long as the file would take at so many bytes a second.
const DOUBT_RATE: u64 = 4 << 20;

/// Which files' values go to the log while they are read, so that they are not held in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streaming {
    /// Files of so many bytes and more.
    pub(super) from: u64,
    /// The values of so many bytes at a time.
    pub(super) step: u64,
}

impl Default for Streaming {
    /// 64 KiB of values, and 8 KiB of them at a time.
    fn default() -> Streaming {
        Streaming { from: 2 << 30, step: 256 << 20 }
    }
}

/// The file that is being hashed.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) file: FileNo,
    /// What it was when it was opened; before that, when it was listed.
    pub(super) meta: Meta,
    /// The digest of its name.
    pub(super) path: u32,
    /// Its root is known: it is read for its values.
    pub(super) again: bool,
    hasher: FileHasher,
    stage: Stage,
    /// Values were handed on.
    streamed: bool,
    /// Hand on more from here.
    stream_at: u64,
    streaming: Streaming,
}

/// What work a change was the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The file had not been read.
    Nothing,
    /// A root that was known.
    Root,
    /// It was being read.
    UnderWay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    /// A slice is awaited.
    Reading,
    /// The next slice waits for its time.
    Resting,
}

impl Work {
    /// Bytes that were hashed.
    pub(super) fn offset(&self) -> u64 {
        self.hasher.bytes()
    }

    pub(super) fn is_opening(&self) -> bool {
        self.stage == Stage::Opening
    }

    pub(super) fn is_reading(&self) -> bool {
        self.stage == Stage::Reading
    }

    pub(super) fn is_resting(&self) -> bool {
        self.stage == Stage::Resting
    }

    /// It is open and this now.
    pub(super) fn opened(&mut self, meta: Meta) {
        (self.meta, self.stage) = (meta, Stage::Resting);
    }

    /// The next slice is asked for: where, and how long.
    pub(super) fn ask(&mut self, slice: usize) -> (u64, usize) {
        self.stage = Stage::Reading;
        let left = self.meta.size - self.offset();
        (self.offset(), usize::try_from(left).map_or(slice, |left| left.min(slice)))
    }

    /// A slice came. `Some(true)`: it was the last one; `None`: there is something else in the file than there was.
    pub(super) fn slice(&mut self, bytes: &[u8], meta: Meta) -> Option<bool> {
        let left = self.meta.size - self.offset();
        if !self.meta.is_still(&meta) || bytes.is_empty() || bytes.len() as u64 > left {
            return None;
        }
        self.stage = Stage::Resting;
        self.hasher.update(bytes);
        Some(self.offset() == self.meta.size)
    }

    /// Values of a long file to be handed on, and whether they are its first.
    pub(super) fn values(&mut self) -> Option<(bool, Vec<Value>)> {
        if self.meta.size < self.streaming.from || self.offset() < self.stream_at {
            return None;
        }
        self.stream_at = self.offset() + self.streaming.step;
        Some((!std::mem::replace(&mut self.streamed, true), self.hasher.take_values()))
    }

    pub(super) fn finish(self) -> crate::proto::content::Hashed {
        self.hasher.finish()
    }
}

#[derive(Debug, Default)]
pub(super) struct Hashing {
    pub(super) work: Option<Work>,
    /// To be hashed first.
    wanted: VecDeque<FileNo>,
    /// Files whose root is known and whose values somebody waits for.
    again: VecDeque<FileNo>,
    /// Files whose root is known and doubted.
    doubted: VecDeque<FileNo>,
    /// None of them is read before.
    doubt_next: Instant,
    /// Files that are left alone for a while.
    pauses: Timers<FileNo>,
    busy: bool,
    /// It was busy just before, and does as if it still were.
    busy_until: Instant,
    /// Nothing is opened or read before.
    next: Instant,
    pub(super) streaming: Streaming,
}

impl Hashing {
    /// Whether transfers run.
    pub(super) fn set_busy(&mut self, now: Instant, busy: bool) {
        if self.busy && !busy {
            self.busy_until = now + BUSY_LASTS;
        }
        self.busy = busy;
    }

    /// Hash this one first.
    pub(super) fn want(&mut self, file: FileNo) {
        if self.wanted.len() < WANTED_MAX && !self.wanted.contains(&file) {
            self.wanted.push_back(file);
        }
    }

    pub(super) fn is_anything_wanted(&self) -> bool {
        !self.wanted.is_empty() || !self.again.is_empty()
    }

    /// Read this one again for its values.
    pub(super) fn again(&mut self, file: FileNo) {
        let under_way = self.work.as_ref().is_some_and(|work| work.file == file);
        if !under_way && self.again.len() < WANTED_MAX && !self.again.contains(&file) {
            self.again.push_back(file);
        }
    }

    /// Somebody says that it is not what its root says: it is read again before long.
    pub(super) fn doubt(&mut self, file: FileNo) {
        let under_way = self.work.as_ref().is_some_and(|work| work.file == file);
        if !under_way && self.doubted.len() < DOUBTS_MAX && !self.doubted.contains(&file) {
            self.doubted.push_back(file);
        }
    }

    /// The next file, if it is time for it.
    pub(super) fn begin(&mut self, now: Instant, table: &mut Table, only_wanted: bool) -> Option<u32> {
        if self.work.is_some() || self.next > now {
            return None;
        }
        let next = |queue: &mut VecDeque<FileNo>, wanted: State| {
            let mut files = std::iter::from_fn(|| queue.pop_front()).filter_map(|file| table.slot(file));
            files.find(|&slot| table.get(slot).is_some_and(|file| file.state() == wanted))
        };
        let mut slot = next(&mut self.wanted, State::Waiting).or_else(|| next(&mut self.again, State::Known));
        if slot.is_none() && !only_wanted && self.doubt_next <= now {
            slot = next(&mut self.doubted, State::Known);
            let size = slot.and_then(|slot| table.get(slot)).map_or(0, |file| file.meta().size);
            if slot.is_some() {
                self.doubt_next = now + DOUBT_PAUSE.max(Duration::from_secs(size / DOUBT_RATE));
            }
        }
        let slot = slot.or_else(|| table.first_waiting().filter(|_| !only_wanted))?;
        let again = table.get(slot)?.state() == State::Known;
        let (file, meta, path) = (table.number(slot), table.get(slot)?.meta(), table.get(slot)?.path);
        if !again {
            table.set_state(slot, State::Hashing);
        }
        let (hasher, stage, streaming) = (FileHasher::new(), Stage::Opening, self.streaming);
        let stream_at = streaming.step;
        self.work =
            Some(Work { file, meta, path, again, hasher, stage, streamed: false, stream_at, streaming });
        Some(slot)
    }

    /// Whether the next slice or file may be asked for.
    pub(super) fn may_go_on(&self, now: Instant) -> bool {
        self.next <= now
    }

    /// A slice was hashed, or a file opened.
    pub(super) fn rest(&mut self, now: Instant) {
        if self.busy || now < self.busy_until {
            self.next = now + BUSY_PAUSE;
        }
    }

    /// The system can open no more.
    pub(super) fn shortage(&mut self, now: Instant) {
        self.next = now + SHORTAGE_PAUSE;
    }

    /// The file of that slot changed. It is left alone for a while, unless it was so for long. `old`: what it was before.
    pub(super) fn changed(&mut self, now: Instant, table: &mut Table, slot: u32, lost: Lost, old: Meta) {
        let Some(file) = table.get(slot) else { return };
        let calm = file.meta().mtime.abs_diff(old.mtime) > CALM && lost != Lost::UnderWay;
        let times = match file.restless() {
            _ if calm => 0,
            times if lost == Lost::Nothing => times,
            times => RESTLESS_MAX.min(times + 1),
        };
        table.set_restless(slot, times);
        if !calm {
            self.pause(now, table, slot, times);
        }
    }

    /// The file of that slot could not be read, and somebody wants it: later each time.
    pub(super) fn try_again(&mut self, now: Instant, table: &mut Table, slot: u32) {
        let Some(times) = table.get(slot).map(|file| file.restless()) else { return };
        table.set_restless(slot, RESTLESS_MAX.min(times + 1));
        self.pause(now, table, slot, times);
    }

    fn pause(&mut self, now: Instant, table: &mut Table, slot: u32, times: u8) {
        table.set_state(slot, State::Paused);
        let due = now + RESTLESS_PAUSE * (1 << times);
        self.pauses.set(table.number(slot), due, "left alone");
    }

    /// Files that were left alone long enough wait again.
    pub(super) fn end_pauses(&mut self, now: Instant, table: &mut Table, most: usize) {
        for _ in 0..most {
            let Some((file, _)) = self.pauses.pop_due(now) else { return };
            let slot = table.slot(file);
            if let Some(slot) = slot.filter(|&s| table.get(s).is_some_and(|f| f.state() == State::Paused)) {
                table.set_state(slot, State::Waiting);
            }
        }
    }

    /// It is gone.
    pub(super) fn forget(&mut self, file: FileNo) {
        self.pauses.cancel(file);
    }

    /// When there is something to do. `hash`: files may be read.
    pub(super) fn due(&mut self, table: &Table, hash: bool) -> Option<(Instant, &'static str)> {
        let pause = self.pauses.next_deadline().map(|deadline| (deadline.at, deadline.reason));
        let waits = match &self.work {
            Some(work) => work.is_resting(),
            None => table.first_waiting().is_some() || self.is_anything_wanted(),
        };
        let slice = (waits && hash).then_some((self.next, "hash"));
        let doubts = self.work.is_none() && !self.doubted.is_empty() && hash;
        let doubt = doubts.then_some((self.doubt_next.max(self.next), "doubted file"));
        [pause, slice, doubt].into_iter().flatten().min()
    }
}
