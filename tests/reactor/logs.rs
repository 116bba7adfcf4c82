//! The state folder's log, and the state files by what is kept in them.

use crate::toys::{Home, file, names_in, run};
use distrishare::config::{Folders, Limits};
use distrishare::machine::{Fault, Input, Kept, Log, Output, Slot};
use distrishare::reactor::Reactor;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

const LOG: u32 = 1;
const FRESH: u32 = 2;

fn open(n: u32) -> Output {
    Output::OpenLog { file: file(n), log: if n == FRESH { Log::FreshIndex } else { Log::Index } }
}

fn append(n: u32, bytes: &[u8]) -> Output {
    Output::AppendLog { file: file(n), bytes: bytes.to_vec() }
}

fn cut(n: u32, len: u64) -> Output {
    Output::TruncateLog { file: file(n), len }
}

fn commit(n: u32) -> Output {
    Output::CommitLog { file: file(n) }
}

fn close(n: u32) -> Output {
    Output::CloseFile { file: file(n) }
}

fn reactor(home: &Home) -> Reactor {
    Reactor::new(&Folders { files: None, state: home.at("state") }, &Limits::desktop()).expect("a reactor")
}

/// The files as they were opened, what failed, and what a read of the whole log gives at the end.
fn cycle(home: &Home, outputs: Vec<Output>, last: u32) -> (Vec<u64>, Vec<(Fault, bool)>, Vec<u8>) {
    let (mut opened, mut failed, mut content) = (Vec::new(), Vec::new(), Vec::new());
    let wanted = [outputs, vec![Output::ListInterfaces]].concat();
    run(reactor(home), wanted, |script, input| match input {
        Some(Input::FileOpened { meta, .. }) => opened.push(meta.size),
        Some(Input::FileFailed { fault, fatal, .. }) => failed.push((fault, fatal)),
        Some(Input::Interfaces(_)) => {
            script.push(Output::ReadFile { file: file(last), offset: 0, len: 1000 });
            script.deadline = Some(script.now); // where there is nothing to read
        }
        Some(Input::Timeout) if opened.is_empty() => script.exit(),
        Some(Input::FileRead { bytes, .. }) => {
            content = bytes.to_vec();
            script.exit();
        }
        _ => {}
    });
    (opened, failed, content)
}

#[test]
fn a_log_grows_is_read_back_and_cut() {
    let home = Home::new();
    let outputs = vec![open(LOG), append(LOG, b"one "), append(LOG, b"two "), append(LOG, b"three")];
    assert_eq!(cycle(&home, outputs, LOG), (vec![0], vec![], b"one two three".to_vec()));
    let mode = fs::metadata(home.at("state/index.log")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let outputs = vec![open(LOG), cut(LOG, 8), append(LOG, b"drei"), cut(LOG, 1000)];
    assert_eq!(cycle(&home, outputs, LOG), (vec![13], vec![], b"one two drei".to_vec()));
    assert_eq!(names_in(&home.at("state")), ["index.log"]);
}

#[test]
fn a_fresh_log_takes_the_place_of_the_old_one_only_when_committed() {
    // hostile: 179, 180
    let home = Home::new();
    let old = || vec![open(LOG), append(LOG, b"old"), open(FRESH), append(FRESH, b"fresh")];
    // Both at once, and then closed or left: the old one stays.
    for end in [vec![], vec![close(FRESH)], vec![close(FRESH), commit(FRESH)]] {
        let (opened, failed, content) = cycle(&home, [old(), end].concat(), LOG);
        assert_eq!((opened[1], failed, content.starts_with(b"old")), (0, vec![], true));
        assert_eq!(names_in(&home.at("state")), ["index.log"]);
    }
    // As a kill leaves it.
    fs::write(home.at("state/index.log.tmp"), b"half a lo").expect("a file");
    drop(reactor(&home));
    assert_eq!(names_in(&home.at("state")), ["index.log"]);

    let end = vec![commit(FRESH), commit(FRESH), close(LOG), append(FRESH, b" and more")];
    let (_, failed, content) = cycle(&home, [old(), end].concat(), FRESH);
    assert_eq!((failed, content), (vec![], b"fresh and more".to_vec()));
    assert_eq!(cycle(&home, vec![open(LOG)], LOG).2, b"fresh and more");
}

#[test]
fn a_fresh_log_that_somebody_removed_is_not_committed() {
    let home = Home::new();
    let mut failed = Vec::new();
    run(reactor(&home), vec![open(FRESH)], |script, input| match input {
        Some(Input::FileOpened { .. }) => {
            fs::remove_file(home.at("state/index.log.tmp")).expect("removed");
            fs::write(home.at("state/index.log.tmp"), b"another's").expect("a file");
            script.push(commit(FRESH));
        }
        Some(Input::FileFailed { fault, fatal, .. }) => {
            failed.push((fault, fatal));
            script.exit();
        }
        _ => {}
    });
    assert_eq!(failed, [(Fault::NotFound, false)]);
    assert_eq!(names_in(&home.at("state")), ["index.log.tmp"]);
}

#[test]
fn what_is_not_a_file_is_no_log() {
    // hostile: 60, 61
    let strange: [fn(&Home); 3] = [
        |home| symlink("/etc/passwd", home.at("state/index.log")).expect("a link"),
        |home| fs::create_dir(home.at("state/index.log")).expect("a folder"),
        |home| {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mkfifoat(rustix::fs::CWD, home.at("state/index.log"), mode).expect("a fifo");
        },
    ];
    for make in strange {
        let home = Home::new();
        drop(reactor(&home));
        make(&home);
        let (opened, failed, _) = cycle(&home, vec![open(LOG), append(LOG, b"x")], LOG);
        assert_eq!((opened, failed), (vec![], vec![(Fault::NotRegular, true)]));
    }
}

#[test]
fn a_log_that_cannot_be_written_is_told_and_stays_open() {
    // hostile: 158, 178
    let name = "logs::a_log_that_cannot_be_written_is_told_and_stays_open";
    let wrapper = "unshare -m sh -c 'mount -t tmpfs -o size=64k tmpfs /mnt && exec \"$0\" \"$@\"'";
    crate::children::in_child_with(name, wrapper, || {
        fs::create_dir("/mnt/state").expect("a folder");
        fs::set_permissions("/mnt/state", fs::Permissions::from_mode(0o700)).expect("mode set");
        let home = Home::new();
        symlink("/mnt/state", home.at("state")).expect("a link");
        let outputs = vec![open(LOG), append(LOG, b"kept"), append(LOG, &[7; 1 << 20]), cut(LOG, 4)];
        let more = vec![append(LOG, b" and more")];
        let (_, failed, content) = cycle(&home, [outputs, more].concat(), LOG);
        assert_eq!((failed, content), (vec![(Fault::NoSpace, false)], b"kept and more".to_vec()));
    });
}

#[test]
fn each_state_file_has_its_own_generations() {
    // hostile: 176, 181
    let home = Home::new();
    let save = |kept, text: &[u8]| Output::SaveState { kept, content: text.to_vec() };
    let load = |kept, slot| Output::LoadState { kept, slot, max: 100 };
    let outputs = vec![
        save(Kept::Registry, b"nodes"),
        save(Kept::Identity, b"key 1"),
        save(Kept::Identity, b"key 2"),
        load(Kept::Identity, Slot::Current),
        load(Kept::Identity, Slot::Previous),
        load(Kept::Registry, Slot::Current),
        load(Kept::Registry, Slot::Previous),
        Output::QuarantineState { kept: Kept::Identity, slot: Slot::Current },
    ];
    let mut seen = Vec::new();
    run(reactor(&home), outputs, |script, input| {
        if let Some(Input::StateLoaded { kept, slot, content }) = input {
            seen.push((
                kept,
                slot,
                content.expect("loads").map(|c| String::from_utf8_lossy(&c).into_owned()),
            ));
            if seen.len() == 4 {
                let mode = fs::metadata(home.at("state/identity.1")).expect("there").permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
                script.exit();
            }
        }
    });
    let text = |text: &str| Some(text.to_owned());
    let expected = [
        (Kept::Identity, Slot::Current, text("key 2")),
        (Kept::Identity, Slot::Previous, text("key 1")),
        (Kept::Registry, Slot::Current, text("nodes")),
        (Kept::Registry, Slot::Previous, None),
    ];
    assert_eq!(seen, expected);
    assert_eq!(names_in(&home.at("state")), ["identity.1", "identity.corrupt-1", "registry"]);
}
