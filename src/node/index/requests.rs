//! What is asked of the index for others: the root of a file before other files, its values, another look at its bytes.

use super::Index;
use super::file::{FileNo, State};
use crate::proto::content::{Root, SIZE_MAX};
use crate::time::Instant;

impl Index {
    /// Somebody wants this file: it is hashed before others, unless it changes too often. False: it could not be read, or is
    /// too long; what could not be read is tried again before long.
    pub fn wanted(&mut self, now: Instant, name: &str) -> bool {
        let Some(slot) = self.table.find(name) else { return true };
        let Some(file) = self.table.get(slot) else { return true };
        let readable = file.state() != State::Unreadable;
        if readable {
            self.hashing.want(self.table.number(slot));
        } else if file.meta().size <= SIZE_MAX {
            self.hashing.try_again(now, &mut self.table, slot);
        }
        self.pump(now);
        readable
    }

    /// Somebody waits for the values of this file, whose root is known: if its record does not come by itself, it is read
    /// again.
    pub fn wants_values(&mut self, now: Instant, no: FileNo) {
        let size = self.view(no).map_or(0, |file| file.meta.size);
        // Nor is it read in vain, where there is room for its values nowhere.
        let is_of_use = self.journal.writes() || self.lists.may_hold(size);
        if is_of_use && self.journal.is_idle_or_broken() {
            self.hashing.again(no);
            self.pump(now);
        }
    }

    /// Somebody says that what came from here is not this content: other bytes may stand in the file under the same times, for which
    /// it is read again before long. Whoever says so for nothing costs little: a few files wait, and the disk has its rests.
    pub fn doubted(&mut self, now: Instant, root: &Root) {
        if let Some(no) = self.by_root(root).filter(|file| file.meta.size > 0).map(|file| file.no) {
            self.hashing.doubt(no);
            self.pump(now);
        }
    }
}
