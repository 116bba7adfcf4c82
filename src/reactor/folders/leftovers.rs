//! What a killed process left in the folders: temporary files of our own pattern, and halves of unfinished downloads.

use super::super::beneath;
use super::super::import::Removal;
use crate::config::{IMPORT_PREFIX, JOURNAL_SUFFIX, PART_SUFFIX};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::fs::{flock, fstat, openat, statat, unlinkat};
use std::collections::BTreeMap;

/// Removes what a killed process left: temporary files of our own pattern, regular, ours, locked by nobody.
pub(super) fn sweep(dir: BorrowedFd<'_>, prefix: &str) {
    sweep_by(dir, prefix, remove_if_left);
}

/// The same of copies into the shared folder; those of folders are folders.
pub(super) fn sweep_imports(shared: BorrowedFd<'_>) {
    sweep_by(shared, IMPORT_PREFIX, |dir, name| {
        remove_if_left(dir, name).or_else(|| remove_folder_if_left(dir, name))
    });
}

fn sweep_by(dir: BorrowedFd<'_>, prefix: &str, remove: impl Fn(BorrowedFd<'_>, &str) -> Option<()>) {
    let Ok(entries) = rustix::fs::Dir::read_from(dir) else { return };
    let mut removed = 0;
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if is_temporary(name, prefix) && remove(dir, name).is_some() {
            removed += 1;
        }
    }
    if removed > 0 {
        log::info!("removed {removed} unfinished files of an earlier run");
    }
}

fn remove_if_left(dir: BorrowedFd<'_>, name: &str) -> Option<()> {
    let left = left(dir, name)?;
    unlinkat(dir, name, AtFlags::empty()).ok()?;
    drop(left);
    Some(())
}

/// Copies of a folder that was on its way into the shared one.
fn remove_folder_if_left(dir: BorrowedFd<'_>, name: &str) -> Option<()> {
    let folder = beneath::open_folder(dir, name).ok()?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive).ok()?;
    if fstat(&folder).ok()?.st_uid != rustix::process::geteuid().as_raw() {
        return None;
    }
    let mut removal = Removal::new(folder, name);
    while !removal.slice(dir) {}
    Some(())
}

/// A regular file of ours that nobody works in, locked so that nobody begins to while it is held.
fn left(dir: BorrowedFd<'_>, name: &str) -> Option<(OwnedFd, Stat)> {
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
pub(super) fn sweep_parts(dir: BorrowedFd<'_>) {
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
pub(in crate::reactor) fn is_temporary(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| is_hex(rest, 16))
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
