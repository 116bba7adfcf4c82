//! Who may come in: bounds on accepted connections, in all, per source, and before their first valid request
//! (HOSTILE.md 3.0 and 5.1). Sources on this host are bounded by the room alone: no flood comes from there, and a flood
//! from elsewhere is none of theirs.

use crate::config::Limits;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    all: usize,
    unauth: usize,
}

/// Counts of accepted connections.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    total: Counts,
    by_source: BTreeMap<IpAddr, Counts>,
}

/// Who an address counts for: an IPv4 address for itself, or the /56 of an IPv6 one, of which one host may have as many as it likes.
pub(crate) fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & (u128::MAX << 72)).into(),
    }
}

impl Gate {
    /// Lets a connection from `ip` in, or not. `room`: sockets that may still be opened.
    pub(crate) fn enter(&mut self, ip: IpAddr, room: usize, limits: &Limits, rng: &mut Rng) -> bool {
        let here = self.by_source.get(&source(ip)).copied().unwrap_or_default();
        let crowded = here.all >= limits.conns_per_ip || here.unauth >= limits.unauth_per_ip;
        if room == 0 || (!ip.is_loopback() && (crowded || self.drop_early(limits, rng))) {
            return false;
        }
        let here = self.by_source.entry(source(ip)).or_default();
        here.all += 1;
        here.unauth += 1;
        self.total.all += 1;
        self.total.unauth += usize::from(!ip.is_loopback());
        true
    }

    /// Random early drop among those that have not said anything valid yet: the flood loses most of its own.
    fn drop_early(&self, limits: &Limits, rng: &mut Rng) -> bool {
        let drop = limits.unauth;
        let n = self.total.unauth;
        if n < drop.start {
            return false;
        }
        if n >= drop.full {
            return true;
        }
        let grown = (100 - drop.rate) as usize * (n - drop.start) / (drop.full - drop.start).max(1);
        rng.u32(0..100) < drop.rate + u32::try_from(grown).unwrap_or(100)
    }

    /// The connection made a valid request.
    pub(crate) fn authenticated(&mut self, ip: IpAddr) {
        self.total.unauth -= usize::from(!ip.is_loopback());
        if let Some(here) = self.by_source.get_mut(&source(ip)) {
            here.unauth -= 1;
        }
    }

    /// The connection is gone; `unauth` if it never made a valid request.
    pub(crate) fn leave(&mut self, ip: IpAddr, unauth: bool) {
        self.total.all -= 1;
        self.total.unauth -= usize::from(unauth && !ip.is_loopback());
        if let Some(here) = self.by_source.get_mut(&source(ip)) {
            here.all -= 1;
            here.unauth -= usize::from(unauth);
            if here.all == 0 {
                self.by_source.remove(&source(ip));
            }
        }
    }

    /// Connections inside.
    pub(crate) fn len(&self) -> usize {
        self.total.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, last / 16, last])
    }

    #[test]
    fn a_source_is_bounded_and_leaves_room_when_it_goes() {
        let (mut gate, limits, mut rng) = (Gate::default(), Limits::desktop(), Rng::with_seed(1));
        for _ in 0..limits.unauth_per_ip {
            assert!(gate.enter(ip(1), 100, &limits, &mut rng));
        }
        assert!(!gate.enter(ip(1), 100, &limits, &mut rng));
        assert!(gate.enter(ip(2), 100, &limits, &mut rng));
        gate.authenticated(ip(1));
        assert!(gate.enter(ip(1), 100, &limits, &mut rng));
        for _ in 0..limits.unauth_per_ip {
            gate.leave(ip(1), true);
        }
        gate.leave(ip(1), false);
        gate.leave(ip(2), true);
        assert_eq!((gate.len(), gate.by_source.len()), (0, 0));
    }

    #[test]
    fn a_host_with_many_ipv6_addresses_is_one_source() {
        let (mut gate, limits, mut rng) = (Gate::default(), Limits::desktop(), Rng::with_seed(4));
        let at = |net: u16, host: u16| IpAddr::from([0x2001, 0xdb9, 0, net, 0, 0, 0, host]);
        let hosts = 0..2 * u16::try_from(limits.unauth_per_ip).expect("few");
        let entered = hosts.filter(|&host| gate.enter(at(host % 256, host), 100, &limits, &mut rng)).count();
        assert_eq!(entered, limits.unauth_per_ip);
        assert!(gate.enter(at(256, 1), 100, &limits, &mut rng), "another /56");
        gate.leave(at(256, 1), true);
        (0..16).for_each(|host| gate.leave(at(host % 256, host), true));
        assert_eq!((gate.len(), gate.by_source.len()), (0, 0));
    }

    #[test]
    fn a_half_open_flood_is_dropped_early_and_never_exceeds_full() {
        // hostile: 94
        let (mut gate, limits, mut rng) = (Gate::default(), Limits::desktop(), Rng::with_seed(2));
        let mut entered = 0;
        for i in 0..10_000u32 {
            let ip = IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + i));
            entered += usize::from(gate.enter(ip, 20_000, &limits, &mut rng));
        }
        assert!(entered <= limits.unauth.full);
        assert!(entered >= limits.unauth.start);
    }

    #[test]
    fn sources_on_this_host_are_bounded_by_the_room_alone() {
        let (mut gate, limits, mut rng) = (Gate::default(), Limits::desktop(), Rng::with_seed(4));
        let local = IpAddr::from([127, 0, 0, 1]);
        assert!((0..5000).all(|_| gate.enter(local, 1, &limits, &mut rng)));
        assert!(!gate.enter(local, 0, &limits, &mut rng));
        assert!(gate.enter(ip(1), 1, &limits, &mut rng), "they take nobody else's place");
        gate.authenticated(local);
        gate.leave(local, false);
        (0..4999).for_each(|_| gate.leave(local, true));
        gate.leave(ip(1), true);
        assert_eq!((gate.len(), gate.total.unauth, gate.by_source.len()), (0, 0, 0));
    }

    #[test]
    fn nobody_enters_without_room() {
        let (mut gate, limits, mut rng) = (Gate::default(), Limits::desktop(), Rng::with_seed(3));
        assert!(!gate.enter(ip(1), 0, &limits, &mut rng));
        assert_eq!(gate.len(), 0);
    }
}
