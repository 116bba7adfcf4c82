//! A finished temporary file gets its final name: durable, beneath its folder, and nothing is ever overwritten. What stands in
//! the way, of the file or of a folder above it, gives the next number to the name.

use super::beneath::{fault, is_relative, make_folder, open_folder};
use crate::machine::{Fault, numbered, shortened};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::fs::{fchmod, fdatasync, fsync, linkat, renameat, renameat_with, statat, unlinkat};
use rustix::io::{Errno, retry_on_intr};
use std::fs;

/// Highest number tried in `name (2).ext`.
const NUMBERS: u32 = 9999;
/// Bytes that a name is cut to where the file system refuses it as too long: encrypted folders take 143.
const SHORT: usize = 140;

/// What to do when the name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// `name (2).ext`, `name (3).ext` and so on.
    Number,
    /// Give up with [`Fault::Exists`].
    Refuse,
}

/// A temporary file, or a folder of such, by the folder it lies in and its name there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Temporary<'a> {
    pub(super) file: &'a OwnedFd,
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: &'a str,
    /// What it is to get, less the umask.
    pub(super) mode: u32,
}

/// A file that has its final name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// The one it got, relative to its folder.
    pub(super) name: String,
    /// The disk said that it has the name, too.
    pub(super) confirmed: bool,
}

/// Sync, mode, rename, sync of the folder. A file that cannot be placed stays what it was.
pub(super) fn place(
    temporary: Temporary<'_>,
    dir: BorrowedFd<'_>,
    name: &str,
    taken: Taken,
) -> Result<Placed, Fault> {
    retry_on_intr(|| fdatasync(temporary.file)).map_err(fault)?;
    let (folder, parents, last, changed) = make_parents(dir, name, taken)?;
    // A file system without modes (vfat) refuses; nothing is lost by that.
    let _ = fchmod(temporary.file, Mode::from_raw_mode(temporary.mode & !umask()));
    let is_taken = |errno| errno == Errno::EXIST;
    let placed = first_that_works(last, taken, is_taken, |name| rename_once(temporary, folder.as_fd(), name));
    let got = match placed {
        Ok((got, ())) => got,
        Err(fault) => {
            let _ = fchmod(temporary.file, Mode::from_raw_mode(temporary.mode & 0o700));
            return Err(fault);
        }
    };
    // Each of them, even after one that failed.
    let unconfirmed = changed.iter().chain([&folder]).filter(|touched| !confirms(touched, name)).count();
    Ok(Placed { name: parents + &got, confirmed: unconfirmed == 0 })
}

/// Makes the folders above the last component of `name` where they are missing. Gives the folder that is to hold it, the
/// names of those above with a slash behind each, the last component, and the folders that got a new entry.
fn make_parents<'a>(
    dir: BorrowedFd<'_>,
    name: &'a str,
    taken: Taken,
) -> Result<(OwnedFd, String, &'a str, Vec<OwnedFd>), Fault> {
    if !is_relative(name) {
        return Err(Fault::NotFound);
    }
    let mut components = name.split('/');
    let last = components.next_back().unwrap_or(name);
    let mut folder = open_folder(dir, "")?;
    let (mut parents, mut changed) = (String::new(), Vec::new());
    for component in components {
        let (got, (next, made)) =
            first_that_works(component, taken, no_folder_for_us, |name| make_folder(folder.as_fd(), name))?;
        parents = parents + &got + "/";
        let parent = std::mem::replace(&mut folder, next);
        if made {
            changed.push(parent);
        }
    }
    Ok((folder, parents, last, changed))
}

/// The first of `name`, `name (2)` and so on that `works`, with what came of it.
fn first_that_works<T>(
    name: &str,
    taken: Taken,
    in_the_way: impl Fn(Errno) -> bool,
    mut works: impl FnMut(&str) -> Result<T, Errno>,
) -> Result<(String, T), Fault> {
    let (mut name, mut number) = (name.to_owned(), 1);
    loop {
        let candidate = if number == 1 { name.clone() } else { numbered(&name, number) };
        match works(&candidate) {
            Ok(done) => return Ok((candidate, done)),
            Err(errno) if taken == Taken::Refuse => return Err(fault(errno)),
            Err(Errno::NAMETOOLONG) if candidate.len() > SHORT => name = shortened(&name, SHORT - 10),
            Err(errno) if number == NUMBERS || !in_the_way(errno) => return Err(fault(errno)),
            Err(_) => number += 1,
        }
    }
}

/// A file, a link, another disk or a folder of somebody else has the name.
fn no_folder_for_us(errno: Errno) -> bool {
    matches!(errno, Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::ACCESS)
}

/// Whether the disk has what became of the folder.
fn confirms(folder: &OwnedFd, name: &str) -> bool {
    let synced = retry_on_intr(|| fsync(folder));
    if let Err(errno) = synced {
        log::warn!("{name:?} was saved, but the disk did not confirm its folder: {errno}");
    }
    synced.is_ok()
}

fn rename_once(temporary: Temporary<'_>, folder: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    match renameat_with(temporary.dir, temporary.name, folder, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {}
        result => return result,
    }
    // No such rename on this file system or kernel.
    link_then_unlink(temporary, folder, name)
}

/// A hard link refuses a taken name as well.
fn link_then_unlink(temporary: Temporary<'_>, folder: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    let Temporary { dir, name: old, .. } = temporary;
    match linkat(dir, old, folder, name, AtFlags::empty()) {
        Ok(()) => {
            // It has its name: a failure from here on would have the caller empty it under both. The next start
            // sweeps the old name.
            if let Err(errno) = unlinkat(dir, old, AtFlags::empty()) {
                log::warn!("cannot remove the temporary name {old:?}: {errno}");
            }
            Ok(())
        }
        Err(Errno::EXIST) => Err(Errno::EXIST),
        Err(_) => look_then_rename(temporary, folder, name),
    }
}

/// Where there are no links either. Only a program that makes this very name in between could lose by it.
fn look_then_rename(temporary: Temporary<'_>, folder: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => renameat(temporary.dir, temporary.name, folder, name),
        Err(errno) => Err(errno),
    }
}

/// The process's file mode mask. Asking the system for it means setting it, so it is read from where it is shown, if it is.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let shown = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    shown.and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok()).unwrap_or_else(|| {
        // Nobody else makes a file meanwhile: there is one thread.
        let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
        rustix::process::umask(mask);
        mask.bits()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{OFlags, open};
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn folder(path: &Path) -> OwnedFd {
        open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("opens")
    }

    #[test]
    fn nothing_is_overwritten_whatever_holds_the_name() {
        // hostile: 163
        let temp = tempfile::tempdir().expect("a temporary folder");
        let dir = folder(temp.path());
        for (i, taken) in ["file.txt", "folder.txt", "link.txt"].into_iter().enumerate() {
            let path = temp.path().join(taken);
            match i {
                0 => fs::write(&path, b"old").expect("a file"),
                1 => fs::create_dir(&path).expect("a folder"),
                _ => symlink("nowhere", &path).expect("a link"),
            }
            fs::write(temp.path().join("tmp"), b"new").expect("a file");
            let file = OwnedFd::from(fs::File::open(temp.path().join("tmp")).expect("opens"));
            let temporary = Temporary { file: &file, dir: dir.as_fd(), name: "tmp", mode: 0o666 };
            assert_eq!(place(temporary, dir.as_fd(), taken, Taken::Refuse), Err(Fault::Exists));
            let placed = place(temporary, dir.as_fd(), taken, Taken::Number).expect("placed");
            let Placed { name, confirmed: true } = placed else { panic!("not confirmed") };
            assert_eq!(name, taken.replace(".txt", " (2).txt"));
            assert_eq!(fs::read(temp.path().join(name)).expect("reads"), b"new");
        }
        assert_eq!(fs::read(temp.path().join("file.txt")).expect("reads"), b"old");
        assert!(!temp.path().join("tmp").exists());
    }

    #[test]
    fn file_systems_without_the_careful_rename_or_links_overwrite_nothing_either() {
        // hostile: 171
        for way in [link_then_unlink, look_then_rename] {
            let temp = tempfile::tempdir().expect("a temporary folder");
            let dir = folder(temp.path());
            fs::write(temp.path().join("tmp"), b"new").expect("a file");
            fs::write(temp.path().join("taken"), b"old").expect("a file");
            symlink("nowhere", temp.path().join("link")).expect("a link");
            let file = OwnedFd::from(fs::File::open(temp.path().join("tmp")).expect("opens"));
            let temporary = Temporary { file: &file, dir: dir.as_fd(), name: "tmp", mode: 0o666 };
            for taken in ["taken", "link"] {
                assert_eq!(way(temporary, dir.as_fd(), taken), Err(Errno::EXIST));
            }
            assert_eq!(way(temporary, dir.as_fd(), "free"), Ok(()));
            assert_eq!(fs::read(temp.path().join("free")).expect("reads"), b"new");
            assert_eq!(fs::read(temp.path().join("taken")).expect("reads"), b"old");
            assert!(!temp.path().join("tmp").exists());
        }
    }

    #[test]
    fn a_folder_that_cannot_be_synced_is_not_confirmed() {
        // hostile: 159
        let temp = tempfile::tempdir().expect("a temporary folder");
        let unsyncable = open(temp.path(), OFlags::PATH, Mode::empty()).expect("opens");
        assert!(!confirms(&unsyncable, "x"));
        assert!(confirms(&folder(temp.path()), "x"));
    }

    #[test]
    fn what_cannot_be_placed_stays_what_it_was() {
        // hostile: 158, 163
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().expect("a temporary folder");
        let dir = folder(temp.path());
        let part = temp.path().join("tmp");
        fs::write(&part, b"new").expect("a file");
        fs::set_permissions(&part, fs::Permissions::from_mode(0o600)).expect("set");
        fs::write(temp.path().join("file"), b"old").expect("a file");
        let file = OwnedFd::from(fs::File::open(&part).expect("opens"));
        let temporary = Temporary { file: &file, dir: dir.as_fd(), name: "tmp", mode: 0o666 };
        let long = "x".repeat(256);
        for (name, fault) in [
            ("file", Fault::Exists),
            ("file/below", Fault::NotFound),
            ("../out", Fault::NotFound),
            (&long, Fault::NameTooLong),
        ] {
            assert_eq!(place(temporary, dir.as_fd(), name, Taken::Refuse), Err(fault), "{name}");
            let mode = fs::metadata(&part).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        // hostile: 59
        for name in ["", ".", "..", "/etc/passwd", "../outside", "in/../../x", "in//deep", "a\0b", "in/"] {
            assert_eq!(place(temporary, dir.as_fd(), name, Taken::Number), Err(Fault::NotFound), "{name:?}");
        }
        assert_eq!(fs::read(&part).expect("reads"), b"new");
        assert_eq!(fs::read(temp.path().join("file")).expect("reads"), b"old");
    }

    #[test]
    fn what_stands_in_the_way_of_a_folder_gives_the_next_number_to_it() {
        // hostile: 163
        let temp = tempfile::tempdir().expect("a temporary folder");
        let at = |path: &str| temp.path().join(path);
        let dir = folder(temp.path());
        fs::write(at("file"), b"old").expect("a file");
        fs::create_dir_all(at("elsewhere/b")).expect("a folder");
        symlink("elsewhere", at("link")).expect("a link");
        fs::create_dir_all(at("a/b (2)")).expect("a folder");
        fs::write(at("a/b"), b"old").expect("a file");
        let long = "\u{e4}".repeat(127) + ".txt";
        for (name, expected) in [
            ("file/b/c", "file (2)/b/c"),
            ("file/b/c", "file (2)/b/c (2)"),
            ("link/b/c", "link (2)/b/c"),
            ("a/b/c", "a/b (2)/c"),
            ("new/b/c", "new/b/c"),
            // Longer than a name may be.
            (&format!("x/{long}"), &format!("x/{}.txt", "\u{e4}".repeat(63))),
            (&format!("{long}/y"), &format!("{}.txt/y", "\u{e4}".repeat(63))),
        ] {
            fs::write(at("tmp"), b"new").expect("a file");
            let file = OwnedFd::from(fs::File::open(at("tmp")).expect("opens"));
            let temporary = Temporary { file: &file, dir: dir.as_fd(), name: "tmp", mode: 0o666 };
            let placed = place(temporary, dir.as_fd(), name, Taken::Number);
            assert_eq!(placed, Ok(Placed { name: expected.into(), confirmed: true }));
            assert_eq!(fs::read(at(expected)).expect("reads"), b"new");
        }
        for taken in ["file", "a/b"] {
            assert_eq!(fs::read(at(taken)).expect("reads"), b"old");
        }
        assert_eq!(fs::read_dir(at("elsewhere/b")).expect("reads").count(), 0);
    }

    #[test]
    fn a_name_with_folders_makes_them() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let dir = folder(temp.path());
        fs::write(temp.path().join("tmp"), b"new").expect("a file");
        let file = OwnedFd::from(fs::File::open(temp.path().join("tmp")).expect("opens"));
        let temporary = Temporary { file: &file, dir: dir.as_fd(), name: "tmp", mode: 0o666 };
        let placed = place(temporary, dir.as_fd(), "a/b/c", Taken::Number);
        assert_eq!(placed, Ok(Placed { name: "a/b/c".into(), confirmed: true }));
        assert_eq!(fs::read(temp.path().join("a/b/c")).expect("reads"), b"new");
    }
}
