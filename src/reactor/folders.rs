//! The folders of a node: checked, made, opened once and held; leftovers of a killed process swept.

use super::beneath;
use super::system::{self, Use};
use crate::config::{FileFolders, IMPORT_PREFIX, JOURNAL_SUFFIX, PART_PREFIX, PART_SUFFIX};
use crate::machine::{Dir, Fault};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat, StatxFlags};
use rustix::fs::{flock, fstat, mkdirat, open, openat, statat, statx, unlinkat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The unfinished downloads' folder inside the downloads.
const PARTS: &str = ".parts";

/// Why a reactor cannot start. `Display` gives the sentence a person reads.
#[derive(Debug)]
pub enum StartError {
    /// A folder could not be made or opened.
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        fault: Fault,
    },
    /// A folder that must not be offered to others.
    NotShareable {
        /// The folder.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A folder that is the system's, or somebody else's.
    SystemFolder {
        /// The folder as it was given.
        path: PathBuf,
        /// Where it really lies.
        real: PathBuf,
        /// Why it is the system's, as the end of a sentence.
        why: String,
        /// What it was to be used for: `--shared` or `--downloads`.
        option: &'static str,
    },
    /// The state folder can be changed by other users.
    NotPrivate {
        /// The folder.
        path: PathBuf,
    },
    /// The key that makes this node what it is can be read or changed by other users.
    Exposed {
        /// Its file.
        path: PathBuf,
        /// It belongs to this user; none: it is ours, and its mode is too wide.
        owner: Option<u32>,
    },
    /// Another process works in the state folder.
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// Unfinished downloads would lie on another file system than finished ones.
    OtherFileSystem {
        /// The folder of unfinished downloads.
        path: PathBuf,
    },
    /// The poll, a signal handler or the like.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Folder { path, fault } => write!(f, "cannot use the folder {path:?}: {fault}"),
            StartError::NotShareable { path, why } => {
                write!(f, "will not share {path:?}: it is {why}; choose a folder of its own with --shared")
            }
            StartError::SystemFolder { path, real, why, option } => {
                let act = if *option == "--shared" { "share" } else { "put downloads into" };
                let it = if path == real { "it".to_owned() } else { format!("it is {real:?}, which") };
                write!(
                    f,
                    "will not {act} {path:?}: {it} {why}; choose a folder of your own with {option}, \
                     or add --allow-system if you mean it"
                )
            }
            StartError::NotPrivate { path } => write!(
                f,
                "the state folder {path:?} belongs to or can be changed by other users: \
                 make it yours and run `chmod 700 {}`",
                path.display()
            ),
            StartError::Exposed { path, owner: Some(owner) } => write!(
                f,
                "{path:?} belongs to another user (number {owner}), and is this node's secret key: make it yours with chown, \
                 or remove it, and the node gets a new one"
            ),
            StartError::Exposed { path, owner: None } => write!(
                f,
                "other users may read or change {path:?}, this node's secret key: run `chmod 600 {}`, \
                 and if they did, remove it: the node gets a new one",
                path.display()
            ),
            StartError::Locked { path } => write!(
                f,
                "the state folder {path:?} is in use by another process: \
                 stop that one or choose another folder with --state"
            ),
            StartError::OtherFileSystem { path } => write!(
                f,
                "{path:?} lies on another file system than the downloads around it: \
                 remove it or choose another folder with --downloads"
            ),
            StartError::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> StartError {
        StartError::System(error)
    }
}

/// The open folders of a peer.
#[derive(Debug)]
pub(super) struct FolderHandles {
    shared: OwnedFd,
    downloads: OwnedFd,
    parts: OwnedFd,
    /// [`FileFolders::keep_free`].
    pub(super) keep_free: Option<u64>,
}

impl FolderHandles {
    /// Makes what is missing, refuses what must not be shared, opens all, sweeps.
    pub(super) fn open(folders: &FileFolders, state: &Path, home: Option<&Path>) -> Result<Self, StartError> {
        refuse_sharing(&folders.shared, state, home)?;
        // Before anything is made there.
        refuse_system(&folders.shared, Use::Sharing, folders.allow_system)?;
        refuse_system(&folders.downloads, Use::Downloads, folders.allow_system)?;
        let shared = open_folder(&folders.shared, 0o755)?;
        let downloads = open_folder(&folders.downloads, 0o755)?;
        let path = folders.downloads.join(PARTS);
        let failed = |errno| StartError::Folder { path: path.clone(), fault: beneath::fault(errno) };
        match mkdirat(&downloads, PARTS, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parts = openat(&downloads, PARTS, flags, Mode::empty()).map_err(failed)?;
        if !same_mount(&downloads, &parts).map_err(failed)? {
            return Err(StartError::OtherFileSystem { path });
        }
        let handles = FolderHandles { shared, downloads, parts, keep_free: folders.keep_free };
        sweep(&handles.parts, PART_PREFIX);
        sweep_parts(&handles.parts);
        sweep(&handles.shared, IMPORT_PREFIX);
        Ok(handles)
    }

    pub(super) fn get(&self, dir: Dir) -> BorrowedFd<'_> {
        match dir {
            Dir::Shared => self.shared.as_fd(),
            Dir::Downloads => self.downloads.as_fd(),
            Dir::Parts => self.parts.as_fd(),
        }
    }
}

/// Makes a folder, and those above it, and opens it.
pub(super) fn open_folder(path: &Path, mode: u32) -> Result<OwnedFd, StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |fault| StartError::Folder { path: path.to_owned(), fault };
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|error| failed(Fault::of(&error)))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| failed(beneath::fault(errno)))
}

fn refuse_sharing(shared: &Path, state: &Path, home: Option<&Path>) -> Result<(), StartError> {
    let refuse = |why| Err(StartError::NotShareable { path: shared.to_owned(), why });
    let failed = |error: io::Error| StartError::Folder { path: shared.to_owned(), fault: Fault::of(&error) };
    let ours = match fs::metadata(shared) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(failed)?,
    };
    let is = |path: &Path| {
        fs::metadata(path).is_ok_and(|other| (other.dev(), other.ino()) == (ours.dev(), ours.ino()))
    };
    if is(Path::new("/")) {
        return refuse("the root of all files");
    }
    if home.is_some_and(is) {
        return refuse("the home folder");
    }
    let home = home.and_then(|home| fs::canonicalize(home).ok());
    if home.is_some_and(|home| home.ancestors().skip(1).any(is)) {
        return refuse("a folder above the home folder");
    }
    let state = fs::canonicalize(state).map_err(failed)?;
    if is(&state) {
        return refuse("the state folder");
    }
    if state.ancestors().skip(1).any(is) {
        return refuse("a folder above the state folder");
    }
    Ok(())
}

/// A folder of the system is taken only from somebody who insists.
fn refuse_system(path: &Path, purpose: Use, allowed: bool) -> Result<(), StartError> {
    let look = system::look(path);
    let look =
        look.map_err(|error| StartError::Folder { path: path.to_owned(), fault: Fault::of(&error) })?;
    let Some((look, why)) = look.and_then(|look| system::why_not(&look, purpose).map(|why| (look, why)))
    else {
        return Ok(());
    };
    if allowed {
        log::warn!("--allow-system: {path:?} is used although it {why}");
        return Ok(());
    }
    let option = match purpose {
        Use::Sharing => "--shared",
        Use::Downloads => "--downloads",
    };
    Err(StartError::SystemFolder { path: path.to_owned(), real: look.path, why, option })
}

/// Whether a rename from one folder to the other can work. The device alone does not tell: a folder may be mounted
/// twice.
fn same_mount(a: &OwnedFd, b: &OwnedFd) -> Result<bool, Errno> {
    if fstat(a)?.st_dev != fstat(b)?.st_dev {
        return Ok(false);
    }
    let mount = |fd: &OwnedFd| {
        let stat = statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
        (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id)
    };
    Ok(match (mount(a), mount(b)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    })
}

/// Removes what a killed process left: temporary files of our own pattern, regular, ours, locked by nobody.
fn sweep(dir: &OwnedFd, prefix: &str) {
    let Ok(entries) = rustix::fs::Dir::read_from(dir) else { return };
    let mut removed = 0;
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if is_temporary(name, prefix) && remove_if_left(dir, name).is_some() {
            removed += 1;
        }
    }
    if removed > 0 {
        log::info!("removed {removed} unfinished files of an earlier run");
    }
}

fn remove_if_left(dir: &OwnedFd, name: &str) -> Option<()> {
    let left = left(dir, name)?;
    unlinkat(dir, name, AtFlags::empty()).ok()?;
    drop(left);
    Some(())
}

/// A regular file of ours that nobody works in, locked so that nobody begins to while it is held.
fn left(dir: &OwnedFd, name: &str) -> Option<(OwnedFd, Stat)> {
    let is_ours =
        |stat: &Stat| beneath::is_regular(stat) && stat.st_uid == rustix::process::geteuid().as_raw();
    // Looked at before it is opened: opening a device does things.
    if !is_ours(&statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?) {
        return None;
    }
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty()).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let stat = fstat(&file).ok()?;
    is_ours(&stat).then_some((file, stat))
}

/// Removes what no download can go on from: a part without its journal, a journal without its part, both of them where
/// the journal is empty, or where the part has another name, too. It got its final one by a link then, and its process was
/// killed before it took the old one away; whoever else gave it a name keeps that, and what is in it.
fn sweep_parts(dir: &OwnedFd) {
    let Ok(entries) = rustix::fs::Dir::read_from(dir) else { return };
    let mut halves: BTreeMap<String, [bool; 2]> = BTreeMap::new();
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        for (half, suffix) in [PART_SUFFIX, JOURNAL_SUFFIX].into_iter().enumerate() {
            if let Some(stem) = name.strip_suffix(suffix).filter(|stem| is_hex(stem, 64)) {
                halves.entry(stem.to_owned()).or_default()[half] = true;
            }
        }
    }
    let mut removed = 0;
    for (stem, there) in halves {
        let [part, journal] = [PART_SUFFIX, JOURNAL_SUFFIX].map(|suffix| format!("{stem}{suffix}"));
        let single = |name: &str| left(dir, name).filter(|(_, stat)| stat.st_nlink == 1);
        // Held until they are gone.
        let (locked, names) = match there {
            [true, true] => {
                let both = single(&journal).zip(left(dir, &part));
                let over =
                    |(journal, part): &((_, Stat), (_, Stat))| journal.1.st_size == 0 || part.1.st_nlink > 1;
                (both.filter(over).map(|(journal, part)| vec![journal, part]), vec![part, journal])
            }
            [true, false] => (left(dir, &part).map(|part| vec![part]), vec![part]),
            _ => (single(&journal).map(|journal| vec![journal]), vec![journal]),
        };
        if locked.is_none() {
            continue;
        }
        for name in names {
            match unlinkat(dir, &*name, AtFlags::empty()) {
                Ok(()) => removed += 1,
                Err(errno) => log::warn!("cannot remove {name:?}: {errno}"),
            }
        }
    }
    if removed > 0 {
        log::info!("removed {removed} files of downloads that had not begun or are over");
    }
}

/// The prefix and 16 lower-case hex digits.
pub(super) fn is_temporary(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| is_hex(rest, 16))
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Place {
        temp: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Place {
            let place = Place { temp: tempfile::tempdir().expect("a temporary folder") };
            fs::create_dir_all(place.at("home/me/var/state")).expect("folders");
            place
        }

        fn at(&self, path: &str) -> PathBuf {
            self.temp.path().join(path)
        }

        fn open(&self, shared: &Path) -> Result<FolderHandles, StartError> {
            let folders = FileFolders {
                shared: shared.to_owned(),
                downloads: self.at("downloads"),
                allow_system: false,
                keep_free: None,
            };
            FolderHandles::open(&folders, &self.at("home/me/var/state"), Some(&self.at("home/me")))
        }
    }

    #[test]
    fn folders_above_the_state_are_not_shared() {
        // hostile: 175
        let place = Place::new();
        symlink(place.at("home/me"), place.at("alias")).expect("a link");
        for (path, why) in [
            (PathBuf::from("/"), "root"),
            (place.at("home/me"), "home folder"),
            (place.at("alias"), "home folder"),
            (place.at("home/me/var/state"), "state folder"),
            (place.at("home"), "above the home folder"),
            (place.at("home/me/var"), "above the state folder"),
            (place.temp.path().to_owned(), "above the home folder"),
        ] {
            let error = place.open(&path).expect_err("refused").to_string();
            assert!(error.contains(why) && error.contains("will not share"), "{error}");
        }
        place.open(&place.at("home/me/files")).expect("a folder of its own is fine");
        assert!(place.at("home/me/files").is_dir() && place.at("downloads/.parts").is_dir());
    }

    #[test]
    fn a_link_as_parts_folder_is_refused() {
        // hostile: 164
        let place = Place::new();
        fs::create_dir_all(place.at("downloads")).expect("a folder");
        fs::create_dir_all(place.at("elsewhere")).expect("a folder");
        symlink(place.at("elsewhere"), place.at("downloads/.parts")).expect("a link");
        let error = place.open(&place.at("files")).expect_err("refused").to_string();
        assert!(error.contains(".parts"), "{error}");
    }

    #[test]
    fn unfinished_downloads_stay_in_pairs_and_halves_of_them_go() {
        // hostile: 171, 180
        let place = Place::new();
        place.open(&place.at("files")).expect("opens");
        let parts = |name: &str| place.at("downloads/.parts").join(name);
        let write = |name: &str, content: &[u8]| fs::write(parts(name), content).expect("a file");
        let stem = |c: char| c.to_string().repeat(64);
        let pair = |c: char| [PART_SUFFIX, JOURNAL_SUFFIX].map(|suffix| stem(c) + suffix);
        let [part_only, _] = pair('1');
        let [_, journal_only] = pair('2');
        let [empty_part, empty_journal] = pair('3');
        for name in [&part_only, &journal_only, &empty_part] {
            write(name, b"x");
        }
        write(&empty_journal, b"");

        // Whole pairs, one that another process works in, and what only looks like one.
        let mut stay = Vec::new();
        for c in ['a', 'b', 'c'] {
            let [part, journal] = pair(c);
            write(&part, if c == 'a' { b"" } else { b"x" });
            write(&journal, if c == 'a' { b"j" } else { b"" });
            stay.extend([part, journal]);
        }
        let locked = |name: &str| {
            let file = fs::File::open(parts(name)).expect("opens");
            flock(&file, FlockOperation::NonBlockingLockExclusive).expect("locked");
            file
        };
        let _in_use = (locked(&pair('b')[0]), locked(&pair('c')[1]));
        // Killed between the link and the end of the old name; and before the journal said anything.
        let mut go = vec![part_only, journal_only, empty_part, empty_journal];
        for (c, journal) in [('d', b"j".as_slice()), ('8', b"")] {
            let names = pair(c);
            write(&names[0], b"whole");
            write(&names[1], journal);
            fs::hard_link(parts(&names[0]), place.at("downloads").join(format!("done-{c}"))).expect("a link");
            go.extend(names);
        }
        for name in [
            stem('e') + ".PART",
            stem('E') + ".part",
            stem('e') + "e.part",
            stem('e')[1..].to_owned() + ".jnl",
            stem('e') + ".part.jnl",
            "mine".to_owned(),
        ] {
            write(&name, b"x");
            stay.push(name);
        }
        let [link, folder] = ['f', '0'].map(|c| pair(c)[0].clone());
        symlink(parts("mine"), parts(&link)).expect("a link");
        fs::create_dir(parts(&folder)).expect("a folder");
        let [fifo_part, fifo] = pair('9');
        write(&fifo_part, b"x");
        rustix::fs::mkfifoat(rustix::fs::CWD, parts(&fifo), Mode::from_raw_mode(0o600)).expect("a fifo");
        stay.extend([link, folder, fifo_part, fifo]);

        place.open(&place.at("files")).expect("opens");
        for name in stay {
            assert!(parts(&name).symlink_metadata().is_ok(), "{name}");
        }
        for name in go {
            assert!(!parts(&name).exists(), "{name}");
        }
        for name in ["done-d", "done-8"] {
            assert_eq!(fs::read(place.at("downloads").join(name)).expect("it is there"), b"whole");
        }
    }

    #[test]
    fn leftovers_of_our_own_pattern_go_and_nothing_else() {
        // hostile: 180
        let place = Place::new();
        place.open(&place.at("files")).expect("opens");
        let parts = |name: &str| place.at("downloads/.parts").join(name);
        let stay = ["v1-0123456789abcdeX", "v1-0123456789abcde", "v2-0123456789abcdef", "notes"];
        for name in stay {
            fs::write(parts(name), b"x").expect("a file");
        }
        symlink(parts("notes"), parts("v1-00000000000000aa")).expect("a link");
        fs::create_dir(parts("v1-00000000000000ab")).expect("a folder");
        fs::write(parts("v1-00000000000000ac"), b"left").expect("a file");
        fs::write(parts("v1-00000000000000ad"), b"in use").expect("a file");
        let used = fs::File::open(parts("v1-00000000000000ad")).expect("opens");
        flock(&used, FlockOperation::NonBlockingLockExclusive).expect("locked");
        fs::write(place.at("files/.share-0123456789abcdef"), b"left").expect("a file");
        fs::write(place.at("files/.share-mine"), b"mine").expect("a file");

        place.open(&place.at("files")).expect("opens");
        for name in stay {
            assert!(parts(name).exists(), "{name}");
        }
        for (name, there) in [("aa", true), ("ab", true), ("ac", false), ("ad", true)] {
            let path = parts(&format!("v1-00000000000000{name}"));
            assert_eq!(path.symlink_metadata().is_ok(), there, "{name}");
        }
        assert!(!place.at("files/.share-0123456789abcdef").exists());
        assert!(place.at("files/.share-mine").exists());
    }
}
