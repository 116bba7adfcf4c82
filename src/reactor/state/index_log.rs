//! The state folder's log: grows at its end, is read back at the next start, and is replaced as a whole by a fresh one.

use super::super::Reactor;
use super::super::beneath::{fault, is_regular, meta_of, size_of};
use super::super::files::OpenFile;
use super::StateFolder;
use crate::machine::{Fault, FileId, Input, Meta};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::fs::{fchmod, fdatasync, fstat, fsync, ftruncate, openat, renameat, statat};
use rustix::io::{Errno, pwrite};

const LOG: &str = "index.log";
pub(super) const FRESH: &str = "index.log.tmp";

/// A log that is open, with where its next bytes go.
#[derive(Debug)]
pub(in super::super) struct IndexLog {
    file: OwnedFd,
    end: u64,
    /// Not yet under its name.
    fresh: bool,
}

impl IndexLog {
    pub(in super::super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match pwrite(&self.file, rest, self.end) {
                Ok(0) => return Err(Errno::NOSPC),
                Ok(n) => (rest, self.end) = (&rest[n..], self.end + n as u64),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), Errno> {
        if len < self.end {
            ftruncate(&self.file, len)?;
            self.end = len;
        }
        Ok(())
    }
}

impl StateFolder {
    fn open_log(&self, fresh: bool) -> Result<(IndexLog, Meta), Fault> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = if fresh {
            self.remove(FRESH).map_err(fault)?;
            openat(&self.dir, FRESH, flags | OFlags::EXCL, mode)
        } else {
            openat(&self.dir, LOG, flags, mode)
        };
        let file = file.map_err(fault)?;
        let stat = fstat(&file).map_err(fault)?;
        if !is_regular(&stat) {
            return Err(Fault::NotRegular);
        }
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(Fault::Denied);
        }
        if stat.st_mode & 0o177 != 0 {
            let _ = fchmod(&file, mode);
        }
        Ok((IndexLog { file, end: size_of(&stat), fresh }, meta_of(&stat)))
    }

    fn commit_log(&self, log: &mut IndexLog) -> Result<(), Fault> {
        if !log.fresh {
            return Ok(());
        }
        if !self.is_there(log) {
            return Err(Fault::NotFound);
        }
        fdatasync(&log.file).map_err(fault)?;
        renameat(&self.dir, FRESH, &self.dir, LOG).map_err(fault)?;
        log.fresh = false;
        fsync(&self.dir).map_err(fault)
    }

    /// Whether the fresh log is still the one under its temporary name.
    fn is_there(&self, log: &IndexLog) -> bool {
        let named = statat(&self.dir, FRESH, AtFlags::SYMLINK_NOFOLLOW);
        match (named, fstat(&log.file)) {
            (Ok(named), Ok(ours)) => (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino),
            _ => false,
        }
    }

    /// A log that was never committed leaves nothing.
    pub(in super::super) fn remove_if_fresh(&self, log: &IndexLog) {
        if log.fresh && self.is_there(log) {
            let _ = self.remove(FRESH);
        }
    }
}

impl Reactor {
    pub(in super::super) fn open_log(&mut self, file: FileId, fresh: bool) {
        match self.state.open_log(fresh) {
            Ok((log, meta)) => {
                self.insert_file(file, OpenFile::Log(log));
                self.answer(Input::FileOpened { file, meta });
            }
            Err(fault) => self.answer(Input::FileFailed { file, fault, fatal: true }),
        }
    }

    pub(in super::super) fn append_log(&mut self, file: FileId, bytes: &[u8]) {
        let done = match self.files.get_mut(file.0) {
            Some(OpenFile::Log(log)) => log.append(bytes).map_err(fault),
            _ => return,
        };
        self.answer_log(file, done);
    }

    pub(in super::super) fn truncate_log(&mut self, file: FileId, len: u64) {
        let done = match self.files.get_mut(file.0) {
            Some(OpenFile::Log(log)) => log.truncate(len).map_err(fault),
            _ => return,
        };
        self.answer_log(file, done);
    }

    pub(in super::super) fn commit_log(&mut self, file: FileId) {
        let done = match self.files.get_mut(file.0) {
            Some(OpenFile::Log(log)) => self.state.commit_log(log),
            _ => return,
        };
        self.answer_log(file, done);
    }

    fn answer_log(&mut self, file: FileId, done: Result<(), Fault>) {
        if let Err(fault) = done {
            self.answer(Input::FileFailed { file, fault, fatal: false });
        }
    }
}
