//! What follows a command's word: from words to a command.

use super::entries::Entry;
use super::source;
use super::words::Word;
use super::{Command, CommandError, NodeRef, Wanted, Way, Which};
use crate::config::{BOOTSTRAP_PORT, HostPort, is_ip, parse_port, parse_rate};
use crate::time::Duration;
use std::collections::BTreeSet;

/// Longest `wait`, in seconds: a day.
const WAIT_MAX: f64 = 86_400.0;
/// Most results that one `get` takes.
const NUMBERS_MAX: usize = 1000;

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
    pub(super) fn typed(&mut self, what: &'static str) -> Result<String, CommandError> {
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
    pub(super) fn rest(&mut self, what: &'static str) -> Result<String, CommandError> {
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

    /// All that is left as numbers of results, in their order and each once.
    fn numbers(&mut self) -> Result<Wanted, CommandError> {
        let (mut numbers, mut of) = (Vec::new(), None);
        let mut seen = BTreeSet::new();
        for Word { text, .. } in std::mem::take(&mut self.words) {
            let wrong = || format!("`{text}` is no number of a result; they begin with 1");
            let ends =
                ends(text).and_then(|(_, first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
            let (first, last) = match ends {
                Some((first, last)) if first > 0 => (first, last),
                _ => return Err(self.entry.bad(wrong())),
            };
            let op = self.operation(text)?;
            if *of.get_or_insert(op) != op {
                return Err(self.entry.bad("one `get` takes results of one search".to_owned()));
            }
            if first > last {
                return Err(self.entry.bad(format!("`{text}` ends before it begins")));
            }
            for number in first..=last {
                if seen.insert(number) {
                    numbers.push(number);
                }
                if numbers.len() > NUMBERS_MAX {
                    let problem = format!("more than {NUMBERS_MAX} results cannot be fetched at once");
                    return Err(self.entry.bad(problem));
                }
            }
        }
        Ok(Wanted::Numbers { of: of.flatten(), numbers })
    }

    /// The operation in `OP.N`.
    fn operation(&self, text: &str) -> Result<Option<u32>, CommandError> {
        let Some((op, ..)) = ends(text).filter(|(op, ..)| op.is_some()) else { return Ok(None) };
        match op.and_then(|op| op.parse().ok()) {
            Some(op) if op > 0 => Ok(Some(op)),
            _ => Err(self
                .entry
                .bad(format!("`{text}` names no search: the number before the dot begins with 1"))),
        }
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
        let host = if is_ip(first) {
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

pub(super) fn bootstrap(args: &mut Args<'_>) -> Result<Command, CommandError> {
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

/// A path of this host.
pub(super) fn share(args: &mut Args<'_>) -> Result<Command, CommandError> {
    let typed = args.rest("path")?;
    match source::path_of(&typed) {
        None => Ok(Command::Share { path: typed }),
        Some(Ok(path)) => Ok(Command::Share { path }),
        Some(Err(problem)) => Err(args.entry.bad(problem)),
    }
}

/// Numbers of a search, or `all` of the last one; or `IP PORT NAME`, where the first words are an address; else a name. What is quoted is no
/// number.
pub(super) fn get(args: &mut Args<'_>) -> Result<Command, CommandError> {
    let words = args.words;
    if !words.is_empty() && words.iter().all(|word| !word.is_quoted() && ends(&word.text).is_some()) {
        return Ok(Command::Get(args.numbers()?));
    }
    if let [word] = words {
        if !word.is_quoted() && word.text.eq_ignore_ascii_case("all") {
            args.words = &[];
            return Ok(Command::Get(Wanted::All));
        }
    }
    let node = if begins_with_node(words) { Some(args.node()?) } else { None };
    let name = args.rest("file name")?;
    Ok(Command::Get(match (name.strip_suffix('/'), node) {
        (Some(""), _) => return Err(args.entry.bad("the folder has no name".to_owned())),
        (Some(folder), node) => Wanted::Folder { node, folder: folder.to_owned() },
        (None, Some(node)) => Wanted::At { node, name },
        (None, None) => Wanted::Name(name),
    }))
}

/// Whether the first words are an address: `HOST:PORT`, or a host and its port with something behind them. A number for an
/// IP address says enough by itself: who gives no port, or none there can be, is told so.
fn begins_with_node(words: &[Word]) -> bool {
    let [first, rest @ ..] = words else { return true };
    let first = first.text.as_str();
    if is_ip(bare(first)) {
        return rest.first().is_none_or(|port| is_digits(&port.text));
    }
    if let Some((host, port)) = first.rsplit_once(':') {
        if is_ip(bare(host)) && (host.starts_with('[') || !host.contains(':')) {
            return is_digits(port);
        }
        return is_host(host) && is_port(port);
    }
    matches!(rest, [port, _, ..] if is_host(first) && is_port(&port.text))
}

/// Without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Whether a name service may know it: labels of letters, digits, dashes and underscores, the last one no number.
fn is_host(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_sign = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(is_sign) && !label.starts_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label) && !text.rsplit('.').next().is_some_and(is_digits)
}

/// Whether it is a port as people write it: `01` is the number of a track.
fn is_port(text: &str) -> bool {
    parse_port(text).is_some() && !text.starts_with('0')
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// What stands before the dot of `OP.K-L`, if there is one, and both ends, or a number twice; all are digits, and no more is
/// known of them.
fn ends(word: &str) -> Option<(Option<&str>, &str, &str)> {
    let (op, numbers) = word.split_once('.').map_or((None, word), |(op, numbers)| (Some(op), numbers));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    (op.is_none_or(is_digits) && is_digits(first) && is_digits(last)).then_some((op, first, last))
}

/// `ID`, `IP PORT` or `HOST:PORT`.
pub(super) fn browse(args: &mut Args<'_>) -> Result<Command, CommandError> {
    if args.words.is_empty() {
        return Err(args.entry.missing("IP or id"));
    }
    if let [word] = args.words {
        if word.text.len() >= 4 && word.text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(Command::Browse(NodeRef::Id(args.need("node")?.to_owned())));
        }
        // Only an address alone still lacks something: its port.
        if !is_ip(&word.text) && HostPort::parse(&word.text, None).is_err() {
            let problem = format!(
                "`{}` is neither an address nor the beginning (4 digits or more) of an id",
                word.text
            );
            return Err(args.entry.bad(problem));
        }
    }
    Ok(Command::Browse(NodeRef::At(args.node()?)))
}

/// `N`, `NAME` or `all`, of which the quoted are names.
fn which(args: &mut Args<'_>) -> Result<Which, CommandError> {
    if let [word] = args.words {
        if !word.is_quoted() && is_digits(&word.text) {
            args.words = &[];
            return match word.text.parse() {
                Ok(number) if number > 0 => Ok(Which::Number(number)),
                _ => {
                    let problem = format!("`{}` is no number of a transfer; they begin with 1", word.text);
                    Err(args.entry.bad(problem))
                }
            };
        }
        if !word.is_quoted() && word.text.eq_ignore_ascii_case("all") {
            args.words = &[];
            return Ok(Which::All);
        }
    }
    Ok(Which::Name(args.rest("number, file name or all")?))
}

pub(super) fn pause(args: &mut Args<'_>) -> Result<Command, CommandError> {
    Ok(Command::Pause(which(args)?))
}

pub(super) fn resume(args: &mut Args<'_>) -> Result<Command, CommandError> {
    Ok(Command::Resume(which(args)?))
}

pub(super) fn cancel(args: &mut Args<'_>) -> Result<Command, CommandError> {
    Ok(Command::Cancel(if args.words.is_empty() { Which::All } else { which(args)? }))
}

/// Nothing, or `up` or `down` and a rate or `off`.
pub(super) fn limit(args: &mut Args<'_>) -> Result<Command, CommandError> {
    let Some(word) = args.next() else { return Ok(Command::Limit(None)) };
    let way = match word.to_ascii_lowercase().as_str() {
        "up" => Way::Up,
        "down" => Way::Down,
        _ => return Err(args.entry.bad(format!("`{word}` is not up or down"))),
    };
    let rate = args.rest("rate or off")?;
    match parse_rate(&rate) {
        Ok(rate) => Ok(Command::Limit(Some((way, rate)))),
        Err(problem) => Err(args.entry.bad(problem)),
    }
}

pub(super) fn help(args: &mut Args<'_>) -> Result<Command, CommandError> {
    Ok(Command::Help(if args.words.is_empty() { None } else { Some(args.rest("command")?) }))
}

pub(super) fn wait(args: &mut Args<'_>) -> Result<Command, CommandError> {
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
