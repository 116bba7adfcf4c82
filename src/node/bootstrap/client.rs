//! Askers: one request, one answer, a lingering close so that the answer can be read.

use super::{Bootstrap, Conn, End, Timer};
use crate::machine::{ConnId, Output};
use crate::node::gate::Verdict;
use crate::node::outgoing::Outgoing;
use crate::node::registry::{Registered, refusal};
use crate::proto::escape::for_log;
use crate::proto::json::{FirstByte, ObjectScanner, Scan, first_byte};
use crate::proto::registry::{Register, encode_error, encode_page, encode_reply, parse_register};
use crate::time::Instant;
use std::net::SocketAddr;

/// More nodes than any answer holds: the shortest takes 17 bytes of its 1,400.
const SAMPLE_MAX: usize = 96;
/// Bytes of a page that the shortest node takes: `["1.1.1.1", 1024], `.
const NODE_MIN: usize = 19;

/// An accepted connection.
#[derive(Debug)]
pub(super) struct Client {
    /// Where it comes from; never an IPv4-mapped address.
    pub(super) peer: SocketAddr,
    pub(super) since: Instant,
    /// Its registration was taken in.
    pub(super) valid: bool,
    /// It finished sending.
    ended: bool,
    pub(super) stage: Stage,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Stage {
    /// The request is on its way. `begun`: more than white space came.
    Asking { request: ObjectScanner, begun: bool },
    /// The answer goes out. What still comes in is thrown away.
    Answering(Outgoing),
    /// The kernel has the answer. What still comes in is thrown away.
    Lingering { discarded: usize },
}

impl Stage {
    /// Bytes held for it.
    pub(super) fn buffered(&self) -> usize {
        match self {
            Stage::Asking { request, .. } => request.len(),
            Stage::Answering(out) => out.buffered(),
            Stage::Lingering { .. } => 0,
        }
    }
}

impl Client {
    /// The one setter: a connection only goes forward.
    fn set(&mut self, next: Stage) {
        let legal = matches!(
            (&self.stage, &next),
            (Stage::Asking { .. }, Stage::Answering(_)) | (Stage::Answering(_), Stage::Lingering { .. })
        );
        debug_assert!(legal, "{:?} -> {next:?}", self.stage);
        self.stage = next;
    }
}

/// What a first byte that does not belong to us is a sign of; `None` for JSON, and for text that its parser is to
/// refuse in words (a list, a byte order mark).
fn foreign(first: u8) -> Option<&'static str> {
    match (first_byte(first), first) {
        (FirstByte::Json | FirstByte::White, _) | (_, b'[' | 0xef | 0xfe | 0xff) => None,
        (FirstByte::Http, _) => Some("HTTP on the bootstrap port"),
        (FirstByte::V2 | FirstByte::Other, _) => Some("another protocol on the bootstrap port"),
    }
}

/// The address a node is listed under (the module's page says why).
fn listed_address(peer: SocketAddr, claim: Register) -> SocketAddr {
    let ip = if peer.ip().is_loopback() { claim.ip.to_canonical() } else { peer.ip() };
    SocketAddr::new(ip, claim.port)
}

impl Bootstrap {
    pub(super) fn accept(&mut self, now: Instant, peer: SocketAddr) -> Option<ConnId> {
        let limits = &self.config.limits;
        let room = limits.conns.saturating_sub(self.conns.len());
        let oldest = match self.gate.judge(peer.ip(), room, limits) {
            Verdict::Enters => None,
            Verdict::Replaces(oldest) => Some(oldest),
            // Whoever has its answer has had its turn.
            Verdict::Refused if room == 0 && !self.by_claim.is_empty() => {
                self.by_claim.first().map(|&(_, _, oldest)| oldest)
            }
            Verdict::Refused => {
                self.notice(now, "connection refused by a limit", peer.ip());
                return None;
            }
        };
        let request = ObjectScanner::new(self.config.limits.request_max);
        let stage = Stage::Asking { request, begun: false };
        let client = Client { peer, since: now, valid: false, ended: false, stage };
        let conn = ConnId(self.conns.insert(Conn::Client(client)));
        self.gate.enter(now, peer.ip(), conn);
        self.by_claim.insert((false, now, conn));
        self.timers.set(Timer::Conn(conn), now + self.config.limits.request_deadline, "request");
        // Only now: the slot of one that left just before would be given out again before the driver heard of it.
        if let Some(oldest) = oldest {
            self.notice(now, "connection closed to make room", peer.ip());
            self.end(now, oldest, End::Evicted);
        }
        Some(conn)
    }

    /// Returns whether to stop reading.
    pub(super) fn client_recv(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) -> bool {
        let Some(Conn::Client(client)) = self.conns.get_mut(conn.0) else { return false };
        let peer = client.peer;
        let (request, begun) = match &mut client.stage {
            Stage::Asking { request, begun } => (request, begun),
            Stage::Answering(_) => return false,
            // Closing now would reset the connection under a peer that still sends and has not read the answer:
            // it stays, unread, until its time is over.
            Stage::Lingering { discarded } => {
                *discarded = discarded.saturating_add(bytes.len());
                return *discarded >= self.config.limits.linger_bytes;
            }
        };
        if !*begun {
            if let Some(&first) = bytes.iter().find(|&&b| first_byte(b) != FirstByte::White) {
                *begun = true;
                if let Some(sign) = foreign(first) {
                    self.notice(now, sign, peer.ip());
                    self.end(now, conn, End::Foreign);
                    return false;
                }
            }
        }
        match request.push(bytes) {
            Scan::More => {}
            Scan::Complete => match parse_register(request.object(), request.trailing()) {
                Ok(claim) => self.register(now, conn, listed_address(peer, claim), claim),
                Err(why) => self.refuse(now, conn, &format!("{why}")),
            },
            Scan::Bad(why) => self.refuse(now, conn, &why.to_string()),
        }
        false
    }

    /// The kernel took bytes of the answer.
    pub(super) fn client_sent(&mut self, now: Instant, conn: ConnId, n: usize) {
        let Some(Conn::Client(client)) = self.conns.get_mut(conn.0) else { return };
        let Stage::Answering(out) = &mut client.stage else { return };
        out.sent(n);
        if !out.is_empty() {
            return;
        }
        if client.ended {
            return self.end(now, conn, End::Answered);
        }
        client.set(Stage::Lingering { discarded: 0 });
        self.timers.set(Timer::Conn(conn), now + self.config.limits.linger, "linger");
        self.outputs.push_back(Output::Shutdown { conn });
    }

    pub(super) fn eof(&mut self, now: Instant, conn: ConnId) {
        let Some(Conn::Client(client)) = self.conns.get_mut(conn.0) else { return };
        client.ended = true;
        match client.stage {
            Stage::Asking { begun: false, .. } => self.end(now, conn, End::Empty),
            Stage::Asking { .. } => self.refuse(now, conn, "the request ends before its object does"),
            Stage::Answering(_) => {}
            Stage::Lingering { .. } => self.end(now, conn, End::Answered),
        }
    }

    fn register(&mut self, now: Instant, conn: ConnId, addr: SocketAddr, claim: Register) {
        if let Some(why) = refusal(addr, self.config.listen) {
            return self.refuse(now, conn, &why);
        }
        let listed = (!claim.guest).then(|| self.registry.register(now, addr, &mut self.rng));
        match listed {
            Some(Err(crowd)) => return self.refuse(now, conn, &crowd.to_string()),
            Some(Ok(Registered::New)) => {
                self.notice(now, "new node", addr);
                self.membership_changed(now);
            }
            Some(Ok(Registered::Renewed)) | None => {}
        }
        let Some(Conn::Client(client)) = self.conns.get_mut(conn.0) else { return };
        let on_host = client.peer.ip().is_loopback();
        client.valid = true;
        self.by_claim.remove(&(false, client.since, conn));
        self.by_claim.insert((true, client.since, conn));
        self.gate.authenticated(client.peer.ip(), client.since, conn);

        let reply = match claim.after {
            None => self.sample(addr, on_host),
            Some(after) => {
                let max = self.config.limits.registry_page_max;
                let page = self.registry.page(addr, on_host, after, max / NODE_MIN);
                encode_page(&page.nodes, max, |given| page.next(given))
            }
        };
        self.answer(now, conn, reply);
        if !claim.guest {
            self.probe_early(now, addr);
        }
    }

    /// The original's answer: as many nodes as fit into one segment, others each time.
    fn sample(&mut self, caller: SocketAddr, on_host: bool) -> Vec<u8> {
        let sample = self.registry.sample(caller, on_host, SAMPLE_MAX);
        let (reply, given) = encode_reply(&sample, self.config.limits.registry_reply_max);
        self.registry.gave(sample.get(1..given).unwrap_or_default());
        reply
    }

    fn refuse(&mut self, now: Instant, conn: ConnId, why: &str) {
        let Some(Conn::Client(client)) = self.conns.get(conn.0) else { return };
        let detail = format!("{}: {}", client.peer.ip(), for_log(why));
        self.notice(now, "request refused", detail);
        self.answer(now, conn, encode_error(why));
    }

    fn answer(&mut self, now: Instant, conn: ConnId, bytes: Vec<u8>) {
        let Some(Conn::Client(client)) = self.conns.get_mut(conn.0) else { return };
        client.set(Stage::Answering(Outgoing::bytes(bytes)));
        self.timers.set(Timer::Conn(conn), now + self.config.limits.drain_interval, "answer");
        self.outputs.push_back(Output::Wake { conn });
    }
}
