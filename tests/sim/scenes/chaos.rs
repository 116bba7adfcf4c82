//! Everything goes wrong for a while, then nothing does any more: what was wanted is there, the lists agree, nothing
//! is left over (HOSTILE.md 6.2).

use super::common::{
    PORT, S, addr_of, alive, at_registry, bootstrap, crowd, errors, get, has_copy, host_of, listener, others,
    peers_on, request, send,
};
use crate::actor::Step;
use crate::content::Content;
use crate::faults::Faults;
use crate::harness::scenario;
use crate::ids::{LanId, NodeId, Owner};
use crate::rng::Rng;
use crate::world::World;
use distrishare::config::Limits;
use distrishare::machine::Dir;

const SIZES: [u64; 8] = [0, 1, 4095, 4096, 4097, 60_000, (1 << 20) - 1, (1 << 20) + 1];

/// What each node wants, and from whom.
type Wanted = Vec<(NodeId, NodeId, String)>;

/// A registry and some peers that share files, join at start and want each other's; limits are often tiny.
fn drawn(world: &mut World) -> (NodeId, Vec<NodeId>, Wanted) {
    let mut rng = Rng::new(world.env.seed, "scene", 0);
    let lan = world.lan();
    let there = world.host(&[lan]);
    let registry = bootstrap(world, there, |config| config.lease = S * 200);
    let target = at_registry(world, there);
    let mut limits = Limits::desktop();
    if rng.flip() {
        limits = Limits { downloads: 2, open_files: 6, dials: 3, conns: 30, ..Limits::small() };
    }
    let n = rng.size(3, 6);
    let nodes = peers_on(world, lan, n, move |config| {
        config.bootstraps = vec![target.clone()];
        config.join = true;
        config.limits = limits.clone();
    });
    let mut wanted = Vec::new();
    for (i, &node) in nodes.iter().enumerate() {
        for j in 0..rng.size(1, 3) {
            let (name, size) = (format!("file {i}-{j}"), *rng.pick(&SIZES));
            world.share(node, &name, Content::generated((i * 10 + j + 1) as u64, size));
            let other = nodes[(i + 1 + rng.size(0, nodes.len() - 2)) % nodes.len()];
            wanted.push((other, node, name));
        }
    }
    (registry, nodes, wanted)
}

/// The operator asks for what he has not got yet.
fn ask(world: &mut World, wanted: &Wanted) {
    for (to, from, name) in wanted {
        if world.running(*to) && !has_copy(world, *to, name) {
            get(world, *to, *from, name);
        }
    }
}

/// After healing: everything wanted is there, everybody knows everybody, nothing is open or half-done.
fn calm(world: &mut World, nodes: &[NodeId], wanted: &Wanted) {
    // The registry forgets whom it could not reach; everybody has renewed once after at most two minutes.
    for _ in 0..14 {
        world.run_for(S * 20);
        ask(world, wanted);
    }
    let all = |world: &World| wanted.iter().all(|(to, _, name)| has_copy(world, *to, name));
    if !world.run_until(S * 100, all) {
        for (to, from, name) in wanted.iter().filter(|(to, _, name)| !has_copy(world, *to, name)) {
            let told = world.stdout(*to);
            eprintln!(
                "MISSING {name} at {} from {}\n{}",
                to.0,
                from.0,
                &told[told.len().saturating_sub(6000)..]
            );
        }
        panic!("{:?}", errors(world, wanted[0].0));
    }
    world.run_for(S * 10);
    for &node in nodes {
        assert!(world.running(node), "node {} ended with {:?}", node.0, world.exit_status(node));
        for which in ["multicast", "bootstrap", "all"] {
            let found = alive(world, node, which);
            assert!(found.is_superset(&others(world, nodes, node)), "node {} on {which}: {found:?}", node.0);
        }
        let disk = &world.nodes[node.0].disk;
        assert!(disk.names(Dir::Parts).is_empty());
        assert!(disk.names(Dir::Shared).iter().all(|name| !name.starts_with('.')));
    }
    // Sessions end when nothing was asked for a while; from then on a renewal may be under way, and nothing else is.
    let idle = Limits::desktop().session_idle;
    let held = |world: &World, node: NodeId| world.env.net.count(Owner::Node(node));
    let quiet = |world: &World| nodes.iter().all(|&node| held(world, node) <= 1);
    assert!(
        world.run_until(idle + S * 10, quiet),
        "connections are held: {:?}",
        nodes.iter().map(|&node| held(world, node)).collect::<Vec<_>>()
    );
    nodes.iter().for_each(|&node| world.type_line(node, "quit"));
    assert!(world.run_until(S * 2, |world| nodes.iter().all(|&node| world.exit_status(node) == Some(0))));
}

#[test]
fn faults_of_every_kind_then_none() {
    scenario("faults_of_every_kind", 20, |world| {
        let (registry, nodes, wanted) = drawn(world);
        world.run_for(S * 2);
        world.set_faults(Faults::draw(world.env.seed));
        world.chaos(S * 60);
        for _ in 0..6 {
            ask(world, &wanted);
            world.run_for(S * 10);
        }
        world.heal(&[]);
        if !world.running(registry) {
            world.start(registry);
        }
        calm(world, &nodes, &wanted);
    });
}

#[test]
fn adversaries_for_a_while_then_none() {
    // 6.3: 11, 12, 13 with everything at once
    scenario("adversaries_for_a_while", 6, |world| {
        let (_, nodes, wanted) = drawn(world);
        world.run_for(S * 2);
        let lan = LanId(0);
        for &node in &nodes {
            let (host, to) = (world.host(&[lan]), addr_of(world, node));
            crowd(world, host, to, 30, S / 10, vec![send(request("download", "file 0-0")), Step::NeverRead]);
            crowd(world, host, to, 30, S / 7, vec![send("{")]);
            crowd(world, host, to, 30, S / 5, vec![send("[[[["), Step::Reset]);
            crowd(world, host, to, 30, S / 3, vec![send(request("search", "../x")), Step::Hear, Step::Close]);
            let liar = world.host(&[lan]);
            let forever = Step::Forever { bytes: vec![b'x'; 1000], every: S / 100 };
            listener(world, liar, PORT, vec![forever]);
            for _ in 0..20 {
                let text = format!("HELLO:{}:{PORT}", world.ip(liar));
                world.inject(lan, world.addr(liar, 5000), text.as_bytes());
                let text = format!("GOODBYE:{}:{PORT}", to.ip());
                world.inject(lan, to, text.as_bytes());
                world.run_for(S / 20);
            }
            nodes.iter().for_each(|&node| world.type_line(node, "search file 0-0"));
        }
        ask(world, &wanted);
        world.run_for(S * 20);
        world.heal(&[]);
        calm(world, &nodes, &wanted);
    });
}

#[test]
fn a_partition_heals_and_both_halves_know_each_other_again() {
    scenario("a_partition_heals", 4, |world| {
        let (_, nodes, wanted) = drawn(world);
        world.run_for(S * 3);
        let (left, right) = nodes.split_at(nodes.len() / 2);
        for &a in left {
            for &b in right {
                let (a, b) = (host_of(world, a), host_of(world, b));
                world.partition(a, b);
            }
        }
        ask(world, &wanted);
        world.run_for(S * 30);
        for &a in left {
            let seen = alive(world, a, "multicast");
            assert!(right.iter().all(|&b| !seen.contains(&addr_of(world, b).to_string())));
        }
        world.heal(&[]);
        calm(world, &nodes, &wanted);
    });
}
