//! Who is told: each input of the driver's, each timer and each file goes to the part whose it is.

mod callers;
mod commands;
mod fronts;
mod giving;
mod operations;
mod reach;
mod talking;

use super::download::is_old_receiving;
use super::transfers::Transfer;
use super::{Conn, Peer, Resolving, Timer};
use crate::config::{CHUNK, ConsoleMode};
use crate::machine::{ConnId, Fault, FileId, Meta, Output, RequestId};
use crate::node::cx::Cx;
use crate::node::files::Owner;
use crate::node::ids::{FrontId, TransferId};
use crate::node::part::Which;
use crate::proto::address::is_own;
use crate::time::Instant;
use std::net::SocketAddr;

impl Peer {
    /// Carries out what the index of the shared folder asks for, and what follows from what it was told.
    pub(super) fn drive_index(&mut self, now: Instant) {
        let busy = self.active_transfers() > 0 || self.files.uploads() > 0;
        let (uploads, mut cx, shared) = self.giving(now);
        shared.drive(&mut cx, busy);
        while let Some(log) = shared.poll_gone() {
            uploads.file_gone(&mut cx, log);
        }
        // What was not listed yet may be now.
        uploads.search_soon(now);
        self.finish_indexed();
    }

    pub(super) fn timeouts(&mut self, now: Instant) {
        let Peer { config, files, requests, numbers, outputs, server, shares, .. } = self;
        let mut cx = Cx { now, limits: &config.limits, files, requests, numbers, out: outputs };
        server.handle_timeout(&mut cx, |conn| shares.allowance(conn) == 0);
        self.shared.handle_timeout(now);
        if let Some(conn) = self.uploads.handle_timeout(now, self.shared.index()) {
            self.answer_more(now, conn);
        }
        self.sessions_timeout(now);
        self.operations_timeout(now);
        for _ in 0..self.config.limits.timers_per_turn {
            let Some((timer, due)) = self.timers.pop_due(now) else { return };
            match timer {
                Timer::Conn(_) if self.timers.put_off_if_late(timer, due, now) => {}
                Timer::Conn(conn) => self.conn_timeout(now, conn),
                Timer::Dials => {
                    for _ in 0..self.config.limits.timers_per_turn {
                        let Some(conn) = self.contacts.dialer.overdue(now) else { break };
                        self.conn_timeout(now, conn);
                    }
                }
                Timer::Transfer(transfer) => self.transfer_timeout(now, transfer),
                Timer::Have => self.tell_followers(now),
                Timer::Down => self.more_may_come(now),
                Timer::Up => self.more_may_go(now),
                Timer::Exit => self.exit_anyway(),
                Timer::Refresh(number) => self.register(now, number, None, true),
                Timer::Hello => self.hello(now),
                Timer::Greet => self.greet(),
                Timer::Silence => self.drop_silent(now),
                Timer::Joined => self.check_joined(now, true),
                Timer::Notices => {
                    if let Some(due) = self.notices.flush(now) {
                        self.timers.set(Timer::Notices, due, "summary of notices");
                    }
                }
            }
        }
    }

    pub(super) fn conn_timeout(&mut self, now: Instant, conn: ConnId) {
        match self.conns.get(conn.0).copied() {
            Some(Conn::Ask) => self.ask_timeout(now, conn),
            Some(Conn::Session) => self.session_overdue(now, conn),
            Some(Conn::Fetch(transfer)) => self.fetch_timeout(now, conn, transfer),
            Some(Conn::Stream(transfer, no)) => self.stream_timeout(now, conn, transfer, no),
            Some(Conn::Control) => self.control_idle(now, conn),
            Some(Conn::Caller | Conn::Console) | None => {}
        }
    }

    pub(super) fn resolved(&mut self, now: Instant, request: RequestId, result: Result<SocketAddr, Fault>) {
        match self.resolving.remove(&request) {
            Some(Resolving::Registry(number)) => self.registry_resolved(now, number, result),
            Some(Resolving::Get(job)) => self.get_resolved(now, job, result),
            None => {}
        }
    }

    pub(super) fn connected(&mut self, now: Instant, conn: ConnId, local: SocketAddr) {
        // An address of ours that we did not know of: somebody may name it, and it must not be taken for another node's.
        if local.is_ipv4() && !is_own(local.ip(), &self.here()) {
            self.outputs.push_back(Output::ListInterfaces);
        }
        match self.conns.get(conn.0).copied() {
            Some(Conn::Ask) => self.ask_connected(now, conn, local),
            Some(Conn::Session) => self.session_connected(now, conn),
            Some(Conn::Fetch(transfer)) => self.fetch_connected(now, conn, transfer),
            Some(Conn::Stream(transfer, no)) => self.stream_connected(now, conn, transfer, no),
            _ => {}
        }
    }

    pub(super) fn closed(&mut self, now: Instant, conn: ConnId, fault: Fault) {
        match self.conns.get(conn.0).copied() {
            Some(Conn::Caller) => {
                let (server, mut cx, _) = self.serving(now);
                server.closed(&mut cx, conn);
            }
            Some(Conn::Ask) => self.ask_closed(now, conn, fault),
            Some(Conn::Session) => self.session_closed(now, conn, fault),
            Some(Conn::Fetch(transfer)) => self.fetch_closed(now, conn, transfer, fault),
            Some(Conn::Stream(transfer, no)) => self.stream_closed(now, conn, (transfer, no), fault),
            Some(Conn::Console) => {
                let console = &mut self.operations.fronts.own_mut().console;
                console.closed(conn);
                let (results, mode) = (conn == console.console, console.mode);
                self.conns.remove(conn.0);
                // A reader that left wants no more; results that were lost otherwise are missed by somebody.
                if results && fault != Fault::Reset {
                    self.results_lost(fault);
                }
                if results && mode == ConsoleMode::Terminal {
                    self.stop(now, self.operations.status());
                }
            }
            Some(Conn::Control) => self.control_gone(conn),
            None => {}
        }
    }

    pub(super) fn eof(&mut self, now: Instant, conn: ConnId) {
        match self.conns.get(conn.0).copied() {
            Some(Conn::Caller) => {
                let (server, mut cx, _) = self.serving(now);
                server.eof(&mut cx, conn);
            }
            Some(Conn::Ask) => self.ask_read(now, conn),
            Some(Conn::Session) => self.session_eof(now, conn),
            Some(Conn::Fetch(transfer)) => self.fetch_eof(now, conn, transfer),
            Some(Conn::Stream(transfer, no)) => self.stream_eof(now, transfer, no),
            Some(Conn::Console) => self.front_eof(now, FrontId::Console),
            Some(Conn::Control) => self.front_eof(now, FrontId::Control(conn)),
            None => {}
        }
    }

    /// A dial's turn has come.
    pub(super) fn may_dial(&mut self, now: Instant, conn: ConnId) {
        match self.conns.get(conn.0).copied() {
            Some(Conn::Ask) => self.ask_dial(now, conn),
            Some(Conn::Session) => self.session_dial(now, conn),
            Some(Conn::Fetch(transfer)) => self.fetch_dial(now, conn, transfer),
            Some(Conn::Stream(transfer, no)) => self.stream_dial(now, conn, transfer, no),
            _ => debug_assert!(false, "only questions and downloads dial"),
        }
    }

    /// A file is open: whoever asked for it is told.
    pub(super) fn file_opened(&mut self, now: Instant, file: FileId, meta: Meta) {
        match self.files.owner(file) {
            Some(Owner::Serve(conn)) => {
                let (server, mut cx, _) = self.serving(now);
                server.file_opened(&mut cx, conn, meta.size);
            }
            Some(Owner::Answer(conn)) => {
                let (uploads, mut cx, shared) = self.giving(now);
                uploads.opened(&mut cx, shared, conn, file, meta);
            }
            Some(Owner::Stat(conn)) => {
                let (uploads, mut cx, shared) = self.giving(now);
                uploads.looked(&mut cx, shared, conn, file, Some(meta));
            }
            Some(owner @ (Owner::Hashing | Owner::Log | Owner::FreshLog)) => {
                self.shared.opened(now, owner, meta);
            }
            Some(Owner::Part(id)) => self.part_opened(now, (id, Which::Part), meta),
            Some(Owner::Journal(id)) => self.part_opened(now, (id, Which::Journal), meta),
            Some(Owner::Leftover) => self.leftover_opened(file),
            Some(Owner::Look(id)) => self.looked(now, id, file, meta),
            Some(Owner::Fetch(_) | Owner::Share(_) | Owner::Doomed) | None => {}
        }
    }

    pub(super) fn file_created(&mut self, now: Instant, file: FileId, room: u64) {
        match self.files.owner(file) {
            Some(Owner::Fetch(id)) => self.fetch_opened(now, id, room),
            Some(Owner::Part(id)) => self.part_created(now, id, room),
            _ => {}
        }
    }

    pub(super) fn file_synced(&mut self, now: Instant, file: FileId, meta: Meta) {
        match self.files.owner(file) {
            Some(Owner::Part(id)) => self.part_synced(now, (id, Which::Part), meta),
            Some(Owner::Journal(id)) => self.part_synced(now, (id, Which::Journal), meta),
            _ => {}
        }
    }

    /// Bytes of a file that was to be read.
    pub(super) fn file_read(&mut self, now: Instant, file: FileId, offset: u64, bytes: &[u8], meta: Meta) {
        match self.files.owner(file) {
            Some(Owner::Part(id)) => self.part_read(now, (id, Which::Part), (offset, bytes, meta)),
            Some(Owner::Journal(id)) => self.part_read(now, (id, Which::Journal), (offset, bytes, meta)),
            Some(Owner::Leftover) => self.leftover_read(now, file, bytes),
            Some(Owner::Look(id)) => self.look_read(now, id, (offset, bytes, meta)),
            Some(owner) => self.shared.read(now, owner, (offset, bytes, meta)),
            None => {}
        }
    }

    /// An operation on a file failed; its id is free if `fatal`.
    pub(super) fn file_failed(&mut self, now: Instant, file: FileId, fault: Fault, fatal: bool) {
        let Some(owner) = self.files.owner(file) else { return };
        if fatal {
            self.files.drop(file);
        }
        match owner {
            Owner::Serve(conn) => {
                let (server, mut cx, _) = self.serving(now);
                server.file_failed(&mut cx, conn, fault, fatal);
            }
            Owner::Fetch(transfer) => self.fetch_file_failed(now, transfer, fault, fatal),
            Owner::Share(job) => self.share_failed(now, job, fault),
            Owner::Answer(conn) => {
                let (uploads, mut cx, shared) = self.giving(now);
                uploads.failed(&mut cx, shared, (conn, file), fault, fatal);
            }
            Owner::Stat(conn) => {
                let (uploads, mut cx, shared) = self.giving(now);
                uploads.looked(&mut cx, shared, conn, file, None);
            }
            Owner::Hashing | Owner::Log | Owner::FreshLog => {
                self.shared.failed(now, owner, file, fault, fatal);
            }
            Owner::Part(id) => self.part_file_failed(now, (id, Which::Part), (file, fault, fatal)),
            Owner::Journal(id) => self.part_file_failed(now, (id, Which::Journal), (file, fault, fatal)),
            Owner::Leftover => self.leftover_failed(now, file, fatal),
            Owner::Look(id) => self.look_failed(now, id, fault, fatal),
            Owner::Doomed => {}
        }
    }

    pub(super) fn file_committed(
        &mut self,
        now: Instant,
        (file, name, meta, confirmed): (FileId, &str, Meta, bool),
    ) {
        match self.files.committed(file) {
            Some(Owner::Fetch(id)) => self.fetch_committed(now, id, name, meta.size, confirmed),
            Some(Owner::Part(id)) => self.part_committed(now, id, (file, name, meta, confirmed)),
            _ => {}
        }
    }

    /// Closes a file, or a journal, that stays what it is.
    pub(super) fn close_file(&mut self, file: FileId) {
        if self.files.drop(file) {
            self.outputs.push_back(Output::CloseFile { file });
        }
    }

    /// Closes an unfinished file that is to be opened again.
    pub(super) fn keep_file(&mut self, file: FileId) {
        if self.files.keep(file) {
            self.outputs.push_back(Output::CloseFile { file });
        }
    }

    /// Throws away a file that grows, or a journal.
    pub(super) fn discard_file(&mut self, file: FileId) {
        if self.files.drop(file) {
            self.outputs.push_back(Output::DiscardFile { file });
        }
    }

    /// Has a name looked up; the answer is for `purpose`.
    pub(super) fn resolve(&mut self, host: String, port: u16, purpose: Resolving) {
        let request = self.requests.next();
        self.resolving.insert(request, purpose);
        self.outputs.push_back(Output::Resolve { request, host, port });
    }

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
        let has = match self.conns.get(conn.0).copied() {
            Some(Conn::Session) => self.uploads.next_range(conn).is_some(),
            Some(Conn::Caller) => self.server.sends_file(conn),
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
}
