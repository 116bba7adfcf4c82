//! One session with another node, or the way to one: what it waits for, what it has to send, when to look at it. It is told what
//! happens; requests bear the tag of whoever asked, which it hands back and does not look into.

use crate::config::{CHUNK, Limits};
use crate::node::ids::TransferId;
use crate::node::outgoing::Outgoing;
use crate::node::pace::Pace;
use crate::node::sessions::outcome::{Class, Remote};
use crate::proto::v2::handshake::Handshake;
use crate::proto::v2::identity::NodeId;
use crate::proto::v2::record::{HEAD, Opener, Sealer, TAG};
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// Requests taken back that are remembered.
const CANCELLED_MAX: usize = 256;
/// Answers to nothing we asked, after which a session ends.
const UNSOLICITED_MAX: u32 = 100;
/// Two sessions of two nodes that were opened within this were dialled at once. The same for every node, or each of two
/// could judge otherwise.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A session, or the way to one.
#[derive(Debug)]
pub(crate) struct Session<T> {
    /// The other end of the connection.
    pub(crate) peer: SocketAddr,
    /// We dialled it, as one of this class; else it came in.
    pub(crate) dialled: Option<Class>,
    /// It came in, and says that it listens here.
    pub(crate) listens: Option<SocketAddr>,
    /// Our dial said which node it is for.
    pub(crate) bound: bool,
    pub(crate) state: State,
    pub(crate) out: Outgoing,
    /// Of `out`, so many bytes were counted in what all sessions have to send.
    pub(crate) counted: usize,
    /// Bytes of sealed records that the driver still has.
    pub(crate) carried: usize,
    /// While anything waits to be sent: how that goes, and when to look next.
    pub(crate) pace: Option<(Pace, Instant)>,
    /// What is to be asked as soon as the session is open.
    pub(crate) pending: Vec<T>,
    /// What was asked and not answered in full, by number.
    pub(crate) asked: BTreeMap<u32, T>,
    /// Numbers of searches, and when their answers are late: they all have the same time, so that the first is due first.
    pub(crate) due: VecDeque<(Instant, u32)>,
    pub(crate) last_number: u32,
    pub(crate) unsolicited: u32,
    /// Requests taken back lately: what still comes for them is nobody's fault.
    pub(crate) cancelled: VecDeque<u32>,
    /// When it came in through the gate, where it counts; none if we dialled.
    pub(crate) accepted: Option<Instant>,
    /// When bytes came last, and when something was asked last, either way.
    pub(crate) heard: Instant,
    pub(crate) used: Instant,
    pub(crate) pinged: bool,
    /// Unless something is heard until then, the other side is gone.
    pub(crate) doubt: Option<Instant>,
    /// No more bytes are taken until what is to be sent has shrunk.
    pub(crate) paused: bool,
    /// The download that the bytes handed over last are for.
    pub(crate) storing: Option<Storing>,
    /// Bytes asked of it and not there yet, by all downloads.
    pub(crate) asked_bytes: u64,
}

/// Waiting → Dialing → Greeting → Open → Leaving; one that came in begins with Greeting; Mute is a stranger's end.
#[derive(Debug)]
pub(crate) enum State {
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
pub(crate) struct Link {
    pub(crate) node: NodeId,
    pub(crate) seal: Sealer,
    pub(crate) open: Opener,
    /// Bytes of a file in one record: what both sides take.
    pub(crate) run: usize,
    pub(crate) opened: Instant,
}

/// Bytes that were handed over to be stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storing {
    pub(crate) transfer: TransferId,
    /// The piece that is whole with them.
    pub(crate) piece: Option<u64>,
    pub(crate) len: usize,
}

impl<T: Copy> Session<T> {
    pub(crate) fn new(peer: SocketAddr, dialled: Option<Class>, now: Instant) -> Session<T> {
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
            pending: Vec::new(),
            asked: BTreeMap::new(),
            due: VecDeque::new(),
            last_number: 0,
            unsolicited: 0,
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
    pub(crate) fn node(&self) -> Option<NodeId> {
        match &self.state {
            State::Open(link) => Some(link.node),
            _ => None,
        }
    }

    /// Who is there, and where.
    pub(crate) fn remote(&self) -> Remote {
        let Session { peer, listens, .. } = *self;
        Remote { peer, dialled: self.dialled.is_some(), listens, node: self.node() }
    }

    /// Bytes of a file in one record.
    pub(crate) fn run(&self) -> usize {
        if let State::Open(link) = &self.state { link.run } else { CHUNK }
    }

    /// Bytes of messages that wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.out.buffered()
    }

    /// Seals a message behind what is to be sent already; in front of file ranges, which are sealed when they go.
    pub(crate) fn push_plain(&mut self, now: Instant, limits: &Limits, put: impl FnOnce(&mut Vec<u8>)) {
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
    pub(crate) fn watch(&mut self, now: Instant, limits: &Limits) {
        self.pace.get_or_insert_with(|| {
            let pace = Pace::new(now, limits.drain_interval);
            (pace, pace.next_look(now))
        });
    }

    /// Beside ranges of files.
    pub(crate) fn has_to_send(&self) -> bool {
        !self.out.is_empty() || self.carried > 0
    }

    /// Whether it was opened so short a time ago that the other side may have dialled at the same moment.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        matches!(&self.state, State::Open(link) if now - link.opened < AT_ONCE)
    }

    /// Whether it has been open for so long.
    pub(crate) fn has_lived(&self, now: Instant, least: Duration) -> bool {
        matches!(&self.state, State::Open(link) if now - link.opened >= least)
    }

    /// The other side seems to be gone, or to have forgotten this session: it has a moment to show that it has not.
    pub(crate) fn suspect(&mut self, now: Instant, limits: &Limits) {
        self.doubt.get_or_insert(now + limits.reply_deadline);
    }

    /// It waits for a dial.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self.state, State::Waiting)
    }

    /// Nothing is under way on it that we asked for, and nothing waits to be sent beside ranges of files.
    pub(crate) fn is_idle(&self) -> bool {
        let asks = !self.asked.is_empty() || !self.pending.is_empty() || self.storing.is_some();
        self.node().is_some() && !asks && !self.has_to_send()
    }

    /// Where from it came in, and when.
    pub(crate) fn came(&self) -> Option<(SocketAddr, Instant)> {
        self.accepted.map(|accepted| (self.peer, accepted))
    }

    /// It is a handshake that came in and took no work so far.
    pub(crate) fn cost_nothing(&self) -> bool {
        matches!(&self.state, State::Greeting(handshake) if self.dialled.is_none() && !handshake.has_answered())
    }

    /// When the session is to be looked at next, and why.
    pub(crate) fn next_look(&self, limits: &Limits) -> (Instant, &'static str) {
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

    /// Only bytes of files wait to be sent, which a bound of the rate may hold back.
    pub(crate) fn waits_for_share(&self, has_ranges: bool) -> bool {
        has_ranges && !self.has_to_send()
    }

    /// A number for the next request or ping.
    pub(crate) fn next_number(&mut self) -> u32 {
        self.last_number = self.last_number.wrapping_add(1);
        self.last_number
    }

    /// Something is asked for `tag`: under which number.
    pub(crate) fn ask(&mut self, now: Instant, tag: T) -> u32 {
        let number = self.next_number();
        self.asked.insert(number, tag);
        self.used = now;
        self.unsolicited = 0;
        number
    }

    /// A request is taken back: what still comes for it is nobody's fault.
    pub(crate) fn take_back(&mut self, number: u32) {
        self.asked.remove(&number);
        if self.cancelled.len() >= CANCELLED_MAX {
            self.cancelled.pop_front();
        }
        self.cancelled.push_back(number);
    }

    /// An answer came to a request that nobody made, or nobody waits for any more. Whether that happens too often.
    pub(crate) fn is_flooded_by(&mut self, number: u32) -> bool {
        if self.cancelled.contains(&number) {
            return false;
        }
        self.unsolicited += 1;
        self.unsolicited > UNSOLICITED_MAX
    }
}
