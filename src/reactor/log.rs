//! Where the log goes: standard error, line by line, never waited for.

use super::outlet::Outlet;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use simplelog::{ConfigBuilder, LevelFilter, WriteLogger};
use std::io::{self, Write};

/// Bytes of a line; of a longer one the last are `…`.
const LINE_MAX: usize = 512;
const CUT: &str = "…";
/// Takes the progress line off the terminal before a line of the log is put there.
const CLEAR: &[u8] = b"\r\x1b[K";

/// Sends the log of this process to standard error from now on. Does nothing the second time.
pub fn start(level: LevelFilter) {
    let config = ConfigBuilder::new()
        .set_time_level(LevelFilter::Error)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build();
    let _ = WriteLogger::init(level, config, StderrLog::new());
}

/// A writer for `simplelog::WriteLogger`. A line that the other end does not take at once is dropped and counted; the
/// next one that gets through says how many were.
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
