//! A download of known content: from everyone who holds it at once, each piece verified as it arrives, and kept over
//! whatever happens. What to ask of whom is decided by [`Swarm`], what becomes durable when by [`Part`]; here they meet
//! sessions, files and commands. `download/` has a file for each of these: `sources.rs` whom to ask, `asking.rs` requests,
//! `arriving.rs` answers, `disk.rs` files, `ending.rs` ends of all kinds, `hunger.rs` looking for
//! somebody who has it, `looking.rs` whether it is here already, `stream.rs` sources of the old protocol.

mod arriving;
mod asking;
mod candidates;
mod disk;
mod ending;
mod hunger;
mod looking;
mod sources;
mod stream;

use super::transfers::{Phase, Transfer};
use super::{Peer, Timer};
use crate::config::{CHUNK, Limits};
use crate::machine::{ConnId, FileId, Meta};
use crate::node::api::Failure;
use crate::node::ids::TransferId;
use crate::node::part::Part;
use crate::node::swarm::{Bounds, SourceNo, Swarm};
use crate::proto::content::{GROUP_PIECES, PIECE, Root, ValueList, ValuesError, pieces};
use crate::proto::v2::identity::NodeId;
use crate::time::Instant;
pub(super) use candidates::Candidate;
pub(super) use disk::journal_name;
use looking::Looking;
use sources::Source;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;

/// Blocks that are asked of one source ahead, at most.
const BLOCKS: u64 = 16;

/// Who gives, however it is reached; an old node is only an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// A node that was met.
    Node(NodeId),
    /// A node that speaks v1 only.
    Old(SocketAddr),
}

/// A download of known content.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) root: Root,
    pub(super) size: u64,
    stage: Stage,
    /// There are files of it on the disk.
    exists: bool,
    /// They were there when the process began.
    earlier: bool,
    swarm: Swarm,
    part: Option<Part>,
    /// The part and its journal, while they are open.
    content: Option<FileId>,
    journal: Option<FileId>,
    pub(super) list: ValueList,
    listing: Option<Listing>,
    sources: BTreeMap<SourceNo, Source>,
    /// Those that may become sources, the best first.
    candidates: VecDeque<Candidate>,
    /// Until when nothing is asked of whom.
    banned: BTreeMap<Who, Instant>,
    /// Where somebody was asked in vain, and when.
    tried: BTreeMap<SocketAddr, Instant>,
    /// Wrong pieces, by whom.
    strikes: BTreeMap<Who, u32>,
    /// The group that sources were asked about.
    followed: Option<u64>,
    /// It is to go on as soon as it is paused.
    go_on: bool,
    /// Who gave pieces.
    gave: BTreeSet<Who>,
    /// Bytes that an earlier life left.
    resumed: u64,
    /// What was here when it last rested, or what the journal of an earlier life claims: not compared anew so far.
    left: u64,
    /// Pieces that others were not told of yet.
    fresh: Vec<u64>,
    /// The last reason why somebody gives nothing.
    failure: Option<Failure>,
    /// Bytes handed over to be stored that nobody has answered for.
    storing: usize,
    /// The limit of the rate, or other downloads, leave nothing to ask for.
    throttled: bool,
    /// Since when nobody gives anything, and when to look for others next.
    starving: Option<Starving>,
}

/// Nobody gives anything.
#[derive(Clone, Copy, Debug)]
struct Starving {
    since: Instant,
    /// When all known nodes are asked, and how often they were.
    seek: Instant,
    sought: u32,
}

/// Waiting → Looking → Opening → Running → Finishing; from all but the last to Pausing → Paused or Stopped, and back to
/// Waiting.
#[derive(Debug)]
enum Stage {
    /// For its turn.
    Waiting,
    /// Whether the file is here already.
    Looking(Box<Looking>),
    /// The files are being made or opened.
    Opening,
    /// Pieces are fetched.
    Running,
    /// What is here is made durable before the files are closed; then Stopped for this reason, or Paused for none.
    Pausing(Option<Failure>),
    /// By the operator.
    Paused,
    /// It cannot go on for the time being.
    Stopped,
    /// The disk gives it its name: this, once it has it.
    Finishing(Option<Saved>),
}

/// What a finished file is.
#[derive(Clone, Debug)]
struct Saved {
    name: String,
    meta: Meta,
    confirmed: bool,
}

/// Values of pieces were asked for.
#[derive(Clone, Copy, Debug)]
struct Listing {
    source: SourceNo,
    number: u32,
    want: crate::proto::content::Want,
    due: Instant,
}

impl Download {
    /// # Errors
    /// The size or the root cannot be.
    pub(super) fn new(root: Root, size: u64, limits: &Limits, seed: u64) -> Result<Download, ValuesError> {
        Ok(Download {
            root,
            size,
            stage: Stage::Waiting,
            exists: false,
            earlier: false,
            storing: 0,
            throttled: false,
            swarm: Swarm::new(size, bounds(limits), seed),
            part: None,
            content: None,
            journal: None,
            list: ValueList::new(size, root)?.keeping(limits.swarm.groups_kept),
            listing: None,
            sources: BTreeMap::new(),
            candidates: VecDeque::new(),
            banned: BTreeMap::new(),
            tried: BTreeMap::new(),
            strikes: BTreeMap::new(),
            followed: Some(0),
            go_on: false,
            gave: BTreeSet::new(),
            resumed: 0,
            left: 0,
            fresh: Vec::new(),
            failure: None,
            starving: None,
        })
    }

    /// The same for files that an earlier life left, with so many bytes of it.
    pub(super) fn of_earlier_life(
        root: Root,
        size: u64,
        left: u64,
        limits: &Limits,
        seed: u64,
    ) -> Result<Download, ValuesError> {
        let mut download = Download::new(root, size, limits, seed)?;
        (download.exists, download.earlier, download.left) = (true, true, left);
        Ok(download)
    }

    /// There are files of it on the disk, it turns out.
    pub(super) fn found_on_disk(&mut self) {
        (self.exists, self.earlier) = (true, true);
    }

    /// Forgets what is only true while it runs: it begins anew with what the disk has.
    fn rewind(&mut self, limits: &Limits, seed: u64) {
        self.rest();
        self.stage = Stage::Waiting;
        let mut swarm = Swarm::new(self.size, bounds(limits), seed);
        swarm.number_after(&self.swarm);
        (self.swarm, self.followed, self.go_on) = (swarm, Some(0), false);
        (self.part, self.content, self.journal) = (None, None, None);
        self.listing = None;
        self.list.restart();
        self.sources.clear();
        self.tried.clear();
        self.fresh.clear();
        (self.resumed, self.failure, self.starving) = (0, None, None);
    }

    /// Whether it takes one of the places of those that run: one that waits for somebody to turn up does not.
    pub(super) fn is_active(&self) -> bool {
        match self.stage {
            Stage::Paused | Stage::Stopped | Stage::Waiting => false,
            Stage::Running => self.starving.is_none(),
            _ => true,
        }
    }

    /// Bytes that are here. Before all of an earlier life was compared, what it left counts.
    pub(super) fn bytes(&self) -> u64 {
        self.swarm.bytes().max(self.unproven())
    }

    /// The same with what came of pieces that are not whole.
    pub(super) fn arrived(&self) -> u64 {
        self.swarm.arrived().max(self.unproven())
    }

    /// What was left earlier and may still turn out wrong.
    fn unproven(&self) -> u64 {
        let proven = matches!(self.stage, Stage::Running | Stage::Finishing(_)) && !self.is_checking();
        if proven { 0 } else { self.left }
    }

    /// What is here is to be shown while it rests.
    fn rest(&mut self) {
        self.left = self.bytes();
    }

    /// Bytes a second that arrived lately.
    pub(super) fn rate(&self, now: Instant) -> u64 {
        if matches!(self.stage, Stage::Running) { self.swarm.rate(now) } else { 0 }
    }

    /// Sources that can be asked.
    pub(super) fn giving(&self) -> usize {
        self.sources.values().filter(|source| source.is_ready()).count()
    }

    /// Its state in a word, for `transfers`.
    pub(super) fn state(&self) -> &'static str {
        match &self.stage {
            Stage::Waiting => "queued",
            Stage::Looking(_) => "checking",
            Stage::Opening => "connecting",
            Stage::Running if self.starving.is_some() => "waiting",
            Stage::Running if self.is_checking() => "checking",
            Stage::Running if self.giving() == 0 => "connecting",
            Stage::Running => "receiving",
            Stage::Pausing(None) | Stage::Paused => "paused",
            Stage::Pausing(Some(_)) | Stage::Stopped => "interrupted",
            Stage::Finishing(_) => "finishing",
        }
    }

    fn is_checking(&self) -> bool {
        self.part.as_ref().is_some_and(|part| part.claims().next().is_some())
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running)
    }

    /// It is not to go on before somebody asks for it.
    pub(super) fn stop(&mut self) {
        self.stage = Stage::Stopped;
    }

    /// Whether it has its files open.
    pub(super) fn is_open(&self) -> bool {
        self.part.is_some()
    }

    /// It is being paused.
    pub(super) fn is_pausing(&self) -> bool {
        matches!(self.stage, Stage::Pausing(_))
    }

    /// It rests, and can be taken up again.
    pub(super) fn rests(&self) -> bool {
        matches!(self.stage, Stage::Paused | Stage::Stopped)
    }

    /// The file and whether all of these bytes in it are right, for those who ask for them.
    pub(super) fn offers(&self, range: &Range<u64>) -> Option<FileId> {
        let all = (range.start / PIECE..range.end.div_ceil(PIECE)).all(|piece| self.swarm.has(piece));
        self.content.filter(|_| all && matches!(self.stage, Stage::Running))
    }

    /// Which pieces of a group are here.
    pub(super) fn map(&self, group: u64) -> Vec<u8> {
        self.swarm.map(group)
    }

    /// Pieces that others were not told of yet.
    pub(super) fn take_fresh(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.fresh)
    }

    /// The pieces whose values are held, or are needed next.
    fn group_pieces(&self) -> Option<Range<u64>> {
        let group = self.swarm.group()?;
        let first = group * GROUP_PIECES;
        Some(first..pieces(self.size).min(first + GROUP_PIECES))
    }
}

/// How much of one download may be under way.
fn bounds(limits: &Limits) -> Bounds {
    let chunk = CHUNK as u64;
    let block = (limits.swarm.per_source / BLOCKS / chunk * chunk).clamp(chunk, PIECE);
    Bounds { block, per_source: limits.swarm.per_source, total: limits.swarm.per_download }
}

impl Peer {
    /// Whatever can go on, does: lists are asked for, claims are checked, blocks are asked for.
    pub(super) fn drive_download(&mut self, now: Instant, id: TransferId) {
        let Some(download) = self.download_mut(id) else { return };
        if !matches!(download.stage, Stage::Running) {
            return self.arm_download(now, id);
        }
        if download.swarm.is_complete() {
            return self.download_finish(now, id);
        }
        self.follow_anew(now, id);
        self.launch_sources(now, id);
        self.ask_values(now, id);
        self.check_claims(now, id);
        let ready: Vec<SourceNo> = match self.download_mut(id) {
            Some(download) => {
                download.throttled = false;
                download.sources.iter().filter(|(_, s)| s.is_ready()).map(|(no, _)| *no).collect()
            }
            None => return,
        };
        for no in ready {
            self.ask_blocks(now, id, no);
        }
        self.look_for_hunger(now, id);
        if self.download_mut(id).is_some_and(|download| download.is_active()) {
            self.operations.show_progress_soon(now);
        }
        self.arm_download(now, id);
    }

    /// All downloads that run, each time another one first, so that a limit of the rate is shared.
    pub(super) fn drive_downloads(&mut self, now: Instant) {
        let mut all: Vec<TransferId> = self.running_downloads();
        if !all.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            let first = self.turn % all.len();
            all.rotate_left(first);
        }
        for id in all {
            self.drive_download(now, id);
        }
    }

    /// Others that had to wait until a source owes less, or the rate allows more, go on.
    pub(super) fn drive_throttled(&mut self, now: Instant, but: TransferId) {
        for id in self.running_downloads() {
            if id != but && self.download_mut(id).is_some_and(|download| download.throttled) {
                self.drive_download(now, id);
            }
        }
    }

    /// Downloads that fetch pieces.
    pub(super) fn running_downloads(&self) -> Vec<TransferId> {
        let running = |phase: &Phase| matches!(phase, Phase::Download(download) if download.is_running());
        let all = self.transfers.iter().filter(|(_, transfer)| running(&transfer.phase));
        all.map(|(id, _)| TransferId(id)).collect()
    }

    /// The download of this content, wherever it stands.
    pub(super) fn download_of(&self, root: &Root) -> Option<TransferId> {
        let of = |transfer: &Transfer| transfer.download().is_some_and(|download| download.root == *root);
        self.transfers.iter().find(|(_, transfer)| of(transfer)).map(|(id, _)| TransferId(id))
    }

    pub(super) fn download_mut(&mut self, id: TransferId) -> Option<&mut Download> {
        match self.transfers.get_mut(id.0) {
            Some(Transfer { phase: Phase::Download(download), .. }) => Some(download),
            _ => None,
        }
    }

    /// When to look again, and why.
    fn arm_download(&mut self, now: Instant, id: TransferId) {
        let Some(download) = self.download_mut(id) else { return };
        let part = download.part.as_ref().and_then(Part::poll_timeout);
        let running = matches!(download.stage, Stage::Running);
        let late = download.swarm.poll_timeout().map(|due| (due, "a block is due"));
        let listing = download.listing.map(|listing| (listing.due, "values of pieces"));
        let held = download.sources.values().filter_map(Source::held_until).min();
        let held = held.map(|due| (due, "a source that had too much to do"));
        let room = download.sources.len() < self.config.limits.swarm.sources;
        let Some(download) = self.download_mut(id) else { return };
        let next = download.candidates.iter().map(|candidate| candidate.not_before).min();
        let next = next.filter(|_| room).map(|due| (due, "a source that may return"));
        let seek = download.starving.map(|starving| (starving.seek, "looking for sources"));
        let network = [late, listing, held, next, seek].into_iter().flatten().filter(|_| running);
        match part.into_iter().chain(network).min() {
            Some((due, reason)) => {
                self.timers.set(Timer::Transfer(id), due.max(now + crate::node::timers::MOMENT), reason);
            }
            None => self.timers.cancel(Timer::Transfer(id)),
        }
    }

    /// A deadline of the download.
    pub(super) fn download_timeout(&mut self, now: Instant, id: TransferId) {
        let Some(download) = self.download_mut(id) else { return };
        if let Some(part) = &mut download.part {
            if part.poll_timeout().is_some_and(|(due, _)| due <= now) {
                part.timeout(now);
                self.drive_part(now, id);
            }
        }
        if self.download_mut(id).is_some_and(|download| download.is_running()) {
            self.late_sources(now, id);
            self.late_values(now, id);
            self.seek_sources(now, id);
        }
        self.drive_download(now, id);
    }

    /// Downloads that ask on this session, whether or not they asked for something just now.
    pub(super) fn asking_on(&self, conn: ConnId) -> Vec<super::pending::Pending> {
        let mut pending = Vec::new();
        for (id, transfer) in self.transfers.iter() {
            let id = TransferId(id);
            match &transfer.phase {
                Phase::Naming(naming) if naming.conn() == Some(conn) => {
                    pending.push(super::pending::Pending::Name(id));
                }
                Phase::Download(download) => {
                    let on = download.sources.iter().filter(|(_, source)| source.conn == Some(conn));
                    pending.extend(on.map(|(no, _)| super::pending::Pending::Source(id, *no)));
                }
                _ => {}
            }
        }
        pending
    }
}

/// Whether it is one of v1 whose bytes come.
pub(super) fn is_old_receiving(transfer: &Transfer) -> bool {
    matches!(transfer.phase, Phase::Receiving { .. })
}
