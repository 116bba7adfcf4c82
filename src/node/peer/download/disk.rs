//! The files of a download: what its part asks of the driver, and what the driver answers.

use super::{Candidate, Saved, Stage};
use crate::config::{CHUNK, JOURNAL_SUFFIX, PART_SUFFIX};
use crate::machine::{Dir, Fault, FileId, Log, Meta, Output};
use crate::node::api::{Code, Failure, bytes as sized};
use crate::node::files::Owner;
use crate::node::ids::TransferId;
use crate::node::part::{Ask, Part, Told, Which};
use crate::node::peer::Peer;
use crate::proto::content::{Root, pieces};
use crate::proto::escape::for_terminal;
use crate::time::Instant;

/// The name of the part of this content.
pub(in crate::node::peer) fn part_name(root: &Root) -> String {
    format!("{root}{PART_SUFFIX}")
}

/// And of its journal.
pub(in crate::node::peer) fn journal_name(root: &Root) -> String {
    format!("{root}{JOURNAL_SUFFIX}")
}

impl Peer {
    /// Makes or opens the files.
    pub(super) fn open_part(&mut self, now: Instant, id: TransferId) {
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let (seed, slice) = (self.rng.u64(..), self.config.limits.run_chunks.max(1) * CHUNK);
        let Some(download) = self.download_mut(id) else { return };
        download.stage = Stage::Opening;
        download.part = Some(Part::new(download.root, download.size, &name, download.exists, seed, slice));
        download.exists = true;
        self.drive_part(now, id);
    }

    /// Carries out what the part asks, and hears what it tells.
    pub(super) fn drive_part(&mut self, now: Instant, id: TransferId) {
        let mut checked = false;
        loop {
            let Some(part) = self.download_mut(id).and_then(|download| download.part.as_mut()) else {
                return;
            };
            if let Some(ask) = part.poll_output() {
                self.part_asks(now, id, ask);
            } else if let Some(told) = part.poll_told() {
                checked |= matches!(told, Told::Checked { .. });
                self.part_tells(now, id, told);
            } else {
                break;
            }
        }
        if checked { self.drive_download(now, id) } else { self.arm_download(now, id) }
    }

    fn part_asks(&mut self, now: Instant, id: TransferId, ask: Ask) {
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(download) = self.download_mut(id) else { return };
        let root = download.root;
        let (content, journal) = (download.content, download.journal);
        let of = |which| if which == Which::Part { content } else { journal };
        let output = match ask {
            Ask::Create { reserve } => {
                let file = self.take_place(id, Which::Part);
                Output::CreateFile { file, name: part_name(&root), reserve }
            }
            Ask::Open => {
                let file = self.take_place(id, Which::Part);
                Output::OpenPart { file, name: part_name(&root) }
            }
            Ask::OpenJournal => {
                let file = self.take_place(id, Which::Journal);
                Output::OpenLog { file, log: Log::Journal(journal_name(&root)) }
            }
            Ask::Read { which, offset, len } => match of(which) {
                Some(file) => Output::ReadFile { file, offset, len },
                None => return,
            },
            Ask::Append { bytes } => match journal {
                Some(file) => Output::AppendLog { file, bytes },
                None => return,
            },
            Ask::Truncate { len } => match journal {
                Some(file) => Output::TruncateLog { file, len },
                None => return,
            },
            Ask::Sync { which } => match of(which) {
                Some(file) => Output::SyncFile { file },
                None => return,
            },
            Ask::Commit => match content {
                Some(file) => Output::CommitFile { file, name },
                None => return,
            },
            Ask::Close { which } => return self.leave_place(now, id, which, false),
            Ask::Discard { which } => return self.leave_place(now, id, which, true),
        };
        self.outputs.push_back(output);
    }

    fn take_place(&mut self, id: TransferId, which: Which) -> FileId {
        let owner = if which == Which::Part { Owner::Part(id) } else { Owner::Journal(id) };
        let file = self.files.add(owner);
        if let Some(download) = self.download_mut(id) {
            *download.place(which) = Some(file);
        }
        file
    }

    fn leave_place(&mut self, now: Instant, id: TransferId, which: Which, discard: bool) {
        let Some(file) = self.download_mut(id).and_then(|download| download.place(which).take()) else {
            return;
        };
        if which == Which::Part {
            self.stop_sending_from(now, file);
        }
        if discard { self.discard_file(file) } else { self.keep_file(file) }
    }

    fn part_tells(&mut self, now: Instant, id: TransferId, told: Told) {
        let Some(download) = self.download_mut(id) else { return };
        match told {
            Told::Open => self.part_open(now, id),
            Told::Checked { piece, right } => {
                if right {
                    let bytes = crate::proto::content::piece_len(download.size, piece);
                    download.resumed += bytes;
                    download.swarm.put(piece);
                    download.fresh.push(piece);
                    self.tell_followers_soon(now);
                } else {
                    download.swarm.lose(piece);
                }
            }
            Told::Lost { pieces } => self.pieces_lost(now, id, pieces),
            Told::Closed => self.download_closed(now, id),
            Told::Failed { fault, fresh } => self.part_failed(now, id, fault, fresh),
            Told::NoRoom { room } => {
                let size = download.size;
                let name = self.fetch_name(id).map(for_terminal).unwrap_or_default();
                let text = format!(
                    "no space left for {name}: it has {}, and the disk has room for {} above its reserve",
                    sized(size),
                    sized(room)
                );
                self.transfer_over(now, id, &Err(Failure::new(Code::NoSpace, text)));
            }
            Told::Committed => self.download_saved(now, id),
        }
    }

    /// Bytes may be stored.
    fn part_open(&mut self, now: Instant, id: TransferId) {
        let Some(download) = self.download_mut(id) else { return };
        if !matches!(download.stage, Stage::Opening) {
            return; // about to be closed
        }
        download.stage = Stage::Running;
        if let Some(part) = &download.part {
            part.claims().for_each(|piece| download.swarm.doubt(piece));
        }
        if let Some(transfer) = self.transfers.get_mut(id.0) {
            transfer.pace.begin_again(now);
        }
        self.drive_download(now, id);
    }

    /// The disk lost what it had taken: that is fetched again, once the file is open anew. Until then nothing is stored.
    fn pieces_lost(&mut self, now: Instant, id: TransferId, pieces: Vec<u64>) {
        self.set_sources_aside(now, id);
        let Some(download) = self.download_mut(id) else { return };
        pieces.into_iter().for_each(|piece| download.swarm.lose(piece));
    }

    /// Nobody is asked until the file is open again, and then those who were asked before.
    fn set_sources_aside(&mut self, now: Instant, id: TransferId) {
        let Some(download) = self.download_mut(id) else { return };
        let again: Vec<Candidate> = download.sources.values().map(|source| source.again(now)).collect();
        if matches!(download.stage, Stage::Running | Stage::Finishing(_)) {
            download.stage = Stage::Opening;
        }
        self.drop_sources(now, id);
        let Some(download) = self.download_mut(id) else { return };
        again.into_iter().for_each(|candidate| download.add_candidate(candidate));
    }

    /// Claimed pieces whose values are here are read and compared.
    pub(super) fn check_claims(&mut self, now: Instant, id: TransferId) {
        let Some(download) = self.download_mut(id) else { return };
        let Some(range) = download.group_pieces() else { return };
        let Some(part) = &mut download.part else { return };
        let Some(piece) = part.wants_checked(range) else { return };
        let Some(expected) = download.list.expected(piece) else { return };
        part.check(now, piece, expected);
        self.drive_part(now, id);
    }

    /// The disk failed in a way that ends the download for now.
    fn part_failed(&mut self, now: Instant, id: TransferId, fault: Fault, fresh: bool) {
        let Some(download) = self.download_mut(id) else { return };
        let (kept, all) = (download.bytes(), pieces(download.size));
        let name = self.fetch_name(id).map(for_terminal).unwrap_or_default();
        let number = self.transfers.get(id.0).map_or(0, |transfer| transfer.number);
        log::debug!("{name}: {fault}, with {kept} bytes of {all} pieces here");
        let mut text = match fault {
            Fault::NotFound if !fresh => format!("{name}: somebody removed what was here of it"),
            _ => format!("cannot store {name}: {fault}"),
        };
        self.drop_sources(now, id);
        if fresh || fault == Fault::NotFound {
            return self.transfer_over(now, id, &Err(Failure::new(Code::of_disk(fault), text)));
        }
        let lost = |download: &&mut super::Download| {
            let claimed = download.part.as_ref().is_some_and(Part::is_claimed);
            !download.is_worth_keeping() || !(claimed || download.earlier)
        };
        if let Some(root) = self.download_mut(id).filter(lost).map(|download| download.root) {
            self.remove_parts(&root);
            text.push_str("; nothing is kept");
            return self.transfer_over(now, id, &Err(Failure::new(Code::of_disk(fault), text)));
        }
        text.push_str(&format!("; {} are kept: `resume {number}` goes on", sized(kept)));
        if let Some(download) = self.download_mut(id) {
            download.rest();
            download.stage = Stage::Stopped;
            (download.part, download.content, download.journal) = (None, None, None);
        }
        self.tell_waiting(now, id, &Err(Failure::new(Code::of_disk(fault), text)));
        self.exit_if_closed();
        self.start_queued(now);
    }

    /// The file has its final name.
    pub(in crate::node::peer) fn part_committed(
        &mut self,
        now: Instant,
        id: TransferId,
        (file, name, meta, confirmed): (FileId, &str, Meta, bool),
    ) {
        self.stop_sending_from(now, file);
        let Some(download) = self.download_mut(id) else { return };
        download.content = None;
        download.stage = Stage::Finishing(Some(Saved { name: name.to_owned(), meta, confirmed }));
        if let Some(part) = &mut download.part {
            part.committed(now);
        }
        self.drive_part(now, id);
    }

    /// One of the files was made or opened.
    pub(in crate::node::peer) fn part_opened(
        &mut self,
        now: Instant,
        (id, which): (TransferId, Which),
        meta: Meta,
    ) {
        self.with_part(now, id, |part| part.opened(now, which, meta));
    }

    /// The content's file was made.
    pub(in crate::node::peer) fn part_created(&mut self, now: Instant, id: TransferId, room: u64) {
        self.with_part(now, id, |part| part.created(now, room));
    }

    pub(in crate::node::peer) fn part_synced(
        &mut self,
        now: Instant,
        (id, which): (TransferId, Which),
        meta: Meta,
    ) {
        self.with_part(now, id, |part| part.synced(now, which, meta));
    }

    pub(in crate::node::peer) fn part_read(
        &mut self,
        now: Instant,
        (id, which): (TransferId, Which),
        (offset, bytes, meta): (u64, &[u8], Meta),
    ) {
        self.with_part(now, id, |part| part.read(now, which, offset, bytes, meta));
        self.drive_download(now, id);
    }

    /// An operation on one of the files failed; its id is free if `fatal`.
    pub(in crate::node::peer) fn part_file_failed(
        &mut self,
        now: Instant,
        (id, which): (TransferId, Which),
        (file, fault, fatal): (FileId, Fault, bool),
    ) {
        if fatal {
            if which == Which::Part {
                self.stop_sending_from(now, file);
            }
            if let Some(download) = self.download_mut(id) {
                *download.place(which) = None;
            }
        }
        let Some(download) = self.download_mut(id) else { return };
        let storing = which == Which::Part && std::mem::take(&mut download.storing) > 0;
        let at_disk = download.part.as_ref().is_some_and(Part::is_at_disk);
        if storing && !fatal {
            // What comes of pieces of which bytes are missing must not count.
            self.set_sources_aside(now, id);
            self.with_part(now, id, |part| part.store_failed(now, fault));
        } else if fatal || at_disk || which == Which::Journal {
            self.with_part(now, id, |part| part.failed(now, which, fault, fatal));
        } else {
            // It was read for somebody else.
            self.stop_sending_from(now, file);
        }
    }

    fn with_part(&mut self, now: Instant, id: TransferId, tell: impl FnOnce(&mut Part)) {
        if let Some(part) = self.download_mut(id).and_then(|download| download.part.as_mut()) {
            tell(part);
            self.drive_part(now, id);
        }
    }

    /// Removes what is on the disk of a download whose files are closed.
    pub(in crate::node::peer) fn remove_parts(&mut self, root: &Root) {
        let file = self.files.add(Owner::Doomed);
        self.outputs.push_back(Output::OpenPart { file, name: part_name(root) });
        self.discard_file(file);
        let file = self.files.add(Owner::Leftover);
        self.outputs.push_back(Output::OpenLog { file, log: Log::Journal(journal_name(root)) });
        self.discard_file(file);
    }

    /// Where finished downloads lie.
    pub(super) fn look_into_downloads(&mut self, id: TransferId, name: String) -> FileId {
        let file = self.files.add(Owner::Look(id));
        self.outputs.push_back(Output::OpenFile { file, dir: Dir::Downloads, name });
        file
    }
}

impl super::Download {
    fn place(&mut self, which: Which) -> &mut Option<FileId> {
        match which {
            Which::Part => &mut self.content,
            Which::Journal => &mut self.journal,
        }
    }
}
