//! What the benches share: nodes that run on threads of this process, with the real reactor, pipes for consoles and
//! folders in memory.

// Each bench uses its own part of this file.
#![allow(dead_code)]
// Benches live in the world: they have clocks, threads and an environment.
#![allow(clippy::disallowed_methods)]

use distrishare::config::{
    ConsoleMode, Crypto, FileFolders, Folders, HostPort, Key, Limits, PeerConfig, Rates, Secret,
    V1_DEFAULT_SECRET,
};
use distrishare::node::peer::Peer;
use distrishare::reactor::Reactor;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

pub(crate) mod session;

/// A folder that lies in memory where the system has one for that, and goes when dropped.
pub(crate) fn memory_folder() -> tempfile::TempDir {
    let in_memory = Path::new("/dev/shm");
    let made = if in_memory.is_dir() { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

/// Bytes that look like no others and are the same every time.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(len as u64);
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

/// A peer on a thread of its own. Told to quit when dropped.
pub(crate) struct Node {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    stdin: Option<File>,
    stdout: BufReader<File>,
    thread: Option<thread::JoinHandle<()>>,
    /// The folder of its thread in `/proc`.
    task: PathBuf,
}

impl Node {
    /// Starts it on a free port of the loopback.
    pub(crate) fn start(limits: &Limits, bootstrap: Option<SocketAddr>) -> Node {
        Node::start_as(limits, bootstrap, |_| {})
    }

    /// The same, with something of its configuration changed.
    pub(crate) fn start_as(
        limits: &Limits,
        bootstrap: Option<SocketAddr>,
        change: impl FnOnce(&mut PeerConfig),
    ) -> Node {
        let folder = memory_folder();
        let files = FileFolders::new(folder.path().join("shared"), folder.path().join("downloads"));
        let folders = Folders { files: Some(files.clone()), state: folder.path().join("state") };
        let mut config = PeerConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            folders: files,
            root: false,
            announce: None,
            bootstraps: bootstrap
                .map(|addr| HostPort { host: addr.ip().to_string(), port: addr.port() })
                .into_iter()
                .collect(),
            join: false,
            control: false,
            v1: true,
            v1_secret: Secret::new(V1_DEFAULT_SECRET),
            group: None,
            crypto: Crypto::Real { aes: true },
            entropy: Key::new(std::array::from_fn(|_| fastrand::u8(..))),
            console: ConsoleMode::Script,
            json: true,
            progress_columns: None,
            keep_going: true,
            rate: Rates::default(),
            once: None,
            resume: true,
            seed: 1,
            limits: limits.clone(),
        };
        change(&mut config);
        let (stdin, stdin_end) = rustix::pipe::pipe().expect("a pipe");
        let (stdout_end, stdout) = rustix::pipe::pipe().expect("a pipe");
        let nowhere = OwnedFd::from(File::options().write(true).open("/dev/null").expect("opens"));
        let limits = limits.clone();
        let (tell_task, task) = mpsc::channel();
        let thread = thread::spawn(move || {
            let task = fs::read_link("/proc/thread-self").unwrap_or_default();
            tell_task.send(Path::new("/proc").join(task)).expect("somebody waits");
            let mut reactor =
                Reactor::new(&folders, &limits).expect("a reactor").with_stdio(stdin, stdout, nowhere);
            reactor.run(&mut Peer::new(config)).expect("the loop goes on");
        });
        let stdout = BufReader::new(File::from(stdout_end));
        let task = task.recv().expect("the thread runs");
        let mut node =
            Node { port: 0, folder, stdin: Some(File::from(stdin_end)), stdout, thread: Some(thread), task };
        let port = node.event("ready")["port"].as_u64().expect("a port");
        node.port = u16::try_from(port).expect("a port");
        node
    }

    /// Puts a file into its shared folder.
    pub(crate) fn share(&self, name: &str, content: &[u8]) {
        fs::write(self.folder.path().join("shared").join(name), content).expect("written");
    }

    /// Waits until it knows so many files and has hashed them all.
    pub(crate) fn hashed(&mut self, count: usize) {
        loop {
            self.tell("status\n");
            if self.event("status")["index"]["hashed_files"] == count {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// CPU time that its thread has taken. Zero where the system does not tell.
    pub(crate) fn cpu(&self) -> Duration {
        let text = fs::read_to_string(self.task.join("schedstat")).unwrap_or_default();
        let nanos = text.split(' ').next().and_then(|n| n.parse().ok());
        Duration::from_nanos(nanos.unwrap_or(0))
    }

    /// Where its downloads are.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.folder.path().join("downloads")
    }

    /// Removes what it downloaded.
    pub(crate) fn forget_downloads(&self) {
        for entry in fs::read_dir(self.downloads()).expect("readable") {
            let entry = entry.expect("readable");
            if entry.file_type().expect("known").is_file() {
                fs::remove_file(entry.path()).expect("removed");
            }
        }
    }

    /// Types lines.
    pub(crate) fn tell(&mut self, lines: &str) {
        self.stdin.as_mut().expect("open").write_all(lines.as_bytes()).expect("taken");
    }

    /// Reads until this event, without a look at the others; how many there were.
    pub(crate) fn skip_to(&mut self, name: &str) -> usize {
        let mark = format!("{{\"event\":\"{name}\"");
        let (mut line, mut others) = (String::new(), 0);
        loop {
            line.clear();
            assert!(
                self.stdout.read_line(&mut line).expect("readable") > 0,
                "the node ended before `{name}`"
            );
            if line.starts_with(&mark) {
                return others;
            }
            others += 1;
        }
    }

    /// The next event of this name. Errors are fatal: a bench of failures measures nothing.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(
                self.stdout.read_line(&mut line).expect("readable") > 0,
                "the node ended before `{name}`"
            );
            let event: Value = serde_json::from_str(&line).expect("JSON");
            if event["event"] == name {
                return event;
            }
            assert!(event["event"] != "error", "{line}");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
