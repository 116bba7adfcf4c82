//! A bit for each piece of a group.

use crate::proto::content::GROUP_PIECES;

/// Pieces of a group.
const LEN: usize = GROUP_PIECES as usize;
/// Words of 64 bits that hold them.
pub(super) const WORDS: usize = LEN / 64;

/// Some of the pieces of a group, by their place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits(pub(super) [u64; WORDS]);

impl Bits {
    pub(super) const NONE: Bits = Bits([0; WORDS]);
    pub(super) const ALL: Bits = Bits([u64::MAX; WORDS]);

    /// From bytes as messages carry them; what they do not speak of is not among them.
    pub(super) fn from_bytes(bytes: &[u8]) -> Bits {
        let mut bits = Bits::NONE;
        for (n, &byte) in bytes.iter().take(LEN / 8).enumerate() {
            bits.0[n / 8] |= u64::from(byte) << (n % 8 * 8);
        }
        bits
    }

    /// The first `count` of them, the rest of the last byte empty.
    pub(super) fn to_bytes(self, count: usize) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).take(count.div_ceil(8)).collect()
    }

    pub(super) fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    pub(super) fn insert(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word &= !(1 << (at % 64));
        }
    }

    pub(super) fn and(&self, other: &Bits) -> Bits {
        Bits(std::array::from_fn(|n| self.0[n] & other.0[n]))
    }

    pub(super) fn without(&self, other: &Bits) -> Bits {
        Bits(std::array::from_fn(|n| self.0[n] & !other.0[n]))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Their places, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(n, &word)| {
            let rest = std::iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)));
            rest.take_while(|&word| word != 0).map(move |word| n * 64 + word.trailing_zeros() as usize)
        })
    }
}
