//! The nodes known, by address: who named each, what was met there, and who makes room for whom. The three lists of the original
//! are views of it: all nodes, those of a registry, those heard on multicast.

use crate::config::Limits;
use crate::proto::v2::identity::NodeId;
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How a node came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// The operator typed its address.
    Operator,
    /// A registry named it.
    Registry,
    /// Its HELLO came from this source.
    Multicast(IpAddr),
    /// A dial of ours found it there.
    Dial,
    /// It came to us, and said where it listens.
    Session,
}

impl Via {
    fn standing(self) -> Standing {
        match self {
            Via::Operator | Via::Dial => Standing::Proven,
            Via::Registry | Via::Multicast(_) => Standing::Named,
            Via::Session => Standing::Claimed,
        }
    }
}

/// A node of the lists.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Named by a registry.
    pub(crate) registry: bool,
    /// Source of its last HELLO, and when that came; none once it said GOODBYE or fell silent.
    multicast: Option<(IpAddr, Instant)>,
    /// The operator typed its address.
    pub(crate) typed: bool,
    /// It answered a search or sent a file once. Proven nodes are dialled freely and evicted last.
    pub(crate) proven: bool,
    /// Last sign of it.
    seen: Instant,
    /// The node that was met there.
    id: Option<NodeId>,
    /// The node that says it is there. Anybody can say so: it counts only beside an address where that node was met.
    claim: Option<NodeId>,
    /// A dial that was for the node known to be there was hung up on: it is not said any more whom a dial is for.
    strange: bool,
    /// Since when it is taken for one that speaks v1 only.
    legacy: Option<Instant>,
    /// The last dial came to nothing, and nothing was heard from there since.
    pub(crate) failing: bool,
    /// When a session of ours, or an announcement from there, last showed that v2 is spoken.
    modern: Option<Instant>,
    /// Dials that were hung up on without a word since then: how many, and since when.
    closes: Option<(u32, Instant)>,
}

/// A node that spoke v1 only is tried in v2 again after this: people move over one node at a time. The same goes for one
/// that spoke v2.
const LEGACY_FOR: Duration = Duration::from_secs(600);
/// A proven node that was not heard of for so long makes room like others.
const PROVEN_FOR: Duration = Duration::from_secs(3600);
/// So many dials that end without a word, and that far apart, are those of a node that speaks v1 only.
const CLOSES: (u32, Duration) = (3, Duration::from_secs(60));

/// Ranks from here on are those of addresses where the node only says it is …
const CLAIMED: u8 = 4;
/// … and of addresses that do not work.
const FAILING: u8 = 8;

impl Node {
    /// Heard on multicast, lately.
    pub(crate) fn multicast(&self) -> bool {
        self.multicast.is_some()
    }

    /// Whether it is to be asked in v1.
    pub(crate) fn is_legacy(&self, now: Instant) -> bool {
        self.legacy.is_some_and(|since| now - since < LEGACY_FOR)
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
    pub(crate) fn whose(&self) -> Option<NodeId> {
        self.id.or(self.claim)
    }

    /// How much it takes to say that a node is there: who only came to us may claim any port of its host.
    fn standing(&self) -> Standing {
        match self {
            Node { proven: true, .. } | Node { typed: true, .. } => Standing::Proven,
            Node { registry: true, .. } | Node { multicast: Some(_), .. } => Standing::Named,
            _ => Standing::Claimed,
        }
    }
}

/// In the order of eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// A node that came to us says that it listens there.
    Claimed,
    /// A registry names it, or its HELLO came from there.
    Named,
    /// A dial of ours, or the operator, found it there.
    Proven,
}

/// All nodes by address, bounded.
#[derive(Debug)]
pub(crate) struct AddressBook {
    /// Most nodes in all, and at one host.
    most: usize,
    most_per_source: usize,
    /// The addresses of this host.
    own: Vec<Ipv4Addr>,
    nodes: BTreeMap<SocketAddr, Node>,
    /// The same, in the order of eviction: the longest unseen first.
    order: BTreeSet<(Standing, Instant, SocketAddr)>,
    /// Multicast entries by last HELLO, to find the silent ones.
    heard: BTreeSet<(Instant, SocketAddr)>,
    /// The addresses of each node, the best first.
    by_node: BTreeMap<NodeId, BTreeSet<(u8, SocketAddr)>>,
}

impl AddressBook {
    /// Nobody is known.
    pub(crate) fn new(limits: &Limits) -> AddressBook {
        AddressBook {
            most: limits.known_nodes,
            most_per_source: limits.known_per_source,
            own: Vec::new(),
            nodes: BTreeMap::new(),
            order: BTreeSet::new(),
            heard: BTreeSet::new(),
            by_node: BTreeMap::new(),
        }
    }

    /// The addresses of this host, as they are now.
    pub(crate) fn set_own(&mut self, own: Vec<Ipv4Addr>) {
        self.own = own;
    }

    /// The addresses of this host.
    pub(crate) fn own(&self) -> &[Ipv4Addr] {
        &self.own
    }

    /// Takes in a sign of the node at `addr`. False: a bound kept it out.
    pub(crate) fn learn(&mut self, addr: SocketAddr, via: Via, now: Instant) -> bool {
        let addr = self.entry_of(addr);
        if !self.nodes.contains_key(&addr) {
            let standing = via.standing();
            let local = addr.ip().is_loopback() || self.own.iter().any(|ip| IpAddr::V4(*ip) == addr.ip());
            let bounded = !local && via != Via::Operator;
            if bounded && !self.make_room_at(addr.ip(), standing) {
                return false;
            }
            if self.nodes.len() >= self.most && !self.evict(standing, now) {
                return false;
            }
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
            strange: false,
            legacy: None,
            failing: false,
            modern: None,
            closes: None,
        });
        node.seen = now;
        match via {
            Via::Operator => node.typed = true,
            Via::Registry => node.registry = true,
            Via::Multicast(source) => (node.multicast, node.failing) = (Some((source, now)), false),
            Via::Dial | Via::Session => {}
        }
        self.put(addr, node);
        true
    }

    /// The node answered as one does.
    pub(crate) fn prove(&mut self, addr: SocketAddr, now: Instant) {
        if let Some(mut node) = self.take(addr) {
            node.proven = true;
            node.seen = now;
            self.put(addr, node);
        }
    }

    /// A dial of ours met `id` at `addr`: whatever was thought of that address before.
    pub(crate) fn met(&mut self, addr: SocketAddr, id: NodeId, now: Instant) {
        if let Some(mut node) = self.take(addr) {
            (node.id, node.legacy, node.proven, node.seen) = (Some(id), None, true, now);
            (node.failing, node.strange, node.modern, node.closes) = (false, false, Some(now), None);
            self.put(addr, node);
        }
    }

    /// An announcement from `addr` says that `id` is there, in v2.
    pub(crate) fn hint(&mut self, addr: SocketAddr, id: NodeId, now: Instant) {
        if let Some(mut node) = self.take(addr) {
            (node.claim, node.legacy, node.modern, node.closes) = (Some(id), None, Some(now), None);
            self.put(addr, node);
        }
    }

    /// `id` came to us, and says that it listens at `addr`, a port of the host that it came from. It may be another program's:
    /// what is known of it better is not touched.
    pub(crate) fn claimed(&mut self, addr: SocketAddr, id: NodeId, now: Instant) {
        let free = |node: &Node| node.whose().is_none_or(|whose| whose == id) && !node.is_legacy(now);
        if self.nodes.get(&addr).is_none_or(free) && self.learn(addr, Via::Session, now) {
            if let Some(mut node) = self.take(addr) {
                node.claim = Some(id);
                self.put(addr, node);
            }
        }
    }

    /// Whether all that is known of `addr` is that somebody who came to us says that it listens there.
    pub(crate) fn is_only_claimed(&self, addr: SocketAddr) -> bool {
        self.nodes.get(&addr).is_some_and(|node| node.standing() == Standing::Claimed)
    }

    /// Whether v2 was spoken at `addr` lately: then nobody is asked in v1 there.
    pub(crate) fn is_modern(&self, addr: SocketAddr, now: Instant) -> bool {
        let at = self.nodes.get(&addr).and_then(|node| node.modern);
        at.is_some_and(|at| now - at < LEGACY_FOR)
    }

    /// Who is at `addr` speaks v1 only, as was just seen.
    pub(crate) fn set_legacy(&mut self, addr: SocketAddr, now: Instant) {
        if let Some(mut node) = self.take(addr) {
            (node.id, node.legacy, node.closes) = (None, Some(now), None);
            self.put(addr, node);
        }
    }

    /// Who is at `addr` hung up on a handshake without a word. Whether it has done so often enough, and for long enough, to
    /// be one that speaks v1 only: a node that is just too busy does so, too.
    pub(crate) fn hung_up(&mut self, addr: SocketAddr, now: Instant) -> bool {
        let Some(mut node) = self.take(addr) else { return false };
        let (times, since) = node.closes.map_or((1, now), |(times, since)| (times.saturating_add(1), since));
        node.closes = Some((times, since));
        self.put(addr, node);
        let (least, apart) = CLOSES;
        times >= least && now - since >= apart
    }

    /// The node that a dial of `addr` is for: met there, or announced from there.
    pub(crate) fn expected(&self, addr: SocketAddr) -> Option<NodeId> {
        let node = self.nodes.get(&addr).filter(|node| !node.strange)?;
        node.id.or(node.claim.filter(|_| node.multicast()))
    }

    /// It may be another one.
    pub(crate) fn expects_nobody(&mut self, addr: SocketAddr) {
        if let Some(mut node) = self.take(addr) {
            node.strange = true;
            self.put(addr, node);
        }
    }

    /// Nobody could be reached at `addr`.
    pub(crate) fn fails(&mut self, addr: SocketAddr) {
        if let Some(mut node) = self.take(addr) {
            node.failing = true;
            self.put(addr, node);
        }
    }

    /// Where else the node that is known at `addr` may be reached.
    pub(crate) fn elsewhere(&self, addr: SocketAddr) -> Option<SocketAddr> {
        let all = self.by_node.get(&self.node_at(addr)?)?;
        all.first().filter(|(rank, best)| *rank < FAILING && *best != addr).map(|(_, best)| *best)
    }

    /// The node at `addr`.
    pub(crate) fn node_at(&self, addr: SocketAddr) -> Option<NodeId> {
        self.nodes.get(&addr)?.whose().filter(|id| self.was_met(*id))
    }

    /// Whether there is an address where this node was met.
    fn was_met(&self, id: NodeId) -> bool {
        let all = self.by_node.get(&id).into_iter().flatten();
        all.filter_map(|(_, addr)| self.nodes.get(addr)).any(|node| node.id == Some(id))
    }

    /// The best address of a node.
    pub(crate) fn best(&self, id: NodeId) -> Option<SocketAddr> {
        self.by_node.get(&id).filter(|_| self.was_met(id))?.first().map(|(_, addr)| *addr)
    }

    /// The nodes whose short form begins so.
    pub(crate) fn by_prefix(&self, prefix: &str) -> Vec<NodeId> {
        self.by_node.keys().filter(|id| id.matches_prefix(prefix) && self.was_met(**id)).copied().collect()
    }

    /// Every node once, under its best address, with what is known of all its addresses taken together.
    pub(crate) fn merged(&self) -> impl Iterator<Item = (SocketAddr, Node)> {
        let best = |addr: SocketAddr, node: &Node| node.whose().and_then(|id| self.best(id)).unwrap_or(addr);
        let bests = self.nodes.iter().filter(move |(addr, node)| best(**addr, node) == **addr);
        bests.filter_map(|(addr, _)| Some((*addr, self.row(*addr)?)))
    }

    /// The node at `addr`, with what is known of its other addresses.
    pub(crate) fn row(&self, addr: SocketAddr) -> Option<Node> {
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
    pub(crate) fn goodbye(&mut self, addr: SocketAddr) -> bool {
        let addr = self.entry_of(addr);
        let Some(mut node) = self.take(addr) else { return false };
        let was = node.multicast.take().is_some();
        self.put(addr, node);
        was
    }

    /// Takes the nodes off the multicast list whose last HELLO came before `oldest`.
    pub(crate) fn drop_silent(&mut self, oldest: Instant) -> Vec<SocketAddr> {
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
    pub(crate) fn longest_silent(&self) -> Option<Instant> {
        self.heard.first().map(|&(heard, _)| heard)
    }

    /// This is no node to be known.
    pub(crate) fn forget(&mut self, addr: SocketAddr) {
        self.take(addr);
    }

    /// Nobody is on the multicast list any more (multicast was switched off).
    pub(crate) fn forget_multicast(&mut self) {
        self.drop_silent(Instant::from_micros(u64::MAX));
    }

    pub(crate) fn get(&self, addr: SocketAddr) -> Option<&Node> {
        self.nodes.get(&addr)
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The address under which the node at `addr` is listed. One that listens on all addresses of this very host says HELLO
    /// from the loopback and from each interface: it stays under the address it was first known by.
    pub(crate) fn entry_of(&self, addr: SocketAddr) -> SocketAddr {
        let is_own = |ip: Ipv4Addr| ip == Ipv4Addr::LOCALHOST || self.own.contains(&ip);
        let IpAddr::V4(ip) = addr.ip() else { return addr };
        if !is_own(ip) || self.nodes.contains_key(&addr) {
            return addr;
        }
        let ours = self.own.iter().copied().chain([Ipv4Addr::LOCALHOST]);
        let mut known = ours.map(|ip| SocketAddr::new(IpAddr::V4(ip), addr.port()));
        known.find(|addr| self.nodes.contains_key(addr)).unwrap_or(addr)
    }

    /// Makes room for a newcomer: the longest unseen of those goes whose standing is not better. False if there is none.
    fn evict(&mut self, newcomer: Standing, now: Instant) -> bool {
        let Some(&(standing, seen, addr)) = self.order.first() else { return false };
        let goes = match standing {
            Standing::Proven => now - seen >= PROVEN_FOR,
            standing => standing <= newcomer,
        };
        goes && self.take(addr).is_some()
    }

    /// Makes room for a newcomer among the entries of its host: in place of one that was only named, and is not heard.
    fn make_room_at(&mut self, ip: IpAddr, newcomer: Standing) -> bool {
        let most = self.most_per_source;
        let (first, last) = host(ip);
        let here = self.nodes.range(SocketAddr::new(first, 0)..=SocketAddr::new(last, u16::MAX));
        if here.clone().take(most).count() < most {
            return true;
        }
        let goes = here
            .filter(|(_, node)| node.multicast.is_none() && node.standing() <= newcomer.min(Standing::Named))
            .min_by_key(|(_, node)| (node.standing(), node.seen))
            .map(|(addr, _)| *addr);
        goes.is_some_and(|addr| self.take(addr).is_some())
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
        self.order.remove(&(node.standing(), node.seen, addr));
        if let Some((_, heard)) = node.multicast {
            self.heard.remove(&(heard, addr));
        }
        Some(node)
    }

    fn put(&mut self, addr: SocketAddr, node: Node) {
        self.order.insert((node.standing(), node.seen, addr));
        if let Some(id) = node.whose() {
            self.by_node.entry(id).or_default().insert((node.rank(), addr));
        }
        if let Some((_, heard)) = node.multicast {
            self.heard.insert((heard, addr));
        }
        self.nodes.insert(addr, node);
    }
}

/// The addresses that one host may have as it likes: its own, or its /64.
fn host(ip: IpAddr) -> (IpAddr, IpAddr) {
    match ip {
        IpAddr::V4(_) => (ip, ip),
        IpAddr::V6(v6) => {
            let net = u128::from(v6) & (u128::MAX << 64);
            (Ipv6Addr::from(net).into(), Ipv6Addr::from(net | u128::from(u64::MAX)).into())
        }
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

    fn multicast(known: &AddressBook) -> Vec<String> {
        known.merged().filter(|(_, n)| n.multicast()).map(|(a, _)| a.to_string()).collect()
    }

    #[test]
    fn hello_adds_to_both_lists_and_goodbye_takes_off_one() {
        let limits = Limits::desktop();
        let mut known = AddressBook::new(&limits);
        let a = addr("10.0.0.5:9000");
        assert!(known.learn(a, Via::Multicast(a.ip()), at(0)));
        assert_eq!(multicast(&known), ["10.0.0.5:9000"]);
        assert!(known.goodbye(a));
        assert_eq!((multicast(&known).len(), known.len()), (0, 1));
        // hostile: 45
        assert!(!known.goodbye(addr("10.0.0.6:9000")));
    }

    #[test]
    fn a_silent_node_leaves_the_multicast_list_only() {
        let limits = Limits::desktop();
        let mut known = AddressBook::new(&limits);
        known.learn(addr("10.0.0.5:9000"), Via::Multicast(addr("10.0.0.5:1").ip()), at(0));
        known.learn(addr("10.0.0.6:9000"), Via::Multicast(addr("10.0.0.6:1").ip()), at(5));
        known.learn(addr("10.0.0.5:9000"), Via::Multicast(addr("10.0.0.5:1").ip()), at(10));
        assert_eq!(known.longest_silent(), Some(at(5)));
        assert_eq!(known.drop_silent(at(6)), [addr("10.0.0.6:9000")]);
        assert_eq!((multicast(&known), known.len()), (vec!["10.0.0.5:9000".to_owned()], 2));
    }

    #[test]
    fn one_source_holds_a_bounded_number_of_entries() {
        // hostile: 43
        let limits = Limits::desktop();
        let mut known = AddressBook::new(&limits);
        let source = addr("10.0.0.5:1").ip();
        let kept = (1024..6024)
            .filter(|port| known.learn(SocketAddr::new(source, *port), Via::Multicast(source), at(0)));
        assert_eq!(kept.count(), limits.known_per_source);
        // Once they are silent they make room; a /64 is one host; the operator may name what he likes.
        known.drop_silent(at(1));
        let late = SocketAddr::new(source, 9000);
        assert!(known.learn(late, Via::Multicast(source), at(2)));
        assert!(known.learn(addr("10.0.0.5:7000"), Via::Operator, at(2)));
        let hosts = (0..1000u16).map(|n| SocketAddr::from(([0x2001, 0xdb9, 0, 0, 0, 0, 0, n], 9000)));
        assert_eq!(hosts.filter(|addr| known.learn(*addr, Via::Session, at(3))).count(), 1000);
        assert_eq!(known.len(), 2 * limits.known_per_source + 1);
    }

    #[test]
    fn who_comes_and_claims_takes_no_place_of_others() {
        let limits = Limits { known_nodes: 600, ..Limits::desktop() };
        let mut known = AddressBook::new(&limits);
        let (honest, other) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let heard = addr("10.0.0.9:9000");
        known.learn(heard, Via::Multicast(heard.ip()), at(0));
        let met = addr("10.0.0.8:9000");
        known.learn(met, Via::Dial, at(0));
        known.met(met, honest, at(0));
        for i in 0..5000u16 {
            let [high, low] = (i / 8).to_be_bytes();
            let addr = SocketAddr::from(([10, 1, high, low], 9000 + i % 8));
            known.claimed(addr, other, at(1));
        }
        assert_eq!(known.len(), limits.known_nodes);
        known.claimed(met, other, at(2));
        known.claimed(heard, other, at(2));
        assert_eq!((known.node_at(met), known.best(honest)), (Some(honest), Some(met)));
        assert_eq!((known.node_at(heard), known.best(other)), (None, None), "a claim proves nothing");
        let named = addr("10.0.0.7:9000");
        assert!(known.learn(named, Via::Registry, at(3)) && known.get(heard).is_some());
        // Proven ones age.
        let mut known = AddressBook::new(&Limits { known_nodes: 1, ..limits });
        known.learn(met, Via::Dial, at(0));
        known.met(met, honest, at(0));
        assert!(!known.learn(named, Via::Registry, at(3599)));
        assert!(known.learn(named, Via::Registry, at(3600)));
    }

    #[test]
    fn who_hangs_up_is_old_only_after_a_while_and_never_where_v2_was_spoken() {
        let limits = Limits::desktop();
        let mut known = AddressBook::new(&limits);
        let a = addr("10.0.0.5:9000");
        known.learn(a, Via::Registry, at(0));
        let said = [0, 1, 2, 59, 60].map(|second| known.hung_up(a, at(second)));
        assert_eq!(said, [false, false, false, false, true]);
        assert!(!known.is_modern(a, at(60)));
        known.hint(a, NodeId::from_bytes([1; 32]), at(61));
        assert!(known.is_modern(a, at(61)) && !known.hung_up(a, at(62)));
        assert!(known.is_modern(a, at(660)) && !known.is_modern(a, at(661)));
    }

    #[test]
    fn the_table_is_bounded_and_never_evicts_a_proven_node_for_a_stranger() {
        let mut known = AddressBook::new(&Limits { known_nodes: 4, ..Limits::desktop() });
        let node = |i: u8| SocketAddr::from(([10, 0, 0, i], 9000));
        for i in 0..4 {
            known.learn(node(i), Via::Registry, at(u64::from(i)));
        }
        known.prove(node(0), at(4));
        for i in 10..200 {
            assert!(known.learn(node(i), Via::Multicast(node(i).ip()), at(100)));
        }
        assert_eq!(known.len(), 4);
        assert!(known.get(node(0)).is_some());
        for addr in known.merged().map(|(a, _)| a).collect::<Vec<_>>() {
            known.prove(addr, at(101));
        }
        assert!(!known.learn(node(250), Via::Registry, at(102)));
    }

    #[test]
    fn a_node_of_this_host_is_listed_once() {
        let limits = Limits::desktop();
        let mut known = AddressBook::new(&limits);
        known.set_own(vec![Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 1, 0, 1)]);
        for text in ["127.0.0.1:9100", "10.0.0.1:9100", "127.0.0.2:9100", "10.1.0.1:9200", "10.0.0.1:9200"] {
            let a = addr(text);
            known.learn(a, Via::Multicast(a.ip()), at(0));
        }
        assert_eq!(multicast(&known), ["10.1.0.1:9200", "127.0.0.1:9100", "127.0.0.2:9100"]);
        assert!(known.goodbye(addr("10.0.0.1:9100")));
    }
}
