//! README is true: what it marks as run is run here, and the options, commands and exit statuses it names are the
//! programs' own.

// Tests live in the world: they have a clock and an environment.
#![allow(clippy::disallowed_methods)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Program, skip};

const PEER: &str = env!("CARGO_BIN_EXE_ds-peer");
const BOOTSTRAP: &str = env!("CARGO_BIN_EXE_ds-bootstrap");
const LIMIT: Duration = Duration::from_secs(60);

fn readme() -> String {
    fs::read_to_string(support::root().join("README.md")).expect("README.md")
}

/// Whether both programs are more than stubs.
fn built(test: &str) -> bool {
    let stub = [PEER, BOOTSTRAP].into_iter().find(|program| !support::is_built(Path::new(program)));
    if let Some(stub) = stub {
        skip(test, &format!("{stub} is a stub"));
    }
    stub.is_none()
}

#[test]
fn what_readme_shows_runs() {
    if !built("README's commands") {
        return;
    }
    let folder = Path::new(PEER).parent().expect("it lies in a folder");
    for line in support::marked_commands(&readme()) {
        // `cargo test` is what runs this test.
        let Some(script) = line.strip_prefix("./") else { continue };
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(support::root().join(script));
        command.env("DS_BIN", folder).env("TMPDIR", temporary.path());
        let (done, out, err) = support::run(&mut command, LIMIT);
        assert!(done, "./{script}:\n{out}\n{err}");
        let welcome =
            fs::read_to_string(support::root().join("shared_files/welcome.txt")).expect("our sample");
        let first = welcome.lines().next().expect("it has a line");
        assert!(out.contains(first), "./{script} shows the file that moved:\n{out}");
        assert!(!out.contains('\x1b'), "no colours into a pipe:\n{out}");
        let left: Vec<_> = fs::read_dir(temporary.path()).expect("still there").collect();
        assert!(left.is_empty(), "./{script} cleans up after itself: {left:?}");
    }
}

#[test]
fn the_demo_says_what_went_wrong() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(support::root().join("demo"));
    command.env("DS_BIN", folder.path()).env("TMPDIR", folder.path());
    let (done, out, err) = support::run(&mut command, LIMIT);
    assert!(!done && err.contains("The demo failed: the registry did not start"), "{out}\n{err}");
    assert_eq!(fs::read_dir(folder.path()).expect("still there").count(), 0, "it cleans up all the same");
}

#[test]
fn readme_s_group_is_made_shown_and_joined() {
    if !built("README's group") {
        return;
    }
    let page = readme();
    let words = |line: &'static str| -> Vec<String> {
        let shown = page.lines().find(|shown| shown.starts_with(line)).expect("README shows it");
        let command = shown.split('#').next().expect("there is a first part");
        command.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    let [ann, bob] = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    let run = |folder: &tempfile::TempDir, line, input: Stdio| {
        let mut command = Command::new(PEER);
        command.args(words(line)).current_dir(folder.path()).stdin(input);
        let done = command.output().expect("it runs");
        assert!(done.status.success(), "{line}: {done:?}");
        String::from_utf8(done.stdout).expect("text")
    };
    let made = run(&ann, "ds-peer group new ", Stdio::null());
    let line = run(&ann, "ds-peer group show ", Stdio::null());
    fs::write(bob.path().join("line"), &line).expect("a file of ours");
    let from = fs::File::open(bob.path().join("line")).expect("a file of ours");
    let joined = run(&bob, "ds-peer group join ", Stdio::from(from));
    assert_eq!(made.replace("made", "joined"), joined);
    let file = words("ds-peer 9000 --group ").pop().expect("it names the file");
    let keys = [ann, bob].map(|folder| fs::read_to_string(folder.path().join(&file)).expect("its key"));
    assert_eq!(keys, [line.clone(), line]);
}

/// The options a text names: `--word`, and `-x`.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| c.is_whitespace() || "[],|()=`".contains(c));
    let named = words.filter(|word| {
        let name = word.trim_start_matches('-');
        let dashes = word.len() - name.len();
        let shaped = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        shaped && (dashes == 2 || (dashes == 1 && name.len() == 1))
    });
    named.map(str::to_owned).collect()
}

/// The part of README's usage block that begins with this program's name.
fn usage<'a>(page: &'a str, program: &str) -> &'a str {
    let start = page.find(&format!("\n{program} [IP]")).expect("README has a usage block");
    let end = page[start + 1..].find("\n\n").or(page[start..].find("\n```")).expect("it ends");
    let block = &page[start..start + 1 + end];
    block.split("\n```").next().expect("there is a first part")
}

#[test]
fn readme_and_help_name_the_same_options() {
    if !built("README's options") {
        return;
    }
    let page = readme();
    for (path, program) in [(PEER, "ds-peer"), (BOOTSTRAP, "ds-bootstrap")] {
        let (done, help, err) = support::run(Command::new(path).arg("--help"), LIMIT);
        assert!(done && err.is_empty(), "{program} --help: {err}");
        assert_eq!(options(&help), options(usage(&page, program)), "{program}: its help | README");
        let (_, short, _) = support::run(Command::new(path).arg("-h"), LIMIT);
        assert_eq!(help, short, "{program}: -h is --help");
    }
}

/// The rows of the table whose head begins with this cell: their cells, without the backquotes.
fn rows(page: &str, head: &str) -> Vec<Vec<String>> {
    let start = format!("| {head} |");
    let table = page.lines().skip_while(|line| !line.starts_with(&start)).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

#[test]
fn readme_names_the_console_s_commands() {
    if !built("README's commands at the console") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(PEER);
    command.args(["127.0.0.1", "0", "--state"]).arg(folder.path().join("state")).current_dir(folder.path());
    let mut peer = Program::start("ds-peer", &mut command);
    peer.tell("help");
    peer.tell("quit");
    assert_eq!(peer.ended(LIMIT), Some(0), "{}", peer.heard());
    // Its last lines may still be on their way to us when it has ended.
    let mut help = String::new();
    while let Some(line) = peer.next_line() {
        help.push_str(&line);
        help.push('\n');
    }
    let commands = rows(&readme(), "command");
    assert!(commands.len() > 10, "README has a table of commands");
    for row in commands {
        let verb = row[0].split(" [").next().expect("there is a first part");
        let verb = verb.split(|c: char| c.is_ascii_uppercase()).next().expect("there is a first part").trim();
        assert!(help.contains(verb), "`help` does not name `{verb}`:\n{help}");
        assert!(help.contains(&row[1]), "`help` does not name the number {} of `{verb}`:\n{help}", row[1]);
    }
}

#[test]
fn wrong_usage_ends_with_the_status_readme_gives() {
    if !built("README's exit statuses") {
        return;
    }
    let statuses = rows(&readme(), "exit status");
    let known: Vec<&str> = statuses.iter().flat_map(|row| [row[0].as_str(), row[2].as_str()]).collect();
    assert!(known.contains(&"2") && known.contains(&"130"), "{known:?}");
    for arguments in [&["--frobnicate"][..], &[], &["localhost.", "70000"]] {
        let done = Command::new(PEER).args(arguments).stdin(Stdio::null()).output().expect("it runs");
        assert_eq!(done.status.code(), Some(2), "{arguments:?}");
        assert!(!done.stderr.is_empty() && done.stdout.is_empty(), "{arguments:?}: a word on standard error");
    }
}

#[test]
fn the_readers_of_pages_read() {
    let page = "\nds-peer [IP] PORT [OPTIONS]\n  --a-b DIR   x-y (--c)\n  -h, --help\n\nds-b [IP]\n  --z\n```\n--no\n";
    let set = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(options(usage(page, "ds-peer")), set(&["--a-b", "--c", "--help", "-h"]));
    assert_eq!(options(usage(page, "ds-b")), set(&["--z"]));
    assert_eq!(options("ds-peer [--v1 on|off] [-V] --- -- a-b"), set(&["--v1", "-V"]));
    let table = "| a | b |\n|---|---|\n| `x` | 1.1 |\n\n| c |";
    assert_eq!(rows(table, "a"), [["x", "1.1"]]);
}
