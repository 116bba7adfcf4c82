//! Downloads as the operator steers them: paused, resumed, given up, limited, queued, many at once.

use super::common::{
    MS, PORT, S, addr_of, command, done, errors, get, host_of, nothing_left, peer, peers_on,
};
use super::holders::{
    KIB, MIB, downloaded, friends, holds, meet, no_parts, reaches, sends, soon_no_parts, state, status,
    stored, tail, transfers, whole,
};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::NodeId;
use crate::original::OriginalPeer;
use crate::world::World;
use distrishare::config::Limits;
use distrishare::machine::Dir;

/// A holder that sends that fast, and somebody who fetches.
fn fetching(world: &mut World, size: u64, rate: u64) -> (NodeId, NodeId, Content) {
    world.env.truth.forbid_short = true;
    let nodes = friends(world, 2);
    let content = Content::generated(7, size);
    holds(world, nodes[0], "file", &content);
    sends(world, nodes[0], rate);
    get(world, nodes[1], nodes[0], "file");
    (nodes[0], nodes[1], content)
}

fn is_state(world: &mut World, node: NodeId, name: &str, wanted: &str) {
    for _ in 0..1500 {
        if state(world, node, name) == wanted {
            return;
        }
        world.run_for(MS * 100);
    }
    panic!("{name} is never {wanted}: {}", tail(&world.stdout(node)));
}

#[test]
fn a_paused_download_is_durable_lets_its_sources_go_and_goes_on_in_the_next_life() {
    scenario("a_paused_download", 4, |world| {
        let (seed, to, content) = fetching(world, 8 * MIB, 4 * MIB);
        reaches(world, to, 3 * MIB);
        let said = command(world, to, "pause file");
        assert!(said.iter().any(|event| event["event"] == "paused"), "{said:?}");
        is_state(world, to, "file", "paused");
        assert_eq!(errors(world, to), Vec::<String>::new());
        assert_eq!(done(world, to, "get"), 1, "whoever waited is free");
        let row = transfers(world, to).remove("file").expect("listed");
        let kept = row["bytes"].as_u64().expect("a number");
        assert!(kept >= 2 * MIB && row["sources"] == 0, "{row}");
        let given = world.uploaded(seed);
        world.run_for(S * 30);
        assert_eq!(world.uploaded(seed), given, "it is still sent");
        assert_eq!(status(world, seed)["uploads"], 0);
        if world.env.seed % 2 == 0 {
            // What is there is on the disk, whatever happens.
            world.power_cut_leaving(to, crate::disk::Left::Nothing);
            world.start(to);
            world.type_line(to, "multicast on");
        } else {
            let number = row["number"].clone();
            world.type_line(to, &format!("resume {number}"));
        }
        whole(world, to, "file", S * 60);
        let said = downloaded(world, to, "file");
        assert!(said["resumed"].as_u64() >= Some(kept), "{said}, {kept}");
        assert!(world.uploaded(seed) <= content.len() + MIB, "{}", world.uploaded(seed));
        soon_no_parts(world, to);
    });
}

#[test]
fn what_an_earlier_life_left_is_only_listed_where_that_is_wished_or_it_is_old() {
    scenario("what_an_earlier_life_left", 4, |world| {
        let lan = world.lan();
        let wished = world.env.seed % 2 == 0;
        let seed = peers_on(world, lan, 1, |_| {})[0];
        let to = peers_on(world, lan, 1, move |config| config.resume = !wished)[0];
        meet(world, &[seed, to]);
        holds(world, seed, "file", &Content::generated(7, 8 * MIB));
        sends(world, seed, 4 * MIB);
        get(world, to, seed, "file");
        reaches(world, to, 3 * MIB);
        command(world, to, "pause file");
        is_state(world, to, "file", "paused");
        world.type_line(to, "quit");
        assert!(world.run_until(S * 3, |world| world.exit_status(to) == Some(0)));
        if !wished {
            world.jump_wall(to, 31 * 24 * 3600);
        }
        world.nodes[to.0].exit = None;
        world.start(to);
        world.type_line(to, "multicast on");
        world.run_for(S * 60);
        let row = transfers(world, to).remove("file").expect("it is listed");
        assert_eq!(row["state"], "interrupted", "{row}");
        assert!(!world.has_download(to, "file"));
        world.type_line(to, &format!("resume {}", row["number"]));
        whole(world, to, "file", S * 60);
        soon_no_parts(world, to);
    });
}

#[test]
fn cancel_removes_every_trace_whatever_state_the_download_is_in() {
    // hostile: 100 (what comes after a cancel)
    let states = ["queued", "hashing", "receiving", "paused", "interrupted", "checking", "waiting"];
    scenario("cancel_removes_every_trace", states.len() as u64, |world| {
        let wanted = states[world.env.seed as usize % states.len()];
        let lan = world.lan();
        let seed = peers_on(world, lan, 1, |_| {})[0];
        let to = peers_on(world, lan, 1, |config| config.limits.downloads = 1)[0];
        meet(world, &[seed, to]);
        holds(world, seed, "other", &Content::generated(8, 300 * MIB));
        sends(world, seed, 2 * MIB);
        if wanted == "queued" {
            get(world, to, seed, "other");
            world.run_for(S);
        }
        if wanted == "hashing" {
            world.nodes[seed.0].disk.faults.slow = 1_000_000;
            world.share(seed, "file", Content::generated(7, 6 * MIB));
            world.run_for(S * 5);
        } else {
            holds(world, seed, "file", &Content::generated(7, 6 * MIB));
        }
        get(world, to, seed, "file");
        match wanted {
            "queued" => is_state(world, to, "file", "queued"),
            "hashing" => world.run_for(S),
            "receiving" => reaches(world, to, 3 * MIB),
            "paused" => {
                reaches(world, to, 3 * MIB);
                command(world, to, "pause file");
                is_state(world, to, "file", "paused");
            }
            "interrupted" => {
                reaches(world, to, 3 * MIB);
                world.nodes[to.0].disk.capacity = world.nodes[to.0].disk.used;
                world.nodes[to.0].disk.faults.write = 1_000_000;
                is_state(world, to, "file", "interrupted");
                world.nodes[to.0].disk.faults.write = 0;
                world.nodes[to.0].disk.capacity = u64::MAX;
            }
            "waiting" => {
                reaches(world, to, 3 * MIB);
                let host = host_of(world, seed);
                world.power_off(host);
                is_state(world, to, "file", "waiting");
            }
            _ => {
                reaches(world, to, 3 * MIB);
                world.kill(to);
                world.nodes[to.0].disk.faults.slow = 1_000_000;
                world.start(to);
                world.type_line(to, "multicast on");
                // As soon as it is known again: reading what the last life left takes its time on such a disk.
                while !transfers(world, to).contains_key("file") {
                    assert!(!world.has_download(to, "file"), "it can be steered before it is complete");
                    world.run_for(MS * 100);
                }
            }
        }
        world.type_line(to, "cancel file");
        world.run_for(S * 40);
        assert!(!transfers(world, to).contains_key("file"), "{}", tail(&world.stdout(to)));
        world.type_line(to, "cancel all");
        world.nodes[to.0].disk.faults.slow = 0;
        world.run_for(S * 20);
        if world.has_download(to, "file") {
            // What is complete before the word comes is no download any more.
            assert_eq!(wanted, "checking");
            return no_parts(world, to);
        }
        nothing_left(world, to);
        assert!(world.running(to) && status(world, to)["running"] == serde_json::json!([]));
        if world.running(seed) {
            world.nodes[seed.0].disk.faults.slow = 0;
            get(world, to, seed, "file");
            whole(world, to, "file", S * 60);
        }
    });
}

/// Bytes that arrive in 20 s from now on, over all downloads.
fn arrives_in_20_s(world: &mut World, from: NodeId) -> u64 {
    let before = world.uploaded(from);
    world.run_for(S * 20);
    world.uploaded(from) - before
}

fn within(got: u64, rate: u64, what: &str) {
    let wanted = rate * 20;
    println!("{what}: {got} of {wanted}");
    assert!(got * 100 >= wanted * 95 && got * 100 <= wanted * 105, "{what}: {got} bytes instead of {wanted}");
}

#[test]
fn limits_of_the_rate_hold_for_sessions_in_both_directions() {
    scenario("limits_of_the_rate_hold", 2, |world| {
        let up = world.env.seed % 2 == 1;
        let nodes = friends(world, 2);
        let (seed, to) = (nodes[0], nodes[1]);
        for n in 0..3 {
            holds(world, seed, &format!("file{n}"), &Content::generated(n, 24 * MIB));
        }
        let rate = 600 * KIB;
        let (who, way) = if up { (seed, "up") } else { (to, "down") };
        command(world, who, &format!("limit {way} 600K"));
        // Several share it.
        for n in 0..3 {
            get(world, to, seed, &format!("file{n}"));
        }
        world.run_for(S * 3);
        let got = arrives_in_20_s(world, seed);
        within(got, rate, way);
        for row in transfers(world, to).values() {
            assert!(row["bytes"].as_u64() > Some(MIB), "one of them got nothing: {row}");
        }
        command(world, who, &format!("limit {way} 1M"));
        world.run_for(S * 2);
        let got = arrives_in_20_s(world, seed);
        within(got, MIB, way);
        command(world, who, &format!("limit {way} off"));
        for n in 0..3 {
            whole(world, to, &format!("file{n}"), S * 10);
        }
    });
}

#[test]
fn limits_of_the_rate_hold_for_the_old_protocol_in_both_directions() {
    scenario("limits_hold_for_the_old_protocol", 2, |world| {
        let up = world.env.seed % 2 == 1;
        let lan = world.lan();
        let (host, there) = (world.host(&[lan]), world.host(&[lan]));
        let content = Content::generated(7, 40 * MIB);
        world.env.truth.add("file", &content);
        let node = peer(world, host, move |config| config.rate.down = (!up).then_some(500 * KIB));
        if up {
            holds(world, node, "file", &content);
            command(world, node, "limit up 500K");
            let to = world.addr(host, PORT);
            let task = crate::original::Task::Download(to, "file".into());
            world.actor(there, OriginalPeer::new(PORT).then(S, task));
            world.run_for(S * 3);
            let got = arrives_in_20_s(world, node);
            within(got, 500 * KIB, "v1 up");
        } else {
            world.actor(there, OriginalPeer::new(PORT).sharing("file", content));
            world.run_for(MS * 10);
            world.type_line(node, &format!("get {} {PORT} file", world.ip(there)));
            world.run_for(S * 3);
            let before = stored(world, node);
            world.run_for(S * 20);
            within(stored(world, node) - before, 500 * KIB, "v1 down");
        }
    });
}

#[test]
fn several_results_and_whole_folders_are_fetched_by_one_command() {
    scenario("several_results_and_whole_folders", 2, |world| {
        world.env.truth.forbid_short = true;
        let nodes = friends(world, 3);
        for n in 0..6u64 {
            let content = Content::generated(n, 70_000 * (n % 3) + n + 1);
            holds(world, nodes[(n % 2) as usize], &format!("folder/deep/item{n}"), &content);
        }
        holds(world, nodes[0], "folderless", &Content::generated(50, 9));
        let to = nodes[2];
        let found = command(world, to, "search item");
        assert_eq!(found.iter().filter(|event| event["event"] == "result").count(), 6, "{found:?}");
        command(world, to, "get 1 3 5");
        assert_eq!(world.downloads(to).len(), 3);
        let at = addr_of(world, nodes[0]);
        command(world, to, &format!("get {} {} folder/", at.ip(), at.port()));
        for n in [0, 2, 4] {
            assert!(world.has_download(to, &format!("folder/deep/item{n}")), "{:?}", world.downloads(to));
        }
        command(world, to, "get folder/");
        for n in 0..6 {
            assert!(world.has_download(to, &format!("folder/deep/item{n}")), "{:?}", world.downloads(to));
        }
        assert_eq!(world.downloads(to).len(), 6, "{:?}", world.downloads(to));
        assert_eq!(errors(world, to), Vec::<String>::new());
        no_parts(world, to);
    });
}

#[test]
fn what_is_here_already_is_not_fetched_again() {
    scenario("what_is_here_already", 3, |world| {
        let (seed, to, content) = fetching(world, 3 * MIB, 64 * MIB);
        whole(world, to, "file", S * 10);
        world.run_for(S);
        let given = world.uploaded(seed);
        match world.env.seed % 3 {
            // In this life.
            0 => {}
            // In an earlier one.
            1 => {
                world.kill(to);
                world.start(to);
                world.run_for(S);
            }
            // Shared.
            _ => {
                world.nodes[to.0].disk.remove(Dir::Downloads, "file");
                holds(world, to, "another name", &content);
            }
        }
        let at = addr_of(world, seed);
        let said = command(world, to, &format!("get {} {} file", at.ip(), at.port()));
        let said = said.iter().find(|event| event["event"] == "downloaded").expect("it says so");
        assert_eq!(said["already"], true, "{said}");
        assert_eq!(world.uploaded(seed), given, "it was sent again");
        no_parts(world, to);
    });
}

/// Another program's file has the name, so the download gets a number; `len`: bytes of that file.
fn fetched_under_a_number(world: &mut World, len: u64) -> (NodeId, NodeId) {
    world.env.truth.forbid_short = true;
    let nodes = friends(world, 2);
    let (seed, to) = (nodes[0], nodes[1]);
    holds(world, seed, "file.bin", &Content::generated(7, 3 * MIB));
    world.nodes[to.0].disk.put(Dir::Downloads, "file.bin", Content::generated(8, len));
    get(world, to, seed, "file.bin");
    assert_ne!(downloaded(world, to, "file.bin")["already"], true);
    assert!(world.downloads(to).contains(&"file (2).bin".to_owned()), "{:?}", world.downloads(to));
    (seed, to)
}

#[test]
fn what_got_a_number_is_not_fetched_again_in_the_next_life() {
    scenario("what_got_a_number", 2, |world| {
        // The one of the same length has to be read to be told from it.
        let (seed, to) = fetched_under_a_number(world, (2 + world.env.seed % 2) * MIB);
        world.kill(to);
        world.start(to);
        world.run_for(S);
        let (given, at) = (world.uploaded(seed), addr_of(world, seed));
        let said = command(world, to, &format!("get {} {} file.bin", at.ip(), at.port()));
        let said = said.iter().find(|event| event["event"] == "downloaded").expect("it says so");
        assert!(said["already"] == true && said["path"] == "downloads/file (2).bin", "{said}");
        assert_eq!(world.uploaded(seed), given, "it was sent again");
        assert_eq!(world.downloads(to).len(), 2, "{:?}", world.downloads(to));
        soon_no_parts(world, to);
    });
}

#[test]
fn an_empty_file_that_is_here_is_not_made_again() {
    scenario("an_empty_file_that_is_here", 2, |world| {
        let nodes = friends(world, 2);
        let (seed, to) = (nodes[0], nodes[1]);
        holds(world, seed, "empty", &Content::generated(7, 0));
        get(world, to, seed, "empty");
        assert_ne!(downloaded(world, to, "empty")["already"], true);
        if world.env.seed % 2 == 1 {
            world.kill(to);
            world.start(to);
            world.run_for(S);
        }
        let at = addr_of(world, seed);
        let said = command(world, to, &format!("get {} {} empty", at.ip(), at.port()));
        let said = said.iter().find(|event| event["event"] == "downloaded").expect("it says so");
        assert_eq!(said["already"], true, "{said}");
        assert_eq!(world.downloads(to), ["empty"]);
        soon_no_parts(world, to);
    });
}

#[test]
fn a_finished_download_that_was_changed_meanwhile_is_fetched_again() {
    scenario("a_finished_download_that_was_changed", 2, |world| {
        let (seed, to, _) = fetching(world, 3 * MIB, 64 * MIB);
        whole(world, to, "file", S * 10);
        world.run_for(S);
        let disk = &mut world.nodes[to.0].disk;
        disk.now = world.env.now;
        disk.by_hand.insert("file".into());
        if world.env.seed % 2 == 0 {
            disk.remove(Dir::Downloads, "file");
        } else {
            disk.tamper(Dir::Downloads, "file", false, |content| content.flip(MIB, 1));
        }
        let at = addr_of(world, seed);
        let said = command(world, to, &format!("get {} {} file", at.ip(), at.port()));
        let said = said.iter().find(|event| event["event"] == "downloaded").expect("it says so");
        assert_ne!(said["already"], true, "{said}");
        let copies = world.downloads(to);
        assert!(copies.iter().any(|name| super::common::has_copy(world, to, name.trim_end_matches(" (2)"))));
    });
}

#[test]
fn two_wishes_for_one_content_are_one_download() {
    scenario("two_wishes_for_one_content", 3, |world| {
        let (seed, to, content) = fetching(world, 12 * MIB, 2 * MIB);
        holds(world, seed, "by another name", &content);
        get(world, to, seed, "file");
        get(world, to, seed, "by another name");
        world.run_for(S);
        assert_eq!(transfers(world, to).len(), 1, "{}", tail(&world.stdout(to)));
        let over = world.run_until(S * 60, |world| done(world, to, "get") == 3);
        assert!(over, "{}", tail(&world.stdout(to)));
        assert_eq!(errors(world, to), Vec::<String>::new());
        assert_eq!(world.downloads(to).len(), 1);
        // Each command is an operation of its own, and hears for itself what became of it.
        let ops = |event: &str| -> Vec<u64> {
            let of_get =
                |event: &&serde_json::Value| event.get("command").is_none_or(|command| command == "get");
            world.events_named(to, event).iter().filter(of_get).filter_map(|e| e["op"].as_u64()).collect()
        };
        let (mut got, mut over) = (ops("downloaded"), ops("done"));
        got.sort_unstable();
        over.sort_unstable();
        assert_eq!(got, over, "{}", tail(&world.stdout(to)));
        assert_eq!(got.len(), 3);
        got.dedup();
        assert_eq!(got.len(), 3, "{got:?}");
        assert!(world.uploaded(seed) <= 13 * MIB, "{}", world.uploaded(seed));
        soon_no_parts(world, to);
    });
}

#[test]
fn a_thousand_small_downloads_wait_for_their_turns() {
    // hostile: 173
    scenario("a_thousand_small_downloads", 1, |world| {
        let lan = world.lan();
        let seed = peers_on(world, lan, 1, |_| {})[0];
        let most = 5;
        let to = peers_on(world, lan, 1, move |config| {
            config.limits = Limits { downloads: most, open_files: 24, ..Limits::desktop() };
        })[0];
        for n in 0..1000u64 {
            world.share(seed, &format!("many/{n}"), Content::generated(n, 100 + n % 7 * 1000));
        }
        world.run_for(S * 20);
        let at = addr_of(world, seed);
        world.type_line(to, &format!("get {} {} many/", at.ip(), at.port()));
        let mut asked = 0;
        while done(world, to, "get") == 0 && asked < 2000 {
            let status = status(world, to);
            let active = status["downloads"].as_u64().expect("a number");
            assert!(active <= most as u64, "{active} at once");
            world.run_for(MS * 200);
            asked += 1;
        }
        assert_eq!(errors(world, to), Vec::<String>::new());
        assert_eq!(world.downloads(to).len(), 1000);
        no_parts(world, to);
    });
}

#[test]
fn progress_is_told_four_times_a_second_at_most() {
    scenario("progress_is_told", 1, |world| {
        let (seed, to, _) = fetching(world, 8 * MIB, MIB);
        holds(world, seed, "second", &Content::generated(8, 4 * MIB));
        get(world, to, seed, "second");
        let start = world.events_named(to, "progress").len();
        world.run_for(S * 4);
        let all = world.events_named(to, "progress");
        for name in ["file", "second"] {
            let told = all[start..].iter().filter(|event| event["name"] == name).count();
            assert!((4..=17).contains(&told), "{told} events of {name} in 4 s");
        }
        let last = all.last().expect("some");
        assert!(last["rate"].as_u64() > Some(0) && last["sources"] == 1 && last["size"].is_u64(), "{last}");
    });
}
