//! `share PATH`: the operator's file or folder is copied into the shared folder, one slice per turn of the loop.

mod copy;
mod folder;
mod removal;

pub(super) use removal::Removal;

use super::beneath::{fault, is_folder, is_regular, size_of};
use super::files::{OpenFile, create_temporary, create_temporary_folder, dir_of, remove_temporary};
use super::folders::FolderHandles;
use super::growing::Space;
use super::place::{Placed, Taken, Temporary, place};
use super::{Reactor, random_hex};
use crate::config::IMPORT_PREFIX;
use crate::machine::{Dir, Fault, FileId, Input};
use crate::time::{Duration, Instant};
use copy::Copy;
use folder::FolderCopy;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, fstatfs, open, stat, statat};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization as _;

/// Least time between two reports.
const PROGRESS: Duration = Duration::from_millis(250);
/// How long the way out removes copies that are not finished.
const LAST_REMOVALS: Duration = Duration::from_millis(500);
/// File systems whose files are made up as they are read: their sizes mean nothing.
const PROC_MAGIC: u64 = 0x9fa0;
const SYS_MAGIC: u64 = 0x6265_6572;

/// The copies under way, in turns, and the removal of those that were broken off.
#[derive(Debug, Default)]
pub(super) struct Imports {
    files: VecDeque<FileId>,
    removals: VecDeque<Removal>,
}

impl Imports {
    pub(super) fn waits(&self) -> bool {
        !self.files.is_empty() || !self.removals.is_empty()
    }

    fn remove_some(&mut self, shared: BorrowedFd<'_>) {
        if self.removals.front_mut().is_some_and(|removal| removal.slice(shared)) {
            self.removals.pop_front();
        }
    }
}

/// A copy that is under way.
#[derive(Debug)]
pub(super) struct Import {
    what: What,
    temporary: String,
    name: String,
    reported: Instant,
}

#[derive(Debug)]
enum What {
    File(Copy),
    Folder(Box<FolderCopy>),
}

impl Import {
    fn begin(
        folders: &FolderHandles,
        path: &Path,
        (name, max): (&str, usize),
        now: Instant,
    ) -> Result<Import, Fault> {
        let shared = folders.get(Dir::Shared)?;
        let (source, stat) = open_source(path)?;
        match relation(shared, path) {
            Relation::Inside => return Err(Fault::AlreadyShared),
            Relation::Around => return Err(Fault::HoldsShared),
            Relation::Apart if is_same(shared, name, &stat) => return Err(Fault::AlreadyShared),
            Relation::Apart => {}
        }
        if statat(shared, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(Fault::Exists);
        }
        let temporary = format!("{IMPORT_PREFIX}{}", random_hex());
        let what = if is_regular(&stat) {
            let copy = create_temporary(shared, &temporary)?;
            // What is not a hole takes room; the disk's reserve is not ours.
            let data = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
            if data.min(size_of(&stat)) > Space::beside(&copy, folders.keep_free()).room {
                remove_temporary(&copy, shared, &temporary);
                return Err(Fault::NoSpace);
            }
            What::File(Copy::new(source, copy, size_of(&stat)))
        } else {
            folders.refuse_copy(path)?;
            let target = create_temporary_folder(shared, &temporary)?;
            What::Folder(Box::new(FolderCopy::new(source, target, max, folders.keep_free())))
        };
        Ok(Import { what, temporary, name: name.to_owned(), reported: now })
    }

    fn slice(&mut self, buffer: &mut [u8]) -> Result<bool, Fault> {
        match &mut self.what {
            What::File(copy) => copy.slice(buffer),
            What::Folder(folder) => folder.slice(buffer),
        }
    }

    /// Bytes copied, and of all.
    fn progress(&self) -> (u64, u64) {
        match &self.what {
            What::File(copy) => (copy.done, copy.size),
            What::Folder(folder) => folder.progress(),
        }
    }

    fn finish(&self, file: FileId, shared: BorrowedFd<'_>) -> Result<Input<'static>, Fault> {
        let placed = |copy, mode| {
            let temporary = Temporary { file: copy, dir: shared, name: &self.temporary, mode };
            place(temporary, shared, &self.name, Taken::Refuse)
        };
        let (Placed { name, .. }, bytes, folder) = match &self.what {
            What::File(copy) => (placed(&copy.copy, 0o666)?, copy.size, None),
            What::Folder(folder) => {
                let (copied, bytes) = folder.copied();
                (placed(&folder.target, 0o777)?, bytes, Some(copied))
            }
        };
        Ok(Input::Imported { file, name, bytes, folder })
    }

    /// Leaves nothing; of a folder what is still to be done.
    pub(super) fn remove(self, shared: BorrowedFd<'_>) -> Option<Removal> {
        match self.what {
            What::File(copy) => {
                remove_temporary(&copy.copy, shared, &self.temporary);
                None
            }
            What::Folder(folder) => Some(Removal::new(folder.target, &self.temporary)),
        }
    }
}

/// The path that was typed, with the home folder for `~/`; parts of it that are not there as typed are taken in Unicode's
/// other spelling, if they are there so.
fn meant(typed: &Path, home: Option<&Path>) -> PathBuf {
    let path = match (typed.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => typed.to_owned(),
    };
    let spells = |path: &Path| path.to_str().is_some_and(|path| !path.is_ascii());
    if !spells(&path) || fs::symlink_metadata(&path).is_ok() {
        return path;
    }
    let mut found = PathBuf::new();
    for part in path.components() {
        let as_typed = found.join(part);
        let part = part.as_os_str().to_str().unwrap_or_default();
        let others = [part.nfc().collect::<String>(), part.nfd().collect()].map(|part| found.join(part));
        let there = others.into_iter().find(|path| fs::symlink_metadata(path).is_ok());
        found = there.filter(|_| fs::symlink_metadata(&as_typed).is_err()).unwrap_or(as_typed);
    }
    found
}

/// Links are followed: it is the operator's own path. Looked at before it is opened, since opening a device does
/// things and opening a FIFO waits.
fn open_source(path: &Path) -> Result<(OwnedFd, Stat), Fault> {
    let is_taken = |stat: &Stat| is_regular(stat) || is_folder(stat);
    if !is_taken(&stat(path).map_err(fault)?) {
        return Err(Fault::NotRegular);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let source = open(path, flags, Mode::empty()).map_err(fault)?;
    let stat = fstat(&source).map_err(fault)?;
    let magic = u64::try_from(fstatfs(&source).map_err(fault)?.f_type).unwrap_or(0);
    if !is_taken(&stat) || magic == PROC_MAGIC || magic == SYS_MAGIC {
        return Err(Fault::NotRegular);
    }
    Ok((source, stat))
}

/// Where the source of a copy lies.
enum Relation {
    /// In the shared folder, or it is that.
    Inside,
    /// The shared folder lies in it.
    Around,
    Apart,
}

fn relation(shared: BorrowedFd<'_>, path: &Path) -> Relation {
    let held = fs::read_link(format!("/proc/self/fd/{}", shared.as_raw_fd()));
    match (held, fs::canonicalize(path)) {
        (Ok(held), Ok(path)) if path.starts_with(&held) => Relation::Inside,
        (Ok(held), Ok(path)) if held.starts_with(&path) => Relation::Around,
        _ => Relation::Apart,
    }
}

fn is_same(shared: BorrowedFd<'_>, name: &str, source: &Stat) -> bool {
    statat(shared, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|there| (there.st_dev, there.st_ino) == (source.st_dev, source.st_ino))
}

impl Reactor {
    /// Leaves nothing of a copy that was broken off: at once, or bit by bit.
    pub(super) fn break_off(&mut self, import: Import) {
        if let Ok(shared) = dir_of(self.folders.as_ref(), Dir::Shared) {
            self.imports.removals.extend(import.remove(shared));
        }
    }

    /// On the way out, which does not wait for long: the next start removes the rest.
    pub(super) fn end_removals(&mut self) {
        let Ok(shared) = dir_of(self.folders.as_ref(), Dir::Shared) else { return };
        let end = self.clock.now() + LAST_REMOVALS;
        while !self.imports.removals.is_empty() && self.clock.now() < end {
            self.imports.remove_some(shared);
        }
    }

    pub(super) fn import(&mut self, file: FileId, source: &Path, name: &str, max: usize) {
        self.look_at_shared();
        let begun = match &self.folders {
            Some(folders) => {
                let source = meant(source, self.home.as_deref());
                Import::begin(folders, &source, (name, max), self.clock.now())
            }
            None => Err(Fault::NotFound),
        };
        match begun {
            Ok(import) => {
                self.insert_file(file, OpenFile::Importing(Box::new(import)));
                self.imports.files.push_back(file);
            }
            Err(fault) => self.answer(Input::FileFailed { file, fault, fatal: true }),
        }
    }

    /// One slice of the import whose turn it is.
    pub(super) fn import_slice(&mut self) {
        let shared = dir_of(self.folders.as_ref(), Dir::Shared);
        if let Ok(shared) = shared {
            self.imports.remove_some(shared);
        }
        let Some(file) = self.imports.files.pop_front() else { return };
        // Discarded meanwhile: gone from the table.
        let Some(OpenFile::Importing(import)) = self.files.get_mut(file.0) else { return };
        let now = self.clock.now();
        let ended = match import.slice(self.buffer.whole()) {
            Ok(false) => {
                self.imports.files.push_back(file);
                if now.since(import.reported) >= PROGRESS {
                    import.reported = now;
                    let (bytes, size) = import.progress();
                    self.answer(Input::FileProgress { file, bytes, size });
                }
                return;
            }
            Ok(true) => shared.and_then(|shared| import.finish(file, shared)),
            Err(fault) => Err(fault),
        };
        match ended {
            Ok(answer) => {
                self.files.remove(file.0);
                self.answer(answer);
            }
            Err(fault) => {
                self.end_file(file, true);
                self.answer(Input::FileFailed { file, fault, fatal: true });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_as_it_is_typed() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |path: &str| place.path().join(path);
        fs::create_dir_all(at("n\u{303}u/caf\u{e9}")).expect("folders");
        fs::write(at("n\u{303}u/caf\u{e9}/e\u{301}.txt"), "x").expect("a file");
        let there = at("n\u{303}u/caf\u{e9}/e\u{301}.txt");
        assert_eq!(meant(&at("\u{f1}u/cafe\u{301}/\u{e9}.txt"), None), there);
        assert_eq!(meant(Path::new("~/\u{f1}u/caf\u{e9}/\u{e9}.txt"), Some(place.path())), there);
        for path in ["~a/b", "a/~/b", "./~/b", "\u{e9}"] {
            assert_eq!(meant(Path::new(path), Some(place.path())), Path::new(path));
        }
        assert_eq!(meant(Path::new("~/a"), None), Path::new("~/a"));
    }
}
