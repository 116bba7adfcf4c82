//! Downloads over sessions: what arrives, what is refused, and what happens to those that are disturbed.

use super::common::{
    MS, PORT, S, addr_of, command, done, errors, get, host_of, nothing_left, pairs, peer, peers, peers_on,
    plain,
};
use super::holders::{settled, status};
use crate::content::Content;
use crate::faults::DiskFaults;
use crate::harness::scenario;
use crate::ids::{ActorId, LanId, NodeId};
use crate::liar::{Heard, Liar, Mouth, file, hashed};
use crate::world::World;
use distrishare::config::Limits;
use distrishare::machine::Dir;
use distrishare::proto::content::Root;
use distrishare::proto::v2::message::{Code, DataKind, Message};
use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Nodes that know each other.
fn friends(world: &mut World, n: usize) -> Vec<NodeId> {
    let nodes = peers(world, n);
    nodes.iter().for_each(|&node| world.type_line(node, "multicast on"));
    world.run_for(S * 2);
    nodes
}

fn slow(world: &mut World, node: NodeId, byte_ns: u64) {
    let host = host_of(world, node);
    world.env.net.topology.host_mut(host).byte_ns = byte_ns;
}

/// Bytes of the one unfinished download that are on the disk, verified or not. Its length tells nothing: room is set
/// aside for all of it.
fn so_far(world: &World, node: NodeId) -> u64 {
    let disk = &world.nodes[node.0].disk;
    let parts = disk.names(Dir::Parts);
    let part = parts.iter().find(|name| name.ends_with(".part"));
    part.and_then(|name| disk.content(Dir::Parts, name)).map_or(0, Content::stored)
}

/// Bytes of the one unfinished download that are verified.
fn kept(world: &mut World, node: NodeId) -> u64 {
    let said = command(world, node, "transfers");
    let mut rows = said.iter().filter(|event| event["event"] == "transfer");
    let (row, none) = (rows.next(), rows.next().is_none());
    assert!(none, "several: {said:?}");
    row.and_then(|row| row["bytes"].as_u64()).unwrap_or(0)
}

/// A finished download is the file, and nothing else of it is left.
fn complete(world: &World, node: NodeId, name: &str) {
    assert!(world.has_download(node, name), "{}", world.stdout(node));
    assert_eq!(pairs(world, node), 0);
}

fn reaches(world: &mut World, node: NodeId, bytes: u64) {
    let there = world.run_until(S * 60, |world| so_far(world, node) >= bytes);
    assert!(there, "never reaches {bytes} bytes: {}", world.stdout(node));
}

#[test]
fn every_size_and_every_name_arrives_verified() {
    let sizes = [0, 1, 4095, 4096, 4097, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB - 1, MIB, MIB + 1];
    let names = ["a/b/größe ñ.txt", "😀/😀 😀.png", "with blanks", "3 pieces.bin"];
    scenario("every_size_and_every_name", 1, |world| {
        world.env.truth.forbid_short = true;
        let nodes = peers(world, 2);
        let mut all: Vec<(String, u64)> = sizes.iter().map(|size| (format!("size{size}"), *size)).collect();
        all.extend(names.iter().map(|name| ((*name).to_owned(), 3 * MIB + 5)));
        all.truncate(sizes.len() + 3);
        for (i, (name, size)) in all.iter().enumerate() {
            let size = if name.starts_with("size") { *size } else { 5000 + *size % 7 };
            world.share(nodes[0], name, Content::generated(i as u64, size));
        }
        world.share(nodes[0], names[3], Content::generated(99, 3 * MIB + 5));
        all.push((names[3].to_owned(), 0));
        world.run_for(MS * 10);
        all.iter().for_each(|(name, _)| get(world, nodes[1], nodes[0], name));
        let whole = |world: &World| all.iter().all(|(name, _)| world.has_download(nodes[1], name));
        assert!(world.run_until(S * 60, whole), "{}", world.stdout(nodes[1]));
        world.run_for(S);
        let got = world.events_named(nodes[1], "downloaded");
        assert!(got.len() == all.len() && got.iter().all(|event| event["verified"] == true), "{got:?}");
        assert_eq!(status(world, nodes[1])["sessions"], 1, "one for all of them");
    });
}

/// What a member that lies has: names and files.
struct Bait {
    bytes: Vec<u8>,
}

impl Bait {
    fn new(len: u64) -> Bait {
        Bait { bytes: Content::generated(77, len).read(0, len as usize) }
    }

    fn root(&self) -> Root {
        hashed(&self.bytes).0
    }

    fn values(&self) -> Vec<u8> {
        hashed(&self.bytes).1.concat()
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Answers as an honest node does; notes what it was asked for.
    fn serve(&self, mouth: &mut Mouth<'_, '_>, heard: &Heard) {
        let Heard::Message(message) = heard else { return };
        mouth.cx.note(message.kind().name());
        match message {
            Message::Stat { id, name } => {
                mouth.files(*id, vec![file(name, self.size(), Some(self.root()))], true);
            }
            Message::Values { id, first, count, .. } => {
                let from = *first as usize * 32;
                let values = &self.values()[from..from + *count as usize * 32];
                mouth.data(DataKind::Values, *id, *first, values);
            }
            Message::Get { id, offset, len, .. } => {
                let range = *offset as usize..(*offset + *len) as usize;
                mouth.data(DataKind::Data, *id, *offset, &self.bytes[range]);
            }
            _ => {}
        }
    }
}

/// A peer asks such a member for `file`; what it says when that is over.
fn baited(
    world: &mut World,
    act: impl FnMut(&mut Mouth<'_, '_>, Heard) + 'static,
) -> (NodeId, ActorId, serde_json::Value) {
    let lan = world.lan();
    let (host, there) = (world.host(&[lan]), world.host(&[lan]));
    let node = plain(world, host);
    world.env.truth.tainted.insert("file".to_owned());
    let liar = world.actor(there, Liar::listens(1, PORT, act));
    let to = world.addr(there, PORT);
    let said = command_within(world, node, &format!("get {} {} file", to.ip(), to.port()), S * 3000);
    (node, liar, said)
}

/// The last word of a command that may take long.
fn command_within(world: &mut World, node: NodeId, line: &str, limit: Duration) -> serde_json::Value {
    let before = done(world, node, "get");
    world.type_line(node, line);
    let end = world.now() + limit;
    while done(world, node, "get") == before {
        assert!(world.now() < end, "`{line}` never ends: {}", world.stdout(node));
        world.run_for(S);
    }
    let mut said = world.json_events(node);
    said.retain(|event| event["event"] == "downloaded" || event["event"] == "error");
    said.pop().expect("an end")
}

fn verification(said: &serde_json::Value) {
    assert_eq!(said["code"], "verification", "{said}");
    let text = said["message"].as_str().unwrap_or("");
    assert!(text.contains("failed verification") && text.len() < 256, "{said}");
}

#[test]
fn a_member_made_by_hand_can_be_honest() {
    // What the lies of the others are measured by.
    scenario("a_member_made_by_hand", 1, |world| {
        for len in [0, 5000, MIB, 2 * MIB + 1] {
            let bait = Bait::new(len);
            let content = Content::from(bait.bytes.as_slice());
            let (node, ..) = baited(world, move |mouth, heard| bait.serve(mouth, &heard));
            let got = world.nodes[node.0].disk.content(Dir::Downloads, "file").cloned();
            assert!(got.is_some_and(|got| got.same(&content)), "{len}: {}", world.stdout(node));
        }
    });
}

#[test]
fn wrong_lists_of_values_are_refused_before_any_byte_is_asked_for() {
    // hostile: 106
    type Lie = fn(&mut Mouth<'_, '_>, u32, &[u8]);
    let lies: [Lie; 7] = [
        |mouth, id, values| mouth.data(DataKind::Values, id, 0, &vec![7; values.len()]),
        |mouth, id, values| mouth.data(DataKind::Values, id, 0, &[values, &[0; 32]].concat()),
        |mouth, id, values| mouth.data(DataKind::Values, id, 1, &values[32..]),
        |mouth, id, values| {
            // Each of them is right.
            mouth.data(DataKind::Values, id, 1, &values[32..64]);
            mouth.data(DataKind::Values, id, 0, &values[..32]);
        },
        |mouth, id, values| {
            mouth.data(DataKind::Values, id, 0, &values[..32]);
            mouth.data(DataKind::Values, id, 0, values);
        },
        |mouth, id, _| {
            mouth.data(DataKind::Values, id, 0, &hashed(&[9; 3 << 20]).1.concat());
        },
        |mouth, id, values| {
            let swapped = [&values[32..64], &values[..32], &values[64..]].concat();
            mouth.data(DataKind::Values, id, 0, &swapped);
        },
    ];
    scenario("wrong_lists_of_values", 1, |world| {
        for lie in lies {
            let bait = Bait::new(2 * MIB + 1);
            let (node, liar, said) = baited(world, move |mouth, heard| match heard {
                Heard::Message(Message::Values { id, .. }) => lie(mouth, id, &bait.values()),
                heard => bait.serve(mouth, &heard),
            });
            verification(&said);
            nothing_left(world, node);
            assert!(!world.log(liar).notes.contains(&"get".to_owned()), "nothing was asked for");
        }
        // Too few, and then none: that takes its time.
        let bait = Bait::new(2 * MIB + 1);
        let (node, liar, said) = baited(world, move |mouth, heard| match heard {
            Heard::Message(Message::Values { id, .. }) => {
                mouth.data(DataKind::Values, id, 0, &bait.values()[..64]);
            }
            heard => bait.serve(mouth, &heard),
        });
        assert_eq!(said["code"], "timeout", "{said}");
        nothing_left(world, node);
        assert!(!world.log(liar).notes.contains(&"get".to_owned()));
    });
}

#[test]
fn wrong_bytes_are_noticed_with_their_piece_and_never_kept() {
    // hostile: 101, 102 (of one source)
    type Lie = fn(&mut Mouth<'_, '_>, u32, u64, &[u8]);
    let lies: [Lie; 6] = [
        |mouth, id, at, bytes| {
            let mut bytes = bytes.to_vec();
            bytes[at as usize % 4096 + 4000] ^= 1;
            mouth.data(DataKind::Data, id, at, &bytes);
        },
        |mouth, id, at, bytes| mouth.data(DataKind::Data, id, at + 4096, &bytes[4096..]),
        |mouth, id, at, bytes| mouth.data(DataKind::Data, id, at, &bytes[..4095]),
        |mouth, id, at, bytes| mouth.data(DataKind::Data, id, at, &bytes[..4097]),
        |mouth, id, at, bytes| {
            // Over the end of what was asked for.
            let (first, last) = bytes.split_at(bytes.len() - 4096);
            mouth.data(DataKind::Data, id, at, first);
            mouth.data(DataKind::Data, id, at + first.len() as u64, &[last, &[0; 4096]].concat());
        },
        |mouth, id, at, bytes| {
            mouth.data(DataKind::Data, id, at, &bytes[..4096]);
            mouth.data(DataKind::Data, id, at, &bytes[..4096]);
        },
    ];
    scenario("wrong_bytes_are_noticed", 1, |world| {
        for (i, lie) in lies.into_iter().enumerate() {
            let bait = Bait::new(2 * MIB + 1);
            let (node, liar, said) = baited(world, move |mouth, heard| match heard {
                // The other pieces are right.
                Heard::Message(Message::Get { id, offset: MIB, len, .. }) => {
                    lie(mouth, id, MIB, &bait.bytes[MIB as usize..(MIB + len) as usize]);
                }
                heard => bait.serve(mouth, &heard),
            });
            verification(&said);
            let ip = world.ip(world.actors[liar.0].host).to_string();
            let blamed = world.events_named(node, "blamed");
            assert!(!blamed.is_empty() && blamed.iter().all(|event| event["ip"] == *ip), "{i}: {blamed:?}");
            // Nothing of the wrong piece counts; an honest source gives what is missing, and no more than that.
            assert!(world.downloads(node).is_empty());
            let before = kept(world, node);
            assert!(before <= MIB + 1, "{i}: {before}");
            let bait = Bait::new(2 * MIB + 1);
            let (content, size) = (Content::from(bait.bytes.as_slice()), bait.size());
            let honest = world.host(&[LanId(i)]);
            let honest =
                world.actor(honest, Liar::listens(2, PORT, move |mouth, heard| bait.serve(mouth, &heard)));
            let to = world.ip(world.actors[honest.0].host);
            let said = command_within(world, node, &format!("get {to} {PORT} file"), S * 60);
            assert_eq!((&said["event"], &said["resumed"]), (&"downloaded".into(), &0.into()), "{i}: {said}");
            let got = world.nodes[node.0].disk.content(Dir::Downloads, "file").cloned();
            assert!(got.is_some_and(|got| got.same(&content)), "{i}: {}", world.stdout(node));
            assert_eq!(pairs(world, node), 0);
            let blocks = world.log(honest).notes.iter().filter(|note| *note == "get").count() as u64;
            assert!(
                blocks <= (size - before).div_ceil(MIB / 4) + 1,
                "{i}: {blocks} blocks of {size} - {before}"
            );
        }
    });
}

#[test]
fn a_file_is_not_exchanged_while_it_is_loaded() {
    // A second answer to the question what stands under the name, once the first piece is here.
    scenario("a_file_is_not_exchanged", 1, |world| {
        let (bait, other) = (Bait::new(2 * MIB + 1), Bait { bytes: vec![5; 3 << 20] });
        let content = Content::from(bait.bytes.as_slice());
        let mut asked = 0;
        let (node, ..) = baited(world, move |mouth, heard| match heard {
            Heard::Message(Message::Stat { id, ref name }) => {
                asked = id;
                mouth.files(id, vec![file(name, bait.size(), Some(bait.root()))], false);
            }
            Heard::Message(Message::Get { id, offset, root, .. }) if root == other.root() => {
                mouth.data(DataKind::Data, id, offset, &vec![5; 1 << 20]);
            }
            Heard::Message(Message::Values { id, root, .. }) if root == other.root() => {
                mouth.data(DataKind::Values, id, 0, &other.values());
            }
            Heard::Message(Message::Get { offset: MIB, .. }) => {
                bait.serve(mouth, &heard);
                mouth.files(asked, vec![file("file", other.size(), Some(other.root()))], false);
            }
            heard => bait.serve(mouth, &heard),
        });
        let got = world.nodes[node.0].disk.content(Dir::Downloads, "file").cloned();
        assert!(got.is_none_or(|got| got.same(&content)), "{}", world.stdout(node));
    });
}

#[test]
fn data_that_nobody_asked_for_is_dropped_and_a_hundred_of_it_end_the_session() {
    // hostile: 100
    scenario("data_that_nobody_asked_for", 1, |world| {
        for (times, ends) in [(100, false), (101, true)] {
            let lan = world.lan();
            let (host, there) = (world.host(&[lan]), world.host(&[lan]));
            let node = plain(world, host);
            world.run_for(MS * 10);
            let to = world.addr(host, PORT);
            let liar = Liar::dials(1, to, move |mouth, heard| match heard {
                Heard::Open => {
                    for i in 0..times {
                        match i % 4 {
                            0 => mouth.data(DataKind::Data, i, 0, &[1; 4096]),
                            1 => mouth.data(DataKind::Values, i, 0, &[1; 32]),
                            2 => mouth.files(i, vec![file("x", 1, None)], i % 8 == 2),
                            _ => {
                                mouth.say(&Message::Refused { id: i, code: Code::Gone, text: "x".into() });
                            }
                        }
                    }
                    mouth.say(&Message::Ping { id: 7 });
                }
                Heard::Message(message) => mouth.cx.note(message.kind().name()),
                _ => {}
            });
            let liar = world.actor(there, liar);
            world.run_for(S * 3);
            let notes = &world.log(liar).notes;
            assert_eq!(notes, if ends { &["close"] } else { &["pong"] }, "{times}");
            nothing_left(world, node);
        }
    });
}

#[test]
fn answers_to_other_requests_do_not_feed_a_download() {
    scenario("answers_to_other_requests", 1, |world| {
        let bait = Bait::new(8192);
        let (node, _, said) = baited(world, move |mouth, heard| match heard {
            Heard::Message(Message::Get { id, .. }) => {
                mouth.data(DataKind::Data, id + 1, 0, &bait.bytes);
                mouth.data(DataKind::Data, id.wrapping_sub(1), 0, &bait.bytes);
            }
            heard => bait.serve(mouth, &heard),
        });
        // The number before is that of another request to the same source: it sends what was not asked for.
        verification(&said);
        nothing_left(world, node);
    });
}

#[test]
fn sizes_at_the_limits_are_refused_with_words() {
    // hostile: 105
    scenario("sizes_at_the_limits", 1, |world| {
        for (size, run) in [(0, true), (1 << 43, true), (1 << 37, false)] {
            let lan = world.lan();
            let (host, there) = (world.host(&[lan]), world.host(&[lan]));
            let node = peer(world, host, move |config| {
                if !run {
                    config.limits = Limits::small();
                }
            });
            world.nodes[node.0].disk.capacity = 1 << 30;
            world.env.truth.tainted.insert("file".to_owned());
            let act = move |mouth: &mut Mouth<'_, '_>, heard| match heard {
                Heard::Message(Message::Stat { id, name }) => {
                    // Of nothing at all it must be the right root.
                    mouth.files(id, vec![file(&name, size, Some(Root::new([1; 32])))], true);
                }
                Heard::Message(message) => mouth.cx.note(message.kind().name()),
                _ => {}
            };
            let liar = world.actor(there, Liar::listens(1, PORT, act));
            let said = command_within(world, node, &format!("get {} {PORT} file", world.ip(there)), S * 300);
            assert_eq!(said["event"], "error", "{size}: {said}");
            assert!(said["message"].as_str().is_some_and(|text| text.len() > 20), "{said}");
            let asked = &world.log(liar).notes;
            assert!(!asked.contains(&"get".to_owned()), "{size}: {asked:?}");
            nothing_left(world, node);
        }
    });
}

#[test]
fn a_file_that_is_still_being_hashed_is_waited_for() {
    scenario("a_file_that_is_still_being_hashed", 1, |world| {
        let nodes = peers(world, 2);
        world.run_for(MS * 10);
        world.share(nodes[0], "file", Content::generated(1, 4 * MIB + 5));
        world.run_for(MS * 900);
        world.nodes[nodes[0].0].disk.faults = DiskFaults { slow: 600_000, ..DiskFaults::default() };
        // Found, but not read so soon.
        while status(world, nodes[0])["index"]["files"] == 0 {
            world.run_for(S / 2);
        }
        assert_ne!(status(world, nodes[0])["index"]["hashed_files"], 1, "it was no test of patience");
        get(world, nodes[1], nodes[0], "file");
        world.run_for(S * 2);
        assert_eq!(errors(world, nodes[1]), Vec::<String>::new());
        let whole = |world: &World| world.has_download(nodes[1], "file");
        assert!(!whole(world));
        assert!(world.run_until(S * 300, whole), "{}", world.stdout(nodes[1]));
        world.run_for(S * 2);
        assert_eq!(world.events_named(nodes[1], "downloaded")[0]["verified"], true);
    });
}

#[test]
fn time_spent_waiting_for_the_hash_is_no_slowness_of_the_source() {
    scenario("time_spent_waiting_for_the_hash", 1, |world| {
        let bait = Bait::new(32 * 4096);
        let (mut asked, mut request) = (0, (0, 0));
        let (node, ..) = baited(world, move |mouth, heard| match heard {
            Heard::Message(Message::Stat { id, ref name }) if asked < 200 => {
                asked += 1;
                mouth.files(id, vec![file(name, bait.size(), None)], true);
            }
            // 2 KiB a second.
            Heard::Message(Message::Get { id, offset, .. }) => {
                request = (id, offset);
                mouth.later(MS, 0);
            }
            Heard::Timer(_) => {
                let (id, at) = request;
                request.1 += 4096;
                mouth.data(DataKind::Data, id, at, &bait.bytes[at as usize..at as usize + 4096]);
                if request.1 < bait.size() {
                    mouth.later(S * 2, 0);
                }
            }
            heard => bait.serve(mouth, &heard),
        });
        assert_eq!(world.downloads(node), ["file"], "{}", world.stdout(node));
    });
}

#[test]
fn files_that_change_between_search_and_get_or_meanwhile_are_never_half_kept() {
    type Change = fn(&mut World, NodeId);
    let changes: [Change; 5] = [
        |world, node| world.remove_shared(node, "file"),
        |world, node| world.share(node, "file", Content::generated(8, 3 * MIB)),
        |world, node| world.rewrite_shared(node, "file", Content::generated(8, 3 * MIB)),
        |world, node| {
            let short = Content::generated(7, MIB / 2);
            world.rewrite_shared(node, "file", short);
        },
        |world, node| world.nodes[node.0].disk.spoil(Dir::Shared, "file", MIB + MIB / 2),
    ];
    scenario("files_that_change_between", 5, |world| {
        world.env.truth.forbid_short = true;
        let i = world.env.seed as usize % 5;
        let change = changes[i];
        {
            for early in [true, false] {
                let nodes = friends(world, 2);
                world.share(nodes[0], "file", Content::generated(7, 3 * MIB));
                settled(world, nodes[0], 1);
                let found = command(world, nodes[1], "search file");
                assert_eq!(found.last().expect("a result")["number"], 1, "{found:?}");
                slow(world, nodes[0], 500);
                if early {
                    change(world, nodes[0]);
                }
                world.type_line(nodes[1], "get 1");
                if !early {
                    reaches(world, nodes[1], MIB / 4);
                    change(world, nodes[0]);
                }
                assert!(world.run_until(S * 200, |world| done(world, nodes[1], "get") == 1), "{i}");
                let said = errors(world, nodes[1]);
                if said.is_empty() {
                    // What is open is still there, whatever became of its name.
                    assert!(!early && i < 2, "{i}, {early}: {}", world.stdout(nodes[1]));
                    complete(world, nodes[1], "file");
                } else {
                    let codes = ["not_found", "verification", "refused"];
                    let error = &world.events_named(nodes[1], "error")[0];
                    assert!(codes.iter().any(|code| error["code"] == *code), "{error}");
                    assert!(world.downloads(nodes[1]).is_empty());
                    // What was right of it is kept, and is all of it once the source has it again.
                    assert!(pairs(world, nodes[1]) <= usize::from(!early || i == 4));
                    world.share(nodes[0], "file", Content::generated(7, 3 * MIB));
                    world.run_for(S * 3);
                    settled(world, nodes[0], 1);
                    world.type_line(nodes[1], "get 1");
                    let whole = |world: &World| world.has_download(nodes[1], "file");
                    assert!(world.run_until(S * 200, whole), "{i}, {early}: {}", world.stdout(nodes[1]));
                    world.run_for(S);
                    complete(world, nodes[1], "file");
                    let got = world.nodes[nodes[1].0].disk.content(Dir::Downloads, "file");
                    assert!(got.is_some_and(|got| got.same(&Content::generated(7, 3 * MIB))));
                }
            }
        }
    });
}

#[test]
fn the_next_source_goes_on_where_the_lost_one_stopped() {
    // hostile: 111 (by its result's sources)
    scenario("the_next_source_goes_on", 4, |world| {
        let how = world.env.seed % 4;
        let size = 12 * MIB;
        let nodes = friends(world, 3);
        for &node in &nodes[..2] {
            world.share(node, "file", Content::generated(7, size));
            slow(world, node, 300);
            settled(world, node, 1);
        }
        let found = command(world, nodes[2], "search file");
        let sources = found.last().expect("a result")["sources"].as_array().map_or(0, Vec::len);
        assert_eq!(sources, 2, "{found:?}");
        world.type_line(nodes[2], "get 1");
        reaches(world, nodes[2], size / 2);
        let (first, second) = (nodes[0], nodes[1]);
        let sent = nodes[..2].iter().map(|&node| world.uploaded(node)).collect::<Vec<u64>>();
        assert!(sent.iter().all(|&n| n >= size / 6), "both give: {sent:?}");
        let (here, there) = (host_of(world, nodes[2]), host_of(world, first));
        match how {
            0 => world.crash(first),
            1 => world.partition(here, there),
            2 => world.suspend(first),
            _ => world.remove_shared(first, "file"),
        }
        let whole = |world: &World| world.has_download(nodes[2], "file");
        assert!(world.run_until(S * 100, whole), "{how}: {}", world.stdout(nodes[2]));
        world.run_for(S);
        complete(world, nodes[2], "file");
        assert_eq!(world.events_named(nodes[2], "downloaded")[0]["sources"], 2);
        // What was under way with the lost one is fetched again: pieces that it had not finished, and no others.
        let all = world.uploaded(first) + world.uploaded(second);
        assert!(all <= size + 4 * MIB, "{how}: {all} bytes for {size}");
        if how < 3 {
            assert!(world.uploaded(second) <= size - sent[0] + 4 * MIB, "{how}: the second sent all again");
        }
    });
}

#[test]
fn the_only_source_is_asked_again_when_it_returns() {
    scenario("the_only_source_is_asked_again", 2, |world| {
        let nodes = friends(world, 2);
        world.share(nodes[0], "file", Content::generated(7, 4 * MIB));
        settled(world, nodes[0], 1);
        slow(world, nodes[0], 300);
        command(world, nodes[1], "search file");
        world.type_line(nodes[1], "get 1");
        reaches(world, nodes[1], 2 * MIB);
        let before = kept(world, nodes[1]);
        assert!(before >= MIB, "{before}");
        world.crash(nodes[0]);
        let sent = world.uploaded(nodes[0]);
        world.run_for(S * 2);
        world.start(nodes[0]);
        let whole = |world: &World| world.has_download(nodes[1], "file");
        assert!(world.run_until(S * 60, whole), "{}", world.stdout(nodes[1]));
        assert_eq!(errors(world, nodes[1]), Vec::<String>::new());
        let rest = world.uploaded(nodes[0]) - sent;
        assert!(rest <= 4 * MIB - before, "{rest} bytes, and {before} were there");
        world.run_for(S);
        complete(world, nodes[1], "file");
    });
}

#[test]
fn all_sources_lost_is_said_and_what_is_here_goes_on_when_one_returns() {
    scenario("all_sources_lost", 1, |world| {
        let nodes = friends(world, 3);
        for &node in &nodes[..2] {
            world.share(node, "file", Content::generated(7, 8 * MIB));
            slow(world, node, 300);
            settled(world, node, 1);
        }
        command(world, nodes[2], "search file");
        world.type_line(nodes[2], "get 1");
        reaches(world, nodes[2], 5 * MIB);
        let hosts = [host_of(world, nodes[0]), host_of(world, nodes[1])];
        hosts.iter().for_each(|&host| world.power_off(host));
        assert!(world.run_until(S * 300, |world| done(world, nodes[2], "get") == 1), "it never ends");
        let said = errors(world, nodes[2]);
        assert!(said.len() == 1 && said[0].contains("are kept"), "{said:?}");
        assert!(world.downloads(nodes[2]).is_empty());
        assert_eq!(pairs(world, nodes[2]), 1);
        let before = kept(world, nodes[2]);
        assert!(before >= 2 * MIB, "{before}");
        // Nobody asks for it again: it goes on by itself.
        world.power_on(hosts[1]);
        world.start(nodes[1]);
        world.type_line(nodes[1], "multicast on");
        let sent = world.uploaded(nodes[1]);
        let whole = |world: &World| world.has_download(nodes[2], "file");
        assert!(world.run_until(S * 120, whole), "{}", world.stdout(nodes[2]));
        world.run_for(S);
        complete(world, nodes[2], "file");
        let rest = world.uploaded(nodes[1]) - sent;
        assert!(rest <= 8 * MIB - before, "{rest} bytes, and {before} were there");
    });
}

#[test]
fn all_sources_lost_before_the_first_piece_leaves_nothing() {
    scenario("all_sources_lost_before_the_first_piece", 1, |world| {
        let nodes = friends(world, 2);
        world.share(nodes[0], "file", Content::generated(7, 8 * MIB));
        slow(world, nodes[0], 300);
        settled(world, nodes[0], 1);
        command(world, nodes[1], "search file");
        world.type_line(nodes[1], "get 1");
        reaches(world, nodes[1], MIB / 4);
        let host = host_of(world, nodes[0]);
        world.power_off(host);
        assert!(world.run_until(S * 300, |world| done(world, nodes[1], "get") == 1), "it never ends");
        let said = errors(world, nodes[1]);
        assert!(said.len() == 1 && said[0].contains("nothing is kept"), "{said:?}");
        world.run_for(S);
        nothing_left(world, nodes[1]);
    });
}

#[test]
fn a_slow_source_is_left_and_the_last_one_named() {
    scenario("a_slow_source_is_left", 1, |world| {
        for (every, words) in [(S * 61, "too slowly or not at all"), (S * 20, "sends")] {
            let bait = Bait::new(MIB);
            let mut next = (0, 0);
            let start = world.now();
            let (node, _, said) = baited(world, move |mouth, heard| match heard {
                Heard::Message(Message::Get { id, offset: 0, .. }) => {
                    next = (id, 0);
                    mouth.later(MS, 0);
                }
                Heard::Message(Message::Get { .. }) => {}
                Heard::Timer(_) => {
                    let (id, at) = next;
                    mouth.data(DataKind::Data, id, at, &bait.bytes[at as usize..at as usize + 4096]);
                    next.1 += 4096;
                    mouth.later(every, 0);
                }
                heard => bait.serve(mouth, &heard),
            });
            assert_eq!(said["code"], "timeout", "{said}");
            assert!(said["message"].as_str().is_some_and(|text| text.contains(words)), "{said}");
            assert!(world.now() - start < S * 600, "{:?}", world.now() - start);
            nothing_left(world, node);
        }
    });
}

#[test]
fn downloads_run_beside_each_other_on_one_session_and_on_several() {
    scenario("downloads_run_beside_each_other", 2, |world| {
        world.env.truth.forbid_short = true;
        let nodes = peers(world, 4);
        let mut all = Vec::new();
        for (i, &node) in nodes.iter().enumerate() {
            for k in 0..4u64 {
                let name = format!("from{i}/file{k}");
                let size = [1, 5000, 70_000, 300_000][k as usize];
                world.share(node, &name, Content::generated(i as u64 * 10 + k, size));
                all.push((i, name));
            }
        }
        world.run_for(MS * 10);
        // Everybody fetches everything of everybody: up and down at once, on sessions that both sides want.
        for (i, name) in &all {
            for (k, &node) in nodes.iter().enumerate().filter(|(k, _)| k != i) {
                assert_ne!(k, *i);
                get(world, node, nodes[*i], name);
            }
        }
        let whole = |world: &World, k: usize| {
            all.iter().filter(|(i, _)| *i != k).all(|(_, name)| world.has_download(nodes[k], name))
        };
        let over = world.run_until(S * 60, |world| (0..4).all(|k| whole(world, k)));
        assert!(over, "{}", world.stdout(nodes[0]));
        world.run_for(S * 10);
        for &node in &nodes {
            assert_eq!(errors(world, node), Vec::<String>::new());
            assert_eq!(status(world, node)["sessions"], 3);
        }
    });
}

#[test]
fn a_cancelled_download_leaves_nothing_and_the_source_stops_sending() {
    scenario("a_cancelled_download", 2, |world| {
        let nodes = peers(world, 2);
        world.share(nodes[0], "file", Content::generated(7, 16 * MIB));
        world.share(nodes[0], "small", Content::generated(8, 5000));
        settled(world, nodes[0], 2);
        slow(world, nodes[0], 200);
        get(world, nodes[1], nodes[0], "file");
        reaches(world, nodes[1], MIB);
        world.type_line(nodes[1], "cancel file");
        let sent = so_far(world, nodes[1]);
        world.run_for(S * 10);
        nothing_left(world, nodes[1]);
        let error = world.events_named(nodes[1], "error").pop().expect("it ends");
        assert_eq!(error["command"], "get", "{error}");
        let uploaded = status(world, nodes[0])["uploaded_bytes"].as_u64().unwrap_or(0);
        assert!(uploaded < sent + MIB, "{uploaded} bytes, {sent} at the time");
        assert_eq!(status(world, nodes[0])["uploads"], 0);
        // The session is as good as ever.
        get(world, nodes[1], nodes[0], "small");
        assert!(world.run_until(S * 5, |world| world.has_download(nodes[1], "small")));
        assert_eq!(status(world, nodes[1])["sessions"], 1);
    });
}

#[test]
fn a_small_box_and_a_large_one_understand_each_other() {
    scenario("a_small_box_and_a_large_one", 2, |world| {
        world.env.truth.forbid_short = true;
        let lan = world.lan();
        let small = peers_on(world, lan, 1, |config| config.limits = Limits::small())[0];
        let large = peers_on(world, lan, 1, |_| {})[0];
        for (i, node) in [small, large].into_iter().enumerate() {
            world.share(node, &format!("file{i}"), Content::generated(i as u64, 2 * MIB + 4097));
            world.share(node, &format!("odd{i}"), Content::generated(10 + i as u64, 16 * KIB + 1));
        }
        world.run_for(MS * 10);
        for name in ["file0", "odd0"] {
            get(world, large, small, name);
        }
        for name in ["file1", "odd1"] {
            get(world, small, large, name);
        }
        let whole = |world: &World| {
            ["file0", "odd0"].iter().all(|name| world.has_download(large, name))
                && ["file1", "odd1"].iter().all(|name| world.has_download(small, name))
        };
        assert!(world.run_until(S * 60, whole), "{} {}", world.stdout(small), world.stdout(large));
    });
}

#[test]
fn a_session_that_closes_for_idleness_is_made_anew() {
    scenario("a_session_that_closes_for_idleness", 3, |world| {
        let nodes = peers(world, 2);
        for i in 0..8 {
            world.share(nodes[0], &format!("file{i}"), Content::generated(i, 5000));
        }
        settled(world, nodes[0], 8);
        let to = addr_of(world, nodes[0]);
        for i in 0..8u32 {
            let said = command(world, nodes[1], &format!("get {} {PORT} file{i}", to.ip()));
            assert!(said.iter().any(|event| event["event"] == "downloaded"), "{said:?}");
            // The very moment of its end, and around it.
            world.run_for(S * 300 - MS * 2 + Duration::from_micros(600) * i);
        }
        assert_eq!(errors(world, nodes[1]), Vec::<String>::new());
    });
}
