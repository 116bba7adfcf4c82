//! What becomes of a download when its source refuses, is lost, lies or sleeps.

use super::{LATER, LATER_MAX, LOSSES_MAX, RETURN, Step, TEXT_MAX};
use crate::machine::ConnId;
use crate::node::pace::Slow;
use crate::node::peer::reach::{Unreached, Wish};
use crate::node::peer::report::{Code, Failure, bytes as sized};
use crate::node::peer::transfers::TransferId;
use crate::node::peer::{Peer, Timer};
use crate::proto::content::PIECE;
use crate::proto::escape::{cut, for_terminal};
use crate::proto::v2::message;
use crate::time::Instant;
use std::net::SocketAddr;
use std::ops::Range;

impl Peer {
    /// The other side refused a request.
    pub(in crate::node::peer) fn refused(
        &mut self,
        now: Instant,
        conn: ConnId,
        number: u32,
        code: message::Code,
        text: &str,
    ) {
        let addr = self.addr_of(conn);
        let wish = self.session_mut(conn).and_then(|session| session.asked.remove(&number));
        if let (Some(Wish::Pull(id)), message::Code::Busy | message::Code::Limit) = (wish, code) {
            if self.pull_later(now, id, number) {
                return;
            }
        }
        let words = for_terminal(cut(text, TEXT_MAX));
        let code = if code == message::Code::Gone { Code::NotFound } else { Code::Refused };
        let failure = Failure::new(code, format!("{addr} refused: {words}"));
        match wish {
            Some(Wish::Search(job)) => self.search_refused(now, job, addr),
            Some(Wish::Browse(job)) => self.finish(now, job, Err(failure)),
            Some(Wish::Pull(id)) => self.pull_lost(now, id, failure),
            None => self.unasked(now, conn, number),
        }
    }

    /// The source has too much to do for this request: what it was for is asked again when another one is answered, or in
    /// a moment. Says whether that makes sense.
    pub(super) fn pull_later(&mut self, now: Instant, id: TransferId, number: u32) -> bool {
        let Some(pull) = self.pull_mut(id) else { return false };
        pull.refusals += 1;
        if pull.refusals > LATER_MAX {
            return false;
        }
        let mut behind = Vec::new();
        if let Some(at) = pull.asked.iter().position(|(asked, _)| *asked == number) {
            let refused: Vec<(u32, Range<u64>)> = pull.asked.drain(at..).collect();
            pull.wanted = refused.first().map_or(pull.got, |(_, range)| range.start);
            behind.extend(refused.iter().skip(1).map(|(number, _)| *number));
        } else if let Some(list) = &mut pull.list {
            list.restart();
        }
        pull.held = true;
        if pull.asked.is_empty() {
            pull.step = Step::Later;
            self.timers.set(Timer::Pull(id), now + LATER, "the source has too much to do");
        }
        let conn = self.pull_mut(id).and_then(|pull| pull.conn);
        for (conn, number) in
            conn.into_iter().flat_map(|conn| behind.iter().map(move |number| (conn, *number)))
        {
            self.cancel_request(now, conn, number);
        }
        true
    }

    /// The source was not reached, or is lost.
    pub(in crate::node::peer) fn pull_unreached(
        &mut self,
        now: Instant,
        id: TransferId,
        addr: SocketAddr,
        why: Unreached,
    ) {
        let falls_back = self.falls_back_at(addr);
        let Some(from) = self.source_of(id) else { return };
        let Some(pull) = self.pull_mut(id) else { return };
        pull.conn = None;
        log::debug!("{from}: the session with {addr} is gone: {why:?}");
        let failure = self.unreached_failure(from, why);
        let Some(pull) = self.pull_mut(id) else { return };
        if why == Unreached::Foreign && pull.content.is_none() && falls_back {
            return self.fetch_old(now, id);
        }
        if let Unreached::Lost(_) = why {
            return self.pull_again(now, id, addr, failure);
        }
        match self.known.elsewhere(addr) {
            Some(next) => self.pull_again(now, id, next, failure),
            None => self.pull_lost(now, id, failure),
        }
    }

    /// The source may be reached by a new session, or at another of its addresses; not for ever.
    pub(super) fn pull_again(&mut self, now: Instant, id: TransferId, at: SocketAddr, failure: Failure) {
        let Some(pull) = self.pull_mut(id) else { return };
        if pull.losses >= LOSSES_MAX {
            return self.pull_lost(now, id, failure);
        }
        pull.losses += 1;
        self.pull_let_go(now, id);
        self.set_source(id, at);
        self.pull_start(now, id);
    }

    /// This source gives no more: the next one, the same one again, or the end.
    pub(super) fn pull_lost(&mut self, now: Instant, id: TransferId, failure: Failure) {
        self.pull_let_go(now, id);
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(from) = self.source_of(id) else { return };
        let Some(pull) = self.pull_mut(id) else { return };
        let under_way = pull.got > 0 && pull.losses < LOSSES_MAX;
        pull.losses += 1;
        pull.piece = pull.piece.take().filter(|_| pull.got % PIECE > 0);
        match pull.others.pop_front() {
            Some(next) => {
                log::debug!("{from}: {}; going on with {next}", failure.message);
                self.set_source(id, next);
                self.pull_start(now, id);
            }
            None if under_way && failure.code != Code::NotFound => {
                log::debug!("{from}: {}; it may return", failure.message);
                let pause = RETURN * 4u32.pow(pull.losses - 1);
                pull.step = Step::Pausing;
                self.timers.set(Timer::Pull(id), now + pause, "a lost source returns");
            }
            None => {
                let broken = pull.got > 0;
                let Failure { code, mut message } = failure;
                if broken {
                    message = format!("{} broke off: {message}; nothing is kept", for_terminal(&name));
                }
                self.fetch_failed(now, id, Failure::new(code, message));
            }
        }
    }

    /// What the source says cannot be: nothing of it is kept.
    pub(super) fn pull_lied(&mut self, now: Instant, id: TransferId, what: &str) {
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(from) = self.source_of(id) else { return };
        let text = format!("{from}: {} failed verification: {what}; nothing is kept", for_terminal(&name));
        let failure = Failure::new(Code::Verification, text);
        // Before the first byte somebody else may tell the truth.
        match self.pull_mut(id) {
            Some(pull) if pull.got == 0 && !pull.others.is_empty() => self.pull_lost(now, id, failure),
            _ => self.fetch_failed(now, id, failure),
        }
    }

    /// A deadline of the download.
    pub(in crate::node::peer) fn pull_timeout(&mut self, now: Instant, id: TransferId) {
        let Some(from) = self.source_of(id) else { return };
        let Some(pull) = self.pull_mut(id) else { return };
        let (step, conn) = (pull.step, pull.conn);
        let text = match step {
            Step::Pausing => return self.pull_start(now, id),
            Step::Hashing | Step::Later => {
                let Some(conn) = conn.filter(|_| self.pull_has_session(id)) else {
                    return self.pull_start(now, id);
                };
                return self.pull_on(now, conn, id);
            }
            Step::Receiving => match self.transfer_pace(now, id) {
                Ok(next) => return self.timers.set(Timer::Pull(id), next, "progress"),
                Err(Slow::Stalled) => format!("{from} sends too slowly or not at all"),
                Err(Slow::Average) => {
                    format!("{from} sends less than {} a second", sized(self.config.limits.rate_min))
                }
            },
            _ => format!("{from} did not answer in time"),
        };
        if let Some(conn) = conn {
            self.session_suspect(now, conn);
        }
        self.pull_lost(now, id, Failure::new(Code::Timeout, text));
    }

    /// Leaves the source: what it still has to send is cancelled.
    pub(in crate::node::peer) fn pull_let_go(&mut self, now: Instant, id: TransferId) {
        self.timers.cancel(Timer::Pull(id));
        let Some(pull) = self.pull_mut(id) else { return };
        let (conn, numbers) = pull.let_go();
        let Some(conn) = conn else { return };
        for number in numbers {
            self.cancel_request(now, conn, number);
        }
        if let Some(session) = self.session_mut(conn) {
            session.asked.retain(|_, wish| *wish != Wish::Pull(id));
            session.wishes.retain(|wish| *wish != Wish::Pull(id));
        }
    }
}
