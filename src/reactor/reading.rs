//! Files the node reads through, to hash them: behind everything else, one slice per turn of the loop.

use super::Reactor;
use super::beneath::{fault, meta_of};
use super::files::OpenFile;
use crate::machine::{Fault, FileId, Input, Machine, Meta};
use rustix::fd::BorrowedFd;
use rustix::fs::{Advice, fadvise, fstat};
use rustix::io::{Errno, pread};
use std::collections::VecDeque;
use std::num::NonZeroU64;

/// A busy loop reads a slice in one turn out of so many, lest it never comes to it.
const BUSY_TURNS: u32 = 16;

/// What is to be read, file by file.
#[derive(Debug, Default)]
pub(super) struct Reads {
    wanted: VecDeque<Wanted>,
    /// Turns in a row that had something better to do.
    waited: u32,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    file: FileId,
    offset: u64,
    len: usize,
}

impl Reads {
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    pub(super) fn forget(&mut self, file: FileId) {
        self.wanted.retain(|wanted| wanted.file != file);
    }

    /// Whether this turn is one for it.
    fn is_due(&mut self, quiet: bool) -> bool {
        if self.wanted.is_empty() {
            self.waited = 0;
            return false;
        }
        self.waited += 1;
        let due = quiet || self.waited >= BUSY_TURNS;
        if due {
            self.waited = 0;
        }
        due
    }
}

impl Reactor {
    pub(super) fn read_file(&mut self, file: FileId, offset: u64, len: usize) {
        match self.files.get(file.0).map(|open| open.reading().is_some()) {
            Some(true) => self.reads.wanted.push_back(Wanted { file, offset, len }),
            Some(false) => self.answer(Input::FileFailed { file, fault: Fault::NotFound, fatal: false }),
            None => {}
        }
    }

    /// One slice of the file whose turn it is. `quiet`: the last poll brought nothing.
    pub(super) fn reading_slice(&mut self, machine: &mut dyn Machine) {
        let quiet = self.quiet && self.small.is_empty() && self.bulk.is_empty();
        if !self.reads.is_due(quiet) {
            return;
        }
        let Some(Wanted { file, offset, len }) = self.reads.wanted.pop_front() else { return };
        let Some(fd) = self.files.get(file.0).and_then(OpenFile::reading) else { return };
        let buffer = self.buffer.whole();
        let len = len.min(buffer.len());
        let bytes = &mut buffer[..len];
        let now = self.clock.now();
        match read_at(fd, bytes, offset) {
            Ok((n, meta)) => {
                let bytes = &bytes[..n];
                machine.handle_input(now, Input::FileRead { file, offset, bytes, meta });
            }
            Err(fault) => machine.handle_input(now, Input::FileFailed { file, fault, fatal: false }),
        }
        self.drain(machine);
    }
}

/// Fills `bytes` as far as the file goes, and has the kernel fetch what follows while these are looked at.
fn read_at(fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<(usize, Meta), Fault> {
    let mut done = 0;
    while done < bytes.len() {
        match pread(fd, &mut bytes[done..], offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(fault(errno)),
        }
    }
    let meta = meta_of(&fstat(fd).map_err(fault)?);
    let next = offset.saturating_add(done as u64);
    if done > 0 && done == bytes.len() && next < meta.size {
        let _ = fadvise(fd, next, NonZeroU64::new(done as u64), Advice::WillNeed);
    }
    Ok((done, meta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;

    fn file(index: u32) -> FileId {
        FileId(Id { index, generation: 0 })
    }

    #[test]
    fn a_busy_loop_reads_now_and_then_and_a_quiet_one_always() {
        let mut reads = Reads::default();
        assert!(!reads.is_due(true), "nothing is wanted");
        reads.wanted.extend([1, 2, 1].map(|n| Wanted { file: file(n), offset: 0, len: 1 }));
        let due = (0..64).filter(|_| reads.is_due(false)).count();
        assert_eq!(due, 64 / BUSY_TURNS as usize);
        assert!((0..5).all(|_| reads.is_due(true)));
        reads.forget(file(1));
        assert_eq!(reads.wanted.len(), 1);
        reads.forget(file(2));
        assert!(reads.is_empty());
    }
}
