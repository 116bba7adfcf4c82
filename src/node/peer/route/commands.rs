//! Commands of the operator's: from a line to the work it starts.

use crate::config::{ConsoleMode, HostPort};
use crate::machine::{Dir, Output};
use crate::node::api::{Code, Event, Failure, IndexStatus, Status};
use crate::node::contacts::address_book::Node;
use crate::node::files::Owner;
use crate::node::find::search::Then;
use crate::node::fronts::console::LineIn;
use crate::node::ids::{FrontId, Op};
use crate::node::operations::Work;
use crate::node::peer::Peer;
use crate::node::peer::ask::Purpose;
use crate::node::peer::registries::Registry;
use crate::node::shown::meant;
use crate::proto::command::{self, Command, CommandError, Line, List};
use crate::proto::escape::for_terminal;
use crate::proto::group::group_name;
use crate::proto::name::file_name_of_source;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

impl Peer {
    /// A front end has a line for us.
    pub(in crate::node::peer) fn line(&mut self, now: Instant, id: FrontId, line: LineIn) {
        let Some(front) = self.operations.fronts.get_mut(id) else { return };
        let (asked, mode) = (front.console.asking.take(), front.console.mode);
        let no_command = |peer: &mut Peer, text: String| {
            let op = peer.operations.fronts.new_op(id, "", false);
            peer.conclude(now, op, Err(Failure::new(Code::Usage, text)));
        };
        let text = match line {
            LineIn::Text(text) => text,
            LineIn::TooLong => {
                let text =
                    format!("that line has more than {} bytes; it was ignored", self.config.limits.line_max);
                return no_command(self, text);
            }
            LineIn::NotText => {
                let text = "that line is not text (valid UTF-8 without NUL); it was ignored";
                return no_command(self, text.to_owned());
            }
        };
        let text = match asked {
            Some(_) if text.trim().is_empty() => return,
            Some(asked) => command::append_argument(&asked, text.trim()),
            None => text,
        };
        match command::parse_among(&text, &|typed| meant(self.shown_names(id), typed)) {
            Ok(Line { command: Command::Empty, .. }) => {}
            Ok(Line { command, background }) => {
                let op = self.operations.fronts.new_op(id, command.name(), background);
                self.run(now, op, command);
            }
            Err(CommandError::MissingArgument { next, .. }) if mode == ConsoleMode::Terminal => {
                if let Some(front) = self.operations.fronts.get_mut(id) {
                    front.console.ask(text, next);
                }
            }
            Err(error) => {
                let failure = Failure::new(Code::Usage, error.to_string());
                let op = self.operations.fronts.new_op(id, error.command(), false);
                self.conclude(now, op, Err(failure));
            }
        }
    }

    fn run(&mut self, now: Instant, op: Op, command: Command) {
        match command {
            Command::Bootstrap(target) => self.run_bootstrap(now, op, target),
            Command::MulticastOn => {
                let job = self.begin(now, op, Work::Multicast);
                self.multicast_on(now, Some(job));
            }
            Command::MulticastOff => {
                self.multicast_off(now);
                self.tell(op, &Event::Multicast { on: false, interfaces: 0 });
                self.conclude(now, op, Ok(()));
            }
            Command::Nodes(list) => self.run_nodes(now, op, list),
            Command::Share { path } => self.run_share(now, op, &path),
            Command::Files => self.run_list(now, op, Dir::Shared),
            Command::Downloads => self.run_list(now, op, Dir::Downloads),
            Command::Search { words } => self.run_search(now, op, &words, Then::Show),
            Command::Browse(node) => self.run_browse(now, op, &node),
            Command::Get(wanted) => self.run_get(now, op, wanted),
            Command::Transfers => self.run_transfers(now, op),
            Command::Pause(which) => self.run_pause(now, op, &which),
            Command::Resume(which) => self.run_resume(now, op, &which),
            Command::Cancel(which) => self.run_cancel(now, op, &which),
            Command::Limit(limit) => self.run_limit(now, op, limit),
            Command::Status => {
                let status = Event::Status(Box::new(self.status_now(now)));
                self.tell(op, &status);
                self.conclude(now, op, Ok(()));
            }
            Command::Wait(Some(time)) => {
                let job = self.begin(now, op, Work::Wait);
                self.operations.set_deadline(job, now + time, "wait");
            }
            Command::Wait(None) => {
                if self.operations.in_background(op.front) {
                    self.begin(now, op, Work::WaitAll);
                } else {
                    self.conclude(now, op, Ok(()));
                }
            }
            Command::Help(topic) => match command::help(topic.as_deref()) {
                Ok(text) => {
                    self.tell(op, &Event::Help { text: &text });
                    self.conclude(now, op, Ok(()));
                }
                Err(error) => self.conclude(now, op, Err(Failure::new(Code::Usage, error.to_string()))),
            },
            Command::Quit => {
                self.stop(now, self.operations.status());
                self.tell(op, &Event::Done { command: op.command });
            }
            Command::Empty => {}
        }
    }

    fn run_bootstrap(&mut self, now: Instant, op: Op, target: Option<HostPort>) {
        if target.is_none() && self.registries.is_empty() {
            let text = "no registry was given at start: use `bootstrap HOST:PORT`";
            return self.conclude(now, op, Err(Failure::new(Code::Usage, text)));
        }
        let number = target.map_or(0, |target| self.registry_at(target));
        let job = self.begin(now, op, Work::Bootstrap);
        self.register(now, number, Some(job), false);
    }

    fn run_nodes(&mut self, now: Instant, op: Op, list: List) {
        let wanted: Vec<SocketAddr> = self
            .contacts
            .book
            .merged()
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
            match self.contacts.class_of(now, addr, &self.here()) {
                Some(class) => probes.push((addr, class)),
                None => {
                    alive.insert(addr, false);
                }
            }
        }
        let job = self.begin(now, op, Work::Nodes { list, waiting: probes.len(), alive });
        for (addr, class) in probes {
            self.ask(now, addr, class, Purpose::Probe(job));
        }
        self.finish_nodes(now, job);
    }

    fn run_share(&mut self, now: Instant, op: Op, path: &str) {
        let source = PathBuf::from(path);
        if source.file_name().is_none() || source.as_os_str() == "~" {
            let text = format!("{}: say which file or folder, by its own name", for_terminal(path));
            return self.conclude(now, op, Err(Failure::new(Code::Usage, text)));
        }
        let file_name = match file_name_of_source(&source) {
            Ok(file_name) => file_name,
            Err(error) => {
                let text = format!("{} cannot be shared under its name: {error}", for_terminal(path));
                return self.conclude(now, op, Err(Failure::new(Code::Usage, text)));
            }
        };
        if !self.files.may_add() {
            let text = "too many files are open already: share it again when some transfers have ended";
            return self.conclude(now, op, Err(Failure::new(Code::Other, text)));
        }
        let file = self.files.add(Owner::Share(self.operations.next_id()));
        let work = Work::Share { file, name: file_name.clone(), bytes: 0, size: 0 };
        self.begin(now, op, work);
        let max = self.config.limits.index_files;
        self.outputs.push_back(Output::Import { file, source, name: file_name, max });
    }

    fn run_list(&mut self, now: Instant, op: Op, dir: Dir) {
        let request = self.requests.next();
        self.begin(now, op, Work::Files { request, dir, files: 0, bytes: 0 });
        let (folder, max) = (String::new(), self.config.limits.listing_max);
        self.outputs.push_back(Output::ListFiles { request, dir, folder, deep: true, max });
    }

    /// The lists a node is on, as `node` events name them.
    pub(in crate::node::peer) fn lists_of(&self, addr: SocketAddr) -> Vec<&'static str> {
        let mut lists = vec!["all"];
        if let Some(node) = self.contacts.book.row(addr) {
            lists.extend(node.registry.then_some("bootstrap"));
            lists.extend(node.multicast().then_some("multicast"));
        }
        lists
    }

    /// Names that the operator has before his eyes: those of searches, of `browse`, of downloads under way.
    fn shown_names(&self, front: FrontId) -> impl Iterator<Item = &String> {
        let transfers = self.transfers.iter().map(|(_, transfer)| &transfer.name);
        self.operations.fronts.names(front).chain(transfers)
    }

    fn index_status(&self) -> IndexStatus {
        let progress = self.shared.index().progress();
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

    fn status_now(&self, now: Instant) -> Status {
        let count =
            |pick: fn(&Node) -> bool| self.contacts.book.merged().filter(|(_, node)| pick(node)).count();
        Status {
            at: self.listen.into(),
            id: self.sessions.id().to_string(),
            clone: self.clones.now(now),
            group: self.config.group.as_ref().map(group_name),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: (now - self.started).as_secs(),
            nodes: self.contacts.book.merged().count(),
            nodes_bootstrap: count(|node| node.registry),
            nodes_multicast: count(|node| node.multicast()),
            multicast: self.discovery.describe(),
            bootstraps: self.registries.iter().map(Registry::describe).collect(),
            v1: self.config.v1,
            uploads: self.files.uploads(),
            uploaded_bytes: self.totals.uploaded,
            downloads: self.active_transfers(),
            downloaded_bytes: self.totals.downloaded,
            running: self.running(),
            connections: self.sockets,
            sessions: self.sessions.len(),
            index: self.index_status(),
        }
    }
}
