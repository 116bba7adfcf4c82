//! How fast bytes move just now.

use crate::time::{Duration, Instant};

/// The mean goes back so far, in microseconds.
const MEMORY: u64 = 1_000_000;
/// No time between two measurements is shorter, in microseconds: clocks and sockets deliver in lumps.
const SHORTEST: u64 = 1_000;

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A mean of bytes a second over about a second, and over less as long as there was no more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    rate: u64,
    /// Time that the mean stands for, in microseconds.
    weight: u64,
    mark: Instant,
}

impl Meter {
    /// Bytes are to move from now on.
    pub(crate) fn from(now: Instant) -> Meter {
        Meter { mark: now, ..Meter::default() }
    }

    /// Bytes are to come from now on; the time before does not count.
    pub(crate) fn start(&mut self, now: Instant) {
        self.mark = now;
    }

    pub(crate) fn add(&mut self, now: Instant, bytes: u64) {
        let time = micros(now - self.mark).min(3_600_000_000);
        let sum = (self.rate.saturating_mul(self.weight)).saturating_add(bytes.saturating_mul(1_000_000));
        self.rate = sum / (self.weight + time).max(SHORTEST);
        self.weight = (self.weight + time).min(MEMORY);
        self.mark = now;
    }

    /// The mean as it was when bytes came last.
    pub(crate) fn mean(&self) -> u64 {
        self.rate
    }

    /// The mean if nothing came since.
    pub(crate) fn at(&self, now: Instant) -> u64 {
        match micros(now - self.mark) {
            // Out of sight long enough to be forgotten.
            time if time >= 10 * MEMORY => 0,
            time => self.rate.saturating_mul(self.weight) / (self.weight + time).max(1),
        }
    }

    /// Whether anything ever came.
    pub(crate) fn is_known(&self) -> bool {
        self.weight > 0 || self.rate > 0
    }
}
