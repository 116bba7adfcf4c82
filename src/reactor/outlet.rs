//! A standard output that never blocks the loop and never changes the flags others share with us.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{Errno, write};
use rustix::net::{SendFlags, send};

/// Bytes written at once where a write might wait: less than a pipe or a terminal that says "writable" takes.
const CAREFUL: usize = 512;

/// How bytes get out without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A description of our own, opened anew without waiting; or a file, which never waits.
    Write,
    /// A socket takes the wish not to wait with each call.
    Send,
    /// A shared description: ask first, then write little.
    Ask,
}

/// One of the two outputs.
#[derive(Debug)]
pub(super) struct Outlet {
    fd: OwnedFd,
    way: Way,
}

impl Outlet {
    pub(super) fn new(fd: OwnedFd) -> Outlet {
        let kind = fstat(&fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            Ok(FileType::Socket) => Outlet { fd, way: Way::Send },
            Ok(FileType::CharacterDevice | FileType::Fifo) => match reopen(fd.as_fd()) {
                Ok(own) => Outlet { fd: own, way: Way::Write },
                Err(_) => Outlet { fd, way: Way::Ask },
            },
            _ => Outlet { fd, way: Way::Write },
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// `WOULDBLOCK` where it would.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self.way {
            Way::Write => write(&self.fd, bytes),
            Way::Send => send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Ask if ready(self.fd.as_fd(), PollFlags::OUT) => {
                write(&self.fd, &bytes[..bytes.len().min(CAREFUL)])
            }
            Way::Ask => Err(Errno::WOULDBLOCK),
        }
    }
}

fn reopen(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
}

/// Whether the kernel says that a read or write would not wait (or would fail at once).
pub(super) fn ready(fd: BorrowedFd<'_>, flags: PollFlags) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(1..)) && !fds[0].revents().is_empty()
}
