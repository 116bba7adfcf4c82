//! Text as search sees it: without case and accents. What is typed and what is on disk go through the same [`fold`], so
//! that "nandu" finds "Ñandú" and a name that a Mac wrote in parts is found by one that a keyboard wrote whole.

use super::escape::is_ignorable;
use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::{canonical_combining_class, decompose_compatible};

/// `text` without what search does not tell apart: case, accents, ligatures and other compatible forms, invisible
/// characters. Folding twice changes nothing. A `/` is never made nor lost: the parts of a path stay its parts. At most
/// eleven times as long as `text`, in bytes (one Arabic ligature is a sentence).
///
/// Unicode's NFKD; accents are dropped, but not the vowel signs and voicing marks of Indic, Thai and Japanese, which make
/// other words; then lower case, and a few letters that Unicode takes for unrelated to what people type for them.
pub fn fold(text: &str) -> Cow<'_, str> {
    if is_folded_ascii(text) {
        return Cow::Borrowed(text);
    }
    if text.is_ascii() {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    let mut out = String::with_capacity(text.len());
    let mut marks = false;
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c.to_ascii_lowercase());
        } else if !is_ignored(c) {
            decompose_compatible(c, |part| marks |= push_part(&mut out, part));
        }
    }
    // Marks that stay have an order among themselves, which the text need not have kept.
    Cow::Owned(if marks { out.nfd().collect() } else { out })
}

/// Whether `text` is ASCII without capitals: [`fold`] gives back the very same then, and nobody need keep both.
pub fn is_folded_ascii(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase())
}

/// One part of a decomposed character; whether it is a mark that stays.
fn push_part(out: &mut String, part: char) -> bool {
    let class = canonical_combining_class(part);
    // Strokes through, points of Hebrew, Arabic and Syriac, and whatever stands above or below.
    if matches!(class, 1 | 10..=36 | 200..=240) {
        return false;
    }
    for lower in part.to_lowercase() {
        match lower {
            '/' => out.push('\u{2044}'), // of ℀ or ／: a part of the name, not a border
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'þ' => out.push_str("th"),
            'ø' => out.push('o'),
            'ł' => out.push('l'),
            'đ' | 'ð' => out.push('d'),
            'ħ' => out.push('h'),
            'ŧ' => out.push('t'),
            'ı' => out.push('i'),
            'ς' => out.push('σ'),
            quote if is_single_quote(quote) => out.push('\''),
            quote if is_double_quote(quote) => out.push('"'),
            dash if is_dash(dash) => out.push('-'),
            other => out.push(other),
        }
    }
    class != 0
}

/// Apostrophes and single quotes that no keyboard has, primes and letters that are taken for them.
fn is_single_quote(c: char) -> bool {
    matches!(c,
        '\u{2018}'..='\u{201b}' | '\u{2039}' | '\u{203a}' | '\u{2032}' | '\u{2035}'
        | '\u{2b9}' | '\u{2bb}'..='\u{2bd}' | '\u{2c8}' | '\u{55a}' | '\u{5f3}' | '\u{7f4}' | '\u{7f5}'
        | '\u{275b}' | '\u{275c}' | '\u{a78b}' | '\u{a78c}')
}

/// Double quotes of all kinds.
fn is_double_quote(c: char) -> bool {
    matches!(c,
        '\u{ab}' | '\u{bb}' | '\u{201c}'..='\u{201f}' | '\u{2ba}' | '\u{2ee}' | '\u{5f4}' | '\u{275d}' | '\u{275e}'
        | '\u{2e42}' | '\u{301d}'..='\u{301f}')
}

/// Unicode's Dash_Punctuation without the wave dashes of Japanese, and the signs of minus and hyphen that are none of it.
fn is_dash(c: char) -> bool {
    let elsewhere = matches!(c, '\u{58a}' | '\u{5be}' | '\u{1400}' | '\u{1806}' | '\u{10ead}');
    let signs = matches!(c, '\u{2d7}' | '\u{2043}' | '\u{2212}' | '\u{2796}');
    let long = matches!(c, '\u{2e17}' | '\u{2e1a}' | '\u{2e3a}' | '\u{2e3b}' | '\u{2e40}' | '\u{2e5d}');
    ('\u{2010}'..='\u{2015}').contains(&c) || long || signs || elsewhere
}

/// Characters that are not seen, and enclosing signs: nobody types them to find a file.
fn is_ignored(c: char) -> bool {
    is_ignorable(c)
        || matches!(c,
            '\u{488}' | '\u{489}' | '\u{1abe}' | '\u{20dd}'..='\u{20e0}' | '\u{20e2}'..='\u{20e4}'
            | '\u{a670}'..='\u{a672}') // circles and the like around a letter
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_and_accents_do_not_count() {
        for (text, folded) in [
            ("plain name_1.txt", "plain name_1.txt"),
            ("Plain.TXT", "plain.txt"),
            ("Ñandú", "nandu"),
            ("CAFÉ", "cafe"),
            ("cafe\u{301}", "cafe"),
            ("Straße", "strasse"),
            ("STRASSE", "strasse"),
            ("ẞ", "ss"),
            ("ﬁn oﬃce", "fin office"),
            ("İstanbul", "istanbul"),
            ("ISTANBUL", "istanbul"),
            ("ıstanbul", "istanbul"),
            ("ΟΔΟΣ", "οδοσ"),
            ("οδός", "οδοσ"),
            ("Łódź", "lodz"),
            ("Smørrebrød", "smorrebrod"),
            ("Æsir Œuvre Þór", "aesir oeuvre thor"),
            ("Tiếng Việt", "tieng viet"),
            ("Ёлка", "елка"),
            ("２０２４ＡＢ", "2024ab"),
            ("№ ① Ⅷ ㎏", "no 1 viii kg"),
            ("שָׁלוֹם", "שלום"),
            ("a\u{ad}b\u{200b}c\u{feff}", "abc"),
            ("❤\u{fe0f}.png", "❤.png"),
            ("O’Brien ‘a’ “b” „c‟ «d» ′ ＇", "o'brien 'a' \"b\" \"c\" \"d\" ' '"),
            ("déjà‐vu a–b a—b −1 －2 ﹣3", "deja-vu a-b a-b -1 -2 -3"),
            ("\u{301}", ""),
            ("", ""),
        ] {
            assert_eq!(fold(text), folded, "{text:?}");
        }
    }

    #[test]
    fn signs_that_make_other_words_count() {
        for (one, other) in [("कि", "का"), ("ガ", "カ"), ("ที่", "ท")] {
            assert_ne!(fold(one), fold(other), "{one:?} {other:?}");
        }
        assert_eq!(fold("ガ"), fold("カ\u{3099}"));
        assert_eq!(fold("ｶﾞ"), fold("ガ"), "half width");
        assert_eq!(fold("한"), fold("\u{1112}\u{1161}\u{11ab}"));
    }

    #[test]
    fn each_character_folds_once_and_makes_no_border() {
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let text = c.to_string();
            let once = fold(&text);
            assert_eq!(fold(&once), once, "{c:?}");
            assert_eq!(once.contains('/'), c == '/', "{c:?}");
            assert!(once.len() <= 11 * text.len(), "{c:?}");
            assert!(!once.contains(|c: char| c.is_uppercase() && c.to_lowercase().ne([c])), "{c:?}");
        }
    }

    #[test]
    fn only_plain_ascii_costs_nothing() {
        assert!(matches!(fold("a b.c"), Cow::Borrowed(_)));
        for (text, is) in [("a b/c.1", true), ("", true), ("A", false), ("ñ", false)] {
            assert_eq!(is_folded_ascii(text), is, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in any::<String>(), marks in "[a/\u{93c}\u{94d}\u{3099}\u{301}\u{e38}\u{fe0f}]{0,8}") {
            for text in [text.clone(), marks.clone(), text + &marks] {
                let once = fold(&text);
                prop_assert_eq!(fold(&once), once.clone(), "{:?}", text);
                prop_assert_eq!(once.matches('/').count(), text.matches('/').count());
            }
        }

        #[test]
        fn spellings_that_mean_the_same_fold_the_same(text in any::<String>()) {
            let (whole, parts) = (text.nfc().collect::<String>(), text.nfd().collect::<String>());
            prop_assert_eq!(fold(&whole), fold(&text));
            prop_assert_eq!(fold(&parts), fold(&text));
        }
    }
}
