//! Downloads and uploads, as `transfers` and their ends show them.

use super::{Place, bytes, plural};
use crate::proto::escape::for_terminal;
use serde::Serialize;

/// A download that is complete and durable.
#[derive(Debug, Serialize)]
pub(in crate::node::peer) struct Downloaded<'a> {
    pub(in crate::node::peer) name: &'a str,
    pub(in crate::node::peer) path: &'a str,
    pub(in crate::node::peer) bytes: u64,
    /// Every piece was checked against the file's root.
    pub(in crate::node::peer) verified: bool,
    /// Nodes that gave pieces of it in this life of the program.
    pub(in crate::node::peer) sources: usize,
    /// Bytes that were here from earlier.
    pub(in crate::node::peer) resumed: u64,
    /// The disk said that it keeps it. If not, it has its name, but a power cut may still lose it.
    #[serde(skip_serializing_if = "is_true")]
    pub(in crate::node::peer) confirmed: bool,
    /// It had been here, whole, and nothing was fetched.
    #[serde(skip_serializing_if = "is_false")]
    pub(in crate::node::peer) already: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands it so
fn is_true(flag: &bool) -> bool {
    *flag
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands it so
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Downloaded<'_> {
    pub(super) fn text(&self) -> String {
        let (name, path) = (for_terminal(self.name), for_terminal(self.path));
        if self.already {
            return format!("{name} is here already: {path}\n");
        }
        let check = if self.verified { "verified" } else { "unverified: old protocol" };
        let mut about = format!("{}, {check}", bytes(self.bytes));
        if self.sources > 1 {
            about.push_str(&format!(", from {} nodes", self.sources));
        }
        if self.resumed > 0 {
            about.push_str(&format!(", {} were here already", bytes(self.resumed)));
        }
        let mut text = format!("downloaded {name} ({about}) to {path}\n");
        if !self.confirmed {
            text.push_str(&format!("{name} is saved but not confirmed on disk: a power cut may lose it\n"));
        }
        text
    }
}

/// A row of `transfers`: a download that is not complete.
#[derive(Debug, Serialize)]
pub(in crate::node::peer) struct TransferRow<'a> {
    /// What `pause`, `resume` and `cancel` know it by.
    pub(in crate::node::peer) number: u32,
    pub(in crate::node::peer) name: &'a str,
    pub(in crate::node::peer) size: Option<u64>,
    /// Of it here.
    pub(in crate::node::peer) bytes: u64,
    /// Bytes a second lately.
    pub(in crate::node::peer) rate: u64,
    /// Nodes that give it now.
    pub(in crate::node::peer) sources: usize,
    /// `queued`, `connecting`, `checking`, `receiving`, `waiting` (for a source), `paused`, `finishing` or `interrupted`.
    pub(in crate::node::peer) state: &'static str,
    /// In hex digits; none for one from an old node.
    pub(in crate::node::peer) root: Option<String>,
}

impl TransferRow<'_> {
    pub(super) fn text(&self) -> String {
        let TransferRow { number, name, state, .. } = self;
        let size = self.size.map_or("size?".to_owned(), bytes);
        let mut text = format!(
            "{number:>3}  {state:<11}  {:>9} of {size:>9}  {}",
            bytes(self.bytes),
            for_terminal(name)
        );
        if self.sources > 0 {
            text.push_str(&format!(
                "  {}/s from {}",
                bytes(self.rate),
                plural(self.sources, "node", "nodes")
            ));
        }
        text.push('\n');
        text
    }
}

/// A row of `transfers`: a file that another node fetches from here.
#[derive(Debug, Serialize)]
pub(in crate::node::peer) struct UploadRow<'a> {
    /// What `cancel` knows it by.
    pub(in crate::node::peer) number: u32,
    pub(in crate::node::peer) name: &'a str,
    /// Who fetches it.
    #[serde(flatten)]
    pub(in crate::node::peer) at: Place,
    /// None of an old node.
    pub(in crate::node::peer) id: Option<String>,
    /// Of the whole file.
    pub(in crate::node::peer) size: u64,
    /// Sent there; other nodes may give the rest.
    pub(in crate::node::peer) bytes: u64,
    /// Bytes a second lately.
    pub(in crate::node::peer) rate: u64,
}

impl UploadRow<'_> {
    pub(super) fn text(&self) -> String {
        let UploadRow { number, name, at, size, rate, .. } = self;
        let (sent, size, rate) = (bytes(self.bytes), bytes(*size), bytes(*rate));
        let name = for_terminal(name);
        format!("{number:>3}  {:<11}  {sent:>9} of {size:>9}  {name}  {rate}/s to {at}\n", "sending")
    }
}
