//! One node known in several ways: it is one node, under the best of its addresses, and reached by the next where that
//! one stops working.

use super::common::{PORT, S, at_registry, bootstrap, command, peer};
use super::members::{CRYPTOS, events, timed, works};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::{HostId, NodeId};
use crate::world::World;
use distrishare::config::Crypto;
use std::net::{IpAddr, SocketAddr};

/// Two nodes with two networks between them, one of which has a registry.
fn twice_connected(world: &mut World, crypto: Crypto) -> ([NodeId; 2], [HostId; 2], [SocketAddr; 2], String) {
    let lans = [world.lan(), world.lan()];
    let hosts = [world.host(&lans), world.host(&lans)];
    let registry = world.host(&[lans[1]]);
    bootstrap(world, registry, |_| {});
    let line = format!("bootstrap {}", at_registry(world, registry));
    let nodes = hosts.map(|host| peer(world, host, move |config| config.crypto = crypto));
    let there = [2, 3].map(|index| {
        let addr = world.env.net.topology.iface(hosts[1], index).map(|iface| iface.addr);
        SocketAddr::new(addr.map_or_else(|| panic!("no interface {index}"), IpAddr::V4), PORT)
    });
    world.share(nodes[1], "needle", Content::generated(1, 20_000));
    world.run_for(S);
    (nodes, hosts, there, line)
}

fn rows(world: &mut World, node: NodeId) -> Vec<(String, Vec<String>, bool)> {
    let said = command(world, node, "nodes all");
    let row = |event: &&serde_json::Value| {
        let lists = event["lists"].as_array().into_iter().flatten().filter_map(|list| list.as_str());
        let at = format!("{}:{}", event["ip"].as_str().unwrap_or("?"), event["port"]);
        (at, lists.map(str::to_owned).collect(), event["alive"] == true)
    };
    events(&said, "node").iter().map(row).collect()
}

#[test]
fn a_node_known_in_three_ways_is_one() {
    for crypto in CRYPTOS {
        scenario("a_node_known_in_three_ways", 1, |world| {
            let (nodes, _, there, bootstrap) = twice_connected(world, crypto);
            for node in nodes {
                works(world, node, &bootstrap);
                works(world, node, "multicast on");
            }
            works(world, nodes[0], &bootstrap);
            world.run_for(S * 2);
            works(world, nodes[0], &format!("browse {}", there[1]));
            let found = works(world, nodes[0], "search needle");
            assert_eq!(events(&found, "found").len(), 1, "asked once: {found:?}");
            let rows = rows(world, nodes[0]);
            assert_eq!(rows.len(), 1, "{rows:?}");
            assert_eq!(rows[0].1, ["all", "bootstrap", "multicast"], "{rows:?}");
            assert!(rows[0].2 && there.iter().any(|at| at.to_string() == rows[0].0), "{rows:?}");
        });
    }
}

#[test]
fn where_the_best_address_stops_working_the_next_is_used() {
    scenario("where_the_best_address_stops", 4, |world| {
        let (nodes, hosts, _, _) = twice_connected(world, Crypto::Null);
        for node in nodes {
            works(world, node, "multicast on");
        }
        // Of two announcements at once the later may come first, and the other counts for nothing then: a few rounds.
        world.run_for(S * 30);
        for line in ["search needle", "get needle"] {
            for best in [0, 1] {
                world.set_link(hosts[1], 2 + best, false);
                // The session that went by it is silent; what it did not answer is asked anew.
                let mut found = Vec::new();
                for _ in 0..3 {
                    let (took, said) = timed(world, nodes[0], line);
                    assert!(took < S * 8, "{took:?} {said:?}");
                    found = said
                        .into_iter()
                        .filter(|e| e["event"] == "result" || e["event"] == "downloaded")
                        .collect();
                    if !found.is_empty() {
                        break;
                    }
                    world.run_for(S * 2);
                }
                assert_eq!(found.len(), 1, "{line}, without interface {best}");
                let (took, _) = timed(world, nodes[0], "search needle");
                assert!(took < S, "and it is known from then on: {took:?}");
                assert_eq!(rows(world, nodes[0]).len(), 1);
                world.set_link(hosts[1], 2 + best, true);
                world.run_for(S * 20);
            }
        }
    });
}
