//! Chance from a seed. Every component has a generator of its own, seeded by hash(run seed, label): switching one class
//! of faults off leaves the draws of all others as they were, and so a failing run can be made smaller step by step.

use std::collections::{BTreeMap, BTreeSet};

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Turns a counter into a value whose bits all depend on all of its bits (the finaliser of SplitMix64).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// SplitMix64: a counter and a mixer.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The generator of the component `label` (and its number) in the run `seed`.
    pub(crate) fn new(seed: u64, label: &str, number: u64) -> Rng {
        let mut state = mix(seed.wrapping_add(GOLDEN));
        for byte in label.bytes() {
            state = mix(state ^ u64::from(byte)).wrapping_add(GOLDEN);
        }
        Rng(mix(state ^ number))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// 0 to `n - 1`; 0 if `n` is 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    pub(crate) fn size(&mut self, low: usize, high: usize) -> usize {
        self.between(low as u64, high as u64) as usize
    }

    /// True `ppm` times in a million. Draws nothing for 0, so that faults which are off cost nothing.
    pub(crate) fn chance(&mut self, ppm: u32) -> bool {
        ppm != 0 && self.below(1_000_000) < u64::from(ppm)
    }

    pub(crate) fn flip(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// Between `low` and `high` with every order of magnitude as likely as the next.
    pub(crate) fn log_uniform(&mut self, low: u64, high: u64) -> u64 {
        let (a, b) = (low.max(1).ilog2(), high.max(1).ilog2());
        let top = 1u64 << self.between(u64::from(a), u64::from(b));
        self.between(top, top.saturating_mul(2).saturating_sub(1)).clamp(low, high)
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

/// One generator per class of fault, made when it is first needed.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    seed: u64,
    number: u64,
    classes: BTreeMap<&'static str, Rng>,
    /// What really happened, for tests of the faults themselves.
    pub(crate) fallen: BTreeSet<&'static str>,
}

impl Dice {
    pub(crate) fn new(seed: u64, number: u64) -> Dice {
        Dice { seed, number, classes: BTreeMap::new(), fallen: BTreeSet::new() }
    }

    pub(crate) fn of(&mut self, class: &'static str) -> &mut Rng {
        let (seed, number) = (self.seed, self.number);
        self.classes.entry(class).or_insert_with(|| Rng::new(seed, class, number))
    }

    /// Whether the fault `class` happens now.
    pub(crate) fn falls(&mut self, class: &'static str, ppm: u32) -> bool {
        let falls = ppm != 0 && self.of(class).chance(ppm);
        if falls {
            self.fallen.insert(class);
        }
        falls
    }
}
