//! Events as lines for a person. All words for people about what happens are made here.

use super::{Downloaded, Event, FoundRow, IndexStatus, Running, Status, TransferRow, UploadRow};
use crate::proto::escape::for_terminal;
use crate::time::Duration;
use std::fmt::Write as _;

impl Event<'_> {
    /// A line for a person, or nothing where a person sees it anyway.
    pub(crate) fn text(&self) -> Option<String> {
        Some(match self {
            Event::Ready { at, .. } => format!("ready: this node listens on {at}\n"),
            Event::Node { at, lists, alive, id } => {
                let row = format!(
                    "{at:<21}  {:<5}  {:<16}  {}",
                    if *alive { "alive" } else { "down" },
                    id.as_deref().unwrap_or(""),
                    lists.iter().filter(|list| **list != "all").copied().collect::<Vec<_>>().join(", ")
                );
                format!("{}\n", row.trim_end())
            }
            Event::File { number, name, size, .. } => {
                let number = number.map_or(String::new(), |number| format!("{number:>3}  "));
                format!("{number}{:>9}  {}\n", bytes(*size), for_terminal(name))
            }
            Event::Truncated { files, narrow: true } => format!("{files} of more; narrow it: add words\n"),
            Event::Truncated { files, .. } => format!("too many files: these are the first {files}\n"),
            Event::Result(row) => row.text(),
            Event::Downloaded(downloaded) => downloaded.text(),
            Event::Transfer(row) => row.text(),
            Event::Upload(row) => row.text(),
            Event::Paused { number, name, bytes: n } => {
                format!("paused {number}: {}; {} of it are kept\n", for_terminal(name), bytes(*n))
            }
            Event::Limit { up, down } => {
                let bound = |rate: &Option<u64>| rate.map_or("off".to_owned(), |rate| bytes(rate) + "/s");
                format!("limits: up {}, down {}\n", bound(up), bound(down))
            }
            Event::Blamed { at, id, name, pieces } => {
                let id = id.as_ref().map_or(String::new(), |id| format!(" ({})", for_terminal(id)));
                let wrong = plural(usize::try_from(*pieces).unwrap_or(usize::MAX), "piece", "pieces");
                format!("{at}{id} sent {wrong} of {} wrong: it is left out\n", for_terminal(name))
            }
            Event::Shared { name, bytes: n, files } => {
                let files = files.map_or(String::new(), |n| plural(n, "file", "files") + ", ");
                format!("shared as {} ({files}{})\n", for_terminal(name), bytes(*n))
            }
            Event::Registered { bootstrap, nodes, .. } => {
                let others = plural(*nodes, "other node", "other nodes");
                format!("registered at bootstrap {}; it names {others}\n", for_terminal(bootstrap))
            }
            Event::Multicast { on: true, interfaces } => {
                format!("multicast is on, on {}\n", plural(*interfaces, "interface", "interfaces"))
            }
            Event::Multicast { on: false, .. } => "multicast is off\n".to_owned(),
            Event::Status(status) => status.text(),
            Event::Help { text } => (*text).to_owned(),
            Event::Error { message, .. } => format!("error: {message}\n"),
            Event::Dropped { lines } => lines_dropped(*lines),
            Event::NotOffered { count } => {
                let n = usize::try_from(*count).unwrap_or(usize::MAX);
                format!("not offered there: {}\n", plural(n, "file or folder", "files or folders"))
            }
            Event::LeftOut(not_offered) => format!("not offered: {}\n", for_terminal(not_offered.text())),
            Event::Found { .. } | Event::Progress { .. } | Event::Done { .. } => return None,
        })
    }
}

impl FoundRow<'_> {
    /// A line, and one more for each of the other names.
    pub(super) fn text(&self) -> String {
        let FoundRow { number, name, size, sources, names, .. } = self;
        let size = size.map_or("size?".to_owned(), bytes);
        let at = match sources.as_slice() {
            [place] => place.to_string(),
            sources => plural(sources.len(), "node", "nodes"),
        };
        let first = format!("{number:>3}  {size:>9}  {}  at {at}\n", for_terminal(name));
        names.iter().fold(first, |text, name| text + &format!("{:>14}  {}\n", "or", for_terminal(name)))
    }
}

impl IndexStatus {
    pub(super) fn text(&self) -> String {
        let files = plural(usize::try_from(self.files).unwrap_or(usize::MAX), "file", "files");
        let mut text = format!("{files}, {}", bytes(self.bytes));
        if self.hashed_files < self.files {
            let done = self.hashed_bytes.saturating_mul(100) / self.bytes.max(1);
            text.push_str(&format!("; {} hashed, {done} %", self.hashed_files));
        }
        if let Some(name) = &self.hashing {
            text.push_str(&format!(", now {}", for_terminal(name)));
        }
        if self.full {
            text.push_str("; the limit of files is reached: the others are not found by search");
        }
        text
    }
}

impl Status {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        row("node", &self.at);
        row("id", &self.id);
        if let Some(clone) = self.clone {
            row("clone", &format!("{clone} says it has this node's own key: see `ds-peer identity --help`"));
        }
        row("group", &self.group.as_deref().unwrap_or("none: an open node"));
        row("version", &self.version);
        row("up", &clock(Duration::from_secs(self.uptime_seconds)));
        let lists = format!(
            "{} ({} bootstrap, {} multicast)",
            self.nodes, self.nodes_bootstrap, self.nodes_multicast
        );
        row("nodes", &lists);
        row("multicast", &self.multicast);
        for bootstrap in &self.bootstraps {
            row("bootstrap", &for_terminal(bootstrap));
        }
        row("old protocol", &if self.v1 { "on" } else { "off" });
        row("uploads", &format!("{} running, {} in all", self.uploads, bytes(self.uploaded_bytes)));
        row("downloads", &format!("{} running, {} in all", self.downloads, bytes(self.downloaded_bytes)));
        for Running { name, state, sources, bytes: n } in &self.running {
            let mut text = format!("{}: {state}", for_terminal(name));
            if *sources > 0 && *state == "receiving" {
                text.push_str(&format!(" from {}", plural(*sources, "node", "nodes")));
            }
            row("", &format!("{text}, {} so far", bytes(*n)));
        }
        row(
            "connections",
            &format!("{}, {}", self.connections, plural(self.sessions, "session", "sessions")),
        );
        row("index", &self.index.text());
        let not_offered = self.index.left_out.text();
        if !not_offered.is_empty() {
            row("not offered", &for_terminal(not_offered));
        }
        text
    }
}

impl Downloaded<'_> {
    pub(super) fn text(&self) -> String {
        let (name, path) = (for_terminal(self.name), for_terminal(self.path));
        if self.already {
            return format!("{name} is here already: {path}\n");
        }
        let check = if self.verified { "verified" } else { "unverified: old protocol" };
        let mut about = format!("{}, {check}", bytes(self.bytes));
        if self.sources > 1 {
            about.push_str(&format!(", from {} nodes", self.sources));
        }
        if self.resumed > 0 {
            about.push_str(&format!(", {} were here already", bytes(self.resumed)));
        }
        let mut text = format!("downloaded {name} ({about}) to {path}\n");
        if !self.confirmed {
            text.push_str(&format!("{name} is saved but not confirmed on disk: a power cut may lose it\n"));
        }
        text
    }
}

impl TransferRow<'_> {
    pub(super) fn text(&self) -> String {
        let TransferRow { number, name, state, .. } = self;
        let size = self.size.map_or("size?".to_owned(), bytes);
        let mut text = format!(
            "{number:>3}  {state:<11}  {:>9} of {size:>9}  {}",
            bytes(self.bytes),
            for_terminal(name)
        );
        if self.sources > 0 {
            text.push_str(&format!(
                "  {}/s from {}",
                bytes(self.rate),
                plural(self.sources, "node", "nodes")
            ));
        }
        text.push('\n');
        text
    }
}

impl UploadRow<'_> {
    pub(super) fn text(&self) -> String {
        let UploadRow { number, name, at, size, rate, .. } = self;
        let (sent, size, rate) = (bytes(self.bytes), bytes(*size), bytes(*rate));
        let name = for_terminal(name);
        format!("{number:>3}  {:<11}  {sent:>9} of {size:>9}  {name}  {rate}/s to {at}\n", "sending")
    }
}

/// What a person reads in place of lines that were left out.
pub(crate) fn lines_dropped(lines: usize) -> String {
    format!("… {lines} lines dropped\n")
}

/// A number of bytes as people read it.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = "B";
    for next in UNITS {
        // 999.95 would print as 1000.0.
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A length of time as `m:ss` or `h:mm:ss`.
pub(crate) fn clock(time: Duration) -> String {
    let s = time.as_secs();
    if s < 3600 {
        format!("{}:{:02}", s / 60, s % 60)
    } else {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    }
}

/// `1 node`, `2 nodes`.
pub(crate) fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_well() {
        let sizes = [0, 999, 1000, 999_949, 999_950, 1_500_000, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.5 MB", "18446.7 PB"]);
        assert_eq!([5, 65, 3725].map(|s| clock(Duration::from_secs(s))), ["0:05", "1:05", "1:02:05"]);
    }
}
