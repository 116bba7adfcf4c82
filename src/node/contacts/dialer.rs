//! When an address may be dialled: rates of the address rule (HOSTILE.md section 2, rule 7).

use crate::config::Limits;
use crate::machine::ConnId;
use crate::node::sessions::outcome::Class;
use crate::node::slots::Slots;
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// After so many failed dials in an hour a stranger's address is left alone.
const FAILURES_MAX: u32 = 3;
const FAILURES_KEPT: Duration = Duration::from_secs(3600);
/// Addresses whose failures are remembered.
const FAILURES_TABLE: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// A dial that waits.
#[derive(Clone, Copy, Debug)]
struct Wait {
    conn: ConnId,
    addr: SocketAddr,
    since: Instant,
}

/// Dials that wait and dials in flight.
#[derive(Debug)]
pub(crate) struct Dialer {
    /// Those that wait, the longest first.
    near: VecDeque<Wait>,
    far: VecDeque<Wait>,
    /// Longest time that one waits.
    patience: Duration,
    near_in_flight: usize,
    /// Most of those.
    near_max: usize,
    /// Dials in flight to strangers.
    strangers: Slots,
    failures: BTreeMap<SocketAddr, Failures>,
    /// Something changed since nothing more could be dialled.
    dirty: bool,
}

impl Dialer {
    pub(crate) fn new(limits: &Limits) -> Dialer {
        Dialer {
            near: VecDeque::new(),
            far: VecDeque::new(),
            patience: limits.dial_wait,
            near_in_flight: 0,
            near_max: limits.dials,
            strangers: Slots::new(limits.dials_unproven, limits.dials_per_net),
            failures: BTreeMap::new(),
            dirty: false,
        }
    }

    /// Whether a stranger's address has failed so lately, or so often, that it is not dialled for now.
    pub(crate) fn in_backoff(&self, addr: SocketAddr, now: Instant) -> bool {
        self.failures.get(&addr).is_some_and(|failed| {
            let pause = Duration::from_secs(30) * 2u32.saturating_pow(failed.count.saturating_sub(1));
            let since = now - failed.last;
            since < if failed.count >= FAILURES_MAX { FAILURES_KEPT } else { pause }
        })
    }

    /// Puts a dial into the queue of its class.
    pub(crate) fn enqueue(&mut self, now: Instant, conn: ConnId, addr: SocketAddr, class: Class) {
        let wait = Wait { conn, addr, since: now };
        match class {
            Class::Near => self.near.push_back(wait),
            Class::Far => self.far.push_back(wait),
        }
        self.dirty = true;
    }

    /// When the next dial has waited too long: [`Dialer::overdue`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let longest = [self.near.front(), self.far.front()].into_iter().flatten();
        longest.map(|wait| wait.since + self.patience).min()
    }

    /// A dial that has waited too long; it waits on until it is withdrawn.
    pub(crate) fn overdue(&self, now: Instant) -> Option<ConnId> {
        let longest = [self.near.front(), self.far.front()].into_iter().flatten();
        longest.filter(|wait| wait.since + self.patience <= now).map(|wait| wait.conn).next()
    }

    /// Whether some dial waits for nothing but a socket.
    pub(crate) fn has_ready(&self) -> bool {
        let near = !self.near.is_empty() && self.near_in_flight < self.near_max;
        self.dirty && (near || !self.far.is_empty() && !self.strangers.is_full())
    }

    /// The next connection that may be dialled now. `room`: sockets that may still be opened.
    pub(crate) fn next(&mut self, room: usize) -> Option<ConnId> {
        if !self.dirty || room == 0 {
            return None;
        }
        if self.near_in_flight < self.near_max {
            if let Some(wait) = self.near.pop_front() {
                self.near_in_flight += 1;
                return Some(wait.conn);
            }
        }
        if !self.strangers.is_full() {
            let strangers = &mut self.strangers;
            if let Some(at) = self.far.iter().position(|wait| strangers.enter(wait.addr.ip())) {
                return self.far.remove(at).map(|wait| wait.conn);
            }
        }
        self.dirty = false;
        None
    }

    /// A dial that waited is no longer wanted.
    pub(crate) fn withdraw(&mut self, conn: ConnId) {
        self.near.retain(|wait| wait.conn != conn);
        self.far.retain(|wait| wait.conn != conn);
    }

    /// A dial in flight ended.
    pub(crate) fn landed(&mut self, addr: SocketAddr, class: Class, connected: bool, now: Instant) {
        self.dirty = true;
        match class {
            Class::Near => self.near_in_flight -= 1,
            Class::Far => {
                self.strangers.leave(addr.ip());
                self.note(addr, connected, now);
            }
        }
    }

    /// A dial in flight became a connection; who is at the other end will show.
    pub(crate) fn connected(&mut self, addr: SocketAddr, class: Class) {
        self.dirty = true;
        match class {
            Class::Near => self.near_in_flight -= 1,
            Class::Far => self.strangers.leave(addr.ip()),
        }
    }

    /// A node of ours was at the other end.
    pub(crate) fn forgive(&mut self, addr: SocketAddr) {
        self.failures.remove(&addr);
    }

    /// A connection was made, and nothing of ours was at the other end (the address rule, 8).
    pub(crate) fn penalise(&mut self, addr: SocketAddr, class: Class, now: Instant) {
        if class == Class::Far {
            self.note(addr, false, now);
        }
    }

    fn note(&mut self, addr: SocketAddr, connected: bool, now: Instant) {
        if connected {
            self.failures.remove(&addr);
            return;
        }
        if self.failures.len() >= FAILURES_TABLE {
            self.failures.retain(|_, failed| now - failed.last < FAILURES_KEPT);
            if self.failures.len() >= FAILURES_TABLE {
                self.failures.pop_first();
            }
        }
        let failed = self.failures.entry(addr).or_insert(Failures { count: 0, last: now });
        if now - failed.last >= FAILURES_KEPT {
            failed.count = 0;
        }
        failed.count += 1;
        failed.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;

    fn conn(index: u32) -> ConnId {
        ConnId(Id { index, generation: 0 })
    }

    fn far(i: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from(0x0808_0000 + i), 9000))
    }

    #[test]
    fn strangers_are_dialled_a_few_per_network_and_a_bounded_number_in_all() {
        let limits = Limits::desktop();
        let mut dialer = Dialer::new(&limits);
        for i in 0..20 {
            dialer.enqueue(Instant::ZERO, conn(i), far(i), Class::Far);
        }
        let flying: Vec<_> = std::iter::from_fn(|| dialer.next(100)).collect();
        assert_eq!(flying, (0..4).map(conn).collect::<Vec<_>>());
        for i in 0..200 {
            dialer.enqueue(Instant::ZERO, conn(100 + i), far(256 * (i + 1)), Class::Far);
        }
        assert_eq!(std::iter::from_fn(|| dialer.next(100)).count(), limits.dials_unproven - 4);
        dialer.landed(far(0), Class::Far, true, Instant::ZERO);
        assert_eq!(dialer.next(100), Some(conn(4)));
    }

    #[test]
    fn near_ones_go_all_at_once_up_to_the_bound_and_the_room() {
        let limits = Limits::desktop();
        let mut dialer = Dialer::new(&limits);
        for i in 0..1000 {
            dialer.enqueue(Instant::ZERO, conn(i), far(i), Class::Near);
        }
        assert_eq!(dialer.next(0), None);
        assert_eq!(std::iter::from_fn(|| dialer.next(1)).count(), limits.dials);
        dialer.withdraw(conn(256));
        dialer.landed(far(0), Class::Near, false, Instant::ZERO);
        assert_eq!(dialer.next(1), Some(conn(257)));
    }

    #[test]
    fn a_strangers_address_that_keeps_failing_is_left_alone() {
        let mut dialer = Dialer::new(&Limits::desktop());
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let fail = |dialer: &mut Dialer, now| {
            assert!(dialer.strangers.enter(far(0).ip()));
            dialer.landed(far(0), Class::Far, false, now);
        };
        fail(&mut dialer, at(0));
        assert!(dialer.in_backoff(far(0), at(29)) && !dialer.in_backoff(far(0), at(31)));
        fail(&mut dialer, at(31));
        assert!(dialer.in_backoff(far(0), at(31 + 59)) && !dialer.in_backoff(far(0), at(31 + 61)));
        fail(&mut dialer, at(100));
        assert!(dialer.in_backoff(far(0), at(100 + 3599)) && !dialer.in_backoff(far(0), at(100 + 3601)));
        fail(&mut dialer, at(100 + 3601));
        assert_eq!(dialer.failures[&far(0)].count, 1);
    }
}
