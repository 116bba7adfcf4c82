//! The only place that reads a clock.

use crate::time::{Duration, Instant, WallTime};

/// How often the wall clock is compared with the monotonic one, at most.
const WALL_CHECK: Duration = Duration::from_secs(60);

/// The driver's clocks: monotonic for everything, wall time for what is kept over restarts.
#[derive(Debug)]
pub(super) struct Clock {
    start: std::time::Instant,
    /// Wall clock minus monotonic clock when the node was last told, in microseconds.
    offset: Option<i128>,
    checked: Instant,
}

#[allow(clippy::disallowed_methods)] // the driver is the one that reads clocks
impl Clock {
    pub(super) fn new() -> Clock {
        Clock { start: std::time::Instant::now(), offset: None, checked: Instant::ZERO }
    }

    pub(super) fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The wall clock, if the node has not been told yet or somebody set it since. Looks only once a minute.
    pub(super) fn wall_if_set(&mut self) -> Option<WallTime> {
        let now = self.now();
        if self.offset.is_some() && now.since(self.checked) < WALL_CHECK {
            return None;
        }
        self.checked = now;
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let offset = i128::try_from(wall.as_micros()).unwrap_or(i128::MAX) - i128::from(now.as_micros());
        if self.offset.is_some_and(|told| (told - offset).abs() <= 1_000_000) {
            return None;
        }
        self.offset = Some(offset);
        Some(WallTime(wall.as_secs()))
    }
}

/// What a poll is given: nothing if it is due, else rounded up to whole milliseconds, so that a wait of less than one
/// does not become a busy loop.
pub(super) fn poll_timeout(now: Instant, at: Instant) -> Duration {
    let micros = at.since(now).as_micros();
    Duration::from_millis(u64::try_from(micros.div_ceil(1000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up() {
        let at = Instant::from_micros;
        assert_eq!(poll_timeout(at(5), at(5)), Duration::ZERO);
        assert_eq!(poll_timeout(at(6), at(5)), Duration::ZERO);
        assert_eq!(poll_timeout(at(0), at(1)), Duration::from_millis(1));
        assert_eq!(poll_timeout(at(0), at(1001)), Duration::from_millis(2));
    }

    #[test]
    fn the_wall_clock_is_told_once() {
        let mut clock = Clock::new();
        assert!(clock.wall_if_set().is_some_and(|wall| wall.0 > 0));
        assert_eq!(clock.wall_if_set(), None);
        clock.offset = clock.offset.map(|offset| offset + 5_000_000);
        assert_eq!(clock.wall_if_set(), None, "not before a minute has passed");
    }
}
