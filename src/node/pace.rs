//! How fast a transfer must go: a chunk in every interval, and a lowest average in the long run. Judged by bytes that
//! moved, never by how long the process itself was held up.

use crate::config::{CHUNK, Limits};
use crate::time::{Duration, Instant};

/// Bytes moved by one transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    started: Instant,
    /// From when the average counts, and what had moved then.
    judged: (Instant, u64),
    moved: u64,
    /// `moved` when the last whole chunk had come, and when that was.
    mark: u64,
    progress: Instant,
    interval: Duration,
}

/// Why a transfer is too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slow {
    /// Less than a chunk in an interval.
    Stalled,
    /// The average is below the lowest rate.
    Average,
}

impl Pace {
    pub(crate) fn new(now: Instant, interval: Duration) -> Pace {
        Pace { started: now, judged: (now, 0), moved: 0, mark: 0, progress: now, interval }
    }

    /// When to look first, or again where a chunk had moved at `now`.
    pub(crate) fn next_look(&self, now: Instant) -> Instant {
        now + self.interval
    }

    /// Somebody else moves the rest: he is judged by what he does himself.
    pub(crate) fn begin_again(&mut self, now: Instant) {
        self.judged = (now, self.moved);
        (self.mark, self.progress) = (self.moved, now);
    }

    /// `n` more bytes moved.
    pub(crate) fn add(&mut self, now: Instant, n: u64) {
        self.moved += n;
        if self.moved - self.mark >= CHUNK as u64 {
            (self.mark, self.progress) = (self.moved, now);
        }
    }

    /// Bytes moved so far.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now - self.started
    }

    /// Whether it is too slow by now. Returns when to look again.
    pub(crate) fn look(&mut self, now: Instant, limits: &Limits) -> Result<Instant, Slow> {
        if now - self.progress >= self.interval {
            return Err(Slow::Stalled);
        }
        let (since, before) = self.judged;
        let moved = self.moved - before;
        let allowed = limits.transfer_grace + Duration::from_secs(moved / limits.rate_min.max(1));
        if now - since > allowed {
            return Err(Slow::Average);
        }
        Ok(self.next_look(self.progress))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn who_stalls_is_found_an_interval_after_the_last_chunk() {
        // hostile: 67, 79
        let limits = Limits::desktop();
        let mut pace = Pace::new(at(0), limits.progress_interval);
        assert_eq!(pace.next_look(at(0)), at(30));
        pace.add(at(1), 4096);
        assert_eq!(pace.look(at(30), &limits), Ok(at(31)));
        pace.add(at(30), 4095);
        assert_eq!(pace.look(at(31), &limits), Err(Slow::Stalled), "not a whole chunk");
        pace.add(at(31), 1);
        assert_eq!(pace.look(at(32), &limits), Ok(at(61)));
    }

    #[test]
    fn a_slow_average_ends() {
        // hostile: 67
        let limits = Limits::desktop();
        let mut pace = Pace::new(at(0), limits.progress_interval);
        let looks = (1..100).map(|i| {
            pace.add(at(29 * i), 4096);
            pace.look(at(29 * i), &limits)
        });
        // 4096 bytes in 29 s are 141 a second: allowed for the grace and a little longer, not for ever.
        let ended: Vec<_> = looks.skip_while(Result::is_ok).collect();
        assert!(ended.len() > 94 && ended[0] == Err(Slow::Average));
    }

    #[test]
    fn who_goes_on_where_another_was_slow_has_a_grace_of_his_own() {
        let limits = Limits::desktop();
        let mut pace = Pace::new(at(0), limits.progress_interval);
        pace.add(at(990), 4096);
        assert_eq!(pace.look(at(1000), &limits), Err(Slow::Average));
        pace.begin_again(at(1000));
        assert_eq!(pace.look(at(1029), &limits), Ok(at(1030)));
        assert_eq!(pace.look(at(1030), &limits), Err(Slow::Stalled), "what was there does not count");
        pace.add(at(1029), 4096);
        assert_eq!(pace.look(at(1030), &limits), Ok(at(1059)));
        assert_eq!((pace.moved(), pace.elapsed(at(1030))), (8192, Duration::from_secs(1030)));
    }
}
