//! Downloads over version 2: sealed, verified, with their folders; and what a program and a person are told of them.

use crate::place::{LIMIT, MIB, Place, content, event, large, same};
use crate::support;
use crate::terminal::Screen;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn a_file_in_a_folder_arrives_whole_verified_and_in_its_folder() {
    let Some(place) = Place::new("a file in a folder") else { return };
    let name = "Música/live 2023/concert.flac";
    large(&place, &format!("ann/shared_files/{name}"), 64, 8);
    place.write("ann/shared_files/empty", b"");
    let (mut ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    // Asked for while it is being hashed.
    let events = bob.get(ann.port, name);
    let done = event(&events, "downloaded").unwrap_or_else(|| panic!("{events:?}"));
    let expected = json!({ "event": "downloaded", "op": done["op"], "name": name, "path": format!("downloads/{name}"),
        "bytes": 64 * MIB, "verified": true, "sources": 1, "resumed": 0 });
    assert_eq!(done, &expected);
    same(&place, &format!("ann/shared_files/{name}"), &format!("bob/downloads/{name}"));
    assert_eq!(place.names("bob/downloads/.parts"), [""; 0]);
    let events = bob.run("get empty");
    assert!(event(&events, "downloaded").is_some_and(|done| done["bytes"] == 0), "{events:?}");
    // Twice: it is here.
    let events = bob.run("get \"Música/live 2023/concert.flac\"");
    let done = event(&events, "downloaded").unwrap_or_else(|| panic!("{events:?}"));
    assert_eq!(
        (&done["already"], &done["path"]),
        (&json!(true), &json!(format!("downloads/{name}"))),
        "{done}"
    );
    assert_eq!(ann.sent(), 64 * MIB as u64);
}

#[test]
fn a_source_killed_in_the_middle_gives_the_rest_from_elsewhere() {
    // hostile: 75, 111
    let Some(place) = Place::new("a source killed in the middle") else { return };
    large(&place, "ann/shared_files/folder/large", 24, 8);
    let mut ann = place.node("ann", &["--limit-up", "12MB/s"]);
    let mut bob = place.node("bob", &[]);
    ann.has_hashed(1);
    bob.console.program.tell(&format!("get 127.0.0.1 {} folder/large &", ann.port));
    while bob.progress()["bytes"].as_u64() < Some(6 * MIB as u64) {}
    ann.signal(Signal::KILL);
    ann.ended(LIMIT);
    assert_eq!(place.names("bob/downloads"), [".parts"]);
    assert_eq!(place.names("bob/downloads/.parts").len(), 2);
    // It comes back at another port: content is what counts, not where it was. What came from the first is kept.
    let mut ann = place.node("ann", &[]);
    bob.console.program.tell(&format!("get 127.0.0.1 {} folder/large", ann.port));
    let done = bob.console.event("downloaded");
    assert_eq!((&done["verified"], &done["bytes"]), (&json!(true), &json!(24 * MIB)), "{done}");
    assert!(ann.sent() < 22 * MIB as u64, "{} bytes came anew", ann.sent());
    same(&place, "ann/shared_files/folder/large", "bob/downloads/folder/large");
    assert_eq!(place.names("bob/downloads/.parts"), [""; 0]);
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
    large(&place, "ann/shared_files/folder/large", 16, 8);
    let (mut ann, mut bob) = (place.node("ann", &["--limit-up", "12MB/s"]), place.node("bob", &[]));
    ann.has_hashed(1);
    bob.console.program.tell(&format!("get 127.0.0.1 {} folder/large &", ann.port));
    let progress = bob.progress();
    assert_eq!(progress["size"], 16 * MIB, "{progress}");
    assert!(progress["bytes"].as_u64().is_some_and(|n| n > 0 && n <= 16 * MIB as u64), "{progress}");
    let mut events = vec![progress];
    for command in ["transfers", "limit", "pause 1", "resume 1"] {
        bob.console.program.tell(command);
        loop {
            let event = bob.console.any();
            events.push(event.clone());
            if event["event"] == "done"
                && Some(&event["command"]) == command.split(' ').next().map(Value::from).as_ref()
            {
                break;
            }
        }
    }
    for command in ["search large", "nodes all", &format!("browse 127.0.0.1:{}", ann.port), "search nothing"]
    {
        events.extend(bob.run(command));
    }
    let mut seen = BTreeSet::new();
    for event in &events {
        let name = event["event"].as_str().expect("a name").to_owned();
        let expected = promised(&name);
        let has: BTreeSet<String> =
            fields(event).into_iter().filter(|f| !["event", "op"].contains(f)).map(str::to_owned).collect();
        assert!(event["op"].as_u64().is_some_and(|op| op > 0), "all of them come of commands: {event}");
        assert_eq!(has, expected, "{event}");
        seen.insert(name);
    }
    let wanted = [
        "done",
        "downloaded",
        "error",
        "file",
        "found",
        "limit",
        "node",
        "paused",
        "progress",
        "result",
        "transfer",
    ];
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
    large(&place, "ann/shared_files/large", 24, 8);
    let mut ann = place.node("ann", &["--limit-up", "12MB/s"]);
    ann.has_hashed(1);
    let Some(mut bob) = Screen::of(test, place.command("bob", &[]), 80, true) else { return };
    bob.shows("distrishare> ");
    bob.press(&format!("get 127.0.0.1 {} large\n", ann.port));
    let line = bob.shows(" left");
    let (_, progress) = line.rsplit_once("\r\x1b[K").expect("a line of its own");
    assert!(progress.starts_with("large  ") && progress.contains(" of 25.2 MB  "), "{progress:?}");
    bob.shows("\r\x1b[Kdownloaded large (25.2 MB, verified) to downloads/large\r\n");
    let pid = Pid::from_child(&bob.child);
    bob.shows("distrishare> ");
    kill_process(pid, Signal::TERM).expect("it runs");
    bob.ends(0);
}
