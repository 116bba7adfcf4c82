//! Between the driver and the front ends: the console's streams, and connections at the control socket.

use crate::config::ConsoleMode;
use crate::machine::{ConnId, Fault, Output, Received};
use crate::node::api::Code;
use crate::node::fronts::Front;
use crate::node::fronts::console::{Console, LineIn};
use crate::node::ids::FrontId;
use crate::node::peer::{Conn, Peer, Timer};
use crate::proto::control::Request;
use crate::time::{Duration, Instant};

/// A program at the control socket that has nothing under way and says nothing is left after this.
const CONTROL_IDLE: Duration = Duration::from_secs(3600);

impl Peer {
    /// Bytes of a front end: a script gets its next line only when the last command is done.
    pub(in crate::node::peer) fn front_recv(&mut self, now: Instant, id: FrontId, bytes: &[u8]) -> Received {
        let mut consumed = 0;
        while consumed < bytes.len() {
            let may_take = self.may_take_line(id);
            let Some(front) = self.operations.fronts.get_mut(id) else { break };
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
    pub(in crate::node::peer) fn front_eof(&mut self, now: Instant, id: FrontId) {
        let Some(front) = self.operations.fronts.get_mut(id) else { return };
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
        let Some(front) = self.operations.fronts.get(id) else { return true };
        // A greeting asks for nothing, and is not waited for as long as a registry is.
        if id != FrontId::Console && !front.greeted {
            return true;
        }
        self.ready && !self.stopping && self.operations.may_take_line(&self.config.limits, id)
    }

    /// What may follow for the front ends: the next line of a script, the end of one, a prompt, bytes to send.
    pub(in crate::node::peer) fn settle_fronts(&mut self, now: Instant) {
        for id in self.operations.fronts.all() {
            if self.ready && !self.stopping {
                self.settle_front(now, id);
            }
            let Some(front) = self.operations.fronts.get_mut(id) else { continue };
            for conn in front.console.take_wakes() {
                if self.conns.get(conn.0).is_some() {
                    self.outputs.push_back(Output::Wake { conn });
                }
            }
        }
        self.operations.fronts.take_stirred();
    }

    fn settle_front(&mut self, now: Instant, id: FrontId) {
        let idle = self.operations.is_idle(id);
        let (may_take, in_foreground) = (self.may_take_line(id), self.operations.in_foreground(id));
        let Some(front) = self.operations.fronts.get_mut(id) else { return };
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

    /// A front end has asked for all it wanted, or its script stops at a failure: with the operator's own the node ends.
    pub(in crate::node::peer) fn end_script(&mut self, now: Instant, id: FrontId) {
        match id {
            FrontId::Console => self.stop(now, self.operations.status()),
            FrontId::Control(conn) => self.control_over(conn),
        }
    }

    /// The control socket cannot be had: the node itself goes on.
    pub(in crate::node::peer) fn control_failed(&mut self, fault: Fault) {
        log::warn!("no control socket: {fault}; `ds-peer ctl` cannot reach this node");
    }

    /// A program at the control socket.
    pub(in crate::node::peer) fn control_accept(&mut self, now: Instant) -> Option<ConnId> {
        let limits = &self.config.limits;
        if self.stopping || self.operations.fronts.controls().len() >= limits.controls {
            return None;
        }
        let conn = ConnId(self.conns.insert(Conn::Control));
        let mut front = Front::new(Console::remote(conn, limits), false, false);
        front.used = now;
        self.operations.fronts.insert(conn, front);
        self.sockets += 1;
        self.timers.set(Timer::Conn(conn), now + limits.request_deadline, "first request of a program");
        Some(conn)
    }

    fn control_line(&mut self, now: Instant, conn: ConnId, line: &LineIn) {
        let limits = &self.config.limits;
        let Some(front) = self.operations.fronts.get_mut(FrontId::Control(conn)) else { return };
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
    pub(in crate::node::peer) fn control_over(&mut self, conn: ConnId) {
        let Some(front) = self.operations.fronts.get_mut(FrontId::Control(conn)) else { return };
        if !std::mem::replace(&mut front.is_over, true) {
            front.console.leave();
            front.console.end_with(front.status);
            self.drop_operations(FrontId::Control(conn));
        }
    }

    pub(in crate::node::peer) fn control_sent(&mut self, now: Instant, conn: ConnId, n: usize) {
        let Some(front) = self.operations.fronts.get_mut(FrontId::Control(conn)) else { return };
        front.console.sent(conn, n);
        front.used = now;
        if front.is_over && front.console.buffered() == 0 {
            self.outputs.push_back(Output::Close { conn, reset: false });
            self.control_gone(conn);
        }
    }

    /// A program that says nothing, takes nothing and waits for nothing has no connection for ever.
    pub(in crate::node::peer) fn control_idle(&mut self, now: Instant, conn: ConnId) {
        let Some(front) = self.operations.fronts.get(FrontId::Control(conn)) else { return };
        let waits = front.follows || !self.operations.is_idle(FrontId::Control(conn));
        let due = front.used + CONTROL_IDLE;
        if front.greeted && !front.is_over && (waits || due > now) {
            let due = due.max(now + CONTROL_IDLE / 2);
            return self.timers.set(Timer::Conn(conn), due, "idle program");
        }
        self.outputs.push_back(Output::Close { conn, reset: false });
        self.control_gone(conn);
    }

    /// A program is gone, well or not. Downloads go on; whatever else it asked for is dropped.
    pub(in crate::node::peer) fn control_gone(&mut self, conn: ConnId) {
        self.drop_operations(FrontId::Control(conn));
        self.timers.cancel(Timer::Conn(conn));
        self.operations.fronts.remove(conn);
        if self.conns.remove(conn.0).is_some() {
            self.socket_closed();
        }
        self.exit_if_closed();
    }
}
