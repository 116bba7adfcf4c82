//! A finished temporary file gets its final name: durable, beneath its folder, and nothing is ever overwritten.

use super::beneath::{fault, make_parents};
use crate::machine::Fault;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::fs::{fchmod, fdatasync, fsync, linkat, renameat, renameat_with, statat, unlinkat};
use rustix::io::Errno;
use std::fs;

/// Highest number tried in `name (2).ext`.
const NUMBERS: u32 = 9999;
/// Bytes of a component on the file systems in use.
const COMPONENT_MAX: usize = 255;

/// What to do when the name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// `name (2).ext`, `name (3).ext` and so on.
    Number,
    /// Give up with [`Fault::Exists`].
    Refuse,
}

/// A temporary file by the folder it lies in and its name there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Temporary<'a> {
    pub(super) file: &'a OwnedFd,
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: &'a str,
}

/// Sync, mode, rename, sync of the folder. Gives the name it got, relative to `dir`.
pub(super) fn place(
    temporary: Temporary<'_>,
    dir: BorrowedFd<'_>,
    name: &str,
    taken: Taken,
) -> Result<String, Fault> {
    fdatasync(temporary.file).map_err(fault)?;
    // A file system without modes (vfat) refuses; nothing is lost by that.
    let _ = fchmod(temporary.file, Mode::from_raw_mode(0o644 & !umask()));
    let (folder, last, changed) = make_parents(dir, name)?;
    let got = rename_free(temporary, folder.as_fd(), last, taken)?;
    for touched in changed.iter().chain([&folder]) {
        if let Err(errno) = fsync(touched) {
            log::warn!("{name:?} was saved, but the disk did not confirm its folder: {errno}");
        }
    }
    Ok(match name.rsplit_once('/') {
        Some((parents, _)) => format!("{parents}/{got}"),
        None => got,
    })
}

fn rename_free(
    temporary: Temporary<'_>,
    folder: BorrowedFd<'_>,
    name: &str,
    taken: Taken,
) -> Result<String, Fault> {
    for number in 1..=NUMBERS {
        let candidate = if number == 1 { name.to_owned() } else { numbered(name, number) };
        match rename_once(temporary, folder, &candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EXIST) if taken == Taken::Number => {}
            Err(errno) => return Err(fault(errno)),
        }
    }
    Err(Fault::Exists)
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

/// `name (2).ext`; the stem is cut where the whole would be too long.
fn numbered(name: &str, number: u32) -> String {
    let (stem, extension) = match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= 16 => name.split_at(dot),
        _ => (name, ""),
    };
    let tail = format!(" ({number}){extension}");
    let mut end = stem.len().min(COMPONENT_MAX.saturating_sub(tail.len()));
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{tail}", &stem[..end])
}

/// The process's file mode mask. Asking the system for it means setting it, so it is read from where it is shown.
fn umask() -> u32 {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        })
        .unwrap_or(0o022)
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
    fn numbers_go_before_the_extension_and_the_name_stays_short_enough() {
        assert_eq!(numbered("a.txt", 2), "a (2).txt");
        assert_eq!(numbered("a", 3), "a (3)");
        assert_eq!(numbered(".hidden", 2), ".hidden (2)");
        assert_eq!(numbered("a.tar.gz", 10), "a.tar (10).gz");
        let long = numbered(&format!("{}.txt", "ñ".repeat(125)), 12);
        assert!(long.len() <= COMPONENT_MAX && long.ends_with("ñ (12).txt"), "{long}");
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
            let temporary = Temporary { file: &file, dir: dir.as_fd(), name: "tmp" };
            assert_eq!(place(temporary, dir.as_fd(), taken, Taken::Refuse), Err(Fault::Exists));
            let name = place(temporary, dir.as_fd(), taken, Taken::Number).expect("placed");
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
            let temporary = Temporary { file: &file, dir: dir.as_fd(), name: "tmp" };
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
    fn a_name_with_folders_makes_them() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let dir = folder(temp.path());
        fs::write(temp.path().join("tmp"), b"new").expect("a file");
        let file = OwnedFd::from(fs::File::open(temp.path().join("tmp")).expect("opens"));
        let temporary = Temporary { file: &file, dir: dir.as_fd(), name: "tmp" };
        assert_eq!(place(temporary, dir.as_fd(), "a/b/c", Taken::Number), Ok("a/b/c".into()));
        assert_eq!(fs::read(temp.path().join("a/b/c")).expect("reads"), b"new");
    }
}
