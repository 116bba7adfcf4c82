//! `files`: what a node offers, entry by entry.

use super::wire::{Entry, Hex, Object};
use super::{FILE_MAX, Message, MessageError};
use crate::proto::content::Root;
use crate::proto::name::check_name;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// Files of one message.
pub const FILES_MAX: usize = 256;

/// What a message has beside its entries, at its longest: the type byte and the object around them.
const FRAME: usize = 1 + r#"{"id":4294967295,"files":[],"end":false}"#.len();

/// A file that a node offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its path below the shared folder; valid by [`check_name`], not escaped.
    pub name: String,
    /// Bytes: at most [`FILE_MAX`].
    pub size: u64,
    /// When it was last changed, in seconds from 1970.
    pub mtime: Option<i64>,
    /// None while it is not hashed yet.
    pub root: Option<Root>,
}

impl FileInfo {
    fn entry(&self) -> Entry<'_> {
        Entry { name: (&self.name).into(), size: self.size, mtime: self.mtime, root: self.root.map(Hex) }
    }
}

/// How many of the first of `files` go into one message of at most `max` bytes: the rest must follow in another. While
/// `max` is [`super::PLAIN_SMALL`] or more and names are valid, at least one does.
pub fn files_that_fit(files: &[FileInfo], max: usize) -> usize {
    let (mut entry, mut len) = (Vec::new(), FRAME);
    for (count, file) in files.iter().take(FILES_MAX).enumerate() {
        entry.clear();
        super::put(&mut entry, &file.entry());
        len += entry.len() + usize::from(count > 0);
        if len > max {
            return count;
        }
    }
    files.len().min(FILES_MAX)
}

#[derive(Serialize)]
struct Outgoing<'a> {
    id: u32,
    files: Vec<Entry<'a>>,
    end: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
}

pub(super) fn put(id: u32, files: &[FileInfo], (end, left_out): (bool, u64), out: &mut Vec<u8>) {
    let left_out = Some(left_out).filter(|n| *n > 0);
    super::put(out, &Outgoing { id, files: files.iter().map(FileInfo::entry).collect(), end, left_out });
}

/// `files` as it came, its entries judged.
#[derive(Deserialize)]
pub(super) struct Incoming {
    id: u32,
    files: Entries,
    end: bool,
    left_out: Option<u64>,
}

pub(super) fn parse(incoming: Incoming) -> Result<Message, MessageError> {
    let Incoming { id, files: Entries { kept, skipped, more }, end, left_out } = incoming;
    if more {
        return Err(MessageError::TooManyFiles);
    }
    Ok(Message::Files { id, files: kept, end, skipped, left_out: left_out.unwrap_or(0) })
}

#[derive(Default)]
struct Entries {
    kept: Vec<FileInfo>,
    /// Dropped: one bad name must not hide the good ones beside it.
    skipped: u32,
    /// There were more than [`FILES_MAX`]; those are not kept.
    more: bool,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries, D::Error> {
        deserializer.deserialize_seq(List)
    }
}

struct List;

impl<'de> Visitor<'de> for List {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
        let mut entries = Entries::default();
        for _ in 0..FILES_MAX {
            let Some(Object(Entry { name, size, mtime, root })) = seq.next_element()? else {
                return Ok(entries);
            };
            if size <= FILE_MAX && check_name(&name).is_ok() {
                let root = root.map(|Hex(root)| root);
                entries.kept.push(FileInfo { name: name.into_owned(), size, mtime, root });
            } else {
                entries.skipped += 1;
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            entries.more = true;
        }
        Ok(entries)
    }
}
