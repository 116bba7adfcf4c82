//! The progress line: what moves now, on one line that is drawn anew.

use crate::node::api::{bytes as sized, clock, plural};
use crate::node::ids::{FrontId, Op};
use crate::proto::escape::for_terminal;
use crate::time::Duration;

/// A transfer under way.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Those that wait for it.
    pub(crate) ops: Vec<Op>,
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) size: Option<u64>,
    /// Bytes a second lately, where that is measured; else the average counts.
    pub(crate) rate: Option<u64>,
    /// Nodes that give it now.
    pub(crate) sources: Option<usize>,
    pub(crate) elapsed: Duration,
}

impl Row {
    /// Whether this front end is shown it: it waits for it, or it is the operator's and nobody does.
    pub(crate) fn is_for(&self, front: FrontId) -> bool {
        self.ops.iter().any(|op| op.front == front) || (front == FrontId::Console && self.ops.is_empty())
    }

    fn rate(&self) -> u64 {
        self.rate.unwrap_or_else(|| (self.bytes as f64 / self.elapsed.as_secs_f64().max(0.001)) as u64)
    }
}

/// One row: its name, bytes, rate, sources and time left (time taken, where the size is not known); several: their sum.
pub(crate) fn line(rows: &[&Row]) -> Option<String> {
    let first = rows.first()?;
    let bytes = rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.bytes));
    let elapsed = rows.iter().map(|row| row.elapsed).max()?;
    let size = rows.iter().try_fold(0, |sum: u64, row| Some(sum.saturating_add(row.size?)));
    let rate = rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.rate()));
    let (name, sources) = match rows.len() {
        1 => (for_terminal(&first.name), first.sources.unwrap_or(0)),
        // One node may give to several: their sum says nothing.
        n => (format!("{n} transfers"), 0),
    };
    let mut speed = format!("  {}/s", sized(rate));
    if sources > 0 {
        speed.push_str(&format!(" from {}", plural(sources, "node", "nodes")));
    }
    let end = match size {
        Some(size) if rate > 0 => {
            let left = Duration::from_secs(size.saturating_sub(bytes) / rate);
            format!(" of {}{speed}  {} left", sized(size), clock(left))
        }
        Some(size) => format!(" of {}", sized(size)),
        None => format!("{speed}  {}", clock(elapsed)),
    };
    Some(format!("{name}  {}{end}", sized(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(rows: &[Row]) -> Option<String> {
        line(&rows.iter().collect::<Vec<_>>())
    }

    fn row(name: &str, bytes: u64, size: Option<u64>) -> Row {
        let elapsed = Duration::from_secs(10);
        Row { ops: Vec::new(), name: name.to_owned(), bytes, size, rate: None, sources: None, elapsed }
    }

    #[test]
    fn it_tells_bytes_rate_and_time() {
        assert_eq!(line_of(&[]), None);
        assert_eq!(line_of(&[row("a", 50_000_000, None)]).unwrap(), "a  50.0 MB  5.0 MB/s  0:10");
        assert_eq!(
            line_of(&[row("a", 50_000_000, Some(100_000_000))]).unwrap(),
            "a  50.0 MB of 100.0 MB  5.0 MB/s  0:10 left"
        );
        let two = [row("a", 1_000_000, None), row("b", 1_000_000, Some(5))];
        assert_eq!(line_of(&two).unwrap(), "2 transfers  2.0 MB  200.0 kB/s  0:10");
    }

    #[test]
    fn a_measured_rate_counts_more_than_the_average() {
        let measured = |rate, sources| Row {
            rate: Some(rate),
            sources: Some(sources),
            ..row("a\u{1b}", 50_000_000, Some(100_000_000))
        };
        assert_eq!(
            line_of(&[measured(10_000_000, 4)]).unwrap(),
            "a\\u{1b}  50.0 MB of 100.0 MB  10.0 MB/s from 4 nodes  0:05 left"
        );
        assert_eq!(line_of(&[measured(0, 1)]).unwrap(), "a\\u{1b}  50.0 MB of 100.0 MB");
        let two = [measured(10_000_000, 4), measured(40_000_000, 2)];
        assert_eq!(line_of(&two).unwrap(), "2 transfers  100.0 MB of 200.0 MB  50.0 MB/s  0:02 left");
        assert_eq!(
            line_of(&[Row { size: None, ..measured(7_000_000, 1) }]).unwrap(),
            "a\\u{1b}  50.0 MB  7.0 MB/s from 1 node  0:10"
        );
        assert!(line_of(&[measured(u64::MAX, 1), measured(u64::MAX, 1)]).is_some());
    }
}
