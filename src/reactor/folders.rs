//! The folders of a node: checked, made, held open, and opened again where their paths mean other ones; leftovers of a
//! killed process swept.

mod held;
mod leftovers;

use super::beneath;
use super::system::{self, Use};
use crate::config::{FileFolders, PART_PREFIX};
use crate::machine::{Dir, Fault};
use held::Held;
use leftovers::{sweep, sweep_imports, sweep_parts};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::fs::{accessat, mkdirat, open, openat};
use rustix::io::Errno;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[cfg(test)]
pub(super) use leftovers::is_temporary;

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
    /// The node's key cannot be read or replaced.
    Key {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        fault: Fault,
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
            StartError::Key { path, fault } => {
                write!(
                    f,
                    "cannot read or replace {path:?}, the node's key: {fault}; if it is none, remove it"
                )
            }
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

impl StartError {
    /// The folder is what it should be, but nothing can be put there.
    fn is_of_access(&self) -> bool {
        let of_access =
            |fault: &Fault| matches!(fault, Fault::Denied | Fault::ReadOnly | Fault::NoSpace | Fault::Quota);
        matches!(self, StartError::Folder { fault, .. } if of_access(fault))
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> StartError {
        StartError::System(error)
    }
}

/// The folders of a peer, held open.
#[derive(Debug)]
pub(super) struct FolderHandles {
    config: FileFolders,
    state: PathBuf,
    home: Option<PathBuf>,
    shared: Held,
    downloads: Held,
    /// Beneath the downloads, unless those cannot be used.
    parts: Result<OwnedFd, Fault>,
}

impl FolderHandles {
    /// Makes what is missing, refuses what must not be shared, opens all, sweeps. Downloads that cannot be saved hinder nobody
    /// who shares, unless the operator named their folder.
    pub(super) fn open(folders: &FileFolders, state: &Path, home: Option<&Path>) -> Result<Self, StartError> {
        let mut handles = FolderHandles {
            config: folders.clone(),
            state: state.to_owned(),
            home: home.map(Path::to_owned),
            shared: Held::new(&folders.shared, true),
            downloads: Held::new(&folders.downloads, false),
            parts: Err(Fault::NoFolder),
        };
        // Before anything is made there.
        handles.refuse_shared()?;
        refuse_system(&folders.downloads, Use::Downloads, folders.allow_system)?;
        make_folder(&folders.shared, 0o755)?;
        handles.shared.look();
        let shared = handles.get(Dir::Shared);
        let shared = shared.map_err(|fault| StartError::Folder { path: folders.shared.clone(), fault })?;
        sweep_imports(shared);
        match handles.ready_downloads() {
            Err(error) if folders.named_downloads || !error.is_of_access() => return Err(error),
            Err(error) => log::warn!(
                "downloads cannot be saved: {error}; start in a folder of your own or name one with --downloads"
            ),
            Ok(()) => {}
        }
        if let Ok(parts) = &handles.parts {
            sweep(parts.as_fd(), PART_PREFIX);
            sweep_parts(parts.as_fd());
        }
        Ok(handles)
    }

    pub(super) fn get(&self, dir: Dir) -> Result<BorrowedFd<'_>, Fault> {
        match dir {
            Dir::Shared => self.shared.get(),
            Dir::Downloads => self.downloads.get(),
            Dir::Parts => self.parts.as_ref().map(AsFd::as_fd).map_err(|&fault| fault),
        }
    }

    /// [`FileFolders::keep_free`].
    pub(super) fn keep_free(&self) -> Option<u64> {
        self.config.keep_free
    }

    /// Looks at what the path of the shared folder means now, and says what changed. `true`: another folder, or none.
    pub(super) fn look_at_shared(&mut self) -> bool {
        if !self.shared.look() {
            return false;
        }
        let path = self.shared.path().to_owned();
        if let Err(error) = self.refuse_shared() {
            self.shared.refuse();
            log::error!("the path of the shared folder means another one now: {error}");
        } else if let Err(fault) = self.shared.get() {
            log::warn!("nothing is shared until {path:?} is back: {fault}");
        } else {
            log::warn!("{path:?} is another folder than before: it is read anew");
        }
        true
    }

    fn refuse_shared(&self) -> Result<(), StartError> {
        refuse_sharing(&self.config.shared, &self.state, self.home.as_deref())?;
        refuse_system(&self.config.shared, Use::Sharing, self.config.allow_system)
    }

    /// What may not be shared where it lies is not copied into the shared folder either.
    pub(super) fn refuse_copy(&self, folder: &Path) -> Result<(), Fault> {
        let refused = refuse_sharing(folder, &self.state, self.home.as_deref())
            .and_then(|()| refuse_system(folder, Use::Sharing, self.config.allow_system));
        refused.map_err(|error| {
            log::info!("{error}");
            Fault::NotForSharing
        })
    }

    /// Before a download begins or goes on: its folders are opened again, or made, where they are no longer what they were.
    pub(super) fn ready_downloads(&mut self) -> Result<(), StartError> {
        let ready = self.open_downloads();
        if let Err(error) = &ready {
            self.parts = Err(match error {
                StartError::Folder { fault, .. } => *fault,
                StartError::OtherFileSystem { .. } => Fault::NotRegular,
                _ => Fault::Denied,
            });
        }
        ready
    }

    fn open_downloads(&mut self) -> Result<(), StartError> {
        let path = self.config.downloads.clone();
        let failed = |fault| StartError::Folder { path: path.clone(), fault };
        let mut another = self.downloads.look();
        if matches!(self.downloads.get(), Err(Fault::NoFolder)) {
            make_folder(&path, 0o755)?;
            another |= self.downloads.look();
        }
        if another {
            refuse_system(&path, Use::Downloads, self.config.allow_system)
                .inspect_err(|_| self.downloads.refuse())?;
        }
        let downloads = self.downloads.get().map_err(failed)?;
        accessat(downloads, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())
            .map_err(|errno| failed(beneath::fault(errno)))?;
        if !self.parts.as_ref().is_ok_and(|parts| beneath::is_under(downloads, PARTS, parts)) {
            self.parts = Ok(open_parts(downloads, &path.join(PARTS))?);
        }
        Ok(())
    }
}

fn open_parts(downloads: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, StartError> {
    let failed = |errno| StartError::Folder { path: path.to_owned(), fault: beneath::fault(errno) };
    match mkdirat(downloads, PARTS, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parts = openat(downloads, PARTS, flags, Mode::empty()).map_err(failed)?;
    if beneath::same_mount(downloads, parts.as_fd()).map_err(failed)? {
        Ok(parts)
    } else {
        Err(StartError::OtherFileSystem { path: path.to_owned() })
    }
}

/// Makes a folder, and those above it.
fn make_folder(path: &Path, mode: u32) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|error| StartError::Folder { path: path.to_owned(), fault: Fault::of(&error) })
}

/// Makes a folder, and those above it, and opens it.
pub(super) fn open_folder(path: &Path, mode: u32) -> Result<OwnedFd, StartError> {
    make_folder(path, mode)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty())
        .map_err(|errno| StartError::Folder { path: path.to_owned(), fault: beneath::fault(errno) })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{JOURNAL_SUFFIX, PART_SUFFIX};
    use rustix::fs::{FlockOperation, flock, fstat};
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
            let folders = FileFolders::new(shared, self.at("downloads"));
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

    /// What is in the shared folder as it is held, and whether that is news.
    fn look(handles: &mut FolderHandles) -> (bool, Result<Vec<String>, Fault>) {
        let news = handles.look_at_shared();
        let names = handles.get(Dir::Shared).map(|dir| {
            let entries = rustix::fs::Dir::read_from(dir).expect("a folder").flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            names.filter(|name| !name.starts_with('.')).collect()
        });
        (news, names)
    }

    #[test]
    fn the_path_of_the_shared_folder_may_mean_another_one_later() {
        let place = Place::new();
        let (shared, aside) = (place.at("files"), place.at("aside"));
        let mut handles = place.open(&shared).expect("opens");
        let write = |name: &str| fs::write(shared.join(name), b"x").expect("a file");
        let is = |name: &str| Ok(vec![name.to_owned()]);
        write("first");
        assert_eq!(look(&mut handles), (false, is("first")));
        fs::rename(&shared, &aside).expect("moved");
        assert_eq!(look(&mut handles), (true, Err(Fault::NoFolder)));
        assert_eq!(look(&mut handles), (false, Err(Fault::NoFolder)));
        fs::create_dir(&shared).expect("made");
        write("second");
        assert_eq!(look(&mut handles), (true, is("second")));
        // Removed and made anew between two looks; a file; the old one back; a link, switched.
        fs::remove_dir_all(&shared).expect("removed");
        fs::create_dir(&shared).expect("made");
        write("third");
        assert_eq!(look(&mut handles), (true, is("third")));
        fs::rename(&shared, place.at("third")).expect("moved");
        fs::write(&shared, b"a file").expect("a file");
        assert!(look(&mut handles).1.is_err());
        fs::remove_file(&shared).expect("removed");
        fs::rename(&aside, &shared).expect("moved back");
        assert_eq!(look(&mut handles), (true, is("first")));
        fs::rename(&shared, &aside).expect("moved");
        symlink(&aside, &shared).expect("a link");
        assert_eq!(look(&mut handles), (false, is("first")), "the same one");
        fs::remove_file(&shared).expect("removed");
        symlink(place.at("third"), &shared).expect("a link");
        assert_eq!(look(&mut handles), (true, is("third")));
        // What must not be shared is not shared because a link leads there now.
        // hostile: 175
        for (forbidden, news) in [(place.at("home/me"), true), (PathBuf::from("/usr"), true)] {
            fs::remove_file(&shared).expect("removed");
            symlink(&forbidden, &shared).expect("a link");
            assert_eq!(look(&mut handles), (news, Err(Fault::Denied)), "{forbidden:?}");
            assert_eq!(look(&mut handles), (false, Err(Fault::Denied)), "{forbidden:?}");
        }
    }

    #[test]
    fn downloads_that_went_away_are_made_again() {
        let place = Place::new();
        let mut handles = place.open(&place.at("files")).expect("opens");
        let (downloads, parts) = (place.at("downloads"), place.at("downloads/.parts"));
        let removals: [&dyn Fn(); 4] = [
            &|| fs::remove_dir_all(&downloads).expect("removed"),
            &|| fs::remove_dir_all(&parts).expect("removed"),
            &|| fs::rename(&downloads, place.at("moved")).expect("moved"),
            &|| {
                fs::remove_dir_all(&downloads).expect("removed");
                fs::create_dir(&downloads).expect("made");
            },
        ];
        for (i, remove) in removals.into_iter().enumerate() {
            remove();
            handles.ready_downloads().expect("made again");
            let part = handles.get(Dir::Parts).expect("open").try_clone_to_owned().expect("a descriptor");
            assert!(beneath::is_under(handles.get(Dir::Downloads).expect("open"), PARTS, &part), "{i}");
            let ours = fs::metadata(&parts).expect("it is there");
            let held = fstat(&part).expect("open");
            assert_eq!((ours.dev(), ours.ino()), (held.st_dev, held.st_ino), "{i}");
        }
        // Something else has the name: said, and over when it is gone.
        fs::remove_dir_all(&downloads).expect("removed");
        fs::write(&downloads, b"in the way").expect("a file");
        assert!(handles.ready_downloads().is_err() && handles.get(Dir::Parts).is_err());
        fs::remove_file(&downloads).expect("removed");
        handles.ready_downloads().expect("made again");
        assert!(handles.get(Dir::Parts).is_ok());
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
