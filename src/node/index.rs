//! The share index: every file beneath the shared folder with size, time and BLAKE3 root.
//!
//! Files are found by listings, at the start, after hints of changes and now and then; what is new is hashed, one file and
//! one slice at a time; roots are kept over restarts in a log by inode and name, size and times. The index touches nothing
//! itself: it asks ([`Index::poll_output`]) and is told. Whoever owns it allots the ids, and tells it only of files and
//! requests that it asked for and has not closed since. After every call it may have more to ask, and another deadline.
//!
//! At most [`Limits::index_files`] files are in it, and as many roots again that no file has claimed yet (from the log, or
//! of files that vanished): those are forgotten after the next listing of everything. A file takes about 200 bytes beside
//! its name.
//!
//! Hashed are first files that were asked for, then those that somebody doubts, then the smaller before the larger: not
//! while a listing is under way, since a large file that is begun keeps all others waiting.

mod compact;
mod file;
mod hashing;
mod journal;
mod lists;
mod order;
pub(crate) mod port;
mod requests;
mod scan;
mod search;
mod sweep;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod view;

pub use compact::Log;
pub use file::FileNo;
pub use search::Cursor;
pub use view::{FileView, Progress};

use crate::config::{CHUNK, Limits};
use crate::machine::{Entry, Fault, LeftOut, ListEnd, Meta};
use crate::proto::content::{FileHasher, PIECE, SIZE_MAX};
use crate::proto::escape::for_log;
use crate::proto::name::check_name;
use crate::time::{Duration, Instant};
use file::State;
use hashing::{Hashing, Lost};
use journal::Journal;
use lists::Lists;
use scan::{Scan, Stage};
use std::collections::VecDeque;
use sweep::Warned;
use table::{Table, Taken};

/// Files whose pause ends at the same call.
const PAUSES_PER_CALL: usize = 64;

/// What the index asks of its owner. File and log operations are carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each variant's sentence speaks of its fields
pub enum Ask {
    /// Tell [`Index::changed`] and [`Index::watch_lost`] of the shared folder from now on.
    Watch,
    /// List the shared files beneath `folder`: [`Index::listed`]. One at a time.
    List { folder: String, deep: bool, max: usize },
    /// Open the file to be hashed: [`Index::opened`] or [`Index::failed`]. One at a time.
    Open { name: String },
    /// Read of it: [`Index::read`] or [`Index::failed`]. One at a time; a file that was closed meanwhile has no answer.
    Read { offset: u64, len: usize },
    /// Close it.
    Close,
    /// Open a log (the fresh one is made anew): [`Index::log_opened`] or [`Index::log_failed`].
    OpenLog { log: Log },
    /// Read of it: [`Index::log_read`] or [`Index::log_failed`]. One at a time for each log.
    ReadLog { log: Log, offset: u64, len: usize },
    /// Write behind what it holds. No answer but [`Index::log_failed`].
    AppendLog { log: Log, bytes: Vec<u8> },
    /// Cut it. No answer but [`Index::log_failed`].
    TruncateLog { log: Log, len: u64 },
    /// Give the fresh log the name of the kept one. No answer but [`Index::log_failed`] for the fresh one.
    CommitLog,
    /// The commit did not fail: close the kept log; the fresh one is the kept one from now on.
    ReplaceLog,
    /// Close a log.
    CloseLog { log: Log },
}

/// The share index of a node.
#[derive(Debug)]
pub struct Index {
    asks: VecDeque<Ask>,
    table: Table,
    journal: Journal,
    /// Of files that the journal does not have.
    lists: Lists,
    /// None until the log was read.
    scan: Option<Scan>,
    hashing: Hashing,
    rescan_unseen: Duration,
    /// Files that may be in it.
    room: usize,
    /// Bytes of a read.
    slice: usize,
    limited: bool,
    /// At the last listing of everything.
    left_out: LeftOut,
    /// Said already.
    warned: Warned,
}

impl Index {
    /// Empty; it asks for nothing before [`Index::start`].
    pub fn new(limits: &Limits) -> Index {
        let slice = limits.run_chunks.max(1) * CHUNK;
        Index {
            asks: VecDeque::new(),
            table: Table::new(limits.index_files),
            journal: Journal::new(slice),
            lists: Lists::new(limits.lists_held),
            scan: None,
            hashing: Hashing::default(),
            room: limits.index_files,
            rescan_unseen: limits.rescan_unseen,
            slice,
            limited: false,
            left_out: LeftOut::default(),
            warned: Warned::default(),
        }
    }

    /// Asks for the log; once that is read it watches and lists.
    pub fn start(&mut self, now: Instant) {
        self.journal.start(&mut self.asks);
        self.pump(now);
    }

    /// The next thing to carry out.
    pub fn poll_output(&mut self) -> Option<Ask> {
        self.asks.pop_front()
    }

    /// When [`Index::timeout`] is due, and why. May lie in the past: then it is due now.
    pub fn poll_timeout(&mut self) -> Option<(Instant, &'static str)> {
        let scan = self.scan.as_ref()?;
        if !self.journal.is_loaded() {
            return None;
        }
        if !self.journal.is_settled() {
            return Some((Instant::ZERO, "index switch"));
        }
        if self.journal.is_compacting() {
            return None;
        }
        let listing = match &scan.job {
            Some(job) if job.stage != Stage::Naming => Some((Instant::ZERO, "index sweep")),
            Some(_) => None,
            None if self.wants_compaction() => None,
            None => scan.due().map(|due| (due, "index listing")),
        };
        let may_hash = !self.journal.is_congested() && !self.wants_compaction();
        let may_hash = may_hash && (!self.is_naming() || self.hashing.is_anything_wanted());
        // A file that was begun is read to its end.
        let hash = self.hashing.due(&self.table, may_hash || self.hashing.work.is_some());
        [listing, hash].into_iter().flatten().min()
    }

    /// Does what is due, a bounded part of it.
    pub fn timeout(&mut self, now: Instant) {
        if !self.journal.switch(&mut self.table, &mut self.asks) {
            self.sweep(now);
        }
        self.hashing.end_pauses(now, &mut self.table, PAUSES_PER_CALL);
        self.pump(now);
    }

    /// A part of the listing that was asked for.
    pub fn listed(&mut self, now: Instant, entries: &[Entry], end: &ListEnd) {
        let Some(job) = self.scan.as_ref().and_then(|scan| scan.job.as_ref()) else { return };
        if job.stage != Stage::Naming {
            return;
        }
        let seen = job.seen;
        let (mut left_out, mut full) = (LeftOut::default(), false);
        for entry in entries {
            if let Some(job) = self.scan.as_mut().and_then(|scan| scan.job.as_mut()) {
                job.note_device(entry.meta.device);
            }
            if check_name(&entry.name).is_err() {
                left_out.names += 1;
                left_out.note(|| entry.name.clone());
            } else {
                full |= !self.take(now, entry, seen);
            }
        }
        self.end_part(now, &left_out, full, end);
        self.pump(now);
    }

    /// The file to be hashed is open.
    pub fn opened(&mut self, now: Instant, meta: Meta) {
        let Some(work) = self.hashing.work.as_ref().filter(|work| work.is_opening()) else { return };
        let Some(slot) = self.table.slot(work.file) else { return };
        if !matches!(self.table.update(slot, meta), Taken::Same(_)) {
            // Between listing and now: what is there now counts.
            self.settle(slot);
            if self.table.get(slot).is_none_or(|file| file.state() != State::Waiting) {
                self.abandon();
                return self.pump(now);
            }
            self.table.set_state(slot, State::Hashing);
        }
        // What the listing said beyond that, too.
        let meta = self.table.get(slot).map_or(meta, |file| file.meta());
        let known = self.table.get(slot).is_some_and(|file| file.root().is_some());
        if let Some(work) = &mut self.hashing.work {
            work.again = known;
            work.opened(meta);
        }
        self.pump(now);
    }

    /// A slice of the file that is being hashed.
    pub fn read(&mut self, now: Instant, offset: u64, bytes: &[u8], meta: Meta) {
        let Some(work) = self.hashing.work.as_mut() else { return };
        if !work.is_reading() || work.offset() != offset {
            return;
        }
        match work.slice(bytes, meta) {
            None => self.spoiled(now, meta),
            Some(ended) => {
                // The last ones are left to the end of the record.
                let of = (work.meta, work.path);
                // Without a log they are held, if there is room for all of them.
                let stay = ended || !self.journal.writes() && self.lists.may_hold(work.meta.size);
                let values = if stay { None } else { work.values() };
                if let Some((first, values)) = values {
                    self.journal.put_values(of, first, &values);
                }
                self.hashing.rest(now);
                if ended {
                    self.finish();
                }
            }
        }
        self.pump(now);
    }

    /// The file to be hashed could not be opened, or not be read. `fatal`: it is closed.
    pub fn failed(&mut self, now: Instant, fault: Fault, fatal: bool) {
        let Some(work) = &self.hashing.work else { return };
        let (file, meta, again) = (work.file, work.meta, work.again);
        if fatal {
            self.hashing.work = None;
            self.journal.take_back(&mut self.asks);
        } else {
            self.abandon();
        }
        if let Some(slot) = self.table.slot(file) {
            match fault {
                // It is tried again when somebody asks again, and listed soon.
                _ if again && !matches!(fault, Fault::TooManyOpen | Fault::NoMemory) => {}
                Fault::Shrunk => self.hashing.changed(now, &mut self.table, slot, Lost::UnderWay, meta),
                Fault::TooManyOpen | Fault::NoMemory => {
                    self.hashing.shortage(now);
                    if !again {
                        self.table.set_state(slot, State::Waiting);
                    }
                }
                _ => {
                    log::debug!("a shared file cannot be hashed: {fault}");
                    self.table.set_state(slot, State::Unreadable);
                }
            }
        }
        self.pump(now);
    }

    /// A log is open.
    pub fn log_opened(&mut self, now: Instant, log: Log) {
        self.journal.opened(log, &mut self.asks);
        self.pump(now);
    }

    /// What stands in a log.
    pub fn log_read(&mut self, now: Instant, log: Log, offset: u64, bytes: &[u8], meta: Meta) {
        self.journal.read(log, (offset, bytes, meta), &mut self.table, &mut self.asks);
        self.pump(now);
    }

    /// An operation on a log failed. `fatal`, which only opening it is, changes nothing here.
    pub fn log_failed(&mut self, now: Instant, log: Log, fault: Fault, fatal: bool) {
        let _ = fatal;
        self.journal.failed(log, fault, &mut self.asks);
        self.pump(now);
    }

    /// A hint: something changed directly in the folder, or (`deep`) the folder itself with all beneath it.
    pub fn changed(&mut self, now: Instant, folder: &str, deep: bool) {
        if let Some(scan) = &mut self.scan {
            scan.changed(now, folder, deep);
        }
    }

    /// A file of ours was put there, whole, in this folder; `deep`: the folder itself, with all that is in it.
    pub fn changed_by_us(&mut self, now: Instant, folder: &str, deep: bool) {
        if let Some(scan) = &mut self.scan {
            scan.changed_by_us(now, folder, deep);
        }
        self.pump(now);
    }

    /// The disk has a file that the index has not. Whether it will be known soon if it is offered.
    pub fn missed(&mut self, now: Instant, name: &str) -> bool {
        let waits = self.scan.as_mut().is_none_or(|scan| scan.missed(now, name));
        self.pump(now);
        waits
    }

    /// Changes may go unseen from now on.
    pub fn watch_lost(&mut self, now: Instant) {
        if let Some(scan) = &mut self.scan {
            scan.watch_lost(now);
        }
    }

    /// Whether transfers run: then hashing takes little.
    pub fn set_busy(&mut self, now: Instant, busy: bool) {
        self.hashing.set_busy(now, busy);
    }

    /// A listing named this file. False: there is no room for it.
    fn take(&mut self, now: Instant, entry: &Entry, seen: u32) -> bool {
        let before = self.table.find(&entry.name).and_then(|slot| self.table.get(slot));
        let before = before.map(|file| (file.meta(), file.state()));
        match self.table.take(&entry.name, entry.meta, seen) {
            Taken::Full => return false,
            Taken::Same(slot) => {
                if before.is_some_and(|(_, state)| state == State::Unreadable) {
                    self.table.set_state(slot, State::Waiting);
                    self.settle(slot);
                }
            }
            Taken::New(slot) => self.settle(slot),
            Taken::Adopted(slot) => self.drop_work(slot),
            Taken::Changed(slot) => {
                self.drop_work(slot);
                self.settle(slot);
                let waits = self.table.get(slot).is_some_and(|file| file.state() == State::Waiting);
                if let Some((old, state)) = before.filter(|_| waits) {
                    let lost = match state {
                        State::Known => Lost::Root,
                        State::Hashing => Lost::UnderWay,
                        _ => Lost::Nothing,
                    };
                    self.left_alone(now, slot, lost, old);
                }
            }
        }
        true
    }

    /// What needs no reading, or cannot be offered: an empty file, and one that is too long.
    fn settle(&mut self, slot: u32) {
        match self.table.get(slot).map(|file| (file.meta().size, file.root())) {
            Some((0, None)) => self.table.set_root(slot, FileHasher::new().finish().root),
            Some((size, None)) if size > SIZE_MAX => self.table.set_state(slot, State::Unreadable),
            _ => {}
        }
    }

    fn left_alone(&mut self, now: Instant, slot: u32, lost: Lost, old: Meta) {
        self.hashing.changed(now, &mut self.table, slot, lost, old);
    }

    /// The file of that slot is no longer to be hashed as it was.
    fn drop_work(&mut self, slot: u32) {
        let no = self.table.number(slot);
        if self.hashing.work.as_ref().is_some_and(|work| work.file == no) {
            self.abandon();
        }
    }

    /// Closes the file that is being hashed.
    fn abandon(&mut self) {
        if self.hashing.work.take().is_some() {
            self.journal.take_back(&mut self.asks);
            self.asks.push_back(Ask::Close);
        }
    }

    /// The file that is being hashed changed meanwhile.
    fn spoiled(&mut self, now: Instant, meta: Meta) {
        let Some(work) = &self.hashing.work else { return };
        let (file, old) = (work.file, work.meta);
        self.abandon();
        let Some(slot) = self.table.slot(file) else { return };
        if matches!(self.table.update(slot, meta), Taken::Adopted(_)) {
            return;
        }
        self.settle(slot);
        if self.table.get(slot).is_some_and(|file| matches!(file.state(), State::Waiting | State::Hashing)) {
            self.left_alone(now, slot, Lost::UnderWay, old);
        }
    }

    fn finish(&mut self) {
        let Some(work) = self.hashing.work.take() else { return };
        let (file, of) = (work.file, (work.meta, work.path));
        let hashed = work.finish();
        self.asks.push_back(Ask::Close);
        if let Some(slot) = self.table.slot(file) {
            let before = self.table.get(slot).and_then(|file| Some((file.name(), file.root()?)));
            if let Some((name, _)) = before.filter(|(_, root)| *root != hashed.root) {
                log::warn!("{} has other bytes than before, under the same size and time", for_log(name));
            }
            self.table.set_root(slot, hashed.root);
        }
        if !self.journal.put(of, &hashed) {
            self.lists.keep(hashed);
        }
    }

    /// Files are being named: a smaller one than those known so far may come.
    fn is_naming(&self) -> bool {
        let job = self.scan.as_ref().and_then(|scan| scan.job.as_ref());
        job.is_some_and(|job| job.stage == Stage::Naming)
    }

    fn wants_compaction(&self) -> bool {
        let listed = self.scan.as_ref().is_some_and(|scan| scan.wholes() > 0);
        listed && self.journal.wants_compaction(self.table.live())
    }

    /// Goes on with whatever may go on.
    fn pump(&mut self, now: Instant) {
        if !self.journal.is_loaded() {
            return;
        }
        if self.scan.is_none() {
            self.asks.push_back(Ask::Watch);
        }
        let unseen = self.rescan_unseen;
        let scan = self.scan.get_or_insert_with(|| Scan::new(now, unseen));
        if self.journal.is_compacting() {
            return;
        }
        let quiet = scan.job.is_none() && self.hashing.work.is_none();
        let wants_compaction = scan.wholes() > 0 && self.journal.wants_compaction(self.table.live());
        if wants_compaction && quiet {
            self.journal.flush(true, &mut self.asks);
            return self.journal.compact(&mut self.asks);
        }
        if !wants_compaction {
            if let Some(job) = scan.begin(now) {
                let (folder, deep) = (job.folder.clone(), job.deep);
                self.asks.push_back(Ask::List { folder, deep, max: self.room });
            }
        }
        if !wants_compaction && !self.journal.is_congested() {
            let only_wanted = self.is_naming();
            if let Some(slot) = self.hashing.begin(now, &mut self.table, only_wanted) {
                let name = self.table.get(slot).map_or_else(String::new, |file| file.name().to_owned());
                self.asks.push_back(Ask::Open { name });
            }
        }
        let may_go_on = self.hashing.may_go_on(now);
        if let Some(work) = self.hashing.work.as_mut().filter(|work| may_go_on && work.is_resting()) {
            let (offset, len) = work.ask(self.slice);
            self.asks.push_back(Ask::Read { offset, len });
        }
        // The records of small files share an append, but wait for no long one.
        let waits = self.hashing.work.as_ref().is_some_and(|work| work.meta.size <= PIECE);
        self.journal.flush(!waits, &mut self.asks);
    }
}
