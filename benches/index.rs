//! The share index by itself: how fast it hashes a file that is handed to it in runs of 256 KiB, beside BLAKE3 alone, and
//! how fast it searches 100,000 files, how long its longest slice is, and how fast a listing is taken in.
#![allow(missing_docs)] // criterion's macros make functions without

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use distrishare::config::Limits;
use distrishare::machine::{Entry, Fault, LeftOut, ListEnd, Meta};
use distrishare::node::index::{Ask, Cursor, Index, Log};
use distrishare::proto::query::Query;
use distrishare::time::Instant;
use std::hint::black_box;

/// As a run of the desktop's limits.
const SLICE: usize = 256 << 10;
const FILE: u64 = 256 << 20;
const FILES: u64 = 100_000;
/// Steps that a node takes before it does something else.
const BUDGET: usize = 32_768;

/// An index without a log that was told of these files.
fn index(files: impl Iterator<Item = Entry>) -> Index {
    let (mut index, now) = (Index::new(&Limits::desktop()), Instant::ZERO);
    index.start(now);
    index.log_failed(now, Log::Kept, Fault::Denied, true);
    let files: Vec<Entry> = files.collect();
    for part in files.chunks(256) {
        index.listed(now, part, &ListEnd::More);
    }
    index.listed(now, &[], &ListEnd::Done(LeftOut::default()));
    index
}

/// Hashes the one file that it was told of.
fn hash(index: &mut Index, meta: Meta, bytes: &[u8]) {
    let now = Instant::ZERO;
    while index.progress().hashed_files == 0 {
        match index.poll_output() {
            Some(Ask::Open { .. }) => index.opened(now, meta),
            Some(Ask::Read { offset, len }) => index.read(now, offset, &bytes[..len], meta),
            Some(_) => {}
            None => panic!("it asks for nothing"),
        }
    }
}

fn hashing(c: &mut Criterion) {
    let mut group = c.benchmark_group("index/hash 256 MiB");
    group.sample_size(10).throughput(Throughput::Bytes(FILE));
    let meta = Meta { size: FILE, mtime: 1, device: 1, inode: 1, ..Meta::default() };
    let bytes: Vec<u8> = (0..SLICE).map(|i| (i * 31) as u8).collect();
    group.bench_function("through the index", |b| {
        b.iter(|| {
            let mut index = index([Entry { name: "a".to_owned(), meta }].into_iter());
            hash(&mut index, meta, &bytes);
            black_box(index.get("a").and_then(|file| file.root))
        });
    });
    group.bench_function("BLAKE3 alone", |b| {
        b.iter(|| {
            let mut hasher = blake3::Hasher::new();
            for _ in 0..FILE / SLICE as u64 {
                hasher.update(&bytes);
            }
            black_box(hasher.finalize())
        });
    });
    group.finish();
}

fn file(i: u64) -> Entry {
    let meta = Meta { size: i * 1000, mtime: 1, device: 1, inode: i, ..Meta::default() };
    Entry { name: format!("Albums/Band {:03}/Song {i:06} of Many.ogg", i % 500), meta }
}

fn searching(c: &mut Criterion) {
    let mut group = c.benchmark_group("index/search 100,000 files");
    group.throughput(Throughput::Elements(FILES));
    let index = index((0..FILES).map(file));
    for text in ["song 099999", "band many -song", "ext:ogg size>99M", "Song*77?of*", "nothing of the kind"] {
        let query = Query::parse(text).expect("a query");
        group.bench_function(format!("`{text}`, all"), |b| {
            b.iter(|| {
                let (mut cursor, mut found) = (Cursor::default(), Vec::new());
                while !index.search_slice(&query, &mut cursor, BUDGET, &mut found) {}
                black_box(found.len())
            });
        });
    }
    let query = Query::parse("band many -song").expect("a query");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one slice", |b| {
        b.iter(|| {
            let mut found = Vec::new();
            index.search_slice(&query, &mut Cursor::default(), BUDGET, &mut found);
            black_box(found.len())
        });
    });
    group.finish();
}

fn listing(c: &mut Criterion) {
    let mut group = c.benchmark_group("index/listing of 100,000 files");
    group.sample_size(10).throughput(Throughput::Elements(FILES));
    let files: Vec<Entry> = (0..FILES).map(file).collect();
    group.bench_function("all new", |b| b.iter(|| black_box(index(files.iter().cloned()))));
    group.finish();
}

criterion_group!(benches, hashing, searching, listing);
criterion_main!(benches);
