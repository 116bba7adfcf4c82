//! Every state that a power cut may leave, of downloads of up to four pieces (HOSTILE.md 4.1, the table).

use super::disk::{Disk, Image};
use super::world::{End, Plan, World, Wrong};
use crate::proto::content::PIECE;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Images that were looked at, by the pieces of the download.
type Seen = BTreeSet<(u64, Image)>;

/// What a start makes of what a power cut left.
fn survive(image: &Image, plan: &Plan, reported: bool) {
    let size = plan.size;
    if reported {
        assert!(image.done.is_some(), "told to be there, and gone");
    }
    if let Some(done) = &image.done {
        assert!(done.is_whole(size), "torn under its final name");
        return;
    }
    let plan = Plan { pause: None, late: 0, dirty: false, wrong: None, ..plan.clone() };
    let mut world = World::start(plan, Disk::new(image, true));
    world.run(&mut |_| {});
    assert_eq!(world.end, Some(End::Committed));
    let done = world.disk.done().expect("committed");
    assert!(world.disk.is_whole(done, size));
    assert_eq!((world.disk.part(), world.disk.journal()), (None, None), "nothing is left");
}

/// The power is cut after every step of a download; returns in how many states.
fn explore(plan: &Plan, syncs_names: bool, seen: &mut Seen) -> usize {
    let before = seen.len();
    let mut world = World::empty(plan.clone(), syncs_names);
    world.run(&mut |world| {
        let reported = world.end == Some(End::Committed);
        for image in world.disk.images() {
            if reported || seen.insert((plan.size, image.clone())) {
                survive(&image, plan, reported);
            }
        }
    });
    assert_eq!(world.end, Some(End::Committed));
    assert_eq!(world.checked[0], 0, "without a power cut no claim is wrong");
    seen.len() - before
}

// hostile: 161, 162
#[test]
fn no_power_cut_leaves_what_is_not_there_or_takes_what_was_told() {
    let mut seen = Seen::new();
    for pieces in 1..=4 {
        let mut states = 0;
        for n in 0..if pieces < 4 { 16 } else { 4 } {
            let mut plan = Plan::new(pieces * PIECE);
            plan.batch = if n & 1 == 0 { 1 } else { 2 };
            plan.dirty = pieces < 4;
            plan.late = if n & 2 == 0 { 0 } else { 3 };
            plan.pause = (n & 4 == 0).then_some(pieces / 2);
            plan.backwards = n & 8 == 0;
            states += explore(&plan, n & 1 == 0, &mut seen);
        }
        assert!(states > 10, "{pieces}: {states}");
    }
}

// hostile: 162
#[test]
fn a_second_power_cut_while_it_recovers_is_survived() {
    let mut plan = Plan::new(2 * PIECE);
    let mut first = Seen::new();
    explore(&plan, true, &mut first);
    let mut seen = first.clone();
    for (_, image) in first.iter().filter(|(_, image)| image.done.is_none()) {
        plan.backwards = !plan.backwards;
        let mut world = World::start(plan.clone(), Disk::new(image, true));
        world.run(&mut |world| {
            for image in world.disk.images() {
                if world.end.is_none() && seen.insert((plan.size, image.clone())) {
                    survive(&image, &plan, false);
                }
            }
        });
    }
    assert!(seen.len() > 4 * first.len(), "{} {}", first.len(), seen.len());
}

// hostile: 162
#[test]
fn the_model_finds_each_wrong_order() {
    let wrongs = [
        (Wrong::JournalFirst, "is believed"),
        (Wrong::UnsyncedRename, "torn under its final name"),
        (Wrong::UnsyncedFolder, "told to be there, and gone"),
        (Wrong::InPlace, "torn under its final name"),
    ];
    for (wrong, said) in wrongs {
        let mut plan = Plan::new(2 * PIECE);
        // Nothing is durable before the end, but where the order of batches is what is wrong.
        plan.batch = if wrong == Wrong::JournalFirst { 1 } else { 9 };
        plan.wrong = Some(wrong);
        let found = catch_unwind(AssertUnwindSafe(|| explore(&plan, true, &mut Seen::new())));
        let why = found.expect_err("the model sees nothing wrong");
        let why =
            why.downcast_ref::<String>().cloned().or(why.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        assert!(why.as_ref().is_some_and(|why| why.contains(said)), "{wrong:?}: {why:?}");
    }
}
