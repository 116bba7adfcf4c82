//! A peer's downloads from those who lie, stall, cut and flood: what is said, and that nothing wrong of it stays.

use super::common::{
    BUSY, MS, NOT_JSON, PORT, S, addr_of, command, errors, get, get_at, has_copy, healthy, host_of, listener,
    nothing_left, pairs, peer, peers_on, plain, send,
};
use crate::actor::{Actor, Cx, Script, Step, Told, Way};
use crate::content::Content;
use crate::faults::DiskFaults;
use crate::harness::{every_third, scenario};
use crate::ids::{NodeId, SockId};
use crate::world::World;
use distrishare::config::Limits;
use distrishare::machine::Dir;
use std::collections::BTreeSet;

/// A node that answers searches with one text and downloads with `body` and then `last`. It is an old one: what begins as
/// v2 does is no JSON to it.
pub(super) struct Liar {
    search: &'static str,
    body: Vec<u8>,
    last: Last,
    served: BTreeSet<SockId>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Fin,
    Reset,
    Silence,
    /// The body again and again.
    Forever,
    Trickle,
}

impl Liar {
    pub(super) fn new(search: &'static str, body: impl AsRef<[u8]>, last: Last) -> Liar {
        Liar { search, body: body.as_ref().to_vec(), last, served: BTreeSet::new() }
    }

    fn go_on(&mut self, cx: &mut Cx<'_>, sock: SockId) {
        match self.last {
            Last::Forever if cx.unsent(sock) < 1 << 20 => cx.send(sock, &self.body),
            Last::Trickle => cx.send(sock, b"x"),
            _ => {}
        }
        let every = if self.last == Last::Trickle { S } else { MS };
        cx.timer(every, sock.0);
    }
}

impl Actor for Liar {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>) {
        match what {
            Told::Start => cx.listen(PORT),
            Told::Data { sock, bytes } if self.served.insert(sock) => {
                if bytes[0] >= 0x80 {
                    cx.send(sock, NOT_JSON.as_bytes());
                    return cx.close(sock);
                }
                if String::from_utf8_lossy(bytes).contains("\"search\"") {
                    cx.send(sock, self.search.as_bytes());
                    return cx.close(sock);
                }
                cx.send(sock, &self.body);
                match self.last {
                    Last::Fin => cx.close(sock),
                    Last::Reset => cx.timer(S, sock.0),
                    Last::Silence => {}
                    Last::Forever | Last::Trickle => self.go_on(cx, sock),
                }
            }
            Told::Timer(sock) if self.last == Last::Reset => cx.reset(SockId(sock)),
            Told::Timer(sock) => self.go_on(cx, SockId(sock)),
            Told::Eof { sock } => cx.close(sock),
            _ => {}
        }
    }
}

/// A peer asks a liar for `file`; what it says when that is over.
fn asked(world: &mut World, liar: impl Actor + 'static) -> (NodeId, String) {
    let lan = world.lan();
    let (host, there) = (world.host(&[lan]), world.host(&[lan]));
    let node = plain(world, host);
    world.env.truth.tainted.insert("file".to_owned());
    world.actor(there, liar);
    let to = world.addr(there, PORT);
    let said = command(world, node, &format!("get {} {} file", to.ip(), to.port()));
    (node, said.iter().map(|event| format!("{event}\n")).collect())
}

fn refused(world: &mut World, liar: Liar, words: &[&str]) {
    let (node, said) = asked(world, liar);
    assert!(words.iter().all(|word| said.contains(word)), "{words:?} in {said}");
    nothing_left(world, node);
    assert_eq!(world.env.net.count(crate::ids::Owner::Node(node)), 0);
}

fn saved(world: &mut World, liar: Liar, content: &[u8]) {
    let (node, said) = asked(world, liar);
    assert!(said.contains("\"downloaded\"") && said.contains("\"verified\":false"), "{said}");
    let got = world.nodes[node.0].disk.content(Dir::Downloads, "file").cloned();
    assert!(got.is_some_and(|got| got.same(&content.into())), "{said}");
}

#[test]
fn answers_that_are_no_file() {
    // hostile: 74, 75, 80
    scenario("answers_that_are_no_file", 4, |world| {
        refused(world, Liar::new("?", "", Last::Fin), &["answered nothing", "network"]);
        refused(world, Liar::new("FOUND", "abc".repeat(9000), Last::Reset), &["nothing is kept", "network"]);
        refused(world, Liar::new("NOT_FOUND", "", Last::Fin), &["does not have file", "not_found"]);
        refused(
            world,
            Liar::new("FOUND", "ERROR: File not found.", Last::Fin),
            &["File not found", "not_found"],
        );
        refused(
            world,
            Liar::new("FOUND", "ERROR: busy, come later", Last::Fin),
            &["busy, come later", "refused"],
        );
        refused(world, Liar::new("?", "ERROR: \u{1b}]0;x\u{7}", Last::Fin), &["\\\\u{1b}", "refused"]);
        let long: &'static str =
            Box::leak(format!("ERROR: \u{1b}[31m{}", "x".repeat(1 << 20)).into_boxed_str());
        let (node, said) = asked(world, Liar::new(long, "", Last::Fin));
        assert!(
            said.contains("refused") && said.len() < 700 && !said.contains('\u{1b}'),
            "{} {said}",
            said.len()
        );
        nothing_left(world, node);
    });
}

#[test]
fn content_that_looks_like_an_error_or_like_nothing() {
    // hostile: 74, 76, 77
    scenario("content_that_looks_like_an_error", 4, |world| {
        let essay = format!("ERROR is how {}", "it begins. ".repeat(100_000));
        saved(world, Liar::new("FOUND", &essay, Last::Fin), essay.as_bytes());
        let long = format!("ERROR: {}", "x".repeat(1 << 20));
        saved(world, Liar::new("?", &long, Last::Fin), long.as_bytes());
        saved(world, Liar::new("FOUND", "ERROR: mine", Last::Fin), b"ERROR: mine");
        saved(world, Liar::new("FOUND", "", Last::Fin), b"");
        saved(world, Liar::new("FOUND", "short", Last::Fin), b"short");
        saved(world, Liar::new("?", "short", Last::Fin), b"short");
    });
}

#[test]
fn servers_that_stall_trickle_or_never_end() {
    // hostile: 78, 79
    scenario("servers_that_stall", 3, |world| {
        refused(world, Liar::new("FOUND", "", Last::Silence), &["sent nothing within 5 s", "timeout"]);
        refused(world, Liar::new("FOUND", "abc", Last::Silence), &["too slowly", "timeout"]);
        // Who says nothing at all is not even asked in v1: nobody knows what it speaks.
        let (node, said) = asked(world, Script::new(Way::Listen(PORT), vec![]));
        assert!(said.contains("took the connection and said nothing") && said.contains("timeout"), "{said}");
        nothing_left(world, node);
        // An error text is one even if the connection stays open behind it, or is cut.
        for last in [Last::Silence, Last::Reset] {
            refused(world, Liar::new("FOUND", BUSY, last), &[BUSY, "refused"]);
        }
        refused(world, Liar::new("?", "ERR", Last::Silence), &["timeout"]);
        let start = world.now();
        refused(world, Liar::new("FOUND", "abc", Last::Trickle), &["too slowly", "timeout"]);
        let took = world.now() - start;
        assert!((S * 29..S * 35).contains(&took), "{took:?}");
    });
}

#[test]
fn a_stream_without_end_stops_at_the_cap_or_at_the_disk() {
    // hostile: 78
    scenario("a_stream_without_end", 2, |world| {
        for full_disk in [false, true] {
            let lan = world.lan();
            let (host, there) = (world.host(&[lan]), world.host(&[lan]));
            let limits =
                Limits { download_max: if full_disk { 1 << 40 } else { 3_000_000 }, ..Limits::desktop() };
            let node = peer(world, host, move |config| config.limits = limits.clone());
            if full_disk {
                world.nodes[node.0].disk.capacity = 20 << 20;
            }
            world.env.truth.tainted.insert("file".to_owned());
            world.actor(there, Liar::new("FOUND", vec![7; 1 << 16], Last::Forever));
            let to = world.addr(there, PORT);
            world.run_for(MS * 10);
            get_at(world, node, to, "file");
            assert!(world.run_until(S * 60, |world| !errors(world, node).is_empty()), "it never stops");
            let said = errors(world, node);
            assert_eq!(said.len(), 1, "{said:?}");
            nothing_left(world, node);
        }
    });
}

#[test]
fn a_node_that_is_not_there() {
    scenario("a_node_that_is_not_there", 3, |world| {
        let lan = world.lan();
        let (host, off) = (world.host(&[lan]), world.host(&[lan]));
        let node = plain(world, host);
        let to = world.addr(off, PORT);
        let said = command(world, node, &format!("get {} {} file", to.ip(), to.port()));
        assert!(
            said[0]["message"].as_str().is_some_and(|text| text.contains("refused the connection")),
            "{said:?}"
        );
        assert_eq!(said[0]["code"], "network");
        world.power_off(off);
        let start = world.now();
        let said = command(world, node, &format!("get {} {} file", to.ip(), to.port()));
        assert_eq!(said[0]["code"], "timeout", "{said:?}");
        assert!((S * 4..S * 7).contains(&(world.now() - start)), "the connect deadline");
        for bad in [
            "get 224.1.1.1 9000 x",
            "get 0.0.0.0 9000 x",
            "get 255.255.255.255 9000 x",
            "get 10.0.0.1 9000 ../x",
        ] {
            let said = command(world, node, bad);
            assert_eq!(said[0]["code"], "usage", "{bad}: {said:?}");
        }
        let myself = format!("get {} {PORT} x", world.ip(host));
        assert_eq!(command(world, node, &myself)[0]["code"], "usage");
        let said = command(world, node, "get no.such.host 9000 x");
        assert!(said[0]["message"].as_str().is_some_and(|text| text.contains("spelt right")), "{said:?}");
        nothing_left(world, node);
    });
}

#[test]
fn downloads_never_overwrite_and_run_up_to_the_limit() {
    scenario("downloads_never_overwrite", 2, |world| {
        world.env.truth.forbid_short = true;
        let lan = world.lan();
        let limits = Limits { downloads: 3, ..Limits::desktop() };
        let nodes = peers_on(world, lan, 4, move |config| config.limits = limits.clone());
        for i in 0..10 {
            world.share(nodes[0], &format!("file{i}"), Content::generated(i, 400_000));
        }
        // Others have other files of the same name.
        world.share(nodes[2], "file0", Content::generated(20, 400_000));
        world.share(nodes[3], "file0", Content::generated(30, 400_000));
        let slow = host_of(world, nodes[0]);
        world.env.net.topology.host_mut(slow).byte_ns = 200;
        world.run_for(MS * 10);
        (0..10).for_each(|i| get(world, nodes[1], nodes[0], &format!("file{i}")));
        (2..4).for_each(|i| get(world, nodes[1], nodes[i], "file0"));
        let mut most = 0;
        let all = |world: &World| world.downloads(nodes[1]).len() == 12;
        while !all(world) {
            world.run_for(MS * 20);
            let names = world.nodes[nodes[1].0].disk.names(Dir::Parts);
            most = most.max(names.iter().filter(|name| name.ends_with(".part")).count());
            assert!(world.now() < S * 60, "{}", world.stdout(nodes[1]));
        }
        assert!((2..=3).contains(&most), "{most} at once");
        assert!((0..10).all(|i| world.has_download(nodes[1], &format!("file{i}"))));
        let names = ["file0", "file0 (2)", "file0 (3)"];
        let content = |name: &&str| world.nodes[nodes[1].0].disk.content(Dir::Downloads, name);
        let found: Vec<&Content> = names.iter().filter_map(content).collect();
        let there = |seed| found.iter().any(|content| content.same(&Content::generated(seed, 400_000)));
        assert!([0, 20, 30].into_iter().all(there), "{:?}", world.downloads(nodes[1]));
    });
}

#[test]
fn disks_that_fail_keep_what_is_right_and_say_what() {
    // hostile: 156, 159 (as a node sees them)
    scenario("disks_that_fail", 2, |world| {
        let always = 1_000_000;
        const SIZE: u64 = 300_000;
        let cases: [(DiskFaults, &[&str]); 5] = [
            (DiskFaults { write: always, ..DiskFaults::default() }, &["io"]),
            (DiskFaults { full: always, ..DiskFaults::default() }, &["no_space"]),
            (DiskFaults { commit: always, ..DiskFaults::default() }, &["io", "no_space"]),
            (DiskFaults { open: always, ..DiskFaults::default() }, &["io", "no_space"]),
            (DiskFaults { sync: always, ..DiskFaults::default() }, &["io"]),
        ];
        for (i, (faults, codes)) in cases.into_iter().enumerate() {
            let lan = world.lan();
            let nodes = peers_on(world, lan, 2, |_| {});
            world.share(nodes[0], "file", Content::generated(9, SIZE));
            world.run_for(MS * 10);
            let pair = healthy(world, nodes[0], lan);
            world.nodes[nodes[1].0].disk.faults = faults;
            let to = addr_of(world, nodes[0]);
            let said = command(world, nodes[1], &format!("get {} {} file", to.ip(), to.port()));
            assert!(codes.iter().any(|code| said[0]["code"] == *code), "{i}: {said:?}");
            let text = said[0]["message"].as_str().unwrap_or("").to_owned();
            world.run_for(MS * 10);
            // All of it is worth keeping where it only got no name, and what the disk said does not cast doubt on it.
            let kept = if text.contains("are kept") { SIZE } else { 0 };
            match kept {
                0 => nothing_left(world, nodes[1]),
                _ => assert!(
                    i == 2 && text.contains("`resume 1`") && pairs(world, nodes[1]) == 1,
                    "{i}: {text}"
                ),
            }
            world.nodes[nodes[1].0].disk.faults = DiskFaults::default();
            get(world, nodes[1], nodes[0], "file");
            assert!(world.run_until(S * 10, |world| has_copy(world, nodes[1], "file")), "and then it works");
            world.run_for(S);
            assert_eq!(pairs(world, nodes[1]), 0);
            assert_eq!(world.events_named(nodes[1], "downloaded")[0]["resumed"], kept, "{i}");
            pair.check(world);
        }
    });
}

#[test]
fn a_full_disk_is_refused_with_words_and_others_go_on() {
    // hostile: 156
    scenario("a_full_disk_is_refused", 4, |world| {
        let lan = world.lan();
        let nodes = peers_on(world, lan, 2, |_| {});
        world.share(nodes[0], "large", Content::generated(9, 40 << 20));
        world.share(nodes[0], "small", Content::generated(10, 1000));
        world.nodes[nodes[1].0].disk.capacity = 30 << 20;
        world.run_for(MS * 10);
        let to = addr_of(world, nodes[0]);
        let said = command(world, nodes[1], &format!("get {} {} large", to.ip(), to.port()));
        assert_eq!(said[0]["code"], "no_space", "{said:?}");
        nothing_left(world, nodes[1]);
        get(world, nodes[1], nodes[0], "small");
        assert!(world.run_until(S * 5, |world| has_copy(world, nodes[1], "small")));
    });
}

#[test]
fn a_download_is_killed_at_every_step_and_goes_on() {
    // hostile: 161 (the simulated disk's steps)
    scenario("a_download_is_killed", 3, |world| {
        let lan = world.lan();
        let nodes = peers_on(world, lan, 2, |_| {});
        let size = (2 << 20) + 5000;
        for (before, step) in every_third(world.env.seed).take_while(|&step| step < 80).enumerate() {
            // Another content each time: what is here is not fetched again.
            let name = format!("file{step}");
            world.share(nodes[0], &name, Content::generated(step, size));
            world.run_for(MS * 10);
            get(world, nodes[1], nodes[0], &name);
            world.crash_after(nodes[1], step);
            world.run_for(S);
            if world.running(nodes[1]) {
                world.crash(nodes[1]);
            }
            let right_or_absent = |world: &World, when: &str| {
                let there = world.downloads(nodes[1]).contains(&name);
                assert!(!there || world.has_download(nodes[1], &name), "{when} step {step}");
                assert!(!there || pairs(world, nodes[1]) == 0, "{when} step {step}");
            };
            // What a power cut leaves may be alone; what the next start leaves is not.
            let there = world.downloads(nodes[1]).contains(&name);
            assert!(!there || world.has_download(nodes[1], &name), "after step {step}");
            world.start(nodes[1]);
            right_or_absent(world, "after");
            let known = pairs(world, nodes[1]) == 1;
            // It goes on by itself as soon as it is known who has it; and if nothing was kept somebody asks again.
            world.run_for(MS * 10);
            get(world, nodes[1], nodes[0], &name);
            let whole = |world: &World| world.has_download(nodes[1], &name);
            assert!(world.run_until(S * 20, whole), "after step {step}, {known}: {}", world.stdout(nodes[1]));
            world.run_for(S);
            right_or_absent(world, "long after");
            assert_eq!(pairs(world, nodes[1]), 0, "after step {step}");
            assert_eq!(world.downloads(nodes[1]).len(), before + 1, "each of them once");
        }
    });
}

#[test]
fn the_source_dies_or_is_cut_off_in_the_middle() {
    scenario("the_source_dies", 3, |world| {
        for how in 0..4 {
            for pieces in [0, 1] {
                let lan = world.lan();
                let nodes = peers_on(world, lan, 2, |_| {});
                world.share(nodes[0], "file", Content::generated(9, 3_000_000));
                let slow = host_of(world, nodes[0]);
                world.env.net.topology.host_mut(slow).byte_ns = 1000;
                world.run_for(MS * 10);
                get(world, nodes[1], nodes[0], "file");
                let part = |world: &World| {
                    let disk = &world.nodes[nodes[1].0].disk;
                    let names = disk.names(Dir::Parts);
                    let part = names.iter().find(|name| name.ends_with(".part"));
                    part.and_then(|name| disk.content(Dir::Parts, name)).map_or(0, Content::stored)
                };
                let enough = if pieces == 0 { 100_000 } else { 1_500_000 };
                assert!(world.run_until(S * 5, |world| part(world) >= enough), "{}", world.stdout(nodes[1]));
                let there = host_of(world, nodes[1]);
                match how {
                    0 => world.power_off(slow),
                    1 => world.partition(slow, there),
                    2 => world.suspend(nodes[0]),
                    _ => world.type_line(nodes[1], "quit"),
                }
                let over = |world: &World| !errors(world, nodes[1]).is_empty() || !world.running(nodes[1]);
                // The session is given up after 90 s, and the source has some 20 more to return.
                assert!(world.run_until(S * 130, over), "case {how}");
                world.run_for(S * 2);
                assert!(world.downloads(nodes[1]).is_empty());
                if pieces == 0 && how < 3 {
                    nothing_left(world, nodes[1]);
                } else {
                    assert!(pairs(world, nodes[1]) == pieces || how == 3, "case {how}");
                }
                // It comes back, and so does the download.
                match how {
                    0 => {
                        world.power_on(slow);
                        world.start(nodes[0]);
                    }
                    1 => world.reconnect(slow, there),
                    2 => world.resume(nodes[0]),
                    _ => world.start(nodes[1]),
                }
                world.run_for(S);
                get(world, nodes[1], nodes[0], "file");
                let whole = |world: &World| world.has_download(nodes[1], "file");
                assert!(world.run_until(S * 60, whole), "case {how}: {}", world.stdout(nodes[1]));
                world.run_for(S);
                assert_eq!(pairs(world, nodes[1]), 0, "case {how}");
            }
        }
    });
}

#[test]
fn a_search_answer_of_any_shape() {
    scenario("a_search_answer_of_any_shape", 3, |world| {
        let lan = world.lan();
        let host = world.host(&[lan]);
        let node = plain(world, host);
        let answers: [(&[u8], &str); 5] = [
            (b"FOUND", "found"),
            (b"NOT_FOUND", "error"),
            (b"FOUND and more", "error"),
            (b"\xff\xfe", "error"),
            (b"", "error"),
        ];
        for (answer, event) in answers {
            let there = world.host(&[lan]);
            let actor = listener(world, there, PORT, vec![Step::Hear, send(answer), Step::Close]);
            let to = world.addr(there, PORT);
            world.type_line(node, "multicast on");
            world.run_for(S);
            world.inject(lan, to, b"HELLO:127.0.0.1:9000");
            world.run_for(MS * 10);
            let said = command(world, node, "search nothing");
            assert_eq!(said[0]["event"], event, "{said:?}");
            world.stop(actor);
            world.crash(node);
            world.start(node);
            world.run_for(MS * 10);
        }
    });
}
