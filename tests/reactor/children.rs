//! What needs a process of its own: signals, descriptor limits, tiny disks. The test binary runs itself with a filter.

use crate::parts::{append, close, create, cycle, journal, log, open, part, sender, sync};
use crate::toys::{Answer, Home, PATIENCE, answers, conn, connect, file, line, names_in, noise, run, server};
use distrishare::config::Limits;
use distrishare::machine::{Fault, Input, Output};
use distrishare::reactor::Reactor;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use std::fs;
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
    /// Its temporary files: one that a signal ends removes none.
    _temp: tempfile::TempDir,
}

impl Running {
    fn start(name: &str) -> Running {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let mut command = command(name, None);
        let mut child = command.env("TMPDIR", temp.path()).stdout(Stdio::piped()).spawn().expect("a child");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Running { child, out, _temp: temp }
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
        fs::create_dir("/mnt/shared").expect("a folder");
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
        fs::write(home.at("source"), noise(6 << 20)).expect("a file");
        let import = Output::Import { file: file(1), source: home.at("source"), name: "copy".into(), max: 9 };
        let failed = crate::toys::Answer::Failed(Fault::NoSpace, true);
        assert_eq!(answers(home.reactor(&Limits::desktop()), vec![import], 1), [failed]);
        assert_eq!(names_in("/mnt/shared".as_ref()), [""; 0]);
    });
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_not_the_end() {
    // hostile: 158
    let name = "children::a_limit_on_file_sizes_is_an_error_and_not_the_end";
    in_child(name, || {
        let home = Home::new();
        fs::write(home.at("source"), noise(4 << 20)).expect("a file");
        let limit = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
        setrlimit(Resource::Fsize, limit).expect("lowered");
        let mut reactor = home.reactor(&Limits::desktop());
        reactor.handle_signals().expect("handled");
        let import = Output::Import { file: file(1), source: home.at("source"), name: "copy".into(), max: 9 };
        assert_eq!(answers(reactor, vec![import], 1), [Answer::Failed(Fault::TooLarge, true)]);
    });
}

#[test]
fn unfinished_downloads_on_another_mount_are_refused_at_start() {
    // hostile: 164
    let name = "children::unfinished_downloads_on_another_mount_are_refused_at_start";
    in_child_with(name, "unshare -m", || {
        // Another file system, and the same one mounted a second time: a rename works into neither.
        for (i, mount) in ["-t tmpfs tmpfs", "--bind elsewhere"].into_iter().enumerate() {
            let home = Home::new();
            fs::create_dir_all(home.at("downloads/.parts")).expect("folders");
            fs::create_dir_all(home.at("elsewhere")).expect("a folder");
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

/// Runs `test` in a child of its own, without any privilege.
fn in_child(name: &str, test: impl Fn()) {
    if is_child() {
        return test();
    }
    let output = command(name, None).output().expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Opens the part, stores `content` in it from `offset` on as far as that goes, syncs it and leaves. Gives the bytes
/// that were told as stored, and what failed.
fn store(reactor: Reactor, content: &[u8], offset: u64) -> (usize, Option<(Fault, bool)>) {
    let (addr, thread) = sender(content.to_vec());
    let (mut stored, mut failed) = (0, None);
    run(reactor, vec![open(1, &part())], |script, input| {
        match input {
            Some(Input::FileOpened { .. }) => {
                script.store = Some((file(1), offset));
                script.push(Output::Connect { conn: conn(1), addr });
            }
            Some(Input::FileFailed { fault, fatal, .. }) => {
                failed = Some((fault, fatal));
                script.push(Output::Close { conn: conn(1), reset: true });
                script.push(sync(1));
            }
            Some(Input::Eof { .. }) => script.push(sync(1)),
            Some(Input::FileSynced { .. }) => script.exit(),
            _ => {}
        }
        stored = script.stored;
    });
    thread.join().expect("sent");
    (stored, failed)
}

#[test]
fn a_disk_that_fills_keeps_what_was_stored_and_goes_on_when_there_is_room() {
    // hostile: 156
    let name = "children::a_disk_that_fills_keeps_what_was_stored_and_goes_on_when_there_is_room";
    let wrapper = "unshare -m sh -c 'mount -t tmpfs -o size=4m tmpfs /mnt && exec \"$0\" \"$@\"'";
    in_child_with(name, wrapper, || {
        let home = Home::new();
        std::os::unix::fs::symlink("/mnt", home.at("downloads")).expect("a link");
        let reactor = || home.reactor(&Limits::desktop());
        let content = noise(2 << 20);
        for pages in [0, 1, 15, 16, 17, 255, 256, 300] {
            // The disk's reserve is larger than all of it: nothing is set aside, and the length is that of what is there.
            let begin = vec![create(1, &part(), 2 << 20), log(2, &journal()), append(2, b"head")];
            assert_eq!(cycle(&home, begin).0[0], Answer::Opened(0));
            let free = rustix::fs::statvfs("/mnt").expect("a disk");
            let filler = (free.f_bavail - pages) * free.f_frsize;
            fs::write("/mnt/filler", vec![7; usize::try_from(filler).expect("small")]).expect("a file");

            let room = usize::try_from(pages * free.f_frsize).expect("small");
            let full = Some((Fault::NoSpace, false));
            assert_eq!(store(reactor(), &content, 0), (room, full), "{pages} pages");
            assert_eq!(names_in("/mnt/.parts".as_ref()), [journal(), part()]);
            assert!(!home.at("downloads/x").exists());

            fs::remove_file("/mnt/filler").expect("removed");
            let rest = store(reactor(), &content[room..], room as u64);
            assert_eq!(rest, (content.len() - room, None));
            let commit = Output::CommitFile { file: file(1), name: "x".into() };
            let (seen, _) = cycle(&home, vec![open(1, &part()), commit]);
            assert_eq!(seen[1], Answer::Committed("x".into(), 2 << 20));
            assert!(fs::read("/mnt/x").expect("reads") == content);
            fs::remove_file("/mnt/x").expect("removed");
        }
    });
}

#[test]
fn a_write_cut_at_any_byte_is_told_to_the_byte() {
    // hostile: 156, 158, 160
    in_child("children::a_write_cut_at_any_byte_is_told_to_the_byte", || {
        let home = Home::new();
        let content = noise(300_000);
        let limit = |bytes| {
            setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum: None }).expect("set");
        };
        for at in [1, 4095, 4096, 4097, 65_535, 65_536, 131_073, 299_999] {
            limit(None);
            cycle(&home, vec![create(1, &part(), 0), log(2, &journal()), append(2, b"head")]);
            let mut reactor = home.reactor(&Limits::desktop());
            reactor.handle_signals().expect("handled");
            limit(Some(at));
            let cut = usize::try_from(at).expect("small");
            assert_eq!(store(reactor, &content, 0), (cut, Some((Fault::TooLarge, false))));
            limit(None);
            let kept = home.at("downloads/.parts").join(part());
            assert!(fs::read(&kept).expect("reads") == content[..cut]);
            fs::remove_file(&kept).expect("removed");
        }
    });
}

#[test]
fn a_part_that_cannot_have_its_length_leaves_nothing() {
    // hostile: 157, 158
    in_child("children::a_part_that_cannot_have_its_length_leaves_nothing", || {
        let home = Home::new();
        let mut reactor = home.reactor(&Limits::desktop());
        reactor.handle_signals().expect("handled");
        setrlimit(Resource::Fsize, Rlimit { current: Some(1 << 20), maximum: None }).expect("set");
        let outputs = vec![create(1, &part(), 2 << 20), create(2, "other.part", 1 << 20)];
        let seen = answers(reactor, outputs, 2);
        assert_eq!(seen[0], Answer::Failed(Fault::TooLarge, true));
        assert!(matches!(seen[1], Answer::Opened(_)), "{seen:?}");
        assert_eq!(names_in(&home.at("downloads/.parts")), ["other.part"]);
    });
}

#[test]
fn descriptors_that_run_out_fail_one_part_and_come_back() {
    // hostile: 158, 173
    in_child("children::descriptors_that_run_out_fail_one_part_and_come_back", || {
        let home = Home::new();
        let reactor = home.reactor(&Limits::desktop());
        setrlimit(Resource::Nofile, Rlimit { current: Some(40), maximum: Some(40) }).expect("lowered");
        let name = |n: u32| format!("{n:064x}.part");
        let (mut made, mut refused, mut again) = (Vec::new(), 0, 0);
        let outputs = (1..=100).map(|n| create(n, &name(n), 4096)).collect();
        let stats = run(reactor, outputs, |script, input| match input {
            Some(Input::FileCreated { file, .. }) if refused < 50 => made.push(file),
            Some(Input::FileCreated { .. }) => {
                again += 1;
                if again == made.len() {
                    script.exit();
                }
            }
            Some(Input::FileFailed { fault, fatal, .. }) => {
                assert_eq!((fault, fatal), (Fault::TooManyOpen, true));
                refused += 1;
                if made.len() + refused == 100 {
                    made.iter().for_each(|&file| script.push(Output::CloseFile { file }));
                    script.outputs.extend((0..made.len()).map(|i| {
                        let n = 200 + u32::try_from(i).expect("few");
                        create(n, &name(n), 0)
                    }));
                }
            }
            _ => {}
        });
        assert!((10..40).contains(&made.len()) && again == made.len(), "{} {again}", made.len());
        assert_eq!(stats.files, 0);
        // Those that were refused left nothing; the others stay.
        assert_eq!(names_in(&home.at("downloads/.parts")).len(), 2 * made.len());
    });
}

#[test]
fn a_disk_that_turned_read_only_is_told_as_that() {
    // hostile: 158
    let name = "children::a_disk_that_turned_read_only_is_told_as_that";
    let wrapper = "unshare -m sh -c 'mount -t tmpfs -o size=64m tmpfs /mnt && exec \"$0\" \"$@\"'";
    in_child_with(name, wrapper, || {
        let home = Home::new();
        std::os::unix::fs::symlink("/mnt", home.at("downloads")).expect("a link");
        cycle(&home, vec![create(1, &part(), 0), log(2, &journal()), append(2, b"head"), close(2)]);
        let reactor = home.reactor(&Limits::desktop());
        let remount = |how: &str| {
            let status = Command::new("mount").args(["-o", how, "/mnt"]).status();
            assert!(status.expect("mount runs").success());
        };
        remount("remount,ro");
        let outputs = vec![create(1, "v1-0123456789abcdef", 0), open(2, &part()), log(3, &journal())];
        let refused = answers(reactor, outputs, 3);
        assert_eq!(refused, [const { Answer::Failed(Fault::ReadOnly, true) }; 3]);
        remount("remount,rw");
        assert_eq!(names_in("/mnt/.parts".as_ref()), [journal(), part()]);
    });
}
