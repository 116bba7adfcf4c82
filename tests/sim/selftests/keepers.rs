//! The disk that forgets what was not synced, shown with keepers: what a kill and a power cut leave, what a failed sync
//! does, and that each check can fail.

use super::S;
use crate::content::Content;
use crate::disk::Left;
use crate::env::root_of;
use crate::faults::{DiskFaults, Faults};
use crate::harness::{Sums, added, run_twice, scenario};
use crate::ids::NodeId;
use crate::keeper::Keeper;
use crate::node::Death;
use crate::smith::Flaw;
use crate::world::World;
use distrishare::machine::Dir;
use std::collections::BTreeSet;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 2 * MIB + 5000;
const NODE: NodeId = NodeId(0);

fn keeper(world: &mut World) -> String {
    let lan = world.lan();
    let host = world.host(&[lan]);
    let node = world.node(host, Keeper::boxed);
    let content = Content::generated(5, SIZE);
    world.env.truth.add("file", &content);
    world.start(node);
    world.run_for(S / 10);
    root_of(&content)
}

/// Types lines and waits for as many events of this name as there are then.
fn does(world: &mut World, line: &str, event: &str) -> serde_json::Value {
    let before = world.events_named(NODE, event).len();
    world.type_line(NODE, line);
    let came = world.run_until(S * 30, |world| world.events_named(NODE, event).len() > before);
    assert!(came, "`{line}`: no {event}: {}", world.stdout(NODE));
    world.events_named(NODE, event)[before].clone()
}

fn stores(world: &mut World, content: &Content, offset: u64, len: u64) {
    let before = world.events_named(NODE, "stored").len();
    world.type_line(NODE, &format!("store {offset} {len}"));
    world.type_bytes(NODE, &content.read(offset, len as usize));
    assert!(world.run_until(S * 30, |world| world.events_named(NODE, "stored").len() > before));
}

fn part(world: &World, root: &str) -> Option<Content> {
    world.nodes[0].disk.content(Dir::Parts, &format!("{root}.part")).cloned()
}

/// A download under way: both files there, the first piece stored, synced and claimed.
fn begun(world: &mut World) -> (String, Content) {
    let root = keeper(world);
    let content = Content::generated(5, SIZE);
    does(world, &format!("create {root} {SIZE}"), "created");
    does(world, &format!("journal {root}"), "opened");
    world.type_line(NODE, &format!("head {root} {SIZE}"));
    stores(world, &content, 0, MIB);
    does(world, "sync part", "synced");
    world.type_line(NODE, "claim 0");
    does(world, "sync jnl", "synced");
    (root, content)
}

#[test]
fn a_kill_loses_nothing_and_a_power_cut_what_was_not_synced() {
    // hostile: 161, 162
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let mut world = World::new(seed, false);
        let (root, content) = begun(&mut world);
        world.run_for(S);
        stores(&mut world, &content, MIB, MIB);
        let meta = |world: &World| {
            let disk = &world.nodes[0].disk;
            disk.meta(disk.inode_of(Dir::Parts, &format!("{root}.part")).expect("a part"))
        };
        let before = meta(&world);
        world.kill(NODE);
        assert_eq!(meta(&world), before, "killed");
        let left = part(&world, &root).expect("a part");
        assert!(left.agrees(&content, 0, 2 * MIB) && left.len() == SIZE);
        world.start(NODE);
        does(&mut world, &format!("open {root}"), "opened");
        does(&mut world, &format!("journal {root}"), "opened");
        let read = does(&mut world, "read jnl 0 1000", "read");
        assert_eq!(read["text"], format!("{root} {SIZE}\n0\n"));
        world.power_cut(NODE);
        let left = part(&world, &root).expect("its name was synced");
        assert!(left.agrees(&content, 0, MIB), "what was synced is there");
        let pages = (0..256).filter(|page| left.agrees(&content, MIB + page * 4096, 4096)).count();
        seen.insert(match pages {
            0 => "none",
            256 => "all",
            _ => "some",
        });
        seen.insert(if meta(&world).mtime == before.mtime { "new time" } else { "old time" });
        assert!(meta(&world).mtime <= before.mtime);
        world.start(NODE);
        world.run_for(S);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["all", "new time", "none", "old time", "some"]);
}

#[test]
fn names_lengths_and_journals_are_lost_too_and_what_is_left_is_chosen() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let mut world = World::new(seed, false);
        let root = keeper(&mut world);
        does(&mut world, &format!("create {root} 0"), "created");
        does(&mut world, &format!("journal {root}"), "opened");
        world.type_line(NODE, &format!("head {root} {SIZE}"));
        stores(&mut world, &Content::generated(5, SIZE), 0, 10_000);
        match seed {
            0 => world.power_cut_leaving(NODE, Left::Nothing),
            1 => world.power_cut_leaving(NODE, Left::All),
            _ => world.power_cut(NODE),
        }
        let len = |name: String| {
            world.nodes[0].disk.content(Dir::Parts, &name).map_or("gone".into(), |c| c.len().to_string())
        };
        let (part, journal) = (len(format!("{root}.part")), len(format!("{root}.jnl")));
        match seed {
            1 => assert_eq!((&*part, &*journal), ("10000", "73")),
            0 => assert!(part == "gone" && journal == "gone"),
            _ => seen.extend([format!("part {part}"), format!("jnl {journal}")]),
        }
        world.start(NODE);
        let left = world.nodes[0].disk.names(Dir::Parts);
        assert!(left.is_empty() || left.len() == 2, "swept: {left:?}");
    }
    for state in ["part gone", "part 0", "part 10000", "part 4096", "jnl gone", "jnl 0", "jnl 73"] {
        assert!(seen.contains(state), "{state}: {seen:?}");
    }
}

#[test]
fn after_a_failed_sync_what_is_read_is_not_what_is_there() {
    let mut lost = 0;
    for seed in 0..20 {
        let mut world = World::new(seed, false);
        let (root, content) = begun(&mut world);
        stores(&mut world, &content, MIB, MIB);
        let disk = DiskFaults { sync: 1_000_000, ..DiskFaults::default() };
        world.set_faults(Faults { disk, ..Faults::default() });
        let failed = does(&mut world, "sync part", "failed");
        assert!(failed["fatal"] == false && failed["file"] == "part");
        world.set_faults(Faults::default());
        does(&mut world, "sync part", "synced");
        assert!(part(&world, &root).expect("a part").agrees(&content, MIB, MIB), "read from the cache");
        world.power_cut_leaving(NODE, Left::All);
        let left = part(&world, &root).expect("a part");
        assert!(left.agrees(&content, 0, MIB));
        lost += u32::from(!left.agrees(&content, MIB, MIB));
    }
    assert!(lost > 15, "{lost}");
}

#[test]
fn a_download_is_kept_gone_on_with_and_finished() {
    scenario("a_download_is_kept", 20, |world| {
        let (root, content) = begun(world);
        world.type_bytes(NODE, b"close part\nclose jnl\nquit\n");
        assert!(world.run_until(S, |world| world.exit_status(NODE) == Some(0)));
        world.start(NODE);
        assert_eq!(does(world, &format!("open {root}"), "opened")["size"], SIZE);
        does(world, &format!("journal {root}"), "opened");
        stores(world, &content, 2 * MIB, SIZE - 2 * MIB);
        stores(world, &content, MIB, MIB);
        assert_eq!(does(world, "commit file", "committed")["confirmed"], true);
        world.type_bytes(NODE, b"tell file\ndiscard jnl\n");
        world.run_for(S / 10);
        assert!(world.has_download(NODE, "file") && world.nodes[0].disk.names(Dir::Parts).is_empty());
        let (written, held) = world.wear(NODE);
        assert!(written <= held * 11 / 10 && held <= SIZE + 100, "{written} {held}");
        world.power_cut(NODE);
        assert!(world.has_download(NODE, "file"));
    });
}

#[test]
fn a_commit_is_cut_at_every_step_and_can_fail_without_harm() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let mut world = World::new(seed, false);
        let (root, content) = begun(&mut world);
        stores(&mut world, &content, MIB, SIZE - MIB);
        if seed % 4 == 0 {
            let disk = DiskFaults { sync: 500_000, commit: 300_000, ..DiskFaults::default() };
            world.set_faults(Faults { disk, ..Faults::default() });
            world.type_line(NODE, "commit file");
            world.run_for(S);
            world.set_faults(Faults::default());
            let failed = world.events_named(NODE, "failed");
            if failed.is_empty() {
                let committed = world.events_named(NODE, "committed").remove(0);
                seen.insert(if committed["confirmed"] == true { "done" } else { "not confirmed" });
            } else {
                assert!(failed[0]["fatal"] == false && part(&world, &root).is_some());
                seen.insert("failed");
                // What the failed sync was for is stored again: then it can be had.
                stores(&mut world, &content, 0, SIZE);
                does(&mut world, "commit file", "committed");
            }
        } else {
            world.type_line(NODE, "commit file");
            world.run_for(Duration::from_micros(100));
            world.power_cut(NODE);
            let there = (world.has_download(NODE, "file"), part(&world, &root).is_some());
            seen.insert(match there {
                (true, false) => "renamed",
                (false, true) => "not renamed",
                both => panic!("{both:?}"),
            });
        }
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["done", "failed", "not confirmed", "not renamed", "renamed"]
    );
}

#[test]
fn room_that_is_not_there_is_not_set_aside_and_others_meddle() {
    // hostile: 157
    let mut world = World::new(3, false);
    let root = keeper(&mut world);
    world.nodes[0].disk.capacity = SIZE - 1;
    let disk = DiskFaults { full: 1_000_000, ..DiskFaults::default() };
    world.set_faults(Faults { disk, ..Faults::default() });
    let failed = does(&mut world, &format!("create {root} {SIZE}"), "failed");
    assert!(failed["fatal"] == true && world.nodes[0].disk.names(Dir::Parts).is_empty());
    world.set_faults(Faults::default());
    assert_eq!(does(&mut world, &format!("create {root} {SIZE}"), "created")["room"], SIZE - 1);
    assert_eq!(part(&world, &root).expect("a part").len(), 0);
    world.type_line(NODE, "discard part");
    world.nodes[0].disk.capacity = 4 * SIZE;
    does(&mut world, &format!("create {root} {SIZE}"), "created");
    assert_eq!((part(&world, &root).expect("a part").len(), world.nodes[0].disk.room()), (SIZE, 3 * SIZE));
    does(&mut world, &format!("journal {root}"), "opened");
    world.type_line(NODE, &format!("head {root} {SIZE}"));
    stores(&mut world, &Content::generated(5, SIZE), 0, MIB);
    does(&mut world, "sync part", "synced");
    let name = format!("{root}.part");
    let mtime = |world: &World| {
        let disk = &world.nodes[0].disk;
        disk.inode_of(Dir::Parts, &name).map(|inode| disk.meta(inode).mtime)
    };
    let before = mtime(&world);
    world.run_for(S);
    world.edit_part(NODE, &name, true, |content| content.flip(5000, 1));
    assert_eq!(mtime(&world), before);
    assert!(!part(&world, &root).expect("a part").agrees(&Content::generated(5, SIZE), 0, MIB));
    world.edit_part(NODE, &name, false, |content| content.set_len(77));
    assert!(mtime(&world) > before && part(&world, &root).expect("a part").len() == 77);
    // Nobody blames the node for what others did.
    world.type_line(NODE, "claim 0");
    world.remove_part(NODE, &name);
    assert_eq!(does(&mut world, "sync part", "failed")["fatal"], false);
    assert_eq!(does(&mut world, "commit file", "failed")["fatal"], false);
}

/// What a keeper is caught for that does `bad` after its first piece; `good` is right.
fn caught(good: &str, bad: &str, word: &str) {
    let body = |lines: String| {
        move |world: &mut World| {
            let (root, content) = begun(world);
            for line in lines.split(", ") {
                match line {
                    "second piece" => stores(world, &content, MIB, MIB),
                    "rest" => stores(world, &content, 2 * MIB, SIZE - 2 * MIB),
                    "kill" => world.kill(NODE),
                    "cut the power" => world.power_cut_leaving(NODE, Left::Nothing),
                    "a sync fails" => {
                        let disk = DiskFaults { sync: 1_000_000, ..DiskFaults::default() };
                        world.set_faults(Faults { disk, ..Faults::default() });
                        does(world, "sync part", "failed");
                        world.set_faults(Faults::default());
                    }
                    "stray bytes" => {
                        world.type_line(NODE, "stray 0 10");
                        world.type_bytes(NODE, &[0; 10]);
                    }
                    line => world.type_line(NODE, &line.replace("ROOT", &root)),
                }
                world.run_for(S / 10);
            }
            world.run_for(S);
        }
    };
    run_twice("good", 5, false, body(good.into())).unwrap_or_else(|failure| panic!("{good}: {failure}"));
    let failure = run_twice("bad", 5, false, body(bad.into())).expect_err(bad);
    assert!(failure.message.contains(word), "{bad}: {}", failure.message);
}

#[test]
fn breaches_of_what_is_kept_are_caught() {
    // 6.3: 1, 3, 4, 20
    caught("second piece, sync part, claim 1", "second piece, claim 1, sync part", "claims piece 1");
    caught("sync part, claim 0", "a sync fails, sync part, claim 1", "claims piece 1");
    caught(
        "second piece, a sync fails, second piece, sync part, claim 1",
        "second piece, a sync fails, sync part, claim 1",
        "claims piece 1",
    );
    caught(
        "second piece, rest, commit file, tell file, kill",
        "second piece, rest, tell file, kill",
        "after a crash it is not there",
    );
    let (second, rest) = ("second piece, a sync fails", "rest, commit file");
    caught(&format!("{second}, second piece, {rest}"), &format!("{second}, {rest}"), "not all of it is on");
    caught("close part, close jnl, quit", "close part, claim 0, close jnl, quit", "is not synced");
    caught("close part, close jnl, quit", "close jnl, quit", "leaves 1 files growing");
    caught("second piece, close part", "second piece, close part, stray bytes", "a body for");
    caught("close part, open ROOT", "close part, open ROOT, open ROOT", "is open already");
    caught("second piece", "discard part, create short 0", "temporary name");
}

#[test]
fn a_host_sends_no_faster_than_its_link_and_shares_it() {
    scenario("a_host_sends_no_faster", 5, |world| {
        let nodes = super::smiths::smiths(world, 4, Flaw::None);
        world.share(nodes[0], "a", Content::generated(8, 3_000_000));
        world.upload_rate(world.nodes[0].host, 1_000_000);
        nodes[1..].iter().for_each(|&node| super::smiths::get(world, node, nodes[0], "a"));
        let mut ends = Vec::new();
        for _ in 0..40 {
            world.run_for(S / 2);
            let done = nodes[1..].iter().filter(|&&node| world.has_download(node, "a")).count();
            ends.resize(done, world.now());
        }
        assert_eq!(ends.len(), 3);
        assert!(ends[0] >= S * 7 && ends[2] >= S * 9 && ends[2] < S * 11, "in turn: {ends:?}");
        assert_eq!(world.uploaded(nodes[0]), 9_000_000);
    });
}

#[test]
fn a_report_adds_up() {
    let one = added("", "first", &Sums { seeds: 2, nodes: 6, seconds: 1800 });
    let two = added(&one, "second", &Sums { seeds: 3, nodes: 9, seconds: 3600 });
    let lines: Vec<&str> = two.lines().collect();
    assert_eq!(lines.len(), 3, "{two}");
    assert_eq!(lines[1], "second: 3 seeds, 9 nodes, 3600 simulated seconds");
    assert_eq!(lines[2], "in all 2 scenarios: 5 seeds, 15 nodes, 5400 simulated seconds (1.5 hours)");
}

#[test]
fn death_comes_in_the_middle_of_what_a_node_does() {
    for death in [Death::Kill, Death::Power(Left::Drawn)] {
        let mut world = World::new(4, false);
        let (root, _) = begun(&mut world);
        world.dies_after(NODE, 3, death);
        for _ in 0..5 {
            world.type_line(NODE, "sync part");
            world.run_for(S / 10);
        }
        assert!(!world.running(NODE));
        world.start(NODE);
        does(&mut world, &format!("open {root}"), "opened");
    }
}
