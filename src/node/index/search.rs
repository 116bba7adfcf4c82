//! Searching in slices, so that one search over a million files never holds up the loop.

use super::Index;
use super::file::FileNo;
use crate::proto::content::Root;
use crate::proto::query::{Candidate, Query, Score};

/// Steps ([`Query::matches_counted`]) that a record costs before any term is looked at, and so the least there is.
const LOOK: usize = 8;
/// Steps that an answer costs besides: it is kept, and sorted among others.
const KEEP: usize = 32;

/// Where a search goes on. A file that comes meanwhile may be found or not; one that stays is found once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    slot: u32,
}

impl Index {
    /// Looks at the next records until `budget` steps are used up, one record at least, and adds those that match to
    /// `found`. An answer costs 40 steps or more. True: that was the last record.
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
        let mut steps = 0;
        while cursor.slot < self.table.slots() && steps < budget.max(1) {
            steps += self.try_match(query, cursor.slot, found);
            cursor.slot += 1;
        }
        cursor.slot >= self.table.slots()
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
        let mut steps = 0;
        for slot in self.table.with_root(root, cursor.slot) {
            if steps >= budget.max(1) {
                cursor.slot = slot;
                return false;
            }
            steps += self.try_match(query, slot, found);
        }
        true
    }

    /// The steps it took.
    fn try_match(&self, query: &Query, slot: u32, found: &mut Vec<(Score, FileNo)>) -> usize {
        let mut steps = LOOK;
        let Some(file) = self.table.get(slot).filter(|file| file.is_named()) else { return steps };
        let root = file.root();
        let candidate = Candidate {
            name: file.name(),
            folded: file.folded(),
            size: file.meta().size,
            root: root.as_ref().map(Root::as_bytes),
        };
        if let Some(score) = query.matches_counted(&candidate, &mut steps) {
            found.push((score, self.table.number(slot)));
            steps += KEEP;
        }
        steps
    }
}
