//! What happens between the two ends: the handshake, segments on the wire, retransmissions and resets.

use super::{Fin, MSS, Net, Notice, Sock};
use crate::bytes::Bytes;
use crate::ids::{HostId, Owner, SockId};
use crate::queue::{Event, NetEvent, Queue};
use crate::topology::{NoRoute, Topology};
use distrishare::machine::Fault;
use std::net::SocketAddr;

const SYN_ATTEMPTS: u32 = 6;
const RTO_FIRST: u64 = 200_000;
const RTO_MAX: u64 = 60_000_000;
/// After so many retransmissions in a row the kernel gives up, about a quarter of an hour.
const RTO_ATTEMPTS: u32 = 15;
const BACKLOG: usize = 1024;

impl Net {
    pub(crate) fn handle(&mut self, now: u64, queue: &mut Queue, event: NetEvent) {
        match event {
            NetEvent::Syn { sock, attempt } => self.syn(now, queue, sock, attempt),
            NetEvent::SynArrives { sock, attempt } => self.syn_arrives(now, queue, sock, attempt),
            NetEvent::SynAck { sock } => self.syn_ack(now, queue, sock),
            NetEvent::Refused { sock } => self.fail(sock, Fault::Refused),
            NetEvent::Wire { sock } => self.wire(now, queue, sock),
            NetEvent::Link { host } => self.link_free(now, queue, host),
            NetEvent::Rst { sock } => self.cut(sock, Fault::Reset),
        }
    }

    fn fail(&mut self, id: SockId, fault: Fault) {
        if let Some(sock) = self.socks.remove(&id) {
            self.notices.push_back((sock.owner, Notice::Failed { sock: id, fault }));
        }
    }

    fn syn(&mut self, now: u64, queue: &mut Queue, id: SockId, attempt: u32) {
        let Some(sock) = self.socks.get_mut(&id) else { return };
        if attempt > SYN_ATTEMPTS {
            return self.fail(id, Fault::TimedOut);
        }
        let route = self.topology.route(sock.host, sock.remote);
        match route {
            // Since the last attempt another host may have that address.
            Ok(route) => sock.remote_host = route.host,
            Err(NoRoute::Silence) => {}
            Err(NoRoute::Unreachable) => return self.fail(id, Fault::Unreachable),
        }
        let (host, remote_host) = (sock.host, sock.remote_host);
        if route.is_err() || !both_ways(&self.topology, sock) || self.dice.falls("tcp.loss", self.tcp.loss) {
            let again = now + (1_000_000 << attempt);
            return queue.push(again, Event::Net(NetEvent::Syn { sock: id, attempt: attempt + 1 }));
        }
        let due = now + self.latency(host, remote_host);
        queue.push(due, Event::Net(NetEvent::SynArrives { sock: id, attempt }));
    }

    fn syn_arrives(&mut self, now: u64, queue: &mut Queue, id: SockId, attempt: u32) {
        let Some(sock) = self.socks.get(&id) else { return };
        let (host, local, there, remote) = (sock.host, sock.local, sock.remote_host, sock.remote);
        let dialler = sock.owner;
        let open = both_ways(&self.topology, sock);
        let back = now + self.latency(host, there);
        let any = SocketAddr::new([0, 0, 0, 0].into(), remote.port());
        let any6 = SocketAddr::new([0u16; 8].into(), remote.port());
        let key = [remote, any, any6].into_iter().find(|a| self.listeners.contains_key(&(there, *a)));
        let dropped = !open || (key.is_some() && self.dice.falls("tcp.backlog", self.tcp.backlog));
        let listener = key.and_then(|addr| self.listeners.get_mut(&(there, addr)));
        let Some(listener) = listener.filter(|_| !dropped) else {
            let answer = if dropped {
                (now + (1_000_000 << attempt), NetEvent::Syn { sock: id, attempt: attempt + 1 })
            } else {
                (back, NetEvent::Refused { sock: id })
            };
            return queue.push(answer.0, Event::Net(answer.1));
        };
        if listener.waiting >= BACKLOG {
            let again = NetEvent::Syn { sock: id, attempt: attempt + 1 };
            return queue.push(now + (1_000_000 << attempt), Event::Net(again));
        }
        listener.waiting += 1;
        let (owner, number) = (listener.owner, listener.number);
        let actor = |owner: Owner| matches!(owner, Owner::Actor(_));
        let gentle = actor(owner) || actor(dialler);
        let server = self.add(there, owner, remote, local, host);
        if let Some(sock) = self.socks.get_mut(&server) {
            sock.peer = Some(id);
            sock.established = true;
            sock.gentle = gentle;
            // Nothing overtakes the answer to the SYN.
            sock.last_due = back;
        }
        if let Some(sock) = self.socks.get_mut(&id) {
            sock.peer = Some(server);
            sock.gentle = gentle;
        }
        self.notices.push_back((owner, Notice::Accept { listener: number, sock: server, peer: local }));
        queue.push(back, Event::Net(NetEvent::SynAck { sock: id }));
    }

    fn syn_ack(&mut self, now: u64, queue: &mut Queue, id: SockId) {
        let Some(sock) = self.socks.get_mut(&id) else { return };
        sock.established = true;
        let (owner, local, peer) = (sock.owner, sock.local, sock.peer);
        self.notices.push_back((owner, Notice::Connected { sock: id, local }));
        if let Some(peer) = peer {
            self.pump(now, queue, peer);
        }
    }

    fn latency(&mut self, a: HostId, b: HostId) -> u64 {
        if a == b {
            return self.rng.between(5, 30);
        }
        let ((a_min, a_max), (b_min, b_max)) = (self.topology.host(a).latency, self.topology.host(b).latency);
        (self.rng.between(a_min, a_max) + self.rng.between(b_min, b_max)) / 2
    }

    /// Moves what there is to send onto the wire, as far as the other end's window goes.
    pub(super) fn pump(&mut self, now: u64, queue: &mut Queue, id: SockId) {
        loop {
            let Some(sock) = self.socks.get(&id) else { return };
            if !sock.established || sock.dead.is_some() {
                return;
            }
            // A peer that is gone is asked all the same: its host will answer with a reset.
            let taken = sock.peer.and_then(|p| self.socks.get(&p)).map_or(0, |p| p.inbox.len());
            let window = sock.peer.and_then(|p| self.socks.get(&p)).map_or(usize::MAX, |p| p.window);
            let room = window.saturating_sub(taken + sock.wire_len);
            let finish = sock.fin == Fin::Wanted && sock.out.is_empty();
            let n = sock.out.len().min(room);
            // Less than a segment is not worth sending while the window may still open further.
            let silly = n < sock.out.len() && n < MSS.min(window / 2);
            if (n == 0 || silly) && !finish {
                return;
            }
            let (host, there) = (sock.host, sock.remote_host);
            // Tiny segments only at the start of a stream: that is where formats are parsed.
            let limit = if sock.sent < 8192 && !sock.gentle { sock.segment } else { sock.segment.max(MSS) };
            // In turn means a segment each.
            let shaped = host != there && self.topology.host(host).shaped;
            let n = n.min(if shaped { MSS } else { limit });
            if host != there && self.waits_its_turn(now, queue, host, id) {
                return;
            }
            let delay = self.latency(host, there);
            let link = self.topology.host_mut(host);
            let mut departs = now;
            if host != there {
                departs = now.max(link.link_free) + (n as u64 * link.byte_ns).div_ceil(1000);
                link.link_free = departs;
            }
            let mut due = departs + delay;
            if self.dice.falls("tcp.stall", self.tcp.stall) {
                due += self.dice.of("tcp.stall").between(1_000, 1_000_000);
            }
            if self.dice.falls("tcp.loss", self.tcp.loss) {
                due += RTO_FIRST;
            }
            let Some(sock) = self.socks.get_mut(&id) else { return };
            sock.last_due = due.max(sock.last_due);
            let bytes = sock.out.all()[..n].to_vec();
            sock.out.consume(n);
            sock.sent += n as u64;
            sock.wire_len += n;
            if finish {
                sock.fin = Fin::OnWire;
            }
            sock.wire.push_back((sock.last_due, bytes));
            if !sock.wire_armed {
                sock.wire_armed = true;
                queue.push(sock.last_due, Event::Net(NetEvent::Wire { sock: id }));
            }
        }
    }

    /// Whether a host with a rate of its own is sending something else: its connections send a segment each in turn.
    fn waits_its_turn(&mut self, now: u64, queue: &mut Queue, host: HostId, id: SockId) -> bool {
        let link = self.topology.host_mut(host);
        if !link.shaped || link.link_free <= now {
            return false;
        }
        if !link.waiting.contains(&id) {
            link.waiting.push_back(id);
        }
        if !std::mem::replace(&mut link.link_armed, true) {
            queue.push(link.link_free, Event::Net(NetEvent::Link { host }));
        }
        true
    }

    fn link_free(&mut self, now: u64, queue: &mut Queue, host: HostId) {
        self.topology.host_mut(host).link_armed = false;
        // Who has nothing to send any more lets the next one.
        while self.topology.host(host).link_free <= now {
            let Some(next) = self.topology.host_mut(host).waiting.pop_front() else { return };
            self.pump(now, queue, next);
        }
        let link = self.topology.host_mut(host);
        if !link.waiting.is_empty() && !std::mem::replace(&mut link.link_armed, true) {
            queue.push(link.link_free, Event::Net(NetEvent::Link { host }));
        }
    }

    /// The head of the wire is due: it arrives, or it waits for a retransmission.
    fn wire(&mut self, now: u64, queue: &mut Queue, id: SockId) {
        let Some(sock) = self.socks.get(&id) else { return };
        if !both_ways(&self.topology, sock) {
            return self.retry(now, queue, id);
        }
        let reset = self.dice.falls("tcp.reset", self.tcp.reset);
        let Some(sock) = self.socks.get_mut(&id) else { return };
        sock.wire_armed = false;
        sock.retries = 0;
        let Some((_, bytes)) = sock.wire.pop_front() else { return };
        sock.wire_len -= bytes.len();
        let fin = sock.fin == Fin::OnWire && sock.wire.is_empty();
        if fin {
            sock.fin = Fin::Delivered;
        }
        if let Some(&(due, _)) = sock.wire.front() {
            sock.wire_armed = true;
            queue.push(due.max(now), Event::Net(NetEvent::Wire { sock: id }));
        }
        if std::mem::take(&mut sock.starved) {
            self.notices.push_back((sock.owner, Notice::Writable { sock: id }));
        }
        let peer = sock.peer;
        if reset {
            self.cut(id, Fault::Reset);
            return peer.into_iter().for_each(|peer| self.cut(peer, Fault::Reset));
        }
        self.arrive(now, queue, id, peer, &bytes, fin);
        self.pump(now, queue, id);
        self.sweep(id);
    }

    fn arrive(
        &mut self,
        now: u64,
        queue: &mut Queue,
        from: SockId,
        peer: Option<SockId>,
        bytes: &[u8],
        fin: bool,
    ) {
        let there = peer.and_then(|peer| Some((peer, self.socks.get_mut(&peer)?)));
        let Some((peer, sock)) = there.filter(|(_, sock)| sock.dead.is_none()) else {
            if !bytes.is_empty() {
                self.rst_to(now, queue, from);
            }
            return;
        };
        if sock.owner == Owner::Nobody && !bytes.is_empty() {
            // Nobody will ever read this: the kernel says so.
            self.socks.remove(&peer);
            return self.rst_to(now, queue, from);
        }
        sock.inbox.push(bytes);
        sock.eof |= fin;
        self.notices.push_back((sock.owner, Notice::Readable { sock: peer }));
    }

    fn retry(&mut self, now: u64, queue: &mut Queue, id: SockId) {
        let Some(sock) = self.socks.get_mut(&id) else { return };
        sock.retries += 1;
        if sock.retries > RTO_ATTEMPTS {
            return self.cut(id, Fault::TimedOut);
        }
        let again = now + (RTO_FIRST << sock.retries.min(20)).min(RTO_MAX);
        queue.push(again, Event::Net(NetEvent::Wire { sock: id }));
    }

    /// Tells the other end of `id` that all is over.
    pub(super) fn send_rst(&mut self, now: u64, queue: &mut Queue, id: SockId) {
        if let Some(peer) = self.socks.get(&id).and_then(|sock| sock.peer) {
            self.rst_to(now, queue, peer);
        }
    }

    /// A reset on its way to `to`; like any packet it can get lost, and then nobody repeats it.
    fn rst_to(&mut self, now: u64, queue: &mut Queue, to: SockId) {
        let Some(sock) = self.socks.get(&to) else { return };
        if self.topology.passes(sock.remote_host, sock.remote, sock.host, sock.local) {
            let due = now + self.latency(sock.host, sock.remote_host);
            queue.push(due, Event::Net(NetEvent::Rst { sock: to }));
        }
    }

    /// A reset arrived (or the kernel gave up): nothing more is sent, what was received may be lost.
    fn cut(&mut self, id: SockId, fault: Fault) {
        let lose = self.rng.flip();
        let Some(sock) = self.socks.get_mut(&id) else { return };
        if sock.owner == Owner::Nobody {
            self.socks.remove(&id);
            return;
        }
        if sock.dead.is_some() {
            return;
        }
        sock.dead = Some(fault);
        sock.out = Bytes::default();
        sock.wire.clear();
        sock.wire_len = 0;
        if lose {
            sock.inbox = Bytes::default();
        }
        if sock.established {
            self.notices.push_back((sock.owner, Notice::Readable { sock: id }));
        } else {
            self.fail(id, fault);
        }
    }

    /// Forgets a socket without owner once its last byte has arrived.
    pub(super) fn sweep(&mut self, id: SockId) {
        let done = |sock: &Sock| sock.owner == Owner::Nobody && sock.fin == Fin::Delivered;
        if self.socks.get(&id).is_some_and(done) {
            self.socks.remove(&id);
        }
    }
}

/// Packets and their acknowledgements get through.
fn both_ways(topology: &Topology, sock: &Sock) -> bool {
    topology.passes(sock.host, sock.local, sock.remote_host, sock.remote)
        && topology.hears(sock.remote_host, sock.host)
}
