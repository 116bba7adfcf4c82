//! What a fuzzer does to an input, without its eyes: drawn from a seed, so that a failure comes again.

/// Longest input that is made.
const LEN_MAX: usize = 8192;
/// Bytes that mean something to one of the formats.
const SIGNS: &[u8] = b"\0\x01\x7f\x80\xff\x1b\n\r\t {}[]\":,\\/*?-&'#0aZ";

/// Draws mutations.
pub(crate) struct Mutator<'a> {
    rng: fastrand::Rng,
    /// What inputs are spliced with.
    others: &'a [&'a [u8]],
}

impl<'a> Mutator<'a> {
    /// The same name draws the same.
    pub(crate) fn new(name: &str, others: &'a [&'a [u8]]) -> Mutator<'a> {
        let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325, |sum: u64, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        Mutator { rng: fastrand::Rng::with_seed(seed), others }
    }

    /// The next mutation of `input`: a few changes at once.
    pub(crate) fn mutated(&mut self, input: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..self.rng.usize(1..=4) {
            self.change(&mut bytes);
            bytes.truncate(LEN_MAX);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let (from, to) = self.range(bytes.len());
        match self.rng.u8(0..9) {
            0 if from < bytes.len() => bytes[from] ^= 1 << self.rng.u8(0..8),
            1 if from < bytes.len() => bytes[from] = SIGNS[self.rng.usize(0..SIGNS.len())],
            2 if from < bytes.len() => bytes[from] = bytes[from].wrapping_add(self.rng.u8(..).max(1)),
            3 => bytes.insert(from, SIGNS[self.rng.usize(0..SIGNS.len())]),
            4 => bytes.truncate(from),
            5 => drop(bytes.drain(from..to)),
            6 => {
                let copy = bytes[from..to].to_vec();
                let at = self.rng.usize(0..=bytes.len());
                bytes.splice(at..at, copy);
            }
            7 => bytes[from..to].reverse(),
            _ => {
                let other = self.others[self.rng.usize(0..self.others.len())];
                bytes.truncate(from);
                bytes.extend_from_slice(&other[other.len().min(to)..]);
            }
        }
    }

    /// A range within `len` bytes, mostly a short one.
    fn range(&mut self, len: usize) -> (usize, usize) {
        let from = self.rng.usize(0..=len);
        let most = if self.rng.u8(0..4) == 0 { len } else { 16 };
        (from, self.rng.usize(from..=len.min(from + most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_name_draws_the_same_and_others_others() {
        let input: &[u8] = b"some input of some length";
        let others = [input, b"another"];
        let draw = |name| {
            let mut mutator = Mutator::new(name, &others);
            (0..200).map(|_| mutator.mutated(input)).collect::<Vec<_>>()
        };
        assert_eq!(draw("a"), draw("a"));
        assert_ne!(draw("a"), draw("b"));
        assert!(draw("a").into_iter().collect::<BTreeSet<_>>().len() > 150);
        let long = vec![7; LEN_MAX];
        let mut mutator = Mutator::new("a", &others);
        assert!(
            (0..200)
                .all(|_| mutator.mutated(&long).len() <= LEN_MAX && mutator.mutated(b"").len() <= LEN_MAX)
        );
    }
}
