//! What needs a process of its own: signals, descriptor limits, tiny disks. The test binary runs itself with a filter.

use crate::toys::{Home, PATIENCE, answers, connect, file, line, names_in, noise, run, server};
use distrishare::config::Limits;
use distrishare::machine::{Fault, Input, Output};
use distrishare::reactor::Reactor;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const MARK: &str = "DISTRISHARE_TEST_CHILD";

fn is_child() -> bool {
    std::env::var_os(MARK).is_some()
}

fn command(name: &str, wrapper: Option<&str>) -> Command {
    let this = std::env::current_exe().expect("a path");
    let mut command = match wrapper {
        None => Command::new(this),
        Some(wrapper) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("exec {wrapper} \"$0\" \"$@\"")]).arg(this);
            shell
        }
    };
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(MARK, "1");
    command
}

/// Runs `test` in a child under `wrapper`, or says that the machine does not allow it.
pub fn in_child_with(name: &str, wrapper: &str, test: impl Fn()) {
    if is_child() {
        println!("child runs");
        return test();
    }
    let output = command(name, Some(wrapper)).output().expect("a shell");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        assert!(text.contains("child runs") && text.contains("1 passed"), "{text}");
    } else {
        assert!(!text.contains("child runs"), "{text}");
        println!("SKIPPED {name}: `{wrapper}` is not allowed here: {}", text.trim());
    }
}

/// A child that printed what it had to say first.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(name: &str) -> Running {
        let mut child = command(name, None).stdout(Stdio::piped()).spawn().expect("a child");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Running { child, out }
    }

    /// What follows `word` on the line that has it.
    fn after(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.out.read_line(&mut line).expect("a line") > 0, "the child ended before {word:?}");
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("signalled");
    }

    fn wait(mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("waits") {
                return status;
            }
            if Instant::now() >= end {
                let _ = self.child.kill();
                panic!("the child does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_first_signal_is_told_and_the_second_ends_at_once() {
    // hostile: 155, 192
    let name = "children::the_first_signal_is_told_and_the_second_ends_at_once";
    if is_child() {
        return tell_signals();
    }
    let mut polite = Running::start(name);
    polite.after("ready");
    polite.signal(Signal::HUP);
    assert_eq!(polite.after("told "), "Hangup");
    polite.signal(Signal::HUP); // the terminal's end is no hurry
    assert_eq!(polite.after("told "), "Hangup");
    polite.signal(Signal::STOP);
    polite.signal(Signal::CONT);
    polite.signal(Signal::INT);
    assert_eq!(polite.after("told "), "Interrupt");
    polite.after("busy");
    polite.signal(Signal::TERM);
    assert_eq!(polite.child.wait().expect("ends").code(), Some(143), "even while the loop is busy");

    let mut twice = Running::start(name);
    twice.after("ready");
    twice.signal(Signal::TERM);
    assert_eq!(twice.after("told "), "Terminate");
    twice.signal(Signal::INT);
    assert_eq!(twice.child.wait().expect("ends").code(), Some(130));
}

fn tell_signals() {
    let home = Home::new();
    let mut reactor = home.reactor(&Limits::desktop());
    reactor.handle_signals().expect("handled");
    run(reactor, vec![], |_, input| match input {
        Some(Input::WallClock(_)) => println!("ready"),
        Some(Input::Signal(signal)) => {
            println!("told {signal:?}");
            if signal != distrishare::machine::Signal::Hangup {
                println!("busy");
                std::thread::sleep(PATIENCE); // as a disk that does not answer
            }
        }
        _ => {}
    });
}

#[test]
fn clients_that_wait_for_descriptors_get_in_when_some_are_free() {
    // hostile: 184
    let name = "children::clients_that_wait_for_descriptors_get_in_when_some_are_free";
    if is_child() {
        return serve_with_few_descriptors();
    }
    let mut child = Running::start(name);
    let addr = child.after("listening ").parse().expect("an address");
    let ask = |_| {
        let mut stream = connect(addr);
        stream.write_all(b"HOLD\n").expect("sent");
        stream
    };
    let mut clients: Vec<_> = (0..60).map(ask).collect();
    let mut held = 0;
    for client in &mut clients {
        client.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
        let mut reply = [0; 5];
        if client.read_exact(&mut reply).is_err() {
            break;
        }
        held += 1;
    }
    assert!((5..40).contains(&held), "{held}");
    let waiting = clients.split_off(held);
    let freed = Instant::now();
    drop(clients);
    for client in &waiting[..held.min(waiting.len())] {
        client.set_read_timeout(Some(PATIENCE)).expect("set");
        assert_eq!(line(client), "held\n");
    }
    let took = freed.elapsed();
    assert!(took < Duration::from_millis(900), "{took:?}");
    drop(waiting);
    let mut quit = connect(addr);
    quit.write_all(b"QUIT\n").expect("sent");
    let polls: u64 = child.after("polls ").parse().expect("a number");
    assert!(polls < 1000, "it span: {polls}");
    assert!(child.wait().success());
}

fn serve_with_few_descriptors() {
    let limit = Rlimit { current: Some(40), maximum: Some(40) };
    setrlimit(Resource::Nofile, limit).expect("lowered");
    let home = Home::new();
    let mut reactor = home.reactor(&Limits::desktop());
    let (addr, seen) = mpsc::channel();
    let (_go_on, stall) = mpsc::channel();
    let printer = std::thread::spawn(move || println!("listening {}", seen.recv().expect("an address")));
    reactor.run(&mut server(addr, stall)).expect("runs");
    printer.join().expect("ends");
    assert!(reactor.stats().accept_errors > 0);
    println!("polls {}", reactor.stats().polls);
}

#[test]
fn a_full_disk_fails_the_file_and_frees_the_space() {
    // hostile: 156, 157
    let name = "children::a_full_disk_fails_the_file_and_frees_the_space";
    let wrapper = "unshare -m sh -c 'mount -t tmpfs -o size=2m tmpfs /mnt && exec \"$0\" \"$@\"'";
    in_child_with(name, wrapper, || {
        let home = Home::new();
        std::os::unix::fs::symlink("/mnt", home.at("downloads")).expect("a link");
        std::os::unix::fs::symlink("/mnt/shared", home.at("shared")).expect("a link");
        std::fs::create_dir("/mnt/shared").expect("a folder");
        let served = crate::toys::Running::start(&home, &Limits::desktop());
        for _ in 0..3 {
            let mut stream = served.ask("PUT");
            let content = noise(6 << 20);
            let _ = stream.write_all(&content);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            assert_eq!(line(&stream), "failed no space left on the disk\n");
            assert_eq!(names_in("/mnt/.parts".as_ref()), [""; 0]);
        }
        served.stop();
        std::fs::write(home.at("source"), noise(6 << 20)).expect("a file");
        let import = Output::ImportFile { file: file(1), source: home.at("source"), name: "copy".into() };
        let failed = crate::toys::Answer::Failed(Fault::NoSpace, true);
        assert_eq!(answers(home.reactor(&Limits::desktop()), vec![import], 1), [failed]);
        assert_eq!(names_in("/mnt/shared".as_ref()), [""; 0]);
    });
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_not_the_end() {
    // hostile: 158
    let name = "children::a_limit_on_file_sizes_is_an_error_and_not_the_end";
    if !is_child() {
        let output = command(name, None).output().expect("a child");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let home = Home::new();
    std::fs::write(home.at("source"), noise(4 << 20)).expect("a file");
    let limit = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
    setrlimit(Resource::Fsize, limit).expect("lowered");
    let mut reactor = home.reactor(&Limits::desktop());
    reactor.handle_signals().expect("handled");
    let import = Output::ImportFile { file: file(1), source: home.at("source"), name: "copy".into() };
    let failed = crate::toys::Answer::Failed(Fault::TooLarge, true);
    assert_eq!(answers(reactor, vec![import], 1), [failed]);
}

#[test]
fn unfinished_downloads_on_another_mount_are_refused_at_start() {
    // hostile: 164
    let name = "children::unfinished_downloads_on_another_mount_are_refused_at_start";
    in_child_with(name, "unshare -m", || {
        // Another file system, and the same one mounted a second time: a rename works into neither.
        for (i, mount) in ["-t tmpfs tmpfs", "--bind elsewhere"].into_iter().enumerate() {
            let home = Home::new();
            std::fs::create_dir_all(home.at("downloads/.parts")).expect("folders");
            std::fs::create_dir_all(home.at("elsewhere")).expect("a folder");
            let mut command = Command::new("mount");
            let status =
                command.args(mount.split(' ')).arg("downloads/.parts").current_dir(home.at(".")).status();
            assert!(status.expect("mount runs").success());
            let refused = Reactor::new(&home.folders(), &Limits::desktop());
            let text = refused.err().unwrap_or_else(|| panic!("{i}: accepted")).to_string();
            assert!(text.contains("another file system") && text.contains("--downloads"), "{text}");
            let mut umount = Command::new("umount");
            assert!(umount.arg(home.at("downloads/.parts")).status().expect("runs").success());
        }
    });
}
