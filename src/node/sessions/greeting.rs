//! The beginning of a session: dial or call, then the handshake, until both know who is there.

use super::event::Event;
use super::outcome::{Class, CloseReason, Unreached};
use super::session::{Link, Session, State};
use super::{Due, Sessions, Tag};
use crate::config::{CHUNK, Crypto, Key, Limits};
use crate::machine::{ConnId, Fault, Output};
use crate::node::buckets::Buckets;
use crate::node::cx::Cx;
use crate::node::flights::{self, Flights};
use crate::node::gate::source;
use crate::proto::entropy::Entropy;
use crate::proto::v2::VERSIONS;
use crate::proto::v2::handshake::{Abilities, Established, Handshake, HandshakeError, Pushed, Role};
use crate::proto::v2::identity::{Identity, NodeId};
use crate::proto::v2::preamble::{Call, Heard};
use crate::time::{Duration, Instant, WallTime};
use log::debug;
use std::net::SocketAddr;

/// A stranger is left without a word after a time drawn up to this, so that it cannot tell why.
const MUTE_MAX: Duration = Duration::from_millis(200);

/// How this node speaks v2.
#[derive(Debug)]
pub(crate) struct Speaks {
    pub(crate) crypto: Crypto,
    pub(crate) group: Option<Key>,
    /// Who came in and speaks no v2 may speak v1.
    pub(crate) v1: bool,
    /// Where others can dial us.
    pub(crate) port: u16,
}

/// Who this node is to others, and who may begin a session with it.
#[derive(Debug)]
pub(crate) struct Greeter {
    pub(crate) speaks: Speaks,
    pub(crate) identity: Identity,
    entropy: Entropy,
    /// First flights that were answered.
    flights: Flights,
    /// Handshakes that came in and were not finished, by source.
    unfinished: Buckets,
    /// What the wall clock showed, and when.
    clock: Option<(WallTime, Instant)>,
}

impl Greeter {
    /// A node with a key of its own, until it is told another one.
    pub(crate) fn new(speaks: Speaks, limits: &Limits, mut entropy: Entropy) -> Greeter {
        Greeter {
            speaks,
            identity: Identity::generate(&mut entropy),
            entropy,
            flights: Flights::new(limits.flights),
            unfinished: Buckets::new(limits.unfinished_per_source, limits.unfinished_burst),
            clock: None,
        }
    }

    /// What time it is out there.
    pub(crate) fn set_clock(&mut self, now: Instant, wall: WallTime) {
        self.clock = Some((wall, now));
    }

    fn handshake(&mut self, limits: &Limits, role: Role, call: Call) -> Box<Handshake> {
        let ours = Abilities {
            versions: VERSIONS,
            aes: matches!(self.speaks.crypto, Crypto::Real { aes: true }),
            run: u8::try_from(limits.record_chunks).unwrap_or(u8::MAX),
            port: self.speaks.port,
        };
        let Greeter { speaks: Speaks { crypto, group, .. }, identity, entropy, .. } = self;
        Box::new(Handshake::begin((role, call), *crypto, identity, group.as_ref(), ours, entropy))
    }

    /// What the wall clock shows, in minutes since 1970, if it can be believed.
    fn minutes(&self, now: Instant) -> Option<u32> {
        let (wall, told) = self.clock?;
        flights::minutes(wall.0.saturating_add(now.since(told).as_secs()))
    }

    /// What is said to who listens where `expected` is. Open nodes are no secret, and everybody could read it.
    fn call(&self, now: Instant, expected: Option<NodeId>) -> Call {
        if self.speaks.group.is_none() {
            return Call::default();
        }
        Call { minutes: self.minutes(now).unwrap_or(0), to: expected }
    }

    /// Whether a member's preamble is no recording.
    fn is_fresh(&mut self, now: Instant, heard: &Heard) -> bool {
        let clock = self.minutes(now);
        self.flights.answers(heard, clock)
    }

    fn mute_for(&mut self) -> Duration {
        let most = MUTE_MAX.as_micros() as u64;
        Duration::from_micros(u64::from_le_bytes(self.entropy.bytes()) % (most + 1))
    }
}

impl<T: Tag> Sessions<T> {
    /// Who we are to other nodes.
    pub(crate) fn id(&self) -> NodeId {
        self.greeter.identity.id()
    }

    /// A connection that came in, at `accepted`, begins as v2 does.
    pub(crate) fn accepted(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        (peer, accepted): (SocketAddr, Instant),
    ) {
        self.insert(conn, Session::new(peer, None, accepted));
        // Members and strangers share an address: what counts is what was left unfinished, not who sent nonsense.
        if !peer.ip().is_loopback() && !self.greeter.unfinished.take(cx.now, source(peer.ip())) {
            return self.mute(cx, conn);
        }
        let mut handshake = self.greeter.handshake(cx.limits, Role::Responder, Call::default());
        if self.greeter.speaks.group.is_some() {
            handshake.stop_behind_preamble();
        }
        if let Some(session) = self.get_mut(conn) {
            session.state = State::Greeting(handshake);
        }
        // From the accept on: the deadline does not start anew with the first byte.
        self.timers.set(Due::Look(conn), accepted + cx.limits.handshake_deadline, "handshake");
    }

    /// The dial's turn has come: where to.
    pub(crate) fn may_dial(&mut self, cx: &Cx<'_>, conn: ConnId) -> Option<SocketAddr> {
        let session = self.get_mut(conn)?;
        session.state = State::Dialing;
        let addr = session.peer;
        let brief = session.pending.iter().all(|tag| tag.is_brief());
        let deadline = if brief { cx.limits.search_deadline } else { cx.limits.connect_deadline };
        self.timers.set(Due::Look(conn), cx.now + deadline, "connect");
        Some(addr)
    }

    /// A dial of ours is connected; `expected`: the node that is thought to be there. Where that is.
    pub(crate) fn connected(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        expected: Option<NodeId>,
    ) -> Option<(SocketAddr, Class)> {
        let call = self.greeter.call(cx.now, expected);
        let mut handshake = self.greeter.handshake(cx.limits, Role::Initiator, call);
        let session = self.get_mut(conn)?;
        let class = session.dialled?;
        session.bound = call.to.is_some();
        session.out.push(&handshake.outgoing());
        session.state = State::Greeting(handshake);
        (session.heard, session.used) = (cx.now, cx.now);
        let (addr, brief) = (session.peer, session.pending.iter().all(|tag| tag.is_brief()));
        let reply = cx.limits.reply_deadline;
        let deadline = if brief { cx.limits.search_deadline.min(reply) } else { reply };
        cx.push(Output::Wake { conn });
        self.timers.set(Due::Look(conn), cx.now + deadline, "v2 reply");
        Some((addr, class))
    }

    /// A part of the handshake came. Returns how many bytes that took.
    pub(super) fn greet(&mut self, cx: &mut Cx<'_>, conn: ConnId, bytes: &[u8]) -> usize {
        let Some(session) = self.get_mut(conn) else { return 0 };
        let State::Greeting(handshake) = &mut session.state else { return 0 };
        let pushed = handshake.push(bytes);
        let answer = handshake.outgoing();
        session.out.push(&answer);
        if !answer.is_empty() {
            cx.push(Output::Wake { conn });
        }
        match pushed {
            Ok(Pushed { heard: Some(heard), .. }) if !self.greeter.is_fresh(cx.now, &heard) => {
                self.greeting_failed(cx, conn, &HandshakeError::NotOurs);
                0
            }
            Ok(pushed) => {
                if let Some(done) = pushed.done {
                    self.greeted(cx, conn, done);
                }
                pushed.consumed
            }
            Err(error) => {
                self.greeting_failed(cx, conn, &error);
                0
            }
        }
    }

    /// The handshake is over: the node at the other end is who it says.
    fn greeted(&mut self, cx: &mut Cx<'_>, conn: ConnId, done: Established) {
        let Established { node, theirs, version, seal, open, .. } = done;
        let run = usize::from(theirs.run).clamp(1, cx.limits.record_chunks) * CHUNK;
        let Some(session) = self.get_mut(conn) else { return };
        session.state = State::Open(Box::new(Link { node, seal, open, run, opened: cx.now }));
        session.used = cx.now;
        let (peer, dialled) = (session.peer, session.dialled.is_some());
        if let Some(accepted) = session.accepted {
            self.events.push_back(Event::Valid { conn, from: peer.ip(), accepted });
            self.greeter.unfinished.give_back(source(peer.ip()));
        }
        self.timers.cancel(Due::Look(conn));
        if dialled {
            self.arrived(peer);
        }
        if let Err(mismatch) = version {
            let pending = self.leave(cx, conn, &CloseReason::Version(mismatch));
            return self.events.push_back(Event::Version { addr: peer, mismatch, pending });
        }
        debug!("{conn:?}: session with {node} at {peer}");
        self.events.push_back(Event::Up { conn, node, peer, dialled, port: theirs.port });
        if let Some(oldest) = self.opened(node, conn) {
            self.quit(cx, oldest, &CloseReason::Duplicate);
        }
        self.one_of_two(cx, conn, node);
        self.arm(cx.limits, conn);
        self.events.push_back(Event::Ready { conn });
    }

    /// One session is enough for two nodes. Each side ends dials of its own only, so that both cannot end both: where
    /// both dialled at once, the dial of the lower key stays (hostile: 113); later ones yield to what there is.
    fn one_of_two(&mut self, cx: &mut Cx<'_>, conn: ConnId, node: NodeId) {
        let others: Vec<ConnId> = self.with(node).filter(|other| *other != conn).collect();
        let lower = self.id() < node;
        let ours = self.get(conn).is_some_and(|session| session.dialled.is_some());
        for other in others {
            let Some(session) = self.get(other) else { continue };
            let at_once = session.is_fresh(cx.now);
            match (ours, session.dialled.is_some()) {
                // Or it lost its memory a moment after we dialled: what is alive says so.
                (true, false) if at_once && lower => self.suspect(cx, other),
                // What it was to bring comes by the other one.
                (true, _) => return self.quit(cx, conn, &CloseReason::Duplicate),
                (false, true) if at_once && lower => {
                    // Theirs will go; ours is asked meanwhile.
                    self.prefer(node, other);
                    self.suspect(cx, other);
                }
                (false, true) if at_once => self.quit(cx, other, &CloseReason::Duplicate),
                // Who has a session does not dial, unless it lost it with its memory.
                (false, _) => self.suspect(cx, other),
            }
        }
    }

    fn greeting_failed(&mut self, cx: &mut Cx<'_>, conn: ConnId, error: &HandshakeError) {
        let Some(session) = self.get(conn) else { return };
        let (peer, dialled, cost_nothing) = (session.peer, session.dialled.is_some(), session.cost_nothing());
        debug!("{conn:?}: handshake with {peer}: {error}");
        if dialled {
            let why = match error {
                HandshakeError::Mirror => Unreached::Myself,
                HandshakeError::OwnKey => {
                    if !self.leads_back(conn) {
                        self.events.push_back(Event::Clone { addr: peer });
                    }
                    Unreached::Myself
                }
                error if error.is_v1_answer() => Unreached::Old,
                error if error.is_strangers() => Unreached::NotOurs,
                _ => Unreached::Failed(Fault::Reset),
            };
            return self.unreached(cx, conn, why);
        }
        if cost_nothing {
            self.greeter.unfinished.give_back(source(peer.ip()));
        }
        let preamble = matches!(error, HandshakeError::NotOurs | HandshakeError::Version(_));
        if preamble && self.greeter.speaks.v1 {
            // Who is none of our group may speak v1 to us, and has to be told so.
            let came = self.remove(conn).and_then(|session| session.came());
            return self.events.extend(came.map(|came| Event::SpeaksV1 { conn, came }));
        }
        self.mute(cx, conn);
    }

    /// Whether a dial of ours came in at our own listener, by whatever address.
    fn leads_back(&self, conn: ConnId) -> bool {
        let Some(dial) = self.get(conn).and_then(greeting) else { return false };
        self.iter().filter_map(|(_, session)| greeting(session)).any(|other| other.is_other_end_of(dial))
    }

    /// A stranger gets nothing, and is gone in a moment.
    fn mute(&mut self, cx: &Cx<'_>, conn: ConnId) {
        let after = self.greeter.mute_for();
        let Some(session) = self.get_mut(conn) else { return };
        session.state = State::Mute;
        let (what, who) = ("no member of ours, or another protocol, on the peer port", session.peer);
        self.events.push_back(Event::Notice { what, who });
        self.timers.set(Due::Look(conn), cx.now + after, "stranger");
    }

    /// The handshake of a connection that ends was not finished, and cost nothing.
    pub(super) fn give_back(&mut self, session: &Session<T>) {
        if session.cost_nothing() {
            self.greeter.unfinished.give_back(source(session.peer.ip()));
        }
    }
}

/// The handshake of a connection, while it lasts.
fn greeting<T>(session: &Session<T>) -> Option<&Handshake> {
    match &session.state {
        State::Greeting(handshake) => Some(handshake),
        _ => None,
    }
}
