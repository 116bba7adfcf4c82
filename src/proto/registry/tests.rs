use super::*;
use crate::proto::json::REQUEST_MAX;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("test")
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("test")
}

/// What the registry does with a whole request: scanner, then reader. The error is the text.
fn register(request: &[u8]) -> Result<Register, String> {
    let mut scanner = ObjectScanner::new(REQUEST_MAX);
    match scanner.push(request) {
        Scan::Complete => {
            parse_register(scanner.object(), scanner.trailing()).map_err(|error| error.to_string())
        }
        Scan::Bad(error) => Err(error.to_string()),
        Scan::More => Err("more".to_owned()),
    }
}

fn with_port(port: &str) -> Result<Register, String> {
    register(format!(r#"{{"type":"register","ip":"10.0.0.5","port":{port}}}"#).as_bytes())
}

fn with_ip(ip: &str) -> Result<Register, String> {
    register(format!(r#"{{"type":"register","ip":{ip},"port":9001}}"#).as_bytes())
}

#[test]
fn registrations_of_the_original_are_read() {
    let good = Ok(Register { ip: ip("10.0.0.5"), port: 9001, after: None, guest: false });
    assert_eq!(register(br#"{"type": "register", "ip": "10.0.0.5", "port": 9001}"#), good);
    assert_eq!(register(&encode_register(ip("10.0.0.5"), 9001)), good);
    // hostile: 16
    assert_eq!(register(br#"{"x":{"port":1},"port":9001,"type":"register","ip":"10.0.0.5","y":[]}"#), good);
    // hostile: 17
    assert_eq!(register(b"{\"type\":\"register\",\"ip\":\"10.0.0.5\",\"port\":9001} \r\n"), good);
    // hostile: 13
    assert_eq!(
        with_ip("\"127.0.0.1\""),
        Ok(Register { ip: ip("127.0.0.1"), port: 9001, after: None, guest: false })
    );
}

#[test]
fn every_bad_port_is_named() {
    // hostile: 10
    for port in [
        "0",
        "-1",
        "65536",
        "9001.0",
        "9e3",
        "\"9001\"",
        "1e400",
        "true",
        "null",
        "NaN",
        "[]",
        "{}",
        "-0",
        "9001.5",
        "18446744073709551616",
        "[9001]",
        "Infinity",
        "09001",
    ] {
        let text = with_port(port).expect_err(port);
        assert!(text.contains("`port`"), "{port}: {text}");
    }
    // hostile: 14
    assert!(with_port("25").expect_err("25").contains("`port`"));
    assert!(with_port("1023").is_err());
    assert_eq!(with_port("1024"), Ok(Register { ip: ip("10.0.0.5"), port: 1024, after: None, guest: false }));
    assert!(register(br#"{"type":"register","ip":"10.0.0.5"}"#).expect_err("missing").contains("`port`"));
    // hostile: 9
    let twice =
        register(br#"{"type":"register","ip":"10.0.0.5","port":9001,"port":9002}"#).expect_err("twice");
    assert_eq!(twice, "duplicate field `port`");
}

#[test]
fn every_bad_ip_is_named() {
    // hostile: 11
    let long = format!("\"{}\"", "1".repeat(300));
    for bad in [
        "null",
        "[\"10.0.0.5\"]",
        "1",
        &long,
        "\"victim.example.com\"",
        "\"localhost\"",
        "\"0177.0.0.1\"",
        "\" 1.2.3.4\"",
        "\"1.2.3\"",
        "\"::1%eth0\"",
        "\"1.2.3.4\\u0000\"",
        "\"\"",
        "{}",
        "true",
        // hostile: 14
        "\"224.1.1.1\"",
        "\"255.255.255.255\"",
        "\"0.0.0.0\"",
        "\"::\"",
        "\"ff02::1\"",
        "\"::ffff:224.1.1.1\"",
    ] {
        let text = with_ip(bad).expect_err(bad);
        assert!(text.contains("`ip`"), "{bad}: {text}");
    }
    assert_eq!(
        with_ip("\"::ffff:10.0.0.5\""),
        Ok(Register { ip: ip("10.0.0.5"), port: 9001, after: None, guest: false })
    );
    assert_eq!(
        with_ip("\"fd00::5\""),
        Ok(Register { ip: ip("fd00::5"), port: 9001, after: None, guest: false })
    );
    assert!(register(br#"{"type":"register","port":9001}"#).expect_err("missing").contains("`ip`"));
}

#[test]
fn other_types_are_refused_with_a_text() {
    // hostile: 19
    for kind in ["1", "null", r#""regis\u0000ter""#, r#""unregister""#, r#""Register""#, r#"["register"]"#] {
        let request = format!(r#"{{"type":{kind},"ip":"10.0.0.5","port":9001}}"#);
        assert!(register(request.as_bytes()).expect_err(kind).contains("`type`"));
    }
    assert!(register(br#"{"ip":"10.0.0.5","port":9001}"#).expect_err("missing").contains("`type`"));
    assert!(register(b"{}").expect_err("empty").contains("`type`"));
}

#[test]
fn what_is_not_one_object_is_refused() {
    // hostile: 18
    let one = encode_register(ip("10.0.0.5"), 9001);
    assert_eq!(register(&[&one[..], &one].concat()), Err("more than one object in the request".into()));
    assert!(register(&[&one[..], b"\0"].concat()).is_err());
    // hostile: 8
    assert_eq!(register(br#"["register","10.0.0.5",1]"#), Err("the top level must be a JSON object".into()));
    assert_eq!(
        parse_register(br#"["register","10.0.0.5",9001]"#, false),
        Err(RegisterError::Json(JsonError::NotObject))
    );
    // hostile: 15
    for bad in [
        &b"\xEF\xBB\xBF{\"type\":\"register\"}"[..],
        b"{\"type\":\"register\xFF\"}",
        br#"{"type":"register","ip":"\ud800"}"#,
        br#"{"type":"register","x":"\ud800"}"#,
        b"{\"type\":\"regi\nster\"}",
        br#"{"type":"register" "ip":"10.0.0.5"}"#,
        br#"{"type"}"#,
    ] {
        let text = register(bad).expect_err("bad");
        assert!(text.starts_with("not valid UTF-8 JSON"), "{bad:?}: {text}");
        assert!(!text.contains(" at line "), "{text}");
    }
    // hostile: 7
    assert_eq!(register(&[&b"{\"a\":"[..], &[b'['; 4000]].concat()), Err("nested deeper than 8".into()));
    // hostile: 6
    assert_eq!(register(&[b' '; 4097]), Err("request larger than 4096 bytes".into()));
}

#[test]
fn replies_fit_and_hold_the_first_nodes() {
    // hostile: 25
    assert_eq!(encode_reply(&[], 1400).0, br#"{"nodes": []}"#);
    let two = [addr("10.0.0.5:9001"), addr("[fd00::5]:9002")];
    assert_eq!(encode_reply(&two, 1400).0, br#"{"nodes": [["10.0.0.5", 9001], ["fd00::5", 9002]]}"#);
    assert_eq!(
        encode_reply(&[addr("[::ffff:10.0.0.5]:9001")], 1400).0,
        br#"{"nodes": [["10.0.0.5", 9001]]}"#
    );
    let many: Vec<_> = (0..5000u16).map(|n| SocketAddr::from(([192, 168, 100, 100], 10_000 + n))).collect();
    for count in [0, 1, 51, 52, 5000] {
        let (reply, given) = encode_reply(&many[..count], 1400);
        assert!(reply.len() <= 1400);
        let answer = parse_answer(&reply).expect("our own reply");
        assert_eq!(answer.nodes, many[..given]);
        assert_eq!(given, count.min(49), "so many of the longest fit into one segment");
    }
    let exact = encode_reply(&two, 1400).0.len();
    assert_eq!(encode_reply(&two, exact).0.len(), exact);
    assert_eq!(encode_reply(&two, exact - 1).0, br#"{"nodes": [["10.0.0.5", 9001]]}"#);
    assert_eq!(encode_reply(&two, 0).0, br#"{"nodes": []}"#, "nothing shorter is an answer");
}

#[test]
fn errors_look_like_an_empty_list_to_old_clients() {
    assert_eq!(encode_error("a \"b\" \x1b"), br#"{"error": "a \"b\" \u001b", "nodes": []}"#);
    let answer = parse_answer(&encode_error(&"ñ".repeat(1000))).expect("our own");
    assert_eq!(answer, Answer { error: Some("ñ".repeat(100)), ..Answer::default() });
}

#[test]
fn hostile_answers_yield_what_is_good_in_them() {
    // hostile: 81
    let garbage = r#"{"x":{}, "nodes": [["10.0.0.5", 9001], null, 7, "a", [], ["10.0.0.6"], ["10.0.0.7", 9001, 1], {"ip":"10.0.0.8"},
        ["10.0.0.9", 0], ["10.0.0.9", -1], ["10.0.0.9", 65536], ["10.0.0.9", "9001"], ["host", 9001], [9001, "10.0.0.9"],
        ["10.0.0.9", 9001.0], [["10.0.0.9", 9001]], ["::ffff:10.0.0.10", 9002]], "y": [1]}"#;
    let answer = parse_answer(garbage.as_bytes()).expect("has good ones");
    assert_eq!(answer.nodes, [addr("10.0.0.5:9001"), addr("10.0.0.10:9002")]);
    assert_eq!((answer.skipped, answer.cut, answer.error), (15, false, None));

    let many: Vec<_> =
        (0..100_000u32).map(|n| SocketAddr::from((Ipv4Addr::from(0x0A00_0000 + n), 9001))).collect();
    let whole = encode_reply(&many, usize::MAX).0;
    assert_eq!(parse_answer(&whole).expect("whole").nodes.len(), 100_000);
    for max in [4096, 64 << 10] {
        let answer = parse_answer(&whole[..max]).expect("cut");
        assert!(answer.cut && answer.nodes.len() > max / 28 && answer.nodes == many[..answer.nodes.len()]);
    }
}

#[test]
fn answers_without_nodes_are_errors() {
    // hostile: 81
    let deep = format!(r#"{{"nodes": [{}{}]}}"#, "[".repeat(9), "]".repeat(9));
    let mut deep_later = br#"{"nodes": [["10.0.0.5", 9001], "#.to_vec();
    deep_later.extend([b'['; 60_000]);
    for bad in [
        &b""[..],
        b" \n",
        b"null",
        b"[[\"10.0.0.5\", 9001]]",
        b"{}",
        br#"{"nodes": null}"#,
        br#"{"nodes": {"a": 1}}"#,
        br#"{"nodes": "\u001b[2J"}"#,
        br#"{"nodes": [], "nodes": [["10.0.0.5", 9001]]}"#,
        br#"{"nodes": ["#,
        br#"{"nodes": [["10.0.0.5", 90"#,
        br#"{"nod"#,
        b"HTTP/1.1 400 Bad Request",
        b"\x16\x03",
        b"{\"nodes\": [\xFF",
        br#"{"error": 7}"#,
        br#"{"nodes": [NaN]}"#,
        deep.as_bytes(),
        &deep_later,
    ] {
        let text = parse_answer(bad).expect_err("nothing in it");
        assert!(text.starts_with("the registry's answer"), "{text}");
        assert!(!text.contains('\x1b') && text.len() <= ERROR_MAX, "{text}");
    }
    let refused = parse_answer(br#"{"error": "too many from your address"}"#).expect("an error");
    assert_eq!(refused.error.as_deref(), Some("too many from your address"));
}

proptest! {
    #[test]
    fn any_cut_yields_whole_entries(count in 1usize..40, cut in 0usize..1400) {
        let nodes: Vec<_> = (0..count).map(|n| SocketAddr::from(([10, 0, 0, n as u8], 9000 + n as u16))).collect();
        let reply = encode_reply(&nodes, usize::MAX).0;
        let cut = cut.min(reply.len());
        match parse_answer(&reply[..cut]) {
            Ok(answer) => {
                prop_assert_eq!(&answer.nodes[..], &nodes[..answer.nodes.len()]);
                prop_assert_eq!(answer.cut, cut < reply.len());
                prop_assert_eq!(answer.skipped, 0);
            }
            Err(_) => {
                let first = r#"{"nodes": [["10.0.0.0", 9000]"#.len();
                prop_assert!(cut < first);
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), text in r#"\{"nodes": ?\[[\[\]{}",:0-9a.e-]{0,40}"#) {
        for bytes in [&bytes[..], text.as_bytes()] {
            let _ = register(bytes);
            let _ = parse_register(bytes, false);
            if let Ok(answer) = parse_answer(bytes) {
                prop_assert!(answer.nodes.iter().all(|node| node.port() != 0));
            }
        }
    }

    #[test]
    fn what_is_registered_is_read(v4: [u8; 4], port in 1024u16..) {
        let ip = IpAddr::from(v4);
        prop_assume!(!ip.is_multicast() && !ip.is_unspecified() && v4 != [255; 4]);
        prop_assert_eq!(register(&encode_register(ip, port)), Ok(Register { ip, port, after: None, guest: false }));
    }
}

#[test]
fn a_guest_says_so() {
    for guest in [true, false] {
        let request = encode_page_request(ip("10.0.0.5"), 9001, "", guest);
        assert_eq!(register(&request).map(|read| read.guest), Ok(guest));
    }
    for odd in ["true", "2", "\"1\"", "null", "[1]"] {
        let request = format!(r#"{{"type":"register","ip":"10.0.0.5","port":9001,"guest":{odd}}}"#);
        assert_eq!(register(request.as_bytes()).map(|read| read.guest), Ok(false), "{odd}");
    }
}

#[test]
fn pages_are_asked_for_and_answered() {
    let after = |request: &[u8]| register(request).expect("good").after;
    let cursor = Cursor { table: 0xab, verified: 17, others: u64::MAX };
    let asks = |text: &str| after(&encode_page_request(ip("10.0.0.5"), 9001, text, false));
    assert_eq!(asks(""), Some(Cursor::default()));
    assert_eq!(asks(&cursor.to_string()), Some(cursor));
    assert!(cursor.to_string().len() <= CURSOR_MAX);
    // Whatever is no cursor asks for the first page.
    let long = "1".repeat(4000);
    for odd in
        ["-", "ab", "ab-11", "ab-11-", "AB-11-0", "+ab-11-0", "ab-011-0", "ab-11-0-0", "é", "\"\u{0}", &long]
    {
        assert_eq!(asks(odd), Some(Cursor::default()), "{odd}");
    }
    for odd in ["7", "null", "[]", "{\"a\":1}", "true", "1.5"] {
        let request = format!(r#"{{"type":"register","ip":"10.0.0.5","port":9001,"after":{odd}}}"#);
        assert_eq!(after(request.as_bytes()), Some(Cursor::default()), "{odd}");
    }
    let many: Vec<SocketAddr> = (0..2000u16).map(|i| SocketAddr::from(([10, 0, 0, 5], 1024 + i))).collect();
    for max in [0, 200, 1400, 16 << 10] {
        let mut given = 0;
        let page = encode_page(&many, max, |n| {
            given = n;
            (cursor, true)
        });
        assert!(page.len() <= max.max(200));
        let answer = parse_answer(&page).expect("our own");
        assert_eq!((&answer.nodes[..], answer.more), (&many[..given], true));
        assert_eq!(answer.next, Some(cursor.to_string()));
    }
    // What is no cursor is none; the nodes count all the same.
    for odd in ["7", "\"\"", "\"a b\"", "\"é\"", "null", "[1]", &format!("\"{}\"", "x".repeat(65))] {
        let text = format!(r#"{{"nodes": [["10.0.0.5", 9001]], "next": {odd}, "more": [1]}}"#);
        let answer = parse_answer(text.as_bytes()).expect("good nodes");
        assert_eq!((answer.nodes.len(), answer.next, answer.more), (1, None, false), "{odd}");
    }
}
