//! The files of a node's key, shown to who decides about them and replaced without a trace of what was there.

use super::{IDENTITY, Names, StateFolder, Step, open_folder};
use crate::config::KeyFiles;
use crate::machine::Fault;
use crate::reactor::StartError;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Says of which machine the key is.
pub(super) const MACHINE: Names = Names {
    current: "identity.machine",
    previous: "identity.machine.1",
    new: "identity.machine.tmp",
    new_previous: "identity.machine.1.tmp",
    corrupt: "identity.machine.corrupt-",
};

/// Bytes of each file that are read; they have far fewer.
const FILE_MAX: usize = 4096;

/// A replacement that keeps nothing of what it replaces.
const REPLACE: [Step; 4] =
    [StateFolder::write_new, StateFolder::rename_new, StateFolder::drop_previous, StateFolder::sync];

/// Shows `change` the key in the folder of a node that does not run, and keeps what it gives back. With `alone` no node
/// may work there meanwhile; who only looks can do without. Where there is no key nothing is made.
///
/// # Errors
/// A sentence that names the folder or the file, and what to do.
pub fn change_key(
    folder: &Path,
    alone: bool,
    change: &mut dyn FnMut(KeyFiles) -> KeyFiles,
) -> Result<(), StartError> {
    let path = folder.join(IDENTITY.current);
    let missing =
        |error: std::io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    if fs::symlink_metadata(&path).is_err_and(missing) {
        change(KeyFiles::default());
        return Ok(());
    }
    let state = match alone {
        true => StateFolder::open(folder)?,
        false => StateFolder { dir: open_folder(folder, 0o700)? },
    };
    let failed = |fault| StartError::Key { path: path.clone(), fault };
    let files = state.key_files().map_err(failed)?;
    state.keep_key(&change(files)).map_err(failed)
}

impl StateFolder {
    /// The same at the start of a node, which nothing of it may prevent.
    pub(in crate::reactor) fn settle_key(&self, settle: impl FnOnce(&KeyFiles) -> KeyFiles) {
        // What cannot be read the node tells itself.
        let Ok(files) = self.key_files() else { return };
        if let Err(fault) = self.keep_key(&settle(&files)) {
            log::warn!(
                "the files of the node's key cannot be written ({fault}): it goes on with those it has"
            );
        }
    }

    fn key_files(&self) -> Result<KeyFiles, Fault> {
        // A note that cannot be read says nothing, and is written anew.
        let machine = self.read(MACHINE.current, FILE_MAX).unwrap_or_default();
        Ok(KeyFiles { key: self.read(IDENTITY.current, FILE_MAX)?, machine })
    }

    /// The key first: after a kill between the two the old note still tells the next start that the key is a copy.
    fn keep_key(&self, files: &KeyFiles) -> Result<(), Fault> {
        if let Some(key) = &files.key {
            self.take(&REPLACE, &IDENTITY, key)?;
        }
        match &files.machine {
            Some(machine) => self.take(&REPLACE, &MACHINE, machine),
            None => Ok(()),
        }
    }

    fn drop_previous(&self, names: &Names, _: &[u8]) -> Result<(), rustix::io::Errno> {
        self.remove(names.previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn files(key: Option<&[u8]>, machine: Option<&[u8]>) -> KeyFiles {
        KeyFiles { key: key.map(<[u8]>::to_vec), machine: machine.map(<[u8]>::to_vec) }
    }

    /// A process that another test is starting shares our lock until it becomes another program.
    fn once_unlocked<T>(mut ask: impl FnMut() -> Result<T, StartError>) -> Result<T, StartError> {
        for _ in 0..100_000 {
            match ask() {
                Err(StartError::Locked { .. }) => std::thread::yield_now(),
                other => return other,
            }
        }
        ask()
    }

    #[test]
    fn a_replaced_key_is_private_and_the_old_one_is_gone_after_a_kill_at_any_step() {
        for killed_after in 0..=REPLACE.len() {
            let temp = tempfile::tempdir().expect("a temporary folder");
            let path = temp.path().join("state");
            let state = StateFolder::open(&path).expect("opens");
            for name in [IDENTITY.current, IDENTITY.previous] {
                fs::write(path.join(name), "old").expect("ours");
                fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o600)).expect("ours");
            }
            for step in &REPLACE[..killed_after] {
                step(&state, &IDENTITY, b"new").expect("works");
            }
            let key = state.key_files().expect("reads").key.expect("never none");
            let expected = if killed_after >= 2 { b"new" } else { b"old" };
            assert_eq!(key, expected, "{killed_after}");
            drop(state);
            let mut seen = None;
            let mut change = |found: KeyFiles| {
                seen = found.key;
                files(Some(b"newer"), Some(b"here"))
            };
            once_unlocked(|| change_key(&path, true, &mut change)).expect("changes");
            assert_eq!(seen.as_deref(), Some(expected.as_slice()));
            let mut left: Vec<_> = fs::read_dir(&path)
                .expect("reads")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            left.sort();
            assert_eq!(left, [IDENTITY.current, MACHINE.current]);
            for (name, content) in [(IDENTITY.current, "newer"), (MACHINE.current, "here")] {
                assert_eq!(fs::read_to_string(path.join(name)).expect("ours"), content);
                let mode = fs::metadata(path.join(name)).expect("there").permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{name}");
            }
        }
    }

    #[test]
    fn who_looks_needs_no_lock_and_nothing_is_made() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let path = temp.path().join("state");
        let look = |alone| {
            let mut seen = None;
            let result = change_key(&path, alone, &mut |found| {
                seen = Some(found.key);
                KeyFiles::default()
            });
            result.map(|()| seen.expect("it is called"))
        };
        assert_eq!(look(true).expect("no key"), None);
        assert!(!path.exists());
        let state = StateFolder::open(&path).expect("opens");
        state.keep_key(&files(Some(b"key"), None)).expect("kept");
        assert_eq!(look(false).expect("looks").as_deref(), Some(b"key".as_slice()));
        assert!(matches!(look(true), Err(StartError::Locked { .. })));
        drop(state);
        fs::write(path.join(IDENTITY.current), [b' '; FILE_MAX + 1]).expect("ours");
        let refused = once_unlocked(|| look(true));
        assert!(matches!(refused, Err(StartError::Key { fault: Fault::TooLarge, .. })));
    }
}
