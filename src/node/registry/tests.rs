use super::*;
use crate::proto::registry::Cursor;
use fastrand::Rng;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, proptest};
use std::net::Ipv4Addr;

const LEASE: Duration = Duration::from_secs(600);
const REFRESH: Duration = Duration::from_secs(120);

impl Registry {
    /// What must hold between any two calls (dear: for tests).
    pub(crate) fn check_all(&self) {
        assert!(self.nodes.len() <= self.bounds.nodes);
        assert_eq!(self.by_age.len(), self.nodes.len());
        for (&addr, node) in &self.nodes {
            assert!(self.by_age.contains(&(node.verified, node.seen, addr)));
            let listed = match node.standing {
                Standing::Leased => true,
                Standing::Remembered => self.grace,
                _ => false,
            };
            assert_eq!(
                node.place.map(|place| place.verified),
                listed.then_some(node.verified),
                "{addr}: {node:?}"
            );
            assert!(node.place.is_none_or(|place| self.listing.at(addr, place)));
            if let Probe::Waiting(ticket) = node.probe {
                assert!(self.waiting.contains(&(ticket, addr)));
            }
            assert!(addr.ip().is_loopback() || self.of_source(addr.ip()).count() <= self.bounds.per_ip);
        }
        let waiting = self.nodes.values().filter(|node| matches!(node.probe, Probe::Waiting(_))).count();
        assert_eq!(self.waiting.len(), waiting);
        let listed = self.nodes.values().filter(|node| node.place.is_some()).count();
        assert_eq!(self.listing.len(), listed);
        let deciding =
            self.nodes.values().filter(|n| matches!(n.probe, Probe::Dialling { decides: true })).count();
        assert_eq!(self.due.len(), self.nodes.len() - waiting - deciding, "nobody is forgotten");
    }

    fn verified(&self, addr: SocketAddr) -> bool {
        self.nodes.get(&addr).is_some_and(|node| node.verified)
    }

    pub(crate) fn contains(&self, addr: SocketAddr) -> bool {
        self.nodes.contains_key(&addr)
    }

    pub(crate) fn lists(&self, addr: SocketAddr) -> bool {
        self.nodes.get(&addr).is_some_and(|node| node.place.is_some())
    }
}

fn table(nodes: usize, per_ip: usize) -> (Registry, Rng) {
    let listen = SocketAddr::from(([0, 0, 0, 0], 8000));
    (Registry::new(Bounds { nodes, per_ip, lease: LEASE, refresh: REFRESH, listen }, 77), Rng::with_seed(7))
}

fn node(i: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + i), 9000))
}

fn s(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

fn record(addr: SocketAddr, verified: Option<u64>) -> Record {
    Record { addr, first_seen: None, last_verified: verified.map(WallTime) }
}

/// Probes whatever is due at `now`; `alive` says who answers.
fn probe(table: &mut Registry, now: Instant, rng: &mut Rng, alive: impl Fn(SocketAddr) -> bool) -> usize {
    while table.expire(now) {}
    let mut probed = 0;
    while let Some(addr) = table.next_waiting() {
        table.dialled(addr);
        table.check_all();
        if alive(addr) {
            table.answered(now, addr, rng);
        } else {
            table.failed(now, addr, rng);
        }
        table.check_all();
        probed += 1;
    }
    probed
}

#[test]
fn one_source_holds_its_share_and_its_oldest_stale_entry_makes_room() {
    // hostile: 22
    let (mut table, mut rng) = table(1000, 8);
    let addr = |port| SocketAddr::from(([10, 1, 1, 1], port));
    let mut refused = 0;
    for port in 2000..12_000u16 {
        if let Err(crowd) = table.register(s(0), addr(port), &mut rng) {
            assert_eq!(crowd.to_string(), "too many nodes from 10.1.1.1");
            refused += 1;
        }
    }
    assert_eq!((table.len(), refused), (8, 9992));
    table.check_all();
    // Those that renew keep their places; the one that does not is replaced.
    for port in 2001..2008u16 {
        assert_eq!(table.register(s(100), addr(port), &mut rng), Ok(Registered::Renewed));
    }
    assert_eq!(table.register(s(130), addr(5000), &mut rng), Ok(Registered::New));
    assert!(!table.contains(addr(2000)) && table.contains(addr(2001)));
    assert!(table.register(s(130), addr(5001), &mut rng).is_err());
    // Loopback is exempt.
    for port in 2000..2100u16 {
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(table.register(s(0), here, &mut rng), Ok(Registered::New));
    }
    table.check_all();
}

#[test]
fn a_full_table_drops_the_long_unseen_first_and_the_verified_last() {
    // hostile: 23
    let (mut table, mut rng) = table(100, 64);
    for i in 0..100 {
        table.register(s(u64::from(i)), node(i), &mut rng).expect("room");
    }
    table.dialled_early(node(0));
    table.answered(s(100), node(0), &mut rng);
    table.register(s(101), node(1), &mut rng).expect("renewed");
    for i in 100..198 {
        assert_eq!(table.register(s(200), node(i), &mut rng), Ok(Registered::New));
        assert_eq!(table.len(), 100);
    }
    assert!(table.verified(node(0)), "verified");
    assert!(table.contains(node(1)), "the last of the unverified");
    assert!((2..100).all(|i| !table.contains(node(i))));
    table.check_all();
}

#[test]
#[allow(clippy::disallowed_methods)] // measures
fn one_and_a_half_tables_of_registrations_take_no_time() {
    // hostile: 23, 26
    let (mut table, mut rng) = table(65_536, 64);
    let began = std::time::Instant::now();
    for i in 0..100_000 {
        table.register(s(u64::from(i) / 1000), node(i * 256), &mut rng).expect("room");
    }
    assert_eq!(table.len(), 65_536);
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    let (mut small, mut rng) = self::table(65_536, 64);
    let began = std::time::Instant::now();
    for i in 0..4096 {
        small.register(s(0), node(i), &mut rng).expect("room");
    }
    assert!(began.elapsed().as_millis() < 200, "{:?}", began.elapsed());
    table.check_all();
}

#[test]
fn a_dead_node_is_doubted_retried_twice_and_dropped() {
    // hostile: 30
    let (mut table, mut rng) = table(10, 8);
    table.register(s(0), node(1), &mut rng).expect("room");
    assert_eq!(probe(&mut table, s(539), &mut rng, |_| false), 0, "its lease runs");
    assert_eq!(probe(&mut table, s(600), &mut rng, |_| false), 1);
    assert!(!table.lists(node(1)) && table.contains(node(1)));
    assert_eq!(probe(&mut table, s(609), &mut rng, |_| false), 0);
    assert_eq!(probe(&mut table, s(630), &mut rng, |_| false), 1);
    assert_eq!(probe(&mut table, s(649), &mut rng, |_| false), 0);
    assert!(table.contains(node(1)));
    assert_eq!(probe(&mut table, s(691), &mut rng, |_| false), 1);
    assert!(!table.contains(node(1)));
    assert!(table.next_deadline().is_none());
}

#[test]
fn a_living_node_stays_without_registering_again() {
    let (mut table, mut rng) = table(10, 8);
    table.register(s(0), node(1), &mut rng).expect("room");
    for round in 1..20 {
        assert_eq!(probe(&mut table, s(600 * round), &mut rng, |_| true), 1);
        assert!(table.lists(node(1)) && table.verified(node(1)));
    }
    // One lost probe is made good by the next one, or by the node's own word.
    probe(&mut table, s(12_000), &mut rng, |_| false);
    assert!(!table.lists(node(1)) && !table.verified(node(1)));
    probe(&mut table, s(12_030), &mut rng, |_| true);
    assert!(table.lists(node(1)));
    probe(&mut table, s(12_630), &mut rng, |_| false);
    table.register(s(12_631), node(1), &mut rng).expect("room");
    assert!(table.lists(node(1)));
    table.check_all();
}

#[test]
fn nodes_that_came_together_are_not_probed_together() {
    // hostile: 30
    let (mut table, mut rng) = table(1000, 64);
    for i in 0..1000 {
        table.register(s(0), node(i), &mut rng).expect("room");
    }
    let mut most = 0;
    for second in 539..=600 {
        most = most.max(probe(&mut table, s(second), &mut rng, |_| true));
    }
    assert!(most < 60, "{most} in one second");
}

#[test]
fn remembered_nodes_count_for_two_minutes_or_until_they_are_heard_of() {
    let (mut table, mut rng) = table(10, 8);
    let records = vec![record(node(1), None), record(node(2), None), record(node(3), None)];
    assert_eq!(table.remember(s(0), None, records, &mut rng), 3);
    assert!((1..=3).all(|i| table.lists(node(i)) && !table.verified(node(i))));
    table.register(s(1), node(1), &mut rng).expect("room");
    probe(&mut table, s(120), &mut rng, |addr| addr == node(2));
    table.end_grace();
    assert!(table.lists(node(1)) && table.lists(node(2)) && !table.lists(node(3)));
    table.check_all();
}

#[test]
fn silent_remembered_nodes_are_not_given_out_after_the_grace() {
    let (mut table, mut rng) = table(10, 8);
    table.remember(s(0), None, vec![record(node(1), None)], &mut rng);
    table.end_grace();
    assert!(!table.lists(node(1)));
    table.remember(s(200), None, vec![record(node(2), None)], &mut rng);
    assert!(!table.lists(node(2)));
    table.check_all();
}

#[test]
fn what_the_file_says_is_filtered_like_what_the_network_says() {
    // hostile: 177
    let (mut table, mut rng) = table(20, 4);
    let bad = [
        "0.0.0.0:9000",
        "224.1.1.1:9000",
        "255.255.255.255:9000",
        "240.0.0.1:9000",
        "10.0.0.1:25",
        "10.0.0.1:0",
        "192.0.2.1:9000",
        "[fe80::1]:9000",
        "[ff02::1]:9000",
        "[::]:9000",
        "[2002:7f00:1::]:9000",
        "127.0.0.1:8000",
    ];
    let parsed = bad.iter().map(|text| text.parse().expect(text));
    let mut records: Vec<Record> = parsed.map(|addr| record(addr, None)).collect();
    records.extend((0..10).map(|i| record(SocketAddr::from(([10, 2, 2, 2], 2000 + i)), None)));
    records.extend([record(node(5), None), record(node(5), Some(3))]);
    records.push(record("[::ffff:10.0.0.5]:9000".parse().expect("mapped"), None));
    assert_eq!(table.remember(s(0), Some(WallTime(5)), records, &mut rng), 5);
    table.check_all();
    let many = (0..1_000_000).map(|i| record(node(i), None)).collect();
    assert_eq!(table.remember(s(0), None, many, &mut rng), 15);
    assert_eq!(table.len(), 20);
}

#[test]
fn ages_that_cannot_be_are_unknown_and_expire_nobody() {
    // hostile: 31, 183
    let day = 24 * 3600;
    let now = 1_760_000_000;
    for (wall, sure) in [(now, 2), (now + 3650 * day, 0), (now - 3650 * day, 0), (0, 0)] {
        let ages = [Some(now - 10), Some(now - 29 * day), Some(now + 50), None];
        let known = ages.iter().filter(|&&t| age(Some(WallTime(wall)), t.map(WallTime)).is_some()).count();
        assert_eq!(known, sure, "{wall}");
        let (mut table, mut rng) = table(10, 8);
        let records = (0u32..).zip(ages).map(|(i, t)| record(node(i), t)).collect();
        assert_eq!(table.remember(s(0), Some(WallTime(wall)), records, &mut rng), 4);
        assert!((0..4).all(|i| table.lists(node(i))));
    }
    // With room for two, those heard of lately come in.
    let (mut table, mut rng) = table(2, 8);
    let records = vec![record(node(1), None), record(node(2), Some(now - 5)), record(node(3), Some(now - 9))];
    table.remember(s(0), Some(WallTime(now)), records, &mut rng);
    assert!(table.contains(node(2)) && table.contains(node(3)));
}

#[test]
fn a_clock_that_is_set_moves_what_is_kept_and_nothing_else() {
    // hostile: 31
    let (mut table, mut rng) = table(10, 8);
    table.register(s(10), node(1), &mut rng).expect("room");
    table.dialled_early(node(1));
    table.answered(s(20), node(1), &mut rng);
    let kept = |wall| table.records(s(50), wall)[0];
    assert_eq!(kept(None), record(node(1), None));
    let right = kept(Some(WallTime(1_760_000_050)));
    assert_eq!(right.first_seen, Some(WallTime(1_760_000_010)));
    assert_eq!(right.last_verified, Some(WallTime(1_760_000_020)));
    assert_eq!(kept(Some(WallTime(3))).first_seen, Some(WallTime(0)));
}

#[test]
fn loopback_nodes_are_for_this_host_and_everybody_gets_a_turn() {
    // hostile: 13
    let (mut table, mut rng) = table(1000, 64);
    let local = |i: u16| SocketAddr::from(([127, 0, 0, 1], 2000 + i));
    for i in 0..100 {
        table.register(s(0), local(i), &mut rng).expect("room");
        table.register(s(0), node(u32::from(i) * 256), &mut rng).expect("room");
    }
    let far = table.sample(node(0), false, 1000);
    assert_eq!(far.len(), 100);
    assert!(far.iter().all(|addr| !addr.ip().is_loopback()));
    assert_eq!(table.sample(local(0), true, 1000).len(), 200);
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        let sample = table.sample(local(7), true, 40);
        assert_eq!((sample.len(), sample[0]), (40, local(7)));
        table.gave(&sample[1..]);
        seen.extend(sample);
    }
    assert_eq!(seen.len(), 200);
}

fn v6(net: u16, host: u16) -> SocketAddr {
    SocketAddr::from(([0x2001, 0xdb9, 0, net, 0, 0, 0, host], 9000))
}

#[test]
fn a_host_with_many_ipv6_addresses_holds_the_share_of_one_source() {
    // hostile: 22
    let (mut table, mut rng) = table(1000, 8);
    let taken = (0..3000).filter(|&i| table.register(s(0), v6(i % 256, i), &mut rng).is_ok()).count();
    assert_eq!((taken, table.len()), (8, 8));
    let crowd = table.register(s(0), v6(9, 9999), &mut rng).expect_err("full");
    assert_eq!(crowd.to_string(), "too many nodes from 2001:db9::/56");
    table.register(s(0), v6(256, 1), &mut rng).expect("another /56");
    assert_eq!(
        table.remember(s(0), None, (0..3000).map(|i| record(v6(512, i), None)).collect(), &mut rng),
        8
    );
    // A place that nobody renews is free again, also for another address of that source.
    table.register(s(130), v6(7, 7), &mut rng).expect("stale ones make room");
    table.check_all();
}

#[test]
fn verified_nodes_are_named_first_and_newcomers_are_named_all_the_same() {
    let (mut table, mut rng) = table(10_000, 64);
    let verify = |table: &mut Registry, rng: &mut Rng, addr| {
        table.register(s(0), addr, rng).expect("room");
        table.dialled_early(addr);
        table.answered(s(0), addr, rng);
    };
    for i in 0..3000 {
        table.register(s(0), node(256 * i), &mut rng).expect("room");
    }
    (0..20).for_each(|i| verify(&mut table, &mut rng, node(256 * i + 1)));
    let mut newcomers = BTreeSet::new();
    for _ in 0..100 {
        let sample = table.sample(node(7), false, 26);
        assert!((0..20).all(|i| sample.contains(&node(256 * i + 1))), "{sample:?}");
        newcomers.extend(sample.iter().filter(|&&addr| !table.verified(addr)).copied());
        table.gave(&sample[1..]);
    }
    // Five places of each answer, and each of them another node's.
    assert_eq!(newcomers.len(), 1 + 500);
    // Many verified ones leave two places to the others; and each gets its turn.
    (20..220).for_each(|i| verify(&mut table, &mut rng, node(256 * i + 1)));
    let (mut newcomers, mut seen) = (0, BTreeSet::new());
    for _ in 0..10 {
        let sample = table.sample(node(7), false, 60);
        newcomers += sample[1..].iter().filter(|&&addr| !table.verified(addr)).count();
        seen.extend(sample.iter().filter(|&&addr| table.verified(addr)).copied());
        table.gave(&sample[1..]);
    }
    assert_eq!((newcomers, seen.len()), (20, 220));
}

/// Goes through the pages as an asker does; all that was named, and where it may go on later.
fn read_pages(table: &Registry, on_host: bool, mut after: Cursor, size: usize) -> (Vec<SocketAddr>, Cursor) {
    let mut all = Vec::new();
    loop {
        let page = table.page(node(7), on_host, after, size);
        let (next, more) = page.next(page.nodes.len());
        all.extend(page.nodes);
        after = next;
        if !more {
            return (all, after);
        }
    }
}

#[test]
fn pages_name_everybody_once_and_later_only_who_is_new() {
    let (mut table, mut rng) = table(10_000, 64);
    for i in 100..400 {
        table.register(s(0), node(256 * i), &mut rng).expect("room");
    }
    for i in 100..200 {
        table.dialled_early(node(256 * i));
        table.answered(s(0), node(256 * i), &mut rng);
    }
    let local = SocketAddr::from(([127, 0, 0, 1], 2000));
    table.register(s(0), local, &mut rng).expect("room");
    for size in [2, 7, 300, 1000] {
        let (all, _) = read_pages(&table, false, Cursor::default(), size);
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!((all[0], all.len(), distinct.len()), (node(7), 301, 301), "each once, the caller first");
        assert!(all[1..101].iter().all(|&addr| table.verified(addr)));
        assert_eq!(read_pages(&table, true, Cursor::default(), size).0.len(), 302);
    }
    let (_, end) = read_pages(&table, false, Cursor::default(), 50);
    // A renewal is nothing new; a newcomer is, and a node that was verified since.
    table.register(s(1), node(256 * 300), &mut rng).expect("renewed");
    assert_eq!(read_pages(&table, false, end, 50), (vec![], end));
    table.register(s(1), node(5), &mut rng).expect("room");
    table.dialled_early(node(256 * 301));
    table.answered(s(1), node(256 * 301), &mut rng);
    let (news, end) = read_pages(&table, false, end, 50);
    assert_eq!(news, [node(256 * 301), node(5)]);
    // An answer that was cut goes on behind what fitted.
    let page = table.page(node(7), false, Cursor::default(), 50);
    let (next, more) = page.next(20);
    assert!(more && table.page(node(7), false, next, 50).nodes[0] == page.nodes[20]);
    // Of another table, or ahead of this one: from the beginning.
    for odd in
        [Cursor { table: 78, ..end }, Cursor { verified: u64::MAX, ..end }, Cursor { others: 9999, ..end }]
    {
        assert_eq!(read_pages(&table, false, odd, 1000).0.len(), 302);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_indexes_agree_whatever_happens(
        ops in vec((0u8..9, 0u32..40, 0u64..200), 0..300),
        seed in any::<u64>(),
    ) {
        let (mut table, _) = table(24, 3);
        let mut rng = Rng::with_seed(seed);
        let mut now = s(0);
        let mut dialled = Vec::new();
        for (op, i, wait) in ops {
            let addr = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + i / 4), 9000 + (i % 4) as u16));
            match op {
                0..=2 => { let _ = table.register(now, addr, &mut rng); }
                3 => { now += Duration::from_secs(wait); while table.expire(now) {} }
                4 => if let Some(addr) = table.next_waiting() { table.dialled(addr); dialled.push(addr); },
                5 => if let Some(addr) = dialled.pop() { table.answered(now, addr, &mut rng); },
                6 => if let Some(addr) = dialled.pop() { table.failed(now, addr, &mut rng); },
                7 => if let Some(addr) = dialled.pop() { table.inconclusive(now, addr, &mut rng); },
                _ => if table.is_untried(addr) { table.dialled_early(addr); dialled.push(addr); },
            }
            table.check_all();
        }
    }
}
