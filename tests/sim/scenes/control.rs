//! Programs at the control socket of a node: each has operations and results of its own, and none is in another's way.

use super::common::{MS, S, command, host_of, peers_on};
use super::holders::{holds, status};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::NodeId;
use crate::world::World;
use distrishare::config::{HostPort, Limits};
use distrishare::proto::control::Hello;
use serde_json::{Value, json};

fn json_hello() -> Hello {
    Hello { json: true, ..Hello::default() }
}

/// Two nodes that know each other; the second has these files.
fn two(world: &mut World, files: &[(&str, u64)]) -> [NodeId; 2] {
    two_with(world, files, &Limits::desktop())
}

fn two_with(world: &mut World, files: &[(&str, u64)], limits: &Limits) -> [NodeId; 2] {
    let (lan, limits) = (world.lan(), limits.clone());
    let nodes = peers_on(world, lan, 2, move |config| config.limits = limits.clone());
    for &(name, size) in files {
        holds(world, nodes[1], name, &Content::generated(size, size));
    }
    nodes.iter().for_each(|&node| world.type_line(node, "multicast on"));
    world.run_for(S * 3);
    [nodes[0], nodes[1]]
}

fn heard(world: &World, node: NodeId, program: usize, event: &str) -> Vec<Value> {
    world.program_heard(node, program).into_iter().filter(|value| value["event"] == event).collect()
}

/// What it ended with, once it has.
fn ended(world: &mut World, node: NodeId, program: usize) -> u64 {
    let over = |world: &World| world.program_heard(node, program).iter().any(|said| said["ended"].is_u64());
    assert!(world.run_until(S * 60, over), "{:?}", world.program_heard(node, program));
    assert!(world.nodes[node.0].programs[program].conn.is_none(), "the node hangs up");
    world.program_heard(node, program).last().and_then(|said| said["ended"].as_u64()).expect("the last word")
}

#[test]
fn programs_at_once_do_not_mix_their_results() {
    scenario("programs_at_once", 2, |world| {
        let [node, _] = two(world, &[("apple", 50_000), ("pear", 60_000)]);
        let before = world.stdout(node);
        let programs = [(); 2].map(|()| world.program(node, &json_hello()).expect("it takes them"));
        for (program, fruit) in programs.into_iter().zip(["apple", "pear"]) {
            world.asks(node, program, &format!("search {fruit}"));
            world.asks(node, program, "get 1");
            world.said_all(node, program);
        }
        for (program, fruit) in programs.into_iter().zip(["apple", "pear"]) {
            assert_eq!(ended(world, node, program), 0, "{:?}", world.program_heard(node, program));
            let events = world.program_heard(node, program);
            let names: Vec<&str> = events.iter().filter_map(|event| event["name"].as_str()).collect();
            assert!(names.iter().all(|name| *name == fruit), "{events:?}");
            assert_eq!(heard(world, node, program, "downloaded").len(), 1, "{events:?}");
        }
        assert_eq!(world.downloads(node), ["apple", "pear"]);
        assert_eq!(world.stdout(node), before, "nothing of it is for the console");
        // What the console searched is not what a program means.
        command(world, node, "search apple");
        let program = world.program(node, &json_hello()).expect("it takes it");
        world.asks(node, program, "get 1");
        assert_eq!(ended(world, node, program), 2);
        assert_eq!(heard(world, node, program, "error")[0]["code"], "usage");
        // Unless it says which: results belong to the operation that found them, whoever asked.
        let found = heard(world, node, programs[1], "result")[0]["op"].as_u64().expect("a number");
        let program = world.program(node, &json_hello()).expect("it takes it");
        world.asks(node, program, &format!("get {found}.1"));
        world.asks(node, program, &format!("get {found}.2"));
        world.said_all(node, program);
        assert_eq!(ended(world, node, program), 2);
        assert_eq!(heard(world, node, program, "downloaded")[0]["name"], "pear");
        let error = heard(world, node, program, "error")[0]["message"].clone();
        assert!(error.as_str().is_some_and(|text| text.ends_with("that list has 1")), "{error}");
    });
}

#[test]
fn a_script_stops_at_its_first_failure_and_its_status_says_which() {
    scenario("a_script_of_a_program", 1, |world| {
        let [node, _] = two(world, &[("apple", 50_000)]);
        let lines = ["search nowhere", "search apple"];
        let mut run = |hello: &Hello| {
            let program = world.program(node, hello).expect("it takes it");
            lines.iter().for_each(|line| world.asks(node, program, line));
            world.said_all(node, program);
            let status = ended(world, node, program);
            (status, heard(world, node, program, "done").len(), world.program_heard(node, program))
        };
        let (status, done, _) = run(&json_hello());
        assert_eq!((status, done), (3, 1));
        let (status, done, _) = run(&Hello { keep_going: true, ..json_hello() });
        assert_eq!((status, done), (3, 2));
        // The same as text: results, notes, no escapes and no prompt.
        let (status, _, said) = run(&Hello { keep_going: true, ..Hello::default() });
        let of = |key: &str| -> String { said.iter().filter_map(|frame| frame[key].as_str()).collect() };
        assert_eq!(status, 3);
        assert!(of("err").starts_with("error: nowhere is not on the one node asked"), "{said:?}");
        assert!(of("out").contains("apple") && !of("out").contains('\u{1b}'), "{said:?}");
    });
}

#[test]
fn who_asks_before_the_node_has_joined_waits_and_is_answered() {
    scenario("a_program_before_the_join", 1, |world| {
        let lan = world.lan();
        let nowhere = world.host(&[lan]);
        let registry = HostPort { host: world.ip(nowhere).to_string(), port: 8000 };
        world.power_off(nowhere);
        let node = peers_on(world, lan, 1, move |config| {
            (config.join, config.bootstraps) = (true, vec![registry.clone()]);
        })[0];
        world.run_for(MS * 10);
        let program = world.program(node, &json_hello()).expect("it takes it");
        world.asks(node, program, "status");
        world.said_all(node, program);
        assert_eq!(ended(world, node, program), 0, "{:?}", world.program_heard(node, program));
        assert!(world.now() > S * 5, "the registry had its time");
        assert_eq!(heard(world, node, program, "status").len(), 1);
    });
}

#[test]
fn who_is_killed_in_the_midst_leaves_nothing_but_its_downloads() {
    scenario("a_program_is_killed", 3, |world| {
        let [node, other] = two(world, &[("large", 6_000_000)]);
        world.upload_rate(host_of(world, other), 2_000_000);
        let doomed = world.program(node, &json_hello()).expect("it takes it");
        world.asks(node, doomed, "search large &");
        world.asks(node, doomed, "get large");
        let stays = world.program(node, &json_hello()).expect("it takes it");
        world.asks(node, stays, "search large");
        world.run_for(S);
        assert!(!world.has_download(node, "large"));
        world.kill_program(node, doomed);
        world.said_all(node, stays);
        assert_eq!(ended(world, node, stays), 0);
        assert!(world.run_until(S * 60, |world| world.has_download(node, "large")), "it goes on");
        // Nobody asked any more, so the operator is told.
        assert_eq!(world.events_named(node, "downloaded").len(), 1);

        let status = status(world, node);
        assert_eq!(status["running"], json!([]), "{status}");
    });
}

#[test]
fn who_follows_hears_of_everybody_and_is_bounded() {
    // hostile: 154
    scenario("a_program_that_follows", 1, |world| {
        let limits = Limits { script_out_max: 100_000, console_out_max: 100_000, ..Limits::desktop() };
        let [node, _] = two_with(world, &[("apple", 50_000)], &limits);
        let follower = world.program(node, &json_hello()).expect("it takes it");
        let deaf = world.program(node, &json_hello()).expect("it takes it");
        for program in [follower, deaf] {
            world.says(node, program, "{\"events\":{}}\n");
        }
        world.run_for(MS * 10);
        world.nodes[node.0].programs[deaf].stalled = true;
        let asks = world.program(node, &json_hello()).expect("it takes it");
        world.asks(node, asks, "get apple");
        world.said_all(node, asks);
        assert_eq!(ended(world, node, asks), 0);
        let op = heard(world, node, asks, "done")[0]["op"].clone();
        let told = heard(world, node, follower, "downloaded");
        assert_eq!((told.len(), &told[0]["op"]), (1, &op), "{told:?}");
        for _ in 0..200 {
            command(world, node, "help");
        }
        assert_eq!(heard(world, node, follower, "help").len(), 200);
        world.nodes[node.0].programs[deaf].stalled = false;
        // It takes what waited for it first.
        command(world, node, "limit");
        world.run_for(S);
        command(world, node, "status");
        world.run_for(S);
        let lost: u64 =
            heard(world, node, deaf, "dropped").iter().filter_map(|event| event["lines"].as_u64()).sum();
        let lines = heard(world, node, deaf, "help").len() as u64;
        assert!(lines < 200 && lines + lost >= 200, "{lines} and {lost}");
        assert!(heard(world, node, deaf, "status").len() == 1, "it is told again");
        // The node's end is told to all.
        world.type_line(node, "quit");
        for program in [follower, deaf] {
            assert_eq!(ended(world, node, program), 0);
        }
    });
}

#[test]
fn too_many_the_mute_and_those_who_talk_nonsense() {
    // hostile: 150
    scenario("programs_that_talk_nonsense", 1, |world| {
        let [node, _] = two(world, &[]);
        let most = Limits::desktop().controls;
        let all: Vec<usize> =
            (0..most).map(|_| world.program(node, &json_hello()).expect("it takes it")).collect();
        assert_eq!(world.program(node, &json_hello()), None);
        world.kill_program(node, all[0]);
        for nonsense in
            ["search apple\n", "{\"line\":7}\n", "\n", "\0\n", &format!("{}\n", "x".repeat(100_000))]
        {
            let program = world.program(node, &json_hello()).expect("it takes it");
            world.says(node, program, nonsense);
            world.asks(node, program, "quit");
            assert_eq!(ended(world, node, program), 2, "{nonsense:?}");
        }
        assert!(world.running(node));
        // Who never says how it wants to be told is not waited for.
        let mut mute = None;
        world.with(node, |node, env| mute = node.connects(env));
        let mute = mute.expect("it takes it");
        world.run_for(S * 60);
        assert!(world.nodes[node.0].programs[mute].conn.is_none());
        assert!(world.nodes[node.0].programs[all[1]].conn.is_some(), "who greeted may think for a while");
        world.run_for(S * 7300);
        assert!(world.nodes[node.0].programs[all[1]].conn.is_none(), "but not for ever");
    });
}
