//! What other programs and tired disks do to unfinished downloads, while the node runs and while it does not.

use super::common::{MS, PORT, S, addr_of, command, done, errors, get, get_at, plain};
use super::holders::{
    MIB, downloaded, friends, holds, no_parts, part_of, reaches, sends, soon_no_parts, state, tail,
    transfers, whole,
};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::{LanId, NodeId};
use crate::liar::{Heard, Liar, Mouth, file};
use crate::original::OriginalPeer;
use crate::world::World;
use distrishare::machine::Dir;
use distrishare::proto::content::Root;
use distrishare::proto::v2::message::Message;

const SIZE: u64 = 6 * MIB + 100;

/// Changes a bit of the first piece that is here.
fn flip_kept(part: &mut Content, at: u64) {
    let whole = Content::generated(7, SIZE);
    let kept = (0..SIZE / MIB).find(|piece| part.agrees(&whole, piece * MIB, MIB));
    part.flip(kept.expect("one of them") * MIB + at, 2);
}

/// A download of which some is here, and whose node does not run.
fn interrupted(world: &mut World) -> (NodeId, NodeId, Content, u64) {
    let nodes = friends(world, 2);
    let (seed, to) = (nodes[0], nodes[1]);
    let content = Content::generated(7, SIZE);
    // Without its journal a download goes by its root.
    world.env.truth.add(&crate::env::root_of(&content), &content);
    holds(world, seed, "file", &content);
    sends(world, seed, 4 * MIB);
    get(world, to, seed, "file");
    reaches(world, to, 4 * MIB);
    command(world, to, "pause file");
    world.run_for(S);
    assert_eq!(state(world, to, "file"), "paused");
    let kept = transfers(world, to)["file"]["bytes"].as_u64().expect("a number");
    assert!(kept >= 3 * MIB);
    world.kill(to);
    (seed, to, content, kept)
}

/// The next life, to its end; bytes that it had not to fetch.
fn goes_on(world: &mut World, seed: NodeId, to: NodeId) -> u64 {
    world.start(to);
    world.type_line(to, "multicast on");
    world.run_for(S);
    // Nobody goes on by himself where nothing was left, or nobody knows what it was called.
    if !transfers(world, to).contains_key("file") && !world.has_download(to, "file") {
        get(world, to, seed, "file");
    }
    let there = world.run_until(S * 60, |world| !world.events_named(to, "downloaded").is_empty());
    assert!(there, "{}", tail(&world.stdout(to)));
    let said = world.events_named(to, "downloaded").remove(0);
    let whole = Content::generated(7, SIZE);
    let names = world.downloads(to);
    let right =
        |name: &String| world.nodes[to.0].disk.content(Dir::Downloads, name).is_some_and(|c| c.same(&whole));
    assert!(names.iter().any(right), "{names:?}");
    world.run_for(S);
    soon_no_parts(world, to);
    assert_eq!(errors(world, to), Vec::<String>::new());
    said["resumed"].as_u64().expect("a number")
}

#[test]
fn a_part_that_was_changed_while_nobody_looked_is_found_out_and_mended() {
    // hostile: 167
    type Change = fn(&mut Content);
    let changes: [(Change, bool, u64); 7] = [
        (|part| flip_kept(part, 5), true, 1),
        (|part| flip_kept(part, 5), false, 1),
        (|part| part.truncate(2 * MIB + 7), false, 9),
        (|part| part.truncate(2 * MIB + 7), true, 9),
        (|part| part.truncate(0), false, 9),
        (|part| part.set_len(9 * MIB), true, 9),
        (|_| (), false, 0),
    ];
    scenario("a_part_that_was_changed", changes.len() as u64, |world| {
        let (change, keep_mtime, lost) = changes[world.env.seed as usize % changes.len()];
        let (seed, to, content, kept) = interrupted(world);
        world.edit_part(to, &part_of(&content).0, keep_mtime, change);
        let resumed = goes_on(world, seed, to);
        assert!(resumed <= kept && resumed + lost * MIB >= kept, "{resumed} of {kept} were taken over");
        assert!(lost == 0 || resumed < kept, "what was changed was taken over");
    });
}

#[test]
fn rot_at_rest_is_found_before_the_file_has_its_name() {
    // hostile: 167 (a bit, its time kept)
    scenario("rot_at_rest", 3, |world| {
        let (seed, to, content, kept) = interrupted(world);
        let at = (world.env.seed % 1000 * 517 * 1023 + 3) % (3 * MIB);
        world.edit_part(to, &part_of(&content).0, true, |part| flip_kept(part, at % MIB));
        let resumed = goes_on(world, seed, to);
        assert_eq!(resumed, kept - MIB);
    });
}

#[test]
fn a_journal_in_any_state_never_leads_to_a_wrong_file() {
    // hostile: 166
    type Change = fn(&mut Content, u64);
    let changes: [Change; 6] = [
        |journal, _| journal.truncate(0),
        |journal, n| journal.truncate(n % journal.len()),
        |journal, n| journal.flip(n * 7 % journal.len(), (n % 8) as u8),
        |journal, n| *journal = Content::generated(n, 1 << 16),
        |journal, n| {
            let len = journal.len();
            journal.write(len, &[n as u8; 500], &[]);
        },
        // Of a later version.
        |journal, _| journal.flip(8, 1),
    ];
    scenario("a_journal_in_any_state", 12, |world| {
        let n = world.env.seed % 1000;
        let change = changes[n as usize % changes.len()];
        let (seed, to, content, _) = interrupted(world);
        world.edit_part(to, &part_of(&content).1, n % 2 == 0, |journal| change(journal, n * n + 3));
        goes_on(world, seed, to);
    });
}

#[test]
fn what_is_missing_of_a_download_is_fetched_anew() {
    scenario("what_is_missing_of_a_download", 3, |world| {
        let (seed, to, content, kept) = interrupted(world);
        let (part, journal) = part_of(&content);
        let n = world.env.seed % 3;
        if n != 1 {
            world.remove_part(to, &part);
        }
        if n != 0 {
            world.remove_part(to, &journal);
        }
        let resumed = goes_on(world, seed, to);
        // A part without its journal is looked through.
        assert!(resumed == if n == 1 { kept } else { 0 } || n == 1, "{n}: {resumed} of {kept}");
    });
}

#[test]
fn the_journal_of_another_file_is_no_journal_of_this() {
    // hostile: 166
    scenario("the_journal_of_another_file", 2, |world| {
        let (seed, to, content, _) = interrupted(world);
        let other = Content::generated(8, SIZE);
        world.env.truth.add(&crate::env::root_of(&other), &other);
        let (part, journal) = part_of(&content);
        let theirs = world.nodes[to.0].disk.content(Dir::Parts, &journal).cloned().expect("it is there");
        let (other_part, other_journal) = part_of(&other);
        holds(world, seed, "other", &other);
        let disk = &mut world.nodes[to.0].disk;
        disk.by_hand.insert(other_journal.clone());
        disk.put(Dir::Parts, &other_part, Content::hole(SIZE));
        disk.put(Dir::Parts, &other_journal, theirs);
        assert!(disk.content(Dir::Parts, &part).is_some());
        world.start(to);
        world.type_line(to, "multicast on");
        world.run_for(S);
        get(world, to, seed, "other");
        whole(world, to, "file", S * 60);
        let both = world.run_until(S * 60, |world| {
            world.downloads(to).iter().any(|name| {
                world.nodes[to.0].disk.content(Dir::Downloads, name).is_some_and(|got| got.same(&other))
            })
        });
        assert!(both, "{:?} {}", world.downloads(to), tail(&world.stdout(to)));
        soon_no_parts(world, to);
    });
}

#[test]
fn a_part_that_somebody_removes_while_it_grows_is_noticed() {
    // hostile: 168
    scenario("a_part_that_somebody_removes", 4, |world| {
        let nodes = friends(world, 2);
        let (seed, to) = (nodes[0], nodes[1]);
        let content = Content::generated(7, 16 * MIB);
        holds(world, seed, "file", &content);
        sends(world, seed, 4 * MIB);
        get(world, to, seed, "file");
        reaches(world, to, (2 + 3 * (world.env.seed % 4)) * MIB);
        let (part, journal) = part_of(&content);
        world.remove_part(to, &part);
        if world.env.seed % 2 == 0 {
            world.remove_part(to, &journal);
        }
        let over = world.run_until(S * 60, |world| done(world, to, "get") == 1);
        assert!(over, "{}", tail(&world.stdout(to)));
        // Either it was said, or it began again and is right.
        if !world.has_download(to, "file") {
            let said = errors(world, to);
            assert!(said.len() == 1 && said[0].len() > 20, "{said:?}");
            assert!(said[0].contains("removed"), "{said:?}");
            get(world, to, seed, "file");
            whole(world, to, "file", S * 60);
        }
        soon_no_parts(world, to);
    });
}

/// A file that is there already, of which the disk says that its name is another one's, too.
struct Namesake {
    stands: &'static str,
    comes: &'static str,
    /// Where the other one goes.
    lands: &'static str,
    /// What stands there is made of, and how long it is.
    old: (u64, u64),
    v1: bool,
}

const NEW: (u64, u64) = (7, 2 * MIB + 100);

fn namesakes() -> [Namesake; 6] {
    let (stands, comes, lands) = ("Report.PDF", "report.pdf", "report (2).pdf");
    let other = Namesake { stands, comes, lands, old: (8, 5000), v1: false };
    [
        // The same, letter by letter.
        Namesake { comes: stands, lands: "Report (2).PDF", ..other },
        Namesake { old: (8, NEW.1), ..other },
        Namesake { v1: true, ..other },
        // One letter, and a letter with its marks behind it.
        Namesake {
            stands: "gr\u{f6}\u{df}e",
            comes: "gro\u{308}\u{df}e",
            lands: "gro\u{308}\u{df}e (2)",
            ..other
        },
        // It begins as the other does.
        Namesake { old: (NEW.0, MIB), ..other },
        other,
    ]
}

#[test]
fn a_name_that_the_disk_takes_for_another_ones_never_replaces_that() {
    // hostile: 170 (as a node sees it)
    scenario("a_name_that_the_disk_takes", 6, |world| {
        let Namesake { stands, comes, lands, old, v1 } = &namesakes()[world.env.seed as usize % 6];
        let nodes = friends(world, 2);
        let (seed, to) = (nodes[0], nodes[1]);
        let (old, new) = (Content::generated(old.0, old.1), Content::generated(NEW.0, NEW.1));
        let disk = &mut world.nodes[to.0].disk;
        disk.folds = true;
        disk.put(Dir::Downloads, stands, old.clone());
        let from = if *v1 {
            let there = world.host(&[LanId(0)]);
            world.env.truth.add(comes, &new);
            world.actor(there, OriginalPeer::new(PORT).sharing(comes, new.clone()));
            world.run_for(MS * 10);
            world.addr(there, PORT)
        } else {
            holds(world, seed, comes, &new);
            addr_of(world, seed)
        };
        get_at(world, to, from, comes);
        let said = downloaded(world, to, comes);
        let path = said["path"].as_str().expect("where it is");
        assert_eq!(path, format!("downloads/{lands}"), "{said}");
        assert_ne!(said["already"], true, "{said}");
        let disk = &world.nodes[to.0].disk;
        let is = |name: &str, what: &Content| {
            disk.content(Dir::Downloads, name).is_some_and(|content| content.same(what))
        };
        assert!(is(stands, &old), "what stood there is another");
        assert!(is(lands, &new), "{:?}", disk.names(Dir::Downloads));
        assert_eq!(disk.names(Dir::Downloads).len(), 2);
        // And now it is here, by whichever name.
        let given = world.uploaded(seed);
        get_at(world, to, from, comes);
        let over = world.run_until(S * 30, |world| done(world, to, "get") == 2);
        assert!(over, "{}", tail(&world.stdout(to)));
        if !v1 {
            assert_eq!((world.uploaded(seed), world.downloads(to).len()), (given, 2));
        }
        soon_no_parts(world, to);
        assert_eq!(errors(world, to), Vec::<String>::new());
    });
}

#[test]
fn the_same_content_under_a_name_that_the_disk_takes_for_the_same_is_here_already() {
    // hostile: 170
    scenario("the_same_content_under_a_name", 1, |world| {
        let nodes = friends(world, 2);
        let (seed, to) = (nodes[0], nodes[1]);
        let content = Content::generated(NEW.0, NEW.1);
        let disk = &mut world.nodes[to.0].disk;
        disk.folds = true;
        disk.put(Dir::Downloads, "Report.PDF", content.clone());
        holds(world, seed, "report.pdf", &content);
        get(world, to, seed, "report.pdf");
        let said = downloaded(world, to, "report.pdf");
        assert_eq!((&said["already"], world.uploaded(seed)), (&true.into(), 0), "{said}");
        assert_eq!(world.downloads(to), ["Report.PDF"]);
    });
}

#[test]
fn a_file_of_eight_tebibytes_is_refused_at_once_where_there_is_one_gibibyte() {
    // hostile: 172
    scenario("a_file_of_eight_tebibytes", 1, |world| {
        let lan = world.lan();
        let (host, there) = (world.host(&[lan]), world.host(&[lan]));
        let node = plain(world, host);
        world.nodes[node.0].disk.capacity = 1 << 30;
        let act = |mouth: &mut Mouth<'_, '_>, heard: Heard| match heard {
            Heard::Message(Message::Stat { id, name }) => {
                mouth.files(id, vec![file(&name, 1 << 43, Some(Root::new([3; 32])))], true);
            }
            Heard::Message(message) => mouth.cx.note(message.kind().name()),
            _ => {}
        };
        let liar = world.actor(there, Liar::listens(1, PORT, act));
        world.run_for(MS * 10);
        let start = world.now();
        let said = command(world, node, &format!("get {} {PORT} file", world.ip(there)));
        assert!(world.now() - start < S * 2, "it took its time");
        let error = said.iter().find(|event| event["event"] == "error").expect("refused");
        assert_eq!(error["code"], "no_space", "{error}");
        let text = error["message"].as_str().unwrap_or("");
        assert!(text.contains("8.8 TB") && text.contains("1.1 GB"), "{error}");
        assert!(world.log(liar).notes.iter().all(|note| note != "values" && note != "get"));
        no_parts(world, node);
        assert_eq!(world.nodes[node.0].disk.used, 0);
        assert!(done(world, node, "get") == 1 && world.running(node));
    });
}
