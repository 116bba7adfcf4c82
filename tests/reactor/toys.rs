//! Two toy machines: one serves line commands over TCP, the other is a closure that answers inputs with outputs.

use distrishare::config::{FileFolders, Folders, Limits};
use distrishare::machine::{
    Body, Census, ConnId, Deadline, Dir, Fault, FileId, Id, Input, ListenerId, Machine, Meta, Output,
    Received, SEAL_HEAD, SEAL_TAIL, Transmit,
};
use distrishare::reactor::{Reactor, Stats};
use distrishare::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

pub const LISTENER: ListenerId = ListenerId(0);
/// Long enough for a busy machine, short enough to end a hanging test.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn conn(index: u32) -> ConnId {
    ConnId(Id { index, generation: 0 })
}

pub fn file(index: u32) -> FileId {
    FileId(Id { index, generation: 0 })
}

pub fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// A set of folders of its own, gone at the end.
pub struct Home {
    temp: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Home {
        Home { temp: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn folders(&self) -> Folders {
        let files = FileFolders::new(self.at("shared"), self.at("downloads"));
        Folders { files: Some(files), state: self.at("state") }
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.temp.path().join(path)
    }

    pub fn share(&self, name: &str, content: &[u8]) {
        std::fs::create_dir_all(self.at("shared")).expect("a folder");
        std::fs::write(self.at("shared").join(name), content).expect("a shared file");
    }

    pub fn reactor(&self, limits: &Limits) -> Reactor {
        Reactor::new(&self.folders(), limits).expect("a reactor")
    }
}

/// Bytes that repeat nowhere soon.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Bytes of a toy record: its length before it, a mark behind it, every byte turned.
pub const RECORD: usize = 64 << 10;
pub const MARK: &[u8; 4] = b"mark";

pub fn seal(payload: &mut [u8]) {
    payload.iter_mut().for_each(|byte| *byte ^= 0x5a);
}

/// The records of a stream, opened; panics where one is not whole.
pub fn open_records(mut bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while !bytes.is_empty() {
        let len = record_len(bytes).expect("a length");
        content.extend_from_slice(&bytes[4..4 + len]);
        assert_eq!(&bytes[4 + len..8 + len], MARK);
        bytes = &bytes[8 + len..];
    }
    seal(&mut content);
    content
}

fn record_len(bytes: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    usize::try_from(len).ok()
}

/// What a connection of the server sends.
enum Piece {
    Bytes(Vec<u8>, usize),
    File { file: FileId, offset: u64, len: u64 },
    Sealed { file: FileId, offset: u64, len: u64 },
}

enum Role {
    /// Waits for its command line.
    Command,
    Echo,
    Get(FileId),
    /// In records, which stand between two words; or by themselves, and then a half-close.
    Seal {
        file: FileId,
        alone: bool,
    },
    Put {
        file: FileId,
        sealed: bool,
        received: u64,
        written: u64,
        eof: bool,
    },
    Hoard,
    Done,
}

struct Peer {
    role: Role,
    out: VecDeque<Piece>,
    /// Bytes of records that the kernel did not take yet.
    sealed: usize,
    close_after: bool,
}

/// Serves `ECHO`, `GET name`, `SEAL name`, `ALONE name`, `PUT`, `OPEN` (a put in records), `SMALL`, `HOLD`, `HOARD`, `STALL` (until the channel says go on), `QUIT`.
pub struct Server {
    outputs: VecDeque<Output>,
    peers: BTreeMap<ConnId, Peer>,
    generations: Vec<u32>,
    addr: mpsc::Sender<SocketAddr>,
    stall: mpsc::Receiver<()>,
    files: u32,
}

impl Server {
    fn peer_of(&mut self, wanted: FileId) -> Option<ConnId> {
        let owns = |peer: &Peer| match peer.role {
            Role::Get(file) | Role::Seal { file, .. } | Role::Put { file, .. } => file == wanted,
            _ => false,
        };
        self.peers.iter().find(|(_, peer)| owns(peer)).map(|(&conn, _)| conn)
    }

    fn say(&mut self, conn: ConnId, text: &str) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.out.push_back(Piece::Bytes(text.as_bytes().to_vec(), 0));
        peer.close_after = true;
        peer.role = Role::Done;
        self.outputs.push_back(Output::Wake { conn });
    }

    fn close(&mut self, conn: ConnId, reset: bool) {
        if self.peers.remove(&conn).is_some() {
            self.outputs.push_back(Output::Close { conn, reset });
        }
    }

    fn next_file(&mut self) -> FileId {
        self.files += 1;
        file(self.files)
    }

    fn command(&mut self, conn: ConnId, line: &str) -> bool {
        let (verb, name) = line.split_once(' ').unwrap_or((line, ""));
        let name = name.to_owned();
        let mut pause = false;
        let role = match verb {
            "ECHO" => Role::Echo,
            "GET" | "SEAL" | "ALONE" => {
                let file = self.next_file();
                self.outputs.push_back(Output::OpenFile { file, dir: Dir::Shared, name });
                if verb == "GET" { Role::Get(file) } else { Role::Seal { file, alone: verb == "ALONE" } }
            }
            "PUT" | "OPEN" => {
                let file = self.next_file();
                let name = format!("v1-{:016x}", self.files);
                self.outputs.push_back(Output::CreateFile { file, name, reserve: 0 });
                pause = true;
                Role::Put { file, sealed: verb == "OPEN", received: 0, written: 0, eof: false }
            }
            "HOARD" => {
                pause = true;
                Role::Hoard
            }
            "STALL" => {
                let _ = self.stall.recv_timeout(PATIENCE);
                Role::Command
            }
            "QUIT" => {
                self.outputs.push_back(Output::Exit { status: 7 });
                Role::Done
            }
            "HOLD" => {
                self.say(conn, "held\n");
                let peer = self.peers.get_mut(&conn).expect("known");
                (peer.close_after, peer.role) = (false, Role::Command);
                return false;
            }
            _ => {
                self.say(conn, &format!("{}\n", verb.to_lowercase()));
                return false;
            }
        };
        self.peers.get_mut(&conn).expect("known").role = role;
        pause
    }

    fn commit_if_whole(&mut self, conn: ConnId) {
        if let Some(Peer { role: Role::Put { file, received, written, eof: true, .. }, .. }) =
            self.peers.get(&conn)
        {
            if received == written {
                let (file, name) = (*file, "received.bin".to_owned());
                self.outputs.push_back(Output::CommitFile { file, name });
            }
        }
    }
}

impl Machine for Server {
    fn handle_accept(&mut self, _: Instant, _: ListenerId, _: SocketAddr) -> Option<ConnId> {
        // The first gap in the sorted keys.
        let gap = (0..).zip(self.peers.keys()).find(|(i, conn)| conn.0.index != *i);
        let index = gap.map_or(u32::try_from(self.peers.len()).expect("few"), |(i, _)| i);
        if self.generations.len() <= index as usize {
            self.generations.resize(index as usize + 1, 0);
        }
        self.generations[index as usize] += 1;
        let conn = ConnId(Id { index, generation: self.generations[index as usize] });
        let peer = Peer { role: Role::Command, out: VecDeque::new(), sealed: 0, close_after: false };
        self.peers.insert(conn, peer);
        Some(conn)
    }

    fn handle_input(&mut self, _: Instant, input: Input<'_>) {
        match input {
            Input::Listening { addr, .. } => drop(self.addr.send(addr)),
            Input::Closed { conn, .. } => drop(self.peers.remove(&conn)),
            Input::Eof { conn } => match self.peers.get_mut(&conn).map(|peer| &mut peer.role) {
                Some(Role::Put { eof, .. }) => {
                    *eof = true;
                    self.commit_if_whole(conn);
                }
                Some(Role::Echo) => self.outputs.push_back(Output::Shutdown { conn }),
                Some(Role::Command | Role::Hoard | Role::Seal { .. }) => self.close(conn, false),
                _ => {}
            },
            Input::FileOpened { file, meta: Meta { size, .. } } | Input::FileCreated { file, room: size } => {
                let Some(conn) = self.peer_of(file) else { return };
                let peer = self.peers.get_mut(&conn).expect("known");
                match peer.role {
                    Role::Get(_) => {
                        peer.close_after = true;
                        if size == 0 {
                            return self.close(conn, false);
                        }
                        peer.out.push_back(Piece::File { file, offset: 0, len: size });
                        self.outputs.push_back(Output::Wake { conn });
                    }
                    Role::Seal { alone, .. } => {
                        peer.close_after = !alone;
                        let word = |text: &[u8]| Piece::Bytes(text.to_vec(), 0);
                        peer.out.extend((!alone).then(|| word(b"begin\n")));
                        peer.out.push_back(Piece::Sealed { file, offset: 0, len: size });
                        peer.out.extend((!alone).then(|| word(b"end\n")));
                        self.outputs.push_back(Output::Wake { conn });
                    }
                    _ => self.outputs.push_back(Output::Resume { conn }),
                }
            }
            Input::FileFailed { file, fault, fatal } => {
                let Some(conn) = self.peer_of(file) else { return };
                match self.peers[&conn].role {
                    Role::Get(_) | Role::Seal { .. } if !fatal => self.close(conn, true),
                    _ => {
                        if !fatal {
                            self.outputs.push_back(Output::DiscardFile { file });
                        }
                        self.say(conn, &format!("failed {fault}\n"));
                    }
                }
            }
            Input::FileCommitted { file, name, meta: Meta { size, .. }, .. } => {
                let Some(conn) = self.peer_of(file) else { return };
                self.say(conn, &format!("{name} {size}\n"));
            }
            Input::Imported { file, name, bytes, .. } => {
                let Some(conn) = self.peer_of(file) else { return };
                self.say(conn, &format!("{name} {bytes}\n"));
            }
            _ => {}
        }
    }

    fn handle_recv(&mut self, _: Instant, conn: ConnId, bytes: &mut [u8]) -> Received {
        let Some(peer) = self.peers.get_mut(&conn) else { return Received::default() };
        let len = bytes.len();
        match &mut peer.role {
            Role::Command => {
                let Some(end) = bytes.iter().position(|&b| b == b'\n') else { return Received::default() };
                let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
                let pause = self.command(conn, &line);
                Received { consumed: end + 1, body: None, pause }
            }
            Role::Echo => {
                peer.out.push_back(Piece::Bytes(bytes.to_vec(), 0));
                self.outputs.push_back(Output::Wake { conn });
                Received { consumed: len, ..Received::default() }
            }
            Role::Put { file, received, sealed: true, .. } => {
                let Some(len) = record_len(bytes) else { return Received::default() };
                let Some(record) = bytes.get_mut(4..8 + len) else { return Received::default() };
                assert_eq!(&record[len..], MARK);
                seal(&mut record[..len]);
                let body = Some(Body { file: *file, offset: *received, range: 4..4 + len });
                *received += len as u64;
                Received { consumed: 8 + len, body, pause: false }
            }
            Role::Put { file, received, .. } => {
                let body = Some(Body { file: *file, offset: *received, range: 0..len });
                *received += len as u64;
                Received { consumed: len, body, pause: false }
            }
            Role::Hoard => Received { pause: true, ..Received::default() },
            Role::Get(_) | Role::Seal { .. } | Role::Done => {
                Received { consumed: len, ..Received::default() }
            }
        }
    }

    fn handle_written(&mut self, _: Instant, conn: ConnId, n: usize) {
        if let Some(Peer { role: Role::Put { written, .. }, .. }) = self.peers.get_mut(&conn) {
            *written += n as u64;
        }
        self.commit_if_whole(conn);
    }

    fn poll_transmit(&mut self, conn: ConnId) -> Option<Transmit<'_>> {
        Some(match self.peers.get(&conn)?.out.front()? {
            Piece::Bytes(bytes, from) => Transmit::Bytes(&bytes[*from..]),
            &Piece::File { file, offset, len } => Transmit::File { file, offset, len },
            &Piece::Sealed { file, offset, len } => {
                let len = RECORD.min(usize::try_from(len).expect("fits"));
                Transmit::Seal { file, offset, len }
            }
        })
    }

    fn handle_read(
        &mut self,
        _: Instant,
        conn: ConnId,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Range<usize> {
        assert!(payload.start >= SEAL_HEAD && buffer.len() >= payload.end + SEAL_TAIL, "room for a frame");
        let peer = self.peers.get_mut(&conn).expect("known");
        assert_eq!(peer.sealed, 0, "a record goes before the next one is read");
        let Some(Piece::Sealed { file, offset, len }) = peer.out.front_mut() else { panic!("not asked for") };
        *offset += payload.len() as u64;
        *len -= payload.len() as u64;
        if *len == 0 {
            self.outputs.push_back(Output::CloseFile { file: *file });
            peer.out.pop_front();
            if let Role::Seal { alone: true, .. } = peer.role {
                self.outputs.push_back(Output::Shutdown { conn });
            }
        }
        seal(&mut buffer[payload.clone()]);
        let head = u32::try_from(payload.len()).expect("small").to_be_bytes();
        buffer[payload.start - 4..payload.start].copy_from_slice(&head);
        buffer[payload.end..payload.end + 4].copy_from_slice(MARK);
        let record = payload.start - 4..payload.end + 4;
        peer.sealed = record.len();
        record
    }

    fn handle_sent(&mut self, _: Instant, conn: ConnId, n: usize) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if peer.sealed > 0 {
            peer.sealed = peer.sealed.checked_sub(n).expect("no more than the record");
            return;
        }
        let done = match peer.out.front_mut().expect("something was sent") {
            Piece::Bytes(bytes, from) => {
                *from += n;
                *from == bytes.len()
            }
            Piece::File { offset, len, .. } => {
                *offset += n as u64;
                *len -= n as u64;
                *len == 0
            }
            Piece::Sealed { .. } => panic!("no record was made"),
        };
        if done {
            if let Some(Piece::File { file, .. }) = peer.out.pop_front() {
                self.outputs.push_back(Output::CloseFile { file });
            }
            let peer = &self.peers[&conn];
            if peer.out.is_empty() && peer.close_after {
                self.close(conn, false);
            }
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<Deadline> {
        None
    }

    fn census(&self) -> Census {
        Census::default()
    }
}

/// A server on a thread of its own.
pub struct Running {
    pub addr: SocketAddr,
    pub go_on: mpsc::Sender<()>,
    thread: JoinHandle<(u8, Stats)>,
}

impl Running {
    pub fn start(home: &Home, limits: &Limits) -> Running {
        let (reactor, limits) = (home.folders(), limits.clone());
        let (addr, addr_seen) = mpsc::channel();
        let (go_on, stall) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut reactor = Reactor::new(&reactor, &limits).expect("a reactor");
            let mut server = server(addr, stall);
            let status = reactor.run(&mut server).expect("runs");
            (status, reactor.stats())
        });
        let addr = addr_seen.recv_timeout(PATIENCE).expect("listens");
        Running { addr, go_on, thread }
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.addr)
    }

    /// Sends a command line.
    pub fn ask(&self, line: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(format!("{line}\n").as_bytes()).expect("sent");
        stream
    }

    /// A command with everything that comes back.
    pub fn get(&self, line: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.ask(line).read_to_end(&mut bytes).expect("read");
        bytes
    }

    pub fn stop(self) -> Stats {
        let _quit = self.ask("QUIT");
        let (status, stats) = self.thread.join().expect("ends");
        assert_eq!(status, 7);
        stats
    }
}

pub fn server(addr: mpsc::Sender<SocketAddr>, stall: mpsc::Receiver<()>) -> Server {
    let outputs = VecDeque::from([Output::Listen { listener: LISTENER, addr: any_port() }]);
    Server { outputs, peers: BTreeMap::new(), generations: Vec::new(), addr, stall, files: 0 }
}

pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.set_write_timeout(Some(PATIENCE)).expect("set");
    stream
}

pub fn line(stream: &TcpStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("a line");
    line
}

/// What a script's closure may look at and change.
#[derive(Default)]
pub struct Script {
    pub outputs: VecDeque<Output>,
    pub deadline: Option<Instant>,
    pub out: BTreeMap<ConnId, Vec<u8>>,
    pub received: Vec<u8>,
    pub consume: bool,
    pub pause: bool,
    pub now: Instant,
    /// Bytes received go into this file, from there on.
    pub store: Option<(FileId, u64)>,
    pub stored: usize,
    /// What a connection sends of a file; sealed: as it is, but by the driver's buffer.
    pub ranges: BTreeMap<ConnId, Stretch>,
    accepted: u32,
}

/// A range of a file that is sent.
pub struct Stretch {
    pub file: FileId,
    pub offset: u64,
    pub len: u64,
    pub sealed: bool,
}

impl Script {
    pub fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub fn exit(&mut self) {
        self.push(Output::Exit { status: 0 });
    }

    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.out.entry(conn).or_default().extend_from_slice(bytes);
        self.push(Output::Wake { conn });
    }
}

/// A machine whose closure sees every input, and `None` for bytes received.
pub struct Scripted<F> {
    pub script: Script,
    pub on_input: F,
}

impl<F: FnMut(&mut Script, Option<Input<'_>>)> Machine for Scripted<F> {
    fn handle_accept(&mut self, _: Instant, _: ListenerId, _: SocketAddr) -> Option<ConnId> {
        self.script.accepted += 1;
        Some(conn(100 + self.script.accepted))
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.script.now = now;
        (self.on_input)(&mut self.script, Some(input));
    }

    fn handle_recv(&mut self, now: Instant, _: ConnId, bytes: &mut [u8]) -> Received {
        self.script.now = now;
        let consumed = if self.script.consume { bytes.len() } else { 0 };
        let body = self.script.store.as_mut().map(|(file, offset)| {
            *offset += consumed as u64;
            Body { file: *file, offset: *offset - consumed as u64, range: 0..consumed }
        });
        if body.is_none() {
            self.script.received.extend_from_slice(&bytes[..consumed]);
        }
        (self.on_input)(&mut self.script, None);
        Received { consumed, body, pause: self.script.pause }
    }

    fn handle_written(&mut self, _: Instant, _: ConnId, n: usize) {
        self.script.stored += n;
    }

    fn handle_read(&mut self, _: Instant, conn: ConnId, _: &mut [u8], payload: Range<usize>) -> Range<usize> {
        let stretch = self.script.ranges.get_mut(&conn).expect("it was named");
        stretch.offset += payload.len() as u64;
        stretch.len -= payload.len() as u64;
        payload
    }

    fn poll_transmit(&mut self, conn: ConnId) -> Option<Transmit<'_>> {
        if let Some(&Stretch { file, offset, len, sealed }) = self.script.ranges.get(&conn) {
            let record = RECORD.min(usize::try_from(len).expect("fits"));
            return match (len, sealed) {
                (0, _) => None,
                (_, true) => Some(Transmit::Seal { file, offset, len: record }),
                (_, false) => Some(Transmit::File { file, offset, len }),
            };
        }
        let out = self.script.out.get(&conn)?;
        if out.is_empty() { None } else { Some(Transmit::Bytes(out)) }
    }

    fn handle_sent(&mut self, _: Instant, conn: ConnId, n: usize) {
        if let Some(stretch) = self.script.ranges.get_mut(&conn) {
            if !stretch.sealed {
                stretch.offset += n as u64;
                stretch.len -= n as u64;
            }
            return;
        }
        self.script.out.get_mut(&conn).expect("it was sending").drain(..n);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.script.outputs.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<Deadline> {
        self.script.deadline.map(|at| Deadline { at, reason: "test" })
    }

    fn census(&self) -> Census {
        Census::default()
    }
}

/// Runs a script to its exit, for at most [`PATIENCE`]; gives the reactor's counters.
pub fn run(
    mut reactor: Reactor,
    outputs: Vec<Output>,
    mut on_input: impl FnMut(&mut Script, Option<Input<'_>>),
) -> Stats {
    let guard = Instant::ZERO + PATIENCE;
    let script =
        Script { outputs: outputs.into(), deadline: Some(guard), consume: true, ..Script::default() };
    let on_input = |script: &mut Script, input: Option<Input<'_>>| {
        assert!(script.now < guard, "the script hangs");
        on_input(script, input);
    };
    let mut machine = Scripted { script, on_input };
    assert_eq!(reactor.run(&mut machine).expect("runs"), 0);
    reactor.stats()
}

/// Runs one file output to its end: the answers that are not progress.
pub fn answers(reactor: Reactor, outputs: Vec<Output>, wanted: usize) -> Vec<Answer> {
    let mut seen = Vec::new();
    run(reactor, outputs, |script, input| {
        seen.extend(input.and_then(Answer::of));
        if seen.len() == wanted {
            script.exit();
        }
    });
    seen
}

/// The inputs about files, without ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Opened(u64),
    Failed(Fault, bool),
    Committed(String, u64),
    Synced(u64),
}

impl Answer {
    pub fn of(input: Input<'_>) -> Option<Answer> {
        Some(match input {
            Input::FileOpened { meta: Meta { size, .. }, .. } | Input::FileCreated { room: size, .. } => {
                Answer::Opened(size)
            }
            Input::FileFailed { fault, fatal, .. } => Answer::Failed(fault, fatal),
            Input::FileCommitted { name, meta, .. } => Answer::Committed(name, meta.size),
            Input::Imported { name, bytes, .. } => Answer::Committed(name, bytes),
            Input::FileSynced { meta, .. } => Answer::Synced(meta.size),
            _ => return None,
        })
    }
}

pub fn names_in(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).expect("reads");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
