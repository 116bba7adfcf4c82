//! Downloads as somebody steers them: paused, cancelled, stopped with the program, taken up again; and the disk full under one.

use crate::place::{MIB, Node, PEER, Place, event, large, registry, same, until};
use crate::support::{self, skip};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

/// The end of input, SIGTERM and `quit` are the same to a download.
#[derive(Clone, Copy, Debug)]
enum End {
    Quit,
    Term,
}

/// A source that gives 24 MiB slowly, and a node that has begun to fetch them.
fn begun(place: &Place, seed: u64) -> (Node, Node) {
    large(place, "ann/shared_files/folder/large", 24, seed);
    let mut ann = place.node("ann", &["--limit-up", "12MB/s"]);
    ann.has_hashed(1);
    let mut bob = place.node("bob", &[]);
    bob.console.program.tell(&format!("get 127.0.0.1 {} folder/large &", ann.port));
    while bob.progress()["bytes"].as_u64() < Some(6 * MIB as u64) {}
    (ann, bob)
}

/// The rows of `transfers`.
fn transfers(node: &mut Node) -> Vec<Value> {
    let mut events = node.run("transfers");
    events.retain(|event| event["event"] == "transfer");
    events
}

/// The events up to the end of this command: others of commands in the background are among them.
fn until_done(node: &mut Node, command: &str) -> Vec<Value> {
    let name = command.split(' ').next().expect("a word");
    let mut events = node.run(command);
    while events.last().is_none_or(|event| event["command"] != name) {
        events.push(node.console.event("done"));
    }
    events
}

#[test]
fn a_script_pauses_resumes_and_cancels() {
    let Some(place) = Place::new("pause and resume") else { return };
    let (_ann, mut bob) = begun(&place, 11);
    let row = transfers(&mut bob).pop().expect("one row");
    assert_eq!((&row["number"], &row["name"]), (&json!(1), &json!("folder/large")), "{row}");
    assert_eq!(
        (&row["state"], &row["sources"], &row["size"]),
        (&json!("receiving"), &json!(1), &json!(24 * MIB))
    );
    assert!(row["root"].as_str().is_some_and(|root| root.len() == 64), "{row}");
    let events = until_done(&mut bob, "pause 1");
    let paused = event(&events, "paused").expect("it says so").clone();
    assert!(paused["bytes"].as_u64() >= Some(4 * MIB as u64), "{paused}");
    let row = transfers(&mut bob).pop().expect("one row");
    assert_eq!(
        (&row["state"], &row["rate"], &row["sources"]),
        (&json!("paused"), &json!(0), &json!(0)),
        "{row}"
    );
    assert_eq!(row["bytes"], paused["bytes"]);
    assert_eq!(place.names("bob/downloads/.parts").len(), 2);
    let wrong = until_done(&mut bob, "resume 2");
    assert_eq!(event(&wrong, "error").map(|error| &error["code"]), Some(&json!("not_found")), "{wrong:?}");
    let events = until_done(&mut bob, "resume folder/large");
    let done = event(&events, "downloaded").unwrap_or_else(|| panic!("{events:?}"));
    assert_eq!((&done["resumed"], &done["sources"]), (&paused["bytes"], &json!(1)), "{done}");
    same(&place, "ann/shared_files/folder/large", "bob/downloads/folder/large");
    assert_eq!(place.names("bob/downloads/.parts"), [""; 0]);
    assert_eq!(transfers(&mut bob), [json!(null); 0]);
    let events = bob.run("get folder/large");
    assert_eq!(event(&events, "downloaded").map(|done| &done["already"]), Some(&json!(true)), "{events:?}");
}

#[test]
fn a_cancelled_download_leaves_nothing() {
    let Some(place) = Place::new("cancel") else { return };
    let (ann, mut bob) = begun(&place, 12);
    until_done(&mut bob, "cancel 1");
    until("nothing", || place.names("bob/downloads/.parts").is_empty().then_some(()));
    // One that is paused, too.
    bob.console.program.tell(&format!("get 127.0.0.1 {} folder/large &", ann.port));
    while bob.progress()["bytes"].as_u64() < Some(2 * MIB as u64) {}
    until_done(&mut bob, "pause all");
    until("two files", || (place.names("bob/downloads/.parts").len() == 2).then_some(()));
    until_done(&mut bob, "cancel folder/large");
    until("nothing", || place.names("bob/downloads/.parts").is_empty().then_some(()));
    assert_eq!(place.names("bob/downloads"), [".parts"]);
    assert_eq!(transfers(&mut bob), [json!(null); 0]);
}

#[test]
fn the_end_of_the_program_keeps_what_is_here() {
    let Some(place) = Place::new("the end in the middle") else { return };
    let (_registry, at) = registry(&place);
    let (mut ann, mut bob) = begun(&place, 13);
    ann.run(&format!("bootstrap {at}"));
    let mut kept = 6 * MIB as u64;
    for end in [End::Quit, End::Term] {
        match end {
            End::Quit => bob.console.program.tell("quit"),
            End::Term => bob.signal(Signal::TERM),
        }
        bob.ended(Duration::from_secs(2));
        assert_eq!(place.names("bob/downloads"), [".parts"], "{end:?}");
        assert_eq!(place.names("bob/downloads/.parts").len(), 2, "{end:?}");
        // Nobody asks for it: it is listed, and waits.
        bob = place.node("bob", &["--no-resume"]);
        let row = bob.console.event("transfer");
        assert_eq!(
            (&row["name"], &row["state"]),
            (&json!("folder/large"), &json!("interrupted")),
            "{end:?}: {row}"
        );
        let number = row["number"].clone();
        bob.run(&format!("bootstrap {at}"));
        bob.console.program.tell(&format!("resume {number} &"));
        let progress = bob.progress();
        assert!(progress["bytes"].as_u64() > Some(kept - 4 * MIB as u64), "{end:?}: {progress}");
        while bob.progress()["bytes"].as_u64() < Some(kept + 4 * MIB as u64) {}
        kept += 4 * MIB as u64;
    }
    // And without a word it goes on.
    bob.console.program.tell("quit");
    bob.ended(Duration::from_secs(2));
    let mut bob = place.node("bob", &["--bootstrap", &at, "--join"]);
    let done = bob.console.event("downloaded");
    assert!(done["resumed"].as_u64() >= Some(kept - 4 * MIB as u64), "{done}");
    same(&place, "ann/shared_files/folder/large", "bob/downloads/folder/large");
    assert_eq!(place.names("bob/downloads/.parts"), [""; 0]);
}

#[test]
fn a_full_disk_keeps_what_was_verified() {
    // hostile: 156
    let Some(place) = Place::new("a disk that fills up") else { return };
    large(&place, "ann/shared_files/large", 24, 14);
    let mut ann = place.node("ann", &["--limit-up", "12MB/s"]);
    ann.has_hashed(1);
    place.write("bob/here", b"the folder");
    let namespace = |line: &str| {
        let mut command = Command::new("unshare");
        command.args(["-r", "-m", "sh", "-c", line]).current_dir(place.path("."));
        command
    };
    let mount = "mount -t tmpfs -o size=64m none bob";
    if !namespace(mount).status().is_ok_and(|status| status.success()) {
        return skip("a disk that fills up", "no disk can be mounted here");
    }
    let node = format!("{PEER} 127.0.0.1 0 --json --state ../state");
    let get = format!("get 127.0.0.1 {} large", ann.port);
    // The rest of the disk is taken once some pieces are in the journal; then there is room again.
    let line = format!(
        "{mount} && cd bob && {{ echo {get} | {node} > said & pid=$!
        until [ $(cat downloads/.parts/*.jnl 2>/dev/null | wc -c) -gt 200 ]; do sleep 0.05; done
        dd if=/dev/zero of=filler bs=64k 2>/dev/null
        wait $pid; echo status $?; cat said; ls -A downloads downloads/.parts; rm filler
        echo {get} | {node}; echo status $?; ls -A downloads downloads/.parts; cmp downloads/large ../ann/shared_files/large; }}"
    );
    let (done, out, err) = support::run(&mut namespace(&line), crate::place::LIMIT);
    assert!(done && out.contains("status 9\n") && out.contains("status 0\n"), "{out}{err}");
    assert!(out.contains("no space left on the disk") && out.contains("are kept"), "{out}{err}");
    let resumed = out.lines().find_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        event["resumed"].as_u64()
    });
    assert!(resumed >= Some(2 * MIB as u64), "{out}{err}");
    assert!(out.contains("downloads:\n.parts\nlarge\n\ndownloads/.parts:\n"), "{out}{err}");
}
