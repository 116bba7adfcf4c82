//! What can go wrong in the world, as a node sees it: system errors sorted by what one can do about them.

use crate::config::NO_ZONE;
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
    /// A folder of the node's own is not there any more: removed, moved, or on a disk that is not there.
    NoFolder,
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
    /// Something else made the file longer or shorter while it was written.
    Changed,
    /// Another process works in the file: it holds its lock.
    InUse,
    /// The source of an import already lies in the shared folder.
    AlreadyShared,
    /// The shared folder lies in the source of an import.
    HoldsShared,
    /// The source of an import is a folder of the system, a whole home, or has to do with the node's own state.
    NotForSharing,
    /// No file in the source of an import can be shared.
    NothingToShare,
    /// A folder holds more files than were asked for.
    TooManyFiles,
    /// The name could not be resolved.
    UnknownHost,
    /// A link-local IPv6 address without a zone, or with one that is no interface of this host.
    NoZone,
    /// Any other error of the system, by number (EIO is 5); 0 if the system gave none.
    Os(i32),
}

impl Fault {
    /// Sorts an error of the system: by its kind, since the numbers differ between processors, and by number where there
    /// is no kind for it (the second one is that of MIPS, where it differs).
    pub fn of(error: &io::Error) -> Fault {
        use io::ErrorKind as Kind;
        match (error.kind(), error.raw_os_error()) {
            (Kind::ConnectionRefused, _) => Fault::Refused,
            (Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown, _) => Fault::Unreachable,
            (Kind::AddrNotAvailable, _) => Fault::Unreachable,
            (Kind::TimedOut, _) => Fault::TimedOut,
            (Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe, _) => Fault::Reset,
            (Kind::AddrInUse, _) => Fault::AddressInUse,
            (Kind::PermissionDenied, _) => Fault::Denied,
            (Kind::NotFound | Kind::NotADirectory, _) => Fault::NotFound,
            (Kind::AlreadyExists, _) => Fault::Exists,
            (Kind::CrossesDevices | Kind::IsADirectory, _) | (_, Some(40 | 90)) => Fault::NotRegular,
            (Kind::StorageFull | Kind::WriteZero, _) => Fault::NoSpace,
            (Kind::QuotaExceeded, _) => Fault::Quota,
            (Kind::FileTooLarge, _) => Fault::TooLarge,
            (Kind::ReadOnlyFilesystem, _) => Fault::ReadOnly,
            (_, Some(36 | 78)) => Fault::NameTooLong,
            (_, Some(23 | 24)) => Fault::TooManyOpen,
            (Kind::OutOfMemory, _) | (_, Some(105 | 132)) => Fault::NoMemory,
            (_, number) => Fault::Os(number.unwrap_or(0)),
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
            Fault::NoFolder => "the folder is not there: it was removed or moved, or its disk is missing",
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
            Fault::Changed => "another program changed the file meanwhile",
            Fault::InUse => "in use by another process",
            Fault::AlreadyShared => "it lies in the shared folder already",
            Fault::HoldsShared => "the shared folder itself lies in it",
            Fault::NotForSharing => {
                "a folder of the system, a whole home and the node's own state are not shared"
            }
            Fault::NothingToShare => "there is no file in it that can be shared",
            Fault::TooManyFiles => "there are more files in it than this node takes",
            Fault::UnknownHost => "unknown host name",
            Fault::NoZone => NO_ZONE,
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
        let sorted = |n| Fault::of(&io::Error::from_raw_os_error(n));
        // Numbers of x86 and ARM.
        let cases = [
            (111, Fault::Refused),
            (99, Fault::Unreachable),
            (101, Fault::Unreachable),
            (113, Fault::Unreachable),
            (110, Fault::TimedOut),
            (32, Fault::Reset),
            (104, Fault::Reset),
            (98, Fault::AddressInUse),
            (1, Fault::Denied),
            (13, Fault::Denied),
            (20, Fault::NotFound),
            (17, Fault::Exists),
            (18, Fault::NotRegular),
            (21, Fault::NotRegular),
            (40, Fault::NotRegular),
            (36, Fault::NameTooLong),
            (28, Fault::NoSpace),
            (122, Fault::Quota),
            (27, Fault::TooLarge),
            (30, Fault::ReadOnly),
            (24, Fault::TooManyOpen),
            (12, Fault::NoMemory),
            (105, Fault::NoMemory),
        ];
        for (number, fault) in cases {
            assert_eq!(sorted(number), fault, "{number}");
        }
        assert_eq!(
            Fault::of(&io::Error::from_raw_os_error(5)).to_string(),
            "Input/output error (os error 5)"
        );
    }
}
