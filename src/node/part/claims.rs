//! What the journal claims: which of it is to be looked at, and looking at it.

use super::ranges::Ranges;
use crate::proto::content::{Expected, GROUP_PIECES, PieceHasher, group_of, piece_range};
use fastrand::Rng;
use std::ops::Range;

/// Claimed pieces of each group that are looked at before the others are believed (HOSTILE.md 4.1 rule 6). Of each group,
/// because one is fetched and checked after the other: what waited for a later one would wait for ever.
pub(super) const SAMPLE: u64 = 64;

#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Claimed, and nobody knows.
    unchecked: Ranges,
    /// Those of them that stand for all of their groups. `None`: each is checked.
    sample: Option<Ranges>,
    /// Believed, to be told.
    trusted: Ranges,
    /// The journal claims them, and they are not there.
    wrong: Ranges,
    check: Option<Check>,
}

#[derive(Debug)]
struct Check {
    piece: u64,
    expected: Expected,
    hasher: PieceHasher,
    left: Range<u64>,
    /// A read is under way.
    asked: bool,
}

impl Claims {
    /// The journal says so.
    pub(super) fn claim(&mut self, pieces: Range<u64>) {
        self.unchecked.insert(pieces);
    }

    pub(super) fn clear(&mut self) {
        *self = Claims::default();
    }

    /// Pieces at and behind this one cannot be there.
    pub(super) fn cut(&mut self, piece: u64) {
        let behind = self.unchecked.split_off(piece);
        self.wrong.extend(&behind);
    }

    /// The file is what it was when all of them were right: so many of each group are looked at.
    pub(super) fn draw_sample(&mut self, pieces: u64, rng: &mut Rng) {
        let (mut sample, mut rest) = (Ranges::default(), self.unchecked.clone());
        while let Some(last) = rest.last() {
            let group = rest.split_off(group_pieces(last).start);
            if group.len() <= pieces {
                sample.extend(&group);
                continue;
            }
            let wanted = sample.len() + pieces;
            while sample.len() < wanted {
                if let Some(piece) = group.nth(rng.u64(..group.len())) {
                    sample.insert_one(piece);
                }
            }
        }
        if sample.is_empty() {
            self.trusted = std::mem::take(&mut self.unchecked);
        } else if sample.len() < self.unchecked.len() {
            self.sample = Some(sample);
        }
    }

    /// The rest of the group of `piece`, where nothing of its sample is left and all of it was right.
    fn trust_rest(&mut self, piece: u64) {
        let group = group_pieces(piece);
        if self.sample.as_ref().is_some_and(|sample| sample.first_in(&group).is_none()) {
            let mut rest = self.unchecked.split_off(group.start);
            self.unchecked.extend(&rest.split_off(group.end));
            self.trusted.extend(&rest);
        }
        if self.unchecked.is_empty() {
            self.sample = None;
        }
    }

    pub(super) fn unchecked(&self) -> impl Iterator<Item = u64> + '_ {
        self.unchecked.pieces()
    }

    /// Whether everything that the journal claims is right, as far as can be known.
    pub(super) fn are_sound(&self) -> bool {
        self.unchecked.is_empty() && self.wrong.is_empty()
    }

    /// What the journal claims and is not there, because it is about to claim it no more.
    pub(super) fn take_wrong(&mut self) -> Ranges {
        std::mem::take(&mut self.wrong)
    }

    pub(super) fn any_wrong(&self) -> bool {
        !self.wrong.is_empty()
    }

    pub(super) fn wants_checked(&self, pieces: &Range<u64>) -> Option<u64> {
        match self.check {
            Some(_) => None,
            None => self.sample.as_ref().unwrap_or(&self.unchecked).first_in(pieces),
        }
    }

    pub(super) fn begin_check(&mut self, size: u64, piece: u64, expected: Expected) {
        if self.check.is_some() || !self.unchecked.contains(piece) {
            return;
        }
        let Some(left) = piece_range(size, piece) else { return };
        let hasher = PieceHasher::new(size, piece);
        self.check = Some(Check { piece, expected, hasher, left, asked: false });
    }

    pub(super) fn is_checking(&self) -> bool {
        self.check.is_some()
    }

    pub(super) fn is_reading(&self) -> bool {
        self.check.as_ref().is_some_and(|check| check.asked)
    }

    /// What to read next, at most `slice` bytes.
    pub(super) fn read_next(&mut self, slice: usize) -> Option<(u64, usize)> {
        let check = self.check.as_mut().filter(|check| !check.asked)?;
        check.asked = true;
        let left = check.left.end - check.left.start;
        Some((check.left.start, usize::try_from(left).map_or(slice, |left| left.min(slice))))
    }

    /// Bytes of the piece that is being checked; a verdict, if there is one now.
    pub(super) fn read(&mut self, offset: u64, bytes: &[u8]) -> Option<(u64, bool)> {
        let check = self.check.as_mut().filter(|check| check.asked && check.left.start == offset)?;
        check.asked = false;
        check.hasher.update(bytes);
        check.left.start = offset.saturating_add(bytes.len() as u64);
        if check.left.start < check.left.end && !bytes.is_empty() {
            return None;
        }
        let Check { piece, expected, hasher, .. } = self.check.take()?;
        Some((piece, hasher.verify(&expected)))
    }

    /// It cannot be read: as good as wrong.
    pub(super) fn unreadable(&mut self) -> Option<(u64, bool)> {
        self.check.take().map(|check| (check.piece, false))
    }

    /// The verdict on a claimed piece.
    pub(super) fn settle(&mut self, piece: u64, right: bool) {
        self.unchecked.remove(piece);
        if !right {
            self.wrong.insert_one(piece);
            self.sample = None;
        }
        if let Some(sample) = &mut self.sample {
            sample.remove(piece);
        }
        self.trust_rest(piece);
    }

    pub(super) fn pop_trusted(&mut self) -> Option<u64> {
        self.trusted.pop_first()
    }

    /// These were verified anew, and are durable: a claim of them is right.
    pub(super) fn righted(&mut self, pieces: &Ranges) {
        if self.wrong.is_empty() && self.unchecked.is_empty() {
            return;
        }
        for piece in pieces.pieces() {
            self.wrong.remove(piece);
        }
    }

    /// A piece was verified that was claimed and not checked: the claim is not asked about any more.
    pub(super) fn supersede(&mut self, piece: u64) {
        if self.unchecked.remove(piece) {
            self.wrong.insert_one(piece);
            // What is left of a sample would say less about the others.
            self.sample = None;
        }
    }
}

/// Those of its group.
fn group_pieces(piece: u64) -> Range<u64> {
    let start = group_of(piece).saturating_mul(GROUP_PIECES);
    start..start.saturating_add(GROUP_PIECES)
}
