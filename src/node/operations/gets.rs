//! Operations that wait for downloads: `get` and `resume`.

use super::{Ends, Operations, Work};
use crate::node::api::{Failure, plural};
use crate::node::ids::{JobId, TransferId};
use std::collections::BTreeSet;

/// The downloads an operation waits for.
#[derive(Debug, Default)]
pub(crate) struct Gets {
    pub(crate) waits: BTreeSet<TransferId>,
    wanted: usize,
    failed: usize,
    /// The first failure.
    failure: Option<Failure>,
}

impl<F> Operations<F> {
    fn gets_mut(&mut self, job: JobId) -> Option<&mut Gets> {
        match self.work_mut(job) {
            Some(Work::Get(gets)) => Some(gets),
            _ => None,
        }
    }

    /// It waits for this download, too. False: it does already, or for none.
    pub(crate) fn waits_for(&mut self, job: JobId, id: TransferId) -> bool {
        let Some(gets) = self.gets_mut(job) else { return false };
        let new = gets.waits.insert(id);
        gets.wanted += usize::from(new);
        new
    }

    /// What it waited for is another download's business.
    pub(crate) fn waits_no_more(&mut self, job: JobId, id: TransferId) {
        if let Some(gets) = self.gets_mut(job) {
            gets.wanted -= usize::from(gets.waits.remove(&id));
        }
    }

    /// One of the things it wanted failed before it began.
    pub(crate) fn not_got(&mut self, job: JobId, failure: Failure) {
        if let Some(gets) = self.gets_mut(job) {
            gets.wanted += 1;
            gets.failed += 1;
            gets.failure.get_or_insert(failure);
        }
    }

    /// What became of a download that it waited for.
    pub(crate) fn got(&mut self, job: JobId, id: TransferId, result: &Result<(), Failure>) -> Ends {
        let op = self.op_of(job)?;
        let gets = self.gets_mut(job)?;
        gets.waits.remove(&id);
        if let Err(failure) = result {
            gets.failed += 1;
            gets.failure.get_or_insert(failure.clone());
            if gets.wanted > 1 {
                self.note(op, &format!("error: {}\n", failure.message));
            }
        }
        self.settle_gets(job)
    }

    /// A download that it waited for was given up, which is no failure of its own.
    pub(crate) fn given_up(&mut self, job: JobId, id: TransferId, text: &str) {
        let op = self.op_of(job);
        let Some(gets) = self.gets_mut(job) else { return };
        gets.waits.remove(&id);
        if gets.waits.is_empty() {
            self.interrupt(job, text);
        } else {
            self.note(op, &format!("{text}\n"));
        }
    }

    /// It is over when the last of its downloads is.
    pub(crate) fn settle_gets(&mut self, job: JobId) -> Ends {
        let gets = self.gets_mut(job).filter(|gets| gets.waits.is_empty())?;
        let result = match gets.failure.take() {
            None => Ok(()),
            Some(failure) if gets.wanted == 1 => Err(failure),
            Some(Failure { code, message }) => {
                let files = plural(gets.wanted, "file", "files");
                Err(Failure::new(code, format!("{} of {files} not downloaded: {message}", gets.failed)))
            }
        };
        self.finish(job, result)
    }
}
