//! What a file holds: literal bytes, or bytes made from a seed and the place in the file, so that a file of many
//! gigabytes costs two numbers and every byte of it can be checked wherever it turns up.

use crate::rng::mix;

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    Generated { seed: u64, len: u64 },
}

impl Content {
    pub(crate) fn generated(seed: u64, len: u64) -> Content {
        Content::Generated { seed, len }
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Generated { len, .. } => *len,
        }
    }

    /// The `n` bytes from `offset` on, fewer at the end.
    pub(crate) fn read(&self, offset: u64, n: usize) -> Vec<u8> {
        let n = (n as u64).min(self.len().saturating_sub(offset)) as usize;
        match self {
            Content::Bytes(bytes) => bytes[offset.min(self.len()) as usize..][..n].to_vec(),
            Content::Generated { seed, .. } => generate(*seed, offset, n),
        }
    }

    pub(crate) fn truncate(&mut self, to: u64) {
        match self {
            Content::Bytes(bytes) => bytes.truncate(to as usize),
            Content::Generated { len, .. } => *len = (*len).min(to),
        }
    }

    /// Whether this is how `other` begins.
    pub(crate) fn is_prefix_of(&self, other: &Content) -> bool {
        if self.len() > other.len() {
            return false;
        }
        if let (Content::Generated { seed: a, .. }, Content::Generated { seed: b, .. }) = (self, other) {
            if a == b {
                return true;
            }
        }
        let step = 64 << 10;
        (0..self.len()).step_by(step).all(|at| {
            let mine = self.read(at, step);
            mine == other.read(at, mine.len())
        })
    }

    pub(crate) fn same(&self, other: &Content) -> bool {
        self.len() == other.len() && self.is_prefix_of(other)
    }

    /// Stores `bytes` at `offset`. A file that so far is a generated one stays so while the bytes agree.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8], generators: &[u64]) {
        if self.len() == 0 && offset == 0 && bytes.len() >= 8 {
            let found = generators.iter().find(|&&seed| generate(seed, 0, 8) == bytes[..8]);
            if let Some(&seed) = found {
                *self = Content::Generated { seed, len: 0 };
            }
        }
        if let Content::Generated { seed, len } = self {
            if offset == *len && generate(*seed, offset, bytes.len()) == bytes {
                *len += bytes.len() as u64;
                return;
            }
            *self = Content::Bytes(self.read(0, self.len() as usize));
        }
        if let Content::Bytes(whole) = self {
            let end = offset as usize + bytes.len();
            if whole.len() < end {
                whole.resize(end, 0);
            }
            whole[offset as usize..end].copy_from_slice(bytes);
        }
    }
}

/// `n` bytes of the file `seed` from `offset` on.
fn generate(seed: u64, offset: u64, n: usize) -> Vec<u8> {
    let skip = (offset % 8) as usize;
    let mut out = Vec::with_capacity(n + 16);
    let mut word = offset / 8;
    while out.len() < n + skip {
        out.extend_from_slice(&mix(seed ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes());
        word += 1;
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
        assert!(matches!(copy, Content::Bytes(_)) && !copy.same(&file) && !copy.is_prefix_of(&file));
        let mut short = file.clone();
        short.truncate(10);
        assert!(short.is_prefix_of(&file) && !short.same(&file));
    }
}
