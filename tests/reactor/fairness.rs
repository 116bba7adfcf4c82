//! Who is small gets through while bulk runs, and bulk runs on.

use crate::toys::{Home, PATIENCE, Running, connect, noise};
use distrishare::config::Limits;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Readers that read for ever, anew at the end of an answer, until they are stopped.
struct Readers {
    total: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Readers {
    fn start(number: usize, addr: SocketAddr, line: &'static [u8]) -> Readers {
        let (total, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let one = |_| {
            let (total, stop) = (Arc::clone(&total), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut buffer = vec![0; 256 << 10];
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = connect(addr);
                    stream.write_all(line).expect("sent");
                    while !stop.load(Ordering::Relaxed) {
                        match stream.read(&mut buffer) {
                            Ok(0) | Err(_) => break,
                            Ok(n) => drop(total.fetch_add(n as u64, Ordering::Relaxed)),
                        }
                    }
                }
            })
        };
        let threads = (0..number).map(one).collect();
        Readers { total, stop, threads }
    }

    fn wait_for(&self, bytes: u64) -> u64 {
        let end = Instant::now() + PATIENCE;
        while self.total.load(Ordering::Relaxed) < bytes {
            assert!(Instant::now() < end, "the readers get nothing");
            std::thread::yield_now();
        }
        self.total.load(Ordering::Relaxed)
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("ends"));
    }
}

#[test]
fn small_requests_are_served_beside_bulk() {
    // hostile: 190
    small_requests_beside(b"GET big.bin\n");
}

#[test]
fn small_requests_are_served_beside_sealed_bulk() {
    // hostile: 190
    small_requests_beside(b"SEAL big.bin\n");
}

fn small_requests_beside(bulk: &'static [u8]) {
    let home = Home::new();
    home.share("big.bin", &noise(64 << 20));
    let server = Running::start(&home, &Limits::desktop());
    let idle: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    let readers = Readers::start(4, server.addr, bulk);
    let before = readers.wait_for(8 << 20);
    let mut took: Vec<Duration> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(server.get("SMALL"), b"small\n");
            begun.elapsed()
        })
        .collect();
    // Bulk goes on beside them and after them.
    let bulk = readers.wait_for(before + 1) - before;
    readers.stop();
    took.sort();
    println!("beside {} MB: p50 {:?}, p99 {:?}, worst {:?}", bulk >> 20, took[100], took[197], took[199]);
    assert!(took[197] < Duration::from_millis(100), "{:?}", took[197]);
    drop(idle);
    server.stop();
}

#[test]
fn a_flood_of_small_requests_does_not_stop_bulk() {
    let home = Home::new();
    let content = noise(32 << 20);
    home.share("big.bin", &content);
    let limits = Limits { turn_bytes: 64 << 10, bulk_quantum: 64 << 10, ..Limits::desktop() };
    let server = Running::start(&home, &limits);
    let flood = Readers::start(4, server.addr, b"SMALL\n");
    flood.wait_for(60);
    assert!(server.get("GET big.bin") == content);
    flood.stop();
    server.stop();
}

#[test]
fn five_thousand_idle_connections_hinder_nobody() {
    let descriptors = distrishare::reactor::raise_descriptor_limit();
    if descriptors < 11_000 {
        println!("SKIPPED: only {descriptors} descriptors are allowed here");
        return;
    }
    let home = Home::new();
    let server = Running::start(&home, &Limits::desktop());
    let idle: Vec<TcpStream> = (0..5000).map(|_| server.connect()).collect();
    assert_eq!(server.get("SMALL"), b"small\n");
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(server.get("SMALL"), b"small\n");
    }
    let each = begun.elapsed() / 50;
    println!("beside 5000 idle connections: {each:?} a request");
    assert!(each < Duration::from_millis(20), "{each:?}");
    drop(idle);
    assert_eq!(server.stop().accepts, 5052);
}
