//! The handshake: from two strangers' bytes to a session (docs/PROTOCOL.md, section 3). It takes bytes in any
//! segmentation and gives bytes to send; it knows no time, so whoever drives it ends it at its deadline.
//!
//! ```text
//! initiator                                      responder
//!   preamble, frame(e)                     ──►
//!                                          ◄──     frame(e, s, abilities)
//!   frame(s, abilities)                    ──►
//! ```
//!
//! Nothing is answered to a wrong byte: every error here means silence and a close. Only a peer that finished the
//! handshake and speaks no version of ours is told so, by a sealed message ([`Established::version`]).

mod abilities;
mod error;
mod noise;
mod null;
#[cfg(test)]
mod tests;

pub use abilities::{Abilities, Mismatch};
pub use error::HandshakeError;
pub(super) use noise::public_key;

use super::identity::{Identity, NodeId};
use super::preamble::{self, Call, Heard};
use super::record::{Opener, RecordError, Sealer, Suite};
use crate::config::{Crypto, Key};
use crate::proto::entropy::Entropy;
use noise::{Noise, Parts};
use std::fmt;

/// Most bytes of a handshake message, without the two of its length.
pub const MESSAGE_MAX: usize = 256;
/// Most bytes that are sent before the other side has proven anything (the address rule).
pub const FIRST_FLIGHT_MAX: usize = 100;

/// Bytes of a frame's length.
const LENGTH: usize = 2;

/// Who dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We did.
    Initiator,
    /// The other side did.
    Responder,
}

/// What a call of [`Handshake::push`] did.
#[derive(Debug)]
pub struct Pushed {
    /// Bytes taken; what stands behind them belongs to the records.
    pub consumed: usize,
    /// Of a responder that [stops behind the preamble](Handshake::stop_behind_preamble): what that said. Nothing of what follows
    /// was looked at.
    pub heard: Option<Heard>,
    /// The session, once it stands. [`Handshake::outgoing`] may still hold our last message: it is sent first.
    pub done: Option<Established>,
}

/// A session with an authenticated node.
#[derive(Debug)]
pub struct Established {
    /// Who it is.
    pub node: NodeId,
    /// What it can do.
    pub theirs: Abilities,
    /// The version that both speak, or that there is none: then it may be told so, and nothing else.
    pub version: Result<u8, Mismatch>,
    /// How records are sealed in both directions.
    pub suite: Suite,
    /// Seals what we send.
    pub seal: Sealer,
    /// Opens what they send.
    pub open: Opener,
}

/// A handshake under way. Holds at most one frame of the other side's bytes.
pub struct Handshake {
    role: Role,
    crypto: Crypto,
    identity: Identity,
    group: Option<Key>,
    ours: Abilities,
    step: Step,
    /// The part that came of the preamble or frame that is waited for.
    partial: Vec<u8>,
    out: Vec<u8>,
    answered: bool,
    stops: bool,
    /// What was sent or heard; zeros before.
    preamble: [u8; preamble::LEN],
}

/// What is waited for. One way only: down.
enum Step {
    /// Responder: the preamble. The ephemeral key is drawn and nothing is computed yet.
    Preamble { ephemeral: Key },
    /// Responder: the first message.
    First(Noise),
    /// Initiator: the second message. `ephemeral`: our own public one, to know it again.
    Second { noise: Noise, ephemeral: [u8; 32] },
    /// Responder: the third message; the second one took work on the curve.
    Third(Noise),
    /// Nothing: it failed, or it is done.
    Over(HandshakeError),
}

/// What a whole preamble or frame led to.
enum Next {
    More,
    Heard(Heard),
    Done(Box<Established>),
}

impl Handshake {
    /// Starts one with whichever node answers or calls, by no clock: [`Handshake::begin`].
    pub fn new(
        role: Role,
        crypto: Crypto,
        identity: &Identity,
        group: Option<&Key>,
        ours: Abilities,
        entropy: &mut Entropy,
    ) -> Handshake {
        Handshake::begin((role, Call::default()), crypto, identity, group, ours, entropy)
    }

    /// Starts one. An initiator says `call`. `group`: `None` for an open node. Of `ours`, `aes` falls with a `crypto` that
    /// does not offer it. Draws all the chance it needs from `entropy` here.
    pub fn begin(
        (role, call): (Role, Call),
        crypto: Crypto,
        identity: &Identity,
        group: Option<&Key>,
        ours: Abilities,
        entropy: &mut Entropy,
    ) -> Handshake {
        let ours = Abilities { aes: ours.aes && crypto != Crypto::Real { aes: false }, ..ours };
        let mut handshake = Handshake {
            role,
            crypto,
            identity: identity.clone(),
            group: group.cloned(),
            ours,
            step: Step::Over(HandshakeError::Internal),
            partial: Vec::new(),
            out: Vec::new(),
            answered: false,
            stops: false,
            preamble: [0; preamble::LEN],
        };
        handshake.step = match role {
            Role::Responder => Step::Preamble { ephemeral: entropy.key() },
            Role::Initiator => {
                let random = entropy.bytes();
                handshake.dial(random, &call, entropy.key()).unwrap_or_else(Step::Over)
            }
        };
        handshake
    }

    /// Whoever drives a responder is told what the preamble said before it is answered, and goes on or does not.
    pub fn stop_behind_preamble(&mut self) {
        self.stops = true;
    }

    /// Responder: whether what came was worth the work of an answer.
    pub fn has_answered(&self) -> bool {
        self.answered
    }

    /// Whether both are of this node and of one connection, which led back to it.
    pub fn is_other_end_of(&self, other: &Handshake) -> bool {
        self.role != other.role && self.preamble == other.preamble
    }

    /// What to send now; empty if there is nothing. What was given out once is not given again.
    pub fn outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Takes what arrived, up to the end of the handshake and never further.
    ///
    /// # Errors
    /// The other side is not one to talk to: close, and say nothing. Every later call says the same.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Pushed, HandshakeError> {
        let mut consumed = 0;
        loop {
            let missing = self.missing().map_err(|why| self.fail(why))?;
            if missing == 0 {
                let unit = std::mem::take(&mut self.partial);
                match self.advance(&unit).map_err(|why| self.fail(why))? {
                    Next::More => continue,
                    Next::Heard(heard) => return Ok(Pushed { consumed, heard: Some(heard), done: None }),
                    Next::Done(done) => return Ok(Pushed { consumed, heard: None, done: Some(*done) }),
                }
            }
            let rest = &bytes[consumed..];
            if rest.is_empty() {
                return Ok(Pushed { consumed, heard: None, done: None });
            }
            let taken = &rest[..missing.min(rest.len())];
            self.partial.reserve_exact(missing);
            self.partial.extend_from_slice(taken);
            consumed += taken.len();
        }
    }

    /// Bytes that are missing of what is waited for: 0 once it is whole. Judges a frame's length as soon as it is known.
    fn missing(&self) -> Result<usize, HandshakeError> {
        let whole = match (&self.step, self.partial.as_slice()) {
            (Step::Over(why), _) => return Err(*why),
            (Step::Preamble { .. }, _) => preamble::LEN,
            (_, &[low, high, ..]) => {
                let length = u16::from_le_bytes([low, high]);
                match usize::from(length) {
                    bytes @ 1..=MESSAGE_MAX => LENGTH + bytes,
                    _ => return Err(HandshakeError::Frame(length)),
                }
            }
            _ => LENGTH,
        };
        Ok(whole.saturating_sub(self.partial.len()))
    }

    /// Nothing goes out after an error, not even what was ready before.
    fn fail(&mut self, why: HandshakeError) -> HandshakeError {
        self.step = Step::Over(why);
        self.out = Vec::new();
        self.partial = Vec::new();
        why
    }

    /// The first flight.
    fn dial(
        &mut self,
        random: [u8; preamble::RANDOM],
        call: &Call,
        ephemeral: Key,
    ) -> Result<Step, HandshakeError> {
        let preamble = preamble::encode(random, call, self.crypto, self.group.as_ref());
        self.preamble = preamble;
        let mut noise = self.noise(&preamble, ephemeral)?;
        let message = noise.write(b"")?;
        let mut public = [0; 32];
        public.copy_from_slice(message.get(..32).ok_or(HandshakeError::Internal)?);
        self.out.extend_from_slice(&preamble);
        self.send(&message);
        Ok(Step::Second { noise, ephemeral: public })
    }

    /// The whole preamble or frame has come.
    fn advance(&mut self, unit: &[u8]) -> Result<Next, HandshakeError> {
        let message = unit.get(LENGTH..).unwrap_or_default();
        match std::mem::replace(&mut self.step, Step::Over(HandshakeError::Over)) {
            Step::Over(why) => return Err(why),
            Step::Preamble { ephemeral } => {
                let preamble: &[u8; preamble::LEN] = unit.try_into().map_err(|_| HandshakeError::Internal)?;
                self.preamble = *preamble;
                let heard = preamble::check(preamble, self.crypto, self.group.as_ref(), &self.identity.id())?;
                self.step = Step::First(self.noise(preamble, ephemeral)?);
                if self.stops {
                    return Ok(Next::Heard(heard));
                }
            }
            Step::First(mut noise) => {
                self.answered = true;
                if !noise.read(message)?.is_empty() {
                    return Err(HandshakeError::Decrypt);
                }
                let answer = noise.write(self.ours.encode().as_bytes())?;
                self.send(&answer);
                self.step = Step::Third(noise);
            }
            Step::Second { mut noise, ephemeral } => {
                if message.starts_with(&ephemeral) {
                    return Err(HandshakeError::Mirror);
                }
                let payload = noise.read(message)?;
                let (node, theirs) = self.judge(&noise, &payload)?;
                let answer = noise.write(self.ours.encode().as_bytes())?;
                self.send(&answer);
                return self.establish(noise, node, theirs);
            }
            Step::Third(mut noise) => {
                let payload = noise.read(message)?;
                let (node, theirs) = self.judge(&noise, &payload)?;
                return self.establish(noise, node, theirs);
            }
        }
        Ok(Next::More)
    }

    fn noise(&self, preamble: &[u8; preamble::LEN], ephemeral: Key) -> Result<Noise, HandshakeError> {
        let (role, identity, group) = (self.role, &self.identity, self.group.as_ref());
        Noise::new(self.crypto, Parts { role, identity, group, prologue: preamble, ephemeral })
    }

    fn send(&mut self, message: &[u8]) {
        // `Noise` writes into MESSAGE_MAX bytes.
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(message);
    }

    /// Who the other side is and what it can do.
    fn judge(&self, noise: &Noise, payload: &[u8]) -> Result<(NodeId, Abilities), HandshakeError> {
        let node = noise.remote().ok_or(HandshakeError::Internal)?;
        if node == self.identity.id() {
            return Err(HandshakeError::OwnKey);
        }
        Ok((node, Abilities::decode(payload).map_err(HandshakeError::Payload)?))
    }

    fn establish(&self, noise: Noise, node: NodeId, theirs: Abilities) -> Result<Next, HandshakeError> {
        let suite = match self.crypto {
            Crypto::Null => Suite::Null,
            Crypto::Real { .. } if self.ours.aes && theirs.aes => Suite::Aes256Gcm,
            Crypto::Real { .. } => Suite::ChaCha20Poly1305,
        };
        let (initiators, responders) = noise.split();
        let (out, into) = match self.role {
            Role::Initiator => (initiators, responders),
            Role::Responder => (responders, initiators),
        };
        let internal = |_: RecordError| HandshakeError::Internal;
        Ok(Next::Done(Box::new(Established {
            node,
            theirs,
            version: self.ours.common_version(&theirs),
            suite,
            seal: Sealer::new(suite, &out, theirs.run).map_err(internal)?,
            open: Opener::new(suite, &into, self.ours.run).map_err(internal)?,
        })))
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match &self.step {
            Step::Preamble { .. } => "preamble",
            Step::First(_) => "first",
            Step::Second { .. } => "second",
            Step::Third(_) => "third",
            Step::Over(_) => "over",
        };
        f.debug_struct("Handshake")
            .field("role", &self.role)
            .field("step", &step)
            .field("partial", &self.partial.len())
            .field("out", &self.out.len())
            .finish_non_exhaustive()
    }
}
