//! TCP as an application sees it: byte queues with an end, in order, at the network's pace, cut into arbitrary pieces.
//! Loss shows as delay, a cut line as silence, a reset as the loss of what was not read.

mod wire;

use crate::bytes::Bytes;
use crate::faults::{TcpFaults, UdpFaults};
use crate::ids::{HostId, Owner, SockId};
use crate::queue::{Event, NetEvent, Queue};
use crate::rng::{Dice, Rng};
use crate::topology::{Topology, at};
use distrishare::machine::Fault;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

/// Bytes of a segment on an ordinary network.
const MSS: usize = 1448;

/// What the network tells the owner of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Accept {
        listener: u8,
        sock: SockId,
        peer: SocketAddr,
    },
    Connected {
        sock: SockId,
        local: SocketAddr,
    },
    /// Dialling failed; the socket is gone.
    Failed {
        sock: SockId,
        fault: Fault,
    },
    /// Something to read: bytes, the end, or the news that the connection was cut.
    Readable {
        sock: SockId,
    },
    Writable {
        sock: SockId,
    },
}

/// What [`Net::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Bytes,
    /// Nothing for now.
    Empty,
    Eof,
    Dead(Fault),
}

#[derive(Clone, Debug)]
struct Listener {
    owner: Owner,
    number: u8,
    /// Accepted by the kernel, not yet by the owner.
    waiting: usize,
}

/// One end of a connection.
#[derive(Clone, Debug)]
struct Sock {
    host: HostId,
    owner: Owner,
    local: SocketAddr,
    remote: SocketAddr,
    remote_host: HostId,
    peer: Option<SockId>,
    established: bool,
    out: Bytes,
    out_cap: usize,
    fin: Fin,
    wire: VecDeque<(u64, Vec<u8>)>,
    wire_len: usize,
    wire_armed: bool,
    last_due: u64,
    retries: u32,
    inbox: Bytes,
    window: usize,
    eof: bool,
    dead: Option<Fault>,
    /// The largest segment this end sends at the start of a stream.
    segment: usize,
    /// An end is an actor: its segments are as a kernel usually makes them. Models of the original depend on that, and
    /// adversaries cut their bytes themselves.
    gentle: bool,
    sent: u64,
    /// A `write` found no room: say so when there is.
    starved: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    Open,
    /// To be sent after the data.
    Wanted,
    OnWire,
    Delivered,
}

/// Sockets, listeners and the state of the network.
pub(crate) struct Net {
    pub(crate) topology: Topology,
    pub(crate) tcp: TcpFaults,
    pub(crate) udp: UdpFaults,
    pub(crate) notices: VecDeque<(Owner, Notice)>,
    socks: BTreeMap<SockId, Sock>,
    listeners: BTreeMap<(HostId, SocketAddr), Listener>,
    pub(crate) members: BTreeMap<crate::multicast::Segment, BTreeSet<(Owner, HostId, u32)>>,
    /// Sent to groups so far.
    pub(crate) datagrams: u64,
    next_sock: u64,
    rng: Rng,
    pub(crate) udp_rng: Rng,
    pub(crate) dice: Dice,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Net {
        Net {
            topology: Topology::default(),
            tcp: TcpFaults::default(),
            udp: UdpFaults::default(),
            notices: VecDeque::new(),
            socks: BTreeMap::new(),
            listeners: BTreeMap::new(),
            members: BTreeMap::new(),
            datagrams: 0,
            next_sock: 0,
            rng: Rng::new(seed, "net", 0),
            udp_rng: Rng::new(seed, "udp", 0),
            dice: Dice::new(seed, 0),
        }
    }

    pub(crate) fn listen(
        &mut self,
        host: HostId,
        owner: Owner,
        number: u8,
        mut addr: SocketAddr,
    ) -> Result<SocketAddr, Fault> {
        if !addr.ip().is_unspecified() && !self.topology.owns(host, addr.ip()) {
            return Err(Fault::AddressNotHere);
        }
        if addr.port() == 0 {
            addr.set_port(self.topology.ephemeral(host));
        }
        let clash = |&(h, a): &(HostId, SocketAddr)| {
            let any = a.ip().is_unspecified() || addr.ip().is_unspecified() || a.ip() == addr.ip();
            h == host && a.port() == addr.port() && any
        };
        if self.listeners.keys().any(clash) {
            return Err(Fault::AddressInUse);
        }
        self.listeners.insert((host, addr), Listener { owner, number, waiting: 0 });
        Ok(addr)
    }

    pub(crate) fn close_listener(&mut self, host: HostId, addr: SocketAddr) {
        self.listeners.remove(&(host, addr));
    }

    /// The owner took an [`Notice::Accept`] from the listener's queue.
    pub(crate) fn accepted(&mut self, host: HostId, addr: SocketAddr) {
        if let Some(listener) = self.listeners.get_mut(&(host, addr)) {
            listener.waiting = listener.waiting.saturating_sub(1);
        }
    }

    pub(crate) fn connect(
        &mut self,
        now: u64,
        queue: &mut Queue,
        host: HostId,
        owner: Owner,
        to: SocketAddr,
    ) -> SockId {
        let port = self.topology.ephemeral(host);
        let (source, remote_host) = match self.topology.route(host, to) {
            Ok(route) => (route.source, route.host),
            Err(_) => (self.topology.addr(host), host),
        };
        // 0.0.0.0 is this host, as the kernel has it.
        let to = if to.ip().is_unspecified() { at(source, to.port()) } else { to };
        let id = self.add(host, owner, at(source, port), to, remote_host);
        queue.push(now, Event::Net(NetEvent::Syn { sock: id, attempt: 0 }));
        id
    }

    /// How much [`Net::write`] could take now; at least 1, for the news that it takes nothing.
    pub(crate) fn room(&self, id: SockId) -> usize {
        let room = |sock: &Sock| sock.out_cap.saturating_sub(sock.out.len() + sock.wire_len);
        self.socks.get(&id).map_or(1, room).max(1)
    }

    /// Takes up to `bytes.len()` of them; 0 while there is no room.
    pub(crate) fn write(
        &mut self,
        now: u64,
        queue: &mut Queue,
        id: SockId,
        bytes: &[u8],
    ) -> Result<usize, Fault> {
        let Some(sock) = self.socks.get_mut(&id) else { return Err(Fault::Reset) };
        if let Some(fault) = sock.dead {
            return Err(fault);
        }
        if !sock.established || sock.fin != Fin::Open {
            return Ok(0);
        }
        let room = sock.out_cap.saturating_sub(sock.out.len() + sock.wire_len);
        let mut n = room.min(bytes.len());
        if n > 1 && !(sock.gentle && n <= MSS) && self.rng.below(4) == 0 {
            n = self.rng.size(1, n);
        }
        if n < bytes.len() {
            sock.starved = true;
        }
        sock.out.push(&bytes[..n]);
        self.pump(now, queue, id);
        Ok(n)
    }

    /// Appends up to `max` received bytes to `into`.
    pub(crate) fn read(
        &mut self,
        now: u64,
        queue: &mut Queue,
        id: SockId,
        into: &mut Vec<u8>,
        max: usize,
    ) -> Read {
        let Some(sock) = self.socks.get_mut(&id) else { return Read::Dead(Fault::Reset) };
        let n = sock.inbox.len().min(max);
        if n == 0 {
            return match (sock.dead, sock.eof) {
                (Some(fault), _) => Read::Dead(fault),
                (None, true) => Read::Eof,
                (None, false) => Read::Empty,
            };
        }
        into.extend_from_slice(&sock.inbox.all()[..n]);
        sock.inbox.consume(n);
        if let Some(peer) = sock.peer {
            self.pump(now, queue, peer);
        }
        Read::Bytes
    }

    /// The connection was cut, whatever there is still to read.
    pub(crate) fn dead(&self, id: SockId) -> Option<Fault> {
        self.socks.get(&id).map_or(Some(Fault::Reset), |sock| sock.dead)
    }

    /// No more will be written; what was, is sent.
    pub(crate) fn shutdown(&mut self, now: u64, queue: &mut Queue, id: SockId) {
        if let Some(sock) = self.socks.get_mut(&id) {
            if sock.fin == Fin::Open {
                sock.fin = Fin::Wanted;
            }
            self.pump(now, queue, id);
        }
    }

    /// The process lets go of it. With unread data that is a reset, as the kernel does it.
    pub(crate) fn close(&mut self, now: u64, queue: &mut Queue, id: SockId, reset: bool) {
        let Some(sock) = self.socks.get_mut(&id) else { return };
        sock.owner = Owner::Nobody;
        if !sock.established || sock.dead.is_some() {
            self.socks.remove(&id);
        } else if reset || !sock.inbox.is_empty() {
            self.send_rst(now, queue, id);
            self.socks.remove(&id);
        } else {
            self.shutdown(now, queue, id);
            self.sweep(id);
        }
    }

    /// The process died: the kernel closes what it had.
    pub(crate) fn kill(&mut self, now: u64, queue: &mut Queue, owner: Owner) {
        for id in self.of(|sock| sock.owner == owner) {
            self.close(now, queue, id, false);
        }
        self.listeners.retain(|_, listener| listener.owner != owner);
        for members in self.members.values_mut() {
            members.retain(|member| member.0 != owner);
        }
    }

    /// The host lost power: nothing is sent any more, and nobody is told.
    pub(crate) fn power_off(&mut self, host: HostId) {
        for id in self.of(|sock| sock.host == host) {
            self.socks.remove(&id);
        }
        self.listeners.retain(|key, _| key.0 != host);
        for members in self.members.values_mut() {
            members.retain(|member| member.1 != host);
        }
        self.topology.host_mut(host).up = false;
    }

    /// Sockets that a process holds.
    pub(crate) fn count(&self, owner: Owner) -> usize {
        self.socks.values().filter(|sock| sock.owner == owner).count()
    }

    /// The addresses at both ends: ours, theirs.
    pub(crate) fn ends(&self, id: SockId) -> Option<(SocketAddr, SocketAddr)> {
        self.socks.get(&id).map(|sock| (sock.local, sock.remote))
    }

    fn of(&self, which: impl Fn(&Sock) -> bool) -> Vec<SockId> {
        self.socks.iter().filter(|(_, sock)| which(sock)).map(|(&id, _)| id).collect()
    }

    fn add(
        &mut self,
        host: HostId,
        owner: Owner,
        local: SocketAddr,
        remote: SocketAddr,
        remote_host: HostId,
    ) -> SockId {
        let id = SockId(self.next_sock);
        self.next_sock += 1;
        let segments: [usize; 5] = [1, 7, 100, MSS, 65_536];
        // Where a rate is to be shared fairly, no small buffer is in the way of that.
        let shaped = [host, remote_host].into_iter().any(|host| self.topology.host(host).shaped);
        let least = if shaped { 65_536 } else { 0 };
        let sock = Sock {
            host,
            owner,
            local,
            remote,
            remote_host,
            peer: None,
            established: false,
            out: Bytes::default(),
            out_cap: least.max(self.rng.log_uniform(2048, 512 << 10) as usize),
            fin: Fin::Open,
            wire: VecDeque::new(),
            wire_len: 0,
            wire_armed: false,
            last_due: 0,
            retries: 0,
            inbox: Bytes::default(),
            window: least.max(self.rng.log_uniform(2048, 512 << 10) as usize),
            eof: false,
            dead: None,
            segment: *self.rng.pick(&segments),
            gentle: false,
            sent: 0,
            starved: false,
        };
        self.socks.insert(id, sock);
        id
    }
}
