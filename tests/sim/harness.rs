//! Runs a scenario for many seeds, each of them twice, and says how to see a failure again.
//!
//! `DS_SIM_SEED=n` runs one seed and prints its trace hash; `DS_SIM_LINES=n` has a failure show so many last lines.
//! `DS_SIM_SEEDS=n` runs n seeds more of each scenario. `DS_SIM_REPORT=file` has every scenario append a line to that file: its name,
//! seeds, nodes and simulated seconds over all of them (each seed counted once, although it runs twice), and last the sums
//! of all lines that are there by then.
//!
//! ```text
//! #[test]
//! fn two_peers_move_a_file() {
//!     scenario("two_peers_move_a_file", 50, |world| {
//!         let lan = world.lan();
//!         let hosts = [world.host(&[lan]), world.host(&[lan])];
//!         let peers = hosts.map(|host| world.node(host, |seed| Box::new(Peer::new(config(seed)))));
//!         peers.map(|peer| world.start(peer));
//!         world.share(peers[0], "a.bin", Content::generated(1, 100_000));
//!         world.set_faults(Faults::draw(world.env.seed));
//!         world.chaos(Duration::from_secs(60));                     // first trouble …
//!         world.run_for(Duration::from_secs(60));
//!         world.heal(&[]);                                          // … then none, and all must come right
//!         let from = world.addr(hosts[0], 9000);
//!         world.type_line(peers[1], &format!("get {} {} a.bin", from.ip(), from.port()));
//!         assert!(world.run_until(Duration::from_secs(60), |world| world.has_download(peers[1], "a.bin")));
//!     });
//! }
//! ```

use crate::trace::Trace;
use crate::world::World;
use std::fmt;
use std::io::Write;
use std::iter::StepBy;
use std::ops::RangeFrom;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) hash: u64,
    pub(crate) steps: u64,
    /// How far the world's clock came.
    pub(crate) time: Duration,
    /// How many there were.
    pub(crate) nodes: usize,
}

/// A run that broke something, with all one needs to see it again.
#[derive(Debug)]
pub(crate) struct Failure {
    scenario: String,
    seed: u64,
    step: u64,
    time: Duration,
    pub(crate) message: String,
    lines: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { scenario, seed, step, time, message, lines } = self;
        writeln!(
            f,
            "scenario `{scenario}`, seed {seed}, step {step}, after {time:?} of its world: {message}"
        )?;
        writeln!(f, "the last things that happened:")?;
        f.write_str(lines)?;
        write!(f, "again: DS_SIM_SEED={seed} cargo test --test sim {scenario}")
    }
}

/// Runs `body` for `seeds` seeds. `name` is the test's own, so that the printed command finds it.
pub(crate) fn scenario(name: &str, seeds: u64, body: impl Fn(&mut World)) {
    if let Some(seed) = number("DS_SIM_SEED") {
        match run_twice(name, seed, true, &body) {
            Ok(Report { hash, steps, time, .. }) => {
                // Straight to the stream, since what `println!` says in a test that passes is not shown; on a line of its own.
                let line = format!("\ntrace {hash:016x} {name} ({steps} steps, {time:?})\n");
                std::io::stdout().write_all(line.as_bytes()).expect("somebody reads it");
            }
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    let (mut nodes, mut time) = (0, Duration::ZERO);
    let seeds = seeds + number("DS_SIM_SEEDS").unwrap_or(0);
    for seed in 0..seeds {
        match run_twice(name, seed, false, &body) {
            Ok(report) => {
                nodes += report.nodes as u64;
                time += report.time;
            }
            Err(failure) => panic!("{failure}"),
        }
    }
    report(name, &Sums { seeds, nodes, seconds: time.as_secs() });
}

/// What runs came to in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) seeds: u64,
    pub(crate) nodes: u64,
    pub(crate) seconds: u64,
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sums { seeds, nodes, seconds } = self;
        write!(f, "{seeds} seeds, {nodes} nodes, {seconds} simulated seconds")
    }
}

/// Prints what a scenario came to, and adds it to the report if there is to be one.
#[allow(clippy::disallowed_methods)]
fn report(name: &str, sums: &Sums) {
    println!("{name}: {sums}");
    let Ok(path) = std::env::var("DS_SIM_REPORT") else { return };
    // Other scenarios write at the same time.
    let alone = REPORT.lock().unwrap_or_else(PoisonError::into_inner);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(&path, added(&old, name, sums)).unwrap_or_else(|e| panic!("DS_SIM_REPORT={path}: {e}"));
    drop(alone);
}

static REPORT: Mutex<()> = Mutex::new(());

/// A report with one more line, and with the sums at its end.
pub(crate) fn added(old: &str, name: &str, sums: &Sums) -> String {
    let mut lines: Vec<String> =
        old.lines().filter(|line| !line.starts_with(ALL)).map(str::to_owned).collect();
    lines.push(format!("{name}: {sums}"));
    let mut all = Sums::default();
    for line in &lines {
        let numbers = line.rsplit(": ").next().unwrap_or("").split(' ').filter_map(|word| word.parse().ok());
        let [seeds, nodes, seconds] = numbers.collect::<Vec<u64>>()[..] else { continue };
        all.seeds += seeds;
        all.nodes += nodes;
        all.seconds += seconds;
    }
    let (count, hours) = (lines.len(), all.seconds as f64 / 3600.0);
    lines.push(format!("{ALL} {count} scenarios: {all} ({hours:.1} hours)\n"));
    lines.join("\n")
}

/// How the last line of a report begins.
const ALL: &str = "in all";

/// Which of many steps a scene that breaks off at each of them looks at for this seed: every third, from one that the seed
/// says, so that three seeds have seen all.
pub(crate) fn every_third(seed: u64) -> StepBy<RangeFrom<u64>> {
    (1 + seed % 3..).step_by(3)
}

/// Runs one seed twice: the same things must happen.
pub(crate) fn run_twice(
    name: &str,
    seed: u64,
    detail: bool,
    body: impl Fn(&mut World),
) -> Result<Report, Box<Failure>> {
    let (first, _) = run(name, seed, detail, &body)?;
    let (second, trace) = run(name, seed, detail, &body)?;
    if first == second {
        return Ok(first);
    }
    Err(Box::new(Failure {
        scenario: name.to_owned(),
        seed,
        step: second.steps,
        time: second.time,
        message: format!("two runs of one seed differ: {first:x?} and {second:x?}"),
        lines: trace.to_string(),
    }))
}

/// Runs one seed once.
pub(crate) fn run(
    name: &str,
    seed: u64,
    detail: bool,
    body: impl Fn(&mut World),
) -> Result<(Report, Trace), Box<Failure>> {
    let mut world = World::new(seed, detail);
    let ended = catch_unwind(AssertUnwindSafe(|| body(&mut world)));
    let (steps, time) = (world.env.trace.steps(), world.now());
    match ended {
        Ok(()) => {
            let nodes = world.nodes.len();
            Ok((Report { hash: world.env.trace.hash(), steps, time, nodes }, world.env.trace))
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Box::new(Failure {
                scenario: name.to_owned(),
                seed,
                step: steps,
                time,
                message: text.unwrap_or("a panic without words").to_owned(),
                lines: world.env.trace.to_string(),
            }))
        }
    }
}

/// How fast a scenario goes: events, and seconds of the real world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    pub(crate) steps: u64,
    pub(crate) seconds: f64,
    pub(crate) simulated: Duration,
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Speed { steps, seconds, simulated } = self;
        let rate = *steps as f64 / seconds;
        write!(f, "{simulated:?} of the world in {seconds:.2} s: {steps} events, {rate:.0} a second")
    }
}

/// Measures one run. The only place of the simulator that looks at a real clock.
#[allow(clippy::disallowed_methods)]
pub(crate) fn measure(name: &str, seed: u64, body: impl Fn(&mut World)) -> Speed {
    let start = std::time::Instant::now();
    let report = run(name, seed, false, body).unwrap_or_else(|failure| panic!("{failure}")).0;
    Speed { steps: report.steps, seconds: start.elapsed().as_secs_f64(), simulated: report.time }
}

#[allow(clippy::disallowed_methods)]
pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|e| panic!("{variable}={text}: {e}")))
}
