//! How far the index is, and what lies in the shared folder and is not offered, as `status` and `files` tell it.

use crate::machine::LeftOut;
use serde::Serialize;

/// How far the index of the shared folder is.
#[derive(Debug, Serialize)]
pub(crate) struct IndexStatus {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) hashed_files: u64,
    pub(crate) hashed_bytes: u64,
    /// What is being hashed now.
    pub(crate) hashing: Option<String>,
    /// There are more files than the index takes.
    pub(crate) full: bool,
    /// Of the last listing of everything.
    pub(crate) left_out: NotOffered,
}

/// In all, and the names of some.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct NotOffered {
    /// Files and folders that this process may not read.
    unreadable: u64,
    /// Files whose names are not safe on every system.
    names: u64,
    /// Folders in too many others.
    deep: u64,
    examples: Vec<String>,
    #[serde(skip)]
    text: String,
}

impl From<&LeftOut> for NotOffered {
    fn from(left_out: &LeftOut) -> NotOffered {
        let LeftOut { unreadable, names, deep, .. } = *left_out;
        let text = if left_out.count() > 0 { left_out.to_string() } else { String::new() };
        NotOffered { unreadable, names, deep, examples: left_out.some.clone(), text }
    }
}

impl NotOffered {
    /// Empty if everything is offered.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}
