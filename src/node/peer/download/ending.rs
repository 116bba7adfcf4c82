//! The ends of a download: complete, paused, interrupted for want of sources, cancelled, or stopped with the process; and
//! how it is taken up again.

use super::{Download, Saved, Stage};
use crate::machine::Output;
use crate::node::api::{Code, Downloaded, Event, Failure, bytes as sized};
use crate::node::contacts::address_book::Via;
use crate::node::ids::TransferId;
use crate::node::peer::Peer;
use crate::node::peer::transfers::{Phase, Transfer};
use crate::node::uploads::seeds::Seed;
use crate::proto::escape::for_terminal;
use crate::time::Instant;

impl Download {
    /// Something of it is worth keeping.
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.bytes() > 0 || self.is_checking() || self.earlier
    }
}

impl Peer {
    /// Every piece is here: the disk gives it its name.
    pub(super) fn download_finish(&mut self, now: Instant, id: TransferId) {
        self.drop_sources(now, id);
        let Some(download) = self.download_mut(id) else { return };
        download.stage = Stage::Finishing(None);
        download.starving = None;
        if let Some(part) = &mut download.part {
            part.finish(now);
        }
        self.drive_part(now, id);
    }

    /// The disk has it under its final name.
    pub(super) fn download_saved(&mut self, now: Instant, id: TransferId) {
        let Some(Transfer { phase, name, from, typed, .. }) = self.transfers.get_mut(id.0) else { return };
        let Phase::Download(download) = phase else { return };
        let Stage::Finishing(Some(saved)) = std::mem::replace(&mut download.stage, Stage::Stopped) else {
            return;
        };
        let (name, from, typed) = (name.clone(), *from, *typed);
        let Saved { name: stored, meta, confirmed } = saved;
        let (root, size) = (download.root, download.size);
        let (sources, resumed, list) = (download.gave.len(), download.resumed, download.list.clone());
        if typed {
            self.contacts.book.learn(from, Via::Operator, now);
        }
        self.uploads.add_seed(Seed { root, size, name: stored.clone(), meta, list });
        let path = self.config.folders.downloads.join(&stored);
        let path = path.to_string_lossy();
        let done = Downloaded {
            name: &name,
            path: &path,
            bytes: size,
            verified: true,
            sources,
            resumed,
            confirmed,
            already: false,
        };
        self.tell_waiters(id, &Event::Downloaded(done));
        self.transfer_over(now, id, &Ok(()));
    }

    /// It is here already, at this place.
    pub(super) fn download_is_here(&mut self, now: Instant, id: TransferId, path: &str) {
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(size) = self.download_mut(id).map(|download| download.size) else { return };
        let done = Downloaded {
            name: &name,
            path,
            bytes: size,
            verified: true,
            sources: 0,
            resumed: size,
            confirmed: true,
            already: true,
        };
        self.tell_waiters(id, &Event::Downloaded(done));
        self.transfer_over(now, id, &Ok(()));
    }

    /// Nobody gives anything, and nobody else is known: those who wait hear of it. What is here is kept, and the download
    /// goes on when somebody turns up.
    pub(super) fn hunger(&mut self, now: Instant, id: TransferId) {
        let Some(Transfer { phase: Phase::Download(download), number, jobs, .. }) = self.transfers.get(id.0)
        else {
            return;
        };
        let (number, keep, kept) = (*number, download.is_worth_keeping(), download.bytes());
        let (waited, failure) = (!jobs.is_empty(), download.failure.clone());
        let name = self.fetch_name(id).map(for_terminal).unwrap_or_default();
        let Failure { code, mut message } = match failure {
            Some(Failure { code: Code::Verification, message }) => {
                Failure::new(Code::Verification, format!("no source delivers correct data: {message}"))
            }
            Some(failure) => failure,
            None => Failure::new(Code::NotFound, format!("nobody who can be reached has {name}")),
        };
        if !keep {
            let failure = Failure::new(code, format!("{message}; nothing is kept"));
            self.drop_transfer(now, id);
            return self.transfer_over(now, id, &Err(failure));
        }
        if waited {
            message = format!(
                "{message}; {} of {name} are kept: it goes on when somebody has it, and `resume {number}` looks for them now",
                sized(kept)
            );
            self.tell_waiting(now, id, &Err(Failure::new(code, message)));
        }
        self.start_queued(now);
    }

    /// Stops fetching, and keeps what is here. `why`: none by the operator's will.
    pub(in crate::node::peer) fn download_pause(
        &mut self,
        now: Instant,
        id: TransferId,
        why: Option<Failure>,
    ) {
        self.drop_sources(now, id);
        let Some(download) = self.download_mut(id) else { return };
        download.starving = None;
        download.rest();
        match download.stage {
            Stage::Finishing(_) | Stage::Pausing(_) | Stage::Paused => return,
            Stage::Stopped | Stage::Waiting => download.stage = Stage::Paused,
            Stage::Looking(_) => {
                self.stop_looking(id);
                if let Some(download) = self.download_mut(id) {
                    download.stage = Stage::Paused;
                }
            }
            Stage::Opening | Stage::Running => {
                download.stage = Stage::Pausing(why);
                if let Some(part) = &mut download.part {
                    part.pause(now);
                }
                self.drive_part(now, id);
            }
        }
        self.start_queued(now);
    }

    /// Both files are closed, and all that was verified is kept.
    pub(super) fn download_closed(&mut self, now: Instant, id: TransferId) {
        let Some(download) = self.download_mut(id) else { return };
        (download.part, download.content, download.journal) = (None, None, None);
        let stage = std::mem::replace(&mut download.stage, Stage::Paused);
        if let Stage::Pausing(Some(failure)) = stage {
            download.stage = Stage::Stopped;
            self.tell_waiting(now, id, &Err(failure));
        }
        self.exit_if_closed();
        if self.download_mut(id).is_some_and(|download| download.go_on) && !self.stopping {
            self.download_resume(now, id);
        }
        self.start_queued(now);
    }

    /// Takes a download up again that rests. Nothing happens to others.
    pub(in crate::node::peer) fn download_resume(&mut self, now: Instant, id: TransferId) {
        let seed = self.rng.u64(..);
        let Some(Transfer { phase, .. }) = self.transfers.get_mut(id.0) else { return };
        if let Phase::Download(download) = phase {
            download.go_on |= download.is_pausing();
        }
        let resting = matches!(phase, Phase::Download(download) if download.rests());
        if !resting {
            return;
        }
        let Phase::Download(mut download) = std::mem::replace(phase, Phase::Queued(None)) else { return };
        download.rewind(&self.config.limits, seed);
        *phase = Phase::Queued(Some(download));
        self.queued.push_back(id);
        self.start_queued(now);
    }

    /// Looks for sources now, if it waits for some.
    pub(in crate::node::peer) fn download_retry(&mut self, now: Instant, id: TransferId) {
        let Some(download) = self.download_mut(id) else { return };
        if let Some(starving) = &mut download.starving {
            (starving.since, starving.seek, starving.sought) = (now, now, 0);
            download.tried.clear();
            self.drive_download(now, id);
        }
    }

    /// Gives up a download whose content is known: nothing of it stays on the disk.
    pub(in crate::node::peer) fn download_drop(&mut self, now: Instant, id: TransferId) {
        self.drop_sources(now, id);
        self.stop_looking(id);
        let Some(download) = self.download_mut(id) else { return };
        let root = download.root;
        match &mut download.part {
            Some(part) => {
                part.discard();
                self.drive_part(now, id);
            }
            None if download.exists => self.remove_parts(&root),
            None => {}
        }
    }

    /// The same for one that waits for its turn.
    pub(in crate::node::peer) fn download_remove(&mut self, id: TransferId) {
        let exists = self.transfers.get(id.0).and_then(Transfer::download).filter(|download| download.exists);
        if let Some(root) = exists.map(|download| download.root) {
            self.remove_parts(&root);
        }
    }

    /// Before the process ends: everything that is here is made durable. The end waits for that: [`Peer::exit_if_closed`].
    pub(in crate::node::peer) fn pause_downloads(&mut self, now: Instant) {
        let all: Vec<TransferId> = self.transfers.iter().map(|(id, _)| TransferId(id)).collect();
        for id in all {
            match self.transfers.get(id.0).map(|transfer| &transfer.phase) {
                Some(Phase::Download(_)) => self.download_pause(now, id, None),
                Some(Phase::Queued(_)) => {}
                _ => {
                    self.drop_transfer(now, id);
                    self.transfers.remove(id.0);
                }
            }
        }
    }

    /// Whether some download has files open.
    pub(in crate::node::peer) fn has_open_parts(&self) -> bool {
        let open = |transfer: &Transfer| transfer.download().is_some_and(|download| download.part.is_some());
        self.transfers.iter().any(|(_, transfer)| open(transfer))
    }

    /// The last of the files that kept the process from ending is closed.
    pub(in crate::node::peer) fn exit_if_closed(&mut self) {
        let told = self.operations.fronts.controls().is_empty();
        if self.stopping && !self.exited && told && !self.has_open_parts() {
            self.exited = true;
            self.outputs.push_back(Output::Exit { status: self.operations.status() });
        }
    }

    /// The disk takes too long, or somebody who is told: what is not durable by now is fetched again at the next start.
    pub(in crate::node::peer) fn exit_anyway(&mut self) {
        let all: Vec<TransferId> = self.transfers.iter().map(|(id, _)| TransferId(id)).collect();
        for id in all {
            let Some(download) = self.download_mut(id) else { continue };
            download.part = None;
            let (content, journal) = (download.content.take(), download.journal.take());
            content.into_iter().chain(journal).for_each(|file| self.keep_file(file));
        }
        for conn in self.operations.fronts.controls() {
            self.outputs.push_back(Output::Close { conn, reset: false });
            self.control_gone(conn);
        }
        self.exit_if_closed();
    }
}
