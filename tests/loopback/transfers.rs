//! Files between two processes: many at once, large, oddly named.

use crate::place::{LIMIT, MIB, Place, content, event, large, same};
use std::fs;

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
    // No two of them have the same content: that would be fetched once.
    for (i, (name, size)) in (0..).zip(&files) {
        place.write(&format!("ann/shared_files/{name}"), &content(i, *size));
    }
    let (ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    for (i, (name, size)) in (0..).zip(files) {
        let events = bob.get(ann.port, &name);
        assert_eq!(event(&events, "downloaded").map(|done| &done["bytes"]), Some(&size.into()), "{events:?}");
        let got = fs::read(place.path(&format!("bob/downloads/{name}"))).expect("it said so");
        assert!(got == content(i, size), "{name} has other bytes");
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

#[test]
fn a_large_file_arrives() {
    let Some(place) = Place::new("a large file") else { return };
    large(&place, "ann/shared_files/large", 256, 7);
    let (ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    let events = bob.get(ann.port, "large");
    assert_eq!(
        event(&events, "downloaded").map(|done| &done["bytes"]),
        Some(&(256 * MIB).into()),
        "{events:?}"
    );
    same(&place, "ann/shared_files/large", "bob/downloads/large");
}
