//! On a terminal: prompts, questions, the progress line, and a reader who presses ^S.

use crate::place::{LIMIT, Place, answers_at_once, content, event, until};
use crate::support::skip;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const PROMPT: &str = "distrishare> ";

/// A program with a terminal in front of it.
pub(crate) struct Screen {
    pub(crate) child: Child,
    pub(crate) keys: File,
    seen: Arc<Mutex<String>>,
    /// How far the test has read.
    read: usize,
    /// Standard error, if that is no terminal.
    errors: Option<std::process::ChildStderr>,
}

fn terminal() -> Option<(OwnedFd, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).ok()?;
    grantpt(&master).ok()?;
    unlockpt(&master).ok()?;
    let name = ptsname(&master, Vec::new()).ok()?;
    let slave = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).ok()?;
    Some((master, slave))
}

impl Screen {
    /// A node at a terminal.
    fn start(test: &str, place: &Place, more: &[&str], errors: bool) -> Option<Screen> {
        Screen::of(test, place.command("bob", more), 60, errors)
    }

    /// Nothing, with a word, where there are no terminals.
    pub(crate) fn of(test: &str, mut command: Command, columns: u16, errors: bool) -> Option<Screen> {
        let Some((master, slave)) = terminal() else {
            skip(test, "no pseudo-terminals here");
            return None;
        };
        let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).expect("a terminal of ours");
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        command.stdin(end()).stdout(end()).stderr(if errors { end() } else { Stdio::piped() });
        let mut child = command.spawn().expect("it starts");
        drop((command, slave));
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut out, kept) = (File::from(master.try_clone().expect("a descriptor")), Arc::clone(&seen));
        thread::spawn(move || {
            let (mut part, mut held) = ([0; 4096], Vec::new());
            // An error is the end: the last one who had it open is gone.
            while let Ok(n @ 1..) = out.read(&mut part) {
                held.extend_from_slice(&part[..n]);
                // A read may end inside a character: the rest of it comes with the next one.
                let whole = match std::str::from_utf8(&held) {
                    Err(error) if error.error_len().is_none() => error.valid_up_to(),
                    _ => held.len(),
                };
                kept.lock().expect("no reader panics").push_str(&String::from_utf8_lossy(&held[..whole]));
                held.drain(..whole);
            }
        });
        let errors = child.stderr.take();
        Some(Screen { child, keys: File::from(master), seen, read: 0, errors })
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("it is open");
    }

    pub(crate) fn all(&self) -> String {
        self.seen.lock().expect("no reader panics").clone()
    }

    /// What is shown up to and with `wanted`, after what was seen before.
    #[track_caller]
    pub(crate) fn shows(&mut self, wanted: &str) -> String {
        let end = std::time::Instant::now() + LIMIT;
        loop {
            let all = self.all();
            if let Some(at) = all[self.read..].find(wanted) {
                let start = self.read;
                self.read += at + wanted.len();
                return all[start..self.read].to_owned();
            }
            assert!(
                std::time::Instant::now() < end,
                "`{wanted}` is not shown after\n{:?}",
                &all[self.read..]
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn port(&mut self) -> u16 {
        self.shows("listens on 127.0.0.1:");
        let line = self.shows("\r\n");
        line.trim_end().parse().expect("a port")
    }

    #[track_caller]
    pub(crate) fn ends(&mut self, status: i32) {
        let ended = until("its end", || self.child.try_wait().expect("our child"));
        assert_eq!(ended.code(), Some(status));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_person_is_asked_and_answered() {
    let Some(place) = Place::new("a person at a terminal") else { return };
    let Some(mut bob) = Screen::start("a person at a terminal", &place, &[], true) else { return };
    bob.port();
    bob.shows("type `help` for the commands");
    bob.shows(PROMPT);
    bob.press("nodes all\n");
    assert_eq!(bob.shows(PROMPT), format!("nodes all\r\nno node is known yet\r\n{PROMPT}"));
    bob.press("2.1\n");
    assert_eq!(bob.shows(PROMPT), format!("2.1\r\nno node is known yet\r\n{PROMPT}"));
    // What an alias lacks is asked for, one after another, as the original does.
    bob.press("3.4\n");
    assert_eq!(bob.shows("IP: "), "3.4\r\nIP: ");
    bob.press("127.0.0.1\n");
    assert_eq!(bob.shows("port: "), "127.0.0.1\r\nport: ");
    bob.press("1\n");
    assert_eq!(bob.shows("file name: "), "1\r\nfile name: ");
    bob.press("my 'file'\n");
    let answer = bob.shows(PROMPT);
    assert_eq!(
        answer,
        format!(
            "my 'file'\r\nerror: 127.0.0.1:1 refused the connection: is a node running there?\r\n{PROMPT}"
        )
    );
    // An empty answer takes the question back.
    bob.press("share\n");
    bob.shows("path: ");
    bob.press("\n");
    assert_eq!(bob.shows(PROMPT), format!("\r\n{PROMPT}"));
    bob.press("\u{4}");
    assert_eq!(bob.shows("\n"), "\r\n", "the shell's prompt gets a line of its own");
    bob.ends(0);
}

/// A server that has every file and sends it slowly, a piece at each of `pieces`.
fn slow(pieces: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for mut conn in listener.incoming().map_while(Result::ok) {
            let mut asked = [0; 4096];
            let n = conn.read(&mut asked).unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..n]);
            // As the original does with version 2.
            let answer = match asked.contains("\"search\"") {
                true => "FOUND",
                false if !asked.starts_with('{') => "ERROR: Formato de mensaje inválido. Se requiere JSON.",
                false => "",
            };
            if !answer.is_empty() {
                let _ = conn.write_all(answer.as_bytes());
                continue;
            }
            for _ in 0..pieces {
                let _ = conn.write_all(&[b'x'; 10_000]);
                thread::sleep(Duration::from_millis(100));
            }
        }
    });
    port
}

#[test]
fn the_progress_line_tells_how_far_it_is_and_goes_away() {
    let Some(place) = Place::new("the progress line") else { return };
    let Some(mut bob) = Screen::start("the progress line", &place, &[], true) else { return };
    let port = slow(8);
    bob.shows(PROMPT);
    bob.press(&format!("get 127.0.0.1 {port} song.ogg\n"));
    let line = bob.shows("/s ");
    let (_, progress) = line.rsplit_once("\r\x1b[K").expect("a line of its own");
    assert!(progress.starts_with("song.ogg  ") && progress.contains(" kB"), "{progress:?}");
    let rest = bob.shows(PROMPT);
    let (_, result) = rest.rsplit_once("\r\x1b[K").expect("the progress line is cleared");
    let expected = "downloaded song.ogg (80.0 kB, unverified: old protocol) to downloads/song.ogg\r\n";
    assert_eq!(result, format!("{expected}{PROMPT}"));
    // Beside other commands it would stand where one types.
    bob.press(&format!("get 127.0.0.1 {port} again.ogg &\n"));
    bob.shows(PROMPT);
    let rest = bob.shows("downloads/again.ogg\r\n");
    assert!(!rest.contains("/s "), "{rest:?}");
    bob.shows(PROMPT);
    bob.press("quit\n");
    bob.ends(0);
}

#[test]
fn a_program_is_told_of_progress_in_events() {
    let Some(place) = Place::new("progress events") else { return };
    let mut bob = place.node("bob", &[]);
    let events = bob.get(slow(8), "song.ogg");
    let progress = events.iter().filter(|event| event["event"] == "progress");
    let bytes: Vec<u64> = progress
        .map(|event| {
            assert!(event["name"] == "song.ogg" && event["size"].is_null(), "{event}");
            event["bytes"].as_u64().expect("a number")
        })
        .collect();
    assert!(bytes.len() >= 2 && bytes.is_sorted() && bytes.iter().all(|n| *n <= 80_000), "{bytes:?}");
    assert!(event(&events, "downloaded").is_some_and(|done| done["bytes"] == 80_000), "{events:?}");
}

#[test]
fn the_best_result_stands_next_to_the_prompt() {
    let Some(place) = Place::new("results at a terminal") else { return };
    for (name, seed) in [("tea", 1), ("tea and biscuits", 2), ("teapot", 3)] {
        place.write(&format!("ann/shared_files/{name}"), &content(seed, 5));
    }
    let mut ann = place.node("ann", &[]);
    ann.has_hashed(3);
    let Some(mut bob) = Screen::start("results at a terminal", &place, &[], true) else { return };
    bob.port();
    bob.shows(PROMPT);
    bob.press(&format!("browse 127.0.0.1:{}\n", ann.port));
    bob.shows("to download: get N");
    bob.shows(PROMPT);
    bob.press("search tea\n");
    let shown = bob.shows("to download: get N");
    let numbers = shown.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    assert_eq!(numbers.collect::<Vec<u32>>(), [3, 2, 1, 3], "three rows and `3 results from`: {shown}");
    bob.shows(PROMPT);
    bob.press("get 1\n");
    bob.shows("downloaded tea (5 B, verified)");
}

#[test]
fn escapes_are_for_terminals_only() {
    let Some(place) = Place::new("no terminal, no escapes") else { return };
    let test = "no terminal, no escapes";
    let Some(mut bob) = Screen::start(test, &place, &[], false) else { return };
    let port = slow(5);
    bob.press(&format!("get 127.0.0.1 {port} song.ogg\n"));
    bob.shows("downloads/song.ogg\r\n");
    bob.press("quit\n");
    let mut errors = String::new();
    bob.errors.take().expect("piped").read_to_string(&mut errors).expect("text");
    bob.ends(0);
    assert!(errors.contains("ready: ") && errors.contains(PROMPT), "{errors:?}");
    assert!(!errors.contains('\u{1b}') && !errors.contains("/s "), "{errors:?}");
    assert!(!bob.all().contains('\u{1b}'), "{:?}", bob.all());
}

#[test]
fn a_terminal_that_is_held_holds_up_nobody_else() {
    // hostile: 154
    let Some(place) = Place::new("^S") else { return };
    let Some(mut bob) = Screen::start("^S", &place, &[], true) else { return };
    let port = bob.port();
    bob.shows(PROMPT);
    bob.press("\u{13}");
    let help = "help\n".repeat(200);
    for _ in 0..20 {
        bob.press(&help);
        answers_at_once(port);
    }
    bob.press("\u{11}");
    bob.press("nodes all\n");
    bob.shows("no node is known yet");
    bob.shows(PROMPT);
    bob.press("quit\n");
    bob.ends(0);
}

#[test]
fn interrupted_at_the_prompt() {
    // hostile: 155
    let Some(place) = Place::new("^C") else { return };
    let Some(mut bob) = Screen::start("^C", &place, &[], true) else { return };
    bob.shows(PROMPT);
    let pid = rustix::process::Pid::from_child(&bob.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    assert_eq!(bob.shows("\n"), "\r\u{1b}[Kinterrupted\r\n", "in place of the prompt");
    bob.ends(130);
}
