//! The rules one by one.

use super::*;
use crate::time::Duration;

const BLOCK: u64 = 256 * KIB;

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

struct Fetch {
    swarm: Swarm,
    zeros: Zeros,
}

impl Fetch {
    fn new(size: u64) -> Fetch {
        Fetch { swarm: Swarm::new(size, WIDE, 1), zeros: Zeros::new(size) }
    }

    fn full(&mut self) -> SourceNo {
        let no = self.swarm.join(at(0));
        self.swarm.has_all(no);
        no
    }

    fn partly(&mut self, map: &[u8]) -> SourceNo {
        let no = self.swarm.join(at(0));
        self.swarm.has_pieces(no, 0, map);
        no
    }

    fn next(&mut self, ms: u64, no: SourceNo) -> Option<Step> {
        let step = self.swarm.next(at(ms), no, u64::MAX);
        self.swarm.check();
        step
    }

    fn data(&mut self, ms: u64, no: SourceNo, offset: u64, len: u64) -> Came {
        let expected = self.zeros.expected(offset / PIECE);
        let came = self.swarm.data(at(ms), no, offset, &ZEROS[..len as usize], &expected);
        self.swarm.check();
        came
    }

    /// All of the piece that the block begins, asked for and come.
    fn rest(&mut self, ms: u64, no: SourceNo, block: Block) -> Came {
        let mut block = block;
        loop {
            let came = self.data(ms, no, block.offset, block.len);
            if came != Came::Part {
                return came;
            }
            let step = loop {
                let step = self.next(ms, no).expect("the rest of the piece");
                if step.block.offset == block.offset + block.len {
                    break step;
                }
            };
            block = step.block;
        }
    }
}

#[test]
fn a_piece_counts_when_it_is_stored() {
    let mut f = Fetch::new(PIECE / 2 + 100);
    let no = f.full();
    let first = f.next(0, no).unwrap();
    assert_eq!((first.block, first.instead_of), (Block { piece: 0, offset: 0, len: BLOCK }, None));
    let second = f.next(0, no).unwrap().block;
    assert_eq!((second.offset, second.len), (BLOCK, BLOCK));
    assert_eq!(f.next(0, no), None, "two blocks are the first window");
    assert_eq!(f.swarm.asked(no), 2 * BLOCK);
    assert_eq!(f.data(1, no, 0, BLOCK), Came::Part);
    assert_eq!(f.data(1, no, BLOCK, BLOCK), Came::Part);
    let last = f.next(1, no).unwrap().block;
    assert_eq!((last.offset, last.len), (2 * BLOCK, 100));
    assert_eq!(f.data(2, no, last.offset, 100), Came::Right(0));
    assert!(!f.swarm.has(0) && f.swarm.bytes() == 0 && f.swarm.map(0) == [0]);
    assert_eq!(f.next(2, no), None);
    f.swarm.stored(0);
    assert!(f.swarm.is_complete() && f.swarm.bytes() == PIECE / 2 + 100 && f.swarm.map(0) == [1]);
    assert!(Swarm::new(0, WIDE, 1).is_complete(), "an empty file is complete");
}

#[test]
fn bytes_that_do_not_follow_are_unwanted() {
    // hostile: 100, 101
    let mut f = Fetch::new(3 * PIECE);
    let no = f.full();
    let other = f.full();
    let block = f.next(0, no).unwrap().block;
    for (offset, len) in [(0, 0), (0, 4095), (0, 4097), (4096, 4096), (0, 2 * BLOCK)] {
        assert_eq!(f.data(0, no, block.offset + offset, len), Came::Unwanted, "{offset} {len}");
    }
    assert_eq!(f.data(0, other, block.offset, 4096), Came::Unwanted, "not asked of it");
    assert_eq!(f.data(0, no, (block.piece + 1) % 3 * PIECE, 4096), Came::Unwanted, "not asked for");
    assert_eq!(f.data(0, no, block.offset, 4096), Came::Part);
    assert_eq!(f.data(0, no, block.offset, 4096), Came::Unwanted, "twice");
    f.swarm.leave(at(0), no);
    assert_eq!(f.data(0, no, block.offset + 4096, 4096), Came::Unwanted, "gone");
    f.swarm.check();
}

#[test]
fn a_wrong_piece_has_one_culprit_who_is_not_asked_for_it_again() {
    // hostile: 102, 103
    let mut f = Fetch::new(PIECE / 4);
    let sources = [f.full(), f.full()];
    for no in sources {
        let block = f.next(0, no).unwrap().block;
        let expected = f.zeros.expected(0);
        let bad = vec![1; block.len as usize];
        let came = f.swarm.data(at(0), no, 0, &bad, &expected);
        assert_eq!(came, Came::Wrong { piece: 0, strikes: 1 });
        assert_eq!(f.next(0, no), None);
    }
    assert_eq!(f.swarm.poll_timeout(), None, "nobody is left to ask, and nothing to wait for");
    let third = f.full();
    let block = f.next(0, third).unwrap().block;
    assert_eq!(f.rest(0, third, block), Came::Right(0));
}

#[test]
fn a_source_that_sends_nothing_is_late_once_and_others_get_its_pieces() {
    // hostile: 109
    let mut f = Fetch::new(PIECE);
    let idle = f.full();
    f.next(0, idle).unwrap();
    assert_eq!(f.swarm.poll_timeout(), Some(at(10_000)));
    assert_eq!(f.data(4000, idle, 0, 4096), Came::Part);
    assert_eq!(f.swarm.late(at(13_999)), []);
    assert_eq!(f.swarm.late(at(14_000)), [idle]);
    assert_eq!(f.swarm.late(at(60_000)), []);
    assert_eq!((f.swarm.asked(idle), f.swarm.source_rate(at(14_000), idle)), (0, 0));
    let other = f.full();
    let block = f.next(14_000, other).unwrap().block;
    assert_eq!(f.data(14_000, idle, 4096, 4096), Came::Unwanted);
    assert_eq!(f.rest(14_001, other, block), Came::Right(0));
}

#[test]
fn room_shortens_blocks_to_whole_chunks() {
    let mut f = Fetch::new(BLOCK + 100);
    let no = f.full();
    assert_eq!(f.swarm.next(at(0), no, 4095), None);
    assert_eq!((f.swarm.next(at(0), no, 10_000).unwrap().block.len, f.swarm.asked(no)), (8192, 8192));
    assert_eq!(f.swarm.next(at(0), no, BLOCK - 8192).unwrap().block.len, BLOCK - 8192);
    assert_eq!(f.swarm.next(at(0), no, 99), None);
    let end = f.swarm.next(at(0), no, 100).unwrap().block;
    assert_eq!((end.offset, end.len), (BLOCK, 100), "less than a chunk only at the end of the file");
    f.swarm.check();
}

#[test]
fn a_single_source_is_read_forwards() {
    let mut f = Fetch::new(8 * PIECE);
    let no = f.full();
    let mut order = Vec::new();
    let mut ms = 0;
    while let Some(step) = f.next(ms, no) {
        if step.block.offset % PIECE == 0 {
            order.push(step.block.piece);
        }
        ms += 1;
        while f.swarm.asked(no) > 0 {
            let flight = &f.swarm.sources[&no].flights[0];
            let (offset, len) = (flight.piece * PIECE + flight.got, flight.owed());
            if let Came::Right(piece) = f.data(ms, no, offset, len) {
                f.swarm.stored(piece);
            }
        }
    }
    assert!(f.swarm.is_complete());
    let jumps = order.windows(2).filter(|two| two[1] != two[0] + 1).count();
    assert!(jumps <= 3, "{order:?}");
}

#[test]
fn rare_pieces_come_first() {
    let mut f = Fetch::new(8 * PIECE);
    f.partly(&[0b1110_1111]);
    f.partly(&[0b1101_1111]);
    let no = f.partly(&[0b0011_0011]);
    let first = f.next(0, no).unwrap().block.piece;
    assert!([4, 5].contains(&first), "{first} is not the rarest");
}

#[test]
fn those_who_fetch_the_same_begin_with_different_parts() {
    // Five that know each other: the piece that each begins with, of ten.
    let first = |us: usize, chance: u64| {
        let mut f = Fetch { swarm: Swarm::new(10 * PIECE, WIDE, chance), zeros: Zeros::new(10 * PIECE) };
        let seed = f.full();
        for other in (0..5).filter(|&other| other != us) {
            let no = f.partly(&[0, 0]);
            f.swarm.stands(no, other < us);
        }
        f.next(0, seed).unwrap().block.piece
    };
    for chance in 0..20 {
        let parts: Vec<u64> = (0..5).map(|us| first(us, chance) / 2).collect();
        assert_eq!(parts, [0, 1, 2, 3, 4]);
    }
}

#[test]
fn what_others_begin_with_is_fetched_once_they_had_time_for_it() {
    let mut f = Fetch::new(4 * PIECE);
    let (seed, other) = (f.full(), f.partly(&[0]));
    f.swarm.stands(other, true);
    let mut ms = 0;
    for piece in [2, 3] {
        // It is the second of two: the last two pieces are its own, and a megabyte a second comes.
        let step = f.swarm.next(at(ms), seed, u64::MAX).unwrap();
        ms += 1000;
        assert!(step.block.piece >= 2, "{step:?} before {piece}");
        let done = f.rest(ms, seed, step.block);
        assert_eq!(done, Came::Right(step.block.piece));
        f.swarm.stored(step.block.piece);
    }
    assert_eq!(f.next(ms, seed), None, "the other one is about to fetch the rest");
    let due = f.swarm.poll_timeout().expect("not for ever");
    let wait = (due - at(ms)).as_millis();
    assert!((500..=1600).contains(&wait), "{wait} ms");
    f.swarm.late(due);
    assert!(f.swarm.next(due, seed, u64::MAX).is_some_and(|step| step.block.piece < 2), "it did not");
    // And at once if that one is gone.
    let mut g = Fetch::new(4 * PIECE);
    let (seed, other) = (g.full(), g.partly(&[0]));
    g.swarm.stands(other, true);
    g.swarm.leave(at(0), other);
    assert!(g.next(0, seed).is_some());
}

#[test]
fn a_full_source_is_spared_while_others_are_as_fast() {
    let mut f = Fetch::new(8 * PIECE);
    let (seed, peer) = (f.full(), f.partly(&[0xff]));
    let measured = |f: &mut Fetch, no: SourceNo, bytes: u64| {
        let window = &mut f.swarm.sources.get_mut(&no).unwrap().window;
        window.meter.start(at(0));
        window.meter.add(at(1000), bytes);
    };
    measured(&mut f, peer, 9 * MIB);
    f.next(1000, peer).unwrap();
    measured(&mut f, seed, 8 * MIB);
    assert_eq!(f.next(1000, seed), None, "what the peer has is the peer's to send");
    measured(&mut f, seed, 20 * MIB);
    assert!(f.next(1000, seed).is_some(), "it is much faster");
}

#[test]
fn what_a_source_puts_back_or_lacks_is_free_again() {
    let mut f = Fetch::new(PIECE);
    let (one, two) = (f.full(), f.full());
    let first = f.next(0, one).unwrap().block;
    let second = f.next(0, one).unwrap().block;
    assert_eq!(f.next(0, two), None);
    f.swarm.put_back(at(0), one, &second);
    assert_eq!((f.swarm.asked(one), f.next(0, one).unwrap().block), (BLOCK, second));
    f.swarm.put_back(at(0), one, &first);
    assert_eq!(f.swarm.asked(one), 0);
    assert_eq!(f.next(0, two).unwrap().block, first);
    f.swarm.lacks(at(0), two, 0);
    assert_eq!((f.next(0, two), f.swarm.asked(two)), (None, 0));
    assert_eq!(f.next(0, one).unwrap().block, first);
}

#[test]
fn a_block_refused_after_some_of_it_came_is_asked_for_from_there() {
    let mut f = Fetch::new(PIECE);
    let (one, two) = (f.full(), f.full());
    let first = f.next(0, one).unwrap().block;
    let second = f.next(0, one).unwrap().block;
    assert_eq!(f.data(1, one, 0, 4096), Came::Part);
    f.swarm.put_back(at(1), one, &first);
    assert_eq!(f.swarm.asked(one), 0, "nothing is owed, of the second block neither");
    f.swarm.check();
    assert_eq!(f.swarm.late(at(20_000)), [], "and nobody is late with it");
    let rest = f.next(20_000, one).unwrap().block;
    assert_eq!((rest.piece, rest.offset), (0, 4096), "it goes on where it stopped");
    f.swarm.put_back(at(20_000), one, &first);
    assert_eq!(f.next(20_000, one).unwrap().block, rest);
    f.swarm.put_back(at(20_000), one, &second);
    assert!(f.swarm.asked(one) <= second.offset - 4096, "what was asked before it is still owed");
    f.swarm.leave(at(20_000), one);
    assert_eq!(f.next(20_000, two).unwrap().block, first);
}

#[test]
fn a_stalled_source_loses_its_piece_and_not_back_again() {
    // hostile: 110
    let mut f = Fetch::new(2 * PIECE);
    f.swarm.put(1);
    let (slow, fast) = (f.full(), f.full());
    let block = f.next(0, slow).unwrap().block;
    assert_eq!(f.next(999, fast), None);
    assert!(f.swarm.poll_timeout().is_some_and(|due| due < at(10_000)), "time alone will change that");
    let step = f.next(1000, fast).unwrap();
    assert_eq!((step.block, step.instead_of), (block, Some(slow)));
    assert_eq!(f.data(1000, slow, 0, 4096), Came::Unwanted);
    assert_eq!(f.next(1001, slow), None, "it does not take it back");
    assert_eq!(f.rest(1002, fast, step.block), Came::Right(0));
}

#[test]
fn a_stream_gets_what_nobody_fetches() {
    let mut f = Fetch::new(3 * PIECE);
    let full = f.full();
    let stream = f.swarm.join(at(0));
    let taken = f.next(0, full).unwrap().block.piece;
    assert!(!f.swarm.stream(at(0), stream, taken));
    let free = (taken + 1) % 3;
    assert!(f.swarm.stream(at(0), stream, free));
    assert!(!f.swarm.stream(at(0), stream, free) && !f.swarm.stream(at(0), stream, 3));
    assert_eq!((f.swarm.asked(stream), f.next(0, stream)), (0, None));
    assert_eq!(f.data(1, stream, free * PIECE, PIECE / 2), Came::Part);
    assert_eq!(f.data(1, stream, free * PIECE + PIECE / 2, PIECE / 2), Came::Right(free));
}

#[test]
fn groups_come_one_after_the_other() {
    let mut f = Swarm::new(2 * 2048 * PIECE + 1, WIDE, 1);
    let (full, partly) = (f.join(at(0)), f.join(at(0)));
    f.has_all(full);
    f.has_pieces(partly, 1, &[1]);
    assert_eq!((f.group(), f.next(at(0), partly, u64::MAX)), (Some(0), None));
    (0..2048).for_each(|piece| f.put(piece));
    assert_eq!(f.group(), Some(1));
    assert_eq!(f.next(at(0), partly, u64::MAX).unwrap().block.piece, 2048);
    f.check();
    f.doubt(3);
    assert_eq!((f.group(), f.next(at(0), full, u64::MAX)), (Some(0), None), "a doubted piece is not fetched");
    f.lose(3);
    assert_eq!(f.next(at(0), full, u64::MAX).unwrap().block.piece, 3);
    f.check();
    assert_eq!((f.map(0)[0], f.map(1)[0], f.map(2), f.map(3)), (0xf7, 0, vec![0], vec![]));
}
