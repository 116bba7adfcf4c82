//! What a peer owes to others beyond the contract (HOSTILE.md 6.3: 5, 6, 8), judged by what it was told and by nothing
//! else: a second, plainer statement of the address rule than the one in `src/proto/address.rs`.
//!
//! Of "at most 100 bytes to an unproven address" this is what applies to v1: nothing at all is sent before the TCP
//! handshake, which no forged address completes; then one request of at most 4,096 bytes, which the original's format
//! fixes, and never two on one connection. A dial that begins as v2 does sends 100 bytes at most before it hears.

mod secrets;

use crate::env::Env;
use crate::ids::HostId;
use distrishare::config::{CHUNK, Limits, PeerConfig, V1_DEFAULT_SECRET};
use distrishare::machine::{Census, ConnId, Fault, Input};
use secrets::Secrets;
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const HOUR: u64 = 3_600_000_000;
/// Sockets a peer keeps for telling callers that there is no room.
const BUSY_RESERVE: usize = 16;
/// Bytes to somebody who has not said anything yet.
const UNPROVEN_MAX: usize = 100;
/// From here on a first byte is none of v1's.
const V2_FIRST: u8 = 0x80;
/// The longest request of v1.
const REQUEST_MAX: usize = 4096;

/// How the list of a member's `peers` begins, and what it takes at most.
const NODES: &[u8] = b"\"nodes\":[";
const LIST_MAX: usize = 4096;

/// The knowledge of one life of a peer, and what it must not do with it.
pub(crate) struct Rules {
    pub(super) limits: Limits,
    port: u16,
    secret: String,
    secrets: Secrets,
    /// The command line; later also everything the operator typed.
    at_start: String,
    words: String,
    resolved: BTreeSet<SocketAddr>,
    /// Where datagrams came from, and what those from this host said.
    sources: BTreeSet<IpAddr>,
    said_here: BTreeSet<SocketAddr>,
    /// Named by an answer that came over a connection we made; with that connection's address.
    named: BTreeMap<SocketAddr, BTreeSet<IpAddr>>,
    /// Sent something over a connection we made.
    proven: BTreeSet<SocketAddr>,
    dialled: BTreeMap<ConnId, Dialled>,
    /// When a stranger's address failed.
    failed: BTreeMap<SocketAddr, Vec<u64>>,
    /// The last bytes of each connection, which may be the beginning of a list of nodes.
    heard: BTreeMap<ConnId, Vec<u8>>,
}

#[derive(Debug)]
struct Dialled {
    addr: SocketAddr,
    stranger: bool,
    connected: bool,
    /// Something came.
    heard: bool,
    /// The request, or how a stream of v2 begins.
    sent: Vec<u8>,
    got: Vec<u8>,
}

impl Dialled {
    fn is_v2(&self) -> bool {
        self.sent.first().is_some_and(|&first| first >= V2_FIRST)
    }
}

impl Rules {
    pub(crate) fn new(config: &PeerConfig) -> Rules {
        let at_start: String = config.bootstraps.iter().map(|target| format!("{target} ")).collect();
        Rules {
            limits: config.limits.clone(),
            port: config.listen.port(),
            secret: config.v1_secret.reveal().to_owned(),
            secrets: Secrets::new(config),
            words: at_start.clone(),
            at_start,
            resolved: BTreeSet::new(),
            sources: BTreeSet::new(),
            said_here: BTreeSet::new(),
            named: BTreeMap::new(),
            proven: BTreeSet::new(),
            dialled: BTreeMap::new(),
            failed: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// The process is gone, and with it what it knew.
    pub(crate) fn forget(&mut self) {
        self.words.clone_from(&self.at_start);
        self.resolved.clear();
        self.sources.clear();
        self.said_here.clear();
        self.named.clear();
        self.proven.clear();
        self.dialled.clear();
        self.failed.clear();
        self.heard.clear();
        self.secrets.forget();
    }

    pub(crate) fn typed(&mut self, bytes: &[u8]) {
        if self.words.len() < 1 << 16 {
            self.words.push_str(&String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]));
        }
    }

    pub(crate) fn told(&mut self, env: &Env, host: HostId, input: &Input<'_>) {
        match input {
            Input::Datagram { from, bytes } => {
                self.sources.insert(from.ip());
                let text = String::from_utf8_lossy(bytes);
                let mut fields = text.split([':', ' ']).skip(1);
                let said = (fields.next().and_then(|f| f.parse().ok()), fields.next().map(str::parse));
                if let (Some(ip), Some(Ok(port)), true) = (said.0, said.1, is_own(env, host, from.ip())) {
                    self.said_here.insert(SocketAddr::new(IpAddr::V4(ip), port));
                }
            }
            Input::Resolved { result: Ok(addr), .. } => {
                self.resolved.insert(*addr);
            }
            Input::Connected { conn, .. } => {
                if let Some(dialled) = self.dialled.get_mut(conn) {
                    dialled.connected = true;
                }
            }
            Input::Closed { conn, fault } => {
                self.secrets.ended(*conn);
                self.heard.remove(conn);
                let failed = self.dialled.remove(conn).filter(|dialled| !dialled.connected);
                if let Some(Dialled { addr, stranger: true, .. }) =
                    failed.filter(|_| *fault != Fault::TooManyOpen)
                {
                    self.failed.entry(addr).or_default().push(env.now);
                }
            }
            _ => {}
        }
    }

    /// We end it.
    pub(crate) fn ended(&mut self, conn: ConnId) {
        self.secrets.ended(conn);
        self.heard.remove(&conn);
        self.dialled.remove(&conn);
    }

    pub(crate) fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        self.members_named(conn, bytes);
        let Some(dialled) = self.dialled.get_mut(&conn) else { return };
        // A registry's answer begins a connection; what looks like one in the middle is part of something else.
        let late = dialled.heard && dialled.got.is_empty();
        dialled.heard |= !bytes.is_empty();
        self.proven.insert(dialled.addr);
        if late
            || dialled.got.len() > self.limits.registry_answer_max
            || dialled.got.first().or(bytes.first()).is_none_or(|&b| b != b'{')
        {
            return;
        }
        dialled.got.extend_from_slice(bytes);
        let at = dialled.addr.ip();
        // Every pair of brackets that holds an address and a port.
        for pair in String::from_utf8_lossy(&dialled.got).split('[') {
            let inside = pair.split(']').next().unwrap_or("");
            let mut parts = inside.split(',').map(|part| part.trim().trim_matches('"'));
            if let (Some(Ok(ip)), Some(Ok(port))) =
                (parts.next().map(str::parse), parts.next().map(str::parse))
            {
                self.named.entry(SocketAddr::new(ip, port)).or_default().insert(at);
            }
        }
    }

    /// Addresses that members name (`peers`): their records can be read here, for their cipher is none.
    fn members_named(&mut self, conn: ConnId, bytes: &[u8]) {
        let by = self.dialled.get(&conn).map_or(Ipv4Addr::UNSPECIFIED.into(), |dialled| dialled.addr.ip());
        let mut all = self.heard.remove(&conn).unwrap_or_default();
        all.extend_from_slice(bytes);
        let mut rest = all.as_slice();
        while let Some(at) = find_nodes(rest) {
            let list = &rest[at + NODES.len()..];
            let Some(end) = list.iter().take(LIST_MAX).position(|&byte| byte == b']') else {
                rest = if list.len() < LIST_MAX { &rest[at..] } else { list };
                if list.len() < LIST_MAX { break } else { continue }
            };
            let text = String::from_utf8_lossy(&list[..end]);
            for addr in text.split('"').filter_map(|word| word.parse().ok()) {
                self.named.entry(addr).or_default().insert(by);
            }
            rest = &list[end..];
        }
        // What may go on with the next bytes.
        let begun = rest.starts_with(NODES);
        let from = if begun { 0 } else { rest.len().saturating_sub(NODES.len() - 1) };
        self.heard.insert(conn, rest[from..].to_vec());
    }

    /// A connection came in from there: a port of that host may be claimed on it.
    pub(crate) fn came(&mut self, from: IpAddr) {
        self.sources.insert(from);
    }

    /// Invariant 6: every dialled address passes the address rule with the knowledge at that time.
    pub(crate) fn dials(&mut self, env: &Env, host: HostId, conn: ConnId, addr: SocketAddr) {
        let IpAddr::V4(ip) = addr.ip() else { panic!("no IPv6 in this world: {addr}") };
        let never = addr.port() == 0 || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast();
        assert!(!never, "dials {addr}");
        assert!(addr.port() != self.port || !is_own(env, host, addr.ip()), "dials itself: {addr}");
        let typed = self.words.contains(&ip.to_string()) || self.resolved.contains(&addr);
        let near = env.net.topology.interfaces(host).iter().any(|interface| interface.contains(addr.ip()));
        if !typed {
            assert!(addr.port() >= 1024, "dials the low port of {addr}, which nobody typed");
            let heard = self.sources.contains(&addr.ip()) || self.said_here.contains(&addr);
            let named = self.named.get(&addr);
            assert!(heard || named.is_some(), "dials {addr}, of which nobody told");
            let here = self.said_here.contains(&addr)
                || self.sources.contains(&addr.ip())
                || named.is_some_and(|by| by.iter().any(IpAddr::is_loopback));
            assert!(!ip.is_loopback() || here, "dials {addr}, which another host named");
        }
        let stranger = !typed && !near && !self.proven.contains(&addr);
        if stranger {
            let failed = self.failed.entry(addr).or_default();
            failed.retain(|at| env.now - at < HOUR);
            assert!(failed.len() < 3, "dials {addr} again, which failed {} times in an hour", failed.len());
        }
        let (sent, got) = (Vec::new(), Vec::new());
        let dialled = Dialled { addr, stranger, connected: false, heard: false, sent, got };
        self.dialled.insert(conn, dialled);
        let flying: Vec<_> = self.dialled.values().filter(|dialled| !dialled.connected).collect();
        let strangers = flying.iter().filter(|dialled| dialled.stranger);
        assert!(flying.len() <= self.limits.dials + self.limits.dials_unproven, "{} dials", flying.len());
        assert!(strangers.clone().count() <= self.limits.dials_unproven, "dials to too many strangers");
        let net = |addr: SocketAddr| match addr.ip() {
            IpAddr::V4(ip) => u32::from(ip) >> 8,
            IpAddr::V6(_) => 0,
        };
        let beside = strangers.filter(|dialled| net(dialled.addr) == net(addr)).count();
        assert!(!stranger || beside <= self.limits.dials_per_net, "{beside} dials into the /24 of {addr}");
    }

    /// Invariant 5: the secret goes into requests and nowhere else; one that is not public, to few. The group's key
    /// goes nowhere. Invariant 6: little goes to somebody who has not said anything yet.
    pub(crate) fn sends(&mut self, env: &Env, host: HostId, conn: ConnId, bytes: &[u8]) {
        self.secrets.sends(conn, bytes);
        let secret = self.secret.as_bytes();
        let contains =
            |text: &[u8]| text.len() >= secret.len() && text.windows(secret.len()).any(|w| w == secret);
        let Some(dialled) = self.dialled.get_mut(&conn) else {
            // An answer or the console; a file may hold anything.
            let short = &bytes[..bytes.len().min(512)];
            return assert!(!contains(short), "{conn:?}: the secret in {:?}", String::from_utf8_lossy(short));
        };
        let addr = dialled.addr;
        if dialled.is_v2() && dialled.heard {
            return;
        }
        dialled.sent.extend_from_slice(bytes);
        let sent = dialled.sent.len();
        if dialled.is_v2() {
            assert!(!contains(&dialled.sent), "the secret goes to {addr}, where nobody speaks v1");
            let silent = !dialled.heard;
            return assert!(
                !silent || sent <= UNPROVEN_MAX,
                "{sent} bytes to {addr}, which said nothing yet"
            );
        }
        assert!(sent <= REQUEST_MAX, "{sent} bytes of requests to {addr}");
        let near = env.net.topology.interfaces(host).iter().any(|interface| interface.contains(addr.ip()));
        let typed = self.words.contains(&addr.ip().to_string()) || self.resolved.contains(&addr);
        let allowed = self.secret == V1_DEFAULT_SECRET || near || typed;
        assert!(allowed || !contains(&dialled.sent), "the secret goes to {addr}, a stranger");
    }

    /// A datagram for everybody who listens.
    pub(crate) fn announces(&self, bytes: &[u8]) {
        self.secrets.check(bytes, "a datagram");
    }

    /// Bytes for the log of the state folder.
    pub(crate) fn keeps(&self, bytes: &[u8]) {
        self.secrets.check(bytes, "the log");
    }

    /// What was logged while this peer ran, if a scene collected it.
    pub(crate) fn logs(&self, text: &str) {
        self.secrets.check(text.as_bytes(), "a log line");
    }

    /// Invariant 8: what is counted stays within its limit.
    pub(crate) fn census(&self, node: usize, census: Census) {
        let limits = &self.limits;
        let Census { conns, files, timers, nodes, buffered, unsent, .. } = census;
        let most = limits.conns + BUSY_RESERVE + 2 + limits.controls;
        assert!(conns <= most, "node {node}: {conns} connections, at most {most}");
        assert!(files <= limits.open_files, "node {node}: {files} files, at most {}", limits.open_files);
        assert!(nodes <= limits.known_nodes, "node {node}: {nodes} nodes, at most {}", limits.known_nodes);
        // And the last words of commands.
        let most = 2 * limits.console_out_max.max(limits.script_out_max) + limits.line_max + (64 << 10);
        let most = most + limits.controls * (limits.script_out_max + 6 * limits.line_max + (128 << 10));
        assert!(buffered <= most, "node {node}: {buffered} bytes for the console, at most {most}");
        // Beyond what all may have each session has the one message that it was asked for when it had nothing to send.
        let most =
            limits.sessions_out_max + limits.session_out_max + conns * (limits.record_chunks + 1) * CHUNK;
        assert!(unsent <= most, "node {node}: {unsent} bytes for other nodes, at most {most}");
        // A session has a second one while a search waits for it.
        assert!(timers <= 2 * conns + 64, "node {node}: {timers} timers for {conns} connections");
    }
}

fn is_own(env: &Env, host: HostId, ip: IpAddr) -> bool {
    let interfaces = env.net.topology.interfaces(host);
    ip.is_loopback() || interfaces.iter().any(|interface| IpAddr::V4(interface.addr) == ip)
}

/// A source of datagrams as a scenario writes it.
pub(crate) fn source(ip: [u8; 4]) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), 31_000)
}

/// Where [`NODES`] stands. All that is received comes by here, so it goes from quote to quote.
fn find_nodes(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while rest.skip_until(NODES[0]).is_ok_and(|skipped| skipped > 0) {
        let at = bytes.len() - rest.len() - 1;
        if bytes[at..].starts_with(NODES) {
            return Some(at);
        }
    }
    None
}
