//! The sending half: messages first, then ranges of files, sealed one record at a time as the driver takes them.

use super::{Due, Sessions, Tag};
use crate::config::Limits;
use crate::machine::{ConnId, Fault, FileId, Output, SEAL_HEAD, Transmit};
use crate::node::cx::Cx;
use crate::node::sessions::session::State;
use crate::proto::v2::message::{DATA_HEAD, DataKind, Message, data_head};
use crate::proto::v2::record::{HEAD, TAG};
use crate::time::Instant;
use std::ops::Range;

impl<T: Tag> Sessions<T> {
    /// Bytes of messages that wait to be sent on all sessions.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent
    }

    /// Sends a message, if the session is open.
    pub(crate) fn tell(&mut self, cx: &mut Cx<'_>, conn: ConnId, message: &Message) {
        self.put(cx, conn, |record| message.encode(record));
    }

    /// Sends data that is held in memory, as a message.
    pub(crate) fn tell_data(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        kind: DataKind,
        (number, at): (u32, u64),
        bytes: &[u8],
    ) {
        self.put(cx, conn, |record| {
            record.extend_from_slice(&data_head(kind, number, at));
            record.extend_from_slice(bytes);
        });
    }

    fn put(&mut self, cx: &mut Cx<'_>, conn: ConnId, put: impl FnOnce(&mut Vec<u8>)) {
        if let Some(session) = self.get_mut(conn) {
            session.push_plain(cx.now, cx.limits, put);
            self.recount(conn);
            cx.push(Output::Wake { conn });
            self.arm(cx.limits, conn);
        }
    }

    /// Asks something under a number of its own; the answer comes back with `tag`.
    pub(crate) fn ask(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        tag: T,
        message: impl FnOnce(u32) -> Message,
    ) -> u32 {
        let Some(session) = self.get_mut(conn) else { return 0 };
        let number = session.ask(cx.now, tag);
        self.tell(cx, conn, &message(number));
        number
    }

    /// The same for something whose answer is late after a time that is the same for all of these.
    pub(crate) fn ask_by(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        tag: T,
        message: impl FnOnce(u32) -> Message,
    ) {
        let number = self.ask(cx, conn, tag, message);
        let due = cx.now + cx.limits.search_deadline;
        if let Some(session) = self.get_mut(conn) {
            session.due.push_back((due, number));
            self.timers.set_unless_armed(Due::Answer(conn), due, "answer to a search");
        }
    }

    /// Takes a request back.
    pub(crate) fn take_back(&mut self, cx: &mut Cx<'_>, conn: ConnId, number: u32) {
        let Some(session) = self.get_mut(conn) else { return };
        session.take_back(number);
        self.tell(cx, conn, &Message::Cancel { id: number });
    }

    /// Something was done for the other side.
    pub(crate) fn used(&mut self, now: Instant, conn: ConnId) {
        if let Some(session) = self.get_mut(conn) {
            session.used = now;
        }
    }

    /// Nothing more comes under this number.
    pub(crate) fn answered(&mut self, conn: ConnId, number: u32) {
        if let Some(session) = self.get_mut(conn) {
            session.asked.remove(&number);
        }
    }

    /// Asks for a sign of life.
    pub(super) fn ping(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(session) = self.get_mut(conn) else { return };
        session.pinged = true;
        let id = session.next_number();
        self.tell(cx, conn, &Message::Ping { id });
    }

    /// Somebody owes an answer for too long: has it gone, with the session left open?
    pub(crate) fn suspect(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if let Some(session) = self.get_mut(conn) {
            if session.node().is_some() {
                session.suspect(cx.now, cx.limits);
                self.ping(cx, conn);
            }
        }
    }

    /// Too much waits to be sent to take more requests; the rest waits with the driver.
    pub(crate) fn is_full(&mut self, limits: &Limits, conn: ConnId) -> bool {
        let crowded = self.unsent > limits.sessions_out_max;
        let Some(session) = self.get_mut(conn) else { return false };
        let unsent = session.unsent();
        // Who has nothing to send goes on: otherwise those who read nothing would stop everybody.
        session.paused = unsent > limits.session_out_max || (crowded && unsent > 0);
        session.paused
    }

    /// Whether one more answer to a search may be made for the session now.
    pub(crate) fn may_answer(&self, limits: &Limits, conn: ConnId) -> bool {
        let Some(session) = self.get(conn) else { return false };
        let unsent = session.unsent();
        unsent == 0 || (unsent <= limits.session_out_max / 2 && self.unsent <= limits.sessions_out_max)
    }

    /// What the session has to send changed.
    fn recount(&mut self, conn: ConnId) {
        let Some(session) = self.by_conn.get_mut(&conn) else { return };
        let unsent = session.unsent();
        self.unsent = self.unsent + unsent - session.counted;
        session.counted = unsent;
    }

    /// What the session has to send of files is more or less than before. `waits`: it has something.
    pub(crate) fn ranges_changed(&mut self, cx: &Cx<'_>, conn: ConnId, waits: bool) {
        let Some(session) = self.get_mut(conn) else { return };
        if waits {
            session.watch(cx.now, cx.limits);
        } else if !session.has_to_send() {
            session.pace = None;
        }
        self.arm(cx.limits, conn);
    }

    /// What goes next: messages, then of `range`, the next one of a file: where it stands, from which byte on, how many bytes.
    pub(crate) fn transmit(&self, conn: ConnId, range: Option<(FileId, u64, u64)>) -> Option<Transmit<'_>> {
        let session = self.get(conn)?;
        if matches!(session.state, State::Mute) {
            return None;
        }
        if let Some(bytes) = session.out.transmit() {
            return Some(bytes);
        }
        let State::Open(link) = &session.state else { return None };
        let (file, offset, len) = range?;
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(link.run);
        Some(Transmit::Seal { file, offset, len })
    }

    /// The driver read bytes of a file: makes a record of them, in place; they are data of this kind, for this request, and
    /// stand there in what was asked for. None: the session cannot send it.
    pub(crate) fn seal(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        (kind, number, at): (DataKind, u32, u64),
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Option<Range<usize>> {
        const { assert!(HEAD + DATA_HEAD <= SEAL_HEAD) };
        let session = self.get_mut(conn)?;
        let State::Open(link) = &mut session.state else { return None };
        let front = payload.start - DATA_HEAD;
        buffer[front..payload.start].copy_from_slice(&data_head(kind, number, at));
        let record = front - HEAD..payload.end + TAG;
        if let Err(error) = link.seal.seal(&mut buffer[record.clone()]) {
            log::error!("internal error: a record could not be sealed: {error}");
            self.end(cx, conn, Fault::Os(0), true);
            return None;
        }
        session.carried += record.len();
        Some(record)
    }

    /// The kernel took `n` bytes. `waits`: there are bytes of files to be sent.
    pub(crate) fn sent(&mut self, cx: &mut Cx<'_>, conn: ConnId, n: usize, waits: bool) {
        let Some(session) = self.get_mut(conn) else { return };
        // Bytes of a sealed record are the driver's: they went before anything that stands in `out`.
        let sealed = session.carried.min(n);
        session.carried -= sealed;
        session.out.sent(n - sealed);
        if let Some((pace, _)) = &mut session.pace {
            pace.add(cx.now, n as u64);
        }
        if !waits && !session.has_to_send() {
            session.pace = None;
        }
        if session.paused && session.unsent() <= cx.limits.session_out_max / 2 {
            session.paused = false;
            cx.push(Output::Resume { conn });
        }
        let left = matches!(session.state, State::Leaving) && !session.has_to_send();
        self.recount(conn);
        if left && self.stopping {
            self.end(cx, conn, Fault::Reset, false);
        } else if left {
            // Whoever still sends must be able to read why: what it sends is read for a moment, and thrown away.
            cx.push(Output::Shutdown { conn });
        }
    }
}
