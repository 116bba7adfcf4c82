//! Each limit of `config::Limits` that a peer is held to, with a value of its own, so that a constant in its place shows.
//! Beside these: `hello_*` in `meet`; `known_*`, `datagram*` in `discovery`; `downloads`, `download_max` in `fetch`;
//! `dials` in `search`; `rate_min`, `transfer_grace` in `serve`. What the registry is held to is tested beside its code,
//! and so is what only the reactor can keep (turns, quanta, listings).

use super::common::{
    BAD_SECRET, BUSY, MS, PORT, S, addr_of, alive, at_registry, bootstrap, command, crowd, dialler, errors,
    get, has_copy, heard, host_of, list, listener, nothing_left, peer, peers_on, plain, request, send,
};
use super::fetch::{Last, Liar};
use crate::actor::Step;
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::{ActorId, HostId, LanId, NodeId, Owner};
use crate::member::Member;
use crate::world::World;
use distrishare::config::{Limits, Rates};
use distrishare::machine::{Dir, Fault};
use std::net::SocketAddr;
use std::time::Duration;

fn within(world: &mut World, limits: Limits) -> (LanId, NodeId, SocketAddr) {
    let lan = world.lan();
    let node = peers_on(world, lan, 1, move |config| config.limits = limits.clone())[0];
    world.share(node, "there", "content");
    world.share(node, "big", Content::generated(77, 1 << 30));
    world.run_for(MS * 10);
    (lan, node, addr_of(world, node))
}

/// Bounds on who comes in that are out of the way of others.
fn open_gate() -> Limits {
    Limits {
        unauth: 5000,
        conns_per_ip: 5000,
        unauth_per_ip: 5000,
        uploads_per_ip: 5000,
        v1_waits: 0,
        ..Limits::desktop()
    }
}

fn ended(world: &World, actor: ActorId) -> Vec<Option<Fault>> {
    world.log(actor).ended.values().copied().collect()
}

fn sockets(world: &World, node: NodeId) -> usize {
    world.env.net.count(Owner::Node(node))
}

fn stuck(world: &mut World, host: HostId, to: SocketAddr, times: u32) -> ActorId {
    crowd(world, host, to, times, MS, vec![send(request("download", "big")), Step::Hear, Step::NeverRead])
}

#[test]
fn connections_in_all() {
    // `conns`: the oldest silent caller makes room; where none is silent, the newcomer hears that we are busy. An eighth
    // of the places is kept for our own dials.
    scenario("connections_in_all", 3, |world| {
        let (lan, node, to) = within(world, Limits { conns: 20, ..open_gate() });
        let host = world.host(&[lan]);
        let silent = crowd(world, host, to, 60, MS, vec![]);
        world.run_for(S);
        assert_eq!((sockets(world, node), ended(world, silent).len()), (18, 42));
        let asked = dialler(world, host, to, vec![send(request("search", "there"))]);
        world.run_for(MS * 100);
        assert_eq!(heard(world, asked), "FOUND");
        world.stop(silent);
        world.run_for(S * 2);
        let taken = stuck(world, host, to, 18);
        world.run_for(S);
        let late = crowd(world, host, to, 5, MS * 10, vec![send(request("search", "there"))]);
        world.run_for(MS * 300);
        assert_eq!((heard(world, late), ended(world, taken).len()), (BUSY.repeat(5), 0));
        // Who speaks v2 is told nothing: the text would make the node one that speaks v1 only.
        let flight = super::strangers::first_flight(distrishare::config::Crypto::Null, None);
        let modern = dialler(world, host, to, vec![send(flight)]);
        world.run_for(MS * 300);
        assert_eq!((heard(world, modern).as_str(), ended(world, modern).len()), ("", 1));
        let other = plain(world, host);
        world.share(other, "theirs", Content::generated(7, 5000));
        let get = format!("get {} 9000 theirs", world.ip(host));
        command(world, node, &get);
        assert!(world.has_download(node, "theirs"), "callers have not cut us off");
    });
}

#[test]
fn a_full_member_without_v1_says_nothing() {
    // Not even the busy text of a protocol that it does not speak.
    scenario("a_full_member", 3, |world| {
        let lan = world.lan();
        let here = world.host(&[lan]);
        let joins = super::members::joins(distrishare::config::Crypto::Null, 1);
        let node = peer(world, here, move |config| {
            joins(config);
            config.limits = Limits { conns: 20, ..open_gate() };
        });
        world.run_for(S);
        let (to, host) = (addr_of(world, node), world.host(&[lan]));
        // Sessions that are asked for things cannot be ended for a newcomer.
        let members: Vec<_> = (20..60)
            .map(|n| {
                let member = Member::new(super::members::dial(to), n);
                let member = member.of(distrishare::config::Crypto::Null, Some(super::members::group(1)));
                let actor = world.actor(host, member);
                world.run_for(MS * 20);
                actor
            })
            .collect();
        assert!(members.len() > 20 && sockets(world, node) >= 18, "{}", sockets(world, node));
        let asked = crowd(world, host, to, 20, MS * 10, vec![send(request("search", "there"))]);
        world.run_for(S * 2);
        assert_eq!((heard(world, asked).as_str(), ended(world, asked).len()), ("", 20));
    });
}

#[test]
fn connections_of_one_address() {
    // `conns_per_ip`, `unauth_per_ip`, `uploads_per_ip`
    scenario("connections_of_one_address", 3, |world| {
        let (lan, node, to) = within(world, Limits { conns_per_ip: 7, ..open_gate() });
        let host = world.host(&[lan]);
        let taken = stuck(world, host, to, 12);
        world.run_for(S);
        assert_eq!((sockets(world, node), ended(world, taken).len()), (7, 5));

        let (lan, node, to) = within(world, Limits { unauth_per_ip: 3, ..open_gate() });
        let (host, other) = (world.host(&[lan]), world.host(&[lan]));
        let silent = crowd(world, host, to, 12, MS, vec![]);
        let beside = crowd(world, other, to, 2, MS, vec![]);
        world.run_for(S);
        assert_eq!((sockets(world, node), ended(world, silent).len(), ended(world, beside).len()), (5, 9, 0));

        let (lan, _, to) = within(world, Limits { uploads_per_ip: 2, ..open_gate() });
        let host = world.host(&[lan]);
        let taken = stuck(world, host, to, 6);
        world.run_for(S * 3);
        assert_eq!(heard(world, taken).matches(BUSY).count(), 4);
        // A session from there has no places of its own beside them.
        let member = plain(world, host);
        world.type_line(member, &format!("get {} {PORT} there", to.ip()));
        world.run_for(S * 3);
        assert!(!world.has_download(member, "there"));
        world.stop(taken);
        let there = world.run_until(S * 20, |world| world.has_download(member, "there"));
        assert!(there, "{}", world.stdout(member));
    });
}

#[test]
fn callers_without_a_request_in_all() {
    // `unauth`: beyond it the oldest of the most loaded source goes.
    scenario("callers_without_a_request", 3, |world| {
        let (lan, node, to) = within(world, Limits { unauth: 30, ..open_gate() });
        let host = world.host(&[lan]);
        let first = crowd(world, host, to, 10, MS, vec![]);
        world.run_for(MS * 100);
        assert_eq!(ended(world, first).len(), 0);
        let host = world.host(&[lan]);
        crowd(world, host, to, 500, MS, vec![]);
        world.run_for(S);
        assert_eq!(
            (sockets(world, node), ended(world, first).len()),
            (30, 0),
            "the others push out their own"
        );
    });
}

#[test]
fn requests() {
    // `request_max`, `request_deadline`
    scenario("requests", 3, |world| {
        let limits = Limits { request_max: 100, request_deadline: S * 2, ..Limits::desktop() };
        let (lan, _, to) = within(world, limits);
        let search = request("search", "there");
        let padded = |n: usize| format!("{}{search}", " ".repeat(n - search.len()));
        let callers = [(padded(100), "FOUND"), (padded(101), BAD_SECRET), ("{".to_owned(), "")].map(
            |(text, answer)| {
                let host = world.host(&[lan]);
                (dialler(world, host, to, vec![send(text)]), answer)
            },
        );
        world.run_for(MS * 1900);
        assert!(ended(world, callers[2].0).is_empty());
        world.run_for(MS * 200);
        for (actor, answer) in callers {
            assert_eq!((heard(world, actor).as_str(), ended(world, actor).len()), (answer, 1));
        }
    });
}

#[test]
fn lingering() {
    // `linger`, `linger_bytes`
    scenario("lingering", 3, |world| {
        for (bytes, linger, whole) in [(10_000, S, false), (1 << 20, S, true)] {
            let (lan, node, to) = within(world, Limits { linger, linger_bytes: bytes, ..Limits::desktop() });
            let host = world.host(&[lan]);
            let text = format!("{}{}", request("search", "there"), "x".repeat(100_000));
            let actor = dialler(world, host, to, vec![send(text), Step::Fin]);
            world.run_for(S * 3);
            assert!(heard(world, actor).is_empty() || heard(world, actor) == "FOUND");
            let last = ended(world, actor)[0];
            assert!(!whole || (last.is_none() && heard(world, actor) == "FOUND"), "{bytes}: {last:?}");
            assert_eq!(sockets(world, node), 0);
        }
        let (lan, node, to) = within(world, Limits { linger: S * 4, ..Limits::desktop() });
        let host = world.host(&[lan]);
        let actor = dialler(world, host, to, vec![send(request("search", "there"))]);
        world.run_for(MS * 3900);
        assert_eq!((heard(world, actor).as_str(), sockets(world, node)), ("FOUND", 1));
        world.run_for(MS * 200);
        assert_eq!(sockets(world, node), 0);
    });
}

/// How long a command takes, and what it says.
fn takes(world: &mut World, node: NodeId, line: &str) -> (Duration, Vec<serde_json::Value>) {
    let start = world.now();
    let said = command(world, node, line);
    (world.now() - start, said)
}

fn about(took: Duration, wanted: Duration) {
    assert!((wanted..wanted + MS * 200).contains(&took), "{took:?}, not {wanted:?}");
}

#[test]
fn deadlines_of_what_we_ask() {
    // `connect_deadline`, `reply_deadline`, `first_byte_deadline`, `progress_interval`, `search_deadline`,
    // `probe_deadline`, `register_deadline`
    scenario("deadlines_of_what_we_ask", 3, |world| {
        let limits = Limits {
            connect_deadline: MS * 3100,
            reply_deadline: MS * 5300,
            first_byte_deadline: MS * 4200,
            progress_interval: MS * 7300,
            search_deadline: MS * 1400,
            probe_deadline: MS * 600,
            register_deadline: MS * 2500,
            ..Limits::desktop()
        };
        let (lan, node, _) = within(world, limits);
        let off = world.host(&[lan]);
        world.power_off(off);
        let dead = world.ip(off);
        world.type_line(node, "multicast on");
        world.run_for(S);
        world.inject(lan, world.addr(off, 31_000), b"HELLO:127.0.0.1:9000");
        world.run_for(MS * 10);
        world.env.truth.tainted.insert("x".to_owned());
        about(takes(world, node, &format!("get {dead} {PORT} x")).0, MS * 3100);
        about(takes(world, node, "search x").0, MS * 1400);
        about(takes(world, node, "nodes all").0, MS * 600);
        about(takes(world, node, &format!("bootstrap {dead}:8000")).0, MS * 2500);
        // Who says nothing; and old nodes: the search before is answered, the download is not, or it is begun and not
        // gone on with.
        let silent = world.host(&[lan]);
        listener(world, silent, PORT, vec![]);
        let old = |body| Liar::new("FOUND", body, Last::Silence);
        let (mute, stalled) = (world.host(&[lan]), world.host(&[lan]));
        world.actor(mute, old(""));
        world.actor(stalled, old("content"));
        for (host, wanted) in [(silent, MS * 5300), (mute, MS * 4200), (stalled, MS * 7300)] {
            let ip = world.ip(host);
            let (took, said) = takes(world, node, &format!("get {ip} {PORT} x"));
            assert_eq!(said[0]["code"], "timeout", "{said:?}");
            about(took, wanted);
        }
        nothing_left(world, node);
    });
}

#[test]
fn slow_readers() {
    // `drain_interval`
    scenario("slow_readers", 3, |world| {
        let (lan, _, to) = within(world, Limits { drain_interval: S * 3, ..Limits::desktop() });
        let host = world.host(&[lan]);
        let actor = stuck(world, host, to, 1);
        world.run_for(MS * 2900);
        assert!(ended(world, actor).is_empty());
        world.run_for(MS * 3200);
        assert_eq!(ended(world, actor), [Some(Fault::Reset)]);
    });
}

#[test]
fn dials_to_strangers() {
    // `dials_unproven`, `dials_per_net`: the rules of every dial watch the bounds, the time shows that they bind.
    scenario("dials_to_strangers", 2, |world| {
        world.env.net.topology.routed = true;
        let (lan, far) = (world.lan(), world.lan());
        let there = world.host(&[lan]);
        world.host(&[far]);
        let nodes: Vec<String> =
            (0..24u32).map(|i| format!("[\"10.{}.{}.{}\", 9000]", far.0, 100 + i % 6, 1 + i / 6)).collect();
        let answer = format!("{{\"nodes\": [{}]}}", nodes.join(", "));
        listener(world, there, 8000, vec![Step::Hear, send(answer), Step::Close]);
        for (unproven, per_net, rounds) in [(6, 4, 4), (64, 2, 2), (64, 1, 4)] {
            let limits = Limits { dials_unproven: unproven, dials_per_net: per_net, ..Limits::desktop() };
            let host = world.host(&[lan]);
            let node = peer(world, host, move |config| config.limits = limits.clone());
            let line = format!("bootstrap {}:8000", world.ip(there));
            command(world, node, &line);
            let (took, said) = takes(world, node, "nodes all");
            assert_eq!(said.len(), 24, "{said:?}");
            about(took, S * rounds);
        }
    });
}

#[test]
fn open_files() {
    // `open_files`: uploads, downloads and shares together stay below it, and uploads cannot take the downloads' part.
    scenario("open_files", 3, |world| {
        // Eight places are kept for two downloads, and two are the index's: its log, and the large file that it reads.
        let limits = Limits { open_files: 17, downloads: 3, ..open_gate() };
        let (lan, node, to) = within(world, limits);
        let host = world.host(&[lan]);
        let taken = stuck(world, host, to, 11);
        world.run_for(S);
        assert_eq!(heard(world, taken).matches(BUSY).count(), 4, "seven are served");
        let source = peers_on(world, lan, 1, |_| {})[0];
        for i in 0..6 {
            world.share(source, &format!("file{i}"), Content::generated(i, 100_000));
            world.outside(node, &format!("/home/me/mine{i}"), Content::generated(i, 1000));
        }
        world.run_for(MS * 10);
        (0..6).for_each(|i| get(world, node, source, &format!("file{i}")));
        world.type_line(node, "share /home/me/mine0");
        let all = |world: &World| (0..6).all(|i| has_copy(world, node, &format!("file{i}")));
        assert!(world.run_until(S * 5, all), "{}", world.stdout(node));
        assert!(errors(world, node).iter().all(|text| text.contains("too many files are open")));
        assert_eq!(errors(world, node).len(), 1);
        world.stop(taken);
        world.run_for(S * 2);
        (1..6).for_each(|i| world.type_line(node, &format!("share /home/me/mine{i}")));
        world.run_for(S * 2);
        assert!(world.nodes[node.0].disk.content(Dir::Shared, "mine1").is_some());
        assert!(world.env.net.topology.host(host_of(world, node)).up);
    });
}

#[test]
fn open_files_of_the_index() {
    // `open_files`: hashing waits while uploads and downloads have all places (the rules watch the bound).
    scenario("open_files_of_the_index", 2, |world| {
        let limits = Limits { open_files: 16, downloads: 2, drain_interval: S * 100, ..open_gate() };
        let lan = world.lan();
        let node = peers_on(world, lan, 1, move |config| config.limits = limits.clone())[0];
        world.share(node, "big", Content::generated(77, 10 << 20));
        world.run_for(S * 5);
        let hashed = |world: &mut World| {
            command(world, node, "status");
            world.events_named(node, "status").pop().map(|status| status["index"]["hashed_files"].clone())
        };
        assert_eq!(hashed(world), Some(1.into()));
        let (host, to) = (world.host(&[lan]), addr_of(world, node));
        let taken = stuck(world, host, to, 9);
        world.run_for(S);
        assert_eq!(heard(world, taken).matches(BUSY).count(), 2, "seven are served beside the index's log");
        let source = peers_on(world, lan, 1, |_| {})[0];
        let slow = host_of(world, source);
        world.env.net.topology.host_mut(slow).byte_ns = 1000;
        for i in 0..2 {
            world.share(source, &format!("file{i}"), Content::generated(i, 3_000_000));
        }
        world.run_for(S);
        (0..2).for_each(|i| get(world, node, source, &format!("file{i}")));
        let parts = |world: &World| {
            let names = world.nodes[node.0].disk.names(Dir::Parts);
            names.iter().filter(|name| name.ends_with(".part")).count()
        };
        assert!(world.run_until(S * 5, |world| parts(world) == 2), "{}", world.stdout(node));
        world.share(node, "late", Content::generated(5, 1000));
        let all = |world: &World| (0..2).all(|i| has_copy(world, node, &format!("file{i}")));
        assert!(world.run_until(S * 20, all), "{}", world.stdout(node));
        assert_eq!(hashed(world), Some(1.into()));
        world.stop(taken);
        world.run_for(S * 30);
        assert_eq!(hashed(world), Some(2.into()), "and then it goes on");
    });
}

#[test]
fn renewals() {
    // `refresh`
    scenario("renewals", 2, |world| {
        let lan = world.lan();
        let there = world.host(&[lan]);
        bootstrap(world, there, |_| {});
        let target = at_registry(world, there);
        let limits = Limits { refresh: (S * 10, S * 20), ..Limits::desktop() };
        // Two of them: whom a registry names nobody to asks it by another pace.
        peers_on(world, lan, 2, move |config| {
            config.bootstraps = vec![target.clone()];
            config.join = true;
            config.limits = limits.clone();
        });
        world.run_for(S * 200);
        let dials = world.env.dials[&world.addr(there, 8000)];
        assert!((20..=42).contains(&dials), "{dials}");
    });
}

#[test]
fn lines_and_output_of_the_console() {
    // `line_max`, `console_out_max`
    scenario("lines_and_output", 2, |world| {
        let limits = Limits { line_max: 50, console_out_max: 2000, ..Limits::desktop() };
        let (_, node, _) = within(world, limits);
        world.type_line(node, &format!("help{}", " ".repeat(46)));
        world.type_line(node, &format!("help{}", " ".repeat(47)));
        world.run_for(MS * 100);
        assert_eq!(errors(world, node), ["that line has more than 50 bytes; it was ignored"]);
        world.stall_terminal(node, true);
        for _ in 0..100 {
            world.type_line(node, "status");
        }
        world.run_for(S);
        world.stall_terminal(node, false);
        world.type_line(node, "status");
        world.run_for(S);
        assert!(!world.events_named(node, "dropped").is_empty(), "{}", world.stdout(node));
    });
}

#[test]
fn commands_at_once() {
    // `jobs`: the next lines wait, and none is lost
    scenario("commands_at_once", 2, |world| {
        let (_, node, _) = within(world, Limits { jobs: 3, ..Limits::desktop() });
        for _ in 0..7 {
            world.type_line(node, "wait 1");
        }
        let done = |world: &World| world.events_named(node, "done").len();
        for (seconds, wanted) in [(0, 0), (1, 3), (1, 6), (1, 7)] {
            world.run_for(S * seconds + MS * 100);
            assert_eq!(done(world), wanted);
        }
    });
}

#[test]
fn timers_that_are_due_at_once() {
    // hostile: 191 (`timers_per_turn`: what is due beyond it waits for the next call, and all come in the end)
    scenario("timers_that_are_due_at_once", 2, |world| {
        let (lan, node, to) = within(world, Limits { timers_per_turn: 4, ..open_gate() });
        let host = world.host(&[lan]);
        let silent = crowd(world, host, to, 300, MS, vec![]);
        world.run_for(S);
        world.suspend(node);
        world.run_for(S * 30);
        let asked = dialler(world, host, to, vec![send(request("search", "there"))]);
        world.run_for(S);
        world.resume(node);
        world.run_for(MS * 100);
        assert_eq!(heard(world, asked), "FOUND", "served between the timers");
        world.run_for(S * 2);
        assert_eq!((ended(world, silent).len(), sockets(world, node)), (300, 0));
        let (up, down) = list(world, node, "all");
        assert!(up.is_empty() && down.is_empty() && alive(world, node, "multicast").is_empty());
    });
}

#[test]
fn rates_of_files_out_and_in() {
    // `rate`, and what `limit` makes of it: within 5 %.
    scenario("rates_of_files_out_and_in", 3, |world| {
        let lan = world.lan();
        let nodes = peers_on(world, lan, 2, |config| config.rate = Rates { up: Some(1_000_000), down: None });
        let (from, to) = (nodes[0], nodes[1]);
        for (name, seed) in [("first", 1), ("second", 2), ("third", 3)] {
            world.share(from, name, Content::generated(seed, 5_000_000));
        }
        world.run_for(S * 10);
        let took = |world: &mut World, name: &'static str| {
            let start = world.now();
            get(world, to, from, name);
            assert!(world.run_until(S * 60, |world| has_copy(world, to, name)), "{}", world.stdout(to));
            (world.now() - start).as_secs_f64()
        };
        let up = took(world, "first");
        command(world, to, "limit down 500k");
        let down = took(world, "second");
        command(world, to, "limit down off");
        command(world, from, "limit up 2M");
        let more = took(world, "third");
        for (took, wanted) in [(up, 5.0), (down, 10.0), (more, 2.5)] {
            // A round trip or two to begin with.
            assert!(took > wanted * 0.95 && took < wanted * 1.05 + 0.1, "{took} s, not {wanted}");
        }
    });
}
