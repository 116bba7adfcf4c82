//! The log that keeps the roots and lists of shared files over restarts.
//!
//! It is only ever appended to; what is to be forgotten is left out when it is copied into a fresh one. All numbers are
//! little-endian:
//!
//! ```text
//! 16 bytes   magic, version u32, zero u32
//! records:   length u32 (of the whole record), kind u8 (1), device u64, inode u64, size u64, mtime i64, ctime i64,
//!            marks u32, born u32, path u32 (the first 4 bytes of the BLAKE3 hash of the name), number of values u32, values of 32 bytes each: all pieces', then all groups' (each only if more than one),
//!            root 32 bytes, first 8 bytes of the BLAKE3 hash of all that
//! ```
//!
//! The root stands behind the values, so that those of a long file can be appended while the rest of it is still read.
//! Others are served the values from the log itself: an [`Entry`] knows where they stand. A record says nothing of its own
//! place, so it can be copied as it is. The log is ours alone, so its checksums are against accidents: power cuts, full
//! disks, another program's hands.

mod read;

pub(super) use read::bytes_at;
pub use read::{Damage, Reader};

use crate::machine::Meta;
use crate::proto::content::{Hashed, Root, SIZE_MAX, Span, VALUE, Value, list_len};
use std::ops::Range;

/// Bytes of the file's own header.
pub const HEADER: usize = 16;

/// The first byte is no text's, the line end is lost where a program "repairs" them.
const MAGIC: [u8; 8] = *b"\x89DSIDX\r\n";
const VERSION: u32 = 2;
/// The only kind of record by now: what a file came to.
const KIND_FILE: u8 = 1;
/// Length, kind, device, inode, size, mtime, ctime, marks, born, path, number of values.
const HEAD: usize = 4 + 1 + 5 * 8 + 3 * 4 + 4;
/// Root and checksum.
const TAIL: usize = 32 + CHECK;
const CHECK: usize = 8;

/// The root of a file, and where in the log its lists stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the file was when it was hashed.
    pub meta: Meta,
    /// [`path_of`] its name then.
    pub path: u32,
    /// What it came to.
    pub root: Root,
    /// Where its record stands in the log.
    pub record: Range<u64>,
    /// Where in the log the value of piece 0 stands; `None`: the file has one piece or less.
    pub values_at: Option<u64>,
    /// Where in the log the value of group 0 stands; `None`: the file has one group or less.
    pub groups_at: Option<u64>,
}

impl Entry {
    /// `meta.size` is at most [`SIZE_MAX`].
    fn new(meta: Meta, path: u32, root: Root, at: u64) -> Entry {
        let (pieces, groups) = (list_len(Span::Piece, meta.size), list_len(Span::Group, meta.size));
        let values = at + HEAD as u64;
        let behind = values + pieces * VALUE as u64;
        Entry {
            meta,
            path,
            root,
            record: at..at + record_len(meta.size),
            values_at: (pieces > 0).then_some(values),
            groups_at: (groups > 0).then_some(behind),
        }
    }

    /// The same record after it was copied to `new_at` of another log.
    pub fn moved(&self, new_at: u64) -> Entry {
        Entry::new(self.meta, self.path, self.root, new_at)
    }

    /// Where in the log `count` values stand, from that of piece or group `first` on; `None`: the file has not so many, or
    /// none at all.
    pub fn values(&self, span: Span, first: u64, count: u32) -> Option<Range<u64>> {
        let at = match span {
            Span::Piece => self.values_at?,
            Span::Group => self.groups_at?,
        };
        let end = first.checked_add(count.into())?;
        if count == 0 || end > list_len(span, self.meta.size) {
            return None;
        }
        Some(at + first * VALUE as u64..at + end * VALUE as u64)
    }
}

/// What a log keeps of a name.
pub fn path_of(name: &str) -> u32 {
    u32::from_le_bytes(read::bytes_at(blake3::hash(name.as_bytes()).as_bytes(), 0))
}

/// What a log begins with.
pub fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// The record of a file that will stand at `at` of the log. `None`: `hashed` is not what a file of `meta.size` bytes
/// comes to (it grew or shrank meanwhile, or some values were taken before), or the file is longer than [`SIZE_MAX`].
pub fn encode(meta: &Meta, path: u32, hashed: &Hashed, at: u64) -> Option<(Vec<u8>, Entry)> {
    let (encoder, mut record) = Encoder::begin(meta, path, at)?;
    let (rest, entry) = encoder.finish(hashed)?;
    record.extend_from_slice(&rest);
    Some((record, entry))
}

/// Makes a record in parts, for a file whose values are not held in memory: what each call gives is appended to the log,
/// with nothing else in between. If no end comes of it, the log is cut to where the record began.
#[derive(Clone, Debug)]
pub struct Encoder {
    meta: Meta,
    path: u32,
    at: u64,
    /// Of piece values, that still have to come.
    left: u64,
    sum: blake3::Hasher,
}

impl Encoder {
    /// The record's beginning. `None`: the file is longer than [`SIZE_MAX`].
    pub fn begin(meta: &Meta, path: u32, at: u64) -> Option<(Encoder, Vec<u8>)> {
        if meta.size > SIZE_MAX {
            return None;
        }
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(&u32::try_from(record_len(meta.size)).ok()?.to_le_bytes());
        head.push(KIND_FILE);
        for field in [meta.device, meta.inode, meta.size] {
            head.extend_from_slice(&field.to_le_bytes());
        }
        for time in [meta.mtime, meta.ctime] {
            head.extend_from_slice(&time.to_le_bytes());
        }
        for digest in [meta.marks, meta.born, path] {
            head.extend_from_slice(&digest.to_le_bytes());
        }
        head.extend_from_slice(&u32::try_from(values_len(meta.size)).ok()?.to_le_bytes());
        let mut sum = blake3::Hasher::new();
        sum.update(&head);
        let left = list_len(Span::Piece, meta.size);
        Some((Encoder { meta: *meta, path, at, left, sum }, head))
    }

    /// The next piece values, as [`crate::proto::content::FileHasher::take_values`] gives them. `None`: these are more
    /// than a file of this size has; nothing good can come of the record any more.
    pub fn values(&mut self, values: &[Value]) -> Option<Vec<u8>> {
        self.left = self.left.checked_sub(values.len() as u64)?;
        let bytes = values.as_flattened().to_vec();
        self.sum.update(&bytes);
        Some(bytes)
    }

    /// The rest of the record, and what it is in the log. `None`: `hashed` is not what such a file comes to.
    pub fn finish(mut self, hashed: &Hashed) -> Option<(Vec<u8>, Entry)> {
        let groups = list_len(Span::Group, self.meta.size);
        if hashed.size != self.meta.size || hashed.groups.len() as u64 != groups {
            return None;
        }
        let mut rest = self.values(&hashed.values)?;
        if self.left > 0 {
            return None;
        }
        let behind = rest.len();
        rest.extend_from_slice(hashed.groups.as_flattened());
        rest.extend_from_slice(hashed.root.as_bytes());
        self.sum.update(&rest[behind..]);
        rest.extend_from_slice(&self.sum.finalize().as_bytes()[..CHECK]);
        Some((rest, Entry::new(self.meta, self.path, hashed.root, self.at)))
    }
}

/// Values that the record of such a file has. Below 2^24 where `size` is at most [`SIZE_MAX`].
fn values_len(size: u64) -> u64 {
    list_len(Span::Piece, size) + list_len(Span::Group, size)
}

/// Bytes of the record of such a file. Below 2^29 where `size` is at most [`SIZE_MAX`].
fn record_len(size: u64) -> u64 {
    (HEAD + TAIL) as u64 + values_len(size) * VALUE as u64
}

#[cfg(test)]
mod tests;
