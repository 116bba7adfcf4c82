//! Swarms while everything goes wrong: several fetch several files of several holders, orders come and go, disks, hosts and
//! networks fail, somebody lies; then nothing does any more, and all of it must come right (HOSTILE.md 6.2).

use super::common::{MS, PORT, S, get, has_copy, peer};
use super::holders::tail;
use crate::content::Content;
use crate::faults::Faults;
use crate::harness::scenario;
use crate::ids::{LanId, NodeId};
use crate::liar::{Heard, Liar, Mouth, hashed};
use crate::rng::Rng;
use crate::world::World;
use distrishare::config::{Limits, SwarmLimits};
use distrishare::machine::Dir;
use distrishare::proto::content::VALUE;
use distrishare::proto::v2::message::{DataKind, Message};

const MIB: u64 = 1 << 20;
/// Mostly around the edges of chunks and pieces.
const SIZES: [u64; 12] =
    [0, 1, 4095, 4097, 70_000, MIB - 1, MIB, MIB + 1, 2 * MIB - 4096, 2 * MIB + 4095, 3 * MIB + 1, 4 * MIB];

/// A file: who holds it, who wants it.
struct File {
    name: String,
    content: Content,
    holders: Vec<NodeId>,
    wanted: Vec<NodeId>,
}

fn limits(rng: &mut Rng) -> Limits {
    match rng.below(3) {
        0 => Limits {
            downloads: 2,
            open_files: 12,
            conns: 40,
            swarm: SwarmLimits { sources: 2, seeds: 1, ..Limits::small().swarm },
            ..Limits::small()
        },
        1 => Limits::small(),
        _ => Limits::desktop(),
    }
}

fn nodes(world: &mut World, rng: &mut Rng, lan: LanId) -> Vec<NodeId> {
    let n = rng.size(3, 8);
    let mut nodes = Vec::new();
    for _ in 0..n {
        let host = world.host(&[lan]);
        let limits = limits(rng);
        let down = (rng.below(4) == 0).then(|| rng.log_uniform(256 << 10, 16 << 20));
        nodes.push(peer(world, host, move |config| {
            config.join = true;
            config.limits = limits.clone();
            config.rate.down = down;
        }));
        if rng.flip() {
            world.upload_rate(host, rng.log_uniform(1 << 20, 64 << 20));
        }
    }
    nodes
}

fn files(world: &mut World, rng: &mut Rng, nodes: &[NodeId]) -> Vec<File> {
    let n = rng.size(1, 3);
    let mut files = Vec::new();
    for i in 0..n {
        let (name, size) = (format!("file{i}"), *rng.pick(&SIZES));
        let content = Content::generated(i as u64 + 1, size);
        let first = rng.size(0, nodes.len() - 1);
        let held = rng.size(1, nodes.len().min(3));
        let mut order = nodes.to_vec();
        order.rotate_left(first);
        let wanted = order.split_off(held);
        let wanting = rng.size(1, wanted.len().max(1)).min(wanted.len());
        order.iter().for_each(|&node| world.share(node, &name, content.clone()));
        files.push(File { name, content, holders: order, wanted: wanted[..wanting].to_vec() });
    }
    files
}

/// A member that has everything, says it, and gives what it draws: nothing, rubbish, too much, or what was asked for.
fn liar(world: &mut World, lan: LanId, files: &[File], rng: &mut Rng) {
    let host = world.host(&[lan]);
    let all: Vec<_> = files
        .iter()
        .map(|file| {
            let bytes = file.content.read(0, file.content.len() as usize);
            let (root, values) = hashed(&bytes);
            (root, values.concat(), bytes)
        })
        .collect();
    let mut rng = Rng::new(rng.next(), "liar", 0);
    let act = move |mouth: &mut Mouth<'_, '_>, heard: Heard| {
        let Heard::Message(message) = heard else { return };
        match message {
            Message::Follow { id, .. } => {
                let (map, pieces) = (vec![0xFF; 4], vec![0, 1, 2, 99]);
                let all = rng.flip();
                let pieces = if rng.flip() { pieces } else { Vec::new() };
                mouth.say(&Message::Have { id, all, map, pieces });
                if rng.flip() {
                    let victim = ([127, 0, 0, 1], 9000).into();
                    let nodes = vec![victim, ([224, 1, 1, 1], 9000).into(), ([8, 8, 8, 8], 25).into()];
                    mouth.say(&Message::Peers { id, nodes });
                }
            }
            Message::Values { id, root, first, count, .. } => {
                let Some((_, values, _)) = all.iter().find(|file| file.0 == root) else { return };
                let from = (first as usize * VALUE).min(values.len());
                let to = (from + count as usize * VALUE).min(values.len());
                match rng.below(3) {
                    0 => mouth.data(DataKind::Values, id, first, &vec![1; to - from]),
                    1 => mouth.data(DataKind::Values, id, first, &values[from..to]),
                    _ => {}
                }
            }
            Message::Get { id, root, offset, len } => {
                let Some((_, _, bytes)) = all.iter().find(|file| file.0 == root) else { return };
                let mut part = bytes[offset as usize..(offset + len) as usize].to_vec();
                match rng.below(4) {
                    0 => part[0] ^= 1,
                    1 => part.truncate(part.len() / 2 / 4096 * 4096),
                    2 => return,
                    _ => {}
                }
                if !part.is_empty() {
                    mouth.data(DataKind::Data, id, offset, &part);
                }
            }
            Message::Ping { id } => mouth.say(&Message::Pong { id }),
            _ => {}
        }
    };
    world.actor(host, Liar::listens(9, PORT, act));
    let from = world.addr(host, 5000);
    let text = format!("HELLO:{}:{PORT}", world.ip(host));
    for n in 1..6 {
        let text = text.clone();
        world.later(S * (n * 4), move |world| world.inject(lan, from, text.as_bytes()));
    }
}

/// An operator does something.
fn order(world: &mut World, rng: &mut Rng, files: &[File]) {
    let file = rng.pick(files);
    if file.wanted.is_empty() {
        return;
    }
    let node = *rng.pick(&file.wanted);
    if !world.running(node) {
        return;
    }
    let which = if rng.flip() { file.name.clone() } else { (1 + rng.below(3)).to_string() };
    match rng.below(8) {
        0 => world.type_line(node, &format!("pause {which}")),
        1 => world.type_line(node, &format!("resume {which}")),
        2 => world.type_line(node, &format!("cancel {which}")),
        3 => world.type_line(node, &format!("limit down {}K", rng.log_uniform(64, 65_536))),
        4 => world.type_line(node, &format!("limit up {}K", rng.log_uniform(64, 65_536))),
        5 => world.type_line(node, "transfers"),
        _ => get(world, node, *rng.pick(&file.holders), &file.name),
    }
}

fn missing(world: &World, files: &[File]) -> Vec<(NodeId, NodeId, String)> {
    let wants = |file: &File| {
        let (holder, name) = (file.holders[0], file.name.clone());
        let missing = file.wanted.iter().filter(|&&node| !has_copy(world, node, &file.name));
        missing.map(|&node| (node, holder, name.clone())).collect::<Vec<_>>()
    };
    files.iter().flat_map(wants).collect()
}

/// After healing: everything wanted is there and right, and nothing unfinished is left.
fn calm(world: &mut World, nodes: &[NodeId], files: &[File]) {
    for &node in nodes {
        assert!(world.running(node), "node {} ended with {:?}", node.0, world.exit_status(node));
        world.type_line(node, "limit down off");
        world.type_line(node, "limit up off");
    }
    for _ in 0..15 {
        for (node, holder, name) in missing(world, files) {
            get(world, node, holder, &name);
        }
        if world.run_until(S * 20, |world| missing(world, files).is_empty()) {
            break;
        }
    }
    if let Some((node, _, name)) = missing(world, files).into_iter().next() {
        panic!("node {} never gets {name}: {}", node.0, tail(&world.stdout(node)));
    }
    // Where what is here could not be read it was fetched once more, and that may have been paused.
    for &node in nodes {
        (1..=9).for_each(|n| world.type_line(node, &format!("resume {n}")));
    }
    let left = |world: &World| {
        nodes.iter().map(|&node| world.nodes[node.0].disk.names(Dir::Parts).len()).sum::<usize>()
    };
    let none = world.run_until(S * 60, |world| left(world) == 0);
    for &node in nodes {
        let parts = world.nodes[node.0].disk.names(Dir::Parts);
        assert!(none || parts.is_empty(), "node {}: {parts:?}: {}", node.0, tail(&world.stdout(node)));
        let names = world.downloads(node);
        assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
        world.type_line(node, "quit");
    }
    let over = |world: &World| nodes.iter().all(|&node| world.exit_status(node) == Some(0));
    assert!(world.run_until(S * 3, over), "somebody does not end");
}

#[test]
fn swarms_in_upheaval_come_right() {
    scenario("swarms_in_upheaval", 20, |world| {
        let mut rng = Rng::new(world.env.seed, "upheaval", 0);
        let lan = world.lan();
        let nodes = nodes(world, &mut rng, lan);
        let files = files(world, &mut rng, &nodes);
        world.run_for(MS * 1500);
        if rng.flip() {
            liar(world, lan, &files, &mut rng);
        }
        for (node, holder, name) in missing(world, &files) {
            if rng.below(4) > 0 {
                get(world, node, holder, &name);
            }
        }
        world.run_for(MS * rng.below(200) as u32);
        world.set_faults(Faults::draw(world.env.seed));
        world.chaos(S * 12);
        for _ in 0..24 {
            if rng.flip() {
                order(world, &mut rng, &files);
            }
            if rng.below(12) == 0 {
                let node = *rng.pick(&nodes);
                let used = world.nodes[node.0].disk.used;
                world.nodes[node.0].disk.capacity = used.saturating_add(rng.below(8 * MIB));
            }
            world.run_for(S / 2);
        }
        world.heal(&[]);
        calm(world, &nodes, &files);
    });
}
