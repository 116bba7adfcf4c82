//! A walk over the files beneath a folder, in the order of their names, in slices.

use super::beneath::{fault, listed, open_folder};
use crate::machine::{Entry, Fault, LeftOut};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, DirEntry, FileType, statat};
use std::ffi::CStr;

/// Folder entries looked at in a slice.
pub(super) const SLICE: usize = 512;
/// Files named by a slice.
pub(super) const PART: usize = 256;
/// Components of a name: what lies deeper is neither listed nor watched.
pub(super) const DEPTH: usize = 8;

/// A walk that is under way, or has not begun.
#[derive(Debug)]
pub(super) struct Walk {
    /// Where it begins: with a slash at its end, or empty.
    folder: String,
    begun: bool,
    /// Into the folders, too.
    deep: bool,
    /// Components of the longest names.
    depth: usize,
    /// The folders from the root to where the walk is.
    stack: Vec<Folder>,
    max: usize,
    named: usize,
    /// What came since somebody took it.
    pub(super) entries: Vec<Entry>,
    pub(super) left_out: LeftOut,
    /// There are more than `max`.
    pub(super) truncated: bool,
    /// The first fault of the disk; what it hid is among what was left out.
    pub(super) trouble: Option<Fault>,
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

impl Walk {
    /// Over `folder` of a root, the empty one for the root itself, until `max` files are named.
    pub(super) fn new(folder: &str, deep: bool, max: usize) -> Walk {
        Walk {
            folder: if folder.is_empty() { String::new() } else { format!("{folder}/") },
            begun: false,
            deep,
            depth: DEPTH,
            stack: Vec::new(),
            max,
            named: 0,
            entries: Vec::new(),
            left_out: LeftOut::default(),
            truncated: false,
            trouble: None,
        }
    }

    /// Over all of a root whose names get one more component.
    pub(super) fn of_subfolder(max: usize) -> Walk {
        Walk { depth: DEPTH - 1, ..Walk::new("", true, max) }
    }

    /// What a listing of the whole would not come by is not there.
    fn begin(&mut self, root: BorrowedFd<'_>) -> Result<(), Fault> {
        let folder = std::mem::take(&mut self.folder);
        if folder.matches('/').count() >= self.depth || folder.split('/').any(|part| part.starts_with('.')) {
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
    pub(super) fn slice(&mut self, root: BorrowedFd<'_>) -> Result<bool, Fault> {
        if !std::mem::replace(&mut self.begun, true) {
            self.begin(root)?;
        }
        for _ in 0..SLICE {
            if self.entries.len() >= PART {
                return Ok(false);
            }
            let Some(folder) = self.stack.last_mut() else { return Ok(true) };
            if folder.reading.is_some() {
                self.read_one();
                continue;
            }
            match folder.names.pop() {
                None => drop(self.stack.pop()),
                Some(_) if self.named >= self.max => {
                    self.truncated = true;
                    return Ok(true);
                }
                Some(name) => self.take(root, &name),
            }
        }
        Ok(false)
    }

    /// Holds folders open.
    #[cfg(test)]
    pub(super) fn is_inside(&self) -> bool {
        !self.stack.is_empty()
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
            if prefix.matches('/').count() >= self.depth {
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
        if self.trouble.is_none() {
            log::warn!("cannot look at {name:?} for now, so what is known of it stays: {fault}");
        }
        self.trouble.get_or_insert(fault);
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
