//! The contract, carried out: each call goes to the part it is for, and what follows from it is settled.

use super::{CONTROL, Conn, Peer};
use crate::machine::{Census, ConnId, Deadline, Input, ListenerId, Machine, Output, Received, Transmit};
use crate::node::files::Owner;
use crate::node::ids::FrontId;
use crate::time::Instant;
use std::net::SocketAddr;
use std::ops::Range;

impl Machine for Peer {
    fn handle_accept(&mut self, now: Instant, listener: ListenerId, peer: SocketAddr) -> Option<ConnId> {
        let conn = if listener == CONTROL { self.control_accept(now) } else { self.accept(now, peer) };
        self.settle(now);
        conn
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Timeout => self.timeouts(now),
            Input::Signal(signal) => self.signal(now, signal),
            Input::Listening { listener: CONTROL, .. } => {}
            Input::ListenFailed { listener: CONTROL, fault } => self.control_failed(fault),
            Input::Listening { addr, .. } => self.listening(now, addr),
            Input::ListenFailed { fault, .. } => self.listen_failed(now, fault),
            Input::Connected { conn, local } => self.connected(now, conn, local),
            Input::Closed { conn, fault } => self.closed(now, conn, fault),
            Input::Eof { conn } => self.eof(now, conn),
            Input::DiscoveryOpened => self.discovery_opened(now, Ok(())),
            Input::DiscoveryFailed { fault } => self.discovery_opened(now, Err(fault)),
            Input::Datagram { from, bytes } => self.heard(now, from, bytes),
            Input::Interfaces(interfaces) => self.interfaces_are(now, interfaces),
            Input::JoinFailed { interface, fault } => self.join_failed(interface, fault),
            Input::FileOpened { file, meta } => self.file_opened(now, file, meta),
            Input::FileCreated { file, room } => self.file_created(now, file, room),
            Input::FileFailed { file, fault, fatal } => self.file_failed(now, file, fault, fatal),
            Input::FileProgress { file, bytes, size } => {
                if let Some(Owner::Share(job)) = self.files.owner(file) {
                    self.operations.share_progress(job, bytes, size);
                }
            }
            Input::FileCommitted { file, name, meta, confirmed } => {
                self.file_committed(now, (file, &name, meta, confirmed));
            }
            Input::Imported { file, name, bytes, folder } => {
                if let Some(Owner::Share(job)) = self.files.committed(file) {
                    self.shared(now, job, (&name, bytes), folder.as_ref());
                }
            }
            Input::FileSynced { file, meta } => self.file_synced(now, file, meta),
            Input::Listed { request, entries, end } => self.listed(now, request, &entries, &end),
            Input::Resolved { request, result } => self.resolved(now, request, result),
            Input::StateLoaded { content, .. } => self.identity_loaded(now, content),
            Input::StateSaved { result, .. } => self.identity_saved(result),
            Input::FileRead { file, offset, bytes, meta } => self.file_read(now, file, offset, bytes, meta),
            Input::FolderChanged { folder, deep, .. } => self.shared.index_mut().changed(now, &folder, deep),
            Input::WatchLost { .. } => {
                self.shared.index_mut().watch_lost(now);
            }
            Input::WallClock(wall) => self.wall_clock(now, wall),
        }
        self.settle(now);
    }

    fn handle_recv(&mut self, now: Instant, conn: ConnId, bytes: &mut [u8]) -> Received {
        let received = match self.conns.get(conn.0).copied() {
            Some(Conn::Caller) => self.caller_recv(now, conn, bytes),
            Some(Conn::Ask) => self.ask_recv(now, conn, bytes),
            Some(Conn::Session) => self.session_recv(now, conn, bytes),
            Some(Conn::Fetch(transfer)) => self.fetch_recv(now, conn, transfer, bytes),
            Some(Conn::Stream(transfer, no)) => self.stream_recv(now, conn, (transfer, no), bytes),
            Some(Conn::Console) => self.front_recv(now, FrontId::Console, bytes),
            Some(Conn::Control) => self.front_recv(now, FrontId::Control(conn), bytes),
            None => Received { consumed: bytes.len(), ..Received::default() },
        };
        self.settle(now);
        received
    }

    fn handle_written(&mut self, now: Instant, conn: ConnId, n: usize) {
        match self.conns.get(conn.0).copied() {
            Some(Conn::Fetch(transfer)) => {
                self.fetch_written(now, transfer, n);
            }
            Some(Conn::Stream(transfer, no)) => {
                self.stream_stored(now, transfer, no, n);
            }
            Some(Conn::Session) => {
                let storing = self.sessions.get_mut(conn).and_then(|session| session.storing.take());
                if let Some(storing) = storing {
                    self.data_stored(now, storing, n);
                }
            }
            _ => {}
        }
        self.settle(now);
    }

    fn handle_read(
        &mut self,
        now: Instant,
        conn: ConnId,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Range<usize> {
        let record = self.session_read(now, conn, buffer, payload);
        self.settle(now);
        record
    }

    fn poll_transmit(&mut self, conn: ConnId) -> Option<Transmit<'_>> {
        let next = match *self.conns.get(conn.0)? {
            Conn::Caller => self.server.transmit(conn),
            Conn::Ask => Self::ask_transmit(self.asks.get(&conn)?),
            Conn::Session => {
                let range = self.uploads.next_range(conn);
                self.sessions.transmit(conn, range.map(|slice| (slice.file, slice.offset, slice.len)))
            }
            Conn::Fetch(_) | Conn::Stream(..) => self.old_requests.get(&conn)?.transmit(),
            Conn::Console => self.operations.fronts.own().console.transmit(conn),
            Conn::Control => self.operations.fronts.get(FrontId::Control(conn))?.console.transmit(conn),
        };
        self.shares.within(conn, next)
    }

    fn handle_sent(&mut self, now: Instant, conn: ConnId, n: usize) {
        match self.conns.get(conn.0).copied() {
            Some(Conn::Caller) => {
                let (server, mut cx, _) = self.serving(now);
                server.sent(&mut cx, conn, n);
            }
            Some(Conn::Ask) => self.ask_sent(conn, n),
            Some(Conn::Session) => self.session_sent(now, conn, n),
            Some(Conn::Fetch(_) | Conn::Stream(..)) => self.file_request_sent(conn, n),
            Some(Conn::Console) => self.operations.fronts.own_mut().console.sent(conn, n),
            Some(Conn::Control) => self.control_sent(now, conn, n),
            None => {}
        }
        self.settle(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<Deadline> {
        let own = self.timers.next_deadline();
        let (server, sessions) = (self.server.poll_timeout(), self.sessions.poll_timeout());
        let (shared, uploads) = (self.shared.poll_timeout(), self.uploads.poll_timeout());
        let parts = [server, sessions, shared, uploads, self.operations.poll_timeout()];
        parts.into_iter().flatten().chain(own).min_by_key(|deadline| deadline.at)
    }

    fn census(&self) -> Census {
        let own = &self.operations.fronts.own().console;
        let streams = [own.console, own.notes];
        let parts = [self.shared.poll_timeout(), self.uploads.poll_timeout()];
        Census {
            conns: self.sockets + streams.iter().filter(|conn| self.conns.get(conn.0).is_some()).count(),
            timers: self.timers.len()
                + self.server.timers()
                + self.sessions.timers()
                + self.operations.timers()
                + parts.iter().flatten().count(),
            nodes: self.contacts.book.len(),
            buffered: self.operations.fronts.buffered(),
            unsent: self.sessions.unsent(),
            ..self.files.census()
        }
    }
}
