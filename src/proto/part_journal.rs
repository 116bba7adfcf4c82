//! The journal of an unfinished download: which of its pieces were verified and made durable (HOSTILE.md 4.1, rules 4
//! to 6).
//!
//! It is only ever appended to. All numbers are little-endian:
//!
//! ```text
//! header:    magic 8, version u32, length of the header u32, root 32, size u64, chunk size u32 (4096),
//!            length of the name u16, the final name, CRC-32C of all that
//! records:   16 bytes: first chunk u64, number of chunks u32, CRC-32C u32 of the header's CRC-32C and these twelve bytes
//! ```
//!
//! The header's checksum in each record makes a record of another journal a bad one: a disk that gives back an old block
//! claims nothing. A record whose first number has its top bit set is a *mark*: the other 63 bits are the time of the
//! content's file at the last commit, and the number of chunks is 0. One whose first number has the next bit set *takes back*
//! what was claimed of these chunks. The journal is ours alone, so its checksums are against accidents: power cuts, full
//! disks, another program's hands.

mod read;

pub use read::{Damage, Reader};

use crate::config::CHUNK;
use crate::proto::content::{self, PIECE, Root, SIZE_MAX};
use crate::proto::name::{NAME_MAX, check_name};
use crc::{CRC_32_ISCSI, Crc};
use std::ops::Range;

/// Bytes of a record.
pub const RECORD: usize = 16;
/// Bytes of the longest header.
pub const HEADER_MAX: usize = FIXED + NAME_MAX + CHECK;

/// The first byte is no text's, the line end is lost where a program "repairs" them.
const MAGIC: [u8; 8] = *b"\x89DSJNL\r\n";
const VERSION: u32 = 1;
/// Of a header: magic, version and length, by which the rest is found.
const HEAD: usize = 8 + 4 + 4;
/// Of a header: all in front of the name.
const FIXED: usize = HEAD + 32 + 8 + 4 + 2;
const CHECK: usize = 4;
const PIECE_CHUNKS: u64 = PIECE / CHUNK as u64;
/// In the first number of a record: it is a mark.
const MARK: u64 = 1 << 63;
/// In the first number of a record: it takes back. No file has so many chunks.
const TAKEN_BACK: u64 = 1 << 62;

/// CRC-32C, the one for disks: it finds every error of up to 5 bits in what is as short as a record.
static CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Which download a journal belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    root: Root,
    size: u64,
    name: String,
}

impl Header {
    /// `name`: what the file will be called. `None`: no download can be of that: the file is longer than [`SIZE_MAX`], or
    /// the name refused by [`check_name`].
    pub fn new(root: Root, size: u64, name: &str) -> Option<Header> {
        let fine = size <= SIZE_MAX && check_name(name).is_ok();
        fine.then(|| Header { root, size, name: name.to_owned() })
    }

    /// The file.
    pub fn root(&self) -> Root {
        self.root
    }

    /// Its bytes: at most [`SIZE_MAX`].
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What it will be called: valid by [`check_name`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a journal begins with: at most [`HEADER_MAX`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        let name = self.name.as_bytes();
        let mut bytes = Vec::with_capacity(FIXED + name.len() + CHECK);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        // Both lengths fit: a name has at most `NAME_MAX` bytes.
        bytes.extend_from_slice(&((FIXED + name.len() + CHECK) as u32).to_le_bytes());
        bytes.extend_from_slice(self.root.as_bytes());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&(CHUNK as u32).to_le_bytes());
        bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(name);
        let sum = CRC32C.checksum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The checksum at the end of [`Header::encode`]: the header's short name in each record.
    fn id(&self) -> u32 {
        let bytes = self.encode();
        CRC32C.checksum(&bytes[..bytes.len() - CHECK])
    }
}

/// Makes the records of one journal.
#[derive(Clone, Debug)]
pub struct Writer {
    id: u32,
    size: u64,
}

impl Writer {
    /// For the journal with this header.
    pub fn new(header: &Header) -> Writer {
        Writer { id: header.id(), size: header.size }
    }

    /// The record that these pieces are right and durable. `None`: there is nothing to say, or the file has not so many.
    pub fn claim(&self, pieces: Range<u64>) -> Option<[u8; RECORD]> {
        let (first, count) = self.span(pieces)?;
        Some(self.record(first, count))
    }

    /// The record that these pieces are claimed no more. `None`: as for [`Writer::claim`].
    pub fn take_back(&self, pieces: Range<u64>) -> Option<[u8; RECORD]> {
        let (first, count) = self.span(pieces)?;
        Some(self.record(TAKEN_BACK | first, count))
    }

    /// The first of their chunks, and how many there are.
    fn span(&self, pieces: Range<u64>) -> Option<(u64, u32)> {
        let all = content::pieces(self.size);
        if pieces.is_empty() || pieces.end > all {
            return None;
        }
        let first = pieces.start * PIECE_CHUNKS;
        let end = (pieces.end * PIECE_CHUNKS).min(chunks(self.size));
        Some((first, u32::try_from(end - first).ok()?))
    }

    /// The record that the content's file has this [`crate::machine::Meta::mtime`] after a commit. Times before 1970
    /// become 1970: they match no file, whose pieces are then looked at.
    pub fn mark(&self, mtime: i64) -> [u8; RECORD] {
        self.record(MARK | u64::try_from(mtime).unwrap_or(0), 0)
    }

    fn record(&self, first: u64, count: u32) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&first.to_le_bytes());
        record[8..12].copy_from_slice(&count.to_le_bytes());
        let sum = checksum(self.id, &record);
        record[12..].copy_from_slice(&sum.to_le_bytes());
        record
    }
}

/// Of a record in the journal whose header has the checksum `id`.
fn checksum(id: u32, record: &[u8; RECORD]) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(&id.to_le_bytes());
    digest.update(&record[..RECORD - CHECK]);
    digest.finalize()
}

/// Chunks of a file: the last may be short.
fn chunks(size: u64) -> u64 {
    size.div_ceil(CHUNK as u64)
}

#[cfg(test)]
mod tests;
