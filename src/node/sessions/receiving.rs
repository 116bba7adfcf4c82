//! The receiving half: records are opened in place, and messages told one at a time.

use super::event::{Event, Step};
use super::outcome::CloseReason;
use super::session::State;
use super::{Sessions, Tag};
use crate::machine::{ConnId, Fault};
use crate::node::cx::Cx;
use crate::proto::escape::{cut, for_log};
use crate::proto::v2::message::{Message, Parsed};
use log::debug;

/// Bytes of the other side's reason to close that are shown.
const REASON_MAX: usize = 200;

impl<T: Tag> Sessions<T> {
    /// Bytes came. How many were taken, and what they were.
    pub(crate) fn recv(&mut self, cx: &mut Cx<'_>, conn: ConnId, bytes: &mut [u8]) -> (usize, Step<T>) {
        let mut consumed = 0;
        while consumed < bytes.len() {
            let Some(session) = self.get_mut(conn) else { return (bytes.len(), Step::Wait) };
            session.heard = cx.now;
            session.pinged = false;
            session.doubt = None;
            match &mut session.state {
                State::Greeting(_) => {
                    // Nothing is taken of a handshake that failed: then the state says what becomes of the rest.
                    consumed += self.greet(cx, conn, &bytes[consumed..]);
                    if self.get(conn).is_some_and(|session| session.node().is_some()) {
                        return (consumed, Step::Opened);
                    }
                }
                State::Open(link) => {
                    let rest = &mut bytes[consumed..];
                    let len = match link.open.frame(rest) {
                        Ok(Some(len)) if len <= rest.len() => len,
                        Ok(_) => break,
                        Err(_) => {
                            self.broken(cx, conn);
                            return (bytes.len(), Step::Wait);
                        }
                    };
                    let Ok(plain) = link.open.open(&mut rest[..len]) else {
                        self.broken(cx, conn);
                        return (bytes.len(), Step::Wait);
                    };
                    let start = consumed + plain.start;
                    if let Some(step) = self.message(cx, conn, &bytes[start..consumed + plain.end], start) {
                        return (consumed + len, step);
                    }
                    consumed += len;
                    if self.is_full(cx.limits, conn) {
                        return (consumed, Step::Full);
                    }
                }
                // What a stranger says, or a session that ends, is discarded.
                _ => return (bytes.len(), Step::Wait),
            }
        }
        (consumed, Step::Wait)
    }

    /// One message, which stands at `at` in the bytes that came. None: it is dealt with.
    fn message(&mut self, cx: &mut Cx<'_>, conn: ConnId, plain: &[u8], at: usize) -> Option<Step<T>> {
        let parsed = match Message::parse(plain) {
            Ok(parsed) => parsed,
            Err(error) => {
                debug!("{conn:?}: {error}");
                self.quit(cx, conn, &CloseReason::Protocol(error.to_string()));
                return None;
            }
        };
        match parsed {
            Parsed::Skip(_) => None,
            Parsed::Data { id, offset, body } => {
                let tag = self.asked_for(cx, conn, id)?;
                Some(Step::Data { tag, number: id, offset, bytes: at + body.start..at + body.end })
            }
            Parsed::Values { id, first, values } => {
                let tag = self.asked_for(cx, conn, id)?;
                Some(Step::Hashes { tag, number: id, first, bytes: at + values.start..at + values.end })
            }
            Parsed::Message(message) => self.control(cx, conn, message),
        }
    }

    fn control(&mut self, cx: &mut Cx<'_>, conn: ConnId, message: Message) -> Option<Step<T>> {
        let (id, is_last) = match &message {
            Message::Close { reason } => {
                if let Some(session) = self.get(conn) {
                    debug!("{} closes the session: {}", session.peer, for_log(cut(reason, REASON_MAX)));
                }
                self.end(cx, conn, Fault::Reset, false);
                return None;
            }
            Message::Ping { id } => {
                self.tell(cx, conn, &Message::Pong { id: *id });
                return None;
            }
            Message::Pong { .. } => return None,
            Message::Files { id, end, .. } => (*id, *end),
            Message::Refused { id, .. } => (*id, true),
            Message::Have { id, .. } | Message::Peers { id, .. } => (*id, false),
            _ => return Some(Step::Request(message)),
        };
        let tag = self.asked_for(cx, conn, id)?;
        if is_last {
            self.answered(conn, id);
        }
        Some(Step::Answer { tag, message })
    }

    /// Who asked for what comes under this number.
    fn asked_for(&mut self, cx: &mut Cx<'_>, conn: ConnId, number: u32) -> Option<T> {
        let tag = self.get(conn)?.asked.get(&number).copied();
        if tag.is_none() {
            self.unsolicited(cx, conn, number);
        }
        tag
    }

    /// An answer to a request that nobody made, or nobody waits for any more.
    pub(crate) fn unsolicited(&mut self, cx: &mut Cx<'_>, conn: ConnId, number: u32) {
        let Some(session) = self.get_mut(conn) else { return };
        if session.is_flooded_by(number) {
            let why = "too many answers that nobody asked for".to_owned();
            self.quit(cx, conn, &CloseReason::Protocol(why));
        }
    }

    /// Something on the way changed bytes, or the other side is broken: nothing of the record was used.
    fn broken(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if let Some(session) = self.get(conn) {
            let who = session.peer;
            self.events.push_back(Event::Notice { what: "a session was broken on the way", who });
        }
        self.end(cx, conn, Fault::Reset, true);
    }
}
