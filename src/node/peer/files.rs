//! The files a peer holds: whose each is, how many more may be open, and the account of those that grow
//! (created = committed + discarded + growing).

use super::jobs::JobId;
use super::transfers::TransferId;
use crate::config::Limits;
use crate::machine::{Census, ConnId, FileId};
use crate::node::table::Table;

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Read for a connection that came in.
    Serve(ConnId),
    /// Read for a session.
    Answer(ConnId),
    /// Read to be hashed.
    Hashing,
    /// The index's log, and the one that is to take its place.
    Log,
    FreshLog,
    /// Grows with a download.
    Fetch(TransferId),
    /// Grows with a copy into the shared folder.
    Share(JobId),
}

impl Owner {
    fn grows(self) -> bool {
        matches!(self, Owner::Fetch(_) | Owner::Share(_))
    }
}

/// All files from the moment they are asked for until the world or the peer ends them.
#[derive(Debug)]
pub(super) struct Files {
    held: Table<Owner>,
    created: u64,
    committed: u64,
    discarded: u64,
    /// Downloads at once: their files must find room among those that may be open.
    pub(super) downloads_max: usize,
    /// Places of all others: those of downloads are kept, or uploads could take them all.
    others_max: usize,
}

impl Files {
    pub(super) fn new(limits: &Limits) -> Files {
        let downloads_max = limits.downloads.min(limits.open_files / 2).max(1);
        Files {
            held: Table::new(),
            created: 0,
            committed: 0,
            discarded: 0,
            downloads_max,
            others_max: limits.open_files.saturating_sub(downloads_max).max(1),
        }
    }

    /// The id that the next file will have.
    pub(super) fn next_id(&self) -> FileId {
        FileId(self.held.next_id())
    }

    /// A new file, which the driver is to open, create or import.
    pub(super) fn add(&mut self, owner: Owner) -> FileId {
        self.created += u64::from(owner.grows());
        FileId(self.held.insert(owner))
    }

    pub(super) fn owner(&self, file: FileId) -> Option<Owner> {
        self.held.get(file.0).copied()
    }

    /// The file is kept for another purpose now.
    pub(super) fn set_owner(&mut self, file: FileId, owner: Owner) {
        if let Some(held) = self.held.get_mut(file.0) {
            *held = owner;
        }
    }

    /// It has its final name.
    pub(super) fn committed(&mut self, file: FileId) -> Option<Owner> {
        let owner = self.held.remove(file.0)?;
        self.committed += u64::from(owner.grows());
        Some(owner)
    }

    /// It is closed or thrown away. False: it was not ours any more.
    pub(super) fn drop(&mut self, file: FileId) -> bool {
        let Some(owner) = self.held.remove(file.0) else { return false };
        self.discarded += u64::from(owner.grows());
        true
    }

    /// Whether one more file may be open that is not a download's.
    pub(super) fn may_add(&self) -> bool {
        self.held.iter().filter(|(_, owner)| !matches!(owner, Owner::Fetch(_))).count() < self.others_max
    }

    /// The part of the census that is about files.
    pub(super) fn census(&self) -> Census {
        Census {
            files: self.held.len(),
            files_created: self.created,
            files_committed: self.committed,
            files_discarded: self.discarded,
            files_growing: self.created - self.committed - self.discarded,
            ..Census::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;

    #[test]
    fn each_file_that_grows_is_accounted_for_once() {
        let id = Id { index: 0, generation: 0 };
        let mut files = Files::new(&Limits { open_files: 4, downloads: 9, ..Limits::desktop() });
        assert_eq!(files.downloads_max, 2);
        let (read, copied) = (files.add(Owner::Serve(ConnId(id))), files.add(Owner::Share(JobId(id))));
        assert!(!files.may_add(), "the other two places are kept for downloads");
        let (kept, lost) = (files.add(Owner::Fetch(TransferId(id))), files.add(Owner::Fetch(TransferId(id))));
        assert!(files.committed(kept).is_some() && files.committed(kept).is_none());
        assert!(files.drop(lost) && !files.drop(lost) && files.drop(read) && files.may_add());
        assert_eq!(files.owner(copied), Some(Owner::Share(JobId(id))));
        let Census { files_created, files_committed, files_discarded, files_growing, .. } = files.census();
        assert_eq!((files_created, files_committed, files_discarded, files_growing), (3, 1, 1, 1));
    }
}
