//! What the fuzzer drives is the same as what the normal tests replay.

#[allow(dead_code)] // the number of mutations is for the replay alone
#[path = "../../tests/fuzz/targets/mod.rs"]
mod targets;

/// Runs the target of that name.
pub fn run(name: &str, data: &[u8]) {
    let target = targets::TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    (target.run)(data);
}
