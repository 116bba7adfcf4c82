//! Searching in slices, so that one search over a million files never holds up the loop.

use super::Index;
use super::file::FileNo;
use crate::proto::content::Root;
use crate::proto::query::{Candidate, Query, Score};

/// Where a search goes on. A file that comes meanwhile may be found or not; one that stays is found once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    slot: u32,
}

impl Index {
    /// Looks at the next `budget` records and adds those that match to `found`: 5,000 take less than a
    /// millisecond, with the costliest patterns too. True: that was the last of them.
    pub fn search_slice(
        &self,
        query: &Query,
        cursor: &mut Cursor,
        budget: usize,
        found: &mut Vec<(Score, FileNo)>,
    ) -> bool {
        if let Some(root) = query.whole_root() {
            return self.search_root(query, &Root::new(*root), cursor, budget, found);
        }
        let end = usize::try_from(cursor.slot).map_or(usize::MAX, |slot| slot.saturating_add(budget));
        let end = u32::try_from(end).unwrap_or(u32::MAX).min(self.table.slots());
        for slot in cursor.slot..end {
            self.try_match(query, slot, found);
        }
        cursor.slot = end;
        end >= self.table.slots()
    }

    /// The same among the files of one root only.
    fn search_root(
        &self,
        query: &Query,
        root: &Root,
        cursor: &mut Cursor,
        budget: usize,
        found: &mut Vec<(Score, FileNo)>,
    ) -> bool {
        let mut left = budget;
        for slot in self.table.with_root(root, cursor.slot) {
            if left == 0 {
                cursor.slot = slot;
                return false;
            }
            left -= 1;
            self.try_match(query, slot, found);
        }
        true
    }

    fn try_match(&self, query: &Query, slot: u32, found: &mut Vec<(Score, FileNo)>) {
        let Some(file) = self.table.get(slot).filter(|file| file.is_named()) else { return };
        let root = file.root();
        let candidate = Candidate {
            name: file.name(),
            folded: file.folded(),
            size: file.meta().size,
            root: root.as_ref().map(Root::as_bytes),
        };
        if let Some(score) = query.matches(&candidate) {
            found.push((score, self.table.number(slot)));
        }
    }
}
