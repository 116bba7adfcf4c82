//! Nodes with this node's own key: copies of its state folder somewhere else. Each of them takes the other for itself, and neither
//! sees the other's files. By multicast they say so; where a dial meets one, it has proved it.

use crate::proto::v2::announcement::Announcement;
use crate::time::{Duration, Instant};
use log::warn;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Addresses that are named in the log: in an open network anybody can say that he has our key.
const NAMED_MAX: usize = 8;
/// One that was met is shown for so long: it is dialled again before, if somebody names it and anything is searched.
const MET_LASTS: Duration = Duration::from_secs(600);

/// Who has it.
#[derive(Debug, Default)]
pub(crate) struct Clones {
    named: BTreeSet<SocketAddr>,
    /// The last one, and until when it counts.
    last: Option<(SocketAddr, Instant)>,
}

impl Clones {
    /// The last one, unless that is too long ago.
    pub(crate) fn now(&self, now: Instant) -> Option<SocketAddr> {
        let (addr, until) = self.last?;
        (now < until).then_some(addr)
    }

    /// An announcement with our own id that another run of a node made: it came from `source` and counts until `until`. `here`: where
    /// this node listens. Whether it is one that was not named before.
    pub(crate) fn heard(
        &mut self,
        until: Instant,
        source: IpAddr,
        member: &Announcement,
        here: (&[Ipv4Addr], u16),
    ) -> bool {
        let (own, port) = here;
        let said = member.addr;
        // Where we listen ourselves nobody else does: that is a word of an earlier run of ours, or of a liar.
        let ours = said.port() == port && own.contains(said.ip());
        let neighbour = source.is_loopback() && own.contains(said.ip());
        if ours || source != IpAddr::V4(*said.ip()) && !neighbour {
            return false;
        }
        let said = SocketAddr::V4(said);
        if member.goodbye {
            self.last = self.last.filter(|(addr, _)| *addr != said);
            return false;
        }
        self.seen(said, until, ", as it says")
    }

    /// A dial met one.
    pub(crate) fn met(&mut self, now: Instant, addr: SocketAddr) {
        self.seen(addr, now + MET_LASTS, "");
    }

    fn seen(&mut self, addr: SocketAddr, until: Instant, how: &str) -> bool {
        if self.last.is_none_or(|(last, lasts)| last != addr || lasts < until) {
            self.last = Some((addr, until));
        }
        let new = self.named.len() < NAMED_MAX && self.named.insert(addr);
        if new {
            warn!(
                "{addr} has this node's own key{how}: is one state folder a copy of the other? The two do not see each \
                 other's files. Stop one of them, give it a key of its own with `ds-peer identity new`, and start it again"
            );
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v2::identity::NodeId;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn says(addr: &str, goodbye: bool) -> Announcement {
        let addr = addr.parse().expect("an address");
        Announcement { goodbye, instance: 7, sequence: 1, node: NodeId::from_bytes([5; 32]), addr }
    }

    fn heard(clones: &mut Clones, source: &str, member: &Announcement) -> bool {
        clones.heard(at(15), source.parse().expect("an address"), member, (&[OWN], 9000))
    }

    #[test]
    fn one_is_named_once_and_shown_until_it_is_silent_or_leaves() {
        let mut clones = Clones::default();
        let clone = says("10.0.0.2:9000", false);
        assert!(heard(&mut clones, "10.0.0.2", &clone) && !heard(&mut clones, "10.0.0.2", &clone));
        assert_eq!((clones.now(at(14)), clones.now(at(15))), (Some(clone.addr.into()), None));
        assert!(!heard(&mut clones, "10.0.0.2", &says("10.0.0.2:9000", true)));
        assert_eq!(clones.now(at(0)), None);
        // One that was met is shown for longer, whatever it says meanwhile.
        clones.met(at(0), clone.addr.into());
        heard(&mut clones, "10.0.0.2", &clone);
        assert_eq!((clones.now(at(599)), clones.now(at(600))), (Some(clone.addr.into()), None));
    }

    #[test]
    fn a_recording_and_a_word_of_an_earlier_run_are_none() {
        let mut clones = Clones::default();
        assert!(!heard(&mut clones, "10.0.0.9", &says("10.0.0.2:9000", false)), "sent from elsewhere");
        assert!(!heard(&mut clones, "10.0.0.1", &says("10.0.0.1:9000", false)), "where we listen");
        assert_eq!(clones.now(at(0)), None);
        assert!(heard(&mut clones, "127.0.0.1", &says("10.0.0.1:9001", false)), "another node of this host");
    }

    #[test]
    fn a_crowd_that_says_so_is_named_in_part() {
        let mut clones = Clones::default();
        let named = (0..100).filter(|i| {
            let ip = format!("10.0.1.{i}");
            heard(&mut clones, &ip, &says(&format!("{ip}:9000"), false))
        });
        assert_eq!(named.count(), NAMED_MAX);
        assert_eq!(clones.now(at(1)), Some("10.0.1.99:9000".parse().expect("an address")));
    }
}
