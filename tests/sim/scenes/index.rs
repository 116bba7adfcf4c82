//! The share index in a whole node: what others find of what happens in the folder, and what a restart costs.

use super::common::{MS, PORT, S, addr_of, command, get, has_copy, host_of, logged, peer, plain};
use super::holders::settled;
use crate::content::Content;
use crate::faults::{DiskFaults, Faults};
use crate::harness::scenario;
use crate::ids::NodeId;
use crate::world::World;
use distrishare::config::Limits;
use distrishare::machine::{Dir, Fault};
use std::time::Duration;

/// One who shares and one who searches.
fn two(world: &mut World) -> (NodeId, NodeId) {
    let lan = world.lan();
    let hosts = [world.host(&[lan]), world.host(&[lan])];
    let [shares, asks] = hosts.map(|host| plain(world, host));
    [shares, asks].iter().for_each(|&node| world.type_line(node, "multicast on"));
    world.run_for(S * 2);
    (shares, asks)
}

/// The sizes of what is found under these words, with a root or not.
fn found(world: &mut World, node: NodeId, words: &str) -> Vec<(u64, bool)> {
    let said = command(world, node, &format!("search {words}"));
    let results = said.iter().filter(|event| event["event"] == "result");
    results.map(|r| (r["size"].as_u64().unwrap_or(u64::MAX), r["root"].is_string())).collect()
}

/// It is found like this within `limit`, and hashed.
fn shows(world: &mut World, node: NodeId, words: &str, sizes: &[u64], limit: Duration) {
    let wanted: Vec<_> = sizes.iter().map(|size| (*size, true)).collect();
    let end = world.now() + limit;
    loop {
        let now = found(world, node, words);
        if now == wanted {
            return;
        }
        assert!(world.now() < end, "{words}: {now:?}, not {wanted:?}");
        world.run_for(limit / 20);
    }
}

fn index(world: &mut World, node: NodeId) -> serde_json::Value {
    command(world, node, "status").into_iter().find(|e| e["event"] == "status").expect("it is told")["index"]
        .clone()
}

#[test]
fn what_happens_in_the_folder_is_found_by_others_soon() {
    scenario("what_happens_in_the_folder", 3, |world| {
        // Seen, or not seen at all: then the listings find it.
        for (faults, limit) in [
            (DiskFaults::default(), S * 10),
            (DiskFaults { watch_lost: 1_000_000, ..DiskFaults::default() }, S * 90),
        ] {
            let (shares, asks) = two(world);
            world.nodes[shares.0].disk.faults = faults;
            world.share(shares, "a/file one", Content::generated(1, 100));
            shows(world, asks, "one", &[100], limit);
            world.rewrite_shared(shares, "a/file one", Content::generated(2, 2000));
            shows(world, asks, "one", &[2000], limit);
            world.rename_shared(shares, "a/file one", "b/file two");
            shows(world, asks, "two", &[2000], limit);
            // Gone where it was, as soon as that folder was looked at.
            shows(world, asks, "one", &[], limit);
            world.rename_shared(shares, "b", "c");
            shows(world, asks, "c two", &[2000], limit);
            world.remove_shared(shares, "c");
            shows(world, asks, "two", &[], limit);
        }
    });
}

#[test]
fn a_restart_with_the_kept_log_reads_no_file_again() {
    scenario("a_restart_with_the_kept_log", 2, |world| {
        let (shares, asks) = two(world);
        for i in 0..20 {
            world.share(shares, &format!("file {i}"), Content::generated(i, 5000 + i));
        }
        settled(world, shares, 20);
        world.run_for(S * 2);
        let before = world.nodes[shares.0].disk.opens;
        for crash in [false, true] {
            if crash {
                world.crash(shares);
            } else {
                world.type_line(shares, "quit");
                assert!(world.run_until(S * 5, |world| !world.running(shares)));
            }
            world.start(shares);
            world.type_line(shares, "multicast on");
            settled(world, shares, 20);
            if !crash {
                assert_eq!(world.nodes[shares.0].disk.opens, before, "nothing was read");
            }
        }
        world.run_for(S * 5);
        shows(world, asks, "\"file 7\"", &[5007], S * 20);
    });
}

#[test]
fn a_node_that_dies_at_any_step_of_hashing_tells_no_lie_afterwards() {
    scenario("a_node_that_dies_at_any_step", 2, |world| {
        let (shares, asks) = two(world);
        for step in 1..12u64 {
            world.share(shares, &format!("file {step}"), Content::generated(step, 3000 * step));
            world.crash_after(shares, step * 5);
            world.run_for(S * 3);
            if world.running(shares) {
                world.crash(shares);
            }
            world.rewrite_shared(shares, "file 1", Content::generated(100 + step, 3000));
            world.start(shares);
        }
        world.type_line(shares, "multicast on");
        settled(world, shares, 11);
        world.run_for(S * 6);
        for step in 1..12 {
            get(world, asks, shares, &format!("file {step}"));
        }
        let all = |world: &World| (1..12).all(|step| world.has_download(asks, &format!("file {step}")));
        assert!(world.run_until(S * 20, all), "{}", world.stdout(asks));
        let latest = world.nodes[asks.0].disk.content(Dir::Downloads, "file 1").cloned();
        assert!(latest.is_some_and(|latest| latest.same(&Content::generated(111, 3000))));
    });
}

#[test]
fn a_file_that_changes_while_it_is_hashed_is_never_served_as_two_halves() {
    scenario("a_file_that_changes_while_it_is_hashed", 3, |world| {
        world.env.truth.forbid_short = true;
        let (shares, asks) = two(world);
        world.nodes[shares.0].disk.faults.slow = 100_000;
        for i in 0..6u64 {
            world.share(shares, "file", Content::generated(i, 2 << 20));
            world.run_for(S * 2 + Duration::from_millis(300 * i));
            world.rewrite_shared(shares, "file", Content::generated(50 + i, 2 << 20));
            world.run_for(Duration::from_millis(500 * i));
        }
        world.nodes[shares.0].disk.faults.slow = 0;
        world.run_for(S * 60);
        shows(world, asks, "file", &[2 << 20], S * 300);
        get(world, asks, shares, "file");
        assert!(world.run_until(S * 20, |world| world.has_download(asks, "file")), "{}", world.stdout(asks));
        let got = world.nodes[asks.0].disk.content(Dir::Downloads, "file").cloned();
        assert!(got.is_some_and(|got| got.same(&Content::generated(55, 2 << 20))), "the last one");
    });
}

#[test]
fn files_that_cannot_be_read_do_not_stop_the_others() {
    scenario("files_that_cannot_be_read", 2, |world| {
        let (shares, asks) = two(world);
        world.share(shares, "a bad", Content::generated(1, 100));
        world.share(shares, "b spoilt", Content::generated(2, 900_000));
        world.nodes[shares.0].disk.odd.insert("a bad".to_owned(), Fault::Denied);
        world.nodes[shares.0].disk.spoil(Dir::Shared, "b spoilt", 500_000);
        world.share(shares, "good", Content::generated(3, 1_000_000));
        shows(world, asks, "good", &[1_000_000], S * 20);
        get(world, asks, shares, "good");
        assert!(world.run_until(S * 20, |world| world.has_download(asks, "good")));
        assert_eq!(index(world, shares)["hashed_files"], 1);
        assert!(index(world, shares)["hashing"].is_null(), "it does not try for ever");
    });
}

#[test]
fn who_browses_is_told_that_some_files_are_not_offered() {
    scenario("who_browses_is_told", 2, |world| {
        let (shares, asks) = two(world);
        let at = addr_of(world, shares);
        let told = |world: &mut World| {
            let said = command(world, asks, &format!("browse {at}"));
            said.iter().find(|e| e["event"] == "not_offered").map(|e| e["count"].clone())
        };
        world.share(shares, "good", Content::generated(1, 100));
        settled(world, shares, 1);
        assert_eq!(told(world), None);
        ["con.txt", "ends with a dot."].iter().for_each(|name| world.share(shares, name, "x"));
        world.run_for(S * 10);
        assert_eq!(told(world), Some(2.into()));
    });
}

#[test]
fn a_file_that_is_there_and_not_offered_is_not_waited_for() {
    scenario("a_file_that_is_there_and_not_offered", 3, |world| {
        let lan = world.lan();
        let hosts = [world.host(&[lan]), world.host(&[lan])];
        let limits = Limits { index_files: 5, ..Limits::desktop() };
        let shares = peer(world, hosts[0], move |config| config.limits = limits.clone());
        let asks = plain(world, hosts[1]);
        (0..8).for_each(|i| world.share(shares, &format!("file {i}"), Content::generated(i, 100 + i)));
        settled(world, shares, 5);
        let at = addr_of(world, shares);
        let get = |world: &mut World, name: &str| {
            let from = world.now();
            let said = command(world, asks, &format!("get {} {PORT} {name}", at.ip()));
            assert!(world.now() - from < S * 20, "{name}: {said:?}");
            let got = said.iter().any(|event| event["event"] == "downloaded");
            assert!(got || said.iter().any(|event| event["code"] == "not_found"), "{name}: {said:?}");
            got
        };
        // Which of them are offered may change with each listing: the disk has an order of its own. Those that are offered in the end can be had.
        for i in 0..8 {
            get(world, &format!("file {i}"));
        }
        world.run_for(S * 10);
        let offers = command(world, asks, &format!("browse {} {PORT}", at.ip()));
        let names: Vec<&str> = offers.iter().filter_map(|event| event["name"].as_str()).collect();
        // Two listings of five have two at least in common, and what only the last one named may wait for the next.
        assert!((2..=5).contains(&names.len()), "{offers:?}");
        for name in names {
            assert!(get(world, name), "{name} is offered");
        }
    });
}

#[test]
fn more_files_than_the_index_takes_are_told_of_in_clear_words() {
    scenario("more_files_than_the_index_takes", 2, |world| {
        let lan = world.lan();
        let host = world.host(&[lan]);
        let limits = Limits { index_files: 10, ..Limits::desktop() };
        let text = logged(world, |world| {
            let node = peer(world, host, move |config| {
                config.limits = limits.clone();
                config.json = false;
            });
            for i in 0..30 {
                world.share(node, &format!("file {i}"), Content::generated(i, 100 + i));
            }
            world.run_for(S * 10);
            world.type_line(node, "status");
            world.run_for(S);
            assert!(world.stdout(node).contains("limit of files is reached"), "{}", world.stdout(node));
            // Room again: once others are gone, all that is left is found.
            for i in 0..25 {
                world.remove_shared(node, &format!("file {i}"));
            }
            world.run_for(S * 30);
            world.type_line(node, "status");
            world.run_for(S);
            let last = world.stdout(node).rsplit("index ").next().unwrap_or("").to_owned();
            assert!(last.contains("5 files") && !last.contains("limit"), "{last}");
        });
        assert!(text.contains("WARN") && text.contains("more shared files than the 10"), "{text}");
    });
}

#[test]
fn a_file_that_was_just_shared_is_found_at_once() {
    scenario("a_file_that_was_just_shared", 3, |world| {
        let (shares, asks) = two(world);
        world.outside(shares, "/home/x/new one.bin", Content::generated(4, 70_000));
        let said = command(world, shares, "share /home/x/new one.bin");
        assert!(said.iter().any(|event| event["event"] == "shared"), "{said:?}");
        let now = found(world, asks, "new");
        assert!(now.len() == 1 && now[0].0 == 70_000, "{now:?}");
        let said = command(world, asks, &format!("get {} {PORT} new one.bin", addr_of(world, shares).ip()));
        assert!(said.iter().any(|event| event["verified"] == true), "{said:?}");
    });
}

#[test]
fn a_folder_that_was_just_shared_is_found_with_all_that_is_in_it() {
    scenario("a_folder_that_was_just_shared", 3, |world| {
        let (shares, asks) = two(world);
        for (i, name) in ["new 1", "in/new 2", "in/deep/new 3"].into_iter().enumerate() {
            world.outside(
                shares,
                &format!("/home/x/my folder/{name}"),
                Content::generated(40 + i as u64, 70_000),
            );
        }
        let said = command(world, shares, "share /home/x/my folder/");
        let shared = said.iter().find(|event| event["event"] == "shared").expect("it is told");
        assert_eq!(
            (&shared["name"], &shared["bytes"], &shared["files"]),
            (&"my folder".into(), &210_000.into(), &3.into())
        );
        assert_eq!(found(world, asks, "new").len(), 3);
        let host = addr_of(world, shares).ip();
        let said = command(world, asks, &format!("get {host} {PORT} my folder/in/deep/new 3"));
        assert!(said.iter().any(|event| event["verified"] == true), "{said:?}");
        // A folder of that name is not replaced.
        let said = command(world, shares, "share /home/x/my folder");
        assert!(said.iter().any(|event| event["event"] == "error"), "{said:?}");
    });
}

#[test]
fn a_folder_whose_copy_is_given_up_leaves_nothing() {
    scenario("a_folder_whose_copy_is_given_up", 3, |world| {
        let (shares, asks) = two(world);
        world.outside(shares, "/home/x/folder/new 1", Content::generated(4, 70_000));
        world.outside(shares, "/home/x/folder/new 2", Content::generated(5, 70_000));
        world.type_line(shares, "share /home/x/folder &");
        world.type_line(shares, "cancel folder");
        world.run_for(S * 3);
        assert!(found(world, asks, "new").is_empty());
        let names = world.nodes[shares.0].disk.names(Dir::Shared);
        assert!(names.iter().all(|name| !name.contains("new")), "{names:?}");
    });
}

#[test]
fn hashing_shows_its_progress_and_steps_back_for_transfers() {
    scenario("hashing_shows_its_progress", 1, |world| {
        let (shares, asks) = two(world);
        let time = |world: &mut World, busy: bool| {
            if busy {
                world.share(shares, "carried", Content::generated(9, 24 << 20));
                settled(world, shares, 2);
                let host = host_of(world, shares);
                world.env.net.topology.host_mut(host).byte_ns = 400;
                get(world, asks, shares, "carried");
            }
            world.share(shares, "long", Content::generated(1 + u64::from(busy), 16 << 20));
            let mut seen: Vec<u64> = Vec::new();
            for _ in 0..6000 {
                // What it said so far would be read again and again.
                world.nodes[shares.0].console.stdout.clear();
                let index = index(world, shares);
                if index["hashing"] == "long" {
                    seen.push(index["hashed_bytes"].as_u64().unwrap_or(0));
                } else if !seen.is_empty() {
                    break;
                }
                world.run_for(MS);
            }
            assert!(seen.is_sorted() && seen.first() < seen.last(), "{seen:?}");
            assert!(!busy || !world.has_download(asks, "carried"), "it was still on its way");
            seen.len()
        };
        let (free, busy) = (time(world, false), time(world, true));
        assert!(busy > 2 * free, "looks at it: {free} alone, {busy} beside transfers");
    });
}

#[test]
fn whatever_happens_to_disk_and_node_the_index_comes_right() {
    scenario("whatever_happens_to_disk_and_node", 6, |world| {
        let (shares, asks) = two(world);
        world.env.truth.forbid_short = true;
        let drawn = Faults::draw(world.env.seed);
        world.nodes[shares.0].disk.faults = drawn.disk;
        for round in 0..8u64 {
            let name = format!("file {}", round % 3);
            match round % 4 {
                0 | 1 => world.share(shares, &name, Content::generated(round, 40_000 + round)),
                2 => world.rewrite_shared(shares, &name, Content::generated(20 + round, 30_000)),
                _ => world.rename_shared(shares, &name, &format!("moved/{name}")),
            }
            get(world, asks, shares, &name);
            world.run_for(S * 3);
            if world.env.seed % 2 == round % 2 {
                world.crash(shares);
                world.run_for(S);
                world.start(shares);
            }
        }
        world.heal(&[]);
        world.type_line(shares, "multicast on");
        world.share(shares, "last", Content::generated(99, 50_000));
        shows(world, asks, "last", &[50_000], S * 900);
        let names: Vec<String> = world.nodes[shares.0].disk.names(Dir::Shared);
        for name in names {
            get(world, asks, shares, &name);
            let whole = |world: &World| has_copy(world, asks, &name);
            assert!(world.run_until(S * 60, whole), "{name}: {}", world.stdout(asks));
        }
    });
}
