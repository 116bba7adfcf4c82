//! The files beneath a folder, named in order, one slice per turn of the loop.

use super::Reactor;
use super::beneath::{fault, listed, open_folder};
use crate::machine::{Dir, Entry, Fault, Input, LeftOut, ListEnd, RequestId};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, DirEntry, FileType, statat};
use std::ffi::CStr;

/// Folder entries looked at per turn.
const SLICE: usize = 512;
/// Files named by one part of the answer.
const PART: usize = 256;
/// Components of a name: what lies deeper is neither listed nor watched.
pub(super) const DEPTH: usize = 8;

/// A walk that is under way, or waits for those before it.
#[derive(Debug)]
pub(super) struct Listing {
    request: RequestId,
    dir: Dir,
    /// Where the walk begins: with a slash at its end, or empty.
    folder: String,
    /// Into the folders, too.
    deep: bool,
    begun: bool,
    /// The folders from the root to where the walk is.
    stack: Vec<Folder>,
    max: usize,
    named: usize,
    left_out: LeftOut,
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
    pub(super) fn new(request: RequestId, dir: Dir, folder: &str, deep: bool, max: usize) -> Listing {
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        Listing {
            request,
            dir,
            folder,
            deep,
            begun: false,
            stack: Vec::new(),
            max,
            named: 0,
            left_out: LeftOut::default(),
            truncated: false,
            entries: Vec::new(),
        }
    }

    /// What a listing of the whole would not come by is not there.
    fn begin(&mut self, root: BorrowedFd<'_>) -> Result<(), Fault> {
        let folder = std::mem::take(&mut self.folder);
        if folder.matches('/').count() >= DEPTH || folder.split('/').any(|part| part.starts_with('.')) {
            return Err(Fault::NotFound);
        }
        self.enter(root, folder)
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
        let entry = match folder.reading.as_mut().and_then(rustix::fs::Dir::next) {
            Some(Ok(entry)) => entry,
            end => {
                folder.reading = None;
                folder.names.sort_unstable_by(|a, b| b.cmp(a));
                if let Some(Err(errno)) = end {
                    let prefix = folder.prefix.clone();
                    self.interrupt(prefix, fault(errno));
                }
                return;
            }
        };
        let raw = entry.file_name();
        if is_hidden(raw) {
            return;
        }
        let kind = kind_of(&folder.fd, &entry);
        if kind != FileType::RegularFile && !(kind == FileType::Directory && self.deep) {
            return;
        }
        let Ok(name) = raw.to_str() else {
            self.left_out.names += 1;
            self.left_out.note(|| format!("{}{}", folder.prefix, raw.to_string_lossy()));
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
        let Some(folder) = self.stack.last() else { return };
        if name.ends_with('/') {
            let prefix = format!("{}{name}", folder.prefix);
            if prefix.matches('/').count() >= DEPTH {
                self.left_out.deep += 1;
                return self.left_out.note(|| prefix);
            }
            match self.enter(root, prefix.clone()) {
                // Or it went away.
                Ok(()) | Err(Fault::NotFound | Fault::NotRegular) => {}
                Err(Fault::Denied) => self.unreadable(prefix),
                Err(fault) => self.interrupt(prefix, fault),
            }
            return;
        }
        let name_in = |folder: &Folder| format!("{}{name}", folder.prefix);
        match listed(folder.fd.as_fd(), name) {
            Ok(Some(meta)) => {
                self.entries.push(Entry { name: name_in(folder), meta });
                self.named += 1;
            }
            Err(Fault::Denied) => {
                let name = name_in(folder);
                self.unreadable(name);
            }
            Ok(None) => {}
            Err(fault) => {
                let name = name_in(folder);
                self.interrupt(name, fault);
            }
        }
    }

    fn interrupt(&mut self, name: String, fault: Fault) {
        // A disk in trouble says the same of all.
        if self.left_out.interrupted.is_empty() {
            log::warn!("cannot look at {name:?} for now, so what is known of it stays: {fault}");
        }
        self.left_out.interrupt(name);
    }

    fn unreadable(&mut self, name: String) {
        self.left_out.unreadable += 1;
        self.left_out.note(|| name);
    }
}

/// Hidden files and folders are nobody's business.
pub(super) fn is_hidden(name: &CStr) -> bool {
    name.to_bytes().first() == Some(&b'.')
}

/// What an entry of `folder` is; a file system may not say so at once.
pub(super) fn kind_of(folder: &OwnedFd, entry: &DirEntry) -> FileType {
    match entry.file_type() {
        FileType::Unknown => statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
        kind => kind,
    }
}

impl Reactor {
    /// One slice of the first listing. One after another, since each holds the folders it is in open. None before all
    /// folders are watched that were there: what changes after a listing is told.
    pub(super) fn listing_slice(&mut self) {
        if self.watches.values().any(|watch| watch.is_settling()) {
            return;
        }
        let Some(mut listing) = self.listings.pop_front() else { return };
        let request = listing.request;
        let ended = self.dir(listing.dir).and_then(|root| {
            if !std::mem::replace(&mut listing.begun, true) {
                listing.begin(root)?;
            }
            Ok(listing.slice(root))
        });
        let end = match ended {
            Ok(false) => {
                if listing.entries.len() >= PART {
                    let entries = std::mem::take(&mut listing.entries);
                    self.answer(Input::Listed { request, entries, end: ListEnd::More });
                }
                return self.listings.push_front(listing);
            }
            Ok(true) if listing.truncated => ListEnd::Truncated,
            Ok(true) => ListEnd::Done(std::mem::take(&mut listing.left_out)),
            Err(fault) => ListEnd::Failed(fault),
        };
        self.answer(Input::Listed { request, entries: listing.entries, end });
    }
}

#[cfg(test)]
mod tests {
    use super::super::Answer;
    use super::*;
    use crate::config::{FileFolders, Folders, Limits};
    use std::fs;

    #[test]
    fn many_listings_hold_the_folders_of_one_and_all_are_answered() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let at = |path: &str| temp.path().join(path);
        fs::create_dir_all(at("shared/a/b/c")).expect("folders");
        (0..2 * SLICE).for_each(|i| fs::write(at(&format!("shared/a/b/c/{i}")), b"x").expect("a file"));
        let files = FileFolders::new(at("shared"), at("downloads"));
        let folders = Folders { files: Some(files), state: at("state") };
        let mut reactor = Reactor::new(&folders, &Limits::desktop()).expect("a reactor");
        let listing = |i| Listing::new(RequestId(i), Dir::Shared, "", true, 100_000);
        reactor.listings.extend((0..20).map(listing));
        while !reactor.listings.is_empty() {
            reactor.listing_slice();
            assert!(reactor.listings.iter().filter(|listing| !listing.stack.is_empty()).count() <= 1);
        }
        let (mut named, mut done) = (0, Vec::new());
        for answer in reactor.answers {
            let Answer::Input(Input::Listed { request, entries, end }) = answer else { continue };
            named += entries.len();
            if end == ListEnd::Done(LeftOut::default()) {
                done.push(request.0);
            }
        }
        assert_eq!((named, done), (20 * 2 * SLICE, (0..20).collect()));
    }
}
