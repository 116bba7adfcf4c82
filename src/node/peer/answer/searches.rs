//! Searches of other nodes: they go over the index in slices, one a turn for all of them, and what they found is told as what
//! was told before is sent, so that nobody who reads nothing fills the memory.

use super::info_of;
use crate::config::Limits;
use crate::machine::ConnId;
use crate::node::gate::source;
use crate::node::index::{Cursor, FileNo};
use crate::node::peer::{Conn, Peer, Timer};
use crate::node::timers::MOMENT;
use crate::proto::query::{Query, Score};
use crate::proto::v2::message::{Code, FILES_MAX, FileInfo, Message, files_that_fit};
use crate::time::Instant;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Steps of one slice of a search. Measured by the ignored test `what_a_slice_takes` over names as long as they may be,
/// cold in memory: with the costliest queries that came to mind the median slice takes up to 0.24 ms, with one word 0.07,
/// built with opt-level 1 on a machine that was busy otherwise.
const SEARCH_STEPS: usize = 32_768;
/// Answers that wait to be sent, of all sessions: a number of at most 256 files each.
const ANSWERS_MAX: usize = 1024;
/// Other sessions that are looked at when something was sent on one.
const OTHERS: usize = 8;

/// A search under way for another node.
#[derive(Debug)]
pub(in crate::node::peer) struct Searching {
    pub(super) conn: ConnId,
    pub(super) number: u32,
    /// Who it counts for.
    source: IpAddr,
    query: Query,
    limit: usize,
    cursor: Cursor,
    /// Never more than four times `limit` and what one slice may find, some 800.
    found: Vec<(Score, FileNo)>,
}

/// The rest of what a search found, best first: told as what was told before is sent.
#[derive(Debug)]
pub(in crate::node::peer) struct Waiting {
    pub(super) conn: ConnId,
    pub(super) number: u32,
    source: IpAddr,
    found: VecDeque<FileNo>,
}

impl Peer {
    pub(super) fn search_for(&mut self, now: Instant, conn: ConnId, id: u32, query: &str, limit: u32) {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(error) => return self.refuse(now, conn, id, Code::Bad, &error.to_string()),
        };
        let Some(Conn::Session(session)) = self.conns.get(conn.0) else { return };
        let ip = session.peer.ip();
        if !self.may_search(conn, ip) {
            return self.refuse(now, conn, id, Code::Busy, "too many searches at once");
        }
        self.searching.push_back(Searching {
            conn,
            number: id,
            source: source(ip),
            query,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            cursor: Cursor::default(),
            found: Vec::new(),
        });
        self.count_searches(conn);
        // Never at once: many searches in one read would hold everybody else up.
        self.arm_search(now);
    }

    /// Whether there is room for one more search, of the session, of its source, and in all.
    fn may_search(&self, conn: ConnId, ip: IpAddr) -> bool {
        let searching = self.searching.iter().map(|search| (search.conn, search.source));
        let waiting = self.answers.iter().map(|answer| (answer.conn, answer.source));
        let limits = &self.config.limits;
        room_beside(searching, waiting, (conn, ip), limits)
    }

    /// One slice of the search that waits longest. There is one a turn of the loop for all searches together: the timer
    /// fires once a turn, and what is ready has its turn in between.
    pub(in crate::node::peer) fn search_slice(&mut self, now: Instant) {
        // Nobody is told that there is nothing before anybody has looked.
        if !self.shared.index().progress().listed {
            return;
        }
        let Some(mut search) = self.searching.pop_front() else { return };
        let done = self.shared.index().search_slice(
            &search.query,
            &mut search.cursor,
            SEARCH_STEPS,
            &mut search.found,
        );
        // More than are wanted are kept, so that sorting stays rare.
        if done || search.found.len() > 4 * search.limit {
            search.found.sort_unstable_by_key(|&(score, file)| (Reverse(score), file));
            search.found.truncate(search.limit);
        }
        if done {
            let Searching { conn, number, source, found, .. } = search;
            let found = found.into_iter().map(|(_, file)| file).collect();
            self.answers.push_back(Waiting { conn, number, source, found });
            self.answer_more(now, conn);
        } else {
            self.searching.push_back(search);
        }
        self.arm_search(now);
    }

    /// The next slice has its turn after what else is due now.
    pub(in crate::node::peer) fn arm_search(&mut self, now: Instant) {
        if !self.searching.is_empty() {
            self.timers.set(Timer::Search, now + MOMENT, "a slice of a search");
        }
    }

    /// Tells more of what the searches of a session found, as far as there is room for it; and what others wait for, as far as
    /// the room of all sessions was what they wait for.
    pub(in crate::node::peer) fn answer_more(&mut self, now: Instant, conn: ConnId) {
        if self.answers.is_empty() {
            return;
        }
        let others = self.answers.iter().map(|answer| answer.conn).filter(|other| *other != conn);
        let mut all: Vec<ConnId> = others.take(OTHERS).collect();
        all.push(conn);
        for conn in all {
            // Bounded: each takes files out of what was found.
            while self.may_answer(conn) && self.answer_some(now, conn) {}
        }
    }

    /// One message of what the searches of a session found. False: there is nothing more.
    fn answer_some(&mut self, now: Instant, conn: ConnId) -> bool {
        let max = self.record_max(conn);
        let Some(at) = self.answers.iter().position(|answer| answer.conn == conn) else { return false };
        let Waiting { number: id, found, .. } = &mut self.answers[at];
        let id = *id;
        // Those that are gone meanwhile take no room.
        let views = found
            .iter()
            .take(FILES_MAX)
            .enumerate()
            .filter_map(|(n, file)| Some((n, self.shared.index().view(*file)?)));
        let (places, mut files): (Vec<usize>, Vec<FileInfo>) =
            views.map(|(n, view)| (n, info_of(&view))).unzip();
        let fit = files_that_fit(&files, max);
        files.truncate(fit);
        found.drain(..places.get(fit).copied().unwrap_or(found.len().min(FILES_MAX)));
        let end = found.is_empty();
        if end {
            self.answers.remove(at);
            self.count_searches(conn);
        }
        self.tell_node(now, conn, &Message::Files { id, files, end, skipped: 0, left_out: 0 });
        true
    }

    pub(super) fn count_searches(&mut self, conn: ConnId) {
        let n = self.searching.iter().filter(|search| search.conn == conn).count();
        let waiting = self.answers.iter().filter(|answer| answer.conn == conn).count();
        if let Some(session) = self.session_mut(conn) {
            session.answering.searches = n + waiting;
        }
    }
}

/// Whether beside these searches and these answers that wait, each of a session and a source, one more search of this session
/// and address may be. Who reads no answers keeps nobody else from searching: those have a bound in all of their own.
fn room_beside(
    searching: impl ExactSizeIterator<Item = (ConnId, IpAddr)>,
    waiting: impl ExactSizeIterator<Item = (ConnId, IpAddr)>,
    (conn, ip): (ConnId, IpAddr),
    limits: &Limits,
) -> bool {
    if searching.len() >= limits.searches || waiting.len() >= ANSWERS_MAX {
        return false;
    }
    let (mut of_session, mut of_source) = (0, 0);
    for (other, from) in searching.chain(waiting) {
        of_session += usize::from(other == conn);
        of_source += usize::from(from == source(ip));
    }
    of_session < limits.searches_per_session && (ip.is_loopback() || of_source < limits.searches_per_ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Id;

    /// So many searches find room, asked for by these sessions in turn, over and over.
    fn admitted(limits: &Limits, sessions: usize, ip: impl Fn(usize) -> IpAddr) -> usize {
        let mut under_way = Vec::new();
        for i in 0..10 * limits.searches {
            let session = Id { index: (i % sessions) as u32, generation: 0 };
            let asks = (ConnId(session), ip(i % sessions));
            if room_beside(under_way.iter().copied(), [].into_iter(), asks, limits) {
                under_way.push((asks.0, source(asks.1)));
            }
        }
        under_way.len()
    }

    #[test]
    fn searches_are_bounded_by_session_by_source_and_in_all() {
        for limits in [Limits::desktop(), Limits::small()] {
            let far = |i: usize| IpAddr::from([10, 0, 0, i as u8]);
            let near = |_| IpAddr::from([127, 0, 0, 1]);
            let host = |i: usize| IpAddr::from([0x2001, 0xdb9, 0, i as u16, 0, 0, 0, 1]);
            assert_eq!(admitted(&limits, 1, far), limits.searches_per_session);
            assert_eq!(admitted(&limits, 100, |_| far(1)), limits.searches_per_ip);
            assert_eq!(admitted(&limits, 100, host), limits.searches_per_ip, "one /56");
            assert_eq!(admitted(&limits, 100, far), limits.searches);
            assert_eq!(admitted(&limits, 100, near), limits.searches, "this host");
            // Answers that nobody takes count for who does not, up to a bound of all.
            let asks = |n| (ConnId(Id { index: n, generation: 0 }), far(n as usize));
            let beside = |waiting: &[(ConnId, IpAddr)], n| {
                room_beside([].into_iter(), waiting.iter().copied(), asks(n), &limits)
            };
            let stuck = vec![asks(1); limits.searches_per_session];
            assert!(!beside(&stuck, 1) && beside(&stuck, 2));
            assert!(beside(&vec![asks(1); ANSWERS_MAX - 1], 2) && !beside(&vec![asks(1); ANSWERS_MAX], 2));
            assert_eq!(admitted(&limits, 1, near), limits.searches_per_session);
        }
    }
}
