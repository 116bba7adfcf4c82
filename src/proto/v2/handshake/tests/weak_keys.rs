//! Public keys that give everybody the same shared secret. `snow` takes them; we do not.

use super::*;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

/// All points of small order of the curve and of its twist, in every encoding but for the highest bit.
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

fn weak_keys() -> Vec<[u8; 32]> {
    let plain = LOW_ORDER.map(|text| *NodeId::from_hex(text).expect("64 digits").as_bytes());
    plain
        .into_iter()
        .flat_map(|key| {
            let mut high = key;
            high[31] |= 0x80;
            [key, high]
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Static,
    Ephemeral,
}

/// One of the two key pairs is replaced; what a weak key agrees on is always zero, so its owner can go on.
struct Evil {
    which: Which,
    weak: [u8; 32],
    /// `snow` asks for the static pair first, then for the ephemeral one.
    asked: Cell<u8>,
}

impl CryptoResolver for Evil {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Fixed))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let honest = DefaultResolver.resolve_dh(choice)?;
        let turn = if self.asked.replace(1) == 0 { Which::Static } else { Which::Ephemeral };
        let weak = (turn == self.which).then_some(self.weak);
        Some(Box::new(EvilDh { honest, weak, theirs: self.weak }))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

struct Fixed;

impl Random for Fixed {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        dest.fill(0x5A);
        Ok(())
    }
}

struct EvilDh {
    honest: Box<dyn Dh>,
    weak: Option<[u8; 32]>,
    theirs: [u8; 32],
}

impl Dh for EvilDh {
    fn name(&self) -> &'static str {
        "25519"
    }
    fn pub_len(&self) -> usize {
        32
    }
    fn priv_len(&self) -> usize {
        32
    }
    fn set(&mut self, privkey: &[u8]) {
        self.honest.set(privkey);
    }
    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        self.honest.generate(rng)
    }
    fn pubkey(&self) -> &[u8] {
        self.weak.as_ref().map_or(self.honest.pubkey(), |weak| weak)
    }
    fn privkey(&self) -> &[u8] {
        self.honest.privkey()
    }
    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        assert_ne!(pubkey[..32], self.theirs, "the honest side has an honest key");
        match self.weak {
            Some(_) => {
                out.fill(0);
                Ok(())
            }
            None => self.honest.dh(pubkey, out),
        }
    }
}

fn evil(world: &World, role: Role, prologue: &[u8], which: Which, weak: [u8; 32]) -> HandshakeState {
    let name =
        if world.group.is_some() { "XXpsk0_25519_ChaChaPoly_BLAKE2s" } else { "XX_25519_ChaChaPoly_BLAKE2s" };
    let evil = Box::new(Evil { which, weak, asked: Cell::new(0) });
    let mut builder = snow::Builder::with_resolver(format!("Noise_{name}").parse().expect("a name"), evil)
        .local_private_key(&[0x66; 32])
        .and_then(|builder| builder.prologue(prologue))
        .expect("parts");
    if let Some(group) = &world.group {
        builder = builder.psk(0, group.reveal()).expect("a key");
    }
    match role {
        Role::Initiator => builder.build_initiator(),
        Role::Responder => builder.build_responder(),
    }
    .expect("a handshake")
}

use snow::HandshakeState;

fn write(state: &mut HandshakeState, payload: &str) -> Vec<u8> {
    let mut message = [0; 256];
    let n = state.write_message(payload.as_bytes(), &mut message).expect("it goes on");
    frame(&message[..n])
}

fn real_worlds() -> Vec<World> {
    World::all().into_iter().filter(|world| world.crypto == REAL).collect()
}

#[test]
fn a_weak_key_of_the_dialler_is_refused() {
    // hostile: 87
    for world in real_worlds() {
        for weak in weak_keys() {
            let preamble = preamble::encode([2; 7], &Call::default(), REAL, world.group.as_ref());
            for which in [Which::Ephemeral, Which::Static] {
                let mut dialler = evil(&world, Role::Initiator, &preamble, which, weak);
                let mut responder = world.handshake(Role::Responder);
                let first = [&preamble[..], &write(&mut dialler, "")].concat();
                let said = responder.push(&first).map(|_| ());
                if which == Which::Ephemeral {
                    assert_eq!(said, Err(HandshakeError::WeakKey));
                    assert!(responder.outgoing().is_empty());
                    continue;
                }
                assert_eq!(said, Ok(()));
                let second = responder.outgoing();
                dialler.read_message(&second[2..], &mut [0; 256]).expect("message 2");
                let third = write(&mut dialler, &OURS.encode());
                assert_eq!(responder.push(&third).map(|_| ()), Err(HandshakeError::WeakKey));
            }
        }
    }
}

#[test]
fn a_weak_key_of_the_listener_is_refused() {
    // hostile: 87
    for world in real_worlds() {
        for weak in weak_keys() {
            for which in [Which::Ephemeral, Which::Static] {
                let mut initiator = world.handshake(Role::Initiator);
                let first = initiator.outgoing();
                let mut listener = evil(&world, Role::Responder, &first[..32], which, weak);
                listener.read_message(&first[34..], &mut [0; 256]).expect("message 1");
                let second = write(&mut listener, &OURS.encode());
                assert_eq!(initiator.push(&second).map(|_| ()), Err(HandshakeError::WeakKey));
                assert!(initiator.outgoing().is_empty());
            }
        }
    }
}

#[test]
fn without_a_curve_a_key_of_zeros_is_refused() {
    // hostile: 87
    let preamble = preamble::encode([2; 7], &Call::default(), Crypto::Null, None);
    let world = World { crypto: Crypto::Null, group: None };
    let mut responder = world.handshake(Role::Responder);
    let said = responder.push(&[&preamble[..], &frame(&[0; 32])].concat());
    assert_eq!(said.map(|_| ()), Err(HandshakeError::WeakKey));
}
