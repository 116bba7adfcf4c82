//! The three node lists of the original: all that are known, those of a registry, those heard on multicast.

use crate::config::Limits;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How a node came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// The operator typed its address.
    Operator,
    /// A registry named it.
    Registry,
    /// Its HELLO came from this source.
    Multicast(IpAddr),
}

/// A node of the lists.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Named by a registry.
    pub(super) registry: bool,
    /// Source of its last HELLO, and when that came; none once it said GOODBYE or fell silent.
    multicast: Option<(IpAddr, Instant)>,
    /// The operator typed its address.
    pub(super) typed: bool,
    /// It answered a search or sent a file once. Proven nodes are dialled freely and evicted last.
    pub(super) proven: bool,
    /// Last sign of it.
    seen: Instant,
}

impl Node {
    /// Heard on multicast, lately.
    pub(super) fn multicast(&self) -> bool {
        self.multicast.is_some()
    }
}

/// All nodes by address, bounded.
#[derive(Debug, Default)]
pub(super) struct Known {
    nodes: BTreeMap<SocketAddr, Node>,
    /// The same, in the order of eviction: unproven first, longest unseen first.
    order: BTreeSet<(bool, Instant, SocketAddr)>,
    /// Multicast entries by last HELLO, to find the silent ones.
    heard: BTreeSet<(Instant, SocketAddr)>,
    /// Entries learned from each multicast source.
    per_source: BTreeMap<IpAddr, usize>,
}

impl Known {
    /// Takes in a sign of the node at `addr`. False: a bound kept it out. `own`: the addresses of this host.
    pub(super) fn learn(
        &mut self,
        addr: SocketAddr,
        via: Via,
        now: Instant,
        own: &[Ipv4Addr],
        limits: &Limits,
    ) -> bool {
        let addr = self.alias(addr, own).unwrap_or(addr);
        if let Via::Multicast(source) = via {
            let fresh =
                self.nodes.get(&addr).is_none_or(|node| node.multicast.is_none_or(|(s, _)| s != source));
            let local = source.is_loopback() || own.iter().any(|ip| IpAddr::V4(*ip) == source);
            if fresh
                && !local
                && self.per_source.get(&source).copied().unwrap_or(0) >= limits.known_per_source
            {
                return false;
            }
        }
        if !self.nodes.contains_key(&addr) && self.nodes.len() >= limits.known_nodes && !self.evict() {
            return false;
        }
        let old = self.take(addr);
        let mut node =
            old.unwrap_or(Node { registry: false, multicast: None, typed: false, proven: false, seen: now });
        node.seen = now;
        match via {
            Via::Operator => node.typed = true,
            Via::Registry => node.registry = true,
            Via::Multicast(source) => node.multicast = Some((source, now)),
        }
        self.put(addr, node);
        true
    }

    /// The node answered as one does.
    pub(super) fn prove(&mut self, addr: SocketAddr, now: Instant) {
        if let Some(mut node) = self.take(addr) {
            node.proven = true;
            node.seen = now;
            self.put(addr, node);
        }
    }

    /// GOODBYE: the node leaves the multicast list and no other. True if it was on it.
    pub(super) fn goodbye(&mut self, addr: SocketAddr, own: &[Ipv4Addr]) -> bool {
        let addr = self.alias(addr, own).unwrap_or(addr);
        let Some(mut node) = self.take(addr) else { return false };
        let was = node.multicast.take().is_some();
        self.put(addr, node);
        was
    }

    /// Takes the nodes off the multicast list whose last HELLO came before `oldest`.
    pub(super) fn drop_silent(&mut self, oldest: Instant) -> Vec<SocketAddr> {
        let mut silent = Vec::new();
        while let Some(&(heard, addr)) = self.heard.first() {
            if heard >= oldest {
                break;
            }
            if let Some(mut node) = self.take(addr) {
                node.multicast = None;
                self.put(addr, node);
            }
            silent.push(addr);
        }
        silent
    }

    /// When the longest silent node of the multicast list was heard last.
    pub(super) fn longest_silent(&self) -> Option<Instant> {
        self.heard.first().map(|&(heard, _)| heard)
    }

    /// This is no node to be known.
    pub(super) fn forget(&mut self, addr: SocketAddr) {
        self.take(addr);
    }

    /// Nobody is on the multicast list any more (multicast was switched off).
    pub(super) fn forget_multicast(&mut self) {
        self.drop_silent(Instant::from_micros(u64::MAX));
    }

    pub(super) fn get(&self, addr: SocketAddr) -> Option<&Node> {
        self.nodes.get(&addr)
    }

    /// All nodes, by address.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Node)> {
        self.nodes.iter().map(|(addr, node)| (*addr, node))
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A node that listens on all addresses of this very host says HELLO from the loopback and from each interface:
    /// it stays under the address it was first known by.
    fn alias(&self, addr: SocketAddr, own: &[Ipv4Addr]) -> Option<SocketAddr> {
        let is_own = |ip: Ipv4Addr| ip == Ipv4Addr::LOCALHOST || own.contains(&ip);
        let IpAddr::V4(ip) = addr.ip() else { return None };
        if !is_own(ip) || self.nodes.contains_key(&addr) {
            return None;
        }
        let ours = own.iter().copied().chain([Ipv4Addr::LOCALHOST]);
        let mut known = ours.map(|ip| SocketAddr::new(IpAddr::V4(ip), addr.port()));
        known.find(|addr| self.nodes.contains_key(addr))
    }

    /// Makes room: the longest unseen of the unproven goes. False if all are proven.
    fn evict(&mut self) -> bool {
        match self.order.first() {
            Some(&(false, _, addr)) => self.take(addr).is_some(),
            _ => false,
        }
    }

    fn take(&mut self, addr: SocketAddr) -> Option<Node> {
        let node = self.nodes.remove(&addr)?;
        self.order.remove(&(node.proven, node.seen, addr));
        if let Some((source, heard)) = node.multicast {
            self.heard.remove(&(heard, addr));
            if let Some(n) = self.per_source.get_mut(&source) {
                *n -= 1;
                if *n == 0 {
                    self.per_source.remove(&source);
                }
            }
        }
        Some(node)
    }

    fn put(&mut self, addr: SocketAddr, node: Node) {
        self.order.insert((node.proven, node.seen, addr));
        if let Some((source, heard)) = node.multicast {
            self.heard.insert((heard, addr));
            *self.per_source.entry(source).or_default() += 1;
        }
        self.nodes.insert(addr, node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn multicast(known: &Known) -> Vec<String> {
        known.iter().filter(|(_, n)| n.multicast()).map(|(a, _)| a.to_string()).collect()
    }

    #[test]
    fn hello_adds_to_both_lists_and_goodbye_takes_off_one() {
        let (mut known, limits) = (Known::default(), Limits::desktop());
        let a = addr("10.0.0.5:9000");
        assert!(known.learn(a, Via::Multicast(a.ip()), at(0), &[], &limits));
        assert_eq!(multicast(&known), ["10.0.0.5:9000"]);
        assert!(known.goodbye(a, &[]));
        assert_eq!((multicast(&known).len(), known.len()), (0, 1));
        // hostile: 45
        assert!(!known.goodbye(addr("10.0.0.6:9000"), &[]));
    }

    #[test]
    fn a_silent_node_leaves_the_multicast_list_only() {
        let (mut known, limits) = (Known::default(), Limits::desktop());
        known.learn(addr("10.0.0.5:9000"), Via::Multicast(addr("10.0.0.5:1").ip()), at(0), &[], &limits);
        known.learn(addr("10.0.0.6:9000"), Via::Multicast(addr("10.0.0.6:1").ip()), at(5), &[], &limits);
        known.learn(addr("10.0.0.5:9000"), Via::Multicast(addr("10.0.0.5:1").ip()), at(10), &[], &limits);
        assert_eq!(known.longest_silent(), Some(at(5)));
        assert_eq!(known.drop_silent(at(6)), [addr("10.0.0.6:9000")]);
        assert_eq!((multicast(&known), known.len()), (vec!["10.0.0.5:9000".to_owned()], 2));
    }

    #[test]
    fn one_source_holds_a_bounded_number_of_entries() {
        // hostile: 43
        let (mut known, limits) = (Known::default(), Limits::desktop());
        let source = addr("10.0.0.5:1").ip();
        let kept = (1024..6024).filter(|port| {
            known.learn(SocketAddr::new(source, *port), Via::Multicast(source), at(0), &[], &limits)
        });
        assert_eq!(kept.count(), limits.known_per_source);
    }

    #[test]
    fn the_table_is_bounded_and_never_evicts_a_proven_node_for_a_stranger() {
        let mut known = Known::default();
        let limits = Limits { known_nodes: 4, ..Limits::desktop() };
        let node = |i: u8| SocketAddr::from(([10, 0, 0, i], 9000));
        for i in 0..4 {
            known.learn(node(i), Via::Registry, at(u64::from(i)), &[], &limits);
        }
        known.prove(node(0), at(4));
        for i in 10..200 {
            assert!(known.learn(node(i), Via::Multicast(node(i).ip()), at(100), &[], &limits));
        }
        assert_eq!(known.len(), 4);
        assert!(known.get(node(0)).is_some());
        for addr in known.iter().map(|(a, _)| a).collect::<Vec<_>>() {
            known.prove(addr, at(101));
        }
        assert!(!known.learn(node(250), Via::Registry, at(102), &[], &limits));
    }

    #[test]
    fn a_node_of_this_host_is_listed_once() {
        let (mut known, limits) = (Known::default(), Limits::desktop());
        let own = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 1, 0, 1)];
        for text in ["127.0.0.1:9100", "10.0.0.1:9100", "127.0.0.2:9100", "10.1.0.1:9200", "10.0.0.1:9200"] {
            let a = addr(text);
            known.learn(a, Via::Multicast(a.ip()), at(0), &own, &limits);
        }
        assert_eq!(multicast(&known), ["10.1.0.1:9200", "127.0.0.1:9100", "127.0.0.2:9100"]);
        assert!(known.goodbye(addr("10.0.0.1:9100"), &own));
    }
}
