//! What a node hears of changes in its folders: late, often, in another order, and now and then not at all.

use super::files::Deed;
use super::{Happening, Node};
use crate::disk::Change;
use crate::env::Env;
use distrishare::machine::{Dir, Input};
use std::collections::BTreeSet;

/// A folder that is watched.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// `WatchLost` was said: of what comes now, a half is seen.
    lost: bool,
    /// On their way.
    coming: BTreeSet<Change>,
}

impl Node {
    pub(super) fn watch(&mut self, env: &mut Env, dir: Dir) {
        self.disk.watched.insert(dir);
        self.watches.insert(dir, Watch::default());
        if self.disk.dice.falls("disk.watch_lost", self.disk.faults.watch_lost) {
            self.lose(env, dir);
        }
    }

    fn lose(&mut self, env: &mut Env, dir: Dir) {
        self.watches.entry(dir).or_default().lost = true;
        let after = self.disk.dice.of("disk.watch").log_uniform(1, 100_000);
        self.answer(env, after, Happening::Input(Input::WatchLost { dir }));
    }

    /// What changed on the disk since the last call comes to be told.
    pub(crate) fn see_changes(&mut self, env: &mut Env) {
        for change in std::mem::take(&mut self.disk.changes) {
            let faults = (self.disk.faults.watch_lost, self.disk.faults.watch_silent);
            let disk = &mut self.disk;
            if disk.dice.falls("disk.watch_silent", faults.1) {
                continue;
            }
            if disk.dice.falls("disk.watch_lost", faults.0) {
                self.lose(env, change.dir);
                continue;
            }
            let Some(watch) = self.watches.get_mut(&change.dir) else { continue };
            let rng = disk.dice.of("disk.watch");
            if watch.lost && rng.flip() {
                continue;
            }
            // One that says the same is on its way: mostly that is enough for both.
            if watch.coming.insert(change.clone()) || rng.below(4) == 0 {
                self.tell_later(env, change);
            }
        }
    }

    fn tell_later(&mut self, env: &mut Env, change: Change) {
        let after = self.disk.dice.of("disk.watch").log_uniform(100, 2_000_000);
        self.answer(env, after, Happening::Deed(Deed::Changed(change)));
    }

    pub(super) fn tell_change(&mut self, env: &mut Env, change: Change) {
        let Some(watch) = self.watches.get_mut(&change.dir) else { return };
        watch.coming.remove(&change);
        if self.disk.dice.of("disk.watch").below(8) == 0 {
            self.tell_later(env, change.clone());
        }
        let Change { dir, folder, deep } = change;
        self.input(env, Input::FolderChanged { dir, folder, deep });
    }
}
