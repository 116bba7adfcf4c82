//! Files come, change and go.

use super::super::{Ask, Index, Log};
use super::world::{SLICE, World, limits};
use crate::config::Limits;
use crate::machine::{Entry, Fault, LeftOut, ListEnd};
use crate::proto::content::SIZE_MAX;
use crate::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn shared() -> World {
    let mut world = World::new();
    world.put("a.txt", b"alpha");
    world.put("empty", b"");
    world.put("music/Über.ogg", &[7; 3 * SLICE + 1]);
    world.put("music/live/b", &[8; SLICE]);
    world
}

#[test]
fn the_first_scan_finds_and_hashes_all() {
    let mut world = shared();
    world.start();
    assert!(world.watched);
    world.assert_right();
    assert_eq!(world.index.get("music/Über.ogg").expect("it is there").folded, "music/uber.ogg");
    let progress = world.index.progress();
    assert_eq!((progress.files, progress.bytes, progress.pending), (4, 5 + 4 * SLICE as u64 + 1, 0));
    assert_eq!((progress.hashed_files, progress.hashed_bytes), (4, progress.bytes));
    assert!(progress.listed && progress.kept && !progress.limited && progress.current.is_none());
    assert_eq!(world.bytes_read(), 5 + 4 * SLICE + 1, "each byte once, the empty file not at all");
    assert_eq!(world.opens, ["a.txt", "music/live/b", "music/Über.ogg"], "the smaller first");
    assert_eq!(world.lists.len(), 1);
    assert!(world.index.poll_timeout().is_some_and(|(due, why)| due > world.now && why == "index listing"));
}

#[test]
fn a_large_file_that_is_listed_first_is_hashed_last() {
    let mut world = World::new();
    world.part = 1;
    world.list_cost = Duration::from_millis(50);
    for (name, slices) in [("a", 100), ("b", 3), ("c", 1), ("d", 2)] {
        world.put(name, &vec![1; slices * SLICE]);
    }
    world.start();
    world.assert_right();
    assert_eq!(world.opens, ["c", "d", "b", "a"]);

    // What somebody asks for need not wait for the end of a listing.
    let (now, entry) = (world.now, |name: &str| Entry { name: name.to_owned(), meta: world.files["a"].meta });
    let mut index = Index::new(&limits());
    index.start(now);
    index.log_failed(now, Log::Kept, Fault::ReadOnly, true);
    index.listed(now, &[entry("x"), entry("y")], &ListEnd::More);
    let opens = |index: &mut Index| {
        std::iter::from_fn(|| index.poll_output()).filter(|ask| matches!(ask, Ask::Open { .. })).collect()
    };
    assert_eq!((opens(&mut index), index.poll_timeout()), (Vec::<Ask>::new(), None));
    index.wanted(now, "y");
    assert_eq!(opens(&mut index), [Ask::Open { name: "y".into() }]);
}

#[test]
fn changes_are_found_by_hints_within_seconds() {
    let mut world = shared();
    world.start();
    world.put("a.txt", b"other");
    world.put("music/new", b"new");
    world.files.remove("music/live/b");
    world.put("fresh/folder/deep", b"deep");
    world.hint("", false);
    world.hint("music", false);
    world.hint("music/live", true);
    world.hint("fresh", true);
    world.run(5 * SECOND);
    world.assert_right();
    assert_eq!(world.lists.len(), 5);
    assert!(
        world.lists[1..].iter().all(|(_, folder, deep)| !(folder.is_empty() && *deep)),
        "{:?}",
        world.lists
    );
}

#[test]
fn changes_nobody_told_of_are_found_by_the_next_listing_of_everything() {
    let mut world = shared();
    world.start();
    world.put("a.txt", b"other");
    world.put("music/new", b"new");
    world.files.remove("music/live/b");
    world.run(590 * SECOND);
    assert!(world.index.get("music/new").is_none() && world.index.get("music/live/b").is_some());
    world.run(30 * SECOND);
    world.assert_right();

    world.index.watch_lost(world.now);
    world.put("music/newer", b"newer");
    world.run(70 * SECOND);
    world.assert_right();
}

#[test]
fn a_listing_of_one_folder_leaves_the_others_alone() {
    let mut world = shared();
    for i in 0..5000 {
        world.put(&format!("music/live/{i:04}"), b"x");
        world.put(&format!("music0/{i:04}"), b"x");
    }
    world.put("music/zebra", b"z");
    world.start();
    world.run(30 * SECOND);
    let read = world.bytes_read();
    // Not told of, so not to be noticed.
    let hidden = world.files.remove("music/live/4711").expect("it is there");
    world.files.remove("music/zebra");
    world.hint("music", false);
    world.run(5 * SECOND);
    assert!(world.index.get("music/zebra").is_none() && world.index.get("music/live/4711").is_some());
    world.files.insert("music/live/4711".to_owned(), hidden);
    world.assert_right();
    assert_eq!(world.bytes_read(), read);

    world.files.retain(|name, _| !name.starts_with("music/"));
    world.hint("music", true);
    world.run(5 * SECOND);
    world.assert_right();
}

#[test]
fn a_renamed_file_or_folder_is_not_read_again() {
    let mut world = shared();
    (0..300).for_each(|i| world.put(&format!("many/{i}"), format!("file {i}").as_bytes()));
    world.start();
    let read = world.bytes_read();
    world.rename("a.txt", "music/z.txt");
    world.hint("", false);
    world.run(3 * SECOND);
    world.hint("music", false);
    world.run(3 * SECOND);
    world.assert_right();
    for i in 0..300 {
        world.rename(&format!("many/{i}"), &format!("a few/{i}"));
    }
    world.hint("many", true);
    world.run(3 * SECOND);
    world.hint("a few", true);
    world.run(3 * SECOND);
    world.assert_right();
    // Two files that change places.
    let (x, y) = (world.files["a few/1"].clone(), world.files["a few/299"].clone());
    world.files.insert("a few/1".to_owned(), y);
    world.files.insert("a few/299".to_owned(), x);
    world.run(700 * SECOND);
    world.assert_right();
    assert_eq!(world.bytes_read(), read);
    assert_eq!(world.index.table.purge(0, u32::MAX, u32::MAX, &[7]), None);
    world.assert_right();
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_again() {
    let mut world = World::new();
    world.put("big", &[1; 20 * SLICE]);
    world.after_reads = Some((10, |world| world.put("big", &[2; 18 * SLICE])));
    world.start();
    assert!(world.index.get("big").is_some_and(|file| file.root.is_none()));
    world.run(3 * SECOND);
    world.assert_right();
    assert!(world.opens.len() == 2 && world.reads.len() == 11 + 18);
}

#[test]
fn a_file_that_keeps_changing_is_read_ever_more_rarely() {
    let mut world = World::new();
    world.put("growing", &[1; 4 * SLICE]);
    world.put("still", b"still");
    world.start();
    let opens = |world: &World| world.opens.iter().filter(|name| *name == "growing").count();
    for (gap, least, most) in [(10, 3, 8), (1, 0, 2)] {
        let before = opens(&world);
        for i in 0..600 / gap {
            let size = world.files["growing"].bytes.len() + 1;
            world.put("growing", &vec![i as u8; size]);
            world.hint("", false);
            world.run(gap * SECOND);
        }
        let opened = opens(&world) - before;
        assert!((least..=most).contains(&opened), "{opened}");
    }
    assert_eq!(world.opens.iter().filter(|name| *name == "still").count(), 1);
    world.run(300 * SECOND);
    world.assert_right();
    // Once it was left alone for long, a change is read at once.
    world.run(1000 * SECOND);
    world.put("growing", b"short");
    world.hint("", false);
    world.run(2 * SECOND);
    world.assert_right();
}

#[test]
fn a_file_that_cannot_be_read_is_tried_again_and_not_in_a_loop() {
    for fault in [Fault::Denied, Fault::Os(5), Fault::NotFound] {
        let mut world = shared();
        world.start();
        world.put("secret", b"secret");
        world.files.get_mut("secret").expect("a file").fault = Some(fault);
        world.hint("", false);
        world.run(500 * SECOND);
        assert_eq!(world.opens.iter().filter(|name| *name == "secret").count(), 1, "{fault:?}");
        let progress = world.index.progress();
        assert_eq!((progress.unreadable, progress.pending, progress.hashed_files), (1, 0, 4));
        world.files.get_mut("secret").expect("a file").fault = None;
        world.run(200 * SECOND);
        world.assert_right();
    }
}

#[test]
fn who_wants_a_file_that_could_not_be_read_has_it_tried_again_ever_more_seldom() {
    let mut world = shared();
    world.start();
    world.put("secret", b"secret");
    world.files.get_mut("secret").expect("a file").fault = Some(Fault::Os(5));
    world.hint("", false);
    world.run(5 * SECOND);
    for _ in 0..120 {
        world.index.wanted(world.now, "secret");
        world.run(SECOND);
    }
    let tries = world.opens.iter().filter(|name| *name == "secret").count();
    assert!((6..10).contains(&tries), "{tries}");
    assert!(world.index.wanted(world.now, "nobody's"));
    world.files.get_mut("secret").expect("a file").fault = None;
    world.run(130 * SECOND);
    world.assert_right();
}

#[test]
fn a_shortage_of_descriptors_makes_all_wait() {
    let mut world = shared();
    world.files.values_mut().for_each(|file| file.fault = Some(Fault::TooManyOpen));
    world.start();
    world.run(65 * SECOND);
    assert!((5..9).contains(&world.opens.len()), "{:?}", world.opens);
    world.files.values_mut().for_each(|file| file.fault = None);
    world.run(15 * SECOND);
    world.assert_right();
}

#[test]
fn a_file_that_vanishes_or_changes_by_a_listing_while_it_is_read_is_closed() {
    let mut world = World::new();
    world.put("big", &[1; 40 * SLICE]);
    world.index.set_busy(world.now, true);
    world.start();
    world.run(Duration::from_millis(1));
    world.index.set_busy(world.now, true);
    world.put("bigger", &[2; 1000 * SLICE]);
    world.hint("", false);
    world.run(2 * SECOND);
    let current = world.index.progress().current.map(|(name, done, size)| (name.to_owned(), done > 0, size));
    assert_eq!(current, Some(("bigger".into(), true, 1000 * SLICE as u64)));
    world.files.remove("bigger");
    world.hint("", false);
    // The disk still gives it: a file may be read on after it was removed.
    world.run(2 * SECOND);
    assert!(world.index.progress().current.is_none());
    world.assert_right();
}

#[test]
fn beside_transfers_and_between_their_pieces_a_slice_is_read_every_five_milliseconds() {
    let mut world = World::new();
    world.put("big", &[1; 1000 * SLICE]);
    world.put("small", &[1; SLICE]);
    world.index.set_busy(world.now, true);
    world.start();
    world.run(SECOND);
    let gaps = world.reads.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(gaps.clone().all(|gap| gap >= Duration::from_millis(5)), "{:?}", gaps.min());
    assert!((250..=301).contains(&world.reads.len()), "{}", world.reads.len());
    // One piece after another: each is over before the next is asked for.
    let before = world.reads.len();
    for _ in 0..20 {
        world.index.set_busy(world.now, true);
        world.index.set_busy(world.now, false);
        world.run(Duration::from_millis(50));
    }
    let read = world.reads.len() - before;
    assert!((180..=220).contains(&read), "{read}");
    world.run(SECOND);
    world.assert_right();
}

#[test]
fn who_is_asked_for_is_hashed_first() {
    let mut world = World::new();
    for i in 1..50 {
        world.put(&format!("{i:02}"), &vec![i; 64 * i as usize]);
    }
    world.index.set_busy(world.now, true);
    world.index.start(world.now);
    world.run(Duration::from_millis(20));
    world.index.wanted(world.now, "49");
    world.index.wanted(world.now, "30");
    world.index.wanted(world.now, "no such file");
    assert!((0..1000).all(|_| world.index.wanted(world.now, "30")));
    let before = world.opens.len();
    world.run(2 * SECOND);
    let next: Vec<&str> = world.opens[before..][..3].iter().map(String::as_str).collect();
    assert_eq!(&next[..2], ["49", "30"], "{next:?}");
    assert!(next[2] < "30");
    world.assert_right();
}

#[test]
fn names_that_are_not_safe_are_left_out_and_counted() {
    let mut world = shared();
    world.start();
    for name in ["CON", "a\u{7}", "-rf", "x /y", "1/2/3/4/5/6/7/8/9"] {
        world.put(name, b"x");
    }
    world.run(700 * SECOND);
    let progress = world.index.progress();
    assert_eq!((progress.files, progress.left_out.names, progress.pending), (4, 5, 0));
    assert_eq!(progress.left_out.some.len(), 5);
    assert_eq!(world.index.warned.left_out, 5);
}

#[test]
fn the_number_of_files_is_bounded_and_it_says_so() {
    let mut world = World::with(&Limits { index_files: 100, ..limits() });
    (0..100).for_each(|i| world.put(&format!("{i:03}"), b"x"));
    world.start();
    world.assert_right();
    assert!(!world.index.progress().limited && !world.index.warned.limit);
    world.put("f/new", b"y");
    world.hint("f", true);
    world.run(3 * SECOND);
    assert_eq!(world.index.progress().files, 100);
    assert!(world.index.progress().limited && world.index.warned.limit);
    (200..400).for_each(|i| world.put(&format!("{i:03}"), b"x"));
    world.run(700 * SECOND);
    let progress = world.index.progress();
    assert!(progress.limited && progress.files == 100 && progress.pending == 0);
    world.files.retain(|name, _| name.as_str() > "300");
    world.run(700 * SECOND);
    assert!(!world.index.progress().limited);
    world.assert_right();
}

#[test]
fn a_folder_that_cannot_be_listed_loses_nothing() {
    let mut world = shared();
    world.start();
    let files = std::mem::take(&mut world.files);
    world.list_fault = Some(Fault::Denied);
    world.hint("music", true);
    world.run(700 * SECOND);
    assert!(world.index.warned.listing);
    world.files = files;
    world.assert_right();
    world.list_fault = Some(Fault::NotFound);
    world.hint("music", true);
    world.run(3 * SECOND);
    assert_eq!(world.index.progress().files, 2, "the folder is gone");
    world.list_fault = None;
    let read = world.bytes_read();
    world.run(700 * SECOND);
    world.assert_right();
    assert_eq!(world.bytes_read(), read, "what came back is not read again");
}

#[test]
fn a_storm_of_hints_costs_a_bounded_number_of_listings() {
    let mut world = shared();
    world.start();
    world.list_cost = Duration::from_millis(20);
    for i in 0..10_000 {
        world.hint(&format!("music/{}", i % 700), i % 3 == 0);
        world.hint("music", false);
        world.index.watch_lost(world.now);
        world.run(Duration::from_millis(10));
    }
    let parts = world.lists.len() as u32 * 2;
    assert!(world.list_cost * parts < 30 * SECOND, "a fifth of 100 s, or little more: {parts}");
    world.assert_right();
}

#[test]
fn files_that_are_too_long_are_known_and_never_read() {
    let mut world = shared();
    world.put("sparse", b"x");
    world.files.get_mut("sparse").expect("a file").meta.size = SIZE_MAX + 1;
    world.put("sparser", b"x");
    world.files.get_mut("sparser").expect("a file").meta.size = u64::MAX;
    world.start();
    world.run(2000 * SECOND);
    let progress = world.index.progress();
    assert_eq!((progress.unreadable, progress.bytes, progress.hashed_files), (2, u64::MAX, 4));
    assert!(!world.opens.iter().any(|name| name.starts_with("sparse")));
}

#[test]
fn several_files_of_one_content_are_found_by_it_until_the_last_is_gone() {
    let mut world = shared();
    world.put("b/same", b"alpha");
    world.put("c/same", b"alpha");
    world.start();
    let root = world.index.get("a.txt").and_then(|file| file.root).expect("it is known");
    let names = |world: &World| world.index.with_root(&root).map(|f| f.name.to_owned()).collect::<Vec<_>>();
    for left in [3, 2, 1] {
        assert_eq!(names(&world).len(), left);
        let first = world.index.by_root(&root).expect("some are left").name.to_owned();
        world.files.remove(&first);
        world.run(700 * SECOND);
        world.assert_right();
    }
    assert!(names(&world).is_empty() && world.index.by_root(&root).is_none());
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    use crate::machine::{ListEnd, Meta};
    let mut world = shared();
    world.start();
    let (now, meta) = (world.now, Meta { size: 5, ..Meta::default() });
    world.index.listed(now, &[], &ListEnd::Done(LeftOut::default()));
    world.index.opened(now, meta);
    world.index.read(now, 0, b"alpha", meta);
    world.index.failed(now, Fault::Denied, true);
    for log in [super::super::Log::Kept, super::super::Log::Fresh] {
        world.index.log_opened(now, log);
        world.index.log_read(now, log, 0, b"x", meta);
    }
    world.run(2 * SECOND);
    world.assert_right();
    assert!(world.index.progress().kept);
}
