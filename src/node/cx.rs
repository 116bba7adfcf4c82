//! What a port is lent for the length of a call.

use crate::config::Limits;
use crate::machine::{FileId, Output};
use crate::node::files::Files;
use crate::node::ids::{Requests, TransferNumbers};
use crate::time::Instant;
use std::collections::VecDeque;

/// The clock, the bounds, and what all parts share: files that are open, numbers of questions and of transfers,
/// and what the driver is to do.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) limits: &'a Limits,
    pub(crate) files: &'a mut Files,
    pub(crate) requests: &'a mut Requests,
    pub(crate) numbers: &'a mut TransferNumbers,
    pub(crate) out: &'a mut VecDeque<Output>,
}

impl Cx<'_> {
    /// Has the driver do something, after all it was told before.
    pub(crate) fn push(&mut self, output: Output) {
        self.out.push_back(output);
    }

    /// Closes a file that stays what it is.
    pub(crate) fn close_file(&mut self, file: FileId) {
        if self.files.drop(file) {
            self.push(Output::CloseFile { file });
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a part is lent, for tests of one alone; `out` is what it told the driver.
    #[derive(Debug)]
    pub(crate) struct Ground {
        pub(crate) now: Instant,
        pub(crate) limits: Limits,
        pub(crate) files: Files,
        requests: Requests,
        numbers: TransferNumbers,
        pub(crate) out: VecDeque<Output>,
    }

    impl Ground {
        /// At the start of time, with nothing open.
        pub(crate) fn new(limits: Limits) -> Ground {
            Ground {
                now: Instant::ZERO,
                files: Files::new(&limits),
                requests: Requests::default(),
                numbers: TransferNumbers::default(),
                out: VecDeque::new(),
                limits,
            }
        }

        /// For one call.
        pub(crate) fn lend(&mut self) -> Cx<'_> {
            let Ground { now, limits, files, requests, numbers, out } = self;
            Cx { now: *now, limits, files, requests, numbers, out }
        }
    }
}
