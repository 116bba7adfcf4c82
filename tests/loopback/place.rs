//! Where a test happens: a folder with nodes in it, and questions to them over sockets of our own.

use crate::support::{self, Console, Program, skip};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const PEER: &str = env!("CARGO_BIN_EXE_ds-peer");
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A folder of its own, removed with all it holds.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// Nothing, with a word, while the program is a stub.
    pub(crate) fn new(test: &str) -> Option<Place> {
        if !support::is_built(Path::new(PEER)) {
            skip(test, "ds-peer is a stub");
            return None;
        }
        Some(Place { folder: tempfile::tempdir().expect("a temporary folder") })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of a node's, with the folders it lies in.
    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below our folder")).expect("a folder of ours");
        fs::write(path, content).expect("a file of ours");
    }

    /// The names in a folder, sorted; none if it is not there.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("ours").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// A node that is not started yet; it works in a folder of its name.
    pub(crate) fn command(&self, name: &str, more: &[&str]) -> Command {
        fs::create_dir_all(self.path(name)).expect("a folder of ours");
        let mut command = Command::new(PEER);
        command.args(["127.0.0.1", "0", "--state", "state"]).args(more).current_dir(self.path(name));
        command
    }

    /// A copy of the program that any user may run, if the folder lets him.
    pub(crate) fn program(&self) -> PathBuf {
        let program = self.path("ds-peer");
        // By another process: one that is started just now by another test would keep a file of ours open for writing,
        // and what somebody writes to cannot be run.
        let done = Command::new("cp").arg(PEER).arg(&program).status().expect("cp runs");
        assert!(done.success());
        program
    }

    /// A node that takes commands and answers in JSON.
    pub(crate) fn node(&self, name: &str, more: &[&str]) -> Node {
        let mut command = self.command(name, &["--json", "--keep-going"]);
        Node::started(Program::start(name, command.args(more)))
    }
}

/// A node that is ready.
pub(crate) struct Node {
    pub(crate) console: Console,
    pub(crate) port: u16,
}

impl Node {
    pub(crate) fn started(program: Program) -> Node {
        let mut console = Console { program };
        let port = console.event("ready")["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        Node { console, port: port.expect("a port") }
    }

    pub(crate) fn run(&mut self, command: &str) -> Vec<Value> {
        self.console.run(command)
    }

    pub(crate) fn get(&mut self, port: u16, name: &str) -> Vec<Value> {
        self.run(&format!("get 127.0.0.1 {port} {name}"))
    }

    pub(crate) fn pid(&self) -> Pid {
        pid(&self.console.program)
    }

    /// The next event that tells of bytes that arrived.
    pub(crate) fn progress(&mut self) -> Value {
        loop {
            let progress = self.console.event("progress");
            if progress["bytes"] != 0 {
                return progress;
            }
        }
    }

    pub(crate) fn status(&mut self) -> Value {
        let events = self.run("status");
        event(&events, "status").unwrap_or_else(|| panic!("{events:?}")).clone()
    }

    /// Bytes it gave to others.
    pub(crate) fn sent(&mut self) -> u64 {
        self.status()["uploaded_bytes"].as_u64().expect("a number")
    }

    /// Waits until it has read all the files that it shares: so many.
    #[track_caller]
    pub(crate) fn has_hashed(&mut self, files: usize) {
        until("all is hashed", || (self.status()["index"]["hashed_files"] == files).then_some(()));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    pub(crate) fn ended(&mut self, limit: Duration) -> Option<i32> {
        self.console.program.ended(limit)
    }
}

pub(crate) fn pid(program: &Program) -> Pid {
    i32::try_from(program.pid()).ok().and_then(Pid::from_raw).expect("a process id")
}

pub(crate) fn request(kind: &str, name: &str) -> Vec<u8> {
    json!({ "type": kind, "filename": name, "secret": "distrishare2024" }).to_string().into_bytes()
}

/// What a node answers, and how long that took.
pub(crate) fn ask(port: u16, kind: &str, name: &str) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    let mut conn = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    conn.set_read_timeout(Some(LIMIT)).expect("a socket of ours");
    conn.write_all(&request(kind, name)).expect("it reads");
    let mut answer = Vec::new();
    conn.read_to_end(&mut answer).expect("it closes in good order");
    (answer, start.elapsed())
}

/// A search is answered at once.
#[track_caller]
pub(crate) fn answers_at_once(port: u16) {
    let (answer, took) = ask(port, "search", "there is no such file");
    assert_eq!(answer, b"NOT_FOUND");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// A registry that listens, and where.
pub(crate) fn registry(place: &Place) -> (Program, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ds-bootstrap"));
    command.args(["127.0.0.1", "0", "--state"]).arg(place.path("registry"));
    let mut program = Program::start("ds-bootstrap", &mut command);
    let at = program.wait("ready", LIMIT, |line| {
        let port = line.rsplit(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?;
        line.contains("ready").then(|| format!("127.0.0.1:{port}"))
    });
    (program, at)
}

/// Looks again and again until `seen` gives something.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = seen() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not happen within {LIMIT:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A number out of `/proc/PID/status`, or nothing once the process has gone.
pub(crate) fn proc_status(pid: Pid, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The processor time a process has used.
pub(crate) fn cpu_time(pid: Pid) -> Duration {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).expect("it runs");
    let after = text.rsplit_once(')').expect("the name ends").1;
    let ticks: u64 =
        after.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Bytes that differ from page to page.
pub(crate) fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    chance.fill(&mut bytes);
    bytes
}

pub(crate) fn event<'a>(events: &'a [Value], name: &str) -> Option<&'a Value> {
    events.iter().find(|event| event["event"] == name)
}

pub(crate) const MIB: usize = 1 << 20;

/// A file of so many MiB, each different; another seed, another file.
pub(crate) fn large(place: &Place, name: &str, mib: usize, seed: u64) {
    place.write(name, b"");
    let mut file = File::create(place.path(name)).expect("a file of ours");
    let mut block = content(seed, MIB);
    for i in 0..mib {
        block[..8].copy_from_slice(&(i as u64).to_le_bytes());
        file.write_all(&block).expect("room on the disk");
    }
}

/// Two files are the same, byte for byte.
#[track_caller]
pub(crate) fn same(place: &Place, a: &str, b: &str) {
    let open = |name: &str| File::open(place.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (mut a, mut b) = (open(a), open(b));
    let (mut x, mut y) = (vec![0; MIB], vec![0; MIB]);
    loop {
        let n = a.read(&mut x).expect("ours");
        b.read_exact(&mut y[..n]).expect("as long");
        assert!(x[..n] == y[..n], "other bytes");
        if n == 0 {
            assert_eq!(b.read(&mut y).expect("ours"), 0, "longer");
            return;
        }
    }
}
