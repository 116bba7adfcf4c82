//! From the name of a file at one node to its content: the node is asked what it has under the name, again while it
//! hashes it. Where it speaks v1 only, the download goes on in v1.

use super::pending::Pending;
use super::transfers::{Phase, Transfer};
use super::{Peer, Timer};
use crate::machine::ConnId;
use crate::node::api::{Code, Failure};
use crate::node::backoff::Backoff;
use crate::node::ids::TransferId;
use crate::node::sessions::outcome::Class;
use crate::node::sessions::outcome::Unreached;
use crate::proto::escape::{cut, for_terminal};
use crate::proto::name::is_same;
use crate::proto::v2::message::{self, FileInfo, Message, TEXT_MAX};
use crate::time::{Duration, Instant};
use std::net::SocketAddr;

/// A node that still hashes the file is asked again after this, then after twice as long, and so on up to `HASHING_MAX`:
/// a small file is hashed at once.
const HASHING: Duration = Duration::from_millis(50);
const HASHING_MAX: Duration = Duration::from_secs(1);
/// A node that is lost so often is not asked again.
const LOSSES_MAX: u32 = 3;

/// A node is asked for the content of a name.
#[derive(Debug)]
pub(super) struct Naming {
    step: Step,
    conn: Option<ConnId>,
    number: Option<u32>,
    /// How long it has for hashing before it is asked again.
    pause: Duration,
    backoff: Backoff,
    losses: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A session is being made.
    Reaching,
    /// The question is out.
    Asking,
    /// It has not hashed it yet.
    Hashing,
    /// It has too much to do.
    Later,
}

impl Default for Naming {
    fn default() -> Naming {
        Naming {
            step: Step::Reaching,
            conn: None,
            number: None,
            pause: HASHING,
            backoff: Backoff::default(),
            losses: 0,
        }
    }
}

impl Naming {
    /// The node has the file and has not hashed it yet.
    pub(super) fn is_hashing(&self) -> bool {
        self.step == Step::Hashing
    }

    /// The session it waits on.
    pub(super) fn conn(&self) -> Option<ConnId> {
        self.conn
    }
}

impl Peer {
    pub(super) fn naming_start(&mut self, now: Instant, id: TransferId) {
        let Some(Transfer { from, typed, .. }) = self.transfers.get(id.0) else { return };
        let (from, typed) = (*from, *typed);
        let Some(naming) = self.naming_mut(id) else { return };
        naming.step = Step::Reaching;
        self.timers.cancel(Timer::Transfer(id));
        // What a search found is dialled as freely as its address allows; what the operator named, always.
        match self.contacts.class_of(now, from, &self.here()).or_else(|| typed.then_some(Class::Near)) {
            Some(class) => self.reach(now, from, class, Pending::Name(id)),
            None => {
                let text = format!("{from} is left alone for a while: the last dials came to nothing");
                self.fetch_failed(now, id, Failure::new(Code::Network, text));
            }
        }
    }

    /// A session with the node is open.
    pub(super) fn naming_on(&mut self, now: Instant, conn: ConnId, id: TransferId) {
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let answer = now + self.config.limits.first_byte_deadline;
        let Some(naming) = self.naming_mut(id) else { return };
        (naming.step, naming.conn) = (Step::Asking, Some(conn));
        let number = self.ask_node(now, conn, Pending::Name(id), |id| Message::Stat { id, name });
        if let Some(naming) = self.naming_mut(id) {
            naming.number = Some(number);
        }
        self.timers.set(Timer::Transfer(id), answer, "what it has");
    }

    /// What the node has under the name.
    pub(super) fn named(&mut self, now: Instant, id: TransferId, file: Option<FileInfo>) {
        let name = self.fetch_name(id).unwrap_or_default().to_owned();
        let Some(from) = self.transfers.get(id.0).map(|transfer| transfer.from) else { return };
        let Some(naming) = self.naming_mut(id) else { return };
        naming.number = None;
        naming.backoff.reset();
        match file.filter(|file| is_same(&file.name, &name)) {
            None => {
                let text = format!("{from} does not have {}", for_terminal(&name));
                self.fetch_failed(now, id, Failure::new(Code::NotFound, text));
            }
            Some(FileInfo { root: Some(root), size, .. }) => {
                self.timers.cancel(Timer::Transfer(id));
                self.content_known(now, id, root, size);
            }
            Some(_) => {
                naming.step = Step::Hashing;
                let due = now + naming.pause;
                naming.pause = (naming.pause * 2).min(HASHING_MAX);
                self.timers.set(Timer::Transfer(id), due, "the source hashes the file");
            }
        }
    }

    /// The node refused.
    pub(super) fn naming_refused(&mut self, now: Instant, id: TransferId, code: message::Code, text: &str) {
        let Some(from) = self.transfers.get(id.0).map(|transfer| transfer.from) else { return };
        let Some(naming) = self.naming_mut(id) else { return };
        naming.number = None;
        let later = matches!(code, message::Code::Busy | message::Code::Limit);
        if let Some(pause) = if later { naming.backoff.refused() } else { None } {
            naming.step = Step::Later;
            return self.timers.set(Timer::Transfer(id), now + pause, "the source has too much to do");
        }
        let code = if code == message::Code::Gone { Code::NotFound } else { Code::Refused };
        let text = format!("{from} refused: {}", for_terminal(cut(text, TEXT_MAX)));
        self.fetch_failed(now, id, Failure::new(code, text));
    }

    /// The node was not reached, or is lost.
    pub(super) fn naming_unreached(
        &mut self,
        now: Instant,
        id: TransferId,
        addr: SocketAddr,
        why: Unreached,
    ) {
        let falls_back = self.falls_back_at(addr, now);
        let Some(from) = self.transfers.get(id.0).map(|transfer| transfer.from) else { return };
        let failure = self.unreached_failure(from, why);
        let elsewhere = self.contacts.book.elsewhere(addr);
        let Some(naming) = self.naming_mut(id) else { return };
        (naming.conn, naming.number) = (None, None);
        if why == Unreached::Old && falls_back {
            return self.fetch_old(now, id);
        }
        let again = if matches!(why, Unreached::Lost(_)) { Some(addr) } else { elsewhere };
        match again.filter(|_| naming.losses < LOSSES_MAX) {
            Some(addr) => {
                naming.losses += 1;
                if let Some(transfer) = self.transfers.get_mut(id.0) {
                    transfer.from = addr;
                }
                self.naming_start(now, id);
            }
            None => self.fetch_failed(now, id, failure),
        }
    }

    pub(super) fn naming_timeout(&mut self, now: Instant, id: TransferId) {
        let Some(from) = self.transfers.get(id.0).map(|transfer| transfer.from) else { return };
        let Some(naming) = self.naming_mut(id) else { return };
        let (step, conn) = (naming.step, naming.conn);
        if matches!(step, Step::Hashing | Step::Later) {
            let open = conn.and_then(|conn| self.sessions.get_mut(conn)).is_some_and(|s| s.node().is_some());
            return match conn.filter(|_| open) {
                Some(conn) => self.naming_on(now, conn, id),
                None => self.naming_start(now, id),
            };
        }
        if let Some(conn) = conn {
            self.session_suspect(now, conn);
        }
        let text = format!("{from} did not answer in time");
        self.fetch_failed(now, id, Failure::new(Code::Timeout, text));
    }

    /// Takes the question back.
    pub(super) fn naming_let_go(&mut self, now: Instant, id: TransferId) {
        self.timers.cancel(Timer::Transfer(id));
        let Some(naming) = self.naming_mut(id) else { return };
        let Some(conn) = naming.conn.take() else { return };
        if let Some(number) = naming.number.take() {
            self.cancel_request(now, conn, number);
        }
    }

    pub(super) fn naming_mut(&mut self, id: TransferId) -> Option<&mut Naming> {
        match self.transfers.get_mut(id.0) {
            Some(Transfer { phase: Phase::Naming(naming), .. }) => Some(naming),
            _ => None,
        }
    }
}
