//! Bytes to messages and back: requests, answers, announcements, the registry's lists. The scanner gets its request
//! whole, in single bytes, and as the longest one that it refuses.
#![allow(missing_docs)] // criterion's macros make functions without

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use distrishare::config::{Secret, V1_DEFAULT_SECRET};
use distrishare::proto::announce::{self, Announce};
use distrishare::proto::json::{ObjectScanner, REQUEST_MAX, Scan};
use distrishare::proto::name::check_name;
use distrishare::proto::registry;
use distrishare::proto::v1::{self, Request};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

const NAME: &str = "music/live at the old mill/03 a song of \u{1F41F} and \"quotes\".flac";

fn requests(c: &mut Criterion) {
    let secret = Secret::new(V1_DEFAULT_SECRET);
    let request = Request::Download { name: NAME.to_owned() };
    let bytes = v1::encode_request(&request, &secret);
    let mut group = c.benchmark_group("codec/request");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode", |b| b.iter(|| v1::encode_request(black_box(&request), &secret)));
    group.bench_function("parse", |b| b.iter(|| v1::parse_request(black_box(&bytes), &secret)));
    group.bench_function("check name", |b| b.iter(|| check_name(black_box(NAME))));
    group.finish();
}

fn scanner(c: &mut Criterion) {
    let bytes =
        v1::encode_request(&Request::Search { name: NAME.to_owned() }, &Secret::new(V1_DEFAULT_SECRET));
    let endless = [b"{\"type\":\"".as_slice(), &vec![b'x'; REQUEST_MAX]].concat();
    let mut group = c.benchmark_group("codec/scanner");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("whole", |b| {
        b.iter(|| {
            let mut scanner = ObjectScanner::new(REQUEST_MAX);
            assert!(matches!(scanner.push(black_box(&bytes)), Scan::Complete));
            scanner
        });
    });
    group.bench_function("one byte a segment", |b| {
        b.iter(|| {
            let mut scanner = ObjectScanner::new(REQUEST_MAX);
            for byte in black_box(&bytes).chunks(1) {
                if !matches!(scanner.push(byte), Scan::More) {
                    break;
                }
            }
            scanner
        });
    });
    group.throughput(Throughput::Bytes(endless.len() as u64));
    group.bench_function("endless, one byte a segment", |b| {
        b.iter(|| {
            let mut scanner = ObjectScanner::new(REQUEST_MAX);
            for byte in black_box(&endless).chunks(1) {
                if !matches!(scanner.push(byte), Scan::More) {
                    break;
                }
            }
            scanner
        });
    });
    group.finish();
}

fn answers(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/answer");
    group.bench_function("search", |b| b.iter(|| v1::parse_search_answer(black_box(b"NOT_FOUND"))));
    let chunk = vec![b'a'; 4096];
    group.bench_function("download head", |b| b.iter(|| v1::download_head(black_box(&chunk), true)));
    group.finish();
}

fn announcements(c: &mut Criterion) {
    let hello = b"HELLO:192.168.1.42:9000";
    let parsed = announce::parse(hello).expect("a HELLO");
    assert!(matches!(parsed, Announce::Hello(_)));
    let mut group = c.benchmark_group("codec/announce");
    group.bench_function("encode", |b| b.iter(|| announce::encode(black_box(&parsed))));
    group.bench_function("parse", |b| b.iter(|| announce::parse(black_box(hello))));
    group.finish();
}

fn registries(c: &mut Criterion) {
    let node = |n: u32| SocketAddr::from((Ipv4Addr::from(0xc0a8_0000 + n), 9000));
    let nodes: Vec<SocketAddr> = (1..=1000).map(node).collect();
    let (reply, _) = registry::encode_reply(&nodes, 64 << 10);
    let register = registry::encode_register(node(1).ip(), 9000);
    let mut group = c.benchmark_group("codec/registry");
    group.bench_function("register encode", |b| b.iter(|| registry::encode_register(node(1).ip(), 9000)));
    group.bench_function("register parse", |b| {
        b.iter(|| registry::parse_register(black_box(&register), false));
    });
    group.bench_function("reply of one segment", |b| {
        b.iter(|| registry::encode_reply(black_box(&nodes), 1400));
    });
    group.throughput(Throughput::Elements(1000));
    group.bench_function("parse 1000 nodes", |b| b.iter(|| registry::parse_answer(black_box(&reply))));
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1))
        .sample_size(40)
}

criterion_group! {
    name = benches; config = settings(); targets = requests, scanner, answers, announcements, registries
}
criterion_main!(benches);
