//! A copy of the log without its garbage, in slices, while nothing is written to it.

use super::Ask;
use super::table::Table;
use crate::machine::{Fault, Meta};
use crate::proto::index_log::{HEADER, Reader, header};
use std::collections::VecDeque;
use std::ops::Range;

/// Slots of the table told of their new places at a time.
const SWITCH_SLOTS: u32 = 4096;

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Log {
    /// The one that is read at the start and kept.
    Kept,
    /// The one that is to replace it.
    Fresh,
}

/// What came of a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Go on.
    More,
    /// The copy has taken the log's place and is so long.
    Done { len: u64 },
    /// The log stays as it was.
    Failed(Fault),
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The fresh log is being opened.
    Opening,
    /// A slice of the old one is read for what is in it.
    Finding,
    /// Records that are still of use are read to be copied.
    Copying,
    /// The fresh one is put in the old one's place.
    Committing,
    /// The table is told, from this slot on.
    Switching(u32),
}

#[derive(Debug)]
pub(super) struct Compaction {
    stage: Stage,
    slice: usize,
    reader: Reader,
    /// Bytes of the old log that were looked at, and all of them.
    looked: u64,
    end: u64,
    /// Records to be copied, neighbours joined.
    live: VecDeque<Range<u64>>,
    /// What was copied: where it stood, and where it stands.
    copied: Vec<(Range<u64>, u64)>,
    /// Bytes of the fresh log.
    len: u64,
}

impl Compaction {
    pub(super) fn begin(end: u64, slice: usize, asks: &mut VecDeque<Ask>) -> Compaction {
        asks.push_back(Ask::OpenLog { log: Log::Fresh });
        Compaction {
            stage: Stage::Opening,
            slice,
            reader: Reader::new(),
            looked: 0,
            end,
            live: VecDeque::new(),
            copied: Vec::new(),
            len: 0,
        }
    }

    /// Whether the old log is gone, and not all of the table knows.
    pub(super) fn is_switching(&self) -> bool {
        matches!(self.stage, Stage::Switching(_))
    }

    pub(super) fn opened(&mut self, asks: &mut VecDeque<Ask>) {
        if self.stage == Stage::Opening {
            self.append(header().to_vec(), asks);
            self.go_on(asks);
        }
    }

    pub(super) fn read(
        &mut self,
        log: Log,
        (offset, bytes, meta): (u64, &[u8], Meta),
        table: &Table,
        asks: &mut VecDeque<Ask>,
    ) -> Step {
        match (&self.stage, log) {
            (Stage::Finding, Log::Kept) if offset == self.looked => {
                if bytes.is_empty() {
                    return Step::Failed(Fault::Shrunk);
                }
                self.find(bytes, table);
            }
            (Stage::Copying, Log::Kept) => {
                let Some(range) = self.live.front_mut().filter(|range| range.start == offset) else {
                    return Step::More;
                };
                if bytes.is_empty() || bytes.len() as u64 > range.end - range.start {
                    return Step::Failed(Fault::Shrunk);
                }
                range.start += bytes.len() as u64;
                if range.is_empty() {
                    self.live.pop_front();
                }
                self.copied(offset, bytes.len() as u64);
                self.append(bytes.to_vec(), asks);
            }
            (Stage::Committing, Log::Fresh) => {
                if meta.size != self.len {
                    return Step::Failed(Fault::Shrunk);
                }
                asks.push_back(Ask::ReplaceLog);
                self.stage = Stage::Switching(0);
                return Step::More;
            }
            _ => return Step::More,
        }
        self.go_on(asks);
        Step::More
    }

    /// Tells a part of the table where its records stand now.
    pub(super) fn switch(&mut self, table: &mut Table) -> Step {
        let Stage::Switching(from) = self.stage else { return Step::More };
        let end = table.slots().min(from.saturating_add(SWITCH_SLOTS));
        for slot in from..end {
            let Some(old) = table.get(slot).and_then(|file| file.record()) else { continue };
            table.set_record(slot, self.place_of(old));
        }
        self.stage = Stage::Switching(end);
        if end < table.slots() { Step::More } else { Step::Done { len: self.len } }
    }

    fn go_on(&mut self, asks: &mut VecDeque<Ask>) {
        if let Some(range) = self.live.front() {
            self.stage = Stage::Copying;
            let len = usize::try_from(range.end - range.start).map_or(self.slice, |len| len.min(self.slice));
            asks.push_back(Ask::ReadLog { log: Log::Kept, offset: range.start, len });
        } else if self.looked < self.end && self.reader.damage().is_none() {
            self.stage = Stage::Finding;
            asks.push_back(Ask::ReadLog { log: Log::Kept, offset: self.looked, len: self.slice });
        } else {
            self.stage = Stage::Committing;
            asks.push_back(Ask::CommitLog);
            // A commit has no answer: the read that follows it shows that it did not fail.
            asks.push_back(Ask::ReadLog { log: Log::Fresh, offset: 0, len: 1 });
        }
    }

    fn find(&mut self, bytes: &[u8], table: &Table) {
        self.looked += bytes.len() as u64;
        for entry in self.reader.push(bytes) {
            let Range { start, end } = entry.record;
            if !table.uses(entry.meta.inode, entry.path, start) {
                continue;
            }
            match self.live.back_mut().filter(|last| last.end == start) {
                Some(last) => last.end = end,
                None => self.live.push_back(start..end),
            }
        }
    }

    fn copied(&mut self, from: u64, bytes: u64) {
        match self.copied.last_mut().filter(|(old, _)| old.end == from) {
            Some((old, _)) => old.end += bytes,
            None => self.copied.push((from..from + bytes, self.len)),
        }
    }

    fn append(&mut self, bytes: Vec<u8>, asks: &mut VecDeque<Ask>) {
        self.len += bytes.len() as u64;
        asks.push_back(Ask::AppendLog { log: Log::Fresh, bytes });
    }

    /// Where a record stands now that began at `old`.
    fn place_of(&self, old: u64) -> Option<u64> {
        debug_assert!(old >= HEADER as u64);
        let behind = self.copied.partition_point(|(range, _)| range.start <= old);
        let (range, new) = self.copied.get(behind.checked_sub(1)?)?;
        range.contains(&old).then(|| new + (old - range.start))
    }
}
