//! Signals: an orderly end, at once the second time, and the way back from a stop.

use crate::place::{Node, Place, answers_at_once, ask, event, until};
use rustix::process::Signal;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

/// An old server that answers a search with FOUND and a download with some bytes and then nothing.
fn stalling() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        let mut stalled = Vec::new();
        for mut conn in listener.incoming().map_while(Result::ok) {
            let mut asked = [0; 4096];
            let n = conn.read(&mut asked).unwrap_or(0);
            if asked[0] != b'{' {
                let _ = conn.write_all("ERROR: Formato de mensaje inválido. Se requiere JSON.".as_bytes());
            } else if String::from_utf8_lossy(&asked[..n]).contains("\"search\"") {
                let _ = conn.write_all(b"FOUND");
            } else {
                let _ = conn.write_all(&[b'x'; 100_000]);
                stalled.push(conn);
            }
        }
    });
    port
}

/// A node in the midst of a download.
fn downloading(place: &Place) -> Node {
    let mut node = place.node("bob", &[]);
    let port = stalling();
    node.console.program.tell(&format!("get 127.0.0.1 {port} file"));
    until("a part of the file", || (!place.names("bob/downloads/.parts").is_empty()).then_some(()));
    node
}

#[test]
fn signals_that_the_starter_blocked_or_ignored_end_it_all_the_same() {
    let Some(place) = Place::new("blocked signals") else { return };
    // Nothing but another language can start it so: our own library undoes it.
    const START: &str = "import os, signal, sys
if sys.argv[1] == 'block':
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.execv(sys.argv[2], sys.argv[2:])";
    if !std::process::Command::new("python3").arg("--version").output().is_ok_and(|run| run.status.success())
    {
        return crate::support::skip("blocked signals", "there is no python3");
    }
    for how in ["block", "ignore"] {
        let given = place.command("bob", &["--json"]);
        let mut command = std::process::Command::new("python3");
        command.args(["-c", START, how]).arg(given.get_program()).args(given.get_args());
        command.current_dir(place.path("bob"));
        let mut node = Node::started(crate::support::Program::start("bob", &mut command));
        node.signal(Signal::TERM);
        assert_eq!(node.ended(Duration::from_secs(10)), Some(0), "{how}");
    }
}

#[test]
fn a_download_has_the_mode_that_the_mask_leaves() {
    use std::os::unix::fs::PermissionsExt;
    let Some(place) = Place::new("file mode masks") else { return };
    place.write("ann/shared_files/file", b"content");
    let ann = place.node("ann", &[]);
    for (mask, mode) in [("077", 0o600), ("022", 0o644), ("002", 0o664), ("000", 0o666)] {
        let given = place.command(mask, &["--json", "--keep-going"]);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &format!("umask {mask}; exec \"$0\" \"$@\"")]);
        command.arg(given.get_program()).args(given.get_args()).current_dir(place.path(mask));
        let mut node = Node::started(crate::support::Program::start(mask, &mut command));
        assert!(event(&node.get(ann.port, "file"), "downloaded").is_some(), "{mask}");
        let file = std::fs::metadata(place.path(mask).join("downloads/file")).expect("it said so");
        assert_eq!(file.permissions().mode() & 0o7777, mode, "{mask}");
    }
}

#[test]
fn each_signal_ends_a_download_in_good_order() {
    // hostile: 155
    let Some(place) = Place::new("signals") else { return };
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 0), (Signal::HUP, 129)] {
        let mut node = downloading(&place);
        let start = Instant::now();
        node.signal(signal);
        assert_eq!(node.ended(Duration::from_secs(2)), Some(status), "{signal:?}");
        assert!(start.elapsed() < Duration::from_secs(2));
        assert_eq!(place.names("bob/downloads"), [".parts"], "{signal:?}");
        assert_eq!(place.names("bob/downloads/.parts"), [""; 0], "{signal:?}");
        let events: Vec<String> = std::iter::from_fn(|| node.console.program.next_line()).collect();
        assert!(
            events.iter().any(|line| line.contains("interrupted") && line.contains("file")),
            "{events:?}"
        );
        assert!(!events.iter().any(|line| line.contains("downloaded")), "{events:?}");
    }
}

#[test]
fn a_daemon_outlives_its_terminal() {
    // hostile: 155
    let Some(place) = Place::new("SIGHUP") else { return };
    let mut node = place.node("bob", &["--daemon"]);
    node.signal(Signal::HUP);
    answers_at_once(node.port);
    node.signal(Signal::INT);
    assert_eq!(node.ended(Duration::from_secs(2)), Some(130));
}

#[test]
fn a_stopped_node_goes_on_where_it_was() {
    // hostile: 155
    let Some(place) = Place::new("SIGSTOP and SIGCONT") else { return };
    place.write("ann/shared_files/there", b"content");
    let (ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    ann.signal(Signal::STOP);
    let port = ann.port;
    let asked = std::thread::spawn(move || ask(port, "search", "there").0);
    bob.signal(Signal::STOP);
    bob.console.program.tell(&format!("get 127.0.0.1 {port} there"));
    // Longer than the lateness from which a deadline is put off.
    std::thread::sleep(Duration::from_millis(1500));
    bob.signal(Signal::CONT);
    ann.signal(Signal::CONT);
    assert_eq!(asked.join().expect("asked"), b"FOUND");
    assert_eq!(bob.console.event("downloaded")["bytes"], 7);
}

/// What is said to the group on the loopback. Nothing, where the port cannot be shared.
fn listener() -> Option<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).ok()?;
    socket.set_reuse_address(true).ok()?;
    let group = Ipv4Addr::new(224, 1, 1, 1);
    socket.bind(&SocketAddrV4::new(group, 10000).into()).ok()?;
    socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    Some(socket.into())
}

#[test]
fn the_last_word_is_goodbye() {
    // hostile: 155
    let Some(place) = Place::new("GOODBYE") else { return };
    let Some(listener) = listener() else {
        return crate::support::skip("GOODBYE", "port 10000 cannot be shared here");
    };
    let mut node = place.node("bob", &[]);
    let events = node.run("multicast on");
    if event(&events, "error").is_some() {
        return crate::support::skip("GOODBYE", "no multicast here");
    }
    let expect = |word: &str| {
        let wanted = format!("{word}:127.0.0.1:{}", node.port);
        let mut bytes = [0; 512];
        // Other nodes of this computer may be heard as well.
        until(&wanted, || {
            let n = listener.recv(&mut bytes).unwrap_or_else(|error| panic!("{wanted}: {error}"));
            (bytes[..n] == *wanted.as_bytes()).then_some(())
        });
    };
    expect("HELLO");
    node.signal(Signal::TERM);
    expect("GOODBYE");
    assert_eq!(node.ended(Duration::from_secs(2)), Some(0));
}
