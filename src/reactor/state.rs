//! The state folder: private, locked, its files replaced so that a kill or a power cut at any moment leaves the old
//! content or the new.

mod keys;

use super::beneath::{fault, is_regular, size_of};
use super::folders::{StartError, open_folder};
use crate::machine::{Fault, Kept, Slot};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::fs::{flock, fstat, fsync, linkat, openat, renameat, statat, unlinkat};
use rustix::io::{Errno, read, write};
use std::path::Path;

pub use keys::change_key;

/// What a state file is called, in each of its generations and on the way there.
#[derive(Debug)]
struct Names {
    current: &'static str,
    previous: &'static str,
    new: &'static str,
    new_previous: &'static str,
    corrupt: &'static str,
}

const REGISTRY: Names = Names {
    current: "registry",
    previous: "registry.1",
    new: "registry.tmp",
    new_previous: "registry.1.tmp",
    corrupt: "registry.corrupt-",
};
const IDENTITY: Names = Names {
    current: "identity",
    previous: "identity.1",
    new: "identity.tmp",
    new_previous: "identity.1.tmp",
    corrupt: "identity.corrupt-",
};

impl Names {
    const fn of(kept: Kept) -> &'static Names {
        match kept {
            Kept::Registry => &REGISTRY,
            Kept::Identity => &IDENTITY,
        }
    }

    const fn slot(&self, slot: Slot) -> &'static str {
        match slot {
            Slot::Current => self.current,
            Slot::Previous => self.previous,
        }
    }
}

/// Unreadable files that are kept.
const CORRUPT_KEPT: usize = 3;

/// The state folder, held open and locked for the life of the process.
#[derive(Debug)]
pub(super) struct StateFolder {
    dir: OwnedFd,
}

type Step = fn(&StateFolder, &Names, &[u8]) -> Result<(), Errno>;

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
        for key in [IDENTITY.current, IDENTITY.previous] {
            folder.check_key(path, key)?;
        }
        folder.sweep();
        Ok(folder)
    }

    /// A secret key that others can read or change is none. As with a group's key, root's will do for everybody.
    fn check_key(&self, folder: &Path, name: &str) -> Result<(), StartError> {
        let Ok(stat) = statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        if !is_regular(&stat) {
            return Ok(()); // nor is it read
        }
        let path = folder.join(name);
        if ![0, rustix::process::geteuid().as_raw()].contains(&stat.st_uid) {
            return Err(StartError::Exposed { path, owner: Some(stat.st_uid) });
        }
        if stat.st_mode & 0o077 != 0 {
            return Err(StartError::Exposed { path, owner: None });
        }
        Ok(())
    }

    /// Removes what a kill in the midst of a save left: it may be large, and the next save may be far.
    fn sweep(&self) {
        let names = [REGISTRY, IDENTITY, keys::MACHINE].map(|names| [names.new, names.new_previous]);
        for left in names.into_iter().flatten().chain([super::logs::FRESH]) {
            let ours = statat(&self.dir, left, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| is_regular(&stat) && stat.st_uid == rustix::process::geteuid().as_raw());
            if ours {
                let _ = self.remove(left);
            }
        }
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn load(&self, kept: Kept, slot: Slot, max: usize) -> Result<Option<Vec<u8>>, Fault> {
        self.read(Names::of(kept).slot(slot), max)
    }

    fn read(&self, name: &str, max: usize) -> Result<Option<Vec<u8>>, Fault> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
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

    pub(super) fn save(&self, kept: Kept, content: &[u8]) -> Result<(), Fault> {
        self.take(&STEPS, Names::of(kept), content)
    }

    fn take(&self, steps: &[Step], names: &Names, content: &[u8]) -> Result<(), Fault> {
        for step in steps {
            if let Err(errno) = step(self, names, content) {
                let _ = unlinkat(&self.dir, names.new, AtFlags::empty());
                return Err(fault(errno));
            }
        }
        Ok(())
    }

    fn write_new(&self, names: &Names, content: &[u8]) -> Result<(), Errno> {
        self.remove(names.new)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, names.new, flags, Mode::from_raw_mode(0o600))?;
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
    fn keep_previous(&self, names: &Names, _: &[u8]) -> Result<(), Errno> {
        let &Names { current, previous, new_previous, .. } = names;
        self.remove(new_previous)?;
        match linkat(&self.dir, current, &self.dir, new_previous, AtFlags::empty()) {
            Ok(()) => {
                renameat(&self.dir, new_previous, &self.dir, previous)?;
                // Both names were one file already (killed before the next step): then the rename did nothing.
                self.remove(new_previous)
            }
            Err(Errno::NOENT) => Ok(()),
            Err(_) => renameat(&self.dir, current, &self.dir, previous),
        }
    }

    fn rename_new(&self, names: &Names, _: &[u8]) -> Result<(), Errno> {
        renameat(&self.dir, names.new, &self.dir, names.current)
    }

    fn sync(&self, _: &Names, _: &[u8]) -> Result<(), Errno> {
        fsync(&self.dir)
    }

    fn remove(&self, name: &str) -> Result<(), Errno> {
        match unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Moves the file aside under the next free number and removes the oldest beyond those that are kept.
    pub(super) fn quarantine(&self, kept: Kept, slot: Slot) {
        let names = Names::of(kept);
        let Ok(entries) = rustix::fs::Dir::read_from(&self.dir) else { return };
        let number = |name: &str| name.strip_prefix(names.corrupt)?.parse::<u64>().ok();
        let mut kept: Vec<u64> =
            entries.flatten().filter_map(|entry| number(entry.file_name().to_str().ok()?)).collect();
        kept.sort_unstable();
        let next = kept.last().map_or(1, |last| last.saturating_add(1));
        let aside = format!("{}{next}", names.corrupt);
        if statat(&self.dir, &*aside, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return;
        }
        match renameat(&self.dir, names.slot(slot), &self.dir, &*aside) {
            Ok(()) => log::warn!("an unreadable state file was moved to {aside:?}"),
            Err(errno) => {
                log::warn!("an unreadable state file cannot be moved aside: {errno}");
                return;
            }
        }
        let surplus = (kept.len() + 1).saturating_sub(CORRUPT_KEPT);
        for old in &kept[..surplus] {
            let _ = unlinkat(&self.dir, format!("{}{old}", names.corrupt), AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kept::Registry;
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
                    state.save(Registry, old).expect("saved");
                }
                if !links {
                    // As on a file system without hard links: the rename of the first step's fallback.
                    fs::rename(at(REGISTRY.current), at(REGISTRY.previous)).expect("renamed");
                }
                for step in &STEPS[..killed_after] {
                    step(&state, &REGISTRY, b"three").expect("works");
                }
                let load = |slot| state.load(Registry, slot, 100).expect("loads");
                let (current, previous) = (load(Slot::Current), load(Slot::Previous));
                let newest = current.or(previous).expect("never none");
                let expected = if killed_after >= 3 { b"three".as_slice() } else { b"two" };
                assert_eq!(newest, expected, "{links} {killed_after}");
                // And the next process gets on with what it finds.
                for next in [b"four".as_slice(), b"five"] {
                    state.save(Registry, next).expect("saved");
                }
                assert_eq!(load(Slot::Current).as_deref(), Some(b"five".as_slice()));
                assert_eq!(load(Slot::Previous).as_deref(), Some(b"four".as_slice()));
                let mut left: Vec<_> = fs::read_dir(temp.path().join("state"))
                    .expect("reads")
                    .map(|entry| entry.expect("an entry").file_name())
                    .collect();
                left.sort();
                assert_eq!(left, [REGISTRY.current, REGISTRY.previous]);
            }
        }
    }

    #[test]
    fn what_a_killed_save_left_goes_at_the_next_start() {
        // hostile: 180
        let (temp, state) = state();
        state.save(Registry, b"one").expect("saved");
        state.write_new(&REGISTRY, b"two").expect("written");
        drop(state);
        let path = temp.path().join("state");
        std::os::unix::fs::symlink(REGISTRY.current, path.join(REGISTRY.new_previous)).expect("a link");
        let state = StateFolder::open(&path).expect("opens");
        assert!(!path.join(REGISTRY.new).exists());
        assert!(path.join(REGISTRY.new_previous).is_symlink(), "none of ours");
        assert_eq!(
            state.load(Registry, Slot::Current, 100).expect("loads").as_deref(),
            Some(b"one".as_slice())
        );
    }

    #[test]
    fn too_large_or_strange_files_are_not_read() {
        // hostile: 177
        let (temp, state) = state();
        assert_eq!(state.load(Registry, Slot::Current, 10), Ok(None));
        state.save(Registry, b"0123456789").expect("saved");
        assert_eq!(
            state.load(Registry, Slot::Current, 10).map(|content| content.map(|c| c.len())),
            Ok(Some(10))
        );
        assert_eq!(state.load(Registry, Slot::Current, 9), Err(Fault::TooLarge));
        let path = temp.path().join("state").join(REGISTRY.previous);
        std::os::unix::fs::symlink("/dev/zero", path).expect("a link");
        assert_eq!(state.load(Registry, Slot::Previous, 10), Err(Fault::NotRegular));
    }

    #[test]
    fn unreadable_files_are_kept_three_times() {
        // hostile: 176
        let (temp, state) = state();
        for i in 0..5 {
            state.save(Registry, format!("bad {i}").as_bytes()).expect("saved");
            state.quarantine(Registry, Slot::Current);
            assert_eq!(state.load(Registry, Slot::Current, 100), Ok(None));
        }
        for (n, kept) in [(1, false), (2, false), (3, true), (4, true), (5, true)] {
            let path = temp.path().join("state").join(format!("registry.corrupt-{n}"));
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
