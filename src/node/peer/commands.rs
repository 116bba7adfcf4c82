//! Commands of the operator's: from a line to the work it starts.

use super::ask::Purpose;
use super::console::LineIn;
use super::files::Owner;
use super::jobs::{JobId, Tally, Work, list_files};
use super::known::Node;
use super::report::{Code, Event, Failure, Status};
use super::{Peer, Resolving, Timer};
use crate::config::{ConsoleMode, HostPort, V1_DEFAULT_SECRET};
use crate::machine::{Dir, Fault, Output, RequestId};
use crate::proto::address::is_local_net;
use crate::proto::command::{self, Command, CommandError, Line, List};
use crate::proto::escape::for_terminal;
use crate::proto::name::{check_name, file_name_of_source};
use crate::time::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

impl Peer {
    /// The operator typed a line.
    pub(super) fn line(&mut self, now: Instant, line: LineIn) {
        let asked = self.console.asking.take();
        let text = match line {
            LineIn::Text(text) => text,
            LineIn::TooLong => {
                let text =
                    format!("that line has more than {} bytes; it was ignored", self.config.limits.line_max);
                return self.conclude(now, "", Err(Failure::new(Code::Usage, text)));
            }
            LineIn::NotText => {
                let text = "that line is not text (valid UTF-8 without NUL); it was ignored";
                return self.conclude(now, "", Err(Failure::new(Code::Usage, text)));
            }
        };
        let text = match asked {
            Some(_) if text.trim().is_empty() => return,
            Some(asked) => command::append_argument(&asked, text.trim()),
            None => text,
        };
        match command::parse(&text) {
            Ok(Line { command: Command::Empty, .. }) => {}
            Ok(Line { command, background }) => self.run(now, command, background),
            Err(CommandError::MissingArgument { next, .. }) if self.console.mode == ConsoleMode::Terminal => {
                self.console.ask(text, next);
            }
            Err(error) => {
                let failure = Failure::new(Code::Usage, error.to_string());
                self.conclude(now, error.command(), Err(failure));
            }
        }
    }

    fn run(&mut self, now: Instant, command: Command, background: bool) {
        let name = command.name();
        match command {
            Command::Bootstrap(target) => self.run_bootstrap(now, name, background, target),
            Command::MulticastOn => {
                let job = self.begin(now, name, background, Work::Multicast);
                self.multicast_on(now, Some(job));
            }
            Command::MulticastOff => {
                self.multicast_off(now);
                self.tell(&Event::Multicast { on: false, interfaces: 0 });
                self.conclude(now, name, Ok(()));
            }
            Command::Nodes(list) => self.run_nodes(now, name, background, list),
            Command::Share { path } => self.run_share(now, name, background, &path),
            Command::Files => self.run_list(now, name, background, Dir::Shared),
            Command::Downloads => self.run_list(now, name, background, Dir::Downloads),
            Command::Search { words } => self.run_search(now, name, background, &words),
            Command::Get { node, name: file } => self.run_get(now, name, background, &node, file),
            Command::Cancel(file) => self.run_cancel(now, name, file.as_deref()),
            Command::Status => {
                let status = Event::Status(Box::new(self.status_now(now)));
                self.tell(&status);
                self.conclude(now, name, Ok(()));
            }
            Command::Wait(Some(time)) => {
                let job = self.begin(now, name, background, Work::Wait);
                self.timers.set(Timer::Job(job), now + time, "wait");
            }
            Command::Wait(None) => {
                if self.jobs.iter().any(|(_, job)| job.background) {
                    self.begin(now, name, false, Work::WaitAll);
                } else {
                    self.conclude(now, name, Ok(()));
                }
            }
            Command::Help(topic) => match command::help(topic.as_deref()) {
                Ok(text) => {
                    self.tell(&Event::Help { text: &text });
                    self.conclude(now, name, Ok(()));
                }
                Err(error) => self.conclude(now, name, Err(Failure::new(Code::Usage, error.to_string()))),
            },
            Command::Quit => {
                self.stop(now, self.status);
                self.tell(&Event::Done { command: name });
            }
            Command::Empty => {}
        }
    }

    fn run_bootstrap(
        &mut self,
        now: Instant,
        name: &'static str,
        background: bool,
        target: Option<HostPort>,
    ) {
        if target.is_none() && self.registries.is_empty() {
            let text = "no registry was given at start: use `bootstrap HOST:PORT`";
            return self.conclude(now, name, Err(Failure::new(Code::Usage, text)));
        }
        let number = target.map_or(0, |target| self.registry_at(target));
        let job = self.begin(now, name, background, Work::Bootstrap);
        self.register(now, number, Some(job), false);
    }

    fn run_nodes(&mut self, now: Instant, name: &'static str, background: bool, list: List) {
        let wanted: Vec<SocketAddr> = self
            .known
            .iter()
            .filter(|(_, node)| match list {
                List::All => true,
                List::Bootstrap => node.registry,
                List::Multicast => node.multicast(),
            })
            .map(|(addr, _)| addr)
            .collect();
        let mut alive = BTreeMap::new();
        let mut probes = Vec::new();
        for addr in wanted {
            match self.class_of(now, addr) {
                Some(class) => probes.push((addr, class)),
                None => {
                    alive.insert(addr, false);
                }
            }
        }
        let job = self.begin(now, name, background, Work::Nodes { list, waiting: probes.len(), alive });
        for (addr, class) in probes {
            self.ask(now, addr, class, Purpose::Probe(job));
        }
        self.finish_nodes(now, job);
    }

    fn run_search(&mut self, now: Instant, name: &'static str, background: bool, words: &str) {
        if let Err(error) = check_name(words) {
            let text = format!("no shared file can be named `{}`: {error}", for_terminal(words));
            return self.conclude(now, name, Err(Failure::new(Code::Usage, text)));
        }
        if !self.config.v1 {
            return self.conclude(now, name, Err(without_v1()));
        }
        if self.known.len() == 0 {
            let text = "no other node is known yet: use `bootstrap HOST:PORT` or `multicast on`, or `get IP PORT NAME`";
            return self.conclude(now, name, Err(Failure::new(Code::Network, text)));
        }
        let (trusted, strangers): (Vec<_>, Vec<_>) =
            self.known.iter().partition(|(addr, node)| self.may_see_secret(*addr, node));
        let (silent, withheld) = (trusted.len(), strangers.len());
        let trusted = trusted.into_iter().map(|(addr, _)| addr);
        let asked: Vec<_> =
            trusted.filter_map(|addr| self.class_of(now, addr).map(|class| (addr, class))).collect();
        let tally = Tally { silent: silent - asked.len(), withheld, ..Tally::default() };
        let work = Work::Search { words: words.to_owned(), waiting: asked.len(), tally };
        let job = self.begin(now, name, background, work);
        for (addr, class) in asked {
            self.ask(now, addr, class, Purpose::Search(job, words.to_owned()));
        }
        self.finish_search(now, job);
    }

    /// Every v1 request carries the secret. The public one goes anywhere; one of our own only to our networks and to
    /// addresses the operator typed (hostile: 116).
    fn may_see_secret(&self, addr: SocketAddr, node: &Node) -> bool {
        node.typed
            || self.config.v1_secret.matches(V1_DEFAULT_SECRET)
            || is_local_net(addr.ip(), &self.here())
    }

    fn run_get(&mut self, now: Instant, name: &'static str, background: bool, node: &HostPort, file: String) {
        if let Err(error) = check_name(&file) {
            let text = format!("no shared file can be named `{}`: {error}", for_terminal(&file));
            return self.conclude(now, name, Err(Failure::new(Code::Usage, text)));
        }
        if !self.config.v1 {
            return self.conclude(now, name, Err(without_v1()));
        }
        match node.literal() {
            Some(addr) => {
                let job = self.begin(now, name, background, Work::Get { transfer: None });
                self.get_from(now, job, addr, file);
            }
            None => {
                let job =
                    self.begin(now, name, background, Work::Resolve { host: node.host.clone(), name: file });
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
                let transfer = self.fetch(now, job, addr, file);
                if let Some(job) = self.jobs.get_mut(job.0) {
                    job.work = Work::Get { transfer: Some(transfer) };
                }
            }
            Err(failure) => self.finish(now, job, Err(failure)),
        }
    }

    fn run_share(&mut self, now: Instant, name: &'static str, background: bool, path: &str) {
        let source = PathBuf::from(path);
        if source.file_name().is_none() {
            let text = format!("{} is a folder: only files can be shared", for_terminal(path));
            return self.conclude(now, name, Err(Failure::new(Code::Usage, text)));
        }
        let file_name = match file_name_of_source(&source) {
            Ok(file_name) => file_name,
            Err(error) => {
                let text = format!("{} cannot be shared under its name: {error}", for_terminal(path));
                return self.conclude(now, name, Err(Failure::new(Code::Usage, text)));
            }
        };
        if !self.files.may_add() {
            let text = "too many files are open already: share it again when some transfers have ended";
            return self.conclude(now, name, Err(Failure::new(Code::Other, text)));
        }
        let file = self.files.add(Owner::Share(JobId(self.jobs.next_id())));
        let work = Work::Share { file, name: file_name.clone(), bytes: 0, size: 0 };
        self.begin(now, name, background, work);
        self.outputs.push_back(Output::ImportFile { file, source, name: file_name });
    }

    fn run_cancel(&mut self, now: Instant, name: &'static str, file: Option<&str>) {
        let given_up = self.give_up(now, file);
        let result = match (given_up, file) {
            (0, None) => Err("nothing is under way: `status` lists what is".to_owned()),
            (0, Some(file)) => {
                Err(format!("{} is not under way: `status` lists what is", for_terminal(file)))
            }
            _ => Ok(()),
        };
        self.conclude(now, name, result.map_err(|text| Failure::new(Code::NotFound, text)));
    }

    fn run_list(&mut self, now: Instant, name: &'static str, background: bool, dir: Dir) {
        self.last_request = RequestId(self.last_request.0.wrapping_add(1));
        let (output, work) = list_files(self.last_request, dir, self.config.limits.listing_max);
        self.begin(now, name, background, work);
        self.outputs.push_back(output);
    }

    /// The lists a node is on, as `node` events name them.
    pub(super) fn lists_of(&self, addr: SocketAddr) -> Vec<&'static str> {
        let mut lists = vec!["all"];
        if let Some(node) = self.known.get(addr) {
            lists.extend(node.registry.then_some("bootstrap"));
            lists.extend(node.multicast().then_some("multicast"));
        }
        lists
    }

    fn status_now(&self, now: Instant) -> Status {
        let count = |pick: fn(&Node) -> bool| self.known.iter().filter(|(_, node)| pick(node)).count();
        Status {
            ip: self.listen.ip(),
            port: self.listen.port(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: (now - self.started).as_secs(),
            nodes: self.known.len(),
            nodes_bootstrap: count(|node| node.registry),
            nodes_multicast: count(|node| node.multicast()),
            multicast: self.discovery.describe(),
            bootstraps: self.registries.iter().map(super::registries::Registry::describe).collect(),
            v1: self.config.v1,
            uploads: self.uploads.values().sum(),
            uploaded_bytes: self.totals.uploaded,
            downloads: self.transfers.len(),
            downloaded_bytes: self.totals.downloaded,
            running: self.running(),
            connections: self.sockets,
        }
    }
}

/// Every request to a node is one of v1, with its secret in it.
fn without_v1() -> Failure {
    let text = "the old protocol is off (`--v1 off`), and this version has no other to ask nodes in";
    Failure::new(Code::Usage, text)
}

/// The command that downloads `name` from the node at `at`, quoted only where it must be.
pub(super) fn get_line(at: SocketAddr, name: &str) -> String {
    let plain = format!("get {} {} {name}", at.ip(), at.port());
    match command::parse(&plain) {
        Ok(Line { command: Command::Get { name: read, .. }, background: false }) if read == name => plain,
        _ => command::append_argument(&format!("get {} {}", at.ip(), at.port()), name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_downloads_is_read_as_it_is_meant() {
        let at: SocketAddr = "10.0.0.5:9000".parse().unwrap();
        for (name, line) in [
            ("my file.txt", "get 10.0.0.5 9000 my file.txt"),
            ("a &", "get 10.0.0.5 9000 'a &'"),
            ("'a' b", "get 10.0.0.5 9000 \"'a' b\""),
            ("a\\b", "get 10.0.0.5 9000 'a\\b'"),
        ] {
            assert_eq!(get_line(at, name), line);
        }
    }
}
