//! The peer as a client of registries: it registers, takes in the nodes it is told of, and comes back before its lease ends.

use super::ask::{Answer, Purpose};
use super::{Peer, Resolving, Timer};
use crate::config::HostPort;
use crate::machine::{Fault, Output};
use crate::node::api::{Code, Event, Failure, plural};
use crate::node::contacts::address_book::Via;
use crate::node::ids::JobId;
use crate::node::sessions::outcome::Class;
use crate::proto::address::{Learned, admit};
use crate::proto::escape::{for_log, for_terminal};
use crate::proto::registry;
use crate::time::{Duration, Instant};
use log::{debug, warn};
use std::net::{IpAddr, SocketAddr};

/// First and longest pause after a registration that failed.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(120));

/// The pause before the next page, …
const NEXT_PAGE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(150));
/// … before a registry that knows no pages, and names other nodes each time, is asked again, …
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(1500));
/// … and before one that had much news, or named nobody yet, is asked for what is new since.
const GROWING: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(25));
/// Much: one in so many of all that it named.
const MUCH: usize = 20;
/// After so long the list is read from its beginning again.
const AFRESH: Duration = Duration::from_secs(600);

/// A registry we were told of.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) target: HostPort,
    /// The commands that wait for the answer.
    jobs: Vec<JobId>,
    /// A registration is under way.
    busy: bool,
    /// Come back, whatever happens.
    keep: bool,
    /// Failures since the last success.
    failures: u32,
    health: Health,
    list: List,
}

/// How far its list was read.
#[derive(Debug)]
struct List {
    /// Since when it is read.
    since: Instant,
    /// So often may it be asked before the time of a refresh, whatever it answers.
    left: usize,
    /// Where to go on, in the registry's words; empty: at the beginning.
    after: String,
    /// Nodes that it named.
    named: usize,
    /// Of those, new ones since the last pause that was no short one.
    news: usize,
}

impl List {
    fn new(now: Instant, known_nodes: usize) -> List {
        // With the shortest answers that there are, so many fill our own list.
        let left = (known_nodes / 100).max(8);
        List { since: now, left, after: String::new(), named: 0, news: 0 }
    }

    /// An answer named `others`, of them `fresh` new ones. When to ask again, if before the time of a refresh.
    fn goes_on(
        &mut self,
        answer: &registry::Answer,
        others: usize,
        fresh: usize,
    ) -> Option<(Duration, Duration)> {
        self.named = others.max(self.named + fresh);
        self.news += fresh;
        let next = answer.next.clone().unwrap_or_default();
        let moved = next != self.after && !answer.nodes.is_empty();
        self.after = next;
        let pause = if self.after.is_empty() {
            (fresh > 0).then_some(AGAIN)
        } else if answer.more && moved {
            Some(NEXT_PAGE)
        } else {
            let news = std::mem::take(&mut self.news);
            (self.named == 0 || news * MUCH > self.named).then_some(GROWING)
        };
        self.left = self.left.checked_sub(1)?;
        pause
    }
}

#[derive(Debug)]
enum Health {
    Untried,
    Registered { nodes: usize },
    Failed(String),
}

impl Registry {
    pub(super) fn new(target: HostPort) -> Registry {
        let list = List::new(Instant::ZERO, 0);
        Registry {
            target,
            jobs: Vec::new(),
            busy: false,
            keep: false,
            failures: 0,
            health: Health::Untried,
            list,
        }
    }

    /// Neither answer nor failure is awaited.
    pub(super) fn is_settled(&self) -> bool {
        !self.busy
    }

    /// Where its list goes on.
    pub(super) fn after(&self) -> &str {
        &self.list.after
    }

    /// Its address as typed, fit for a terminal.
    fn shown(&self) -> String {
        for_terminal(&self.target.to_string())
    }

    /// A line for `status`.
    pub(super) fn describe(&self) -> String {
        match &self.health {
            Health::Untried => format!("{}: not asked yet", self.target),
            Health::Registered { nodes } => {
                format!("{}: registered, {}", self.target, plural(*nodes, "other node", "other nodes"))
            }
            // Its text begins with the word that `status` has in front of it anyway.
            Health::Failed(text) => text.strip_prefix("bootstrap ").unwrap_or(text).to_owned(),
        }
    }
}

impl Peer {
    /// The number of the registry at `target`, new or known.
    pub(super) fn registry_at(&mut self, target: HostPort) -> usize {
        if let Some(number) = self.registries.iter().position(|registry| registry.target == target) {
            return number;
        }
        self.registries.push(Registry::new(target));
        self.registries.len() - 1
    }

    /// Registers, for a command (`job`) or on our own; `keep`: goes on trying if it fails.
    pub(super) fn register(&mut self, now: Instant, number: usize, job: Option<JobId>, keep: bool) {
        let Some(registry) = self.registries.get_mut(number) else { return };
        registry.keep |= keep;
        registry.jobs.extend(job);
        if std::mem::replace(&mut registry.busy, true) {
            return;
        }
        if job.is_some() || matches!(registry.health, Health::Untried) || now - registry.list.since >= AFRESH
        {
            registry.list = List::new(now, self.config.limits.known_nodes);
        }
        match registry.target.literal() {
            Some(addr) => self.register_at(now, number, addr),
            None => {
                let HostPort { host, port } = registry.target.clone();
                self.resolve(host, port, Resolving::Registry(number));
            }
        }
    }

    fn register_at(&mut self, now: Instant, number: usize, addr: SocketAddr) {
        match self.typed(addr) {
            Ok(addr) => {
                // Without multicast nobody else asks for them, and the answer is judged by where we are.
                self.outputs.push_back(Output::ListInterfaces);
                self.ask(now, addr, Class::Near, Purpose::Register(number));
            }
            Err(failure) => self.register_failed(now, number, &failure),
        }
    }

    /// The registry's name was looked up.
    pub(super) fn registry_resolved(
        &mut self,
        now: Instant,
        number: usize,
        result: Result<SocketAddr, Fault>,
    ) {
        match result {
            Ok(addr) => self.register_at(now, number, addr),
            Err(fault) => {
                let Some(registry) = self.registries.get(number) else { return };
                let target = registry.shown();
                let text = format!("bootstrap {target}: {fault}: is the name spelt right?");
                self.register_failed(now, number, &Failure::new(Code::Network, text));
            }
        }
    }

    /// What we call ourselves there: the address the registry sees us from, unless we were told another.
    pub(super) fn registered_as(&self, local: IpAddr) -> SocketAddr {
        let bound = Some(self.listen.ip()).filter(|ip| !ip.is_unspecified());
        SocketAddr::new(self.config.announce.or(bound).unwrap_or(local), self.listen.port())
    }

    /// The registry answered, or did not.
    pub(super) fn registered(&mut self, now: Instant, number: usize, addr: SocketAddr, answer: Answer) {
        let Some(registry) = self.registries.get(number) else { return };
        let target = registry.shown();
        match answer {
            Answer::Nodes(nodes) => self.take_in(now, number, addr, &nodes),
            Answer::Failed(Fault::Refused) => {
                let text =
                    format!("bootstrap {target} refused the connection: is ds-bootstrap running there?");
                self.register_failed(now, number, &Failure::new(Code::Network, text));
            }
            Answer::TimedOut => {
                let wait = self.config.limits.register_deadline.as_secs();
                let text = format!(
                    "bootstrap {target} did not answer within {wait} s: is the address right, the host up?"
                );
                self.register_failed(now, number, &Failure::new(Code::Timeout, text));
            }
            other => {
                let failure = other.failure(&format!("bootstrap {target}"));
                self.register_failed(now, number, &failure);
            }
        }
    }

    fn take_in(&mut self, now: Instant, number: usize, addr: SocketAddr, answer: &registry::Answer) {
        let (mut others, mut fresh) = (0, 0);
        for &node in &answer.nodes {
            match admit(node, Learned::Registry { at: addr.ip() }, &self.here()) {
                Ok(node) => {
                    let new = self.contacts.book.get(node).is_none();
                    let kept = self.contacts.book.learn(node, Via::Registry, now);
                    others += usize::from(kept);
                    fresh += usize::from(kept && new);
                }
                Err(refused) => debug!("registry {addr} names {node}: {refused}"),
            }
        }
        if answer.skipped > 0 {
            debug!("registry {addr}: {} entries are no addresses", answer.skipped);
        }
        if fresh > 0 {
            self.heard_of_a_node(now, None);
        }
        let Some(registry) = self.registries.get_mut(number) else { return };
        // A newcomer to a full list drives out another: what else the registry has would only go round.
        let full = self.contacts.book.len() >= self.config.limits.known_nodes;
        let soon = registry.list.goes_on(answer, others, fresh).filter(|_| !full);
        let others = registry.list.named;
        let first = !matches!(registry.health, Health::Registered { .. });
        registry.health = Health::Registered { nodes: others };
        registry.busy = false;
        registry.keep = true;
        registry.failures = 0;
        let target = registry.target.to_string();
        let jobs = std::mem::take(&mut registry.jobs);
        let (least, most) = soon.unwrap_or(self.config.limits.refresh);
        let due = now + self.between(least, most);
        self.timers.set(Timer::Refresh(number), due, "refresh registration");
        let event = Event::Registered { bootstrap: target, nodes: others, asked: !jobs.is_empty() };
        if first && jobs.is_empty() && self.config.once.is_none() {
            self.tell(None, &event);
        }
        for job in jobs {
            self.tell(self.op_of(job), &event);
            self.finish(now, job, Ok(()));
        }
    }

    fn register_failed(&mut self, now: Instant, number: usize, failure: &Failure) {
        let retry = {
            let Some(registry) = self.registries.get(number) else { return };
            let pause = RETRY.0.saturating_mul(1 << registry.failures.min(5)).min(RETRY.1);
            registry.keep.then_some(pause)
        };
        if let Some(pause) = retry {
            let due = now + self.between(pause * 4 / 5, pause * 6 / 5);
            self.timers.set(Timer::Refresh(number), due, "retry registration");
        }
        let Some(registry) = self.registries.get_mut(number) else { return };
        registry.busy = false;
        registry.failures = registry.failures.saturating_add(1);
        let first = !matches!(registry.health, Health::Failed(_));
        registry.health = Health::Failed(failure.message.clone());
        let jobs = std::mem::take(&mut registry.jobs);
        if first && jobs.is_empty() && self.config.once.is_none() {
            warn!("{}; trying again", for_log(&failure.message));
        }
        for job in jobs {
            self.finish(now, job, Err(failure.clone()));
        }
    }
}
