//! How far the index is, and what lies in the shared folder and is not offered, as `status` and `files` tell it.

use super::{bytes, plural};
use crate::machine::LeftOut;
use crate::proto::escape::for_terminal;
use serde::Serialize;

/// How far the index of the shared folder is.
#[derive(Debug, Serialize)]
pub(in crate::node::peer) struct IndexStatus {
    pub(in crate::node::peer) files: u64,
    pub(in crate::node::peer) bytes: u64,
    pub(in crate::node::peer) hashed_files: u64,
    pub(in crate::node::peer) hashed_bytes: u64,
    /// What is being hashed now.
    pub(in crate::node::peer) hashing: Option<String>,
    /// There are more files than the index takes.
    pub(in crate::node::peer) full: bool,
    /// Of the last listing of everything.
    pub(in crate::node::peer) left_out: NotOffered,
}

impl IndexStatus {
    pub(super) fn text(&self) -> String {
        let files = plural(usize::try_from(self.files).unwrap_or(usize::MAX), "file", "files");
        let mut text = format!("{files}, {}", bytes(self.bytes));
        if self.hashed_files < self.files {
            let done = self.hashed_bytes.saturating_mul(100) / self.bytes.max(1);
            text.push_str(&format!("; {} hashed, {done} %", self.hashed_files));
        }
        if let Some(name) = &self.hashing {
            text.push_str(&format!(", now {}", for_terminal(name)));
        }
        if self.full {
            text.push_str("; the limit of files is reached: the others are not found by search");
        }
        text
    }
}

/// In all, and the names of some.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::node::peer) struct NotOffered {
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
