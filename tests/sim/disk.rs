//! The disk of one node: three folders, the state files, and whatever else the operator has. Names point at files and
//! open files do too, so that a file replaced or removed while it is served goes on being what it was.

use crate::content::Content;
use crate::faults::DiskFaults;
use crate::rng::Dice;
use distrishare::config::{IMPORT_PREFIX, PART_PREFIX};
use distrishare::machine::{Dir, Entry, Fault, Meta, Slot};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

/// A file apart from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Inode(u64);

pub(crate) struct Disk {
    pub(crate) faults: DiskFaults,
    pub(crate) dice: Dice,
    /// Bytes that fit; what the operator put there himself does not count.
    pub(crate) capacity: u64,
    used: u64,
    files: BTreeMap<Inode, Content>,
    folders: BTreeMap<(Dir, String), Inode>,
    /// Names in the shared folder that are no regular files (links, pipes, folders), and what opening them gives.
    pub(crate) odd: BTreeMap<String, Fault>,
    /// Files with a bad sector from this byte on.
    spoilt: BTreeMap<Inode, u64>,
    /// How often a name was looked for.
    pub(crate) opens: u64,
    /// Files that a node's operator can name in `share`.
    pub(crate) outside: BTreeMap<PathBuf, Content>,
    pub(crate) state: BTreeMap<Slot, Vec<u8>>,
    pub(crate) quarantined: Vec<Vec<u8>>,
    /// Given to the disk and not yet confirmed: after a crash it may be there or not.
    pub(crate) saving: VecDeque<Vec<u8>>,
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
            odd: BTreeMap::new(),
            spoilt: BTreeMap::new(),
            opens: 0,
            outside: BTreeMap::new(),
            state: BTreeMap::new(),
            quarantined: Vec::new(),
            saving: VecDeque::new(),
            next: 0,
        }
    }

    /// Puts a file there, as another program would; an older one of that name stays what it was for who has it open.
    pub(crate) fn put(&mut self, dir: Dir, name: &str, content: Content) -> Inode {
        let inode = Inode(self.next);
        self.next += 1;
        self.files.insert(inode, content);
        self.folders.insert((dir, name.to_owned()), inode);
        inode
    }

    pub(crate) fn remove(&mut self, dir: Dir, name: &str) {
        if let Some(inode) = self.folders.remove(&(dir, name.to_owned())) {
            if dir != Dir::Shared {
                self.used = self.used.saturating_sub(self.len(inode));
            }
        }
    }

    /// The same file becomes shorter while it may be open.
    pub(crate) fn shrink(&mut self, dir: Dir, name: &str, to: u64) {
        let inode = self.folders.get(&(dir, name.to_owned()));
        if let Some(content) = inode.and_then(|inode| self.files.get_mut(inode)) {
            content.truncate(to);
        }
    }

    /// The same file becomes longer while it may be open.
    pub(crate) fn grow(&mut self, dir: Dir, name: &str, to: u64) {
        let inode = self.folders.get(&(dir, name.to_owned()));
        if let Some(Content::Generated { len, .. }) = inode.and_then(|inode| self.files.get_mut(inode)) {
            *len = to;
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

    /// What the file is. Times stand still here until somebody needs them.
    pub(crate) fn meta(&self, inode: Inode) -> Meta {
        Meta { size: self.len(inode), mtime: 0, device: 1, inode: inode.0 }
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
        self.folders.insert((Dir::Downloads, free.clone()), inode);
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

    pub(crate) fn list(&mut self, dir: Dir) -> Result<Vec<Entry>, Fault> {
        self.may_fail("disk.open", self.faults.open, &[Fault::NotFound, Fault::Denied])?;
        let shown = |name: &str| !name.split('/').any(|part| part.starts_with('.'));
        let names = self.folders.iter().filter(|((d, name), _)| *d == dir && shown(name));
        Ok(names.map(|((_, name), &inode)| Entry { name: name.clone(), meta: self.meta(inode) }).collect())
    }

    /// The confirmed end of a save: what was current is previous.
    pub(crate) fn saved(&mut self) -> Result<(), Fault> {
        let content = self.saving.pop_front().unwrap_or_default();
        self.may_fail("disk.commit", self.faults.commit, &[Fault::NoSpace, Fault::ReadOnly, Fault::Os(5)])?;
        if let Some(old) = self.state.insert(Slot::Current, content) {
            self.state.insert(Slot::Previous, old);
        }
        Ok(())
    }

    pub(crate) fn quarantine(&mut self, slot: Slot) {
        if let Some(bad) = self.state.remove(&slot) {
            self.quarantined.push(bad);
            if self.quarantined.len() > 3 {
                self.quarantined.remove(0);
            }
        }
    }

    /// The process or the power is gone in the middle of what was under way: any step of a save may be the last.
    pub(crate) fn crash(&mut self) {
        let step = self.dice.of("disk.crash").below(4);
        if let Some(new) = std::mem::take(&mut self.saving).pop_front() {
            let old = self.state.get(&Slot::Current).cloned();
            if let (1.., Some(old)) = (step, old) {
                self.state.insert(Slot::Previous, old);
            }
            match step {
                // Between two renames, on a file system without hard links.
                2 => drop(self.state.remove(&Slot::Current)),
                3 => drop(self.state.insert(Slot::Current, new)),
                _ => {}
            }
        }
        if self.dice.falls("disk.rot", self.faults.rot) {
            self.rot();
        }
    }

    fn rot(&mut self) {
        let rng = self.dice.of("disk.rot");
        let Some(content) = self.state.get_mut(&Slot::Current).filter(|c| !c.is_empty()) else { return };
        let place = rng.below(content.len() as u64) as usize;
        if rng.flip() {
            content.truncate(place);
        } else {
            content[place] ^= 1 << rng.below(8);
        }
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
