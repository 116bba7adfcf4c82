//! The driver of the real world: one thread, one poll, real sockets, files and clock behind a [`Machine`].
//!
//! One turn of the loop, in this order: timers, datagrams, accepts, answers to what the node asked for, connections
//! that are ready (what is small first, then bulk up to a quantum), the operator's streams, a slice each of copying, of
//! watching folders, of listing, and of reading for hashes if there was nothing else; then the poll, which waits only if nothing of all that was left undone. Each part has a budget. Files
//! under `reactor/` hold one part each; this one holds the loop and knows nothing of what the node is for.

mod beneath;
mod buffer;
mod clock;
mod control;
mod datagrams;
mod files;
mod folders;
mod growing;
mod import;
mod interfaces;
mod listing;
pub mod log;
mod logs;
mod outlet;
mod place;
mod reading;
mod receiving;
mod resolve;
mod seal;
mod signals;
mod sockets;
mod state;
mod stdio;
mod system;
mod table;
mod token;
mod turns;
mod walk;
mod watch;

pub use folders::StartError;
pub use resolve::lookup;
pub use state::change_key;

use crate::config::{Folders, KeyFiles, Limits};
use crate::machine::{ConnId, Dir, Fault, Input, Interface, ListenerId, Machine, Output, SLEEP_MAX};
use crate::time::{Duration, Instant};
use mio::{Events, Poll};
use rustix::fd::OwnedFd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use token::Source;

/// Events taken from one poll.
const EVENTS: usize = 1024;

/// The reactor. One per process in earnest; tests run several on threads of their own.
pub struct Reactor {
    poll: Poll,
    events: Events,
    clock: clock::Clock,
    limits: Limits,
    listeners: BTreeMap<ListenerId, sockets::Listener>,
    accept_pause: sockets::AcceptPause,
    streams: table::Table<sockets::Stream>,
    /// Ready connections whose last turn moved little, or none yet; and those whose moved much.
    small: VecDeque<ConnId>,
    bulk: VecDeque<ConnId>,
    /// Connections that ended while the node must not be called.
    failed: Vec<(ConnId, Fault)>,
    discovery: Option<datagrams::Discovery>,
    folders: Option<folders::FolderHandles>,
    /// What `~/` means in the path of a `share`.
    home: Option<PathBuf>,
    files: table::Table<files::OpenFile>,
    imports: import::Imports,
    reads: reading::Reads,
    listings: VecDeque<listing::Listing>,
    watches: BTreeMap<Dir, watch::Watch>,
    /// When the path of the shared folder is looked at next.
    look_next: Instant,
    state: state::StateFolder,
    stdio: stdio::Stdio,
    signals: Option<signal_hook_mio::v1_0::Signals>,
    signalled: bool,
    /// The operator wants an end: nobody who reads slowly is waited for.
    told_to_end: bool,
    lookups: BTreeMap<u8, resolve::Lookup>,
    resolvers: resolve::Resolvers,
    buffer: buffer::PageBuffer,
    /// The last poll brought no event.
    quiet: bool,
    /// What outputs brought about, told to the node from the loop and never from inside an output.
    answers: VecDeque<Answer>,
    exit: Option<u8>,
    stats: Stats,
}

/// What the loop did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Turns of the loop.
    pub polls: u64,
    /// Of those, the ones that waited: wake-ups.
    pub waits: u64,
    /// Events of connections that were closed already.
    pub stale_events: u64,
    /// Connections accepted.
    pub accepts: u64,
    /// Accepts that failed.
    pub accept_errors: u64,
    /// Datagrams shown to the node.
    pub datagrams: u64,
    /// Datagrams too long, empty, or lost to an error.
    pub datagrams_dropped: u64,
    /// Datagrams the kernel would not send.
    pub datagrams_unsent: u64,
    /// Bytes sent on TCP.
    pub bytes_sent: u64,
    /// Bytes of bodies stored in files.
    pub bytes_stored: u64,
    /// TCP connections open now.
    pub streams: usize,
    /// Files open now.
    pub files: usize,
}

#[derive(Debug)]
enum Answer {
    Input(Input<'static>),
    Interfaces(Vec<Interface>),
}

/// Raises the number of descriptors the process may open as far as it is allowed to; gives that number, for
/// [`Limits::within_descriptors`].
pub fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(errno) = setrlimit(Resource::Nofile, raised) {
            ::log::debug!("the limit of open files stays as it is: {errno}");
        }
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(current).unwrap_or(usize::MAX)
}

impl Reactor {
    /// Makes and opens the folders, locks the state folder, removes what an earlier run left.
    ///
    /// # Errors
    /// A sentence that names the folder and what to do.
    pub fn new(folders: &Folders, limits: &Limits) -> Result<Reactor, StartError> {
        raise_descriptor_limit();
        let state = state::StateFolder::open(&folders.state)?;
        #[allow(clippy::disallowed_methods)] // not a setting: what must not be shared
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let handles = match &folders.files {
            Some(files) => Some(folders::FolderHandles::open(files, &folders.state, home.as_deref())?),
            None => None,
        };
        Ok(Reactor {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            clock: clock::Clock::new(),
            limits: limits.clone(),
            listeners: BTreeMap::new(),
            accept_pause: sockets::AcceptPause::default(),
            streams: table::Table::new(),
            small: VecDeque::new(),
            bulk: VecDeque::new(),
            failed: Vec::new(),
            discovery: None,
            folders: handles,
            home,
            files: table::Table::new(),
            imports: import::Imports::default(),
            reads: reading::Reads::default(),
            listings: VecDeque::new(),
            watches: BTreeMap::new(),
            look_next: Instant::ZERO,
            state,
            stdio: stdio::Stdio::default(),
            signals: None,
            signalled: false,
            told_to_end: false,
            lookups: BTreeMap::new(),
            resolvers: resolve::Resolvers::this_program(),
            buffer: buffer::PageBuffer::new(limits.run_chunks),
            quiet: false,
            answers: VecDeque::new(),
            exit: None,
            stats: Stats::default(),
        })
    }

    /// Lets `settle` say what is to be written of the node's key before the node asks for it.
    pub fn settle_key(&self, settle: impl FnOnce(&KeyFiles) -> KeyFiles) {
        self.state.settle_key(settle);
    }

    /// Other streams for the console than descriptors 0, 1 and 2.
    #[must_use]
    pub fn with_stdio(mut self, stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> Reactor {
        self.stdio.given = Some([stdin, stdout, stderr]);
        self
    }

    /// Standard input is never touched: a daemon in the background would be stopped by its terminal.
    #[must_use]
    pub fn without_stdin(mut self) -> Reactor {
        self.stdio.unread = true;
        self
    }

    /// Another command for looking up names than this program itself, for programs that do not call [`lookup`]: host and
    /// port are added to it, and it prints addresses with the port, one a line.
    #[must_use]
    pub fn with_resolver(mut self, command: Vec<OsString>) -> Reactor {
        self.resolvers = resolve::Resolvers::only(command);
        self
    }

    /// What the loop did so far.
    pub fn stats(&self) -> Stats {
        Stats { streams: self.streams.len(), files: self.files.len(), ..self.stats }
    }

    /// Runs `machine` until it asks to end; then closes the network, flushes the console and gives the exit status.
    ///
    /// # Errors
    /// The poll itself failed: nothing can go on without it.
    pub fn run(&mut self, machine: &mut dyn Machine) -> io::Result<u8> {
        self.drain(machine);
        loop {
            self.serve(machine);
            if let Some(status) = self.exit {
                self.close_network();
                self.flush_console(machine);
                self.leave_all();
                // Lines that could not be written may have changed it.
                return Ok(self.exit.unwrap_or(status));
            }
            self.wait(machine)?;
        }
    }

    /// One turn of everything that waits, each within its budget.
    fn serve(&mut self, machine: &mut dyn Machine) {
        if let Some(wall) = self.clock.wall_if_set() {
            self.tell(machine, Input::WallClock(wall));
        }
        let now = self.clock.now();
        if machine.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
            self.tell(machine, Input::Timeout);
        }
        self.signals_turn(machine);
        self.datagrams_turn(machine);
        self.accept_turn(machine);
        self.lookups_turn();
        self.answers_turn(machine);
        self.serve_ready(machine);
        self.stdio_turn(machine);
        self.import_slice();
        self.folders_turn();
        self.watch_slice();
        self.listing_slice();
        self.reading_slice(machine);
    }

    /// Polls; waits only if no part of the turn was left undone, and not past the node's deadline.
    fn wait(&mut self, machine: &mut dyn Machine) -> io::Result<()> {
        let timeout = self.sleep(machine);
        self.stats.polls += 1;
        self.stats.waits += u64::from(!timeout.is_zero());
        self.quiet = false;
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            // hostile: 192
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            self.handle_event(event);
        }
        std::mem::swap(&mut self.events, &mut events);
        self.quiet = self.events.is_empty();
        Ok(())
    }

    fn handle_event(&mut self, event: &mio::event::Event) {
        match token::source(event.token()) {
            Source::Conn(index, generation) => {
                match self.streams.id_at(index, generation, token::GENERATION_MASK) {
                    Some(id) => self.stream_event(ConnId(id), event),
                    // hostile: 186. Closed earlier in this batch, its slot perhaps another's by now.
                    None => self.stats.stale_events += 1,
                }
            }
            Source::Listener(id) => {
                if let Some(listener) = self.listeners.get_mut(&id) {
                    listener.pending = true;
                }
            }
            Source::Discovery => self.discovery_event(),
            Source::Lookup(slot) => self.lookup_event(slot),
            Source::Signals => self.signalled = true,
            Source::Watch(dir) => self.watch_event(dir),
            console @ (Source::Stdin | Source::Stdout | Source::Stderr) => self.stdio.event(console),
            Source::Unknown => self.stats.stale_events += 1,
        }
    }

    fn sleep(&mut self, machine: &mut dyn Machine) -> Duration {
        let undone = !self.answers.is_empty()
            || !self.small.is_empty()
            || !self.bulk.is_empty()
            || !self.failed.is_empty()
            || self.imports.waits()
            || !self.listings.is_empty()
            || !self.reads.is_empty()
            || self.watch_waits()
            || self.accept_waits()
            || self.discovery_waits()
            || self.stdio.waits();
        if undone {
            return Duration::ZERO;
        }
        let now = self.clock.now();
        let mut at = now + SLEEP_MAX;
        if let Some(deadline) = machine.poll_timeout() {
            at = at.min(deadline.at);
        }
        for due in [self.accept_pause.until, self.lookups_until()].into_iter().flatten() {
            at = at.min(due);
        }
        clock::poll_timeout(now, at.max(now))
    }

    fn tell(&mut self, machine: &mut dyn Machine, input: Input<'_>) {
        machine.handle_input(self.clock.now(), input);
        self.drain(machine);
    }

    /// The answers there are now; those that come of them wait for the next turn.
    fn answers_turn(&mut self, machine: &mut dyn Machine) {
        for _ in 0..self.answers.len() {
            match self.answers.pop_front() {
                Some(Answer::Input(input)) => {
                    self.before_answer(&input);
                    self.tell(machine, input);
                }
                Some(Answer::Interfaces(list)) => self.tell(machine, Input::Interfaces(&list)),
                None => return,
            }
        }
    }

    fn drain(&mut self, machine: &mut dyn Machine) {
        while let Some(output) = machine.poll_output() {
            self.execute(output);
        }
    }

    fn execute(&mut self, output: Output) {
        match output {
            Output::Listen { listener, addr } => self.listen(listener, addr),
            Output::ListenControl { listener } => self.listen_control(listener),
            Output::CloseListener { listener } => self.close_listener(listener),
            Output::Connect { conn, addr } => self.connect(conn, addr),
            Output::Wake { conn } => self.wake(conn),
            Output::Resume { conn } => self.resume(conn),
            Output::Shutdown { conn } => self.half_close(conn),
            Output::Close { conn, reset } => self.close(conn, reset),
            Output::OpenConsole { console, notes } => self.open_console(console, notes),
            Output::OpenDiscovery { group } => self.open_discovery(group),
            Output::CloseDiscovery => self.close_discovery(),
            Output::ListInterfaces => self.answers.push_back(Answer::Interfaces(interfaces::list())),
            Output::JoinGroup { interface, addr } => self.join_group(interface, addr),
            Output::LeaveGroup { interface, addr } => self.leave_group(interface, addr),
            Output::SendDatagram { interface, addr, bytes } => self.send_datagram(interface, addr, &bytes),
            Output::OpenFile { file, dir, name } => self.open_file(file, dir, &name),
            Output::CreateFile { file, name, reserve } => self.create_file(file, &name, reserve),
            Output::OpenPart { file, name } => self.open_part(file, &name),
            Output::SyncFile { file } => self.sync_file(file),
            Output::CommitFile { file, name } => self.commit_file(file, &name),
            Output::DiscardFile { file } => self.end_file(file, true),
            Output::CloseFile { file } => self.end_file(file, false),
            Output::Import { file, source, name, max } => self.import(file, &source, &name, max),
            Output::ReadFile { file, offset, len } => self.read_file(file, offset, len),
            Output::ListFiles { request, dir, folder, deep, max } => {
                self.listings.push_back(listing::Listing::new(request, dir, &folder, deep, max));
            }
            Output::WatchFolder { dir } => self.watch_folder(dir),
            Output::LoadState { kept, slot, max } => {
                let content = self.state.load(kept, slot, max);
                self.answer(Input::StateLoaded { kept, slot, content });
            }
            Output::SaveState { kept, content } => {
                let result = self.state.save(kept, &content);
                self.answer(Input::StateSaved { kept, result });
            }
            Output::QuarantineState { kept, slot } => self.state.quarantine(kept, slot),
            Output::OpenLog { file, log } => self.open_log(file, log),
            Output::AppendLog { file, bytes } => self.append_log(file, &bytes),
            Output::TruncateLog { file, len } => self.truncate_log(file, len),
            Output::CommitLog { file } => self.commit_log(file),
            Output::Resolve { request, host, port } => self.resolve(request, &host, port),
            Output::Exit { status } => self.exit = Some(status),
        }
    }

    fn close_network(&mut self) {
        self.close_discovery();
        self.close_listeners();
        drop(self.streams.drain());
        self.end_lookups();
    }
}

/// 16 hex digits that nobody can guess.
fn random_hex() -> String {
    let mut bytes = [0; 8];
    // Never short for so few bytes; a name that is taken is refused by O_EXCL anyway.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    format!("{:016x}", u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;
    use std::io::Write;
    use std::net::TcpListener;

    fn registry_folders(temp: &tempfile::TempDir) -> Folders {
        Folders { files: None, state: temp.path().join("state") }
    }

    /// hostile: 186. A closed socket's event that was fetched before, and a new socket in its slot.
    #[test]
    fn an_event_of_a_closed_connection_does_not_reach_its_successor() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let mut reactor = Reactor::new(&registry_folders(&temp), &Limits::desktop()).expect("a reactor");
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let addr = listener.local_addr().expect("bound");
        let old = ConnId(Id { index: 5, generation: 1 });
        let new = ConnId(Id { index: 5, generation: 2 });
        reactor.execute(Output::Connect { conn: old, addr });
        let (mut peer, _) = listener.accept().expect("accepted");
        peer.write_all(b"x").expect("sent");
        let mut events = Events::with_capacity(16);
        reactor.poll.poll(&mut events, Some(Duration::from_secs(5))).expect("polls");
        assert!(events.iter().count() > 0);

        reactor.execute(Output::Close { conn: old, reset: false });
        reactor.execute(Output::Connect { conn: new, addr });
        for event in &events {
            reactor.handle_event(event);
        }
        assert!(reactor.stats().stale_events > 0);
        let stream = reactor.streams.get(new.0).expect("the new one");
        assert!(stream.connecting && !stream.readable && !stream.writable && !stream.queued);
        // Outputs for an id that is gone change nothing.
        for output in
            [Output::Wake { conn: old }, Output::Resume { conn: old }, Output::Shutdown { conn: old }]
        {
            reactor.execute(output);
        }
        reactor.execute(Output::Close { conn: old, reset: true });
        assert_eq!((reactor.stats().streams, reactor.small.len()), (1, 0));
    }

    #[test]
    fn temporary_names_are_16_hex_digits_and_differ() {
        let (a, b) = (random_hex(), random_hex());
        assert!(folders::is_temporary(&format!("v1-{a}"), "v1-"), "{a}");
        assert_ne!(a, b);
    }
}
