//! The index and its world: what it asks goes to the driver, what the driver tells goes to it.

#[cfg(test)]
mod tests;

use super::{Ask, Index, Log};
use crate::config::Limits;
use crate::machine::{self, Deadline, Dir, Entry, Fault, FileId, ListEnd, Meta, Output, RequestId};
use crate::node::cx::Cx;
use crate::node::files::Owner;
use crate::node::timers::MOMENT;
use crate::time::Instant;
use std::collections::VecDeque;

/// The index, the files it has open, and the listing it waits for.
#[derive(Debug)]
pub(crate) struct Port {
    index: Index,
    hashed: Option<FileId>,
    kept: Option<FileId>,
    fresh: Option<FileId>,
    listing: Option<RequestId>,
    /// It was told something since it was driven last.
    stirred: bool,
    due: Option<Deadline>,
    /// Logs that are not read any more.
    gone: VecDeque<FileId>,
}

impl Port {
    /// An empty index that asks for nothing yet.
    pub(crate) fn new(limits: &Limits) -> Port {
        Port {
            index: Index::new(limits),
            hashed: None,
            kept: None,
            fresh: None,
            listing: None,
            stirred: false,
            due: None,
            gone: VecDeque::new(),
        }
    }

    /// One around an index that others made.
    #[cfg(test)]
    pub(crate) fn around(index: Index) -> Port {
        Port { index, ..Port::new(&Limits::desktop()) }
    }

    /// What is shared.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// The same, to be told something; what follows from that is carried out by [`Port::drive`].
    pub(crate) fn index_mut(&mut self) -> &mut Index {
        self.stirred = true;
        &mut self.index
    }

    /// The log that values of pieces are sent from.
    pub(crate) fn log(&self) -> Option<FileId> {
        self.kept
    }

    /// A log of which nothing can be sent any more: it failed, or another took its place.
    pub(crate) fn poll_gone(&mut self) -> Option<FileId> {
        self.gone.pop_front()
    }

    /// It was driven since it was told something.
    pub(crate) fn is_settled(&self) -> bool {
        !self.stirred && self.gone.is_empty()
    }

    /// Whether it is to be driven.
    pub(crate) fn take_stirred(&mut self) -> bool {
        std::mem::take(&mut self.stirred)
    }

    /// Carries out what the index asks for, and sees when it wants to be woken. `busy`: somebody waits for bytes, so that hashing
    /// steps back.
    pub(crate) fn drive(&mut self, cx: &mut Cx<'_>, busy: bool) {
        self.index.set_busy(cx.now, busy);
        while let Some(ask) = self.index.poll_output() {
            self.carry_out(cx, ask);
        }
        let next = self.index.poll_timeout();
        self.due = next.map(|(at, reason)| Deadline { at: at.max(cx.now + MOMENT), reason });
    }

    /// When [`Port::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        self.due
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.due.take_if(|due| due.at <= now).is_some() {
            self.index_mut().timeout(now);
        }
    }

    fn place(&mut self, log: Log) -> &mut Option<FileId> {
        match log {
            Log::Kept => &mut self.kept,
            Log::Fresh => &mut self.fresh,
        }
    }

    fn carry_out(&mut self, cx: &mut Cx<'_>, ask: Ask) {
        let output = match ask {
            Ask::Watch => Some(Output::WatchFolder { dir: Dir::Shared }),
            Ask::List { folder, deep, max } => {
                let request = cx.requests.next();
                self.listing = Some(request);
                Some(Output::ListFiles { request, dir: Dir::Shared, folder, deep, max })
            }
            // Uploads and copies may have taken all places; it asks again after a while.
            Ask::Open { .. } if !cx.files.may_add() => {
                return self.index.failed(cx.now, Fault::TooManyOpen, true);
            }
            Ask::OpenLog { log: Log::Fresh } if !cx.files.may_add() => {
                return self.index.log_failed(cx.now, Log::Fresh, Fault::TooManyOpen, true);
            }
            Ask::Open { name } => {
                let file = cx.files.add(Owner::Hashing);
                self.hashed = Some(file);
                Some(Output::OpenFile { file, dir: Dir::Shared, name })
            }
            Ask::Read { offset, len } => self.hashed.map(|file| Output::ReadFile { file, offset, len }),
            Ask::Close => return close(cx, self.hashed.take()),
            Ask::OpenLog { log } => {
                let (owner, named) = match log {
                    Log::Kept => (Owner::Log, machine::Log::Index),
                    Log::Fresh => (Owner::FreshLog, machine::Log::FreshIndex),
                };
                let file = cx.files.add(owner);
                *self.place(log) = Some(file);
                Some(Output::OpenLog { file, log: named })
            }
            Ask::CloseLog { log } => return close(cx, self.place(log).take()),
            Ask::ReplaceLog => return self.replace_log(cx),
            Ask::ReadLog { log, offset, len } => {
                self.place(log).map(|file| Output::ReadFile { file, offset, len })
            }
            Ask::AppendLog { log, bytes } => self.place(log).map(|file| Output::AppendLog { file, bytes }),
            Ask::TruncateLog { log, len } => self.place(log).map(|file| Output::TruncateLog { file, len }),
            Ask::CommitLog => self.fresh.map(|file| Output::CommitLog { file }),
        };
        cx.out.extend(output);
    }

    /// The fresh log has the name of the kept one.
    fn replace_log(&mut self, cx: &mut Cx<'_>) {
        let old = std::mem::replace(&mut self.kept, self.fresh.take());
        if let Some(file) = self.kept {
            cx.files.set_owner(file, Owner::Log);
        }
        self.gone.extend(old);
        close(cx, old);
    }

    /// A file of the index is open.
    pub(crate) fn opened(&mut self, now: Instant, owner: Owner, meta: Meta) {
        let index = self.index_mut();
        match owner {
            Owner::Hashing => index.opened(now, meta),
            Owner::Log => index.log_opened(now, Log::Kept),
            Owner::FreshLog => index.log_opened(now, Log::Fresh),
            _ => {}
        }
    }

    /// A slice of a file of the index.
    pub(crate) fn read(&mut self, now: Instant, owner: Owner, (offset, bytes, meta): (u64, &[u8], Meta)) {
        let index = self.index_mut();
        match owner {
            Owner::Hashing => index.read(now, offset, bytes, meta),
            Owner::Log => index.log_read(now, Log::Kept, offset, bytes, meta),
            Owner::FreshLog => index.log_read(now, Log::Fresh, offset, bytes, meta),
            _ => {}
        }
    }

    /// An operation on a file of the index failed; its id is free if `fatal`.
    pub(crate) fn failed(&mut self, now: Instant, owner: Owner, file: FileId, fault: Fault, fatal: bool) {
        if fatal {
            for place in [&mut self.hashed, &mut self.kept, &mut self.fresh] {
                place.take_if(|held| *held == file);
            }
        }
        let index = self.index_mut();
        match owner {
            Owner::Hashing => index.failed(now, fault, fatal),
            Owner::Log => {
                index.log_failed(now, Log::Kept, fault, fatal);
                self.gone.push_back(file);
            }
            Owner::FreshLog => index.log_failed(now, Log::Fresh, fault, fatal),
            _ => {}
        }
    }

    /// Whether a listing was for the index, which then has it.
    pub(crate) fn listed(
        &mut self,
        now: Instant,
        request: RequestId,
        entries: &[Entry],
        end: &ListEnd,
    ) -> bool {
        let ours = self.listing == Some(request);
        if ours {
            if !matches!(end, ListEnd::More) {
                self.listing = None;
            }
            self.index_mut().listed(now, entries, end);
        }
        ours
    }
}

fn close(cx: &mut Cx<'_>, file: Option<FileId>) {
    if let Some(file) = file {
        cx.close_file(file);
    }
}
