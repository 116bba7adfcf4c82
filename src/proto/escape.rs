//! Foreign text made fit to be shown. Everything that came from the network or from a file name goes through one of
//! these before a terminal or a log sees it. One function per reader: a terminal and a log refuse different things.

use std::fmt::Write as _;

/// Longest log line, in bytes, after escaping.
pub const LOG_LINE_MAX: usize = 512;

/// For a terminal: what could move the cursor, hide, or change the order of what is read becomes visible; any other
/// Unicode stays as it is.
pub fn for_terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_char(&mut out, c);
    }
    out
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
    out
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
        c if c.is_control() || is_invisible(c) => push(out, format_args!("\\u{{{:x}}}", u32::from(c))),
        c => out.push(c),
    }
}

/// Characters that are not seen themselves and make others look different from what they are.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' // soft hyphen, Arabic letter mark, Mongolian vowel separator
        | '\u{200b}'..='\u{200f}'         // zero-width space and joiners, marks of direction
        | '\u{2028}'..='\u{202e}'         // line and paragraph separators, embeddings and overrides
        | '\u{2060}'..='\u{206f}'         // word joiner, invisible operators, isolates
        | '\u{feff}'                      // byte order mark
        | '\u{fff9}'..='\u{fffb}'         // interlinear annotation
        | '\u{e0000}'..='\u{e007f}') // tags
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
                prop_assert!(!shown.chars().any(|c| c.is_control() || is_invisible(c)), "{:?}", shown);
            }
            prop_assert!(for_log(&text.repeat(9)).len() <= LOG_LINE_MAX);
            prop_assert_eq!(for_terminal_bytes(text.as_bytes()), for_terminal(&text));
        }
    }
}
