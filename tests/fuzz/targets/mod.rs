//! What is fuzzed: one function a target, which takes any bytes and panics where a promise is broken. `fuzz/` drives
//! them with a fuzzer, `tests/fuzz/main.rs` with the kept inputs and a few mutations of each.

mod kept;
mod messages;
mod search;
pub(crate) mod session;
mod v1;

pub(crate) use kept::{command, group_line, identity, index_log, part_journal, registry_file, value_list};
pub(crate) use messages::{announcement, message};
pub(crate) use search::{query, text};
pub(crate) use session::{handshake, handshake_pair, preamble, record, record_altered};
pub(crate) use v1::{announce, registry_answer, registry_request, v1_answer, v1_request};

/// A target.
pub(crate) struct Target {
    /// As its function, its corpus and its binary are called.
    pub(crate) name: &'static str,
    /// Panics where a promise is broken.
    pub(crate) run: fn(&[u8]),
    /// Mutations of each kept input that the normal tests try: fewer where one costs more.
    pub(crate) mutations: u32,
}

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "announce", run: announce, mutations: 200 },
    Target { name: "announcement", run: announcement, mutations: 200 },
    Target { name: "command", run: command, mutations: 200 },
    Target { name: "group_line", run: group_line, mutations: 200 },
    Target { name: "handshake", run: handshake, mutations: 40 },
    Target { name: "handshake_pair", run: handshake_pair, mutations: 40 },
    Target { name: "identity", run: identity, mutations: 100 },
    Target { name: "index_log", run: index_log, mutations: 200 },
    Target { name: "message", run: message, mutations: 200 },
    Target { name: "part_journal", run: part_journal, mutations: 200 },
    Target { name: "preamble", run: preamble, mutations: 200 },
    Target { name: "query", run: query, mutations: 200 },
    Target { name: "record", run: record, mutations: 200 },
    Target { name: "record_altered", run: record_altered, mutations: 200 },
    Target { name: "registry_answer", run: registry_answer, mutations: 200 },
    Target { name: "registry_file", run: registry_file, mutations: 200 },
    Target { name: "registry_request", run: registry_request, mutations: 200 },
    Target { name: "text", run: text, mutations: 200 },
    Target { name: "v1_answer", run: v1_answer, mutations: 200 },
    Target { name: "v1_request", run: v1_request, mutations: 200 },
    Target { name: "value_list", run: value_list, mutations: 20 },
];

/// Bytes as a row of decisions; zeros once they are used up.
pub(crate) struct Feed<'a>(&'a [u8]);

impl<'a> Feed<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Feed<'a> {
        Feed(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn word(&mut self) -> usize {
        usize::from(u16::from_le_bytes(self.array()))
    }

    pub(crate) fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub(crate) fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A text of up to 255 bytes, its length first.
    pub(crate) fn text(&mut self) -> String {
        let n = usize::from(self.byte());
        String::from_utf8_lossy(self.take(n)).into_owned()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// `bytes` in pieces of `step`, or in one of all of them for 0. An empty stream is one empty piece.
pub(crate) fn pieces(bytes: &[u8], step: u8) -> Vec<&[u8]> {
    match usize::from(step) {
        0 => vec![bytes],
        _ if bytes.is_empty() => vec![bytes],
        step => bytes.chunks(step).collect(),
    }
}

/// An error goes to a person or to another node: a sentence of at most 200 bytes.
#[track_caller]
pub(crate) fn check_error(error: &impl std::fmt::Display) {
    let text = error.to_string();
    assert!((1..=200).contains(&text.len()), "{} bytes of error: {text:?}", text.len());
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
}
