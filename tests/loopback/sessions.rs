//! Downloads over version 2: sealed, verified, with their folders; and what a program and a person are told of them.

use crate::place::{LIMIT, Node, Place, content, event, until};
use crate::support;
use crate::terminal::Screen;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};

const MIB: usize = 1 << 20;

/// A file of so many MiB, each different.
fn large(place: &Place, name: &str, mib: usize) {
    place.write(name, b"");
    let mut file = File::create(place.path(name)).expect("a file of ours");
    for i in 0..mib {
        file.write_all(&content(i as u64, MIB)).expect("room on the disk");
    }
}

#[track_caller]
fn same(place: &Place, a: &str, b: &str) {
    let open = |name: &str| File::open(place.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (mut a, mut b) = (open(a), open(b));
    let (mut x, mut y) = (vec![0; MIB], vec![0; MIB]);
    loop {
        let n = a.read(&mut x).expect("ours");
        b.read_exact(&mut y[..n]).expect("as long");
        assert!(x[..n] == y[..n], "other bytes");
        if n == 0 {
            assert_eq!(b.read(&mut y).expect("ours"), 0, "longer");
            return;
        }
    }
}

/// Bytes in the one unfinished download.
fn part_size(place: &Place) -> u64 {
    let size = |name: &String| fs::metadata(place.path(&format!("bob/downloads/.parts/{name}"))).ok();
    place.names("bob/downloads/.parts").first().and_then(size).map_or(0, |meta| meta.len())
}

#[test]
fn a_file_in_a_folder_arrives_whole_verified_and_in_its_folder() {
    let Some(place) = Place::new("a file in a folder") else { return };
    let name = "Música/live 2023/concert.flac";
    large(&place, &format!("ann/shared_files/{name}"), 64);
    place.write("ann/shared_files/empty", b"");
    let (mut ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    // Asked for while it is being hashed.
    let events = bob.get(ann.port, name);
    let done = event(&events, "downloaded").unwrap_or_else(|| panic!("{events:?}"));
    let expected = json!({ "event": "downloaded", "name": name, "path": format!("downloads/{name}"),
        "bytes": 64 * MIB, "verified": true });
    assert_eq!(done, &expected);
    same(&place, &format!("ann/shared_files/{name}"), &format!("bob/downloads/{name}"));
    assert_eq!(place.names("bob/downloads/.parts"), [""; 0]);
    let events = bob.run("get empty");
    assert!(event(&events, "downloaded").is_some_and(|done| done["bytes"] == 0), "{events:?}");
    // Twice: nothing is overwritten, and the folder is there already.
    let events = bob.run("get \"Música/live 2023/concert.flac\"");
    let path = event(&events, "downloaded").map(|done| &done["path"]);
    assert_eq!(path, Some(&"downloads/Música/live 2023/concert (2).flac".into()), "{events:?}");
    let status = ann.run("status");
    assert_eq!(event(&status, "status").map(|status| &status["uploaded_bytes"]), Some(&(128 * MIB).into()));
}

#[test]
fn a_source_killed_in_the_middle_is_told_and_leaves_nothing() {
    // hostile: 75
    let Some(place) = Place::new("a source killed in the middle") else { return };
    large(&place, "ann/shared_files/folder/large", 64);
    let (mut ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    bob.console.program.tell(&format!("get 127.0.0.1 {} folder/large", ann.port));
    until("a part of the file", || (part_size(&place) > 0).then_some(()));
    ann.signal(Signal::STOP);
    assert!(part_size(&place) < 60 * MIB as u64, "stopped too late to show anything");
    ann.signal(Signal::KILL);
    ann.ended(LIMIT);
    let error = bob.console.event("error");
    assert_eq!(error["code"], "network", "{error}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("nothing is kept")), "{error}");
    assert_eq!(place.names("bob/downloads"), [".parts"]);
    assert_eq!(place.names("bob/downloads/.parts"), [""; 0]);
}

#[test]
fn another_source_goes_on_where_a_killed_one_ended() {
    let Some(place) = Place::new("another source") else { return };
    large(&place, "ann/shared_files/large", 64);
    place.write("carl/shared_files/other name", b"");
    fs::copy(place.path("ann/shared_files/large"), place.path("carl/shared_files/other name")).expect("ours");
    for name in ["ann", "carl"] {
        place.write(&format!("{name}/shared_files/{name}"), b"here");
    }
    let (ann, carl, mut bob) = (place.node("ann", &[]), place.node("carl", &[]), place.node("bob", &[]));
    for (port, name) in [(ann.port, "ann"), (carl.port, "carl")] {
        assert!(event(&bob.get(port, name), "downloaded").is_some());
    }
    let two = |events: &[Value]| {
        event(events, "result").is_some_and(|result| result["sources"].as_array().map(Vec::len) == Some(2))
    };
    until("both have hashed it", || two(&bob.run("search size>1M")).then_some(()));
    bob.console.program.tell("get 1");
    until("a part of the file", || (part_size(&place) > 0).then_some(()));
    bob.signal(Signal::STOP);
    assert!(part_size(&place) < 60 * MIB as u64, "stopped too late to show anything");
    let sent = |node: &mut Node| {
        let status = event(&node.run("status"), "status").expect("its status").clone();
        status["uploaded_bytes"].as_u64().expect("a number") > 1000
    };
    let mut sources = [ann, carl];
    let sender = sources.iter_mut().position(sent).expect("one of them");
    sources[sender].signal(Signal::KILL);
    bob.signal(Signal::CONT);
    let done = bob.console.event("downloaded");
    assert_eq!((&done["verified"], &done["bytes"]), (&json!(true), &json!(64 * MIB)));
    assert!(sent(&mut sources[1 - sender]), "the rest came from the other");
    same(&place, "ann/shared_files/large", &format!("bob/{}", done["path"].as_str().expect("a path")));
}

#[test]
fn several_at_once_over_one_session() {
    let Some(place) = Place::new("several gets at once") else { return };
    for i in 0..12u64 {
        place.write(&format!("ann/shared_files/many/{i}.bin"), &content(i, 700_000 + i as usize));
    }
    let (mut ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    for i in 0..12 {
        bob.console.program.tell(&format!("get 127.0.0.1 {} many/{i}.bin &", ann.port));
    }
    bob.console.program.tell("wait");
    bob.console.program.wait("the end", LIMIT, |line| {
        assert!(!line.contains("\"error\""), "{line}");
        line.contains("\"done\",\"command\":\"wait\"").then_some(())
    });
    for i in 0..12u64 {
        let got = fs::read(place.path(&format!("bob/downloads/many/{i}.bin"))).expect("it was waited for");
        assert!(got == content(i, 700_000 + i as usize), "{i} has other bytes");
    }
    let status = event(&ann.run("status"), "status").expect("its status").clone();
    assert_eq!((&status["sessions"], &status["connections"]), (&json!(1), &json!(1)), "{status}");
}

/// The fields of an event.
fn fields(event: &Value) -> BTreeSet<&str> {
    event.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn events_have_the_fields_that_readme_promises() {
    let Some(place) = Place::new("the fields of events") else { return };
    let page = fs::read_to_string(support::root().join("README.md")).expect("README.md");
    let promised = |name: &str| -> BTreeSet<String> {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let cell = row.unwrap_or_else(|| panic!("README has no {name}")).split('|').nth(2).expect("a cell");
        let names = cell.split('`').skip(1).step_by(2).filter(|name| *name != "null" && *name != "…");
        names.map(str::to_owned).collect()
    };
    large(&place, "ann/shared_files/folder/large", 64);
    let (ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    bob.console.program.tell(&format!("get 127.0.0.1 {} folder/large", ann.port));
    until("a part of the file", || (part_size(&place) > 0).then_some(()));
    // So that there is time for progress.
    ann.signal(Signal::STOP);
    // Its size is not known before the source has hashed it.
    let progress = loop {
        let progress = bob.console.event("progress");
        if progress["bytes"] != 0 {
            break progress;
        }
    };
    assert_eq!(progress["size"], 64 * MIB, "{progress}");
    assert!(progress["bytes"].as_u64().is_some_and(|n| n > 0 && n <= 64 * MIB as u64), "{progress}");
    ann.signal(Signal::CONT);
    let mut events = vec![progress, bob.console.event("downloaded"), bob.console.event("done")];
    for command in ["search large", "nodes all", &format!("browse 127.0.0.1:{}", ann.port), "search nothing"]
    {
        events.extend(bob.run(command));
    }
    let mut seen = BTreeSet::new();
    for event in &events {
        let name = event["event"].as_str().expect("a name").to_owned();
        let expected = promised(&name);
        let has: BTreeSet<String> =
            fields(event).into_iter().filter(|field| *field != "event").map(str::to_owned).collect();
        assert_eq!(has, expected, "{event}");
        seen.insert(name);
    }
    let wanted = ["done", "downloaded", "error", "file", "found", "node", "progress", "result"];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    let root =
        |name: &str| events.iter().find(|event| event["event"] == name).map(|event| event["root"].clone());
    assert_eq!(root("found"), root("result"));
    assert_eq!(root("file"), root("result"));
    assert!(root("result").is_some_and(|root| root.as_str().is_some_and(|root| root.len() == 64)));
}

#[test]
fn the_progress_line_tells_size_and_time_left() {
    let test = "the progress of a verified download";
    let Some(place) = Place::new(test) else { return };
    large(&place, "ann/shared_files/large", 64);
    let ann = place.node("ann", &[]);
    let Some(mut bob) = Screen::of(test, place.command("bob", &[]), 80, true) else { return };
    bob.shows("distrishare> ");
    bob.press(&format!("get 127.0.0.1 {} large\n", ann.port));
    until("a part of the file", || (part_size(&place) > 0).then_some(()));
    ann.signal(Signal::STOP);
    let line = bob.shows(" left");
    let (_, progress) = line.rsplit_once("\r\x1b[K").expect("a line of its own");
    assert!(progress.starts_with("large  ") && progress.contains(" of 67.1 MB  "), "{progress:?}");
    ann.signal(Signal::CONT);
    bob.shows("\r\x1b[Kdownloaded large (67.1 MB, verified) to downloads/large\r\n");
    let pid = Pid::from_child(&bob.child);
    bob.shows("distrishare> ");
    kill_process(pid, Signal::TERM).expect("it runs");
    bob.ends(0);
}
