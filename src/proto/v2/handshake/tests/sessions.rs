//! Whole sessions: handshake and records of both directions.

use super::*;
use proptest::prelude::*;

const PLAINS: [&[u8]; 4] = [b"a first message", b"x", &[0; 300], b"the last one"];
const ROLES: [Role; 2] = [Role::Initiator, Role::Responder];

/// All that `role`'s other side sends in a session.
fn stream_to(world: &World, role: Role) -> Vec<u8> {
    let mut recorded = world.recorded();
    let [first, second, third] = recorded.flights;
    let (mut stream, seal_with) = match role {
        Role::Initiator => (second, &mut recorded.responder.seal),
        Role::Responder => ([first, third].concat(), &mut recorded.initiator.seal),
    };
    for plain in PLAINS {
        stream.extend(seal(seal_with, plain));
    }
    stream
}

/// One side of a recorded session: it makes the same bytes as when it was recorded.
struct Reader {
    handshake: Handshake,
    session: Option<Established>,
    buffer: Vec<u8>,
    plains: Vec<Vec<u8>>,
    /// Bytes of frames and records that were whole and fine.
    good: usize,
}

impl Reader {
    fn new(world: &World, role: Role) -> Reader {
        let handshake = world.handshake(role);
        Reader { handshake, session: None, buffer: Vec::new(), plains: Vec::new(), good: 0 }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut rest = bytes;
        if self.session.is_none() {
            let pushed = self.handshake.push(rest).map_err(|error| error.to_string())?;
            self.good += pushed.consumed;
            rest = &rest[pushed.consumed..];
            self.session = pushed.done;
        }
        let Some(session) = &mut self.session else { return Ok(()) };
        self.buffer.extend_from_slice(rest);
        let said = |error: RecordError| error.to_string();
        while let Some(len) = session.open.frame(&self.buffer).map_err(said)? {
            if self.buffer.len() < len {
                break;
            }
            let mut record: Vec<u8> = self.buffer.drain(..len).collect();
            let plain = session.open.open(&mut record).map_err(said)?;
            self.plains.push(record[plain].to_vec());
            self.good += len;
        }
        Ok(())
    }

    fn good(&self) -> usize {
        self.good - self.handshake.partial.len()
    }
}

#[test]
fn two_nodes_meet_and_talk() {
    for world in World::all() {
        let mut recorded = world.recorded();
        assert_eq!(recorded.initiator.node, World::identity(Role::Responder).id());
        assert_eq!(recorded.responder.node, World::identity(Role::Initiator).id());
        assert_eq!((recorded.initiator.version, recorded.responder.version), (Ok(1), Ok(1)));
        for n in 0..10u8 {
            let (a, b) = (&mut recorded.initiator, &mut recorded.responder);
            for (from, to) in [(&mut a.seal, &mut b.open), (&mut b.seal, &mut a.open)] {
                let mut record = seal(from, &[n; 99]);
                assert_eq!(to.open(&mut record), Ok(16..115));
                assert_eq!(record[16..115], [n; 99]);
            }
        }
    }
}

#[test]
fn flights_are_short_and_equally_long_with_the_null_cipher() {
    let lengths = |world: &World| world.recorded().flights.map(|flight| flight.len());
    let worlds = World::all();
    assert_eq!(lengths(&worlds[0]), [66, 140, 108]);
    assert_eq!(lengths(&worlds[1]), [82, 140, 108]);
    assert_eq!(lengths(&worlds[0]), lengths(&worlds[2]));
    assert_eq!(lengths(&worlds[1]), lengths(&worlds[3]));
    assert!(lengths(&worlds[1])[0] <= FIRST_FLIGHT_MAX);
    let whole = std::mem::size_of::<Handshake>() + std::mem::size_of::<snow::HandshakeState>();
    assert!(whole + 2 * (MESSAGE_MAX + LENGTH) <= 2048, "{whole} bytes before a peer has proven anything");
}

#[test]
fn null_and_real_nodes_never_meet() {
    for group in [None, Some(Key::new([1; 32]))] {
        for (a, b) in [(REAL, Crypto::Null), (Crypto::Null, REAL)] {
            let dial = World { crypto: a, group: group.clone() }.handshake(Role::Initiator);
            let listen = World { crypto: b, group: group.clone() }.handshake(Role::Responder);
            assert_eq!(meet(dial, listen).map(|_| ()), Err(HandshakeError::NotOurs));
        }
    }
}

#[test]
fn the_suite_follows_the_abilities_of_both() {
    for theirs in [false, true] {
        for ours in [false, true] {
            // Where the cipher offers no AES, nothing that the abilities say makes it one.
            for said in [ours, true] {
                let side = |role, aes, said| {
                    let world = World { crypto: Crypto::Real { aes }, group: None };
                    world.with(role, &World::identity(role), Abilities { aes: said, ..OURS })
                };
                let dial = side(Role::Initiator, ours, said);
                let met = meet(dial, side(Role::Responder, theirs, theirs)).expect("two honest nodes");
                let suite = if ours && theirs { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 };
                assert_eq!((met.initiator.suite, met.responder.suite), (suite, suite));
                assert_eq!((met.initiator.theirs.aes, met.responder.theirs.aes), (theirs, ours));
            }
        }
    }
}

#[test]
fn each_side_takes_records_as_long_as_it_said() {
    let world = World { crypto: REAL, group: None };
    let side = |role, run| world.with(role, &World::identity(role), Abilities { run, ..OURS });
    let met = meet(side(Role::Initiator, 4), side(Role::Responder, 16)).expect("two honest nodes");
    let (small, large) = (4 * 4096 + 32, 16 * 4096 + 32);
    assert_eq!((met.initiator.seal.plain_max(), met.initiator.open.plain_max()), (large, small));
    assert_eq!((met.responder.seal.plain_max(), met.responder.open.plain_max()), (small, large));
}

#[test]
fn versions_apart_are_told_to_an_authenticated_peer() {
    // hostile: 83
    for world in World::all() {
        let side = |role, versions| world.with(role, &World::identity(role), Abilities { versions, ..OURS });
        let mut met =
            meet(side(Role::Initiator, (1, 1)), side(Role::Responder, (2, 3))).expect("both are members");
        assert_eq!(met.initiator.version, Err(Mismatch { ours: (1, 1), theirs: (2, 3) }));
        assert_eq!(met.responder.version, Err(Mismatch { ours: (2, 3), theirs: (1, 1) }));
        let words = met.initiator.version.map_err(|none| none.to_string()).expect_err("none in common");
        let mut record = seal(&mut met.initiator.seal, words.as_bytes());
        let plain = met.responder.open.open(&mut record).expect("it can be told");
        assert_eq!(&record[plain], b"this node speaks versions 1 to 1, the other 2 to 3: none in common");
        let met =
            meet(side(Role::Initiator, (1, 4)), side(Role::Responder, (2, 9))).expect("both are members");
        assert_eq!((met.initiator.version, met.responder.version), (Ok(4), Ok(4)));
    }
}

#[test]
fn every_split_point_gives_the_same_session() {
    // hostile: 89
    for world in World::all() {
        for role in ROLES {
            let stream = stream_to(&world, role);
            // The handshake is where curves are computed: fewer of its points are tried with them.
            let step = if world.crypto == REAL { 3 } else { 1 };
            for at in (0..=stream.len()).step_by(step) {
                let mut reader = Reader::new(&world, role);
                reader.feed(&stream[..at]).expect("the first part");
                reader.feed(&stream[at..]).expect("the second part");
                assert_eq!(reader.plains, PLAINS, "split at {at}");
            }
            let mut reader = Reader::new(&world, role);
            for byte in &stream {
                reader.feed(&[*byte]).expect("a single byte");
                assert!(reader.handshake.partial.capacity() <= LENGTH + MESSAGE_MAX);
            }
            assert_eq!(reader.plains, PLAINS);
        }
    }
}

/// Nothing of a flipped frame or record is used, and nothing behind it.
fn flip_closes(world: &World, role: Role, stream: &[u8], bit: usize) {
    let mut flipped = stream.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    let mut reader = Reader::new(world, role);
    let said = reader.feed(&flipped);
    assert_eq!(reader.plains, PLAINS[..reader.plains.len()], "{role:?} bit {bit}");
    // A length that grew makes it wait for more than there is, until the deadline.
    let waits = said.is_ok() && reader.good() <= bit / 8;
    assert!(said.is_err() || waits, "{role:?} bit {bit} went unseen");
    assert!(reader.plains.len() < PLAINS.len());
}

#[test]
fn any_flipped_byte_of_a_session_closes_it() {
    // hostile: 90
    for world in World::all() {
        for role in ROLES {
            let stream = stream_to(&world, role);
            for at in 0..stream.len() {
                if world.crypto == REAL {
                    flip_closes(&world, role, &stream, at * 8 + at % 8);
                } else {
                    (0..8).for_each(|bit| flip_closes(&world, role, &stream, at * 8 + bit));
                }
            }
        }
    }
}

#[test]
fn a_recording_shows_neither_content_nor_keys_nor_who() {
    let group = Key::new([0xC7; 32]);
    let world = World { crypto: REAL, group: Some(group.clone()) };
    let names = [b"holiday pictures.zip".as_slice(), b"the text of a message", &[0x42; 64]];
    let mut recorded = world.recorded();
    let mut bytes = recorded.flights.concat();
    for plain in names {
        bytes.extend(seal(&mut recorded.initiator.seal, plain));
        bytes.extend(seal(&mut recorded.responder.seal, plain));
    }
    let mut secrets: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
    secrets.push(group.reveal().to_vec());
    for role in ROLES {
        let identity = World::identity(role);
        secrets.extend([identity.secret().reveal().to_vec(), identity.id().as_bytes().to_vec()]);
    }
    secrets.extend([b"aes".to_vec(), b"port".to_vec(), b"9000".to_vec()]);
    for secret in secrets {
        // Any eight bytes in a row of it, or the whole where it is shorter.
        let part = secret.len().min(8);
        for piece in secret.windows(part) {
            assert!(!bytes.windows(part).any(|window| window == piece), "{piece:?}");
        }
    }
}

#[test]
fn debug_output_shows_no_key() {
    let group = Key::new([0xC7; 32]);
    for crypto in [REAL, Crypto::Null] {
        let world = World { crypto, group: Some(group.clone()) };
        let (mut dial, mut listen) = (world.handshake(Role::Initiator), world.handshake(Role::Responder));
        let mut said = format!("{dial:?}{listen:?}");
        listen.push(&dial.outgoing()).expect("message 1");
        let met = dial.push(&listen.outgoing()).expect("message 2");
        said += &format!("{dial:?}{listen:?}{met:?}");
        said += &format!("{:?}{:?}", World::identity(Role::Initiator), listen.push(&dial.outgoing()));
        assert!(said.contains(&World::identity(Role::Responder).id().to_string()), "the id may show: {said}");
        for byte in [0x11, 0x22, 0x33, 0x44, 0xC7] {
            for pattern in
                [format!("{byte}, {byte}"), format!("{byte:02x}").repeat(2), format!("{byte:02X}").repeat(2)]
            {
                assert!(!said.contains(&pattern), "{pattern} in {said}");
            }
        }
    }
}

#[test]
fn a_transfer_goes_on_over_new_keys() {
    // hostile: 112
    for world in World::all() {
        let recorded = world.recorded();
        let mut seal_with = recorded.initiator.seal.rekeyed_after(3);
        let mut open_with = recorded.responder.open.rekeyed_after(3);
        for n in 0..20u8 {
            let mut record = seal(&mut seal_with, &[n; 4096]);
            let plain = open_with.open(&mut record).expect("in order");
            assert_eq!(record[plain], [n; 4096]);
        }
    }
}

fn worlds() -> impl Strategy<Value = (World, Role)> {
    (prop::sample::select(World::all()), prop::sample::select(ROLES.to_vec()))
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.crypto, if self.group.is_some() { "group" } else { "open" })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_segmentation_gives_the_same_session(
        (world, role) in worlds(),
        cuts in prop::collection::vec(1..90usize, 1..40),
    ) {
        // hostile: 89
        let stream = stream_to(&world, role);
        let mut reader = Reader::new(&world, role);
        let (mut rest, mut cuts) = (&stream[..], cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            reader.feed(now).map_err(TestCaseError::fail)?;
            rest = later;
        }
        prop_assert_eq!(reader.plains, PLAINS);
        prop_assert_eq!(reader.good, stream.len());
    }

    #[test]
    fn a_refusal_does_not_depend_on_the_segmentation(
        (world, role) in worlds(),
        at: prop::sample::Index,
        flip in 1..=255u8,
        cut: prop::sample::Index,
    ) {
        // hostile: 89, 90
        let mut stream = stream_to(&world, role);
        let at = at.index(stream.len());
        stream[at] ^= flip;
        let mut whole = Reader::new(&world, role);
        let said = whole.feed(&stream);
        let cut = cut.index(stream.len());
        let mut parts = Reader::new(&world, role);
        let in_parts = parts.feed(&stream[..cut]).and_then(|()| parts.feed(&stream[cut..]));
        prop_assert_eq!(&said, &in_parts);
        prop_assert_eq!(&whole.plains, &parts.plains);
        prop_assert!(whole.plains.len() < PLAINS.len());
        prop_assert!(said.is_err() || whole.good() <= at);
    }

    #[test]
    fn garbage_never_makes_a_session(
        (world, role) in worlds(),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        kept in 0..140usize, // less than a handshake
    ) {
        let real = stream_to(&world, role);
        let mut reader = Reader::new(&world, role);
        let _ = reader.feed(&[&real[..kept], &bytes].concat());
        prop_assert!(reader.session.is_none() && reader.plains.is_empty());
    }
}
