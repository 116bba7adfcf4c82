//! Listeners and streams: opened, accepted, registered once for both directions, closed.

use super::control::ControlSocket;
use super::receiving::{Habit, Rest};
use super::seal::Carry;
use super::{Reactor, token};
use crate::config::{lacks_zone, unmapped};
use crate::machine::{ConnId, Fault, Input, ListenerId, Machine};
use crate::time::{Duration, Instant};
use mio::Interest;
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};

/// Connections the kernel holds ready for us; with a full queue it drops SYNs and clients wait for seconds.
const BACKLOG: i32 = 1024;
/// First and longest wait after an accept that failed for want of descriptors or memory.
const ACCEPT_RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
/// At most one line about it in this time.
const ACCEPT_LOG: Duration = Duration::from_secs(10);

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    io: Ear,
    /// There may be more to accept: no second event tells.
    pub(super) pending: bool,
}

/// What it listens at.
#[derive(Debug)]
enum Ear {
    Tcp(TcpListener),
    Control(ControlSocket),
}

impl Ear {
    /// The next connection and where it comes from; none if it is refused.
    fn accept(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        match self {
            Ear::Tcp(io) => io.accept().map(Some),
            Ear::Control(io) => io.accept().map(|io| io.map(|io| (io, NOWHERE))),
        }
    }
}

/// The address of what has none.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// When to accept again after the system ran out of something.
#[derive(Debug, Default)]
pub(super) struct AcceptPause {
    pub(super) until: Option<Instant>,
    wait: Duration,
    logged: Option<Instant>,
}

/// How far "we have sent everything" has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HalfClose {
    Open,
    /// Once `poll_transmit` has nothing left.
    Asked,
    Done,
}

/// A TCP connection. `readable` and `writable` are what the kernel said and only a `WouldBlock` takes back;
/// `paused` and `wake` are what the node wants.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) io: TcpStream,
    pub(super) connecting: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) paused: bool,
    pub(super) wake: bool,
    /// The peer has finished sending: seen once, never told again by the kernel.
    pub(super) eof: bool,
    pub(super) half_close: HalfClose,
    /// In the midst of a file: if this process ends now, the kernel resets the connection. A FIN would make what was
    /// sent so far look like the whole.
    pub(super) armed: bool,
    /// In one of the ready queues.
    pub(super) queued: bool,
    /// Its last turn moved much: it waits behind those whose did not.
    pub(super) bulk: bool,
    /// `rest` is to be shown again although nothing new came.
    pub(super) refeed: bool,
    /// Received and not yet consumed.
    pub(super) rest: Rest,
    pub(super) habit: Habit,
    /// Sealed and not yet sent.
    pub(super) carry: Carry,
    /// Turns in a row that moved nothing.
    pub(super) idle_turns: u16,
}

impl Stream {
    fn new(io: TcpStream, connecting: bool) -> Stream {
        Stream {
            io,
            connecting,
            readable: !connecting,
            writable: !connecting,
            paused: false,
            wake: false,
            eof: false,
            half_close: HalfClose::Open,
            armed: false,
            queued: false,
            bulk: false,
            refeed: false,
            rest: Rest::default(),
            habit: Habit::default(),
            carry: Carry::default(),
            idle_turns: 0,
        }
    }

    /// From here on an end of this process is a reset …
    pub(super) fn arm(&mut self) {
        if !std::mem::replace(&mut self.armed, true) {
            let _ = SockRef::from(&self.io).set_linger(Some(Duration::ZERO));
        }
    }

    /// … and from here on a FIN again.
    fn disarm(&mut self) {
        if std::mem::replace(&mut self.armed, false) {
            let _ = SockRef::from(&self.io).set_linger(None);
        }
    }

    /// Whether a turn would do anything.
    pub(super) fn wants_turn(&self) -> bool {
        if self.connecting {
            return self.writable;
        }
        let reads = !self.paused && (self.refeed || (self.readable && !self.eof));
        let writes = self.writable && (self.sends() || self.half_close == HalfClose::Asked);
        reads || writes
    }

    /// Whether there is something to send, as far as is known.
    pub(super) fn sends(&self) -> bool {
        self.wake || !self.carry.is_empty()
    }
}

impl Reactor {
    pub(super) fn listen(&mut self, listener: ListenerId, addr: SocketAddr) {
        let opened = open_listener(addr).and_then(|mut io| {
            // Asked for 0.0.0.0 and told [::], the node would take itself for one of IPv6.
            let addr = SocketAddr::new(addr.ip(), io.local_addr()?.port());
            self.poll.registry().register(&mut io, token::of_listener(listener), Interest::READABLE)?;
            Ok((io, addr))
        });
        match opened {
            Ok((io, addr)) => {
                self.close_listener(listener);
                self.listeners.insert(listener, Listener { io: Ear::Tcp(io), pending: true });
                self.answer(Input::Listening { listener, addr });
            }
            Err(error) => {
                let fault = match Fault::of(&error) {
                    Fault::Unreachable => Fault::AddressNotHere,
                    fault => fault,
                };
                self.answer(Input::ListenFailed { listener, fault });
            }
        }
    }

    pub(super) fn close_listener(&mut self, listener: ListenerId) {
        let registry = self.poll.registry();
        match self.listeners.remove(&listener).map(|listener| listener.io) {
            Some(Ear::Tcp(mut io)) => {
                let _ = registry.deregister(&mut io);
            }
            Some(Ear::Control(io)) => {
                let _ = registry.deregister(&mut SourceFd(&io.descriptor()));
                ControlSocket::remove(&self.state);
            }
            None => {}
        }
    }

    pub(super) fn close_listeners(&mut self) {
        let all: Vec<ListenerId> = self.listeners.keys().copied().collect();
        all.into_iter().for_each(|listener| self.close_listener(listener));
    }

    pub(super) fn listen_control(&mut self, listener: ListenerId) {
        let opened = ControlSocket::open(&self.state).and_then(|io| {
            let registered = self.poll.registry().register(
                &mut SourceFd(&io.descriptor()),
                token::of_listener(listener),
                Interest::READABLE,
            );
            registered.map(|()| io).map_err(|error| Fault::of(&error))
        });
        match opened {
            Ok(io) => {
                self.close_listener(listener);
                self.listeners.insert(listener, Listener { io: Ear::Control(io), pending: true });
                self.answer(Input::Listening { listener, addr: NOWHERE });
            }
            Err(fault) => self.answer(Input::ListenFailed { listener, fault }),
        }
    }

    /// Whether there is something to accept now.
    pub(super) fn accept_waits(&self) -> bool {
        self.accept_pause.until.is_none() && self.listeners.values().any(|listener| listener.pending)
    }

    /// A bounded number of accepts, shared by the listeners.
    pub(super) fn accept_turn(&mut self, machine: &mut dyn Machine) {
        let now = self.clock.now();
        if self.accept_pause.until.is_some_and(|until| now < until) {
            return;
        }
        self.accept_pause.until = None;
        let pending: Vec<ListenerId> =
            self.listeners.iter().filter(|(_, l)| l.pending).map(|(&id, _)| id).collect();
        let accepts = self.stats.accepts;
        let mut failed = None;
        for _ in 0..self.limits.accepts_per_turn {
            let mut any = false;
            for &id in &pending {
                if self.accept_pause.until.is_none() {
                    let fault = self.accept_one(machine, id);
                    any |= self.listeners.get(&id).is_some_and(|listener| listener.pending);
                    failed = fault.or(failed);
                }
            }
            if !any {
                return;
            }
        }
        // hostile: 185. Nothing but errors, and there would be more of them at once: a pause instead of a spin.
        if let Some(fault) = failed.filter(|_| self.stats.accepts == accepts) {
            self.pause_accepting(fault);
        }
    }

    /// What failed, if something did.
    fn accept_one(&mut self, machine: &mut dyn Machine, id: ListenerId) -> Option<Fault> {
        let listener = self.listeners.get_mut(&id).filter(|listener| listener.pending)?;
        match listener.io.accept() {
            Ok(None) => None,
            Ok(Some((io, peer))) => {
                self.stats.accepts += 1;
                self.accept_pause.wait = Duration::ZERO;
                if let Some(conn) = machine.handle_accept(self.clock.now(), id, unmapped(peer)) {
                    self.adopt(conn, io, false);
                }
                self.drain(machine);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                listener.pending = false;
                None
            }
            Err(error) => {
                self.stats.accept_errors += 1;
                // hostile: 185. Of one connection or of the network behind it: the next accept may work.
                let fault = Fault::of(&error);
                if matches!(fault, Fault::TooManyOpen | Fault::NoMemory) {
                    self.pause_accepting(fault);
                }
                Some(fault)
            }
        }
    }

    /// hostile: 184. The pending flag stays up, so that the timer alone brings the waiting clients in.
    fn pause_accepting(&mut self, fault: Fault) {
        let now = self.clock.now();
        let pause = &mut self.accept_pause;
        pause.wait = (pause.wait * 2).clamp(ACCEPT_RETRY.0, ACCEPT_RETRY.1);
        pause.until = Some(now + pause.wait);
        if pause.logged.is_none_or(|logged| now.since(logged) >= ACCEPT_LOG) {
            pause.logged = Some(now);
            log::warn!("cannot accept connections for now: {fault}");
        }
    }

    pub(super) fn connect(&mut self, conn: ConnId, addr: SocketAddr) {
        match TcpStream::connect(addr) {
            Ok(io) => self.adopt(conn, io, true),
            Err(_) if lacks_zone(addr) => self.answer(Input::Closed { conn, fault: Fault::NoZone }),
            Err(error) => self.answer(Input::Closed { conn, fault: Fault::of(&error) }),
        }
    }

    /// Registers a stream under the node's id for it.
    fn adopt(&mut self, conn: ConnId, mut io: TcpStream, connecting: bool) {
        let registered = match token::of_conn(conn) {
            Some(token) => self.poll.registry().register(&mut io, token, BOTH),
            None => Err(io::Error::from_raw_os_error(24)),
        };
        if let Err(error) = registered {
            self.answer(Input::Closed { conn, fault: Fault::of(&error) });
            return;
        }
        let _ = io.set_nodelay(true);
        // The kernel's own buffer grows to megabytes, of which a slow reader would have to take a third before we heard
        // that it reads at all.
        let unsent = u32::try_from(self.limits.unsent_max).unwrap_or(u32::MAX);
        let _ = SockRef::from(&io).set_tcp_notsent_lowat(unsent);
        if self.streams.insert(conn.0, Stream::new(io, connecting)).is_some() {
            log::error!("internal error: the connection slot {:?} was given out twice", conn.0);
        }
        // Its request is often there already: tried in this turn, without waiting for an event.
        self.enqueue(conn);
    }

    /// An event of a connection: flags up, a place in the ready queue. Everything else happens in its turn.
    pub(super) fn stream_event(&mut self, conn: ConnId, event: &mio::event::Event) {
        let Some(stream) = self.streams.get_mut(conn.0) else { return };
        // An error or a hang-up shows itself to the read or write that is tried then.
        let ended = event.is_error() || event.is_read_closed() && event.is_write_closed();
        stream.readable |= event.is_readable() || event.is_read_closed() || ended;
        stream.writable |= event.is_writable() || event.is_write_closed() || ended;
        // Where no read is due that would bring what came before the error, and then the error.
        if event.is_error() && !stream.connecting && (stream.paused || stream.eof) {
            if let Ok(Some(error)) = stream.io.take_error() {
                self.failed.push((conn, Fault::of(&error)));
                return;
            }
        }
        // The other side has finished speaking, and reads no more either: nothing that is sent later would show that.
        if ended && stream.eof {
            self.failed.push((conn, Fault::Reset));
            return;
        }
        self.enqueue(conn);
    }

    /// Puts a connection into its ready queue if a turn would do anything and it is in none yet.
    pub(super) fn enqueue(&mut self, conn: ConnId) {
        let Some(stream) = self.streams.get_mut(conn.0) else { return };
        if stream.queued || !stream.wants_turn() {
            return;
        }
        stream.queued = true;
        if stream.bulk { self.bulk.push_back(conn) } else { self.small.push_back(conn) }
    }

    pub(super) fn wake(&mut self, conn: ConnId) {
        if let Some(stream) = self.streams.get_mut(conn.0) {
            stream.wake = true;
            self.enqueue(conn);
        } else {
            self.stdio.wake(conn);
        }
    }

    pub(super) fn resume(&mut self, conn: ConnId) {
        if let Some(stream) = self.streams.get_mut(conn.0) {
            stream.refeed |= !stream.rest.is_empty();
            stream.paused = false;
            self.enqueue(conn);
        } else {
            self.stdio.resume(conn);
        }
    }

    pub(super) fn half_close(&mut self, conn: ConnId) {
        let Some(stream) = self.streams.get_mut(conn.0) else { return };
        if stream.half_close == HalfClose::Open {
            stream.half_close = HalfClose::Asked;
            stream.wake = true; // so that the node is asked once more whether that was all
            self.enqueue(conn);
        }
    }

    pub(super) fn close(&mut self, conn: ConnId, reset: bool) {
        if self.stdio.close(conn, self.poll.registry()) {
            return;
        }
        let Some(mut stream) = self.streams.remove(conn.0) else { return };
        if reset {
            stream.arm();
        } else {
            stream.disarm();
        }
        let _ = self.poll.registry().deregister(&mut stream.io);
    }

    /// The world ended a connection.
    pub(super) fn fail(&mut self, machine: &mut dyn Machine, conn: ConnId, fault: Fault) {
        let Some(mut stream) = self.streams.remove(conn.0) else { return };
        let _ = self.poll.registry().deregister(&mut stream.io);
        drop(stream);
        machine.handle_input(self.clock.now(), Input::Closed { conn, fault });
        self.drain(machine);
    }

    /// A dialled connection whose socket said something: there, failed, or still on its way (`false`).
    pub(super) fn establish(&mut self, machine: &mut dyn Machine, conn: ConnId) -> bool {
        let Some(stream) = self.streams.get_mut(conn.0) else { return false };
        if !stream.connecting {
            return true;
        }
        let local = match stream.io.take_error() {
            Ok(Some(error)) | Err(error) => Err(error),
            // A port that nobody listens on may be the one the kernel picked for our own end: then TCP connects the
            // socket with itself.
            Ok(None) => match (stream.io.peer_addr(), stream.io.local_addr()) {
                (Ok(peer), Ok(local)) if peer == local => Err(Errno::CONNREFUSED.into()),
                (Err(error), _) | (_, Err(error)) => Err(error),
                (_, Ok(local)) => Ok(local),
            },
        };
        match local {
            Ok(local) => {
                stream.connecting = false;
                machine.handle_input(self.clock.now(), Input::Connected { conn, local: unmapped(local) });
                self.drain(machine);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                stream.writable = false;
                false
            }
            Err(error) => {
                self.fail(machine, conn, Fault::of(&error));
                false
            }
        }
    }

    /// Tells the peer that we are done, once the node has nothing left to send.
    pub(super) fn finish_half_close(&mut self, conn: ConnId) {
        let Some(stream) = self.streams.get_mut(conn.0) else { return };
        if stream.half_close == HalfClose::Asked && !stream.sends() {
            stream.half_close = HalfClose::Done;
            stream.disarm();
            let _ = stream.io.shutdown(Shutdown::Write);
        }
    }
}

/// 0.0.0.0 means all addresses, those of IPv6 too where this host has it: one socket, one port for both.
fn open_listener(addr: SocketAddr) -> io::Result<TcpListener> {
    if addr.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        match open_one(SocketAddr::from((Ipv6Addr::UNSPECIFIED, addr.port())), true) {
            Ok(listener) => return Ok(listener),
            // Whether that port is free for IPv4 is seen below.
            Err(error) => log::debug!("not listening by IPv6: {error}"),
        }
    }
    open_one(addr, false)
}

fn open_one(addr: SocketAddr, both: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if both {
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::super::Answer;
    use super::*;
    use crate::config::{Folders, Limits};
    use crate::machine::{Census, Deadline, Id, Output, Received, Transmit};

    /// A node that takes note of what ended and wants nothing.
    #[derive(Default)]
    struct Idle {
        closed: Vec<Fault>,
        called: Vec<SocketAddr>,
    }

    impl Machine for Idle {
        fn handle_accept(&mut self, _: Instant, _: ListenerId, peer: SocketAddr) -> Option<ConnId> {
            self.called.push(peer);
            None
        }

        fn handle_input(&mut self, _: Instant, input: Input<'_>) {
            if let Input::Closed { fault, .. } = input {
                self.closed.push(fault);
            }
        }

        fn handle_recv(&mut self, _: Instant, _: ConnId, bytes: &mut [u8]) -> Received {
            Received { consumed: bytes.len(), ..Received::default() }
        }

        fn handle_written(&mut self, _: Instant, _: ConnId, _: usize) {}

        fn poll_transmit(&mut self, _: ConnId) -> Option<Transmit<'_>> {
            None
        }

        fn handle_sent(&mut self, _: Instant, _: ConnId, _: usize) {}

        fn poll_output(&mut self) -> Option<Output> {
            None
        }

        fn poll_timeout(&mut self) -> Option<Deadline> {
            None
        }

        fn census(&self) -> Census {
            Census::default()
        }
    }

    fn reactor() -> (tempfile::TempDir, Reactor) {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let folders = Folders { files: None, state: temp.path().join("state") };
        let reactor = Reactor::new(&folders, &Limits::desktop()).expect("a reactor");
        (temp, reactor)
    }

    fn any_port() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    /// A dial to a free port of this host whose own end got that very port: nobody is there.
    #[test]
    fn a_socket_connected_with_itself_is_a_refusal() {
        let (_temp, mut reactor) = reactor();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        socket.bind(&any_port().into()).expect("bound");
        let itself = socket.local_addr().expect("bound");
        socket.connect(&itself).expect("connects");
        socket.set_nonblocking(true).expect("set");
        let conn = ConnId(Id { index: 0, generation: 0 });
        reactor.adopt(conn, TcpStream::from_std(socket.into()), true);
        let mut machine = Idle::default();
        assert!(!reactor.establish(&mut machine, conn));
        assert_eq!((machine.closed, reactor.stats().streams), (vec![Fault::Refused], 0));
    }

    /// IPv6 as well where there is any, with one port for both; the node goes on to see 0.0.0.0.
    #[test]
    fn all_addresses_are_those_of_both_families() {
        let (_temp, mut reactor) = reactor();
        let id = ListenerId(0);
        reactor.listen(id, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let port = match reactor.answers.pop_front() {
            Some(Answer::Input(Input::Listening { addr, .. })) if addr.ip() == Ipv4Addr::UNSPECIFIED => {
                addr.port()
            }
            other => panic!("{other:?}"),
        };
        let mut callers = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            callers.push(v6);
        }
        for caller in callers {
            let ours = std::net::TcpStream::connect(caller).expect("it listens");
            let mut machine = Idle::default();
            reactor.listeners.get_mut(&id).expect("it is there").pending = true;
            reactor.accept_turn(&mut machine);
            assert_eq!(machine.called, [ours.local_addr().expect("connected")]);
        }
    }

    #[test]
    fn a_link_local_address_without_its_interface_is_told_so() {
        let (_temp, mut reactor) = reactor();
        let conn = ConnId(Id { index: 0, generation: 0 });
        reactor.connect(conn, "[fe80::1]:9000".parse().expect("an address"));
        let Some(Answer::Input(Input::Closed { fault, .. })) = reactor.answers.pop_front() else {
            panic!("closed at once")
        };
        assert!(matches!(fault, Fault::NoZone), "{fault}");
    }

    #[test]
    fn a_listener_that_only_fails_does_not_spin() {
        // hostile: 185
        let (_temp, mut reactor) = reactor();
        let id = ListenerId(0);
        reactor.listen(id, any_port());
        // From now on each accept says EINVAL.
        let Ear::Tcp(io) = &reactor.listeners[&id].io else { panic!("it is of TCP") };
        SockRef::from(io).shutdown(Shutdown::Both).expect("shut down");
        let mut machine = Idle::default();
        reactor.accept_turn(&mut machine);
        assert_eq!(reactor.stats().accept_errors, reactor.limits.accepts_per_turn as u64);
        assert!(!reactor.accept_waits() && reactor.accept_pause.until.is_some());
        assert!(reactor.listeners[&id].pending, "tried again after the pause");
    }
}
