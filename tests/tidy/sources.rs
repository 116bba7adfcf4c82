//! The rules of each source file by itself: lengths, words that must not stand there, and calls that must say why they
//! cannot fail. Also the list of hostile cases that the files name.

use crate::lex::{code_only, functions, is_word, without_tests};
use std::collections::{BTreeMap, BTreeSet};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
const BIN_LINES: usize = 40;
/// Cases of hostile input and faults that the project has numbered.
const CASES: std::ops::RangeInclusive<u32> = 1..=206;

/// How a comment begins that says why an `unwrap` or `expect` cannot fail: the value is kept by this very code, was
/// checked just above, or is a constant.
const REASONS: [&str; 3] = ["// own state:", "// checked:", "// constant:"];

/// The rules of a file under `src`.
pub(crate) fn product(path: &str, text: &str) -> Vec<String> {
    let (code, test_lines) = without_tests(&code_only(text));
    let mut found = everywhere(path, text);
    let lines = text.lines().count() - test_lines;
    if lines > FILE_LINES {
        found
            .push(format!("{path}: {lines} lines without its tests, at most {FILE_LINES}: split it by role"));
    }
    if path.starts_with("src/bin/") && lines >= BIN_LINES {
        found.push(format!(
            "{path}: {lines} lines; a binary has under {BIN_LINES}: options, one call, a status"
        ));
    }
    for function in functions(&code).iter().filter(|function| function.lines > FUNCTION_LINES) {
        let (name, line, lines) = (&function.name, function.line, function.lines);
        found.push(format!("{path}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES}"));
    }
    found.extend(unreasoned(path, text, &code));
    found
}

/// The rules of every file of code: no notes to ourselves, no `unsafe`.
pub(crate) fn everywhere(path: &str, text: &str) -> Vec<String> {
    // Put together here so that this file does not find itself.
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let calls = [concat!("todo", "!"), concat!("unimplemented", "!")];
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let said =
            notes.iter().find(|word| has_word(line, word)).or(calls.iter().find(|c| line.contains(*c)));
        if let Some(word) = said {
            found.push(format!(
                "{path}:{}: `{word}`: do it now, or say in ARCHITECTURE.md what is missing",
                n + 1
            ));
        }
    }
    if path.ends_with(".rs") {
        for (n, line) in code_only(text).lines().enumerate() {
            if has_word(line, "unsafe") {
                found.push(format!("{path}:{}: `unsafe`: never; rustix has safe calls", n + 1));
            }
        }
    }
    found
}

fn unreasoned(path: &str, text: &str, code: &str) -> Vec<String> {
    let raw: Vec<&str> = text.lines().collect();
    let reasoned =
        |n: usize| REASONS.iter().any(|reason| raw.get(n).is_some_and(|line| line.contains(reason)));
    let calls = |line: &str| line.contains(".unwrap()") || line.contains(".expect(");
    let lines = code.lines().enumerate().filter(|(_, line)| calls(line));
    lines
        .filter(|&(n, _)| !reasoned(n) && (n == 0 || !reasoned(n - 1)))
        .map(|(n, _)| {
            let n = n + 1;
            format!("{path}:{n}: say why this cannot fail, here or on the line before: one of {REASONS:?}")
        })
        .collect()
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Adds the cases that `text` names; returns what is wrong with them.
pub(crate) fn hostile(path: &str, text: &str, table: &mut BTreeMap<u32, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate() {
        for mark in [concat!("// ", "hostile:"), concat!("# ", "hostile:")] {
            for (at, _) in line.match_indices(mark) {
                match numbers(&line[at + mark.len()..]) {
                    Some(numbers) => {
                        for number in numbers {
                            table.entry(number).or_default().insert(path.to_owned());
                        }
                    }
                    None => found.push(format!("{path}:{}: names no case of {CASES:?}", n + 1)),
                }
            }
        }
    }
    found
}

/// `37`, `37, 38`, `40-42`; words may follow.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    loop {
        let (first, after) = number(rest)?;
        let (last, after) = match after.strip_prefix('-') {
            Some(tail) => number(tail)?,
            None => (first, after),
        };
        if first > last || !CASES.contains(&first) || !CASES.contains(&last) {
            return None;
        }
        all.extend(first..=last);
        match after.trim_start().strip_prefix(',') {
            Some(tail) if tail.trim_start().starts_with(|c: char| c.is_ascii_digit()) => {
                rest = tail.trim_start();
            }
            _ => return Some(all),
        }
    }
}

fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// The table as a file.
pub(crate) fn hostile_table(table: &BTreeMap<u32, BTreeSet<String>>) -> String {
    let mut text = String::from(
        "# Which numbered cases of hostile input and faults have a test, and where.\n\
         # Made from the sources by: DS_BLESS=1 cargo test --test tidy\n",
    );
    for (number, paths) in table {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        text.push_str(&format!("{number} {}\n", paths.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tidy_file_passes() {
        let text = "//! Doc.\n\nfn a() {\n    // own state: put there by new()\n    b.unwrap();\n}\n\n\
                    #[cfg(test)]\nmod tests {\n    fn t() {\n        c.unwrap();\n    }\n}\n";
        assert_eq!(product("src/a.rs", text), Vec::<String>::new());
    }

    #[test]
    fn lengths_are_bounded() {
        let long = "fn a() {}\n".repeat(501);
        assert_eq!(product("src/a.rs", &long).len(), 1);
        let tested = format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(product("src/a.rs", &tested), Vec::<String>::new());
        let body = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(69));
        assert!(product("src/a.rs", &body)[0].contains("`a` has 71 lines"));
        let bin = "fn a() {}\n".repeat(40);
        assert_eq!(product("src/bin/a.rs", &bin).len(), 1);
    }

    #[test]
    fn notes_unsafe_and_bare_unwraps_are_found() {
        let bad = [
            concat!("// TO", "DO: later"),
            concat!("fn a() { todo", "!() }"),
            concat!("// XX", "X"),
            "unsafe { a() }",
            "let a = b.unwrap();",
            "// it is fine\nlet a = b\n    .expect(\"fine\");",
        ];
        for text in bad {
            assert_eq!(product("src/a.rs", text).len(), 1, "{text}");
        }
        let fine =
            ["#![forbid(unsafe_code)]", "// never unsafe", "let s = \"x.unwrap()\";", "let XXpsk0 = 1;"];
        for text in fine {
            assert_eq!(product("src/a.rs", text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn cases_are_read_and_bounded() {
        let line = |tail: &str| format!("{}{tail}", concat!("// ", "hostile:"));
        let mut table = BTreeMap::new();
        assert!(hostile("a.rs", &line(" 37, 40-42, and so on"), &mut table).is_empty());
        assert!(hostile("b.rs", &line("206"), &mut table).is_empty());
        assert!(hostile("b.rs", &line(" 37"), &mut table).is_empty());
        let keys: Vec<u32> = table.keys().copied().collect();
        assert_eq!(keys, [37, 40, 41, 42, 206]);
        assert!(hostile_table(&table).contains("\n37 a.rs b.rs\n40 a.rs\n"));
        for bad in [" 0", " 207", "", " many", " 5-3", " 1, 300"] {
            assert_eq!(hostile("a.rs", &line(bad), &mut table).len(), 1, "{bad}");
        }
    }
}
