//! The first 32 bytes of a session, from who dials to who listens (docs/PROTOCOL.md, section 2).
//!
//! ```text
//! magic (4)  version (1)  random (7)  minutes (4, masked)  tag (16)
//! ```
//!
//! The tag is keyed with the group's key: a stranger is told from a member by two hashes, before anything is computed on
//! a curve, and two preambles of one group have nothing in common that somebody outside could see. Who dials a node that it
//! knows has the tag speak of that node, too: a recording is of no use at any other.

use super::identity::NodeId;
use crate::config::{Crypto, Key};

/// Bytes of a preamble.
pub const LEN: usize = 32;
/// How it begins. No text and no mark of a text's encoding begins with this byte, so v1 and registries refuse it at once.
pub const MAGIC: [u8; 4] = [0xD5, 0x44, 0x53, 0x32];
/// The version of preamble, handshake and records. What the messages in them are is agreed on in the handshake.
pub const VERSION: u8 = 1;
/// Bytes of chance in a preamble.
pub const RANDOM: usize = 7;

/// Where the time stands; what is before it makes its mask.
const TIME: usize = 5 + RANDOM;
/// Bytes that the tag speaks of, beside the node.
const TAGGED: usize = TIME + 4;

/// What an initiator says in its preamble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Minutes since 1970 by its clock; 0 if it has none that can be believed, and of an open node.
    pub minutes: u32,
    /// The node that it expects to answer, if it knows.
    pub to: Option<NodeId>,
}

/// What a responder read in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// As in [`Call::minutes`].
    pub minutes: u32,
    /// It is for this very node; else for whichever answers.
    pub bound: bool,
    /// Bytes of the tag: another preamble has other ones.
    pub mark: u64,
}

/// Why a preamble is refused. Who sent it is told neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another protocol, the tag of another group, or of a call to another node.
    NotOurs,
    /// Our magic and another version.
    Version(u8),
}

/// Makes one. `group`: `None` for an open node.
pub fn encode(random: [u8; RANDOM], call: &Call, crypto: Crypto, group: Option<&Key>) -> [u8; LEN] {
    let key = key(crypto, group);
    let mut bytes = [0; LEN];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = VERSION;
    bytes[5..TIME].copy_from_slice(&random);
    let masked = call.minutes ^ mask(&bytes, &key);
    bytes[TIME..TAGGED].copy_from_slice(&masked.to_le_bytes());
    let tag = tag(&bytes, &key, call.to.as_ref());
    bytes[TAGGED..].copy_from_slice(&tag);
    bytes
}

/// Whether it comes from a member of `group` (`None`: from an open node) that speaks this version, and is for the node `me` or
/// for any.
///
/// # Errors
/// Why not.
pub fn check(bytes: &[u8; LEN], crypto: Crypto, group: Option<&Key>, me: &NodeId) -> Result<Heard, Refused> {
    if bytes[..4] != MAGIC {
        return Err(Refused::NotOurs);
    }
    if bytes[4] != VERSION {
        return Err(Refused::Version(bytes[4]));
    }
    let key = key(crypto, group);
    // Both tags are made and all bytes are compared whatever the first ones are: time tells nothing about the right one.
    let [any, mine] = [None, Some(me)].map(|to| {
        let pairs = tag(bytes, &key, to).into_iter().zip(&bytes[TAGGED..]);
        pairs.fold(0, |all, (ours, theirs)| all | (ours ^ theirs))
    });
    if any != 0 && mine != 0 {
        return Err(Refused::NotOurs);
    }
    let (mut masked, mut mark) = ([0; 4], [0; 8]);
    masked.copy_from_slice(&bytes[TIME..TAGGED]);
    mark.copy_from_slice(&bytes[TAGGED..TAGGED + 8]);
    Ok(Heard {
        minutes: u32::from_le_bytes(masked) ^ mask(bytes, &key),
        bound: mine == 0,
        mark: u64::from_le_bytes(mark),
    })
}

/// The null cipher has a context of its own: a node that seals never takes one that does not for its like.
fn key(crypto: Crypto, group: Option<&Key>) -> [u8; 32] {
    let context = match crypto {
        Crypto::Real { .. } => "DistriShare v2 preamble",
        Crypto::Null => "DistriShare v2 null preamble",
    };
    blake3::derive_key(context, &group_key(group))
}

fn tag(bytes: &[u8; LEN], key: &[u8; 32], to: Option<&NodeId>) -> [u8; LEN - TAGGED] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&bytes[..TAGGED]);
    if let Some(node) = to {
        hasher.update(node.as_bytes());
    }
    let mut tag = [0; LEN - TAGGED];
    tag.copy_from_slice(&hasher.finalize().as_bytes()[..LEN - TAGGED]);
    tag
}

/// What hides the time from strangers: clocks tell computers apart.
fn mask(bytes: &[u8; LEN], key: &[u8; 32]) -> u32 {
    let hash = blake3::keyed_hash(key, &bytes[..TIME]);
    let &[a, b, c, d, ..] = hash.as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// What an open node takes for the key of a group: 32 zero bytes.
pub(super) fn group_key(group: Option<&Key>) -> [u8; 32] {
    group.map_or([0; 32], |key| *key.reveal())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REAL: Crypto = Crypto::Real { aes: true };
    const ME: NodeId = NodeId::from_bytes([5; 32]);
    const OTHER: NodeId = NodeId::from_bytes([6; 32]);
    const ANY: Call = Call { minutes: 29_000_000, to: None };

    fn takes(bytes: &[u8; LEN], crypto: Crypto, group: Option<&Key>) -> Result<(), Refused> {
        check(bytes, crypto, group, &ME)
            .map(|heard| assert_eq!((heard.minutes, heard.bound), (ANY.minutes, false)))
    }

    #[test]
    fn every_other_magic_and_version_is_refused() {
        // hostile: 83
        let good = encode([9; RANDOM], &ANY, REAL, None);
        assert_eq!(takes(&good, REAL, None), Ok(()));
        assert_eq!(takes(&good, Crypto::Real { aes: false }, None), Ok(()));
        for at in 0..4 {
            for byte in (0..=255).filter(|&byte| byte != MAGIC[at]) {
                let mut bad = good;
                bad[at] = byte;
                assert_eq!(takes(&bad, REAL, None), Err(Refused::NotOurs));
            }
        }
        for version in (0..=255).filter(|&version| version != VERSION) {
            let mut bad = good;
            bad[4] = version;
            assert_eq!(takes(&bad, REAL, None), Err(Refused::Version(version)));
        }
    }

    #[test]
    fn a_group_knows_its_members_only() {
        // hostile: 84
        let (ours, other) = (Key::new([1; 32]), Key::new([2; 32]));
        let groups = [None, Some(&ours), Some(&other)];
        for (i, theirs) in groups.into_iter().enumerate() {
            for (j, group) in groups.into_iter().enumerate() {
                let known = takes(&encode([3; RANDOM], &ANY, REAL, theirs), REAL, group);
                assert_eq!(known, if i == j { Ok(()) } else { Err(Refused::NotOurs) });
                let null = takes(&encode([3; RANDOM], &ANY, Crypto::Null, theirs), REAL, group);
                assert_eq!(null, Err(Refused::NotOurs));
            }
        }
    }

    #[test]
    fn one_for_a_node_is_taken_by_that_node_only_and_tells_a_stranger_no_time() {
        // hostile: 85
        let group = Key::new([1; 32]);
        for crypto in [REAL, Crypto::Null] {
            let make = |minutes, to| encode([3; RANDOM], &Call { minutes, to }, crypto, Some(&group));
            let bound = make(7, Some(ME));
            let heard = check(&bound, crypto, Some(&group), &ME).expect("it is for us");
            assert_eq!((heard.minutes, heard.bound), (7, true));
            assert_eq!(check(&bound, crypto, Some(&group), &OTHER), Err(Refused::NotOurs));
            let marks = [make(7, None), make(7, Some(OTHER)), make(8, Some(ME))].map(|bytes| {
                let whose = if bytes == make(7, Some(OTHER)) { OTHER } else { ME };
                check(&bytes, crypto, Some(&group), &whose).expect("one of ours").mark
            });
            assert!(!marks.contains(&heard.mark), "each its own");
            // The same time looks different each time.
            let other = encode([4; RANDOM], &Call { minutes: 7, to: Some(ME) }, crypto, Some(&group));
            assert_ne!(bound[TIME..TAGGED], other[TIME..TAGGED]);
        }
    }

    #[test]
    fn the_first_byte_is_no_text() {
        assert!(MAGIC[0] >= 0x80 && ![0xEF, 0xFE, 0xFF].contains(&MAGIC[0]));
        assert!(String::from_utf8(MAGIC.to_vec()).is_err());
    }

    proptest! {
        #[test]
        fn one_flipped_bit_is_refused(random: [u8; RANDOM], key: [u8; 32], bit in 0..LEN * 8) {
            // hostile: 90
            let group = Key::new(key);
            let mut bytes = encode(random, &ANY, REAL, Some(&group));
            prop_assert_eq!(takes(&bytes, REAL, Some(&group)), Ok(()));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(takes(&bytes, REAL, Some(&group)).is_err());
        }

        #[test]
        fn two_preambles_of_a_group_have_only_their_start_in_common(a: [u8; RANDOM], b: [u8; RANDOM]) {
            prop_assume!(a != b);
            let group = Key::new([4; 32]);
            let (a, b) = (encode(a, &ANY, REAL, Some(&group)), encode(b, &ANY, REAL, Some(&group)));
            prop_assert_ne!(&a[TAGGED..], &b[TAGGED..]);
            prop_assert_eq!(&a[..5], &b[..5]);
        }
    }
}
