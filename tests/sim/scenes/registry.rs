//! Registries that lie, stall or are away, as a peer meets them; and ours before callers of any kind.

use super::common::{
    MS, PORT, REGISTRY, S, alive, at_registry, bootstrap, command, crowd, dialler, heard, listener, peer,
    peers_on, plain, request, send,
};
use crate::actor::{Actor, Cx, Step, Told};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::{ActorId, NodeId, SockId};
use crate::world::World;
use distrishare::config::{ConsoleMode, HostPort, Limits, Once};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

/// A peer asks a registry that answers `answer`; what the command says.
fn told(world: &mut World, answer: Vec<Step>) -> (NodeId, Vec<serde_json::Value>) {
    let lan = world.lan();
    let (host, there) = (world.host(&[lan]), world.host(&[lan]));
    let node = plain(world, host);
    let mut steps = vec![Step::Hear];
    steps.extend(answer);
    listener(world, there, REGISTRY, steps);
    let line = format!("bootstrap {}", world.addr(there, REGISTRY));
    let said = command(world, node, &line);
    (node, said)
}

#[test]
fn answers_of_any_shape() {
    // hostile: 81
    scenario("answers_of_any_shape", 3, |world| {
        let whole = |text: &str| vec![send(text), Step::Close];
        let mut many = String::from("{\"nodes\": [");
        for i in 0..100_000u32 {
            let [_, b, c, d] = i.to_be_bytes();
            let _ = write!(many, "[\"10.{b}.{c}.{d}\", 9000], ");
        }
        let (_, said) = told(world, vec![send(&many), Step::Close]);
        assert_eq!(said[0]["event"], "registered", "{said:?}");
        let known = said[0]["nodes"].as_u64().unwrap_or(0);
        let most = Limits::desktop().registry_answer_max as u64;
        assert!((1000..=most / 20).contains(&known), "64 KiB of them: {known}");

        let mixed = r#"{"nodes": [["10.9.0.1", 9000], 7, ["10.9.0.2"], ["x", 9000], ["10.9.0.3", 0], null,
            ["10.9.0.4", "9000"], {"a": []}, ["10.9.0.5", 9001], ["10.9.0.6", 80], ["127.0.0.1", 9000],
            ["224.0.0.1", 9000], ["0.0.0.0", 9000], ["255.255.255.255", 9000], ["10.9.0.7", 6379]]}"#;
        let (_, said) = told(world, whole(mixed));
        assert_eq!(said[0]["event"], "registered", "{said:?}");
        assert!(said[0]["nodes"].as_u64().is_some_and(|n| (2..=3).contains(&n)), "{said:?}");

        let cut = &many[..4096];
        let (_, said) = told(world, vec![send(cut), Step::Close]);
        assert!(said[0]["nodes"].as_u64().is_some_and(|n| n > 100), "what is whole is used: {said:?}");

        for text in
            ["", "nonsense", "[]", "{}", "{\"nodes\": 7}", &format!("{{\"nodes\": {}", "[".repeat(4000))]
        {
            let (_, said) = told(world, whole(text));
            assert_eq!((&said[0]["event"], &said[0]["code"]), (&"error".into(), &"network".into()), "{text}");
        }
        let (_, said) = told(world, whole(r#"{"error": "no \u001b[31m", "nodes": []}"#));
        assert_eq!(said[0]["code"], "refused", "{said:?}");
    });
}

#[test]
fn registries_that_stall_or_are_away() {
    scenario("registries_that_stall", 3, |world| {
        let start = world.now();
        let (_, said) = told(world, vec![]);
        assert_eq!(said[0]["code"], "timeout", "{said:?}");
        assert!((S * 5..S * 6).contains(&(world.now() - start)), "the register deadline");
        let (_, said) = told(world, vec![Step::Reset]);
        assert_eq!(said[0]["code"], "network", "{said:?}");

        // Away at start: tried again until it is there.
        let lan = world.lan();
        let (there, host) = (world.host(&[lan]), world.host(&[lan]));
        let target = at_registry(world, there);
        let node = peer(world, host, move |config| {
            config.bootstraps = vec![target.clone()];
            config.join = true;
        });
        world.run_for(S * 60);
        bootstrap(world, there, |_| {});
        world.run_for(S * 125);
        let said = command(world, node, "status");
        assert!(
            said[0]["bootstraps"][0].as_str().is_some_and(|text| text.contains("registered")),
            "{said:?}"
        );
        let refused = format!("bootstrap {}", world.addr(host, 8001));
        let said = command(world, node, &refused);
        let text = said[0]["message"].as_str().unwrap_or("");
        assert!(text.contains("refused the connection: is ds-bootstrap running there?"), "{text}");
    });
}

#[test]
fn a_lying_registry_makes_nobody_dial_a_third_party_much() {
    // 6.3: 6, dials per victim, over all nodes together
    scenario("a_lying_registry", 2, |world| {
        world.env.net.topology.routed = true;
        let (near, far) = (world.lan(), world.lan());
        let (there, victim) = (world.host(&[near]), world.host(&[far]));
        world.power_off(victim);
        let mut list = String::from("{\"nodes\": [");
        for port in 9000..9200 {
            let _ = write!(list, "[\"{}\", {port}], ", world.ip(victim));
        }
        list.push_str("[\"10.0.0.1\", 9999]]}");
        listener(world, there, REGISTRY, vec![Step::Hear, send(&list), Step::Close]);
        let target = at_registry(world, there);
        let nodes = peers_on(world, near, 3, move |config| config.bootstraps = vec![target.clone()]);
        for &node in &nodes {
            command(world, node, "bootstrap");
            for _ in 0..6 {
                world.type_line(node, "search x");
                world.run_for(S * 20);
            }
        }
        // Each node tries an address at most three times an hour, and four at once into one network.
        let most =
            world.env.dials.iter().filter(|(addr, _)| addr.ip() == world.ip(victim)).map(|(_, n)| *n).max();
        assert!(most.is_some_and(|n| (1..=9).contains(&n)), "{most:?}");
    });
}

#[test]
fn ours_before_callers_of_any_kind() {
    // hostile: 1-6, 8, 14, 18, 20, 21, 25-29 (over a simulated network; each rule has its own test beside its code)
    scenario("ours_before_callers", 3, |world| {
        let lan = world.lan();
        let there = world.host(&[lan]);
        let node = bootstrap(world, there, |_| {});
        let to = world.addr(there, REGISTRY);
        world.run_for(MS * 10);
        let register =
            |ip: &str, port: u16| format!(r#"{{"type": "register", "ip": "{ip}", "port": {port}}}"#);
        let nodes = r#""nodes": ["#;
        let padded =
            format!("{}{}", " ".repeat(4096 - register("1.2.3.4", 9000).len()), register("1.2.3.4", 9000));
        let cases: Vec<(Vec<Step>, &str)> = vec![
            (vec![Step::Fin], ""),
            (vec![send(register("127.0.0.1", 9000))], nodes),
            (vec![send(register("1.2.3.4", 9000)), Step::Fin], nodes),
            (vec![Step::Trickle { bytes: register("1.2.3.4", 9000).into_bytes(), every: MS }], nodes),
            (vec![send(&padded)], nodes),
            (vec![send(format!("{padded}x{}", "y".repeat(200_000)))], nodes),
            (vec![send(format!(" {padded}{}", "y".repeat(60_000)))], "larger than 4096 bytes"),
            (vec![send(r#"["register","1.2.3.4",1]"#)], "must be a JSON object"),
            (vec![send(register("224.0.0.1", 9000))], "`ip`"),
            (vec![send(register("1.2.3.4", 25))], "`port`"),
            (vec![send(register("1.2.3.4", 9000).repeat(2))], "more than one object"),
            (vec![send("POST / HTTP/1.1\r\n\r\n{}")], ""),
            (vec![send([0x16, 3, 1, 0])], ""),
            (vec![send("{\"type\""), Step::Fin], "ends before its object does"),
        ];
        let actors: Vec<_> = cases
            .into_iter()
            .map(|(steps, text)| {
                let host = world.host(&[lan]);
                (dialler(world, host, to, steps.clone()), text, format!("{steps:?}"))
            })
            .collect();
        let host = world.host(&[lan]);
        let rude = [
            dialler(world, host, to, vec![send(register("1.2.3.4", 9000)), Step::Reset]),
            dialler(world, host, to, vec![Step::NeverRead, send(register("1.2.3.4", 9000))]),
            dialler(world, host, to, vec![Step::Trickle { bytes: vec![b' '; 9], every: MS * 4900 }]),
            dialler(world, host, to, vec![]),
        ];
        world.run_for(S * 12);
        for (actor, text, said) in actors {
            let said: String = said.chars().take(150).collect();
            let got = heard(world, actor);
            // What comes with the object makes it two, what comes later is nobody's; both answers have the list.
            assert!(got.contains(text), "{said}: {got}");
            assert!(!text.is_empty() || got.is_empty(), "{said}: {got}");
            assert!(got.len() <= Limits::desktop().registry_reply_max, "{said}");
            assert!(!world.log(actor).ended.is_empty(), "{said}: not closed");
        }
        assert!(rude.iter().skip(2).all(|&actor| !world.log(actor).ended.is_empty()));
        assert_eq!(world.env.net.count(crate::ids::Owner::Node(node)), 0, "all are gone");
        assert!(world.running(node));
    });
}

#[test]
fn a_flood_of_registrations_and_an_honest_node() {
    // hostile: 22, 24
    scenario("a_flood_of_registrations", 2, |world| {
        let lan = world.lan();
        let there = world.host(&[lan]);
        let limits = Limits { registry_nodes: 50, ..Limits::desktop() };
        let node = bootstrap(world, there, move |config| config.limits = limits.clone());
        let target = at_registry(world, there);
        let honest = peers_on(world, lan, 2, move |config| {
            config.bootstraps = vec![target.clone()];
            config.join = true;
        });
        world.run_for(S * 5);
        let to = world.addr(there, REGISTRY);
        for port in 0..300u32 {
            let host = world.host(&[lan]);
            let text = format!(r#"{{"type":"register","ip":"9.9.9.9","port":{}}}"#, 2000 + port);
            world.later(MS * (20 * port), move |world| {
                dialler(world, host, to, vec![send(text)]);
            });
        }
        world.run_for(S * 8);
        let host = world.host(&[lan]);
        let late = plain(world, host);
        world.run_for(MS * 10);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..4 {
            command(world, late, &format!("bootstrap {to}"));
            seen.extend(alive(world, late, "bootstrap"));
        }
        let wanted = super::common::others(world, &honest, late);
        assert!(seen.is_superset(&wanted), "who lives stays listed: {seen:?}");
        let one = world.host(&[lan]);
        let text = |port: u32| format!(r#"{{"type":"register","ip":"9.9.9.9","port":{port}}}"#);
        let crowd_of = crowd(world, one, to, 30, MS * 100, vec![send(text(3000))]);
        world.run_for(S * 5);
        assert!(heard(world, crowd_of).contains("nodes"));
        assert!(world.running(node) && PORT == 9000);
        assert!(!request("search", "x").is_empty());
    });
}

#[test]
fn an_address_of_our_own_is_no_other_node() {
    // Found by the chaos of seed 31: an interface came back after somebody had named its address.
    scenario("an_address_of_our_own", 3, |world| {
        for multicast in [true, false] {
            let (a, b) = (world.lan(), world.lan());
            let (host, there) = (world.host(&[a, b]), world.host(&[b]));
            let answer = format!("{{\"nodes\": [[\"{}\", {PORT}]]}}", world.ip(host));
            listener(world, there, REGISTRY, vec![Step::Hear, send(answer), Step::Close]);
            world.set_link(host, 2, false);
            let node = plain(world, host);
            if multicast {
                world.type_line(node, "multicast on");
            }
            world.run_for(S * 2);
            if !multicast {
                world.set_link(host, 2, true);
            }
            command(world, node, &format!("bootstrap {}:{REGISTRY}", world.ip(there)));
            world.set_link(host, 2, true);
            world.run_for(S * 8);
            assert_eq!(command(world, node, "nodes all"), Vec::<serde_json::Value>::new());
        }
    });
}

#[test]
fn a_flood_from_one_network_and_honest_nodes() {
    // hostile: 22, 24
    scenario("a_flood_from_one_network", 2, |world| {
        let lan = world.lan();
        let there = world.host(&[lan]);
        bootstrap(world, there, |_| {});
        let target = at_registry(world, there);
        let honest = peers_on(world, lan, 20, move |config| {
            config.bootstraps = vec![target.clone()];
            config.join = true;
        });
        // Of those that came at the same moment only a few are probed at once: the others when they renew.
        world.run_for(S * 130);
        // The simulated network has no IPv6; who speaks from the registry's own host may name the address.
        let (here, to) = (SocketAddr::from(([127, 0, 0, 1], REGISTRY)), world.addr(there, REGISTRY));
        let mut flood = Vec::new();
        for i in 0..3000 {
            let text = format!(r#"{{"type":"register","ip":"2001:db9::{i:x}","port":9000}}"#);
            flood.push(dialler(world, there, here, vec![send(text)]));
            world.run_for(MS / 15);
        }
        // Beside it a hundred addresses where nobody answers, each of them a source of its own.
        for _ in 0..100 {
            let host = world.host(&[lan]);
            dialler(world, host, to, vec![send(r#"{"type":"register","ip":"9.9.9.9","port":9000}"#)]);
        }
        world.run_for(S * 5);
        let refused = |&&actor: &&ActorId| heard(world, actor).contains("too many nodes from 2001:db9::/56");
        assert_eq!(flood.iter().filter(refused).count(), 3000 - 64);
        let wanted = super::common::others(world, &honest, NodeId(0));
        let mut newcomers = BTreeSet::new();
        for _ in 0..40 {
            let host = world.host(&[lan]);
            let text = r#"{"type":"register","ip":"127.0.0.1","port":9000}"#;
            let asker = dialler(world, host, to, vec![send(text)]);
            world.run_for(MS * 100);
            let named = named(&heard(world, asker));
            assert!(named.is_superset(&wanted), "{named:?}");
            newcomers.extend(named.difference(&wanted).cloned());
        }
        assert!(newcomers.len() > 150, "who was not probed yet has its turn: {}", newcomers.len());
    });
}

/// The nodes of an answer, as `ip:port`.
fn named(answer: &str) -> BTreeSet<String> {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
    let pairs = answer["nodes"].as_array().into_iter().flatten();
    pairs.map(|pair| format!("{}:{}", pair[0].as_str().unwrap_or("?"), pair[1])).collect()
}

/// Starts `n` nodes that join one registry, without multicast, `every` so often one.
fn joined(world: &mut World, n: usize, every: Duration) -> (Vec<NodeId>, SocketAddr) {
    let lan = world.lan();
    let there = world.host(&[lan]);
    bootstrap(world, there, |_| {});
    let to = world.addr(there, REGISTRY);
    let nodes = peers_on(world, lan, n, |_| {});
    for &node in &nodes {
        world.type_line(node, &format!("bootstrap {to}"));
        world.run_for(every);
    }
    (nodes, to)
}

#[test]
fn who_asks_for_one_command_is_told_of_all_and_named_to_nobody() {
    scenario("who_asks_for_one_command", 2, |world| {
        let (nodes, to) = joined(world, 3, MS * 20);
        world.share(nodes[2], "song", Content::generated(1, 5000));
        world.run_for(S * 6);
        let host = world.host(&[crate::ids::LanId(0)]);
        let once = peer(world, host, move |config| {
            config.bootstraps = vec![HostPort { host: to.ip().to_string(), port: to.port() }];
            (config.join, config.control, config.console) = (true, false, ConsoleMode::Script);
            config.once = Some(Once { line: "get song".to_owned(), listens: true });
        });
        assert!(world.run_until(S * 20, |world| world.exit_status(once).is_some()), "{}", world.stdout(once));
        assert_eq!((world.exit_status(once), world.downloads(once)), (Some(0), vec!["song".to_owned()]));
        assert!(world.events_named(once, "ready").is_empty() && world.events_named(once, "done").len() == 1);
        // The registry never heard of it, and no node shares a thing because of it.
        let text = r#"{"type":"register","ip":"10.9.9.9","port":9001,"after":""}"#;
        let asks = world.host(&[crate::ids::LanId(0)]);
        let asker = dialler(world, asks, to, vec![send(text)]);
        world.run_for(S);
        let answer = heard(world, asker);
        assert_eq!(named(&answer).len(), 4, "three nodes and who asks: {answer}");
        assert!(!answer.contains(&world.ip(host).to_string()), "{answer}");
    });
}

#[test]
fn a_single_command_asks_all_neighbours_and_not_the_first_that_is_heard() {
    scenario("a_single_command_asks_all", 5, |world| {
        let lan = world.lan();
        let nodes = peers_on(world, lan, 5, |_| {});
        nodes.iter().for_each(|&node| world.type_line(node, "multicast on"));
        let has = nodes[world.env.seed as usize % nodes.len()];
        world.share(has, "song", Content::generated(1, 5000));
        world.run_for(S * 8);
        let host = world.host(&[lan]);
        let once = peer(world, host, move |config| {
            (config.join, config.control, config.console) = (true, false, ConsoleMode::Script);
            config.once = Some(Once { line: "search song".to_owned(), listens: true });
        });
        assert!(world.run_until(S * 20, |world| world.exit_status(once).is_some()), "{}", world.stdout(once));
        assert_eq!(world.exit_status(once), Some(0), "{}", world.stdout(once));
    });
}

#[test]
fn a_newcomer_finds_all_who_are_there() {
    scenario("a_newcomer_finds_all", 1, |world| {
        let (nodes, to) = joined(world, 150, MS * 20);
        let host = world.host(&[crate::ids::LanId(0)]);
        let late = plain(world, host);
        let said = command(world, late, &format!("bootstrap {to}"));
        assert_eq!(said[0]["nodes"], 150, "{said:?}");
        assert_eq!(alive(world, late, "bootstrap"), super::common::others(world, &nodes, late));
        // Nor do those who were there first wait for their next registration.
        world.run_for(S * 30);
        assert_eq!(alive(world, nodes[0], "bootstrap").len(), 150);
    });
}

/// A registry that names `each` others of its `all` nodes every time: one that knows no pages, or one that always has more.
struct Odd {
    all: u32,
    each: u32,
    at: u32,
    pages: bool,
}

impl Actor for Odd {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>) {
        match what {
            Told::Start => cx.listen(REGISTRY),
            Told::Data { sock, .. } => {
                let node = |i: u32| format!("[\"10.0.{}.{}\", 9000]", 100 + i / 250, i % 250 + 1);
                let list: Vec<String> = (0..self.each).map(|i| node((self.at + i) % self.all)).collect();
                self.at += self.each;
                let tail = if self.pages {
                    format!(", \"next\": \"{}\", \"more\": true", self.at)
                } else {
                    String::new()
                };
                cx.send(sock, format!("{{\"nodes\": [{}]{tail}}}", list.join(", ")).as_bytes());
                cx.close(sock);
            }
            _ => {}
        }
    }
}

/// A peer registers at an odd registry; how many questions that took within a minute, and how many nodes it knows.
fn at_odd(world: &mut World, odd: Odd, small: bool) -> (u64, usize) {
    let lan = crate::ids::LanId(0);
    let (host, there) = (world.host(&[lan]), world.host(&[lan]));
    let limits = if small { Limits::small() } else { Limits::desktop() };
    let node = peer(world, host, move |config| config.limits = limits.clone());
    world.actor(there, odd);
    let to = world.addr(there, REGISTRY);
    command(world, node, &format!("bootstrap {to}"));
    world.run_for(S * 55);
    let asked = world.env.dials[&to];
    let said = command(world, node, "status");
    (asked, said[0]["nodes"].as_u64().unwrap_or(0) as usize)
}

#[test]
fn registries_without_pages_and_with_no_end_of_them() {
    scenario("registries_without_pages", 2, |world| {
        world.lan();
        // 62 of 150: three answers, and one with nothing new.
        let old = at_odd(world, Odd { all: 150, each: 62, at: 0, pages: false }, false);
        assert_eq!(old, (4, 150));
        // The original names all at once.
        assert_eq!(at_odd(world, Odd { all: 150, each: 150, at: 0, pages: false }, false), (2, 150));
        for pages in [false, true] {
            let endless = at_odd(world, Odd { all: 20_000, each: 50, at: 0, pages }, false);
            assert!((30..=41).contains(&endless.0), "{endless:?}");
            // A full list asks no more.
            let endless = at_odd(world, Odd { all: 20_000, each: 50, at: 0, pages }, true);
            assert_eq!(endless, (6, 256), "{pages}");
        }
    });
}

/// Registers as a node does and reads all pages, but keeps nothing of them.
struct Light {
    to: SocketAddr,
    asking: Option<SockId>,
    after: String,
    /// Pages that brought something since the last long pause.
    news: bool,
}

impl Light {
    fn ask(&mut self, cx: &mut Cx<'_>) {
        self.asking = Some(cx.dial(self.to));
        cx.note("");
    }

    fn read(&mut self, cx: &mut Cx<'_>, sock: SockId) {
        let answer = cx.log.received.remove(&sock).unwrap_or_default();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        let Some(next) = answer["next"].as_str() else { return cx.timer(S * 5, 0) };
        self.after = next.to_owned();
        self.news |= answer["nodes"].as_array().is_some_and(|nodes| nodes.len() > 20);
        let spread = cx.rng().below(10_000) as u32;
        let pause = match (answer["more"] == true, std::mem::take(&mut self.news)) {
            (true, news) => {
                self.news = news;
                MS * (50 + spread / 100)
            }
            (false, true) => MS * (15_000 + spread),
            (false, false) => MS * (60_000 + 6 * spread),
        };
        cx.timer(pause, 0);
    }
}

impl Actor for Light {
    fn told(&mut self, cx: &mut Cx<'_>, what: Told<'_>) {
        match what {
            Told::Start => {
                cx.listen(PORT);
                self.ask(cx);
            }
            Told::Timer(_) => self.ask(cx),
            Told::Connected { sock } => {
                let after = &self.after;
                let text =
                    format!(r#"{{"type":"register","ip":"127.0.0.1","port":{PORT},"after":"{after}"}}"#);
                cx.send(sock, text.as_bytes());
            }
            Told::Eof { sock } => {
                cx.close(sock);
                if self.asking == Some(sock) {
                    self.asking = None;
                    self.read(cx, sock);
                }
            }
            Told::Closed { sock, .. } if self.asking == Some(sock) => cx.timer(S * 5, 0),
            _ => {}
        }
    }
}

#[test]
fn two_thousand_join_within_a_minute() {
    // 1,980 of them light, since two thousand lists of two thousand nodes are more than a test should hold.
    scenario("two_thousand_join", 1, |world| {
        let lan = world.lan();
        let there = world.host(&[lan]);
        let registry = bootstrap(world, there, |_| {});
        let to = world.addr(there, REGISTRY);
        let (mut nodes, mut crowd) = (Vec::new(), Vec::new());
        let (mut before, mut most) = (0, 0);
        let asked = |world: &World, crowd: &[ActorId]| {
            crowd.iter().map(|&actor| world.log(actor).notes.len() as u64).sum::<u64>()
        };
        for i in 0..2000 {
            let host = world.host(&[lan]);
            if i % 100 == 0 {
                let node = plain(world, host);
                world.type_line(node, &format!("bootstrap {to}"));
                nodes.push(node);
            } else {
                let light = Light { to, asking: None, after: String::new(), news: false };
                crowd.push(world.actor(host, light));
            }
            world.run_for(MS * 30);
            if i % 33 == 32 {
                let all = asked(world, &crowd);
                (before, most) = (all, most.max(all - before));
            }
        }
        world.run_for(S * 30);
        let (real, light) = (world.env.dials[&to], asked(world, &crowd));
        let all = real + light;
        println!("{all} connections, {real} of them of 20 nodes; at most {most} in a second");
        assert!(most <= 250, "{most} in a second");
        assert!(all <= 2000 * 8 && real <= 20 * 9, "{all}, {real} of them of 20 nodes");
        for &node in &nodes {
            let said = command(world, node, "status");
            assert!(said[0]["nodes"].as_u64() >= Some(1990), "{said:?}");
        }
        assert!(world.running(registry));
    });
}
