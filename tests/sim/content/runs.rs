//! Runs of bytes in the order of their places, with holes between them.

use super::generate;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    len: u64,
    /// By their first byte. They do not overlap.
    runs: BTreeMap<u64, Run>,
}

#[derive(Clone, Debug)]
enum Run {
    Bytes(Vec<u8>),
    /// Of the file that this seed makes, at the same place.
    Made {
        seed: u64,
        len: u64,
    },
}

/// The longest run of bytes that are made from nothing.
const BYTES_MAX: u64 = 64 << 10;

impl Run {
    fn len(&self) -> u64 {
        match self {
            Run::Bytes(bytes) => bytes.len() as u64,
            Run::Made { len, .. } => *len,
        }
    }

    /// What is left of it from its byte `from` on, up to its byte `to`.
    fn cut(&self, from: u64, to: u64) -> Run {
        match self {
            Run::Bytes(bytes) => Run::Bytes(bytes[from as usize..to as usize].to_vec()),
            Run::Made { seed, .. } => Run::Made { seed: *seed, len: to - from },
        }
    }

    /// They are alike, and one run of both is not too long to be cut again and again.
    fn joins(&self, next: &Run) -> bool {
        self.seed() == next.seed() && (self.seed().is_some() || self.len() + next.len() <= BYTES_MAX)
    }

    fn seed(&self) -> Option<u64> {
        match self {
            Run::Made { seed, .. } => Some(*seed),
            Run::Bytes(_) => None,
        }
    }
}

impl Runs {
    pub(super) fn new(len: u64) -> Runs {
        Runs { len, runs: BTreeMap::new() }
    }

    pub(super) fn bytes(bytes: Vec<u8>) -> Runs {
        let len = bytes.len() as u64;
        let runs = if len == 0 { BTreeMap::new() } else { BTreeMap::from([(0, Run::Bytes(bytes))]) };
        Runs { len, runs }
    }

    pub(super) fn generated(seed: u64, len: u64) -> Runs {
        let made = Run::Made { seed, len };
        Runs { len, runs: if len == 0 { BTreeMap::new() } else { BTreeMap::from([(0, made)]) } }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn stored(&self) -> u64 {
        self.runs.values().map(Run::len).sum()
    }

    pub(super) fn stored_within(&self, from: u64, to: u64) -> u64 {
        let first = self.at(from).map_or(from, |(start, _)| start);
        let within =
            |(&start, run): (&u64, &Run)| (start + run.len()).min(to).saturating_sub(start.max(from));
        self.runs.range(first..to.max(first)).map(within).sum()
    }

    /// All of it is made from this seed.
    pub(super) fn one_seed(&self) -> Option<u64> {
        let (&at, run) = self.runs.first_key_value()?;
        run.seed().filter(|_| at == 0 && run.len() == self.len)
    }

    /// The run that the byte lies in, with its first byte.
    fn at(&self, at: u64) -> Option<(u64, &Run)> {
        let (&start, run) = self.runs.range(..=at).next_back()?;
        (start + run.len() > at).then_some((start, run))
    }

    pub(super) fn seed_at(&self, at: u64) -> Option<(u64, u64)> {
        let (start, run) = self.at(at)?;
        Some((run.seed()?, start + run.len()))
    }

    /// `n` bytes that are there.
    pub(super) fn read(&self, offset: u64, n: usize) -> Vec<u8> {
        let mut out = vec![0; n];
        let end = offset + n as u64;
        let first = self.at(offset).map_or(offset, |(start, _)| start);
        for (&start, run) in self.runs.range(first..end) {
            let (from, to) = (start.max(offset), (start + run.len()).min(end));
            let into = &mut out[(from - offset) as usize..(to - offset) as usize];
            match run {
                Run::Bytes(bytes) => {
                    into.copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
                }
                Run::Made { seed, .. } => into.copy_from_slice(&generate(*seed, from, (to - from) as usize)),
            }
        }
        out
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.clear(len, self.len);
        }
        self.len = len;
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], generators: &[u64]) {
        if bytes.is_empty() {
            return;
        }
        let short = &bytes[..bytes.len().min(8)];
        // What goes on where it stands is tried first; one byte alone is any seed's.
        let before = offset.checked_sub(1).and_then(|at| self.seed_at(at)).map(|(seed, _)| seed);
        let all = before.into_iter().chain(generators.iter().copied().filter(|_| bytes.len() >= 8));
        let all = all.chain(self.seed_at(offset + bytes.len() as u64).map(|(seed, _)| seed));
        let mut fits = all
            .filter(|&seed| generate(seed, offset, short.len()) == short)
            .filter(|&seed| generate(seed, offset, bytes.len()) == bytes);
        let run = match fits.next() {
            Some(seed) => Run::Made { seed, len: bytes.len() as u64 },
            None => Run::Bytes(bytes.to_vec()),
        };
        self.put(offset, run);
    }

    /// The same range of another file; its holes, too.
    pub(super) fn paste(&mut self, from: &Runs, offset: u64, n: u64) {
        let end = offset + n;
        self.clear(offset, end);
        self.len = self.len.max(end);
        let first = from.at(offset).map_or(offset, |(start, _)| start);
        for (&start, run) in from.runs.range(first..end) {
            let (a, b) = (start.max(offset), (start + run.len()).min(end));
            self.put(a, run.cut(a - start, b - start));
        }
    }

    fn put(&mut self, mut at: u64, mut run: Run) {
        let end = at + run.len();
        self.clear(at, end);
        self.len = self.len.max(end);
        // One with its neighbours where they are alike.
        if let Some((start, before)) = at.checked_sub(1).and_then(|last| self.at(last)) {
            if before.joins(&run) {
                let before = self.runs.remove(&start);
                run = before.map_or(run.clone(), |before| join(before, run));
                at = start;
            }
        }
        if let Some(after) = self.runs.get(&end).filter(|after| run.joins(after)) {
            run = join(run, after.clone());
            self.runs.remove(&end);
        }
        self.runs.insert(at, run);
    }

    /// Makes a hole.
    fn clear(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let first = self.at(from).map_or(from, |(start, _)| start);
        let hit: Vec<u64> = self.runs.range(first..to).map(|(&start, _)| start).collect();
        for start in hit {
            let Some(run) = self.runs.remove(&start) else { continue };
            let end = start + run.len();
            if start < from {
                self.runs.insert(start, run.cut(0, from - start));
            }
            if end > to {
                self.runs.insert(to, run.cut(to - start, end - start));
            }
        }
    }
}

fn join(first: Run, second: Run) -> Run {
    match (first, second) {
        (Run::Bytes(mut bytes), Run::Bytes(more)) => {
            bytes.extend_from_slice(&more);
            Run::Bytes(bytes)
        }
        (Run::Made { seed, len }, second) => Run::Made { seed, len: len + second.len() },
        (first, _) => first, // own state: only runs that are alike are joined
    }
}
