//! Names the operator typed, looked up beside the loop: the system's resolver may take half a minute, so it runs in
//! a process of its own, which is this program once more, and its answer comes through a pipe.

use super::{Reactor, interfaces, token};
use crate::config::zoned;
use crate::machine::{Fault, Input, RequestId};
use crate::time::{Duration, Instant};
use mio::Interest;
use mio::unix::SourceFd;
use rustix::fd::AsRawFd;
use rustix::io::{Errno, ioctl_fionbio, read};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};

/// Look-ups at once; an operator types one at a time.
const SLOTS: u8 = 32;
/// The resolver's own patience with three silent servers; a service behind it may have none.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer that are looked at.
const ANSWER_MAX: usize = 16 << 10;
/// The first word of a command line that asks for a look-up: an agreement of this program with itself.
const LOOKUP: &str = "__lookup";

/// Looks a name up where the command line asks for that, and prints its addresses, one a line. Nothing is done where it
/// asks for something else. For `main`, before it does anything else: the loop starts such a process for each name.
pub fn lookup(args: &[OsString]) -> Option<ExitCode> {
    let [word, host, port] = args else { return None };
    if word != LOOKUP {
        return None;
    }
    let (host, port) = (host.to_str()?, port.to_str()?.parse::<u16>().ok()?);
    // Whoever asked can be killed without a word. Where the kernel does not help, the resolver's own patience ends it.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let found = (host, port).to_socket_addrs();
    let lines: String = found.into_iter().flatten().map(|addr| format!("{addr}\n")).collect();
    let printed = io::stdout().write_all(lines.as_bytes());
    Some(if printed.is_ok() && !lines.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The commands that look up a name, in the order in which they are tried: host and port follow.
#[derive(Debug)]
pub(super) struct Resolvers(Vec<Vec<OsString>>);

impl Resolvers {
    /// This program: as the kernel knows it, even if its file was replaced meanwhile, or, without /proc, as it was called.
    pub(super) fn this_program() -> Resolvers {
        let programs = std::iter::once("/proc/self/exe".into()).chain(std::env::args_os().next());
        Resolvers(programs.map(|program| vec![program, LOOKUP.into()]).collect())
    }

    pub(super) fn only(command: Vec<OsString>) -> Resolvers {
        Resolvers(vec![command])
    }
}

/// A look-up that is under way.
#[derive(Debug)]
pub(super) struct Lookup {
    request: RequestId,
    until: Instant,
    child: Child,
    answer: ChildStdout,
    text: Vec<u8>,
    readable: bool,
}

impl Lookup {
    fn start(
        request: RequestId,
        host: &str,
        port: u16,
        until: Instant,
        by: &Resolvers,
    ) -> io::Result<Lookup> {
        let mut failed = io::ErrorKind::NotFound.into();
        for words in &by.0 {
            let Some((program, first)) = words.split_first() else { continue };
            let mut command = Command::new(program);
            command.args(first).arg(host).arg(port.to_string());
            match Lookup::of(request, until, &mut command) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => failed = error,
                other => return other,
            }
        }
        Err(failed)
    }

    /// All our descriptors are closed in the child by themselves; the library undoes what we do to signals.
    fn of(request: RequestId, until: Instant, command: &mut Command) -> io::Result<Lookup> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let Some(answer) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let lookup = Lookup { request, until, child, answer, text: Vec::new(), readable: false };
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
        } else if let Some((ip, zone)) = zoned(host) {
            interfaces::zone(zone)
                .map(|zone| SocketAddrV6::new(ip, port, 0, zone).into())
                .ok_or(Fault::NoZone)
        } else if host.is_empty()
            || host.starts_with('-')
            || host.contains(|c: char| c.is_control() || c == ' ')
        {
            Err(Fault::UnknownHost)
        } else {
            match self.begin_lookup(request, host, port) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    log::warn!(
                        "no name can be looked up, since this program cannot be started again: {error}"
                    );
                    Err(Fault::UnknownHost)
                }
                Err(error) => Err(Fault::of(&error)),
            }
        };
        self.answer(Input::Resolved { request, result });
    }

    fn begin_lookup(&mut self, request: RequestId, host: &str, port: u16) -> io::Result<()> {
        let free = (0..SLOTS).find(|slot| !self.lookups.contains_key(slot));
        let Some(slot) = free else { return Err(Errno::MFILE.into()) };
        let lookup = Lookup::start(request, host, port, self.clock.now() + PATIENCE, &self.resolvers)?;
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
            let request = lookup.request;
            let result = if whole { first_address(&lookup.text) } else { Err(Fault::TimedOut) };
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

/// Lines that are an address; IPv4 where there is one, which is what the network of v1 speaks.
fn first_address(text: &[u8]) -> Result<SocketAddr, Fault> {
    let text = String::from_utf8_lossy(text);
    let found: Vec<SocketAddr> = text.lines().filter_map(|line| line.parse().ok()).collect();
    found.iter().find(|addr| addr.is_ipv4()).or(found.first()).copied().ok_or(Fault::UnknownHost)
}

#[cfg(test)]
mod tests {
    use super::super::Answer;
    use super::*;
    use crate::config::{Folders, Limits};
    use crate::machine::{ListenerId, Output};

    fn hanging(until: Instant) -> Lookup {
        let mut command = Command::new("sleep");
        Lookup::of(RequestId(7), until, command.arg("60")).expect("starts")
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

    fn command(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    /// What one command prints is the answer, here as its own lines.
    fn said(reactor: &mut Reactor, script: &str) -> Result<SocketAddr, Fault> {
        reactor.resolvers = Resolvers::only(command(&["sh", "-c", script]));
        reactor.resolve(RequestId(7), "box.lan", 80);
        loop {
            if let Some(Answer::Input(Input::Resolved { result, .. })) = reactor.answers.pop_front() {
                return result;
            }
            reactor.poll.poll(&mut reactor.events, Some(Duration::from_secs(60))).expect("polls");
            reactor.lookups.values_mut().for_each(|lookup| lookup.readable = true);
            reactor.lookups_turn();
        }
    }

    /// The wait for a resolver is never the loop's, even if nothing can be started.
    #[test]
    fn where_no_process_can_be_started_no_name_is_looked_up_in_the_loop() {
        let (_temp, mut reactor) = reactor();
        reactor.resolvers = Resolvers::only(command(&["/nonexistent/program"]));
        reactor.resolve(RequestId(7), "localhost", 80);
        assert_eq!(answer(&mut reactor), Some(Fault::UnknownHost));
        // The next one is tried where the first is not there.
        reactor.resolvers.0.push(command(&["sleep"]));
        reactor.resolve(RequestId(7), "60", 60);
        assert_eq!((answer(&mut reactor), reactor.lookups.len()), (None, 1));
        reactor.end_lookups();
    }

    #[test]
    fn a_resolver_starts_with_nothing_of_ours() {
        let (_temp, mut reactor) = reactor();
        let listener = ListenerId(0);
        reactor.execute(Output::Listen { listener, addr: "127.0.0.1:0".parse().expect("an address") });
        reactor.answers.clear();
        let sound = |ok: &str| format!("{ok} && echo 192.0.2.1:80");
        for ok in [
            "test -z \"$(cat)\"",
            "! ls -l /proc/self/fd | grep -q -e socket: -e eventpoll",
            "grep -q '^SigBlk:[[:space:]]*0*$' /proc/self/status",
        ] {
            assert_eq!(
                said(&mut reactor, &sound(ok)),
                Ok("192.0.2.1:80".parse().expect("an address")),
                "{ok}"
            );
        }
        assert_eq!(said(&mut reactor, "exit 1"), Err(Fault::UnknownHost));
    }

    #[test]
    fn only_a_command_line_for_it_is_a_look_up() {
        for words in
            [&[][..], &["9000"], &["__lookup"], &["__lookup", "a"], &["__lookup", "a", "x"], &["a", "b", "1"]]
        {
            assert!(lookup(&command(words)).is_none(), "{words:?}");
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
    fn a_zone_is_an_interface_of_this_host() {
        let (_temp, mut reactor) = reactor();
        let mut of = |host: &str| {
            reactor.resolve(RequestId(7), host, 80);
            match reactor.answers.pop_front() {
                Some(Answer::Input(Input::Resolved { result, .. })) => result.map(|addr| addr.to_string()),
                _ => panic!("{host}: answered at once"),
            }
        };
        let lo = interfaces::zone("lo").expect("a loopback");
        let by_index = Ok(format!("[fe80::1%{lo}]:80"));
        assert_eq!((of("fe80::1%lo"), of(&format!("fe80::1%{lo}"))), (by_index.clone(), by_index));
        for zone in ["nosuch0", "0", "4294967296", "an-interface-of-too-long-a-name"] {
            assert_eq!(of(&format!("fe80::1%{zone}")), Err(Fault::NoZone), "{zone}");
        }
    }

    #[test]
    fn an_ipv4_address_is_preferred_and_rubbish_passed_over() {
        let text = b"[fe80::1%2]:80\n[2001:db8::1]:80\n# x\n\xff\n192.0.2.7:80\n";
        assert_eq!(first_address(text), Ok("192.0.2.7:80".parse().expect("an address")));
        assert_eq!(first_address(b"[fe80::1%2]:80\n"), Ok("[fe80::1%2]:80".parse().expect("an address")));
        assert_eq!(first_address(b""), Err(Fault::UnknownHost));
    }
}
