//! First flights of a group that were answered: a recording of one tells nobody again that a node of that group listens here
//! (docs/PROTOCOL.md, section 2).

use crate::proto::v2::preamble::Heard;
use std::collections::{BTreeSet, VecDeque};

/// How far the clocks of two members may be apart where neither knows the other: a day, for wrong time zones, and an hour.
pub(crate) const WINDOW_MINUTES: u32 = 25 * 60;
/// The start of 2025 in minutes since 1970. This program is younger, so a clock that shows less is wrong.
const EARLIEST: u32 = 28_928_160;

/// Minutes since 1970 of a clock that shows so many seconds; `None` where that is evidently wrong.
pub(crate) fn minutes(seconds: u64) -> Option<u32> {
    u32::try_from(seconds / 60).ok().filter(|&minutes| minutes >= EARLIEST)
}

/// The flights that were answered lately, up to a bound.
#[derive(Debug)]
pub(crate) struct Flights {
    capacity: usize,
    seen: BTreeSet<u64>,
    /// The same, the oldest first.
    order: VecDeque<u64>,
}

impl Flights {
    pub(crate) fn new(capacity: usize) -> Flights {
        Flights { capacity: capacity.max(1), seen: BTreeSet::new(), order: VecDeque::new() }
    }

    /// Whether a flight is to be answered; then it is not again. `clock`: as [`minutes`] gives it.
    ///
    /// One for this very node is good whenever it comes: a recording of it can be used nowhere else. Any other one must be of
    /// this time, or it would be good at each member for ever. Where one of the two has no clock there is nothing to compare.
    pub(crate) fn answers(&mut self, heard: &Heard, clock: Option<u32>) -> bool {
        let dated = (!heard.bound && heard.minutes != 0).then_some(heard.minutes).zip(clock);
        if dated.is_some_and(|(theirs, ours)| theirs.abs_diff(ours) > WINDOW_MINUTES) {
            return false;
        }
        if !self.seen.insert(heard.mark) {
            return false;
        }
        self.order.push_back(heard.mark);
        if self.order.len() > self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u32 = EARLIEST + 1_000_000;

    fn call(mark: u64, minutes: u32, bound: bool) -> Heard {
        Heard { minutes, bound, mark }
    }

    #[test]
    fn a_recording_is_answered_never_again() {
        // hostile: 85
        let mut flights = Flights::new(4);
        for mark in 0..4 {
            assert!(flights.answers(&call(mark, NOW, mark % 2 == 0), Some(NOW)));
        }
        for _ in 0..50 {
            assert!((0..4).all(|mark| !flights.answers(&call(mark, NOW, mark % 2 == 0), Some(NOW))));
        }
        // Beyond the bound the oldest is forgotten, and only that.
        assert!(flights.answers(&call(9, NOW, true), Some(NOW)));
        assert!(!flights.answers(&call(1, NOW, false), Some(NOW)));
        assert!(flights.answers(&call(0, NOW, true), Some(NOW)));
    }

    #[test]
    fn one_for_any_node_is_of_this_day_and_one_for_this_node_of_any() {
        let mut flights = Flights::new(100);
        for (n, (theirs, wanted)) in [
            (NOW, true),
            (NOW - WINDOW_MINUTES, true),
            (NOW + WINDOW_MINUTES, true),
            (NOW - WINDOW_MINUTES - 1, false),
            (NOW + WINDOW_MINUTES + 1, false),
            (1, false),
            (u32::MAX, false),
            (0, true),
        ]
        .into_iter()
        .enumerate()
        {
            let mark = 10 * n as u64;
            assert_eq!(flights.answers(&call(mark, theirs, false), Some(NOW)), wanted, "{theirs}");
            assert!(flights.answers(&call(mark + 1, theirs, true), Some(NOW)), "{theirs}");
            assert!(flights.answers(&call(mark + 2, theirs, false), None), "{theirs}");
        }
        // What was refused for its time was not answered: it is no recording yet.
        assert!(flights.answers(&call(30, NOW, false), Some(NOW)));
    }

    #[test]
    fn a_clock_that_was_never_set_is_none() {
        assert_eq!([0, 1, 1_700_000_000].map(minutes), [None; 3]);
        assert_eq!(minutes(1_735_689_600), Some(EARLIEST));
        assert_eq!(minutes(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bound(marks: Vec<u8>, capacity in 0_usize..20) {
            let mut flights = Flights::new(capacity);
            for mark in marks {
                let known = flights.seen.contains(&u64::from(mark));
                prop_assert_eq!(flights.answers(&call(u64::from(mark), 0, false), Some(NOW)), !known);
                prop_assert!(flights.order.len() <= capacity.max(1) && flights.seen.len() == flights.order.len());
            }
        }
    }
}
