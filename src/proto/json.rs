//! Finds one JSON object in a stream that has no lengths: v1 and the bootstrap end a request with its last brace.
//!
//! The scanner comes before serde because it does what serde does not: it takes bytes in any segments and never looks
//! at one twice, it refuses by depth and size before anything is allocated for the content, and it refuses arrays
//! (serde's derive takes one for a struct).

mod field;

pub(super) use field::Field;

use std::fmt;

/// Brackets that may be open at once.
pub const DEPTH_MAX: u32 = 8;
/// Bytes of a request, on the file port and at the registry alike.
pub const REQUEST_MAX: usize = 4096;

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The object is not whole yet.
    More,
    /// The object is whole: [`ObjectScanner::object`].
    Complete,
    /// No continuation can make an acceptable object of it.
    Bad(JsonError),
}

/// Why the bytes are no acceptable JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// The top level is an array, a number, a word, or no JSON at all.
    NotObject,
    /// More than [`DEPTH_MAX`] brackets are open.
    TooDeep,
    /// The scanner's bound was reached without the end of the object. The text speaks of [`REQUEST_MAX`].
    TooLarge,
    /// A byte order mark, UTF-16, invalid UTF-8 or half a surrogate pair.
    NotUtf8,
    /// A control character that is not escaped.
    Control,
    /// Brackets that do not match, unknown escapes, two values without a comma, and the like.
    Syntax,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonError::NotObject => f.write_str("the top level must be a JSON object"),
            JsonError::TooDeep => write!(f, "nested deeper than {DEPTH_MAX}"),
            JsonError::TooLarge => write!(f, "request larger than {REQUEST_MAX} bytes"),
            JsonError::NotUtf8 => f.write_str("not valid UTF-8 JSON"),
            JsonError::Control => f.write_str("not valid UTF-8 JSON: a control character is not escaped"),
            JsonError::Syntax => f.write_str("not valid UTF-8 JSON: a syntax error"),
        }
    }
}

impl std::error::Error for JsonError {}

/// What the first byte of a connection says about who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstByte {
    /// `{`: a v1 request.
    Json,
    /// White space: the next byte decides.
    White,
    /// The first letter of one of HTTP's methods.
    Http,
    /// 0x80 and above: v2, or a byte order mark.
    V2,
    /// Nothing we speak; a TLS ClientHello begins with 0x16.
    Other,
}

/// Tells the protocols of one port apart by their first byte.
pub fn first_byte(byte: u8) -> FirstByte {
    match byte {
        b'{' => FirstByte::Json,
        b' ' | b'\t' | b'\r' | b'\n' => FirstByte::White,
        b'C' | b'D' | b'G' | b'H' | b'O' | b'P' | b'T' => FirstByte::Http,
        0x80.. => FirstByte::V2,
        _ => FirstByte::Other,
    }
}

/// Where in the JSON text the next byte lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first brace.
    Before,
    /// Between strings.
    Plain,
    /// In a string. `high`: the escape just before was the first half of a surrogate pair.
    Text { high: bool },
    /// After a backslash.
    Escape { high: bool },
    /// In a `\u` escape, with so many digits left.
    Hex { high: bool, left: u8, value: u16 },
    /// After the last brace.
    After,
}

/// An incremental scanner for one top-level object; see the module.
#[derive(Clone, Debug)]
pub struct ObjectScanner {
    max: usize,
    /// White space and object, up to its last brace; never more than `max` bytes.
    bytes: Vec<u8>,
    /// Where in `bytes` the object begins.
    start: usize,
    place: Place,
    depth: u32,
    /// One bit per open bracket, the innermost lowest: 1 for a brace, 0 for a square one.
    kinds: u32,
    failed: Option<JsonError>,
    trailing: bool,
}

impl ObjectScanner {
    /// A scanner that gives up once `max` bytes came without the end of the object.
    pub fn new(max: usize) -> ObjectScanner {
        ObjectScanner {
            max,
            bytes: Vec::new(),
            start: 0,
            place: Place::Before,
            depth: 0,
            kinds: 0,
            failed: None,
            trailing: false,
        }
    }

    /// Takes the next bytes of the stream. Once it has answered [`Scan::Complete`] or [`Scan::Bad`] it stays with that.
    pub fn push(&mut self, bytes: &[u8]) -> Scan {
        if let Some(error) = self.failed {
            return Scan::Bad(error);
        }
        for (i, &byte) in bytes.iter().enumerate() {
            if self.place == Place::After {
                self.trailing |= bytes[i..].iter().any(|&b| first_byte(b) != FirstByte::White);
                break;
            }
            if let Err(error) = self.take(byte) {
                self.failed = Some(error);
                self.bytes = Vec::new();
                return Scan::Bad(error);
            }
        }
        if self.place == Place::After { Scan::Complete } else { Scan::More }
    }

    /// The object from brace to brace; what came of it so far while it is not whole.
    pub fn object(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Whether anything but white space followed the object. Of v1 peers it is ignored; a registry refuses it.
    pub fn trailing(&self) -> bool {
        self.trailing
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no byte came yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.bytes.len() == self.max {
            return Err(JsonError::TooLarge);
        }
        self.bytes.push(byte);
        self.place = match self.place {
            Place::Before => self.before(byte)?,
            Place::Plain => self.plain(byte)?,
            Place::Text { high } => text(byte, high)?,
            Place::Escape { high } => escape(byte, high)?,
            Place::Hex { high, left, value } => hex(byte, high, left, value)?,
            Place::After => Place::After,
        };
        if self.place == Place::After && std::str::from_utf8(&self.bytes).is_err() {
            return Err(JsonError::NotUtf8);
        }
        Ok(())
    }

    fn before(&mut self, byte: u8) -> Result<Place, JsonError> {
        match first_byte(byte) {
            FirstByte::White => Ok(Place::Before),
            FirstByte::Json => {
                self.start = self.bytes.len() - 1;
                self.plain(byte)
            }
            FirstByte::V2 => Err(JsonError::NotUtf8),
            FirstByte::Http | FirstByte::Other => Err(JsonError::NotObject),
        }
    }

    fn plain(&mut self, byte: u8) -> Result<Place, JsonError> {
        match byte {
            b'"' => return Ok(Place::Text { high: false }),
            b'{' | b'[' => {
                if self.depth == DEPTH_MAX {
                    return Err(JsonError::TooDeep);
                }
                self.depth += 1;
                self.kinds = self.kinds << 1 | u32::from(byte == b'{');
            }
            b'}' | b']' => {
                if self.kinds & 1 != u32::from(byte == b'}') {
                    return Err(JsonError::Syntax);
                }
                self.depth -= 1;
                self.kinds >>= 1;
                if self.depth == 0 {
                    return Ok(Place::After);
                }
            }
            b'\t' | b'\r' | b'\n' => {}
            0..0x20 => return Err(JsonError::Control),
            0x80.. => return Err(JsonError::Syntax),
            _ => {}
        }
        Ok(Place::Plain)
    }
}

/// A byte of a string. `high`: a first half waits for its second, which only another escape can bring.
fn text(byte: u8, high: bool) -> Result<Place, JsonError> {
    match byte {
        b'\\' => Ok(Place::Escape { high }),
        _ if high => Err(JsonError::NotUtf8),
        b'"' => Ok(Place::Plain),
        0..0x20 => Err(JsonError::Control),
        _ => Ok(Place::Text { high: false }),
    }
}

fn escape(byte: u8, high: bool) -> Result<Place, JsonError> {
    match byte {
        b'u' => Ok(Place::Hex { high, left: 4, value: 0 }),
        _ if high => Err(JsonError::NotUtf8),
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(Place::Text { high: false }),
        _ => Err(JsonError::Syntax),
    }
}

fn hex(byte: u8, high: bool, left: u8, value: u16) -> Result<Place, JsonError> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => return Err(JsonError::Syntax),
    };
    let value = value << 4 | u16::from(digit);
    if left > 1 {
        return Ok(Place::Hex { high, left: left - 1, value });
    }
    match (high, value) {
        (false, 0xD800..=0xDBFF) => Ok(Place::Text { high: true }),
        (true, 0xDC00..=0xDFFF) => Ok(Place::Text { high: false }),
        (true, _) | (false, 0xDC00..=0xDFFF) => Err(JsonError::NotUtf8),
        (false, _) => Ok(Place::Text { high: false }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(bytes: &[u8]) -> Scan {
        ObjectScanner::new(REQUEST_MAX).push(bytes)
    }

    fn padded(len: usize) -> Vec<u8> {
        let mut bytes = br#"{"a":""#.to_vec();
        bytes.resize(len - 2, b'x');
        bytes.extend_from_slice(br#""}"#);
        bytes
    }

    #[test]
    fn an_object_ends_at_its_own_brace() {
        let bytes = br#"  {"a":"}\"{","b":[{"c":{}}]} "#;
        let mut scanner = ObjectScanner::new(REQUEST_MAX);
        assert_eq!(scanner.push(bytes), Scan::Complete);
        assert_eq!(scanner.object(), bytes.trim_ascii());
        assert!(!scanner.trailing(), "white space after the object is fine"); // hostile: 17
        assert_eq!(scanner.push(b"\r\n"), Scan::Complete);
        assert!(!scanner.trailing());
        assert_eq!(scanner.push(b" {"), Scan::Complete); // hostile: 18
        assert!(scanner.trailing());
        assert_eq!(scanner.object(), bytes.trim_ascii());
        assert_eq!(scanner.len(), bytes.len() - 1, "nothing after the object is kept");
    }

    #[test]
    fn size_is_bounded_to_the_byte() {
        // hostile: 5
        assert_eq!(scan(&padded(4096)), Scan::Complete);
        // hostile: 6
        assert_eq!(scan(&padded(4097)), Scan::Bad(JsonError::TooLarge));
        assert_eq!(JsonError::TooLarge.to_string(), "request larger than 4096 bytes");
        assert_eq!(scan(&[b' '; 4097]), Scan::Bad(JsonError::TooLarge));
        let mut scanner = ObjectScanner::new(16);
        assert_eq!(scanner.push(b"{\"0123456789abcdef"), Scan::Bad(JsonError::TooLarge));
        assert_eq!(scanner.push(b"{}"), Scan::Bad(JsonError::TooLarge), "an error stays");
        assert_eq!(scanner.len(), 0, "a refused request holds nothing");
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        // hostile: 7
        assert_eq!(scan("[".repeat(4000).as_bytes()), Scan::Bad(JsonError::NotObject));
        let nested = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
        assert_eq!(scan(nested(7).as_bytes()), Scan::Complete);
        assert_eq!(scan(nested(8).as_bytes()), Scan::Bad(JsonError::TooDeep));
        assert_eq!(scan(format!("{{\"a\":{}", "[".repeat(4000)).as_bytes()), Scan::Bad(JsonError::TooDeep));
        assert_eq!(JsonError::TooDeep.to_string(), "nested deeper than 8");
    }

    #[test]
    fn only_an_object_at_the_top() {
        // hostile: 8, 57
        for bad in [
            &br#"["register","1.2.3.4",1]"#[..],
            b"null",
            b"1",
            b"\"a\"",
            b"}",
            b"\0",
            b"hello",
            b"\x16\x03\x01",
        ] {
            assert_eq!(scan(bad), Scan::Bad(JsonError::NotObject), "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_utf8_json_is_refused() {
        // hostile: 15
        let bad: [&[u8]; 12] = [
            b"\xEF\xBB\xBF{}",
            b"\xFF\xFE{\0}\0",
            b"{\0\"\0a\0",
            b"{\"a\":\"\xFF\"}",
            b"{\"a\":\"\xC3\"}",
            br#"{"a":"\ud800"}"#,
            br#"{"a":"\ud800x"}"#,
            br#"{"a":"\ud800\n"}"#,
            br#"{"a":"\udc00"}"#,
            br#"{"a":"\ud800\ud800"}"#,
            b"{\"a\":\"\n\"}",
            b"{\"a\":\"\x1b[2J\"}",
        ];
        for bytes in bad {
            let Scan::Bad(error) = scan(bytes) else { panic!("{bytes:?} was taken") };
            assert!(error.to_string().starts_with("not valid UTF-8 JSON"), "{bytes:?}: {error}");
        }
        for bytes in [&br#"{"a":"\x"}"#[..], br#"{"a":"\u00g0"}"#, b"{]", b"{\"a\":[}", b"{\xC3\xB1"] {
            assert_eq!(scan(bytes), Scan::Bad(JsonError::Syntax), "{bytes:?}");
        }
        for bytes in [&br#"{"a":"\ud83d\ude00 \u00F1\/"}"#[..], "{\"ñ\":\"😀\"}".as_bytes()] {
            assert_eq!(scan(bytes), Scan::Complete, "{bytes:?}");
        }
    }

    #[test]
    fn first_bytes_tell_protocols_apart() {
        // hostile: 20, 21
        assert_eq!(first_byte(b"POST / HTTP/1.1"[0]), FirstByte::Http);
        for method in ["GET", "PUT", "PATCH", "HEAD", "DELETE", "OPTIONS", "CONNECT", "TRACE"] {
            assert_eq!(first_byte(method.as_bytes()[0]), FirstByte::Http);
        }
        assert_eq!(first_byte(b"SSH-2.0-x"[0]), FirstByte::Other);
        assert_eq!(first_byte(0x16), FirstByte::Other);
        assert_eq!(first_byte(0xD5), FirstByte::V2);
        assert_eq!(first_byte(b'{'), FirstByte::Json);
        assert_eq!(first_byte(b'\n'), FirstByte::White);
        assert_eq!(first_byte(0x0B), FirstByte::Other);
    }

    #[test]
    fn one_byte_per_segment_is_taken() {
        // hostile: 4, 58
        let bytes = padded(4096);
        let mut scanner = ObjectScanner::new(REQUEST_MAX);
        for byte in &bytes[..4095] {
            assert_eq!(scanner.push(&[*byte]), Scan::More);
        }
        assert_eq!(scanner.push(&bytes[4095..]), Scan::Complete);
        assert_eq!(scanner.object(), bytes);
    }

    proptest! {
        #[test]
        fn segments_make_no_difference(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..64),
                r#" ?\{("[a-z\\"u0-9é]{0,6}"|[\[\]{}:, ]|\\ud[89cd]00){0,12}\}?.{0,3}"#.prop_map(String::into_bytes),
            ],
            cuts in prop::collection::vec(1usize..9, 0..64),
        ) {
            let mut whole = ObjectScanner::new(48);
            let expected = whole.push(&bytes);
            let mut parts = ObjectScanner::new(48);
            let (mut rest, mut last) = (&bytes[..], Scan::More);
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                last = parts.push(part);
                rest = after;
            }
            prop_assert_eq!(last, expected);
            prop_assert_eq!(parts.object(), whole.object());
            prop_assert_eq!(parts.trailing(), whole.trailing());
        }

        #[test]
        fn it_agrees_with_serde_on_objects(
            map in prop::collection::btree_map(".{0,8}", prop_oneof![".{0,8}".prop_map(serde_json::Value::from), any::<f64>().prop_map(serde_json::Value::from)], 0..6)
        ) {
            let text = serde_json::to_string(&map).expect("a map of strings");
            prop_assert_eq!(ObjectScanner::new(REQUEST_MAX).push(text.as_bytes()), Scan::Complete);
        }
    }
}
