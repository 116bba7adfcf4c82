//! A download over a session: name to root, root to the values of its pieces, pieces in order, each verified as it
//! arrives. From one source at a time; where that one is lost, the next goes on behind the bytes that are here.

mod losing;

use super::dialer::Class;
use super::reach::Wish;
use super::report::{Code, Failure, bytes as sized};
use super::transfers::{Phase, Transfer, TransferId};
use super::{Peer, Timer};
use crate::config::CHUNK;
use crate::machine::{Body, ConnId, FileId};
use crate::proto::content::{PIECE, PieceHasher, Root, VALUE, ValueList, Want};
use crate::proto::escape::for_terminal;
use crate::proto::v2::message::{FileInfo, GET_MAX, Message, VALUES_MAX};
use crate::time::{Duration, Instant};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

/// A node that still hashes the file is asked again after this, then after twice as long, and so on up to `HASHING_MAX`:
/// a small file is hashed at once.
const HASHING: Duration = Duration::from_millis(50);
const HASHING_MAX: Duration = Duration::from_secs(1);
/// How soon a source that has too much to do is asked again, and how often in a row.
const LATER: Duration = Duration::from_millis(250);
const LATER_MAX: u32 = 240;
/// Before the only source is asked again that was lost; four times as long each time.
const RETURN: Duration = Duration::from_secs(1);
/// Requests under way to one source: the next is there before the last is answered.
const WINDOW: u64 = 4;
/// Bytes of another node's words that are shown.
const TEXT_MAX: usize = 200;

/// The state of such a download.
#[derive(Debug)]
pub(super) struct Pull {
    /// What is to be had, once that is known.
    content: Option<(Root, u64)>,
    /// Who else has it.
    others: VecDeque<SocketAddr>,
    step: Step,
    /// How long the source has for hashing before it is asked again.
    pause: Duration,
    conn: Option<ConnId>,
    list: Option<ValueList>,
    /// The piece that arrives.
    piece: Option<PieceHasher>,
    /// Bytes that arrived, which is where the next ones belong; and bytes asked for.
    got: u64,
    wanted: u64,
    /// Requests for bytes under way: number and range.
    asked: VecDeque<(u32, Range<u64>)>,
    /// How often a source was lost since the last whole piece.
    losses: u32,
    /// The source refused a request for having too much to do: no more are made until another one is answered.
    held: bool,
    /// How often in a row it did.
    refusals: u32,
    /// The temporary file is there.
    created: bool,
}

/// Reaching → Naming → (Hashing → Naming …) → Listing → Creating → Receiving; from each back to Reaching, where the
/// source is lost, by Pausing if it is the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A session is being made.
    Reaching,
    /// The node is asked what it has under the name.
    Naming,
    /// It has not hashed it yet.
    Hashing,
    /// It has too much to do.
    Later,
    /// Values of pieces were asked for.
    Listing(Want),
    /// The temporary file is being made.
    Creating,
    /// Bytes come.
    Receiving,
    /// The only source was lost, and has a while to return.
    Pausing,
}

/// A source that is lost so often is not asked again.
const LOSSES_MAX: u32 = 3;

impl Pull {
    pub(super) fn new(content: Option<(Root, u64)>, others: VecDeque<SocketAddr>) -> Pull {
        Pull {
            content,
            others,
            step: Step::Reaching,
            pause: HASHING,
            conn: None,
            list: None,
            piece: None,
            got: 0,
            wanted: 0,
            asked: VecDeque::new(),
            losses: 0,
            held: false,
            refusals: 0,
            created: false,
        }
    }

    /// The source has not hashed the file yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.step == Step::Hashing
    }

    /// Bytes of the whole file, once known.
    pub(super) fn size(&self) -> Option<u64> {
        self.content.map(|(_, size)| size)
    }

    /// The session and the requests on it.
    pub(super) fn let_go(&mut self) -> (Option<ConnId>, Vec<u32>) {
        let numbers = self.asked.drain(..).map(|(number, _)| number).collect();
        if let Some(list) = &mut self.list {
            list.restart();
        }
        self.wanted = self.got;
        (self.conn.take(), numbers)
    }
}

impl Peer {
    /// Starts, or goes on with another source.
    pub(super) fn pull_start(&mut self, now: Instant, id: TransferId) {
        let Some(from) = self.source_of(id) else { return };
        let Some(pull) = self.pull_mut(id) else { return };
        pull.step = Step::Reaching;
        self.timers.cancel(Timer::Pull(id));
        // What a search found is dialled as freely as its address allows; what the operator named, always.
        let class = self.class_of(now, from).or_else(|| self.is_typed(id).then_some(Class::Near));
        match class {
            Some(class) => self.reach(now, from, class, Wish::Pull(id)),
            None => {
                let text = format!("{from} is left alone for a while: the last dials came to nothing");
                self.pull_lost(now, id, Failure::new(Code::Network, text));
            }
        }
    }

    /// A session with the source is open, or the source is to be asked again.
    pub(super) fn pull_on(&mut self, now: Instant, conn: ConnId, id: TransferId) {
        let answer = now + self.config.limits.first_byte_deadline;
        let has_file = self.transfer_file(id).is_some();
        self.transfer_begins(now, id);
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(pull) = self.pull_mut(id) else { return };
        // What was asked on another session is asked anew on this one.
        pull.let_go();
        pull.conn = Some(conn);
        pull.held = false;
        match pull.content {
            None => {
                pull.step = Step::Naming;
                self.ask_node(now, conn, Wish::Pull(id), |id| Message::Stat { id, name });
                self.timers.set(Timer::Pull(id), answer, "what it has");
            }
            Some(_) if has_file && !pull.created => pull.step = Step::Creating,
            Some(_) if pull.list.is_some() => self.pull_next(now, id),
            Some(_) => self.pull_list(now, id),
        }
    }

    /// What the source has under the name.
    pub(super) fn pull_named(
        &mut self,
        now: Instant,
        conn: ConnId,
        number: u32,
        id: TransferId,
        file: Option<FileInfo>,
    ) {
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(from) = self.source_of(id) else { return };
        let Some(pull) = self.pull_mut(id) else { return };
        if pull.step != Step::Naming || pull.content.is_some() {
            return self.unasked(now, conn, number);
        }
        let named = file.filter(|file| file.name == name);
        match named {
            None => {
                let text = format!("{from} does not have {}", for_terminal(&name));
                self.fetch_failed(now, id, Failure::new(Code::NotFound, text));
            }
            Some(FileInfo { root: Some(root), size, .. }) => {
                pull.content = Some((root, size));
                self.pull_list(now, id);
            }
            Some(_) => {
                pull.step = Step::Hashing;
                let due = now + pull.pause;
                pull.pause = (pull.pause * 2).min(HASHING_MAX);
                self.timers.set(Timer::Pull(id), due, "the source hashes the file");
            }
        }
    }

    /// Root and size are known: the values of the pieces come first, then a place for the bytes.
    fn pull_list(&mut self, now: Instant, id: TransferId) {
        let max = self.config.limits.file_max;
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(from) = self.source_of(id) else { return };
        let Some(pull) = self.pull_mut(id) else { return };
        let Some((root, size)) = pull.content else { return };
        let list = ValueList::new(size, root).map_err(|error| error.to_string());
        let list = list.and_then(|list| {
            if size <= max {
                Ok(list)
            } else {
                Err(format!("it has {}, more than {}", sized(size), sized(max)))
            }
        });
        match list {
            Ok(list) => pull.list = Some(list),
            Err(problem) => {
                let text = format!("{from}: {} cannot be downloaded: {problem}", for_terminal(&name));
                return self.fetch_failed(now, id, Failure::new(Code::Other, text));
            }
        }
        self.pull_next(now, id);
    }

    /// Asks for values if the next piece needs them, else for a file or for bytes.
    fn pull_next(&mut self, now: Instant, id: TransferId) {
        let look = now + self.config.limits.progress_interval;
        let has_file = self.transfer_file(id).is_some();
        if !self.pull_has_session(id) {
            return self.pull_start(now, id);
        }
        let Some(pull) = self.pull_mut(id) else { return };
        let want = pull.list.as_ref().and_then(|list| list.needs(pull.wanted / PIECE));
        match (want, pull.conn, pull.content) {
            (Some(want), Some(conn), Some((root, size))) if size > 0 => {
                let want = Want { count: want.count.min(VALUES_MAX), ..want };
                pull.step = Step::Listing(want);
                let Want { span, first, count } = want;
                self.ask_node(now, conn, Wish::Pull(id), |id| Message::Values {
                    id,
                    root,
                    span: span.number(),
                    first,
                    count,
                });
                self.timers.set(Timer::Pull(id), look, "values of pieces");
            }
            _ if !has_file => {
                if let Some(pull) = self.pull_mut(id) {
                    pull.step = Step::Creating;
                }
                self.timers.cancel(Timer::Pull(id));
                self.create_part(id);
            }
            _ => {
                pull.step = Step::Receiving;
                self.timers.set(Timer::Pull(id), look, "progress");
                self.pull_more(now, id);
            }
        }
    }

    /// Values of pieces came, in one part or in several.
    pub(super) fn pull_values(&mut self, now: Instant, conn: ConnId, number: u32, first: u64, bytes: &[u8]) {
        let Some(id) = self.pull_of(conn, number) else { return self.unasked(now, conn, number) };
        let Some(from) = self.source_of(id) else { return };
        let Some(pull) = self.pull_mut(id) else { return };
        let Step::Listing(want) = pull.step else { return self.unasked(now, conn, number) };
        let n = bytes.len() as u64 / VALUE as u64;
        let in_order = first == want.first && n <= u64::from(want.count);
        let accepted =
            pull.list.as_mut().filter(|_| in_order).map(|list| list.accept(want.span, first, bytes));
        let left = Want { first: first + n, count: want.count.saturating_sub(n as u32), ..want };
        pull.step = Step::Listing(left);
        match accepted {
            Some(Ok(())) if left.count > 0 => {}
            Some(Ok(())) => {
                self.answered(conn, number);
                self.pull_next(now, id);
            }
            Some(Err(error)) => {
                log::debug!("{from}: {error}");
                self.pull_lied(now, id, "its list of pieces is not that of the file");
            }
            None => self.pull_lied(now, id, "its list of pieces is out of order"),
        }
    }

    /// The temporary file is there. `room`: bytes the disk may still take.
    pub(super) fn pull_created(&mut self, now: Instant, id: TransferId, room: u64) {
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(pull) = self.pull_mut(id) else { return };
        pull.created = true;
        let Some((_, size)) = pull.content else { return };
        if size > room {
            let text = format!(
                "no space left for {}: it has {}, and the disk has room for {} above its reserve",
                for_terminal(&name),
                sized(size),
                sized(room)
            );
            return self.fetch_failed(now, id, Failure::new(Code::NoSpace, text));
        }
        if size == 0 {
            return self.fetch_commit(now, id);
        }
        self.transfer_begins(now, id);
        self.pull_next(now, id);
    }

    /// Asks for more bytes, as many as may be under way; at the end of a group its successor's values come first.
    fn pull_more(&mut self, now: Instant, id: TransferId) {
        let window = self.config.limits.asked_per_source;
        let unit = (window / WINDOW).clamp(CHUNK as u64, PIECE.min(GET_MAX));
        loop {
            let Some(pull) = self.pull_mut(id) else { return };
            let (Some((root, size)), Some(conn)) = (pull.content, pull.conn) else { return };
            if pull.held || pull.wanted >= size || pull.wanted - pull.got + unit > window {
                return;
            }
            let index = pull.wanted / PIECE;
            if pull.list.as_ref().is_some_and(|list| list.expected(index).is_none()) {
                if pull.asked.is_empty() {
                    self.pull_next(now, id);
                }
                return;
            }
            let offset = pull.wanted;
            // Never across the end of a piece, wherever an earlier source left off.
            let len = (unit - offset % unit).min(size - offset);
            let number =
                self.ask_node(now, conn, Wish::Pull(id), |id| Message::Get { id, root, offset, len });
            let Some(pull) = self.pull_mut(id) else { return };
            pull.asked.push_back((number, offset..offset + len));
            pull.wanted += len;
        }
    }

    /// Bytes came: they are hashed, and the driver stores them. `range` is where they stand for it.
    pub(super) fn pull_data(
        &mut self,
        now: Instant,
        conn: ConnId,
        number: u32,
        offset: u64,
        bytes: &[u8],
        range: Range<usize>,
    ) -> Option<Body> {
        let Some(id) = self.pull_of(conn, number) else {
            self.unasked(now, conn, number);
            return None;
        };
        let file = self.transfer_file(id);
        let pull = self.pull_mut(id)?;
        let (_, size) = pull.content?;
        let n = bytes.len() as u64;
        let fits =
            pull.asked.front().is_some_and(|(first, asked)| *first == number && offset + n <= asked.end);
        let aligned = n % CHUNK as u64 == 0 || offset + n == size;
        if !fits || offset != pull.got || !aligned {
            self.pull_lied(now, id, "it sends other bytes than were asked for");
            return None;
        }
        let index = offset / PIECE;
        let expected = pull.list.as_ref()?.expected(index)?;
        let hasher = pull.piece.get_or_insert_with(|| PieceHasher::new(size, index));
        hasher.update(bytes);
        if hasher.missing() == 0 {
            if !pull.piece.take().is_some_and(|hasher| hasher.verify(&expected)) {
                self.pull_lied(now, id, "it sends wrong bytes");
                return None;
            }
            pull.losses = 0;
        }
        pull.got += n;
        if pull.asked.front().is_some_and(|(_, asked)| asked.end == pull.got) {
            pull.asked.pop_front();
            (pull.held, pull.refusals) = (false, 0);
            self.answered(conn, number);
        }
        self.pull_more(now, id);
        if let Some(session) = self.session_mut(conn) {
            session.storing = Some(id);
        }
        Some(Body { file: file?, offset, range })
    }

    /// The last bytes handed over for storing are in the file.
    pub(super) fn pull_written(&mut self, now: Instant, conn: ConnId, n: usize) {
        let Some(id) = self.session_mut(conn).and_then(|session| session.storing.take()) else { return };
        let stored = self.transfer_stored(id, n as u64);
        let Some(pull) = self.pull_mut(id) else { return };
        if pull.size() == Some(stored) {
            self.fetch_commit(now, id);
        }
    }

    /// Downloads that go on over this session, whether or not they asked for something just now.
    pub(super) fn pulls_on(&self, conn: ConnId) -> Vec<TransferId> {
        let on = |phase: &Phase| matches!(phase, Phase::Pull(pull) if pull.conn == Some(conn));
        let all = self.transfers.iter().filter(|(_, transfer)| on(&transfer.phase));
        all.map(|(id, _)| TransferId(id)).collect()
    }

    /// Nothing more comes under this number.
    pub(super) fn answered(&mut self, conn: ConnId, number: u32) {
        if let Some(session) = self.session_mut(conn) {
            session.asked.remove(&number);
        }
    }

    /// Whether its session still stands: one of two may have given way to the other while nothing was asked on it.
    fn pull_has_session(&mut self, id: TransferId) -> bool {
        let conn = self.pull_mut(id).and_then(|pull| pull.conn);
        conn.and_then(|conn| self.session_mut(conn)).is_some_and(|session| session.node().is_some())
    }

    /// The download that a number on a session is for.
    fn pull_of(&mut self, conn: ConnId, number: u32) -> Option<TransferId> {
        match self.session_mut(conn)?.asked.get(&number) {
            Some(Wish::Pull(id)) => Some(*id),
            _ => None,
        }
    }

    /// The state of a download over sessions.
    fn pull_mut(&mut self, id: TransferId) -> Option<&mut Pull> {
        match self.transfers.get_mut(id.0) {
            Some(Transfer { phase: Phase::Pull(pull), .. }) => Some(pull),
            _ => None,
        }
    }

    /// Where it comes from.
    fn source_of(&self, id: TransferId) -> Option<SocketAddr> {
        self.transfers.get(id.0).map(|transfer| transfer.from)
    }

    /// The temporary file of a download.
    fn transfer_file(&self, id: TransferId) -> Option<FileId> {
        self.transfers.get(id.0)?.file
    }
}
