//! `browse NODE`: what one node shares, page by page.

use super::Peer;
use super::pending::Pending;
use crate::machine::ConnId;
use crate::node::api::{Code, Event, Failure, bytes as sized, plural};
use crate::node::find::Find;
use crate::node::find::browse::{Beneath, Browse};
use crate::node::ids::{JobId, Op};
use crate::node::operations::Work;
use crate::node::sessions::outcome::Unreached;
use crate::proto::command::NodeRef;
use crate::proto::escape::for_terminal;
use crate::proto::name::{has_spellings, is_beneath};
use crate::proto::v2::message::{FILES_MAX, FileInfo, Message};
use crate::time::Instant;
use std::net::SocketAddr;

impl Peer {
    pub(super) fn run_browse(&mut self, now: Instant, op: Op, node: &NodeRef) {
        let addr = match self.addr_named(node) {
            Ok(addr) => addr,
            Err(failure) => return self.conclude(now, op, Err(failure)),
        };
        let browse =
            Browse { at: addr, after: None, fresh: false, files: 0, numbered: 0, bytes: 0, beneath: None };
        let job = self.begin(now, op, Work::Find(Find::Browse(browse)));
        let class = self
            .contacts
            .class_of(now, addr, &self.here())
            .unwrap_or(crate::node::sessions::outcome::Class::Near);
        self.browse_wait(now, job);
        self.reach(now, addr, class, Pending::Browse(job));
    }

    /// Asks a node for its files beneath a folder, to download them.
    pub(super) fn browse_folder(&mut self, now: Instant, job: JobId, addr: SocketAddr, folder: String) {
        let beneath = Some(Beneath { prefix: format!("{folder}/"), found: Vec::new() });
        // In the order of names, whatever lies beneath comes after the folder's own; it may be spelled otherwise there.
        let after = Some(folder).filter(|folder| !has_spellings(folder));
        let browse = Browse { at: addr, after, fresh: false, files: 0, numbered: 0, bytes: 0, beneath };
        self.operations.turns_to(job, Work::Find(Find::Browse(browse)));
        self.browse_wait(now, job);
        self.reach(now, addr, crate::node::sessions::outcome::Class::Near, Pending::Browse(job));
    }

    /// A page came: what lies beneath the folder is kept. Says whether there is no more of that.
    fn browsed_beneath(
        &mut self,
        now: Instant,
        (conn, number): (ConnId, u32),
        job: JobId,
        files: &[FileInfo],
        end: bool,
    ) {
        let max = self.config.limits.listing_max;
        let addr = self.addr_of(conn);
        let Some(Find::Browse(browse)) = self.operations.found_mut(job) else { return };
        let Some(Beneath { prefix, found }) = &mut browse.beneath else { return };
        let mut over = end && files.is_empty() && !browse.fresh;
        for file in files.iter().filter(|file| browse.after.as_ref().is_none_or(|after| *after < file.name)) {
            browse.fresh = true;
            let is_in = is_beneath(&file.name, prefix);
            if is_in && found.len() < max {
                found.push(file.clone());
            }
            // Names between the folder's own and those beneath it (`a-b` before `a/b`) are passed over.
            over |= file.name.as_str() > prefix.as_str() && !is_in && !has_spellings(prefix);
        }
        browse.after = files.last().map(|file| file.name.clone()).max(browse.after.take());
        if !over {
            if end {
                self.browse_on(now, conn, job);
            }
            return;
        }
        let (prefix, found) = (prefix.clone(), std::mem::take(found));
        self.sessions.answered(conn, number);
        if found.is_empty() {
            let text = format!("{addr} has nothing beneath {}", for_terminal(&prefix));
            return self.finish(now, job, Err(Failure::new(Code::NotFound, text)));
        }
        self.get_files(now, job, addr, found);
    }

    /// The address of a node as the operator names it.
    fn addr_named(&self, node: &NodeRef) -> Result<SocketAddr, Failure> {
        match node {
            NodeRef::At(place) => match place.literal() {
                Some(addr) => self.typed(addr),
                None => {
                    let text = format!(
                        "{}: give the node's address as a number, or its id",
                        for_terminal(&place.host)
                    );
                    Err(Failure::new(Code::Usage, text))
                }
            },
            NodeRef::Id(id) => match self.nodes_named(id).as_slice() {
                [node] => {
                    let nowhere =
                        || Failure::new(Code::Network, format!("no address of the node {id} is known"));
                    self.addr_of_node(*node).ok_or_else(nowhere)
                }
                [] => Err(Failure::new(
                    Code::NotFound,
                    format!("no node is known whose id begins with {id}: see `nodes all`"),
                )),
                _ => Err(Failure::new(
                    Code::Usage,
                    format!("several nodes have ids that begin with {id}: give more of it"),
                )),
            },
        }
    }

    fn browse_wait(&mut self, now: Instant, job: JobId) {
        let limits = &self.config.limits;
        self.operations.set_deadline(
            job,
            now + limits.connect_deadline + limits.handshake_deadline,
            "browse",
        );
    }

    /// The session is open, or the last page came: the next one is asked for.
    pub(super) fn browse_on(&mut self, now: Instant, conn: ConnId, job: JobId) {
        let Some(Find::Browse(browse)) = self.operations.found_mut(job) else { return };
        browse.fresh = false;
        let after = browse.after.clone();
        let limit = u32::try_from(FILES_MAX).unwrap_or(u32::MAX);
        self.ask_node(now, conn, Pending::Browse(job), |id| Message::Browse { id, after, limit });
        self.browse_wait(now, job);
    }

    /// A page of names, or a part of one. They come in order, each after the last: whoever sends them otherwise could
    /// go on for ever.
    pub(super) fn browsed(
        &mut self,
        now: Instant,
        conn: ConnId,
        job: JobId,
        files: &[FileInfo],
        (number, end, left_out): (u32, bool, u64),
    ) {
        let max = self.config.limits.listing_max;
        let (Some(op), Some(Find::Browse(browse))) =
            (self.operations.op_of(job), self.operations.found_mut(job))
        else {
            // It was given up, or has all it wants.
            self.sessions.answered(conn, number);
            return self.unsolicited(now, conn, number);
        };
        if browse.beneath.is_some() {
            return self.browsed_beneath(now, (conn, number), job, files, end);
        }
        let mut fresh = Vec::new();
        for file in files {
            let later = browse.after.as_ref().is_none_or(|after| *after < file.name);
            if later && browse.files < max {
                browse.after = Some(file.name.clone());
                browse.files += 1;
                browse.bytes = browse.bytes.saturating_add(file.size);
                fresh.push(file);
            }
        }
        let (at, n, bytes) = (browse.at, browse.files, browse.bytes);
        let mut numbered = browse.numbered;
        browse.fresh |= !fresh.is_empty();
        let over = if end { !browse.fresh } else { fresh.is_empty() };
        for file in &fresh {
            let number = self.operations.fronts.lists(op, at, file, self.config.limits.results_bytes);
            numbered = number.unwrap_or(numbered);
            let root = file.root.map(|root| root.to_string());
            self.tell(op, &Event::File { number, name: &file.name, size: file.size, root });
        }
        if let Some(Find::Browse(browse)) = self.operations.found_mut(job) {
            browse.numbered = numbered;
        }
        match (over, end) {
            (false, false) => return,
            (false, true) => return self.browse_on(now, conn, job),
            (true, _) => self.sessions.answered(conn, number),
        }
        if n >= max {
            self.tell(op, &Event::Truncated { files: n, narrow: false });
        } else if n == 0 {
            self.say(op, &format!("{at} shares no files\n"));
        } else {
            let get = |number| self.operations.fronts.get_command(op, number);
            let files = plural(n, "file", "files");
            let numbers = match (n, numbered) {
                (1, 1) => format!("to download: {}", get("1")),
                _ if n == numbered => format!("to download: {}", get("N")),
                _ => format!("to download one of the first {numbered}: {}; others by name", get("N")),
            };
            self.say(op, &format!("{at} shares {files}, {}; {numbers}\n", sized(bytes)));
        }
        if left_out > 0 {
            self.tell(op, &Event::NotOffered { count: left_out });
        }
        self.finish(now, job, Ok(()));
    }

    pub(super) fn browse_unreached(&mut self, now: Instant, job: JobId, addr: SocketAddr, why: Unreached) {
        let failure = self.unreached_failure(addr, why);
        self.finish(now, job, Err(failure));
    }

    pub(super) fn browse_late(&mut self, now: Instant, job: JobId) {
        let Some(Find::Browse(browse)) = self.operations.found_mut(job) else { return };
        let text = format!("{} did not answer in time", browse.at);
        self.finish(now, job, Err(Failure::new(Code::Timeout, text)));
    }

    /// Why a node was not reached, as the reason why a command failed.
    pub(super) fn unreached_failure(&self, addr: SocketAddr, why: Unreached) -> Failure {
        let (code, text) = match why {
            Unreached::Failed(fault) | Unreached::Lost(fault) => {
                return super::ask::Answer::Failed(fault).failure(&addr.to_string());
            }
            Unreached::NotTried => {
                (Code::Timeout, format!("{addr} was not dialled in time: too many dials wait"))
            }
            Unreached::TimedOut => return super::ask::Answer::TimedOut.failure(&addr.to_string()),
            Unreached::Silent => (Code::Timeout, format!("{addr} took the connection and said nothing")),
            Unreached::Old if self.config.group.is_some() => {
                (Code::Refused, format!("{addr} is not a member of this group"))
            }
            Unreached::Old => (Code::Refused, format!("{addr} speaks the old protocol only")),
            Unreached::NotOurs if self.config.group.is_some() => {
                let clock = "or one of the two clocks is wrong by more than a day";
                (Code::Refused, format!("{addr} hung up: it is no member of this group, too busy, {clock}"))
            }
            Unreached::NotOurs => (
                Code::Refused,
                format!(
                    "{addr} hung up: it is a member of a group, no node (a registry, perhaps), or too busy"
                ),
            ),
            Unreached::Myself => {
                let copied = "or one with a copy of its state folder, where `identity` must go";
                (Code::Usage, format!("{addr} has this node's own key: it is this node itself, {copied}"))
            }
            Unreached::Version(mismatch) => (Code::Refused, format!("{addr}: {mismatch}")),
        };
        Failure::new(code, text)
    }
}
