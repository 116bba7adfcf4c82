//! What many of a thing cost: memory of silent connections, of stalled downloads, of idle sessions and of files in the
//! index; how long a small question takes beside many downloads, and how long among many files. Prints a few lines; no criterion, since nothing here is a time to be repeated.

// A bench reads clocks, uses threads and sees its arguments.
#![allow(clippy::disallowed_methods)]

#[path = "support/mod.rs"]
mod support;

use distrishare::config::{CHUNK, Crypto, Limits, Secret, V1_DEFAULT_SECRET};
use distrishare::machine::{Entry, Fault, LeftOut, ListEnd, Meta};
use distrishare::node::index::{Ask, Index, Log};
use distrishare::proto::content::Root;
use distrishare::proto::v1::{FOUND, Request, encode_request};
use distrishare::proto::v2::message::DATA_HEAD;
use distrishare::proto::v2::record::{HEAD, TAG};
use distrishare::reactor::raise_descriptor_limit;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::session::{Session, file_name, fill};
use support::{Node, noise};

const SILENT: usize = 5000;
const STALLED: usize = 200;
const BULK: usize = 100;
const QUESTIONS: usize = 500;
const SESSIONS: usize = 1000;
const SEALED: usize = 20;
const FILES: usize = 100_000;

fn main() {
    // `cargo test --benches` only wants to see that it builds and starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    raise_descriptor_limit();
    indexed();
    sessions();
    stalled();
    silent();
    for (suite, aes) in [("AES-256-GCM", true), ("ChaCha20-Poly1305", false)] {
        beside_sealed(suite, aes);
    }
    among_files();
    for (name, quantum) in [("256 KiB", 256 << 10), ("1 MiB", 1 << 20), ("none", usize::MAX)] {
        let limits = Limits { bulk_quantum: quantum, ..patient() };
        beside_bulk(&format!("polls after {name}"), &limits);
    }
}

/// Limits that let everybody in and wait for them.
fn patient() -> Limits {
    let all = 20_000;
    Limits {
        conns: all,
        unauth: all,
        request_deadline: Duration::from_secs(600),
        drain_interval: Duration::from_secs(600),
        ..Limits::desktop()
    }
}

/// Memory of this process in KiB. The clients' sockets live in it, but hold no memory of the process's own.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn connect(node: &Node) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, node.port)).expect("connects")
}

fn ask(node: &Node, request: &Request) -> TcpStream {
    let mut stream = connect(node);
    stream.write_all(&encode_request(request, &Secret::new(V1_DEFAULT_SECRET))).expect("sent");
    stream
}

fn download(node: &Node) -> TcpStream {
    ask(node, &Request::Download { name: "file.bin".to_owned() })
}

/// The time from dial to answer.
fn search(node: &Node) -> Duration {
    let start = Instant::now();
    let mut answer = String::new();
    ask(node, &Request::Search { name: "file.bin".to_owned() })
        .read_to_string(&mut answer)
        .expect("answered");
    assert_eq!(answer, FOUND);
    start.elapsed()
}

fn percentiles(mut took: Vec<Duration>) -> String {
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    format!("p50 {:?}, p99 {:?}, worst {:?}", at(50), at(99), at(100))
}

fn silent() {
    let node = Node::start(&patient(), None);
    node.share("file.bin", b"content");
    search(&node);
    let before = resident();
    let held: Vec<TcpStream> = (0..SILENT).map(|_| connect(&node)).collect();
    let took = (0..QUESTIONS).map(|_| search(&node)).collect();
    let each = (resident() - before) * 1024 / SILENT as u64;
    println!("{SILENT} silent connections: {each} bytes each; a search beside them: {}", percentiles(took));
    drop(held);
}

fn stalled() {
    let node = Node::start(&patient(), None);
    node.share("file.bin", &noise(16 << 20));
    search(&node);
    let before = resident();
    let held: Vec<TcpStream> = (0..STALLED).map(|_| download(&node)).collect();
    thread::sleep(Duration::from_secs(2));
    let each = (resident() - before) * 1024 / STALLED as u64;
    println!("{STALLED} stalled downloads: {each} bytes each");
    drop(held);
}

/// Sessions on which nothing is said. Their other ends are sockets and nothing else.
fn sessions() {
    let node = Node::start(&patient(), None);
    // What handshakes leave behind at this end is there before, too.
    drop((0..SESSIONS / 10).map(|n| Session::dial(node.port, n, true)).collect::<Vec<_>>());
    let before = resident();
    let held: Vec<TcpStream> =
        (0..SESSIONS).map(|n| Session::dial(node.port, SESSIONS + n, true).stream).collect();
    let mut asker = Session::dial(node.port, 2 * SESSIONS, true);
    let took = (0..QUESTIONS).map(|_| timed(&mut asker, "file.bin").0).collect();
    let each = (resident() - before) * 1024 / SESSIONS as u64;
    println!("{SESSIONS} idle sessions: {each} bytes each; a search beside them: {}", percentiles(took));
    drop(held);
}

/// Files in the index, hashed, and nothing asked of them.
fn indexed() {
    let (mut index, now) = (Index::new(&Limits::desktop()), distrishare::time::Instant::ZERO);
    index.start(now);
    index.log_failed(now, Log::Kept, Fault::Denied, true);
    let before = resident();
    let meta = |inode| Meta { size: 8, mtime: 1, device: 1, inode, ..Meta::default() };
    let mut names = 0;
    for part in 0..FILES / 256 {
        let entry = |i| Entry { name: file_name(i), meta: meta(i as u64) };
        let entries: Vec<Entry> = (part * 256..(part + 1) * 256).map(entry).collect();
        names += entries.iter().map(|entry| entry.name.len() as u64).sum::<u64>();
        index.listed(now, &entries, &ListEnd::More);
    }
    index.listed(now, &[], &ListEnd::Done(LeftOut::default()));
    let (count, mut opened) = (FILES / 256 * 256, 0);
    while index.progress().hashed_files < count {
        match index.poll_output() {
            Some(Ask::Open { name }) => {
                let inode = name.get(21..27).and_then(|n| n.parse().ok()).unwrap_or(0);
                opened = inode;
                index.opened(now, meta(inode));
            }
            Some(Ask::Read { offset, .. }) => {
                let bytes = opened.to_le_bytes();
                let left = bytes.get(offset as usize..).unwrap_or_default();
                index.read(now, offset, left, meta(opened));
            }
            Some(_) => {}
            None => {
                let due = index.poll_timeout().expect("it goes on").0;
                index.timeout(due);
            }
        }
    }
    let each = ((resident() - before) * 1024).saturating_sub(names) / count as u64;
    println!("{count} files in the index: {each} bytes each beside their names");
}

/// A node with many files, asked over a session.
fn among_files() {
    let mut node = Node::start_as(&patient(), None, |config| fill(&config.folders.shared, FILES));
    node.hashed(FILES);
    let mut asker = Session::dial(node.port, 1, true);
    for query in ["song 099999", "band many", "band many -song", "ext:ogg size>20", "Song*77?of*"] {
        let before = node.cpu();
        let (mut took, mut files) = (Vec::new(), 0);
        for _ in 0..QUESTIONS / 2 {
            let (time, found) = timed(&mut asker, query);
            took.push(time);
            files = found;
        }
        let cpu = (node.cpu() - before) / (QUESTIONS / 2) as u32;
        println!(
            "`{query}` among {FILES} files, over a session: {files} told, {}; CPU {cpu:?}",
            percentiles(took)
        );
    }
}

fn timed(asker: &mut Session, query: &str) -> (Duration, usize) {
    let start = Instant::now();
    let found = asker.search(query, 256);
    (start.elapsed(), found)
}

/// A search on a session of its own while others download over theirs.
fn beside_sealed(suite: &str, aes: bool) {
    let content = noise(64 << 20);
    let mut node = Node::start_as(&patient(), None, |config| {
        config.crypto = Crypto::Real { aes };
        std::fs::create_dir_all(&config.folders.shared).expect("made");
        std::fs::write(config.folders.shared.join("file.bin"), &content).expect("written");
    });
    node.hashed(1);
    let mut asker = Session::dial(node.port, 1, true);
    let root = asker.root_of("file.bin");
    let alone = (0..QUESTIONS).map(|_| timed(&mut asker, "file.bin").0).collect();
    println!("a search on a session, {suite}, alone: {}", percentiles(alone));
    let stop = Arc::new(AtomicBool::new(false));
    let total = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..SEALED)
        .map(|n| {
            let (stop, total, port) = (Arc::clone(&stop), Arc::clone(&total), node.port);
            thread::spawn(move || read_sealed(Session::dial(port, 100 + n, true), root, &stop, &total))
        })
        .collect();
    thread::sleep(Duration::from_secs(1));
    let (start, before) = (Instant::now(), total.load(Ordering::Relaxed));
    let took = (0..QUESTIONS)
        .map(|_| {
            thread::sleep(Duration::from_millis(2));
            timed(&mut asker, "file.bin").0
        })
        .collect();
    let rate = (total.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("the same beside {SEALED} sealed downloads: {}; bulk {rate:.0} MB/s", percentiles(took));
    stop.store(true, Ordering::Relaxed);
    drop(node);
    for reader in readers {
        reader.join().expect("ends");
    }
}

/// Downloads the file again and again over a session and throws the records away as they came.
fn read_sealed(mut session: Session, root: Root, stop: &AtomicBool, total: &AtomicU64) {
    const PIECE: u64 = 1 << 20;
    const RECORDS: usize = (PIECE as usize) / (16 * CHUNK);
    let whole = PIECE as usize + RECORDS * (HEAD + DATA_HEAD + TAG);
    let mut buffer = vec![0; 64 << 10];
    let (mut asked, mut read) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        while asked < read / whole as u64 + 4 {
            session.get(root, asked % 64 * PIECE, PIECE);
            asked += 1;
        }
        match session.stream.read(&mut buffer) {
            Ok(n @ 1..) => {
                read += n as u64;
                total.fetch_add(n as u64, Ordering::Relaxed);
            }
            _ => return,
        }
    }
}

fn beside_bulk(name: &str, limits: &Limits) {
    let node = Node::start(limits, None);
    node.share("file.bin", &noise(64 << 20));
    let stop = Arc::new(AtomicBool::new(false));
    let total = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..BULK)
        .map(|_| {
            let (stop, total, port) = (Arc::clone(&stop), Arc::clone(&total), node.port);
            thread::spawn(move || read_on(port, &stop, &total))
        })
        .collect();
    thread::sleep(Duration::from_secs(1));
    let (start, before) = (Instant::now(), total.load(Ordering::Relaxed));
    let took = (0..QUESTIONS)
        .map(|_| {
            thread::sleep(Duration::from_millis(2));
            search(&node)
        })
        .collect();
    let rate = (total.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("a search beside {BULK} downloads, {name}: {}; bulk {rate:.0} MB/s", percentiles(took));
    stop.store(true, Ordering::Relaxed);
    drop(node);
    for reader in readers {
        reader.join().expect("ends");
    }
}

/// Downloads the file again and again and throws it away.
fn read_on(port: u16, stop: &AtomicBool, total: &AtomicU64) {
    let request =
        encode_request(&Request::Download { name: "file.bin".to_owned() }, &Secret::new(V1_DEFAULT_SECRET));
    let mut buffer = vec![0; 64 << 10];
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
        if stream.write_all(&request).is_err() {
            return;
        }
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            total.fetch_add(n as u64, Ordering::Relaxed);
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}
