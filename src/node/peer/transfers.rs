//! Downloads, whichever way they come: their table, their queue, the commands that wait for them.

mod steering;
mod wanted;

use super::Peer;
use super::download::{Candidate, Download};
use super::naming::Naming;
use crate::config::PART_PREFIX;
use crate::machine::{ConnId, Fault, FileId, Output};
use crate::node::api::{Code, Event, Failure, Running, bytes, plural};
use crate::node::contacts::address_book::Via;
use crate::node::files::Owner;
use crate::node::fronts::progress::Row;
use crate::node::hit::Hit;
use crate::node::ids::{JobId, Op, TransferId};
use crate::node::pace::Pace;
use crate::proto::escape::{for_log, for_terminal};
use crate::time::Instant;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A download.
#[derive(Debug)]
pub(super) struct Transfer {
    /// As the operator names it.
    pub(super) number: u32,
    /// Commands that wait for it.
    pub(super) jobs: Vec<JobId>,
    pub(super) name: String,
    /// Who has it: while its content is not known, the one that is asked; else who was named first.
    pub(super) from: SocketAddr,
    /// Others that have a file of that name, to be asked in this order where the one before did not give it.
    pub(super) others: VecDeque<SocketAddr>,
    /// The operator named its source.
    pub(super) typed: bool,
    /// v1: the node said, just before, that it has the file.
    pub(super) found: bool,
    /// v1: the connection that is asked.
    pub(super) conn: Option<ConnId>,
    /// v1: the temporary file.
    pub(super) file: Option<FileId>,
    /// v1: the peer finished sending.
    pub(super) eof: bool,
    /// v1: most bytes it may have: the limit, or what the disk has room for.
    pub(super) cap: u64,
    pub(super) pace: Pace,
    pub(super) phase: Phase,
}

/// Queued → Naming → Download, or for v1: Queued → Asking → Waiting → Dialing → Head → Creating → Receiving → Committing.
#[derive(Debug)]
pub(super) enum Phase {
    /// Too many run already. What is known of its content waits, too.
    Queued(Option<Box<Download>>),
    /// A node is asked what it has under the name.
    Naming(Naming),
    /// The content is known.
    Download(Box<Download>),
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

impl Transfer {
    /// Whether it takes one of the places of those that run.
    fn is_active(&self) -> bool {
        match &self.phase {
            Phase::Queued(_) => false,
            Phase::Download(download) => download.is_active(),
            _ => true,
        }
    }
}

impl Peer {
    /// A new download, which waits for its turn: [`Peer::start_queued`]. `typed`: the operator named the source.
    pub(super) fn add_transfer(
        &mut self,
        now: Instant,
        name: String,
        from: SocketAddr,
        typed: bool,
        known: Option<Box<Download>>,
    ) -> TransferId {
        let transfer = Transfer {
            number: self.numbers.next(),
            jobs: Vec::new(),
            name,
            from,
            others: VecDeque::new(),
            typed,
            found: false,
            conn: None,
            file: None,
            eof: false,
            cap: self.config.limits.download_max,
            pace: Pace::new(now, self.config.limits.progress_interval),
            phase: Phase::Queued(known),
        };
        let id = TransferId(self.transfers.insert(transfer));
        self.queued.push_back(id);
        id
    }

    /// Starts what waits, as far as the limit of running downloads allows.
    pub(super) fn start_queued(&mut self, now: Instant) {
        // What is on the disk already must be known first.
        if self.leftovers.is_looking() {
            return;
        }
        // What ends at once asks for the next one itself.
        if std::mem::replace(&mut self.starting, true) {
            return;
        }
        let falls_back = self.falls_back();
        while !self.stopping && self.may_start() {
            let Some(id) = self.queued.pop_front() else { break };
            let Some(transfer) = self.transfers.get_mut(id.0) else { continue };
            transfer.pace = Pace::new(now, self.config.limits.progress_interval);
            let known = match &mut transfer.phase {
                Phase::Queued(known) => known.take(),
                _ => continue,
            };
            let from = transfer.from;
            if let Some(download) = known {
                transfer.phase = Phase::Download(download);
                self.download_start(now, id);
            } else if self.contacts.book.get(from).is_some_and(|node| node.is_legacy(now)) && falls_back {
                self.fetch_old(now, id);
            } else {
                transfer.phase = Phase::Naming(Naming::default());
                self.naming_start(now, id);
            }
        }
        self.starting = false;
    }

    /// Whether one more download may run, with its files: those that wait for somebody to turn up have theirs open, too.
    fn may_start(&self) -> bool {
        let open = |transfer: &Transfer| transfer.download().is_some_and(Download::is_open);
        let open = self.transfers.iter().filter(|(_, transfer)| open(transfer)).count();
        let max = self.files.downloads_max;
        self.active_transfers() < max && open < 2 * max
    }

    /// Downloads that run.
    pub(super) fn active_transfers(&self) -> usize {
        self.transfers.iter().filter(|(_, transfer)| transfer.is_active()).count()
    }

    /// A download is over: it is forgotten, and those who waited for it hear what became of it.
    pub(super) fn transfer_over(&mut self, now: Instant, id: TransferId, result: &Result<(), Failure>) {
        self.timers.cancel(super::Timer::Transfer(id));
        self.queued.retain(|queued| *queued != id);
        let jobs = self.transfers.remove(id.0).map(|transfer| transfer.jobs).unwrap_or_default();
        self.got(now, jobs, id, result);
        self.exit_if_closed();
        self.start_queued(now);
    }

    /// Tells those who wait for a download, or the operator where nobody does: a person once, a program by each operation.
    pub(super) fn tell_waiters(&mut self, id: TransferId, event: &Event<'_>) {
        let jobs = self.transfers.get(id.0).map_or(Vec::new(), |transfer| transfer.jobs.clone());
        let mut ops: Vec<Op> = jobs.into_iter().filter_map(|job| self.op_of(job)).collect();
        let mut told = Vec::new();
        ops.retain(|op| {
            let first = !told.contains(&op.front);
            told.push(op.front);
            first || self.operations.fronts.get(op.front).is_some_and(|front| front.json)
        });
        if ops.is_empty() {
            self.tell(None, event);
        }
        for op in ops {
            self.tell(op, event);
        }
    }

    /// Those who wait for a download hear what became of it; it stays in the table.
    pub(super) fn tell_waiting(&mut self, now: Instant, id: TransferId, result: &Result<(), Failure>) {
        let jobs = self.transfers.get_mut(id.0).map(|transfer| std::mem::take(&mut transfer.jobs));
        self.got(now, jobs.unwrap_or_default(), id, result);
    }

    /// What became of a download that operations waited for.
    fn got(&mut self, now: Instant, jobs: Vec<JobId>, id: TransferId, result: &Result<(), Failure>) {
        for job in jobs {
            let ends = self.operations.got(job, id, result);
            self.ends(now, ends);
        }
    }

    /// v1: asks for a temporary file.
    pub(super) fn create_temporary(&mut self, id: TransferId) {
        let file = self.files.add(Owner::Fetch(id));
        let name = format!("{PART_PREFIX}{:016x}", self.rng.u64(..));
        self.outputs.push_back(Output::CreateFile { file, name, reserve: 0 });
        if let Some(transfer) = self.transfers.get_mut(id.0) {
            transfer.file = Some(file);
        }
    }

    /// v1: all of it is in the temporary file.
    pub(super) fn fetch_commit(&mut self, now: Instant, id: TransferId) {
        self.fetch_hang_up(now, id, false);
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        transfer.phase = Phase::Committing;
        if let Some(file) = transfer.file {
            self.outputs.push_back(Output::CommitFile { file, name: transfer.name.clone() });
        }
    }

    /// v1: the disk has it, under this name.
    pub(super) fn fetch_committed(
        &mut self,
        now: Instant,
        id: TransferId,
        name: &str,
        size: u64,
        confirmed: bool,
    ) {
        let Some(transfer) = self.transfers.get(id.0) else { return };
        let (from, asked) = (transfer.from, transfer.name.clone());
        let via = if transfer.typed { Via::Operator } else { Via::Dial };
        self.contacts.book.learn(from, via, now);
        self.contacts.book.prove(from, now);
        self.tell_downloaded(id, &asked, name, (size, confirmed));
        self.transfer_over(now, id, &Ok(()));
    }

    /// v1: an operation on the temporary file failed; its id is free if `fatal`.
    pub(super) fn fetch_file_failed(&mut self, now: Instant, id: TransferId, fault: Fault, fatal: bool) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        if fatal {
            transfer.file = None;
        }
        let text = format!("cannot store {}: {fault}", for_terminal(&transfer.name));
        self.fetch_failed(now, id, Failure::new(Code::of_disk(fault), text));
    }

    /// Ends a download that cannot succeed and of which nothing stays, unless somebody else has a file of that name.
    pub(super) fn fetch_failed(&mut self, now: Instant, id: TransferId, failure: Failure) {
        self.drop_transfer(now, id);
        if failure.code.is_of_source() && self.fetch_elsewhere(now, id, &failure) {
            return;
        }
        self.transfer_over(now, id, &Err(failure));
    }

    /// The next one that has a file of that name is asked, from the start. False: there is none.
    fn fetch_elsewhere(&mut self, now: Instant, id: TransferId, failure: &Failure) -> bool {
        let max = self.config.limits.download_max;
        let Some(transfer) = self.transfers.get_mut(id.0) else { return false };
        let Some(next) = transfer.others.pop_front() else { return false };
        log::info!("{}: {}: {next} is asked", for_log(&transfer.name), failure.message);
        (transfer.from, transfer.cap) = (next, max);
        (transfer.found, transfer.eof) = (false, false);
        transfer.phase = Phase::Queued(None);
        self.timers.cancel(super::Timer::Transfer(id));
        // Its place among those that run is its own still.
        self.queued.push_front(id);
        self.start_queued(now);
        true
    }

    /// Gives back everything that a download holds, and leaves nothing of it on the disk.
    pub(super) fn drop_transfer(&mut self, now: Instant, id: TransferId) {
        match self.transfers.get(id.0).map(|transfer| &transfer.phase) {
            Some(Phase::Download(_)) => return self.download_drop(now, id),
            Some(Phase::Queued(Some(_))) => return self.download_remove(id),
            Some(Phase::Naming(_)) => return self.naming_let_go(now, id),
            _ => self.fetch_hang_up(now, id, true),
        }
        let file = self.transfers.get_mut(id.0).and_then(|transfer| transfer.file.take());
        if let Some(file) = file {
            self.discard_file(file);
        }
    }

    /// A deadline of a download.
    pub(super) fn transfer_timeout(&mut self, now: Instant, id: TransferId) {
        match self.transfers.get(id.0).map(|transfer| &transfer.phase) {
            Some(Phase::Naming(_)) => self.naming_timeout(now, id),
            Some(Phase::Download(_)) => self.download_timeout(now, id),
            _ => {}
        }
    }

    /// A search found files: downloads of the same content have more sources.
    pub(super) fn feed_downloads(&mut self, now: Instant, hits: &[Hit]) {
        for id in self.running_downloads() {
            let Some(download) = self.download_mut(id) else { continue };
            let of = |hit: &&Hit| hit.root == Some(download.root) && hit.size == Some(download.size);
            let same = hits.iter().filter(of);
            let sources: Vec<SocketAddr> = same.flat_map(|hit| hit.sources.iter().copied()).collect();
            for addr in sources {
                download.add_candidate(Candidate::holder(addr, now));
            }
            self.drive_download(now, id);
        }
    }

    /// The name a download asks for.
    pub(super) fn fetch_name(&self, id: TransferId) -> Option<&str> {
        self.transfers.get(id.0).map(|transfer| transfer.name.as_str())
    }

    /// Downloads under way or waiting their turn, for `status`.
    pub(super) fn running(&self) -> Vec<Running> {
        let row = |transfer: &Transfer| Running {
            name: transfer.name.clone(),
            state: transfer.state(),
            sources: transfer.sources(),
            bytes: transfer.bytes(),
        };
        self.transfers.iter().map(|(_, transfer)| row(transfer)).collect()
    }

    /// Whether the operator named the source.
    pub(super) fn is_typed(&self, id: TransferId) -> bool {
        self.transfers.get(id.0).is_some_and(|transfer| transfer.typed)
    }

    /// Downloads under way, for progress events and the progress line.
    pub(super) fn fetching(&self, now: Instant) -> impl Iterator<Item = Row> {
        let moves = |transfer: &Transfer| match &transfer.phase {
            Phase::Queued(_) => false,
            Phase::Naming(naming) => !naming.is_hashing(),
            Phase::Download(download) => download.is_active(),
            _ => true,
        };
        self.transfers.iter().filter(move |(_, transfer)| moves(transfer)).map(move |(_, transfer)| {
            let download = transfer.download();
            Row {
                ops: transfer.jobs.iter().filter_map(|job| self.op_of(*job)).collect(),
                name: transfer.name.clone(),
                bytes: transfer.arrived(),
                size: download.map(|download| download.size),
                rate: download.map(|download| download.rate(now)),
                sources: download.map(Download::giving),
                elapsed: transfer.pace.elapsed(now),
            }
        })
    }
}

/// What becomes of the downloads of an operation that ends with the process.
pub(super) fn what_is_left<'a>(all: impl Iterator<Item = &'a Transfer>) -> String {
    let mut kept = 0;
    let mut names = Vec::new();
    for transfer in all {
        kept += transfer.download().map_or(0, Download::bytes);
        names.push(for_terminal(&transfer.name));
    }
    let name = match names.as_slice() {
        [name] => name.clone(),
        names => plural(names.len(), "file", "files"),
    };
    match kept {
        0 => format!("gave up the download of {name}; nothing is kept"),
        n => format!("stopped the download of {name}; {} are kept, and the next start goes on", bytes(n)),
    }
}

impl Transfer {
    /// Whether its source reads the file still, before it gives anything.
    pub(super) fn is_read_there(&self) -> bool {
        matches!(&self.phase, Phase::Naming(naming) if naming.is_hashing())
    }

    /// Bytes that are here.
    pub(super) fn bytes(&self) -> u64 {
        match &self.phase {
            Phase::Download(download) | Phase::Queued(Some(download)) => download.bytes(),
            _ => self.pace.moved(),
        }
    }

    /// The same with what came of pieces that are not whole.
    fn arrived(&self) -> u64 {
        self.download().map_or_else(|| self.pace.moved(), Download::arrived)
    }

    /// Its state in a word.
    pub(super) fn state(&self) -> &'static str {
        match (&self.phase, self.download()) {
            (_, Some(download)) => download.state(),
            (Phase::Queued(_), None) => "queued",
            (Phase::Receiving { .. }, None) => "receiving",
            (Phase::Committing, None) => "finishing",
            _ => "connecting",
        }
    }

    /// Nodes that give it now.
    pub(super) fn sources(&self) -> usize {
        self.download().map_or(1, Download::giving)
    }

    /// What is known of its content.
    pub(super) fn download(&self) -> Option<&Download> {
        match &self.phase {
            Phase::Download(download) | Phase::Queued(Some(download)) => Some(download),
            _ => None,
        }
    }
}
