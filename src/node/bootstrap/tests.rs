use super::*;
use crate::config::Limits;
use crate::machine::Fault;
use crate::proto::registry_file::{Record, decode, encode};
use std::collections::BTreeMap;

mod asking;
mod keeping;
mod probing;

const READY: &str = "ready 127.0.0.1:8000\n";

/// A driver by hand: carries outputs out, checks the contract and the census after each step.
struct World {
    node: Bootstrap,
    now: Instant,
    /// Connections we were given and that nobody ended yet.
    open: BTreeMap<ConnId, Socket>,
    outputs: Vec<Output>,
    /// Dials and when they began.
    dials: Vec<(Instant, ConnId, SocketAddr)>,
    saves: Vec<(Instant, Vec<u8>)>,
    exit: Option<u8>,
    /// The kernel takes no bytes.
    stuck: bool,
    /// Answers dials at once, if it knows the node.
    alive: Box<dyn Fn(SocketAddr) -> Option<bool>>,
}

#[derive(Default)]
struct Socket {
    writes: Vec<Vec<u8>>,
    shut: bool,
    paused: bool,
}

/// What an asker got.
#[derive(Debug, PartialEq)]
struct Got {
    text: String,
    writes: usize,
}

fn config(limits: Limits) -> BootstrapConfig {
    let listen = SocketAddr::from(([127, 0, 0, 1], 8000));
    BootstrapConfig { listen, lease: Duration::from_secs(600), seed: 11, limits }
}

fn peer(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("ip"), 40_000)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect(text)
}

fn request(ip: &str, port: u16) -> String {
    format!(r#"{{"type": "register", "ip": "{ip}", "port": {port}}}"#)
}

impl World {
    /// Started, with nothing on the disk.
    fn new() -> World {
        World::with(Limits::desktop())
    }

    fn with(limits: Limits) -> World {
        let mut world = World::unloaded(limits);
        world.load(Slot::Current, Ok(None));
        world.load(Slot::Previous, Ok(None));
        world
    }

    fn unloaded(limits: Limits) -> World {
        let now = Instant::from_micros(1000);
        let mut world = World {
            node: Bootstrap::new(config(limits)),
            now,
            open: BTreeMap::new(),
            outputs: Vec::new(),
            dials: Vec::new(),
            saves: Vec::new(),
            exit: None,
            stuck: false,
            alive: Box::new(|_| None),
        };
        world.input(Input::WallClock(WallTime(1_760_000_000)));
        world.input(Input::Listening { listener: LISTENER, addr: addr("127.0.0.1:8000") });
        world
    }

    fn load(&mut self, slot: Slot, content: Result<Option<Vec<u8>>, Fault>) {
        self.input(Input::StateLoaded { kept: Kept::Registry, slot, content });
    }

    fn input(&mut self, input: Input<'_>) {
        if let Input::Closed { conn, .. } = input {
            self.open.remove(&conn);
        }
        self.node.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        let mut wake = Vec::new();
        let mut answers = Vec::new();
        while let Some(output) = self.node.poll_output() {
            assert_eq!(self.exit, None, "nothing follows the exit: {output:?}");
            match &output {
                Output::OpenConsole { console, notes } => {
                    self.open.insert(*console, Socket::default());
                    self.open.insert(*notes, Socket::default());
                }
                Output::Connect { conn, addr } => {
                    self.open.insert(*conn, Socket::default());
                    self.dials.push((self.now, *conn, *addr));
                    answers.extend((self.alive)(*addr).map(|up| (*conn, up)));
                }
                Output::Wake { conn } => {
                    assert!(self.open.contains_key(conn));
                    wake.push(*conn);
                }
                Output::Shutdown { conn } => self.open.get_mut(conn).expect("open").shut = true,
                Output::Close { conn, .. } => {
                    self.open.remove(conn).expect("an output for a closed connection");
                }
                Output::SaveState { kept: Kept::Registry, content } => {
                    self.saves.push((self.now, content.clone()));
                }
                Output::Exit { status } => self.exit = Some(*status),
                _ => {}
            }
            self.outputs.push(output);
        }
        let census = self.node.census();
        assert_eq!(census.conns, self.open.len(), "every connection is in both tables");
        assert!(census.conns <= 2 + census.timers, "no connection without a deadline");
        for conn in wake {
            self.send(conn);
        }
        for (conn, up) in answers {
            self.dial_ends(conn, up);
        }
    }

    fn dial_ends(&mut self, conn: ConnId, up: bool) {
        if up {
            self.input(Input::Connected { conn, local: peer("10.9.9.9") });
        } else {
            self.input(Input::Closed { conn, fault: Fault::Refused });
        }
    }

    fn send(&mut self, conn: ConnId) {
        while !self.stuck {
            let Some(transmit) = self.node.poll_transmit(conn) else { return };
            let Transmit::Bytes(bytes) = transmit else { panic!("a registry sends no files") };
            let bytes = bytes.to_vec();
            let n = bytes.len();
            self.open.get_mut(&conn).expect("open").writes.push(bytes);
            self.node.handle_sent(self.now, conn, n);
            self.drain();
        }
    }

    fn accept(&mut self, from: SocketAddr) -> Option<ConnId> {
        let conn = self.node.handle_accept(self.now, LISTENER, from);
        if let Some(conn) = conn {
            assert!(self.open.insert(conn, Socket::default()).is_none(), "an id is given out once");
        }
        self.drain();
        conn
    }

    fn recv(&mut self, conn: ConnId, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let received = self.node.handle_recv(self.now, conn, &mut bytes);
        assert_eq!((received.consumed, received.body), (bytes.len(), None));
        if let Some(socket) = self.open.get_mut(&conn) {
            socket.paused |= received.pause;
        }
        self.drain();
    }

    /// Connects, sends, reads to the end.
    fn ask(&mut self, from: SocketAddr, bytes: impl AsRef<[u8]>) -> Got {
        let conn = self.accept(from).expect("let in");
        self.recv(conn, bytes.as_ref());
        self.hang_up(conn)
    }

    /// What `conn` got so far; then its peer finishes sending, and the connection is over.
    fn hang_up(&mut self, conn: ConnId) -> Got {
        let got = self.got(conn);
        if self.open.contains_key(&conn) {
            self.input(Input::Eof { conn });
            assert!(!self.open.contains_key(&conn), "closed once both have finished");
        }
        got
    }

    fn got(&self, conn: ConnId) -> Got {
        let writes = self.open.get(&conn).map(|socket| &socket.writes[..]).unwrap_or_default();
        Got { text: String::from_utf8(writes.concat()).expect("text"), writes: writes.len() }
    }

    fn register(&mut self, from: &str, port: u16) -> Vec<SocketAddr> {
        let got = self.ask(peer(from), request("127.0.0.1", port));
        assert!(got.text.len() <= 1400 && got.writes == 1, "one write of one segment: {got:?}");
        nodes(&got.text)
    }

    /// Lets time pass, waking exactly when asked to.
    fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        let (mut turns, mut last) = (0, Instant::ZERO);
        while let Some(deadline) = self.node.poll_timeout().filter(|deadline| deadline.at <= until) {
            turns = if deadline.at > last { 0 } else { turns + 1 };
            assert!(turns < 5000, "no progress at {}: {}", self.now, deadline.reason);
            last = last.max(deadline.at);
            self.now = self.now.max(deadline.at);
            self.input(Input::Timeout);
        }
        self.now = until;
        self.node.registry.check_all();
    }

    fn count(&self, matches: impl Fn(&Output) -> bool) -> usize {
        self.outputs.iter().filter(|output| matches(output)).count()
    }
}

/// What the original's client makes of an answer.
fn nodes(text: &str) -> Vec<SocketAddr> {
    #[derive(serde::Deserialize)]
    struct Answer {
        nodes: Vec<(std::net::IpAddr, u16)>,
    }
    let answer: Answer = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    answer.nodes.into_iter().map(SocketAddr::from).collect()
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn it_opens_the_console_then_the_file_then_the_port_and_says_where_it_is() {
    let mut world = World::unloaded(Limits::desktop());
    let [console, load, listen, ..] = &world.outputs[..] else { panic!("three at least") };
    let Output::OpenConsole { console, .. } = *console else { panic!("{console:?}") };
    assert!(matches!(load, Output::LoadState { kept: Kept::Registry, slot: Slot::Current, max: 4_194_304 }));
    assert_eq!(*listen, Output::Listen { listener: LISTENER, addr: addr("127.0.0.1:8000") });
    assert_eq!(world.got(console), Got { text: READY.into(), writes: 1 });
    // Standard input is not listened to, and its end means nothing.
    world.recv(console, b"quit\n");
    assert!(world.open[&console].paused);
    world.input(Input::Eof { conn: console });
    assert_eq!((world.exit, world.open.len()), (None, 2));
}

#[test]
fn a_closed_standard_output_stops_nothing() {
    let mut world = World::new();
    let console = *world.open.keys().next().expect("console");
    world.input(Input::Closed { conn: console, fault: Fault::Reset });
    assert_eq!(world.register("10.0.0.1", 9000), [addr("10.0.0.1:9000")]);
    world.input(Input::Listening { listener: LISTENER, addr: addr("127.0.0.1:8000") });
    assert_eq!(world.exit, None);
}

#[test]
fn a_port_that_cannot_be_opened_ends_it() {
    for fault in [Fault::AddressInUse, Fault::AddressNotHere, Fault::Denied, Fault::Os(5)] {
        let mut world = World::new();
        world.input(Input::ListenFailed { listener: LISTENER, fault });
        assert_eq!(world.exit, Some(6));
        assert_eq!(world.node.poll_timeout(), None);
        world.input(Input::Timeout);
        assert_eq!(world.accept(peer("10.0.0.1")), None);
    }
}

#[test]
fn a_random_crowd_breaks_no_rule() {
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let mut limits = Limits::desktop();
        limits.conns = rng.usize(6..40);
        limits.registry_nodes = rng.usize(1..30);
        limits.registry_per_ip = rng.usize(1..6);
        limits.timers_per_turn = rng.usize(1..8);
        let mut world = World::with(limits);
        for _ in 0..400 {
            crowd_step(&mut world, &mut rng);
            world.node.registry.check_all();
        }
        world.stuck = false;
        world.input(Input::Signal(Signal::Terminate));
        if world.exit.is_none() {
            world.input(Input::StateSaved { kept: Kept::Registry, result: Ok(()) });
        }
        if world.exit.is_none() {
            world.input(Input::StateSaved { kept: Kept::Registry, result: Ok(()) });
        }
        assert_eq!(world.exit, Some(0), "seed {seed}");
        assert_eq!(world.open.len(), 2, "seed {seed}");
    }
}

fn crowd_step(world: &mut World, rng: &mut Rng) {
    let conns: Vec<ConnId> = world.open.keys().copied().collect();
    let conn = conns[rng.usize(0..conns.len())];
    let ip = format!("10.0.{}.{}", rng.u8(0..3), rng.u8(1..9));
    match rng.u8(0..12) {
        0..=2 => drop(world.accept(peer(if rng.bool() { &ip } else { "127.0.0.1" }))),
        3 | 4 => world.recv(conn, request(&ip, rng.u16(1000..1100)).as_bytes()),
        5 => world.recv(conn, b" {\"type\""),
        6 => world.recv(conn, &vec![b"{P \xff"[rng.usize(0..4)]; rng.usize(1..9000)]),
        7 => world.input(Input::Eof { conn }),
        8 if conn.0.index > 1 => world.input(Input::Closed { conn, fault: Fault::Reset }),
        9 => {
            if let Some((_, dial, _)) = world.dials.pop().filter(|(_, dial, _)| world.open.contains_key(dial))
            {
                world.dial_ends(dial, rng.bool());
            }
        }
        10 => {
            let saved = if rng.bool() { Ok(()) } else { Err(Fault::NoSpace) };
            world.input(Input::StateSaved { kept: Kept::Registry, result: saved });
            world.stuck = rng.bool();
        }
        _ => world.advance(Duration::from_millis(rng.u64(1..200_000))),
    }
}
