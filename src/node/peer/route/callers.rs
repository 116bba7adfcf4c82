//! Connections that come in: who may, and what the v1 server makes of them.

use crate::config::unmapped;
use crate::machine::{ConnId, Received};
use crate::node::cx::Cx;
use crate::node::gate::Verdict;
use crate::node::index::Index;
use crate::node::peer::{Conn, Peer};
use crate::node::uploads::ledger::Receiver;
use crate::node::v1::server::{CloseReason, Event, Server, Step};
use crate::time::Instant;
use std::net::SocketAddr;

/// Sockets kept back for telling callers that there is no room.
const BUSY_RESERVE: usize = 16;

impl Peer {
    /// A connection came in. None: it is closed at once.
    pub(in crate::node::peer) fn accept(&mut self, now: Instant, peer: SocketAddr) -> Option<ConnId> {
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
            Some((oldest, Conn::Session)) => self.evict_session(now, oldest),
            Some((oldest, _)) => self.close_caller(now, oldest, CloseReason::Evicted),
            None => {}
        }
        let (server, cx, _) = self.serving(now);
        server.accepted(&cx, conn, peer, busy);
        Some(conn)
    }

    /// Bytes of a connection that came in, and of which it is not known yet that it speaks v2.
    pub(in crate::node::peer) fn caller_recv(
        &mut self,
        now: Instant,
        conn: ConnId,
        bytes: &mut [u8],
    ) -> Received {
        let (server, mut cx, index) = self.serving(now);
        match server.recv(&mut cx, index, conn, bytes) {
            Step::Taken(received) => received,
            Step::Greets => self.greet_caller(now, conn, bytes),
        }
    }

    /// We end a connection of the v1 server.
    pub(in crate::node::peer) fn close_caller(&mut self, now: Instant, conn: ConnId, why: CloseReason) {
        let (server, mut cx, _) = self.serving(now);
        server.close(&mut cx, conn, why);
    }

    /// The v1 server, with what it is lent.
    pub(in crate::node::peer) fn serving(&mut self, now: Instant) -> (&mut Server, Cx<'_>, &Index) {
        let Peer { config, files, requests, numbers, outputs, server, shared, .. } = self;
        let cx = Cx { now, limits: &config.limits, files, requests, numbers, out: outputs };
        (server, cx, shared.index())
    }

    /// What the v1 server has to tell.
    pub(in crate::node::peer) fn server_events(&mut self, now: Instant) {
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::Valid { conn, from, accepted } => self.gate.authenticated(from, accepted, conn),
                Event::Begins { conn, name, size, to } => {
                    let number = self.numbers.next();
                    let to = Receiver { addr: to, id: None };
                    self.uploads.ledger.begin(now, (conn, None), number, (name, size, to));
                    self.wants_to_send(conn);
                }
                Event::Sent { conn, bytes } => {
                    self.totals.uploaded += bytes;
                    self.uploads.ledger.sent(now, (conn, None), bytes);
                    self.used_share(conn, bytes);
                    self.wants_to_send(conn);
                }
                Event::Gone { conn, from, accepted } => {
                    self.uploads.ledger.gone(now, conn);
                    self.shares.gone(conn);
                    self.gate.leave(from, accepted, conn);
                    self.conns.remove(conn.0);
                    self.socket_closed();
                }
                Event::Notice { what, who } => self.say_rarely(now, what, who),
            }
        }
    }
}
