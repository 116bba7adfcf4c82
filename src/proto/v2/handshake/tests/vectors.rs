//! Fixed keys to fixed bytes: tests/vectors/v2.json, for other implementations and against changes by accident.
//! `DS_BLESS=1 cargo test --lib vectors` writes it anew; that is a new version of the protocol.

use super::*;
use crate::proto::v2::record;
use serde_json::{Value, json};

const FILE: &str = include_str!("../../../../../tests/vectors/v2.json");
const REKEYED_AFTER: u64 = 2;

fn abilities(aes: bool, port: u16) -> Abilities {
    Abilities { versions: (1, 1), aes, run: if aes { 16 } else { 4 }, port }
}

fn split(
    world: &World,
    identities: [&Identity; 2],
    drawn: &Drawn,
    said: [&str; 2],
    flights: &[Vec<u8>; 3],
) -> [Key; 2] {
    let preamble: &[u8; 32] = flights[0][..32].try_into().expect("32 bytes");
    let noise = |role, identity, ephemeral: &Key| {
        let group = world.group.as_ref();
        let parts = Parts { role, identity, group, prologue: preamble, ephemeral: ephemeral.clone() };
        Noise::new(world.crypto, parts).expect("a handshake")
    };
    let mut initiator = noise(Role::Initiator, identities[0], &drawn.ephemerals[0]);
    let mut responder = noise(Role::Responder, identities[1], &drawn.ephemerals[1]);
    let first = initiator.write(b"").expect("message 1");
    responder.read(&first).expect("message 1");
    let second = responder.write(said[1].as_bytes()).expect("message 2");
    initiator.read(&second).expect("message 2");
    let third = initiator.write(said[0].as_bytes()).expect("message 3");
    responder.read(&third).expect("message 3");
    assert_eq!(
        [frame(&first), frame(&second), frame(&third)],
        [flights[0][32..].to_vec(), flights[1].clone(), flights[2].clone()]
    );
    let (a, b) = initiator.split();
    assert_eq!((a.clone(), b.clone()), responder.split());
    [a, b]
}

/// What the two draw from their seeds, in the order in which a handshake draws it.
struct Drawn {
    random: [u8; preamble::RANDOM],
    ephemerals: [Key; 2],
}

fn vector(name: &str, group: Option<Key>, minutes: u32, aes: [bool; 2]) -> Value {
    let world = World { crypto: REAL, group };
    let seeds = [0xA0, 0xB0].map(|byte| Key::new([byte; 32]));
    let mut draws = seeds.clone().map(|seed| Entropy::new(&seed));
    let drawn = Drawn { random: draws[0].bytes(), ephemerals: draws.each_mut().map(Entropy::key) };
    let identities = [0x0A, 0x0B].map(|byte| Identity::from_secret(Key::new([byte; 32])));
    let ours = [abilities(aes[0], 9000), abilities(aes[1], 9100)];
    // Who does not know the time knows the node.
    let to = (world.group.is_some() && minutes == 0).then(|| identities[1].id());
    let side = |n: usize, role| {
        let (group, mut entropy) = (world.group.as_ref(), Entropy::new(&seeds[n]));
        Handshake::begin((role, Call { minutes, to }), REAL, &identities[n], group, ours[n], &mut entropy)
    };
    let met = meet(side(0, Role::Initiator), side(1, Role::Responder)).expect("two honest nodes");
    let said = ours.map(|ours| ours.encode());
    let flights = &met.flights;
    let keys = split(&world, [&identities[0], &identities[1]], &drawn, [&said[0], &said[1]], flights);
    let record_key = |key: &Key| hex(&blake3::derive_key("DistriShare v2 record", key.reveal()));
    let suite = met.initiator.suite.to_string();
    let both = |of: [&[u8; 32]; 2]| json!({"initiator": hex(of[0]), "responder": hex(of[1])});
    json!({
        "name": name,
        "group_key": world.group.as_ref().map(|key| hex(key.reveal())),
        "static_secret": both([identities[0].secret().reveal(), identities[1].secret().reveal()]),
        "static_public": both([identities[0].id().as_bytes(), identities[1].id().as_bytes()]),
        "ephemeral_secret": both([drawn.ephemerals[0].reveal(), drawn.ephemerals[1].reveal()]),
        "abilities": {"initiator": said[0], "responder": said[1]},
        "preamble_random": hex(&drawn.random),
        "preamble_minutes": minutes,
        "preamble_is_for_the_responder": to.is_some(),
        "preamble": hex(&flights[0][..32]),
        "first_frame": hex(&flights[0][32..]),
        "second_frame": hex(&flights[1]),
        "third_frame": hex(&flights[2]),
        "split_key": both([keys[0].reveal(), keys[1].reveal()]),
        "record_key": {"initiator": record_key(&keys[0]), "responder": record_key(&keys[1])},
        "suite": suite,
        "rekeyed_after": REKEYED_AFTER,
        "initiator_records": records(met.initiator.seal, met.responder.open),
        "responder_records": records(met.responder.seal, met.initiator.open),
    })
}

fn records(sealer: Sealer, opener: Opener) -> Vec<Value> {
    let (mut sealer, mut opener) = (sealer.rekeyed_after(REKEYED_AFTER), opener.rekeyed_after(REKEYED_AFTER));
    let plains = [
        b"a".to_vec(),
        (0..=255).collect(),
        b"after the first rekey".to_vec(),
        vec![0; 33],
        b"again".to_vec(),
    ];
    plains
        .into_iter()
        .map(|plain| {
            let sealed = seal(&mut sealer, &plain);
            let mut record = sealed.clone();
            let at = opener.open(&mut record).expect("it opens");
            assert_eq!(record[at], plain);
            json!({"plain": hex(&plain), "record": hex(&sealed)})
        })
        .collect()
}

#[test]
fn fixed_keys_give_the_bytes_of_the_file() {
    let group = Some(Key::new(*b"a group key of thirty-two bytes!"));
    let made = json!({
        "about": "DistriShare v2: docs/PROTOCOL.md, sections 2 to 4. Bytes are hexadecimal. rekeyed_after stands in for 2^20.",
        "rekeyed_after_in_earnest": record::REKEY_AFTER,
        "sessions": [
            vector("open, AES on both sides", None, 0, [true, true]),
            vector("open, AES on one side only", None, 0, [true, false]),
            vector("group, AES on both sides, for any node", group.clone(), 29_766_240, [true, true]),
            vector("group, no AES, for the responder", group, 0, [false, false]),
        ],
    });
    let text = format!("{made:#}\n");
    // Tests read their environment; the core never does.
    #[allow(clippy::disallowed_methods)]
    if std::env::var_os("DS_BLESS").is_some() {
        let at = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/v2.json");
        std::fs::write(at, text).expect("the file can be written");
    } else {
        assert!(
            text == FILE,
            "not the bytes of tests/vectors/v2.json: is that a new version of the protocol?"
        );
    }
}
