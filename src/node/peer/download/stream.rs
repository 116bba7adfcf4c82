//! An old node as a source of known content: it sends the whole file from its beginning. Each piece of that is checked like
//! any other, and taken if nobody else has it or brings it.

use super::sources::State;
use crate::config::CHUNK;
use crate::machine::{Body, ConnId, Fault, Output, Received};
use crate::node::api::{Code, Failure};
use crate::node::ids::TransferId;
use crate::node::peer::{Conn, Peer, Timer};
use crate::node::sessions::outcome::Class;
use crate::node::sessions::session::Storing;
use crate::node::swarm::{Came, SourceNo};
use crate::proto::content::{PIECE, piece_len};
use crate::proto::v1::{self, Head};
use crate::time::Instant;
use std::net::SocketAddr;

/// The stream of an old node.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) conn: ConnId,
    class: Class,
    /// Content comes.
    pub(super) flowing: bool,
    step: Step,
    /// Where in the file the next bytes belong.
    at: u64,
    /// Whether the piece that comes is taken; none between two of them.
    taken: Option<bool>,
    /// No more is read until there are values to compare with, or the rate allows it.
    paused: bool,
    valueless: bool,
    pub(super) storing: Option<Storing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Waiting,
    Dialing,
    Talking,
}

impl Stream {
    /// It cannot go on before somebody tells what its bytes must come to.
    pub(super) fn waits_for_values(&self) -> bool {
        self.valueless
    }
}

/// What became of bytes of a stream.
enum Shown {
    /// They are not to be shown again for now.
    Paused,
    /// Too few to do anything with.
    TooFew,
    Dropped(usize),
    Taken(usize, Body),
    Over,
}

impl Peer {
    /// Dials an old node for its file.
    pub(super) fn stream_start(&mut self, now: Instant, id: TransferId, no: SourceNo, class: Class) {
        let Some(addr) = self.source_mut(id, no).map(|source| source.addr) else { return };
        if !self.falls_back() || !self.may_see_secret(addr) {
            return self.drop_source(now, id, no);
        }
        let conn = ConnId(self.conns.insert(Conn::Stream(id, no)));
        let stream = Stream {
            conn,
            class,
            flowing: false,
            step: Step::Waiting,
            at: 0,
            taken: None,
            paused: false,
            valueless: false,
            storing: None,
        };
        if let Some(source) = self.source_mut(id, no) {
            source.state = State::Old(stream);
        }
        self.contacts.dialer.enqueue(now, conn, addr, class);
    }

    fn stream_mut(&mut self, id: TransferId, no: SourceNo) -> Option<&mut Stream> {
        match self.source_mut(id, no) {
            Some(super::Source { state: State::Old(stream), .. }) => Some(stream),
            _ => None,
        }
    }

    /// Its turn to dial has come.
    pub(in crate::node::peer) fn stream_dial(
        &mut self,
        now: Instant,
        conn: ConnId,
        id: TransferId,
        no: SourceNo,
    ) {
        let Some(addr) = self.source_mut(id, no).map(|source| source.addr) else { return };
        if let Some(stream) = self.stream_mut(id, no) {
            stream.step = Step::Dialing;
        }
        self.dial(conn, addr);
        self.timers.set(Timer::Conn(conn), now + self.config.limits.connect_deadline, "connect");
    }

    pub(in crate::node::peer) fn stream_connected(
        &mut self,
        now: Instant,
        conn: ConnId,
        id: TransferId,
        no: SourceNo,
    ) {
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(addr) = self.source_mut(id, no).map(|source| source.addr) else { return };
        let Some(stream) = self.stream_mut(id, no) else { return };
        stream.step = Step::Talking;
        let class = stream.class;
        self.contacts.dialer.landed(addr, class, true, now);
        self.ask_for_file(conn, name);
        self.timers.set(Timer::Conn(conn), now + self.config.limits.first_byte_deadline, "first byte");
    }

    pub(in crate::node::peer) fn stream_recv(
        &mut self,
        now: Instant,
        conn: ConnId,
        (id, no): (TransferId, SourceNo),
        bytes: &[u8],
    ) -> Received {
        let all = Received { consumed: bytes.len(), ..Received::default() };
        let interval = self.config.limits.progress_interval;
        let Some(stream) = self.stream_mut(id, no) else { return all };
        if !stream.flowing {
            if matches!(v1::download_head(bytes, true), Head::Undecided) {
                return Received::default();
            }
            stream.flowing = true;
            self.timers.set(Timer::Conn(conn), now + interval, "progress");
        }
        match self.stream_shown(now, conn, (id, no), bytes) {
            Shown::TooFew => Received::default(),
            Shown::Paused => Received { pause: true, ..Received::default() },
            Shown::Dropped(consumed) => Received { consumed, ..Received::default() },
            Shown::Taken(consumed, body) => Received { consumed, body: Some(body), pause: false },
            Shown::Over => all,
        }
    }

    /// Bytes of the file from where the stream stands, never beyond the end of a piece.
    fn stream_shown(
        &mut self,
        now: Instant,
        conn: ConnId,
        (id, no): (TransferId, SourceNo),
        bytes: &[u8],
    ) -> Shown {
        let room = self.down.room(now).min(self.config.limits.swarm.per_source);
        let Some(download) = self.download_mut(id) else { return Shown::Over };
        let (size, file) = (download.size, download.content);
        let Some(super::Source { state: State::Old(stream), .. }) = download.sources.get_mut(&no) else {
            return Shown::Over;
        };
        if stream.at >= size {
            return self.stream_over(now, id, no, "it sends more than the file has");
        }
        let piece = stream.at / PIECE;
        let left = piece * PIECE + piece_len(size, piece) - stream.at;
        let mut n = (bytes.len() as u64).min(left);
        if n < left {
            n -= n % CHUNK as u64;
        }
        if n == 0 {
            return Shown::TooFew;
        }
        let expected = download.list.expected(piece);
        let taken = match (stream.taken, expected) {
            // Of a piece that is here it does not matter what it should be.
            (None, None) if !download.swarm.has(piece) => {
                (stream.paused, stream.valueless) = (true, true);
                return Shown::Paused;
            }
            (None, _) => download.swarm.stream(now, no, piece),
            (Some(taken), _) => taken,
        };
        if room < CHUNK as u64 {
            (stream.taken, stream.paused) = (Some(taken), true);
            self.wait_for_room(now);
            return Shown::Paused;
        }
        n = if n <= room { n } else { room / CHUNK as u64 * CHUNK as u64 };
        let offset = stream.at;
        stream.at += n;
        stream.taken = (n < left).then_some(taken);
        let len = usize::try_from(n).unwrap_or(bytes.len()).min(bytes.len());
        self.down.take(now, n);
        self.timers.set(Timer::Conn(conn), now + self.config.limits.progress_interval, "progress");
        let (Some(expected), Some(file), true) = (expected, file, taken) else { return Shown::Dropped(len) };
        let Some(download) = self.download_mut(id) else { return Shown::Over };
        let came = download.swarm.data(now, no, offset, &bytes[..len], &expected);
        if let Came::Wrong { .. } = came {
            // It never said that its file is this one: nobody is to blame.
            return self.stream_over(now, id, no, "its file of that name is another one");
        }
        if came == Came::Unwanted {
            // Somebody quicker has the piece now.
            if let Some(stream) = self.stream_mut(id, no) {
                stream.taken = stream.taken.map(|_| false);
            }
            return Shown::Dropped(len);
        }
        let Some(piece) = self.piece_came(now, id, no, came) else { return Shown::Dropped(len) };
        if let Some(stream) = self.stream_mut(id, no) {
            stream.storing = Some(Storing { transfer: id, piece, len });
        }
        if let Some(download) = self.download_mut(id) {
            download.storing = len;
        }
        Shown::Taken(len, Body { file, offset, range: 0..len })
    }

    /// It is of no use any more.
    fn stream_over(&mut self, now: Instant, id: TransferId, no: SourceNo, what: &str) -> Shown {
        let Some(addr) = self.source_mut(id, no).map(|source| source.addr) else { return Shown::Over };
        let failure = Failure::new(Code::Verification, format!("{addr}: {what}"));
        self.lose_source(now, id, no, None, failure);
        self.drive_download(now, id);
        Shown::Over
    }

    /// Bytes of a stream are in the file.
    pub(in crate::node::peer) fn stream_stored(
        &mut self,
        now: Instant,
        id: TransferId,
        no: SourceNo,
        n: usize,
    ) {
        if let Some(storing) = self.stream_mut(id, no).and_then(|stream| stream.storing.take()) {
            self.data_stored(now, storing, n);
        }
    }

    /// Streams that waited for values or for the rate go on.
    pub(in crate::node::peer) fn resume_streams(&mut self, id: TransferId) {
        let Some(download) = self.download_mut(id) else { return };
        let mut resumed = Vec::new();
        for source in download.sources.values_mut() {
            if let State::Old(stream) = &mut source.state {
                stream.valueless = false;
                if std::mem::take(&mut stream.paused) {
                    resumed.push(stream.conn);
                }
            }
        }
        self.outputs.extend(resumed.into_iter().map(|conn| Output::Resume { conn }));
    }

    /// The stream ended, whole or not: what it brought is taken. It may be asked once more: pieces that somebody else was
    /// asked for when they came by were not taken of it.
    pub(in crate::node::peer) fn stream_eof(&mut self, now: Instant, id: TransferId, no: SourceNo) {
        let Some(addr) = self.source_mut(id, no).map(|source| source.addr) else { return };
        let failure = Failure::new(Code::Network, format!("{addr} sends no more"));
        self.lose_source(now, id, no, Some(addr), failure);
        self.drive_download(now, id);
    }

    /// The world ended the connection.
    pub(in crate::node::peer) fn stream_closed(
        &mut self,
        now: Instant,
        conn: ConnId,
        (id, no): (TransferId, SourceNo),
        fault: Fault,
    ) {
        self.forget_old(conn);
        self.timers.cancel(Timer::Conn(conn));
        self.socket_closed();
        let Some(addr) = self.source_mut(id, no).map(|source| source.addr) else { return };
        if let Some(stream) = self.stream_mut(id, no) {
            if stream.step == Step::Dialing {
                let class = stream.class;
                self.contacts.dialer.landed(addr, class, false, now);
            }
        }
        let failure = Failure::new(Code::Network, format!("{addr}: {fault}"));
        self.lose_source(now, id, no, None, failure);
        self.drive_download(now, id);
    }

    pub(in crate::node::peer) fn stream_timeout(
        &mut self,
        now: Instant,
        conn: ConnId,
        id: TransferId,
        no: SourceNo,
    ) {
        if self.stream_mut(id, no).is_some_and(|stream| stream.paused) {
            // We are the slow ones.
            return self.timers.set(
                Timer::Conn(conn),
                now + self.config.limits.progress_interval,
                "progress",
            );
        }
        let Some(addr) = self.source_mut(id, no).map(|source| source.addr) else { return };
        let failure = Failure::new(Code::Timeout, format!("{addr} sends too slowly or not at all"));
        self.lose_source(now, id, no, None, failure);
        self.drive_download(now, id);
    }

    /// Gives back what a stream holds; its source is gone already.
    pub(super) fn stream_drop(&mut self, now: Instant, addr: SocketAddr, stream: &Stream) {
        let &Stream { conn, class, step, .. } = stream;
        if self.conns.get(conn.0).is_none() {
            return; // the world ended it
        }
        match step {
            Step::Waiting => self.contacts.dialer.withdraw(conn),
            Step::Dialing => {
                self.contacts.dialer.landed(addr, class, false, now);
                self.hang_up(conn, false);
            }
            Step::Talking => self.hang_up(conn, false),
        }
        self.forget_old(conn);
        self.timers.cancel(Timer::Conn(conn));
    }
}
