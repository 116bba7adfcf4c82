//! The inputs that fuzzing begins with: one of each kind that is accepted, and the hostile ones that have a number.

use crate::targets::session::{ends, key, sealed, side};
use distrishare::config::Crypto;
use distrishare::machine::Meta;
use distrishare::proto::content::{Hashed, PIECE, Root};
use distrishare::proto::group::GroupLine;
use distrishare::proto::index_log;
use distrishare::proto::part_journal;
use distrishare::proto::registry_file::{self, Record};
use distrishare::proto::v2::announcement::{Announcement, AnnouncementKey};
use distrishare::proto::v2::handshake::Handshake;
use distrishare::proto::v2::identity::{Identity, NodeId};
use distrishare::proto::v2::message::{DataKind, data_head};
use distrishare::proto::v2::preamble::{self, Call};
use distrishare::time::WallTime;
use std::net::SocketAddrV4;

/// Target, name of the file, content.
type Seed = (&'static str, String, Vec<u8>);

/// Every one.
pub(crate) fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (target, inputs) in [
        ("preamble", preambles()),
        ("handshake", handshakes()),
        ("handshake_pair", handshake_pairs()),
        ("record", records()),
        ("record_altered", records_altered()),
        ("message", messages()),
        ("announcement", announcements()),
        ("query", texts(QUERIES)),
        ("text", texts(TEXTS)),
        ("v1_request", texts(V1_REQUESTS)),
        ("v1_answer", texts(V1_ANSWERS)),
        ("registry_request", texts(REGISTRY_REQUESTS)),
        ("registry_answer", texts(REGISTRY_ANSWERS)),
        ("announce", texts(ANNOUNCES)),
        ("command", texts(COMMANDS)),
        ("identity", identities()),
        ("group_line", group_lines()),
        ("index_log", index_logs()),
        ("part_journal", part_journals()),
        ("registry_file", registry_files()),
        ("value_list", value_lists()),
    ] {
        let named = inputs.into_iter().enumerate();
        seeds.extend(named.map(|(n, bytes)| (target, format!("seed-{n:02}"), bytes)));
    }
    seeds
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

const QUERIES: &[&str] = &[
    "holiday photos\nphotos/2019 Holiday.jpg\nother",
    "\"Exact Name.txt\"\nExact Name.txt\na/Exact Name.txt\nexact name.txt",
    "*.pdf -draft size>10M size<=1.5GiB\na.pdf\nb/draft.pdf",
    "ext:jpg,.png root:AF1349B9f5\nx.JPG",
    "root:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    "music/**/b?ch*.flac **/x/\nmusic/a/b/bach-1.flac",
    "ñandú CAFÉ ﬁn Straße\nNANDU/cafe fin strasse",
    "Artist - Song \\-dash \\*star siz\\e ext\\:pdf \"a \\\" b\"",
    "a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "**/a/**/a/**/a/**/a/**/b\na/a/a/a/a/a/a/a",
    "ガ कि ที่ ﷺ",
    "size:=5 size=99999999999999999999 size>=18446744073709551615",
    "\"open",
    "--word",
    "\u{1b}[2J",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17",
];

const TEXTS: &[&str] = &[
    "music/album/01 song.flac",
    "../x",
    "/etc/passwd",
    "a/../../b",
    "a//b",
    "a\\b",
    ".hidden",
    "a\0b",
    "CON.txt",
    "~",
    "-rf",
    "name. ",
    "\u{1b}]0;pwn\u{7}\r\n",
    "evil\u{202e}gpj.exe",
    "😀😀😀😀 ñ é e\u{301} ﷺ ℀ ／",
    "a/b/c/d/e/f/g/h/i",
];

const V1_REQUESTS: &[&str] = &[
    "\0{\"type\": \"search\", \"filename\": \"a b.txt\", \"secret\": \"distrishare2024\"}",
    "\u{1} \n{\"type\": \"download\", \"filename\": \"a\\u00f1o \\ud83d\\ude00\", \"secret\": \"distrishare2024\"} \n",
    "\u{3}{\"secret\":\"distrishare2024\",\"type\":\"search\",\"filename\":\"x\",\"y\":{\"z\":[1,null,true,-1.5e3]}}{}",
    "\u{2}{\"type\":\"search\",\"filename\":\"x\",\"secret\":\"wrong\"}",
    "\u{2}{\"type\":\"other\",\"filename\":\"../x\",\"secret\":\"distrishare2024\"}",
    "\0{\"type\":\"search\",\"type\":\"search\",\"filename\":\"x\",\"secret\":null}",
    "\0{}",
    "\0[\"search\",\"x\",\"distrishare2024\"]",
    "\u{1}[[[[[[[[[[",
    "\u{1}{\"a\":[[[[[[[[1]]]]]]]]}",
    "\0{\"a\":\"\\ud800\"}",
    "\0GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\0{\"a\":\"\u{1}\"}",
    "\0\u{feff}{}",
];

const V1_ANSWERS: &[&str] = &[
    "\0\0FOUND",
    "\0\u{1}NOT_FOUND",
    "\u{1}\u{5}ERROR: File not found.",
    "\0\u{7}ERROR: Formato de mensaje inválido. Se requiere JSON.",
    "\u{1}\u{2}ERROR: busy, try again later.",
    "\0\u{3}ERROR is how I learned to write files",
    "\0\u{9}ERROR: \u{1b}[2J and much more",
    "\u{1}\u{1}",
    "\0\u{64}ERROR: ññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññ",
];

const REGISTRY_REQUESTS: &[&str] = &[
    "\0{\"type\":\"register\",\"ip\":\"192.168.1.4\",\"port\":9000}",
    "\u{1}{\"type\": \"register\", \"ip\": \"::1\", \"port\": 65535, \"more\": [1]} \r\n",
    "\0{\"type\":\"register\",\"ip\":\"::ffff:10.0.0.1\",\"port\":1024}",
    "\0{\"type\":\"register\",\"ip\":\"0177.0.0.1\",\"port\":9000}",
    "\0{\"type\":\"register\",\"ip\":\"224.0.0.1\",\"port\":9000}",
    "\0{\"type\":\"register\",\"ip\":\"1.2.3.4\",\"port\":25}",
    "\0{\"type\":\"register\",\"ip\":\"1.2.3.4\",\"port\":1e400}",
    "\0{\"type\":\"register\",\"ip\":\"1.2.3.4\",\"port\":9001.0}",
    "\0{\"type\":\"register\",\"ip\":\"1.2.3.4\",\"port\":9,\"port\":9000}",
    "\0{\"type\":\"register\",\"ip\":\"1.2.3.4\",\"port\":9000}{}",
    "\0{\"type\":\"regis\\u0000ter\",\"ip\":\"1.2.3.4\",\"port\":9000}",
    "\0[\"register\",\"1.2.3.4\",1]",
    "\0{\"type\":\"register\",\"ip\":null,\"port\":NaN}",
];

const REGISTRY_ANSWERS: &[&str] = &[
    "{\"nodes\": [[\"192.168.1.4\", 9000], [\"fe80::1\", 9100]]}",
    "{\"nodes\": []}",
    "{\"error\": \"`ip` must be an IPv4 or IPv6 address\", \"nodes\": []}",
    "{\"nodes\": [[\"1.2.3.4\", 9000], [\"host.example\", 1], [1, 2], {\"a\": []}, [\"1.2.3.4\", 0], null]}",
    "{\"nodes\": [[\"1.2.3.4\", 9000], [\"1.2.3.5\", 90",
    "{\"nodes\": [[\"::ffff:1.2.3.4\", 9000], [\"64:ff9b::1.2.3.4\", 9000], [\"2002:102:304::\", 9]]}",
    "{\"nodes\": [], \"nodes\": [[\"1.2.3.4\", 9000]]}",
    "{\"a\":[[[[[[[[[[1]]]]]]]]]]}",
    "[]",
    "  ",
    "{\"error\": 5}",
];

const ANNOUNCES: &[&str] = &[
    "HELLO:192.168.1.42:9100",
    "GOODBYE:127.0.0.1:65535",
    "HELLO 10.0.0.5 9000",
    "HELLO:1.2.3.4:9001:9",
    "HELLO::9001",
    "HELLO:1.2.3.4:+80",
    "HELLO:victim.example.com:25",
    "HELLO:01.2.3.4:9001",
    "HELLO:1.2.3.4:9001\u{1b}]0;pwn\u{7}",
    "HELLO:1.2.3.4:٣٤",
];

const COMMANDS: &[&str] = &[
    "1.1 127.0.0.1:8000",
    "bootstrap [::1]:8000 &",
    "multicast on",
    "nodes",
    "2.3",
    "share \"/tmp/a \\\"b\\\"\"",
    "search 'one word' &",
    "3.3 \"exact name\" *.pdf size>10M -x",
    "get 1.2.3.4 9000 a  file name.txt",
    "download host.example:9000 'it''s'",
    "get 3",
    "get \"3\"",
    "get 3 5-9 1 &",
    "get 1.2.3.4 9000 my music/",
    "pause 3",
    "resume all",
    "limit up 2.5MB/s",
    "browse 0af3",
    "cancel a&b",
    "wait 1.5",
    "help get",
    "0 &",
    "# a comment",
    "３.４",
    "get \u{1b}[2J",
    "search \\",
    "share 'open",
];

fn preambles() -> Vec<Vec<u8>> {
    let kinds = [
        (Crypto::Null, None),
        (Crypto::Real { aes: true }, None),
        (Crypto::Null, Some(key(3))),
        (Crypto::Real { aes: true }, Some(key(3))),
        (Crypto::Real { aes: true }, Some(key(4))),
    ];
    let made = kinds
        .iter()
        .map(|(crypto, group)| preamble::encode([7; 7], &Call::default(), *crypto, group.as_ref()));
    let mut all: Vec<Vec<u8>> = made.map(|bytes| bytes.to_vec()).collect();
    for (at, value) in [(0, 0x7B), (4, 0), (4, 2), (4, 255), (31, 0)] {
        let mut bytes = all[1].clone();
        bytes[at] = value;
        all.push(bytes);
    }
    all
}

/// What each side of a whole handshake sends, for every kind of session.
fn handshakes() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for flags in [0, 2, 6, 8, 10] {
        let (mut dialler, mut listener) = (side(flags | 1), side(flags));
        let mut to_listener = dialler.outgoing();
        let first = to_listener.clone();
        let to_dialler = heard(&mut listener, &to_listener);
        let third = heard(&mut dialler, &to_dialler);
        to_listener.extend_from_slice(&third);
        all.push([&[flags, 7], to_listener.as_slice(), b"a record"].concat());
        all.push([&[flags | 1, 50], to_dialler.as_slice()].concat());
        // Its own words come back; the second message is cut; the preamble is followed by bad lengths.
        all.push([&[flags | 1, 3], first.as_slice()].concat());
        all.push([&[flags, 1], &first[..32], &[1, 1]].concat());
        all.push([&[flags, 1], &first[..32], &[32, 0], &[0; 32]].concat());
    }
    all.push(b"\x01\x01ERROR: Formato".to_vec());
    all.push(b"\x01\x01\0\0".to_vec());
    all
}

fn heard(handshake: &mut Handshake, bytes: &[u8]) -> Vec<u8> {
    handshake.push(bytes).expect("a seed's handshake goes well");
    handshake.outgoing()
}

fn handshake_pairs() -> Vec<Vec<u8>> {
    let abilities = [1, 0, 15, 9, 1, 0, 15, 9];
    let with = |flags: u8, step: u8, flights: &[u8]| [&[flags, step], &abilities[..], flights].concat();
    let mut all: Vec<Vec<u8>> =
        [0, 2, 6, 8, 10, 16, 18, 34].iter().map(|flags| with(*flags, 9, &[])).collect();
    for flags in [0, 2, 10] {
        all.push(with(flags, 0, &[1, 40, 0, 1]));
        all.push(with(flags, 5, &[0, 0, 0, 0, 1, 60, 0, 128]));
        all.push(with(flags, 1, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 90, 0, 1]));
        all.push(with(flags, 1, &[0, 0, 0, 0, 6, 0, 0, 0]));
        all.push(with(flags, 0, &[7, 34, 0, 0]));
        all.push(with(flags, 0, &[0, 0, 0, 0, 0, 0, 0, 0, 3, 200, 1, 9]));
    }
    all.push([&[2, 0], &[1, 1, 0, 0, 3, 1, 0, 0][..]].concat());
    all
}

fn records() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for flags in [0, 1, 2, 0xF0] {
        let (mut sealer, _) = ends(flags);
        let plains: [&[u8]; 5] = [b"a", b"hello", &[0; 40], b"after a rekey", &[0xAA; 200]];
        let stream: Vec<u8> = plains.iter().flat_map(|plain| sealed(&mut sealer, plain)).collect();
        all.push([&[flags], stream.as_slice()].concat());
    }
    let head = |length: u32, gap: u8| {
        let mut head = [&[0], &length.to_le_bytes()[..], &[0; 12]].concat();
        head[9] = gap;
        head
    };
    for length in [0, 1, 4096 + 32, 4096 + 33, 0xFFFF, u32::MAX] {
        all.push(head(length, 0));
    }
    all.push(head(1, 1));
    all.push([head(1, 0), vec![0; 17]].concat());
    all
}

fn records_altered() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for flags in 0..3 {
        for change in
            [&[][..], &[1, 20, 0, 1], &[1, 0, 0, 1], &[2, 70, 0, 0], &[3, 16, 0, 9], &[5, 0, 0, 35], &[4]]
        {
            all.push([&[flags, 4, 10, 0, 255, 30, 3, 0], change].concat());
        }
        for change in [[1, 0, 1], [1, 1, 2], [1, 2, 1], [1, 3, 0], [1, 4, 2]] {
            all.push([&[flags, 4, 10, 0, 90, 30, 3], &change[..]].concat());
        }
    }
    all
}

const MESSAGES: &[(u8, &str)] = &[
    (1, r#"{"reason":"bye \u001b[2J"}"#),
    (3, r#"{"id":1}"#),
    (5, r#"{"id":4294967295}"#),
    (7, r#"{"id":7,"query":"ext:pdf \"a b\"","limit":256}"#),
    (7, r#"{"id":7,"query":"","limit":257}"#),
    (
        9,
        r#"{"id":7,"files":[{"name":"a/b.txt","size":5,"mtime":-1,"root":null},{"name":"c","size":8796093022208,"root":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"}],"end":true}"#,
    ),
    (
        9,
        r#"{"id":7,"files":[{"name":"../x","size":5,"root":null},{"name":"b","size":8796093022209,"root":null}],"end":false}"#,
    ),
    (9, r#"{"id":7,"files":[["a",5,null,null]],"end":false}"#),
    (11, r#"{"id":8,"limit":1}"#),
    (11, r#"{"id":8,"after":"m/ñ \"q\"","limit":1}"#),
    (13, r#"{"id":9,"name":"a/b c"}"#),
    (13, r#"{"id":9,"name":"a/../b"}"#),
    (
        15,
        r#"{"id":10,"root":"AF1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","span":0,"first":8386560,"count":2048}"#,
    ),
    (
        15,
        r#"{"id":10,"root":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","span":11,"first":18446744073709551615,"count":1}"#,
    ),
    (
        19,
        r#"{"id":11,"root":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","offset":4096,"len":4194304}"#,
    ),
    (
        19,
        r#"{"id":11,"root":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","offset":18446744073709547520,"len":4194304}"#,
    ),
    (23, r#"{"id":12,"code":"gone","text":"no longer there"}"#),
    (23, r#"{"id":12,"code":"later","text":"ñññ"}"#),
    (25, r#"{"id":13}"#),
    (25, r#"{"id":13} "#),
    (3, r#"{"id":01}"#),
    (3, r#"{"id":1,"id":1}"#),
    (3, r#"{"id":1.0,"x":[[[[[[[[[1]]]]]]]]]}"#),
    (3, r#"[1]"#),
    (2, "anything"),
    (127, "{}"),
    (255, ""),
];

/// Of the swarm: they came later.
const SWARM: &[(u8, &str)] = &[
    (
        27,
        r#"{"id":6,"root":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f","group":4095}"#,
    ),
    (
        27,
        r#"{"id":6,"root":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f","group":4096}"#,
    ),
    (29, r#"{"id":6,"all":true}"#),
    (29, r#"{"id":6,"map":"ff0580"}"#),
    (29, r#"{"id":6,"pieces":[0,3,8388607]}"#),
    (29, r#"{"id":6,"all":null,"map":"FF","pieces":[8388608]}"#),
    (31, r#"{"id":6,"nodes":["192.168.1.42:9100","[2001:db8::1]:9000","[::ffff:127.0.0.1]:1"]}"#),
    (31, r#"{"id":6,"nodes":["localhost:1","[fe80::1%1]:1","1.2.3.4:0","\u001b[2J",""]}"#),
];

fn messages() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> =
        MESSAGES.iter().map(|(byte, json)| [&[*byte], json.as_bytes()].concat()).collect();
    all.push([&data_head(DataKind::Values, 10, 0)[..], &[1; 64]].concat());
    all.push([&data_head(DataKind::Values, 10, u64::MAX)[..], &[1; 32]].concat());
    all.push([&data_head(DataKind::Data, 11, 8192)[..], b"bytes of a file"].concat());
    all.push([&data_head(DataKind::Data, 11, 8193)[..], b"x"].concat());
    all.push([&data_head(DataKind::Data, 11, u64::MAX - 4095)[..], b"x"].concat());
    all.push(data_head(DataKind::Data, 11, 0).to_vec());
    all.push(vec![21; 40]);
    all.extend(SWARM.iter().map(|(byte, json)| [&[*byte], json.as_bytes()].concat()));
    all
}

fn announcements() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (goodbye, group) in [(false, None), (true, None), (false, Some(key(3))), (true, Some(key(3)))] {
        let announcement = Announcement {
            goodbye,
            instance: 77,
            sequence: 5,
            node: NodeId::from_bytes([9; 32]),
            addr: SocketAddrV4::new([192, 168, 1, 42].into(), 9100),
        };
        all.push(AnnouncementKey::new(group.as_ref()).seal(&announcement, [4; 12]));
    }
    let mut loud = all[0].to_ascii_uppercase();
    all.push(loud.clone());
    loud.truncate(100);
    all.push(loud);
    all.push([all[0].as_slice(), b"0"].concat());
    all.push(b"DS2 ".to_vec());
    all.push(b"HELLO:1.2.3.4:9000".to_vec());
    // Two nodes in turn, the first one leaving between.
    all.push((0..120).collect());
    all
}

fn identities() -> Vec<Vec<u8>> {
    let good = Identity::from_secret(key(0x5A)).encode();
    let text = String::from_utf8_lossy(&good).into_owned();
    let mut all = vec![good, text.trim_end().to_uppercase().into_bytes()];
    for (from, to) in [
        ("\"version\":1", "\"version\":2"),
        ("\"version\":1", "\"version\":1,\"later\":{}"),
        ("5a5a", "zzzz"),
        ("5a5a", ""),
        ("{\"version\":1", "[1"),
        ("5a5a", "5a\\u0035a"),
    ] {
        all.push(text.replacen(from, to, 1).into_bytes());
    }
    all.push(text.replace("5a", "00").into_bytes());
    all
}

fn group_lines() -> Vec<Vec<u8>> {
    let line = GroupLine::encode(&key(0xC3));
    let digits = line.split_once(':').map_or("", |(_, digits)| digits);
    texts(&[
        &line,
        &line.to_uppercase(),
        &line.replace('-', " \r\n"),
        &line.replace('0', "o").replace('1', "l"),
        &line[..line.len() - 1],
        &format!("{line}0"),
        &format!("distrishare-group-2:{digits}"),
        "distrishare-group-",
        "ssh-ed25519 AAAA",
        " \n",
    ])
}

fn index_logs() -> Vec<Vec<u8>> {
    let mut log = index_log::header().to_vec();
    for (size, count) in [(5, 0), (PIECE * 3 - 1, 3), (0, 0)] {
        let meta = Meta { size, mtime: -5, device: 2, inode: 40 + size, ..Meta::default() };
        let (root, values) = (Root::new([8; 32]), vec![[6; 32]; count]);
        let hashed = Hashed { root, size, values, groups: Vec::new() };
        log.extend(index_log::encode(&meta, 3, &hashed, log.len() as u64).expect("a small file").0);
    }
    let with = |step: u8, log: &[u8]| [&[step], log].concat();
    let mut all = vec![with(0, &log), with(1, &log), with(100, &log[..log.len() - 3])];
    for (at, value) in [(1, 0), (8, 3), (12, 1), (16, 0), (20, 2), (61, 1), (80, 1)] {
        let mut bad = log.clone();
        bad[at] = value;
        all.push(with(13, &bad));
    }
    all
}

fn part_journals() -> Vec<Vec<u8>> {
    let header = part_journal::Header::new(Root::new([8; 32]), 5 * PIECE - 77, "a/b").expect("a good name");
    let writer = part_journal::Writer::new(&header);
    let claim = |range| writer.claim(range).expect("pieces of it");
    let records = [claim(0..2), writer.mark(1_700_000_000_000_000_000), claim(3..5), writer.mark(-1)];
    let journal = [&header.encode()[..], records.as_flattened()].concat();
    let with = |step: u8, journal: &[u8]| [&[step], journal].concat();
    let mut all = vec![with(0, &journal), with(1, &journal), with(100, &journal[..journal.len() - 3])];
    // Magic, version, length, root, size, chunk size, length of the name, name, checksum; numbers and sum of a record.
    for at in [1, 8, 12, 20, 48, 57, 60, 62, 66, 69, 77, 81] {
        let mut bad = journal.clone();
        bad[at] ^= 2;
        all.push(with(13, &bad));
    }
    let other = part_journal::Header::new(Root::new([9; 32]), 5 * PIECE - 77, "a/b").expect("a good name");
    all.push(with(50, &[&other.encode()[..], records.as_flattened()].concat()));
    all.push(with(0, &[&journal[..], &[0; 64]].concat()));
    all
}

fn registry_files() -> Vec<Vec<u8>> {
    let record = |addr: &str, time: Option<u64>| Record {
        addr: addr.parse().expect("an address"),
        first_seen: time.map(WallTime),
        last_verified: None,
    };
    let records = [record("192.168.1.4:9000", Some(1_760_000_000)), record("[fe80::1]:9100", None)];
    let file = registry_file::encode(&records, 4096);
    let text = String::from_utf8_lossy(&file).into_owned();
    let mut all = vec![file.clone(), registry_file::encode(&[], 4096), file[..file.len() - 1].to_vec()];
    all.push(text.replacen("9000", "9001", 1).into_bytes());
    all.push(text.replacen("length ", "length 0", 1).into_bytes());
    all.push(text.replacen("distrishare", "another", 1).into_bytes());
    all
}

fn value_lists() -> Vec<Vec<u8>> {
    // The file, a size that is tried, then a piece, what is done to its values, and a number, again and again.
    let with = |file: u8, steps: &[u8]| [&[file], &[0xFF; 8][..], steps].concat();
    let mut all = Vec::new();
    for file in 0..6 {
        all.push(with(file, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]));
        all.push(with(file, &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 9, 0]));
        all.push(with(file, &[0, 0, 0, 0, 0, 255, 7, 2, 33, 0, 1, 0, 6, 0, 0, 0, 8, 4, 1, 0]));
    }
    all
}
