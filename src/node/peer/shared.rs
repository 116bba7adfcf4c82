//! The index of the shared folder and its owner: what it asks goes to the driver, what the driver tells goes to it.

use super::answer::MOMENT;
use super::{Peer, Timer};
use crate::machine::{self, Dir, Entry, Fault, FileId, ListEnd, Meta, Output, RequestId};
use crate::node::api::IndexStatus;
use crate::node::files::Owner;
use crate::node::index::{Ask, Log};
use crate::time::Instant;

/// The files the index has open, and the listing it waits for.
#[derive(Debug, Default)]
pub(super) struct IndexFiles {
    hashed: Option<FileId>,
    kept: Option<FileId>,
    fresh: Option<FileId>,
    listing: Option<RequestId>,
}

impl IndexFiles {
    /// The log that values of pieces are sent from.
    pub(super) fn log(&self) -> Option<FileId> {
        self.kept
    }

    fn place(&mut self, log: Log) -> &mut Option<FileId> {
        match log {
            Log::Kept => &mut self.kept,
            Log::Fresh => &mut self.fresh,
        }
    }
}

impl Peer {
    /// Carries out what the index asks for, and sees when it wants to be woken.
    pub(super) fn drive_index(&mut self, now: Instant) {
        self.index.set_busy(now, self.is_transferring());
        while let Some(ask) = self.index.poll_output() {
            self.index_asks(now, ask);
        }
        self.finish_indexed(now);
        self.arm_search(now);
        match self.index.poll_timeout() {
            Some((due, reason)) => self.timers.set(Timer::Index, due.max(now + MOMENT), reason),
            None => self.timers.cancel(Timer::Index),
        }
    }

    /// Whether somebody waits for bytes, so that hashing steps back.
    fn is_transferring(&self) -> bool {
        self.active_transfers() > 0 || self.files.uploads() > 0
    }

    fn index_asks(&mut self, now: Instant, ask: Ask) {
        let output = match ask {
            Ask::Watch => Output::WatchFolder { dir: Dir::Shared },
            Ask::List { folder, deep, max } => {
                let request = self.next_request();
                self.index_files.listing = Some(request);
                Output::ListFiles { request, dir: Dir::Shared, folder, deep, max }
            }
            // Uploads and copies may have taken all places; it asks again after a while.
            Ask::Open { .. } if !self.files.may_add() => {
                return self.index.failed(now, Fault::TooManyOpen, true);
            }
            Ask::OpenLog { log: Log::Fresh } if !self.files.may_add() => {
                return self.index.log_failed(now, Log::Fresh, Fault::TooManyOpen, true);
            }
            Ask::Open { name } => {
                let file = self.files.add(Owner::Hashing);
                self.index_files.hashed = Some(file);
                Output::OpenFile { file, dir: Dir::Shared, name }
            }
            Ask::Read { offset, len } => match self.index_files.hashed {
                Some(file) => Output::ReadFile { file, offset, len },
                None => return,
            },
            Ask::Close => return self.close_of_index(|files| files.hashed.take()),
            Ask::OpenLog { log } => {
                let owner = if log == Log::Kept { Owner::Log } else { Owner::FreshLog };
                let file = self.files.add(owner);
                *self.index_files.place(log) = Some(file);
                Output::OpenLog {
                    file,
                    log: if log == Log::Fresh { machine::Log::FreshIndex } else { machine::Log::Index },
                }
            }
            Ask::CloseLog { log } => return self.close_of_index(|files| files.place(log).take()),
            Ask::ReplaceLog => {
                let old = self.index_files.kept.take();
                self.index_files.kept = self.index_files.fresh.take();
                if let Some(file) = self.index_files.kept {
                    self.files.set_owner(file, Owner::Log);
                }
                if let Some(old) = old {
                    self.answers_moved(now, old);
                    self.close_file(old);
                }
                return;
            }
            Ask::ReadLog { log, offset, len } => match *self.index_files.place(log) {
                Some(file) => Output::ReadFile { file, offset, len },
                None => return,
            },
            Ask::AppendLog { log, bytes } => match *self.index_files.place(log) {
                Some(file) => Output::AppendLog { file, bytes },
                None => return,
            },
            Ask::TruncateLog { log, len } => match *self.index_files.place(log) {
                Some(file) => Output::TruncateLog { file, len },
                None => return,
            },
            Ask::CommitLog => match self.index_files.fresh {
                Some(file) => Output::CommitLog { file },
                None => return,
            },
        };
        self.outputs.push_back(output);
    }

    fn close_of_index(&mut self, take: impl Fn(&mut IndexFiles) -> Option<FileId>) {
        if let Some(file) = take(&mut self.index_files) {
            self.close_file(file);
        }
    }

    /// A file of the index is open.
    pub(super) fn index_opened(&mut self, now: Instant, file: FileId, meta: Meta) {
        match self.files.owner(file) {
            Some(Owner::Hashing) => self.index.opened(now, meta),
            Some(Owner::Log) => self.index.log_opened(now, Log::Kept),
            Some(Owner::FreshLog) => self.index.log_opened(now, Log::Fresh),
            _ => {}
        }
        self.drive_index(now);
    }

    /// A slice of a file of the index.
    pub(super) fn index_read(
        &mut self,
        now: Instant,
        file: FileId,
        (offset, bytes, meta): (u64, &[u8], Meta),
    ) {
        match self.files.owner(file) {
            Some(Owner::Hashing) => self.index.read(now, offset, bytes, meta),
            Some(Owner::Log) => self.index.log_read(now, Log::Kept, offset, bytes, meta),
            Some(Owner::FreshLog) => self.index.log_read(now, Log::Fresh, offset, bytes, meta),
            _ => {}
        }
        self.drive_index(now);
    }

    /// An operation on a file of the index failed; its id is free if `fatal`.
    pub(super) fn index_failed(
        &mut self,
        now: Instant,
        owner: Owner,
        file: FileId,
        fault: Fault,
        fatal: bool,
    ) {
        if fatal {
            let files = &mut self.index_files;
            for place in [&mut files.hashed, &mut files.kept, &mut files.fresh] {
                place.take_if(|held| *held == file);
            }
        }
        match owner {
            Owner::Hashing => self.index.failed(now, fault, fatal),
            Owner::Log => {
                self.answers_moved(now, file);
                self.index.log_failed(now, Log::Kept, fault, fatal);
            }
            Owner::FreshLog => self.index.log_failed(now, Log::Fresh, fault, fatal),
            _ => {}
        }
        self.drive_index(now);
    }

    /// Whether a listing was for the index, which then has it.
    pub(super) fn index_listed(
        &mut self,
        now: Instant,
        request: RequestId,
        entries: &[Entry],
        end: &ListEnd,
    ) -> bool {
        if self.index_files.listing != Some(request) {
            return false;
        }
        if !matches!(end, ListEnd::More) {
            self.index_files.listing = None;
        }
        self.index.listed(now, entries, end);
        self.drive_index(now);
        true
    }

    pub(super) fn folder_changed(&mut self, now: Instant, folder: &str, deep: bool) {
        self.index.changed(now, folder, deep);
        self.drive_index(now);
    }

    pub(super) fn index_status(&self) -> IndexStatus {
        let progress = self.index.progress();
        let hashing = progress.current.map(|(name, ..)| name.to_owned());
        IndexStatus {
            files: progress.files as u64,
            bytes: progress.bytes,
            hashed_files: progress.hashed_files as u64,
            hashed_bytes: progress.hashed_bytes + progress.current.map_or(0, |(_, done, _)| done),
            hashing,
            full: progress.limited,
            left_out: progress.left_out.into(),
        }
    }
}
