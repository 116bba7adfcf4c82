//! How many dials to addresses that nobody vouches for may be in flight (HOSTILE.md section 2, rule 7).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bounds on dials in flight, in all and per network; loopback counts in all only.
#[derive(Debug)]
pub(crate) struct Slots {
    max: usize,
    per_net: usize,
    in_flight: usize,
    nets: BTreeMap<IpAddr, usize>,
}

impl Slots {
    pub(crate) fn new(max: usize, per_net: usize) -> Slots {
        Slots { max, per_net, in_flight: 0, nets: BTreeMap::new() }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn is_full(&self) -> bool {
        self.in_flight >= self.max
    }

    /// Takes a slot for a dial to `ip`, if one is free.
    pub(crate) fn enter(&mut self, ip: IpAddr) -> bool {
        let here = self.nets.get(&net(ip)).copied().unwrap_or(0);
        if self.is_full() || (!ip.is_loopback() && here >= self.per_net) {
            return false;
        }
        self.in_flight += 1;
        self.nets.insert(net(ip), here + 1);
        true
    }

    /// The dial to `ip` ended.
    pub(crate) fn leave(&mut self, ip: IpAddr) {
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
pub(crate) fn net(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip) & (u32::MAX << 8)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & (u128::MAX << 80)).into(),
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
