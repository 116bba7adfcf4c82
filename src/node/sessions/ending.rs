//! The end of a session: deadlines, close reasons, losses; and dials that lead to none.

use super::event::Event;
use super::outcome::{Class, CloseReason, Dial, Stage, Unreached};
use super::session::{Session, State};
use super::{Due, Sessions, Tag};
use crate::machine::{ConnId, Fault, Output};
use crate::node::cx::Cx;
use crate::proto::v2::message::Message;
use crate::time::{Duration, Instant};
use log::debug;

/// How long a session that said `close` waits for the kernel to take it.
const CLOSING: Duration = Duration::from_secs(1);
/// While every connection is at work none is looked for that could give way.
const IDLE_PAUSE: Duration = Duration::from_millis(50);

/// What is given to the other side of a session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Giving {
    /// Bytes of files wait to be sent to it.
    pub(crate) waits: bool,
    /// The bound of the rate keeps them back.
    pub(crate) held: bool,
    /// Something is done for it.
    pub(crate) busy: bool,
}

impl<T: Tag> Sessions<T> {
    /// Carries out what is due.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Cx<'_>, giving: impl Fn(ConnId) -> Giving) {
        for _ in 0..cx.limits.timers_per_turn {
            let Some((key, due)) = self.timers.pop_due(cx.now) else { return };
            match key {
                Due::Answer(conn) => self.answers_late(cx, conn),
                Due::Look(_) if self.timers.put_off_if_late(key, due, cx.now) => {}
                Due::Look(conn) => self.timed_out(cx, conn, giving(conn)),
            }
        }
    }

    /// The time for answers to searches is over on a session, which itself may be well.
    fn answers_late(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(session) = self.by_conn.get_mut(&conn) else { return };
        let mut late = Vec::new();
        while let Some(&(due, number)) = session.due.front() {
            if due > cx.now {
                self.timers.set(Due::Answer(conn), due, "answer to a search");
                break;
            }
            session.due.pop_front();
            late.extend(session.asked.get(&number).map(|tag| (number, *tag)));
        }
        if !late.is_empty() {
            self.suspect(cx, conn);
        }
        for (number, tag) in late {
            self.take_back(cx, conn, number);
            self.events.push_back(Event::Late { tag });
        }
    }

    /// Whatever was waited for did not happen in time.
    pub(crate) fn timed_out(&mut self, cx: &mut Cx<'_>, conn: ConnId, giving: Giving) {
        let Some(session) = self.get_mut(conn) else { return };
        match session.state {
            State::Waiting => self.unreached(cx, conn, Unreached::NotTried),
            State::Dialing => self.unreached(cx, conn, Unreached::TimedOut),
            State::Greeting(_) if session.dialled.is_some() => self.unreached(cx, conn, Unreached::Silent),
            State::Greeting(_) | State::Mute | State::Leaving => self.end(cx, conn, Fault::TimedOut, false),
            State::Open(_) => self.look(cx, conn, giving),
        }
    }

    /// Looks at a session that is open: is it silent, idle, too slow?
    fn look(&mut self, cx: &mut Cx<'_>, conn: ConnId, giving: Giving) {
        let (now, limits) = (cx.now, cx.limits);
        let Some(session) = self.get_mut(conn) else { return };
        let held = giving.held && session.waits_for_share(giving.waits);
        let drains = match &mut session.pace {
            // We hold it back ourselves.
            Some((pace, look)) if *look <= now && held => {
                pace.begin_again(now);
                *look = pace.next_look(now);
                true
            }
            Some((pace, look)) if *look <= now => pace.look(now, limits).map(|next| *look = next).is_ok(),
            _ => true,
        };
        let silent = session.doubt.unwrap_or(session.heard + limits.silence_max) <= now;
        if !drains || silent {
            debug!("{conn:?}: {} is silent or takes nothing", session.peer);
            return self.lose(cx, conn, Fault::TimedOut, Some(true), true);
        }
        let asks = !session.asked.is_empty();
        if session.has_to_send() || asks || giving.busy {
            session.used = now;
        } else if session.used + limits.session_idle <= now {
            return self.quit(cx, conn, &CloseReason::Idle);
        }
        if !session.pinged && session.heard + limits.ping_after <= now {
            self.ping(cx, conn);
        }
        self.arm(limits, conn);
    }

    /// Says why, then ends the session. What waits for it is given back.
    pub(super) fn leave(&mut self, cx: &mut Cx<'_>, conn: ConnId, why: &CloseReason) -> Vec<T> {
        debug!("{conn:?}: leaving: {why:?}");
        self.tell(cx, conn, &Message::Close { reason: why.text() });
        let pending = self.retire(conn);
        if let Some(session) = self.get_mut(conn) {
            session.state = State::Leaving;
            self.timers.set(Due::Look(conn), cx.now + CLOSING, "closing");
        }
        pending
    }

    /// The same, and tells who waited.
    pub(crate) fn quit(&mut self, cx: &mut Cx<'_>, conn: ConnId, why: &CloseReason) {
        let Some(session) = self.get(conn) else { return };
        let (remote, lived) = (session.remote(), session.has_lived(cx.now, cx.limits.reply_deadline));
        let pending = self.leave(cx, conn, why);
        let fault = Fault::Reset;
        self.events.push_back(Event::Down { conn, remote, lived, silent: false, fault, pending });
    }

    /// The node ends: says so on all sessions. Who waited has gone before.
    pub(crate) fn leave_all(&mut self, cx: &mut Cx<'_>) {
        self.stopping = true;
        for conn in self.all() {
            self.leave(cx, conn, &CloseReason::Quit);
        }
    }

    /// We end the session, without a word.
    pub(crate) fn end(&mut self, cx: &mut Cx<'_>, conn: ConnId, fault: Fault, reset: bool) {
        self.lose(cx, conn, fault, Some(reset), false);
    }

    /// The session is over. `close`: the connection is ours to close, and how.
    fn lose(&mut self, cx: &mut Cx<'_>, conn: ConnId, fault: Fault, close: Option<bool>, silent: bool) {
        let Some(session) = self.get(conn) else { return };
        let (remote, lived) = (session.remote(), session.has_lived(cx.now, cx.limits.reply_deadline));
        let pending = self.gone(conn);
        if let Some(reset) = close {
            cx.push(Output::Close { conn, reset });
        }
        self.events.push_back(Event::Down { conn, remote, lived, silent, fault, pending });
    }

    /// Takes what waits for answers out of a session that ends, whoever ends it, and gives back all it holds.
    fn gone(&mut self, conn: ConnId) -> Vec<T> {
        let pending = self.retire(conn);
        if let Some(session) = self.remove(conn) {
            self.give_back(&session);
            let came = session.came().map(|(peer, accepted)| (peer.ip(), accepted));
            let socket = !session.is_queued();
            self.events.push_back(Event::Gone { conn, came, socket });
        }
        pending
    }

    /// The session is no longer one that can be asked; nothing of files is sent on it any more.
    fn retire(&mut self, conn: ConnId) -> Vec<T> {
        let Some(session) = self.get_mut(conn) else { return Vec::new() };
        let mut pending = std::mem::take(&mut session.pending);
        pending.extend(std::mem::take(&mut session.asked).into_values());
        if let Some(node) = session.node() {
            self.forget(node, conn);
            self.events.push_back(Event::Retired { conn });
        }
        pending
    }

    /// The other side finished sending.
    pub(crate) fn eof(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.over(cx, conn, Fault::Reset, true);
    }

    /// The world ended the connection.
    pub(crate) fn closed(&mut self, cx: &mut Cx<'_>, conn: ConnId, fault: Fault) {
        self.over(cx, conn, fault, false);
    }

    /// The other side ended it, by a word or without: `ours` is still to be closed.
    fn over(&mut self, cx: &mut Cx<'_>, conn: ConnId, fault: Fault, ours: bool) {
        let Some(session) = self.get(conn) else { return };
        let Some(dial) = session.dial(conn) else {
            return self.lose(cx, conn, fault, ours.then_some(false), false);
        };
        let pending = self.gone(conn);
        if ours {
            cx.push(Output::Close { conn, reset: false });
        }
        self.events.push_back(match dial.stage {
            Stage::Greeting => Event::HungUp { dial, fault, pending },
            _ => Event::Unreached { dial, why: Unreached::Failed(fault), pending },
        });
    }

    /// A dial or handshake of ours failed: ends it.
    pub(super) fn unreached(&mut self, cx: &mut Cx<'_>, conn: ConnId, why: Unreached) {
        let Some(dial) = self.get(conn).and_then(|session| session.dial(conn)) else { return };
        if dial.stage != Stage::Waiting {
            cx.push(Output::Close { conn, reset: false });
        }
        let pending = self.gone(conn);
        self.events.push_back(Event::Unreached { dial, why, pending });
    }

    /// The session on which nothing was under way for longest: it gives way to somebody who waits. Where there is none it is
    /// not looked for again at once, since that takes a look at every connection.
    /// `came`: only among those that came in.
    pub(crate) fn idlest(
        &mut self,
        now: Instant,
        came: bool,
        is_busy: impl Fn(ConnId) -> bool,
    ) -> Option<ConnId> {
        if now < self.idle_again {
            return None;
        }
        let may = |session: &Session<T>| session.is_idle() && (!came || session.came().is_some());
        let idle = self.iter().filter(|(_, session)| may(session));
        let idle = idle.map(|(conn, session)| (session.used, conn)).filter(|(_, conn)| !is_busy(*conn));
        let idlest = idle.min().map(|(_, conn)| conn);
        if idlest.is_none() {
            self.idle_again = now + IDLE_PAUSE;
        }
        idlest
    }
}

impl<T> Session<T> {
    /// The dial of ours that has led to no session so far.
    fn dial(&self, conn: ConnId) -> Option<Dial> {
        let stage = match self.state {
            State::Waiting => Stage::Waiting,
            State::Dialing => Stage::Dialing,
            State::Greeting(_) => Stage::Greeting,
            _ => return None,
        };
        let class: Class = self.dialled?;
        Some(Dial { conn, addr: self.peer, class, stage, bound: self.bound })
    }
}
