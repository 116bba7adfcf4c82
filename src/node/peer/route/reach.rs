//! How a node is reached: by the session there is, or by a dial to the best of its addresses; and what becomes of those
//! who wait for that. Sessions are known by the node's key, so that a node reached in several ways is one node.

use crate::machine::{ConnId, Fault};
use crate::node::api::{Code, Failure};
use crate::node::peer::pending::Pending;
use crate::node::peer::{Conn, Peer};
use crate::node::sessions::event::Event;
use crate::node::sessions::outcome::{Class, Dial, Remote, Stage, Unreached};
use crate::proto::address::{Learned, admit};
use crate::proto::escape::{cut, for_terminal};
use crate::proto::v2::identity::NodeId;
use crate::proto::v2::message;
use crate::time::Instant;
use std::net::SocketAddr;

impl Peer {
    /// Asks the node at `addr` for something: on the session with it, or on one to be made.
    pub(in crate::node::peer) fn reach(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        class: Class,
        request: Pending,
    ) {
        if !self.config.speaks_v2() {
            return self.unreached_all(now, addr, vec![request], Unreached::Old);
        }
        let open = self.contacts.book.node_at(addr).and_then(|node| self.sessions.of(node));
        // Where more is known than a claim the node itself is asked first.
        let claims = request.trusts_claims() && self.contacts.book.is_only_claimed(addr);
        let claimed = if claims { self.session_claiming(addr) } else { None };
        if let Some(conn) = open.or(claimed) {
            return self.dispatch(now, conn, request);
        }
        if let Some(session) = self.sessions.on_the_way_to(addr) {
            return session.pending.push(request);
        }
        let conn = ConnId(self.conns.insert(Conn::Session));
        self.sessions.dial(now, conn, (addr, class), request);
        self.contacts.dialer.enqueue(now, conn, addr, class);
    }

    /// The node that was expected at `addr` did not answer: whichever is there is asked.
    pub(in crate::node::peer) fn reach_anybody(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        class: Class,
        pending: Vec<Pending>,
    ) {
        self.contacts.book.expects_nobody(addr);
        self.sessions.arrived(addr);
        pending.into_iter().for_each(|request| self.reach(now, addr, class, request));
    }

    /// The open session with a node that came to us and says that it listens at `addr`.
    pub(in crate::node::peer) fn session_claiming(&self, addr: SocketAddr) -> Option<ConnId> {
        let conn = self.sessions.of(self.contacts.book.get(addr)?.whose()?)?;
        (self.listens_at(conn) == Some(addr)).then_some(conn)
    }

    /// Where the node of a session can be dialled: where it was met, or else where it says.
    pub(in crate::node::peer) fn listens_at(&self, conn: ConnId) -> Option<SocketAddr> {
        self.contacts.listens_at(&self.sessions.get(conn)?.remote())
    }

    /// Where the node of a session can be reached again.
    pub(in crate::node::peer) fn addr_of(&self, conn: ConnId) -> SocketAddr {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        self.sessions.get(conn).map_or(nowhere, |session| self.contacts.addr_of(&session.remote()))
    }

    /// The nodes that were met, or have a session with us, whose short form begins so.
    pub(in crate::node::peer) fn nodes_named(&self, prefix: &str) -> Vec<NodeId> {
        let mut nodes = self.contacts.book.by_prefix(prefix);
        let here = self.sessions.nodes().filter(|id| id.matches_prefix(prefix));
        nodes.extend(here);
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Where a node can be dialled.
    pub(in crate::node::peer) fn addr_of_node(&self, node: NodeId) -> Option<SocketAddr> {
        self.contacts.book.best(node).or_else(|| self.listens_at(self.sessions.of(node)?))
    }

    /// The session is open: what was waited for is asked.
    fn dispatch(&mut self, now: Instant, conn: ConnId, request: Pending) {
        match request {
            Pending::Search(job) => self.search_on(now, conn, job),
            Pending::Browse(job) => self.browse_on(now, conn, job),
            Pending::Name(transfer) => self.naming_on(now, conn, transfer),
            Pending::Source(transfer, no) => self.source_on(now, conn, transfer, no),
        }
    }

    /// What sessions tell, carried out.
    pub(in crate::node::peer) fn sessions_events(&mut self, now: Instant) {
        while let Some(event) = self.sessions.poll_event() {
            match event {
                Event::Valid { conn, from, accepted } => self.gate.authenticated(from, accepted, conn),
                Event::Up { conn, node, peer, dialled, port } => {
                    self.session_up(now, (conn, node), (peer, dialled), port);
                }
                Event::Ready { conn } => {
                    // Unless it is gone already, and those who waited were told so.
                    if let Some(pending) = self.sessions.take_pending(conn) {
                        pending.into_iter().for_each(|request| self.dispatch(now, conn, request));
                        self.met_a_node(now, conn);
                    }
                }
                Event::Retired { conn } => {
                    let (uploads, mut cx, _) = self.giving(now);
                    uploads.gone(&mut cx, conn);
                    self.shares.gone(conn);
                }
                Event::Gone { conn, came, socket } => {
                    self.conns.remove(conn.0);
                    if let Some((from, accepted)) = came {
                        self.gate.leave(from, accepted, conn);
                    }
                    if socket {
                        self.socket_closed();
                    }
                }
                Event::Down { conn, remote, lived, silent, fault, pending } => {
                    let pending = self.all_pending(conn, pending);
                    self.session_down(now, &remote, (lived, silent), pending, fault);
                }
                Event::Unreached { dial, why, pending } => self.dial_failed(now, &dial, why, pending),
                Event::HungUp { dial, fault, pending } => self.hung_up(now, &dial, fault, pending),
                Event::Version { addr, mismatch, pending } => {
                    self.unreached_all(now, addr, pending, Unreached::Version(mismatch));
                }
                Event::Late { tag: Pending::Search(job) } => self.search_silent(now, job),
                Event::Late { .. } => {}
                Event::Clone { addr } => self.clones.met(now, addr),
                Event::SpeaksV1 { conn, came } => {
                    if let Some(place) = self.conns.get_mut(conn.0) {
                        *place = Conn::Caller;
                    }
                    let (server, mut cx, _) = self.serving(now);
                    server.refuse(&mut cx, conn, came);
                }
                Event::Notice { what, who } => self.say_rarely(now, what, who),
            }
        }
    }

    /// The node at the other end is known. It listens at `port`, as it says.
    fn session_up(
        &mut self,
        now: Instant,
        (conn, node): (ConnId, NodeId),
        (peer, dialled): (SocketAddr, bool),
        port: u16,
    ) {
        if dialled {
            return self.contacts.met(peer, node, now);
        }
        // With its zone, if it has one.
        let mut at = peer;
        at.set_port(port);
        if let Ok(addr) = admit(at, Learned::Observed, &self.here()) {
            self.contacts.book.claimed(addr, node, now);
            if let Some(session) = self.sessions.get_mut(conn) {
                session.listens = Some(addr);
            }
        }
    }

    /// All who wait for a session that is over, each once.
    fn all_pending(&self, conn: ConnId, mut pending: Vec<Pending>) -> Vec<Pending> {
        // A download that waits for the disk, or for the other side to hash, has asked for nothing just now.
        pending.extend(self.asking_on(conn));
        pending.sort_unstable();
        pending.dedup_by(|a, b| a == b && a.is_of_download());
        pending
    }

    /// What waited for a session that was open asks again, or fails.
    fn session_down(
        &mut self,
        now: Instant,
        remote: &Remote,
        (lived, silent): (bool, bool),
        pending: Vec<Pending>,
        fault: Fault,
    ) {
        let addr = self.contacts.addr_of(remote);
        if silent {
            self.contacts.book.fails(addr);
        }
        match remote.node.and_then(|node| self.sessions.of(node)) {
            Some(other) => pending.into_iter().for_each(|request| self.dispatch(now, other, request)),
            None if lived && !self.stopping => {
                self.unreached_all(now, addr, pending, Unreached::Lost(fault));
            }
            None => self.unreached_all(now, addr, pending, Unreached::Failed(fault)),
        }
    }

    /// A dial of ours failed, or had no answer that we know.
    fn dial_failed(&mut self, now: Instant, dial: &Dial, why: Unreached, pending: Vec<Pending>) {
        let Dial { conn, addr, class, stage, .. } = *dial;
        match stage {
            Stage::Waiting => self.contacts.dialer.withdraw(conn),
            Stage::Dialing => self.contacts.dialer.landed(addr, class, false, now),
            Stage::Greeting => {
                // An old node is no stranger's trap: it is asked in its own way next.
                let old = why == Unreached::Old && self.falls_back_at(addr, now);
                if why != Unreached::Myself && !old {
                    self.contacts.dialer.penalise(addr, class, now);
                }
            }
        }
        let pending = self.all_pending(conn, pending);
        self.unreached_all(now, addr, pending, why);
    }

    /// Somebody hung up on a handshake of ours, without a word.
    fn hung_up(&mut self, now: Instant, dial: &Dial, fault: Fault, pending: Vec<Pending>) {
        let Dial { conn, addr, class, bound, .. } = *dial;
        let legacy = self.contacts.book.hung_up(addr, now) && self.falls_back_at(addr, now);
        let why = match self.contacts.book.is_modern(addr, now) {
            _ if legacy => Unreached::Old,
            // A node that ends may take one more connection before it is gone.
            true => Unreached::Failed(fault),
            false => Unreached::NotOurs,
        };
        if why == Unreached::NotOurs {
            self.contacts.dialer.penalise(addr, class, now);
        }
        let pending = self.all_pending(conn, pending);
        if bound && !self.stopping {
            // Another node may be there now, which does not even know that it was asked.
            return self.reach_anybody(now, addr, class, pending);
        }
        self.unreached_all(now, addr, pending, why);
    }

    /// The node where nobody was reached may be elsewhere; a session that was lost may be made again.
    fn reach_again(&mut self, now: Instant, addr: SocketAddr, why: Unreached, request: Pending) -> bool {
        let next = match why {
            Unreached::Lost(_) => Some(addr),
            Unreached::Failed(_) | Unreached::TimedOut | Unreached::Silent => {
                self.contacts.book.elsewhere(addr)
            }
            _ => None,
        };
        let counts = request.is_of_download();
        // Where nobody can be dialled, who came from there may be all there is.
        let dialled = matches!(why, Unreached::Failed(_) | Unreached::TimedOut | Unreached::Silent);
        let claims = (dialled && request.trusts_claims()).then(|| self.session_claiming(addr)).flatten();
        if let (None, Some(conn)) = (next, claims) {
            self.dispatch(now, conn, request);
            return true;
        }
        let Some(next) = next.filter(|_| !counts) else { return false };
        let Some(class) = self.contacts.class_of(now, next, &self.here()) else { return false };
        self.reach(now, next, class, request);
        true
    }

    /// Tells those who waited why the node was not reached; where the old protocol may be tried, it is.
    pub(in crate::node::peer) fn unreached_all(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        pending: Vec<Pending>,
        why: Unreached,
    ) {
        self.sessions.may_have_ended(addr);
        match why {
            Unreached::Myself => self.contacts.book.forget(addr),
            Unreached::Old if self.falls_back_at(addr, now) => self.contacts.book.set_legacy(addr, now),
            Unreached::Failed(_) | Unreached::TimedOut | Unreached::Silent => self.contacts.book.fails(addr),
            _ => {}
        }
        for request in pending {
            if self.reach_again(now, addr, why, request) {
                continue;
            }
            match request {
                Pending::Search(job) => self.search_unreached(now, job, addr, why),
                Pending::Browse(job) => self.browse_unreached(now, job, addr, why),
                Pending::Name(transfer) => self.naming_unreached(now, transfer, addr, why),
                Pending::Source(transfer, no) => self.source_unreached(now, transfer, no, (addr, why)),
            }
        }
    }

    /// The other side refused a request.
    pub(in crate::node::peer) fn refused(
        &mut self,
        now: Instant,
        (conn, request): (ConnId, Pending),
        number: u32,
        code: message::Code,
        text: &str,
    ) {
        let addr = self.addr_of(conn);
        match request {
            Pending::Search(job) => self.search_refused(now, job),
            Pending::Browse(job) => {
                let words = for_terminal(cut(text, message::TEXT_MAX));
                let code = if code == message::Code::Gone { Code::NotFound } else { Code::Refused };
                self.finish(now, job, Err(Failure::new(code, format!("{addr} refused: {words}"))));
            }
            Pending::Name(id) => self.naming_refused(now, id, code, text),
            Pending::Source(id, no) => self.source_refused(now, (id, no), number, code, text),
        }
    }

    /// Whether a node that does not speak v2 is asked in v1: never in a group (hostile: 116).
    pub(in crate::node::peer) fn falls_back(&self) -> bool {
        self.config.v1 && self.config.group.is_none()
    }

    /// The same for one address. Where v2 was spoken a failure is a failure, and no reason to speak in clear.
    pub(in crate::node::peer) fn falls_back_at(&self, addr: SocketAddr, now: Instant) -> bool {
        self.falls_back() && !self.contacts.book.is_modern(addr, now)
    }

    /// Says goodbye on all sessions.
    pub(in crate::node::peer) fn leave_sessions(&mut self, now: Instant) {
        let (sessions, mut cx) = self.talking(now);
        sessions.leave_all(&mut cx);
        self.sessions_events(now);
    }
}
