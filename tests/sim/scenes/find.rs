//! Searches and lists over sessions: what is found and how it is told, and members who answer with lies.

use super::common::{MS, PORT, S, command, count, done, errors, healthy, host_of, named, peers_on, plain};
use super::holders::holds;
use crate::actor::Actor;
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::{ActorId, LanId, NodeId};
use crate::liar::{Heard, Liar, Mouth, file};
use crate::node::rules::source;
use crate::original::OriginalPeer;
use crate::world::World;
use distrishare::proto::content::Root;
use distrishare::proto::v2::message::{Code, FileInfo, Message};
use serde_json::Value;
use std::collections::BTreeSet;

/// Nodes on one network that know each other.
fn friends(world: &mut World, lan: LanId, n: usize) -> Vec<NodeId> {
    let nodes = peers_on(world, lan, n, |_| {});
    nodes.iter().for_each(|&node| world.type_line(node, "multicast on"));
    world.run_for(S * 2);
    nodes
}

/// Somebody on a host of its own, whom everybody who listens hears of.
fn stranger(world: &mut World, lan: LanId, actor: impl Actor + 'static) -> ActorId {
    let host = world.host(&[lan]);
    let id = world.actor(host, actor);
    let ip = world.ip(host);
    world.inject(lan, source(ip.octets()), format!("HELLO:{ip}:{PORT}").as_bytes());
    world.run_for(MS * 10);
    id
}

fn names<'a>(said: &'a [Value], event: &str) -> Vec<&'a str> {
    named(said, event).iter().map(|value| value["name"].as_str().unwrap_or("?")).collect()
}

#[test]
fn everything_the_language_says_is_found_over_several_nodes() {
    scenario("everything_the_language_says", 2, |world| {
        let lan = world.lan();
        let nodes = friends(world, lan, 4);
        let all = [
            (1, "music/live/03 Song.flac", 3000),
            (1, "Ñandú.JPG", 20_000),
            (2, "report-2023 draft.pdf", 500),
            (2, "tax/report-2023.pdf", 700),
            (3, "Straße.txt", 0),
        ];
        for (i, &(node, name, size)) in all.iter().enumerate() {
            world.share(nodes[node], name, Content::generated(i as u64, size));
        }
        world.run_for(S * 6);
        let root = {
            let said = command(world, nodes[0], "search song");
            named(&said, "result")[0]["root"].as_str().unwrap_or("?").to_owned()
        };
        let table: [(&str, &[&str]); 13] = [
            ("song", &[all[0].1]),
            ("nandu", &[all[1].1]),
            ("strasse", &[all[4].1]),
            ("REPORT 2023", &[all[3].1, all[2].1]),
            ("report -draft", &[all[3].1]),
            ("ext:pdf", &[all[2].1, all[3].1]),
            ("*.flac", &[all[0].1]),
            ("music/**/*.flac", &[all[0].1]),
            ("size>10k", &[all[1].1]),
            ("size=0", &[all[4].1]),
            ("\"report-2023.pdf\"", &[all[3].1]),
            ("\"Report-2023.pdf\"", &[]),
            (&format!("root:{root}"), &[all[0].1]),
        ];
        for (query, wanted) in table {
            let said = command(world, nodes[0], &format!("search {query}"));
            let (found, results) = (names(&said, "found"), names(&said, "result"));
            let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
            assert_eq!(set(&results), set(wanted), "{query}: {said:?}");
            assert_eq!(found.len(), wanted.len(), "{query}");
            if wanted.is_empty() {
                assert_eq!(said[0]["code"], "not_found", "{said:?}");
            }
        }
        let said = command(world, nodes[0], "search size>x");
        assert_eq!(said[0]["code"], "usage", "{said:?}");
    });
}

#[test]
fn one_content_is_one_result_and_each_has_its_number() {
    scenario("one_content_is_one_result", 2, |world| {
        let lan = world.lan();
        let nodes = friends(world, lan, 5);
        let usage = |world: &mut World, line: &str| {
            let said = command(world, nodes[0], line);
            assert!(said[0]["code"] == "usage", "{line}: {said:?}");
        };
        usage(world, "get 1");
        let same = Content::generated(1, 50_000);
        for (node, name) in [(1, "holiday song.mp3"), (2, "b/song.mp3"), (3, "song (copy).mp3")] {
            world.share(nodes[node], name, same.clone());
        }
        world.share(nodes[4], "song.mp3", Content::generated(2, 50_000));
        world.run_for(S * 6);
        let said = command(world, nodes[0], "search song");
        let results = named(&said, "result");
        assert_eq!(results.len(), 2, "{said:?}");
        assert_eq!(named(&said, "found").len(), 4);
        // Both names are the whole name; the one that more nodes have comes first.
        let counts: Vec<_> = results.iter().map(|r| r["sources"].as_array().map_or(0, Vec::len)).collect();
        assert_eq!((&results[0]["number"], &results[1]["number"]), (&1.into(), &2.into()));
        assert_eq!(counts, [3, 1], "{results:?}");
        assert_ne!(results[0]["root"], results[1]["root"]);
        usage(world, "get 0");
        usage(world, "get 3");
        usage(world, "get 99999999999999999999");
        for (number, content) in [(2, Content::generated(2, 50_000)), (1, same)] {
            let name = results[number - 1]["name"].as_str().unwrap_or("?").to_owned();
            let said = command(world, nodes[0], &format!("get {number}"));
            assert_eq!(named(&said, "downloaded")[0]["verified"], true, "{said:?}");
            let disk = &world.nodes[nodes[0].0].disk;
            let got = disk.content(distrishare::machine::Dir::Downloads, &name).cloned();
            assert!(got.is_some_and(|got| got.same(&content)), "{name}: {:?}", world.downloads(nodes[0]));
        }
    });
}

#[test]
fn a_name_alone_is_taken_if_it_is_one_file() {
    scenario("a_name_alone_is_taken", 2, |world| {
        let lan = world.lan();
        let nodes = friends(world, lan, 4);
        let content = Content::generated(5, 5000);
        world.env.truth.add("old only", &content);
        world.env.truth.add("one", &Content::generated(6, 77));
        let original = OriginalPeer::new(PORT)
            .sharing("old only", content)
            .sharing("one", Content::generated(6, 77))
            .sharing("two", "what an old node has under the name");
        stranger(world, lan, original);
        for (i, &node) in nodes[1..].iter().enumerate() {
            world.share(node, "one", Content::generated(3, 9000));
            world.share(node, "two", Content::generated(10 + i as u64, 9000));
        }
        world.run_for(S * 6);
        let said = command(world, nodes[0], "get one");
        assert_eq!(named(&said, "downloaded")[0]["verified"], true, "{said:?}");
        let said = command(world, nodes[0], "get two");
        assert_eq!(named(&said, "result").len(), 3, "{said:?}");
        let error = named(&said, "error")[0];
        assert!(error["message"].as_str().is_some_and(|text| text.contains("3 different files")), "{error}");
        let said = command(world, nodes[0], "get 3");
        assert_eq!(named(&said, "downloaded")[0]["verified"], true, "{said:?}");
        let said = command(world, nodes[0], "get old only");
        assert_eq!(named(&said, "downloaded")[0]["verified"], false, "{said:?}");
        let said = command(world, nodes[0], "get nowhere");
        assert_eq!(said[0]["code"], "not_found", "{said:?}");
    });
}

#[test]
fn what_one_old_node_does_not_give_any_more_comes_from_the_next() {
    scenario("the_next_old_node", 1, |world| {
        let lan = world.lan();
        let node = friends(world, lan, 1)[0];
        let content = Content::generated(5, 50_000);
        world.env.truth.add("song", &content);
        let old =
            [0, 1, 2].map(|_| stranger(world, lan, OriginalPeer::new(PORT).sharing("song", content.clone())));
        let said = command(world, node, "search \"song\"");
        let result = named(&said, "result")[0].clone();
        let sources: Vec<&str> =
            result["sources"].as_array().into_iter().flatten().filter_map(|at| at["ip"].as_str()).collect();
        assert_eq!(sources.len(), 3, "{result}");
        for ip in &sources[..2] {
            let gone = old.iter().find(|actor| world.ip(world.actors[actor.0].host).to_string() == *ip);
            world.stop(*gone.unwrap());
        }
        let said = command(world, node, "get 1");
        assert_eq!(named(&said, "downloaded")[0]["name"], "song", "{said:?}");
        // Where nobody is left it says so once.
        old.iter().for_each(|actor| world.stop(*actor));
        let said = command(world, node, "get 1");
        assert_eq!((said.len(), &said[0]["code"]), (1, &Value::from("network")), "{said:?}");
    });
}

#[test]
fn other_names_of_a_result_are_typed_as_they_are_shown() {
    scenario("other_names_of_a_result", 2, |world| {
        let lan = world.lan();
        let nodes = friends(world, lan, 2);
        for name in ["show.mkv", "show 1 Episode 2.mkv"] {
            holds(world, nodes[1], name, &Content::generated(3, 5000));
        }
        let said = command(world, nodes[0], "search show");
        let result = said.iter().find(|event| event["event"] == "result").expect("it is there");
        assert_eq!(result["names"][0], "show 1 Episode 2.mkv", "{said:?}");
        let said = command(world, nodes[0], "get show 1 Episode 2.mkv");
        let done = said.iter().find(|event| event["event"] == "downloaded");
        assert_eq!(done.map(|done| &done["name"]), Some(&"show 1 Episode 2.mkv".into()), "{said:?}");
    });
}

#[test]
fn two_hundred_of_all_kinds_answer_within_the_deadline_and_as_they_come() {
    scenario("two_hundred_of_all_kinds", 1, |world| {
        let lan = world.lan();
        let nodes = friends(world, lan, 100);
        for &node in &nodes[1..] {
            world.share(node, "needle", "the same everywhere");
        }
        for i in 0..50 {
            let mut original = OriginalPeer::new(PORT);
            if i % 2 == 0 {
                original = original.sharing("needle", "whatever");
            }
            stranger(world, lan, original);
        }
        for i in 0..50u8 {
            world.inject(lan, source([10, 0, 200, i]), b"HELLO:1.1.1.1:9000");
        }
        nodes[90..].iter().for_each(|&node| world.suspend(node));
        // A change of a folder may be told two seconds late, and is looked at after one of quiet.
        world.run_for(S * 6);
        let start = world.now();
        world.type_line(nodes[0], "search needle");
        world.run_for(S);
        assert_eq!(done(world, nodes[0], "search"), 0, "some are silent");
        assert_eq!(world.events_named(nodes[0], "found").len(), 89 + 25, "the others were told at once");
        assert!(world.run_until(S * 10, |world| done(world, nodes[0], "search") == 1));
        let took = world.now() - start;
        assert!(took < S * 5, "{took:?}");
        let results = world.events_named(nodes[0], "result");
        let counts: Vec<_> = results.iter().map(|r| r["sources"].as_array().map_or(0, Vec::len)).collect();
        assert_eq!(counts, [89, 25]);
    });
}

/// A search of one who knows an honest node and a liar; what it was told.
fn lied_to(
    world: &mut World,
    line: &str,
    act: impl FnMut(&mut Mouth<'_, '_>, Heard) + 'static,
) -> (Vec<Value>, NodeId, ActorId) {
    let lan = world.lan();
    let nodes = friends(world, lan, 2);
    world.share(nodes[1], "needle honest", Content::generated(1, 5000));
    world.run_for(S * 4);
    let liar = stranger(world, lan, Liar::listens(9, PORT, act));
    let start = world.now();
    let said = command(world, nodes[0], line);
    assert!(world.now() - start < S * 10, "{:?}", world.now() - start);
    if line.starts_with("search") {
        assert!(names(&said, "result").contains(&"needle honest"), "{said:?}");
    }
    (said, nodes[0], liar)
}

/// What every message of files holds at most, all with this name and a number.
fn many(start: usize, size: u64) -> Vec<FileInfo> {
    (0..256).map(|i| file(&format!("needle {:06}", start + i), size, None)).collect()
}

#[test]
fn floods_of_results_stop_at_the_limit_of_a_node() {
    // hostile: 104
    scenario("floods_of_results", 1, |world| {
        // A hundred thousand, without an end; under other numbers, too; and some after the end.
        let flood = |mouth: &mut Mouth<'_, '_>, heard| match heard {
            Heard::Message(Message::Search { id, .. }) => {
                for i in 0..400 {
                    mouth.files(id, many(i * 256, 5), false);
                }
            }
            Heard::Message(message) => mouth.cx.note(message.kind().name()),
            _ => {}
        };
        let (said, node, liar) = lied_to(world, "search needle", flood);
        assert_eq!(named(&said, "result").len(), 257);
        assert!(named(&said, "found").len() <= 257);
        world.run_for(S * 3);
        assert!(world.log(liar).notes.iter().any(|note| note == "cancel" || note == "close"));
        assert_eq!(errors(world, node), Vec::<String>::new());
        for (ended, times) in [(true, 150), (false, 150)] {
            let after = move |mouth: &mut Mouth<'_, '_>, heard| match heard {
                Heard::Message(Message::Search { id, .. }) => {
                    mouth.files(id, many(0, 5), true);
                    (0..times).for_each(|i| {
                        let id = if ended { id } else { id + 1 + i };
                        mouth.files(id, many(1000, 5), ended);
                    });
                }
                Heard::Message(message) => mouth.cx.note(message.kind().name()),
                _ => {}
            };
            let (said, _, liar) = lied_to(world, "search needle", after);
            assert_eq!(named(&said, "result").len(), 257);
            world.run_for(S);
            // Its last words are lost where the liar's still stand unread.
            assert!(!world.log(liar).ended.is_empty(), "a hundred are enough");
        }
    });
}

#[test]
fn results_that_cannot_be_are_left_out() {
    // hostile: 59, 104, 105
    scenario("results_that_cannot_be", 1, |world| {
        let root = Root::new([7; 32]);
        let act = move |mouth: &mut Mouth<'_, '_>, heard| {
            let Heard::Message(Message::Search { id, .. }) = heard else { return };
            let bad = ["../needle", "/etc/needle", "needle/../x", ".needle", "a\\needle", "needle\u{7}", ""];
            mouth.files(id, bad.iter().map(|name| file(name, 1, None)).collect(), false);
            let sizes = [(1 << 43) + 1, u64::MAX];
            mouth.files(id, sizes.iter().map(|size| file("needle big", *size, None)).collect(), false);
            mouth.files(id, vec![file("quite another", 1, None)], false);
            // Two sizes for one content: one of them at least is a lie.
            mouth.files(id, vec![file("needle a", 1, Some(root)), file("needle b", 2, Some(root))], false);
            mouth.files(id, vec![file("needle largest", 1 << 43, None)], true);
        };
        let (said, ..) = lied_to(world, "search needle", act);
        let results: BTreeSet<_> = names(&said, "result").into_iter().collect();
        assert_eq!(results, ["needle honest", "needle a", "needle b", "needle largest"].into(), "{said:?}");
    });
}

#[test]
fn the_silent_the_late_and_those_who_refuse_keep_nobody_waiting() {
    scenario("the_silent_the_late", 1, |world| {
        let silent = |_: &mut Mouth<'_, '_>, _: Heard| {};
        lied_to(world, "search needle", silent);
        let mut number = 0;
        let late = move |mouth: &mut Mouth<'_, '_>, heard| match heard {
            Heard::Message(Message::Search { id, .. }) => {
                number = id;
                mouth.later(S * 5, 1);
            }
            Heard::Timer(_) => mouth.files(number, many(0, 5), true),
            _ => {}
        };
        let (said, node, _) = lied_to(world, "search needle", late);
        assert_eq!(named(&said, "result").len(), 1, "{said:?}");
        let before = world.stdout(node).len();
        world.run_for(S * 6);
        assert_eq!(world.stdout(node).len(), before, "nothing comes after the end");
        let refuses = |mouth: &mut Mouth<'_, '_>, heard| {
            if let Heard::Message(Message::Search { id, .. }) = heard {
                mouth.say(&Message::Refused { id, code: Code::Busy, text: "\u{1b}[2J".repeat(50) });
            }
        };
        let (_, node, _) = lied_to(world, "search needle", refuses);
        assert!(!world.stdout(node).contains('\u{1b}'));
    });
}

#[test]
fn each_search_has_its_own_time_whatever_is_asked_after_it() {
    scenario("each_search_has_its_own_time", 1, |world| {
        let lan = world.lan();
        let nodes = friends(world, lan, 2);
        stranger(world, lan, Liar::listens(9, PORT, |_, _| {}));
        let ends = |world: &World| world.events_named(nodes[0], "done").len();
        command(world, nodes[0], "search first");
        let (start, before) = (world.now(), ends(world));
        for _ in 0..4 {
            world.type_line(nodes[0], "search again &");
            world.run_for(S);
        }
        assert!(world.run_until(S * 30, |world| ends(world) == before + 4), "{}", world.stdout(nodes[0]));
        assert!(world.now() - start < S * 6, "the last began after 3 s: {:?}", world.now() - start);
        let took = |world: &mut World, line: &str, n: usize| {
            let (start, before) = (world.now(), ends(world));
            world.type_line(nodes[0], line);
            world.run_for(MS * 1500);
            world.type_line(nodes[0], "search after it &");
            assert!(world.run_until(S * 30, |world| ends(world) == before + n));
            world.now() - start
        };
        let first = took(world, "search before it &", 1);
        assert!(first < MS * 2500, "it waited for the other one's time: {first:?}");
    });
}

#[test]
fn lists_that_turn_back_or_never_end_are_ended() {
    // hostile: 104
    type Lie = fn(&mut Mouth<'_, '_>, u32, usize);
    let lies: [(Lie, usize); 5] = [
        // Backwards, again, and parts that never end.
        (|mouth, id, page| mouth.files(id, many(10_000 - page * 256, 5), true), 256),
        (|mouth, id, _| mouth.files(id, many(0, 5), true), 256),
        (|mouth, id, _| (0..50).for_each(|i| mouth.files(id, many(i * 256, 5), false)), 12_800),
        (|mouth, id, _| (0..50).for_each(|_| mouth.files(id, many(0, 5), false)), 256),
        (|mouth, id, page| mouth.files(id, many(page * 256, 5), true), 100_000),
    ];
    scenario("lists_that_turn_back", 1, |world| {
        for (lie, most) in lies {
            let lan = world.lan();
            let (host, there) = (world.host(&[lan]), world.host(&[lan]));
            let node = super::common::peer(world, host, |config| config.limits.listing_max = 20_000);
            let mut page = 0;
            let liar = Liar::listens(9, PORT, move |mouth, heard| {
                if let Heard::Message(Message::Browse { id, .. }) = heard {
                    mouth.cx.note("page");
                    lie(mouth, id, page);
                    page += 1;
                }
            });
            let liar = world.actor(there, liar);
            world.run_for(MS * 10);
            let line = format!("browse {}:{PORT}", world.ip(there));
            world.type_line(node, &line);
            let start = world.now();
            while done(world, node, "browse") == 0 {
                world.run_for(S);
                assert!(world.now() - start < S * 30, "it never ends");
            }
            let told = world.stdout(node).matches("\"event\":\"file\"").count();
            assert_eq!(told, most.min(20_000), "{:?}", world.log(liar).notes.len());
            assert!(world.log(liar).notes.len() <= 2 + told / 256);
        }
    });
}

#[test]
fn a_list_has_every_file_once_and_in_order() {
    scenario("a_list_has_every_file_once", 1, |world| {
        let lan = world.lan();
        let nodes = friends(world, lan, 3);
        for i in 0..600u64 {
            world.share(nodes[1], &format!("folder {}/file {i:04}", i % 2), Content::generated(i, i));
        }
        world.share(nodes[2], "folder 0/elsewhere", Content::generated(700, 700));
        world.run_for(S * 8);
        let said = command(world, nodes[0], &format!("browse {}:{PORT}", world.ip(host_of(world, nodes[1]))));
        let names = names(&said, "file");
        assert!(names.len() == 600 && names.is_sorted(), "{}", names.len());
        let files = named(&said, "file");
        assert!(files.iter().all(|file| file["root"].is_string()));
        let numbers = files.iter().map(|file| file["number"].as_u64());
        assert!(numbers.eq((1..=600).map(Some)), "numbered as they are shown");
        command(world, nodes[0], "get 2 599-600");
        let ends = ["folder 0/file 0002", "folder 1/file 0597", "folder 1/file 0599"];
        assert_eq!(world.downloads(nodes[0]), ends);
        // A folder of that list is had from that node, whole: it has more files than a search may name.
        let said = command(world, nodes[0], "get folder 0/");
        assert_eq!(named(&said, "downloaded").len(), 300, "{:?}", said.last());
        assert_eq!(world.downloads(nodes[0]).len(), 302);
        assert!(!world.has_download(nodes[0], "folder 0/elsewhere"));
    });
}

#[test]
fn of_many_answers_the_best_are_told() {
    scenario("of_many_answers", 1, |world| {
        let lan = world.lan();
        let nodes = friends(world, lan, 2);
        for i in 0..1500u64 {
            world.share(nodes[1], &format!("needle {i:04} and more"), Content::generated(i, 100));
        }
        world.share(nodes[1], "needle", Content::generated(9, 9));
        world.share(nodes[1], "unneedled", Content::generated(8, 9));
        world.run_for(S * 8);
        let said = command(world, nodes[0], "search needle");
        let names = names(&said, "result");
        assert_eq!((names.len(), names[0]), (256, "needle"), "{names:?}");
        assert!(!names.contains(&"unneedled"));
        assert!(said.iter().any(|event| event["event"] == "truncated"), "it is told that there are more");
    });
}

#[test]
fn searches_beyond_the_limits_are_refused_as_busy() {
    // hostile: 99
    scenario("searches_beyond_the_limits", 1, |world| {
        for (of_session, of_source, all, answered) in [(4, 16, 64, 4), (8, 3, 64, 3), (8, 16, 2, 2)] {
            let lan = world.lan();
            let (host, there) = (world.host(&[lan]), world.host(&[lan]));
            let node = super::common::peer(world, host, move |config| {
                config.limits.searches_per_session = of_session;
                config.limits.searches_per_ip = of_source;
                config.limits.searches = all;
            });
            world.share(node, "needle", Content::generated(1, 5));
            world.run_for(S * 3);
            let ask = |mouth: &mut Mouth<'_, '_>, from: u32| {
                for id in from..from + 10 {
                    mouth.say(&Message::Search { id, query: "needle".to_owned(), limit: 256 });
                }
            };
            let liar = Liar::dials(9, world.addr(host, PORT), move |mouth, heard| match heard {
                Heard::Open => {
                    ask(mouth, 0);
                    mouth.later(S, 1);
                }
                // Whoever was answered may ask again.
                Heard::Timer(_) => ask(mouth, 10),
                Heard::Message(Message::Files { end: true, .. }) => mouth.cx.note("answer"),
                Heard::Message(Message::Refused { code, text, .. }) => {
                    mouth.cx.note(format!("{}: {text}", code.name()));
                }
                _ => {}
            });
            let liar = world.actor(there, liar);
            world.run_for(S * 3);
            let notes = &world.log(liar).notes;
            let count = |text| notes.iter().filter(|note| note.as_str() == text).count();
            // Those that arrive when an earlier one was answered find room: how many depends on the pieces that they come in.
            let (answers, busy) = (count("answer"), count("busy: too many searches at once"));
            assert!(answers >= 2 * answered && answers + busy == 20, "{notes:?}");
        }
    });
}

#[test]
fn cruel_queries_do_not_stop_a_transfer() {
    // hostile: 99
    scenario("cruel_queries", 1, |world| {
        let lan = world.lan();
        let host = world.host(&[lan]);
        let node = plain(world, host);
        for i in 0..2000u64 {
            world.share(node, &format!("{}{i}", "a".repeat(100)), Content::generated(i, 1));
        }
        world.run_for(S * 5);
        let pair = healthy(world, node, lan);
        let to = world.addr(host, PORT);
        let cruel = [
            format!("{}b", "*a".repeat(250)),
            format!("**/{}", "?*".repeat(240)),
            vec!["*a*a*a*a*a*a*a*a*b"; 16].join(" "),
            "a".repeat(512),
            "-a ".repeat(16),
            "size>x".to_owned(),
        ];
        let queries: Vec<String> = cruel.into_iter().filter(|query| query.len() <= 512).collect();
        let there = world.host(&[lan]);
        let liar = Liar::dials(9, to, move |mouth, heard| match heard {
            Heard::Open => {
                for i in 0..1000 {
                    let query = queries[i % queries.len()].clone();
                    mouth.say(&Message::Search { id: i as u32, query, limit: 256 });
                }
                for i in 1000..3000 {
                    mouth.say(&Message::Stat { id: i, name: format!("nowhere {i}") });
                }
            }
            Heard::Message(Message::Files { end: true, .. }) => mouth.cx.note("answer"),
            Heard::Message(Message::Refused { code, .. }) => mouth.cx.note(code.name()),
            Heard::Message(message) => mouth.cx.note(message.kind().name()),
            _ => {}
        });
        let liar = world.actor(there, liar);
        world.run_for(S * 5);
        assert_eq!(world.log(liar).notes.len(), 3000, "each is answered");
        pair.check(world);
    });
}

#[test]
fn what_searches_of_our_own_find_is_bounded_in_bytes_and_they_say_so() {
    scenario("what_searches_of_our_own_find", 2, |world| {
        let lan = world.lan();
        let (host, there) = (world.host(&[lan]), world.host(&[lan]));
        let node = super::common::peer(world, host, |config| config.limits.results_bytes = 40_000);
        let other = super::common::plain(world, there);
        for i in 0..200u64 {
            world.share(other, &format!("{}/needle {i}", "x".repeat(200)), Content::generated(i, 50 + i));
        }
        [node, other].iter().for_each(|node| world.type_line(*node, "multicast on"));
        world.run_for(S * 5);
        let alone = command(world, node, "search needle");
        let results = count(&alone, "result");
        // A result takes some hundreds of bytes beside its name, and none as much as a kilobyte and a half.
        assert!((26..160).contains(&results), "{results}");
        let told = alone.iter().find(|event| event["event"] == "truncated");
        assert_eq!(told.map(|event| event["files"].as_u64()), Some(Some(results as u64)), "{alone:?}");
        // Several together have no more than one has alone.
        world.nodes[node.0].console.stdout.clear();
        (0..4).for_each(|_| world.type_line(node, "search needle &"));
        let over = |world: &World| world.events_named(node, "done").len() == 4;
        assert!(world.run_until(S * 10, over), "{}", world.stdout(node));
        assert!(!world.events_named(node, "truncated").is_empty());
    });
}
