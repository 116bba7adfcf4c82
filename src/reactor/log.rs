//! Where the log goes: standard error, line by line, never waited for.

use super::outlet::Outlet;
use log::{LevelFilter, Log, Metadata, Record};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// Bytes of a line; of a longer one the last are `…`.
const LINE_MAX: usize = 512;
const CUT: &str = "…";
/// Takes the progress line off the terminal before a line of the log is put there.
const CLEAR: &[u8] = b"\r\x1b[K";

/// Sends the log of this process to standard error from now on. Does nothing the second time.
pub fn start(level: LevelFilter) {
    if log::set_boxed_logger(Box::new(Lines(Mutex::new(StderrLog::new())))).is_ok() {
        log::set_max_level(level);
    }
}

/// Puts time and level before each line. There is one thread; the lock is what [`Log`] asks for.
#[derive(Debug)]
struct Lines(Mutex<StderrLog>);

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    #[allow(clippy::disallowed_methods)] // the wall clock of whoever reads it
    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writeln!(lines, "{} [{}] {}", stamp(now.as_secs()), record.level(), record.args());
        }
    }

    fn flush(&self) {}
}

/// Seconds since 1970 as date and time in UTC, as RFC 3339 writes them.
fn stamp(seconds: u64) -> String {
    // Years begin in March here, so that a leap day is the last of its year; eras of 400 years are all of one length.
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + month / 10, (month + 2) % 12 + 1);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Where the lines go. One that the other end does not take at once is dropped and counted; the next one that gets through
/// says how many were.
#[derive(Debug)]
pub struct StderrLog {
    outlet: Option<Outlet>,
    terminal: bool,
    line: Vec<u8>,
    /// The tail of a line that was taken in part.
    owed: Vec<u8>,
    dropped: u64,
}

impl StderrLog {
    /// On the process's standard error.
    pub fn new() -> StderrLog {
        StderrLog::on(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3).ok())
    }

    /// On another descriptor; `None` drops everything.
    pub fn on(fd: Option<OwnedFd>) -> StderrLog {
        let terminal = fd.as_ref().is_some_and(rustix::termios::isatty);
        let outlet = fd.map(Outlet::new);
        StderrLog { outlet, terminal, line: Vec::new(), owed: Vec::new(), dropped: 0 }
    }

    /// Lines dropped since the last one that got through.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn put_line(&mut self) {
        let mut text = Vec::with_capacity(self.line.len() + 64);
        if self.terminal {
            text.extend_from_slice(CLEAR);
        }
        if self.dropped > 0 {
            text.extend_from_slice(format!("… {} lines of the log were dropped\n", self.dropped).as_bytes());
        }
        text.append(&mut self.line);
        let Some(outlet) = &self.outlet else { return };
        // A half line first, so that lines stay whole.
        while !self.owed.is_empty() {
            match outlet.write(&self.owed) {
                Ok(n) if n > 0 => drop(self.owed.drain(..n)),
                Err(Errno::INTR) => {}
                _ => return self.dropped += 1,
            }
        }
        let mut done = 0;
        while done < text.len() {
            match outlet.write(&text[done..]) {
                Ok(n) if n > 0 => done += n,
                Err(Errno::INTR) => {}
                _ if done == 0 => return self.dropped += 1,
                _ => {
                    self.owed = text.split_off(done);
                    break;
                }
            }
        }
        self.dropped = 0;
    }
}

/// Cuts a line that is too long between two characters.
fn shorten(line: &mut Vec<u8>) {
    if line.len() > LINE_MAX {
        let fits = |&end: &usize| line[end] & 0xc0 != 0x80; // no byte in the midst of a character
        let end = (0..=LINE_MAX - CUT.len()).rev().find(fits).unwrap_or(0);
        line.truncate(end);
        line.extend_from_slice(CUT.as_bytes());
    }
}

impl Default for StderrLog {
    fn default() -> StderrLog {
        StderrLog::new()
    }
}

impl Write for StderrLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|&b| b == b'\n') {
            let (text, end) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            // One byte more than is shown tells that a line is longer.
            let room = (LINE_MAX + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if end {
                shorten(&mut self.line);
                self.line.push(b'\n');
                self.put_line();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // As `date -u -d @SECONDS +%FT%TZ` prints them.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(stamp(seconds), text);
        }
        // Day by day over eight centuries: the next day is another, and later.
        let days: Vec<String> = (0..292_194).map(|day| stamp(day * 86_400)).collect();
        assert!(days.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(days.last().map(String::as_str), Some("2769-12-31T00:00:00Z"));
    }
}
