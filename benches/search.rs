//! A search over 1, 10, 100 and 1,000 nodes that are known from a registry. The nodes are addresses of the loopback, all
//! behind one socket and played by one thread. What is measured is the asking peer with its real reactor (and the answers'
//! share of the other core): from the line typed to the end of the command. And how long others wait at a node that is
//! asked with the costliest patterns.
//!
//! In v1 every tenth node has the file. In v2 the same; and then each node tells 256 files of one table of 10,000, which
//! are merged by content and ranked. The nodes' own looking through their indexes is not in it: see `index` and `many`.
#![allow(missing_docs)] // criterion's macros make functions without

#[path = "support/mod.rs"]
mod support;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use distrishare::config::Limits;
use distrishare::proto::registry::encode_reply;
use distrishare::proto::v2::message::FileInfo;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::Node;
use support::session::{Session, address, file_name, fill, start_crowd};

/// Files that the nodes share among them, and how many each of them tells.
const TABLE: usize = 10_000;
const TOLD: usize = 256;

/// Reads one object and answers it; whatever fails is the asker's loss.
fn answer(stream: &mut TcpStream, with: impl FnOnce(&str) -> Vec<u8>) -> std::io::Result<()> {
    let (mut request, mut part) = (Vec::new(), [0; 512]);
    while !request.ends_with(b"}") {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            // As an old node: what is not JSON is not answered.
            _ if request.is_empty() && part[0] != b'{' => return Ok(()),
            n => request.extend_from_slice(&part[..n]),
        }
    }
    stream.write_all(&with(&String::from_utf8_lossy(&request)))?;
    stream.shutdown(Shutdown::Write)
}

/// All the nodes, and the registry that knows them: one listener, told apart by the address that was dialled. Runs until
/// the process ends.
fn start_nodes(count: usize) -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).expect("bound");
    socket.listen(1024).expect("listens");
    let listener = TcpListener::from(socket);
    let port = listener.local_addr().expect("bound").port();
    #[allow(clippy::disallowed_methods)] // the world of the peer under test
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Ok(IpAddr::V4(dialled)) = stream.local_addr().map(|addr| addr.ip()) else { continue };
            let _ = answer(&mut stream, |_| {
                if dialled == Ipv4Addr::LOCALHOST {
                    let nodes: Vec<SocketAddr> = (0..count).map(|n| (address(n), port).into()).collect();
                    encode_reply(&nodes, 64 << 10).0
                } else if dialled.octets()[3] % 10 == 1 {
                    b"FOUND".to_vec()
                } else {
                    b"NOT_FOUND".to_vec()
                }
            });
        }
    });
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Every tenth has the file, under the one name.
fn few(n: usize) -> Vec<FileInfo> {
    let root = Some(blake3::hash(b"content").into());
    let file = FileInfo { name: "file.bin".to_owned(), size: 7, mtime: Some(1), root };
    if n % 10 == 0 { vec![file] } else { Vec::new() }
}

/// Each has another part of the table.
fn many() -> impl Fn(usize) -> Vec<FileInfo> + Send + 'static {
    let table: Vec<FileInfo> = (0..TABLE)
        .map(|i| {
            let name = file_name(i);
            let root = Some(blake3::hash(name.as_bytes()).into());
            FileInfo { name, size: i as u64, mtime: Some(1), root }
        })
        .collect();
    move |n| (0..TOLD).map(|i| table[(n * 97 + i * 39) % TABLE].clone()).collect()
}

/// A peer that knows the nodes of this registry.
fn searcher(registry: SocketAddr) -> Node {
    // All results are told, and nobody reads them as fast as they come.
    let limits = Limits { console_out_max: 64 << 20, ..Limits::desktop() };
    let mut node = Node::start(&limits, Some(registry));
    node.tell("bootstrap\n");
    node.event("done");
    node
}

fn search(c: &mut Criterion) {
    // Two ways, one question; sessions are kept from one search to the next.
    for (name, start) in [
        ("search/v1", start_nodes as fn(usize) -> SocketAddr),
        ("search/v2", |count| start_crowd(count, few)),
    ] {
        let mut group = c.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat).sample_size(20);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
        for count in [1, 10, 100, 1000] {
            group.throughput(Throughput::Elements(count as u64));
            let mut node = None;
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                let node = node.get_or_insert_with(|| searcher(start(count)));
                b.iter(|| {
                    node.tell("search file.bin\n");
                    node.skip_to("done")
                });
            });
        }
        group.finish();
    }
}

/// The time of so many searches one after another, and the searcher's CPU time: medians.
fn searches(rounds: usize, node: &mut Node) -> (Duration, Duration, usize) {
    let (mut times, mut cpus, mut lines) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        #[allow(clippy::disallowed_methods)] // what it takes in the world
        let (start, before) = (Instant::now(), node.cpu());
        node.tell("search band many\n");
        lines = node.skip_to("done");
        times.push(start.elapsed());
        cpus.push(node.cpu() - before);
    }
    times.sort();
    cpus.sort();
    (times[rounds / 2], cpus[rounds / 2], lines)
}

/// No times to be repeated, since the first search of a node is one: it dials 1,000 nodes and shakes hands with them.
fn crowd(_: &mut Criterion) {
    // `cargo test --benches` only wants to see that it builds and starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let registry = start_crowd(1000, many());
    let nobody = start_crowd(1000, |_| Vec::new());
    let mut first = Vec::new();
    for _ in 0..5 {
        let mut node = searcher(nobody);
        #[allow(clippy::disallowed_methods)] // the same
        let (start, before) = (Instant::now(), node.cpu());
        node.tell("search file.bin\n");
        // Nothing is found, and that is an error.
        node.skip_to("done");
        let (took, cpu) = (start.elapsed(), node.cpu() - before);
        let (again, cpu_again, _) = searches(5, &mut node);
        println!(
            "1,000 nodes, nothing found: first search {took:?} (CPU {cpu:?}), later {again:?} ({cpu_again:?})"
        );
        first.push(cpu.saturating_sub(cpu_again));
    }
    first.sort();
    println!("1,000 dials and handshakes: {:?} of the searcher's CPU, median of 5", first[2]);
    let mut node = searcher(registry);
    let (first, first_cpu, _) = searches(1, &mut node);
    let (took, cpu, lines) = searches(5, &mut node);
    println!(
        "1,000 nodes, {TOLD} files of each, {TABLE} different: first {first:?} (CPU {first_cpu:?}), later {took:?} \
         (CPU {cpu:?}), {lines} lines of JSON"
    );
}

/// Files of the node that is attacked, searches under way at it, and signs of life that are asked for.
const FILES: usize = 100_000;
const ATTACKERS: usize = 32;
const PINGS: usize = 2000;

/// The time of each sign of life, a millisecond of rest after it.
fn pings(node: &Node, title: &str) {
    let mut session = Session::dial(node.port, 1, true);
    let mut times: Vec<Duration> = (0..PINGS)
        .map(|_| {
            #[allow(clippy::disallowed_methods)] // what it takes in the world
            let start = Instant::now();
            session.ping();
            let took = start.elapsed();
            #[allow(clippy::disallowed_methods)] // the same
            thread::sleep(Duration::from_millis(1));
            took
        })
        .collect();
    times.sort();
    let at = |percent: usize| times[(PINGS - 1) * percent / 100];
    println!("a ping {title}: p50 {:?}, p99 {:?}, worst {:?}", at(50), at(99), at(100));
}

/// No times to be repeated: how long others wait while searches with the costliest patterns are under way.
fn attack(_: &mut Criterion) {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let mut node = Node::start_as(&Limits::desktop(), None, |config| fill(&config.folders.shared, FILES));
    node.hashed(FILES);
    pings(&node, "with no search under way");
    for (title, query) in [
        ("15 terms of 30 `?`", format!("-{} ", "?".repeat(30)).repeat(15)),
        ("15 terms of `?` and `*`", format!("-{}b ", "*?".repeat(14)).repeat(15)),
        ("a word", "zebra".to_owned()),
    ] {
        let stop = Arc::new(AtomicBool::new(false));
        let attackers: Vec<_> = (0..ATTACKERS)
            .map(|n| {
                let (mut session, query, stop) =
                    (Session::dial(node.port, 10 + n, true), query.clone(), Arc::clone(&stop));
                #[allow(clippy::disallowed_methods)] // the world of the peer under test
                thread::spawn(move || {
                    let mut answers = 0;
                    while !stop.load(Ordering::Relaxed) {
                        session.search(&query, 256);
                        answers += 1;
                    }
                    answers
                })
            })
            .collect();
        pings(&node, &format!("beside {ATTACKERS} searches of {title} over {FILES} files"));
        stop.store(true, Ordering::Relaxed);
        let answers: usize = attackers.into_iter().map(|thread| thread.join().expect("ends")).sum();
        println!("  {answers} searches were answered meanwhile");
    }
}

criterion_group!(benches, search, crowd, attack);
criterion_main!(benches);
