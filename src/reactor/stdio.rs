//! The operator's streams: standard input and output as one connection, standard error as another.

use super::outlet::{Outlet, ready};
use super::{Reactor, Source, token};
use crate::machine::{ConnId, Fault, Input, Machine, SLEEP_MAX, Transmit};
use crate::time::Duration;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::PollFlags;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, fcntl_dupfd_cloexec, read};
use std::io;

/// Bytes read per turn.
const SLICE: usize = 4096;
/// Bytes kept for a node that consumes none of them.
const REST_MAX: usize = 16 * SLICE;
/// Writes per turn and stream.
const WRITES: usize = 16;
/// How long the way out waits for a terminal or pipe to take the last lines, after a signal.
const FLUSH: Duration = Duration::from_secs(1);

/// The three streams, closed until the node asks for them.
#[derive(Debug, Default)]
pub(super) struct Stdio {
    /// Used instead of descriptors 0, 1 and 2.
    pub(super) given: Option<[OwnedFd; 3]>,
    pub(super) unread: bool,
    inlet: Option<Inlet>,
    outlets: [Option<Stream>; 2],
}

/// An output, the connection it belongs to, and its token.
#[derive(Debug)]
struct Stream {
    conn: ConnId,
    outlet: Outlet,
    writable: bool,
    wake: bool,
}

#[derive(Debug)]
struct Inlet {
    conn: ConnId,
    fd: OwnedFd,
    /// epoll tells when to read; else (a file, /dev/null) reading never waits.
    registered: bool,
    readable: bool,
    paused: bool,
    refeed: bool,
    eof: bool,
    rest: Vec<u8>,
}

impl Inlet {
    fn new(conn: ConnId, fd: OwnedFd, registry: &Registry) -> Result<Inlet, Errno> {
        let registered = register(registry, fd.as_fd(), token::STDIN, Interest::READABLE)?;
        let rest = Vec::new();
        Ok(Inlet { conn, fd, registered, readable: true, paused: false, refeed: false, eof: false, rest })
    }

    fn wants_turn(&self) -> bool {
        !self.paused && (self.refeed || self.readable && !self.eof)
    }

    /// Reads on: `Ok(0)` at the end, `WOULDBLOCK` where a read would wait.
    fn read(&mut self) -> Result<usize, Errno> {
        if self.registered && !ready(self.fd.as_fd(), PollFlags::IN) {
            return Err(Errno::WOULDBLOCK);
        }
        let have = self.rest.len();
        self.rest.resize(have + SLICE, 0);
        let result = read(&self.fd, &mut self.rest[have..]);
        self.rest.truncate(have + result.unwrap_or(0));
        match result {
            Err(Errno::IO) => Ok(0), // the terminal is gone
            result => result,
        }
    }
}

impl Stream {
    fn new(conn: ConnId, fd: OwnedFd, registry: &Registry, token: Token) -> Result<Stream, Errno> {
        let outlet = Outlet::new(fd);
        register(registry, outlet.fd(), token, Interest::WRITABLE)?;
        Ok(Stream { conn, outlet, writable: true, wake: false })
    }
}

/// Registers for edges; `false` where epoll takes no such descriptor, because it never waits.
fn register(
    registry: &Registry,
    fd: BorrowedFd<'_>,
    token: Token,
    interest: Interest,
) -> Result<bool, Errno> {
    match registry.register(&mut SourceFd(&fd.as_raw_fd()), token, interest) {
        Ok(()) => Ok(true),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::PERM) => Ok(false),
            errno => Err(errno.unwrap_or(Errno::IO)),
        },
    }
}

/// The description behind it lives on elsewhere: closing our number of it alone would leave its events to us.
fn deregister(registry: &Registry, fd: BorrowedFd<'_>) {
    let _ = registry.deregister(&mut SourceFd(&fd.as_raw_fd()));
}

impl Stdio {
    fn take_streams(&mut self) -> [Result<OwnedFd, Errno>; 3] {
        use rustix::stdio::{stderr, stdin, stdout};
        match self.given.take() {
            Some(given) => given.map(Ok),
            None => [stdin(), stdout(), stderr()].map(|fd| fcntl_dupfd_cloexec(fd, 3)),
        }
    }

    fn find(&mut self, conn: ConnId) -> impl Iterator<Item = &mut Stream> {
        self.outlets.iter_mut().flatten().filter(move |stream| stream.conn == conn)
    }

    pub(super) fn wake(&mut self, conn: ConnId) {
        for stream in self.find(conn) {
            stream.wake = true;
        }
    }

    pub(super) fn resume(&mut self, conn: ConnId) {
        if let Some(inlet) = self.inlet.as_mut().filter(|inlet| inlet.conn == conn) {
            inlet.refeed |= !inlet.rest.is_empty();
            inlet.paused = false;
        }
    }

    /// `false`: that is none of ours.
    pub(super) fn close(&mut self, conn: ConnId, registry: &Registry) -> bool {
        let mut any = false;
        if let Some(inlet) = self.inlet.take_if(|inlet| inlet.conn == conn) {
            deregister(registry, inlet.fd.as_fd());
            any = true;
        }
        for slot in &mut self.outlets {
            if let Some(stream) = slot.take_if(|stream| stream.conn == conn) {
                deregister(registry, stream.outlet.fd());
                any = true;
            }
        }
        any
    }

    pub(super) fn event(&mut self, source: Source) {
        match source {
            Source::Stdin => self.inlet.iter_mut().for_each(|inlet| inlet.readable = true),
            Source::Stdout => self.outlets[0].iter_mut().for_each(|stream| stream.writable = true),
            Source::Stderr => self.outlets[1].iter_mut().for_each(|stream| stream.writable = true),
            _ => {}
        }
    }

    pub(super) fn waits(&self) -> bool {
        self.inlet.as_ref().is_some_and(Inlet::wants_turn) || self.output_waits(|s| s.writable && s.wake)
    }

    fn output_waits(&self, waits: impl Fn(&Stream) -> bool) -> bool {
        self.outlets.iter().flatten().any(waits)
    }
}

impl Reactor {
    pub(super) fn open_console(&mut self, console: ConnId, notes: ConnId) {
        let registry = self.poll.registry();
        let [input, output, errors] = self.stdio.take_streams();
        let mut answers = Vec::new();
        if self.stdio.unread {
            drop(input);
        } else {
            match input.and_then(|fd| Inlet::new(console, fd, registry)) {
                Ok(inlet) => self.stdio.inlet = Some(inlet),
                Err(Errno::BADF) => answers.push(Input::Eof { conn: console }), // closed from the start
                Err(errno) => {
                    answers.push(Input::Closed { conn: console, fault: super::beneath::fault(errno) });
                }
            }
        }
        let streams = [(console, output, token::STDOUT), (notes, errors, token::STDERR)];
        for (i, (conn, fd, token)) in streams.into_iter().enumerate() {
            match fd.and_then(|fd| Stream::new(conn, fd, registry, token)) {
                Ok(stream) => self.stdio.outlets[i] = Some(stream),
                Err(errno) => {
                    self.stdio.close(conn, registry);
                    answers.push(Input::Closed { conn, fault: super::beneath::fault(errno) });
                }
            }
        }
        answers.into_iter().for_each(|input| self.answer(input));
    }

    /// A slice of input, and what the outputs take.
    pub(super) fn stdio_turn(&mut self, machine: &mut dyn Machine) {
        self.stdio_write(machine);
        self.stdio_read(machine);
        self.stdio_write(machine);
    }

    fn stdio_read(&mut self, machine: &mut dyn Machine) {
        let Some(inlet) = self.stdio.inlet.as_mut().filter(|inlet| inlet.wants_turn()) else { return };
        let conn = inlet.conn;
        if !std::mem::take(&mut inlet.refeed) {
            match inlet.read() {
                Ok(0) => {
                    // hostile: 149. Said once, and not read again.
                    inlet.eof = true;
                    machine.handle_input(self.clock.now(), Input::Eof { conn });
                    return self.drain(machine);
                }
                Ok(_) => {}
                Err(Errno::WOULDBLOCK) => return inlet.readable = false,
                Err(Errno::INTR) => return,
                Err(errno) => return self.fail_stdio(machine, conn, errno),
            }
        }
        let mut bytes = std::mem::take(&mut inlet.rest);
        let mut start = 0;
        while start < bytes.len() {
            let received = machine.handle_recv(self.clock.now(), conn, &mut bytes[start..]);
            let consumed = received.consumed.min(bytes.len() - start);
            if let Some(inlet) = &mut self.stdio.inlet {
                inlet.paused |= received.pause;
            }
            self.drain(machine);
            start += consumed;
            let Some(inlet) = self.stdio.inlet.as_mut().filter(|inlet| inlet.conn == conn) else { return };
            if consumed == 0 || inlet.paused {
                // Paused and resumed within one call: the node wants to see the same bytes again.
                inlet.refeed = received.pause && !inlet.paused;
                break;
            }
        }
        bytes.drain(..start);
        if bytes.len() > REST_MAX {
            log::error!("internal error: {} bytes of input were dropped", bytes.len());
            bytes.clear();
        }
        if let Some(inlet) = self.stdio.inlet.as_mut().filter(|inlet| inlet.conn == conn) {
            inlet.rest = bytes;
        }
    }

    fn stdio_write(&mut self, machine: &mut dyn Machine) {
        for i in 0..self.stdio.outlets.len() {
            for _ in 0..WRITES {
                let Some(stream) = &mut self.stdio.outlets[i] else { break };
                if !stream.writable || !stream.wake {
                    break;
                }
                let conn = stream.conn;
                let result = match machine.poll_transmit(conn) {
                    None | Some(Transmit::Bytes([])) => {
                        stream.wake = false;
                        break;
                    }
                    Some(Transmit::Bytes(bytes)) => stream.outlet.write(bytes),
                    Some(Transmit::File { .. } | Transmit::Seal { .. }) => Err(Errno::OPNOTSUPP),
                };
                match result {
                    Ok(n) => {
                        machine.handle_sent(self.clock.now(), conn, n);
                        self.drain(machine);
                    }
                    // hostile: 154. It stays with the node, which bounds it, until the reader goes on.
                    Err(Errno::WOULDBLOCK) => stream.writable = false,
                    Err(Errno::INTR) => {}
                    Err(errno) => self.fail_stdio(machine, conn, errno),
                }
            }
        }
    }

    fn fail_stdio(&mut self, machine: &mut dyn Machine, conn: ConnId, errno: Errno) {
        if self.stdio.close(conn, self.poll.registry()) {
            let fault = Fault::of(&io::Error::from(errno));
            machine.handle_input(self.clock.now(), Input::Closed { conn, fault });
            self.drain(machine);
        }
    }

    /// On the way out: what the console still has to say. Whoever reads is waited for, as any program does that writes into
    /// a pipe; after a signal for a second at most.
    pub(super) fn flush_console(&mut self, machine: &mut dyn Machine) {
        let mut end = self.clock.now() + if self.told_to_end { FLUSH } else { SLEEP_MAX };
        while self.stdio.output_waits(|stream| stream.wake) {
            let now = self.clock.now();
            if !self.pending_signals().is_empty() {
                end = end.min(now + FLUSH);
            }
            if now >= end {
                if self.told_to_end {
                    return;
                }
                end = now + SLEEP_MAX;
            }
            if !self.stdio.output_waits(|stream| stream.wake && stream.writable) {
                let polled = self.poll.poll(&mut self.events, Some(super::clock::poll_timeout(now, end)));
                if polled.is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
                    return;
                }
                for event in &self.events {
                    match token::source(event.token()) {
                        Source::Signals => self.signalled = true,
                        source => self.stdio.event(source),
                    }
                }
            }
            self.stdio_write(machine);
        }
    }
}
