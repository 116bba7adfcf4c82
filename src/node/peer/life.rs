//! The peer's life as those who ask see it: listening, joining, lines taken from the console and from programs at the
//! control socket, the end in order.

use super::registries::Registry;
use super::{CONTROL, LISTENER, Peer, Timer};
use crate::config::{ConsoleMode, V1_DEFAULT_SECRET};
use crate::machine::{Fault, Output, Signal};
use crate::node::api::{Code, Event};
use crate::node::fronts::console::LineIn;
use crate::node::ids::{FrontId, Op};
use crate::node::operations::Work;
use crate::proto::escape::for_terminal;
use crate::proto::group::group_name;
use crate::time::{Duration, Instant, WallTime};
use std::net::{IpAddr, SocketAddr};

/// With `--join`, a script's first command waits this long for somebody to be heard.
const JOIN_PATIENCE: Duration = Duration::from_secs(1);
/// How long the end waits for the disk to take what is here of downloads.
const LAST_WRITES: Duration = Duration::from_millis(1500);

impl Peer {
    pub(super) fn listening(&mut self, now: Instant, addr: SocketAddr) {
        self.started = now;
        self.listen = addr;
        self.sessions.greeter.speaks.port = addr.port();
        self.find_leftovers();
        if self.config.once.is_none() {
            self.shared.index_mut().start(now);
            self.greet_operator();
        }
        if !self.config.join {
            return self.is_ready(now);
        }
        // Nothing is told of it, so that it takes no number.
        let op = Op { front: FrontId::Console, number: 0, command: "join", background: false };
        self.begin(now, op, Work::Join);
        self.timers.set(Timer::Joined, now + JOIN_PATIENCE, "join");
        for number in 0..self.registries.len() {
            self.register(now, number, None, true);
        }
        self.multicast_on(now, None);
    }

    /// Commands may run from now on.
    fn is_ready(&mut self, now: Instant) {
        self.ready = true;
        self.operations.fronts.stir();
        if let Some(line) = self.config.once.as_ref().map(|once| once.line.clone()) {
            self.line(now, FrontId::Console, LineIn::Text(line));
            self.operations.fronts.own_mut().console.ended = true;
        }
    }

    fn greet_operator(&mut self) {
        let (at, id) = (self.listen.into(), self.sessions.id().to_string());
        self.tell(None, &Event::Ready { at, id: Some(&id) });
        let openness = self.openness();
        self.note(None, &openness);
        if self.operations.fronts.own().console.mode == ConsoleMode::Terminal {
            self.welcome();
        }
    }

    /// Who can reach what this node shares: what everybody should know once.
    fn openness(&self) -> String {
        let Some(group) = &self.config.group else {
            if !self.config.speaks_v2() {
                return "the old protocol only: whoever knows its secret can read what this node shares (a group has more)\n"
                    .to_owned();
            }
            if self.config.root {
                return "open node, run by root: whoever reaches it reads what it shares with root's rights; better a user of its own, or a group\n"
                    .to_owned();
            }
            return "open node: whoever reaches it can read what it shares (a group keeps strangers out)\n"
                .to_owned();
        };
        let public = self.config.v1_secret.matches(V1_DEFAULT_SECRET);
        let who = match (self.config.v1, public) {
            (false, _) => "only its members reach this node",
            (true, true) => "with the old protocol on, everybody else can read what this node shares, too",
            (true, false) => {
                "with the old protocol on, whoever knows its secret can read what this node shares, too"
            }
        };
        format!("member of the group {}: {who}\n", group_name(group))
    }

    /// What a person may want to know before the first command.
    fn welcome(&mut self) {
        let port = self.listen.port();
        let others = self.contacts.book.own().iter().filter(|ip| !ip.is_loopback()).map(|ip| IpAddr::V4(*ip));
        let reach: Vec<String> = match self.config.announce {
            Some(ip) => vec![SocketAddr::new(ip, port).to_string()],
            None if self.listen.ip().is_unspecified() => {
                others.take(4).map(|ip| SocketAddr::new(ip, port).to_string()).collect()
            }
            None => Vec::new(),
        };
        if !reach.is_empty() {
            self.note(None, &format!("other computers reach it at {}\n", reach.join(" or ")));
        }
        let folders = &self.config.folders;
        let [shared, downloads] =
            [&folders.shared, &folders.downloads].map(|path| for_terminal(&path.to_string_lossy()));
        self.note(None, &format!("it shares the folder {shared}; downloads go to {downloads}\n"));
        self.note(None, "type `help` for the commands, `quit` to end\n");
    }

    pub(super) fn listen_failed(&mut self, now: Instant, fault: Fault) {
        let (ip, port) = (self.config.listen.ip(), self.config.listen.port());
        let advice = match fault {
            Fault::AddressInUse => "stop that program or choose another port",
            Fault::Denied => "ports below 1024 need more rights: choose a higher one",
            Fault::AddressNotHere => "give an address of this host, or only a port",
            _ => "give another address or port",
        };
        self.conclude_start(now, &format!("cannot listen on {ip} port {port}: {fault}: {advice}"));
    }

    fn conclude_start(&mut self, now: Instant, message: &str) {
        let code = Code::Network;
        self.tell(None, &Event::Error { command: "start", code: code.name(), message });
        self.stop(now, code.status());
    }

    /// Registrations and multicast at start are settled, or took long enough.
    pub(super) fn check_joined(&mut self, now: Instant, patience_over: bool) {
        if self.ready || !self.config.join {
            return;
        }
        let settled = self.registries.iter().all(Registry::is_settled) && !self.discovery.is_starting();
        // A single command has no second try: neighbours greet a newcomer within this time, not all at once.
        let hears_all = self.config.once.is_some();
        if patience_over || (settled && self.contacts.book.len() > 0 && !hears_all) {
            let job = self.operations.joining();
            // Registries have deadlines of their own; multicast has only this one.
            if self.registries.iter().all(Registry::is_settled) {
                self.timers.cancel(Timer::Joined);
                if let Some(job) = job {
                    self.finish(now, job, Ok(()));
                }
                self.is_ready(now);
            } else {
                self.timers.set(Timer::Joined, now + JOIN_PATIENCE, "join");
            }
        }
    }

    /// What time it is out there.
    pub(super) fn wall_clock(&mut self, now: Instant, wall: WallTime) {
        self.wall = Some((wall, now));
        self.sessions.greeter.set_clock(now, wall);
    }

    /// Ends in order: GOODBYE, nothing half-done left, then the process may exit.
    pub(super) fn stop(&mut self, now: Instant, status: u8) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        // Before anything that may be the last to be waited for.
        self.operations.set_status(status);
        self.drop_jobs();
        self.pause_downloads(now);
        self.leave_sessions(now);
        self.operations.fronts.own_mut().console.leave();
        self.operations.fronts.controls().into_iter().for_each(|conn| self.control_over(conn));
        self.multicast_off(now);
        self.outputs.push_back(Output::CloseListener { listener: LISTENER });
        if self.config.control {
            self.outputs.push_back(Output::CloseListener { listener: CONTROL });
        }
        self.timers.set(Timer::Exit, now + LAST_WRITES, "last writes");
        self.exit_if_closed();
    }

    /// Standard input could not be read or standard output not be written: `>/dev/full`, `<FOLDER`.
    pub(super) fn results_lost(&mut self, fault: Fault) {
        self.note(None, &format!("error: standard input or output: {fault}\n"));
        if self.config.console != ConsoleMode::Script || self.operations.status() != 0 {
            return;
        }
        let code = if matches!(fault, Fault::NoSpace | Fault::Quota) { Code::NoSpace } else { Code::Io };
        self.operations.set_status(code.status());
        if self.exited {
            // It shows with the last lines of all.
            self.outputs.push_back(Output::Exit { status: self.operations.status() });
        }
    }

    pub(super) fn signal(&mut self, now: Instant, signal: Signal) {
        match signal {
            Signal::Interrupt => {
                self.note(None, "interrupted\n");
                self.stop(now, 130);
            }
            Signal::Terminate => self.stop(now, self.operations.status()),
            // A daemon outlives the terminal it was started from.
            Signal::Hangup if self.config.console == ConsoleMode::Daemon => {}
            Signal::Hangup => self.stop(now, 129),
        }
    }
}
