//! A machine small enough to be read at once that uses every part of the contract, and can be told to break it: the
//! simulator's own tests run it. Its wire: `GET name\n` is answered with the file and the end of the stream.

use distrishare::config::{GROUP, PART_PREFIX};
use distrishare::machine::*;
use distrishare::time::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::net::SocketAddr;

pub(crate) const PORT: u16 = 9000;
const IDLE: Duration = Duration::from_secs(20);
const HELLO: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);

/// What a toy does wrong, on purpose, when told to `misbehave` on its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    CloseTwice,
    Census,
    BusyLoop,
    ReuseId,
    NoDeadline,
    NotAscii,
    UnsafeName,
    ExitWhileGrowing,
    /// Names its neighbours in the order of a hash table.
    HashOrder,
    WrongBytes,
}

enum Role {
    Console {
        line: Vec<u8>,
        out: Vec<u8>,
    },
    Notes,
    Server {
        request: Vec<u8>,
        file: Option<FileId>,
        offset: u64,
        size: u64,
    },
    Client {
        addr: SocketAddr,
        name: String,
        request: Vec<u8>,
        file: Option<FileId>,
        open: bool,
        written: u64,
        eof: bool,
    },
}

pub(crate) struct Toy {
    bug: Bug,
    outputs: VecDeque<Output>,
    conns: BTreeMap<ConnId, Role>,
    deadlines: BTreeMap<ConnId, Instant>,
    /// The connection each file belongs to; `None` for an import.
    files: BTreeMap<FileId, Option<ConnId>>,
    growing: BTreeSet<FileId>,
    console: ConnId,
    next: u32,
    hello_at: Option<Instant>,
    retries: Vec<(Instant, SocketAddr, String)>,
    interfaces: Vec<Interface>,
    heard: BTreeSet<SocketAddr>,
    census: Census,
    busy: bool,
}

impl Toy {
    pub(crate) fn boxed(bug: Bug, seed: u64) -> Box<dyn Machine> {
        let console = ConnId(Id { index: 0, generation: 0 });
        let notes = ConnId(Id { index: 1, generation: 0 });
        let mut toy = Toy {
            bug,
            outputs: VecDeque::new(),
            conns: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            files: BTreeMap::new(),
            growing: BTreeSet::new(),
            console,
            next: (seed % 1000) as u32 + 1,
            hello_at: None,
            retries: Vec::new(),
            interfaces: Vec::new(),
            heard: BTreeSet::new(),
            census: Census::default(),
            busy: false,
        };
        toy.conns.insert(console, Role::Console { line: Vec::new(), out: Vec::new() });
        toy.conns.insert(notes, Role::Notes);
        let addr = SocketAddr::new([0, 0, 0, 0].into(), PORT);
        toy.outputs.extend([
            Output::OpenConsole { console, notes },
            Output::Listen { listener: ListenerId(0), addr },
            Output::OpenDiscovery { group: GROUP.into() },
        ]);
        Box::new(toy)
    }

    fn id(&mut self) -> Id {
        let taken = |index: u32, toy: &Toy| {
            toy.conns.keys().any(|c| c.0.index == index) || toy.files.keys().any(|f| f.0.index == index)
        };
        let index = (2..).find(|&index| !taken(index, self)).unwrap_or(2);
        self.next += 1;
        Id { index, generation: self.next }
    }

    fn say(&mut self, text: &str) {
        let console = self.console;
        if let Some(Role::Console { out, .. }) = self.conns.get_mut(&console) {
            out.extend_from_slice(text.as_bytes());
            out.push(b'\n');
            self.outputs.push_back(Output::Wake { conn: console });
        }
    }

    fn get(&mut self, now: Instant, addr: SocketAddr, name: String) {
        let conn = ConnId(self.id());
        let request = format!("GET {name}\n").into_bytes();
        let role = Role::Client { addr, name, request, file: None, open: false, written: 0, eof: false };
        self.conns.insert(conn, role);
        if self.bug != Bug::NoDeadline {
            self.deadlines.insert(conn, now + IDLE);
        }
        self.outputs.push_back(Output::Connect { conn, addr });
    }

    fn create(&mut self, conn: ConnId) -> FileId {
        let id = self.id();
        let file = FileId(id);
        self.files.insert(file, Some(conn));
        self.growing.insert(file);
        self.census.files_created += 1;
        let name = format!("{PART_PREFIX}{:016x}", u64::from(id.generation));
        self.outputs.push_back(Output::CreateFile { file, name, reserve: 0 });
        file
    }

    /// Forgets a connection and what it held; a download is tried again later.
    fn drop_conn(&mut self, now: Instant, conn: ConnId) {
        self.deadlines.remove(&conn);
        match self.conns.remove(&conn) {
            Some(Role::Server { file: Some(file), .. }) => {
                let known = self.files.remove(&file).is_some();
                self.outputs.extend(known.then_some(Output::CloseFile { file }));
            }
            Some(Role::Client { addr, name, file, .. }) => {
                if let Some(file) = file.filter(|file| self.files.remove(file).is_some()) {
                    self.growing.remove(&file);
                    self.census.files_discarded += 1;
                    self.outputs.push_back(Output::DiscardFile { file });
                }
                self.retries.push((now + RETRY, addr, name));
            }
            _ => {}
        }
    }

    fn end(&mut self, now: Instant, conn: ConnId, reset: bool) {
        if self.conns.contains_key(&conn) {
            self.outputs.push_back(Output::Close { conn, reset });
            self.drop_conn(now, conn);
        }
    }

    fn command(&mut self, now: Instant, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["get", addr, name] => self.get(now, addr.parse().expect("an address"), name.to_owned()),
            ["import", path, name] => {
                let file = FileId(self.id());
                self.files.insert(file, None);
                self.growing.insert(file);
                self.census.files_created += 1;
                self.outputs.push_back(Output::Import {
                    file,
                    source: path.into(),
                    name: name.into(),
                    max: 9,
                });
            }
            ["list"] => {
                self.outputs.push_back(Output::ListFiles {
                    request: RequestId(1),
                    dir: Dir::Shared,
                    folder: String::new(),
                    deep: true,
                    max: 100_000,
                });
            }
            ["save", text] => {
                self.outputs.push_back(Output::SaveState { kept: Kept::Registry, content: text.into() });
            }
            ["load"] => self.outputs.push_back(Output::LoadState {
                kept: Kept::Registry,
                slot: Slot::Current,
                max: 100,
            }),
            ["resolve", host] => {
                let request = RequestId(2);
                self.outputs.push_back(Output::Resolve { request, host: host.into(), port: 80 });
            }
            ["misbehave"] => self.misbehave(now),
            ["quit"] => self.quit(now),
            _ => self.say(&format!("{{\"event\":\"error\",\"message\":\"{}\"}}", line.len())),
        }
    }

    fn quit(&mut self, now: Instant) {
        let conns: Vec<ConnId> = self.deadlines.keys().copied().collect();
        if self.bug != Bug::ExitWhileGrowing {
            conns.into_iter().for_each(|conn| self.end(now, conn, true));
        }
        self.say("{\"event\":\"done\"}");
        self.outputs.push_back(Output::Exit { status: 0 });
    }

    fn misbehave(&mut self, now: Instant) {
        match self.bug {
            Bug::CloseTwice => {
                let conn = *self.deadlines.keys().next().expect("a connection");
                self.end(now, conn, false);
                self.outputs.push_back(Output::Close { conn, reset: false });
            }
            Bug::Census => self.census.files_created += 1,
            Bug::BusyLoop => self.busy = true,
            Bug::ReuseId => {
                let conn = *self.deadlines.keys().next().expect("a connection");
                self.outputs.push_back(Output::Connect { conn, addr: GROUP.into() });
            }
            Bug::NotAscii => {
                let first = self.interfaces[1].clone();
                let (interface, addr) = (first.index, first.addr);
                self.outputs.push_back(Output::SendDatagram { interface, addr, bytes: vec![0xff] });
            }
            Bug::UnsafeName => {
                let file = FileId(self.id());
                self.files.insert(file, None);
                let (dir, name) = (Dir::Shared, "../secret".to_owned());
                self.outputs.push_back(Output::OpenFile { file, dir, name });
            }
            Bug::HashOrder => {
                let set: HashSet<u32> = (0..20).collect();
                #[allow(clippy::iter_over_hash_type)] // that is the bug
                for n in set {
                    self.say(&n.to_string());
                }
            }
            Bug::None | Bug::NoDeadline | Bug::ExitWhileGrowing | Bug::WrongBytes => {}
        }
    }

    fn timeout(&mut self, now: Instant) {
        let late: Vec<ConnId> =
            self.deadlines.iter().filter(|(_, at)| **at <= now).map(|(&conn, _)| conn).collect();
        late.into_iter().for_each(|conn| self.end(now, conn, true));
        let (due, rest): (Vec<_>, Vec<_>) = self.retries.drain(..).partition(|retry| retry.0 <= now);
        self.retries = rest;
        due.into_iter().for_each(|(_, addr, name)| self.get(now, addr, name));
        if self.hello_at.is_some_and(|at| at <= now) {
            self.hello_at = Some(now + HELLO);
            for i in &self.interfaces {
                let bytes = format!("HELLO:{}:{PORT}", i.addr).into_bytes();
                let (interface, addr) = (i.index, i.addr);
                self.outputs.push_back(Output::SendDatagram { interface, addr, bytes });
            }
            self.outputs.push_back(Output::ListInterfaces);
        }
    }

    fn interfaces(&mut self, now: Instant, list: &[Interface]) {
        for i in list.iter().filter(|i| !self.interfaces.contains(i)) {
            self.outputs.push_back(Output::JoinGroup { interface: i.index, addr: i.addr });
        }
        self.interfaces = list.to_vec();
        self.hello_at.get_or_insert(now);
    }

    fn heard(&mut self, from: SocketAddr, bytes: &[u8]) {
        if bytes.starts_with(b"HELLO:") && self.heard.insert(from) {
            self.say(&format!("{{\"event\":\"node\",\"ip\":\"{}\"}}", from.ip()));
        }
    }

    fn opened(&mut self, file: FileId, bytes: u64) {
        let Some(&Some(conn)) = self.files.get(&file) else { return };
        match self.conns.get_mut(&conn) {
            Some(Role::Server { size, .. }) => {
                *size = bytes;
                self.outputs.push_back(Output::Wake { conn });
                self.outputs.push_back(Output::Shutdown { conn });
            }
            Some(Role::Client { open, .. }) => {
                *open = true;
                self.outputs.push_back(Output::Resume { conn });
                self.commit_if_whole(conn);
            }
            _ => {}
        }
    }

    fn commit_if_whole(&mut self, conn: ConnId) {
        let Some(Role::Client { name, file: Some(file), open: true, eof: true, .. }) = self.conns.get(&conn)
        else {
            return;
        };
        let (file, name) = (*file, name.clone());
        self.outputs.push_back(Output::CommitFile { file, name });
    }

    fn committed(&mut self, now: Instant, file: FileId, name: &str, size: u64) {
        let Some(conn) = self.files.remove(&file) else { return };
        self.growing.remove(&file);
        self.census.files_committed += 1;
        self.say(&format!("{{\"event\":\"downloaded\",\"name\":\"{name}\",\"bytes\":{size}}}"));
        if let Some(conn) = conn.filter(|conn| self.conns.contains_key(conn)) {
            self.end(now, conn, false);
            self.retries.pop();
        }
    }

    fn file_failed(&mut self, now: Instant, file: FileId, fault: Fault, fatal: bool) {
        let Some(&conn) = self.files.get(&file) else { return };
        if fatal {
            self.files.remove(&file);
            if self.growing.remove(&file) {
                self.census.files_discarded += 1;
            }
        }
        self.say(&format!("{{\"event\":\"error\",\"message\":\"{fault}\"}}"));
        conn.into_iter().for_each(|conn| self.end(now, conn, true));
    }
}

impl Machine for Toy {
    fn handle_accept(&mut self, now: Instant, _: ListenerId, _: SocketAddr) -> Option<ConnId> {
        if self.deadlines.len() > 20 {
            return None;
        }
        let conn = ConnId(self.id());
        self.conns.insert(conn, Role::Server { request: Vec::new(), file: None, offset: 0, size: 0 });
        self.deadlines.insert(conn, now + IDLE);
        Some(conn)
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Timeout => self.timeout(now),
            Input::Signal(_) => self.quit(now),
            Input::DiscoveryOpened => self.outputs.push_back(Output::ListInterfaces),
            Input::Interfaces(list) => self.interfaces(now, list),
            Input::JoinFailed { interface, .. } => self.interfaces.retain(|i| i.index != interface),
            Input::Datagram { from, bytes } => self.heard(from, bytes),
            Input::Connected { conn, .. } => {
                let file = self.conns.contains_key(&conn).then(|| self.create(conn));
                if let Some(Role::Client { file: slot, .. }) = self.conns.get_mut(&conn) {
                    *slot = file;
                    self.outputs.push_back(Output::Wake { conn });
                }
            }
            Input::Closed { conn, .. } => self.drop_conn(now, conn),
            Input::Eof { conn } if conn == self.console => self.quit(now),
            Input::Eof { conn } => match self.conns.get_mut(&conn) {
                Some(Role::Client { eof, .. }) => {
                    *eof = true;
                    self.commit_if_whole(conn);
                }
                Some(Role::Server { file: None, .. }) => self.end(now, conn, false),
                _ => {}
            },
            Input::FileOpened { file, meta: Meta { size, .. } } | Input::FileCreated { file, room: size } => {
                self.opened(file, size);
            }
            Input::FileFailed { file, fault, fatal } => self.file_failed(now, file, fault, fatal),
            Input::FileCommitted { file, name, meta, .. } => self.committed(now, file, &name, meta.size),
            Input::Imported { file, name, bytes, .. } => self.committed(now, file, &name, bytes),
            Input::Listed { entries, .. } => {
                for entry in entries {
                    self.say(&format!("{{\"event\":\"file\",\"name\":\"{}\"}}", entry.name));
                }
            }
            Input::StateLoaded { kept: Kept::Registry, content: Ok(Some(content)), .. } => {
                let text = String::from_utf8_lossy(&content).into_owned();
                self.say(&format!("{{\"event\":\"state\",\"text\":{text:?}}}"));
            }
            Input::StateSaved { kept: Kept::Registry, result } => {
                self.say(&format!("{{\"event\":\"saved\",\"ok\":{}}}", result.is_ok()));
            }
            Input::Resolved { result: Ok(addr), .. } => {
                self.say(&format!("{{\"event\":\"resolved\",\"addr\":\"{addr}\"}}"));
            }
            _ => {}
        }
    }

    fn handle_recv(&mut self, now: Instant, conn: ConnId, bytes: &mut [u8]) -> Received {
        if let Some(deadline) = self.deadlines.get_mut(&conn) {
            *deadline = now + IDLE;
        }
        let consumed = bytes.len();
        match self.conns.get_mut(&conn) {
            Some(Role::Console { line, .. }) => {
                // One command at a time, as a script does: the rest is given again after Resume.
                let end = bytes.iter().position(|&b| b == b'\n').map_or(consumed, |end| end + 1);
                line.extend_from_slice(&bytes[..end]);
                if !line.ends_with(b"\n") {
                    return Received { consumed: end, ..Received::default() };
                }
                let text = String::from_utf8_lossy(&std::mem::take(line)).trim_end().to_owned();
                self.command(now, &text);
                self.outputs.push_back(Output::Resume { conn });
                Received { consumed: end, body: None, pause: true }
            }
            Some(Role::Server { request, file: None, .. }) => {
                request.extend_from_slice(bytes);
                let line = String::from_utf8_lossy(request).into_owned();
                if let Some(name) = line.strip_prefix("GET ").and_then(|rest| rest.strip_suffix('\n')) {
                    let id = FileId(self.id());
                    self.files.insert(id, Some(conn));
                    if let Some(Role::Server { file, .. }) = self.conns.get_mut(&conn) {
                        *file = Some(id);
                    }
                    let (dir, name) = (Dir::Shared, name.to_owned());
                    self.outputs.push_back(Output::OpenFile { file: id, dir, name });
                } else if line.len() > 100 {
                    self.end(now, conn, false);
                }
                Received { consumed, ..Received::default() }
            }
            Some(Role::Client { open: false, .. }) => Received { consumed: 0, body: None, pause: true },
            Some(Role::Client { file: Some(file), written, .. }) => {
                let skip = u64::from(self.bug == Bug::WrongBytes);
                let body = Body { file: *file, offset: *written + skip, range: 0..consumed };
                Received { consumed, body: Some(body), pause: false }
            }
            _ => Received { consumed, ..Received::default() },
        }
    }

    fn handle_written(&mut self, _: Instant, conn: ConnId, n: usize) {
        if let Some(Role::Client { written, .. }) = self.conns.get_mut(&conn) {
            *written += n as u64;
        }
    }

    fn poll_transmit(&mut self, conn: ConnId) -> Option<Transmit<'_>> {
        match self.conns.get(&conn)? {
            Role::Console { out, .. } => (!out.is_empty()).then_some(Transmit::Bytes(out)),
            Role::Client { request, .. } => (!request.is_empty()).then_some(Transmit::Bytes(request)),
            Role::Server { file: Some(file), offset, size, .. } if offset < size => {
                Some(Transmit::File { file: *file, offset: *offset, len: size - offset })
            }
            _ => None,
        }
    }

    fn handle_sent(&mut self, now: Instant, conn: ConnId, n: usize) {
        if let Some(deadline) = self.deadlines.get_mut(&conn) {
            *deadline = now + IDLE;
        }
        match self.conns.get_mut(&conn) {
            Some(Role::Console { out: bytes, .. } | Role::Client { request: bytes, .. }) => {
                bytes.drain(..n);
            }
            Some(Role::Server { offset, .. }) => *offset += n as u64,
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<Deadline> {
        let busy = self.busy.then_some((Instant::ZERO, "busy"));
        let hello = self.hello_at.map(|at| (at, "hello"));
        let conn = self.deadlines.values().min().map(|&at| (at, "idle"));
        let retry = self.retries.iter().map(|retry| retry.0).min().map(|at| (at, "retry"));
        let first = [busy, hello, conn, retry].into_iter().flatten().min();
        let first = first.filter(|_| self.bug != Bug::NoDeadline);
        first.map(|(at, reason)| Deadline { at, reason })
    }

    fn census(&self) -> Census {
        Census {
            conns: self.conns.len(),
            files: self.files.len(),
            files_growing: self.growing.len() as u64,
            ..self.census
        }
    }
}
