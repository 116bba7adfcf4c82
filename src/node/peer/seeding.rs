//! What others fetch is shared among those who fetch it: a download tells what it has, and gives it; a finished one goes on
//! giving until the process ends; and all who follow the same file hear of each other.

use super::transfers::next_number;
use super::{Conn, Peer, Timer};
use crate::machine::{ConnId, Dir, FileId, Meta};
use crate::node::uploads::Receiver;
use crate::proto::content::{Root, Span, VALUE, ValueList, group_of, groups};
use crate::proto::v2::message::{Code, DataKind, Message};
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// Pieces are told together that were verified within this.
const TOGETHER: Duration = Duration::from_millis(20);
/// Piece numbers in one message.
const PIECES_TOLD: usize = 256;
/// Addresses in one message.
const PEERS_TOLD: usize = 16;
/// Files that one session follows, and followers of all sessions.
const FOLLOWS_MAX: usize = 64;
const FOLLOWERS_MAX: usize = 4096;

/// A finished download that is given on.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    pub(super) root: Root,
    pub(super) size: u64,
    /// Its name beneath the downloads.
    pub(super) name: String,
    /// What it was when it was verified.
    pub(super) meta: Meta,
    pub(super) list: ValueList,
}

/// Finished downloads, the oldest first, and who wants to hear of which file.
#[derive(Debug, Default)]
pub(super) struct Seeding {
    seeds: VecDeque<Seed>,
    followers: BTreeMap<Root, Vec<Follower>>,
}

impl Seeding {
    /// Whether this session wants to hear of something.
    pub(super) fn is_followed_by(&self, conn: ConnId) -> bool {
        self.followers.values().flatten().any(|follower| follower.conn == conn)
    }
}

/// A session that wants to hear of a file.
#[derive(Clone, Copy, Debug)]
struct Follower {
    conn: ConnId,
    number: u32,
    group: u64,
    /// It knows that we have everything.
    told_all: bool,
}

/// Where bytes of a file can be read.
pub(super) enum Place {
    /// In an open file.
    Open(FileId),
    /// In a file to be opened, which must still be this.
    Closed { dir: Dir, name: String, meta: Meta },
}

impl Peer {
    pub(super) fn add_seed(&mut self, now: Instant, seed: Seed) {
        let root = seed.root;
        let seeds = &mut self.seeding.seeds;
        seeds.retain(|other| other.root != root);
        while seeds.len() >= self.config.limits.swarm.seeds.max(1) {
            seeds.pop_front();
        }
        seeds.push_back(seed);
        self.tell_all(now, &root);
    }

    pub(super) fn seed(&self, root: &Root) -> Option<&Seed> {
        self.seeding.seeds.iter().find(|seed| seed.root == *root)
    }

    /// It is not what it was, or not there.
    pub(super) fn drop_seed(&mut self, root: &Root) {
        self.seeding.seeds.retain(|seed| seed.root != *root);
    }

    /// The size of a file some of which can be given, and where these bytes of it are; none: not here.
    pub(super) fn place_of(&self, root: &Root, range: &std::ops::Range<u64>) -> Option<(u64, Place)> {
        if let Some(view) = self.shared.index().by_root(root) {
            let (name, meta) = (view.name.to_owned(), view.meta);
            return Some((meta.size, Place::Closed { dir: Dir::Shared, name, meta }));
        }
        if let Some(Seed { size, name, meta, .. }) = self.seed(root) {
            return Some((*size, Place::Closed { dir: Dir::Downloads, name: name.clone(), meta: *meta }));
        }
        let download = self.download_of(root).and_then(|id| self.transfers.get(id.0)?.download())?;
        Some((download.size, Place::Open(download.offers(range)?)))
    }

    /// Whether bytes of this file are given to who asks for them. They are listed as an upload from now on.
    pub(super) fn may_give(&mut self, now: Instant, conn: ConnId, root: &Root, size: u64) -> bool {
        let key = (conn, Some(*root));
        if let Some(may) = self.uploads.asked_again(now, key) {
            return may;
        }
        let named = self.shared.index().by_root(root).map(|view| view.name.to_owned());
        let named = named.or_else(|| Some(self.seed(root)?.name.clone()));
        let named = named.or_else(|| self.fetch_name(self.download_of(root)?).map(str::to_owned));
        let to = Receiver { addr: self.addr_of(conn), id: self.session_mut(conn).and_then(|s| s.node()) };
        let number = next_number(&mut self.last_transfer);
        let may = self.uploads.begin(now, key, number, (named.unwrap_or_default(), size, to));
        self.watch_uploads();
        may
    }

    /// Uploads end by themselves where nothing is asked for.
    pub(super) fn watch_uploads(&mut self) {
        if let Some(due) = self.uploads.poll_timeout() {
            self.timers.set_unless_armed(Timer::Uploads, due, "quiet uploads");
        }
    }

    /// Values of pieces of a file that is not in the index, if they are at hand.
    pub(super) fn values_at_hand(&self, root: &Root, span: Span, first: u64, count: u64) -> Option<Vec<u8>> {
        let download = || self.download_of(root).and_then(|id| self.transfers.get(id.0)?.download());
        let list =
            self.seed(root).map(|seed| &seed.list).or_else(|| download().map(|download| &download.list))?;
        list.values(span, first, count)
    }

    /// Sends values that are held in memory.
    pub(super) fn send_values(&mut self, now: Instant, conn: ConnId, number: u32, first: u64, bytes: &[u8]) {
        let run = match self.conns.get(conn.0) {
            Some(Conn::Session(session)) => session.run() / VALUE * VALUE,
            _ => return,
        };
        for (n, part) in bytes.chunks(run.max(VALUE)).enumerate() {
            let first = first + (n * run / VALUE) as u64;
            self.tell_data(now, conn, DataKind::Values, (number, first), part);
        }
    }

    /// Bytes of a file of which something is here.
    fn size_of(&self, root: &Root) -> Option<u64> {
        let shared = self.shared.index().by_root(root).map(|view| view.meta.size);
        let download = || self.transfers.get(self.download_of(root)?.0)?.download();
        shared.or_else(|| Some(self.seed(root)?.size)).or_else(|| Some(download()?.size))
    }

    /// Somebody wants to know what we have of a file.
    pub(super) fn follow_for(&mut self, now: Instant, conn: ConnId, number: u32, root: Root, group: u64) {
        if self.size_of(&root).is_some_and(|size| group > 0 && group >= groups(size)) {
            return self.refuse(now, conn, number, Code::Bad, "the file has no such group");
        }
        let all = self.shared.index().by_root(&root).is_some() || self.seed(&root).is_some();
        let download = self.download_of(&root);
        let running = download
            .and_then(|id| self.transfers.get(id.0)?.download())
            .filter(|download| download.is_running())
            .map(|download| download.map(group));
        let have = match (all, running) {
            (true, _) => Message::Have { id: number, all: true, map: Vec::new(), pieces: Vec::new() },
            (false, Some(map)) => Message::Have { id: number, all: false, map, pieces: Vec::new() },
            (false, None) => {
                let text = "no file of that root is shared here";
                return self.refuse(now, conn, number, Code::Gone, text);
            }
        };
        // Whoever follows it already moves on to another group.
        if let Some(followers) = self.seeding.followers.get_mut(&root) {
            followers.retain(|follower| follower.conn != conn);
        }
        let everybody: usize = self.seeding.followers.values().map(Vec::len).sum();
        let theirs = self.seeding.followers.values().flatten().filter(|other| other.conn == conn).count();
        if everybody >= FOLLOWERS_MAX || theirs >= FOLLOWS_MAX {
            return self.refuse(now, conn, number, Code::Limit, "too many files are followed");
        }
        self.tell_node(now, conn, &have);
        self.introduce(now, &root, conn, number);
        let follower = Follower { conn, number, group, told_all: all };
        self.seeding.followers.entry(root).or_default().push(follower);
        // Who fetches it too has something, or soon will.
        if let Some(id) = download {
            self.try_session(now, id, conn);
        }
    }

    /// Tells somebody who follows a file of the others who do, and them of him.
    fn introduce(&mut self, now: Instant, root: &Root, conn: ConnId, number: u32) {
        let mut others: Vec<Follower> = self.seeding.followers.get(root).cloned().unwrap_or_default();
        // Who takes nothing is told no more than fits.
        let max = self.config.limits.session_out_max / 2;
        let behind =
            |conn: ConnId| matches!(self.conns.get(conn.0), Some(Conn::Session(s)) if s.unsent() > max);
        others.retain(|other| other.conn != conn && !behind(other.conn));
        // The last ones are the likeliest to be there still.
        let others: Vec<Follower> = others.into_iter().rev().take(PEERS_TOLD).collect();
        let nodes: Vec<SocketAddr> = others.iter().filter_map(|other| self.listens_at(other.conn)).collect();
        if !nodes.is_empty() {
            self.tell_node(now, conn, &Message::Peers { id: number, nodes });
        }
        let Some(addr) = self.listens_at(conn) else { return };
        for Follower { conn, number, .. } in others {
            self.tell_node(now, conn, &Message::Peers { id: number, nodes: vec![addr] });
        }
    }

    /// A follow is taken back.
    pub(super) fn unfollow(&mut self, conn: ConnId, number: u32) {
        self.retain_followers(|follower| follower.conn != conn || follower.number != number);
    }

    /// The session is over.
    pub(super) fn unfollow_all(&mut self, conn: ConnId) {
        self.retain_followers(|follower| follower.conn != conn);
    }

    fn retain_followers(&mut self, keep: impl Fn(&Follower) -> bool) {
        self.seeding.followers.retain(|_, followers| {
            followers.retain(&keep);
            !followers.is_empty()
        });
    }

    /// There are pieces that others do not know of.
    pub(super) fn tell_followers_soon(&mut self, now: Instant) {
        self.timers.set_unless_armed(Timer::Have, now + TOGETHER, "pieces to tell of");
    }

    /// Tells those who follow what came since.
    pub(super) fn tell_followers(&mut self, now: Instant) {
        for id in self.running_downloads() {
            let Some(download) = self.download_mut(id) else { continue };
            let (root, fresh) = (download.root, download.take_fresh());
            let followers = self.seeding.followers.get(&root).cloned().unwrap_or_default();
            for Follower { conn, number, group, .. } in followers {
                let pieces: Vec<u64> =
                    fresh.iter().copied().filter(|piece| group_of(*piece) == group).collect();
                for pieces in pieces.chunks(PIECES_TOLD) {
                    let (map, pieces) = (Vec::new(), pieces.to_vec());
                    self.tell_node(now, conn, &Message::Have { id: number, all: false, map, pieces });
                }
            }
        }
    }

    /// All of it is here now.
    fn tell_all(&mut self, now: Instant, root: &Root) {
        let mut fresh = Vec::new();
        for follower in self.seeding.followers.get_mut(root).into_iter().flatten() {
            if !std::mem::replace(&mut follower.told_all, true) {
                fresh.push((follower.conn, follower.number));
            }
        }
        for (conn, id) in fresh {
            let have = Message::Have { id, all: true, map: Vec::new(), pieces: Vec::new() };
            self.tell_node(now, conn, &have);
        }
    }
}
