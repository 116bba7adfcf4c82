//! Datagrams from anybody: what is ignored, what is only a hint, and that no flood of them does harm.

use super::common::{
    MS, PORT, S, addr_of, alive, at_registry, bootstrap, command, config, errors, get, has_copy, healthy,
    host_of, list, logged, peer, peers_on, plain,
};
use crate::adversary::Relay;
use crate::content::Content;
use crate::faults::UdpFaults;
use crate::harness::scenario;
use crate::ids::{LanId, NodeId};
use crate::node::rules::source;
use crate::world::World;
use distrishare::config::Limits;
use distrishare::machine::{Kept, Slot};
use distrishare::proto::v2::announcement::{Announcement, AnnouncementKey};
use distrishare::proto::v2::identity::Identity;
use std::collections::BTreeSet;

/// A peer on the group, with nobody else there.
fn listening(world: &mut World) -> (LanId, NodeId) {
    listening_within(world, Limits::desktop())
}

fn listening_within(world: &mut World, limits: Limits) -> (LanId, NodeId) {
    let lan = world.lan();
    let node = peers_on(world, lan, 1, move |config| config.limits = limits.clone())[0];
    world.type_line(node, "multicast on");
    world.run_for(S);
    (lan, node)
}

/// All nodes on the lists of `node`, alive or not.
fn known(world: &mut World, node: NodeId, which: &str) -> BTreeSet<String> {
    let (mut up, down) = list(world, node, which);
    up.extend(down);
    up
}

#[test]
fn what_is_no_announcement_is_ignored() {
    // hostile: 33-38, 46
    scenario("what_is_no_announcement", 2, |world| {
        let (lan, node) = listening(world);
        let long = [b"HELLO:10.0.0.77:9001".as_slice(), &[b' '; 600]].concat();
        let bad: [&[u8]; 25] = [
            b"",
            b"\xff\xfe",
            b"\x00",
            b"HELLO:10.0.0.77:90\xc3",
            &[b'A'; 513],
            &[b':'; 1024],
            &[0; 65_507],
            &long,
            b"HELLO:10.0.0.77",
            b"HELLO:10.0.0.77:",
            b"HELLO::9001",
            b"HELLO:10.0.0.77:9001:9",
            b"HELLO:10.0.0.77:-5",
            b"HELLO:10.0.0.77:0",
            b"HELLO:10.0.0.77:65536",
            b"HELLO:10.0.0.77:999999999999",
            "HELLO:10.0.0.77:٣٤".as_bytes(),
            b"HELLO:10.0.0.77:+80",
            b"HELLO:10.0.0.77: 80",
            b"HELLO:10.0.0.77:0x50",
            b"HELLO:victim.example.com:25",
            b"HELLO:10.0.0.77:9001\x1b]0;pwn\x07",
            b"HELLO:10.0.0.77:9001\n",
            b"HELLO:10.0.0.77:9001\0",
            b"HELLO:10.0.0.77:80",
        ];
        let log = logged(world, |world| {
            for (i, bytes) in bad.into_iter().enumerate() {
                world.inject(lan, source([10, 0, 7, i as u8 + 1]), bytes);
                world.run_for(MS * 50);
            }
        });
        assert!(!log.contains('\u{1b}') && !log.contains('\u{7}'), "{log:?}");
        assert_eq!(known(world, node, "all"), BTreeSet::new());
        // The listener is alive.
        world.inject(lan, source([10, 0, 0, 77]), b"HELLO 10.0.0.77 9001");
        world.run_for(MS * 10);
        assert_eq!(known(world, node, "multicast"), ["10.0.0.77:9001".to_owned()].into());
    });
}

#[test]
fn the_source_of_a_datagram_names_its_sender() {
    // hostile: 39, 40, 41, 47
    scenario("the_source_of_a_datagram", 4, |world| {
        let (lan, node) = listening(world);
        let own = addr_of(world, node);
        world.inject(lan, source([10, 0, 0, 50]), b"HELLO:10.0.0.9:9001");
        world.inject(lan, source([10, 0, 0, 51]), b"HELLO:127.0.0.1:9001");
        world.inject(lan, own, format!("HELLO:{}:{}", own.ip(), own.port()).as_bytes());
        world.inject(lan, own, b"HELLO:127.0.0.1:9000");
        world.run_for(MS * 10);
        let wanted: BTreeSet<String> = ["10.0.0.50:9001", "10.0.0.51:9001"].map(str::to_owned).into();
        assert_eq!(known(world, node, "all"), wanted);
        assert!(world.env.dials.keys().all(|addr| addr.ip() != source([10, 0, 0, 9]).ip()));
        // A verified node with another port: a new hint, the old entry stays.
        let host = world.host(&[lan]);
        let real = plain(world, host);
        world.type_line(real, "multicast on");
        world.run_for(S);
        let real = addr_of(world, real);
        assert!(alive(world, node, "multicast").contains(&real.to_string()));
        world.inject(lan, real, format!("HELLO:{}:9777", real.ip()).as_bytes());
        world.run_for(MS * 10);
        let (up, down) = list(world, node, "multicast");
        assert!(
            up.contains(&real.to_string()) && down.contains(&format!("{}:9777", real.ip())),
            "{up:?} {down:?}"
        );
    });
}

#[test]
fn forged_announcements_remove_nobody() {
    // hostile: 43, 44, 45; 6.3: 11
    scenario("forged_announcements", 3, |world| {
        let limits = Limits { known_nodes: 20, ..Limits::desktop() };
        let (lan, node) = listening_within(world, limits);
        let host = world.host(&[lan]);
        let real = plain(world, host);
        world.share(real, "file", Content::generated(1, 3_000_000));
        world.env.net.topology.host_mut(host).byte_ns = 1000;
        world.type_line(real, "multicast on");
        world.run_for(S);
        command(world, node, "nodes all");
        get(world, node, real, "file");
        world.run_for(MS * 200);
        let addr = addr_of(world, real);
        world.inject(lan, addr, format!("GOODBYE:{}:{}", addr.ip(), addr.port()).as_bytes());
        world.inject(lan, source([10, 0, 9, 9]), b"GOODBYE:10.0.9.9:9000");
        // Somebody makes up nodes, from many addresses and from one.
        for i in 0..200u8 {
            world.inject(lan, source([10, 0, 8, i]), b"HELLO:1.2.3.4:9000");
        }
        world.run_for(MS * 5);
        let known_now = known(world, node, "all");
        assert!(known_now.contains(&addr.to_string()) && known_now.len() == 20, "{known_now:?}");
        assert!(world.run_until(S * 10, |world| has_copy(world, node, "file")), "the download goes on");
        world.run_for(S * 6);
        assert!(alive(world, node, "multicast").contains(&addr.to_string()), "its next HELLO brings it back");
    });
}

#[test]
fn one_source_has_few_entries_and_few_datagrams() {
    // hostile: 43
    scenario("one_source_has_few_entries", 2, |world| {
        let (lan, node) = listening(world);
        for port in 2000..2100 {
            world.inject(lan, source([10, 0, 0, 50]), format!("HELLO:1.2.3.4:{port}").as_bytes());
            world.run_for(MS * 100);
        }
        assert_eq!(known(world, node, "all").len(), config(0).limits.known_per_source);

        // Sources of this host are exempt from that bound, and so show the bounds on datagrams.
        let (lan, node) = listening(world);
        let own = addr_of(world, node);
        let flood = |world: &mut World, ports: std::ops::Range<u16>| {
            for port in ports {
                world.inject(lan, own, format!("HELLO:{}:{port}", own.ip()).as_bytes());
            }
            world.run_for(MS * 20);
        };
        world.run_for(S * 3);
        flood(world, 2000..2200);
        // Its own HELLOs are counted too.
        let first = known(world, node, "all").len();
        let limits = config(0).limits;
        let (burst, rate) = (limits.datagram_burst as usize, limits.datagrams_per_source as usize);
        assert!((burst - 6..=burst).contains(&first), "a burst: {first}");
        world.run_for(S);
        flood(world, 3000..3200);
        let second = known(world, node, "all").len() - first;
        // What it announces itself between the floods is taken from the same.
        assert!((rate - 6..=rate + 3).contains(&second), "its rate: {second}");
    });
}

#[test]
fn a_flood_of_datagrams_beside_a_transfer() {
    // hostile: 42
    scenario("a_flood_of_datagrams", 2, |world| {
        let limits = Limits { known_nodes: 256, ..Limits::desktop() };
        let (lan, node) = listening_within(world, limits);
        let pair = healthy(world, node, lan);
        for round in 0..100u32 {
            world.later(MS * (10 * round), move |world| {
                for i in 0..100u32 {
                    let [_, b, c, d] = (round * 7919 + i * 104_729).to_be_bytes();
                    let text = format!("HELLO:10.{b}.{c}.{d}:9000");
                    world.inject(lan, source([10, b, c, d]), text.as_bytes());
                }
            });
        }
        pair.check(world);
        // Nobody of them says HELLO again: all are off the list, and the node is as before.
        world.run_for(S * 20);
        assert_eq!(known(world, node, "multicast"), BTreeSet::new());
    });
}

#[test]
fn multicast_that_cannot_be_joined_or_opened_degrades_and_comes_back() {
    // hostile: 48, 49, 52
    scenario("multicast_that_cannot_be_joined", 3, |world| {
        let always = 1_000_000;
        for faults in
            [UdpFaults { open: always, ..<_>::default() }, UdpFaults { join: always, ..<_>::default() }]
        {
            let lan = world.lan();
            let nodes = peers_on(world, lan, 2, |_| {});
            world.share(nodes[0], "file", "content");
            world.env.net.udp = faults.clone();
            world.run_for(MS * 10);
            let said = command(world, nodes[0], "multicast on");
            if faults.open == always {
                let text = said[0]["message"].as_str().unwrap_or("");
                assert!(text.contains("multicast unavailable") && text.contains("10000"), "{said:?}");
            }
            command(world, nodes[1], "multicast on");
            get(world, nodes[1], nodes[0], "file");
            assert!(world.run_until(S * 3, |world| has_copy(world, nodes[1], "file")), "it works without");
            world.run_for(S * 40);
            assert!(alive(world, nodes[0], "multicast").is_empty());
            world.env.net.udp = UdpFaults::default();
            world.run_for(S * 40);
            let second = addr_of(world, nodes[1]).to_string();
            assert!(alive(world, nodes[0], "multicast").contains(&second), "and comes back by itself");
        }
    });
}

#[test]
fn what_the_group_hears_of_a_node_is_harmless_and_true() {
    // hostile: 51 (each datagram is checked as it leaves); an address given by the operator is announced instead
    scenario("what_the_group_hears", 3, |world| {
        let (_, node) = listening(world);
        let lan = LanId(0);
        let host = world.host(&[lan]);
        let public = peer(world, host, |config| config.announce = Some([203, 0, 113, 7].into()));
        world.type_line(public, "multicast on");
        world.run_for(S * 2);
        let addr = addr_of(world, public);
        let (up, down) = list(world, node, "multicast");
        assert_eq!((up, down.len()), ([addr.to_string()].into(), 0), "by its source, which reaches it");
        assert_eq!(errors(world, node), Vec::<String>::new());
        assert_eq!(host_of(world, public), host);
        assert_eq!(addr.port(), PORT);
    });
}

#[test]
fn a_node_bound_to_one_address_announces_where_others_reach_it() {
    scenario("a_node_bound_to_one_address", 3, |world| {
        let (a, b) = (world.lan(), world.lan());
        let (middle, left, right) = (world.host(&[a, b]), world.host(&[a]), world.host(&[b]));
        let listen = world.addr(middle, PORT);
        let bound = peer(world, middle, move |config| config.listen = listen);
        let beside = peer(world, middle, |config| config.listen.set_port(9001));
        let (on_a, on_b) = (plain(world, left), plain(world, right));
        for node in [bound, beside, on_a, on_b] {
            world.type_line(node, "multicast on");
        }
        world.run_for(S * 3);
        let bound = listen.to_string();
        assert!(alive(world, on_a, "multicast").contains(&bound), "its own network");
        assert!(alive(world, beside, "multicast").contains(&bound), "its own host");
        let far = known(world, on_b, "multicast");
        assert!(far.len() == 1 && far.iter().all(|node| node.ends_with(":9001")), "where it is not: {far:?}");
    });
}

#[test]
fn strangers_on_the_group_cause_few_log_lines() {
    scenario("strangers_on_the_group", 2, |world| {
        let (lan, _) = listening(world);
        let log = logged(world, |world| {
            for word in ["HELLO", "GOODBYE"] {
                for i in 0..=255 {
                    world.inject(lan, source([10, 0, 5, i]), format!("{word}:1.1.1.1:9000").as_bytes());
                }
                world.run_for(S * 12);
            }
            world.run_for(S * 20);
        });
        let lines: Vec<_> = log.lines().filter(|line| !line.starts_with("DEBUG")).collect();
        assert!((1..8).contains(&lines.len()), "{} lines: {:?}", lines.len(), &lines[..lines.len().min(9)]);
    });
}

#[test]
fn a_port_that_stays_taken_is_spoken_of_once() {
    scenario("a_port_that_stays_taken", 2, |world| {
        world.env.net.udp = UdpFaults { open: 1_000_000, ..<_>::default() };
        let lan = world.lan();
        let log = logged(world, |world| {
            peers_on(world, lan, 1, |config| config.join = true);
            world.run_for(S * 200);
        });
        assert_eq!(log.matches("multicast unavailable").count(), 1, "{log}");
    });
}

/// Whom a node's `status` names as having its key.
fn clone_of(world: &mut World, node: NodeId) -> serde_json::Value {
    let said = command(world, node, "status");
    let status = said.iter().find(|event| event["event"] == "status").expect("its status");
    assert!(status.as_object().is_some_and(|status| status.contains_key("clone")), "{status}");
    status["clone"].clone()
}

#[test]
fn a_node_with_a_copy_of_the_key_is_told_on_both_sides_at_once() {
    scenario("a_copied_key", 4, |world| {
        let lan = world.lan();
        let nodes = peers_on(world, lan, 3, |_| {});
        world.run_for(S);
        let kept = (Kept::Identity, Slot::Current);
        let key = world.nodes[nodes[0].0].disk.state.get(&kept).cloned().expect("its key");
        world.kill(nodes[1]);
        world.nodes[nodes[1].0].disk.state.insert(kept, key.clone());
        world.start(nodes[1]);
        let addrs: Vec<String> = nodes.iter().map(|node| addr_of(world, *node).to_string()).collect();
        let named = |log: &str, addr: &str| log.matches(&format!("{addr} has this node's own key")).count();
        let log = logged(world, |world| {
            for &node in &nodes {
                world.type_line(node, "multicast on");
                world.run_for(S * 2);
            }
            world.run_for(S * 4);
        });
        assert_eq!([0, 1, 2].map(|i| named(&log, &addrs[i])), [1, 1, 0], "{log}");
        assert_eq!(clone_of(world, nodes[0]), addrs[1]);
        assert_eq!(clone_of(world, nodes[1]), addrs[0]);
        assert_eq!(clone_of(world, nodes[2]), serde_json::Value::Null);
        // The same again is not said again, and what has gone is not shown.
        let log = logged(world, |world| {
            world.run_for(S * 100);
            world.type_line(nodes[1], "multicast off");
            world.run_for(S);
        });
        assert_eq!([0, 1].map(|i| named(&log, &addrs[i])), [0, 0], "{log}");
        assert_eq!(clone_of(world, nodes[0]), serde_json::Value::Null);
        // Nobody is his own copy after a restart, nor one by what others say of him.
        world.kill(nodes[0]);
        world.start(nodes[0]);
        world.run_for(S);
        let log = logged(world, |world| {
            world.type_line(nodes[0], "multicast on");
            world.run_for(S * 5);
            let node = Identity::decode(&key).expect("a key").id();
            let own = match addr_of(world, nodes[0]) {
                std::net::SocketAddr::V4(addr) => addr,
                addr => panic!("{addr}"),
            };
            for addr in [own, "10.0.0.77:9000".parse().expect("an address")] {
                let member = Announcement { goodbye: false, instance: 7, sequence: 1, node, addr };
                world.inject(lan, source([10, 0, 7, 1]), &AnnouncementKey::new(None).seal(&member, [3; 12]));
                world.run_for(S);
            }
        });
        assert!(!log.contains("own key"), "{log}");
        assert_eq!(clone_of(world, nodes[0]), serde_json::Value::Null);
    });
}

#[test]
fn a_copy_of_the_key_that_a_dial_meets_is_told_and_a_way_back_to_oneself_is_none() {
    scenario("a_copied_key_elsewhere", 3, |world| {
        // Multicast does not get from one to the other; a registry knows both.
        let lan = world.lan();
        let there = world.host(&[lan]);
        bootstrap(world, there, |_| {});
        let target = at_registry(world, there);
        let nodes = peers_on(world, lan, 2, move |config| {
            config.bootstraps = vec![target.clone()];
        });
        world.run_for(S);
        let kept = (Kept::Identity, Slot::Current);
        let key = world.nodes[nodes[0].0].disk.state.get(&kept).cloned().expect("its key");
        world.kill(nodes[1]);
        world.nodes[nodes[1].0].disk.state.insert(kept, key);
        world.start(nodes[1]);
        let addrs = [0, 1].map(|i| addr_of(world, nodes[i]).to_string());
        let log = logged(world, |world| {
            nodes.iter().for_each(|node| world.type_line(*node, "bootstrap"));
            world.run_for(S * 5);
            nodes.iter().for_each(|node| world.type_line(*node, "bootstrap"));
            world.run_for(S * 5);
            for &node in nodes.iter().chain(&nodes) {
                command(world, node, "search anything");
                world.run_for(S);
            }
        });
        for i in [0, 1] {
            assert_eq!(log.matches(&format!("{} has this node's own key:", addrs[i])).count(), 1, "{log}");
            assert_eq!(clone_of(world, nodes[i]), addrs[1 - i]);
        }
        world.run_for(S * 700);
        assert_eq!(clone_of(world, nodes[0]), serde_json::Value::Null, "nobody met it any more");
        // As behind a router that sends a host's own public address back to it.
        world.kill(nodes[1]);
        let router = world.host(&[lan]);
        world.actor(router, Relay::new(PORT, addr_of(world, nodes[0])));
        let at = world.addr(router, PORT);
        let log = logged(world, |world| {
            let said = command(world, nodes[0], &format!("get {} {PORT} anything", at.ip()));
            assert!(said.iter().any(|event| event["code"] == "usage"), "{said:?}");
        });
        assert!(!log.contains("own key:"), "{log}");
        assert_eq!(clone_of(world, nodes[0]), serde_json::Value::Null);
    });
}
