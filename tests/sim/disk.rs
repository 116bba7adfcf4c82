//! The disk of one node: three folders, the state files (`kept`), and whatever else the operator has. Names point at
//! files and open files do too, so that a file replaced or removed while it is served goes on being what it was. What a
//! node stores (`parts`) is in the kernel's memory first and on the medium (`medium`) when it was synced.

mod kept;
mod medium;
mod parts;

pub(crate) use medium::Left;
pub(crate) use parts::{TempName, temp_name};

use crate::content::Content;
use crate::faults::DiskFaults;
use crate::rng::Dice;
use distrishare::machine::{Dir, Entry, Fault, Kept, Meta, Slot};
use kept::Logs;
use medium::Medium;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;

/// A file apart from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Inode(u64);

/// When the world begins: its microsecond 0, in nanoseconds since 1970.
const EPOCH: i64 = 1_750_000_000_000_000_000;

/// What a listing found.
pub(crate) struct Found {
    pub(crate) entries: Vec<Entry>,
    /// There are more than were asked for.
    pub(crate) truncated: bool,
}

/// Something changed in a folder, as [`distrishare::machine::Input::FolderChanged`] tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Change {
    pub(crate) dir: Dir,
    pub(crate) folder: String,
    pub(crate) deep: bool,
}

pub(crate) struct Disk {
    pub(crate) faults: DiskFaults,
    pub(crate) dice: Dice,
    /// Bytes that fit above the reserve; what the operator put there himself does not count.
    pub(crate) capacity: u64,
    /// Bytes that would fit besides, and that a node must leave alone. 0: whatever is too much fails.
    pub(crate) reserve: u64,
    pub(crate) used: u64,
    /// What each file of the node's takes, and how much of it was set aside.
    charges: BTreeMap<Inode, u64>,
    set_aside: BTreeMap<Inode, u64>,
    /// Bytes stored in temporary files and journals, and those that these held at their end.
    pub(crate) wear: (u64, u64),
    medium: Medium,
    /// Finished downloads, unfinished ones and journals that the operator removed or changed.
    pub(crate) by_hand: BTreeSet<String>,
    files: BTreeMap<Inode, Content>,
    folders: BTreeMap<(Dir, String), Inode>,
    /// Folders beneath the three. They stay when the last file in them goes.
    beneath: BTreeSet<(Dir, String)>,
    mtimes: BTreeMap<Inode, i64>,
    /// Temporary files whose length another program changed since they were opened.
    resized: BTreeSet<Inode>,
    /// Microseconds of the world, set by whoever comes to the disk; files get their times from it.
    pub(crate) now: u64,
    /// How fine the file system's times are, in microseconds. Coarse ones hide a second change.
    pub(crate) grain: u64,
    /// Folders whose changes somebody wants to hear of, and those that he was not yet told.
    pub(crate) watched: BTreeSet<Dir>,
    pub(crate) changes: Vec<Change>,
    /// Names that differ only in their letters' case, or in how these are composed, are one (vfat and others).
    pub(crate) folds: bool,
    /// Names in the shared folder that are no regular files (links, pipes, folders), and what opening them gives.
    pub(crate) odd: BTreeMap<String, Fault>,
    /// Files with a bad sector from this byte on.
    spoilt: BTreeMap<Inode, u64>,
    /// How often a name was looked for.
    pub(crate) opens: u64,
    /// Files that a node's operator can name in `share`.
    pub(crate) outside: BTreeMap<PathBuf, Content>,
    pub(crate) state: BTreeMap<(Kept, Slot), Vec<u8>>,
    pub(crate) quarantined: Vec<(Kept, Vec<u8>)>,
    /// Given to the disk and not yet confirmed: after a crash it may be there or not.
    pub(crate) saving: VecDeque<(Kept, Vec<u8>)>,
    logs: Logs,
    next: u64,
}

impl Disk {
    pub(crate) fn new(seed: u64, number: u64) -> Disk {
        Disk {
            faults: DiskFaults::default(),
            dice: Dice::new(seed, number + 1),
            capacity: u64::MAX,
            reserve: 0,
            used: 0,
            charges: BTreeMap::new(),
            set_aside: BTreeMap::new(),
            wear: (0, 0),
            medium: Medium::default(),
            by_hand: BTreeSet::new(),
            files: BTreeMap::new(),
            folders: BTreeMap::new(),
            beneath: BTreeSet::new(),
            mtimes: BTreeMap::new(),
            resized: BTreeSet::new(),
            now: 0,
            grain: 1,
            watched: BTreeSet::new(),
            changes: Vec::new(),
            folds: false,
            odd: BTreeMap::new(),
            spoilt: BTreeMap::new(),
            opens: 0,
            outside: BTreeMap::new(),
            state: BTreeMap::new(),
            quarantined: Vec::new(),
            saving: VecDeque::new(),
            logs: Logs::default(),
            next: 1,
        }
    }

    /// Puts a file there, as another program would; an older one of that name stays what it was for who has it open.
    pub(crate) fn put(&mut self, dir: Dir, name: &str, content: Content) -> Inode {
        let inode = self.make(content);
        self.link(dir, name, inode);
        if dir != Dir::Shared {
            self.old(inode, (dir, name.to_owned()));
        }
        inode
    }

    /// A file without a name.
    fn make(&mut self, content: Content) -> Inode {
        let inode = Inode(self.next);
        self.next += 1;
        self.files.insert(inode, content);
        self.touch(inode);
        inode
    }

    fn link(&mut self, dir: Dir, name: &str, inode: Inode) {
        self.folders.insert((dir, name.to_owned()), inode);
        match self.make_folders(dir, name) {
            Some(folder) => self.changed(dir, &folder, true),
            None => self.changed(dir, parent(name), false),
        }
    }

    /// Those that `name` lies in; the first that was not there.
    fn make_folders(&mut self, dir: Dir, name: &str) -> Option<String> {
        let slashes = name.match_indices('/').map(|(at, _)| name[..at].to_owned());
        let made: Vec<String> = slashes.filter(|folder| self.beneath.insert((dir, folder.clone()))).collect();
        made.into_iter().next()
    }

    pub(crate) fn remove(&mut self, dir: Dir, name: &str) {
        if let Some(inode) = self.folders.remove(&(dir, name.to_owned())) {
            self.changed(dir, parent(name), false);
            if dir == Dir::Downloads {
                self.by_hand.insert(name.to_owned());
            }
            if dir != Dir::Shared {
                self.wear.1 += self.len(inode);
                self.release(inode);
                self.unlinked((dir, name.to_owned()), inode);
            }
        }
    }

    /// Removes a folder beneath `dir` with all that is in it.
    pub(crate) fn remove_folder(&mut self, dir: Dir, folder: &str) {
        let inside = |name: &str| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.folders.retain(|(d, name), _| *d != dir || !inside(name));
        self.beneath.retain(|(d, name)| *d != dir || (name != folder && !inside(name)));
        self.changed(dir, folder, true);
    }

    /// Gives a file, or a folder with all that is in it, another name. Content, number and time stay what they are.
    pub(crate) fn rename(&mut self, dir: Dir, from: &str, to: &str) {
        if let Some(inode) = self.folders.remove(&(dir, from.to_owned())) {
            self.changed(dir, parent(from), false);
            return self.link(dir, to, inode);
        }
        let moved = |name: &str| {
            let rest = name.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('/'));
            rest.map(|rest| format!("{to}{rest}"))
        };
        for ((d, name), inode) in std::mem::take(&mut self.folders) {
            let name = moved(&name).filter(|_| d == dir).unwrap_or(name);
            self.folders.insert((d, name), inode);
        }
        for (d, name) in std::mem::take(&mut self.beneath) {
            let name = moved(&name).filter(|_| d == dir).unwrap_or(name);
            self.beneath.insert((d, name));
        }
        self.changed(dir, from, true);
        let made = self.make_folders(dir, to);
        self.changed(dir, made.as_deref().unwrap_or(to), true);
    }

    /// Writes another content into the same file, which may be open.
    pub(crate) fn rewrite(&mut self, dir: Dir, name: &str, content: Content) {
        self.edit(dir, name, |file| *file = content);
    }

    /// The same file becomes shorter while it may be open.
    pub(crate) fn shrink(&mut self, dir: Dir, name: &str, to: u64) {
        self.edit(dir, name, |file| file.truncate(to));
    }

    /// The same file becomes longer while it may be open.
    pub(crate) fn grow(&mut self, dir: Dir, name: &str, to: u64) {
        self.edit(dir, name, |file| {
            if let Content::Generated { len, .. } = file {
                *len = to;
            }
        });
    }

    fn edit(&mut self, dir: Dir, name: &str, how: impl FnOnce(&mut Content)) {
        let Some(&inode) = self.folders.get(&(dir, name.to_owned())) else { return };
        if let Some(file) = self.files.get_mut(&inode) {
            how(file);
        }
        self.touch(inode);
        self.changed(dir, parent(name), false);
    }

    /// Its content is of now.
    fn touch(&mut self, inode: Inode) {
        let now = self.now - self.now % self.grain.max(1);
        self.mtimes.insert(inode, EPOCH + now as i64 * 1000);
    }

    fn changed(&mut self, dir: Dir, folder: &str, deep: bool) {
        if self.watched.contains(&dir) {
            self.changes.push(Change { dir, folder: folder.to_owned(), deep });
        }
    }

    /// From byte `from` on the file cannot be read any more.
    pub(crate) fn spoil(&mut self, dir: Dir, name: &str, from: u64) {
        if let Some(&inode) = self.folders.get(&(dir, name.to_owned())) {
            self.spoilt.insert(inode, from);
        }
    }

    pub(crate) fn content(&self, dir: Dir, name: &str) -> Option<&Content> {
        self.folders.get(&(dir, name.to_owned())).and_then(|inode| self.files.get(inode))
    }

    pub(crate) fn names(&self, dir: Dir) -> Vec<String> {
        let all = self.folders.keys().filter(|key| key.0 == dir);
        all.map(|(_, name)| name.clone()).collect()
    }

    pub(crate) fn len(&self, inode: Inode) -> u64 {
        self.files.get(&inode).map_or(0, Content::len)
    }

    /// What the file is now.
    pub(crate) fn meta(&self, inode: Inode) -> Meta {
        let mtime = self.mtimes.get(&inode).copied().unwrap_or(EPOCH);
        let born = u32::try_from(inode.0).unwrap_or(u32::MAX);
        Meta { size: self.len(inode), mtime, ctime: mtime, marks: 1, born, device: 1, inode: inode.0 }
    }

    pub(crate) fn open(&mut self, dir: Dir, name: &str) -> Result<(Inode, u64), Fault> {
        self.may_fail("disk.open", self.faults.open, &[Fault::TooManyOpen, Fault::Denied, Fault::Os(5)])?;
        check_name(name);
        self.opens += 1;
        if let Some(&fault) = self.odd.get(name) {
            return Err(fault);
        }
        let inode = *self.folders.get(&self.as_stored(dir, name)).ok_or(Fault::NotFound)?;
        Ok((inode, self.len(inode)))
    }

    /// The name as it stands there, however it was asked for; the same if there is none.
    fn as_stored(&self, dir: Dir, name: &str) -> (Dir, String) {
        let exact = (dir, name.to_owned());
        if !self.folds || self.folders.contains_key(&exact) {
            return exact;
        }
        let wanted = folded(name);
        let same = self.folders.keys().find(|(d, other)| *d == dir && folded(other) == wanted);
        same.cloned().unwrap_or(exact)
    }

    pub(crate) fn read(&mut self, inode: Inode, offset: u64, n: usize) -> Result<Vec<u8>, Fault> {
        self.may_fail("disk.read", self.faults.read, &[Fault::Os(5)])?;
        let n = match self.spoilt.get(&inode) {
            Some(&from) if offset >= from => return Err(Fault::Os(5)),
            Some(&from) => n.min((from - offset) as usize),
            None => n,
        };
        let bytes = self.files.get(&inode).map(|c| c.read(offset, n)).unwrap_or_default();
        if bytes.is_empty() { Err(Fault::Shrunk) } else { Ok(bytes) }
    }

    /// All `n` bytes from `offset` on, fewer only at the end of the file.
    pub(crate) fn read_all(&mut self, inode: Inode, offset: u64, n: usize) -> Result<Vec<u8>, Fault> {
        self.may_fail("disk.read", self.faults.read, &[Fault::Os(5)])?;
        let bytes = self.files.get(&inode).map(|c| c.read(offset, n)).unwrap_or_default();
        match self.spoilt.get(&inode) {
            Some(&from) if offset + bytes.len() as u64 > from => Err(Fault::Os(5)),
            _ => Ok(bytes),
        }
    }

    /// What becomes of the operator's file or folder: names and contents, in the order of names.
    pub(crate) fn import(&mut self, source: &Path, name: &str) -> Result<Vec<(String, Content)>, Fault> {
        check_name(name);
        let faults = [Fault::NoSpace, Fault::Denied, Fault::Os(5)];
        self.may_fail("disk.open", self.faults.open, &faults)?;
        if self.is_taken(name) {
            return Err(Fault::Exists);
        }
        let copied = self.outside.iter().filter_map(|(path, content)| {
            let rest = path.strip_prefix(source).ok()?.to_str()?;
            Some((if rest.is_empty() { name.to_owned() } else { format!("{name}/{rest}") }, content.clone()))
        });
        let copied: Vec<_> = copied.collect();
        if copied.is_empty() { Err(Fault::NotFound) } else { Ok(copied) }
    }

    /// Whether a file or a folder in the shared one has that name.
    pub(crate) fn is_taken(&self, name: &str) -> bool {
        self.folders.contains_key(&self.as_stored(Dir::Shared, name))
            || self.beneath.contains(&(Dir::Shared, name.to_owned()))
    }

    /// The files of `folder`, those of the folders in it too if `deep`, in the order of names unless there are more
    /// than `max`.
    pub(crate) fn list(&mut self, dir: Dir, folder: &str, deep: bool, max: usize) -> Result<Found, Fault> {
        self.may_fail("disk.open", self.faults.open, &[Fault::NotFound, Fault::Denied])?;
        if !folder.is_empty() {
            check_name(folder);
            if !self.beneath.contains(&(dir, folder.to_owned())) {
                return Err(Fault::NotFound);
            }
        }
        let shown = |name: &str| {
            let inside = match folder {
                "" => Some(name),
                folder => name.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')),
            };
            let visible = |rest: &str| !rest.split('/').any(|part| part.starts_with('.'));
            inside.is_some_and(|rest| visible(rest) && (deep || !rest.contains('/')))
        };
        let names = self.folders.iter().filter(|((d, name), _)| *d == dir && shown(name));
        let entry = |((_, name), &inode): (&(Dir, String), &Inode)| Entry {
            name: name.clone(),
            meta: self.meta(inode),
        };
        let mut entries: Vec<Entry> = names.map(entry).collect();
        let truncated = entries.len() > max;
        if truncated {
            // The disk has an order of its own, and that is where it stops.
            let first = self.dice.of("disk.order").below(entries.len() as u64) as usize;
            entries.rotate_left(first);
            entries.truncate(max);
        }
        Ok(Found { entries, truncated })
    }

    /// How long an operation takes, in microseconds.
    pub(crate) fn delay(&mut self) -> u64 {
        let usual = self.dice.of("disk.delay").between(20, 800);
        if self.dice.falls("disk.slow", self.faults.slow) {
            return usual + self.dice.of("disk.slow").between(10_000, 10_000_000);
        }
        usual
    }

    fn may_fail(&mut self, class: &'static str, ppm: u32, with: &[Fault]) -> Result<(), Fault> {
        if self.dice.falls(class, ppm) { Err(*self.dice.of(class).pick(with)) } else { Ok(()) }
    }
}

/// No name that a node was told by another may get past its own check: the disk is never even asked.
pub(crate) fn check_name(name: &str) {
    let component = |c: &str| !c.is_empty() && c.len() <= 255 && !c.starts_with('.');
    let ok = name.len() <= 1024
        && name.split('/').count() <= 8
        && name.split('/').all(component)
        && !name.contains(['\\', '\0']);
    assert!(ok, "a driver was asked for the unsafe name {name:?}");
}

/// What two names have in common that are one to a disk that folds.
fn folded(name: &str) -> String {
    name.nfc().flat_map(char::to_lowercase).collect()
}

/// The folder that `name` lies in.
fn parent(name: &str) -> &str {
    name.rfind('/').map_or("", |slash| &name[..slash])
}

/// `name.ext`, `name (2).ext`, `name (3).ext`, …
pub(crate) fn numbered(name: &str, n: u32) -> String {
    if n < 2 {
        return name.to_owned();
    }
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    match name.rfind('.').filter(|&dot| dot > base) {
        Some(dot) => format!("{} ({n}){}", &name[..dot], &name[dot..]),
        None => format!("{name} ({n})"),
    }
}
