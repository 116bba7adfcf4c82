//! The rules of the house as a test: who may name whom, how long things get, what must not stand in the code, and that
//! the pages tell the truth. Each checker has samples that it must find, beside it.

mod imports;
mod lex;
mod pages;
mod rooms;
mod sources;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Every file below `folder` with one of these endings: its path from the project's folder and its text.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let root = support::root();
    let (mut found, mut folders) = (Vec::new(), vec![root.join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("a folder of ours").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| endings.iter().any(|known| end == *known)) {
                let name = path.strip_prefix(&root).expect("below it").to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
                found.push((name, text));
            }
        }
    }
    found.sort();
    found
}

fn page(name: &str) -> String {
    fs::read_to_string(support::root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[track_caller]
fn report(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn each_part_names_only_what_it_may() {
    let manifest = page("Cargo.toml");
    let crates: Vec<String> =
        pages::dependencies(&manifest).iter().map(|name| name.replace('-', "_")).collect();
    let mut found = Vec::new();
    for (path, text) in files("src", &["rs"]).iter().filter(|(path, _)| !is_test(path)) {
        let (code, _) = lex::without_tests(&lex::code_only(text));
        found.extend(imports::violations(path, &code, &crates));
    }
    report(&found);
}

#[test]
fn only_the_router_is_the_node() {
    let sources: Vec<(String, String)> = files("src", &["rs"])
        .into_iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| (path, lex::code_only(&text)))
        .collect();
    report(&rooms::violations(&sources));
}

#[test]
fn each_source_keeps_the_rules() {
    let mut found = Vec::new();
    for (path, text) in files("src", &["rs"]) {
        found.extend(if is_test(&path) {
            sources::everywhere(&path, &text)
        } else {
            sources::product(&path, &text)
        });
    }
    let elsewhere = ["tests", "benches", "fuzz/fuzz_targets"];
    for (path, text) in elsewhere.iter().flat_map(|folder| files(folder, &["rs", "py", "sh"])) {
        found.extend(sources::everywhere(&path, &text));
    }
    report(&found);
}

/// A file that is tests altogether, kept beside what it tests.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[test]
fn the_table_of_hostile_cases_is_what_the_sources_name() {
    let (mut table, mut found) = (BTreeMap::new(), Vec::new());
    for (path, text) in ["src", "tests"].iter().flat_map(|folder| files(folder, &["rs", "py", "txt", "sh"])) {
        found.extend(sources::hostile(&path, &text, &mut table));
    }
    report(&found);
    let made = sources::hostile_table(&table);
    let at = support::root().join("tests/hostile.txt");
    // Tests read their environment; the core never does.
    #[allow(clippy::disallowed_methods)]
    if std::env::var_os("DS_BLESS").is_some() {
        fs::write(&at, made).expect("tests/hostile.txt can be written");
    } else if fs::read_to_string(&at).unwrap_or_default() != made {
        panic!("tests/hostile.txt is not what the sources name: run `DS_BLESS=1 cargo test --test tidy`");
    }
}

#[test]
fn the_pages_tell_the_truth() {
    let root = support::root();
    let architecture = page("ARCHITECTURE.md");
    let paths: Vec<String> = files("src", &["rs"]).into_iter().map(|(path, _)| path).collect();
    let mut found = pages::code_map(&architecture, &paths, |name| root.join(name).exists());
    found.extend(pages::reasons(&architecture, &page("Cargo.toml")));
    let marked = support::marked_commands(&page("README.md"));
    found
        .extend(pages::commands(&marked, |script: &str| pages::is_executable(&root.join(Path::new(script)))));
    report(&found);
}
