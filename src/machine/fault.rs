//! What can go wrong in the world, as a node sees it: system errors sorted by what one can do about them.

use std::fmt;
use std::io;

/// A failed operation. `Display` gives the sentence a person reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Nobody listens there (ECONNREFUSED).
    Refused,
    /// No way there (EHOSTUNREACH, ENETUNREACH, ENETDOWN, EADDRNOTAVAIL on dial).
    Unreachable,
    /// The kernel gave up waiting (ETIMEDOUT).
    TimedOut,
    /// The peer cut the connection (ECONNRESET, ECONNABORTED, EPIPE).
    Reset,
    /// The address is taken (EADDRINUSE).
    AddressInUse,
    /// The address is not one of this host's (EADDRNOTAVAIL on listen).
    AddressNotHere,
    /// Not permitted (EACCES, EPERM).
    Denied,
    /// There is no such file or folder (ENOENT, ENOTDIR).
    NotFound,
    /// A file of that name exists (EEXIST).
    Exists,
    /// A link, FIFO, socket, device or folder where a regular file is required (ELOOP, EXDEV and our own check).
    NotRegular,
    /// The name is too long for the file system (ENAMETOOLONG).
    NameTooLong,
    /// The disk is full (ENOSPC).
    NoSpace,
    /// The quota is used up (EDQUOT).
    Quota,
    /// The file system does not take files so large (EFBIG).
    TooLarge,
    /// The file system is read-only (EROFS).
    ReadOnly,
    /// No more files may be opened (EMFILE, ENFILE).
    TooManyOpen,
    /// The kernel is short of memory (ENOMEM, ENOBUFS).
    NoMemory,
    /// The file became shorter while it was read.
    Shrunk,
    /// The source of an import already lies in the shared folder.
    AlreadyShared,
    /// The name could not be resolved.
    UnknownHost,
    /// Any other error of the system, by number (EIO is 5); 0 if the system gave none.
    Os(i32),
}

impl Fault {
    /// Sorts an error of the system. Numbers are those of Linux, the only system the drivers run on.
    pub fn of(error: &io::Error) -> Fault {
        match error.raw_os_error() {
            Some(111) => Fault::Refused,
            Some(99 | 100 | 101 | 113) => Fault::Unreachable,
            Some(110) => Fault::TimedOut,
            Some(32 | 103 | 104) => Fault::Reset,
            Some(98) => Fault::AddressInUse,
            Some(1 | 13) => Fault::Denied,
            Some(2 | 20) => Fault::NotFound,
            Some(17) => Fault::Exists,
            Some(18 | 21 | 40) => Fault::NotRegular,
            Some(36) => Fault::NameTooLong,
            Some(28) => Fault::NoSpace,
            Some(122) => Fault::Quota,
            Some(27) => Fault::TooLarge,
            Some(30) => Fault::ReadOnly,
            Some(23 | 24) => Fault::TooManyOpen,
            Some(12 | 105) => Fault::NoMemory,
            Some(n) => Fault::Os(n),
            None => match error.kind() {
                io::ErrorKind::NotFound => Fault::NotFound,
                io::ErrorKind::TimedOut => Fault::TimedOut,
                io::ErrorKind::WriteZero => Fault::NoSpace,
                _ => Fault::Os(0),
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Refused => "connection refused",
            Fault::Unreachable => "no route to that address",
            Fault::TimedOut => "no answer in time",
            Fault::Reset => "the other side cut the connection",
            Fault::AddressInUse => "the port is in use by another program",
            Fault::AddressNotHere => "that address is not one of this host's",
            Fault::Denied => "permission denied",
            Fault::NotFound => "no such file or folder",
            Fault::Exists => "a file of that name exists already",
            Fault::NotRegular => "not a regular file",
            Fault::NameTooLong => "the name is too long for the file system",
            Fault::NoSpace => "no space left on the disk",
            Fault::Quota => "disk quota exceeded",
            Fault::TooLarge => "the file is too large for the file system",
            Fault::ReadOnly => "the file system is read-only",
            Fault::TooManyOpen => "too many open files",
            Fault::NoMemory => "the system is out of memory",
            Fault::Shrunk => "the file became shorter while it was read",
            Fault::AlreadyShared => "the file lies in the shared folder already",
            Fault::UnknownHost => "unknown host name",
            Fault::Os(0) => "unknown error of the system",
            Fault::Os(n) => return write!(f, "{}", io::Error::from_raw_os_error(*n)),
        })
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_becomes_a_sentence() {
        for n in 0..140 {
            let text = Fault::of(&io::Error::from_raw_os_error(n)).to_string();
            assert!(!text.is_empty() && text.len() <= 200, "{n}: {text}");
        }
        assert_eq!(Fault::of(&io::Error::from_raw_os_error(28)), Fault::NoSpace);
        assert_eq!(
            Fault::of(&io::Error::from_raw_os_error(5)).to_string(),
            "Input/output error (os error 5)"
        );
    }
}
