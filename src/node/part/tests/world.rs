//! An owner of a download, with a disk: it stores pieces, and does what is asked.

use super::super::{Ask, Part, Told, Which};
use super::disk::{Cell, Disk, Image};
use crate::machine::{Fault, Meta};
use crate::proto::content::{Expected, FileHasher, PIECE, Root, pieces};
use crate::time::{Duration, Instant};
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// A disk or an order of steps that is not as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The journal is durable before what it claims.
    JournalFirst,
    /// It gets its name and was not synced.
    UnsyncedRename,
    /// The folder was not synced when it is told.
    UnsyncedFolder,
    /// It grows under its final name.
    InPlace,
}

/// How a download goes.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) size: u64,
    /// Pieces in a batch.
    pub(super) batch: u64,
    /// Wrong bytes stand in the place of a piece before the right ones.
    pub(super) dirty: bool,
    /// From the last piece to the first.
    pub(super) backwards: bool,
    /// Steps of the owner between a sync and its answer.
    pub(super) late: u32,
    /// Paused, and begun again, when so many pieces are right.
    pub(super) pause: Option<u64>,
    pub(super) sample: u64,
    pub(super) wrong: Option<Wrong>,
    /// Of reads of claimed pieces that are answered; the others fail.
    pub(super) reads: u32,
}

impl Plan {
    pub(super) fn new(size: u64) -> Plan {
        let (batch, sample, reads) = (1, 0, u32::MAX);
        Plan { size, batch, dirty: true, backwards: false, late: 0, pause: None, sample, wrong: None, reads }
    }
}

/// What was told that nothing can take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Failed(Fault),
    Committed,
}

pub(super) const ROOT: Root = Root::new([7; 32]);

/// What every piece has.
pub(super) fn right_bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| (0..PIECE).map(|n| (n % 251) as u8).collect())
}

fn garbage() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| vec![0xaa; PIECE as usize])
}

/// The values of the pieces of a long enough file; the root of one of a single piece.
pub(super) fn expected(size: u64, piece: u64) -> Expected {
    static VALUES: OnceLock<Vec<[u8; 32]>> = OnceLock::new();
    if pieces(size) == 1 {
        let mut hasher = FileHasher::new();
        hasher.update(&right_bytes()[..size as usize]);
        return Expected::Root(hasher.finish().root);
    }
    assert_eq!(size % PIECE, 0, "the values below are of whole pieces");
    let values = VALUES.get_or_init(|| {
        let mut hasher = FileHasher::new();
        (0..1000).for_each(|_| hasher.update(right_bytes()));
        hasher.finish().values
    });
    Expected::Value(values[piece as usize])
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) disk: Disk,
    pub(super) part: Part,
    pub(super) now: Instant,
    open: [Option<usize>; 2],
    /// The owner's steps until the answer.
    late: Option<u32>,
    storing: bool,
    have: BTreeSet<u64>,
    missing: BTreeSet<u64>,
    /// Of the piece that is stored next: wrong bytes, right bytes.
    stored: u32,
    in_batch: u64,
    pub(super) end: Option<End>,
    /// Pieces that were claimed by an earlier life, and found wrong or right.
    pub(super) checked: [u64; 2],
    pub(super) syncs: u64,
    pub(super) steps: u64,
}

impl World {
    /// After a start: what has no counterpart is swept away.
    pub(super) fn start(plan: Plan, mut disk: Disk) -> World {
        match (disk.part(), disk.journal()) {
            (Some(_), None) => disk.remove_part(),
            (None, Some(_)) => disk.remove_journal(),
            _ => {}
        }
        let exists = disk.part().is_some();
        let mut part = Part::new(ROOT, plan.size, "film.mkv", exists, 1, PIECE as usize);
        part.sample = plan.sample;
        let missing = (0..pieces(plan.size)).collect();
        World {
            plan,
            disk,
            part,
            now: Instant::ZERO,
            open: [None; 2],
            late: None,
            storing: false,
            have: BTreeSet::new(),
            missing,
            stored: 0,
            in_batch: 0,
            end: None,
            checked: [0; 2],
            syncs: 0,
            steps: 0,
        }
    }

    pub(super) fn empty(plan: Plan, syncs_names: bool) -> World {
        World::start(plan, Disk::new(&Image::default(), syncs_names))
    }

    /// Until it has ended.
    pub(super) fn run(&mut self, watch: &mut dyn FnMut(&World)) {
        while self.end.is_none() {
            self.step(watch);
            watch(self);
        }
        assert_eq!(self.part.poll_output(), None);
        assert_eq!(self.part.poll_told(), None);
        assert_eq!(self.open, [None; 2]);
        let paused = self.end == Some(End::Closed) && self.plan.pause.take().is_some();
        if paused {
            let again = World::start(self.plan.clone(), self.disk.clone());
            let before = std::mem::replace(self, again);
            self.checked[0] += before.checked[0];
            self.run(watch);
        }
    }

    /// Until it has ended, or `stop` says so.
    pub(super) fn run_until(&mut self, stop: &mut dyn FnMut(&World) -> bool) {
        while self.end.is_none() {
            self.step(&mut |_| {});
            if stop(self) {
                return;
            }
            if self.end == Some(End::Closed) && self.plan.pause.take().is_some() {
                let again = World::start(self.plan.clone(), self.disk.clone());
                let before = std::mem::replace(self, again);
                self.steps = before.steps;
            }
        }
    }

    /// It is given up, and what it asks for that is done.
    pub(super) fn discard(&mut self) {
        self.part.discard();
        while let Some(ask) = self.part.poll_output() {
            self.carry_out(ask, &mut |_| {});
            assert_eq!(self.part.poll_told(), None);
        }
        assert_eq!(self.open, [None; 2]);
    }

    fn step(&mut self, watch: &mut dyn FnMut(&World)) {
        self.steps += 1;
        assert!(self.steps < 100_000, "it does not end");
        if let Some(ask) = self.part.poll_output() {
            return self.carry_out(ask, watch);
        }
        if let Some(told) = self.part.poll_told() {
            return self.hear(told);
        }
        if self.late == Some(0) {
            self.late = None;
            return self.synced(Which::Part);
        }
        self.late = self.late.map(|late| late - 1);
        let due = self.part.poll_timeout().is_some_and(|(due, _)| due <= self.now);
        if due {
            return self.part.timeout(self.now);
        }
        self.act();
    }

    /// The owner's next step, if it is not waiting.
    fn act(&mut self) {
        let all = pieces(self.plan.size);
        if !self.storing {
            return;
        }
        if let Some(piece) = self.part.wants_checked(0..all) {
            return self.part.check(self.now, piece, expected(self.plan.size, piece));
        }
        if self.plan.pause == Some(self.have.len() as u64) {
            self.storing = false;
            return self.part.pause(self.now);
        }
        let next = if self.plan.backwards { self.missing.last() } else { self.missing.first() };
        let Some(&piece) = next else {
            if self.have.len() as u64 == all {
                self.storing = false;
                self.part.finish(self.now);
            }
            return;
        };
        let file = self.open[0].expect("told to be open");
        let cell = if self.stored == 0 { Cell::Garbage } else { Cell::Right };
        if self.stored == 0 && !self.plan.dirty {
            self.stored = 1;
            return self.act();
        }
        if self.stored < 2 {
            self.disk.store(file, piece, self.plan.size, cell);
            self.part.stored(self.now, 100);
            self.stored += 1;
            return;
        }
        self.stored = 0;
        self.missing.remove(&piece);
        self.have.insert(piece);
        self.part.verified(self.now, piece);
        self.in_batch += 1;
        if self.in_batch == self.plan.batch {
            self.in_batch = 0;
            self.now += Duration::from_secs(10);
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Open => {
                self.storing = true;
                for piece in self.part.claims() {
                    self.missing.remove(&piece);
                }
            }
            Told::Checked { piece, right } => {
                self.checked[usize::from(right)] += 1;
                let file = self.disk.part().expect("there is a part");
                if right {
                    // Whether it was looked at or not.
                    assert_eq!(self.disk.cell(file, piece), Cell::Right, "piece {piece} is believed");
                    self.have.insert(piece);
                    self.missing.remove(&piece);
                } else {
                    self.missing.insert(piece);
                }
            }
            Told::Lost { pieces } => {
                (self.storing, self.stored) = (false, 0);
                for piece in pieces {
                    self.have.remove(&piece);
                    self.missing.insert(piece);
                }
            }
            Told::Closed => self.end = Some(End::Closed),
            Told::Failed { fault, .. } => self.end = Some(End::Failed(fault)),
            Told::NoRoom { .. } => self.end = Some(End::Failed(Fault::NoSpace)),
            Told::Committed => self.end = Some(End::Committed),
        }
    }

    fn file(&self, which: Which) -> usize {
        self.open[which as usize].unwrap_or_else(|| panic!("{which:?} is not open"))
    }

    fn meta(&self, which: Which) -> Meta {
        match which {
            Which::Part => {
                let (size, mtime) = self.disk.stat(self.file(which));
                Meta { size, mtime, ..Meta::default() }
            }
            Which::Journal => {
                let size = self.disk.log(self.file(which)).len() as u64;
                Meta { size, ..Meta::default() }
            }
        }
    }

    fn synced(&mut self, which: Which) {
        let meta = self.meta(which);
        self.part.synced(self.now, which, meta);
    }

    fn carry_out(&mut self, ask: Ask, watch: &mut dyn FnMut(&World)) {
        let wrong = self.plan.wrong;
        match ask {
            Ask::Create { reserve } => {
                assert!(self.open[0].is_none() && reserve == self.plan.size);
                self.open[0] = Some(match wrong {
                    Some(Wrong::InPlace) => self.disk.create_in_place(reserve),
                    _ => self.disk.create_part(reserve),
                });
                self.part.created(self.now, u64::MAX);
            }
            Ask::Open => {
                assert!(self.open[0].is_none());
                self.open[0] = self.disk.part();
                match self.open[0] {
                    Some(_) => self.part.opened(self.now, Which::Part, self.meta(Which::Part)),
                    None => self.part.failed(self.now, Which::Part, Fault::NotFound, true),
                }
            }
            Ask::OpenJournal => {
                assert!(self.open[1].is_none());
                self.open[1] = Some(self.disk.open_journal());
                self.part.opened(self.now, Which::Journal, self.meta(Which::Journal));
            }
            Ask::Read { which, offset, len } => self.read(which, offset, len),
            Ask::Append { bytes } => {
                self.disk.append(self.file(Which::Journal), bytes);
                if wrong == Some(Wrong::JournalFirst) {
                    self.disk.sync_log(self.file(Which::Journal));
                }
            }
            Ask::Truncate { len } => self.disk.truncate(self.file(Which::Journal), len),
            Ask::Sync { which: Which::Journal } => {
                self.disk.sync_log(self.file(Which::Journal));
                self.synced(Which::Journal);
            }
            Ask::Sync { which: Which::Part } => {
                assert_eq!(self.late, None, "one sync at a time");
                self.syncs += 1;
                let file = self.file(Which::Part);
                if wrong != Some(Wrong::JournalFirst) {
                    self.disk.sync_part(file);
                }
                self.late = Some(self.plan.late);
            }
            Ask::Close { which } => {
                self.file(which);
                self.open[which as usize] = None;
            }
            Ask::Discard { which } => {
                self.file(which);
                self.open[which as usize] = None;
                match which {
                    Which::Part => self.disk.remove_part(),
                    Which::Journal => self.disk.remove_journal(),
                }
            }
            Ask::Commit => self.commit(watch),
        }
    }

    fn read(&mut self, which: Which, offset: u64, len: usize) {
        let meta = self.meta(which);
        if which == Which::Journal {
            let bytes = self.disk.log(self.file(which));
            let end = bytes.len().min(offset as usize + len);
            return self.part.read(self.now, which, offset, &bytes[offset as usize..end], meta);
        }
        if self.plan.reads == 0 {
            return self.part.failed(self.now, which, Fault::Os(5), false);
        }
        self.plan.reads -= 1;
        let bytes = match self.disk.cell(self.file(which), offset / PIECE) {
            Cell::Right => right_bytes(),
            _ => garbage(),
        };
        let end = (meta.size.saturating_sub(offset)).min(len as u64) as usize;
        self.part.read(self.now, which, offset, &bytes[..end], meta);
    }

    fn commit(&mut self, watch: &mut dyn FnMut(&World)) {
        let wrong = self.plan.wrong;
        let file = self.file(Which::Part);
        if wrong != Some(Wrong::UnsyncedRename) {
            self.disk.sync_part(file);
        }
        watch(self);
        if wrong != Some(Wrong::InPlace) {
            self.disk.commit();
        }
        watch(self);
        if wrong != Some(Wrong::UnsyncedFolder) {
            self.disk.sync_names();
        }
        watch(self);
        self.open[0] = None;
        self.part.committed(self.now);
    }
}
