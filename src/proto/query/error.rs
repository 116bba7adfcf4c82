//! Why a text is no query.

use super::{TERMS_MAX, TEXT_MAX};
use crate::proto::escape::{cut, for_terminal};
use std::fmt;

/// Bytes of a term that a message shows, after escaping.
const SHOWN_MAX: usize = 60;

/// Why a text is no query. The strings are the terms as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// Longer than [`TEXT_MAX`].
    TooLong,
    /// More than [`TERMS_MAX`] terms.
    TooManyTerms,
    /// Nothing but blanks.
    Empty,
    /// Contains a control character other than the tab between two terms.
    Control,
    /// `"name`: the quote is not closed.
    UnclosedQuote(String),
    /// `"name"more`: no blank after the closing quote.
    AfterQuote(String),
    /// `""`.
    EmptyName(String),
    /// A backslash at the end, or before a letter or digit.
    Backslash(String),
    /// `--word`.
    DoubleDash(String),
    /// Nothing is left of the word once accents and invisible characters are dropped.
    Nothing(String),
    /// `ext:` without extensions that a name can have.
    Ext(String),
    /// `size` without a comparison and a number.
    Size(String),
    /// A size beyond 2⁶⁴ − 1 bytes.
    SizeTooLarge(String),
    /// `root:` without 8 to 64 hexadecimal digits.
    Root(String),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (term, why) = match self {
            QueryError::TooLong => return write!(f, "the search is longer than {TEXT_MAX} bytes"),
            QueryError::TooManyTerms => {
                return write!(f, "the search has more than {TERMS_MAX} terms: leave some out");
            }
            QueryError::Empty => {
                return f.write_str("nothing to search for: give words of the name, or `*` for all files");
            }
            QueryError::Control => return f.write_str("the search contains a control character"),
            QueryError::UnclosedQuote(term) => {
                (term, "the quote is not closed: add one at the end, or write \\\" for the sign itself")
            }
            QueryError::AfterQuote(term) => (term, "a blank must follow the closing quote"),
            QueryError::EmptyName(term) => (term, "there is no name between the quotes"),
            QueryError::Backslash(term) => {
                (term, "a backslash goes before a sign that is meant as such; folders are parted by /")
            }
            QueryError::DoubleDash(term) => {
                (term, "one dash leaves files out; for a word that begins with a dash write \\- in front")
            }
            QueryError::Nothing(term) => (term, "nothing in it can be searched for: leave it out"),
            QueryError::Ext(term) => (term, "extensions are written as in ext:pdf or ext:jpg,png"),
            QueryError::Size(term) => {
                (term, "sizes are written as in size>10M, size<=1.5GiB or size=0, without blanks")
            }
            QueryError::SizeTooLarge(term) => (term, "no file is that large: give a smaller size"),
            QueryError::Root(term) => (term, "root: takes 8 to 64 hexadecimal digits"),
        };
        let shown = for_terminal(term);
        let short = cut(&shown, SHOWN_MAX);
        write!(f, "`{short}{}`: {why}", if short.len() < shown.len() { "…" } else { "" })
    }
}

impl std::error::Error for QueryError {}
