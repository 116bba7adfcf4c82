//! How a node is reached: by the session there is, or by a dial to the best of its addresses; and what becomes of those
//! who wait for that. Sessions are known by the node's key, so that a node reached in several ways is one node.

use super::{Conn, Peer};
use crate::machine::{ConnId, Fault};
use crate::node::api::{Code, Failure};
use crate::node::gate::source;
use crate::node::ids::{JobId, TransferId};
use crate::node::sessions::outcome::Class;
use crate::node::sessions::outcome::{CloseReason, Unreached};
use crate::node::sessions::session;
use crate::node::swarm::SourceNo;
use crate::proto::address::{Learned, admit};
use crate::proto::escape::{cut, for_terminal};
use crate::proto::v2::handshake::{Abilities, Mismatch};
use crate::proto::v2::identity::NodeId;
use crate::proto::v2::message;
use crate::time::Instant;
use log::debug;
use std::net::SocketAddr;

/// What somebody waits for of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pending {
    /// The files that a search of ours is for.
    Search(JobId),
    /// The next page of what it shares.
    Browse(JobId),
    /// What it has under the name of a download.
    Name(TransferId),
    /// What a download asks of one of its sources.
    Source(TransferId, SourceNo),
}

/// A session whose answers are for these.
pub(super) type Session = session::Session<Pending>;

/// A session that ends: where the node can be reached, who it is, and whether it had been open for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    addr: SocketAddr,
    node: Option<NodeId>,
    old: bool,
}

impl Pending {
    /// Whether it is the same whoever answers: content is verified, and a listing promises nothing. A name may stand for
    /// anything, so it is asked for only where a dial met the node.
    fn trusts_claims(self) -> bool {
        !matches!(self, Pending::Name(_))
    }
}

impl Peer {
    /// Asks the node at `addr` for something: on the session with it, or on one to be made.
    pub(super) fn reach(&mut self, now: Instant, addr: SocketAddr, class: Class, request: Pending) {
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
        let mut session = Session::new(addr, Some(class), now);
        session.pending.push(request);
        let conn = ConnId(self.conns.insert(Conn::Session));
        self.sessions.dial(conn, addr, session);
        self.contacts.dialer.enqueue(now, conn, addr, class);
    }

    /// The node that was expected at `addr` did not answer: whichever is there is asked.
    pub(super) fn reach_anybody(
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
    pub(super) fn session_claiming(&self, addr: SocketAddr) -> Option<ConnId> {
        let conn = self.sessions.of(self.contacts.book.get(addr)?.whose()?)?;
        (self.listens_at(conn) == Some(addr)).then_some(conn)
    }

    /// Where the node of a session can be dialled: where it was met, or else where it says.
    pub(super) fn listens_at(&self, conn: ConnId) -> Option<SocketAddr> {
        let session = self.sessions.get(conn)?;
        self.contacts.book.best(session.node()?).or(session.listens)
    }

    /// The nodes that were met, or have a session with us, whose short form begins so.
    pub(super) fn nodes_named(&self, prefix: &str) -> Vec<NodeId> {
        let mut nodes = self.contacts.book.by_prefix(prefix);
        let here = self.sessions.nodes().filter(|id| id.matches_prefix(prefix));
        nodes.extend(here);
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Where a node can be dialled.
    pub(super) fn addr_of_node(&self, node: NodeId) -> Option<SocketAddr> {
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

    /// The handshake is over: the node at the other end is who it says.
    pub(super) fn session_open(
        &mut self,
        now: Instant,
        conn: ConnId,
        theirs: &Abilities,
        mismatch: Option<Mismatch>,
    ) {
        let Some(session) = self.session_mut(conn) else { return };
        let Some(node) = session.node() else { return };
        let (peer, dialled) = (session.peer, session.dialled.is_some());
        if let Some(accepted) = session.accepted {
            self.gate.authenticated(peer.ip(), accepted, conn);
            self.unfinished.give_back(source(peer.ip()));
        }
        self.sessions.clear_deadline(conn);
        // With its zone, if it has one.
        let mut at = peer;
        at.set_port(theirs.port);
        if dialled {
            self.sessions.arrived(peer);
        }
        if let Some(versions) = mismatch {
            let pending = self.session_leave(now, conn, &CloseReason::Version(versions));
            return self.unreached_all(now, peer, pending, Unreached::Version(versions));
        }
        if dialled {
            self.contacts.met(peer, node, now);
        } else if let Ok(addr) = admit(at, Learned::Observed, &self.here()) {
            self.contacts.book.claimed(addr, node, now);
            if let Some(session) = self.session_mut(conn) {
                session.listens = Some(addr);
            }
        }
        debug!("{conn:?}: session with {node} at {peer}");
        if let Some(oldest) = self.sessions.opened(node, conn) {
            self.session_quit(now, oldest, &CloseReason::Duplicate);
        }
        self.one_of_two(now, conn, node);
        self.sessions.arm(&self.config.limits, conn);
        // Wherever they went: the session that stayed serves them.
        let pending =
            self.session_mut(conn).map(|session| std::mem::take(&mut session.pending)).unwrap_or_default();
        for request in pending {
            self.dispatch(now, conn, request);
        }
        self.met_a_node(now, conn);
    }

    /// One session is enough for two nodes. Each side ends dials of its own only, so that both cannot end both: where
    /// both dialled at once, the dial of the lower key stays (hostile: 113); later ones yield to what there is.
    fn one_of_two(&mut self, now: Instant, conn: ConnId, node: NodeId) {
        let others: Vec<ConnId> = self.sessions.with(node).filter(|other| *other != conn).collect();
        let lower = self.identity.id() < node;
        let ours = self.session_mut(conn).is_some_and(|session| session.dialled.is_some());
        for other in others {
            let Some(session) = self.sessions.get_mut(other) else { continue };
            let at_once = session.is_fresh(now);
            match (ours, session.dialled.is_some()) {
                // Or it lost its memory a moment after we dialled: what is alive says so.
                (true, false) if at_once && lower => self.session_suspect(now, other),
                (true, _) => return self.yield_to(now, conn, other),
                (false, true) if at_once && lower => {
                    // Theirs will go; ours is asked meanwhile.
                    self.sessions.prefer(node, other);
                    self.session_suspect(now, other);
                }
                (false, true) if at_once => self.yield_to(now, other, conn),
                // Who has a session does not dial, unless it lost it with its memory.
                (false, _) => self.session_suspect(now, other),
            }
        }
    }

    /// Ends our dial `loser`; what it was to bring comes by `winner`.
    fn yield_to(&mut self, now: Instant, loser: ConnId, winner: ConnId) {
        for request in self.session_leave(now, loser, &CloseReason::Duplicate) {
            self.dispatch(now, winner, request);
        }
    }

    /// Where somebody was who is about to be lost, and whether that session was more than a beginning.
    pub(super) fn losing(&mut self, now: Instant, conn: ConnId) -> Lost {
        let (addr, limits) = (self.addr_of(conn), &self.config.limits);
        match self.sessions.get(conn) {
            Some(session) => {
                let node = session.node();
                Lost { addr, node, old: session.has_lived(now, limits.reply_deadline) }
            }
            _ => Lost { addr, node: None, old: false },
        }
    }

    /// What waited for a session that was open asks again, or fails.
    pub(super) fn session_lost(&mut self, now: Instant, lost: &Lost, pending: Vec<Pending>, fault: Fault) {
        match lost.node.and_then(|node| self.sessions.of(node)) {
            Some(other) => pending.into_iter().for_each(|request| self.dispatch(now, other, request)),
            None if lost.old && !self.stopping => {
                self.unreached_all(now, lost.addr, pending, Unreached::Lost(fault));
            }
            None => self.unreached_all(now, lost.addr, pending, Unreached::Failed(fault)),
        }
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
        // A download counts its losses, so that it ends.
        let counts = matches!(request, Pending::Name(_) | Pending::Source(..));
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
    pub(super) fn unreached_all(
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
    pub(super) fn refused(
        &mut self,
        now: Instant,
        conn: ConnId,
        number: u32,
        code: message::Code,
        text: &str,
    ) {
        let addr = self.addr_of(conn);
        let request = self.session_mut(conn).and_then(|session| session.asked.remove(&number));
        match request {
            Some(Pending::Search(job)) => self.search_refused(now, job),
            Some(Pending::Browse(job)) => {
                let words = for_terminal(cut(text, message::TEXT_MAX));
                let code = if code == message::Code::Gone { Code::NotFound } else { Code::Refused };
                self.finish(now, job, Err(Failure::new(code, format!("{addr} refused: {words}"))));
            }
            Some(Pending::Name(id)) => self.naming_refused(now, id, code, text),
            Some(Pending::Source(id, no)) => self.source_refused(now, (id, no), number, code, text),
            None => self.unsolicited(now, conn, number),
        }
    }

    /// Whether a node that does not speak v2 is asked in v1: never in a group (hostile: 116).
    pub(super) fn falls_back(&self) -> bool {
        self.config.v1 && self.config.group.is_none()
    }

    /// The same for one address. Where v2 was spoken a failure is a failure, and no reason to speak in clear.
    pub(super) fn falls_back_at(&self, addr: SocketAddr, now: Instant) -> bool {
        self.falls_back() && !self.contacts.book.is_modern(addr, now)
    }

    /// Says goodbye on all sessions.
    pub(super) fn leave_sessions(&mut self, now: Instant) {
        for conn in self.sessions.all() {
            self.session_leave(now, conn, &CloseReason::Quit);
        }
    }
}
