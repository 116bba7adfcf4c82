//! How fast bytes come, and how many are therefore to be asked for ahead.

use super::Bounds;
use crate::time::{Duration, Instant};

/// The mean goes back so far, in microseconds.
const MEMORY: u64 = 1_000_000;
/// No time between two measurements is shorter, in microseconds: clocks and sockets deliver in lumps.
const SHORTEST: u64 = 1_000;
/// The shortest time that says how fast a source is just now, in microseconds.
const LATELY: u64 = 10_000;
/// A round trip counts as this long at least, so that a busy loop at either end does not starve the other.
const TRIP_MIN: u64 = 50_000;
/// And as this long at most: who answers later is busy, not far away.
const TRIP_MAX: u64 = 1_000_000;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn per_second(bytes: u64, micros: u64) -> u64 {
    bytes.saturating_mul(1_000_000) / micros.max(1)
}

/// A mean of bytes a second over about a second, and over less as long as there was no more.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    rate: u64,
    /// Time that the mean stands for, in microseconds.
    weight: u64,
    mark: Instant,
}

impl Meter {
    /// Bytes are to come from now on; the time before does not count.
    pub(super) fn start(&mut self, now: Instant) {
        self.mark = now;
    }

    pub(super) fn add(&mut self, now: Instant, bytes: u64) {
        let time = micros(now - self.mark).min(3_600_000_000);
        let sum = (self.rate.saturating_mul(self.weight)).saturating_add(bytes.saturating_mul(1_000_000));
        self.rate = sum / (self.weight + time).max(SHORTEST);
        self.weight = (self.weight + time).min(MEMORY);
        self.mark = now;
    }

    /// The mean as it was when bytes came last.
    pub(super) fn mean(&self) -> u64 {
        self.rate
    }

    /// The mean if nothing came since.
    pub(super) fn at(&self, now: Instant) -> u64 {
        match micros(now - self.mark) {
            // Out of sight long enough to be forgotten.
            time if time >= 10 * MEMORY => 0,
            time => self.rate.saturating_mul(self.weight) / (self.weight + time).max(1),
        }
    }
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
        self.meter.weight > 0 || self.meter.rate > 0
    }

    /// What came before says nothing of what will come.
    pub(super) fn forget(&mut self) {
        self.meter = Meter::default();
        self.lately.2 = 0;
        self.bytes = self.least;
    }
}
