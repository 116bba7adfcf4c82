//! The operator's side: lines of any kind, scripts, terminals that stall or go away, signals.

use super::common::{
    MS, S, addr_of, at_registry, bootstrap, command, done, errors, get, has_copy, healthy, pairs, peer,
    peers, peers_on, plain, send,
};
use super::holders::sends;
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::{HostId, LanId, NodeId};
use crate::world::World;
use distrishare::config::{ConsoleMode, Limits};
use distrishare::machine::{Dir, Signal};

fn script(world: &mut World, keep_going: bool) -> (HostId, NodeId) {
    let lan = world.lan();
    let host = world.host(&[lan]);
    let node = peer(world, host, move |config| {
        config.console = ConsoleMode::Script;
        config.keep_going = keep_going;
    });
    (host, node)
}

#[test]
fn a_script_runs_one_command_after_another_and_ends() {
    // hostile: 149
    scenario("a_script_runs", 6, |world| {
        let (_, node) = script(world, false);
        let other = peers_on(world, LanId(0), 1, |_| {})[0];
        world.share(other, "a file", Content::generated(3, 200_000));
        let addr = addr_of(world, other);
        let text = format!(
            "multicast on\nwait 1\nnodes multicast\nget {} {} a file\ndownloads\n",
            addr.ip(),
            addr.port()
        );
        world.type_line(other, "multicast on");
        // The last line lacks its end.
        world.type_bytes(node, text.trim_end().as_bytes());
        world.type_eof(node);
        assert!(world.run_until(S * 20, |world| world.exit_status(node).is_some()), "{}", world.stdout(node));
        assert_eq!(world.exit_status(node), Some(0));
        let done = world.events_named(node, "done");
        let order: Vec<_> = done.iter().map(|event| event["command"].as_str().unwrap_or("?")).collect();
        assert_eq!(order, ["multicast", "wait", "nodes", "get", "downloads"]);
        assert_eq!(world.events_named(node, "file")[0]["size"], 200_000);
    });
}

#[test]
fn a_script_stops_at_its_first_failure_unless_told_not_to() {
    scenario("a_script_stops", 3, |world| {
        for (line, status) in [
            ("nonsense", 2),
            ("search x", 6),
            ("bootstrap 127.0.0.1:8000", 6),
            ("share /no/such/file", 3),
            ("get 10.0.0.1 9000 ../x", 2),
        ] {
            let (_, node) = script(world, false);
            world.type_bytes(node, format!("{line}\nstatus\n").as_bytes());
            assert!(world.run_until(S * 20, |world| world.exit_status(node).is_some()), "{line}");
            assert_eq!(world.exit_status(node), Some(status), "{line}");
            assert!(world.events_named(node, "status").is_empty(), "{line}");

            let (_, node) = script(world, true);
            world.type_bytes(node, format!("{line}\nstatus\n").as_bytes());
            world.type_eof(node);
            assert!(world.run_until(S * 20, |world| world.exit_status(node).is_some()), "{line}");
            assert_eq!(world.exit_status(node), Some(status), "{line}");
            assert_eq!(world.events_named(node, "status").len(), 1, "{line}");
        }
    });
}

#[test]
fn a_daemon_reads_nothing_and_ends_by_signal() {
    // hostile: 148, 149, 155
    scenario("a_daemon_reads_nothing", 3, |world| {
        for (signal, status) in [(Signal::Terminate, 0), (Signal::Interrupt, 130)] {
            let lan = world.lan();
            let host = world.host(&[lan]);
            let node = peer(world, host, |config| {
                config.console = ConsoleMode::Daemon;
                config.join = true;
            });
            world.type_eof(node);
            world.signal(node, Signal::Hangup);
            world.run_for(S * 30);
            assert!(world.running(node));
            world.signal(node, signal);
            world.run_for(S * 2);
            assert_eq!(world.exit_status(node), Some(status));
        }
    });
}

#[test]
fn signals_in_the_middle_of_things() {
    // hostile: 155
    scenario("signals_in_the_middle", 4, |world| {
        for (signal, status) in [(Signal::Interrupt, 130), (Signal::Terminate, 0), (Signal::Hangup, 129)] {
            let nodes = peers(world, 3);
            world.share(nodes[0], "file", Content::generated(3, 3_000_000));
            world.outside(nodes[1], "/home/me/mine", Content::generated(4, 1 << 20));
            world.nodes[nodes[1].0].disk.faults.slow = 300_000;
            nodes.iter().for_each(|&node| world.type_line(node, "multicast on"));
            world.run_for(S * 2);
            get(world, nodes[1], nodes[0], "file");
            world.type_line(nodes[1], "share /home/me/mine");
            world.type_line(nodes[1], "search file");
            world.run_for(MS * 3);
            world.signal(nodes[1], signal);
            assert!(world.run_until(S * 2, |world| world.exit_status(nodes[1]).is_some()));
            assert_eq!(world.exit_status(nodes[1]), Some(status));
            world.run_for(MS * 10);
            assert!(world.downloads(nodes[1]).is_empty());
            let shared = world.nodes[nodes[1].0].disk.names(Dir::Shared);
            assert!(shared.iter().all(|name| !name.starts_with('.')), "{shared:?}");
            let gone = addr_of(world, nodes[1]).to_string();
            assert!(!super::common::alive(world, nodes[2], "multicast").contains(&gone), "GOODBYE was said");
            // The disk was too slow for a part that the journal waited for: that journal goes now. A pair goes on.
            world.start(nodes[1]);
            assert!(pairs(world, nodes[1]) <= 1);
            world.type_line(nodes[1], "multicast on");
            get(world, nodes[1], nodes[0], "file");
            assert!(
                world.run_until(S * 120, |world| world.has_download(nodes[1], "file")),
                "and then it goes on"
            );
            world.run_for(S * 30);
            assert_eq!(pairs(world, nodes[1]), 0);
        }
    });
}

#[test]
fn a_signal_before_the_first_byte_of_a_download() {
    // hostile: 155
    scenario("a_signal_before_the_first_byte", 3, |world| {
        let nodes = peers(world, 2);
        world.share(nodes[0], "file", Content::generated(3, 3_000_000));
        nodes.iter().for_each(|&node| world.type_line(node, "multicast on"));
        world.run_for(S * 4);
        // It is asked for the bytes, and they do not come.
        sends(world, nodes[0], 2_000);
        get(world, nodes[1], nodes[0], "file");
        world.run_for(S / 2);
        assert_eq!(pairs(world, nodes[1]), 1, "there is nothing to be saved, only something to be closed");
        world.signal(nodes[1], Signal::Interrupt);
        assert!(world.run_until(S * 2, |world| world.exit_status(nodes[1]).is_some()));
        assert_eq!(world.exit_status(nodes[1]), Some(130));
    });
}

#[test]
fn lines_of_any_kind() {
    // hostile: 150-152
    scenario("lines_of_any_kind", 3, |world| {
        let (_, node) = script(world, true);
        let other = peers_on(world, LanId(0), 1, |_| {})[0];
        let pair = healthy(world, other, LanId(0));
        let long = vec![b'x'; 10 << 20];
        world.type_bytes(node, &long);
        world.type_bytes(node, b"\nsta\0tus\n\xff\xfe\n\x1b[2Jstatus\n3.9\n\n   \n# a comment\n");
        world.type_line(node, "３.４");
        world.type_line(node, "help 3.4");
        world.type_line(node, "\"unclosed");
        world.run_for(S * 20);
        let said = errors(world, node);
        let words =
            ["more than 4096 bytes", "not text", "not text", "control", "unknown", "unknown", "quote"];
        assert_eq!(said.len(), words.len(), "{said:?}");
        for (text, word) in said.iter().zip(words) {
            assert!(text.contains(word) && !text.contains(|c: char| c.is_control()), "{word}: {text}");
        }
        assert_eq!(world.events_named(node, "help").len(), 1);
        pair.check(world);
    });
}

#[test]
fn the_originals_numbers_are_its_commands() {
    // hostile: 152
    scenario("the_originals_numbers", 3, |world| {
        let lan = world.lan();
        let there = world.host(&[lan]);
        bootstrap(world, there, |_| {});
        let nodes = peers_on(world, lan, 2, |_| {});
        world.share(nodes[1], "file", "content");
        world.outside(nodes[0], "/home/me/mine", "mine");
        let (registry, other) = (world.ip(there), addr_of(world, nodes[1]));
        world.type_line(nodes[1], "1.2");
        world.run_for(S);
        // At a terminal the arguments are asked for, as in the original.
        let lines = [
            &format!("1.1 {registry}"),
            "1.2",
            "wait 1",
            "2.1",
            "2.2",
            "2.3",
            "3.1",
            "/home/me/mine",
            "3.2",
            "3.3",
            "file",
            "3.4",
            &other.ip().to_string(),
            &other.port().to_string(),
            "file",
        ];
        for line in lines {
            world.type_line(nodes[0], line);
            world.run_for(S * 2);
        }
        world.type_line(nodes[0], "3.5");
        world.type_line(nodes[0], "1.3");
        world.run_for(S);
        assert_eq!(errors(world, nodes[0]), Vec::<String>::new());
        let count = |event: &str| world.events_named(nodes[0], event).len();
        assert_eq!((count("registered"), count("shared"), count("found"), count("downloaded")), (1, 1, 1, 1));
        assert_eq!((count("multicast"), count("file")), (2, 2));
        world.type_line(nodes[0], "0");
        world.run_for(S);
        assert_eq!(world.exit_status(nodes[0]), Some(0));
    });
}

#[test]
fn a_thousand_lines_at_once_and_the_network_goes_on() {
    // hostile: 152
    scenario("a_thousand_lines", 2, |world| {
        let (_, node) = script(world, true);
        world.share(node, "file", "content");
        world.run_for(MS * 10);
        let pair = healthy(world, node, LanId(0));
        let lines = "status\nfiles\nhelp\n".repeat(333) + "search nothing\n";
        world.type_bytes(node, lines.as_bytes());
        world.run_for(S * 8);
        pair.check(world);
        assert_eq!(world.events_named(node, "done").len(), 1000);
    });
}

#[test]
fn what_cannot_be_shared() {
    // hostile: 153 (what the driver finds out; what only the path says is told before it is asked)
    scenario("what_cannot_be_shared", 3, |world| {
        let nodes = peers(world, 1);
        let node = nodes[0];
        world.outside(node, "/home/me/mine", "mine");
        world.outside(node, "/home/me/.hidden", "x");
        world.share(node, "taken", "here already");
        world.outside(node, "/home/me/taken", "another");
        for (path, code) in [
            ("/home/me/none", "not_found"),
            ("/home/me/.hidden", "usage"),
            ("/home/me/..", "usage"),
            ("/", "usage"),
            ("/home/me/taken", "other"),
        ] {
            let said = command(world, node, &format!("share {path}"));
            assert_eq!(said[0]["code"], code, "{path}: {said:?}");
        }
        let said = command(world, node, "share /home/me/mine");
        assert_eq!(said[0]["event"], "shared");
        world.nodes[node.0].disk.faults.open = 1_000_000;
        let said = command(world, node, "share /home/me/taken");
        assert_eq!(said[0]["event"], "error");
        world.nodes[node.0].disk.faults.open = 0;
        assert_eq!(world.nodes[node.0].disk.names(Dir::Shared), ["mine", "taken"]);
    });
}

#[test]
fn a_terminal_that_takes_nothing() {
    // hostile: 154
    scenario("a_terminal_that_takes_nothing", 3, |world| {
        let limits = Limits { console_out_max: 20_000, ..Limits::desktop() };
        let lan = world.lan();
        let node = peers_on(world, lan, 1, move |config| config.limits = limits.clone())[0];
        world.run_for(MS * 10);
        let pair = healthy(world, node, lan);
        world.stall_terminal(node, true);
        for _ in 0..1000 {
            world.type_line(node, "status");
        }
        world.run_for(S * 6);
        pair.check(world);
        world.stall_terminal(node, false);
        world.run_for(S);
        world.type_line(node, "status");
        world.run_for(S);
        assert!(world.events_named(node, "dropped").iter().any(|event| event["lines"] != 0));
        world.type_line(node, "quit");
        world.run_for(S);
        assert_eq!(world.exit_status(node), Some(0));
    });
}

#[test]
fn a_script_whose_reader_is_slow_loses_no_line() {
    scenario("a_script_whose_reader_is_slow", 3, |world| {
        let lan = world.lan();
        let limits = Limits { console_out_max: 20_000, ..Limits::desktop() };
        let node = peers_on(world, lan, 1, move |config| {
            config.console = ConsoleMode::Script;
            config.limits = limits.clone();
        })[0];
        world.stall_terminal(node, true);
        world.type_bytes(node, "status\n".repeat(300).as_bytes());
        world.type_eof(node);
        world.run_for(S * 3);
        assert!(world.running(node));
        world.stall_terminal(node, false);
        assert!(world.run_until(S * 5, |world| world.exit_status(node) == Some(0)));
        assert_eq!(world.events_named(node, "status").len(), 300);
    });
}

#[test]
fn the_terminal_goes_away() {
    scenario("the_terminal_goes_away", 3, |world| {
        for hang_up in [false, true] {
            let nodes = peers(world, 2);
            world.share(nodes[0], "file", Content::generated(3, 300_000));
            world.run_for(S);
            get(world, nodes[1], nodes[0], "file");
            world.run_for(MS);
            if hang_up {
                world.hang_up(nodes[1]);
            } else {
                world.type_eof(nodes[1]);
            }
            assert!(world.run_until(S * 2, |world| !world.running(nodes[1])), "hang up: {hang_up}");
            assert!(world.nodes[nodes[1].0].disk.names(Dir::Parts).is_empty());
        }
    });
}

#[test]
fn two_nodes_on_one_port() {
    scenario("two_nodes_on_one_port", 2, |world| {
        let lan = world.lan();
        let host = world.host(&[lan]);
        let first = plain(world, host);
        world.run_for(MS * 10);
        let second = plain(world, host);
        world.run_for(S);
        assert_eq!((world.exit_status(second), world.running(first)), (Some(6), true));
        assert!(errors(world, second)[0].contains("port 9000"), "{:?}", errors(world, second));
        world.share(first, "file", "x");
        let there = world.host(&[lan]);
        let other = plain(world, there);
        world.run_for(MS * 10);
        get(world, other, first, "file");
        assert!(world.run_until(S, |world| has_copy(world, other, "file")));
        assert!(matches!(send("x"), crate::actor::Step::Send(_)));
    });
}

#[test]
fn commands_that_wait_for_one_thing_all_end() {
    scenario("commands_that_wait_for_one_thing", 3, |world| {
        let (_, node) = script(world, false);
        let host = world.host(&[LanId(0)]);
        bootstrap(world, host, |_| {});
        let registry = at_registry(world, host);
        world.run_for(MS * 10);
        let twice =
            format!("multicast on &\nmulticast on &\nbootstrap {registry} &\nbootstrap {registry} &\nwait\n");
        world.type_bytes(node, twice.as_bytes());
        world.type_eof(node);
        assert!(world.run_until(S * 20, |world| world.exit_status(node).is_some()), "{}", world.stdout(node));
        assert_eq!(world.exit_status(node), Some(0), "{}", world.stdout(node));
        assert_eq!((done(world, node, "multicast"), done(world, node, "bootstrap")), (2, 2));
        assert!(world.events_named(node, "multicast").iter().all(|event| event["interfaces"] != 0));
    });
}

#[test]
fn a_line_that_is_no_text_answers_no_question() {
    scenario("a_line_that_is_no_text", 2, |world| {
        let node = peers(world, 1)[0];
        for bad in [&[b'x'; 5000][..], b"\xff"] {
            world.type_line(node, "get");
            world.type_bytes(node, &[bad, b"\n"].concat());
            world.type_line(node, "status");
            world.run_for(S);
        }
        assert_eq!(world.events_named(node, "status").len(), 2, "{}", world.stdout(node));
    });
}

#[test]
fn bootstrap_without_any_registry_ends_with_words() {
    scenario("bootstrap_without_any_registry", 2, |world| {
        let lan = world.lan();
        let host = world.host(&[lan]);
        let node = peer(world, host, |config| config.bootstraps.clear());
        let said = command(world, node, "bootstrap");
        assert_eq!(said[0]["code"], "usage", "{said:?}");
    });
}
