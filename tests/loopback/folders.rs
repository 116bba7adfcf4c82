//! Folders: many files, and what a killed node leaves.

use crate::place::{LIMIT, Node, PEER, content};
use crate::place::{Place, answers_at_once, event, until};
use crate::support::{self, Program, skip};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
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
    assert_eq!(cut.trim(), r#"{"event":"truncated","files":100000,"op":1}"#);
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

/// How a node ends that nobody tells anything, and what it said.
fn ended(mut command: Command) -> (Option<i32>, String) {
    let mut program = Program::start("bob", &mut command);
    program.end_input();
    let status = program.ended(LIMIT);
    while program.next_line().is_some() {}
    until("its words", || (status == Some(0) || !program.heard().is_empty()).then_some(()));
    (status, program.heard())
}

#[test]
fn the_system_s_folders_are_refused_whatever_home_is() {
    // hostile: 175
    let Some(place) = Place::new("the system's folders") else { return };
    place.write("bob/here", b"the folder");
    symlink("/usr", place.path("bob/link")).expect("a link");
    for home in ["/etc", "/", "/nonexistent"] {
        for (option, folder) in [
            ("--shared", "/usr"),
            ("--shared", "/proc/self"),
            ("--shared", "/sys"),
            ("--shared", "/dev"),
            ("--shared", "/var"),
            ("--shared", "../bob/link"),
            ("--shared", "/etc/../usr"),
            ("--downloads", "/usr"),
        ] {
            let mut command = place.command("bob", &[option, folder]);
            command.env("HOME", home);
            let (status, said) = ended(command);
            assert_eq!(status, Some(1), "{home} {folder}: {said}");
            let told = said.contains("will not") && said.contains("--allow-system") && said.contains(option);
            assert!(told && said.contains(folder) && !said.contains("ready"), "{home} {folder}: {said}");
        }
        let mut command = place.command("bob", &["--shared", "/etc"]);
        command.env("HOME", home);
        let (status, said) = ended(command);
        assert!(status == Some(1) && said.contains("will not share \"/etc\""), "{home}: {said}");
    }
    let (_, said) = ended(place.command("bob", &["--shared", "link"]));
    assert!(
        said.contains("will not share \"link\": it is \"/usr\", which is a folder of the system"),
        "{said}"
    );
    let (status, said) = ended(place.command("bob", &["--shared", "/proc/self", "--allow-system"]));
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("[WARN] --allow-system: \"/proc/self\" is used although it lies on proc"),
        "{said}"
    );
}

#[test]
fn only_the_default_folders_are_made() {
    let Some(place) = Place::new("a mistyped folder") else { return };
    for option in ["--shared", "--downloads"] {
        let (status, said) = ended(place.command("bob", &[option, "mistyped"]));
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains("there is no such folder") && said.contains("mkdir -p \"mistyped\""), "{said}");
    }
    assert_eq!(place.names("bob"), Vec::<String>::new());
    let (status, said) = ended(place.command("bob", &[]));
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(place.names("bob"), ["downloads", "shared_files", "state"]);
}

/// Names of the files that a node offers.
fn offered(node: &mut Node) -> Vec<String> {
    let events = node.run("files");
    let files = events.iter().filter(|event| event["event"] == "file");
    files.filter_map(|event| event["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_shared_folder_may_be_replaced_while_the_node_runs() {
    let Some(place) = Place::new("a replaced folder") else { return };
    let shared = place.path("bob/shared_files");
    place.write("bob/shared_files/old", b"old");
    let mut node = place.node("bob", &[]);
    let mut sees = |what: &str, files: &[&str]| until(what, || (offered(&mut node) == files).then_some(()));
    sees("the first", &["old"]);
    fs::rename(&shared, place.path("bob/aside")).expect("moved");
    sees("moved away", &[]);
    place.write("bob/shared_files/new", b"new");
    sees("made anew", &["new"]);
    fs::remove_dir_all(&shared).expect("removed");
    place.write("bob/shared_files/newer", b"newer");
    sees("removed and made anew", &["newer"]);
    place.write("bob/shared_files/newest", b"newest");
    sees("a change in that one", &["newer", "newest"]);
    fs::remove_dir_all(&shared).expect("removed");
    symlink("aside", &shared).expect("a link");
    sees("a link", &["old"]);
    let told = node.console.program.heard();
    assert!(
        told.contains("nothing is shared until") && told.contains("is another folder than before"),
        "{told}"
    );
}

/// Root may read everything: where root runs this, the node does not.
fn as_nobody(place: &Place, name: &str, folders: &[&str]) -> Node {
    let mut command = place.command(name, &["--json", "--keep-going", "--log-level", "warn"]);
    if rustix::process::geteuid().is_root() {
        const NOBODY: u32 = 65534;
        let open = fs::set_permissions(place.path("."), fs::Permissions::from_mode(0o755));
        open.expect("ours");
        for folder in folders {
            chown(place.path(folder), Some(NOBODY), Some(NOBODY)).expect("given away");
        }
        let mut other = Command::new(place.program());
        other.args(command.get_args()).current_dir(place.path(name)).uid(NOBODY).gid(NOBODY);
        command = other;
    }
    Node::started(Program::start(name, &mut command))
}

#[test]
fn what_may_not_be_read_is_not_offered_until_it_may_and_is_told() {
    let Some(place) = Place::new("unreadable files") else { return };
    let at = |name: &str| place.path("bob/shared_files").join(name);
    for name in ["open", "secret", "closed/in it", "listed only/in it"] {
        place.write(&format!("bob/shared_files/{name}"), name.as_bytes());
    }
    let mode =
        |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("set");
    let hidden = [("secret", 0o200), ("closed", 0o300), ("listed only", 0o600)];
    hidden.iter().for_each(|(name, to)| mode(name, *to));
    let owned = [
        "bob",
        "bob/shared_files",
        "bob/shared_files/secret",
        "bob/shared_files/closed",
        "bob/shared_files/listed only",
    ];
    let mut node = as_nobody(&place, "bob", &owned);
    until("the first listing", || (node.status()["index"]["hashed_files"] == 1).then_some(()));
    let status = node.status();
    let left_out = &status["index"]["left_out"];
    assert_eq!((&left_out["unreadable"], &left_out["names"]), (&3.into(), &0.into()), "{left_out}");
    assert_eq!(left_out["examples"], serde_json::json!(["closed/", "listed only/", "secret"]));
    let files = node.run("files");
    assert_eq!(event(&files, "left_out").expect("told")["unreadable"], 3, "{files:?}");
    until("the words", || node.console.program.heard().contains("not offered to others: 3").then_some(()));
    hidden.iter().for_each(|(name, to)| mode(name, to | 0o700));
    until("all is offered", || {
        let index = &node.status()["index"];
        (index["hashed_files"] == 4 && index["left_out"]["unreadable"] == 0).then_some(())
    });
    mode("secret", 0o200);
    until("it is not offered any more", || (node.status()["index"]["files"] == 3).then_some(()));
}

#[test]
fn downloads_that_went_away_are_made_again() {
    let Some(place) = Place::new("downloads removed") else { return };
    place.write("alice/shared_files/file", &content(4, 100_000));
    let mut alice = place.node("alice", &[]);
    alice.has_hashed(1);
    let mut bob = place.node("bob", &[]);
    let downloads = place.path("bob/downloads");
    let removals: [&dyn Fn(); 3] = [
        &|| fs::remove_dir_all(&downloads).expect("removed"),
        &|| fs::remove_dir_all(downloads.join(".parts")).expect("removed"),
        &|| fs::rename(&downloads, place.path("bob/moved")).expect("moved"),
    ];
    for remove in removals {
        remove();
        let events = bob.get(alice.port, "file");
        let saved = event(&events, "downloaded").unwrap_or_else(|| panic!("{events:?}"));
        let path = place.path("bob").join(saved["path"].as_str().expect("a path"));
        assert_eq!(fs::read(&path).expect("it is there"), content(4, 100_000));
        fs::remove_file(path).expect("removed");
    }
    assert!(!bob.console.program.heard().contains("cannot be noted"));
}

/// A node that only shares needs no place for downloads, if nobody named one.
#[test]
fn a_node_shares_where_downloads_cannot_be_saved() {
    let Some(place) = Place::new("a read-only folder") else { return };
    fs::create_dir_all(place.path("bob")).expect("a folder of ours");
    place.write("files/file", b"shared");
    let run = |more: &str| {
        let line = format!(
            "mount -t tmpfs none bob && mkdir bob/named && mount -o remount,ro bob && cd bob && \
             printf 'files\\nget 127.0.0.1 9 x\\n' | {PEER} 127.0.0.1 0 --json --keep-going --state ../state \
             --shared ../files {more} 2>&1"
        );
        let mut command = Command::new("unshare");
        let ended = command.args(["-r", "-m", "sh", "-c", &line]).current_dir(place.path(".")).output();
        let ended = ended.expect("unshare is there");
        (ended.status.code(), String::from_utf8_lossy(&ended.stdout).into_owned())
    };
    let (status, said) = run("");
    if said.is_empty() {
        return skip("a read-only folder", "no disk can be mounted here");
    }
    let warned = said.contains("downloads cannot be saved: cannot use the folder \"downloads\"");
    assert!(warned && said.contains("read-only") && said.contains("\"ready\""), "{status:?} {said}");
    let (status, said) = run("--downloads named");
    assert!(status == Some(1) && said.contains("cannot use the folder") && !said.contains("ready"), "{said}");
}

#[test]
fn an_open_node_of_root_is_warned() {
    let Some(place) = Place::new("a node of root") else { return };
    let warned = |more: &[&str]| {
        let (status, said) = ended(place.command("bob", more));
        assert_eq!(status, Some(0), "{said}");
        said.matches("run by root").count()
    };
    assert_eq!(warned(&[]), usize::from(rustix::process::geteuid().is_root()));
    let made = Command::new(PEER).args(["group", "new", "key"]).current_dir(place.path("bob")).output();
    assert!(made.is_ok_and(|made| made.status.success()));
    assert_eq!(warned(&["--group", "key"]), 0);
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
