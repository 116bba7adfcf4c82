//! Unfinished downloads that are kept: room, syncs, parts opened again, journals.

use crate::toys::{Answer, Home, Script, Stretch, answers, conn, file, names_in, noise, run};
use distrishare::config::{JOURNAL_SUFFIX, Limits, PART_SUFFIX};
use distrishare::machine::{Dir, Fault, Input, ListEnd, Log, Meta, Output, RequestId};
use rustix::fs::{CWD, FlockOperation, Mode};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::thread::JoinHandle;

const V1: &str = "v1-0123456789abcdef";
const MIB: u64 = 1 << 20;

pub fn part() -> String {
    "a1".repeat(32) + PART_SUFFIX
}

pub fn journal() -> String {
    "a1".repeat(32) + JOURNAL_SUFFIX
}

pub fn create(n: u32, name: &str, reserve: u64) -> Output {
    Output::CreateFile { file: file(n), name: name.into(), reserve }
}

pub fn open(n: u32, name: &str) -> Output {
    Output::OpenPart { file: file(n), name: name.into() }
}

pub fn log(n: u32, name: &str) -> Output {
    Output::OpenLog { file: file(n), log: Log::Journal(name.into()) }
}

pub fn append(n: u32, bytes: &[u8]) -> Output {
    Output::AppendLog { file: file(n), bytes: bytes.to_vec() }
}

pub fn sync(n: u32) -> Output {
    Output::SyncFile { file: file(n) }
}

pub fn close(n: u32) -> Output {
    Output::CloseFile { file: file(n) }
}

pub fn discard(n: u32) -> Output {
    Output::DiscardFile { file: file(n) }
}

fn commit(n: u32, name: &str) -> Output {
    Output::CommitFile { file: file(n), name: name.into() }
}

fn parts(home: &Home) -> PathBuf {
    home.at("downloads/.parts")
}

fn list() -> Output {
    Output::ListFiles { request: RequestId(1), dir: Dir::Parts, folder: String::new(), deep: false, max: 100 }
}

/// Carries them out, then gives the answers and what there is in the parts folder while all is still open.
pub fn cycle(home: &Home, outputs: Vec<Output>) -> (Vec<Answer>, Vec<String>) {
    let (mut seen, mut names) = (Vec::new(), Vec::new());
    run(home.reactor(&Limits::desktop()), [outputs, vec![list()]].concat(), |script, input| {
        if let Some(Input::Listed { entries, end, .. }) = &input {
            assert!(matches!(end, ListEnd::Done(_) | ListEnd::Failed(Fault::NotFound)), "{end:?}");
            names = entries.iter().map(|entry| entry.name.clone()).collect();
            script.exit();
        }
        seen.extend(input.and_then(Answer::of));
    });
    (seen, names)
}

/// Somebody who sends `content`, in pieces.
pub fn sender(content: Vec<u8>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let addr = listener.local_addr().expect("bound");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accepted");
        for piece in content.chunks(100_000) {
            if stream.write_all(piece).is_err() {
                return; // the script has seen enough
            }
        }
    });
    (addr, thread)
}

#[test]
fn room_is_set_aside_where_there_is_enough() {
    // hostile: 172
    let home = Home::new();
    let at = parts(&home).join(part());
    let mut rooms = Vec::new();
    let outputs = vec![create(1, &part(), 3 * MIB + 5), create(2, V1, 0), create(3, "huge.part", 1 << 43)];
    run(home.reactor(&Limits::desktop()), outputs, |script, input| {
        if let Some(Input::FileCreated { room, .. }) = input {
            rooms.push(room);
            if rooms.len() == 3 {
                let meta = fs::metadata(&at).expect("there");
                assert_eq!((meta.len(), meta.permissions().mode() & 0o777), (3 * MIB + 5, 0o600));
                assert!(meta.blocks() * 512 >= 3 * MIB, "{} blocks", meta.blocks());
                for name in [V1, "huge.part"] {
                    let meta = fs::metadata(parts(&home).join(name)).expect("there");
                    assert_eq!((meta.len(), meta.blocks()), (0, 0), "{name}");
                }
                script.exit();
            }
        }
    });
    assert!(rooms[0] > 3 * MIB && rooms[2] < 1 << 43, "{rooms:?}");
}

#[test]
fn a_part_is_stored_synced_read_closed_opened_again_and_committed() {
    let home = Home::new();
    let content = noise(3 << 20);
    let (addr, thread) = sender(content.clone());
    let (mut synced, mut read, mut opened, mut placed) = (None, Vec::new(), None, None);
    run(home.reactor(&Limits::desktop()), vec![create(1, &part(), 4 * MIB)], |script, input| match input {
        Some(Input::FileCreated { .. }) => {
            script.store = Some((file(1), MIB));
            script.push(Output::Connect { conn: conn(1), addr });
        }
        Some(Input::Eof { .. }) => {
            assert_eq!(script.stored, 3 << 20);
            script.push(sync(1));
            script.push(Output::Close { conn: conn(1), reset: false });
        }
        Some(Input::FileSynced { meta, .. }) => {
            synced = Some(meta);
            script.push(Output::ReadFile { file: file(1), offset: MIB + 10, len: 1000 });
        }
        Some(Input::FileRead { bytes, meta, .. }) => {
            assert_eq!(Some(meta), synced);
            read = bytes.to_vec();
            script.push(close(1));
            script.push(open(2, &part()));
        }
        Some(Input::FileOpened { meta, .. }) => {
            opened = Some(meta);
            script.push(commit(2, "whole"));
        }
        Some(Input::FileCommitted { name, meta, confirmed, .. }) => {
            placed = Some((name, meta, confirmed));
            script.exit();
        }
        Some(Input::FileFailed { fault, .. }) => panic!("{fault}"),
        _ => {}
    });
    thread.join().expect("sent");
    let synced = synced.expect("synced");
    assert_eq!(synced.size, 4 * MIB);
    assert!(read == content[10..1010]);
    // What a restart compares.
    assert_eq!(opened, Some(synced));
    assert_eq!(placed, Some(("whole".to_owned(), synced, true)));
    let whole = fs::read(home.at("downloads/whole")).expect("reads");
    assert!(whole[..1 << 20].iter().all(|&byte| byte == 0) && whole[1 << 20..] == content);
    assert_eq!(names_in(&parts(&home)), [""; 0]);
}

/// A part with this content, and what two connections were given of it, one in the open and one sealed, when both had ended.
fn sent_of_a_part(content: &[u8], mut on_input: impl FnMut(&mut Script, Input<'_>)) -> [Vec<u8>; 2] {
    let home = Home::new();
    fs::create_dir_all(parts(&home)).expect("folders");
    let reactor = home.reactor(&Limits::desktop());
    fs::write(parts(&home).join(part()), content).expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let addr = listener.local_addr().expect("bound");
    let reader = std::thread::spawn(move || {
        let mut all = [(); 2].map(|()| listener.accept().expect("accepted").0);
        all.each_mut().map(|stream| {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("read");
            bytes
        })
    });
    let begin = |script: &mut Script, n: u32| {
        let stretch = Stretch { file: file(1), offset: 4096, len: 500_000, sealed: n == 2 };
        script.ranges.insert(conn(n), stretch);
        script.push(Output::Connect { conn: conn(n), addr });
    };
    let mut ended = 0;
    run(reactor, vec![open(1, &part())], |script, input| match input {
        Some(Input::FileOpened { .. }) => [1, 2].into_iter().for_each(|n| begin(script, n)),
        Some(Input::Eof { .. }) => {
            ended += 1;
            if ended == 2 {
                script.exit();
            }
        }
        Some(Input::FileFailed { fault, .. }) => panic!("{fault}"),
        Some(input) => on_input(script, input),
        None => {}
    });
    reader.join().expect("ends")
}

#[test]
fn a_part_that_still_grows_is_sent_in_the_open_and_sealed() {
    let content = noise(1 << 20);
    let sent = sent_of_a_part(&content, |script, input| {
        if let Input::Connected { conn, .. } = input {
            script.push(Output::Wake { conn });
            script.push(Output::Shutdown { conn });
        }
    });
    for bytes in sent {
        assert!(bytes == content[4096..504_096], "{} bytes", bytes.len());
    }
}

#[test]
fn a_part_is_read_and_sent_until_the_node_knows_its_final_name() {
    let content = noise(1 << 20);
    let mut connected = Vec::new();
    let (mut read, mut placed) = (Vec::new(), None);
    let sent = sent_of_a_part(&content, |script, input| match input {
        Input::Connected { conn, .. } => {
            connected.push(conn);
            if connected.len() == 2 {
                // Both send in the turn that gives the name, before its answer.
                script.push(Output::ReadFile { file: file(1), offset: 10, len: 1000 });
                script.push(commit(1, "whole"));
                connected.iter().for_each(|&conn| script.push(Output::Wake { conn }));
            }
        }
        Input::FileRead { bytes, .. } => read = bytes.to_vec(),
        Input::FileCommitted { file: id, name, .. } => {
            placed = Some(name);
            // From here on it is nobody's: what is left of it is asked of another file, and so is what comes too late.
            script.push(Output::ReadFile { file: id, offset: 0, len: 1000 });
            for conn in std::mem::take(&mut connected) {
                script.ranges.remove(&conn);
                script.push(Output::Shutdown { conn });
            }
        }
        _ => {}
    });
    assert_eq!(placed.as_deref(), Some("whole"));
    assert!(read.is_empty() || read == content[10..1010], "{} bytes", read.len());
    for bytes in sent {
        assert!(bytes == content[4096..4096 + bytes.len()], "{} bytes", bytes.len());
    }
}

#[test]
fn what_is_no_part_of_ours_is_not_opened() {
    // hostile: 158, 165
    let home = Home::new();
    fs::create_dir_all(parts(&home)).expect("folders");
    let at = |name: &str| parts(&home).join(name);
    fs::write(home.at("outside"), b"mine").expect("a file");
    symlink(home.at("outside"), at("link")).expect("a link");
    fs::hard_link(home.at("outside"), at("hard")).expect("a link");
    fs::create_dir(at("folder")).expect("a folder");
    rustix::fs::mkfifoat(CWD, at("fifo"), Mode::from_raw_mode(0o600)).expect("a fifo");
    fs::write(at("busy"), b"x").expect("a file");
    let busy = fs::File::open(at("busy")).expect("opens");
    rustix::fs::flock(&busy, FlockOperation::NonBlockingLockExclusive).expect("locked");
    let long = "x".repeat(300);
    let cases = [
        ("nothing", Fault::NotFound),
        ("../outside", Fault::NotFound),
        ("/etc/passwd", Fault::NotFound),
        ("", Fault::NotFound),
        (".", Fault::NotFound),
        ("folder/x", Fault::NotFound),
        ("link", Fault::NotRegular),
        ("hard", Fault::NotRegular),
        ("folder", Fault::NotRegular),
        ("fifo", Fault::NotRegular),
        ("busy", Fault::InUse),
        (&long, Fault::NameTooLong),
    ];
    for (name, fault) in cases {
        let failed = vec![Answer::Failed(fault, true)];
        assert_eq!(cycle(&home, vec![open(1, name), sync(1)]).0, failed, "{name}");
        if name != "nothing" {
            assert_eq!(cycle(&home, vec![log(1, name), append(1, b"x")]).0, failed, "{name}");
            let made = cycle(&home, vec![create(1, name, 10)]).0;
            assert!(matches!(made[..], [Answer::Failed(_, true)]), "{name}: {made:?}");
        }
    }
    assert_eq!(fs::read(home.at("outside")).expect("reads"), b"mine");
    // One that this process has open already is in use, too.
    let twice = vec![create(1, &part(), 0), open(2, &part()), log(3, &journal()), log(4, &journal())];
    let seen = cycle(&home, twice).0;
    assert_eq!([&seen[1], &seen[3]], [&Answer::Failed(Fault::InUse, true); 2], "{seen:?}");
}

#[test]
fn parts_and_journals_outlive_the_process_and_v1_leaves_nothing() {
    // hostile: 161 (an orderly end)
    let home = Home::new();
    let begin = vec![create(1, &part(), 100), log(2, &journal()), append(2, b"head"), create(3, V1, 0)];
    let (_, names) = cycle(&home, begin);
    assert_eq!(names, [journal(), part(), V1.to_owned()]);
    assert_eq!(names_in(&parts(&home)), [journal(), part()]);

    let again = vec![open(1, &part()), log(2, &journal()), append(2, b" and more"), sync(1), sync(2)];
    let (seen, _) = cycle(&home, again);
    assert_eq!(seen, [Answer::Opened(100), Answer::Opened(4), Answer::Synced(100), Answer::Synced(13)]);
    assert_eq!(fs::read(parts(&home).join(journal())).expect("reads"), b"head and more");

    let cut = Output::TruncateLog { file: file(2), len: 4 };
    let (_, names) = cycle(&home, vec![log(2, &journal()), cut, close(2), open(1, &part()), close(1)]);
    assert_eq!(names, [journal(), part()]);
    assert_eq!(fs::read(parts(&home).join(journal())).expect("reads"), b"head");
    let mode = fs::metadata(parts(&home).join(journal())).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let end = vec![open(1, &part()), log(2, &journal()), discard(2), discard(1)];
    assert_eq!(cycle(&home, end).1, [""; 0]);
}

#[test]
fn a_part_that_somebody_removed_moved_or_replaced_is_noticed() {
    // hostile: 168
    type Deed = fn(&Home);
    let deeds: [(Deed, &[&str]); 3] = [
        (|home| fs::remove_file(parts(home).join(part())).expect("removed"), &[]),
        (|home| fs::rename(parts(home).join(part()), home.at("bin")).expect("moved"), &[]),
        (
            |home| {
                fs::write(home.at("other"), b"another's").expect("a file");
                fs::rename(home.at("other"), parts(home).join(part())).expect("replaced");
            },
            &["a part"],
        ),
    ];
    for (i, (deed, left)) in deeds.into_iter().enumerate() {
        let home = Home::new();
        let mut seen = Vec::new();
        run(home.reactor(&Limits::desktop()), vec![create(1, &part(), 10), sync(1)], |script, input| {
            match input {
                Some(Input::FileSynced { .. }) if seen.is_empty() => {
                    deed(&home);
                    seen.push(None);
                    script.outputs.extend([sync(1), commit(1, "x"), discard(1), list()]);
                }
                Some(Input::FileSynced { .. }) => seen.push(None),
                Some(Input::FileFailed { fault, fatal, .. }) => seen.push(Some((fault, fatal))),
                Some(Input::Listed { .. }) => script.exit(),
                Some(Input::FileCommitted { .. }) => panic!("{i}: there was nothing to commit"),
                _ => {}
            }
        });
        assert_eq!(seen[1..], [Some((Fault::NotFound, false)); 2], "{i}");
        assert_eq!(names_in(&parts(&home)).len(), left.len(), "{i}: what is another's stays");
        assert!(!home.at("downloads/x").exists());
    }
}

#[test]
fn a_commit_that_fails_keeps_the_part_for_another_one() {
    // hostile: 156, 163
    let home = Home::new();
    let reactor = home.reactor(&Limits::desktop());
    drop(reactor);
    fs::write(home.at("downloads/taken"), b"old").expect("a file");
    rustix::fs::mkfifoat(CWD, home.at("downloads/fifo"), Mode::from_raw_mode(0o600)).expect("a fifo");
    symlink("taken", home.at("downloads/link")).expect("a link");
    let read_only = fs::Permissions::from_mode(0o444);
    fs::set_permissions(home.at("downloads/taken"), read_only).expect("set");
    let mut seen = Vec::new();
    let mut outputs = vec![create(1, &part(), 10)];
    outputs.extend(["../out", "/out", "taken/below"].map(|name| commit(1, name)));
    outputs.extend([create(2, &journal(), 0), commit(2, "fifo"), create(3, V1, 0), commit(3, "link/below")]);
    run(home.reactor(&Limits::desktop()), outputs, |script, input| match input {
        Some(Input::FileFailed { fault, fatal, .. }) => seen.push(format!("{fatal} {fault:?}")),
        Some(Input::FileCommitted { name, .. }) => {
            seen.push(name);
            if seen.len() == 5 {
                script.exit();
            }
        }
        _ => {}
    });
    let expected = ["false NotFound", "false NotFound", "taken (2)/below", "fifo (2)", "link (2)/below"];
    assert_eq!(seen, expected);
    assert_eq!(fs::read(home.at("downloads/taken")).expect("reads"), b"old");
    assert!(home.at("downloads/link").is_symlink());
}

#[test]
fn a_link_in_the_place_of_the_downloads_is_not_followed_and_removed_ones_are_made_again() {
    // hostile: 164
    let home = Home::new();
    let mut placed = None;
    run(home.reactor(&Limits::desktop()), vec![create(1, &part(), 10)], |script, input| match input {
        Some(Input::FileCreated { .. }) => {
            fs::rename(home.at("downloads"), home.at("moved")).expect("moved");
            fs::create_dir(home.at("elsewhere")).expect("a folder");
            symlink(home.at("elsewhere"), home.at("downloads")).expect("a link");
            script.push(log(2, &journal()));
            script.push(sync(1));
            script.push(commit(1, "x"));
        }
        Some(Input::FileCommitted { name, .. }) => {
            placed = Some(name);
            script.exit();
        }
        Some(Input::FileFailed { fault, .. }) => panic!("{fault}"),
        _ => {}
    });
    assert_eq!(placed.as_deref(), Some("x"));
    assert_eq!(names_in(&home.at("elsewhere")), [""; 0]);
    assert_eq!(names_in(&home.at("moved")), [".parts", "x"]);
    assert_eq!(names_in(&home.at("moved/.parts")), [journal()]);

    // Removed with all that was in it: what was under way is lost, what comes is saved.
    let home = Home::new();
    let mut seen = Vec::new();
    run(home.reactor(&Limits::desktop()), vec![create(1, &part(), 10)], |script, input| match input {
        Some(Input::FileCreated { .. }) => {
            fs::remove_dir_all(home.at("downloads")).expect("removed");
            let outputs = [sync(1), commit(1, "x"), create(2, V1, 0), open(3, &part()), log(4, &journal())];
            script.outputs.extend(outputs);
        }
        Some(Input::FileFailed { file: id, fault, fatal }) => seen.push((id, Some((fault, fatal)))),
        Some(Input::FileOpened { file: id, .. }) => {
            seen.push((id, None));
            script.exit();
        }
        _ => {}
    });
    let gone = |n, fatal| (file(n), Some((Fault::NotFound, fatal)));
    assert_eq!(seen, [gone(1, false), gone(1, false), gone(3, true), (file(4), None)]);
    assert_eq!(names_in(&home.at("downloads/.parts")), [journal()], "v1 leaves nothing");
}

#[test]
fn the_index_log_is_synced_like_a_journal_and_a_served_file_is_not() {
    let home = Home::new();
    home.share("f", b"12345");
    let index = Output::OpenLog { file: file(1), log: Log::Index };
    let served = Output::OpenFile { file: file(2), dir: Dir::Shared, name: "f".into() };
    let outputs = vec![index, append(1, b"abc"), sync(1), served, sync(2), sync(3)];
    let expected =
        [Answer::Opened(0), Answer::Synced(3), Answer::Opened(5), Answer::Failed(Fault::NotFound, false)];
    assert_eq!(cycle(&home, outputs).0, expected);
    // A registry has no parts.
    let folders = distrishare::config::Folders { files: None, state: home.at("other") };
    let reactor = distrishare::reactor::Reactor::new(&folders, &Limits::desktop()).expect("a reactor");
    let outputs = vec![create(1, &part(), 1), open(2, &part()), log(3, &journal())];
    assert_eq!(answers(reactor, outputs, 3), [const { Answer::Failed(Fault::NotFound, true) }; 3]);
}

#[test]
fn a_closed_part_is_what_it_was_synced_as_whatever_is_listed_beside_it() {
    let home = Home::new();
    let mut metas: Vec<Meta> = Vec::new();
    let outputs = vec![create(1, &part(), 4096), log(2, &journal()), append(2, b"j"), sync(1), list()];
    run(home.reactor(&Limits::desktop()), outputs, |script, input| match input {
        Some(Input::FileSynced { meta, .. }) => metas.push(meta),
        Some(Input::Listed { entries, .. }) => {
            let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
            assert_eq!(names, [journal(), part()]);
            metas.push(entries[1].meta);
            script.exit();
        }
        _ => {}
    });
    let there = fs::metadata(parts(&home).join(part())).expect("there");
    // Only a listing tells when it was made.
    assert_eq!(metas[0], Meta { born: 0, ..metas[1] });
    assert_eq!((metas[0].size, metas[0].inode), (there.len(), there.ino()));
}
