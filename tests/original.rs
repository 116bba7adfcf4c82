//! The model of the original's program (`tests/original`) keeps what WIRE_V1 promises: its own tests pass. Where it
//! meets our programs, the tests of those programs drive it.

mod support;

use std::process::Command;
use std::time::Duration;

#[test]
fn the_model_of_the_original_passes_its_own_tests() {
    if !support::runs("python3", "--version") {
        return support::skip("original", "python3 is not installed");
    }
    let mut command = Command::new("python3");
    command.args(["-B", "-m", "unittest", "discover", "-s", "tests/original"]).current_dir(support::root());
    let (passed, out, err) = support::run(&mut command, Duration::from_secs(120));
    assert!(passed, "{out}\n{err}");
}
