//! Data messages: a header of 32 bytes, so that what follows it keeps the alignment of the buffer, then the bytes.

use super::{FILE_MAX, MessageError, Parsed, aligned, within};

/// Bytes of the header.
pub const DATA_HEAD: usize = 32;
/// Bytes of a chaining value.
const VALUE: usize = 32;
/// A piece is 2 to the power of this many bytes.
const PIECE_BITS: u32 = 20;

/// The two kinds of data; the value is the type byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DataKind {
    /// Chaining values.
    Values = 17,
    /// Bytes of a file.
    Data = 21,
}

impl DataKind {
    /// The type byte.
    pub const fn byte(self) -> u8 {
        self as u8
    }

    pub(super) const fn of(byte: u8) -> Option<DataKind> {
        match byte {
            17 => Some(DataKind::Values),
            21 => Some(DataKind::Data),
            _ => None,
        }
    }
}

/// The header of an answer to request `id`. `at`: the number of the first value, or the offset in the file.
pub fn data_head(kind: DataKind, id: u32, at: u64) -> [u8; DATA_HEAD] {
    let mut head = [0; DATA_HEAD];
    head[0] = kind.byte();
    head[4..8].copy_from_slice(&id.to_le_bytes());
    head[8..16].copy_from_slice(&at.to_le_bytes());
    head
}

/// Reads a data message of at most `PLAIN_MAX` bytes. That its range was asked for is the node's to check.
pub(super) fn parse(kind: DataKind, plain: &[u8]) -> Result<Parsed, MessageError> {
    let Some((head, body)) = plain.split_first_chunk::<DATA_HEAD>() else {
        return Err(MessageError::Head);
    };
    let id = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let at =
        u64::from_le_bytes([head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15]]);
    if *head != data_head(kind, id, at) {
        return Err(MessageError::Head);
    }
    if body.is_empty() {
        return Err(MessageError::Body);
    }
    let range = DATA_HEAD..plain.len();
    match kind {
        DataKind::Values => {
            if body.len() % VALUE != 0 {
                return Err(MessageError::Body);
            }
            within(at, (body.len() / VALUE) as u64, FILE_MAX >> PIECE_BITS)?;
            Ok(Parsed::Values { id, first: at, values: range })
        }
        DataKind::Data => {
            aligned(at)?;
            within(at, body.len() as u64, FILE_MAX)?;
            Ok(Parsed::Data { id, offset: at, body: range })
        }
    }
}

/// Values of the largest file, each of which stands for 2 to the power of `span` pieces; none for an unknown span.
pub(super) const fn values_of_a_file(span: u8) -> Option<u64> {
    match span {
        0 => Some(FILE_MAX >> PIECE_BITS),
        11 => Some(FILE_MAX >> (PIECE_BITS + 11)),
        _ => None,
    }
}
