//! A world: hosts and networks, nodes and actors, one clock. Scenarios build it, let it run and look at it.

use crate::actor::{Actor, ActorSlot, Log, Told};
use crate::adversary::Order;
use crate::content::Content;
use crate::disk::Left;
use crate::env::{Env, Truth};
use crate::faults::Faults;
use crate::ids::{ActorId, HostId, LanId, NodeId, Owner};
use crate::multicast::Segment;
use crate::net::{Net, Notice};
use crate::node::{Death, Happening, Node};
use crate::queue::{Event, Queue};
use crate::topology::at;
use crate::trace::Trace;
use distrishare::machine::{Dir, Machine, Signal};
use distrishare::proto::control::{Hello, Request};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Everything there is in one run.
pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) nodes: Vec<Node>,
    pub(crate) actors: Vec<ActorSlot>,
    pub(crate) faults: Faults,
    /// Until when whole nodes, hosts and networks have accidents.
    pub(crate) chaos_until: u64,
}

impl World {
    pub(crate) fn new(seed: u64, detail: bool) -> World {
        let env = Env {
            seed,
            now: 0,
            queue: Queue::default(),
            net: Net::new(seed),
            trace: Trace::new(detail),
            names: BTreeMap::new(),
            truth: Truth::default(),
            dials: BTreeMap::new(),
        };
        World { env, nodes: Vec::new(), actors: Vec::new(), faults: Faults::default(), chaos_until: 0 }
    }

    // Building.

    pub(crate) fn lan(&mut self) -> LanId {
        self.env.net.topology.add_lan()
    }

    /// A host with one interface on each of `lans` (indices from 2 on) and the loopback (index 1).
    pub(crate) fn host(&mut self, lans: &[LanId]) -> HostId {
        self.env.net.topology.add_host(lans)
    }

    /// The first address of `host` that others can reach.
    pub(crate) fn ip(&self, host: HostId) -> Ipv4Addr {
        self.env.net.topology.addr(host)
    }

    pub(crate) fn addr(&self, host: HostId, port: u16) -> SocketAddr {
        at(self.ip(host), port)
    }

    /// A node that `factory` makes at every start, from a seed. It does not run yet.
    pub(crate) fn node(
        &mut self,
        host: HostId,
        factory: impl FnMut(u64) -> Box<dyn Machine> + 'static,
    ) -> NodeId {
        let id = NodeId(self.nodes.len());
        let mut node = Node::new(self.env.seed, id, host, Box::new(factory));
        node.disk.faults = self.faults.disk.clone();
        self.nodes.push(node);
        id
    }

    pub(crate) fn actor(&mut self, host: HostId, actor: impl Actor + 'static) -> ActorId {
        let id = ActorId(self.actors.len());
        self.actors.push(ActorSlot::new(self.env.seed, id, host, Box::new(actor)));
        self.actors[id.0].tell(&mut self.env, Told::Start);
        self.dispatch();
        id
    }

    /// Teaches the resolver a name.
    pub(crate) fn name(&mut self, host: &str, ip: IpAddr) {
        self.env.names.insert(host.to_owned(), ip);
    }

    /// Puts a file where the operator of `node` can name it.
    pub(crate) fn outside(&mut self, node: NodeId, path: &str, content: impl Into<Content>) {
        self.nodes[node.0].disk.outside.insert(path.into(), content.into());
    }

    // What happens to nodes.

    pub(crate) fn start(&mut self, node: NodeId) {
        self.with(node, Node::start);
    }

    pub(crate) fn running(&self, node: NodeId) -> bool {
        self.nodes[node.0].running()
    }

    pub(crate) fn exit_status(&self, node: NodeId) -> Option<u8> {
        self.nodes[node.0].exit
    }

    /// Kills the process (`kill -9`): the kernel closes its connections and keeps what it stored.
    pub(crate) fn kill(&mut self, node: NodeId) {
        self.with(node, |node, env| node.crash(env, Death::Kill));
    }

    /// The process dies; whether what it had not synced dies with it is drawn.
    pub(crate) fn crash(&mut self, node: NodeId) {
        self.with(node, |node, env| node.crash(env, Death::Drawn));
    }

    /// The node's host loses power and has it again at once: of what was not synced some is there and some is not. What
    /// it was connected to hears nothing.
    pub(crate) fn power_cut(&mut self, node: NodeId) {
        self.power_cut_leaving(node, Left::Drawn);
    }

    /// The same, and what is left of what was not synced is chosen.
    pub(crate) fn power_cut_leaving(&mut self, node: NodeId, left: Left) {
        let host = self.nodes[node.0].host;
        self.env.net.power_off(host);
        for node in self.nodes.iter_mut().filter(|node| node.host == host) {
            node.crash(&mut self.env, Death::Power(left));
        }
        self.power_on(host);
    }

    /// The process dies after it asked for `n` more things: in the middle of what it does.
    pub(crate) fn crash_after(&mut self, node: NodeId, n: u64) {
        self.dies_after(node, n, Death::Drawn);
    }

    /// The same, by a death that is chosen.
    pub(crate) fn dies_after(&mut self, node: NodeId, n: u64, death: Death) {
        self.nodes[node.0].dies_after = Some(n.max(1));
        self.nodes[node.0].dies_by = death;
    }

    /// The host loses power, with every process on it; nobody is told.
    pub(crate) fn power_off(&mut self, host: HostId) {
        self.env.net.power_off(host);
        for node in self.nodes.iter_mut().filter(|node| node.host == host) {
            node.crash(&mut self.env, Death::Power(Left::Drawn));
        }
    }

    pub(crate) fn power_on(&mut self, host: HostId) {
        self.env.net.topology.host_mut(host).up = true;
    }

    /// The process stands still (SIGSTOP, a suspended laptop); its clock goes on.
    pub(crate) fn suspend(&mut self, node: NodeId) {
        // Nothing stands still where nothing runs: what is healed is started then, not resumed.
        self.nodes[node.0].suspended = self.running(node);
    }

    pub(crate) fn resume(&mut self, node: NodeId) {
        self.with(node, Node::resume);
    }

    pub(crate) fn signal(&mut self, node: NodeId, signal: Signal) {
        self.with(node, |node, env| node.signal(env, signal));
    }

    /// Moves a node's wall clock by so many seconds.
    pub(crate) fn jump_wall(&mut self, node: NodeId, seconds: i64) {
        self.with(node, |node, env| {
            node.wall_offset += seconds;
            node.deliver(env, Happening::WallClock);
        });
    }

    // The operator.

    pub(crate) fn type_line(&mut self, node: NodeId, line: &str) {
        self.type_bytes(node, format!("{line}\n").as_bytes());
    }

    pub(crate) fn type_bytes(&mut self, node: NodeId, bytes: &[u8]) {
        self.nodes[node.0].console.stdin.extend(bytes);
        self.nodes[node.0].rules.iter_mut().for_each(|rules| rules.typed(bytes));
        self.with(node, Node::touch_console);
    }

    /// The end of standard input.
    pub(crate) fn type_eof(&mut self, node: NodeId) {
        self.nodes[node.0].console.stdin_closed = true;
        self.with(node, Node::touch_console);
    }

    /// The terminal goes away.
    pub(crate) fn hang_up(&mut self, node: NodeId) {
        self.with(node, |node, env| node.deliver(env, Happening::HangUp));
    }

    /// The terminal stops taking output, or goes on.
    pub(crate) fn stall_terminal(&mut self, node: NodeId, stalled: bool) {
        self.nodes[node.0].console.stalled = stalled;
        if !stalled {
            self.with(node, Node::touch_console);
        }
    }

    pub(crate) fn stdout(&self, node: NodeId) -> String {
        String::from_utf8_lossy(&self.nodes[node.0].console.stdout).into_owned()
    }

    pub(crate) fn stderr(&self, node: NodeId) -> String {
        String::from_utf8_lossy(&self.nodes[node.0].console.stderr).into_owned()
    }

    /// The whole lines of standard output, each of which must be a JSON object with an `event`.
    pub(crate) fn json_events(&self, node: NodeId) -> Vec<serde_json::Value> {
        self.events_with(node, "")
    }

    /// The events of one name. Lines that cannot be one are not parsed: it is asked after every step of long scenes.
    pub(crate) fn events_named(&self, node: NodeId, event: &str) -> Vec<serde_json::Value> {
        let mut events = self.events_with(node, &format!("\"event\":\"{event}\""));
        events.retain(|value| value["event"] == event);
        events
    }

    /// Of lines with this text in them.
    fn events_with(&self, node: NodeId, text: &str) -> Vec<serde_json::Value> {
        let stdout = String::from_utf8_lossy(&self.nodes[node.0].console.stdout);
        let whole = stdout.rfind('\n').map_or("", |end| &stdout[..end]);
        let parse = |line: &str| {
            let value: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON: {e}: {line:?}"));
            assert!(value["event"].is_string(), "no event: {line}");
            value
        };
        whole.lines().filter(|line| line.contains(text)).map(parse).collect()
    }

    // Programs at a node's control socket.

    /// Another one, which has greeted; none: the node takes no more.
    pub(crate) fn program(&mut self, node: NodeId, hello: &Hello) -> Option<usize> {
        let mut no = None;
        self.with(node, |node, env| no = node.connects(env));
        self.says(node, no?, &Request::Hello(hello.clone()).line());
        no
    }

    /// It says these bytes.
    pub(crate) fn says(&mut self, node: NodeId, program: usize, bytes: &str) {
        self.nodes[node.0].programs[program].says.extend(bytes.bytes());
        self.nodes[node.0].rules.iter_mut().for_each(|rules| rules.typed(bytes.as_bytes()));
        self.with(node, Node::touch_console);
    }

    /// It asks for this line.
    pub(crate) fn asks(&mut self, node: NodeId, program: usize, line: &str) {
        self.says(node, program, &Request::Line(line.to_owned()).line());
    }

    /// It has said all.
    pub(crate) fn said_all(&mut self, node: NodeId, program: usize) {
        self.nodes[node.0].programs[program].said_all = true;
        self.with(node, Node::touch_console);
    }

    /// It is killed.
    pub(crate) fn kill_program(&mut self, node: NodeId, program: usize) {
        self.with(node, |node, env| node.loses(env, program));
    }

    /// What it heard, each a JSON object.
    pub(crate) fn program_heard(&self, node: NodeId, program: usize) -> Vec<serde_json::Value> {
        let text = String::from_utf8_lossy(&self.nodes[node.0].programs[program].heard).into_owned();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    // The disk.

    pub(crate) fn downloads(&self, node: NodeId) -> Vec<String> {
        self.nodes[node.0].disk.names(Dir::Downloads)
    }

    /// Whether the node's downloads hold a file of that name with the whole content that somebody shares.
    pub(crate) fn has_download(&self, node: NodeId, name: &str) -> bool {
        let disk = &self.nodes[node.0].disk;
        let found = disk.content(Dir::Downloads, name);
        found.is_some_and(|content| self.env.truth.whole(name, content))
    }

    /// Bytes of files that a node gave to others (sealed ones counted as what they were before), over all its lives.
    pub(crate) fn uploaded(&self, node: NodeId) -> u64 {
        self.nodes[node.0].uploaded
    }

    /// Bytes a node stored in temporary files and journals, and those that these had at their end (HOSTILE.md 6.3, 16).
    pub(crate) fn wear(&self, node: NodeId) -> (u64, u64) {
        self.nodes[node.0].disk.wear
    }

    // The network.

    /// Bytes leave a host at most that fast, and its connections take turns. The usual rate is a gigabit's.
    pub(crate) fn upload_rate(&mut self, host: HostId, bytes_per_second: u64) {
        let host = self.env.net.topology.host_mut(host);
        host.byte_ns = 1_000_000_000 / bytes_per_second.max(1);
        host.shaped = true;
    }

    pub(crate) fn log(&self, actor: ActorId) -> &Log {
        &self.actors[actor.0].log
    }

    /// Tells an adversary what to do next.
    pub(crate) fn order(&mut self, actor: ActorId, order: &Order) {
        self.actors[actor.0].tell(&mut self.env, Told::Order(order));
        self.dispatch();
    }

    pub(crate) fn stop(&mut self, actor: ActorId) {
        self.actors[actor.0].stop(&mut self.env);
    }

    /// Cuts both ways between two hosts.
    pub(crate) fn partition(&mut self, a: HostId, b: HostId) {
        self.env.net.topology.block(a, b, true);
        self.env.net.topology.block(b, a, true);
    }

    /// From `a` nothing gets to `b` any more; the other way is as it was.
    pub(crate) fn deafen(&mut self, a: HostId, b: HostId) {
        self.env.net.topology.block(a, b, true);
    }

    pub(crate) fn reconnect(&mut self, a: HostId, b: HostId) {
        self.env.net.topology.block(a, b, false);
        self.env.net.topology.block(b, a, false);
    }

    /// An interface goes down (what was joined there is forgotten) or comes up.
    pub(crate) fn set_link(&mut self, host: HostId, interface: u32, up: bool) {
        self.env.net.topology.set_link(host, interface, up);
        if !up {
            self.env.net.forget_interface(host, interface);
        }
    }

    /// A datagram from any source whatever, to everybody who listens to the group on that segment.
    pub(crate) fn inject(&mut self, lan: LanId, from: SocketAddr, bytes: &[u8]) {
        let Env { net, queue, now, .. } = &mut self.env;
        net.spread(*now, queue, None, Segment::Lan(lan), from, bytes);
    }

    // Faults.

    pub(crate) fn set_faults(&mut self, faults: Faults) {
        self.env.net.tcp = faults.tcp.clone();
        self.env.net.udp = faults.udp.clone();
        self.nodes.iter_mut().for_each(|node| node.disk.faults = faults.disk.clone());
        self.faults = faults;
    }

    /// Everything works again: no faults, no cuts, all hosts and processes up, adversaries gone unless `keep`.
    pub(crate) fn heal(&mut self, keep: &[ActorId]) {
        self.set_faults(Faults::default());
        self.chaos_until = 0;
        self.env.net.topology.heal();
        for actor in self.actors.iter_mut().filter(|actor| !keep.contains(&actor.id)) {
            actor.stop(&mut self.env);
        }
        for id in (0..self.nodes.len()).map(NodeId) {
            let node = &mut self.nodes[id.0];
            node.disk.capacity = u64::MAX;
            node.dies_after = None;
            if node.suspended {
                self.resume(id);
            } else if !node.running() && node.exit.is_none() {
                self.start(id);
            }
        }
    }

    // Time.

    pub(crate) fn now(&self) -> Duration {
        Duration::from_micros(self.env.now)
    }

    /// Something the scenario itself does later.
    pub(crate) fn later(&mut self, after: Duration, what: impl FnOnce(&mut World) + 'static) {
        let at = self.env.now + after.as_micros() as u64;
        self.env.queue.push(at, Event::Script(Box::new(what)));
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.env.now + time.as_micros() as u64;
        while self.step(end) {}
        self.env.now = end;
    }

    /// Runs until `wanted` holds, at most for `limit`; whether it does. It is asked at most once per millisecond.
    pub(crate) fn run_until(&mut self, limit: Duration, mut wanted: impl FnMut(&World) -> bool) -> bool {
        let end = self.env.now + limit.as_micros() as u64;
        loop {
            if wanted(self) {
                return true;
            }
            if self.env.now >= end {
                return false;
            }
            let next = self.env.queue.next_at().map_or(end, |at| at.max(self.env.now));
            let slice = next.saturating_add(999).min(end);
            while self.step(slice) {}
            self.env.now = slice;
        }
    }

    /// Lets the next thing happen, if it does before `end`.
    fn step(&mut self, end: u64) -> bool {
        if self.env.queue.next_at().is_none_or(|at| at > end) {
            return false;
        }
        let Some((at, event)) = self.env.queue.pop() else { return false };
        self.env.now = at.max(self.env.now);
        match event {
            Event::Net(event) => {
                let Env { net, queue, now, .. } = &mut self.env;
                net.handle(*now, queue, event);
            }
            Event::Datagram { from, bytes, copies } => self.datagram(from, bytes, copies),
            Event::Turn { node, life } => self.living(node, life, Node::turn),
            Event::Timer { node, life } => self.living(node, life, Node::timer),
            Event::Answer { node, life, happening } => {
                self.living(node, life, |node, env| node.deliver(env, *happening));
            }
            Event::Actor { actor, token } => self.actors[actor.0].tell(&mut self.env, Told::Timer(token)),
            Event::Script(what) => what(self),
        }
        self.dispatch();
        true
    }

    fn datagram(&mut self, from: SocketAddr, bytes: Vec<u8>, mut copies: Vec<(u64, Owner)>) {
        match copies.pop() {
            Some((_, Owner::Node(id))) => {
                self.nodes[id.0].datagram(&mut self.env, from, &bytes);
                self.bury(id);
            }
            Some((_, Owner::Actor(id))) => {
                self.actors[id.0].tell(&mut self.env, Told::Datagram { from, bytes: &bytes });
            }
            _ => {}
        }
        if let Some(&(next, _)) = copies.last() {
            self.env.queue.push(next, Event::Datagram { from, bytes, copies });
        }
    }

    fn living(&mut self, id: NodeId, life: u32, what: impl FnOnce(&mut Node, &mut Env)) {
        if self.nodes[id.0].life == life {
            what(&mut self.nodes[id.0], &mut self.env);
            self.bury(id);
        }
    }

    pub(crate) fn with(&mut self, id: NodeId, what: impl FnOnce(&mut Node, &mut Env)) {
        what(&mut self.nodes[id.0], &mut self.env);
        self.bury(id);
        self.dispatch();
    }

    /// A node that was to die in the middle of something does.
    fn bury(&mut self, id: NodeId) {
        if self.nodes[id.0].dying() {
            match self.nodes[id.0].dies_by {
                Death::Power(left) => self.power_cut_leaving(id, left),
                death => self.nodes[id.0].crash(&mut self.env, death),
            }
        }
    }

    /// Tells everybody what the network has to say.
    fn dispatch(&mut self) {
        while let Some((owner, notice)) = self.env.net.notices.pop_front() {
            match owner {
                Owner::Node(id) => {
                    self.nodes[id.0].deliver(&mut self.env, Happening::Net(notice));
                    self.bury(id);
                }
                Owner::Actor(id) => self.actors[id.0].notice(&mut self.env, notice),
                Owner::Nobody => {
                    if let Notice::Accept { sock, .. } = notice {
                        self.env.net.close(self.env.now, &mut self.env.queue, sock, true);
                    }
                }
            }
        }
    }
}
