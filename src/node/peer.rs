//! The peer: serves its shared folder, finds other nodes, searches and downloads. This file holds the state and hands
//! each input to the part it is for; the parts stand in the files beside it, one a role.

mod ask;
mod browse;
mod contract;
mod discovery;
mod download;
mod fetch;
mod identity;
mod leftovers;
mod life;
mod naming;
mod pending;
mod registries;
mod route;
mod search;
mod transfers;

use crate::config::PeerConfig;
use crate::machine::{ConnId, Interface, ListenerId, Output, RequestId};
use crate::node::clones::Clones;
use crate::node::contacts::Contacts;
use crate::node::files::Files;
use crate::node::find::Find;
use crate::node::fronts::console::Console;
use crate::node::fronts::{Front, said_dropped};
use crate::node::gate::Gate;
use crate::node::ids::{JobId, Requests, TransferId, TransferNumbers};
use crate::node::index;
use crate::node::limiter::{Bucket, Shares};
use crate::node::notices::Notices;
use crate::node::operations::Operations;
use crate::node::outgoing::Outgoing;
use crate::node::sessions::Sessions;
use crate::node::sessions::greeting::{Greeter, Speaks};
use crate::node::swarm::SourceNo;
use crate::node::table::Table;
use crate::node::timers::Timers;
use crate::node::uploads::Uploads;
use crate::node::v1::server::Server;
use crate::proto::address::Here;
use crate::proto::entropy::Entropy;
use crate::time::{Duration, Instant, WallTime};
use ask::Ask;
use discovery::Discovery;
use leftovers::Leftovers;
use pending::Pending;
use registries::Registry;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use transfers::Transfer;

/// For other nodes.
const LISTENER: ListenerId = ListenerId(0);
/// For programs of this host that ask this node.
const CONTROL: ListenerId = ListenerId(1);

/// A peer node.
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    rng: fastrand::Rng,
    started: Instant,
    /// Where we listen; the port is the real one once the listener is open.
    listen: SocketAddr,
    interfaces: Vec<Interface>,

    outputs: VecDeque<Output>,
    timers: Timers<Timer>,
    conns: Table<Conn>,
    /// TCP connections open or being opened.
    sockets: usize,
    files: Files,
    gate: Gate,
    /// Connections that came in, until they speak v2.
    server: Server,
    totals: Totals,
    notices: Notices,

    contacts: Contacts,
    discovery: Discovery,
    clones: Clones,
    registries: Vec<Registry>,
    transfers: Table<Transfer>,
    /// Downloads that wait for others to end, in order.
    queued: VecDeque<TransferId>,
    /// Which of them has the first turn.
    turn: usize,
    /// Those that wait are being started.
    starting: bool,
    numbers: TransferNumbers,
    uploads: Uploads,
    leftovers: Leftovers,
    /// Bounds of the rates of files: to others, and from them.
    shares: Shares,
    down: Bucket,
    /// What the wall clock showed, and when.
    wall: Option<(WallTime, Instant)>,

    entropy: Entropy,
    sessions: Sessions<Pending>,
    asks: BTreeMap<ConnId, Ask>,
    /// What is still to be sent to old nodes of requests for a file.
    old_requests: BTreeMap<ConnId, Outgoing>,
    shared: index::port::Port,

    operations: Operations<Find>,
    resolving: BTreeMap<RequestId, Resolving>,
    requests: Requests,
    /// Listening, and joined if that was asked for: commands may run.
    ready: bool,
    stopping: bool,
    /// The driver was told to end.
    exited: bool,
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conn {
    /// It came in, and does not speak v2 (yet).
    Caller,
    Ask,
    Session,
    Fetch(TransferId),
    /// An old node, as a source of known content.
    Stream(TransferId, SourceNo),
    /// One of the console's two streams.
    Console,
    /// A program at the control socket.
    Control,
}

/// What a name is looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolving {
    Registry(usize),
    Get(JobId),
}

/// What may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    Conn(ConnId),
    /// A download over sessions.
    Transfer(TransferId),
    /// Pieces that others are to be told of.
    Have,
    /// The bound of the rate lets more come in, or out.
    Down,
    Up,
    /// The end does not wait for the disk any longer.
    Exit,
    /// The longest wait for a dial.
    Dials,
    Refresh(usize),
    Hello,
    Greet,
    Silence,
    Joined,
    Notices,
}

/// Bytes moved since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    uploaded: u64,
    downloaded: u64,
}

impl Peer {
    /// A peer that starts with its clock at zero. Its first outputs open the console and the listener.
    pub fn new(config: PeerConfig) -> Peer {
        let mut conns = Table::new();
        let console = ConnId(conns.insert(Conn::Console));
        let notes = ConnId(conns.insert(Conn::Console));
        let limits = &config.limits;
        let mut entropy = Entropy::new(&config.entropy);
        let speaks = Speaks {
            crypto: config.crypto,
            group: config.group.clone(),
            v1: config.v1,
            port: config.listen.port(),
        };
        let greeter = Greeter::new(speaks, limits, Entropy::new(&entropy.key()));
        let server = Server::new(config.v1.then(|| config.v1_secret.clone()), config.speaks_v2());
        let instance = u64::from_le_bytes(entropy.bytes());
        let (mode, columns) = (config.console, config.progress_columns);
        let front = Console::new(console, notes, mode, columns, said_dropped(config.json), limits);
        let front = Front::new(front, config.json, config.keep_going);
        let mut peer = Peer {
            rng: fastrand::Rng::with_seed(config.seed),
            started: Instant::ZERO,
            listen: config.listen,
            interfaces: Vec::new(),
            outputs: VecDeque::new(),
            timers: Timers::new(),
            conns,
            sockets: 0,
            files: Files::new(limits),
            gate: Gate::default(),
            server,
            totals: Totals::default(),
            notices: Notices::default(),
            contacts: Contacts::new(limits),
            discovery: Discovery::new(config.group.as_ref(), instance, limits),
            clones: Clones::default(),
            registries: config.bootstraps.iter().cloned().map(Registry::new).collect(),
            transfers: Table::new(),
            queued: VecDeque::new(),
            numbers: TransferNumbers::default(),
            uploads: Uploads::new(limits.swarm.seeds),
            turn: 0,
            starting: false,
            leftovers: Leftovers::default(),
            shares: Shares::new(config.rate.up),
            down: Bucket::new(config.rate.down),
            wall: None,
            entropy,
            sessions: Sessions::new(greeter),
            asks: BTreeMap::new(),
            old_requests: BTreeMap::new(),
            shared: index::port::Port::new(limits),
            operations: Operations::new(front, config.once.is_some()),
            resolving: BTreeMap::new(),
            requests: Requests::default(),
            ready: false,
            stopping: false,
            exited: false,
            config,
        };
        peer.outputs.push_back(Output::OpenConsole { console, notes });
        peer.outputs.push_back(Output::ListInterfaces);
        peer.load_identity();
        peer
    }

    /// The address this node listens on.
    pub fn listen_addr(&self) -> SocketAddr {
        self.listen
    }

    /// What follows from an input: uploads and dials that have room now, the next line of a script, the end of one, a prompt.
    fn settle(&mut self, now: Instant) {
        self.server_events(now);
        self.sessions_events(now);
        // A log of the index may be gone with that, of which values were to be sent.
        if self.shared.take_stirred() {
            self.drive_index(now);
        }
        self.uploads_events(now);
        self.sessions_events(now);
        if self.files.has_freed() {
            let (server, mut cx, index) = self.serving(now);
            server.slot_freed(&mut cx, index);
        }
        loop {
            self.make_room_for_dials(now);
            let Some(conn) = self.contacts.dialer.next(self.room()) else { break };
            self.may_dial(now, conn);
        }
        // Lazily, as all timers: it fires and is armed again while anything waits.
        if let Some(due) = self.contacts.dialer.deadline() {
            self.timers.set_unless_armed(Timer::Dials, due, "wait for a dial");
        }
        self.check_joined(now, false);
        if self.operations.fronts.take_stirred() {
            self.settle_fronts(now);
        }
        debug_assert!(self.server.is_settled(), "what the v1 server tells waits for the next input");
        debug_assert!(self.sessions.is_settled(), "what sessions tell waits for the next input");
        debug_assert!(self.uploads.is_settled(), "what the uploads tell waits for the next input");
        debug_assert!(self.shared.is_settled(), "what the index asks waits for the next input");
    }

    /// A log line that a stranger can cause: now and then at most.
    fn say_rarely(&mut self, now: Instant, what: &'static str, who: SocketAddr) {
        if let Some(due) = self.notices.note(now, what, who) {
            self.timers.set(Timer::Notices, due, "summary of notices");
        }
    }

    /// Sockets that may still be opened.
    fn room(&self) -> usize {
        self.config.limits.conns.saturating_sub(self.sockets)
    }

    fn here(&self) -> Here<'_> {
        Here { interfaces: &self.interfaces, listen: self.listen }
    }

    /// A length of time between two others.
    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let (least, most) = (least.as_micros() as u64, most.as_micros() as u64);
        Duration::from_micros(self.rng.u64(least..=most.max(least)))
    }

    fn dial(&mut self, conn: ConnId, addr: SocketAddr) {
        self.sockets += 1;
        self.outputs.push_back(Output::Connect { conn, addr });
    }

    fn hang_up(&mut self, conn: ConnId, reset: bool) {
        self.outputs.push_back(Output::Close { conn, reset });
        self.socket_closed();
    }

    fn socket_closed(&mut self) {
        self.sockets -= 1;
    }
}
