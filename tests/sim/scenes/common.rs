//! The words that scenes are written in.

use crate::actor::{Script, Step, Way};
use crate::content::Content;
use crate::ids::{ActorId, HostId, LanId, NodeId};
use crate::node::rules::Rules;
use crate::world::World;
use distrishare::config::{
    BootstrapConfig, ConsoleMode, Crypto, FileFolders, HostPort, Key, Limits, PeerConfig, Rates, Secret,
    V1_DEFAULT_SECRET,
};
use distrishare::machine::Dir;
use distrishare::node::bootstrap::Bootstrap;
use distrishare::node::peer::Peer;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) const S: Duration = Duration::from_secs(1);
pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const PORT: u16 = 9000;
pub(crate) const REGISTRY: u16 = 8000;

pub(crate) const BAD_SECRET: &str = "ERROR: Autentication faild.";
pub(crate) const NO_FILE: &str = "ERROR: File not found.";
pub(crate) const UNKNOWN: &str = "ERROR: Mensaje malformado o tipo desconocido.";
pub(crate) const NOT_JSON: &str = "ERROR: Formato de mensaje inválido. Se requiere JSON.";
pub(crate) const BUSY: &str = "ERROR: busy, try again later.";

/// What a node's keys come from: its seed.
pub(crate) fn entropy(seed: u64) -> Key {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Key::new(bytes)
}

/// A peer as `ds-peer 9000 --json` is at a terminal: commands run beside each other and each says how it ends.
pub(crate) fn config(seed: u64) -> PeerConfig {
    PeerConfig {
        listen: SocketAddr::new([0, 0, 0, 0].into(), PORT),
        folders: FileFolders::new("shared_files", "downloads"),
        root: false,
        announce: None,
        bootstraps: Vec::new(),
        join: false,
        control: true,
        v1: true,
        v1_secret: Secret::new(V1_DEFAULT_SECRET),
        group: None,
        crypto: Crypto::Null,
        entropy: entropy(seed),
        console: ConsoleMode::Terminal,
        json: true,
        progress_columns: None,
        keep_going: false,
        rate: Rates::default(),
        once: None,
        resume: true,
        seed,
        limits: Limits::desktop(),
    }
}

/// A running peer; `edit` says what is special about it.
pub(crate) fn peer(world: &mut World, host: HostId, edit: impl Fn(&mut PeerConfig) + 'static) -> NodeId {
    let mut sample = config(0);
    edit(&mut sample);
    let node = world.node(host, move |seed| {
        let mut config = config(seed);
        edit(&mut config);
        Box::new(Peer::new(config))
    });
    world.nodes[node.0].rules = Some(Rules::new(&sample));
    world.start(node);
    node
}

/// A peer with nothing special.
pub(crate) fn plain(world: &mut World, host: HostId) -> NodeId {
    peer(world, host, |_| {})
}

/// A running registry.
pub(crate) fn bootstrap(
    world: &mut World,
    host: HostId,
    edit: impl Fn(&mut BootstrapConfig) + 'static,
) -> NodeId {
    let node = world.node(host, move |seed| {
        let mut config = BootstrapConfig {
            listen: SocketAddr::new([0, 0, 0, 0].into(), REGISTRY),
            lease: S * 600,
            seed,
            limits: Limits::desktop(),
        };
        edit(&mut config);
        Box::new(Bootstrap::new(config))
    });
    world.start(node);
    node
}

/// The registry on `host`, as a peer's operator writes it.
pub(crate) fn at_registry(world: &World, host: HostId) -> HostPort {
    HostPort { host: world.ip(host).to_string(), port: REGISTRY }
}

/// `n` plain peers on one new network, each on a host of its own.
pub(crate) fn peers(world: &mut World, n: usize) -> Vec<NodeId> {
    let lan = world.lan();
    peers_on(world, lan, n, |_| {})
}

pub(crate) fn peers_on(
    world: &mut World,
    lan: LanId,
    n: usize,
    edit: impl Fn(&mut PeerConfig) + Clone + 'static,
) -> Vec<NodeId> {
    (0..n)
        .map(|_| {
            let host = world.host(&[lan]);
            peer(world, host, edit.clone())
        })
        .collect()
}

pub(crate) fn host_of(world: &World, node: NodeId) -> HostId {
    world.nodes[node.0].host
}

/// Where others reach a peer.
pub(crate) fn addr_of(world: &World, node: NodeId) -> SocketAddr {
    world.addr(host_of(world, node), PORT)
}

/// Types `get` for a file of `from`'s.
pub(crate) fn get(world: &mut World, node: NodeId, from: NodeId, name: &str) {
    let from = addr_of(world, from);
    get_at(world, node, from, name);
}

pub(crate) fn get_at(world: &mut World, node: NodeId, from: SocketAddr, name: &str) {
    world.type_line(node, &format!("get {} {} {name}", from.ip(), from.port()));
}

/// The events of that name among these.
pub(crate) fn named<'a>(said: &'a [Value], event: &str) -> Vec<&'a Value> {
    said.iter().filter(|value| value["event"] == event).collect()
}

/// How many commands of that name are over.
pub(crate) fn done(world: &World, node: NodeId, command: &str) -> usize {
    world.events_named(node, "done").iter().filter(|event| event["command"] == command).count()
}

/// The messages of failed commands.
pub(crate) fn errors(world: &World, node: NodeId) -> Vec<String> {
    let errors = world.events_named(node, "error");
    errors.iter().map(|event| event["message"].as_str().unwrap_or("?").to_owned()).collect()
}

/// Runs a command to its end and returns what it said, without the `done`.
pub(crate) fn command(world: &mut World, node: NodeId, line: &str) -> Vec<Value> {
    let before = world.json_events(node).len();
    let name = line.split(' ').next().unwrap_or(line).to_owned();
    let ends = |world: &World| {
        world
            .events_named(node, "done")
            .iter()
            .filter(|e| e["command"] == *name || e["command"] == "")
            .count()
    };
    let ended = ends(world);
    world.type_line(node, line);
    let over = world.run_until(S * 60, |world| ends(world) > ended);
    assert!(over, "`{line}` never ends: {}", world.stdout(node));
    let mut said = world.json_events(node).split_off(before);
    said.retain(|event| !["done", "progress", "ready"].iter().any(|other| event["event"] == *other));
    said
}

/// How many of `events` have that name.
pub(crate) fn count(events: &[Value], name: &str) -> usize {
    events.iter().filter(|event| event["event"] == name).count()
}

/// The nodes on a list, as `ip:port`, the living ones first.
pub(crate) fn list(world: &mut World, node: NodeId, which: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let said = command(world, node, &format!("nodes {which}"));
    let rows = said.iter().filter(|event| event["event"] == "node");
    let row = |event: &Value| format!("{}:{}", event["ip"].as_str().unwrap_or("?"), event["port"]);
    let (up, down): (Vec<_>, Vec<_>) = rows.partition(|event| event["alive"] == true);
    (up.into_iter().map(row).collect(), down.into_iter().map(row).collect())
}

/// The living nodes on a list.
pub(crate) fn alive(world: &mut World, node: NodeId, which: &str) -> BTreeSet<String> {
    list(world, node, which).0
}

/// The addresses of all of `nodes` but one.
pub(crate) fn others(world: &World, nodes: &[NodeId], but: NodeId) -> BTreeSet<String> {
    nodes.iter().filter(|&&node| node != but).map(|&node| addr_of(world, node).to_string()).collect()
}

/// Each of `nodes` lists all the others on `which`, alive.
pub(crate) fn all_meet(world: &mut World, nodes: &[NodeId], which: &str) {
    for &node in nodes {
        let wanted = others(world, nodes, node);
        let found = alive(world, node, which);
        assert_eq!(found, wanted, "node {} on list {which}", node.0);
    }
}

/// Whether a whole copy of a shared file is among the downloads, under its name, a numbered one, or that of a file of the same
/// content: nothing is fetched that is here already.
pub(crate) fn has_copy(world: &World, node: NodeId, name: &str) -> bool {
    let disk = &world.nodes[node.0].disk;
    let here = |dir: Dir| disk.names(dir).into_iter().filter_map(move |name| disk.content(dir, &name));
    here(Dir::Downloads).chain(here(Dir::Shared)).any(|content| world.env.truth.whole(name, content))
}

/// No temporary file and nothing under `downloads/`.
pub(crate) fn nothing_left(world: &World, node: NodeId) {
    let disk = &world.nodes[node.0].disk;
    let (downloads, parts) = (disk.names(Dir::Downloads), disk.names(Dir::Parts));
    assert!(downloads.is_empty() && parts.is_empty(), "left behind: {downloads:?} {parts:?}");
}

/// What is unfinished are contents and their journals, in pairs that can be gone on with; how many pairs.
pub(crate) fn pairs(world: &World, node: NodeId) -> usize {
    let names = world.nodes[node.0].disk.names(Dir::Parts);
    let ending = |ending: &str| {
        let roots = names.iter().filter_map(|name| name.strip_suffix(ending));
        roots.map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let (parts, journals) = (ending(".part"), ending(".jnl"));
    assert!(parts == journals && parts.len() + journals.len() == names.len(), "left behind: {names:?}");
    parts.len()
}

/// Somebody who dials `to` once and does `steps`.
pub(crate) fn dialler(world: &mut World, host: HostId, to: SocketAddr, steps: Vec<Step>) -> ActorId {
    crowd(world, host, to, 1, S, steps)
}

/// Somebody who dials `to` so many times.
pub(crate) fn crowd(
    world: &mut World,
    host: HostId,
    to: SocketAddr,
    times: u32,
    every: Duration,
    steps: Vec<Step>,
) -> ActorId {
    world.actor(host, Script::new(Way::Dial { to, times, every }, steps))
}

/// Somebody who listens on `port` and does `steps` with each who comes.
pub(crate) fn listener(world: &mut World, host: HostId, port: u16, steps: Vec<Step>) -> ActorId {
    world.actor(host, Script::new(Way::Listen(port), steps))
}

pub(crate) fn send(bytes: impl AsRef<[u8]>) -> Step {
    Step::Send(bytes.as_ref().to_vec())
}

/// A request as the original writes it.
pub(crate) fn request(kind: &str, name: &str) -> String {
    serde_json::json!({"type": kind, "filename": name, "secret": V1_DEFAULT_SECRET}).to_string()
}

/// What the actor received, as text.
pub(crate) fn heard(world: &World, actor: ActorId) -> String {
    String::from_utf8_lossy(&world.log(actor).all()).into_owned()
}

/// A pair beside the thing a scene is about: the second fetches small files from the first, one after the other.
pub(crate) struct Healthy {
    from: NodeId,
    to: NodeId,
}

const ROUNDS: u32 = 20;
const ROUND: Duration = Duration::from_millis(300);

/// What is put into a folder is read after a second of quiet; only then a download is a matter of the network.
const KNOWN: Duration = Duration::from_millis(1500);

/// Starts such a pair for the next eight seconds; `from` may be a node that a scene attacks.
pub(crate) fn healthy(world: &mut World, from: NodeId, lan: LanId) -> Healthy {
    let host = world.host(&[lan]);
    let to = plain(world, host);
    for round in 0..ROUNDS {
        // Each of another content: what is here already is not transferred again.
        let name = format!("healthy{round}.bin");
        world.share(from, &name, Content::generated(4242 + u64::from(round), 40_000));
        world.later(KNOWN + ROUND * round, move |world| {
            // None waits long for its turn, whatever the others do (HOSTILE.md 6.3, 13).
            assert!(done(world, to, "get") + 4 > round as usize, "starved: {}", world.stdout(to));
            get(world, to, from, &name);
        });
    }
    Healthy { from, to }
}

impl Healthy {
    /// All transfers went through, without an error, and a search beside it still works.
    pub(crate) fn check(self, world: &mut World) {
        let Healthy { from, to } = self;
        let over = world.run_until(S * 10, |world| done(world, to, "get") == ROUNDS as usize);
        assert!(over, "the healthy pair was disturbed: {}", world.stdout(to));
        assert_eq!(errors(world, to), Vec::<String>::new());
        let whole = |round: &u32| world.has_download(to, &format!("healthy{round}.bin"));
        assert_eq!((0..ROUNDS).filter(whole).count(), ROUNDS as usize, "{:?}", world.downloads(to));
        let got = world.events_named(to, "downloaded");
        assert!(got.iter().all(|event| event["already"] != true), "no transfer: {got:?}");
        assert!(world.running(from), "the attacked node ended");
        let found = command(world, to, "search healthy0.bin");
        assert!(found.iter().any(|event| event["event"] == "found"), "{found:?}");
    }
}

thread_local! {
    static LOG: Cell<Option<String>> = const { Cell::new(None) };
}

/// Keeps the log lines of this thread; other tests run beside it.
struct Keeper;

impl log::Log for Keeper {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        let kept = LOG.take();
        let keeps = kept.is_some();
        LOG.set(kept);
        keeps
    }

    fn log(&self, record: &log::Record<'_>) {
        if let Some(mut kept) = LOG.take() {
            kept.push_str(&format!("{} {}\n", record.level(), record.args()));
            LOG.set(Some(kept));
        }
    }

    fn flush(&self) {}
}

/// What was logged, on all levels, while `body` ran.
pub(crate) fn logged(world: &mut World, body: impl FnOnce(&mut World)) -> String {
    // Whichever test comes second finds it set.
    let _ = log::set_logger(&Keeper);
    log::set_max_level(log::LevelFilter::Trace);
    LOG.set(Some(String::new()));
    body(world);
    LOG.take().unwrap_or_default()
}
