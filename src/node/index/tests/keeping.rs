//! Roots over restarts.

use super::super::Index;
use super::world::{SLICE, World, limits};
use crate::config::Limits;
use crate::machine::{Fault, LeftOut, Meta};
use crate::proto::content::{FileHasher, PIECE, Span};
use crate::proto::index_log::{HEADER, Reader};
use crate::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn shared() -> World {
    let mut world = World::new();
    for i in 0..20_u8 {
        world.put(&format!("small/{i}"), &vec![i; 100 * usize::from(i)]);
    }
    world.put("two pieces", &vec![3; PIECE as usize + 1]);
    world.put("three pieces", &vec![4; 2 * PIECE as usize + 77]);
    world.start();
    world.run(SECOND);
    world.assert_right();
    world
}

#[test]
fn after_a_restart_nothing_is_read_again() {
    let world = shared();
    world.files.keys().filter(|name| *name != "small/0").for_each(|name| {
        assert!(world.index.get(name).is_some_and(|file| file.lists.is_some()), "{name}");
    });
    let mut again = world.restart();
    again.assert_right();
    assert_eq!((again.bytes_read(), &again.log), (0, &world.log));
    again.put("small/7", b"changed");
    let bytes = vec![9; 2 * PIECE as usize];
    again.put("two pieces", &bytes);
    again.files.remove("small/0");
    again.run(700 * SECOND);
    again.assert_right();
    again.assert_lists();
    assert_eq!(again.bytes_read(), 7 + bytes.len());
    let third = again.restart();
    third.assert_right();
    third.assert_lists();
    assert_eq!(third.bytes_read(), 0);
}

#[test]
fn a_disk_that_is_away_for_a_while_is_not_read_again() {
    let mut world = shared();
    let (read, files) = (world.bytes_read(), world.files.clone());
    let offers = |world: &World| world.index.page(None, usize::MAX).count();
    // Its folder is gone, and back.
    world.list_fault = Some(Fault::NoFolder);
    world.hint("", true);
    world.run(2 * SECOND);
    assert_eq!(offers(&world), 0, "what is not there is not offered");
    world.run(1300 * SECOND);
    world.list_fault = None;
    world.hint("", true);
    world.run(2 * SECOND);
    world.assert_right();
    assert_eq!(world.bytes_read(), read);

    // Empty at a start, as a mount point is; later with a file of the disk around it.
    let mut again = world.restart_with(|world| world.files.clear());
    again.run(1300 * SECOND);
    again.put("around", b"it");
    again.files.get_mut("around").expect("it is there").meta.device = 1;
    again.run(1300 * SECOND);
    assert_eq!(offers(&again), 1);
    again.files.extend(files.clone());
    again.hint("", true);
    again.run(2 * SECOND);
    again.assert_right();
    assert_eq!(again.bytes_read(), 2);

    // What is gone from a disk that is there is forgotten.
    again.files.retain(|name, _| !name.starts_with("small"));
    again.run(1300 * SECOND);
    again.files.extend(files);
    again.hint("", true);
    again.run(2 * SECOND);
    again.assert_right();
    assert!(again.bytes_read() > 2);
}

#[test]
fn a_folder_that_cannot_be_read_to_its_end_takes_nothing_away() {
    let mut world = shared();
    let (read, files) = (world.bytes_read(), world.files.clone());
    let interrupted = vec!["small/".to_owned()];
    world.files.retain(|name, _| !name.starts_with("small/1") && name != "two pieces");
    world.left_out = LeftOut { interrupted, ..LeftOut::default() };
    for (folder, deep) in [("", true), ("small", false)] {
        world.hint(folder, deep);
        world.run(2 * SECOND);
        assert!(world.index.get("small/1").is_some() && world.index.get("small/12").is_some());
        assert!(world.index.get("two pieces").is_none(), "what is beside it is seen to be gone");
    }
    world.left_out = LeftOut::default();
    world.files = files;
    world.hint("", true);
    world.run(2 * SECOND);
    world.assert_right();
    assert_eq!(world.bytes_read(), read);
    // Denied is no such thing: what may not be read is not offered.
    world.files.retain(|name, _| !name.starts_with("small/1"));
    let some = vec!["small/1".to_owned()];
    world.left_out = LeftOut { unreadable: 11, some, ..LeftOut::default() };
    world.hint("small", false);
    world.run(2 * SECOND);
    assert!(world.index.get("small/1").is_none());
    world.run(2 * SECOND);
    assert_eq!(world.index.progress().left_out.unreadable, 11, "told of the whole, soon");
    // Once told it costs no more listings of everything, whatever changes beside it, until it is offered.
    let wholes = |world: &World| world.lists.iter().filter(|(_, folder, _)| folder.is_empty()).count();
    let before = wholes(&world);
    for i in 0..20 {
        world.put(&format!("small/beside {i}"), b"x");
        world.hint("small", false);
        world.run(10 * SECOND);
    }
    assert_eq!(wholes(&world), before);
    world.left_out = LeftOut::default();
    world.put("small/1", b"readable");
    world.hint("small", false);
    world.run(4 * SECOND);
    assert_eq!((wholes(&world), world.index.progress().left_out.count()), (before + 1, 0));
}

#[test]
fn more_that_is_left_out_is_told_even_where_not_all_of_it_has_a_name() {
    let mut world = shared();
    let some: Vec<_> = (0..8).map(|i| format!("small/bad {i}\u{1}")).collect();
    let wholes = |world: &World| world.lists.iter().filter(|(_, folder, _)| folder.is_empty()).count();
    world.left_out = LeftOut { names: 9, some: some.clone(), ..LeftOut::default() };
    world.hint("", true);
    world.run(4 * SECOND);
    // A folder that is listed alone for the first time may have more than before; after that its number tells.
    for (names, again) in [(9, 1), (9, 0), (10, 1), (10, 0), (9, 1)] {
        let before = wholes(&world);
        world.left_out = LeftOut { names, some: some.clone(), ..LeftOut::default() };
        world.hint("small", false);
        world.run(10 * SECOND);
        assert_eq!(wholes(&world) - before, again, "{names}");
        assert_eq!((world.index.progress().left_out.names, world.index.warned.left_out), (names, names));
    }
}

#[test]
fn a_file_that_somebody_doubts_is_read_again_and_gets_the_root_that_it_has() {
    let mut world = shared();
    let name = "two pieces";
    let root = world.index.get(name).and_then(|file| file.root).expect("hashed");
    let read = world.bytes_read();
    world.index.doubted(world.now, &root);
    world.run(SECOND);
    let size = world.files[name].bytes.len();
    assert_eq!(world.bytes_read() - read, size);
    assert_eq!(world.index.get(name).and_then(|file| file.root), Some(root), "whoever doubted it was wrong");
    // Other bytes under the same times, as a bad disk gives them.
    world.files.get_mut(name).expect("ours").bytes[0] ^= 1;
    world.index.doubted(world.now, &root);
    world.run(SECOND);
    assert_eq!(world.bytes_read() - read, size, "not so soon");
    world.run(9 * SECOND);
    assert_eq!(world.bytes_read() - read, 2 * size);
    for world in [&world, &world.restart()] {
        world.assert_right();
        let file = world.index.get(name).expect("there");
        assert!(file.root != Some(root) && file.lists.is_some() && world.index.by_root(&root).is_none());
    }
    assert_eq!(world.restart().bytes_read(), 0);
}

#[test]
fn whoever_doubts_everything_costs_little() {
    let mut world = shared();
    let roots: Vec<_> = world.files.keys().filter_map(|name| world.index.get(name)?.root).collect();
    let before = world.reads.len();
    for _ in 0..1000 {
        roots.iter().for_each(|root| world.index.doubted(world.now, root));
        world.run(Duration::from_millis(100));
    }
    let mut times: Vec<_> =
        world.reads[before..].iter().filter(|read| read.2 == 0).map(|read| read.0).collect();
    assert_eq!(times.len(), 11);
    times.dedup();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 10 * SECOND), "{times:?}");
    // An empty file has nothing to read, and what is unknown none to be doubted.
    world.run(200 * SECOND);
    let read = world.reads.len();
    world.index.doubted(world.now, &FileHasher::new().finish().root);
    world.index.doubted(world.now, &crate::proto::content::Root::new([7; 32]));
    world.run(20 * SECOND);
    assert_eq!(world.reads.len(), read);
}

#[test]
fn after_a_long_file_that_was_doubted_the_disk_rests_long() {
    let mut world = World::new();
    let long = vec![5; 80 << 20];
    world.put("long", &long);
    world.start();
    world.run(10 * SECOND);
    world.assert_right();
    let root = world.index.get("long").and_then(|file| file.root).expect("hashed");
    let before = world.bytes_read();
    for _ in 0..100 {
        world.index.doubted(world.now, &root);
        world.run(SECOND);
    }
    // Four MiB a second: at 0, 20, 40, 60, 80 and 100 s.
    assert_eq!(world.bytes_read() - before, 6 * long.len());
}

/// What happens to each file, and what the listings and the restart after it read again.
fn read_after(change: impl Fn(&mut Meta, &mut Vec<u8>)) -> (usize, usize) {
    let mut world = shared();
    let read = world.bytes_read();
    for file in world.files.values_mut() {
        change(&mut file.meta, &mut file.bytes);
    }
    world.hint("", true);
    world.run(70 * SECOND);
    world.assert_right();
    let again = world.restart();
    again.assert_right();
    (world.bytes_read() - read, again.bytes_read())
}

#[test]
fn what_happens_to_a_file_beside_its_content_costs_no_reading() {
    let later = |meta: &mut Meta| meta.ctime += 1_000_000_000;
    let mode = read_after(|meta, _| {
        later(meta);
        meta.marks += 1;
    });
    assert_eq!(mode, (0, 0), "its mode, owner or number of names");
    assert_eq!(read_after(|meta, _| meta.device += 1), (0, 0), "the number of its disk");
    let everything = read_after(|_, _| {}).0 + shared().bytes_read();
    let written = read_after(|meta, bytes| {
        later(meta);
        if let Some(first) = bytes.first_mut() {
            *first ^= 1;
        }
    });
    assert_eq!(written, (everything, 0), "written to, and the time set back");
    let replaced = read_after(|meta, bytes| {
        later(meta);
        meta.born += 1000;
        bytes.reverse();
    });
    assert_eq!(replaced, (everything, 0), "another file with its inode, size and time");
}

#[test]
fn files_whose_inodes_differ_at_each_look_are_read_once() {
    let mut world = shared();
    let renumber = |world: &mut World, by: u64| {
        for file in world.files.values_mut() {
            (file.meta.inode, file.meta.born) = (file.meta.inode + by, 0);
        }
    };
    let read = world.bytes_read();
    for round in 1..4 {
        renumber(&mut world, 1000 * round);
        world.hint("", true);
        world.run(70 * SECOND);
        world.assert_right();
    }
    assert_eq!(world.bytes_read(), read);
    let again = world.restart_with(|world| renumber(world, 7));
    again.assert_right();
    assert_eq!((again.bytes_read(), &again.log), (0, &world.log));
}

#[test]
fn a_file_that_was_moved_away_and_back_is_not_read_again_and_another_in_its_place_is() {
    let mut world = shared();
    let read = world.bytes_read();
    let mut away = world.files.remove("two pieces").expect("it is there");
    world.hint("", false);
    world.run(2 * SECOND);
    away.meta.ctime += 5;
    world.files.insert("two pieces".to_owned(), away.clone());
    world.hint("", false);
    world.run(2 * SECOND);
    world.assert_right();
    assert_eq!(world.bytes_read(), read);
    // To another name, as a rename does it: that changes `ctime`, too.
    let mut file = world.files.remove("two pieces").expect("it is there");
    file.meta.ctime += 5;
    world.files.insert("renamed".to_owned(), file);
    world.hint("", false);
    world.run(2 * SECOND);
    world.assert_right();
    assert_eq!(world.bytes_read(), read);

    world.files.remove("renamed");
    world.hint("", false);
    world.run(2 * SECOND);
    away.meta.born += 1;
    away.meta.ctime += 9;
    away.bytes.reverse();
    let len = away.bytes.len();
    world.files.insert("renamed".to_owned(), away);
    world.hint("", false);
    world.run(70 * SECOND);
    world.assert_right();
    assert_eq!(world.bytes_read() - read, len);
}

#[test]
fn small_files_share_an_append() {
    let mut world = World::new();
    (0..2000).for_each(|i| world.put(&format!("{i}"), &[i as u8; 64]));
    world.start();
    world.run(SECOND);
    world.assert_right();
    assert!(world.appended < 1100, "{}", world.appended);
}

#[test]
fn a_log_that_is_torn_anywhere_costs_what_was_torn_off() {
    // hostile: 166
    let world = shared();
    let log = world.log.clone().expect("a log");
    let mut ends = vec![0, HEADER];
    let mut reader = Reader::new();
    ends.extend(reader.push(&log).iter().map(|entry| entry.record.end as usize));
    assert_eq!(ends.last(), Some(&log.len()));
    for end in ends.iter().flat_map(|end| [end.saturating_sub(1), *end, end + 1, end + 40]) {
        let mut torn = World::new();
        torn.files = world.files.clone();
        torn.log = Some(log[..end.min(log.len())].to_vec());
        torn.start();
        torn.run(2 * SECOND);
        torn.assert_right();
        let kept = ends.iter().filter(|whole| **whole <= end && **whole > HEADER).count();
        assert_eq!(torn.opens.len(), 21 - kept, "{end}");
        torn.files.remove("small/0");
        torn.assert_lists();
        let again = torn.restart();
        assert_eq!((again.bytes_read(), &again.log), (0, &torn.log), "{end}");
    }
}

#[test]
fn a_log_that_is_none_is_begun_anew() {
    let world = shared();
    let mut flipped = world.log.clone().expect("a log");
    flipped[HEADER + 60] ^= 1;
    for (log, opens) in [(vec![0; 5000], 21), (b"{\"nodes\": []}".to_vec(), 21), (flipped, 21)] {
        let mut other = World::new();
        (other.files, other.log) = (world.files.clone(), Some(log));
        other.start();
        other.run(2 * SECOND);
        other.assert_right();
        assert_eq!(other.opens.len(), opens);
        assert_eq!(other.restart().bytes_read(), 0);
    }
}

#[test]
fn without_a_log_it_works_all_the_same() {
    let mut world = World::new();
    world.log_fault = Some(Fault::ReadOnly);
    world.put("a", b"alpha");
    world.start();
    world.assert_right();
    assert!(world.index.get("a").is_some_and(|file| file.lists.is_none()));
    assert!(!world.index.progress().kept);
    world.put("b", &vec![1; 3 * PIECE as usize]);
    world.run(700 * SECOND);
    world.assert_right();
    assert_eq!(world.appended, 0);
}

#[test]
fn values_that_the_log_does_not_have_are_held_or_made_again() {
    let mut world = World::new();
    world.log_fault = Some(Fault::ReadOnly);
    let bytes = vec![1; 2 * PIECE as usize + 9];
    world.put("a", &bytes);
    world.start();
    let root = world.index.get("a").and_then(|file| file.root).expect("known");
    let values = |world: &World| world.index.held_values(&root, Span::Piece, 0, 3);
    let mut hasher = FileHasher::new();
    hasher.update(&bytes);
    let right = hasher.finish().values.as_flattened().to_vec();
    assert_eq!(values(&world).as_ref(), Some(&right));
    // More came than there is room for: the next who asks finds it hashed again. Its root is known all the while.
    for i in 0..3 {
        world.put(&format!("long {i}"), &vec![i; 300 * PIECE as usize]);
    }
    world.index = Index::new(&Limits { lists_held: 24 << 10, ..limits() });
    world.start();
    world.run(2 * SECOND);
    assert_eq!(values(&world), None);
    let read = world.bytes_read();
    let no = world.index.get("a").expect("there").no;
    world.index.wants_values(world.now, no);
    world.index.wants_values(world.now, no);
    world.assert_right();
    world.run(SECOND);
    assert_eq!((values(&world), world.bytes_read() - read), (Some(right), bytes.len()));
    // What there is room for nowhere is not read in vain.
    let long = world.index.get("long 0").expect("there").no;
    world.index.lists = super::super::Lists::new(1024);
    let read = world.bytes_read();
    (0..5).for_each(|_| world.index.wants_values(world.now, long));
    world.run(SECOND);
    assert_eq!(world.bytes_read(), read);
    // There is room for a log again: it is opened at a listing of everything, and has what is asked for.
    world.log_fault = None;
    world.run(1300 * SECOND);
    assert!(world.index.progress().kept);
    for name in ["a", "long 0", "long 1", "long 2"] {
        let no = world.index.get(name).expect("there").no;
        world.index.wants_values(world.now, no);
    }
    world.run(5 * SECOND);
    world.assert_right();
    world.assert_lists();
    assert_eq!(world.restart().bytes_read(), 0);
}

#[test]
fn a_full_disk_keeps_what_was_written_and_later_it_is_written_again() {
    // hostile: 160
    let full = shared();
    let len = full.log.as_ref().expect("a log").len();
    for room in [0, 5, HEADER, HEADER + 50, HEADER + 1000, len - 1] {
        let mut world = World::new();
        (world.files, world.room) = (full.files.clone(), room);
        world.start();
        world.run(2 * SECOND);
        world.assert_right();
        assert!(!world.index.progress().kept, "{room}");
        let log = world.log.clone().expect("a log");
        let mut reader = Reader::new();
        reader.push(&log);
        assert_eq!(reader.good(), log.len() as u64, "no half record is left");
        world.room = usize::MAX;
        world.put("later", &vec![5; 2 * PIECE as usize]);
        world.run(1300 * SECOND);
        assert_eq!(world.index.progress().kept, log.len() >= HEADER);
        world.assert_right();
        world.put("latest", &vec![6; 2 * PIECE as usize]);
        world.run(700 * SECOND);
        let again = world.restart();
        again.assert_right();
        assert!(again.opens.len() < 23 || log.len() < HEADER);
    }
}

/// A log of more than 1 MiB, most of which speaks of files that are no more.
fn wasteful() -> World {
    let mut world = World::new();
    for round in 0..12_u8 {
        for i in 0..1300 {
            world.put(&format!("{i:04}"), &[round, i as u8, (i >> 8) as u8]);
        }
        world.put("two pieces", &vec![round; PIECE as usize + 1]);
        world.put("empty", b"");
        world.put("three pieces", &vec![round; 2 * PIECE as usize + 77]);
        // Copying it fails as yet.
        world = world.restart_with(|world| world.commit_fault = Some(Fault::Os(5)));
        world.run(2 * SECOND);
        world.assert_right();
    }
    assert!(world.log.as_ref().is_some_and(|log| log.len() > 1 << 20));
    world
}

#[test]
fn a_log_of_mostly_garbage_is_copied_without_it() {
    let mut world = wasteful();
    let before = world.log.clone().map_or(0, |log| log.len());
    // Where copying fails the old one stays.
    let mut failing = world.restart_with(|world| world.commit_fault = Some(Fault::Os(5)));
    failing.run(700 * SECOND);
    failing.files.remove("empty");
    failing.assert_lists();
    assert_eq!(
        (failing.log.as_ref().map(Vec::len), failing.replaced, &failing.fresh),
        (Some(before), 0, &None)
    );
    let mut full = world.restart_with(|world| world.room = before / 50);
    full.run(700 * SECOND);
    assert_eq!((full.log.as_ref().map(Vec::len), full.replaced), (Some(before), 0));
    full.put("0000", b"more");
    full.room = usize::MAX;
    full.run(700 * SECOND);
    full.assert_right();
    assert_eq!(full.restart().bytes_read(), 0);

    world = world.restart();
    world.run(SECOND);
    world.assert_right();
    assert_eq!((world.replaced, world.bytes_read()), (1, 0));
    let after = world.log.clone().map_or(0, |log| log.len());
    assert!(after < before / 4, "{after} of {before}");
    world.put("two pieces", &vec![99; PIECE as usize + 5]);
    world.run(700 * SECOND);
    world.files.remove("empty");
    world.assert_lists();
    let mut again = world.restart();
    again.run(SECOND);
    assert_eq!((again.bytes_read(), again.replaced), (0, 0));
    again.assert_lists();
}

#[test]
fn hard_links_are_read_once() {
    let mut world = World::new();
    world.put("a", &[1; SLICE]);
    let link = world.files["a"].clone();
    world.files.insert("b/link".to_owned(), link.clone());
    world.start();
    world.files.insert("c/link".to_owned(), link);
    world.run(700 * SECOND);
    world.assert_right();
    world.assert_lists();
    // Both waited at first, so both were read; from then on it is known.
    assert_eq!(world.opens, ["a", "b/link"]);
    let again = world.restart();
    again.assert_right();
    assert_eq!(again.bytes_read(), 0);
}

#[test]
fn a_file_may_end_at_every_boundary_of_what_goes_to_the_log() {
    use super::super::hashing::Streaming;
    use crate::config::CHUNK;
    let (piece, chunk, slice) = (PIECE as usize, CHUNK, SLICE);
    // Pieces; where the values of long files begin to go to the log at once, and each step of that.
    let near = |size: usize| [size - chunk, size - 1, size, size + 1, size + chunk, size + slice];
    let mut sizes: Vec<usize> = (1..=6).map(|n| n * piece).flat_map(near).collect();
    sizes.extend([0, 1, chunk - 1, chunk, chunk + 1, slice - 1, slice, slice + 1]);
    for (from, step) in [(2, 1), (2, 2), (3, 2), (4, 1)] {
        let mut world = World::new();
        world.index.hashing.streaming = Streaming { from: from * PIECE, step: step * PIECE };
        for (i, size) in sizes.iter().enumerate() {
            world.put(&format!("{i:02}"), &vec![i as u8; *size]);
        }
        world.start();
        world.run(20 * SECOND);
        world.assert_right();
        let empty = sizes.iter().position(|size| *size == 0).expect("one");
        world.files.remove(&format!("{empty:02}"));
        world.assert_lists();
        let again = world.restart();
        again.assert_right();
        again.assert_lists();
        assert_eq!(again.bytes_read(), 0, "from {from}, step {step}: all of it was kept");
    }
}

#[test]
fn the_values_of_a_long_file_go_to_the_log_while_it_is_read() {
    // Two groups of pieces, and just one; ends where values would go to the log, and does not.
    for size in [(2 << 30) + PIECE + 5, 2 << 30, (2 << 30) + 1, (2 << 30) - 1] {
        keeps_a_long_file(size);
    }
}

/// A sparse file of some GiB: the index sees zeros, of which the test holds one slice. It changes once in the middle.
fn keeps_a_long_file(size: u64) {
    use super::super::{Ask, Log};
    let limits = crate::config::Limits { run_chunks: 256, ..limits() };
    let meta = Meta { size, mtime: 1, device: 1, inode: 1, ..Meta::default() };
    let zeros = vec![0; 1 << 20];
    let (mut index, mut log, mut now) = (Index::new(&limits), Vec::new(), Instant::ZERO);
    index.start(now);
    let (mut largest, mut change_at, mut truncated) = (0, Some(size / 2), 0);
    let mut changed = meta;
    loop {
        while let Some(ask) = index.poll_output() {
            let log_meta = Meta { size: log.len() as u64, ..Meta::default() };
            match ask {
                Ask::Watch | Ask::Close => {}
                Ask::List { .. } => {
                    let entry = crate::machine::Entry { name: "long".into(), meta: changed };
                    index.listed(now, &[entry], &crate::machine::ListEnd::Done(Default::default()));
                }
                Ask::Open { .. } => index.opened(now, changed),
                Ask::Read { offset, len } => {
                    if change_at.is_some_and(|at| offset >= at) {
                        (change_at, changed.mtime) = (None, 2);
                    }
                    index.read(now, offset, &zeros[..len], changed);
                }
                Ask::OpenLog { log } => index.log_opened(now, log),
                Ask::ReadLog { offset, len, .. } => {
                    let start = log.len().min(offset as usize);
                    let bytes: Vec<u8> = log[start..log.len().min(start + len)].to_vec();
                    index.log_read(now, Log::Kept, offset, &bytes, log_meta);
                }
                Ask::AppendLog { bytes, .. } => {
                    largest = largest.max(bytes.len());
                    log.extend_from_slice(&bytes);
                }
                Ask::TruncateLog { len, .. } => {
                    truncated += 1;
                    log.truncate(len as usize);
                }
                other => panic!("{other:?}"),
            }
        }
        if index.progress().hashed_files == 1 && log.len() > 65_536 {
            break;
        }
        let (due, _) = index.poll_timeout().expect("it goes on");
        now = now.max(due);
        assert!(now < Instant::ZERO + SECOND * 3600, "the log has {}", log.len());
        index.timeout(now);
    }
    let streamed = size >= 2 << 30;
    assert!(truncated == u32::from(streamed) && (largest <= 9000) == streamed, "{truncated} {largest}");
    let mut reader = Reader::new();
    let entries = reader.push(&log);
    assert_eq!((entries.len(), reader.good()), (1, log.len() as u64));
    assert_eq!((entries[0].meta, Some(entries[0].root)), (changed, index.get("long").and_then(|f| f.root)));
}
