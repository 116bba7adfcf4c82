//! Bounds of the rates: what may come in is asked for no faster; what may go out is handed out in small equal shares to all
//! who wait for it.

use super::download::is_old_receiving;
use super::transfers::{Transfer, TransferId};
use super::{Conn, Peer, Timer};
use crate::config::CHUNK;
use crate::machine::{ConnId, Output, Transmit};
use crate::time::Instant;

impl Peer {
    /// The bound of what comes in has room again.
    pub(super) fn more_may_come(&mut self, now: Instant) {
        let all: Vec<TransferId> = self.running_downloads();
        all.into_iter().for_each(|id| self.resume_streams(id));
        self.resume_old(now);
        self.drive_downloads(now);
    }

    /// Downloads in v1 that wait for room go on.
    pub(super) fn resume_old(&mut self, now: Instant) {
        if self.down.room(now) < CHUNK as u64 {
            return;
        }
        let waits = |transfer: &Transfer| is_old_receiving(transfer).then_some(transfer.conn).flatten();
        let conns: Vec<ConnId> = self.transfers.iter().filter_map(|(_, transfer)| waits(transfer)).collect();
        self.outputs.extend(conns.into_iter().map(|conn| Output::Resume { conn }));
    }

    /// Bytes of a v1 download that may be taken now; none: it has to wait.
    pub(super) fn room_for_old(&mut self, now: Instant) -> Option<u64> {
        let room = self.down.room(now);
        if room < CHUNK as u64 {
            self.wait_for_room(now);
            return None;
        }
        Some(room)
    }

    /// Sets the bound of what goes out.
    pub(super) fn limit_up(&mut self, now: Instant, rate: Option<u64>) {
        self.shares.set(now, rate);
        let conns: Vec<ConnId> = self.conns.iter().map(|(id, _)| ConnId(id)).collect();
        for conn in conns {
            self.wants_to_send(conn);
            if rate.is_none() {
                self.outputs.push_back(Output::Wake { conn });
            }
        }
        self.more_may_go(now);
    }

    /// The connection has bytes of files to send: it gets its share.
    pub(super) fn wants_to_send(&mut self, conn: ConnId) {
        if self.shares.rate().is_none() {
            return;
        }
        let has = match self.conns.get(conn.0) {
            Some(Conn::Session(session)) => session.slices().next().is_some(),
            Some(Conn::Serve(serve)) => serve.sends_file(),
            _ => false,
        };
        if has {
            self.shares.wants(conn);
        } else {
            self.shares.gone(conn);
        }
        self.wait_for_share();
    }

    /// So many bytes of files went.
    pub(super) fn used_share(&mut self, conn: ConnId, n: u64) {
        self.shares.used(conn, n);
        self.wait_for_share();
    }

    /// Somebody may want more than was handed out.
    fn wait_for_share(&mut self) {
        if let Some(due) = self.shares.poll_timeout() {
            self.timers.set_unless_armed(Timer::Up, due, "bound of the rate");
        }
    }

    /// The bound of what goes out has room again.
    pub(super) fn more_may_go(&mut self, now: Instant) {
        for conn in self.shares.refill(now) {
            self.outputs.push_back(Output::Wake { conn });
        }
        self.wait_for_share();
    }

    /// What a connection sends next, as far as its share goes.
    pub(super) fn within_share<'a>(&self, conn: ConnId, next: Option<Transmit<'a>>) -> Option<Transmit<'a>> {
        let share = self.shares.allowance(conn);
        match next {
            Some(Transmit::File { .. } | Transmit::Seal { .. }) if share == 0 => None,
            Some(Transmit::File { file, offset, len }) => {
                Some(Transmit::File { file, offset, len: len.min(share) })
            }
            Some(Transmit::Seal { file, offset, len }) => {
                let most = usize::try_from(share).unwrap_or(usize::MAX);
                // A record ends where a chunk does, or the file.
                let most = if len <= most { len } else { most / CHUNK * CHUNK };
                (most > 0).then_some(Transmit::Seal { file, offset, len: most })
            }
            other => other,
        }
    }
}
