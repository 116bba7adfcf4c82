//! What is here of a file, two bits a piece.

use super::bits::{Bits, WORDS};
use crate::proto::content::{GROUP_PIECES, group_of, group_range, groups, piece_len, pieces};

/// What is known of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be fetched.
    Missing,
    /// It may be here.
    Doubted,
    /// Under way, or right and not stored yet.
    Busy,
    /// It counts.
    Here,
}

/// The states of all pieces, and what follows from them.
#[derive(Debug)]
pub(super) struct Pieces {
    size: u64,
    /// Set for [`State::Doubted`] and [`State::Here`].
    low: Vec<u64>,
    /// Set for [`State::Busy`] and [`State::Here`].
    high: Vec<u64>,
    /// Bytes of the pieces that are here.
    bytes: u64,
    /// The first group that is not all here; one past the last if all are.
    group: u64,
}

impl Pieces {
    pub(super) fn new(size: u64) -> Pieces {
        let words = usize::try_from(pieces(size).div_ceil(64)).unwrap_or(usize::MAX);
        Pieces { size, low: vec![0; words], high: vec![0; words], bytes: 0, group: 0 }
    }

    /// Bytes of the file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of it that are here.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `None`: the file has no such piece.
    pub(super) fn state(&self, piece: u64) -> Option<State> {
        if piece >= pieces(self.size) {
            return None;
        }
        let word = usize::try_from(piece / 64).ok()?;
        let bit = |map: &[u64]| map.get(word).map(|word| word >> (piece % 64) & 1 == 1);
        Some(match (bit(&self.high)?, bit(&self.low)?) {
            (false, false) => State::Missing,
            (false, true) => State::Doubted,
            (true, false) => State::Busy,
            (true, true) => State::Here,
        })
    }

    /// Nothing happens if the file has no such piece.
    pub(super) fn set(&mut self, piece: u64, state: State) {
        let Some(before) = self.state(piece) else { return };
        let (word, bit) = ((piece / 64) as usize, 1 << (piece % 64));
        let put = |map: &mut [u64], on: bool| {
            if on {
                map[word] |= bit;
            } else {
                map[word] &= !bit;
            }
        };
        put(&mut self.low, matches!(state, State::Doubted | State::Here));
        put(&mut self.high, matches!(state, State::Busy | State::Here));
        if before == State::Here {
            self.bytes -= piece_len(self.size, piece);
        }
        if state == State::Here {
            self.bytes += piece_len(self.size, piece);
            while self.group < groups(self.size) && self.here(self.group) == self.all(self.group) {
                self.group += 1;
            }
        } else {
            self.group = self.group.min(group_of(piece));
        }
    }

    /// The first group that is not all here.
    pub(super) fn group(&self) -> Option<u64> {
        Some(self.group).filter(|&group| group < groups(self.size))
    }

    /// All pieces that a group has.
    pub(super) fn all(&self, group: u64) -> Bits {
        let count = group_range(self.size, group).map_or(0, |range| range.end - range.start);
        Bits(std::array::from_fn(|n| match count.saturating_sub(n as u64 * 64) {
            0 => 0,
            rest if rest >= 64 => u64::MAX,
            rest => (1 << rest) - 1,
        }))
    }

    /// Those of a group that are here.
    pub(super) fn here(&self, group: u64) -> Bits {
        words(&self.low, group).and(&words(&self.high, group))
    }

    /// Those of a group that are missing, and that nobody fetches.
    pub(super) fn missing(&self, group: u64) -> Bits {
        self.all(group).without(&words(&self.low, group)).without(&words(&self.high, group))
    }
}

/// The part of a map that is a group's.
fn words(map: &[u64], group: u64) -> Bits {
    let start = usize::try_from(group).map_or(usize::MAX, |group| group.saturating_mul(WORDS));
    Bits(std::array::from_fn(|n| map.get(start.saturating_add(n)).copied().unwrap_or(0)))
}

/// The place of a piece in its group.
pub(super) fn place(piece: u64) -> usize {
    (piece % GROUP_PIECES) as usize
}

/// The piece at a place of a group.
pub(super) fn piece_at(group: u64, place: usize) -> u64 {
    group * GROUP_PIECES + place as u64
}
