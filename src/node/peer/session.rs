//! A session with another node: the handshake, then sealed records with messages in them, both ways, over one
//! connection (docs/PROTOCOL.md). This file moves bytes and keeps time; what messages mean stands in `uploads.rs` (what
//! others ask), `search.rs` and `download.rs` (what we ask), and whom to reach how in `reach.rs`.

mod ending;
mod greeting;

use super::Peer;
use super::reach::Session;
use crate::machine::{Body, ConnId, Fault, Received};
use crate::node::sessions::outcome::CloseReason;
use crate::node::sessions::session::State;
use crate::proto::escape::{cut, for_log};
use crate::proto::v2::message::{Message, Parsed};
use crate::time::{Duration, Instant};
use log::debug;

/// A stranger is left without a word after a time drawn up to this, so that it cannot tell why.
const MUTE_MAX: Duration = Duration::from_millis(200);
/// How long a session that said `close` waits for the kernel to take it.
const CLOSING: Duration = Duration::from_secs(1);
/// Bytes of the other side's reason to close that are shown.
const REASON_MAX: usize = 200;

impl Peer {
    pub(super) fn session_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.sessions.get_mut(conn)
    }

    pub(super) fn session_recv(&mut self, now: Instant, conn: ConnId, bytes: &mut [u8]) -> Received {
        let mut consumed = 0;
        while consumed < bytes.len() {
            let Some(session) = self.session_mut(conn) else { return taken(bytes.len()) };
            session.heard = now;
            session.pinged = false;
            session.doubt = None;
            match &mut session.state {
                State::Greeting(_) => {
                    // Nothing is taken of a handshake that failed: then the state says what becomes of the rest.
                    consumed += self.session_greet(now, conn, &bytes[consumed..]);
                }
                State::Open(link) => {
                    let rest = &mut bytes[consumed..];
                    let len = match link.open.frame(rest) {
                        Ok(Some(len)) if len <= rest.len() => len,
                        Ok(_) => break,
                        Err(_) => {
                            self.session_broken(now, conn);
                            return taken(bytes.len());
                        }
                    };
                    let Ok(plain) = link.open.open(&mut rest[..len]) else {
                        self.session_broken(now, conn);
                        return taken(bytes.len());
                    };
                    let plain = consumed + plain.start..consumed + plain.end;
                    consumed += len;
                    if let Some(mut body) = self.session_message(now, conn, &bytes[plain.clone()]) {
                        body.range = plain.start + body.range.start..plain.start + body.range.end;
                        return Received { consumed, body: Some(body), pause: false };
                    }
                    if self.sessions.is_full(&self.config.limits, conn) {
                        return Received { consumed, body: None, pause: true };
                    }
                }
                // What a stranger says, or a session that ends, is nobody's.
                _ => return taken(bytes.len()),
            }
        }
        Received { consumed, ..Received::default() }
    }

    /// One message. Data gives the part of it that goes into a file.
    fn session_message(&mut self, now: Instant, conn: ConnId, plain: &[u8]) -> Option<Body> {
        let parsed = match Message::parse(plain) {
            Ok(parsed) => parsed,
            Err(error) => {
                debug!("{conn:?}: {error}");
                self.session_quit(now, conn, &CloseReason::Protocol(error.to_string()));
                return None;
            }
        };
        match parsed {
            Parsed::Skip(_) => None,
            Parsed::Data { id, offset, body } => {
                self.data_came(now, conn, (id, offset), &plain[body.clone()], body)
            }
            Parsed::Values { id, first, values } => {
                self.values_came(now, conn, id, first, &plain[values]);
                None
            }
            Parsed::Message(message) => {
                self.session_control(now, conn, message);
                None
            }
        }
    }

    fn session_control(&mut self, now: Instant, conn: ConnId, message: Message) {
        match message {
            Message::Close { reason } => {
                if let Some(session) = self.session_mut(conn) {
                    debug!("{} closes the session: {}", session.peer, for_log(cut(&reason, REASON_MAX)));
                }
                self.session_end(now, conn, Fault::Reset, false);
            }
            Message::Ping { id } => self.tell_node(now, conn, &Message::Pong { id }),
            Message::Pong { .. } => {}
            Message::Files { id, files, end, left_out, .. } => {
                self.files_came(now, conn, id, files, (end, left_out));
            }
            Message::Have { id, all, map, pieces } => self.have_came(now, conn, id, (all, &map, &pieces)),
            Message::Peers { id, nodes } => self.peers_came(now, conn, id, &nodes),
            Message::Refused { id, code, text } => self.refused(now, conn, id, code, &text),
            request => self.asked_of_us(now, conn, request),
        }
    }

    /// An answer to a request that nobody made, or nobody waits for any more.
    pub(super) fn unsolicited(&mut self, now: Instant, conn: ConnId, number: u32) {
        let Some(session) = self.session_mut(conn) else { return };
        if session.is_flooded_by(number) {
            self.session_quit(
                now,
                conn,
                &CloseReason::Protocol("too many answers that nobody asked for".to_owned()),
            );
        }
    }
}

fn taken(n: usize) -> Received {
    Received { consumed: n, ..Received::default() }
}
