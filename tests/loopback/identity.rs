//! The node's key in its state folder: private, the same after a restart, and never in the way of a start.

use crate::place::{LIMIT, PEER, Place, event};
use crate::support::skip;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// The id a node says at its start, and what it writes to standard error on the way.
fn started(place: &Place) -> (String, String) {
    let mut node = crate::support::Console {
        program: crate::support::Program::start("bob", &mut place.command("bob", &["--json"])),
    };
    let ready = node.event("ready");
    node.run("quit");
    assert_eq!(node.program.ended(LIMIT), Some(0));
    // What is left of its lines is here before its output closes.
    while node.program.next_line().is_some() {}
    let id = ready["id"].as_str().unwrap_or_else(|| panic!("{ready}")).to_owned();
    (id, node.program.heard())
}

#[test]
fn the_key_is_private_and_the_id_stays() {
    let Some(place) = Place::new("the node's key") else { return };
    let mut bob = place.node("bob", &[]);
    let status = bob.run("status");
    let id = event(&status, "status").map(|status| status["id"].clone()).expect("its status");
    assert!(
        id.as_str().is_some_and(|id| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())),
        "{id}"
    );
    let file = place.path("bob/state/identity");
    let mode = |name| fs::metadata(place.path(name)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode("bob/state"), mode("bob/state/identity")), (0o700, 0o600));
    let before = fs::read(&file).expect("ours");
    // A kill is no reason to be somebody else.
    bob.signal(Signal::KILL);
    assert_eq!(bob.ended(LIMIT), None);
    let (again, said) = started(&place);
    assert_eq!(Value::from(again), id, "{said}");
    assert_eq!(fs::read(&file).expect("ours"), before, "it is written once");
    let (other, _) = started(&Place::new("another folder").expect("it is built"));
    assert_ne!(Value::from(other), id);
}

#[test]
fn a_key_that_others_can_read_is_refused_with_what_to_do() {
    // hostile: 165
    let Some(place) = Place::new("an exposed key") else { return };
    let (id, _) = started(&place);
    for name in ["identity", "identity.1"] {
        let file = place.path("bob/state").join(name);
        if !file.exists() {
            fs::copy(place.path("bob/state/identity"), &file).expect("ours");
        }
        let refused = |words: &[&str]| {
            let mut program = crate::support::Program::start("bob", &mut place.command("bob", &["--json"]));
            assert_eq!(program.ended(LIMIT), Some(1));
            crate::place::until("its words", || {
                words.iter().all(|word| program.heard().contains(word)).then_some(())
            });
        };
        for mode in [0o604, 0o620, 0o640, 0o666] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("ours");
            refused(&["chmod 600", &format!("{name}`")]);
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
        if std::os::unix::fs::chown(&file, Some(12345), None).is_ok() {
            refused(&["number 12345", name]);
            std::os::unix::fs::chown(&file, Some(0), None).expect("it is root's again");
        }
        assert_eq!(started(&place).0, id, "nothing was lost");
    }
}

#[test]
fn a_key_that_cannot_be_read_is_put_aside() {
    let Some(place) = Place::new("an unreadable key") else { return };
    let file = place.path("bob/state/identity");
    let (mut id, _) = started(&place);
    let good = fs::read(&file).expect("it was made");
    let cut = &good[..good.len() / 2];
    let mut wrong = good.clone();
    wrong[good.len() / 2] = b'x';
    let large = vec![b' '; 100_000];
    for (what, bad) in [("cut", cut), ("wrong", &wrong), ("empty", b""), ("large", &large)] {
        fs::write(&file, bad).expect("ours");
        let (new, said) = started(&place);
        assert!(
            said.contains("the node's key cannot be used") && said.contains("a new id"),
            "{what}: {said}"
        );
        assert_ne!(new, id, "{what}");
        id = new;
        let names = place.names("bob/state");
        let aside = names.iter().filter(|name| name.starts_with("identity.corrupt-"));
        assert!(
            aside
                .clone()
                .any(|name| fs::read(place.path("bob/state").join(name)).is_ok_and(|kept| kept == bad)),
            "{what}: {names:?}"
        );
        assert!(aside.count() <= 3, "{names:?}");
        assert_eq!(started(&place).0, id, "{what}: the new one stays");
    }
    // Not even a file.
    fs::remove_file(&file).expect("ours");
    fs::create_dir(&file).expect("ours");
    let (new, said) = started(&place);
    assert!(said.contains("the node's key cannot be used"), "{said}");
    assert_ne!(new, id);
    assert_eq!(started(&place).0, new);
}

/// `ds-peer identity`, in a place: its exit status, its output and its errors.
fn identity(place: &Place, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(PEER);
    command.arg("identity").args(words).current_dir(place.path("")).stdin(Stdio::null());
    let done = command.env("XDG_STATE_HOME", place.path("home")).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (done.status.code(), text(done.stdout), text(done.stderr))
}

/// Every file of a folder that holds this.
fn holding(place: &Place, folder: &str, text: &[u8]) -> Vec<String> {
    let holds = |name: &String| {
        fs::read(place.path(folder).join(name)).is_ok_and(|file| file.windows(text.len()).any(|w| w == text))
    };
    place.names(folder).into_iter().filter(holds).collect()
}

#[test]
fn a_node_is_given_another_key_when_told() {
    let Some(place) = Place::new("another key") else { return };
    let state = ["--state", "bob/state"];
    let told = |verb| identity(&place, &[&[verb], &state[..]].concat());
    for verb in ["show", "new"] {
        let (status, out, err) = told(verb);
        assert_eq!((status, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.contains("there is no key in") && err.contains("bob/state"), "{err}");
    }
    assert!(!place.path("bob/state").exists(), "who asks makes nothing");
    let bob = place.node("bob", &[]);
    let file = place.path("bob/state/identity");
    let before = fs::read_to_string(&file).expect("ours");
    // It can be read while the node works, and not be changed.
    let (status, old, err) = told("show");
    assert_eq!(status, Some(0), "{err}");
    let (status, out, err) = told("new");
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert!(err.contains("in use by another process"), "{err}");
    assert_eq!(fs::read_to_string(&file).expect("ours"), before);
    drop(bob);
    fs::copy(&file, place.path("bob/state/identity.1")).expect("as after a save");
    let (status, out, err) = told("new");
    assert_eq!(status, Some(0), "{err}");
    let (_, new, _) = told("show");
    assert!(old != new && new.len() == 17 && out.contains(old.trim()) && out.contains(new.trim()), "{out}");
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    let secret = before.split('"').nth(5).filter(|key| key.len() == 64).expect("its key");
    assert_eq!(holding(&place, "bob/state", secret.as_bytes()), [""; 0], "the old key is kept nowhere");
    assert_eq!(started(&place).0, new.trim());
}

#[test]
fn the_key_is_found_by_the_port_and_wrong_usage_is_told() {
    let Some(place) = Place::new("the key of a port") else { return };
    let (id, _) = started(&place);
    place.write("home/distrishare/9321/identity", &fs::read(place.path("bob/state/identity")).expect("ours"));
    let key = place.path("home/distrishare/9321/identity");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("ours");
    fs::set_permissions(key.parent().expect("a folder"), fs::Permissions::from_mode(0o700)).expect("ours");
    assert_eq!(identity(&place, &["show", "9321"]), (Some(0), format!("{id}\n"), String::new()));
    let (status, out, err) = identity(&place, &["new", "9321"]);
    assert!(status == Some(0) && out.contains(&id), "{out}{err}");
    // What is no key can be replaced, too; what others can read is told.
    fs::write(&key, "{").expect("ours");
    assert_eq!(identity(&place, &["show", "9321"]).0, Some(1));
    assert_eq!(identity(&place, &["new", "9321"]).0, Some(0));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("ours");
    let (status, _, err) = identity(&place, &["new", "9321"]);
    assert!(status == Some(1) && err.contains("chmod 600"), "{err}");
    let wrong: [&[&str]; 7] = [
        &[],
        &["drop", "9321"],
        &["new"],
        &["new", "70000"],
        &["new", "9321", "9322"],
        &["show", "--json", "9321"],
        &["show", "--state"],
    ];
    for words in wrong {
        let (status, out, err) = identity(&place, words);
        assert_eq!((status, out.as_str()), (Some(2), ""), "{words:?}: {err}");
        assert!(err.contains("ds-peer identity --help"), "{words:?}: {err}");
    }
    let (status, help, _) = identity(&place, &["new", "--help"]);
    assert!(status == Some(0) && help.contains("--state DIR"), "{help}");
}

#[test]
fn a_key_copied_to_another_machine_is_replaced_at_the_start() {
    let Some(place) = Place::new("a copied key") else { return };
    let raw = fs::read_to_string("/etc/machine-id")
        .or_else(|_| fs::read_to_string("/var/lib/dbus/machine-id"))
        .unwrap_or_default();
    let raw = raw.trim();
    if raw.is_empty() || raw == "uninitialized" {
        return skip("a copied key", "this machine has no id");
    }
    let (id, said) = started(&place);
    assert!(!said.contains("another machine"), "{said}");
    let note = place.path("bob/state/identity.machine");
    let here = fs::read_to_string(&note).expect("this machine is noted");
    let mode = || fs::metadata(&note).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((here.len(), mode()), (65, 0o600), "{here}");
    assert_eq!(holding(&place, "bob/state", raw.as_bytes()), [""; 0]);
    // As it comes from elsewhere.
    let secret = fs::read(place.path("bob/state/identity")).expect("ours");
    fs::write(&note, format!("{}\n", "0".repeat(64))).expect("ours");
    let (new, said) = started(&place);
    assert_ne!(new, id);
    assert_eq!(said.matches("another machine").count(), 1, "{said}");
    assert!(said.contains(&id) && said.contains(&new), "{said}");
    assert_eq!(holding(&place, "bob/state", &secret), [""; 0], "the old key is kept nowhere");
    // And once only.
    let same = || {
        let (again, said) = started(&place);
        assert!(again == new && !said.contains("key") && !said.contains("machine"), "{said}");
        assert_eq!((fs::read_to_string(&note).expect("noted"), mode()), (here.clone(), 0o600));
    };
    same();
    // The key of an earlier version has no note, and gets one.
    fs::remove_file(&note).expect("ours");
    same();
    // One that is made by hand is of this machine, whatever was noted before.
    fs::write(&note, format!("{}\n", "0".repeat(64))).expect("ours");
    let (status, out, err) = identity(&place, &["new", "--state", "bob/state"]);
    assert_eq!(status, Some(0), "{err}");
    let (id, said) = started(&place);
    assert!(out.starts_with(&format!("new id {id} in place of id {new}")), "{out}");
    assert!(!said.contains("another machine"), "{said}");
}
