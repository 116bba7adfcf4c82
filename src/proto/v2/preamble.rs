//! The first 32 bytes of a session, from who dials to who listens (docs/PROTOCOL.md, section 2).
//!
//! ```text
//! magic (4)  version (1)  random (11)  tag (16)
//! ```
//!
//! The tag is keyed with the group's key: a stranger is told from a member by one hash, before anything is computed on
//! a curve, and two preambles of one group have nothing in common that somebody outside could see.

use crate::config::{Crypto, Key};

/// Bytes of a preamble.
pub const LEN: usize = 32;
/// How it begins. No text and no mark of a text's encoding begins with this byte, so v1 and registries refuse it at once.
pub const MAGIC: [u8; 4] = [0xD5, 0x44, 0x53, 0x32];
/// The version of preamble, handshake and records. What the messages in them are is agreed on in the handshake.
pub const VERSION: u8 = 1;
/// Bytes of chance in a preamble.
pub const RANDOM: usize = 11;

/// Bytes that the tag speaks of.
const TAGGED: usize = LEN - 16;

/// Why a preamble is refused. Who sent it is told neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another protocol, or the tag of another group.
    NotOurs,
    /// Our magic and another version.
    Version(u8),
}

/// Makes one. `group`: `None` for an open node.
pub fn encode(random: [u8; RANDOM], crypto: Crypto, group: Option<&Key>) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = VERSION;
    bytes[5..TAGGED].copy_from_slice(&random);
    let tag = tag(&bytes, crypto, group);
    bytes[TAGGED..].copy_from_slice(&tag);
    bytes
}

/// Whether it comes from a member of `group` (`None`: from an open node) that speaks this version.
///
/// # Errors
/// Why not.
pub fn check(bytes: &[u8; LEN], crypto: Crypto, group: Option<&Key>) -> Result<(), Refused> {
    if bytes[..4] != MAGIC {
        return Err(Refused::NotOurs);
    }
    if bytes[4] != VERSION {
        return Err(Refused::Version(bytes[4]));
    }
    // All bytes are compared whatever the first ones are: time tells nothing about the right tag.
    let difference = tag(bytes, crypto, group)
        .iter()
        .zip(&bytes[TAGGED..])
        .fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
    if difference == 0 { Ok(()) } else { Err(Refused::NotOurs) }
}

/// The null cipher has a context of its own: a node that seals never takes one that does not for its like.
fn tag(bytes: &[u8; LEN], crypto: Crypto, group: Option<&Key>) -> [u8; LEN - TAGGED] {
    let context = match crypto {
        Crypto::Real { .. } => "DistriShare v2 preamble",
        Crypto::Null => "DistriShare v2 null preamble",
    };
    let key = blake3::derive_key(context, &group_key(group));
    let hash = blake3::keyed_hash(&key, &bytes[..TAGGED]);
    let mut tag = [0; LEN - TAGGED];
    tag.copy_from_slice(&hash.as_bytes()[..LEN - TAGGED]);
    tag
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

    #[test]
    fn every_other_magic_and_version_is_refused() {
        // hostile: 83
        let good = encode([9; RANDOM], REAL, None);
        assert_eq!(check(&good, REAL, None), Ok(()));
        assert_eq!(check(&good, Crypto::Real { aes: false }, None), Ok(()));
        for at in 0..4 {
            for byte in (0..=255).filter(|&byte| byte != MAGIC[at]) {
                let mut bad = good;
                bad[at] = byte;
                assert_eq!(check(&bad, REAL, None), Err(Refused::NotOurs));
            }
        }
        for version in (0..=255).filter(|&version| version != VERSION) {
            let mut bad = good;
            bad[4] = version;
            assert_eq!(check(&bad, REAL, None), Err(Refused::Version(version)));
        }
    }

    #[test]
    fn a_group_knows_its_members_only() {
        // hostile: 84
        let (ours, other) = (Key::new([1; 32]), Key::new([2; 32]));
        let groups = [None, Some(&ours), Some(&other)];
        for (i, theirs) in groups.into_iter().enumerate() {
            for (j, group) in groups.into_iter().enumerate() {
                let known = check(&encode([3; RANDOM], REAL, theirs), REAL, group);
                assert_eq!(known, if i == j { Ok(()) } else { Err(Refused::NotOurs) });
                let null = check(&encode([3; RANDOM], Crypto::Null, theirs), REAL, group);
                assert_eq!(null, Err(Refused::NotOurs));
            }
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
            let mut bytes = encode(random, REAL, Some(&group));
            prop_assert_eq!(check(&bytes, REAL, Some(&group)), Ok(()));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(check(&bytes, REAL, Some(&group)).is_err());
        }

        #[test]
        fn two_preambles_of_a_group_have_only_their_start_in_common(a: [u8; RANDOM], b: [u8; RANDOM]) {
            prop_assume!(a != b);
            let group = Key::new([4; 32]);
            let (a, b) = (encode(a, REAL, Some(&group)), encode(b, REAL, Some(&group)));
            prop_assert_ne!(&a[TAGGED..], &b[TAGGED..]);
            prop_assert_eq!(&a[..5], &b[..5]);
        }
    }
}
