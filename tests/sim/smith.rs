//! The second toy: it seals and opens what it moves, reads files for itself, keeps a log and a key, and watches its
//! folder; and it can be told to break each rule of that. Its wire: the byte 0x80, a name and the end of the line are
//! answered with records (length, sealed bytes, their sum), an empty one last.

use distrishare::config::{CHUNK, PART_PREFIX, RECORD_CHUNKS_MAX};
use distrishare::machine::*;
use distrishare::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;

pub(crate) const PORT: u16 = 9000;
const TICK: Duration = Duration::from_secs(10);
/// Bytes of a record at most. Small, so that files are many.
const RECORD: usize = 2 * CHUNK;
const MASK: u8 = 0x5a;
/// Length in front, sum behind.
const HEAD: usize = 2;

/// What a smith does wrong, on purpose, whenever it comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    SealsTooMuch,
    SealsNothing,
    SealsOutside,
    SealsTheSame,
    SealsWhatEnded,
    ChangesItsMind,
    Scribbles,
    ReadsTwice,
    ReadsWhatEnded,
    ReadsNothing,
    AppendsToFiles,
    CutsBeyond,
    CommitsTheLog,
    OpensTheLogTwice,
    ListsOutside,
    /// Says much before it hears.
    Chatters,
}

enum Role {
    Console { line: Vec<u8>, out: Vec<u8> },
    Notes,
    Server { request: Vec<u8>, file: Option<FileId>, offset: u64, size: u64, sealed: usize, last: Vec<u8> },
    Client { name: String, request: Vec<u8>, file: FileId, open: bool, written: u64 },
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Serving(ConnId),
    Growing(ConnId),
    Reading(u64),
    Log,
    Fresh,
}

pub(crate) struct Smith {
    flaw: Flaw,
    outputs: VecDeque<Output>,
    conns: BTreeMap<ConnId, Role>,
    files: BTreeMap<FileId, Use>,
    console: ConnId,
    next: u32,
    asked: u64,
    tick: Instant,
    census: Census,
}

impl Smith {
    pub(crate) fn boxed(flaw: Flaw, seed: u64) -> Box<dyn Machine> {
        let console = ConnId(Id { index: 0, generation: 0 });
        let notes = ConnId(Id { index: 1, generation: 0 });
        let out = Role::Console { line: Vec::new(), out: Vec::new() };
        let addr = SocketAddr::new([0, 0, 0, 0].into(), PORT);
        Box::new(Smith {
            flaw,
            outputs: VecDeque::from([
                Output::OpenConsole { console, notes },
                Output::Listen { listener: ListenerId(0), addr },
            ]),
            conns: BTreeMap::from([(console, out), (notes, Role::Notes)]),
            files: BTreeMap::new(),
            console,
            next: (seed % 1000) as u32 + 1,
            asked: 0,
            tick: Instant::ZERO + TICK,
            census: Census::default(),
        })
    }

    fn id(&mut self) -> Id {
        self.next += 1;
        Id { index: self.next, generation: 0 }
    }

    fn file(&mut self, what: Use) -> FileId {
        let file = FileId(self.id());
        self.files.insert(file, what);
        file
    }

    fn used(&self, what: Use) -> Option<FileId> {
        self.files.iter().find(|(_, used)| **used == what).map(|(&file, _)| file)
    }

    fn ask(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn say(&mut self, event: &str, fields: &[(&str, &dyn std::fmt::Display)]) {
        let mut value = serde_json::json!({ "event": event });
        for (name, field) in fields {
            value[*name] = field.to_string().into();
        }
        let conn = self.console;
        if let Some(Role::Console { out, .. }) = self.conns.get_mut(&conn) {
            out.extend_from_slice(format!("{value}\n").as_bytes());
        }
        self.ask(Output::Wake { conn });
    }

    fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["get", addr, name] => self.get(addr.parse().expect("an address"), name),
            ["read", name] => {
                let file = self.file(Use::Reading(0));
                self.ask(Output::OpenFile { file, dir: Dir::Shared, name: name.into() });
            }
            ["ls", folder, deep, max] => self.ask(Output::ListFiles {
                request: RequestId(1),
                dir: Dir::Shared,
                folder: match self.flaw {
                    Flaw::ListsOutside => "../secret".into(),
                    _ => folder.trim_matches('-').into(),
                },
                deep: deep == "deep",
                max: max.parse().expect("a number"),
            }),
            ["watch"] => self.ask(Output::WatchFolder { dir: Dir::Shared }),
            ["keep", text] => {
                let (kept, content) = (Kept::Identity, text.into());
                self.ask(Output::SaveState { kept, content });
            }
            ["kept", slot] => {
                let slot = if slot == "current" { Slot::Current } else { Slot::Previous };
                self.ask(Output::LoadState { kept: Kept::Identity, slot, max: 100 });
            }
            ["quarantine"] => {
                self.ask(Output::QuarantineState { kept: Kept::Identity, slot: Slot::Current });
            }
            ["log"] => self.open_log(false),
            ["fresh"] => self.open_log(true),
            ["announce", text] => {
                let bytes = text.as_bytes().to_vec();
                self.ask(Output::SendDatagram { interface: 2, addr: [10, 0, 0, 1].into(), bytes });
            }
            [what, argument] => self.log_command(what, argument),
            _ => self.say(line, &[]),
        }
    }

    fn open_log(&mut self, fresh: bool) {
        let file = self.file(if fresh { Use::Fresh } else { Use::Log });
        self.ask(Output::OpenLog { file, log: if fresh { Log::FreshIndex } else { Log::Index } });
        if self.flaw == Flaw::OpensTheLogTwice {
            let file = self.file(Use::Log);
            self.ask(Output::OpenLog { file, log: if fresh { Log::FreshIndex } else { Log::Index } });
        }
    }

    fn log_command(&mut self, what: &str, argument: &str) {
        let fresh = argument == "fresh";
        let log = self.used(if fresh { Use::Fresh } else { Use::Log });
        let serving = self.files.keys().next().copied().filter(|_| self.flaw == Flaw::AppendsToFiles);
        let Some(file) = serving.or(log) else { return self.say("none", &[]) };
        match what {
            "append" => self.ask(Output::AppendLog { file, bytes: argument.into() }),
            "cut" => {
                let beyond = if self.flaw == Flaw::CutsBeyond { 1000 } else { 0 };
                let len = argument.parse().map_or(0, |len: u64| len + beyond);
                self.ask(Output::TruncateLog { file, len });
            }
            "commit" if fresh || self.flaw == Flaw::CommitsTheLog => {
                self.ask(Output::CommitLog { file });
                if let Some(old) = self.used(Use::Log).filter(|&old| old != file) {
                    self.files.remove(&old);
                    self.ask(Output::CloseFile { file: old });
                }
                self.files.insert(file, Use::Log);
            }
            "show" => self.read(file, 0),
            _ => self.say("what", &[]),
        }
    }

    fn read(&mut self, file: FileId, offset: u64) {
        let len = if self.flaw == Flaw::ReadsNothing { 0 } else { 10_000 };
        self.ask(Output::ReadFile { file, offset, len });
        if self.flaw == Flaw::ReadsTwice {
            self.ask(Output::ReadFile { file, offset, len });
        }
    }

    fn get(&mut self, addr: SocketAddr, name: &str) {
        let conn = ConnId(self.id());
        let file = self.file(Use::Growing(conn));
        let mut request = [&[0x80], name.as_bytes(), b"\n"].concat();
        if self.flaw == Flaw::Chatters {
            request.resize(101, b'x');
        }
        let role = Role::Client { name: name.into(), request, file, open: false, written: 0 };
        self.conns.insert(conn, role);
        self.census.files_created += 1;
        self.ask(Output::CreateFile {
            file,
            name: format!("{PART_PREFIX}{:016x}", file.0.index),
            reserve: 0,
        });
        self.ask(Output::Connect { conn, addr });
        self.ask(Output::Wake { conn });
    }

    /// Ends a connection and what hangs on it.
    fn drop_conn(&mut self, conn: ConnId) {
        let file = match self.conns.remove(&conn) {
            Some(Role::Server { file: Some(file), .. } | Role::Client { file, .. }) => file,
            _ => return,
        };
        match self.files.remove(&file) {
            Some(Use::Growing(_)) => {
                self.census.files_discarded += 1;
                self.ask(Output::DiscardFile { file });
            }
            Some(_) => self.ask(Output::CloseFile { file }),
            None => {}
        }
    }

    fn end(&mut self, conn: ConnId) {
        self.ask(Output::Close { conn, reset: true });
        self.drop_conn(conn);
    }

    fn opened(&mut self, file: FileId, meta: Meta) {
        match self.files.get(&file) {
            Some(&Use::Serving(conn)) => {
                if let Some(Role::Server { size, last, .. }) = self.conns.get_mut(&conn) {
                    *size = meta.size;
                    if meta.size == 0 {
                        last.extend_from_slice(&[0; 3]);
                    }
                }
                self.ask(Output::Wake { conn });
            }
            Some(&Use::Growing(conn)) => {
                if let Some(Role::Client { open, .. }) = self.conns.get_mut(&conn) {
                    *open = true;
                }
                self.ask(Output::Resume { conn });
            }
            Some(Use::Reading(_)) => self.read(file, 0),
            Some(Use::Log | Use::Fresh) => self.say("opened", &[("size", &meta.size)]),
            None => {}
        }
    }

    fn was_read(&mut self, file: FileId, offset: u64, bytes: &[u8], meta: Meta) {
        match self.files.get(&file) {
            Some(&Use::Reading(at)) => {
                assert_eq!(at, offset, "answers in order");
                let at = at + bytes.len() as u64;
                if !bytes.is_empty() && at < meta.size {
                    self.files.insert(file, Use::Reading(at));
                    return self.read(file, at);
                }
                self.files.remove(&file);
                self.ask(Output::CloseFile { file });
                if self.flaw == Flaw::ReadsWhatEnded {
                    self.ask(Output::ReadFile { file, offset: 0, len: 1 });
                }
                let Meta { size, mtime, inode, .. } = meta;
                let fields: [(&str, &dyn std::fmt::Display); 4] =
                    [("bytes", &at), ("size", &size), ("mtime", &mtime), ("inode", &inode)];
                self.say("read", &fields);
            }
            Some(Use::Log | Use::Fresh) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                self.say("log", &[("text", &text)]);
            }
            _ => {}
        }
    }

    fn failed(&mut self, file: FileId, fault: Fault, fatal: bool) {
        let Some(&used) = self.files.get(&file) else { return };
        if fatal {
            self.files.remove(&file);
            self.census.files_discarded += u64::from(matches!(used, Use::Growing(_)));
        }
        self.say("error", &[("message", &fault)]);
        match used {
            Use::Serving(conn) | Use::Growing(conn) => self.end(conn),
            Use::Reading(_) if !fatal => {
                self.files.remove(&file);
                self.ask(Output::CloseFile { file });
            }
            _ => {}
        }
    }

    fn committed(&mut self, file: FileId, name: &str) {
        let Some(Use::Growing(conn)) = self.files.remove(&file) else { return };
        self.census.files_committed += 1;
        self.say("downloaded", &[("name", &name)]);
        self.end(conn);
    }

    /// One record of those that came, opened where it lies.
    fn open_record(&mut self, conn: ConnId, bytes: &mut [u8]) -> Received {
        let Some(Role::Client { name, file, open, written, .. }) = self.conns.get(&conn) else {
            return Received::default();
        };
        if !open {
            return Received { pause: true, ..Received::default() };
        }
        let (file, offset, name) = (*file, *written, name.clone());
        let len = match *bytes {
            [high, low, ..] => usize::from(u16::from_be_bytes([high, low])),
            _ => return Received::default(),
        };
        let whole = HEAD + len + 1;
        if bytes.len() < whole {
            if self.flaw == Flaw::Scribbles {
                bytes[0] ^= 1;
            }
            return Received::default();
        }
        let range = HEAD..HEAD + len;
        if len == 0 {
            self.ask(Output::CommitFile { file, name });
            return Received { consumed: whole, body: None, pause: true };
        }
        if sum(&bytes[range.clone()]) != bytes[whole - 1] {
            self.say("forged", &[]);
            self.end(conn);
            return Received { consumed: whole, ..Received::default() };
        }
        bytes[range.clone()].iter_mut().for_each(|byte| *byte ^= MASK);
        Received { consumed: whole, body: Some(Body { file, offset, range }), pause: false }
    }

    fn asked(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(Role::Server { request, file: None, .. }) = self.conns.get_mut(&conn) else { return };
        request.extend_from_slice(bytes);
        let Some(line) = request.strip_suffix(b"\n").filter(|line| line.first() == Some(&0x80)) else {
            return;
        };
        let name = String::from_utf8_lossy(&line[1..]).into_owned();
        let id = self.file(Use::Serving(conn));
        if let Some(Role::Server { file, .. }) = self.conns.get_mut(&conn) {
            *file = Some(id);
        }
        self.ask(Output::OpenFile { file: id, dir: Dir::Shared, name });
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(7, |sum, &byte| sum.wrapping_mul(3).wrapping_add(byte))
}

impl Machine for Smith {
    fn handle_accept(&mut self, _: Instant, _: ListenerId, _: SocketAddr) -> Option<ConnId> {
        let conn = ConnId(self.id());
        let (request, last) = (Vec::new(), Vec::new());
        let role = Role::Server { request, file: None, offset: 0, size: 0, sealed: 0, last };
        self.conns.insert(conn, role);
        Some(conn)
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Timeout => self.tick = now + TICK,
            Input::Closed { conn, .. } => self.drop_conn(conn),
            Input::Eof { conn } if self.conns.contains_key(&conn) => self.end(conn),
            Input::FileOpened { file, meta } => self.opened(file, meta),
            Input::FileCreated { file, .. } => self.opened(file, Meta::default()),
            Input::FileRead { file, offset, bytes, meta } => self.was_read(file, offset, bytes, meta),
            Input::FileFailed { file, fault, fatal } => self.failed(file, fault, fatal),
            Input::FileCommitted { file, name, .. } => self.committed(file, &name),
            Input::Listed { entries, end, .. } => {
                for Entry { name, meta: Meta { size, mtime, inode, .. } } in entries {
                    let fields: [(&str, &dyn std::fmt::Display); 4] =
                        [("name", &name), ("size", &size), ("mtime", &mtime), ("inode", &inode)];
                    self.say("file", &fields);
                }
                self.say("listed", &[("end", &format!("{end:?}"))]);
            }
            Input::FolderChanged { folder, deep, .. } => {
                self.say("changed", &[("folder", &folder), ("deep", &deep)]);
            }
            Input::WatchLost { .. } => self.say("lost", &[]),
            Input::StateLoaded { kept: Kept::Identity, content, .. } => {
                let text = content.map(|content| content.unwrap_or_else(|| b"none".to_vec()));
                let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
                self.say("kept", &[("text", &text)]);
            }
            Input::StateSaved { kept: Kept::Identity, result } => {
                self.say("saved", &[("ok", &result.is_ok())]);
            }
            _ => {}
        }
    }

    fn handle_recv(&mut self, _: Instant, conn: ConnId, bytes: &mut [u8]) -> Received {
        let consumed = bytes.len();
        match self.conns.get_mut(&conn) {
            Some(Role::Console { line, .. }) => {
                line.extend_from_slice(bytes);
                let text = String::from_utf8_lossy(line).into_owned();
                let whole = text.rfind('\n').map_or(0, |end| end + 1);
                line.drain(..whole);
                text[..whole].lines().for_each(|line| self.command(line));
            }
            Some(Role::Client { .. }) => return self.open_record(conn, bytes),
            _ => self.asked(conn, bytes),
        }
        Received { consumed, ..Received::default() }
    }

    fn handle_written(&mut self, _: Instant, conn: ConnId, n: usize) {
        if let Some(Role::Client { written, .. }) = self.conns.get_mut(&conn) {
            *written += n as u64;
        }
    }

    fn poll_transmit(&mut self, conn: ConnId) -> Option<Transmit<'_>> {
        self.asked += 1;
        let ended = FileId(Id { index: 0, generation: 0 });
        let ended = Some(ended).filter(|_| self.flaw == Flaw::SealsWhatEnded);
        match self.conns.get(&conn)? {
            Role::Console { out, .. } => (!out.is_empty()).then_some(Transmit::Bytes(out)),
            Role::Client { request, .. } => (!request.is_empty()).then_some(Transmit::Bytes(request)),
            Role::Server { file: Some(file), offset, size, .. } if offset < size => {
                let most = match self.flaw {
                    Flaw::SealsTooMuch => RECORD_CHUNKS_MAX * CHUNK + 1,
                    Flaw::ChangesItsMind => RECORD - (self.asked % 2) as usize,
                    _ => RECORD,
                };
                let len = usize::try_from(size - offset).map_or(most, |left| left.min(most));
                Some(Transmit::Seal { file: ended.unwrap_or(*file), offset: *offset, len })
            }
            Role::Server { last, .. } => (!last.is_empty()).then_some(Transmit::Bytes(last)),
            Role::Notes => None,
        }
    }

    fn handle_read(
        &mut self,
        _: Instant,
        conn: ConnId,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Range<usize> {
        assert!(payload.start >= SEAL_HEAD && buffer.len() - payload.end >= SEAL_TAIL, "room for the seal");
        let flaw = self.flaw;
        let Some(Role::Server { offset, size, sealed, last, .. }) = self.conns.get_mut(&conn) else {
            panic!("nothing was to be sealed");
        };
        assert!(!payload.is_empty() && payload.len() <= RECORD.max(RECORD_CHUNKS_MAX * CHUNK));
        let len = payload.len() as u16;
        buffer[payload.clone()].iter_mut().for_each(|byte| *byte ^= MASK);
        buffer[payload.end] = sum(&buffer[payload.clone()]);
        buffer[payload.start - HEAD..payload.start].copy_from_slice(&len.to_be_bytes());
        if flaw != Flaw::SealsTheSame {
            *offset += u64::from(len);
        }
        if offset == size {
            last.extend_from_slice(&[0; 3]);
        }
        let range = match flaw {
            Flaw::SealsNothing => payload.start..payload.start,
            Flaw::SealsOutside => payload.start..buffer.len() + 1,
            _ => payload.start - HEAD..payload.end + 1,
        };
        *sealed += range.len();
        range
    }

    fn handle_sent(&mut self, _: Instant, conn: ConnId, n: usize) {
        match self.conns.get_mut(&conn) {
            Some(Role::Console { out: bytes, .. } | Role::Client { request: bytes, .. }) => {
                bytes.drain(..n);
            }
            Some(Role::Server { sealed, last, .. }) if *sealed == 0 => drop(last.drain(..n)),
            Some(Role::Server { sealed, .. }) => {
                *sealed = sealed.checked_sub(n).expect("no more than was sealed, and that first");
            }
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<Deadline> {
        Some(Deadline { at: self.tick, reason: "tick" })
    }

    fn census(&self) -> Census {
        let growing = self.files.values().filter(|used| matches!(used, Use::Growing(_)));
        Census {
            conns: self.conns.len(),
            files: self.files.len(),
            files_growing: growing.count() as u64,
            ..self.census
        }
    }
}
