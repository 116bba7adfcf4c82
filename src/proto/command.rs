//! The console's grammar: one line, one command. The menu numbers of the original are names of the same commands.
//!
//! Words are parted by blanks. A word that begins with `"` or `'` is quoted up to the next one; a backslash outside
//! single quotes takes the next character as it is. A quote inside a word is only a quote (`don't`), because the last
//! argument of most commands is a file name, which may be typed with its blanks and unquoted. A lone `&` at the end
//! runs the command beside those after it; a line that begins with `#` is a comment.

mod arguments;
mod entries;
mod help;
mod shown;
mod source;
mod words;

pub use help::help;
pub use shown::{is_shown_as, parse_among};
pub use words::append_argument;

use super::escape::for_terminal;
use crate::config::HostPort;
use crate::time::Duration;
use arguments::Args;
use entries::{ENTRIES, Entry};
use std::fmt;
use words::{Word, split};

/// A command and how to run it.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What to do.
    pub command: Command,
    /// Go on with the next line at once; `wait` without an argument waits for all such.
    pub background: bool,
}

/// What the operator wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Register at this registry, or at the first one configured, and take its nodes.
    Bootstrap(Option<HostPort>),
    /// Announce and listen on the multicast group.
    MulticastOn,
    /// Leave it.
    MulticastOff,
    /// Show a list of nodes, and which of them answer.
    Nodes(List),
    /// Copy a file into the shared folder.
    Share {
        /// Of this host: as typed, or what a `file:` address stands for. A `~/` at its start is the operator's home.
        path: String,
    },
    /// Show what we share.
    Files,
    /// Ask all nodes for files.
    Search {
        /// What for, in the language of [`crate::proto::query`], with its quotes as typed.
        words: String,
    },
    /// List what a node shares.
    Browse(NodeRef),
    /// Download a file.
    Get(Wanted),
    /// Show what was downloaded.
    Downloads,
    /// Show the downloads that are not complete.
    Transfers,
    /// Stop downloads, and keep what arrived.
    Pause(Which),
    /// Go on with paused or interrupted downloads.
    Resume(Which),
    /// Give up downloads and shares under way.
    Cancel(Which),
    /// Show the bounds of the rates, or set that of one way, in bytes a second; none: no bound.
    Limit(Option<(Way, Option<u64>)>),
    /// Show what the node is and does.
    Status,
    /// Do nothing for so long, or until all background commands have ended.
    Wait(Option<Duration>),
    /// Explain this command, or all of them.
    Help(Option<String>),
    /// End the program.
    Quit,
    /// A blank line or a comment.
    Empty,
}

impl Command {
    /// The command's word, as the table has it; for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Bootstrap(_) => "bootstrap",
            Command::MulticastOn | Command::MulticastOff => "multicast",
            Command::Nodes(_) => "nodes",
            Command::Share { .. } => "share",
            Command::Files => "files",
            Command::Search { .. } => "search",
            Command::Browse(_) => "browse",
            Command::Get(_) => "get",
            Command::Downloads => "downloads",
            Command::Transfers => "transfers",
            Command::Pause(_) => "pause",
            Command::Resume(_) => "resume",
            Command::Cancel(_) => "cancel",
            Command::Limit(_) => "limit",
            Command::Status => "status",
            Command::Wait(_) => "wait",
            Command::Help(_) => "help",
            Command::Quit => "quit",
            Command::Empty => "",
        }
    }
}

/// A node, as the operator names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeRef {
    /// By where it listens.
    At(HostPort),
    /// By the beginning of its id, in hex digits.
    Id(String),
}

/// What is to be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A file of one node.
    At {
        /// Who has it.
        node: HostPort,
        /// The file's name there, as typed; no rule has been applied to it.
        name: String,
    },
    /// Results of a search.
    Numbers {
        /// The number of the operation that found them; none: the last search.
        of: Option<u32>,
        /// From 1 on: in the order typed, each once, never none.
        numbers: Vec<usize>,
    },
    /// All results of the last search.
    All,
    /// The file of that name, whoever has it.
    Name(String),
    /// All files beneath a folder.
    Folder {
        /// Who has it; none: whoever.
        node: Option<HostPort>,
        /// The folder's name, as typed but without the slash at its end; no rule has been applied to it.
        folder: String,
    },
}

/// Downloads that are not complete, as the operator names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// By the number `transfers` shows, from 1 on.
    Number(u32),
    /// By the file's name, as typed.
    Name(String),
    /// Every one.
    All,
}

/// Which way bytes of files go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To other nodes.
    Up,
    /// From other nodes.
    Down,
}

/// One of the three lists of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// All that are known.
    All,
    /// Those a registry named.
    Bootstrap,
    /// Those the multicast group named.
    Multicast,
}

/// What is wrong with a line. Its text is fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// No such command.
    Unknown {
        /// As typed.
        word: String,
    },
    /// The command needs more.
    MissingArgument {
        /// The command's word.
        command: &'static str,
        /// What is asked for, as a prompt has it: `IP`, `port`, `file name`, `path`, `on or off` …
        next: &'static str,
        /// How the whole is written.
        usage: String,
    },
    /// An argument that makes no sense.
    BadArgument {
        /// The command's word.
        command: &'static str,
        /// What is wrong with which; holds typed text.
        problem: String,
        /// How the whole is written.
        usage: String,
    },
    /// A quoted word has no end.
    UnclosedQuote,
    /// The line ends with a backslash.
    OpenEscape,
    /// The line contains a control character.
    Control,
}

impl CommandError {
    /// The command's word, where the line has one.
    pub fn command(&self) -> &'static str {
        match self {
            CommandError::MissingArgument { command, .. } | CommandError::BadArgument { command, .. } => {
                command
            }
            _ => "",
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Unknown { word } => {
                write!(f, "unknown command `{}`: `help` lists them", for_terminal(word))
            }
            CommandError::MissingArgument { command, next, usage } => {
                write!(f, "{command}: missing argument: {next} (usage: {usage})")
            }
            CommandError::BadArgument { command, problem, usage } => {
                write!(f, "{command}: {} (usage: {usage})", for_terminal(problem))
            }
            CommandError::UnclosedQuote => f.write_str("a quote is not closed"),
            CommandError::OpenEscape => {
                f.write_str("the backslash at the end of the line has nothing to escape")
            }
            CommandError::Control => f.write_str("the line contains a control character"),
        }
    }
}

impl std::error::Error for CommandError {}

/// Reads one line, with or without its end.
///
/// # Errors
/// What is wrong with it. At a terminal, [`CommandError::MissingArgument`] says what to ask for; the answer goes into
/// the line by [`append_argument`].
pub fn parse(line: &str) -> Result<Line, CommandError> {
    let line = line.trim_end_matches(['\r', '\n']);
    let empty = Line { command: Command::Empty, background: false };
    if line.trim_start_matches([' ', '\t']).starts_with('#') {
        return Ok(empty);
    }
    let mut words = split(line)?;
    let background = words.last().is_some_and(Word::is_background);
    if background {
        words.pop();
    }
    let line =
        if background { line.trim_end_matches([' ', '\t']).strip_suffix('&').unwrap_or(line) } else { line };
    let Some(first) = words.first() else {
        return if background { Err(unknown("&")) } else { Ok(empty) };
    };
    let (entry, used) = find(first, words.get(1))?;
    let mut args = Args::new(entry, &words[used..], line);
    let command = (entry.build)(&mut args)?;
    args.end()?;
    if background && matches!(command, Command::Wait(_) | Command::Quit) {
        return Err(entry.bad("it cannot run beside other commands".to_owned()));
    }
    Ok(Line { command, background })
}

/// The entry that the first words name, and how many of them that took.
fn find(first: &Word, second: Option<&Word>) -> Result<(&'static Entry, usize), CommandError> {
    if let Some(entry) = ENTRIES.iter().find(|entry| entry.number == Some(&first.text)) {
        return Ok((entry, 1));
    }
    let mut named = ENTRIES.iter().filter(|entry| entry.is_named(&first.text)).peekable();
    let Some(&entry) = named.peek() else {
        return Err(unknown(&first.text));
    };
    let Some(choice) = entry.choice else {
        return Ok((entry, 1));
    };
    let Some(second) = second else {
        return Err(entry.missing(choice.question));
    };
    let chosen =
        named.find(|entry| entry.choice.is_some_and(|choice| choice.word.eq_ignore_ascii_case(&second.text)));
    match chosen {
        Some(entry) => Ok((entry, 2)),
        None => Err(entry.bad(format!("`{}` is not {}", second.text, choice.question))),
    }
}

fn unknown(word: &str) -> CommandError {
    CommandError::Unknown { word: word.to_owned() }
}

#[cfg(test)]
mod tests;
