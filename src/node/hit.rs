//! What a search found, for those who show it, number it and fetch it.

use crate::proto::content::Root;
use std::net::SocketAddr;

/// A result of a search, as `get N` needs it.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    /// Its best name.
    pub(crate) name: String,
    /// Others that it goes by.
    pub(crate) names: Vec<String>,
    /// Unknown of old nodes' files.
    pub(crate) size: Option<u64>,
    /// Unknown of those, too, and while the node has not hashed it.
    pub(crate) root: Option<Root>,
    pub(crate) sources: Vec<SocketAddr>,
    /// Old nodes that have a file of that name, which may be this one.
    pub(crate) old: Vec<SocketAddr>,
}

impl Hit {
    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| size_of::<String>() + name.len()).sum();
        let sources = (self.sources.len() + self.old.len()) * size_of::<SocketAddr>();
        size_of::<Hit>() + self.name.len() + names + sources
    }
}
