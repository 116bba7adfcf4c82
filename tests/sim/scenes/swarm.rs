//! Many who fetch one file: they give it to each other, so that whoever has it first gives about one copy; and who began it
//! may leave when all of it is among them.

use super::common::{S, addr_of, command, done, errors, get, host_of, peers, plain};
use super::holders::{
    MIB, blamed, downloaded, friends, holds, meet, part_of, reaches, sends, soon_no_parts, state, stored,
    tail, transfers, whole,
};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::NodeId;
use crate::world::World;
use distrishare::machine::Dir;
use distrishare::proto::content::{PIECE, piece_range, pieces};
use std::collections::BTreeSet;
use std::time::Duration;

/// Bytes that somebody gives a second, and the time one node takes alone for a file of `size`.
fn alone(world: &mut World, seed: NodeId, size: u64) -> Duration {
    let content = Content::generated(1, size);
    holds(world, seed, "alone", &content);
    let node = plain_near(world, seed);
    get(world, node, seed, "alone");
    whole(world, node, "alone", S * 600)
}

/// A new node on the network of another.
fn plain_near(world: &mut World, _: NodeId) -> NodeId {
    let host = world.host(&[crate::ids::LanId(0)]);
    let node = plain(world, host);
    world.run_for(S / 10);
    node
}

/// All of `nodes` fetch "file" of `seed`; the time until the last has it.
fn all_fetch(world: &mut World, seed: NodeId, nodes: &[NodeId]) -> Duration {
    let start = world.now();
    for &node in nodes {
        get(world, node, seed, "file");
    }
    let over = world.run_until(S * 600, |world| nodes.iter().all(|&node| world.has_download(node, "file")));
    if !over {
        let late: Vec<String> = nodes
            .iter()
            .filter(|&&node| !world.has_download(node, "file"))
            .map(|&node| format!("{} has {}", node.0, stored(world, node)))
            .collect();
        panic!("{late:?} at {:?}", world.now());
    }
    let took = world.now() - start;
    for &node in nodes {
        assert_eq!(errors(world, node), Vec::<String>::new());
        assert!(blamed(world, node).is_empty());
        assert_eq!(downloaded(world, node, "file")["verified"], true);
        soon_no_parts(world, node);
    }
    took
}

/// What bounds the rate of the first.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Link,
    Own,
}

fn ten_of_one(world: &mut World, size: u64, multicast: bool, bound: Bound) {
    world.env.truth.forbid_short = true;
    let nodes = peers(world, 11);
    let (seed, ten) = (nodes[0], &nodes[1..]);
    match bound {
        Bound::Link => sends(world, seed, 2 * MIB),
        Bound::Own => drop(command(world, seed, "limit up 2M")),
    }
    if multicast {
        meet(world, &nodes);
    }
    world.run_for(S / 10);
    let alone = alone(world, seed, size);
    holds(world, seed, "file", &Content::generated(2, size));
    let before = world.uploaded(seed);
    let took = all_fetch(world, seed, ten);
    let gave = world.uploaded(seed) - before;
    let factors = (gave as f64 / size as f64, took.as_secs_f64() / alone.as_secs_f64());
    println!("{size} bytes, multicast {multicast}, {bound:?}: {factors:.2?} of {alone:?}");
    assert!(gave * 3 <= size * 4, "the first gave {gave} of {size}: {factors:?}");
    assert!(took * 3 <= alone * 4, "{took:?} and {alone:?} alone: {factors:?}");
}

#[test]
fn ten_who_know_only_the_seed_cost_it_about_one_copy() {
    scenario("ten_who_know_only_the_seed", 1, |world| ten_of_one(world, 32 * MIB, false, Bound::Link));
}

#[test]
fn ten_who_know_each_other_cost_the_seed_about_one_copy() {
    scenario("ten_who_know_each_other", 1, |world| ten_of_one(world, 32 * MIB, true, Bound::Link));
}

#[test]
fn ten_cost_a_seed_that_bounds_its_own_rate_about_one_copy() {
    scenario("ten_of_a_seed_that_bounds_its_rate", 1, |world| ten_of_one(world, 32 * MIB, false, Bound::Own));
}

const SIZE: u64 = 8 * MIB + 4097;

/// A seed and so many who fetch "file" of it; what each of them sends in a second is said.
fn fetching(world: &mut World, n: usize, seed_rate: u64, rate: u64) -> (NodeId, Vec<NodeId>, Content) {
    world.env.truth.forbid_short = true;
    let nodes = friends(world, n + 1);
    let content = Content::generated(7, SIZE);
    let (seed, others) = (nodes[0], nodes[1..].to_vec());
    holds(world, seed, "file", &content);
    sends(world, seed, seed_rate);
    others.iter().for_each(|&node| sends(world, node, rate));
    others.iter().for_each(|&node| get(world, node, seed, "file"));
    (seed, others, content)
}

/// Pieces of which the whole stands in the part of one of `nodes`, or in its finished file.
fn together(world: &World, nodes: &[NodeId], content: &Content) -> BTreeSet<u64> {
    let part = part_of(content).0;
    let mut all = BTreeSet::new();
    for &node in nodes {
        let disk = &world.nodes[node.0].disk;
        let held = disk.content(Dir::Parts, &part).or_else(|| disk.content(Dir::Downloads, "file"));
        let Some(held) = held else { continue };
        all.extend((0..pieces(content.len())).filter(|&piece| {
            let range = piece_range(content.len(), piece).expect("it has that piece");
            held.agrees(content, range.start, range.end - range.start)
        }));
    }
    all
}

/// It goes for good, in one of the ways there are.
fn leaves(world: &mut World, node: NodeId) {
    match world.env.seed % 3 {
        0 => world.kill(node),
        1 => {
            let host = host_of(world, node);
            world.power_off(host);
        }
        _ => {
            world.type_line(node, "quit");
            assert!(world.run_until(S * 3, |world| world.exit_status(node) == Some(0)));
        }
    }
}

fn returns(world: &mut World, node: NodeId) {
    let host = host_of(world, node);
    world.power_on(host);
    world.nodes[node.0].exit = None;
    world.start(node);
    world.type_line(node, "multicast on");
}

/// All of them have the file, of each other; nobody said that it failed.
fn all_have(world: &mut World, nodes: &[NodeId]) {
    for &node in nodes {
        whole(world, node, "file", S * 120);
        let said = downloaded(world, node, "file");
        assert_eq!(said["verified"], true, "{said}");
        assert!(blamed(world, node).is_empty());
        soon_no_parts(world, node);
    }
}

#[test]
fn when_the_seed_leaves_those_who_have_all_of_it_together_finish_from_each_other() {
    scenario("when_the_seed_leaves", 3, |world| {
        let (seed, nodes, content) = fetching(world, 3, 2 * MIB, MIB / 4);
        let all = pieces(SIZE) as usize;
        let mut waited = 0;
        while together(world, &nodes, &content).len() < all {
            world.run_for(S / 20);
            waited += 1;
            assert!(waited < 2000, "{}", tail(&world.stdout(nodes[0])));
        }
        leaves(world, seed);
        let missing = nodes.iter().filter(|&&node| !world.has_download(node, "file")).count();
        assert_eq!(missing, nodes.len(), "somebody has all of it: the scene says nothing");
        let given: Vec<u64> = nodes.iter().map(|&node| world.uploaded(node)).collect();
        all_have(world, &nodes);
        for (&node, before) in nodes.iter().zip(given) {
            assert_eq!((errors(world, node), done(world, node, "get")), (Vec::new(), 1));
            println!("node {} gave {} after that", node.0, world.uploaded(node) - before);
        }
    });
}

#[test]
fn a_piece_that_left_with_the_seed_is_waited_for_and_nobody_says_it_is_there() {
    scenario("a_piece_that_left_with_the_seed", 3, |world| {
        let (seed, nodes, content) = fetching(world, 3, MIB, MIB);
        reaches(world, nodes[0], 3 * MIB);
        leaves(world, seed);
        // What was on its way arrives.
        world.run_for(S * 5);
        let all = pieces(SIZE) as usize;
        let kept = together(world, &nodes, &content);
        assert!(kept.len() < all && kept.len() > 2, "{kept:?}: the scene says nothing");
        // They say that they wait, each once, and how much is kept.
        let over = world.run_until(S * 120, |world| nodes.iter().all(|&node| done(world, node, "get") == 1));
        assert!(over, "{}", tail(&world.stdout(nodes[0])));
        world.run_for(S * 120);
        for &node in &nodes {
            let said = errors(world, node);
            assert!(said.len() == 1 && said[0].contains("it goes on when somebody has it"), "{said:?}");
            assert!(world.events_named(node, "downloaded").is_empty() && world.downloads(node).is_empty());
            assert_eq!(state(world, node, "file"), "waiting");
            // What one has, all have.
            let has = together(world, &[node], &content);
            assert_eq!(has, kept, "node {}", node.0);
            let bytes = transfers(world, node)["file"]["bytes"].as_u64().expect("a number");
            assert!(
                bytes <= kept.len() as u64 * PIECE && bytes + 2 * PIECE > kept.len() as u64 * PIECE,
                "{bytes}"
            );
        }
        returns(world, seed);
        all_have(world, &nodes);
        assert!(world.uploaded(seed) <= 2 * SIZE, "{}", world.uploaded(seed));
    });
}

#[test]
fn who_comes_after_the_seed_left_has_it_of_those_who_finished() {
    scenario("who_comes_after_the_seed_left", 3, |world| {
        let nodes = friends(world, 4);
        let (seed, finished, late) = (nodes[0], &nodes[1..3], nodes[3]);
        let content = Content::generated(7, SIZE);
        holds(world, seed, "file", &content);
        finished.iter().for_each(|&node| sends(world, node, 2 * MIB));
        // Whoever wants it knows its root: of a search, or of what an earlier life began.
        let began = world.env.seed % 2 == 1;
        if began {
            sends(world, seed, 2 * MIB);
            get(world, late, seed, "file");
            reaches(world, late, 2 * MIB);
            world.kill(late);
            sends(world, seed, 64 * MIB);
        } else {
            let found = command(world, late, "search file");
            assert!(found.iter().any(|event| event["event"] == "result"), "{found:?}");
        }
        for &node in finished {
            get(world, node, seed, "file");
            whole(world, node, "file", S * 60);
        }
        world.run_for(S);
        leaves(world, seed);
        world.run_for(S);
        if began {
            world.start(late);
            world.type_line(late, "multicast on");
        } else {
            world.type_line(late, "get 1");
        }
        whole(world, late, "file", S * 120);
        let said = downloaded(world, late, "file");
        assert_eq!((&said["verified"], &said["sources"]), (&true.into(), &2.into()), "{said}");
        assert_eq!(errors(world, late), Vec::<String>::new());
        let gave: Vec<u64> = finished.iter().map(|&node| world.uploaded(node)).collect();
        assert!(gave.iter().sum::<u64>() + 2 * MIB + MIB >= SIZE, "{gave:?}");
        let at = addr_of(world, finished[0]).to_string();
        println!("{at} and the other gave {gave:?}");
    });
}
