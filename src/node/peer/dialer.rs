//! When an address may be dialled: rates of the address rule (HOSTILE.md section 2, rule 7).

use crate::config::Limits;
use crate::machine::ConnId;
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// After so many failed dials in an hour a stranger's address is left alone.
const FAILURES_MAX: u32 = 3;
const FAILURES_KEPT: Duration = Duration::from_secs(3600);
/// Addresses whose failures are remembered.
const FAILURES_TABLE: usize = 4096;

/// How freely an address is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Class {
    /// Typed by the operator, proven, or in one of our own networks.
    Near,
    /// Somebody said that a node is there.
    Far,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Dials that wait and dials in flight.
#[derive(Debug, Default)]
pub(super) struct Dialer {
    near: VecDeque<ConnId>,
    far: VecDeque<(ConnId, SocketAddr)>,
    near_in_flight: usize,
    far_in_flight: usize,
    per_net: BTreeMap<IpAddr, usize>,
    failures: BTreeMap<SocketAddr, Failures>,
    /// Something changed since nothing more could be dialled.
    dirty: bool,
}

impl Dialer {
    /// Whether a stranger's address has failed too often lately.
    pub(super) fn is_tired_of(&self, addr: SocketAddr, now: Instant) -> bool {
        self.failures.get(&addr).is_some_and(|failed| {
            let pause = Duration::from_secs(30) * 2u32.saturating_pow(failed.count.saturating_sub(1));
            let since = now - failed.last;
            since < if failed.count >= FAILURES_MAX { FAILURES_KEPT } else { pause }
        })
    }

    /// Puts a dial into the queue of its class.
    pub(super) fn enqueue(&mut self, conn: ConnId, addr: SocketAddr, class: Class) {
        match class {
            Class::Near => self.near.push_back(conn),
            Class::Far => self.far.push_back((conn, addr)),
        }
        self.dirty = true;
    }

    /// The next connection that may be dialled now. `room`: sockets that may still be opened.
    pub(super) fn next(&mut self, room: usize, limits: &Limits) -> Option<ConnId> {
        if !self.dirty {
            return None;
        }
        if room > 0 && self.near_in_flight < limits.dials {
            if let Some(conn) = self.near.pop_front() {
                self.near_in_flight += 1;
                return Some(conn);
            }
        }
        if room > 0 && self.far_in_flight < limits.dials_unproven {
            let free = |addr: &SocketAddr| {
                self.per_net.get(&net(addr.ip())).copied().unwrap_or(0) < limits.dials_per_net
            };
            if let Some(at) = self.far.iter().position(|(_, addr)| free(addr)) {
                let (conn, addr) = self.far.remove(at)?;
                self.far_in_flight += 1;
                *self.per_net.entry(net(addr.ip())).or_default() += 1;
                return Some(conn);
            }
        }
        self.dirty = false;
        None
    }

    /// A dial that waited is no longer wanted.
    pub(super) fn withdraw(&mut self, conn: ConnId) {
        self.near.retain(|c| *c != conn);
        self.far.retain(|(c, _)| *c != conn);
    }

    /// A dial in flight ended.
    pub(super) fn landed(&mut self, addr: SocketAddr, class: Class, connected: bool, now: Instant) {
        self.dirty = true;
        match class {
            Class::Near => self.near_in_flight -= 1,
            Class::Far => {
                self.far_in_flight -= 1;
                let net = net(addr.ip());
                if let Some(n) = self.per_net.get_mut(&net) {
                    *n -= 1;
                    if *n == 0 {
                        self.per_net.remove(&net);
                    }
                }
                self.note(addr, connected, now);
            }
        }
    }

    /// A socket was closed elsewhere: there may be room again.
    pub(super) fn room_made(&mut self) {
        self.dirty = true;
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

/// The network an address counts for: /24, or /48 of IPv6.
fn net(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::from([ip.octets()[0], ip.octets()[1], ip.octets()[2], 0]),
        IpAddr::V6(ip) => {
            let s = ip.segments();
            IpAddr::from([s[0], s[1], s[2], 0, 0, 0, 0, 0])
        }
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
        let (mut dialer, limits) = (Dialer::default(), Limits::desktop());
        for i in 0..20 {
            dialer.enqueue(conn(i), far(i), Class::Far);
        }
        let flying: Vec<_> = std::iter::from_fn(|| dialer.next(100, &limits)).collect();
        assert_eq!(flying, (0..4).map(conn).collect::<Vec<_>>());
        for i in 0..200 {
            dialer.enqueue(conn(100 + i), far(256 * (i + 1)), Class::Far);
        }
        assert_eq!(std::iter::from_fn(|| dialer.next(100, &limits)).count(), limits.dials_unproven - 4);
        dialer.landed(far(0), Class::Far, true, Instant::ZERO);
        assert_eq!(dialer.next(100, &limits), Some(conn(4)));
    }

    #[test]
    fn near_ones_go_all_at_once_up_to_the_bound_and_the_room() {
        let (mut dialer, limits) = (Dialer::default(), Limits::desktop());
        for i in 0..1000 {
            dialer.enqueue(conn(i), far(i), Class::Near);
        }
        assert_eq!(dialer.next(0, &limits), None);
        dialer.room_made();
        assert_eq!(std::iter::from_fn(|| dialer.next(1, &limits)).count(), limits.dials);
        dialer.withdraw(conn(256));
        dialer.landed(far(0), Class::Near, false, Instant::ZERO);
        assert_eq!(dialer.next(1, &limits), Some(conn(257)));
    }

    #[test]
    fn a_strangers_address_that_keeps_failing_is_left_alone() {
        let mut dialer = Dialer::default();
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let fail = |dialer: &mut Dialer, now| {
            dialer.far_in_flight += 1;
            dialer.landed(far(0), Class::Far, false, now);
        };
        fail(&mut dialer, at(0));
        assert!(dialer.is_tired_of(far(0), at(29)) && !dialer.is_tired_of(far(0), at(31)));
        fail(&mut dialer, at(31));
        assert!(dialer.is_tired_of(far(0), at(31 + 59)) && !dialer.is_tired_of(far(0), at(31 + 61)));
        fail(&mut dialer, at(100));
        assert!(dialer.is_tired_of(far(0), at(100 + 3599)) && !dialer.is_tired_of(far(0), at(100 + 3601)));
        fail(&mut dialer, at(100 + 3601));
        assert_eq!(dialer.failures[&far(0)].count, 1);
    }
}
