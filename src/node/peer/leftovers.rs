//! Downloads that an earlier life left unfinished: found at the start, and taken up again.

use super::Peer;
use super::download::{Download, journal_name};
use super::transfers::Phase;
use crate::config::PART_SUFFIX;
use crate::machine::{Dir, Entry, FileId, ListEnd, Log, Output, RequestId};
use crate::node::api::plural;
use crate::node::files::Owner;
use crate::node::ids::TransferId;
use crate::proto::content::{Root, piece_len};
use crate::proto::part_journal::Reader;
use crate::time::{Duration, Instant};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Unfinished downloads that are looked at; more of them stay where they are.
const LEFTOVERS_MAX: usize = 1000;
/// Older ones are listed, and go on only when somebody asks for them.
const OLD: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is found at the start.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Not all are known yet.
    looking: bool,
    listing: Option<RequestId>,
    /// Whose journals are still to be read.
    waiting: VecDeque<Leftover>,
    /// The one whose journal is being read.
    current: Option<(FileId, Leftover)>,
    found: usize,
    going_on: usize,
}

#[derive(Clone, Copy, Debug)]
struct Leftover {
    root: Root,
    size: u64,
    mtime: i64,
}

impl Leftovers {
    /// Whether there may be some that are not known yet: until then no download begins.
    pub(super) fn is_looking(&self) -> bool {
        self.looking
    }
}

impl Peer {
    /// Asks what there is.
    pub(super) fn find_leftovers(&mut self) {
        let request = self.requests.next();
        (self.leftovers.listing, self.leftovers.looking) = (Some(request), true);
        let (dir, folder, max) = (Dir::Parts, String::new(), 2 * LEFTOVERS_MAX);
        self.outputs.push_back(Output::ListFiles { request, dir, folder, deep: false, max });
    }

    /// Whether a listing was for this.
    pub(super) fn leftovers_listed(
        &mut self,
        now: Instant,
        request: RequestId,
        entries: &[Entry],
        end: &ListEnd,
    ) -> bool {
        if self.leftovers.listing != Some(request) {
            return false;
        }
        for Entry { name, meta } in entries {
            let root = name.strip_suffix(PART_SUFFIX).and_then(Root::parse);
            if let Some(root) = root.filter(|_| self.leftovers.waiting.len() < LEFTOVERS_MAX) {
                self.leftovers.waiting.push_back(Leftover { root, size: meta.size, mtime: meta.mtime });
            }
        }
        if !matches!(end, ListEnd::More) {
            self.leftovers.listing = None;
            self.resolving.remove(&request);
            self.next_leftover(now);
        }
        true
    }

    /// Opens the next journal, for the name that stands in it.
    fn next_leftover(&mut self, now: Instant) {
        while let Some(leftover) = self.leftovers.waiting.pop_front() {
            if let Some(id) = self.download_of(&leftover.root) {
                // Somebody asked for it before it was found.
                let phase = self.transfers.get_mut(id.0).map(|transfer| &mut transfer.phase);
                if let Some(Phase::Queued(Some(download))) = phase {
                    download.found_on_disk();
                }
                continue;
            }
            let file = self.files.add(Owner::Leftover);
            self.leftovers.current = Some((file, leftover));
            self.outputs.push_back(Output::OpenLog { file, log: Log::Journal(journal_name(&leftover.root)) });
            return;
        }
        self.leftovers.looking = false;
        self.tell_leftovers(now);
        self.start_queued(now);
    }

    pub(super) fn leftover_opened(&mut self, file: FileId) {
        // Enough for what some ten thousand commits claim; what more there is comes to light when it goes on.
        self.outputs.push_back(Output::ReadFile { file, offset: 0, len: self.read_slice() });
    }

    /// The beginning of a journal, or none.
    pub(super) fn leftover_read(&mut self, now: Instant, file: FileId, bytes: &[u8]) {
        self.close_file(file);
        self.leftover_named(now, bytes);
    }

    /// It cannot be read; `fatal`: not even opened.
    pub(super) fn leftover_failed(&mut self, now: Instant, file: FileId, fatal: bool) {
        if !fatal {
            self.close_file(file);
        }
        self.leftover_named(now, &[]);
    }

    fn leftover_named(&mut self, now: Instant, bytes: &[u8]) {
        let Some((_, leftover)) = self.leftovers.current.take() else { return };
        let Leftover { root, size: len, .. } = leftover;
        let mut reader = Reader::new();
        reader.push(bytes);
        let header = reader.header().filter(|header| header.root() == root);
        // Without its journal all that is known is what it must come to.
        let named = header.is_some();
        let (name, size) =
            header.map_or((root.to_string(), len), |header| (header.name().to_owned(), header.size()));
        let claimed = reader.claims().flatten().map(|piece| piece_len(size, piece));
        let left =
            if reader.header().is_some_and(|header| header.root() == root) { claimed.sum() } else { 0 };
        let seed = self.rng.u64(..);
        let download = Download::of_earlier_life(root, size, left, &self.config.limits, seed);
        let known = self.download_of(&root).is_some();
        if let (Ok(download), false) = (download, known) {
            let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
            let id = self.add_transfer(now, name, nobody, false, Some(Box::new(download)));
            self.leftovers.found += 1;
            // Nobody knows what to call it: it waits for somebody who asks for it by a name.
            if self.config.resume && named && !self.is_too_old(now, &leftover) {
                self.leftovers.going_on += 1;
            } else {
                self.set_aside(id);
            }
        }
        self.start_queued(now);
        self.next_leftover(now);
    }

    /// It waits until somebody asks for it.
    fn set_aside(&mut self, id: TransferId) {
        self.queued.retain(|queued| *queued != id);
        let Some(transfer) = self.transfers.get_mut(id.0) else { return };
        if let Phase::Queued(Some(download)) = std::mem::replace(&mut transfer.phase, Phase::Queued(None)) {
            transfer.phase = Phase::Download(download);
        }
        if let Some(download) = self.download_mut(id) {
            download.stop();
        }
    }

    /// Whether it has been lying there for a month, as far as the clocks can be believed.
    fn is_too_old(&self, now: Instant, leftover: &Leftover) -> bool {
        let Some((wall, at)) = self.wall else { return false };
        let today = u128::from(wall.0) + (now - at).as_secs() as u128;
        let then = u128::try_from(leftover.mtime / 1_000_000_000).unwrap_or(0);
        today.saturating_sub(then) > u128::from(OLD.as_secs())
    }

    fn tell_leftovers(&mut self, now: Instant) {
        let (found, going_on) = (self.leftovers.found, self.leftovers.going_on);
        if found == 0 {
            return;
        }
        let all = plural(found, "unfinished download", "unfinished downloads");
        let text = match going_on {
            0 => format!("{all} here: `transfers` lists them, `resume N` goes on\n"),
            n if n == found => format!("{all} here: going on as soon as somebody has them\n"),
            n => format!("{all} here: {n} going on; `transfers` lists the others\n"),
        };
        self.note(None, &text);
        if !self.config.resume {
            let ids: Vec<TransferId> = self.transfers.iter().map(|(id, _)| TransferId(id)).collect();
            ids.into_iter().for_each(|id| self.tell_transfer(now, None, id));
        }
    }
}
