//! Downloads of v1 that wait for an upload slot, first come, first served. An old node cannot try again by itself, and shows
//! its user whatever text it gets. Bounded in all and by source, so that no source has the whole queue.

use crate::config::Limits;
use crate::machine::ConnId;
use crate::node::gate::source;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Who waits, the longest first. A few dozen at most: it is searched from its start.
#[derive(Debug, Default)]
pub(crate) struct UploadQueue {
    order: VecDeque<(IpAddr, ConnId)>,
}

impl UploadQueue {
    /// Takes a place at the end, if there is one for it.
    pub(crate) fn enter(&mut self, ip: IpAddr, conn: ConnId, limits: &Limits) -> bool {
        let from = source(ip);
        let theirs = self.order.iter().filter(|(other, _)| *other == from).count();
        let enters = self.order.len() < limits.v1_waits && theirs < limits.v1_waits_per_ip;
        if enters {
            self.order.push_back((from, conn));
        }
        enters
    }

    /// Its caller is gone, or was told that we are busy.
    pub(crate) fn leave(&mut self, conn: ConnId) {
        self.order.retain(|(_, other)| *other != conn);
    }

    /// Takes out the first whose source has a slot.
    pub(crate) fn next(&mut self, has_slot: impl Fn(IpAddr) -> bool) -> Option<ConnId> {
        let first = self.order.iter().position(|(from, _)| has_slot(*from))?;
        self.order.remove(first).map(|(_, conn)| conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn conn(index: u32) -> ConnId {
        ConnId(Id { index, generation: 0 })
    }

    #[test]
    fn first_come_first_served_among_those_that_have_a_slot() {
        let (mut queue, limits) = (UploadQueue::default(), Limits::desktop());
        for (i, last) in [1, 1, 2, 1, 2].into_iter().enumerate() {
            assert!(queue.enter(ip(last), conn(i as u32), &limits));
        }
        assert_eq!(queue.next(|from| from == ip(2)), Some(conn(2)));
        queue.leave(conn(0));
        queue.leave(conn(0));
        let rest: Vec<_> = std::iter::from_fn(|| queue.next(|_| true)).collect();
        assert_eq!(rest, [1, 3, 4].map(conn));
        assert_eq!(queue.next(|_| true), None);
    }

    #[test]
    fn no_source_takes_the_whole_queue_and_all_have_a_bound() {
        for limits in [Limits::desktop(), Limits::small()] {
            let mut queue = UploadQueue::default();
            let entered = (0..1000).filter(|&i| queue.enter(ip(1), conn(i), &limits)).count();
            assert!(entered == limits.v1_waits_per_ip && entered * 2 <= limits.v1_waits);
            assert!(queue.enter(ip(2), conn(1000), &limits));
            let many = (0..1000u32).filter(|&i| queue.enter(ip(i as u8), conn(2000 + i), &limits)).count();
            assert_eq!(entered + 1 + many, limits.v1_waits);
            queue.leave(conn(1000));
            assert!(queue.enter(ip(200), conn(5000), &limits));
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let (mut queue, limits) = (UploadQueue::default(), Limits::desktop());
        let host = |i: u32| IpAddr::from([0x2001, 0xdb9, 0, 0, 0, 0, 0, i as u16]);
        assert_eq!(
            (0..100).filter(|&i| queue.enter(host(i), conn(i), &limits)).count(),
            limits.v1_waits_per_ip
        );
    }
}
