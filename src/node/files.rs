//! The files a peer holds: whose each is, how many more may be open, and the account of those that grow
//! (created = committed + discarded + growing).

use crate::config::Limits;
use crate::machine::{Census, ConnId, FileId};
use crate::node::gate::source;
use crate::node::ids::{JobId, TransferId};
use crate::node::table::Table;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Read for a connection that came in.
    Serve(ConnId),
    /// Read for a session.
    Answer(ConnId),
    /// Opened to see whether it is there, for a session.
    Stat(ConnId),
    /// Read to be hashed.
    Hashing,
    /// The index's log, and the one that is to take its place.
    Log,
    FreshLog,
    /// Grows with a download in v1.
    Fetch(TransferId),
    /// Grows with a download of known content.
    Part(TransferId),
    /// Its journal.
    Journal(TransferId),
    /// The journal of one that an earlier life left.
    Leftover,
    /// Opened only to be removed.
    Doomed,
    /// Read to see whether it is what is to be downloaded.
    Look(TransferId),
    /// Grows with a copy into the shared folder.
    Share(JobId),
}

impl Owner {
    fn grows(self) -> bool {
        matches!(self, Owner::Fetch(_) | Owner::Part(_) | Owner::Doomed | Owner::Share(_))
    }

    /// It has a place among those that are kept for downloads.
    fn is_of_download(self) -> bool {
        use Owner::{Doomed, Fetch, Journal, Leftover, Look, Part};
        matches!(self, Fetch(_) | Part(_) | Journal(_) | Leftover | Doomed | Look(_))
    }
}

/// Files that one download has open, with a margin for those that wait for somebody to turn up.
const FILES_EACH: usize = 4;

/// A file that is held.
#[derive(Clone, Copy, Debug)]
struct Held {
    owner: Owner,
    /// The source for which it is open, and which may have a few only.
    source: Option<IpAddr>,
}

impl Held {
    /// It is read for somebody, and not only looked at.
    fn is_upload(self) -> bool {
        self.source.is_some() && !matches!(self.owner, Owner::Stat(_))
    }
}

/// All files from the moment they are asked for until the world or the peer ends them.
#[derive(Debug)]
pub(crate) struct Files {
    held: Table<Held>,
    /// How many are open for each source, whichever protocol it speaks.
    of_sources: BTreeMap<IpAddr, usize>,
    /// A source may have so many.
    per_source: usize,
    /// Those that are read for somebody.
    uploads: usize,
    created: u64,
    committed: u64,
    discarded: u64,
    kept: u64,
    /// Downloads at once: their files must find room among those that may be open.
    pub(crate) downloads_max: usize,
    /// One was closed since somebody asked.
    freed: bool,
    /// Places of all others: those of downloads are kept, or uploads could take them all.
    others_max: usize,
}

impl Files {
    pub(crate) fn new(limits: &Limits) -> Files {
        // Each has two files, and as many may wait for sources as run.
        let downloads_max = limits.downloads.min(limits.open_files / FILES_EACH / 2).max(1);
        Files {
            held: Table::new(),
            of_sources: BTreeMap::new(),
            per_source: limits.uploads_per_ip,
            uploads: 0,
            created: 0,
            committed: 0,
            discarded: 0,
            kept: 0,
            downloads_max,
            freed: false,
            others_max: limits.open_files.saturating_sub(downloads_max * FILES_EACH).max(1),
        }
    }

    /// A new file, which the driver is to open, create or import.
    pub(crate) fn add(&mut self, owner: Owner) -> FileId {
        self.insert(owner, None)
    }

    /// One for somebody at `ip`: it takes a place of that source until it is closed.
    pub(crate) fn add_for(&mut self, ip: IpAddr, owner: Owner) -> FileId {
        self.insert(owner, Some(source(ip)))
    }

    fn insert(&mut self, owner: Owner, source: Option<IpAddr>) -> FileId {
        self.created += u64::from(owner.grows());
        let held = Held { owner, source };
        self.uploads += usize::from(held.is_upload());
        if let Some(source) = source {
            *self.of_sources.entry(source).or_default() += 1;
        }
        FileId(self.held.insert(held))
    }

    pub(crate) fn owner(&self, file: FileId) -> Option<Owner> {
        self.held.get(file.0).map(|held| held.owner)
    }

    /// The file is kept for another purpose now.
    pub(crate) fn set_owner(&mut self, file: FileId, owner: Owner) {
        if let Some(held) = self.held.get_mut(file.0) {
            held.owner = owner;
        }
    }

    /// It has its final name.
    pub(crate) fn committed(&mut self, file: FileId) -> Option<Owner> {
        let owner = self.remove(file)?;
        self.committed += u64::from(owner.grows());
        Some(owner)
    }

    /// It is closed or thrown away. False: it was not ours any more.
    pub(crate) fn drop(&mut self, file: FileId) -> bool {
        let Some(owner) = self.remove(file) else { return false };
        self.discarded += u64::from(owner.grows());
        true
    }

    /// It is closed unfinished, to be opened again. False: it was not ours any more.
    pub(crate) fn keep(&mut self, file: FileId) -> bool {
        let Some(owner) = self.remove(file) else { return false };
        self.kept += u64::from(owner.grows());
        true
    }

    fn remove(&mut self, file: FileId) -> Option<Owner> {
        let held = self.held.remove(file.0)?;
        self.freed = true;
        self.uploads -= usize::from(held.is_upload());
        if let Some(Entry::Occupied(mut open)) = held.source.map(|source| self.of_sources.entry(source)) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
        Some(held.owner)
    }

    /// Whether a place may have become free since this was asked last.
    pub(crate) fn has_freed(&mut self) -> bool {
        std::mem::take(&mut self.freed)
    }

    /// Whether one more file may be open that is not a download's.
    pub(crate) fn may_add(&self) -> bool {
        self.held.iter().filter(|(_, held)| !held.owner.is_of_download()).count() < self.others_max
    }

    /// Whether one more may be open for somebody at `ip`. This host has no bound of its own.
    pub(crate) fn may_add_for(&self, ip: IpAddr) -> bool {
        let theirs = self.of_sources.get(&source(ip)).copied().unwrap_or(0);
        (ip.is_loopback() || theirs < self.per_source) && self.may_add()
    }

    /// Files that are read for others, in either protocol.
    pub(crate) fn uploads(&self) -> usize {
        self.uploads
    }

    /// The part of the census that is about files.
    pub(crate) fn census(&self) -> Census {
        Census {
            files: self.held.len(),
            files_created: self.created,
            files_committed: self.committed,
            files_discarded: self.discarded,
            files_kept: self.kept,
            files_growing: self.created - self.committed - self.discarded - self.kept,
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
        let mut files = Files::new(&Limits { open_files: 6, downloads: 9, ..Limits::desktop() });
        assert_eq!(files.downloads_max, 1);
        let (read, copied) = (files.add(Owner::Serve(ConnId(id))), files.add(Owner::Share(JobId(id))));
        assert!(!files.may_add(), "the other two places are kept for downloads");
        let (kept, lost) = (files.add(Owner::Fetch(TransferId(id))), files.add(Owner::Fetch(TransferId(id))));
        assert!(files.committed(kept).is_some() && files.committed(kept).is_none());
        assert!(files.drop(lost) && !files.drop(lost) && files.drop(read) && files.may_add());
        assert_eq!(files.owner(copied), Some(Owner::Share(JobId(id))));
        let Census { files_created, files_committed, files_discarded, files_growing, .. } = files.census();
        assert_eq!((files_created, files_committed, files_discarded, files_growing), (3, 1, 1, 1));
    }

    #[test]
    fn a_source_has_its_places_whichever_protocol_it_speaks() {
        let id = ConnId(Id { index: 0, generation: 0 });
        let mut files = Files::new(&Limits { uploads_per_ip: 2, ..Limits::desktop() });
        let [one, other]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let old = files.add_for(one, Owner::Serve(id));
        let (session, asked) = (files.add_for(one, Owner::Answer(id)), files.add_for(other, Owner::Stat(id)));
        assert_eq!((files.may_add_for(one), files.may_add_for(other), files.uploads()), (false, true, 2));
        // A network of IPv6 is one source.
        let net = ["2001:db8::1", "2001:db8:0:7::2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        for ip in net {
            files.add_for(ip, Owner::Answer(id));
        }
        assert!(!files.may_add_for(net[0]));
        assert!(files.drop(session) && !files.drop(session) && files.may_add_for(one));
        assert!(files.drop(old) && files.drop(asked));
        assert_eq!((files.uploads(), files.of_sources.len()), (2, 1));
        // This host has as many as there are.
        for ip in ["127.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap()) {
            for _ in 0..5 {
                files.add_for(ip, Owner::Answer(id));
            }
            assert!(files.may_add_for(ip));
        }
    }
}
