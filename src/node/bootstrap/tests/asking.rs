//! The port: one request, one answer.

use super::*;

/// Everything but the console is closed and nothing is armed for it.
fn quiet(world: &World, timers: usize) {
    assert_eq!((world.open.len(), world.node.census().timers), (2, timers));
    assert_eq!(world.node.census().buffered, 0);
}

#[test]
fn an_empty_connection_changes_nothing() {
    // hostile: 1
    let mut world = World::new();
    let timers = world.node.census().timers;
    for bytes in [&b""[..], b"  \n"] {
        assert_eq!(world.ask(peer("10.0.0.1"), bytes).writes, 0);
        quiet(&world, timers);
    }
    assert_eq!((world.node.census().nodes, world.node.notices.lines()), (0, 0));
}

#[test]
fn silence_and_dripping_end_five_seconds_after_accept() {
    // hostile: 2, 3
    let mut world = World::new();
    let timers = world.node.census().timers;
    let silent = world.accept(peer("10.0.0.1")).expect("in");
    let dripping = world.accept(peer("10.0.0.2")).expect("in");
    world.advance(Duration::from_millis(4900));
    world.recv(dripping, b"{");
    assert!(world.open.contains_key(&silent));
    world.advance(Duration::from_millis(99));
    assert!(world.open.contains_key(&dripping));
    world.advance(Duration::from_millis(1));
    quiet(&world, timers);
}

#[test]
fn a_request_may_come_byte_by_byte_and_with_blanks_around_it() {
    // hostile: 4, 16, 17
    let mut world = World::new();
    let conn = world.accept(peer("10.0.0.1")).expect("in");
    for byte in br#" { "also": {"a": [1]}, "port": 9000, "ip":"127.0.0.1", "type":"register" }"# {
        assert_eq!(world.got(conn).writes, 0);
        world.recv(conn, &[*byte]);
    }
    assert_eq!(nodes(&world.hang_up(conn).text), [addr("10.0.0.1:9000")]);
    assert_eq!(nodes(&world.ask(peer("10.0.0.2"), request("10.0.0.2", 9000) + " \n").text).len(), 2);
}

#[test]
fn a_request_of_4096_bytes_is_taken_and_one_of_4097_is_refused_readably() {
    // hostile: 5, 6
    let mut world = World::new();
    let padded = |n: usize| {
        let head = r#"{"type":"register","ip":"10.0.0.1","port":9000,"x":""#;
        format!("{head}{}\"}}", "y".repeat(n - head.len() - 2))
    };
    assert_eq!(nodes(&world.ask(peer("10.0.0.1"), padded(4096)).text).len(), 1);
    let conn = world.accept(peer("10.0.0.2")).expect("in");
    world.recv(conn, padded(4097).as_bytes());
    let text = world.got(conn).text;
    assert!(text.contains("request larger than 4096 bytes"), "{text}");
    assert!(world.open[&conn].shut, "we finished, and go on reading");
    // A client that still sends 200 KB is read for a while, then left alone; it is not cut off.
    for _ in 0..15 {
        world.recv(conn, &[b'z'; 4096]);
    }
    assert!(!world.open[&conn].paused);
    world.recv(conn, &[b'z'; 4096]);
    assert!(world.open[&conn].paused);
    world.advance(Duration::from_millis(999));
    assert!(world.open.contains_key(&conn));
    world.advance(Duration::from_millis(1));
    assert!(!world.open.contains_key(&conn));
    assert_eq!(world.node.census().nodes, 1);
}

#[test]
fn what_is_wrong_is_said_in_one_text_and_nothing_is_listed() {
    // hostile: 7, 8, 9, 10, 11, 14, 15, 18, 19
    let mut world = World::new();
    let nested = "[".repeat(4000);
    let deep = format!(r#"{{"a":{nested}"#);
    let bad: [(&[u8], &str); 14] = [
        (nested.as_bytes(), ""),
        (deep.as_bytes(), "nested deeper than 8"),
        (br#"["register","1.2.3.4",1]"#, "object"),
        (br#"{"type":"register","ip":"1.2.3.4","port":9000,"port":9001}"#, "port"),
        (br#"{"type":"register","ip":"1.2.3.4","port":"9000"}"#, "port"),
        (br#"{"type":"register","ip":"1.2.3.4","port":0}"#, "port"),
        (br#"{"type":"register","ip":"1.2.3.4","port":25}"#, "port"),
        (br#"{"type":"register","ip":"host.lan","port":9000}"#, "ip"),
        (br#"{"type":"register","ip":"224.1.1.1","port":9000}"#, "ip"),
        (b"\xef\xbb\xbf{}", "UTF-8"),
        (b"{\"\xff\":1}", "UTF-8"),
        (br#"{"type":"register","ip":"1.2.3.4","port":9000}{}"#, "more than one"),
        (br#"{"type":"leave","ip":"1.2.3.4","port":9000}"#, "type"),
        (br#"{"ip":"1.2.3.4","port":9000}"#, "type"),
    ];
    for (bytes, word) in bad {
        let got = world.ask(peer("10.0.0.1"), bytes);
        assert!(got.text.contains(r#""error""#) && got.text.contains(word), "{word}: {got:?}");
        assert_eq!((nodes(&got.text).len(), got.writes), (0, 1));
        world.advance(Duration::from_millis(10));
    }
    let half = world.accept(peer("10.0.0.1")).expect("in");
    world.recv(half, b"{\"type\":");
    world.stuck = true;
    world.input(Input::Eof { conn: half });
    world.stuck = false;
    world.send(half);
    assert_eq!(
        world.count(|o| matches!(o, Output::Shutdown { .. })),
        bad.len(),
        "no need to wait for its end"
    );
    assert_eq!(world.node.census().nodes, 0);
    assert_eq!(world.node.notices.lines(), 1, "a stranger fills no log");
    world.advance(secs(30));
    assert_eq!(world.node.notices.lines(), 2);
}

#[test]
fn other_protocols_are_closed_at_their_first_byte_without_an_echo() {
    // hostile: 20, 21
    for bytes in
        [&b"POST / HTTP/1.1\r\n\r\n{}"[..], b"\x16\x03\x01", b"SSH-2.0-x", b"\x80v2", b" \n\0", b"HELLO"]
    {
        let mut world = World::new();
        let conn = world.accept(peer("10.0.0.1")).expect("in");
        world.recv(conn, &bytes[..1]);
        world.recv(conn, &bytes[1..]);
        assert!(!world.open.contains_key(&conn));
        assert_eq!(world.count(|o| matches!(o, Output::Wake { .. })), 1, "the ready line only");
        for _ in 0..50 {
            world.ask(peer("10.0.0.1"), bytes);
        }
        assert_eq!(world.node.notices.lines(), 1);
    }
}

#[test]
fn the_observed_address_is_listed_and_not_the_claimed_one() {
    // hostile: 12, 13
    let mut world = World::new();
    for claim in ["10.9.9.9", "127.0.0.1", "8.8.8.8"] {
        assert_eq!(nodes(&world.ask(peer("10.0.0.1"), request(claim, 9000)).text), [addr("10.0.0.1:9000")]);
    }
    assert_eq!(world.register("::ffff:10.0.0.1", 9000), [addr("10.0.0.1:9000")], "IPv4 in IPv6 is IPv4");
    for strange in ["224.0.0.5", "0.0.0.1", "192.0.2.1", "fe80::1", "2002:7f00:1::"] {
        let got = world.ask(peer(strange), request("10.0.0.1", 9000));
        assert!(got.text.contains("error"), "{strange}: {got:?}");
    }
    assert_eq!(world.node.census().nodes, 1);
}

#[test]
fn a_node_beside_the_registry_is_listed_as_it_says() {
    // hostile: 13
    let mut world = World::new();
    let here = |world: &mut World, claim: &str, port| {
        nodes(&world.ask(peer("127.0.0.1"), request(claim, port)).text)
    };
    assert_eq!(here(&mut world, "127.0.0.1", 9000), [addr("127.0.0.1:9000")]);
    assert_eq!(here(&mut world, "127.0.0.1", 9001).len(), 2);
    assert_eq!(here(&mut world, "192.168.1.42", 9002)[0], addr("192.168.1.42:9002"));
    assert_eq!(here(&mut world, "::ffff:192.168.1.42", 9002)[0], addr("192.168.1.42:9002"));
    assert_eq!(world.node.census().nodes, 3);
    // The registry itself is no node.
    let got = world.ask(peer("127.0.0.1"), request("127.0.0.1", 8000));
    assert!(got.text.contains("error"), "{got:?}");
    let far = world.register("10.0.0.7", 9000);
    assert_eq!(far, [addr("10.0.0.7:9000"), addr("192.168.1.42:9002")], "loopback nodes stay on this host");
    assert_eq!(here(&mut world, "127.0.0.1", 9000).len(), 4);
    // A claimed address has the bound of any other.
    for port in 2000..2100 {
        world.ask(peer("127.0.0.1"), request("192.168.1.42", port));
    }
    assert_eq!(world.node.census().nodes, 3 + 64);
}

#[test]
fn many_registrations_of_one_source_are_answered_with_a_text() {
    // hostile: 22
    let mut world = World::new();
    for port in 2000..3000 {
        let got = world.ask(peer("10.0.0.1"), request("10.0.0.1", port));
        let refused = got.text.contains("too many nodes from 10.0.0.1");
        assert_eq!(refused, port >= 2064, "{got:?}");
    }
    assert_eq!(world.node.census().nodes, 64);
    // Each is dialled once, four at a time.
    world.advance(secs(20));
    assert_eq!((world.open.len(), world.node.census().buffered), (2, 0));
}

#[test]
#[allow(clippy::disallowed_methods)] // measures
fn a_flood_of_registrations_is_bounded_fast_and_spares_who_answers() {
    // hostile: 23, 24
    let mut world = World::new();
    let honest = addr("10.200.0.1:9000");
    world.alive = Box::new(move |node| Some(node == honest));
    world.register("10.200.0.1", 9000);
    let (mut took, mut sizes) = (Vec::new(), Vec::new());
    for i in 0..100_000u32 {
        let from = SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + i % 10_000), 4000));
        let one = std::time::Instant::now();
        let got = world.ask(from, request("127.0.0.1", 2000 + u16::try_from(i / 10_000).expect("small")));
        took.push(one.elapsed());
        sizes.push(got.text.len());
        world.now += Duration::from_micros(500);
        world.outputs.clear();
        world.dials.clear();
    }
    assert_eq!(world.node.census().nodes, 65_536);
    assert!(world.node.registry.lists(honest), "verified, it keeps its place without even renewing");
    assert!(sizes.iter().all(|&size| size <= 1400));
    took.sort();
    assert!(took[99_000].as_millis() < 50, "{:?}", took[99_000]);
    assert!(world.node.notices.lines() <= 50 / 10 + 2);
    world.node.registry.check_all();
}

#[test]
fn an_answer_fits_one_segment_holds_the_caller_and_goes_round() {
    // hostile: 25
    for count in [0u32, 1, 51, 52, 5000] {
        let mut world = World::new();
        for i in 0..count {
            let from = std::net::Ipv4Addr::from(0x0a01_0000 + i);
            world.ask(SocketAddr::from((from, 4000)), request("127.0.0.1", 9000));
        }
        let mut seen = BTreeSet::new();
        let asks = if count < 60 { 1 } else { 150 };
        for _ in 0..asks {
            let list = world.register("10.200.200.200", 65_535);
            assert_eq!(list[0], addr("10.200.200.200:65535"));
            seen.extend(list);
        }
        let expected = if count == 52 { 50 } else { count + 1 };
        assert!(seen.len() >= expected as usize, "{} of {count}", seen.len());
    }
}

#[test]
fn a_reset_in_the_answer_frees_the_slot_and_keeps_the_node() {
    // hostile: 27
    let mut world = World::new();
    world.stuck = true;
    let conn = world.accept(peer("10.0.0.1")).expect("in");
    world.recv(conn, request("10.0.0.1", 9000).as_bytes());
    assert!(world.node.poll_transmit(conn).is_some());
    world.input(Input::Closed { conn, fault: Fault::Reset });
    assert!(world.node.poll_transmit(conn).is_none());
    assert_eq!((world.node.census().nodes, world.node.gate.len()), (1, 0));
}

#[test]
fn a_half_closed_asker_gets_its_answer_then_the_close() {
    // hostile: 28
    let mut world = World::new();
    world.stuck = true;
    let conn = world.accept(peer("10.0.0.1")).expect("in");
    world.recv(conn, request("10.0.0.1", 9000).as_bytes());
    world.input(Input::Eof { conn });
    assert!(world.open.contains_key(&conn));
    // Partial writes go on where they stopped.
    let whole = match world.node.poll_transmit(conn) {
        Some(Transmit::Bytes(bytes)) => bytes.len(),
        other => panic!("{other:?}"),
    };
    world.node.handle_sent(world.now, conn, whole - 1);
    world.drain();
    assert!(world.open.contains_key(&conn));
    world.node.handle_sent(world.now, conn, 1);
    world.drain();
    assert!(!world.open.contains_key(&conn));
    assert_eq!(world.count(|o| matches!(o, Output::Shutdown { .. })), 0);
}

#[test]
fn an_asker_that_never_reads_is_closed_by_a_timer() {
    // hostile: 29
    let mut world = World::new();
    let reading = world.accept(peer("10.0.0.1")).expect("in");
    world.recv(reading, request("10.0.0.1", 9000).as_bytes());
    assert!(world.open[&reading].shut);
    world.stuck = true;
    let stuck = world.accept(peer("10.0.0.2")).expect("in");
    world.recv(stuck, request("10.0.0.2", 9000).as_bytes());
    world.advance(secs(1));
    assert!(!world.open.contains_key(&reading) && world.open.contains_key(&stuck));
    world.advance(secs(9));
    assert!(!world.open.contains_key(&stuck));
}

#[test]
fn a_full_house_asks_the_oldest_silent_one_to_go() {
    let mut limits = Limits::desktop();
    limits.conns = 12;
    let mut world = World::with(limits);
    let ip = |i: u8| format!("10.0.0.{i}");
    world.stuck = true;
    // One that was answered, then nine silent ones: with the console's two the house is full.
    let answered = world.accept(peer(&ip(0))).expect("in");
    world.recv(answered, request("10.0.0.0", 9000).as_bytes());
    for (_, conn, _) in world.dials.clone() {
        world.dial_ends(conn, true);
    }
    let silent: Vec<ConnId> = (1..10).map(|i| world.accept(peer(&ip(i))).expect("in")).collect();
    assert_eq!(world.open.len(), 12);
    world.advance(Duration::from_millis(1));
    let next = world.accept(peer(&ip(20))).expect("in");
    assert!(!world.open.contains_key(&silent[0]) && world.open.contains_key(&answered));
    assert_eq!(world.open.len(), 12);
    for i in 21..40 {
        world.advance(Duration::from_millis(1));
        world.accept(peer(&ip(i))).expect("in");
    }
    assert!(!world.open.contains_key(&next) && world.open.contains_key(&answered));
}

#[test]
fn one_source_cannot_take_all_places() {
    let mut world = World::new();
    let inside = (0..100).filter(|_| world.accept(peer("10.0.0.1")).is_some()).count();
    let console = 2;
    assert_eq!(
        (inside, world.open.len() - console),
        (100, world.node.config.limits.unauth_per_ip),
        "each in place of an older one"
    );
    assert!(world.accept(peer("10.0.0.2")).is_some());
    assert!((0..40).all(|_| world.accept(peer("127.0.0.1")).is_some()), "loopback is exempt");
    world.advance(secs(6));
    assert_eq!(world.open.len(), 2);
    assert_eq!(world.node.notices.lines(), 1, "no summary before ten seconds");
    world.advance(secs(5));
    assert_eq!(world.node.notices.lines(), 2);
}

#[test]
fn who_asks_for_pages_gets_all_and_renews_for_each_without_another_save_or_probe() {
    let mut world = World::new();
    world.alive = Box::new(|_| Some(true));
    for i in 0..2000u32 {
        world.register(&format!("10.1.{}.{}", i / 250, i % 250 + 1), 9000);
    }
    let from = peer("10.0.0.1");
    let asks = |after: &str| format!(r#"{{"type":"register","ip":"127.0.0.1","port":9000,"after":{after}}}"#);
    let first = world.ask(from, asks("\"\""));
    let (saves, dials) = (world.saves.len(), world.dials.len());
    let (mut got, mut pages, mut all) = (first, 1, std::collections::BTreeSet::new());
    let end = loop {
        assert!(got.text.len() <= 16 << 10 && got.writes == 1);
        let answer = crate::proto::registry::parse_answer(got.text.as_bytes()).expect("our own");
        all.extend(answer.nodes);
        let next = answer.next.expect("a page has one");
        if !answer.more {
            break next;
        }
        got = world.ask(from, asks(&format!("\"{next}\"")));
        pages += 1;
    };
    assert_eq!((all.len(), pages), (2001, 3));
    assert_eq!((world.saves.len(), world.dials.len()), (saves, dials));
    world.register("10.2.0.1", 9000);
    let news = world.ask(from, asks(&format!("\"{end}\"")));
    assert!(nodes(&news.text).contains(&addr("10.2.0.1:9000")) && nodes(&news.text).len() <= 2, "{news:?}");
    // What is no cursor gets the first page; nobody else's answer has changed.
    for odd in ["7", "null", "\"x\"", "\"0-0-0\"", "\"ffffffff-1-1\""] {
        let answer = nodes(&world.ask(from, asks(odd)).text);
        assert!(answer[0] == addr("10.0.0.1:9000") && answer.len() > 500, "{odd}");
    }
    let v1 = world.ask(from, request("127.0.0.1", 9000));
    assert!(v1.text.len() <= 1400 && v1.text.ends_with("]]}") && v1.writes == 1, "{v1:?}");
}
