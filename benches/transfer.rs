//! A download from file to file over the loopback: two nodes with real reactors on a thread each, files in memory. The
//! time runs from the line typed to the event that says the file is saved under its name.
//!
//! In v1; and in v2, sealed and verified, where the session stands already, as it does for the second file of a node.
#![allow(missing_docs)] // criterion's macros make functions without

// A bench reads clocks.
#![allow(clippy::disallowed_methods)]

#[path = "support/mod.rs"]
mod support;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use distrishare::config::{Crypto, Key, Limits};
use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};
use support::{Node, noise};

/// How the two speak.
#[derive(Clone, Copy)]
enum Way {
    V1,
    Aes,
    ChaCha,
}

const WAYS: [(&str, Way); 3] = [("v1", Way::V1), ("v2 AES", Way::Aes), ("v2 ChaCha20", Way::ChaCha)];

/// Two nodes: one that has a file, one that fetches it.
struct Pair {
    from: Node,
    to: Node,
}

impl Pair {
    fn new(way: Way, limits: &Limits, content: &[u8]) -> Pair {
        let from = Node::start_as(limits, None, |config| {
            fs::create_dir_all(&config.folders.shared).expect("made");
            fs::write(config.folders.shared.join("file.bin"), content).expect("written");
            match way {
                // To an open node it is an old one, which it is found to be once.
                Way::V1 => config.group = Some(Key::new([7; 32])),
                Way::Aes => {}
                Way::ChaCha => config.crypto = Crypto::Real { aes: false },
            }
        });
        let mut pair = Pair { from, to: Node::start(limits, None) };
        pair.from.hashed(1);
        pair.fetch(1);
        pair
    }

    /// The file, so many times at once. What was fetched is removed outside the time measured.
    fn fetch(&mut self, times: usize) -> Duration {
        let mut lines = String::new();
        for _ in 0..times {
            // With one alone the script itself waits for it.
            let mark = if times > 1 { " &" } else { "" };
            writeln!(lines, "get 127.0.0.1 {} file.bin{mark}", self.from.port).expect("a string");
        }
        let start = Instant::now();
        self.to.tell(&lines);
        for _ in 0..times {
            self.to.event("downloaded");
        }
        let took = start.elapsed();
        self.to.forget_downloads();
        took
    }
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    (way, limits): (Way, &Limits),
    (len, times): (usize, usize),
) {
    group.throughput(Throughput::Bytes((len * times) as u64));
    let content = noise(len);
    let mut pair = None;
    group.bench_function(id, |b| {
        let pair = pair.get_or_insert_with(|| Pair::new(way, limits, &content));
        b.iter_custom(|rounds| (0..rounds).map(|_| pair.fetch(times)).sum());
    });
}

fn settings<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(4));
    group
}

/// How long the whole of a download takes, by its size.
fn sizes(c: &mut Criterion) {
    for kib in [4, 64, 1024, 16 << 10, 256 << 10] {
        let mut group = settings(c, &format!("transfer/{kib} KiB"));
        for (name, way) in WAYS {
            let id = BenchmarkId::from_parameter(name);
            measure(&mut group, id, (way, &Limits::desktop()), (kib << 10, 1));
        }
        group.finish();
    }
}

/// The unit of I/O at both ends: chunks a system call; in v2 chunks a record.
fn runs(c: &mut Criterion) {
    let mut group = settings(c, "transfer/run");
    for chunks in [1, 4, 16, 64] {
        let limits = Limits { run_chunks: chunks, send_chunks: chunks, ..Limits::desktop() };
        let id = BenchmarkId::from_parameter(format!("v1, {chunks} chunks"));
        measure(&mut group, id, (Way::V1, &limits), (64 << 20, 1));
    }
    for chunks in [1, 4, 16] {
        let limits = Limits { record_chunks: chunks, ..Limits::desktop() };
        let id = BenchmarkId::from_parameter(format!("v2 AES, {chunks} chunks"));
        measure(&mut group, id, (Way::Aes, &limits), (64 << 20, 1));
    }
    group.finish();
}

/// The same bytes as one file and as 32 at once.
fn parallel(c: &mut Criterion) {
    for times in [1, 32] {
        let mut group = settings(c, &format!("transfer/parallel {times}"));
        for (name, way) in WAYS {
            let id = BenchmarkId::from_parameter(name);
            measure(&mut group, id, (way, &Limits::desktop()), ((128 << 20) / times, times));
        }
        group.finish();
    }
}

criterion_group!(benches, sizes, runs, parallel);
criterion_main!(benches);
