//! Folders: many files, and what a killed node leaves.

use crate::place::{LIMIT, PEER, content};
use crate::place::{Place, answers_at_once, event};
use crate::support::{self, skip};
use std::fs::File;
use std::process::Command;

#[test]
fn a_folder_of_too_many_files_is_listed_as_far_as_is_good() {
    // hostile: 174
    let Some(place) = Place::new("too many files") else { return };
    place.write("bob/shared_files/a", b"");
    for i in 0..100_001 {
        File::create(place.path(&format!("bob/shared_files/{i}"))).expect("a file of ours");
    }
    let mut node = place.node("bob", &[]);
    node.console.program.tell("files");
    // While it is being read.
    answers_at_once(node.port);
    let mut files = 0;
    let mut last = String::new();
    let mut cut = String::new();
    while !last.contains("\"done\"") {
        last = node.console.program.next_line().expect("a line");
        files += usize::from(last.contains("\"file\""));
        if last.contains("truncated") {
            cut.clone_from(&last);
        }
    }
    assert_eq!(files, 100_000);
    assert_eq!(cut.trim(), r#"{"event":"truncated","files":100000}"#);
}

#[test]
fn a_second_node_on_one_state_folder_is_refused() {
    // hostile: 165
    let Some(place) = Place::new("one state folder") else { return };
    let mut first = place.node("bob", &[]);
    let mut second = crate::support::Program::start("second", &mut place.command("bob", &[]));
    assert_eq!(second.ended(crate::place::LIMIT), Some(1));
    crate::place::until("its words", || second.heard().contains("in use by another process").then_some(()));
    assert!(event(&first.run("status"), "status").is_some(), "the first goes on");
    drop(first);
    place.node("bob", &[]);
}

/// The end of a node whose folders lie on a disk of 256 KiB. Nothing, with a word, where none can be made.
fn on_a_small_disk(place: &Place, commands: &str) -> Option<(bool, String, String)> {
    let mount = "mount -t tmpfs -o size=256k none bob";
    let namespace = |line: &str| {
        let mut command = Command::new("unshare");
        command.args(["-r", "-m", "sh", "-c", line]).current_dir(place.path("."));
        command
    };
    if !namespace(mount).status().is_ok_and(|status| status.success()) {
        skip("a full disk", "no disk can be mounted here");
        return None;
    }
    let node = format!("{PEER} 127.0.0.1 0 --state ../state 2>&1");
    let line = format!(
        "{mount} && cd bob && {{ printf '{commands}' | {node}; echo status $?; ls -A downloads/.parts shared_files; }}"
    );
    Some(support::run(&mut namespace(&line), LIMIT))
}

#[test]
fn a_full_disk_is_named_and_nothing_is_kept() {
    // hostile: 156
    let Some(place) = Place::new("a full disk") else { return };
    place.write("ann/shared_files/large", &content(1, 1 << 20));
    place.write("bob/here", b"the folder");
    let ann = place.node("ann", &[]);
    let large = place.path("ann/shared_files/large");
    for command in [format!("get 127.0.0.1 {} large", ann.port), format!("share {}", large.display())] {
        let Some((done, out, err)) = on_a_small_disk(&place, &format!("{command}\\n")) else { return };
        // The size is known in advance; a copy only finds out.
        let words = if command.starts_with("get") { "above its reserve" } else { "nothing is kept" };
        assert!(done && out.contains("no space left") && out.contains(words), "{out}{err}");
        assert!(out.ends_with("status 9\ndownloads/.parts:\n\nshared_files:\n"), "{out}{err}");
    }
}
