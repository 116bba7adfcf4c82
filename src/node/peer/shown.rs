//! Names that the operator has before his eyes: those of the last search, of the last `browse`, of downloads under way. A
//! line that could be read otherwise means one of them.

use super::Peer;
use crate::proto::command::{is_plain, is_shown_as};
use std::iter;

/// Bytes of names that are remembered of a `browse`, beside those that are read well without.
const BYTES_MAX: usize = 1 << 20;

/// What the last `browse` showed, as far as it must be known for reading a name.
#[derive(Debug, Default)]
pub(super) struct Browsed {
    names: Vec<String>,
    bytes: usize,
}

impl Browsed {
    pub(super) fn clear(&mut self) {
        *self = Browsed::default();
    }

    pub(super) fn add(&mut self, name: &str) {
        if self.bytes + name.len() <= BYTES_MAX && !is_plain(name) {
            self.bytes += name.len() + size_of::<String>();
            self.names.push(name.to_owned());
        }
    }
}

impl Peer {
    /// The name that was shown and is meant by `typed`.
    pub(super) fn shown(&self, typed: &str) -> Option<String> {
        let hits = self.hits.iter().flat_map(|hit| iter::once(&hit.name).chain(&hit.names));
        let transfers = self.transfers.iter().map(|(_, transfer)| &transfer.name);
        let names = hits.chain(transfers).chain(&self.browsed.names);
        let fits = names.filter_map(|name| Some((is_shown_as(name, typed)?, name)));
        fits.min_by_key(|(fit, _)| *fit).map(|(_, name)| name.clone())
    }
}
