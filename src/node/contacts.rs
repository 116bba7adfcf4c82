//! Contacts: the nodes known, and how freely each of their addresses may be dialled. Dialling itself is not done here.

pub(crate) mod address_book;
pub(crate) mod dialer;

use crate::config::Limits;
use crate::node::sessions::outcome::{Class, Remote};
use crate::proto::address::{Here, Learned, admit, is_local_net};
use crate::proto::v2::identity::NodeId;
use crate::time::Instant;
use address_book::{AddressBook, Via};
use dialer::Dialer;
use log::debug;
use std::net::SocketAddr;

/// Who is known, and the dials to them that wait or are in flight.
#[derive(Debug)]
pub(crate) struct Contacts {
    pub(crate) book: AddressBook,
    pub(crate) dialer: Dialer,
}

impl Contacts {
    /// Nobody is known.
    pub(crate) fn new(limits: &Limits) -> Contacts {
        Contacts { book: AddressBook::new(limits), dialer: Dialer::new(limits) }
    }

    /// A dial of ours met `id` at `addr`.
    pub(crate) fn met(&mut self, addr: SocketAddr, id: NodeId, now: Instant) {
        self.book.learn(addr, Via::Dial, now);
        self.book.met(addr, id, now);
        self.dialer.forgive(addr);
    }

    /// Where the node of a session can be dialled: where it was met, or else where it says.
    pub(crate) fn listens_at(&self, remote: &Remote) -> Option<SocketAddr> {
        self.book.best(remote.node?).or(remote.listens)
    }

    /// Where the node of a session, or of a dial, can be reached again.
    pub(crate) fn addr_of(&self, remote: &Remote) -> SocketAddr {
        if remote.dialled { remote.peer } else { self.listens_at(remote).unwrap_or(remote.peer) }
    }

    /// How freely `addr`, of a node we know, may be dialled; `None`: not at all at the moment. Interfaces come and go:
    /// what was another's address when it was learned may be ours, or a network's, by now.
    pub(crate) fn class_of(&self, now: Instant, addr: SocketAddr, here: &Here<'_>) -> Option<Class> {
        let node = self.book.get(addr);
        let typed = node.is_some_and(|node| node.typed);
        let learned = if typed { Learned::Operator } else { Learned::Observed };
        if let Err(refused) = admit(addr, learned, here) {
            debug!("{addr} is not dialled: {refused}");
            return None;
        }
        let proven = node.is_some_and(|node| node.proven);
        if proven || is_local_net(addr.ip(), here) {
            return Some(Class::Near);
        }
        (!self.dialer.in_backoff(addr, now)).then_some(Class::Far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Interface;
    use crate::time::Duration;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn interface(addr: [u8; 4]) -> Interface {
        Interface { index: 1, name: "eth0".to_owned(), addr: addr.into(), prefix: 24, multicast: true }
    }

    #[test]
    fn who_is_near_is_dialled_freely_and_a_stranger_that_fails_is_left_alone() {
        let mut contacts = Contacts::new(&Limits::desktop());
        let own = interface([10, 0, 0, 1]);
        let here = Here { interfaces: &[own], listen: addr("0.0.0.0:9000") };
        let (ours, stranger) = (addr("10.0.0.7:9000"), addr("8.8.4.4:9000"));
        let now = Instant::ZERO;
        assert_eq!(contacts.class_of(now, ours, &here), Some(Class::Near));
        assert_eq!(contacts.class_of(now, stranger, &here), Some(Class::Far));
        assert_eq!(contacts.class_of(now, addr("10.0.0.1:9000"), &here), None, "that is this node");
        assert_eq!(contacts.class_of(now, addr("224.0.0.1:9000"), &here), None, "no host's address");

        contacts.dialer.penalise(stranger, Class::Far, now);
        assert_eq!(contacts.class_of(now, stranger, &here), None);
        assert_eq!(contacts.class_of(now + Duration::from_secs(30), stranger, &here), Some(Class::Far));
        // Met there: a node like others, whatever failed before.
        contacts.met(stranger, NodeId::from_bytes([1; 32]), now);
        assert_eq!(contacts.class_of(now, stranger, &here), Some(Class::Near));
        assert!(!contacts.dialer.in_backoff(stranger, now));
    }

    #[test]
    fn an_address_that_became_ours_is_not_dialled_though_it_was_met() {
        let mut contacts = Contacts::new(&Limits::desktop());
        let (at, listen) = (addr("10.0.0.7:9000"), addr("0.0.0.0:9000"));
        contacts.met(at, NodeId::from_bytes([1; 32]), Instant::ZERO);
        let before = Here { interfaces: &[], listen };
        assert_eq!(contacts.class_of(Instant::ZERO, at, &before), Some(Class::Near));
        let moved = interface([10, 0, 0, 7]);
        let after = Here { interfaces: &[moved], listen };
        assert_eq!(contacts.class_of(Instant::ZERO, at, &after), None);
    }
}
