//! Searches of other nodes: they go over the index in slices, one a turn for all of them, and what they found is told as what
//! was told before is sent, so that nobody who reads nothing fills the memory.

use super::event::info_of;
use crate::config::Limits;
use crate::machine::ConnId;
use crate::node::gate::source;
use crate::node::index::{Cursor, FileNo, Index};
use crate::proto::query::{Query, Score};
use crate::proto::v2::message::{FILES_MAX, FileInfo, Message, files_that_fit};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Steps of one slice of a search. Measured by the ignored test `what_a_slice_takes` over names as long as they may be,
/// cold in memory: with the costliest queries that came to mind the median slice takes up to 0.24 ms, with one word 0.07,
/// built with opt-level 1 on a machine that was busy otherwise.
const SLICE_STEPS: usize = 32_768;
/// Answers that wait to be sent, of all sessions: a number of at most 256 files each.
const ANSWERS_MAX: usize = 1024;
/// Other sessions that are looked at when something was sent on one.
const OTHERS: usize = 8;

/// A search under way.
#[derive(Debug)]
struct Searching {
    conn: ConnId,
    number: u32,
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
struct Answer {
    conn: ConnId,
    number: u32,
    source: IpAddr,
    found: VecDeque<FileNo>,
}

/// Searches under way, and what is left to be told of those that are done.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    searching: VecDeque<Searching>,
    answers: VecDeque<Answer>,
}

impl Searches {
    /// A search of the session `conn` with a node at `ip`. False: there is no room for it, of the session, its source or in all.
    pub(crate) fn begin(
        &mut self,
        (conn, ip): (ConnId, IpAddr),
        number: u32,
        (query, limit): (Query, u32),
        limits: &Limits,
    ) -> bool {
        let searching = self.searching.iter().map(|search| (search.conn, search.source));
        let waiting = self.answers.iter().map(|answer| (answer.conn, answer.source));
        let enters = room_beside(searching, waiting, (conn, ip), limits);
        if enters {
            self.searching.push_back(Searching {
                conn,
                number,
                source: source(ip),
                query,
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
                cursor: Cursor::default(),
                found: Vec::new(),
            });
        }
        enters
    }

    /// Whether [`Searches::slice`] has something to do.
    pub(crate) fn are_under_way(&self) -> bool {
        !self.searching.is_empty()
    }

    /// One slice of the search that waits longest: there is one a turn of the loop for all searches together. The session whose
    /// search is done, if one is.
    pub(crate) fn slice(&mut self, index: &Index) -> Option<ConnId> {
        // Nobody is told that there is nothing before anybody has looked.
        if !index.progress().listed {
            return None;
        }
        let mut search = self.searching.pop_front()?;
        let done = index.search_slice(&search.query, &mut search.cursor, SLICE_STEPS, &mut search.found);
        // More than are wanted are kept, so that sorting stays rare.
        if done || search.found.len() > 4 * search.limit {
            search.found.sort_unstable_by_key(|&(score, file)| (Reverse(score), file));
            search.found.truncate(search.limit);
        }
        if !done {
            self.searching.push_back(search);
            return None;
        }
        let Searching { conn, number, source, found, .. } = search;
        let found = found.into_iter().map(|(_, file)| file).collect();
        self.answers.push_back(Answer { conn, number, source, found });
        Some(conn)
    }

    /// Where something was sent on `conn`: the sessions that may be told more, for others may have waited for the room of all.
    pub(crate) fn may_be_told(&self, conn: ConnId) -> Vec<ConnId> {
        if self.answers.is_empty() {
            return Vec::new();
        }
        let others = self.answers.iter().map(|answer| answer.conn).filter(|other| *other != conn);
        others.take(OTHERS).chain([conn]).collect()
    }

    /// The next message of what the searches of a session found, in at most `max` bytes. None: there is nothing more.
    pub(crate) fn answer(&mut self, conn: ConnId, max: usize, index: &Index) -> Option<Message> {
        let at = self.answers.iter().position(|answer| answer.conn == conn)?;
        let Answer { number: id, found, .. } = &mut self.answers[at];
        let id = *id;
        // Those that are gone meanwhile take no room.
        let views =
            found.iter().take(FILES_MAX).enumerate().filter_map(|(n, file)| Some((n, index.view(*file)?)));
        let (places, mut files): (Vec<usize>, Vec<FileInfo>) =
            views.map(|(n, view)| (n, info_of(&view))).unzip();
        let fit = files_that_fit(&files, max);
        files.truncate(fit);
        found.drain(..places.get(fit).copied().unwrap_or(found.len().min(FILES_MAX)));
        let end = found.is_empty();
        if end {
            self.answers.remove(at);
        }
        Some(Message::Files { id, files, end, skipped: 0, left_out: 0 })
    }

    /// A search is taken back.
    pub(crate) fn cancel(&mut self, conn: ConnId, number: u32) {
        self.searching.retain(|search| search.conn != conn || search.number != number);
        self.answers.retain(|answer| answer.conn != conn || answer.number != number);
    }

    /// The session is over.
    pub(crate) fn gone(&mut self, conn: ConnId) {
        self.searching.retain(|search| search.conn != conn);
        self.answers.retain(|answer| answer.conn != conn);
    }

    /// Whether this session has one, or waits for what one found.
    pub(crate) fn are_of(&self, conn: ConnId) -> bool {
        let searching = self.searching.iter().map(|search| search.conn);
        searching.chain(self.answers.iter().map(|answer| answer.conn)).any(|other| other == conn)
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
    use crate::node::index::tests::searching::table;
    use crate::time::Instant;

    fn conn(n: u32) -> ConnId {
        ConnId(Id { index: n, generation: 0 })
    }

    fn from(n: u32) -> (ConnId, IpAddr) {
        (conn(n), IpAddr::from([10, 0, 0, n as u8]))
    }

    fn query(text: &str) -> Query {
        Query::parse(text).unwrap()
    }

    /// One search, done, that may find so many of 600 songs.
    fn done(limit: u32) -> (Searches, Index) {
        let (mut searches, mut index) = (Searches::default(), table(600, |i| format!("song {i:03}.ogg")));
        // The listing counts once it was gone through for what is not there any more.
        for _ in 0..100 {
            index.timeout(Instant::ZERO);
        }
        assert!(index.progress().listed);
        assert!(searches.begin(from(1), 7, (query("song"), limit), &Limits::desktop()));
        let slices = (0..100).take_while(|_| searches.are_of(conn(1)) && searches.slice(&index).is_none());
        assert!(slices.count() < 100 && !searches.are_under_way());
        (searches, index)
    }

    #[test]
    fn what_was_found_is_told_in_messages_that_fit_and_the_last_says_so() {
        let (mut searches, index) = done(256);
        let (mut names, mut ended) = (Vec::new(), false);
        while let Some(message) = searches.answer(conn(1), 4096, &index) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            assert!(!ended && bytes.len() <= 4096, "{} bytes", bytes.len());
            let Message::Files { id: 7, files, end, .. } = message else { panic!("{message:?}") };
            assert!(files.len() > 1 || end, "as many as fit");
            ended = end;
            names.extend(files.into_iter().map(|file| file.name));
        }
        assert!(ended && names.len() == 256, "{} names", names.len());
        names.dedup();
        assert!(names.len() == 256 && !searches.are_of(conn(1)));
        assert!(searches.may_be_told(conn(2)).is_empty());
    }

    #[test]
    fn a_search_that_finds_nothing_is_told_so() {
        let (mut searches, index) = done(0);
        let message = searches.answer(conn(1), 4096, &index);
        let nothing = Message::Files { id: 7, files: Vec::new(), end: true, skipped: 0, left_out: 0 };
        assert_eq!(message, Some(nothing));
    }

    #[test]
    fn nobody_hears_that_there_is_nothing_before_anybody_has_looked() {
        let (mut searches, index) = (Searches::default(), Index::new(&Limits::desktop()));
        assert!(searches.begin(from(1), 7, (query("song"), 10), &Limits::desktop()));
        assert_eq!(searches.slice(&index), None);
        assert!(searches.are_under_way());
    }

    #[test]
    fn a_search_that_is_taken_back_is_neither_carried_out_nor_told() {
        let (mut searches, index) = done(256);
        for number in [8, 9] {
            assert!(searches.begin(from(1), number, (query("song"), 256), &Limits::desktop()));
        }
        assert!(searches.begin(from(2), 7, (query("song"), 256), &Limits::desktop()));
        searches.cancel(conn(1), 7);
        assert_eq!(searches.answer(conn(1), 4096, &index), None);
        searches.cancel(conn(1), 8);
        assert_eq!(searches.slice(&index), Some(conn(1)), "number 9 is left");
        searches.gone(conn(1));
        assert!(!searches.are_of(conn(1)) && searches.are_of(conn(2)));
        assert_eq!((searches.slice(&index), searches.slice(&index)), (Some(conn(2)), None));
        assert_eq!(searches.may_be_told(conn(1)), [conn(2), conn(1)], "room of all may have been missing");
    }

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
