//! The disk of one node: three folders, the state files (`kept`), and whatever else the operator has. Names point at
//! files and open files do too, so that a file replaced or removed while it is served goes on being what it was.

mod kept;

use crate::content::Content;
use crate::faults::DiskFaults;
use crate::rng::Dice;
use distrishare::config::{IMPORT_PREFIX, PART_PREFIX};
use distrishare::machine::{Dir, Entry, Fault, Kept, Meta, Slot};
use kept::Logs;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

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
    /// Bytes that fit; what the operator put there himself does not count.
    pub(crate) capacity: u64,
    used: u64,
    files: BTreeMap<Inode, Content>,
    folders: BTreeMap<(Dir, String), Inode>,
    /// Folders beneath the three. They stay when the last file in them goes.
    beneath: BTreeSet<(Dir, String)>,
    mtimes: BTreeMap<Inode, i64>,
    /// Microseconds of the world, set by whoever comes to the disk; files get their times from it.
    pub(crate) now: u64,
    /// How fine the file system's times are, in microseconds. Coarse ones hide a second change.
    pub(crate) grain: u64,
    /// Folders whose changes somebody wants to hear of, and those that he was not yet told.
    pub(crate) watched: BTreeSet<Dir>,
    pub(crate) changes: Vec<Change>,
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
            used: 0,
            files: BTreeMap::new(),
            folders: BTreeMap::new(),
            beneath: BTreeSet::new(),
            mtimes: BTreeMap::new(),
            now: 0,
            grain: 1,
            watched: BTreeSet::new(),
            changes: Vec::new(),
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
            if dir != Dir::Shared {
                self.used = self.used.saturating_sub(self.len(inode));
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

    /// Bytes a new file may grow to.
    pub(crate) fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    pub(crate) fn len(&self, inode: Inode) -> u64 {
        self.files.get(&inode).map_or(0, Content::len)
    }

    /// What the file is now.
    pub(crate) fn meta(&self, inode: Inode) -> Meta {
        let mtime = self.mtimes.get(&inode).copied().unwrap_or(EPOCH);
        Meta { size: self.len(inode), mtime, device: 1, inode: inode.0 }
    }

    pub(crate) fn open(&mut self, dir: Dir, name: &str) -> Result<(Inode, u64), Fault> {
        self.may_fail("disk.open", self.faults.open, &[Fault::TooManyOpen, Fault::Denied, Fault::Os(5)])?;
        check_name(name);
        self.opens += 1;
        if let Some(&fault) = self.odd.get(name) {
            return Err(fault);
        }
        let inode = *self.folders.get(&(dir, name.to_owned())).ok_or(Fault::NotFound)?;
        Ok((inode, self.len(inode)))
    }

    pub(crate) fn create(&mut self, name: &str) -> Result<Inode, Fault> {
        let faults = [Fault::NoSpace, Fault::ReadOnly, Fault::TooManyOpen];
        self.may_fail("disk.open", self.faults.open, &faults)?;
        assert!(
            name.strip_prefix(PART_PREFIX).is_some_and(|r| r.len() == 16 && r.bytes().all(is_hex)),
            "temporary name {name:?}"
        );
        if self.folders.contains_key(&(Dir::Parts, name.to_owned())) {
            return Err(Fault::Exists);
        }
        Ok(self.put(Dir::Parts, name, Content::Bytes(Vec::new())))
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

    /// Stores as many of `bytes` as there is room for, and says what is wrong if that is not all.
    pub(crate) fn write(
        &mut self,
        inode: Inode,
        offset: u64,
        bytes: &[u8],
        generators: &[u64],
    ) -> (usize, Option<Fault>) {
        if self.dice.falls("disk.write", self.faults.write) {
            let n = self.dice.of("disk.write").below(bytes.len() as u64) as usize;
            return (self.store(inode, offset, &bytes[..n], generators), Some(Fault::Os(5)));
        }
        let mut room = self.capacity.saturating_sub(self.used);
        if self.dice.falls("disk.full", self.faults.full) {
            room = self.dice.of("disk.full").below(bytes.len() as u64);
        }
        let n = (bytes.len() as u64).min(room) as usize;
        let fault = (n < bytes.len()).then_some(Fault::NoSpace);
        (self.store(inode, offset, &bytes[..n], generators), fault)
    }

    fn store(&mut self, inode: Inode, offset: u64, bytes: &[u8], generators: &[u64]) -> usize {
        let Some(content) = self.files.get_mut(&inode) else { return 0 };
        if !bytes.is_empty() {
            let before = content.len();
            content.write(offset, bytes, generators);
            self.used += content.len() - before;
            self.touch(inode);
        }
        bytes.len()
    }

    /// From a temporary name to a final one that nothing has yet.
    pub(crate) fn commit(&mut self, part: &str, name: &str) -> Result<(String, u64), Fault> {
        let faults = [Fault::Os(5), Fault::NoSpace, Fault::ReadOnly];
        self.may_fail("disk.commit", self.faults.commit, &faults)?;
        check_name(name);
        let Some(inode) = self.folders.remove(&(Dir::Parts, part.to_owned())) else {
            return Err(Fault::NotFound);
        };
        let taken = |name: &str| self.folders.contains_key(&(Dir::Downloads, name.to_owned()));
        let free = (1u32..).map(|n| numbered(name, n)).find(|name| !taken(name)).expect("a free name");
        self.link(Dir::Downloads, &free, inode);
        Ok((free, self.len(inode)))
    }

    pub(crate) fn import(&mut self, source: &Path, name: &str) -> Result<Content, Fault> {
        check_name(name);
        let faults = [Fault::NoSpace, Fault::Denied, Fault::Os(5)];
        self.may_fail("disk.open", self.faults.open, &faults)?;
        if self.folders.contains_key(&(Dir::Shared, name.to_owned())) {
            return Err(Fault::Exists);
        }
        self.outside.get(source).cloned().ok_or(Fault::NotFound)
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

    /// What a driver does before its node starts: away with what an earlier life left unfinished.
    pub(crate) fn sweep(&mut self) {
        let old = |dir: Dir, name: &str| match dir {
            Dir::Parts => name.starts_with(PART_PREFIX),
            Dir::Shared => name.starts_with(IMPORT_PREFIX),
            Dir::Downloads => false,
        };
        let names: Vec<_> = self.folders.keys().filter(|(dir, name)| old(*dir, name)).cloned().collect();
        names.into_iter().for_each(|(dir, name)| self.remove(dir, &name));
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

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}
