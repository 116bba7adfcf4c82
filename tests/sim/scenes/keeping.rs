//! What has arrived stays: over kills, power cuts, full and failing disks, and what other programs do to unfinished files.

use super::common::{S, done, errors, get};
use super::holders::{
    MIB, downloaded, friends, holds, no_parts, part_of, reaches, sends, soon_no_parts, tail, transfers, whole,
};
use crate::content::Content;
use crate::disk::Left;
use crate::faults::DiskFaults;
use crate::harness::{every_third, scenario};
use crate::ids::NodeId;
use crate::node::Death;
use crate::world::World;
use distrishare::machine::Dir;

/// Nothing has a final name that is not whole.
fn nothing_half_done(world: &World, node: NodeId) {
    let names = world.downloads(node);
    assert!(names.iter().all(|name| world.has_download(node, name)), "node {}: {names:?}", node.0);
}

/// Starts a node again that died, and waits until it knows the others again.
fn revive(world: &mut World, node: NodeId) {
    nothing_half_done(world, node);
    world.nodes[node.0].dies_after = None;
    world.start(node);
    world.type_line(node, "multicast on");
    world.run_for(S);
}

/// Downloads that die after something they ask for, a few things later each time; how many that were.
fn dies_at_each_step(world: &mut World, size: u64, death: impl Fn(u64) -> Death) -> u64 {
    let nodes = friends(world, 2);
    let (seed, to) = (nodes[0], nodes[1]);
    for n in every_third(world.env.seed) {
        let name = format!("file{n}");
        world.share(seed, &name, Content::generated(n, size));
        world.run_for(S / 2);
        get(world, to, seed, &name);
        world.dies_after(to, n, death(n));
        world.run_until(S * 30, |world| !world.running(to) || done(world, to, "get") > 0);
        if world.running(to) {
            world.nodes[to.0].dies_after = None;
            assert!(world.has_download(to, &name), "{}", tail(&world.stdout(to)));
            return n;
        }
        revive(world, to);
        get(world, to, seed, &name);
        whole(world, to, &name, S * 100);
        soon_no_parts(world, to);
        // Its next life begins with a clean slate.
        world.kill(to);
        revive(world, to);
    }
    unreachable!("it is complete some day")
}

#[test]
fn killed_after_each_thing_it_asks_for_it_completes_in_the_next_life() {
    // hostile: 161
    scenario("killed_after_each_thing", 4, |world| {
        let size = (world.env.seed % 4 + 1) * MIB - world.env.seed % 2 * 5000;
        let steps = dies_at_each_step(world, size, |_| Death::Kill);
        assert!(steps > 20, "only {steps} steps");
    });
}

#[test]
fn power_cut_after_each_thing_it_asks_for_it_completes_in_the_next_life() {
    // hostile: 162
    scenario("power_cut_after_each_thing", 4, |world| {
        let size = (world.env.seed % 4 + 1) * MIB - world.env.seed % 2 * 5000;
        let left = [Left::Drawn, Left::Nothing, Left::All];
        let steps = dies_at_each_step(world, size, |n| Death::Power(left[n as usize % 3]));
        assert!(steps > 20, "only {steps} steps");
    });
}

/// Two nodes, of which one fetches `size` bytes slowly.
fn fetching(world: &mut World, size: u64, rate: u64) -> (NodeId, NodeId, Content) {
    world.env.truth.forbid_short = true;
    let nodes = friends(world, 2);
    let content = Content::generated(7, size);
    holds(world, nodes[0], "file", &content);
    sends(world, nodes[0], rate);
    get(world, nodes[1], nodes[0], "file");
    (nodes[0], nodes[1], content)
}

#[test]
fn after_a_kill_nine_tenths_are_kept_and_it_goes_on_by_itself() {
    // hostile: 161
    scenario("after_a_kill_nine_tenths", 2, |world| {
        let (seed, to, _) = fetching(world, 64 * MIB, 16 * MIB);
        reaches(world, to, (44 + 4 * (world.env.seed % 2)) * MIB);
        let rows = transfers(world, to);
        let before = rows["file"]["bytes"].as_u64().expect("a number");
        assert!(before >= 40 * MIB, "{rows:?}");
        let killed = world.env.seed % 2 == 0;
        if killed {
            world.kill(to);
        } else {
            world.power_cut(to);
        }
        world.run_for(S);
        let given = world.uploaded(seed);
        revive(world, to);
        whole(world, to, "file", S * 60);
        let said = downloaded(world, to, "file");
        let resumed = said["resumed"].as_u64().expect("a number");
        // The journal is not synced: what the kernel had not written of it by itself goes with the power, and is work done again.
        assert!(!killed || resumed * 10 >= before * 9, "{resumed} of {before} were kept");
        assert!(world.uploaded(seed) - given <= 64 * MIB - resumed + MIB, "more was sent than was missing");
        soon_no_parts(world, to);
        nothing_half_done(world, to);
    });
}

#[test]
fn a_disk_that_is_full_at_any_byte_keeps_what_is_verified_until_there_is_room() {
    // hostile: 156
    scenario("a_disk_that_is_full", 1, |world| {
        let nodes = friends(world, 2);
        let (seed, to) = (nodes[0], nodes[1]);
        sends(world, seed, 16 * MIB);
        for n in 0..24u64 {
            let (name, size, at) = (format!("file{n}"), 3 * MIB, n * 131_071 + n % 3);
            let content = Content::generated(n, size);
            holds(world, seed, &name, &content);
            let used = world.nodes[to.0].disk.used;
            // Less than four times as much: nothing is set aside.
            world.nodes[to.0].disk.capacity = used + 2 * size;
            let before = errors(world, to).len();
            get(world, to, seed, &name);
            let part = part_of(&content).0;
            let made = |world: &World| {
                world.nodes[to.0].disk.content(Dir::Parts, &part).is_some_and(|c| c.len() == size)
            };
            assert!(world.run_until(S * 10, made), "{n}: {}", tail(&world.stdout(to)));
            world.nodes[to.0].disk.capacity = used + at;
            let failed = world.run_until(S * 30, |world| errors(world, to).len() > before);
            assert!(failed, "{n}: {}", tail(&world.stdout(to)));
            let error = world.events_named(to, "error").pop().expect("just seen");
            assert_eq!(error["code"], "no_space", "{n}: {error}");
            assert!(!world.downloads(to).contains(&name) && world.running(to), "{n}");
            let row = transfers(world, to).remove(&name);
            world.nodes[to.0].disk.capacity = u64::MAX;
            match row {
                Some(row) => {
                    assert_eq!(row["state"], "interrupted", "{n}: {row}");
                    assert!(row["bytes"].as_u64() >= Some(at / MIB * MIB), "{n}: {at}: {row}");
                    world.type_line(to, &format!("resume {}", row["number"]));
                }
                // Nothing was verified, and nothing is kept.
                None => {
                    assert!(at < MIB, "{n}: {at}");
                    no_parts(world, to);
                    get(world, to, seed, &name);
                }
            }
            whole(world, to, &name, S * 30);
            soon_no_parts(world, to);
        }
    });
}

#[test]
fn errors_of_the_disk_stop_it_and_lose_nothing_that_was_durable() {
    // hostile: 159
    scenario("errors_of_the_disk_stop_it", 8, |world| {
        let (seed, to, _) = fetching(world, 12 * MIB, 4 * MIB);
        reaches(world, to, (2 + world.env.seed % 8) * MIB);
        let all = 1_000_000;
        world.nodes[to.0].disk.faults = match world.env.seed % 4 {
            0 => DiskFaults { write: all, ..DiskFaults::default() },
            1 => DiskFaults { sync: all, ..DiskFaults::default() },
            2 => DiskFaults { commit: all, ..DiskFaults::default() },
            _ => DiskFaults { sync: 400_000, write: 100_000, commit: 300_000, ..DiskFaults::default() },
        };
        world.run_for(S * 20);
        assert!(world.running(to));
        nothing_half_done(world, to);
        world.nodes[to.0].disk.faults = DiskFaults::default();
        let rows = transfers(world, to);
        if let Some(row) = rows.get("file") {
            assert_eq!(row["state"], "interrupted", "{row}");
            let said = world.events_named(to, "error").pop().expect("it says why");
            assert!(said["code"] == "io" || said["code"] == "no_space", "{said}");
            world.type_line(to, &format!("resume {}", row["number"]));
        } else if !world.has_download(to, "file") {
            // Nothing of it was durable: that is said, and nothing is kept.
            let said = world.events_named(to, "error").pop().expect("it says why");
            assert!(said["message"].as_str().is_some_and(|text| text.contains("nothing is kept")), "{said}");
            get(world, to, seed, "file");
        }
        whole(world, to, "file", S * 60);
        soon_no_parts(world, to);
    });
}

#[test]
fn a_sync_that_fails_once_costs_only_what_it_was_for() {
    // hostile: 159
    scenario("a_sync_that_fails_once", 3, |world| {
        let (seed, to, _) = fetching(world, 16 * MIB, 4 * MIB);
        reaches(world, to, (5 + world.env.seed % 3) * MIB);
        world.nodes[to.0].disk.faults.sync = 1_000_000;
        let fell = |world: &World| world.nodes[to.0].disk.dice.fallen.contains("disk.sync");
        assert!(world.run_until(S * 20, fell), "it never syncs");
        world.nodes[to.0].disk.faults.sync = 0;
        whole(world, to, "file", S * 60);
        assert_eq!(errors(world, to), Vec::<String>::new());
        let gave = world.uploaded(seed);
        assert!(gave <= 16 * MIB + 8 * MIB, "{gave} bytes were given");
        assert!(gave > 16 * MIB + MIB, "nothing was fetched again: {gave}");
    });
}
