//! What a node says of itself in the handshake: one JSON object, readable only by the other side.

use crate::config::RECORD_CHUNKS_MAX;
use serde::Deserialize;
use std::fmt;

/// What a node can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// The lowest and the highest version of the messages that it speaks.
    pub versions: (u8, u8),
    /// It has instructions for AES.
    pub aes: bool,
    /// Chunks that a record to it may carry: 1 to [`RECORD_CHUNKS_MAX`].
    pub run: u8,
    /// The port it listens on, 0 if it does not.
    pub port: u16,
}

/// Two nodes without a version in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Our lowest and highest.
    pub ours: (u8, u8),
    /// Theirs.
    pub theirs: (u8, u8),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((low, high), (their_low, their_high)) = (self.ours, self.theirs);
        write!(
            f,
            "this node speaks versions {low} to {high}, the other {their_low} to {their_high}: none in common"
        )
    }
}

impl std::error::Error for Mismatch {}

#[derive(Deserialize)]
struct Wire {
    v: (u8, u8),
    aes: bool,
    run: u8,
    port: u16,
}

impl Abilities {
    /// The highest version that both speak.
    ///
    /// # Errors
    /// There is none; names both sides' versions.
    pub fn common_version(&self, theirs: &Abilities) -> Result<u8, Mismatch> {
        let high = self.versions.1.min(theirs.versions.1);
        if high >= self.versions.0.max(theirs.versions.0) {
            Ok(high)
        } else {
            Err(Mismatch { ours: self.versions, theirs: theirs.versions })
        }
    }

    /// At most 56 bytes.
    pub(super) fn encode(&self) -> String {
        let ((low, high), Abilities { aes, run, port, .. }) = (self.versions, self);
        format!(r#"{{"v":[{low},{high}],"aes":{aes},"run":{run},"port":{port}}}"#)
    }

    /// Reads what [`Abilities::encode`] writes, and what later versions add to it.
    ///
    /// # Errors
    /// What is wrong; never anything of what came.
    pub(super) fn decode(payload: &[u8]) -> Result<Abilities, &'static str> {
        if payload.first() != Some(&b'{') {
            return Err("not a JSON object");
        }
        let wire: Wire =
            serde_json::from_slice(payload).map_err(|_| "not the JSON object that they must be")?;
        if wire.v.0 == 0 || wire.v.0 > wire.v.1 {
            return Err("its versions are not a range");
        }
        if !(1..=RECORD_CHUNKS_MAX).contains(&usize::from(wire.run)) {
            return Err("its run of chunks is not 1 to 16");
        }
        Ok(Abilities { versions: wire.v, aes: wire.aes, run: wire.run, port: wire.port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Abilities = Abilities { versions: (1, 1), aes: true, run: 16, port: 9000 };

    #[test]
    fn what_was_written_is_read_and_later_keys_are_ignored() {
        let longest = Abilities { versions: (254, 255), aes: false, run: 16, port: 65535 };
        assert!(longest.encode().len() <= 56);
        for abilities in [OURS, longest, Abilities { port: 0, run: 1, ..OURS }] {
            assert_eq!(Abilities::decode(abilities.encode().as_bytes()), Ok(abilities));
        }
        let later = br#"{"name":{"of":[1,null]},"port":9000,"v":[1,1],"run":16,"aes":true}"#;
        assert_eq!(Abilities::decode(later), Ok(OURS));
    }

    #[test]
    fn everything_else_is_refused_with_words() {
        // hostile: 96
        let deep = format!(r#"{{"v":[1,1],"aes":true,"run":1,"port":1,"x":{}"#, "[".repeat(150));
        let refused = [
            "",
            "[[1,1],true,16,9000]",
            "null",
            " {}",
            "{}",
            r#"{"v":[1,1],"aes":true,"run":16}"#,
            r#"{"v":[1,1],"aes":true,"run":16,"port":9000}x"#,
            r#"{"v":[1,1],"aes":true,"run":16,"port":9000,"port":9000}"#,
            r#"{"v":[0,1],"aes":true,"run":16,"port":9000}"#,
            r#"{"v":[2,1],"aes":true,"run":16,"port":9000}"#,
            r#"{"v":[1,256],"aes":true,"run":16,"port":9000}"#,
            r#"{"v":[1],"aes":true,"run":16,"port":9000}"#,
            r#"{"v":[1,1,1],"aes":true,"run":16,"port":9000}"#,
            r#"{"v":[1,1],"aes":1,"run":16,"port":9000}"#,
            r#"{"v":[1,1],"aes":true,"run":0,"port":9000}"#,
            r#"{"v":[1,1],"aes":true,"run":17,"port":9000}"#,
            r#"{"v":[1,1],"aes":true,"run":1.0,"port":9000}"#,
            r#"{"v":[1,1],"aes":true,"run":16,"port":65536}"#,
            r#"{"v":[1,1],"aes":true,"run":16,"port":-1}"#,
            &deep,
        ];
        for text in refused {
            let why = Abilities::decode(text.as_bytes()).expect_err(text);
            assert!(!why.is_empty());
        }
        assert!(Abilities::decode(b"{\"v\":[1,1],\"aes\":true,\"run\":1,\"port\":1,\"\xFF\":1}").is_err());
    }

    #[test]
    fn the_highest_common_version_is_taken() {
        let with = |versions| Abilities { versions, ..OURS };
        let common = |ours, theirs| with(ours).common_version(&with(theirs));
        assert_eq!(common((1, 1), (1, 1)), Ok(1));
        assert_eq!(common((1, 4), (2, 9)), Ok(4));
        assert_eq!(common((3, 9), (1, 3)), Ok(3));
        let none = common((1, 2), (3, 5)).expect_err("no overlap");
        assert_eq!(none, Mismatch { ours: (1, 2), theirs: (3, 5) });
        assert_eq!(none.to_string(), "this node speaks versions 1 to 2, the other 3 to 5: none in common");
        assert!(common((3, 5), (1, 2)).is_err());
    }
}
