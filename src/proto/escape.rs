//! Foreign text made fit to be shown. Everything that came from the network or from a file name goes through one of
//! these before a terminal or a log sees it. One function per reader: a terminal and a log refuse different things.

use std::fmt::Write as _;

/// Longest log line, in bytes, after escaping.
pub const LOG_LINE_MAX: usize = 512;

/// For a terminal: what could move the cursor, hide, look like nothing or like several blanks, or change the order of what is
/// read becomes visible; any other Unicode stays as it is.
pub fn for_terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_char(&mut out, c);
    }
    show_last_blank(out)
}

/// [`for_terminal`] for what may not be UTF-8: stray bytes become `\xNN`.
pub fn for_terminal_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_char(&mut out, c);
        }
        for byte in chunk.invalid() {
            push(&mut out, format_args!("\\x{byte:02x}"));
        }
    }
    show_last_blank(out)
}

/// For a line of a log: as [`for_terminal`], and cut to [`LOG_LINE_MAX`] bytes, the last of which are then `…`.
pub fn for_log(text: &str) -> String {
    let mut out = String::new();
    let mut whole = 0;
    for c in text.chars() {
        push_char(&mut out, c);
        if out.len() <= LOG_LINE_MAX - '…'.len_utf8() {
            whole = out.len();
        } else if out.len() > LOG_LINE_MAX {
            out.truncate(whole);
            out.push('…');
            break;
        }
    }
    out
}

/// For a line of JSON, after it was encoded: what [`for_terminal`] would show otherwise becomes a `\u` escape, which means
/// the same to a program. Such characters stand inside strings only, so the escape is always in place.
pub fn for_json(encoded: &str) -> String {
    let mut out = String::with_capacity(encoded.len());
    for c in encoded.chars() {
        if c.is_control() || is_unseen(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                push(&mut out, format_args!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The longest start of `text` of at most `max` bytes that ends between two characters.
pub fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    &text[..end]
}

fn push_char(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        // Several blanks, or one beside ours, could be taken for the gap between two columns.
        ' ' if out.is_empty() || out.ends_with(' ') => out.push_str(BLANK),
        c if c.is_control() || is_unseen(c) => push(out, format_args!("\\u{{{:x}}}", u32::from(c))),
        c => out.push(c),
    }
}

/// A blank that is shown.
const BLANK: &str = "\\u{20}";

fn show_last_blank(mut out: String) -> String {
    if out.ends_with(' ') {
        out.pop();
        out.push_str(BLANK);
    }
    out
}

/// Characters that are not seen themselves, or look like a blank and are none.
fn is_unseen(c: char) -> bool {
    is_ignorable(c)
        || matches!(c,
            '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' // Space_Separator
            | '\u{2028}' | '\u{2029}'        // separators of lines and paragraphs
            | '\u{2800}'                     // Braille without a dot
            | '\u{fff9}'..='\u{fffb}') // interlinear annotation
}

/// Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt of version 16): what has no look of its own.
pub(super) fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}'  // soft hyphen, grapheme joiner, Arabic letter mark
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // fillers of Hangul
        | '\u{17b4}' | '\u{17b5}'         // inherent vowels of Khmer
        | '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}' // variations of glyphs
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' // joiners, marks of direction
        | '\u{2060}'..='\u{206f}' | '\u{feff}' // word joiner, invisible operators, isolates, byte order mark
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' // not assigned; shorthand
        | '\u{1d173}'..='\u{1d17a}'       // beams and slurs of music
        | '\u{e0000}'..='\u{e0fff}') // tags, more variations
}

/// Writing into a `String` cannot fail.
fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn terminals_see_no_control_characters() {
        // hostile: 46, 80
        assert_eq!(
            for_terminal("\x1b]0;pwn\x07\n\r\t\0\x7f\u{9b}2J"),
            r"\u{1b}]0;pwn\u{7}\n\r\t\u{0}\u{7f}\u{9b}2J"
        );
        assert_eq!(
            for_terminal("a\u{202e}gpj.exe\u{2066}\u{200b}\u{feff}\u{2028}"),
            r"a\u{202e}gpj.exe\u{2066}\u{200b}\u{feff}\u{2028}"
        );
        let plain = "año 日本 😀 e\u{301} 'q' \"d\" \\ <b>&";
        assert_eq!(for_terminal(plain), plain);
    }

    #[test]
    fn what_looks_like_nothing_or_like_a_gap_is_shown() {
        let unseen = "\u{34f}\u{115f}\u{1160}\u{17b4}\u{17b5}\u{180b}\u{180f}\u{2800}\u{3164}\u{fe0f}\u{1d173}\u{1d17a}\u{a0}\u{3000}";
        for c in unseen.chars() {
            let shown = format!("a\\u{{{:x}}}b", u32::from(c));
            assert_eq!(for_terminal(&format!("a{c}b")), shown);
            assert!(!for_json(&format!("\"a{c}b\"")).contains(c));
        }
        for (name, shown) in [
            ("a b c", "a b c"),
            ("a  b", r"a \u{20}b"),
            ("a   b", r"a \u{20} b"),
            (" a ", r"\u{20}a\u{20}"),
            ("   ", r"\u{20} \u{20}"),
            ("", ""),
        ] {
            assert_eq!(for_terminal(name), shown, "{name:?}");
        }
    }

    #[test]
    fn stray_bytes_show_as_hex() {
        // hostile: 151
        assert_eq!(for_terminal_bytes(b"a\xff\xc3\xb1\xc3(\x1b\xe2\x82"), "a\\xffñ\\xc3(\\u{1b}\\xe2\\x82");
    }

    #[test]
    fn log_lines_are_cut_between_characters() {
        let fits = "ñ".repeat(256);
        assert_eq!(for_log(&fits), fits);
        let long = for_log(&"ñ".repeat(257));
        assert_eq!(long, format!("{}…", "ñ".repeat(254)));
        let escapes = for_log(&"\x1b".repeat(1000));
        assert!(escapes.len() <= LOG_LINE_MAX && escapes.ends_with("}…"), "no half escape: {escapes}");
        assert_eq!(for_log("a\nb"), "a\\nb");
    }

    #[test]
    fn cutting_never_splits_a_character() {
        assert_eq!(cut("añb", 2), "a");
        assert_eq!(cut("añb", 3), "añ");
        assert_eq!(cut("añb", 9), "añb");
        assert_eq!(cut("ñ", 0), "");
    }

    proptest! {
        #[test]
        fn nothing_harmful_is_left(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for shown in [for_terminal(&text), for_terminal_bytes(&bytes), for_log(&text)] {
                prop_assert!(!shown.chars().any(|c| c.is_control() || is_unseen(c)), "{:?}", shown);
                prop_assert!(!shown.contains("  ") && !shown.starts_with(' '), "{:?}", shown);
            }
            prop_assert!(!for_terminal(&text).ends_with(' '));
            prop_assert!(for_log(&text.repeat(9)).len() <= LOG_LINE_MAX);
            prop_assert_eq!(for_terminal_bytes(text.as_bytes()), for_terminal(&text));
        }
    }
}
