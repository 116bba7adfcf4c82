//! Our own searches: every node is asked at once, each in the protocol it speaks; what they find is merged by content,
//! ranked, and numbered for `get N`. A search ends when all have answered or its time is over.

use super::Peer;
use super::ask::{Answer, Purpose};
use super::pending::Pending;
use crate::config::V1_DEFAULT_SECRET;
use crate::machine::ConnId;
use crate::node::api::{Code, Event, Failure, FoundRow, Place, plural};
use crate::node::contacts::address_book::Node;
use crate::node::find::search::{Search, Then};
use crate::node::find::{Find, Tally};
use crate::node::hit::Hit;
use crate::node::ids::{JobId, Op};
use crate::node::operations::Work;
use crate::node::sessions::outcome::Unreached;
use crate::proto::address::is_local_net;
use crate::proto::escape::for_log;
use crate::proto::query::Query;
use crate::proto::results::{Added, Found};
use crate::proto::v2::message::{FileInfo, Message};
use crate::time::Instant;
use log::{debug, warn};
use std::net::SocketAddr;

impl Peer {
    pub(super) fn run_search(&mut self, now: Instant, op: Op, text: &str, then: Then) {
        let parsed = match then {
            Then::Show => Query::parse(text),
            Then::Get => Query::parse(&format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))),
            Then::Folder => Query::parse(&format!("/{}/**", as_meant(text))),
        };
        let query = match parsed {
            Ok(query) => query,
            Err(error) => {
                return self.conclude(now, op, Err(Failure::new(Code::Usage, error.to_string())));
            }
        };
        if self.contacts.book.len() == 0 {
            let text = match self.config.once {
                None => {
                    "no other node is known yet: use `bootstrap HOST:PORT` or `multicast on`, or `get IP PORT NAME`"
                }
                Some(_) => {
                    "no other node was found: name a registry with --bootstrap HOST:PORT, or the node with `get IP PORT NAME`"
                }
            };
            return self.conclude(now, op, Err(Failure::new(Code::Network, text)));
        }
        let search = Search::new(text, query, then, &self.config.limits);
        let job = self.begin(now, op, Work::Find(Find::Search(Box::new(search))));
        let mut nodes: Vec<(SocketAddr, Node)> = self.contacts.book.merged().collect();
        // Those that may well be dead have their turn when all others had theirs.
        nodes.sort_by_key(|(_, node)| (node.failing, !node.proven));
        if let Some(search) = self.search_mut(job) {
            search.waiting = nodes.len();
        }
        for (addr, node) in nodes {
            match self.contacts.class_of(now, addr, &self.here()) {
                None => self.searched(now, job, |tally| tally.silent += 1),
                Some(_) if node.is_legacy(now) && self.falls_back() => self.search_old(now, job, addr),
                Some(class) => self.reach(now, addr, class, Pending::Search(job)),
            }
        }
        let limits = &self.config.limits;
        let due = now + limits.search_deadline + limits.connect_deadline;
        self.operations.set_deadline(job, due, "search");
        self.finish_search(now, job);
    }

    fn search_mut(&mut self, job: JobId) -> Option<&mut Search> {
        match self.operations.found_mut(job) {
            Some(Find::Search(search)) => Some(search),
            _ => None,
        }
    }

    /// A session with a node that is to be asked is open.
    pub(super) fn search_on(&mut self, now: Instant, conn: ConnId, job: JobId) {
        let limit = u32::try_from(self.config.limits.results_per_node).unwrap_or(u32::MAX);
        let Some(search) = self.search_mut(job) else { return };
        let query = search.query.text();
        let (sessions, mut cx) = self.talking(now);
        sessions.ask_by(&mut cx, conn, Pending::Search(job), |id| Message::Search { id, query, limit });
    }

    /// A node did not answer in time.
    pub(super) fn search_silent(&mut self, now: Instant, job: JobId) {
        self.searched(now, job, |tally| tally.silent += 1);
    }

    /// Files came, for whatever asked for them.
    pub(super) fn files_came(
        &mut self,
        now: Instant,
        (conn, request): (ConnId, Pending),
        id: u32,
        files: Vec<FileInfo>,
        (end, left_out): (bool, u64),
    ) {
        match request {
            Pending::Search(job) => self.found(now, conn, job, files, end),
            Pending::Browse(job) => self.browsed(now, conn, job, &files, (id, end, left_out)),
            // The first part tells all there is to tell.
            Pending::Name(transfer) if end || !files.is_empty() => {
                self.sessions.answered(conn, id);
                self.named(now, transfer, files.into_iter().next());
            }
            Pending::Name(_) => {}
            Pending::Source(..) => self.unsolicited(now, conn, id),
        }
    }

    fn found(&mut self, now: Instant, conn: ConnId, job: JobId, files: Vec<FileInfo>, end: bool) {
        let addr = self.addr_of(conn);
        let held = self.operations.held(Find::bytes);
        let max = self.config.limits.results_bytes;
        let Some(search) = self.search_mut(job) else { return };
        let others = held.saturating_sub(search.results.bytes());
        let mut fresh = Vec::new();
        for file in files {
            if others + search.results.bytes() >= max {
                search.left_out += 1;
                continue;
            }
            match search.results.add(addr, &file.name, Some(file.size), file.root) {
                Added::New(index) | Added::Merged(index) => fresh.push((index, file)),
                Added::Refused(why) => debug!("{addr}: a result is left out: {why:?}"),
            }
        }
        let sources: Vec<usize> =
            fresh.iter().map(|(id, _)| search.results.get(*id).map_or(0, Found::source_count)).collect();
        if !fresh.is_empty() {
            search.found_at.insert(addr);
        }
        let any = search.found_at.contains(&addr);
        search.full += usize::from(end && search.results.has_told_all_it_may(addr));
        for ((_, file), sources) in fresh.iter().zip(sources) {
            let root = file.root.map(|root| root.to_string());
            let event =
                Event::Found { at: addr.into(), name: &file.name, size: Some(file.size), root, sources };
            self.tell(self.op_of(job), &event);
        }
        if end {
            self.searched(now, job, |tally| if any { tally.found += 1 } else { tally.without += 1 });
        }
    }

    /// The node was not reached, or not in v2.
    pub(super) fn search_unreached(&mut self, now: Instant, job: JobId, addr: SocketAddr, why: Unreached) {
        match why {
            Unreached::Old if self.falls_back_at(addr, now) => self.search_old(now, job, addr),
            Unreached::Old | Unreached::NotOurs | Unreached::Version(_) => {
                self.searched(now, job, |tally| tally.refused += 1);
            }
            Unreached::Myself => self.searched(now, job, |_| {}),
            Unreached::NotTried => self.searched(now, job, |tally| tally.not_tried += 1),
            _ => self.searched(now, job, |tally| tally.silent += 1),
        }
    }

    pub(super) fn search_refused(&mut self, now: Instant, job: JobId) {
        self.searched(now, job, |tally| tally.refused += 1);
    }

    /// Asks a node that speaks v1 only, if it can answer that.
    fn search_old(&mut self, now: Instant, job: JobId, addr: SocketAddr) {
        let trusted = self.may_see_secret(addr);
        let Some(name) = self.search_mut(job).and_then(|search| search.old_name.clone()) else {
            return self.searched(now, job, |tally| tally.unable += 1);
        };
        match self.contacts.class_of(now, addr, &self.here()) {
            _ if !trusted => self.searched(now, job, |tally| tally.withheld += 1),
            Some(class) => drop(self.ask(now, addr, class, Purpose::Search(job, name))),
            None => self.searched(now, job, |tally| tally.silent += 1),
        }
    }

    /// Every v1 request carries the secret. The public one goes anywhere; one of our own only to our networks and to
    /// addresses the operator typed (hostile: 116).
    pub(super) fn may_see_secret(&self, addr: SocketAddr) -> bool {
        self.contacts.book.get(addr).is_some_and(|node| node.typed)
            || self.config.v1_secret.matches(V1_DEFAULT_SECRET)
            || is_local_net(addr.ip(), &self.here())
    }

    /// An old node answered, or did not.
    pub(super) fn old_answered(
        &mut self,
        now: Instant,
        job: JobId,
        addr: SocketAddr,
        name: &str,
        answer: &Answer,
    ) {
        if let Answer::Found = answer {
            if let Some(search) = self.search_mut(job) {
                search.old.push(addr);
                let sources = search.old.len();
                self.tell(
                    self.op_of(job),
                    &Event::Found { at: addr.into(), name, size: None, root: None, sources },
                );
            }
        }
        if let Answer::Refused(text) = answer {
            warn!("{addr} refused the search: {}", for_log(text));
        }
        self.searched(now, job, |tally| match answer {
            Answer::Found => tally.found += 1,
            Answer::NotFound => tally.without += 1,
            Answer::Refused(_) | Answer::Garbage => tally.refused += 1,
            _ => tally.silent += 1,
        });
    }

    /// One node less to wait for.
    fn searched(&mut self, now: Instant, job: JobId, count: impl FnOnce(&mut Tally)) {
        if let Some(search) = self.search_mut(job) {
            search.waiting = search.waiting.saturating_sub(1);
            count(&mut search.tally);
            self.finish_search(now, job);
        }
    }

    /// The time of the whole search is over: who has not answered is silent.
    pub(super) fn search_late(&mut self, now: Instant, job: JobId) {
        let queued = self.sessions.queued_for(Pending::Search(job));
        if let Some(search) = self.search_mut(job) {
            let waiting = std::mem::take(&mut search.waiting);
            search.tally.not_tried += queued.min(waiting);
            search.tally.silent += waiting.saturating_sub(queued);
            self.finish_search(now, job);
        }
    }

    /// Ends the search once all answers are in.
    fn finish_search(&mut self, now: Instant, job: JobId) {
        let Some(search) = self.search_mut(job) else { return };
        if search.waiting > 0 {
            return;
        }
        let (text, tally, then) = (search.text.clone(), search.tally, search.then);
        let cut = search.left_out > 0 || search.full > 0 || search.results.is_full();
        let hits = search.hits();
        let op = self.op_of(job);
        if hits.is_empty() {
            let failure = tally.none_found(&text);
            return self.finish(now, job, Err(failure));
        }
        match then {
            Then::Get => self.get_found(now, job, &text, hits),
            Then::Folder => self.get_found_folder(now, job, &text, hits),
            Then::Show => {
                self.show_results(op, &hits);
                self.feed_downloads(now, &hits);
                let results = plural(hits.len(), "result", "results");
                let nodes = plural(tally.asked(), "node", "nodes");
                let number = if hits.len() == 1 { "1" } else { "N" };
                let get = op.map_or(String::new(), |op| self.operations.fronts.get_command(op, number));
                if cut {
                    self.tell(op, &Event::Truncated { files: hits.len(), narrow: true });
                }
                let left_out = match tally.not_tried {
                    0 => String::new(),
                    n => format!(
                        "; {} not asked: too many to dial at once",
                        plural(n, "node was", "nodes were")
                    ),
                };
                self.say(
                    op,
                    &format!("{results} from {} of {nodes}{left_out}; to download: {get}\n", tally.found),
                );
                self.operations.shows(&self.config.limits, job, hits);
                self.finish(now, job, Ok(()));
            }
        }
    }

    /// Shows what was found, with its numbers. At a terminal the best comes last, where it is not scrolled away.
    pub(super) fn show_results(&mut self, op: Option<Op>, hits: &[Hit]) {
        let mut rows: Vec<(usize, &Hit)> = hits.iter().enumerate().collect();
        if op.is_some_and(|op| self.operations.fronts.is_typed_to(op.front)) {
            rows.reverse();
        }
        for (i, hit) in rows {
            let sources: Vec<Place> = hit.sources.iter().copied().map(Place::from).collect();
            let root = hit.root.map(|root| root.to_string());
            let names = hit.names.iter().map(String::as_str).collect();
            let Hit { name, size, .. } = hit;
            self.tell(
                op,
                &Event::Result(FoundRow { number: i + 1, name, size: *size, root, sources, names }),
            );
        }
    }
}

/// Signs of a name that mean something in a search, marked as meant themselves.
fn as_meant(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '/' || !c.is_ascii();
    name.chars().flat_map(|c| (!plain(c)).then_some('\\').into_iter().chain([c])).collect()
}
