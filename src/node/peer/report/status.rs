//! What a node is and does: the answer to `status`.

use super::{IndexStatus, Place, bytes, clock, plural};
use crate::proto::escape::for_terminal;
use crate::time::Duration;
use serde::Serialize;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// The answer to `status`.
#[derive(Debug, Serialize)]
pub(in crate::node::peer) struct Status {
    /// Where it listens.
    #[serde(flatten)]
    pub(in crate::node::peer) at: Place,
    pub(in crate::node::peer) id: String,
    /// A node with the same key, as it said or proved.
    pub(in crate::node::peer) clone: Option<SocketAddr>,
    /// The short name of the group; none: an open node.
    pub(in crate::node::peer) group: Option<String>,
    pub(in crate::node::peer) version: &'static str,
    pub(in crate::node::peer) uptime_seconds: u64,
    pub(in crate::node::peer) nodes: usize,
    pub(in crate::node::peer) nodes_bootstrap: usize,
    pub(in crate::node::peer) nodes_multicast: usize,
    pub(in crate::node::peer) multicast: String,
    pub(in crate::node::peer) bootstraps: Vec<String>,
    pub(in crate::node::peer) v1: bool,
    pub(in crate::node::peer) uploads: usize,
    pub(in crate::node::peer) uploaded_bytes: u64,
    pub(in crate::node::peer) downloads: usize,
    pub(in crate::node::peer) downloaded_bytes: u64,
    pub(in crate::node::peer) running: Vec<Running>,
    pub(in crate::node::peer) connections: usize,
    /// Nodes with an open session.
    pub(in crate::node::peer) sessions: usize,
    pub(in crate::node::peer) index: IndexStatus,
}

/// A download under way, in `status`.
#[derive(Debug, Serialize)]
pub(in crate::node::peer) struct Running {
    pub(in crate::node::peer) name: String,
    /// As `transfers` shows it.
    pub(in crate::node::peer) state: &'static str,
    /// Nodes that give it now.
    pub(in crate::node::peer) sources: usize,
    pub(in crate::node::peer) bytes: u64,
}

impl Status {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        row("node", &self.at);
        row("id", &self.id);
        if let Some(clone) = self.clone {
            row("clone", &format!("{clone} says it has this node's own key: see `ds-peer identity --help`"));
        }
        row("group", &self.group.as_deref().unwrap_or("none: an open node"));
        row("version", &self.version);
        row("up", &clock(Duration::from_secs(self.uptime_seconds)));
        let lists = format!(
            "{} ({} bootstrap, {} multicast)",
            self.nodes, self.nodes_bootstrap, self.nodes_multicast
        );
        row("nodes", &lists);
        row("multicast", &self.multicast);
        for bootstrap in &self.bootstraps {
            row("bootstrap", &for_terminal(bootstrap));
        }
        row("old protocol", &if self.v1 { "on" } else { "off" });
        row("uploads", &format!("{} running, {} in all", self.uploads, bytes(self.uploaded_bytes)));
        row("downloads", &format!("{} running, {} in all", self.downloads, bytes(self.downloaded_bytes)));
        for Running { name, state, sources, bytes: n } in &self.running {
            let mut text = format!("{}: {state}", for_terminal(name));
            if *sources > 0 && *state == "receiving" {
                text.push_str(&format!(" from {}", plural(*sources, "node", "nodes")));
            }
            row("", &format!("{text}, {} so far", bytes(*n)));
        }
        row(
            "connections",
            &format!("{}, {}", self.connections, plural(self.sessions, "session", "sessions")),
        );
        row("index", &self.index.text());
        let not_offered = self.index.left_out.text();
        if !not_offered.is_empty() {
            row("not offered", &for_terminal(not_offered));
        }
        text
    }
}
