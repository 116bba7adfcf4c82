//! The node's key in its state folder: private, the same after a restart, and never in the way of a start.

use crate::place::{LIMIT, Place, event};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

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
