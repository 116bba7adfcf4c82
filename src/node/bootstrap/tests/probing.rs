//! Leases and our own dials.

use super::*;

#[test]
fn an_original_that_registers_once_stays_while_it_answers() {
    let mut world = World::new();
    world.alive = Box::new(|_| Some(true));
    world.register("10.0.0.1", 9000);
    world.advance(secs(3600));
    assert!(world.node.registry.lists(addr("10.0.0.1:9000")));
    // Once when it came, then once per lease and never more.
    assert!((6..=8).contains(&world.dials.len()), "{:?}", world.dials);
    assert_eq!(world.open.len(), 2, "each dial is closed at once");
}

#[test]
fn a_node_that_renews_is_dialled_once() {
    let mut world = World::new();
    world.alive = Box::new(|_| Some(true));
    for _ in 0..60 {
        world.register("10.0.0.1", 9000);
        world.advance(secs(90));
    }
    assert_eq!(world.dials.len(), 1);
    // One that cannot be dialled but renews stays, too.
    world.alive = Box::new(|_| Some(false));
    for _ in 0..20 {
        world.register("10.0.0.2", 9000);
        world.advance(secs(90));
        assert!(world.node.registry.lists(addr("10.0.0.2:9000")));
    }
}

#[test]
fn all_that_come_at_one_instant_are_dialled_soon_beside_a_flood_of_another_network() {
    let mut world = World::new();
    let honest: Vec<SocketAddr> = (1..=60).map(|host| SocketAddr::from(([10, 1, 0, host], 9000))).collect();
    // Of the flood nobody answers, and each of its dials holds one of the four places of its network for a second.
    for n in 0..300_u16 {
        world.register(&format!("10.6.0.{}", n % 60 + 1), 2000 + n);
    }
    honest.iter().for_each(|node| drop(world.register(&node.ip().to_string(), node.port())));
    for _ in 0..40 {
        for (_, conn, node) in std::mem::take(&mut world.dials) {
            if honest.contains(&node) && world.open.contains_key(&conn) {
                world.dial_ends(conn, true);
            }
        }
        world.advance(Duration::from_millis(50));
        assert!(world.node.slots.in_flight() <= 8);
    }
    let untried = honest.iter().filter(|node| world.node.registry.is_untried(**node)).count();
    assert_eq!(untried, 0, "of 60, after two seconds");
}

#[test]
fn a_node_that_died_is_dropped_after_three_dials_and_saved_without_it() {
    // hostile: 30
    let mut world = World::new();
    world.register("10.0.0.1", 9000);
    world.advance(secs(10));
    world.input(Input::StateSaved { kept: Kept::Registry, result: Ok(()) });
    let early = world.dials.len();
    world.advance(secs(600));
    assert!(!world.node.registry.lists(addr("10.0.0.1:9000")), "nobody is sent there meanwhile");
    world.advance(secs(120));
    assert_eq!((world.dials.len() - early, world.node.census().nodes), (3, 0));
    assert_eq!(decode(&world.saves.last().expect("saved").1), Ok(Vec::new()));
    assert_eq!(world.open.len(), 2);
}

#[test]
fn lack_of_descriptors_condemns_nobody() {
    let mut world = World::new();
    world.register("10.0.0.1", 9000);
    for _ in 0..100 {
        world.advance(secs(20));
        for (_, conn, _) in std::mem::take(&mut world.dials) {
            if world.open.contains_key(&conn) {
                world.input(Input::Closed { conn, fault: Fault::TooManyOpen });
            }
        }
        world.node.registry.check_all();
    }
    // Dials that nobody answers in time do count.
    assert!(world.node.census().nodes <= 1);
    let mut world = World::new();
    world.register("10.0.0.1", 9000);
    let (_, conn, _) = world.dials[0];
    world.input(Input::Closed { conn, fault: Fault::TooManyOpen });
    assert!(world.node.registry.is_untried(addr("10.0.0.1:9000")));
}

#[test]
fn after_a_restart_the_file_s_nodes_are_dialled_without_a_storm() {
    // hostile: 30
    let records: Vec<Record> = (0..5000u32)
        .map(|i| Record {
            addr: SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + i * 16), 9000)),
            first_seen: None,
            last_verified: None,
        })
        .collect();
    let mut world = World::unloaded(Limits::desktop());
    world.load(Slot::Current, Ok(Some(encode(&records, 4 << 20))));
    assert_eq!((world.node.census().nodes, world.dials.len()), (5000, 0));
    let mut most = 0;
    for _ in 0..1300 {
        world.advance(Duration::from_millis(100));
        let dials: Vec<_> = world.dials.drain(..).collect();
        most = most.max(dials.len());
        let mut nets = BTreeMap::new();
        for (_, conn, addr) in dials {
            let std::net::IpAddr::V4(ip) = addr.ip() else { panic!("IPv4") };
            *nets.entry(u32::from(ip) >> 8).or_insert(0) += 1;
            world.dial_ends(conn, u32::from(ip) % 32 == 0);
        }
        assert!(nets.values().all(|&n| n <= 4));
        assert!(world.node.slots.in_flight() <= 64);
    }
    assert!(most <= 64, "{most} in a tenth of a second");
    assert!(world.node.registry.lists(records[0].addr) && !world.node.registry.lists(records[1].addr));
    let answer = world.register("10.200.0.1", 9000);
    assert!(answer.iter().all(|node| u32::from_be_bytes(match node.ip() {
        std::net::IpAddr::V4(ip) => ip.octets(),
        std::net::IpAddr::V6(_) => panic!("IPv4"),
    }) % 32
        == 0
        || *node == addr("10.200.0.1:9000")));
}

#[test]
fn dead_networks_delay_only_themselves() {
    let mut world = World::new();
    world.register("10.7.0.1", 9000);
    for port in 2000..2060 {
        world.register("10.6.0.1", port);
        world.register("10.6.0.2", port);
    }
    world.advance(secs(530));
    world.dials.clear();
    // The dials into 10.6.0 are never answered; each holds one of four places for a second.
    for _ in 0..90 {
        world.advance(secs(1));
        for (_, conn, node) in world.dials.clone() {
            if node == addr("10.7.0.1:9000") && world.open.contains_key(&conn) {
                world.dial_ends(conn, true);
            }
        }
        assert!(world.node.slots.in_flight() <= 4 + 1);
    }
    assert!(world.node.registry.lists(addr("10.7.0.1:9000")));
    assert!(!world.node.registry.lists(addr("10.6.0.1:2000")) || world.node.registry.waiting() < 64);
}

#[test]
fn a_pause_of_our_own_condemns_nobody() {
    // hostile: 169
    let mut world = World::new();
    world.register("10.0.0.1", 9000);
    world.advance(secs(530));
    world.dials.clear();
    while world.dials.is_empty() {
        world.advance(Duration::from_millis(500));
    }
    // The node answers while a save holds the loop; the timer is looked at first.
    let (_, conn, _) = world.dials[0];
    world.now += secs(10);
    world.input(Input::Timeout);
    assert!(world.open.contains_key(&conn));
    world.dial_ends(conn, true);
    assert!(world.node.registry.lists(addr("10.0.0.1:9000")));
    // Silence after that does count.
    world.advance(secs(600));
    assert!(!world.node.registry.lists(addr("10.0.0.1:9000")));
}
