//! What a search asks for, whether a file answers it, and how well (docs/SEARCH.md has the language). The asking node
//! parses what its operator typed and sends [`Query::text`]; each node parses that and looks through its files.

mod error;
mod glob;
mod parse;
mod score;

pub use error::QueryError;
pub use score::{Fit, Score};

use glob::Glob;
use std::fmt;
use unicode_normalization::UnicodeNormalization as _;

/// Longest query, in bytes.
pub const TEXT_MAX: usize = 512;
/// Most terms of a query.
pub const TERMS_MAX: usize = 16;

/// A search: terms that must all hold for a file.
#[derive(Clone, Debug)]
pub struct Query {
    /// What is cheap to look at comes first; among the same kind, what was typed first.
    terms: Vec<Term>,
    /// The words, folded, with a blank between: a file with this very name is what was meant.
    phrase: String,
    exact_name: Option<String>,
}

/// A file that may be an answer.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Path relative to the shared folder, parts joined by `/`.
    pub name: &'a str,
    /// [`fold`](super::fold::fold) of the name.
    pub folded: &'a str,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 root, once it is known.
    pub root: Option<&'a [u8; 32]>,
}

#[derive(Clone, Debug)]
struct Term {
    /// It must not hold.
    negated: bool,
    /// As it is written, without the dash.
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Size {
        compare: Compare,
        bytes: u64,
    },
    /// A file's root begins with this many hexadecimal digits of `start`.
    Root {
        start: [u8; 32],
        digits: usize,
    },
    /// Folded extensions with their dots.
    Ext(Vec<String>),
    /// `parts`: the name in Unicode's NFD.
    Exact {
        folded: String,
        parts: String,
    },
    /// Stands anywhere in the folded path.
    Word(String),
    Glob(Glob),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Above,
    AtLeast,
    Below,
    AtMost,
    Is,
}

impl Query {
    /// Reads a query. Needs no trust in `text`.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Query, QueryError> {
        parse::parse(text)
    }

    fn new(mut terms: Vec<Term>, exact_name: Option<String>) -> Query {
        terms.sort_by_key(|term| term.kind.cost());
        let words = terms.iter().filter(|term| !term.negated).filter_map(|term| match &term.kind {
            Kind::Word(folded) => Some(folded.as_str()),
            _ => None,
        });
        let phrase = words.collect::<Vec<_>>().join(" ");
        Query { terms, phrase, exact_name }
    }

    /// The query as it goes over the wire: parsed, it is an equal one. At most [`TEXT_MAX`] bytes.
    pub fn text(&self) -> String {
        self.to_string()
    }

    /// The name that nodes are asked for which know names only (v1): what stands between the quotes of a single term, or
    /// words just as they were typed. None where such a node cannot answer: there are patterns, conditions, exclusions.
    pub fn exact_name(&self) -> Option<&str> {
        self.exact_name.as_deref()
    }

    /// The one root that is asked for, if it is given whole: an index finds it without looking at every file.
    pub fn whole_root(&self) -> Option<&[u8; 32]> {
        self.terms.iter().find_map(|term| match &term.kind {
            Kind::Root { start, digits: 64 } if !term.negated => Some(start),
            _ => None,
        })
    }

    /// Whether sizes matter: a file whose size nobody knows is no answer then.
    pub fn has_size(&self) -> bool {
        self.terms.iter().any(|term| matches!(term.kind, Kind::Size { .. }))
    }

    /// How well `file` answers; `None`: not at all. Allocates nothing, but for names outside ASCII asked for exactly.
    pub fn matches(&self, file: &Candidate<'_>) -> Option<Score> {
        if self.terms.iter().all(|term| term.kind.holds(file) != term.negated) {
            Some(Score::of(self, file))
        } else {
            None
        }
    }
}

impl Kind {
    fn cost(&self) -> u8 {
        match self {
            Kind::Size { .. } => 0,
            Kind::Root { .. } => 1,
            Kind::Ext(_) => 2,
            Kind::Exact { .. } => 3,
            Kind::Word(_) => 4,
            Kind::Glob(_) => 5,
        }
    }

    fn holds(&self, file: &Candidate<'_>) -> bool {
        match self {
            Kind::Size { compare, bytes } => match compare {
                Compare::Above => file.size > *bytes,
                Compare::AtLeast => file.size >= *bytes,
                Compare::Below => file.size < *bytes,
                Compare::AtMost => file.size <= *bytes,
                Compare::Is => file.size == *bytes,
            },
            Kind::Root { start, digits } => file.root.is_some_and(|root| {
                let whole = digits / 2;
                root[..whole] == start[..whole] && (digits % 2 == 0 || root[whole] >> 4 == start[whole] >> 4)
            }),
            Kind::Ext(endings) => endings.iter().any(|ending| ends_with_part(file.folded, ending, false)),
            Kind::Exact { folded, parts } => {
                ends_with_part(file.folded, folded, true) && is_name(file.name, parts)
            }
            Kind::Word(folded) => file.folded.contains(folded.as_str()),
            Kind::Glob(glob) => glob.matches(file.folded),
        }
    }
}

/// Whether `path` ends with `end`, and that at the border of a part (`whole`) or not so.
fn ends_with_part(path: &str, end: &str, whole: bool) -> bool {
    path.strip_suffix(end).is_some_and(|rest| (rest.is_empty() || rest.ends_with('/')) == whole)
}

/// Whether the path `name`, or its last part, is `parts`, however its accents are encoded.
fn is_name(name: &str, parts: &str) -> bool {
    let last = score::last_part(name);
    if name.is_ascii() {
        return last == parts || name == parts;
    }
    last.nfd().eq(parts.chars()) || name.nfd().eq(parts.chars())
}

/// Two queries are equal when they ask for the same in the same way, however they were typed.
impl PartialEq for Query {
    fn eq(&self, other: &Query) -> bool {
        self.terms.len() == other.terms.len()
            && self.terms.iter().zip(&other.terms).all(|(a, b)| a.negated == b.negated && a.kind == b.kind)
    }
}

impl Eq for Query {}

/// The same as [`Query::text`].
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            let (gap, dash) = (if i == 0 { "" } else { " " }, if term.negated { "-" } else { "" });
            write!(f, "{gap}{dash}{}", term.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
