//! Questions to other nodes and registries: one short exchange a connection, with one deadline from dial to answer.

use super::{Conn, Peer, Timer};
use crate::machine::{ConnId, Fault, Output, Received, Transmit};
use crate::node::api::{Code, Failure};
use crate::node::contacts::address_book::Via;
use crate::node::ids::{JobId, TransferId};
use crate::node::outgoing::Outgoing;
use crate::node::sessions::outcome::Class;
use crate::proto::address::{Learned, admit};
use crate::proto::registry;
use crate::proto::v1::{self, Request, SearchAnswer};
use crate::time::{Duration, Instant};
use std::net::SocketAddr;

/// Bytes of an answer to a search that are looked at; the longest honest one is an error text.
const SEARCH_ANSWER_MAX: usize = 1024;

/// What is asked, and on whose behalf.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// Does a node listen there? For a node list.
    Probe(JobId),
    /// Has it this file? For a search.
    Search(JobId, String),
    /// Has it this file? Before a download of it.
    Before(TransferId, String),
    /// Register us, and which other nodes are there? By number of the registry.
    Register(usize),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    /// Connected; nothing was asked.
    Alive,
    Found,
    NotFound,
    /// The registry's list.
    Nodes(registry::Answer),
    /// The other side's own words, not yet escaped.
    Refused(String),
    /// Something that is no answer at all.
    Garbage,
    Failed(Fault),
    /// Neither answer nor failure within the deadline.
    TimedOut,
}

/// A question under way.
#[derive(Debug)]
pub(super) struct Ask {
    addr: SocketAddr,
    class: Class,
    purpose: Purpose,
    state: State,
}

/// Waiting → Dialing → Talking → Ended.
#[derive(Debug)]
enum State {
    /// For a dial slot.
    Waiting,
    Dialing,
    Talking {
        out: Outgoing,
        answer: Vec<u8>,
    },
    /// The world closed the connection.
    Ended,
}

impl Peer {
    /// Asks the node or registry at `addr`, as soon as a dial slot is free.
    pub(super) fn ask(&mut self, now: Instant, addr: SocketAddr, class: Class, purpose: Purpose) -> ConnId {
        let ask = Ask { addr, class, purpose, state: State::Waiting };
        let conn = ConnId(self.conns.insert(Conn::Ask));
        self.asks.insert(conn, ask);
        self.contacts.dialer.enqueue(now, conn, addr, class);
        conn
    }

    /// The question's turn has come.
    pub(super) fn ask_dial(&mut self, now: Instant, conn: ConnId) {
        let Some(ask) = self.ask_mut(conn) else { return };
        ask.state = State::Dialing;
        let (addr, purpose) = (ask.addr, ask.purpose.clone());
        let (deadline, reason) = self.deadline_of(&purpose);
        self.dial(conn, addr);
        self.timers.set(Timer::Conn(conn), now + deadline, reason);
    }

    fn deadline_of(&self, purpose: &Purpose) -> (Duration, &'static str) {
        let limits = &self.config.limits;
        match purpose {
            Purpose::Probe(_) => (limits.probe_deadline, "probe"),
            Purpose::Search(..) => (limits.search_deadline, "search"),
            Purpose::Before(..) => (limits.connect_deadline, "search before download"),
            Purpose::Register(_) => (limits.register_deadline, "register"),
        }
    }

    pub(super) fn ask_connected(&mut self, now: Instant, conn: ConnId, local: SocketAddr) {
        let Some(ask) = self.ask_mut(conn) else { return };
        let (addr, class, purpose) = (ask.addr, ask.class, ask.purpose.clone());
        ask.state = State::Talking { out: Outgoing::default(), answer: Vec::new() };
        self.contacts.dialer.landed(addr, class, true, now);
        let request = match purpose {
            Purpose::Probe(_) => return self.ask_done(now, conn, Answer::Alive),
            Purpose::Search(_, name) | Purpose::Before(_, name) => {
                v1::encode_request(&Request::Search { name }, &self.config.v1_secret)
            }
            Purpose::Register(number) => {
                let me = self.registered_as(local.ip());
                let after = self.registries.get(number).map_or("", |registry| registry.after());
                registry::encode_page_request(me.ip(), me.port(), after, self.config.once.is_some())
            }
        };
        if let Some(Ask { state: State::Talking { out, .. }, .. }) = self.ask_mut(conn) {
            out.push(&request);
            self.outputs.push_back(Output::Wake { conn });
        }
    }

    pub(super) fn ask_recv(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) -> Received {
        let registry_max = self.config.limits.registry_answer_max;
        if let Some(Ask { state: State::Talking { answer, .. }, purpose, .. }) = self.ask_mut(conn) {
            let max = if matches!(purpose, Purpose::Register(_)) { registry_max } else { SEARCH_ANSWER_MAX };
            let room = max - answer.len();
            answer.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if bytes.len() > room {
                self.ask_read(now, conn);
            }
        }
        Received { consumed: bytes.len(), ..Received::default() }
    }

    /// The answer is whole, or as long as it may be.
    pub(super) fn ask_read(&mut self, now: Instant, conn: ConnId) {
        if let Some(Ask { state: State::Talking { answer, .. }, purpose, .. }) = self.ask_mut(conn) {
            let answer = Answer::read(answer, purpose);
            self.ask_done(now, conn, answer);
        }
    }

    pub(super) fn ask_timeout(&mut self, now: Instant, conn: ConnId) {
        match self.ask_mut(conn).map(|ask| &ask.state) {
            // A peer that answered and does not hang up has answered all the same.
            Some(State::Talking { answer, .. }) if !answer.is_empty() => self.ask_read(now, conn),
            Some(_) => self.ask_done(now, conn, Answer::TimedOut),
            None => {}
        }
    }

    /// The world ended the connection.
    pub(super) fn ask_closed(&mut self, now: Instant, conn: ConnId, fault: Fault) {
        let Some(ask) = self.ask_mut(conn) else { return };
        let (addr, class) = (ask.addr, ask.class);
        let answer = match std::mem::replace(&mut ask.state, State::Ended) {
            State::Talking { answer, .. } if !answer.is_empty() => Answer::read(&answer, &ask.purpose),
            State::Dialing => {
                self.contacts.dialer.landed(addr, class, false, now);
                Answer::Failed(fault)
            }
            _ => Answer::Failed(fault),
        };
        self.socket_closed();
        self.ask_done(now, conn, answer);
    }

    pub(super) fn ask_transmit(ask: &Ask) -> Option<Transmit<'_>> {
        match &ask.state {
            State::Talking { out, .. } => out.transmit(),
            _ => None,
        }
    }

    pub(super) fn ask_sent(&mut self, conn: ConnId, n: usize) {
        if let Some(Ask { state: State::Talking { out, .. }, .. }) = self.ask_mut(conn) {
            out.sent(n);
        }
    }

    /// Ends the question and tells whoever asked.
    fn ask_done(&mut self, now: Instant, conn: ConnId, answer: Answer) {
        let Some(ask) = self.drop_ask(now, conn) else { return };
        let Ask { addr, purpose, .. } = ask;
        // A connection alone proves no node: anything that listens takes one.
        if matches!(answer, Answer::Found | Answer::NotFound) {
            if let Purpose::Before(transfer, _) = purpose {
                // Only now: a mistyped address would stay on the list of nodes.
                let via = if self.is_typed(transfer) { Via::Operator } else { Via::Dial };
                self.contacts.book.learn(addr, via, now);
                // v2 was tried there first.
                let legacy = self.contacts.book.get(addr).is_some_and(|node| node.is_legacy(now));
                if !legacy && self.falls_back_at(addr, now) {
                    self.contacts.book.set_legacy(addr, now);
                }
            }
            self.contacts.book.prove(addr, now);
        }
        match purpose {
            Purpose::Probe(job) => self.probed(now, job, addr, matches!(answer, Answer::Alive)),
            Purpose::Search(job, name) => self.old_answered(now, job, addr, &name, &answer),
            Purpose::Before(transfer, _) => self.fetch_searched(now, transfer, answer),
            Purpose::Register(number) => self.registered(now, number, addr, answer),
        }
    }

    /// Breaks the question off without telling anybody.
    pub(super) fn drop_ask(&mut self, now: Instant, conn: ConnId) -> Option<Ask> {
        let ask = self.asks.remove(&conn)?;
        self.conns.remove(conn.0);
        self.timers.cancel(Timer::Conn(conn));
        match ask.state {
            State::Waiting => self.contacts.dialer.withdraw(conn),
            State::Dialing => {
                self.contacts.dialer.landed(ask.addr, ask.class, false, now);
                self.hang_up(conn, false);
            }
            State::Talking { .. } => self.hang_up(conn, false),
            State::Ended => {}
        }
        Some(ask)
    }

    /// An address the operator typed, checked.
    pub(super) fn typed(&self, addr: SocketAddr) -> Result<SocketAddr, Failure> {
        admit(addr, Learned::Operator, &self.here()).map_err(|refused| {
            Failure::new(Code::Usage, format!("{addr} cannot be a node's address: {refused}"))
        })
    }

    fn ask_mut(&mut self, conn: ConnId) -> Option<&mut Ask> {
        self.asks.get_mut(&conn)
    }
}

impl Answer {
    /// What the bytes mean as an answer to this question.
    fn read(bytes: &[u8], purpose: &Purpose) -> Answer {
        match purpose {
            Purpose::Probe(_) => Answer::Alive,
            _ if bytes.is_empty() => Answer::Garbage,
            Purpose::Search(..) | Purpose::Before(..) => match v1::parse_search_answer(bytes) {
                SearchAnswer::Found => Answer::Found,
                SearchAnswer::NotFound => Answer::NotFound,
                SearchAnswer::Refused(text) => Answer::Refused(text),
                // The port of a registry, typed by mistake: its complaint would be stored as the file.
                SearchAnswer::Garbage if matches!(purpose, Purpose::Before(..)) => {
                    registry::parse_answer(bytes).map_or(Answer::Garbage, Answer::Nodes)
                }
                SearchAnswer::Garbage => Answer::Garbage,
            },
            Purpose::Register(_) => match registry::parse_answer(bytes) {
                Ok(registry::Answer { error: Some(text), .. }) => Answer::Refused(text),
                Ok(nodes) => Answer::Nodes(nodes),
                Err(_) => Answer::Garbage,
            },
        }
    }

    /// The answer as the reason why a command failed. `who` was asked.
    pub(super) fn failure(&self, who: &str) -> Failure {
        use crate::proto::escape::for_terminal;
        let (code, text) = match self {
            Answer::Refused(text) => (Code::Refused, format!("{who} refused: {}", for_terminal(text))),
            Answer::NotFound => (Code::NotFound, format!("{who} does not have it")),
            Answer::Failed(Fault::Refused) => {
                (Code::Network, format!("{who} refused the connection: is a node running there?"))
            }
            Answer::Failed(Fault::Unreachable) => {
                let advice = "is the address right, and is this computer on that network?";
                (Code::Network, format!("{who}: {}: {advice}", Fault::Unreachable))
            }
            Answer::Failed(fault) => (Code::Network, format!("{who}: {fault}")),
            Answer::TimedOut => (Code::Timeout, format!("{who} did not answer in time")),
            Answer::Nodes(_) => (
                Code::Network,
                format!("{who} is a registry, not a node: `search` names nodes with the file"),
            ),
            Answer::Alive | Answer::Found | Answer::Garbage => {
                (Code::Network, format!("{who} gave no proper answer: is it DistriShare that listens there?"))
            }
        };
        Failure::new(code, text)
    }
}
