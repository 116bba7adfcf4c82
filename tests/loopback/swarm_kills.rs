//! A download whose node is killed again and again, and goes on by itself each time.

use crate::place::{MIB, Node, Place, large, registry, same};
use distrishare::proto::part_journal::Reader;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// What may be lost: a batch that was not committed yet, and pieces that are not whole.
const LOST_MAX: u64 = (4 + 4) * MIB as u64;

/// Bytes that the journal claims. Each of them is what it should be.
fn claimed(place: &Place) -> u64 {
    let names = place.names("bob/downloads/.parts");
    let Some(journal) = names.iter().find(|name| name.ends_with(".jnl")) else { return 0 };
    let folder = place.path("bob/downloads/.parts");
    let mut reader = Reader::new();
    reader.push(&fs::read(folder.join(journal)).expect("ours"));
    assert_eq!(reader.damage(), None);
    let part = File::open(folder.join(journal.replace(".jnl", ".part"))).expect("with its journal");
    let whole = File::open(place.path("ann/shared_files/large")).expect("ours");
    let (mut x, mut y) = (vec![0; MIB], vec![0; MIB]);
    let mut claimed = 0;
    for piece in reader.claims().flatten() {
        part.read_exact_at(&mut x, piece * MIB as u64).expect("as long");
        whole.read_exact_at(&mut y, piece * MIB as u64).expect("as long");
        assert!(x == y, "piece {piece} is claimed, and has other bytes");
        claimed += MIB as u64;
    }
    claimed
}

/// What a node told until it was killed or done.
#[derive(Default)]
struct Life {
    /// Bytes that were there at last.
    had: u64,
    downloaded: Option<Value>,
}

/// Kills it after this time, unless it is done before.
fn live(node: &mut Node, time: Duration) -> Life {
    let pid = node.pid();
    let (over, is_over) = channel::<()>();
    let killer = thread::spawn(move || {
        if is_over.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
            kill_process(pid, Signal::KILL).expect("nobody waited for it yet");
        }
    });
    let mut life = Life::default();
    while let Some(line) = node.console.program.next_line() {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        assert_ne!(event["event"], "blamed", "{event}");
        assert_ne!(event["event"], "error", "{event}");
        match event["event"].as_str() {
            Some("progress") => life.had = event["bytes"].as_u64().expect("a number"),
            Some("downloaded") => life.downloaded = Some(event),
            _ => {}
        }
        if life.downloaded.is_some() {
            break;
        }
    }
    drop(over);
    killer.join().expect("it slept");
    life
}

#[test]
fn killed_at_any_time_it_keeps_what_it_had_and_goes_on_by_itself() {
    // hostile: 161
    let Some(place) = Place::new("a kill loop") else { return };
    let kills = std::env::var("DS_KILLS").ok().map(|n| n.parse::<u32>().expect("DS_KILLS is a number"));
    let (kills, mib, rate, longest) = match kills {
        Some(kills) => (kills, 768, "10MB/s", 2500),
        // The first five lives last 3.7 s together: even where starting takes no time they cannot fetch so much.
        None => (10, 144, "30MB/s", 1200),
    };
    let mut chance = fastrand::Rng::with_seed(161);
    large(&place, "ann/shared_files/large", mib, 161);
    let (_registry, at) = registry(&place);
    let mut ann = place.node("ann", &["--bootstrap", &at, "--limit-up", rate]);
    ann.run("bootstrap");
    ann.has_hashed(1);
    let start = |wanted: bool| {
        let mut node = place.node("bob", &["--bootstrap", &at]);
        node.run("bootstrap");
        if wanted {
            node.console.program.tell(&format!("get 127.0.0.1 {} large", ann.port));
        }
        node
    };
    let (mut kept, mut killed, mut worst) = (0, 0, 0);
    let done = loop {
        let time = if killed < kills { chance.u64(50..longest) } else { 600_000 };
        let mut bob = start(kept == 0);
        let life = live(&mut bob, Duration::from_millis(time));
        drop(bob);
        if let Some(done) = life.downloaded {
            break done;
        }
        killed += 1;
        assert_eq!(place.names("bob/downloads"), [".parts"], "nothing half done");
        let now = claimed(&place);
        eprintln!(
            "{killed}: {time} ms, had {} MiB, kept {} MiB, before {}",
            life.had >> 20,
            now >> 20,
            kept >> 20
        );
        assert!(now >= kept, "{now} bytes are kept, {kept} were");
        assert!(now + LOST_MAX >= life.had, "of {} bytes {now} are kept", life.had);
        worst = worst.max(life.had.saturating_sub(now));
        kept = now;
    };
    eprintln!("{killed} kills; {worst} bytes lost at most; {} resumed", done["resumed"]);
    assert!(killed >= kills.min(5), "killed only {killed} times, and then it was done");
    assert_eq!(done["resumed"], kept, "{done}");
    same(&place, "ann/shared_files/large", "bob/downloads/large");
    assert_eq!(place.names("bob/downloads"), [".parts", "large"]);
    assert_eq!(place.names("bob/downloads/.parts"), [""; 0]);
}
