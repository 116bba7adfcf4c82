//! Sessions between nodes: how they open, what ends them, what a member may say in them, and that no request is lost.

use super::common::{MS, PORT, S, addr_of, command, get, has_copy, host_of, logged, peer, peers, peers_on};
use super::holders::holds;
use super::members::{
    CRYPTOS, browse, caller, dial, ended, events, fails, get_line, has_heard, notes, plain, sockets, timed,
    works,
};
use crate::actor::Way;
use crate::adversary::Order;
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::LanId;
use crate::member::{Member, Saying, say};
use crate::rng::Rng;
use crate::world::World;
use distrishare::config::{Crypto, Limits};
use distrishare::proto::v2::message::Message;
use std::time::Duration;

const PING: &str = r#"{"id":77}"#;

#[test]
fn what_cannot_be_understood_ends_a_session_with_words() {
    // hostile: 95, 96
    scenario("what_cannot_be_understood", 2, |world| {
        let node = peers(world, 1)[0];
        let to = addr_of(world, node);
        let lan = LanId(0);
        world.run_for(MS * 10);
        let bad: [(&str, Vec<u8>); 14] = [
            ("unknown odd type", plain(33, "{}")),
            ("unknown odd type", plain(255, "")),
            ("trailing bytes", plain(3, r#"{"id":1} "#)),
            ("a second object", plain(3, r#"{"id":1}{"id":2}"#)),
            ("a missing field", plain(3, "{}")),
            ("a field twice", plain(3, r#"{"id":1,"id":1}"#)),
            ("an integer that is not plain", plain(3, r#"{"id":1.0}"#)),
            ("leading zeros", plain(3, r#"{"id":01}"#)),
            ("more than 32 bits", plain(3, r#"{"id":4294967296}"#)),
            ("an array of its values", plain(3, "[1]")),
            ("too deep", plain(3, format!(r#"{{"id":1,"x":{}{}}}"#, "[".repeat(9), "]".repeat(9)))),
            ("not UTF-8", plain(3, b"{\"id\":1,\"x\":\"\xff\"}")),
            ("a data message without data", plain(21, [0; 31])),
            ("a name out of the folder", plain(13, r#"{"id":1,"name":"../x"}"#)),
        ];
        for (what, message) in bad {
            let host = world.host(&[lan]);
            let actor = caller(world, host, to, [Saying::Plain(message), Saying::Plain(plain(3, PING))]);
            world.run_for(S * 2);
            let notes = notes(world, actor);
            assert!(notes.len() == 2 && notes[1].starts_with(r#"1 {"reason":""#), "{what}: {notes:?}");
            assert!((20..=230).contains(&notes[1].len()), "{what}: {notes:?}");
            assert_eq!(ended(world, actor), [None], "{what}");
        }
        // Even types may be skipped, whatever follows; so may keys that nobody knows.
        let host = world.host(&[lan]);
        let skipped = [
            plain(2, ""),
            plain(254, [0xff; 65_567]),
            plain(28, "{{{"),
            plain(3, r#"{"id":77,"later":[{"a":null}]}"#),
        ];
        let actor = caller(world, host, to, skipped.map(Saying::Plain));
        world.run_for(S);
        assert_eq!(notes(world, actor)[1..], [format!("5 {PING}")]);
        assert!(ended(world, actor).is_empty());
    });
}

#[test]
fn records_of_every_length_and_in_every_piece() {
    // hostile: 88, 89
    for crypto in CRYPTOS {
        scenario("records_of_every_length", 1, |world| {
            let lan = world.lan();
            let host = world.host(&[lan]);
            let node = peer(world, host, move |config| config.crypto = crypto);
            let to = addr_of(world, node);
            world.run_for(MS * 10);
            let member = |world: &mut World, says: Vec<Saying>| {
                let host = world.host(&[lan]);
                world.actor(host, Member::new(dial(to), host.0 as u8).of(crypto, None).saying(says))
            };
            // The longest and the shortest, before a ping that shows that all went well. Members say all in drawn pieces.
            let mut says: Vec<Saying> = (0..40).map(|n| Saying::Plain(plain(2, vec![9; n * n]))).collect();
            says.push(Saying::Plain(plain(2, vec![1; 65_567])));
            says.push(Saying::Plain(plain(3, PING)));
            let good = member(world, says);
            let bad: Vec<_> = [0u32, 65_569, 0xffff, 0x1_0000, 0x8000_0000, u32::MAX]
                .map(|length| {
                    let head = [&length.to_le_bytes()[..], &[0; 12]].concat();
                    let after = [head, vec![0; 0x1_0040]].concat();
                    (length, member(world, vec![Saying::Raw(after), Saying::Plain(plain(3, PING))]))
                })
                .into();
            // A head must be zeros where nothing stands.
            let odd = [&9u32.to_le_bytes()[..], &[1], &[0; 11 + 25]].concat();
            let odd = member(world, vec![Saying::Raw(odd)]);
            world.run_for(S * 2);
            assert!(has_heard(world, good, &format!("5 {PING}")), "{:?}", notes(world, good));
            for (length, actor) in bad.into_iter().chain([(9, odd)]) {
                assert_eq!((notes(world, actor).len(), ended(world, actor).len()), (1, 1), "{length}");
            }
            assert_eq!(sockets(world, node), 1, "the good one stays");
        });
    }
}

#[test]
fn a_session_with_no_common_version_ends_with_both() {
    // hostile: 83 (its second half)
    scenario("a_session_with_no_common_version", 2, |world| {
        let node = peers(world, 1)[0];
        let lan = LanId(0);
        let (host, there) = (world.host(&[lan]), world.host(&[lan]));
        let newer = |way: Way| Member::new(way, 9).with(|ours| ours.versions = (2, 7));
        let to = addr_of(world, node);
        world.run_for(MS * 10);
        let calls = world.actor(host, newer(dial(to)));
        world.actor(there, newer(Way::Listen(PORT)));
        world.run_for(S);
        let heard = notes(world, calls);
        let words = "this node speaks versions 1 to 1, the other 2 to 7";
        assert!(heard.len() == 2 && heard[1].contains(words), "{heard:?}");
        assert_eq!(ended(world, calls), [None]);
        let to = world.addr(there, PORT);
        for line in [browse(to), get_line(to, "x")] {
            let (code, text) = fails(world, node, &line);
            assert!(code == "refused" && text.contains(words), "{code} {text}");
        }
        // The command is over before the farewell is.
        assert!(world.run_until(S, |world| sockets(world, node) == 0));
    });
}

#[test]
fn a_silent_peer_is_asked_and_then_left() {
    // hostile: 93
    scenario("a_silent_peer_is_asked", 2, |world| {
        let node = peers(world, 1)[0];
        let to = addr_of(world, node);
        let lan = LanId(0);
        world.run_for(MS * 10);
        let hosts = [world.host(&[lan]), world.host(&[lan])];
        let silent = world.actor(hosts[0], Member::new(dial(to), 1).mute());
        let alive = world.actor(hosts[1], Member::new(dial(to), 2));
        world.run_for(S * 29);
        assert!(!has_heard(world, silent, "3 "), "{:?}", notes(world, silent));
        world.run_for(S * 2);
        assert!(has_heard(world, silent, "3 ") && has_heard(world, alive, "3 "));
        world.run_for(S * 58);
        assert!(ended(world, silent).is_empty());
        world.run_for(S * 2);
        assert_eq!((ended(world, silent).len(), ended(world, alive).len()), (1, 0), "at 90 s");
        // One that answers and asks nothing is idle, and hears so.
        world.run_for(S * 207);
        assert!(ended(world, alive).is_empty(), "before 300 s");
        world.run_for(S * 5);
        assert!(has_heard(world, alive, r#"1 {"reason":"nothing was asked"#), "{:?}", notes(world, alive));
        assert_eq!(sockets(world, node), 0);
    });
}

#[test]
fn an_idle_session_is_closed_and_made_anew() {
    scenario("an_idle_session_is_closed", 4, |world| {
        let lan = world.lan();
        let limits = Limits { session_idle: S * 20, ..Limits::desktop() };
        let nodes = peers_on(world, lan, 2, move |config| config.limits = limits.clone());
        world.share(nodes[0], "a file", "content");
        world.run_for(S);
        let at = addr_of(world, nodes[0]);
        // The third comes at the moment when both sides end the session.
        for pause in [S, S * 25, S * 20 + MS, S * 20] {
            let (took, said) = timed(world, nodes[1], &browse(at));
            assert!(took < S && events(&said, "file").len() == 1, "{took:?} {said:?}");
            assert_eq!((sockets(world, nodes[0]), sockets(world, nodes[1])), (1, 1));
            world.run_for(pause);
        }
        world.run_for(S * 3);
        assert_eq!((sockets(world, nodes[0]), sockets(world, nodes[1])), (0, 0));
        // A request that crosses the farewell is asked again.
        let mut rng = Rng::new(world.env.seed, "idle", 0);
        for _ in 0..20 {
            works(world, nodes[1], &browse(at));
            let nearly = 19_999_000 + rng.below(3000);
            world.run_for(Duration::from_micros(nearly));
            let found = works(world, nodes[1], "search file");
            assert_eq!(events(&found, "result").len(), 1, "{found:?}");
        }
    });
}

#[test]
fn both_dial_at_once_and_nothing_is_lost() {
    // hostile: 113
    for crypto in [Crypto::Null, Crypto::Real { aes: true }] {
        let seeds = if crypto == Crypto::Null { 24 } else { 4 };
        scenario("both_dial_at_once", seeds, |world| {
            let mut rng = Rng::new(world.env.seed, "at once", 0);
            let lan = world.lan();
            let nodes = peers_on(world, lan, 2, move |config| config.crypto = crypto);
            let slow = rng.log_uniform(50, 40_000);
            for (i, &node) in nodes.iter().enumerate() {
                let host = host_of(world, node);
                world.env.net.topology.host_mut(host).latency = (slow, slow + rng.below(slow));
                world.share(node, &format!("file {i}"), Content::generated(i as u64, 50_000));
            }
            nodes.iter().for_each(|&node| world.type_line(node, "multicast on"));
            world.run_for(S * 3);
            for (i, &node) in nodes.iter().enumerate() {
                let at = addr_of(world, nodes[1 - i]);
                let name = format!("file {}", 1 - i);
                for line in ["search file".to_owned(), browse(at), get_line(at, &name)] {
                    let after = Duration::from_micros(rng.below(4 * slow));
                    world.later(after, move |world| world.type_line(node, &line));
                }
            }
            world.run_for(S * 2);
            for (i, &node) in nodes.iter().enumerate() {
                let errors = world.events_named(node, "error");
                assert!(errors.is_empty(), "node {i}: {errors:?}");
                // `multicast on` is the fourth.
                assert_eq!(world.events_named(node, "done").len(), 4, "node {i}");
                assert_eq!(world.events_named(node, "result").len(), 1, "node {i}");
                assert_eq!(sockets(world, node), 1, "node {i}");
                assert!(has_copy(world, node, &format!("file {}", 1 - i)), "node {i}");
            }
        });
    }
}

#[test]
fn a_long_farewell_is_cut_and_made_harmless() {
    // hostile: 114
    scenario("a_long_farewell", 2, |world| {
        let node = peers(world, 1)[0];
        let to = addr_of(world, node);
        let lan = LanId(0);
        world.run_for(MS * 10);
        let reason = format!(r"\u001b]0;pwned\u0007\n\u202e{}", "long ".repeat(13_000));
        let bye = plain(1, format!(r#"{{"reason":"{reason}"}}"#));
        assert!(bye.len() > 64_000);
        let log = logged(world, |world| {
            for _ in 0..3 {
                let host = world.host(&[lan]);
                caller(world, host, to, [Saying::Plain(bye.clone())]);
            }
            world.run_for(S);
        });
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("closes the session")).collect();
        assert!(!lines.is_empty() && lines[0].contains("pwned"), "{log:?}");
        for line in log.lines() {
            assert!(line.len() < 400, "{} bytes: {line}", line.len());
            assert!(!line.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{line:?}");
        }
        assert_eq!(sockets(world, node), 0);
    });
}

#[test]
fn a_node_that_comes_back_is_met_again_within_seconds() {
    scenario("a_node_that_comes_back", 4, |world| {
        for (silent, who) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
            let nodes = peers(world, 2);
            let hosts = [host_of(world, nodes[0]), host_of(world, nodes[1])];
            world.share(nodes[0], "one", "1");
            world.share(nodes[1], "two", "2");
            world.run_for(S);
            let at = nodes.iter().map(|&node| addr_of(world, node)).collect::<Vec<_>>();
            let id = works(world, nodes[1], "status")[0]["id"].clone();
            works(world, nodes[0], &browse(at[1]));
            // Gone without a word, or with the kernel's.
            if silent {
                world.power_off(hosts[1]);
                world.run_for(S * 3);
                world.power_on(hosts[1]);
            } else {
                world.crash(nodes[1]);
            }
            world.start(nodes[1]);
            world.run_for(S);
            assert_eq!(works(world, nodes[1], "status")[0]["id"], id, "the same node");
            let (took, said) = timed(world, nodes[who], &browse(at[1 - who]));
            assert!(took < S * 3 && events(&said, "file").len() == 1, "{silent} {who}: {took:?} {said:?}");
            world.run_for(S * 5);
            assert_eq!((sockets(world, nodes[0]), sockets(world, nodes[1])), (1, 1), "{silent} {who}");
            for (node, name) in [(1, "one"), (0, "two")] {
                get(world, nodes[node], nodes[1 - node], name);
                assert!(world.run_until(S * 3, |world| has_copy(world, nodes[node], name)), "{silent} {who}");
            }
        }
    });
}

#[test]
fn a_node_that_moved_is_asked_where_it_is_now() {
    scenario("a_node_that_moved", 4, |world| {
        let nodes = peers(world, 2);
        nodes.iter().for_each(|&node| world.type_line(node, "multicast on"));
        world.run_for(S * 2);
        holds(world, nodes[1], "needle", &"x".into());
        assert_eq!(events(&works(world, nodes[0], "search needle"), "result").len(), 1);
        // Its address changes under the session, which falls silent without a word.
        let host = host_of(world, nodes[1]);
        world.env.net.topology.set_addr(host, 2, [10, 0, 9, 9].into());
        world.run_for(S * 8);
        let mut found = 0;
        for _ in 0..4 {
            found = events(&command(world, nodes[0], "search needle"), "result").len();
            world.run_for(S * 2);
        }
        assert_eq!(found, 1, "within seconds, not when the old session is given up");
    });
}

#[test]
fn one_that_asks_and_never_reads_is_bounded() {
    // hostile: 99 (of small requests; those for bytes are bounded by their number)
    scenario("one_that_asks_and_never_reads", 1, |world| {
        let lan = world.lan();
        let nodes = peers_on(world, lan, 2, |_| {});
        world.share(nodes[0], "a file", Content::generated(5, 100_000));
        world.run_for(S);
        let to = addr_of(world, nodes[0]);
        let host = world.host(&[lan]);
        let long: Vec<Saying> = (0..30_000).map(|id| say(&Message::Ping { id })).collect();
        let actor = world.actor(host, Member::new(dial(to), 5).saying(long).deaf());
        world.run_for(S * 2);
        assert!(ended(world, actor).is_empty());
        let waiting = world.nodes[nodes[0].0].unsent();
        assert!(waiting <= 2 * Limits::desktop().session_out_max, "{waiting}");
        // Others are served beside it, and in the end it loses its place.
        get(world, nodes[1], nodes[0], "a file");
        assert!(world.run_until(S, |world| has_copy(world, nodes[1], "a file")));
        world.run_for(S * 25);
        assert_eq!(ended(world, actor).len(), 1);
    });
}

#[test]
fn many_that_ask_and_never_read_share_one_budget() {
    // hostile: 99. What they may hold in all is checked at every step.
    for (limits, crowd) in [(Limits::small(), 40), (Limits::desktop(), 90)] {
        scenario("many_that_ask_and_never_read", 1, move |world| {
            let lan = world.lan();
            let given = limits.clone();
            let node = peers_on(world, lan, 1, move |config| config.limits = given.clone())[0];
            let long = "x".repeat(200);
            for i in 0..600 {
                world.share(node, &format!("{long}/{long}/{long}/{long} {i}"), "content");
            }
            world.run_for(S * 3);
            let to = addr_of(world, node);
            for number in 0..crowd {
                let host = world.host(&[lan]);
                let search = |id| say(&Message::Search { id, query: "x".to_owned(), limit: 256 });
                let page = |id| say(&Message::Browse { id, after: None, limit: 256 });
                let says: Vec<Saying> = (1..4).map(search).chain((4..60).map(page)).collect();
                world.actor(host, Member::new(dial(to), number + 10).saying(says).deaf());
            }
            let mut most = 0;
            for _ in 0..20 {
                world.run_for(MS * 100);
                most = most.max(world.nodes[node.0].held());
            }
            assert!(most > limits.session_out_max, "the budget was tried: {most}");
            // Who reads is answered all the same.
            let host = world.host(&[lan]);
            let reader = caller(world, host, to, [say(&Message::Browse { id: 7, after: None, limit: 256 })]);
            assert!(world.run_until(S * 2, |world| notes(world, reader).len() > 1));
        });
    }
}

#[test]
fn answers_that_nobody_asked_for_are_counted() {
    // hostile: 100
    scenario("answers_that_nobody_asked_for", 2, |world| {
        let node = peers(world, 1)[0];
        let to = addr_of(world, node);
        let lan = LanId(0);
        world.run_for(MS * 10);
        for (n, stays) in [(100, true), (101, false)] {
            let none =
                |id| say(&Message::Files { id, files: Vec::new(), end: true, skipped: 0, left_out: 0 });
            let host = world.host(&[lan]);
            let actor = caller(world, host, to, (0..n).map(none).collect::<Vec<_>>());
            world.run_for(S);
            assert_eq!(ended(world, actor).is_empty(), stays, "{n}");
            assert_eq!(has_heard(world, actor, r#"1 {"reason":"too many answers"#), !stays, "{n}");
            world.order(actor, &Order::Cut);
        }
    });
}
