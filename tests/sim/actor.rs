//! Processes that are no machines: adversaries, and models of the original's programs. They see bytes and sockets.

use crate::adversary::{Order, Tape};
use crate::content::Content;
use crate::env::Env;
use crate::ids::{ActorId, HostId, Owner, SockId};
use crate::net::{Notice, Read};
use crate::queue::Event;
use crate::rng::Rng;
use distrishare::machine::Fault;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What an actor is told.
#[derive(Debug)]
pub(crate) enum Told<'a> {
    Start,
    Accepted {
        sock: SockId,
    },
    Connected {
        sock: SockId,
    },
    Data {
        sock: SockId,
        bytes: &'a [u8],
    },
    Eof {
        sock: SockId,
    },
    Closed {
        sock: SockId,
        fault: Fault,
    },
    Datagram {
        from: SocketAddr,
        bytes: &'a [u8],
    },
    Timer(u64),
    /// The scene wants something of it.
    Order(&'a Order),
}

/// Something that acts on the network without keeping any contract.
pub(crate) trait Actor {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>);
}

/// What an actor did and saw, for the scenario to look at.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Everything received, by connection.
    pub(crate) received: BTreeMap<SockId, Vec<u8>>,
    /// How connections ended: `None` for an orderly end of the stream.
    pub(crate) ended: BTreeMap<SockId, Option<Fault>>,
    /// What it has to say.
    pub(crate) notes: Vec<String>,
    pub(crate) files: BTreeMap<String, Content>,
    /// What a relay saw, a tape for each connection that it accepted.
    pub(crate) tapes: Vec<Tape>,
}

impl Log {
    /// All that was received, one connection after another.
    pub(crate) fn all(&self) -> Vec<u8> {
        self.received.values().flatten().copied().collect()
    }
}

/// An actor and what the driver holds for it.
pub(crate) struct ActorSlot {
    pub(crate) id: ActorId,
    pub(crate) host: HostId,
    actor: Box<dyn Actor>,
    pub(crate) log: Log,
    pub(crate) stopped: bool,
    hands: Hands,
}

/// The actor's sockets.
#[derive(Debug)]
struct Hands {
    rng: Rng,
    socks: BTreeSet<SockId>,
    /// Given to be sent and not yet taken by the kernel.
    unsent: BTreeMap<SockId, Vec<u8>>,
    finish: BTreeSet<SockId>,
    close: BTreeSet<SockId>,
    /// Not read from, unless asked for.
    held: BTreeSet<SockId>,
    over: BTreeSet<SockId>,
}

/// An actor's hands.
pub(crate) struct Cx<'a> {
    pub(crate) env: &'a mut Env,
    pub(crate) log: &'a mut Log,
    pub(crate) id: ActorId,
    pub(crate) host: HostId,
    hands: &'a mut Hands,
}

impl ActorSlot {
    pub(crate) fn new(seed: u64, id: ActorId, host: HostId, actor: Box<dyn Actor>) -> ActorSlot {
        let hands = Hands {
            rng: Rng::new(seed, "actor", id.0 as u64),
            socks: BTreeSet::new(),
            unsent: BTreeMap::new(),
            finish: BTreeSet::new(),
            close: BTreeSet::new(),
            held: BTreeSet::new(),
            over: BTreeSet::new(),
        };
        ActorSlot { id, host, actor, log: Log::default(), stopped: false, hands }
    }

    pub(crate) fn tell(&mut self, env: &mut Env, what: Told<'_>) {
        if self.stopped {
            return;
        }
        match &what {
            Told::Data { sock, bytes } => {
                self.log.received.entry(*sock).or_default().extend_from_slice(bytes);
            }
            Told::Eof { sock } => drop(self.log.ended.insert(*sock, None)),
            Told::Closed { sock, fault } => drop(self.log.ended.insert(*sock, Some(*fault))),
            _ => {}
        }
        let (id, host) = (self.id, self.host);
        let mut cx = Cx { env, log: &mut self.log, id, host, hands: &mut self.hands };
        self.actor.told(&mut cx, what);
    }

    pub(crate) fn notice(&mut self, env: &mut Env, notice: Notice) {
        match notice {
            Notice::Accept { sock, .. } => {
                self.hands.socks.insert(sock);
                self.tell(env, Told::Accepted { sock });
                self.read(env, sock);
            }
            Notice::Connected { sock, .. } => {
                self.tell(env, Told::Connected { sock });
                self.flush(env, sock);
                self.read(env, sock);
            }
            Notice::Failed { sock, fault } => {
                self.hands.socks.remove(&sock);
                self.tell(env, Told::Closed { sock, fault });
            }
            Notice::Readable { sock } => self.read(env, sock),
            Notice::Writable { sock } => self.flush(env, sock),
        }
    }

    fn flush(&mut self, env: &mut Env, sock: SockId) {
        let (id, host) = (self.id, self.host);
        Cx { env, log: &mut self.log, id, host, hands: &mut self.hands }.flush(sock);
    }

    fn read(&mut self, env: &mut Env, sock: SockId) {
        while self.hands.socks.contains(&sock) && !self.stopped {
            let held = self.hands.held.contains(&sock);
            if held && env.net.dead(sock).is_none() {
                return;
            }
            let mut bytes = Vec::new();
            match env.net.read(env.now, &mut env.queue, sock, &mut bytes, 64 << 10) {
                Read::Bytes => self.tell(env, Told::Data { sock, bytes: &bytes }),
                Read::Empty => return,
                Read::Eof if self.hands.over.insert(sock) => self.tell(env, Told::Eof { sock }),
                Read::Eof => return,
                Read::Dead(fault) => {
                    self.hands.socks.remove(&sock);
                    env.net.close(env.now, &mut env.queue, sock, false);
                    self.tell(env, Told::Closed { sock, fault });
                }
            }
        }
    }

    /// It is over: what it held is closed by the kernel.
    pub(crate) fn stop(&mut self, env: &mut Env) {
        self.stopped = true;
        env.net.kill(env.now, &mut env.queue, Owner::Actor(self.id));
    }
}

impl Cx<'_> {
    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.hands.rng
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.log.notes.push(text.into());
    }

    /// Listens on all interfaces.
    pub(crate) fn listen(&mut self, port: u16) {
        let addr = SocketAddr::new([0, 0, 0, 0].into(), port);
        let listening = self.env.net.listen(self.host, Owner::Actor(self.id), 0, addr);
        listening.unwrap_or_else(|fault| panic!("actor {}: port {port}: {fault}", self.id.0));
    }

    pub(crate) fn dial(&mut self, to: SocketAddr) -> SockId {
        let env = &mut *self.env;
        let sock = env.net.connect(env.now, &mut env.queue, self.host, Owner::Actor(self.id), to);
        self.hands.socks.insert(sock);
        sock
    }

    /// Sends, as fast as the other side takes it.
    pub(crate) fn send(&mut self, sock: SockId, bytes: &[u8]) {
        if self.hands.socks.contains(&sock) {
            self.hands.unsent.entry(sock).or_default().extend_from_slice(bytes);
            self.flush(sock);
        }
    }

    /// Bytes that [`Cx::send`] still holds.
    pub(crate) fn unsent(&self, sock: SockId) -> usize {
        self.hands.unsent.get(&sock).map_or(0, Vec::len)
    }

    fn flush(&mut self, sock: SockId) {
        let env = &mut *self.env;
        while let Some(bytes) = self.hands.unsent.get_mut(&sock).filter(|bytes| !bytes.is_empty()) {
            match env.net.write(env.now, &mut env.queue, sock, bytes) {
                Ok(0) => return,
                Ok(n) => drop(bytes.drain(..n)),
                Err(_) => bytes.clear(),
            }
        }
        if self.hands.close.remove(&sock) {
            self.hands.socks.remove(&sock);
            env.net.close(env.now, &mut env.queue, sock, false);
        } else if self.hands.finish.remove(&sock) {
            env.net.shutdown(env.now, &mut env.queue, sock);
        }
    }

    /// FIN after what was given to be sent; goes on reading.
    pub(crate) fn finish(&mut self, sock: SockId) {
        self.hands.finish.insert(sock);
        self.flush(sock);
    }

    /// Closes after what was given to be sent.
    pub(crate) fn close(&mut self, sock: SockId) {
        self.hands.close.insert(sock);
        self.flush(sock);
    }

    pub(crate) fn reset(&mut self, sock: SockId) {
        self.hands.socks.remove(&sock);
        self.env.net.close(self.env.now, &mut self.env.queue, sock, true);
    }

    /// Whether the connection is still there.
    pub(crate) fn holds(&self, sock: SockId) -> bool {
        self.hands.socks.contains(&sock)
    }

    /// Reads no more by itself.
    pub(crate) fn hold(&mut self, sock: SockId) {
        self.hands.held.insert(sock);
    }

    /// Reads up to `n` bytes of a connection that is held.
    pub(crate) fn sip(&mut self, sock: SockId, n: usize) -> usize {
        let mut bytes = Vec::new();
        self.env.net.read(self.env.now, &mut self.env.queue, sock, &mut bytes, n);
        self.log.received.entry(sock).or_default().extend_from_slice(&bytes);
        bytes.len()
    }

    pub(crate) fn timer(&mut self, after: Duration, token: u64) {
        let at = self.env.now + after.as_micros() as u64;
        self.env.queue.push(at, Event::Actor { actor: self.id, token });
    }

    pub(crate) fn join(&mut self, interface: u32) {
        // A fault of the network may keep it out; then it hears nothing, as any other.
        let _ = self.env.net.join(Owner::Actor(self.id), self.host, interface);
    }

    pub(crate) fn multicast(&mut self, interface: u32, bytes: &[u8]) {
        let Some(addr) = self.env.net.topology.iface(self.host, interface).map(|iface| iface.addr) else {
            return;
        };
        let env = &mut *self.env;
        env.net.multicast(env.now, &mut env.queue, self.host, interface, (addr, 31_000), bytes);
    }

    pub(crate) fn addr(&self) -> Ipv4Addr {
        self.env.net.topology.addr(self.host)
    }
}

/// What a [`Script`] does on each of its connections, one thing after another.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// One byte at a time.
    Trickle {
        bytes: Vec<u8>,
        every: Duration,
    },
    /// The same bytes for ever.
    Forever {
        bytes: Vec<u8>,
        every: Duration,
    },
    /// Reads nothing from here on.
    NeverRead,
    /// Reads so many bytes at a time from here on, for ever.
    Sip {
        bytes: usize,
        every: Duration,
    },
    /// Goes on when something came.
    Hear,
    Fin,
    Reset,
    Close,
}

/// How a [`Script`] comes by its connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Dials so many times.
    Dial {
        to: SocketAddr,
        times: u32,
        every: Duration,
    },
    Listen(u16),
}

/// An adversary that does the same on every connection.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    way: Way,
    steps: Vec<Step>,
    /// Where each connection is: the step, and the place inside it.
    at: BTreeMap<SockId, (usize, usize)>,
    dialled: u32,
}

/// The timer for the next dial; others carry the number of a socket.
const DIAL: u64 = u64::MAX;

impl Script {
    pub(crate) fn new(way: Way, steps: impl Into<Vec<Step>>) -> Script {
        Script { way, steps: steps.into(), at: BTreeMap::new(), dialled: 0 }
    }

    fn dial(&mut self, cx: &mut Cx<'_>) {
        if let Way::Dial { to, times, every } = self.way {
            cx.dial(to);
            self.dialled += 1;
            if self.dialled < times {
                cx.timer(every, DIAL);
            }
        }
    }

    fn go_on(&mut self, cx: &mut Cx<'_>, sock: SockId) {
        let Script { steps, at, .. } = self;
        while let Some((step, place)) = at.get_mut(&sock) {
            let Some(now) = steps.get(*step) else { return };
            let mut pause = None;
            let mut next = true;
            match now {
                Step::Send(bytes) => cx.send(sock, bytes),
                Step::Wait(time) if *place == 0 => (pause, next) = (Some(*time), false),
                Step::Wait(_) => {}
                Step::Trickle { bytes, every } if *place < bytes.len() => {
                    cx.send(sock, &bytes[*place..=*place]);
                    (pause, next) = (Some(*every), false);
                }
                Step::Trickle { .. } => {}
                Step::Forever { bytes, every } => {
                    if cx.unsent(sock) < 1 << 20 {
                        cx.send(sock, bytes);
                    }
                    (pause, next) = (Some(*every), false);
                }
                Step::NeverRead => cx.hold(sock),
                Step::Sip { bytes, every } => {
                    cx.hold(sock);
                    cx.sip(sock, *bytes);
                    (pause, next) = (Some(*every), false);
                }
                Step::Hear if cx.log.received.get(&sock).is_none_or(Vec::is_empty) => return,
                Step::Hear => {}
                Step::Fin => cx.finish(sock),
                Step::Reset => cx.reset(sock),
                Step::Close => cx.close(sock),
            }
            (*step, *place) = if next { (*step + 1, 0) } else { (*step, *place + 1) };
            if let Some(time) = pause {
                return cx.timer(time, sock.0);
            }
        }
    }
}

impl Actor for Script {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>) {
        match what {
            Told::Start => match self.way {
                Way::Dial { .. } => self.dial(cx),
                Way::Listen(port) => cx.listen(port),
            },
            Told::Timer(DIAL) => self.dial(cx),
            Told::Timer(sock) => self.go_on(cx, SockId(sock)),
            Told::Accepted { sock } | Told::Connected { sock } => {
                self.at.insert(sock, (0, 0));
                self.go_on(cx, sock);
            }
            Told::Data { sock, .. } => {
                let hearing = self.at.get(&sock).and_then(|at| self.steps.get(at.0));
                if matches!(hearing, Some(Step::Hear)) {
                    self.go_on(cx, sock);
                }
            }
            Told::Closed { sock, .. } => drop(self.at.remove(&sock)),
            Told::Eof { .. } | Told::Datagram { .. } | Told::Order(_) => {}
        }
    }
}
