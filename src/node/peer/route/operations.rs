//! Between operations and those who carry them out.

use crate::machine::{Dir, Entry, Fault, ImportedFolder, ListEnd, RequestId};
use crate::node::api::{Event, Failure};
use crate::node::find::Find;
use crate::node::fronts::progress::Row;
use crate::node::ids::{FrontId, JobId, Op};
use crate::node::operations::folders::NodeRow;
use crate::node::operations::gets::Gets;
use crate::node::operations::{Due, Ends, Held, Work};
use crate::node::peer::Peer;
use crate::node::peer::transfers::what_is_left;
use crate::time::Instant;
use std::net::SocketAddr;

impl Peer {
    /// A new operation under way.
    pub(in crate::node::peer) fn begin(&mut self, now: Instant, op: Op, work: Work<Find>) -> JobId {
        self.operations.begin(now, op, work)
    }

    /// An operation is over.
    pub(in crate::node::peer) fn finish(&mut self, now: Instant, job: JobId, result: Result<(), Failure>) {
        let ends = self.operations.finish(job, result);
        self.ends(now, ends);
    }

    /// An operation is over at once.
    pub(in crate::node::peer) fn conclude(&mut self, now: Instant, op: Op, result: Result<(), Failure>) {
        let ends = self.operations.conclude(op, result);
        self.ends(now, ends);
    }

    /// The script of a front end may end with that.
    pub(in crate::node::peer) fn ends(&mut self, now: Instant, ends: Ends) {
        if let Some(front) = ends {
            self.end_script(now, front);
        }
    }

    /// What an operation under way belongs to.
    pub(in crate::node::peer) fn op_of(&self, job: JobId) -> Option<Op> {
        self.operations.op_of(job)
    }

    /// Tells who asked, or the operator where nobody did, and all who follow.
    pub(in crate::node::peer) fn tell(&mut self, to: impl Into<Option<Op>>, event: &Event<'_>) {
        self.operations.tell(to, event);
    }

    /// Words for a person only; a program has the events.
    pub(in crate::node::peer) fn say(&mut self, to: impl Into<Option<Op>>, text: &str) {
        self.operations.say(to, text);
    }

    /// What is no result of an operation, and worth knowing for who asked for it.
    pub(in crate::node::peer) fn note(&mut self, to: impl Into<Option<Op>>, text: &str) {
        self.operations.note(to, text);
    }

    /// What is due of operations.
    pub(in crate::node::peer) fn operations_timeout(&mut self, now: Instant) {
        for _ in 0..self.config.limits.timers_per_turn {
            match self.operations.pop_due(now) {
                Some(Due::Job(job)) => self.job_timeout(now, job),
                Some(Due::Progress) => self.show_progress(now),
                None => return,
            }
        }
    }

    fn job_timeout(&mut self, now: Instant, job: JobId) {
        match self.operations.found_mut(job) {
            Some(Find::Search(_)) => self.search_late(now, job),
            Some(Find::Browse(_)) => self.browse_late(now, job),
            None => self.finish(now, job, Ok(())),
        }
    }

    fn show_progress(&mut self, now: Instant) {
        // A download that goes on by itself has no operation that waits for it.
        if self.operations.len() == 0 && self.active_transfers() == 0 {
            return;
        }
        let rows: Vec<Row> = self.fetching(now).collect();
        let Peer { operations, transfers, .. } = self;
        operations.show_progress(now, rows, Find::so_far, |id| {
            transfers.get(id.0).is_some_and(|transfer| transfer.is_read_there())
        });
    }

    /// The files that operations shared may be in the index now.
    pub(in crate::node::peer) fn finish_indexed(&mut self) {
        let Peer { operations, shared, .. } = self;
        operations.finish_indexed(|name| shared.index().get(name).is_some());
    }

    /// A node of a list was probed.
    pub(in crate::node::peer) fn probed(
        &mut self,
        now: Instant,
        job: JobId,
        addr: SocketAddr,
        answers: bool,
    ) {
        self.operations.probed(job, addr, answers);
        self.finish_nodes(now, job);
    }

    /// Tells the list once all probes are in.
    pub(in crate::node::peer) fn finish_nodes(&mut self, now: Instant, job: JobId) {
        let Some(alive) = self.operations.all_probed(job) else { return };
        let row = |(addr, alive)| {
            let book = &self.contacts.book;
            let claimed = || self.session_claiming(addr).and_then(|_| book.get(addr)?.whose());
            let id = book.node_at(addr).or_else(claimed).map(|id| id.to_string());
            NodeRow { addr, lists: self.lists_of(addr), alive, id }
        };
        let rows = alive.into_iter().map(row).collect();
        let ends = self.operations.tell_nodes(job, rows);
        self.ends(now, ends);
    }

    /// A part of a folder's names came.
    pub(in crate::node::peer) fn listed(
        &mut self,
        now: Instant,
        request: RequestId,
        entries: &[Entry],
        end: &ListEnd,
    ) {
        if self.leftovers_listed(now, request, entries, end) || self.shared.listed(now, request, entries, end)
        {
            return;
        }
        let folders = &self.config.folders;
        let ends = self.operations.listed(request, (entries, end), |dir| {
            let folder = if dir == Dir::Shared { &folders.shared } else { &folders.downloads };
            folder.to_string_lossy().into_owned()
        });
        self.ends(now, ends.flatten());
    }

    /// A copy into the shared folder is complete.
    pub(in crate::node::peer) fn shared(
        &mut self,
        now: Instant,
        job: JobId,
        (name, bytes): (&str, u64),
        folder: Option<&ImportedFolder>,
    ) {
        self.operations.shared(now, job, (name, bytes), folder);
        let changed = if folder.is_some() { name } else { "" };
        self.shared.index_mut().changed_by_us(now, changed, folder.is_some());
    }

    /// A copy into the shared folder failed.
    pub(in crate::node::peer) fn share_failed(&mut self, now: Instant, job: JobId, fault: Fault) {
        let ends = self.operations.share_failed(job, fault);
        self.ends(now, ends);
    }

    /// Drops the shares of this file, or all of them; how many there were.
    pub(in crate::node::peer) fn give_up_shares(&mut self, file: Option<&str>) -> usize {
        let files = self.operations.give_up_shares(file);
        files.iter().for_each(|file| self.discard_file(*file));
        files.len()
    }

    /// The end: drops all operations.
    pub(in crate::node::peer) fn drop_jobs(&mut self) {
        let Peer { operations, transfers, .. } = self;
        let left = |gets: &Gets| {
            let all = gets.waits.iter().filter_map(|id| transfers.get(id.0));
            what_is_left(all)
        };
        let files = operations.drop_all(left);
        files.into_iter().for_each(|file| self.discard_file(file));
    }

    /// Drops the operations of a front end that is gone; downloads that they waited for go on.
    pub(in crate::node::peer) fn drop_operations(&mut self, front: FrontId) {
        for job in self.operations.of_front(front) {
            match self.operations.forget(job) {
                Held::File(file) => self.discard_file(file),
                Held::Downloads(ids) => {
                    for id in ids {
                        if let Some(transfer) = self.transfers.get_mut(id.0) {
                            transfer.jobs.retain(|other| *other != job);
                        }
                    }
                }
                Held::Nothing => {}
            }
        }
    }
}
