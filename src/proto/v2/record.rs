//! Records: what flows once the handshake is done (docs/PROTOCOL.md, section 4). Sealed and opened in place, in the
//! buffer of whoever drives the connection.
//!
//! ```text
//! head (16): length of the plaintext (u32, little endian), 12 zero bytes    ciphertext    tag (16)
//! ```
//!
//! Each direction has its own key and counts its records; the count is the nonce. So a record that is changed, left
//! out, doubled, moved or turned back does not open, and the first such one ends the session: there is no second try.

mod checksum;

use crate::config::{CHUNK, Key, RECORD_CHUNKS_MAX};
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::fmt;
use std::ops::Range;

/// Bytes in front of the content.
pub const HEAD: usize = 16;
/// Bytes behind it.
pub const TAG: usize = 16;
/// Bytes that a plaintext may have beside its chunks: the head of a data message.
pub const PLAIN_EXTRA: usize = 32;
/// Most bytes of any plaintext: [`RECORD_CHUNKS_MAX`] chunks and [`PLAIN_EXTRA`].
pub const PLAIN_MAX: usize = plain_max(RECORD_CHUNKS_MAX as u8);
/// Records after which a direction's key is replaced.
pub const REKEY_AFTER: u64 = 1 << 20;

/// Most bytes of a plaintext for a node that takes `run` chunks a record.
pub const fn plain_max(run: u8) -> usize {
    run as usize * CHUNK + PLAIN_EXTRA
}

/// How records are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Where both sides have instructions for AES.
    Aes256Gcm,
    /// Everywhere else.
    ChaCha20Poly1305,
    /// A checksum instead of a cipher: the simulator's.
    Null,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suite::Aes256Gcm => "AES-256-GCM",
            Suite::ChaCha20Poly1305 => "ChaCha20-Poly1305",
            Suite::Null => "none",
        })
    }
}

/// Why a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Its plaintext is empty, or longer than the receiver takes; its length.
    Length(u64),
    /// Its head is not what it must be, or not that of so many bytes.
    Head,
    /// It was changed, left out, doubled or moved; or it is not the other side's.
    Tag,
    /// An earlier one was refused: nothing opens after that.
    Poisoned,
    /// The cipher refused what it never refuses: a defect of this program.
    Internal,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Length(length) => write!(f, "a record of {length} bytes"),
            RecordError::Head => f.write_str("the head of a record is wrong"),
            RecordError::Tag => f.write_str("a record does not authenticate"),
            RecordError::Poisoned => f.write_str("a record after one that did not authenticate"),
            RecordError::Internal => f.write_str("a record failed inside this program"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Seals what is sent, in order.
pub struct Sealer {
    way: Way,
}

impl Sealer {
    /// For one direction: `split` is its key from the handshake, `run` the chunks a record that the receiver takes.
    ///
    /// # Errors
    /// [`RecordError::Internal`], which does not happen.
    pub fn new(suite: Suite, split: &Key, run: u8) -> Result<Sealer, RecordError> {
        Ok(Sealer { way: Way::new(suite, split, run)? })
    }

    /// Seals in place: `record` has room for the head, then the plaintext, then room for the tag.
    ///
    /// # Errors
    /// The receiver would refuse a plaintext of this length: nothing was done, and the next record may be sealed.
    pub fn seal(&mut self, record: &mut [u8]) -> Result<(), RecordError> {
        let plain = record.len().saturating_sub(HEAD + TAG);
        if !(1..=self.way.max).contains(&plain) {
            return Err(RecordError::Length(plain as u64));
        }
        let length = u32::try_from(plain).map_err(|_| RecordError::Internal)?;
        let (head, rest) = record.split_at_mut(HEAD);
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].fill(0);
        let (body, tag) = rest.split_at_mut(plain);
        let made = match &self.way.cipher {
            Cipher::Null(seed) => checksum::tag(seed, self.way.counter, head, body),
            Cipher::Real(key) => {
                let aad = Aad::from(&*head);
                let made = key.seal_in_place_separate_tag(nonce(self.way.counter), aad, body);
                made.map_err(|_| RecordError::Internal)?
                    .as_ref()
                    .try_into()
                    .map_err(|_| RecordError::Internal)?
            }
        };
        tag.copy_from_slice(&made);
        self.way.step()
    }

    /// Most bytes of a plaintext that the receiver takes.
    pub const fn plain_max(&self) -> usize {
        self.way.max
    }

    /// Records sealed so far.
    pub const fn records(&self) -> u64 {
        self.way.records
    }

    /// For tests: another period than [`REKEY_AFTER`]. Both ends must agree on it before the first record.
    #[must_use]
    pub fn rekeyed_after(mut self, records: u64) -> Sealer {
        self.way.period = records.max(1);
        self
    }
}

/// Opens what arrives, in order. The first record that does not open ends it for ever.
pub struct Opener {
    way: Way,
    poisoned: bool,
}

impl Opener {
    /// For one direction: `split` is its key from the handshake, `run` the chunks a record that we said we take.
    ///
    /// # Errors
    /// [`RecordError::Internal`], which does not happen.
    pub fn new(suite: Suite, split: &Key, run: u8) -> Result<Opener, RecordError> {
        Ok(Opener { way: Way::new(suite, split, run)?, poisoned: false })
    }

    /// Bytes of the record that `bytes` begins with, head and tag included; `None` while its head is not complete.
    ///
    /// # Errors
    /// No room must be made for a record of that length, and no byte more be waited for.
    pub fn frame(&self, bytes: &[u8]) -> Result<Option<usize>, RecordError> {
        if self.poisoned {
            return Err(RecordError::Poisoned);
        }
        let Some((head, _)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [a, b, c, d, zeros @ ..] = *head;
        let length = u32::from_le_bytes([a, b, c, d]);
        match usize::try_from(length) {
            Ok(plain) if (1..=self.way.max).contains(&plain) && zeros == [0; HEAD - 4] => {
                Ok(Some(HEAD + plain + TAG))
            }
            Ok(plain) if (1..=self.way.max).contains(&plain) => Err(RecordError::Head),
            _ => Err(RecordError::Length(u64::from(length))),
        }
    }

    /// Opens a whole record in place, as long as [`Opener::frame`] said; where in it the plaintext is.
    ///
    /// # Errors
    /// The session is over: nothing in `record` may be used, and no later record opens.
    pub fn open(&mut self, record: &mut [u8]) -> Result<Range<usize>, RecordError> {
        let opened = self.try_open(record);
        self.poisoned |= opened.is_err();
        opened
    }

    fn try_open(&mut self, record: &mut [u8]) -> Result<Range<usize>, RecordError> {
        if self.frame(record)? != Some(record.len()) {
            return Err(RecordError::Head);
        }
        let (head, rest) = record.split_at_mut(HEAD);
        let plain = rest.len() - TAG;
        match &self.way.cipher {
            Cipher::Null(seed) => {
                let (body, tag) = rest.split_at(plain);
                if *tag != checksum::tag(seed, self.way.counter, head, body) {
                    return Err(RecordError::Tag);
                }
            }
            Cipher::Real(key) => {
                let aad = Aad::from(&*head);
                key.open_in_place(nonce(self.way.counter), aad, rest).map_err(|_| RecordError::Tag)?;
            }
        }
        self.way.step()?;
        Ok(HEAD..HEAD + plain)
    }

    /// Most bytes of a plaintext that we take.
    pub const fn plain_max(&self) -> usize {
        self.way.max
    }

    /// Records opened so far.
    pub const fn records(&self) -> u64 {
        self.way.records
    }

    /// For tests: another period than [`REKEY_AFTER`]. Both ends must agree on it before the first record.
    #[must_use]
    pub fn rekeyed_after(mut self, records: u64) -> Opener {
        self.way.period = records.max(1);
        self
    }
}

/// One direction: its key, how many records it has seen, and how long they may be.
struct Way {
    suite: Suite,
    key: Key,
    cipher: Cipher,
    /// Records under the present key: the next nonce.
    counter: u64,
    /// Records in all.
    records: u64,
    period: u64,
    max: usize,
}

enum Cipher {
    Real(Box<LessSafeKey>),
    Null([u64; 4]),
}

impl Way {
    fn new(suite: Suite, split: &Key, run: u8) -> Result<Way, RecordError> {
        let key = Key::new(blake3::derive_key("DistriShare v2 record", split.reveal()));
        let run = run.clamp(1, RECORD_CHUNKS_MAX as u8);
        let cipher = Cipher::new(suite, &key)?;
        Ok(Way { suite, key, cipher, counter: 0, records: 0, period: REKEY_AFTER, max: plain_max(run) })
    }

    /// After each record. A key that is replaced is forgotten: who takes the present one cannot open what it sealed.
    fn step(&mut self) -> Result<(), RecordError> {
        self.records = self.records.saturating_add(1);
        self.counter += 1;
        if self.counter >= self.period {
            self.key = Key::new(blake3::derive_key("DistriShare v2 rekey", self.key.reveal()));
            self.cipher = Cipher::new(self.suite, &self.key)?;
            self.counter = 0;
        }
        Ok(())
    }
}

impl Cipher {
    fn new(suite: Suite, key: &Key) -> Result<Cipher, RecordError> {
        let algorithm = match suite {
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Suite::Null => return Ok(Cipher::Null(checksum::seed(key))),
        };
        let key = UnboundKey::new(algorithm, key.reveal()).map_err(|_| RecordError::Internal)?;
        Ok(Cipher::Real(Box::new(LessSafeKey::new(key))))
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({}, {} records)", self.way.suite, self.way.records)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let poisoned = if self.poisoned { ", poisoned" } else { "" };
        write!(f, "Opener({}, {} records{poisoned})", self.way.suite, self.way.records)
    }
}

#[cfg(test)]
mod tests;
