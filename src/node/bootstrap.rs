//! `ds-bootstrap`: the v1 registry as a [`Machine`].
//!
//! A node connects, sends one request, gets one answer and is listed under the address it came from. What is listed
//! and for how long is `node/registry.rs`'s; here are the connections: those of askers (`client`), our own
//! dials that see whether a node still lives (`probe`), the file (`keep`).
//!
//! # Which address is listed
//!
//! The **observed** one, with the claimed port: nobody can list somebody else. One source is special, the loopback,
//! since it says "this host" and nothing more:
//!
//! * it claims a loopback address: kept so, and given to askers on this host only;
//! * it claims another unicast address: kept as claimed. A node beside its registry may listen on the LAN address, or
//!   be reached at a router's public one, and this is its only way to say so. The price: a program on the registry's
//!   host can list any address. Whoever runs programs there can do worse; and such entries count against the bound
//!   of the claimed address, are the first to make room until a probe was answered, and are dropped when their lease
//!   ends without an answer.

mod client;
mod early;
mod keep;
mod probe;
#[cfg(test)]
mod tests;

use crate::config::{BootstrapConfig, unmapped};
use crate::machine::{
    Census, ConnId, Deadline, Fault, Input, Kept, ListenerId, Machine, Output, Received, Signal, Slot,
    Transmit,
};
use crate::node::gate::Gate;
use crate::node::notices::Notices;
use crate::node::outgoing::Outgoing;
use crate::node::registry::{Bounds, GRACE, Registry};
use crate::node::slots::Slots;
use crate::node::table::Table;
use crate::node::timers::Timers;
use crate::time::{Duration, Instant, WallTime};
use client::{Client, Stage};
use early::Early;
use fastrand::Rng;
use keep::Keeper;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;

/// The one socket a registry listens on.
const LISTENER: ListenerId = ListenerId(0);
/// An orderly stop waits no longer than this for the disk.
const STOP_DEADLINE: Duration = Duration::from_millis(1500);
const STATUS_NETWORK: u8 = 6;
const STATUS_INTERRUPTED: u8 = 130;

/// The registry.
#[derive(Debug)]
pub struct Bootstrap {
    config: BootstrapConfig,
    phase: Phase,
    rng: Rng,
    conns: Table<Conn>,
    gate: Gate,
    /// Askers in the order in which they make room: those without a valid request first, the oldest first.
    by_claim: BTreeSet<(bool, Instant, ConnId)>,
    timers: Timers<Timer>,
    outputs: VecDeque<Output>,
    registry: Registry,
    slots: Slots,
    early: Early,
    keeper: Keeper,
    notices: Notices,
    /// The wall clock, and when it was told.
    wall: Option<(Instant, WallTime)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// All connections are closed; the last save is on its way.
    Stopping {
        status: u8,
    },
    Gone,
}

#[derive(Debug)]
enum Conn {
    /// Standard output: one line when we are ready. Standard input is not read.
    Console(Outgoing),
    /// Standard error belongs to the log.
    Notes,
    Client(Client),
    /// A dial that shows whether the node there lives.
    Probe(SocketAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    /// The one deadline of a connection.
    Conn(ConnId),
    /// Remembered nodes are given out until then.
    Grace,
    Notices,
    /// Look again whether there is room for probes.
    Probes,
    Save,
    Stop,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Closed by the peer before it sent anything.
    Empty,
    /// The peer has the answer, a list or a refusal.
    Answered,
    /// The first byte belongs to another protocol.
    Foreign,
    /// Too slow: the reason its timer gave.
    Late,
    /// Made room for a newcomer.
    Evicted,
    /// A probe was answered.
    Alive,
    /// A probe was not answered in time.
    NoAnswer,
    /// We stop.
    Stopping,
    /// The world ended it.
    Lost(Fault),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Empty => "closed before a request",
            End::Answered => "answered",
            End::Foreign => "another protocol",
            End::Late => "too slow",
            End::Evicted => "made room for another",
            End::Alive => "the node answers",
            End::NoAnswer => "no answer in time",
            End::Stopping => "the registry stops",
            End::Lost(fault) => return fault.fmt(f),
        })
    }
}

impl Bootstrap {
    /// A registry whose clock stands at zero: it loads its file and then listens.
    #[must_use]
    pub fn new(config: BootstrapConfig) -> Bootstrap {
        let limits = &config.limits;
        let mut rng = Rng::with_seed(config.seed);
        let bounds = Bounds {
            nodes: limits.registry_nodes,
            per_ip: limits.registry_per_ip,
            lease: config.lease,
            refresh: limits.refresh.1,
            listen: config.listen,
        };
        let registry = Registry::new(bounds, rng.u32(1..));
        let mut conns = Table::new();
        let console = ConnId(conns.insert(Conn::Console(Outgoing::default())));
        let notes = ConnId(conns.insert(Conn::Notes));
        let mut timers = Timers::new();
        timers.set(Timer::Grace, Instant::ZERO + GRACE, "remembered nodes");
        // The file is asked for before the port opens: the first asker already gets the remembered nodes.
        let outputs = VecDeque::from([
            Output::OpenConsole { console, notes },
            Output::LoadState { kept: Kept::Registry, slot: Slot::Current, max: limits.registry_file_max },
            Output::Listen { listener: LISTENER, addr: config.listen },
        ]);
        Bootstrap {
            phase: Phase::Serving,
            rng,
            conns,
            gate: Gate::default(),
            by_claim: BTreeSet::new(),
            timers,
            outputs,
            registry,
            slots: Slots::new(limits.dials_unproven, limits.dials_per_net),
            early: Early::default(),
            keeper: Keeper::default(),
            notices: Notices::default(),
            wall: None,
            config,
        }
    }

    fn serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// The wall clock now, if it was ever told.
    fn wall_now(&self, now: Instant) -> Option<WallTime> {
        self.wall.map(|(told, WallTime(s))| WallTime(s.saturating_add(now.since(told).as_secs())))
    }

    fn listening(&mut self, addr: SocketAddr) {
        if !self.serving() {
            return;
        }
        log::info!("registry ready on {addr}, lease {} s", self.config.lease.as_secs());
        let console = self.conns.iter().find(|(_, conn)| matches!(conn, Conn::Console(_))).map(|(id, _)| id);
        if let Some(id) = console {
            if let Some(Conn::Console(out)) = self.conns.get_mut(id) {
                out.push(format!("ready {addr}\n").as_bytes());
                self.outputs.push_back(Output::Wake { conn: ConnId(id) });
            }
        }
    }

    fn listen_failed(&mut self, fault: Fault) {
        if !self.serving() {
            return;
        }
        let addr = self.config.listen;
        let advice = match fault {
            Fault::AddressInUse => {
                "is another ds-bootstrap running? Stop it or give another port: ds-bootstrap IP PORT"
            }
            Fault::AddressNotHere => "give an address of this host, or 0.0.0.0 for all of them",
            Fault::Denied if addr.port() < 1024 => "ports below 1024 are root's: give a higher one",
            _ => "give another address or port: ds-bootstrap IP PORT",
        };
        log::error!("cannot listen on {addr}: {fault}: {advice}");
        self.exit(STATUS_NETWORK);
    }

    fn signal(&mut self, now: Instant, signal: Signal) {
        match signal {
            Signal::Hangup => self.save_now(now),
            Signal::Interrupt => self.stop(now, STATUS_INTERRUPTED),
            Signal::Terminate => self.stop(now, 0),
        }
    }

    /// Ends in order: nobody is served any more, the file is written, then the process ends.
    fn stop(&mut self, now: Instant, status: u8) {
        if !self.serving() {
            return;
        }
        log::info!("stopping");
        self.phase = Phase::Stopping { status };
        self.outputs.push_back(Output::CloseListener { listener: LISTENER });
        let open: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| matches!(conn, Conn::Client(_) | Conn::Probe(_)))
            .map(|(id, _)| ConnId(id))
            .collect();
        for conn in open {
            self.end(now, conn, End::Stopping);
        }
        self.timers.set(Timer::Stop, now + STOP_DEADLINE, "stop without the disk");
        self.finish_or_save(now);
    }

    fn exit(&mut self, status: u8) {
        self.phase = Phase::Gone;
        self.outputs.push_back(Output::Exit { status });
    }

    /// The one place where a connection ends.
    fn end(&mut self, now: Instant, conn: ConnId, why: End) {
        let Some(gone) = self.conns.remove(conn.0) else { return };
        self.timers.cancel(Timer::Conn(conn));
        if !matches!(why, End::Lost(_)) {
            self.outputs.push_back(Output::Close { conn, reset: false });
        }
        match gone {
            Conn::Console(_) | Conn::Notes => log::debug!("console: {why}"),
            Conn::Client(client) => {
                log::debug!("{}: {why}", client.peer);
                self.gate.leave(client.peer.ip(), client.since, conn);
                self.by_claim.remove(&(client.valid, client.since, conn));
            }
            Conn::Probe(addr) => {
                log::debug!("probe of {addr}: {why}");
                self.probed(now, addr, why);
            }
        }
    }

    fn timeout(&mut self, now: Instant) {
        for _ in 0..self.config.limits.timers_per_turn {
            let Some((timer, due)) = self.timers.pop_due(now) else { break };
            match timer {
                // hostile: 169. A save to a slow disk held us up; a node that answered meanwhile is not dead.
                Timer::Conn(_) if self.timers.put_off_if_late(timer, due, now) => {}
                Timer::Conn(conn) => self.late(now, conn),
                Timer::Grace => self.registry.end_grace(),
                Timer::Notices => {
                    let due = self.notices.flush(now);
                    self.arm_notices(due);
                }
                Timer::Probes => {}
                Timer::Save => self.save_now(now),
                Timer::Stop => self.stop_without_disk(),
            }
        }
        for _ in 0..self.config.limits.timers_per_turn {
            if !self.registry.expire(now) {
                break;
            }
        }
        self.probe_waiting(now);
    }

    fn late(&mut self, now: Instant, conn: ConnId) {
        let why = match self.conns.get(conn.0) {
            Some(Conn::Probe(_)) => End::NoAnswer,
            Some(Conn::Client(client)) if matches!(client.stage, Stage::Lingering { .. }) => End::Answered,
            _ => End::Late,
        };
        self.end(now, conn, why);
    }

    /// Something that a stranger caused is worth a line.
    fn notice(&mut self, now: Instant, what: &'static str, detail: impl fmt::Display) {
        let due = self.notices.note(now, what, detail);
        self.arm_notices(due);
    }

    fn arm_notices(&mut self, due: Option<Instant>) {
        if let Some(due) = due {
            self.timers.set(Timer::Notices, due, "log summary");
        }
    }

    /// Counts that must agree after each call.
    fn check(&self) {
        debug_assert_eq!(self.gate.len(), self.by_claim.len(), "each asker has its place in the order");
        let others = self.conns.len() - self.gate.len();
        debug_assert!((self.slots.in_flight()..=self.slots.in_flight() + 2).contains(&others));
        debug_assert!(self.conns.len() <= self.config.limits.conns + 2);
    }
}

impl Machine for Bootstrap {
    fn handle_accept(&mut self, now: Instant, _listener: ListenerId, peer: SocketAddr) -> Option<ConnId> {
        let conn = match self.phase {
            Phase::Serving => self.accept(now, unmapped(peer)),
            _ => None,
        };
        self.check();
        conn
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        if self.phase == Phase::Gone {
            return;
        }
        match input {
            Input::WallClock(wall) => self.wall = Some((now, wall)),
            Input::Timeout => self.timeout(now),
            Input::Signal(signal) => self.signal(now, signal),
            Input::Listening { addr, .. } => self.listening(addr),
            Input::ListenFailed { fault, .. } => self.listen_failed(fault),
            Input::Connected { conn, .. } => self.end(now, conn, End::Alive),
            Input::Closed { conn, fault } => self.end(now, conn, End::Lost(fault)),
            Input::Eof { conn } => self.eof(now, conn),
            Input::StateLoaded { slot, content, .. } => self.loaded(now, slot, content),
            Input::StateSaved { result, .. } => self.saved(now, result),
            // A registry has no files, no discovery and no names to look up.
            _ => log::debug!("unexpected input"),
        }
        self.check();
    }

    fn handle_recv(&mut self, now: Instant, conn: ConnId, bytes: &mut [u8]) -> Received {
        let pause = match self.conns.get(conn.0) {
            Some(Conn::Client(_)) => self.client_recv(now, conn, bytes),
            Some(_) => true,
            None => false,
        };
        self.check();
        Received { consumed: bytes.len(), body: None, pause }
    }

    fn handle_written(&mut self, _now: Instant, _conn: ConnId, _n: usize) {}

    fn poll_transmit(&mut self, conn: ConnId) -> Option<Transmit<'_>> {
        match self.conns.get(conn.0)? {
            Conn::Console(out) | Conn::Client(Client { stage: Stage::Answering(out), .. }) => out.transmit(),
            _ => None,
        }
    }

    fn handle_sent(&mut self, now: Instant, conn: ConnId, n: usize) {
        match self.conns.get_mut(conn.0) {
            Some(Conn::Console(out)) => out.sent(n),
            Some(Conn::Client(_)) => self.client_sent(now, conn, n),
            _ => {}
        }
        self.check();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<Deadline> {
        if self.phase == Phase::Gone {
            return None;
        }
        let (ours, leases) = (self.timers.next_deadline(), self.registry.next_deadline());
        [ours, leases].into_iter().flatten().min_by_key(|deadline| deadline.at)
    }

    fn census(&self) -> Census {
        let buffered = self.conns.iter().map(|(_, conn)| match conn {
            Conn::Console(out) => out.buffered(),
            Conn::Client(client) => client.stage.buffered(),
            Conn::Notes | Conn::Probe(_) => 0,
        });
        Census {
            conns: self.conns.len(),
            timers: self.timers.len() + self.registry.timers(),
            nodes: self.registry.len(),
            buffered: buffered.sum(),
            ..Census::default()
        }
    }
}
