//! Adversaries that know nothing of any protocol: bytes are all they see. A [`Relay`] stands between two hosts, records
//! what passes and spoils it by position; a [`Speaker`] says what it was given and hears; a [`Flooder`] holds
//! connections open that never get anywhere. Scenes tell them what to do next by `World::order`, and look at what they
//! recorded in their log.

use crate::actor::{Actor, Cx, Told, Way};
use crate::ids::SockId;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// A direction through a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// From who dialled the relay to where it leads.
    There,
    /// The answers.
    Back,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::There => Side::Back,
            Side::Back => Side::There,
        }
    }
}

/// What passed through one connection of a relay, as it came: before anything was done to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tape {
    pub(crate) there: Vec<u8>,
    pub(crate) back: Vec<u8>,
}

impl Tape {
    pub(crate) fn side(&self, side: Side) -> &Vec<u8> {
        match side {
            Side::There => &self.there,
            Side::Back => &self.back,
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut Vec<u8> {
        match side {
            Side::There => &mut self.there,
            Side::Back => &mut self.back,
        }
    }
}

/// What a relay does to the bytes of one direction. Positions count from the beginning of each connection; what has
/// passed already stays as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tamper {
    /// These bits of the byte at that position are turned over.
    Flip { at: usize, mask: u8 },
    /// The range never arrives.
    Drop(Range<usize>),
    /// The range arrives twice, the second time right after the first.
    Repeat(Range<usize>),
    /// What is between `middle` and `end` arrives before what is between `start` and `middle`. Nothing of it does if
    /// the stream ends before.
    Swap { start: usize, middle: usize, end: usize },
    /// These bytes come in before the one at that position.
    Insert { at: usize, bytes: Vec<u8> },
    /// The stream ends there, in order.
    Truncate { at: usize },
    /// From there on nothing moves, until [`Order::Honest`].
    Stall { at: usize },
}

/// What a scene tells an adversary to do; each heeds what it understands.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Relay: from now on, in each of its connections.
    Tamper(Side, Tamper),
    /// Relay: what comes from where that direction begins goes back to there, and nowhere else.
    Reflect(Side),
    /// Relay: copies as it comes, and what was stalled goes on its way.
    Honest,
    /// Relay: dials `to` and says what that direction of an earlier connection was.
    Replay { tape: usize, side: Side, to: SocketAddr },
    /// Speaker: says more, on each of its connections. Member: the same, as one sealed message.
    Say(Vec<u8>),
    /// Speaker and Member: dials once more.
    Dial,
    /// Speaker: ends its side of each of its connections in order.
    Fin,
    /// All: cuts each of its connections.
    Cut,
}

/// What is to be sent, in pieces and at times that are drawn.
#[derive(Default)]
pub(crate) struct Drips(BTreeMap<SockId, Drip>);

#[derive(Default)]
struct Drip {
    bytes: VecDeque<u8>,
    fin: bool,
    armed: bool,
}

/// Bytes that wait in the hands of an actor before it puts more there.
const UNSENT_MAX: usize = 256 << 10;

impl Drips {
    pub(crate) fn say(&mut self, cx: &mut Cx<'_>, sock: SockId, bytes: &[u8]) {
        self.0.entry(sock).or_default().bytes.extend(bytes);
        self.arm(cx, sock);
    }

    /// FIN once everything was said.
    pub(crate) fn fin(&mut self, cx: &mut Cx<'_>, sock: SockId) {
        self.0.entry(sock).or_default().fin = true;
        self.arm(cx, sock);
    }

    fn arm(&mut self, cx: &mut Cx<'_>, sock: SockId) {
        let Some(drip) = self.0.get_mut(&sock) else { return };
        if !std::mem::replace(&mut drip.armed, true) {
            let after = cx.rng().below(300);
            cx.timer(Duration::from_micros(after), sock.0);
        }
    }

    /// One piece more; the timer's token is the socket's number.
    pub(crate) fn timer(&mut self, cx: &mut Cx<'_>, token: u64) {
        let sock = SockId(token);
        let Some(drip) = self.0.get_mut(&sock) else { return };
        drip.armed = false;
        if !cx.holds(sock) {
            return drop(self.0.remove(&sock));
        }
        if cx.unsent(sock) < UNSENT_MAX {
            let n = cx.rng().log_uniform(1, 64 << 10) as usize;
            let piece: Vec<u8> = drip.bytes.drain(..n.min(drip.bytes.len())).collect();
            cx.send(sock, &piece);
        }
        if !drip.bytes.is_empty() {
            self.arm(cx, sock);
        } else if std::mem::take(&mut drip.fin) {
            cx.finish(sock);
        }
    }
}

/// Listens, dials on, and copies both ways with drawn segmentation. Its log holds a [`Tape`] for each connection it
/// accepted, in that order; what its replays hear is in `received`.
pub(crate) struct Relay {
    port: u16,
    to: SocketAddr,
    tampers: Vec<(Side, Tamper)>,
    reflects: Option<Side>,
    /// Both ends of each connection: who dialled, and where it leads.
    links: Vec<[SockId; 2]>,
    /// The connection each socket belongs to, and the direction that begins at it.
    ends: BTreeMap<SockId, (usize, Side)>,
    /// Held back for each socket, and whether the end of the stream is, too.
    stalled: BTreeMap<SockId, (Vec<u8>, bool)>,
    drips: Drips,
}

impl Relay {
    pub(crate) fn new(port: u16, to: SocketAddr) -> Relay {
        Relay {
            port,
            to,
            tampers: Vec::new(),
            reflects: None,
            links: Vec::new(),
            ends: BTreeMap::new(),
            stalled: BTreeMap::new(),
            drips: Drips::default(),
        }
    }

    /// With something done to the bytes from the start.
    pub(crate) fn tampering(mut self, side: Side, tamper: Tamper) -> Relay {
        self.tampers.push((side, tamper));
        self
    }

    fn target(&self, link: usize, side: Side) -> SockId {
        let [dialled, leads] = self.links[link];
        let side = if self.reflects == Some(side) { side.other() } else { side };
        if side == Side::There { leads } else { dialled }
    }

    fn data(&mut self, cx: &mut Cx<'_>, sock: SockId, bytes: &[u8]) {
        let Some(&(link, side)) = self.ends.get(&sock) else { return };
        let to = self.target(link, side);
        let tape = cx.log.tapes[link].side_mut(side);
        let first = tape.len();
        tape.extend_from_slice(bytes);
        let tampers = self.tampers.iter().filter(|(of, _)| *of == side).map(|(_, tamper)| tamper);
        let tampers: Vec<&Tamper> = tampers.collect();
        let mut out = Vec::new();
        for at in first..tape.len() {
            pass(tape, at, &tampers, &mut out);
        }
        let end = tampers.iter().find_map(|tamper| match tamper {
            Tamper::Truncate { at } if *at <= tape.len() => Some(()),
            _ => None,
        });
        let stall = tampers.iter().any(|tamper| matches!(tamper, Tamper::Stall { at } if *at < tape.len()));
        if stall {
            // What came before the place goes through, if it came in the same piece.
            let place = tampers.iter().filter_map(|tamper| match tamper {
                Tamper::Stall { at } => Some(at.saturating_sub(first).min(out.len())),
                _ => None,
            });
            let held = out.split_off(place.min().unwrap_or(0));
            self.stalled.entry(to).or_default().0.extend(held);
        }
        self.drips.say(cx, to, &out);
        if end.is_some() {
            self.drips.fin(cx, to);
        }
    }

    fn order(&mut self, cx: &mut Cx<'_>, order: &Order) {
        match order {
            Order::Tamper(side, tamper) => self.tampers.push((*side, tamper.clone())),
            Order::Reflect(side) => self.reflects = Some(*side),
            Order::Honest => {
                self.tampers.clear();
                self.reflects = None;
                for (sock, (bytes, fin)) in std::mem::take(&mut self.stalled) {
                    self.drips.say(cx, sock, &bytes);
                    if fin {
                        self.drips.fin(cx, sock);
                    }
                }
            }
            Order::Replay { tape, side, to } => {
                let bytes = cx.log.tapes[*tape].side(*side).clone();
                let sock = cx.dial(*to);
                self.drips.say(cx, sock, &bytes);
            }
            Order::Cut => self.links.iter().flatten().for_each(|&sock| cx.reset(sock)),
            Order::Say(_) | Order::Dial | Order::Fin => {}
        }
    }
}

/// What becomes of the byte at `at`, the last but those that came with it.
fn pass(tape: &[u8], at: usize, tampers: &[&Tamper], out: &mut Vec<u8>) {
    let mut byte = Some(tape[at]);
    let mut after: &[u8] = &[];
    for tamper in tampers {
        match tamper {
            Tamper::Flip { at: place, mask } if *place == at => byte = byte.map(|byte| byte ^ mask),
            Tamper::Drop(range) if range.contains(&at) => byte = None,
            Tamper::Truncate { at: place } if at >= *place => byte = None,
            Tamper::Insert { at: place, bytes } if *place == at => out.extend_from_slice(bytes),
            Tamper::Repeat(range) if range.contains(&at) && range.end == at + 1 => {
                after = &tape[range.clone()];
            }
            Tamper::Swap { start, middle, end } if (*start..*end).contains(&at) => {
                byte = None;
                if at + 1 == *end {
                    out.extend_from_slice(&tape[*middle..*end]);
                    out.extend_from_slice(&tape[*start..*middle]);
                }
            }
            _ => {}
        }
    }
    out.extend(byte);
    out.extend_from_slice(after);
}

impl Actor for Relay {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>) {
        match what {
            Told::Start => cx.listen(self.port),
            Told::Accepted { sock } => {
                let leads = cx.dial(self.to);
                let link = self.links.len();
                self.links.push([sock, leads]);
                self.ends.insert(sock, (link, Side::There));
                self.ends.insert(leads, (link, Side::Back));
                cx.log.tapes.push(Tape::default());
            }
            Told::Data { sock, bytes } => self.data(cx, sock, bytes),
            Told::Eof { sock } => match self.ends.get(&sock) {
                Some(&(link, side)) => {
                    let to = self.target(link, side);
                    match self.stalled.get_mut(&to) {
                        Some((_, fin)) => *fin = true,
                        None => self.drips.fin(cx, to),
                    }
                }
                None => cx.close(sock),
            },
            Told::Closed { sock, .. } => {
                if let Some((link, _)) = self.ends.remove(&sock) {
                    self.links[link].into_iter().filter(|&end| end != sock).for_each(|end| cx.reset(end));
                }
            }
            Told::Timer(token) => self.drips.timer(cx, token),
            Told::Order(order) => self.order(cx, order),
            Told::Connected { .. } | Told::Datagram { .. } => {}
        }
    }
}

/// Says the same at the beginning of each of its connections, in drawn pieces, and hears what comes.
pub(crate) struct Speaker {
    way: Way,
    says: Vec<u8>,
    socks: Vec<SockId>,
    dialled: u32,
    drips: Drips,
}

/// The token of the timer for the next dial.
const DIAL: u64 = u64::MAX;

impl Speaker {
    pub(crate) fn new(way: Way, says: impl AsRef<[u8]>) -> Speaker {
        let says = says.as_ref().to_vec();
        Speaker { way, says, socks: Vec::new(), dialled: 0, drips: Drips::default() }
    }

    fn dial(&mut self, cx: &mut Cx<'_>) {
        if let Way::Dial { to, times, every } = self.way {
            self.dialled += 1;
            cx.dial(to);
            if self.dialled < times {
                cx.timer(every, DIAL);
            }
        }
    }
}

impl Actor for Speaker {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>) {
        match what {
            Told::Start => match self.way {
                Way::Dial { .. } => self.dial(cx),
                Way::Listen(port) => cx.listen(port),
            },
            Told::Timer(DIAL) | Told::Order(Order::Dial) => self.dial(cx),
            Told::Timer(token) => self.drips.timer(cx, token),
            Told::Accepted { sock } | Told::Connected { sock } => {
                self.socks.push(sock);
                let says = self.says.clone();
                self.drips.say(cx, sock, &says);
            }
            Told::Closed { sock, .. } => self.socks.retain(|&known| known != sock),
            Told::Order(Order::Say(bytes)) => {
                for &sock in &self.socks {
                    self.drips.say(cx, sock, bytes);
                }
            }
            Told::Order(Order::Fin) => {
                for &sock in &self.socks {
                    self.drips.fin(cx, sock);
                }
            }
            Told::Order(Order::Cut) => self.socks.drain(..).for_each(|sock| cx.reset(sock)),
            Told::Order(_) | Told::Data { .. } | Told::Eof { .. } | Told::Datagram { .. } => {}
        }
    }
}

/// Keeps so many connections open that never get anywhere: each says a drawn part of what it would have to say, and no
/// more. One that is closed is followed by another.
pub(crate) struct Flooder {
    to: SocketAddr,
    width: usize,
    says: Vec<u8>,
    open: Vec<SockId>,
}

impl Flooder {
    /// `says` must not be a whole beginning: all of it may be said.
    pub(crate) fn new(to: SocketAddr, width: usize, says: impl AsRef<[u8]>) -> Flooder {
        Flooder { to, width, says: says.as_ref().to_vec(), open: Vec::new() }
    }

    fn ended(&mut self, cx: &mut Cx<'_>, sock: SockId) {
        self.open.retain(|&known| known != sock);
        let after = cx.rng().between(100, 100_000);
        cx.timer(Duration::from_micros(after), DIAL);
    }
}

impl Actor for Flooder {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>) {
        match what {
            Told::Start => (0..self.width).for_each(|_| cx.timer(Duration::ZERO, DIAL)),
            Told::Timer(_) if self.open.len() < self.width => self.open.push(cx.dial(self.to)),
            Told::Connected { sock } => {
                let n = cx.rng().size(0, self.says.len());
                cx.send(sock, &self.says[..n]);
            }
            Told::Eof { sock } => {
                cx.close(sock);
                self.ended(cx, sock);
            }
            Told::Closed { sock, .. } => self.ended(cx, sock),
            Told::Order(Order::Cut) => {
                self.width = 0;
                self.open.drain(..).for_each(|sock| cx.reset(sock));
            }
            _ => {}
        }
    }
}
