//! Operations on this node's own folders: `share`, `files`, `downloads`; and `nodes`, whose list is as plain.

use super::{Ends, Operations, Work};
use crate::machine::{Dir, Entry, Fault, FileId, ImportedFolder, ListEnd, RequestId};
use crate::node::api::{Code, Event, Failure, bytes as sized, plural};
use crate::node::ids::JobId;
use crate::proto::command::List;
use crate::proto::escape::for_terminal;
use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A file that was shared is found by others within this, or a little later.
const INDEXED: Duration = Duration::from_secs(2);

/// A node of a list.
#[derive(Debug)]
pub(crate) struct NodeRow {
    pub(crate) addr: SocketAddr,
    /// The lists it is on, as `node` events name them.
    pub(crate) lists: Vec<&'static str>,
    pub(crate) alive: bool,
    /// The id, in its short form, where it is known.
    pub(crate) id: Option<String>,
}

impl<F> Operations<F> {
    /// A copy into the shared folder went on.
    pub(crate) fn share_progress(&mut self, job: JobId, copied: u64, total: u64) {
        if let Some(Work::Share { bytes, size, .. }) = self.work_mut(job) {
            (*bytes, *size) = (copied, total);
        }
    }

    /// A copy into the shared folder is complete: a file, or a folder of several.
    pub(crate) fn shared(
        &mut self,
        now: Instant,
        job: JobId,
        (name, bytes): (&str, u64),
        folder: Option<&ImportedFolder>,
    ) {
        let op = self.op_of(job);
        self.tell(op, &Event::Shared { name, bytes, files: folder.map(|folder| folder.files) });
        let mut last = name.to_owned();
        if let Some(folder) = folder {
            if folder.left_out.count() > 0 {
                self.tell(op, &Event::LeftOut((&folder.left_out).into()));
            }
            last = format!("{name}/{}", folder.last);
        }
        self.turns_to(job, Work::Indexing { name: last });
        self.set_deadline(job, now + INDEXED, "index of a new file");
    }

    /// Ends those whose new file the index has found.
    pub(crate) fn finish_indexed(&mut self, is_found: impl Fn(&str) -> bool) {
        let indexed = |work: &Work<F>| matches!(work, Work::Indexing { name } if is_found(name));
        let all: Vec<JobId> =
            self.jobs.iter().filter(|(_, job)| indexed(&job.work)).map(|(id, _)| JobId(id)).collect();
        for job in all {
            self.finish(job, Ok(()));
        }
    }

    /// A copy into the shared folder failed; nothing of it is left.
    pub(crate) fn share_failed(&mut self, job: JobId, fault: Fault) -> Ends {
        let Some(Work::Share { name, .. }) = self.work_mut(job) else { return None };
        let name = for_terminal(name);
        let (code, text) = match fault {
            Fault::Exists => {
                (Code::Other, format!("{name} is shared already: rename yours, or remove that one first"))
            }
            Fault::NoSpace | Fault::Quota => {
                (Code::NoSpace, format!("cannot share {name}: {fault}; nothing is kept"))
            }
            Fault::NotFound => (Code::NotFound, format!("cannot share {name}: {fault}: is the path right?")),
            Fault::NotRegular => {
                (Code::Io, format!("cannot share {name}: it is neither a file nor a folder"))
            }
            fault => (Code::Io, format!("cannot share {name}: {fault}")),
        };
        self.finish(job, Err(Failure::new(code, text)))
    }

    /// Drops the shares of this file, or all of them: their files.
    pub(crate) fn give_up_shares(&mut self, file: Option<&str>) -> Vec<FileId> {
        let wanted =
            |work: &Work<F>| matches!(work, Work::Share { name, .. } if file.is_none_or(|file| name == file));
        let shares = self.jobs.iter().filter(|(_, job)| wanted(&job.work));
        let shares: Vec<_> = shares.map(|(id, job)| (JobId(id), job.op.front)).collect();
        let mut files = Vec::new();
        for (job, front) in shares {
            files.extend(self.drop_job(job, |_| String::new()));
            self.end_waiter(front);
        }
        files
    }

    /// A part of the names of `folder` came, as it is called for a person. None: nobody here asked for them.
    pub(crate) fn listed(
        &mut self,
        request: RequestId,
        (entries, end): (&[Entry], &ListEnd),
        folder: impl Fn(Dir) -> String,
    ) -> Option<Ends> {
        let job = self.find(|job| matches!(job.work, Work::Files { request: r, .. } if r == request))?;
        let op = self.op_of(job)?;
        for entry in entries {
            let (name, size) = (&entry.name, entry.meta.size);
            self.tell(op, &Event::File { number: None, name, size, root: None });
        }
        let Some(Work::Files { dir, files, bytes, .. }) = self.work_mut(job) else { return None };
        *files += entries.len();
        *bytes = entries.iter().fold(*bytes, |sum, entry| sum.saturating_add(entry.meta.size));
        let (dir, files, bytes) = (*dir, *files, *bytes);
        let what = if dir == Dir::Shared { "shared" } else { "downloaded" };
        let folder = for_terminal(&folder(dir));
        match end {
            ListEnd::More => return Some(None),
            ListEnd::Done(left_out) => {
                let summary = match files {
                    0 => format!("no file is {what} yet: {folder} is empty\n"),
                    _ => {
                        format!("{} {what}, {}, in {folder}\n", plural(files, "file", "files"), sized(bytes))
                    }
                };
                self.say(op, &summary);
                if left_out.count() > 0 {
                    self.tell(op, &Event::LeftOut(left_out.into()));
                }
            }
            ListEnd::Truncated => self.tell(op, &Event::Truncated { files, narrow: false }),
            ListEnd::Failed(fault) => {
                let failure = Failure::new(Code::Io, format!("cannot read {folder}: {fault}"));
                return Some(self.finish(job, Err(failure)));
            }
        }
        Some(self.finish(job, Ok(())))
    }

    /// A node of a list was probed.
    pub(crate) fn probed(&mut self, job: JobId, addr: SocketAddr, answers: bool) {
        if let Some(Work::Nodes { alive, waiting, .. }) = self.work_mut(job) {
            alive.insert(addr, answers);
            *waiting = waiting.saturating_sub(1);
        }
    }

    /// The nodes of a list, once all were probed, and whether they answered.
    pub(crate) fn all_probed(&mut self, job: JobId) -> Option<BTreeMap<SocketAddr, bool>> {
        match self.work_mut(job) {
            Some(Work::Nodes { alive, waiting: 0, .. }) => Some(std::mem::take(alive)),
            _ => None,
        }
    }

    /// Tells the list.
    pub(crate) fn tell_nodes(&mut self, job: JobId, nodes: Vec<NodeRow>) -> Ends {
        let op = self.op_of(job)?;
        let Some(Work::Nodes { list, .. }) = self.work_mut(job) else { return None };
        let name = match list {
            List::All => "known",
            List::Bootstrap => "known by bootstrap",
            List::Multicast => "heard on multicast",
        };
        let (n, up) = (nodes.len(), nodes.iter().filter(|node| node.alive).count());
        for NodeRow { addr, lists, alive, id } in nodes {
            self.tell(op, &Event::Node { at: addr.into(), lists, alive, id });
        }
        let text = match n {
            0 => format!("no node is {name} yet\n"),
            n => format!("{} {name}, {up} alive\n", plural(n, "node", "nodes")),
        };
        self.say(op, &text);
        self.finish(job, Ok(()))
    }
}
