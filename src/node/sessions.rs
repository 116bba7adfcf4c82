//! Sessions with other nodes: which there are, and on which of them a node is asked. `T` is the tag of whoever asks.

pub(crate) mod ending;
pub(crate) mod event;
pub(crate) mod greeting;
pub(crate) mod outcome;
mod receiving;
mod sending;
pub(crate) mod session;
#[cfg(test)]
mod tests;

use crate::config::Limits;
use crate::machine::{ConnId, Deadline};
use crate::node::timers::Timers;
use crate::proto::v2::identity::NodeId;
use crate::time::Instant;
use event::Event;
use greeting::Greeter;
use outcome::Class;
use session::Session;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::net::SocketAddr;

/// Whoever asks something of a node; it comes back with the answer.
pub(crate) trait Tag: Copy + Ord + Debug {
    /// It waits for no node longer than for an answer.
    fn is_brief(self) -> bool;
}

/// All sessions, and those that are open by node: the last is the one that is asked.
#[derive(Debug)]
pub(crate) struct Sessions<T> {
    pub(crate) greeter: Greeter,
    by_conn: BTreeMap<ConnId, Box<Session<T>>>,
    by_node: BTreeMap<NodeId, Vec<ConnId>>,
    /// Sessions on the way, by the address dialled.
    dialling: BTreeMap<SocketAddr, ConnId>,
    timers: Timers<Due>,
    events: VecDeque<Event<T>>,
    /// Bytes of messages that wait to be sent on all of them.
    unsent: usize,
    /// No idle one is looked for before.
    idle_again: Instant,
    /// The node ends: so does each session that has said so.
    stopping: bool,
}

/// What may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Due {
    /// The session is to be looked at: it may be silent, idle, or too slow.
    Look(ConnId),
    /// The answer to something asked on it.
    Answer(ConnId),
}

/// Sessions with one node: two that were dialled at once, and as many that it has forgotten.
const SESSIONS_MAX: usize = 4;

impl<T: Tag> Sessions<T> {
    /// There are none.
    pub(crate) fn new(greeter: Greeter) -> Sessions<T> {
        Sessions {
            greeter,
            by_conn: BTreeMap::new(),
            by_node: BTreeMap::new(),
            dialling: BTreeMap::new(),
            timers: Timers::new(),
            events: VecDeque::new(),
            unsent: 0,
            idle_again: Instant::ZERO,
            stopping: false,
        }
    }

    /// What happened, in order.
    pub(crate) fn poll_event(&mut self) -> Option<Event<T>> {
        self.events.pop_front()
    }

    /// Nothing waits to be told.
    pub(crate) fn is_settled(&self) -> bool {
        self.events.is_empty()
    }

    /// A session that is to be dialled as soon as it may, to ask something on it.
    pub(crate) fn dial(&mut self, now: Instant, conn: ConnId, (addr, class): (SocketAddr, Class), tag: T) {
        let mut session = Session::new(addr, Some(class), now);
        session.pending.push(tag);
        self.insert(conn, session);
        self.dialling.insert(addr, conn);
    }

    /// The session on the way to this address.
    pub(crate) fn on_the_way_to(&mut self, addr: SocketAddr) -> Option<&mut Session<T>> {
        self.get_mut(*self.dialling.get(&addr)?)
    }

    /// Dials for this that still wait for their turn.
    pub(crate) fn queued_for(&self, tag: T) -> usize {
        self.by_conn.values().filter(|session| session.is_queued() && session.pending.contains(&tag)).count()
    }

    /// What is to be asked on a session that is open now.
    pub(crate) fn take_pending(&mut self, conn: ConnId) -> Option<Vec<T>> {
        let session = self.get_mut(conn).filter(|session| session.node().is_some())?;
        Some(std::mem::take(&mut session.pending))
    }

    /// Whatever is waited for at this address from now on does not wait for the session that was on the way there.
    pub(crate) fn arrived(&mut self, addr: SocketAddr) {
        self.dialling.remove(&addr);
    }

    /// The session on the way to this address may have ended.
    pub(crate) fn may_have_ended(&mut self, addr: SocketAddr) {
        if self.on_the_way_to(addr).is_none() {
            self.arrived(addr);
        }
    }

    /// The session with this node is open, and is the one that it is asked on. The oldest, if there are too many with it.
    fn opened(&mut self, node: NodeId, conn: ConnId) -> Option<ConnId> {
        let all = self.by_node.entry(node).or_default();
        all.push(conn);
        all.first().copied().filter(|_| all.len() > SESSIONS_MAX)
    }

    /// All that are open with this node.
    pub(crate) fn with(&self, node: NodeId) -> impl Iterator<Item = ConnId> {
        self.by_node.get(&node).into_iter().flatten().copied()
    }

    /// The node is asked on this one of its sessions.
    fn prefer(&mut self, node: NodeId, conn: ConnId) {
        if let Some(conns) = self.by_node.get_mut(&node) {
            conns.sort_by_key(|other| *other == conn);
        }
    }

    /// Nodes with an open session.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.by_node.keys()
    }

    /// The session with this node.
    pub(crate) fn of(&self, node: NodeId) -> Option<ConnId> {
        self.by_node.get(&node)?.last().copied()
    }

    fn insert(&mut self, conn: ConnId, session: Session<T>) {
        self.by_conn.insert(conn, Box::new(session));
    }

    pub(crate) fn get(&self, conn: ConnId) -> Option<&Session<T>> {
        self.by_conn.get(&conn).map(|session| &**session)
    }

    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Session<T>> {
        self.by_conn.get_mut(&conn).map(|session| &mut **session)
    }

    /// All that there are, on the way or open, by connection.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Session<T>)> {
        self.by_conn.iter().map(|(conn, session)| (*conn, &**session))
    }

    /// The connection is no session any more.
    fn remove(&mut self, conn: ConnId) -> Option<Session<T>> {
        self.timers.cancel(Due::Look(conn));
        self.timers.cancel(Due::Answer(conn));
        let session = *self.by_conn.remove(&conn)?;
        self.unsent -= session.counted;
        Some(session)
    }

    /// The session is looked at again when it may be idle, silent or too slow.
    fn arm(&mut self, limits: &Limits, conn: ConnId) {
        if let Some(session) = self.by_conn.get(&conn) {
            if session.node().is_some() {
                let (due, reason) = session.next_look(limits);
                self.timers.set(Due::Look(conn), due, reason);
            }
        }
    }

    /// When something is due next.
    pub(crate) fn poll_timeout(&mut self) -> Option<Deadline> {
        self.timers.next_deadline()
    }

    /// Timers that are armed.
    pub(crate) fn timers(&self) -> usize {
        self.timers.len()
    }

    /// The node is not to be asked on this one any more.
    fn forget(&mut self, node: NodeId, conn: ConnId) {
        if let Some(conns) = self.by_node.get_mut(&node) {
            conns.retain(|other| *other != conn);
            if conns.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }

    /// Nodes with a session.
    pub(crate) fn len(&self) -> usize {
        self.by_node.len()
    }

    /// Those that are open.
    fn all(&self) -> Vec<ConnId> {
        self.by_node.values().flatten().copied().collect()
    }
}
