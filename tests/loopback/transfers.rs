//! Files between two processes: many at once, large, oddly named, and ends killed in the middle.

use crate::place::{LIMIT, Place, content, event, until};
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{Read, Write};

#[test]
fn names_and_sizes_of_all_kinds_arrive() {
    // hostile: 82
    let Some(place) = Place::new("names and sizes") else { return };
    let names = ["with blanks.txt", "mañana.txt", "🐧 你好.txt", "a/b/c/deep.txt", "don't 5\".txt"];
    let files: Vec<(String, usize)> = [0, 1, 4095, 4096, 4097, 262_144, 1_000_001]
        .map(|size| (format!("{size}.bin"), size))
        .into_iter()
        .chain(names.map(|name| (name.to_owned(), 5000)))
        .collect();
    for (name, size) in &files {
        place.write(&format!("ann/shared_files/{name}"), &content(*size as u64, *size));
    }
    let (ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    for (name, size) in files {
        let events = bob.get(ann.port, &name);
        assert_eq!(event(&events, "downloaded").map(|done| &done["bytes"]), Some(&size.into()), "{events:?}");
        let got = fs::read(place.path(&format!("bob/downloads/{name}"))).expect("it said so");
        assert!(got == content(size as u64, size), "{name} has other bytes");
    }
}

#[test]
fn thirty_two_at_once() {
    let Some(place) = Place::new("32 at once") else { return };
    for i in 0..32 {
        place.write(&format!("ann/shared_files/{i}"), &content(i, 300_000 + i as usize));
    }
    let (ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    for i in 0..32 {
        bob.console.program.tell(&format!("get 127.0.0.1 {} {i} &", ann.port));
    }
    bob.console.program.tell("wait");
    let mut done = 0;
    bob.console.program.wait("the end", LIMIT, |line| {
        assert!(!line.contains("\"error\""), "{line}");
        done += usize::from(line.contains("\"downloaded\""));
        line.contains("\"done\",\"command\":\"wait\"").then_some(())
    });
    assert_eq!(done, 32);
    for i in 0..32 {
        let got = fs::read(place.path(&format!("bob/downloads/{i}"))).expect("it said so");
        assert!(got == content(i, 300_000 + i as usize), "{i} has other bytes");
    }
    assert_eq!(place.names("bob/downloads/.parts"), [""; 0]);
}

const MIB: usize = 1 << 20;

/// A file of so many MiB, each different.
fn large(place: &Place, name: &str, mib: usize) {
    place.write(name, b"");
    let mut file = File::create(place.path(name)).expect("a file of ours");
    let mut block = content(7, MIB);
    for i in 0..mib {
        block[..8].copy_from_slice(&(i as u64).to_le_bytes());
        file.write_all(&block).expect("room on the disk");
    }
}

#[test]
fn a_large_file_arrives() {
    let Some(place) = Place::new("a large file") else { return };
    large(&place, "ann/shared_files/large", 256);
    let (ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    let events = bob.get(ann.port, "large");
    assert_eq!(
        event(&events, "downloaded").map(|done| &done["bytes"]),
        Some(&(256 * MIB).into()),
        "{events:?}"
    );
    let open = |name: &str| File::open(place.path(name)).expect("a file");
    let (mut sent, mut got) = (open("ann/shared_files/large"), open("bob/downloads/large"));
    let (mut a, mut b) = (vec![0; MIB], vec![0; MIB]);
    for i in 0..256 {
        sent.read_exact(&mut a).expect("a block");
        got.read_exact(&mut b).expect("a block");
        assert!(a == b, "block {i} has other bytes");
    }
}

/// Bytes in the one unfinished download.
fn part_size(place: &Place) -> u64 {
    let size = |name: &String| fs::metadata(place.path(&format!("bob/downloads/.parts/{name}"))).ok();
    place.names("bob/downloads/.parts").first().and_then(size).map_or(0, |meta| meta.len())
}

#[test]
fn a_sender_killed_in_mid_file_leaves_nothing() {
    // hostile: 75
    let Some(place) = Place::new("a killed sender") else { return };
    large(&place, "ann/shared_files/large", 64);
    for signal in [Signal::KILL, Signal::TERM] {
        let (ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
        bob.console.program.tell(&format!("get 127.0.0.1 {} large", ann.port));
        // Stopped in the middle, so that the sender cannot have sent everything.
        until("a part of the file", || (part_size(&place) > 0).then_some(()));
        bob.signal(Signal::STOP);
        let had = part_size(&place);
        assert!(had < 60 * MIB as u64, "stopped too late to show anything: {had} bytes");
        ann.signal(signal);
        let mut ann = ann;
        ann.ended(LIMIT);
        bob.signal(Signal::CONT);
        let error = bob.console.event("error");
        assert_eq!(error["code"], "network", "{error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains("nothing is kept")), "{error}");
        assert_eq!(place.names("bob/downloads"), [".parts"], "{signal:?}");
        assert_eq!(place.names("bob/downloads/.parts"), [""; 0], "{signal:?}");
    }
}

#[test]
fn what_a_killed_receiver_leaves_is_swept_at_the_next_start() {
    // hostile: 161
    let Some(place) = Place::new("a killed receiver") else { return };
    large(&place, "ann/shared_files/large", 64);
    place.write("bob/downloads/.parts/mine.txt", b"not a temporary file of ours");
    let (ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    bob.console.program.tell(&format!("get 127.0.0.1 {} large", ann.port));
    until("a part of the file", || place.names("bob/downloads/.parts").get(1).cloned());
    bob.signal(Signal::KILL);
    assert_eq!(bob.ended(LIMIT), None, "by a signal");
    assert_eq!(place.names("bob/downloads/.parts").len(), 2);
    assert_eq!(place.names("bob/downloads"), [".parts"]);
    let mut bob = place.node("bob", &[]);
    assert_eq!(place.names("bob/downloads/.parts"), ["mine.txt"]);
    assert!(event(&bob.get(ann.port, "large"), "downloaded").is_some());
}
