//! Members find each other, and nobody else finds, forges or ends them.

use super::common::{
    PORT, S, addr_of, alive, command, dialler, get, has_copy, heard, list, peer, peers_on, request, send,
};
use super::holders::holds;
use super::members::{events, joins, member, sockets, works};
use crate::actor::{Actor, Cx, Told};
use crate::harness::scenario;
use crate::ids::{ActorId, LanId, NodeId};
use crate::world::World;
use distrishare::config::{Crypto, PeerConfig};
use std::collections::BTreeSet;
use std::net::SocketAddr;

const SEALED: Crypto = Crypto::Real { aes: true };

/// Keeps every datagram of the group, as text with its source.
struct Ear;

impl Actor for Ear {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>) {
        match what {
            Told::Start => cx.join(2),
            Told::Datagram { from, bytes } => {
                cx.note(format!("{} {}", from.ip(), String::from_utf8_lossy(bytes)));
            }
            _ => {}
        }
    }
}

fn ear(world: &mut World, lan: LanId) -> ActorId {
    let host = world.host(&[lan]);
    world.actor(host, Ear)
}

/// What was heard of `node` from the `from`th datagram on.
fn datagrams(world: &World, ear: ActorId, node: NodeId, from: usize) -> Vec<Vec<u8>> {
    let start = format!("{} ", addr_of(world, node).ip());
    let said = world.log(ear).notes[from..].iter().filter_map(|note| note.strip_prefix(&start));
    said.map(|text| text.as_bytes().to_vec()).collect()
}

/// Members of one group on one network, multicast on.
fn members(
    world: &mut World,
    n: usize,
    edit: impl Fn(&mut PeerConfig) + Clone + 'static,
) -> (LanId, Vec<NodeId>) {
    let lan = world.lan();
    let nodes = peers_on(world, lan, n, move |config| {
        joins(SEALED, 1)(config);
        edit(config);
    });
    (lan, nodes)
}

fn all_on(world: &mut World, nodes: &[NodeId]) {
    nodes.iter().for_each(|&node| drop(works(world, node, "multicast on")));
    world.run_for(S * 2);
}

/// All that a node lists, alive or not.
fn known(world: &mut World, node: NodeId, which: &str) -> BTreeSet<String> {
    let (mut up, down) = list(world, node, which);
    up.extend(down);
    up
}

fn text(addr: SocketAddr) -> BTreeSet<String> {
    [addr.to_string()].into()
}

#[test]
fn members_find_each_other_and_strangers_find_nobody() {
    scenario("members_find_each_other", 3, |world| {
        let (lan, nodes) = members(world, 3, |_| {});
        let ear = ear(world, lan);
        let hosts = [world.host(&[lan]), world.host(&[lan])];
        let strangers =
            [member(world, hosts[0], SEALED, 2), peer(world, hosts[1], |config| config.crypto = SEALED)];
        all_on(world, &nodes);
        all_on(world, &strangers);
        super::common::all_meet(world, &nodes, "multicast");
        for stranger in strangers {
            assert_eq!(known(world, stranger, "all"), BTreeSet::new());
        }
        for &node in &nodes {
            let rows = command(world, node, "nodes all");
            assert_eq!(events(&rows, "node").len(), 2, "{rows:?}");
        }
        holds(world, nodes[1], "needle", &"x".into());
        assert_eq!(events(&works(world, nodes[0], "search needle"), "result").len(), 1);
        works(world, nodes[0], "get 1");
        assert!(has_copy(world, nodes[0], "needle"));
        for &node in &nodes {
            world.type_line(node, "quit");
        }
        world.run_for(S);
        // Nothing that the original would take for a node, and no two datagrams alike.
        for &node in &nodes {
            let said = datagrams(world, ear, node, 0);
            assert!(said.len() > 3, "{}", said.len());
            assert!(
                said.iter().all(|text| text.starts_with(b"DS2 ") && text.is_ascii() && text.len() == 174)
            );
            assert_eq!(said.iter().collect::<BTreeSet<_>>().len(), said.len());
        }
    });
}

#[test]
fn a_stranger_forges_nobody_and_ends_nobody() {
    // hostile: 44, 45
    scenario("a_stranger_forges_nobody", 3, |world| {
        let (lan, nodes) = members(world, 2, |_| {});
        let ear = ear(world, lan);
        all_on(world, &nodes);
        holds(world, nodes[1], "needle", &"x".into());
        let at = addr_of(world, nodes[1]);
        works(world, nodes[0], &format!("browse {at}"));
        let stays = |world: &mut World, what: &str| {
            world.run_for(S / 2);
            assert_eq!(known(world, nodes[0], "all"), text(at), "{what}");
            assert_eq!(alive(world, nodes[0], "multicast"), text(at), "{what}");
            assert_eq!(sockets(world, nodes[0]), 1, "{what}: the session lives");
        };
        // Forged: v1 is off, so nothing of it counts.
        for text in ["HELLO 10.0.0.77 9000", "HELLO:10.0.0.77:9000"] {
            world.inject(lan, crate::node::rules::source([10, 0, 0, 77]), text.as_bytes());
        }
        for text in ["GOODBYE", "HELLO"] {
            world.inject(lan, at, format!("{text} {} {}", at.ip(), at.port()).as_bytes());
        }
        stays(world, "forged");
        // Every byte of a real one changed in turn is no announcement any more, and harms nothing.
        let real = datagrams(world, ear, nodes[1], 0).pop().unwrap_or_default();
        for place in (0..real.len()).step_by(7) {
            let mut changed = real.clone();
            changed[place] ^= 1;
            world.inject(lan, at, &changed);
            world.run_for(S / 8);
        }
        stays(world, "changed");
        // Recorded, and sent again from elsewhere: there is no node.
        world.inject(lan, crate::node::rules::source([10, 0, 0, 77]), &real);
        stays(world, "from elsewhere");
        // A GOODBYE that was true once.
        let before = world.log(ear).notes.len();
        works(world, nodes[1], "multicast off");
        world.run_for(S / 2);
        let goodbye = datagrams(world, ear, nodes[1], before);
        assert_eq!(known(world, nodes[0], "multicast"), BTreeSet::new(), "it said GOODBYE");
        assert_eq!(sockets(world, nodes[0]), 1, "which ends no session");
        for bytes in &goodbye {
            world.inject(lan, at, bytes);
        }
        works(world, nodes[1], "multicast on");
        world.run_for(S * 2);
        stays(world, "back again");
        for bytes in &goodbye {
            world.inject(lan, at, bytes);
        }
        stays(world, "a recorded GOODBYE");
        assert_eq!(events(&works(world, nodes[0], "search needle"), "result").len(), 1);
    });
}

#[test]
fn what_a_node_said_before_its_restart_counts_no_more() {
    scenario("what_a_node_said_before", 3, |world| {
        let (lan, nodes) = members(world, 2, |_| {});
        let ear = ear(world, lan);
        all_on(world, &nodes);
        let at = addr_of(world, nodes[1]);
        works(world, nodes[1], "multicast off");
        world.run_for(S / 2);
        let old = datagrams(world, ear, nodes[1], 0);
        assert!(old.len() >= 4);
        world.crash(nodes[1]);
        world.start(nodes[1]);
        works(world, nodes[1], "multicast on");
        world.run_for(S * 2);
        assert_eq!(alive(world, nodes[0], "multicast"), text(at), "the new instance");
        for bytes in &old {
            world.inject(lan, at, bytes);
            world.run_for(S / 8);
        }
        assert_eq!(alive(world, nodes[0], "multicast"), text(at), "the old GOODBYE ends nothing");
        // And its old HELLOs do not bring it back once it is gone.
        works(world, nodes[1], "multicast off");
        world.run_for(S / 2);
        assert_eq!(known(world, nodes[0], "multicast"), BTreeSet::new());
        for bytes in &old {
            world.inject(lan, at, bytes);
            world.run_for(S / 8);
        }
        assert_eq!(known(world, nodes[0], "multicast"), BTreeSet::new());
    });
}

#[test]
fn a_member_with_v1_serves_it_and_never_asks_in_it() {
    scenario("a_member_with_v1", 2, |world| {
        let (lan, nodes) = members(world, 2, |config| config.v1 = true);
        let ear = ear(world, lan);
        let host = world.host(&[lan]);
        let open = super::common::peer(world, host, |config| config.crypto = SEALED);
        world.share(nodes[0], "inner", "1");
        world.share(nodes[1], "mine", "2");
        world.share(open, "outer", "3");
        world.run_for(S);
        all_on(world, &nodes);
        all_on(world, &[open]);
        let to = addr_of(world, nodes[0]);
        // Whoever speaks v1 is served, as the operator wanted.
        let caller = world.host(&[lan]);
        let asked = dialler(world, caller, to, vec![send(request("search", "inner"))]);
        get(world, open, nodes[0], "inner");
        assert!(world.run_until(S * 5, |world| has_copy(world, open, "inner")));
        assert_eq!(heard(world, asked), "FOUND");
        let hellos = datagrams(world, ear, nodes[0], 0);
        assert!(hellos.iter().any(|bytes| bytes.starts_with(b"HELLO")));
        // It hears HELLO, lists who said it, and asks nobody but members.
        assert!(alive(world, nodes[0], "multicast").contains(&addr_of(world, open).to_string()));
        let said = command(world, nodes[0], "search outer");
        assert!(events(&said, "result").is_empty(), "{said:?}");
        assert_eq!(events(&works(world, nodes[0], "search mine"), "result").len(), 1);
        let line = format!("get {} {PORT} outer", addr_of(world, open).ip());
        let said = command(world, nodes[0], &line);
        assert_eq!(events(&said, "error")[0]["code"], "refused", "{said:?}");
        assert!(world.downloads(nodes[0]).is_empty());
    });
}
