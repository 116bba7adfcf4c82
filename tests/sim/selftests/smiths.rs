//! Sealing, reading, watching, keys and logs, shown with smiths: that each works, and that each check can fail.

use super::S;
use crate::content::Content;
use crate::faults::{DiskFaults, Faults};
use crate::harness::{run, run_twice, scenario};
use crate::ids::NodeId;
use crate::smith::{Flaw, PORT, Smith};
use crate::world::World;
use distrishare::machine::{Dir, Fault, Kept, LeftOut, ListEnd, Slot};
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) fn smiths(world: &mut World, n: usize, flaw: Flaw) -> Vec<NodeId> {
    let lan = world.lan();
    (0..n)
        .map(|_| {
            let host = world.host(&[lan]);
            let node = world.node(host, move |seed| Smith::boxed(flaw, seed));
            world.start(node);
            node
        })
        .collect()
}

pub(super) fn get(world: &mut World, node: NodeId, from: NodeId, name: &str) {
    let addr = world.addr(world.nodes[from.0].host, PORT);
    world.type_line(node, &format!("get {addr} {name}"));
}

/// Types a line and waits for an event of that name.
fn told(world: &mut World, node: NodeId, line: &str, event: &str) -> serde_json::Value {
    let before = world.events_named(node, event).len();
    world.type_line(node, line);
    let came = world.run_until(S * 30, |world| world.events_named(node, event).len() > before);
    assert!(came, "`{line}`: no {event}: {}", world.stdout(node));
    world.events_named(node, event)[before].clone()
}

fn text(value: &serde_json::Value, field: &str) -> String {
    value[field].as_str().unwrap_or("?").to_owned()
}

#[test]
fn sealed_files_arrive_as_they_were() {
    scenario("sealed_files_arrive", 20, |world| {
        let nodes = smiths(world, 3, Flaw::None);
        world.env.truth.forbid_short = true;
        for (name, len) in [("empty", 0), ("one", 1), ("big", 300_001)] {
            world.share(nodes[0], name, Content::generated(len, len));
            get(world, nodes[1], nodes[0], name);
        }
        get(world, nodes[2], nodes[0], "big");
        let all = |world: &World| {
            world.downloads(nodes[1]) == ["big", "empty", "one"] && world.downloads(nodes[2]) == ["big"]
        };
        assert!(world.run_until(S * 60, all), "{}", world.stdout(nodes[1]));
        assert!(world.events_named(nodes[1], "forged").is_empty());
    });
}

#[test]
fn a_sealing_that_cannot_go_on_ends_and_a_cut_drops_what_was_sealed() {
    scenario("a_sealing_that_cannot_go_on", 20, |world| {
        let nodes = smiths(world, 2, Flaw::None);
        for name in ["spoilt", "shrinks", "cut"] {
            world.share(nodes[0], name, Content::generated(7, 3_000_000));
        }
        world.nodes[0].disk.spoil(Dir::Shared, "spoilt", 100_000);
        for name in ["spoilt", "shrinks"] {
            get(world, nodes[1], nodes[0], name);
        }
        world.run_for(S / 50);
        world.nodes[0].disk.shrink(Dir::Shared, "shrinks", 10);
        let errors = |world: &World| {
            let errors = world.events_named(NodeId(0), "error");
            errors.iter().map(|e| text(e, "message")).collect::<BTreeSet<_>>()
        };
        let both = [Fault::Shrunk.to_string(), Fault::Os(5).to_string()];
        assert!(world.run_until(S * 30, |world| both.iter().all(|fault| errors(world).contains(fault))));
        assert!(world.run_until(S, |world| world.nodes[1].disk.names(Dir::Parts).is_empty()));
        get(world, nodes[1], nodes[0], "cut");
        assert!(world.run_until(S, |world| !world.nodes[1].disk.names(Dir::Parts).is_empty()));
        world.run_for(S / 100);
        world.crash(nodes[1]);
        world.run_for(S);
        world.start(nodes[1]);
        get(world, nodes[1], nodes[0], "cut");
        assert!(world.run_until(S * 30, |world| world.has_download(nodes[1], "cut")));
    });
}

#[test]
fn a_file_is_read_as_it_is_and_an_open_one_stays_what_it_was() {
    scenario("a_file_is_read", 20, |world| {
        let nodes = smiths(world, 1, Flaw::None);
        world.run_for(S);
        world.share(nodes[0], "a", Content::generated(1, 100_000));
        let first = told(world, nodes[0], "read a", "read");
        assert_eq!((text(&first, "bytes"), text(&first, "size")), ("100000".into(), "100000".into()));
        // Written anew in place: the same file, later.
        world.run_for(S);
        world.rewrite_shared(nodes[0], "a", "short");
        let second = told(world, nodes[0], "read a", "read");
        assert_eq!(text(&second, "inode"), text(&first, "inode"));
        let mtime = |event: &serde_json::Value| text(event, "mtime").parse::<i64>().expect("a time");
        assert!(mtime(&second) >= mtime(&first) + 1_000_000_000);
        // Under another name it is what it was; a new one is another.
        world.run_for(S);
        world.rename_shared(nodes[0], "a", "b");
        let third = told(world, nodes[0], "read b", "read");
        let same = ["inode", "mtime", "size"];
        assert!(same.iter().all(|field| third[field] == second[field]), "{third} {second}");
        world.share(nodes[0], "b", "short");
        let fourth = told(world, nodes[0], "read b", "read");
        assert!(text(&fourth, "inode") != text(&third, "inode") && mtime(&fourth) > mtime(&third));
        // Removed while it is read.
        world.share(nodes[0], "c", Content::generated(2, 1_000_000));
        world.type_line(nodes[0], "read c");
        world.run_for(Duration::from_millis(3));
        world.remove_shared(nodes[0], "c");
        assert!(world.run_until(S * 10, |world| {
            let bytes = world.events_named(NodeId(0), "read").last().map(|event| text(event, "bytes"));
            bytes.as_deref() == Some("1000000")
        }));
        world.share(nodes[0], "d", Content::generated(2, 1_000_000));
        world.nodes[0].disk.spoil(Dir::Shared, "d", 999_999);
        assert_eq!(text(&told(world, nodes[0], "read d", "error"), "message"), Fault::Os(5).to_string());
    });
}

#[test]
fn listings_go_into_folders_and_stop_at_their_limit() {
    scenario("listings_go_into_folders", 10, |world| {
        let nodes = smiths(world, 1, Flaw::None);
        for name in ["a", "sub/b", "sub/deeper/c", "subtle", ".hidden", "sub/.d"] {
            world.share(nodes[0], name, "1");
        }
        let list = |world: &mut World, line: &str| {
            let before = world.events_named(NodeId(0), "file").len();
            let ended = world.events_named(NodeId(0), "listed").len();
            world.type_line(NodeId(0), line);
            let over = |world: &World| {
                let ends = world.events_named(NodeId(0), "listed");
                ends.len() > ended && ends.last().is_some_and(|end| text(end, "end") != "More")
            };
            assert!(world.run_until(S * 20, over));
            let names = world.events_named(NodeId(0), "file").split_off(before);
            let names: Vec<String> = names.iter().map(|event| text(event, "name")).collect();
            let end = world.events_named(NodeId(0), "listed").last().map(|event| text(event, "end"));
            (names.join(","), end.unwrap_or_default())
        };
        let done = format!("{:?}", ListEnd::Done(LeftOut::default()));
        assert_eq!(list(world, "ls - deep 9"), ("a,sub/b,sub/deeper/c,subtle".into(), done.clone()));
        assert_eq!(list(world, "ls - flat 9"), ("a,subtle".into(), done.clone()));
        assert_eq!(list(world, "ls sub deep 9"), ("sub/b,sub/deeper/c".into(), done.clone()));
        assert_eq!(list(world, "ls sub/deeper flat 9"), ("sub/deeper/c".into(), done.clone()));
        assert_eq!(list(world, "ls none deep 9").1, "Failed(NotFound)");
        let (some, end) = list(world, "ls - deep 3");
        assert_eq!((some.split(',').count(), end.as_str()), (3, "Truncated"));
        world.rename_shared(nodes[0], "sub", "other/place");
        assert_eq!(list(world, "ls other deep 9").0, "other/place/b,other/place/deeper/c");
        world.remove_shared(nodes[0], "other/place/deeper/c");
        assert_eq!(list(world, "ls other/place/deeper deep 9"), (String::new(), done), "the folder stays");
        world.remove_shared(nodes[0], "other");
        assert_eq!(list(world, "ls other deep 9").1, "Failed(NotFound)");
    });
}

#[test]
fn changes_are_told_late_and_often_but_told() {
    let mut more = 0;
    for seed in 0..20 {
        let body = |world: &mut World| {
            let nodes = smiths(world, 1, Flaw::None);
            world.share(nodes[0], "before", "1");
            world.type_line(nodes[0], "watch");
            world.run_for(S);
            assert!(world.events_named(nodes[0], "changed").is_empty());
            world.share(nodes[0], "new/folder/a", "1");
            world.share(nodes[0], "new/folder/b", "1");
            (0..20).for_each(|_| world.rewrite_shared(nodes[0], "before", "2"));
            world.run_for(S * 10);
            world.rename_shared(nodes[0], "new/folder", "moved");
            world.remove_shared(nodes[0], "moved/a");
            world.run_for(S * 10);
            let events = world.events_named(nodes[0], "changed");
            let events: Vec<_> = events.iter().map(|e| (text(e, "folder"), text(e, "deep"))).collect();
            for (folder, deep) in [
                ("new", true),
                ("new/folder", false),
                ("", false),
                ("new/folder", true),
                ("moved", true),
                ("moved", false),
            ] {
                assert!(events.contains(&(folder.into(), deep.to_string())), "{folder}: {events:?}");
            }
            assert!(events.len() < 24, "twenty changes of one folder are few hints: {events:?}");
            world.env.trace.words(0, -1, "changed", events.len() as u64, 0);
            assert!(world.events_named(nodes[0], "lost").is_empty());
        };
        let (_, trace) = run("changes", seed, false, body).unwrap_or_else(|failure| panic!("{failure}"));
        more += u32::from(!trace.to_string().contains("changed 6 0"));
    }
    assert!(more > 5, "duplicates are common: {more}");
}

#[test]
fn changes_get_lost_with_a_word_and_without_one() {
    let mut fallen = BTreeSet::new();
    for seed in 0..10 {
        let body = |world: &mut World| {
            let disk = DiskFaults { watch_lost: 20_000, watch_silent: 100_000, ..DiskFaults::default() };
            world.set_faults(Faults { disk, ..Faults::default() });
            let nodes = smiths(world, 1, Flaw::None);
            world.type_line(nodes[0], "watch");
            for i in 0..100 {
                world.share(nodes[0], &format!("folder{i}/a"), "1");
                world.run_for(S / 10);
            }
            world.run_for(S * 10);
            let count = |event| world.events_named(nodes[0], event).len();
            let (changed, lost) = (count("changed"), count("lost"));
            let said = world.nodes[0].disk.dice.fallen.contains("disk.watch_lost");
            assert_eq!(said, lost > 0);
            assert!(changed < 125 && (changed > 50 || said), "{changed} of 100");
            world.env.trace.words(0, -1, "lost", u64::from(said), u64::from(changed < 100));
        };
        let (_, trace) = run("lost", seed, false, body).unwrap_or_else(|failure| panic!("{failure}"));
        let trace = trace.to_string();
        fallen.extend(["lost 1 1", "lost 0 1"].into_iter().filter(|word| trace.contains(word)));
    }
    assert!(fallen.contains("lost 1 1"), "{fallen:?}");
}

#[test]
fn keys_are_kept_beside_the_registry_and_set_aside() {
    scenario("keys_are_kept", 10, |world| {
        let nodes = smiths(world, 1, Flaw::None);
        assert_eq!(text(&told(world, nodes[0], "kept current", "kept"), "text"), "none");
        assert_eq!(text(&told(world, nodes[0], "keep one", "saved"), "ok"), "true");
        assert_eq!(text(&told(world, nodes[0], "keep two", "saved"), "ok"), "true");
        world.crash(nodes[0]);
        world.start(nodes[0]);
        assert_eq!(text(&told(world, nodes[0], "kept current", "kept"), "text"), "two");
        assert_eq!(text(&told(world, nodes[0], "kept previous", "kept"), "text"), "one");
        assert!(!world.nodes[0].disk.state.contains_key(&(Kept::Registry, Slot::Current)));
        world.type_line(nodes[0], "quarantine");
        assert_eq!(text(&told(world, nodes[0], "kept current", "kept"), "text"), "none");
        assert_eq!(world.nodes[0].disk.quarantined, [(Kept::Identity, b"two".to_vec())]);
    });
}

#[test]
fn a_log_grows_is_cut_and_is_replaced() {
    scenario("a_log_grows", 20, |world| {
        let nodes = smiths(world, 1, Flaw::None);
        assert_eq!(text(&told(world, nodes[0], "log", "opened"), "size"), "0");
        world.type_bytes(nodes[0], b"append one,\nappend two,\nappend three\n");
        assert_eq!(text(&told(world, nodes[0], "show log", "log"), "text"), "one,two,three");
        world.type_line(nodes[0], "cut 8");
        assert_eq!(text(&told(world, nodes[0], "show log", "log"), "text"), "one,two,");
        told(world, nodes[0], "fresh", "opened");
        world.type_bytes(nodes[0], b"append fresh\ncommit fresh\n");
        assert_eq!(text(&told(world, nodes[0], "show log", "log"), "text"), "fresh");
        assert_eq!(world.nodes[0].disk.log().as_deref(), Some(&b"fresh"[..]));
        world.run_for(S);
        world.crash(nodes[0]);
        world.start(nodes[0]);
        assert_eq!(text(&told(world, nodes[0], "log", "opened"), "size"), "5", "synced and settled");
    });
}

#[test]
fn a_crash_leaves_the_beginning_of_a_log_and_one_of_two() {
    let mut seen = BTreeSet::new();
    for seed in 0..80 {
        let mut world = World::new(seed, false);
        let nodes = smiths(&mut world, 1, Flaw::None);
        told(&mut world, nodes[0], "log", "opened");
        world.type_bytes(nodes[0], b"append aaaa\nappend bbbb\ncut 6\nappend cccc\n");
        told(&mut world, nodes[0], "fresh", "opened");
        world.type_line(nodes[0], "append fresh");
        if seed % 2 == 0 {
            world.type_line(nodes[0], "commit fresh");
            world.run_for(Duration::from_micros(15));
        }
        world.power_cut(nodes[0]);
        seen.insert(String::from_utf8(world.nodes[0].disk.log().expect("a log")).expect("text"));
    }
    let whole = ["", "aaaa", "aaaabbbb", "aaaabb", "aaaabbcccc"];
    assert!(whole.iter().all(|text| seen.contains(*text)), "{seen:?}");
    assert!(seen.contains("fresh"), "{seen:?}");
    assert!(!seen.contains("fres"), "what was committed was synced: {seen:?}");
    assert!(seen.iter().any(|text| text.contains('\0')), "a length without its bytes: {seen:?}");
    assert!(seen.iter().any(|text| !whole.contains(&text.as_str()) && text.starts_with("aaa")), "torn");
}

#[test]
fn a_log_on_a_bad_disk_says_so_and_rots() {
    let (mut failed, mut rotten) = (0, 0);
    for seed in 0..40 {
        let mut world = World::new(seed, false);
        let nodes = smiths(&mut world, 1, Flaw::None);
        told(&mut world, nodes[0], "log", "opened");
        let disk = DiskFaults { write: 300_000, full: 300_000, rot: 500_000, ..DiskFaults::default() };
        world.set_faults(Faults { disk, ..Faults::default() });
        world.type_line(nodes[0], "append twelve_bytes");
        world.run_for(S);
        let errors = world.events_named(nodes[0], "error").len();
        let log = world.nodes[0].disk.log().expect("a log");
        assert_eq!(errors == 0, log == b"twelve_bytes", "{log:?}");
        assert!(b"twelve_bytes".starts_with(&log));
        failed += errors;
        world.nodes[0].disk.set_log(b"as it was");
        world.crash(nodes[0]);
        rotten += u32::from(world.nodes[0].disk.log().as_deref() != Some(&b"as it was"[..]));
    }
    assert!(failed > 5 && rotten > 5, "{failed} {rotten}");
}

/// What a smith with this flaw is caught for, and that one without it is not.
fn caught(flaw: Flaw, lines: &[&str], word: &str) {
    let body = |flaw: Flaw| {
        move |world: &mut World| {
            let nodes = smiths(world, 2, flaw);
            world.share(nodes[0], "a", Content::generated(1, 300_000));
            world.share(nodes[1], "a", Content::generated(1, 300_000));
            get(world, nodes[0], nodes[1], "a");
            get(world, nodes[1], nodes[0], "a");
            for line in lines {
                world.type_line(nodes[0], line);
                world.run_for(S / 10);
            }
            world.run_for(S * 10);
        }
    };
    run_twice("good", 5, false, body(Flaw::None)).unwrap_or_else(|failure| panic!("{flaw:?}: {failure}"));
    let failure = run_twice("bad", 5, false, body(flaw)).expect_err("a bad smith");
    assert!(failure.message.contains(word), "{flaw:?}: {}", failure.message);
}

#[test]
fn breaches_of_the_sealed_contract_are_caught() {
    caught(Flaw::SealsTooMuch, &[], "bytes at once, at most");
    caught(Flaw::SealsNothing, &[], "makes no record");
    caught(Flaw::SealsOutside, &[], "lies outside of");
    caught(Flaw::SealsTheSame, &[], "again and again");
    caught(Flaw::SealsWhatEnded, &[], "which has ended");
    caught(Flaw::ChangesItsMind, &[], "changed its mind");
    caught(Flaw::Scribbles, &[], "scribbles on bytes");
    caught(Flaw::ReadsTwice, &["read a"], "being read already");
    caught(Flaw::ReadsWhatEnded, &["read a"], "which has ended");
    caught(Flaw::ReadsNothing, &["read a"], "ReadFile of nothing");
    caught(Flaw::ListsOutside, &["ls - deep 9"], "unsafe name");
    caught(Flaw::CutsBeyond, &["log", "append x", "cut 1"], "which has 1");
    caught(Flaw::CommitsTheLog, &["log", "fresh", "commit log"], "which is not fresh");
    caught(Flaw::OpensTheLogTwice, &["log"], "open already");
    caught(Flaw::AppendsToFiles, &["read a\nappend x"], "AppendLog for");
}
