//! The client's side of a v1 download: ask whether the node has the file, then take the stream until its end, which is
//! all that v1 says of a file's length.

use super::ask::{Answer, Purpose};
use super::dialer::Class;
use super::files::Owner;
use super::jobs::JobId;
use super::known::Via;
use super::report::{Code, Failure, Running, bytes as sized};
use super::{Conn, Peer, Timer};
use crate::config::PART_PREFIX;
use crate::machine::{Body, ConnId, Fault, FileId, Id, Output, Received};
use crate::node::outgoing::Outgoing;
use crate::node::pace::{Pace, Slow};
use crate::proto::escape::for_terminal;
use crate::proto::v1::{self, Head, HeadEnd, Request};
use crate::time::{Duration, Instant};
use std::net::SocketAddr;

/// A download, by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TransferId(pub(super) Id);

/// A download.
#[derive(Debug)]
pub(super) struct Transfer {
    job: JobId,
    from: SocketAddr,
    name: String,
    /// The node said, just before, that it has the file.
    found: bool,
    conn: Option<ConnId>,
    file: Option<FileId>,
    /// The peer finished sending.
    eof: bool,
    /// Most bytes it may have: the limit, or what the disk has room for.
    cap: u64,
    pace: Pace,
    phase: Phase,
}

/// Queued → Asking → Waiting → Dialing → Head → Creating → Receiving → Committing.
#[derive(Debug)]
enum Phase {
    /// Too many run already.
    Queued,
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

/// How far a download is, for the progress line.
pub(super) struct Progress<'a> {
    pub(super) name: &'a str,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
}

impl Peer {
    /// Starts a download, or queues it where too many run.
    pub(super) fn fetch(&mut self, now: Instant, job: JobId, from: SocketAddr, name: String) -> TransferId {
        let transfer = Transfer {
            job,
            from,
            name,
            found: false,
            conn: None,
            file: None,
            eof: false,
            cap: self.config.limits.download_max,
            pace: Pace::new(now, self.config.limits.progress_interval),
            phase: Phase::Queued,
        };
        let id = TransferId(self.transfers.insert(transfer));
        self.queued.push_back(id);
        self.start_queued(now);
        id
    }

    /// Starts what waits, as far as the limit of running downloads allows.
    pub(super) fn start_queued(&mut self, now: Instant) {
        while self.transfers.len() - self.queued.len() < self.files.downloads_max {
            let Some(id) = self.queued.pop_front() else { return };
            let Some(transfer) = self.transfers.get_mut(id.0) else { continue };
            transfer.phase = Phase::Asking;
            transfer.pace = Pace::new(now, self.config.limits.progress_interval);
            let (from, purpose) = (transfer.from, Purpose::Before(id, transfer.name.clone()));
            let conn = self.ask(now, from, Class::Near, purpose);
            if let Some(transfer) = self.transfers.get_mut(id.0) {
                transfer.conn = Some(conn);
            }
        }
    }

    /// The node was asked whether it has the file.
    pub(super) fn fetch_searched(&mut self, now: Instant, id: TransferId, answer: Answer) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        transfer.conn = None;
        match answer {
            Answer::Found => transfer.found = true,
            // Not every node answers a search; whether it has the file will show.
            Answer::Garbage => {}
            // Several downloads may run beside each other.
            Answer::NotFound => {
                let text = format!("{} does not have {}", transfer.who(), for_terminal(&transfer.name));
                return self.fetch_failed(now, id, Failure::new(Code::NotFound, text));
            }
            other => {
                let failure = other.failure(&transfer.who());
                return self.fetch_failed(now, id, failure);
            }
        }
        let from = transfer.from;
        transfer.phase = Phase::Waiting;
        let conn = ConnId(self.conns.insert(Conn::Fetch(id, Outgoing::default())));
        if let Some(transfer) = self.transfers.get_mut(id.0) {
            transfer.conn = Some(conn);
        }
        self.dialer.enqueue(now, conn, from, Class::Near);
    }

    /// The download's turn to dial has come.
    pub(super) fn fetch_dial(&mut self, now: Instant, conn: ConnId, id: TransferId) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        transfer.phase = Phase::Dialing;
        let from = transfer.from;
        self.dial(conn, from);
        self.timers.set(Timer::Conn(conn), now + self.config.limits.connect_deadline, "connect");
    }

    pub(super) fn fetch_connected(&mut self, now: Instant, conn: ConnId, id: TransferId) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        self.dialer.landed(transfer.from, Class::Near, true, now);
        transfer.phase = Phase::Head { start: Vec::new() };
        let request = Request::Download { name: transfer.name.clone() };
        if let Some(Conn::Fetch(_, out)) = self.conns.get_mut(conn.0) {
            out.push(&v1::encode_request(&request, &self.config.v1_secret));
            self.outputs.push_back(Output::Wake { conn });
        }
        self.timers.set(Timer::Conn(conn), now + self.config.limits.first_byte_deadline, "first byte");
    }

    pub(super) fn fetch_recv(
        &mut self,
        now: Instant,
        conn: ConnId,
        id: TransferId,
        bytes: &[u8],
    ) -> Received {
        let Some(transfer) = self.transfers.get_mut(id.0) else {
            return Received { consumed: bytes.len(), ..Received::default() };
        };
        match &mut transfer.phase {
            Phase::Head { start } => {
                if matches!(v1::download_head(bytes, transfer.found), Head::Undecided) {
                    *start = bytes.to_vec();
                    return Received::default();
                }
                transfer.phase = Phase::Creating { held: 0 };
                self.create_part(now, conn, id);
                Received { pause: true, ..Received::default() }
            }
            Phase::Receiving { .. } => {
                let offset = transfer.pace.moved();
                if offset + bytes.len() as u64 > transfer.cap {
                    let failure = transfer.too_large(self.config.limits.download_max);
                    self.fetch_failed(now, id, failure);
                    return Received { consumed: bytes.len(), ..Received::default() };
                }
                let Some(file) = transfer.file else { return Received::default() };
                let body = Some(Body { file, offset, range: 0..bytes.len() });
                Received { consumed: bytes.len(), body, pause: false }
            }
            _ => Received { pause: true, ..Received::default() },
        }
    }

    /// A stream of content: makes its temporary file. The bytes so far wait with the driver.
    fn create_part(&mut self, now: Instant, conn: ConnId, id: TransferId) {
        let file = self.files.add(Owner::Fetch(id));
        let name = format!("{PART_PREFIX}{:016x}", self.rng.u64(..));
        self.outputs.push_back(Output::CreateFile { file, name });
        if let Some(transfer) = self.transfers.get_mut(id.0) {
            transfer.file = Some(file);
            self.timers.set(Timer::Conn(conn), transfer.pace.next_look(now), "progress");
        }
    }

    /// The temporary file is there. `room`: bytes the disk may still take.
    pub(super) fn fetch_opened(&mut self, now: Instant, id: TransferId, room: u64) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        let Phase::Creating { held } = transfer.phase else { return };
        transfer.cap = transfer.cap.min(room);
        transfer.phase = Phase::Receiving { due: held };
        if transfer.eof && held == 0 {
            return self.fetch_commit(now, id);
        }
        if let Some(conn) = transfer.conn {
            self.outputs.push_back(Output::Resume { conn });
        }
    }

    /// So many bytes are in the file.
    pub(super) fn fetch_written(&mut self, now: Instant, id: TransferId, n: usize) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        transfer.pace.add(n as u64);
        self.totals.downloaded += n as u64;
        match &mut transfer.phase {
            Phase::Receiving { due } => *due = due.saturating_sub(n as u64),
            _ => return,
        }
        if transfer.eof && matches!(transfer.phase, Phase::Receiving { due: 0 }) {
            self.fetch_commit(now, id);
        }
    }

    /// The stream ended.
    pub(super) fn fetch_eof(&mut self, now: Instant, conn: ConnId, id: TransferId) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        transfer.eof = true;
        let found = transfer.found;
        let held = match &mut transfer.phase {
            Phase::Head { start } => match v1::whole_download(std::mem::take(start), found) {
                HeadEnd::Content(held) => held.len() as u64,
                HeadEnd::Empty if found => 0,
                HeadEnd::Empty => {
                    let (who, name) = (transfer.who(), for_terminal(&transfer.name));
                    let text = format!(
                        "{who} answered nothing: {name} is empty, that node failed, or it does not speak the old protocol"
                    );
                    return self.fetch_failed(now, id, Failure::new(Code::Network, text));
                }
                HeadEnd::Refused(text) => {
                    let failure = transfer.refused(&text);
                    return self.fetch_failed(now, id, failure);
                }
            },
            Phase::Receiving { due: 0 } => return self.fetch_commit(now, id),
            _ => return,
        };
        transfer.phase = Phase::Creating { held };
        self.create_part(now, conn, id);
    }

    fn fetch_commit(&mut self, now: Instant, id: TransferId) {
        self.fetch_hang_up(now, id, false);
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        transfer.phase = Phase::Committing;
        if let Some(file) = transfer.file {
            self.outputs.push_back(Output::CommitFile { file, name: transfer.name.clone() });
        }
    }

    /// The disk has it, under this name.
    pub(super) fn fetch_committed(&mut self, now: Instant, id: TransferId, name: &str, size: u64) {
        let Some(transfer) = self.transfers.remove(id.0) else { return };
        self.known.learn(transfer.from, Via::Operator, now, &self.own, &self.config.limits);
        self.known.prove(transfer.from, now);
        self.downloaded(now, transfer.job, &transfer.name, name, size);
        self.start_queued(now);
    }

    /// An operation on the temporary file failed; its id is free if `fatal`.
    pub(super) fn fetch_file_failed(&mut self, now: Instant, id: TransferId, fault: Fault, fatal: bool) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        if fatal {
            transfer.file = None;
        }
        let code = if matches!(fault, Fault::NoSpace | Fault::Quota) { Code::NoSpace } else { Code::Io };
        let text = format!("cannot store {}: {fault}", for_terminal(&transfer.name));
        self.fetch_failed(now, id, Failure::new(code, text));
    }

    /// The world ended the connection.
    pub(super) fn fetch_closed(&mut self, now: Instant, conn: ConnId, id: TransferId, fault: Fault) {
        self.conns.remove(conn.0);
        self.timers.cancel(Timer::Conn(conn));
        self.socket_closed();
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        transfer.conn = None;
        if let Some(failure) = transfer.refused_at_last() {
            return self.fetch_failed(now, id, failure);
        }
        let who = transfer.who();
        let name = for_terminal(&transfer.name);
        let text = match transfer.phase {
            Phase::Dialing => {
                self.dialer.landed(transfer.from, Class::Near, false, now);
                return self.fetch_failed(now, id, Answer::Failed(fault).failure(&who));
            }
            _ => format!("{who}: {fault} after {} of {name}; nothing is kept", sized(transfer.pace.moved())),
        };
        self.fetch_failed(now, id, Failure::new(Code::Network, text));
    }

    pub(super) fn fetch_timeout(&mut self, now: Instant, conn: ConnId, id: TransferId) {
        let limits = self.config.limits.clone();
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        if let Some(failure) = transfer.refused_at_last() {
            return self.fetch_failed(now, id, failure);
        }
        let who = transfer.who();
        let text = match &transfer.phase {
            Phase::Receiving { .. } => match transfer.pace.look(now, &limits) {
                Ok(next) => return self.timers.set(Timer::Conn(conn), next, "progress"),
                Err(Slow::Stalled) => format!("{who} sends too slowly or not at all; nothing is kept"),
                Err(Slow::Average) => {
                    format!("{who} sends less than {} a second; nothing is kept", sized(limits.rate_min))
                }
            },
            // The disk is slow, not the peer.
            Phase::Creating { .. } => {
                return self.timers.set(Timer::Conn(conn), transfer.pace.next_look(now), "progress");
            }
            Phase::Head { start } => {
                let what = if start.is_empty() { "nothing" } else { "too little to tell what it is" };
                format!("{who} sent {what} within {} s", limits.first_byte_deadline.as_secs())
            }
            Phase::Waiting => {
                format!("no connection was free within {} s: try again later", limits.dial_wait.as_secs())
            }
            _ => format!("{who} did not answer within {} s", limits.connect_deadline.as_secs()),
        };
        self.fetch_failed(now, id, Failure::new(Code::Timeout, text));
    }

    /// Ends a download that cannot succeed: nothing of it stays.
    fn fetch_failed(&mut self, now: Instant, id: TransferId, failure: Failure) {
        if let Some(job) = self.fetch_dropped(now, id) {
            self.finish(now, job, Err(failure));
        }
        self.start_queued(now);
    }

    /// Drops a download and everything it holds. Returns the job it was for.
    pub(super) fn fetch_dropped(&mut self, now: Instant, id: TransferId) -> Option<JobId> {
        self.fetch_hang_up(now, id, true);
        let transfer = self.transfers.remove(id.0)?;
        self.queued.retain(|queued| *queued != id);
        if let Some(file) = transfer.file {
            self.discard_file(file);
        }
        Some(transfer.job)
    }

    /// Ends the connection of a download, whichever it has.
    fn fetch_hang_up(&mut self, now: Instant, id: TransferId, reset: bool) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        let Some(conn) = transfer.conn.take() else { return };
        let from = transfer.from;
        match transfer.phase {
            Phase::Asking => {
                self.drop_ask(now, conn);
                return;
            }
            Phase::Waiting => self.dialer.withdraw(conn),
            Phase::Dialing => {
                self.dialer.landed(from, Class::Near, false, now);
                self.hang_up(conn, reset);
            }
            _ => self.hang_up(conn, reset),
        }
        self.conns.remove(conn.0);
        self.timers.cancel(Timer::Conn(conn));
    }

    /// The name a download asks for.
    pub(super) fn fetch_name(&self, id: TransferId) -> Option<&str> {
        self.transfers.get(id.0).map(|transfer| transfer.name.as_str())
    }

    /// Downloads under way or waiting their turn, for `status`.
    pub(super) fn running(&self) -> Vec<Running> {
        let row = |transfer: &Transfer| Running {
            name: transfer.name.clone(),
            ip: transfer.from.ip(),
            port: transfer.from.port(),
            bytes: transfer.pace.moved(),
        };
        self.transfers.iter().map(|(_, transfer)| row(transfer)).collect()
    }

    /// Downloads under way, for the progress line.
    pub(super) fn fetching(&self, now: Instant) -> impl Iterator<Item = Progress<'_>> {
        self.transfers.iter().filter(|(_, t)| !matches!(t.phase, Phase::Queued)).map(move |(_, transfer)| {
            Progress {
                name: &transfer.name,
                bytes: transfer.pace.moved(),
                elapsed: transfer.pace.elapsed(now),
            }
        })
    }
}

impl Transfer {
    fn who(&self) -> String {
        self.from.to_string()
    }

    /// The node's own words, in place of the file.
    fn refused(&self, text: &str) -> Failure {
        let code = if text == v1::Refusal::NoSuchFile.text() { Code::NotFound } else { Code::Refused };
        Failure::new(code, format!("{} refused: {}", self.who(), for_terminal(text)))
    }

    /// The stream stalled or was cut before it was clear what it is: a refusal is one without its end, too.
    fn refused_at_last(&self) -> Option<Failure> {
        let Phase::Head { start } = &self.phase else { return None };
        match v1::whole_download(start.clone(), self.found) {
            HeadEnd::Refused(text) => Some(self.refused(&text)),
            HeadEnd::Content(_) | HeadEnd::Empty => None,
        }
    }

    fn too_large(&self, limit: u64) -> Failure {
        let name = for_terminal(&self.name);
        if self.cap < limit {
            let text = format!(
                "no space left for {name}: the disk has room for {} above its reserve; nothing is kept",
                sized(self.cap)
            );
            Failure::new(Code::NoSpace, text)
        } else {
            let text = format!("{} sends more than {} for {name}; nothing is kept", self.who(), sized(limit));
            Failure::new(Code::Other, text)
        }
    }
}
