use super::*;
use std::cell::Cell;

mod hostile;
mod sessions;
mod vectors;
mod weak_keys;

thread_local! {
    /// Shared secrets that this thread computed.
    pub(super) static EXCHANGES: Cell<u64> = const { Cell::new(0) };
}

const REAL: Crypto = Crypto::Real { aes: true };
const OURS: Abilities = Abilities { versions: (1, 1), aes: true, run: 1, port: 9000 };

/// Two nodes and how they speak; the same one makes the same bytes each time.
#[derive(Clone)]
struct World {
    crypto: Crypto,
    group: Option<Key>,
}

impl World {
    /// Open and in a group, with the real cipher and without.
    fn all() -> Vec<World> {
        [REAL, Crypto::Null]
            .into_iter()
            .flat_map(|crypto| [None, Some(Key::new([0x61; 32]))].map(|group| World { crypto, group }))
            .collect()
    }

    fn identity(role: Role) -> Identity {
        Identity::from_secret(Key::new([if role == Role::Initiator { 0x11 } else { 0x22 }; 32]))
    }

    fn handshake(&self, role: Role) -> Handshake {
        self.with(role, &World::identity(role), OURS)
    }

    fn with(&self, role: Role, identity: &Identity, ours: Abilities) -> Handshake {
        let seed = Key::new([if role == Role::Initiator { 0x33 } else { 0x44 }; 32]);
        Handshake::new(role, self.crypto, identity, self.group.as_ref(), ours, &mut Entropy::new(&seed))
    }

    /// A finished handshake, and the bytes of both directions.
    fn recorded(&self) -> Recorded {
        meet(self.handshake(Role::Initiator), self.handshake(Role::Responder)).expect("two honest nodes")
    }
}

struct Recorded {
    initiator: Established,
    responder: Established,
    /// Preamble and first message, second message, third message.
    flights: [Vec<u8>; 3],
}

/// Carries bytes between the two until both are done.
fn meet(mut initiator: Handshake, mut responder: Handshake) -> Result<Recorded, HandshakeError> {
    let first = initiator.outgoing();
    assert!(responder.push(&first)?.done.is_none());
    let second = responder.outgoing();
    let ours = initiator.push(&second)?;
    let third = initiator.outgoing();
    let theirs = responder.push(&third)?;
    assert_eq!((ours.consumed, theirs.consumed), (second.len(), third.len()));
    assert!(initiator.outgoing().is_empty() && responder.outgoing().is_empty());
    Ok(Recorded {
        initiator: ours.done.expect("the initiator is done"),
        responder: theirs.done.expect("the responder is done"),
        flights: [first, second, third],
    })
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a short message");
    [&length.to_le_bytes(), message].concat()
}

fn seal(sealer: &mut Sealer, plain: &[u8]) -> Vec<u8> {
    let mut record = [&[0; 16], plain, &[0; 16]].concat();
    sealer.seal(&mut record).expect("a plaintext that fits");
    record
}

/// A side that does not care what it says: the calls of the cipher without the rules of the handshake.
fn raw(
    world: &World,
    role: Role,
    identity: &Identity,
    prologue: &[u8; preamble::LEN],
    psk: Option<&Key>,
) -> Noise {
    let ephemeral = Key::new([0x77; 32]);
    Noise::new(world.crypto, Parts { role, identity, group: psk, prologue, ephemeral }).expect("a handshake")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
