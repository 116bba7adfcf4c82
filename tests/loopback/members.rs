//! A group over real sockets: members reach each other, strangers get no byte and are gone in time.

use crate::place::{LIMIT, Node, PEER, Place, content, event, request};
use crate::support;
use serde_json::Value;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// A new group's file.
fn group(place: &Place, name: &str) -> String {
    let path = place.path(name).to_string_lossy().into_owned();
    let (done, out, err) = support::run(Command::new(PEER).args(["group", "new", &path]), LIMIT);
    assert!(done, "{out}{err}");
    path
}

/// What comes back for these bytes, and when the other side closed.
fn sent(port: u16, bytes: &[u8]) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    let mut conn = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    conn.set_read_timeout(Some(LIMIT)).expect("a socket of ours");
    // It may close while we still write.
    let _ = conn.write_all(bytes);
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        match conn.read(&mut part) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&part[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("it does not close: {error}"),
        }
    }
    (answer, start.elapsed())
}

fn code(events: &[Value]) -> Option<&str> {
    event(events, "error")?["code"].as_str()
}

#[test]
fn members_find_and_fetch_and_strangers_do_not() {
    // hostile: 84, 116
    let Some(place) = Place::new("members and strangers") else { return };
    let (ours, other) = (group(&place, "ours.group"), group(&place, "other.group"));
    place.write("ann/shared_files/plans/summer.txt", &content(1, 100_000));
    let mut ann = place.node("ann", &["--group", &ours]);
    let mut bob = place.node("bob", &["--group", &ours]);
    let events = bob.get(ann.port, "plans/summer.txt");
    assert!(event(&events, "downloaded").is_some_and(|done| done["verified"] == true), "{events:?}");
    let events = bob.run("search summer");
    assert_eq!(event(&events, "result").map(|found| &found["name"]), Some(&"plans/summer.txt".into()));

    let mut strangers = [
        place.node("open", &[]),
        place.node("old", &["--v1", "on"]),
        place.node("eve", &["--group", &other]),
        place.node("mallory", &["--group", &other, "--v1", "on"]),
    ];
    for stranger in &mut strangers {
        for command in
            [format!("browse 127.0.0.1:{}", ann.port), format!("get 127.0.0.1 {} plans/summer.txt", ann.port)]
        {
            let events = stranger.run(&command);
            assert!(matches!(code(&events), Some("refused" | "network")), "{command}: {events:?}");
            assert!(!format!("{events:?}").contains("100000"), "{events:?}");
        }
    }
    // The other way round: members ask strangers for nothing, in no protocol.
    let lure = |node: &mut Node, port: u16| {
        let events = node.get(port, "plans/summer.txt");
        assert_eq!(code(&events), Some("refused"), "{events:?}");
    };
    for stranger in &strangers {
        lure(&mut bob, stranger.port);
    }
    for name in ["open", "old", "eve", "mallory"] {
        assert_eq!(place.names(&format!("{name}/downloads/.parts")), [""; 0]);
    }
    assert!(event(&ann.run("status"), "status").is_some_and(|status| status["uploaded_bytes"] == 100_000));
}

#[test]
fn whatever_a_stranger_sends_it_gets_no_byte_and_is_gone_in_time() {
    // hostile: 83, 84, 86
    let Some(place) = Place::new("a stranger's bytes") else { return };
    let key = group(&place, "ours.group");
    place.write("ann/shared_files/there", b"content");
    let ann = place.node("ann", &["--group", &key, "--daemon"]);
    let preamble = [b"\xd5DS2\x01".as_slice(), &[7; 27]].concat();
    let wrong: [(&str, Vec<u8>); 7] = [
        ("an old search", request("search", "there")),
        ("an old download", request("download", "there")),
        ("a browser", b"GET / HTTP/1.1\r\nHost: ann\r\n\r\n".to_vec()),
        ("zeros", vec![0; 1000]),
        ("a preamble of no group", preamble.clone()),
        ("that and what follows", [preamble.clone(), vec![48, 0], vec![9; 48]].concat()),
        ("a flood", content(5, 1 << 20)),
    ];
    let mut gone: Vec<Duration> = Vec::new();
    for (what, bytes) in &wrong {
        let (answer, took) = sent(ann.port, bytes);
        assert_eq!(answer, b"", "{what}");
        assert!(took < Duration::from_secs(2), "{what}: {took:?}");
        gone.push(took);
    }
    // Those who begin well and stay silent have the deadline of the handshake, and no longer.
    let silent = [Vec::new(), preamble[..1].to_vec(), preamble[..31].to_vec()];
    let waiting = silent.map(|bytes| {
        let port = ann.port;
        thread::spawn(move || sent(port, &bytes))
    });
    for (i, waiting) in waiting.into_iter().enumerate() {
        let (answer, took) = waiting.join().expect("no panic there");
        assert_eq!(answer, b"");
        assert!(took > Duration::from_secs(4) && took < Duration::from_secs(8), "{i}: {took:?}");
    }
    // One that leaves by a reset in the middle does no harm.
    let mut conn = TcpStream::connect(("127.0.0.1", ann.port)).expect("it listens");
    conn.write_all(&preamble[..20]).expect("it reads");
    let socket = socket2::SockRef::from(&conn);
    socket.set_linger(Some(Duration::ZERO)).expect("a socket of ours");
    drop(conn);
    let mut bob = place.node("bob", &["--group", &key]);
    assert!(
        event(&bob.get(ann.port, "there"), "downloaded").is_some(),
        "the members are served all the same"
    );
    assert_eq!(fs::read(place.path("bob/downloads/there")).expect("it said so"), b"content");
}

#[test]
fn bytes_of_another_session_do_not_fit() {
    // hostile: 89
    let Some(place) = Place::new("a replayed session") else { return };
    let key = group(&place, "ours.group");
    place.write("ann/shared_files/there", &content(3, 5000));
    let ann = place.node("ann", &["--group", &key, "--daemon"]);
    // A wire between them that keeps what it carries.
    let wire = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = wire.local_addr().expect("bound").port();
    let target = ann.port;
    let recorder = thread::spawn(move || {
        let (near, _) = wire.accept().expect("a connection");
        let far = TcpStream::connect(("127.0.0.1", target)).expect("it listens");
        let pump = |mut from: TcpStream, mut to: TcpStream| {
            thread::spawn(move || {
                let (mut all, mut part) = (Vec::new(), [0; 4096]);
                while let Ok(n @ 1..) = from.read(&mut part) {
                    all.extend_from_slice(&part[..n]);
                    if to.write_all(&part[..n]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(std::net::Shutdown::Write);
                all
            })
        };
        let clone = |conn: &TcpStream| conn.try_clone().expect("a descriptor");
        let asked = pump(clone(&near), clone(&far));
        let answered = pump(far, near);
        (asked.join().expect("no panic there"), answered.join().expect("no panic there"))
    });
    let mut bob = place.node("bob", &["--group", &key]);
    assert!(event(&bob.get(port, "there"), "downloaded").is_some());
    bob.run("quit");
    bob.ended(LIMIT);
    let (asked, answered) = recorder.join().expect("no panic there");
    let file = content(3, 5000);
    let line = fs::read_to_string(&key).expect("ours");
    for (what, bytes) in [("asked", &asked), ("answered", &answered)] {
        let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(
            !has(b"there") && !has(&file[..32]) && !has(b"get") && !has(&line.as_bytes()[20..28]),
            "{what}"
        );
    }
    assert!(answered.len() > 5000, "it carried the file");
    // Once more, byte for byte: it gets the answer to the first message, and nothing of the file.
    let (again, took) = sent(ann.port, &asked);
    assert!(again.len() < 200 && took < Duration::from_secs(8), "{} bytes, {took:?}", again.len());
    assert!(again.is_empty() || again[..] != answered[..again.len()], "new keys each time");
}
