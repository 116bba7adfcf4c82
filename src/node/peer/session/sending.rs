//! The sending half of a session: messages first, then ranges of files, sealed one record at a time as the driver takes them.

use crate::machine::{ConnId, Fault, Output, SEAL_HEAD, Transmit};
use crate::node::peer::Peer;
use crate::node::peer::reach::Session;
use crate::node::sessions::session::State;
use crate::node::uploads::Slice;
use crate::proto::v2::message::{DATA_HEAD, DataKind, data_head};
use crate::proto::v2::record::{HEAD, TAG};
use crate::time::Instant;
use std::ops::Range;

impl Peer {
    /// Sends data that is held in memory, as a message.
    pub(in crate::node::peer) fn tell_data(
        &mut self,
        now: Instant,
        conn: ConnId,
        kind: DataKind,
        (number, at): (u32, u64),
        bytes: &[u8],
    ) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.push_plain(now, &self.config.limits, |record| {
            record.extend_from_slice(&data_head(kind, number, at));
            record.extend_from_slice(bytes);
        });
        self.recount(conn);
        self.outputs.push_back(Output::Wake { conn });
        self.session_arm(conn);
    }

    /// What the session has to send of files is more or less than before.
    pub(in crate::node::peer) fn ranges_changed(&mut self, now: Instant, conn: ConnId) {
        let waits = self.uploads.next_range(conn).is_some();
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if waits {
            session.watch(now, &self.config.limits);
        } else if !session.has_to_send() {
            session.pace = None;
        }
        self.session_arm(conn);
        self.wants_to_send(conn);
    }

    /// What goes next: messages, then the next range of a file.
    pub(in crate::node::peer) fn session_transmit<'a>(
        session: &'a Session,
        range: Option<&Slice>,
    ) -> Option<Transmit<'a>> {
        if matches!(session.state, State::Mute) {
            return None;
        }
        if let Some(bytes) = session.out.transmit() {
            return Some(bytes);
        }
        let State::Open(link) = &session.state else { return None };
        let &Slice { file, offset, len, .. } = range?;
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(link.run);
        Some(Transmit::Seal { file, offset, len })
    }

    /// The driver read a part of the first range: makes a record of it, in place.
    pub(in crate::node::peer) fn session_read(
        &mut self,
        now: Instant,
        conn: ConnId,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Range<usize> {
        const { assert!(HEAD + DATA_HEAD <= SEAL_HEAD) };
        let nothing = payload.start..payload.start;
        let Some(&slice) = self.uploads.next_range(conn) else { return nothing };
        let Some(session) = self.session_mut(conn) else { return nothing };
        let State::Open(link) = &mut session.state else { return nothing };
        let n = payload.len() as u64;
        let front = payload.start - DATA_HEAD;
        buffer[front..payload.start].copy_from_slice(&data_head(slice.kind, slice.number, slice.at));
        let record = front - HEAD..payload.end + TAG;
        if let Err(error) = link.seal.seal(&mut buffer[record.clone()]) {
            log::error!("internal error: a record could not be sealed: {error}");
            self.session_end(now, conn, Fault::Os(0), true);
            return nothing;
        }
        session.carried += record.len();
        if slice.of.is_some() {
            self.totals.uploaded += n;
        }
        let (uploads, mut cx, _) = self.giving(now);
        let done = uploads.range_read(&mut cx, conn, n);
        self.used_share(conn, n);
        if done {
            if let Some(session) = self.session_mut(conn) {
                session.used = now;
            }
            self.wants_to_send(conn);
        }
        record
    }

    pub(in crate::node::peer) fn session_sent(&mut self, now: Instant, conn: ConnId, n: usize) {
        let max = self.config.limits.session_out_max;
        let Some(session) = self.session_mut(conn) else { return };
        // Bytes of a sealed record are the driver's: they went before anything that stands in `out`.
        let sealed = session.carried.min(n);
        session.carried -= sealed;
        session.out.sent(n - sealed);
        self.recount(conn);
        self.answer_more(now, conn);
        let has_ranges = self.uploads.next_range(conn).is_some();
        let Some(session) = self.session_mut(conn) else { return };
        if let Some((pace, _)) = &mut session.pace {
            pace.add(now, n as u64);
        }
        if !has_ranges && !session.has_to_send() {
            session.pace = None;
        }
        let resume = session.paused && session.out.buffered() <= max / 2;
        if resume {
            session.paused = false;
            self.outputs.push_back(Output::Resume { conn });
        }
        let left =
            self.session_mut(conn).is_some_and(|s| matches!(s.state, State::Leaving) && !s.has_to_send());
        if left && self.stopping {
            self.session_end(now, conn, Fault::Reset, false);
        } else if left {
            // Whoever still sends must be able to read why: what it sends is read for a moment, and thrown away.
            self.outputs.push_back(Output::Shutdown { conn });
        }
    }
}
