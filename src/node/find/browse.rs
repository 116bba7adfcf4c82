//! One listing of what a node shares.

use crate::proto::v2::message::FileInfo;
use std::net::SocketAddr;

/// A node's files as they come.
#[derive(Debug)]
pub(crate) struct Browse {
    pub(crate) at: SocketAddr,
    /// The last name so far.
    pub(crate) after: Option<String>,
    /// Something of the page was new.
    pub(crate) fresh: bool,
    pub(crate) files: usize,
    /// Those that have a number for `get`.
    pub(crate) numbered: usize,
    pub(crate) bytes: u64,
    /// Only files beneath this folder, which are to be downloaded.
    pub(crate) beneath: Option<Beneath>,
}

/// The files beneath a folder.
#[derive(Debug)]
pub(crate) struct Beneath {
    /// The folder's name and a slash.
    pub(crate) prefix: String,
    pub(crate) found: Vec<FileInfo>,
}
