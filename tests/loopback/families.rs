//! A node without an address of its own is reached by IPv4 and by IPv6, at one port.

use crate::place::{Node, PEER, Place, event, request};
use crate::support::{Program, skip};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::process::Command;

/// Listens on all addresses.
fn open(place: &Place, name: &str) -> Node {
    fs::create_dir_all(place.path(name)).expect("a folder of ours");
    let mut command = Command::new(PEER);
    command.args(["0", "--state", "state", "--json", "--keep-going"]).current_dir(place.path(name));
    Node::started(Program::start(name, &mut command))
}

fn old_download(ip: IpAddr, port: u16) -> Vec<u8> {
    let mut conn = TcpStream::connect((ip, port)).expect("it listens");
    conn.write_all(&request("download", "a.txt")).expect("it reads");
    let mut answer = Vec::new();
    conn.read_to_end(&mut answer).expect("it closes in good order");
    answer
}

fn is_listed(events: &[Value], ip: &str, port: u16) -> bool {
    events.iter().any(|event| event["event"] == "node" && event["ip"] == ip && event["port"] == port)
}

#[test]
fn a_node_is_reached_by_both_families() {
    let Some(place) = Place::new("both families") else { return };
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return skip("both families", "this host has no ::1");
    }
    place.write("ann/shared_files/a.txt", b"by either way");
    let mut ann = open(&place, "ann");
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        assert_eq!(old_download(ip, ann.port), b"by either way", "{ip}");
    }
    let port = ann.port;
    for (name, at, seen_as) in [
        ("bob", format!("127.0.0.1 {port}"), "127.0.0.1"),
        ("cid", format!("::1 {port}"), "::1"),
        ("dan", format!("[::1]:{port}"), "::1"),
    ] {
        let mut node = open(&place, name);
        let events = node.run(&format!("get {at} a.txt"));
        assert!(event(&events, "downloaded").is_some(), "{events:?}");
        let known = ann.run("nodes all");
        assert!(is_listed(&known, seen_as, node.port), "{known:?}");
    }
    // A registry at ::1, on all addresses, too; and a zone that no interface here has.
    let mut command = Command::new(env!("CARGO_BIN_EXE_ds-bootstrap"));
    command.args(["0", "--state"]).arg(place.path("registry"));
    let mut registry = Program::start("ds-bootstrap", &mut command);
    let port = registry.wait("ready", crate::place::LIMIT, |line| {
        let digits = line.rsplit(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?;
        line.contains("ready").then(|| digits.to_owned())
    });
    let events = ann.run(&format!("bootstrap [::1]:{port}"));
    assert!(event(&events, "registered").is_some(), "{events:?}");
    for node in ["fe80::1%nosuch0 9000", "fe80::1 9000", "[fe80::1%nosuch0]:9000"] {
        let events = ann.run(&format!("get {node} a.txt"));
        let error = event(&events, "error").unwrap_or_else(|| panic!("{events:?}"));
        assert!(error["message"].as_str().is_some_and(|text| text.contains("as in fe80::1%eth0")), "{error}");
    }
}
