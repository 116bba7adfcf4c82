//! Old nodes and new ones give one file together: what an old one streams is checked piece by piece like anything else.

use super::common::{MS, PORT, S, command, errors, host_of, peers_on};
use super::holders::{MIB, blamed, downloaded, holds, reaches, sends, soon_no_parts, tail, text_of, whole};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::{ActorId, LanId, NodeId};
use crate::original::OriginalPeer;
use crate::world::World;
use distrishare::config::Key;
use std::net::SocketAddr;

/// A new node that holds `content`, an old one that has `old` under its name, and one that wants it; all know each other.
fn three(
    world: &mut World,
    (content, old): (&Content, &Content),
    group: bool,
) -> (NodeId, ActorId, SocketAddr, NodeId) {
    let lan = world.lan();
    let edit = move |config: &mut distrishare::config::PeerConfig| {
        config.group = group.then(|| Key::new([5; 32]));
        config.v1 = !group;
    };
    let nodes = peers_on(world, lan, 2, edit);
    for &node in &nodes {
        world.type_line(node, "multicast on");
    }
    holds(world, nodes[0], "file.bin", content);
    let (actor, at) = original(world, lan, old);
    world.run_for(S * 6);
    (nodes[0], actor, at, nodes[1])
}

fn original(world: &mut World, lan: LanId, content: &Content) -> (ActorId, SocketAddr) {
    let host = world.host(&[lan]);
    world.upload_rate(host, MIB);
    let ip = world.ip(host);
    let peer = OriginalPeer::new(PORT).announcing(ip).multicasting().sharing("file.bin", content.clone());
    (world.actor(host, peer), world.addr(host, PORT))
}

fn found_at_both(world: &mut World, node: NodeId) {
    let found = command(world, node, "search file.bin");
    let hits = found.iter().filter(|event| event["event"] == "found").count();
    assert_eq!(hits, 2, "{found:?}");
    let results = found.iter().filter(|event| event["event"] == "result").count();
    assert!(results >= 1, "{found:?}");
}

#[test]
fn an_old_holder_and_a_new_one_give_pieces_of_one_file() {
    scenario("an_old_holder_and_a_new_one", 3, |world| {
        world.env.truth.forbid_short = true;
        let content = Content::generated(7, 8 * MIB + world.env.seed % 100 * 4099);
        let (holder, _, _, to) = three(world, (&content, &content), false);
        sends(world, holder, MIB);
        found_at_both(world, to);
        world.type_line(to, "get file.bin");
        let took = whole(world, to, "file.bin", S * 60);
        let said = downloaded(world, to, "file.bin");
        assert_eq!((&said["sources"], &said["verified"]), (&2.into(), &true.into()), "{said}");
        assert!(blamed(world, to).is_empty());
        assert!(took < S * 15 / 2, "{took:?}: one alone takes 8 s");
        assert!(world.uploaded(holder) < 7 * MIB, "{}", world.uploaded(holder));
        soon_no_parts(world, to);
    });
}

#[test]
fn an_old_node_with_another_file_of_that_name_is_found_out() {
    // hostile: 108
    scenario("an_old_node_with_another_file", 3, |world| {
        world.env.truth.forbid_short = true;
        let content = Content::generated(7, 6 * MIB);
        let other = Content::generated(8, 6 * MIB + [0, 5, 1 << 20][world.env.seed as usize % 3]);
        let (holder, _, at, to) = three(world, (&content, &other), false);
        sends(world, holder, MIB);
        found_at_both(world, to);
        world.type_line(to, "get file.bin");
        whole(world, to, "file.bin", S * 60);
        let said = downloaded(world, to, "file.bin");
        assert_eq!((&said["sources"], &said["verified"]), (&1.into(), &true.into()), "{said}");
        // It never said that its file is that one.
        assert!(blamed(world, to).is_empty());
        assert_ne!(text_of(world, holder), at.to_string());
        assert_eq!(errors(world, to), Vec::<String>::new());
        soon_no_parts(world, to);
    });
}

#[test]
fn an_old_holder_completes_what_the_new_one_that_left_had_begun() {
    scenario("an_old_holder_completes", 3, |world| {
        world.env.truth.forbid_short = true;
        let content = Content::generated(7, 6 * MIB + 17);
        let (holder, _, _, to) = three(world, (&content, &content), false);
        sends(world, holder, MIB / 2);
        found_at_both(world, to);
        world.type_line(to, "get file.bin");
        reaches(world, to, MIB / 2);
        match world.env.seed % 3 {
            0 => world.kill(holder),
            1 => world.power_off(host_of(world, holder)),
            _ => world.suspend(holder),
        }
        whole(world, to, "file.bin", S * 60);
        let said = downloaded(world, to, "file.bin");
        assert_eq!(said["verified"], true, "{said}");
        assert_eq!(errors(world, to), Vec::<String>::new(), "{}", tail(&world.stdout(to)));
        soon_no_parts(world, to);
    });
}

#[test]
fn an_old_holder_that_stops_in_the_middle_is_no_harm() {
    scenario("an_old_holder_that_stops", 2, |world| {
        world.env.truth.forbid_short = true;
        let content = Content::generated(7, 6 * MIB + 17);
        let (holder, actor, at, to) = three(world, (&content, &content), false);
        sends(world, holder, MIB);
        found_at_both(world, to);
        world.type_line(to, "get file.bin");
        reaches(world, to, 2 * MIB);
        if world.env.seed % 2 == 0 {
            world.stop(actor);
        } else {
            let host = world.actors[actor.0].host;
            world.power_off(host);
        }
        whole(world, to, "file.bin", S * 60);
        assert!(blamed(world, to).is_empty(), "{at}");
        assert_eq!(errors(world, to), Vec::<String>::new());
        soon_no_parts(world, to);
    });
}

#[test]
fn in_a_group_an_old_node_is_never_asked() {
    scenario("in_a_group_an_old_node", 2, |world| {
        let content = Content::generated(7, 3 * MIB);
        let (holder, actor, _, to) = three(world, (&content, &content), true);
        sends(world, holder, MIB);
        world.type_line(to, "get file.bin");
        reaches(world, to, MIB);
        if world.env.seed % 2 == 1 {
            world.kill(holder);
            world.run_for(S * 100);
            assert!(!world.has_download(to, "file.bin"));
            world.start(holder);
            world.type_line(holder, "multicast on");
        }
        world.run_for(MS * 10);
        whole(world, to, "file.bin", S * 200);
        assert_eq!(downloaded(world, to, "file.bin")["sources"], 1);
        let asked = world.log(actor).all();
        assert!(!String::from_utf8_lossy(&asked).contains("filename"), "it was asked");
    });
}
