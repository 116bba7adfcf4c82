//! What two nodes say to each other in a session (docs/PROTOCOL.md, section 5). A message is the plaintext of one sealed
//! record: a type byte, then one JSON object for control, or a binary header and raw bytes for data.
//!
//! Odd types must be understood, even ones may be skipped. Whatever a message alone decides is decided here, so that
//! nobody behind this line meets a range that overflows or a name that leaves its folder. What takes a file's size or
//! the list of open requests is decided by the node.

mod data;
mod error;
mod files;
mod follow;
mod kind;
mod wire;

pub use data::{DATA_HEAD, DataKind, data_head};
pub use error::MessageError;
pub use files::{FILES_MAX, FileInfo, files_that_fit};
pub use follow::{HAVE_MAX, MAP_MAX, NODES_MAX};
pub use kind::Kind;

use crate::config::{CHUNK, RECORD_CHUNKS_MAX};
use crate::proto::content::{GROUP_PIECES, PIECE, Root};
use crate::proto::escape::cut;
use crate::proto::json::{ObjectScanner, Scan};
use crate::proto::name::check_name;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::ops::Range;

/// Bytes of a message: the chunks of the largest record and their header.
pub const PLAIN_MAX: usize = RECORD_CHUNKS_MAX * CHUNK + DATA_HEAD;
/// Bytes of a message that every node takes, whatever record size it agreed to: all but `files` and data fit.
pub const PLAIN_SMALL: usize = CHUNK + DATA_HEAD;
/// Bytes of a query.
pub const QUERY_MAX: usize = 512;
/// Bytes of a text, sent or believed.
pub const TEXT_MAX: usize = 200;
/// Chaining values of one request: as many as fill a record.
pub const VALUES_MAX: u32 = 2048;
/// Bytes of one `get`.
pub const GET_MAX: u64 = 1 << 22;
/// Bytes of the largest file.
pub const FILE_MAX: u64 = 1 << 43;
/// Pieces of the largest file.
pub const PIECES_MAX: u64 = FILE_MAX / PIECE;
/// Groups of pieces of the largest file.
pub const GROUPS_MAX: u64 = PIECES_MAX / GROUP_PIECES;

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The sender closes; nothing after it counts.
    Close {
        /// For a person: at most [`TEXT_MAX`] bytes, not escaped.
        reason: String,
    },
    /// Asks for a sign of life.
    Ping {
        /// The request.
        id: u32,
    },
    /// The answer to a ping.
    Pong {
        /// The request it answers.
        id: u32,
    },
    /// Asks for files.
    Search {
        /// The request.
        id: u32,
        /// In the console's search language; at most [`QUERY_MAX`] bytes, not escaped.
        query: String,
        /// Most files of the answer: 1 to [`FILES_MAX`].
        limit: u32,
    },
    /// Answers `search`, `browse` and `stat`, in one message or in several.
    Files {
        /// The request it answers.
        id: u32,
        /// At most [`FILES_MAX`], every name and size within the rules.
        files: Vec<FileInfo>,
        /// No more will come for this request.
        end: bool,
        /// Entries of a received message that were dropped for their name or size. Not sent.
        skipped: u32,
        /// On the page of a `browse` that is empty, the last one: files and folders that are there and not offered.
        left_out: u64,
    },
    /// Asks for a page of the list of all files, in the byte order of their names.
    Browse {
        /// The request.
        id: u32,
        /// The page begins behind this name; none: with the first.
        after: Option<String>,
        /// Most files of the page: 1 to [`FILES_MAX`].
        limit: u32,
    },
    /// Asks for the file of exactly this name, and for its root soon.
    Stat {
        /// The request.
        id: u32,
        /// A valid name.
        name: String,
    },
    /// Asks for chaining values of a file.
    Values {
        /// The request.
        id: u32,
        /// The file.
        root: Root,
        /// 0: a value stands for one piece; 11: for 2,048 of them.
        span: u8,
        /// The first value.
        first: u64,
        /// How many: 1 to [`VALUES_MAX`].
        count: u32,
    },
    /// Asks for bytes of a file.
    Get {
        /// The request.
        id: u32,
        /// The file.
        root: Root,
        /// The first byte: a multiple of [`CHUNK`].
        offset: u64,
        /// Bytes: 1 to [`GET_MAX`], ending at [`FILE_MAX`] at most.
        len: u64,
    },
    /// Answers any request with no.
    Refused {
        /// The request it answers.
        id: u32,
        /// For the program.
        code: Code,
        /// For a person: at most [`TEXT_MAX`] bytes, not escaped.
        text: String,
    },
    /// Takes a request back.
    Cancel {
        /// The request.
        id: u32,
    },
    /// Asks which pieces of a file the other side has, now and whenever it gets more, until the request is taken back.
    Follow {
        /// The request.
        id: u32,
        /// The file.
        root: Root,
        /// Which 2,048 pieces of it: below [`GROUPS_MAX`].
        group: u32,
    },
    /// Answers `follow`: first with all there is (`all`, or a map), later with what came since.
    Have {
        /// The request it answers.
        id: u32,
        /// The whole file is there, whatever the other fields say.
        all: bool,
        /// The group's pieces: bit `n % 8` of byte `n / 8` for its n-th; at most [`MAP_MAX`] bytes, missing ones are 0.
        map: Vec<u8>,
        /// Pieces by their number in the file: at most [`HAVE_MAX`], each below [`PIECES_MAX`].
        pieces: Vec<u64>,
    },
    /// Answers `follow`, at any time: other nodes that follow the file.
    Peers {
        /// The request it answers.
        id: u32,
        /// At most [`NODES_MAX`], judged by nobody yet; without the zones of IPv6.
        nodes: Vec<SocketAddr>,
    },
    /// What came of this file does not fit its root: whoever sent it may want to look at it again. Not answered.
    Wrong {
        /// The file.
        root: Root,
    },
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The file is not offered, or no longer what it was.
    Gone,
    /// Not now; later may do.
    Busy,
    /// Too many requests are open.
    Limit,
    /// Nothing that could ever be answered: a range beyond the end, a query with an error in it.
    Bad,
    /// Anything else, and every code that this version does not know.
    Unknown,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 5] = [Code::Gone, Code::Busy, Code::Limit, Code::Bad, Code::Unknown];

    /// As messages and logs write it.
    pub const fn name(self) -> &'static str {
        match self {
            Code::Gone => "gone",
            Code::Busy => "busy",
            Code::Limit => "limit",
            Code::Bad => "bad",
            Code::Unknown => "unknown",
        }
    }

    fn of(name: &str) -> Code {
        Code::ALL.into_iter().find(|code| code.name() == name).unwrap_or(Code::Unknown)
    }
}

/// What a plaintext is. Ranges lie within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A control message.
    Message(Message),
    /// Chaining values, an answer to [`Message::Values`].
    Values {
        /// The request it answers.
        id: u32,
        /// The number of the first value.
        first: u64,
        /// Where they lie: 1 to [`VALUES_MAX`] times 32 bytes.
        values: Range<usize>,
    },
    /// Bytes of a file, an answer to [`Message::Get`].
    Data {
        /// The request it answers.
        id: u32,
        /// Where in the file they belong: a multiple of [`CHUNK`].
        offset: u64,
        /// Where they lie: 1 byte to [`RECORD_CHUNKS_MAX`] chunks.
        body: Range<usize>,
    },
    /// Of a type that this version does not know and need not: ignore it.
    Skip(u8),
}

impl Message {
    /// Appends the plaintext. Texts are cut to [`TEXT_MAX`]; every other limit is the caller's to keep, as another node
    /// closes on a message beyond it ([`files_that_fit`] counts files).
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind().byte());
        match self {
            Message::Close { reason } => put(out, &wire::Close { reason: cut(reason, TEXT_MAX).into() }),
            Message::Ping { id } | Message::Pong { id } | Message::Cancel { id } => {
                put(out, &wire::Only { id: *id });
            }
            Message::Search { id, query, limit } => {
                put(out, &wire::Search { id: *id, query: query.into(), limit: *limit });
            }
            Message::Files { id, files, end, skipped: _, left_out } => {
                files::put(*id, files, (*end, *left_out), out);
            }
            Message::Browse { id, after, limit } => {
                put(out, &wire::Browse { id: *id, after: after.as_ref().map(Into::into), limit: *limit });
            }
            Message::Stat { id, name } => put(out, &wire::Stat { id: *id, name: name.into() }),
            Message::Values { id, root, span, first, count } => {
                let (id, root, span, first, count) = (*id, wire::Hex(*root), *span, *first, *count);
                put(out, &wire::Values { id, root, span, first, count });
            }
            Message::Get { id, root, offset, len } => {
                put(out, &wire::Get { id: *id, root: wire::Hex(*root), offset: *offset, len: *len });
            }
            Message::Refused { id, code, text } => {
                let text = cut(text, TEXT_MAX).into();
                put(out, &wire::Refused { id: *id, code: code.name().into(), text });
            }
            Message::Follow { id, root, group } => {
                put(out, &wire::Follow { id: *id, root: wire::Hex(*root), group: *group });
            }
            Message::Have { id, all, map, pieces } => follow::put_have(*id, *all, map, pieces, out),
            Message::Peers { id, nodes } => follow::put_peers(*id, nodes, out),
            Message::Wrong { root } => put(out, &wire::Wrong { root: wire::Hex(*root) }),
        }
    }

    /// Reads a whole plaintext.
    ///
    /// # Errors
    /// What is wrong with it. The session ends with that text: a node that sends such a thing cannot be talked to.
    pub fn parse(plain: &[u8]) -> Result<Parsed, MessageError> {
        let Some((&byte, rest)) = plain.split_first() else {
            return Err(MessageError::Empty);
        };
        if plain.len() > PLAIN_MAX {
            return Err(MessageError::TooLong);
        }
        if let Some(kind) = DataKind::of(byte) {
            return data::parse(kind, plain);
        }
        match Kind::of(byte) {
            Some(kind) => control(kind, rest).map(Parsed::Message),
            None if byte % 2 == 0 => Ok(Parsed::Skip(byte)),
            None => Err(MessageError::UnknownType(byte)),
        }
    }

    /// The request it makes, answers or takes back; none for `close` and `wrong`.
    pub const fn id(&self) -> Option<u32> {
        match self {
            Message::Close { .. } | Message::Wrong { .. } => None,
            Message::Ping { id }
            | Message::Pong { id }
            | Message::Search { id, .. }
            | Message::Files { id, .. }
            | Message::Browse { id, .. }
            | Message::Stat { id, .. }
            | Message::Values { id, .. }
            | Message::Get { id, .. }
            | Message::Refused { id, .. }
            | Message::Cancel { id }
            | Message::Follow { id, .. }
            | Message::Have { id, .. }
            | Message::Peers { id, .. } => Some(*id),
        }
    }

    /// Its type.
    pub const fn kind(&self) -> Kind {
        match self {
            Message::Close { .. } => Kind::Close,
            Message::Ping { .. } => Kind::Ping,
            Message::Pong { .. } => Kind::Pong,
            Message::Search { .. } => Kind::Search,
            Message::Files { .. } => Kind::Files,
            Message::Browse { .. } => Kind::Browse,
            Message::Stat { .. } => Kind::Stat,
            Message::Values { .. } => Kind::Values,
            Message::Get { .. } => Kind::Get,
            Message::Refused { .. } => Kind::Refused,
            Message::Cancel { .. } => Kind::Cancel,
            Message::Follow { .. } => Kind::Follow,
            Message::Have { .. } => Kind::Have,
            Message::Peers { .. } => Kind::Peers,
            Message::Wrong { .. } => Kind::Wrong,
        }
    }
}

fn control(kind: Kind, json: &[u8]) -> Result<Message, MessageError> {
    one_object(json)?;
    Ok(match kind {
        Kind::Close => {
            let wire::Close { reason } = get(kind, json)?;
            Message::Close { reason: cut(&reason, TEXT_MAX).to_owned() }
        }
        Kind::Ping => Message::Ping { id: get::<wire::Only>(kind, json)?.id },
        Kind::Pong => Message::Pong { id: get::<wire::Only>(kind, json)?.id },
        Kind::Cancel => Message::Cancel { id: get::<wire::Only>(kind, json)?.id },
        Kind::Search => {
            let wire::Search { id, query, limit } = get(kind, json)?;
            if query.len() > QUERY_MAX {
                return Err(MessageError::Query);
            }
            Message::Search { id, query: query.into_owned(), limit: page(limit)? }
        }
        Kind::Files => files::parse(get(kind, json)?)?,
        Kind::Browse => {
            let wire::Browse { id, after, limit } = get(kind, json)?;
            let after = after.map(|name| valid(name.into_owned())).transpose()?;
            Message::Browse { id, after, limit: page(limit)? }
        }
        Kind::Stat => {
            let wire::Stat { id, name } = get(kind, json)?;
            Message::Stat { id, name: valid(name.into_owned())? }
        }
        Kind::Values => {
            let wire::Values { id, root: wire::Hex(root), span, first, count } = get(kind, json)?;
            if !(1..=VALUES_MAX).contains(&count) {
                return Err(MessageError::Count);
            }
            let most = data::values_of_a_file(span).ok_or(MessageError::Span)?;
            within(first, count.into(), most)?;
            Message::Values { id, root, span, first, count }
        }
        Kind::Get => {
            let wire::Get { id, root: wire::Hex(root), offset, len } = get(kind, json)?;
            if !(1..=GET_MAX).contains(&len) {
                return Err(MessageError::Length);
            }
            aligned(offset)?;
            within(offset, len, FILE_MAX)?;
            Message::Get { id, root, offset, len }
        }
        Kind::Refused => {
            let wire::Refused { id, code, text } = get(kind, json)?;
            Message::Refused { id, code: Code::of(&code), text: cut(&text, TEXT_MAX).to_owned() }
        }
        Kind::Follow => {
            let wire::Follow { id, root: wire::Hex(root), group } = get(kind, json)?;
            if u64::from(group) >= GROUPS_MAX {
                return Err(MessageError::Group);
            }
            Message::Follow { id, root, group }
        }
        Kind::Have => follow::have(get(kind, json)?)?,
        Kind::Peers => follow::peers(get(kind, json)?)?,
        Kind::Wrong => {
            let wire::Wrong { root: wire::Hex(root) } = get(kind, json)?;
            Message::Wrong { root }
        }
    })
}

/// The bytes must be one object from the first to the last. Serde looks again, but allows more: depth, arrays for
/// structs, white space around.
fn one_object(json: &[u8]) -> Result<(), MessageError> {
    let mut scanner = ObjectScanner::new(json.len());
    match scanner.push(json) {
        Scan::Bad(error) => Err(MessageError::Json(error)),
        Scan::Complete if scanner.object().len() == json.len() => Ok(()),
        Scan::Complete | Scan::More => Err(MessageError::NotAlone),
    }
}

fn get<T: DeserializeOwned>(kind: Kind, json: &[u8]) -> Result<T, MessageError> {
    // What serde says may quote the message.
    serde_json::from_slice(json).map_err(|_| MessageError::Form(kind))
}

fn put(out: &mut Vec<u8>, form: &impl serde::Serialize) {
    // A `Vec` takes every byte, and the forms hold nothing that JSON lacks.
    let _ = serde_json::to_writer(out, form);
}

fn page(limit: u32) -> Result<u32, MessageError> {
    let within = limit >= 1 && usize::try_from(limit).is_ok_and(|limit| limit <= FILES_MAX);
    if within { Ok(limit) } else { Err(MessageError::Limit) }
}

fn valid(name: String) -> Result<String, MessageError> {
    check_name(&name).map_err(MessageError::Name)?;
    Ok(name)
}

fn aligned(offset: u64) -> Result<(), MessageError> {
    if offset % CHUNK as u64 == 0 { Ok(()) } else { Err(MessageError::Align) }
}

/// Whether `first` and what follows it end at `most` or before.
fn within(first: u64, count: u64, most: u64) -> Result<(), MessageError> {
    match first.checked_add(count) {
        Some(end) if end <= most => Ok(()),
        _ => Err(MessageError::Range),
    }
}

#[cfg(test)]
mod tests;
