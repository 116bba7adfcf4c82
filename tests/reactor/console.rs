//! The operator's streams: files, pipes, nothing, terminals; readers that stop.

use crate::toys::{Home, Script, conn, run};
use distrishare::config::Limits;
use distrishare::machine::{Fault, Input, Output};
use distrishare::reactor::log::StderrLog;
use distrishare::reactor::{Reactor, Stats};
use distrishare::time::Duration;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, fcntl_getfl, open};
use rustix::io::{fcntl_dupfd_cloexec, read, write};
use rustix::pipe::pipe;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::io::Write;
use std::path::Path;

const CONSOLE: u32 = 1;
const NOTES: u32 = 2;

fn at(path: impl AsRef<Path>, flags: OFlags) -> OwnedFd {
    open(path.as_ref(), flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty()).expect("opens")
}

fn null() -> OwnedFd {
    at("/dev/null", OFlags::RDWR)
}

fn dup(fd: &OwnedFd) -> OwnedFd {
    fcntl_dupfd_cloexec(fd, 3).expect("duplicated")
}

fn terminal() -> (OwnedFd, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let slave = at(name.to_str().expect("ascii"), OFlags::RDWR);
    (master, slave)
}

fn console() -> Output {
    Output::OpenConsole { console: conn(CONSOLE), notes: conn(NOTES) }
}

fn run_with(
    streams: (OwnedFd, OwnedFd, OwnedFd),
    on_input: impl FnMut(&mut Script, Option<Input<'_>>),
) -> Stats {
    let home = Home::new();
    let (stdin, stdout, stderr) = streams;
    let reactor: Reactor = home.reactor(&Limits::desktop()).with_stdio(stdin, stdout, stderr);
    run(reactor, vec![console()], on_input)
}

/// Everything up to the end of input, the number of times the end was told, and the polls of half a second after it.
fn read_all(stdin: OwnedFd) -> (Vec<u8>, u32, u64) {
    let mut received = Vec::new();
    let mut ends = 0;
    let stats = run_with((stdin, null(), null()), |script, input| match input {
        Some(Input::Eof { conn: id }) => {
            assert_eq!(id, conn(CONSOLE));
            ends += 1;
            script.deadline = Some(script.now + Duration::from_millis(300));
        }
        Some(Input::Timeout) => {
            received.clone_from(&script.received);
            script.exit();
        }
        _ => {}
    });
    (received, ends, stats.waits)
}

#[test]
fn input_from_a_file_nothing_and_a_pipe_ends_once() {
    // hostile: 148, 149
    let home = Home::new();
    let script: Vec<u8> = (0..1000).flat_map(|i| format!("command {i}\n").into_bytes()).collect();
    std::fs::write(home.at("script"), &script).expect("a file");
    let (received, ends, waits) = read_all(at(home.at("script"), OFlags::RDONLY));
    assert!(received == script && ends == 1 && waits < 5, "{ends} {waits}");

    let (received, ends, waits) = read_all(null());
    assert!(received.is_empty() && ends == 1 && waits < 5, "{ends} {waits}");

    let (reader, writer) = pipe().expect("a pipe");
    let text = script.clone();
    let typing = std::thread::spawn(move || {
        for piece in text.chunks(1000) {
            write(&writer, piece).expect("written");
        }
    });
    let (received, ends, waits) = read_all(dup(&reader));
    typing.join().expect("ends");
    assert!(received == script && ends == 1 && waits < 30, "{ends} {waits}");
    assert!(!fcntl_getfl(&reader).expect("flags").contains(OFlags::NONBLOCK));
}

#[test]
fn a_terminal_is_read_and_written_and_its_flags_stay_as_they_are() {
    // hostile: 148, 151
    let (master, slave) = terminal();
    write(&master, b"nodes\n").expect("typed");
    let streams = (dup(&slave), dup(&slave), dup(&slave));
    run_with(streams, |script, input| match input {
        None if script.received == b"nodes\n" => {
            script.send(conn(CONSOLE), b"none\n");
            script.send(conn(NOTES), b"> ");
            script.exit();
        }
        _ => {}
    });
    assert!(!fcntl_getfl(&slave).expect("flags").contains(OFlags::NONBLOCK));
    let mut seen = Vec::new();
    let mut buffer = [0; 100];
    while !seen.windows(2).any(|two| two == b"> ") || !seen.windows(4).any(|four| four == b"none") {
        let n = read(&master, &mut buffer).expect("read");
        seen.extend_from_slice(&buffer[..n]);
    }
}

#[test]
fn a_terminal_that_goes_away_is_the_end_of_input() {
    let (master, slave) = terminal();
    let mut master = Some(master);
    let mut ends = 0;
    let stats = run_with((dup(&slave), null(), null()), |script, input| match input {
        Some(Input::WallClock(_)) => drop(master.take()),
        Some(Input::Eof { .. }) => {
            ends += 1;
            script.deadline = Some(script.now + Duration::from_millis(200));
        }
        Some(Input::Timeout) => script.exit(),
        _ => {}
    });
    assert!(ends == 1 && stats.polls < 20, "{ends} {stats:?}");
}

/// The reader of our output takes nothing for a while; the loop goes on, and everything comes in the end.
fn stopped_reader(stdout: OwnedFd, other_end: OwnedFd) {
    let text = crate::toys::noise(300_000).iter().map(|b| b'a' + b % 16).collect::<Vec<u8>>();
    let expected = text.len();
    let mut timeouts = 0;
    let mut other_end = Some(other_end);
    let mut reading = None;
    run_with((null(), stdout, null()), |script, input| match input {
        Some(Input::WallClock(_)) => {
            script.send(conn(CONSOLE), &text);
            script.deadline = Some(script.now + Duration::from_millis(50));
        }
        Some(Input::Timeout) => {
            timeouts += 1;
            let left = script.out[&conn(CONSOLE)].len();
            if timeouts == 3 {
                assert!(left > 0 && left < expected, "a pipe full, and no more: {left}");
                let end = other_end.take().expect("once");
                reading = Some(std::thread::spawn(move || read_exactly(&end, expected)));
            }
            if timeouts > 3 && left == 0 {
                script.exit();
            }
            script.deadline = Some(script.now + Duration::from_millis(50));
        }
        Some(Input::Closed { fault, .. }) => panic!("{fault}"),
        _ => {}
    });
    assert!(reading.expect("started").join().expect("ends") == text);
}

fn read_exactly(fd: &OwnedFd, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 4096];
    while all.len() < len {
        let n = read(fd, &mut buffer).expect("read");
        all.extend_from_slice(&buffer[..n]);
    }
    all
}

#[test]
fn a_full_pipe_terminal_or_socket_does_not_stop_the_loop() {
    // hostile: 154
    let (reader, writer) = pipe().expect("a pipe");
    stopped_reader(dup(&writer), reader);
    assert!(!fcntl_getfl(&writer).expect("flags").contains(OFlags::NONBLOCK));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    stopped_reader(OwnedFd::from(ours), OwnedFd::from(theirs));
    let (master, slave) = terminal();
    stopped_reader(slave, master);
}

#[test]
fn output_into_a_file_and_a_reader_that_is_gone() {
    let home = Home::new();
    let file = std::fs::File::create(home.at("out")).expect("a file");
    run_with((null(), OwnedFd::from(file), null()), |script, input| {
        if let Some(Input::Eof { .. }) = input {
            script.send(conn(CONSOLE), b"result\n");
            script.exit();
        }
    });
    assert_eq!(std::fs::read(home.at("out")).expect("reads"), b"result\n");

    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let mut closed = None;
    run_with((null(), null(), writer), |script, input| match input {
        Some(Input::WallClock(_)) => script.send(conn(NOTES), b"note\n"),
        Some(Input::Closed { conn, fault }) => {
            closed = Some((conn, fault));
            script.exit();
        }
        _ => {}
    });
    assert_eq!(closed, Some((conn(NOTES), Fault::Reset)));
}

#[test]
fn a_paused_console_reads_no_further_and_goes_on_where_it_was() {
    let (reader, writer) = pipe().expect("a pipe");
    write(&writer, &vec![b'x'; 30_000]).expect("written");
    drop(writer);
    let mut most_before_resume = 0;
    let mut all = 0;
    run_with((reader, null(), null()), |script, input| match input {
        Some(Input::WallClock(_)) => (script.pause, script.consume) = (true, false),
        None if script.pause => {
            most_before_resume = script.received.len();
            script.deadline = Some(script.now + Duration::from_millis(50));
        }
        Some(Input::Timeout) => {
            assert_eq!(script.received.len(), most_before_resume, "nothing came while it was paused");
            (script.pause, script.consume) = (false, true);
            script.push(Output::Resume { conn: conn(CONSOLE) });
            script.deadline = None;
        }
        Some(Input::Eof { .. }) => {
            all = script.received.len();
            script.exit();
        }
        _ => {}
    });
    assert_eq!((most_before_resume, all), (0, 30_000));
}

#[test]
fn a_daemon_leaves_its_input_alone() {
    let home = Home::new();
    let (reader, writer) = pipe().expect("a pipe");
    write(&writer, b"quit\n").expect("written");
    let reactor = home.reactor(&Limits::desktop()).with_stdio(dup(&reader), null(), null()).without_stdin();
    run(reactor, vec![console()], |script, input| match input {
        Some(Input::WallClock(_)) => script.deadline = Some(script.now + Duration::from_millis(50)),
        Some(Input::Timeout) => script.exit(),
        other => panic!("{other:?}"),
    });
    let mut buffer = [0; 10];
    assert_eq!(read(&reader, &mut buffer), Ok(5));
}

#[test]
fn the_log_drops_lines_nobody_takes_and_says_how_many() {
    let (reader, writer) = pipe().expect("a pipe");
    let mut log = StderrLog::on(Some(writer));
    let line = "x".repeat(499);
    for _ in 0..400 {
        write!(log, "{line}").expect("never fails");
        writeln!(log).expect("never fails");
    }
    let dropped = log.dropped();
    assert!(dropped > 100, "{dropped}");
    let mut buffer = vec![0; 1 << 20];
    let taken = read(&reader, &mut buffer).expect("read");
    writeln!(log, "{}", "ñ".repeat(2500)).expect("never fails");
    let more = read(&reader, &mut buffer[taken..]).expect("read");
    let text = String::from_utf8_lossy(&buffer[..taken + more]).into_owned();
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.pop(), Some(format!("{}…", "ñ".repeat(254)).as_str()), "512 bytes, no half character");
    assert_eq!(lines.pop(), Some(format!("… {dropped} lines of the log were dropped").as_str()));
    assert!(lines.iter().all(|whole| *whole == line), "only whole lines");
    assert_eq!(lines.len() as u64 + dropped, 400);
    drop(StderrLog::default());
    writeln!(StderrLog::on(None), "nowhere").expect("never fails");
}

#[test]
fn a_log_on_a_terminal_clears_the_progress_line() {
    let (master, slave) = terminal();
    writeln!(StderrLog::on(Some(slave)), "a line").expect("never fails");
    let mut buffer = [0; 100];
    let n = read(&master, &mut buffer).expect("read");
    assert_eq!(&buffer[..n], b"\r\x1b[Ka line\r\n");
}

#[test]
fn the_way_out_waits_for_a_reader_that_stopped() {
    // hostile: 154. What becomes of it after a signal real processes show: there a signal is ours alone.
    let (reader, writer) = pipe().expect("a pipe");
    let reading = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1200));
        read_exactly(&reader, 300_000)
    });
    run_with((null(), writer, null()), |script, input| {
        if let Some(Input::Eof { .. }) = input {
            script.send(conn(CONSOLE), &vec![b'x'; 300_000]);
            script.exit();
        }
    });
    assert_eq!(reading.join().expect("reads").len(), 300_000);
}

#[test]
fn the_way_out_waits_for_no_reader_that_is_gone() {
    let (reader, writer) = pipe().expect("a pipe");
    let reading = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(reader);
    });
    run_with((null(), writer, null()), |script, input| {
        if let Some(Input::Eof { .. }) = input {
            script.send(conn(CONSOLE), &vec![b'x'; 300_000]);
            script.exit();
        }
    });
    reading.join().expect("ends");
}
