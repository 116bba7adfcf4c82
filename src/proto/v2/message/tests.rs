use super::*;
use crate::proto::address::normalise;
use crate::proto::escape::for_terminal;
use crate::proto::json::JsonError;
use crate::proto::name::NameError;
use proptest::prelude::*;

const ROOT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn root() -> Root {
    Root::parse(ROOT).expect("64 digits")
}

fn message(kind: u8, json: &str) -> Vec<u8> {
    [&[kind], json.as_bytes()].concat()
}

fn parse(kind: u8, json: &str) -> Result<Parsed, MessageError> {
    Message::parse(&message(kind, json))
}

#[track_caller]
fn read(kind: u8, json: &str) -> Message {
    match parse(kind, json) {
        Ok(Parsed::Message(message)) => message,
        other => panic!("{kind} {json}: {other:?}"),
    }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn file(name: &str, size: u64) -> FileInfo {
    FileInfo { name: name.into(), size, mtime: None, root: None }
}

fn have(all: bool, map: &[u8], pieces: &[u64]) -> Message {
    Message::Have { id: 6, all, map: map.to_vec(), pieces: pieces.to_vec() }
}

/// One of each, with the bytes that docs/PROTOCOL.md shows.
fn samples() -> [(Message, u8, String); 18] {
    let nodes = vec!["192.168.1.42:9100".parse().expect("IPv4"), "[2001:db8::1]:9000".parse().expect("IPv6")];
    let files =
        vec![FileInfo { mtime: Some(-1), root: Some(root()), ..file("a/b.txt", 3) }, file("ñ", 1 << 43)];
    [
        (Message::Close { reason: "bye".into() }, 1, r#"{"reason":"bye"}"#.into()),
        (Message::Ping { id: 0 }, 3, r#"{"id":0}"#.into()),
        (Message::Pong { id: 4_294_967_295 }, 5, r#"{"id":4294967295}"#.into()),
        (
            Message::Search { id: 1, query: "cat ext:jpg".into(), limit: 256 },
            7,
            r#"{"id":1,"query":"cat ext:jpg","limit":256}"#.into(),
        ),
        (
            Message::Files { id: 1, files, end: true, skipped: 0, left_out: 0 },
            9,
            format!(
                r#"{{"id":1,"files":[{{"name":"a/b.txt","size":3,"mtime":-1,"root":"{ROOT}"}},{{"name":"ñ","size":8796093022208,"root":null}}],"end":true}}"#
            ),
        ),
        (Message::Browse { id: 2, after: None, limit: 1 }, 11, r#"{"id":2,"limit":1}"#.into()),
        (
            Message::Browse { id: 2, after: Some("a/b".into()), limit: 9 },
            11,
            r#"{"id":2,"after":"a/b","limit":9}"#.into(),
        ),
        (Message::Stat { id: 3, name: "a \"b\"".into() }, 13, r#"{"id":3,"name":"a \"b\""}"#.into()),
        (
            Message::Values { id: 4, root: root(), span: 11, first: 2048, count: 2048 },
            15,
            format!(r#"{{"id":4,"root":"{ROOT}","span":11,"first":2048,"count":2048}}"#),
        ),
        (
            Message::Get { id: 5, root: root(), offset: 4096, len: 4_194_304 },
            19,
            format!(r#"{{"id":5,"root":"{ROOT}","offset":4096,"len":4194304}}"#),
        ),
        (
            Message::Refused { id: 5, code: Code::Gone, text: "no such file".into() },
            23,
            r#"{"id":5,"code":"gone","text":"no such file"}"#.into(),
        ),
        (Message::Cancel { id: 5 }, 25, r#"{"id":5}"#.into()),
        (
            Message::Follow { id: 6, root: root(), group: 0 },
            27,
            format!(r#"{{"id":6,"root":"{ROOT}","group":0}}"#),
        ),
        (have(true, &[], &[]), 29, r#"{"id":6,"all":true}"#.into()),
        (have(false, &[5, 128], &[]), 29, r#"{"id":6,"map":"0580"}"#.into()),
        (have(false, &[], &[3, 8_388_607]), 29, r#"{"id":6,"pieces":[3,8388607]}"#.into()),
        (
            Message::Peers { id: 6, nodes },
            31,
            r#"{"id":6,"nodes":["192.168.1.42:9100","[2001:db8::1]:9000"]}"#.into(),
        ),
        (Message::Wrong { root: root() }, 32, format!(r#"{{"root":"{ROOT}"}}"#)),
    ]
}

#[test]
fn each_message_has_its_bytes() {
    for (value, kind, json) in samples() {
        assert_eq!(String::from_utf8(encoded(&value)), String::from_utf8(message(kind, &json)));
        assert_eq!(read(kind, &json), value);
        assert_eq!(value.kind().byte(), kind);
    }
    let mut out = b"before".to_vec();
    Message::Ping { id: 7 }.encode(&mut out);
    assert_eq!(out, b"before\x03{\"id\":7}");
    assert!(Kind::ALL.iter().all(|kind| Kind::of(kind.byte()) == Some(*kind)));
    let may_be_skipped: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.byte() % 2 == 0).collect();
    assert_eq!(may_be_skipped, [Kind::Wrong], "a request or an answer must be understood");
}

#[test]
fn the_examples_of_the_documentation_are_these() {
    let page = include_str!("../../../../docs/PROTOCOL.md");
    let (_, examples) = page.split_once("### 5.5 Examples").expect("the section");
    let (_, examples) = examples.split_once("```text\n").expect("the examples");
    let (examples, _) = examples.split_once("```").expect("their end");
    let ours: Vec<(u8, String)> = samples().map(|(_, kind, json)| (kind, json)).into();
    let mut kinds = std::collections::BTreeSet::new();
    for line in examples.lines() {
        let (kind, rest) = line.split_once(' ').expect("a type");
        let kind = u8::from_str_radix(kind, 16).expect("in hex");
        kinds.insert(kind);
        if Kind::of(kind).is_some() {
            let json = rest.replace("\"R\"", &format!("\"{ROOT}\""));
            assert!(ours.contains(&(kind, json)), "{line}");
        }
    }
    let missing: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| !kinds.contains(&kind.byte())).collect();
    assert_eq!(missing, [Kind::Pong], "it looks like a ping");
}

#[test]
fn ids_and_names_are_for_logs() {
    for (value, _, _) in samples() {
        assert_eq!(value.id().is_none(), matches!(value, Message::Close { .. } | Message::Wrong { .. }));
        assert!(!value.kind().name().is_empty());
    }
    assert_eq!(Message::Cancel { id: 9 }.id(), Some(9));
}

#[test]
fn keys_are_free_in_order_and_unknown_ones_are_ignored() {
    let json = r#"{ "limit" : 3 ,"x":{"y":[1e3,null,{"z":-0.5}]}, "query":"\u00f1\ud83d\ude00",
        "i\u0064":1,"later":[] }"#;
    assert_eq!(read(7, json), Message::Search { id: 1, query: "ñ😀".into(), limit: 3 });
    assert_eq!(
        read(11, r#"{"id":1,"after":null,"limit":3}"#),
        Message::Browse { id: 1, after: None, limit: 3 }
    );
    let bare = read(9, r#"{"id":1,"files":[{"name":"a","size":1}],"end":false}"#);
    assert_eq!(
        bare,
        Message::Files { id: 1, files: vec![file("a", 1)], end: false, skipped: 0, left_out: 0 }
    );
}

#[test]
fn the_page_that_ends_a_list_may_say_what_is_not_offered() {
    let page = |left_out| Message::Files { id: 1, files: Vec::new(), end: true, skipped: 0, left_out };
    assert_eq!(encoded(&page(0))[1..], *br#"{"id":1,"files":[],"end":true}"#);
    assert_eq!(encoded(&page(7))[1..], *br#"{"id":1,"files":[],"end":true,"left_out":7}"#);
    assert_eq!(read(9, r#"{"id":1,"files":[],"end":true,"left_out":null}"#), page(0));
    for left_out in [0, 7, u64::MAX] {
        assert_eq!(
            read(9, std::str::from_utf8(&encoded(&page(left_out))[1..]).expect("text")),
            page(left_out)
        );
    }
}

#[test]
fn unknown_types_are_skipped_or_refused_by_their_last_bit() {
    // hostile: 95
    for byte in 0..=255u8 {
        let known = Kind::of(byte).is_some() || DataKind::of(byte).is_some();
        for rest in [&b""[..], b"{}", b"\xFF\0"] {
            let plain = [&[byte], rest].concat();
            match Message::parse(&plain) {
                Ok(Parsed::Skip(skipped)) => assert!(skipped == byte && byte % 2 == 0 && !known),
                Err(MessageError::UnknownType(odd)) => assert!(odd == byte && byte % 2 == 1 && !known),
                Err(_) => assert!(known, "{byte}"),
                Ok(other) => panic!("{plain:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_message_is_one_object_and_nothing_else() {
    // hostile: 96
    let alone = |json: &str| {
        assert_eq!(parse(3, json), Err(MessageError::NotAlone), "{json}");
    };
    for json in ["", "{", r#"{"id":1"#, r#"{"id":1} "#, r#" {"id":1}"#, r#"{"id":1}{"id":2}"#, "{\"id\":1}\0"]
    {
        alone(json);
    }
    let error = |json: &[u8]| Message::parse(&[&[3], json].concat()).expect_err("no object");
    assert_eq!(error(br#"[1]"#), MessageError::Json(JsonError::NotObject));
    assert_eq!(error(b"\xEF\xBB\xBF{\"id\":1}"), MessageError::Json(JsonError::NotUtf8));
    assert_eq!(error(b"{\"id\":1,\"x\":\"\xFF\"}"), MessageError::Json(JsonError::NotUtf8));
    assert_eq!(error(b"{\"id\":1,\"x\":\"\n\"}"), MessageError::Json(JsonError::Control));
    let deep = |n: usize| format!("{{\"id\":1,\"x\":{}{}}}", "[".repeat(n), "]".repeat(n));
    assert_eq!(read(3, &deep(7)), Message::Ping { id: 1 });
    assert_eq!(parse(3, &deep(8)), Err(MessageError::Json(JsonError::TooDeep)));
    assert_eq!(Message::parse(&[]), Err(MessageError::Empty));
    let filled = |len: usize| format!("{{\"id\":1,\"x\":\"{}\"}}", "x".repeat(len - 16));
    assert_eq!(message(3, &filled(100)).len(), 100);
    assert_eq!(read(3, &filled(PLAIN_MAX)), Message::Ping { id: 1 });
    assert_eq!(parse(3, &filled(PLAIN_MAX + 1)), Err(MessageError::TooLong));
}

#[test]
fn fields_must_be_there_once_and_of_their_kind() {
    // hostile: 96
    for (value, kind, json) in samples() {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&json).expect("an object");
        for (key, field) in &object {
            let optional = ["after", "all", "map", "pieces"].contains(&key.as_str());
            let mut less = object.clone();
            less.remove(key);
            let less = serde_json::to_string(&less).expect("a map");
            assert_eq!(parse(kind, &less).is_ok(), optional, "{less}");
            let twice = format!("{},{:?}:{field}}}", &json[..json.len() - 1], key);
            assert_eq!(parse(kind, &twice), Err(MessageError::Form(value.kind())), "{twice}");
            for other in ["true", "null", "[]", "{}", "7.0", "-7", "\"7\"", "[7]"] {
                let mut wrong = object.clone();
                wrong.insert(key.clone(), serde_json::from_str(other).expect("a value"));
                let wrong = serde_json::to_string(&wrong).expect("a map");
                let text = matches!(key.as_str(), "reason" | "query" | "after" | "name" | "text" | "code");
                let fine = match key.as_str() {
                    "end" | "all" if other == "true" => true,
                    "files" | "nodes" | "pieces" if other == "[]" => true,
                    "pieces" if other == "[7]" => true,
                    _ => (text && other == "\"7\"") || (optional && other == "null"),
                };
                assert_eq!(parse(kind, &wrong).is_ok(), fine, "{wrong}");
            }
        }
    }
    let once = |entry: &str| parse(9, &format!(r#"{{"id":1,"files":[{entry}],"end":true}}"#));
    assert!(once(r#"{"name":"a","size":1}"#).is_ok());
    for entry in [
        r#"["a",1]"#,
        r#"["a",1,null,null]"#,
        "null",
        r#""a""#,
        r#"{"name":"a"}"#,
        r#"{"size":1}"#,
        r#"{"name":"a","size":1,"name":"b"}"#,
        r#"{"name":"a","size":1,"mtime":1,"mtime":1}"#,
        r#"{"name":"a","size":"1"}"#,
        r#"{"name":"a","size":1,"mtime":1.5}"#,
        r#"{"name":"a","size":1,"mtime":-0}"#,
        r#"{"name":"a","size":1,"mtime":9223372036854775808}"#,
        r#"{"name":"a","size":1,"root":""}"#,
        r#"{"name":"a","size":1,"root":"00"}"#,
        r#"{"name":"a","size":1},"#,
    ] {
        assert_eq!(once(entry), Err(MessageError::Form(Kind::Files)), "{entry}");
    }
    let upper = ROOT.to_uppercase();
    assert!(
        once(&format!(r#"{{"name":"a","size":1,"root":"{upper}"}}"#)).is_err(),
        "one root has one spelling"
    );
}

#[test]
fn numbers_are_plain_integers_of_their_width() {
    // hostile: 96
    for number in [
        "1.0",
        "1e3",
        "1E0",
        "-1",
        "-0",
        "+1",
        "01",
        "00",
        "0x1",
        "4294967296",
        "1e400",
        "NaN",
        "\"1\"",
        "1_0",
        "",
    ] {
        assert_eq!(
            parse(3, &format!("{{\"id\":{number}}}")),
            Err(MessageError::Form(Kind::Ping)),
            "{number}"
        );
    }
    let get = |offset: &str| parse(19, &format!(r#"{{"id":1,"root":"{ROOT}","offset":{offset},"len":1}}"#));
    assert_eq!(get("18446744073709551616"), Err(MessageError::Form(Kind::Get)));
    let values =
        |span: &str| parse(15, &format!(r#"{{"id":1,"root":"{ROOT}","span":{span},"first":0,"count":1}}"#));
    assert_eq!(values("256"), Err(MessageError::Form(Kind::Values)));
    assert_eq!(values("267"), Err(MessageError::Form(Kind::Values)), "256 + 11 is not 11");
    assert_eq!(values("1"), Err(MessageError::Span));
}

#[test]
fn queries_and_pages_are_bounded() {
    let search = |len: usize, limit: u32| {
        parse(7, &format!(r#"{{"id":1,"query":"{}","limit":{limit}}}"#, "q".repeat(len)))
    };
    assert!(search(512, 256).is_ok() && search(0, 1).is_ok());
    assert_eq!(search(513, 1), Err(MessageError::Query));
    let browse = |limit: u32| parse(11, &format!(r#"{{"id":1,"limit":{limit}}}"#));
    assert!(browse(1).is_ok() && browse(256).is_ok());
    for limit in [0, 257, u32::MAX] {
        assert_eq!(search(1, limit), Err(MessageError::Limit));
        assert_eq!(browse(limit), Err(MessageError::Limit));
    }
    let dots = Err(MessageError::Name(NameError::Dots));
    assert_eq!(parse(13, r#"{"id":1,"name":"../x"}"#), dots);
    assert_eq!(parse(11, r#"{"id":1,"after":"a/../x","limit":1}"#), dots);
}

#[test]
fn ranges_stay_within_the_largest_file() {
    // hostile: 97
    let get = |offset: u64, len: u64| {
        parse(19, &format!(r#"{{"id":1,"root":"{ROOT}","offset":{offset},"len":{len}}}"#))
    };
    assert!(get(0, 1).is_ok() && get(4096, GET_MAX).is_ok() && get(FILE_MAX - 4096, 4096).is_ok());
    for len in [0, GET_MAX + 1, u64::MAX] {
        assert_eq!(get(0, len), Err(MessageError::Length), "{len}");
    }
    for offset in [1, 4095, 4097, u64::MAX] {
        assert_eq!(get(offset, 1), Err(MessageError::Align), "{offset}");
    }
    for (offset, len) in
        [(FILE_MAX, 1), (FILE_MAX - 4096, 4097), (u64::MAX - 4095, 1), (u64::MAX - 4095, 4096)]
    {
        assert_eq!(get(offset, len), Err(MessageError::Range), "{offset} {len}");
    }
    let values = |span: u8, first: u64, count: u64| {
        parse(15, &format!(r#"{{"id":1,"root":"{ROOT}","span":{span},"first":{first},"count":{count}}}"#))
    };
    for (span, most) in [(0, 1 << 23), (11, 1 << 12)] {
        assert!(values(span, 0, 1).is_ok() && values(span, most - 2048, 2048).is_ok());
        for count in [0, 2049, u64::from(u32::MAX)] {
            assert_eq!(values(span, 0, count), Err(MessageError::Count), "{count}");
        }
        for first in [most, most - 2047, u64::MAX, u64::MAX - 2047] {
            assert_eq!(values(span, first, 2048), Err(MessageError::Range), "{first}");
        }
    }
    for span in [1, 10, 12, 63, 64, 255] {
        assert_eq!(values(span, 0, 1), Err(MessageError::Span), "{span}");
    }
}

#[test]
fn a_group_is_one_of_the_largest_file() {
    // hostile: 97
    let follow = |group: &str| parse(27, &format!(r#"{{"id":1,"root":"{ROOT}","group":{group}}}"#));
    assert!(follow("0").is_ok() && follow("4095").is_ok());
    for group in ["4096", "4294967295"] {
        assert_eq!(follow(group), Err(MessageError::Group));
    }
    assert_eq!(follow("4294967296"), Err(MessageError::Form(Kind::Follow)));
}

#[test]
fn what_is_there_is_a_map_or_numbers() {
    // hostile: 97, 104
    assert_eq!(read(29, r#"{"id":6}"#), have(false, &[], &[]), "nothing yet");
    assert_eq!(
        read(29, r#"{"id":6,"all":false,"map":"","pieces":[]}"#),
        have(false, &[], &[]),
        "spelled out"
    );
    assert_eq!(read(29, r#"{"pieces":[0],"map":"ff","all":true,"id":6}"#), have(true, &[255], &[0]));
    let map = |digits: &str| parse(29, &format!(r#"{{"id":6,"map":"{digits}"}}"#));
    assert_eq!(map(&"00".repeat(256)), Ok(Parsed::Message(have(false, &[0; 256], &[]))));
    assert_eq!(map(r"\u0030f"), Ok(Parsed::Message(have(false, &[15], &[]))), "JSON's own spelling");
    for digits in
        ["0", "000", "0g", "AB", "0x", "+1", " 1", "é", "😀", &"00".repeat(257), &"0".repeat(30_000)]
    {
        assert_eq!(map(digits), Err(MessageError::Map), "{digits}");
    }
    let pieces = |list: &str| parse(29, &format!(r#"{{"id":6,"pieces":[{list}]}}"#));
    let many = |count: usize, number: &str| vec![number; count].join(",");
    assert!(pieces("8388607,0,0").is_ok() && pieces(&many(256, "8388607")).is_ok());
    for number in ["8388608", "18446744073709551615"] {
        assert_eq!(pieces(&format!("1,{number}")), Err(MessageError::Range), "{number}");
    }
    for number in ["18446744073709551616", "-1", "1.0", "1e0", "\"1\"", "null", "[]", "true"] {
        assert_eq!(pieces(number), Err(MessageError::Form(Kind::Have)), "{number}");
    }
    for count in [257, 30_000] {
        assert_eq!(pieces(&many(count, "1")), Err(MessageError::TooManyPieces));
    }
}

#[test]
fn nodes_are_literal_addresses() {
    // hostile: 11, 38
    let peers = |list: &[&str]| parse(31, &serde_json::json!({"id": 6, "nodes": list}).to_string());
    let nodes = |list: &[&str]| match peers(list) {
        Ok(Parsed::Message(Message::Peers { nodes, .. })) => {
            nodes.iter().map(ToString::to_string).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let bad = [
        "",
        ":",
        "localhost:9000",
        "victim.example.com:25",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:0",
        "1.2.3.4:65536",
        "1.2.3.4:+80",
        "1.2.3.4: 80",
        " 1.2.3.4:80",
        "01.2.3.4:80",
        "0177.0.0.1:80",
        "1.2.3:80",
    ];
    assert_eq!(nodes(&bad), [""; 0]);
    let bad = [
        "[1.2.3.4]:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[fe80::1%1]:80",
        "[fe80::1%eth0]:80",
        "[[::1]]:80",
        "[]:80",
        "1.2.3.4:80\0",
        "1.2.3.4:٣٤",
        "\u{1b}[2J",
    ];
    assert_eq!(nodes(&bad), [""; 0]);
    assert_eq!(
        nodes(&["nobody", "10.0.0.9:9001", "x:1", "[FE80:0::1]:1", "[::ffff:10.0.0.9]:65535", "0.0.0.0:1"]),
        ["10.0.0.9:9001", "[fe80::1]:1", "10.0.0.9:65535", "0.0.0.0:1"],
        "the address rule is asked later"
    );
    assert!(peers(&["1.2.3.4:5"; 16]).is_ok() && peers(&[]).is_ok());
    for list in [&["1.2.3.4:5"; 17][..], &["nobody"; 3000]] {
        assert_eq!(peers(list), Err(MessageError::TooManyNodes));
    }
    for entry in ["1", "null", "[]", "{}"] {
        let json = format!(r#"{{"id":6,"nodes":["1.2.3.4:5",{entry}]}}"#);
        assert_eq!(parse(31, &json), Err(MessageError::Form(Kind::Peers)), "{entry}");
    }
    let here = SocketAddr::V6(std::net::SocketAddrV6::new("fe80::1".parse().expect("IPv6"), 9000, 1, 2));
    let bytes = encoded(&Message::Peers { id: 6, nodes: vec![here] });
    assert_eq!(bytes, message(31, r#"{"id":6,"nodes":["[fe80::1]:9000"]}"#), "a zone is of this host only");
}

#[test]
fn data_is_a_header_and_its_bytes() {
    let head = data_head(DataKind::Data, 0x0403_0201, 0x0706_0504_0302_1000);
    assert_eq!(
        head,
        [21, 0, 0, 0, 1, 2, 3, 4, 0, 0x10, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    let with = |kind: DataKind, at: u64, len: usize| {
        Message::parse(&[&data_head(kind, 7, at)[..], &vec![9; len]].concat())
    };
    let data = |at, len| with(DataKind::Data, at, len);
    for len in [1, 4095, 4096, 4097, 65_536] {
        assert_eq!(data(8192, len), Ok(Parsed::Data { id: 7, offset: 8192, body: 32..32 + len }));
    }
    assert_eq!(data(0, 65_537), Err(MessageError::TooLong));
    assert_eq!(data(0, 0), Err(MessageError::Body));
    assert_eq!(data(4095, 1), Err(MessageError::Align));
    assert!(data(FILE_MAX - 4096, 4096).is_ok());
    // hostile: 97
    for (at, len) in [(FILE_MAX, 1), (FILE_MAX - 4096, 4097), (u64::MAX - 4095, 4096)] {
        assert_eq!(data(at, len), Err(MessageError::Range), "{at}");
    }
    let values = |at, len| with(DataKind::Values, at, len);
    for len in [32, 64, 65_536] {
        assert_eq!(values(5, len), Ok(Parsed::Values { id: 7, first: 5, values: 32..32 + len }));
    }
    // hostile: 106
    for len in [0, 1, 31, 33, 65_535] {
        assert_eq!(values(0, len), Err(MessageError::Body), "{len}");
    }
    assert!(values((1 << 23) - 1, 32).is_ok());
    for at in [1 << 23, (1 << 23) - 1, u64::MAX, u64::MAX - 1] {
        assert_eq!(values(at, 64), Err(MessageError::Range), "{at}");
    }
    for gap in (1..4).chain(16..32) {
        let mut plain = [&head[..], &[9; 32]].concat();
        plain[8..16].copy_from_slice(&0u64.to_le_bytes());
        assert!(Message::parse(&plain).is_ok());
        plain[gap] = 1;
        assert_eq!(Message::parse(&plain), Err(MessageError::Head), "{gap}");
    }
    for len in 1..32 {
        assert_eq!(Message::parse(&head[..len]), Err(MessageError::Head), "{len}");
    }
    assert_eq!(Message::parse(&head), Err(MessageError::Body));
}

#[test]
fn bad_entries_are_counted_and_not_shown() {
    // hostile: 104, 105
    let long = "a".repeat(256);
    let mut entries = Vec::new();
    let bad = ["", "..", "a/../b", "/etc/passwd", ".hidden", "-rf", "a\\b", "a\u{1b}b", "CON", "a//b", &long];
    for name in bad {
        entries.push(serde_json::json!({"name": name, "size": 1, "root": ROOT}));
    }
    for size in [0, 1, 4096, 1 << 43, (1 << 43) + 1, u64::MAX] {
        entries.push(serde_json::json!({"name": format!("s{size}"), "size": size}));
    }
    let json = serde_json::json!({"id": 1, "files": entries, "end": false}).to_string();
    let Message::Files { files, skipped, .. } = read(9, &json) else { panic!("other") };
    let kept: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(kept, ["s0", "s1", "s4096", "s8796093022208"]);
    assert_eq!(skipped, 11 + 2);
}

#[test]
fn a_list_has_no_more_than_its_entries() {
    // hostile: 104
    let of = |count: usize, entry: &str| {
        let entries = vec![entry; count].join(",");
        parse(9, &format!(r#"{{"id":1,"files":[{entries}],"end":true}}"#))
    };
    for entry in [r#"{"name":"same","size":1}"#, r#"{"name":"","size":1}"#] {
        assert!(of(256, entry).is_ok());
        assert_eq!(of(257, entry), Err(MessageError::TooManyFiles));
        assert_eq!(of(2000, entry), Err(MessageError::TooManyFiles));
    }
    assert_eq!(of(30_000, "1"), Err(MessageError::Form(Kind::Files)));
    assert_eq!(of(30_001, "\"\""), Err(MessageError::TooLong));
}

#[test]
fn texts_are_cut_both_ways() {
    // hostile: 114
    let long = format!("\u{1b}]0;{}", "ñ".repeat(16_000));
    let json = serde_json::json!({"reason": long, "id": 1, "code": "busy", "text": long}).to_string();
    let Message::Close { reason } = read(1, &json) else { panic!("other") };
    let Message::Refused { text, .. } = read(23, &json) else { panic!("other") };
    for text in [reason, text] {
        assert_eq!(text, format!("\u{1b}]0;{}", "ñ".repeat(98)));
        assert!(for_terminal(&text).starts_with(r"\u{1b}]0;ñ"));
    }
    let close = encoded(&Message::Close { reason: long.clone() });
    let refused = encoded(&Message::Refused { id: 1, code: Code::Busy, text: long });
    assert!(close.len() < 250 && refused.len() < 280);
    assert!(Message::parse(&close).is_ok() && Message::parse(&refused).is_ok());
}

#[test]
fn a_code_of_a_later_version_is_unknown() {
    let refused = |code: &str| match read(23, &format!(r#"{{"id":1,"code":"{code}","text":""}}"#)) {
        Message::Refused { code, .. } => code,
        other => panic!("{other:?}"),
    };
    for code in Code::ALL {
        assert_eq!(refused(code.name()), code);
    }
    for code in ["", "Gone", "later"] {
        assert_eq!(refused(code), Code::Unknown);
    }
}

#[test]
fn pages_are_packed_to_fit() {
    let check = |files: &[FileInfo], max: usize| {
        let fit = files_that_fit(files, max);
        let len = |count: usize| {
            let files = files[..count].to_vec();
            encoded(&Message::Files { id: u32::MAX, files, end: false, skipped: 0, left_out: 0 }).len()
        };
        assert!(len(fit) <= max);
        assert!(fit == files.len() || fit == FILES_MAX || len(fit + 1) > max, "{fit} of {}", files.len());
        fit
    };
    let full = |name: &str| FileInfo { mtime: Some(i64::MIN), root: Some(root()), ..file(name, FILE_MAX) };
    let worst = ["\"".repeat(255), "\"".repeat(255), "\"".repeat(255), "\"".repeat(255)].join("/");
    assert_eq!(check_name(&worst), Ok(()));
    assert_eq!(check(&[], PLAIN_SMALL), 0);
    assert_eq!(check(&vec![full(&worst); 300], PLAIN_SMALL), 1);
    assert_eq!(check(&vec![full(&worst); 300], PLAIN_MAX), 30);
    assert_eq!(check(&vec![full("a"); 300], PLAIN_MAX), 256);
    assert_eq!(check(&vec![full("a"); 256], PLAIN_MAX), 256);
    assert_eq!(check(&[full("a"), full("b")], PLAIN_SMALL), 2);
    for max in 60..400 {
        check(&[full("a"), file("b", 0), full("ñ\"")], max);
    }
}

#[test]
fn everything_but_lists_fits_the_smallest_record() {
    let name = ["\"".repeat(255), "\"".repeat(255), "\"".repeat(255), "\"".repeat(255)].join("/");
    let (id, root) = (u32::MAX, Root::new([0xFF; 32]));
    let worst = [
        Message::Close { reason: "\u{1}".repeat(300) },
        Message::Search { id, query: "\u{1}".repeat(QUERY_MAX), limit: 256 },
        Message::Browse { id, after: Some(name.clone()), limit: 256 },
        Message::Stat { id, name },
        Message::Values { id, root, span: 11, first: u64::MAX, count: u32::MAX },
        Message::Get { id, root, offset: u64::MAX, len: u64::MAX },
        Message::Refused { id, code: Code::Unknown, text: "\u{1}".repeat(300) },
        Message::Follow { id, root, group: u32::MAX },
        Message::Have { id, all: true, map: vec![255; MAP_MAX], pieces: vec![PIECES_MAX; HAVE_MAX] },
        Message::Peers { id, nodes: vec![SocketAddr::new([0xFFFF; 8].into(), u16::MAX); NODES_MAX] },
    ];
    for message in worst {
        let len = encoded(&message).len();
        assert!(len <= PLAIN_SMALL, "{}: {len}", message.kind().name());
    }
}

/// Every error there is; the match does not compile when one is missing here.
fn every_error() -> Vec<MessageError> {
    let first = MessageError::Empty;
    match first {
        MessageError::Empty
        | MessageError::TooLong
        | MessageError::UnknownType(_)
        | MessageError::Json(_)
        | MessageError::NotAlone
        | MessageError::Form(_)
        | MessageError::Query
        | MessageError::Limit
        | MessageError::TooManyFiles
        | MessageError::Name(_)
        | MessageError::Span
        | MessageError::Count
        | MessageError::Length
        | MessageError::Align
        | MessageError::Range
        | MessageError::Group
        | MessageError::Map
        | MessageError::TooManyPieces
        | MessageError::TooManyNodes
        | MessageError::Head
        | MessageError::Body => {}
    }
    let mut all = vec![
        first,
        MessageError::TooLong,
        MessageError::UnknownType(255),
        MessageError::NotAlone,
        MessageError::Query,
        MessageError::Limit,
        MessageError::TooManyFiles,
        MessageError::Span,
        MessageError::Count,
        MessageError::Length,
        MessageError::Align,
        MessageError::Range,
        MessageError::Group,
        MessageError::Map,
        MessageError::TooManyPieces,
        MessageError::TooManyNodes,
        MessageError::Head,
        MessageError::Body,
    ];
    all.extend(Kind::ALL.map(MessageError::Form));
    all.extend(
        [JsonError::NotObject, JsonError::TooDeep, JsonError::NotUtf8, JsonError::Control, JsonError::Syntax]
            .map(MessageError::Json),
    );
    all.extend(
        [
            NameError::Empty,
            NameError::Absolute,
            NameError::Dots,
            NameError::Hidden,
            NameError::Leading('~'),
            NameError::Ending,
            NameError::Backslash,
            NameError::Control,
            NameError::Device,
            NameError::ComponentTooLong,
            NameError::TooManyComponents,
            NameError::TooLong,
        ]
        .map(MessageError::Name),
    );
    all
}

#[test]
fn every_error_has_a_sentence() {
    // hostile: 115
    let mut seen = std::collections::BTreeSet::new();
    for error in every_error() {
        let text = error.to_string();
        assert!(!text.is_empty() && text.len() <= TEXT_MAX, "{error:?}: {text}");
        assert!(text.is_ascii() && text.contains(' ') && for_terminal(&text) == text, "{error:?}: {text}");
        assert!(seen.insert(text), "{error:?} says what another says");
    }
    let secret = Message::parse(&message(13, r#"{"id":1,"name":"secret","name":"secret"}"#));
    assert!(!secret.expect_err("doubled").to_string().contains("secret"));
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zñ\"😀 ]{1,12}(/[a-z\"]{1,9}){0,3}", "\\PC{1,40}"]
        .prop_filter("a valid name", |name| check_name(name).is_ok())
}

fn any_file() -> impl Strategy<Value = FileInfo> {
    let root = prop::option::of(any::<[u8; 32]>().prop_map(Root::new));
    (any_name(), 0..=FILE_MAX, any::<Option<i64>>(), root).prop_map(|(name, size, mtime, root)| FileInfo {
        name,
        size,
        mtime,
        root,
    })
}

fn any_text(max: usize) -> impl Strategy<Value = String> {
    any::<String>().prop_map(move |text| cut(&text, max).to_owned())
}

/// As the reader gives it: IPv4 undressed.
fn any_node() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), 1u16..).prop_map(|(ip, port)| SocketAddr::new(normalise(ip), port))
}

fn any_message() -> impl Strategy<Value = Message> {
    let root = || any::<[u8; 32]>().prop_map(Root::new);
    let id = any::<u32>;
    prop_oneof![
        any_text(TEXT_MAX).prop_map(|reason| Message::Close { reason }),
        id().prop_map(|id| Message::Ping { id }),
        id().prop_map(|id| Message::Pong { id }),
        id().prop_map(|id| Message::Cancel { id }),
        (id(), any_text(QUERY_MAX), 1..=256u32).prop_map(|(id, query, limit)| Message::Search {
            id,
            query,
            limit
        }),
        (id(), prop::collection::vec(any_file(), 0..6), any::<bool>())
            .prop_map(|(id, files, end)| Message::Files { id, files, end, skipped: 0, left_out: 0 }),
        (id(), prop::option::of(any_name()), 1..=256u32).prop_map(|(id, after, limit)| Message::Browse {
            id,
            after,
            limit
        }),
        (id(), any_name()).prop_map(|(id, name)| Message::Stat { id, name }),
        (id(), root(), prop_oneof![Just(0u8), Just(11)], 0..=2048u64, 1..=VALUES_MAX)
            .prop_map(|(id, root, span, first, count)| Message::Values { id, root, span, first, count }),
        (id(), root(), 0..(FILE_MAX - GET_MAX) / 4096, 1..=GET_MAX)
            .prop_map(|(id, root, chunk, len)| { Message::Get { id, root, offset: chunk * 4096, len } }),
        (id(), 0..Code::ALL.len(), any_text(TEXT_MAX)).prop_map(|(id, code, text)| Message::Refused {
            id,
            code: Code::ALL[code],
            text
        }),
        (id(), root(), 0..4096u32).prop_map(|(id, root, group)| Message::Follow { id, root, group }),
        (
            id(),
            any::<bool>(),
            prop::collection::vec(any::<u8>(), 0..=MAP_MAX),
            prop::collection::vec(0..PIECES_MAX, 0..=HAVE_MAX)
        )
            .prop_map(|(id, all, map, pieces)| Message::Have { id, all, map, pieces }),
        (id(), prop::collection::vec(any_node(), 0..=NODES_MAX))
            .prop_map(|(id, nodes)| Message::Peers { id, nodes }),
        root().prop_map(|root| Message::Wrong { root }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in any_message()) {
        let plain = encoded(&message);
        prop_assert!(plain.len() <= PLAIN_MAX);
        prop_assert_eq!(Message::parse(&plain), Ok(Parsed::Message(message.clone())));
        // hostile: 96
        for len in 0..plain.len() {
            prop_assert!(Message::parse(&plain[..len]).is_err(), "cut at {}", len);
        }
        for more in [0, b' ', b'\n', b'}', b'{'] {
            prop_assert!(Message::parse(&[&plain[..], &[more]].concat()).is_err());
        }
        if let Message::Files { files, .. } = &message {
            prop_assert_eq!(files_that_fit(files, PLAIN_MAX), files.len());
        }
    }

    #[test]
    fn data_is_found_where_it_lies(id: u32, chunk in 0..(1u64 << 31) - 16, len in 1usize..=65_536) {
        let plain = [&data_head(DataKind::Data, id, chunk * 4096)[..], &vec![1; len]].concat();
        prop_assert_eq!(Message::parse(&plain), Ok(Parsed::Data { id, offset: chunk * 4096, body: 32..32 + len }));
    }

    #[test]
    fn any_bytes_are_survived(
        kind in prop_oneof![0..34u8, any::<u8>()],
        rest in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..100),
            r#"\{("(id|root|files|name|size|limit|first|count|len|offset|group|all|map|pieces|nodes)":([0-9]{1,20}|"[a-z.]{0,4}"|\[(\{?\}?,?){0,3}\]|null),?){0,4}\}?"#
                .prop_map(String::into_bytes),
        ],
    ) {
        match Message::parse(&[&[kind], &rest[..]].concat()) {
            Ok(Parsed::Message(message)) => {
                let plain = encoded(&message);
                prop_assert!(message.kind().byte() == kind && Message::parse(&plain).is_ok());
            }
            Ok(Parsed::Skip(skipped)) => prop_assert_eq!(skipped, kind),
            Ok(Parsed::Values { values: range, .. } | Parsed::Data { body: range, .. }) => {
                prop_assert_eq!(range, 32..rest.len() + 1);
            }
            Err(error) => prop_assert!(error.to_string().len() <= TEXT_MAX),
        }
    }
}
