//! Where a test happens: a folder with nodes in it, and questions to them over sockets of our own.

use crate::support::{self, Console, Program, skip};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
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
