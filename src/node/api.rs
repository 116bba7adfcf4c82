//! What the operator is told: each thing once, as a line of text for a person or as a JSON object for a program.
//! The names of events and fields are an interface (DESIGN.md section 6): add, never rename.

mod failure;
mod found;
mod index;
mod place;
mod status;
mod text;
mod transfer;

use crate::proto::escape::for_json;
use serde::Serialize;

pub(crate) use failure::{Code, Failure};
pub(crate) use found::FoundRow;
pub(crate) use index::{IndexStatus, NotOffered};
pub(crate) use place::Place;
pub(crate) use status::{Running, Status};
pub(crate) use text::{bytes, clock, lines_dropped, plural};
pub(crate) use transfer::{Downloaded, TransferRow, UploadRow};

/// A thing that happened.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// The node listens.
    Ready {
        #[serde(flatten)]
        at: Place,
        id: Option<&'a str>,
    },
    /// A row of a node list.
    Node {
        #[serde(flatten)]
        at: Place,
        lists: Vec<&'static str>,
        alive: bool,
        /// Of a node that was met in v2.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// A row of a file list; of another node's also its number for `get`, if it has one, and the file's root, once that
    /// node knows it.
    File {
        #[serde(skip_serializing_if = "Option::is_none")]
        number: Option<usize>,
        name: &'a str,
        size: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        root: Option<String>,
    },
    /// A node has a file that was searched for. What old nodes have has neither size nor root. `sources`: nodes that
    /// have it, so far.
    Found {
        #[serde(flatten)]
        at: Place,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        root: Option<String>,
        sources: usize,
    },
    /// A result of a search, the best first, numbered for `get`.
    Result(FoundRow<'a>),
    /// There is more than these so many: of a folder the first ones, of a search what nodes tell at once or there was memory for.
    Truncated {
        files: usize,
        /// Other words would find what is missing.
        #[serde(skip)]
        narrow: bool,
    },
    /// What lies in the folder that was listed and is not offered.
    LeftOut(NotOffered),
    /// A transfer goes on. `rate`: bytes a second lately; `sources`: nodes that give it now.
    Progress {
        name: &'a str,
        bytes: u64,
        size: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rate: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sources: Option<usize>,
    },
    /// A download is complete.
    Downloaded(Downloaded<'a>),
    /// A row of `transfers`.
    Transfer(TransferRow<'a>),
    /// A row of `transfers`, of a file that goes out.
    Upload(UploadRow<'a>),
    /// A download stops, and what arrived of it is kept.
    Paused { number: u32, name: &'a str, bytes: u64 },
    /// The bounds of the rates in bytes a second, as they are now.
    Limit { up: Option<u64>, down: Option<u64> },
    /// A source sent so many wrong pieces of a download that it is not asked any more. `id`: of a node that was met in v2.
    Blamed {
        #[serde(flatten)]
        at: Place,
        id: Option<String>,
        name: &'a str,
        pieces: u32,
    },
    /// A file is shared now, or a folder with so many files.
    Shared {
        name: &'a str,
        bytes: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        files: Option<usize>,
    },
    /// A registry knows us and told us of so many others. `asked`: a command asked for it.
    Registered {
        bootstrap: String,
        nodes: usize,
        #[serde(skip)]
        asked: bool,
    },
    /// So many files and folders lie at the node that was browsed, and are not offered.
    NotOffered { count: u64 },
    /// Multicast discovery was switched.
    Multicast { on: bool, interfaces: usize },
    /// The state of the node.
    Status(Box<Status>),
    /// Explanations a person asked for.
    Help { text: &'a str },
    /// A command failed.
    Error { command: &'a str, code: &'static str, message: &'a str },
    /// A command is over, well or not.
    Done { command: &'a str },
    /// So many events are missing here: nobody took the ones before.
    Dropped { lines: usize },
}

/// An event and the operation that it belongs to.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    event: &'a Event<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<u32>,
}

impl Event<'_> {
    /// One JSON object and a newline. Characters that could act on a terminal are written as `\u` escapes.
    /// `op`: the operation that it belongs to.
    pub(crate) fn json(&self, op: Option<u32>) -> String {
        let mut line = for_json(&serde_json::to_string(&Told { event: self, op }).unwrap_or_default());
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_names_that_were_promised() {
        let at = Place("10.0.0.5:1".parse().unwrap());
        let cases = [
            (Event::Ready { at, id: None }, r#"{"event":"ready","ip":"10.0.0.5","port":1,"id":null}"#),
            (
                Event::Node { at, lists: vec!["bootstrap", "multicast"], alive: true, id: None },
                r#"{"event":"node","ip":"10.0.0.5","port":1,"lists":["bootstrap","multicast"],"alive":true}"#,
            ),
            (
                Event::File { number: None, name: "a", size: 3, root: None },
                r#"{"event":"file","name":"a","size":3}"#,
            ),
            (
                Event::Found { at, name: "a", size: None, root: None, sources: 1 },
                r#"{"event":"found","ip":"10.0.0.5","port":1,"name":"a","sources":1}"#,
            ),
            (
                Event::Found { at, name: "a", size: Some(2), root: Some("ff".into()), sources: 3 },
                r#"{"event":"found","ip":"10.0.0.5","port":1,"name":"a","size":2,"root":"ff","sources":3}"#,
            ),
            (
                Event::Result(FoundRow {
                    number: 1,
                    name: "a",
                    size: None,
                    root: None,
                    sources: vec![at],
                    names: Vec::new(),
                }),
                r#"{"event":"result","number":1,"name":"a","size":null,"root":null,"sources":[{"ip":"10.0.0.5","port":1}],"names":[]}"#,
            ),
            (
                Event::Progress { name: "a", bytes: 1, size: None, rate: None, sources: None },
                r#"{"event":"progress","name":"a","bytes":1,"size":null}"#,
            ),
            (
                Event::Progress { name: "a", bytes: 1, size: Some(2), rate: Some(0), sources: Some(3) },
                r#"{"event":"progress","name":"a","bytes":1,"size":2,"rate":0,"sources":3}"#,
            ),
            (
                Event::Downloaded(DOWNLOADED),
                r#"{"event":"downloaded","name":"a","path":"downloads/a","bytes":1,"verified":false,"sources":1,"resumed":0}"#,
            ),
            (
                Event::Downloaded(Downloaded { confirmed: false, already: true, ..DOWNLOADED }),
                r#"{"event":"downloaded","name":"a","path":"downloads/a","bytes":1,"verified":false,"sources":1,"resumed":0,"confirmed":false,"already":true}"#,
            ),
            (
                Event::Transfer(TransferRow { size: None, ..ROW }),
                r#"{"event":"transfer","number":2,"name":"a.iso","size":null,"bytes":700100000,"rate":20000000,"sources":4,"state":"receiving","root":null}"#,
            ),
            (
                Event::Paused { number: 2, name: "a", bytes: 1 },
                r#"{"event":"paused","number":2,"name":"a","bytes":1}"#,
            ),
            (Event::Limit { up: Some(4096), down: None }, r#"{"event":"limit","up":4096,"down":null}"#),
            (
                Event::Blamed { at, id: None, name: "a", pieces: 2 },
                r#"{"event":"blamed","ip":"10.0.0.5","port":1,"id":null,"name":"a","pieces":2}"#,
            ),
            (
                Event::Error { command: "get", code: Code::NotFound.name(), message: "no" },
                r#"{"event":"error","command":"get","code":"not_found","message":"no"}"#,
            ),
            (Event::Done { command: "get" }, r#"{"event":"done","command":"get"}"#),
        ];
        for (event, json) in cases {
            assert_eq!(event.json(None), format!("{json}\n"));
            let of_an_operation = format!("{},\"op\":7}}\n", json.strip_suffix('}').unwrap());
            assert_eq!(event.json(Some(7)), of_an_operation);
        }
    }

    const DOWNLOADED: Downloaded<'_> = Downloaded {
        name: "a",
        path: "downloads/a",
        bytes: 1,
        verified: false,
        sources: 1,
        resumed: 0,
        confirmed: true,
        already: false,
    };

    const ROW: TransferRow<'_> = TransferRow {
        number: 2,
        name: "a.iso",
        size: Some(768_000_000),
        bytes: 700_100_000,
        rate: 20_000_000,
        sources: 4,
        state: "receiving",
        root: None,
    };

    #[test]
    fn what_transfers_come_to_reads_well() {
        let at = Place("10.0.0.5:1".parse().unwrap());
        let whole = Downloaded { name: "a.iso", bytes: 768_000_000, verified: true, ..DOWNLOADED };
        let evil = "a\u{1b}[2J";
        for (event, text) in [
            (Event::Downloaded(DOWNLOADED), "downloaded a (1 B, unverified: old protocol) to downloads/a\n"),
            (
                Event::Downloaded(Downloaded { sources: 4, resumed: 700_100_000, ..whole }),
                "downloaded a.iso (768.0 MB, verified, from 4 nodes, 700.1 MB were here already) to downloads/a\n",
            ),
            (
                Event::Downloaded(Downloaded { confirmed: false, verified: true, ..DOWNLOADED }),
                "downloaded a (1 B, verified) to downloads/a\n\
                 a is saved but not confirmed on disk: a power cut may lose it\n",
            ),
            (
                Event::Downloaded(Downloaded { already: true, sources: 0, ..DOWNLOADED }),
                "a is here already: downloads/a\n",
            ),
            (
                Event::Transfer(ROW),
                "  2  receiving     700.1 MB of  768.0 MB  a.iso  20.0 MB/s from 4 nodes\n",
            ),
            (
                Event::Transfer(TransferRow {
                    number: 10,
                    name: evil,
                    size: None,
                    bytes: 0,
                    state: "interrupted",
                    sources: 0,
                    ..ROW
                }),
                " 10  interrupted        0 B of     size?  a\\u{1b}[2J\n",
            ),
            (
                Event::Paused { number: 2, name: evil, bytes: 5000 },
                "paused 2: a\\u{1b}[2J; 5.0 kB of it are kept\n",
            ),
            (Event::Limit { up: Some(500_000), down: None }, "limits: up 500.0 kB/s, down off\n"),
            (
                Event::Blamed { at, id: Some("00ffaa12".into()), name: "a", pieces: 1 },
                "10.0.0.5:1 (00ffaa12) sent 1 piece of a wrong: it is left out\n",
            ),
            (
                Event::Blamed { at, id: None, name: evil, pieces: 2 },
                "10.0.0.5:1 sent 2 pieces of a\\u{1b}[2J wrong: it is left out\n",
            ),
        ] {
            assert_eq!(event.text().as_deref(), Some(text));
        }
    }

    #[test]
    fn names_cannot_act_on_a_terminal_in_either_form() {
        let evil = "a\u{1b}]0;x\u{7}\u{9b}31m\u{202e}b\n";
        for text in [
            Event::File { number: None, name: evil, size: 0, root: None }.json(None),
            Event::File { number: None, name: evil, size: 0, root: None }.text().unwrap(),
        ] {
            let body = text.strip_suffix('\n').unwrap();
            assert!(!body.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        }
        let back: serde_json::Value =
            serde_json::from_str(&Event::File { number: None, name: evil, size: 0, root: None }.json(None))
                .unwrap();
        assert_eq!(back["name"], evil);
    }
}
