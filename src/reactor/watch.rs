//! Folders that are watched for changes, by inotify: one of the node's with all beneath it, as far as a listing goes.

mod tree;

use super::beneath::fault;
use super::files::dir_of;
use super::folders::FolderHandles;
use super::{Reactor, token};
use crate::machine::{Dir, Fault, Input};
use crate::time::Duration;
use mio::Interest;
use mio::unix::SourceFd;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::inotify::{CreateFlags, Reader, init};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use tree::{Tree, Walk};

/// Events taken in one turn, about.
const EVENTS: usize = 512;
/// The path of the shared folder is looked at so often, if the loop is awake.
const LOOK: Duration = Duration::from_secs(5);
/// Bytes of events read at once.
const BUFFER: usize = 8192;

/// A folder of the node's that is watched.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    tree: Tree,
    /// There may be more events: no second edge tells.
    readable: bool,
}

impl Watch {
    /// Folders that were there from the start are not watched yet.
    pub(super) fn is_settling(&self) -> bool {
        self.tree.walk == Walk::First
    }

    fn waits(&self) -> bool {
        self.readable || self.tree.walks()
    }

    fn read_events(&mut self) {
        let Watch { inotify, tree, readable } = self;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&*inotify, &mut buffer);
        let mut events = 0;
        // What was read is taken whole.
        while events < EVENTS || !reader.is_buffer_empty() {
            events += 1;
            match reader.next() {
                Ok(event) => tree.take(inotify, &event),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    if errno != Errno::WOULDBLOCK {
                        tree.lose(errno);
                    }
                    *readable = false;
                    return;
                }
            }
        }
    }
}

impl Reactor {
    pub(super) fn watch_folder(&mut self, dir: Dir) {
        if self.watches.contains_key(&dir) {
            return;
        }
        match self.open_watch(dir, Walk::First) {
            Ok(watch) => drop(self.watches.insert(dir, watch)),
            Err(fault) => {
                log::warn!("changes of a folder will go unseen: {fault}");
                self.answer(Input::WatchLost { dir });
            }
        }
    }

    fn open_watch(&self, dir: Dir, walk: Walk) -> Result<Watch, Fault> {
        if self.folders.is_none() {
            return Err(Fault::NotFound);
        }
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(fault)?;
        let fd = inotify.as_raw_fd();
        let registered =
            self.poll.registry().register(&mut SourceFd(&fd), token::of_watch(dir), Interest::READABLE);
        registered.map_err(|error| Fault::of(&error))?;
        Ok(Watch { inotify, tree: Tree::new(self.limits.watches, walk), readable: false })
    }

    pub(super) fn watch_event(&mut self, dir: Dir) {
        if let Some(watch) = self.watches.get_mut(&dir) {
            watch.readable = true;
        }
    }

    pub(super) fn watch_waits(&self) -> bool {
        self.watches.values().any(Watch::waits)
    }

    /// A slice of events and of the walk, and what came of both.
    pub(super) fn watch_slice(&mut self) {
        for dir in [Dir::Shared, Dir::Downloads, Dir::Parts] {
            let Some(watch) = self.watches.get_mut(&dir).filter(|watch| watch.waits()) else { continue };
            if watch.readable {
                watch.read_events();
            }
            if watch.tree.overflown {
                self.watch_anew(dir);
            }
            if self.watches.get_mut(&dir).is_some_and(|watch| std::mem::take(&mut watch.tree.root_gone)) {
                self.look_at_shared();
            }
            let Some(watch) = self.watches.get_mut(&dir) else { continue };
            match dir_of(self.folders.as_ref(), dir) {
                Ok(root) => watch.tree.walk_on(&watch.inotify, root),
                // It is walked when it is back.
                Err(_) => watch.tree.end_walk(),
            }
            for (folder, deep) in watch.tree.changes() {
                self.answer(Input::FolderChanged { dir, folder, deep });
            }
            if self.watches.get_mut(&dir).is_some_and(|watch| watch.tree.tells_loss()) {
                self.answer(Input::WatchLost { dir });
            }
        }
    }

    /// Now and then: whether the path of the shared folder still means what is held. It costs no wake-up of its own.
    pub(super) fn folders_turn(&mut self) {
        let now = self.clock.now();
        if now >= self.look_next {
            self.look_next = now + LOOK;
            self.look_at_shared();
        }
    }

    /// A shared folder that is another one now is watched anew, and listed.
    pub(super) fn look_at_shared(&mut self) {
        if !self.folders.as_mut().is_some_and(FolderHandles::look_at_shared) {
            return;
        }
        self.watch_anew(Dir::Shared);
        self.answer(Input::FolderChanged { dir: Dir::Shared, folder: String::new(), deep: true });
    }

    /// After events were lost, by folders that moved among them: nothing of what is known can be relied upon.
    fn watch_anew(&mut self, dir: Dir) {
        let opened = self.open_watch(dir, Walk::Again);
        let Some(watch) = self.watches.get_mut(&dir) else { return };
        match opened {
            Ok(anew) => {
                let old = std::mem::replace(watch, anew);
                watch.tree.succeed(&old.tree);
            }
            // It goes on with what there is.
            Err(_) => watch.tree.overflown = false,
        }
    }
}

#[cfg(test)]
mod tests;
