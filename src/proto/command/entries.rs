//! The table of commands. The parser and the help both read it, so neither can know a command that the other does not.

use super::words::Word;
use super::{Command, CommandError, List, NodeRef, Wanted};
use crate::config::{BOOTSTRAP_PORT, HostPort, parse_port};
use crate::time::Duration;
use std::net::IpAddr;

/// Longest `wait`, in seconds: a day.
const WAIT_MAX: f64 = 86_400.0;

/// A command of the menu.
pub(super) struct Entry {
    /// Its number in the original's menu.
    pub(super) number: Option<&'static str>,
    /// Its word.
    pub(super) name: &'static str,
    /// Another word for it.
    pub(super) alias: Option<&'static str>,
    /// Its second word, where several entries share the first.
    pub(super) choice: Option<Choice>,
    /// Its arguments, as the usage has them.
    pub(super) arguments: &'static str,
    /// What it does, in half a line.
    pub(super) summary: &'static str,
    /// What else there is to know.
    pub(super) details: &'static str,
    /// Makes it from its arguments.
    pub(super) build: fn(&mut Args<'_>) -> Result<Command, CommandError>,
}

/// A second word that chooses among entries.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub(super) word: &'static str,
    /// All the words there are, as a prompt asks for one.
    pub(super) question: &'static str,
}

impl Entry {
    /// Whether `word` is its first word. Capitals make no difference.
    pub(super) fn is_named(&self, word: &str) -> bool {
        self.name.eq_ignore_ascii_case(word)
            || self.alias.is_some_and(|alias| alias.eq_ignore_ascii_case(word))
    }

    /// How this entry is written.
    pub(super) fn syntax(&self) -> String {
        let choice = self.choice.map_or("", |choice| choice.word);
        let parts = [self.name, choice, self.arguments];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// How the entries of its name are written.
    fn usage(&self) -> String {
        let same_name = ENTRIES.iter().filter(|entry| entry.name == self.name);
        same_name.map(Entry::syntax).collect::<Vec<_>>().join(" | ")
    }

    pub(super) fn missing(&self, next: &'static str) -> CommandError {
        CommandError::MissingArgument { command: self.name, next, usage: self.usage() }
    }

    pub(super) fn bad(&self, problem: String) -> CommandError {
        CommandError::BadArgument { command: self.name, problem, usage: self.usage() }
    }
}

/// The arguments of a command that are not used up yet.
pub(super) struct Args<'a> {
    entry: &'static Entry,
    words: &'a [Word],
    /// The whole line, quotes and all.
    line: &'a str,
}

impl<'a> Args<'a> {
    pub(super) fn new(entry: &'static Entry, words: &'a [Word], line: &'a str) -> Args<'a> {
        Args { entry, words, line }
    }

    /// All that follows the command's word, as it was typed: a language of its own with quotes of its own.
    fn typed(&mut self, what: &'static str) -> Result<String, CommandError> {
        let (first, all) = (self.need(what)?, self.words);
        self.words = &[];
        let line = self.line.trim_matches([' ', '\t']);
        let rest = line.find([' ', '\t']).map_or("", |end| &line[end..]).trim_matches([' ', '\t']);
        // One word in single quotes, which mean nothing there: the console's own, around all of it.
        let text = if all.is_empty() && rest.starts_with('\'') { first } else { rest };
        if text.is_empty() {
            return Err(self.entry.bad(format!("the {what} is empty")));
        }
        Ok(text.to_owned())
    }

    /// The next word, if there is one.
    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(&first.text)
    }

    /// The next word; `what` is asked for if there is none.
    fn need(&mut self, what: &'static str) -> Result<&'a str, CommandError> {
        self.next().ok_or_else(|| self.entry.missing(what))
    }

    /// All that is left as one text, with the blanks between as they were typed.
    fn rest(&mut self, what: &'static str) -> Result<String, CommandError> {
        let mut text = self.need(what)?.to_owned();
        for word in std::mem::take(&mut self.words) {
            text.push_str(&word.gap);
            text.push_str(&word.text);
        }
        if text.is_empty() {
            return Err(self.entry.bad(format!("the {what} is empty")));
        }
        Ok(text)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), CommandError> {
        match self.words.first() {
            Some(word) => Err(self.entry.bad(format!("`{}` is one argument too many", word.text))),
            None => Ok(()),
        }
    }

    /// `IP PORT` or `HOST:PORT`.
    fn node(&mut self) -> Result<HostPort, CommandError> {
        let first = self.need("IP")?;
        let host = if first.parse::<IpAddr>().is_ok() {
            first.to_owned()
        } else if let Ok(node) = HostPort::parse(first, None) {
            return Ok(node);
        } else {
            // A host alone; the port that is made up here is not used.
            HostPort::parse(first, Some(1)).map_err(|problem| self.entry.bad(problem))?.host
        };
        let port = self.need("port")?;
        match parse_port(port) {
            Some(port) => Ok(HostPort { host, port }),
            None => Err(self.entry.bad(format!("`{port}` is no port, which is a number from 1 to 65535"))),
        }
    }
}

fn bootstrap(args: &mut Args<'_>) -> Result<Command, CommandError> {
    let registry = match args.words {
        [] => None,
        [_] => {
            let registry = HostPort::parse(args.need("IP")?, Some(BOOTSTRAP_PORT));
            Some(registry.map_err(|problem| args.entry.bad(problem))?)
        }
        _ => Some(args.node()?),
    };
    Ok(Command::Bootstrap(registry))
}

/// `IP PORT NAME`, where the first word is an address or the second a port with something behind it; else a number of
/// the last search, or a name.
fn get(args: &mut Args<'_>) -> Result<Command, CommandError> {
    let is_node = match args.words {
        [] => true,
        [first] => first.text.parse::<IpAddr>().is_ok() || HostPort::parse(&first.text, None).is_ok(),
        [first, second, rest @ ..] => {
            let port = first.text.rsplit_once(':').map(|(_, port)| port);
            let has_port =
                port.is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
            let at = first.text.parse::<IpAddr>().is_ok() || has_port;
            at || (!rest.is_empty() && parse_port(&second.text).is_some())
        }
    };
    if is_node {
        let node = args.node()?;
        return Ok(Command::Get(Wanted::At { node, name: args.rest("file name")? }));
    }
    let quoted = args.words.iter().any(Word::is_quoted);
    let text = args.rest("file name")?;
    if quoted || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Command::Get(Wanted::Name(text)));
    }
    match text.parse::<usize>() {
        Ok(number) if number > 0 => Ok(Command::Get(Wanted::Number(number))),
        _ => Err(args.entry.bad(format!("`{text}` is no number of a result; they begin with 1"))),
    }
}

/// `ID`, `IP PORT` or `HOST:PORT`.
fn browse(args: &mut Args<'_>) -> Result<Command, CommandError> {
    if args.words.is_empty() {
        return Err(args.entry.missing("IP or id"));
    }
    if let [word] = args.words {
        if word.text.len() >= 4 && word.text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(Command::Browse(NodeRef::Id(args.need("node")?.to_owned())));
        }
        // Only an address alone still lacks something: its port.
        if word.text.parse::<IpAddr>().is_err() && HostPort::parse(&word.text, None).is_err() {
            let problem = format!(
                "`{}` is neither an address nor the beginning (4 digits or more) of an id",
                word.text
            );
            return Err(args.entry.bad(problem));
        }
    }
    Ok(Command::Browse(NodeRef::At(args.node()?)))
}

fn cancel(args: &mut Args<'_>) -> Result<Command, CommandError> {
    let name = if args.words.is_empty() { None } else { Some(args.rest("file name")?) };
    Ok(Command::Cancel(name))
}

fn wait(args: &mut Args<'_>) -> Result<Command, CommandError> {
    let Some(text) = args.next() else { return Ok(Command::Wait(None)) };
    // What a float's own reader takes besides (`1e3`, `inf`, `+1`) is no decimal number to an operator.
    let digits_or_dot = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let decimal = digits_or_dot && text.starts_with(|c: char| c.is_ascii_digit());
    let seconds = if decimal { text.parse::<f64>().ok() } else { None };
    match seconds.filter(|seconds| *seconds <= WAIT_MAX) {
        Some(seconds) => Ok(Command::Wait(Some(Duration::from_secs_f64(seconds)))),
        None => Err(args.entry.bad(format!("`{text}` is no number of seconds from 0 to {WAIT_MAX}"))),
    }
}

const ON_OFF: &str = "on or off";
const LISTS: &str = "all, bootstrap or multicast";

/// Every command, in the order of the menu.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        number: Some("1.1"),
        name: "bootstrap",
        alias: None,
        choice: None,
        arguments: "[HOST:PORT]",
        summary: "register at a registry and take its nodes",
        details: "Without an argument: the registry given at start (--bootstrap), else\n\
                  127.0.0.1:8000. The port may be left out when it is 8000. The registration\n\
                  is renewed until the program ends.",
        build: bootstrap,
    },
    Entry {
        number: Some("1.2"),
        name: "multicast",
        alias: None,
        choice: Some(Choice { word: "on", question: ON_OFF }),
        arguments: "",
        summary: "find nodes on this network, and be found",
        details: "Announces this node on every interface to the group 224.1.1.1:10000 and\n\
                  hears who else does.",
        build: |_| Ok(Command::MulticastOn),
    },
    Entry {
        number: Some("1.3"),
        name: "multicast",
        alias: None,
        choice: Some(Choice { word: "off", question: ON_OFF }),
        arguments: "",
        summary: "stop that",
        details: "Says goodbye to the group and hears it no more. Nodes found so far stay\n\
                  known.",
        build: |_| Ok(Command::MulticastOff),
    },
    Entry {
        number: Some("2.1"),
        name: "nodes",
        alias: None,
        choice: Some(Choice { word: "all", question: LISTS }),
        arguments: "",
        summary: "list all known nodes, and which answer",
        details: "Every node is tried at once; one that takes no connection within a second\n\
                  is shown as down.",
        build: |_| Ok(Command::Nodes(List::All)),
    },
    Entry {
        number: Some("2.2"),
        name: "nodes",
        alias: None,
        choice: Some(Choice { word: "bootstrap", question: LISTS }),
        arguments: "",
        summary: "the same for nodes that a registry named",
        details: "See `bootstrap`.",
        build: |_| Ok(Command::Nodes(List::Bootstrap)),
    },
    Entry {
        number: Some("2.3"),
        name: "nodes",
        alias: None,
        choice: Some(Choice { word: "multicast", question: LISTS }),
        arguments: "",
        summary: "the same for nodes heard on this network",
        details: "A node that says goodbye, or says nothing for 15 seconds, leaves this list.",
        build: |_| Ok(Command::Nodes(List::Multicast)),
    },
    Entry {
        number: Some("3.1"),
        name: "share",
        alias: None,
        choice: None,
        arguments: "PATH",
        summary: "copy a file into the shared folder",
        details: "From then on every node can find and fetch it under its own name. A file of\n\
                  that name that is shared already is not replaced.",
        build: |args| Ok(Command::Share { path: args.rest("path")? }),
    },
    Entry {
        number: Some("3.2"),
        name: "files",
        alias: None,
        choice: None,
        arguments: "",
        summary: "list what this node shares",
        details: "Files in folders beneath the shared folder have the folder in their name\n\
                  (music/a.ogg).",
        build: |_| Ok(Command::Files),
    },
    Entry {
        number: Some("3.3"),
        name: "search",
        alias: None,
        choice: None,
        arguments: "WORDS",
        summary: "ask all known nodes for files",
        details: "Finds files whose path contains all the words; capitals and accents make no\n\
                  difference. Also: \"exact name\", *.pdf, ext:pdf, size>10M, size<1G, -word,\n\
                  root:HEX. Nodes of the original know a file by its whole name only: they are\n\
                  asked for just that. Results are numbered for `get`.",
        build: |args| Ok(Command::Search { words: args.typed("words")? }),
    },
    Entry {
        number: None,
        name: "browse",
        alias: None,
        choice: None,
        arguments: "NODE",
        summary: "list what a node shares",
        details: "NODE is HOST:PORT, IP PORT, or the beginning of the node's id.",
        build: browse,
    },
    Entry {
        number: Some("3.4"),
        name: "get",
        alias: Some("download"),
        choice: None,
        arguments: "N | NAME | IP PORT NAME",
        summary: "download a file",
        details: "N is a number of the last search, NAME a file that some node has; with\n\
                  IP PORT (or HOST:PORT) it comes from that node. A name with blanks needs no\n\
                  quotes unless it could be read otherwise. The file appears in the downloads\n\
                  folder when it is whole, under another name if that one is taken.",
        build: get,
    },
    Entry {
        number: Some("3.5"),
        name: "downloads",
        alias: None,
        choice: None,
        arguments: "",
        summary: "list what was downloaded",
        details: "Downloads that are still running are shown by `status`.",
        build: |_| Ok(Command::Downloads),
    },
    Entry {
        number: None,
        name: "cancel",
        alias: None,
        choice: None,
        arguments: "[NAME]",
        summary: "give up a download or share under way",
        details: "Nothing of it is kept. Without a NAME all of them are given up.",
        build: cancel,
    },
    Entry {
        number: None,
        name: "status",
        alias: None,
        choice: None,
        arguments: "",
        summary: "show addresses, discovery and transfers",
        details: "And which registries know this node, since when it runs, how much moved.",
        build: |_| Ok(Command::Status),
    },
    Entry {
        number: None,
        name: "wait",
        alias: None,
        choice: None,
        arguments: "[SECONDS]",
        summary: "let time pass, or wait for all `&` commands",
        details: "SECONDS is a decimal number from 0 to 86400.",
        build: wait,
    },
    Entry {
        number: None,
        name: "help",
        alias: None,
        choice: None,
        arguments: "[COMMAND]",
        summary: "explain one command, or list all",
        details: "COMMAND is a word or a number of the menu.",
        build: |args| {
            Ok(Command::Help(if args.words.is_empty() { None } else { Some(args.rest("command")?) }))
        },
    },
    Entry {
        number: Some("0"),
        name: "quit",
        alias: Some("exit"),
        choice: None,
        arguments: "",
        summary: "end the program",
        details: "Says goodbye to the other nodes. Downloads that are still running are given\n\
                  up.",
        build: |_| Ok(Command::Quit),
    },
];
