//! The node's open files: served ones, growing ones, their way to a final name.

use super::beneath::{fault, is_regular, meta_of, open_file, size_of};
use super::folders::FolderHandles;
use super::import::Import;
use super::place::{Taken, Temporary, place};
use super::state::IndexLog;
use super::{Answer, Reactor};
use crate::machine::{Dir, Fault, FileId, Input};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Advice, AtFlags, FlockOperation, Mode, OFlags};
use rustix::fs::{fadvise, flock, fstat, fstatvfs, ftruncate, openat, unlinkat};
use rustix::io::{Errno, pwrite};
use std::num::NonZeroU64;

/// Bytes stored after which the kernel is asked to begin writing them out, so that the last sync is short.
const WRITE_BACK: u64 = 8 << 20;

/// A file by what is done with it.
#[derive(Debug)]
pub(super) enum OpenFile {
    Reading(OwnedFd),
    Growing(Growing),
    Importing(Box<Import>),
    Log(IndexLog),
}

/// A file in the parts folder that grows.
#[derive(Debug)]
pub(super) struct Growing {
    file: OwnedFd,
    name: String,
    write_back: WriteBack,
}

/// Where the kernel was last asked to begin writing out.
#[derive(Debug, Default)]
pub(super) struct WriteBack {
    started: u64,
}

impl WriteBack {
    /// `end`: everything before it is stored.
    pub(super) fn stored(&mut self, file: &OwnedFd, end: u64) {
        if end < self.started + WRITE_BACK {
            return;
        }
        // DONTNEED begins the write-out of dirty pages and drops only those that are clean by then.
        let _ = fadvise(file, self.started, NonZeroU64::new(end - self.started), Advice::DontNeed);
        self.started = end;
    }
}

impl Growing {
    fn create(dir: BorrowedFd<'_>, name: &str) -> Result<Growing, Fault> {
        let file = create_temporary(dir, name)?;
        Ok(Growing { file, name: name.to_owned(), write_back: WriteBack::default() })
    }

    /// Stores all of `bytes`, or says how many it could and why not more.
    fn store(&mut self, bytes: &[u8], offset: u64) -> (usize, Option<Fault>) {
        let mut done = 0;
        while done < bytes.len() {
            match pwrite(&self.file, &bytes[done..], offset + done as u64) {
                Ok(0) => return (done, Some(Fault::NoSpace)),
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(errno) => return (done, Some(fault(errno))),
            }
        }
        self.write_back.stored(&self.file, offset + done as u64);
        (done, None)
    }

    fn commit(&self, folders: &FolderHandles, name: &str) -> Result<(String, u64), Fault> {
        let stat = fstat(&self.file).map_err(fault)?;
        if stat.st_nlink == 0 {
            return Err(Fault::NotFound); // somebody removed it
        }
        let dir = folders.get(Dir::Parts);
        let temporary = Temporary { file: &self.file, dir, name: &self.name };
        let name = place(temporary, folders.get(Dir::Downloads), name, Taken::Number)?;
        Ok((name, size_of(&stat)))
    }

    fn remove(&self, folders: &FolderHandles) {
        remove_temporary(&self.file, folders.get(Dir::Parts), &self.name);
    }
}

/// Makes a new file and locks it, so that the sweep of another process leaves it alone.
pub(super) fn create_temporary(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Fault> {
    if name.contains('/') {
        return Err(Fault::NotFound);
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::from_raw_mode(0o600)).map_err(fault)?;
    // Some file systems have no locks; a sweep finds nothing locked there either and keeps off by its own error.
    let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
    Ok(file)
}

/// Frees the blocks first: an unlink alone keeps them as long as anybody holds the file open.
pub(super) fn remove_temporary(file: &OwnedFd, dir: BorrowedFd<'_>, name: &str) {
    let _ = ftruncate(file, 0);
    if let Err(errno) = unlinkat(dir, name, AtFlags::empty()) {
        if errno != Errno::NOENT {
            log::warn!("cannot remove the temporary file {name:?}: {errno}");
        }
    }
}

impl Reactor {
    pub(super) fn open_file(&mut self, file: FileId, dir: Dir, name: &str) {
        let opened = match &self.folders {
            Some(folders) => open_file(folders.get(dir), name),
            None => Err(Fault::NotFound),
        };
        match opened {
            Ok((fd, stat)) => {
                debug_assert!(is_regular(&stat));
                self.insert_file(file, OpenFile::Reading(fd));
                self.answer(Input::FileOpened { file, meta: meta_of(&stat) });
            }
            Err(fault) => self.answer(Input::FileFailed { file, fault, fatal: true }),
        }
    }

    pub(super) fn create_file(&mut self, file: FileId, name: &str) {
        let made = match &self.folders {
            Some(folders) => Growing::create(folders.get(Dir::Parts), name),
            None => Err(Fault::NotFound),
        };
        match made {
            Ok(growing) => {
                let room = room_beside(&growing.file);
                self.insert_file(file, OpenFile::Growing(growing));
                self.answer(Input::FileCreated { file, room });
            }
            Err(fault) => self.answer(Input::FileFailed { file, fault, fatal: true }),
        }
    }

    pub(super) fn commit_file(&mut self, file: FileId, name: &str) {
        let Some(OpenFile::Growing(growing)) = self.files.get(file.0) else { return };
        let Some(folders) = &self.folders else { return };
        let answer = match growing.commit(folders, name) {
            Ok((name, size)) => Input::FileCommitted { file, name, size },
            Err(fault) => {
                growing.remove(folders);
                Input::FileFailed { file, fault, fatal: true }
            }
        };
        self.files.remove(file.0);
        self.answer(answer);
    }

    /// Closes whatever `file` is; what is not finished leaves nothing.
    pub(super) fn end_file(&mut self, file: FileId) {
        self.reads.forget(file);
        if let Some(open) = self.files.remove(file.0) {
            self.remove_if_unfinished(&open);
        }
    }

    fn remove_if_unfinished(&self, open: &OpenFile) {
        match (open, &self.folders) {
            (OpenFile::Growing(growing), Some(folders)) => growing.remove(folders),
            (OpenFile::Importing(import), Some(folders)) => import.remove(folders.get(Dir::Shared)),
            (OpenFile::Log(log), _) => self.state.remove_if_fresh(log),
            _ => {}
        }
    }

    /// Stores received bytes in a growing file.
    pub(super) fn store(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Stored {
        let Some(OpenFile::Growing(growing)) = self.files.get_mut(file.0) else {
            return Stored { bytes: 0, fault: Some(Fault::NotFound), fatal: true };
        };
        let (stored, fault) = growing.store(bytes, offset);
        Stored { bytes: stored, fault, fatal: false }
    }

    pub(super) fn insert_file(&mut self, file: FileId, open: OpenFile) {
        if self.files.insert(file.0, open).is_some() {
            log::error!("internal error: the file slot {:?} was given out twice", file.0);
        }
    }

    pub(super) fn answer(&mut self, input: Input<'static>) {
        self.answers.push_back(Answer::Input(input));
    }

    /// On the way out: what is unfinished leaves nothing.
    pub(super) fn remove_unfinished(&mut self) {
        for open in self.files.drain() {
            self.remove_if_unfinished(&open);
        }
    }
}

/// Bytes that may be stored on the file's disk before its reserve is touched: 16 MiB or 2 % of it, whichever is more.
pub(super) fn room_beside(file: &OwnedFd) -> u64 {
    match fstatvfs(file) {
        Ok(disk) => {
            let reserve = (disk.f_blocks / 50).saturating_mul(disk.f_frsize).max(16 << 20);
            disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(reserve)
        }
        // A file system that cannot say: its own error comes when it is full.
        Err(_) => u64::MAX,
    }
}

/// What became of bytes to be stored.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) bytes: usize,
    pub(super) fault: Option<Fault>,
    pub(super) fatal: bool,
}

impl OpenFile {
    /// The descriptor, if the file is one to read from.
    pub(super) fn reading(&self) -> Option<BorrowedFd<'_>> {
        match self {
            OpenFile::Reading(fd) => Some(fd.as_fd()),
            OpenFile::Log(log) => Some(log.file()),
            _ => None,
        }
    }
}
