//! Whatever is called in whatever order, nothing comes apart.

use super::*;
use crate::time::Duration;
use fastrand::Rng;

const SMALL: Bounds = Bounds { block: 512 * KIB, per_source: 2 * MIB, total: 5 * MIB };

#[test]
fn nothing_comes_apart_whatever_is_called() {
    let size = 9 * PIECE + 5000;
    let zeros = Zeros::new(size);
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let mut swarm = Swarm::new(size, SMALL, seed);
        let mut now = Instant::ZERO;
        let mut last = Block { piece: 0, offset: 0, len: 4096 };
        for _ in 0..300 {
            now += Duration::from_millis(rng.u64(..1500));
            one(&mut swarm, &mut rng, now, &mut last, &zeros);
            swarm.check();
            let asked: u64 = swarm.sources.values().map(|source| source.asked).sum();
            assert!(asked <= SMALL.total, "seed {seed}: {asked} bytes under way");
        }
        finish(&mut swarm, now, &zeros);
    }
}

fn one(swarm: &mut Swarm, rng: &mut Rng, now: Instant, last: &mut Block, zeros: &Zeros) {
    let no = SourceNo(rng.u32(..6));
    let piece = rng.u64(..11);
    match rng.u32(..25) {
        0 => drop(swarm.join(now)),
        24 => swarm.stands(no, rng.bool()),
        1 if rng.bool() => swarm.leave(now, no),
        2 => swarm.has_all(no),
        3 => swarm.has_pieces(no, rng.u64(..2), &[rng.u8(..), rng.u8(..)]),
        4 => swarm.has_piece(no, piece),
        5 => swarm.put_back(now, no, last),
        6 => swarm.lacks(now, no, piece),
        7 => swarm.put(piece),
        8 => swarm.doubt(piece),
        9 | 10 => swarm.lose(piece),
        11 => swarm.late(now).into_iter().for_each(|no| assert_eq!(swarm.asked(no), 0)),
        12 => drop(swarm.stream(now, no, piece)),
        13 => swarm.stored(piece),
        14..=17 => {
            if let Some(step) = swarm.next(now, no, rng.u64(..2 * MIB)) {
                let block = step.block;
                assert!(block.len > 0 && block.offset / PIECE == block.piece, "{block:?}");
                *last = block;
            }
        }
        _ => {
            let Some(source) = swarm.sources.get(&no) else { return };
            let Some(flight) = source.flights.first() else { return };
            let (piece, got, rest) = (flight.piece, flight.got, flight.rest());
            let len = rest.min(rng.u64(1..=64) * 4096);
            let bytes = vec![u8::from(rng.u32(..20) == 0); len as usize];
            let came = swarm.data(now, no, piece * PIECE + got, &bytes, &zeros.expected(piece));
            if let (Came::Right(piece), true) = (came, rng.bool()) {
                swarm.stored(piece);
            }
        }
    }
}

/// A good source ends it, whatever was before.
fn finish(swarm: &mut Swarm, mut now: Instant, zeros: &Zeros) {
    let old: Vec<SourceNo> = swarm.sources.keys().copied().collect();
    old.into_iter().for_each(|no| swarm.leave(now, no));
    for piece in 0..10 {
        swarm.stored(piece);
        if swarm.pieces.state(piece) == Some(State::Doubted) {
            swarm.lose(piece);
        }
    }
    let no = swarm.join(now);
    swarm.has_all(no);
    while !swarm.is_complete() {
        now += Duration::from_millis(1);
        let block = swarm.next(now, no, u64::MAX).expect("something to ask for").block;
        let bytes = &ZEROS[..block.len as usize];
        if let Came::Right(piece) = swarm.data(now, no, block.offset, bytes, &zeros.expected(block.piece)) {
            swarm.stored(piece);
        }
    }
    swarm.check();
}
