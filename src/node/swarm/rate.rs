//! How fast bytes come, and how many are therefore to be asked for ahead.

use super::Bounds;
use crate::node::meter::{Meter, micros};
use crate::time::Instant;

/// The shortest time that says how fast a source is just now, in microseconds.
const LATELY: u64 = 10_000;
/// A round trip counts as this long at least, so that a busy loop at either end does not starve the other.
const TRIP_MIN: u64 = 50_000;
/// And as this long at most: who answers later is busy, not far away.
const TRIP_MAX: u64 = 1_000_000;

fn per_second(bytes: u64, micros: u64) -> u64 {
    bytes.saturating_mul(1_000_000) / micros.max(1)
}

/// What a source can do, and how many bytes it is asked for at a time.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) meter: Meter,
    /// The shortest window, and the longest.
    least: u64,
    most: u64,
    /// The round trip in microseconds, and when the first byte was asked of the idle source.
    trip: Option<u64>,
    idle_until: Option<Instant>,
    /// Since when the present measurement runs, its bytes, and what the last one came to in bytes a second.
    lately: (Instant, u64, u64),
    bytes: u64,
}

impl Window {
    pub(super) fn new(bounds: &Bounds) -> Window {
        let least = bounds.block.saturating_mul(2).min(bounds.per_source);
        Window {
            meter: Meter::default(),
            least,
            most: bounds.per_source,
            trip: None,
            idle_until: None,
            lately: (Instant::ZERO, 0, 0),
            bytes: least,
        }
    }

    /// The source owed nothing and is asked now.
    pub(super) fn start(&mut self, now: Instant) {
        self.meter.start(now);
        self.idle_until = Some(now);
        self.lately = (now, 0, self.lately.2);
    }

    /// Bytes came that were asked for. The window grows by what came, at most: a burst does not make it large.
    pub(super) fn came(&mut self, now: Instant, bytes: u64) {
        if let Some(asked) = self.idle_until.take() {
            let trip = micros(now - asked).min(TRIP_MAX);
            self.trip = Some(self.trip.map_or(trip, |known| (3 * known + trip) / 4));
        }
        self.meter.add(now, bytes);
        let (since, before, last) = self.lately;
        let (time, sum) = (micros(now - since), before + bytes);
        self.lately = match time >= self.trip().max(LATELY) {
            true => (now, 0, per_second(sum, time)),
            false => (since, sum, last),
        };
        // A mean of a second is too slow for a window that doubles with each round trip.
        let rate = self.meter.mean().max(self.lately.2);
        let wanted = rate.saturating_mul(2 * self.trip().max(TRIP_MIN)) / 1_000_000 + self.least;
        self.bytes = (self.bytes + bytes).min(wanted).clamp(self.least, self.most);
    }

    /// Bytes that may be asked for and not there.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The round trip in microseconds, 0 while it is unknown.
    pub(super) fn trip(&self) -> u64 {
        self.trip.unwrap_or(0)
    }

    /// Whether anything ever came.
    pub(super) fn is_known(&self) -> bool {
        self.meter.is_known()
    }

    /// What came before says nothing of what will come.
    pub(super) fn forget(&mut self) {
        self.meter = Meter::default();
        self.lately.2 = 0;
        self.bytes = self.least;
    }
}
