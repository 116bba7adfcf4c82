//! Names the operator typed, looked up beside the loop: the system's resolver may take half a minute, so it runs in
//! a process of its own (`getent`, which every Linux with a C library has) and its answer comes through a pipe.

use super::{Reactor, token};
use crate::machine::{Fault, Input, RequestId};
use crate::time::{Duration, Instant};
use mio::Interest;
use mio::unix::SourceFd;
use rustix::fd::AsRawFd;
use rustix::io::{Errno, ioctl_fionbio, read};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Look-ups at once; an operator types one at a time.
const SLOTS: u8 = 32;
/// The resolver's own patience with three silent servers; a service behind it may have none.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer that are looked at.
const ANSWER_MAX: usize = 16 << 10;

/// A look-up that is under way.
#[derive(Debug)]
pub(super) struct Lookup {
    request: RequestId,
    port: u16,
    until: Instant,
    child: Child,
    answer: ChildStdout,
    text: Vec<u8>,
    readable: bool,
}

impl Lookup {
    fn start(request: RequestId, host: &str, port: u16, until: Instant) -> io::Result<Lookup> {
        let mut command = Command::new("getent");
        command.args(["ahosts", host]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Lookup::of(request, port, until, &mut command)
    }

    fn of(request: RequestId, port: u16, until: Instant, command: &mut Command) -> io::Result<Lookup> {
        let mut child = command.spawn()?;
        let Some(answer) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let lookup = Lookup { request, port, until, child, answer, text: Vec::new(), readable: false };
        match ioctl_fionbio(&lookup.answer, true) {
            Ok(()) => Ok(lookup),
            Err(errno) => {
                lookup.end();
                Err(errno.into())
            }
        }
    }

    /// Takes what there is of the answer; `true` at its end.
    fn read(&mut self) -> bool {
        let mut part = [0; 1024];
        while self.text.len() < ANSWER_MAX {
            match read(&self.answer, &mut part) {
                Ok(0) => return true,
                Ok(n) => self.text.extend_from_slice(&part[..n]),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => {
                    self.readable = false;
                    return false;
                }
                Err(_) => return true,
            }
        }
        true
    }

    fn end(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reactor {
    pub(super) fn resolve(&mut self, request: RequestId, host: &str, port: u16) {
        let result = if let Ok(ip) = host.parse::<IpAddr>() {
            Ok(SocketAddr::new(ip, port))
        } else if host.is_empty()
            || host.starts_with('-')
            || host.contains(|c: char| c.is_control() || c == ' ')
        {
            Err(Fault::UnknownHost)
        } else {
            match self.begin_lookup(request, host, port) {
                Ok(()) => return,
                // No such program on this box.
                Err(error) if error.kind() == io::ErrorKind::NotFound => look_up_here(host, port),
                // Short of something: to wait for the resolver in the loop would make it worse.
                Err(error) => Err(Fault::of(&error)),
            }
        };
        self.answer(Input::Resolved { request, result });
    }

    fn begin_lookup(&mut self, request: RequestId, host: &str, port: u16) -> io::Result<()> {
        let free = (0..SLOTS).find(|slot| !self.lookups.contains_key(slot));
        let Some(slot) = free else { return Err(Errno::MFILE.into()) };
        let lookup = Lookup::start(request, host, port, self.clock.now() + PATIENCE)?;
        let fd = lookup.answer.as_raw_fd();
        let registry = self.poll.registry();
        if let Err(error) = registry.register(&mut SourceFd(&fd), token::of_lookup(slot), Interest::READABLE)
        {
            lookup.end();
            return Err(error);
        }
        self.lookups.insert(slot, lookup);
        Ok(())
    }

    pub(super) fn lookup_event(&mut self, slot: u8) {
        if let Some(lookup) = self.lookups.get_mut(&slot) {
            lookup.readable = true;
        }
    }

    pub(super) fn lookups_turn(&mut self) {
        let now = self.clock.now();
        let due = |lookup: &Lookup| lookup.readable || lookup.until <= now;
        let due: Vec<u8> = self.lookups.iter().filter(|(_, l)| due(l)).map(|(&slot, _)| slot).collect();
        for slot in due {
            let Some(lookup) = self.lookups.get_mut(&slot) else { continue };
            let whole = lookup.readable && lookup.read();
            if !whole && now < lookup.until {
                continue;
            }
            let Some(lookup) = self.lookups.remove(&slot) else { continue };
            let _ = self.poll.registry().deregister(&mut SourceFd(&lookup.answer.as_raw_fd()));
            let (request, port) = (lookup.request, lookup.port);
            let result = if whole { first_address(&lookup.text, port) } else { Err(Fault::TimedOut) };
            lookup.end();
            self.answer(Input::Resolved { request, result });
        }
    }

    /// When the first look-up is given up.
    pub(super) fn lookups_until(&self) -> Option<Instant> {
        self.lookups.values().map(|lookup| lookup.until).min()
    }

    pub(super) fn end_lookups(&mut self) {
        std::mem::take(&mut self.lookups).into_values().for_each(Lookup::end);
    }
}

/// Waits for the resolver, as long as that takes.
fn look_up_here(host: &str, port: u16) -> Result<SocketAddr, Fault> {
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(|_| Fault::UnknownHost)?.collect();
    choose(&found)
}

/// Lines that begin with an address.
fn first_address(text: &[u8], port: u16) -> Result<SocketAddr, Fault> {
    let text = String::from_utf8_lossy(text);
    let address = |line: &str| Some(SocketAddr::new(line.split_whitespace().next()?.parse().ok()?, port));
    choose(&text.lines().filter_map(address).collect::<Vec<_>>())
}

/// IPv4 where there is one: that is what the network of v1 speaks.
fn choose(found: &[SocketAddr]) -> Result<SocketAddr, Fault> {
    found.iter().find(|addr| addr.is_ipv4()).or(found.first()).copied().ok_or(Fault::UnknownHost)
}

#[cfg(test)]
mod tests {
    use super::super::Answer;
    use super::*;
    use crate::config::{Folders, Limits};

    fn hanging(until: Instant) -> Lookup {
        let mut command = Command::new("sleep");
        let command = command.arg("60").stdout(Stdio::piped());
        Lookup::of(RequestId(7), 80, until, command).expect("starts")
    }

    fn reactor() -> (tempfile::TempDir, Reactor) {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let folders = Folders { files: None, state: temp.path().join("state") };
        let reactor = Reactor::new(&folders, &Limits::desktop()).expect("a reactor");
        (temp, reactor)
    }

    fn answer(reactor: &mut Reactor) -> Option<Fault> {
        match reactor.answers.pop_front() {
            Some(Answer::Input(Input::Resolved { request: RequestId(7), result })) => result.err(),
            _ => None,
        }
    }

    /// With as many look-ups under way as there may be, one more is refused; it is not made in the loop.
    #[test]
    fn one_look_up_too_many_is_refused_at_once() {
        let (_temp, mut reactor) = reactor();
        let until = reactor.clock.now() + PATIENCE;
        (0..SLOTS).for_each(|slot| drop(reactor.lookups.insert(slot, hanging(until))));
        reactor.resolve(RequestId(7), "localhost", 80);
        assert_eq!(answer(&mut reactor), Some(Fault::TooManyOpen));
        reactor.end_lookups();
    }

    #[test]
    fn a_resolver_that_never_answers_is_given_up() {
        let (_temp, mut reactor) = reactor();
        reactor.lookups.insert(0, hanging(reactor.clock.now() + PATIENCE));
        reactor.lookups_turn();
        assert_eq!((answer(&mut reactor), reactor.lookups.len()), (None, 1));
        let until = reactor.clock.now();
        reactor.lookups.values_mut().for_each(|lookup| lookup.until = until);
        assert_eq!(reactor.lookups_until(), Some(until));
        reactor.lookups_turn();
        assert_eq!((answer(&mut reactor), reactor.lookups.len()), (Some(Fault::TimedOut), 0));
    }

    #[test]
    fn an_ipv4_address_is_preferred_and_rubbish_passed_over() {
        let text = b"fe80::1%eth0 STREAM\n2001:db8::1     STREAM box\n# x\n\xff\n192.0.2.7      RAW\n";
        assert_eq!(first_address(text, 80), Ok("192.0.2.7:80".parse().expect("an address")));
        assert_eq!(first_address(b"::1 STREAM\n", 80), Ok("[::1]:80".parse().expect("an address")));
        assert_eq!(first_address(b"", 80), Err(Fault::UnknownHost));
        assert_eq!(look_up_here("127.0.0.1", 1), Ok("127.0.0.1:1".parse().expect("an address")));
    }
}
