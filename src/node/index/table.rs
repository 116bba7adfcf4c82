//! The shared files as records in one list, and four orders over them.
//!
//! A record is 136 bytes beside the name (and the folded name where that differs), an order four to eight. A record
//! without a name is *unclaimed*: a root that is known for a file of that inode or name, size and times, wherever it will
//! turn up. The log fills the table with such records, and a file that vanishes leaves one, so that a rename costs nothing.

use super::file::{File, FileNo, NOWHERE, State, inode_order, path_order, root_order, size_order};
use super::order::{Numbers, Order};
use crate::machine::Meta;
use crate::proto::content::Root;
use crate::proto::fold::fold;
use crate::proto::index_log::{Entry, path_of};

/// Files and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) files: usize,
    /// Sparse files can be larger together than 64 bits tell.
    pub(super) bytes: u128,
}

impl Sum {
    fn add(&mut self, size: u64) {
        self.files += 1;
        self.bytes += u128::from(size);
    }

    fn sub(&mut self, size: u64) {
        self.files -= 1;
        self.bytes -= u128::from(size);
    }
}

/// What became of a file that a listing named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is as it was.
    Same(u32),
    /// It is new or another, and its root is known all the same.
    Adopted(u32),
    /// It is new and must be hashed.
    New(u32),
    /// It changed and must be hashed.
    Changed(u32),
    /// There is no room for it.
    Full,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    /// Files that may have a name, and roots that may wait for one.
    room: usize,
    files: Vec<File>,
    free: Vec<u32>,
    /// Those with a name.
    by_name: Order,
    /// Those that are known.
    by_root: Order,
    /// Those that are known or unclaimed, by inode, and by the digest of their names.
    by_inode: Order,
    by_path: Order,
    /// Those that wait, the smaller first: most files are known soon, and one that still grows waits longer.
    waiting: Order,
    stamps: u32,
    named: Sum,
    known: Sum,
    unclaimed: usize,
    unreadable: usize,
    /// Bytes of names.
    names: usize,
    /// Bytes of the log that are of use (a record that two hard links share counts twice).
    live: u64,
}

impl Table {
    /// With room for so many files, and as many roots without a file.
    pub(super) fn new(room: usize) -> Table {
        Table { room, ..Table::default() }
    }

    /// The record of that slot, unless it is free.
    pub(super) fn get(&self, slot: u32) -> Option<&File> {
        self.files.get(slot as usize).filter(|file| file.state != State::Free)
    }

    /// The slot, if it still holds that file.
    pub(super) fn slot(&self, no: FileNo) -> Option<u32> {
        self.get(no.slot).filter(|file| file.stamp == no.stamp && file.is_named()).map(|_| no.slot)
    }

    pub(super) fn number(&self, slot: u32) -> FileNo {
        FileNo { slot, stamp: self.files[slot as usize].stamp }
    }

    /// Slots, free ones included.
    pub(super) fn slots(&self) -> u32 {
        self.files.len() as u32
    }

    pub(super) fn named(&self) -> Sum {
        self.named
    }

    pub(super) fn known(&self) -> Sum {
        self.known
    }

    pub(super) fn unreadable(&self) -> usize {
        self.unreadable
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.names_from(name).next().filter(|&slot| &*self.files[slot as usize].name == name)
    }

    /// In the order of names, from `name` on.
    pub(super) fn names_from(&self, name: &str) -> Numbers<'_> {
        self.by_name.from(|other| *self.files[other as usize].name < *name)
    }

    /// All files with this root, by slot, from `slot` on.
    pub(super) fn with_root<'a>(&'a self, root: &Root, slot: u32) -> impl Iterator<Item = u32> + use<'a> {
        let root = Some(*root);
        let same = move |&slot: &u32| self.files[slot as usize].root == root;
        let before = move |other: u32| (self.files[other as usize].root, other) < (root, slot);
        self.by_root.from(before).take_while(same)
    }

    /// The next to be hashed.
    pub(super) fn first_waiting(&self) -> Option<u32> {
        self.waiting.first()
    }

    /// The listing `seen` named a file.
    pub(super) fn take(&mut self, name: &str, meta: Meta, seen: u32) -> Taken {
        if let Some(slot) = self.find(name) {
            self.files[slot as usize].seen = seen;
            return self.update(slot, meta);
        }
        if self.named.files >= self.room {
            return Taken::Full;
        }
        let path = path_of(name);
        let like = self.like(&meta, path, None);
        let taken_over = like.filter(|&slot| self.files[slot as usize].state == State::Unclaimed);
        let (root, record) = like.map_or((None, NOWHERE), |slot| {
            let file = &self.files[slot as usize];
            (file.root, file.record)
        });
        let Some(slot) = taken_over.or_else(|| self.new_slot()) else { return Taken::Full };
        self.unlink(slot);
        self.stamps = self.stamps.wrapping_add(1);
        let folded = match fold(name) {
            folded if *folded == *name => None,
            folded => Some(Box::<str>::from(&*folded)),
        };
        self.names += name.len() + folded.as_ref().map_or(0, |folded| folded.len());
        let state = if root.is_some() { State::Known } else { State::Waiting };
        let stamp = self.stamps;
        let name = name.into();
        self.files[slot as usize] =
            File { name, folded, meta, path, record, root, stamp, seen, state, restless: 0 };
        self.link(slot);
        let Table { by_name, files, .. } = self;
        by_name.insert(slot, |other| files[other as usize].name < files[slot as usize].name);
        if state == State::Known { Taken::Adopted(slot) } else { Taken::New(slot) }
    }

    /// What the file of that slot is now.
    pub(super) fn update(&mut self, slot: u32, mut meta: Meta) -> Taken {
        let file = &self.files[slot as usize];
        if file.meta == meta {
            return Taken::Same(slot);
        }
        if meta.born == 0 && file.meta.is_same_inode(&meta) {
            meta.born = file.meta.born;
        }
        if file.meta.is_still(&meta) {
            self.unlink(slot);
            self.files[slot as usize].meta = meta;
            self.link(slot);
            return Taken::Same(slot);
        }
        let (root, record) = match self.like(&meta, file.path, Some(slot)) {
            Some(like) => (self.files[like as usize].root, self.files[like as usize].record),
            None => (None, NOWHERE),
        };
        self.unlink(slot);
        let file = &mut self.files[slot as usize];
        let (old, path, old_root, old_record) = (file.meta, file.path, file.root, file.record);
        (file.meta, file.root, file.record) = (meta, root, record);
        file.state = if root.is_some() { State::Known } else { State::Waiting };
        let seen = file.seen;
        self.link(slot);
        // Another file has taken its name: the one that was here may have taken that other one's.
        if let Some(old_root) = old_root.filter(|_| !old.is_same_inode(&meta)) {
            self.keep_seen((old, path), old_root, old_record, seen);
        }
        if root.is_some() { Taken::Adopted(slot) } else { Taken::Changed(slot) }
    }

    /// It changed again, or was left alone.
    pub(super) fn set_restless(&mut self, slot: u32, times: u8) {
        self.files[slot as usize].restless = times;
    }

    /// From one state of a file whose root is not known to another.
    pub(super) fn set_state(&mut self, slot: u32, state: State) {
        debug_assert!(!matches!(state, State::Free | State::Unclaimed | State::Known));
        debug_assert!(self.files[slot as usize].is_named() && self.files[slot as usize].root.is_none());
        self.unlink(slot);
        self.files[slot as usize].state = state;
        self.link(slot);
    }

    /// The root of the file of that slot was found.
    pub(super) fn set_root(&mut self, slot: u32, root: Root) {
        debug_assert!(self.files[slot as usize].is_named());
        self.unlink(slot);
        let file = &mut self.files[slot as usize];
        (file.root, file.record, file.state) = (Some(root), NOWHERE, State::Known);
        self.link(slot);
    }

    /// Where the log holds the record of that slot.
    pub(super) fn set_record(&mut self, slot: u32, record: Option<u64>) {
        let file = &mut self.files[slot as usize];
        self.live -= file.record_len();
        file.record = record.unwrap_or(NOWHERE);
        self.live += file.record_len();
    }

    /// The log holds at `record` what such a file came to.
    pub(super) fn confirm(&mut self, meta: Meta, root: Root, record: u64) {
        let same = |file: &File| file.meta.is_still(&meta) && file.root == Some(root);
        let like: Vec<u32> =
            self.with_inode(meta.inode).filter(|&slot| same(&self.files[slot as usize])).collect();
        like.into_iter().for_each(|slot| self.set_record(slot, Some(record)));
    }

    /// Whether the record at `record` of the log, on a file of that inode and name, is of use.
    pub(super) fn uses(&self, inode: u64, path: u32, record: u64) -> bool {
        let mut like = self.with_inode(inode).chain(self.with_path(path));
        like.any(|slot| self.files[slot as usize].record == record)
    }

    /// Bytes of the log that are of use.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// The log says: a file that is so has this root. A newer word on the same inode replaces an older one, and nothing is
    /// kept for which there is no room.
    pub(super) fn keep(&mut self, entry: &Entry) {
        self.keep_seen((entry.meta, entry.path), entry.root, entry.record.start, 0);
    }

    fn keep_seen(&mut self, (meta, path): (Meta, u32), root: Root, record: u64, seen: u32) {
        let older = self.with_inode(meta.inode).find(|&slot| {
            let file = &self.files[slot as usize];
            file.meta.is_same_inode(&meta) && file.state == State::Unclaimed
        });
        if let Some(slot) = older {
            self.remove_unclaimed(slot);
        }
        if self.unclaimed >= self.room {
            return;
        }
        let Some(slot) = self.new_slot() else { return };
        self.files[slot as usize] =
            File { meta, path, record, root: Some(root), seen, state: State::Unclaimed, ..File::free() };
        self.link(slot);
    }

    /// The file is gone. `seen`: the listing that found it so. If its root is known that is remembered without a name.
    pub(super) fn vanish(&mut self, slot: u32, seen: u32) {
        let Table { by_name, files, .. } = self;
        by_name.remove(slot, |other| files[other as usize].name < files[slot as usize].name);
        self.unlink(slot);
        let file = &mut self.files[slot as usize];
        self.names -= file.name.len() + file.folded.as_ref().map_or(0, |folded| folded.len());
        (file.name, file.folded, file.seen) = (Box::default(), None, seen);
        if file.state == State::Known && self.unclaimed < self.room {
            file.state = State::Unclaimed;
            self.link(slot);
        } else {
            *file = File::free();
            self.free.push(slot);
        }
    }

    /// Looks at `budget` slots from `from` on and frees what no file of these file systems claimed since the listing `seen`.
    /// Returns where to go on, or nothing at the end.
    pub(super) fn purge(&mut self, from: u32, budget: u32, seen: u32, devices: &[u64]) -> Option<u32> {
        let end = self.slots().min(from.saturating_add(budget));
        for slot in from..end {
            let file = &self.files[slot as usize];
            if file.state == State::Unclaimed && file.seen != seen && devices.contains(&file.meta.device) {
                self.remove_unclaimed(slot);
            }
        }
        (end < self.slots()).then_some(end)
    }

    /// The listing in which the file of that slot was last seen.
    pub(super) fn seen(&self, slot: u32) -> u32 {
        self.files[slot as usize].seen
    }

    /// Bytes held, as far as can be told: records, orders, names.
    pub(super) fn memory(&self) -> usize {
        let orders = [&self.by_name, &self.by_root, &self.by_inode, &self.by_path, &self.waiting];
        let records = self.files.capacity() * size_of::<File>() + self.free.capacity() * size_of::<u32>();
        records + orders.iter().map(|order| order.memory()).sum::<usize>() + self.names
    }

    /// Bytes of all names, folded ones included.
    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        self.names
    }

    /// A record with a known root for just such a file; one that nobody claims if there is one. Another than `not`.
    fn like(&self, meta: &Meta, path: u32, not: Option<u32>) -> Option<u32> {
        let mut found = None;
        for slot in self.with_inode(meta.inode).chain(self.with_path(path)) {
            let file = &self.files[slot as usize];
            if Some(slot) != not && file.is_like(meta, path) {
                found = Some(slot);
                if file.state == State::Unclaimed {
                    break;
                }
            }
        }
        found
    }

    /// Files with a root that have this inode, on whatever device.
    fn with_inode(&self, inode: u64) -> impl Iterator<Item = u32> + '_ {
        let same = move |&slot: &u32| self.files[slot as usize].meta.inode == inode;
        self.by_inode.from(move |other| self.files[other as usize].meta.inode < inode).take_while(same)
    }

    /// Files with a root that have or had a name of this digest.
    fn with_path(&self, path: u32) -> impl Iterator<Item = u32> + '_ {
        let same = move |&slot: &u32| self.files[slot as usize].path == path;
        self.by_path.from(move |other| self.files[other as usize].path < path).take_while(same)
    }

    fn remove_unclaimed(&mut self, slot: u32) {
        self.unlink(slot);
        self.files[slot as usize] = File::free();
        self.free.push(slot);
    }

    /// A free slot.
    fn new_slot(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            let slot = u32::try_from(self.files.len()).ok()?;
            self.files.push(File::free());
            Some(slot)
        })
    }

    /// Puts a record into the orders and sums of its state; the order of names is kept by those who give and take names.
    fn link(&mut self, slot: u32) {
        let Table { files, by_root, by_inode, by_path, waiting, .. } = self;
        let file = &files[slot as usize];
        let size = file.meta.size;
        self.live += file.record_len();
        match file.state {
            State::Known | State::Unclaimed => {
                by_inode.insert(slot, |other| inode_order(files, other, slot).is_lt());
                by_path.insert(slot, |other| path_order(files, other, slot).is_lt());
            }
            State::Waiting => waiting.insert(slot, |other| size_order(files, other, slot).is_lt()),
            State::Unreadable => self.unreadable += 1,
            State::Free | State::Paused | State::Hashing => {}
        }
        if file.state == State::Known {
            by_root.insert(slot, |other| root_order(files, other, slot).is_lt());
            self.known.add(size);
        }
        match file.state {
            State::Free => {}
            State::Unclaimed => self.unclaimed += 1,
            _ => self.named.add(size),
        }
    }

    /// Takes it out again, before anything of it changes.
    fn unlink(&mut self, slot: u32) {
        let Table { files, by_root, by_inode, by_path, waiting, .. } = self;
        let file = &files[slot as usize];
        let size = file.meta.size;
        self.live -= file.record_len();
        match file.state {
            State::Known | State::Unclaimed => {
                let stood = by_inode.remove(slot, |other| inode_order(files, other, slot).is_lt())
                    && by_path.remove(slot, |other| path_order(files, other, slot).is_lt());
                debug_assert!(stood);
            }
            State::Waiting => {
                let stood = waiting.remove(slot, |other| size_order(files, other, slot).is_lt());
                debug_assert!(stood);
            }
            State::Unreadable => self.unreadable -= 1,
            State::Free | State::Paused | State::Hashing => {}
        }
        if file.state == State::Known {
            let stood = by_root.remove(slot, |other| root_order(files, other, slot).is_lt());
            debug_assert!(stood);
            self.known.sub(size);
        }
        match file.state {
            State::Free => {}
            State::Unclaimed => self.unclaimed -= 1,
            _ => self.named.sub(size),
        }
    }

    /// Whether everything that is said twice agrees. For tests: it takes long.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let count = |wanted: &dyn Fn(&File) -> bool| self.files.iter().filter(|file| wanted(file)).count();
        assert_eq!(count(&|f| f.state == State::Free), self.free.len());
        assert_eq!(count(&|f| f.is_named()), self.named.files);
        assert_eq!(count(&|f| f.is_named()), self.by_name.len());
        assert_eq!(count(&|f| f.state == State::Known), self.known.files);
        assert_eq!(count(&|f| f.state == State::Known), self.by_root.len());
        assert_eq!(count(&|f| f.state == State::Unclaimed), self.unclaimed);
        assert_eq!(count(&|f| f.state == State::Waiting), self.waiting.len());
        assert_eq!(count(&|f| f.state == State::Unreadable), self.unreadable);
        assert_eq!(count(&|f| f.root.is_some()), self.by_inode.len());
        assert_eq!(count(&|f| f.root.is_some()), self.by_path.len());
        let sum = |wanted: &dyn Fn(&File) -> bool| {
            self.files.iter().filter(|f| wanted(f)).map(|f| u128::from(f.meta.size)).sum::<u128>()
        };
        assert_eq!(sum(&|f| f.is_named()), self.named.bytes);
        assert_eq!(sum(&|f| f.state == State::Known), self.known.bytes);
        let names: Vec<&str> = self.names_from("").map(|slot| &*self.files[slot as usize].name).collect();
        assert!(names.is_sorted_by(|a, b| a < b));
        assert!(
            self.files.iter().all(|f| f.root.is_some() == matches!(f.state, State::Known | State::Unclaimed))
        );
        assert!(self.files.iter().all(|f| f.root.is_some() || f.record == NOWHERE));
        assert_eq!(self.files.iter().map(File::record_len).sum::<u64>(), self.live);
    }
}
