//! What a file is to others: its BLAKE3 root, its pieces, and the lists of values between them.
//!
//! A piece is 256 chunks of BLAKE3 (1 MiB), so a full subtree of the tree that [`blake3::hash`] makes; its value is the
//! chaining value of that subtree. A group is 2048 pieces (2 GiB), again a full subtree. Only the last piece and the last
//! group of a file may be short. The values of all pieces give the root, and so do those of all groups; a piece is checked
//! against its value. A file of one piece or less has no list: its only piece is checked against the root.
//!
//! * [`FileHasher`] reads a file from its beginning and gives root and lists;
//! * [`PieceHasher`] checks one piece as it arrives;
//! * [`ValueList`] takes the lists of a download from others, in whatever order it needs them, and believes none that does
//!   not lead to the root.

mod hashing;
mod list;
mod root;
mod tree;

pub use hashing::{FileHasher, Hashed, PieceHasher};
pub use list::{ValueList, ValuesError, Want};
pub use root::Root;
pub use tree::{group_value_of, group_values, root_of};

use std::ops::Range;

/// Bytes of a piece.
pub const PIECE: u64 = 1 << 20;
/// Pieces of a group.
pub const GROUP_PIECES: u64 = 2048;
/// Longest file that is offered or fetched, in bytes: 8 TiB.
pub const SIZE_MAX: u64 = 1 << 43;
/// Bytes of a value.
pub const VALUE: usize = 32;

/// The chaining value of a piece or of a group.
pub type Value = [u8; VALUE];

/// What the values of a list stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// One piece each.
    Piece,
    /// [`GROUP_PIECES`] pieces each.
    Group,
}

impl Span {
    /// Its number in messages: the power of two of the pieces that one value stands for.
    pub fn number(self) -> u8 {
        match self {
            Span::Piece => 0,
            Span::Group => 11,
        }
    }

    /// The span that has this number.
    pub fn from_number(number: u8) -> Option<Span> {
        [Span::Piece, Span::Group].into_iter().find(|span| span.number() == number)
    }
}

/// What a piece must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This value of the list.
    Value(Value),
    /// The root itself: the file has no more than this piece.
    Root(Root),
}

/// Pieces of a file of `size` bytes; none of an empty one.
pub fn pieces(size: u64) -> u64 {
    size.div_ceil(PIECE)
}

/// Groups of a file of `size` bytes; none of an empty one.
pub fn groups(size: u64) -> u64 {
    pieces(size).div_ceil(GROUP_PIECES)
}

/// The group that a piece belongs to.
pub fn group_of(piece: u64) -> u64 {
    piece / GROUP_PIECES
}

/// Where in a file of `size` bytes the piece stands; `None`: it has no such piece.
pub fn piece_range(size: u64, index: u64) -> Option<Range<u64>> {
    let start = index.checked_mul(PIECE).filter(|&start| start < size)?;
    Some(start..size.min(start.saturating_add(PIECE)))
}

/// Bytes of the piece: [`PIECE`], or less for the last one; 0 where the file has no such piece.
pub fn piece_len(size: u64, index: u64) -> u64 {
    piece_range(size, index).map_or(0, |range| range.end - range.start)
}

/// The pieces of a group; `None`: the file has no such group.
pub fn group_range(size: u64, group: u64) -> Option<Range<u64>> {
    let all = pieces(size);
    let start = group.checked_mul(GROUP_PIECES).filter(|&start| start < all)?;
    Some(start..all.min(start.saturating_add(GROUP_PIECES)))
}

/// Values of the list of this span: 0 where the file has none, because a single one would say no more than the root.
pub fn list_len(span: Span, size: u64) -> u64 {
    let count = match span {
        Span::Piece => pieces(size),
        Span::Group => groups(size),
    };
    if count > 1 { count } else { 0 }
}

#[cfg(test)]
mod tests;
