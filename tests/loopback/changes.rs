//! The shared folder of a running node changes, as the kernel tells it; and what is kept of it over a restart.

use crate::place::{LIMIT, Node, Place, content, event, until};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(3);

/// The names a search finds.
fn found(node: &mut Node, words: &str) -> Vec<String> {
    let events = node.run(&format!("search {words}"));
    let results = events.iter().filter(|event| event["event"] == "result");
    results.map(|event| event["name"].as_str().expect("a name").to_owned()).collect()
}

/// Searches until this is what is found, for three seconds.
#[track_caller]
fn soon(node: &mut Node, words: &str, wanted: &[&str]) {
    let end = Instant::now() + SOON;
    loop {
        let names = found(node, words);
        if names == wanted {
            return;
        }
        assert!(Instant::now() < end, "{words}: {names:?} and not {wanted:?} after {SOON:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_happens_in_the_shared_folder_is_found_soon() {
    let Some(place) = Place::new("a folder that changes") else { return };
    place.write("ann/shared_files/first.txt", b"one");
    place.write("elsewhere/copy.bin", &content(1, 3_000_000));
    let (ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    // By this they know each other.
    assert!(event(&bob.get(ann.port, "first.txt"), "downloaded").is_some());
    soon(&mut bob, "first", &["first.txt"]);

    let shared = |name: &str| place.path(&format!("ann/shared_files/{name}"));
    fs::copy(place.path("elsewhere/copy.bin"), shared("copied.bin")).expect("ours");
    soon(&mut bob, "copied", &["copied.bin"]);
    fs::rename(shared("copied.bin"), shared("renamed.bin")).expect("ours");
    soon(&mut bob, "renamed", &["renamed.bin"]);
    soon(&mut bob, "copied", &[]);
    fs::create_dir_all(shared("new/deep")).expect("ours");
    fs::rename(place.path("elsewhere/copy.bin"), shared("new/deep/moved in.bin")).expect("ours");
    soon(&mut bob, "\"new/deep/moved in.bin\"", &["new/deep/moved in.bin"]);
    fs::rename(shared("new"), shared("old")).expect("ours");
    soon(&mut bob, "\"old/deep/moved in.bin\"", &["old/deep/moved in.bin"]);
    soon(&mut bob, "new/deep", &[]);
    // What grows in place is another file.
    fs::write(shared("first.txt"), b"one and two").expect("ours");
    let end = Instant::now() + SOON;
    loop {
        let events = bob.run("search first.txt");
        if event(&events, "result").is_some_and(|result| result["size"] == 11) {
            break;
        }
        assert!(Instant::now() < end, "{events:?}");
    }
    fs::remove_file(shared("renamed.bin")).expect("ours");
    soon(&mut bob, "renamed", &[]);
    fs::remove_dir_all(shared("old")).expect("ours");
    soon(&mut bob, "moved", &[]);
    // A name begins with a dot until the file is whole, as browsers and rsync do it.
    fs::write(shared(".part"), content(2, 100_000)).expect("ours");
    fs::rename(shared(".part"), shared("whole.bin")).expect("ours");
    soon(&mut bob, "whole", &["whole.bin"]);
    let events = bob.get(ann.port, "whole.bin");
    assert!(event(&events, "downloaded").is_some_and(|done| done["verified"] == true), "{events:?}");
}

fn status(node: &mut Node) -> Value {
    event(&node.run("status"), "status").expect("its status").clone()
}

/// Bytes a process has read, from files and from others.
fn read_by(pid: Pid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/io", pid.as_raw_nonzero())).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("the kernel counts");
    line.parse().expect("a number")
}

#[test]
fn a_restart_hashes_nothing_again() {
    let Some(place) = Place::new("an index that is kept") else { return };
    const MIB: usize = 1 << 20;
    for i in 0..20 {
        place.write(&format!("ann/shared_files/folder {}/{i}.bin", i % 3), &content(i, MIB));
    }
    let hashed = |node: &mut Node| {
        until("the index", || {
            let status = status(node);
            let index = &status["index"];
            (index["files"] == 20 && index["hashed_bytes"] == 20 * MIB).then(|| index.clone())
        })
    };
    for (start, signal) in [("first", Signal::TERM), ("second", Signal::KILL), ("third", Signal::TERM)] {
        let mut ann = place.node("ann", &[]);
        let index = hashed(&mut ann);
        assert_eq!((&index["bytes"], &index["full"]), (&Value::from(20 * MIB), &Value::from(false)));
        let read = read_by(ann.pid());
        assert_eq!(read > 20 * MIB as u64, start == "first", "{start}: {read} bytes read");
        ann.signal(signal);
        ann.ended(LIMIT);
    }
    // But what changed meanwhile is.
    place.write("ann/shared_files/folder 0/0.bin", &content(99, MIB + 1));
    let mut ann = place.node("ann", &[]);
    until("the index", || (status(&mut ann)["index"]["hashed_bytes"] == 20 * MIB + 1).then_some(()));
    let read = read_by(ann.pid());
    assert!(read > MIB as u64 && read < 4 * MIB as u64, "{read} bytes read");
}

#[test]
fn files_are_fetched_from_a_node_that_cannot_keep_its_index() {
    let Some(place) = Place::new("no index log") else { return };
    place.write("ann/shared_files/film", &content(3, 5 << 20));
    place.write("ann/state/index.log/in the way", b"a folder");
    fs::set_permissions(place.path("ann/state"), fs::Permissions::from_mode(0o700)).expect("ours");
    let (mut ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    ann.has_hashed(1);
    let events = bob.get(ann.port, "film");
    let saved = event(&events, "downloaded").unwrap_or_else(|| panic!("{events:?}"));
    let path = place.path("bob").join(saved["path"].as_str().expect("a path"));
    assert_eq!(fs::read(path).expect("there"), content(3, 5 << 20));
    until("the words", || ann.console.program.heard().contains("the index cannot be kept").then_some(()));
}

#[test]
fn what_was_written_under_an_old_time_is_read_again_and_what_was_only_touched_up_is_not() {
    let Some(place) = Place::new("a time that was set back") else { return };
    const MIB: usize = 1 << 20;
    let path = place.path("ann/shared_files/vault");
    place.write("ann/shared_files/vault", &content(1, 4 * MIB));
    let (mut ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    ann.has_hashed(1);
    let port = ann.port;
    let root = |bob: &mut Node| {
        let files = bob.run(&format!("browse 127.0.0.1 {port}"));
        let vault = files.iter().find(|event| event["name"] == "vault");
        vault.map(|file| file["root"].clone()).filter(Value::is_string)
    };
    let (old, read) = (root(&mut bob).expect("a root"), read_by(ann.pid()));
    let modes = [0o600, 0o644].map(|mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
    assert!(modes.iter().all(Result::is_ok) && fs::hard_link(&path, place.path("ann/link")).is_ok());
    place.write("ann/shared_files/next", b"a change after that");
    ann.has_hashed(2);
    assert!(read_by(ann.pid()) - read < MIB as u64, "it was read again");
    fs::remove_file(place.path("ann/shared_files/next")).expect("ours");

    let mut file = fs::OpenOptions::new().write(true).open(&path).expect("ours");
    let time = file.metadata().and_then(|meta| meta.modified()).expect("it has a time");
    file.write_all(b"changed").and_then(|()| file.set_modified(time)).expect("written");
    drop(file);
    until("the change is seen", || root(&mut bob).filter(|now| *now != old));
    let events = bob.get(ann.port, "vault");
    let saved = event(&events, "downloaded").unwrap_or_else(|| panic!("{events:?}"));
    let got = fs::read(place.path("bob").join(saved["path"].as_str().expect("a path"))).expect("there");
    assert!(got[..7] == *b"changed" && got[7..] == content(1, 4 * MIB)[7..]);
}
