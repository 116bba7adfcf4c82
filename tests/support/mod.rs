//! What tests that run real programs share: the folder of the project, a program whose lines are read with a deadline,
//! and the one way to say that a test was skipped.

// Each test target uses its own part of this file.
#![allow(dead_code)]
// Tests live in the world: they have clocks, threads and an environment.
#![allow(clippy::disallowed_methods)]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The folder of the project.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Says why a test shows nothing here. A line that begins so is the only sign of it, and `.ci/run` shows those lines.
pub(crate) fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
    // The test harness swallows what a passing test prints; the reader of a CI log must see it all the same.
    if let Some(list) = std::env::var_os("DS_SKIP_LIST") {
        let line = format!("SKIPPED {test}: {why}\n");
        let file = std::fs::OpenOptions::new().append(true).create(true).open(list);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("DS_SKIP_LIST can be written");
    }
}

/// Whether `program` can be run at all with this argument.
pub(crate) fn runs(program: &str, argument: &str) -> bool {
    let done = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    done.is_ok_and(|status| status.success())
}

/// Whether a program of ours is more than a stub. One whose source is no stub must run and tell its version: otherwise
/// a broken program would only make tests skip.
pub(crate) fn is_built(program: &Path) -> bool {
    let name = program.file_name().expect("a program").to_string_lossy();
    let source = root().join(format!("src/bin/{name}.rs"));
    let text = std::fs::read_to_string(&source).unwrap_or_else(|error| panic!("{source:?}: {error}"));
    if text.starts_with("//! Stub.") {
        return false;
    }
    let (done, out, err) = run(Command::new(program).arg("-V"), Duration::from_secs(20));
    let version = env!("CARGO_PKG_VERSION");
    assert!(done && out.contains(version), "{name} -V does not tell the version {version}: {out}{err}");
    true
}

/// Runs a program to its end and returns (success, standard output, standard error); kills it at the deadline.
pub(crate) fn run(command: &mut Command, limit: Duration) -> (bool, String, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let out = drain(child.stdout.take().expect("piped"));
    let err = drain(child.stderr.take().expect("piped"));
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our child") {
            break Some(status);
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (out, err) = (text(out.join().expect("reader")), text(err.join().expect("reader")));
    match status {
        Some(status) => (status.success(), out, err),
        None => panic!("{command:?} did not end within {limit:?}\n{out}\n{err}"),
    }
}

fn drain(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// A program that runs beside the test. Killed when dropped.
pub(crate) struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Arc<Mutex<String>>,
}

impl Program {
    /// Starts it. Everything it prints is kept for the message of a failing test.
    pub(crate) fn start(name: &str, command: &mut Command) -> Program {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {command:?}: {error}"));
        let seen = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = channel();
        let note = |mark: &'static str, seen: Arc<Mutex<String>>| {
            move |line: &str| {
                let mut seen = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                seen.push_str(mark);
                seen.push_str(line);
                seen.push('\n');
            }
        };
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let keep = note("  out ", Arc::clone(&seen));
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                keep(&line);
                let _ = sender.send(line);
            }
        });
        let keep = note("  err ", Arc::clone(&seen));
        thread::spawn(move || BufReader::new(err).lines().map_while(Result::ok).for_each(|line| keep(&line)));
        Program { name: name.to_owned(), input: child.stdin.take(), child, lines, seen }
    }

    /// Types a line.
    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is open");
        let written = writeln!(input, "{line}").and_then(|()| input.flush());
        if let Err(error) = written {
            panic!("{} takes no more commands ({error}) at `{line}`:\n{}", self.name, self.heard());
        }
    }

    /// The next line it prints for which `wanted` gives something.
    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} did not print {what} within {limit:?}:\n{}", self.name, self.heard())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{} ended without {what}:\n{}", self.name, self.heard())
                }
            }
        }
    }

    /// The next line it prints; nothing once it has closed its output.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        self.lines.recv_timeout(Duration::from_secs(60)).ok()
    }

    /// Everything it printed so far.
    pub(crate) fn heard(&self) -> String {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes its input.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits until it has ended by itself; its exit status, or nothing if a signal ended it.
    pub(crate) fn ended(&mut self, limit: Duration) -> Option<i32> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{} did not end within {limit:?}:\n{}", self.name, self.heard());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `ds-peer --json` that is told commands and answers with events.
pub(crate) struct Console {
    pub(crate) program: Program,
}

impl Console {
    const LIMIT: Duration = Duration::from_secs(60);

    /// The next event of this name.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        self.program.wait(&format!("`{name}`"), Console::LIMIT, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == name).then_some(event)
        })
    }

    /// The next event, whatever it is.
    pub(crate) fn any(&mut self) -> Value {
        self.program.wait("an event", Console::LIMIT, |line| serde_json::from_str(line).ok())
    }

    /// Runs a command to its end; returns its events, the last of which is `done`.
    pub(crate) fn run(&mut self, command: &str) -> Vec<Value> {
        self.program.tell(command);
        let mut events = Vec::new();
        self.program.wait(&format!("`done` after `{command}`"), Console::LIMIT, |line| {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("`{line}`: {error}"));
            let done = event["event"] == "done";
            events.push(event);
            done.then_some(())
        });
        events
    }
}

/// The lines of a page's blocks that are marked as run by us: ```` ```sh run ````.
pub(crate) fn marked_commands(page: &str) -> Vec<String> {
    let mut marked = false;
    let mut found = Vec::new();
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(mark) => marked = mark == "sh run",
            None if marked && !line.is_empty() => found.push(line.to_owned()),
            None => {}
        }
    }
    found
}
