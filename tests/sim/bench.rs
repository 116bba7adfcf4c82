//! How fast the simulator is: events a second, with the nodes' own work in it. A target of `cargo bench` that lies here
//! because it is made of the simulator's modules.
#![allow(dead_code, unused_imports)] // It drives a few of the things that scenarios do, and runs no tests.
#![allow(missing_docs)] // criterion's macros make functions without

mod actor;
mod adversary;
mod bytes;
mod chaos;
mod content;
mod disk;
mod env;
mod faults;
mod harness;
mod ids;
mod multicast;
mod net;
mod node;
mod queue;
mod rng;
mod shared;
mod topology;
mod trace;
mod world;

use crate::ids::{HostId, NodeId};
use crate::world::World;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use distrishare::config::{
    BootstrapConfig, ConsoleMode, Crypto, FileFolders, HostPort, Key, Limits, PeerConfig, Rates, Secret,
    V1_DEFAULT_SECRET,
};
use distrishare::node::bootstrap::Bootstrap;
use distrishare::node::peer::Peer;
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

fn peer(world: &mut World, host: HostId, registry: Ipv4Addr, join: bool) -> NodeId {
    world.node(host, move |seed| {
        Box::new(Peer::new(PeerConfig {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9000)),
            folders: FileFolders::new("shared", "downloads"),
            root: false,
            announce: None,
            bootstraps: vec![HostPort { host: registry.to_string(), port: 8000 }],
            join,
            control: false,
            v1: true,
            v1_secret: Secret::new(V1_DEFAULT_SECRET),
            group: None,
            crypto: Crypto::Null,
            entropy: Key::new(std::array::from_fn(|i| seed.to_le_bytes()[i % 8])),
            console: ConsoleMode::Terminal,
            json: true,
            progress_columns: None,
            keep_going: true,
            rate: Rates::default(),
            once: None,
            resume: true,
            seed,
            limits: Limits::desktop(),
        }))
    })
}

/// A registry and so many peers on one network. They join at once, or know nobody yet; and the registry's answer has room
/// for all of them then, beyond the one segment that old nodes read.
fn network(world: &mut World, count: usize, join: bool) -> Vec<NodeId> {
    let lan = world.lan();
    let host = world.host(&[lan]);
    let room = if join { Limits::desktop().registry_reply_max } else { 64 << 10 };
    let registry = world.node(host, move |seed| {
        Box::new(Bootstrap::new(BootstrapConfig {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8000)),
            lease: Duration::from_secs(600),
            seed,
            limits: Limits { registry_reply_max: room, ..Limits::desktop() },
        }))
    });
    world.start(registry);
    let ip = world.ip(host);
    let peers: Vec<NodeId> = (0..count)
        .map(|_| {
            let host = world.host(&[lan]);
            peer(world, host, ip, join)
        })
        .collect();
    peers.iter().for_each(|&peer| world.start(peer));
    peers
}

/// Nodes that find each other and stay: 20 seconds of it.
fn discovery(world: &mut World, count: usize) {
    network(world, count, true);
    world.run_for(Duration::from_secs(20));
}

/// The last node searches all the others and downloads a file from one.
fn download(world: &mut World, count: usize, len: usize) {
    let peers = network(world, count, true);
    let (from, to) = (peers[0], peers[count - 1]);
    world.share(from, "file.bin", vec![7; len]);
    world.run_for(Duration::from_secs(10));
    let ip = world.ip(world.nodes[from.0].host);
    world.type_line(to, "search file.bin");
    world.type_line(to, &format!("get {ip} 9000 file.bin"));
    let done = world.run_until(Duration::from_secs(120), |world| world.has_download(to, "file.bin"));
    assert!(done, "{}{}", world.stdout(to), world.stderr(to));
}

/// One way on any link of [`search`].
const ONE_WAY: Duration = Duration::from_millis(5);

/// The last node searches all the others twice; how long each of both took, in round trips. A tenth has the file.
fn search(world: &mut World, count: usize) -> [f64; 2] {
    let peers = network(world, count + 1, false);
    let to = peers[count];
    for &peer in peers[..count].iter().step_by(10) {
        world.share(peer, "file.bin", vec![7; 100]);
    }
    for &peer in &peers {
        world.type_line(peer, "bootstrap");
        world.run_for(Duration::from_millis(1));
    }
    world.run_for(Duration::from_secs(10));
    let way = ONE_WAY.as_micros() as u64;
    for host in 0..count + 2 {
        world.env.net.topology.host_mut(HostId(host)).latency = (way, way);
    }
    let done = |world: &World| world.stdout(to).matches("\"done\",\"command\":\"search\"").count();
    [1, 2].map(|times| {
        let start = world.now();
        world.type_line(to, "search file.bin");
        assert!(
            world.run_until(Duration::from_secs(60), |world| done(world) == times),
            "{}",
            world.stderr(to)
        );
        (world.now() - start).as_secs_f64() / (2 * ONE_WAY).as_secs_f64()
    })
}

/// Not a time of ours: how many round trips an answer takes, with a session to be made and with one that stands.
fn round_trips(_: &mut Criterion) {
    for count in [10, 300, 1000] {
        let took = Cell::new([0.0; 2]);
        let run = harness::run("bench", 1, false, |world| took.set(search(world, count)));
        run.unwrap_or_else(|failure| panic!("{failure}"));
        let [first, second] = took.get();
        println!("sim/search, {count} nodes: {first:.1} round trips the first time, {second:.1} the second");
    }
}

fn measure(c: &mut Criterion, name: &str, counts: &[usize], body: impl Fn(&mut World, usize)) {
    let mut group = c.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
    for &count in counts {
        let run = || harness::run("bench", 1, false, |world| body(world, count));
        let (report, _) = run().unwrap_or_else(|failure| panic!("{failure}"));
        group.throughput(Throughput::Elements(report.steps));
        println!("{name}, {count} nodes: {} events in {:?} of the world", report.steps, report.time);
        group.bench_function(BenchmarkId::from_parameter(count), |b| b.iter(run));
    }
    group.finish();
}

fn simulator(c: &mut Criterion) {
    measure(c, "sim/discovery", &[5, 50, 200], discovery);
    measure(c, "sim/download", &[2, 50], |world, count| download(world, count, 8 << 20));
}

criterion_group!(benches, round_trips, simulator);
criterion_main!(benches);
