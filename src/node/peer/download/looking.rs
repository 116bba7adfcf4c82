//! Before anything is fetched: is a file of that content here already, shared or downloaded?

use super::Stage;
use crate::machine::{Fault, FileId, Meta, Output, numbered};
use crate::node::ids::TransferId;
use crate::node::peer::Peer;
use crate::proto::content::{FileHasher, Root};
use crate::proto::name::check_name;
use crate::time::Instant;

/// A copy that got its number because its name was taken is looked for up to this one.
const NUMBER_MAX: u32 = 9;

/// A file under downloads is looked at.
#[derive(Debug)]
pub(super) struct Looking {
    file: FileId,
    name: String,
    /// The number in its name; 1: it has none, 0: it is where a finished download was put in this life.
    number: u32,
    /// What it was when it was verified, if that was in this life.
    known: Option<Meta>,
    meta: Meta,
    hasher: FileHasher,
}

impl Peer {
    /// Its turn has come: unless it is here, it is fetched.
    pub(in crate::node::peer) fn download_start(&mut self, now: Instant, id: TransferId) {
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(download) = self.download_mut(id) else { return };
        let (root, size, exists) = (download.root, download.size, download.exists);
        // An empty file is made quicker than looked for, and all of them are the same.
        let shared = self.shared.index().by_root(&root).filter(|_| size > 0).map(|view| view.name.to_owned());
        if let Some(shared) = shared {
            let path = self.config.folders.shared.join(shared);
            let path = path.to_string_lossy().into_owned();
            self.download_drop(now, id);
            return self.download_is_here(now, id, &path);
        }
        // What was begun was not here then.
        if exists {
            return self.open_part(now, id);
        }
        match self.uploads.seeds.get(&root).map(|seed| (seed.name.clone(), seed.meta)) {
            Some((name, meta)) => self.look_at(id, name, 0, Some(meta)),
            None => self.look_at(id, name, 1, None),
        }
    }

    fn look_at(&mut self, id: TransferId, name: String, number: u32, known: Option<Meta>) {
        let file = self.look_into_downloads(id, name.clone());
        if let Some(download) = self.download_mut(id) {
            let (meta, hasher) = (Meta::default(), FileHasher::new());
            download.stage = Stage::Looking(Box::new(Looking { file, name, number, known, meta, hasher }));
        }
    }

    /// A file of that name is there.
    pub(in crate::node::peer) fn looked(&mut self, now: Instant, id: TransferId, file: FileId, opened: Meta) {
        let slice = self.read_slice();
        let Some(download) = self.download_mut(id) else { return self.close_file(file) };
        let size = download.size;
        let Stage::Looking(looking) = &mut download.stage else { return self.close_file(file) };
        looking.meta = opened;
        let is_known = looking.known.is_some_and(|known| known.is_still(&opened));
        if opened.size != size {
            return self.look_further(now, id);
        }
        if is_known || size == 0 {
            return self.found_here(now, id);
        }
        self.outputs.push_back(Output::ReadFile { file, offset: 0, len: slice });
    }

    /// Some of it was read.
    pub(in crate::node::peer) fn look_read(
        &mut self,
        now: Instant,
        id: TransferId,
        (offset, bytes, meta): (u64, &[u8], Meta),
    ) {
        let slice = self.read_slice();
        let Some(download) = self.download_mut(id) else { return };
        let (root, size) = (download.root, download.size);
        let Stage::Looking(looking) = &mut download.stage else { return };
        if bytes.is_empty() || !looking.meta.is_still(&meta) || offset != looking.hasher.bytes() {
            return self.look_further(now, id);
        }
        looking.hasher.update(bytes);
        let (file, done) = (looking.file, looking.hasher.bytes());
        if done < size {
            return self.outputs.push_back(Output::ReadFile { file, offset: done, len: slice });
        }
        let came_to: Root = std::mem::take(&mut looking.hasher).finish().root;
        if came_to == root { self.found_here(now, id) } else { self.look_further(now, id) }
    }

    /// There is none, or it cannot be read. `fatal`: it is closed.
    pub(in crate::node::peer) fn look_failed(
        &mut self,
        now: Instant,
        id: TransferId,
        fault: Fault,
        fatal: bool,
    ) {
        let Some(Stage::Looking(looking)) = self.download_mut(id).map(|download| &download.stage) else {
            return;
        };
        let number = looking.number;
        log::debug!("nothing to be looked at in {}: {fault}", crate::proto::escape::for_log(&looking.name));
        if !fatal {
            self.stop_looking(id);
        }
        // Numbers are given in order.
        let last = fault == Fault::NotFound && number > 0;
        self.look_at_next(now, id, if last { NUMBER_MAX } else { number });
    }

    /// This one is another file.
    fn look_further(&mut self, now: Instant, id: TransferId) {
        let Some(Stage::Looking(looking)) = self.download_mut(id).map(|download| &download.stage) else {
            return;
        };
        let number = looking.number;
        self.stop_looking(id);
        self.look_at_next(now, id, number);
    }

    fn look_at_next(&mut self, now: Instant, id: TransferId, number: u32) {
        let name = self.fetch_name(id).unwrap_or_default();
        let next = number + 1;
        let name = if next == 1 { name.to_owned() } else { numbered(name, next) };
        // A number may make a name too long.
        if next > NUMBER_MAX || check_name(&name).is_err() {
            return self.open_part(now, id);
        }
        self.look_at(id, name, next, None);
    }

    fn found_here(&mut self, now: Instant, id: TransferId) {
        let name = match self.download_mut(id).map(|download| &download.stage) {
            Some(Stage::Looking(looking)) => looking.name.clone(),
            _ => return,
        };
        self.stop_looking(id);
        let path = self.config.folders.downloads.join(name);
        self.download_is_here(now, id, &path.to_string_lossy());
    }

    pub(super) fn stop_looking(&mut self, id: TransferId) {
        if let Some(Stage::Looking(looking)) = self.download_mut(id).map(|download| &download.stage) {
            let file = looking.file;
            self.close_file(file);
        }
    }

    /// Bytes of one read.
    pub(in crate::node::peer) fn read_slice(&self) -> usize {
        self.config.limits.run_chunks.max(1) * crate::config::CHUNK
    }
}
