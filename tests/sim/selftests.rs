//! The simulator tests itself with toys: that each part of the world works, and that each check can fail.

mod adversaries;
mod keepers;
mod smiths;

use crate::actor::{Script, Step, Way};
use crate::content::Content;
use crate::faults::Faults;
use crate::harness::{measure, run, run_twice, scenario};
use crate::ids::NodeId;
use crate::topology::at;
use crate::toys::{Bug, PORT, Toy};
use crate::world::World;
use distrishare::machine::{Dir, Fault, Kept, Signal, Slot};
use std::net::Ipv4Addr;
use std::time::Duration;

const S: Duration = Duration::from_secs(1);

/// `n` toys on one segment, each on a host of its own, running.
fn toys(world: &mut World, n: usize, bug: Bug) -> Vec<NodeId> {
    let lan = world.lan();
    (0..n)
        .map(|_| {
            let host = world.host(&[lan]);
            let node = world.node(host, move |seed| Toy::boxed(bug, seed));
            world.start(node);
            node
        })
        .collect()
}

fn ask(world: &mut World, node: NodeId, from: NodeId, name: &str) {
    let addr = world.addr(world.nodes[from.0].host, PORT);
    world.type_line(node, &format!("get {addr} {name}"));
}

#[test]
fn toys_meet_and_move_files() {
    scenario("toys_meet_and_move_files", 20, |world| {
        let nodes = toys(world, 3, Bug::None);
        world.env.truth.forbid_short = true;
        world.share(nodes[0], "small.txt", "hello");
        world.share(nodes[0], "empty", "");
        world.share(nodes[1], "big.bin", Content::generated(9, 3_000_001));
        let met = |world: &World| nodes.iter().all(|&n| world.events_named(n, "node").len() >= 3);
        assert!(world.run_until(S * 30, met), "{}", world.stdout(nodes[0]));
        for (a, b, name) in [(1, 0, "small.txt"), (2, 0, "empty"), (2, 1, "big.bin"), (2, 1, "big.bin")] {
            ask(world, nodes[a], nodes[b], name);
        }
        let names = ["big (2).bin", "big.bin", "empty"];
        let all =
            |world: &World| world.downloads(nodes[2]) == names && world.has_download(nodes[1], "small.txt");
        assert!(world.run_until(S * 60, all), "{:?} {}", world.downloads(nodes[2]), world.stdout(nodes[2]));
        nodes.iter().for_each(|&node| world.type_eof(node));
        assert!(world.run_until(S * 2, |world| nodes.iter().all(|&n| world.exit_status(n) == Some(0))));
        assert!(world.stdout(nodes[0]).ends_with("{\"event\":\"done\"}\n"), "flushed at the end");
    });
}

#[test]
fn faults_for_a_while_then_healed() {
    scenario("faults_for_a_while_then_healed", 40, trouble);
}

#[test]
fn every_class_of_fault_really_happens() {
    let mut fallen = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let mut world = World::new(seed, false);
        trouble(&mut world);
        fallen.extend(world.env.net.dice.fallen);
        world.nodes.iter().for_each(|node| fallen.extend(&node.disk.dice.fallen));
        fallen.extend(world.nodes.iter().any(|node| node.life > 1).then_some("killed"));
    }
    let classes = "disk.commit,disk.full,disk.open,disk.read,disk.slow,disk.sync,disk.write,killed,tcp.backlog,tcp.loss,\
                   tcp.reset,tcp.stall,udp.corrupt,udp.duplicate,udp.join,udp.loss,udp.open,udp.reorder,udp.truncate";
    assert_eq!(fallen.into_iter().collect::<Vec<_>>().join(","), classes);
}

/// Four toys want a file each while everything goes wrong, and get it when all is well again.
fn trouble(world: &mut World) {
    world.set_faults(Faults::draw(world.env.seed));
    let nodes = toys(world, 4, Bug::None);
    for (i, &node) in nodes.iter().enumerate() {
        world.share(node, &format!("file{i}"), Content::generated(i as u64, 50_000 * i as u64));
    }
    world.chaos(S * 60);
    for i in 0..4 {
        ask(world, nodes[i], nodes[(i + 1) % 4], &format!("file{}", (i + 1) % 4));
    }
    world.run_for(S * 60);
    world.heal(&[]);
    world.run_for(S);
    // What died forgot what it wanted: its operator asks again.
    for i in 0..4 {
        ask(world, nodes[i], nodes[(i + 1) % 4], &format!("file{}", (i + 1) % 4));
    }
    let wanted = |world: &World, i: usize| {
        let name = format!("file{}", (i + 1) % 4);
        let copies = (1..200).map(|n| crate::disk::numbered(&name, n));
        let disk = &world.nodes[nodes[i].0].disk;
        let mut contents = copies.filter_map(|copy| disk.content(Dir::Downloads, &copy));
        contents.any(|content| world.env.truth.whole(&name, content))
    };
    let all = |world: &World| (0..4).all(|i| wanted(world, i));
    assert!(world.run_until(S * 120, all), "downloads after healing");
}

#[test]
fn one_seed_is_one_run_and_another_is_another() {
    let body = |world: &mut World| {
        let nodes = toys(world, 2, Bug::None);
        world.share(nodes[0], "a", Content::generated(1, 10_000));
        ask(world, nodes[1], nodes[0], "a");
        world.run_for(S * 20);
    };
    let a = run_twice("one seed", 1, false, body).expect("the same twice");
    let b = run_twice("one seed", 2, false, body).expect("the same twice");
    assert_ne!(a.hash, b.hash);
    assert!(a.steps > 50 && a.time == S * 20);
}

/// What a toy with this bug is caught for, and that a toy without it is not.
fn caught(bug: Bug, word: &str) {
    let body = |bug: Bug| {
        move |world: &mut World| {
            let nodes = toys(world, 2, bug);
            world.share(nodes[0], "a", Content::generated(1, 1_000_000));
            world.run_for(S);
            ask(world, nodes[1], nodes[0], "a");
            assert!(world.run_until(S, |world| !world.nodes[1].disk.names(Dir::Parts).is_empty()));
            world.type_line(nodes[1], "misbehave");
            world.run_for(S / 100);
            if bug == Bug::ExitWhileGrowing {
                world.type_line(nodes[1], "quit");
            }
            world.run_for(S * 30);
        }
    };
    run_twice("good", 5, false, body(Bug::None)).expect("a good toy");
    let failure = run_twice("bad", 5, false, body(bug)).expect_err("a bad toy");
    assert!(failure.message.contains(word), "{bug:?}: {}", failure.message);
    let text = failure.to_string();
    assert!(text.contains("seed 5, step") && text.contains("DS_SIM_SEED=5") && text.lines().count() > 20);
}

#[test]
fn breaches_of_the_contract_are_caught() {
    caught(Bug::CloseTwice, "which has ended");
    caught(Bug::Census, "created = committed");
    caught(Bug::BusyLoop, "for ever at one instant");
    caught(Bug::ReuseId, "given out twice");
    caught(Bug::NoDeadline, "no deadline at all");
    caught(Bug::NotAscii, "not ASCII");
    caught(Bug::UnsafeName, "unsafe name");
    caught(Bug::ExitWhileGrowing, "leaves 1 files growing");
    caught(Bug::WrongBytes, "nobody ever shared");
}

#[test]
fn hidden_chance_is_caught_by_the_second_run() {
    caught(Bug::HashOrder, "two runs of one seed differ");
}

#[test]
fn a_killed_process_closes_its_connections_and_a_dark_host_does_not() {
    scenario("a_killed_process", 10, |world| {
        let nodes = toys(world, 1, Bug::None);
        let lan = crate::ids::LanId(0);
        let host = world.host(&[lan]);
        world.run_for(S);
        let to = world.addr(world.nodes[0].host, PORT);
        let way = Way::Dial { to, times: 1, every: S };
        let first = world.actor(host, Script::new(way, []));
        world.run_for(S);
        world.crash(nodes[0]);
        world.run_for(S);
        assert_eq!(world.log(first).ended.values().collect::<Vec<_>>(), [&None], "FIN by the kernel");
        let refused = world.actor(host, Script::new(way, []));
        world.run_for(S);
        assert_eq!(world.log(refused).ended.values().collect::<Vec<_>>(), [&Some(Fault::Refused)]);
        world.start(nodes[0]);
        world.run_for(S);
        let steps = [Step::Wait(S * 3), Step::Send(b"GET ".to_vec())];
        let second = world.actor(host, Script::new(way, steps));
        world.run_for(S);
        world.power_off(world.nodes[0].host);
        let silent = world.actor(host, Script::new(way, []));
        world.run_for(S * 10);
        assert!(world.log(second).ended.is_empty() && world.log(silent).ended.is_empty(), "silence");
        world.power_on(world.nodes[0].host);
        world.run_for(S * 200);
        assert_eq!(world.log(second).ended.values().collect::<Vec<_>>(), [&Some(Fault::Reset)]);
        assert_eq!(world.log(silent).ended.values().collect::<Vec<_>>(), [&Some(Fault::Refused)]);
    });
}

#[test]
fn adversaries_are_cut_off_by_deadlines_and_limits() {
    scenario("adversaries", 10, |world| {
        let nodes = toys(world, 1, Bug::None);
        let host = world.host(&[crate::ids::LanId(0)]);
        world.share(nodes[0], "big", Content::generated(3, 5_000_000));
        world.run_for(S);
        let to = world.addr(world.nodes[0].host, PORT);
        let once = Way::Dial { to, times: 1, every: S };
        let get = Step::Send(b"GET big\n".to_vec());
        let never = world.actor(host, Script::new(once, [Step::NeverRead, get.clone()]));
        let sip = Step::Sip { bytes: 1, every: S };
        let slow = world.actor(host, Script::new(once, [get.clone(), sip]));
        let flood = Step::Forever { bytes: vec![b'x'; 1000], every: S / 10 };
        let flooder = world.actor(host, Script::new(once, [flood]));
        let letters = Step::Trickle { bytes: b"GET big\n".to_vec(), every: S / 10 };
        let patient = world.actor(host, Script::new(once, [letters]));
        let rude = world.actor(host, Script::new(once, [get, Step::Hear, Step::Reset]));
        world.run_for(S * 200);
        assert_eq!(world.log(patient).all(), Content::generated(3, 5_000_000).read(0, 5_000_000));
        for actor in [never, flooder] {
            assert!(
                matches!(world.log(actor).ended.values().next(), Some(Some(Fault::Reset))),
                "{actor:?} {:?}",
                world.log(actor).ended
            );
        }
        assert!(!world.log(rude).all().is_empty() && world.log(slow).all().len() > 5);
        world.type_line(nodes[0], "quit");
        world.run_for(S);
        assert_eq!(world.exit_status(nodes[0]), Some(0));
    });
}

#[test]
fn listeners_that_lie_stall_and_cut() {
    scenario("listeners_that_lie", 10, |world| {
        let nodes = toys(world, 1, Bug::None);
        let host = world.host(&[crate::ids::LanId(0)]);
        world.env.truth.tainted.insert("lie".to_owned());
        let lie = [Step::Hear, Step::Send(b"not it".to_vec()), Step::Fin];
        world.actor(host, Script::new(Way::Listen(1), lie));
        world.actor(
            host,
            Script::new(Way::Listen(2), [Step::Send(b"half".to_vec()), Step::Wait(S), Step::Reset]),
        );
        world.actor(host, Script::new(Way::Listen(3), [Step::Wait(S * 1000)]));
        for (port, name) in [(1, "lie"), (2, "half"), (3, "never")] {
            let addr = world.addr(host, port);
            world.type_line(nodes[0], &format!("get {addr} {name}"));
        }
        world.run_for(S * 100);
        assert_eq!(world.downloads(nodes[0]), ["lie"]);
        assert!(world.env.dials[&world.addr(host, 2)] > 20 && world.env.dials[&world.addr(host, 3)] > 3);
    });
}

#[test]
fn partitions_links_and_groups() {
    scenario("partitions_links_and_groups", 10, |world| {
        let (a, b) = (world.lan(), world.lan());
        let hosts = [world.host(&[a]), world.host(&[a, b]), world.host(&[b])];
        let nodes = hosts.map(|host| world.node(host, |seed| Toy::boxed(Bug::None, seed)));
        let second = world.node(hosts[0], |_| Toy::boxed(Bug::None, 1));
        world.partition(hosts[1], hosts[2]);
        nodes.iter().for_each(|&node| world.start(node));
        world.start(second);
        world.run_for(S * 20);
        let ips = |world: &World, node| {
            let events = world.events_named(node, "node");
            let mut ips: Vec<String> = events.iter().map(|e| e["ip"].as_str().unwrap_or("").into()).collect();
            ips.sort();
            ips.dedup();
            ips
        };
        assert_eq!(ips(world, nodes[0]), ["10.0.0.1", "10.0.0.2", "127.0.0.1"]);
        assert_eq!(ips(world, second), ["10.0.0.1", "10.0.0.2", "127.0.0.1"], "two on one host");
        assert_eq!(ips(world, nodes[2]), ["10.1.0.3", "127.0.0.1"], "cut off");
        world.reconnect(hosts[1], hosts[2]);
        world.set_link(hosts[1], 2, false);
        world.run_for(S * 20);
        assert_eq!(ips(world, nodes[2]), ["10.1.0.2", "10.1.0.3", "127.0.0.1"]);
        // No way from one segment to the other, unless there are routers.
        let far = at(Ipv4Addr::new(10, 1, 0, 3), PORT);
        let way = Way::Dial { to: far, times: 1, every: S };
        let lost = world.actor(hosts[0], Script::new(way, []));
        world.run_for(S);
        assert_eq!(world.log(lost).ended.values().next(), Some(&Some(Fault::Unreachable)));
        world.env.net.topology.routed = true;
        let found = world.actor(hosts[0], Script::new(way, []));
        world.run_for(S);
        assert!(world.log(found).ended.is_empty());
        // Anybody can claim to be anybody.
        world.inject(b, at(Ipv4Addr::new(9, 9, 9, 9), 9), b"HELLO:9.9.9.9:9");
        world.run_for(S);
        assert!(ips(world, nodes[2]).contains(&"9.9.9.9".to_owned()));
    });
}

#[test]
fn console_pauses_resumes_stalls_and_hangs_up() {
    scenario("console", 10, |world| {
        let nodes = toys(world, 1, Bug::None);
        world.name("box.lan", [10, 0, 0, 9].into());
        world.share(nodes[0], "b", "1");
        world.share(nodes[0], "a", "1");
        world.outside(nodes[0], "/home/x.txt", "content");
        world.type_bytes(
            nodes[0],
            b"import /home/x.txt c\nimport /nowhere d\nimport /home/x.txt a\nresolve box.lan\n",
        );
        world.run_for(S);
        world.stall_terminal(nodes[0], true);
        world.type_line(nodes[0], "list");
        world.run_for(S);
        assert!(world.events_named(nodes[0], "file").is_empty());
        world.stall_terminal(nodes[0], false);
        world.run_for(S);
        let files = world.events_named(nodes[0], "file");
        assert_eq!(
            files.iter().map(|f| f["name"].as_str()).collect::<Vec<_>>(),
            [Some("a"), Some("b"), Some("c")]
        );
        assert_eq!(world.events_named(nodes[0], "error").len(), 2, "{}", world.stdout(nodes[0]));
        assert_eq!(world.events_named(nodes[0], "resolved")[0]["addr"], "10.0.0.9:80");
        world.hang_up(nodes[0]);
        world.run_for(S);
        assert!(world.running(nodes[0]));
        world.signal(nodes[0], Signal::Terminate);
        assert_eq!(world.exit_status(nodes[0]), Some(0));
    });
}

#[test]
fn state_survives_a_crash_old_or_new_never_mixed() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let (report, trace) = run("state", seed, false, |world| {
            let nodes = toys(world, 1, Bug::None);
            world.type_bytes(nodes[0], b"save one\n");
            assert!(world.run_until(S, |world| world.events_named(NodeId(0), "saved").len() == 1));
            world.type_bytes(nodes[0], b"save two\n");
            let time = Duration::from_micros(world.env.seed * 20);
            world.run_for(time);
            world.crash(nodes[0]);
            world.start(nodes[0]);
            world.type_line(nodes[0], "load");
            world.run_for(S);
            let states = world.events_named(nodes[0], "state");
            let text = states.first().and_then(|s| s["text"].as_str()).unwrap_or("none").to_owned();
            let previous = world.nodes[0].disk.state.get(&(Kept::Registry, Slot::Previous));
            assert!(text != "none" || previous.is_some_and(|old| old == b"one"), "all is lost");
            world.env.trace.words(0, -1, "state", u64::from(text == "one"), u64::from(text == "two"));
        })
        .expect("state");
        assert!(report.steps > 0);
        for word in ["state 1 0", "state 0 1", "state 0 0"] {
            if trace.to_string().contains(word) {
                seen.insert(word);
            }
        }
    }
    assert_eq!(seen.len(), 3, "only {seen:?}");
}

#[test]
fn a_node_that_stood_still_catches_up() {
    scenario("a_node_that_stood_still", 10, |world| {
        let nodes = toys(world, 2, Bug::None);
        world.run_for(S * 12);
        world.suspend(nodes[0]);
        let before = world.env.trace.steps();
        world.type_line(nodes[0], "list");
        world.run_for(S * 60);
        assert!(world.nodes[0].waiting() > 10 && world.stdout(nodes[0]).lines().count() < 10);
        assert!(world.env.trace.steps() > before);
        world.resume(nodes[0]);
        world.run_for(S);
        assert_eq!(world.nodes[0].waiting(), 0);
        world.jump_wall(nodes[0], -1_000_000_000);
    });
}

#[test]
fn a_full_disk_and_a_shrinking_file() {
    scenario("a_full_disk", 10, |world| {
        let nodes = toys(world, 2, Bug::None);
        world.share(nodes[0], "a", Content::generated(1, 1_000_000));
        world.nodes[1].disk.capacity = 500_000;
        world.run_for(S);
        ask(world, nodes[1], nodes[0], "a");
        world.run_for(S * 10);
        assert!(world.downloads(nodes[1]).is_empty());
        let errors = world.events_named(nodes[1], "error");
        assert_eq!(errors[0]["message"], "no space left on the disk");
        world.nodes[1].disk.capacity = u64::MAX;
        let parts = |world: &World| !world.nodes[1].disk.names(Dir::Parts).is_empty();
        assert!(world.run_until(S * 5, parts));
        world.nodes[0].disk.shrink(Dir::Shared, "a", 10);
        assert!(world.run_until(S * 5, |world| {
            let errors = world.events_named(NodeId(0), "error");
            errors.iter().any(|e| e["message"] == Fault::Shrunk.to_string())
                || !world.downloads(NodeId(1)).is_empty()
        }));
    });
}

#[test]
fn two_hundred_nodes_are_quick() {
    let speed = measure("two hundred", 1, |world| {
        toys(world, 200, Bug::None);
        world.run_for(S * 120);
    });
    println!("{speed}");
    assert!(speed.steps > 200 * 200 * 20, "{speed}");
    // Generous: the machine may be busy with other things.
    assert!(speed.seconds < 30.0, "{speed}");
}

#[test]
fn the_original_serves_asks_and_can_be_deafened() {
    use crate::original::{NOT_FOUND, OriginalBootstrap, OriginalPeer, Task, WRONG_SECRET};
    scenario("the_original", 10, |world| {
        let lan = world.lan();
        let hosts: Vec<_> = (0..4).map(|_| world.host(&[lan])).collect();
        let big = Content::generated(4, 100_000);
        let registry = world.addr(hosts[0], 8000);
        let server = world.addr(hosts[1], 9000);
        world.actor(hosts[0], OriginalBootstrap::new(8000));
        let shares = OriginalPeer::new(9000).announcing(world.ip(hosts[1])).sharing("big", big.clone());
        let shares = shares.multicasting().then(S, Task::Register(registry));
        let first = world.actor(hosts[1], shares);
        let wrong = OriginalPeer::new(9000).secret("other").then(S, Task::Search(server, "big".into()));
        let wrong = world.actor(hosts[2], wrong);
        let asks = OriginalPeer::new(9000)
            .multicasting()
            .then(S * 2, Task::Register(registry))
            .then(S * 3, Task::Search(server, "big".into()))
            .then(S * 3, Task::Download(server, "big".into()))
            .then(S * 4, Task::Download(server, "none".into()))
            .then(S * 5, Task::Probe(server))
            .then(S * 5, Task::Probe(at(Ipv4Addr::new(10, 0, 9, 9), 1)));
        let second = world.actor(hosts[3], asks);
        world.run_for(S * 20);
        let notes = world.log(second).notes.join("\n");
        for note in ["registered: 2 nodes", "search big: FOUND", "download big: 100000 bytes", NOT_FOUND] {
            assert!(notes.contains(note), "{note}: {notes}");
        }
        assert!(notes.contains("probe 10.0.0.2:9000: alive") && notes.contains("probe 10.0.9.9:1: down"));
        assert!(world.log(second).files["big"].same(&big));
        let refused = world.log(wrong).notes.join("\n");
        assert!(refused.contains(WRONG_SECRET), "{refused}");
        assert!(world.log(first).notes.iter().any(|note| note == "node 127.0.0.1:9000"));
        world.inject(lan, at(Ipv4Addr::new(10, 0, 0, 9), 1), b"\xff\xfe");
        world.run_for(S);
        assert!(world.log(first).notes.contains(&"discovery died".to_owned()));
    });
}
