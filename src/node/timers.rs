//! Deadlines: an ordered set, re-armed lazily. Moving a deadline further away, which happens with every chunk, writes
//! one field; the set is touched only when the old instant comes up.

use crate::machine::Deadline;
use crate::time::{Duration, Instant};
use log::debug;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;

/// Not now, but as soon as everything else had its turn.
pub(crate) const MOMENT: Duration = Duration::from_micros(1);
/// A deadline that is noticed so late was not missed by the other side but by us (a stalled disk, a suspended machine) …
const LATE: Duration = Duration::from_secs(1);
/// … and is put off by this, so that what arrived meanwhile is seen first.
const LATE_GRACE: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Armed {
    /// When it is really due; never before `queued`.
    due: Instant,
    /// Where it stands in the queue.
    queued: Instant,
    reason: &'static str,
}

/// Timers by key; one deadline a key.
#[derive(Debug)]
pub struct Timers<K> {
    queue: BTreeSet<(Instant, K)>,
    armed: HashMap<K, Armed>,
}

impl<K: Copy + Ord + Hash + Debug> Default for Timers<K> {
    fn default() -> Self {
        Timers { queue: BTreeSet::new(), armed: HashMap::new() }
    }
}

impl<K: Copy + Ord + Hash + Debug> Timers<K> {
    /// No timer is armed.
    pub fn new() -> Timers<K> {
        Timers::default()
    }

    /// Arms or moves the timer of `key`.
    pub fn set(&mut self, key: K, due: Instant, reason: &'static str) {
        if let Some(armed) = self.armed.get_mut(&key) {
            armed.reason = reason;
            armed.due = due;
            if due >= armed.queued {
                return;
            }
            self.queue.remove(&(armed.queued, key));
            armed.queued = due;
        } else {
            self.armed.insert(key, Armed { due, queued: due, reason });
        }
        self.queue.insert((due, key));
    }

    /// Arms the timer of `key` unless it is armed already.
    pub fn set_unless_armed(&mut self, key: K, due: Instant, reason: &'static str) {
        if !self.armed.contains_key(&key) {
            self.set(key, due, reason);
        }
    }

    /// Disarms the timer of `key`, if it is armed.
    pub fn cancel(&mut self, key: K) {
        if let Some(armed) = self.armed.remove(&key) {
            self.queue.remove(&(armed.queued, key));
        }
    }

    /// Takes one timer that is due, the earliest first, and says since when. Timers that were moved are put in their
    /// new place on the way.
    pub fn pop_due(&mut self, now: Instant) -> Option<(K, Instant)> {
        loop {
            let &(at, key) = self.queue.first()?;
            if at > now {
                return None;
            }
            self.queue.pop_first();
            match self.armed.get_mut(&key) {
                Some(armed) if armed.due > now => {
                    armed.queued = armed.due;
                    self.queue.insert((armed.due, key));
                }
                _ => {
                    let due = self.armed.remove(&key).map_or(at, |armed| armed.due);
                    return Some((key, due));
                }
            }
        }
    }

    /// Arms the timer of `key`, which was due at `due`, once more where that is noticed too late to be the other side's fault.
    pub fn put_off_if_late(&mut self, key: K, due: Instant, now: Instant) -> bool {
        let late = now - due >= LATE;
        if late {
            debug!("{key:?}: deadline noticed {:?} late: put off", now - due);
            self.set(key, now + LATE_GRACE, "late");
        }
        late
    }

    /// The earliest deadline, exactly: timers that were moved do not wake anybody early.
    pub fn next_deadline(&mut self) -> Option<Deadline> {
        loop {
            let &(at, key) = self.queue.first()?;
            match self.armed.get_mut(&key) {
                Some(armed) if armed.due > at => {
                    self.queue.pop_first();
                    armed.queued = armed.due;
                    self.queue.insert((armed.due, key));
                }
                Some(armed) => return Some(Deadline { at, reason: armed.reason }),
                None => {
                    self.queue.pop_first();
                }
            }
        }
    }

    /// Armed timers.
    pub fn len(&self) -> usize {
        self.armed.len()
    }

    /// Whether none is armed.
    pub fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn a_moved_deadline_fires_once_and_when_it_is_due() {
        let mut timers = Timers::new();
        timers.set('a', at(10), "first");
        timers.set('a', at(30), "later");
        timers.set('b', at(20), "b");
        assert_eq!(timers.next_deadline(), Some(Deadline { at: at(20), reason: "b" }));
        assert_eq!(timers.pop_due(at(25)), Some(('b', at(20))));
        assert_eq!(timers.pop_due(at(25)), None);
        timers.set('c', at(26), "c");
        timers.set('c', at(40), "moved");
        assert_eq!(timers.pop_due(at(41)), Some(('c', at(40))), "since it was due, not since it was queued");
        timers.set('a', at(5), "earlier");
        assert_eq!(timers.next_deadline(), Some(Deadline { at: at(5), reason: "earlier" }));
        timers.set_unless_armed('a', at(7), "ignored");
        assert_eq!(timers.next_deadline(), Some(Deadline { at: at(5), reason: "earlier" }));
        timers.cancel('a');
        assert!(timers.is_empty() && timers.next_deadline().is_none());
    }

    #[test]
    fn a_moved_deadline_is_as_late_as_it_is() {
        let mut timers = Timers::new();
        timers.set('a', at(10), "first");
        timers.set('a', at(40), "later");
        assert_eq!(timers.pop_due(at(41)), Some(('a', at(40))));
    }

    #[test]
    fn ten_thousand_timers_due_at_once_come_in_order() {
        // hostile: 191
        let mut timers = Timers::new();
        for i in 0..10_000u64 {
            timers.set(i, at(20_000 - i), "due");
        }
        let fired: Vec<u64> = std::iter::from_fn(|| timers.pop_due(at(30_000))).map(|(key, _)| key).collect();
        assert_eq!(fired, (0..10_000).rev().collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn behaves_like_a_map_of_deadlines(ops in prop::collection::vec((0u8..6, 0u64..50, any::<bool>()), 0..200)) {
            let mut timers = Timers::new();
            let mut model: BTreeMap<u8, u64> = BTreeMap::new();
            let mut now = 0;
            for (key, t, cancel) in ops {
                if cancel {
                    timers.cancel(key);
                    model.remove(&key);
                } else {
                    timers.set(key, at(t), "x");
                    model.insert(key, t);
                }
                prop_assert_eq!(timers.next_deadline().map(|d| d.at), model.values().min().map(|&t| at(t)));
                now += 1;
                while let Some((key, _)) = timers.pop_due(at(now)) {
                    let due = model.remove(&key);
                    prop_assert!(due.is_some_and(|due| due <= now));
                }
                prop_assert!(model.values().all(|&due| due > now));
                prop_assert_eq!(timers.len(), model.len());
            }
        }
    }
}
