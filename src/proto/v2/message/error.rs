//! What is wrong with a message. The text goes to the other node in `close`, so it holds nothing of the message but
//! numbers.

use super::{FILES_MAX, GET_MAX, GROUPS_MAX, HAVE_MAX, Kind, MAP_MAX, NODES_MAX, QUERY_MAX, VALUES_MAX};
use crate::config::CHUNK;
use crate::proto::json::JsonError;
use crate::proto::name::NameError;
use std::fmt;

/// Why a plaintext is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// No type byte.
    Empty,
    /// More than [`super::PLAIN_MAX`] bytes.
    TooLong,
    /// An odd type that this version does not know.
    UnknownType(u8),
    /// What follows the type byte is no JSON object.
    Json(JsonError),
    /// The object does not end, or something stands around it.
    NotAlone,
    /// A field is missing, doubled or of the wrong kind.
    Form(Kind),
    /// The query is longer than [`QUERY_MAX`].
    Query,
    /// The limit is not 1 to [`FILES_MAX`].
    Limit,
    /// More than [`FILES_MAX`] entries.
    TooManyFiles,
    /// The name asked for could not be a file's.
    Name(NameError),
    /// No span that values have.
    Span,
    /// Not 1 to [`VALUES_MAX`] values.
    Count,
    /// Not 1 to [`GET_MAX`] bytes.
    Length,
    /// The offset is no multiple of [`CHUNK`].
    Align,
    /// Ends beyond the largest file.
    Range,
    /// No group that the largest file has.
    Group,
    /// Not whole bytes in lower-case hex digits, or more than [`MAP_MAX`].
    Map,
    /// More than [`HAVE_MAX`] pieces.
    TooManyPieces,
    /// More than [`NODES_MAX`] nodes.
    TooManyNodes,
    /// The header of data is short, or not zero where it must be.
    Head,
    /// No data behind the header, or not whole values.
    Body,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::Empty => f.write_str("the message is empty"),
            MessageError::TooLong => f.write_str("the message is larger than a record may be"),
            MessageError::UnknownType(byte) => {
                write!(f, "the message type {byte} is unknown, and odd types must be understood")
            }
            MessageError::Json(error) => write!(f, "the message is malformed: {error}"),
            MessageError::NotAlone => f.write_str("the message is not exactly one whole JSON object"),
            MessageError::Form(kind) => {
                write!(f, "a field of `{}` is missing, there twice or of the wrong kind", kind.name())
            }
            MessageError::Query => write!(f, "the query is longer than {QUERY_MAX} bytes"),
            MessageError::Limit => write!(f, "`limit` must be from 1 to {FILES_MAX}"),
            MessageError::TooManyFiles => write!(f, "more than {FILES_MAX} files in one message"),
            MessageError::Name(error) => error.fmt(f),
            MessageError::Span => f.write_str("`span` must be 0 or 11"),
            MessageError::Count => write!(f, "`count` must be from 1 to {VALUES_MAX}"),
            MessageError::Length => write!(f, "`len` must be from 1 to {GET_MAX}"),
            MessageError::Align => write!(f, "the offset must be a multiple of {CHUNK}"),
            MessageError::Range => f.write_str("the range ends beyond the largest possible file"),
            MessageError::Group => write!(f, "`group` must be below {GROUPS_MAX}"),
            MessageError::Map => write!(f, "`map` must be at most {MAP_MAX} bytes in lower-case hex digits"),
            MessageError::TooManyPieces => write!(f, "more than {HAVE_MAX} pieces in one message"),
            MessageError::TooManyNodes => write!(f, "more than {NODES_MAX} nodes in one message"),
            MessageError::Head => {
                f.write_str("the header of a data message is short or not zero in its gaps")
            }
            MessageError::Body => f.write_str("a data message is empty, too long or ends within a value"),
        }
    }
}

impl std::error::Error for MessageError {}
