//! Operations: whatever a front end asks for. Each ends once, well or not, and what becomes of it is told to who asked, under
//! its number. `F` is what a search or a listing of a node knows so far, which is none of this part's business.

pub(crate) mod folders;
pub(crate) mod gets;
pub(crate) mod showing;
#[cfg(test)]
mod tests;

use crate::config::{ConsoleMode, Limits};
use crate::machine::{Deadline, Dir, FileId, RequestId};
use crate::node::api::{Code, Event, Failure};
use crate::node::fronts::{Front, Fronts};
use crate::node::hit::Hit;
use crate::node::ids::{FrontId, JobId, Op, TransferId};
use crate::node::table::Table;
use crate::node::timers::Timers;
use crate::proto::command::List;
use crate::proto::escape::for_terminal;
use crate::time::Instant;
use gets::Gets;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// An operation under way.
#[derive(Debug)]
struct Job<F> {
    op: Op,
    started: Instant,
    work: Work<F>,
}

/// What an operation waits for.
#[derive(Debug)]
pub(crate) enum Work<F> {
    /// Registrations and multicast at start, before a script's first command.
    Join,
    /// A registry's answer.
    Bootstrap,
    /// The discovery sockets.
    Multicast,
    /// A probe of each node of a list.
    Nodes { list: List, waiting: usize, alive: BTreeMap<SocketAddr, bool> },
    /// An answer of each node asked, or the names of what one shares.
    Find(F),
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

/// What may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Due {
    /// The time of an operation is over.
    Job(JobId),
    /// It is shown how things go on.
    Progress,
}

/// What an operation held that ended without an end of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// A copy into the shared folder that is not complete.
    File(FileId),
    /// Downloads that it waited for, which go on.
    Downloads(BTreeSet<TransferId>),
    Nothing,
}

/// The script of this front end ends: its last operation failed.
pub(crate) type Ends = Option<FrontId>;

/// Those who ask, and what they asked for.
#[derive(Debug)]
pub(crate) struct Operations<F> {
    pub(crate) fronts: Fronts,
    jobs: Table<Job<F>>,
    timers: Timers<Due>,
}

impl<F> Operations<F> {
    /// Nothing was asked for. `own`: the operator's console; `once`: all ends with the first operation.
    pub(crate) fn new(own: Front, once: bool) -> Operations<F> {
        Operations { fronts: Fronts::new(own, once), jobs: Table::new(), timers: Timers::new() }
    }

    /// A new operation under way.
    pub(crate) fn begin(&mut self, now: Instant, op: Op, work: Work<F>) -> JobId {
        self.fronts.stir();
        let job = JobId(self.jobs.insert(Job { op, started: now, work }));
        self.show_progress_soon(now);
        job
    }

    /// The exit status of the process so far: that of the operator's script.
    pub(crate) fn status(&self) -> u8 {
        self.fronts.own().status
    }

    /// The process ends with this.
    pub(crate) fn set_status(&mut self, status: u8) {
        self.fronts.own_mut().status = status;
    }

    /// The id that the next one will have.
    pub(crate) fn next_id(&self) -> JobId {
        JobId(self.jobs.next_id())
    }

    /// It is over then, whatever has come of it.
    pub(crate) fn set_deadline(&mut self, job: JobId, due: Instant, reason: &'static str) {
        if self.jobs.get(job.0).is_some() {
            self.timers.set(Due::Job(job), due, reason);
        }
    }

    /// An operation is over: says so and lets the next one in.
    pub(crate) fn finish(&mut self, job: JobId, result: Result<(), Failure>) -> Ends {
        let Job { op, work, .. } = self.remove(job)?;
        if matches!(work, Work::Join) {
            return None;
        }
        let ends = self.conclude(op, result);
        self.end_waiter(op.front);
        ends
    }

    fn remove(&mut self, job: JobId) -> Option<Job<F>> {
        let removed = self.jobs.remove(job.0)?;
        self.timers.cancel(Due::Job(job));
        self.fronts.stir();
        Some(removed)
    }

    /// Says how an operation ended; a script stops at its first failure unless it was told not to.
    pub(crate) fn conclude(&mut self, op: Op, result: Result<(), Failure>) -> Ends {
        let command = op.command;
        let mut ends = false;
        if let Err(Failure { code, message }) = result {
            self.tell(op, &Event::Error { command, code: code.name(), message: &message });
            ends = self.fails(op.front, code.status());
        }
        self.tell(op, &Event::Done { command });
        ends.then_some(op.front)
    }

    /// An operation of a front end failed with this status. True: that ends its script.
    fn fails(&mut self, id: FrontId, status: u8) -> bool {
        let Some(front) = self.fronts.get_mut(id) else { return false };
        if front.console.mode != ConsoleMode::Script {
            return false;
        }
        if front.status == 0 {
            front.status = status;
        }
        !front.keep_going
    }

    /// An operation ends because the operator said so, which is no reason for a script to stop.
    pub(crate) fn interrupt(&mut self, job: JobId, text: &str) {
        let Some(Job { op, .. }) = self.remove(job) else { return };
        self.give_up(op, Some(text));
        self.end_waiter(op.front);
    }

    fn give_up(&mut self, op: Op, text: Option<&str>) {
        let command = op.command;
        if let Some(message) = text {
            self.tell(op, &Event::Error { command, code: Code::Interrupted.name(), message });
        }
        self.tell(op, &Event::Done { command });
    }

    /// `wait` without a time ends with the last operation in the background.
    fn end_waiter(&mut self, front: FrontId) {
        if self.in_background(front) {
            return;
        }
        let waits = |job: &Job<F>| job.op.front == front && matches!(job.work, Work::WaitAll);
        if let Some(waiter) = self.find(waits) {
            self.finish(waiter, Ok(()));
        }
    }

    fn find(&self, is: impl Fn(&Job<F>) -> bool) -> Option<JobId> {
        self.jobs.iter().find(|(_, job)| is(job)).map(|(id, _)| JobId(id))
    }

    /// The end: drops all, and says of each that could have come to something that it did not. `left`: what stays of downloads.
    /// Returns files that are not complete.
    pub(crate) fn drop_all(&mut self, left: impl Fn(&Gets) -> String) -> Vec<FileId> {
        let all: Vec<JobId> = self.jobs.iter().map(|(id, _)| JobId(id)).collect();
        all.into_iter().filter_map(|job| self.drop_job(job, &left)).collect()
    }

    fn drop_job(&mut self, job: JobId, left: impl Fn(&Gets) -> String) -> Option<FileId> {
        let Job { op, work, .. } = self.remove(job)?;
        let (text, file) = match work {
            Work::Join => return None,
            Work::Wait | Work::WaitAll | Work::Indexing { .. } => (None, None),
            Work::Get(gets) => (Some(left(&gets)), None),
            Work::Share { file, name, .. } => {
                (Some(format!("gave up sharing {}; nothing is kept", for_terminal(&name))), Some(file))
            }
            _ => (Some(format!("gave up {}", op.command)), None),
        };
        self.give_up(op, text.as_deref());
        file
    }

    /// Drops an operation whose front end is gone, without a word.
    pub(crate) fn forget(&mut self, job: JobId) -> Held {
        match self.remove(job).map(|job| job.work) {
            Some(Work::Share { file, .. }) => Held::File(file),
            Some(Work::Get(gets)) => Held::Downloads(gets.waits),
            _ => Held::Nothing,
        }
    }

    /// Those of a front end.
    pub(crate) fn of_front(&self, front: FrontId) -> Vec<JobId> {
        let its = self.jobs.iter().filter(|(_, job)| job.op.front == front);
        its.map(|(id, _)| JobId(id)).collect()
    }

    /// Whether a front end has none under way.
    pub(crate) fn is_idle(&self, front: FrontId) -> bool {
        self.find(|job| job.op.front == front).is_none()
    }

    /// Whether a front end has some that its next one waits for.
    pub(crate) fn in_foreground(&self, front: FrontId) -> bool {
        self.find(|job| !job.op.background && job.op.front == front).is_some()
    }

    /// Whether a front end has some that its next one does not wait for.
    pub(crate) fn in_background(&self, front: FrontId) -> bool {
        self.find(|job| job.op.background && job.op.front == front).is_some()
    }

    /// Whether a front end may give its next line: a script's comes only when its last command is done and its output was taken.
    pub(crate) fn may_take_line(&self, limits: &Limits, id: FrontId) -> bool {
        let Some(front) = self.fronts.get(id) else { return true };
        if self.jobs.len() >= limits.jobs {
            return false;
        }
        // A script's output is not dropped because it is long.
        front.console.mode != ConsoleMode::Script
            || (!self.in_foreground(id) && front.console.buffered() <= limits.console_out_max / 4)
    }

    /// The one that waits until the node has joined.
    pub(crate) fn joining(&self) -> Option<JobId> {
        self.find(|job| matches!(job.work, Work::Join))
    }

    /// Bytes of results that wait for the end of their search.
    pub(crate) fn held(&self, bytes: impl Fn(&F) -> usize) -> usize {
        let bytes = |job: &Job<F>| if let Work::Find(found) = &job.work { bytes(found) } else { 0 };
        self.jobs.iter().map(|(_, job)| bytes(job)).sum()
    }

    /// What an operation found so far.
    pub(crate) fn found_mut(&mut self, job: JobId) -> Option<&mut F> {
        match self.work_mut(job) {
            Some(Work::Find(found)) => Some(found),
            _ => None,
        }
    }

    /// What an operation waits for.
    pub(crate) fn work_mut(&mut self, job: JobId) -> Option<&mut Work<F>> {
        self.jobs.get_mut(job.0).map(|job| &mut job.work)
    }

    /// It waits for something else from now on.
    pub(crate) fn turns_to(&mut self, job: JobId, work: Work<F>) -> Option<Work<F>> {
        Some(std::mem::replace(self.work_mut(job)?, work))
    }

    /// Under way.
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whose an operation under way is.
    pub(crate) fn op_of(&self, job: JobId) -> Option<Op> {
        self.jobs.get(job.0).map(|job| job.op)
    }

    /// Tells who asked, or the operator where nobody did, and all who follow.
    pub(crate) fn tell(&mut self, to: impl Into<Option<Op>>, event: &Event<'_>) {
        self.fronts.tell(to.into(), event);
    }

    /// Words for a person only; a program has the events.
    pub(crate) fn say(&mut self, to: impl Into<Option<Op>>, text: &str) {
        self.fronts.say(to.into(), text);
    }

    /// What is no result of an operation, and worth knowing for who asked for it.
    pub(crate) fn note(&mut self, to: impl Into<Option<Op>>, text: &str) {
        self.fronts.note(to.into(), text);
    }

    /// What `get N` means from now on, for who asked.
    pub(crate) fn shows(&mut self, limits: &Limits, job: JobId, hits: Vec<Hit>) {
        if let Some(op) = self.op_of(job) {
            self.fronts.shows(op, hits, limits.results_bytes);
        }
    }

    /// When something is due next.
    pub(crate) fn poll_timeout(&mut self) -> Option<Deadline> {
        self.timers.next_deadline()
    }

    /// What is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Due> {
        self.timers.pop_due(now).map(|(due, _)| due)
    }

    /// Timers that are armed.
    pub(crate) fn timers(&self) -> usize {
        self.timers.len()
    }
}
