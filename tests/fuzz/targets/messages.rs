//! What members say to each other: messages of a session, and announcements to all.

use super::session::key;
use super::{Feed, check_error};
use distrishare::config::CHUNK;
use distrishare::proto::address::normalise;
use distrishare::proto::content::Root;
use distrishare::proto::name::check_name;
use distrishare::proto::v2::announcement::{ANNOUNCEMENT_LEN, Announcement, AnnouncementKey, Fresh, Replay};
use distrishare::proto::v2::identity::NodeId;
use distrishare::proto::v2::message::{
    Code, DATA_HEAD, DataKind, FILE_MAX, FILES_MAX, FileInfo, GET_MAX, GROUPS_MAX, HAVE_MAX, Kind, MAP_MAX,
    Message, NODES_MAX, PIECES_MAX, PLAIN_MAX, PLAIN_SMALL, Parsed, QUERY_MAX, TEXT_MAX, VALUES_MAX,
    data_head, files_that_fit,
};
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

/// A plaintext; the same bytes decide on a message of ours.
pub(crate) fn message(data: &[u8]) {
    // hostile: 95, 96, 104, 105
    match Message::parse(data) {
        Err(why) => check_error(&why),
        Ok(Parsed::Message(message)) => {
            assert_eq!(data[0], message.kind().byte());
            within_limits(&message);
            round_trip(&message);
        }
        Ok(Parsed::Values { id, first, values }) => {
            assert_eq!(data_head(DataKind::Values, id, first), data[..DATA_HEAD], "one header has one form");
            assert!(values == (DATA_HEAD..data.len()) && values.len() % 32 == 0 && !values.is_empty());
            assert!(
                values.len() <= VALUES_MAX as usize * 32 && first + (values.len() as u64 / 32) <= 1 << 23
            );
        }
        Ok(Parsed::Data { id, offset, body }) => {
            assert_eq!(data_head(DataKind::Data, id, offset), data[..DATA_HEAD]);
            assert!(body == (DATA_HEAD..data.len()) && !body.is_empty() && offset % CHUNK as u64 == 0);
            assert!(offset + body.len() as u64 <= FILE_MAX);
        }
        Ok(Parsed::Skip(byte)) => assert!(byte % 2 == 0 && byte == data[0]),
    }
    let ours = ours(&mut Feed::new(data));
    within_limits(&ours);
    round_trip(&ours);
}

/// What the reader promises to whoever works with a message.
fn within_limits(message: &Message) {
    match message {
        Message::Close { reason: text } | Message::Refused { text, .. } => assert!(text.len() <= TEXT_MAX),
        Message::Search { query, limit, .. } => {
            assert!(query.len() <= QUERY_MAX && (1..=FILES_MAX as u32).contains(limit));
        }
        Message::Files { files, .. } => {
            assert!(files.len() <= FILES_MAX);
            assert!(files.iter().all(|file| check_name(&file.name).is_ok() && file.size <= FILE_MAX));
        }
        Message::Browse { after, limit, .. } => {
            assert!(after.as_ref().is_none_or(|name| check_name(name).is_ok()));
            assert!((1..=FILES_MAX as u32).contains(limit));
        }
        Message::Stat { name, .. } => assert_eq!(check_name(name), Ok(())),
        Message::Values { span, first, count, .. } => {
            assert!([0, 11].contains(span) && (1..=VALUES_MAX).contains(count));
            assert!(first + u64::from(*count) <= 1 << (23 - span));
        }
        Message::Get { offset, len, .. } => {
            assert!(offset % CHUNK as u64 == 0 && (1..=GET_MAX).contains(len) && offset + len <= FILE_MAX);
        }
        Message::Follow { group, .. } => assert!(u64::from(*group) < GROUPS_MAX),
        Message::Have { map, pieces, .. } => {
            assert!(map.len() <= MAP_MAX && pieces.len() <= HAVE_MAX);
            assert!(pieces.iter().all(|&piece| piece < PIECES_MAX));
        }
        Message::Peers { nodes, .. } => {
            assert!(nodes.len() <= NODES_MAX);
            assert!(nodes.iter().all(|node| node.port() != 0 && normalise(node.ip()) == node.ip()));
        }
        Message::Ping { .. } | Message::Pong { .. } | Message::Cancel { .. } | Message::Wrong { .. } => {}
    }
}

/// Written, read and written again it is the same. (Another node may leave more out than we do: then ours is longer.)
fn round_trip(message: &Message) {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    let mut expected = message.clone();
    if let Message::Files { files, skipped, .. } = &mut expected {
        *skipped = 0;
        if bytes.len() > PLAIN_MAX {
            assert!(files_that_fit(files, PLAIN_MAX) < files.len());
            return;
        }
        assert_eq!(files_that_fit(files, PLAIN_MAX), files.len());
    } else {
        assert!(bytes.len() <= PLAIN_SMALL, "{} bytes of {:?}", bytes.len(), message.kind());
    }
    let read = Message::parse(&bytes).unwrap_or_else(|why| panic!("our own {message:?}: {why}"));
    assert_eq!(read, Parsed::Message(expected.clone()));
    let mut again = Vec::new();
    expected.encode(&mut again);
    assert_eq!(again, bytes);
}

/// A message that keeps the limits.
fn ours(feed: &mut Feed<'_>) -> Message {
    let kind = Kind::ALL[usize::from(feed.byte()) % Kind::ALL.len()];
    let id = feed.long() as u32;
    let limit = 1 + feed.word() as u32 % FILES_MAX as u32;
    match kind {
        Kind::Close => Message::Close { reason: short(feed) },
        Kind::Ping => Message::Ping { id },
        Kind::Pong => Message::Pong { id },
        Kind::Cancel => Message::Cancel { id },
        Kind::Wrong => Message::Wrong { root: root(feed) },
        Kind::Search => Message::Search { id, query: short(feed), limit },
        Kind::Files => {
            let end = feed.flag();
            let files = (0..feed.byte()).map_while(|_| (!feed.is_empty()).then(|| file(feed))).collect();
            Message::Files { id, files, end, skipped: 0, left_out: 0 }
        }
        Kind::Browse => {
            let after = if feed.flag() { Some(name(feed)) } else { None };
            Message::Browse { id, after, limit }
        }
        Kind::Stat => Message::Stat { id, name: name(feed) },
        Kind::Values => {
            let span = if feed.flag() { 11 } else { 0 };
            let count = 1 + feed.word() as u32 % if span == 0 { VALUES_MAX } else { 16 };
            let first = feed.long() % ((1 << (23 - span)) + 1 - u64::from(count));
            Message::Values { id, root: root(feed), span, first, count }
        }
        Kind::Get => {
            let len = 1 + feed.long() % GET_MAX;
            let offset = feed.long() % (FILE_MAX - len) / CHUNK as u64 * CHUNK as u64;
            Message::Get { id, root: root(feed), offset, len }
        }
        Kind::Refused => {
            let code = Code::ALL[usize::from(feed.byte()) % Code::ALL.len()];
            Message::Refused { id, code, text: short(feed) }
        }
        Kind::Follow => {
            let group = (feed.word() as u64 % GROUPS_MAX) as u32;
            Message::Follow { id, root: root(feed), group }
        }
        Kind::Have => {
            let (all, len) = (feed.flag(), feed.word() % (MAP_MAX + 1));
            let map = feed.take(len).to_vec();
            let pieces = (0..feed.byte()).map(|_| feed.long() % PIECES_MAX).collect();
            Message::Have { id, all, map, pieces }
        }
        Kind::Peers => {
            let nodes = (0..feed.byte() as usize % (NODES_MAX + 1)).map(|_| node(feed)).collect();
            Message::Peers { id, nodes }
        }
    }
}

fn short(feed: &mut Feed<'_>) -> String {
    let mut text = feed.text();
    while text.len() > TEXT_MAX {
        text.pop();
    }
    text
}

fn name(feed: &mut Feed<'_>) -> String {
    Some(feed.text()).filter(|name| check_name(name).is_ok()).unwrap_or_else(|| "a/b".to_owned())
}

fn root(feed: &mut Feed<'_>) -> Root {
    Root::new(feed.array())
}

fn node(feed: &mut Feed<'_>) -> SocketAddr {
    let ip = if feed.flag() { IpAddr::from(feed.array::<4>()) } else { IpAddr::from(feed.array::<16>()) };
    SocketAddr::new(normalise(ip), (feed.word() as u16).max(1))
}

fn file(feed: &mut Feed<'_>) -> FileInfo {
    let (name, flags) = (name(feed), feed.byte());
    let mtime = (flags & 1 == 1).then(|| feed.long() as i64);
    let root = if flags & 2 == 2 { Some(root(feed)) } else { None };
    FileInfo { name, size: feed.long() % (FILE_MAX + 1), mtime, root }
}

/// A datagram; the same bytes decide on announcements of ours, and on what a stranger does to them.
pub(crate) fn announcement(data: &[u8]) {
    let (open, group) = (AnnouncementKey::new(None), AnnouncementKey::new(Some(&key(3))));
    let known = [&open, &group].map(|key| key.open(data));
    assert!(known.iter().flatten().count() <= 1, "two groups read one datagram");
    for (key, announcement) in [&open, &group].into_iter().zip(known) {
        if let Some(announcement) = announcement {
            assert!(data.is_ascii() && data.len() == ANNOUNCEMENT_LEN && announcement.addr.port() != 0);
            assert_eq!(key.seal(&announcement, nonce_of(data)), data, "one announcement has one form");
        }
    }
    let mut feed = Feed::new(data);
    let mut replay = Replay::new(3);
    for _ in 0..4 {
        let announcement = Announcement {
            goodbye: feed.flag(),
            instance: u64::from(feed.byte() % 8),
            sequence: u64::from(feed.byte()),
            node: NodeId::from_bytes([feed.byte() % 5; 32]),
            addr: SocketAddrV4::new(feed.array::<4>().into(), (feed.word() as u16).max(1)),
        };
        let mut datagram = group.seal(&announcement, feed.array());
        assert!(datagram.is_ascii() && datagram.len() == ANNOUNCEMENT_LEN);
        assert_eq!(group.open(&datagram), Some(announcement));
        assert_eq!(open.open(&datagram), None, "a stranger read it");
        let (at, change) = (feed.word() % datagram.len(), feed.byte().max(1));
        datagram[at] ^= change;
        assert_eq!(group.open(&datagram), None, "byte {at} changed by {change:02x}");
        assert_eq!(group.open(&datagram[..at]), None, "cut at {at}");
        let first = replay.fresh(&announcement);
        assert!(first != Fresh::New || !announcement.goodbye, "a node that leaves is no new one");
        assert_eq!(replay.fresh(&announcement), Fresh::Stale, "a recording counted: {announcement:?}");
        assert!(replay.len() <= 3);
    }
}

/// As it stands in a datagram that opens: 12 bytes in hex behind `DS2 `.
fn nonce_of(datagram: &[u8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    for (byte, digits) in nonce.iter_mut().zip(datagram[4..].chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).expect("ASCII");
        *byte = u8::from_str_radix(digits, 16).expect("hex digits");
    }
    nonce
}
