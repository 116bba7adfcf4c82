//! What of unfinished and finished downloads is on the medium, and what only in the kernel's memory: bytes by pages of
//! 4 KiB, lengths, times and names. A process that is killed loses nothing of it; a power cut keeps any part of it.

use super::{Disk, Inode};
use crate::content::Content;
use crate::rng::Rng;
use distrishare::machine::{Dir, Fault};
use std::collections::{BTreeMap, BTreeSet};

/// The kernel writes whole pages.
pub(crate) const PAGE: u64 = 4096;
/// And the disk whole sectors.
const SECTOR: u64 = 512;
/// Files below this see every change of theirs written now and then, larger ones every two MiB or so.
const SMALL: u64 = 64 << 10;
/// Pages of one file that wait: then the kernel writes by itself.
const DIRTY_MAX: usize = 2048;

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Any part of it.
    Drawn,
    Nothing,
    All,
}

/// One file, as far as it is on the medium.
#[derive(Clone, Debug)]
pub(super) struct Sheet {
    pub(super) content: Content,
    len: u64,
    mtime: i64,
    /// Pages that are to be written.
    dirty: BTreeSet<u64>,
    /// Pages that a failed sync marked clean: they are not on the medium and will not come there.
    lost: BTreeSet<u64>,
    /// The last write, which may be there in part.
    last: (u64, u64),
    /// Pages that rotted or were changed by another program.
    tampered: BTreeSet<u64>,
    pub(super) sync_failed: bool,
}

/// A change of a folder.
#[derive(Clone, Debug)]
enum NameOp {
    Link { name: (Dir, String), inode: Inode },
    Unlink { name: (Dir, String), inode: Inode },
    Rename { from: (Dir, String), to: (Dir, String), inode: Inode },
}

impl NameOp {
    fn inode(&self) -> Inode {
        match self {
            NameOp::Link { inode, .. } | NameOp::Unlink { inode, .. } | NameOp::Rename { inode, .. } => {
                *inode
            }
        }
    }

    fn names(&self) -> [Option<&(Dir, String)>; 2] {
        match self {
            NameOp::Link { name, .. } | NameOp::Unlink { name, .. } => [Some(name), None],
            NameOp::Rename { from, to, .. } => [Some(from), Some(to)],
        }
    }

    fn touches(&self, other: &NameOp) -> bool {
        let theirs = other.names();
        self.inode() == other.inode() || self.names().iter().flatten().any(|n| theirs.contains(&Some(*n)))
    }

    fn apply(self, to: &mut BTreeMap<(Dir, String), Inode>) {
        let mut unlink = |name: &(Dir, String), inode| {
            if to.get(name) == Some(&inode) {
                to.remove(name);
            }
        };
        match self {
            NameOp::Link { name, inode } => drop(to.insert(name, inode)),
            NameOp::Unlink { name, inode } => unlink(&name, inode),
            NameOp::Rename { from, to: name, inode } => {
                unlink(&from, inode);
                to.insert(name, inode);
            }
        }
    }
}

/// The medium.
#[derive(Default)]
pub(super) struct Medium {
    pub(super) sheets: BTreeMap<Inode, Sheet>,
    names: BTreeMap<(Dir, String), Inode>,
    ops: Vec<NameOp>,
}

impl Medium {
    /// Makes these changes durable, and what they rest upon.
    fn settle(&mut self, wanted: impl Fn(&NameOp) -> bool) {
        let mut marked: Vec<bool> = self.ops.iter().map(wanted).collect();
        // Those that are marked on the way rest upon others in turn.
        for later in (0..self.ops.len()).rev() {
            let (before, rest) = marked.split_at_mut(later);
            if rest[0] {
                let upon = before.iter_mut().zip(&self.ops);
                upon.for_each(|(mark, op)| *mark |= op.touches(&self.ops[later]));
            }
        }
        let ops = std::mem::take(&mut self.ops);
        for (op, marked) in ops.into_iter().zip(marked) {
            if marked {
                op.apply(&mut self.names);
            } else {
                self.ops.push(op);
            }
        }
    }
}

impl Disk {
    /// A file that was just made by a node: nothing of it is durable.
    pub(super) fn born(&mut self, inode: Inode, name: (Dir, String)) {
        let mtime = self.meta(inode).mtime;
        let sheet = Sheet {
            content: Content::Bytes(Vec::new()),
            len: 0,
            mtime,
            dirty: BTreeSet::new(),
            lost: BTreeSet::new(),
            last: (0, 0),
            tampered: BTreeSet::new(),
            sync_failed: false,
        };
        self.medium.sheets.insert(inode, sheet);
        self.medium.ops.push(NameOp::Link { name, inode });
    }

    /// A file that was there before, or that another program put there: all of it is durable.
    pub(super) fn old(&mut self, inode: Inode, name: (Dir, String)) {
        self.born(inode, name);
        self.settle_all(inode);
        self.medium.settle(|op| op.inode() == inode);
    }

    fn settle_all(&mut self, inode: Inode) {
        let Some(content) = self.files.get(&inode) else { return };
        let (len, mtime) = (content.len(), self.mtimes.get(&inode).copied());
        if let Some(sheet) = self.medium.sheets.get_mut(&inode) {
            sheet.content = content.clone();
            sheet.len = len;
            sheet.mtime = mtime.unwrap_or(sheet.mtime);
            sheet.dirty.clear();
            sheet.lost.clear();
        }
    }

    pub(super) fn unlinked(&mut self, name: (Dir, String), inode: Inode) {
        self.medium.ops.push(NameOp::Unlink { name, inode });
    }

    pub(super) fn renamed(&mut self, from: (Dir, String), to: (Dir, String), inode: Inode) {
        self.medium.ops.push(NameOp::Rename { from, to, inode });
    }

    /// These bytes were written. Now and then the kernel writes some pages to the medium, without a word.
    pub(super) fn soiled(&mut self, inode: Inode, offset: u64, n: u64) {
        let (Some(sheet), Some(content)) = (self.medium.sheets.get_mut(&inode), self.files.get(&inode))
        else {
            return;
        };
        if n == 0 {
            return;
        }
        for page in offset / PAGE..=(offset + n - 1) / PAGE {
            sheet.lost.remove(&page);
            sheet.dirty.insert(page);
        }
        sheet.last = (offset, offset + n);
        let rng = self.dice.of("disk.writeback");
        if sheet.dirty.len() > DIRTY_MAX {
            let pages = std::mem::take(&mut sheet.dirty);
            write_pages(sheet, content, &pages);
            sheet.len = content.len();
        } else if rng.below(if content.len() < SMALL { 16 * n } else { 2 << 20 }) < n {
            let some = sheet.dirty.iter().copied().filter(|_| rng.flip()).collect();
            write_pages(sheet, content, &some);
            sheet.len = if rng.flip() { content.len() } else { sheet.len };
        }
    }

    /// The file got shorter: what was behind its end may come back.
    pub(super) fn shortened(&mut self, inode: Inode, from: u64, to: u64) {
        if let Some(sheet) = self.medium.sheets.get_mut(&inode).filter(|_| to < from) {
            sheet.dirty.extend(to / PAGE..=(from - 1) / PAGE);
            sheet.last = (0, 0);
        }
    }

    /// What a sync that is asked for now is to make durable.
    pub(crate) fn unwritten(&self, inode: Inode) -> BTreeSet<u64> {
        self.medium.sheets.get(&inode).map_or(BTreeSet::new(), |sheet| sheet.dirty.clone())
    }

    /// Whether all of it that can be read is on the medium.
    pub(crate) fn is_durable(&self, inode: Inode) -> bool {
        let sheet = self.medium.sheets.get(&inode);
        sheet.is_none_or(|sheet| {
            sheet.dirty.is_empty() && sheet.lost.is_empty() && sheet.len == self.len(inode)
        })
    }

    /// Whether a sync of it failed at any time.
    pub(crate) fn sync_failed(&self, inode: Inode) -> bool {
        self.medium.sheets.get(&inode).is_some_and(|sheet| sheet.sync_failed)
    }

    /// Syncs `pages` of a file, its length, and its name where that is new. After a failure those pages count as clean.
    pub(crate) fn sync_file(&mut self, inode: Inode, pages: &BTreeSet<u64>) -> Result<(), Fault> {
        if self.is_gone(inode) {
            return Err(Fault::NotFound);
        }
        let result = self.may_fail("disk.sync", self.faults.sync, &[Fault::Os(5)]);
        let rng = self.dice.of("disk.mtime");
        let (Some(sheet), Some(content)) = (self.medium.sheets.get_mut(&inode), self.files.get(&inode))
        else {
            return result;
        };
        if result.is_err() {
            sheet.sync_failed = true;
            // Some of them were written before the one that failed.
            let some: BTreeSet<u64> = pages.iter().copied().filter(|_| rng.below(4) == 0).collect();
            write_pages(sheet, content, &some);
            sheet.lost.extend(pages.difference(&some));
            sheet.dirty = sheet.dirty.difference(pages).copied().collect();
            return result;
        }
        write_pages(sheet, content, pages);
        for page in pages {
            sheet.dirty.remove(page);
            sheet.tampered.remove(page);
        }
        // The time alone is no reason for fdatasync to write the inode; the length is.
        if sheet.len != content.len() || rng.flip() {
            sheet.mtime = self.mtimes.get(&inode).copied().unwrap_or(sheet.mtime);
        }
        sheet.len = content.len();
        self.medium.settle(|op| op.inode() == inode);
        Ok(())
    }

    /// Somebody removed its name.
    fn is_gone(&self, inode: Inode) -> bool {
        self.medium.sheets.contains_key(&inode) && !self.folders.values().any(|&named| named == inode)
    }

    /// The names in a folder are durable from now on.
    pub(super) fn sync_folder(&mut self, dir: Dir) -> Result<(), Fault> {
        self.may_fail("disk.sync", self.faults.sync, &[Fault::Os(5)])?;
        self.medium.settle(|op| op.names().into_iter().flatten().any(|name| name.0 == dir));
        Ok(())
    }

    /// The power is gone: only what is on the medium is there, and a part of what was not.
    pub(crate) fn power_cut(&mut self, left: Left) {
        let ops = std::mem::take(&mut self.medium.ops);
        let mut rng = self.dice.of("disk.power").clone();
        let mode = rng.below(4);
        for op in ops {
            if keeps(left, mode, &mut rng) {
                op.apply(&mut self.medium.names);
            }
        }
        self.folders.retain(|(dir, _), _| *dir == Dir::Shared);
        self.folders.extend(self.medium.names.iter().map(|(name, &inode)| (name.clone(), inode)));
        for (&inode, sheet) in &mut self.medium.sheets {
            let Some(now) = self.files.get_mut(&inode) else { continue };
            if let Some(mtime) = self.mtimes.get_mut(&inode) {
                let old = sheet.dirty.is_empty() && sheet.mtime == *mtime;
                if !old && !keeps(left, 2, &mut rng) {
                    *mtime = sheet.mtime;
                }
                sheet.mtime = *mtime;
            }
            *now = sheet.survivor(now, left, &mut rng);
        }
        *self.dice.of("disk.power") = rng;
        let named: BTreeSet<Inode> = self.folders.values().copied().collect();
        let gone: Vec<Inode> =
            self.medium.sheets.keys().copied().filter(|inode| !named.contains(inode)).collect();
        for inode in gone {
            self.medium.sheets.remove(&inode);
            self.files.remove(&inode);
            self.mtimes.remove(&inode);
            self.release(inode);
        }
        named.iter().for_each(|&inode| self.charge(inode));
        if left != Left::All {
            self.crash_log();
        }
    }

    /// What another program does with a file of a node's: it is durable at once, and nobody vouches for it.
    pub(crate) fn tamper(
        &mut self,
        dir: Dir,
        name: &str,
        keep_mtime: bool,
        how: impl Fn(&mut Content),
    ) -> bool {
        let Some(&inode) = self.folders.get(&(dir, name.to_owned())) else { return false };
        let Some(content) = self.files.get_mut(&inode) else { return false };
        let before = content.clone();
        how(content);
        let after = content.clone();
        if !keep_mtime {
            self.touch(inode);
        }
        let mtime = self.mtimes.get(&inode).copied();
        if let Some(sheet) = self.medium.sheets.get_mut(&inode) {
            let end = before.len().max(after.len());
            let pages = 0..end.div_ceil(PAGE);
            let changed = |page: &u64| {
                let n = PAGE as usize;
                before.read(page * PAGE, n) != after.read(page * PAGE, n)
            };
            let changed: BTreeSet<u64> = pages.filter(changed).collect();
            write_pages(sheet, &after, &changed);
            sheet.tampered.extend(changed);
            if after.len() != before.len() {
                self.resized.insert(inode);
                (sheet.len, sheet.content) = (after.len(), after);
            }
            sheet.mtime = mtime.filter(|_| !keep_mtime).unwrap_or(sheet.mtime);
        }
        true
    }

    /// What a power cut can surely not take of a file, its length, and whether something else than the node changed
    /// these bytes.
    pub(crate) fn on_medium(&self, inode: Inode, from: u64, to: u64) -> Option<(&Content, u64, bool)> {
        let sheet = self.medium.sheets.get(&inode)?;
        let pages = from / PAGE..=to.saturating_sub(1) / PAGE;
        Some((&sheet.content, sheet.len, sheet.tampered.range(pages).next().is_some()))
    }

    pub(crate) fn inode_of(&self, dir: Dir, name: &str) -> Option<Inode> {
        self.folders.get(&(dir, name.to_owned())).copied()
    }
}

impl Sheet {
    /// What is there after a power cut; from then on that is durable.
    fn survivor(&mut self, now: &Content, left: Left, rng: &mut Rng) -> Content {
        let mode = rng.below(4);
        let kept: BTreeSet<u64> = self.dirty.iter().copied().filter(|_| keeps(left, mode, rng)).collect();
        write_pages(self, now, &kept);
        let torn = self.last.0 / PAGE;
        if left == Left::Drawn && self.dirty.contains(&torn) && !kept.contains(&torn) {
            let sectors = rng.below(PAGE / SECTOR) * SECTOR;
            self.content.paste(now, torn * PAGE, sectors);
        }
        let len = match (keeps(left, 2, rng), left) {
            (true, _) => now.len(),
            (false, Left::Drawn) => {
                let (low, high) = (self.len.min(now.len()), self.len.max(now.len()));
                // The old one, or as far as some pages came.
                let between = rng.between(low, high) / PAGE * PAGE;
                if rng.flip() { self.len } else { between.clamp(low, high) }
            }
            (false, _) => self.len,
        };
        self.content.set_len(len);
        self.len = len;
        self.dirty.clear();
        self.lost.clear();
        self.last = (0, 0);
        self.content.clone()
    }
}

/// Whether one thing that was not synced is there after a power cut: none, all, half or most of them are.
fn keeps(left: Left, mode: u64, rng: &mut Rng) -> bool {
    match (left, mode) {
        (Left::Nothing, _) | (Left::Drawn, 0) => false,
        (Left::All, _) | (Left::Drawn, 1) => true,
        (Left::Drawn, 2) => rng.flip(),
        (Left::Drawn, _) => rng.below(8) != 0,
    }
}

fn write_pages(sheet: &mut Sheet, from: &Content, pages: &BTreeSet<u64>) {
    let mut pages = pages.iter().copied().peekable();
    while let Some(first) = pages.next() {
        let mut end = first + 1;
        while pages.next_if_eq(&end).is_some() {
            end += 1;
        }
        let (at, to) = (first * PAGE, end * PAGE);
        sheet.content.paste(from, at, to - at);
        // What lies behind the file's end is no part of it.
        if from.len() < to && sheet.content.len() > from.len() && at < sheet.content.len() {
            let len = sheet.content.len();
            sheet.content.set_len(from.len().max(at));
            if len > to {
                sheet.content.set_len(len);
            }
        }
    }
}
