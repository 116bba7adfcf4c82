//! `get`: from what the operator names to downloads.

use super::{Phase, Transfer};
use crate::config::HostPort;
use crate::machine::Fault;
use crate::node::api::{Code, Downloaded, Event, Failure, bytes as sized, plural};
use crate::node::find::search::Then;
use crate::node::fronts::results::Shown;
use crate::node::hit::Hit;
use crate::node::ids::{JobId, Op, TransferId};
use crate::node::operations::Work;
use crate::node::operations::gets::Gets;
use crate::node::peer::download::{Candidate, Download};
use crate::node::peer::{Peer, Resolving};
use crate::proto::command::Wanted;
use crate::proto::content::Root;
use crate::proto::escape::for_terminal;
use crate::proto::name::{check_name, is_beneath};
use crate::proto::v2::message::FileInfo;
use crate::time::Instant;
use std::net::SocketAddr;

/// What is to be downloaded, once it is known what that is.
struct Goal {
    name: String,
    root: Root,
    size: u64,
}

impl Peer {
    pub(in crate::node::peer) fn run_get(&mut self, now: Instant, op: Op, wanted: Wanted) {
        match wanted {
            Wanted::Numbers { of, numbers } => self.get_numbers(now, op, of, &numbers),
            Wanted::All => {
                let shown = self.operations.fronts.results(op.front, None);
                let all: Vec<usize> = (1..=shown.map_or(0, Shown::len).max(1)).collect();
                if let Some(&Shown::Listing { unnumbered: n @ 1.., .. }) = shown {
                    let files = plural(n, "file of that list has", "files of that list have");
                    self.note(op, &format!("{files} no number and must be named: there was no memory\n"));
                }
                self.get_numbers(now, op, None, &all);
            }
            Wanted::Name(file) => match named(&file) {
                Ok(()) => self.run_search(now, op, &file, Then::Get),
                Err(failure) => self.conclude(now, op, Err(failure)),
            },
            Wanted::At { node, name: file } => match named(&file) {
                Ok(()) => self.get_at(now, op, &node, (file, false)),
                Err(failure) => self.conclude(now, op, Err(failure)),
            },
            Wanted::Folder { node, folder } => match (named(&folder), node) {
                (Ok(()), Some(node)) => self.get_at(now, op, &node, (folder, true)),
                (Ok(()), None) => self.get_shown_folder(now, op, folder),
                (Err(failure), _) => self.conclude(now, op, Err(failure)),
            },
        }
    }

    fn get_numbers(&mut self, now: Instant, op: Op, of: Option<u32>, numbers: &[usize]) {
        let shown = self.operations.fronts.results(op.front, of);
        let first = numbers.first().copied().unwrap_or_default();
        let wanted = shown.map_or(Err(first), |shown| shown.pick(numbers));
        let text = match (wanted, of, shown.map_or(0, Shown::len)) {
            (Ok(wanted), ..) => {
                let job = self.begin(now, op, Work::Get(Gets::default()));
                return match wanted {
                    Shown::Hits(hits) => self.get_hits(now, job, hits),
                    Shown::Listing { at, files, .. } => self.get_files(now, job, at, files),
                };
            }
            (Err(number), Some(of), 0) => {
                format!("there is no result {of}.{number}: operation {of} showed none, or that is long ago")
            }
            (Err(number), Some(of), n) => format!("there is no result {of}.{number}: that list has {n}"),
            (Err(number), None, 0) => format!("there is no result {number}: `search` or `browse` first"),
            (Err(number), None, n) => format!("there is no result {number}: the last list has {n}"),
        };
        self.conclude(now, op, Err(Failure::new(Code::Usage, text)));
    }

    fn get_at(&mut self, now: Instant, op: Op, node: &HostPort, (file, folder): (String, bool)) {
        match node.literal() {
            Some(addr) => {
                let job = self.begin(now, op, Work::Get(Gets::default()));
                self.get_from(now, job, addr, file, folder);
            }
            None => {
                let work = Work::Resolve { host: node.host.clone(), name: file, folder };
                let job = self.begin(now, op, work);
                self.resolve(node.host.clone(), node.port, Resolving::Get(job));
            }
        }
    }

    /// The host of a `get` was looked up.
    pub(in crate::node::peer) fn get_resolved(
        &mut self,
        now: Instant,
        job: JobId,
        result: Result<SocketAddr, Fault>,
    ) {
        let work = self.operations.turns_to(job, Work::Get(Gets::default()));
        let Some(Work::Resolve { host, name, folder }) = work else { return };
        match result {
            Ok(addr) => self.get_from(now, job, addr, name, folder),
            Err(fault) => {
                let host = for_terminal(&host);
                let text = if fault == Fault::NoZone {
                    format!("{host}: {fault}")
                } else {
                    format!(
                        "{host}: {fault}: is the name spelt right? If it is the beginning of a file's name, put that in quotes"
                    )
                };
                self.finish(now, job, Err(Failure::new(Code::Network, text)));
            }
        }
    }

    fn get_from(&mut self, now: Instant, job: JobId, addr: SocketAddr, file: String, folder: bool) {
        match self.typed(addr) {
            Ok(addr) if folder => self.browse_folder(now, job, addr, file),
            Ok(addr) => {
                let transfer = self.add_transfer(now, file, addr, true, None);
                self.waits_for(job, transfer);
                self.start_queued(now);
            }
            Err(failure) => self.finish(now, job, Err(failure)),
        }
    }

    /// Results of a search: each from all who have it.
    fn get_hits(&mut self, now: Instant, job: JobId, hits: Vec<Hit>) {
        for hit in hits {
            let Some(&first) = hit.sources.first() else {
                self.operations.not_got(job, Failure::new(Code::NotFound, "nobody has it"));
                continue;
            };
            let (Some(root), Some(size)) = (hit.root, hit.size) else {
                let id = self.add_transfer(now, hit.name, first, false, None);
                if let Some(transfer) = self.transfers.get_mut(id.0) {
                    transfer.others.extend(&hit.sources[1..]);
                }
                self.waits_for(job, id);
                continue;
            };
            let holders = hit.sources.iter().map(|addr| Candidate::holder(*addr, now));
            let old = hit.old.iter().map(|addr| Candidate::old(*addr, now));
            let candidates = holders.chain(old).collect();
            self.want(now, Some(job), Goal { name: hit.name, root, size }, first, candidates);
        }
        self.start_queued(now);
        let ends = self.operations.settle_gets(job);
        self.ends(now, ends);
    }

    /// All beneath a folder: of the node that was browsed last, if it lies there, else whoever has it.
    fn get_shown_folder(&mut self, now: Instant, op: Op, folder: String) {
        let listed =
            self.operations.fronts.results(op.front, None).and_then(|shown| shown.lists_beneath(&folder));
        match listed {
            Some(addr) => {
                let job = self.begin(now, op, Work::Get(Gets::default()));
                self.browse_folder(now, job, addr, folder);
            }
            None => self.run_search(now, op, &folder, Then::Folder),
        }
    }

    /// Files that one node named.
    pub(in crate::node::peer) fn get_files(
        &mut self,
        now: Instant,
        job: JobId,
        addr: SocketAddr,
        files: Vec<FileInfo>,
    ) {
        self.operations.turns_to(job, Work::Get(Gets::default()));
        for FileInfo { name, size, root, .. } in files {
            match root {
                Some(root) => {
                    let candidates = vec![Candidate::holder(addr, now)];
                    self.want(now, Some(job), Goal { name, root, size }, addr, candidates);
                }
                None => {
                    let transfer = self.add_transfer(now, name, addr, true, None);
                    self.waits_for(job, transfer);
                }
            }
        }
        self.start_queued(now);
        let ends = self.operations.settle_gets(job);
        self.ends(now, ends);
    }

    /// A download of this content: a new one, or the one there is.
    fn want(
        &mut self,
        now: Instant,
        job: Option<JobId>,
        goal: Goal,
        first: SocketAddr,
        candidates: Vec<Candidate>,
    ) {
        if let Some(failure) = self.contradicts(&goal) {
            return job.into_iter().for_each(|job| self.operations.not_got(job, failure.clone()));
        }
        if let Some(id) = self.download_of(&goal.root) {
            job.into_iter().for_each(|job| self.waits_for(job, id));
            self.name_download(id, &goal);
            return self.join_download(now, id, candidates);
        }
        match self.new_download(&goal) {
            Ok(mut download) => {
                candidates.into_iter().for_each(|candidate| download.add_candidate(candidate));
                let id = self.add_transfer(now, goal.name, first, false, Some(download));
                job.into_iter().for_each(|job| self.waits_for(job, id));
            }
            Err(failure) => job.into_iter().for_each(|job| self.operations.not_got(job, failure.clone())),
        }
    }

    /// What an earlier life left without a journal goes by its root until somebody says what it is.
    fn name_download(&mut self, id: TransferId, Goal { name, root, .. }: &Goal) {
        let transfer = self.transfers.get_mut(id.0).filter(|transfer| transfer.name == root.to_string());
        if let Some(transfer) = transfer {
            transfer.name.clone_from(name);
        }
    }

    /// One content has one size: somebody who names another is wrong about it.
    fn contradicts(&self, Goal { name, root, size }: &Goal) -> Option<Failure> {
        let transfer = self.transfers.get(self.download_of(root)?.0)?;
        let other = transfer.download().filter(|download| download.size != *size)?;
        let text = format!(
            "{} is said to have {}, and {} of the same content {}: one of them is wrong",
            for_terminal(name),
            sized(*size),
            for_terminal(&transfer.name),
            sized(other.size)
        );
        Some(Failure::new(Code::Other, text))
    }

    /// More who have the content of a download; if it rests it goes on.
    fn join_download(&mut self, now: Instant, id: TransferId, candidates: Vec<Candidate>) {
        let Some(Transfer { phase, .. }) = self.transfers.get_mut(id.0) else { return };
        if let Phase::Download(download) | Phase::Queued(Some(download)) = phase {
            candidates.into_iter().for_each(|candidate| download.add_candidate(candidate));
        }
        self.download_resume(now, id);
        self.drive_download(now, id);
    }

    fn new_download(&mut self, goal: &Goal) -> Result<Box<Download>, Failure> {
        let Goal { name, root, size } = goal;
        let (seed, max) = (self.rng.u64(..), self.config.limits.file_max);
        let problem = match Download::new(*root, *size, &self.config.limits, seed) {
            Ok(download) if *size <= max => return Ok(Box::new(download)),
            Ok(_) => format!("it has {}, more than {}", sized(*size), sized(max)),
            Err(error) => error.to_string(),
        };
        let text = format!("{} cannot be downloaded: {problem}", for_terminal(name));
        Err(Failure::new(Code::Other, text))
    }

    /// The node that was asked for a name told what the content is.
    pub(in crate::node::peer) fn content_known(
        &mut self,
        now: Instant,
        id: TransferId,
        root: Root,
        size: u64,
    ) {
        let Some(Transfer { name, from, .. }) = self.transfers.get(id.0) else { return };
        let (goal, from) = (Goal { name: name.clone(), root, size }, *from);
        let holder = Candidate::holder(from, now);
        if let Some(failure) = self.contradicts(&goal) {
            return self.fetch_failed(now, id, failure);
        }
        if let Some(other) = self.download_of(&root) {
            // It is under way already, under this name or another.
            let jobs = self.transfers.remove(id.0).map(|transfer| transfer.jobs).unwrap_or_default();
            for job in jobs {
                self.operations.waits_no_more(job, id);
                self.waits_for(job, other);
            }
            self.name_download(other, &goal);
            return self.join_download(now, other, vec![holder]);
        }
        match self.new_download(&goal) {
            Ok(mut download) => {
                download.add_candidate(holder);
                if let Some(transfer) = self.transfers.get_mut(id.0) {
                    transfer.phase = Phase::Download(download);
                }
                self.download_start(now, id);
            }
            Err(failure) => self.fetch_failed(now, id, failure),
        }
    }

    /// The operation waits for this download, too.
    pub(super) fn waits_for(&mut self, job: JobId, id: TransferId) {
        if self.operations.waits_for(job, id) {
            if let Some(transfer) = self.transfers.get_mut(id.0) {
                transfer.jobs.push(job);
            }
        }
    }

    /// The search of `get NAME` found files of exactly that name: if they are one and the same, it is taken.
    pub(in crate::node::peer) fn get_found(
        &mut self,
        now: Instant,
        job: JobId,
        name: &str,
        mut hits: Vec<Hit>,
    ) {
        // What old nodes have under the name is anybody's guess, and wanted only where nobody knows better.
        if hits.iter().any(|hit| hit.size.is_some()) {
            hits.retain(|hit| hit.size.is_some());
        }
        if hits.len() == 1 {
            self.operations.turns_to(job, Work::Get(Gets::default()));
            return self.get_hits(now, job, hits);
        }
        self.show_results(self.op_of(job), &hits);
        let text = format!(
            "{} different files are called {}: choose one with `get N`",
            hits.len(),
            for_terminal(name)
        );
        self.operations.shows(&self.config.limits, job, hits);
        self.finish(now, job, Err(Failure::new(Code::Other, text)));
    }

    /// The search of `get FOLDER/` found what lies there, whoever has it.
    pub(in crate::node::peer) fn get_found_folder(
        &mut self,
        now: Instant,
        job: JobId,
        folder: &str,
        mut hits: Vec<Hit>,
    ) {
        let prefix = format!("{folder}/");
        hits.retain(|hit| is_beneath(&hit.name, &prefix));
        if hits.is_empty() {
            let text = format!("nobody who was asked has files beneath {}/", for_terminal(folder));
            return self.finish(now, job, Err(Failure::new(Code::NotFound, text)));
        }
        let most = self.config.limits.results_per_node;
        if hits.len() >= most {
            let text = format!(
                "a node names at most {most} files at once, and there may be more: `get IP PORT {}/` gets all of one node\n",
                for_terminal(folder)
            );
            self.note(self.op_of(job), &text);
        }
        self.operations.turns_to(job, Work::Get(Gets::default()));
        self.get_hits(now, job, hits);
    }

    /// v1: a download is complete. `stored`: the name it has now.
    pub(in crate::node::peer) fn tell_downloaded(
        &mut self,
        id: TransferId,
        name: &str,
        stored: &str,
        (size, confirmed): (u64, bool),
    ) {
        let path = self.config.folders.downloads.join(stored);
        let path = path.to_string_lossy();
        let (verified, already) = (false, false);
        let done = Downloaded {
            name,
            path: &path,
            bytes: size,
            verified,
            sources: 1,
            resumed: 0,
            confirmed,
            already,
        };
        self.tell_waiters(id, &Event::Downloaded(done));
    }
}

fn named(file: &str) -> Result<(), Failure> {
    check_name(file).map_err(|error| {
        let text = format!("no shared file can be named `{}`: {error}", for_terminal(file));
        Failure::new(Code::Usage, text)
    })
}
