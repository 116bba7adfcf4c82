//! What a node is and does: the answer to `status`.

use super::{IndexStatus, Place};
use serde::Serialize;
use std::net::SocketAddr;

/// The answer to `status`.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// Where it listens.
    #[serde(flatten)]
    pub(crate) at: Place,
    pub(crate) id: String,
    /// A node with the same key, as it said or proved.
    pub(crate) clone: Option<SocketAddr>,
    /// The short name of the group; none: an open node.
    pub(crate) group: Option<String>,
    pub(crate) version: &'static str,
    pub(crate) uptime_seconds: u64,
    pub(crate) nodes: usize,
    pub(crate) nodes_bootstrap: usize,
    pub(crate) nodes_multicast: usize,
    pub(crate) multicast: String,
    pub(crate) bootstraps: Vec<String>,
    pub(crate) v1: bool,
    pub(crate) uploads: usize,
    pub(crate) uploaded_bytes: u64,
    pub(crate) downloads: usize,
    pub(crate) downloaded_bytes: u64,
    pub(crate) running: Vec<Running>,
    pub(crate) connections: usize,
    /// Nodes with an open session.
    pub(crate) sessions: usize,
    pub(crate) index: IndexStatus,
}

/// A download under way, in `status`.
#[derive(Debug, Serialize)]
pub(crate) struct Running {
    pub(crate) name: String,
    /// As `transfers` shows it.
    pub(crate) state: &'static str,
    /// Nodes that give it now.
    pub(crate) sources: usize,
    pub(crate) bytes: u64,
}
