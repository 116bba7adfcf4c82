//! Failures of an unfinished download, and its ends.

use super::{Ask, Goal, Part, Stage, Told, Which};
use crate::machine::{Fault, Meta};
use crate::proto::content::pieces;
use crate::time::Instant;

/// Failed syncs after which the disk is not relied on any more: the first may have been an accident of the moment.
const SYNC_FAILURES: u8 = 2;

/// Times that it begins anew because somebody changed the length of its file.
const CHANGES: u8 = 2;

impl Part {
    pub(super) fn journal_failed(&mut self, now: Instant, fault: Fault, fatal: bool) {
        if self.stage == Stage::Over {
            return;
        }
        if self.stage == Stage::Loading && !fatal && !self.fresh {
            // It cannot be read; perhaps it can be written.
            return self.doubt_all(self.journal.len().max(1));
        }
        self.journal.failed(fault, fatal);
        match self.stage {
            Stage::Loading if self.fresh => self.after_journal(Stage::BeforeCreate),
            Stage::Loading => self.doubt_all(0),
            _ => self.after_sync(now),
        }
    }

    pub(super) fn part_failed(&mut self, now: Instant, fault: Fault, fatal: bool) {
        self.open &= !fatal;
        match self.stage {
            Stage::Creating if fault == Fault::Exists && fatal && self.fresh => {
                // An earlier life left one of which nobody knew.
                self.fresh = false;
                self.doubt_all(self.journal.len());
            }
            Stage::Creating => {
                self.exists &= !fatal;
                self.remove();
                self.end(Told::Failed { fault, fresh: true });
            }
            Stage::Opening if fault == Fault::NotFound => {
                self.discard_part();
                self.fresh = true;
                self.begin_anew(self.journal.len(), Stage::BeforeCreate);
            }
            Stage::Opening => self.close(Told::Failed { fault, fresh: false }),
            Stage::Reopening | Stage::Open | Stage::Committing if fault == Fault::NotFound => self.gone(),
            Stage::Open | Stage::Committing if fault == Fault::Changed && !fatal => self.changed(),
            Stage::Reopening => self.stop(fault),
            Stage::Open if fatal => self.stop(fault),
            Stage::Open if self.batch.is_syncing() => self.sync_failed(fault),
            Stage::Open if self.claims.is_reading() && !is_of_storing(fault) => {
                let verdict = self.claims.unreadable();
                self.checked(now, verdict);
                self.pump(now);
            }
            Stage::Open => self.store_failed(now, fault),
            Stage::Committing => self.commit_failed(fault, fatal),
            _ => {}
        }
    }

    /// Never synced again by this descriptor: the kernel takes what it could not write for written, and says so then.
    fn sync_failed(&mut self, fault: Fault) {
        let lost = self.batch.lose();
        self.take_back_wrong();
        self.sync_failures = self.sync_failures.saturating_add(1);
        self.told.push_back(Told::Lost { pieces: lost.pieces().collect() });
        if self.sync_failures >= SYNC_FAILURES || matches!(self.goal, Goal::Pause | Goal::Stop(_)) {
            return self.stop(fault);
        }
        log::warn!(
            "an unfinished download could not be made durable: {fault}; a part of it is fetched again"
        );
        self.goal = Goal::Download;
        self.stage = Stage::Reopening;
        self.asks.extend([Ask::Close { which: Which::Part }, Ask::Open]);
    }

    /// Everything is there but the name. Pieces that no sync was answered for are claimed without a mark, so that they are
    /// looked at; but not where that may be why it failed: what is read then need not be what is on the disk.
    fn commit_failed(&mut self, fault: Fault, fatal: bool) {
        if fatal {
            (self.exists, self.open) = (false, false);
            self.journal.discard(&mut self.asks);
            return self.end(Told::Failed { fault, fresh: false });
        }
        let last = self.batch.lose();
        if matches!(fault, Fault::Os(_) | Fault::NoSpace | Fault::Quota) {
            self.take_back_wrong();
            self.told.push_back(Told::Lost { pieces: last.pieces().collect() });
        } else {
            self.journal.record(&last, None, &mut self.asks);
        }
        self.stop(fault);
    }

    /// What was claimed and is wrong was being stored anew, and that may be lost. Until the machine is started again it reads as
    /// if it were there: only a journal that does not claim it keeps the next life from believing that.
    fn take_back_wrong(&mut self) {
        let wrong = self.claims.take_wrong();
        self.journal.take_back(&wrong, &mut self.asks);
    }

    /// Whether the content's file can be as long as that if nobody but us wrote in it.
    pub(super) fn is_length(&self, meta: Meta) -> bool {
        (self.len..=self.size).contains(&meta.size)
    }

    /// Somebody made the content's file longer or shorter. What is beneath a cut may be a hole by now, wherever it was, and
    /// what is behind its end would be there under its final name: it begins anew. One that is about to be closed is looked
    /// through by the next life.
    pub(super) fn changed(&mut self) {
        let lost = self.batch.lose();
        if matches!(self.goal, Goal::Pause | Goal::Stop(_)) {
            self.told.push_back(Told::Lost { pieces: lost.pieces().collect() });
            self.journal.void_mark(&mut self.asks);
            return self.wind_up();
        }
        self.changes = self.changes.saturating_add(1);
        if self.changes > CHANGES {
            self.remove();
            return self.end(Told::Failed { fault: Fault::Changed, fresh: true });
        }
        log::warn!("another program changed the file of an unfinished download: it is fetched anew");
        self.told.push_back(Told::Lost { pieces: (0..pieces(self.size)).collect() });
        (self.goal, self.fresh) = (Goal::Download, true);
        self.discard_part();
        self.begin_anew(self.journal.len().max(1), Stage::BeforeCreate);
    }

    /// Keeps what is in the journal.
    fn stop(&mut self, fault: Fault) {
        self.goal = Goal::Stop(fault);
        self.wind_up();
    }

    /// Somebody removed the content's file: what is stored in it now goes nowhere.
    fn gone(&mut self) {
        if self.open {
            self.asks.push_back(Ask::Close { which: Which::Part });
        }
        (self.open, self.exists) = (false, false);
        self.journal.discard(&mut self.asks);
        self.end(Told::Failed { fault: Fault::NotFound, fresh: false });
    }

    pub(super) fn discard_part(&mut self) {
        if self.open {
            self.asks.push_back(Ask::Discard { which: Which::Part });
        }
        (self.open, self.exists) = (false, false);
    }

    pub(super) fn remove(&mut self) {
        self.discard_part();
        self.journal.discard(&mut self.asks);
    }

    /// Closes what is open, and keeps it, unless the journal would have the next life believe what is not there.
    pub(super) fn close(&mut self, told: Told) {
        if let (Told::Failed { fault, .. }, true) = (&told, self.journal.is_wrong()) {
            let fault = *fault;
            self.remove();
            return self.end(Told::Failed { fault, fresh: true });
        }
        if self.open {
            self.asks.push_back(Ask::Close { which: Which::Part });
        }
        self.open = false;
        self.journal.close(&mut self.asks);
        self.end(told);
    }

    pub(super) fn end(&mut self, told: Told) {
        self.told.push_back(told);
        self.stage = Stage::Over;
    }
}

/// Whether it can only be that bytes could not be stored, and not that they could not be read.
fn is_of_storing(fault: Fault) -> bool {
    matches!(fault, Fault::NoSpace | Fault::Quota | Fault::TooLarge | Fault::ReadOnly)
}
