//! A group: its key, the keys derived from it, the line that carries it to another box.
//!
//! The line is `distrishare-group-1:` and 56 characters in groups of four. They are Crockford's base32, five bits each
//! (no I, L, O and U, so that nothing is misread): the key's 256 bits and a CRC of 24. Every change within four
//! neighbouring characters is found for certain, any other but for one in 16 million.

use crate::config::Key;
use std::fmt;

/// How a line begins, with the version of what follows.
const PREFIX: &str = "distrishare-group-1:";
/// The same as it is compared: without dashes, up to the version.
const KIND: &str = "distrisharegroup";
const VERSION: u32 = 1;
/// No version has more digits.
const VERSION_DIGITS: usize = 4;
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters behind the colon: 56 of 5 bits are 35 bytes, the key and its checksum.
const DIGITS_LEN: usize = 56;
const BYTES: usize = 35;
const KEY_BYTES: usize = 32;

/// The line that carries a group's key to another box, and that its file consists of.
#[derive(Clone, Copy, Debug)]
pub struct GroupLine;

impl GroupLine {
    /// The line, without an end of line. It is the key: whoever reads it is a member.
    pub fn encode(key: &Key) -> String {
        let mut bytes = [0; BYTES];
        let (front, check) = bytes.split_at_mut(KEY_BYTES);
        front.copy_from_slice(key.reveal());
        check.copy_from_slice(&crc24(key.reveal()).to_be_bytes()[1..]);
        let mut line = PREFIX.to_owned();
        for n in 0..DIGITS_LEN {
            if n > 0 && n % 4 == 0 {
                line.push('-');
            }
            line.push(char::from(DIGITS[usize::from(five_bits(&bytes, n))]));
        }
        line
    }

    /// Reads a line as it was pasted or typed: in upper or lower case, with blanks, dashes and ends of lines anywhere, O for
    /// 0 and I or L for 1.
    ///
    /// # Errors
    /// What is wrong with it. Never says what the line holds.
    pub fn decode(text: &str) -> Result<Key, GroupLineError> {
        let (front, digits) = text.split_once(':').unwrap_or((text, ""));
        let front: String =
            front.chars().filter(|c| !is_blank(*c)).take(KIND.len() + VERSION_DIGITS + 1).collect();
        check_front(&front.to_ascii_lowercase(), text.contains(':'))?;
        let (mut bytes, mut count, mut strange) = ([0; BYTES], 0, false);
        for c in digits.chars().filter(|c| !is_blank(*c)) {
            match value(c) {
                Some(value) if count < DIGITS_LEN => put_five_bits(&mut bytes, count, value),
                Some(_) => {}
                None => strange = true,
            }
            count += 1;
        }
        let (key, check) = bytes.split_at(KEY_BYTES);
        let mut secret = [0; KEY_BYTES];
        secret.copy_from_slice(key);
        match count {
            0..DIGITS_LEN => Err(GroupLineError::Short { missing: DIGITS_LEN - count }),
            DIGITS_LEN if !strange && check == &crc24(&secret).to_be_bytes()[1..] => Ok(Key::new(secret)),
            DIGITS_LEN => Err(GroupLineError::Typo),
            _ => Err(GroupLineError::Long),
        }
    }
}

/// Why a text is not the line of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupLineError {
    /// Nothing but blanks.
    Empty,
    /// It begins otherwise.
    Foreign,
    /// Of a version that we do not know.
    Newer(u32),
    /// So many characters are missing at the end.
    Short {
        /// Of the 56 behind the colon.
        missing: usize,
    },
    /// More characters than a line has.
    Long,
    /// The checksum does not fit, or a character never occurs in a line.
    Typo,
}

impl fmt::Display for GroupLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupLineError::Empty => f.write_str("there is no line"),
            GroupLineError::Foreign => write!(f, "this is no group's line: one begins with {PREFIX}"),
            GroupLineError::Newer(version) => {
                write!(f, "the line has the form {version}, which only a newer DistriShare can read")
            }
            GroupLineError::Short { missing: 1 } => {
                f.write_str("the line is too short: 1 character is missing")
            }
            GroupLineError::Short { missing } => {
                write!(f, "the line is too short: {missing} characters are missing")
            }
            GroupLineError::Long => f.write_str("the line is too long"),
            GroupLineError::Typo => f.write_str("the line has a typing error"),
        }
    }
}

impl std::error::Error for GroupLineError {}

/// A short name of the group for people who compare boxes: 8 hex digits that tell nothing about the key.
pub fn group_name(key: &Key) -> String {
    let name = blake3::derive_key("DistriShare group name", key.reveal());
    name[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What stands before the colon, or all of it where there is none.
fn check_front(front: &str, colon: bool) -> Result<(), GroupLineError> {
    let cut = GroupLineError::Short { missing: DIGITS_LEN };
    match front.strip_prefix(KIND) {
        None if front.is_empty() && !colon => Err(GroupLineError::Empty),
        None if KIND.starts_with(front) && !colon => Err(cut),
        None => Err(GroupLineError::Foreign),
        Some("") if !colon => Err(cut),
        Some(version) => {
            let shaped = version.bytes().all(|b| b.is_ascii_digit()) && version.len() <= VERSION_DIGITS;
            match version.parse::<u32>() {
                Ok(VERSION) if shaped && colon => Ok(()),
                Ok(VERSION) if shaped => Err(cut),
                Ok(newer) if shaped && newer > VERSION => Err(GroupLineError::Newer(newer)),
                _ => Err(GroupLineError::Foreign),
            }
        }
    }
}

/// What copying, wrapping and word processors put into a line: blanks of all kinds, dashes of all kinds, and marks that
/// nobody sees.
fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '-' | '\u{ad}' | '\u{200b}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{feff}')
}

fn value(c: char) -> Option<u8> {
    let c = match c.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        c => c,
    };
    let at = DIGITS.iter().position(|digit| char::from(*digit) == c)?;
    u8::try_from(at).ok()
}

/// The `n`th five bits, the highest first. They lie in one byte or two.
fn five_bits(bytes: &[u8; BYTES], n: usize) -> u8 {
    let (at, shift) = (n * 5 / 8, n * 5 % 8);
    let pair = u16::from_be_bytes([bytes[at], bytes.get(at + 1).copied().unwrap_or(0)]);
    ((pair >> (11 - shift)) & 31) as u8
}

fn put_five_bits(bytes: &mut [u8; BYTES], n: usize, value: u8) {
    let (at, shift) = (n * 5 / 8, n * 5 % 8);
    let [high, low] = (u16::from(value) << (11 - shift)).to_be_bytes();
    bytes[at] |= high;
    if let Some(next) = bytes.get_mut(at + 1) {
        *next |= low;
    }
}

/// The CRC of OpenPGP (RFC 9580, 6.1): finds every error of up to 24 neighbouring bits.
fn crc24(bytes: &[u8]) -> u32 {
    let mut crc = 0x00b7_04ce;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0186_4cfb;
            }
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> Key {
        let mut bytes = [0; KEY_BYTES];
        (0..).zip(&mut bytes).for_each(|(n, byte)| *byte = n);
        Key::new(bytes)
    }

    const LINE: &str =
        "distrishare-group-1:000g-40r4-0m30-e209-185g-r38e-1w81-24gk-2gah-c5rr-34d1-p70x-3rft-5wf7";

    #[test]
    fn the_form_is_fixed() {
        assert_eq!(crc24(b"123456789"), 0x21_cf02);
        let line = GroupLine::encode(&key());
        assert_eq!(line, LINE);
        assert_eq!(line.len(), PREFIX.len() + 56 + 13);
        assert_eq!(GroupLine::decode(LINE), Ok(key()));
        assert_eq!(group_name(&key()), "e56468b9");
    }

    #[test]
    fn however_it_is_pasted_it_is_read() {
        let one_word = LINE.replace('-', "");
        let wrapped = LINE.replace("-185g", "-\r\n  185g");
        let quoted = LINE.replace('-', "\u{2013}").replace(':', ": \u{feff}");
        let read_aloud = LINE.to_uppercase().replace('0', "O").replace("-1", "-L").replace('1', "I");
        for text in [format!("\r\n\n {LINE} \r\n"), one_word, wrapped, quoted, LINE.to_uppercase()] {
            assert_eq!(GroupLine::decode(&text), Ok(key()), "{text}");
        }
        // The version stays a number.
        let read_aloud = read_aloud.split_once(':').map(|(_, rest)| format!("{PREFIX}{rest}"));
        assert_eq!(GroupLine::decode(&read_aloud.unwrap()), Ok(key()));
    }

    #[test]
    fn what_is_wrong_has_a_name_and_never_the_key() {
        use GroupLineError::*;
        let cases = [
            ("", Empty),
            (" \r\n - ", Empty),
            ("distri", Short { missing: 56 }),
            ("distrishare-group-", Short { missing: 56 }),
            ("distrishare-group-1", Short { missing: 56 }),
            (PREFIX, Short { missing: 56 }),
            (&LINE[..LINE.len() - 1], Short { missing: 1 }),
            (&LINE[..40], Short { missing: 40 }),
            (&LINE[PREFIX.len()..], Foreign),
            (&LINE[1..], Foreign),
            (":", Foreign),
            ("distrishare-group-:0", Foreign),
            ("distrishare-group-0:0", Foreign),
            ("distrishare-group-x1:0", Foreign),
            ("distrishare-group-12345:0", Foreign),
            ("distrishare-group-+2:0", Foreign),
            ("hunter2", Foreign),
            ("distrishare-group-2:whatever", Newer(2)),
            ("DistriShare Group 17: whatever", Newer(17)),
            (&format!("{LINE}0"), Long),
            (&format!("{LINE}\n{LINE}"), Long),
            (&LINE.replace("000g", "000g\u{301}"), Long),
            (&LINE.replace("000g", "u004"), Typo),
            (&LINE.replace("000g", "\u{1b}004"), Typo),
        ];
        for (text, error) in cases {
            assert_eq!(GroupLine::decode(text), Err(error), "{text}");
            assert!(error.to_string().len() <= 200, "{error}");
        }
        assert_eq!(Typo.to_string(), "the line has a typing error");
        let newest = "9".repeat(100_000);
        assert_eq!(GroupLine::decode(&format!("distrishare-group-{newest}:0")), Err(Foreign));
        assert_eq!(GroupLine::decode(&"0".repeat(100_000)), Err(Foreign));
    }

    proptest! {
        #[test]
        fn a_key_survives_its_line(bytes in any::<[u8; 32]>(), blanks in prop::collection::vec(0..=89_usize, 0..9)) {
            let key = Key::new(bytes);
            let mut line = GroupLine::encode(&key);
            for at in blanks {
                line.insert(at, if at % 2 == 0 { ' ' } else { '-' });
            }
            prop_assert_eq!(GroupLine::decode(&line), Ok(key.clone()));
            prop_assert_eq!(group_name(&key).len(), 8);
        }

        #[test]
        fn every_slip_of_one_or_two_neighbours_is_found(bytes in any::<[u8; 32]>()) {
            let line = GroupLine::encode(&Key::new(bytes));
            let digits: Vec<char> = line[PREFIX.len()..].chars().filter(|c| *c != '-').collect();
            let read = |digits: &[char]| GroupLine::decode(&(PREFIX.to_owned() + &String::from_iter(digits)));
            let mut slip = digits.clone();
            for at in 0..digits.len() {
                for other in DIGITS.iter().map(|digit| char::from(*digit)).filter(|c| *c != digits[at]) {
                    slip[at] = other;
                    prop_assert_eq!(read(&slip), Err(GroupLineError::Typo), "{} for {}", other, at);
                }
                slip[at] = digits[at];
                if at > 0 && digits[at - 1] != digits[at] {
                    slip.swap(at - 1, at);
                    prop_assert_eq!(read(&slip), Err(GroupLineError::Typo), "{} swapped", at);
                    slip.swap(at - 1, at);
                }
                slip.remove(at);
                prop_assert_eq!(read(&slip), Err(GroupLineError::Short { missing: 1 }));
                slip.insert(at, digits[at]);
                slip.insert(at, '0');
                prop_assert_eq!(read(&slip), Err(GroupLineError::Long));
                slip.remove(at);
            }
        }

        #[test]
        fn a_slip_anywhere_in_the_line_gives_no_other_key(
            bytes in any::<[u8; 32]>(), at in 0..89_usize, other in any::<char>(),
        ) {
            let key = Key::new(bytes);
            let mut line: Vec<char> = GroupLine::encode(&key).chars().collect();
            line[at] = other;
            let read = GroupLine::decode(&String::from_iter(&line));
            prop_assert!(read.is_err() || read == Ok(key), "{:?}", line);
        }

        #[test]
        fn any_text_is_judged(text in "(distrishare-group-[0-9]{0,5}:?)?\\PC{0,80}") {
            if let Ok(key) = GroupLine::decode(&text) {
                prop_assert_eq!(GroupLine::decode(&GroupLine::encode(&key)), Ok(key));
            }
        }
    }
}
