//! Multicast discovery: HELLO on every interface, the groups joined there, the nodes that are heard (WIRE_V1.md).

use super::{Peer, Timer};
use crate::config::{GROUP, Key, Limits};
use crate::machine::{Fault, Interface, Output};
use crate::node::api::{Code, Event, Failure, plural};
use crate::node::buckets::Buckets;
use crate::node::contacts::address_book::Via;
use crate::node::ids::JobId;
use crate::proto::address::{Learned, admit, is_here};
use crate::proto::announce::{self, Announce, Sender};
use crate::proto::v2::announcement::{Announcement, AnnouncementKey, Fresh, Replay};
use crate::time::{Duration, Instant};
use log::{debug, warn};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// HELLOs at once when multicast starts, so that a lost one costs a quarter of a second and not five.
const BURST: u32 = 3;
const BURST_PAUSE: Duration = Duration::from_millis(250);
/// A newcomer is greeted after a pause drawn up to this, and not within `GREET_LEAST` of our last HELLO.
const GREET_PAUSE: Duration = Duration::from_millis(200);
const GREET_LEAST: Duration = Duration::from_millis(500);
/// So many of our own HELLOs did not come back: we do not hear the group there.
const DEAF: u32 = 3;
/// After this the discovery sockets are tried again.
const REOPEN: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Eq)]
enum State {
    Off,
    Opening,
    On,
    /// The sockets could not be opened; they are tried again.
    Failed(Fault),
}

/// Multicast discovery of this node.
#[derive(Debug)]
pub(super) struct Discovery {
    state: State,
    /// The commands that wait for it to be on.
    jobs: Vec<JobId>,
    /// Interfaces joined.
    joined: BTreeMap<u32, Member>,
    /// Interfaces whose join failed: said once.
    failed: BTreeSet<u32>,
    /// There are more interfaces than the system lets us join on: said once.
    crowded: bool,
    /// That the sockets cannot be opened: said once.
    said_unavailable: bool,
    /// HELLO goes out as soon as the interfaces are known.
    hello_due: bool,
    /// HELLOs of the first burst still to come.
    burst: u32,
    last_hello: Option<Instant>,
    buckets: Buckets,
    /// Seals and opens what members say.
    key: AnnouncementKey,
    replay: Replay,
    /// Tells this run of the node from earlier ones, and its datagrams from one another.
    instance: u64,
    sequence: u64,
}

/// What we are to the group on one interface.
#[derive(Debug)]
struct Member {
    /// The address we join, send and announce there.
    addr: Ipv4Addr,
    /// HELLOs sent there since our own came back.
    unheard: u32,
}

impl Discovery {
    /// `group`: whose members are to hear us.
    pub(super) fn new(group: Option<&Key>, instance: u64, limits: &Limits) -> Discovery {
        Discovery {
            state: State::Off,
            jobs: Vec::new(),
            joined: BTreeMap::new(),
            failed: BTreeSet::new(),
            crowded: false,
            said_unavailable: false,
            hello_due: false,
            burst: 0,
            last_hello: None,
            buckets: Buckets::new(limits.datagrams_per_source, limits.datagram_burst),
            key: AnnouncementKey::new(group),
            replay: Replay::new(limits.known_nodes),
            instance,
            sequence: 0,
        }
    }

    /// A line for `status`.
    pub(super) fn describe(&self) -> String {
        match &self.state {
            State::Off => "off".to_owned(),
            State::Opening => "starting".to_owned(),
            State::On => format!("on, on {}", plural(self.joined.len(), "interface", "interfaces")),
            State::Failed(fault) => format!("unavailable: {fault}; trying again"),
        }
    }

    /// Off, with nobody joined; what was heard is remembered against its replay.
    fn switch_off(&mut self) {
        self.state = State::Off;
        self.joined.clear();
        self.failed.clear();
        self.said_unavailable = false;
        self.hello_due = false;
        self.burst = 0;
        self.last_hello = None;
    }

    /// Neither on nor failed yet.
    pub(super) fn is_starting(&self) -> bool {
        self.state == State::Opening || (self.state == State::On && self.last_hello.is_none())
    }
}

impl Peer {
    /// Switches multicast on. `job` waits for it.
    pub(super) fn multicast_on(&mut self, now: Instant, job: Option<JobId>) {
        self.discovery.jobs.extend(job);
        match self.discovery.state {
            State::On if !self.discovery.is_starting() => self.multicast_is_on(now),
            State::On | State::Opening => {}
            State::Off | State::Failed(_) => {
                self.discovery.state = State::Opening;
                self.timers.cancel(Timer::Hello);
                self.outputs.push_back(Output::OpenDiscovery { group: SocketAddr::V4(GROUP) });
            }
        }
    }

    /// Ends the commands that waited for it.
    fn multicast_is_on(&mut self, now: Instant) {
        let interfaces = self.discovery.joined.len();
        for job in std::mem::take(&mut self.discovery.jobs) {
            self.tell(self.op_of(job), &Event::Multicast { on: true, interfaces });
            self.finish(now, job, Ok(()));
        }
    }

    fn multicast_failed(&mut self, now: Instant, failure: &Failure) {
        for job in std::mem::take(&mut self.discovery.jobs) {
            self.finish(now, job, Err(failure.clone()));
        }
    }

    /// The discovery sockets are open, or not.
    pub(super) fn discovery_opened(&mut self, now: Instant, result: Result<(), Fault>) {
        if self.discovery.state != State::Opening {
            return;
        }
        match result {
            Ok(()) => {
                self.discovery.state = State::On;
                self.discovery.said_unavailable = false;
                self.discovery.burst = BURST;
                self.hello(now);
            }
            Err(fault) => {
                let text = format!(
                    "multicast unavailable: UDP port {}: {fault}: does another program hold it?",
                    GROUP.port()
                );
                self.discovery.state = State::Failed(fault);
                self.timers.set(Timer::Hello, now + REOPEN, "open discovery again");
                let said = std::mem::replace(&mut self.discovery.said_unavailable, true);
                if self.discovery.jobs.is_empty() && !said {
                    warn!("{text}; the node works on without it");
                }
                self.multicast_failed(now, &Failure::new(Code::Network, text));
            }
        }
    }

    /// Switches multicast off: GOODBYE where HELLO went.
    pub(super) fn multicast_off(&mut self, now: Instant) {
        if self.discovery.state == State::On {
            self.announce(true);
        }
        if matches!(self.discovery.state, State::On | State::Opening) {
            self.outputs.push_back(Output::CloseDiscovery);
        }
        for timer in [Timer::Hello, Timer::Greet, Timer::Silence] {
            self.timers.cancel(timer);
        }
        self.discovery.switch_off();
        self.contacts.book.forget_multicast();
        self.multicast_failed(now, &Failure::new(Code::Interrupted, "multicast was switched off"));
    }

    /// Time for HELLO, or for another try: first of all, which interfaces are there now?
    pub(super) fn hello(&mut self, now: Instant) {
        match self.discovery.state {
            State::Failed(_) => self.multicast_on(now, None),
            State::On => {
                self.discovery.hello_due = true;
                self.outputs.push_back(Output::ListInterfaces);
                let pause =
                    if self.discovery.burst > 1 { BURST_PAUSE } else { self.config.limits.hello_interval };
                self.discovery.burst = self.discovery.burst.saturating_sub(1);
                let due = now + self.between(pause * 9 / 10, pause * 11 / 10);
                self.timers.set(Timer::Hello, due, "hello");
            }
            State::Off | State::Opening => {}
        }
    }

    /// The interfaces of this host, as they are now.
    pub(super) fn interfaces_are(&mut self, now: Instant, interfaces: &[Interface]) {
        if self.interfaces != interfaces {
            self.interfaces = interfaces.to_vec();
            let own: Vec<Ipv4Addr> = interfaces.iter().map(|interface| interface.addr).collect();
            self.contacts.book.set_own(own.clone());
            // Somebody may have named an address of ours while we did not have it.
            for ip in own {
                let addr = SocketAddr::new(IpAddr::V4(ip), self.listen.port());
                if is_here(addr, &self.here()) {
                    self.contacts.book.forget(addr);
                }
            }
        }
        if self.discovery.state != State::On {
            return;
        }
        self.rejoin();
        if std::mem::take(&mut self.discovery.hello_due) {
            self.announce(false);
            self.discovery.last_hello = Some(now);
        }
        self.multicast_is_on(now);
    }

    /// Leaves interfaces that are gone or have another address, joins new ones.
    fn rejoin(&mut self) {
        let mut wanted: BTreeMap<u32, Ipv4Addr> = BTreeMap::new();
        let mut order = Vec::new();
        for interface in self.interfaces.iter().filter(|interface| interface.multicast) {
            order.push(interface.index);
            // A node on the loopback is nobody else's business.
            let ours = match self.listen.ip() {
                IpAddr::V4(ip) if ip.is_loopback() => interface.contains(self.listen.ip()),
                // On an interface with several addresses the one we listen on is the one to announce from.
                IpAddr::V4(ip) if interface.addr == ip => {
                    wanted.insert(interface.index, ip);
                    continue;
                }
                _ => true,
            };
            if ours {
                wanted.entry(interface.index).or_insert(interface.addr);
            }
        }
        self.discovery.failed.retain(|index| wanted.contains_key(index));
        // An address that was away for a moment takes the membership with it, and nobody tells us: where our own
        // HELLOs no longer come back, the group is left, to be joined anew.
        let outputs = &mut self.outputs;
        self.discovery.joined.retain(|&interface, &mut Member { addr, unheard }| {
            let stays = wanted.get(&interface) == Some(&addr) && unheard < DEAF;
            if !stays {
                outputs.push_back(Output::LeaveGroup { interface, addr });
            }
            stays
        });
        // In the order of the list, since those at its end may be too many.
        for interface in order {
            let Some(&addr) = wanted.get(&interface) else { continue };
            if let Entry::Vacant(place) = self.discovery.joined.entry(interface) {
                debug!("multicast: joining on interface {interface} ({addr})");
                place.insert(Member { addr, unheard: 0 });
                self.outputs.push_back(Output::JoinGroup { interface, addr });
            }
        }
    }

    /// The group could not be joined there; it is tried again with the next HELLO.
    pub(super) fn join_failed(&mut self, interface: u32, fault: Fault) {
        self.discovery.joined.remove(&interface);
        let fresh = self.discovery.failed.insert(interface);
        // The one that is too many stands for all after it.
        if fresh && !(fault == Fault::NoMemory && std::mem::replace(&mut self.discovery.crowded, true)) {
            let name = self.interfaces.iter().find(|i| i.index == interface).map_or("?", |i| i.name.as_str());
            let why = match fault {
                // What the kernel says when the sockets have joined as many groups as they may.
                Fault::NoMemory => {
                    "too many interfaces for net.ipv4.igmp_max_memberships, so perhaps on others, too"
                        .to_owned()
                }
                fault => fault.to_string(),
            };
            warn!("multicast unavailable on {name}: {why}; the node works on without it");
        }
    }

    /// HELLO or GOODBYE on every interface where we listen, with that interface's own address unless the operator named
    /// one. Who hears us elsewhere would take the interface's address for ours, where nobody listens.
    fn announce(&mut self, goodbye: bool) {
        let bound = Some(self.listen.ip()).filter(|ip| !ip.is_unspecified());
        // The group is one of IPv4: nobody there reads another address.
        let fixed = self.config.announce.filter(IpAddr::is_ipv4).or(bound);
        let bound_v4 = match bound {
            Some(IpAddr::V4(ip)) => Some(ip),
            _ => None,
        };
        let (v1, v2, port) = (self.config.v1, self.config.speaks_v2(), self.listen.port());
        let Discovery { joined, key, instance, sequence, .. } = &mut self.discovery;
        for (&interface, Member { addr, unheard }) in joined {
            let addr = *addr;
            // On this host the announced address counts, not the source: the loopback tells the neighbours here.
            let listens = |ip: IpAddr| ip == IpAddr::V4(addr) || (addr.is_loopback() && ip.is_ipv4());
            if !bound.is_none_or(listens) {
                continue;
            }
            *unheard += 1;
            *sequence += 1;
            let (instance, sequence, node) = (*instance, *sequence, self.sessions.id());
            let at = SocketAddrV4::new(bound_v4.unwrap_or(addr), port);
            let member = Announcement { goodbye, instance, sequence, node, addr: at };
            if v2 {
                let bytes = key.seal(&member, self.entropy.bytes());
                self.outputs.push_back(Output::SendDatagram { interface, addr, bytes });
            }
            if v1 {
                let sender = Sender { ip: fixed.unwrap_or(IpAddr::V4(addr)), port };
                let old = if goodbye { Announce::Goodbye(sender) } else { Announce::Hello(sender) };
                self.outputs.push_back(Output::SendDatagram {
                    interface,
                    addr,
                    bytes: announce::encode(&old),
                });
            }
        }
    }

    /// A datagram of the group's.
    pub(super) fn heard(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let source = from.ip().to_canonical();
        if self.discovery.state != State::On || !self.discovery.buckets.take(now, source) {
            return;
        }
        if let Some(member) = self.discovery.key.open(bytes) {
            return self.heard_member(now, source, &member);
        }
        let Some(announcement) = announce::parse(bytes).filter(|_| self.config.v1) else { return };
        let (Announce::Hello(sender) | Announce::Goodbye(sender)) = announcement;
        let said = SocketAddr::new(sender.ip, sender.port);
        if said.port() == self.listen.port() {
            for member in self.discovery.joined.values_mut() {
                if source == IpAddr::V4(member.addr) {
                    member.unheard = 0;
                }
            }
        }
        let addr = match admit(said, Learned::Multicast { source }, &self.here()) {
            Ok(addr) => self.contacts.book.entry_of(addr),
            Err(refused) => return debug!("{source} announces {said}: {refused}"),
        };
        if matches!(announcement, Announce::Goodbye(_)) {
            if self.contacts.book.goodbye(addr) {
                self.say_rarely(now, "a node said GOODBYE", addr);
            }
            return;
        }
        self.heard_hello(now, source, addr);
    }

    /// An announcement that only a member can make; in an open node's group, anybody.
    fn heard_member(&mut self, now: Instant, source: IpAddr, member: &Announcement) {
        if member.node == self.sessions.id() {
            if member.instance == self.discovery.instance {
                let back =
                    self.discovery.joined.values_mut().filter(|joined| source == IpAddr::V4(joined.addr));
                back.for_each(|joined| joined.unheard = 0);
            } else {
                let (until, here) = (now + self.patience(), (self.contacts.book.own(), self.listen.port()));
                if self.clones.heard(until, source, member, here) {
                    // It has not heard us yet, and is to say the same.
                    self.greet_soon(now);
                }
            }
            return;
        }
        // Sent from elsewhere it is somebody else's recording; on the loopback a neighbour says where it listens.
        let said = *member.addr.ip();
        let neighbour = source.is_loopback() && self.contacts.book.own().contains(&said);
        if source != IpAddr::V4(said) && !neighbour {
            return debug!("{source} sends what {} announced", member.addr);
        }
        let fresh = self.discovery.replay.fresh(member);
        let addr = match admit(SocketAddr::V4(member.addr), Learned::Multicast { source }, &self.here()) {
            Ok(addr) if fresh != Fresh::Stale => self.contacts.book.entry_of(addr),
            Ok(_) => return,
            Err(refused) => return debug!("{source} announces {}: {refused}", member.addr),
        };
        if member.goodbye {
            if self.contacts.book.goodbye(addr) {
                self.say_rarely(now, "a node said GOODBYE", addr);
            }
            return;
        }
        self.heard_hello(now, source, addr);
        self.contacts.book.hint(addr, member.node, now);
    }

    /// A node is at `addr`, as it says itself.
    fn heard_hello(&mut self, now: Instant, source: IpAddr, addr: SocketAddr) {
        let newcomer = self.contacts.book.get(addr).is_none_or(|node| !node.multicast());
        if !self.contacts.book.learn(addr, Via::Multicast(source), now) {
            return;
        }
        self.arm_silence();
        if newcomer {
            self.heard_of_a_node(now, Some(addr));
            self.say_rarely(now, "a node said HELLO", addr);
            self.greet_soon(now);
        }
    }

    pub(super) fn greet_soon(&mut self, now: Instant) {
        let least = self.discovery.last_hello.map_or(now, |last| (last + GREET_LEAST).max(now));
        let due = least + self.between(Duration::ZERO, GREET_PAUSE);
        self.timers.set(Timer::Greet, due, "greet a newcomer");
    }

    /// A newcomer has not heard us yet: HELLO ahead of time.
    pub(super) fn greet(&mut self) {
        self.discovery.hello_due = true;
        self.outputs.push_back(Output::ListInterfaces);
    }

    /// Nodes whose HELLOs stopped leave the multicast list.
    pub(super) fn drop_silent(&mut self, now: Instant) {
        let patience = self.patience();
        let oldest = Instant::from_micros(now.as_micros().saturating_sub(patience.as_micros() as u64));
        // Heard exactly `patience` ago is silent too: that is when the timer fires.
        for addr in self.contacts.book.drop_silent(oldest + Duration::from_micros(1)) {
            self.say_rarely(now, "a node fell silent", addr);
        }
        self.arm_silence();
    }

    fn arm_silence(&mut self) {
        if let Some(heard) = self.contacts.book.longest_silent() {
            self.timers.set(Timer::Silence, heard + self.patience(), "silent nodes");
        }
    }

    /// So many missed periods, and the jitter we put on our own.
    pub(super) fn patience(&self) -> Duration {
        self.config.limits.hello_interval * self.config.limits.hello_missed * 23 / 20
    }
}
