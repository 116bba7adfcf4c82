//! Whom a node believes, and who gets in beside a crowd: claims, hang-ups, floods from addresses that others share.

use super::common::{
    MS, PORT, S, addr_of, alive, command, crowd, dialler, get_at, heard, host_of, list, listener, peer,
    peers, peers_on, plain as node_on, request, send,
};
use super::members::{dial, events, fails, get_line, group, has_heard, member};
use crate::actor::Step;
use crate::harness::scenario;
use crate::ids::{HostId, LanId, NodeId};
use crate::member::Member;
use crate::original::OriginalPeer;
use crate::world::World;
use distrishare::config::{Crypto, Limits};
use distrishare::proto::v2::preamble::{self, Call};
use std::net::SocketAddr;

/// A node on a port of its own.
fn on_port(world: &mut World, host: HostId, port: u16) -> NodeId {
    peer(world, host, move |config| config.listen.set_port(port))
}

#[test]
fn who_hangs_up_is_not_asked_in_the_clear() {
    scenario("who_hangs_up", 3, |world| {
        let lan = world.lan();
        let hosts = [world.host(&[lan]), world.host(&[lan]), world.host(&[lan])];
        let node = node_on(world, hosts[0]);
        // One takes connections and closes them at once, another after the first bytes.
        let mute = [
            listener(world, hosts[1], PORT, vec![Step::Close]),
            listener(world, hosts[2], PORT, vec![Step::Hear, Step::Close]),
        ];
        world.run_for(S);
        for (host, actor) in hosts[1..].iter().zip(mute) {
            let to = world.addr(*host, PORT);
            for _ in 0..3 {
                let (code, text) = fails(world, node, &get_line(to, "file"));
                assert!(code == "refused" && text.contains("hung up"), "{code} {text}");
            }
            assert!(!heard(world, actor).contains("\"type\""), "it was asked in v1");
        }
    });
}

#[test]
fn where_v2_was_spoken_nobody_falls_back() {
    // The port is another's for a moment: an answer in v1 is not believed there, and is ten minutes later.
    scenario("where_v2_was_spoken", 3, |world| {
        let nodes = peers(world, 2);
        nodes.iter().for_each(|node| world.type_line(*node, "multicast on"));
        world.share(nodes[0], "file", "content");
        world.run_for(S * 2);
        let (at, host) = (addr_of(world, nodes[0]), host_of(world, nodes[0]));
        world.kill(nodes[0]);
        let old = world.actor(host, OriginalPeer::new(PORT).sharing("file", "old content"));
        world.run_for(S);
        let (code, _) = fails(world, nodes[1], &get_line(at, "file"));
        assert!(["refused", "network"].contains(&code.as_str()), "{code}");
        world.run_for(S * 700);
        world.env.truth.add("file", &"old content".into());
        get_at(world, nodes[1], at, "file");
        assert!(world.run_until(S * 10, |world| world.has_download(nodes[1], "file")));
        world.stop(old);
    });
}

#[test]
fn a_claim_is_no_proof() {
    // hostile: 47
    scenario("a_claim_is_no_proof", 3, |world| {
        let lan = world.lan();
        let (here, there) = (world.host(&[lan]), world.host(&[lan]));
        let (node, honest) = (node_on(world, here), on_port(world, there, PORT));
        world.share(honest, "file", "the honest content");
        world.run_for(S);
        // A program beside the honest node comes first, and says that it listens there.
        let to = addr_of(world, node);
        let liar = Member::new(dial(to), 7).with(|ours| ours.port = PORT);
        let liar = world.actor(there, liar);
        world.run_for(S);
        assert!(has_heard(world, liar, "open"));
        let at = world.addr(there, PORT);
        get_at(world, node, at, "file");
        assert!(world.run_until(S * 5, |world| world.has_download(node, "file")), "{}", world.stdout(node));
        let asked = world.log(liar).notes.iter().filter(|note| note.contains("file")).count();
        assert_eq!(asked, 0, "{:?}", world.log(liar).notes);
    });
    // Nor does a search go to who claims the place of a node that was only heard of.
    scenario("a_claim_is_no_proof", 3, |world| {
        let lan = world.lan();
        let (here, there) = (world.host(&[lan]), world.host(&[lan]));
        let (node, honest) = (node_on(world, here), on_port(world, there, PORT));
        world.share(honest, "file", "the honest content");
        world.type_line(node, "multicast on");
        world.run_for(S);
        let at = world.addr(there, PORT);
        world.inject(lan, at, format!("HELLO:{}:{PORT}", at.ip()).as_bytes());
        world.run_for(MS * 10);
        let to = addr_of(world, node);
        let liar = world.actor(there, Member::new(dial(to), 7).with(|ours| ours.port = PORT));
        world.run_for(S);
        assert!(has_heard(world, liar, "open"));
        let found = command(world, node, "search file");
        assert_eq!(events(&found, "result").len(), 1, "{found:?}");
        assert_eq!(world.log(liar).notes.len(), 1, "{:?}", world.log(liar).notes);
    });
}

#[test]
fn a_firewalled_node_is_found_by_the_session_it_made() {
    scenario("a_firewalled_node_is_found", 3, |world| {
        let nodes = peers(world, 2);
        world.share(nodes[0], "file", "content");
        world.run_for(S);
        let to = addr_of(world, nodes[1]);
        command(world, nodes[0], &format!("browse {} {}", to.ip(), to.port()));
        let host = host_of(world, nodes[0]);
        world.env.net.topology.host_mut(host).deaf = true;
        let found = command(world, nodes[1], "search file");
        assert_eq!(events(&found, "result").len(), 1, "{found:?}");
        world.type_line(nodes[1], "get 1");
        assert!(
            world.run_until(S * 5, |world| world.has_download(nodes[1], "file")),
            "{}",
            world.stdout(nodes[1])
        );
        let from = addr_of(world, nodes[0]);
        let files = command(world, nodes[1], &format!("browse {} {}", from.ip(), from.port()));
        assert_eq!(events(&files, "file").len(), 1, "{files:?}");
    });
}

#[test]
fn a_class_behind_one_address_is_seen_whole() {
    scenario("a_class_behind_one_address", 2, |world| {
        let lan = world.lan();
        let (here, there) = (world.host(&[lan]), world.host(&[lan]));
        let node = node_on(world, here);
        let class: Vec<NodeId> = (0..25).map(|n| on_port(world, there, 9100 + n)).collect();
        world.type_line(node, "multicast on");
        class.iter().for_each(|node| world.type_line(*node, "multicast on"));
        world.run_for(S * 10);
        assert_eq!(alive(world, node, "multicast").len(), 25);
        // Those who come and say where they listen are seen as well.
        let beside = world.host(&[lan]);
        let other = node_on(world, beside);
        world.run_for(S);
        let to = addr_of(world, other);
        for node in &class {
            command(world, *node, &format!("browse {} {}", to.ip(), to.port()));
        }
        let (up, down) = list(world, other, "all");
        assert_eq!(up.len(), 25, "{up:?} {down:?}");
    });
}

#[test]
fn nodes_of_one_host_greet_each_other_once() {
    for n in [2, 5] {
        scenario("nodes_of_one_host", 3, move |world| {
            let lans = [world.lan(), world.lan()];
            let host = world.host(&lans);
            let nodes: Vec<NodeId> = (0..n).map(|i| on_port(world, host, 9100 + i)).collect();
            nodes.iter().for_each(|node| world.type_line(*node, "multicast on"));
            world.run_for(S * 20);
            let before = world.env.net.datagrams;
            world.run_for(S * 60);
            // Each says HELLO on three interfaces, to old nodes and to new: so often in a second.
            let each = (world.env.net.datagrams - before) as f64 / f64::from(n) / 6.0 / 60.0;
            assert!((0.1..0.5).contains(&each), "{each} a second");
        });
    }
}

#[test]
fn strangers_behind_a_members_address_keep_nobody_out() {
    // hostile: 84
    scenario("strangers_behind_a_members_address", 2, |world| {
        let lan = world.lan();
        let (here, there) = (world.host(&[lan]), world.host(&[lan]));
        let node = member(world, here, Crypto::Null, 1);
        let to = addr_of(world, node);
        world.run_for(MS * 10);
        let wrong = [&preamble::encode([1; 7], &Call::default(), Crypto::Null, None)[..], &[9; 66]].concat();
        crowd(world, there, to, 400, MS * 10, vec![send(wrong)]);
        let mut let_in = 0;
        for n in 0..32 {
            let friend = Member::new(dial(to), 20 + n).of(Crypto::Null, Some(group(1)));
            let friend = world.actor(there, friend);
            world.run_for(MS * 100);
            let_in += usize::from(has_heard(world, friend, "open"));
            world.stop(friend);
        }
        assert!(let_in >= 30, "{let_in} of 32");
    });
}

#[test]
fn an_honest_caller_gets_in_beside_twenty_crowds() {
    // hostile: 94
    for limits in [Limits::desktop(), Limits::small()] {
        scenario("an_honest_caller", 1, move |world| {
            let lan = world.lan();
            let limits = limits.clone();
            let node = peers_on(world, lan, 1, move |config| config.limits = limits.clone())[0];
            world.share(node, "there", "content");
            let to = addr_of(world, node);
            world.run_for(S);
            // Each has as many as it may, and renews them.
            for _ in 0..20 {
                let host = world.host(&[lan]);
                crowd(world, host, to, 1000, MS * 25, vec![]);
            }
            world.run_for(S * 2);
            let mut answered = 0;
            for _ in 0..100 {
                let host = world.host(&[lan]);
                let caller = dialler(world, host, to, vec![send(request("search", "there"))]);
                world.run_for(MS * 200);
                answered += usize::from(heard(world, caller) == "FOUND");
            }
            assert!(answered >= 95, "{answered} of 100");
        });
    }
}

#[test]
fn unfinished_handshakes_of_one_source_cost_little() {
    scenario("unfinished_handshakes", 2, |world| {
        let nodes = peers(world, 1);
        let to = addr_of(world, nodes[0]);
        world.run_for(S);
        let host = world.host(&[LanId(0)]);
        let flight = super::strangers::first_flight(Crypto::Null, None);
        let flood = crowd(world, host, to, 1000, MS * 5, vec![send(&flight), Step::Hear, Step::Close]);
        world.run_for(S * 6);
        let answers = world.log(flood).all().len() / 100;
        let limits = Limits::desktop();
        let most = limits.unfinished_burst + 6 * limits.unfinished_per_source;
        assert!(answers <= 3 * most as usize, "{answers} were worked on");
        // Who finishes pays nothing, from wherever.
        let other = world.host(&[LanId(0)]);
        for n in 0..60 {
            let friend = world.actor(other, Member::new(dial(to), n + 1));
            world.run_for(MS * 20);
            assert!(has_heard(world, friend, "open"), "{n}");
            world.stop(friend);
        }
    });
}

#[test]
fn idle_sessions_give_way_to_dials_and_callers() {
    scenario("idle_sessions_give_way", 2, |world| {
        let lan = world.lan();
        let limits = Limits { conns: 16, ..Limits::small() };
        let node = peers_on(world, lan, 1, move |config| config.limits = limits.clone())[0];
        let others = peers_on(world, lan, 40, |_| {});
        for (n, other) in others.iter().enumerate() {
            world.share(*other, &format!("file {n}"), "content of all");
        }
        world.type_line(node, "multicast on");
        others.iter().for_each(|other| world.type_line(*other, "multicast on"));
        world.run_for(S * 12);
        let start = world.now();
        let found = command(world, node, "search file");
        let sources = events(&found, "result")[0]["sources"].as_array().map(Vec::len);
        assert_eq!(sources, Some(40), "{found:?}");
        assert!(world.now() - start < S * 5, "{:?}", world.now() - start);
        // All places are taken by sessions that nobody needs now: a caller gets in all the same.
        let to = addr_of(world, node);
        let host = world.host(&[lan]);
        let caller = dialler(world, host, to, vec![send(request("search", "x"))]);
        world.run_for(S);
        assert_eq!(heard(world, caller), "NOT_FOUND");
    });
}

#[test]
fn a_search_does_not_wait_for_thousands_of_the_dead() {
    scenario("thousands_of_the_dead", 1, |world| {
        let lan = world.lan();
        let (host, there) = (world.host(&[lan]), world.host(&[lan]));
        let registry = world.host(&[lan]);
        let dead: Vec<String> =
            (0..2600u32).map(|n| format!("[\"45.{}.{}.7\",9000]", n / 250, n % 250)).collect();
        let answer = format!("{{\"nodes\":[{}]}}", dead.join(","));
        listener(world, registry, 8000, vec![Step::Hear, send(answer), Step::Close]);
        let (node, other) = (node_on(world, host), node_on(world, there));
        world.share(other, "file", "content");
        [node, other].iter().for_each(|node| world.type_line(*node, "multicast on"));
        world.run_for(S * 2);
        let at: SocketAddr = world.addr(registry, 8000);
        command(world, node, &format!("bootstrap {}:{}", at.ip(), at.port()));
        for _ in 0..2 {
            let start = world.now();
            let found = command(world, node, "search file");
            assert_eq!(events(&found, "result").len(), 1);
            assert!(world.now() - start <= S * 8, "{:?}", world.now() - start);
        }
    });
}
