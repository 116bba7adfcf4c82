//! What other nodes ask of us in a session: which files match, what is there, the values of a file's pieces, its bytes.
//! Everything is bounded per session, and a search over a large index goes in slices between other work.

use super::seeding::Place;
use super::session::{Farewell, Slice};
use super::{Conn, Peer, Timer};
use crate::config::CHUNK;
use crate::machine::{ConnId, Dir, Fault, FileId, Meta, Output};
use crate::node::files::Owner;
use crate::node::timers::MOMENT;
use crate::node::uploads::{info_of, seconds};
use crate::proto::content::{Root, Span, list_len};
use crate::proto::query::Query;
use crate::proto::v2::message::{
    Code, DATA_HEAD, DataKind, FileInfo, GET_MAX, Message, PLAIN_SMALL, files_that_fit,
};
use crate::time::Instant;

/// What who asks is told where the operator gave up an upload.
const STOPPED: &str = "it is not given any more";
/// Requests of one session for values and bytes that wait to be answered.
const REQUESTS_MAX: usize = 64;

/// What one session asked and did not get yet.
#[derive(Debug, Default)]
pub(super) struct Answering {
    /// Files open for it.
    uploads: Vec<Upload>,
    /// Names that are looked for on the disk: request and file.
    stats: Vec<(u32, FileId, String)>,
}

/// A file that is read for a session.
#[derive(Debug)]
struct Upload {
    root: Root,
    file: FileId,
    /// What it was when it was hashed.
    meta: Meta,
    open: bool,
    /// Requests that came before it was open: number, offset and length.
    waiting: Vec<(u32, u64, u64)>,
}

impl Answering {
    pub(super) fn is_busy(&self) -> bool {
        !self.uploads.is_empty() || !self.stats.is_empty()
    }

    fn waiting(&self) -> impl Iterator<Item = &(u32, u64, u64)> {
        self.uploads.iter().flat_map(|upload| &upload.waiting)
    }
}

impl Peer {
    /// A request of the other side's.
    pub(super) fn asked_of_us(&mut self, now: Instant, conn: ConnId, request: Message) {
        if let Some(session) = self.session_mut(conn) {
            session.used = now;
        }
        match request {
            Message::Search { id, query, limit } => self.search_for(now, conn, id, &query, limit),
            Message::Browse { id, after, limit } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let mut files: Vec<FileInfo> =
                    self.shared.index().page(after.as_deref(), limit).map(|view| info_of(&view)).collect();
                files.truncate(files_that_fit(&files, self.record_max(conn)));
                let all = if files.is_empty() { self.shared.index().progress().left_out.count() } else { 0 };
                self.tell_node(
                    now,
                    conn,
                    &Message::Files { id, files, end: true, skipped: 0, left_out: all },
                );
            }
            Message::Stat { id, name } => {
                self.stat_for(now, conn, id, name);
            }
            Message::Values { id, root, span, first, count } => {
                let Some(span) = Span::from_number(span) else {
                    return self.refuse(now, conn, id, Code::Bad, "there are no values of that span");
                };
                self.values_for(now, conn, id, &root, span, (first, u64::from(count)));
            }
            Message::Get { id, root, offset, len } => self.get_for(now, conn, id, root, (offset, len)),
            Message::Follow { id, root, group } => self.follow_for(now, conn, id, root, group.into()),
            Message::Wrong { root } => {
                self.shared.index_mut().doubted(now, &root);
            }
            Message::Cancel { id } => {
                self.drop_slices(conn, |slice| slice.number == id);
                self.searches.cancel(conn, id);
                self.forget_waiting(conn, id);
                self.followers.cancel(conn, id);
                self.close_drained(conn);
            }
            _ => self.session_quit(
                now,
                conn,
                &Farewell::Protocol("a message that makes no sense here".to_owned()),
            ),
        }
    }

    fn search_for(&mut self, now: Instant, conn: ConnId, id: u32, query: &str, limit: u32) {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(error) => return self.refuse(now, conn, id, Code::Bad, &error.to_string()),
        };
        // Where it really comes from, not where it says that it listens.
        let Some(Conn::Session(session)) = self.conns.get(conn.0) else { return };
        let from = (conn, session.peer.ip());
        if !self.searches.begin(from, id, (query, limit), &self.config.limits) {
            return self.refuse(now, conn, id, Code::Busy, "too many searches at once");
        }
        // Never at once: many searches in one read would hold everybody else up.
        self.arm_search(now);
    }

    /// A slice of a search has its turn.
    pub(super) fn search_slice(&mut self, now: Instant) {
        if let Some(conn) = self.searches.slice(self.shared.index()) {
            self.answer_more(now, conn);
        }
        self.arm_search(now);
    }

    /// The next slice has its turn after what else is due now.
    pub(super) fn arm_search(&mut self, now: Instant) {
        if self.searches.are_under_way() {
            self.timers.set(Timer::Search, now + MOMENT, "a slice of a search");
        }
    }

    /// Tells more of what searches found, as far as there is room for it, where something was sent on `conn`.
    pub(super) fn answer_more(&mut self, now: Instant, conn: ConnId) {
        for conn in self.searches.may_be_told(conn) {
            // Bounded: each takes files out of what was found.
            while self.may_answer(conn) {
                let max = self.record_max(conn);
                let Some(files) = self.searches.answer(conn, max, self.shared.index()) else { break };
                self.tell_node(now, conn, &files);
            }
        }
    }

    /// A request that waits for its file to be opened is wanted no more.
    fn forget_waiting(&mut self, conn: ConnId, id: u32) {
        let Some(session) = self.session_mut(conn) else { return };
        let answering = &mut session.answering;
        answering.uploads.iter_mut().for_each(|upload| upload.waiting.retain(|(number, ..)| *number != id));
        let stat = answering.stats.iter().position(|(number, ..)| *number == id);
        if let Some((_, file, _)) = stat.map(|at| answering.stats.remove(at)) {
            self.close_file(file);
        }
    }

    fn record_max(&self, conn: ConnId) -> usize {
        match self.conns.get(conn.0) {
            Some(Conn::Session(session)) => session.run() + DATA_HEAD,
            _ => PLAIN_SMALL,
        }
    }

    pub(super) fn refuse(&mut self, now: Instant, conn: ConnId, id: u32, code: Code, text: &str) {
        self.tell_node(now, conn, &Message::Refused { id, code, text: text.to_owned() });
    }

    /// What stands under a name. One that the index does not have may have come a moment ago: the disk knows.
    fn stat_for(&mut self, now: Instant, conn: ConnId, id: u32, name: String) {
        let known = self.shared.index().get_spelled(&name).map(|view| info_of(&view));
        match known {
            Some(file) => {
                if file.root.is_none() {
                    let readable = self.shared.index_mut().wanted(now, &file.name);
                    if !readable {
                        let text = "the file cannot be read here: try again later";
                        return self.refuse(now, conn, id, Code::Gone, text);
                    }
                }
                self.tell_node(
                    now,
                    conn,
                    &Message::Files { id, files: vec![file], end: true, skipped: 0, left_out: 0 },
                );
            }
            None if self.files.may_add_for(self.addr_of(conn).ip()) => {
                let file = self.files.add_for(self.addr_of(conn).ip(), Owner::Stat(conn));
                if let Some(session) = self.session_mut(conn) {
                    session.answering.stats.push((id, file, name.clone()));
                }
                self.outputs.push_back(Output::OpenFile { file, dir: Dir::Shared, name });
            }
            None => self.refuse(now, conn, id, Code::Busy, "too many files are open here: try again later"),
        }
    }

    /// The disk has it, or not: then the index is told where to look.
    pub(super) fn stat_answer(&mut self, now: Instant, conn: ConnId, file: FileId, meta: Option<Meta>) {
        let Some(session) = self.session_mut(conn) else { return };
        let stats = &mut session.answering.stats;
        let Some(at) = stats.iter().position(|(_, held, _)| *held == file) else { return };
        let (id, _, name) = stats.remove(at);
        self.close_file(file);
        if meta.is_some() {
            let waits = self.shared.index_mut().missed(now, &name);
            if !waits {
                let text = "a file of that name is there, and not offered";
                return self.refuse(now, conn, id, Code::Gone, text);
            }
        }
        let found =
            meta.map(|meta| FileInfo { name, size: meta.size, mtime: Some(seconds(meta)), root: None });
        let files = found.into_iter().collect();
        self.tell_node(now, conn, &Message::Files { id, files, end: true, skipped: 0, left_out: 0 });
    }

    fn values_for(
        &mut self,
        now: Instant,
        conn: ConnId,
        id: u32,
        root: &Root,
        span: Span,
        (first, count): (u64, u64),
    ) {
        let Some(view) = self.shared.index().by_root(root) else {
            return match self.values_at_hand(root, span, first, count) {
                Some(bytes) => self.send_values(now, conn, id, first, &bytes),
                None => self.refuse(now, conn, id, Code::Gone, "no file of that root is shared here"),
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
            return self.refuse(now, conn, id, Code::Bad, "the file has no such values");
        }
        let no = view.no;
        let (Some(at), Some(file)) = (at, self.shared.log()) else {
            if let Some(bytes) = self.shared.index().held_values(root, span, first, count) {
                return self.send_values(now, conn, id, first, &bytes);
            }
            self.shared.index_mut().wants_values(now, no);
            return self.refuse(now, conn, id, Code::Busy, "the values are not at hand yet: ask again");
        };
        if !self.may_ask_more(conn, count * 32) {
            return self.refuse(now, conn, id, Code::Limit, "too many requests at once");
        }
        let offset = at + first * 32;
        let slice =
            Slice { kind: DataKind::Values, number: id, file, offset, len: count * 32, at: first, of: None };
        self.send_slice(now, conn, slice);
    }

    /// Whether the session has room for a request of so many bytes.
    fn may_ask_more(&mut self, conn: ConnId, len: u64) -> bool {
        let bytes = self.config.limits.swarm.per_source.max(GET_MAX) * 2;
        let Some(Conn::Session(session)) = self.conns.get(conn.0) else { return false };
        let queued = session.slices().map(|slice| slice.len);
        let waiting = session.answering.waiting().map(|(_, _, len)| *len);
        let (n, sum) = queued.chain(waiting).fold((0, len), |(n, sum), len| (n + 1, sum + len));
        n < REQUESTS_MAX && sum <= bytes
    }

    fn get_for(&mut self, now: Instant, conn: ConnId, id: u32, root: Root, (offset, len): (u64, u64)) {
        let Some((size, place)) = self.place_of(&root, &(offset..offset.saturating_add(len))) else {
            return self.refuse(
                now,
                conn,
                id,
                Code::Gone,
                "no file of that root is here, or not that part of it",
            );
        };
        // To the file's end, or to that of a chunk before it.
        let whole = |end: u64| end == size || (end < size && end % CHUNK as u64 == 0);
        if len == 0 || !offset.checked_add(len).is_some_and(whole) {
            return self.refuse(now, conn, id, Code::Bad, "the file does not have that range");
        }
        if !self.may_ask_more(conn, len) {
            return self.refuse(now, conn, id, Code::Limit, "too many requests at once");
        }
        if !self.may_give(now, conn, &root, size) {
            return self.refuse(now, conn, id, Code::Gone, STOPPED);
        }
        let (dir, name, meta) = match place {
            Place::Open(file) => return self.send_range(now, conn, id, file, (root, offset, len)),
            Place::Closed { dir, name, meta } => (dir, name, meta),
        };
        let ip = self.addr_of(conn).ip();
        let may_add = self.files.may_add_for(ip);
        let next = self.files.next_id();
        let Some(session) = self.session_mut(conn) else { return };
        if let Some(upload) = session.answering.uploads.iter_mut().find(|upload| upload.root == root) {
            if !upload.open {
                return upload.waiting.push((id, offset, len));
            }
            let file = upload.file;
            return self.send_range(now, conn, id, file, (root, offset, len));
        }
        if !may_add {
            return self.refuse(now, conn, id, Code::Busy, "too many files are open here: try again later");
        }
        let upload = Upload { root, file: next, meta, open: false, waiting: vec![(id, offset, len)] };
        session.answering.uploads.push(upload);
        let file = self.files.add_for(ip, Owner::Answer(conn));
        debug_assert_eq!(file, next);
        self.outputs.push_back(Output::OpenFile { file, dir, name });
    }

    /// A file that a session asked for is open: is it still what was hashed?
    pub(super) fn answer_opened(&mut self, now: Instant, conn: ConnId, file: FileId, meta: Meta) {
        let Some(session) = self.session_mut(conn) else { return };
        let Some(upload) = session.answering.uploads.iter_mut().find(|upload| upload.file == file) else {
            return;
        };
        if !upload.meta.is_still(&meta) {
            return self.answer_failed(now, conn, file, Fault::Shrunk, false);
        }
        upload.open = true;
        let root = upload.root;
        for (number, offset, len) in std::mem::take(&mut upload.waiting) {
            self.send_range(now, conn, number, file, (root, offset, len));
        }
        self.close_drained(conn);
    }

    /// Sends bytes of an open file.
    fn send_range(
        &mut self,
        now: Instant,
        conn: ConnId,
        number: u32,
        file: FileId,
        (root, offset, len): (Root, u64, u64),
    ) {
        let (kind, of) = (DataKind::Data, Some(root));
        self.send_slice(now, conn, Slice { kind, number, file, offset, len, at: offset, of });
    }

    /// The operator gave up an upload: what is asked of it is refused, now and as long as this session stands.
    pub(super) fn stop_giving(&mut self, now: Instant, conn: ConnId, root: Root) {
        let Some(session) = self.session_mut(conn) else { return };
        let asked = session.slices().filter(|slice| slice.of == Some(root));
        let mut numbers: Vec<u32> = asked.map(|slice| slice.number).collect();
        let uploads = session.answering.uploads.iter_mut().filter(|upload| upload.root == root);
        numbers.extend(uploads.flat_map(|upload| upload.waiting.drain(..)).map(|(number, ..)| number));
        self.drop_slices(conn, |slice| slice.of == Some(root));
        for number in numbers {
            self.refuse(now, conn, number, Code::Gone, STOPPED);
        }
        self.close_drained(conn);
    }

    /// A file cannot be opened or read on, or is another one by now: what was asked of it is refused.
    pub(super) fn answer_failed(
        &mut self,
        now: Instant,
        conn: ConnId,
        file: FileId,
        fault: Fault,
        fatal: bool,
    ) {
        let Some(session) = self.session_mut(conn) else { return };
        let mut gone = None;
        let mut numbers: Vec<u32> =
            session.slices().filter(|slice| slice.file == file).map(|slice| slice.number).collect();
        if let Some(i) = session.answering.uploads.iter().position(|upload| upload.file == file) {
            let upload = session.answering.uploads.remove(i);
            gone = Some(upload.root);
            numbers.extend(upload.waiting.iter().map(|(number, ..)| *number));
        }
        self.drop_slices(conn, |slice| slice.file == file);
        let (code, text) = match fault {
            Fault::TooManyOpen | Fault::NoMemory => {
                (Code::Busy, "too many files are open here: try again later")
            }
            _ => (Code::Gone, "the file has changed or cannot be read"),
        };
        for number in numbers {
            self.refuse(now, conn, number, code, text);
        }
        if !fatal {
            self.close_file(file);
        }
        if let (Code::Gone, Some(root)) = (code, gone) {
            self.seeds.remove(&root);
        }
        if code == Code::Gone {
            self.shared.index_mut().changed(now, "", true);
        }
        self.outputs.push_back(Output::Wake { conn });
    }

    /// Values cannot be sent from this log any more: it failed, or another took its place.
    pub(super) fn answers_moved(&mut self, now: Instant, log: FileId) {
        let conns: Vec<ConnId> = self.conns.iter().map(|(id, _)| ConnId(id)).collect();
        for conn in conns {
            let has = match self.conns.get(conn.0) {
                Some(Conn::Session(session)) => session.slices().any(|slice| slice.file == log),
                _ => false,
            };
            if has {
                self.answer_failed(now, conn, log, Fault::TooManyOpen, true);
            }
        }
    }

    /// Closes files of which nothing is asked any more.
    pub(super) fn close_drained(&mut self, conn: ConnId) {
        let Some(session) = self.session_mut(conn) else { return };
        let needed: Vec<FileId> = session.slices().map(|slice| slice.file).collect();
        let mut done = Vec::new();
        session.answering.uploads.retain(|upload| {
            let keep = !upload.open || needed.contains(&upload.file);
            if !keep {
                done.push(upload.file);
            }
            keep
        });
        done.into_iter().for_each(|file| self.close_file(file));
    }

    /// The session is over: what it had open is closed, what it searched is dropped.
    pub(super) fn stop_answering(&mut self, now: Instant, conn: ConnId) {
        self.uploads.gone(now, conn);
        self.followers.gone(conn);
        self.searches.gone(conn);
        let Some(session) = self.session_mut(conn) else { return };
        let Answering { uploads, stats, .. } = std::mem::take(&mut session.answering);
        stats.into_iter().for_each(|(_, file, _)| self.close_file(file));
        uploads.into_iter().for_each(|upload| self.close_file(upload.file));
    }
}
