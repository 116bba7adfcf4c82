//! Nodes that registered and wait for their first probe. Networks take turns, so that a flood of registrations from one of them
//! makes only its own wait.

use crate::node::slots::net;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// Of one network, and in all; a node beyond that is probed when its lease is nearly over.
const PER_NET: usize = 256;
const MAX: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct Early {
    /// Never empty queues.
    nets: BTreeMap<IpAddr, VecDeque<SocketAddr>>,
    /// Each network that has one, the next first.
    turns: VecDeque<IpAddr>,
    len: usize,
}

impl Early {
    /// Waits from now on, unless there is no room.
    pub(super) fn push(&mut self, addr: SocketAddr) {
        let net = net(addr.ip());
        let waiting = self.nets.get(&net);
        // One that comes again before its turn waits once.
        if self.len >= MAX || waiting.is_some_and(|queue| queue.len() >= PER_NET || queue.contains(&addr)) {
            return;
        }
        if waiting.is_none() {
            self.turns.push_back(net);
        }
        self.nets.entry(net).or_default().push_back(addr);
        self.len += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next one, of a network where `enter` allows it now; of up to `scan` networks.
    pub(super) fn next(&mut self, scan: usize, mut enter: impl FnMut(IpAddr) -> bool) -> Option<SocketAddr> {
        for _ in 0..scan.min(self.turns.len()) {
            let net = self.turns.pop_front()?;
            let queue = self.nets.get_mut(&net)?;
            let next = queue.front().copied().filter(|addr| enter(addr.ip()));
            if next.is_some() {
                queue.pop_front();
                self.len -= 1;
            }
            if queue.is_empty() {
                self.nets.remove(&net);
            } else {
                self.turns.push_back(net);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(net: u8, host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, net, host], 9000))
    }

    #[test]
    fn networks_take_turns() {
        let mut early = Early::default();
        (1..=200).for_each(|host| early.push(addr(0, host)));
        [addr(1, 1), addr(2, 1), addr(1, 2)].into_iter().for_each(|addr| early.push(addr));
        // Who asks again and again has one turn.
        (0..1000).for_each(|_| early.push(addr(2, 1)));
        let order: Vec<_> = (0..6).filter_map(|_| early.next(10, |_| true)).collect();
        assert_eq!(order, [addr(0, 1), addr(1, 1), addr(2, 1), addr(0, 2), addr(1, 2), addr(0, 3)]);
        // A network that has its dials already waits, and the others do not.
        early.push(addr(3, 1));
        let next = early.next(10, |ip| ip != addr(0, 4).ip());
        assert_eq!((next, early.next(10, |_| false)), (Some(addr(3, 1)), None));
        assert_eq!((early.len, early.next(0, |_| true)), (197, None));
        assert_eq!(std::iter::from_fn(|| early.next(10, |_| true)).count(), 197);
        assert!(early.nets.is_empty() && early.turns.is_empty());
    }

    #[test]
    fn there_are_bounds() {
        let mut early = Early::default();
        let all = (0..=255_u8).flat_map(|net| (0..=255).map(move |host| addr(net, host)));
        all.chain((0..=255).map(|port| SocketAddr::from(([10, 0, 0, 1], port))))
            .for_each(|addr| early.push(addr));
        assert_eq!((early.len, early.nets.values().map(VecDeque::len).max()), (MAX, Some(PER_NET)));
    }
}
