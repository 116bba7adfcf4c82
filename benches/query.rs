//! A node looking through 100,000 files for one query: time per file, by the kind of term. Most files are no answer, as in
//! earnest. Also what folding a name costs, once per file when it is indexed.
#![allow(missing_docs)] // criterion's macros make functions without

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use distrishare::proto::fold::fold;
use distrishare::proto::query::{Candidate, Query};
use std::hint::black_box;

const FILES: u64 = 100_000;

/// Path, folded path, size, root.
type File = (String, String, u64, [u8; 32]);

/// A music collection, photographs, and papers; one name in ten is not ASCII.
fn files() -> Vec<File> {
    let file = |n: u64| {
        let name = match n % 10 {
            0 => format!("Música/Año {}/Canción número {n}.flac", 1990 + n % 30),
            1..=3 => format!("music/artist {}/album {}/{:02} track {n}.mp3", n % 97, n % 11, n % 20),
            4..=7 => format!("photos/20{:02}/IMG_{n:06}.JPG", n % 25),
            _ => format!("papers/{}/Report of the year {} ({n}).pdf", n % 13, 2000 + n % 25),
        };
        let folded = fold(&name).into_owned();
        (name, folded, n * 997 % 50_000_000, root(n))
    };
    (0..FILES).map(file).collect()
}

/// Bytes that differ early, as those of hashes do.
fn root(n: u64) -> [u8; 32] {
    let mut root = [7; 32];
    root[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    root
}

fn matching(c: &mut Criterion) {
    let files = files();
    let mut group = c.benchmark_group("query");
    group.throughput(Throughput::Elements(FILES)).sample_size(20);
    for (title, text) in [
        ("a word nowhere", "zebra"),
        ("a word everywhere", "a"),
        ("two words", "report 2007"),
        ("a word with accents", "canción"),
        ("exact name", "\"IMG_000044.JPG\""),
        ("pattern of an ending", "*.flac"),
        ("pattern of a middle", "*track*77*"),
        ("pattern of a path", "music/**/*9.mp3"),
        ("extension", "ext:pdf,epub"),
        ("size and word", "size>10M report"),
        ("root", "root:0123456789abcdef"),
        ("exclusions", "year -2007 -*.mp3"),
    ] {
        let query = Query::parse(text).expect("a query");
        group.bench_function(title, |b| {
            b.iter(|| {
                let answers = files.iter().filter(|(name, folded, size, root)| {
                    let file = Candidate { name, folded, size: *size, root: Some(root) };
                    black_box(&query).matches(&file).is_some()
                });
                answers.count()
            });
        });
    }
    group.bench_function("fold", |b| {
        b.iter(|| files.iter().map(|(name, ..)| fold(black_box(name)).len()).sum::<usize>());
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("parse", |b| b.iter(|| Query::parse(black_box("size>10M \"a b\" *.c -x ext:pdf"))));
    group.finish();
}

criterion_group!(benches, matching);
criterion_main!(benches);
