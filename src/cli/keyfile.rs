//! Files that hold a secret: the key of a group, and the secret of v1.

use super::UsageError;
use crate::config::{Key, Secret};
use crate::proto::escape::for_terminal;
use crate::proto::group::GroupLine;
use rustix::fs::{Mode, OFlags, fstat, open, unlink};
use rustix::io::Errno;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a file that holds a secret.
const SECRET_FILE_MAX: u64 = 4096;
/// Reading and writing by those who are not the owner.
const OTHERS: u32 = 0o066;

/// Why a key could not be read, made or kept.
#[derive(Debug)]
pub(super) enum KeyError {
    /// What we do not accept, with what to do.
    Refused(String),
    /// What the system does not do.
    Io(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Refused(text) | KeyError::Io(text) => f.write_str(text),
        }
    }
}

/// A file's name as a person reads it.
pub(super) fn shown(file: &Path) -> String {
    for_terminal(&file.display().to_string())
}

/// The group key that a file holds, if nobody else can read or change it.
///
/// # Errors
/// Names the file and what to do.
pub(super) fn read_key(file: &Path) -> Result<Key, KeyError> {
    let name = shown(file);
    let failed = |error: &dyn fmt::Display| KeyError::Io(format!("cannot read {name}: {error}"));
    let refused = |text: String| Err(KeyError::Refused(text));
    // Opening a FIFO would wait for somebody to write into it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = match open(file, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => {
            let cure = "make it with `ds-peer group new` or `ds-peer group join`";
            return Err(KeyError::Io(format!("there is no {name}: {cure}")));
        }
        Err(errno) => return Err(failed(&io::Error::from(errno))),
    };
    let meta = opened.metadata().map_err(|error| failed(&error))?;
    if !meta.is_file() {
        return refused(format!("{name} is no file that could hold a group's key"));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() && meta.uid() != 0 {
        return refused(format!(
            "{name} belongs to another user (number {}): a group's key must be yours or root's; make a copy of your own",
            meta.uid()
        ));
    }
    if exposed(&meta) {
        return refused(format!(
            "other users may read or change {name}: run `chmod 600 {name}`, and if they did, make a new group"
        ));
    }
    let mut bytes = Vec::new();
    opened.take(SECRET_FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > SECRET_FILE_MAX {
        return refused(format!("{name} has more than {SECRET_FILE_MAX} bytes: that is no group's key"));
    }
    GroupLine::decode(&String::from_utf8_lossy(&bytes)).map_err(|error| {
        KeyError::Refused(format!("{name}: {error}; take the line from a member and join again"))
    })
}

/// Keeps a group's key in a new file that only its owner can read, durably.
///
/// # Errors
/// Names the file and what to do. What was begun is removed.
pub(super) fn write_key(file: &Path, key: &Key) -> Result<(), KeyError> {
    let name = shown(file);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = match open(file, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => File::from(fd),
        Err(Errno::EXIST) => return Err(exists(&name)),
        Err(errno) => {
            let error = io::Error::from(errno);
            return Err(KeyError::Io(format!("cannot make {name}: {error}")));
        }
    };
    let kept = keep(&made, key, &name);
    if kept.is_err() {
        // Half a key is worse than none. It is ours: it was made just now.
        let _ = unlink(file);
        return kept;
    }
    let parent = file.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    // Some file systems cannot sync a folder; the file itself is safe.
    let _ = File::open(parent).and_then(|folder| folder.sync_all());
    Ok(())
}

fn keep(mut file: &File, key: &Key, name: &str) -> Result<(), KeyError> {
    let failed = |error: io::Error| KeyError::Io(format!("cannot write {name}: {error}"));
    // A file system without modes (vfat) shows every file to everybody.
    if fstat(file).map_err(|errno| failed(errno.into()))?.st_mode & OTHERS != 0 {
        return Err(KeyError::Refused(format!(
            "the file system of {name} cannot keep a file from other users: choose another place"
        )));
    }
    let line = GroupLine::encode(key) + "\n";
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// Says so before anything is asked for; [`write_key`] is what makes sure.
///
/// # Errors
/// The file, or a link of its name, is there.
pub(super) fn check_free(file: &Path) -> Result<(), KeyError> {
    match file.symlink_metadata() {
        Ok(_) => Err(exists(&shown(file))),
        Err(_) => Ok(()),
    }
}

fn exists(name: &str) -> KeyError {
    KeyError::Refused(format!("{name} exists and is never overwritten: name another file"))
}

fn exposed(meta: &Metadata) -> bool {
    meta.mode() & OTHERS != 0
}

/// The secret of v1 that a file's first line holds, and a warning if others can read it too: there were such files
/// before anybody minded.
///
/// # Errors
/// Names the file and what is wrong with it.
pub(super) fn read_secret(file: &Path) -> Result<(Secret, Option<String>), UsageError> {
    let named =
        |problem: &dyn fmt::Display| UsageError(format!("--v1-secret-file {}: {problem}", shown(file)));
    let meta = std::fs::metadata(file).map_err(|error| named(&error))?;
    // Opening a FIFO would wait for somebody to write into it.
    if !meta.is_file() || meta.len() > SECRET_FILE_MAX {
        return Err(named(&format!("give a file of at most {SECRET_FILE_MAX} bytes")));
    }
    let warning = exposed(&meta).then(|| {
        let name = shown(file);
        format!("--v1-secret-file {name}: other users may read or change it: run `chmod 600 {name}`")
    });
    let text = std::fs::read_to_string(file).map_err(|error| named(&error))?;
    match text.lines().next().map(str::trim_end) {
        Some(line) if (1..=256).contains(&line.len()) => Ok((Secret::new(line), warning)),
        _ => Err(named(&"its first line must have 1 to 256 bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn key() -> Key {
        Key::new([7; 32])
    }

    #[track_caller]
    fn refused(result: Result<Key, KeyError>, text: &str) {
        match result {
            Err(KeyError::Refused(error)) => assert!(error.contains(text), "{error}"),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_key_is_kept_and_read_again() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("key");
        write_key(&file, &key()).unwrap();
        assert_eq!(read_key(&file).unwrap(), key());
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_to_string(&file).unwrap(), GroupLine::encode(&key()) + "\n");
    }

    #[test]
    fn what_holds_the_name_stays() {
        // hostile: 163
        let temp = tempfile::tempdir().unwrap();
        for taken in ["file", "folder", "link"] {
            let path = temp.path().join(taken);
            match taken {
                "file" => fs::write(&path, "old").unwrap(),
                "folder" => fs::create_dir(&path).unwrap(),
                _ => symlink(temp.path().join("elsewhere"), &path).unwrap(),
            }
            for result in [check_free(&path), write_key(&path, &key())] {
                let error = result.unwrap_err();
                assert!(matches!(error, KeyError::Refused(_)) && error.to_string().contains("overwritten"));
            }
        }
        assert_eq!(fs::read_to_string(temp.path().join("file")).unwrap(), "old");
        assert!(!temp.path().join("elsewhere").exists());
        let nowhere = write_key(&temp.path().join("missing/key"), &key());
        assert!(matches!(nowhere, Err(KeyError::Io(_))));
    }

    #[test]
    fn a_key_that_others_can_read_or_change_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("key");
        write_key(&file, &key()).unwrap();
        for mode in [0o640, 0o620, 0o604, 0o602, 0o666] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            refused(read_key(&file), "run `chmod 600 ");
        }
        fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
        assert_eq!(read_key(&file).unwrap(), key());
    }

    #[test]
    fn what_is_no_key_is_refused_at_once() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("key");
        let put = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            read_key(&file)
        };
        refused(put(b""), "there is no line");
        refused(put(b"\xff\xfe\x00"), "no group's line");
        let line = GroupLine::encode(&key());
        refused(put(line.replacen("-1:0", "-1:1", 1).as_bytes()), "a typing error");
        refused(put(&line.as_bytes()[..80]), "too short");
        refused(put(&[b' '; 4097]), "more than 4096 bytes");
        refused(read_key(temp.path()), "no file");
        refused(read_key(Path::new("/dev/zero")), "no file");
        let fifo = temp.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        if made.is_ok_and(|status| status.success()) {
            refused(read_key(&fifo), "no file");
        }
        match read_key(Path::new("missing")) {
            Err(KeyError::Io(text)) => assert!(text.contains("`ds-peer group new`"), "{text}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_secret_that_others_can_read_is_taken_with_a_warning() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("secret");
        fs::write(&file, "mine\nrest").unwrap();
        for (mode, warned) in [(0o600, false), (0o644, true), (0o660, true)] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let (secret, warning) = read_secret(&file).unwrap();
            assert_eq!((secret.reveal(), warning.is_some()), ("mine", warned), "{mode:o}");
        }
    }
}
