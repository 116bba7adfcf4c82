//! The client's side of a v1 download: ask whether the node has the file, then take the stream until its end, which is
//! all that v1 says of a file's length.

use super::ask::{Answer, Purpose};
use super::transfers::{Phase, Transfer};
use super::{Conn, Peer, Timer};
use crate::machine::{Body, ConnId, Fault, Output, Received};
use crate::node::api::{Code, Failure, bytes as sized};
use crate::node::ids::TransferId;
use crate::node::outgoing::Outgoing;
use crate::node::pace::Slow;
use crate::node::sessions::outcome::Class;
use crate::proto::escape::for_terminal;
use crate::proto::v1::{self, Head, HeadEnd, Request};
use crate::time::Instant;

impl Peer {
    /// The node speaks v1 only: it is asked whether it has the file.
    pub(super) fn fetch_old(&mut self, now: Instant, id: TransferId) {
        let Some(transfer) = self.transfers.get(id.0) else { return };
        if !transfer.typed && !self.may_see_secret(transfer.from) {
            let text =
                format!("{} speaks the old protocol, and is not to see a secret of your own", transfer.from);
            return self.fetch_failed(now, id, Failure::new(Code::Refused, text));
        }
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        transfer.phase = Phase::Asking;
        let (from, purpose) = (transfer.from, Purpose::Before(id, transfer.name.clone()));
        let conn = self.ask(now, from, Class::Near, purpose);
        if let Some(transfer) = self.transfers.get_mut(id.0) {
            transfer.conn = Some(conn);
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
        let conn = ConnId(self.conns.insert(Conn::Fetch(id)));
        if let Some(transfer) = self.transfers.get_mut(id.0) {
            transfer.conn = Some(conn);
        }
        self.contacts.dialer.enqueue(now, conn, from, Class::Near);
    }

    /// The download's turn to dial has come.
    pub(super) fn fetch_dial(&mut self, now: Instant, conn: ConnId, id: TransferId) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        transfer.phase = Phase::Dialing;
        let from = transfer.from;
        self.dial(conn, from);
        self.timers.set(Timer::Conn(conn), now + self.config.limits.connect_deadline, "connect");
    }

    /// Asks an old node for a file, on a new connection to it.
    pub(super) fn ask_for_file(&mut self, conn: ConnId, name: String) {
        let request = v1::encode_request(&Request::Download { name }, &self.config.v1_secret);
        self.old_requests.insert(conn, Outgoing::bytes(request));
        self.outputs.push_back(Output::Wake { conn });
    }

    /// So many bytes of such a request went.
    pub(super) fn file_request_sent(&mut self, conn: ConnId, n: usize) {
        if let Some(out) = self.old_requests.get_mut(&conn) {
            out.sent(n);
        }
    }

    /// A connection to an old node is none of ours any more.
    pub(super) fn forget_old(&mut self, conn: ConnId) {
        self.conns.remove(conn.0);
        self.old_requests.remove(&conn);
    }

    pub(super) fn fetch_connected(&mut self, now: Instant, conn: ConnId, id: TransferId) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        self.contacts.dialer.landed(transfer.from, Class::Near, true, now);
        transfer.phase = Phase::Head { start: Vec::new() };
        let name = transfer.name.clone();
        self.ask_for_file(conn, name);
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
                self.create_held(now, conn, id);
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
                let Some(room) = self.room_for_old(now) else {
                    return Received { pause: true, ..Received::default() };
                };
                let n = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
                self.down.take(now, n as u64);
                Received { consumed: n, body: Some(Body { file, offset, range: 0..n }), pause: false }
            }
            _ => Received { pause: true, ..Received::default() },
        }
    }

    /// A stream of content: makes its temporary file. The bytes so far wait with the driver.
    fn create_held(&mut self, now: Instant, conn: ConnId, id: TransferId) {
        self.create_temporary(id);
        if let Some(transfer) = self.transfers.get_mut(id.0) {
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
        transfer.pace.add(now, n as u64);
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
                        "{who} answered nothing: {name} is empty, or that node failed, is in a group or speaks another protocol"
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
        self.create_held(now, conn, id);
    }

    /// The world ended the connection.
    pub(super) fn fetch_closed(&mut self, now: Instant, conn: ConnId, id: TransferId, fault: Fault) {
        self.forget_old(conn);
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
                self.contacts.dialer.landed(transfer.from, Class::Near, false, now);
                return self.fetch_failed(now, id, Answer::Failed(fault).failure(&who));
            }
            _ => format!("{who}: {fault} after {} of {name}; nothing is kept", sized(transfer.pace.moved())),
        };
        self.fetch_failed(now, id, Failure::new(Code::Network, text));
    }

    pub(super) fn fetch_timeout(&mut self, now: Instant, conn: ConnId, id: TransferId) {
        let limits = &self.config.limits;
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        if let Some(failure) = transfer.refused_at_last() {
            return self.fetch_failed(now, id, failure);
        }
        let who = transfer.who();
        let text = match &transfer.phase {
            Phase::Receiving { .. } => match transfer.pace.look(now, limits) {
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

    /// Ends the connection of a download, whichever it has.
    pub(super) fn fetch_hang_up(&mut self, now: Instant, id: TransferId, reset: bool) {
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        let Some(conn) = transfer.conn.take() else { return };
        let from = transfer.from;
        match transfer.phase {
            Phase::Asking => {
                self.drop_ask(now, conn);
                return;
            }
            Phase::Waiting => self.contacts.dialer.withdraw(conn),
            Phase::Dialing => {
                self.contacts.dialer.landed(from, Class::Near, false, now);
                self.hang_up(conn, reset);
            }
            _ => self.hang_up(conn, reset),
        }
        self.forget_old(conn);
        self.timers.cancel(Timer::Conn(conn));
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
