//! Numbers of files in an order that the files themselves give: four bytes a file where a map would hold each key again.

use std::iter::{Chain, Copied, Flatten};
use std::slice;

/// Numbers that stand together. Moving half of them is cheaper than one step down a deep tree.
const CHUNK_MAX: usize = 512;
/// Fewer are joined to their neighbours.
const CHUNK_MIN: usize = CHUNK_MAX / 4;

/// Numbers in ascending order of keys that lie elsewhere. Each call is given `before`: whether a number's key is less
/// than the one that is meant. Keys differ, and stay as they are while their number stands here.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// None of them is empty.
    chunks: Vec<Vec<u32>>,
    len: usize,
}

/// Numbers in their order. A type with a name, since it holds nothing of what found its beginning.
pub(super) type Numbers<'a> = Copied<Chain<slice::Iter<'a, u32>, Flatten<slice::Iter<'a, Vec<u32>>>>>;

/// Between two numbers, or at an end.
#[derive(Clone, Copy, Debug)]
struct Place {
    chunk: usize,
    at: usize,
}

impl Order {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, number: u32, before: impl Fn(u32) -> bool) {
        let Place { chunk, at } = self.place(before);
        self.len += 1;
        // What comes in order, as listings do, fills each chunk.
        let last = self.chunks.len();
        if chunk == last {
            match self.chunks.last_mut() {
                Some(tail) if tail.len() < CHUNK_MAX => tail.push(number),
                _ => self.chunks.push(vec![number]),
            }
            return;
        }
        let here = &mut self.chunks[chunk];
        here.insert(at, number);
        if here.len() > CHUNK_MAX {
            let tail = here.split_off(CHUNK_MAX / 2);
            here.shrink_to_fit();
            self.chunks.insert(chunk + 1, tail);
        }
    }

    /// Takes `number` out; `before` speaks of its own key. False: it does not stand here.
    pub(super) fn remove(&mut self, number: u32, before: impl Fn(u32) -> bool) -> bool {
        let Place { chunk, at } = self.place(before);
        if self.chunks.get(chunk).and_then(|here| here.get(at)) != Some(&number) {
            return false;
        }
        self.len -= 1;
        self.chunks[chunk].remove(at);
        if self.chunks[chunk].is_empty() {
            self.chunks.remove(chunk);
        } else if self.chunks[chunk].len() < CHUNK_MIN && chunk + 1 < self.chunks.len() {
            let joined = self.chunks[chunk].len() + self.chunks[chunk + 1].len();
            if joined <= CHUNK_MAX - CHUNK_MIN {
                let tail = self.chunks.remove(chunk + 1);
                self.chunks[chunk].extend(tail);
            }
        }
        true
    }

    /// The numbers from the first one on whose key is not `before`.
    pub(super) fn from(&self, before: impl Fn(u32) -> bool) -> Numbers<'_> {
        let Place { chunk, at } = self.place(before);
        let here = self.chunks.get(chunk).map_or(&[][..], |here| &here[at..]);
        let rest = self.chunks.get(chunk + 1..).unwrap_or_default();
        here.iter().chain(rest.iter().flatten()).copied()
    }

    pub(super) fn first(&self) -> Option<u32> {
        self.chunks.first()?.first().copied()
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        let chunks = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<u32>()).sum::<usize>();
        chunks + self.chunks.capacity() * size_of::<Vec<u32>>()
    }

    /// Behind all whose key is less.
    fn place(&self, before: impl Fn(u32) -> bool) -> Place {
        let chunk = self.chunks.partition_point(|chunk| chunk.last().is_some_and(|&last| before(last)));
        let at = self.chunks.get(chunk).map_or(0, |here| here.partition_point(|&number| before(number)));
        Place { chunk, at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Keys that are not in the order of their numbers.
    fn key(number: u32) -> u32 {
        number.wrapping_mul(0x9e37_79b9)
    }

    fn check(order: &Order, model: &BTreeSet<(u32, u32)>) {
        let all: Vec<u32> = order.from(|_| false).collect();
        assert_eq!(all, model.iter().map(|&(_, number)| number).collect::<Vec<_>>());
        assert_eq!((order.len(), order.first()), (model.len(), all.first().copied()));
        assert!(order.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_MAX));
    }

    #[test]
    fn thousands_come_and_go_and_the_chunks_stay_filled() {
        let (mut order, mut model) = (Order::default(), BTreeSet::new());
        for n in 0..20_000 {
            order.insert(n, |other| key(other) < key(n));
            model.insert((key(n), n));
        }
        check(&order, &model);
        let middle = key(777);
        let tail: Vec<u32> = order.from(|other| key(other) < middle).take(1000).collect();
        assert_eq!(tail, model.range((middle, 0)..).map(|&(_, n)| n).take(1000).collect::<Vec<_>>());
        for n in (0..20_000).filter(|n| n % 50 != 0) {
            assert!(order.remove(n, |other| key(other) < key(n)));
            assert!(!order.remove(n, |other| key(other) < key(n)));
            model.remove(&(key(n), n));
        }
        check(&order, &model);
        assert!(order.chunks.len() <= 2 * 400 / CHUNK_MIN + 1, "{}", order.chunks.len());
    }

    #[test]
    fn what_comes_in_order_fills_the_chunks() {
        let mut order = Order::default();
        (0..10 * CHUNK_MAX as u32).for_each(|n| order.insert(n, |other| other < n));
        assert_eq!(order.chunks.len(), 10);
        assert!(order.memory() <= 10 * CHUNK_MAX * 4 + 16 * 24);
    }

    proptest! {
        #[test]
        fn any_order_of_calls_does_what_a_set_does(calls in prop::collection::vec((any::<bool>(), 0u32..300), 0..600)) {
            let (mut order, mut model) = (Order::default(), BTreeSet::new());
            for (insert, n) in calls {
                if !insert {
                    prop_assert_eq!(order.remove(n, |other| key(other) < key(n)), model.remove(&(key(n), n)));
                } else if model.insert((key(n), n)) {
                    order.insert(n, |other| key(other) < key(n));
                }
            }
            check(&order, &model);
        }
    }
}
