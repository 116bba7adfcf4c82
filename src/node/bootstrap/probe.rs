//! Our own dials: a TCP connect, closed at once, shows whether a node still lives.
//!
//! A node is probed when its lease is nearly over (nodes that renew never come to that), when it was read from the
//! file, and once when it registers if a slot is free at that moment: a verified node keeps its place in a flood of
//! registrations.

use super::{Bootstrap, Conn, End, Timer};
use crate::machine::{ConnId, Fault, Output};
use crate::node::registry::AfterFailure;
use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Waiting nodes looked at per call: those whose network is busy go to the end of the queue.
const SCAN_MAX: usize = 64;
/// When probes wait for connections of others to end.
const ROOM_RETRY: Duration = Duration::from_secs(1);

/// Bounds on dials in flight, in all and per network; loopback counts in all only.
#[derive(Debug)]
pub(super) struct Slots {
    max: usize,
    per_net: usize,
    in_flight: usize,
    nets: BTreeMap<IpAddr, usize>,
}

impl Slots {
    pub(super) fn new(max: usize, per_net: usize) -> Slots {
        Slots { max, per_net, in_flight: 0, nets: BTreeMap::new() }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn is_full(&self) -> bool {
        self.in_flight >= self.max
    }

    fn enter(&mut self, ip: IpAddr) -> bool {
        let here = self.nets.get(&net(ip)).copied().unwrap_or(0);
        if self.is_full() || (!ip.is_loopback() && here >= self.per_net) {
            return false;
        }
        self.in_flight += 1;
        self.nets.insert(net(ip), here + 1);
        true
    }

    fn leave(&mut self, ip: IpAddr) {
        self.in_flight -= 1;
        if let Some(here) = self.nets.get_mut(&net(ip)) {
            *here -= 1;
            if *here == 0 {
                self.nets.remove(&net(ip));
            }
        }
    }
}

/// The network of an address: its /24, or its /48.
fn net(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip) & (u32::MAX << 8)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & (u128::MAX << 80)).into(),
    }
}

impl Bootstrap {
    /// Dials nodes that wait for it, as far as the bounds allow.
    pub(super) fn probe_waiting(&mut self, now: Instant) {
        for _ in 0..SCAN_MAX {
            if self.registry.waiting() == 0 || self.slots.is_full() || !self.serving() {
                return;
            }
            if self.conns.len() >= self.config.limits.conns {
                self.timers.set(Timer::Probes, now + ROOM_RETRY, "room for probes");
                return;
            }
            let Some(addr) = self.registry.next_waiting() else { return };
            if self.slots.enter(addr.ip()) {
                self.registry.dialled(addr);
                self.dial(now, addr);
            } else {
                self.registry.requeue(addr);
            }
        }
    }

    /// Probes a node that just registered, if that costs nobody a turn. Its answer counts, its silence does not.
    pub(super) fn probe_early(&mut self, now: Instant, addr: SocketAddr) {
        let room = self.registry.waiting() == 0 && self.conns.len() < self.config.limits.conns;
        if room && self.registry.is_untried(addr) && self.slots.enter(addr.ip()) {
            self.registry.dialled_early(addr);
            self.dial(now, addr);
        }
    }

    fn dial(&mut self, now: Instant, addr: SocketAddr) {
        let conn = ConnId(self.conns.insert(Conn::Probe(addr)));
        self.timers.set(Timer::Conn(conn), now + self.config.limits.probe_deadline, "probe");
        self.outputs.push_back(Output::Connect { conn, addr });
    }

    /// A probe ended.
    pub(super) fn probed(&mut self, now: Instant, addr: SocketAddr, why: End) {
        self.slots.leave(addr.ip());
        match why {
            End::Alive => self.registry.answered(now, addr, &mut self.rng),
            // What this host lacks says nothing about the node.
            End::Stopping | End::Lost(Fault::TooManyOpen | Fault::NoMemory | Fault::Denied) => {
                self.registry.inconclusive(now, addr, &mut self.rng);
            }
            _ => match self.registry.failed(now, addr, &mut self.rng) {
                AfterFailure::Kept => {}
                AfterFailure::Doubted => log::debug!("{addr} does not answer: not given out for now"),
                AfterFailure::Dropped => {
                    self.notice(now, "node dropped: no answer", addr);
                    self.membership_changed(now);
                }
            },
        }
        self.probe_waiting(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dials_are_bounded_in_all_and_per_network_but_loopback() {
        let mut slots = Slots::new(10, 4);
        let ip = |a, b| IpAddr::from([10, 0, a, b]);
        assert_eq!((0..9).filter(|&i| slots.enter(ip(0, i))).count(), 4);
        assert_eq!((0..9).filter(|&i| slots.enter(IpAddr::from([127, 0, 0, i + 1]))).count(), 6);
        assert!(!slots.enter(ip(1, 1)) && slots.is_full());
        slots.leave(ip(0, 1));
        assert!(slots.enter(ip(1, 1)));
        assert_eq!(slots.in_flight(), 10);
        assert_eq!(slots.nets.len(), 3);
    }

    #[test]
    fn networks_are_24_and_48_bits() {
        let same = |a: &str, b: &str| net(a.parse().expect("ip")) == net(b.parse().expect("ip"));
        assert!(same("10.1.2.3", "10.1.2.250") && !same("10.1.2.3", "10.1.3.3"));
        assert!(same("2001:db8:1:2::3", "2001:db8:1:ffff::4") && !same("2001:db8:1::", "2001:db8:2::"));
    }
}
