//! The name of a content.

use std::fmt;

/// The BLAKE3 hash of a whole file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Root([u8; 32]);

impl Root {
    /// The root with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Root {
        Root(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads exactly 64 hexadecimal digits, upper or lower case.
    pub fn parse(text: &str) -> Option<Root> {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Root(bytes))
    }
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

impl From<blake3::Hash> for Root {
    fn from(hash: blake3::Hash) -> Root {
        Root(*hash.as_bytes())
    }
}

/// 64 lower-case digits.
impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The first 8 digits: enough to tell roots apart in a log.
impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Root(")?;
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_read_as_it_is_written() {
        let root = Root::from(blake3::hash(b""));
        let text = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(root.to_string(), text);
        assert_eq!(Root::parse(text), Some(root));
        assert_eq!(Root::parse(&text.to_uppercase()), Some(root));
        assert_eq!(Root::new(*root.as_bytes()), root);
        assert_eq!(format!("{root:?}"), "Root(af1349b9…)");
    }

    #[test]
    fn what_is_not_64_digits_is_no_root() {
        let text = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Root::parse(""), None);
        assert_eq!(Root::parse(&text[1..]), None);
        assert_eq!(Root::parse(&format!("{text}0")), None);
        for wrong in ["g", "+", " ", "é", "\0", "/", ":", "@", "`", "G"] {
            assert_eq!(Root::parse(&format!("{}{wrong}", &text[wrong.len()..])), None, "{wrong:?}");
        }
    }
}
