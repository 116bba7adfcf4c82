//! Why a command failed: what scripts decide by, and the sentence a person reads.

use crate::machine::Fault;

/// A failed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }
}

/// Why a command failed, as in the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Other,
    Usage,
    NotFound,
    Refused,
    Network,
    Timeout,
    Verification,
    NoSpace,
    Io,
    Interrupted,
}

impl Code {
    /// The name in `--json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Code::Other => "other",
            Code::Usage => "usage",
            Code::NotFound => "not_found",
            Code::Refused => "refused",
            Code::Network => "network",
            Code::Timeout => "timeout",
            Code::Verification => "verification",
            Code::NoSpace => "no_space",
            Code::Io => "io",
            Code::Interrupted => "interrupted",
        }
    }

    /// Another node may well do what this one did not.
    pub(crate) fn is_of_source(self) -> bool {
        matches!(self, Code::NotFound | Code::Refused | Code::Network | Code::Timeout)
    }

    /// Of a failed operation of the disk.
    pub(crate) fn of_disk(fault: Fault) -> Code {
        if matches!(fault, Fault::NoSpace | Fault::Quota) { Code::NoSpace } else { Code::Io }
    }

    /// The exit status of a script that stops at this failure.
    pub(crate) fn status(self) -> u8 {
        match self {
            Code::Other => 1,
            Code::Usage => 2,
            Code::NotFound => 3,
            Code::Refused => 5,
            Code::Network => 6,
            Code::Timeout => 7,
            Code::Verification => 8,
            Code::NoSpace => 9,
            Code::Io => 12,
            Code::Interrupted => 130,
        }
    }
}
