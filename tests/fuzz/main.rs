//! The fuzz targets in the normal tests: every kept input, and a fixed number of mutations of each, drawn from its name.
//! The fuzzer itself is in `fuzz/`, which says how to run it; the inputs are in `fuzz/corpus/`, a folder a target.
//! `DS_BLESS=1 cargo test --test fuzz` writes those that are made by `seeds.rs` anew.

mod mutate;
mod seeds;
#[path = "../support/mod.rs"]
mod support;
mod targets;

use mutate::Mutator;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use targets::{TARGETS, Target};

/// Of one target: so that the repository stays small and the normal tests quick.
const FILES_MAX: usize = 60;
const BYTES_MAX: usize = 64 << 10;

fn corpus(target: &str) -> PathBuf {
    support::root().join("fuzz/corpus").join(target)
}

/// Name and content of every kept input, in the order of the names.
fn inputs(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = corpus(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry of a folder of ours").path());
    paths
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display())))
        })
        .collect()
}

/// Runs a target; a failure says how to see it again.
fn run(target: &Target, input: &[u8], from: &str) {
    let run = target.run;
    let Err(why) = catch_unwind(|| run(input)) else { return };
    let why = why.downcast_ref::<String>().cloned().or(why.downcast_ref::<&str>().map(|s| (*s).to_owned()));
    let octal = input.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:03o}");
        text
    });
    let hex = input.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let name = target.name;
    panic!(
        "the fuzz target `{name}` fails for {from}:\n{}\ninput, in hex: {hex}\nto keep it and see it again:\n\
         printf '{octal}' >fuzz/corpus/{name}/found && cargo test --test fuzz {name}\n",
        why.unwrap_or_default()
    );
}

#[track_caller]
fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    run(target, b"", "nothing");
    let inputs = inputs(name);
    let all: Vec<&[u8]> = inputs.values().map(Vec::as_slice).collect();
    for (file, input) in &inputs {
        run(target, input, file);
        let mut mutator = Mutator::new(file, &all);
        for n in 0..target.mutations {
            run(target, &mutator.mutated(input), &format!("mutation {n} of {file}"));
        }
    }
}

/// A test a target, so that they run side by side, and a list of those that have one.
macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*
        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

replays! {
    announce announcement command group_line handshake handshake_pair identity index_log message part_journal preamble query
    record record_altered registry_answer registry_file registry_request text v1_answer v1_request value_list
}

#[test]
fn every_target_has_a_test_a_binary_and_a_corpus_of_its_own() {
    let manifest = fs::read_to_string(support::root().join("fuzz/Cargo.toml")).expect("fuzz/Cargo.toml");
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(REPLAYED, names, "one test a target, in the order of the table");
    for name in &names {
        let bin = format!("[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&bin), "fuzz/Cargo.toml does not say:\n{bin}");
        let source = support::root().join(format!("fuzz/fuzz_targets/{name}.rs"));
        let source = fs::read_to_string(&source).unwrap_or_else(|why| panic!("{}: {why}", source.display()));
        assert!(source.contains(&format!("run(\"{name}\", data)")), "fuzz_targets/{name}.rs runs another");
        let inputs = inputs(name);
        let bytes: usize = inputs.values().map(Vec::len).sum();
        assert!((1..=FILES_MAX).contains(&inputs.len()), "{name}: {} files, 1 to {FILES_MAX}", inputs.len());
        assert!(bytes <= BYTES_MAX, "{name}: {bytes} bytes, at most {BYTES_MAX}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), names.len(), "fuzz/Cargo.toml has another target");
    let folders = fs::read_dir(support::root().join("fuzz/corpus")).expect("the corpora").count();
    assert_eq!(folders, names.len(), "fuzz/corpus has a folder of no target");
}

#[test]
fn the_seeds_are_in_the_corpora() {
    // Tests read their environment; the core never does.
    #[allow(clippy::disallowed_methods)]
    let bless = std::env::var_os("DS_BLESS").is_some();
    for (target, name, bytes) in seeds::all() {
        let path = corpus(target).join(name);
        if bless {
            fs::create_dir_all(corpus(target)).expect("a folder for the corpus");
            fs::write(&path, &bytes).expect("a corpus can be written");
        }
        assert!(
            fs::read(&path).is_ok_and(|kept| kept == bytes),
            "{} is not what it should be: run `DS_BLESS=1 cargo test --test fuzz`",
            path.display()
        );
    }
}

#[test]
fn a_failure_names_target_and_input() {
    fn fails(data: &[u8]) {
        assert!(data != b"a\"", "a promise");
    }
    let target = Target { name: "toy", run: fails, mutations: 0 };
    run(&target, b"a", "a file");
    let why = catch_unwind(|| run(&target, b"a\"", "a file")).expect_err("it fails");
    let why = why.downcast_ref::<String>().expect("a text");
    for part in
        ["`toy` fails for a file", "a promise", "in hex: 6122", "printf '\\141\\042' >fuzz/corpus/toy/"]
    {
        assert!(why.contains(part), "{part}: {why}");
    }
}
