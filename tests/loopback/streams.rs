//! Standard input, output and error as files, pipes and nothing.

use crate::place::{Place, answers_at_once, cpu_time, event, pid, proc_status, until};
use crate::support::Program;
use rustix::process::{Signal, kill_process};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

/// A node whose streams are ours; its first line of output is read.
struct Bare {
    child: Child,
    port: u16,
}

/// The port that the first line names. What follows stays in the pipe.
fn port_in(out: &mut impl Read) -> u16 {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') {
        out.read_exact(&mut byte).expect("a line");
        line.extend(byte);
    }
    let ready: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
    ready["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port")
}

impl Bare {
    fn start(place: &Place, stdin: Stdio, more: &[&str]) -> Bare {
        let mut command = place.command("bob", &["--json", "--keep-going"]);
        command.args(more).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let out = child.stdout.as_mut().expect("piped");
        let port = port_in(out);
        Bare { child, port }
    }

    fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut rest).expect("text");
        rest
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_file_is_read_in_slices() {
    // hostile: 148, 152
    let Some(place) = Place::new("a file as input") else { return };
    place.write("bob/commands", "wait 0\n".repeat(3000).as_bytes());
    let input = File::open(place.path("bob/commands")).expect("a file of ours");
    let mut node = Bare::start(&place, Stdio::from(input), &[]);
    let rest = node.rest();
    assert_eq!(rest.lines().count(), 3000, "{rest}");
    assert!(node.child.wait().expect("our child").success());
}

#[test]
fn without_anybody_to_talk_to_it_is_a_daemon() {
    // hostile: 148, 149
    let Some(place) = Place::new("/dev/null as input") else { return };
    for more in [&[][..], &["--daemon"]] {
        let mut node = Bare::start(&place, Stdio::null(), more);
        answers_at_once(node.port);
        let id = rustix::process::Pid::from_child(&node.child);
        let before = cpu_time(id);
        thread::sleep(Duration::from_secs(1));
        let used = cpu_time(id) - before;
        assert!(used < Duration::from_millis(100), "{used:?} of a second while nothing happens");
        kill_process(id, Signal::TERM).expect("it runs");
        assert!(node.child.wait().expect("our child").success());
    }
}

#[test]
fn a_daemon_does_not_read_its_input() {
    // hostile: 149
    let Some(place) = Place::new("a daemon's input") else { return };
    let mut node = place.node("bob", &["--daemon"]);
    node.console.program.tell("quit");
    node.console.program.end_input();
    answers_at_once(node.port);
    node.signal(Signal::TERM);
    assert_eq!(node.ended(Duration::from_secs(2)), Some(0));
}

#[test]
fn the_end_of_input_costs_nothing_while_a_command_runs() {
    // hostile: 149
    let Some(place) = Place::new("the end of input") else { return };
    let mut node = place.node("bob", &[]);
    let before = cpu_time(node.pid());
    node.console.program.tell("wait 1.5");
    node.console.program.end_input();
    thread::sleep(Duration::from_secs(1));
    let used = cpu_time(node.pid()) - before;
    assert!(used < Duration::from_millis(100), "{used:?} of a second at the end of input");
    assert_eq!(node.console.event("done")["command"], "wait");
    assert_eq!(node.ended(Duration::from_secs(2)), Some(0));
}

#[test]
fn a_line_without_end_is_left_out_and_not_kept() {
    // hostile: 150
    let Some(place) = Place::new("a long line") else { return };
    let mut node = place.node("bob", &[]);
    node.run("status");
    let before = proc_status(node.pid(), "VmRSS").expect("it runs");
    let events = node.run(&"x".repeat(10_000_000));
    let error = event(&events, "error").expect("an error");
    assert_eq!(error["code"], "usage");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("4096")), "{error}");
    let after = proc_status(node.pid(), "VmRSS").expect("it runs");
    assert!(after < before + 2000, "from {before} to {after} KiB");
    assert!(event(&node.run("status"), "status").is_some(), "the next line is a command again");
}

#[test]
fn what_is_no_text_is_refused() {
    // hostile: 151
    let Some(place) = Place::new("input that is no text") else { return };
    let mut node = Bare::start(&place, Stdio::piped(), &[]);
    let mut input = node.child.stdin.take().expect("piped");
    input.write_all(b"sta\0tus\n\xff\xfe\nsearch \x1b[2J\n\x1b]0;x\x07\nstatus\n").expect("it reads");
    drop(input);
    let rest = node.rest();
    assert_eq!(rest.matches("\"code\":\"usage\"").count(), 4, "{rest}");
    assert!(rest.contains("\"event\":\"status\"") && !rest.contains(['\u{1b}', '\u{7}']), "{rest}");
    assert_eq!(node.child.wait().expect("our child").code(), Some(2));
}

#[test]
fn a_thousand_lines_at_once_do_not_keep_the_network_waiting() {
    // hostile: 152
    let Some(place) = Place::new("many lines") else { return };
    let mut node = Bare::start(&place, Stdio::piped(), &[]);
    let mut input = node.child.stdin.take().expect("piped");
    let mut output = node.child.stdout.take().expect("piped");
    let typing = thread::spawn(move || {
        input.write_all("help\n".repeat(1000).as_bytes()).expect("it reads");
        input
    });
    let reading = thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).expect("text");
        text
    });
    for _ in 0..20 {
        answers_at_once(node.port);
    }
    drop(typing.join().expect("typed"));
    let text = reading.join().expect("read");
    assert_eq!(text.matches("{\"event\":\"done\",\"command\":\"help\",\"op\":").count(), 1000);
}

#[test]
fn a_script_whose_output_nobody_reads_waits_and_the_node_goes_on() {
    // hostile: 154
    let Some(place) = Place::new("a full pipe") else { return };
    let mut node = Bare::start(&place, Stdio::piped(), &[]);
    let mut input = node.child.stdin.take().expect("piped");
    let typing = thread::spawn(move || input.write_all("help\n".repeat(2000).as_bytes()).expect("it reads"));
    let id = rustix::process::Pid::from_child(&node.child);
    let before = proc_status(id, "VmRSS").expect("it runs");
    // Once the pipe and what may wait behind it are full, nothing moves any more.
    until("a standstill", || {
        let before = cpu_time(id);
        thread::sleep(Duration::from_millis(200));
        (cpu_time(id) == before).then_some(())
    });
    answers_at_once(node.port);
    let after = proc_status(id, "VmRSS").expect("it runs");
    assert!(after < before + 8000, "from {before} to {after} KiB");
    let rest = node.rest();
    typing.join().expect("typed");
    assert_eq!(
        rest.matches("{\"event\":\"done\",\"command\":\"help\",\"op\":").count(),
        2000,
        "a script loses nothing"
    );
    assert!(node.child.wait().expect("our child").success());
}

/// A node whose script is one listing of many files and then over, and whose output nobody reads: it stands still.
fn listing_for_nobody(place: &Place) -> Bare {
    for i in 0..3000 {
        place.write(&format!("bob/shared_files/{i:04} with a name of some length"), b"");
    }
    let mut node = Bare::start(place, Stdio::piped(), &[]);
    let mut input = node.child.stdin.take().expect("piped");
    input.write_all(b"files\n").expect("it reads");
    drop(input);
    let id = rustix::process::Pid::from_child(&node.child);
    until("a standstill", || {
        let before = cpu_time(id);
        thread::sleep(Duration::from_millis(200));
        (cpu_time(id) == before).then_some(())
    });
    node
}

#[test]
fn a_script_that_is_over_waits_for_who_reads_it() {
    // hostile: 154
    let Some(place) = Place::new("a slow reader at the end") else { return };
    let mut node = listing_for_nobody(&place);
    // Longer than anybody who does not wait for it would take.
    thread::sleep(Duration::from_millis(1500));
    assert!(node.child.try_wait().expect("our child").is_none());
    assert_eq!(node.rest().matches("{\"event\":\"file\"").count(), 3000);
    assert!(node.child.wait().expect("our child").success());

    // Not when it is told to end.
    let mut node = listing_for_nobody(&place);
    let id = rustix::process::Pid::from_child(&node.child);
    kill_process(id, Signal::TERM).expect("it runs");
    until("its end", || node.child.try_wait().expect("our child"));
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    // hostile: 154
    let Some(place) = Place::new("a full log") else { return };
    let mut command = place.command("bob", &["--json", "--log-level", "trace", "--daemon"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().expect("it starts");
    let port = port_in(child.stdout.as_mut().expect("piped"));
    for _ in 0..3000 {
        answers_at_once(port);
    }
    child.kill().expect("it runs");
    child.wait().expect("our child");
}

#[test]
fn output_that_is_gone_ends_a_script_and_not_in_a_panic() {
    let Some(place) = Place::new("output that is gone") else { return };
    let mut node = Bare::start(&place, Stdio::piped(), &[]);
    drop(node.child.stdout.take());
    let mut input = node.child.stdin.take().expect("piped");
    // It may be gone before it has read all of it.
    let _ = input.write_all(b"help\nfiles\n");
    drop(input);
    let status = until("its end", || node.child.try_wait().expect("our child"));
    assert!(status.code().is_some(), "no signal: {status:?}");
}

#[test]
fn closed_descriptors_are_survived() {
    let Some(place) = Place::new("closed descriptors") else { return };
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let node = place.command("bob", &[]);
        let mut shell = std::process::Command::new("sh");
        let line = format!(
            "printf 'files\\nquit\\n' | exec {} 127.0.0.1 0 --state state {closed}",
            node.get_program().to_string_lossy()
        );
        // A closed input is an empty one; so it is with /dev/null in its place.
        let line =
            if closed.starts_with("<&-") { line.replace("printf 'files\\nquit\\n' | ", "") } else { line };
        shell.args(["-c", &line]).current_dir(place.path("bob"));
        let mut program = Program::start(closed, &mut shell);
        program.end_input();
        if closed.starts_with("<&-") {
            let id = pid(&program);
            until("its start", || place.names("bob").contains(&"downloads".to_owned()).then_some(()));
            // It ends by itself or is a daemon that ends when told.
            thread::sleep(Duration::from_millis(200));
            let _ = kill_process(id, Signal::TERM);
        }
        let status = program.ended(Duration::from_secs(10));
        assert!(status.is_some_and(|status| status <= 12), "{closed}: {status:?}\n{}", program.heard());
    }
}

#[test]
fn results_that_are_lost_are_no_success() {
    // hostile: 154
    let Some(place) = Place::new("a full disk behind the results") else { return };
    let run = |input: Stdio, output: &str| {
        let mut command = place.command("bob", &[]);
        let output = File::options().write(true).open(output).expect("a device");
        let mut child =
            command.stdin(input).stdout(output).stderr(Stdio::piped()).spawn().expect("it starts");
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(b"files\n").expect("it reads");
        }
        let done = child.wait_with_output().expect("it ends");
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (status, said) = run(Stdio::piped(), "/dev/full");
    assert!(status == Some(9) && said.contains("output: no space left"), "{status:?}: {said}");
    let folder = File::open(place.path("")).expect("a folder of ours");
    let (status, said) = run(Stdio::from(folder), "/dev/null");
    assert!(status == Some(12) && said.contains("input or output: not a regular file"), "{status:?}: {said}");
    assert_eq!(run(Stdio::piped(), "/dev/null").0, Some(0));
}
