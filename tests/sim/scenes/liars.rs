//! Members that lie to a download, or to somebody who has the file, in every way but the cryptographic ones.

use super::common::{MS, PORT, S, addr_of, command, done, errors, host_of, nothing_left, peers_on, plain};
use super::holders::{
    KIB, MIB, blamed, downloaded, holds, reaches, sends, soon_no_parts, state, status, tail, whole,
};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::{ActorId, LanId, NodeId};
use crate::liar::{Heard, Liar, Mouth, file, hashed};
use crate::world::World;
use distrishare::proto::content::{PIECE, Root, VALUE};
use distrishare::proto::v2::message::{Code, DataKind, Message};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A file that members made by hand pretend to have.
#[derive(Clone)]
struct Loot {
    content: Content,
    bytes: Vec<u8>,
    root: Root,
    values: Vec<u8>,
}

impl Loot {
    fn new(content: &Content) -> Loot {
        let bytes = content.read(0, content.len() as usize);
        let (root, values) = hashed(&bytes);
        Loot { content: content.clone(), bytes, root, values: values.concat() }
    }

    /// What an honest holder answers.
    fn serve(&self, mouth: &mut Mouth<'_, '_>, heard: &Heard) {
        let Heard::Message(message) = heard else { return };
        mouth.cx.note(message.kind().name());
        let size = self.bytes.len() as u64;
        match message {
            Message::Search { id, .. } => mouth.files(*id, vec![file("file", size, Some(self.root))], true),
            Message::Stat { id, name } => mouth.files(*id, vec![file(name, size, Some(self.root))], true),
            Message::Follow { id, .. } => {
                mouth.say(&Message::Have { id: *id, all: true, map: Vec::new(), pieces: Vec::new() });
            }
            Message::Values { id, first, count, .. } => {
                let from = *first as usize * VALUE;
                mouth.data(DataKind::Values, *id, *first, &self.values[from..from + *count as usize * VALUE]);
            }
            Message::Get { id, offset, len, .. } => {
                let range = *offset as usize..(*offset + *len) as usize;
                mouth.data(DataKind::Data, *id, *offset, &self.bytes[range]);
            }
            Message::Ping { id } => mouth.say(&Message::Pong { id: *id }),
            _ => {}
        }
    }
}

/// A network with somebody who fetches.
fn fetcher(world: &mut World) -> (LanId, NodeId) {
    world.env.truth.forbid_short = true;
    let lan = world.lan();
    let host = world.host(&[lan]);
    let to = plain(world, host);
    world.type_line(to, "multicast on");
    world.run_for(S / 10);
    (lan, to)
}

/// An honest holder.
fn honest(world: &mut World, lan: LanId, content: &Content, rate: u64) -> NodeId {
    let node = peers_on(world, lan, 1, |_| {})[0];
    world.type_line(node, "multicast on");
    holds(world, node, "file", content);
    sends(world, node, rate);
    node
}

/// A member made by hand, whom everybody hears of.
fn liar(
    world: &mut World,
    lan: LanId,
    number: u8,
    act: impl FnMut(&mut Mouth<'_, '_>, Heard) + 'static,
) -> (ActorId, SocketAddr) {
    let host = world.host(&[lan]);
    let actor = world.actor(host, Liar::listens(number, PORT, act));
    let text = format!("HELLO:{}:{PORT}", world.ip(host));
    world.inject(lan, world.addr(host, 5000), text.as_bytes());
    world.run_for(S / 10);
    (actor, world.addr(host, PORT))
}

#[test]
fn where_all_lie_it_ends_with_words_and_without_a_trace() {
    // hostile: 103
    scenario("where_all_lie", 2, |world| {
        let (lan, to) = fetcher(world);
        let loot = Loot::new(&Content::generated(7, 5 * MIB));
        let mut liars = Vec::new();
        for number in 1..=2 {
            let mine = loot.clone();
            liars.push(liar(world, lan, number, move |mouth, heard| match heard {
                Heard::Message(Message::Get { id, offset, len, .. }) => {
                    mouth.data(DataKind::Data, id, offset, &vec![9; len as usize]);
                }
                heard => mine.serve(mouth, &heard),
            }));
        }
        world.type_line(to, "get file");
        let over = world.run_until(S * 120, |world| done(world, to, "get") == 1);
        assert!(over, "{}", tail(&world.stdout(to)));
        let error = world.events_named(to, "error").pop().expect("it says so");
        assert_eq!(error["code"], "verification", "{error}");
        let text = error["message"].as_str().unwrap_or("");
        assert!(text.contains("no source delivers correct data"), "{error}");
        nothing_left(world, to);
        assert_eq!(blamed(world, to).len(), 2, "{}", tail(&world.stdout(to)));
        // Nobody tries on and on, once what was on its way has come.
        world.run_for(S * 10);
        let steps = world.env.trace.steps();
        world.run_for(S * 100);
        assert!(world.env.trace.steps() - steps < 3000, "{}", world.env.trace.steps() - steps);
    });
}

#[test]
fn a_source_that_only_puts_off_is_given_up_with_its_own_words() {
    const WORDS: &str = "the values are not at hand yet";
    type Puts = fn(&Message) -> Option<u32>;
    let kinds: [Puts; 3] = [
        |message| if let Message::Stat { id, .. } = message { Some(*id) } else { None },
        |message| if let Message::Values { id, .. } = message { Some(*id) } else { None },
        |message| if let Message::Get { id, .. } = message { Some(*id) } else { None },
    ];
    for puts in kinds {
        scenario("a_source_that_only_puts_off", 2, |world| {
            let (lan, to) = fetcher(world);
            let mine = Loot::new(&Content::generated(7, 5 * MIB));
            let (actor, at) = liar(world, lan, 1, move |mouth, heard| {
                let id = if let Heard::Message(message) = &heard { puts(message) } else { None };
                match id {
                    Some(id) => {
                        mouth.cx.note("put off");
                        mouth.say(&Message::Refused { id, code: Code::Busy, text: WORDS.to_owned() });
                    }
                    None => mine.serve(mouth, &heard),
                }
            });
            world.type_line(to, &format!("get {} {} file", at.ip(), at.port()));
            let over = world.run_until(S * 30, |world| done(world, to, "get") == 1);
            assert!(over, "{}", tail(&world.stdout(to)));
            let error = world.events_named(to, "error").pop().expect("it says so");
            assert!(error["message"].as_str().is_some_and(|text| text.contains(WORDS)), "{error}");
            let times = world.log(actor).notes.iter().filter(|note| *note == "put off").count();
            assert!((4..200).contains(&times), "asked {times} times");
            nothing_left(world, to);
        });
    }
}

#[test]
fn some_pieces_are_kept_where_the_others_come_wrong_from_everybody() {
    // hostile: 103
    scenario("some_pieces_are_kept", 2, |world| {
        let (lan, to) = fetcher(world);
        let loot = Loot::new(&Content::generated(7, 5 * MIB));
        let mine = loot.clone();
        let (actor, _) = liar(world, lan, 1, move |mouth, heard| match heard {
            Heard::Message(Message::Get { id, offset, len, .. }) if offset >= PIECE * 4 => {
                mouth.data(DataKind::Data, id, offset, &vec![9; len as usize]);
            }
            heard => mine.serve(mouth, &heard),
        });
        world.type_line(to, "get file");
        let over = world.run_until(S * 120, |world| done(world, to, "get") == 1);
        assert!(over, "{}", tail(&world.stdout(to)));
        let error = world.events_named(to, "error").pop().expect("it says so");
        assert_eq!(error["code"], "verification", "{error}");
        world.stop(actor);
        // Whoever comes later completes it.
        world.env.truth.add("file", &loot.content);
        let holder = honest(world, lan, &loot.content, 16 * MIB);
        whole(world, to, "file", S * 200);
        assert!(world.uploaded(holder) <= 5 * MIB);
        soon_no_parts(world, to);
    });
}

/// An honest holder and a liar; the download must be right, and nobody but `guilty` blamed. How long it took, in seconds.
fn beside_an_honest_one(
    world: &mut World,
    size: u64,
    rate: u64,
    lie: impl FnMut(&Loot, &mut Mouth<'_, '_>, Heard) + 'static,
) -> (NodeId, f64, ActorId) {
    let (lan, to) = fetcher(world);
    let content = Content::generated(7, size);
    honest(world, lan, &content, rate);
    let loot = Loot::new(&content);
    let mut lie = lie;
    let (actor, at) = liar(world, lan, 1, move |mouth, heard| lie(&loot, mouth, heard));
    world.run_for(S * 6);
    world.type_line(to, "get file");
    let took = whole(world, to, "file", S * 120);
    assert_eq!(downloaded(world, to, "file")["verified"], true);
    assert_eq!(errors(world, to), Vec::<String>::new());
    assert!(blamed(world, to).keys().all(|guilty| *guilty == at.to_string()));
    soon_no_parts(world, to);
    assert!(!world.log(actor).notes.is_empty(), "nobody asked the liar");
    (to, took.as_secs_f64(), actor)
}

#[test]
fn who_promises_all_and_delivers_nothing_is_left_soon() {
    // hostile: 109
    scenario("who_promises_all", 3, |world| {
        let (to, took, actor) =
            beside_an_honest_one(world, 8 * MIB, 4 * MIB, |loot, mouth, heard| match heard {
                Heard::Message(Message::Get { .. }) => mouth.cx.note("get"),
                heard => loot.serve(mouth, &heard),
            });
        // What it was asked for is asked of the other after ten seconds at most.
        assert!(took < 14.0, "{took} s");
        assert!(blamed(world, to).is_empty(), "to be slow is no lie");
        let asked = world.log(actor).notes.iter().filter(|note| *note == "get").count();
        assert!(asked < 40, "asked {asked} times");
    });
}

#[test]
fn who_is_a_hundred_times_slower_does_not_hold_a_download_up() {
    // hostile: 110
    scenario("who_is_a_hundred_times_slower", 3, |world| {
        let (lan, to) = fetcher(world);
        let content = Content::generated(7, 12 * MIB);
        let fast = honest(world, lan, &content, 4 * MIB);
        let slow = honest(world, lan, &content, 40 * KIB);
        world.run_for(S * 6);
        world.type_line(to, "get file");
        let took = whole(world, to, "file", S * 300).as_secs_f64();
        println!("a hundred times slower: {took} s, 3 s alone");
        assert!(took <= 3.0 * 1.2 + 0.2, "{took} s");
        assert!(world.uploaded(slow) > 0 && world.uploaded(fast) > 11 * MIB);
    });
}

#[test]
fn bytes_of_an_odd_number_or_of_another_place_cost_their_sender_his_place() {
    // hostile: 101, 102
    scenario("bytes_of_an_odd_number", 5, |world| {
        let how = world.env.seed % 5;
        let (to, took, _) =
            beside_an_honest_one(world, 8 * MIB, 2 * MIB, move |loot, mouth, heard| match heard {
                Heard::Message(Message::Get { id, offset, len, .. }) => {
                    let (at, n) = (offset as usize, len as usize);
                    let bytes = &loot.bytes[at..at + n];
                    match how {
                        0 => mouth.data(DataKind::Data, id, offset, &bytes[..4095]),
                        1 => mouth.data(DataKind::Data, id, offset, &[bytes, &[0; 4096]].concat()),
                        2 => mouth.data(DataKind::Data, id, offset + 4096, &bytes[4096..]),
                        3 => mouth.data(DataKind::Data, id, offset, &vec![0; n]),
                        _ => {
                            mouth.data(DataKind::Data, id, offset, &bytes[..4096]);
                            mouth.data(DataKind::Data, id, offset, &bytes[..4096]);
                        }
                    }
                }
                heard => loot.serve(mouth, &heard),
            });
        // What is beyond the end of what was asked for is dropped.
        let guilty = blamed(world, to).len();
        assert!(guilty == 1 || how == 1, "{how}: {}", tail(&world.stdout(to)));
        assert!(took < 8.0, "{took} s");
    });
}

#[test]
fn who_announces_pieces_and_has_none_is_no_harm() {
    scenario("who_announces_pieces", 4, |world| {
        let how = world.env.seed % 4;
        let (_, took, _) =
            beside_an_honest_one(world, 8 * MIB, 4 * MIB, move |loot, mouth, heard| match heard {
                Heard::Message(Message::Follow { id, .. }) => {
                    mouth.cx.note("follow");
                    let pieces = vec![0, 1, 7, 99, 4_000_000];
                    mouth.say(&Message::Have { id, all: how == 0, map: vec![0xff; 256], pieces: Vec::new() });
                    mouth.say(&Message::Have { id, all: false, map: Vec::new(), pieces: pieces.clone() });
                    // And more than once.
                    for _ in 0..50 {
                        mouth.say(&Message::Have {
                            id,
                            all: how == 1,
                            map: Vec::new(),
                            pieces: pieces.clone(),
                        });
                    }
                }
                Heard::Message(Message::Get { id, .. } | Message::Values { id, .. }) => {
                    let code = [Code::Gone, Code::Busy, Code::Bad, Code::Limit][how as usize];
                    mouth.say(&Message::Refused { id, code, text: "no".into() });
                }
                heard => loot.serve(mouth, &heard),
            });
        assert!(took < 10.0, "{how}: {took} s");
    });
}

#[test]
fn members_who_name_others_make_nobody_dial_what_he_must_not() {
    // hostile: 197 in spirit: no third party is reached through us
    scenario("members_who_name_others", 2, |world| {
        let never: Vec<SocketAddr> = [
            "127.0.0.1:9001",
            "127.0.0.1:9000",
            "224.1.1.1:9000",
            "255.255.255.255:9000",
            "0.0.0.0:9000",
            "8.8.8.8:53",
            "8.8.8.8:25",
            "10.0.0.99:22",
            "10.0.0.99:0",
            "10.0.0.98:3306",
            "10.0.0.97:5432",
            "10.0.0.96:6379",
        ]
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect();
        let named = never.clone();
        let (to, took, _) =
            beside_an_honest_one(world, 8 * MIB, 2 * MIB, move |loot, mouth, heard| match heard {
                Heard::Message(Message::Follow { id, .. }) => {
                    loot.serve(mouth, &heard);
                    mouth.say(&Message::Peers { id, nodes: named.clone() });
                    // Many that could be, on this network: 16 in a message.
                    for net in 0..20u8 {
                        let nodes = (0..16).map(|n| ([10, 0, 100 + net, n + 1], 9000).into()).collect();
                        mouth.say(&Message::Peers { id, nodes });
                    }
                }
                heard => loot.serve(mouth, &heard),
            });
        assert!(world.running(to) && took < 10.0);
        for addr in &never {
            let times = world.env.dials.get(addr).copied().unwrap_or(0);
            assert_eq!(times, 0, "{addr} was dialled");
        }
        let strangers = world
            .env
            .dials
            .iter()
            .filter(|(addr, _)| matches!(addr, SocketAddr::V4(a) if a.ip().octets()[2] >= 100));
        let times: u64 = strangers.map(|(_, times)| *times).sum();
        assert!(times <= 64, "{times} dials to addresses that a member made up");
    });
}

/// Somebody who dials `node` and asks; what he was answered.
fn asks(world: &mut World, node: NodeId, act: impl FnMut(&mut Mouth<'_, '_>, Heard) + 'static) -> ActorId {
    let lan = LanId(0);
    let host = world.host(&[lan]);
    let to = addr_of(world, node);
    let actor = world.actor(host, Liar::dials(7, to, act));
    world.run_for(S * 2);
    actor
}

fn note_refusals(mouth: &mut Mouth<'_, '_>, heard: &Heard) {
    match heard {
        Heard::Message(Message::Refused { id, code, .. }) => mouth.cx.note(format!("{id} {}", code.name())),
        Heard::Message(Message::Have { id, all, .. }) => mouth.cx.note(format!("{id} have {all}")),
        Heard::Message(Message::Pong { .. }) => mouth.cx.note("pong"),
        Heard::Data(_, id, _, bytes) => mouth.cx.note(format!("{id} {} bytes", bytes.len())),
        _ => {}
    }
}

#[test]
fn what_is_not_here_is_gone_and_what_is_beyond_the_end_is_refused() {
    // hostile: 97, 98
    scenario("what_is_not_here", 1, |world| {
        let lan = world.lan();
        let node = peers_on(world, lan, 1, |_| {})[0];
        let content = Content::generated(7, 3 * MIB + 5);
        holds(world, node, "file", &content);
        holds(world, node, "leaves", &Content::generated(8, 5000));
        let root = Loot::new(&content).root;
        let left = Loot::new(&Content::generated(8, 5000)).root;
        world.remove_shared(node, "leaves");
        world.run_for(S * 10);
        let actor = asks(world, node, move |mouth, heard| {
            note_refusals(mouth, &heard);
            if !matches!(heard, Heard::Open) {
                return;
            }
            let size = 3 * MIB + 5;
            let never = Root::new([9; 32]);
            for (id, root) in [(1, never), (2, left)] {
                mouth.say(&Message::Get { id, root, offset: 0, len: 4096 });
                mouth.say(&Message::Values { id: id + 10, root, span: 0, first: 0, count: 1 });
                mouth.say(&Message::Follow { id: id + 20, root, group: 0 });
            }
            let beyond = [(4 * MIB, 4096), (1 << 42, MIB), (3 * MIB, MIB), (2 * MIB, 2 * MIB)];
            for (id, (offset, len)) in (40..).zip(beyond) {
                mouth.say(&Message::Get { id, root, offset, len });
            }
            mouth.say(&Message::Values { id: 50, root, span: 0, first: 4, count: 1 });
            mouth.say(&Message::Values { id: 51, root, span: 0, first: 0, count: 2000 });
            mouth.say(&Message::Get { id: 60, root, offset: 3 * MIB, len: size - 3 * MIB });
            mouth.say(&Message::Ping { id: 99 });
        });
        let notes = world.log(actor).notes.clone();
        for id in [1, 2, 11, 21, 22] {
            assert!(notes.contains(&format!("{id} gone")), "{id}: {notes:?}");
        }
        for id in [40, 41, 42, 43, 50, 51] {
            let refused = |note: &String| note.starts_with(&format!("{id} ")) && !note.ends_with("bytes");
            assert!(notes.iter().any(refused), "{id}: {notes:?}");
        }
        assert!(notes.contains(&"60 5 bytes".to_owned()) && notes.contains(&"pong".to_owned()), "{notes:?}");
        assert!(world.running(node));
    });
}

#[test]
fn who_follows_a_thousand_files_is_told_that_this_is_too_many() {
    // hostile: 99
    scenario("who_follows_a_thousand_files", 1, |world| {
        let lan = world.lan();
        let node = peers_on(world, lan, 1, |_| {})[0];
        let contents: Vec<Content> = (0..70).map(|n| Content::generated(n, 100 + n)).collect();
        for (n, content) in contents.iter().enumerate() {
            world.share(node, &format!("file{n}"), content.clone());
        }
        holds(world, node, "last", &Content::generated(500, 10_000));
        world.run_for(S * 5);
        let roots: Vec<Root> = contents.iter().map(|content| Loot::new(content).root).collect();
        let actor = asks(world, node, move |mouth, heard| {
            note_refusals(mouth, &heard);
            if matches!(heard, Heard::Open) {
                for id in 0..1000u32 {
                    let root = roots[id as usize % roots.len()];
                    mouth.say(&Message::Follow { id: id + 1, root, group: 0 });
                }
                mouth.say(&Message::Ping { id: 5000 });
            }
        });
        let notes = &world.log(actor).notes;
        // One that follows a file again moves on in it.
        let told = notes.iter().filter(|note| note.ends_with("have true"));
        let roots: BTreeSet<u32> = told
            .filter_map(|note| note.split(' ').next()?.parse::<u32>().ok())
            .map(|id| (id - 1) % 70)
            .collect();
        assert!((1..=64).contains(&roots.len()), "{roots:?} are followed");
        assert!(world.running(node));
        world.run_for(S * 2);
        assert_eq!(status(world, node)["uploads"], 0);
    });
}

#[test]
fn two_files_of_one_name_are_never_mixed() {
    // hostile: 108
    scenario("two_files_of_one_name", 2, |world| {
        let (lan, to) = fetcher(world);
        let contents = [Content::generated(7, 4 * MIB), Content::generated(8, 4 * MIB)];
        for content in &contents {
            honest(world, lan, content, 8 * MIB);
            honest(world, lan, content, 8 * MIB);
        }
        world.run_for(S * 6);
        let said = command(world, to, "get file");
        assert!(said.iter().any(|event| event["event"] == "error"), "one of them has to be chosen: {said:?}");
        world.type_line(to, "get 1 2");
        let over = world.run_until(S * 60, |world| done(world, to, "get") == 2);
        assert!(over && world.downloads(to).len() == 2, "{}", tail(&world.stdout(to)));
        for event in world.events_named(to, "downloaded") {
            assert_eq!((&event["sources"], &event["verified"]), (&2.into(), &true.into()), "{event}");
        }
        assert!(blamed(world, to).is_empty());
    });
}

#[test]
fn a_source_that_vanishes_near_the_end_and_returns_elsewhere_completes_the_download() {
    // hostile: 111
    scenario("a_source_that_vanishes_near_the_end", 3, |world| {
        let (lan, to) = fetcher(world);
        let content = Content::generated(7, 16 * MIB);
        let source = honest(world, lan, &content, 8 * MIB);
        world.run_for(S * 6);
        world.type_line(to, "get file");
        reaches(world, to, 15 * MIB + 700 * KIB);
        let host = host_of(world, source);
        world.power_off(host);
        world.run_for(S * 20);
        assert!(!world.has_download(to, "file"));
        assert!(["waiting", "connecting"].contains(&state(world, to, "file").as_str()));
        let second = honest(world, lan, &content, 8 * MIB);
        whole(world, to, "file", S * 120);
        let said = downloaded(world, to, "file");
        assert!(world.uploaded(second) <= 2 * MIB, "{} bytes of the second", world.uploaded(second));
        assert_eq!(said["verified"], true);
        soon_no_parts(world, to);
        world.run_for(MS);
    });
}
