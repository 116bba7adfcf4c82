//! Version 2 as somebody else understood it: a client made from `docs/PROTOCOL.md` alone (`tests/independent`) finds and
//! fetches files at our node. Its packages are not ours to bring: `.ci/run` puts them into `target/independent`.

// Tests live in the world.
#![allow(clippy::disallowed_methods)]

mod support;

use distrishare::config::Key;
use distrishare::proto::group::GroupLine;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::{Console, Program, skip};

const PEER: &str = env!("CARGO_BIN_EXE_ds-peer");
const LIMIT: Duration = Duration::from_secs(120);
const MIB: usize = 1 << 20;
/// Everything where a chunk, a piece or a range ends, and what has several of them.
const SIZES: [usize; 10] = [0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 4 * MIB + 1, 5 * MIB - 4095];

/// The interpreter that has the client's packages: `DS_INDEPENDENT` names its virtual environment, or it is where
/// `.ci/run` makes one.
fn python(test: &str) -> Option<PathBuf> {
    let place = std::env::var_os("DS_INDEPENDENT").map(PathBuf::from);
    let place = place.unwrap_or_else(|| support::root().join("target/independent"));
    let python = place.join("bin/python3");
    let ready = Command::new(&python).args(["-c", "import blake3, cryptography, noise.connection"]).output();
    if ready.is_ok_and(|ready| ready.status.success()) {
        return Some(python);
    }
    skip(test, "no virtual environment with tests/independent/requirements.txt (.ci/run makes one)");
    None
}

/// A node, open or in a group, its folder, and the client that meets it.
struct Place {
    python: PathBuf,
    folder: tempfile::TempDir,
    _peer: Console,
    port: u16,
}

impl Place {
    fn new(test: &str, group: Option<[u8; 32]>, sizes: &[usize]) -> Option<Place> {
        let python = python(test)?;
        if !support::is_built(Path::new(PEER)) {
            skip(test, "ds-peer is a stub");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["shared", "downloads", "fetched"] {
            fs::create_dir(path(name)).expect("below our own folder");
        }
        let mut chance = fastrand::Rng::with_seed(20);
        for size in sizes {
            let mut content = vec![0; *size];
            chance.fill(&mut content);
            fs::write(path("shared").join(name(*size)), content).expect("below our own folder");
        }
        let mut command = Command::new(PEER);
        command.args(["127.0.0.1", "0", "--json", "--keep-going"]).current_dir(folder.path());
        command.arg("--shared").arg(path("shared")).arg("--downloads").arg(path("downloads"));
        command.arg("--state").arg(path("state"));
        if let Some(key) = group {
            let file = path("key");
            fs::write(&file, GroupLine::encode(&Key::new(key)) + "\n").expect("below our own folder");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our own file");
            command.arg("--group").arg(file);
        }
        let mut peer = Console { program: Program::start("ds-peer", &mut command) };
        let port = peer.event("ready")["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        Some(Place { python, folder, _peer: peer, port: port.expect("a port") })
    }

    /// Runs the client to its end; the lines it prints.
    fn client(&self, words: &[&str], group: Option<[u8; 32]>) -> Vec<String> {
        let mut command = Command::new(&self.python);
        command.arg("-B").arg(support::root().join("tests/independent/v2client.py"));
        command.args(["127.0.0.1", &self.port.to_string()]).args(words).current_dir(self.folder.path());
        if let Some(key) = group {
            command.arg("--group").arg(key.map(|byte| format!("{byte:02x}")).concat());
        }
        let (done, out, err) = support::run(&mut command, LIMIT);
        assert!(done, "{words:?}: {out}\n{err}");
        out.lines().map(str::to_owned).collect()
    }
}

fn name(size: usize) -> String {
    format!("lesson {size}.bin")
}

/// The client fetches all files at a node over `suite`, which its own abilities bring about.
fn fetches(test: &str, group: Option<[u8; 32]>, suite: &str, abilities: &[&str]) {
    let Some(place) = Place::new(test, group, &SIZES) else { return };
    let names = SIZES.map(name);
    let mut words = vec!["fetch", "fetched"];
    words.extend(names.iter().map(String::as_str));
    words.extend(abilities);
    let lines = place.client(&words, group);
    assert_eq!(lines[0], format!("session {suite}"));
    for (size, name) in SIZES.into_iter().zip(&names) {
        for told in [format!("fetched {size} {name}"), format!("browsed {size} {name}")] {
            assert!(lines.contains(&told), "no `{told}`: {lines:#?}");
        }
        let file =
            |folder: &str| fs::read(place.folder.path().join(folder).join(name)).expect("it was written");
        assert!(file("shared") == file("fetched"), "{name} has other bytes");
    }
}

#[test]
fn it_fetches_from_an_open_node_over_aes() {
    // Only where our own abilities say AES too: a machine without its instructions gives no such session.
    let test = "the independent client over AES-256-GCM";
    let Some(place) = Place::new(test, None, &[]) else { return };
    if place.client(&["knock"], None) != ["session AES-256-GCM"] {
        return skip(test, "this machine has no instructions for AES");
    }
    fetches(test, None, "AES-256-GCM", &[]);
}

#[test]
fn it_fetches_from_an_open_node_over_chacha_and_in_small_records() {
    let test = "the independent client over ChaCha20-Poly1305";
    fetches(test, None, "ChaCha20-Poly1305", &["--no-aes", "--run", "1"]);
}

#[test]
fn it_fetches_from_a_member_of_its_group_over_aes() {
    let test = "the independent client in a group, over AES-256-GCM";
    let key = Some([42; 32]);
    let Some(place) = Place::new(test, key, &[]) else { return };
    if place.client(&["knock"], key) != ["session AES-256-GCM"] {
        return skip(test, "this machine has no instructions for AES");
    }
    fetches(test, key, "AES-256-GCM", &["--run", "3"]);
}

#[test]
fn it_fetches_from_a_member_of_its_group_over_chacha() {
    let test = "the independent client in a group, over ChaCha20-Poly1305";
    fetches(test, Some([42; 32]), "ChaCha20-Poly1305", &["--no-aes"]);
}

#[test]
fn strangers_get_nothing_and_are_closed() {
    let test = "the independent client as a stranger";
    let nothing = ["closed: 0 bytes came"];
    let Some(place) = Place::new(test, Some([42; 32]), &[1]) else { return };
    assert_eq!(place.client(&["knock"], Some([43; 32])), nothing, "a member of another group");
    assert_eq!(place.client(&["knock"], None), nothing, "an open client at a member");
    let member = place.client(&["knock"], Some([42; 32]));
    assert!(member[0].starts_with("session "), "its own group all the same: {member:?}");
    let Some(place) = Place::new(test, None, &[1]) else { return };
    let told = place.client(&["knock"], Some([42; 32]));
    assert_eq!(
        told,
        ["closed: in the words of version 1"],
        "a member at an open node, which speaks that, too"
    );
}
