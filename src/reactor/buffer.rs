//! The one receive buffer. Page-aligned, because copies between kernel and buffer are measurably faster then.

use crate::config::CHUNK;

/// A run of chunks that begins on a page boundary, and a page behind it.
#[derive(Debug)]
pub(super) struct PageBuffer {
    bytes: Vec<u8>,
    start: usize,
    run: usize,
}

impl PageBuffer {
    pub(super) fn new(chunks: usize) -> PageBuffer {
        let run = chunks.max(1) * CHUNK;
        let bytes = vec![0; run + CHUNK];
        // The vector never grows, so it stays where it is.
        let start = bytes.as_ptr().align_offset(CHUNK).min(CHUNK);
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
        }
    }
}
