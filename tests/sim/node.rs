//! The driver of one node: feeds its machine, carries out what it asks, and watches that it keeps the contract.
//! `outputs` carries out, `turn` moves bytes, `seal` those that are sealed, `files` and `logs` answer for the disk,
//! `watch` tells of its changes, `checks` watches the contract, `claims` what is said to be kept, `rules` what a peer
//! owes to strangers.

mod checks;
pub(crate) mod claims;
mod files;
mod logs;
mod outputs;
pub(crate) mod rules;
mod seal;
mod turn;
mod watch;

use crate::bytes::Bytes;
use crate::content::Content;
use crate::disk::{Disk, Left};
use crate::env::Env;
use crate::ids::{HostId, NodeId, Owner, SockId};
use crate::net::Notice;
use crate::queue::Event;
use crate::rng::Rng;
use distrishare::machine::{ConnId, Dir, Fault, FileId, Input, ListenerId, Machine, Signal, Transmit};
use distrishare::time::{Instant, WallTime};
use files::{Deed, OpenFile};
use rules::Rules;
use seal::Sealing;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use watch::Watch;

/// Makes a node's machine anew at every start, from a seed.
pub(crate) type Factory = Box<dyn FnMut(u64) -> Box<dyn Machine>>;

/// Longer ones are dropped by a driver ([`distrishare::config::Limits::datagram_max`]).
const DATAGRAM_MAX: usize = 512;
/// Datagrams the kernel keeps for a process that stands still.
const DATAGRAMS_WAITING: usize = 256;
/// A machine that asks for more than this at once will never stop.
const OUTPUTS_MAX: usize = 200_000;

/// Something that is to be told to a node.
#[derive(Debug)]
pub(crate) enum Happening {
    Input(Input<'static>),
    Datagram {
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// The interfaces there are when it is told.
    Interfaces,
    /// The end of a disk operation: it happens now.
    Deed(Deed),
    Net(Notice),
    WallClock,
    /// A stream of the console breaks.
    HangUp,
}

/// A stream the node knows by a [`ConnId`].
#[derive(Debug)]
struct Conn {
    kind: Kind,
    connected: bool,
    /// `Wake` was said and `poll_transmit` has not said `None` since.
    wanted: bool,
    writable: bool,
    shutdown: bool,
    shut: bool,
    paused: bool,
    resumed: bool,
    /// Given and not consumed.
    carry: Vec<u8>,
    /// Made by `handle_read` and not yet taken by the kernel: goes before anything else.
    sealed: Bytes,
    /// What was last sealed, and how often in a row.
    seals: Option<(Sealing, u32)>,
    eof_told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp(SockId),
    Console,
    Notes,
    /// One at the control socket.
    Program(usize),
}

/// The operator's side of the console.
#[derive(Debug, Default)]
pub(crate) struct Console {
    pub(crate) stdin: VecDeque<u8>,
    pub(crate) stdin_closed: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// The terminal takes nothing (^S).
    pub(crate) stalled: bool,
}

/// A program at the control socket.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) says: VecDeque<u8>,
    /// It has said all.
    pub(crate) said_all: bool,
    pub(crate) heard: Vec<u8>,
    /// It takes nothing.
    pub(crate) stalled: bool,
    pub(crate) conn: Option<ConnId>,
}

/// Habits of a driver that the contract leaves open; drawn for each node, so that nodes rely on neither.
#[derive(Clone, Debug)]
struct Habits {
    /// Stores a body before it drains what `handle_recv` asked for, or after.
    store_first: bool,
    read_max: usize,
    run_max: usize,
    /// A wake-up may come late by as many microseconds.
    slack: u64,
}

/// How a process ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// `kill -9`: what it stored is in the kernel's hands, and nothing of it is lost.
    Kill,
    /// Its host loses power: what was not synced is there or not.
    Power(Left),
    /// The process is killed; whether the power is cut with it is drawn.
    Drawn,
}

/// A process: its machine while it lives, and everything the driver holds for it.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) host: HostId,
    factory: Factory,
    machine: Option<Box<dyn Machine>>,
    pub(crate) disk: Disk,
    pub(crate) console: Console,
    pub(crate) programs: Vec<Program>,
    pub(crate) exit: Option<u8>,
    pub(crate) suspended: bool,
    /// Seconds the wall clock is off.
    pub(crate) wall_offset: i64,
    /// Dies when it has asked for so many more things, and how.
    pub(crate) dies_after: Option<u64>,
    pub(crate) dies_by: Death,
    pub(crate) life: u32,
    epoch: u64,
    rng: Rng,
    habits: Habits,
    conns: BTreeMap<ConnId, Conn>,
    socks: BTreeMap<SockId, ConnId>,
    files: BTreeMap<FileId, OpenFile>,
    listeners: BTreeMap<ListenerId, SocketAddr>,
    /// It listens for programs.
    control: bool,
    watches: BTreeMap<Dir, Watch>,
    discovery: Option<u16>,
    used: BTreeMap<(bool, u32), u32>,
    waiting: VecDeque<Happening>,
    ready: BTreeSet<ConnId>,
    turn_armed: bool,
    /// The deadline a wake-up is queued for, and when that comes.
    timer: Option<(u64, u64)>,
    same_instant: (u64, u32),
    state_clock: u64,
    exit_wanted: Option<u8>,
    files_touched: bool,
    /// Bytes of files that were sent, or sealed to be.
    pub(crate) uploaded: u64,
    /// What was given its final name, with the content it had; those whose name a power cut may take away.
    finished: BTreeMap<String, Content>,
    unconfirmed: BTreeSet<String>,
    /// Downloads that the operator was told of, and how much of this life's output was looked at for them.
    told: BTreeSet<String>,
    told_at: usize,
    /// What a peer is held to beyond the contract.
    pub(crate) rules: Option<Rules>,
}

/// What it listens at for programs.
const CONTROL: ListenerId = ListenerId(1);

impl Node {
    pub(crate) fn new(seed: u64, id: NodeId, host: HostId, factory: Factory) -> Node {
        let mut rng = Rng::new(seed, "node", id.0 as u64);
        let habits = Habits {
            store_first: rng.flip(),
            read_max: *rng.pick(&[512, 4096, 65_536, 65_536]),
            run_max: *rng.pick(&[4096, 16_384, 65_536, 262_144]),
            slack: *rng.pick(&[0, 1, 1_000]),
        };
        Node {
            id,
            host,
            factory,
            machine: None,
            disk: Disk::new(seed, id.0 as u64),
            console: Console::default(),
            programs: Vec::new(),
            exit: None,
            suspended: false,
            wall_offset: 0,
            dies_after: None,
            dies_by: Death::Drawn,
            life: 0,
            epoch: 0,
            rng,
            habits,
            conns: BTreeMap::new(),
            socks: BTreeMap::new(),
            files: BTreeMap::new(),
            listeners: BTreeMap::new(),
            control: false,
            watches: BTreeMap::new(),
            discovery: None,
            used: BTreeMap::new(),
            waiting: VecDeque::new(),
            ready: BTreeSet::new(),
            turn_armed: false,
            timer: None,
            same_instant: (0, 0),
            state_clock: 0,
            exit_wanted: None,
            files_touched: false,
            uploaded: 0,
            finished: BTreeMap::new(),
            unconfirmed: BTreeSet::new(),
            told: BTreeSet::new(),
            told_at: 0,
            rules: None,
        }
    }

    /// Bytes of messages that it holds for other nodes, by its own count.
    pub(crate) fn held(&self) -> usize {
        self.machine.as_ref().map_or(0, |machine| machine.census().unsent)
    }

    /// Bytes that wait in its memory to be sent: the most of any connection.
    pub(crate) fn unsent(&mut self) -> usize {
        let Some(machine) = self.machine.as_mut() else { return 0 };
        let waiting = self.conns.keys().filter_map(|&conn| match machine.poll_transmit(conn) {
            Some(Transmit::Bytes(bytes)) => Some(bytes.len()),
            _ => None,
        });
        waiting.max().unwrap_or(0)
    }

    pub(crate) fn running(&self) -> bool {
        self.machine.is_some()
    }

    /// The node was killed by [`Node::dies_after`] in the middle of something.
    pub(crate) fn dying(&self) -> bool {
        self.dies_after == Some(0)
    }

    /// Starts the process, for the first time or again.
    pub(crate) fn start(&mut self, env: &mut Env) {
        assert!(self.machine.is_none(), "node {} runs already", self.id.0);
        self.life += 1;
        let mut rng = Rng::new(env.seed, "life", (self.id.0 as u64) << 32 | u64::from(self.life));
        // A real clock starts at 0; now and then it starts late, so that nobody takes 0 for granted.
        self.epoch = if rng.below(4) == 0 { 0 } else { env.now };
        self.exit = None;
        self.suspended = false;
        self.dies_after = None;
        self.dies_by = Death::Drawn;
        self.console = Console::default();
        self.programs = Vec::new();
        self.told_at = 0;
        self.disk.now = env.now;
        self.disk.sweep();
        env.trace.words(env.now, self.who(), "start", u64::from(self.life), self.epoch);
        self.machine = Some((self.factory)(rng.next()));
        self.drain(env);
        self.deliver(env, Happening::WallClock);
    }

    /// The process is gone, or its whole host is. The disk stays, and what was under way may be done or not.
    pub(crate) fn crash(&mut self, env: &mut Env, death: Death) {
        if self.machine.take().is_none() {
            return;
        }
        let left = match death {
            Death::Kill => None,
            Death::Power(left) => Some(left),
            Death::Drawn => Some(Left::Drawn).filter(|_| self.disk.dice.of("death").flip()),
        };
        env.trace.words(env.now, self.who(), "crash", u64::from(left.is_some()), 0);
        if !matches!(death, Death::Power(_)) {
            env.net.kill(env.now, &mut env.queue, self.owner());
        }
        self.disk.now = env.now;
        self.crash_files(env);
        if let Some(left) = left {
            self.disk.power_cut(left);
        }
        self.disk.crash();
        self.check_kept(env);
        self.forget();
    }

    fn forget(&mut self) {
        self.life += 1;
        self.conns.clear();
        self.socks.clear();
        self.files.clear();
        self.listeners.clear();
        self.watches.clear();
        self.disk.watched.clear();
        self.disk.changes.clear();
        self.used.clear();
        self.waiting.clear();
        self.ready.clear();
        self.discovery = None;
        self.turn_armed = false;
        self.timer = None;
        self.same_instant = (0, 0);
        self.exit_wanted = None;
        self.dies_after = None;
        self.suspended = false;
        self.rules.iter_mut().for_each(Rules::forget);
    }

    /// Lets a process that stood still go on: everything that happened meanwhile happens now.
    pub(crate) fn resume(&mut self, env: &mut Env) {
        self.suspended = false;
        for happening in std::mem::take(&mut self.waiting) {
            self.deliver(env, happening);
        }
        self.arm_turn(env, 0);
        if self.machine.is_some() {
            self.settle(env);
        }
    }

    pub(crate) fn signal(&mut self, env: &mut Env, signal: Signal) {
        self.deliver(env, Happening::Input(Input::Signal(signal)));
    }

    /// Tells the node something, or keeps it until the node can listen.
    pub(crate) fn deliver(&mut self, env: &mut Env, happening: Happening) {
        if let Happening::Net(Notice::Readable { sock } | Notice::Writable { sock }) = happening {
            return self.mark(env, sock, matches!(happening, Happening::Net(Notice::Writable { .. })));
        }
        if self.machine.is_none() || self.dying() {
            return;
        }
        if self.suspended {
            return self.waiting.push_back(happening);
        }
        match happening {
            Happening::Input(input) => self.input(env, input),
            Happening::Datagram { from, bytes } => return self.datagram(env, from, &bytes),
            Happening::Interfaces => {
                let list = env.net.topology.interfaces(self.host);
                self.input(env, Input::Interfaces(&list));
            }
            Happening::Deed(deed) => self.finish_deed(env, deed),
            Happening::Net(notice) => self.notice(env, notice),
            Happening::WallClock => {
                let seconds = 1_750_000_000 + (env.now / 1_000_000) as i64 + self.wall_offset;
                self.input(env, Input::WallClock(WallTime(seconds.max(0) as u64)));
            }
            Happening::HangUp => {
                let console = self.conns.iter().find(|(_, conn)| conn.kind == Kind::Console);
                if let Some(id) = console.map(|(&id, _)| id) {
                    self.lost(env, id, Fault::Reset);
                }
            }
        }
        self.settle(env);
    }

    /// A datagram of the discovery port; all there is to do for the greater part of events.
    pub(crate) fn datagram(&mut self, env: &mut Env, from: SocketAddr, bytes: &[u8]) {
        if self.discovery.is_none() || self.dying() || bytes.len() > DATAGRAM_MAX {
            return;
        }
        if !self.suspended {
            self.input(env, Input::Datagram { from, bytes });
            self.settle(env);
        } else if self.waiting.len() < DATAGRAMS_WAITING {
            self.waiting.push_back(Happening::Datagram { from, bytes: bytes.to_vec() });
        }
    }

    /// Its deadline may have come.
    pub(crate) fn timer(&mut self, env: &mut Env) {
        if self.timer.is_none_or(|(_, at)| at > env.now) {
            return; // an older wake-up, which an earlier deadline made superfluous
        }
        self.timer = None;
        if self.suspended || self.dying() {
            return;
        }
        let due = self.machine.as_mut().and_then(|machine| machine.poll_timeout());
        if due.is_some_and(|deadline| deadline.at <= self.local(env)) {
            self.guard_busy_loop(env, due.map_or("", |deadline| deadline.reason));
            self.input(env, Input::Timeout);
        }
        if self.machine.is_some() {
            self.settle(env);
        }
    }

    fn notice(&mut self, env: &mut Env, notice: Notice) {
        match notice {
            Notice::Accept { listener, sock, peer } => self.accept(env, ListenerId(listener), sock, peer),
            Notice::Connected { sock, local } => {
                let Some(&id) = self.socks.get(&sock) else { return };
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.connected = true;
                }
                self.input(env, Input::Connected { conn: id, local });
                self.make_ready(env, id);
            }
            Notice::Failed { sock, fault } => {
                if let Some(&id) = self.socks.get(&sock) {
                    self.lost(env, id, fault);
                }
            }
            Notice::Readable { .. } | Notice::Writable { .. } => {}
        }
    }

    fn accept(&mut self, env: &mut Env, listener: ListenerId, sock: SockId, peer: SocketAddr) {
        let Some(&addr) = self.listeners.get(&listener) else {
            return env.net.close(env.now, &mut env.queue, sock, true);
        };
        env.net.accepted(self.host, addr);
        let now = self.local(env);
        let Some(machine) = self.machine.as_mut() else { return };
        let id = machine.handle_accept(now, listener, peer);
        env.trace.words(env.now, self.who(), "accept", sock.0, id.map_or(u64::MAX, |id| id.0.index.into()));
        match id {
            Some(id) => {
                self.new_conn(id, Kind::Tcp(sock), true);
                if let Some(rules) = &mut self.rules {
                    rules.came(peer.ip());
                }
                self.make_ready(env, id);
            }
            None => env.net.close(env.now, &mut env.queue, sock, false),
        }
        self.drain(env);
    }

    /// A program connects to the control socket. None: the node does not take it.
    pub(crate) fn connects(&mut self, env: &mut Env) -> Option<usize> {
        assert!(self.control, "there is a control socket");
        let (now, nowhere) = (self.local(env), SocketAddr::from(([0, 0, 0, 0], 0)));
        let id = self.machine.as_mut()?.handle_accept(now, CONTROL, nowhere);
        if let Some(id) = id {
            self.new_conn(id, Kind::Program(self.programs.len()), true);
            self.programs.push(Program { conn: Some(id), ..Program::default() });
            self.make_ready(env, id);
        }
        self.drain(env);
        id.map(|_| self.programs.len() - 1)
    }

    /// A program is killed.
    pub(crate) fn loses(&mut self, env: &mut Env, program: usize) {
        if let Some(id) = self.programs[program].conn.take() {
            self.lost(env, id, Fault::Reset);
            self.settle(env);
        }
    }

    /// The world ended a connection.
    fn lost(&mut self, env: &mut Env, id: ConnId, fault: Fault) {
        if let Some(conn) = self.conns.remove(&id) {
            if let Kind::Tcp(sock) = conn.kind {
                self.socks.remove(&sock);
                env.net.close(env.now, &mut env.queue, sock, false);
            }
            self.input(env, Input::Closed { conn: id, fault });
        }
    }

    fn input(&mut self, env: &mut Env, input: Input<'_>) {
        env.trace.input(env.now, self.who(), &input);
        if let Some(rules) = self.rules.as_mut() {
            rules.told(env, self.host, &input);
        }
        let now = self.local(env);
        if let Some(machine) = self.machine.as_mut().filter(|_| self.dies_after != Some(0)) {
            machine.handle_input(now, input);
            self.drain(env);
        }
    }

    /// Carries out everything the machine asks for.
    fn drain(&mut self, env: &mut Env) {
        for _ in 0..OUTPUTS_MAX {
            if self.dying() {
                return;
            }
            let Some(output) = self.machine.as_mut().and_then(|machine| machine.poll_output()) else {
                return;
            };
            env.trace.output(env.now, self.who(), &output);
            self.execute(env, output);
            if let Some(left) = self.dies_after.as_mut() {
                *left = left.saturating_sub(1);
            }
        }
        panic!("node {} never stops asking: {OUTPUTS_MAX} outputs after one call", self.id.0);
    }

    /// After every call: check, and sleep until what is next.
    fn settle(&mut self, env: &mut Env) {
        if self.dying() {
            return;
        }
        if let Some(status) = self.exit_wanted {
            return self.finish(env, status);
        }
        self.see_changes(env);
        self.check(env);
        let Some(deadline) = self.machine.as_mut().and_then(|machine| machine.poll_timeout()) else { return };
        let due = self.epoch.saturating_add(deadline.at.as_micros());
        // A later deadline needs nothing new: the earlier wake-up finds out.
        if self.timer.is_none_or(|(armed, _)| due < armed) {
            let late = if due > env.now { self.rng.below(self.habits.slack + 1) } else { 0 };
            let at = due.max(env.now).saturating_add(late);
            self.timer = Some((due, at));
            env.queue.push(at, Event::Timer { node: self.id, life: self.life });
        }
    }

    /// The process ends in order: the console gets what is left, the kernel closes the rest.
    fn finish(&mut self, env: &mut Env, status: u8) {
        self.flush_console(env);
        self.note_told();
        self.check_exit();
        env.trace.words(env.now, self.who(), "exit", status.into(), 0);
        env.net.kill(env.now, &mut env.queue, self.owner());
        assert_eq!(env.net.count(self.owner()), 0, "sockets left after the end");
        self.machine = None;
        self.forget();
        self.exit = Some(status);
    }

    fn local(&self, env: &Env) -> Instant {
        Instant::from_micros(env.now - self.epoch)
    }

    fn owner(&self) -> Owner {
        Owner::Node(self.id)
    }

    fn who(&self) -> i64 {
        self.owner().who()
    }

    /// The answer to something comes in a while.
    fn answer(&self, env: &mut Env, after: u64, happening: Happening) {
        let (node, life) = (self.id, self.life);
        env.queue.push(env.now + after, Event::Answer { node, life, happening: Box::new(happening) });
    }

    fn soon(&mut self, env: &mut Env, happening: Happening) {
        let after = self.rng.between(1, 100);
        self.answer(env, after, happening);
    }

    fn own_addr(&self, env: &Env, interface: u32, addr: Ipv4Addr) -> bool {
        env.net.topology.iface(self.host, interface).is_some_and(|iface| iface.up && iface.addr == addr)
    }
}
