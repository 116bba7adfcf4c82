//! A record of the index, and the keys it stands by.

use crate::machine::Meta;
use crate::proto::content::Root;
use crate::proto::index_log::Entry;
use std::cmp::Ordering;

/// A file's number in the index. It never names another file later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNo {
    pub(super) slot: u32,
    pub(super) stamp: u32,
}

/// What is known of a record's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No record.
    Free,
    /// A root without a file.
    Unclaimed,
    /// To be hashed.
    Waiting,
    /// To be hashed once it has been left alone for a while.
    Paused,
    /// Being hashed.
    Hashing,
    /// The root is known.
    Known,
    /// Could not be read; tried again when somebody wants it, at its next change and with the next listing of everything.
    Unreadable,
}

/// Where a record of the log begins that nobody wrote.
pub(super) const NOWHERE: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct File {
    pub(super) name: Box<str>,
    /// The name as search sees it, where it differs.
    pub(super) folded: Option<Box<str>>,
    pub(super) meta: Meta,
    /// [`crate::proto::index_log::path_of`] its name, or the last one it had.
    pub(super) path: u32,
    /// Where its record in the log begins.
    pub(super) record: u64,
    pub(super) root: Option<Root>,
    pub(super) stamp: u32,
    /// The last listing that named it, or in which it vanished.
    pub(super) seen: u32,
    pub(super) state: State,
    /// How often it changed before it could be left alone.
    pub(super) restless: u8,
}

impl File {
    /// No record.
    pub(super) fn free() -> File {
        File {
            name: Box::default(),
            folded: None,
            meta: Meta::default(),
            path: 0,
            record: NOWHERE,
            root: None,
            stamp: 0,
            seen: 0,
            state: State::Free,
            restless: 0,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn folded(&self) -> &str {
        self.folded.as_deref().unwrap_or(&self.name)
    }

    pub(super) fn meta(&self) -> Meta {
        self.meta
    }

    pub(super) fn root(&self) -> Option<Root> {
        self.root
    }

    /// Where its record in the log begins.
    pub(super) fn record(&self) -> Option<u64> {
        (self.record != NOWHERE).then_some(self.record)
    }

    /// What the log holds of it.
    pub(super) fn entry(&self) -> Option<Entry> {
        let (record, root) = (self.record()?, self.root?);
        let (meta, path) = (self.meta, self.path);
        let nowhere = Entry { meta, path, root, record: 0..0, values_at: None, groups_at: None };
        Some(nowhere.moved(record))
    }

    /// Bytes of that.
    pub(super) fn record_len(&self) -> u64 {
        self.entry().map_or(0, |entry| entry.record.end - entry.record.start)
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn restless(&self) -> u8 {
        self.restless
    }

    /// Whether its root is also that of a file that is `meta` at `path`, as far as can be told without reading that.
    pub(super) fn is_like(&self, meta: &Meta, path: u32) -> bool {
        let old = &self.meta;
        if self.path == path && old.is_still(meta) {
            return true;
        }
        if (old.size, old.mtime) != (meta.size, meta.mtime)
            || !old.may_be_born_with(meta)
            || old.inode != meta.inode
        {
            return false;
        }
        // Not touched, on a disk that may have got another number; or moved, which is a change of its own. What keeps its
        // name was written to, unless it was seen to go, and is the same one.
        let moved = self.path != path
            || self.state == State::Unclaimed && self.seen != 0 && old.born != 0 && old.born == meta.born;
        old.ctime == meta.ctime || old.device == meta.device && (moved || old.marks != meta.marks)
    }

    pub(super) fn is_named(&self) -> bool {
        !matches!(self.state, State::Free | State::Unclaimed)
    }
}

pub(super) fn inode_order(files: &[File], a: u32, b: u32) -> Ordering {
    let key = |slot: u32| (files[slot as usize].meta.inode, slot);
    key(a).cmp(&key(b))
}

pub(super) fn path_order(files: &[File], a: u32, b: u32) -> Ordering {
    let key = |slot: u32| (files[slot as usize].path, slot);
    key(a).cmp(&key(b))
}

pub(super) fn size_order(files: &[File], a: u32, b: u32) -> Ordering {
    let key = |slot: u32| (files[slot as usize].meta.size, slot);
    key(a).cmp(&key(b))
}

pub(super) fn root_order(files: &[File], a: u32, b: u32) -> Ordering {
    let key = |slot: u32| (files[slot as usize].root, slot);
    key(a).cmp(&key(b))
}
