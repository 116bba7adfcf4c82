//! The state folder: private, locked, its file replaced so that a kill or a power cut at any moment leaves the old
//! content or the new.

use super::beneath::{fault, is_regular, size_of};
use super::folders::{StartError, open_folder};
use crate::machine::{Fault, Slot};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::fs::{flock, fstat, fsync, linkat, openat, renameat, statat, unlinkat};
use rustix::io::{Errno, read, write};
use std::path::Path;

const CURRENT: &str = "registry";
const PREVIOUS: &str = "registry.1";
const NEW: &str = "registry.tmp";
const NEW_PREVIOUS: &str = "registry.1.tmp";
const CORRUPT: &str = "registry.corrupt-";
/// Unreadable files that are kept.
const CORRUPT_KEPT: usize = 3;

/// The state folder, held open and locked for the life of the process.
#[derive(Debug)]
pub(super) struct StateFolder {
    dir: OwnedFd,
}

type Step = fn(&StateFolder, &[u8]) -> Result<(), Errno>;

/// The steps of a replacement, in order. Between any two of them the process may be killed.
const STEPS: [Step; 4] =
    [StateFolder::write_new, StateFolder::keep_previous, StateFolder::rename_new, StateFolder::sync];

impl StateFolder {
    pub(super) fn open(path: &Path) -> Result<StateFolder, StartError> {
        let dir = open_folder(path, 0o700)?;
        let failed = |errno| StartError::Folder { path: path.to_owned(), fault: fault(errno) };
        let stat = fstat(&dir).map_err(failed)?;
        let uid = rustix::process::geteuid();
        let ours = stat.st_uid == uid.as_raw() || uid.is_root();
        if !ours || stat.st_mode & 0o022 != 0 {
            return Err(StartError::NotPrivate { path: path.to_owned() });
        }
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(StartError::Locked { path: path.to_owned() }),
            Err(errno) => log::warn!("the state folder cannot be locked: {errno}"),
        }
        let folder = StateFolder { dir };
        folder.sweep();
        Ok(folder)
    }

    /// Removes what a kill in the midst of a save left: it may be large, and the next save may be far.
    fn sweep(&self) {
        for left in [NEW, NEW_PREVIOUS] {
            let ours = statat(&self.dir, left, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| is_regular(&stat) && stat.st_uid == rustix::process::geteuid().as_raw());
            if ours {
                let _ = self.remove(left);
            }
        }
    }

    pub(super) fn load(&self, slot: Slot, max: usize) -> Result<Option<Vec<u8>>, Fault> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name(slot), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(fault(errno)),
        };
        let stat = fstat(&file).map_err(fault)?;
        if !is_regular(&stat) {
            return Err(Fault::NotRegular);
        }
        if size_of(&stat) > max as u64 {
            return Err(Fault::TooLarge);
        }
        let mut content = vec![0; usize::try_from(size_of(&stat)).unwrap_or(max)];
        let mut len = 0;
        while len < content.len() {
            match read(&file, &mut content[len..]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(fault(errno)),
            }
        }
        content.truncate(len);
        Ok(Some(content))
    }

    pub(super) fn save(&self, content: &[u8]) -> Result<(), Fault> {
        for step in STEPS {
            if let Err(errno) = step(self, content) {
                let _ = unlinkat(&self.dir, NEW, AtFlags::empty());
                return Err(fault(errno));
            }
        }
        Ok(())
    }

    fn write_new(&self, content: &[u8]) -> Result<(), Errno> {
        self.remove(NEW)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, NEW, flags, Mode::from_raw_mode(0o600))?;
        let mut rest = content;
        while !rest.is_empty() {
            match write(&file, rest) {
                Ok(0) => return Err(Errno::NOSPC),
                Ok(n) => rest = &rest[n..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        fsync(&file)
    }

    /// By a second link, so that the current name is never missing; by a rename where there are no links.
    fn keep_previous(&self, _: &[u8]) -> Result<(), Errno> {
        self.remove(NEW_PREVIOUS)?;
        match linkat(&self.dir, CURRENT, &self.dir, NEW_PREVIOUS, AtFlags::empty()) {
            Ok(()) => {
                renameat(&self.dir, NEW_PREVIOUS, &self.dir, PREVIOUS)?;
                // Both names were one file already (killed before the next step): then the rename did nothing.
                self.remove(NEW_PREVIOUS)
            }
            Err(Errno::NOENT) => Ok(()),
            Err(_) => renameat(&self.dir, CURRENT, &self.dir, PREVIOUS),
        }
    }

    fn rename_new(&self, _: &[u8]) -> Result<(), Errno> {
        renameat(&self.dir, NEW, &self.dir, CURRENT)
    }

    fn sync(&self, _: &[u8]) -> Result<(), Errno> {
        fsync(&self.dir)
    }

    fn remove(&self, name: &str) -> Result<(), Errno> {
        match unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Moves the file aside under the next free number and removes the oldest beyond those that are kept.
    pub(super) fn quarantine(&self, slot: Slot) {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.dir) else { return };
        let number = |name: &str| name.strip_prefix(CORRUPT)?.parse::<u64>().ok();
        let mut kept: Vec<u64> =
            entries.flatten().filter_map(|entry| number(entry.file_name().to_str().ok()?)).collect();
        kept.sort_unstable();
        let next = kept.last().map_or(1, |last| last.saturating_add(1));
        let aside = format!("{CORRUPT}{next}");
        if statat(&self.dir, &*aside, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return;
        }
        match renameat(&self.dir, name(slot), &self.dir, &*aside) {
            Ok(()) => log::warn!("an unreadable state file was moved to {aside:?}"),
            Err(errno) => {
                log::warn!("an unreadable state file cannot be moved aside: {errno}");
                return;
            }
        }
        let surplus = (kept.len() + 1).saturating_sub(CORRUPT_KEPT);
        for old in &kept[..surplus] {
            let _ = unlinkat(&self.dir, format!("{CORRUPT}{old}"), AtFlags::empty());
        }
    }
}

fn name(slot: Slot) -> &'static str {
    match slot {
        Slot::Current => CURRENT,
        Slot::Previous => PREVIOUS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn state() -> (tempfile::TempDir, StateFolder) {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let state = StateFolder::open(&temp.path().join("state")).expect("opens");
        (temp, state)
    }

    #[test]
    fn a_kill_between_any_two_steps_leaves_the_old_content_or_the_new() {
        // hostile: 32, 179
        for links in [true, false] {
            for killed_after in 0..=STEPS.len() {
                let (temp, state) = state();
                let at = |name: &str| temp.path().join("state").join(name);
                for old in [b"one".as_slice(), b"two"] {
                    state.save(old).expect("saved");
                }
                if !links {
                    // As on a file system without hard links: the rename of the first step's fallback.
                    fs::rename(at(CURRENT), at(PREVIOUS)).expect("renamed");
                }
                for step in &STEPS[..killed_after] {
                    step(&state, b"three").expect("works");
                }
                let load = |slot| state.load(slot, 100).expect("loads");
                let (current, previous) = (load(Slot::Current), load(Slot::Previous));
                let newest = current.or(previous).expect("never none");
                let expected = if killed_after >= 3 { b"three".as_slice() } else { b"two" };
                assert_eq!(newest, expected, "{links} {killed_after}");
                // And the next process gets on with what it finds.
                for next in [b"four".as_slice(), b"five"] {
                    state.save(next).expect("saved");
                }
                assert_eq!(load(Slot::Current).as_deref(), Some(b"five".as_slice()));
                assert_eq!(load(Slot::Previous).as_deref(), Some(b"four".as_slice()));
                let mut left: Vec<_> = fs::read_dir(temp.path().join("state"))
                    .expect("reads")
                    .map(|entry| entry.expect("an entry").file_name())
                    .collect();
                left.sort();
                assert_eq!(left, [CURRENT, PREVIOUS]);
            }
        }
    }

    #[test]
    fn what_a_killed_save_left_goes_at_the_next_start() {
        // hostile: 180
        let (temp, state) = state();
        state.save(b"one").expect("saved");
        state.write_new(b"two").expect("written");
        drop(state);
        let path = temp.path().join("state");
        std::os::unix::fs::symlink(CURRENT, path.join(NEW_PREVIOUS)).expect("a link");
        let state = StateFolder::open(&path).expect("opens");
        assert!(!path.join(NEW).exists());
        assert!(path.join(NEW_PREVIOUS).is_symlink(), "none of ours");
        assert_eq!(state.load(Slot::Current, 100).expect("loads").as_deref(), Some(b"one".as_slice()));
    }

    #[test]
    fn too_large_or_strange_files_are_not_read() {
        // hostile: 177
        let (temp, state) = state();
        assert_eq!(state.load(Slot::Current, 10), Ok(None));
        state.save(b"0123456789").expect("saved");
        assert_eq!(state.load(Slot::Current, 10).map(|content| content.map(|c| c.len())), Ok(Some(10)));
        assert_eq!(state.load(Slot::Current, 9), Err(Fault::TooLarge));
        let path = temp.path().join("state").join(PREVIOUS);
        std::os::unix::fs::symlink("/dev/zero", path).expect("a link");
        assert_eq!(state.load(Slot::Previous, 10), Err(Fault::NotRegular));
    }

    #[test]
    fn unreadable_files_are_kept_three_times() {
        // hostile: 176
        let (temp, state) = state();
        for i in 0..5 {
            state.save(format!("bad {i}").as_bytes()).expect("saved");
            state.quarantine(Slot::Current);
            assert_eq!(state.load(Slot::Current, 100), Ok(None));
        }
        for (n, kept) in [(1, false), (2, false), (3, true), (4, true), (5, true)] {
            let path = temp.path().join("state").join(format!("{CORRUPT}{n}"));
            assert_eq!(path.exists(), kept, "{n}");
        }
    }

    #[test]
    fn the_folder_is_private_and_locked() {
        // hostile: 165
        let (temp, _state) = state();
        let path = temp.path().join("state");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let second = StateFolder::open(&path).expect_err("locked").to_string();
        assert!(second.contains("in use") && second.contains(&format!("{path:?}")), "{second}");
        let open = temp.path().join("open");
        fs::create_dir(&open).expect("a folder");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o720)).expect("mode set");
        assert!(matches!(StateFolder::open(&open), Err(StartError::NotPrivate { .. })));
    }
}
