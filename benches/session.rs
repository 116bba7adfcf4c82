//! What a session costs: a handshake at both sides, and records sealed and opened, with both suites and without one.
#![allow(missing_docs)] // criterion's macros make functions without

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use distrishare::config::{CHUNK, Crypto, Key};
use distrishare::proto::entropy::Entropy;
use distrishare::proto::v2::handshake::{Abilities, Handshake, Role};
use distrishare::proto::v2::identity::Identity;
use distrishare::proto::v2::record::{HEAD, Opener, PLAIN_EXTRA, Sealer, Suite, TAG};
use std::hint::black_box;

const ABILITIES: Abilities = Abilities { versions: (1, 1), aes: true, run: 16, port: 9000 };

struct Side {
    role: Role,
    identity: Identity,
    entropy: Entropy,
}

impl Side {
    fn new(role: Role, seed: u8) -> Side {
        let mut entropy = Entropy::new(&Key::new([seed; 32]));
        Side { role, identity: Identity::generate(&mut entropy), entropy }
    }

    fn handshake(&mut self, crypto: Crypto, group: Option<&Key>) -> Handshake {
        Handshake::new(self.role, crypto, &self.identity, group, ABILITIES, &mut self.entropy)
    }
}

/// Both sides from nothing to a session; the bytes of the three flights.
fn meet(a: &mut Side, b: &mut Side, crypto: Crypto, group: Option<&Key>) -> [usize; 3] {
    let (mut initiator, mut responder) = (a.handshake(crypto, group), b.handshake(crypto, group));
    let first = initiator.outgoing();
    responder.push(&first).expect("the first flight");
    let second = responder.outgoing();
    let one = initiator.push(&second).expect("the second flight");
    let third = initiator.outgoing();
    let other = responder.push(&third).expect("the third flight");
    assert!(black_box(one).done.is_some() && black_box(other).done.is_some());
    [first.len(), second.len(), third.len()]
}

fn handshakes(c: &mut Criterion) {
    let key = Key::new([7; 32]);
    let real = Crypto::Real { aes: true };
    let mut group = c.benchmark_group("session/handshake, both sides");
    for (name, crypto, psk) in
        [("XX", real, None), ("XXpsk0", real, Some(&key)), ("null", Crypto::Null, None)]
    {
        let (mut a, mut b) = (Side::new(Role::Initiator, 1), Side::new(Role::Responder, 2));
        let flights = meet(&mut a, &mut b, crypto, psk);
        let all: usize = flights.iter().sum();
        println!("{name}: {all} bytes on the wire, flights of {flights:?}");
        group.bench_function(name, |bench| bench.iter(|| meet(&mut a, &mut b, crypto, psk)));
    }
    let stranger = Side::new(Role::Initiator, 3).handshake(real, None).outgoing();
    let mut member = Side::new(Role::Responder, 4);
    group.bench_function("a stranger refused", |bench| {
        bench.iter(|| member.handshake(real, Some(&key)).push(black_box(&stranger)).is_err());
    });
    group.finish();
}

fn records(c: &mut Criterion) {
    for chunks in [1, 16] {
        let plain = chunks * CHUNK + PLAIN_EXTRA;
        let mut record = vec![0x5A; HEAD + plain + TAG];
        let per_second = [
            ("GB a second", Throughput::BytesDecimal(plain as u64)),
            ("records a second", Throughput::Elements(1)),
        ];
        for (unit, throughput) in per_second {
            let mut group = c.benchmark_group(format!("session/seal and open, {chunks} chunks, {unit}"));
            group.throughput(throughput);
            for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305, Suite::Null] {
                let key = Key::new([9; 32]);
                let mut seal = Sealer::new(suite, &key, 16).expect("a sealer");
                let mut open = Opener::new(suite, &key, 16).expect("an opener");
                group.bench_function(BenchmarkId::from_parameter(suite), |bench| {
                    bench.iter(|| {
                        seal.seal(&mut record).expect("sealed");
                        open.open(black_box(&mut record)).expect("opened")
                    });
                });
            }
            group.finish();
        }
    }
}

fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1))
        .sample_size(40)
}

criterion_group! {
    name = benches; config = settings(); targets = handshakes, records
}
criterion_main!(benches);
