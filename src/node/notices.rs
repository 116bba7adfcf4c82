//! Log lines that a stranger can cause: the first at once, then one summary per [`WINDOW`] however many come.

use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::fmt;

/// How often a summary is written at most.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts what would otherwise be a log line each.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// A window is open, and what came in it.
    open: Option<BTreeMap<&'static str, Count>>,
    lines: u64,
}

#[derive(Debug)]
struct Count {
    n: u64,
    first: String,
}

impl Notices {
    /// `what` happened; `detail` is free of control characters already. Returns when [`Notices::flush`] is due if a
    /// window opens with this.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        what: &'static str,
        detail: impl fmt::Display,
    ) -> Option<Instant> {
        if let Some(counts) = &mut self.open {
            counts.entry(what).or_insert_with(|| Count { n: 0, first: detail.to_string() }).n += 1;
            return None;
        }
        self.open = Some(BTreeMap::new());
        self.lines += 1;
        log::info!("{what}: {detail}");
        Some(now + WINDOW)
    }

    /// The window is over: writes the summary, if there is something to say. Returns when the next one is due.
    pub(crate) fn flush(&mut self, now: Instant) -> Option<Instant> {
        let counts = self.open.take()?;
        if counts.is_empty() {
            return None;
        }
        let parts: Vec<String> = counts
            .iter()
            .map(|(what, Count { n, first })| match n {
                1 => format!("{what}: {first}"),
                _ => format!("{n} times {what} (the first: {first})"),
            })
            .collect();
        self.lines += 1;
        log::info!("in the last {} s: {}", WINDOW.as_secs(), parts.join("; "));
        self.open = Some(BTreeMap::new());
        Some(now + WINDOW)
    }

    /// Lines written so far.
    #[cfg(test)]
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_two_lines_and_silence_closes_the_window() {
        let mut notices = Notices::default();
        let now = Instant::ZERO;
        let due = notices.note(now, "knocked", "a").expect("a window opens");
        for _ in 0..10_000 {
            assert_eq!(notices.note(now, "knocked", "b"), None);
        }
        assert_eq!(notices.lines(), 1);
        let due = notices.flush(due).expect("a second window");
        assert_eq!(notices.lines(), 2);
        assert_eq!(notices.flush(due), None);
        assert_eq!(notices.lines(), 2);
        assert!(notices.note(due, "knocked", "c").is_some());
    }
}
