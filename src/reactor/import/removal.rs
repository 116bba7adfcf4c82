//! A folder of copies that nobody wants any more is emptied and removed, in slices.

use super::super::beneath::is_under;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

/// Entries removed in a slice.
const SLICE: usize = 64;
/// Folders in folders; ours are not so deep.
const DEPTH: usize = 32;

/// A removal that is under way. What cannot be removed stays, for the next start to try again.
#[derive(Debug)]
pub(in crate::reactor) struct Removal {
    top: OwnedFd,
    name: String,
    /// The folders from the top to where it is, by name and what is still to be read.
    stack: Vec<(String, Dir)>,
}

impl Removal {
    /// Of `name`, which is open as `top`.
    pub(in crate::reactor) fn new(top: OwnedFd, name: &str) -> Removal {
        let stack = Dir::read_from(&top).map(|dir| (String::new(), dir)).into_iter().collect();
        Removal { top, name: name.to_owned(), stack }
    }

    /// Goes on for one slice; `true` at the end. `dir`: where it lies.
    pub(in crate::reactor) fn slice(&mut self, dir: BorrowedFd<'_>) -> bool {
        match self.empty() {
            Ok(false) => return false,
            Ok(true) if is_under(dir, &self.name, &self.top) => {
                if let Err(errno) = unlinkat(dir, &*self.name, AtFlags::REMOVEDIR) {
                    log::warn!("cannot remove the temporary folder {:?}: {errno}", self.name);
                }
            }
            Ok(true) => {}
            Err(errno) => log::warn!("cannot empty the temporary folder {:?}: {errno}", self.name),
        }
        true
    }

    fn empty(&mut self) -> Result<bool, Errno> {
        for _ in 0..SLICE {
            let deepest = self.stack.len() == DEPTH;
            let Some((_, dir)) = self.stack.last_mut() else { return Ok(true) };
            let Some(entry) = dir.next().transpose()? else {
                let emptied = self.stack.pop();
                if let (Some((name, _)), Some((_, above))) = (emptied, self.stack.last()) {
                    unlinkat(above.fd()?, &*name, AtFlags::REMOVEDIR)?;
                }
                continue;
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match unlinkat(dir.fd()?, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                // What `unlink` says of a folder differs between systems.
                Err(Errno::ISDIR | Errno::PERM) if !deepest => {}
                Err(errno) => return Err(errno),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = openat(dir.fd()?, name, flags, Mode::empty())?;
            let name = name.to_string_lossy().into_owned();
            self.stack.push((name, Dir::new(inner)?));
        }
        Ok(false)
    }
}
