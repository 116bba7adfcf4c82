//! The end of a session: deadlines, farewells, losses; and what becomes of those who wait for it.

use super::CLOSING;
use crate::machine::{ConnId, Fault, Output};
use crate::node::gate::source;
use crate::node::peer::Peer;
use crate::node::peer::reach::{Pending, Session};
use crate::node::sessions::outcome::Class;
use crate::node::sessions::outcome::{CloseReason, Unreached};
use crate::node::sessions::session::State;
use crate::proto::v2::message::Message;
use crate::time::{Duration, Instant};
use log::debug;
use std::net::SocketAddr;

/// While every connection is at work none is looked for that could give way.
const IDLE_PAUSE: Duration = Duration::from_millis(50);

impl Peer {
    pub(in crate::node::peer) fn session_timeout(&mut self, now: Instant, conn: ConnId) {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        match session.state {
            State::Waiting => self.unreached(now, conn, Unreached::NotTried),
            State::Dialing => self.unreached(now, conn, Unreached::TimedOut),
            State::Greeting(_) if session.dialled.is_some() => self.unreached(now, conn, Unreached::Silent),
            State::Greeting(_) | State::Mute | State::Leaving => {
                self.session_end(now, conn, Fault::TimedOut, false);
            }
            State::Open(_) => {
                let held = session.waits_for_share(self.uploads.next_range(conn).is_some())
                    && self.shares.allowance(conn) == 0;
                let drains = match &mut session.pace {
                    // We hold it back ourselves.
                    Some((pace, look)) if *look <= now && held => {
                        pace.begin_again(now);
                        *look = pace.next_look(now);
                        true
                    }
                    Some((pace, look)) if *look <= now => {
                        pace.look(now, limits).map(|next| *look = next).is_ok()
                    }
                    _ => true,
                };
                let silent = session.doubt.unwrap_or(session.heard + limits.silence_max);
                if !drains || silent <= now {
                    debug!("{conn:?}: {} is silent or takes nothing", session.peer);
                    let addr = self.addr_of(conn);
                    self.contacts.book.fails(addr);
                    return self.session_end(now, conn, Fault::TimedOut, true);
                }
                let waits = self.uploads.is_busy(conn);
                let asks = !session.asked.is_empty();
                let busy = session.has_to_send() || asks || waits;
                if busy {
                    session.used = now;
                } else if session.used + limits.session_idle <= now {
                    return self.session_quit(now, conn, &CloseReason::Idle);
                }
                if !session.pinged && session.heard + limits.ping_after <= now {
                    let (sessions, mut cx) = self.talking(now);
                    sessions.ping(&mut cx, conn);
                }
                self.sessions.arm(&self.config.limits, conn);
            }
        }
    }

    /// The other side has our last word.
    pub(in crate::node::peer) fn session_left(&mut self, now: Instant, conn: ConnId) {
        if self.stopping {
            self.session_end(now, conn, Fault::Reset, false);
        } else {
            // Whoever still sends must be able to read why: what it sends is read for a moment, and thrown away.
            self.outputs.push_back(Output::Shutdown { conn });
        }
    }

    /// Says why, then ends the session. What waits for it is given back.
    pub(in crate::node::peer) fn session_leave(
        &mut self,
        now: Instant,
        conn: ConnId,
        why: &CloseReason,
    ) -> Vec<Pending> {
        debug!("{conn:?}: leaving: {why:?}");
        self.tell_node(now, conn, &Message::Close { reason: why.text() });
        let pending = self.session_retire(now, conn);
        if let Some(session) = self.session_mut(conn) {
            session.state = State::Leaving;
            self.sessions.set_deadline(conn, now + CLOSING, "closing");
        }
        pending
    }

    /// The same, where what waits for it cannot be answered any more.
    pub(in crate::node::peer) fn session_quit(&mut self, now: Instant, conn: ConnId, why: &CloseReason) {
        if self.session_mut(conn).is_none() {
            return;
        }
        let lost = self.losing(now, conn);
        let pending = self.session_leave(now, conn, why);
        self.session_lost(now, &lost, pending, Fault::Reset);
    }

    /// We end the session, without a word. What waits for it is told, or asks elsewhere.
    pub(in crate::node::peer) fn session_end(
        &mut self,
        now: Instant,
        conn: ConnId,
        fault: Fault,
        reset: bool,
    ) {
        if self.session_mut(conn).is_none() {
            return;
        }
        let lost = self.losing(now, conn);
        let pending = self.session_gone(now, conn);
        self.outputs.push_back(Output::Close { conn, reset });
        self.session_lost(now, &lost, pending, fault);
    }

    /// Takes what waits for answers out of a session that ends, whoever ends it, and gives back all it holds.
    pub(in crate::node::peer) fn session_gone(&mut self, now: Instant, conn: ConnId) -> Vec<Pending> {
        let pending = self.session_retire(now, conn);
        if let Some(session) = self.sessions.remove(conn) {
            self.conns.remove(conn.0);
            if let Some(accepted) = session.accepted {
                self.gate.leave(session.peer.ip(), accepted, conn);
                if session.cost_nothing() {
                    self.unfinished.give_back(source(session.peer.ip()));
                }
            }
            if !matches!(session.state, State::Waiting) {
                self.socket_closed();
            }
        }
        pending
    }

    /// The session is no longer one that can be asked; what it reads for the other side is closed.
    pub(super) fn session_retire(&mut self, now: Instant, conn: ConnId) -> Vec<Pending> {
        let Some(session) = self.session_mut(conn) else { return Vec::new() };
        let mut pending = std::mem::take(&mut session.pending);
        pending.extend(std::mem::take(&mut session.asked).into_values());
        let node = session.node();
        // A download that waits for the disk, or for the other side to hash, has asked for nothing just now.
        pending.extend(self.asking_on(conn));
        pending.sort_unstable();
        // A download asks for many things at once, and is told of the loss once; a search that asks twice waits twice.
        pending.dedup_by(|a, b| a == b && matches!(a, Pending::Name(_) | Pending::Source(..)));
        let (uploads, mut cx, _) = self.giving(now);
        uploads.gone(&mut cx, conn);
        self.shares.gone(conn);
        if let Some(node) = node {
            self.sessions.forget(node, conn);
        }
        pending
    }

    /// Something on the way changed bytes, or the other side is broken: nothing of the record was used.
    pub(super) fn session_broken(&mut self, now: Instant, conn: ConnId) {
        if let Some(session) = self.session_mut(conn) {
            let peer = session.peer;
            self.say_rarely(now, "a session was broken on the way", peer);
        }
        self.session_end(now, conn, Fault::Reset, true);
    }

    pub(in crate::node::peer) fn session_eof(&mut self, now: Instant, conn: ConnId) {
        self.session_over(now, conn, Fault::Reset, true);
    }

    /// The world ended the connection.
    pub(in crate::node::peer) fn session_closed(&mut self, now: Instant, conn: ConnId, fault: Fault) {
        self.session_over(now, conn, fault, false);
    }

    /// The other side ended it, by a word or without: `ours` is still to be closed.
    pub(super) fn session_over(&mut self, now: Instant, conn: ConnId, fault: Fault, ours: bool) {
        let Some(session) = self.session_mut(conn) else { return };
        let (addr, class) = (session.peer, session.dialled);
        let bound = session.bound && matches!(session.state, State::Greeting(_));
        let why = match session.state {
            State::Dialing => Some(Unreached::Failed(fault)),
            State::Greeting(_) if class.is_some() => Some(self.hung_up(now, addr, fault)),
            _ => None,
        };
        if let (Some(class), Some(Unreached::NotOurs)) = (class, &why) {
            self.contacts.dialer.penalise(addr, class, now);
        }
        let Some(session) = self.session_mut(conn) else { return };
        if let (Some(class), State::Dialing) = (class, &session.state) {
            self.contacts.dialer.landed(addr, class, false, now);
        }
        let lost = self.losing(now, conn);
        let pending = self.session_gone(now, conn);
        if ours {
            self.outputs.push_back(Output::Close { conn, reset: false });
        }
        match why {
            // Another node may be there now, which does not even know that it was asked.
            Some(_) if bound && !self.stopping => {
                self.reach_anybody(now, addr, class.unwrap_or(Class::Near), pending);
            }
            Some(why) => self.unreached_all(now, addr, pending, why),
            None => self.session_lost(now, &lost, pending, fault),
        }
    }

    /// Somebody hung up on a handshake of ours, without a word.
    fn hung_up(&mut self, now: Instant, addr: SocketAddr, fault: Fault) -> Unreached {
        if self.contacts.book.hung_up(addr, now) && self.falls_back_at(addr, now) {
            return Unreached::Old;
        }
        // A node that ends may take one more connection before it is gone.
        if self.contacts.book.is_modern(addr, now) { Unreached::Failed(fault) } else { Unreached::NotOurs }
    }

    /// A dial or handshake of ours came to nothing: ends it and tells those who waited.
    pub(super) fn unreached(&mut self, now: Instant, conn: ConnId, why: Unreached) {
        let Some(session) = self.session_mut(conn) else { return };
        let (addr, class) = (session.peer, session.dialled.unwrap_or(Class::Near));
        match session.state {
            State::Waiting => {
                self.contacts.dialer.withdraw(conn);
            }
            State::Dialing => {
                self.contacts.dialer.landed(addr, class, false, now);
                self.outputs.push_back(Output::Close { conn, reset: false });
            }
            _ => {
                // An old node is no stranger's trap: it is asked in its own way next.
                let old = why == Unreached::Old && self.falls_back_at(addr, now);
                if why != Unreached::Myself && !old {
                    self.contacts.dialer.penalise(addr, class, now);
                }
                self.outputs.push_back(Output::Close { conn, reset: false });
            }
        }
        let pending = self.session_gone(now, conn);
        self.unreached_all(now, addr, pending, why);
    }

    /// The session on which nothing was under way for longest: it gives way to somebody who waits. Where there is none it is
    /// not looked for again at once, since that takes a look at every connection.
    /// `came`: only among those that came in.
    pub(in crate::node::peer) fn idlest_session(&mut self, now: Instant, came: bool) -> Option<ConnId> {
        if now < self.sessions.idle_again {
            return None;
        }
        let idlest = self.find_idlest(came);
        if idlest.is_none() {
            self.sessions.idle_again = now + IDLE_PAUSE;
        }
        idlest
    }

    fn find_idlest(&self, came: bool) -> Option<ConnId> {
        let may = |session: &Session| session.is_idle() && (!came || session.came().is_some());
        let idle = self.sessions.iter().filter(|(_, session)| may(session));
        let idle = idle.map(|(conn, session)| (session.used, conn));
        idle.filter(|(_, conn)| !self.uploads.is_busy(*conn)).min().map(|(_, conn)| conn)
    }

    /// Where no socket is free an idle session gives way to a dial that waits.
    pub(in crate::node::peer) fn make_room_for_dials(&mut self, now: Instant) {
        if self.room() > 0 || !self.contacts.dialer.has_ready() {
            return;
        }
        if let Some(idle) = self.idlest_session(now, false) {
            self.session_end(now, idle, Fault::Refused, false);
        }
    }
}
