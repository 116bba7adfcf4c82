//! Files that grow at their end and are read back at a later start: the state folder's index, which is replaced as a whole
//! by a fresh one, and the journals of unfinished downloads.

use super::Reactor;
use super::beneath::{fault, is_plain, is_regular, is_under, meta_of, size_of};
use super::files::{OpenFile, dir_of, lock, store_all, sync_named};
use super::folders::FolderHandles;
use super::state::StateFolder;
use crate::machine::{Dir, Fault, FileId, Input, Log, Meta};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::fs::{fchmod, fstat, fsync, ftruncate, openat, renameat, unlinkat};
use rustix::io::{Errno, retry_on_intr};

const INDEX: &str = "index.log";
pub(super) const FRESH: &str = "index.log.tmp";

/// A log that is open, with where its next bytes go.
#[derive(Debug)]
pub(super) struct OpenLog {
    file: OwnedFd,
    end: u64,
    log: Log,
    /// The disk has confirmed its name.
    named: bool,
}

/// The folder a log lies in.
fn folder_of<'a>(
    log: &Log,
    state: &'a StateFolder,
    folders: Option<&'a FolderHandles>,
) -> Result<BorrowedFd<'a>, Fault> {
    match log {
        Log::Journal(_) => dir_of(folders, Dir::Parts),
        Log::Index | Log::FreshIndex => Ok(state.dir()),
    }
}

impl OpenLog {
    fn open(dir: BorrowedFd<'_>, log: Log) -> Result<(OpenLog, Meta), Fault> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = match &log {
            Log::FreshIndex => {
                remove(dir, FRESH).map_err(fault)?;
                openat(dir, FRESH, flags | OFlags::EXCL, mode)
            }
            Log::Journal(name) if !is_plain(name) => return Err(Fault::NotFound),
            log => openat(dir, name_of(log), flags, mode),
        };
        let file = file.map_err(fault)?;
        let stat = fstat(&file).map_err(fault)?;
        let journal = matches!(log, Log::Journal(_));
        if !is_regular(&stat) || (journal && stat.st_nlink > 1) {
            return Err(Fault::NotRegular);
        }
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(Fault::Denied);
        }
        if journal {
            lock(&file)?;
        }
        if stat.st_mode & 0o177 != 0 {
            let _ = fchmod(&file, mode);
        }
        Ok((OpenLog { file, end: size_of(&stat), log, named: false }, meta_of(&stat)))
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let (done, fault) = store_all(&self.file, bytes, self.end);
        self.end += done as u64;
        fault.map_or(Ok(()), Err)
    }

    fn truncate(&mut self, len: u64) -> Result<(), Fault> {
        if len < self.end {
            retry_on_intr(|| ftruncate(&self.file, len)).map_err(fault)?;
            self.end = len;
        }
        Ok(())
    }

    pub(super) fn sync(
        &mut self,
        state: &StateFolder,
        folders: Option<&FolderHandles>,
    ) -> Result<Meta, Fault> {
        let dir = folder_of(&self.log, state, folders)?;
        sync_named(&self.file, dir, name_of(&self.log), &mut self.named)
    }

    /// A fresh index takes its place.
    fn commit(&mut self, dir: BorrowedFd<'_>) -> Result<(), Fault> {
        if self.log != Log::FreshIndex {
            return Ok(());
        }
        if !is_under(dir, FRESH, &self.file) {
            return Err(Fault::NotFound);
        }
        retry_on_intr(|| rustix::fs::fdatasync(&self.file)).map_err(fault)?;
        renameat(dir, FRESH, dir, INDEX).map_err(fault)?;
        self.log = Log::Index;
        retry_on_intr(|| fsync(dir)).map_err(fault)?;
        self.named = true;
        Ok(())
    }

    /// What becomes of it when it is closed: a fresh index that was never committed leaves nothing, and neither does a
    /// journal that is discarded.
    pub(super) fn end(&self, state: &StateFolder, folders: Option<&FolderHandles>, discard: bool) {
        let goes = match self.log {
            Log::Index => false,
            Log::FreshIndex => true,
            Log::Journal(_) => discard,
        };
        let Ok(dir) = folder_of(&self.log, state, folders) else { return };
        let name = name_of(&self.log);
        if goes && is_under(dir, name, &self.file) {
            if let Err(errno) = remove(dir, name) {
                log::warn!("cannot remove the log {name:?}: {errno}");
            }
        }
    }
}

fn name_of(log: &Log) -> &str {
    match log {
        Log::Index => INDEX,
        Log::FreshIndex => FRESH,
        Log::Journal(name) => name,
    }
}

fn remove(dir: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

impl Reactor {
    pub(super) fn open_log(&mut self, file: FileId, log: Log) {
        if matches!(log, Log::Journal(_)) {
            self.ready_downloads();
        }
        let dir = folder_of(&log, &self.state, self.folders.as_ref());
        match dir.and_then(|dir| OpenLog::open(dir, log)) {
            Ok((log, meta)) => {
                self.insert_file(file, OpenFile::Log(log));
                self.answer(Input::FileOpened { file, meta });
            }
            Err(fault) => self.answer(Input::FileFailed { file, fault, fatal: true }),
        }
    }

    pub(super) fn append_log(&mut self, file: FileId, bytes: &[u8]) {
        let done = match self.files.get_mut(file.0) {
            Some(OpenFile::Log(log)) => log.append(bytes),
            _ => return,
        };
        self.answer_log(file, done);
    }

    pub(super) fn truncate_log(&mut self, file: FileId, len: u64) {
        let done = match self.files.get_mut(file.0) {
            Some(OpenFile::Log(log)) => log.truncate(len),
            _ => return,
        };
        self.answer_log(file, done);
    }

    pub(super) fn commit_log(&mut self, file: FileId) {
        let done = match self.files.get_mut(file.0) {
            Some(OpenFile::Log(log)) => log.commit(self.state.dir()),
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
