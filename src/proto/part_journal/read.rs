//! Reading a journal from its beginning, in slices of any length.

use super::{
    CHECK, FIXED, HEAD, HEADER_MAX, Header, MAGIC, MARK, PIECE_CHUNKS, RECORD, TAKEN_BACK, VERSION, checksum,
    chunks,
};
use crate::proto::content::{Root, pieces};
use crate::proto::index_log::bytes_at;
use std::fmt;
use std::ops::Range;

/// Reads a journal: fed its bytes in order, it gathers what they claim, and stops at the first record that is not right.
/// Holds a bit for each piece of the file and one header, however long the journal is.
#[derive(Clone, Debug)]
pub struct Reader {
    header: Option<Header>,
    /// The header's checksum.
    id: u32,
    /// Of what comes next: the bytes that came, and how many it has, as far as that is known.
    part: Vec<u8>,
    wanted: usize,
    /// A bit for each piece of the file; empty while none is claimed.
    claimed: Vec<u64>,
    mark: Option<i64>,
    /// Bytes up to the end of the last good record.
    good: u64,
    damage: Option<Damage>,
}

/// Why nothing more of a journal is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is not one of ours.
    Foreign,
    /// Another version wrote it.
    Version(u32),
    /// Its header does not have its checksum, or is not one that we write.
    Header,
    /// A record does not have its checksum, or is another journal's.
    Checksum,
    /// A record claims what is no whole piece of the file.
    Record,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Foreign => f.write_str("it is not the journal of a download"),
            Damage::Version(version) => write!(f, "another version ({version}) wrote it"),
            Damage::Header => f.write_str("its header was changed"),
            Damage::Checksum => f.write_str("a record of it was changed"),
            Damage::Record => f.write_str("a record of it is not understood"),
        }
    }
}

impl std::error::Error for Damage {}

impl Default for Reader {
    fn default() -> Reader {
        Reader::new()
    }
}

impl Reader {
    /// Nothing read yet.
    pub fn new() -> Reader {
        Reader {
            header: None,
            id: 0,
            part: Vec::new(),
            wanted: HEAD,
            claimed: Vec::new(),
            mark: None,
            good: 0,
            damage: None,
        }
    }

    /// The next bytes of the journal. False: it is not worth reading further.
    pub fn push(&mut self, mut bytes: &[u8]) -> bool {
        while self.damage.is_none() {
            let missing = self.wanted - self.part.len();
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.part.extend_from_slice(now);
            bytes = later;
            if now.len() < missing {
                return true;
            }
            self.damage = self.judge().err();
        }
        false
    }

    /// Whose journal it is; `None`: that did not come (yet), or is not believed.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The pieces that the records so far claim: ranges in order that neither touch nor overlap.
    pub fn claims(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.find(at, true)?;
            at = self.find(start, false)?;
            Some(start..at)
        })
    }

    /// The time of the content's file at the last commit, in [`crate::machine::Meta::mtime`]'s unit, never negative; `None`
    /// if the last good record is not that.
    pub fn mark(&self) -> Option<i64> {
        self.mark
    }

    /// Where the journal is to be cut before anything is appended: behind its last good record. 0: it is to be begun anew,
    /// with [`Header::encode`].
    pub fn good(&self) -> u64 {
        self.good
    }

    /// Why the journal was not read further; `None`: nothing wrong was seen. (A journal that ends within a record, as a
    /// power cut leaves it, is longer than [`Reader::good`].)
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// Bytes of memory it takes beside itself: a bit for each piece of the file, at most 1 MiB, and one header.
    pub fn held(&self) -> usize {
        self.part.capacity() + self.claimed.capacity() * size_of::<u64>()
    }

    /// All that was wanted is there.
    fn judge(&mut self) -> Result<(), Damage> {
        if let Some(header) = &self.header {
            let size = header.size;
            self.record(size)?;
        } else if self.wanted == HEAD {
            self.wanted = header_len(&self.part)?;
            return Ok(());
        } else {
            let (header, id) = read_header(&self.part).ok_or(Damage::Header)?;
            (self.header, self.id, self.wanted) = (Some(header), id, RECORD);
        }
        self.good += self.part.len() as u64;
        self.part.clear();
        Ok(())
    }

    /// `size`: of the file.
    fn record(&mut self, size: u64) -> Result<(), Damage> {
        let record: [u8; RECORD] = bytes_at(&self.part, 0);
        if u32::from_le_bytes(bytes_at(&record, 12)) != checksum(self.id, &record) {
            return Err(Damage::Checksum);
        }
        let first = u64::from_le_bytes(bytes_at(&record, 0));
        let count = u64::from(u32::from_le_bytes(bytes_at(&record, 8)));
        if first & MARK != 0 && count == 0 {
            self.mark = i64::try_from(first & !MARK).ok();
            return Ok(());
        }
        let (first, claimed) = (first & !TAKEN_BACK, first & TAKEN_BACK == 0);
        let end = first.checked_add(count).filter(|&end| end <= chunks(size)).ok_or(Damage::Record)?;
        let whole = first % PIECE_CHUNKS == 0 && (end % PIECE_CHUNKS == 0 || end == chunks(size));
        if count == 0 || !whole {
            return Err(Damage::Record);
        }
        if self.claimed.is_empty() {
            self.claimed = vec![0; index(pieces(size).div_ceil(64))];
        }
        self.set(first / PIECE_CHUNKS..end.div_ceil(PIECE_CHUNKS), claimed);
        self.mark = None;
        Ok(())
    }

    /// A range of the file's pieces, not empty.
    fn set(&mut self, pieces: Range<u64>, claimed: bool) {
        let (start, end) = (index(pieces.start), index(pieces.end));
        let words = start / 64..end.div_ceil(64);
        let first = words.start;
        for (n, word) in self.claimed[words].iter_mut().enumerate() {
            let at = (first + n) * 64;
            let (from, to) = (start.saturating_sub(at), (end - at).min(64));
            let mask = u64::MAX << from & u64::MAX >> (64 - to);
            *word = if claimed { *word | mask } else { *word & !mask };
        }
    }

    /// The first piece from `from` on that is claimed, or is not. `None`: none is claimed. (Behind the file's last piece
    /// none is.)
    fn find(&self, from: u64, claimed: bool) -> Option<u64> {
        let words = self.claimed.len() as u64 * 64;
        let mut at = from;
        while at < words {
            let word = self.claimed[index(at / 64)];
            let there = (if claimed { word } else { !word }) >> (at % 64);
            if there != 0 {
                return Some(at + u64::from(there.trailing_zeros()));
            }
            at = (at / 64 + 1) * 64;
        }
        (!claimed).then_some(words)
    }
}

/// Of the whole header, from its first [`HEAD`] bytes.
fn header_len(head: &[u8]) -> Result<usize, Damage> {
    if head[..8] != MAGIC {
        return Err(Damage::Foreign);
    }
    let version = u32::from_le_bytes(bytes_at(head, 8));
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let len = usize::try_from(u32::from_le_bytes(bytes_at(head, 12))).unwrap_or(usize::MAX);
    let possible = FIXED + CHECK..=HEADER_MAX;
    if possible.contains(&len) { Ok(len) } else { Err(Damage::Header) }
}

/// A whole header, from magic to checksum, and the checksum.
fn read_header(bytes: &[u8]) -> Option<(Header, u32)> {
    let name = bytes.get(FIXED..bytes.len().checked_sub(CHECK)?)?;
    let root = Root::new(bytes_at(bytes, HEAD));
    let size = u64::from_le_bytes(bytes_at(bytes, HEAD + 32));
    let header = Header::new(root, size, std::str::from_utf8(name).ok()?)?;
    // One header has one form: what else is in it must agree, the checksum with all of it.
    (header.encode() == bytes).then(|| {
        let id = header.id();
        (header, id)
    })
}

/// A piece's number, below 2^23, as an index.
fn index(piece: u64) -> usize {
    piece as usize
}
