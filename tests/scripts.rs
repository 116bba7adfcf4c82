//! Transcripts that are manual and test at once: each file of `tests/scripts` is run with the real programs and compared
//! with what it says that they print. `DS_BLESS=1 cargo test --test scripts` writes what they print now.
//!
//! ```text
//! # prose                       for the reader
//! $ ann: ds-peer 0 --json       a program with a name, in a folder of its own; its port is {ann} from then on
//! < search a.txt                what it reads (without such a line: nothing); or `<FILE` behind the command
//!   found a.txt at …            its standard output, `~` an empty line of it
//! ! error: …                    its standard error
//! = 3                           its exit status or the signal that ended it, unless 0
//! $ ann: ds-peer … &            goes on beside what follows, from when it is ready (`ds-peer ctl`: at once)
//! $ stop ann [TERM|INT|HUP|KILL] ends it (TERM) and shows what it said
//! $ see ann TEXT                waits until it has said this
//! $ hold ann · go ann           it stands still, with its connections open; it goes on
//! $ file PATH TEXT · bytes PATH N · folder PATH · fifo PATH · link PATH TARGET · chmod PATH MODE · cat PATH · ls PATH ·
//!                               same A B;
//!                               `\_` is a blank in a name, `\xNN` a byte
//! $ ask ann BYTES               sends these to its port and shows what comes back until it closes
//! $ stranger eve FOUND TEXT     a server that answers searches and downloads with these; `-`: with nothing, and waits
//! ```
//!
//! Not shown: the log below warnings, the warning that root gets, and what each node says at its start unless the transcript has it.
//! Holes: `{ann}` a port, `{ann.id}` and `{ann.id6}` the id and its first 6 digits of one that ran with `--json`, `{dir}` the
//! folder everything is in, `{number}`, `{time}`, `{id}` any node's id, `{hex}`, `{any}`.

// Tests live in the world: they have clocks, threads and an environment.
#![allow(clippy::disallowed_methods)]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const PROGRAMS: [(&str, &str); 2] =
    [("ds-peer", env!("CARGO_BIN_EXE_ds-peer")), ("ds-bootstrap", env!("CARGO_BIN_EXE_ds-bootstrap"))];
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn first_steps() {
    script("first_steps");
}

#[test]
fn commands() {
    script("commands");
}

#[test]
fn menu_numbers() {
    script("menu_numbers");
}

#[test]
fn once() {
    script("once");
}

#[test]
fn json() {
    script("json");
}

#[test]
fn failures() {
    script("failures");
}

#[test]
fn exit_statuses() {
    script("exit_statuses");
}

#[test]
fn ctl() {
    script("ctl");
}

#[test]
fn background() {
    script("background");
}

#[test]
fn share() {
    script("share");
}

#[test]
fn downloads() {
    script("downloads");
}

#[test]
fn hostile_names() {
    script("hostile_names");
}

#[test]
fn command_line() {
    script("command_line");
}

#[test]
fn daemon() {
    script("daemon");
}

#[test]
fn group() {
    script("group");
}

#[test]
fn streams() {
    script("streams");
}

#[test]
fn search() {
    script("search");
}

#[test]
fn group_network() {
    script("group_network");
}

#[test]
fn typed_names() {
    script("typed_names");
}

#[test]
fn every_transcript_is_run() {
    let source = include_str!("scripts.rs");
    for entry in fs::read_dir(support::root().join("tests/scripts")).expect("a folder of ours") {
        let path = entry.expect("a folder of ours").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(source.contains(&format!("script(\"{name}\")")), "{path:?} has no test");
    }
}

/// A part of a transcript.
#[derive(Debug)]
enum Item {
    /// Prose or a blank line.
    Prose(String),
    /// A command with what goes in and what comes out.
    Step(Step),
}

#[derive(Debug, Default)]
struct Step {
    command: String,
    input: Vec<String>,
    output: Vec<String>,
}

fn read(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            items.push(Item::Step(Step { command: command.to_owned(), ..Step::default() }));
            continue;
        }
        match items.last_mut() {
            Some(Item::Step(step)) if line.starts_with('<') => {
                let typed = line[1..].strip_prefix(' ').unwrap_or(&line[1..]);
                step.input.push(typed.to_owned());
            }
            Some(Item::Step(step)) if line.starts_with("  ") || line.starts_with(['!', '=']) => {
                step.output.push(line.to_owned());
            }
            // An empty line of output is `~`; a blank one would part what follows it from its program.
            _ if line.starts_with(['<', '!', '=']) || line.starts_with("  ") => {
                panic!("line {} is said by no program: `{line}`", i + 1)
            }
            _ => items.push(Item::Prose(line.to_owned())),
        }
    }
    items
}

fn write(items: &[Item]) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    for item in items {
        match item {
            Item::Prose(prose) => line(prose),
            Item::Step(step) => {
                line(&format!("$ {}", step.command));
                step.input.iter().for_each(|typed| line(&format!("< {typed}")));
                step.output.iter().for_each(|printed| line(printed));
            }
        }
    }
    text
}

/// Runs a transcript and compares, or writes down what was printed.
fn script(name: &str) {
    let path = support::root().join(format!("tests/scripts/{name}.txt"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let stub =
        |(program, built): &(&str, &str)| text.contains(program) && !support::is_built(Path::new(built));
    if let Some((program, _)) = PROGRAMS.iter().find(|program| stub(program)) {
        return support::skip(&format!("the transcript {name}"), &format!("{program} is a stub"));
    }
    let mut items = read(&text);
    let mut stage = Stage::new();
    let mut differences = String::new();
    for item in &mut items {
        let Item::Step(step) = item else { continue };
        let printed = shown(stage.run(step), &step.output);
        let fits = |expected: &[String]| {
            expected.len() == printed.len()
                && expected.iter().zip(&printed).all(|(line, printed)| matches(&stage.fill(line), printed))
        };
        if fits(&step.output) {
            continue;
        }
        differences.push_str(&difference(step, &printed, &stage));
        step.output = bless(&step.output, &printed, &stage);
    }
    if std::env::var_os("DS_BLESS").is_some() {
        fs::write(&path, write(&items)).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    } else if !differences.is_empty() {
        panic!(
            "tests/scripts/{name}.txt (- says, + is; DS_BLESS=1 writes it down):\n{differences}{}",
            stage.said()
        );
    }
}

/// Without what differs from run to run or is the same in all of them.
fn shown(mut printed: Vec<String>, expected: &[String]) -> Vec<String> {
    const START: [&str; 3] = ["! ready: this node listens on ", "! open node: ", "! member of the group "];
    // Whoever runs the tests.
    let root = |line: &String| line.starts_with("! open node, run by root: ");
    let open = "! open node: whoever reaches it can read what it shares (a group keeps strangers out)";
    printed.iter_mut().filter(|line| root(line)).for_each(|line| *line = open.to_owned());
    let starts = |line: &str| START.iter().any(|start| line.starts_with(start));
    let wanted = expected.iter().any(|line| starts(line));
    printed.retain(|line| !line.contains(" [INFO] ") && (wanted || !starts(line)));
    for line in &mut printed {
        // The time of a line of the log.
        if line.get(22..24) == Some(" [") && matches("! {time} [{any}", line) {
            line.replace_range(2..22, "{time}");
        }
    }
    printed
}

/// What the transcript says and what is, line by line.
fn difference(step: &Step, printed: &[String], stage: &Stage) -> String {
    let mut text = format!("$ {}\n", step.command);
    let mut rest = printed;
    for line in &step.output {
        match rest.iter().position(|printed| matches(&stage.fill(line), printed)) {
            Some(at) => {
                rest[..at].iter().for_each(|printed| text.push_str(&format!("+ {printed}\n")));
                text.push_str(&format!("  {line}\n"));
                rest = &rest[at + 1..];
            }
            None => text.push_str(&format!("- {line}\n")),
        }
    }
    rest.iter().for_each(|printed| text.push_str(&format!("+ {printed}\n")));
    text
}

/// The lines to write down: where an old line fits, its holes stay.
fn bless(old: &[String], printed: &[String], stage: &Stage) -> Vec<String> {
    let keep = |line: &String| {
        let fitting = old.iter().find(|old| matches(&stage.fill(old), line));
        fitting.cloned().unwrap_or_else(|| stage.dig(line))
    };
    printed.iter().map(keep).collect()
}

/// Whether `text` is what `pattern`, whose named values are filled in, says.
fn matches(pattern: &str, text: &str) -> bool {
    if pattern == text {
        return true;
    }
    type Hole = (&'static str, fn(char) -> bool);
    const HOLES: [Hole; 4] = [
        ("{number}", |c| c.is_ascii_digit()),
        ("{time}", |c| c.is_ascii_digit() || ":-TZ".contains(c)),
        ("{hex}", |c| c.is_ascii_hexdigit()),
        ("{any}", |_| true),
    ];
    if let Some((before, after)) = pattern.split_once("{id}") {
        // One that stands behind another hole is found where that hole may end.
        let spread = HOLES.iter().any(|(hole, _)| before.contains(hole));
        let is_id = |at: usize| text.get(at..at + ID).is_some_and(|id| ids(id).next() == Some(0..ID));
        let mut starts: Box<dyn Iterator<Item = usize>> =
            if spread { Box::new(0..text.len()) } else { Box::new(std::iter::once(before.len())) };
        return starts
            .any(|at| is_id(at) && matches(before, &text[..at]) && matches(after, &text[at + ID..]));
    }
    let first =
        HOLES.iter().filter_map(|(hole, fits)| Some((pattern.find(hole)?, *hole, fits))).min_by_key(|f| f.0);
    let Some((at, hole, fits)) = first else { return pattern == text };
    let Some(rest) = text.strip_prefix(&pattern[..at]) else { return false };
    let after = &pattern[at + hole.len()..];
    let ends = rest.char_indices().take_while(|(_, c)| fits(*c)).map(|(i, c)| i + c.len_utf8());
    ends.into_iter().any(|end| matches(after, &rest[end..])) || (hole == "{any}" && matches(after, rest))
}

/// Digits of a node's id.
const ID: usize = 16;

/// Where a text names nodes by their ids: hexadecimal digits, exactly so many, a letter among them or not.
fn ids(text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let starts = text.char_indices().map(|(i, _)| i).chain([text.len()]);
    let words = starts.filter(move |&i| {
        text[i..].starts_with(digit) && !text[..i].ends_with(|c: char| c.is_ascii_alphanumeric())
    });
    words.filter_map(move |i| {
        let len = text[i..].find(|c: char| !digit(c)).unwrap_or(text.len() - i);
        let alone = !text[i + len..].starts_with(|c: char| c.is_ascii_alphanumeric());
        (len == ID && alone).then_some(i..i + len)
    })
}

/// A program beside the transcript.
struct Running {
    child: Child,
    out: Reader,
    err: Reader,
}

/// Collects what a program prints.
struct Reader {
    text: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn new(mut from: impl Read + Send + 'static) -> Reader {
        let text = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&text);
        let thread = thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut part) {
                kept.lock().expect("no reader panics").extend_from_slice(&part[..n]);
            }
        });
        Reader { text, thread }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("no reader panics")).into_owned()
    }

    fn all(self) -> String {
        self.thread.join().expect("no reader panics");
        String::from_utf8_lossy(&self.text.lock().expect("no reader panics")).into_owned()
    }
}

/// Where a transcript happens.
struct Stage {
    folder: tempfile::TempDir,
    ports: BTreeMap<String, u16>,
    /// Those of nodes that said theirs.
    ids: BTreeMap<String, String>,
    running: BTreeMap<String, Running>,
}

impl Stage {
    fn new() -> Stage {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Stage { folder, ports: BTreeMap::new(), ids: BTreeMap::new(), running: BTreeMap::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        // A blank within a name, and bytes that no text file can hold.
        let name = std::ffi::OsString::from_vec(unescape(&name.replace("\\_", " ")));
        self.folder.path().join(name)
    }

    /// Named values in place of their names.
    fn fill(&self, line: &str) -> String {
        let mut line = line.replace("{dir}", &self.folder.path().to_string_lossy());
        for (name, port) in &self.ports {
            line = line.replace(&format!("{{{name}}}"), &port.to_string());
        }
        for (name, id) in &self.ids {
            line = line.replace(&format!("{{{name}.id}}"), id).replace(&format!("{{{name}.id6}}"), &id[..6]);
        }
        line
    }

    /// Names in place of named values.
    fn dig(&self, line: &str) -> String {
        let mut line = line.replace(&*self.folder.path().to_string_lossy(), "{dir}");
        for (name, port) in &self.ports {
            for (before, after) in [(":", ""), ("\"port\":", ""), ("127.0.0.1 ", ""), ("port ", ":")] {
                let known = format!("{before}{port}{after}");
                line = line.replace(&known, &format!("{before}{{{name}}}{after}"));
            }
        }
        let known: Vec<String> = ids(&line).map(|at| line[at].to_owned()).collect();
        for id in known {
            let named = self.ids.iter().find(|(_, of_node)| **of_node == id);
            line = line.replace(&id, &named.map_or("{id}".to_owned(), |(name, _)| format!("{{{name}.id}}")));
        }
        line
    }

    fn run(&mut self, step: &Step) -> Vec<String> {
        let command = self.fill(&step.command);
        let (verb, rest) = command.split_once(' ').unwrap_or((&command, ""));
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        if let Some(name) = verb.strip_suffix(':') {
            return self.program(name, rest, &step.input);
        }
        let made = match verb {
            "file" => {
                self.folder_of(first);
                fs::write(self.path(first), format!("{second}\n"))
            }
            "bytes" => {
                self.folder_of(first);
                let mut chance = fastrand::Rng::with_seed(1);
                let n = second.parse().expect("a number of bytes");
                fs::write(
                    self.path(first),
                    std::iter::repeat_with(|| chance.u8(..)).take(n).collect::<Vec<u8>>(),
                )
            }
            "folder" => fs::create_dir_all(self.path(first)),
            "link" => {
                self.folder_of(first);
                std::os::unix::fs::symlink(second, self.path(first))
            }
            "chmod" => {
                let mode = u32::from_str_radix(second, 8).expect("a mode");
                fs::set_permissions(self.path(first), fs::Permissions::from_mode(mode))
            }
            "fifo" => {
                self.folder_of(first);
                let made = Command::new("mkfifo").arg(self.path(first)).status();
                made.map(|status| assert!(status.success(), "mkfifo"))
            }
            "cat" => return self.cat(rest),
            "ls" => return self.ls(rest),
            "same" => {
                let [a, b] = [first, second].map(|name| fs::read(self.path(name)).expect("a file"));
                return vec![if a == b { "  the same" } else { "  different" }.to_owned()];
            }
            "stop" => return self.stop(first, second),
            "see" => return self.see(first, second),
            "hold" => return self.signal(first, Signal::STOP),
            "go" => return self.signal(first, Signal::CONT),
            "ask" => return ask(self.ports[first], &unescape(second)),
            "stranger" => {
                let (found, content) = second.split_once(' ').unwrap_or((second, ""));
                let port = stranger(found.replace("\\_", " "), content.replace("\\_", " "));
                self.ports.insert(first.to_owned(), port);
                Ok(())
            }
            _ => panic!("`{command}` is no command of a transcript"),
        };
        made.unwrap_or_else(|error| panic!("{command}: {error}"));
        Vec::new()
    }

    fn folder_of(&self, name: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below our folder")).expect("a folder of ours");
    }

    fn cat(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_else(|error| format!("{error}"));
        text.lines().map(|line| format!("  {line}")).collect()
    }

    /// Names and sizes, folders with a slash.
    fn ls(&self, name: &str) -> Vec<String> {
        let row = |entry: fs::DirEntry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let meta = entry.metadata().expect("of ours");
            if meta.is_dir() { format!("  {name}/") } else { format!("  {name} {}", meta.len()) }
        };
        let entries = fs::read_dir(self.path(name)).into_iter().flatten();
        let mut rows: Vec<String> = entries.map(|entry| row(entry.expect("a folder of ours"))).collect();
        rows.sort();
        rows
    }

    fn program(&mut self, name: &str, line: &str, input: &[String]) -> Vec<String> {
        let (line, beside) = match line.strip_suffix(" &") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let (line, from) = line.split_once(" <").unwrap_or((line, ""));
        let mut words = line.split_whitespace();
        let program = words.next().expect("a program");
        let built = PROGRAMS.iter().find(|known| known.0 == program).expect("a program of ours").1;
        let folder = self.path(name);
        fs::create_dir_all(&folder).expect("a folder of ours");
        let mut command = Command::new(built);
        command.args(words.map(|word| word.replace("\\_", " "))).current_dir(&folder).env_clear();
        command.env("HOME", self.path("home")).env("XDG_STATE_HOME", self.path("state").join(name));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(match from {
            "" => Stdio::piped(),
            path if path.starts_with('/') => Stdio::from(File::open(path).expect("a file")),
            path => Stdio::from(File::open(folder.join(path)).expect("a file")),
        });
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let out = Reader::new(child.stdout.take().expect("piped"));
        let err = Reader::new(child.stderr.take().expect("piped"));
        if let Some(mut stdin) = child.stdin.take() {
            let lines: Vec<String> = input.iter().map(|line| self.fill(line) + "\n").collect();
            // One that ends before it has read everything is no failure of ours.
            let _ = stdin.write_all(unescape(&lines.concat()).as_slice());
        }
        let running = Running { child, out, err };
        // What asks a node says nothing of its own first.
        let asks = line.starts_with("ds-peer ctl ");
        if beside && asks {
            self.running.insert(name.to_owned(), running);
            return Vec::new();
        }
        if beside {
            self.ports.insert(name.to_owned(), ready(name, &running));
            self.ids.extend(id_in(&running.out.so_far()).map(|id| (name.to_owned(), id)));
            self.running.insert(name.to_owned(), running);
            return Vec::new();
        }
        self.end(name, running)
    }

    fn stop(&mut self, name: &str, signal: &str) -> Vec<String> {
        let running = self.running.remove(name).unwrap_or_else(|| panic!("{name} does not run"));
        let signal = match signal {
            "" | "TERM" => Signal::TERM,
            "INT" => Signal::INT,
            "HUP" => Signal::HUP,
            "KILL" => Signal::KILL,
            _ => panic!("{signal}?"),
        };
        let pid = Pid::from_child(&running.child);
        kill_process(pid, signal).expect("it runs");
        self.end(name, running)
    }

    fn signal(&self, name: &str, signal: Signal) -> Vec<String> {
        let running = self.running.get(name).unwrap_or_else(|| panic!("{name} does not run"));
        kill_process(Pid::from_child(&running.child), signal).expect("it runs");
        Vec::new()
    }

    /// Waits until a program has said something.
    fn see(&self, name: &str, text: &str) -> Vec<String> {
        let running = self.running.get(name).unwrap_or_else(|| panic!("{name} does not run"));
        let end = Instant::now() + LIMIT;
        while !running.out.so_far().contains(text) {
            assert!(Instant::now() < end, "{name} does not say `{text}`: {}", running.out.so_far());
            thread::sleep(Duration::from_millis(5));
        }
        Vec::new()
    }

    /// Waits for the end of a program and gives what it said.
    fn end(&mut self, name: &str, mut running: Running) -> Vec<String> {
        let end = Instant::now() + LIMIT;
        let status = loop {
            match running.child.try_wait().expect("our child") {
                Some(status) => break status,
                None if Instant::now() > end => {
                    let _ = running.child.kill();
                    panic!("{name} did not end:\n{}\n{}", running.out.so_far(), running.err.so_far());
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        let (out, err) = (running.out.all(), running.err.all());
        if let Some(port) = port_in(&out).or_else(|| port_in(&err)) {
            self.ports.insert(name.to_owned(), port);
        }
        self.ids.extend(id_in(&out).map(|id| (name.to_owned(), id)));
        let mut lines: Vec<String> = out.lines().map(|line| said("  ", line)).collect();
        lines.extend(err.lines().map(|line| said("! ", line)));
        lines.extend(ending(status));
        lines
    }

    /// What the programs that still run have said, for the message of a failing test.
    fn said(&self) -> String {
        let said = |(name, running): (&String, &Running)| {
            format!("{name} said:\n{}{}", running.out.so_far(), running.err.so_far())
        };
        self.running.iter().map(said).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for running in self.running.values_mut() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// Bytes of a line that no text file can hold: `\xNN`.
fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two hex digits"));
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

/// A line as it is written down; an empty one must be seen.
fn said(mark: &str, line: &str) -> String {
    let line = line.trim_end();
    format!("{mark}{}", if line.is_empty() { "~" } else { line })
}

fn ending(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("= {code}")),
        (None, signal) => Some(format!("= signal {}", signal.unwrap_or_default())),
    }
}

/// The port in the line that says `ready`.
fn port_in(text: &str) -> Option<u16> {
    let line = text.lines().find(|line| line.contains("ready"))?;
    let after = line.split_once("\"port\":").or_else(|| line.rsplit_once("127.0.0.1:"))?.1;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The node's id in the event `ready`.
fn id_in(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.contains("\"event\":\"ready\""))?;
    ids(line).next().map(|at| line[at].to_owned())
}

fn ready(name: &str, running: &Running) -> u16 {
    let end = Instant::now() + LIMIT;
    loop {
        let said = [running.out.so_far(), running.err.so_far()];
        // A line that is not whole may lack a part of the number.
        let whole = |text: &String| text.rsplit_once('\n').and_then(|(whole, _)| port_in(whole));
        match said.iter().find_map(whole) {
            Some(port) => return port,
            None if Instant::now() > end => panic!("{name} is not ready: {said:?}"),
            None => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// What comes back for these bytes until the other side closes; strangers are not kept waiting for that.
fn ask(port: u16, bytes: &[u8]) -> Vec<String> {
    let mut conn = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    conn.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket of ours");
    conn.write_all(bytes).expect("it reads");
    let mut answer = Vec::new();
    // A reset is an end like others.
    match conn.read_to_end(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("no end: {error}"),
        _ if answer.is_empty() => vec!["  nothing, and closed".to_owned()],
        _ => String::from_utf8_lossy(&answer).lines().map(|line| said("  ", line)).collect(),
    }
}

/// What the original says to everything that is none of its requests, the beginning of version 2 among it.
const BAD_JSON: &str = "ERROR: Formato de mensaje inválido. Se requiere JSON.";

/// A node of the original's that answers a search with `found` and a download with `content`; `-`: keeps the connection and says nothing.
fn stranger(found: String, content: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        let mut silent: Vec<TcpStream> = Vec::new();
        for mut conn in listener.incoming().map_while(Result::ok) {
            let mut asked = [0; 4096];
            let n = conn.read(&mut asked).unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..n]);
            if !asked.starts_with('{') {
                drop(conn.write_all(BAD_JSON.as_bytes()));
                continue;
            }
            let answer = if asked.contains("\"search\"") { &found } else { &content };
            match answer.as_str() {
                "-" => silent.push(conn),
                answer => drop(conn.write_all(&unescape(answer))),
            }
        }
    });
    port
}

#[test]
fn patterns_match() {
    for (pattern, text, fits) in [
        ("a", "a", true),
        ("a{number}b", "a12b", true),
        ("a{number}b", "ab", false),
        ("up {time}", "up 0:01", true),
        ("{any} x {any}", " x x y", true),
        ("{number} nodes{any}", "1 node", false),
        ("x{any}", "x", true),
        ("id {id}.", "id 0123456789abcdef.", true),
        ("id {id}.", "id 0123456789abcde.", false),
        ("{any} {id} {number}", "a: b 0123456789abcdef 7", true),
    ] {
        assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
    }
    assert_eq!(unescape("a\\x1bb"), b"a\x1bb");
    let roots = format!("{} x0123456789abcdef", "0123456789abcdef".repeat(4));
    assert_eq!(ids(&roots).next(), None, "the root of a file is no id");
}

#[test]
#[should_panic(expected = "line 4 is said by no program: `  two`")]
fn output_without_a_program_is_refused() {
    read("$ ann: ds-peer 0\n  one\n\n  two\n");
}
