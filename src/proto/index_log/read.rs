//! Reading the log from its beginning, in slices of any length.

use super::{
    CHECK, Entry, HEAD, HEADER, KIND_FILE, MAGIC, Meta, Root, SIZE_MAX, TAIL, VALUE, VERSION, record_len,
    values_len,
};
use std::fmt;

/// Reads a log: fed its bytes in order, it gives the entries of whole, right records, and stops at the first that is not.
/// Holds no values, and no more than the head of a record.
#[derive(Clone, Debug)]
pub struct Reader {
    state: State,
    /// Of a header, head or tail that came in part.
    part: [u8; HEAD],
    part_len: usize,
    sum: blake3::Hasher,
    /// Of the record that is being read.
    path: u32,
    /// Bytes up to the end of the last good record.
    good: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Header,
    Head,
    Values { meta: Meta, left: u64 },
    Tail { meta: Meta },
    Stopped(Damage),
}

/// Why nothing more of a log can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is not one of ours.
    Foreign,
    /// Another version wrote it.
    Version(u32),
    /// A record is not one that we write.
    Record,
    /// A record does not have its checksum.
    Checksum,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Foreign => f.write_str("it is not a log of roots"),
            Damage::Version(version) => write!(f, "another version ({version}) wrote it"),
            Damage::Record => f.write_str("a record of it is not understood"),
            Damage::Checksum => f.write_str("a record of it was changed"),
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
            state: State::Header,
            part: [0; HEAD],
            part_len: 0,
            sum: blake3::Hasher::new(),
            path: 0,
            good: 0,
        }
    }

    /// The next bytes of the log; the entries that became whole with them, in order. A later entry with the same
    /// [`Meta::device`] and [`Meta::inode`] replaces an earlier one.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<Entry> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            match self.state {
                State::Header => {
                    let Some(header) = self.gather::<HEADER>(&mut bytes) else { break };
                    self.begin(&header);
                }
                State::Head => {
                    let Some(head) = self.gather::<HEAD>(&mut bytes) else { break };
                    self.begin_record(&head);
                }
                State::Values { meta, left } => self.values(&mut bytes, meta, left),
                State::Tail { meta } => {
                    let Some(tail) = self.gather::<TAIL>(&mut bytes) else { break };
                    found.extend(self.end_record(&tail, meta));
                }
                State::Stopped(_) => break,
            }
        }
        found
    }

    /// Where the log is to be cut before anything is appended: behind its last good record. 0: it is to be begun anew,
    /// with [`super::header`].
    pub fn good(&self) -> u64 {
        self.good
    }

    /// Why the log was not read further; `None`: nothing wrong was seen. (A log that ends within a record, as a power cut
    /// leaves it, is longer than [`Reader::good`].)
    pub fn damage(&self) -> Option<Damage> {
        match self.state {
            State::Stopped(damage) => Some(damage),
            _ => None,
        }
    }

    /// Takes bytes until there are `N`.
    fn gather<const N: usize>(&mut self, bytes: &mut &[u8]) -> Option<[u8; N]> {
        const { assert!(N <= HEAD) };
        let room = self.part.get_mut(self.part_len..N)?;
        let (now, later) = bytes.split_at(room.len().min(bytes.len()));
        room[..now.len()].copy_from_slice(now);
        *bytes = later;
        self.part_len += now.len();
        if self.part_len < N {
            return None;
        }
        self.part_len = 0;
        self.part.first_chunk().copied()
    }

    fn begin(&mut self, header: &[u8; HEADER]) {
        let version = u32::from_le_bytes(bytes_at(header, 8));
        self.state = if header[..8] != MAGIC {
            State::Stopped(Damage::Foreign)
        } else if version != VERSION {
            State::Stopped(Damage::Version(version))
        } else if *header != super::header() {
            State::Stopped(Damage::Foreign)
        } else {
            self.good = HEADER as u64;
            State::Head
        };
    }

    fn begin_record(&mut self, head: &[u8; HEAD]) {
        let meta = Meta {
            device: u64::from_le_bytes(bytes_at(head, 5)),
            inode: u64::from_le_bytes(bytes_at(head, 13)),
            size: u64::from_le_bytes(bytes_at(head, 21)),
            mtime: i64::from_le_bytes(bytes_at(head, 29)),
            ctime: i64::from_le_bytes(bytes_at(head, 37)),
            marks: u32::from_le_bytes(bytes_at(head, 45)),
            born: u32::from_le_bytes(bytes_at(head, 49)),
        };
        self.path = u32::from_le_bytes(bytes_at(head, 53));
        // The size alone decides how long the record is: what else is said of it must agree.
        let agrees = head[4] == KIND_FILE
            && meta.size <= SIZE_MAX
            && u64::from(u32::from_le_bytes(bytes_at(head, 0))) == record_len(meta.size)
            && u64::from(u32::from_le_bytes(bytes_at(head, 57))) == values_len(meta.size);
        self.sum = blake3::Hasher::new();
        self.sum.update(head);
        self.state = match values_len(meta.size) {
            _ if !agrees => State::Stopped(Damage::Record),
            0 => State::Tail { meta },
            values => State::Values { meta, left: values * VALUE as u64 },
        };
    }

    fn values(&mut self, bytes: &mut &[u8], meta: Meta, left: u64) {
        let take = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (now, later) = bytes.split_at(take);
        self.sum.update(now);
        *bytes = later;
        self.state = match left - take as u64 {
            0 => State::Tail { meta },
            left => State::Values { meta, left },
        };
    }

    fn end_record(&mut self, tail: &[u8; TAIL], meta: Meta) -> Option<Entry> {
        let (root, check) = tail.split_first_chunk::<32>()?;
        self.sum.update(root);
        if self.sum.finalize().as_bytes()[..CHECK] != *check {
            self.state = State::Stopped(Damage::Checksum);
            return None;
        }
        let entry = Entry::new(meta, self.path, Root::new(*root), self.good);
        self.good = entry.record.end;
        self.state = State::Head;
        Some(entry)
    }
}

/// A field of what was gathered whole: the offsets are the format's.
pub(in crate::proto) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}
