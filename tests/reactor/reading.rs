//! Files read for the node to look at: behind everything else, but never not at all.

use crate::toys::{Home, LISTENER, any_port, conn, connect, file, noise, run};
use distrishare::config::{CHUNK, Limits};
use distrishare::machine::{Dir, Fault, Input, Meta, Output};
use std::io::{Read, Write};

fn open(n: u32, name: &str) -> Output {
    Output::OpenFile { file: file(n), dir: Dir::Shared, name: name.into() }
}

fn read(n: u32, offset: u64, len: usize) -> Output {
    Output::ReadFile { file: file(n), offset, len }
}

#[test]
fn files_are_read_in_slices_one_beside_the_other() {
    let home = Home::new();
    let limits = Limits::desktop();
    let run_max = limits.run_chunks * CHUNK;
    let contents = [noise((3 << 20) + 5), noise(2 << 20)];
    home.share("0", &contents[0]);
    home.share("1", &contents[1]);
    let (mut got, mut order, mut metas) = ([Vec::new(), Vec::new()], Vec::new(), [Meta::default(); 2]);
    run(home.reactor(&limits), vec![open(0, "0"), open(1, "1")], |script, input| match input {
        Some(Input::FileOpened { file, meta }) => {
            metas[file.0.index as usize] = meta;
            script.push(read(file.0.index, 0, usize::MAX));
        }
        Some(Input::FileRead { file, offset, bytes, meta }) => {
            let n = file.0.index as usize;
            assert_eq!((offset, meta), (got[n].len() as u64, metas[n]));
            assert!(bytes.len() <= run_max);
            got[n].extend_from_slice(bytes);
            order.push(n);
            if bytes.len() == run_max {
                script.push(read(file.0.index, got[n].len() as u64, run_max));
            } else if got.iter().map(Vec::len).eq(contents.iter().map(Vec::len)) {
                script.exit();
            }
        }
        _ => {}
    });
    assert!(got == contents);
    assert!(order[..12].chunks(2).all(|two| two[0] != two[1]), "by turns: {order:?}");
}

#[test]
fn reads_beyond_the_end_of_closed_files_and_of_none() {
    let home = Home::new();
    home.share("short", b"12345");
    let part = Output::CreateFile { file: file(2), name: "v1-0123456789abcdef".into(), reserve: 0 };
    let mut seen = Vec::new();
    std::fs::write(home.at("source"), b"67890").expect("a file");
    let import = Output::Import { file: file(4), source: home.at("source"), name: "copy".into(), max: 9 };
    let outputs = vec![open(1, "short"), part, import, read(4, 0, 1)];
    let mut failed = 0;
    run(home.reactor(&Limits::desktop()), outputs, |script, input| match input {
        Some(Input::FileOpened { .. }) => {
            script.push(read(1, 3, 100));
            script.push(read(1, 5, 100));
            script.push(read(2, 0, 100)); // grows, and has nothing yet
            script.push(read(3, 0, 100)); // nobody knows it
        }
        Some(Input::FileRead { offset, bytes, .. }) => {
            seen.push((offset, bytes.to_vec()));
            if seen.len() == 3 {
                script.push(read(1, 0, 1));
                script.push(Output::CloseFile { file: file(1) });
                script.push(Output::ListInterfaces);
            }
        }
        Some(Input::Interfaces(_)) => script.exit(),
        Some(Input::FileFailed { file: id, fault, fatal }) => {
            // A copy is nothing to read from.
            assert_eq!((id, fault, fatal), (file(4), Fault::NotFound, false));
            failed += 1;
        }
        _ => {}
    });
    assert_eq!((seen, failed), (vec![(3, b"45".to_vec()), (5, Vec::new()), (0, Vec::new())], 1));
}

#[test]
fn what_cannot_be_read_is_an_error_and_not_the_end() {
    let home = Home::new();
    home.share("x", b"12345");
    let mut failed = false;
    run(home.reactor(&Limits::desktop()), vec![open(1, "x")], |script, input| match input {
        Some(Input::FileOpened { .. }) => script.push(read(1, u64::MAX - 1, 100)),
        Some(Input::FileFailed { fatal, .. }) => {
            assert!(!fatal);
            failed = true;
            script.push(read(1, 0, 2));
        }
        Some(Input::FileRead { bytes, .. }) => {
            assert_eq!(bytes, b"12");
            script.exit();
        }
        _ => {}
    });
    assert!(failed);
}

#[test]
fn a_busy_loop_reads_now_and_then() {
    let home = Home::new();
    home.share("x", &noise(8 << 20));
    let limits = Limits { run_chunks: 1, ..Limits::desktop() };
    let mut client = None;
    let (mut reads, mut fed) = (0_u64, 0_u64);
    let listen = Output::Listen { listener: LISTENER, addr: any_port() };
    // A peer that is answered with each turn, and has the next one ready.
    run(home.reactor(&limits), vec![listen, open(1, "x")], |script, input| match input {
        Some(Input::Listening { addr, .. }) => {
            let stream = connect(addr);
            let mut writer = stream.try_clone().expect("cloned");
            client =
                Some((std::thread::spawn(move || while writer.write_all(&[1; 8192]).is_ok() {}), stream));
        }
        None => {
            if fed == 0 {
                script.push(read(1, 0, CHUNK));
            }
            fed += 1;
        }
        Some(Input::FileRead { offset, bytes, .. }) => {
            reads += 1;
            if reads == 50 {
                script.push(Output::Close { conn: conn(101), reset: true });
                script.exit();
            } else {
                script.push(read(1, offset + bytes.len() as u64, CHUNK));
            }
        }
        _ => {}
    });
    let (thread, mut stream) = client.expect("connected");
    thread.join().expect("ends");
    drop(stream.read(&mut [0; 1]));
    println!("{reads} slices beside {fed} of a connection");
    assert!(reads == 50 && fed > 0);
}
