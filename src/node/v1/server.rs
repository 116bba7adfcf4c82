//! The server's side of v1: one request a connection, answered with a word or with a file.

use super::files::Owner;
use super::transfers::next_number;
use super::{Conn, Peer, Timer};
use crate::config::unmapped;
use crate::machine::{ConnId, Dir, Fault, FileId, Output, Received, Transmit};
use crate::node::gate::Verdict;
use crate::node::outgoing::Outgoing;
use crate::node::pace::Pace;
use crate::node::uploads::Receiver;
use crate::proto::escape::for_log;
use crate::proto::json::{FirstByte, JsonError, ObjectScanner, Scan, first_byte};
use crate::proto::name::check_name;
use crate::proto::v1::{self, Refusal, Request};
use crate::time::Instant;
use log::{debug, info};
use std::net::SocketAddr;

/// Sockets kept back for telling callers that there is no room.
pub(super) const BUSY_RESERVE: usize = 16;

/// A connection that came in.
#[derive(Debug)]
pub(super) struct Serve {
    peer: SocketAddr,
    accepted: Instant,
    /// It made a valid request.
    valid: bool,
    /// There is no room for it: it is told so, if it speaks a protocol that has words for it.
    busy: bool,
    /// The peer finished sending.
    eof: bool,
    /// Bytes thrown away after the request.
    discarded: usize,
    /// The file it asked for, while it is open.
    file: Option<FileId>,
    state: State,
}

/// Reading → Waiting → Opening → Sending → Lingering; refusals skip what is between, and who finds a slot does not wait.
#[derive(Debug)]
enum State {
    /// The request comes in.
    Reading(ObjectScanner),
    /// A download without a slot yet: it is in the queue.
    Waiting { name: String },
    /// The file is looked for.
    Opening { name: String, download: bool },
    /// The answer goes out; `upload` names the file if it is one.
    Sending { out: Outgoing, upload: Option<String>, pace: Pace },
    /// The answer is out; the peer gets time to read it before the connection closes.
    Lingering,
}

/// Why a connection of the server's side ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Answered, and read by the peer or long enough open.
    Answered,
    /// Opened and closed without a byte: somebody's liveness probe.
    Probed,
    /// No whole request in time.
    RequestTimeout,
    /// The peer takes the answer too slowly.
    SlowReader,
    /// The operator gave up the upload.
    Stopped,
    /// The file ended early or could not be read: the peer must not take what it has for the whole.
    FileBroken(Fault),
    /// The old protocol is switched off.
    V1Off,
    /// Binary from the first byte on.
    NotV1,
    /// Made room for somebody else.
    Evicted,
}

impl Leave {
    /// Whether the peer has to see that the answer is not whole.
    fn resets(self) -> bool {
        matches!(self, Leave::SlowReader | Leave::Stopped | Leave::FileBroken(_))
    }
}

impl Serve {
    fn new(peer: SocketAddr, accepted: Instant, request_max: usize) -> Serve {
        Serve {
            peer,
            accepted,
            valid: false,
            busy: false,
            eof: false,
            discarded: 0,
            file: None,
            state: State::Reading(ObjectScanner::new(request_max)),
        }
    }

    /// Where from, and when.
    pub(super) fn came(&self) -> (SocketAddr, Instant) {
        (self.peer, self.accepted)
    }
}

impl Serve {
    /// Whether it has bytes of a file to send.
    pub(super) fn sends_file(&self) -> bool {
        matches!(&self.state, State::Sending { upload: Some(_), out, .. } if !out.is_empty())
    }
}

impl Peer {
    /// A connection came in.
    pub(super) fn accept(&mut self, now: Instant, peer: SocketAddr) -> Option<ConnId> {
        let peer = unmapped(peer);
        if self.stopping {
            return None;
        }
        let limits = &self.config.limits;
        // The last eighth is for our own dials: callers cannot cut us off.
        let callers = (limits.conns - limits.conns / 8).saturating_sub(self.gate.len());
        let places = callers.min(self.room());
        let (oldest, busy) = match self.gate.judge(peer.ip(), places, limits) {
            Verdict::Enters => (None, false),
            Verdict::Replaces(oldest) => (Some(oldest), false),
            Verdict::Refused if places > 0 => return None,
            // Where callers have all their places one of them has to go.
            Verdict::Refused => match self.idlest_session(now, callers == 0) {
                Some(idle) => (Some(idle), false),
                None if self.sockets < self.config.limits.conns + BUSY_RESERVE => (None, true),
                None => return None,
            },
        };
        let limits = &self.config.limits;
        let serve = Serve { busy, ..Serve::new(peer, now, limits.request_max) };
        let conn = ConnId(self.conns.insert(Conn::Serve(serve)));
        self.sockets += 1;
        self.gate.enter(now, peer.ip(), conn);
        if busy {
            // It is on its way out, and makes room for nobody.
            self.gate.authenticated(peer.ip(), now, conn);
        }
        // Only now: the slot of one that left just before would be given out again before the driver heard of it.
        if let Some(oldest) = oldest {
            match self.conns.get(oldest.0) {
                Some(Conn::Session(_)) => self.session_end(now, oldest, Fault::Refused, false),
                _ => self.leave(now, oldest, Leave::Evicted),
            }
        }
        let limits = &self.config.limits;
        let due = now + if busy { limits.linger } else { limits.request_deadline };
        self.timers.set(Timer::Conn(conn), due, "request");
        Some(conn)
    }

    pub(super) fn serve_recv(&mut self, now: Instant, conn: ConnId, bytes: &mut [u8]) -> Received {
        let all = Received { consumed: bytes.len(), ..Received::default() };
        let limit = self.config.limits.linger_bytes;
        let (v1, v2) = (self.config.v1, self.speaks_v2());
        let Some(Conn::Serve(serve)) = self.conns.get_mut(conn.0) else { return all };
        let busy = serve.busy;
        let State::Reading(scanner) = &mut serve.state else {
            // Bytes after the request are nobody's; past the limit they stay in the kernel.
            serve.discarded += bytes.len();
            return Received { pause: serve.discarded > limit, ..all };
        };
        if scanner.is_empty() {
            let first = bytes.first().map_or(FirstByte::White, |&b| first_byte(b));
            if first == FirstByte::V2 && v2 && !busy {
                return self.greet_caller(now, conn, bytes);
            }
            // Anything printable may be a person or a program that means v1, and gets v1's text; so does a dial of v2 where
            // only v1 is spoken, because it tells the caller so.
            let binary = first == FirstByte::Other && bytes[0].is_ascii_control();
            if binary || !v1 || (first == FirstByte::V2 && busy) {
                self.leave(now, conn, if v1 { Leave::NotV1 } else { Leave::V1Off });
                return all;
            }
            if busy && first != FirstByte::White {
                self.answer(now, conn, Refusal::Busy.text());
                return all;
            }
        }
        match scanner.push(bytes) {
            Scan::More => {}
            Scan::Bad(error) => self.refuse_scan(now, conn, error),
            Scan::Complete => {
                let request = v1::parse_request(scanner.object(), &self.config.v1_secret);
                self.request(now, conn, request);
            }
        }
        all
    }

    /// A handshake that came in is none of ours: it gets the answer of v1 to what is no request.
    pub(super) fn refuse_in_v1(&mut self, now: Instant, conn: ConnId) {
        let max = self.config.limits.request_max;
        let Some((peer, accepted)) = self.session_mut(conn).and_then(|session| session.came()) else {
            return;
        };
        if let Some(place) = self.conns.get_mut(conn.0) {
            *place = Conn::Serve(Serve::new(peer, accepted, max));
            self.answer(now, conn, Refusal::NotJson.text());
        }
    }

    fn refuse_scan(&mut self, now: Instant, conn: ConnId, error: JsonError) {
        debug!("{conn:?}: not a request: {error}");
        self.answer(now, conn, Refusal::from(error).text());
    }

    /// The whole request is here.
    fn request(&mut self, now: Instant, conn: ConnId, request: Result<Request, Refusal>) {
        let (name, download) = match request {
            Ok(Request::Search { name }) => (name, false),
            Ok(Request::Download { name }) => (name, true),
            Err(refusal) => return self.answer(now, conn, refusal.text()),
        };
        let Some(serve) = self.serve_mut(conn) else { return };
        let (ip, accepted) = (serve.peer.ip(), serve.accepted);
        if !std::mem::replace(&mut serve.valid, true) {
            self.gate.authenticated(ip, accepted, conn);
        }
        if check_name(&name).is_err() {
            let text = if download { Refusal::NoSuchFile.text() } else { v1::NOT_FOUND };
            return self.answer(now, conn, text);
        }
        let may_open = if download { self.files.may_add_for(ip) } else { self.files.may_add() };
        if may_open {
            return self.open_for(now, conn, name, download);
        }
        let limits = &self.config.limits;
        if !download || !self.upload_queue.enter(ip, conn, limits) {
            return self.answer(now, conn, Refusal::Busy.text());
        }
        self.timers.set(Timer::Conn(conn), now + limits.v1_wait, "upload slot");
        if let Some(serve) = self.serve_mut(conn) {
            serve.state = State::Waiting { name };
        }
    }

    /// A file was closed: whose turn is it?
    pub(super) fn serve_waiting(&mut self, now: Instant) {
        while let Some(conn) = self.upload_queue.next(|from| self.files.may_add_for(from)) {
            if let Some(Serve { state: State::Waiting { name }, .. }) = self.serve_mut(conn) {
                let name = std::mem::take(name);
                self.open_for(now, conn, name, true);
            }
        }
    }

    /// Has the file opened that `conn` asked for, in a slot of its source's if it is to be sent.
    fn open_for(&mut self, now: Instant, conn: ConnId, name: String, download: bool) {
        let Some(serve) = self.serve_mut(conn) else { return };
        let ip = serve.peer.ip();
        self.timers.set(Timer::Conn(conn), now + self.config.limits.drain_interval, "open");
        let owner = Owner::Serve(conn);
        let file = if download { self.files.add_for(ip, owner) } else { self.files.add(owner) };
        let spelled = self.index.get_spelled(&name).map_or_else(|| name.clone(), |view| view.name.to_owned());
        self.outputs.push_back(Output::OpenFile { file, dir: Dir::Shared, name: spelled });
        if let Some(serve) = self.serve_mut(conn) {
            serve.file = Some(file);
            serve.state = State::Opening { name, download };
        }
    }

    /// The file that `conn` asked for is open.
    pub(super) fn serve_opened(&mut self, now: Instant, conn: ConnId, size: u64) {
        let pace = Pace::new(now, self.config.limits.drain_interval);
        let Some(serve) = self.serve_mut(conn) else { return };
        let State::Opening { name, download } = &mut serve.state else { return };
        let (Some(file), true) = (serve.file, *download) else {
            self.release(conn);
            return self.answer(now, conn, v1::FOUND);
        };
        let (name, addr) = (std::mem::take(name), serve.peer);
        serve.state = State::Sending { out: Outgoing::file(file, size), upload: Some(name.clone()), pace };
        let number = next_number(&mut self.last_transfer);
        self.uploads.begin(now, (conn, None), number, (name, size, Receiver { addr, id: None }));
        self.watch_uploads();
        self.wants_to_send(conn);
        self.timers.set(Timer::Conn(conn), pace.next_look(now), "drain");
        self.outputs.push_back(Output::Wake { conn });
        self.finish_if_sent(now, conn);
    }

    /// The file that `conn` asked for cannot be opened, or not be read on. Its id is free if `fatal`.
    pub(super) fn serve_file_failed(&mut self, now: Instant, conn: ConnId, fault: Fault, fatal: bool) {
        let Some(serve) = self.serve_mut(conn) else { return };
        if fatal {
            serve.file = None;
        }
        match &serve.state {
            State::Opening { download, .. } => {
                let text = match (fault, download) {
                    (Fault::TooManyOpen | Fault::NoMemory, _) => Refusal::Busy.text(),
                    (_, true) => Refusal::NoSuchFile.text(),
                    (_, false) => v1::NOT_FOUND,
                };
                self.release(conn);
                self.answer(now, conn, text);
            }
            State::Sending { upload: Some(name), .. } => {
                info!("upload of {} broken off: {fault}", for_log(name));
                self.leave(now, conn, Leave::FileBroken(fault));
            }
            State::Sending { .. } | State::Reading(_) | State::Waiting { .. } | State::Lingering => {}
        }
    }

    /// Sends a short text as the whole answer.
    fn answer(&mut self, now: Instant, conn: ConnId, text: &str) {
        let pace = Pace::new(now, self.config.limits.drain_interval);
        let Some(serve) = self.serve_mut(conn) else { return };
        serve.state = State::Sending { out: Outgoing::bytes(text), upload: None, pace };
        self.timers.set(Timer::Conn(conn), pace.next_look(now), "drain");
        self.outputs.push_back(Output::Wake { conn });
    }

    pub(super) fn serve_sent(&mut self, now: Instant, conn: ConnId, n: usize) {
        let Some(Serve { state: State::Sending { out, pace, upload }, .. }) = self.serve_mut(conn) else {
            return;
        };
        out.sent(n);
        pace.add(now, n as u64);
        if upload.is_some() {
            self.totals.uploaded += n as u64;
            self.uploads.sent(now, (conn, None), n as u64);
            self.used_share(conn, n as u64);
        }
        self.wants_to_send(conn);
        self.finish_if_sent(now, conn);
    }

    fn finish_if_sent(&mut self, now: Instant, conn: ConnId) {
        let Some(serve) = self.serve_mut(conn) else { return };
        let State::Sending { out, .. } = &serve.state else { return };
        if !out.is_empty() {
            return;
        }
        let eof = serve.eof;
        serve.state = State::Lingering;
        self.release(conn);
        self.outputs.push_back(Output::Shutdown { conn });
        if eof {
            self.leave(now, conn, Leave::Answered);
        } else {
            self.timers.set(Timer::Conn(conn), now + self.config.limits.linger, "linger");
        }
    }

    /// The peer finished sending.
    pub(super) fn serve_eof(&mut self, now: Instant, conn: ConnId) {
        let Some(serve) = self.serve_mut(conn) else { return };
        serve.eof = true;
        match &serve.state {
            State::Reading(scanner) if scanner.is_empty() => self.leave(now, conn, Leave::Probed),
            State::Reading(_) => self.answer(now, conn, Refusal::NotJson.text()),
            // It hung up, or is done speaking: which one cannot be seen, so it gets the answer that is there.
            State::Waiting { .. } => self.stop_waiting(now, conn),
            State::Opening { .. } | State::Sending { .. } => {}
            State::Lingering => self.leave(now, conn, Leave::Answered),
        }
    }

    pub(super) fn serve_timeout(&mut self, now: Instant, conn: ConnId) {
        let limits = &self.config.limits;
        let Some(Conn::Serve(serve)) = self.conns.get_mut(conn.0) else { return };
        match &mut serve.state {
            State::Reading(_) => self.leave(now, conn, Leave::RequestTimeout),
            State::Waiting { .. } => self.stop_waiting(now, conn),
            // The disk is slow, not the peer.
            State::Opening { .. } => self.timers.set(Timer::Conn(conn), now + limits.drain_interval, "open"),
            // We hold it back ourselves.
            State::Sending { pace, upload: Some(_), .. } if self.shares.allowance(conn) == 0 => {
                pace.begin_again(now);
                self.timers.set(Timer::Conn(conn), pace.next_look(now), "drain");
            }
            State::Sending { pace, .. } => match pace.look(now, limits) {
                Ok(next) => self.timers.set(Timer::Conn(conn), next, "drain"),
                Err(_) => self.leave(now, conn, Leave::SlowReader),
            },
            State::Lingering => self.leave(now, conn, Leave::Answered),
        }
    }

    fn stop_waiting(&mut self, now: Instant, conn: ConnId) {
        self.upload_queue.leave(conn);
        self.answer(now, conn, Refusal::Busy.text());
    }

    pub(super) fn serve_transmit(serve: &Serve) -> Option<Transmit<'_>> {
        match &serve.state {
            State::Sending { out, .. } => out.transmit(),
            _ => None,
        }
    }

    /// We end the connection.
    pub(super) fn leave(&mut self, now: Instant, conn: ConnId, why: Leave) {
        let Some(serve) = self.serve_mut(conn) else { return };
        let peer = serve.peer;
        match why {
            Leave::V1Off => self.say_rarely(now, "old peer, and v1 is off", peer),
            Leave::NotV1 => self.say_rarely(now, "another protocol on the peer port", peer),
            _ => debug!("{conn:?} from {peer} ends: {why:?}"),
        }
        self.serve_gone(now, conn);
        self.outputs.push_back(Output::Close { conn, reset: why.resets() });
    }

    /// The connection is gone, whoever ended it: everything it held is given back.
    pub(super) fn serve_gone(&mut self, now: Instant, conn: ConnId) {
        self.uploads.gone(now, conn);
        self.shares.gone(conn);
        self.upload_queue.leave(conn);
        self.release(conn);
        if let Some(Conn::Serve(serve)) = self.conns.remove(conn.0) {
            self.gate.leave(serve.peer.ip(), serve.accepted, conn);
            self.timers.cancel(Timer::Conn(conn));
            self.socket_closed();
        }
    }

    /// Closes the file of `conn`, if it has one.
    fn release(&mut self, conn: ConnId) {
        if let Some(file) = self.serve_mut(conn).and_then(|serve| serve.file.take()) {
            self.close_file(file);
        }
    }

    fn serve_mut(&mut self, conn: ConnId) -> Option<&mut Serve> {
        match self.conns.get_mut(conn.0) {
            Some(Conn::Serve(serve)) => Some(serve),
            _ => None,
        }
    }
}
