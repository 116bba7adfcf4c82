//! Downloads from several sources at once, some of which rot, lie, stall, leave or return.

use super::common::{S, command, errors, has_copy, host_of};
use super::holders::{MIB, blamed, downloaded, friends, holds, reaches, sends, tail, text_of, whole};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::NodeId;
use crate::world::World;
use distrishare::machine::Dir;
use distrishare::proto::content::PIECE;

/// Bytes on the disk change, and neither their number nor their time does.
fn rots(world: &mut World, node: NodeId, name: &str, pieces: impl Fn(u64) -> bool + Copy) {
    let done = world.nodes[node.0].disk.tamper(Dir::Shared, name, true, |content| {
        let all = content.len().div_ceil(PIECE);
        (0..all).filter(|piece| pieces(*piece)).for_each(|piece| content.flip(piece * PIECE + 77, 3));
    });
    assert!(done, "there is no {name}");
}

#[test]
fn four_sources_one_rotten_one_by_another_name_and_one_that_dies() {
    // hostile: 102
    scenario("four_sources_one_rotten", 4, |world| {
        world.env.truth.forbid_short = true;
        let nodes = friends(world, 5);
        let content = Content::generated(7, 24 * MIB + 4097);
        let [good, rotten, other, dies, to] = nodes[..] else { unreachable!("five") };
        for node in [good, rotten, dies] {
            holds(world, node, "file.bin", &content);
        }
        holds(world, other, "dir/quite another file.bin", &content);
        rots(world, rotten, "file.bin", |_| true);
        nodes.iter().for_each(|&node| sends(world, node, 4 * MIB));
        let found = command(world, to, "search file.bin");
        let result = found.iter().find(|event| event["event"] == "result").expect("one result");
        assert_eq!(result["sources"].as_array().map_or(0, Vec::len), 4, "{found:?}");
        world.type_line(to, "get 1");
        reaches(world, to, 8 * MIB);
        match world.env.seed % 3 {
            0 => world.kill(dies),
            1 => world.power_off(host_of(world, dies)),
            _ => world.suspend(dies),
        }
        let name = result["name"].as_str().expect("a name").to_owned();
        let end = world.run_until(S * 60, |world| {
            world.downloads(to).iter().any(|got| world.has_download(to, got)) || has_copy(world, to, &name)
        });
        assert!(end, "{}", tail(&world.stdout(to)));
        let said = downloaded(world, to, &name);
        assert_eq!((&said["sources"], &said["verified"]), (&3.into(), &true.into()), "{said}");
        assert_eq!(errors(world, to), Vec::<String>::new());
        let guilty = blamed(world, to);
        assert!(guilty.keys().eq([&text_of(world, rotten)]), "{guilty:?}");
        assert!(guilty.values().all(|pieces| *pieces == 3), "{guilty:?}");
        // It was left alone after that.
        assert!(world.uploaded(rotten) <= 12 * MIB, "{}", world.uploaded(rotten));
        assert!(
            world.uploaded(dies) > 0 && world.uploaded(other) > 4 * MIB && world.uploaded(good) > 4 * MIB
        );
    });
}

#[test]
fn one_rotten_piece_among_good_ones_is_told_of_and_fetched_elsewhere() {
    // hostile: 102
    scenario("one_rotten_piece", 3, |world| {
        let nodes = friends(world, 3);
        let content = Content::generated(7, 8 * MIB);
        for &node in &nodes[..2] {
            holds(world, node, "file", &content);
            sends(world, node, 8 * MIB);
        }
        rots(world, nodes[0], "file", |piece| piece % 4 == 1);
        world.type_line(nodes[2], "get file");
        whole(world, nodes[2], "file", S * 30);
        let said = downloaded(world, nodes[2], "file");
        assert_eq!(said["sources"], 2, "{said}");
        let guilty = blamed(world, nodes[2]);
        assert!(guilty.is_empty() || guilty.keys().eq([&text_of(world, nodes[0])]), "{guilty:?}");
    });
}

#[test]
fn a_source_reads_again_what_somebody_got_wrong_bytes_of() {
    scenario("a_source_reads_again", 4, |world| {
        let nodes = friends(world, 2);
        let [rotten, to] = nodes[..] else { unreachable!("two") };
        let content = Content::generated(7, 5 * MIB);
        holds(world, rotten, "file", &content);
        let root_of = |world: &mut World| {
            let found = command(world, to, "search file");
            let result = found.iter().find(|event| event["event"] == "result");
            result.map(|event| event["root"].clone())
        };
        let before = root_of(world).expect("found");
        rots(world, rotten, "file", |piece| piece == 1);
        // What nobody fetched nobody doubts.
        world.run_for(S * 60);
        assert_eq!(root_of(world), Some(before.clone()));
        let said = command(world, to, "get 1");
        let error = said.iter().find(|event| event["event"] == "error").expect("not that content");
        // The source may have read it to the end meanwhile, and not offer that content any more.
        assert!(error["code"] == "verification" || error["code"] == "not_found", "{error}");
        let mended = world.run_until(S * 10, |world| blamed(world, to).len() == 1)
            && (0..10).any(|_| {
                world.run_for(S);
                root_of(world).is_some_and(|root| root != before)
            });
        assert!(mended, "{}", tail(&world.stdout(to)));
        // What is there now can be had.
        let rotten = world.nodes[rotten.0].disk.content(Dir::Shared, "file").cloned();
        world.env.truth.add("file", &rotten.expect("there"));
        world.type_line(to, "get file");
        whole(world, to, "file", S * 30);
        assert_eq!(downloaded(world, to, "file")["verified"], true);
    });
}
