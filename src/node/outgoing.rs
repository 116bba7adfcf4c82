//! What a connection still has to send: some bytes, then a range of a file.

use crate::machine::{FileId, Transmit};

/// A file's bytes still to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileRange {
    file: FileId,
    offset: u64,
    len: u64,
}

/// The unsent rest of an answer.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    /// How many of `bytes` the kernel took.
    taken: usize,
    file: Option<FileRange>,
}

impl Outgoing {
    pub(crate) fn bytes(bytes: impl Into<Vec<u8>>) -> Outgoing {
        Outgoing { bytes: bytes.into(), ..Outgoing::default() }
    }

    /// A whole file of `len` bytes.
    pub(crate) fn file(file: FileId, len: u64) -> Outgoing {
        let file = (len > 0).then_some(FileRange { file, offset: 0, len });
        Outgoing { file, ..Outgoing::default() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        debug_assert!(self.file.is_none(), "bytes go before the file");
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn transmit(&self) -> Option<Transmit<'_>> {
        if self.taken < self.bytes.len() {
            return Some(Transmit::Bytes(&self.bytes[self.taken..]));
        }
        self.file.map(|FileRange { file, offset, len }| Transmit::File { file, offset, len })
    }

    /// The kernel took `n` bytes of what `transmit` named.
    pub(crate) fn sent(&mut self, n: usize) {
        if self.taken < self.bytes.len() {
            self.taken = (self.taken + n).min(self.bytes.len());
            if self.taken == self.bytes.len() {
                self.bytes = Vec::new();
                self.taken = 0;
            } else if self.taken >= (1 << 16).max(self.bytes.len() / 2) {
                // Not sooner: no more bytes are moved than were sent, however many wait.
                self.bytes.drain(..self.taken);
                self.taken = 0;
            }
        } else if let Some(range) = &mut self.file {
            let n = (n as u64).min(range.len);
            range.offset += n;
            range.len -= n;
            if range.len == 0 {
                self.file = None;
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.taken >= self.bytes.len() && self.file.is_none()
    }

    /// Bytes held in memory.
    pub(crate) fn buffered(&self) -> usize {
        self.bytes.len() - self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;

    #[test]
    fn bytes_go_first_then_the_file_and_partial_sends_continue() {
        let file = FileId(Id { index: 1, generation: 0 });
        let mut out = Outgoing::file(file, 10);
        out.file = Some(FileRange { file, offset: 0, len: 10 });
        out.bytes = b"abc".to_vec();
        assert_eq!(out.transmit(), Some(Transmit::Bytes(b"abc")));
        out.sent(2);
        assert_eq!(out.transmit(), Some(Transmit::Bytes(b"c")));
        out.sent(1);
        assert_eq!(out.transmit(), Some(Transmit::File { file, offset: 0, len: 10 }));
        out.sent(4);
        assert_eq!(out.transmit(), Some(Transmit::File { file, offset: 4, len: 6 }));
        out.sent(6);
        assert!(out.is_empty() && out.transmit().is_none());
    }

    #[test]
    fn an_empty_file_has_nothing_to_send() {
        assert!(Outgoing::file(FileId(Id { index: 0, generation: 0 }), 0).is_empty());
    }
}
