//! Names resolved beneath an open folder, no link on the way: by the kernel where it can, else component by component.

use crate::machine::{Fault, Meta};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags};
use rustix::fs::{accessat, fstat, mkdirat, openat, openat2, statat, statx};
use rustix::io::Errno;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once the kernel has refused `openat2` as such (before 5.6, or a sandbox).
static WALK: AtomicBool = AtomicBool::new(false);

const PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Never blocks on a FIFO, never takes a terminal.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

pub(super) fn fault(errno: Errno) -> Fault {
    Fault::of(&io::Error::from(errno))
}

pub(super) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

pub(super) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

pub(super) fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// What a file is, as the contract tells it.
pub(super) fn meta_of(stat: &Stat) -> Meta {
    // The types of these fields differ between processors.
    #[allow(clippy::useless_conversion)]
    let links = u64::try_from(stat.st_nlink).unwrap_or(u64::MAX);
    Meta {
        size: size_of(stat),
        mtime: nanoseconds(stat.st_mtime.into(), stat.st_mtime_nsec.into()),
        ctime: nanoseconds(stat.st_ctime.into(), stat.st_ctime_nsec.into()),
        marks: digest(&[stat.st_mode.into(), stat.st_uid.into(), stat.st_gid.into(), links]),
        born: 0,
        device: stat.st_dev,
        inode: stat.st_ino,
    }
}

/// The year 2262 and later look all the same.
fn nanoseconds(seconds: i128, more: i128) -> i64 {
    i64::try_from(seconds * 1_000_000_000 + more).unwrap_or(i64::MAX)
}

/// Never 0.
fn digest(words: &[u64]) -> u32 {
    let mut hasher = blake3::Hasher::new();
    for word in words {
        hasher.update(&word.to_le_bytes());
    }
    let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
    u32::from_le_bytes([a, b, c, d]).max(1)
}

/// A regular file of a folder as a listing names it: with the time at which it was made, if the file system tells. None:
/// there is no such file, or something else. [`Fault::Denied`]: it is there, and this process may not read it.
pub(super) fn listed(dir: BorrowedFd<'_>, name: &str) -> Result<Option<Meta>, Fault> {
    let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        stat => stat.map_err(fault)?,
    };
    if !is_regular(&stat) {
        return Ok(None);
    }
    accessat(dir, name, Access::READ_OK, AtFlags::empty()).map_err(fault)?;
    let born = statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME).ok();
    let born =
        born.filter(|born| born.stx_mask & StatxFlags::BTIME.bits() != 0 && born.stx_ino == stat.st_ino);
    let born = born.map_or(0, |born| {
        let at = nanoseconds(born.stx_btime.tv_sec.into(), born.stx_btime.tv_nsec.into());
        digest(&[u64::from_ne_bytes(at.to_ne_bytes())])
    });
    Ok(Some(Meta { born, ..meta_of(&stat) }))
}

/// Opens a regular file for reading. What is not one is found out by a descriptor without effects, before anything
/// is opened in earnest; and once more after it, because the name may mean something else by then.
pub(super) fn open_file(dir: BorrowedFd<'_>, name: &str) -> Result<(OwnedFd, Stat), Fault> {
    if !is_relative(name) {
        return Err(Fault::NotFound);
    }
    let look = open(dir, name, PATH).map_err(fault)?;
    if !is_regular(&fstat(&look).map_err(fault)?) {
        return Err(Fault::NotRegular);
    }
    let file = open(dir, name, FILE).map_err(fault)?;
    let stat = fstat(&file).map_err(fault)?;
    if is_regular(&stat) { Ok((file, stat)) } else { Err(Fault::NotRegular) }
}

/// Opens a folder; the empty name is `dir` itself.
pub(super) fn open_folder(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Fault> {
    if name.is_empty() {
        return openat(dir, ".", FOLDER, Mode::empty()).map_err(fault);
    }
    if !is_relative(name) {
        return Err(Fault::NotFound);
    }
    open(dir, name, FOLDER).map_err(fault)
}

/// A folder by its name in `dir`, made where it is missing, and whether it was. It is one that a file of `dir`'s disk can be
/// moved into: no link, on no other disk, and open to us.
pub(super) fn make_folder(dir: BorrowedFd<'_>, name: &str) -> Result<(OwnedFd, bool), Errno> {
    let made = match mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(errno),
    };
    let folder = openat(dir, name, FOLDER, Mode::empty())?;
    if !made {
        if !same_mount(dir, folder.as_fd())? {
            return Err(Errno::XDEV);
        }
        accessat(&folder, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())?;
    }
    Ok((folder, made))
}

/// Whether a rename from one folder to the other can work. The device alone does not tell: a folder may be mounted
/// twice.
pub(super) fn same_mount(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> Result<bool, Errno> {
    if fstat(a)?.st_dev != fstat(b)?.st_dev {
        return Ok(false);
    }
    let mount = |fd: BorrowedFd<'_>| {
        let stat = statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
        (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id)
    };
    Ok(match (mount(a), mount(b)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    })
}

/// Components joined by single slashes, none of them empty or dots.
pub(super) fn is_relative(name: &str) -> bool {
    !name.contains('\0') && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The name of an entry of a folder.
pub(super) fn is_plain(name: &str) -> bool {
    is_relative(name) && !name.contains('/')
}

/// Whether the file is the one of this name.
pub(super) fn is_under(dir: BorrowedFd<'_>, name: &str, file: &OwnedFd) -> bool {
    match (statat(dir, name, AtFlags::SYMLINK_NOFOLLOW), fstat(file)) {
        (Ok(named), Ok(ours)) => (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino),
        _ => false,
    }
}

fn open(dir: BorrowedFd<'_>, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    if !WALK.load(Ordering::Relaxed) {
        let rules = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(dir, name, flags, Mode::empty(), rules) {
            // A sandbox says EPERM; the walk tells whether it meant the call or the file.
            Err(Errno::NOSYS) => WALK.store(true, Ordering::Relaxed),
            Err(Errno::PERM) => {}
            result => return result,
        }
    }
    walk(dir, name, flags)
}

fn walk(dir: BorrowedFd<'_>, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut held: Option<OwnedFd> = None;
    let mut rest = name;
    while let Some((component, tail)) = rest.split_once('/') {
        let at = held.as_ref().map_or(dir, AsFd::as_fd);
        held = Some(openat(at, component, PATH | OFlags::DIRECTORY, Mode::empty())?);
        rest = tail;
    }
    let at = held.as_ref().map_or(dir, AsFd::as_fd);
    let stat = statat(at, rest, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    openat(at, rest, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn tree() -> (tempfile::TempDir, OwnedFd) {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let root = temp.path();
        fs::create_dir_all(root.join("in/deep")).expect("folders");
        fs::write(root.join("plain"), b"12345").expect("a file");
        fs::write(root.join("in/deep/file"), b"1").expect("a file");
        fs::create_dir(root.join("outside")).expect("a folder");
        fs::write(root.join("outside/secret"), b"s").expect("a file");
        fs::create_dir(root.join("root")).expect("a folder");
        let base = root.join("root");
        fs::rename(root.join("plain"), base.join("plain")).expect("rename");
        fs::rename(root.join("in"), base.join("in")).expect("rename");
        symlink("plain", base.join("to-inside")).expect("a link");
        symlink("../outside/secret", base.join("to-outside")).expect("a link");
        symlink("nothing", base.join("dangling")).expect("a link");
        symlink("loop", base.join("loop")).expect("a link");
        symlink("in/deep", base.join("folder-link")).expect("a link");
        let dir = open_path(&base);
        (temp, dir)
    }

    fn open_path(path: &Path) -> OwnedFd {
        rustix::fs::open(path, FOLDER, Mode::empty()).expect("opens")
    }

    /// Every case by the kernel's resolution and by the walk.
    fn both(dir: &OwnedFd, name: &str) -> [Option<Fault>; 2] {
        let walked = walk(dir.as_fd(), name, PATH).map_err(fault).and_then(|fd| {
            let stat = fstat(&fd).map_err(fault)?;
            if is_regular(&stat) { Ok(()) } else { Err(Fault::NotRegular) }
        });
        [open_file(dir.as_fd(), name).err(), walked.err()]
    }

    #[test]
    fn links_are_not_followed_and_folders_not_files() {
        // hostile: 60
        let (_temp, dir) = tree();
        assert_eq!(both(&dir, "plain"), [None, None]);
        assert_eq!(both(&dir, "in/deep/file"), [None, None]);
        for name in ["to-inside", "to-outside", "dangling", "loop", "in/deep", "in"] {
            assert_eq!(both(&dir, name), [Some(Fault::NotRegular); 2], "{name}");
        }
        let [kernel, walked] = both(&dir, "folder-link/file");
        assert!(kernel.is_some() && walked.is_some(), "{kernel:?} {walked:?}");
        assert_eq!(both(&dir, "nothing"), [Some(Fault::NotFound); 2]);
    }

    #[test]
    fn names_that_leave_the_folder_are_refused_before_any_call() {
        // hostile: 59
        let (_temp, dir) = tree();
        for name in
            ["", ".", "..", "/etc/passwd", "../outside/secret", "in/../../x", "in//deep", "a\0b", "in/"]
        {
            assert_eq!(open_file(dir.as_fd(), name).err(), Some(Fault::NotFound), "{name:?}");
        }
    }

    #[test]
    fn fifos_sockets_and_devices_are_refused_at_once() {
        // hostile: 61
        let (_temp, dir) = tree();
        rustix::fs::mkfifoat(&dir, "fifo", Mode::from_raw_mode(0o600)).expect("a fifo");
        let temp = tempfile::tempdir().expect("a temporary folder");
        let path = temp.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        assert_eq!(open_file(dir.as_fd(), "fifo").err(), Some(Fault::NotRegular));
        assert_eq!(open_file(open_path(temp.path()).as_fd(), "socket").err(), Some(Fault::NotRegular));
        let dev = open_path(Path::new("/dev"));
        for name in ["null", "zero", "tty"] {
            assert_eq!(open_file(dev.as_fd(), name).err(), Some(Fault::NotRegular), "{name}");
        }
    }

    #[test]
    fn folders_are_made_and_links_in_their_place_refused() {
        let (temp, dir) = tree();
        let made = |name| make_folder(dir.as_fd(), name).map(|(_, made)| made);
        assert_eq!([made("in"), made("new"), made("new")], [Ok(false), Ok(true), Ok(false)]);
        assert!(temp.path().join("root/new").is_dir());
        assert_eq!([made("folder-link"), made("plain")], [Err(Errno::NOTDIR); 2]);
    }
}
