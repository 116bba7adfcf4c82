//! Names the operator typed, looked up beside the loop: the system's resolver may take half a minute, so it runs in
//! a process of its own (`getent`, which every Linux with a C library has) and its answer comes through a pipe.

use super::{Reactor, token};
use crate::machine::{Fault, Input, RequestId};
use mio::Interest;
use mio::unix::SourceFd;
use rustix::fd::AsRawFd;
use rustix::io::{Errno, ioctl_fionbio, read};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Look-ups at once; an operator types one at a time.
const SLOTS: u8 = 32;
/// Bytes of an answer that are looked at.
const ANSWER_MAX: usize = 16 << 10;

/// A look-up that is under way.
#[derive(Debug)]
pub(super) struct Lookup {
    request: RequestId,
    port: u16,
    child: Child,
    answer: ChildStdout,
    text: Vec<u8>,
    readable: bool,
}

impl Lookup {
    fn start(request: RequestId, host: &str, port: u16) -> io::Result<Lookup> {
        let mut command = Command::new("getent");
        command.args(["ahosts", host]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let Some(answer) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        ioctl_fionbio(&answer, true)?;
        Ok(Lookup { request, port, child, answer, text: Vec::new(), readable: false })
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
        } else if self.begin_lookup(request, host, port) {
            return;
        } else {
            look_up_here(host, port)
        };
        self.answer(Input::Resolved { request, result });
    }

    /// `false`: there is no such program here, or too much is under way.
    fn begin_lookup(&mut self, request: RequestId, host: &str, port: u16) -> bool {
        let Some(slot) = (0..SLOTS).find(|slot| !self.lookups.contains_key(slot)) else { return false };
        let Ok(lookup) = Lookup::start(request, host, port) else { return false };
        let fd = lookup.answer.as_raw_fd();
        let registry = self.poll.registry();
        if registry.register(&mut SourceFd(&fd), token::of_lookup(slot), Interest::READABLE).is_err() {
            lookup.end();
            return false;
        }
        self.lookups.insert(slot, lookup);
        true
    }

    pub(super) fn lookup_event(&mut self, slot: u8) {
        if let Some(lookup) = self.lookups.get_mut(&slot) {
            lookup.readable = true;
        }
    }

    pub(super) fn lookups_turn(&mut self) {
        let ready: Vec<u8> = self.lookups.iter().filter(|(_, l)| l.readable).map(|(&slot, _)| slot).collect();
        for slot in ready {
            if !self.lookups.get_mut(&slot).is_some_and(Lookup::read) {
                continue;
            }
            let Some(lookup) = self.lookups.remove(&slot) else { continue };
            let _ = self.poll.registry().deregister(&mut SourceFd(&lookup.answer.as_raw_fd()));
            let (request, port) = (lookup.request, lookup.port);
            let result = first_address(&lookup.text, port);
            lookup.end();
            self.answer(Input::Resolved { request, result });
        }
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
    use super::*;

    #[test]
    fn an_ipv4_address_is_preferred_and_rubbish_passed_over() {
        let text = b"fe80::1%eth0 STREAM\n2001:db8::1     STREAM box\n# x\n\xff\n192.0.2.7      RAW\n";
        assert_eq!(first_address(text, 80), Ok("192.0.2.7:80".parse().expect("an address")));
        assert_eq!(first_address(b"::1 STREAM\n", 80), Ok("[::1]:80".parse().expect("an address")));
        assert_eq!(first_address(b"", 80), Err(Fault::UnknownHost));
        assert_eq!(look_up_here("127.0.0.1", 1), Ok("127.0.0.1:1".parse().expect("an address")));
    }
}
