//! Preamble, handshake and records: what a stranger's bytes reach first.

use super::{Feed, check_error, pieces};
use distrishare::config::{Crypto, Key};
use distrishare::proto::entropy::Entropy;
use distrishare::proto::v2::handshake::{
    Abilities, Established, FIRST_FLIGHT_MAX, Handshake, HandshakeError, MESSAGE_MAX, Mismatch, Role,
};
use distrishare::proto::v2::identity::{Identity, NodeId};
use distrishare::proto::v2::preamble::{Call, LEN, MAGIC, RANDOM, VERSION, check, encode};
use distrishare::proto::v2::record::{HEAD, Opener, RecordError, Sealer, Suite, TAG};
use std::sync::LazyLock;

/// Of the initiator and of the responder. Making one costs more than all the rest of most runs.
static IDENTITIES: LazyLock<[Identity; 2]> =
    LazyLock::new(|| [21, 22].map(|seed| Identity::from_secret(key(seed))));

pub(crate) fn key(byte: u8) -> Key {
    Key::new([byte; 32])
}

const OURS: Abilities = Abilities { versions: (1, 1), aes: true, run: 16, port: 9000 };

/// How a session is made, from one byte.
fn crypto_and_group(flags: u8) -> (Crypto, Option<Key>) {
    let crypto = if flags & 2 == 0 { Crypto::Null } else { Crypto::Real { aes: flags & 4 == 0 } };
    (crypto, (flags & 8 != 0).then(|| key(3)))
}

/// 32 bytes that may be a preamble, then chance for one of our own and a bit to turn in it.
pub(crate) fn preamble(data: &[u8]) {
    // hostile: 83, 84
    let mut feed = Feed::new(data);
    let bytes: [u8; LEN] = feed.array();
    let (random, bit): ([u8; RANDOM], usize) = (feed.array(), feed.word() % (8 * LEN));
    let me = NodeId::from_bytes([3; 32]);
    let call = Call { minutes: bit as u32, to: (random[0] % 2 == 0).then_some(me) };
    let group = key(3);
    let all = [
        (Crypto::Null, None),
        (Crypto::Null, Some(&group)),
        (Crypto::Real { aes: true }, None),
        (Crypto::Real { aes: false }, Some(&group)),
    ];
    let mut accepted = 0;
    for (crypto, group) in all {
        if let Ok(heard) = check(&bytes, crypto, group, &me) {
            accepted += 1;
            assert!(bytes.starts_with(&MAGIC) && bytes[4] == VERSION);
            let mut random = [0; RANDOM];
            random.copy_from_slice(&bytes[5..5 + RANDOM]);
            let call = Call { minutes: heard.minutes, to: heard.bound.then_some(me) };
            assert_eq!(encode(random, &call, crypto, group), bytes, "one preamble has one form");
        }
        let mut ours = encode(random, &call, crypto, group);
        let heard = check(&ours, crypto, group, &me).expect("it is for us");
        assert_eq!((heard.minutes, heard.bound), (call.minutes, call.to.is_some()));
        let other = check(&ours, crypto, group, &NodeId::from_bytes([4; 32]));
        assert_eq!(other.is_ok(), call.to.is_none());
        ours[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&ours, crypto, group, &me).is_err(), "bit {bit} of {ours:02x?}");
    }
    assert!(accepted <= 1, "two kinds of node take one preamble");
}

/// What came of feeding one side.
#[derive(Debug, PartialEq)]
enum Outcome {
    Waits { out: Vec<u8> },
    Failed(HandshakeError),
    Done { consumed: usize, out: Vec<u8>, session: Session },
}

/// A session as far as it can be compared: its first record stands for its key.
#[derive(Debug, PartialEq)]
struct Session {
    node: NodeId,
    theirs: Abilities,
    version: Result<u8, Mismatch>,
    suite: Suite,
    record: Vec<u8>,
}

impl Session {
    fn of(made: &mut Established) -> Session {
        let record = sealed(&mut made.seal, b"first");
        let Established { node, theirs, version, suite, .. } = *made;
        Session { node, theirs, version, suite, record }
    }
}

/// Role, cipher and group, the length of the pieces, then what the other side sends.
pub(crate) fn handshake(data: &[u8]) {
    // hostile: 86, 88, 89, 92
    let mut feed = Feed::new(data);
    let (flags, step) = (feed.byte(), feed.byte());
    let stream = feed.rest();
    let whole = fed(flags, &[stream]);
    assert_eq!(fed(flags, &pieces(stream, step.max(1))), whole, "pieces of {step}");
}

/// One side, from the flags, with chance that is always the same.
pub(crate) fn side(flags: u8) -> Handshake {
    let (crypto, group) = crypto_and_group(flags);
    let role = if flags & 1 == 0 { Role::Responder } else { Role::Initiator };
    let n = usize::from(role == Role::Responder);
    let mut entropy = Entropy::new(&key(31 + n as u8));
    Handshake::new(role, crypto, &IDENTITIES[n], group.as_ref(), OURS, &mut entropy)
}

fn fed(flags: u8, parts: &[&[u8]]) -> Outcome {
    let mut handshake = side(flags);
    let mut out = handshake.outgoing();
    assert!(out.len() <= FIRST_FLIGHT_MAX && (flags & 1 == 1 || out.is_empty()));
    let mut consumed = 0;
    for part in parts {
        match handshake.push(part) {
            Err(why) => {
                check_error(&why);
                assert_eq!(handshake.outgoing(), b"", "a word after an error");
                assert_eq!(handshake.push(b"more").map(|pushed| pushed.consumed), Err(why));
                assert_eq!(handshake.outgoing(), b"");
                return Outcome::Failed(why);
            }
            Ok(pushed) => {
                let more = handshake.outgoing();
                assert!(more.len() <= MESSAGE_MAX + 2 && pushed.consumed <= part.len());
                assert_eq!(handshake.outgoing(), b"", "given twice");
                out.extend(more);
                consumed += pushed.consumed;
                if let Some(mut made) = pushed.done {
                    let again = handshake.push(part).map(|pushed| pushed.consumed);
                    assert_eq!(again, Err(HandshakeError::Over));
                    return Outcome::Done { consumed, out, session: Session::of(&mut made) };
                }
                assert_eq!(pushed.consumed, part.len(), "what is not taken belongs to records");
            }
        }
    }
    Outcome::Waits { out }
}

/// Cipher, group and what both can do, then for each of the three flights what happens to it on the way.
pub(crate) fn handshake_pair(data: &[u8]) {
    // hostile: 86, 90
    let mut feed = Feed::new(data);
    let (flags, step) = (feed.byte(), feed.byte());
    let (crypto, group) = crypto_and_group(flags);
    let (mut ours, mut theirs) = (abilities(&mut feed), abilities(&mut feed));
    (ours.aes, theirs.aes) = (flags & 32 == 0, flags & 64 == 0);
    // Now and then a node meets itself.
    let responder = usize::from(flags & 16 == 0);
    let start = |role, n: usize, abilities, seed| {
        let mut entropy = Entropy::new(&key(seed));
        Handshake::new(role, crypto, &IDENTITIES[n], group.as_ref(), abilities, &mut entropy)
    };
    let mut dialler = End::new(start(Role::Initiator, 0, ours, 31));
    let mut listener = End::new(start(Role::Responder, responder, theirs, 32));
    let first = dialler.outgoing();
    let arrived = altered(&first, &[], &mut feed);
    listener.push(&arrived, step);
    let second = listener.outgoing();
    let arrived = altered(&second, &first, &mut feed);
    dialler.push(&arrived, step);
    let third = dialler.outgoing();
    let arrived = altered(&third, &second, &mut feed);
    listener.push(&arrived, step);

    let untouched = dialler.heard == second && listener.heard == [first.as_slice(), &third].concat();
    if untouched {
        let both = dialler.made.is_some() && listener.made.is_some();
        assert_eq!(both, responder == 1, "{:?} {:?}", dialler.failed, listener.failed);
    }
    if dialler.made.is_some() {
        assert_eq!(responder, 1, "a session with oneself");
        assert_eq!(dialler.heard[..dialler.consumed], second, "a session from altered bytes");
        assert!(listener.heard.starts_with(&first), "the other side heard altered bytes");
    }
    if let Some(theirs) = &mut listener.made {
        assert_eq!(listener.heard[..listener.consumed], [first.as_slice(), &third].concat());
        let ours = dialler.made.as_mut().expect("no session without the other side's last word");
        assert_eq!((ours.node, theirs.node), (IDENTITIES[1].id(), IDENTITIES[0].id()));
        assert_eq!((ours.suite, ours.version.is_ok()), (theirs.suite, theirs.version.is_ok()));
        assert_eq!(crypto == Crypto::Null, ours.suite == Suite::Null);
        for (seal, open) in [(&mut ours.seal, &mut theirs.open), (&mut theirs.seal, &mut ours.open)] {
            assert_eq!(seal.plain_max(), open.plain_max());
            let mut record = sealed(seal, b"hello");
            let plain = open.open(&mut record).expect("the keys are the same");
            assert_eq!(record[plain], *b"hello");
        }
    }
}

fn abilities(feed: &mut Feed<'_>) -> Abilities {
    let low = feed.byte().max(1);
    let versions = (low, low.saturating_add(feed.byte()));
    Abilities { versions, aes: true, run: 1 + feed.byte() % 16, port: u16::from(feed.byte()) }
}

/// One end of a handshake, with all that it heard.
struct End {
    handshake: Handshake,
    heard: Vec<u8>,
    consumed: usize,
    made: Option<Established>,
    failed: Option<HandshakeError>,
}

impl End {
    fn new(handshake: Handshake) -> End {
        End { handshake, heard: Vec::new(), consumed: 0, made: None, failed: None }
    }

    fn outgoing(&mut self) -> Vec<u8> {
        self.handshake.outgoing()
    }

    fn push(&mut self, bytes: &[u8], step: u8) {
        self.heard.extend_from_slice(bytes);
        for piece in pieces(bytes, step) {
            if self.made.is_some() || self.failed.is_some() {
                return;
            }
            match self.handshake.push(piece) {
                Ok(pushed) => {
                    self.consumed += pushed.consumed;
                    self.made = pushed.done;
                }
                Err(why) => self.failed = Some(why),
            }
        }
    }
}

/// What becomes of `bytes` on the way; `before` is what went the other way.
fn altered(bytes: &[u8], before: &[u8], feed: &mut Feed<'_>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (what, at, value) = (feed.byte() % 8, feed.word(), feed.byte());
    let at = at % (bytes.len() + 1);
    match what {
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= value;
            }
        }
        2 => bytes.truncate(at),
        3 => bytes.insert(at, value),
        4 => bytes.extend_from_within(..),
        5 => drop(bytes.drain(at..bytes.len().min(at + usize::from(value)))),
        6 => bytes = before.to_vec(),
        7 => bytes.iter_mut().skip(at).take(32).for_each(|byte| *byte = 0),
        _ => {}
    }
    bytes
}

fn suite(flags: u8) -> Suite {
    match flags % 3 {
        0 => Suite::Null,
        1 => Suite::Aes256Gcm,
        _ => Suite::ChaCha20Poly1305,
    }
}

pub(crate) fn sealed(sealer: &mut Sealer, plain: &[u8]) -> Vec<u8> {
    let mut record = vec![0xEE; HEAD + plain.len() + TAG];
    record[HEAD..HEAD + plain.len()].copy_from_slice(plain);
    sealer.seal(&mut record).expect("a length that the receiver takes");
    record
}

/// Both ends of one direction, from the first byte of an input. The key is replaced early and often.
pub(crate) fn ends(flags: u8) -> (Sealer, Opener) {
    let (suite, run) = (suite(flags), 1 + flags / 16);
    let sealer = Sealer::new(suite, &key(5), run).expect("a suite");
    let opener = Opener::new(suite, &key(5), run).expect("a suite");
    (sealer.rekeyed_after(3), opener.rekeyed_after(3))
}

/// The suite and the longest record, then a stream of records.
pub(crate) fn record(data: &[u8]) {
    // hostile: 88
    let mut feed = Feed::new(data);
    let (mut sealer, mut opener) = ends(feed.byte());
    let mut rest = feed.rest();
    for n in 0..rest.len().min(HEAD) {
        assert_eq!(opener.frame(&rest[..n]), Ok(None), "a head of {n} bytes");
    }
    loop {
        let frame = opener.frame(rest);
        assert_eq!(opener.frame(&rest[..rest.len().min(HEAD)]), frame, "only the head counts");
        let length = match frame {
            Err(why) => return check_error(&why),
            Ok(None) => return assert!(rest.len() < HEAD),
            Ok(Some(length)) => length,
        };
        assert!((HEAD + 1 + TAG..=HEAD + opener.plain_max() + TAG).contains(&length));
        let Some((record, after)) = rest.split_at_checked(length) else { return };
        let mut opened = record.to_vec();
        match opener.open(&mut opened) {
            Err(why) => {
                check_error(&why);
                assert_eq!(opener.frame(rest), Err(RecordError::Poisoned));
                assert_eq!(opener.open(&mut record.to_vec()), Err(RecordError::Poisoned));
                return;
            }
            Ok(plain) => {
                assert_eq!(plain, HEAD..length - TAG);
                assert_eq!(sealed(&mut sealer, &opened[plain]), record, "one record has one form");
            }
        }
        assert_eq!(opener.records(), sealer.records());
        rest = after;
    }
}

/// The suite, some plaintexts, then what somebody on the way does to the stream of their records.
pub(crate) fn record_altered(data: &[u8]) {
    // hostile: 90, 91
    let mut feed = Feed::new(data);
    let (mut sealer, mut opener) = ends(feed.byte());
    let plains: Vec<Vec<u8>> = (0..1 + feed.byte() % 6).map(|n| plain(n, &mut feed, &sealer)).collect();
    let mut records: Vec<Vec<u8>> = plains.iter().map(|plain| sealed(&mut sealer, plain)).collect();
    let original = records.concat();
    for _ in 0..feed.byte() % 3 {
        let (what, n) = (feed.byte() % 5, usize::from(feed.byte()) % records.len().max(1));
        match what {
            _ if records.is_empty() => {}
            0 => drop(records.remove(n)),
            1 => records.insert(n, records[n].clone()),
            2 => records.swap(0, n),
            3 => records.push(records[n].clone()),
            _ => records.truncate(n),
        }
    }
    let mut stream = records.concat();
    while !feed.is_empty() {
        stream = altered(&stream, &original, &mut feed);
        stream.truncate(4 * original.len());
    }
    let common = stream.iter().zip(&original).take_while(|(a, b)| a == b).count();
    let mut at = 0;
    for plain in &plains {
        let end = at + HEAD + plain.len() + TAG;
        let opened = opener.frame(&stream[at..]).ok().flatten().and_then(|length| {
            let mut record = stream.get(at..at + length)?.to_vec();
            opener.open(&mut record).ok().map(|range| record[range].to_vec())
        });
        if end > common {
            assert_eq!(opened, None, "a record opened that was altered at byte {common}");
            return;
        }
        assert_eq!(opened.as_ref(), Some(plain), "an untouched record did not open");
        at = end;
    }
    // Whatever stands behind the last one was sealed before, or never.
    if let Ok(Some(length)) = opener.frame(&stream[at..]) {
        let mut more = stream[at..].to_vec();
        more.truncate(length);
        assert!(opener.open(&mut more).is_err(), "a record opened that nobody sent");
    }
}

fn plain(n: u8, feed: &mut Feed<'_>, sealer: &Sealer) -> Vec<u8> {
    let length = match feed.byte() {
        0xFF => sealer.plain_max(),
        few => 1 + usize::from(few),
    };
    (0..length).map(|i| (i as u8).wrapping_mul(31) ^ n).collect()
}
