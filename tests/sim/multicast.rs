//! Groups: what one member of a segment sends reaches every member of it, its sender included, each copy with its own
//! delay and its own misfortunes.

use crate::ids::{HostId, LanId, Owner};
use crate::net::Net;
use crate::queue::{Event, Queue};
use crate::topology::at;
use distrishare::machine::Fault;
use std::net::{Ipv4Addr, SocketAddr};

/// What a datagram to a group reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Segment {
    Lan(LanId),
    /// Inside one host.
    Loopback(HostId),
}

impl Net {
    pub(crate) fn join(&mut self, owner: Owner, host: HostId, interface: u32) -> Result<(), Fault> {
        let iface = self.topology.iface(host, interface).filter(|i| i.up).ok_or(Fault::Os(19))?;
        let segment = iface.lan.map_or(Segment::Loopback(host), Segment::Lan);
        if self.dice.falls("udp.join", self.udp.join) {
            return Err(Fault::NoMemory);
        }
        self.members.entry(segment).or_default().insert((owner, host, interface));
        Ok(())
    }

    pub(crate) fn leave(&mut self, owner: Owner, interface: Option<u32>) {
        for members in self.members.values_mut() {
            members.retain(|member| member.0 != owner || interface.is_some_and(|i| i != member.2));
        }
    }

    /// An interface went away, and with it what was joined on it.
    pub(crate) fn forget_interface(&mut self, host: HostId, interface: u32) {
        for members in self.members.values_mut() {
            members.retain(|member| (member.1, member.2) != (host, interface));
        }
    }

    /// Sends to the group from an address of an interface. Lost without a word if that cannot be.
    pub(crate) fn multicast(
        &mut self,
        now: u64,
        queue: &mut Queue,
        host: HostId,
        interface: u32,
        from: (Ipv4Addr, u16),
        bytes: &[u8],
    ) {
        let found = self.topology.iface(host, interface);
        let Some(iface) = found.filter(|i| i.up && i.addr == from.0) else { return };
        if !self.topology.host(host).up {
            return;
        }
        let segment = iface.lan.map_or(Segment::Loopback(host), Segment::Lan);
        self.datagrams += 1;
        self.spread(now, queue, Some(host), segment, at(from.0, from.1), bytes);
    }

    /// A datagram with any source whatever reaches a segment. `host`: whose it is, if anybody's.
    pub(crate) fn spread(
        &mut self,
        now: u64,
        queue: &mut Queue,
        host: Option<HostId>,
        segment: Segment,
        from: SocketAddr,
        bytes: &[u8],
    ) {
        // Taken out and put back: the copies draw from the same network.
        let Some(members) = self.members.remove(&segment) else { return };
        let mut copies = Vec::with_capacity(members.len());
        for &(owner, there, _) in &members {
            let cut = host.is_some_and(|host| !self.topology.hears(host, there));
            if cut || !self.topology.host(there).up || self.dice.falls("udp.loss", self.udp.loss) {
                continue;
            }
            let times = 1 + u32::from(self.dice.falls("udp.duplicate", self.udp.duplicate));
            for _ in 0..times {
                let due = now + self.delay(host == Some(there));
                match self.damage(bytes) {
                    None => copies.push((due, owner)),
                    Some(bytes) => {
                        queue.push(due, Event::Datagram { from, bytes, copies: vec![(due, owner)] });
                    }
                }
            }
        }
        self.members.insert(segment, members);
        copies.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(&(first, _)) = copies.last() {
            queue.push(first, Event::Datagram { from, bytes: bytes.to_vec(), copies });
        }
    }

    /// How long one copy takes.
    fn delay(&mut self, own: bool) -> u64 {
        let usual = if own { self.udp_rng.between(5, 30) } else { self.udp_rng.between(50, 500) };
        if self.dice.falls("udp.reorder", self.udp.reorder) {
            return usual + self.dice.of("udp.reorder").between(1_000, 1_000_000);
        }
        usual
    }

    /// What becomes of a copy that is not left as it was.
    fn damage(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut damaged = None;
        if self.dice.falls("udp.truncate", self.udp.truncate) {
            let len = self.dice.of("udp.truncate").below(bytes.len() as u64 + 1) as usize;
            damaged = Some(bytes[..len].to_vec());
        }
        if self.dice.falls("udp.corrupt", self.udp.corrupt) {
            let mut bytes = damaged.unwrap_or_else(|| bytes.to_vec());
            let rng = self.dice.of("udp.corrupt");
            let place = rng.below(bytes.len() as u64) as usize;
            let bit = 1 << rng.below(8);
            bytes.get_mut(place).into_iter().for_each(|byte| *byte ^= bit);
            damaged = Some(bytes);
        }
        damaged
    }
}
