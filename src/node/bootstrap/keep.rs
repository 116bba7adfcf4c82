//! The file: loaded at start without ever failing, saved when the membership changed.

use super::{Bootstrap, Phase, Timer};
use crate::machine::{Fault, Kept, Output, Slot};
use crate::proto::registry_file::{decode, encode};
use crate::time::{Duration, Instant};

const BACKOFF_MIN: Duration = Duration::from_secs(60);
const BACKOFF_MAX: Duration = Duration::from_secs(3600);

/// What is known about the file.
#[derive(Debug)]
pub(super) struct Keeper {
    phase: Keeping,
    /// The file does not hold the members of now.
    dirty: bool,
    /// When the last save ended well.
    saved_at: Option<Instant>,
    /// The wait before the next try, since saves fail; the operator was told.
    backoff: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    /// Before this is over nothing is saved: it would replace what was not read yet.
    Loading,
    Idle,
    Saving,
}

impl Default for Keeper {
    fn default() -> Keeper {
        Keeper { phase: Keeping::Loading, dirty: false, saved_at: None, backoff: None }
    }
}

impl Bootstrap {
    pub(super) fn loaded(&mut self, now: Instant, slot: Slot, content: Result<Option<Vec<u8>>, Fault>) {
        if self.keeper.phase != Keeping::Loading {
            return;
        }
        let damage = match content {
            Ok(Some(bytes)) => match decode(&bytes) {
                Ok(records) => {
                    let wall = self.wall_now(now);
                    let n = self.registry.remember(now, wall, records, &mut self.rng);
                    log::info!("{n} nodes remembered, each to be probed");
                    return self.loading_over(now, slot == Slot::Previous);
                }
                Err(damage) => Some(damage.to_string()),
            },
            // Between the two renames of a save only the previous one is there.
            Ok(None) => None,
            Err(fault) => Some(fault.to_string()),
        };
        if let Some(damage) = damage {
            log::warn!("the {} registry file is put aside: {damage}", name(slot));
            self.outputs.push_back(Output::QuarantineState { kept: Kept::Registry, slot });
        }
        match slot {
            Slot::Current => {
                let max = self.config.limits.registry_file_max;
                self.outputs.push_back(Output::LoadState { kept: Kept::Registry, slot: Slot::Previous, max });
            }
            Slot::Previous => self.loading_over(now, false),
        }
    }

    /// `stale`: what was loaded is not what the current file holds.
    fn loading_over(&mut self, now: Instant, stale: bool) {
        self.keeper.phase = Keeping::Idle;
        self.keeper.dirty |= stale;
        if self.keeper.dirty {
            self.membership_changed(now);
        }
        self.finish_or_save(now);
    }

    /// A node came or went: a save is due, not before the last one is old enough.
    pub(super) fn membership_changed(&mut self, now: Instant) {
        self.keeper.dirty = true;
        // A save on its way, or one that waits after a failure, looks at this when its time has come.
        if self.keeper.phase == Keeping::Idle && self.keeper.backoff.is_none() {
            let interval = self.config.limits.registry_save_interval;
            let due = self.keeper.saved_at.map_or(now, |at| at + interval);
            self.timers.set(Timer::Save, due.max(now), "save");
        }
    }

    /// Saves whether or not it is time, unless that is under way.
    pub(super) fn save_now(&mut self, now: Instant) {
        if self.keeper.phase != Keeping::Idle {
            return;
        }
        self.timers.cancel(Timer::Save);
        self.keeper.phase = Keeping::Saving;
        self.keeper.dirty = false;
        let records = self.registry.records(now, self.wall_now(now));
        let content = encode(&records, self.config.limits.registry_file_max);
        self.outputs.push_back(Output::SaveState { kept: Kept::Registry, content });
    }

    pub(super) fn saved(&mut self, now: Instant, result: Result<(), Fault>) {
        if self.keeper.phase != Keeping::Saving {
            return;
        }
        self.keeper.phase = Keeping::Idle;
        match result {
            Ok(()) => {
                self.keeper.saved_at = Some(now);
                if self.keeper.backoff.take().is_some() {
                    log::info!("the registry is saved again");
                }
                if self.keeper.dirty {
                    self.membership_changed(now);
                }
                self.finish_or_save(now);
            }
            Err(fault) => self.save_failed(now, fault),
        }
    }

    fn save_failed(&mut self, now: Instant, fault: Fault) {
        self.keeper.dirty = true;
        if let Phase::Stopping { status } = self.phase {
            log::error!("the registry could not be saved: {fault}");
            return self.exit(status);
        }
        let wait = match self.keeper.backoff {
            None => {
                log::error!(
                    "the registry cannot be saved: {fault}; it goes on from memory and tries again, first in {} s",
                    BACKOFF_MIN.as_secs()
                );
                BACKOFF_MIN
            }
            Some(wait) => (wait * 2).min(BACKOFF_MAX),
        };
        self.keeper.backoff = Some(wait);
        self.timers.set(Timer::Save, now + wait, "save again");
    }

    /// While stopping: the last save, or the end.
    pub(super) fn finish_or_save(&mut self, now: Instant) {
        let Phase::Stopping { status } = self.phase else { return };
        match self.keeper.phase {
            Keeping::Idle if self.keeper.dirty => self.save_now(now),
            // What was not read yet is on the disk as it is.
            Keeping::Idle | Keeping::Loading => self.exit(status),
            Keeping::Saving => {}
        }
    }

    /// The disk took too long.
    pub(super) fn stop_without_disk(&mut self) {
        if let Phase::Stopping { status } = self.phase {
            log::error!("the disk does not answer: the last registrations are not saved");
            self.exit(status);
        }
    }
}

fn name(slot: Slot) -> &'static str {
    match slot {
        Slot::Current => "current",
        Slot::Previous => "previous",
    }
}
