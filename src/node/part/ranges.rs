//! Sets of pieces: mostly long runs, so runs are what is kept.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// First piece of a run, and the one behind its last. No two runs touch.
    runs: BTreeMap<u64, u64>,
    len: u64,
}

impl Ranges {
    /// Pieces in it.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn contains(&self, piece: u64) -> bool {
        self.run_at(piece).is_some()
    }

    /// The run that the piece lies in.
    fn run_at(&self, piece: u64) -> Option<Range<u64>> {
        let (&start, &end) = self.runs.range(..=piece).next_back()?;
        (piece < end).then_some(start..end)
    }

    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        // Every run that it touches becomes a part of it.
        while let Some((&from, &to)) = self.runs.range(..=end).next_back().filter(|&(_, &to)| to >= start) {
            self.runs.remove(&from);
            self.len -= to - from;
            (start, end) = (start.min(from), end.max(to));
        }
        self.runs.insert(start, end);
        self.len += end - start;
    }

    /// False: it was in it already.
    pub(super) fn insert_one(&mut self, piece: u64) -> bool {
        let new = !self.contains(piece);
        if new {
            self.insert(piece..piece.saturating_add(1));
        }
        new
    }

    pub(super) fn remove(&mut self, piece: u64) -> bool {
        let Some(run) = self.run_at(piece) else { return false };
        self.runs.remove(&run.start);
        if run.start < piece {
            self.runs.insert(run.start, piece);
        }
        if piece + 1 < run.end {
            self.runs.insert(piece + 1, run.end);
        }
        self.len -= 1;
        true
    }

    /// Takes out what is at or behind `piece`.
    pub(super) fn split_off(&mut self, piece: u64) -> Ranges {
        let mut rest = Ranges::default();
        while let Some((&start, &end)) = self.runs.last_key_value().filter(|&(_, &end)| end > piece) {
            self.runs.remove(&start);
            self.len -= end - start;
            rest.insert(start.max(piece)..end);
            self.insert(start..piece.max(start));
        }
        rest
    }

    pub(super) fn pop_first(&mut self) -> Option<u64> {
        let (&first, _) = self.runs.first_key_value()?;
        self.remove(first);
        Some(first)
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.runs.last_key_value().map(|(_, &end)| end - 1)
    }

    /// The first that lies in `range`.
    pub(super) fn first_in(&self, range: &Range<u64>) -> Option<u64> {
        if range.is_empty() {
            return None;
        }
        if self.contains(range.start) {
            return Some(range.start);
        }
        self.runs.range(range.clone()).next().map(|(&start, _)| start)
    }

    /// The piece that has `n` others before it.
    pub(super) fn nth(&self, mut n: u64) -> Option<u64> {
        for run in self.runs() {
            let len = run.end - run.start;
            if n < len {
                return Some(run.start + n);
            }
            n -= len;
        }
        None
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs.iter().map(|(&start, &end)| start..end)
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs().flatten()
    }

    /// Adds all of `other`.
    pub(super) fn extend(&mut self, other: &Ranges) {
        other.runs().for_each(|run| self.insert(run));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_a_set_whatever_is_done_to_it() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for _ in 0..60 {
                let at = rng.u64(0..40);
                match rng.u8(0..6) {
                    0 | 1 => {
                        let range = at..at + rng.u64(0..8);
                        ranges.insert(range.clone());
                        set.extend(range);
                    }
                    2 => assert_eq!(ranges.insert_one(at), set.insert(at)),
                    3 => assert_eq!(ranges.remove(at), set.remove(&at)),
                    4 => assert_eq!(ranges.pop_first(), set.pop_first()),
                    _ if rng.u8(0..4) == 0 => {
                        assert!(ranges.split_off(at).pieces().eq(set.split_off(&at)));
                    }
                    _ => {
                        let other = Ranges { runs: [(at, at + 2)].into(), len: 2 };
                        ranges.extend(&other);
                        set.extend(at..at + 2);
                    }
                }
                assert!(ranges.pieces().eq(set.iter().copied()));
                assert_eq!((ranges.len(), ranges.is_empty()), (set.len() as u64, set.is_empty()));
                assert_eq!(ranges.last(), set.last().copied());
                assert_eq!(ranges.nth(at), set.iter().nth(at as usize).copied());
                assert_eq!(ranges.first_in(&(at..at + 5)), set.range(at..at + 5).next().copied());
                let touch = ranges.runs().zip(ranges.runs().skip(1)).any(|(a, b)| a.end >= b.start);
                assert!(!touch && ranges.runs().all(|run| !run.is_empty()), "{ranges:?}");
            }
        }
    }
}
