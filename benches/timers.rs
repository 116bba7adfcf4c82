//! Deadlines that move with every chunk: `Timers` (lazy: a move writes one field) beside an ordered set that is kept
//! right at every move, for 100, 10,000 and 100,000 timers.
#![allow(missing_docs)] // criterion's macros make functions without

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use distrishare::node::timers::Timers;
use distrishare::time::{Duration, Instant};
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

const COUNTS: [u32; 3] = [100, 10_000, 100_000];
/// As the deadline of a transfer's progress.
const AHEAD: Duration = Duration::from_secs(30);
/// Between two moves of any timer.
const STEP: Duration = Duration::from_micros(1);

/// The keys, in an order without a pattern: each is the last times a number that shares no factor with the counts.
fn next(key: u32, count: u32) -> u32 {
    (key + 7919) % count
}

/// What `Timers` would be without laziness.
#[derive(Default)]
struct Eager {
    queue: BTreeMap<(Instant, u32), &'static str>,
    due: HashMap<u32, Instant>,
}

impl Eager {
    fn set(&mut self, key: u32, due: Instant, reason: &'static str) {
        if let Some(old) = self.due.insert(key, due) {
            self.queue.remove(&(old, key));
        }
        self.queue.insert((due, key), reason);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }
}

/// A chunk moved: its timer is put off, and the loop asks how long it may sleep.
fn rearm(c: &mut Criterion) {
    let mut group = c.benchmark_group("timers/rearm");
    group.throughput(Throughput::Elements(1));
    for count in COUNTS {
        group.bench_function(BenchmarkId::new("lazy", count), |b| {
            let (mut timers, mut now, mut key) = (Timers::new(), Instant::ZERO, 0);
            (0..count).for_each(|key| timers.set(key, now + AHEAD, "progress"));
            b.iter(|| {
                now += STEP;
                key = next(key, count);
                timers.set(key, now + AHEAD, "progress");
                black_box(timers.next_deadline())
            });
        });
        group.bench_function(BenchmarkId::new("eager", count), |b| {
            let (mut timers, mut now, mut key) = (Eager::default(), Instant::ZERO, 0);
            (0..count).for_each(|key| timers.set(key, now + AHEAD, "progress"));
            b.iter(|| {
                now += STEP;
                key = next(key, count);
                timers.set(key, now + AHEAD, "progress");
                black_box(timers.next_deadline())
            });
        });
    }
    group.finish();
}

/// A connection comes and goes.
fn set_and_cancel(c: &mut Criterion) {
    let mut group = c.benchmark_group("timers/set and cancel");
    group.throughput(Throughput::Elements(1));
    for count in COUNTS {
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            let mut timers = Timers::new();
            (0..count).for_each(|key| timers.set(key, Instant::from_micros(u64::from(key)), "request"));
            b.iter(|| {
                timers.set(count, Instant::from_micros(50), "request");
                timers.cancel(count);
            });
        });
    }
    group.finish();
}

/// All of them are due at once.
fn pop(c: &mut Criterion) {
    let mut group = c.benchmark_group("timers/pop");
    group.sample_size(20);
    for count in COUNTS {
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            let full = || {
                let mut timers = Timers::new();
                (0..count).for_each(|key| timers.set(key, Instant::from_micros(u64::from(count - key)), "x"));
                timers
            };
            let empty = |mut timers: Timers<u32>| {
                while let Some(due) = timers.pop_due(Instant::from_micros(u64::from(count))) {
                    black_box(due);
                }
            };
            b.iter_batched(full, empty, BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2))
        .sample_size(40)
}

criterion_group! { name = benches; config = settings(); targets = rearm, set_and_cancel, pop }
criterion_main!(benches);
