//! A peer's file port before strangers: every text to the letter, every hostile caller closed in time, and a healthy
//! pair beside it that notices nothing.

use super::common::{
    BAD_SECRET, BUSY, MS, NO_FILE, NOT_JSON, PORT, S, UNKNOWN, addr_of, crowd, dialler, errors, get, get_at,
    has_copy, healthy, heard, host_of, logged, nothing_left, peer, peers_on, plain, request, send,
};
use crate::actor::Step;
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::{ActorId, LanId, NodeId};
use crate::original::OriginalPeer;
use crate::world::World;
use distrishare::config::{Limits, V1_DEFAULT_SECRET};
use distrishare::machine::{Dir, Fault};
use std::net::SocketAddr;

const FOUND: &str = "FOUND";
const NOT_FOUND: &str = "NOT_FOUND";

/// A world with one peer that shares `there`.
fn served(world: &mut World) -> (LanId, NodeId, SocketAddr) {
    let lan = world.lan();
    let node = peers_on(world, lan, 1, |_| {})[0];
    world.share(node, "there", "content");
    world.run_for(MS * 10);
    (lan, node, addr_of(world, node))
}

/// How the only connection of `actor` ended: `None` while it goes on.
fn ended(world: &World, actor: ActorId) -> Option<Option<Fault>> {
    world.log(actor).ended.values().next().copied()
}

/// Each of `cases` is said on a connection of its own, from a host of its own; each gets exactly its text and a close.
fn table(world: &mut World, lan: LanId, to: SocketAddr, cases: Vec<(Vec<Step>, &str)>) {
    let actors: Vec<_> = cases
        .into_iter()
        .map(|(steps, text)| {
            let host = world.host(&[lan]);
            let said = format!("{steps:?}").chars().take(200).collect::<String>();
            (dialler(world, host, to, steps), text, said)
        })
        .collect();
    world.run_for(S * 8);
    for (actor, text, said) in actors {
        assert_eq!(heard(world, actor), text, "to {said}");
        assert!(ended(world, actor).is_some(), "no close after {said}");
    }
}

fn said(text: impl AsRef<[u8]>, answer: &str) -> (Vec<Step>, &str) {
    (vec![send(text)], answer)
}

#[test]
fn every_refusal_is_one_text_of_the_originals_and_a_close() {
    // hostile: 55-57
    scenario("every_refusal_is_one_text", 4, |world| {
        let (lan, node, to) = served(world);
        let pair = healthy(world, node, lan);
        let mut cases = Vec::new();
        for secret in [r#""wrong""#, "null", "7", "true", r#"["distrishare2024"]"#, r#"{"a":1}"#] {
            for kind in ["search", "download", "nonsense"] {
                let text = format!(r#"{{"type":"{kind}","filename":"there","secret":{secret}}}"#);
                cases.push(said(text, BAD_SECRET));
            }
        }
        cases.push(said(r#"{"type":"search","filename":"there"}"#, BAD_SECRET));
        let endless = format!(r#"{{"type":"search","filename":"there","secret":"{}"}}"#, "x".repeat(1 << 20));
        cases.push(said(endless, BAD_SECRET));
        for members in
            [r#""type":"delete","filename":"there""#, r#""filename":"there""#, r#""type":"search""#]
        {
            cases.push(said(format!(r#"{{"secret":"{V1_DEFAULT_SECRET}",{members}}}"#), UNKNOWN));
        }
        for text in
            ["hello", "null", "[]", "{}", "[1]", "\"a\"", "GET / HTTP/1.1\r\n\r\n", "{]", "{\"a\":\u{1}}"]
        {
            cases.push(said(text, NOT_JSON));
        }
        // hostile: 7 (the same rule on this port)
        cases.push(said("[".repeat(4000), NOT_JSON));
        cases.push(said(format!("{{\"a\":{}", "[".repeat(4000)), NOT_JSON));
        cases.push((vec![send("{\"type\":"), Step::Fin], NOT_JSON));
        table(world, lan, to, cases);
        pair.check(world);
        nothing_left(world, node);
    });
}

#[test]
fn requests_in_any_pieces_and_with_anything_behind_them() {
    // hostile: 1, 4, 5, 21, 28, 58, 72
    scenario("requests_in_any_pieces", 6, |world| {
        let (lan, _, to) = served(world);
        let search = request("search", "there");
        let (a, b) = search.split_at(20);
        let padded = format!("{}{}", " ".repeat(4096 - search.len()), search);
        let cases = vec![
            (vec![send(a), Step::Wait(S), send(&b[..5]), Step::Wait(S), send(&b[5..])], FOUND),
            (vec![Step::Trickle { bytes: search.clone().into_bytes(), every: MS }], FOUND),
            (vec![send(&search), Step::Fin], FOUND),
            (vec![send(format!("{search}{search}"))], FOUND),
            (vec![send(format!("{}{}", request("download", "there"), "x".repeat(60_000)))], "content"),
            (vec![send(format!(" \r\n\t{search}\n"))], FOUND),
            (vec![send(&padded)], FOUND),
            (vec![send(format!(" {padded}"))], BAD_SECRET),
            (vec![Step::Fin], ""),
            (vec![send([0x16, 3, 1, 2, 0, 1])], ""),
            (vec![send([0xd5, 1, 2, 3])], ""),
            (vec![send("SSH-2.0-x\r\n")], NOT_JSON),
        ];
        table(world, lan, to, cases);
    });
}

#[test]
fn names_that_the_rule_refuses_never_reach_the_disk() {
    // hostile: 59
    scenario("names_that_the_rule_refuses", 2, |world| {
        let (lan, node, to) = served(world);
        let (long, emoji) = ("a".repeat(256), "😀".repeat(64));
        let names = [
            "../x",
            "/etc/passwd",
            "a/../../b",
            "a//b",
            "a\\b",
            ".",
            "..",
            "",
            ".hidden",
            "a\0b",
            "a ",
            "a.",
            "CON",
            "~",
            "-rf",
            "x/",
            ".share-0123456789abcdef",
            "\u{1b}[2J",
            &long,
            &emoji,
        ];
        let ask = |kind: &'static str, text| move |name: &&str| said(request(kind, name), text);
        let mut cases: Vec<_> = names.iter().map(ask("search", NOT_FOUND)).collect();
        cases.extend(names.iter().map(ask("download", NO_FILE)));
        // Of what is shared the index knows all by now.
        world.run_for(S * 5);
        let before = world.nodes[node.0].disk.opens;
        table(world, lan, to, cases);
        assert_eq!(world.nodes[node.0].disk.opens, before, "the disk was asked");
    });
}

#[test]
fn what_is_no_regular_file_is_not_found() {
    // hostile: 60-62
    scenario("what_is_no_regular_file", 2, |world| {
        let (lan, node, to) = served(world);
        let odd = [
            ("link", Fault::NotRegular),
            ("pipe", Fault::NotRegular),
            ("folder", Fault::NotRegular),
            ("loop", Fault::Os(40)),
            ("dangling", Fault::NotFound),
            ("locked", Fault::Denied),
            ("broken", Fault::Os(5)),
        ];
        let disk = &mut world.nodes[node.0].disk;
        disk.odd = odd.map(|(name, fault)| (name.to_owned(), fault)).into();
        let mut cases: Vec<_> =
            odd.iter().map(|(name, _)| said(request("search", name), NOT_FOUND)).collect();
        cases.extend(odd.iter().map(|(name, _)| said(request("download", name), NO_FILE)));
        // A table of descriptors that is full is a reason to come again.
        world.nodes[node.0].disk.odd.insert("full".into(), Fault::TooManyOpen);
        cases.push(said(request("download", "full"), BUSY));
        table(world, lan, to, cases);
    });
}

#[test]
fn silence_and_trickles_end_with_the_deadline() {
    // hostile: 2, 3
    scenario("silence_and_trickles", 4, |world| {
        let (lan, node, to) = served(world);
        let pair = healthy(world, node, lan);
        let slow = request("search", "there").into_bytes();
        let callers = [vec![], vec![Step::Trickle { bytes: slow, every: MS * 4900 }], vec![send("{")]];
        let actors = callers.map(|steps| {
            let host = world.host(&[lan]);
            dialler(world, host, to, steps)
        });
        world.run_for(MS * 4900);
        assert!(actors.iter().all(|&actor| ended(world, actor).is_none()), "not before five seconds");
        world.run_for(MS * 300);
        for actor in actors {
            assert!(ended(world, actor).is_some(), "five seconds after the accept");
            assert_eq!(heard(world, actor), "");
        }
        pair.check(world);
    });
}

#[test]
fn a_bare_connect_is_somebodys_probe_and_no_event() {
    // hostile: 1
    scenario("a_bare_connect", 2, |world| {
        let (lan, node, to) = served(world);
        let log = logged(world, |world| {
            for steps in [vec![Step::Close], vec![Step::Reset], vec![Step::Fin]] {
                let host = world.host(&[lan]);
                dialler(world, host, to, steps);
            }
            world.run_for(S);
        });
        let above = log.lines().filter(|line| !line.starts_with("DEBUG") && !line.starts_with("TRACE"));
        assert_eq!(above.count(), 0, "{log}");
        assert!(world.stderr(node).lines().all(|line| !line.contains("error")), "{}", world.stderr(node));
        assert_eq!(world.json_events(node).len(), 1, "ready, and nothing else");
    });
}

/// A world with a peer that shares `big`, and somebody who downloads it with `steps` after the request.
fn download(world: &mut World, len: u64, steps: Vec<Step>) -> (LanId, NodeId, ActorId) {
    let (lan, node, to) = served(world);
    world.share(node, "big", Content::generated(77, len));
    let host = world.host(&[lan]);
    let mut all = vec![send(request("download", "big"))];
    all.extend(steps);
    (lan, node, dialler(world, host, to, all))
}

fn is_start_of_big(world: &World, actor: ActorId, len: u64) -> bool {
    Content::Bytes(world.log(actor).all()).same(&Content::generated(77, len))
}

#[test]
fn readers_that_stall_or_sip_are_cut_off_and_see_it() {
    // hostile: 66, 67, 29
    scenario("readers_that_stall", 4, |world| {
        let sip = Step::Sip { bytes: 1, every: S };
        for last in [Step::NeverRead, sip] {
            let (lan, node, to) = served(world);
            let pair = healthy(world, node, lan);
            // The index does one file after another: what the pair wants comes before the large one.
            world.run_for(S / 2);
            world.share(node, "big", Content::generated(77, 1 << 30));
            let host = world.host(&[lan]);
            let actor = dialler(world, host, to, vec![send(request("download", "big")), last]);
            world.run_for(S * 5);
            assert!(ended(world, actor).is_none());
            world.run_for(S * 30);
            assert_eq!(ended(world, actor), Some(Some(Fault::Reset)), "not a whole file");
            pair.check(world);
        }
        // Of a text nobody reads the kernel takes all, and the lingering ends.
        let (lan, node, to) = served(world);
        let host = world.host(&[lan]);
        dialler(world, host, to, vec![Step::NeverRead, send("hello")]);
        world.run_for(S * 3);
        assert_eq!(world.env.net.count(crate::ids::Owner::Node(node)), 0);
    });
}

#[test]
fn a_reader_that_is_slow_but_steady_gets_all() {
    scenario("a_reader_that_is_slow", 3, |world| {
        let steps = vec![Step::Sip { bytes: 3000, every: S }];
        let (_, _, actor) = download(world, 120_000, steps);
        // As long as it takes where the buffers hold but one segment.
        world.run_for(S * 120);
        assert!(is_start_of_big(world, actor, 120_000), "{} bytes", world.log(actor).all().len());
    });
}

#[test]
fn below_the_lowest_average_an_upload_ends() {
    // `rate_min` and `transfer_grace`: a chunk in every interval is not enough for ever.
    scenario("below_the_lowest_average", 2, |world| {
        let steps = vec![Step::Sip { bytes: 500, every: S }];
        let (_, _, actor) = download(world, 10 << 20, steps);
        world.run_for(S * 60);
        assert!(ended(world, actor).is_none(), "the grace");
        // What lies in large buffers counts as sent, so it takes a while.
        world.run_for(S * 6000);
        assert_eq!(ended(world, actor), Some(Some(Fault::Reset)));
    });
}

#[test]
fn callers_that_go_leave_nothing_open() {
    // hostile: 27, 68
    scenario("callers_that_go", 6, |world| {
        let (lan, node, to) = served(world);
        world.share(node, "big", Content::generated(77, 10 << 20));
        for last in [Step::Close, Step::Reset] {
            let host = world.host(&[lan]);
            dialler(world, host, to, vec![send(request("download", "big")), Step::Hear, last.clone()]);
            dialler(world, host, to, vec![send(request("search", "there")), last.clone()]);
            dialler(world, host, to, vec![send("{"), last]);
        }
        world.run_for(S * 2);
        assert_eq!(world.env.net.count(crate::ids::Owner::Node(node)), 0);
    });
}

#[test]
fn a_file_that_changes_while_it_is_sent() {
    // hostile: 63, 64
    scenario("a_file_that_changes", 2, |world| {
        let len = 2_000_000;
        let (_, node, grown) = download(world, len, vec![]);
        let slow = |world: &mut World, node: NodeId| {
            let host = host_of(world, node);
            world.env.net.topology.host_mut(host).byte_ns = 1000;
        };
        slow(world, node);
        world.run_for(MS * 100);
        world.nodes[node.0].disk.grow(Dir::Shared, "big", len * 2);
        assert!(world.run_until(S * 20, |world| ended(world, grown).is_some()));
        assert_eq!(ended(world, grown), Some(None));
        assert!(is_start_of_big(world, grown, len), "the first {len} bytes");

        // Unlinked or replaced: who has it open gets what it was.
        for replace in [false, true] {
            let (_, node, actor) = download(world, len, vec![]);
            slow(world, node);
            world.run_for(MS * 100);
            if replace {
                world.share(node, "big", Content::generated(78, 10));
            } else {
                world.nodes[node.0].disk.remove(Dir::Shared, "big");
            }
            assert!(world.run_until(S * 20, |world| ended(world, actor) == Some(None)));
            assert!(is_start_of_big(world, actor, len));
        }

        // Cut short or unreadable: a reset, never an end that looks like the file's.
        for spoil in [false, true] {
            let (lan, node, actor) = download(world, len, vec![]);
            slow(world, node);
            let pair = healthy(world, node, lan);
            world.run_for(MS * 50);
            let disk = &mut world.nodes[node.0].disk;
            if spoil {
                disk.spoil(Dir::Shared, "big", len / 2);
            } else {
                disk.shrink(Dir::Shared, "big", len / 2);
            }
            assert!(world.run_until(S * 20, |world| ended(world, actor).is_some()));
            assert_eq!(ended(world, actor), Some(Some(Fault::Reset)));
            pair.check(world);
        }
    });
}

#[test]
fn eight_uploads_to_one_address_the_rest_hear_busy() {
    // hostile: 69
    scenario("eight_uploads_to_one_address", 3, |world| {
        // Nobody waits for a slot here; `those_that_wait` in `original` is about them.
        let lan = world.lan();
        let node = peers_on(world, lan, 1, |config| config.limits.v1_waits = 0)[0];
        let to = addr_of(world, node);
        world.share(node, "there", "content");
        world.run_for(MS * 10);
        world.share(node, "big", Content::generated(77, 1 << 30));
        let host = world.host(&[lan]);
        let steps = vec![send(request("download", "big")), Step::Hear, Step::NeverRead];
        let running = crowd(world, host, to, 8, MS * 5, steps);
        world.run_for(S / 2);
        let refused = crowd(world, host, to, 192, MS * 40, vec![send(request("download", "big"))]);
        world.run_for(S * 8);
        assert_eq!(world.log(running).received.len(), 8);
        let answers: Vec<_> = world.log(refused).received.values().cloned().collect();
        assert_eq!(answers.len(), 192);
        assert!(answers.iter().all(|answer| answer == BUSY.as_bytes()));
        // Another address has its own slots.
        let other = world.host(&[lan]);
        let served = dialler(world, other, to, vec![send(request("download", "there"))]);
        world.run_for(S);
        assert_eq!(heard(world, served), "content");
        // A slot comes back when its upload ends.
        world.stop(running);
        world.run_for(S);
        let again = dialler(world, host, to, vec![send(request("download", "there"))]);
        world.run_for(S);
        assert_eq!(heard(world, again), "content");
    });
}

#[test]
fn with_v1_off_nobody_is_answered_and_one_line_says_so() {
    // hostile: 70
    scenario("with_v1_off", 2, |world| {
        let lan = world.lan();
        let host = world.host(&[lan]);
        let log = logged(world, |world| {
            let node = peer(world, host, |config| config.v1 = false);
            world.share(node, "there", "content");
            world.run_for(S / 10);
            let to = addr_of(world, node);
            let from = world.host(&[lan]);
            let asked = crowd(world, from, to, 50, MS * 20, vec![send(request("download", "there"))]);
            world.run_for(S * 5);
            assert_eq!(heard(world, asked), "");
            assert_eq!(world.log(asked).ended.len(), 50);
        });
        let lines = log.lines().filter(|line| line.contains("v1 is off") && !line.starts_with("DEBUG"));
        assert_eq!(lines.count(), 1, "{log}");
    });
}

#[test]
fn the_secret_is_in_no_log_and_on_no_screen() {
    // hostile: 71
    scenario("the_secret_is_in_no_log", 2, |world| {
        let log = logged(world, |world| {
            let (lan, node, to) = served(world);
            let secret = format!("{V1_DEFAULT_SECRET} and more");
            let texts = [
                request("search", "there"),
                request("download", "there"),
                request("download", "gone"),
                request("search", V1_DEFAULT_SECRET),
                format!(r#"{{"type":"search","filename":"there","secret":"{secret}"}}"#),
                V1_DEFAULT_SECRET.to_owned(),
                format!(r#"{{"{V1_DEFAULT_SECRET}":[[[[[[[[[[["#),
            ];
            for text in texts {
                let host = world.host(&[lan]);
                dialler(world, host, to, vec![send(text)]);
            }
            let host = world.host(&[lan]);
            let other = plain(world, host);
            // Two new nodes have no use for it; an old one is asked with it, and one whose secret is another.
            let (old, deaf) = (world.host(&[lan]), world.host(&[lan]));
            world.env.truth.add("theirs", &"x".into());
            world.actor(old, OriginalPeer::new(PORT).sharing("theirs", "x"));
            world.actor(deaf, OriginalPeer::new(PORT).sharing("theirs", "x").secret("another"));
            world.run_for(S);
            get(world, other, node, "there");
            get(world, other, node, "gone");
            for host in [old, deaf] {
                let to = world.addr(host, PORT);
                get_at(world, other, to, "theirs");
                get_at(world, other, to, "gone");
            }
            world.run_for(S * 3);
            world.type_line(other, "search theirs");
            world.type_line(other, "status");
            world.run_for(S * 3);
            assert!(has_copy(world, other, "there") && has_copy(world, other, "theirs"));
            for node in [node, other] {
                let shown = world.stdout(node) + &world.stderr(node);
                assert!(!shown.contains(V1_DEFAULT_SECRET), "{shown}");
            }
        });
        assert!(log.contains("giving there ("), "the log was kept: {log}");
        assert!(!log.contains(V1_DEFAULT_SECRET), "{log}");
    });
}

#[test]
fn an_empty_file_is_no_bytes_and_an_end() {
    // hostile: 73
    scenario("an_empty_file", 2, |world| {
        let (lan, node, to) = served(world);
        world.share(node, "empty", "");
        let host = world.host(&[lan]);
        let actor = dialler(world, host, to, vec![send(request("download", "empty"))]);
        world.run_for(S);
        assert_eq!((heard(world, actor).as_str(), ended(world, actor)), ("", Some(None)));
    });
}

#[test]
fn a_half_open_flood_leaves_the_others_alone() {
    // hostile: 94
    scenario("a_half_open_flood", 1, |world| {
        let (lan, node, to) = served(world);
        // A transfer that runs already, for about seven seconds.
        world.share(node, "big", Content::generated(77, 4_000_000));
        let slow = host_of(world, node);
        world.env.net.topology.host_mut(slow).byte_ns = 1800;
        let there = world.host(&[lan]);
        let other = plain(world, there);
        world.run_for(MS * 10);
        get(world, other, node, "big");
        world.run_for(MS * 100);
        for i in 0..250 {
            world.later(MS * i, move |world| {
                let host = world.host(&[lan]);
                crowd(world, host, to, 40, MS * 20, vec![]);
            });
        }
        let mut most = 0;
        for _ in 0..30 {
            world.run_for(MS * 100);
            most = most.max(world.env.net.count(crate::ids::Owner::Node(node)));
        }
        let Limits { unauth, .. } = Limits::desktop();
        assert!((unauth / 2..=unauth + 4).contains(&most), "{most} connections held");
        assert!(!world.nodes[other.0].disk.names(Dir::Parts).is_empty(), "it runs still");
        assert!(world.run_until(S * 8, |world| has_copy(world, other, "big")), "{}", world.stdout(other));
        world.run_for(S * 3);
        let host = world.host(&[lan]);
        let actor = dialler(world, host, to, vec![send(request("search", "there"))]);
        world.run_for(S);
        assert_eq!(heard(world, actor), FOUND, "afterwards all is as before");
    });
}

#[test]
fn names_are_exact_bytes() {
    // hostile: 65
    scenario("names_are_exact_bytes", 2, |world| {
        let (lan, node, to) = served(world);
        world.share(node, "caf\u{e9}", "composed");
        let cases = vec![
            said(request("download", "caf\u{e9}"), "composed"),
            said(request("download", "cafe\u{301}"), NO_FILE),
            said(request("search", "There"), NOT_FOUND),
        ];
        table(world, lan, to, cases);
    });
}

#[test]
fn the_disk_is_slow_and_nobody_is_blamed() {
    // hostile: 169 (as far as a simulated disk shows it)
    scenario("the_disk_is_slow", 4, |world| {
        let lan = world.lan();
        let nodes = peers_on(world, lan, 2, |_| {});
        for &node in &nodes {
            world.nodes[node.0].disk.faults.slow = 1_000_000;
        }
        world.share(nodes[0], "file", Content::generated(5, 500_000));
        world.run_for(S / 10);
        get(world, nodes[1], nodes[0], "file");
        // Some twenty operations one after another, and each may take ten seconds.
        assert!(world.run_until(S * 240, |world| has_copy(world, nodes[1], "file")
            || !errors(world, nodes[1]).is_empty()));
        let said = errors(world, nodes[1]);
        assert!(
            said.iter().all(|text| text.contains("did not answer") || text.contains("sent nothing")),
            "{said:?}"
        );
    });
}
