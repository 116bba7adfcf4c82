//! Names with `*` and `?`. Each part is matched by going back to the last `*` only, which is enough, and never costs more
//! than the product of the two lengths; what is longer than the name is refused at once.

use super::score::last_part;
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Is(char),
    /// Any one character.
    One,
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
    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Glob::Name(part) => part.matches(last_part(path)),
            Glob::Path(parts) => matches_path(parts, path),
        }
    }
}

fn matches_path(parts: &[Option<Part>], path: &str) -> bool {
    let (mut at, mut rest) = (0, path.split('/'));
    // After the last `**`: the next part of the pattern, and the folders it has not taken yet.
    let mut back = None;
    loop {
        let mut after = rest.clone();
        match (parts.get(at), after.next()) {
            (Some(None), _) => {
                at += 1;
                back = Some((at, rest.clone()));
                continue;
            }
            (None, None) => return true,
            (Some(Some(part)), Some(name)) if part.matches(name) => {
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
                '?' if !escaped => tokens.push(Token::One),
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
            Token::One => 1,
            Token::Some => 0,
        });
        Part { start, end: end.into_iter().collect(), middle, least: least.sum(), tokens }
    }

    fn matches(&self, name: &str) -> bool {
        name.len() >= self.least
            && name.starts_with(&*self.start)
            && name.ends_with(&*self.end)
            && name.contains(&*self.middle)
            && self.walk(name)
    }

    fn walk(&self, name: &str) -> bool {
        let (mut at, mut rest) = (0, name.chars());
        // After the last `*`: the next token, and what the star has not taken yet.
        let mut back = None;
        loop {
            let mut after = rest.clone();
            match (self.tokens.get(at), after.next()) {
                (Some(Token::Some), _) => {
                    at += 1;
                    if at == self.tokens.len() {
                        return true;
                    }
                    back = Some((at, rest.clone()));
                    continue;
                }
                (None, None) => return true,
                (Some(token), Some(c)) if *token == Token::One || *token == Token::Is(c) => {
                    (at, rest) = (at + 1, after);
                    continue;
                }
                _ => {}
            }
            let Some((next, chars)) = &mut back else { return false };
            if chars.next().is_none() {
                return false;
            }
            (at, rest) = (*next, chars.clone());
        }
    }
}
