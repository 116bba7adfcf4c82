//! Open, create, commit, discard, import, list, state: one script each.

use crate::toys::{Answer, Home, Script, answers, file, names_in, noise, run};
use distrishare::config::{Folders, Limits};
use distrishare::machine::{
    Dir, Entry, Fault, ImportedFolder, Input, Kept, LeftOut, ListEnd, Output, RequestId, Slot,
};
use distrishare::reactor::Reactor;
use rustix::fs::{CWD, Mode};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const PART: &str = "v1-0123456789abcdef";

fn open(name: &str) -> Output {
    Output::OpenFile { file: file(1), dir: Dir::Shared, name: name.into() }
}

fn import(home: &Home, source: &str, name: &str) -> Output {
    Output::Import { file: file(1), source: home.at(source), name: name.into(), max: 999 }
}

fn one(home: &Home, output: Output) -> Answer {
    answers(home.reactor(&Limits::desktop()), vec![output], 1).remove(0)
}

#[test]
fn what_is_not_a_regular_file_is_never_served() {
    // hostile: 60, 61
    let home = Home::new();
    home.share("plain", b"12345");
    let at = |name: &str| home.at("shared").join(name);
    symlink("plain", at("link")).expect("a link");
    symlink("/etc/passwd", at("outside")).expect("a link");
    rustix::fs::mkfifoat(CWD, at("fifo"), Mode::from_raw_mode(0o600)).expect("a fifo");
    fs::create_dir_all(at("a/b")).expect("folders");
    fs::write(at("a/b/deep"), b"1").expect("a file");
    assert_eq!(one(&home, open("plain")), Answer::Opened(5));
    assert_eq!(one(&home, open("a/b/deep")), Answer::Opened(1));
    for name in ["link", "outside", "fifo", "a"] {
        assert_eq!(one(&home, open(name)), Answer::Failed(Fault::NotRegular, true), "{name}");
    }
    for name in ["nothing", "../shared/plain", "/etc/passwd", "a//b/deep", ""] {
        assert_eq!(one(&home, open(name)), Answer::Failed(Fault::NotFound, true), "{name}");
    }
    let long = "x".repeat(300);
    assert_eq!(one(&home, open(&long)), Answer::Failed(Fault::NameTooLong, true));
}

#[test]
fn a_commit_numbers_taken_names_and_a_discard_leaves_nothing() {
    // hostile: 163
    let home = Home::new();
    let cycle = |end: Output| {
        let create = Output::CreateFile { file: file(1), name: PART.into(), reserve: 0 };
        let mut seen = Vec::new();
        run(home.reactor(&Limits::desktop()), vec![create], |script, input| match input {
            Some(Input::FileCreated { room, .. }) => {
                assert!(room > 0, "the disk has room");
                script.push(end.clone());
                if matches!(end, Output::DiscardFile { .. }) {
                    script.exit();
                }
            }
            Some(Input::FileCommitted { name, meta, confirmed, .. }) => {
                let there = fs::metadata(home.at("downloads").join(&name)).expect("there");
                assert_eq!((meta.inode, meta.size, confirmed), (there.ino(), there.len(), true));
                seen.push(name);
                script.exit();
            }
            Some(Input::FileFailed { file, fault, fatal }) => {
                assert!(!fatal, "{fault}");
                assert_eq!(names_in(&home.at("downloads/.parts")), [PART], "it stays what it was");
                seen.push(fault.to_string());
                script.push(Output::DiscardFile { file });
                script.exit();
            }
            _ => {}
        });
        seen
    };
    let commit = |name: &str| cycle(Output::CommitFile { file: file(1), name: name.into() });
    assert_eq!(commit("a/b.txt"), ["a/b.txt"]);
    assert_eq!(commit("a/b.txt"), ["a/b (2).txt"]);
    assert_eq!(commit("a/b.txt"), ["a/b (3).txt"]);
    let mode = fs::metadata(home.at("downloads/a/b.txt")).expect("there").permissions().mode();
    assert_eq!(mode & 0o7177, 0o066 & mode, "no more than the mask leaves, and nothing to run: {mode:o}");
    assert_eq!(commit("../out"), [Fault::NotFound.to_string()]);
    assert_eq!(commit(&"x".repeat(256)), ["x".repeat(130)], "a shorter name");
    assert_eq!(cycle(Output::DiscardFile { file: file(1) }), [""; 0]);
    assert_eq!(names_in(&home.at("downloads/.parts")), [""; 0]);
    assert_eq!(names_in(&home.at("downloads")), [".parts", "a", &"x".repeat(130)]);
}

#[test]
fn a_part_removed_by_the_user_is_noticed_and_a_taken_part_name_refused() {
    // hostile: 168
    let home = Home::new();
    let create = |n| Output::CreateFile { file: file(n), name: PART.into(), reserve: 0 };
    let mut seen = Vec::new();
    run(home.reactor(&Limits::desktop()), vec![create(1), create(2)], |script, input| match input {
        Some(Input::FileFailed { file: id, fault, .. }) => {
            seen.push((id, fault));
            if id == file(2) {
                fs::remove_file(home.at("downloads/.parts").join(PART)).expect("removed");
                script.push(Output::CommitFile { file: file(1), name: "x".into() });
            } else {
                script.exit();
            }
        }
        Some(Input::FileCommitted { .. }) => panic!("there was nothing to commit"),
        _ => {}
    });
    assert_eq!(seen, [(file(2), Fault::Exists), (file(1), Fault::NotFound)]);
}

#[test]
fn an_import_copies_whole_files_and_refuses_the_rest() {
    // hostile: 153
    let home = Home::new();
    fs::create_dir(home.at("own")).expect("a folder");
    let content = noise((9 << 20) + 5);
    fs::write(home.at("own/file"), &content).expect("a file");
    symlink(home.at("own/file"), home.at("own/link")).expect("a link");
    fs::write(home.at("own/empty"), b"").expect("a file");
    let sparse = fs::File::create(home.at("own/sparse")).expect("a file");
    sparse.set_len(8 << 30).expect("sparse");
    rustix::fs::mkfifoat(CWD, home.at("own/fifo"), Mode::from_raw_mode(0o600)).expect("a fifo");

    let size = content.len() as u64;
    assert_eq!(one(&home, import(&home, "own/file", "copy")), Answer::Committed("copy".into(), size));
    assert!(fs::read(home.at("shared/copy")).expect("reads") == content);
    assert_eq!(one(&home, import(&home, "own/link", "by-link")), Answer::Committed("by-link".into(), size));
    assert_eq!(one(&home, import(&home, "own/empty", "e")), Answer::Committed("e".into(), 0));
    assert_eq!(one(&home, import(&home, "own/sparse", "s")), Answer::Committed("s".into(), 8 << 30));

    let failed = |fault| Answer::Failed(fault, true);
    assert_eq!(one(&home, import(&home, "own/file", "copy")), failed(Fault::Exists));
    assert_eq!(one(&home, import(&home, "shared/copy", "again")), failed(Fault::AlreadyShared));
    symlink(home.at("shared/copy"), home.at("own/into")).expect("a link");
    assert_eq!(one(&home, import(&home, "own/into", "again")), failed(Fault::AlreadyShared));
    assert_eq!(one(&home, import(&home, "own/nothing", "n")), failed(Fault::NotFound));
    let special = ["own/fifo", "/dev/zero", "/proc/kcore", "/proc/self/status", "/sys/kernel/mm"];
    for source in special.into_iter().filter(|source| home.at(source).exists()) {
        assert_eq!(one(&home, import(&home, source, "n")), failed(Fault::NotRegular), "{source}");
    }
    assert_eq!(names_in(&home.at("shared")), ["by-link", "copy", "e", "s"]);
}

/// A folder with two files, one in a folder of its own, and with things that are not shared.
fn a_tree(home: &Home) {
    fs::create_dir_all(home.at("own/tree/in/deep")).expect("folders");
    fs::create_dir_all(home.at("own/tree/void")).expect("folders");
    fs::create_dir_all(home.at("own/tree/1/2/3/4/5/6/7")).expect("folders");
    fs::create_dir_all(home.at("own/tree/.hidden")).expect("folders");
    for name in ["a", "in/deep/b", "1/2/3/4/5/6/7/too deep", ".hidden/c", ".d"] {
        fs::write(home.at("own/tree").join(name), noise((2 << 20) + 5)).expect("a file");
    }
    symlink(home.at("own"), home.at("own/tree/out")).expect("a link");
    symlink("/etc/hostname", home.at("own/tree/file")).expect("a link");
    rustix::fs::mkfifoat(CWD, home.at("own/tree/fifo"), Mode::from_raw_mode(0o600)).expect("a fifo");
}

/// What becomes of one output that imports.
fn imported(home: &Home, output: Output) -> Result<(String, u64, Option<ImportedFolder>), Fault> {
    let mut ended = None;
    run(home.reactor(&Limits::desktop()), vec![output], |script, input| match input {
        Some(Input::Imported { name, bytes, folder, .. }) => {
            ended = Some(Ok((name, bytes, folder)));
            script.exit();
        }
        Some(Input::FileFailed { fault, fatal: true, .. }) => {
            ended = Some(Err(fault));
            script.exit();
        }
        _ => {}
    });
    ended.expect("an answer")
}

#[test]
fn an_import_of_a_folder_copies_all_that_can_be_shared() {
    let home = Home::new();
    a_tree(&home);
    let (name, bytes, folder) = imported(&home, import(&home, "own/tree", "copy")).expect("copied");
    let ImportedFolder { files, last, left_out } = folder.expect("it is a folder");
    assert_eq!((&*name, bytes, files, &*last), ("copy", 2 * ((2 << 20) + 5), 2, "in/deep/b"));
    assert_eq!((left_out.deep, left_out.count()), (1, 1));
    for name in ["a", "in/deep/b"] {
        let [copy, own] =
            ["shared/copy", "own/tree"].map(|top| fs::read(home.at(top).join(name)).expect("reads"));
        assert!(copy == own, "{name}");
    }
    assert_eq!(names_in(&home.at("shared")), ["copy"]);
    let mut names = names_in(&home.at("shared/copy"));
    names.sort();
    assert_eq!(names, ["a", "in"]);
    let mode = |name: &str| fs::metadata(home.at(name)).expect("it is there").permissions().mode() & 0o777;
    let umask = 0o666 & !mode("own/tree/a");
    assert_eq!([mode("shared/copy"), mode("shared/copy/in")], [0o777 & !umask, 0o755 & !umask]);
    assert_eq!(mode("shared/copy/in/deep/b"), 0o666 & !umask);

    // It is all there, or there is nothing.
    let refused = |source: &str, name: &str| imported(&home, import(&home, source, name)).expect_err(source);
    assert_eq!(refused("own/tree", "copy"), Fault::Exists);
    assert_eq!(refused("own/tree/void", "n"), Fault::NothingToShare);
    assert_eq!(refused("shared/copy/in", "n"), Fault::AlreadyShared);
    assert_eq!(refused("shared", "n"), Fault::AlreadyShared);
    assert_eq!(refused("own/..", "n"), Fault::HoldsShared);
    assert_eq!(refused("/etc", "n"), Fault::NotForSharing);
    let state = home.reactor(&Limits::desktop());
    drop(state);
    assert_eq!(refused("state", "n"), Fault::NotForSharing);
    let few = Output::Import { file: file(1), source: home.at("own/tree"), name: "n".into(), max: 1 };
    assert_eq!(imported(&home, few).expect_err("too many"), Fault::TooManyFiles);
    assert_eq!(names_in(&home.at("shared")), ["copy"]);
}

#[test]
fn an_import_of_a_folder_broken_off_leaves_nothing() {
    let home = Home::new();
    a_tree(&home);
    (0..300).for_each(|i| fs::write(home.at(&format!("own/tree/in/{i}")), "x").expect("a file"));
    fs::write(home.at("own/tree/z"), noise(24 << 20)).expect("a file");
    let copies = || names_in(&home.at("shared")).into_iter().map(|name| home.at("shared").join(name));
    let mut looks = 0;
    let outputs = vec![import(&home, "own/tree", "copy"), Output::ListInterfaces];
    run(home.reactor(&Limits::desktop()), outputs, |script, input| {
        match input {
            Some(Input::Imported { .. }) => panic!("it was broken off"),
            // When the large one has begun.
            Some(Input::Interfaces(_)) if !copies().any(|copy| copy.join("z").exists()) => {
                script.push(Output::ListInterfaces);
            }
            Some(Input::Interfaces(_)) => {
                looks += 1;
                assert!(copies().all(|copy| copy.to_string_lossy().contains("/.share-")));
                script.push(Output::DiscardFile { file: file(1) });
                script.exit();
            }
            _ => {}
        }
    });
    assert_eq!((looks > 0, names_in(&home.at("shared"))), (true, Vec::new()));
}

#[test]
fn copies_of_a_folder_that_a_killed_process_left_are_removed() {
    let home = Home::new();
    let left = home.at("shared/.share-0123456789abcdef");
    fs::create_dir_all(left.join("in/deep")).expect("folders");
    for name in ["a", "in/b", "in/deep/c"] {
        fs::write(left.join(name), "x").expect("a file");
    }
    fs::write(home.at("mine"), "x").expect("a file");
    symlink(home.at("mine"), left.join("in/link")).expect("a link");
    fs::create_dir_all(home.at("shared/.share-of-mine/in")).expect("folders");
    drop(home.reactor(&Limits::desktop()));
    assert_eq!(names_in(&home.at("shared")), [".share-of-mine"]);
    assert!(home.at("mine").exists());
}

#[test]
fn an_import_broken_off_leaves_nothing() {
    // hostile: 153
    let home = Home::new();
    fs::write(home.at("big"), noise(24 << 20)).expect("a file");
    let mut reports = 0;
    let outputs = vec![import(&home, "big", "copy"), Output::ListInterfaces];
    run(home.reactor(&Limits::desktop()), outputs, |script, input| match input {
        // The first answer comes when the copy has begun: no slice is as large as the file.
        Some(Input::Interfaces(_)) => {
            assert!(names_in(&home.at("shared")).iter().all(|name| name.starts_with(".share-")));
            script.push(Output::DiscardFile { file: file(1) });
            script.push(Output::ListFiles {
                request: RequestId(1),
                dir: Dir::Shared,
                folder: String::new(),
                deep: true,
                max: 100_000,
            });
        }
        Some(Input::Listed { .. }) => script.exit(),
        Some(Input::FileProgress { .. }) => reports += 1,
        Some(Input::FileCommitted { .. }) => panic!("it was broken off"),
        _ => {}
    });
    assert_eq!(names_in(&home.at("shared")), [""; 0]);
    assert!(reports <= 4, "{reports}");
}

fn listing(home: &Home, max: usize) -> (Vec<Entry>, ListEnd) {
    listing_of(home, "", true, max)
}

fn listing_of(home: &Home, folder: &str, deep: bool, max: usize) -> (Vec<Entry>, ListEnd) {
    let mut all = Vec::new();
    let mut last = ListEnd::More;
    let list =
        Output::ListFiles { request: RequestId(9), dir: Dir::Shared, folder: folder.into(), deep, max };
    run(home.reactor(&Limits::desktop()), vec![list], |script, input| {
        if let Some(Input::Listed { request, entries, end }) = input {
            assert_eq!(request, RequestId(9));
            all.extend(entries);
            if end != ListEnd::More {
                script.exit();
            }
            last = end;
        }
    });
    (all, last)
}

#[test]
fn a_listing_names_regular_files_in_order() {
    // hostile: 65
    use std::os::unix::ffi::OsStrExt;
    let home = Home::new();
    home.share("b", b"22");
    home.share("a.txt", b"1");
    home.share("ñ", b"333");
    home.share(".hidden", b"x");
    let at = |name: &str| home.at("shared").join(name);
    fs::create_dir_all(at("a/x")).expect("folders");
    fs::create_dir_all(at(".git/objects")).expect("folders");
    fs::write(at(".git/objects/o"), b"x").expect("a file");
    fs::write(at("a/x/deep"), b"4444").expect("a file");
    symlink("b", at("link")).expect("a link");
    symlink("a", at("folder-link")).expect("a link");
    rustix::fs::mkfifoat(CWD, at("fifo"), Mode::from_raw_mode(0o600)).expect("a fifo");
    fs::write(home.at("shared").join(std::ffi::OsStr::from_bytes(b"bad\xff")), b"x").expect("a file");
    let deep = "1/2/3/4/5/6/7";
    fs::create_dir_all(at(deep).join("8")).expect("folders");
    fs::write(at(deep).join("eight"), b"").expect("a file");
    fs::write(at(deep).join("8/nine"), b"").expect("a file");

    let (entries, end) = listing(&home, 100_000);
    let names: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.meta.size)).collect();
    let expected = [("1/2/3/4/5/6/7/eight", 0), ("a.txt", 1), ("a/x/deep", 4), ("b", 2), ("ñ", 3)];
    assert_eq!(names, expected);
    let deep = vec!["bad\u{fffd}".to_owned(), format!("{deep}/8/")];
    assert_eq!(end, ListEnd::Done(LeftOut { names: 1, deep: 1, some: deep, ..LeftOut::default() }));
}

#[test]
fn a_listing_of_many_files_comes_in_parts_and_stops_at_the_limit() {
    // hostile: 174
    let home = Home::new();
    for i in 0..1500 {
        home.share(&format!("{i:04}"), b"");
    }
    let (entries, end) = listing(&home, 100_000);
    assert_eq!((entries.len(), end), (1500, ListEnd::Done(LeftOut::default())));
    assert!(entries.is_sorted());
    for max in [0, 1, 700, 1499] {
        let (entries, end) = listing(&home, max);
        assert_eq!((entries.len(), end), (max, ListEnd::Truncated));
    }
    assert_eq!(listing(&home, 1500).1, ListEnd::Done(LeftOut::default()));
}

#[test]
fn a_folder_is_listed_as_the_whole_lists_it() {
    // hostile: 59, 60
    let home = Home::new();
    home.share("top", b"");
    let at = |name: &str| home.at("shared").join(name);
    fs::create_dir_all(at("a/x/y")).expect("folders");
    fs::create_dir_all(at(".git/x")).expect("folders");
    fs::create_dir_all(at("1/2/3/4/5/6/7/8")).expect("folders");
    for name in ["a/one", "a/x/two", "a/x/y/three", ".git/x/o", "1/2/3/4/5/6/7/eight", "1/2/3/4/5/6/7/8/nine"]
    {
        fs::write(at(name), b"1").expect("a file");
    }
    symlink("a", at("link")).expect("a link");
    symlink("x", at("a/link")).expect("a link");
    let names = |folder, deep, max| {
        let (entries, end) = listing_of(&home, folder, deep, max);
        (entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>(), end)
    };
    let done = ListEnd::Done(LeftOut::default());
    let whole = |names: &[&str]| (names.iter().map(|&name| name.to_owned()).collect(), done.clone());
    assert_eq!(names("", false, 9), whole(&["top"]));
    assert_eq!(names("a", true, 9), whole(&["a/one", "a/x/two", "a/x/y/three"]));
    assert_eq!(names("a", false, 9), whole(&["a/one"]));
    assert_eq!(names("a/x", true, 9), whole(&["a/x/two", "a/x/y/three"]));
    assert_eq!(names("a", true, 2).1, ListEnd::Truncated);
    let deep = LeftOut { deep: 1, some: vec!["1/2/3/4/5/6/7/8/".to_owned()], ..LeftOut::default() };
    let eight = vec!["1/2/3/4/5/6/7/eight".to_owned()];
    assert_eq!(names("1/2/3/4", true, 9), (eight, ListEnd::Done(deep)));
    let failed = |folder| match names(folder, true, 9) {
        (none, ListEnd::Failed(fault)) if none.is_empty() => fault,
        other => panic!("{folder}: {other:?}"),
    };
    for folder in ["gone", "a/gone", "top", "..", "a/../a", "/etc", ".git", ".git/x", "1/2/3/4/5/6/7/8"] {
        assert_eq!(failed(folder), Fault::NotFound, "{folder}");
    }
    for link in ["link", "a/link", "link/x"] {
        assert!(matches!(failed(link), Fault::NotRegular | Fault::NotFound), "{link}");
    }
}

#[test]
fn the_state_is_saved_loaded_and_put_aside() {
    // hostile: 176, 178
    let home = Home::new();
    let folders = Folders { files: None, state: home.at("state") };
    let reactor = || Reactor::new(&folders, &Limits::desktop()).expect("a reactor");
    let load = |slot| Output::LoadState { kept: Kept::Registry, slot, max: 100 };
    let save = |content: &[u8]| Output::SaveState { kept: Kept::Registry, content: content.to_vec() };
    let mut seen = Vec::new();
    let outputs = vec![
        load(Slot::Current),
        save(b"one"),
        save(b"two"),
        load(Slot::Current),
        load(Slot::Previous),
        Output::QuarantineState { kept: Kept::Registry, slot: Slot::Current },
        load(Slot::Current),
    ];
    let mut record = |script: &mut Script, input: Option<Input<'_>>| {
        match input {
            Some(Input::StateLoaded { kept: Kept::Registry, content, .. }) => {
                seen.push(content.map(|c| c.map(|c| c.len())));
            }
            Some(Input::StateSaved { kept: Kept::Registry, result }) => seen.push(result.map(|()| None)),
            _ => return,
        }
        if seen.len() == 6 {
            script.exit();
        }
    };
    run(reactor(), outputs, &mut record);
    assert_eq!(seen, [Ok(None), Ok(None), Ok(None), Ok(Some(3)), Ok(Some(3)), Ok(None)]);
    assert_eq!(names_in(&home.at("state")), ["registry.1", "registry.corrupt-1"]);
    // Files of a peer fail on a registry, and nothing breaks.
    assert_eq!(answers(reactor(), vec![open("x")], 1), [Answer::Failed(Fault::NotFound, true)]);
}

#[test]
fn a_second_reactor_on_the_same_state_folder_is_refused() {
    // hostile: 165
    let home = Home::new();
    let first = home.reactor(&Limits::desktop());
    let text = Reactor::new(&home.folders(), &Limits::desktop()).err().expect("refused").to_string();
    assert!(text.contains("another process") && text.contains("--state"), "{text}");
    drop(first);
    home.reactor(&Limits::desktop());
}
