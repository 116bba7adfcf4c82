//! What a file holds: literal bytes, or bytes made from a seed and the place in the file, so that a file of many
//! gigabytes costs two numbers and every byte of it can be checked wherever it turns up. A file that is written in any
//! order is runs of both, with holes between them.

mod runs;

use crate::rng::mix;
use runs::Runs;

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    Generated { seed: u64, len: u64 },
    Runs(Runs),
}

impl Content {
    pub(crate) fn generated(seed: u64, len: u64) -> Content {
        Content::Generated { seed, len }
    }

    /// Nothing but a hole.
    pub(crate) fn hole(len: u64) -> Content {
        Content::Runs(Runs::new(len))
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Generated { len, .. } => *len,
            Content::Runs(runs) => runs.len(),
        }
    }

    /// Bytes that take room on a disk: all but the holes.
    pub(crate) fn stored(&self) -> u64 {
        match self {
            Content::Runs(runs) => runs.stored(),
            other => other.len(),
        }
    }

    /// Of those, the ones from `from` to `to`.
    pub(crate) fn stored_within(&self, from: u64, to: u64) -> u64 {
        match self {
            Content::Runs(runs) => runs.stored_within(from, to),
            other => to.min(other.len()).saturating_sub(from),
        }
    }

    /// The `n` bytes from `offset` on, fewer at the end.
    pub(crate) fn read(&self, offset: u64, n: usize) -> Vec<u8> {
        let n = (n as u64).min(self.len().saturating_sub(offset)) as usize;
        match self {
            Content::Bytes(bytes) => bytes[offset.min(self.len()) as usize..][..n].to_vec(),
            Content::Generated { seed, .. } => generate(*seed, offset, n),
            Content::Runs(runs) => runs.read(offset, n),
        }
    }

    pub(crate) fn truncate(&mut self, to: u64) {
        match self {
            Content::Bytes(bytes) => bytes.truncate(to as usize),
            Content::Generated { len, .. } => *len = (*len).min(to),
            Content::Runs(runs) => runs.set_len(to.min(runs.len())),
        }
    }

    /// Cuts, or lengthens by a hole.
    pub(crate) fn set_len(&mut self, len: u64) {
        if len <= self.len() {
            return self.truncate(len);
        }
        self.runs().set_len(len);
        self.settle();
    }

    /// Whether this is how `other` begins.
    pub(crate) fn is_prefix_of(&self, other: &Content) -> bool {
        self.len() <= other.len() && self.agrees(other, 0, self.len())
    }

    pub(crate) fn same(&self, other: &Content) -> bool {
        self.len() == other.len() && self.is_prefix_of(other)
    }

    /// Whether both hold the same `n` bytes at `offset`.
    pub(crate) fn agrees(&self, other: &Content, offset: u64, n: u64) -> bool {
        let end = offset + n;
        if self.len() < end || other.len() < end {
            return false;
        }
        let step = 64 << 10;
        let mut at = offset;
        while at < end {
            // Where both are made from one seed there is nothing to compare.
            if let (Some((a, until)), Some((b, too))) = (self.seed_at(at), other.seed_at(at)) {
                if a == b {
                    at = until.min(too);
                    continue;
                }
            }
            let n = step.min(end - at) as usize;
            if self.read(at, n) != other.read(at, n) {
                return false;
            }
            at += n as u64;
        }
        true
    }

    /// The seed that the byte at `at` is made from, and up to where.
    fn seed_at(&self, at: u64) -> Option<(u64, u64)> {
        match self {
            Content::Generated { seed, len } => Some((*seed, *len)),
            Content::Runs(runs) => runs.seed_at(at),
            Content::Bytes(_) => None,
        }
    }

    /// Stores `bytes` at `offset`. What agrees with a generated file is kept as such.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8], generators: &[u64]) {
        if let Content::Bytes(whole) = self {
            let small = whole.len().max(offset as usize + bytes.len()) < SMALL;
            let generated = whole.is_empty() && bytes.len() >= 8;
            if small && offset as usize <= whole.len() && !generated {
                let end = offset as usize + bytes.len();
                if whole.len() < end {
                    whole.resize(end, 0);
                }
                whole[offset as usize..end].copy_from_slice(bytes);
                return;
            }
        }
        self.runs().write(offset, bytes, generators);
        self.settle();
    }

    /// Takes the `n` bytes at `offset` (fewer at its end) over from another file.
    pub(crate) fn paste(&mut self, from: &Content, offset: u64, n: u64) {
        let n = n.min(from.len().saturating_sub(offset));
        if n > 0 {
            let made;
            let from = match from {
                Content::Runs(runs) => runs,
                other => {
                    made = other.clone().into_runs();
                    &made
                }
            };
            self.runs().paste(from, offset, n);
            self.settle();
        }
    }

    /// Changes one byte.
    pub(crate) fn flip(&mut self, at: u64, bit: u8) {
        let byte = self.read(at, 1);
        if let [byte] = byte[..] {
            self.write(at, &[byte ^ (1 << (bit % 8))], &[]);
        }
    }

    fn runs(&mut self) -> &mut Runs {
        if !matches!(self, Content::Runs(_)) {
            let whole = std::mem::replace(self, Content::Bytes(Vec::new()));
            *self = Content::Runs(whole.into_runs());
        }
        match self {
            Content::Runs(runs) => runs,
            _ => unreachable!("just made"),
        }
    }

    fn into_runs(self) -> Runs {
        match self {
            Content::Bytes(bytes) => Runs::bytes(bytes),
            Content::Generated { seed, len } => Runs::generated(seed, len),
            Content::Runs(runs) => runs,
        }
    }

    /// Back to the plain forms where there is one.
    fn settle(&mut self) {
        let Content::Runs(runs) = self else { return };
        if let Some(seed) = runs.one_seed() {
            *self = Content::Generated { seed, len: runs.len() };
        } else if runs.len() < SMALL as u64 && runs.stored() == runs.len() {
            *self = Content::Bytes(runs.read(0, runs.len() as usize));
        }
    }
}

/// Files below this are kept as their bytes.
const SMALL: usize = 64 << 10;

/// `n` bytes of the file `seed` from `offset` on.
fn generate(seed: u64, offset: u64, n: usize) -> Vec<u8> {
    let skip = (offset % 8) as usize;
    let mut out = vec![0; (n + skip).next_multiple_of(8)];
    for (chunk, word) in out.chunks_exact_mut(8).zip(offset / 8..) {
        chunk.copy_from_slice(&mix(seed ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes());
    }
    out.truncate(n + skip);
    if skip > 0 {
        out.drain(..skip);
    }
    out
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Content {
        Content::Bytes(bytes.to_vec())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Content {
        Content::Bytes(text.as_bytes().to_vec())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Content {
        Content::Bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_content_is_the_same_from_every_place_and_stays_small_when_copied() {
        let file = Content::generated(7, 100_003);
        let whole = file.read(0, 200_000);
        assert_eq!(whole.len(), 100_003);
        for at in [0u64, 1, 7, 8, 9, 4095, 100_000, 100_003, 200_000] {
            let from = (at as usize).min(whole.len());
            assert_eq!(file.read(at, 33), whole[from..(from + 33).min(whole.len())], "{at}");
        }
        let mut copy = Content::Bytes(Vec::new());
        for (i, part) in whole.chunks(1000).enumerate() {
            copy.write(i as u64 * 1000, part, &[3, 7]);
        }
        assert!(matches!(copy, Content::Generated { .. }) && copy.same(&file));
        copy.write(500, b"x", &[7]);
        assert!(matches!(copy, Content::Runs(_)) && !copy.same(&file) && !copy.is_prefix_of(&file));
        copy.write(500, &whole[500..501], &[7]);
        assert!(copy.same(&file));
        let mut short = file.clone();
        short.truncate(10);
        assert!(short.is_prefix_of(&file) && !short.same(&file));
    }

    #[test]
    fn what_is_written_in_any_order_is_what_it_was_and_holes_are_zeros() {
        let file = Content::generated(7, 300_003);
        let mut parts = Content::hole(300_003);
        assert_eq!((parts.len(), parts.stored()), (300_003, 0));
        for at in [200_000, 0, 250_000, 100_000, 50_000, 150_000, 300_000u64] {
            parts.write(at, &file.read(at, 50_000), &[3, 7]);
        }
        assert!(matches!(parts, Content::Generated { .. }) && parts.same(&file), "{parts:?}");
        // Other bytes within, a part of them taken over again.
        parts.write(10_000, &[9; 10_000], &[7]);
        assert!(!parts.same(&file) && parts.agrees(&file, 0, 10_000) && !parts.agrees(&file, 0, 10_001));
        parts.paste(&file, 12_000, 4_000);
        assert!(parts.agrees(&file, 12_000, 4_000) && !parts.agrees(&file, 11_999, 2));
        parts.paste(&file, 10_000, 10_000);
        assert!(parts.same(&file));
        parts.flip(70_000, 3);
        assert_eq!(parts.read(70_000, 1)[0], file.read(70_000, 1)[0] ^ 8);
        parts.truncate(80_000);
        parts.set_len(90_000);
        assert_eq!((parts.len(), parts.stored()), (90_000, 80_000));
        assert!(parts.read(80_000, 20_000) == vec![0; 10_000] && parts.agrees(&file, 70_001, 9_999));
    }
}
