//! After a listing: what it did not name is gone, in slices.

use super::Index;
use super::scan::{Job, Stage};
use crate::machine::{Fault, LeftOut, ListEnd};
use crate::time::Instant;
use std::collections::BTreeMap;

/// Files looked at per call.
const SWEEP: usize = 2048;
/// Records looked at per call.
const PURGE: u32 = 8192;
/// Folders of which it is remembered how much was left out in them.
const COUNTS: usize = 256;

/// What was said already, or is known well enough.
#[derive(Debug, Default)]
pub(super) struct Warned {
    pub(super) limit: bool,
    pub(super) listing: bool,
    /// Files and folders that are not offered.
    pub(super) left_out: u64,
    /// How many of those listings of single folders found in them.
    counts: BTreeMap<String, u64>,
}

impl Index {
    /// A part of the listing was taken in.
    pub(super) fn end_part(&mut self, now: Instant, left_out: &LeftOut, full: bool, end: &ListEnd) {
        let Some(scan) = &mut self.scan else { return };
        let Some(job) = &mut scan.job else { return };
        job.left_out.add(left_out);
        job.full |= full;
        match end {
            ListEnd::More => return,
            ListEnd::Done(left_out) => job.left_out.add(left_out),
            ListEnd::Truncated => job.full = true,
            // Nothing can be offered, and it may be back soon, with all that is known of it.
            ListEnd::Failed(Fault::NoFolder) if job.is_whole() => job.missing = true,
            // It is no folder any more: nothing is in it.
            ListEnd::Failed(Fault::NotFound | Fault::NotRegular) if !job.folder.is_empty() => {}
            ListEnd::Failed(fault) => {
                // What is there cannot be told: what was there stays until it can.
                if job.is_whole() && !std::mem::replace(&mut self.warned.listing, true) {
                    log::warn!("the shared folder cannot be listed: {fault}");
                }
                scan.end(now, false);
                return;
            }
        }
        job.stage = Stage::Sweeping(job.prefix());
    }

    /// Goes on with what follows from the listing that is over.
    pub(super) fn sweep(&mut self, now: Instant) {
        let Some(job) = self.scan.as_mut().and_then(|scan| scan.job.as_mut()) else { return };
        let seen = job.seen;
        match &job.stage {
            Stage::Naming => {}
            Stage::Sweeping(from) => {
                let from = from.clone();
                let (gone, next) = self.find_gone(&from);
                self.note_gone(!gone.is_empty());
                for slot in gone {
                    self.drop_work(slot);
                    self.hashing.forget(self.table.number(slot));
                    self.table.vanish(slot, seen);
                }
                self.swept(now, next);
            }
            &Stage::Purging(from) => {
                match self.table.purge(from, PURGE, seen, job.devices.as_deref().unwrap_or_default()) {
                    Some(next) => job.stage = Stage::Purging(next),
                    None => self.end_job(now),
                }
            }
        }
    }

    fn note_gone(&mut self, gone: bool) {
        if let Some(job) = self.scan.as_mut().and_then(|scan| scan.job.as_mut()) {
            job.gone |= gone;
        }
    }

    fn swept(&mut self, now: Instant, next: Option<String>) {
        let Some(job) = self.scan.as_mut().and_then(|scan| scan.job.as_mut()) else { return };
        match next {
            Some(next) => job.stage = Stage::Sweeping(next),
            None if job.is_whole() && !job.missing => job.stage = Stage::Purging(0),
            None => self.end_job(now),
        }
    }

    /// Files of the listed folder from the name `from` on that the listing did not name, and from which name to go on.
    fn find_gone(&self, from: &str) -> (Vec<u32>, Option<String>) {
        let mut gone = Vec::new();
        let Some(job) = self.scan.as_ref().and_then(|scan| scan.job.as_ref()) else { return (gone, None) };
        let prefix = job.prefix();
        let mut last = None;
        for (n, slot) in self.table.names_from(from).enumerate() {
            let Some(name) = self.table.get(slot).map(|file| file.name()) else { continue };
            let Some(rest) = name.strip_prefix(&prefix) else { return (gone, None) };
            if n == SWEEP {
                return (gone, last.map(behind));
            }
            last = Some(name);
            if let Some((folder, _)) = rest.split_once('/').filter(|_| !job.deep) {
                // Over all that is in that folder: `0` stands behind `/`.
                return (gone, Some(format!("{prefix}{folder}0")));
            }
            // What could not be looked at may still be there.
            let interrupted = || job.left_out.interrupted.iter().any(|folder| name.starts_with(folder));
            if self.table.seen(slot) != job.seen && !interrupted() {
                gone.push(slot);
            }
        }
        (gone, None)
    }

    fn end_job(&mut self, now: Instant) {
        let Some(scan) = self.scan.as_mut() else { return };
        let well = scan.job.as_ref().is_some_and(|job| !job.missing);
        let Some(job) = scan.end(now, well) else { return };
        if self.limited && job.gone && !job.is_whole() {
            // There may be room now for those that were left out, wherever they are.
            scan.look_again(now);
        }
        if job.is_whole() && well {
            self.limited = job.full;
            self.warned.listing = false;
            self.journal.retry(&mut self.asks);
        }
        self.limited |= job.full;
        self.warn(&job);
        if job.is_whole() && well {
            self.left_out = job.left_out;
        } else if self.leaves_out_others(&job.left_out) || self.counts_others(&job) {
            // What is left out is told of the whole.
            if let Some(scan) = &mut self.scan {
                scan.look_again(now);
            }
        }
    }

    /// Whether what is told to be left out is no longer so, as far as it has names: some of it is offered now, or what a listing
    /// of a part left out is new.
    fn leaves_out_others(&self, of_part: &LeftOut) -> bool {
        let known = &self.left_out.some;
        let is_offered = |name: &String| {
            let first = self.table.names_from(name).next().and_then(|slot| self.table.get(slot));
            first.is_some_and(|file| {
                file.name() == name || name.ends_with('/') && file.name().starts_with(name)
            })
        };
        let is_new = known.len() < LeftOut::SOME && of_part.some.iter().any(|name| !known.contains(name));
        is_new || known.iter().any(is_offered)
    }

    /// The same where more is left out than has names: by how much it is in this folder.
    fn counts_others(&mut self, job: &Job) -> bool {
        let (counts, count) = (&mut self.warned.counts, job.left_out.count());
        if self.left_out.some.len() < LeftOut::SOME || count == 0 && !counts.contains_key(&job.folder) {
            return false;
        }
        if counts.len() == COUNTS {
            counts.clear();
        }
        counts.insert(job.folder.clone(), count) != Some(count)
    }

    /// What the operator should know, once, and again when there is more of it.
    fn warn(&mut self, job: &Job) {
        if job.full && !std::mem::replace(&mut self.warned.limit, true) {
            log::warn!(
                "there are more shared files than the {} that the index holds: the rest is left out",
                self.room
            );
        }
        let left_out = &job.left_out;
        if job.is_whole() {
            if left_out.count() > self.warned.left_out {
                log::warn!("not offered to others: {left_out}");
            }
            self.warned.left_out = left_out.count();
        }
    }
}

/// The first name that can stand behind `name`.
fn behind(name: &str) -> String {
    format!("{name}\0")
}
