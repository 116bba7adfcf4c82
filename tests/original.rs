//! We and the original: its model (`tests/original`) keeps what WIRE_V1 promises, and our programs work with it in both
//! directions, byte for byte, without its weaknesses.

// Tests live in the world.
#![allow(clippy::disallowed_methods)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Console, Program, skip};

const PEER: &str = env!("CARGO_BIN_EXE_ds-peer");
const BOOTSTRAP: &str = env!("CARGO_BIN_EXE_ds-bootstrap");
const LIMIT: Duration = Duration::from_secs(60);
const SECRET: &str = "distrishare2024";
const NO_FILE: &str = "ERROR: File not found.";

#[test]
fn the_model_of_the_original_passes_its_own_tests() {
    if !support::runs("python3", "--version") {
        return skip("the model of the original", "python3 is not installed");
    }
    let mut command = Command::new("python3");
    command.args(["-B", "-m", "unittest", "discover", "-s", "tests/original"]).current_dir(support::root());
    let (passed, out, err) = support::run(&mut command, LIMIT);
    assert!(passed, "{out}\n{err}");
}

/// Two folders to share from and to download to, and whatever else a test needs.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// Nothing, with a word, where a test cannot be run.
    fn new(test: &str) -> Option<Place> {
        if !support::runs("python3", "--version") {
            skip(test, "python3 is not installed");
            return None;
        }
        if [PEER, BOOTSTRAP].into_iter().any(|program| !support::is_built(Path::new(program))) {
            skip(test, "ds-peer or ds-bootstrap is a stub");
            return None;
        }
        let place = Place { folder: tempfile::tempdir().expect("a temporary folder") };
        for name in ["shared", "downloads"] {
            fs::create_dir(place.path(name)).expect("below our own folder");
        }
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Files of every edge size and of names that are not ASCII.
    fn share(&self) -> Vec<(String, Vec<u8>)> {
        let mut chance = fastrand::Rng::with_seed(82);
        let sizes = [1, 4095, 4096, 4097, 1_000_001];
        let mut files: Vec<(String, usize)> = sizes.map(|size| (format!("{size}.bin"), size)).to_vec();
        files
            .extend(["with blanks.txt", "mañana.txt", "🐧 and 你好.txt"].map(|name| (name.to_owned(), 5000)));
        let fill = |(name, size): (String, usize)| {
            let content: Vec<u8> = std::iter::repeat_with(|| chance.u8(..)).take(size).collect();
            fs::write(self.path("shared").join(&name), &content).expect("below our own folder");
            (name, content)
        };
        files.into_iter().map(fill).collect()
    }

    /// A `ds-peer` on a port of the kernel's choice.
    fn peer(&self, more: &[&str]) -> (Console, u16) {
        let mut command = Command::new(PEER);
        command.args(["127.0.0.1", "0", "--json", "--keep-going"]).args(more).current_dir(self.folder.path());
        command.arg("--shared").arg(self.path("shared")).arg("--downloads").arg(self.path("downloads"));
        command.arg("--state").arg(self.path("state"));
        let mut console = Console { program: Program::start("ds-peer", &mut command) };
        let ready = console.event("ready");
        let port = ready["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        (console, port)
    }

    /// The model, serving or as a registry.
    fn model(&self, script: &str, arguments: &[&str]) -> (Program, u16) {
        let mut command = Command::new("python3");
        command.args(["-B", "-u"]).arg(support::root().join("tests/original").join(script)).args(arguments);
        let mut model = Program::start(script, command.current_dir(self.folder.path()));
        let port = model.wait("ready", LIMIT, |line| line.strip_prefix("ready 127.0.0.1 ")?.parse().ok());
        (model, port)
    }
}

/// Runs a subcommand of the model; its lines.
fn client(arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("python3");
    command.arg("-B").arg(support::root().join("tests/original/peer.py")).args(arguments);
    let (_, out, _) = support::run(&mut command, LIMIT);
    out.lines().map(str::to_owned).collect()
}

/// Sends these pieces one after another and reads to the end.
fn raw(port: u16, pieces: &[&[u8]]) -> Vec<u8> {
    let mut conn = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    conn.set_read_timeout(Some(LIMIT)).expect("a socket of ours");
    conn.set_nodelay(true).expect("a socket of ours");
    for piece in pieces {
        conn.write_all(piece).expect("it reads");
    }
    let mut answer = Vec::new();
    conn.read_to_end(&mut answer).expect("it closes in good order");
    answer
}

fn request(kind: &str, name: &str) -> Vec<u8> {
    json!({ "type": kind, "filename": name, "secret": SECRET }).to_string().into_bytes()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["event"].as_str()).collect()
}

/// Nothing finished and nothing half done is in the downloads folder.
fn nothing_is_left(place: &Place) {
    let mut left: Vec<PathBuf> = Vec::new();
    for folder in [place.path("downloads"), place.path("downloads/.parts")] {
        let entries = fs::read_dir(folder).into_iter().flatten();
        left.extend(
            entries.map(|entry| entry.expect("ours").path()).filter(|path| !path.ends_with(".parts")),
        );
    }
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_original_downloads_from_us() {
    // hostile: 82
    let Some(place) = Place::new("the original downloads from us") else { return };
    let files = place.share();
    let (_peer, port) = place.peer(&[]);
    let port = port.to_string();
    let into = place.path("downloads").to_string_lossy().into_owned();
    for (name, content) in files {
        assert_eq!(client(&["search", "127.0.0.1", &port, &name]), ["answer FOUND"], "{name}");
        let lines = client(&["download", "127.0.0.1", &port, &name, &into]);
        assert!(lines[0].starts_with("saved "), "{name}: {lines:?}");
        let got = fs::read(place.path("downloads").join(&name)).expect("it said that it was saved");
        assert!(got == content, "{name} has other bytes");
    }
    assert_eq!(client(&["search", "127.0.0.1", &port, "none"]), ["answer NOT_FOUND"]);
    assert_eq!(client(&["download", "127.0.0.1", &port, "none", &into]), [format!("error {NO_FILE}")]);
    assert_eq!(client(&["probe", "127.0.0.1", &port]), ["alive"]);
    let wrong = client(&["search", "127.0.0.1", &port, "1.bin", "--secret", "wrong"]);
    assert_eq!(wrong, ["answer ERROR: Autentication faild."]);
}

#[test]
fn we_download_from_the_original() {
    // hostile: 74, 77, 82
    let Some(place) = Place::new("we download from the original") else { return };
    let mut files = place.share();
    let trap = [b"ERROR is how this file begins. ".as_slice(), &[b'x'; 1 << 20]].concat();
    for (name, content) in [("trap.txt", trap), ("empty.txt", Vec::new())] {
        fs::write(place.path("shared").join(name), &content).expect("below our own folder");
        files.push((name.to_owned(), content));
    }
    let theirs = place.path("shared").to_string_lossy().into_owned();
    let (model, port) = place.model("peer.py", &["serve", "--shared", &theirs]);
    let (mut peer, _) = place.peer(&[]);
    for (name, content) in files {
        let events = peer.run(&format!("get 127.0.0.1 {port} {name}"));
        let Some(done) = events.iter().find(|event| event["event"] == "downloaded") else {
            panic!("{name}: {events:?}")
        };
        assert_eq!((&done["bytes"], &done["verified"]), (&json!(content.len()), &json!(false)), "{name}");
        let path = place.folder.path().join(done["path"].as_str().expect("a path"));
        assert!(fs::read(path).expect("it said so") == content, "{name} has other bytes");
    }
    let events = peer.run("search mañana.txt");
    let result =
        events.iter().find(|event| event["event"] == "result").unwrap_or_else(|| panic!("{events:?}"));
    let expected = json!({ "event": "result", "op": result["op"], "number": 1, "name": "mañana.txt", "size": null, "root": null,
        "sources": [{ "ip": "127.0.0.1", "port": port }], "names": [] });
    assert_eq!(result, &expected);
    for command in ["get 1", "get 4097.bin"] {
        let events = peer.run(command);
        assert!(names(&events).contains(&"downloaded"), "{command}: {events:?}");
    }
    // It does not know words, and its owner is not told of things that are none.
    let events = peer.run("search ext:txt");
    assert!(events[0]["message"].as_str().is_some_and(|text| text.contains("one exact name")), "{events:?}");
    let said = model.heard();
    assert!(
        !said.contains("Traceback") && !said.contains("Error"),
        "our first try in v2 harms nobody:\n{said}"
    );
}

#[test]
fn the_original_s_nodes_and_ours_are_searched_at_once() {
    let Some(place) = Place::new("a mixed network") else { return };
    fs::write(place.path("shared/lesson.txt"), "old").expect("below our own folder");
    let theirs = place.path("shared").to_string_lossy().into_owned();
    let (model, old) = place.model("peer.py", &["serve", "--shared", &theirs]);
    let other = Place::new("a mixed network").expect("it was there a moment ago");
    fs::write(other.path("shared/lesson.txt"), "new, and longer").expect("below our own folder");
    let (_ann, new) = other.peer(&[]);
    let third = Place::new("a mixed network").expect("it was there a moment ago");
    let (mut bob, _) = third.peer(&[]);
    for port in [old, new] {
        bob.run(&format!("get 127.0.0.1 {port} lesson.txt"));
    }
    let events = bob.run("search lesson.txt");
    let results: Vec<&Value> = events.iter().filter(|event| event["event"] == "result").collect();
    assert_eq!(results.len(), 2, "{events:?}");
    assert_eq!((&results[0]["size"], &results[0]["sources"][0]["port"]), (&json!(15), &json!(new)));
    assert_eq!((&results[1]["size"], &results[1]["sources"][0]["port"]), (&json!(null), &json!(old)));
    for (command, verified, content) in [("get 1", true, "new, and longer"), ("get 2", false, "old")] {
        let events = bob.run(command);
        let done = events.iter().find(|event| event["event"] == "downloaded");
        let done = done.unwrap_or_else(|| panic!("{command}: {events:?}"));
        assert_eq!(done["verified"], verified, "{command}");
        let path = third.folder.path().join(done["path"].as_str().expect("a path"));
        assert_eq!(fs::read_to_string(path).expect("it said so"), content);
    }
    // Words find new nodes' files only; who knows what it is comes from there.
    let events = bob.run("get lesson.txt");
    assert!(events.iter().any(|event| event["verified"] == true), "{events:?}");
    assert!(!model.heard().contains("Traceback"), "{}", model.heard());
}

#[test]
fn what_the_original_refuses_leaves_nothing_behind() {
    let Some(place) = Place::new("what the original refuses") else { return };
    let theirs = place.path("shared").to_string_lossy().into_owned();
    fs::write(place.path("shared/there"), "content").expect("below our own folder");
    let (_open, open) = place.model("peer.py", &["serve", "--shared", &theirs]);
    let (_closed, closed) = place.model("peer.py", &["serve", "--shared", &theirs, "--secret", "another"]);
    let (mut peer, _) = place.peer(&[]);
    for command in [format!("get 127.0.0.1 {open} none"), format!("get 127.0.0.1 {closed} there")] {
        let events = peer.run(&command);
        assert!(names(&events).contains(&"error"), "{command}: {events:?}");
        nothing_is_left(&place);
    }
}

#[test]
fn a_reset_in_mid_file_leaves_nothing_behind() {
    // hostile: 75
    let Some(place) = Place::new("a reset in mid-file") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let server = std::thread::spawn(move || {
        // The first connection may only ask whether the file is there.
        loop {
            let (mut conn, _) = listener.accept().expect("a connection");
            let mut asked = [0; 4096];
            let n = conn.read(&mut asked).unwrap_or(0);
            if String::from_utf8_lossy(&asked[..n]).contains("download") {
                conn.write_all(&[b'x'; 100_000]).expect("it reads");
                let socket = socket2::SockRef::from(&conn);
                socket.set_linger(Some(Duration::ZERO)).expect("a socket of ours");
                return;
            }
            let _ = conn.write_all(if n > 0 { b"FOUND" } else { b"" });
        }
    });
    let (mut peer, _) = place.peer(&[]);
    let events = peer.run(&format!("get 127.0.0.1 {port} file"));
    assert!(names(&events).contains(&"error"), "{events:?}");
    assert!(!names(&events).contains(&"downloaded"), "{events:?}");
    nothing_is_left(&place);
    server.join().expect("the server");
}

#[test]
fn our_refusals_are_the_original_s_texts() {
    // hostile: 55, 56, 57
    let Some(place) = Place::new("our refusals") else { return };
    fs::write(place.path("shared/there"), "content").expect("below our own folder");
    let (_peer, port) = place.peer(&[]);
    let bad_secret = "ERROR: Autentication faild.";
    let bad_type = "ERROR: Mensaje malformado o tipo desconocido.";
    let bad_json = "ERROR: Formato de mensaje inválido. Se requiere JSON.";
    let cases = [
        (r#"{"type":"search","filename":"there","secret":"wrong"}"#, bad_secret),
        (r#"{"type":"download","filename":"there"}"#, bad_secret),
        (r#"{"type":"download","filename":"there","secret":null}"#, bad_secret),
        (r#"{"type":"search","filename":"there","secret":5}"#, bad_secret),
        (r#"{"type":"dance","filename":"there","secret":"distrishare2024"}"#, bad_type),
        ("hello", bad_json),
        ("[1]", bad_json),
        ("null", bad_json),
        ("{}", bad_json),
    ];
    for (asked, text) in cases {
        let answer = raw(port, &[asked.as_bytes()]);
        assert_eq!(String::from_utf8_lossy(&answer), text, "{asked}");
    }
}

#[test]
fn requests_in_pieces_in_any_order_and_with_a_tail_are_served() {
    // hostile: 58, 72
    let Some(place) = Place::new("requests in pieces") else { return };
    fs::write(place.path("shared/there"), "content").expect("below our own folder");
    let (_peer, port) = place.peer(&[]);
    let loose = b"{ \"secret\" :\"distrishare2024\",\n\t\"filename\": \"th\\u0065re\", \"type\": \"download\", \"more\": [] }";
    assert_eq!(raw(port, &[loose]), b"content");
    let pieces: Vec<&[u8]> = loose.chunks(40).collect();
    assert_eq!(raw(port, &pieces), b"content");
    let twice = [request("search", "there"), request("search", "none")].concat();
    assert_eq!(raw(port, &[&twice]), b"FOUND");
}

#[test]
fn no_name_leads_out_of_the_shared_folder() {
    // hostile: 59, 60, 61
    let Some(place) = Place::new("names that lead out") else { return };
    let shared = place.path("shared");
    fs::write(place.path("outside"), "outside").expect("below our own folder");
    fs::write(shared.join("there"), "content").expect("below our own folder");
    fs::write(shared.join(".hidden"), "hidden").expect("below our own folder");
    fs::create_dir(shared.join("folder")).expect("below our own folder");
    for (target, link) in [("there", "in"), ("../outside", "out"), ("nowhere", "dangling"), ("loop", "loop")]
    {
        std::os::unix::fs::symlink(target, shared.join(link)).expect("below our own folder");
    }
    let made = Command::new("mkfifo").arg(shared.join("fifo")).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    let (_peer, port) = place.peer(&[]);
    assert_eq!(raw(port, &[&request("search", "there")]), b"FOUND");
    let (long, wide) = ("n".repeat(256), "🐧".repeat(64));
    let plain =
        ["../outside", "/etc/passwd", "a/../../outside", "folder//there", "a\\b", ".", "..", "", ".hidden"];
    let odd = [
        "a\0b", &long, &wide, "CON", "-rf", "there ", "there.", "~", "folder", "in", "out", "dangling",
        "loop", "fifo",
    ];
    for name in plain.into_iter().chain(odd) {
        let start = Instant::now();
        assert_eq!(raw(port, &[&request("search", name)]), b"NOT_FOUND", "{name:?}");
        let answer = raw(port, &[&request("download", name)]);
        assert_eq!(String::from_utf8_lossy(&answer), NO_FILE, "{name:?}");
        assert!(start.elapsed() < Duration::from_secs(2), "{name:?} blocks nobody");
    }
}

#[test]
fn a_probe_is_no_event() {
    let Some(place) = Place::new("a probe") else { return };
    let (peer, port) = place.peer(&["--log-level", "info"]);
    for _ in 0..20 {
        let conn = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        conn.shutdown(Shutdown::Both).expect("a socket of ours");
    }
    // Answered behind the probes: by then they have been seen.
    assert_eq!(raw(port, &[&request("search", "none")]), b"NOT_FOUND");
    let log: Vec<String> =
        peer.program.heard().lines().filter(|line| line.contains("[INFO]")).map(str::to_owned).collect();
    assert_eq!(log, Vec::<String>::new(), "not worth a line above debug");
}

#[test]
fn the_original_s_nodes_register_at_our_registry() {
    // hostile: 1, 28
    let Some(place) = Place::new("our registry") else { return };
    let mut command = Command::new(BOOTSTRAP);
    command.args(["127.0.0.1", "0", "--state"]).arg(place.path("registry"));
    let mut registry = Program::start("ds-bootstrap", &mut command);
    let at: String = registry.wait("ready", LIMIT, |line| {
        let port = line.rsplit(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?;
        line.contains("ready").then(|| port.to_owned())
    });
    let register = |port: &str| client(&["register", "127.0.0.1", &at, "127.0.0.1", port]);
    let mut lines = register("9001");
    assert_eq!(lines, ["node 127.0.0.1 9001", "done 1"], "the list holds the caller");
    register("9002");
    lines = register("9001");
    lines.sort();
    assert_eq!(lines, ["done 2", "node 127.0.0.1 9001", "node 127.0.0.1 9002"]);
    assert_eq!(client(&["probe", "127.0.0.1", &at]), ["alive"]);
    let (mut peer, port) = place.peer(&["--bootstrap", &format!("127.0.0.1:{at}")]);
    let events = peer.run("bootstrap");
    assert!(!names(&events).contains(&"error"), "{events:?}");
    let listed = peer.run("nodes bootstrap");
    assert!(listed.iter().any(|node| node["event"] == "node" && node["port"] == 9001), "{listed:?}");
    assert!(register("9002").contains(&format!("node 127.0.0.1 {port}")), "the original hears of us");
}

#[test]
fn we_register_at_the_original_s_registry() {
    let Some(place) = Place::new("the original's registry") else { return };
    let (_registry, at) = place.model("bootstrap.py", &["0"]);
    let theirs = place.path("shared").to_string_lossy().into_owned();
    let bootstrap = format!("127.0.0.1:{at}");
    let (_model, port) = place.model("peer.py", &["serve", "--shared", &theirs, "--bootstrap", &bootstrap]);
    // It says `ready` before it has registered.
    let end = Instant::now() + LIMIT;
    let (mut peer, _) = place.peer(&[]);
    loop {
        let events = peer.run(&format!("bootstrap {bootstrap}"));
        assert!(!names(&events).contains(&"error"), "{events:?}");
        let listed = peer.run("nodes bootstrap");
        let found = |node: &Value| node["event"] == "node" && node["port"] == port && node["alive"] == true;
        if listed.iter().any(found) {
            break;
        }
        assert!(Instant::now() < end, "{listed:?}");
    }
    let events = peer.run(&format!("search {}", "none"));
    assert!(!names(&events).contains(&"found"), "{events:?}");
}

/// A node of ours that has a file of 8 MiB and gives it slowly, an old one that has the same name, with another byte in
/// every piece but the first if it `lies`, and a third that wants it: the events of its `get`, and what the first gave.
fn old_and_new(test: &str, lies: bool) -> Option<(Vec<Value>, u16, u64)> {
    let (Some(new), Some(place)) = (Place::new(test), Place::new(test)) else { return None };
    let mut chance = fastrand::Rng::with_seed(156);
    let mut content = vec![0; 8 << 20];
    chance.fill(&mut content);
    fs::write(new.path("shared/lesson.bin"), &content).expect("below our own folder");
    let right = content.clone();
    content.iter_mut().skip(1 << 20).step_by(1 << 20).for_each(|byte| *byte ^= u8::from(lies));
    fs::create_dir(place.path("old")).expect("below our own folder");
    fs::write(place.path("old/lesson.bin"), &content).expect("below our own folder");
    let (mut ann, port) = new.peer(&["--limit-up", "1500k"]);
    let theirs = place.path("old").to_string_lossy().into_owned();
    let (_model, old) = place.model("peer.py", &["serve", "--shared", &theirs]);
    let (mut bob, _) = place.peer(&[]);
    bob.run(&format!("browse 127.0.0.1 {port}"));
    // It has to be met once to be searched.
    bob.run(&format!("get 127.0.0.1 {old} there is no such file"));
    let end = Instant::now() + LIMIT;
    loop {
        let found = bob.run("search lesson.bin");
        let rooted = found.iter().any(|event| event["event"] == "result" && event["root"].is_string());
        if rooted && found.iter().any(|event| event["event"] == "found" && event["port"] == old) {
            break;
        }
        assert!(Instant::now() < end, "{found:?}");
    }
    let events = bob.run("get 1");
    let done =
        events.iter().find(|event| event["event"] == "downloaded").unwrap_or_else(|| panic!("{events:?}"));
    let path = place.folder.path().join(done["path"].as_str().expect("a path"));
    assert!(fs::read(path).expect("it said so") == right, "other bytes");
    let status = ann.run("status");
    let sent = status.iter().find_map(|event| event["uploaded_bytes"].as_u64()).expect("its status");
    Some((events, old, sent))
}

#[test]
fn an_old_node_gives_to_a_download_of_known_content() {
    let Some((events, _, sent)) = old_and_new("an old node in a swarm", false) else { return };
    let done = events.iter().find(|event| event["event"] == "downloaded").expect("looked at");
    assert_eq!((&done["verified"], &done["sources"]), (&json!(true), &json!(2)), "{done}");
    assert!(sent < 4 << 20, "the old one is fast, and gives most of it: {sent} bytes from the other");
}

#[test]
fn an_old_node_with_other_bytes_of_that_name_does_no_harm() {
    // hostile: 102
    let Some((events, _, sent)) = old_and_new("an old node with other bytes", true) else { return };
    // It never said that its file is the one that is fetched.
    assert!(!names(&events).contains(&"blamed"), "{events:?}");
    let done = events.iter().find(|event| event["event"] == "downloaded").expect("looked at");
    assert_eq!(done["verified"], true, "{done}");
    assert!(sent >= 7 << 20, "only the first piece of the old one is right: {sent} bytes from the other");
}
