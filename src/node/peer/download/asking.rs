//! Requests of a download: blocks as the swarm decides, values of pieces before them, and taking them back.

use super::Listing;
use super::sources::State;
use crate::config::CHUNK;
use crate::machine::ConnId;
use crate::node::api::{Code, Failure};
use crate::node::backoff::PAUSE;
use crate::node::ids::TransferId;
use crate::node::peer::pending::Pending;
use crate::node::peer::{Peer, Timer};
use crate::node::swarm::{Block, SourceNo, Step};
use crate::node::timers::MOMENT;
use crate::proto::content::Want;
use crate::proto::escape::{cut, for_terminal};
use crate::proto::v2::message::{Message, TEXT_MAX, VALUES_MAX};
use crate::time::{Duration, Instant};

/// Before a source that owed bytes for too long is asked for more.
const RESPITE: Duration = Duration::from_secs(1);
/// A source that owed bytes so often is asked no more.
const LATES_MAX: u32 = 3;
/// A limit of the rate is kept in steps of this part of a second, so that it holds over short times, too.
const STEPS: u64 = 8;

impl Peer {
    /// Asks a source for what the swarm wants of it.
    pub(super) fn ask_blocks(&mut self, now: Instant, id: TransferId, no: SourceNo) {
        loop {
            let Some(source) = self.source_mut(id, no) else { return };
            if !matches!(source.state, State::Ready) {
                return;
            }
            let Some(conn) = source.conn else { return };
            let room = self.room_to_ask(now, conn, id, no);
            let Some(download) = self.download_mut(id) else { return };
            if room < CHUNK as u64 {
                download.throttled = true;
                return self.wait_for_room(now);
            }
            let ready =
                download.group_pieces().is_some_and(|range| download.list.needs(range.start).is_none());
            if !ready {
                return;
            }
            let Some(step) = download.swarm.next(now, no, room) else { return };
            self.ask_block(now, id, no, conn, step);
        }
    }

    fn ask_block(&mut self, now: Instant, id: TransferId, no: SourceNo, conn: ConnId, step: Step) {
        let Step { block, instead_of } = step;
        if let Some(slow) = instead_of {
            self.take_back(now, id, slow, |asked| asked.piece == block.piece);
        }
        let Some(download) = self.download_mut(id) else { return };
        let (root, offset, len) = (download.root, block.offset, block.len);
        let number =
            self.ask_node(now, conn, Pending::Source(id, no), |id| Message::Get { id, root, offset, len });
        if let Some(session) = self.sessions.get_mut(conn) {
            session.asked_bytes += len;
        }
        self.down.take(now, len);
        if let Some(source) = self.source_mut(id, no) {
            source.asked.push_back((number, block));
        }
    }

    /// Bytes that may be asked for on this session now: all downloads share what one source may owe, and the rate.
    fn room_to_ask(&mut self, now: Instant, conn: ConnId, id: TransferId, no: SourceNo) -> u64 {
        let most = self.config.limits.swarm.per_source;
        let own =
            self.source_mut(id, no).map_or(0, |source| source.asked.iter().map(|(_, b)| b.len).sum::<u64>());
        let room = match self.down.rate() {
            Some(rate) => self.down.room(now).min((rate / STEPS).max(CHUNK as u64)),
            None => u64::MAX,
        };
        let owed = self.sessions.get_mut(conn).map_or(most, |session| session.asked_bytes);
        // Who shares the session with others has its part of it.
        let askers = if owed > own { self.asking_on(conn).len().max(1) as u64 } else { 1 };
        let part = (most / askers / CHUNK as u64 * CHUNK as u64).max(CHUNK as u64);
        room.min(most.saturating_sub(owed)).min(part.saturating_sub(own))
    }

    /// The limit of the rate leaves nothing for now.
    pub(in crate::node::peer) fn wait_for_room(&mut self, now: Instant) {
        if let Some(due) = self.down.when(now, CHUNK as u64) {
            self.timers.set_unless_armed(Timer::Down, due, "limit of the rate");
        }
    }

    /// Takes requests back that `unwanted` names; what they asked for is no longer owed.
    pub(super) fn take_back(
        &mut self,
        now: Instant,
        id: TransferId,
        no: SourceNo,
        unwanted: impl Fn(&Block) -> bool,
    ) {
        let Some(source) = self.source_mut(id, no) else { return };
        let conn = source.conn;
        let (gone, left): (Vec<_>, Vec<_>) = source.asked.drain(..).partition(|(_, block)| unwanted(block));
        source.asked = left.into();
        let Some(conn) = conn else { return };
        for (number, block) in gone {
            if let Some(session) = self.sessions.get_mut(conn) {
                session.asked_bytes = session.asked_bytes.saturating_sub(block.len);
            }
            self.cancel_request(now, conn, number);
            // Others may wait for what this one owed no more.
            self.timers.set_unless_armed(Timer::Down, now + MOMENT, "room on a session");
        }
    }

    pub(super) fn take_back_all(&mut self, now: Instant, id: TransferId, no: SourceNo) {
        self.take_back(now, id, no, |_| true);
    }

    /// Asks for the values of the pieces that are fetched next, unless they are here or on the way.
    pub(super) fn ask_values(&mut self, now: Instant, id: TransferId) {
        let due = now + self.config.limits.first_byte_deadline;
        let Some(download) = self.download_mut(id) else { return };
        let Some(first) = download.group_pieces().map(|range| range.start) else { return };
        let Some(want) = download.list.needs(first).filter(|_| download.listing.is_none()) else { return };
        let able = |all: bool| {
            let mut sources = download.sources.iter();
            sources.find(|(_, s)| matches!(s.state, State::Ready) && !s.no_values && s.all == all)
        };
        let Some((no, source)) = able(true).or_else(|| able(false)) else { return };
        let (no, Some(conn)) = (*no, source.conn) else { return };
        let want = Want { count: want.count.min(VALUES_MAX), ..want };
        let (root, Want { span, first, count }) = (download.root, want);
        let number = self.ask_node(now, conn, Pending::Source(id, no), |id| Message::Values {
            id,
            root,
            span: span.number(),
            first,
            count,
        });
        if let Some(download) = self.download_mut(id) {
            download.listing = Some(Listing { source: no, number, want, due });
        }
    }

    /// The values of pieces did not come in time.
    pub(super) fn late_values(&mut self, now: Instant, id: TransferId) {
        let Some(download) = self.download_mut(id) else { return };
        let Some(listing) = download.listing.take_if(|listing| listing.due <= now) else { return };
        download.list.restart();
        let Some(conn) = self.source_mut(id, listing.source).and_then(|source| source.conn) else { return };
        self.cancel_request(now, conn, listing.number);
        self.owes(now, id, listing.source, "did not answer in time");
    }

    /// Sources that owed bytes for too long: others are asked for them.
    pub(super) fn late_sources(&mut self, now: Instant, id: TransferId) {
        let Some(download) = self.download_mut(id) else { return };
        let mut silent = Vec::new();
        for (no, source) in &mut download.sources {
            match source.state {
                State::Held(until) if until <= now => source.state = State::Ready,
                State::Following(due) if due <= now => silent.push(*no),
                _ => {}
            }
        }
        let late = download.swarm.late(now);
        for no in silent {
            self.silent(now, id, no);
        }
        for no in late {
            self.take_back_all(now, id, no);
            self.owes(now, id, no, "sends too slowly or not at all");
        }
    }

    /// A source did not say what it has.
    fn silent(&mut self, now: Instant, id: TransferId, no: SourceNo) {
        let Some(source) = self.source_mut(id, no) else { return };
        let (addr, conn) = (source.addr, source.conn);
        let failure = Failure::new(Code::Timeout, format!("{addr} did not answer in time"));
        self.lose_source(now, id, no, Some(addr), failure);
        if let Some(conn) = conn {
            self.session_suspect(now, conn);
        }
    }

    /// A source owes what it was asked for: is it still there? It is not waited for for ever.
    fn owes(&mut self, now: Instant, id: TransferId, no: SourceNo, what: &str) {
        let Some(source) = self.source_mut(id, no) else { return };
        source.lates += 1;
        let (addr, conn, lates) = (source.addr, source.conn, source.lates);
        if lates >= LATES_MAX {
            let failure = Failure::new(Code::Timeout, format!("{addr} {what}"));
            return self.lose_source(now, id, no, None, failure);
        }
        if let State::Ready = source.state {
            source.state = State::Held(now + RESPITE);
        }
        if let Some(conn) = conn {
            self.session_suspect(now, conn);
        }
    }

    /// The source has no time for a request: that is asked again after a pause, of it or of another. It may have none so
    /// often in a row, unless it is busy with other downloads of ours.
    pub(super) fn busy_source(
        &mut self,
        now: Instant,
        id: TransferId,
        no: SourceNo,
        number: u32,
        text: &str,
    ) {
        let Some(download) = self.download_mut(id) else { return };
        let Some(source) = download.sources.get_mut(&no) else { return };
        let (addr, conn) = (source.addr, source.conn);
        if let Some((_, block)) = source.asked.iter().find(|(asked, _)| *asked == number).copied() {
            // What was asked after it for the same piece would come without it.
            let behind = move |other: &Block| other.piece == block.piece && other.offset >= block.offset;
            download.swarm.put_back(now, no, &block);
            self.take_back(now, id, no, behind);
        } else if download.listing.is_some_and(|listing| listing.number == number) {
            download.listing = None;
            download.list.restart();
        }
        let gives =
            conn.and_then(|conn| self.sessions.get_mut(conn)).is_some_and(|session| session.asked_bytes > 0);
        let Some(source) = self.source_mut(id, no) else { return };
        if !source.asked.is_empty() {
            return;
        }
        match if gives { Some(PAUSE) } else { source.backoff.refused() } {
            Some(pause) => source.state = State::Held(now + pause),
            None => {
                let words = for_terminal(cut(text, TEXT_MAX));
                let failure = Failure::new(Code::Refused, format!("{addr} refuses again and again: {words}"));
                self.lose_source(now, id, no, None, failure);
            }
        }
    }
}
