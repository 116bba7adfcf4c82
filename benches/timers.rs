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
/// As the period of HELLO.
const NEAR: Duration = Duration::from_secs(5);
/// Between two moves of any timer.
const STEP: Duration = Duration::from_micros(1);

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

/// A chunk moved: its timer is put off, and the loop asks how long it may sleep. `near`: some other deadline is nearer
/// than all of these, as a node's next HELLO is; else every timer is the next in its turn, the worst there is for
/// laziness.
fn rearm(c: &mut Criterion) {
    for near in [true, false] {
        let name = if near { "timers/rearm behind a nearer one" } else { "timers/rearm of the nearest" };
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        for count in COUNTS {
            group.bench_function(BenchmarkId::new("lazy", count), |b| {
                let mut timers = Timers::new();
                let mut turns = Turns::new(count, near, |key, due| timers.set(key, due, "progress"));
                b.iter(|| {
                    turns.next(|key, due| timers.set(key, due, "progress"));
                    black_box(timers.next_deadline())
                });
            });
            group.bench_function(BenchmarkId::new("eager", count), |b| {
                let mut timers = Eager::default();
                let mut turns = Turns::new(count, near, |key, due| timers.set(key, due, "progress"));
                b.iter(|| {
                    turns.next(|key, due| timers.set(key, due, "progress"));
                    black_box(timers.next_deadline())
                });
            });
        }
        group.finish();
    }
}

/// Which timer moves next, and where to.
struct Turns {
    now: Instant,
    key: u32,
    count: u32,
    /// When the nearer one is due.
    near: Option<Instant>,
}

impl Turns {
    fn new(count: u32, near: bool, mut set: impl FnMut(u32, Instant)) -> Turns {
        (0..count).for_each(|key| set(key, Instant::ZERO + AHEAD));
        Turns { now: Instant::ZERO, key: 0, count, near: near.then_some(Instant::ZERO) }
    }

    fn next(&mut self, mut set: impl FnMut(u32, Instant)) {
        self.now += STEP;
        if self.near.is_some_and(|at| at <= self.now) {
            let at = self.now + NEAR;
            self.near = Some(at);
            set(self.count, at);
        }
        // An order without a pattern: the number shares no factor with the counts.
        self.key = (self.key + 7919) % self.count;
        set(self.key, self.now + AHEAD);
    }
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
        .measurement_time(std::time::Duration::from_millis(1500))
        .sample_size(30)
}

criterion_group! { name = benches; config = settings(); targets = rearm, set_and_cancel, pop }
criterion_main!(benches);
