//! Who is no node of ours, or not one that we know: what it gets, what it costs, and what we send to whom.

use super::common::{
    MS, PORT, S, addr_of, command, crowd, dialler, errors, healthy, heard, host_of, listener, logged, peer,
    peers, peers_on, send,
};
use super::members::{
    CRYPTOS, browse, dial, ended, events, fails, get_line, group, has_heard, member, plain, sockets, timed,
    works,
};
use crate::actor::Step;
use crate::adversary::{Order, Relay, Side, Tamper};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::{HostId, LanId, NodeId};
use crate::member::Member;
use crate::original::OriginalPeer;
use crate::world::World;
use distrishare::config::{Crypto, Key, Limits};
use distrishare::proto::entropy::Entropy;
use distrishare::proto::v2::VERSIONS;
use distrishare::proto::v2::handshake::{Abilities, Handshake, Role};
use distrishare::proto::v2::identity::Identity;
use distrishare::proto::v2::preamble;
use std::net::SocketAddr;
use std::time::Duration;

const SEALED: Crypto = Crypto::Real { aes: true };

/// The preamble and first message of a node of that group.
pub(super) fn first_flight(crypto: Crypto, group: Option<&Key>) -> Vec<u8> {
    let identity = Identity::from_secret(Key::new([3; 32]));
    let ours = Abilities { versions: VERSIONS, aes: true, run: 16, port: PORT };
    let mut entropy = Entropy::new(&Key::new([4; 32]));
    Handshake::new(Role::Initiator, crypto, &identity, group, ours, &mut entropy).outgoing()
}

#[test]
fn a_wrong_beginning_gets_silence() {
    // hostile: 83, 84, 88, 92
    for crypto in CRYPTOS {
        scenario("a_wrong_beginning", 1, |world| {
            let lan = world.lan();
            let host = world.host(&[lan]);
            let node = member(world, host, crypto, 1);
            let to = addr_of(world, node);
            world.run_for(MS * 10);
            let good = first_flight(crypto, Some(&group(1)));
            let other = first_flight(crypto, Some(&group(2)));
            let open = first_flight(crypto, None);
            let edited = |at: usize, bytes: &[u8]| {
                let mut flight = good.clone();
                flight[at..at + bytes.len()].copy_from_slice(bytes);
                flight
            };
            let framed = |length: u16| {
                let frame = [&length.to_le_bytes()[..], &vec![7; usize::from(length).min(300)]].concat();
                [&good[..preamble::LEN], &frame, &[0; 100]].concat()
            };
            let wrong = [
                ("another magic", edited(3, b"3")),
                ("version 0", edited(4, &[0])),
                ("version 255", edited(4, &[255])),
                ("the tag of another group", other.clone()),
                ("the tag of an open node", open),
                ("another group's preamble, our message", [&other[..32], &good[32..]].concat()),
                ("our preamble, another group's message", [&good[..32], &other[32..]].concat()),
                ("a frame of length 0", framed(0)),
                ("a frame that is too long", framed(257)),
                ("the longest frame", framed(0xffff)),
                ("a record in place of a frame", [&good[..32], &9u32.to_le_bytes(), &[0; 60]].concat()),
                ("zeros for a key", [&good[..34], &vec![0; good.len() - 34]].concat()),
            ];
            for (n, (what, bytes)) in (20..).zip(wrong) {
                let host = world.host(&[lan]);
                let actor = dialler(world, host, to, vec![send(&bytes)]);
                // 200 ms at most, and the way there and back.
                world.run_for(MS * 250);
                assert_eq!(heard(world, actor), "", "{what}");
                assert_eq!(ended(world, actor), [None], "{what}");
                // Whoever else is at that address is not taken for it.
                let friend = Member::new(dial(to), n).of(crypto, Some(group(1)));
                let friend = world.actor(host, friend);
                world.run_for(S);
                assert!(has_heard(world, friend, "open"), "{what}");
            }
        });
    }
}

#[test]
fn records_before_the_end_of_the_handshake_end_it() {
    // hostile: 92
    scenario("records_before_the_end", 1, |world| {
        let node = peers(world, 1)[0];
        let to = addr_of(world, node);
        let host = world.host(&[LanId(0)]);
        world.run_for(MS * 10);
        // A good first flight, and behind it at once what would be a record.
        let record = [&9u32.to_le_bytes()[..], &[0; 12], &[7; 25]].concat();
        let early = [first_flight(Crypto::Null, None), record].concat();
        let actor = dialler(world, host, to, vec![send(early)]);
        world.run_for(MS * 250);
        assert_eq!(ended(world, actor), [None]);
        let got = world.log(actor).all().len();
        assert!(got <= 300, "{got} bytes: the second message at most");
    });
}

#[test]
fn a_recorded_beginning_makes_no_session() {
    // hostile: 85
    for crypto in [Crypto::Null, SEALED] {
        scenario("a_recorded_beginning", 2, |world| {
            let lan = world.lan();
            let hosts = [world.host(&[lan]), world.host(&[lan]), world.host(&[lan])];
            let nodes = [member(world, hosts[0], crypto, 1), member(world, hosts[1], crypto, 1)];
            world.share(nodes[0], "file", "content");
            world.run_for(S);
            let (to, at) = (addr_of(world, nodes[0]), world.addr(hosts[2], PORT));
            let relay = world.actor(hosts[2], Relay::new(PORT, to));
            works(world, nodes[1], &browse(at));
            world.order(relay, &Order::Cut);
            world.run_for(S);
            assert_eq!(sockets(world, nodes[0]), 0);
            // All that was said, again and again, or its beginning alone: nothing is said to that.
            let log = logged(world, |world| {
                for _ in 0..30 {
                    world.order(relay, &Order::Replay { tape: 0, side: Side::There, to });
                }
                world.run_for(S);
            });
            assert_eq!(sockets(world, nodes[0]), 0, "refused, and gone");
            let lines = log.lines().filter(|line| !line.starts_with("DEBUG") && !line.starts_with("TRACE"));
            assert!(lines.clone().count() <= 4, "{:?}", lines.collect::<Vec<_>>());
            world.run_for(S * 6);
            let flight =
                world.log(relay).tapes[0].there[..if crypto == Crypto::Null { 98 } else { 82 }].to_vec();
            let host = world.host(&[lan]);
            let half = crowd(world, host, to, 200, MS, vec![send(flight)]);
            world.run_for(S);
            let (socks, answers) = (sockets(world, nodes[0]), world.log(half).all().len());
            assert_eq!((socks, answers), (0, 0));
            // The recorded member is as welcome as before.
            works(world, nodes[1], &browse(to));
        });
    }
}

/// Bytes that come back to a recording.
fn answer_to(world: &mut World, lan: LanId, to: SocketAddr, flight: &[u8]) -> usize {
    let host = world.host(&[lan]);
    let actor = dialler(world, host, to, vec![send(flight)]);
    world.run_for(S);
    world.log(actor).all().len()
}

#[test]
fn a_recorded_beginning_is_good_nowhere_else() {
    // hostile: 85
    const FLIGHT: usize = 98;
    const DAY: i64 = 24 * 3600;
    scenario("a_recorded_beginning_elsewhere", 2, |world| {
        let lan = world.lan();
        let hosts: Vec<HostId> = (0..6).map(|_| world.host(&[lan])).collect();
        let nodes: Vec<NodeId> =
            hosts[..5].iter().map(|host| member(world, *host, Crypto::Null, 1)).collect();
        world.run_for(S);
        let to: Vec<SocketAddr> = nodes.iter().map(|node| addr_of(world, *node)).collect();
        let at = world.addr(hosts[5], PORT);
        let relay = world.actor(hosts[5], Relay::new(PORT, to[0]));
        // The first time it is not known who is there, the second time it is.
        for _ in 0..2 {
            works(world, nodes[1], &browse(at));
            world.order(relay, &Order::Cut);
            world.run_for(S);
        }
        let [any, bound] = [0, 1].map(|n| world.log(relay).tapes[n].there[..FLIGHT].to_vec());
        for _ in 0..2 {
            assert_eq!(answer_to(world, lan, to[0], &any), 0, "it was here already");
            assert_eq!(answer_to(world, lan, to[0], &bound), 0);
            assert_eq!(answer_to(world, lan, to[2], &bound), 0, "it is for another node");
        }
        // What is for any node is good once at each, on its day; and where there is no clock.
        world.jump_wall(nodes[3], 2 * DAY);
        world.jump_wall(nodes[4], -1_750_000_000);
        let [ours, later, none] = [2, 3, 4].map(|n| answer_to(world, lan, to[n], &any));
        assert!(ours > 0 && later == 0 && none > 0, "{ours} {later} {none}");
        assert_eq!([2, 4].map(|n| answer_to(world, lan, to[n], &any)), [0, 0]);
    });
}

#[test]
fn members_whose_clocks_are_wrong_meet() {
    const YEAR: i64 = 365 * 24 * 3600;
    scenario("members_whose_clocks_are_wrong", 3, |world| {
        let lan = world.lan();
        let hosts: Vec<HostId> = (0..3).map(|_| world.host(&[lan])).collect();
        let nodes: Vec<NodeId> = hosts.iter().map(|host| member(world, *host, Crypto::Null, 1)).collect();
        world.run_for(S);
        let to: Vec<SocketAddr> = nodes.iter().map(|node| addr_of(world, *node)).collect();
        // Never set, and set to another year.
        world.jump_wall(nodes[1], -1_750_000_000);
        world.jump_wall(nodes[2], 10 * YEAR);
        for (from, there) in [(0, 1), (1, 0), (2, 1), (1, 2)] {
            works(world, nodes[from], &browse(to[there]));
            world.run_for(Duration::from_secs(400)); // idle sessions end
        }
        // By address alone two that both take theirs for right do not meet …
        let (code, text) = fails(world, nodes[2], &browse(to[0]));
        assert!(code == "refused" && text.contains("clock"), "{code} {text}");
        // … but where they hear each other, they do. And where they met once, whatever happens to a clock later.
        nodes.iter().for_each(|node| world.type_line(*node, "multicast on"));
        world.run_for(S * 12);
        for (from, there) in [(2, 0), (0, 2)] {
            works(world, nodes[from], &browse(to[there]));
            world.run_for(Duration::from_secs(400));
        }
        nodes.iter().for_each(|node| world.type_line(*node, "multicast off"));
        world.jump_wall(nodes[0], 5 * YEAR);
        world.run_for(S * 30);
        works(world, nodes[0], &browse(to[2]));
    });
}

#[test]
fn a_node_with_a_new_key_is_met_at_its_old_address() {
    scenario("a_node_with_a_new_key", 3, |world| {
        let lan = world.lan();
        let hosts = [world.host(&[lan]), world.host(&[lan])];
        let nodes = [member(world, hosts[0], Crypto::Null, 1), member(world, hosts[1], Crypto::Null, 1)];
        world.run_for(S);
        let to = addr_of(world, nodes[0]);
        works(world, nodes[1], &browse(to));
        world.kill(nodes[0]);
        world.run_for(S);
        let other = member(world, hosts[0], Crypto::Null, 1);
        world.run_for(S);
        assert_eq!(addr_of(world, other), to);
        works(world, nodes[1], &browse(to));
    });
}

#[test]
fn whoever_reaches_itself_is_told() {
    // hostile: 86
    for crypto in [Crypto::Null, SEALED] {
        scenario("whoever_reaches_itself", 2, |world| {
            let lan = world.lan();
            let (host, there) = (world.host(&[lan]), world.host(&[lan]));
            let node = member(world, host, crypto, 1);
            // Our own listener behind somebody else's address; or our own message comes back as an answer.
            let relay = Relay::new(PORT, world.addr(host, PORT));
            let relay = world.actor(there, relay);
            let at = world.addr(there, PORT);
            world.run_for(S);
            for reflected in [false, true] {
                if reflected {
                    world.order(relay, &Order::Tamper(Side::There, Tamper::Drop(0..preamble::LEN)));
                    world.order(relay, &Order::Reflect(Side::There));
                }
                for line in [browse(at), get_line(at, "x")] {
                    let (code, text) = fails(world, node, &line);
                    assert!(code == "usage" && text.contains("is this node itself"), "{code} {text}");
                }
                // The relay holds our listener's side open where nothing is passed on.
                world.run_for(S * 6);
                assert_eq!(sockets(world, node), 0);
                assert!(events(&command(world, node, "nodes all"), "node").is_empty());
            }
            // As it was sent, with the preamble: that is no answer at all.
            world.order(relay, &Order::Honest);
            world.order(relay, &Order::Reflect(Side::There));
            let (code, text) = fails(world, node, &browse(at));
            assert!(code == "refused" && text.contains("no member"), "{code} {text}");
        });
    }
}

#[test]
fn ten_thousand_that_never_get_on_disturb_nobody() {
    // hostile: 94
    scenario("ten_thousand_that_never", 1, |world| {
        let lan = world.lan();
        let node = peers_on(world, lan, 1, |_| {})[0];
        world.share(node, "there", Content::generated(8, 20_000_000));
        let hosts = [world.host(&[lan]), world.host(&[lan])];
        let busy = super::common::plain(world, hosts[0]);
        // What lies in the buffers before it delays the pair by less than a round.
        let slow = host_of(world, node);
        world.env.net.topology.host_mut(slow).byte_ns = 250;
        let to = addr_of(world, node);
        world.run_for(S);
        let friend = world.actor(hosts[1], Member::new(dial(to), 1));
        super::common::get(world, busy, node, "there");
        let pair = healthy(world, node, lan);
        // They have met when the flood comes.
        world.run_for(S * 5 / 2);
        let flight = first_flight(Crypto::Null, None);
        for i in 0..500usize {
            let host = world.host(&[lan]);
            crowd(world, host, to, 20, MS * 150, vec![send(&flight[..1 + i % (flight.len() - 1)])]);
        }
        let limits = Limits::desktop();
        let mut most = 0;
        for _ in 0..40 {
            world.run_for(MS * 100);
            most = most.max(sockets(world, node));
        }
        let others = 12;
        assert!((limits.unauth / 2..=limits.unauth + others).contains(&most), "{most}");
        pair.check(world);
        assert!(ended(world, friend).is_empty(), "an established session stays");
        world.order(friend, &Order::Say(plain(3, r#"{"id":5}"#)));
        assert!(world.run_until(S, |world| has_heard(world, friend, r#"5 {"id":5}"#)));
        assert!(world.run_until(S * 20, |world| super::common::has_copy(world, busy, "there")));
        assert_eq!(errors(world, busy), Vec::<String>::new());
        world.run_for(S * 6);
        assert!(sockets(world, node) <= 3, "{}: all of the flood are gone", sockets(world, node));
    });
}

#[test]
fn an_old_node_is_asked_in_its_own_way_by_an_open_node() {
    // hostile: 116
    scenario("an_old_node_is_asked", 3, |world| {
        let lan = world.lan();
        let (host, there) = (world.host(&[lan]), world.host(&[lan]));
        let node = super::common::plain(world, host);
        let content = Content::generated(31, 9000);
        world.env.truth.add("old file", &content);
        let old = world.actor(there, OriginalPeer::new(PORT).sharing("old file", content));
        let at = world.addr(there, PORT);
        world.run_for(S);
        works(world, node, &get_line(at, "old file"));
        let first = firsts(world, old);
        assert_eq!(first.iter().filter(|&&byte| byte == 0xd5).count(), 1, "v2 was tried: {first:?}");
        assert!(super::common::has_copy(world, node, "old file"));
        // It is remembered, for ten minutes.
        works(world, node, &get_line(at, "old file"));
        world.run_for(S * 500);
        works(world, node, &get_line(at, "old file"));
        let later = &firsts(world, old)[first.len()..];
        assert!(later.len() >= 2 && later.iter().all(|&byte| byte == b'{'), "{later:?}");
        world.run_for(S * 200);
        works(world, node, &get_line(at, "old file"));
        let all = firsts(world, old);
        assert_eq!(all.iter().filter(|&&byte| byte == 0xd5).count(), 2, "{all:?}");
    });
}

/// The first byte of every connection an actor heard something on.
fn firsts(world: &World, actor: crate::ids::ActorId) -> Vec<u8> {
    world.log(actor).received.values().filter_map(|bytes| bytes.first().copied()).collect()
}

#[test]
fn a_member_never_asks_an_old_node() {
    // hostile: 116
    let refusal = "ERROR: Formato de mensaje inválido. Se requiere JSON.";
    let ends =
        [vec![Step::Hear, send(refusal), Step::Close], vec![Step::Hear, Step::Close], vec![Step::Close]];
    for (v1, steps) in [(false, &ends[0]), (true, &ends[0]), (true, &ends[1]), (true, &ends[2])] {
        scenario("a_member_never_asks", 1, |world| {
            let lan = world.lan();
            let (host, there) = (world.host(&[lan]), world.host(&[lan]));
            let node = peer(world, host, move |config| {
                super::members::joins(SEALED, 1)(config);
                config.v1 = v1;
            });
            let old = listener(world, there, PORT, steps.clone());
            let at = world.addr(there, PORT);
            command(world, node, "multicast on");
            world.inject(lan, at, format!("HELLO {} {}", at.ip(), at.port()).as_bytes());
            world.run_for(S);
            let listed = events(&command(world, node, "nodes all"), "node").len();
            assert_eq!(listed, usize::from(v1), "a HELLO counts while v1 is on");
            for line in [get_line(at, "x"), browse(at)] {
                let (code, text) = fails(world, node, &line);
                assert!(
                    code == "refused"
                        && ["no member", "not a member"].iter().any(|words| text.contains(words)),
                    "{text}"
                );
            }
            let (code, _) = fails(world, node, "search x");
            assert!(code == if v1 { "refused" } else { "network" }, "{code}");
            let log = world.log(old);
            let secret = distrishare::config::V1_DEFAULT_SECRET.as_bytes();
            for bytes in log.received.values() {
                assert!(bytes.is_empty() || bytes[0] == 0xd5 && bytes.len() <= 100, "{bytes:?}");
                assert!(!bytes.windows(secret.len()).any(|window| window == secret));
            }
            // A probe of the list, and the search, where it is listed.
            assert_eq!(world.env.dials[&at], if v1 { 4 } else { 2 }, "one dial each, and no more");
        });
    }
}

/// A node on one network that a registry told of `n` addresses in one /24 on another.
fn told_of(world: &mut World, n: u16, steps: &[Step]) -> (NodeId, Vec<SocketAddr>, Vec<crate::ids::ActorId>) {
    world.env.net.topology.routed = true;
    let (near, far) = (world.lan(), world.lan());
    let (registry, there): (HostId, HostId) = (world.host(&[near]), world.host(&[far]));
    let nodes: Vec<SocketAddr> = (0..n).map(|i| world.addr(there, PORT + i)).collect();
    let actors = nodes.iter().map(|at| listener(world, there, at.port(), steps.to_vec())).collect();
    let rows: Vec<String> = nodes.iter().map(|at| format!("[\"{}\", {}]", at.ip(), at.port())).collect();
    let answer = format!("{{\"nodes\": [{}]}}", rows.join(", "));
    listener(world, registry, 8000, vec![Step::Hear, send(answer), Step::Close]);
    let node = peers_on(world, near, 1, |_| {})[0];
    let registry = world.ip(registry);
    command(world, node, &format!("bootstrap {registry}:8000"));
    (node, nodes, actors)
}

#[test]
fn somebody_who_takes_connections_and_says_nothing() {
    // The address rule, 7 and 8. The rules of every dial watch that no more than four go into one /24 at once.
    scenario("somebody_who_takes_connections", 2, |world| {
        let (node, nodes, actors) = told_of(world, 8, &[]);
        let (took, said) = timed(world, node, "search x");
        // A search waits no longer.
        assert!((S * 2..S * 3).contains(&took), "{took:?} {said:?}");
        world.run_for(MS * 10);
        for actor in &actors {
            let log = world.log(*actor);
            assert_eq!((log.received.len(), log.ended.len()), (1, 1));
            assert!(log.all().len() <= 100, "{} bytes to an unproven address", log.all().len());
        }
        let dials = |world: &World| nodes.iter().map(|at| world.env.dials[at]).sum::<u64>();
        assert_eq!(dials(world), 8);
        // Not again at once, and not for ever.
        for (pause, most) in [(S, 8), (S * 20, 8), (S * 31, 16), (S * 31, 16), (S * 60, 24), (S * 600, 24)] {
            world.run_for(pause);
            command(world, node, "search x");
            assert_eq!(dials(world), most, "after {pause:?}");
        }
        world.run_for(S * 3600);
        command(world, node, "search x");
        assert_eq!(dials(world), 32, "an hour later");
        // What the operator types is dialled all the same, and given three seconds.
        let (took, said) = timed(world, node, &get_line(nodes[0], "x"));
        assert!((S * 3..S * 4).contains(&took), "{took:?}");
        let text = events(&said, "error")[0]["message"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains("said nothing"), "{text}");
    });
}

#[test]
fn an_old_node_far_away_is_asked_at_once() {
    // Not speaking v2 is no fault of an old node: the address rule must not keep its v1 from being asked.
    scenario("an_old_node_far_away", 2, |world| {
        let (node, nodes, _) = told_of(world, 0, &[]);
        assert!(nodes.is_empty());
        let (far, registry) = (world.lan(), world.host(&[LanId(0)]));
        let there = world.host(&[far]);
        let content = Content::generated(31, 9000);
        world.env.truth.add("old file", &content);
        world.actor(there, OriginalPeer::new(PORT).sharing("old file", content));
        let answer = format!("{{\"nodes\": [[\"{}\", {PORT}]]}}", world.ip(there));
        listener(world, registry, 8000, vec![Step::Hear, send(answer), Step::Close]);
        let line = format!("bootstrap {}:8000", world.ip(registry));
        works(world, node, &line);
        let said = works(world, node, "search \"old file\"");
        assert_eq!(events(&said, "result").len(), 1, "{said:?}");
    });
}
