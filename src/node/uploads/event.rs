//! What the uploads tell of, and on which session.

use crate::machine::ConnId;
use crate::node::index::FileView;
use crate::proto::content::Root;
use crate::proto::v2::identity::NodeId;
use crate::proto::v2::message::{Code, FileInfo, Message};
use std::net::SocketAddr;

/// The session that a request came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) conn: ConnId,
    /// The other end of the connection: what bounds of a source count.
    pub(crate) peer: SocketAddr,
    /// Where the node is reached, for people.
    pub(crate) addr: SocketAddr,
    pub(crate) node: Option<NodeId>,
    /// Bytes of a file in one record.
    pub(crate) run: usize,
}

/// What is to be done for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Tell {
        conn: ConnId,
        message: Message,
    },
    /// Values of pieces that are held in memory, from number `first` on.
    Values {
        conn: ConnId,
        number: u32,
        first: u64,
        values: Vec<u8>,
    },
    /// What it has to send of files is more or less than before.
    Ranges {
        conn: ConnId,
    },
    /// It follows a file from now on.
    Follows {
        conn: ConnId,
        number: u32,
        root: Root,
    },
    /// It said what makes no sense.
    Nonsense {
        conn: ConnId,
    },
}

impl Event {
    /// A request is refused.
    pub(super) fn refused(conn: ConnId, id: u32, code: Code, text: &str) -> Event {
        Event::Tell { conn, message: Message::Refused { id, code, text: text.to_owned() } }
    }
}

/// A file as others are told of it.
pub(super) fn info_of(view: &FileView<'_>) -> FileInfo {
    FileInfo {
        name: view.name.to_owned(),
        size: view.meta.size,
        mtime: Some(view.meta.mtime.div_euclid(1_000_000_000)),
        root: view.root,
    }
}
