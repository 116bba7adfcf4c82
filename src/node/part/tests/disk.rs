//! A disk that remembers what was not synced, and so what a power cut may leave.

use crate::proto::content::{PIECE, pieces};
use fastrand::Rng;
use std::collections::BTreeSet;

/// What stands in the place of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Nothing,
    Garbage,
    Right,
}

/// A content's file as it is after a power cut.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Content {
    pub(super) len: u64,
    pub(super) cells: Vec<Cell>,
    pub(super) mtime: i64,
}

impl Content {
    pub(super) fn is_whole(&self, size: u64) -> bool {
        let mut cells = self.cells.iter().take(pieces(size) as usize);
        self.len == size && cells.all(|cell| *cell == Cell::Right)
    }
}

/// All of a disk after a power cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Image {
    pub(super) part: Option<Content>,
    pub(super) journal: Option<Vec<u8>>,
    /// Under the final name.
    pub(super) done: Option<Content>,
}

/// Every value since the last sync; the last one is what a reader sees.
#[derive(Clone, Debug)]
struct Values<T>(Vec<T>);

impl<T: Clone + PartialEq> Values<T> {
    fn new(value: T) -> Values<T> {
        Values(vec![value])
    }

    fn now(&self) -> &T {
        self.0.last().expect("never empty")
    }

    fn set(&mut self, value: T) {
        if !self.0.contains(&value) || *self.now() != value {
            self.0.retain(|old| *old != value);
            self.0.push(value);
        }
    }

    fn sync(&mut self) {
        self.0.drain(..self.0.len() - 1);
    }
}

#[derive(Clone, Debug)]
struct PartFile {
    len: Values<u64>,
    cells: Vec<Values<Cell>>,
    mtime: Values<i64>,
}

#[derive(Clone, Debug, Default)]
struct LogFile {
    synced: Vec<u8>,
    pending: Vec<LogChange>,
}

#[derive(Clone, Debug)]
enum LogChange {
    Write(usize, Vec<u8>),
    Cut(usize),
}

fn apply(bytes: &mut Vec<u8>, change: &LogChange, torn: usize) {
    match change {
        LogChange::Write(at, new) => {
            let new = &new[..new.len() - torn];
            if new.is_empty() {
                return;
            }
            // What should stand in between was lost: zeros, as a file system shows a block that was never written.
            bytes.resize(bytes.len().max(at + new.len()), 0);
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
        LogChange::Cut(len) => bytes.truncate(*len),
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Names {
    part: Option<usize>,
    journal: Option<usize>,
    done: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum NameChange {
    Part(Option<usize>),
    Journal(Option<usize>),
    Rename(usize),
    /// A new file under the final name: never done but to see that it is found.
    InPlace(usize),
}

impl Names {
    fn apply(&mut self, change: NameChange) {
        match change {
            NameChange::Part(file) => self.part = file,
            NameChange::Journal(file) => self.journal = file,
            NameChange::InPlace(file) => self.done = Some(file),
            NameChange::Rename(file) => (self.part, self.done) = (None, Some(file)),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Disk {
    parts: Vec<PartFile>,
    logs: Vec<LogFile>,
    names: Names,
    synced_names: Names,
    pending_names: Vec<NameChange>,
    /// A sync of a file makes its name durable, too.
    syncs_names: bool,
    clock: i64,
}

impl Disk {
    pub(super) fn new(image: &Image, syncs_names: bool) -> Disk {
        let mut disk = Disk {
            parts: Vec::new(),
            logs: Vec::new(),
            names: Names::default(),
            synced_names: Names::default(),
            pending_names: Vec::new(),
            syncs_names,
            clock: 0,
        };
        let part = |content: &Content| PartFile {
            len: Values::new(content.len),
            cells: content.cells.iter().map(|cell| Values::new(*cell)).collect(),
            mtime: Values::new(content.mtime),
        };
        for (content, done) in [(&image.part, false), (&image.done, true)] {
            if let Some(content) = content {
                disk.clock = disk.clock.max(content.mtime);
                let name = if done { &mut disk.names.done } else { &mut disk.names.part };
                *name = Some(disk.parts.len());
                disk.parts.push(part(content));
            }
        }
        if let Some(bytes) = &image.journal {
            disk.names.journal = Some(0);
            disk.logs.push(LogFile { synced: bytes.clone(), pending: Vec::new() });
        }
        disk.synced_names = disk.names;
        disk
    }

    fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    fn rename(&mut self, change: NameChange) {
        self.names.apply(change);
        self.pending_names.push(change);
    }

    pub(super) fn sync_names(&mut self) {
        self.synced_names = self.names;
        self.pending_names.clear();
    }

    pub(super) fn part(&self) -> Option<usize> {
        self.names.part
    }

    pub(super) fn journal(&self) -> Option<usize> {
        self.names.journal
    }

    pub(super) fn done(&self) -> Option<usize> {
        self.names.done
    }

    pub(super) fn create_part(&mut self, size: u64) -> usize {
        let file = self.new_part(size);
        self.rename(NameChange::Part(Some(file)));
        file
    }

    pub(super) fn create_in_place(&mut self, size: u64) -> usize {
        let file = self.new_part(size);
        self.rename(NameChange::InPlace(file));
        file
    }

    fn new_part(&mut self, size: u64) -> usize {
        let mtime = self.tick();
        let cells = vec![Values::new(Cell::Nothing); pieces(size) as usize];
        let mut file = PartFile { len: Values::new(0), cells, mtime: Values::new(mtime) };
        file.len.set(size);
        self.parts.push(file);
        self.parts.len() - 1
    }

    pub(super) fn remove_part(&mut self) {
        self.rename(NameChange::Part(None));
    }

    pub(super) fn open_journal(&mut self) -> usize {
        if let Some(file) = self.names.journal {
            return file;
        }
        self.logs.push(LogFile::default());
        self.rename(NameChange::Journal(Some(self.logs.len() - 1)));
        self.logs.len() - 1
    }

    pub(super) fn remove_journal(&mut self) {
        self.rename(NameChange::Journal(None));
    }

    pub(super) fn store(&mut self, file: usize, piece: u64, size: u64, cell: Cell) {
        let mtime = self.tick();
        let file = &mut self.parts[file];
        file.cells[piece as usize].set(cell);
        file.mtime.set(mtime);
        let end = size.min((piece + 1) * PIECE);
        if *file.len.now() < end {
            file.len.set(end);
        }
    }

    /// Changed by something that leaves no time behind.
    pub(super) fn rot(&mut self, file: usize, piece: u64) {
        self.parts[file].cells[piece as usize] = Values::new(Cell::Garbage);
    }

    pub(super) fn cell(&self, file: usize, piece: u64) -> Cell {
        *self.parts[file].cells[piece as usize].now()
    }

    /// Bytes and time of a content's file.
    pub(super) fn stat(&self, file: usize) -> (u64, i64) {
        (*self.parts[file].len.now(), *self.parts[file].mtime.now())
    }

    pub(super) fn is_whole(&self, file: usize, size: u64) -> bool {
        let (len, mtime) = self.stat(file);
        let cells = self.parts[file].cells.iter().map(|cell| *cell.now()).collect();
        Content { len, cells, mtime }.is_whole(size)
    }

    pub(super) fn sync_part(&mut self, file: usize) {
        let part = &mut self.parts[file];
        part.cells.iter_mut().for_each(Values::sync);
        part.len.sync();
        part.mtime.sync();
        if self.syncs_names {
            self.sync_names();
        }
    }

    pub(super) fn log(&self, file: usize) -> Vec<u8> {
        let log = &self.logs[file];
        let mut bytes = log.synced.clone();
        log.pending.iter().for_each(|change| apply(&mut bytes, change, 0));
        bytes
    }

    pub(super) fn append(&mut self, file: usize, bytes: Vec<u8>) {
        let at = self.log(file).len();
        self.logs[file].pending.push(LogChange::Write(at, bytes));
    }

    pub(super) fn truncate(&mut self, file: usize, len: u64) {
        self.logs[file].pending.push(LogChange::Cut(len as usize));
    }

    pub(super) fn sync_log(&mut self, file: usize) {
        self.logs[file].synced = self.log(file);
        self.logs[file].pending.clear();
        if self.syncs_names {
            self.sync_names();
        }
    }

    pub(super) fn commit(&mut self) {
        let file = self.names.part.expect("there is a part");
        self.rename(NameChange::Rename(file));
    }

    /// What the process's end alone leaves: everything.
    pub(super) fn image(&self) -> Image {
        let content = |file: Option<usize>| {
            file.map(|file| {
                let (len, mtime) = self.stat(file);
                let cells = self.parts[file].cells.iter().map(|cell| *cell.now()).collect();
                Content { len, cells, mtime }
            })
        };
        let Names { part, journal, done } = self.names;
        Image { part: content(part), journal: journal.map(|file| self.log(file)), done: content(done) }
    }

    /// Everything that a power cut may leave: every subset of what was not synced, the last append torn anywhere.
    pub(super) fn images(&self) -> BTreeSet<Image> {
        let mut all = BTreeSet::new();
        let count = self.pending_names.len();
        for chosen in 0..1_u32 << count {
            let mut names = self.synced_names;
            for (n, change) in self.pending_names.iter().enumerate() {
                if chosen >> n & 1 == 1 {
                    names.apply(*change);
                }
            }
            let none = || BTreeSet::from([None]);
            let parts = names.part.map_or_else(none, |file| self.contents(file));
            let done = names.done.map_or_else(none, |file| self.contents(file));
            let journals = names.journal.map_or_else(|| BTreeSet::from([None]), |file| self.logs_after(file));
            for part in &parts {
                for done in &done {
                    for journal in &journals {
                        let (part, journal, done) = (part.clone(), journal.clone(), done.clone());
                        all.insert(Image { part, journal, done });
                    }
                }
            }
        }
        all
    }

    /// One of them.
    pub(super) fn draw(&self, rng: &mut Rng) -> Image {
        let mut names = self.synced_names;
        self.pending_names.iter().filter(|_| rng.bool()).for_each(|change| names.apply(*change));
        let mut content = |file: usize| {
            let file = &self.parts[file];
            let cells = file.cells.iter().map(|cell| cell.0[rng.usize(..cell.0.len())]).collect();
            let len = file.len.0[rng.usize(..file.len.0.len())];
            // The time is often written out late or not at all.
            let mtime = file.mtime.0[if rng.bool() { 0 } else { rng.usize(..file.mtime.0.len()) }];
            Content { len, cells, mtime }
        };
        let (part, done) = (names.part.map(&mut content), names.done.map(&mut content));
        let journal = names.journal.map(|file| {
            let mut bytes = self.logs[file].synced.clone();
            for change in &self.logs[file].pending {
                let torn = match change {
                    LogChange::Write(_, new) if rng.u8(0..8) == 0 => rng.usize(..=new.len()),
                    _ => 0,
                };
                if rng.u8(0..4) > 0 {
                    apply(&mut bytes, change, torn);
                }
            }
            bytes
        });
        Image { part, journal, done }
    }

    fn contents(&self, file: usize) -> BTreeSet<Option<Content>> {
        let file = &self.parts[file];
        let mut all = vec![Vec::new()];
        for cell in &file.cells {
            let longer = |cells: &Vec<Cell>| {
                let cells = cells.clone();
                cell.0.iter().map(move |cell| [cells.as_slice(), &[*cell]].concat()).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(longer).collect();
        }
        let mut contents = BTreeSet::new();
        for cells in &all {
            for &len in &file.len.0 {
                for &mtime in &file.mtime.0 {
                    contents.insert(Some(Content { len, cells: cells.clone(), mtime }));
                }
            }
        }
        contents
    }

    fn logs_after(&self, file: usize) -> BTreeSet<Option<Vec<u8>>> {
        let LogFile { synced, pending } = &self.logs[file];
        let mut all = BTreeSet::new();
        for chosen in 0..1_u32 << pending.len() {
            let mut bytes = synced.clone();
            let last = (0..pending.len()).rfind(|n| chosen >> n & 1 == 1);
            for (n, change) in pending.iter().enumerate().filter(|(n, _)| chosen >> n & 1 == 1) {
                if Some(n) != last {
                    apply(&mut bytes, change, 0);
                }
            }
            let tears = match last.map(|n| &pending[n]) {
                Some(LogChange::Write(_, new)) => new.len(),
                _ => 1,
            };
            for torn in 0..tears {
                let mut bytes = bytes.clone();
                if let Some(change) = last.map(|n| &pending[n]) {
                    apply(&mut bytes, change, torn);
                }
                all.insert(Some(bytes));
            }
        }
        all
    }
}
