//! What a node costs that has nothing to do, and one that has many who want nothing.

use crate::place::{Place, answers_at_once, proc_status, until};
use crate::support::skip;
use distrishare::config::{ConsoleMode, EarlyDrop, FileFolders, Folders, Limits, PeerConfig, Secret};
use distrishare::node::peer::Peer;
use distrishare::reactor::{Reactor, raise_descriptor_limit};
use distrishare::time::Duration as NodeTime;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

#[test]
fn an_idle_node_wakes_at_most_twice_a_second() {
    // hostile: 187, 189
    let Some(place) = Place::new("an idle node") else { return };
    let mut node = place.node("bob", &["--daemon", "--join", "--bootstrap", "127.0.0.1:1"]);
    let mut quiet = place.node("eve", &["--daemon"]);
    for (node, what) in [(&mut quiet, "alone"), (&mut node, "on multicast")] {
        let wakes = || proc_status(node.pid(), "voluntary_ctxt_switches").expect("it runs");
        // Other nodes that come and go on this computer are heard, too: a quiet moment is looked for.
        let seconds = 3;
        let least = (0..8).map(|_| {
            let before = wakes();
            thread::sleep(Duration::from_secs(seconds));
            wakes() - before
        });
        let found = least.into_iter().find(|wakes| *wakes <= 2 * seconds);
        assert!(found.is_some(), "{what}: more than two wake-ups a second");
        answers_at_once(node.port);
    }
}

/// A node of ours in a thread, with room for everybody.
fn roomy(place: &Place, port: u16) -> Peer {
    let limits = roomy_limits();
    let files =
        FileFolders { shared: place.path("ann/shared_files"), downloads: place.path("ann/downloads") };
    Peer::new(PeerConfig {
        listen: ([127, 0, 0, 1], port).into(),
        folders: files,
        announce: None,
        bootstraps: Vec::new(),
        join: false,
        v1: true,
        v1_secret: Secret::new("distrishare2024"),
        console: ConsoleMode::Script,
        json: true,
        progress_columns: None,
        keep_going: false,
        seed: 1,
        limits,
    })
}

fn roomy_limits() -> Limits {
    Limits {
        unauth: EarlyDrop { start: 20_000, rate: 0, full: 30_000 },
        request_deadline: NodeTime::from_secs(600),
        ..Limits::desktop()
    }
}

#[test]
fn five_thousand_idle_connections_and_a_search_at_once() {
    let Some(place) = Place::new("5,000 idle connections") else { return };
    const MANY: usize = 5000;
    // Both ends of each are in this process.
    let descriptors = raise_descriptor_limit();
    if descriptors < 2 * MANY + 500 {
        return skip("5,000 idle connections", &format!("only {descriptors} descriptors"));
    }
    place.write("ann/shared_files/there", b"content");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let files =
        FileFolders { shared: place.path("ann/shared_files"), downloads: place.path("ann/downloads") };
    let folders = Folders { files: Some(files), state: place.path("ann/state") };
    let mut peer = roomy(&place, port);
    let (commands, typed) = rustix::pipe::pipe().expect("a pipe");
    let null = || OwnedFd::from(File::options().write(true).open("/dev/null").expect("it is there"));
    let node = thread::spawn(move || {
        let reactor = Reactor::new(&folders, &roomy_limits()).expect("it starts");
        reactor.with_stdio(commands, null(), null()).run(&mut peer).expect("it ends well")
    });
    let connect = || until("its start", || TcpStream::connect(("127.0.0.1", port)).ok());
    let idle: Vec<TcpStream> = (0..MANY).map(|_| connect()).collect();
    // Answered behind the last of them, and then some more.
    for _ in 0..5 {
        answers_at_once(port);
    }
    for mut conn in idle.iter().step_by(997) {
        conn.set_nonblocking(true).expect("a socket of ours");
        let held = conn.read(&mut [0; 1]);
        assert!(held.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "still there");
    }
    drop(idle);
    File::from(typed).write_all(b"quit\n").expect("it reads");
    assert_eq!(node.join().expect("it ends"), 0);
}
