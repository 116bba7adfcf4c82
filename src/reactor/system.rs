//! Which folders are the system's. They are neither offered to others nor filled with downloads unless the operator
//! insists: what the folder is called, who owns it and what is mounted there decide, and no environment variable.

use rustix::fs::statfs;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Folders of the root that are the system's (Filesystem Hierarchy Standard), or hold what is its users' alone.
const TOPS: [&str; 16] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin",
    "sys", "usr", "var",
];

/// Folders in which each entry is somebody's home, and homes. Some systems have links to below `/var` in `/`.
const HOMES: [&str; 3] = ["/home", "/var/home", "/run/user"];
const HOMES_OF_ROOT: [&str; 2] = ["/root", "/var/roothome"];

/// What lies below the system's folders by tradition only.
const OPEN_TO_ALL: [&str; 3] = ["/var/tmp", "/var/mnt", "/var/srv"];
const SHARED_MEMORY: &str = "/dev/shm";
/// Where a desktop mounts disks that are plugged in.
const DISKS: &str = "/run/media";

/// File systems that the kernel makes up, by the number `statfs` gives (`linux/magic.h`). Not those that people keep
/// files on: `tmpfs` and `overlay` are none of them.
const PSEUDO: [(u32, &str); 24] = [
    (0x0000_1cd1, "devpts"),
    (0x0000_9fa0, "proc"),
    (0x0000_9fa1, "openpromfs"),
    (0x0765_5821, "resctrl"),
    (0x1980_0202, "mqueue"),
    (0x0027_e0eb, "cgroup"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x4341_5d53, "smackfs"),
    (0x5a3c_69f0, "apparmorfs"),
    (0x6165_676c, "pstore"),
    (0x6265_6570, "configfs"),
    (0x6265_6572, "sysfs"),
    (0x6367_7270, "cgroup2"),
    (0x6462_6720, "debugfs"),
    (0x6573_5543, "fusectl"),
    (0x6759_6969, "rpc_pipefs"),
    (0x6c6f_6f70, "binder"),
    (0x6e66_7364, "nfsd"),
    (0x6e73_6673, "nsfs"),
    (0x7363_6673, "securityfs"),
    (0x7472_6163, "tracefs"),
    (0xcafe_4a11, "bpf"),
    (0xde5e_81e4, "efivarfs"),
    (0xf97c_ff8c, "selinuxfs"),
];

/// What a folder is to be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Sharing,
    Downloads,
}

/// What there is to know about a folder.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// Where it really lies: no links, no `..`.
    pub(super) path: PathBuf,
    pub(super) owner: u32,
    /// The user this process acts as.
    pub(super) us: u32,
    /// What `statfs` says.
    pub(super) kind: u32,
    /// It lies on another device than `/run`.
    pub(super) apart: bool,
}

/// Why a folder is the system's, or somebody's, as the end of a sentence that begins with `it`. Below a folder of the
/// system only a folder of the user's own is none of its; for root, who owns all of them, only one inside a home.
pub(super) fn why_not(look: &Look, purpose: Use) -> Option<String> {
    if let Some((_, name)) = PSEUDO.iter().find(|(kind, _)| *kind == look.kind) {
        return Some(format!("lies on {name}, where the kernel shows its own state and no files are kept"));
    }
    let top = top(&look.path)?;
    if is_traditional(look) {
        return None;
    }
    if let Some(inside) = inside_home(&look.path) {
        return why_not_inside(inside, look, purpose);
    }
    let is_top = look.path.components().count() == 2;
    match look.owner == look.us && look.us != 0 && !is_top {
        true => None,
        false if is_top => Some("is a folder of the system".to_owned()),
        false => Some(format!("lies in /{top}, a folder of the system")),
    }
}

fn why_not_inside(inside: &Path, look: &Look, purpose: Use) -> Option<String> {
    let first = inside.components().next();
    let hidden = first.is_some_and(|first| first.as_os_str().as_encoded_bytes().starts_with(b"."));
    if first.is_none() && purpose == Use::Sharing {
        return Some("is all that somebody has in their home".to_owned());
    }
    if hidden {
        return Some("lies in a hidden folder of a home, where programs keep keys and settings".to_owned());
    }
    (look.us != 0 && look.owner != look.us).then(|| "lies in a home and belongs to another user".to_owned())
}

/// The folder of the system that this one is or lies in.
fn top(path: &Path) -> Option<&'static str> {
    let first = path.components().find(|part| matches!(part, Component::Normal(_)))?;
    TOPS.into_iter().find(|top| first.as_os_str() == *top)
}

fn is_traditional(look: &Look) -> bool {
    let path = &look.path;
    let below = |folder: &str| path.strip_prefix(folder).is_ok_and(|rest| rest.components().next().is_some());
    OPEN_TO_ALL.iter().any(|folder| path.starts_with(folder))
        || below(SHARED_MEMORY)
        || (below(DISKS) && look.apart)
}

/// The way from a home to this folder; empty: it is one itself.
fn inside_home(path: &Path) -> Option<&Path> {
    if let Some(inside) = HOMES_OF_ROOT.iter().find_map(|home| path.strip_prefix(home).ok()) {
        return Some(inside);
    }
    let mut parts = HOMES.iter().find_map(|homes| path.strip_prefix(homes).ok())?.components();
    parts.next().map(|_whose| parts.as_path())
}

/// Looks at a folder, or at where it would be made. Nothing if it is none.
pub(super) fn look(path: &Path) -> io::Result<Option<Look>> {
    let (there, whole) = resolve(path)?;
    let meta = fs::metadata(&there)?;
    if !meta.is_dir() {
        return Ok(None);
    }
    let us = rustix::process::geteuid().as_raw();
    let owner = if there == whole { meta.uid() } else { us };
    // The field is of another width on each kind of processor; the numbers have 32 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let kind = statfs(&there)?.f_type as u32;
    let apart = fs::metadata("/run").is_ok_and(|run| run.dev() != meta.dev());
    Ok(Some(Look { path: unmounted(&whole), owner, us, kind, apart }))
}

/// What of a path is there, and all of it, both without links.
fn resolve(path: &Path) -> io::Result<(PathBuf, PathBuf)> {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let (there, whole) = resolve(parent)?;
            Ok((there, whole.join(name)))
        }
        (result, ..) => result.map(|real| (real.clone(), real)),
    }
}

/// The path by its name in `/` where a folder of the system is mounted a second time.
fn unmounted(path: &Path) -> PathBuf {
    let id = |meta: Metadata| (meta.dev(), meta.ino());
    // A link in `/` says nothing of what it leads to: on small boxes `/var` is a link to `/tmp`.
    let tops = TOPS.iter().map(|top| Path::new("/").join(top));
    let tops: Vec<_> =
        tops.filter_map(|top| fs::symlink_metadata(&top).ok().map(|meta| (id(meta), top))).collect();
    for ancestor in path.ancestors() {
        let Ok(meta) = fs::metadata(ancestor) else { continue };
        let ours = id(meta);
        if let (Some((_, top)), Ok(rest)) =
            (tops.iter().find(|(top, _)| *top == ours), path.strip_prefix(ancestor))
        {
            return top.components().chain(rest.components()).collect();
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const EXT4: u32 = 0xef53;
    const TMPFS: u32 = 0x0102_1994;
    const ROOT: u32 = 0;
    const ANN: u32 = 1000;
    const BOB: u32 = 1001;

    fn said(path: &str, owner: u32, us: u32, kind: u32, apart: bool, purpose: Use) -> String {
        let look = Look { path: path.into(), owner, us, kind, apart };
        why_not(&look, purpose).unwrap_or_default()
    }

    fn sharing(path: &str, owner: u32, us: u32) -> String {
        said(path, owner, us, EXT4, false, Use::Sharing)
    }

    #[test]
    fn the_system_s_folders_are_its_own_and_what_people_use_is_not() {
        // hostile: 175
        for top in TOPS.iter().filter(|top| **top != "root") {
            for (owner, us) in [(ROOT, ROOT), (ROOT, ANN), (ANN, ANN)] {
                assert_eq!(sharing(&format!("/{top}"), owner, us), "is a folder of the system", "{top}");
            }
        }
        for path in
            ["/etc/ssl", "/usr/share/doc", "/var/lib/x", "/proc/1", "/dev/block", "/run/media/ann/disk"]
        {
            for us in [ROOT, ANN] {
                assert!(sharing(path, ROOT, us).ends_with(", a folder of the system"), "{path} {us}");
            }
        }
        for path in
            ["/srv/x", "/mnt/disk", "/media/ann/disk", "/data", "/opt/x", "/tmp/x", "/tmp", "/volume1/x"]
        {
            for us in [ROOT, ANN] {
                assert_eq!(sharing(path, ROOT, us), "", "{path} {us}");
            }
        }
        for path in ["/var/tmp/x", "/var/tmp", "/var/mnt/disk", "/var/srv/x", "/dev/shm/x"] {
            assert_eq!(sharing(path, ROOT, ROOT), "", "{path}");
        }
        assert!(sharing("/dev/shm", ROOT, ROOT).contains("/dev"));
        // A user of its own for the node, with a folder for it.
        assert_eq!(sharing("/var/lib/distrishare", ANN, ANN), "");
        assert!(sharing("/var/lib/distrishare", BOB, ANN).contains("/var"));
        // Names only look alike.
        assert_eq!(sharing("/etcetera", ROOT, ROOT), "");
    }

    #[test]
    fn homes_are_not_shared_and_folders_in_them_by_their_owner_and_by_root() {
        // hostile: 175
        for (path, owner, us) in [
            ("/home/ann/x", ANN, ANN),
            ("/home/ann/x/.y", ANN, ANN),
            ("/var/home/ann/x", ANN, ANN),
            ("/home/ann/x", ANN, ROOT),
            ("/home/ann/x", ROOT, ROOT),
            ("/root/x", ROOT, ROOT),
            ("/var/roothome/x", ROOT, ROOT),
            ("/run/user/1000/x", ANN, ANN),
        ] {
            assert_eq!(sharing(path, owner, us), "", "{path} {owner} {us}");
        }
        for path in ["/root", "/home/ann", "/var/home/ann", "/run/user/1000"] {
            for us in [ROOT, ANN] {
                assert!(sharing(path, us, us).contains("all that somebody has"), "{path} {us}");
                assert_eq!(said(path, us, us, EXT4, false, Use::Downloads), "", "{path} {us}");
            }
        }
        for (path, us) in [("/root/.ssh", ROOT), ("/home/ann/.config/x", ROOT), ("/home/ann/.ssh", ANN)] {
            for purpose in [Use::Sharing, Use::Downloads] {
                assert!(said(path, us, us, EXT4, false, purpose).contains("hidden"), "{path} {us}");
            }
        }
        assert!(sharing("/home/bob/x", BOB, ANN).contains("another user"));
        assert!(sharing("/root/x", ROOT, ANN).contains("another user"));
    }

    #[test]
    fn what_is_mounted_counts() {
        // hostile: 175
        for (kind, name) in PSEUDO {
            assert!(said("/mnt/x", ANN, ANN, kind, true, Use::Sharing).contains(name), "{name}");
        }
        assert_eq!(said("/tmp/x", ANN, ANN, TMPFS, false, Use::Sharing), "");
        assert_eq!(said("/run/media/ann/disk", ROOT, ANN, EXT4, true, Use::Sharing), "");
        assert!(said("/run/media", ROOT, ROOT, TMPFS, true, Use::Sharing).contains("/run"));
    }

    #[test]
    fn links_and_what_is_not_there_yet_are_seen_through() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| temp.path().join(name);
        symlink("/etc", at("link")).expect("a link");
        fs::write(at("file"), b"x").expect("a file");
        let path = |path: &Path| look(path).expect("looks").map(|look| look.path);
        assert_eq!(path(&at("link")), Some("/etc".into()));
        assert_eq!(path(&at("link/new/newer")), Some("/etc/new/newer".into()));
        assert_eq!(path(Path::new("/usr/../etc")), Some("/etc".into()));
        assert_eq!(path(&at("file")), None);
        let new = look(&at("new")).expect("looks").expect("a folder");
        assert_eq!((new.owner, why_not(&new, Use::Sharing)), (new.us, None));
        let proc = look(Path::new("/proc/self")).expect("looks").expect("a folder");
        assert!(why_not(&proc, Use::Sharing).is_some_and(|why| why.contains("lies on proc")), "{proc:?}");
    }
}
