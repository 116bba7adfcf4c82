//! Searches over many nodes, some of which lie, are silent or gone.

use super::common::{
    MS, PORT, S, at_registry, bootstrap, command, count, errors, get, has_copy, list, listener, peer,
    peers_on, plain, request, send,
};
use super::holders::holds;
use crate::actor::Step;
use crate::harness::scenario;
use crate::ids::{HostId, LanId};
use crate::original::OriginalPeer;
use crate::world::World;
use distrishare::config::{Limits, Secret};

/// A registry on `host` that names these and nobody else.
fn names(world: &mut World, host: HostId, nodes: &[std::net::SocketAddr]) -> String {
    let rows: Vec<String> =
        nodes.iter().map(|node| format!("[\"{}\", {}]", node.ip(), node.port())).collect();
    let answer = format!("{{\"nodes\": [{}]}}", rows.join(", "));
    listener(world, host, 8000, vec![Step::Hear, send(answer), Step::Close]);
    format!("bootstrap {}", at_registry(world, host))
}

/// Two networks with a route between, and a host on each.
fn apart(world: &mut World) -> (LanId, HostId, HostId) {
    world.env.net.topology.routed = true;
    let (near, far) = (world.lan(), world.lan());
    (near, world.host(&[near]), world.host(&[far]))
}

#[test]
fn a_search_takes_as_long_as_the_slowest_answer() {
    scenario("a_search_takes_as_long", 2, |world| {
        let lan = world.lan();
        let nodes = peers_on(world, lan, 40, |_| {});
        nodes.iter().for_each(|&node| world.type_line(node, "multicast on"));
        world.run_for(S * 2);
        [3, 30].into_iter().for_each(|i| holds(world, nodes[i], "needle", &"x".into()));
        for &node in &nodes[10..20] {
            let host = world.nodes[node.0].host;
            world.power_off(host);
        }
        nodes[20..25].iter().for_each(|&node| world.suspend(node));
        let before = world.now();
        let found = command(world, nodes[0], "search needle");
        assert_eq!(found.iter().filter(|event| event["event"] == "found").count(), 2, "{found:?}");
        let took = world.now() - before;
        assert!((S * 2..S * 3).contains(&took), "one deadline, not fifteen: {took:?}");
        let said = command(world, nodes[0], "search nothing");
        assert_eq!(said[0]["code"], "not_found");
        let text = said[0]["message"].as_str().unwrap_or("");
        assert!(text.contains("none of the 39 nodes asked; 15 did not answer"), "{text}");
    });
}

#[test]
fn searches_with_nobody_to_ask_or_for_what_cannot_be() {
    scenario("searches_with_nobody", 2, |world| {
        let lan = world.lan();
        let host = world.host(&[lan]);
        let node = plain(world, host);
        let long = format!("search {}", "x".repeat(513));
        for (line, code) in [
            ("search x", "network"),
            // No file can be named so, but patterns and parts of paths may look like anything.
            ("search ../x", "network"),
            ("search \"x", "usage"),
            ("search --x", "usage"),
            ("search root:xyz", "usage"),
            ("search size>x", "usage"),
            (&long, "usage"),
            ("search", "usage"),
        ] {
            // At a terminal a missing argument is asked for; the answer is one that cannot be.
            world.type_line(node, line);
            if line == "search" {
                world.type_line(node, "\"\"");
            }
            world.run_for(S);
            let last = world.events_named(node, "error").pop().expect("own state: an error");
            assert_eq!(last["code"], code, "{line}");
        }
    });
}

#[test]
fn a_secret_that_is_not_public_goes_to_neighbours_and_to_whom_the_operator_names() {
    // hostile: 116 (its last clause, which concerns v1); 6.3: 5
    scenario("a_secret_that_is_not_public", 2, |world| {
        world.env.net.topology.routed = true;
        let (near, far) = (world.lan(), world.lan());
        let registry = world.host(&[far]);
        bootstrap(world, registry, |_| {});
        let target = at_registry(world, registry);
        // A stranger on another network registers and waits for requests.
        let there = world.host(&[far]);
        let harvester = listener(world, there, PORT, vec![Step::Hear, send("FOUND"), Step::Close]);
        let me = world.addr(registry, 8000);
        let text = format!(r#"{{"type":"register","ip":"{}","port":{PORT}}}"#, world.ip(there));
        super::common::dialler(world, there, me, vec![send(text)]);
        world.run_for(S);
        let private =
            |config: &mut distrishare::config::PeerConfig| config.v1_secret = Secret::new("not public");
        let host = world.host(&[near]);
        let node = peer(world, host, move |config| {
            private(config);
            config.bootstraps = vec![target.clone()];
        });
        // Who speaks v2 needs no secret: the friend is an old one.
        let friend = world.host(&[near]);
        world.env.truth.add("file", &"x".into());
        let old = OriginalPeer::new(PORT).secret("not public").announcing(world.ip(friend));
        world.actor(friend, old.multicasting().sharing("file", "x"));
        command(world, node, "bootstrap");
        command(world, node, "multicast on");
        // An old node says HELLO every five seconds and greets nobody.
        world.run_for(S * 7);
        let found = command(world, node, "search file");
        assert_eq!(count(&found, "found"), 1, "{found:?}");
        assert_eq!(found[0]["ip"], world.ip(friend).to_string());
        // Beside a secret of one's own there is no v2 that would let everybody in: it was not asked at all.
        let log = world.log(harvester);
        assert!(log.all().is_empty());
        let got = String::from_utf8_lossy(&log.all()).into_owned();
        assert!(
            !got.contains("not public") && !got.contains("secret"),
            "a registry's word is not enough: {got}"
        );
        // The operator's is.
        let stranger = world.addr(there, PORT);
        world.env.truth.tainted.insert("x".to_owned());
        command(world, node, &format!("get {} {} x", stranger.ip(), stranger.port()));
        let got = String::from_utf8_lossy(&world.log(harvester).all()).into_owned();
        assert!(got.contains("not public"), "{got}");
        let found = command(world, node, "search file");
        assert_eq!(count(&found, "found"), 2, "{found:?}");
    });
}

#[test]
fn dials_are_as_many_as_the_limits_allow() {
    scenario("dials_are_as_many", 2, |world| {
        // Forty neighbours, eight at a time: the rules watch the bound, the time shows that it is used.
        let lan = world.lan();
        let limits = Limits { dials: 8, search_deadline: S, ..Limits::desktop() };
        let host = world.host(&[lan]);
        let node = peer(world, host, move |config| config.limits = limits.clone());
        world.type_line(node, "multicast on");
        world.run_for(S);
        for i in 0..40u8 {
            world.inject(lan, crate::node::rules::source([10, 0, 5, i]), b"HELLO:1.1.1.1:9000");
        }
        world.run_for(MS * 10);
        let before = world.now();
        let said = command(world, node, "search x");
        assert_eq!(said[0]["code"], "network", "{said:?}");
        let took = world.now() - before;
        assert!((S * 5..S * 6).contains(&took), "{took:?}");
        assert!(request("search", "x").len() < 100);
    });
}

#[test]
fn whoever_waits_long_for_a_dial_is_not_asked_and_that_is_said() {
    // A registry that names many in one network must not make a search last as long as the sum of their deadlines.
    scenario("whoever_waits_long", 2, |world| {
        let (near, here, there) = apart(world);
        world.power_off(there);
        let nodes: Vec<_> = (9050..9200).map(|port| world.addr(there, port)).collect();
        let bootstrap = names(world, here, &nodes);
        let node = peers_on(world, near, 1, |_| {})[0];
        command(world, node, &bootstrap);
        let before = world.now();
        let said = command(world, node, "search x");
        let took = world.now() - before;
        assert!((S * 5..S * 8).contains(&took), "{took:?}");
        let text = said[0]["message"].as_str().unwrap_or_default();
        assert!(text.contains("did not answer") && text.contains("were not asked"), "{said:?}");
    });
}

#[test]
fn a_service_that_only_takes_connections_is_no_proven_node() {
    // The rules of every dial watch that such addresses are dialled as those of strangers.
    scenario("a_service_that_only_takes_connections", 2, |world| {
        let (near, here, there) = apart(world);
        let nodes: Vec<_> = (9000..9012).map(|port| world.addr(there, port)).collect();
        for node in &nodes {
            listener(world, there, node.port(), vec![Step::Hear]);
        }
        let bootstrap = names(world, here, &nodes);
        let node = peers_on(world, near, 1, |_| {})[0];
        command(world, node, &bootstrap);
        assert_eq!(list(world, node, "all").0.len(), 12);
        world.power_off(there);
        command(world, node, "search x");
    });
}

#[test]
fn an_address_that_became_our_own_is_dialled_no_more() {
    scenario("an_address_that_became_our_own", 2, |world| {
        let lan = world.lan();
        let host = world.host(&[lan]);
        let node = plain(world, host);
        command(world, node, "multicast on");
        world.inject(lan, crate::node::rules::source([10, 0, 9, 9]), b"HELLO:1.1.1.1:9000");
        world.run_for(S);
        assert_eq!(list(world, node, "all").1.len(), 1);
        world.env.net.topology.set_addr(host, 2, [10, 0, 9, 9].into());
        world.run_for(S * 8);
        assert_eq!(list(world, node, "all").1.len(), 0, "nor listed; and the rules watch every dial");
    });
}

#[test]
fn with_v1_off_nobody_is_asked_in_v1_either() {
    scenario("with_v1_off_nobody_is_asked", 2, |world| {
        let lan = world.lan();
        let (host, there) = (world.host(&[lan]), world.host(&[lan]));
        let ear = listener(world, there, PORT, vec![Step::Hear, send("FOUND"), Step::Close]);
        let node = peer(world, host, |config| config.v1 = false);
        command(world, node, "multicast on");
        let to = world.addr(there, PORT);
        world.inject(lan, crate::node::rules::source([10, 0, 0, 77]), b"HELLO:1.1.1.1:9000");
        command(world, node, &format!("get {} {PORT} x", to.ip()));
        // An address that was only typed is no known node: a registry names it.
        let bootstrap = names(world, there, &[to]);
        command(world, node, &bootstrap);
        command(world, node, "search x");
        assert_eq!(errors(world, node).len(), 2, "{:?}", errors(world, node));
        assert_eq!(list(world, node, "multicast"), <_>::default(), "who says HELLO in v1 is not heard");
        let asked = &world.log(ear).received;
        assert_eq!(asked.len(), 2, "once by each command: {:?}", errors(world, node));
        assert!(asked.values().all(|got| got[0] >= 0x80), "in v2, and never in v1 after that");
        // Who speaks v2 is asked and answers, and needs no v1 for it.
        let new = peers_on(world, lan, 1, |config| config.v1 = false)[0];
        world.share(new, "x", "content");
        command(world, new, "multicast on");
        world.run_for(S);
        let said = command(world, node, "search x");
        assert_eq!((count(&said, "result"), count(&said, "found")), (1, 1), "{said:?}");
        get(world, node, new, "x");
        assert!(world.run_until(S * 5, |world| has_copy(world, node, "x")));
    });
}

#[test]
fn a_host_that_cannot_be_found_is_named() {
    scenario("a_host_that_cannot_be_found", 2, |world| {
        let lan = world.lan();
        let node = peers_on(world, lan, 1, |_| {})[0];
        for line in ["get nowhere.example 9000 x", "bootstrap nowhere.example:8000"] {
            let said = command(world, node, line);
            assert!(
                said[0]["message"].as_str().is_some_and(|text| text.contains("nowhere.example")),
                "{said:?}"
            );
        }
    });
}
