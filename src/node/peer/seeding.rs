//! What others fetch is shared among those who fetch it: a download tells what it has, and gives it; a finished one goes on
//! giving until the process ends; and all who follow the same file hear of each other.

use super::transfers::next_number;
use super::{Conn, Peer, Timer};
use crate::machine::{ConnId, Dir, FileId, Meta};
use crate::node::uploads::Receiver;
use crate::node::uploads::seeds::Seed;
use crate::proto::content::{Root, Span, VALUE, groups};
use crate::proto::v2::message::{Code, DataKind, Message};
use crate::time::{Duration, Instant};
use std::net::SocketAddr;

/// Pieces are told together that were verified within this.
const TOGETHER: Duration = Duration::from_millis(20);
/// Addresses in one message.
const PEERS_TOLD: usize = 16;

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
        self.seeds.add(seed);
        for (conn, have) in self.followers.all_is_here(&root) {
            self.tell_node(now, conn, &have);
        }
    }

    /// The size of a file some of which can be given, and where these bytes of it are; none: not here.
    pub(super) fn place_of(&self, root: &Root, range: &std::ops::Range<u64>) -> Option<(u64, Place)> {
        if let Some(view) = self.shared.index().by_root(root) {
            let (name, meta) = (view.name.to_owned(), view.meta);
            return Some((meta.size, Place::Closed { dir: Dir::Shared, name, meta }));
        }
        if let Some(Seed { size, name, meta, .. }) = self.seeds.get(root) {
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
        let named = named.or_else(|| Some(self.seeds.get(root)?.name.clone()));
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
        let list = self
            .seeds
            .get(root)
            .map(|seed| &seed.list)
            .or_else(|| download().map(|download| &download.list))?;
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
        shared.or_else(|| Some(self.seeds.get(root)?.size)).or_else(|| Some(download()?.size))
    }

    /// Somebody wants to know what we have of a file.
    pub(super) fn follow_for(&mut self, now: Instant, conn: ConnId, number: u32, root: Root, group: u64) {
        if self.size_of(&root).is_some_and(|size| group > 0 && group >= groups(size)) {
            return self.refuse(now, conn, number, Code::Bad, "the file has no such group");
        }
        let all = self.shared.index().by_root(&root).is_some() || self.seeds.get(&root).is_some();
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
        if !self.followers.add(root, conn, number, group, all) {
            return self.refuse(now, conn, number, Code::Limit, "too many files are followed");
        }
        self.tell_node(now, conn, &have);
        self.introduce(now, &root, conn, number);
        // Who fetches it too has something, or soon will.
        if let Some(id) = download {
            self.try_session(now, id, conn);
        }
    }

    /// Tells somebody who follows a file of the others who do, and them of him.
    fn introduce(&mut self, now: Instant, root: &Root, conn: ConnId, number: u32) {
        // Who takes nothing is told no more than fits.
        let max = self.config.limits.session_out_max / 2;
        let behind =
            |conn: ConnId| matches!(self.conns.get(conn.0), Some(Conn::Session(s)) if s.unsent() > max);
        let others = self.followers.beside(root, conn).filter(|(other, _)| !behind(*other));
        let others: Vec<(ConnId, u32)> = others.take(PEERS_TOLD).collect();
        let nodes: Vec<SocketAddr> = others.iter().filter_map(|(other, _)| self.listens_at(*other)).collect();
        if !nodes.is_empty() {
            self.tell_node(now, conn, &Message::Peers { id: number, nodes });
        }
        let Some(addr) = self.listens_at(conn) else { return };
        for (conn, number) in others {
            self.tell_node(now, conn, &Message::Peers { id: number, nodes: vec![addr] });
        }
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
            for (conn, have) in self.followers.news(&root, &fresh) {
                self.tell_node(now, conn, &have);
            }
        }
    }
}
