//! The scheduler by itself: its rules one by one, whatever is called in whatever order, and how long it takes in a small
//! model of a network.

mod model;
mod random;
mod rules;

use super::*;
use crate::proto::content::{FileHasher, PIECE, Root, Value};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What a PC has under way.
const WIDE: Bounds = Bounds { block: 256 * KIB, per_source: 4 * MIB, total: 64 * MIB };

/// A file of zero bytes, long enough to be cut from: what its pieces must come to.
struct Zeros {
    root: Root,
    values: Vec<Value>,
}

impl Zeros {
    fn new(size: u64) -> Zeros {
        let mut hasher = FileHasher::new();
        for _ in 0..size / PIECE {
            hasher.update(&ZEROS);
        }
        hasher.update(&ZEROS[..(size % PIECE) as usize]);
        let hashed = hasher.finish();
        Zeros { root: hashed.root, values: hashed.values }
    }

    fn expected(&self, piece: u64) -> Expected {
        self.values.get(piece as usize).map_or(Expected::Root(self.root), |&value| Expected::Value(value))
    }
}

static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];

impl Swarm {
    /// What must hold after every call.
    fn check(&self) {
        use crate::proto::content::{GROUP_PIECES, pieces};
        let mut flying = BTreeSet::new();
        for source in self.sources.values() {
            let owed: u64 = source.flights.iter().map(Flight::owed).sum();
            assert_eq!(owed, source.asked, "asked is the sum of the flights");
            for flight in &source.flights {
                assert!(flying.insert(flight.piece), "two sources fetch piece {}", flight.piece);
                assert!(flight.rest() > 0, "a flight that came ends");
            }
        }
        let mut bytes = 0;
        for piece in 0..pieces(self.pieces.size()) {
            let state = self.pieces.state(piece).unwrap();
            let busy = u32::from(flying.remove(&piece)) + u32::from(self.right.contains(&piece));
            assert_eq!(busy, u32::from(state == State::Busy), "piece {piece} is {state:?}");
            if state == State::Here {
                bytes += crate::proto::content::piece_len(self.pieces.size(), piece);
            }
        }
        assert!(flying.is_empty(), "no flight without a piece");
        assert_eq!(bytes, self.bytes());
        let first = (0..pieces(self.pieces.size())).find(|&piece| !self.has(piece));
        assert_eq!(first.map(group_of), self.group());
        let Some(group) = self.group() else { return };
        for at in 0..GROUP_PIECES as usize {
            let partly = self.sources.values().filter(|s| !s.full && s.of == group && s.map.has(at)).count();
            assert_eq!(partly, usize::from(self.holders[at]), "holders of {at}");
        }
    }
}
