//! `share PATH`: the operator's file is copied into the shared folder, one slice per turn of the loop.

use super::beneath::{fault, is_regular, meta_of, size_of};
use super::files::{OpenFile, create_temporary, dir_of, remove_temporary, store_all};
use super::folders::FolderHandles;
use super::growing::{Space, WriteBack};
use super::place::{Placed, Taken, Temporary, place};
use super::{Reactor, random_hex};
use crate::config::IMPORT_PREFIX;
use crate::machine::{Dir, Fault, FileId, Input, Meta};
use crate::time::{Duration, Instant};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, SeekFrom, Stat};
use rustix::fs::{copy_file_range, fstat, fstatfs, ftruncate, open, seek, stat, statat};
use rustix::io::{Errno, pread};
use std::fs;
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization as _;

/// Bytes copied per turn.
const SLICE: u64 = 1 << 20;
/// Least time between two reports.
const PROGRESS: Duration = Duration::from_millis(250);
/// File systems whose files are made up as they are read: their sizes mean nothing.
const PROC_MAGIC: u64 = 0x9fa0;
const SYS_MAGIC: u64 = 0x6265_6572;

/// A copy that is under way.
#[derive(Debug)]
pub(super) struct Import {
    source: OwnedFd,
    copy: OwnedFd,
    temporary: String,
    name: String,
    size: u64,
    done: u64,
    /// The kernel copies by itself; unset once it has refused.
    in_kernel: bool,
    write_back: WriteBack,
    reported: Instant,
}

impl Import {
    fn begin(folders: &FolderHandles, path: &Path, name: &str, now: Instant) -> Result<Import, Fault> {
        let shared = folders.get(Dir::Shared)?;
        let (source, stat) = open_source(path)?;
        if lies_in(shared, path) || is_same(shared, name, &stat) {
            return Err(Fault::AlreadyShared);
        }
        if statat(shared, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(Fault::Exists);
        }
        let temporary = format!("{IMPORT_PREFIX}{}", random_hex());
        let copy = create_temporary(shared, &temporary)?;
        // What is not a hole takes room; the disk's reserve is not ours.
        let data = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        if data.min(size_of(&stat)) > Space::beside(&copy, folders.keep_free()).room {
            remove_temporary(&copy, shared, &temporary);
            return Err(Fault::NoSpace);
        }
        Ok(Import {
            source,
            copy,
            temporary,
            name: name.to_owned(),
            size: size_of(&stat),
            done: 0,
            in_kernel: true,
            write_back: WriteBack::default(),
            reported: now,
        })
    }

    /// Copies the next slice; `true` when all is copied. Holes stay holes.
    fn slice(&mut self, buffer: &mut [u8]) -> Result<bool, Fault> {
        if self.done == self.size {
            return Ok(true);
        }
        match seek(&self.source, SeekFrom::Data(self.done)) {
            Ok(data) => self.done = data.min(self.size),
            // Nothing but a hole up to the end, wherever that is now.
            Err(Errno::NXIO) => {
                let now = size_of(&fstat(&self.source).map_err(fault)?);
                if now < self.size {
                    return Err(Fault::Shrunk);
                }
                self.done = self.size;
            }
            Err(_) => {}
        }
        if self.done < self.size {
            let hole = seek(&self.source, SeekFrom::Hole(self.done)).unwrap_or(self.size);
            let want = hole.min(self.size).saturating_sub(self.done).clamp(1, SLICE);
            let from = self.done;
            self.done += self.copy_some(want, buffer)?;
            self.write_back.stored(&self.copy, from..self.done);
        }
        if self.done == self.size {
            ftruncate(&self.copy, self.size).map_err(fault)?;
        }
        Ok(self.done == self.size)
    }

    fn copy_some(&mut self, want: u64, buffer: &mut [u8]) -> Result<u64, Fault> {
        if self.in_kernel {
            let (mut from, mut to) = (self.done, self.done);
            let len = usize::try_from(want).unwrap_or(usize::MAX);
            match copy_file_range(&self.source, Some(&mut from), &self.copy, Some(&mut to), len) {
                Ok(0) => {}
                Ok(n) => return Ok(n as u64),
                Err(Errno::INTR) => return Ok(0),
                Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) => {
                    return Err(fault(errno));
                }
                Err(_) => {}
            }
            self.in_kernel = false;
        }
        let mut done = 0;
        while done < want {
            let len = usize::try_from(want - done).unwrap_or(usize::MAX).min(buffer.len());
            let read = match pread(&self.source, &mut buffer[..len], self.done + done) {
                Ok(0) => return Err(Fault::Shrunk),
                Ok(n) => n,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(fault(errno)),
            };
            match store_all(&self.copy, &buffer[..read], self.done + done) {
                (_, Some(fault)) => return Err(fault),
                (stored, None) => done += stored as u64,
            }
        }
        Ok(done)
    }

    fn finish(&self, shared: BorrowedFd<'_>) -> Result<(Placed, Meta), Fault> {
        let meta = meta_of(&fstat(&self.copy).map_err(fault)?);
        let temporary = Temporary { file: &self.copy, dir: shared, name: &self.temporary };
        Ok((place(temporary, shared, &self.name, Taken::Refuse)?, meta))
    }

    pub(super) fn remove(&self, shared: BorrowedFd<'_>) {
        remove_temporary(&self.copy, shared, &self.temporary);
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
    if !is_regular(&stat(path).map_err(fault)?) {
        return Err(Fault::NotRegular);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let source = open(path, flags, Mode::empty()).map_err(fault)?;
    let stat = fstat(&source).map_err(fault)?;
    let magic = u64::try_from(fstatfs(&source).map_err(fault)?.f_type).unwrap_or(0);
    if !is_regular(&stat) || magic == PROC_MAGIC || magic == SYS_MAGIC {
        return Err(Fault::NotRegular);
    }
    Ok((source, stat))
}

fn lies_in(shared: BorrowedFd<'_>, path: &Path) -> bool {
    let held = fs::read_link(format!("/proc/self/fd/{}", shared.as_raw_fd()));
    match (held, fs::canonicalize(path)) {
        (Ok(held), Ok(path)) => path.starts_with(held),
        _ => false,
    }
}

fn is_same(shared: BorrowedFd<'_>, name: &str, source: &Stat) -> bool {
    statat(shared, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|there| (there.st_dev, there.st_ino) == (source.st_dev, source.st_ino))
}

impl Reactor {
    pub(super) fn import_file(&mut self, file: FileId, source: &Path, name: &str) {
        self.look_at_shared();
        let begun = match &self.folders {
            Some(folders) => {
                let source = meant(source, self.home.as_deref());
                Import::begin(folders, &source, name, self.clock.now())
            }
            None => Err(Fault::NotFound),
        };
        match begun {
            Ok(import) => {
                self.insert_file(file, OpenFile::Importing(Box::new(import)));
                self.imports.push_back(file);
            }
            Err(fault) => self.answer(Input::FileFailed { file, fault, fatal: true }),
        }
    }

    /// One slice of the import whose turn it is.
    pub(super) fn import_slice(&mut self) {
        let Some(file) = self.imports.pop_front() else { return };
        let shared = dir_of(self.folders.as_ref(), Dir::Shared);
        // Discarded meanwhile: gone from the table.
        let Some(OpenFile::Importing(import)) = self.files.get_mut(file.0) else { return };
        let now = self.clock.now();
        let ended = match import.slice(self.buffer.whole()) {
            Ok(false) => {
                self.imports.push_back(file);
                if now.since(import.reported) >= PROGRESS {
                    import.reported = now;
                    let (bytes, size) = (import.done, import.size);
                    self.answer(Input::FileProgress { file, bytes, size });
                }
                return;
            }
            Ok(true) => shared.and_then(|shared| import.finish(shared)),
            Err(fault) => Err(fault),
        };
        let answer = match ended {
            Ok((Placed { name, confirmed }, meta)) => Input::FileCommitted { file, name, meta, confirmed },
            Err(fault) => {
                if let Ok(shared) = shared {
                    import.remove(shared);
                }
                Input::FileFailed { file, fault, fatal: true }
            }
        };
        self.files.remove(file.0);
        self.answer(answer);
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
