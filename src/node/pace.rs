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
    /// `moved` when it was last looked at.
    mark: u64,
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
        Pace { started: now, judged: (now, 0), moved: 0, mark: 0, interval }
    }

    /// When to look first, or again after a chunk was moved.
    pub(crate) fn next_look(&self, now: Instant) -> Instant {
        now + self.interval
    }

    /// Somebody else moves the rest: he is judged by what he does himself.
    pub(crate) fn begin_again(&mut self, now: Instant) {
        self.judged = (now, self.moved);
        self.mark = self.moved;
    }

    /// `n` more bytes moved.
    pub(crate) fn add(&mut self, n: u64) {
        self.moved += n;
    }

    /// Bytes moved so far.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now - self.started
    }

    /// One look, an interval after the last. Returns when to look again.
    pub(crate) fn look(&mut self, now: Instant, limits: &Limits) -> Result<Instant, Slow> {
        if self.moved - self.mark < CHUNK as u64 {
            return Err(Slow::Stalled);
        }
        let (since, before) = self.judged;
        let moved = self.moved - before;
        let allowed = limits.transfer_grace + Duration::from_secs(moved / limits.rate_min.max(1));
        if now - since > allowed {
            return Err(Slow::Average);
        }
        self.mark = self.moved;
        Ok(self.next_look(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_stalls_and_a_slow_average_ends() {
        // hostile: 67, 79
        let limits = Limits::desktop();
        let mut pace = Pace::new(Instant::ZERO, limits.progress_interval);
        let mut now = pace.next_look(Instant::ZERO);
        assert_eq!(now, Instant::ZERO + Duration::from_secs(30));
        pace.add(4095);
        assert_eq!(pace.look(now, &limits), Err(Slow::Stalled));
        pace.add(1);
        now = pace.look(now, &limits).unwrap();
        let ended = std::iter::from_fn(|| {
            pace.add(4096);
            match pace.look(now, &limits) {
                Ok(next) => {
                    now = next;
                    Some(())
                }
                Err(slow) => {
                    assert_eq!(slow, Slow::Average);
                    None
                }
            }
        });
        // 4096 bytes in 30 s are 137 a second: allowed for the grace and a little longer, not for ever.
        assert!(ended.count() < 5);
    }

    #[test]
    fn who_goes_on_where_another_was_slow_has_a_grace_of_his_own() {
        let limits = Limits::desktop();
        let mut pace = Pace::new(Instant::ZERO, limits.progress_interval);
        pace.add(4096);
        let late = Instant::ZERO + Duration::from_secs(1000);
        assert_eq!(pace.look(late, &limits), Err(Slow::Average));
        pace.begin_again(late);
        let next = pace.next_look(late);
        assert_eq!(pace.look(next, &limits), Err(Slow::Stalled), "what was there does not count");
        pace.add(4096);
        assert_eq!(pace.look(next, &limits), Ok(pace.next_look(next)));
        assert_eq!((pace.moved(), pace.elapsed(next)), (8192, Duration::from_secs(1030)));
    }
}
