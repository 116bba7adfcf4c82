#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| distrishare_fuzz::run("part_journal", data));
