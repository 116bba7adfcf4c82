//! An unfinished download on the disk: its temporary file, its journal, and the order of writes and syncs that loses nothing
//! and claims nothing that is not there (HOSTILE.md 4.1). Pure: it asks for disk operations and is told what became of them.
//! It holds no bytes; others store them in the file and say so.
//!
//! What the journal claims was durable before it was claimed, so a claim is wrong only where something else than we touched
//! the file, or the disk lost it. A mark says that the file, when it had this time, was right in everything claimed before.
//! Only a mark that ends the journal makes it believed on a sample; while any claim is wrong or was not checked, none is
//! written, and one that stands there is made void. So nothing has to be taken out of a journal, but one: a piece that was
//! claimed and wrong, and was stored anew before a sync failed, reads as if it were there. It is taken back.
//!
//! Where bytes are taken off a journal's end this is made durable before a byte is stored: else a power cut could bring back
//! a claim of a piece that was fetched anew meanwhile, and is not all there.

mod batch;
mod claims;
mod failing;
mod journal;
mod opening;
mod ranges;
#[cfg(test)]
mod tests;
mod words;

pub use words::{Ask, Told, Which};

use crate::machine::{Fault, Meta};
use crate::proto::content::{Expected, Root, piece_len};
use crate::time::Instant;
use batch::Batch;
use claims::{Claims, SAMPLE};
use fastrand::Rng;
use journal::{Journal, Loaded};
use std::collections::VecDeque;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The journal is being opened, then read.
    Loading,
    /// What was done to the journal is made durable before anything else: then the content's file is made …
    BeforeCreate,
    /// … or opened.
    BeforeOpen,
    Creating,
    Opening,
    Open,
    /// A sync failed: the file is opened anew.
    Reopening,
    /// The journal's last sync.
    Closing,
    Committing,
    Over,
}

/// What is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Download,
    Finish,
    Pause,
    /// Bytes could not be stored.
    Stop(Fault),
}

/// An unfinished download on the disk.
#[derive(Debug)]
pub struct Part {
    size: u64,
    slice: usize,
    rng: Rng,
    asks: VecDeque<Ask>,
    told: VecDeque<Told>,
    stage: Stage,
    goal: Goal,
    journal: Journal,
    claims: Claims,
    batch: Batch,
    /// The content's file was asked for, and not to be closed.
    open: bool,
    /// It may stand there under its temporary name.
    exists: bool,
    /// Nothing of this download was there before.
    fresh: bool,
    sync_failures: u8,
    /// The last sync was asked for on the way to its end.
    ending: bool,
    /// Bytes of the content's file when it was last looked at. Nobody but us writes in it, so it gets no shorter.
    len: u64,
    /// How often it was found to be longer or shorter than we left it.
    changes: u8,
    /// Claimed pieces to look at before the others are believed.
    sample: u64,
}

impl Part {
    /// Begins, or goes on with what an earlier life left (`exists`). `name`: the final name, kept in the journal.
    /// `seed`: chooses what is looked at of what is claimed. `slice`: bytes of one read.
    pub fn new(root: Root, size: u64, name: &str, exists: bool, seed: u64, slice: usize) -> Part {
        Part {
            size,
            slice: slice.max(1),
            rng: Rng::with_seed(seed),
            asks: VecDeque::from([Ask::OpenJournal]),
            told: VecDeque::new(),
            stage: Stage::Loading,
            goal: Goal::Download,
            journal: Journal::new(root, size, name),
            claims: Claims::default(),
            batch: Batch::default(),
            open: false,
            exists,
            fresh: !exists,
            sync_failures: 0,
            ending: false,
            len: 0,
            changes: 0,
            sample: SAMPLE,
        }
    }

    /// What to do next, in order.
    pub fn poll_output(&mut self) -> Option<Ask> {
        self.asks.pop_front()
    }

    /// What happened, in order.
    pub fn poll_told(&mut self) -> Option<Told> {
        let trusted = self.claims.pop_trusted().map(|piece| Told::Checked { piece, right: true });
        trusted.or_else(|| self.told.pop_front())
    }

    /// When to call [`Part::timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let due = self.batch.due().filter(|_| self.may_begin() && self.goal == Goal::Download)?;
        Some((due, "part batch"))
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant) {
        self.pump(now);
    }

    /// The content's file was made; so many bytes the disk has room for.
    pub fn created(&mut self, now: Instant, room: u64) {
        if self.stage != Stage::Creating {
            return;
        }
        if room < self.size {
            self.remove();
            return self.end(Told::NoRoom { room });
        }
        self.len = self.size;
        self.begin_storing(now);
    }

    /// A file is open, and what it is now.
    pub fn opened(&mut self, now: Instant, which: Which, meta: Meta) {
        match (which, self.stage) {
            (Which::Journal, Stage::Loading) if self.fresh => self.begin_anew(meta.size, Stage::BeforeCreate),
            (Which::Journal, Stage::Loading) if meta.size == 0 => self.doubt_all(0),
            (Which::Journal, Stage::Loading) => self.read_journal(),
            // One that is longer than it should be would be so under its final name, too.
            (Which::Part, Stage::Opening) if meta.size > self.size => {
                self.discard_part();
                self.begin_anew(self.journal.len(), Stage::BeforeCreate);
            }
            (Which::Part, Stage::Opening) => self.opened_part(now, meta),
            (Which::Part, Stage::Reopening) if !self.is_length(meta) => self.changed(),
            (Which::Part, Stage::Reopening) => self.begin_storing(now),
            _ => {}
        }
    }

    /// What stands in a file.
    pub fn read(&mut self, now: Instant, which: Which, offset: u64, bytes: &[u8], meta: Meta) {
        match (which, self.stage) {
            (Which::Journal, Stage::Loading) => {
                if offset != self.journal.len() {
                    return;
                }
                match self.journal.read(bytes, meta.size, &mut self.claims) {
                    None => self.read_journal(),
                    Some(Loaded::Whole) => self.open_part(),
                    Some(Loaded::Cut) => {
                        self.journal.cut(&mut self.asks);
                        self.after_journal(Stage::BeforeOpen);
                    }
                    Some(Loaded::Unusable) => self.doubt_all(meta.size),
                }
            }
            (Which::Part, Stage::Open) => {
                let verdict = self.claims.read(offset, bytes);
                self.checked(now, verdict);
                self.pump(now);
            }
            _ => {}
        }
    }

    /// A file was synced, and what it is now.
    pub fn synced(&mut self, now: Instant, which: Which, meta: Meta) {
        match (which, self.stage) {
            (Which::Journal, _) => {
                self.journal.synced();
                self.after_sync(now);
            }
            (Which::Part, Stage::Open) => {
                if !self.batch.is_syncing() {
                    return;
                }
                if !self.is_length(meta) {
                    return self.changed();
                }
                let Some(durable) = self.batch.synced() else { return };
                self.len = meta.size;
                self.claims.righted(&durable);
                let sound = self.claims.are_sound();
                self.journal.record(&durable, sound.then_some(meta.mtime), &mut self.asks);
                self.pump(now);
            }
            _ => {}
        }
    }

    /// The content's file has its final name.
    pub fn committed(&mut self, now: Instant) {
        let _ = now;
        if self.stage == Stage::Committing {
            (self.open, self.exists) = (false, false);
            self.journal.discard(&mut self.asks);
            self.end(Told::Committed);
        }
    }

    /// An operation on the file failed; the file is closed already if `fatal`. That bytes could not be stored is told to
    /// [`Part::store_failed`].
    pub fn failed(&mut self, now: Instant, which: Which, fault: Fault, fatal: bool) {
        match which {
            Which::Journal => self.journal_failed(now, fault, fatal),
            Which::Part => self.part_failed(now, fault, fatal),
        }
    }

    /// Bytes could not be stored in the content's file. What is verified is made durable, then [`Told::Failed`] follows.
    pub fn store_failed(&mut self, now: Instant, fault: Fault) {
        if self.stage == Stage::Open && fault == Fault::Changed {
            self.changed();
        } else if self.stage == Stage::Open && !matches!(self.goal, Goal::Stop(_)) {
            self.goal = Goal::Stop(fault);
            self.pump(now);
        }
    }

    /// Whether the journal claims a piece: else another life could not go on with anything.
    pub fn is_claimed(&self) -> bool {
        self.journal.claims_any()
    }

    /// Whether it waits for an answer of the disk.
    pub fn is_at_disk(&self) -> bool {
        self.stage != Stage::Open || self.batch.is_syncing() || self.claims.is_reading()
    }

    /// Whether a claimed piece is being compared.
    pub fn is_checking(&self) -> bool {
        self.claims.is_checking()
    }

    /// Pieces that an earlier life left and nobody has checked since, in order. Empty before [`Told::Open`].
    pub fn claims(&self) -> impl Iterator<Item = u64> + '_ {
        let known = !matches!(self.stage, Stage::Loading | Stage::BeforeOpen | Stage::Opening);
        self.claims.unchecked().filter(move |_| known)
    }

    /// The claimed piece to check next among those of `pieces` (a group's, whose values are at hand; or all of the file's,
    /// to learn which group's are needed): `None`, nothing is to be checked there, or something is being checked already.
    /// Answered by [`Part::check`].
    pub fn wants_checked(&self, pieces: std::ops::Range<u64>) -> Option<u64> {
        if self.stage != Stage::Open || self.goal != Goal::Download {
            return None;
        }
        self.claims.wants_checked(&pieces)
    }

    /// Reads a claimed piece and compares it: [`Told::Checked`] follows, unless it is paused or fails before.
    pub fn check(&mut self, now: Instant, piece: u64, expected: Expected) {
        if self.stage == Stage::Open && self.goal == Goal::Download {
            self.claims.begin_check(self.size, piece, expected);
            self.pump(now);
        }
    }

    /// So many bytes were stored in the content's file.
    pub fn stored(&mut self, now: Instant, n: u64) {
        let _ = now;
        if n > 0 {
            self.batch.stored();
        }
    }

    /// A piece is right, and all of it is stored: it goes into the journal with the next batch.
    pub fn verified(&mut self, now: Instant, piece: u64) {
        let bytes = piece_len(self.size, piece);
        // Where bytes could not be stored they may be of this very piece, although it is right in memory.
        let stopped = matches!(self.goal, Goal::Stop(_));
        if self.stage != Stage::Open || stopped || bytes == 0 || !self.journal.is_writable() {
            return;
        }
        self.claims.supersede(piece);
        self.batch.verified(now, piece, bytes);
        self.pump(now);
    }

    /// Makes durable what is verified, closes both files: [`Told::Closed`]. Nothing may be stored any more.
    pub fn pause(&mut self, now: Instant) {
        if !matches!(self.goal, Goal::Stop(_)) {
            self.goal = Goal::Pause;
        }
        match self.stage {
            // A fresh one goes on until it is there: else nothing would be left of it.
            Stage::Loading if self.fresh => {}
            Stage::Loading | Stage::Opening => self.close(Told::Closed),
            Stage::Reopening => self.wind_up(),
            _ => self.pump(now),
        }
    }

    /// All pieces are right and stored: makes it durable and gives it its name: [`Told::Committed`].
    pub fn finish(&mut self, now: Instant) {
        if self.goal == Goal::Download && self.stage != Stage::Reopening {
            self.goal = Goal::Finish;
            self.pump(now);
        }
    }

    /// Removes both files, whatever is going on, also after [`Told::Closed`] and [`Told::Failed`]. It tells nothing any
    /// more, and asks nothing but this.
    pub fn discard(&mut self) {
        // What ends or begins a file has to be carried out all the same.
        self.asks.retain(|ask| {
            use Ask::{Close, Create, Discard, Open, OpenJournal};
            matches!(ask, Create { .. } | Open | OpenJournal | Close { .. } | Discard { .. })
        });
        self.told.clear();
        self.claims.clear();
        if self.exists && !self.open {
            self.asks.push_back(Ask::Open);
            self.open = true;
        }
        self.remove();
        self.stage = Stage::Over;
    }
}

/// An open file.
impl Part {
    /// Whether another operation on the open file may begin: a read and a sync are never under way together, so that a
    /// failure is known to be of the one or of the other.
    fn may_begin(&self) -> bool {
        self.stage == Stage::Open && !self.batch.is_syncing() && !self.claims.is_reading()
    }

    /// Goes on with whatever may go on.
    fn pump(&mut self, now: Instant) {
        if !self.may_begin() {
            return;
        }
        match self.goal {
            Goal::Download if self.batch.due().is_some_and(|due| due <= now) => self.sync(),
            Goal::Download => {
                if let Some((offset, len)) = self.claims.read_next(self.slice) {
                    self.asks.push_back(Ask::Read { which: Which::Part, offset, len });
                }
            }
            Goal::Finish => {
                self.stage = Stage::Committing;
                self.asks.push_back(Ask::Commit);
            }
            Goal::Pause | Goal::Stop(_) if self.is_worth_a_sync() => self.sync(),
            Goal::Pause | Goal::Stop(_) => self.wind_up(),
        }
    }

    /// Whether the journal would say more after a sync.
    fn is_worth_a_sync(&self) -> bool {
        // Once: what is stored after that is not claimed, and would have it sync for as long as somebody stores.
        let stale = !self.ending && (self.batch.is_touched() || self.journal.mark().is_none());
        let mark = stale && self.claims.are_sound() && self.journal.claims_any();
        self.journal.is_writable() && (mark || !self.batch.is_empty())
    }

    fn sync(&mut self) {
        self.ending = matches!(self.goal, Goal::Pause | Goal::Stop(_));
        self.batch.sync();
        self.asks.push_back(Ask::Sync { which: Which::Part });
    }

    fn after_sync(&mut self, now: Instant) {
        match self.stage {
            Stage::Closing => self.wind_up(),
            Stage::Open => self.pump(now),
            _ => {
                // What was asked for before need not have made all of it durable.
                self.journal.sync(&mut self.asks);
                if !self.journal.is_syncing() {
                    self.journal_is_ready();
                }
            }
        }
    }

    /// Everything is in the journal that will be.
    fn wind_up(&mut self) {
        self.stage = Stage::Closing;
        self.journal.sync(&mut self.asks);
        if !self.journal.is_syncing() {
            self.close(match self.goal {
                Goal::Stop(fault) => Told::Failed { fault, fresh: false },
                _ => Told::Closed,
            });
        }
    }

    /// A claimed piece was looked at.
    fn checked(&mut self, now: Instant, verdict: Option<(u64, bool)>) {
        let Some((piece, right)) = verdict else { return };
        self.claims.settle(piece, right);
        self.told.push_back(Told::Checked { piece, right });
        if !right {
            self.journal.void_mark(&mut self.asks);
        }
        if self.claims.are_sound() && self.journal.mark().is_none() && self.journal.is_writable() {
            self.batch.want(now);
        }
    }
}
