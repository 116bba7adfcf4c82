//! A secret from standard input: asked for on a terminal, where it is not shown, or read to the end of a pipe.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, IsTerminal, Read, Stdin, Write, stderr, stdin};
use std::os::unix::net::UnixStream;

/// Bytes that are read; what is longer is no line of ours, and is cut so that it shows.
const INPUT_MAX: usize = 4096;

/// What was typed or piped in, as text, or nothing if a signal came first.
///
/// # Errors
/// What the system says to reading.
pub(super) fn secret(question: &str) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if stdin().is_terminal() {
        if !ask(question, &mut bytes)? {
            return Ok(None);
        }
    } else {
        stdin().take(INPUT_MAX as u64).read_to_end(&mut bytes)?;
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// One line, without showing it. False: a signal came.
fn ask(question: &str, line: &mut Vec<u8>) -> io::Result<bool> {
    let (signalled, raise) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, raise.try_clone()?)?;
    }
    let silence = Silence::on(stdin())?;
    let _ = write!(stderr(), "{question}");
    while !line.contains(&b'\n') && line.len() < INPUT_MAX {
        let mut ready =
            [PollFd::new(&signalled, PollFlags::IN), PollFd::new(&silence.terminal, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if !ready[0].revents().is_empty() {
            let _ = writeln!(stderr());
            return Ok(false);
        }
        if ready[1].revents().is_empty() {
            continue;
        }
        let mut part = [0; 512];
        match read(&silence.terminal, &mut part) {
            Ok(0) => break,
            Ok(n) => line.extend_from_slice(&part[..n]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(true)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence {
    terminal: Stdin,
    before: Termios,
}

impl Silence {
    fn on(terminal: Stdin) -> io::Result<Silence> {
        let before = tcgetattr(&terminal)?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        modes.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        // A stop (^Z) or a quit (^\\) would leave the shell's terminal silent.
        modes.special_codes[SpecialCodeIndex::VSUSP] = 0;
        modes.special_codes[SpecialCodeIndex::VQUIT] = 0;
        tcsetattr(&terminal, OptionalActions::Flush, &modes)?;
        Ok(Silence { terminal, before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Flush: the rest of a key that was pasted in several lines must not reach the shell and its history.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
