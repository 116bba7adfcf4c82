//! Bytes both ways, whole and equal; what happens when a file or a peer does not behave.

use crate::toys::{Home, LISTENER, Running, any_port, conn, connect, line, names_in, noise, run};
use distrishare::config::{CHUNK, Limits};
use distrishare::machine::{Input, Output};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

const SIZES: [usize; 7] = [0, 1, 4095, 4096, 4097, (1 << 20) + 1, 9 << 20];

#[test]
fn files_are_served_byte_equal() {
    for limits in [Limits::desktop(), Limits::small()] {
        let home = Home::new();
        for size in SIZES {
            home.share(&format!("{size}.bin"), &noise(size));
        }
        let server = Running::start(&home, &limits);
        for size in SIZES {
            assert!(server.get(&format!("GET {size}.bin")) == noise(size), "{size} bytes differ");
        }
        let stats = server.stop();
        assert_eq!(stats.bytes_sent, SIZES.iter().sum::<usize>() as u64);
        assert_eq!((stats.streams, stats.files), (0, 0));
    }
}

#[test]
fn bodies_are_stored_byte_equal_whatever_the_segments() {
    // hostile: 160
    for limits in [Limits::desktop(), Limits::small()] {
        let home = Home::new();
        let server = Running::start(&home, &limits);
        for (i, size) in SIZES.into_iter().enumerate() {
            let content = noise(size);
            let mut stream = server.ask("PUT");
            for piece in content.chunks([1_000_000, 77_777, 4097][i % 3]) {
                stream.write_all(piece).expect("sent");
            }
            stream.shutdown(Shutdown::Write).expect("half closed");
            let reply = line(&stream);
            let name = reply.trim().strip_suffix(&format!(" {size}")).expect("the size").to_owned();
            let expected = if i == 0 { "received.bin".into() } else { format!("received ({}).bin", i + 1) };
            assert_eq!(name, expected);
            let stored = std::fs::read(home.at("downloads").join(&name)).expect("saved");
            assert!(stored == content, "{size} bytes differ");
        }
        server.stop();
        assert_eq!(names_in(&home.at("downloads/.parts")), [""; 0]);
    }
}

#[test]
fn a_buffer_full_of_bytes_may_wait_for_a_resume() {
    // As a download's first bytes do while its file is being made.
    let home = Home::new();
    let limits = Limits { run_chunks: 1, ..Limits::desktop() };
    let content = noise(CHUNK + 100);
    let mut client = None;
    run(
        home.reactor(&limits),
        vec![Output::Listen { listener: LISTENER, addr: any_port() }],
        |script, input| {
            let first = conn(101);
            match input {
                Some(Input::Listening { addr, .. }) => {
                    (script.consume, script.pause) = (false, true);
                    let stream = client.insert(connect(addr));
                    stream.write_all(&content).expect("sent");
                }
                None if script.pause => script.push(Output::ListInterfaces),
                Some(Input::Interfaces(_)) => {
                    (script.consume, script.pause) = (true, false);
                    script.push(Output::Resume { conn: first });
                }
                Some(Input::Closed { fault, .. }) => panic!("closed: {fault}"),
                _ => {}
            }
            if script.received.len() == content.len() {
                assert!(script.received == content);
                script.exit();
            }
        },
    );
}

#[test]
fn echo_both_ways_at_once_and_a_half_close() {
    // hostile: 28
    let home = Home::new();
    let server = Running::start(&home, &Limits::desktop());
    let content = noise(5 << 20);
    let mut stream = server.ask("ECHO");
    let mut reader = stream.try_clone().expect("cloned");
    let reading = std::thread::spawn(move || {
        let mut back = Vec::new();
        reader.read_to_end(&mut back).expect("read");
        back
    });
    stream.write_all(&content).expect("sent");
    stream.shutdown(Shutdown::Write).expect("half closed");
    assert!(reading.join().expect("ends") == content);
    server.stop();
}

#[test]
fn a_reader_that_waits_gets_everything_in_the_end_and_hinders_nobody() {
    // hostile: 66, 188
    let home = Home::new();
    let content = noise(24 << 20);
    home.share("big.bin", &content);
    let server = Running::start(&home, &Limits::desktop());
    let mut slow = server.ask("GET big.bin");
    for _ in 0..50 {
        assert_eq!(server.get("SMALL"), b"small\n");
    }
    let mut got = Vec::new();
    slow.read_to_end(&mut got).expect("read");
    assert!(got == content);
    server.stop();
}

#[test]
fn the_kernel_holds_little_for_a_reader_that_stops() {
    let home = Home::new();
    home.share("big.bin", &noise(24 << 20));
    let taken = |unsent_max| {
        let server = Running::start(&home, &Limits { unsent_max, ..Limits::desktop() });
        let stopped = server.ask("GET big.bin");
        for _ in 0..200 {
            assert_eq!(server.get("SMALL"), b"small\n");
        }
        let sent = server.stop().bytes_sent;
        drop(stopped);
        sent
    };
    let (little, much) = (taken(64 << 10), taken(16 << 20));
    assert!(little + (512 << 10) < much, "{little} bytes, and {much} without a bound");
}

#[test]
fn a_file_that_shrinks_resets_its_connection() {
    // hostile: 63
    let home = Home::new();
    home.share("big.bin", &noise(48 << 20));
    let server = Running::start(&home, &Limits::desktop());
    let mut stream = server.ask("GET big.bin");
    let mut some = [0; 4096];
    stream.read_exact(&mut some).expect("it began");
    std::fs::OpenOptions::new()
        .write(true)
        .open(home.at("shared/big.bin"))
        .and_then(|file| file.set_len(8192))
        .expect("truncated");
    let mut rest = Vec::new();
    let error = stream.read_to_end(&mut rest).expect_err("not a quiet end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.get("SMALL"), b"small\n");
    let stats = server.stop();
    assert_eq!(stats.files, 0);
}

#[test]
fn a_file_that_is_gone_or_replaced_is_sent_as_it_was_opened() {
    // hostile: 62, 63
    let home = Home::new();
    let content = noise(24 << 20);
    home.share("big.bin", &content);
    let server = Running::start(&home, &Limits::desktop());
    let mut stream = server.ask("GET big.bin");
    let mut got = vec![0; 4096];
    stream.read_exact(&mut got).expect("it began");
    std::fs::remove_file(home.at("shared/big.bin")).expect("removed");
    std::os::unix::fs::symlink("/etc/hostname", home.at("shared/big.bin")).expect("replaced by a link");
    stream.read_to_end(&mut got).expect("read");
    assert!(got == content);
    assert_eq!(server.get("GET big.bin"), b"failed not a regular file\n");
    server.stop();
}

#[test]
fn a_peer_that_cuts_the_connection_frees_its_slot_and_file() {
    // hostile: 27, 68
    let home = Home::new();
    home.share("big.bin", &noise(24 << 20));
    let server = Running::start(&home, &Limits::desktop());
    for _ in 0..10 {
        let mut stream = server.ask("GET big.bin");
        let mut some = [0; 10];
        stream.read_exact(&mut some).expect("it began");
        drop(stream); // with bytes unread: a reset
    }
    assert_eq!(server.get("SMALL"), b"small\n");
    server.stop();
}

#[test]
fn a_command_in_single_bytes_and_body_behind_a_pause() {
    let home = Home::new();
    let server = Running::start(&home, &Limits::desktop());
    let mut stream = server.connect();
    stream.set_nodelay(true).expect("set");
    for byte in b"PUT\nabc" {
        stream.write_all(&[*byte]).expect("sent");
    }
    stream.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(line(&stream), "received.bin 3\n");
    assert_eq!(std::fs::read(home.at("downloads/received.bin")).expect("saved"), b"abc");
    server.stop();
}
