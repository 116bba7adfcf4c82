//! What is typed, as terms.

use super::glob::Glob;
use super::{Compare, Kind, Query, QueryError, TERMS_MAX, TEXT_MAX, Term};
use crate::proto::fold::fold;
use unicode_normalization::UnicodeNormalization as _;

/// The terms with a key, and what may follow the key.
const KEYS: [(&str, &[char]); 3] = [("ext", &[':']), ("root", &[':']), ("size", &['<', '>', '=', ':'])];

/// A character of a word, and whether a backslash stood before it.
type Sign = (char, bool);

/// A term as typed, before its meaning is looked at.
struct Typed<'a> {
    negated: bool,
    quoted: bool,
    /// All of it, for messages.
    whole: &'a str,
    /// Without the dash.
    body: &'a str,
    /// Without quotes and backslashes.
    signs: Vec<Sign>,
}

pub(super) fn parse(text: &str) -> Result<Query, QueryError> {
    if text.len() > TEXT_MAX {
        return Err(QueryError::TooLong);
    }
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err(QueryError::Control);
    }
    let (mut terms, mut plain) = (Vec::new(), Vec::new());
    let mut rest = text.trim_start();
    let mut until = "";
    while !rest.is_empty() {
        if terms.len() == TERMS_MAX {
            return Err(QueryError::TooManyTerms);
        }
        let (typed, after) = split(rest)?;
        let term = typed.compile()?;
        if !term.negated && matches!(term.kind, Kind::Word(_) | Kind::Exact { .. }) {
            plain.push((typed.quoted, spelled(&typed.signs)));
        }
        terms.push(term);
        (until, rest) = (after, after.trim_start());
    }
    if terms.is_empty() {
        return Err(QueryError::Empty);
    }
    let exact_name = match plain.as_slice() {
        plain if plain.len() < terms.len() => None,
        [(true, name)] => Some(name.clone()),
        plain if plain.iter().any(|(quoted, _)| *quoted) => None,
        _ => Some(unescaped(text[..text.len() - until.len()].trim_start())),
    };
    Ok(Query::new(terms, exact_name))
}

/// The first term of `text`, and what follows it.
fn split(text: &str) -> Result<(Typed<'_>, &str), QueryError> {
    let until_blank = text.find(char::is_whitespace).unwrap_or(text.len());
    // Dashes alone are a word, as in "Artist - Song".
    let dashes = text[..until_blank].bytes().all(|b| b == b'-');
    let body = match text.strip_prefix('-') {
        Some(body) if !dashes && body.starts_with('-') => {
            return Err(QueryError::DoubleDash(text[..until_blank].to_owned()));
        }
        Some(body) if !dashes => body,
        _ => text,
    };
    let quoted = body.starts_with('"');
    let (signs, after) = if quoted { quoted_signs(&body[1..], text)? } else { word_signs(body, text)? };
    let whole = &text[..text.len() - after.len()];
    let negated = body.len() < text.len();
    Ok((Typed { negated, quoted, whole, body: &body[..body.len() - after.len()], signs }, after))
}

fn quoted_signs<'a>(inside: &'a str, term: &str) -> Result<(Vec<Sign>, &'a str), QueryError> {
    let mut signs = Vec::new();
    let mut chars = inside.chars();
    loop {
        match chars.next() {
            None => return Err(QueryError::UnclosedQuote(term.to_owned())),
            Some('"') => break,
            Some('\\') => signs.push((escaped(chars.next(), term)?, true)),
            Some(c) => signs.push((c, false)),
        }
    }
    let after = chars.as_str();
    if !after.is_empty() && !after.starts_with(char::is_whitespace) {
        return Err(QueryError::AfterQuote(term.to_owned()));
    }
    Ok((signs, after))
}

fn word_signs<'a>(word: &'a str, term: &str) -> Result<(Vec<Sign>, &'a str), QueryError> {
    let mut signs = Vec::new();
    let mut chars = word.chars();
    loop {
        let after = chars.as_str();
        match chars.next() {
            Some('\\') => signs.push((escaped(chars.next(), term)?, true)),
            Some(c) if !c.is_whitespace() => signs.push((c, false)),
            _ => return Ok((signs, after)),
        }
    }
}

/// What follows a backslash: a sign. Before a letter it is the `\` of a path on other systems, which finds nothing.
fn escaped(c: Option<char>, term: &str) -> Result<char, QueryError> {
    match c {
        Some(c) if !c.is_alphanumeric() && !c.is_control() => Ok(c),
        _ => Err(QueryError::Backslash(term.to_owned())),
    }
}

impl Typed<'_> {
    fn compile(&self) -> Result<Term, QueryError> {
        let term = |text: String, kind| Ok(Term { negated: self.negated, text, kind });
        if self.quoted {
            let name = spelled(&self.signs);
            if name.is_empty() {
                return Err(QueryError::EmptyName(self.whole.to_owned()));
            }
            let text = format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
            let (folded, parts) = (fold(&name).into_owned(), name.nfd().collect());
            return term(text, Kind::Exact { folded, parts });
        }
        if let Some(at) = key_end(self.body) {
            let (key, value) = self.body.split_at(at);
            let key = key.to_ascii_lowercase();
            let (text, kind) = match key.as_str() {
                "ext" => self.ext(&value[1..])?,
                "root" => self.root(&value[1..])?,
                _ => (value.to_owned(), self.size(value)?),
            };
            return term(format!("{key}{text}"), kind);
        }
        let text = self.word_text();
        if self.signs.iter().any(|&sign| matches!(sign, ('*' | '?', false))) {
            return term(text, Kind::Glob(Glob::new(&self.signs)));
        }
        let folded = fold(&spelled(&self.signs)).into_owned();
        if folded.is_empty() {
            return Err(QueryError::Nothing(self.whole.to_owned()));
        }
        term(text, Kind::Word(folded))
    }

    /// The word with the backslashes that it needs, and no others. Never longer than what was typed.
    fn word_text(&self) -> String {
        let dashes = !self.negated && self.signs.iter().all(|&(c, _)| c == '-');
        let mut text = String::new();
        for (i, &(c, escaped)) in self.signs.iter().enumerate() {
            let first = i == 0 && (c == '"' || c == '-' && !dashes);
            if first || c == '\\' || c.is_whitespace() || escaped && matches!(c, '*' | '?') {
                text.push('\\');
            }
            text.push(c);
        }
        if let Some(at) = key_end(&text) {
            text.insert(at, '\\');
        }
        text
    }

    fn ext(&self, value: &str) -> Result<(String, Kind), QueryError> {
        let mut endings = Vec::new();
        let mut typed = Vec::new();
        for ext in value.split(',') {
            let ext = ext.strip_prefix('.').unwrap_or(ext);
            let folded = fold(ext);
            if folded.is_empty() || ext.starts_with('.') || ext.contains(['/', '\\', '*', '?', '"']) {
                return Err(QueryError::Ext(self.whole.to_owned()));
            }
            endings.push(format!(".{folded}"));
            typed.push(ext);
        }
        Ok((format!(":{}", typed.join(",")), Kind::Ext(endings)))
    }

    fn root(&self, digits: &str) -> Result<(String, Kind), QueryError> {
        let wrong = || QueryError::Root(self.whole.to_owned());
        if !(8..=64).contains(&digits.len()) {
            return Err(wrong());
        }
        let mut start = [0; 32];
        for (i, c) in digits.chars().enumerate() {
            let digit = c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or_else(wrong)?;
            start[i / 2] |= if i % 2 == 0 { digit << 4 } else { digit };
        }
        Ok((format!(":{}", digits.to_ascii_lowercase()), Kind::Root { start, digits: digits.len() }))
    }

    /// `value` begins with the comparison.
    fn size(&self, value: &str) -> Result<Kind, QueryError> {
        let wrong = || QueryError::Size(self.whole.to_owned());
        let (compare, number) = [
            (">=", Compare::AtLeast),
            ("<=", Compare::AtMost),
            (">", Compare::Above),
            ("<", Compare::Below),
            ("=", Compare::Is),
        ]
        .into_iter()
        .find_map(|(sign, compare)| Some((compare, value.strip_prefix(sign)?)))
        .ok_or_else(wrong)?;
        let bytes = bytes(number).ok_or_else(wrong)?;
        let bytes = u64::try_from(bytes).map_err(|_| QueryError::SizeTooLarge(self.whole.to_owned()))?;
        Ok(Kind::Size { compare, bytes })
    }
}

/// Where the sign after a key stands, if `word` is a key and such a sign.
fn key_end(word: &str) -> Option<usize> {
    KEYS.iter().find_map(|(key, signs)| {
        let head = word.get(..key.len())?;
        (head.eq_ignore_ascii_case(key) && word[key.len()..].starts_with(*signs)).then_some(key.len())
    })
}

/// `10`, `10M`, `1.5GiB` in bytes, rounded down. Letters count in any case: nobody has milli-bytes.
pub fn bytes(text: &str) -> Option<u128> {
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_suffix('b').unwrap_or(&lower);
    let (number, base) = number.strip_suffix('i').map_or((number, 1000_u128), |number| (number, 1024));
    let (number, power) = match "kmgt".chars().zip(1..).find(|&(unit, _)| number.ends_with(unit)) {
        Some((_, power)) => (&number[..number.len() - 1], power),
        None if base == 1024 || number.contains('.') => return None,
        None => (number, 0),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |text: &str| !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 9 {
        return None;
    }
    // At most 20 digits times 2⁴⁰: far from the end of 128 bits.
    let unit = base.pow(power);
    let part_of = 10_u128.pow(u32::try_from(part.len()).ok()?);
    Some(whole.parse::<u128>().ok()? * unit + part.parse::<u128>().ok()? * unit / part_of)
}

fn spelled(signs: &[Sign]) -> String {
    signs.iter().map(|&(c, _)| c).collect()
}

/// `text` without its backslashes. Checked before: each has a sign behind it.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}
