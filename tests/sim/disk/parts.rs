//! What a node stores: temporary files and journals, made, opened, written and given their final names.

use super::{Disk, Inode, check_name, numbered};
use crate::content::Content;
use distrishare::config::{IMPORT_PREFIX, PART_PREFIX};
use distrishare::machine::{Dir, Fault};

/// Bytes beyond the room there was at the start of a download that journals and logs may take.
const SLACK: u64 = 1 << 20;

/// What a name in the folder of unfinished downloads stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TempName {
    /// A download that nobody goes on with after the process.
    Once,
    /// The bytes of a content.
    Part,
    Journal,
}

/// `v1-` and 16 hex digits, or a root in 64 of them with its ending. `None`: no name of ours.
pub(crate) fn temp_name(name: &str) -> Option<TempName> {
    let hex = |text: &str, n: usize| {
        text.len() == n && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    if name.strip_prefix(PART_PREFIX).is_some_and(|rest| hex(rest, 16)) {
        return Some(TempName::Once);
    }
    match name.split_once('.') {
        Some((root, "part")) if hex(root, 64) => Some(TempName::Part),
        Some((root, "jnl")) if hex(root, 64) => Some(TempName::Journal),
        _ => None,
    }
}

impl Disk {
    /// Bytes a new file may grow to.
    pub(crate) fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    /// A temporary file of that name, with `reserve` bytes if there is room for them.
    pub(crate) fn create(&mut self, name: &str, reserve: u64) -> Result<Inode, Fault> {
        let faults = [Fault::NoSpace, Fault::ReadOnly, Fault::TooManyOpen];
        self.may_fail("disk.open", self.faults.open, &faults)?;
        let kind = temp_name(name);
        assert!(matches!(kind, Some(TempName::Once | TempName::Part)), "temporary name {name:?}");
        if self.folders.contains_key(&(Dir::Parts, name.to_owned())) {
            return Err(Fault::Exists);
        }
        if reserve > 0 {
            // Blocks that were set aside before it failed are given back.
            self.may_fail("disk.full", self.faults.full, &[Fault::NoSpace])?;
        }
        let inode = self.make_part(name);
        if reserve > 0 && reserve <= self.room() {
            let blocks = if reserve <= self.room() / 4 { reserve } else { 0 };
            self.files.insert(inode, Content::hole(reserve));
            self.set_aside.insert(inode, blocks);
            self.charge(inode);
        }
        Ok(inode)
    }

    fn make_part(&mut self, name: &str) -> Inode {
        let inode = self.make(Content::Bytes(Vec::new()));
        self.link(Dir::Parts, name, inode);
        self.born(inode, (Dir::Parts, name.to_owned()));
        inode
    }

    /// A temporary file that was closed.
    pub(crate) fn open_part(&mut self, name: &str) -> Result<Inode, Fault> {
        self.may_fail("disk.open", self.faults.open, &[Fault::TooManyOpen, Fault::Denied, Fault::Os(5)])?;
        assert_eq!(temp_name(name), Some(TempName::Part), "OpenPart of {name:?}");
        let inode = self.inode_of(Dir::Parts, name).ok_or(Fault::NotFound)?;
        self.resized.remove(&inode);
        Ok(inode)
    }

    /// A driver looks whether a file it writes in has the length that it left.
    pub(crate) fn unchanged(&self, inode: Inode) -> Result<(), Fault> {
        if self.resized.contains(&inode) { Err(Fault::Changed) } else { Ok(()) }
    }

    /// A journal, made if it is not there.
    pub(crate) fn open_journal(&mut self, name: &str) -> Result<Inode, Fault> {
        let faults = [Fault::TooManyOpen, Fault::Denied, Fault::ReadOnly, Fault::NoSpace];
        self.may_fail("disk.open", self.faults.open, &faults)?;
        assert_eq!(temp_name(name), Some(TempName::Journal), "the journal {name:?}");
        Ok(self.inode_of(Dir::Parts, name).unwrap_or_else(|| self.make_part(name)))
    }

    /// It is one of those in the folder of unfinished downloads, or was.
    pub(super) fn is_part(&self, inode: Inode) -> bool {
        self.medium.sheets.contains_key(&inode)
    }

    /// Counts what it takes of the disk now.
    pub(super) fn charge(&mut self, inode: Inode) {
        // What the operator put there himself does not count.
        if !self.set_aside.contains_key(&inode) && !self.charges.contains_key(&inode) {
            return;
        }
        let stored = self.files.get(&inode).map_or(0, Content::stored);
        let now = stored.max(self.set_aside.get(&inode).copied().unwrap_or(0));
        let before = self.charges.insert(inode, now).unwrap_or(0);
        self.used = self.used.saturating_sub(before).saturating_add(now);
    }

    pub(super) fn release(&mut self, inode: Inode) {
        self.set_aside.remove(&inode);
        self.used = self.used.saturating_sub(self.charges.remove(&inode).unwrap_or(0));
    }

    /// Stores as many of `bytes` as there is room for, and says what is wrong if that is not all.
    pub(crate) fn write(
        &mut self,
        inode: Inode,
        offset: u64,
        bytes: &[u8],
        generators: &[u64],
    ) -> (usize, Option<Fault>) {
        if let Err(fault) = self.unchanged(inode) {
            return (0, Some(fault));
        }
        if self.dice.falls("disk.write", self.faults.write) {
            let n = self.dice.of("disk.write").below(bytes.len() as u64) as usize;
            return (self.store(inode, offset, &bytes[..n], generators), Some(Fault::Os(5)));
        }
        let mut n = bytes.len() as u64;
        let room = self.capacity.saturating_add(self.reserve).saturating_sub(self.used);
        let needed = self.needed(inode, offset, n);
        if needed > room {
            n = n.saturating_sub(needed - room);
        }
        if self.dice.falls("disk.full", self.faults.full) {
            n = n.min(self.dice.of("disk.full").below(bytes.len() as u64));
        }
        let fault = (n < bytes.len() as u64).then_some(Fault::NoSpace);
        (self.store(inode, offset, &bytes[..n as usize], generators), fault)
    }

    /// Bytes of the disk that a write takes: nothing where something stands or room was set aside.
    fn needed(&self, inode: Inode, offset: u64, n: u64) -> u64 {
        let aside = self.set_aside.get(&inode).copied().unwrap_or(0).clamp(offset, offset + n) - offset;
        let stands = self.files.get(&inode).map_or(0, |content| content.stored_within(offset, offset + n));
        n - aside.max(stands).min(n)
    }

    pub(super) fn store(&mut self, inode: Inode, offset: u64, bytes: &[u8], generators: &[u64]) -> usize {
        let Some(content) = self.files.get_mut(&inode) else { return 0 };
        if !bytes.is_empty() {
            content.write(offset, bytes, generators);
            self.wear.0 += bytes.len() as u64;
            self.set_aside.entry(inode).or_insert(0);
            self.charge(inode);
            self.touch(inode);
            self.soiled(inode, offset, bytes.len() as u64);
            // HOSTILE.md 6.3, 16
            let most = self.capacity.saturating_add(SLACK);
            assert!(self.used <= most, "{} bytes are used: the reserve behind {most} is touched", self.used);
        }
        bytes.len()
    }

    pub(super) fn cut(&mut self, inode: Inode, len: u64) {
        let before = self.len(inode);
        if let Some(content) = self.files.get_mut(&inode) {
            content.truncate(len);
        }
        self.touch(inode);
        self.shortened(inode, before, len);
        self.charge(inode);
    }

    /// From a temporary name to a final one that nothing has yet, all of it durable. `true`: the new name, too.
    pub(crate) fn commit(&mut self, part: &str, name: &str) -> Result<(String, bool), Fault> {
        check_name(name);
        let inode = self.inode_of(Dir::Parts, part).ok_or(Fault::NotFound)?;
        self.unchanged(inode)?;
        let pages = self.unwritten(inode);
        self.sync_file(inode, &pages)?;
        let free = self.rename_part(part, name)?;
        Ok((free, self.sync_folder(Dir::Downloads).is_ok()))
    }

    /// Gives it its final name, which a power cut may take away again.
    pub(crate) fn rename_part(&mut self, part: &str, name: &str) -> Result<String, Fault> {
        let faults = [Fault::Os(5), Fault::NoSpace, Fault::ReadOnly];
        self.may_fail("disk.commit", self.faults.commit, &faults)?;
        let from = (Dir::Parts, part.to_owned());
        let inode = self.folders.remove(&from).ok_or(Fault::NotFound)?;
        let taken = |name: &str| self.folders.contains_key(&self.as_stored(Dir::Downloads, name));
        let free = (1u32..).map(|n| numbered(name, n)).find(|name| !taken(name)).expect("a free name");
        self.link(Dir::Downloads, &free, inode);
        self.renamed(from, (Dir::Downloads, free.clone()), inode);
        self.wear.1 += self.len(inode);
        Ok(free)
    }

    /// What a driver does before its node starts: away with what an earlier life left and nobody can go on with.
    pub(crate) fn sweep(&mut self) {
        let alone = |name: &str| {
            let Some((root, ending)) = name.split_once('.') else { return true };
            let other = format!("{root}.{}", if ending == "part" { "jnl" } else { "part" });
            let journal = self.content(Dir::Parts, &format!("{root}.jnl"));
            self.content(Dir::Parts, &other).is_none() || journal.is_none_or(|journal| journal.len() == 0)
        };
        let old = |dir: Dir, name: &str| match (dir, temp_name(name)) {
            (Dir::Parts, Some(TempName::Once)) => true,
            (Dir::Parts, Some(_)) => alone(name),
            (Dir::Shared, _) => name.starts_with(IMPORT_PREFIX),
            _ => false,
        };
        let names: Vec<_> = self.folders.keys().filter(|(dir, name)| old(*dir, name)).cloned().collect();
        names.into_iter().for_each(|(dir, name)| self.remove(dir, &name));
    }
}
