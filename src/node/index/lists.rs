//! Values of files whose record does not stand in the log, in bounded memory: a log that cannot be written keeps nobody from
//! fetching.

use crate::proto::content::{Hashed, Root, Span, VALUE, Value, list_len};
use std::collections::VecDeque;

#[derive(Debug)]
struct List {
    root: Root,
    size: u64,
    /// All pieces', then all groups'.
    values: Box<[Value]>,
}

impl List {
    fn bytes(&self) -> usize {
        self.values.len() * VALUE
    }
}

/// The lists that were made last.
#[derive(Debug)]
pub(super) struct Lists {
    held: VecDeque<List>,
    bytes: usize,
    max: usize,
}

impl Lists {
    /// Holds so many bytes.
    pub(super) fn new(max: usize) -> Lists {
        Lists { held: VecDeque::new(), bytes: 0, max }
    }

    /// Whether the list of a file of so many bytes can be held at all.
    pub(super) fn may_hold(&self, size: u64) -> bool {
        let values = list_len(Span::Piece, size) + list_len(Span::Group, size);
        usize::try_from(values).is_ok_and(|values| values <= self.max / VALUE)
    }

    /// Holds these, if they are all there are, and lets go of those that were made first where there is no room.
    pub(super) fn keep(&mut self, hashed: Hashed) {
        let Hashed { root, size, values, groups } = hashed;
        let whole = values.len() as u64 == list_len(Span::Piece, size);
        if values.is_empty() || !whole || !self.may_hold(size) {
            return;
        }
        self.forget(&root);
        let values = [values, groups].concat().into_boxed_slice();
        let list = List { root, size, values };
        self.bytes += list.bytes();
        self.held.push_back(list);
        while self.bytes > self.max {
            let Some(oldest) = self.held.pop_front() else { return };
            self.bytes -= oldest.bytes();
        }
    }

    fn forget(&mut self, root: &Root) {
        if let Some(at) = self.held.iter().position(|list| list.root == *root) {
            if let Some(list) = self.held.remove(at) {
                self.bytes -= list.bytes();
            }
        }
    }

    /// `count` values of a file, from that of piece or group `first` on.
    pub(super) fn values(&self, root: &Root, span: Span, first: u64, count: u64) -> Option<Vec<u8>> {
        let list = self.held.iter().find(|list| list.root == *root)?;
        let (pieces, of_span) = (list_len(Span::Piece, list.size), list_len(span, list.size));
        let end = first.checked_add(count).filter(|end| *end <= of_span)?;
        let from = if span == Span::Group { pieces } else { 0 };
        let range = usize::try_from(from + first).ok()?..usize::try_from(from + end).ok()?;
        Some(list.values.get(range)?.as_flattened().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::content::PIECE;

    fn hashed(seed: u8, pieces: u64) -> Hashed {
        let value = |i: u64| [seed ^ i.to_le_bytes()[0]; VALUE];
        let size = pieces * PIECE;
        let groups = (0..list_len(Span::Group, size)).map(|i| value(100 + i)).collect();
        Hashed { root: Root::new([seed; 32]), size, values: (0..pieces).map(value).collect(), groups }
    }

    #[test]
    fn the_last_lists_are_held_within_the_bound() {
        let mut lists = Lists::new(100 * VALUE);
        let has = |lists: &Lists, seed: u8| lists.values(&Root::new([seed; 32]), Span::Piece, 0, 1).is_some();
        for seed in 1..=4 {
            lists.keep(hashed(seed, 30));
            lists.keep(hashed(seed, 30));
        }
        assert_eq!([1, 2, 3, 4].map(|seed| has(&lists, seed)), [false, true, true, true]);
        assert_eq!((lists.bytes, lists.held.len()), (90 * VALUE, 3));
        // One that is longer than all of it costs none of the others; nor does one in part.
        lists.keep(hashed(5, 101));
        lists.keep(Hashed { size: 31 * PIECE, ..hashed(6, 30) });
        assert_eq!([2, 5, 6].map(|seed| has(&lists, seed)), [true, false, false]);
        assert!(lists.may_hold(100 * PIECE) && !lists.may_hold(101 * PIECE) && !lists.may_hold(u64::MAX));
    }

    #[test]
    fn values_are_those_of_the_list_and_none_beyond_it() {
        let mut lists = Lists::new(1 << 20);
        let whole = hashed(7, 2049);
        lists.keep(whole.clone());
        let get = |span, first, count| lists.values(&whole.root, span, first, count);
        assert_eq!(get(Span::Piece, 5, 2), Some(whole.values[5..7].as_flattened().to_vec()));
        assert_eq!(get(Span::Group, 0, 2), Some(whole.groups.as_flattened().to_vec()));
        for (span, first, count) in
            [(Span::Piece, 2048, 2), (Span::Group, 1, 2), (Span::Piece, u64::MAX, 2), (Span::Group, 2, 1)]
        {
            assert_eq!(get(span, first, count), None);
        }
        assert_eq!(lists.values(&Root::new([8; 32]), Span::Piece, 0, 1), None);
    }
}
