//! Who may come in: bounds on accepted connections, in all, per source, and before their first valid request
//! (HOSTILE.md 3.0). Where a bound is reached somebody who has said nothing valid yet makes room: the oldest of the source
//! that has most of them, so that a flood pushes out its own. Sources on this host are bounded by the room alone: no flood
//! comes from there, and a flood from elsewhere is none of theirs.

use crate::config::Limits;
use crate::machine::ConnId;
use crate::time::Instant;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

/// Connections of one source.
#[derive(Debug, Default)]
struct Here {
    all: usize,
    /// Those without a valid request yet, the oldest first.
    silent: BTreeSet<(Instant, ConnId)>,
}

/// A source by how many silent connections it has, then by how long the oldest of them is.
type Load = (Reverse<usize>, Instant, IpAddr);

/// Counts of accepted connections.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    all: usize,
    /// Silent connections of sources that are not this host.
    silent: usize,
    by_source: BTreeMap<IpAddr, Here>,
    /// Sources with silent connections, the most loaded first.
    loads: BTreeSet<Load>,
}

/// What becomes of a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Enters,
    /// It enters, and this one goes.
    Replaces(ConnId),
    Refused,
}

/// Who an address counts for: an IPv4 address for itself, or the /56 of an IPv6 one, of which one host may have as many as it likes.
pub(crate) fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & (u128::MAX << 72)).into(),
    }
}

impl Gate {
    /// Whether a connection from `ip` may come in. `room`: sockets that may still be opened.
    pub(crate) fn judge(&self, ip: IpAddr, room: usize, limits: &Limits) -> Verdict {
        if room == 0 {
            return self.longest(|_| true).map_or(Verdict::Refused, Verdict::Replaces);
        }
        if ip.is_loopback() {
            return Verdict::Enters;
        }
        let here = self.by_source.get(&source(ip));
        let (all, silent) = here.map_or((0, 0), |here| (here.all, here.silent.len()));
        let own = || here.and_then(|here| here.silent.first()).map(|(_, conn)| *conn);
        if all >= limits.conns_per_ip || silent >= limits.unauth_per_ip {
            return own().map_or(Verdict::Refused, Verdict::Replaces);
        }
        if self.silent >= limits.unauth {
            return self.longest(|ip| !ip.is_loopback()).map_or(Verdict::Refused, Verdict::Replaces);
        }
        Verdict::Enters
    }

    /// The oldest silent connection of the most loaded source that `counts`.
    fn longest(&self, counts: impl Fn(IpAddr) -> bool) -> Option<ConnId> {
        let (_, _, ip) = self.loads.iter().find(|(_, _, ip)| counts(*ip))?;
        self.by_source.get(ip)?.silent.first().map(|(_, conn)| *conn)
    }

    /// A connection came in.
    pub(crate) fn enter(&mut self, now: Instant, ip: IpAddr, conn: ConnId) {
        self.all += 1;
        self.change(ip, |here| {
            here.all += 1;
            here.silent.insert((now, conn));
        });
    }

    /// The connection, which came at `since`, made a valid request. Nothing happens if it had made one before.
    pub(crate) fn authenticated(&mut self, ip: IpAddr, since: Instant, conn: ConnId) {
        self.change(ip, |here| _ = here.silent.remove(&(since, conn)));
    }

    /// The connection, which came at `since`, is gone.
    pub(crate) fn leave(&mut self, ip: IpAddr, since: Instant, conn: ConnId) {
        self.all -= 1;
        self.change(ip, |here| {
            here.all -= 1;
            here.silent.remove(&(since, conn));
        });
    }

    /// The one place where counts of a source change.
    fn change(&mut self, ip: IpAddr, edit: impl FnOnce(&mut Here)) {
        let from = source(ip);
        let here = self.by_source.entry(from).or_default();
        let load =
            |here: &Here| here.silent.first().map(|(oldest, _)| (Reverse(here.silent.len()), *oldest, from));
        let (before, silent) = (load(here), here.silent.len());
        edit(here);
        let (after, now_silent, empty) = (load(here), here.silent.len(), here.all == 0);
        if before != after {
            before.map(|before| self.loads.remove(&before));
            self.loads.extend(after);
        }
        if !from.is_loopback() {
            self.silent = self.silent + now_silent - silent;
        }
        if empty {
            self.by_source.remove(&from);
        }
    }

    /// Connections inside.
    pub(crate) fn len(&self) -> usize {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;
    use crate::time::Duration;

    /// A gate with its clock and its visitors.
    #[derive(Default)]
    struct World {
        gate: Gate,
        came: BTreeMap<ConnId, (IpAddr, Instant)>,
        next: u32,
    }

    impl World {
        /// Whether it got in; who made room for it is gone.
        fn calls(&mut self, ip: IpAddr, limits: &Limits) -> Option<ConnId> {
            self.next += 1;
            let now = Instant::ZERO + Duration::from_millis(self.next.into());
            let conn = ConnId(Id { index: self.next, generation: 0 });
            match self.gate.judge(ip, 20_000, limits) {
                Verdict::Refused => return None,
                Verdict::Replaces(other) => self.leaves(other),
                Verdict::Enters => {}
            }
            self.gate.enter(now, ip, conn);
            self.came.insert(conn, (ip, now));
            Some(conn)
        }

        fn leaves(&mut self, conn: ConnId) {
            let (ip, since) = self.came.remove(&conn).expect("it is inside");
            self.gate.leave(ip, since, conn);
        }

        fn speaks(&mut self, conn: ConnId) {
            let (ip, since) = self.came[&conn];
            self.gate.authenticated(ip, since, conn);
        }

        fn here(&self, ip: IpAddr) -> usize {
            self.came.values().filter(|(other, _)| source(*other) == source(ip)).count()
        }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, last / 16, last])
    }

    #[test]
    fn a_source_is_bounded_and_leaves_room_when_it_goes() {
        let (mut world, limits) = (World::default(), Limits::desktop());
        let first = world.calls(ip(1), &limits).expect("room");
        for _ in 0..100 {
            world.calls(ip(1), &limits).expect("in place of an older one");
        }
        assert_eq!((world.here(ip(1)), world.came.contains_key(&first)), (limits.unauth_per_ip, false));
        // Those that speak stay, up to the bound of all of a source.
        for _ in 0..limits.conns_per_ip {
            let conn = world.calls(ip(2), &limits).expect("room");
            world.speaks(conn);
            world.speaks(conn);
        }
        assert_eq!((world.calls(ip(2), &limits), world.here(ip(2))), (None, limits.conns_per_ip));
        for conn in world.came.keys().copied().collect::<Vec<_>>() {
            world.leaves(conn);
        }
        let gate = &world.gate;
        assert_eq!((gate.len(), gate.silent, gate.by_source.len(), gate.loads.len()), (0, 0, 0, 0));
    }

    #[test]
    fn a_host_with_many_ipv6_addresses_is_one_source() {
        let (mut world, limits) = (World::default(), Limits::desktop());
        let at = |net: u16, host: u16| IpAddr::from([0x2001, 0xdb9, 0, net, 0, 0, 0, host]);
        for host in 0..100 {
            world.calls(at(host % 256, host), &limits);
        }
        assert_eq!(world.here(at(0, 0)), limits.unauth_per_ip);
        assert!(world.calls(at(256, 1), &limits).is_some() && world.here(at(0, 0)) == limits.unauth_per_ip);
    }

    #[test]
    fn a_flood_pushes_out_its_own() {
        // hostile: 94
        for limits in [Limits::desktop(), Limits::small()] {
            let mut world = World::default();
            let honest = world.calls(ip(200), &limits).expect("room");
            for i in 0..10_000u32 {
                world.calls(IpAddr::from(std::net::Ipv4Addr::from(0x0b00_0000 + i % 20)), &limits);
                assert!(world.gate.silent <= limits.unauth);
            }
            assert!(world.came.contains_key(&honest), "it is alone at its address");
            assert!((0..100).all(|n| world.calls(ip(n), &limits).is_some()), "nor is a newcomer kept out");
        }
        // Where each comes from an address of its own the oldest of all goes.
        let (mut world, limits) = (World::default(), Limits::desktop());
        let flood: Vec<_> = (0..10_000u32)
            .map(|i| world.calls(IpAddr::from(std::net::Ipv4Addr::from(0x0b00_0000 + i)), &limits))
            .collect();
        assert_eq!(world.came.len(), limits.unauth);
        assert!(flood.iter().flatten().rev().take(limits.unauth).all(|conn| world.came.contains_key(conn)));
    }

    #[test]
    fn sources_on_this_host_are_bounded_by_the_room_alone() {
        let (mut world, limits) = (World::default(), Limits::desktop());
        let local = IpAddr::from([127, 0, 0, 1]);
        let all: Vec<_> = (0..5000).map(|_| world.calls(local, &limits).expect("room")).collect();
        assert!(world.calls(ip(1), &limits).is_some(), "they take nobody else's place");
        assert_eq!((world.gate.len(), world.gate.silent), (5001, 1));
        assert_eq!(world.gate.judge(ip(2), 0, &limits), Verdict::Replaces(all[0]));
        all.iter().for_each(|conn| world.speaks(*conn));
        assert!(matches!(world.gate.judge(local, 0, &limits), Verdict::Replaces(conn) if conn != all[0]));
    }

    #[test]
    fn nobody_enters_without_room() {
        assert_eq!(Gate::default().judge(ip(1), 0, &Limits::desktop()), Verdict::Refused);
    }
}
