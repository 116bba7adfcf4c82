//! What a node costs that has nothing to do, and one that has many who want nothing.

use crate::place::{Place, answers_at_once, proc_status, until};
use crate::support::skip;
use distrishare::reactor::raise_descriptor_limit;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

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

#[test]
fn five_thousand_idle_connections_and_a_search_at_once() {
    let Some(place) = Place::new("5,000 idle connections") else { return };
    const MANY: usize = 5000;
    // The node has its ends under the same limit, in a process of its own.
    let descriptors = raise_descriptor_limit();
    if descriptors < 2 * MANY {
        return skip("5,000 idle connections", &format!("only {descriptors} descriptors"));
    }
    place.write("ann/shared_files/there", b"content");
    let node = place.node("ann", &["--daemon"]);
    let start = Instant::now();
    let connect = || until("its start", || TcpStream::connect(("127.0.0.1", node.port)).ok());
    let idle: Vec<TcpStream> = (0..MANY).map(|_| connect()).collect();
    // Answered behind the last of them, and then some more.
    for _ in 0..5 {
        answers_at_once(node.port);
    }
    let held = idle.iter().filter(|conn| {
        conn.set_nonblocking(true).expect("a socket of ours");
        conn.peek(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    });
    let held = held.count();
    // Without a request each of them has five seconds.
    if start.elapsed() < Duration::from_secs(5) {
        assert_eq!(held, MANY);
    }
    let gone = |conn: &TcpStream| conn.peek(&mut [0; 1]).is_ok_and(|n| n == 0);
    until("the request deadline", || gone(&idle[MANY - 1]).then_some(()));
    answers_at_once(node.port);
}
