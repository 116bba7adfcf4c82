//! Somebody on the way between two members: what it changes ends the session and harms nothing, and what it records says
//! nothing. All in groups, since open nodes promise nothing of the kind.

use super::common::{PORT, S, addr_of, command, done, errors, get_at, has_copy};
use super::members::{browse, events, fails, get_line, group, member, sockets, works};
use crate::adversary::{Order, Relay, Side, Tamper, Tape};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::{ActorId, NodeId};
use crate::rng::Rng;
use crate::world::World;
use distrishare::config::Crypto;
use distrishare::machine::{Kept, Slot};
use distrishare::proto::v2::identity::Identity;
use std::collections::BTreeSet;

const SEALED: Crypto = Crypto::Real { aes: true };

/// Two members, the second of which reaches the first through a relay only.
fn relayed(world: &mut World, crypto: Crypto) -> ([NodeId; 2], ActorId, std::net::SocketAddr) {
    let lan = world.lan();
    let hosts = [world.host(&[lan]), world.host(&[lan]), world.host(&[lan])];
    let nodes = [member(world, hosts[0], crypto, 1), member(world, hosts[1], crypto, 1)];
    let relay = Relay::new(PORT, world.addr(hosts[0], PORT));
    let relay = world.actor(hosts[2], relay);
    let at = world.addr(hosts[2], PORT);
    (nodes, relay, at)
}

/// Something to do to a stream of that length, at places that are drawn.
fn drawn(rng: &mut Rng, kind: u64, length: usize) -> Tamper {
    // The beginning is where most things are decided.
    let at = if rng.flip() { rng.size(0, length.min(400)) } else { rng.size(0, length) };
    let len = rng.size(1, 300);
    match kind {
        0 | 1 => Tamper::Flip { at, mask: 1 << rng.below(8) },
        2 => Tamper::Drop(at..at + len),
        3 => Tamper::Repeat(at..at + len),
        4 => Tamper::Swap { start: at, middle: at + len, end: at + len + rng.size(1, 300) },
        5 => Tamper::Insert { at, bytes: (0..len).map(|_| rng.below(256) as u8).collect() },
        _ => Tamper::Truncate { at },
    }
}

#[test]
fn whatever_is_changed_on_the_way_ends_the_session_and_harms_nothing() {
    // hostile: 90, 91. What is wrong and committed all the same is found by the simulator at once.
    for crypto in [Crypto::Null, SEALED] {
        scenario("whatever_is_changed_on_the_way", 1, |world| {
            let mut rng = Rng::new(world.env.seed, "tampering", 0);
            world.env.truth.forbid_short = true;
            let (nodes, relay, at) = relayed(world, crypto);
            for i in 0..14u64 {
                world.share(nodes[0], &format!("file{i}"), Content::generated(i, 60_000));
            }
            world.run_for(S * 2);
            for i in 0..14u64 {
                let name = format!("file{i}");
                let (side, length) = if i % 2 == 0 { (Side::Back, 55_000) } else { (Side::There, 500) };
                let tamper = drawn(&mut rng, i / 2, length);
                world.order(relay, &Order::Cut);
                world.run_for(S);
                assert_eq!((sockets(world, nodes[0]), sockets(world, nodes[1])), (0, 0));
                world.order(relay, &Order::Tamper(side, tamper.clone()));
                let before = (errors(world, nodes[1]).len(), world.log(relay).tapes.len());
                let ends = done(world, nodes[1], "get");
                get_at(world, nodes[1], at, &name);
                // Most end at once; what makes a side wait for bytes that never come takes its deadline.
                let over = world.run_until(S * 200, |world| done(world, nodes[1], "get") == ends + 1);
                assert!(over, "{side:?} {tamper:?}: {}", world.stdout(nodes[1]));
                let failed = errors(world, nodes[1]).len() > before.0;
                let connections = world.log(relay).tapes.len() - before.1;
                // Past the place it is a download as any other; then the file is whole.
                assert!(failed || has_copy(world, nodes[1], &name), "{side:?} {tamper:?}");
                if failed {
                    let text = errors(world, nodes[1]).pop().unwrap_or_default();
                    assert!(text.len() > 20 && text.contains(&at.ip().to_string()), "{text}");
                } else if reaches(world, relay, before.1, side, &tamper) {
                    assert!(connections > 1, "{side:?} {tamper:?}: the session lived on");
                }
                world.order(relay, &Order::Honest);
                // Nobody is punished for what somebody did on the way.
                world.run_for(S * 6);
                // A session that waits for bytes that never come may cost one more command its time.
                let mut whole = false;
                for _ in 0..2 {
                    let ends = done(world, nodes[1], "get");
                    get_at(world, nodes[1], at, &name);
                    let over = world.run_until(S * 20, |world| done(world, nodes[1], "get") == ends + 1);
                    assert!(over, "{side:?} {tamper:?}: {}", world.stdout(nodes[1]));
                    whole = has_copy(world, nodes[1], &name);
                    if whole {
                        break;
                    }
                }
                assert!(whole, "{side:?} {tamper:?}: {}", world.stdout(nodes[1]));
            }
        });
    }
}

/// Whether so much passed in the first connection that the place was reached, and something came after it.
fn reaches(world: &World, relay: ActorId, tape: usize, side: Side, tamper: &Tamper) -> bool {
    let end = match tamper {
        Tamper::Flip { at, .. } | Tamper::Insert { at, .. } | Tamper::Truncate { at } => *at,
        Tamper::Drop(range) | Tamper::Repeat(range) => range.end,
        Tamper::Swap { end, .. } => *end,
        Tamper::Stall { .. } => return false,
    };
    world.log(relay).tapes.get(tape).is_some_and(|tape| tape.side(side).len() > end + 400)
}

const NAME: &str = "pay slips/Ångström-very-secret-name.txt";
const QUERY: &str = "very-secret";

/// What must not be read, by a word for it.
type Secrets = Vec<(&'static str, Vec<u8>)>;

/// What two members say to each other through a relay, and all that nobody else may know of it.
fn overheard(world: &mut World, crypto: Crypto) -> (Vec<Tape>, Secrets, Vec<u8>) {
    let (nodes, relay, at) = relayed(world, crypto);
    let content = Content::generated(99, 30_000);
    let bytes = content.read(0, 30_000);
    world.share(nodes[0], NAME, content);
    world.share(nodes[1], "another-secret-name", "a text that stands in a shared file");
    world.run_for(S * 2);
    assert_eq!(events(&works(world, nodes[1], &browse(at)), "file").len(), 1);
    assert_eq!(events(&works(world, nodes[1], &format!("search {QUERY}")), "result").len(), 1);
    works(world, nodes[1], "get 1");
    works(world, nodes[1], &get_line(at, NAME));
    fails(world, nodes[1], &get_line(at, "a name that is only asked for"));
    let back = addr_of(world, nodes[1]);
    works(world, nodes[0], &browse(back));
    assert!(has_copy(world, nodes[1], NAME));
    let mut secrets: Vec<(&str, Vec<u8>)> = [
        ("a name", "very-secret-name"),
        ("a name", "ngstr"),
        ("a folder", "pay slips"),
        ("a query", QUERY),
        ("a name", "another-secret"),
        ("a name that was asked for", "only asked for"),
        ("the form of messages", "\"id\""),
        ("abilities", "\"aes\""),
    ]
    .map(|(what, text)| (what, text.as_bytes().to_vec()))
    .into();
    let mut keys = vec![("the group's key", *group(1).reveal())];
    for node in nodes {
        let file = world.nodes[node.0].disk.state.get(&(Kept::Identity, Slot::Current)).cloned();
        let identity = Identity::decode(&file.unwrap_or_default()).unwrap_or_else(|e| panic!("a key: {e}"));
        keys.push(("a node's secret", *identity.secret().reveal()));
        keys.push(("a node's id", *identity.id().as_bytes()));
    }
    for (what, key) in keys {
        secrets.push((what, key[..16].to_vec()));
        secrets.push((what, key[16..].to_vec()));
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        secrets.push((what, hex.as_bytes()[..16].to_vec()));
        secrets.push((what, hex.to_uppercase().as_bytes()[48..].to_vec()));
    }
    (world.log(relay).tapes.clone(), secrets, bytes)
}

/// What of all that stands on the tapes.
fn leaks(tapes: &[Tape], secrets: &[(&'static str, Vec<u8>)], content: &[u8]) -> BTreeSet<&'static str> {
    let windows: BTreeSet<&[u8]> = content.windows(16).collect();
    let mut leaks = BTreeSet::new();
    for stream in tapes.iter().flat_map(|tape| [&tape.there, &tape.back]) {
        if stream.windows(16).any(|window| windows.contains(window)) {
            leaks.insert("content");
        }
        for (what, secret) in secrets {
            if stream.windows(secret.len()).any(|window| window == secret.as_slice()) {
                leaks.insert(what);
            }
        }
    }
    leaks
}

#[test]
fn a_relay_that_records_all_sees_no_name_no_content_and_no_key() {
    for crypto in [SEALED, Crypto::Real { aes: false }] {
        scenario("a_relay_that_records_all", 1, |world| {
            let (tapes, secrets, content) = overheard(world, crypto);
            let passed: usize = tapes.iter().map(|tape| tape.there.len().min(tape.back.len())).sum();
            assert!(passed > 500, "{passed} bytes");
            assert_eq!(leaks(&tapes, &secrets, &content), BTreeSet::new());
        });
    }
    // The same without secrecy, so that it is certain that the search finds what there is.
    scenario("a_relay_that_records_all", 1, |world| {
        let (tapes, secrets, content) = overheard(world, Crypto::Null);
        let seen = leaks(&tapes, &secrets, &content);
        for what in ["content", "a name", "a folder", "a query", "a name that was asked for", "a node's id"] {
            assert!(seen.contains(what), "{what}: {seen:?}");
        }
        assert!(!seen.contains("the group's key") && !seen.contains("a node's secret"), "{seen:?}");
    });
}

#[test]
fn a_stranger_gets_nothing_from_a_member_and_gives_it_nothing() {
    // hostile: 84
    scenario("a_stranger_gets_nothing", 2, |world| {
        for other_group in [false, true] {
            let lan = world.lan();
            let hosts = [world.host(&[lan]), world.host(&[lan])];
            let inside = member(world, hosts[0], SEALED, 1);
            let stranger = match other_group {
                true => member(world, hosts[1], SEALED, 2),
                false => super::common::peer(world, hosts[1], |config| config.crypto = SEALED),
            };
            world.share(inside, "inner", "secret");
            world.share(stranger, "outer", "public");
            // Both ways through relays, which hear all that is said.
            let ways =
                [(hosts[0], stranger, "inner"), (hosts[1], inside, "outer")].map(|(to, from, name)| {
                    let host = world.host(&[lan]);
                    let to = world.addr(to, PORT);
                    let relay = world.actor(host, Relay::new(PORT, to));
                    (relay, world.addr(host, PORT), from, name)
                });
            world.run_for(S * 2);
            for (relay, at, from, name) in ways {
                for line in [browse(at), get_line(at, name), format!("search {name}")] {
                    let start = world.now();
                    let (code, text) = fails(world, from, &line);
                    let words = [
                        "no member",
                        "not a member",
                        "a member of a group",
                        "no other node is known",
                        "is on",
                        "old protocol",
                        "cut the connection",
                        "is in a group",
                    ];
                    assert!(words.iter().any(|w| text.contains(w)), "{line}: {code} {text}");
                    assert!(world.now() - start < S * 4, "{line}");
                    world.run_for(S * 6);
                }
                let tapes = &world.log(relay).tapes;
                assert!(!tapes.is_empty());
                for tape in tapes {
                    // An open node speaks v1, and says so.
                    let v1 =
                        from == inside && !other_group && tape.back == super::common::NOT_JSON.as_bytes();
                    assert!(tape.back.is_empty() || v1, "{} bytes to a stranger", tape.back.len());
                    let v2 = tape.there.first() == Some(&0xd5);
                    assert!(tape.there.len() <= 100 || !v2, "{} bytes", tape.there.len());
                    assert!(v2 || from == stranger && !other_group, "v1 out of a group");
                }
                let rows = command(world, from, "nodes all");
                assert!(events(&rows, "node").iter().all(|row| row["id"].is_null()), "{rows:?}");
            }
            assert_eq!((sockets(world, inside), sockets(world, stranger)), (0, 0));
            assert!(world.downloads(stranger).is_empty() && world.downloads(inside).is_empty());
        }
    });
}
