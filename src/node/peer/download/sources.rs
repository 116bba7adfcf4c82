//! Whom a download asks: those a search named, those that other members name, those that ask us for the same file, and in
//! need every node that is known. Who is lost may return; who sends wrong bytes is left out for an hour.

use super::candidates::{CANDIDATES_MAX, TRIED};
use super::stream::Stream;
use super::{Candidate, Who};
use crate::machine::{ConnId, Fault};
use crate::node::api::{Code, Event, Failure};
use crate::node::backoff::Backoff;
use crate::node::ids::TransferId;
use crate::node::peer::Peer;
use crate::node::peer::pending::Pending;
use crate::node::sessions::outcome::Class;
use crate::node::sessions::outcome::Unreached;
use crate::node::swarm::{Block, SourceNo};
use crate::proto::address::{Learned, admit};
use crate::proto::escape::for_terminal;
use crate::proto::v2::message::Message;
use crate::time::{Duration, Instant};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A source that is lost so often, or owes bytes so often, is asked no more.
const LOSSES_MAX: u32 = 3;
/// Before a source is asked again that was lost; four times as long each time.
const RETURN: Duration = Duration::from_secs(1);
/// How long somebody who sent wrong pieces is left out.
const BAN: Duration = Duration::from_secs(3600);
/// Wrong pieces after which somebody is left out.
pub(super) const STRIKES_MAX: u32 = 3;

/// Somebody who is asked.
#[derive(Debug)]
pub(in crate::node::peer) struct Source {
    pub(in crate::node::peer) addr: SocketAddr,
    pub(in crate::node::peer) conn: Option<ConnId>,
    pub(super) who: Option<Who>,
    pub(super) state: State,
    /// It has all of the file, as far as is known.
    pub(super) all: bool,
    /// Named by the operator or found by a search: its failures are worth telling.
    pub(super) named: bool,
    /// The number under which it tells what it has, and of which group.
    pub(super) follow: Option<u32>,
    pub(super) group: u64,
    /// Requests under way, in order.
    pub(super) asked: VecDeque<(u32, Block)>,
    pub(super) losses: u32,
    pub(super) backoff: Backoff,
    pub(super) lates: u32,
    /// It has no values of pieces for us.
    pub(super) no_values: bool,
}

#[derive(Debug)]
pub(super) enum State {
    /// A session is being made.
    Reaching,
    /// It was asked what it has, and has until then to say so.
    Following(Instant),
    /// It can be asked for bytes.
    Ready,
    /// The same, but not before this.
    Held(Instant),
    /// An old node that sends the whole file from its beginning.
    Old(Stream),
}

impl Source {
    fn new(addr: SocketAddr, who: Option<Who>) -> Source {
        Source {
            addr,
            conn: None,
            who,
            state: State::Reaching,
            all: false,
            named: false,
            follow: None,
            group: 0,
            asked: VecDeque::new(),
            losses: 0,
            backoff: Backoff::default(),
            lates: 0,
            no_values: false,
        }
    }

    /// Whether it can be asked for bytes.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready | State::Old(Stream { flowing: true, .. }))
    }

    /// The same as a candidate, after a break that was not its fault.
    pub(super) fn again(&self, now: Instant) -> Candidate {
        let old = matches!(self.state, State::Old(_));
        let (addr, all, named, losses) = (self.addr, self.all, self.named, self.losses);
        Candidate { addr, all, named, old, not_before: now, losses }
    }

    pub(super) fn held_until(&self) -> Option<Instant> {
        match self.state {
            State::Held(until) | State::Following(until) => Some(until),
            _ => None,
        }
    }
}

impl Peer {
    /// Makes sources of candidates, as many as may be asked at a time.
    pub(super) fn launch_sources(&mut self, now: Instant, id: TransferId) {
        let max = self.config.limits.swarm.sources;
        for _ in 0..CANDIDATES_MAX {
            let Some(download) = self.download_mut(id) else { return };
            let Some(due) = download.candidates.iter().position(|candidate| candidate.not_before <= now)
            else {
                return;
            };
            if download.sources.len() >= max {
                let Some(useless) = download.useless() else { return };
                self.drop_source(now, id, useless);
            }
            let Some(download) = self.download_mut(id) else { return };
            let Some(candidate) = download.candidates.remove(due) else { return };
            self.launch(now, id, candidate);
        }
    }

    fn launch(&mut self, now: Instant, id: TransferId, candidate: Candidate) {
        let Candidate { addr, all, named, old, losses, .. } = candidate;
        let typed = self.is_typed(id) && named;
        let node = self.contacts.book.node_at(addr);
        // What a search found is dialled as freely as its address allows; what the operator named, always.
        let class = self.contacts.class_of(now, addr, &self.here()).or_else(|| typed.then_some(Class::Near));
        let Some(download) = self.download_mut(id) else { return };
        let who = if old { Some(Who::Old(addr)) } else { node.map(Who::Node) };
        let asked = |who: Who| download.sources.values().any(|source| source.who == Some(who));
        if who.is_some_and(|who| download.is_banned(now, who) || asked(who)) {
            return;
        }
        let Some(class) = class else {
            let text = format!("{addr} is left alone for a while: the last dials came to nothing");
            download.failure.get_or_insert(Failure::new(Code::Network, text));
            return;
        };
        let no = download.swarm.join(now);
        download.sources.insert(no, Source { all, named, losses, ..Source::new(addr, who) });
        if old {
            self.stream_start(now, id, no, class);
        } else {
            self.reach(now, addr, class, Pending::Source(id, no));
        }
    }

    /// A session with a source is open: what it has is asked for, and what comes after.
    pub(in crate::node::peer) fn source_on(
        &mut self,
        now: Instant,
        conn: ConnId,
        id: TransferId,
        no: SourceNo,
    ) {
        let node = self.sessions.get_mut(conn).and_then(|session| session.node());
        let answer = self.config.limits.first_byte_deadline;
        let us = self.sessions.id();
        let Some(download) = self.download_mut(id) else { return };
        let Some(node) = node else { return };
        download.swarm.stands(no, node < us);
        let who = Who::Node(node);
        let twice = download.sources.iter().any(|(other, source)| *other != no && source.who == Some(who));
        let banned = download.is_banned(now, who);
        let Some(source) = download.sources.get_mut(&no) else { return };
        // What was asked on another session is asked anew on this one.
        let group = download.swarm.group();
        source.who = Some(who);
        source.conn = Some(conn);
        (source.follow, source.group) = (None, group.unwrap_or(0));
        // The session it was asked on is gone, and its numbers mean nothing on this one.
        for (_, block) in source.asked.drain(..) {
            download.swarm.put_back(now, no, &block);
        }
        if download.listing.is_some_and(|listing| listing.source == no) {
            download.listing = None;
            download.list.restart();
        }
        if twice || banned {
            self.drop_source(now, id, no);
            return self.drive_download(now, id);
        }
        let Some(download) = self.download_mut(id) else { return };
        let Some(source) = download.sources.get_mut(&no) else { return };
        let due = now + answer;
        source.state = if source.all { State::Ready } else { State::Following(due) };
        if source.all {
            download.swarm.has_all(no);
        }
        self.follow(now, id, no);
        self.drive_download(now, id);
    }

    /// Asks a source what it has of the group that is fetched, and to tell what it gets.
    pub(super) fn follow(&mut self, now: Instant, id: TransferId, no: SourceNo) {
        let Some(download) = self.download_mut(id) else { return };
        let (root, group) = (download.root, download.swarm.group());
        let Some(source) = download.sources.get_mut(&no) else { return };
        let (Some(conn), Some(group)) = (source.conn, group) else { return };
        let old = source.follow.take();
        source.group = group;
        if let Some(old) = old {
            self.cancel_request(now, conn, old);
        }
        let group = u32::try_from(group).unwrap_or(u32::MAX);
        let number =
            self.ask_node(now, conn, Pending::Source(id, no), |id| Message::Follow { id, root, group });
        if let Some(source) = self.source_mut(id, no) {
            source.follow = Some(number);
        }
    }

    /// A node we have a session with may be a source of what we download.
    pub(in crate::node::peer) fn try_session(&mut self, now: Instant, id: TransferId, conn: ConnId) {
        let addr = self.addr_of(conn);
        let node = self.sessions.get_mut(conn).and_then(|session| session.node());
        let max = self.config.limits.swarm.sources;
        let Some(download) = self.download_mut(id) else { return };
        let Some(who) = node.map(Who::Node).filter(|_| download.is_running()) else { return };
        let asked = download.sources.values().any(|source| source.who == Some(who) || source.addr == addr);
        if asked || download.sources.len() >= max || download.is_banned(now, who) {
            return;
        }
        let no = download.swarm.join(now);
        download.sources.insert(no, Source { conn: Some(conn), ..Source::new(addr, Some(who)) });
        self.source_on(now, conn, id, no);
    }

    /// A session opened: downloads that want for sources ask there.
    pub(in crate::node::peer) fn met_a_node(&mut self, now: Instant, conn: ConnId) {
        let addr = self.addr_of(conn);
        for id in self.running_downloads() {
            let fresh = self.download_mut(id).is_some_and(|download| !download.was_tried(now, addr));
            if fresh {
                self.try_session(now, id, conn);
            }
        }
    }

    /// A source of ours named others that fetch the same file.
    pub(in crate::node::peer) fn peers_came(
        &mut self,
        now: Instant,
        conn: ConnId,
        id: TransferId,
        nodes: &[SocketAddr],
    ) {
        let at = self.addr_of(conn).ip();
        for node in nodes {
            let Ok(addr) = admit(*node, Learned::Member { at }, &self.here()) else { continue };
            if let Some(download) = self.download_mut(id) {
                if !download.was_tried(now, addr) {
                    download.add_candidate(Candidate::perhaps(addr, now));
                }
            }
        }
        self.drive_download(now, id);
    }

    /// The source was not reached, or is lost.
    pub(in crate::node::peer) fn source_unreached(
        &mut self,
        now: Instant,
        id: TransferId,
        no: SourceNo,
        (addr, why): (SocketAddr, Unreached),
    ) {
        let Some(source) = self.source_mut(id, no) else { return };
        let shown = source.addr;
        // Who gave something a moment ago is no stranger: it is just ending, or beginning.
        let known = source.losses > 0 && matches!(why, Unreached::Old | Unreached::NotOurs);
        let why = if known { Unreached::Lost(Fault::Reset) } else { why };
        let failure = self.unreached_failure(shown, why);
        let next = match why {
            Unreached::Lost(_) | Unreached::NotTried => Some(addr),
            Unreached::Failed(_) | Unreached::TimedOut | Unreached::Silent => {
                Some(self.contacts.book.elsewhere(addr).unwrap_or(addr))
            }
            _ => None,
        };
        self.lose_source(now, id, no, next, failure);
        self.drive_download(now, id);
    }

    /// A source gives nothing any more; at `next` it may be tried again after a while.
    pub(super) fn lose_source(
        &mut self,
        now: Instant,
        id: TransferId,
        no: SourceNo,
        next: Option<SocketAddr>,
        failure: Failure,
    ) {
        let Some(download) = self.download_mut(id) else { return };
        let Some(source) = download.sources.get(&no) else { return };
        log::debug!("{}: {}", source.addr, failure.message);
        // Whoever gave something has a reason to be waited for; who was never reached has not.
        let flowed = matches!(&source.state, State::Old(stream) if stream.flowing);
        let proven = source.conn.is_some() || source.losses > 0 || flowed;
        let again = Candidate {
            addr: next.unwrap_or(source.addr),
            all: source.all,
            named: source.named,
            old: matches!(source.state, State::Old(_)),
            not_before: now + RETURN * 4u32.pow(source.losses.min(LOSSES_MAX)),
            losses: source.losses + 1,
        };
        let elsewhere = again.addr != source.addr;
        if source.named {
            download.failure = Some(failure);
        }
        let may_return = next.is_some() && again.losses <= LOSSES_MAX && (proven || elsewhere);
        self.drop_source(now, id, no);
        if let Some(download) = self.download_mut(id).filter(|_| may_return) {
            let first = again.losses == 1;
            let not_before = if first { now } else { again.not_before };
            download.add_candidate(Candidate { not_before, ..again });
        }
    }

    /// Takes a source out: what was asked of it is asked of others.
    pub(super) fn drop_source(&mut self, now: Instant, id: TransferId, no: SourceNo) {
        self.take_back_all(now, id, no);
        let Some(download) = self.download_mut(id) else { return };
        let listing = download.listing.take_if(|listing| listing.source == no);
        if listing.is_some() {
            download.list.restart();
        }
        download.swarm.leave(now, no);
        let Some(source) = download.sources.remove(&no) else { return };
        download.tried.retain(|_, at| now - *at < TRIED);
        download.tried.insert(source.addr, now);
        if let State::Old(stream) = source.state {
            return self.stream_drop(now, source.addr, &stream);
        }
        let Some(conn) = source.conn else { return };
        for number in listing.map(|listing| listing.number).into_iter().chain(source.follow) {
            if self.sessions.get_mut(conn).is_some_and(|session| session.asked.contains_key(&number)) {
                self.cancel_request(now, conn, number);
            }
        }
    }

    /// All sources, at the end of a download or at a break.
    pub(super) fn drop_sources(&mut self, now: Instant, id: TransferId) {
        let all: Vec<SourceNo> = self
            .download_mut(id)
            .map(|download| download.sources.keys().copied().collect())
            .unwrap_or_default();
        for no in all {
            self.drop_source(now, id, no);
        }
    }

    /// A source sent wrong pieces, or lists that cannot be: everybody is told who it was, and it is left out.
    pub(super) fn ban_source(&mut self, now: Instant, id: TransferId, no: SourceNo, pieces: u32, what: &str) {
        self.blame(now, id, no, pieces);
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(download) = self.download_mut(id) else { return };
        let Some(source) = download.sources.get(&no) else { return };
        let text = format!("{}: {} failed verification: {what}", source.addr, for_terminal(&name));
        download.failure = Some(Failure::new(Code::Verification, text));
        if let Some(who) = source.who {
            download.banned.retain(|_, until| *until > now);
            download.banned.insert(who, now + BAN);
        }
        self.drop_source(now, id, no);
        self.drive_download(now, id);
    }

    /// Tells who sent wrong bytes, and tells the sender.
    pub(super) fn blame(&mut self, now: Instant, id: TransferId, no: SourceNo, pieces: u32) {
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(source) = self.source_mut(id, no) else { return };
        let addr = source.addr;
        let node = match source.who {
            Some(Who::Node(node)) => Some(node.to_string()),
            _ => None,
        };
        log::warn!("{addr} sent wrong bytes of {}", crate::proto::escape::for_log(&name));
        let conn = source.conn;
        self.tell(None, &Event::Blamed { at: addr.into(), id: node, name: &name, pieces });
        if let Some((conn, root)) = conn.zip(self.download_mut(id).map(|download| download.root)) {
            self.tell_node(now, conn, &Message::Wrong { root });
        }
    }

    pub(super) fn source_mut(&mut self, id: TransferId, no: SourceNo) -> Option<&mut Source> {
        self.download_mut(id)?.sources.get_mut(&no)
    }
}

impl super::Download {
    /// A source that is asked for nothing and has nothing that is missing: its place is better given to another.
    fn useless(&self) -> Option<SourceNo> {
        let mut ready = self.sources.iter().filter(|(_, source)| matches!(source.state, State::Ready));
        let idle = |no: SourceNo, source: &Source| source.asked.is_empty() && !self.swarm.is_useful(no);
        ready.find(|(no, source)| idle(**no, source)).map(|(no, _)| *no)
    }

    /// Nothing is under way that could bring anything.
    pub(super) fn is_stuck(&self, max: usize) -> bool {
        let on_the_way = |source: &Source| match &source.state {
            State::Reaching | State::Following(_) | State::Held(_) => true,
            State::Old(stream) => !stream.waits_for_values(),
            State::Ready => !source.asked.is_empty(),
        };
        !self.sources.values().any(on_the_way)
            && (self.candidates.is_empty() || self.sources.len() >= max)
            && self.listing.is_none()
            && !self.can_check()
            && !self.swarm.is_complete()
    }

    /// Claimed pieces are compared now, or can be: their values are here. Without values somebody has to be found who gives them.
    fn can_check(&self) -> bool {
        let Some(part) = &self.part else { return false };
        let next = self.group_pieces().and_then(|group| part.wants_checked(group));
        part.is_checking() || next.is_some_and(|piece| self.list.expected(piece).is_some())
    }
}
