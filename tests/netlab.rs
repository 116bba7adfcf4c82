//! Real networks on one machine: hosts in namespaces of their own, joined by bridges that a test may cut
//! (`tests/netlab/netlab.sh`). Where this user may not make any, a test runs again in namespaces that the kernel gives to
//! everybody; it says so and passes where there are none of those either.

// Tests live in the world: they have a clock and an environment.
#![allow(clippy::disallowed_methods)]

mod support;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Console, Program, skip};

/// For things that take as long as they take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Several HELLO periods, and as many listings of the interfaces.
const MEETING: Duration = Duration::from_secs(45);
const PORT: u64 = 9000;
/// For a test that runs a second time, within namespaces of its own.
const AGAIN: Duration = Duration::from_secs(600);
/// Set for that second run.
const INSIDE: &str = "DS_NETLAB_INSIDE";

fn script() -> PathBuf {
    support::root().join("tests/netlab/netlab.sh")
}

/// Whether laboratories can be made: by this process itself, or else by the test that runs again without root. Says why
/// not.
fn usable(test: &str) -> Result<bool, String> {
    let (ours, _, why) = support::run(Command::new(script()).arg("usable"), PATIENCE);
    if ours || std::env::var_os(INSIDE).is_some() {
        return if ours { Ok(true) } else { Err(why) };
    }
    let mut trial = Command::new(script());
    trial.args(["sandbox", "--user", "--"]).arg(script()).arg("usable");
    let (theirs, _, reason) = support::run(&mut trial, PATIENCE);
    if !theirs {
        return Err(format!("{}; nor as an ordinary user: {}", why.trim(), reason.trim()));
    }
    let mut again = Command::new(script());
    again.args(["sandbox", "--user", "--"]).arg(std::env::current_exe().expect("this test"));
    again.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let (passed, out, err) = support::run(&mut again, AGAIN);
    eprint!("{err}");
    // A name that no test has would pass as well.
    assert!(passed && out.contains("1 passed"), "in namespaces of an ordinary user:\n{out}\n{err}");
    Ok(false)
}

/// A laboratory. Taken down when dropped, and by its own watchman if this process dies.
struct Lab {
    id: String,
    folder: tempfile::TempDir,
}

impl Lab {
    /// Builds one for the test of this name; nothing if that is over: skipped with a word, or run elsewhere.
    fn build(test: &str, plan: &[&str]) -> Option<Lab> {
        let refused = |why: &str| {
            skip(test, why);
            None
        };
        match usable(test) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(why) => return refused(&format!("no network namespaces here: {}", why.trim())),
        }
        let owner = std::process::id().to_string();
        let mut build = Command::new(script());
        build.args(["-o", owner.as_str()]).args(plan);
        let (built, id, why) = support::run(&mut build, PATIENCE);
        assert!(built, "{plan:?}: {why}");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lab = Lab { id: id.trim().to_owned(), folder };
        if !support::is_built(Path::new(env!("CARGO_BIN_EXE_ds-peer"))) {
            // The laboratory itself is tried all the same.
            let mut trial = lab.inside("h1", "true");
            if plan[0] == "lan" {
                assert!(support::run(&mut trial, PATIENCE).0, "a program runs in a host of the laboratory");
            }
            return refused("ds-peer is a stub");
        }
        Some(lab)
    }

    /// A program in a host.
    fn inside(&self, host: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/nl-{}-{host}", self.id)).arg("--").arg(program);
        command
    }

    /// A command of the laboratory's, which must succeed.
    fn order(&self, words: &[&str]) {
        let (done, _, why) =
            support::run(Command::new(script()).args(["-i", &self.id]).args(words), PATIENCE);
        assert!(done, "{words:?}: {why}");
    }

    /// Switches an interface of a host.
    fn link(&self, host: &str, interface: &str, state: &str) {
        let mut command = self.inside(host, "ip");
        let (done, _, why) = support::run(command.args(["link", "set", interface, state]), PATIENCE);
        assert!(done, "{host} {interface} {state}: {why}");
    }

    /// Where a host keeps its files; made at first use.
    fn home(&self, host: &str, folder: &str) -> PathBuf {
        let path = self.folder.path().join(host).join(folder);
        fs::create_dir_all(&path).expect("below our own folder");
        path
    }

    /// Puts a file into a host's shared folder; returns its content.
    fn share(&self, host: &str, name: &str, size: usize) -> Vec<u8> {
        let mut chance = fastrand::Rng::with_seed(size as u64);
        let content: Vec<u8> = std::iter::repeat_with(|| chance.u8(..)).take(size).collect();
        fs::write(self.home(host, "shared").join(name), &content).expect("below our own folder");
        content
    }

    /// Starts a node in a host and waits until it listens.
    fn node(&self, host: &str, more: &[&str]) -> Node {
        self.node_at(host, None, more)
    }

    /// Starts one that listens on an address only.
    fn node_at(&self, host: &str, address: Option<&str>, more: &[&str]) -> Node {
        let mut command = self.inside(host, env!("CARGO_BIN_EXE_ds-peer"));
        command
            .args(address)
            .arg(PORT.to_string())
            .args(["--json", "--keep-going", "--log-level", "debug"])
            .args(more);
        for (option, folder) in [("--shared", "shared"), ("--downloads", "downloads"), ("--state", "state")] {
            command.arg(option).arg(self.home(host, folder));
        }
        command.current_dir(self.folder.path());
        let mut console = Console { program: Program::start(host, &mut command) };
        console.event("ready");
        Node { console }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let done = Command::new(script()).args(["down", &self.id]).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("the laboratory {} could not be taken down", self.id);
        }
    }
}

/// A `ds-peer` in a host.
struct Node {
    console: Console,
}

impl Node {
    /// The addresses on the multicast list.
    fn neighbours(&mut self) -> Vec<String> {
        let events = self.console.run("nodes multicast");
        let nodes = events.iter().filter(|event| event["event"] == "node" && event["port"] == PORT);
        nodes.filter_map(|event| event["ip"].as_str().map(str::to_owned)).collect()
    }

    /// Asks again and again until the multicast list is as wanted.
    fn until(&mut self, what: &str, limit: Duration, wanted: impl Fn(&[String]) -> bool) {
        let start = Instant::now();
        loop {
            let neighbours = self.neighbours();
            if wanted(&neighbours) {
                return;
            }
            if start.elapsed() > limit {
                panic!("after {limit:?} not {what}, but {neighbours:?}:\n{}", self.console.program.heard());
            }
            // Not for luck, only to leave the machine to the others: the limit above decides.
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn finds(&mut self, ip: &str) {
        self.until(&format!("{ip} on the list"), MEETING, |nodes| nodes.iter().any(|node| node == ip));
    }

    fn loses(&mut self, ip: &str, limit: Duration) {
        self.until(&format!("{ip} off the list"), limit, |nodes| nodes.iter().all(|node| node != ip));
    }

    /// Searches a file, finds it at `ip`, downloads it from there and compares.
    fn fetches(&mut self, lab: &Lab, ip: &str, name: &str, content: &[u8]) {
        let found = self.console.run(&format!("search {name}"));
        let hit = |event: &Value| {
            event["event"] == "found" && event["ip"] == ip && event["port"] == PORT && event["name"] == name
        };
        assert!(found.iter().any(hit), "{name} at {ip}: {found:?}\n{}", self.console.program.heard());
        let events = self.console.run(&format!("get {ip} {PORT} {name}"));
        let downloaded = events.iter().find(|event| event["event"] == "downloaded");
        let Some(downloaded) = downloaded else { panic!("{name} from {ip}: {events:?}") };
        assert_eq!(downloaded["bytes"], content.len(), "{downloaded}");
        let path = downloaded["path"].as_str().expect("a path");
        let bytes = fs::read(lab.folder.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(bytes == content, "{name} from {ip} has other bytes");
    }
}

#[test]
fn three_hosts_without_a_route_find_each_other_and_move_a_file() {
    let Some(lab) =
        Lab::build("three_hosts_without_a_route_find_each_other_and_move_a_file", &["lan", "3", "noroute"])
    else {
        return;
    };
    let content = lab.share("h1", "lesson.bin", 3_000_001);
    // The registry of `--join` is not there; that must not keep multicast from working.
    let mut h1 = lab.node("h1", &["--join"]);
    let mut h2 = lab.node("h2", &["--join"]);
    let mut h3 = lab.node("h3", &[]);
    h3.console.run("multicast on");
    for node in [&mut h2, &mut h3] {
        node.finds("10.77.0.1");
        node.fetches(&lab, "10.77.0.1", "lesson.bin", &content);
    }
    h1.finds("10.77.0.2");
    h1.finds("10.77.0.3");
}

#[test]
fn a_host_on_two_networks_is_found_from_both_and_finds_both() {
    let Some(lab) = Lab::build("a_host_on_two_networks_is_found_from_both_and_finds_both", &["twolan"])
    else {
        return;
    };
    let middle = lab.share("m1", "middle.bin", 100_000);
    let outer = [lab.share("a1", "a1.bin", 50_000), lab.share("b1", "b1.bin", 60_000)];
    let mut m1 = lab.node("m1", &["--join"]);
    let mut a1 = lab.node("a1", &["--join"]);
    let mut b1 = lab.node("b1", &["--join"]);
    a1.finds("10.1.0.9");
    b1.finds("10.2.0.9");
    m1.finds("10.1.0.1");
    m1.finds("10.2.0.1");
    a1.fetches(&lab, "10.1.0.9", "middle.bin", &middle);
    b1.fetches(&lab, "10.2.0.9", "middle.bin", &middle);
    m1.fetches(&lab, "10.1.0.1", "a1.bin", &outer[0]);
    m1.fetches(&lab, "10.2.0.1", "b1.bin", &outer[1]);
    assert!(!a1.neighbours().contains(&"10.2.0.1".to_owned()), "TTL 1 and no router: the LANs stay apart");
}

#[test]
fn link_local_addresses_are_shown_with_the_zone_that_makes_them_usable() {
    let Some(lab) = Lab::build(
        "link_local_addresses_are_shown_with_the_zone_that_makes_them_usable",
        &["lan", "2", "noroute"],
    ) else {
        return;
    };
    let mut show = lab.inside("h1", "ip");
    let (_, shown, why) =
        support::run(show.args(["-6", "-o", "addr", "show", "dev", "eth0", "scope", "link"]), PATIENCE);
    let Some(local) = shown.split_whitespace().find_map(|word| word.strip_suffix("/64")) else {
        return skip("link_local_addresses", &format!("no IPv6 here: {why}"));
    };
    let content = lab.share("h1", "lesson.bin", 300_001);
    let _h1 = lab.node_at("h1", Some(&format!("{local}%eth0")), &[]);
    let mut h2 = lab.node("h2", &[]);
    let ends = |events: &[Value]| events.iter().any(|event| event["event"] == "downloaded");
    let events = h2.console.run(&format!("get {local}%eth0 {PORT} lesson.bin"));
    assert!(ends(&events), "{events:?}\n{}", h2.console.program.heard());
    assert_eq!(fs::read(lab.home("h2", "downloads").join("lesson.bin")).expect("it is there"), content);
    // What is shown can be typed.
    let events = h2.console.run("nodes all");
    let node = events.iter().find(|event| event["event"] == "node" && event["alive"] == true);
    let Some(ip) = node.and_then(|node| node["ip"].as_str()) else { panic!("{events:?}") };
    assert!(ip.strip_prefix(local).is_some_and(|zone| zone.starts_with('%')), "{ip}");
    lab.share("h1", "second.bin", 300_002);
    let events = h2.console.run(&format!("get {ip} {PORT} second.bin"));
    assert!(ends(&events), "{ip}: {events:?}\n{}", h2.console.program.heard());
}

#[test]
fn an_interface_that_comes_and_goes_is_joined_again() {
    // hostile: 48
    let Some(lab) = Lab::build("an_interface_that_comes_and_goes_is_joined_again", &["lan", "2", "noroute"])
    else {
        return;
    };
    let mut h1 = lab.node("h1", &["--join"]);
    lab.link("h2", "eth0", "down");
    let mut h2 = lab.node("h2", &["--join"]);
    assert_eq!(h2.neighbours(), Vec::<String>::new(), "its interface is down");
    lab.link("h2", "eth0", "up");
    h2.finds("10.77.0.1");
    h1.finds("10.77.0.2");
    lab.link("h2", "eth0", "down");
    h1.loses("10.77.0.2", MEETING);
    h2.loses("10.77.0.1", MEETING);
    lab.link("h2", "eth0", "up");
    h2.finds("10.77.0.1");
    h1.finds("10.77.0.2");
}

#[test]
fn a_node_that_vanishes_is_dropped_and_a_goodbye_counts_at_once() {
    let Some(lab) =
        Lab::build("a_node_that_vanishes_is_dropped_and_a_goodbye_counts_at_once", &["lan", "3", "noroute"])
    else {
        return;
    };
    let mut h1 = lab.node("h1", &["--join"]);
    let mut h2 = lab.node("h2", &["--join"]);
    let mut h3 = lab.node("h3", &["--join"]);
    h1.finds("10.77.0.2");
    h1.finds("10.77.0.3");
    h2.finds("10.77.0.3");
    h3.finds("10.77.0.1");
    lab.order(&["vanish", "h3"]);
    assert!(h1.neighbours().contains(&"10.77.0.3".to_owned()), "one missed HELLO is no absence");
    // Three periods of five seconds and their jitter, and the listings' own probes.
    h1.loses("10.77.0.3", Duration::from_secs(30));
    h2.loses("10.77.0.3", Duration::from_secs(10));
    assert!(h1.neighbours().contains(&"10.77.0.2".to_owned()), "the one that is there stays");
    h2.console.program.tell("quit");
    h2.console.program.ended(Duration::from_secs(5));
    // Less than one HELLO period: it was the GOODBYE and not the silence.
    h1.loses("10.77.0.2", Duration::from_secs(4));
}

#[test]
fn the_original_and_we_meet_on_a_network() {
    // hostile: 25, 82
    let test = "the_original_and_we_meet_on_a_network";
    if !support::runs("python3", "--version") {
        return skip(test, "python3 is not installed");
    }
    let Some(lab) = Lab::build(test, &["lan", "3"]) else { return };
    let model = support::root().join("tests/original/peer.py");
    let theirs = lab.share("h1", "theirs.bin", 200_001);
    let ours = lab.share("h2", "ours.bin", 300_001);
    let mut command = lab.inside("h1", "python3");
    command.args(["-B", "-u"]).arg(&model).args([
        "serve",
        "--ip",
        "10.77.0.1",
        "--port",
        "9000",
        "--multicast",
    ]);
    let mut original = Program::start("the original", command.arg("--shared").arg(lab.home("h1", "shared")));
    original.wait("ready", PATIENCE, |line| line.starts_with("ready").then_some(()));
    let mut node = lab.node("h2", &["--join"]);
    node.finds("10.77.0.1");
    original.wait("our HELLO", MEETING, |line| (line == "hello 10.77.0.2 9000").then_some(()));
    node.fetches(&lab, "10.77.0.1", "theirs.bin", &theirs);

    let mut command = lab.inside("h1", "python3");
    command.arg("-B").arg(&model).args(["download", "10.77.0.2", "9000", "ours.bin"]);
    let (done, out, why) = support::run(command.arg(lab.home("h1", "downloads")), PATIENCE);
    assert!(done, "{out}\n{why}");
    let bytes = fs::read(lab.home("h1", "downloads").join("ours.bin")).expect("it said that it was saved");
    assert!(bytes == ours, "the original got other bytes");
    node.console.program.tell("quit");
    original.wait("our GOODBYE", PATIENCE, |line| (line == "goodbye 10.77.0.2 9000").then_some(()));

    // A registry's answer must fit into the one segment that the original reads, however many nodes there are.
    let mut command = lab.inside("h3", env!("CARGO_BIN_EXE_ds-bootstrap"));
    let _registry =
        Program::start("registry", command.arg("8000").arg("--state").arg(lab.home("h3", "state")));
    lab.order(&["wait-port", "h3", "tcp", "8000", "20"]);
    let mut command = lab.inside("h1", "python3");
    command.arg("-B").arg(&model).args([
        "register",
        "10.77.0.3",
        "8000",
        "10.77.0.1",
        "20000",
        "--count",
        "60",
    ]);
    let (done, out, why) = support::run(&mut command, PATIENCE);
    assert!(done, "an answer did not parse: {out}\n{why}");
    assert!(out.lines().filter(|line| line.starts_with("node ")).count() > 10, "{out}");
}
