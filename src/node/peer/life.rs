//! The peer's life as those who ask see it: listening, joining, lines taken from the console and from programs at the
//! control socket, the end in order.

use super::jobs::Work;
use super::registries::Registry;
use super::{CONTROL, Conn, LISTENER, Peer, Timer};
use crate::config::{ConsoleMode, V1_DEFAULT_SECRET};
use crate::machine::{ConnId, Fault, Output, Received, Signal};
use crate::node::api::{Code, Event};
use crate::node::fronts::Front;
use crate::node::fronts::console::{Console, LineIn};
use crate::node::ids::{FrontId, JobId, Op};
use crate::proto::control::Request;
use crate::proto::escape::for_terminal;
use crate::proto::group::group_name;
use crate::time::{Duration, Instant};
use std::net::{IpAddr, SocketAddr};

/// With `--join`, a script's first command waits this long for somebody to be heard.
const JOIN_PATIENCE: Duration = Duration::from_secs(1);
/// How long the end waits for the disk to take what is here of downloads.
const LAST_WRITES: Duration = Duration::from_millis(1500);
/// A program at the control socket that has nothing under way and says nothing is left after this.
const CONTROL_IDLE: Duration = Duration::from_secs(3600);

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
        self.fronts.stir();
        if let Some(line) = self.config.once.as_ref().map(|once| once.line.clone()) {
            self.line(now, FrontId::Console, LineIn::Text(line));
            self.fronts.own_mut().console.ended = true;
        }
    }

    fn greet_operator(&mut self) {
        let (at, id) = (self.listen.into(), self.sessions.id().to_string());
        self.tell(None, &Event::Ready { at, id: Some(&id) });
        let openness = self.openness();
        self.note(None, &openness);
        if self.fronts.own().console.mode == ConsoleMode::Terminal {
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
        self.status = code.status();
        self.stop(now, self.status);
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
            let job =
                self.jobs.iter().find(|(_, job)| matches!(job.work, Work::Join)).map(|(id, _)| JobId(id));
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

    /// Ends in order: GOODBYE, nothing half-done left, then the process may exit.
    pub(super) fn stop(&mut self, now: Instant, status: u8) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        // Before anything that may be the last to be waited for.
        self.status = status;
        self.drop_jobs();
        self.pause_downloads(now);
        self.leave_sessions(now);
        self.fronts.own_mut().console.leave();
        self.fronts.controls().into_iter().for_each(|conn| self.control_over(conn));
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
        if self.config.console != ConsoleMode::Script || self.status != 0 {
            return;
        }
        let code = if matches!(fault, Fault::NoSpace | Fault::Quota) { Code::NoSpace } else { Code::Io };
        self.status = code.status();
        if self.exited {
            // It shows with the last lines of all.
            self.outputs.push_back(Output::Exit { status: self.status });
        }
    }

    pub(super) fn signal(&mut self, now: Instant, signal: Signal) {
        match signal {
            Signal::Interrupt => {
                self.note(None, "interrupted\n");
                self.stop(now, 130);
            }
            Signal::Terminate => self.stop(now, self.status),
            // A daemon outlives the terminal it was started from.
            Signal::Hangup if self.config.console == ConsoleMode::Daemon => {}
            Signal::Hangup => self.stop(now, 129),
        }
    }

    /// Bytes of a front end: a script gets its next line only when the last command is done.
    pub(super) fn front_recv(&mut self, now: Instant, id: FrontId, bytes: &[u8]) -> Received {
        let mut consumed = 0;
        while consumed < bytes.len() {
            let may_take = self.may_take_line(id);
            let Some(front) = self.fronts.get_mut(id) else { break };
            if !may_take {
                front.console.paused = true;
                return Received { consumed, body: None, pause: true };
            }
            let (taken, line) = front.console.take_line(&bytes[consumed..]);
            consumed += taken;
            match (line, id) {
                (Some(line), FrontId::Console) => self.line(now, id, line),
                (Some(line), FrontId::Control(conn)) => self.control_line(now, conn, &line),
                (None, _) => {}
            }
        }
        Received { consumed: bytes.len(), ..Received::default() }
    }

    /// A front end will say nothing more.
    pub(super) fn front_eof(&mut self, now: Instant, id: FrontId) {
        let Some(front) = self.fronts.get_mut(id) else { return };
        let rest = front.console.take_rest();
        front.console.ended = true;
        let mode = front.console.mode;
        match (id, rest) {
            (FrontId::Console, Some(rest)) => self.line(now, id, rest),
            (FrontId::Control(conn), Some(rest)) => self.control_line(now, conn, &rest),
            (_, None) => {}
        }
        if mode == ConsoleMode::Terminal {
            self.end_script(now, id);
        }
    }

    fn may_take_line(&self, id: FrontId) -> bool {
        let Some(front) = self.fronts.get(id) else { return true };
        // A greeting asks for nothing, and is not waited for as long as a registry is.
        if id != FrontId::Console && !front.greeted {
            return true;
        }
        if !self.ready || self.stopping || self.jobs.len() >= self.config.limits.jobs {
            return false;
        }
        let console = &front.console;
        // A script's output is not dropped because it is long: the next command waits until it was taken.
        console.mode != ConsoleMode::Script
            || (!self.in_foreground(id) && console.buffered() <= self.config.limits.console_out_max / 4)
    }

    /// What may follow for the front ends: the next line of a script, the end of one, a prompt, bytes to send.
    pub(super) fn settle_fronts(&mut self, now: Instant) {
        for id in self.fronts.all() {
            if self.ready && !self.stopping {
                self.settle_front(now, id);
            }
            let Some(front) = self.fronts.get_mut(id) else { continue };
            for conn in front.console.take_wakes() {
                if self.conns.get(conn.0).is_some() {
                    self.outputs.push_back(Output::Wake { conn });
                }
            }
        }
        self.fronts.take_stirred();
    }

    fn settle_front(&mut self, now: Instant, id: FrontId) {
        let idle = !self.jobs.iter().any(|(_, job)| job.op.front == id);
        let (may_take, in_foreground) = (self.may_take_line(id), self.in_foreground(id));
        let Some(front) = self.fronts.get_mut(id) else { return };
        let console = &mut front.console;
        if console.ended && console.mode == ConsoleMode::Script && idle {
            return self.end_script(now, id);
        }
        if console.paused && may_take {
            console.paused = false;
            self.outputs.push_back(Output::Resume { conn: console.console });
        }
        if !in_foreground && console.asking.is_none() {
            console.prompt();
        }
    }

    /// A command of a front end failed with this status. True: that ends its script.
    pub(super) fn fails(&mut self, id: FrontId, status: u8) -> bool {
        let Some(front) = self.fronts.get_mut(id) else { return false };
        if front.console.mode != ConsoleMode::Script {
            return false;
        }
        let first = if id == FrontId::Console { &mut self.status } else { &mut front.status };
        if *first == 0 {
            *first = status;
        }
        !front.keep_going
    }

    /// A front end has asked for all it wanted, or its script stops at a failure: with the operator's own the node ends.
    pub(super) fn end_script(&mut self, now: Instant, id: FrontId) {
        match id {
            FrontId::Console => self.stop(now, self.status),
            FrontId::Control(conn) => self.control_over(conn),
        }
    }

    /// The control socket cannot be had: the node itself goes on.
    pub(super) fn control_failed(&mut self, fault: Fault) {
        log::warn!("no control socket: {fault}; `ds-peer ctl` cannot reach this node");
    }

    /// A program at the control socket.
    pub(super) fn control_accept(&mut self, now: Instant) -> Option<ConnId> {
        let limits = &self.config.limits;
        if self.stopping || self.fronts.controls().len() >= limits.controls {
            return None;
        }
        let conn = ConnId(self.conns.insert(Conn::Control));
        let mut front = Front::new(Console::remote(conn, limits), false, false);
        front.used = now;
        self.fronts.insert(conn, front);
        self.sockets += 1;
        self.timers.set(Timer::Conn(conn), now + limits.request_deadline, "first request of a program");
        Some(conn)
    }

    fn control_line(&mut self, now: Instant, conn: ConnId, line: &LineIn) {
        let limits = &self.config.limits;
        let Some(front) = self.fronts.get_mut(FrontId::Control(conn)) else { return };
        front.used = now;
        if front.is_over {
            return;
        }
        let request = match line {
            LineIn::Text(text) => Request::parse(text),
            LineIn::TooLong | LineIn::NotText => None,
        };
        match request {
            Some(Request::Hello(hello)) => {
                front.greet(&hello, limits);
                self.timers.set(Timer::Conn(conn), now + CONTROL_IDLE, "idle program");
            }
            Some(Request::Line(text)) if front.greeted => {
                let line = if text.len() > limits.line_max { LineIn::TooLong } else { LineIn::Text(text) };
                self.line(now, FrontId::Control(conn), line);
            }
            Some(Request::Events {}) if front.greeted => front.follows = true,
            _ => {
                front
                    .console
                    .note("error: that is no request: `hello` comes first, then `line` or `events`\n");
                front.status = Code::Usage.status();
                self.control_over(conn);
            }
        }
    }

    /// Says with what status it ended; it is closed once that was taken.
    fn control_over(&mut self, conn: ConnId) {
        let Some(front) = self.fronts.get_mut(FrontId::Control(conn)) else { return };
        if !std::mem::replace(&mut front.is_over, true) {
            front.console.leave();
            front.console.end_with(front.status);
            self.drop_operations(conn);
        }
    }

    pub(super) fn control_sent(&mut self, now: Instant, conn: ConnId, n: usize) {
        let Some(front) = self.fronts.get_mut(FrontId::Control(conn)) else { return };
        front.console.sent(conn, n);
        front.used = now;
        if front.is_over && front.console.buffered() == 0 {
            self.outputs.push_back(Output::Close { conn, reset: false });
            self.control_gone(conn);
        }
    }

    /// A program that says nothing, takes nothing and waits for nothing has no connection for ever.
    pub(super) fn control_idle(&mut self, now: Instant, conn: ConnId) {
        let Some(front) = self.fronts.get(FrontId::Control(conn)) else { return };
        let waits = front.follows || self.jobs.iter().any(|(_, job)| job.op.front == FrontId::Control(conn));
        let due = front.used + CONTROL_IDLE;
        if front.greeted && !front.is_over && (waits || due > now) {
            let due = due.max(now + CONTROL_IDLE / 2);
            return self.timers.set(Timer::Conn(conn), due, "idle program");
        }
        self.outputs.push_back(Output::Close { conn, reset: false });
        self.control_gone(conn);
    }

    /// A program is gone, well or not. Downloads go on; whatever else it asked for is dropped.
    pub(super) fn control_gone(&mut self, conn: ConnId) {
        self.drop_operations(conn);
        self.timers.cancel(Timer::Conn(conn));
        self.fronts.remove(conn);
        if self.conns.remove(conn.0).is_some() {
            self.socket_closed();
        }
        self.exit_if_closed();
    }

    fn drop_operations(&mut self, conn: ConnId) {
        let its = self.jobs.iter().filter(|(_, job)| job.op.front == FrontId::Control(conn));
        let its: Vec<JobId> = its.map(|(id, _)| JobId(id)).collect();
        for job in its {
            self.forget_job(job);
        }
    }
}
