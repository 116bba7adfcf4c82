//! Folders: many files, and what a killed node leaves.

use crate::place::{Place, answers_at_once, event};
use std::fs::File;

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
    while !last.contains("\"done\"") {
        last = node.console.program.next_line().expect("a line");
        files += usize::from(last.contains("\"file\""));
    }
    assert_eq!(files, 100_000);
    node.run("status");
    assert!(node.console.program.heard().contains("these are the first 100000"), "it says so");
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
