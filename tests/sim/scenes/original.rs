//! The original's programs and ours, in both directions.

use super::common::{
    BUSY, MS, NO_FILE, PORT, S, addr_of, alive, at_registry, bootstrap, command, crowd, errors, get_at,
    has_copy, heard, peer, peers_on, plain, request, send,
};
use crate::actor::Step;
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::{ActorId, HostId, NodeId};
use crate::original::{OriginalBootstrap, OriginalPeer, Task};
use crate::world::World;
use distrishare::config::Limits;
use std::net::SocketAddr;

const SIZES: [u64; 6] = [0, 1, 4095, 4096, 4097, 1_000_000];
const NAMES: [&str; 3] = ["with blanks.txt", "año.txt", "😀.png"];

#[test]
fn our_server_to_its_client() {
    // hostile: 82
    scenario("our_server_to_its_client", 4, |world| {
        let lan = world.lan();
        let node = peers_on(world, lan, 1, |_| {})[0];
        let to = addr_of(world, node);
        let mut original = OriginalPeer::new(PORT);
        let mut after = S / 10;
        for (i, size) in SIZES.into_iter().enumerate() {
            let name = format!("file{i}");
            world.share(node, &name, Content::generated(i as u64, size));
            original = original.then(after, Task::Download(to, name));
            after += MS * 300;
        }
        for name in NAMES {
            world.share(node, name, Content::generated(50, 5000));
            original = original
                .then(after, Task::Search(to, name.into()))
                .then(after, Task::Download(to, name.into()));
        }
        let ask = [Task::Search(to, "none".into()), Task::Download(to, "none".into()), Task::Probe(to)];
        for task in ask {
            original = original.then(after, task);
        }
        let host = world.host(&[lan]);
        let actor = world.actor(host, original);
        let wrong = world.host(&[lan]);
        let wrong = world.actor(
            wrong,
            OriginalPeer::new(PORT).secret("another").then(S, Task::Search(to, "file1".into())),
        );
        world.run_for(S * 10);
        let log = world.log(actor);
        for (i, size) in SIZES.into_iter().enumerate() {
            let got = log.files.get(&format!("file{i}"));
            assert!(
                got.is_some_and(|got| got.same(&Content::generated(i as u64, size))),
                "{size}: {:?}",
                log.notes
            );
        }
        for name in NAMES {
            assert!(log.files[name].same(&Content::generated(50, 5000)), "{name}");
            assert!(log.notes.contains(&format!("search {name}: FOUND")), "{:?}", log.notes);
        }
        let last = [
            "search none: NOT_FOUND".into(),
            format!("download none: {NO_FILE}"),
            format!("probe {to}: alive"),
        ];
        assert!(last.iter().all(|note| log.notes.contains(note)), "{:?}", log.notes);
        let said = &world.log(wrong).notes;
        assert_eq!(said[..], ["search file1: ERROR: Autentication faild."]);
    });
}

/// A class behind one router: more than there are upload slots for one address.
#[test]
fn twenty_of_its_nodes_behind_one_address_all_get_the_file() {
    scenario("twenty_of_its_nodes", 4, |world| {
        let lan = world.lan();
        let node = peers_on(world, lan, 1, |_| {})[0];
        let content = Content::generated(7, 1_000_000);
        world.share(node, "lesson", content.clone());
        world.run_for(MS * 10);
        let (to, host) = (addr_of(world, node), world.host(&[lan]));
        world.env.net.topology.host_mut(host).byte_ns = 100;
        let class: Vec<_> = (0..20)
            .map(|i| {
                let original = OriginalPeer::new(PORT + i);
                // Within a blink; more than `unauth_per_ip` before one of them has spoken are another matter.
                let after = S + MS * 5 * u32::from(i);
                world.actor(host, original.then(after, Task::Download(to, "lesson".into())))
            })
            .collect();
        world.run_for(S * 15);
        for actor in class {
            let log = world.log(actor);
            let whole = log.files.get("lesson").is_some_and(|got| got.same(&content));
            assert!(whole, "{:?}", log.notes);
        }
    });
}

/// Eight who read nothing have all slots of their address.
fn crowded(world: &mut World, limits: Limits) -> (HostId, NodeId, SocketAddr, ActorId) {
    let lan = world.lan();
    let node = peers_on(world, lan, 1, move |config| config.limits = limits.clone())[0];
    world.share(node, "there", "content");
    world.share(node, "big", Content::generated(77, 1 << 30));
    world.run_for(MS * 10);
    let (to, host) = (addr_of(world, node), world.host(&[lan]));
    let steps = vec![send(request("download", "big")), Step::Hear, Step::NeverRead];
    let running = crowd(world, host, to, 8, MS * 5, steps);
    world.run_for(S / 2);
    (host, node, to, running)
}

#[test]
fn those_that_wait_hear_busy_beyond_the_bounds() {
    // hostile: 69. `v1_waits`, `v1_waits_per_ip`, `v1_wait`
    scenario("those_that_wait", 3, |world| {
        let limits = Limits { v1_waits: 5, v1_waits_per_ip: 3, ..Limits::desktop() };
        let (host, _, to, running) = crowded(world, limits);
        let late = crowd(world, host, to, 10, MS * 10, vec![send(request("download", "there"))]);
        world.run_for(S);
        assert_eq!(heard(world, late), BUSY.repeat(7), "three wait");
        world.run_for(S * 2);
        assert_eq!(heard(world, late), BUSY.repeat(7));
        world.run_for(S * 3 / 2);
        assert_eq!(heard(world, late), BUSY.repeat(10), "nobody waits longer than the original does");
        // Who hung up leaves the queue to others; and a slot that comes back is theirs at once, in their order.
        let gone = crowd(
            world,
            host,
            to,
            3,
            MS * 10,
            vec![send(request("download", "there")), Step::Wait(MS * 20), Step::Reset],
        );
        world.run_for(MS * 100);
        assert_eq!(heard(world, gone), "");
        let waiting = crowd(world, host, to, 3, MS * 10, vec![send(request("download", "there"))]);
        world.run_for(MS * 500);
        assert_eq!(heard(world, waiting), "");
        world.stop(running);
        world.run_for(MS * 500);
        assert_eq!(heard(world, waiting), "content".repeat(3));
    });
}

#[test]
fn who_waits_and_finishes_sending_is_told_at_once() {
    scenario("who_waits_and_finishes_sending", 2, |world| {
        let (host, _, to, _) = crowded(world, Limits::desktop());
        let asked = crowd(world, host, to, 1, S, vec![send(request("download", "there")), Step::Fin]);
        let open = crowd(world, host, to, 1, S, vec![send(request("search", "there"))]);
        world.run_for(S);
        assert_eq!((heard(world, asked).as_str(), heard(world, open).as_str()), (BUSY, "FOUND"));
    });
}

#[test]
fn its_server_to_our_client() {
    // hostile: 82
    scenario("its_server_to_our_client", 4, |world| {
        world.env.truth.forbid_short = true;
        let lan = world.lan();
        let (host, there) = (world.host(&[lan]), world.host(&[lan]));
        let node = plain(world, host);
        let mut original = OriginalPeer::new(PORT);
        let all = SIZES
            .iter()
            .map(|size| (format!("file{size}"), *size))
            .chain(NAMES.map(|name| (name.to_owned(), 5000)));
        let all: Vec<_> = all.collect();
        for (i, (name, size)) in all.iter().enumerate() {
            let content = Content::generated(i as u64, *size);
            world.env.truth.add(name, &content);
            original = original.sharing(name, content);
        }
        world.actor(there, original);
        let to = world.addr(there, PORT);
        world.run_for(MS * 10);
        all.iter().for_each(|(name, _)| get_at(world, node, to, name));
        let whole = |world: &crate::world::World| all.iter().all(|(name, _)| has_copy(world, node, name));
        assert!(world.run_until(S * 20, whole), "{}", world.stdout(node));
        let found = command(world, node, &format!("search {}", NAMES[1]));
        // The last of the downloads may be told of meanwhile.
        assert!(found.iter().any(|event| event["event"] == "found"), "{found:?}");
        let said = command(world, node, &format!("get {} {} none", to.ip(), to.port()));
        assert_eq!(said[0]["code"], "not_found", "{said:?}");

        let wrong = world.host(&[lan]);
        world.actor(wrong, OriginalPeer::new(PORT).secret("another"));
        let said = command(world, node, &format!("get {} {PORT} x", world.ip(wrong)));
        assert_eq!(said[0]["code"], "refused", "{said:?}");
        assert!(
            said[0]["message"].as_str().is_some_and(|text| text.contains("Autentication faild.")),
            "{said:?}"
        );
    });
}

#[test]
fn its_nodes_and_ours_on_one_group() {
    scenario("its_nodes_and_ours", 4, |world| {
        let lan = world.lan();
        let (a, b) = (world.host(&[lan]), world.host(&[lan]));
        // One announces its address; one, as most do, 127.0.0.1.
        let named = OriginalPeer::new(PORT).multicasting().announcing(world.ip(a));
        let named = world.actor(a, named);
        let shy = world.actor(b, OriginalPeer::new(PORT).multicasting());
        let node = peers_on(world, lan, 1, |_| {})[0];
        world.type_line(node, "multicast on");
        world.run_for(S * 8);
        let wanted = [a, b].map(|host| world.addr(host, PORT).to_string()).into();
        assert_eq!(alive(world, node, "multicast"), wanted);
        let ours = format!("node {}", addr_of(world, node));
        for actor in [named, shy] {
            let notes = &world.log(actor).notes;
            assert!(notes.contains(&ours) && !notes.contains(&"discovery died".to_owned()), "{notes:?}");
        }
        world.stop(named);
        world.run_for(S * 20);
        assert_eq!(alive(world, node, "multicast"), [world.addr(b, PORT).to_string()].into());
        assert_eq!(errors(world, node), Vec::<String>::new());
    });
}

#[test]
fn our_registry_for_its_nodes_and_its_registry_for_ours() {
    // hostile: 25 (a model of its one recv)
    scenario("our_registry_for_its_nodes", 4, |world| {
        let lan = world.lan();
        let (ours, its) = (world.host(&[lan]), world.host(&[lan]));
        bootstrap(world, ours, |_| {});
        world.actor(its, OriginalBootstrap::new(8000));
        let (our_addr, its_addr) = (world.addr(ours, 8000), world.addr(its, 8000));
        let mut originals = Vec::new();
        for i in 0..120u32 {
            let host = world.host(&[lan]);
            let peer = OriginalPeer::new(PORT).then(MS * (50 * i), Task::Register(our_addr));
            originals.push(world.actor(host, peer.then(S * 8 + MS * (20 * i), Task::Register(our_addr))));
        }
        let target = at_registry(world, ours);
        let host = world.host(&[lan]);
        let node = peer(world, host, move |config| config.bootstraps = vec![target.clone()]);
        world.run_for(S * 12);
        for &actor in &originals {
            let notes = &world.log(actor).notes;
            assert_eq!(notes.len(), 2, "{notes:?}");
            assert!(notes.iter().all(|note| note.starts_with("registered: ")), "{notes:?}");
        }
        let last = &world.log(originals[0]).notes[1];
        let nodes: usize =
            last["registered: ".len()..].split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        assert!(nodes >= 40, "as many as fit: {last}");
        command(world, node, "bootstrap");
        assert!(alive(world, node, "bootstrap").len() >= 40);

        let host = world.host(&[lan]);
        let second = plain(world, host);
        world.run_for(MS * 10);
        for node in [node, second, node] {
            let said = command(world, node, &format!("bootstrap {its_addr}"));
            assert_eq!(said[0]["event"], "registered", "{said:?}");
        }
        assert!(alive(world, node, "bootstrap").contains(&addr_of(world, second).to_string()));
    });
}
