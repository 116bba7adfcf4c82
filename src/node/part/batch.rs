//! What was verified and is not known to be durable yet.

use super::ranges::Ranges;
use crate::time::{Duration, Instant};

/// Bytes of verified pieces that are made durable together (HOSTILE.md 4.1 rule 4): smaller batches wear flash out, larger
/// ones are more work to repeat.
pub(super) const BATCH: u64 = 4 << 20;
/// The longest that a verified piece waits for more of them.
pub(super) const BATCH_TIME: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Verified since the last sync was asked for.
    waiting: Ranges,
    bytes: u64,
    /// Since when something waits.
    since: Option<Instant>,
    /// A sync was asked for, on behalf of these.
    syncing: Option<Ranges>,
    /// Bytes were stored since the last sync was asked for.
    touched: bool,
}

impl Batch {
    pub(super) fn stored(&mut self) {
        self.touched = true;
    }

    pub(super) fn verified(&mut self, now: Instant, piece: u64, bytes: u64) {
        if self.waiting.insert_one(piece) {
            self.bytes = self.bytes.saturating_add(bytes);
            self.since.get_or_insert(now);
        }
    }

    /// A sync is worth while although no piece waits.
    pub(super) fn want(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    pub(super) fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the file may have changed since it was last synced.
    pub(super) fn is_touched(&self) -> bool {
        self.touched
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| if self.bytes >= BATCH { since } else { since + BATCH_TIME })
    }

    /// What waits by now is to be durable when the sync that is asked for now was carried out.
    pub(super) fn sync(&mut self) {
        self.syncing = Some(std::mem::take(&mut self.waiting));
        (self.bytes, self.since, self.touched) = (0, None, false);
    }

    /// The sync was carried out: these are durable.
    pub(super) fn synced(&mut self) -> Option<Ranges> {
        self.syncing.take()
    }

    /// Nothing of it can be relied on any more.
    pub(super) fn lose(&mut self) -> Ranges {
        let mut lost = self.syncing.take().unwrap_or_default();
        lost.extend(&self.waiting);
        *self = Batch { touched: true, ..Batch::default() };
        lost
    }
}
