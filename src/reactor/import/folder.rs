//! A folder of the operator's, copied file by file into a hidden one: all of it is there, and on the disk, before it gets its name.

use super::super::beneath::{fault, make_folder, open_file, open_folder, size_of};
use super::super::growing::Space;
use super::super::walk::Walk;
use super::copy::Copy;
use crate::machine::{Entry, Fault, ImportedFolder};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, fdatasync, fsync, openat, statat};
use rustix::io::retry_on_intr;

/// A copy that is under way.
#[derive(Debug)]
pub(super) struct FolderCopy {
    source: OwnedFd,
    pub(super) target: OwnedFd,
    phase: Phase,
    walk: Walk,
    /// What the walk named and is still to be dealt with, the next one last.
    waiting: Vec<Entry>,
    /// The file that is being copied.
    current: Option<Copy>,
    /// The folder in the target that the last file went to: its name, with a slash at its end or empty.
    parent: Option<(String, OwnedFd)>,
    /// The folders that were synced last, written likewise.
    synced: Option<String>,
    /// Bytes of all files, as far as they are measured; those of finished ones.
    size: u64,
    done: u64,
    /// Bytes that it takes on the disk, holes not counted.
    taken: u64,
    max: usize,
    keep_free: Option<u64>,
    copied: ImportedFolder,
}

/// Each is a walk: whether there is room is known before the first byte is copied, and the disk writes all of it out while it is
/// copied, so that the syncs at the end find little to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Measuring,
    Copying,
    Syncing,
}

impl FolderCopy {
    /// `target`: a new folder of ours.
    pub(super) fn new(source: OwnedFd, target: OwnedFd, max: usize, keep_free: Option<u64>) -> FolderCopy {
        FolderCopy {
            source,
            target,
            phase: Phase::Measuring,
            walk: Walk::of_subfolder(max),
            waiting: Vec::new(),
            current: None,
            parent: None,
            synced: None,
            size: 0,
            done: 0,
            taken: 0,
            max,
            keep_free,
            copied: ImportedFolder::default(),
        }
    }

    /// Bytes copied, and of all.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.done + self.current.as_ref().map_or(0, |copy| copy.done), self.size)
    }

    /// What has become of it, and its bytes.
    pub(super) fn copied(&self) -> (ImportedFolder, u64) {
        (self.copied.clone(), self.done)
    }

    /// Goes on for one slice; `true` when all is on the disk.
    pub(super) fn slice(&mut self, buffer: &mut [u8]) -> Result<bool, Fault> {
        if let Some(copy) = &mut self.current {
            if copy.slice(buffer)? {
                self.done += copy.size;
                self.current = None;
            }
            return Ok(false);
        }
        if let Some(entry) = self.waiting.pop() {
            let dealt = match self.phase {
                Phase::Measuring => self.measure(&entry),
                Phase::Copying => self.begin_file(&entry),
                Phase::Syncing => self.sync_file(&entry.name),
            };
            dealt.inspect_err(|fault| log::warn!("{:?} cannot be copied: {fault}", entry.name))?;
            return Ok(false);
        }
        let root = if self.phase == Phase::Syncing { &self.target } else { &self.source };
        let ended = self.walk.slice(root.as_fd())?;
        self.waiting = std::mem::take(&mut self.walk.entries);
        self.waiting.reverse();
        if ended && self.waiting.is_empty() { self.end_walk() } else { Ok(false) }
    }

    fn end_walk(&mut self) -> Result<bool, Fault> {
        let walk = std::mem::replace(&mut self.walk, Walk::of_subfolder(self.max));
        if let Some(fault) = walk.trouble {
            return Err(fault);
        }
        if walk.truncated {
            return Err(Fault::TooManyFiles);
        }
        self.phase = match self.phase {
            Phase::Measuring if self.taken > Space::beside(&self.target, self.keep_free).room => {
                return Err(Fault::NoSpace);
            }
            Phase::Measuring => Phase::Copying,
            Phase::Copying if self.copied.files == 0 => return Err(Fault::NothingToShare),
            Phase::Copying => {
                self.copied.left_out = walk.left_out;
                Phase::Syncing
            }
            Phase::Syncing => return Ok(true),
        };
        Ok(false)
    }

    fn measure(&mut self, entry: &Entry) -> Result<(), Fault> {
        self.size = self.size.saturating_add(entry.meta.size);
        let stat = statat(&self.source, &*entry.name, AtFlags::SYMLINK_NOFOLLOW);
        let blocks = stat.map_or(0, |stat| u64::try_from(stat.st_blocks).unwrap_or(0));
        self.taken = self.taken.saturating_add(blocks.saturating_mul(512).min(entry.meta.size));
        Ok(())
    }

    fn begin_file(&mut self, entry: &Entry) -> Result<(), Fault> {
        let (source, stat) = match open_file(self.source.as_fd(), &entry.name) {
            // It went away, or became something else, since it was named.
            Err(Fault::NotFound | Fault::NotRegular) => return Ok(()),
            opened => opened?,
        };
        let (parent, name) = split(&entry.name);
        let folder = match self.parent.take() {
            Some((of_last, folder)) if of_last == parent => folder,
            _ => self.make_parents(parent)?,
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = openat(&folder, name, flags, Mode::from_raw_mode(0o666)).map_err(fault)?;
        self.parent = Some((parent.to_owned(), folder));
        self.copied.files += 1;
        entry.name.clone_into(&mut self.copied.last);
        self.current = Some(Copy::new(source, copy, size_of(&stat)));
        Ok(())
    }

    fn make_parents(&self, parent: &str) -> Result<OwnedFd, Fault> {
        let mut folder = open_folder(self.target.as_fd(), "")?;
        for part in parent.split_terminator('/') {
            (folder, _) = make_folder(folder.as_fd(), part).map_err(fault)?;
        }
        Ok(folder)
    }

    /// The file, and the folders it lies in the first time one of these is met: whatever is in them is there already.
    fn sync_file(&mut self, name: &str) -> Result<(), Fault> {
        let (file, _) = open_file(self.target.as_fd(), name)?;
        retry_on_intr(|| fdatasync(&file)).map_err(fault)?;
        let (parent, _) = split(name);
        if self.synced.as_deref() != Some(parent) {
            self.synced = Some(parent.to_owned());
            for (at, _) in parent.match_indices('/') {
                let folder = open_folder(self.target.as_fd(), &parent[..at])?;
                retry_on_intr(|| fsync(&folder)).map_err(fault)?;
            }
        }
        Ok(())
    }
}

/// The folders of a name, with a slash behind each, and its last component.
fn split(name: &str) -> (&str, &str) {
    name.split_at(name.rfind('/').map_or(0, |slash| slash + 1))
}
