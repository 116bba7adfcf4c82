//! The node's open files: served ones, growing ones, their way to a final name.

use super::beneath::{fault, is_plain, is_regular, is_under, meta_of, open_file, open_folder};
use super::folders::FolderHandles;
use super::growing::Growing;
use super::import::Import;
use super::logs::OpenLog;
use super::place::Placed;
use super::{Answer, Reactor};
use crate::machine::{Dir, Fault, FileId, Input, Meta};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::fs::{fdatasync, flock, fstat, fsync, ftruncate, mkdirat, openat, statat, unlinkat};
use rustix::io::{Errno, pwrite, retry_on_intr};

/// A file by what is done with it.
#[derive(Debug)]
pub(super) enum OpenFile {
    Reading(OwnedFd),
    Growing(Growing),
    Importing(Box<Import>),
    Log(OpenLog),
}

/// Stores all of `bytes`, or says how many it could and why not more.
pub(super) fn store_all(file: &OwnedFd, bytes: &[u8], offset: u64) -> (usize, Option<Fault>) {
    store_by(|part, at| pwrite(file, part, at), bytes, offset)
}

fn store_by(
    mut write: impl FnMut(&[u8], u64) -> Result<usize, Errno>,
    bytes: &[u8],
    offset: u64,
) -> (usize, Option<Fault>) {
    let mut done = 0;
    while done < bytes.len() {
        match write(&bytes[done..], offset.saturating_add(done as u64)) {
            Ok(0) => return (done, Some(Fault::NoSpace)),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(errno) => return (done, Some(fault(errno))),
        }
    }
    (done, None)
}

/// Makes a file durable and, the first time, its name. It counts as removed once its name is gone, too: what a desktop
/// deletes it moves.
pub(super) fn sync_named(
    file: &OwnedFd,
    dir: BorrowedFd<'_>,
    name: &str,
    named: &mut bool,
) -> Result<Meta, Fault> {
    retry_on_intr(|| fdatasync(file)).map_err(fault)?;
    let stat = fstat(file).map_err(fault)?;
    let there = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    if stat.st_nlink == 0 || there.is_err_and(|errno| errno == Errno::NOENT) {
        return Err(Fault::NotFound);
    }
    if !*named {
        match retry_on_intr(|| fsync(dir)) {
            // Folders cannot be synced everywhere; there the name is as durable as it gets.
            Ok(()) | Err(Errno::INVAL) => *named = true,
            Err(errno) => return Err(fault(errno)),
        }
    }
    Ok(meta_of(&stat))
}

/// Keeps other processes off: their sweep, and their work on the same download.
pub(super) fn lock(file: &OwnedFd) -> Result<(), Fault> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(Fault::InUse),
        // Some file systems have no locks; a sweep finds nothing locked there either and keeps off by its own error.
        _ => Ok(()),
    }
}

/// Makes a new file and locks it, so that the sweep of another process leaves it alone.
pub(super) fn create_temporary(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Fault> {
    if !is_plain(name) {
        return Err(Fault::NotFound);
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::from_raw_mode(0o600)).map_err(fault)?;
    lock(&file)?;
    Ok(file)
}

/// Makes a new folder and locks it likewise.
pub(super) fn create_temporary_folder(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Fault> {
    if !is_plain(name) {
        return Err(Fault::NotFound);
    }
    mkdirat(dir, name, Mode::from_raw_mode(0o700)).map_err(fault)?;
    let locked = open_folder(dir, name).and_then(|folder| lock(&folder).map(|()| folder));
    if locked.is_err() {
        let _ = unlinkat(dir, name, AtFlags::REMOVEDIR);
    }
    locked
}

/// Frees the blocks first: an unlink alone keeps them as long as anybody holds the file open. What somebody else put under
/// its name stays.
pub(super) fn remove_temporary(file: &OwnedFd, dir: BorrowedFd<'_>, name: &str) {
    let _ = ftruncate(file, 0);
    if !is_under(dir, name, file) {
        return;
    }
    if let Err(errno) = unlinkat(dir, name, AtFlags::empty()) {
        if errno != Errno::NOENT {
            log::warn!("cannot remove the temporary file {name:?}: {errno}");
        }
    }
}

/// A folder of a node's; a registry has none.
pub(super) fn dir_of(folders: Option<&FolderHandles>, dir: Dir) -> Result<BorrowedFd<'_>, Fault> {
    folders.map_or(Err(Fault::NotFound), |folders| folders.get(dir))
}

impl Reactor {
    pub(super) fn open_file(&mut self, file: FileId, dir: Dir, name: &str) {
        match self.dir(dir).and_then(|dir| open_file(dir, name)) {
            Ok((fd, stat)) => {
                debug_assert!(is_regular(&stat));
                self.insert_file(file, OpenFile::Reading(fd));
                self.answer(Input::FileOpened { file, meta: meta_of(&stat) });
            }
            Err(fault) => self.answer(Input::FileFailed { file, fault, fatal: true }),
        }
    }

    pub(super) fn create_file(&mut self, file: FileId, name: &str, reserve: u64) {
        self.ready_downloads();
        let free = self.folders.as_ref().and_then(FolderHandles::keep_free);
        let made =
            self.dir(Dir::Parts).and_then(|parts| Growing::create(parts, name, reserve, free, &self.clock));
        match made {
            Ok((growing, room)) => {
                self.insert_file(file, OpenFile::Growing(growing));
                self.answer(Input::FileCreated { file, room });
            }
            Err(fault) => self.answer(Input::FileFailed { file, fault, fatal: true }),
        }
    }

    pub(super) fn open_part(&mut self, file: FileId, name: &str) {
        self.ready_downloads();
        match self.dir(Dir::Parts).and_then(|parts| Growing::open(parts, name)) {
            Ok((growing, meta)) => {
                self.insert_file(file, OpenFile::Growing(growing));
                self.answer(Input::FileOpened { file, meta });
            }
            Err(fault) => self.answer(Input::FileFailed { file, fault, fatal: true }),
        }
    }

    pub(super) fn sync_file(&mut self, file: FileId) {
        let folders = self.folders.as_ref();
        let synced = match self.files.get_mut(file.0) {
            None => return,
            Some(OpenFile::Growing(growing)) => {
                dir_of(folders, Dir::Parts).and_then(|parts| growing.sync(parts))
            }
            Some(OpenFile::Log(log)) => log.sync(&self.state, folders),
            Some(OpenFile::Reading(_) | OpenFile::Importing(_)) => Err(Fault::NotFound),
        };
        self.answer(match synced {
            Ok(meta) => Input::FileSynced { file, meta },
            Err(fault) => Input::FileFailed { file, fault, fatal: false },
        });
    }

    pub(super) fn commit_file(&mut self, file: FileId, name: &str) {
        self.ready_downloads();
        let Some(OpenFile::Growing(growing)) = self.files.get(file.0) else { return };
        let folders = self.dir(Dir::Parts).and_then(|parts| Ok((parts, self.dir(Dir::Downloads)?)));
        let answer = match folders.and_then(|(parts, downloads)| growing.commit(parts, downloads, name)) {
            Ok((Placed { name, confirmed }, meta)) => {
                // The node may have it sent until it hears of the name; nothing else is done with it any more.
                if let Some(OpenFile::Growing(growing)) = self.files.remove(file.0) {
                    self.files.insert(file.0, OpenFile::Reading(growing.into_file()));
                }
                Input::FileCommitted { file, name, meta, confirmed }
            }
            Err(fault) => Input::FileFailed { file, fault, fatal: false },
        };
        self.answer(answer);
    }

    /// The node is about to hear this, and what it ends is over.
    pub(super) fn before_answer(&mut self, input: &Input<'_>) {
        if let Input::FileCommitted { file, .. } = input {
            self.end_file(*file, false);
        }
    }

    /// Closes whatever `file` is. With `discard` what is not finished leaves nothing; else a temporary file and a journal
    /// stay for later, and what no later life could use goes.
    pub(super) fn end_file(&mut self, file: FileId, discard: bool) {
        self.reads.forget(file);
        if let Some(open) = self.files.remove(file.0) {
            self.leave(open, discard);
        }
    }

    fn leave(&mut self, open: OpenFile, discard: bool) {
        match open {
            OpenFile::Growing(growing) if discard => {
                if let Ok(parts) = self.dir(Dir::Parts) {
                    growing.remove(parts);
                }
            }
            OpenFile::Importing(import) => self.break_off(*import),
            OpenFile::Log(log) => log.end(&self.state, self.folders.as_ref(), discard),
            OpenFile::Growing(_) | OpenFile::Reading(_) => {}
        }
    }

    pub(super) fn dir(&self, dir: Dir) -> Result<BorrowedFd<'_>, Fault> {
        dir_of(self.folders.as_ref(), dir)
    }

    pub(super) fn ready_downloads(&mut self) {
        let ready = self.folders.as_mut().map_or(Ok(()), FolderHandles::ready_downloads);
        if let Err(error) = ready {
            log::warn!("downloads cannot be saved: {error}");
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

    /// On the way out: what a later life can go on with stays, the rest leaves nothing.
    pub(super) fn leave_all(&mut self) {
        for open in self.files.drain() {
            let discard = matches!(&open, OpenFile::Growing(growing) if growing.is_v1());
            self.leave(open, discard);
        }
        self.end_removals();
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
            OpenFile::Growing(growing) => Some(growing.file()),
            OpenFile::Log(log) => Some(log.file()),
            OpenFile::Importing(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::fs::open;

    /// What a disk may do with a write.
    fn outcome() -> impl Strategy<Value = Result<usize, Errno>> {
        prop_oneof![
            8 => (1_usize..200).prop_map(Ok),
            4 => Just(Err(Errno::INTR)),
            1 => Just(Ok(0)),
            1 => prop::sample::select(vec![Errno::NOSPC, Errno::IO, Errno::DQUOT, Errno::FBIG]).prop_map(Err),
        ]
    }

    proptest! {
        #[test]
        fn short_writes_are_completed_or_told(
            len in 0_usize..2000,
            offset in 0_u64..u64::from(u32::MAX),
            outcomes in prop::collection::vec(outcome(), 0..60),
        ) {
            // hostile: 160
            let bytes: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0] ^ 0x5a).collect();
            let (mut disk, mut told) = (Vec::new(), None);
            let mut outcomes = outcomes.into_iter();
            let write = |part: &[u8], at: u64| {
                assert_eq!(at, offset + disk.len() as u64, "where it goes on");
                let outcome = outcomes.next().unwrap_or(Ok(usize::MAX)).map(|n| n.min(part.len()));
                if let Ok(n) = outcome {
                    disk.extend_from_slice(&part[..n]);
                }
                told = match outcome {
                    Ok(0) => Some(Fault::NoSpace),
                    Ok(_) | Err(Errno::INTR) => None,
                    Err(errno) => Some(fault(errno)),
                };
                outcome
            };
            let (done, failed) = store_by(write, &bytes, offset);
            prop_assert_eq!(failed, told);
            prop_assert_eq!(done == len, failed.is_none());
            prop_assert_eq!(&disk[..], &bytes[..done]);
        }
    }

    #[test]
    fn a_name_that_the_disk_did_not_confirm_is_not_synced() {
        // hostile: 159
        let temp = tempfile::tempdir().expect("a temporary folder");
        let folder = |flags| open(temp.path(), flags | OFlags::DIRECTORY, Mode::empty()).expect("opens");
        let (dir, unsyncable) = (folder(OFlags::RDONLY), folder(OFlags::PATH));
        let file = create_temporary(dir.as_fd(), "part").expect("made");
        let mut named = false;
        let refused = sync_named(&file, unsyncable.as_fd(), "part", &mut named);
        assert_eq!((refused, named), (Err(Fault::Os(9)), false));
        assert!(sync_named(&file, dir.as_fd(), "part", &mut named).is_ok() && named);
        // Once is enough.
        assert!(sync_named(&file, unsyncable.as_fd(), "part", &mut named).is_ok());
        // Moved as a desktop moves it, then removed.
        std::fs::rename(temp.path().join("part"), temp.path().join("bin")).expect("moved");
        assert_eq!(sync_named(&file, dir.as_fd(), "part", &mut named), Err(Fault::NotFound));
        std::fs::remove_file(temp.path().join("bin")).expect("removed");
        assert_eq!(sync_named(&file, dir.as_fd(), "part", &mut named), Err(Fault::NotFound));
    }
}
