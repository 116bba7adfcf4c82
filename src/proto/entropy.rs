//! Randomness as an argument: keys and nonces from one seed of 32 bytes.
//!
//! Each draw derives the next key and what is given out from the present key, then forgets the present one: who reads
//! this memory later learns nothing about what was drawn before. The same seed draws the same values, which is what
//! makes a run of the simulator repeatable; in earnest the seed comes from the system.

use crate::config::Key;
use std::fmt;

const CONTEXT: &str = "DistriShare entropy";
const KEY: usize = 32;
/// Most bytes of one draw.
const DRAW: usize = 64;

/// A generator for everything secret. One per node; never cloned, so that no value is drawn twice.
pub struct Entropy {
    key: Key,
}

impl Entropy {
    /// From a seed, which must be random and used for nothing else.
    pub fn new(seed: &Key) -> Entropy {
        Entropy { key: seed.clone() }
    }

    /// The next `N` bytes; at most 64, or it does not compile.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= DRAW) }
        let mut drawn = [0; KEY + DRAW];
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(self.key.reveal()).finalize_xof().fill(&mut drawn);
        let (mut key, mut bytes) = ([0; KEY], [0; N]);
        key.copy_from_slice(&drawn[..KEY]);
        bytes.copy_from_slice(&drawn[KEY..KEY + N]);
        self.key = Key::new(key);
        bytes
    }

    /// The next key.
    pub fn key(&mut self) -> Key {
        Key::new(self.bytes())
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_draws_the_same_and_never_the_same_twice() {
        let seed = Key::new([7; 32]);
        let (mut a, mut b) = (Entropy::new(&seed), Entropy::new(&seed));
        let mut seen = BTreeSet::new();
        for _ in 0..1000 {
            let drawn = a.bytes::<32>();
            assert_eq!(drawn, b.bytes());
            assert!(seen.insert(drawn));
        }
        assert_ne!(Entropy::new(&Key::new([8; 32])).key(), Entropy::new(&seed).key());
    }

    #[test]
    fn a_draw_takes_one_step_whatever_its_length() {
        let seed = Key::new([9; 32]);
        let (mut a, mut b) = (Entropy::new(&seed), Entropy::new(&seed));
        let (long, short) = (a.bytes::<64>(), b.bytes::<3>());
        assert_eq!(long[..3], short);
        assert_eq!(a.key(), b.key());
    }

    #[test]
    fn what_was_drawn_is_not_what_is_kept() {
        let mut entropy = Entropy::new(&Key::new([1; 32]));
        let drawn = entropy.key();
        assert_ne!(drawn, entropy.key);
        assert_eq!(format!("{entropy:?}"), "Entropy(…)");
    }
}
