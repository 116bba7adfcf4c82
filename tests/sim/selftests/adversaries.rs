//! Relays, speakers and floods do what they say; and what a peer owes to strangers is seen to be broken.

use super::S;
use super::smiths::{get, smiths};
use crate::actor::Way;
use crate::adversary::{Flooder, Order, Relay, Side, Speaker, Tamper};
use crate::content::Content;
use crate::harness::{run, scenario};
use crate::ids::{ActorId, NodeId};
use crate::node::rules::Rules;
use crate::scenes::common::config;
use crate::smith::{Flaw, PORT};
use crate::toys::{Bug, Toy};
use crate::world::World;
use distrishare::config::Key;
use distrishare::machine::Fault;
use std::net::SocketAddr;

/// A listener that says `says`, a relay before it, and somebody who says `asks` to the relay.
fn through(world: &mut World, relay: impl FnOnce(SocketAddr) -> Relay) -> [ActorId; 3] {
    let lan = world.lan();
    let hosts = [(); 3].map(|()| world.host(&[lan]));
    let back = world.actor(hosts[0], Speaker::new(Way::Listen(1), b"ABCDEFGHIJ"));
    let relay = world.actor(hosts[1], relay(world.addr(hosts[0], 1)));
    let to = world.addr(hosts[1], 2);
    let there = world.actor(hosts[2], Speaker::new(Way::Dial { to, times: 1, every: S }, b"0123456789"));
    world.run_for(S);
    [back, relay, there]
}

fn heard(world: &World, actor: ActorId) -> String {
    String::from_utf8_lossy(&world.log(actor).all()).into_owned()
}

#[test]
fn a_relay_copies_and_records() {
    scenario("a_relay_copies", 10, |world| {
        let nodes = smiths(world, 2, Flaw::None);
        let host = world.host(&[crate::ids::LanId(0)]);
        world.env.truth.forbid_short = true;
        world.share(nodes[0], "a", Content::generated(1, 200_000));
        let to = world.addr(world.nodes[0].host, PORT);
        let relay = world.actor(host, Relay::new(7, to));
        let addr = world.addr(host, 7);
        world.type_line(nodes[1], &format!("get {addr} a"));
        assert!(world.run_until(S * 30, |world| world.has_download(nodes[1], "a")));
        let tape = &world.log(relay).tapes[0];
        assert_eq!(tape.there, b"\x80a\n");
        assert!(tape.back.len() > 200_000);
        // Said again to the same node, it is answered again.
        let answer = tape.back.len();
        world.order(relay, &Order::Replay { tape: 0, side: Side::There, to });
        world.run_for(S * 10);
        assert!(world.log(relay).received.values().any(|bytes| bytes.len() >= answer - 300));
    });
}

#[test]
fn a_relay_spoils_by_position() {
    let spoilt: [(Tamper, &str); 6] = [
        (Tamper::Flip { at: 3, mask: 4 }, "0127456789"),
        (Tamper::Drop(2..5), "0156789"),
        (Tamper::Repeat(2..5), "0123423456789"),
        (Tamper::Swap { start: 1, middle: 3, end: 6 }, "0345126789"),
        (Tamper::Insert { at: 9, bytes: b"xyz".to_vec() }, "012345678xyz9"),
        (Tamper::Truncate { at: 4 }, "0123"),
    ];
    for (tamper, wanted) in spoilt {
        scenario("a_relay_spoils_by_position", 5, |world| {
            let tamper = tamper.clone();
            let [back, relay, there] =
                through(world, |to| Relay::new(2, to).tampering(Side::There, tamper.clone()));
            assert_eq!(heard(world, back), wanted, "{tamper:?}");
            assert_eq!(heard(world, there), "ABCDEFGHIJ");
            assert_eq!(world.log(relay).tapes[0].there, b"0123456789", "recorded as it came");
            let over = world.log(back).ended.values().any(Option::is_none);
            assert_eq!(over, matches!(tamper, Tamper::Truncate { .. }));
        });
    }
}

#[test]
fn a_relay_stalls_reflects_and_cuts_when_told() {
    scenario("a_relay_stalls", 10, |world| {
        let [back, relay, there] =
            through(world, |to| Relay::new(2, to).tampering(Side::Back, Tamper::Stall { at: 4 }));
        assert_eq!((heard(world, there).as_str(), heard(world, back).as_str()), ("ABCD", "0123456789"));
        world.order(back, &Order::Fin);
        world.run_for(S);
        assert!(world.log(there).ended.is_empty());
        world.order(relay, &Order::Honest);
        world.run_for(S);
        assert_eq!(heard(world, there), "ABCDEFGHIJ");
        assert_eq!(world.log(there).ended.values().collect::<Vec<_>>(), [&None]);
        world.order(relay, &Order::Reflect(Side::There));
        world.order(there, &Order::Dial);
        world.order(relay, &Order::Tamper(Side::Back, Tamper::Drop(0..3)));
        world.run_for(S);
        let second = world.log(there).received.values().next_back().expect("a second connection");
        let mut second = second.clone();
        second.sort_unstable();
        assert_eq!(second, b"0123456789DEFGHIJ", "its own bytes, and what of the others is left");
        world.order(relay, &Order::Cut);
        world.run_for(S);
        assert_eq!(world.log(there).ended.values().next_back(), Some(&Some(Fault::Reset)));
    });
}

#[test]
fn a_speaker_says_more_when_told() {
    scenario("a_speaker_says_more", 5, |world| {
        let [back, _, there] = through(world, |to| Relay::new(2, to));
        world.order(back, &Order::Say(b" more".to_vec()));
        world.order(there, &Order::Fin);
        world.run_for(S);
        assert_eq!(heard(world, there), "ABCDEFGHIJ more");
        assert_eq!(world.log(back).ended.values().collect::<Vec<_>>(), [&None]);
        world.order(there, &Order::Cut);
        world.run_for(S);
        assert_eq!(world.log(back).ended.values().collect::<Vec<_>>(), [&Some(Fault::Reset)]);
    });
}

#[test]
fn a_flood_holds_its_width() {
    scenario("a_flood_holds_its_width", 5, |world| {
        let lan = world.lan();
        let host = world.host(&[lan]);
        let node = world.node(host, |seed| Toy::boxed(Bug::None, seed));
        world.start(node);
        world.run_for(S);
        let to = world.addr(host, PORT);
        let other = world.host(&[lan]);
        let flood = world.actor(other, Flooder::new(to, 15, b"GET what"));
        world.run_for(S * 10);
        let held = |world: &World| world.env.net.count(crate::ids::Owner::Actor(flood));
        assert_eq!(held(world), 15);
        // The toy cuts each after a while; others follow.
        world.run_for(S * 40);
        assert!(world.log(flood).ended.len() >= 15 && held(world) >= 10);
        world.order(flood, &Order::Cut);
        world.run_for(S);
        assert_eq!(held(world), 0);
    });
}

/// A run of smiths that are held to a peer's rules, with `key` for their group.
fn held_to_rules(flaw: Flaw, key: [u8; 32], body: impl Fn(&mut World, &[NodeId])) -> Result<(), String> {
    let whole = |world: &mut World| {
        let nodes = smiths(world, 2, flaw);
        let mut config = config(0);
        config.group = Some(Key::new(key));
        for node in &nodes {
            world.nodes[node.0].rules = Some(Rules::new(&config));
        }
        body(world, &nodes);
        world.run_for(S * 5);
    };
    run("rules", 3, false, whole).map(drop).map_err(|failure| failure.message)
}

#[test]
fn a_key_that_gets_out_is_seen() {
    let key: [u8; 32] = *b"!the sixth of november, at noon!";
    let hex: String = key.iter().map(|byte| format!("{byte:02X}")).collect();
    let line =
        |line: String| held_to_rules(Flaw::None, key, move |world, nodes| world.type_line(nodes[0], &line));
    assert_eq!(line(format!("hello {}", &hex[..60])), Ok(()));
    let wrong = [
        (format!("is {hex} it"), "in a stream"),
        (format!("is {} it", hex.to_lowercase()), "in a stream"),
        ("is !the sixth of november, at noon! it".to_owned(), "in a stream"),
        (format!("announce DS2-{hex}"), "in a datagram"),
    ];
    for (text, word) in wrong {
        let found = line(text.clone()).expect_err("it gets out");
        assert!(found.contains(word), "{text}: {found}");
    }
    let logged = held_to_rules(Flaw::None, key, |world, nodes| {
        world.type_line(nodes[0], "log");
        world.run_for(S);
        world.type_line(nodes[0], &format!("append {}", String::from_utf8_lossy(&key).replace(' ', "_")));
        world.type_line(nodes[0], &format!("append {}", hex.to_lowercase()));
    });
    assert!(logged.expect_err("kept").contains("in the log"));
    let mut config = config(0);
    config.group = Some(Key::new(key));
    let rules = Rules::new(&config);
    rules.logs("nothing");
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rules.logs(&hex)));
    assert!(told.is_err(), "a log line");
}

#[test]
fn much_before_anything_was_heard_is_seen() {
    let ask = |world: &mut World, nodes: &[NodeId]| {
        world.share(nodes[0], "a", Content::generated(1, 100_000));
        get(world, nodes[1], nodes[0], "a");
    };
    assert_eq!(held_to_rules(Flaw::None, [1; 32], ask), Ok(()));
    let found = held_to_rules(Flaw::Chatters, [1; 32], ask).expect_err("too much");
    assert!(found.contains("which said nothing yet"), "{found}");
}

#[test]
fn announcements_that_could_harm_the_original_are_seen() {
    let said = |text: &str| {
        let line = format!("announce {text}");
        held_to_rules(Flaw::None, [1; 32], move |world, nodes| world.type_line(nodes[0], &line))
    };
    let long = format!("DS2{}", "x".repeat(509));
    for good in ["HELLO:10.0.0.1:9000", "DS2-abc", "DS2:1:2:3", &long] {
        assert_eq!(said(good), Ok(()), "{good}");
    }
    let longer = format!("{long}x");
    let wrong = [
        ("DS2:1:2", "three fields"),
        ("DS2\u{1}", "for the group"),
        ("DS2ñ", "not ASCII"),
        (&longer, "513 bytes"),
        ("DS3-abc", "fields for the group"),
    ];
    for (text, word) in wrong {
        let found = said(text).expect_err("harmful");
        assert!(found.contains(word), "{text}: {found}");
    }
}
