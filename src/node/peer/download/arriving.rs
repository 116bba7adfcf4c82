//! Answers to a download: what sources have, values of pieces, bytes, refusals.

use super::Who;
use super::sources::{STRIKES_MAX, State};
use crate::machine::{Body, ConnId};
use crate::node::api::{Code, Failure};
use crate::node::ids::TransferId;
use crate::node::peer::Peer;
use crate::node::peer::pending::Pending;
use crate::node::sessions::session::Storing;
use crate::node::swarm::{Came, SourceNo};
use crate::proto::content::{PIECE, VALUE, Want};
use crate::proto::escape::{cut, for_terminal};
use crate::proto::v2::message::{self, TEXT_MAX};
use crate::time::Instant;
use std::ops::Range;

impl Peer {
    /// A source tells what it has.
    pub(in crate::node::peer) fn have_came(
        &mut self,
        now: Instant,
        conn: ConnId,
        (id, no): (TransferId, SourceNo),
        number: u32,
        (all, map, pieces): (bool, &[u8], &[u64]),
    ) {
        let Some(download) = self.download_mut(id) else { return };
        let Some(source) = download.sources.get_mut(&no).filter(|source| source.follow == Some(number))
        else {
            return self.unsolicited(now, conn, number);
        };
        let group = source.group;
        // Whoever turned out to have all of it says so in its own words now.
        (source.all, source.no_values) = (all, false);
        if all {
            download.swarm.has_all(no);
        } else if pieces.is_empty() {
            download.swarm.has_pieces(no, group, map);
        }
        for &piece in pieces {
            download.swarm.has_piece(no, piece);
        }
        if let State::Following(_) = source.state {
            source.state = State::Ready;
        }
        self.drive_download(now, id);
    }

    /// Values of pieces came, in one part or in several.
    pub(in crate::node::peer) fn values_came(
        &mut self,
        now: Instant,
        (conn, request): (ConnId, Pending),
        number: u32,
        first: u64,
        bytes: &[u8],
    ) {
        let Pending::Source(id, no) = request else {
            return self.unsolicited(now, conn, number);
        };
        let due = now + self.config.limits.first_byte_deadline;
        let Some(download) = self.download_mut(id) else { return };
        let Some(listing) = download.listing.as_mut().filter(|listing| listing.number == number) else {
            return self.unsolicited(now, conn, number);
        };
        let want = listing.want;
        let n = bytes.len() as u64 / VALUE as u64;
        if first != want.first || n > u64::from(want.count) {
            return self.lists_wrong(now, id, no, "its list of pieces is out of order");
        }
        let accepted = download.list.accept(want.span, first, bytes);
        listing.want = Want { first: first + n, count: want.count.saturating_sub(n as u32), ..want };
        listing.due = due;
        let left = listing.want.count;
        match accepted {
            Ok(()) if left > 0 => {}
            Ok(()) => {
                download.listing = None;
                if let Some(source) = download.sources.get_mut(&no) {
                    source.backoff.reset();
                }
                self.sessions.answered(conn, number);
                self.resume_streams(id);
                self.drive_download(now, id);
            }
            Err(error) => {
                log::debug!("{conn:?}: {error}");
                self.lists_wrong(now, id, no, "its list of pieces is not that of the file");
            }
        }
    }

    fn lists_wrong(&mut self, now: Instant, id: TransferId, no: SourceNo, what: &str) {
        self.ban_source(now, id, no, 0, what);
    }

    /// Bytes came: they are hashed, and the driver stores them. `range` is where they stand for it.
    pub(in crate::node::peer) fn data_came(
        &mut self,
        now: Instant,
        (conn, request): (ConnId, Pending),
        (number, offset): (u32, u64),
        bytes: &[u8],
        range: Range<usize>,
    ) -> Option<Body> {
        let Pending::Source(id, no) = request else {
            self.unsolicited(now, conn, number);
            return None;
        };
        let download = self.download_mut(id)?;
        let file = download.content?;
        let end = offset.saturating_add(bytes.len() as u64);
        let source = download.sources.get_mut(&no)?;
        let asked = source.asked.front().is_some_and(|(first, block)| {
            *first == number && offset >= block.offset && end <= block.offset + block.len
        });
        // The values of everything that is asked for are here.
        let expected = download.list.expected(offset / PIECE)?;
        let came =
            if asked { download.swarm.data(now, no, offset, bytes, &expected) } else { Came::Unwanted };
        if came == Came::Unwanted {
            self.ban_source(now, id, no, 0, "it sends other bytes than were asked for");
            return None;
        }
        let whole = source.asked.front().is_some_and(|(_, block)| end == block.offset + block.len);
        if whole {
            let len = source.asked.pop_front().map_or(0, |(_, block)| block.len);
            source.backoff.reset();
            source.lates = 0;
            self.sessions.answered(conn, number);
            if let Some(session) = self.sessions.get_mut(conn) {
                session.asked_bytes = session.asked_bytes.saturating_sub(len);
            }
        }
        let piece = self.piece_came(now, id, no, came)?;
        if whole {
            self.drive_throttled(now, id);
        }
        self.ask_blocks(now, id, no);
        if let Some(session) = self.sessions.get_mut(conn) {
            session.storing = Some(Storing { transfer: id, piece, len: bytes.len() });
        }
        self.download_mut(id)?.storing = bytes.len();
        Some(Body { file, offset, range })
    }

    /// What became of a piece by these bytes: `None`, they are not to be stored; else the piece that is whole once they are.
    pub(super) fn piece_came(
        &mut self,
        now: Instant,
        id: TransferId,
        no: SourceNo,
        came: Came,
    ) -> Option<Option<u64>> {
        match came {
            Came::Unwanted => None,
            Came::Part => Some(None),
            Came::Right(piece) => {
                let who = self.source_mut(id, no).and_then(|source| {
                    source.losses = 0;
                    source.who
                });
                if let (Some(download), Some(who)) = (self.download_mut(id), who) {
                    download.gave.insert(who);
                }
                if let Some(Who::Old(addr)) = who {
                    self.contacts.book.prove(addr, now);
                }
                Some(Some(piece))
            }
            Came::Wrong { piece, .. } => {
                log::debug!("piece {piece} of {:?} is wrong", self.fetch_name(id));
                let strikes = self.strike(id, no);
                if strikes >= STRIKES_MAX {
                    self.ban_source(now, id, no, strikes, "it sends wrong bytes");
                } else {
                    self.struck(now, id, no, strikes);
                }
                None
            }
        }
    }

    /// Wrong pieces of whoever that source is, over all its sessions.
    fn strike(&mut self, id: TransferId, no: SourceNo) -> u32 {
        let who = self.source_mut(id, no).and_then(|source| source.who);
        let (Some(download), Some(who)) = (self.download_mut(id), who) else { return STRIKES_MAX };
        let strikes = download.strikes.entry(who).or_default();
        *strikes += 1;
        *strikes
    }

    /// A source sent a wrong piece, not yet for the last time.
    fn struck(&mut self, now: Instant, id: TransferId, no: SourceNo, strikes: u32) {
        if strikes == 1 {
            self.blame(now, id, no, strikes);
        }
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(source) = self.source_mut(id, no) else { return };
        let text =
            format!("{}: {} failed verification: it sends wrong bytes", source.addr, for_terminal(&name));
        if let Some(download) = self.download_mut(id) {
            download.failure = Some(Failure::new(Code::Verification, text));
        }
        self.drive_download(now, id);
    }

    /// Bytes handed over for storing are in the file.
    pub(in crate::node::peer) fn data_stored(&mut self, now: Instant, storing: Storing, n: usize) {
        let Storing { transfer: id, piece, len } = storing;
        self.totals.downloaded += n as u64;
        if let Some(transfer) = self.transfers.get_mut(id.0) {
            transfer.pace.add(now, n as u64);
        }
        let Some(download) = self.download_mut(id) else { return };
        download.storing = len.saturating_sub(n);
        let Some(part) = &mut download.part else { return };
        part.stored(now, n as u64);
        let Some(piece) = piece else { return };
        if n < len {
            // The rest could not be stored; the disk says why in a moment.
            return download.swarm.lose(piece);
        }
        part.verified(now, piece);
        download.swarm.stored(piece);
        download.fresh.push(piece);
        self.tell_followers_soon(now);
        self.drive_part(now, id);
        self.drive_download(now, id);
    }

    /// The group that is fetched is another one: what sources have of it is to be known.
    pub(super) fn follow_anew(&mut self, now: Instant, id: TransferId) {
        let Some(download) = self.download_mut(id) else { return };
        let group = download.swarm.group();
        if group == download.followed {
            return;
        }
        download.followed = group;
        download.sources.values_mut().for_each(|source| source.no_values = false);
        let old =
            |source: &super::Source| !source.all && source.follow.is_some() && Some(source.group) != group;
        let all: Vec<SourceNo> =
            download.sources.iter().filter(|(_, source)| old(source)).map(|(no, _)| *no).collect();
        for no in all {
            self.follow(now, id, no);
        }
    }

    /// A source refused a request.
    pub(in crate::node::peer) fn source_refused(
        &mut self,
        now: Instant,
        (id, no): (TransferId, SourceNo),
        number: u32,
        code: message::Code,
        text: &str,
    ) {
        let Some(download) = self.download_mut(id) else { return };
        let Some(source) = download.sources.get_mut(&no) else { return };
        let (addr, follow) = (source.addr, source.follow == Some(number));
        let listing = download.listing.is_some_and(|listing| listing.number == number);
        let block = source.asked.iter().find(|(asked, _)| *asked == number).map(|(_, block)| *block);
        match code {
            message::Code::Busy | message::Code::Limit if !follow => {
                self.busy_source(now, id, no, number, text);
            }
            message::Code::Gone if listing => {
                source.no_values = true;
                download.listing = None;
                download.list.restart();
            }
            // It has no room for followers; what it has was said before.
            message::Code::Busy | message::Code::Limit if source.all => source.follow = None,
            message::Code::Busy | message::Code::Limit => {
                source.follow = None;
                let failure = Failure::new(Code::Refused, format!("{addr} has too much to do"));
                self.lose_source(now, id, no, Some(addr), failure);
            }
            message::Code::Gone if block.is_some() && !source.all => {
                let piece = offset_piece(block.map_or(0, |block| block.offset));
                download.swarm.lacks(now, no, piece);
                self.take_back(now, id, no, |asked| asked.piece == piece);
            }
            code => {
                if follow {
                    source.follow = None;
                }
                let words = for_terminal(cut(text, TEXT_MAX));
                let code = if code == message::Code::Gone { Code::NotFound } else { Code::Refused };
                let failure = Failure::new(code, format!("{addr} refused: {words}"));
                self.lose_source(now, id, no, None, failure);
            }
        }
        self.drive_download(now, id);
    }
}

fn offset_piece(offset: u64) -> u64 {
    offset / PIECE
}
