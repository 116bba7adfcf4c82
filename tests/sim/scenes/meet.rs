//! Nodes find each other: by the group alone, by a registry alone, by both; they leave, fall silent and come back.

use super::common::{
    MS, S, addr_of, alive, all_meet, at_registry, bootstrap, command, config, count, get, has_copy, host_of,
    list, others, peer, peers, peers_on, plain,
};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::NodeId;
use crate::world::World;
use distrishare::config::Limits;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn multicast_on(world: &mut World, nodes: &[NodeId]) {
    nodes.iter().for_each(|&node| world.type_line(node, "multicast on"));
}

#[test]
fn two_meet_by_multicast_alone_search_and_download() {
    scenario("two_meet_by_multicast_alone", 10, |world| {
        world.env.truth.forbid_short = true;
        let nodes = peers(world, 2);
        world.share(nodes[0], "a file.txt", Content::generated(1, 100_000));
        multicast_on(world, &nodes);
        world.run_for(S * 2);
        all_meet(world, &nodes, "multicast");
        all_meet(world, &nodes, "all");
        assert!(alive(world, nodes[1], "bootstrap").is_empty());
        let found = command(world, nodes[1], "search a file.txt");
        let first = addr_of(world, nodes[0]);
        assert_eq!((found.len(), count(&found, "found"), count(&found, "result")), (2, 1, 1), "{found:?}");
        let source = &found[1]["sources"][0];
        assert_eq!((&found[0]["ip"], &found[0]["port"]), (&source["ip"], &source["port"]));
        assert_eq!(source["ip"], first.ip().to_string());
        assert_eq!(source["port"], first.port());
        get(world, nodes[1], nodes[0], "a file.txt");
        assert!(world.run_until(S * 5, |world| has_copy(world, nodes[1], "a file.txt")));
        nodes.iter().for_each(|&node| world.type_line(node, "quit"));
        assert!(world.run_until(S, |world| nodes.iter().all(|&node| world.exit_status(node) == Some(0))));
    });
}

#[test]
fn five_meet_by_a_registry_alone() {
    scenario("five_meet_by_a_registry_alone", 6, |world| {
        let lan = world.lan();
        let registry = world.host(&[lan]);
        bootstrap(world, registry, |_| {});
        let target = at_registry(world, registry);
        let nodes = peers_on(world, lan, 5, move |config| config.bootstraps = vec![target.clone()]);
        for &node in &nodes {
            world.type_line(node, "bootstrap");
            world.run_for(S / 4);
        }
        // The first ones hear of the last when they renew.
        world.run_for(S * 125);
        all_meet(world, &nodes, "bootstrap");
        all_meet(world, &nodes, "all");
        assert!(alive(world, nodes[0], "multicast").is_empty());
    });
}

#[test]
fn several_at_once_and_in_parallel() {
    scenario("several_at_once", 4, |world| {
        world.env.truth.forbid_short = true;
        let lan = world.lan();
        let registry = world.host(&[lan]);
        bootstrap(world, registry, |_| {});
        let target = at_registry(world, registry);
        let nodes = peers_on(world, lan, 5, move |config| {
            config.bootstraps = vec![target.clone()];
            config.join = true;
        });
        for (i, &node) in nodes.iter().enumerate() {
            world.share(node, "common", "the same everywhere");
            for (j, len) in [0u64, 1, 4095, 4096, 4097, 300_000].into_iter().enumerate() {
                world.share(node, &format!("file {i}-{j}"), Content::generated((i * 10 + j) as u64, len));
            }
        }
        world.run_for(S * 3);
        all_meet(world, &nodes, "all");
        let found = command(world, nodes[0], "search common");
        let places: BTreeSet<String> = found
            .iter()
            .filter(|event| event["event"] == "found")
            .map(|event| event["ip"].to_string())
            .collect();
        assert_eq!((places.len(), count(&found, "found"), count(&found, "result")), (4, 4, 1), "{found:?}");
        let sources = found.last().and_then(|result| result["sources"].as_array());
        assert_eq!(sources.map(Vec::len), Some(4), "one file in four places: {found:?}");
        for to in [0, 1] {
            for (i, &from) in nodes.iter().enumerate().filter(|&(i, _)| i != to) {
                (0..6).for_each(|j| get(world, nodes[to], from, &format!("file {i}-{j}")));
            }
        }
        let whole = |world: &World, to: usize| {
            (0..5)
                .filter(|&i| i != to)
                .all(|i| (0..6).all(|j| has_copy(world, nodes[to], &format!("file {i}-{j}"))))
        };
        assert!(
            world.run_until(S * 20, |world| whole(world, 0) && whole(world, 1)),
            "{}",
            world.stdout(nodes[0])
        );
    });
}

#[test]
fn two_hundred_meet_by_registry_and_multicast() {
    scenario("two_hundred_meet", 1, |world| {
        let lan = world.lan();
        let registry = world.host(&[lan]);
        bootstrap(world, registry, |_| {});
        let target = at_registry(world, registry);
        let nodes = peers_on(world, lan, 200, move |config| {
            config.bootstraps = vec![target.clone()];
            config.join = true;
        });
        world.share(nodes[7], "needle", "found");
        world.run_for(S * 12);
        let mut named = 0;
        for &node in &[nodes[0], nodes[99], nodes[199]] {
            assert_eq!(alive(world, node, "multicast"), others(world, &nodes, node));
            assert_eq!(alive(world, node, "all").len(), 199);
            named += alive(world, node, "bootstrap").len();
            let before = world.now();
            let found = command(world, node, "search needle");
            assert_eq!(
                (found.len(), count(&found, "found"), count(&found, "result")),
                (2, 1, 1),
                "{found:?}"
            );
            assert!(world.now() - before < S, "about as long as the slowest answer");
        }
        // Who registers first is told of few.
        assert!(named >= 20, "samples of those who were there");
        get(world, nodes[150], nodes[7], "needle");
        assert!(world.run_until(S * 5, |world| has_copy(world, nodes[150], "needle")));
    });
}

#[test]
fn goodbye_silence_and_return() {
    scenario("goodbye_silence_and_return", 6, |world| {
        let nodes = peers(world, 4);
        multicast_on(world, &nodes);
        world.run_for(S * 3);
        all_meet(world, &nodes, "multicast");

        // Goodbye: off the multicast list at once, still known, and alive.
        world.type_line(nodes[1], "multicast off");
        world.run_for(S / 10);
        let (first, second) = (addr_of(world, nodes[0]).to_string(), addr_of(world, nodes[1]).to_string());
        assert!(!alive(world, nodes[0], "multicast").contains(&second));
        assert!(alive(world, nodes[0], "all").contains(&second));
        assert!(alive(world, nodes[1], "multicast").is_empty(), "who leaves the group forgets its list");

        // Silence: not gone before three periods were missed, gone soon after.
        world.power_off(host_of(world, nodes[2]));
        let third = addr_of(world, nodes[2]).to_string();
        world.run_for(S * 3 * 4);
        let (up, down) = list(world, nodes[0], "multicast");
        assert!(!up.contains(&third) && down.contains(&third), "not before: {up:?} {down:?}");
        world.run_for(S * 8);
        let (up, down) = list(world, nodes[0], "multicast");
        assert!(!up.contains(&third) && !down.contains(&third), "not after: {up:?} {down:?}");
        assert!(list(world, nodes[0], "all").1.contains(&third), "still known");

        // And back again.
        world.type_line(nodes[1], "multicast on");
        world.power_on(host_of(world, nodes[2]));
        world.start(nodes[2]);
        world.type_line(nodes[2], "multicast on");
        world.run_for(S * 2);
        all_meet(world, &nodes, "multicast");
        assert!(alive(world, nodes[2], "multicast").contains(&first));
    });
}

/// When each node said HELLO to the group, by what a listener of the group heard. Each says it to old nodes and to new.
fn hellos(world: &mut World, nodes: &[NodeId], time: Duration) -> BTreeMap<String, Vec<u64>> {
    let lan = crate::ids::LanId(0);
    let host = world.host(&[lan]);
    let ear = world.actor(host, Ear);
    let start = world.env.now;
    world.run_for(time);
    world.stop(ear);
    let mut heard: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut sealed: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for note in &world.log(ear).notes {
        let (at, text) = note.split_once(' ').expect("own state: the ear's note");
        let at: u64 = at.parse().expect("own state: the ear's note");
        let (by_kind, sender) = match text.strip_prefix("DS2 ") {
            Some(sender) => (&mut sealed, sender),
            None => (&mut heard, text),
        };
        by_kind.entry(sender.to_owned()).or_default().push(at - start);
    }
    assert_eq!((heard.len(), sealed.len()), (nodes.len(), nodes.len()), "{heard:?} {sealed:?}");
    for (sender, times) in &heard {
        let sender = sender.split(':').nth(1).expect("a HELLO has an address");
        // One of a pair may come just outside of the time that is listened to.
        let beside = sealed.get(sender).map_or(0, Vec::len);
        assert!(times.len().abs_diff(beside) <= 1, "{sender}: {times:?} {sealed:?}");
    }
    heard
}

/// Notes when it heard what.
struct Ear;

impl crate::actor::Actor for Ear {
    fn told(&mut self, cx: &mut crate::actor::Cx<'_>, what: crate::actor::Told<'_>) {
        match what {
            crate::actor::Told::Start => cx.join(2),
            crate::actor::Told::Datagram { from, bytes } => {
                let now = cx.env.now;
                let text = String::from_utf8_lossy(bytes);
                // What is sealed differs each time: its source tells whose it is.
                let text = if text.starts_with("DS2 ") { format!("DS2 {}", from.ip()) } else { text.into() };
                cx.note(format!("{now} {text}"));
            }
            _ => {}
        }
    }
}

#[test]
fn twenty_started_at_once_are_out_of_step_after_a_minute() {
    // hostile: 53
    scenario("twenty_started_at_once", 3, |world| {
        let nodes = peers(world, 20);
        multicast_on(world, &nodes);
        world.run_for(S * 60);
        let heard = hellos(world, &nodes, S * 60);
        let mut all: Vec<u64> = heard.values().flatten().copied().collect();
        all.sort_unstable();
        for times in heard.values() {
            assert!((10..=14).contains(&times.len()), "one in about five seconds: {times:?}");
            let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(
                gaps.clone().all(|gap| (4_400_000..5_600_000).contains(&gap)),
                "{:?}",
                gaps.collect::<Vec<_>>()
            );
        }
        // Twenty in a burst would be twenty within the jitter of the network; evenly spread, a quarter of a second has one.
        let most =
            all.iter().map(|&at| all.iter().filter(|&&other| (at..at + 250_000).contains(&other)).count());
        assert!(most.max() <= Some(8), "a burst");
    });
}

#[test]
fn registrations_are_refreshed_and_jittered() {
    scenario("registrations_are_refreshed", 3, |world| {
        let lan = world.lan();
        let registry = world.host(&[lan]);
        // A lease shorter than a few renewals: who did not renew would be probed, and here nobody answers probes.
        let node = bootstrap(world, registry, |config| config.lease = S * 200);
        let target = at_registry(world, registry);
        let nodes = peers_on(world, lan, 3, move |config| {
            config.bootstraps = vec![target.clone()];
            config.join = true;
        });
        world.run_for(S * 10);
        let before: Vec<u64> = dials_of(world, registry);
        world.run_for(S * 600);
        let after: Vec<u64> = dials_of(world, registry);
        let renewals = after[0] - before[0];
        assert!((15..=31).contains(&renewals), "3 nodes, 600 s, one in 60 to 120 s: {renewals}");
        all_meet(world, &nodes, "bootstrap");
        // A registry that starts anew knows them again, from its file or from their renewals.
        world.crash(node);
        world.run_for(S * 30);
        world.start(node);
        world.run_for(S * 150);
        let host = world.host(&[lan]);
        let late = peer(world, host, |_| {});
        let line = format!("bootstrap {}", at_registry(world, registry));
        command(world, late, &line);
        assert_eq!(alive(world, late, "bootstrap"), others(world, &nodes, late));
    });
}

fn dials_of(world: &World, registry: crate::ids::HostId) -> Vec<u64> {
    vec![world.env.dials.get(&world.addr(registry, super::common::REGISTRY)).copied().unwrap_or(0)]
}

#[test]
fn two_on_one_host_and_a_node_with_two_networks() {
    scenario("two_on_one_host", 4, |world| {
        let (a, b) = (world.lan(), world.lan());
        let (left, middle, right) = (world.host(&[a]), world.host(&[a, b]), world.host(&[b]));
        let one = plain(world, middle);
        let two = peer(world, middle, |config| config.listen.set_port(9001));
        let three = plain(world, left);
        let four = plain(world, right);
        world.share(four, "far", Content::generated(3, 50_000));
        multicast_on(world, &[one, two, three, four]);
        world.run_for(S * 3);
        let seen = alive(world, one, "multicast");
        assert!(seen.iter().any(|node| node.ends_with(":9001")), "the other on this host: {seen:?}");
        assert_eq!(seen.len(), 3, "each once: {seen:?}");
        let far = alive(world, three, "multicast");
        let middle: BTreeSet<String> = [9000, 9001].map(|port| world.addr(middle, port).to_string()).into();
        assert_eq!(far, middle, "the other network is out of reach");
        get(world, one, four, "far");
        assert!(world.run_until(S * 5, |world| has_copy(world, one, "far")));
    });
}

#[test]
fn a_suspended_node_is_missed_and_returns_with_its_lists() {
    scenario("a_suspended_node", 6, |world| {
        let nodes = peers(world, 3);
        multicast_on(world, &nodes);
        world.run_for(S * 3);
        world.suspend(nodes[0]);
        world.run_for(S * 30);
        let first = addr_of(world, nodes[0]).to_string();
        let (up, down) = list(world, nodes[1], "multicast");
        assert!(!up.contains(&first) && !down.contains(&first), "silent for 30 s");
        world.resume(nodes[0]);
        world.run_for(MS);
        // What it missed while it stood still is its own fault: the others are not thrown off its list.
        assert_eq!(alive(world, nodes[0], "multicast"), others(world, &nodes, nodes[0]));
        world.run_for(S * 7);
        all_meet(world, &nodes, "multicast");
    });
}

#[test]
fn a_cable_pulled_and_an_address_changed() {
    scenario("a_cable_pulled", 4, |world| {
        let nodes = peers(world, 3);
        multicast_on(world, &nodes);
        world.run_for(S * 3);
        let host = host_of(world, nodes[0]);
        world.set_link(host, 2, false);
        world.run_for(S * 25);
        let first = addr_of(world, nodes[0]).to_string();
        assert!(!alive(world, nodes[1], "multicast").contains(&first));
        assert!(alive(world, nodes[0], "multicast").is_empty());
        world.set_link(host, 2, true);
        world.env.net.topology.set_addr(host, 2, [10, 0, 9, 9].into());
        world.run_for(S * 8);
        assert!(alive(world, nodes[1], "multicast").contains("10.0.9.9:9000"), "under its new address");
        assert_eq!(alive(world, nodes[0], "multicast"), others(world, &nodes, nodes[0]));
    });
}

#[test]
fn the_limits_of_hello_are_the_configured_ones() {
    // The period and the patience come from `Limits`, not from a constant somewhere.
    scenario("the_limits_of_hello", 2, |world| {
        let lan = world.lan();
        let quick = Limits { hello_interval: S, hello_missed: 2, ..Limits::desktop() };
        let nodes = peers_on(world, lan, 2, move |config| config.limits = quick.clone());
        multicast_on(world, &nodes);
        world.run_for(S * 5);
        let heard = hellos(world, &nodes, S * 10);
        assert!(heard.values().all(|times| (8..=12).contains(&times.len())), "{heard:?}");
        let second = addr_of(world, nodes[1]).to_string();
        world.power_off(host_of(world, nodes[1]));
        world.run_for(S * 3);
        let (up, down) = list(world, nodes[0], "multicast");
        assert!(!up.contains(&second) && !down.contains(&second), "two periods of a second");
        assert_eq!(config(0).limits.hello_interval, S * 5);
    });
}
