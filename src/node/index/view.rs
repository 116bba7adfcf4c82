//! What others see of the index.

use super::Index;
use super::file::FileNo;
use crate::machine::{LeftOut, Meta};
use crate::proto::content::{Root, Span};
use crate::proto::index_log;
use crate::proto::name::has_spellings;
use unicode_normalization::UnicodeNormalization as _;

/// Beginnings of a name that are followed at once, each spelled otherwise.
const SPELLINGS_MAX: usize = 16;

/// A file of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileView<'a> {
    /// Its number.
    pub no: FileNo,
    /// Its name: a path relative to the shared folder, as [`crate::proto::name::check_name`] has it.
    pub name: &'a str,
    /// The name as search sees it.
    pub folded: &'a str,
    /// What it was when it was seen last.
    pub meta: Meta,
    /// The hash of its content, once that is known.
    pub root: Option<Root>,
    /// Where its lists stand in the kept log. `None`: there is no such record, or none that was confirmed yet.
    pub lists: Option<index_log::Entry>,
}

/// How far the index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Files, and their bytes (at most [`u64::MAX`] is told).
    pub files: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files whose root is known.
    pub hashed_files: usize,
    /// Bytes of those.
    pub hashed_bytes: u64,
    /// Files to be hashed, those included that are left alone for a while.
    pub pending: usize,
    /// Files that could not be read.
    pub unreadable: usize,
    /// What was not offered at the last listing of everything.
    pub left_out: &'a LeftOut,
    /// The file that is being hashed, bytes done and all.
    pub current: Option<(&'a str, u64, u64)>,
    /// There are more files than the index may hold.
    pub limited: bool,
    /// Everything was listed once.
    pub listed: bool,
    /// Roots are kept over restarts.
    pub kept: bool,
}

impl Index {
    /// The file of this name.
    pub fn get(&self, name: &str) -> Option<FileView<'_>> {
        self.look(self.table.find(name)?)
    }

    /// The file of this name, or of one that is the same in Unicode's other spelling ([`is_same`]).
    ///
    /// [`is_same`]: crate::proto::name::is_same
    pub fn get_spelled(&self, name: &str) -> Option<FileView<'_>> {
        if let Some(view) = self.get(name) {
            return Some(view);
        }
        if !has_spellings(name) {
            return None;
        }
        let mut found = vec![String::new()];
        for part in name.split_inclusive('/') {
            let spelled = [part.to_owned(), part.nfc().collect(), part.nfd().collect()];
            let longer = |start: &String| spelled.each_ref().map(|part| format!("{start}{part}"));
            let mut next: Vec<String> = found.iter().flat_map(longer).collect();
            next.dedup();
            next.retain(|start| {
                let first = self.table.names_from(start).next().and_then(|slot| self.table.get(slot));
                first.is_some_and(|file| file.name().starts_with(start.as_str()))
            });
            // Nobody has more folders of the same name side by side, but for a joke.
            next.truncate(SPELLINGS_MAX);
            found = next;
        }
        found.iter().find_map(|name| self.get(name))
    }

    /// The file of this number, if it is still there. A file that was renamed is another one.
    pub fn view(&self, no: FileNo) -> Option<FileView<'_>> {
        self.look(self.table.slot(no)?)
    }

    /// A file with this content.
    pub fn by_root(&self, root: &Root) -> Option<FileView<'_>> {
        self.with_root(root).next()
    }

    /// `count` values of pieces or groups of a shared file, from `first` on, that are held since its record does not stand in
    /// the log.
    pub fn held_values(&self, root: &Root, span: Span, first: u64, count: u64) -> Option<Vec<u8>> {
        self.lists.values(root, span, first, count)
    }

    /// All files with this content.
    pub fn with_root(&self, root: &Root) -> impl Iterator<Item = FileView<'_>> {
        self.table.with_root(root, 0).filter_map(|slot| self.look(slot))
    }

    /// Files in the order of their names (by bytes), those behind `after`, at most `limit`.
    pub fn page(&self, after: Option<&str>, limit: usize) -> impl Iterator<Item = FileView<'_>> {
        let behind = self.table.names_from(after.unwrap_or_default()).filter_map(|slot| self.look(slot));
        let after = after.map(str::to_owned);
        behind.filter(move |file| after.as_deref() != Some(file.name)).take(limit)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress<'_> {
        let (all, known) = (self.table.named(), self.table.known());
        let work = self.hashing.work.as_ref();
        let current = work.and_then(|work| {
            let file = self.table.get(self.table.slot(work.file)?)?;
            Some((file.name(), work.offset(), work.meta.size))
        });
        Progress {
            files: all.files,
            bytes: u64::try_from(all.bytes).unwrap_or(u64::MAX),
            hashed_files: known.files,
            hashed_bytes: u64::try_from(known.bytes).unwrap_or(u64::MAX),
            pending: all.files - known.files - self.table.unreadable(),
            unreadable: self.table.unreadable(),
            left_out: &self.left_out,
            current,
            limited: self.limited,
            listed: self.scan.as_ref().is_some_and(|scan| scan.wholes() > 0),
            kept: self.journal.is_writable(),
        }
    }

    /// Bytes held by the table, names included, as far as can be told.
    pub fn memory(&self) -> usize {
        self.table.memory()
    }

    pub(super) fn look(&self, slot: u32) -> Option<FileView<'_>> {
        let file = self.table.get(slot).filter(|file| file.is_named())?;
        let lists = file.entry().filter(|_| self.journal.is_settled());
        let (name, folded, no) = (file.name(), file.folded(), self.table.number(slot));
        Some(FileView { no, name, folded, meta: file.meta(), root: file.root(), lists })
    }
}
