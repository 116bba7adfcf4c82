//! What a session costs: a handshake at both sides, and records sealed and opened, with both suites and without one.
#![allow(missing_docs)] // criterion's macros make functions without

// A bench reads clocks.
#![allow(clippy::disallowed_methods)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use distrishare::config::{CHUNK, Crypto, Key};
use distrishare::proto::entropy::Entropy;
use distrishare::proto::v2::handshake::{Abilities, Handshake, Role};
use distrishare::proto::v2::identity::Identity;
use distrishare::proto::v2::message::DATA_HEAD;
use distrishare::proto::v2::record::{HEAD, Opener, Sealer, Suite, TAG};
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::hint::black_box;
use std::time::{Duration, Instant};

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

/// One suite's ends, and what ring makes of the same bytes with nothing of ours around it.
struct Ends {
    seal: Sealer,
    open: Opener,
    ring: Option<LessSafeKey>,
}

impl Ends {
    fn new(suite: Suite) -> Ends {
        let key = Key::new([9; 32]);
        let algorithm = match suite {
            Suite::Aes256Gcm => Some(&AES_256_GCM),
            Suite::ChaCha20Poly1305 => Some(&CHACHA20_POLY1305),
            Suite::Null => None,
        };
        Ends {
            seal: Sealer::new(suite, &key, 16).expect("a sealer"),
            open: Opener::new(suite, &key, 16).expect("an opener"),
            ring: algorithm
                .map(|algorithm| LessSafeKey::new(UnboundKey::new(algorithm, key.reveal()).expect("a key"))),
        }
    }

    /// Seals and opens so many records; the time that each of both took. Both on the same bytes, so that neither works
    /// on memory that the other does not.
    fn ours(&mut self, record: &mut [u8], rounds: u64) -> (Duration, Duration) {
        let (mut sealing, mut opening) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let start = Instant::now();
            self.seal.seal(black_box(&mut *record)).expect("sealed");
            let between = Instant::now();
            self.open.open(black_box(&mut *record)).expect("opened");
            sealing.push(between - start);
            opening.push(between.elapsed());
        }
        (sum_of_medians(&mut sealing), sum_of_medians(&mut opening))
    }

    /// The same of ring alone.
    fn alone(&self, record: &mut [u8], rounds: u64) -> (Duration, Duration) {
        let Some(key) = &self.ring else { return Default::default() };
        let (head, rest) = record.split_at_mut(HEAD);
        let plain = rest.len() - TAG;
        let nonce = || Nonce::assume_unique_for_key([3; 12]);
        let (mut sealing, mut opening) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let start = Instant::now();
            let body = &mut black_box(&mut *rest)[..plain];
            let tag = key.seal_in_place_separate_tag(nonce(), Aad::from(&*head), body).expect("sealed");
            rest[plain..].copy_from_slice(tag.as_ref());
            let between = Instant::now();
            key.open_in_place(nonce(), Aad::from(&*head), black_box(&mut *rest)).expect("opened");
            sealing.push(between - start);
            opening.push(between.elapsed());
        }
        (sum_of_medians(&mut sealing), sum_of_medians(&mut opening))
    }
}

/// As if each had taken as long as the one in the middle: a few of them wait for a core that others use, and a mean of
/// those says nothing about ciphers.
fn sum_of_medians(times: &mut [Duration]) -> Duration {
    let (count, middle) = (u32::try_from(times.len()).unwrap_or(u32::MAX), times.len() / 2);
    *times.select_nth_unstable(middle).1 * count
}

/// A record as it lies for the reactor: its content begins on a page.
fn on_a_page(memory: &mut [u8], len: usize) -> &mut [u8] {
    let front = HEAD + DATA_HEAD;
    let page = memory.as_ptr().align_offset(CHUNK);
    let start = page + CHUNK - front;
    &mut memory[start..start + len]
}

fn records(c: &mut Criterion) {
    for chunks in [1, 16] {
        let plain = chunks * CHUNK + DATA_HEAD;
        let mut memory = vec![0x5A; HEAD + plain + TAG + 3 * CHUNK];
        let record = on_a_page(&mut memory, HEAD + plain + TAG);
        for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305, Suite::Null] {
            let mut ends = Ends::new(suite);
            let mut group = c.benchmark_group(format!("session/{chunks} chunks, {suite}"));
            group.throughput(Throughput::BytesDecimal(plain as u64));
            group.bench_function("seal", |b| b.iter_custom(|n| ends.ours(record, n).0));
            group.bench_function("open", |b| b.iter_custom(|n| ends.ours(record, n).1));
            if ends.ring.is_some() {
                group.bench_function("seal, ring alone", |b| b.iter_custom(|n| ends.alone(record, n).0));
                group.bench_function("open, ring alone", |b| b.iter_custom(|n| ends.alone(record, n).1));
            }
            group.throughput(Throughput::Elements(1));
            group.bench_function("seal and open, records a second", |b| {
                b.iter_custom(|n| {
                    let (sealing, opening) = ends.ours(record, n);
                    sealing + opening
                });
            });
            group.finish();
        }
    }
}

fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

criterion_group! {
    name = benches; config = settings(); targets = handshakes, records
}
criterion_main!(benches);
