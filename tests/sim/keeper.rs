//! The third toy: it does with unfinished downloads what its operator types, right or wrong, a line at a time. After
//! `store OFFSET LENGTH` so many bytes of input go into the part.

use distrishare::machine::*;
use distrishare::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};

const TICK: Duration = Duration::from_secs(10);

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Part,
    Journal,
}

pub(crate) struct Keeper {
    outputs: VecDeque<Output>,
    console: ConnId,
    notes: ConnId,
    files: BTreeMap<Use, FileId>,
    /// Stored last.
    file: Option<FileId>,
    line: Vec<u8>,
    out: Vec<u8>,
    /// Bytes that go into the part, and where.
    body: (u64, usize),
    next: u32,
    tick: Instant,
    census: Census,
}

impl Keeper {
    pub(crate) fn boxed(seed: u64) -> Box<dyn Machine> {
        let console = ConnId(Id { index: 0, generation: 0 });
        let notes = ConnId(Id { index: 1, generation: 0 });
        Box::new(Keeper {
            outputs: VecDeque::from([Output::OpenConsole { console, notes }]),
            console,
            notes,
            files: BTreeMap::new(),
            file: None,
            line: Vec::new(),
            out: Vec::new(),
            body: (0, 0),
            next: (seed % 1000) as u32 + 1,
            tick: Instant::ZERO + TICK,
            census: Census::default(),
        })
    }

    fn say(&mut self, value: &serde_json::Value) {
        self.out.extend_from_slice(format!("{value}\n").as_bytes());
        self.outputs.push_back(Output::Wake { conn: self.console });
    }

    fn new_file(&mut self, what: Use) -> FileId {
        self.next += 1;
        let file = FileId(Id { index: self.next, generation: 0 });
        self.files.insert(what, file);
        self.census.files_created += u64::from(what == Use::Part);
        file
    }

    fn named(&self, what: &str) -> (Use, FileId) {
        let what = if what == "jnl" { Use::Journal } else { Use::Part };
        (what, *self.files.get(&what).expect("an open file"))
    }

    fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |text: &str| text.parse().expect("a number");
        match words[..] {
            ["create", root, reserve] => {
                let file = self.new_file(Use::Part);
                let (name, reserve) = (format!("{root}.part"), number(reserve));
                self.outputs.push_back(Output::CreateFile { file, name, reserve });
            }
            ["open", root] => {
                let file = self.new_file(Use::Part);
                self.outputs.push_back(Output::OpenPart { file, name: format!("{root}.part") });
            }
            ["journal", root] => {
                let file = self.new_file(Use::Journal);
                let log = Log::Journal(format!("{root}.jnl"));
                self.outputs.push_back(Output::OpenLog { file, log });
            }
            ["store", offset, len] => {
                self.file = Some(self.named("part").1);
                self.body = (number(offset), number(len) as usize);
            }
            // Into a file that it closed.
            ["stray", offset, len] => self.body = (number(offset), number(len) as usize),
            ["sync", what] => {
                let file = self.named(what).1;
                self.outputs.push_back(Output::SyncFile { file });
            }
            ["head", root, size] => self.append(&format!("{root} {size}\n")),
            ["claim", piece] => self.append(&format!("{piece}\n")),
            ["cut", len] => {
                let file = self.named("jnl").1;
                self.outputs.push_back(Output::TruncateLog { file, len: number(len) });
            }
            ["read", what, offset, len] => {
                let file = self.named(what).1;
                let (offset, len) = (number(offset), number(len) as usize);
                self.outputs.push_back(Output::ReadFile { file, offset, len });
            }
            ["commit", name] => {
                let file = self.named("part").1;
                self.outputs.push_back(Output::CommitFile { file, name: name.into() });
            }
            ["close" | "discard", what] => self.end(words[0] == "discard", what),
            ["tell", name] => self.say(&serde_json::json!({ "event": "downloaded", "name": name })),
            ["quit"] => self.outputs.push_back(Output::Exit { status: 0 }),
            _ => panic!("a keeper does not know {line:?}"),
        }
    }

    fn append(&mut self, text: &str) {
        let file = self.named("jnl").1;
        self.outputs.push_back(Output::AppendLog { file, bytes: text.into() });
    }

    fn end(&mut self, discard: bool, what: &str) {
        let (what, file) = self.named(what);
        self.files.remove(&what);
        match (what, discard) {
            (Use::Part, true) => self.census.files_discarded += 1,
            (Use::Part, false) => self.census.files_kept += 1,
            (Use::Journal, _) => {}
        }
        let end = if discard { Output::DiscardFile { file } } else { Output::CloseFile { file } };
        self.outputs.push_back(end);
    }

    fn word(&self, file: FileId) -> &'static str {
        if self.files.get(&Use::Part) == Some(&file) { "part" } else { "jnl" }
    }
}

impl Machine for Keeper {
    fn handle_accept(&mut self, _: Instant, _: ListenerId, _: std::net::SocketAddr) -> Option<ConnId> {
        None
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        use serde_json::json;
        match input {
            Input::Timeout => self.tick = now + TICK,
            Input::FileCreated { file, room } => {
                let file = self.word(file);
                self.say(&json!({ "event": "created", "file": file, "room": room }));
            }
            Input::FileOpened { file, meta } => {
                let file = self.word(file);
                self.say(&json!({ "event": "opened", "file": file, "size": meta.size, "mtime": meta.mtime }));
            }
            Input::FileSynced { file, meta } => {
                let file = self.word(file);
                self.say(&json!({ "event": "synced", "file": file, "size": meta.size, "mtime": meta.mtime }));
            }
            Input::FileRead { file, offset, bytes, .. } => {
                let (file, text) = (self.word(file), String::from_utf8_lossy(bytes).into_owned());
                self.say(&json!({ "event": "read", "file": file, "offset": offset, "text": text }));
            }
            Input::FileFailed { file, fault, fatal } => {
                let word = self.word(file);
                if fatal {
                    self.files.retain(|_, known| *known != file);
                    self.census.files_discarded += u64::from(word == "part");
                }
                let fault = fault.to_string();
                self.say(&json!({ "event": "failed", "file": word, "fault": fault, "fatal": fatal }));
            }
            Input::FileCommitted { file, name, confirmed, .. } => {
                self.files.retain(|_, known| *known != file);
                self.census.files_committed += 1;
                self.say(&json!({ "event": "committed", "name": name, "confirmed": confirmed }));
            }
            _ => {}
        }
    }

    fn handle_recv(&mut self, _: Instant, conn: ConnId, bytes: &mut [u8]) -> Received {
        let (offset, left) = self.body;
        if let Some(file) = self.file.filter(|_| left > 0) {
            let consumed = left.min(bytes.len());
            let body = Body { file, offset, range: 0..consumed };
            self.body = (offset + consumed as u64, left - consumed);
            return Received { consumed, body: Some(body), pause: false };
        }
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            self.line.extend_from_slice(bytes);
            return Received { consumed: bytes.len(), ..Received::default() };
        };
        self.line.extend_from_slice(&bytes[..end]);
        let line = String::from_utf8(std::mem::take(&mut self.line)).expect("text");
        self.command(&line);
        // One command at a time, as a script does: the rest is given again after Resume.
        self.outputs.push_back(Output::Resume { conn });
        Received { consumed: end + 1, body: None, pause: true }
    }

    fn handle_written(&mut self, _: Instant, _: ConnId, _: usize) {
        if self.body.1 == 0 {
            self.say(&serde_json::json!({ "event": "stored" }));
        }
    }

    fn poll_transmit(&mut self, conn: ConnId) -> Option<Transmit<'_>> {
        (conn == self.console && !self.out.is_empty()).then_some(Transmit::Bytes(&self.out))
    }

    fn handle_sent(&mut self, _: Instant, _: ConnId, n: usize) {
        self.out.drain(..n);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<Deadline> {
        Some(Deadline { at: self.tick, reason: "tick" })
    }

    fn census(&self) -> Census {
        debug_assert!(self.console != self.notes);
        Census {
            conns: 2,
            files: self.files.len(),
            files_growing: u64::from(self.files.contains_key(&Use::Part)),
            ..self.census
        }
    }
}
