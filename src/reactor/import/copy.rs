//! One file of the operator's on its way into another.

use super::super::beneath::{fault, size_of};
use super::super::files::store_all;
use super::super::growing::WriteBack;
use crate::machine::Fault;
use rustix::fd::OwnedFd;
use rustix::fs::{SeekFrom, copy_file_range, fstat, ftruncate, seek};
use rustix::io::{Errno, pread};

/// Bytes copied per slice.
const SLICE: u64 = 1 << 20;

/// A copy that is under way.
#[derive(Debug)]
pub(super) struct Copy {
    source: OwnedFd,
    pub(super) copy: OwnedFd,
    pub(super) size: u64,
    pub(super) done: u64,
    /// The kernel copies by itself; unset once it has refused.
    in_kernel: bool,
    write_back: WriteBack,
}

impl Copy {
    /// `size`: of the source now.
    pub(super) fn new(source: OwnedFd, copy: OwnedFd, size: u64) -> Copy {
        Copy { source, copy, size, done: 0, in_kernel: true, write_back: WriteBack::default() }
    }

    /// Copies the next slice; `true` when all is copied. Holes stay holes.
    pub(super) fn slice(&mut self, buffer: &mut [u8]) -> Result<bool, Fault> {
        if self.done == self.size {
            return Ok(true);
        }
        match seek(&self.source, SeekFrom::Data(self.done)) {
            Ok(data) => self.done = data.min(self.size),
            // Nothing but a hole up to the end, wherever that is now.
            Err(Errno::NXIO) => {
                let now = size_of(&fstat(&self.source).map_err(fault)?);
                if now < self.size {
                    return Err(Fault::Shrunk);
                }
                self.done = self.size;
            }
            Err(_) => {}
        }
        if self.done < self.size {
            let hole = seek(&self.source, SeekFrom::Hole(self.done)).unwrap_or(self.size);
            let want = hole.min(self.size).saturating_sub(self.done).clamp(1, SLICE);
            let from = self.done;
            self.done += self.copy_some(want, buffer)?;
            self.write_back.stored(&self.copy, from..self.done);
        }
        if self.done == self.size {
            ftruncate(&self.copy, self.size).map_err(fault)?;
        }
        Ok(self.done == self.size)
    }

    fn copy_some(&mut self, want: u64, buffer: &mut [u8]) -> Result<u64, Fault> {
        if self.in_kernel {
            let (mut from, mut to) = (self.done, self.done);
            let len = usize::try_from(want).unwrap_or(usize::MAX);
            match copy_file_range(&self.source, Some(&mut from), &self.copy, Some(&mut to), len) {
                Ok(0) => {}
                Ok(n) => return Ok(n as u64),
                Err(Errno::INTR) => return Ok(0),
                Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) => {
                    return Err(fault(errno));
                }
                Err(_) => {}
            }
            self.in_kernel = false;
        }
        let mut done = 0;
        while done < want {
            let len = usize::try_from(want - done).unwrap_or(usize::MAX).min(buffer.len());
            let read = match pread(&self.source, &mut buffer[..len], self.done + done) {
                Ok(0) => return Err(Fault::Shrunk),
                Ok(n) => n,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(fault(errno)),
            };
            match store_all(&self.copy, &buffer[..read], self.done + done) {
                (_, Some(fault)) => return Err(fault),
                (stored, None) => done += stored as u64,
            }
        }
        Ok(done)
    }
}
