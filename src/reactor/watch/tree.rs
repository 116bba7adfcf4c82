//! What is watched and what changed. A folder is watched first and read for folders then, so that what appears in it
//! meanwhile is seen one way or the other; and it is told of once it is watched, so that a listing that follows sees
//! what came before.
//!
//! Paths are those the folders had when they were watched. A move is seen at both its ends: at the old one everything
//! beneath is forgotten, at the new one it is walked like any folder that came.

use super::super::beneath::open_folder;
use super::super::walk::{DEPTH, is_hidden, kind_of};
use crate::machine::Fault;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::FileType;
use rustix::fs::inotify::{Event, ReadFlags, WatchFlags, add_watch, remove_watch};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::CStr;

/// Folders watched and entries looked at in one turn.
pub(super) const SLICE: usize = 256;

/// A file is told of when it is closed, not with each write; and when somebody gives it a time, or the right to be read.
const MASK: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::EXCL_UNLINK)
    .union(WatchFlags::ONLYDIR);

/// What is told of a folder once it is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// It was there from the start.
    Nothing,
    /// It was found in one that came.
    Files,
    /// It came.
    All,
}

/// How far the watching of what was there has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    First,
    /// After events were lost: all may have changed.
    Again,
    Done,
}

/// Whether changes go unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    None,
    ToTell,
    Told,
}

/// A folder with all that is watched beneath it.
#[derive(Debug)]
pub(super) struct Tree {
    /// Watched folders by the kernel's number and by path.
    paths: BTreeMap<i32, String>,
    numbers: BTreeMap<String, i32>,
    max: usize,
    /// To be watched. Together with the watched ones not more than `max`.
    wanted: BTreeMap<String, Told>,
    /// Watched and being read.
    reading: Option<Reading>,
    /// What changed since it was told last, and whether deep.
    changed: BTreeMap<String, bool>,
    pub(super) walk: Walk,
    loss: Loss,
    /// The kernel dropped events.
    pub(super) overflown: bool,
    /// The folder itself was removed or moved, or its disk taken away.
    pub(super) root_gone: bool,
}

#[derive(Debug)]
struct Reading {
    fd: OwnedFd,
    entries: rustix::fs::Dir,
    path: String,
    told: Told,
}

impl Tree {
    pub(super) fn new(max: usize, walk: Walk) -> Tree {
        Tree {
            paths: BTreeMap::new(),
            numbers: BTreeMap::new(),
            max,
            wanted: BTreeMap::from([(String::new(), Told::Nothing)]),
            reading: None,
            changed: BTreeMap::new(),
            walk,
            loss: Loss::None,
            overflown: false,
            root_gone: false,
        }
    }

    /// Takes over what the node still has to hear, or heard.
    pub(super) fn succeed(&mut self, old: &Tree) {
        self.loss = old.loss;
        if old.walk == Walk::First {
            self.walk = Walk::First; // a listing still waits for it
        }
    }

    #[cfg(test)]
    pub(super) fn watched(&self) -> Vec<&str> {
        assert!(
            self.numbers.iter().eq(self.paths.iter().map(|(n, path)| (path, n)).collect::<BTreeMap<_, _>>())
        );
        self.numbers.keys().map(String::as_str).collect()
    }

    pub(super) fn walks(&self) -> bool {
        self.walk != Walk::Done || self.reading.is_some() || !self.wanted.is_empty()
    }

    /// Folders that changed since it was asked last.
    pub(super) fn changes(&mut self) -> BTreeMap<String, bool> {
        std::mem::take(&mut self.changed)
    }

    /// `true` once, if changes go unseen.
    pub(super) fn tells_loss(&mut self) -> bool {
        let tells = self.loss == Loss::ToTell;
        if tells {
            self.loss = Loss::Told;
        }
        tells
    }

    pub(super) fn lose(&mut self, why: Errno) {
        self.lose_by(&format!("the system says: {why}"));
    }

    fn lose_by(&mut self, why: &str) {
        if self.loss == Loss::None {
            self.loss = Loss::ToTell;
            log::warn!("some changes of shared files will be seen late: {why}");
        }
    }

    fn change(&mut self, folder: &str, deep: bool) {
        match self.changed.get_mut(folder) {
            Some(known) => *known |= deep,
            None => drop(self.changed.insert(folder.to_owned(), deep)),
        }
    }

    pub(super) fn take(&mut self, inotify: &OwnedFd, event: &Event<'_>) {
        let flags = event.events();
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.overflown = true;
            return self.lose_by("too many at once");
        }
        // Of a folder that was forgotten meanwhile.
        let Some(folder) = self.paths.get(&event.wd()) else { return };
        if flags.contains(ReadFlags::IGNORED) {
            if let Some(path) = self.paths.remove(&event.wd()) {
                self.numbers.remove(&path);
            }
            return;
        }
        if flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
            self.root_gone |= folder.is_empty();
            // What is moved within the tree is seen at both its ends.
            if !flags.contains(ReadFlags::MOVE_SELF) {
                let folder = folder.clone();
                self.change(&folder, true);
            }
            return;
        }
        let Some(path) = event.file_name().and_then(|name| join(folder, name)) else { return };
        if !flags.contains(ReadFlags::ISDIR) {
            let folder = folder.clone();
            return self.change(&folder, false);
        }
        if flags.intersects(ReadFlags::MOVED_FROM | ReadFlags::DELETE) {
            self.forget_beneath(inotify, &path);
            self.change(&path, true);
        } else {
            self.want(path, Told::All);
        }
    }

    /// Whether it can be watched or not, what is told of a folder is told.
    fn want(&mut self, path: String, told: Told) {
        if path.matches('/').count() + 1 >= DEPTH {
            return;
        }
        if let Some(known) = self.wanted.get_mut(&path) {
            *known = told.max(*known);
        } else if self.paths.len() + self.wanted.len() < self.max {
            self.wanted.insert(path, told);
        } else {
            self.lose_by("too many folders");
            self.tell(&path, told);
        }
    }

    fn tell(&mut self, path: &str, told: Told) {
        match told {
            Told::Nothing => {}
            Told::Files => self.change(path, false),
            Told::All => self.change(path, true),
        }
    }

    /// Watches and reads for a slice.
    pub(super) fn walk_on(&mut self, inotify: &OwnedFd, root: BorrowedFd<'_>) {
        for _ in 0..SLICE {
            if self.reading.is_some() {
                self.read_one();
            } else if let Some((path, told)) = self.wanted.pop_first() {
                self.watch_one(inotify, root, path, told);
            } else {
                if std::mem::replace(&mut self.walk, Walk::Done) == Walk::Again {
                    self.change("", true);
                }
                return;
            }
        }
    }

    /// There is nothing to walk.
    pub(super) fn end_walk(&mut self) {
        self.wanted.clear();
        self.reading = None;
        self.walk = Walk::Done;
    }

    fn watch_one(&mut self, inotify: &OwnedFd, root: BorrowedFd<'_>, path: String, told: Told) {
        self.tell(&path, told);
        let fd = match open_folder(root, &path) {
            Ok(fd) => fd,
            Err(fault @ (Fault::TooManyOpen | Fault::NoMemory)) => return self.lose_by(&fault.to_string()),
            // Gone again, or nothing that a listing would see.
            Err(_) => return,
        };
        // By its descriptor, so that no link on the way is followed.
        match add_watch(inotify, format!("/proc/self/fd/{}", fd.as_raw_fd()), MASK) {
            Ok(number) => self.insert(inotify, number, path.clone()),
            // Nor can what is in it be listed.
            Err(Errno::ACCESS) => return,
            // hostile: 174. As many as the system allows this user.
            Err(errno) => self.lose(errno),
        }
        match rustix::fs::Dir::read_from(&fd) {
            Ok(entries) => self.reading = Some(Reading { fd, entries, path, told }),
            Err(errno) => self.lose(errno),
        }
    }

    fn read_one(&mut self) {
        let Some(reading) = &mut self.reading else { return };
        let Some(Ok(entry)) = reading.entries.next() else {
            self.reading = None;
            return;
        };
        if kind_of(&reading.fd, &entry) != FileType::Directory {
            return;
        }
        if let Some(path) = join(&reading.path, entry.file_name()) {
            let told = reading.told.min(Told::Files);
            self.want(path, told);
        }
    }

    fn insert(&mut self, inotify: &OwnedFd, number: i32, path: String) {
        // A folder that was watched already, under another name.
        if let Some(old) = self.paths.insert(number, path.clone()) {
            self.numbers.remove(&old);
        }
        // A name that meant another folder.
        match self.numbers.insert(path, number) {
            Some(old) if old != number => {
                self.paths.remove(&old);
                let _ = remove_watch(inotify, old);
            }
            _ => {}
        }
    }

    fn forget_beneath(&mut self, inotify: &OwnedFd, path: &str) {
        let inside = format!("{path}/");
        let from = self.numbers.range(inside.clone()..).take_while(|(name, _)| name.starts_with(&inside));
        let mut gone: Vec<(String, i32)> = from.map(|(name, &number)| (name.clone(), number)).collect();
        gone.extend(self.numbers.get_key_value(path).map(|(name, &number)| (name.clone(), number)));
        for (name, number) in gone {
            self.numbers.remove(&name);
            self.paths.remove(&number);
            let _ = remove_watch(inotify, number);
        }
    }
}

/// `None` for what a listing leaves out.
fn join(folder: &str, name: &CStr) -> Option<String> {
    let text = name.to_str().ok().filter(|_| !is_hidden(name))?;
    Some(if folder.is_empty() { text.to_owned() } else { format!("{folder}/{text}") })
}
