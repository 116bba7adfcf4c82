//! The file, signals and the end.

use super::*;

fn record(text: &str) -> Record {
    Record { addr: addr(text), first_seen: Some(WallTime(1_759_999_000)), last_verified: None }
}

fn file(texts: &[&str]) -> Vec<u8> {
    encode(&texts.iter().map(|text| record(text)).collect::<Vec<_>>(), 4 << 20)
}

fn saved_ok(world: &mut World) {
    world.input(Input::StateSaved { kept: Kept::Registry, result: Ok(()) });
}

fn saved_nodes(world: &World) -> Vec<SocketAddr> {
    let content = &world.saves.last().expect("a save").1;
    decode(content).expect("whole").into_iter().map(|record| record.addr).collect()
}

#[test]
fn what_one_run_saved_the_next_one_remembers() {
    let mut world = World::new();
    world.register("10.0.0.1", 9000);
    world.register("10.0.0.2", 9000);
    world.advance(Duration::ZERO);
    saved_ok(&mut world);
    world.input(Input::Signal(Signal::Hangup));
    let content = world.saves.last().expect("saved").1.clone();
    let mut next = World::unloaded(Limits::desktop());
    next.load(Slot::Current, Ok(Some(content)));
    assert_eq!(next.register("10.0.0.3", 9000).len(), 3, "given out during the first two minutes");
    assert_eq!(next.count(|o| matches!(o, Output::LoadState { .. })), 1);
    next.advance(secs(300));
    assert_eq!(next.register("10.0.0.3", 9000).len(), 1, "nobody heard of the others");
}

#[test]
fn every_damage_puts_the_file_aside_and_the_registry_starts() {
    // hostile: 176
    let whole = file(&["10.0.0.1:9000", "10.0.0.2:9000"]);
    let previous = file(&["10.0.0.9:9000"]);
    let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
    damaged.extend((0..whole.len()).map(|at| {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        flipped
    }));
    for content in damaged {
        let mut world = World::unloaded(Limits::desktop());
        world.load(Slot::Current, Ok(Some(content)));
        assert_eq!(
            world.count(|o| *o == Output::QuarantineState { kept: Kept::Registry, slot: Slot::Current }),
            1
        );
        world.load(Slot::Previous, Ok(Some(previous.clone())));
        assert_eq!(world.count(|o| matches!(o, Output::QuarantineState { .. })), 1);
        world.advance(Duration::ZERO);
        assert_eq!(saved_nodes(&world).len(), 1, "the current file is made anew");
        assert_eq!(world.register("10.0.0.3", 9000).len(), 2);
    }
}

#[test]
fn unreadable_or_missing_files_do_not_stop_it_either() {
    // hostile: 176, 177, 179
    for fault in [Fault::Os(5), Fault::TooLarge, Fault::NotRegular, Fault::Denied] {
        let mut world = World::unloaded(Limits::desktop());
        world.load(Slot::Current, Err(fault));
        world.load(Slot::Previous, Err(fault));
        assert_eq!(world.count(|o| matches!(o, Output::QuarantineState { .. })), 2);
        assert_eq!(world.register("10.0.0.3", 9000).len(), 1);
    }
    // Killed between the two renames: only the previous file is there.
    let mut world = World::unloaded(Limits::desktop());
    world.load(Slot::Current, Ok(None));
    world.load(Slot::Previous, Ok(Some(file(&["10.0.0.9:9000"]))));
    assert_eq!(world.count(|o| matches!(o, Output::QuarantineState { .. })), 0);
    assert_eq!(world.register("10.0.0.3", 9000).len(), 2);
}

#[test]
fn answers_nobody_asked_for_are_ignored() {
    let mut world = World::new();
    world.load(Slot::Current, Ok(Some(file(&["10.0.0.9:9000"]))));
    world.input(Input::StateSaved { kept: Kept::Registry, result: Err(Fault::NoSpace) });
    saved_ok(&mut world);
    assert_eq!(world.node.census().nodes, 0);
    assert!(world.saves.is_empty());
}

#[test]
fn saves_follow_the_membership_and_not_more_often_than_allowed() {
    // hostile: 32
    let mut world = World::new();
    world.register("10.0.0.1", 9000);
    assert!(world.saves.is_empty());
    world.advance(Duration::ZERO);
    assert_eq!(saved_nodes(&world).len(), 1);
    world.register("10.0.0.2", 9000);
    world.advance(secs(300));
    assert_eq!(world.saves.len(), 1, "one at a time");
    saved_ok(&mut world);
    let began = world.now;
    world.advance(secs(59));
    assert_eq!(world.saves.len(), 1);
    world.advance(secs(2));
    assert_eq!(saved_nodes(&world).len(), 2);
    assert!(world.saves[1].0 - began >= secs(60));
    saved_ok(&mut world);
    // Renewing is no reason to write.
    for _ in 0..50 {
        world.register("10.0.0.1", 9000);
        world.register("10.0.0.2", 9000);
        world.advance(secs(100));
    }
    assert_eq!(world.saves.len(), 2);
}

#[test]
fn a_failing_disk_is_tried_again_ever_more_rarely() {
    // hostile: 178
    let mut world = World::new();
    world.register("10.0.0.1", 9000);
    world.advance(Duration::ZERO);
    let mut waits = Vec::new();
    for round in 0..9 {
        world.input(Input::StateSaved { kept: Kept::Registry, result: Err(Fault::NoSpace) });
        let failed = world.now;
        world.register("10.0.0.1", 9000);
        world.register("10.0.0.2", 3000 + round);
        while world.saves.len() == waits.len() + 1 {
            world.register("10.0.0.1", 9000);
            world.advance(secs(5));
        }
        waits.push((world.saves.last().expect("saved").0 - failed).as_secs());
    }
    assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    saved_ok(&mut world);
    assert!(saved_nodes(&world).contains(&addr("10.0.0.1:9000")));
    // All is well again: the usual interval counts.
    world.register("10.0.0.3", 9000);
    let before = world.saves.len();
    world.advance(secs(61));
    assert_eq!(world.saves.len(), before + 1);
}

#[test]
fn a_hangup_saves_now_and_once() {
    let mut world = World::new();
    for _ in 0..3 {
        world.input(Input::Signal(Signal::Hangup));
    }
    assert_eq!((world.saves.len(), world.exit), (1, None));
    saved_ok(&mut world);
    world.input(Input::Signal(Signal::Hangup));
    assert_eq!(world.saves.len(), 2);
}

#[test]
fn an_orderly_end_saves_what_changed_and_says_who_asked() {
    for (signal, status) in [(Signal::Terminate, 0), (Signal::Interrupt, 130)] {
        let mut world = World::new();
        let waiting = world.accept(peer("10.0.0.8")).expect("in");
        world.register("10.0.0.1", 9000);
        world.input(Input::Signal(signal));
        assert!(!world.open.contains_key(&waiting));
        assert_eq!((world.exit, world.open.len()), (None, 2));
        assert_eq!(world.count(|o| matches!(o, Output::CloseListener { .. })), 1);
        assert_eq!(world.accept(peer("10.0.0.9")), None);
        assert_eq!(saved_nodes(&world), [addr("10.0.0.1:9000")]);
        saved_ok(&mut world);
        assert_eq!(world.exit, Some(status));
        let mut idle = World::new();
        idle.input(Input::Signal(signal));
        assert_eq!((idle.exit, idle.saves.len()), (Some(status), 0), "nothing changed, nothing is written");
    }
}

#[test]
fn the_end_waits_neither_for_a_broken_nor_for_a_stalled_disk() {
    let mut world = World::new();
    world.register("10.0.0.1", 9000);
    world.advance(Duration::ZERO);
    world.register("10.0.0.2", 9000);
    world.input(Input::Signal(Signal::Terminate));
    assert_eq!(world.exit, None, "a save is on its way");
    saved_ok(&mut world);
    assert_eq!((world.exit, saved_nodes(&world).len()), (None, 2), "a second one for the second node");
    world.input(Input::StateSaved { kept: Kept::Registry, result: Err(Fault::NoSpace) });
    assert_eq!(world.exit, Some(0));
    let mut stalled = World::new();
    stalled.register("10.0.0.1", 9000);
    stalled.input(Input::Signal(Signal::Interrupt));
    stalled.advance(secs(2));
    assert_eq!(stalled.exit, Some(130));
}

#[test]
fn a_file_that_was_not_read_yet_is_not_replaced() {
    let mut world = World::unloaded(Limits::desktop());
    world.register("10.0.0.1", 9000);
    world.advance(secs(10));
    world.input(Input::Signal(Signal::Hangup));
    assert!(world.saves.is_empty());
    world.load(Slot::Current, Ok(Some(file(&["10.0.0.2:9000"]))));
    world.advance(Duration::ZERO);
    assert_eq!(saved_nodes(&world).len(), 2);
    let mut early = World::unloaded(Limits::desktop());
    early.register("10.0.0.1", 9000);
    early.input(Input::Signal(Signal::Terminate));
    assert_eq!((early.exit, early.saves.len()), (Some(0), 0));
}

#[test]
fn a_wall_clock_that_jumps_moves_no_lease() {
    // hostile: 31, 183
    let mut world = World::unloaded(Limits::desktop());
    world.input(Input::WallClock(WallTime(0)));
    world.load(Slot::Current, Ok(Some(file(&["10.0.0.2:9000"]))));
    world.register("10.0.0.1", 9000);
    for wall in [5, 2_000_000_000, 1_400_000_000, u64::MAX] {
        world.input(Input::WallClock(WallTime(wall)));
        assert_eq!(world.node.census().nodes, 2);
        world.advance(secs(10));
    }
    assert!(world.node.registry.lists(addr("10.0.0.1:9000")));
    world.input(Input::Signal(Signal::Hangup));
    decode(&world.saves.last().expect("saved").1).expect("still a whole file");
}
