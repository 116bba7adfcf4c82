//! `get`: from what the operator names to a download.

use super::jobs::{Job, JobId, Work};
use super::pull::Pull;
use super::report::{Code, Failure};
use super::search::{Hit, Then};
use super::transfers::TransferId;
use super::{Peer, Resolving};
use crate::config::HostPort;
use crate::machine::{Fault, Output};
use crate::proto::command::Wanted;
use crate::proto::escape::for_terminal;
use crate::proto::name::check_name;
use crate::time::Instant;
use std::collections::VecDeque;
use std::net::SocketAddr;

impl Peer {
    pub(super) fn run_get(&mut self, now: Instant, name: &'static str, background: bool, wanted: Wanted) {
        match wanted {
            Wanted::Number(number) => match self.hits.get(number - 1).cloned() {
                Some(hit) => {
                    let job = self.begin(now, name, background, Work::Get { transfer: None });
                    self.get_hit(now, job, hit);
                }
                None => {
                    let text = match self.hits.len() {
                        0 => format!("there is no result {number}: `search` first"),
                        n => format!("there is no result {number}: the last search has {n}"),
                    };
                    self.conclude(now, name, Err(Failure::new(Code::Usage, text)));
                }
            },
            Wanted::Name(file) => match named(&file) {
                Ok(()) => self.run_search(now, name, background, &file, Then::Get),
                Err(failure) => self.conclude(now, name, Err(failure)),
            },
            Wanted::At { node, name: file } => match named(&file) {
                Ok(()) => self.get_at(now, name, background, &node, file),
                Err(failure) => self.conclude(now, name, Err(failure)),
            },
        }
    }

    fn get_at(&mut self, now: Instant, name: &'static str, background: bool, node: &HostPort, file: String) {
        match node.literal() {
            Some(addr) => {
                let job = self.begin(now, name, background, Work::Get { transfer: None });
                self.get_from(now, job, addr, file);
            }
            None => {
                let work = Work::Resolve { host: node.host.clone(), name: file };
                let job = self.begin(now, name, background, work);
                let request = self.new_request(Resolving::Get(job));
                self.outputs.push_back(Output::Resolve { request, host: node.host.clone(), port: node.port });
            }
        }
    }

    /// The host of a `get` was looked up.
    pub(super) fn get_resolved(&mut self, now: Instant, job: JobId, result: Result<SocketAddr, Fault>) {
        let Some(waiting) = self.jobs.get_mut(job.0) else { return };
        let work = std::mem::replace(&mut waiting.work, Work::Get { transfer: None });
        let Work::Resolve { host, name } = work else { return };
        match result {
            Ok(addr) => self.get_from(now, job, addr, name),
            Err(fault) => {
                let text = format!("{}: {fault}: is the name spelt right?", for_terminal(&host));
                self.finish(now, job, Err(Failure::new(Code::Network, text)));
            }
        }
    }

    fn get_from(&mut self, now: Instant, job: JobId, addr: SocketAddr, file: String) {
        match self.typed(addr) {
            Ok(addr) => {
                let transfer = self.fetch(now, job, addr, file, (true, None));
                self.fetches(job, transfer);
            }
            Err(failure) => self.finish(now, job, Err(failure)),
        }
    }

    /// A result of a search: from its sources, one after another.
    fn get_hit(&mut self, now: Instant, job: JobId, hit: Hit) {
        let mut sources: VecDeque<SocketAddr> = hit.sources.into();
        let Some(first) = sources.pop_front() else {
            return self.finish(now, job, Err(Failure::new(Code::NotFound, "nobody has it")));
        };
        let content = hit.root.zip(hit.size);
        let pull = content.map(|content| Box::new(Pull::new(Some(content), sources)));
        let transfer = self.fetch(now, job, first, hit.name, (false, pull));
        self.fetches(job, transfer);
    }

    fn fetches(&mut self, job: JobId, transfer: TransferId) {
        if let Some(job) = self.jobs.get_mut(job.0) {
            job.work = Work::Get { transfer: Some(transfer) };
        }
    }

    /// The search of `get NAME` found files of exactly that name: if they are one and the same, it is taken.
    pub(super) fn get_found(&mut self, now: Instant, job: JobId, name: &str, mut hits: Vec<Hit>) {
        // What old nodes have under the name is anybody's guess, and wanted only where nobody knows better.
        if hits.iter().any(|hit| hit.size.is_some()) {
            hits.retain(|hit| hit.size.is_some());
        }
        if hits.len() == 1 {
            if let Some(Job { work, .. }) = self.jobs.get_mut(job.0) {
                *work = Work::Get { transfer: None };
            }
            return self.get_hit(now, job, hits.remove(0));
        }
        self.show_results(&hits);
        let text = format!(
            "{} different files are called {}: choose one with `get N`",
            hits.len(),
            for_terminal(name)
        );
        self.hits = hits;
        self.finish(now, job, Err(Failure::new(Code::Other, text)));
    }
}

fn named(file: &str) -> Result<(), Failure> {
    check_name(file).map_err(|error| {
        let text = format!("no shared file can be named `{}`: {error}", for_terminal(file));
        Failure::new(Code::Usage, text)
    })
}
