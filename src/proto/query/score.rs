//! How well a file answers a query.

use super::{Candidate, Kind, Query, contains};

/// How the words of a query stand in a file's name, from loosely to exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Some word stands in the folders only.
    Path,
    /// All words stand in the file name, or the query has none.
    Name,
    /// All of them as whole words.
    Words,
    /// The file name begins with the first word.
    Start,
    /// The words are the file name, or the whole path.
    Exact,
}

/// The order of results: the greater, the better. Among equal [`Fit`]s the shorter file name is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    fit: Fit,
    shortness: u16,
}

impl Score {
    /// How the words stand in the name, without its length.
    pub fn fit(self) -> Fit {
        self.fit
    }

    /// The score of a file that all terms of the query hold for.
    pub(super) fn of(query: &Query, file: &Candidate<'_>, steps: &mut usize) -> Score {
        let name = last_part(file.folded);
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        Score { fit: fit(query, file.folded, name, steps), shortness: u16::MAX - length }
    }
}

/// What follows the last `/`.
pub(super) fn last_part(path: &str) -> &str {
    path.rfind('/').map_or(path, |slash| &path[slash + 1..])
}

fn fit(query: &Query, path: &str, name: &str, steps: &mut usize) -> Fit {
    let asked = || query.terms.iter().filter(|term| !term.negated);
    if asked().any(|term| matches!(term.kind, Kind::Exact { .. })) {
        return Fit::Exact;
    }
    let words = || {
        asked().filter_map(|term| match &term.kind {
            Kind::Word(folded) => Some(folded.as_str()),
            _ => None,
        })
    };
    let Some(first) = words().next() else { return Fit::Name };
    if query.phrase == name || query.phrase == path {
        Fit::Exact
    } else if !words().all(|word| contains(name, word, steps)) {
        Fit::Path
    } else if name.starts_with(first) {
        Fit::Start
    } else if words().all(|word| stands_alone(name, word, steps)) {
        Fit::Words
    } else {
        Fit::Name
    }
}

/// Whether `word` occurs in `name` without a letter or digit on either side.
fn stands_alone(name: &str, word: &str, steps: &mut usize) -> bool {
    // It may occur at every character.
    *steps += 4 * name.len();
    name.match_indices(word).any(|(at, _)| {
        let (before, after) = (name[..at].chars().next_back(), name[at + word.len()..].chars().next());
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}
