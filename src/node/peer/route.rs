//! Who is told: each input of the driver's, each timer and each file goes to the part whose it is.

use super::download::is_old_receiving;
use super::fronts::FrontId;
use super::transfers::{Transfer, next_number};
use super::{Conn, Peer, Resolving, Timer};
use crate::config::{CHUNK, ConsoleMode, unmapped};
use crate::machine::{ConnId, Fault, FileId, Meta, Output, Received, RequestId};
use crate::node::cx::Cx;
use crate::node::files::Owner;
use crate::node::gate::Verdict;
use crate::node::ids::TransferId;
use crate::node::index::Index;
use crate::node::part::Which;
use crate::node::uploads::Receiver;
use crate::node::v1::server::{CloseReason, Event, Server, Step};
use crate::time::Instant;
use std::net::SocketAddr;

/// Sockets kept back for telling callers that there is no room.
const BUSY_RESERVE: usize = 16;

impl Peer {
    /// A connection came in. None: it is closed at once.
    pub(super) fn accept(&mut self, now: Instant, peer: SocketAddr) -> Option<ConnId> {
        let peer = unmapped(peer);
        if self.stopping {
            return None;
        }
        let limits = &self.config.limits;
        // The last eighth is for our own dials: callers cannot cut us off.
        let callers = (limits.conns - limits.conns / 8).saturating_sub(self.gate.len());
        let places = callers.min(self.room());
        let (oldest, busy) = match self.gate.judge(peer.ip(), places, limits) {
            Verdict::Enters => (None, false),
            Verdict::Replaces(oldest) => (Some(oldest), false),
            Verdict::Refused if places > 0 => return None,
            // Where callers have all their places one of them has to go.
            Verdict::Refused => match self.idlest_session(now, callers == 0) {
                Some(idle) => (Some(idle), false),
                None if self.sockets < self.config.limits.conns + BUSY_RESERVE => (None, true),
                None => return None,
            },
        };
        let conn = ConnId(self.conns.insert(Conn::Caller));
        self.sockets += 1;
        self.gate.enter(now, peer.ip(), conn);
        if busy {
            // It is on its way out, and makes room for nobody.
            self.gate.authenticated(peer.ip(), now, conn);
        }
        // Only now: the slot of one that left just before would be given out again before the driver heard of it.
        match oldest.and_then(|oldest| Some((oldest, self.conns.get(oldest.0)?))) {
            Some((oldest, Conn::Session(_))) => self.session_end(now, oldest, Fault::Refused, false),
            Some((oldest, _)) => self.close_caller(now, oldest, CloseReason::Evicted),
            None => {}
        }
        let (server, cx, _) = self.serving(now);
        server.accepted(&cx, conn, peer, busy);
        Some(conn)
    }

    /// Bytes of a connection that came in, and of which it is not known yet that it speaks v2.
    pub(super) fn caller_recv(&mut self, now: Instant, conn: ConnId, bytes: &mut [u8]) -> Received {
        let (server, mut cx, index) = self.serving(now);
        match server.recv(&mut cx, index, conn, bytes) {
            Step::Taken(received) => received,
            Step::Greets => self.greet_caller(now, conn, bytes),
        }
    }

    /// We end a connection of the v1 server.
    pub(super) fn close_caller(&mut self, now: Instant, conn: ConnId, why: CloseReason) {
        let (server, mut cx, _) = self.serving(now);
        server.close(&mut cx, conn, why);
    }

    /// The v1 server, with what it is lent.
    pub(super) fn serving(&mut self, now: Instant) -> (&mut Server, Cx<'_>, &Index) {
        let Peer { config, files, requests, outputs, server, shared, .. } = self;
        (server, Cx { now, limits: &config.limits, files, requests, out: outputs }, shared.index())
    }

    /// What the v1 server has to tell.
    pub(super) fn server_events(&mut self, now: Instant) {
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::Valid { conn, from, accepted } => self.gate.authenticated(from, accepted, conn),
                Event::Begins { conn, name, size, to } => {
                    let number = next_number(&mut self.last_transfer);
                    let to = Receiver { addr: to, id: None };
                    self.uploads.begin(now, (conn, None), number, (name, size, to));
                    self.watch_uploads();
                    self.wants_to_send(conn);
                }
                Event::Sent { conn, bytes } => {
                    self.totals.uploaded += bytes;
                    self.uploads.sent(now, (conn, None), bytes);
                    self.used_share(conn, bytes);
                    self.wants_to_send(conn);
                }
                Event::Gone { conn, from, accepted } => {
                    self.uploads.gone(now, conn);
                    self.shares.gone(conn);
                    self.gate.leave(from, accepted, conn);
                    self.conns.remove(conn.0);
                    self.socket_closed();
                }
                Event::Notice { what, who } => self.say_rarely(now, what, who),
            }
        }
    }

    /// Carries out what the index of the shared folder asks for, and what follows from what it was told.
    pub(super) fn drive_index(&mut self, now: Instant) {
        let busy = self.active_transfers() > 0 || self.files.uploads() > 0;
        let Peer { config, files, requests, outputs, shared, .. } = self;
        shared.drive(&mut Cx { now, limits: &config.limits, files, requests, out: outputs }, busy);
        while let Some(log) = self.shared.poll_gone() {
            self.answers_moved(now, log);
        }
        self.finish_indexed(now);
        self.arm_search(now);
    }

    pub(super) fn timeouts(&mut self, now: Instant) {
        let Peer { config, files, requests, outputs, server, shares, .. } = self;
        let mut cx = Cx { now, limits: &config.limits, files, requests, out: outputs };
        server.handle_timeout(&mut cx, |conn| shares.allowance(conn) == 0);
        self.shared.handle_timeout(now);
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
                Timer::Answer(conn) => self.answer_late(now, conn),
                Timer::Transfer(transfer) => self.transfer_timeout(now, transfer),
                Timer::Have => self.tell_followers(now),
                Timer::Down => self.more_may_come(now),
                Timer::Up => self.more_may_go(now),
                Timer::Uploads => {
                    self.uploads.handle_timeout(now);
                    self.watch_uploads();
                }
                Timer::Exit => self.exit_anyway(),
                Timer::Search => self.search_slice(now),
                Timer::Job(job) => self.job_timeout(now, job),
                Timer::Refresh(number) => self.register(now, number, None, true),
                Timer::Hello => self.hello(now),
                Timer::Greet => self.greet(),
                Timer::Silence => self.drop_silent(now),
                Timer::Progress => self.show_progress(now),
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
        match self.conns.get(conn.0) {
            Some(Conn::Ask(_)) => self.ask_timeout(now, conn),
            Some(Conn::Session(_)) => self.session_timeout(now, conn),
            Some(Conn::Fetch(transfer, _)) => self.fetch_timeout(now, conn, *transfer),
            Some(Conn::Stream(transfer, no, _)) => self.stream_timeout(now, conn, *transfer, *no),
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
        match self.conns.get(conn.0) {
            Some(Conn::Ask(_)) => self.ask_connected(now, conn, local),
            Some(Conn::Session(_)) => self.session_connected(now, conn),
            Some(Conn::Fetch(transfer, _)) => self.fetch_connected(now, conn, *transfer),
            Some(Conn::Stream(transfer, no, _)) => self.stream_connected(now, conn, *transfer, *no),
            _ => {}
        }
    }

    pub(super) fn closed(&mut self, now: Instant, conn: ConnId, fault: Fault) {
        match self.conns.get(conn.0) {
            Some(Conn::Caller) => {
                let (server, mut cx, _) = self.serving(now);
                server.closed(&mut cx, conn);
            }
            Some(Conn::Ask(_)) => self.ask_closed(now, conn, fault),
            Some(Conn::Session(_)) => self.session_closed(now, conn, fault),
            Some(Conn::Fetch(transfer, _)) => self.fetch_closed(now, conn, *transfer, fault),
            Some(Conn::Stream(transfer, no, _)) => self.stream_closed(now, conn, (*transfer, *no), fault),
            Some(Conn::Console) => {
                let console = &mut self.fronts.own_mut().console;
                console.closed(conn);
                let (results, mode) = (conn == console.console, console.mode);
                self.conns.remove(conn.0);
                // A reader that left wants no more; results that were lost otherwise are missed by somebody.
                if results && fault != Fault::Reset {
                    self.results_lost(fault);
                }
                if results && mode == ConsoleMode::Terminal {
                    self.stop(now, self.status);
                }
            }
            Some(Conn::Control) => self.control_gone(conn),
            None => {}
        }
    }

    pub(super) fn eof(&mut self, now: Instant, conn: ConnId) {
        match self.conns.get(conn.0) {
            Some(Conn::Caller) => {
                let (server, mut cx, _) = self.serving(now);
                server.eof(&mut cx, conn);
            }
            Some(Conn::Ask(_)) => self.ask_read(now, conn),
            Some(Conn::Session(_)) => self.session_eof(now, conn),
            Some(Conn::Fetch(transfer, _)) => self.fetch_eof(now, conn, *transfer),
            Some(Conn::Stream(transfer, no, _)) => self.stream_eof(now, *transfer, *no),
            Some(Conn::Console) => self.front_eof(now, FrontId::Console),
            Some(Conn::Control) => self.front_eof(now, FrontId::Control(conn)),
            None => {}
        }
    }

    /// A dial's turn has come.
    pub(super) fn may_dial(&mut self, now: Instant, conn: ConnId) {
        match self.conns.get(conn.0) {
            Some(Conn::Ask(_)) => self.ask_dial(now, conn),
            Some(Conn::Session(_)) => self.session_dial(now, conn),
            Some(Conn::Fetch(transfer, _)) => self.fetch_dial(now, conn, *transfer),
            Some(Conn::Stream(transfer, no, _)) => self.stream_dial(now, conn, *transfer, *no),
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
            Some(Owner::Answer(conn)) => self.answer_opened(now, conn, file, meta),
            Some(Owner::Stat(conn)) => self.stat_answer(now, conn, file, Some(meta)),
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
            Owner::Answer(conn) => self.answer_failed(now, conn, file, fault, fatal),
            Owner::Stat(conn) => self.stat_answer(now, conn, file, None),
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
        let has = match self.conns.get(conn.0) {
            Some(Conn::Session(session)) => session.slices().next().is_some(),
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
