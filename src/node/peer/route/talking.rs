//! Between sessions and those who use them.

use crate::machine::{ConnId, Fault};
use crate::node::cx::Cx;
use crate::node::peer::Peer;
use crate::node::peer::reach::Pending;
use crate::node::sessions::{Due, Sessions};
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

    /// Somebody owes an answer for too long.
    pub(in crate::node::peer) fn session_suspect(&mut self, now: Instant, conn: ConnId) {
        let (sessions, mut cx) = self.talking(now);
        sessions.suspect(&mut cx, conn);
    }

    pub(in crate::node::peer) fn sessions_timeout(&mut self, now: Instant) {
        for _ in 0..self.config.limits.timers_per_turn {
            match self.sessions.pop_due(now) {
                Some(Due::Look(conn)) => self.session_timeout(now, conn),
                Some(Due::Answer(conn)) => self.answer_late(now, conn),
                None => return,
            }
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
        let Some(record) = self.sessions.seal(conn, data, buffer, payload) else {
            self.session_end(now, conn, Fault::Os(0), true);
            return nothing;
        };
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
        let left = sessions.sent(&mut cx, conn, n, waits);
        self.answer_more(now, conn);
        if left {
            self.session_left(now, conn);
        }
    }

    /// What a session has to send of files is more or less than before.
    pub(in crate::node::peer) fn ranges_changed(&mut self, now: Instant, conn: ConnId) {
        let waits = self.uploads.next_range(conn).is_some();
        let (sessions, cx) = self.talking(now);
        sessions.ranges_changed(&cx, conn, waits);
        self.wants_to_send(conn);
    }
}
