//! Commands under way: each waits for answers of other nodes, of the disk or of the clock, and ends once, well or not.

use super::browse::Browse;
use super::get::Gets;
use super::search::Search;
use super::{Peer, Timer};
use crate::machine::{Dir, Entry, Fault, FileId, ImportedFolder, ListEnd, Output, RequestId};
use crate::node::api::{Code, Event, Failure, bytes as sized, clock, plural};
use crate::node::fronts::progress::{self, Row};
use crate::node::ids::{FrontId, JobId, Op};
use crate::proto::command::List;
use crate::proto::escape::for_terminal;
use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Time between two progress events of a transfer, and two drawings of the progress line.
pub(super) const PROGRESS: Duration = Duration::from_millis(250);
/// A file that was shared is found by others within this, or a little later.
const INDEXED: Duration = Duration::from_secs(2);
/// A command without bytes to count shows that it goes on after this.
const PATIENCE: Duration = Duration::from_secs(1);

/// A command under way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) op: Op,
    pub(super) started: Instant,
    pub(super) work: Work,
}

/// What a command waits for.
#[derive(Debug)]
pub(super) enum Work {
    /// Registrations and multicast at start, before a script's first command.
    Join,
    /// A registry's answer.
    Bootstrap,
    /// The discovery sockets.
    Multicast,
    /// A probe of each node of a list.
    Nodes { list: List, waiting: usize, alive: BTreeMap<SocketAddr, bool> },
    /// An answer of each node asked.
    Search(Box<Search>),
    /// The names of what a node shares.
    Browse(Browse),
    /// An address of the host to download from.
    Resolve { host: String, name: String, folder: bool },
    /// Downloads.
    Get(Gets),
    /// A copy into the shared folder.
    Share { file: FileId, name: String, bytes: u64, size: u64 },
    /// A file that was copied there is found by the index, so that others find it.
    Indexing { name: String },
    /// The names in a folder.
    Files { request: RequestId, dir: Dir, files: usize, bytes: u64 },
    /// The clock.
    Wait,
    /// All commands in the background.
    WaitAll,
}

impl Job {
    /// Bytes of results that it holds.
    pub(super) fn held(&self) -> usize {
        if let Work::Search(search) = &self.work { search.bytes() } else { 0 }
    }
}

impl Peer {
    /// A new command under way.
    pub(super) fn begin(&mut self, now: Instant, op: Op, work: Work) -> JobId {
        self.fronts.stir();
        let job = JobId(self.jobs.insert(Job { op, started: now, work }));
        self.show_progress_soon(now);
        job
    }

    /// Something began that may take a while.
    pub(super) fn show_progress_soon(&mut self, now: Instant) {
        if self.fronts.show_progress() {
            self.timers.set_unless_armed(Timer::Progress, now + PROGRESS, "progress");
        }
    }

    /// A command is over: says so and lets the next one in.
    pub(super) fn finish(&mut self, now: Instant, job: JobId, result: Result<(), Failure>) {
        let Some(Job { op, work, .. }) = self.jobs.remove(job.0) else { return };
        self.timers.cancel(Timer::Job(job));
        if matches!(work, Work::Join) {
            return;
        }
        self.conclude(now, op, result);
        self.end_waiter(now, op.front);
    }

    /// The time of a command is over.
    pub(super) fn job_timeout(&mut self, now: Instant, job: JobId) {
        match self.jobs.get(job.0).map(|job| &job.work) {
            Some(Work::Search(_)) => self.search_late(now, job),
            Some(Work::Browse(_)) => self.browse_late(now, job),
            _ => self.finish(now, job, Ok(())),
        }
    }

    /// Ends the commands whose new file the index has found.
    pub(super) fn finish_indexed(&mut self, now: Instant) {
        let found: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| matches!(&job.work, Work::Indexing { name } if self.shared.index().get(name).is_some()))
            .map(|(id, _)| JobId(id))
            .collect();
        found.into_iter().for_each(|job| self.finish(now, job, Ok(())));
    }

    /// `wait` without a time ends with the last command in the background.
    pub(super) fn end_waiter(&mut self, now: Instant, front: FrontId) {
        let its = || self.jobs.iter().filter(|(_, job)| job.op.front == front);
        let in_background = its().any(|(_, job)| job.op.background);
        let waiter = its().find(|(_, job)| matches!(job.work, Work::WaitAll)).map(|(id, _)| JobId(id));
        if let (false, Some(waiter)) = (in_background, waiter) {
            self.finish(now, waiter, Ok(()));
        }
    }

    /// Says how a command ended; a script stops at its first failure unless it was told not to.
    pub(super) fn conclude(&mut self, now: Instant, op: Op, result: Result<(), Failure>) {
        let command = op.command;
        if let Err(Failure { code, message }) = result {
            self.tell(op, &Event::Error { command, code: code.name(), message: &message });
            if self.fails(op.front, code.status()) {
                self.tell(op, &Event::Done { command });
                return self.end_script(now, op.front);
            }
        }
        self.tell(op, &Event::Done { command });
    }

    /// What a command under way belongs to.
    pub(super) fn op_of(&self, job: JobId) -> Option<Op> {
        self.jobs.get(job.0).map(|job| job.op)
    }

    /// Tells who asked, or the operator where nobody did, and all who follow.
    pub(super) fn tell(&mut self, to: impl Into<Option<Op>>, event: &Event<'_>) {
        self.fronts.tell(to.into(), event);
    }

    /// Words for a person only; a program has the events.
    pub(super) fn say(&mut self, to: impl Into<Option<Op>>, text: &str) {
        self.fronts.say(to.into(), text);
    }

    /// What is no result of an operation, and worth knowing for who asked for it.
    pub(super) fn note(&mut self, to: impl Into<Option<Op>>, text: &str) {
        self.fronts.note(to.into(), text);
    }

    /// Whether there are commands that the next one of this front end waits for.
    pub(super) fn in_foreground(&self, front: FrontId) -> bool {
        self.jobs.iter().any(|(_, job)| !job.op.background && job.op.front == front)
    }

    /// A node of a list was probed.
    pub(super) fn probed(&mut self, now: Instant, job: JobId, addr: SocketAddr, answers: bool) {
        if let Some(Job { work: Work::Nodes { alive, waiting, .. }, .. }) = self.jobs.get_mut(job.0) {
            alive.insert(addr, answers);
            *waiting -= 1;
            self.finish_nodes(now, job);
        }
    }

    /// Prints the list once all probes are in.
    pub(super) fn finish_nodes(&mut self, now: Instant, job: JobId) {
        let Some(Job { op, work: Work::Nodes { list, alive, waiting: 0 }, .. }) = self.jobs.get_mut(job.0)
        else {
            return;
        };
        let (op, list, alive) = (*op, *list, std::mem::take(alive));
        let up = alive.values().filter(|alive| **alive).count();
        for (addr, alive) in &alive {
            let lists = self.lists_of(*addr);
            let claimed = self.session_claiming(*addr).and_then(|_| self.contacts.book.get(*addr)?.whose());
            let id = self.contacts.book.node_at(*addr).or(claimed).map(|id| id.to_string());
            self.tell(op, &Event::Node { at: (*addr).into(), lists, alive: *alive, id });
        }
        let name = match list {
            List::All => "known",
            List::Bootstrap => "known by bootstrap",
            List::Multicast => "heard on multicast",
        };
        if alive.is_empty() {
            self.say(op, &format!("no node is {name} yet\n"));
        } else {
            self.say(op, &format!("{} {name}, {up} alive\n", plural(alive.len(), "node", "nodes")));
        }
        self.finish(now, job, Ok(()));
    }

    /// A part of a folder's names came.
    pub(super) fn listed(&mut self, now: Instant, request: RequestId, entries: &[Entry], end: &ListEnd) {
        if self.leftovers_listed(now, request, entries, end) || self.shared.listed(now, request, entries, end)
        {
            return;
        }
        let found = self.jobs.iter().find_map(|(id, job)| match job.work {
            Work::Files { request: r, dir, .. } if r == request => Some((JobId(id), job.op, dir)),
            _ => None,
        });
        let Some((id, op, dir)) = found else { return };
        for entry in entries {
            self.tell(
                op,
                &Event::File { number: None, name: &entry.name, size: entry.meta.size, root: None },
            );
        }
        let Some(Job { work: Work::Files { files, bytes, .. }, .. }) = self.jobs.get_mut(id.0) else {
            return;
        };
        *files += entries.len();
        *bytes = entries.iter().fold(*bytes, |sum, entry| sum.saturating_add(entry.meta.size));
        let (files, bytes) = (*files, *bytes);
        let (what, folder) = match dir {
            Dir::Shared => ("shared", &self.config.folders.shared),
            Dir::Downloads | Dir::Parts => ("downloaded", &self.config.folders.downloads),
        };
        let folder = for_terminal(&folder.to_string_lossy());
        let summary = match files {
            0 => format!("no file is {what} yet: {folder} is empty\n"),
            _ => format!("{} {what}, {}, in {folder}\n", plural(files, "file", "files"), sized(bytes)),
        };
        match end {
            ListEnd::More => return,
            ListEnd::Done(left_out) => {
                self.say(op, &summary);
                if left_out.count() > 0 {
                    self.tell(op, &Event::LeftOut(left_out.into()));
                }
            }
            ListEnd::Truncated => self.tell(op, &Event::Truncated { files, narrow: false }),
            ListEnd::Failed(fault) => {
                let failure = Failure::new(Code::Io, format!("cannot read {folder}: {fault}"));
                return self.finish(now, id, Err(failure));
            }
        }
        self.finish(now, id, Ok(()));
    }

    /// A copy into the shared folder went on.
    pub(super) fn share_progress(&mut self, job: JobId, copied: u64, total: u64) {
        if let Some(Job { work: Work::Share { bytes, size, .. }, .. }) = self.jobs.get_mut(job.0) {
            (*bytes, *size) = (copied, total);
        }
    }

    /// A copy into the shared folder is complete.
    pub(super) fn shared(
        &mut self,
        now: Instant,
        job: JobId,
        (name, bytes): (&str, u64),
        folder: Option<&ImportedFolder>,
    ) {
        let op = self.op_of(job);
        self.tell(op, &Event::Shared { name, bytes, files: folder.map(|folder| folder.files) });
        let mut last = name.to_owned();
        if let Some(folder) = folder {
            if folder.left_out.count() > 0 {
                self.tell(op, &Event::LeftOut((&folder.left_out).into()));
            }
            last = format!("{name}/{}", folder.last);
        }
        if let Some(Job { work, .. }) = self.jobs.get_mut(job.0) {
            *work = Work::Indexing { name: last };
        }
        self.timers.set(Timer::Job(job), now + INDEXED, "index of a new file");
        self.shared.index_mut().changed_by_us(
            now,
            if folder.is_some() { name } else { "" },
            folder.is_some(),
        );
    }

    /// A copy into the shared folder failed; nothing of it is left.
    pub(super) fn share_failed(&mut self, now: Instant, job: JobId, fault: Fault) {
        let Some(Job { work: Work::Share { name, .. }, .. }) = self.jobs.get(job.0) else { return };
        let name = for_terminal(name);
        let (code, text) = match fault {
            Fault::Exists => {
                (Code::Other, format!("{name} is shared already: rename yours, or remove that one first"))
            }
            Fault::NoSpace | Fault::Quota => {
                (Code::NoSpace, format!("cannot share {name}: {fault}; nothing is kept"))
            }
            Fault::NotFound => (Code::NotFound, format!("cannot share {name}: {fault}: is the path right?")),
            Fault::NotRegular => {
                (Code::Io, format!("cannot share {name}: it is neither a file nor a folder"))
            }
            fault => (Code::Io, format!("cannot share {name}: {fault}")),
        };
        self.finish(now, job, Err(Failure::new(code, text)));
    }

    /// Drops all commands and what they hold, and says of each that could have come to something that it did not.
    pub(super) fn drop_jobs(&mut self) {
        let jobs: Vec<JobId> = self.jobs.iter().map(|(id, _)| JobId(id)).collect();
        for job in jobs {
            self.drop_job(job);
        }
    }

    /// Drops the shares of this file, or all of them; how many there were.
    pub(super) fn give_up_shares(&mut self, now: Instant, file: Option<&str>) -> usize {
        let wanted = |name: &str| file.is_none_or(|file| name == file);
        let shares =
            self.jobs.iter().filter(|(_, job)| matches!(&job.work, Work::Share { name, .. } if wanted(name)));
        let jobs: Vec<(JobId, FrontId)> = shares.map(|(id, job)| (JobId(id), job.op.front)).collect();
        for &(job, front) in &jobs {
            self.drop_job(job);
            self.end_waiter(now, front);
        }
        jobs.len()
    }

    /// Drops a command whose front end is gone; a download that it waited for goes on.
    pub(super) fn forget_job(&mut self, job: JobId) {
        let Some(Job { work, .. }) = self.jobs.remove(job.0) else { return };
        self.timers.cancel(Timer::Job(job));
        match work {
            Work::Share { file, .. } => self.discard_file(file),
            Work::Get(gets) => {
                for id in gets.waits {
                    if let Some(transfer) = self.transfers.get_mut(id.0) {
                        transfer.jobs.retain(|other| *other != job);
                    }
                }
            }
            _ => {}
        }
    }

    fn drop_job(&mut self, job: JobId) {
        let Some(Job { op, work, .. }) = self.jobs.remove(job.0) else { return };
        self.timers.cancel(Timer::Job(job));
        let command = op.command;
        let lost = match work {
            Work::Join => return,
            Work::Wait | Work::WaitAll | Work::Indexing { .. } => None,
            Work::Get(gets) => Some(self.gets_left(&gets)),
            Work::Share { file, name, .. } => {
                self.discard_file(file);
                Some(format!("gave up sharing {}; nothing is kept", for_terminal(&name)))
            }
            _ => Some(format!("gave up {command}")),
        };
        if let Some(message) = lost {
            self.tell(op, &Event::Error { command, code: Code::Interrupted.name(), message: &message });
        }
        self.tell(op, &Event::Done { command });
    }

    /// Time for progress: events for a program, a line for a person.
    pub(super) fn show_progress(&mut self, now: Instant) {
        // A download that goes on by itself has no command that waits for it.
        if self.jobs.len() == 0 && self.active_transfers() == 0 {
            return;
        }
        self.timers.set(Timer::Progress, now + PROGRESS, "progress");
        let mut rows: Vec<Row> = self.fetching(now).collect();
        rows.extend(self.jobs.iter().filter_map(|(_, job)| match &job.work {
            Work::Share { name, bytes, size, .. } => Some(Row {
                ops: vec![job.op],
                name: name.clone(),
                bytes: *bytes,
                size: Some(*size),
                rate: None,
                sources: None,
                elapsed: now - job.started,
            }),
            _ => None,
        }));
        for front in self.fronts.all() {
            self.show_progress_to(now, front, &rows);
        }
    }

    /// To each what it asked for; to the operator what nobody waits for as well.
    fn show_progress_to(&mut self, now: Instant, id: FrontId, rows: &[Row]) {
        let Some(front) = self.fronts.get(id) else { return };
        let json = front.json;
        let its: Vec<&Row> = rows.iter().filter(|row| row.is_for(id)).collect();
        if json {
            for row in its {
                let Row { name, bytes, size, rate, sources, .. } = row;
                let (bytes, size, rate, sources) = (*bytes, *size, *rate, *sources);
                let op = row.ops.iter().find(|op| op.front == id).copied();
                self.tell(op, &Event::Progress { name, bytes, size, rate, sources });
            }
        } else if self.in_foreground(id) {
            let line = progress::line(&its).or_else(|| self.patience_line(now, id));
            if let Some((line, front)) = line.zip(self.fronts.get_mut(id)) {
                front.console.progress(&line);
            }
        }
    }

    /// A command that takes long without bytes to count.
    fn patience_line(&self, now: Instant, front: FrontId) -> Option<String> {
        let long = |job: &Job| job.op.front == front && now - job.started >= PATIENCE;
        let (_, job) = self.jobs.iter().find(|(_, job)| long(job))?;
        let what = match &job.work {
            Work::Nodes { waiting, .. } => format!("waiting for {}", plural(*waiting, "node", "nodes")),
            Work::Search(search) => {
                let (found, waiting) = search.so_far();
                format!("found at {found} so far, waiting for {}", plural(waiting, "node", "nodes"))
            }
            Work::Get(gets) if gets.waits.iter().any(|id| self.is_waited_for(*id)) => {
                "waiting for the source to read the file".to_owned()
            }
            Work::Browse(browse) => format!("{} so far", plural(browse.files, "file", "files")),
            Work::Bootstrap => "waiting for the registry's answer".to_owned(),
            Work::Files { files, .. } => format!("{} so far", plural(*files, "file", "files")),
            _ => "under way".to_owned(),
        };
        Some(format!("{}: {what}  {}", job.op.command, clock(now - job.started)))
    }
}

/// Where a command that reads a folder starts.
pub(super) fn list_files(request: RequestId, dir: Dir, max: usize) -> (Output, Work) {
    (
        Output::ListFiles { request, dir, folder: String::new(), deep: true, max },
        Work::Files { request, dir, files: 0, bytes: 0 },
    )
}
