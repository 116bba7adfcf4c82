//! What other nodes ask of us in a session: which files match, what is there, the values of a file's pieces, its bytes; and who
//! fetches what, for the operator. Everything is bounded per session.

pub(crate) mod ledger;
pub(crate) mod searches;
pub(crate) mod seeds;

mod event;
mod giving;
#[cfg(test)]
mod tests;

use crate::config::CHUNK;
use crate::machine::{ConnId, Deadline, Dir, Fault, FileId, Meta};
use crate::node::cx::Cx;
use crate::node::index::Index;
use crate::node::index::port::Port;
use crate::node::timers::MOMENT;
use crate::proto::content::{Root, Span, VALUE, ValueList, groups, list_len};
use crate::proto::query::Query;
use crate::proto::v2::message::{Code, DATA_HEAD, DataKind, FileInfo, Message, files_that_fit};
use crate::time::Instant;
use event::info_of;
pub(crate) use event::{Event, Link};
pub(crate) use giving::Slice;
use giving::{Giving, Place, STOPPED};
use ledger::{Ledger, Receiver};
use searches::Searches;
use seeds::{Followers, Seed, Seeds};
use std::collections::VecDeque;

/// A download under way of the content that a request is about, as far as it can be given.
#[derive(Debug)]
pub(crate) struct Partial<'a> {
    pub(crate) name: &'a str,
    pub(crate) size: u64,
    pub(crate) list: &'a ValueList,
    /// The open file that has the bytes asked for.
    pub(crate) content: Option<FileId>,
    /// Which pieces of the group asked about are here; none: it does not run.
    pub(crate) map: Option<Vec<u8>>,
}

/// All that is given to others over v2, and the list of all uploads.
#[derive(Debug)]
pub(crate) struct Uploads {
    pub(crate) ledger: Ledger,
    pub(crate) seeds: Seeds,
    pub(crate) followers: Followers,
    pub(crate) searches: Searches,
    /// When the next slice of a search has its turn.
    search_due: Option<Instant>,
    giving: Giving,
    events: VecDeque<Event>,
}

impl Uploads {
    /// Nobody asked for anything. `seeds`: finished downloads that are given on, at most.
    pub(crate) fn new(seeds: usize) -> Uploads {
        Uploads {
            ledger: Ledger::default(),
            seeds: Seeds::new(seeds),
            followers: Followers::default(),
            searches: Searches::default(),
            search_due: None,
            giving: Giving::default(),
            events: VecDeque::new(),
        }
    }

    /// A request of another node's. `partial`: what a download has of the content that it names.
    pub(crate) fn request(
        &mut self,
        cx: &mut Cx<'_>,
        shared: &mut Port,
        partial: Option<&Partial<'_>>,
        link: &Link,
        request: Message,
    ) {
        let conn = link.conn;
        match request {
            Message::Search { id, query, limit } => self.search(cx, link, id, &query, limit),
            Message::Browse { id, after, limit } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let page = shared.index().page(after.as_deref(), limit);
                let mut files: Vec<FileInfo> = page.map(|view| info_of(&view)).collect();
                files.truncate(files_that_fit(&files, link.run + DATA_HEAD));
                let all = if files.is_empty() { shared.index().progress().left_out.count() } else { 0 };
                self.tell(conn, Message::Files { id, files, end: true, skipped: 0, left_out: all });
            }
            Message::Stat { id, name } => self.stat(cx, shared, link, id, name),
            Message::Values { id, root, span, first, count } => match Span::from_number(span) {
                Some(span) => {
                    self.values(cx, shared, (link, id), partial, (&root, span, first, u64::from(count)));
                }
                None => self.refuse(conn, id, Code::Bad, "there are no values of that span"),
            },
            Message::Get { id, root, offset, len } => {
                self.get(cx, shared.index(), partial, (link, id), (root, offset, len));
            }
            Message::Follow { id, root, group } => {
                self.follow(shared.index(), partial, (conn, id), root, group.into());
            }
            Message::Wrong { root } => shared.index_mut().doubted(cx.now, &root),
            Message::Cancel { id } => {
                self.searches.cancel(conn, id);
                self.followers.cancel(conn, id);
                self.giving.take_back((cx, &mut self.events), conn, id);
            }
            _ => self.events.push_back(Event::Nonsense { conn }),
        }
    }

    fn tell(&mut self, conn: ConnId, message: Message) {
        self.events.push_back(Event::Tell { conn, message });
    }

    fn refuse(&mut self, conn: ConnId, id: u32, code: Code, text: &str) {
        self.events.push_back(Event::refused(conn, id, code, text));
    }

    fn search(&mut self, cx: &Cx<'_>, link: &Link, id: u32, query: &str, limit: u32) {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(error) => return self.refuse(link.conn, id, Code::Bad, &error.to_string()),
        };
        if !self.searches.begin((link.conn, link.peer.ip()), id, (query, limit), cx.limits) {
            return self.refuse(link.conn, id, Code::Busy, "too many searches at once");
        }
        // Never at once: many searches in one read would hold everybody else up.
        self.search_soon(cx.now);
    }

    /// The next slice of a search has its turn after what else is due now.
    pub(crate) fn search_soon(&mut self, now: Instant) {
        self.search_due = self.searches.are_under_way().then_some(now + MOMENT);
    }

    /// When [`Uploads::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let search = self.search_due.map(|at| Deadline { at, reason: "a slice of a search" });
        let quiet = self.ledger.poll_timeout().map(|at| Deadline { at, reason: "quiet uploads" });
        [search, quiet].into_iter().flatten().min_by_key(|due| due.at)
    }

    /// Does what is due. The session whose search is done, if one is: it is to be told what was found.
    pub(crate) fn handle_timeout(&mut self, now: Instant, index: &Index) -> Option<ConnId> {
        self.ledger.handle_timeout(now);
        self.search_due.take_if(|at| *at <= now)?;
        let done = self.searches.slice(index);
        // Before anything was listed the index says when it is worth another look.
        if index.progress().listed {
            self.search_soon(now);
        }
        done
    }

    /// What stands under a name. One that the index does not have may have come a moment ago: the disk knows.
    fn stat(&mut self, cx: &mut Cx<'_>, shared: &mut Port, link: &Link, id: u32, name: String) {
        let conn = link.conn;
        let known = shared.index().get_spelled(&name).map(|view| info_of(&view));
        match known {
            Some(file) => {
                if file.root.is_none() && !shared.index_mut().wanted(cx.now, &file.name) {
                    let text = "the file cannot be read here: try again later";
                    return self.refuse(conn, id, Code::Gone, text);
                }
                self.tell(conn, Message::Files { id, files: vec![file], end: true, skipped: 0, left_out: 0 });
            }
            None if self.giving.look(cx, link, id, name) => {}
            None => self.refuse(conn, id, Code::Busy, "too many files are open here: try again later"),
        }
    }

    /// The disk has it, or not: then the index is told where to look.
    pub(crate) fn looked(
        &mut self,
        cx: &mut Cx<'_>,
        shared: &mut Port,
        conn: ConnId,
        file: FileId,
        meta: Option<Meta>,
    ) {
        let Some((id, name)) = self.giving.looked(cx, conn, file) else { return };
        if meta.is_some() && !shared.index_mut().missed(cx.now, &name) {
            let text = "a file of that name is there, and not offered";
            return self.refuse(conn, id, Code::Gone, text);
        }
        let mtime = meta.map(|meta| meta.mtime.div_euclid(1_000_000_000));
        let found = meta.map(|meta| FileInfo { name, size: meta.size, mtime, root: None });
        let files = found.into_iter().collect();
        self.tell(conn, Message::Files { id, files, end: true, skipped: 0, left_out: 0 });
    }

    fn values(
        &mut self,
        cx: &mut Cx<'_>,
        shared: &mut Port,
        (link, id): (&Link, u32),
        partial: Option<&Partial<'_>>,
        (root, span, first, count): (&Root, Span, u64, u64),
    ) {
        let conn = link.conn;
        let Some(view) = shared.index().by_root(root) else {
            let list = self.seeds.get(root).map(|seed| &seed.list).or(partial.map(|partial| partial.list));
            return match list.and_then(|list| list.values(span, first, count)) {
                Some(bytes) => self.tell_values(link, id, first, &bytes),
                None => self.refuse(conn, id, Code::Gone, "no file of that root is shared here"),
            };
        };
        let all = list_len(span, view.meta.size);
        let lists = view.lists.as_ref();
        let at = match span {
            Span::Piece => lists.and_then(|lists| lists.values_at),
            Span::Group => lists.and_then(|lists| lists.groups_at),
        };
        let inside = first.checked_add(count).is_some_and(|end| end <= all) && count > 0;
        if !inside {
            return self.refuse(conn, id, Code::Bad, "the file has no such values");
        }
        let no = view.no;
        let (Some(at), Some(file)) = (at, shared.log()) else {
            if let Some(bytes) = shared.index().held_values(root, span, first, count) {
                return self.tell_values(link, id, first, &bytes);
            }
            shared.index_mut().wants_values(cx.now, no);
            return self.refuse(conn, id, Code::Busy, "the values are not at hand yet: ask again");
        };
        let size = VALUE as u64;
        let (offset, len) = (at + first * size, count * size);
        let slice = Slice { kind: DataKind::Values, number: id, file, offset, len, at: first, of: None };
        if !self.giving.has_room(cx, conn, slice.len) {
            return self.refuse(conn, id, Code::Limit, "too many requests at once");
        }
        self.giving.send((cx, &mut self.events), conn, slice);
    }

    fn get(
        &mut self,
        cx: &mut Cx<'_>,
        index: &Index,
        partial: Option<&Partial<'_>>,
        (link, id): (&Link, u32),
        (root, offset, len): (Root, u64, u64),
    ) {
        let conn = link.conn;
        let Some((name, size, place)) = self.place_of(index, partial, &root) else {
            let text = "no file of that root is here, or not that part of it";
            return self.refuse(conn, id, Code::Gone, text);
        };
        // To the file's end, or to that of a chunk before it.
        let whole = |end: &u64| *end == size || (*end < size && end % CHUNK as u64 == 0);
        let Some(end) = offset.checked_add(len).filter(whole).filter(|_| len > 0) else {
            return self.refuse(conn, id, Code::Bad, "the file does not have that range");
        };
        if !self.giving.has_room(cx, conn, len) {
            return self.refuse(conn, id, Code::Limit, "too many requests at once");
        }
        if !self.may_give(cx, link, &root, name, size) {
            return self.refuse(conn, id, Code::Gone, STOPPED);
        }
        self.giving.get((cx, &mut self.events), (link, id), root, place, offset..end);
    }

    /// The name and size of a file some of which can be given, and where those bytes of it are; none: not here.
    fn place_of(
        &self,
        index: &Index,
        partial: Option<&Partial<'_>>,
        root: &Root,
    ) -> Option<(String, u64, Place)> {
        let closed = |dir, name: &str, meta| Place::Closed { dir, name: name.to_owned(), meta };
        if let Some(view) = index.by_root(root) {
            let place = closed(Dir::Shared, view.name, view.meta);
            return Some((view.name.to_owned(), view.meta.size, place));
        }
        if let Some(Seed { name, size, meta, .. }) = self.seeds.get(root) {
            return Some((name.clone(), *size, closed(Dir::Downloads, name, *meta)));
        }
        let partial = partial?;
        Some((partial.name.to_owned(), partial.size, Place::Open(partial.content?)))
    }

    /// Whether bytes of this file are given to who asks for them. They are listed as an upload from now on.
    fn may_give(&mut self, cx: &mut Cx<'_>, link: &Link, root: &Root, name: String, size: u64) -> bool {
        let key = (link.conn, Some(*root));
        if let Some(may) = self.ledger.asked_again(cx.now, key) {
            return may;
        }
        let to = Receiver { addr: link.addr, id: link.node };
        self.ledger.begin(cx.now, key, cx.numbers.next(), (name, size, to))
    }

    /// A file that a session asked for is open: is it still what was hashed?
    pub(crate) fn opened(
        &mut self,
        cx: &mut Cx<'_>,
        shared: &mut Port,
        conn: ConnId,
        file: FileId,
        meta: Meta,
    ) {
        if !self.giving.opened((cx, &mut self.events), conn, file, meta) {
            self.failed(cx, shared, (conn, file), Fault::Shrunk, false);
        }
    }

    /// A file cannot be opened or read on: what was asked of it is refused. Its id is free if `fatal`.
    pub(crate) fn failed(
        &mut self,
        cx: &mut Cx<'_>,
        shared: &mut Port,
        of: (ConnId, FileId),
        fault: Fault,
        fatal: bool,
    ) {
        if let Some(root) = self.giving.failed((cx, &mut self.events), of, fault, fatal) {
            self.seeds.remove(&root);
            shared.index_mut().changed(cx.now, "", true);
        }
    }

    /// Nothing can be sent any more of a file that is not open for a session alone: of a log, or of a download.
    pub(crate) fn file_gone(&mut self, cx: &mut Cx<'_>, file: FileId) {
        for conn in self.giving.readers(file) {
            self.giving.failed((cx, &mut self.events), (conn, file), Fault::TooManyOpen, true);
        }
    }

    /// The operator gave up an upload: what is asked of it is refused, now and as long as this session stands.
    pub(crate) fn stop(&mut self, cx: &mut Cx<'_>, conn: ConnId, root: Root) {
        self.giving.stop((cx, &mut self.events), conn, root);
    }

    /// The range that is sent next on this session.
    pub(crate) fn next_range(&self, conn: ConnId) -> Option<&Slice> {
        self.giving.next_range(conn)
    }

    /// So many bytes of the next range were read, and go. True: that was all of it.
    pub(crate) fn range_read(&mut self, cx: &mut Cx<'_>, conn: ConnId, n: u64) -> bool {
        if let Some(of @ Some(_)) = self.next_range(conn).map(|slice| slice.of) {
            self.ledger.sent(cx.now, (conn, of), n);
        }
        self.giving.range_read(cx, conn, n)
    }

    /// The session is over: what it had open is closed, what it searched and followed is dropped.
    pub(crate) fn gone(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.ledger.gone(cx.now, conn);
        self.followers.gone(conn);
        self.searches.gone(conn);
        self.giving.gone(cx, conn);
    }

    /// Tells values that are held in memory, in records of the session's size.
    fn tell_values(&mut self, link: &Link, number: u32, first: u64, bytes: &[u8]) {
        let each = (link.run / VALUE).max(1);
        for (n, part) in bytes.chunks(each * VALUE).enumerate() {
            let (conn, first) = (link.conn, first + (n * each) as u64);
            self.events.push_back(Event::Values { conn, number, first, values: part.to_vec() });
        }
    }

    /// Somebody wants to know what we have of a file.
    fn follow(
        &mut self,
        index: &Index,
        partial: Option<&Partial<'_>>,
        (conn, number): (ConnId, u32),
        root: Root,
        group: u64,
    ) {
        let whole = index.by_root(&root).map(|view| view.meta.size);
        let whole = whole.or_else(|| self.seeds.get(&root).map(|seed| seed.size));
        let size = whole.or(partial.map(|partial| partial.size));
        if size.is_some_and(|size| group > 0 && group >= groups(size)) {
            return self.refuse(conn, number, Code::Bad, "the file has no such group");
        }
        let all = whole.is_some();
        let map = partial.and_then(|partial| partial.map.clone());
        if !all && map.is_none() {
            return self.refuse(conn, number, Code::Gone, "no file of that root is shared here");
        }
        if !self.followers.add(root, conn, number, group, all) {
            return self.refuse(conn, number, Code::Limit, "too many files are followed");
        }
        let map = map.filter(|_| !all).unwrap_or_default();
        self.tell(conn, Message::Have { id: number, all, map, pieces: Vec::new() });
        self.events.push_back(Event::Follows { conn, number, root });
    }

    /// A finished download is given on from now on: those who follow it are told.
    pub(crate) fn add_seed(&mut self, seed: Seed) {
        let root = seed.root;
        self.seeds.add(seed);
        let told = self.followers.all_is_here(&root).into_iter();
        self.events.extend(told.map(|(conn, message)| Event::Tell { conn, message }));
    }

    /// Whether anything of the session is under way, or it waits to hear of something.
    pub(crate) fn is_busy(&self, conn: ConnId) -> bool {
        self.giving.is_busy(conn) || self.followers.has(conn) || self.searches.are_of(conn)
    }

    /// Nothing waits to be told.
    pub(crate) fn is_settled(&self) -> bool {
        self.events.is_empty()
    }

    /// What is to be done for sessions, in order.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
