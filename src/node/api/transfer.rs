//! Downloads and uploads, as `transfers` and their ends show them.

use super::Place;
use serde::Serialize;

/// A download that is complete and durable.
#[derive(Debug, Serialize)]
pub(crate) struct Downloaded<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: &'a str,
    pub(crate) bytes: u64,
    /// Every piece was checked against the file's root.
    pub(crate) verified: bool,
    /// Nodes that gave pieces of it in this life of the program.
    pub(crate) sources: usize,
    /// Bytes that were here from earlier.
    pub(crate) resumed: u64,
    /// The disk said that it keeps it. If not, it has its name, but a power cut may still lose it.
    #[serde(skip_serializing_if = "is_true")]
    pub(crate) confirmed: bool,
    /// It had been here, whole, and nothing was fetched.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) already: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands it so
fn is_true(flag: &bool) -> bool {
    *flag
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands it so
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A row of `transfers`: a download that is not complete.
#[derive(Debug, Serialize)]
pub(crate) struct TransferRow<'a> {
    /// What `pause`, `resume` and `cancel` know it by.
    pub(crate) number: u32,
    pub(crate) name: &'a str,
    pub(crate) size: Option<u64>,
    /// Of it here.
    pub(crate) bytes: u64,
    /// Bytes a second lately.
    pub(crate) rate: u64,
    /// Nodes that give it now.
    pub(crate) sources: usize,
    /// `queued`, `connecting`, `checking`, `receiving`, `waiting` (for a source), `paused`, `finishing` or `interrupted`.
    pub(crate) state: &'static str,
    /// In hex digits; none for one from an old node.
    pub(crate) root: Option<String>,
}

/// A row of `transfers`: a file that another node fetches from here.
#[derive(Debug, Serialize)]
pub(crate) struct UploadRow<'a> {
    /// What `cancel` knows it by.
    pub(crate) number: u32,
    pub(crate) name: &'a str,
    /// Who fetches it.
    #[serde(flatten)]
    pub(crate) at: Place,
    /// None of an old node.
    pub(crate) id: Option<String>,
    /// Of the whole file.
    pub(crate) size: u64,
    /// Sent there; other nodes may give the rest.
    pub(crate) bytes: u64,
    /// Bytes a second lately.
    pub(crate) rate: u64,
}
