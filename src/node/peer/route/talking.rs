//! Between sessions and those who use them.

use crate::machine::{Body, ConnId, Fault, Received};
use crate::node::cx::Cx;
use crate::node::peer::pending::Pending;
use crate::node::peer::{Conn, Peer};
use crate::node::sessions::Sessions;
use crate::node::sessions::ending::Giving;
use crate::node::sessions::event::Step;
use crate::node::sessions::outcome::CloseReason;
use crate::proto::v2::message::Message;
use crate::time::Instant;
use std::ops::Range;

impl Peer {
    /// The sessions, with what they are lent.
    pub(in crate::node::peer) fn talking(&mut self, now: Instant) -> (&mut Sessions<Pending>, Cx<'_>) {
        let Peer { config, files, requests, numbers, outputs, sessions, .. } = self;
        let cx = Cx { now, limits: &config.limits, files, requests, numbers, out: outputs };
        (sessions, cx)
    }

    /// A connection that came in begins as v2 does.
    pub(in crate::node::peer) fn greet_caller(
        &mut self,
        now: Instant,
        conn: ConnId,
        bytes: &mut [u8],
    ) -> Received {
        let Some(came) = self.server.hand_over(conn) else { return taken(bytes.len()) };
        if let Some(place) = self.conns.get_mut(conn.0) {
            *place = Conn::Session;
        }
        let (sessions, mut cx) = self.talking(now);
        sessions.accepted(&mut cx, conn, came);
        self.session_recv(now, conn, bytes)
    }

    /// The dial's turn has come.
    pub(in crate::node::peer) fn session_dial(&mut self, now: Instant, conn: ConnId) {
        let (sessions, cx) = self.talking(now);
        if let Some(addr) = sessions.may_dial(&cx, conn) {
            self.dial(conn, addr);
        }
    }

    pub(in crate::node::peer) fn session_connected(&mut self, now: Instant, conn: ConnId) {
        let expected = self.contacts.book.expected(self.addr_of(conn));
        let (sessions, mut cx) = self.talking(now);
        if let Some((addr, class)) = sessions.connected(&mut cx, conn, expected) {
            self.contacts.dialer.connected(addr, class);
        }
    }

    pub(in crate::node::peer) fn session_recv(
        &mut self,
        now: Instant,
        conn: ConnId,
        bytes: &mut [u8],
    ) -> Received {
        let mut consumed = 0;
        loop {
            let from = consumed;
            let (sessions, mut cx) = self.talking(now);
            let (n, step) = sessions.recv(&mut cx, conn, &mut bytes[from..]);
            consumed += n;
            let at = |range: Range<usize>| from + range.start..from + range.end;
            let mut body: Option<Body> = None;
            match step {
                Step::Wait => return taken(consumed),
                Step::Full => return Received { consumed, body: None, pause: true },
                Step::Opened => {}
                Step::Data { tag, number, offset, bytes: range } => {
                    let range = at(range);
                    body = self.data_came(now, (conn, tag), (number, offset), &bytes[range.clone()], range);
                }
                Step::Hashes { tag, number, first, bytes: range } => {
                    self.values_came(now, (conn, tag), number, first, &bytes[at(range)]);
                }
                Step::Answer { tag, message } => self.answer_came(now, conn, tag, message),
                Step::Request(request) => self.asked_of_us(now, conn, request),
            }
            self.sessions_events(now);
            if body.is_some() {
                return Received { consumed, body, pause: false };
            }
            if self.sessions.is_full(&self.config.limits, conn) {
                return Received { consumed, body: None, pause: true };
            }
        }
    }

    /// An answer to what `request` asked.
    fn answer_came(&mut self, now: Instant, conn: ConnId, request: Pending, message: Message) {
        match (message, request) {
            (Message::Files { id, files, end, left_out, .. }, request) => {
                self.files_came(now, (conn, request), id, files, (end, left_out));
            }
            (Message::Refused { id, code, text }, request) => {
                self.refused(now, (conn, request), id, code, &text);
            }
            (Message::Have { id, all, map, pieces }, Pending::Source(transfer, no)) => {
                self.have_came(now, conn, (transfer, no), id, (all, &map, &pieces));
            }
            (Message::Peers { nodes, .. }, Pending::Source(transfer, _)) => {
                self.peers_came(now, conn, transfer, &nodes);
            }
            (Message::Have { id, .. } | Message::Peers { id, .. }, _) => self.unsolicited(now, conn, id),
            _ => {}
        }
    }

    /// Sends a message on an open session.
    pub(in crate::node::peer) fn tell_node(&mut self, now: Instant, conn: ConnId, message: &Message) {
        let (sessions, mut cx) = self.talking(now);
        sessions.tell(&mut cx, conn, message);
    }

    /// Asks something under a number of its own; the answer comes for `request`.
    pub(in crate::node::peer) fn ask_node(
        &mut self,
        now: Instant,
        conn: ConnId,
        request: Pending,
        message: impl FnOnce(u32) -> Message,
    ) -> u32 {
        let (sessions, mut cx) = self.talking(now);
        sessions.ask(&mut cx, conn, request, message)
    }

    /// Takes a request back.
    pub(in crate::node::peer) fn cancel_request(&mut self, now: Instant, conn: ConnId, number: u32) {
        let (sessions, mut cx) = self.talking(now);
        sessions.take_back(&mut cx, conn, number);
    }

    /// An answer to a request that nobody made, or that cannot be one to it.
    pub(in crate::node::peer) fn unsolicited(&mut self, now: Instant, conn: ConnId, number: u32) {
        let (sessions, mut cx) = self.talking(now);
        sessions.unsolicited(&mut cx, conn, number);
    }

    /// Somebody owes an answer for too long.
    pub(in crate::node::peer) fn session_suspect(&mut self, now: Instant, conn: ConnId) {
        let (sessions, mut cx) = self.talking(now);
        sessions.suspect(&mut cx, conn);
    }

    pub(in crate::node::peer) fn session_quit(&mut self, now: Instant, conn: ConnId, why: &CloseReason) {
        let (sessions, mut cx) = self.talking(now);
        sessions.quit(&mut cx, conn, why);
    }

    /// It makes room for somebody else.
    pub(in crate::node::peer) fn evict_session(&mut self, now: Instant, conn: ConnId) {
        let (sessions, mut cx) = self.talking(now);
        sessions.end(&mut cx, conn, Fault::Refused, false);
    }

    pub(in crate::node::peer) fn session_eof(&mut self, now: Instant, conn: ConnId) {
        let (sessions, mut cx) = self.talking(now);
        sessions.eof(&mut cx, conn);
    }

    pub(in crate::node::peer) fn session_closed(&mut self, now: Instant, conn: ConnId, fault: Fault) {
        let (sessions, mut cx) = self.talking(now);
        sessions.closed(&mut cx, conn, fault);
    }

    /// What is due on sessions.
    pub(in crate::node::peer) fn sessions_timeout(&mut self, now: Instant) {
        let Peer { config, files, requests, numbers, outputs, sessions, uploads, shares, .. } = self;
        let mut cx = Cx { now, limits: &config.limits, files, requests, numbers, out: outputs };
        sessions.handle_timeout(&mut cx, |conn| Giving {
            waits: uploads.next_range(conn).is_some(),
            held: shares.allowance(conn) == 0,
            busy: uploads.is_busy(conn),
        });
        self.sessions_events(now);
    }

    /// A dial has waited too long for its turn.
    pub(in crate::node::peer) fn session_overdue(&mut self, now: Instant, conn: ConnId) {
        let (sessions, mut cx) = self.talking(now);
        sessions.timed_out(&mut cx, conn, Giving::default());
        // Who waits longest is looked for anew.
        self.sessions_events(now);
    }

    /// The session that may give way to somebody else, if there is one. `came`: among those that came in.
    pub(in crate::node::peer) fn idlest_session(&mut self, now: Instant, came: bool) -> Option<ConnId> {
        let Peer { sessions, uploads, .. } = self;
        sessions.idlest(now, came, |conn| uploads.is_busy(conn))
    }

    /// Where no socket is free an idle session gives way to a dial that waits.
    pub(in crate::node::peer) fn make_room_for_dials(&mut self, now: Instant) {
        if self.room() > 0 || !self.contacts.dialer.has_ready() {
            return;
        }
        if let Some(idle) = self.idlest_session(now, false) {
            self.evict_session(now, idle);
            self.sessions_events(now);
        }
    }

    /// The driver read a part of the first range: makes a record of it, in place.
    pub(in crate::node::peer) fn session_read(
        &mut self,
        now: Instant,
        conn: ConnId,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Range<usize> {
        let nothing = payload.start..payload.start;
        let Some(&slice) = self.uploads.next_range(conn) else { return nothing };
        let n = payload.len() as u64;
        let data = (slice.kind, slice.number, slice.at);
        let (sessions, mut cx) = self.talking(now);
        let Some(record) = sessions.seal(&mut cx, conn, data, buffer, payload) else { return nothing };
        if slice.of.is_some() {
            self.totals.uploaded += n;
        }
        let (uploads, mut cx, _) = self.giving(now);
        let done = uploads.range_read(&mut cx, conn, n);
        self.used_share(conn, n);
        if done {
            self.sessions.used(now, conn);
            self.wants_to_send(conn);
        }
        record
    }

    pub(in crate::node::peer) fn session_sent(&mut self, now: Instant, conn: ConnId, n: usize) {
        let waits = self.uploads.next_range(conn).is_some();
        let (sessions, mut cx) = self.talking(now);
        sessions.sent(&mut cx, conn, n, waits);
        self.answer_more(now, conn);
    }

    /// What a session has to send of files is more or less than before.
    pub(in crate::node::peer) fn ranges_changed(&mut self, now: Instant, conn: ConnId) {
        let waits = self.uploads.next_range(conn).is_some();
        let (sessions, cx) = self.talking(now);
        sessions.ranges_changed(&cx, conn, waits);
        self.wants_to_send(conn);
    }
}

fn taken(n: usize) -> Received {
    Received { consumed: n, ..Received::default() }
}
