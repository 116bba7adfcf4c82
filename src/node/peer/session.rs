//! A session with another node: the handshake, then sealed records with messages in them, both ways, over one
//! connection (docs/PROTOCOL.md). This file moves bytes and keeps time; what messages mean stands in `uploads.rs` (what
//! others ask), `search.rs` and `download.rs` (what we ask), and whom to reach how in `reach.rs`.

mod ending;
mod greeting;
mod sending;

pub(super) use ending::Farewell;

use super::Peer;
use super::reach::Wish;
use crate::config::{CHUNK, Limits};
use crate::machine::{Body, ConnId, Fault, Output, Received};
use crate::node::contacts::dialer::Class;
use crate::node::ids::TransferId;
use crate::node::outgoing::Outgoing;
use crate::node::pace::Pace;
use crate::proto::escape::{cut, for_log};
use crate::proto::v2::handshake::Handshake;
use crate::proto::v2::identity::NodeId;
use crate::proto::v2::message::{Message, Parsed};
use crate::proto::v2::record::{HEAD, Opener, Sealer, TAG};
use crate::time::{Duration, Instant};
use log::debug;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// A stranger is left without a word after a time drawn up to this, so that it cannot tell why.
const MUTE_MAX: Duration = Duration::from_millis(200);
/// Requests taken back that are remembered.
const CANCELLED_MAX: usize = 256;
/// Answers to nothing we asked, after which a session ends.
const UNASKED_MAX: u32 = 100;
/// How long a session that said `close` waits for the kernel to take it.
const FAREWELL: Duration = Duration::from_secs(1);
/// Two sessions of two nodes that were opened within this were dialled at once. The same for every node, or each of two
/// could judge otherwise.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Bytes of the other side's reason to close that are shown.
const REASON_MAX: usize = 200;

/// A session, or the way to one.
#[derive(Debug)]
pub(super) struct Session {
    /// The other end of the connection.
    pub(super) peer: SocketAddr,
    /// We dialled it, as one of this class; else it came in.
    pub(super) dialled: Option<Class>,
    /// It came in, and says that it listens here.
    pub(super) listens: Option<SocketAddr>,
    /// Our dial said which node it is for.
    bound: bool,
    state: State,
    out: Outgoing,
    /// Of `out`, so many bytes were counted in what all sessions have to send.
    counted: usize,
    /// Bytes of sealed records that the driver still has.
    carried: usize,
    /// While anything waits to be sent: how that goes, and when to look next.
    pace: Option<(Pace, Instant)>,
    /// What is to be asked as soon as the session is open.
    pub(super) wishes: Vec<Wish>,
    /// What was asked and not answered in full, by number.
    pub(super) asked: BTreeMap<u32, Wish>,
    /// Numbers of searches, and when their answers are late: they all have the same time, so that the first is due first.
    pub(super) due: VecDeque<(Instant, u32)>,
    last_number: u32,
    unasked: u32,
    /// Requests taken back lately: what still comes for them is nobody's fault.
    cancelled: VecDeque<u32>,
    /// When it came in through the gate, where it counts; none if we dialled.
    pub(super) accepted: Option<Instant>,
    /// When bytes came last, and when something was asked last, either way.
    heard: Instant,
    pub(super) used: Instant,
    pinged: bool,
    /// Unless something is heard until then, the other side is gone.
    doubt: Option<Instant>,
    /// No more bytes are taken until what is to be sent has shrunk.
    paused: bool,
    /// The download that the bytes handed over last are for.
    pub(super) storing: Option<Storing>,
    /// Bytes asked of it and not there yet, by all downloads.
    pub(super) asked_bytes: u64,
}

/// Waiting → Dialing → Greeting → Open → Leaving; one that came in begins with Greeting; Mute is a stranger's end.
#[derive(Debug)]
enum State {
    /// For a dial slot.
    Waiting,
    Dialing,
    /// The handshake.
    Greeting(Box<Handshake>),
    Open(Box<Link>),
    /// `close` was said; what is left is that the kernel takes it.
    Leaving,
    /// Not one of ours; nothing is read or said any more.
    Mute,
}

/// The keys of an open session.
#[derive(Debug)]
struct Link {
    node: NodeId,
    seal: Sealer,
    open: Opener,
    /// Bytes of a file in one record: what both sides take.
    run: usize,
    opened: Instant,
}

/// Bytes that were handed over to be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storing {
    pub(super) transfer: TransferId,
    /// The piece that is whole with them.
    pub(super) piece: Option<u64>,
    pub(super) len: usize,
}

impl Session {
    pub(super) fn new(peer: SocketAddr, dialled: Option<Class>, now: Instant) -> Session {
        Session {
            peer,
            dialled,
            listens: None,
            bound: false,
            state: State::Waiting,
            out: Outgoing::default(),
            counted: 0,
            carried: 0,
            pace: None,
            wishes: Vec::new(),
            asked: BTreeMap::new(),
            due: VecDeque::new(),
            last_number: 0,
            unasked: 0,
            cancelled: VecDeque::new(),
            accepted: dialled.is_none().then_some(now),
            heard: now,
            used: now,
            pinged: false,
            doubt: None,
            paused: false,
            storing: None,
            asked_bytes: 0,
        }
    }

    /// The node at the other end, once that is certain and as long as it can be asked.
    pub(super) fn node(&self) -> Option<NodeId> {
        match &self.state {
            State::Open(link) => Some(link.node),
            _ => None,
        }
    }

    /// Bytes of a file in one record.
    pub(super) fn run(&self) -> usize {
        if let State::Open(link) = &self.state { link.run } else { CHUNK }
    }

    /// Bytes of messages that wait to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.out.buffered()
    }

    /// Seals a message behind what is to be sent already; in front of file ranges, which are sealed when they go.
    fn push(&mut self, now: Instant, message: &Message, limits: &Limits) {
        self.push_plain(now, limits, |record| message.encode(record));
    }

    fn push_plain(&mut self, now: Instant, limits: &Limits, put: impl FnOnce(&mut Vec<u8>)) {
        let State::Open(link) = &mut self.state else { return };
        let mut record = vec![0; HEAD];
        put(&mut record);
        record.resize(record.len() + TAG, 0);
        if let Err(error) = link.seal.seal(&mut record) {
            debug_assert!(false, "{error}");
            return log::error!("internal error: a message could not be sealed: {error}");
        }
        self.out.push(&record);
        self.watch(now, limits);
    }

    /// Something waits to be sent: it has to go at some pace.
    fn watch(&mut self, now: Instant, limits: &Limits) {
        self.pace.get_or_insert_with(|| {
            let pace = Pace::new(now, limits.drain_interval);
            (pace, pace.next_look(now))
        });
    }

    /// Beside ranges of files.
    fn has_to_send(&self) -> bool {
        !self.out.is_empty() || self.carried > 0
    }

    /// Whether it was opened so short a time ago that the other side may have dialled at the same moment.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        matches!(&self.state, State::Open(link) if now - link.opened < AT_ONCE)
    }

    /// Whether it has been open for so long.
    pub(super) fn has_lived(&self, now: Instant, least: Duration) -> bool {
        matches!(&self.state, State::Open(link) if now - link.opened >= least)
    }

    /// The other side seems to be gone, or to have forgotten this session: it has a moment to show that it has not.
    pub(super) fn suspect(&mut self, now: Instant, limits: &Limits) {
        self.doubt.get_or_insert(now + limits.reply_deadline);
    }

    /// It waits for a dial.
    pub(super) fn is_queued(&self) -> bool {
        matches!(self.state, State::Waiting)
    }

    /// Nothing is under way on it that we asked for, and nothing waits to be sent beside ranges of files.
    pub(super) fn is_idle(&self) -> bool {
        let asks = !self.asked.is_empty() || !self.wishes.is_empty() || self.storing.is_some();
        self.node().is_some() && !asks && !self.has_to_send()
    }

    /// Where from it came in, and when.
    pub(super) fn came(&self) -> Option<(SocketAddr, Instant)> {
        self.accepted.map(|accepted| (self.peer, accepted))
    }

    /// It is a handshake that came in and took no work so far.
    fn cost_nothing(&self) -> bool {
        matches!(&self.state, State::Greeting(handshake) if self.dialled.is_none() && !handshake.has_answered())
    }

    /// When the session is to be looked at next, and why.
    fn next_look(&self, limits: &Limits) -> (Instant, &'static str) {
        let idle = (self.used + limits.session_idle, "idle session");
        let silent = if let Some(doubt) = self.doubt {
            (doubt, "doubted session")
        } else if self.pinged {
            (self.heard + limits.silence_max, "silent session")
        } else {
            (self.heard + limits.ping_after, "ping")
        };
        let next = if idle.0 < silent.0 { idle } else { silent };
        match &self.pace {
            Some((_, look)) if *look < next.0 => (*look, "drain"),
            _ => next,
        }
    }
}

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
                    if self.session_is_full(conn) {
                        return Received { consumed, body: None, pause: true };
                    }
                }
                // What a stranger says, or a session that ends, is nobody's.
                _ => return taken(bytes.len()),
            }
        }
        Received { consumed, ..Received::default() }
    }

    /// Too much waits to be sent to take more requests; the rest waits with the driver.
    fn session_is_full(&mut self, conn: ConnId) -> bool {
        let limits = &self.config.limits;
        let (max, crowded) = (limits.session_out_max, self.unsent > limits.sessions_out_max);
        let Some(session) = self.session_mut(conn) else { return false };
        let unsent = session.out.buffered();
        // Who has nothing to send goes on: otherwise those who read nothing would stop everybody.
        session.paused = unsent > max || (crowded && unsent > 0);
        session.paused
    }

    /// Whether one more answer to a search may be made for the session now.
    pub(super) fn may_answer(&self, conn: ConnId) -> bool {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get(conn) else { return false };
        let unsent = session.out.buffered();
        unsent == 0 || (unsent <= limits.session_out_max / 2 && self.unsent <= limits.sessions_out_max)
    }

    /// What the session has to send changed.
    fn recount(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let unsent = session.out.buffered();
        self.unsent = self.unsent + unsent - session.counted;
        session.counted = unsent;
    }

    /// One message. Data gives the part of it that goes into a file.
    fn session_message(&mut self, now: Instant, conn: ConnId, plain: &[u8]) -> Option<Body> {
        let parsed = match Message::parse(plain) {
            Ok(parsed) => parsed,
            Err(error) => {
                debug!("{conn:?}: {error}");
                self.session_quit(now, conn, &Farewell::Protocol(error.to_string()));
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

    /// Sends a message on an open session.
    pub(super) fn tell_node(&mut self, now: Instant, conn: ConnId, message: &Message) {
        if let Some(session) = self.sessions.get_mut(conn) {
            session.push(now, message, &self.config.limits);
            self.recount(conn);
            self.outputs.push_back(Output::Wake { conn });
            self.session_arm(conn);
        }
    }

    /// Asks something under a number of its own; the answer comes for `wish`.
    pub(super) fn ask_node(
        &mut self,
        now: Instant,
        conn: ConnId,
        wish: Wish,
        message: impl FnOnce(u32) -> Message,
    ) -> u32 {
        let Some(session) = self.session_mut(conn) else { return 0 };
        session.last_number = session.last_number.wrapping_add(1);
        let number = session.last_number;
        session.asked.insert(number, wish);
        session.used = now;
        session.unasked = 0;
        self.tell_node(now, conn, &message(number));
        number
    }

    /// Takes a request back.
    pub(super) fn cancel_request(&mut self, now: Instant, conn: ConnId, number: u32) {
        let Some(session) = self.session_mut(conn) else { return };
        session.asked.remove(&number);
        if session.cancelled.len() >= CANCELLED_MAX {
            session.cancelled.pop_front();
        }
        session.cancelled.push_back(number);
        self.tell_node(now, conn, &Message::Cancel { id: number });
    }

    /// An answer to a request that nobody made, or nobody waits for any more.
    pub(super) fn unasked(&mut self, now: Instant, conn: ConnId, number: u32) {
        let Some(session) = self.session_mut(conn) else { return };
        if session.cancelled.contains(&number) {
            return;
        }
        session.unasked += 1;
        if session.unasked > UNASKED_MAX {
            self.session_quit(
                now,
                conn,
                &Farewell::Protocol("too many answers that nobody asked for".to_owned()),
            );
        }
    }
}

fn taken(n: usize) -> Received {
    Received { consumed: n, ..Received::default() }
}
