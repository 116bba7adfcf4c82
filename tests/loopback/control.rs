//! Programs at the control socket of a real node.

use crate::place::{LIMIT, PEER, Place, content, registry, until};
use crate::support::{self, Console, Program, skip};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// A question to the node of this name.
fn ctl(place: &Place, name: &str, words: &[&str]) -> Command {
    let mut command = Command::new(PEER);
    command.args(["ctl", "--state"]).arg(place.path(name).join("state")).args(words);
    command
}

/// What it prints, and its exit status.
fn asked(mut command: Command) -> (String, i32) {
    let done = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    (text.into_owned(), done.status.code().expect("an exit status"))
}

#[test]
fn who_follows_sees_what_others_do_and_the_end() {
    let Some(place) = Place::new("who follows a node") else { return };
    place.write("ann/shared_files/a file.bin", &content(1, 3_000_000));
    let (mut ann, mut bob) = (place.node("ann", &[]), place.node("bob", &[]));
    ann.has_hashed(1);
    let mut follower =
        Console { program: Program::start("events", &mut ctl(&place, "bob", &["--json", "events"])) };
    // It is heard of as soon as it is there.
    until("it follows", || {
        bob.run("limit");
        follower.program.heard().contains("\"limit\"").then_some(())
    });
    let port = ann.port.to_string();
    let (said, status) = asked(ctl(&place, "bob", &["get", "127.0.0.1", &port, "a file.bin"]));
    assert_eq!(
        (said.as_str(), status),
        ("downloaded a file.bin (3.0 MB, verified) to downloads/a file.bin\n", 0)
    );
    assert_eq!(follower.event("downloaded")["name"], "a file.bin");
    // The console of the node is told of its own only.
    let events = bob.run("downloads");
    assert!(events.iter().all(|event| event["event"] != "downloaded"), "{events:?}");
    // Many at once each get their own answer, those beyond the bound a clear word.
    let many: Vec<_> = (0..20)
        .map(|_| ctl(&place, "bob", &["--json", "status"]).stdout(Stdio::piped()).spawn())
        .map(|child| child.expect("it runs"))
        .collect();
    let mut answered = 0;
    for child in many {
        let done = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        match done.status.code() {
            Some(0) => {
                let lines: Vec<Value> =
                    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
                assert!(lines.len() == 2 && lines[0]["event"] == "status", "{text}");
                answered += 1;
            }
            status => assert_eq!((status, text.as_str()), (Some(6), "")),
        }
    }
    assert!(answered >= 7, "{answered} of 20");
    let (said, status) = asked(ctl(&place, "bob", &["quit"]));
    assert_eq!((said.as_str(), status), ("", 0));
    assert_eq!(follower.program.ended(LIMIT), Some(0));
    assert_eq!(bob.ended(LIMIT), Some(0));
    assert!(!place.names("bob/state").contains(&"control".to_owned()));
}

#[test]
fn what_readme_asks_a_node_is_answered() {
    let Some(place) = Place::new("README's questions") else { return };
    let (_registry, at) = registry(&place);
    place.write("ann/shared_files/welcome.txt", b"hello");
    let mut ann = place.node("ann", &["--bootstrap", &at]);
    ann.has_hashed(1);
    assert!(ann.run("bootstrap").iter().any(|event| event["event"] == "registered"));
    let mut bob = place.command("bob", &["--daemon", "--join", "--bootstrap", &at]);
    let mut bob = Program::start("bob", &mut bob);
    until("it listens", || bob.heard().contains("ready: ").then_some(()));
    let page = fs::read_to_string(support::root().join("README.md")).expect("README.md");
    let lines = page.lines().filter_map(|line| line.strip_prefix("ds-peer ctl 9000 "));
    let questions: Vec<&str> = lines.filter_map(|line| line.split('#').next()).map(str::trim).collect();
    assert_eq!(questions, ["status", "search welcome", "get 2.1", "quit"]);
    for question in questions {
        let (said, status) = asked(ctl(&place, "bob", &question.split(' ').collect::<Vec<_>>()));
        assert_eq!(status, 0, "{question}: {said}");
        assert!(!question.starts_with("search") || said.contains("to download: get 2."), "{said}");
    }
    assert_eq!(bob.ended(LIMIT), Some(0));
    assert_eq!(fs::read(place.path("bob/downloads/welcome.txt")).expect("it was fetched"), b"hello");
}

#[test]
fn who_is_killed_while_it_waits_holds_nothing() {
    let Some(place) = Place::new("a killed program at the control socket") else { return };
    let mut bob = place.node("bob", &[]);
    let mut connections = || bob.run("status")[0]["connections"].as_u64().expect("a number");
    let before = connections();
    let mut waits = ctl(&place, "bob", &["wait", "1000"]).spawn().expect("it runs");
    until("it is there", || (connections() == before + 1).then_some(()));
    waits.kill().expect("it runs");
    waits.wait().expect("it ended");
    until("it is gone", || (connections() == before).then_some(()));
}

#[test]
fn another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return skip("another_user_is_refused", "only root can be another user");
    }
    let Some(place) = Place::new("another user at the control socket") else { return };
    let _bob = place.node("bob", &[]);
    // Even where folders let everybody through.
    for folder in ["", "bob", "bob/state"] {
        fs::set_permissions(place.path(folder), Permissions::from_mode(0o755)).expect("ours");
    }
    let mut command = Command::new(place.program());
    command.args(["ctl", "--state"]).arg(place.path("bob/state")).arg("status").uid(65_534).gid(65_534);
    let (said, status) = asked(command);
    assert_eq!(status, 5, "{said}");
    assert!(said.contains("is another user's"), "{said}");
    assert_eq!(asked(ctl(&place, "bob", &["status"])).1, 0);
}

#[test]
fn a_script_for_a_node_ends_at_its_first_failure_and_not_the_node() {
    let Some(place) = Place::new("a script for a node") else { return };
    let mut bob = place.node("bob", &[]);
    let mut command = ctl(&place, "bob", &["--json"]);
    let mut script = Program::start("script", &mut command);
    script.tell("limit up 5M");
    script.tell("get 1");
    script.tell("quit");
    assert_eq!(script.ended(LIMIT), Some(2), "the first failure ends the script, before `quit`");
    let limit = &bob.run("limit")[0];
    assert_eq!(limit["up"], 5_000_000);
}
