//! A node's static key and what others call it. The secret is an X25519 key; the id is its public key, with the real
//! cipher and with the null one alike, so that a node keeps its name whichever of the two it runs with.

use super::handshake::public_key;
use crate::config::Key;
use crate::proto::entropy::Entropy;
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::{self, Write};

const VERSION: u64 = 1;
/// Bytes of a state file that are looked at: its line is 160 bytes; more keys may come.
const FILE_MAX: usize = 4096;
/// Hex digits of the short form.
const SHORT: usize = 16;
/// Fewest hex digits that a person may name a node by.
const PREFIX_MIN: usize = 4;

/// A node: its static public key, 32 bytes. Shows its first 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

impl NodeId {
    /// From the bytes of a public key.
    pub const fn from_bytes(bytes: [u8; 32]) -> NodeId {
        NodeId(bytes)
    }

    /// The bytes of the public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// All 64 hex digits, in lower case.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Reads what [`NodeId::to_hex`] writes, in either case; `None` for everything else.
    pub fn from_hex(text: &str) -> Option<NodeId> {
        unhex(text).map(NodeId)
    }

    /// Whether `prefix` begins this id: 4 to 64 hex digits in either case, as a person types them.
    pub fn matches_prefix(&self, prefix: &str) -> bool {
        (PREFIX_MIN..=64).contains(&prefix.len())
            && prefix
                .bytes()
                .zip(hex(&self.0).bytes())
                .all(|(typed, ours)| typed.to_ascii_lowercase() == ours)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex(&self.0[..SHORT / 2]))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A node's own key pair.
#[derive(Clone)]
pub struct Identity {
    secret: Key,
    id: NodeId,
}

/// Why the file of an identity cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// It has no bytes.
    Empty,
    /// It is longer than such a file can be.
    TooLong,
    /// It is not the JSON object that this program writes.
    Content,
    /// A newer version wrote it.
    Newer(u64),
    /// Its key is not 64 hex digits, or is all zeros.
    Key,
    /// Its key is not that of the id beside it.
    Id,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Empty => f.write_str("it is empty"),
            IdentityError::TooLong => f.write_str("it is longer than a node's key can be"),
            IdentityError::Content => f.write_str("its content is not understood"),
            IdentityError::Newer(version) => write!(f, "a newer version ({version}) wrote it"),
            IdentityError::Key => f.write_str("its key is not 64 hex digits, or is all zeros"),
            IdentityError::Id => f.write_str("its key and its id do not belong together"),
        }
    }
}

impl std::error::Error for IdentityError {}

#[derive(Deserialize)]
struct File<'a> {
    version: u64,
    #[serde(borrow, default)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

impl Identity {
    /// A new one.
    pub fn generate(entropy: &mut Entropy) -> Identity {
        Identity::from_secret(entropy.key())
    }

    /// The one with this secret.
    pub fn from_secret(secret: Key) -> Identity {
        let id = NodeId(public_key(&secret));
        Identity { secret, id }
    }

    /// What others call this node.
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// The secret key.
    pub const fn secret(&self) -> &Key {
        &self.secret
    }

    /// The text of its state file: one JSON object on one line, `{"version":1,"key":"<64 hex digits>","id":"<64>"}`. The
    /// id says nothing new; with a digit of the key gone wrong the node would come back as somebody else.
    pub fn encode(&self) -> Vec<u8> {
        let (key, id) = (hex(self.secret.reveal()), self.id.to_hex());
        format!("{{\"version\":{VERSION},\"key\":\"{key}\",\"id\":\"{id}\"}}\n").into_bytes()
    }

    /// Reads its state file. Keys that it does not know are ignored.
    ///
    /// # Errors
    /// What is wrong with the file; never anything of its content.
    pub fn decode(file: &[u8]) -> Result<Identity, IdentityError> {
        match file {
            [] => return Err(IdentityError::Empty),
            _ if file.len() > FILE_MAX => return Err(IdentityError::TooLong),
            [b'{', ..] => {}
            // A list would pass for an object otherwise.
            _ => return Err(IdentityError::Content),
        }
        let file: File<'_> = serde_json::from_slice(file).map_err(|_| IdentityError::Content)?;
        if file.version != VERSION {
            return Err(IdentityError::Newer(file.version));
        }
        let secret = unhex(&file.key).filter(|key| *key != [0; 32]).ok_or(IdentityError::Key)?;
        let identity = Identity::from_secret(Key::new(secret));
        let same = file.id.is_none_or(|id| NodeId::from_hex(&id) == Some(identity.id));
        if same { Ok(identity) } else { Err(IdentityError::Id) }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Two lower-case digits a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |n: usize| char::from(pair[n]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(seed: u8) -> Identity {
        Identity::generate(&mut Entropy::new(&Key::new([seed; 32])))
    }

    #[test]
    fn the_id_is_the_x25519_public_key() {
        // RFC 7748, section 6.1: Bob's.
        let secret = unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb").map(Key::new);
        let id = secret.map(|secret| Identity::from_secret(secret).id().to_hex());
        assert_eq!(id.as_deref(), Some("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let one = identity(1);
        let file = one.encode();
        assert_eq!(file.len(), 159);
        let read = Identity::decode(&file).expect("our own file");
        assert_eq!((read.id(), read.secret()), (one.id(), one.secret()));
        let more = format!("{{\"version\":1,\"since\":[7],\"key\":\"{}\"}}", hex(&[0xAB; 32]).to_uppercase());
        assert_eq!(Identity::decode(more.as_bytes()).map(|i| *i.secret().reveal()), Ok([0xAB; 32]));

        let key = hex(&[5; 32]);
        let refused = [
            (String::new(), IdentityError::Empty),
            ("x".repeat(FILE_MAX + 1), IdentityError::TooLong),
            ("null".into(), IdentityError::Content),
            (format!("{{\"version\":1,\"key\":\"{key}\",\"id\":\"{key}\"}}"), IdentityError::Id),
            (format!("[1,\"{key}\"]"), IdentityError::Content),
            (format!("{{\"key\":\"{key}\"}}"), IdentityError::Content),
            (format!("{{\"version\":1,\"key\":\"{key}\"}}x"), IdentityError::Content),
            (format!("{{\"version\":1,\"key\":\"{key}\",\"key\":\"{key}\"}}"), IdentityError::Content),
            (format!("{{\"version\":2,\"keys\":\"{key}\"}}"), IdentityError::Newer(2)),
            ("{\"version\":1}".into(), IdentityError::Key),
            (format!("{{\"version\":1,\"key\":\"{}\"}}", &key[1..]), IdentityError::Key),
            (format!("{{\"version\":1,\"key\":\"{key}0\"}}"), IdentityError::Key),
            (format!("{{\"version\":1,\"key\":\"+{}\"}}", &key[1..]), IdentityError::Key),
            (format!("{{\"version\":1,\"key\":\"{}\"}}", "0".repeat(64)), IdentityError::Key),
        ];
        for (text, why) in refused {
            assert_eq!(Identity::decode(text.as_bytes()).map(|i| i.id()), Err(why), "{text}");
            let said = why.to_string();
            assert!(!said.is_empty() && said.len() <= 200 && !said.contains(&key));
        }
        for cut in 0..file.len() - 1 {
            assert!(Identity::decode(&file[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn ids_are_named_by_hex_digits() {
        let id = identity(2).id();
        let text = id.to_hex();
        assert_eq!(NodeId::from_hex(&text), Some(id));
        assert_eq!(NodeId::from_hex(&text.to_uppercase()), Some(id));
        assert_eq!(NodeId::from_bytes(*id.as_bytes()), id);
        assert_eq!((id.to_string(), format!("{id:?}")), (text[..16].to_owned(), text[..16].to_owned()));
        for good in [&text[..4], &text[..16], &text[..], &text[..9].to_uppercase()] {
            assert!(id.matches_prefix(good), "{good}");
        }
        let wrong = if text.starts_with('0') { "1" } else { "0" };
        for bad in ["", &text[..3], &text[1..], &format!("{text}0"), &format!("{wrong}{}", &text[1..8]), "é…"]
        {
            assert!(!id.matches_prefix(bad), "{bad}");
            assert_eq!(NodeId::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_identity_shows_no_secret() {
        let one = identity(3);
        assert_eq!(format!("{one:?}"), format!("Identity {{ id: {}, .. }}", one.id()));
    }
}
