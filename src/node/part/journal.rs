//! The journal of an unfinished download, driven: read at the start, appended to, made durable where that matters.

use super::claims::Claims;
use super::ranges::Ranges;
use super::{Ask, Which};
use crate::machine::Fault;
use crate::proto::content::Root;
use crate::proto::part_journal::{Header, Reader, Writer};
use std::collections::VecDeque;
use std::ops::Range;

/// The time of a mark that matches no file.
const NEVER: i64 = 0;

/// What a journal came to that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// All of it is good.
    Whole,
    /// Its end is not, and is to be cut off.
    Cut,
    /// It says nothing about this download.
    Unusable,
}

#[derive(Debug)]
pub(super) struct Journal {
    /// Of this download. `None`: nothing can be written, because there can be no such header.
    header: Option<Header>,
    reader: Reader,
    /// Bytes that were read, or written at its beginning.
    len: u64,
    /// It was asked for, and not to be closed.
    open: bool,
    /// It may stand there.
    exists: bool,
    /// Nothing can be written to it any more.
    broken: bool,
    /// The time of the mark that ends it.
    mark: Option<i64>,
    /// That is another than the file has.
    stale: bool,
    /// It claims a piece.
    claims: bool,
    /// Something was written since the last sync.
    unsynced: bool,
    syncing: bool,
    /// It claims what it must not, and that cannot be taken back.
    wrong: bool,
    /// Said already.
    warned: bool,
}

impl Journal {
    /// It is asked for at once.
    pub(super) fn new(root: Root, size: u64, name: &str) -> Journal {
        Journal {
            header: Header::new(root, size, name),
            reader: Reader::new(),
            len: 0,
            open: true,
            exists: true,
            broken: false,
            mark: None,
            stale: false,
            claims: false,
            unsynced: false,
            syncing: false,
            wrong: false,
            warned: false,
        }
    }

    /// Bytes that were read so far, or that stand there at least.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_writable(&self) -> bool {
        self.open && !self.broken && self.header.is_some()
    }

    pub(super) fn is_syncing(&self) -> bool {
        self.syncing
    }

    /// The time of the file when all that it claims was right and durable; `None`: it does not say, or of another state.
    pub(super) fn mark(&self) -> Option<i64> {
        self.mark.filter(|&mark| mark != NEVER && !self.stale)
    }

    /// The file is not what the mark speaks of.
    pub(super) fn outdate(&mut self) {
        self.stale = true;
    }

    pub(super) fn claims_any(&self) -> bool {
        self.claims
    }

    /// The next bytes of it; `stands`: all that it has. `None`: there is more to read.
    pub(super) fn read(&mut self, bytes: &[u8], stands: u64, claims: &mut Claims) -> Option<Loaded> {
        self.len += bytes.len() as u64;
        let more = self.reader.push(bytes);
        if more && !bytes.is_empty() && self.len < stands {
            return None;
        }
        let reader = std::mem::take(&mut self.reader);
        if let Some(damage) = reader.damage() {
            log::warn!("the journal of an unfinished download is not all believed: {damage}");
        }
        let ours = |found: &Header, ours: &Header| (found.root(), found.size()) == (ours.root(), ours.size());
        let (found, wanted) = (reader.header(), self.header.as_ref());
        let Some(found) = found.filter(|found| wanted.is_some_and(|wanted| ours(found, wanted))) else {
            return Some(Loaded::Unusable);
        };
        // Records say the checksum of the header that stands there: its name may be another.
        self.header = Some(found.clone());
        for pieces in reader.claims() {
            self.claims = true;
            claims.claim(pieces);
        }
        self.mark = reader.mark();
        let whole = reader.good() >= stands.max(self.len);
        self.len = reader.good();
        Some(if whole { Loaded::Whole } else { Loaded::Cut })
    }

    /// Takes off what is not good.
    pub(super) fn cut(&mut self, asks: &mut VecDeque<Ask>) {
        if self.is_writable() {
            asks.push_back(Ask::Truncate { len: self.len });
            self.unsynced = true;
        }
        self.sync(asks);
    }

    /// A new one, in place of the `stands` bytes that are there. It claims these pieces, without a mark.
    pub(super) fn begin(&mut self, stands: u64, claimed: Range<u64>, asks: &mut VecDeque<Ask>) {
        let Some(header) = self.header.as_ref().filter(|_| self.is_writable()) else { return };
        let mut bytes = header.encode();
        let record = Writer::new(header).claim(claimed);
        bytes.extend(record.iter().flatten());
        self.claims = record.is_some();
        self.mark = None;
        if stands > 0 {
            asks.push_back(Ask::Truncate { len: 0 });
        }
        self.len = bytes.len() as u64;
        self.append(bytes, asks);
        self.sync(asks);
    }

    /// These pieces are right and durable; with a mark of this time, if there is to be one.
    pub(super) fn record(&mut self, pieces: &Ranges, mark: Option<i64>, asks: &mut VecDeque<Ask>) {
        let Some(header) = self.header.as_ref().filter(|_| self.is_writable()) else { return };
        let writer = Writer::new(header);
        let mut bytes: Vec<u8> = pieces.runs().filter_map(|run| writer.claim(run)).flatten().collect();
        if !bytes.is_empty() {
            (self.claims, self.mark) = (true, None);
        }
        if let Some(mtime) = mark.filter(|_| self.claims) {
            bytes.extend(writer.mark(mtime));
            (self.mark, self.stale) = (Some(mtime), false);
        }
        if !bytes.is_empty() {
            self.append(bytes, asks);
        }
    }

    /// It claims what is wrong: it must not be believed on a sample, also not after the next power cut.
    pub(super) fn void_mark(&mut self, asks: &mut VecDeque<Ask>) {
        if self.mark.is_none_or(|mark| mark == NEVER) {
            return;
        }
        if let Some(header) = self.header.as_ref().filter(|_| self.is_writable()) {
            let bytes = Writer::new(header).mark(NEVER).to_vec();
            self.append(bytes, asks);
            self.sync(asks);
        }
        self.mark = Some(NEVER);
    }

    /// These pieces are to be claimed no more, and no later life may believe what it reads of them.
    pub(super) fn take_back(&mut self, pieces: &Ranges, asks: &mut VecDeque<Ask>) {
        if pieces.is_empty() {
            return;
        }
        let Some(header) = self.header.as_ref().filter(|_| self.is_writable()) else {
            self.wrong = true;
            return;
        };
        let writer = Writer::new(header);
        let bytes = pieces.runs().filter_map(|run| writer.take_back(run)).flatten().collect();
        // Until a sync says that it stands there.
        (self.mark, self.wrong) = (None, true);
        self.append(bytes, asks);
        self.sync(asks);
    }

    /// Whether it is to be removed rather than kept, with what it speaks of.
    pub(super) fn is_wrong(&self) -> bool {
        self.wrong
    }

    fn append(&mut self, bytes: Vec<u8>, asks: &mut VecDeque<Ask>) {
        asks.push_back(Ask::Append { bytes });
        self.unsynced = true;
    }

    /// Asks for a sync, if there is something to make durable and none is under way.
    pub(super) fn sync(&mut self, asks: &mut VecDeque<Ask>) {
        if self.is_writable() && self.unsynced && !self.syncing {
            asks.push_back(Ask::Sync { which: Which::Journal });
            (self.unsynced, self.syncing) = (false, true);
        }
    }

    pub(super) fn synced(&mut self) {
        // What was appended since is for the next sync to say.
        self.wrong &= self.unsynced;
        self.syncing = false;
    }

    /// Nothing more is written to it, and nothing waits for it. `fatal`: it is closed.
    pub(super) fn failed(&mut self, fault: Fault, fatal: bool) {
        if !self.warned {
            log::warn!(
                "what is verified of a download cannot be noted: {fault}; if interrupted, it is looked at anew"
            );
        }
        (self.warned, self.broken, self.syncing) = (true, true, false);
        self.open &= !fatal;
    }

    pub(super) fn close(&mut self, asks: &mut VecDeque<Ask>) {
        if std::mem::take(&mut self.open) {
            asks.push_back(Ask::Close { which: Which::Journal });
        }
    }

    /// To be removed, it has to be open: what could not be opened once is tried again.
    pub(super) fn discard(&mut self, asks: &mut VecDeque<Ask>) {
        if self.exists && !self.open {
            asks.push_back(Ask::OpenJournal);
            self.open = true;
        }
        if std::mem::take(&mut self.open) {
            asks.push_back(Ask::Discard { which: Which::Journal });
            self.exists = false;
        }
    }
}
