//! `ds-peer ctl`: asks a node that runs, at the control socket in its state folder. What is said there is written down in
//! `proto/control.rs`; here is the program's side of it: lines to the node, frames to standard output and error.

use super::{Result, host, is_asked_for_help, refuse, refuse_option, show, values_apart, words, wrong};
use crate::config::ConsoleMode;
use crate::proto::command::append_argument;
use crate::proto::control::{Frame, Hello, Request};
use pico_args::Arguments;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write, stderr, stdin, stdout};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const PROGRAM: &str = "ds-peer ctl";

/// `ds-peer ctl --help`.
pub const CTL_HELP: &str = "\
ds-peer ctl: asks a node that is running, one with --daemon above all.

Usage: ds-peer ctl [OPTIONS] [PORT] COMMAND...
       ds-peer ctl [OPTIONS] [PORT]
       ds-peer ctl [OPTIONS] [PORT] events

  COMMAND                 a command of the console, such as status, search,
                          get or quit: `ds-peer ctl help` lists them
  PORT                    the node that was started with this port: a number
                          from 100 on                          [default: 9000]
                          Without a COMMAND lines are read from standard input,
                          as a node itself reads them.
  events                  show all that happens there, until it ends

      --state DIR         the node with this state folder, in place of PORT
      --json              results as one JSON object a line
      --keep-going        a script goes on after a command that failed
  -h, --help              show this

Results, exit status and the end of a script at its first failure are as if the
node had read the commands itself. Where ctl is stopped the downloads it began
go on. Only who runs the node (and root) may ask it.

Exit status: that of the first command that failed, 5 refused, 6 no such node.
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    state: PathBuf,
    json: bool,
    keep_going: bool,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Line(String),
    Events,
    /// Whatever is read from standard input.
    Input,
}

/// Carries out what stands behind `ds-peer ctl`, and gives the exit status.
pub fn run(args: Vec<OsString>) -> ExitCode {
    if is_asked_for_help(&args) {
        return show(CTL_HELP);
    }
    let wanted = match parse(args) {
        Ok(wanted) => wanted,
        Err(error) => return refuse(PROGRAM, &error),
    };
    match connect(&wanted.state) {
        Ok(node) => talk(node, &wanted),
        Err(error) => failed(not_reached(&wanted.state, &error)),
    }
}

/// Has a node that was connected to carry out one line.
pub(super) fn ask(node: UnixStream, json: bool, line: String) -> ExitCode {
    let wanted = Wanted { state: PathBuf::new(), json, keep_going: false, what: What::Line(line) };
    talk(node, &wanted)
}

fn talk(node: UnixStream, wanted: &Wanted) -> ExitCode {
    match Talk::new(node, wanted).and_then(Talk::run) {
        Ok(status) => ExitCode::from(status),
        Err(Ended::Node) => {
            failed((6, "the node hung up: it ended, or too many programs ask it at once".to_owned()))
        }
        // Who reads no more wants no more.
        Err(Ended::Io(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Ended::Io(error)) => failed((12, error.to_string())),
    }
}

fn failed((status, problem): (u8, String)) -> ExitCode {
    let _ = writeln!(stderr(), "{PROGRAM}: {problem}");
    ExitCode::from(status)
}

fn parse(args: Vec<OsString>) -> Result<Wanted> {
    let mut args = Arguments::from_vec(values_apart(args, CTL_HELP));
    let state = super::path(&mut args, "--state")?;
    let (json, keep_going) = (args.contains("--json"), args.contains("--keep-going"));
    let mut words = words(args)?;
    refuse_option(words.first())?;
    let is_port = |word: &String| word.parse::<u16>().is_ok_and(|port| port >= 100);
    let port = if words.first().is_some_and(is_port) { Some(words.remove(0)) } else { None };
    if state.is_some() && port.is_some() {
        return wrong("a port and --state both name a node: give one of them");
    }
    let state = host::state_folder(state, port.as_deref().unwrap_or("9000"))?;
    let what = match words.as_slice() {
        [] => What::Input,
        [only] if only == "events" => What::Events,
        words => What::Line(line_of(words)),
    };
    Ok(Wanted { state, json, keep_going, what })
}

/// The line that these words of a shell's mean: one word is the whole line, of several each is one word there, too.
pub(super) fn line_of(words: &[String]) -> String {
    let Some((verb, arguments)) = words.split_first() else { return String::new() };
    // What is searched for is a language of its own, quotes and all.
    if verb.eq_ignore_ascii_case("search") {
        return words.join(" ");
    }
    arguments.iter().fold(verb.clone(), |line, word| {
        let is_plain = !word.is_empty() && !word.contains([' ', '\t', '"', '\'', '\\', '&']);
        if is_plain { format!("{line} {word}") } else { append_argument(&line, word) }
    })
}

/// The control socket of the node with this state folder. The folder's path may be longer than a socket's address.
pub(super) fn connect(state: &Path) -> io::Result<UnixStream> {
    let folder = File::open(state)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join("control");
    UnixStream::connect(path)
}

/// The exit status and why.
fn not_reached(state: &Path, error: &io::Error) -> (u8, String) {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            let advice = "start one, or name its port (`ds-peer ctl PORT ...`) or its folder (--state DIR)";
            (6, format!("no node is running with the state folder {state:?}: {advice}"))
        }
        ErrorKind::PermissionDenied => {
            (5, format!("the node with the state folder {state:?} is another user's"))
        }
        _ => (6, format!("the node with the state folder {state:?} cannot be asked: {error}")),
    }
}

/// Why there is no exit status.
enum Ended {
    /// The node hung up without a word.
    Node,
    Io(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Io(error)
    }
}

/// Bytes for the node beyond which no more lines are read.
const UNSENT_MAX: usize = 64 << 10;

/// One conversation.
struct Talk {
    node: UnixStream,
    /// Lines are still to come from standard input.
    reads: bool,
    /// What was read of a line.
    line: Vec<u8>,
    unsent: Vec<u8>,
    /// The node is to be told that this is all, once it is sent.
    is_all: bool,
    heard: Vec<u8>,
}

impl Talk {
    fn new(node: UnixStream, wanted: &Wanted) -> std::result::Result<Talk, Ended> {
        node.set_nonblocking(true)?;
        let reads = wanted.what == What::Input;
        let hello = Hello {
            json: wanted.json,
            terminal: reads && host::console_mode() == ConsoleMode::Terminal,
            columns: host::columns(stderr()),
            keep_going: wanted.keep_going,
        };
        let mut unsent = Request::Hello(hello).line();
        match &wanted.what {
            What::Line(line) => unsent.push_str(&Request::Line(line.clone()).line()),
            What::Events => unsent.push_str(&Request::Events {}.line()),
            What::Input => {}
        }
        let is_all = matches!(wanted.what, What::Line(_));
        Ok(Talk { node, reads, line: Vec::new(), unsent: unsent.into_bytes(), is_all, heard: Vec::new() })
    }

    /// Until the node says that it is over: the exit status.
    fn run(mut self) -> std::result::Result<u8, Ended> {
        loop {
            let (reads, sends) = (self.reads && self.unsent.len() < UNSENT_MAX, !self.unsent.is_empty());
            let input = stdin();
            let wanted = if sends { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            let mut ready = vec![PollFd::new(&self.node, wanted)];
            if reads {
                ready.push(PollFd::new(&input, PollFlags::IN));
            }
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Ended::Io(errno.into())),
            }
            let said = ready.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>();
            if said.get(1) == Some(&true) {
                self.read_input()?;
            }
            self.send()?;
            if said[0] {
                if let Some(status) = self.hear()? {
                    return Ok(status);
                }
            }
        }
    }

    /// Lines of standard input become requests.
    fn read_input(&mut self) -> io::Result<()> {
        let mut part = [0; 4096];
        let n = match rustix::io::read(stdin(), &mut part) {
            Ok(n) => n,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        for byte in &part[..n] {
            match byte {
                b'\n' => self.end_line(),
                byte => self.line.push(*byte),
            }
        }
        if n == 0 {
            if !self.line.is_empty() {
                self.end_line();
            }
            (self.reads, self.is_all) = (false, true);
        }
        Ok(())
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        self.unsent.extend(Request::Line(line).line().bytes());
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.node.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It hung up: what it said last is still to be read.
                Err(_) => self.unsent.clear(),
            }
        }
        if std::mem::take(&mut self.is_all) {
            let _ = self.node.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// What the node says: shown as it comes. Its last word is the exit status.
    fn hear(&mut self) -> std::result::Result<Option<u8>, Ended> {
        let mut part = [0; 1 << 14];
        let n = match self.node.read(&mut part) {
            Ok(0) => return Err(Ended::Node),
            Ok(n) => n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(_) => return Err(Ended::Node),
        };
        self.heard.extend_from_slice(&part[..n]);
        let whole = self.heard.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.heard.split_off(whole);
        let lines = std::mem::replace(&mut self.heard, rest);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            match Frame::parse(line) {
                Some(Frame::Out(text)) => show_now(&mut stdout(), text.as_bytes())?,
                Some(Frame::Err(text)) => show_now(&mut stderr(), text.as_bytes())?,
                Some(Frame::Ended(status)) => return Ok(Some(status)),
                // An event.
                None => show_now(&mut stdout(), line)?,
            }
        }
        Ok(None)
    }
}

fn show_now(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Wanted> {
        parse(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn a_port_is_told_from_a_number_of_the_menu() {
        let line = |words: &[&str]| match parsed(words).map(|wanted| (wanted.state, wanted.what)) {
            Ok((state, What::Line(line))) => (state.ends_with("9001"), line),
            other => panic!("{other:?}"),
        };
        assert_eq!(line(&["--state", "x", "status"]), (false, "status".to_owned()));
        assert_eq!(
            line(&["9001", "search", "song", "-live", "--json"]),
            (true, "search song -live".to_owned())
        );
        assert_eq!(line(&["9001", "status"]), (true, "status".to_owned()));
        assert_eq!(line(&["--state", "x", "2", "10.0.0.1", "8000"]), (false, "2 10.0.0.1 8000".to_owned()));
        let what = |words: &[&str]| parsed(words).map(|wanted| wanted.what);
        assert_eq!(what(&["9001"]).unwrap(), What::Input);
        assert_eq!(what(&["9001", "events"]).unwrap(), What::Events);
        for bad in [&["--state", "x", "9001", "status"][..], &["--nothing"], &["--state"]] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_of_a_shell_stay_words() {
        let line = |words: &[&str]| line_of(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(line(&["get", "1", "3"]), "get 1 3");
        assert_eq!(line(&["get", "10.0.0.5", "9000", "my file.txt"]), "get 10.0.0.5 9000 'my file.txt'");
        assert_eq!(line(&["get", "don't"]), "get \"don't\"");
        assert_eq!(line(&["get", "a", "&"]), "get a '&'");
        assert_eq!(line(&["get 1 &"]), "get 1 &");
        assert_eq!(line(&["search", "\"a b\"", "ext:mp3"]), "search \"a b\" ext:mp3");
    }
}
