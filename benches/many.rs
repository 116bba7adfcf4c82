//! What many connections cost: memory of silent ones and of stalled downloads, and how long a small question takes beside
//! a hundred downloads. Prints a few lines; no criterion, since nothing here is a time to be repeated.

// A bench reads clocks, uses threads and sees its arguments.
#![allow(clippy::disallowed_methods)]

#[path = "support/mod.rs"]
mod support;

use distrishare::config::{EarlyDrop, Limits, Secret, V1_DEFAULT_SECRET};
use distrishare::proto::v1::{FOUND, Request, encode_request};
use distrishare::reactor::raise_descriptor_limit;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{Node, noise};

const SILENT: usize = 5000;
const STALLED: usize = 200;
const BULK: usize = 100;
const QUESTIONS: usize = 500;

fn main() {
    // `cargo test --benches` only wants to see that it builds and starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    raise_descriptor_limit();
    stalled();
    silent();
    for (name, quantum) in [("256 KiB", 256 << 10), ("1 MiB", 1 << 20), ("none", usize::MAX)] {
        let limits = Limits { bulk_quantum: quantum, ..patient() };
        beside_bulk(&format!("polls after {name}"), &limits);
    }
}

/// Limits that let everybody in and wait for them.
fn patient() -> Limits {
    let all = 20_000;
    Limits {
        conns: all,
        unauth: EarlyDrop { start: all, rate: 0, full: all },
        request_deadline: Duration::from_secs(600),
        drain_interval: Duration::from_secs(600),
        ..Limits::desktop()
    }
}

/// Memory of this process in KiB. The clients' sockets live in it, but hold no memory of the process's own.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn connect(node: &Node) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, node.port)).expect("connects")
}

fn ask(node: &Node, request: &Request) -> TcpStream {
    let mut stream = connect(node);
    stream.write_all(&encode_request(request, &Secret::new(V1_DEFAULT_SECRET))).expect("sent");
    stream
}

fn download(node: &Node) -> TcpStream {
    ask(node, &Request::Download { name: "file.bin".to_owned() })
}

/// The time from dial to answer.
fn search(node: &Node) -> Duration {
    let start = Instant::now();
    let mut answer = String::new();
    ask(node, &Request::Search { name: "file.bin".to_owned() })
        .read_to_string(&mut answer)
        .expect("answered");
    assert_eq!(answer, FOUND);
    start.elapsed()
}

fn percentiles(mut took: Vec<Duration>) -> String {
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    format!("p50 {:?}, p99 {:?}, worst {:?}", at(50), at(99), at(100))
}

fn silent() {
    let node = Node::start(&patient(), None);
    node.share("file.bin", b"content");
    search(&node);
    let before = resident();
    let held: Vec<TcpStream> = (0..SILENT).map(|_| connect(&node)).collect();
    let took = (0..QUESTIONS).map(|_| search(&node)).collect();
    let each = (resident() - before) * 1024 / SILENT as u64;
    println!("{SILENT} silent connections: {each} bytes each; a search beside them: {}", percentiles(took));
    drop(held);
}

fn stalled() {
    let node = Node::start(&patient(), None);
    node.share("file.bin", &noise(16 << 20));
    search(&node);
    let before = resident();
    let held: Vec<TcpStream> = (0..STALLED).map(|_| download(&node)).collect();
    thread::sleep(Duration::from_secs(2));
    let each = (resident() - before) * 1024 / STALLED as u64;
    println!("{STALLED} stalled downloads: {each} bytes each");
    drop(held);
}

fn beside_bulk(name: &str, limits: &Limits) {
    let node = Node::start(limits, None);
    node.share("file.bin", &noise(64 << 20));
    let stop = Arc::new(AtomicBool::new(false));
    let total = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..BULK)
        .map(|_| {
            let (stop, total, port) = (Arc::clone(&stop), Arc::clone(&total), node.port);
            thread::spawn(move || read_on(port, &stop, &total))
        })
        .collect();
    thread::sleep(Duration::from_secs(1));
    let (start, before) = (Instant::now(), total.load(Ordering::Relaxed));
    let took = (0..QUESTIONS)
        .map(|_| {
            thread::sleep(Duration::from_millis(2));
            search(&node)
        })
        .collect();
    let rate = (total.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("a search beside {BULK} downloads, {name}: {}; bulk {rate:.0} MB/s", percentiles(took));
    stop.store(true, Ordering::Relaxed);
    drop(node);
    for reader in readers {
        reader.join().expect("ends");
    }
}

/// Downloads the file again and again and throws it away.
fn read_on(port: u16, stop: &AtomicBool, total: &AtomicU64) {
    let request =
        encode_request(&Request::Download { name: "file.bin".to_owned() }, &Secret::new(V1_DEFAULT_SECRET));
    let mut buffer = vec![0; 64 << 10];
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
        if stream.write_all(&request).is_err() {
            return;
        }
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            total.fetch_add(n as u64, Ordering::Relaxed);
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}
