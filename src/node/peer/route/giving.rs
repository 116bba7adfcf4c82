//! Between sessions and what is given on them to other nodes.

use crate::machine::{ConnId, FileId};
use crate::node::cx::Cx;
use crate::node::index::port::Port;
use crate::node::peer::transfers::Transfer;
use crate::node::peer::{Peer, Timer};
use crate::node::sessions::outcome::CloseReason;
use crate::node::table::Table;
use crate::node::uploads::{Event, Link, Partial, Uploads};
use crate::proto::content::{Root, groups};
use crate::proto::v2::message::{DATA_HEAD, DataKind, Message};
use crate::time::{Duration, Instant};
use std::net::SocketAddr;

/// Pieces are told together that were verified within this.
const TOGETHER: Duration = Duration::from_millis(20);
/// Addresses in one message.
const PEERS_TOLD: usize = 16;

impl Peer {
    /// What is given to others, with what it is lent.
    pub(in crate::node::peer) fn giving(&mut self, now: Instant) -> (&mut Uploads, Cx<'_>, &mut Port) {
        let Peer { config, files, requests, numbers, outputs, uploads, shared, .. } = self;
        let cx = Cx { now, limits: &config.limits, files, requests, numbers, out: outputs };
        (uploads, cx, shared)
    }

    /// A request of the other side's.
    pub(in crate::node::peer) fn asked_of_us(&mut self, now: Instant, conn: ConnId, request: Message) {
        let addr = self.addr_of(conn);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.used = now;
        let link = Link { conn, peer: session.peer, addr, node: session.node(), run: session.run() };
        let Peer { config, files, requests, numbers, outputs, uploads, shared, transfers, .. } = self;
        let mut cx = Cx { now, limits: &config.limits, files, requests, numbers, out: outputs };
        let partial = partial(transfers, &request);
        uploads.request(&mut cx, shared, partial.as_ref(), &link, request);
        // At once: how much waits to be sent decides whether the next request is taken.
        self.uploads_events(now);
    }

    /// The file of a download cannot be read any more.
    pub(in crate::node::peer) fn stop_sending_from(&mut self, now: Instant, file: FileId) {
        let (uploads, mut cx, _) = self.giving(now);
        uploads.file_gone(&mut cx, file);
    }

    /// What there is to tell others, or to send.
    pub(in crate::node::peer) fn uploads_events(&mut self, now: Instant) {
        while let Some(event) = self.uploads.poll_event() {
            match event {
                Event::Tell { conn, message } => self.tell_node(now, conn, &message),
                Event::Values { conn, number, first, values } => {
                    let (sessions, mut cx) = self.talking(now);
                    sessions.tell_data(&mut cx, conn, DataKind::Values, (number, first), &values);
                }
                Event::Ranges { conn } => self.ranges_changed(now, conn),
                Event::Follows { conn, number, root } => {
                    self.introduce(now, &root, conn, number);
                    // Who fetches it too has something, or soon will.
                    if let Some(id) = self.download_of(&root) {
                        self.try_session(now, id, conn);
                    }
                }
                Event::Nonsense { conn } => {
                    let why = CloseReason::Protocol("a message that makes no sense here".to_owned());
                    self.session_quit(now, conn, &why);
                }
            }
        }
    }

    /// Tells more of what searches found, as far as there is room for it, where something was sent on `conn`.
    pub(in crate::node::peer) fn answer_more(&mut self, now: Instant, conn: ConnId) {
        for conn in self.uploads.searches.may_be_told(conn) {
            // Bounded: each takes files out of what was found.
            while self.sessions.may_answer(&self.config.limits, conn) {
                let Some(session) = self.sessions.get(conn) else { break };
                let max = session.run() + DATA_HEAD;
                let Some(files) = self.uploads.searches.answer(conn, max, self.shared.index()) else { break };
                self.tell_node(now, conn, &files);
            }
        }
    }

    /// Tells somebody who follows a file of the others who do, and them of him.
    fn introduce(&mut self, now: Instant, root: &Root, conn: ConnId, number: u32) {
        // Who takes nothing is told no more than fits.
        let max = self.config.limits.session_out_max / 2;
        let behind = |conn: ConnId| self.sessions.get(conn).is_some_and(|session| session.unsent() > max);
        // Nor is a node told of itself that has another session for a moment.
        let node = |conn: ConnId| self.sessions.get(conn).and_then(|session| session.node());
        let may = |other: ConnId| !behind(other) && node(other) != node(conn);
        let others = self.uploads.followers.beside(root, conn).filter(|(other, _)| may(*other));
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
    pub(in crate::node::peer) fn tell_followers_soon(&mut self, now: Instant) {
        self.timers.set_unless_armed(Timer::Have, now + TOGETHER, "pieces to tell of");
    }

    /// Tells those who follow what came since.
    pub(in crate::node::peer) fn tell_followers(&mut self, now: Instant) {
        for id in self.running_downloads() {
            let Some(download) = self.download_mut(id) else { continue };
            let (root, fresh) = (download.root, download.take_fresh());
            for (conn, have) in self.uploads.followers.news(&root, &fresh) {
                self.tell_node(now, conn, &have);
            }
        }
    }
}

/// What a download has of the content that a request names.
fn partial<'a>(transfers: &'a Table<Transfer>, request: &Message) -> Option<Partial<'a>> {
    let (root, range, group) = match request {
        Message::Get { root, offset, len, .. } => (root, Some(*offset..offset.saturating_add(*len)), None),
        Message::Follow { root, group, .. } => (root, None, Some(u64::from(*group))),
        Message::Values { root, .. } => (root, None, None),
        _ => return None,
    };
    let of = |transfer: &&Transfer| transfer.download().is_some_and(|download| download.root == *root);
    let transfer = transfers.iter().map(|(_, transfer)| transfer).find(of)?;
    let download = transfer.download()?;
    let group =
        group.filter(|group| download.is_running() && (*group == 0 || *group < groups(download.size)));
    Some(Partial {
        name: &transfer.name,
        size: download.size,
        list: &download.list,
        content: range.and_then(|range| download.offers(&range)),
        map: group.map(|group| download.map(group)),
    })
}
