//! What a search asks for, whether a file answers it, and how well (docs/SEARCH.md has the language). The asking node
//! parses what its operator typed and sends [`Query::text`]; each node parses that and looks through its files.

mod error;
mod glob;
mod parse;
mod score;

pub use error::QueryError;
pub use parse::bytes;
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
        self.matches_counted(file, &mut 0)
    }

    /// The same; adds to `steps` what it cost. A step is one character of a pattern's walk, four bytes of a search for
    /// a word, or a condition that is looked up: a few nanoseconds, and the same on every machine and in every run.
    pub fn matches_counted(&self, file: &Candidate<'_>, steps: &mut usize) -> Option<Score> {
        let mut look = Look { file, last: None, steps };
        if self.terms.iter().all(|term| term.kind.holds(&mut look) != term.negated) {
            Some(Score::of(self, file, look.steps))
        } else {
            None
        }
    }
}

/// One candidate under the eyes of all terms.
struct Look<'a, 's> {
    file: &'a Candidate<'a>,
    /// Its folded file name, once a pattern wanted it.
    last: Option<Named<'a>>,
    steps: &'s mut usize,
}

/// A file's or folder's folded name.
struct Named<'a> {
    name: &'a str,
    /// Its characters, once a pattern had them counted.
    chars: Option<usize>,
}

impl<'a> Look<'a, '_> {
    fn last(&mut self) -> (&mut Named<'a>, &mut usize) {
        let path = self.file.folded;
        let last = self.last.get_or_insert_with(|| {
            let name = score::last_part(path);
            // Most likely it has to come from memory first.
            *self.steps += name.len() / 4;
            Named::new(name)
        });
        (last, self.steps)
    }
}

impl<'a> Named<'a> {
    fn new(name: &'a str) -> Named<'a> {
        Named { name, chars: None }
    }

    fn chars(&mut self, steps: &mut usize) -> usize {
        *self.chars.get_or_insert_with(|| {
            *steps += self.name.len() / 16;
            self.name.chars().count()
        })
    }
}

/// Whether `word` stands in `text`, and what that cost: in the worst case every byte of both is looked at.
fn contains(text: &str, word: &str, steps: &mut usize) -> bool {
    *steps += if text.len() < word.len() { 1 } else { 1 + (text.len() + word.len()) / 4 };
    text.contains(word)
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

    fn holds(&self, look: &mut Look<'_, '_>) -> bool {
        let file = look.file;
        *look.steps += 1;
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
            Kind::Ext(endings) => {
                *look.steps += 2 * endings.len();
                endings.iter().any(|ending| ends_with_part(file.folded, ending, false))
            }
            Kind::Exact { folded, parts } => {
                let ends = ends_with_part(file.folded, folded, true);
                if ends && !file.name.is_ascii() {
                    // Taking accents apart is slow, and it is done to the name and to the path.
                    *look.steps += 32 * parts.len().min(file.name.len());
                }
                ends && is_name(file.name, parts)
            }
            Kind::Word(folded) => contains(file.folded, folded, look.steps),
            Kind::Glob(glob) => glob.matches(look),
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
