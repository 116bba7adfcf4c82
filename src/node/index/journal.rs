//! The log of roots, driven: read at the start, appended to, copied without its garbage.
//!
//! What is appended counts once a read that follows it shows the log to be so long: an append has no answer of its own. While
//! that is awaited the next records are gathered, so small files share one append.

use super::Ask;
use super::compact::{Compaction, Log, Step};
use super::table::Table;
use crate::machine::{Fault, Meta};
use crate::proto::content::{Hashed, Root, Value};
use crate::proto::index_log::{Damage, Encoder, HEADER, Reader, header};
use std::collections::VecDeque;

/// Bytes gathered from which on nothing more is hashed before they are written.
const GATHERED_MAX: usize = 1 << 20;
/// So many bytes are worth an append while more small files are being hashed.
const APPEND_MIN: usize = 4096;
/// A log is copied without its garbage when it is longer than this and more than half of it is garbage.
const COMPACT_FROM: u64 = 1 << 20;

#[derive(Debug)]
enum State {
    /// Not asked for yet.
    Closed,
    Opening,
    Loading {
        reader: Box<Reader>,
        offset: u64,
    },
    Ready,
    /// It is open and what is in it is served, but nothing more can be written. It was not retried so often.
    Broken(u8),
    /// It could not be opened.
    Off,
    Compacting(Box<Compaction>),
}

#[derive(Debug)]
pub(super) struct Journal {
    state: State,
    /// Bytes of a read.
    slice: usize,
    /// Bytes that were given out to be written, and those of them that stand there.
    end: u64,
    confirmed: u64,
    /// To be written next.
    gathered: Vec<u8>,
    /// Whole records behind `confirmed`: where each begins and ends.
    unconfirmed: VecDeque<Unconfirmed>,
    /// The read that confirms is under way: for so many bytes.
    asked: Option<u64>,
    /// The record of a long file, written while it is hashed: where it begins.
    stream: Option<(Encoder, u64)>,
    /// Said already.
    warned: bool,
    /// A copy failed: not tried again.
    uncopyable: bool,
}

#[derive(Debug)]
struct Unconfirmed {
    meta: Meta,
    root: Root,
    at: u64,
    end: u64,
}

impl Journal {
    pub(super) fn new(slice: usize) -> Journal {
        Journal {
            state: State::Closed,
            slice,
            end: 0,
            confirmed: 0,
            gathered: Vec::new(),
            unconfirmed: VecDeque::new(),
            asked: None,
            stream: None,
            warned: false,
            uncopyable: false,
        }
    }

    pub(super) fn start(&mut self, asks: &mut VecDeque<Ask>) {
        self.state = State::Opening;
        asks.push_back(Ask::OpenLog { log: Log::Kept });
    }

    /// Whether everything it knew is in the table.
    pub(super) fn is_loaded(&self) -> bool {
        !matches!(self.state, State::Closed | State::Opening | State::Loading { .. })
    }

    /// Whether roots are kept over restarts.
    pub(super) fn is_writable(&self) -> bool {
        matches!(self.state, State::Ready | State::Compacting(_))
    }

    /// Whether it is being copied: nothing is written meanwhile, and where records stand is not to be told.
    pub(super) fn is_compacting(&self) -> bool {
        matches!(self.state, State::Compacting(_))
    }

    /// Whether the places of records in the table may be told to others.
    pub(super) fn is_settled(&self) -> bool {
        match &self.state {
            State::Compacting(compaction) => !compaction.is_switching(),
            _ => self.is_loaded(),
        }
    }

    /// Whether so much waits to be written that nothing more should be hashed.
    pub(super) fn is_congested(&self) -> bool {
        self.gathered.len() >= GATHERED_MAX
    }

    /// Whether all that was given to it stands in the log.
    fn is_idle(&self) -> bool {
        self.gathered.is_empty() && self.asked.is_none() && self.stream.is_none()
    }

    pub(super) fn opened(&mut self, log: Log, asks: &mut VecDeque<Ask>) {
        match (&mut self.state, log) {
            (State::Opening, Log::Kept) => {
                self.state = State::Loading { reader: Box::default(), offset: 0 };
                asks.push_back(Ask::ReadLog { log, offset: 0, len: self.slice });
            }
            (State::Compacting(compaction), Log::Fresh) => compaction.opened(asks),
            _ => {}
        }
    }

    /// What stands in a log.
    pub(super) fn read(
        &mut self,
        log: Log,
        (offset, bytes, meta): (u64, &[u8], Meta),
        table: &mut Table,
        asks: &mut VecDeque<Ask>,
    ) {
        match &mut self.state {
            State::Loading { reader, offset: wanted } if log == Log::Kept && offset == *wanted => {
                for entry in reader.push(bytes) {
                    table.keep(&entry);
                }
                *wanted += bytes.len() as u64;
                if bytes.is_empty() || *wanted >= meta.size || reader.damage().is_some() {
                    self.loaded(meta.size, asks);
                } else {
                    asks.push_back(Ask::ReadLog { log, offset: *wanted, len: self.slice });
                }
            }
            State::Ready if log == Log::Kept => {
                let Some(wanted) = self.asked.take() else { return };
                if meta.size < wanted {
                    return self.broke(Fault::Shrunk, asks);
                }
                self.confirmed = wanted;
                while self.unconfirmed.front().is_some_and(|record| record.end <= wanted) {
                    let Some(record) = self.unconfirmed.pop_front() else { return };
                    table.confirm(record.meta, record.root, record.at);
                }
            }
            State::Compacting(compaction) => {
                let step = compaction.read(log, (offset, bytes, meta), table, asks);
                self.stepped(step, asks);
            }
            _ => {}
        }
    }

    pub(super) fn failed(&mut self, log: Log, fault: Fault, asks: &mut VecDeque<Ask>) {
        match (&self.state, log) {
            (State::Opening, Log::Kept) => {
                self.state = State::Off;
                self.warn(fault);
            }
            (State::Loading { .. }, Log::Kept) => {
                self.state = State::Broken(0);
                self.warn(fault);
            }
            (State::Ready, Log::Kept) => self.broke(fault, asks),
            (State::Compacting(_), _) => self.stepped(Step::Failed(fault), asks),
            _ => {}
        }
    }

    /// All of the log was read that can be.
    fn loaded(&mut self, size: u64, asks: &mut VecDeque<Ask>) {
        let State::Loading { reader, .. } = &self.state else { return };
        let good = reader.good();
        match reader.damage() {
            Some(Damage::Version(_)) | None => {}
            Some(damage) => {
                log::warn!("the kept index is cut short, since {damage}: some files are hashed again");
            }
        }
        if good < size {
            asks.push_back(Ask::TruncateLog { log: Log::Kept, len: good });
        }
        (self.end, self.confirmed) = (good, good);
        if good == 0 {
            self.gathered.extend_from_slice(&header());
        }
        self.state = State::Ready;
    }

    /// The record of a file that was hashed. False: it will not stand in the log.
    pub(super) fn put(&mut self, (meta, path): (Meta, u32), hashed: &Hashed) -> bool {
        let at = self.end + self.gathered.len() as u64;
        let written = match self.stream.take() {
            Some((encoder, at)) => encoder.finish(hashed).map(|record| (record, at)),
            None if self.writes() => {
                crate::proto::index_log::encode(&meta, path, hashed, at).map(|record| (record, at))
            }
            None => None,
        };
        let Some(((bytes, entry), at)) = written else { return false };
        self.gathered.extend_from_slice(&bytes);
        self.unconfirmed.push_back(Unconfirmed { meta, root: hashed.root, at, end: entry.record.end });
        true
    }

    /// Whether a record that is not there will not come by waiting.
    pub(super) fn is_idle_or_broken(&self) -> bool {
        !matches!(self.state, State::Compacting(_)) && (self.is_idle() || !self.writes())
    }

    /// Values of a long file that is being hashed. They go into its record, if one can be written.
    pub(super) fn put_values(&mut self, (meta, path): (Meta, u32), first: bool, values: &[Value]) {
        if first && self.writes() {
            let at = self.end + self.gathered.len() as u64;
            if let Some((encoder, head)) = Encoder::begin(&meta, path, at) {
                self.gathered.extend_from_slice(&head);
                self.stream = Some((encoder, at));
            }
        }
        if let Some((encoder, _)) = &mut self.stream {
            self.gathered.extend(encoder.values(values).unwrap_or_default());
        }
    }

    /// The file that was being hashed will not be: its record is taken back.
    pub(super) fn take_back(&mut self, asks: &mut VecDeque<Ask>) {
        let Some((_, at)) = self.stream.take() else { return };
        match usize::try_from(at.saturating_sub(self.end)) {
            Ok(keep) if at >= self.end => self.gathered.truncate(keep),
            _ => {
                self.gathered.clear();
                self.end = at;
                self.asked = self.asked.map(|asked| asked.min(at));
                self.confirmed = self.confirmed.min(at);
                asks.push_back(Ask::TruncateLog { log: Log::Kept, len: at });
            }
        }
    }

    /// Writes what was gathered, if nothing is under way and it is worth while or it must not wait.
    pub(super) fn flush(&mut self, now: bool, asks: &mut VecDeque<Ask>) {
        let least = if now { 1 } else { APPEND_MIN };
        if !self.writes() || self.asked.is_some() || self.gathered.len() < least {
            return;
        }
        let bytes = std::mem::take(&mut self.gathered);
        self.end += bytes.len() as u64;
        self.asked = Some(self.end);
        asks.push_back(Ask::AppendLog { log: Log::Kept, bytes });
        asks.push_back(Ask::ReadLog { log: Log::Kept, offset: 0, len: 1 });
    }

    /// Everything was listed: every second time it writes again where writing failed, and opens what could not be opened.
    pub(super) fn retry(&mut self, asks: &mut VecDeque<Ask>) {
        match self.state {
            State::Off => self.start(asks),
            State::Broken(0) => self.state = State::Broken(1),
            State::Broken(_) if self.confirmed >= HEADER as u64 => {
                self.end = self.confirmed;
                asks.push_back(Ask::TruncateLog { log: Log::Kept, len: self.end });
                self.state = State::Ready;
            }
            _ => {}
        }
    }

    /// Whether it should be copied, given how many bytes of it are of use.
    pub(super) fn wants_compaction(&self, live: u64) -> bool {
        let garbage = self.confirmed.saturating_sub(live.saturating_add(HEADER as u64));
        let worth = self.confirmed > COMPACT_FROM && garbage > self.confirmed / 2;
        worth && !self.uncopyable && matches!(self.state, State::Ready)
    }

    /// Begins to copy it, if nothing is under way.
    pub(super) fn compact(&mut self, asks: &mut VecDeque<Ask>) {
        if self.is_idle() && matches!(self.state, State::Ready) {
            let compaction = Compaction::begin(self.confirmed, self.slice, asks);
            self.state = State::Compacting(Box::new(compaction));
        }
    }

    /// Where the records are now, a part of the table at a time. False: nothing to do.
    pub(super) fn switch(&mut self, table: &mut Table, asks: &mut VecDeque<Ask>) -> bool {
        let State::Compacting(compaction) = &mut self.state else { return false };
        if !compaction.is_switching() {
            return false;
        }
        let step = compaction.switch(table);
        self.stepped(step, asks);
        true
    }

    fn stepped(&mut self, step: Step, asks: &mut VecDeque<Ask>) {
        match step {
            Step::More => {}
            Step::Done { len } => {
                (self.end, self.confirmed) = (len, len);
                self.state = State::Ready;
            }
            Step::Failed(fault) => {
                log::debug!("the kept index cannot be copied: {fault}");
                self.uncopyable = true;
                asks.push_back(Ask::CloseLog { log: Log::Fresh });
                self.state = State::Ready;
            }
        }
    }

    pub(super) fn writes(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    /// Something was not written. What follows it would stand in the wrong place: cut to what is known to be right.
    fn broke(&mut self, fault: Fault, asks: &mut VecDeque<Ask>) {
        // The beginning of a record may stand there already.
        let begun = self.unconfirmed.front().map(|record| record.at);
        let begun = begun.or(self.stream.as_ref().map(|(_, at)| *at));
        self.confirmed = begun.map_or(self.confirmed, |at| at.min(self.confirmed));
        self.gathered = Vec::new();
        self.unconfirmed.clear();
        (self.asked, self.stream) = (None, None);
        asks.push_back(Ask::TruncateLog { log: Log::Kept, len: self.confirmed });
        self.state = State::Broken(0);
        self.warn(fault);
    }

    fn warn(&mut self, fault: Fault) {
        if !std::mem::replace(&mut self.warned, true) {
            log::warn!("the index cannot be kept: {fault}; shared files are hashed again after a restart");
        }
    }
}
