use super::super::Answer;
use super::tree::SLICE;
use super::*;
use crate::config::{FileFolders, Folders, Limits};
use std::fs;
use std::path::{Path, PathBuf};

/// What is done, and the changes that it makes.
type Step<'a> = (&'a dyn Fn(&Place), &'a [(&'a str, bool)]);

struct Place {
    temp: tempfile::TempDir,
    reactor: Reactor,
}

/// What was told: `None` is a loss.
type Told = Vec<Option<(String, bool)>>;

impl Place {
    /// With these folders in it from the start.
    fn new(watches: usize, there: &[&str]) -> Place {
        let temp = tempfile::tempdir().expect("a temporary folder");
        there
            .iter()
            .for_each(|name| fs::create_dir_all(temp.path().join("shared").join(name)).expect("a folder"));
        let at = |path: &str| temp.path().join(path);
        let files = FileFolders::new(at("shared"), at("downloads"));
        let folders = Folders { files: Some(files), state: at("state") };
        let limits = Limits { watches, ..Limits::desktop() };
        let mut reactor = Reactor::new(&folders, &limits).expect("a reactor");
        reactor.watch_folder(Dir::Shared);
        Place { temp, reactor }
    }

    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.temp.path().join("shared").join(path)
    }

    fn write(&self, path: &str) {
        fs::write(self.at(path), b"x").expect("a file");
    }

    /// What is told until there is nothing left to do, and the turns that took.
    fn told(&mut self) -> (Told, usize) {
        self.reactor.watch_event(Dir::Shared);
        let mut turns = 0;
        while self.reactor.watch_waits() {
            self.reactor.watch_slice();
            turns += 1;
        }
        let told = self.reactor.answers.drain(..).filter_map(|answer| match answer {
            Answer::Input(Input::FolderChanged { dir: Dir::Shared, folder, deep }) => {
                Some(Some((folder, deep)))
            }
            Answer::Input(Input::WatchLost { dir: Dir::Shared }) => Some(None),
            _ => None,
        });
        (told.collect(), turns)
    }

    /// Each once, in order.
    fn changes(&mut self) -> Vec<(String, bool)> {
        let mut told: Vec<_> = self.told().0.into_iter().map(|told| told.expect("no loss")).collect();
        told.sort();
        told.dedup();
        told
    }

    fn watched(&self) -> Vec<&str> {
        self.reactor.watches[&Dir::Shared].tree.watched()
    }
}

fn list(changes: &[(&str, bool)]) -> Vec<(String, bool)> {
    changes.iter().map(|&(folder, deep)| (folder.to_owned(), deep)).collect()
}

#[test]
fn files_are_told_by_their_folder() {
    let mut place = Place::new(100, &["a/b", ".git", "1/2/3/4/5/6/7/8"]);
    fs::write(place.at("old"), b"x").expect("a file");
    assert_eq!(place.changes(), [], "what was there is for a listing");
    let deep = ["1", "1/2", "1/2/3", "1/2/3/4", "1/2/3/4/5", "1/2/3/4/5/6", "1/2/3/4/5/6/7"];
    assert_eq!(place.watched(), [&[""], deep.as_slice(), &["a", "a/b"]].concat());
    let steps: [Step<'_>; 8] = [
        (&|place| place.write("new"), &[("", false)]),
        (&|place| place.write("a/b/new"), &[("a/b", false)]),
        (
            &|place| fs::rename(place.at("new"), place.at("a/moved")).expect("moved"),
            &[("", false), ("a", false)],
        ),
        (&|place| fs::hard_link(place.at("old"), place.at("a/link")).expect("linked"), &[("a", false)]),
        (&|place| fs::remove_file(place.at("a/moved")).expect("removed"), &[("a", false)]),
        (&|place| drop(fs::read(place.at("old")).expect("reads")), &[]),
        (&|place| fs::write(place.at(".hidden"), b"x").expect("a file"), &[]),
        (&|place| place.write("1/2/3/4/5/6/7/8/nine"), &[]),
    ];
    for (i, (step, expected)) in steps.into_iter().enumerate() {
        step(&place);
        assert_eq!(place.changes(), list(expected), "step {i}");
    }
}

#[test]
fn a_file_is_told_when_it_is_closed_not_when_it_grows() {
    use std::io::Write;
    let mut place = Place::new(100, &["a"]);
    place.told();
    let mut file = fs::File::create(place.at("a/long")).expect("a file");
    assert_eq!(place.changes(), list(&[("a", false)]));
    file.write_all(b"much").expect("written");
    assert_eq!(place.changes(), []);
    drop(file);
    assert_eq!(place.changes(), list(&[("a", false)]));
}

#[test]
fn folders_that_come_go_and_move_are_followed() {
    let mut place = Place::new(100, &["a/b/c", "out"]);
    place.told();
    // With files in it before anybody could watch it.
    fs::create_dir_all(place.at("new/er/est")).expect("folders");
    place.write("new/er/est/file");
    let changes = place.changes();
    for expected in [("new", true), ("new/er", false), ("new/er/est", false)] {
        let told = |(folder, deep): &(String, bool)| folder == expected.0 && (*deep || !expected.1);
        assert!(changes.iter().any(told), "{expected:?} of {changes:?}");
    }
    place.write("new/er/est/file");
    assert_eq!(place.changes(), list(&[("new/er/est", false)]));

    fs::rename(place.at("a"), place.at("z")).expect("moved");
    let changes = place.changes();
    assert!(changes.contains(&("a".into(), true)) && changes.contains(&("z".into(), true)), "{changes:?}");
    assert_eq!(place.watched(), ["", "new", "new/er", "new/er/est", "out", "z", "z/b", "z/b/c"]);
    place.write("z/b/c/file");
    assert_eq!(place.changes(), list(&[("z/b/c", false)]));

    // Out of the tree, hidden, and removed: told once, never again.
    let away = place.temp.path().join("away");
    fs::rename(place.at("z/b"), &away).expect("moved");
    fs::rename(place.at("out"), place.at(".out")).expect("moved");
    fs::remove_dir_all(place.at("new/er")).expect("removed");
    let changes = place.changes();
    assert!(
        ["z/b", "out", "new/er"].iter().all(|gone| changes.contains(&((*gone).into(), true))),
        "{changes:?}"
    );
    fs::write(away.join("c/file"), b"y").expect("a file");
    place.write(".out/file");
    assert_eq!((place.changes(), place.watched()), (vec![], vec!["", "new", "z"]));
    // And a folder of a name that was used before is another one.
    fs::create_dir(place.at("out")).expect("a folder");
    place.told();
    place.write("out/file");
    assert_eq!(place.changes(), list(&[("out", false)]));
}

#[test]
fn links_are_not_followed() {
    // hostile: 60
    let mut place = Place::new(100, &["a"]);
    let outside = place.temp.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    std::os::unix::fs::symlink(&outside, place.at("a/link")).expect("a link");
    place.told();
    assert_eq!(place.watched(), ["", "a"]);
    fs::write(outside.join("file"), b"x").expect("a file");
    assert_eq!(place.changes(), []);
}

#[test]
fn many_folders_are_watched_in_slices() {
    // hostile: 174
    let names: Vec<String> = (0..2 * SLICE).map(|i| format!("{i:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut place = Place::new(10_000, &names);
    place.reactor.watch_slice();
    assert!(place.watched().len() < SLICE && place.reactor.watches[&Dir::Shared].is_settling());
    let (told, turns) = place.told();
    assert!(told.is_empty() && turns >= 4, "{turns}");
    assert!(!place.reactor.watches[&Dir::Shared].is_settling());
    place.write("0511/file");
    assert_eq!(place.changes(), list(&[("0511", false)]));
}

#[test]
fn beyond_the_bound_a_loss_is_told_once_and_the_rest_goes_on() {
    // hostile: 174
    let mut place = Place::new(3, &["a", "b", "c", "d"]);
    assert_eq!(place.told().0, [None]);
    assert_eq!(place.watched().len(), 3);
    let watched = place.watched()[1].to_owned();
    place.write(&format!("{watched}/file"));
    assert_eq!(place.changes(), list(&[(&watched, false)]));
    // One that comes is told even so, though what happens in it is not.
    fs::create_dir(place.at("e")).expect("a folder");
    assert_eq!(place.changes(), list(&[("e", true)]));
    // Where one went there is room again.
    fs::remove_dir_all(place.at(&watched)).expect("removed");
    place.told();
    fs::create_dir(place.at("f")).expect("a folder");
    place.told();
    place.write("f/file");
    assert_eq!(place.changes(), list(&[("f", false)]));
}

#[test]
fn after_an_overflow_all_is_looked_at_again() {
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("reads");
    let queue: usize = queue.trim().parse().expect("a number");
    if queue > 100_000 {
        println!("SKIPPED: {queue} events are kept here");
        return;
    }
    let mut place = Place::new(100, &["a", "b"]);
    place.told();
    for round in 0..2 {
        // Two names by turns, since the kernel keeps no event twice in a row.
        fs::write(place.at("b/x"), b"x").expect("a file");
        for i in 0..queue / 2 + 100 {
            fs::rename(place.at(["b/x", "b/y"][i % 2]), place.at(["b/y", "b/x"][i % 2])).expect("moved");
        }
        let unseen = format!("unseen-{round}");
        fs::create_dir(place.at(&unseen)).expect("a folder");
        let told = place.told().0;
        assert_eq!(told.iter().filter(|told| told.is_none()).count(), 1 - round, "told once");
        assert!(told.contains(&Some((String::new(), true))), "{told:?}");
        place.write(&format!("{unseen}/file"));
        assert_eq!(place.changes(), list(&[(&unseen, false)]));
    }
}
