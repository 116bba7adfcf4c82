//! The Noise handshake by `snow`, with what `snow` leaves to its caller: chance comes from outside, and every shared
//! secret is refused that does not depend on our key. The null cipher stands beside it under the same four calls.

use super::null::Null;
use super::{HandshakeError, MESSAGE_MAX, Role};
use crate::config::{Crypto, Key};
use crate::proto::v2::identity::{Identity, NodeId};
use crate::proto::v2::preamble;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};

const OPEN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
const GROUP: &str = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s";

/// What a handshake is made of.
pub(super) struct Parts<'a> {
    pub(super) role: Role,
    pub(super) identity: &'a Identity,
    pub(super) group: Option<&'a Key>,
    pub(super) prologue: &'a [u8; preamble::LEN],
    pub(super) ephemeral: Key,
}

/// Three messages, in turn: whose turn it is knows the caller.
pub(super) enum Noise {
    Real(Box<HandshakeState>),
    Null(Null),
}

impl Noise {
    pub(super) fn new(crypto: Crypto, parts: Parts<'_>) -> Result<Noise, HandshakeError> {
        if crypto == Crypto::Null {
            return Ok(Noise::Null(Null::new(&parts)));
        }
        let name = if parts.group.is_some() { GROUP } else { OPEN };
        let params = name.parse()?;
        let mut builder = Builder::with_resolver(params, Box::new(Resolver { ephemeral: parts.ephemeral }))
            .local_private_key(parts.identity.secret().reveal())
            .and_then(|builder| builder.prologue(parts.prologue))?;
        if let Some(key) = parts.group {
            builder = builder.psk(0, key.reveal())?;
        }
        let state = match parts.role {
            Role::Initiator => builder.build_initiator(),
            Role::Responder => builder.build_responder(),
        };
        Ok(Noise::Real(Box::new(state?)))
    }

    /// Our next message, with `payload`: at most [`MESSAGE_MAX`] bytes.
    pub(super) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        match self {
            Noise::Null(null) => Ok(null.write(payload)),
            Noise::Real(state) => {
                let mut message = [0; MESSAGE_MAX];
                let n = state.write_message(payload, &mut message)?;
                Ok(message[..n].to_vec())
            }
        }
    }

    /// The payload of their next message.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        match self {
            Noise::Null(null) => null.read(message),
            Noise::Real(state) => {
                let mut payload = [0; MESSAGE_MAX];
                let n = state.read_message(message, &mut payload)?;
                Ok(payload[..n].to_vec())
            }
        }
    }

    /// Whose static key came.
    pub(super) fn remote(&self) -> Option<NodeId> {
        match self {
            Noise::Null(null) => null.remote(),
            Noise::Real(state) => state.get_remote_static()?.try_into().ok().map(NodeId::from_bytes),
        }
    }

    /// The keys of the finished handshake: of what the initiator sends, and of what the responder sends.
    pub(super) fn split(self) -> (Key, Key) {
        match self {
            Noise::Null(null) => null.split(),
            Noise::Real(mut state) => {
                let (initiators, responders) = state.dangerously_get_raw_split();
                (Key::new(initiators), Key::new(responders))
            }
        }
    }
}

/// What an error of `snow` says about the other side.
impl From<snow::Error> for HandshakeError {
    fn from(error: snow::Error) -> HandshakeError {
        match error {
            snow::Error::Decrypt | snow::Error::Input => HandshakeError::Decrypt,
            snow::Error::Dh => HandshakeError::WeakKey,
            _ => HandshakeError::Internal,
        }
    }
}

/// The public key that belongs to `secret`.
pub(in crate::proto::v2) fn public_key(secret: &Key) -> [u8; 32] {
    let mut public = [0; 32];
    // constant: the feature `use-curve25519` of `snow` is on
    let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("X25519");
    dh.set(secret.reveal());
    public.copy_from_slice(dh.pubkey());
    public
}

/// The primitives of `snow`, but for chance, and with a check of each shared secret.
struct Resolver {
    ephemeral: Key,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(Checked(DefaultResolver.resolve_dh(choice)?)))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// The ephemeral key, which is drawn once: a second draw would be a defect, and fails.
struct Once(Option<Key>);

impl Random for Once {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        match self.0.take() {
            Some(key) if dest.len() == key.reveal().len() => {
                dest.copy_from_slice(key.reveal());
                Ok(())
            }
            _ => Err(snow::Error::Rng),
        }
    }
}

/// X25519 that refuses a shared secret of all zeros (RFC 7748, section 6.1), which `snow` passes on: public keys of low
/// order give it whatever our key is, also in the encodings that are not their shortest.
struct Checked(Box<dyn Dh>);

impl Dh for Checked {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pub_len(&self) -> usize {
        self.0.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.0.priv_len()
    }

    fn set(&mut self, privkey: &[u8]) {
        self.0.set(privkey);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        self.0.generate(rng)
    }

    fn pubkey(&self) -> &[u8] {
        self.0.pubkey()
    }

    fn privkey(&self) -> &[u8] {
        self.0.privkey()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        #[cfg(test)]
        super::tests::EXCHANGES.with(|count| count.set(count.get() + 1));
        self.0.dh(pubkey, out)?;
        let shared = out.get(..self.dh_len()).unwrap_or_default();
        // No branch on single bytes of a secret.
        if shared.iter().fold(0, |all, byte| all | byte) == 0 { Err(snow::Error::Dh) } else { Ok(()) }
    }

    fn dh_len(&self) -> usize {
        self.0.dh_len()
    }
}
