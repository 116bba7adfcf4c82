//! What happened, as one running hash over every event and every output, and as the last lines in words. Two runs of
//! one seed must end with the same hash; the lines are what a failure prints.

use crate::harness::number;
use crate::rng::mix;
use distrishare::machine::{Input, Output};
use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Lines kept for a failure's message, if `DS_SIM_LINES` does not say otherwise.
const LINES: usize = 50;
/// Of the bytes of a file so many are told.
const START: usize = 16;

/// A word-at-a-time multiply-and-rotate hash with a fixed start: quick, and the same on every run.
#[derive(Clone, Debug)]
pub(crate) struct Fold(u64);

impl Fold {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }
}

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        mix(self.0)
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.word(u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        }
        let rest = chunks.remainder();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, word: u8) {
        self.word(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.word(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.word(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.word(word);
    }
}

/// One line: who, and what in a form that costs nothing to keep.
#[derive(Clone, Debug)]
enum Line {
    Words { who: i64, what: &'static str, a: u64, b: u64 },
    Output { who: i64, output: Box<Output> },
    Text { who: i64, text: String },
}

/// The run's memory. `who`: a node's number, or -1 for the world, or -2 - n for actor n.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: Fold,
    steps: u64,
    lines: VecDeque<(u64, Line)>,
    kept: usize,
    /// Keep the inputs in full too. For replays: it costs an allocation per event.
    pub(crate) detail: bool,
}

/// An input with all its fields. The bytes of a file are too many: of them their number is told, and how they begin.
fn in_full(input: &Input<'_>) -> String {
    let Input::FileRead { file, offset, bytes, meta } = input else { return format!("{input:?}") };
    let (start, n) = (&bytes[..bytes.len().min(START)], bytes.len());
    format!("FileRead {{ file: {file:?}, offset: {offset}, bytes: {n} of {start:?}…, meta: {meta:?} }}")
}

impl Trace {
    pub(crate) fn new(detail: bool) -> Trace {
        let kept = number("DS_SIM_LINES").map_or(LINES, |lines| lines as usize);
        Trace { hash: Fold(0x5eed), steps: 0, lines: VecDeque::new(), kept, detail }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// How many events were fed and outputs drained.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn words(&mut self, now: u64, who: i64, what: &'static str, a: u64, b: u64) {
        self.hash.write(what.as_bytes());
        self.count(now, who);
        self.hash.word(a);
        self.hash.word(b);
        self.keep(now, Line::Words { who, what, a, b });
    }

    pub(crate) fn output(&mut self, now: u64, who: i64, output: &Output) {
        self.count(now, who);
        output.hash(&mut self.hash);
        self.keep(now, Line::Output { who, output: Box::new(output.clone()) });
    }

    pub(crate) fn input(&mut self, now: u64, who: i64, input: &Input<'_>) {
        let (what, a, b) = match input {
            Input::Timeout => ("Timeout", 0, 0),
            Input::Datagram { from, bytes } => {
                from.hash(&mut self.hash);
                self.hash.write(bytes);
                ("Datagram", u64::from(from.port()), bytes.len() as u64)
            }
            Input::FileRead { file, offset, bytes, meta } => {
                file.hash(&mut self.hash);
                meta.hash(&mut self.hash);
                self.hash.write(bytes);
                ("FileRead", *offset, bytes.len() as u64)
            }
            other => {
                // Rare enough for the plain way: the debug text holds every field.
                let text = format!("{other:?}");
                self.hash.write(text.as_bytes());
                self.count(now, who);
                self.keep(now, Line::Text { who, text });
                return;
            }
        };
        self.hash.write(what.as_bytes());
        self.count(now, who);
        self.hash.word(a);
        self.hash.word(b);
        let line = if self.detail {
            Line::Text { who, text: in_full(input) }
        } else {
            Line::Words { who, what, a, b }
        };
        self.keep(now, line);
    }

    /// Folds bytes in without a line.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.hash.write(bytes);
    }

    fn count(&mut self, now: u64, who: i64) {
        self.steps += 1;
        self.hash.word(now);
        self.hash.word(who as u64);
    }

    fn keep(&mut self, now: u64, line: Line) {
        if self.lines.len() == self.kept {
            self.lines.pop_front();
        }
        self.lines.push_back((now, line));
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in &self.lines {
            let who = match line {
                Line::Words { who, .. } | Line::Output { who, .. } | Line::Text { who, .. } => *who,
            };
            let name = match who {
                -1 => "world".to_owned(),
                who if who < 0 => format!("actor {}", -2 - who),
                who => format!("node {who}"),
            };
            write!(f, "  {}.{:06} {name:<9} ", at / 1_000_000, at % 1_000_000)?;
            match line {
                Line::Words { what, a, b, .. } => writeln!(f, "<- {what} {a} {b}")?,
                Line::Output { output, .. } => writeln!(f, "-> {}", short(&output_text(output)))?,
                Line::Text { text, .. } => writeln!(f, "<- {}", short(text))?,
            }
        }
        Ok(())
    }
}

fn output_text(output: &Output) -> String {
    match output {
        Output::SendDatagram { interface, bytes, .. } => {
            format!("SendDatagram {interface} {:?}", String::from_utf8_lossy(bytes))
        }
        other => format!("{other:?}"),
    }
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}
