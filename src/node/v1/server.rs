//! The server's side of v1: one request a connection, answered with a word or with a file. Every connection that comes in begins
//! here; one whose first byte is v2's is handed over ([`Server::hand_over`]).

#[cfg(test)]
mod tests;

use super::upload_queue::UploadQueue;
use crate::config::Secret;
use crate::machine::{ConnId, Deadline, Dir, Fault, FileId, Output, Received, Transmit};
use crate::node::cx::Cx;
use crate::node::files::Owner;
use crate::node::index::Index;
use crate::node::outgoing::Outgoing;
use crate::node::pace::Pace;
use crate::node::timers::Timers;
use crate::proto::escape::for_log;
use crate::proto::json::{FirstByte, JsonError, ObjectScanner, Scan, first_byte};
use crate::proto::name::check_name;
use crate::proto::v1::{self, Refusal, Request};
use crate::time::Instant;
use log::{debug, info};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// A connection that came in.
#[derive(Debug)]
struct Caller {
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

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
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
    /// v1 is switched off.
    V1Off,
    /// Binary from the first byte on.
    NotV1,
    /// Made room for somebody else.
    Evicted,
}

impl CloseReason {
    /// Whether the peer has to see that the answer is not whole.
    fn resets(self) -> bool {
        matches!(self, CloseReason::SlowReader | CloseReason::Stopped | CloseReason::FileBroken(_))
    }
}

/// What became of bytes that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Taken(Received),
    /// They begin a connection of v2, and none was taken: it is to be handed over.
    Greets,
}

/// What the rest of the node has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The first valid request of a connection.
    Valid { conn: ConnId, from: IpAddr, accepted: Instant },
    /// A file is sent from now on.
    Begins { conn: ConnId, name: String, size: u64, to: SocketAddr },
    /// So many bytes of it went.
    Sent { conn: ConnId, bytes: u64 },
    /// The connection is closed, whoever did it: nothing is held for it any more.
    Gone { conn: ConnId, from: IpAddr, accepted: Instant },
    /// A stranger's mistake that the operator may want to hear of.
    Notice { what: &'static str, who: SocketAddr },
}

/// All connections that came in and have not begun to speak v2.
#[derive(Debug)]
pub(crate) struct Server {
    /// v1's secret; none: v1 is switched off.
    secret: Option<Secret>,
    /// Whether v2 is spoken.
    v2: bool,
    callers: BTreeMap<ConnId, Caller>,
    queue: UploadQueue,
    timers: Timers<ConnId>,
    events: VecDeque<Event>,
}

impl Server {
    /// Nobody is here. `secret`: v1's, or none where only v2 is spoken.
    pub(crate) fn new(secret: Option<Secret>, v2: bool) -> Server {
        Server {
            secret,
            v2,
            callers: BTreeMap::new(),
            queue: UploadQueue::default(),
            timers: Timers::new(),
            events: VecDeque::new(),
        }
    }

    /// A connection came in. `busy`: there is no room for it, and it is told so.
    pub(crate) fn accepted(&mut self, cx: &Cx<'_>, conn: ConnId, peer: SocketAddr, busy: bool) {
        let due = cx.now + if busy { cx.limits.linger } else { cx.limits.request_deadline };
        self.timers.set(conn, due, "request");
        self.enter(cx, conn, (peer, cx.now), busy);
    }

    fn enter(&mut self, cx: &Cx<'_>, conn: ConnId, (peer, accepted): (SocketAddr, Instant), busy: bool) {
        let state = State::Reading(ObjectScanner::new(cx.limits.request_max));
        let caller =
            Caller { peer, accepted, valid: false, busy, eof: false, discarded: 0, file: None, state };
        self.callers.insert(conn, caller);
    }

    /// The connection speaks v2 and is not served here any more: where from, and when it came.
    pub(crate) fn hand_over(&mut self, conn: ConnId) -> Option<(SocketAddr, Instant)> {
        let caller = self.callers.remove(&conn)?;
        self.timers.cancel(conn);
        Some((caller.peer, caller.accepted))
    }

    /// A connection that was handed over spoke no v2 that we know: it gets the answer of v1 to what is no request.
    pub(crate) fn refuse(&mut self, cx: &mut Cx<'_>, conn: ConnId, came: (SocketAddr, Instant)) {
        self.enter(cx, conn, came, false);
        self.answer(cx, conn, Refusal::NotJson.text());
    }

    /// Bytes came.
    pub(crate) fn recv(&mut self, cx: &mut Cx<'_>, index: &Index, conn: ConnId, bytes: &[u8]) -> Step {
        let all = Received { consumed: bytes.len(), ..Received::default() };
        let Some(caller) = self.callers.get_mut(&conn) else { return Step::Taken(all) };
        let busy = caller.busy;
        let State::Reading(scanner) = &mut caller.state else {
            // Bytes after the request are discarded; past the limit they stay in the kernel.
            caller.discarded += bytes.len();
            return Step::Taken(Received { pause: caller.discarded > cx.limits.linger_bytes, ..all });
        };
        if scanner.is_empty() {
            let first = bytes.first().map_or(FirstByte::White, |&b| first_byte(b));
            if first == FirstByte::V2 && self.v2 && !busy {
                return Step::Greets;
            }
            // Anything printable may be a person or a program that means v1, and gets v1's text; so does a dial of v2 where
            // only v1 is spoken, because it tells the caller so.
            let binary = first == FirstByte::Other && bytes[0].is_ascii_control();
            if binary || self.secret.is_none() || (first == FirstByte::V2 && busy) {
                let v1 = self.secret.is_some();
                self.close(cx, conn, if v1 { CloseReason::NotV1 } else { CloseReason::V1Off });
                return Step::Taken(all);
            }
            if busy && first != FirstByte::White {
                self.answer(cx, conn, Refusal::Busy.text());
                return Step::Taken(all);
            }
        }
        match (scanner.push(bytes), &self.secret) {
            (Scan::More, _) | (_, None) => {}
            (Scan::Bad(error), _) => self.refuse_scan(cx, conn, error),
            (Scan::Complete, Some(secret)) => {
                let request = v1::parse_request(scanner.object(), secret);
                self.request(cx, index, conn, request);
            }
        }
        Step::Taken(all)
    }

    fn refuse_scan(&mut self, cx: &mut Cx<'_>, conn: ConnId, error: JsonError) {
        debug!("{conn:?}: not a request: {error}");
        self.answer(cx, conn, Refusal::from(error).text());
    }

    /// The whole request is here.
    fn request(&mut self, cx: &mut Cx<'_>, index: &Index, conn: ConnId, request: Result<Request, Refusal>) {
        let (name, download) = match request {
            Ok(Request::Search { name }) => (name, false),
            Ok(Request::Download { name }) => (name, true),
            Err(refusal) => return self.answer(cx, conn, refusal.text()),
        };
        let Some(caller) = self.callers.get_mut(&conn) else { return };
        let (from, accepted) = (caller.peer.ip(), caller.accepted);
        if !std::mem::replace(&mut caller.valid, true) {
            self.events.push_back(Event::Valid { conn, from, accepted });
        }
        if check_name(&name).is_err() {
            let text = if download { Refusal::NoSuchFile.text() } else { v1::NOT_FOUND };
            return self.answer(cx, conn, text);
        }
        let may_open = if download { cx.files.may_add_for(from) } else { cx.files.may_add() };
        if may_open {
            return self.open(cx, index, conn, name, download);
        }
        if !download || !self.queue.enter(from, conn, cx.limits) {
            return self.answer(cx, conn, Refusal::Busy.text());
        }
        self.timers.set(conn, cx.now + cx.limits.v1_wait, "upload slot");
        caller.state = State::Waiting { name };
    }

    /// A file was closed: whose turn is it?
    pub(crate) fn slot_freed(&mut self, cx: &mut Cx<'_>, index: &Index) {
        while let Some(conn) = self.queue.next(|from| cx.files.may_add_for(from)) {
            if let Some(Caller { state: State::Waiting { name }, .. }) = self.callers.get_mut(&conn) {
                let name = std::mem::take(name);
                self.open(cx, index, conn, name, true);
            }
        }
    }

    /// Has the file opened that `conn` asked for, in a slot of its source's if it is to be sent.
    fn open(&mut self, cx: &mut Cx<'_>, index: &Index, conn: ConnId, name: String, download: bool) {
        let Some(caller) = self.callers.get_mut(&conn) else { return };
        let (ip, owner) = (caller.peer.ip(), Owner::Serve(conn));
        self.timers.set(conn, cx.now + cx.limits.drain_interval, "open");
        let file = if download { cx.files.add_for(ip, owner) } else { cx.files.add(owner) };
        let spelled = index.get_spelled(&name).map_or_else(|| name.clone(), |view| view.name.to_owned());
        cx.push(Output::OpenFile { file, dir: Dir::Shared, name: spelled });
        caller.file = Some(file);
        caller.state = State::Opening { name, download };
    }

    /// The file that `conn` asked for is open.
    pub(crate) fn file_opened(&mut self, cx: &mut Cx<'_>, conn: ConnId, size: u64) {
        let Some(caller) = self.callers.get_mut(&conn) else { return };
        let State::Opening { name, download } = &mut caller.state else { return };
        let (Some(file), true) = (caller.file, *download) else {
            self.release(cx, conn);
            return self.answer(cx, conn, v1::FOUND);
        };
        let (name, to) = (std::mem::take(name), caller.peer);
        let pace = Pace::new(cx.now, cx.limits.drain_interval);
        caller.state = State::Sending { out: Outgoing::file(file, size), upload: Some(name.clone()), pace };
        self.events.push_back(Event::Begins { conn, name, size, to });
        self.timers.set(conn, pace.next_look(cx.now), "drain");
        cx.push(Output::Wake { conn });
        self.finish_if_sent(cx, conn);
    }

    /// The file that `conn` asked for cannot be opened, or not be read on. Its id is free if `fatal`.
    pub(crate) fn file_failed(&mut self, cx: &mut Cx<'_>, conn: ConnId, fault: Fault, fatal: bool) {
        let Some(caller) = self.callers.get_mut(&conn) else { return };
        if fatal {
            caller.file = None;
        }
        match &caller.state {
            State::Opening { download, .. } => {
                let text = match (fault, download) {
                    (Fault::TooManyOpen | Fault::NoMemory, _) => Refusal::Busy.text(),
                    (_, true) => Refusal::NoSuchFile.text(),
                    (_, false) => v1::NOT_FOUND,
                };
                self.release(cx, conn);
                self.answer(cx, conn, text);
            }
            State::Sending { upload: Some(name), .. } => {
                info!("upload of {} broken off: {fault}", for_log(name));
                self.close(cx, conn, CloseReason::FileBroken(fault));
            }
            State::Sending { .. } | State::Reading(_) | State::Waiting { .. } | State::Lingering => {}
        }
    }

    /// Sends a short text as the whole answer.
    fn answer(&mut self, cx: &mut Cx<'_>, conn: ConnId, text: &str) {
        let Some(caller) = self.callers.get_mut(&conn) else { return };
        let pace = Pace::new(cx.now, cx.limits.drain_interval);
        caller.state = State::Sending { out: Outgoing::bytes(text), upload: None, pace };
        self.timers.set(conn, pace.next_look(cx.now), "drain");
        cx.push(Output::Wake { conn });
    }

    /// What `conn` has to send next.
    pub(crate) fn transmit(&self, conn: ConnId) -> Option<Transmit<'_>> {
        match &self.callers.get(&conn)?.state {
            State::Sending { out, .. } => out.transmit(),
            _ => None,
        }
    }

    /// Whether it has bytes of a file to send.
    pub(crate) fn sends_file(&self, conn: ConnId) -> bool {
        let state = self.callers.get(&conn).map(|caller| &caller.state);
        matches!(state, Some(State::Sending { upload: Some(_), out, .. }) if !out.is_empty())
    }

    /// The kernel took `n` bytes.
    pub(crate) fn sent(&mut self, cx: &mut Cx<'_>, conn: ConnId, n: usize) {
        let Some(Caller { state: State::Sending { out, pace, upload }, .. }) = self.callers.get_mut(&conn)
        else {
            return;
        };
        out.sent(n);
        pace.add(cx.now, n as u64);
        if upload.is_some() {
            self.events.push_back(Event::Sent { conn, bytes: n as u64 });
        }
        self.finish_if_sent(cx, conn);
    }

    fn finish_if_sent(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(caller) = self.callers.get_mut(&conn) else { return };
        let State::Sending { out, .. } = &caller.state else { return };
        if !out.is_empty() {
            return;
        }
        let eof = caller.eof;
        caller.state = State::Lingering;
        self.release(cx, conn);
        cx.push(Output::Shutdown { conn });
        if eof {
            self.close(cx, conn, CloseReason::Answered);
        } else {
            self.timers.set(conn, cx.now + cx.limits.linger, "linger");
        }
    }

    /// The peer finished sending.
    pub(crate) fn eof(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(caller) = self.callers.get_mut(&conn) else { return };
        caller.eof = true;
        match &caller.state {
            State::Reading(scanner) if scanner.is_empty() => self.close(cx, conn, CloseReason::Probed),
            State::Reading(_) => self.answer(cx, conn, Refusal::NotJson.text()),
            // It hung up, or is done speaking: which one cannot be seen, so it gets the answer that is there.
            State::Waiting { .. } => self.stop_waiting(cx, conn),
            State::Opening { .. } | State::Sending { .. } => {}
            State::Lingering => self.close(cx, conn, CloseReason::Answered),
        }
    }

    /// When [`Server::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&mut self) -> Option<Deadline> {
        self.timers.next_deadline()
    }

    /// Timers that are armed.
    pub(crate) fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Carries out what is due. `held_back`: we ourselves keep the connection from sending, by the bound of the rate.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Cx<'_>, held_back: impl Fn(ConnId) -> bool) {
        for _ in 0..cx.limits.timers_per_turn {
            let Some((conn, due)) = self.timers.pop_due(cx.now) else { return };
            if !self.timers.put_off_if_late(conn, due, cx.now) {
                self.timeout(cx, conn, &held_back);
            }
        }
    }

    fn timeout(&mut self, cx: &mut Cx<'_>, conn: ConnId, held_back: impl Fn(ConnId) -> bool) {
        let (now, limits) = (cx.now, cx.limits);
        let Some(caller) = self.callers.get_mut(&conn) else { return };
        match &mut caller.state {
            State::Reading(_) => self.close(cx, conn, CloseReason::RequestTimeout),
            State::Waiting { .. } => self.stop_waiting(cx, conn),
            // The disk is slow, not the peer.
            State::Opening { .. } => self.timers.set(conn, now + limits.drain_interval, "open"),
            State::Sending { pace, upload: Some(_), .. } if held_back(conn) => {
                pace.begin_again(now);
                self.timers.set(conn, pace.next_look(now), "drain");
            }
            State::Sending { pace, .. } => match pace.look(now, limits) {
                Ok(next) => self.timers.set(conn, next, "drain"),
                Err(_) => self.close(cx, conn, CloseReason::SlowReader),
            },
            State::Lingering => self.close(cx, conn, CloseReason::Answered),
        }
    }

    fn stop_waiting(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.queue.leave(conn);
        self.answer(cx, conn, Refusal::Busy.text());
    }

    /// We end the connection.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>, conn: ConnId, why: CloseReason) {
        let Some(caller) = self.callers.get(&conn) else { return };
        let who = caller.peer;
        let what = match why {
            CloseReason::V1Off => Some("old peer, and v1 is off"),
            CloseReason::NotV1 => Some("another protocol on the peer port"),
            _ => None,
        };
        match what {
            Some(what) => self.events.push_back(Event::Notice { what, who }),
            None => debug!("{conn:?} from {who} ends: {why:?}"),
        }
        self.closed(cx, conn);
        cx.push(Output::Close { conn, reset: why.resets() });
    }

    /// The connection is closed, whoever did it: everything it held is given back.
    pub(crate) fn closed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.queue.leave(conn);
        self.release(cx, conn);
        self.timers.cancel(conn);
        if let Some(Caller { peer, accepted, .. }) = self.callers.remove(&conn) {
            self.events.push_back(Event::Gone { conn, from: peer.ip(), accepted });
        }
    }

    /// Closes the file of `conn`, if it has one.
    fn release(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if let Some(file) = self.callers.get_mut(&conn).and_then(|caller| caller.file.take()) {
            cx.close_file(file);
        }
    }

    /// Nothing waits to be told.
    pub(crate) fn is_settled(&self) -> bool {
        self.events.is_empty()
    }

    /// What the rest of the node has to know, in order.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
