//! The words of the scenes about downloads from many: nodes that know each other, holders of a file, what a node tells of its
//! transfers, what lies in its folder of parts.

use super::common::{S, addr_of, command, host_of, peers};
use crate::content::Content;
use crate::env::root_of;
use crate::ids::NodeId;
use crate::world::World;
use distrishare::machine::Dir;
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;

/// Nodes that know each other.
pub(super) fn friends(world: &mut World, n: usize) -> Vec<NodeId> {
    let nodes = peers(world, n);
    meet(world, &nodes);
    nodes
}

/// They find each other by multicast.
pub(super) fn meet(world: &mut World, nodes: &[NodeId]) {
    nodes.iter().for_each(|&node| world.type_line(node, "multicast on"));
    world.run_for(S * 2);
}

/// Bytes leave its host at most that fast.
pub(super) fn sends(world: &mut World, node: NodeId, bytes_per_second: u64) {
    let host = host_of(world, node);
    world.upload_rate(host, bytes_per_second);
}

pub(super) fn status(world: &mut World, node: NodeId) -> serde_json::Value {
    let said = command(world, node, "status");
    said.into_iter().find(|event| event["event"] == "status").expect("it says how it is")
}

/// Puts a file into its shared folder, and waits until that is hashed.
pub(super) fn holds(world: &mut World, node: NodeId, name: &str, content: &Content) {
    let before = status(world, node)["index"]["hashed_files"].as_u64().unwrap_or(0);
    world.share(node, name, content.clone());
    hashed(world, node, |index| index["hashed_files"].as_u64() > Some(before));
}

/// So many files are shared, and all of them are hashed.
pub(super) fn settled(world: &mut World, node: NodeId, files: u64) {
    hashed(world, node, |index| index["files"] == files && index["hashed_files"] == files);
}

fn hashed(world: &mut World, node: NodeId, enough: impl Fn(&serde_json::Value) -> bool) {
    for _ in 0..1200 {
        if enough(&status(world, node)["index"]) {
            return;
        }
        world.run_for(S / 10);
    }
    panic!("never hashed: {}", world.stdout(node));
}

/// The rows of `transfers`, by name.
pub(super) fn transfers(world: &mut World, node: NodeId) -> BTreeMap<String, serde_json::Value> {
    let said = command(world, node, "transfers");
    let rows = said.into_iter().filter(|event| event["event"] == "transfer");
    rows.map(|row| (row["name"].as_str().unwrap_or("?").to_owned(), row)).collect()
}

/// The state of the one transfer of that name.
pub(super) fn state(world: &mut World, node: NodeId, name: &str) -> String {
    let all = transfers(world, node);
    all.get(name).map_or("none", |row| row["state"].as_str().unwrap_or("?")).to_owned()
}

/// Bytes that stand in the parts of a node.
pub(super) fn stored(world: &World, node: NodeId) -> u64 {
    let disk = &world.nodes[node.0].disk;
    let parts = disk.names(Dir::Parts).into_iter().filter(|name| !name.ends_with(".jnl"));
    parts.filter_map(|name| disk.content(Dir::Parts, &name).map(Content::stored)).sum()
}

/// Runs until so much is there.
pub(super) fn reaches(world: &mut World, node: NodeId, bytes: u64) {
    let there = world.run_until(S * 100, |world| stored(world, node) >= bytes);
    assert!(there, "never reaches {bytes} bytes: {}", world.stdout(node));
}

/// The names of the part of this content and of its journal.
pub(super) fn part_of(content: &Content) -> (String, String) {
    let root = root_of(content);
    (format!("{root}.part"), format!("{root}.jnl"))
}

/// Waits until a whole copy is in its downloads; how long that takes.
pub(super) fn whole(world: &mut World, node: NodeId, name: &str, limit: Duration) -> Duration {
    let start = world.now();
    let there = world.run_until(limit, |world| world.has_download(node, name));
    assert!(there, "{name} is not there after {limit:?}: {}", tail(&world.stdout(node)));
    world.now() - start
}

/// What it told of the download of that name.
pub(super) fn downloaded(world: &mut World, node: NodeId, name: &str) -> serde_json::Value {
    let of = |world: &World| {
        let all = world.events_named(node, "downloaded");
        all.into_iter().find(|event| event["name"] == *name)
    };
    assert!(world.run_until(S * 30, |world| of(world).is_some()), "{}", tail(&world.stdout(node)));
    of(world).expect("just seen")
}

/// Where those are whom it blames, each with its worst count.
pub(super) fn blamed(world: &World, node: NodeId) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for event in world.events_named(node, "blamed") {
        let at = format!("{}:{}", event["ip"].as_str().unwrap_or("?"), event["port"]);
        let pieces = event["pieces"].as_u64().unwrap_or(0);
        all.entry(at).and_modify(|most: &mut u64| *most = pieces.max(*most)).or_insert(pieces);
    }
    all
}

pub(super) fn text_of(world: &World, node: NodeId) -> String {
    addr_of(world, node).to_string()
}

/// Nothing unfinished is left: neither a part nor a journal.
pub(super) fn no_parts(world: &World, node: NodeId) {
    let parts = world.nodes[node.0].disk.names(Dir::Parts);
    assert!(parts.is_empty(), "node {}: {parts:?} are left", node.0);
}

/// The same after a moment: the files go when the command is over.
pub(super) fn soon_no_parts(world: &mut World, node: NodeId) {
    let none = |world: &World| world.nodes[node.0].disk.names(Dir::Parts).is_empty();
    if !world.run_until(S * 5, none) {
        no_parts(world, node);
    }
}

/// The end of a long output.
pub(super) fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(4000);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    &text[from..]
}
