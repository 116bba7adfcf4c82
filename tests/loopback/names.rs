//! Host names that the operator types: the program looks them up itself, in a process of its own.

use crate::place::{LIMIT, PEER, Place, event, registry};
use crate::support;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

/// What the system says of each process that this one started, dead ones that nobody waited for among them.
fn children_of(parent: i32) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("it is mounted").flatten();
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let is_child = |stat: &String| {
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        after.split_whitespace().nth(1) == Some(&*parent.to_string())
    };
    stats.filter(is_child).collect()
}

#[test]
fn a_name_is_found_without_any_other_program() {
    let Some(place) = Place::new("names") else { return };
    let (_registry, at) = registry(&place);
    let port = at.rsplit_once(':').expect("an address").1;
    // Called by its path alone, as by an init script with an empty environment.
    let mut command = place.command("bob", &["--json", "--keep-going"]);
    command.env_clear();
    let mut bob = crate::place::Node::started(support::Program::start("bob", &mut command));
    let events = bob.run(&format!("bootstrap localhost:{port}"));
    assert!(event(&events, "registered").is_some(), "{events:?}");
    let events = bob.run("bootstrap no-such-host.invalid:80");
    let error = event(&events, "error").unwrap_or_else(|| panic!("{events:?}"));
    assert!(error["message"].as_str().is_some_and(|text| text.contains("unknown host name")), "{error}");
    let left = children_of(bob.pid().as_raw_nonzero().get());
    assert!(left.is_empty(), "{left:?}");
    bob.run("quit");
    // The status of the command that failed.
    assert_eq!(bob.ended(LIMIT), Some(6));
}

#[test]
fn the_program_prints_the_addresses_of_a_name() {
    let Some(_place) = Place::new("look-ups") else { return };
    let (done, out, err) = support::run(Command::new(PEER).args(["__lookup", "localhost", "8000"]), LIMIT);
    let found: Vec<SocketAddr> = out.lines().map(|line| line.parse().expect("an address")).collect();
    assert!(done && err.is_empty() && !found.is_empty(), "{out}{err}");
    assert!(found.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 8000), "{out}");
    let (done, out, _) =
        support::run(Command::new(PEER).args(["__lookup", "no-such-host.invalid", "1"]), LIMIT);
    assert!(!done && out.is_empty(), "{out}");
    let (_, help, _) = support::run(Command::new(PEER).arg("--help"), LIMIT);
    assert!(!help.contains("lookup"));
}
