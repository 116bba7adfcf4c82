//! The beginning of a session: dial or call, then the handshake, until both know who is there.

use super::{MUTE_MAX, taken};
use crate::config::{CHUNK, Crypto};
use crate::machine::{ConnId, Fault, Output, Received};
use crate::node::flights;
use crate::node::gate::source;
use crate::node::peer::reach::{Pending, Session};
use crate::node::peer::{Conn, Peer};
use crate::node::sessions::outcome::Class;
use crate::node::sessions::outcome::Unreached;
use crate::node::sessions::session::{Link, State};
use crate::proto::v2::VERSIONS;
use crate::proto::v2::handshake::{Abilities, Handshake, HandshakeError, Pushed, Role};
use crate::proto::v2::preamble::{Call, Heard};
use crate::time::{Duration, Instant};
use log::debug;
use std::net::SocketAddr;

impl Peer {
    /// A connection that came in begins as v2 does.
    pub(in crate::node::peer) fn greet_caller(
        &mut self,
        now: Instant,
        conn: ConnId,
        bytes: &mut [u8],
    ) -> Received {
        let Some((peer, accepted)) = self.server.hand_over(conn) else { return taken(bytes.len()) };
        if let Some(place) = self.conns.get_mut(conn.0) {
            *place = Conn::Session;
        }
        self.sessions.insert(conn, Session::new(peer, None, accepted));
        // Members and strangers share an address: what counts is what was left unfinished, not who sent nonsense.
        if !peer.ip().is_loopback() && !self.unfinished.take(now, source(peer.ip())) {
            self.mute(now, conn, peer);
            return taken(bytes.len());
        }
        let mut handshake = Box::new(self.handshake(Role::Responder, Call::default()));
        if self.config.group.is_some() {
            handshake.stop_behind_preamble();
        }
        if let Some(session) = self.session_mut(conn) {
            session.state = State::Greeting(handshake);
        }
        // From the accept on: the deadline does not start anew with the first byte.
        let due = accepted + self.config.limits.handshake_deadline;
        self.sessions.set_deadline(conn, due, "handshake");
        self.session_recv(now, conn, bytes)
    }

    fn handshake(&mut self, role: Role, call: Call) -> Handshake {
        let ours = Abilities {
            versions: VERSIONS,
            aes: matches!(self.config.crypto, Crypto::Real { aes: true }),
            run: u8::try_from(self.config.limits.record_chunks).unwrap_or(u8::MAX),
            port: self.listen.port(),
        };
        let (crypto, group) = (self.config.crypto, self.config.group.as_ref());
        Handshake::begin((role, call), crypto, &self.identity, group, ours, &mut self.entropy)
    }

    /// What the wall clock shows, in minutes since 1970, if it can be believed.
    fn minutes(&self, now: Instant) -> Option<u32> {
        let (wall, told) = self.wall?;
        flights::minutes(wall.0.saturating_add(now.since(told).as_secs()))
    }

    /// What is said to who listens at `addr`. Open nodes are no secret, and everybody could read it.
    fn call_to(&self, now: Instant, addr: SocketAddr) -> Call {
        if self.config.group.is_none() {
            return Call::default();
        }
        Call { minutes: self.minutes(now).unwrap_or(0), to: self.contacts.book.expected(addr) }
    }

    /// Whether a member's preamble is no recording.
    fn is_fresh(&mut self, now: Instant, heard: &Heard) -> bool {
        let clock = self.minutes(now);
        self.flights.answers(heard, clock)
    }

    /// The dial's turn has come.
    pub(in crate::node::peer) fn session_dial(&mut self, now: Instant, conn: ConnId) {
        let Some(session) = self.session_mut(conn) else { return };
        session.state = State::Dialing;
        let addr = session.peer;
        // A search waits for nobody longer than for an answer.
        let searches = session.pending.iter().all(|request| matches!(request, Pending::Search(_)));
        let limits = &self.config.limits;
        let deadline = if searches { limits.search_deadline } else { limits.connect_deadline };
        self.dial(conn, addr);
        self.sessions.set_deadline(conn, now + deadline, "connect");
    }

    pub(in crate::node::peer) fn session_connected(&mut self, now: Instant, conn: ConnId) {
        let call = self.call_to(now, self.addr_of(conn));
        let mut handshake = Box::new(self.handshake(Role::Initiator, call));
        let Some(session) = self.session_mut(conn) else { return };
        session.bound = call.to.is_some();
        let (addr, class) = (session.peer, session.dialled);
        session.out.push(&handshake.outgoing());
        session.state = State::Greeting(handshake);
        (session.heard, session.used) = (now, now);
        let searches = session.pending.iter().all(|request| matches!(request, Pending::Search(_)));
        self.contacts.dialer.connected(addr, class.unwrap_or(Class::Near));
        let limits = &self.config.limits;
        let deadline =
            if searches { limits.search_deadline.min(limits.reply_deadline) } else { limits.reply_deadline };
        self.outputs.push_back(Output::Wake { conn });
        self.sessions.set_deadline(conn, now + deadline, "v2 reply");
    }

    /// A part of the handshake came. Returns how many bytes that took.
    pub(super) fn session_greet(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) -> usize {
        let Some(session) = self.session_mut(conn) else { return 0 };
        let State::Greeting(handshake) = &mut session.state else { return 0 };
        let pushed = handshake.push(bytes);
        let answer = handshake.outgoing();
        session.out.push(&answer);
        if !answer.is_empty() {
            self.outputs.push_back(Output::Wake { conn });
        }
        match pushed {
            Ok(Pushed { heard: Some(heard), .. }) if !self.is_fresh(now, &heard) => {
                self.greeting_failed(now, conn, &HandshakeError::NotOurs);
                0
            }
            Ok(pushed) => {
                if let Some(done) = pushed.done {
                    let limits = &self.config.limits;
                    let run = usize::from(done.theirs.run).clamp(1, limits.record_chunks) * CHUNK;
                    let link = Link { node: done.node, seal: done.seal, open: done.open, run, opened: now };
                    let (theirs, version) = (done.theirs, done.version);
                    if let Some(session) = self.session_mut(conn) {
                        session.state = State::Open(Box::new(link));
                        session.used = now;
                    }
                    self.session_open(now, conn, &theirs, version.err());
                }
                pushed.consumed
            }
            Err(error) => {
                self.greeting_failed(now, conn, &error);
                0
            }
        }
    }

    pub(super) fn greeting_failed(&mut self, now: Instant, conn: ConnId, error: &HandshakeError) {
        let Some(session) = self.session_mut(conn) else { return };
        let (peer, dialled) = (session.peer, session.dialled.is_some());
        debug!("{conn:?}: handshake with {peer}: {error}");
        if dialled {
            let why = match error {
                HandshakeError::Mirror => Unreached::Myself,
                HandshakeError::OwnKey => {
                    if !self.leads_back(conn) {
                        self.clones.met(now, peer);
                    }
                    Unreached::Myself
                }
                error if error.is_v1_answer() => Unreached::Old,
                error if error.is_strangers() => Unreached::NotOurs,
                _ => Unreached::Failed(Fault::Reset),
            };
            return self.unreached(now, conn, why);
        }
        if session.cost_nothing() {
            self.unfinished.give_back(source(peer.ip()));
        }
        let preamble = matches!(error, HandshakeError::NotOurs | HandshakeError::Version(_));
        if preamble && self.config.v1 {
            // Who is none of our group may speak v1 to us, and has to be told so.
            return self.refuse_in_v1(now, conn);
        }
        self.mute(now, conn, peer);
    }

    /// A handshake that came in is none of ours: it gets the answer of v1 to what is no request.
    fn refuse_in_v1(&mut self, now: Instant, conn: ConnId) {
        let Some(came) = self.session_mut(conn).and_then(|session| session.came()) else { return };
        if let Some(place) = self.conns.get_mut(conn.0) {
            *place = Conn::Caller;
        }
        self.sessions.remove(conn);
        let (server, mut cx, _) = self.serving(now);
        server.refuse(&mut cx, conn, came);
    }

    /// Whether a dial of ours came in at our own listener, by whatever address.
    fn leads_back(&self, conn: ConnId) -> bool {
        let Some(dial) = self.sessions.get(conn).and_then(greeting) else { return false };
        let others = self.sessions.iter().filter_map(|(_, session)| greeting(session));
        others.into_iter().any(|other| other.is_other_end_of(dial))
    }

    /// A stranger gets nothing, and is gone in a moment.
    pub(super) fn mute(&mut self, now: Instant, conn: ConnId, peer: SocketAddr) {
        self.say_rarely(now, "no member of ours, or another protocol, on the peer port", peer);
        let after = self.between(Duration::ZERO, MUTE_MAX);
        if let Some(session) = self.session_mut(conn) {
            session.state = State::Mute;
            self.sessions.set_deadline(conn, now + after, "stranger");
        }
    }
}

/// The handshake of a connection, while it lasts.
fn greeting(session: &Session) -> Option<&Handshake> {
    match &session.state {
        State::Greeting(handshake) => Some(handshake),
        _ => None,
    }
}
