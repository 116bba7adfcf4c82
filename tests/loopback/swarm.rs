//! Downloads from several nodes at once: liars, the dead and the slow among them; many who want the same; bounds of the rates.

use crate::place::{LIMIT, MIB, Node, Place, event, large, same, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Other bytes in a file that somebody reads from: whoever opened it before does not see that it changed, and nobody is told
/// while it is held.
fn rot(place: &Place, name: &str) -> File {
    let file = File::options().write(true).open(place.path(name)).expect("a file of ours");
    let len = file.metadata().expect("a file of ours").len();
    for at in (0..len).step_by(MIB) {
        file.write_all_at(b"rot", at + 5000).expect("a file of ours");
    }
    file
}

/// Asks until the one result has so many sources.
fn found_at(node: &mut Node, sources: usize) {
    until("all have hashed it", || {
        let events = node.run("search size>1M");
        let result = event(&events, "result")?;
        (result["sources"].as_array().map(Vec::len) == Some(sources)).then_some(())
    });
}

#[test]
fn of_four_sources_one_lies_one_dies_and_one_has_another_name() {
    // hostile: 102, 111
    let Some(place) = Place::new("four sources") else { return };
    let names =
        ["ann/shared_files/lesson.mp4", "carl/shared_files/old/copy of it", "dan/shared_files/lesson.mp4"];
    large(&place, names[0], 40, 1);
    for name in [names[1], names[2], "eve/shared_files/lesson.mp4"] {
        place.write(name, b"");
        fs::copy(place.path(names[0]), place.path(name)).expect("ours");
    }
    let [ann, carl, mut dan, mut eve] =
        ["ann", "carl", "dan", "eve"].map(|name| place.node(name, &["--limit-up", "6MB/s"]));
    let mut bob = place.node("bob", &[]);
    for node in [&ann, &carl, &dan, &eve] {
        bob.run(&format!("browse 127.0.0.1 {}", node.port));
    }
    found_at(&mut bob, 4);
    bob.console.program.tell("get 1");
    until("dan gives", || (dan.sent() > MIB as u64).then_some(()));
    let _held = rot(&place, names[2]);
    until("eve gives", || (eve.sent() > 4 * MIB as u64).then_some(()));
    eve.signal(Signal::KILL);
    let mut blamed = Vec::new();
    let done = bob.console.program.wait("the end", LIMIT, |line| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        assert_ne!(event["event"], "error", "{event}");
        if event["event"] == "blamed" {
            blamed.push((event["port"].clone(), event["pieces"].clone()));
        }
        (event["event"] == "downloaded").then_some(event)
    });
    assert_eq!((&done["verified"], &done["bytes"]), (&json!(true), &json!(40 * MIB)), "{done}");
    assert_eq!(done["sources"], 4, "dan gave something before it rotted: {done}");
    assert!(
        !blamed.is_empty() && blamed.iter().all(|(port, _)| *port == dan.port),
        "{}: {blamed:?}",
        dan.port
    );
    same(&place, names[0], &format!("bob/{}", done["path"].as_str().expect("a path")));
    assert_eq!(place.names("bob/downloads/.parts"), [""; 0]);
}

#[test]
fn ten_nodes_cost_their_one_seed_little_more_than_one() {
    let Some(place) = Place::new("ten nodes and one seed") else { return };
    // Many pieces for each of them, and a rate that costs ten unoptimised programs on two processors little.
    const SIZE: usize = 40;
    large(&place, "seed/shared_files/first", SIZE, 2);
    large(&place, "seed/shared_files/second", SIZE, 3);
    let mut seed = place.node("seed", &["--limit-up", "8MB/s"]);
    let mut nodes: Vec<Node> = (0..10).map(|i| place.node(&format!("n{i}"), &[])).collect();
    seed.has_hashed(2);
    let start = Instant::now();
    let events = nodes[0].get(seed.port, "first");
    assert!(event(&events, "downloaded").is_some(), "{events:?}");
    let alone = start.elapsed();
    let before = seed.sent();
    let start = Instant::now();
    for node in &mut nodes {
        node.console.program.tell(&format!("get 127.0.0.1 {} second", seed.port));
    }
    for node in &mut nodes {
        let done = node.console.event("downloaded");
        assert_eq!((&done["verified"], &done["bytes"]), (&json!(true), &json!(SIZE * MIB)), "{done}");
    }
    let together = start.elapsed();
    let sent = seed.sent() - before;
    eprintln!("alone {alone:?}, ten {together:?}, copies {:.2}", sent as f64 / (SIZE * MIB) as f64);
    for i in 0..10 {
        same(&place, "seed/shared_files/second", &format!("n{i}/downloads/second"));
    }
    assert!(sent <= (SIZE * MIB * 3 / 2) as u64, "the seed sent {sent} bytes");
    assert!(together <= alone * 3 / 2, "one {alone:?}, ten {together:?}");
}

/// Bytes a second that arrive at a node within about this time, as its progress tells.
fn rate(node: &mut Node, time: Duration) -> f64 {
    // The first one may be of before.
    node.progress();
    let (start, first) = (Instant::now(), node.progress());
    let start = (start + start.elapsed(), first["bytes"].as_f64().expect("a number"));
    loop {
        let now = node.progress();
        let took = start.0.elapsed();
        if took >= time {
            return (now["bytes"].as_f64().expect("a number") - start.1) / took.as_secs_f64();
        }
    }
}

#[track_caller]
fn near(rate: f64, wanted: f64) {
    assert!((rate / wanted - 1.0).abs() < 0.05, "{rate:.0} bytes a second, not {wanted:.0}");
}

#[test]
fn bounds_of_the_rates_hold() {
    let Some(place) = Place::new("bounds of the rates") else { return };
    large(&place, "ann/shared_files/large", 48, 4);
    let mut ann = place.node("ann", &["--limit-up", "4MB/s"]);
    let mut bob = place.node("bob", &["--limit-down", "3M"]);
    bob.console.program.tell(&format!("get 127.0.0.1 {} large &", ann.port));
    near(rate(&mut bob, Duration::from_secs(3)), 3e6);
    bob.run("limit down off");
    near(rate(&mut bob, Duration::from_secs(3)), 4e6);
    let events = ann.run("limit up 2.5M");
    let limit = event(&events, "limit").expect("it says so");
    assert_eq!((&limit["up"], &limit["down"]), (&json!(2_500_000), &json!(null)));
    near(rate(&mut bob, Duration::from_secs(3)), 2.5e6);
    let events = bob.run("limit down 1500k");
    assert!(event(&events, "limit").is_some(), "{events:?}");
    near(rate(&mut bob, Duration::from_secs(3)), 1.5e6);
    bob.run("cancel all");
    assert_eq!(place.names("bob/downloads/.parts"), [""; 0]);
}
