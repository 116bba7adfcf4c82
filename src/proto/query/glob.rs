//! Names with `*` and `?`. Each part is matched by going back to the last `*` only, which is enough, and never costs more
//! than the product of the two lengths; what is longer than the name, or as long in any case and of another length, is
//! refused at once.

use super::{Look, Named, contains};
use crate::proto::fold::fold;

/// A pattern, folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Glob {
    /// Without a `/`: for the file name alone.
    Name(Part),
    /// For the whole path, part by part; `None` is `**`: any number of folders.
    Path(Vec<Option<Part>>),
}

/// The pattern of a file's or folder's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    tokens: Vec<Token>,
    /// What stands before the first `*` or `?`, and after the last one: most names fail here.
    start: String,
    end: String,
    /// The longest text between two of them: most other names fail here.
    middle: String,
    /// Bytes that a name needs at least.
    least: usize,
    /// Characters of every name that is meant; without a `*` only.
    chars: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Is(char),
    /// So many characters, any.
    Any(usize),
    /// Any number of characters.
    Some,
}

impl Glob {
    /// Compiles a word: characters, and whether each was escaped.
    pub(super) fn new(word: &[(char, bool)]) -> Glob {
        if !word.iter().any(|&(c, _)| c == '/') {
            return Glob::Name(Part::new(word));
        }
        let mut parts = Vec::new();
        for part in word.split(|&(c, _)| c == '/').filter(|part| !part.is_empty()) {
            if part == [('*', false); 2] {
                parts.push(None);
            } else {
                parts.push(Some(Part::new(part)));
            }
        }
        // `**` at the end, or a `/`: whatever is beneath, which is a name at least.
        if word.ends_with(&[('/', false)]) || word.ends_with(&[('/', true)]) {
            parts.push(None);
        }
        if matches!(parts.last(), Some(None)) {
            parts.push(Some(Part::new(&[('*', false)])));
        }
        parts.dedup_by(|next, before| next.is_none() && before.is_none());
        Glob::Path(parts)
    }

    /// Whether the file with this folded path is meant.
    pub(super) fn matches(&self, look: &mut Look<'_, '_>) -> bool {
        match self {
            Glob::Name(part) => {
                let (last, steps) = look.last();
                part.matches(last, steps)
            }
            Glob::Path(parts) => matches_path(parts, look.file.folded, look.steps),
        }
    }
}

fn matches_path(parts: &[Option<Part>], path: &str, steps: &mut usize) -> bool {
    let (mut at, mut rest) = (0, path.split('/'));
    // After the last `**`: the next part of the pattern, and the folders it has not taken yet.
    let mut back = None;
    loop {
        let mut after = rest.clone();
        let name = after.next();
        // To split a folder off is to look for its end.
        *steps += 4 + name.map_or(0, str::len) / 4;
        match (parts.get(at), name) {
            (Some(None), _) => {
                at += 1;
                back = Some((at, rest.clone()));
                continue;
            }
            (None, None) => return true,
            (Some(Some(part)), Some(name)) if part.matches(&mut Named::new(name), steps) => {
                (at, rest) = (at + 1, after);
                continue;
            }
            _ => {}
        }
        let Some((next, folders)) = &mut back else { return false };
        if folders.next().is_none() {
            return false;
        }
        (at, rest) = (*next, folders.clone());
    }
}

impl Part {
    fn new(part: &[(char, bool)]) -> Part {
        let mut tokens = Vec::new();
        let mut literal = String::new();
        let spell = |literal: &mut String, tokens: &mut Vec<Token>| {
            tokens.extend(fold(literal).chars().map(Token::Is));
            literal.clear();
        };
        for &(c, escaped) in part {
            match c {
                '*' | '?' if !escaped => spell(&mut literal, &mut tokens),
                c => literal.push(c),
            }
            match c {
                '?' if !escaped => match tokens.last_mut() {
                    Some(Token::Any(n)) => *n += 1,
                    _ => tokens.push(Token::Any(1)),
                },
                '*' if !escaped && tokens.last() != Some(&Token::Some) => tokens.push(Token::Some),
                _ => {}
            }
        }
        spell(&mut literal, &mut tokens);
        let is = |token: &Token| match token {
            Token::Is(c) => Some(*c),
            _ => None,
        };
        let start = tokens.iter().map_while(is).collect();
        let mut end: Vec<char> = tokens.iter().rev().map_while(is).collect();
        end.reverse();
        let runs = tokens.split(|token| is(token).is_none());
        let inner = runs.clone().skip(1).take(runs.count().saturating_sub(2));
        let middle = inner.max_by_key(|run| run.len()).unwrap_or_default().iter().filter_map(is).collect();
        let least = tokens.iter().map(|token| match token {
            Token::Is(c) => c.len_utf8(),
            Token::Any(n) => *n,
            Token::Some => 0,
        });
        let chars = tokens.iter().try_fold(0, |sum, token| match token {
            Token::Is(_) => Some(sum + 1),
            Token::Any(n) => Some(sum + n),
            Token::Some => None,
        });
        Part { start, end: end.into_iter().collect(), middle, least: least.sum(), chars, tokens }
    }

    fn matches(&self, named: &mut Named<'_>, steps: &mut usize) -> bool {
        let name = named.name;
        *steps += 1;
        name.len() >= self.least
            && name.starts_with(&*self.start)
            && name.ends_with(&*self.end)
            && self.chars.is_none_or(|chars| named.chars(steps) == chars)
            && (self.middle.is_empty() || contains(name, &self.middle, steps))
            && self.walk(name, steps)
    }

    fn walk(&self, name: &str, steps: &mut usize) -> bool {
        let (mut at, mut rest) = (0, name.chars());
        // After the last `*`: the next token, and what the star has not taken yet.
        let mut back = None;
        loop {
            let mut after = rest.clone();
            *steps += 1;
            let (holds, room) = match self.tokens.get(at) {
                Some(Token::Some) => {
                    at += 1;
                    if at == self.tokens.len() {
                        return true;
                    }
                    back = Some((at, rest.clone()));
                    continue;
                }
                Some(Token::Any(n)) => {
                    *steps += n / 4;
                    let room = after.nth(n - 1).is_some();
                    (room, room)
                }
                Some(Token::Is(token)) => {
                    let c = after.next();
                    (c == Some(*token), c.is_some())
                }
                None if rest.as_str().is_empty() => return true,
                None => (false, true),
            };
            if holds {
                (at, rest) = (at + 1, after);
                continue;
            }
            // Where a star that took too little leaves too little, one that took more leaves less.
            if !room {
                return false;
            }
            let Some((next, chars)) = &mut back else { return false };
            if chars.next().is_none() {
                return false;
            }
            (at, rest) = (*next, chars.clone());
        }
    }
}
