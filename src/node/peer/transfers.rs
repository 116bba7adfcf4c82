//! Downloads, whichever way they come: their queue, their temporary files, their ends.

use super::Peer;
use super::files::Owner;
use super::jobs::JobId;
use super::known::Via;
use super::pull::Pull;
use super::report::{Code, Failure, Running};
use crate::config::PART_PREFIX;
use crate::machine::{ConnId, Fault, FileId, Id, Output};
use crate::node::pace::{Pace, Slow};
use crate::proto::escape::for_terminal;
use crate::time::{Duration, Instant};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A download, by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TransferId(pub(super) Id);

/// A download.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) job: JobId,
    pub(super) from: SocketAddr,
    pub(super) name: String,
    /// The operator named its source.
    pub(super) typed: bool,
    /// The node said, just before, that it has the file.
    pub(super) found: bool,
    pub(super) conn: Option<ConnId>,
    pub(super) file: Option<FileId>,
    /// The peer finished sending.
    pub(super) eof: bool,
    /// Every piece of it was checked against the root.
    pub(super) verified: bool,
    /// Most bytes it may have: the limit, or what the disk has room for.
    pub(super) cap: u64,
    pub(super) pace: Pace,
    pub(super) phase: Phase,
}

/// Queued → Pull, or for v1: Queued → Asking → Waiting → Dialing → Head → Creating → Receiving → Committing.
#[derive(Debug)]
pub(super) enum Phase {
    /// Too many run already. What is known of it from a search waits, too.
    Queued(Option<Box<Pull>>),
    /// Over a session.
    Pull(Box<Pull>),
    /// The node is asked whether it has the file.
    Asking,
    /// For a dial slot, for the second connection.
    Waiting,
    /// The second connection is being made.
    Dialing,
    /// The request is out; the first bytes tell whether a file or an error text comes. These are known, and wait with
    /// the driver as well.
    Head { start: Vec<u8> },
    /// The temporary file is being made; the connection is paused. `held` bytes came before the end of the stream.
    Creating { held: u64 },
    /// Bytes go to the file. At the end of the stream `due` bytes, held back by the driver, may be still to come.
    Receiving { due: u64 },
    /// The disk is asked to keep it.
    Committing,
}

/// How far a download is, for the progress line.
pub(super) struct Progress<'a> {
    pub(super) name: &'a str,
    pub(super) bytes: u64,
    pub(super) size: Option<u64>,
    pub(super) elapsed: Duration,
}

impl Peer {
    /// Starts a download, or queues it where too many run. `typed`: the operator named the
    /// source; `pull`: what is known of the content and who else has it.
    pub(super) fn fetch(
        &mut self,
        now: Instant,
        job: JobId,
        from: SocketAddr,
        name: String,
        (typed, pull): (bool, Option<Box<Pull>>),
    ) -> TransferId {
        let transfer = Transfer {
            job,
            from,
            name,
            typed,
            found: false,
            conn: None,
            file: None,
            eof: false,
            verified: false,
            cap: self.config.limits.download_max,
            pace: Pace::new(now, self.config.limits.progress_interval),
            phase: Phase::Queued(pull),
        };
        let id = TransferId(self.transfers.insert(transfer));
        self.queued.push_back(id);
        self.start_queued(now);
        id
    }

    /// Starts what waits, as far as the limit of running downloads allows.
    pub(super) fn start_queued(&mut self, now: Instant) {
        while self.transfers.len() - self.queued.len() < self.files.downloads_max {
            let Some(id) = self.queued.pop_front() else { return };
            let Some(transfer) = self.transfers.get_mut(id.0) else { continue };
            transfer.pace = Pace::new(now, self.config.limits.progress_interval);
            let known = match &mut transfer.phase {
                Phase::Queued(pull) => pull.take(),
                _ => None,
            };
            let old = self.known.get(transfer.from).is_some_and(|node| node.is_old(now));
            if old && known.is_none() && self.falls_back() {
                self.fetch_old(now, id);
                continue;
            }
            if let Some(transfer) = self.transfers.get_mut(id.0) {
                transfer.phase =
                    Phase::Pull(known.unwrap_or_else(|| Box::new(Pull::new(None, VecDeque::new()))));
            }
            self.pull_start(now, id);
        }
    }

    /// Asks for a temporary file.
    pub(super) fn create_part(&mut self, id: TransferId) {
        let file = self.files.add(Owner::Fetch(id));
        let name = format!("{PART_PREFIX}{:016x}", self.rng.u64(..));
        self.outputs.push_back(Output::CreateFile { file, name });
        if let Some(transfer) = self.transfers.get_mut(id.0) {
            transfer.file = Some(file);
        }
    }

    /// So many more bytes are in the temporary file; how many in all.
    pub(super) fn transfer_stored(&mut self, id: TransferId, n: u64) -> u64 {
        self.totals.downloaded += n;
        let Some(transfer) = self.transfers.get_mut(id.0) else { return 0 };
        transfer.pace.add(n);
        transfer.pace.moved()
    }

    /// How fast it goes; when to look again.
    pub(super) fn transfer_pace(&mut self, now: Instant, id: TransferId) -> Result<Instant, Slow> {
        match self.transfers.get_mut(id.0) {
            Some(transfer) => transfer.pace.look(now, &self.config.limits),
            None => Ok(now),
        }
    }

    /// From now on bytes are awaited of the source: neither its hashing nor another source was its slowness.
    pub(super) fn transfer_begins(&mut self, now: Instant, id: TransferId) {
        if let Some(transfer) = self.transfers.get_mut(id.0) {
            transfer.pace.begin_again(now);
        }
    }

    /// Another node gives the rest.
    pub(super) fn set_source(&mut self, id: TransferId, from: SocketAddr) {
        if let Some(transfer) = self.transfers.get_mut(id.0) {
            transfer.from = from;
        }
    }

    pub(super) fn fetch_commit(&mut self, now: Instant, id: TransferId) {
        self.fetch_hang_up(now, id, false);
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        transfer.verified = matches!(transfer.phase, Phase::Pull(_));
        transfer.phase = Phase::Committing;
        if let Some(file) = transfer.file {
            self.outputs.push_back(Output::CommitFile { file, name: transfer.name.clone() });
        }
    }

    /// The disk has it, under this name.
    pub(super) fn fetch_committed(&mut self, now: Instant, id: TransferId, name: &str, size: u64) {
        let Some(transfer) = self.transfers.remove(id.0) else { return };
        let via = if transfer.typed { Via::Operator } else { Via::Session };
        self.known.learn(transfer.from, via, now, &self.own, &self.config.limits);
        self.known.prove(transfer.from, now);
        self.downloaded(now, transfer.job, &transfer.name, name, size, transfer.verified);
        self.start_queued(now);
    }

    /// An operation on the temporary file failed; its id is free if `fatal`.
    pub(super) fn fetch_file_failed(&mut self, now: Instant, id: TransferId, fault: Fault, fatal: bool) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        if fatal {
            transfer.file = None;
        }
        let code = if matches!(fault, Fault::NoSpace | Fault::Quota) { Code::NoSpace } else { Code::Io };
        let text = format!("cannot store {}: {fault}", for_terminal(&transfer.name));
        self.fetch_failed(now, id, Failure::new(code, text));
    }

    /// Ends a download that cannot succeed: nothing of it stays.
    pub(super) fn fetch_failed(&mut self, now: Instant, id: TransferId, failure: Failure) {
        if let Some(job) = self.fetch_dropped(now, id) {
            self.finish(now, job, Err(failure));
        }
        self.start_queued(now);
    }

    /// Drops a download and everything it holds. Returns the job it was for.
    pub(super) fn fetch_dropped(&mut self, now: Instant, id: TransferId) -> Option<JobId> {
        self.fetch_hang_up(now, id, true);
        let transfer = self.transfers.remove(id.0)?;
        self.queued.retain(|queued| *queued != id);
        if let Some(file) = transfer.file {
            self.discard_file(file);
        }
        Some(transfer.job)
    }

    /// The name a download asks for.
    pub(super) fn fetch_name(&self, id: TransferId) -> Option<&str> {
        self.transfers.get(id.0).map(|transfer| transfer.name.as_str())
    }

    /// Downloads under way or waiting their turn, for `status`.
    pub(super) fn running(&self) -> Vec<Running> {
        let row = |transfer: &Transfer| Running {
            name: transfer.name.clone(),
            ip: transfer.from.ip(),
            port: transfer.from.port(),
            bytes: transfer.pace.moved(),
        };
        self.transfers.iter().map(|(_, transfer)| row(transfer)).collect()
    }

    /// Whether the operator named the source.
    pub(super) fn is_typed(&self, id: TransferId) -> bool {
        self.transfers.get(id.0).is_some_and(|transfer| transfer.typed)
    }

    /// Whether the source is not ready yet.
    pub(super) fn is_waited_for(&self, id: TransferId) -> bool {
        matches!(self.transfers.get(id.0), Some(Transfer { phase: Phase::Pull(pull), .. }) if pull.is_waiting())
    }

    /// Downloads under way, for the progress line.
    pub(super) fn fetching(&self, now: Instant) -> impl Iterator<Item = Progress<'_>> {
        let moves = |transfer: &Transfer| match &transfer.phase {
            Phase::Queued(_) => false,
            Phase::Pull(pull) => !pull.is_waiting(),
            _ => true,
        };
        self.transfers.iter().filter(move |(_, transfer)| moves(transfer)).map(move |(_, transfer)| {
            Progress {
                name: &transfer.name,
                bytes: transfer.pace.moved(),
                size: match &transfer.phase {
                    Phase::Pull(pull) => pull.size(),
                    _ => None,
                },
                elapsed: transfer.pace.elapsed(now),
            }
        })
    }
}
