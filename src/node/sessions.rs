//! Sessions with other nodes: which there are, and on which of them a node is asked. `T` is the tag of whoever asks.

pub(crate) mod outcome;
mod sending;
pub(crate) mod session;

use crate::config::Limits;
use crate::machine::{ConnId, Deadline};
use crate::node::timers::Timers;
use crate::proto::v2::identity::NodeId;
use crate::time::Instant;
use session::Session;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// All sessions, and those that are open by node: the last is the one that is asked.
#[derive(Debug)]
pub(crate) struct Sessions<T> {
    links: BTreeMap<ConnId, Box<Session<T>>>,
    by_node: BTreeMap<NodeId, Vec<ConnId>>,
    /// Sessions on the way, by the address dialled.
    dialling: BTreeMap<SocketAddr, ConnId>,
    timers: Timers<Due>,
    /// Bytes of messages that wait to be sent on all of them.
    unsent: usize,
    /// No idle one is looked for before.
    pub(crate) idle_again: Instant,
}

/// What may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Due {
    /// The session is to be looked at: it may be silent, idle, or too slow.
    Look(ConnId),
    /// The answer to something asked on it.
    Answer(ConnId),
}

/// Sessions with one node: two that were dialled at once, and as many that it has forgotten.
const SESSIONS_MAX: usize = 4;

impl<T: Copy> Sessions<T> {
    /// A session that is to be dialled.
    pub(crate) fn dial(&mut self, conn: ConnId, addr: SocketAddr, session: Session<T>) {
        self.insert(conn, session);
        self.dialling.insert(addr, conn);
    }

    /// The session on the way to this address.
    pub(crate) fn on_the_way_to(&mut self, addr: SocketAddr) -> Option<&mut Session<T>> {
        self.get_mut(*self.dialling.get(&addr)?)
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
    pub(crate) fn opened(&mut self, node: NodeId, conn: ConnId) -> Option<ConnId> {
        let all = self.by_node.entry(node).or_default();
        all.push(conn);
        all.first().copied().filter(|_| all.len() > SESSIONS_MAX)
    }

    /// All that are open with this node.
    pub(crate) fn with(&self, node: NodeId) -> impl Iterator<Item = ConnId> {
        self.by_node.get(&node).into_iter().flatten().copied()
    }

    /// The node is asked on this one of its sessions.
    pub(crate) fn prefer(&mut self, node: NodeId, conn: ConnId) {
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

    pub(crate) fn insert(&mut self, conn: ConnId, session: Session<T>) {
        self.links.insert(conn, Box::new(session));
    }

    pub(crate) fn get(&self, conn: ConnId) -> Option<&Session<T>> {
        self.links.get(&conn).map(|session| &**session)
    }

    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Session<T>> {
        self.links.get_mut(&conn).map(|session| &mut **session)
    }

    /// All that there are, on the way or open, by connection.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Session<T>)> {
        self.links.iter().map(|(conn, session)| (*conn, &**session))
    }

    /// The connection is no session any more.
    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Session<T>> {
        self.timers.cancel(Due::Look(conn));
        self.timers.cancel(Due::Answer(conn));
        let session = *self.links.remove(&conn)?;
        self.unsent -= session.counted;
        Some(session)
    }

    /// The session is looked at again when it may be idle, silent or too slow.
    pub(crate) fn arm(&mut self, limits: &Limits, conn: ConnId) {
        if let Some(session) = self.links.get(&conn) {
            if session.node().is_some() {
                let (due, reason) = session.next_look(limits);
                self.timers.set(Due::Look(conn), due, reason);
            }
        }
    }

    /// The session has until then, whatever it does.
    pub(crate) fn set_deadline(&mut self, conn: ConnId, due: Instant, reason: &'static str) {
        self.timers.set(Due::Look(conn), due, reason);
    }

    /// There is no such deadline any more.
    pub(crate) fn clear_deadline(&mut self, conn: ConnId) {
        self.timers.cancel(Due::Look(conn));
    }

    /// What is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Due> {
        loop {
            let (key, due) = self.timers.pop_due(now)?;
            if matches!(key, Due::Answer(_)) || !self.timers.put_off_if_late(key, due, now) {
                return Some(key);
            }
        }
    }

    /// Requests on a session whose answers are late. When that is so for the next one is asked again.
    pub(crate) fn late(&mut self, now: Instant, conn: ConnId) -> Vec<(u32, T)> {
        let Some(session) = self.links.get_mut(&conn) else { return Vec::new() };
        let mut late = Vec::new();
        while let Some(&(due, number)) = session.due.front() {
            if due > now {
                self.timers.set(Due::Answer(conn), due, "answer to a search");
                break;
            }
            session.due.pop_front();
            late.extend(session.asked.get(&number).map(|tag| (number, *tag)));
        }
        late
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
    pub(crate) fn forget(&mut self, node: NodeId, conn: ConnId) {
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
    pub(crate) fn all(&self) -> Vec<ConnId> {
        self.by_node.values().flatten().copied().collect()
    }
}

impl<T> Default for Sessions<T> {
    fn default() -> Sessions<T> {
        Sessions {
            links: BTreeMap::new(),
            by_node: BTreeMap::new(),
            dialling: BTreeMap::new(),
            timers: Timers::new(),
            unsent: 0,
            idle_again: Instant::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::machine::Id;
    use crate::node::sessions::outcome::Class;
    use crate::time::Duration;

    fn conn(n: u32) -> ConnId {
        ConnId(Id { index: n, generation: 0 })
    }

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn addr() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 9000))
    }

    fn session() -> Session<char> {
        Session::new(addr(), Some(Class::Near), Instant::ZERO)
    }

    #[test]
    fn the_last_that_opened_is_asked_and_the_oldest_of_too_many_goes() {
        let mut sessions = Sessions::default();
        for n in 1..=6 {
            sessions.insert(conn(n), session());
            let oldest = sessions.opened(node(1), conn(n));
            assert_eq!(oldest, n.checked_sub(SESSIONS_MAX as u32).filter(|n| *n > 0).map(conn));
            oldest.into_iter().for_each(|oldest| sessions.forget(node(1), oldest));
            assert_eq!(sessions.of(node(1)), Some(conn(n)));
        }
        sessions.prefer(node(1), conn(4));
        assert_eq!(sessions.with(node(1)).collect::<Vec<_>>(), [3, 5, 6, 4].map(conn));
        sessions.forget(node(1), conn(4));
        assert_eq!((sessions.of(node(1)), sessions.of(node(2)), sessions.len()), (Some(conn(6)), None, 1));
        assert_eq!(sessions.iter().count(), 6, "that a node is not asked on it ends no session");
        [3, 5, 6].into_iter().for_each(|n| sessions.forget(node(1), conn(n)));
        assert!(sessions.len() == 0 && sessions.all().is_empty() && sessions.nodes().next().is_none());
    }

    #[test]
    fn who_wants_something_at_an_address_waits_for_the_dial_that_is_on_the_way() {
        let mut sessions = Sessions::default();
        assert!(sessions.on_the_way_to(addr()).is_none());
        sessions.dial(conn(1), addr(), session());
        sessions.on_the_way_to(addr()).unwrap().pending.push('a');
        sessions.may_have_ended(addr());
        assert_eq!(sessions.get(conn(1)).unwrap().pending, ['a']);
        sessions.remove(conn(1));
        sessions.may_have_ended(addr());
        assert!(sessions.dialling.is_empty());
        sessions.dial(conn(2), addr(), session());
        sessions.arrived(addr());
        assert!(sessions.on_the_way_to(addr()).is_none() && sessions.get(conn(2)).is_some());
    }

    #[test]
    fn a_request_has_a_number_of_its_own_and_what_was_taken_back_is_nobodys_fault() {
        let mut session = session();
        let (a, ping, b) =
            (session.ask(Instant::ZERO, 'a'), session.next_number(), session.ask(Instant::ZERO, 'b'));
        assert!(a != b && a != ping && b != ping && session.asked[&a] == 'a');
        session.take_back(a);
        assert!(!session.asked.contains_key(&a) && !(0..1000).any(|_| session.is_flooded_by(a)));
        let borne = (0..1000).take_while(|_| !session.is_flooded_by(ping)).count();
        assert_eq!(borne, 100);
        // Who asks again begins anew.
        session.ask(Instant::ZERO, 'c');
        assert!(!session.is_flooded_by(ping));
        // What was taken back long ago is remembered no more.
        (1000..1256).for_each(|number| session.take_back(number));
        assert_eq!((0..1000).take_while(|_| !session.is_flooded_by(a)).count(), 99);
    }

    #[test]
    fn a_session_is_looked_at_when_it_may_be_idle_silent_or_doubted() {
        let limits = Limits::desktop();
        let at = |time: Duration| Instant::ZERO + time;
        let mut session = session();
        assert_eq!(session.next_look(&limits), (at(limits.ping_after), "ping"));
        session.pinged = true;
        assert_eq!(session.next_look(&limits), (at(limits.silence_max), "silent session"));
        session.suspect(Instant::ZERO, &limits);
        session.suspect(at(Duration::from_secs(1)), &limits);
        assert_eq!(
            session.next_look(&limits),
            (at(limits.reply_deadline), "doubted session"),
            "the first doubt counts"
        );
        session.doubt = None;
        session.heard = at(limits.session_idle);
        assert_eq!(session.next_look(&limits), (at(limits.session_idle), "idle session"));
        session.watch(Instant::ZERO, &limits);
        session.watch(at(Duration::from_secs(5)), &limits);
        assert_eq!(session.next_look(&limits), (at(limits.drain_interval), "drain"), "since the first byte");
    }
}
