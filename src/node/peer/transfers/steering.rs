//! Transfers as the operator steers them: `transfers`, `pause`, `resume`, `cancel`, `limit`.

use super::{Phase, Transfer};
use crate::node::api::{Code, Event, Failure, TransferRow, UploadRow};
use crate::node::ids::{Op, TransferId};
use crate::node::operations::Work;
use crate::node::operations::gets::Gets;
use crate::node::peer::{Peer, Timer};
use crate::node::uploads::ledger::Upload;
use crate::node::v1::server::CloseReason;
use crate::proto::command::{Way, Which};
use crate::proto::escape::for_terminal;
use crate::proto::name::is_same;
use crate::time::Instant;

impl Peer {
    /// Every download that is not complete, and every upload, each by number.
    pub(in crate::node::peer) fn run_transfers(&mut self, now: Instant, op: Op) {
        let mut ids: Vec<(u32, TransferId)> =
            self.transfers.iter().map(|(id, transfer)| (transfer.number, TransferId(id))).collect();
        ids.sort_unstable();
        let uploads = self.uploads.ledger.rows();
        if ids.is_empty() && uploads.is_empty() {
            self.say(op, "no download or upload is under way\n");
        }
        for (_, id) in ids {
            self.tell_transfer(now, Some(op), id);
        }
        for upload in uploads {
            let (at, id) = (upload.to.addr.into(), upload.to.id.map(|id| id.to_string()));
            let Upload { number, size, bytes, .. } = upload;
            let (name, rate) = (upload.name.as_str(), upload.rate(now));
            self.tell(op, &Event::Upload(UploadRow { number, name, at, id, size, bytes, rate }));
        }
        self.conclude(now, op, Ok(()));
    }

    /// One row of `transfers`.
    pub(in crate::node::peer) fn tell_transfer(&mut self, now: Instant, to: Option<Op>, id: TransferId) {
        let Some(transfer) = self.transfers.get(id.0) else { return };
        let download = transfer.download();
        let name = transfer.name.clone();
        let row = Event::Transfer(TransferRow {
            number: transfer.number,
            name: &name,
            size: download.map(|download| download.size),
            bytes: transfer.bytes(),
            rate: download.map_or(0, |download| download.rate(now)),
            sources: transfer.sources(),
            state: transfer.state(),
            root: download.map(|download| download.root.to_string()),
        });
        self.tell(to, &row);
    }

    /// Those that are meant. Never empty: who means nothing is told so.
    fn meant(&self, which: &Which) -> Result<Vec<TransferId>, Failure> {
        let is = |transfer: &Transfer| match which {
            Which::Number(number) => transfer.number == *number,
            Which::Name(name) => is_same(&transfer.name, name),
            Which::All => true,
        };
        let mut ids: Vec<(u32, TransferId)> = self
            .transfers
            .iter()
            .filter(|(_, transfer)| is(transfer))
            .map(|(id, transfer)| (transfer.number, TransferId(id)))
            .collect();
        ids.sort_unstable();
        let text = match which {
            _ if !ids.is_empty() => return Ok(ids.into_iter().map(|(_, id)| id).collect()),
            Which::Number(number)
                if self.uploads.ledger.rows().iter().any(|upload| upload.number == *number) =>
            {
                format!(
                    "transfer {number} is an upload: `cancel` ends it, and nothing else can be done with it"
                )
            }
            Which::Number(number) => format!("there is no transfer {number}: `transfers` lists them"),
            Which::Name(name) => {
                format!("{} is not under way: `transfers` lists what is", for_terminal(name))
            }
            Which::All => "nothing is under way".to_owned(),
        };
        Err(Failure::new(Code::NotFound, text))
    }

    pub(in crate::node::peer) fn run_pause(&mut self, now: Instant, op: Op, which: &Which) {
        let result = self.meant(which).and_then(|ids| {
            let mut able = 0;
            for id in ids {
                able += usize::from(self.pause(now, op, id));
            }
            if able > 0 {
                return Ok(());
            }
            let text = "it cannot be paused: a download in the old protocol cannot go on later, and one \
                        whose content is not known yet has nothing to keep; `cancel` ends it";
            Err(Failure::new(Code::Other, text))
        });
        self.conclude(now, op, result);
    }

    /// Commands that wait for it are over, and well: what was wanted of it now is that it rests.
    fn pause(&mut self, now: Instant, op: Op, id: TransferId) -> bool {
        let Some(Transfer { phase, number, name, .. }) = self.transfers.get_mut(id.0) else { return false };
        let (number, name) = (*number, name.clone());
        match phase {
            Phase::Queued(Some(_)) => {
                let Phase::Queued(Some(download)) = std::mem::replace(phase, Phase::Queued(None)) else {
                    return false;
                };
                *phase = Phase::Download(download);
                self.queued.retain(|queued| *queued != id);
            }
            Phase::Download(_) => {}
            _ => return false,
        }
        self.download_pause(now, id, None);
        let bytes = self.transfers.get(id.0).map_or(0, Transfer::bytes);
        self.tell(op, &Event::Paused { number, name: &name, bytes });
        self.tell_waiting(now, id, &Ok(()));
        true
    }

    pub(in crate::node::peer) fn run_resume(&mut self, now: Instant, op: Op, which: &Which) {
        let meant = self.meant(which).map(|ids| {
            let resumes = |id: &TransferId| {
                let transfer = self.transfers.get(id.0);
                transfer.is_some_and(|transfer| {
                    transfer.download().is_some_and(|download| !download.is_active() || download.is_pausing())
                })
            };
            ids.into_iter().filter(resumes).collect::<Vec<TransferId>>()
        });
        match meant {
            Ok(ids) if ids.is_empty() => {
                let text = "it is neither paused nor interrupted: `transfers` shows what each is";
                self.conclude(now, op, Err(Failure::new(Code::Other, text)));
            }
            Ok(ids) => {
                let job = self.begin(now, op, Work::Get(Gets::default()));
                for &id in &ids {
                    self.waits_for(job, id);
                }
                for id in ids {
                    self.download_resume(now, id);
                    self.download_retry(now, id);
                }
                let ends = self.operations.settle_gets(job);
                self.ends(now, ends);
            }
            Err(failure) => self.conclude(now, op, Err(failure)),
        }
    }

    /// Gives up downloads and shares: nothing of them stays. An upload is named by its number only.
    pub(in crate::node::peer) fn run_cancel(&mut self, now: Instant, op: Op, which: &Which) {
        let shares = match which {
            Which::Number(number) if self.stop_upload(now, op, *number) => {
                return self.conclude(now, op, Ok(()));
            }
            Which::Number(_) => 0,
            Which::Name(file) => self.give_up_shares(Some(file)),
            Which::All => self.give_up_shares(None),
        };
        let result = match self.meant(which) {
            Ok(ids) => {
                ids.into_iter().for_each(|id| self.cancel(now, op, id));
                Ok(())
            }
            Err(_) if shares > 0 => Ok(()),
            Err(failure) => Err(failure),
        };
        self.start_queued(now);
        self.conclude(now, op, result);
    }

    /// Gives up the upload with this number, if there is one.
    fn stop_upload(&mut self, now: Instant, op: Op, number: u32) -> bool {
        let Some(((conn, root), upload)) = self.uploads.ledger.stop(number) else { return false };
        let text = format!("gave up the upload of {} to {}\n", for_terminal(&upload.name), upload.to.addr);
        match root {
            Some(root) => {
                let (uploads, mut cx, _) = self.giving(now);
                uploads.stop(&mut cx, conn, root);
            }
            None => self.close_caller(now, conn, CloseReason::Stopped),
        }
        self.note(op, &text);
        true
    }

    fn cancel(&mut self, now: Instant, op: Op, id: TransferId) {
        let Some(name) = self.fetch_name(id).map(for_terminal) else { return };
        self.drop_transfer(now, id);
        let text = format!("gave up the download of {name}; nothing is kept");
        let waited = self.transfers.get(id.0).is_some_and(|transfer| !transfer.jobs.is_empty());
        if !waited {
            self.note(op, &format!("{text}\n"));
        }
        self.give_up(id, &text);
    }

    /// Those who wait for a download hear that it was given up, which is no failure of theirs.
    fn give_up(&mut self, id: TransferId, text: &str) {
        self.timers.cancel(Timer::Transfer(id));
        self.queued.retain(|queued| *queued != id);
        let jobs = self.transfers.remove(id.0).map(|transfer| transfer.jobs).unwrap_or_default();
        for job in jobs {
            self.operations.given_up(job, id, text);
        }
    }

    pub(in crate::node::peer) fn run_limit(
        &mut self,
        now: Instant,
        op: Op,
        limit: Option<(Way, Option<u64>)>,
    ) {
        match limit {
            Some((Way::Up, rate)) => self.limit_up(now, rate),
            Some((Way::Down, rate)) => {
                self.down.set(now, rate);
                self.drive_downloads(now);
                self.resume_old(now);
            }
            None => {}
        }
        let (up, down) = (self.shares.rate(), self.down.rate());
        self.tell(op, &Event::Limit { up, down });
        self.conclude(now, op, Ok(()));
    }
}
