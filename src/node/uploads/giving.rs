//! Bytes of files for other nodes: which files are open for a session, and what of them waits to be sealed and sent.

use super::event::{Event, Link};
use crate::machine::{ConnId, Dir, Fault, FileId, Meta, Output};
use crate::node::cx::Cx;
use crate::node::files::Owner;
use crate::proto::content::{Root, VALUE};
use crate::proto::v2::message::{Code, DataKind, GET_MAX};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// Requests of one session for values and bytes that wait to be answered.
const REQUESTS_MAX: usize = 64;
/// What who asks is told where the operator gave up an upload.
pub(super) const STOPPED: &str = "it is not given any more";
const CROWDED: &str = "too many files are open here: try again later";

/// A range of a file that answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) kind: DataKind,
    pub(crate) number: u32,
    pub(crate) file: FileId,
    /// Where in the file.
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// What the data says of its place: the offset in the file, or the number of the first value.
    pub(crate) at: u64,
    /// Whose bytes these are; none: values.
    pub(crate) of: Option<Root>,
}

/// Where bytes of a file can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In an open file.
    Open(FileId),
    /// In a file to be opened, which must still be this.
    Closed { dir: Dir, name: String, meta: Meta },
}

/// What one session asked and did not get yet.
#[derive(Debug, Default)]
struct Session {
    /// Files open for it.
    files: Vec<Open>,
    /// Ranges of files to be sent, in order.
    ranges: VecDeque<Slice>,
    /// Names that are looked for on the disk: request and file.
    looks: Vec<(u32, FileId, String)>,
}

/// A file that is read for a session.
#[derive(Debug)]
struct Open {
    root: Root,
    file: FileId,
    /// What it was when it was hashed.
    meta: Meta,
    open: bool,
    /// Requests that came before it was open: number and bytes.
    waiting: Vec<(u32, Range<u64>)>,
}

impl Session {
    /// Whether there is room for a request of so many bytes, `max` being those of all.
    fn has_room(&self, len: u64, max: u64) -> bool {
        let queued = self.ranges.iter().map(|slice| slice.len);
        let waiting = self.files.iter().flat_map(|open| &open.waiting);
        let all = queued.chain(waiting.map(|(_, bytes)| bytes.end - bytes.start));
        let (n, sum) = all.fold((0, len), |(n, sum), len| (n + 1, sum + len));
        n < REQUESTS_MAX && sum <= max
    }

    /// Takes out the ranges that `unwanted` names, and tells their requests.
    fn take(&mut self, unwanted: impl Fn(&Slice) -> bool) -> Vec<u32> {
        let numbers = self.ranges.iter().filter(|slice| unwanted(slice)).map(|slice| slice.number).collect();
        self.ranges.retain(|slice| !unwanted(slice));
        numbers
    }
}

/// By session: those of which nothing is under way are not in it.
#[derive(Debug, Default)]
pub(super) struct Giving {
    sessions: BTreeMap<ConnId, Session>,
}

impl Giving {
    /// Whether something is under way for the session.
    pub(super) fn is_busy(&self, conn: ConnId) -> bool {
        self.sessions.contains_key(&conn)
    }

    /// Whether the session may ask for so many bytes more.
    pub(super) fn has_room(&self, cx: &Cx<'_>, conn: ConnId, len: u64) -> bool {
        let max = cx.limits.swarm.per_source.max(GET_MAX) * 2;
        self.sessions.get(&conn).map_or(len <= max, |session| session.has_room(len, max))
    }

    /// Gives these bytes of the content that is at `place`.
    pub(super) fn get(
        &mut self,
        (cx, events): (&mut Cx<'_>, &mut VecDeque<Event>),
        (link, number): (&Link, u32),
        root: Root,
        place: Place,
        bytes: Range<u64>,
    ) {
        let conn = link.conn;
        let (dir, name, meta) = match place {
            Place::Open(file) => return self.send((cx, events), conn, slice_of(file, number, root, &bytes)),
            Place::Closed { dir, name, meta } => (dir, name, meta),
        };
        let session = self.sessions.entry(conn).or_default();
        match session.files.iter_mut().find(|open| open.root == root) {
            Some(Open { open: false, waiting, .. }) => waiting.push((number, bytes)),
            Some(Open { file, .. }) => {
                let slice = slice_of(*file, number, root, &bytes);
                self.send((cx, events), conn, slice);
            }
            None if cx.files.may_add_for(link.peer.ip()) => {
                let file = cx.files.add_for(link.peer.ip(), Owner::Answer(conn));
                session.files.push(Open { root, file, meta, open: false, waiting: vec![(number, bytes)] });
                cx.push(Output::OpenFile { file, dir, name });
            }
            None => {
                self.forget_idle(conn);
                events.push_back(Event::refused(conn, number, Code::Busy, CROWDED));
            }
        }
    }

    /// Puts a range behind what is to be sent.
    pub(super) fn send(
        &mut self,
        (cx, events): (&mut Cx<'_>, &mut VecDeque<Event>),
        conn: ConnId,
        slice: Slice,
    ) {
        self.sessions.entry(conn).or_default().ranges.push_back(slice);
        cx.push(Output::Wake { conn });
        events.push_back(Event::Ranges { conn });
    }

    /// A file that a session asked for is open. False: it is not what was hashed any more.
    pub(super) fn opened(
        &mut self,
        (cx, events): (&mut Cx<'_>, &mut VecDeque<Event>),
        conn: ConnId,
        file: FileId,
        meta: Meta,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&conn) else { return true };
        let Some(open) = session.files.iter_mut().find(|open| open.file == file) else { return true };
        if !open.meta.is_still(&meta) {
            return false;
        }
        open.open = true;
        let root = open.root;
        for (number, bytes) in std::mem::take(&mut open.waiting) {
            self.send((cx, events), conn, slice_of(file, number, root, &bytes));
        }
        self.close_drained(cx, conn);
        true
    }

    /// A file cannot be opened or read on, or is another one by now: what was asked of it is refused. The content that is not what
    /// it was, if it is one.
    pub(super) fn failed(
        &mut self,
        (cx, events): (&mut Cx<'_>, &mut VecDeque<Event>),
        (conn, file): (ConnId, FileId),
        fault: Fault,
        fatal: bool,
    ) -> Option<Root> {
        let session = self.sessions.get_mut(&conn)?;
        let mut numbers = session.take(|slice| slice.file == file);
        let open = session.files.iter().position(|open| open.file == file);
        let open = open.map(|i| session.files.remove(i));
        numbers.extend(open.iter().flat_map(|open| &open.waiting).map(|(number, _)| *number));
        self.forget_idle(conn);
        events.push_back(Event::Ranges { conn });
        let (code, text) = match fault {
            Fault::TooManyOpen | Fault::NoMemory => (Code::Busy, CROWDED),
            _ => (Code::Gone, "the file has changed or cannot be read"),
        };
        events.extend(numbers.into_iter().map(|number| Event::refused(conn, number, code, text)));
        if !fatal {
            cx.close_file(file);
        }
        cx.push(Output::Wake { conn });
        open.map(|open| open.root).filter(|_| code == Code::Gone)
    }

    /// Sessions for which this file is read.
    pub(super) fn readers(&self, file: FileId) -> Vec<ConnId> {
        let reads = |session: &Session| session.ranges.iter().any(|slice| slice.file == file);
        self.sessions.iter().filter(|(_, session)| reads(session)).map(|(conn, _)| *conn).collect()
    }

    /// What is asked of this content is refused.
    pub(super) fn stop(
        &mut self,
        (cx, events): (&mut Cx<'_>, &mut VecDeque<Event>),
        conn: ConnId,
        root: Root,
    ) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let mut numbers = session.take(|slice| slice.of == Some(root));
        let files = session.files.iter_mut().filter(|open| open.root == root);
        numbers.extend(files.flat_map(|open| open.waiting.drain(..)).map(|(number, _)| number));
        events.push_back(Event::Ranges { conn });
        events.extend(numbers.into_iter().map(|number| Event::refused(conn, number, Code::Gone, STOPPED)));
        self.close_drained(cx, conn);
    }

    /// A request is taken back.
    pub(super) fn take_back(
        &mut self,
        (cx, events): (&mut Cx<'_>, &mut VecDeque<Event>),
        conn: ConnId,
        number: u32,
    ) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if !session.take(|slice| slice.number == number).is_empty() {
            events.push_back(Event::Ranges { conn });
        }
        session.files.iter_mut().for_each(|open| open.waiting.retain(|(other, _)| *other != number));
        let look = session.looks.iter().position(|(other, ..)| *other == number);
        if let Some((_, file, _)) = look.map(|at| session.looks.remove(at)) {
            cx.close_file(file);
        }
        self.close_drained(cx, conn);
    }

    /// Looks on the disk for the file of a name. False: too many files are open.
    pub(super) fn look(&mut self, cx: &mut Cx<'_>, link: &Link, number: u32, name: String) -> bool {
        let (conn, ip) = (link.conn, link.peer.ip());
        let may = cx.files.may_add_for(ip);
        if may {
            let file = cx.files.add_for(ip, Owner::Stat(conn));
            self.sessions.entry(conn).or_default().looks.push((number, file, name.clone()));
            cx.push(Output::OpenFile { file, dir: Dir::Shared, name });
        }
        may
    }

    /// The disk has it, or not: which request that is an answer to, and which name it asked about.
    pub(super) fn looked(&mut self, cx: &mut Cx<'_>, conn: ConnId, file: FileId) -> Option<(u32, String)> {
        let session = self.sessions.get_mut(&conn)?;
        let at = session.looks.iter().position(|(_, held, _)| *held == file)?;
        let (number, _, name) = session.looks.remove(at);
        cx.close_file(file);
        self.forget_idle(conn);
        Some((number, name))
    }

    /// The range that is sent next on this session.
    pub(super) fn next_range(&self, conn: ConnId) -> Option<&Slice> {
        self.sessions.get(&conn)?.ranges.front()
    }

    /// So many bytes of the next range were read, and go. True: that was all of it.
    pub(super) fn range_read(&mut self, cx: &mut Cx<'_>, conn: ConnId, n: u64) -> bool {
        let Some(session) = self.sessions.get_mut(&conn) else { return false };
        let Some(slice) = session.ranges.front_mut() else { return false };
        slice.offset += n;
        slice.at += if slice.kind == DataKind::Data { n } else { n / VALUE as u64 };
        slice.len = slice.len.saturating_sub(n);
        let done = slice.len == 0;
        if done {
            session.ranges.pop_front();
            self.close_drained(cx, conn);
        }
        done
    }

    /// Closes files of which nothing is asked any more.
    fn close_drained(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(Session { files, ranges, .. }) = self.sessions.get_mut(&conn) else { return };
        files.retain(|open| {
            let keep = !open.open || ranges.iter().any(|slice| slice.file == open.file);
            if !keep {
                cx.close_file(open.file);
            }
            keep
        });
        self.forget_idle(conn);
    }

    fn forget_idle(&mut self, conn: ConnId) {
        let idle = |session: &Session| {
            session.files.is_empty() && session.ranges.is_empty() && session.looks.is_empty()
        };
        if self.sessions.get(&conn).is_some_and(idle) {
            self.sessions.remove(&conn);
        }
    }

    /// The session is over: what it had open is closed.
    pub(super) fn gone(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Session { files, looks, .. } = self.sessions.remove(&conn).unwrap_or_default();
        looks.into_iter().for_each(|(_, file, _)| cx.close_file(file));
        files.into_iter().for_each(|open| cx.close_file(open.file));
    }
}

/// Bytes of a file that answer a request.
fn slice_of(file: FileId, number: u32, root: Root, bytes: &Range<u64>) -> Slice {
    let (offset, len) = (bytes.start, bytes.end - bytes.start);
    Slice { kind: DataKind::Data, number, file, offset, len, at: offset, of: Some(root) }
}
