//! The files beneath a folder, named in order, one slice per turn of the loop.

use super::Reactor;
use super::beneath::{fault, is_regular, open_folder, size_of};
use crate::machine::{Dir, Entry, Fault, Input, ListEnd, RequestId};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, statat};

/// Folder entries looked at per turn.
const SLICE: usize = 512;
/// Files named by one part of the answer.
const PART: usize = 256;
/// Components of a name.
const DEPTH: usize = 8;

/// A walk that is under way.
#[derive(Debug)]
pub(super) struct Listing {
    request: RequestId,
    dir: Dir,
    /// The folders from the root to where the walk is.
    stack: Vec<Folder>,
    max: usize,
    named: usize,
    skipped: u64,
    truncated: bool,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Folder {
    fd: OwnedFd,
    /// With a slash at its end, or empty.
    prefix: String,
    /// Being read, in the order of the disk.
    reading: Option<rustix::fs::Dir>,
    /// What was read: names, folders with a slash at their end so that whole paths sort; the next one last.
    names: Vec<String>,
}

impl Listing {
    pub(super) fn new(request: RequestId, dir: Dir, max: usize) -> Listing {
        Listing {
            request,
            dir,
            stack: Vec::new(),
            max,
            named: 0,
            skipped: 0,
            truncated: false,
            entries: Vec::new(),
        }
    }

    fn enter(&mut self, root: BorrowedFd<'_>, prefix: String) -> Result<(), Fault> {
        let fd = open_folder(root, prefix.trim_end_matches('/'))?;
        let reading = Some(rustix::fs::Dir::read_from(&fd).map_err(fault)?);
        self.stack.push(Folder { fd, prefix, reading, names: Vec::new() });
        Ok(())
    }

    /// Goes on for one slice; `true` at the end.
    fn slice(&mut self, root: BorrowedFd<'_>) -> bool {
        for _ in 0..SLICE {
            if self.entries.len() >= PART {
                return false;
            }
            let Some(folder) = self.stack.last_mut() else { return true };
            if folder.reading.is_some() {
                self.read_one();
                continue;
            }
            match folder.names.pop() {
                None => drop(self.stack.pop()),
                Some(_) if self.named >= self.max => {
                    self.truncated = true;
                    return true;
                }
                Some(name) => self.take(root, &name),
            }
        }
        false
    }

    fn read_one(&mut self) {
        let Some(folder) = self.stack.last_mut() else { return };
        let entry = folder.reading.as_mut().and_then(rustix::fs::Dir::next);
        let Some(Ok(entry)) = entry else {
            folder.reading = None;
            folder.names.sort_unstable_by(|a, b| b.cmp(a));
            return;
        };
        let raw = entry.file_name();
        if raw.to_bytes().first() == Some(&b'.') {
            return;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => statat(&folder.fd, raw, AtFlags::SYMLINK_NOFOLLOW)
                .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
            kind => kind,
        };
        if kind != FileType::RegularFile && kind != FileType::Directory {
            return;
        }
        let Ok(name) = raw.to_str() else {
            self.skipped += 1;
            return;
        };
        // More than can be named need not be held; the order is then that of the disk in part.
        if folder.names.len() > self.max {
            self.truncated = true;
            return;
        }
        let slash = if kind == FileType::Directory { "/" } else { "" };
        folder.names.push(format!("{name}{slash}"));
    }

    /// A name whose turn it is: a file is named, a folder entered.
    fn take(&mut self, root: BorrowedFd<'_>, name: &str) {
        let depth = self.stack.len();
        let Some(folder) = self.stack.last() else { return };
        if name.ends_with('/') {
            if depth < DEPTH {
                let prefix = format!("{}{name}", folder.prefix);
                // One that went away or may not be read is passed over.
                if let Err(fault) = self.enter(root, prefix) {
                    log::debug!("cannot list the folder {name:?}: {fault}");
                }
            }
            return;
        }
        if let Ok(stat) = statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            if is_regular(&stat) {
                let name = format!("{}{name}", folder.prefix);
                self.entries.push(Entry { name, size: size_of(&stat) });
                self.named += 1;
            }
        }
    }
}

impl Reactor {
    pub(super) fn list_files(&mut self, request: RequestId, dir: Dir) {
        let mut listing = Listing::new(request, dir, self.limits.listing_max);
        let entered = match &self.folders {
            Some(folders) => listing.enter(folders.get(dir), String::new()),
            None => Err(Fault::NotFound),
        };
        match entered {
            Ok(()) => self.listings.push_back(listing),
            Err(fault) => {
                self.answer(Input::Listed { request, entries: Vec::new(), end: ListEnd::Failed(fault) });
            }
        }
    }

    /// One slice of the listing whose turn it is.
    pub(super) fn listing_slice(&mut self) {
        let Some(mut listing) = self.listings.pop_front() else { return };
        let Some(folders) = &self.folders else { return };
        let ended = listing.slice(folders.get(listing.dir));
        let request = listing.request;
        if !ended {
            if listing.entries.len() >= PART {
                let entries = std::mem::take(&mut listing.entries);
                self.answer(Input::Listed { request, entries, end: ListEnd::More });
            }
            self.listings.push_back(listing);
            return;
        }
        let Listing { entries, truncated, skipped, .. } = listing;
        let end = if truncated { ListEnd::Truncated } else { ListEnd::Done { skipped } };
        self.answer(Input::Listed { request, entries, end });
    }
}
