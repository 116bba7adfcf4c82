//! The way to an open file: the journal is read, or begun, and made durable before the content's file is made or opened.

use super::{Ask, Goal, Part, Stage, Told, Which};
use crate::machine::Meta;
use crate::proto::content::{PIECE, pieces};
use crate::time::Instant;

impl Part {
    pub(super) fn read_journal(&mut self) {
        let offset = self.journal.len();
        self.asks.push_back(Ask::Read { which: Which::Journal, offset, len: self.slice });
    }

    /// A journal that says nothing, of a file that is there: everything may be right, and is to be checked.
    pub(super) fn doubt_all(&mut self, stands: u64) {
        let all = 0..pieces(self.size);
        self.claims.clear();
        self.claims.claim(all.clone());
        self.journal.begin(stands, all, &mut self.asks);
        self.after_journal(Stage::BeforeOpen);
    }

    /// Nothing is there. `stands`: bytes of the journal.
    pub(super) fn begin_anew(&mut self, stands: u64, stage: Stage) {
        self.claims.clear();
        self.journal.begin(stands, 0..0, &mut self.asks);
        self.after_journal(stage);
    }

    /// `stage` lasts until the journal is durable.
    pub(super) fn after_journal(&mut self, stage: Stage) {
        self.stage = stage;
        if !self.journal.is_syncing() {
            self.journal_is_ready();
        }
    }

    pub(super) fn journal_is_ready(&mut self) {
        match self.stage {
            Stage::BeforeOpen if self.goal == Goal::Pause => self.close(Told::Closed),
            Stage::BeforeOpen => self.open_part(),
            Stage::BeforeCreate => {
                self.stage = Stage::Creating;
                (self.open, self.exists) = (true, true);
                self.asks.push_back(Ask::Create { reserve: self.size });
            }
            _ => {}
        }
    }

    pub(super) fn open_part(&mut self) {
        self.stage = Stage::Opening;
        (self.open, self.exists) = (true, true);
        self.asks.push_back(Ask::Open);
    }

    pub(super) fn opened_part(&mut self, now: Instant, meta: Meta) {
        self.len = meta.size;
        if meta.size < self.size {
            // A piece that is not whole is not right; what is missing comes with the pieces that are fetched.
            self.claims.cut(meta.size / PIECE);
        }
        if (meta.size, Some(meta.mtime)) == (self.size, self.journal.mark()) {
            self.claims.draw_sample(self.sample, &mut self.rng);
        } else {
            self.journal.outdate();
        }
        if self.claims.any_wrong() {
            self.journal.void_mark(&mut self.asks);
        }
        self.begin_storing(now);
    }

    pub(super) fn begin_storing(&mut self, now: Instant) {
        self.stage = Stage::Open;
        self.told.push_back(Told::Open);
        self.pump(now);
    }
}
