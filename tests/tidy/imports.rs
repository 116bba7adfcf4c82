//! Who may name whom. ARCHITECTURE.md says it in sentences; here it is a table and a reader of paths.

use crate::lex::is_word;

/// What one part of the program may name.
pub(crate) struct Area {
    /// The first word of its modules; `bin` for the binaries.
    name: &'static str,
    /// The other parts it may name.
    parts: &'static [&'static str],
    /// The crates it may name; `None`: all.
    crates: Option<&'static [&'static str]>,
    /// What of the standard library (or else) it never names.
    never: &'static [&'static [&'static str]],
}

/// Crates without a world of their own. `ring` reads the system's randomness only where its `rand` is named: never here.
const PURE: &[&str] = &[
    "blake3",
    "crc",
    "fastrand",
    "log",
    "ring",
    "serde",
    "serde_json",
    "sha2",
    "slab",
    "snow",
    "unicode_normalization",
];

/// Clocks, files, sockets, threads: the world, which only drivers touch.
const WORLD: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
];
const STREAMS: &[&str] = &["std::io::stdin", "std::io::stdout", "std::io::stderr"];
const IO: &[&str] = &["std::io"];
const FORMATS: &[&str] = &["serde", "serde_json"];
/// Of the contract, proto knows the plain values (a fault, an entry of a listing), never the contract itself.
const CONTRACT: &[&str] = &["machine::Input", "machine::Machine", "machine::Output", "machine::Transmit"];

/// The map of allowed directions. `machine` sorts errors of the system, so it knows `std::io::Error`. `cli` knows `proto`
/// for the line of a group and for showing foreign text: both must have one form in the whole program.
const AREAS: &[Area] = &[
    Area { name: "bin", parts: &["cli", "reactor", "node"], crates: Some(&[]), never: &[FORMATS] },
    Area { name: "cli", parts: &["config", "time", "proto"], crates: None, never: &[FORMATS] },
    Area { name: "reactor", parts: &["machine", "time", "config"], crates: None, never: &[FORMATS] },
    Area {
        name: "node",
        parts: &["proto", "machine", "time", "config"],
        crates: Some(PURE),
        never: &[WORLD, IO],
    },
    Area {
        name: "proto",
        parts: &["machine", "time", "config"],
        crates: Some(PURE),
        never: &[WORLD, STREAMS, CONTRACT],
    },
    Area { name: "machine", parts: &["time", "config"], crates: Some(&[]), never: &[WORLD] },
    Area { name: "config", parts: &["time"], crates: Some(&[]), never: &[WORLD, IO] },
    Area { name: "time", parts: &[], crates: Some(&[]), never: &[WORLD, IO] },
];

/// A path as it stands in the code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    line: usize,
    words: Vec<String>,
    /// It ends a `use`: what lies below it can be named later without its front.
    imported: bool,
}

/// Everything in `code` (of the file `path`, comments, texts and tests blanked) that its part of the program may not
/// name. `crates` are the names of the dependencies as code writes them.
pub(crate) fn violations(path: &str, code: &str, crates: &[String]) -> Vec<String> {
    let module = module_of(path);
    let Some(area) = module.first().and_then(|first| AREAS.iter().find(|area| area.name == first)) else {
        return match path {
            "src/lib.rs" => Vec::new(),
            _ => vec![format!("{path}: no rule says what this part may name (tests/tidy/imports.rs)")],
        };
    };
    let mut found = Vec::new();
    for named in paths(code) {
        if let Some(why) = judge(area, &module, &named, crates) {
            found.push(format!("{path}:{}: `{}`: {why}", named.line, named.words.join("::")));
        }
    }
    found
}

fn judge(area: &Area, module: &[String], named: &Named, crates: &[String]) -> Option<String> {
    let name = area.name;
    let (words, own) = resolve(module, named);
    let first = words.first().map_or("*", String::as_str);
    if own && first != name && !area.parts.contains(&first) {
        return Some(format!("{name} never names {first}; it may name {:?}", area.parts));
    }
    if !own && crates.iter().any(|known| known == first) {
        let allowed = area.crates.is_none_or(|list| list.contains(&first));
        if !allowed || area.never.concat().contains(&first) {
            return Some(format!("{name} does without the crate {first}"));
        }
    }
    let never = area.never.concat();
    let banned = never.iter().find(|banned| {
        let banned: Vec<&str> = banned.split("::").collect();
        let common = banned.len().min(words.len());
        let same = words[..common].iter().zip(&banned).all(|(word, ban)| word == ban || word == "*");
        // A whole front (`use std::net;`) would let its banned part be named unseen.
        same && (words.len() >= banned.len() || named.imported) && (own || first == "std")
    });
    banned.map(|banned| format!("{name} never names {banned}, nor imports what stands in front of it"))
}

/// The path from the crate's root, and whether it is our own.
fn resolve(module: &[String], named: &Named) -> (Vec<String>, bool) {
    let words = &named.words;
    let tail = |n: usize| words[n..].to_vec();
    match words[0].as_str() {
        "crate" | "distrishare" => (tail(1), true),
        "self" => ([module, &words[1..]].concat(), true),
        "super" => {
            let ups = words.iter().take_while(|word| *word == "super").count();
            let keep = module.len().saturating_sub(ups);
            ([&module[..keep], &words[ups..]].concat(), true)
        }
        "core" | "alloc" => ([&["std".to_owned()], &words[1..]].concat(), false),
        _ => (words.clone(), false),
    }
}

/// `src/node/peer.rs` is `node::peer`; a binary is `bin::` and its name.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    inner.split('/').map(str::to_owned).filter(|part| part != "lib").collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Colons,
    Sign(char),
}

fn tokens(code: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = code.chars().collect();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let word: String = chars[at..].iter().take_while(|&&c| is_word(c)).collect();
        let step = match chars[at] {
            _ if !word.is_empty() => {
                let len = word.chars().count();
                found.push((line, Token::Word(word)));
                len
            }
            ':' if chars.get(at + 1) == Some(&':') => {
                found.push((line, Token::Colons));
                2
            }
            c => {
                line += usize::from(c == '\n');
                if !c.is_whitespace() {
                    found.push((line, Token::Sign(c)));
                }
                1
            }
        };
        at += step;
    }
    found
}

/// Every path of two words or more, and every end of a `use`.
fn paths(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = match &tokens[at].1 {
            Token::Word(word) if word == "use" => tree(&tokens, at + 1, &[], true, &mut found),
            Token::Word(_) => tree(&tokens, at, &[], false, &mut found).max(at + 1),
            _ => at + 1,
        };
    }
    found
}

/// Reads one path, or in a `use` one branch of its tree; returns where it ended.
fn tree(
    tokens: &[(usize, Token)],
    mut at: usize,
    front: &[String],
    import: bool,
    out: &mut Vec<Named>,
) -> usize {
    let mut words = front.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.0);
    loop {
        match tokens.get(at).map(|token| &token.1) {
            Some(Token::Colons) if words.is_empty() => at += 1,
            Some(Token::Word(word)) => {
                if word != "self" || words.is_empty() {
                    words.push(word.clone());
                }
                at += 1;
            }
            Some(Token::Sign('*')) if import => {
                words.push("*".to_owned());
                at += 1;
            }
            Some(Token::Sign('{')) if import => {
                at += 1;
                loop {
                    match tokens.get(at).map(|token| &token.1) {
                        Some(Token::Sign('}')) => return at + 1,
                        Some(Token::Sign(',')) => at += 1,
                        Some(Token::Word(_) | Token::Colons | Token::Sign('{' | '*')) => {
                            at = tree(tokens, at, &words, true, out);
                        }
                        _ => return at,
                    }
                }
            }
            _ => break,
        }
        match tokens.get(at).map(|token| &token.1) {
            Some(Token::Colons) => at += 1,
            Some(Token::Word(word)) if import && word == "as" => {
                at += 2;
                break;
            }
            _ => break,
        }
    }
    if words.len() > 1 || (import && !words.is_empty()) {
        out.push(Named { line, words, imported: import });
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lex::{code_only, without_tests};

    fn judged(path: &str, text: &str) -> Vec<String> {
        let crates = ["mio", "serde", "socket2", "rustix", "pico_args"].map(str::to_owned);
        violations(path, &without_tests(&code_only(text)).0, &crates)
    }

    #[test]
    fn what_is_allowed_passes() {
        let fine = [
            (
                "src/node/peer.rs",
                "use std::net::{IpAddr, SocketAddr};\nuse crate::proto::v1::{Request, Reply};",
            ),
            (
                "src/node/peer.rs",
                "use std::time::Duration; use super::book::Book; // std::fs\nlet a = \"mio::Poll\";",
            ),
            ("src/node.rs", "mod peer;\npub use peer::Peer;\nuse serde::Serialize as S;"),
            ("src/node.rs", "#[cfg(test)]\nmod tests { use std::fs; use mio::Poll; }"),
            ("src/proto/v1.rs", "use crate::machine::{Fault, Entry}; use std::io::Write; use core::fmt;"),
            (
                "src/reactor/sockets.rs",
                "use super::Reactor; use std::net::TcpStream; use mio::{Events, Poll};",
            ),
            ("src/bin/ds-peer.rs", "fn main() -> std::process::ExitCode { distrishare::cli::peer() }"),
            ("src/machine/fault.rs", "use std::io; use std::fmt; impl Fault { fn of(e: &io::Error) {} }"),
            ("src/lib.rs", "pub mod cli;"),
            ("src/cli/group.rs", "use crate::proto::group::GroupLine; use super::keyfile::read_key;"),
        ];
        for (path, text) in fine {
            assert_eq!(judged(path, text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_is_forbidden_is_found_however_it_is_written() {
        let bad = [
            ("src/node/peer.rs", "use std::fs;"),
            ("src/node/peer.rs", "use std::fs::File;"),
            ("src/node/peer.rs", "use std::{fmt, fs::{self, File}};"),
            ("src/node/peer.rs", "use std::net;"),
            ("src/node/peer.rs", "use std::net::*;"),
            ("src/node/peer.rs", "use std::net::{self, IpAddr};"),
            ("src/node/peer.rs", "use std as s;"),
            ("src/node/peer.rs", "use ::std::env;"),
            ("src/node/peer.rs", "fn f() { let t = std::time::Instant::now(); }"),
            ("src/node/peer.rs", "fn f() { std::thread::spawn(|| ()); }"),
            ("src/node/peer.rs", "fn f(p: &mio::Poll) {}"),
            ("src/node/peer.rs", "use socket2;"),
            ("src/node/peer.rs", "use crate::reactor::Reactor;"),
            ("src/node/peer.rs", "use super::super::cli::Args;"),
            ("src/node/peer.rs", "use crate::*;"),
            ("src/node.rs", "use std::io::Read;"),
            ("src/proto/v1.rs", "use crate::node::Peer;"),
            ("src/proto/v1.rs", "use crate::machine::{Fault, Machine};"),
            ("src/proto/v1.rs", "use crate::machine;"),
            ("src/proto.rs", "use std::net::UdpSocket;"),
            ("src/reactor.rs", "use crate::proto::v1;"),
            ("src/reactor/files.rs", "fn f() { crate::node::peer() }"),
            ("src/reactor.rs", "use serde::Serialize;"),
            ("src/machine.rs", "use crate::proto::v1::Request;"),
            ("src/config.rs", "use crate::machine::Fault;"),
            ("src/time.rs", "use std::time::SystemTime;"),
            ("src/cli.rs", "use crate::reactor;"),
            ("src/cli/group.rs", "use crate::machine::Fault;"),
            ("src/bin/ds-peer.rs", "use distrishare::proto::v1;"),
            ("src/bin/ds-peer.rs", "use pico_args::Arguments;"),
            ("src/extra.rs", "fn f() {}"),
        ];
        for (path, text) in bad {
            assert!(!judged(path, text).is_empty(), "{path}: {text}");
        }
    }
}
