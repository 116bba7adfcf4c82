//! A small model of a network on virtual time: nodes that send what they are asked for, their upload shared equally among
//! those who ask, by slices or by pieces, and that tell each other what they have.

use super::*;
use crate::time::Duration;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Bytes that are sent at a time.
const SLICE: u64 = 64 * KIB;
const MB: u64 = 1_000_000;

/// One node: what it sends, and what it fetches.
struct Node {
    /// Bytes a second.
    up: u64,
    trip: Duration,
    /// What others asked for, by their number.
    queues: Vec<VecDeque<Block>>,
    turn: usize,
    sending: bool,
    /// It sends the rest of a piece before it turns to the next who asks.
    by_pieces: bool,
    gone: bool,
    swarm: Option<Swarm>,
    /// The others: their numbers in the swarm.
    known: Vec<Option<SourceNo>>,
    tick: Option<Instant>,
    sent: u64,
    done: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Ask { to: usize, by: usize, block: Block },
    Cancel { to: usize, by: usize, piece: u64 },
    Sent { by: usize, to: usize, block: Block },
    Came { to: usize, by: usize, block: Block },
    Told { to: usize, by: usize, piece: u64 },
    ToldAll { to: usize, by: usize },
    Tick { to: usize },
    Start { to: usize, with: usize },
}

struct Model {
    now: Instant,
    order: u64,
    events: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    what: Vec<Option<Event>>,
    nodes: Vec<Node>,
    zeros: Zeros,
    size: u64,
}

impl Model {
    fn new(size: u64) -> Model {
        Model {
            now: Instant::ZERO,
            order: 0,
            events: BinaryHeap::new(),
            what: Vec::new(),
            nodes: Vec::new(),
            zeros: Zeros::new(size),
            size,
        }
    }

    /// A node with so much upload, so far from all others.
    fn add(&mut self, up: u64, trip_ms: u64, swarm: Option<(Bounds, u64)>) -> usize {
        self.nodes.push(Node {
            up,
            trip: Duration::from_millis(trip_ms),
            queues: Vec::new(),
            turn: 0,
            sending: false,
            by_pieces: false,
            gone: false,
            swarm: swarm.map(|(bounds, seed)| Swarm::new(self.size, bounds, seed)),
            known: Vec::new(),
            tick: None,
            sent: 0,
            done: None,
        });
        self.nodes.len() - 1
    }

    /// Node `to` hears of node `with`.
    fn meet(&mut self, at: Duration, to: usize, with: usize) {
        self.push(Instant::ZERO + at, Event::Start { to, with });
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.what.push(Some(event));
        self.events.push(Reverse((at, self.order, self.what.len() - 1)));
        self.order += 1;
    }

    /// Until everybody is done. Gives the time.
    fn run(&mut self) -> Duration {
        while self.step() {}
        self.now - Instant::ZERO
    }

    fn step(&mut self) -> bool {
        if self.nodes.iter().all(|node| node.swarm.is_none() || node.done.is_some()) {
            return false;
        }
        let Reverse((at, _, index)) =
            self.events.pop().expect("nobody waits for anything, and not all are done");
        self.now = at;
        assert!(at < Instant::from_micros(3_600_000_000), "an hour is enough");
        let event = self.what[index].take().expect("once");
        self.handle(event);
        true
    }

    fn handle(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Ask { to, by, block } => {
                let queues = &mut self.nodes[to].queues;
                queues.resize_with(queues.len().max(by + 1), VecDeque::new);
                queues[by].push_back(block);
                self.send(to);
            }
            Event::Cancel { to, by, piece } => {
                if let Some(queue) = self.nodes[to].queues.get_mut(by) {
                    queue.retain(|block| block.piece != piece);
                }
            }
            Event::Sent { by, to, block } => {
                self.nodes[by].sending = false;
                if !self.nodes[by].gone {
                    self.nodes[by].sent += block.len;
                    self.push(now + self.nodes[by].trip / 2, Event::Came { to, by, block });
                }
                self.send(by);
            }
            Event::Came { to, by, block } => self.came(to, by, &block),
            Event::Told { to, by, piece } => {
                if let Some((swarm, no)) = self.source(to, by) {
                    swarm.has_piece(no, piece);
                }
                self.pump(to);
            }
            Event::ToldAll { to, by } => {
                if let Some((swarm, no)) = self.source(to, by) {
                    swarm.has_all(no);
                }
                self.pump(to);
            }
            Event::Tick { to } => {
                if self.nodes[to].tick.take().is_some() {
                    if let Some(swarm) = &mut self.nodes[to].swarm {
                        swarm.late(now);
                    }
                    self.pump(to);
                }
            }
            Event::Start { to, with } => self.start(to, with),
        }
    }

    fn source(&mut self, to: usize, by: usize) -> Option<(&mut Swarm, SourceNo)> {
        let node = &mut self.nodes[to];
        Some((node.swarm.as_mut()?, (*node.known.get(by)?)?))
    }

    fn start(&mut self, to: usize, with: usize) {
        let map = self.nodes[with].swarm.as_ref().map(|swarm| swarm.map(0));
        let now = self.now;
        let node = &mut self.nodes[to];
        let Some(swarm) = &mut node.swarm else { return };
        let no = swarm.join(now);
        node.known.resize(node.known.len().max(with + 1), None);
        node.known[with] = Some(no);
        swarm.stands(no, with < to);
        match map {
            Some(map) => swarm.has_pieces(no, 0, &map),
            None => swarm.has_all(no),
        }
        self.pump(to);
    }

    /// The node is gone for everybody.
    fn end(&mut self, who: usize) {
        self.nodes[who].gone = true;
        self.nodes[who].queues.clear();
        for to in 0..self.nodes.len() {
            let now = self.now;
            if let Some((swarm, no)) = self.source(to, who) {
                swarm.leave(now, no);
                self.nodes[to].known[who] = None;
                self.pump(to);
            }
        }
    }

    /// The next slice of the next of those who wait.
    fn send(&mut self, by: usize) {
        let now = self.now;
        let node = &mut self.nodes[by];
        let count = node.queues.len();
        let next = (0..count).map(|n| (node.turn + n) % count).find(|&n| !node.queues[n].is_empty());
        let (false, Some(to)) = (node.sending, next) else { return };
        let front = node.queues[to].front_mut().expect("not empty");
        let block = Block { len: front.len.min(SLICE), ..*front };
        (front.offset, front.len) = (front.offset + block.len, front.len - block.len);
        if front.len == 0 {
            node.queues[to].pop_front();
        }
        let ended = (block.offset + block.len) % PIECE == 0;
        node.turn = if node.by_pieces && !ended { to } else { to + 1 };
        node.sending = true;
        let done = now + Duration::from_nanos(block.len * 1_000_000_000 / node.up);
        self.push(done, Event::Sent { by, to, block });
    }

    fn came(&mut self, to: usize, by: usize, block: &Block) {
        let now = self.now;
        let expected = self.zeros.expected(block.piece);
        let came = match self.source(to, by) {
            Some((swarm, no)) => swarm.data(now, no, block.offset, &ZEROS[..block.len as usize], &expected),
            None => Came::Unwanted,
        };
        match came {
            Came::Unwanted | Came::Part => {}
            Came::Right(piece) => self.stored(to, piece),
            Came::Wrong { .. } => panic!("zeros are right"),
        }
        self.pump(to);
    }

    fn stored(&mut self, who: usize, piece: u64) {
        let node = &mut self.nodes[who];
        let swarm = node.swarm.as_mut().expect("it fetches");
        swarm.stored(piece);
        let complete = swarm.is_complete();
        if complete {
            node.done = Some(self.now);
        }
        let at = self.now + node.trip / 2;
        for to in (0..self.nodes.len()).filter(|&to| to != who) {
            self.push(at, Event::Told { to, by: who, piece });
            if complete {
                self.push(at, Event::ToldAll { to, by: who });
            }
        }
    }

    /// Asks whoever may be asked.
    fn pump(&mut self, who: usize) {
        let now = self.now;
        let known = self.nodes[who].known.clone();
        for (to, no) in known.iter().enumerate() {
            let Some(no) = *no else { continue };
            let trip = self.nodes[to].trip / 2;
            loop {
                let node = &mut self.nodes[who];
                let swarm = node.swarm.as_mut().expect("it fetches");
                let Some(step) = swarm.next(now, no, u64::MAX) else { break };
                if let Some(from) = step.instead_of {
                    // What it got of the piece before is thrown away with what still comes.
                    let from = node.known.iter().position(|no| *no == Some(from)).expect("known");
                    self.push(
                        now + self.nodes[from].trip / 2,
                        Event::Cancel { to: from, by: who, piece: step.block.piece },
                    );
                }
                self.push(now + trip, Event::Ask { to, by: who, block: step.block });
            }
        }
        let node = &mut self.nodes[who];
        let due = node.swarm.as_ref().and_then(Swarm::poll_timeout);
        if let Some(due) = due.filter(|due| node.tick.is_none_or(|tick| *due < tick)) {
            node.tick = Some(due);
            self.push(due.max(now), Event::Tick { to: who });
        }
    }

    /// Bytes that were sent in vain to the only one who fetches.
    fn waste(&self) -> u64 {
        let sent: u64 = self.nodes.iter().map(|node| node.sent).sum();
        sent.saturating_sub(self.size)
    }
}

/// The time that one node takes with these sources, and the bytes that were sent in vain.
fn alone(size: u64, sources: &[(u64, u64)], bounds: Bounds) -> (f64, u64) {
    let mut model = Model::new(size);
    let me = model.add(100 * MB, 1, Some((bounds, 7)));
    for &(up, trip) in sources {
        let source = model.add(up, trip, None);
        model.meet(Duration::ZERO, me, source);
    }
    let time = model.run().as_secs_f64();
    (time, model.waste())
}

#[test]
fn a_source_a_hundred_times_slower_costs_nothing() {
    // hostile: 110
    for fast in [5 * MB, 50 * MB, 500 * MB] {
        let (one, _) = alone(64 * MIB, &[(fast, 2)], WIDE);
        let (both, waste) = alone(64 * MIB, &[(fast, 2), (fast / 100, 2)], WIDE);
        assert!(both <= 1.05 * one, "{both} s with the slow one, {one} s without");
        assert!(waste <= 3 * MIB, "{waste} bytes in vain");
    }
}

#[test]
fn sources_add_up() {
    let (one, _) = alone(256 * MIB, &[(20 * MB, 2)], WIDE);
    let (four, waste) = alone(256 * MIB, &[(20 * MB, 2); 4], WIDE);
    assert!(one >= 3.8 * four, "{four} s from four, {one} s from one");
    assert!(waste <= 4 * MIB, "{waste} bytes in vain");
    let (mixed, waste) = alone(256 * MIB, &[(50 * MB, 2), (20 * MB, 2), (10 * MB, 2), (MB, 2)], WIDE);
    let sum = 256.0 * MIB as f64 / mixed / MB as f64;
    assert!(sum >= 0.95 * 81.0, "{sum} MB/s of 81");
    assert!(waste <= 6 * MIB, "{waste} bytes in vain");
}

/// Ten that fetch one file from one seed: copies that the seed sends, and the time of the last against one alone.
fn ten(size: u64, seed_up: u64, peer_up: u64, chance: u64, by_pieces: bool) -> (f64, f64) {
    let (one, _) = alone(size, &[(seed_up, 2)], WIDE);
    let mut model = Model::new(size);
    let seed = model.add(seed_up, 2, None);
    model.nodes[seed].by_pieces = by_pieces;
    let all: Vec<usize> = (0..10).map(|n| model.add(peer_up, 2, Some((WIDE, chance * 100 + n)))).collect();
    for &to in &all {
        model.nodes[to].by_pieces = by_pieces;
        model.meet(Duration::ZERO, to, seed);
        for &with in all.iter().filter(|&&with| with != to) {
            model.meet(Duration::ZERO, to, with);
        }
    }
    let time = model.run().as_secs_f64();
    (model.nodes[seed].sent as f64 / size as f64, time / one)
}

/// MiB of the file, MB a second of the seed and of each of the ten, copies and times at most.
type Most = (u64, u64, u64, f64, f64);

fn ten_cost_at_most(by_pieces: bool, table: &[Most]) {
    for &(size, up, peer_up, copies_most, times_most) in table {
        let (copies, times) = ten(size * MIB, up * MB, peer_up * MB, 1, by_pieces);
        let said = format!("{size} MiB from {up} MB/s: {copies:.2} copies, {times:.2} times");
        assert!(copies <= copies_most && times <= times_most, "{said} the time of one alone");
    }
}

#[test]
fn ten_that_fetch_one_file_cost_the_seed_little_more_than_one() {
    let shaped = [(16, 10, 100, 1.1, 1.15), (32, 10, 100, 1.1, 1.1), (256, 10, 100, 1.05, 1.05)];
    let as_fast = [(64, 100, 100, 1.25, 1.4), (64, 10, 10, 1.25, 1.35)];
    ten_cost_at_most(true, &[&shaped[..], &as_fast].concat());
}

#[test]
fn ten_cost_more_where_uploads_are_shared_by_the_byte() {
    // The first pieces all end late and at the same time then, so that more of them are the same.
    let shaped = [(16, 10, 100, 1.35, 1.4), (32, 10, 100, 1.2, 1.2), (256, 10, 100, 1.05, 1.05)];
    let as_fast = [(64, 100, 100, 1.2, 1.45), (64, 10, 10, 1.3, 1.35)];
    ten_cost_at_most(false, &[&shaped[..], &as_fast].concat());
}

#[test]
fn a_source_that_leaves_at_the_end_and_comes_back_goes_on() {
    // hostile: 111
    let size = 64 * MIB;
    let mut model = Model::new(size);
    let me = model.add(MB, 2, Some((WIDE, 3)));
    let first = model.add(50 * MB, 2, None);
    model.meet(Duration::ZERO, me, first);
    while model.nodes[me].swarm.as_ref().unwrap().bytes() < size / 100 * 98 {
        assert!(model.step());
    }
    model.end(first);
    let second = model.add(50 * MB, 2, None);
    model.meet(model.now + Duration::from_secs(1) - Instant::ZERO, me, second);
    model.run();
    let again = model.nodes[second].sent;
    assert!(again <= 6 * MIB, "{again} bytes for the last hundredths");
    model.nodes[me].swarm.as_ref().unwrap().check();
}

#[test]
fn a_small_box_fills_its_link() {
    let small = Bounds { block: 16 * KIB, per_source: 256 * KIB, total: MIB };
    let (time, waste) = alone(32 * MIB, &[(12_500_000, 5)], small);
    let rate = 32.0 * MIB as f64 / time;
    assert!(rate >= 0.95 * 12_500_000.0, "{rate} bytes a second of 100 Mbit/s");
    assert_eq!(waste, 0);
}

#[test]
fn windows_open_quickly_far_away_and_near() {
    for (up, trip) in [(1000 * MB, 1), (12_500_000, 200)] {
        let (time, _) = alone(64 * MIB, &[(up, trip)], WIDE);
        let ideal = 64.0 * MIB as f64 / up as f64;
        let most = 1.1 * ideal + 8.0 * trip as f64 / 1000.0;
        assert!(time <= most, "{time} s at {up} bytes a second, {trip} ms away: at most {most}");
    }
}
