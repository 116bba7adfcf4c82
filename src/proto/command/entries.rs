//! The table of commands. The parser and the help both read it, so neither can know a command that the other does not.

use super::arguments::{self, Args};
use super::{Command, CommandError, List};

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
        build: arguments::bootstrap,
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
        summary: "share a copy of a file or a folder",
        details: "From then on every node can find and fetch it under its own name. What is\n\
                  shared already under that name is not replaced. Of a folder all files in it\n\
                  are copied, hidden ones and links left out. PATH may begin with ~/, or be an\n\
                  address as file managers give it (file:///home/me/a%20b.txt).",
        build: arguments::share,
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
        details: "NODE is HOST:PORT, IP PORT, or the beginning of the node's id. The files are\n\
                  numbered for `get`.",
        build: arguments::browse,
    },
    Entry {
        number: Some("3.4"),
        name: "get",
        alias: Some("download"),
        choice: None,
        arguments: "N… | NAME | IP PORT NAME",
        summary: "download files",
        details: "N is a number of the last search or `browse`; there may be several, as in\n\
                  `get 1 4 7-9`; `all` is all of them, `get 3.1` the first of operation 3.\n\
                  NAME is a file that some node has, or with a / at its end a\n\
                  folder with all that is in it: `get music/`. With IP PORT (or HOST:PORT) it\n\
                  comes from that node, and a folder of the list that `browse` showed last\n\
                  from that one. A name that was shown may be typed as shown; any other needs\n\
                  quotes where it could be read otherwise: `get \"3 4\"`,\n\
                  `get \"report 2023 a.pdf\"`. A file appears in the downloads folder when it is\n\
                  whole, under another name if that one is taken; what is there already, with\n\
                  the same content, is not fetched again.\n\
                  See `transfers`.",
        build: arguments::get,
    },
    Entry {
        number: Some("3.5"),
        name: "downloads",
        alias: None,
        choice: None,
        arguments: "",
        summary: "list what was downloaded",
        details: "Downloads that are still running are shown by `transfers`.",
        build: |_| Ok(Command::Downloads),
    },
    Entry {
        number: None,
        name: "transfers",
        alias: None,
        choice: None,
        arguments: "",
        summary: "list unfinished downloads, and uploads",
        details: "Those under way, and those that wait for their turn or for a node that has\n\
                  the file, are paused, or were interrupted when the program ended. They are\n\
                  numbered for `pause`, `resume` and `cancel`. After them come the files that\n\
                  other nodes fetch from here: who fetches which, how far, how fast.",
        build: |_| Ok(Command::Transfers),
    },
    Entry {
        number: None,
        name: "pause",
        alias: None,
        choice: None,
        arguments: "N | NAME | all",
        summary: "stop downloads, and keep what arrived",
        details: "N is a number that `transfers` shows, NAME a file's name. They rest until\n\
                  `resume`, or until the next start of the program, which goes on with all\n\
                  that is not complete (unless --no-resume is given). What an old node sends\n\
                  cannot be taken up again, and is not paused.",
        build: arguments::pause,
    },
    Entry {
        number: None,
        name: "resume",
        alias: None,
        choice: None,
        arguments: "N | NAME | all",
        summary: "go on with paused or interrupted downloads",
        details: "N is a number that `transfers` shows, NAME a file's name. What arrived\n\
                  before is not fetched again. It ends when they are complete.",
        build: arguments::resume,
    },
    Entry {
        number: None,
        name: "cancel",
        alias: None,
        choice: None,
        arguments: "[N | NAME | all]",
        summary: "give up downloads and shares under way",
        details: "N is a number that `transfers` shows, NAME a file's name. Nothing of it is\n\
                  kept. Without an argument all of them are given up. The number of an upload\n\
                  ends that one; the same node is not given the file until it comes back.",
        build: arguments::cancel,
    },
    Entry {
        number: None,
        name: "limit",
        alias: None,
        choice: None,
        arguments: "[up|down RATE|off]",
        summary: "bound the rates, or show the bounds",
        details: "`up` is what other nodes fetch from this one, `down` what this one fetches.\n\
                  RATE is in bytes a second: 500k, 2.5M, 20MB/s (k, M and G are thousands,\n\
                  millions and thousands of millions), at least 4096. It holds until the\n\
                  program ends; --limit-up and --limit-down set it at the start.",
        build: arguments::limit,
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
        summary: "pass time, or wait for all `&` commands",
        details: "SECONDS is a decimal number from 0 to 86400.",
        build: arguments::wait,
    },
    Entry {
        number: None,
        name: "help",
        alias: None,
        choice: None,
        arguments: "[COMMAND]",
        summary: "explain one command, or list all",
        details: "COMMAND is a word or a number of the menu.",
        build: arguments::help,
    },
    Entry {
        number: Some("0"),
        name: "quit",
        alias: Some("exit"),
        choice: None,
        arguments: "",
        summary: "end the program",
        details: "Says goodbye to the other nodes. Downloads that are not complete go on at\n\
                  the next start, but for those from old nodes, which are given up.",
        build: |_| Ok(Command::Quit),
    },
];
