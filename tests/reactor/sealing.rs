//! Records: sealed in the loop's buffer, carried where the kernel does not take them whole, opened where they arrive.

use crate::toys::{Home, MARK, Running, line, names_in, noise, open_records, seal};
use distrishare::config::Limits;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

const SIZES: [usize; 6] = [1, 4097, 64 << 10, (64 << 10) + 1, (1 << 20) + 1, 9 << 20];

/// Little at a time, so that the kernel is full again and again in the midst of a record.
fn tight() -> Limits {
    Limits { unsent_max: 16 << 10, ..Limits::desktop() }
}

#[test]
fn records_arrive_whole_between_what_was_sent_before_and_after() {
    for limits in [Limits::desktop(), Limits::small(), tight()] {
        let home = Home::new();
        for size in SIZES {
            home.share(&format!("{size}.bin"), &noise(size));
        }
        let server = Running::start(&home, &limits);
        let mut sent = 0;
        for size in SIZES {
            let got = server.get(&format!("SEAL {size}.bin"));
            sent += got.len() as u64;
            let records = got.strip_prefix(b"begin\n").and_then(|rest| rest.strip_suffix(b"end\n"));
            assert!(open_records(records.expect("in order")) == noise(size), "{size} bytes differ");
        }
        let stats = server.stop();
        assert_eq!(stats.bytes_sent, sent);
        assert_eq!((stats.streams, stats.files), (0, 0));
    }
}

#[test]
fn a_slow_reader_gets_all_of_it_and_then_the_end() {
    // hostile: 66, 160
    let home = Home::new();
    let content = noise((3 << 20) + 77);
    home.share("big.bin", &content);
    let server = Running::start(&home, &tight());
    // The node says that it is done with the last record's making, when most of it is still carried.
    let mut stream = server.ask("ALONE big.bin");
    socket2::SockRef::from(&stream).set_recv_buffer_size(64 << 10).expect("set");
    for _ in 0..20 {
        assert_eq!(server.get("SMALL"), b"small\n");
    }
    let (mut got, mut piece) = (Vec::new(), vec![0; 30_001]);
    loop {
        match stream.read(&mut piece).expect("read") {
            0 => break,
            n => got.extend_from_slice(&piece[..n]),
        }
    }
    assert!(open_records(&got) == content);
    drop(stream);
    let stats = server.stop();
    assert_eq!((stats.streams, stats.files), (0, 0));
}

#[test]
fn a_peer_that_cuts_the_connection_leaves_nothing_carried() {
    // hostile: 27, 68
    let home = Home::new();
    home.share("big.bin", &noise(24 << 20));
    let server = Running::start(&home, &tight());
    for _ in 0..10 {
        let mut stream = server.ask("SEAL big.bin");
        let mut some = [0; 10];
        stream.read_exact(&mut some).expect("it began");
        drop(stream); // with bytes unread: a reset
    }
    assert_eq!(server.get("SMALL"), b"small\n");
    assert_eq!(server.stop().streams, 0);
}

#[test]
fn a_file_that_shrinks_ends_its_records() {
    // hostile: 63
    let home = Home::new();
    home.share("big.bin", &noise(48 << 20));
    let server = Running::start(&home, &Limits::desktop());
    let mut stream = server.ask("SEAL big.bin");
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
    server.stop();
}

/// As a sender would make them.
fn records(content: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in content.chunks(len) {
        bytes.extend_from_slice(&u32::try_from(payload.len()).expect("small").to_be_bytes());
        let mut sealed = payload.to_vec();
        seal(&mut sealed);
        bytes.extend_from_slice(&sealed);
        bytes.extend_from_slice(MARK);
    }
    bytes
}

#[test]
fn records_are_opened_and_stored_whatever_the_segments() {
    // hostile: 89
    let home = Home::new();
    for (limits, record) in [(Limits::desktop(), 64 << 10), (Limits::small(), 16 << 10)] {
        let server = Running::start(&home, &limits);
        for (i, piece) in [usize::MAX, 1_000_000, 77_777, 1460].into_iter().enumerate() {
            let content = noise((3 << 20) + i);
            let mut stream = server.ask("OPEN");
            stream.set_nodelay(true).expect("set");
            for piece in records(&content, record).chunks(piece) {
                stream.write_all(piece).expect("sent");
            }
            stream.shutdown(Shutdown::Write).expect("half closed");
            let reply = line(&stream);
            let name = reply.trim().strip_suffix(&format!(" {}", content.len())).expect(&reply).to_owned();
            let stored = std::fs::read(home.at("downloads").join(&name)).expect("saved");
            assert!(stored == content, "pieces of {piece} bytes differ");
        }
        server.stop();
    }
    assert_eq!(names_in(&home.at("downloads/.parts")), [""; 0]);
}

#[test]
fn a_record_in_single_bytes_is_opened() {
    let home = Home::new();
    let server = Running::start(&home, &Limits::small());
    let mut stream = server.ask("OPEN");
    stream.set_nodelay(true).expect("set");
    for byte in records(b"0123456789", 4) {
        stream.write_all(&[byte]).expect("sent");
        std::thread::sleep(Duration::from_micros(200));
    }
    stream.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(line(&stream), "received.bin 10\n");
    assert_eq!(std::fs::read(home.at("downloads/received.bin")).expect("saved"), b"0123456789");
    server.stop();
}
