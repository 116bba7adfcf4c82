//! From bytes to values.

use super::tree::Tree;
use super::{Expected, GROUP_PIECES, PIECE, Root, Value, piece_len, pieces};
use blake3::Hasher;
use blake3::hazmat::HasherExt;

/// Hashes a file from its beginning, in slices of any length. Runs of 64 KiB and more go fastest; nothing is copied.
#[derive(Clone, Debug)]
pub struct FileHasher {
    /// The piece that is being read. A full one stays here until more follows: it may be the whole file.
    piece: Hasher,
    bytes: u64,
    lists: Lists,
}

/// What a file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The hash of all of it.
    pub root: Root,
    /// Bytes.
    pub size: u64,
    /// The values of its pieces, without those that [`FileHasher::take_values`] gave before; none of a file of one piece
    /// or less.
    pub values: Vec<Value>,
    /// The values of its groups; none of a file of one group or less.
    pub groups: Vec<Value>,
}

impl Default for FileHasher {
    fn default() -> FileHasher {
        FileHasher::new()
    }
}

impl FileHasher {
    /// Nothing read yet.
    pub fn new() -> FileHasher {
        FileHasher { piece: Hasher::new(), bytes: 0, lists: Lists::default() }
    }

    /// The next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.piece.count() == PIECE {
                self.lists.push(self.piece.finalize_non_root());
                self.piece = hasher_at(self.bytes);
            }
            let room = PIECE - self.piece.count();
            let take = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
            let (now, later) = bytes.split_at(take);
            self.piece.update(now);
            self.bytes += take as u64;
            bytes = later;
        }
    }

    /// How many bytes were read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The values that are ready by now and were not taken before, in order. Who takes them while a long file is read
    /// holds 32 bytes per GiB of it, else 32 bytes per MiB.
    pub fn take_values(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.lists.values)
    }

    /// The file ends here.
    pub fn finish(mut self) -> Hashed {
        let size = self.bytes;
        if size <= PIECE {
            let root = self.piece.finalize().into();
            return Hashed { root, size, values: Vec::new(), groups: Vec::new() };
        }
        self.lists.push(self.piece.finalize_non_root());
        self.lists.finish(size)
    }
}

/// The lists of a file of more than one piece, as its pieces end.
#[derive(Clone, Debug, Default)]
struct Lists {
    values: Vec<Value>,
    group: Tree,
    groups: Vec<Value>,
    above: Tree,
}

impl Lists {
    fn push(&mut self, value: Value) {
        if self.group.count() == GROUP_PIECES {
            self.end_group();
        }
        self.values.push(value);
        self.group.push(&value);
    }

    fn end_group(&mut self) {
        if let Some(value) = std::mem::take(&mut self.group).value() {
            self.groups.push(value);
            self.above.push(&value);
        }
    }

    fn finish(mut self, size: u64) -> Hashed {
        let root = if self.groups.is_empty() {
            self.group.root()
        } else {
            self.end_group();
            self.above.root()
        };
        // own state: a second piece followed the first, and a second group the first where one was ended before.
        let root = root.expect("two subtrees have a root");
        Hashed { root, size, values: self.values, groups: self.groups }
    }
}

/// A hasher that was reset cannot be told where it stands: a new one for each piece.
fn hasher_at(offset: u64) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    hasher
}

/// Checks one piece as it arrives, in slices of any length.
#[derive(Clone, Debug)]
pub struct PieceHasher {
    hasher: Hasher,
    /// Bytes that still belong to the piece.
    left: u64,
    /// It is all of the file, so it comes to the root.
    whole: bool,
    /// More came than belongs to it, or the file has no such piece.
    wrong: bool,
}

impl PieceHasher {
    /// For piece `index` of a file of `size` bytes. Nothing is right for a piece that the file does not have; an empty file
    /// passes as having an empty piece 0.
    pub fn new(size: u64, index: u64) -> PieceHasher {
        let left = piece_len(size, index);
        let start = if left == 0 { 0 } else { index.saturating_mul(PIECE) };
        PieceHasher {
            hasher: hasher_at(start),
            left,
            whole: pieces(size) <= 1,
            wrong: left == 0 && (size, index) != (0, 0),
        }
    }

    /// The next bytes of the piece.
    pub fn update(&mut self, bytes: &[u8]) {
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) if !self.wrong => {
                self.left = left;
                self.hasher.update(bytes);
            }
            _ => self.wrong |= !bytes.is_empty(),
        }
    }

    /// How many bytes of it are still missing.
    pub fn missing(&self) -> u64 {
        self.left
    }

    /// Whether all of the piece came, no more, and it is the one that was expected.
    pub fn verify(self, expected: &Expected) -> bool {
        if self.wrong || self.left > 0 {
            return false;
        }
        match *expected {
            Expected::Root(root) => self.whole && Root::from(self.hasher.finalize()) == root,
            Expected::Value(value) => !self.whole && self.hasher.finalize_non_root() == value,
        }
    }
}

#[cfg(test)]
mod tests;
