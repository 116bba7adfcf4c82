//! A v1 download from file to file over the loopback: two nodes with real reactors on a thread each, files in memory.
//! The time runs from the line typed to the event that says the file is saved under its name.
#![allow(missing_docs)] // criterion's macros make functions without

// A bench reads clocks.
#![allow(clippy::disallowed_methods)]

#[path = "support/mod.rs"]
mod support;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use distrishare::config::Limits;
use std::fmt::Write;
use std::time::{Duration, Instant};
use support::{Node, noise};

/// Two nodes: one that has a file, one that fetches it.
struct Pair {
    from: Node,
    to: Node,
}

impl Pair {
    fn new(limits: &Limits, content: &[u8]) -> Pair {
        let pair = Pair { from: Node::start(limits, None), to: Node::start(limits, None) };
        pair.from.share("file.bin", content);
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
    limits: &Limits,
    len: usize,
    times: usize,
) {
    group.throughput(Throughput::Bytes((len * times) as u64));
    let content = noise(len);
    let mut pair = None;
    group.bench_function(id, |b| {
        let pair = pair.get_or_insert_with(|| Pair::new(limits, &content));
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
    let mut group = settings(c, "transfer/size");
    for kib in [4, 64, 1024, 16 << 10, 256 << 10] {
        let id = BenchmarkId::from_parameter(format!("{kib} KiB"));
        measure(&mut group, id, &Limits::desktop(), kib << 10, 1);
    }
    group.finish();
}

/// The unit of I/O at both ends: chunks a system call.
fn runs(c: &mut Criterion) {
    let mut group = settings(c, "transfer/run");
    for chunks in [1, 4, 16, 64] {
        let limits = Limits { run_chunks: chunks, send_chunks: chunks, ..Limits::desktop() };
        measure(&mut group, BenchmarkId::from_parameter(format!("{chunks} chunks")), &limits, 64 << 20, 1);
    }
    group.finish();
}

/// The same bytes as one file and as 32 at once.
fn parallel(c: &mut Criterion) {
    let mut group = settings(c, "transfer/parallel");
    for times in [1, 32] {
        let len = (128 << 20) / times;
        measure(&mut group, BenchmarkId::from_parameter(times), &Limits::desktop(), len, times);
    }
    group.finish();
}

criterion_group!(benches, sizes, runs, parallel);
criterion_main!(benches);
