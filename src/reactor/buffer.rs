//! The one buffer. Page-aligned, because copies between kernel and buffer are measurably faster then.

use crate::config::CHUNK;
use crate::machine::{SEAL_HEAD, SEAL_TAIL};
use std::ops::Range;

/// A run of chunks that begins on a page boundary, with room in front of it and behind it.
#[derive(Debug, Default)]
pub(super) struct PageBuffer {
    bytes: Vec<u8>,
    start: usize,
    run: usize,
}

impl PageBuffer {
    pub(super) fn new(chunks: usize) -> PageBuffer {
        let run = chunks.max(1) * CHUNK;
        let bytes = vec![0; run + 3 * CHUNK];
        // The vector never grows, so it stays where it is.
        let start = bytes.as_ptr().align_offset(CHUNK).min(CHUNK) + CHUNK;
        PageBuffer { bytes, start, run }
    }

    /// The run from `phase` bytes into its first page on: bytes for a file position of that phase land on pages as
    /// the file's own do.
    pub(super) fn at_phase(&mut self, phase: usize) -> &mut [u8] {
        let (start, end) = (self.start + phase % CHUNK, self.start + self.run);
        &mut self.bytes[start..end]
    }

    /// The whole run.
    pub(super) fn whole(&mut self) -> &mut [u8] {
        self.at_phase(0)
    }

    /// The run and the page behind it: a run's content with what frames it.
    pub(super) fn long(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.run + CHUNK]
    }

    /// Room for up to `len` bytes to be sealed, and where in it they go: they begin on a page.
    pub(super) fn sealing(&mut self, len: usize) -> (&mut [u8], Range<usize>) {
        let len = len.min(self.run);
        let room = self.start - SEAL_HEAD..self.start + len + SEAL_TAIL;
        (&mut self.bytes[room], SEAL_HEAD..SEAL_HEAD + len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_begins_on_a_page_and_ends_on_one() {
        for chunks in [0, 1, 4, 64] {
            let mut buffer = PageBuffer::new(chunks);
            let size = chunks.max(1) * CHUNK;
            assert_eq!(buffer.whole().len(), size);
            assert_eq!(buffer.whole().as_ptr().align_offset(CHUNK), 0);
            assert_eq!(buffer.at_phase(CHUNK + 100).len(), size - 100);
            assert_eq!(buffer.long().len(), size + CHUNK);
            assert_eq!(buffer.long().as_ptr().align_offset(CHUNK), 0);
        }
    }

    #[test]
    fn what_is_to_be_sealed_begins_on_a_page_and_has_room_around_it() {
        for (len, expected) in [(1, 1), (CHUNK, CHUNK), (4 * CHUNK, 4 * CHUNK), (usize::MAX, 4 * CHUNK)] {
            let mut buffer = PageBuffer::new(4);
            let (room, payload) = buffer.sealing(len);
            assert_eq!(payload.len(), expected);
            assert_eq!(room[payload.clone()].as_ptr().align_offset(CHUNK), 0);
            assert!(payload.start >= SEAL_HEAD && room.len() - payload.end >= SEAL_TAIL);
        }
    }
}
