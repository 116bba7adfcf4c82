//! A folder that is named by a path and held open. What the path means can change: the folder is removed and made anew, or
//! moved away, another disk is mounted over it, a link is switched.

use super::super::beneath;
use crate::machine::Fault;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::fs::{fstat, open, statat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    fd: Result<OwnedFd, Fault>,
    /// A link is followed that was a folder before.
    follows: bool,
    /// Device and inode of what the path meant when it was looked at last.
    seen: Option<(u64, u64)>,
}

impl Held {
    /// Nothing is open before [`Held::look`].
    pub(super) fn new(path: &Path, follows: bool) -> Held {
        // The folder that a relative path begins at may be moved.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let follows = follows || path.is_symlink();
        Held { path, fd: Err(Fault::NoFolder), follows, seen: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn get(&self) -> Result<BorrowedFd<'_>, Fault> {
        self.fd.as_ref().map(AsFd::as_fd).map_err(|&fault| fault)
    }

    /// It must not be used, whatever it is now.
    pub(super) fn refuse(&mut self) {
        self.fd = Err(Fault::Denied);
    }

    /// Looks at what the path means now. `true`: another folder than before, or none any more.
    pub(super) fn look(&mut self) -> bool {
        // hostile: 164
        if !self.follows && self.path.is_symlink() {
            return false;
        }
        let seen = match statat(CWD, &self.path, AtFlags::empty()) {
            Ok(stat) => (stat.st_dev, stat.st_ino),
            Err(Errno::NOENT | Errno::NOTDIR) => {
                self.seen = None;
                return std::mem::replace(&mut self.fd, Err(Fault::NoFolder)).is_ok();
            }
            // It cannot be told, and what is held may still be good.
            Err(errno) => {
                if self.fd.is_err() {
                    self.fd = Err(beneath::fault(errno));
                }
                return false;
            }
        };
        if self.seen == Some(seen) {
            return false;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(&self.path, flags, Mode::empty()).map_err(beneath::fault);
        // What cannot be opened is tried again.
        self.seen = fd.as_ref().ok().and_then(|fd| fstat(fd).ok()).map(|stat| (stat.st_dev, stat.st_ino));
        let was_open = std::mem::replace(&mut self.fd, fd).is_ok();
        was_open || self.fd.is_ok()
    }
}
