//! Carries out what a machine asks for. Nothing here calls the machine back: every answer is a later event.

use super::files::Deed;
use super::{CONTROL, Conn, Happening, Kind, Node};
use crate::bytes::Bytes;
use crate::env::Env;
use crate::ids::SockId;
use crate::rng::Rng;
use distrishare::machine::{ConnId, Fault, Input, ListenerId, Output, RequestId};
use std::net::SocketAddr;

/// The longest extended announcement: what fits whatever a driver shows of a datagram.
const ANNOUNCEMENT_MAX: usize = 512;

impl Node {
    pub(super) fn execute(&mut self, env: &mut Env, output: Output) {
        self.disk.now = env.now;
        match output {
            Output::Listen { listener, addr } => self.listen(env, listener, addr),
            Output::ListenControl { listener } => {
                self.control = true;
                let addr = SocketAddr::from(([0, 0, 0, 0], 0));
                self.soon(env, Happening::Input(Input::Listening { listener, addr }));
            }
            Output::CloseListener { listener: CONTROL } => self.control = false,
            Output::CloseListener { listener } => {
                if let Some(addr) = self.listeners.remove(&listener) {
                    env.net.close_listener(self.host, addr);
                }
            }
            Output::Connect { conn, addr } => self.connect(env, conn, addr),
            Output::Wake { conn } => {
                if let Some(known) = self.conns.get_mut(&conn) {
                    known.wanted = true;
                    self.make_ready(env, conn);
                }
            }
            Output::Resume { conn } => {
                if let Some(known) = self.conns.get_mut(&conn) {
                    known.resumed = true;
                    known.paused = false;
                    self.make_ready(env, conn);
                }
            }
            Output::Shutdown { conn } => {
                self.known_conn(conn, "Shutdown").shutdown = true;
                self.make_ready(env, conn);
            }
            Output::Close { conn, reset } => self.close(env, conn, reset),
            Output::OpenConsole { console, notes } => {
                self.new_conn(console, Kind::Console, true);
                self.new_conn(notes, Kind::Notes, true);
                self.make_ready(env, console);
            }
            Output::Resolve { request, host, port } => self.resolve(env, request, &host, port),
            Output::Exit { status } => self.exit_wanted = Some(status),
            discovery @ (Output::OpenDiscovery { .. }
            | Output::CloseDiscovery
            | Output::ListInterfaces
            | Output::JoinGroup { .. }
            | Output::LeaveGroup { .. }
            | Output::SendDatagram { .. }) => self.discover(env, discovery),
            file => self.file_output(env, file),
        }
    }

    fn listen(&mut self, env: &mut Env, listener: ListenerId, addr: SocketAddr) {
        assert!(!self.listeners.contains_key(&listener), "{listener:?} is open already");
        let input = match env.net.listen(self.host, self.owner(), listener.0, addr) {
            Ok(addr) => {
                self.listeners.insert(listener, addr);
                Input::Listening { listener, addr }
            }
            Err(fault) => Input::ListenFailed { listener, fault },
        };
        self.soon(env, Happening::Input(input));
    }

    fn connect(&mut self, env: &mut Env, conn: ConnId, addr: SocketAddr) {
        *env.dials.entry(addr).or_default() += 1;
        if let Some(rules) = self.rules.as_mut() {
            rules.dials(env, self.host, conn, addr);
        }
        let sock = env.net.connect(env.now, &mut env.queue, self.host, self.owner(), addr);
        self.new_conn(conn, Kind::Tcp(sock), false);
    }

    fn close(&mut self, env: &mut Env, id: ConnId, reset: bool) {
        self.known_conn(id, "Close");
        self.rules.iter_mut().for_each(|rules| rules.ended(id));
        self.ready.remove(&id);
        match self.conns.remove(&id).map(|conn| conn.kind) {
            Some(Kind::Tcp(sock)) => {
                self.socks.remove(&sock);
                env.net.close(env.now, &mut env.queue, sock, reset);
            }
            Some(Kind::Program(no)) => self.programs[no].conn = None,
            _ => {}
        }
    }

    pub(super) fn new_conn(&mut self, id: ConnId, kind: Kind, connected: bool) {
        self.check_new(false, id.0);
        assert!(!self.conns.contains_key(&id), "{id:?} is in use");
        if let Kind::Tcp(sock) = kind {
            self.socks.insert(sock, id);
        }
        let conn = Conn {
            kind,
            connected,
            wanted: false,
            writable: true,
            shutdown: false,
            shut: false,
            paused: false,
            resumed: false,
            carry: Vec::new(),
            sealed: Bytes::default(),
            seals: None,
            eof_told: false,
        };
        self.conns.insert(id, conn);
    }

    fn resolve(&mut self, env: &mut Env, request: RequestId, host: &str, port: u16) {
        let known = host.parse().ok().or_else(|| env.names.get(host).copied());
        let result = known.map(|ip| SocketAddr::new(ip, port)).ok_or(Fault::UnknownHost);
        let after = self.rng.between(500, 100_000);
        self.answer(env, after, Happening::Input(Input::Resolved { request, result }));
    }

    fn discover(&mut self, env: &mut Env, output: Output) {
        match output {
            Output::OpenDiscovery { group } => {
                assert!(self.discovery.is_none(), "the discovery sockets are open already");
                let faults = env.net.udp.open;
                let input = if env.net.dice.falls("udp.open", faults) {
                    Input::DiscoveryFailed { fault: Fault::AddressInUse }
                } else {
                    assert_eq!(group, distrishare::config::GROUP.into(), "the group");
                    self.discovery = Some(env.net.topology.ephemeral(self.host));
                    Input::DiscoveryOpened
                };
                self.soon(env, Happening::Input(input));
            }
            Output::CloseDiscovery => {
                self.discovery = None;
                env.net.leave(self.owner(), None);
            }
            Output::ListInterfaces => self.soon(env, Happening::Interfaces),
            Output::JoinGroup { interface, addr } => {
                let ours = self.discovery.is_some() && self.own_addr(env, interface, addr);
                let joined = env.net.join(self.owner(), self.host, interface);
                if let Err(fault) = joined.and(if ours { Ok(()) } else { Err(Fault::Unreachable) }) {
                    env.net.leave(self.owner(), Some(interface));
                    self.soon(env, Happening::Input(Input::JoinFailed { interface, fault }));
                }
            }
            Output::LeaveGroup { interface, .. } => env.net.leave(self.owner(), Some(interface)),
            Output::SendDatagram { interface, addr, bytes } => {
                check_announcement(&bytes);
                self.rules.iter().for_each(|rules| rules.announces(&bytes));
                if let Some(port) = self.discovery {
                    let from = (addr, port);
                    env.net.multicast(env.now, &mut env.queue, self.host, interface, from, &bytes);
                }
            }
            _ => {}
        }
    }

    fn file_output(&mut self, env: &mut Env, output: Output) {
        match output {
            Output::OpenFile { file, dir, name } => self.ask_file(env, file, Deed::Open { file, dir, name }),
            Output::CreateFile { file, name, reserve } => {
                self.ask_file(env, file, Deed::Create { file, name, reserve });
            }
            Output::OpenPart { file, name } => self.ask_file(env, file, Deed::OpenPart { file, name }),
            Output::SyncFile { file } => self.ask_sync(env, file),
            Output::Import { file, source, name, max: _ } => {
                self.ask_file(env, file, Deed::Import { file, source, name });
            }
            Output::CommitFile { file, name } => self.commit_file(env, file, name),
            Output::DiscardFile { file } => self.end_file(file, true),
            Output::CloseFile { file } => self.end_file(file, false),
            Output::ListFiles { request, dir, folder, deep, max } => {
                let after = self.disk.delay();
                let deed = Deed::List { request, dir, folder, deep, max };
                self.answer(env, after, Happening::Deed(deed));
            }
            Output::ReadFile { file, offset, len } => self.ask_read(env, file, offset, len),
            Output::WatchFolder { dir } => self.watch(env, dir),
            Output::LoadState { kept, slot, max } => self.state_deed(env, Deed::Load { kept, slot, max }),
            Output::SaveState { kept, content } => {
                self.disk.saving.push_back((kept, content));
                self.state_deed(env, Deed::Save);
            }
            Output::QuarantineState { kept, slot } => self.disk.quarantine(kept, slot),
            log => self.log_output(env, log),
        }
    }

    /// Something can be done for this connection at the next turn.
    pub(super) fn make_ready(&mut self, env: &mut Env, id: ConnId) {
        self.ready.insert(id);
        let after = self.rng.below(40);
        self.arm_turn(env, after);
    }

    pub(super) fn arm_turn(&mut self, env: &mut Env, after: u64) {
        if !self.turn_armed && !self.suspended && self.running() && !self.ready.is_empty() {
            self.turn_armed = true;
            let event = crate::queue::Event::Turn { node: self.id, life: self.life };
            env.queue.push(env.now + after, event);
        }
    }

    /// The network said something about a socket.
    pub(super) fn mark(&mut self, env: &mut Env, sock: SockId, writable: bool) {
        let Some(&id) = self.socks.get(&sock) else { return };
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.writable |= writable;
        }
        self.make_ready(env, id);
    }

    /// The operator typed, or the terminal takes output again.
    pub(crate) fn touch_console(&mut self, env: &mut Env) {
        let streams = self.conns.iter().filter(|(_, conn)| !matches!(conn.kind, Kind::Tcp(_)));
        let ids: Vec<ConnId> = streams.map(|(&id, _)| id).collect();
        for id in ids {
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.writable = true;
            }
            self.make_ready(env, id);
        }
    }

    pub(super) fn draw(&mut self) -> &mut Rng {
        &mut self.rng
    }
}

/// Everything that leaves for the group must be harmless to the original's nodes, which one byte can end, and mean
/// something to them (three fields, an address and a port) or nothing at all.
fn check_announcement(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    assert!(bytes.is_ascii(), "not ASCII, for the group: {text:?}");
    if text.starts_with("DS2") {
        let fields = text.split(':').count();
        assert!(fields != 3, "three fields, which the original would read: {text:?}");
        assert!(bytes.len() <= ANNOUNCEMENT_MAX, "{} bytes for the group: {text:?}", bytes.len());
        return assert!(!text.contains(|c: char| c.is_ascii_control()), "for the group: {text:?}");
    }
    assert!(bytes.len() <= 64, "{} bytes for the group: {text:?}", bytes.len());
    let fields: Vec<&str> = text.split(':').collect();
    let [word, ip, port] = fields[..] else { panic!("{} fields for the group: {text:?}", fields.len()) };
    let port = port.parse::<u16>().is_ok_and(|port| port != 0);
    let ip = ip.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| !ip.is_unspecified());
    assert!(matches!(word, "HELLO" | "GOODBYE") && ip && port, "for the group: {text:?}");
}
