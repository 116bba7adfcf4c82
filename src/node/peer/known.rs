//! The three node lists of the original: all that are known, those of a registry, those heard on multicast.

use crate::config::Limits;
use crate::proto::v2::identity::NodeId;
use crate::time::{Duration, Instant};
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
    /// It came to us, and said where it listens.
    Session,
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
    /// The node that was met there.
    id: Option<NodeId>,
    /// The node that says it is there. Anybody can say so: it counts only beside an address where that node was met.
    claim: Option<NodeId>,
    /// Since when it is taken for one that speaks v1 only.
    old: Option<Instant>,
    /// The last dial came to nothing, and nothing was heard from there since.
    failing: bool,
}

/// A node that spoke v1 only is tried in v2 again after this: people move over one node at a time.
const OLD_FOR: Duration = Duration::from_secs(600);

/// Ranks from here on are those of addresses where the node only says it is …
const CLAIMED: u8 = 4;
/// … and of addresses that do not work.
const FAILING: u8 = 8;

impl Node {
    /// Heard on multicast, lately.
    pub(super) fn multicast(&self) -> bool {
        self.multicast.is_some()
    }

    /// Whether it is to be asked in v1.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.old.is_some_and(|since| now - since < OLD_FOR)
    }

    /// The smaller, the better its address: on this network, named by the operator, known by others only; each of them
    /// after all that work.
    fn rank(&self) -> u8 {
        let way = match self {
            Node { multicast: Some(_), .. } => 0,
            Node { typed: true, .. } => 1,
            Node { registry: true, .. } => 2,
            _ => 3,
        };
        way + if self.id.is_none() { CLAIMED } else { 0 } + if self.failing { FAILING } else { 0 }
    }

    /// Whose address this is, or may be.
    pub(super) fn whose(&self) -> Option<NodeId> {
        self.id.or(self.claim)
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
    /// The addresses of each node, the best first.
    by_node: BTreeMap<NodeId, BTreeSet<(u8, SocketAddr)>>,
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
        let mut node = old.unwrap_or(Node {
            registry: false,
            multicast: None,
            typed: false,
            proven: false,
            seen: now,
            id: None,
            claim: None,
            old: None,
            failing: false,
        });
        node.seen = now;
        match via {
            Via::Operator => node.typed = true,
            Via::Registry => node.registry = true,
            Via::Multicast(source) => (node.multicast, node.failing) = (Some((source, now)), false),
            Via::Session => {}
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

    /// A session was made with `node` at `addr`: whatever was thought of that address before.
    pub(super) fn met(&mut self, addr: SocketAddr, id: NodeId, now: Instant) {
        if let Some(mut node) = self.take(addr) {
            (node.id, node.old, node.proven, node.seen) = (Some(id), None, true, now);
            node.failing = false;
            self.put(addr, node);
        }
    }

    /// `id` says that it is at `addr`, in v2.
    pub(super) fn hint(&mut self, addr: SocketAddr, id: NodeId) {
        if let Some(mut node) = self.take(addr) {
            (node.claim, node.old) = (Some(id), None);
            self.put(addr, node);
        }
    }

    /// Addresses known at this host.
    pub(super) fn count_at(&self, ip: IpAddr) -> usize {
        self.nodes.range(SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX)).count()
    }

    /// Who is at `addr` speaks v1 only.
    pub(super) fn is_old(&mut self, addr: SocketAddr, now: Instant) {
        if let Some(mut node) = self.take(addr) {
            (node.id, node.old) = (None, Some(now));
            self.put(addr, node);
        }
    }

    /// Who is at `addr` cut a handshake: whether a node was met there before. It is not said to be there any more, so that
    /// the next time tells.
    pub(super) fn unmet(&mut self, addr: SocketAddr) -> bool {
        let Some(mut node) = self.take(addr) else { return false };
        let met = node.id.take().is_some();
        self.put(addr, node);
        met
    }

    /// Nobody could be reached at `addr`.
    pub(super) fn fails(&mut self, addr: SocketAddr) {
        if let Some(mut node) = self.take(addr) {
            node.failing = true;
            self.put(addr, node);
        }
    }

    /// Where else the node that is known at `addr` may be reached.
    pub(super) fn elsewhere(&self, addr: SocketAddr) -> Option<SocketAddr> {
        let all = self.by_node.get(&self.node_at(addr)?)?;
        all.first().filter(|(rank, best)| *rank < FAILING && *best != addr).map(|(_, best)| *best)
    }

    /// The node at `addr`.
    pub(super) fn node_at(&self, addr: SocketAddr) -> Option<NodeId> {
        self.nodes.get(&addr)?.whose().filter(|id| self.was_met(*id))
    }

    /// Whether there is an address where this node was met.
    fn was_met(&self, id: NodeId) -> bool {
        let all = self.by_node.get(&id).into_iter().flatten();
        all.filter_map(|(_, addr)| self.nodes.get(addr)).any(|node| node.id == Some(id))
    }

    /// The best address of a node.
    pub(super) fn best(&self, id: NodeId) -> Option<SocketAddr> {
        self.by_node.get(&id).filter(|_| self.was_met(id))?.first().map(|(_, addr)| *addr)
    }

    /// The nodes whose short form begins so.
    pub(super) fn by_prefix(&self, prefix: &str) -> Vec<NodeId> {
        self.by_node.keys().filter(|id| id.matches_prefix(prefix) && self.was_met(**id)).copied().collect()
    }

    /// Every node once, under its best address, with what is known of all its addresses taken together.
    pub(super) fn merged(&self) -> impl Iterator<Item = (SocketAddr, Node)> {
        let best = |addr: SocketAddr, node: &Node| node.whose().and_then(|id| self.best(id)).unwrap_or(addr);
        let bests = self.nodes.iter().filter(move |(addr, node)| best(**addr, node) == **addr);
        bests.filter_map(|(addr, _)| Some((*addr, self.row(*addr)?)))
    }

    /// The node at `addr`, with what is known of its other addresses.
    pub(super) fn row(&self, addr: SocketAddr) -> Option<Node> {
        let node = self.nodes.get(&addr)?;
        let others = self.node_at(addr).and_then(|id| self.by_node.get(&id)).into_iter().flatten();
        let others = others.filter_map(|(_, addr)| self.nodes.get(addr));
        Some(others.fold(node.clone(), |sum, other| Node {
            registry: sum.registry || other.registry,
            multicast: sum.multicast.or(other.multicast),
            typed: sum.typed || other.typed,
            proven: sum.proven || other.proven,
            ..sum
        }))
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
        if let Some(id) = node.whose() {
            if let Some(all) = self.by_node.get_mut(&id) {
                all.remove(&(node.rank(), addr));
                if all.is_empty() {
                    self.by_node.remove(&id);
                }
            }
        }
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
        if let Some(id) = node.whose() {
            self.by_node.entry(id).or_default().insert((node.rank(), addr));
        }
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

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn multicast(known: &Known) -> Vec<String> {
        known.merged().filter(|(_, n)| n.multicast()).map(|(a, _)| a.to_string()).collect()
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
        for addr in known.merged().map(|(a, _)| a).collect::<Vec<_>>() {
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
