//! Just enough of Rust's lexical rules to look at code without being fooled by comments, texts and tests. Everything
//! that is left out becomes blanks, so that lines and columns stay what they were.

/// The code with comments and the insides of texts and characters blanked.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = chars.clone();
    let mut at = 0;
    while at < chars.len() {
        let end = comment_end(&chars, at);
        if end > at {
            blank(&mut out, at, end);
            at = end;
        } else if let Some((open, close, end)) = literal(&chars, at) {
            blank(&mut out, open, close);
            at = end;
        } else if is_word(chars[at]) {
            at += word_len(&chars[at..]);
        } else {
            at += 1;
        }
    }
    out.into_iter().collect()
}

/// `code` (as [`code_only`] gives it) with every item under `#[cfg(test)]` blanked, and the number of lines that such
/// items take.
pub(crate) fn without_tests(code: &str) -> (String, usize) {
    const MARK: &str = "#[cfg(test)]";
    let mut out: Vec<char> = code.chars().collect();
    let mut lines = 0;
    let mut from = 0;
    while let Some(found) = find(&out, MARK, from) {
        let end = item_end(&out, found + MARK.len());
        lines += out[found..end].iter().filter(|&&c| c == '\n').count() + 1;
        blank(&mut out, found, end);
        from = end;
    }
    (out.into_iter().collect(), lines)
}

/// A function: its name, its first line (from 1) and the number of its lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// Every function of `code` that has a body.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let chars: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < chars.len() {
        let len = word_len(&chars[at..]).max(1);
        if chars[at] == '\n' {
            line += 1;
        }
        // The type of a pointer to one has no name.
        if word_at(&chars, at) == "fn" && chars.get(at + 2) == Some(&' ') {
            let name_at = at + 3;
            let name = word_at(&chars, name_at);
            let end = item_end(&chars, name_at);
            if !name.is_empty() && end > 0 && chars[end - 1] == '}' {
                let lines = chars[at..end].iter().filter(|&&c| c == '\n').count() + 1;
                found.push(Function { name, line, lines });
            }
        }
        at += len;
    }
    found
}

/// Where the item ends that begins at `at`: behind its `;`, or behind the brace that closes its body.
fn item_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match chars[at] {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            '{' if depth == 0 => return brace_end(chars, at),
            _ => {}
        }
        at += 1;
    }
    at
}

fn brace_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match chars[at] {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Behind the comment that begins at `at`, or `at` itself if none does.
fn comment_end(chars: &[char], at: usize) -> usize {
    match (chars[at], chars.get(at + 1)) {
        ('/', Some('/')) => chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |n| at + n),
        ('/', Some('*')) => {
            let (mut depth, mut at) = (0, at);
            while at < chars.len() {
                match (chars[at], chars.get(at + 1)) {
                    ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
                    ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
                    _ => at += 1,
                }
                if depth == 0 {
                    break;
                }
            }
            at.min(chars.len())
        }
        _ => at,
    }
}

/// The literal that begins at `at`: where its inside begins and ends, and where what follows begins.
fn literal(chars: &[char], at: usize) -> Option<(usize, usize, usize)> {
    let word = word_at(chars, at);
    let quote = at + word.chars().count();
    if matches!(word.as_str(), "r" | "br" | "cr") {
        let hashes = chars[quote..].iter().take_while(|&&c| c == '#').count();
        if chars.get(quote + hashes) == Some(&'"') {
            let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let open = quote + hashes + 1;
            let end = find(chars, &close, open).unwrap_or(chars.len());
            return Some((open, end, (end + 1 + hashes).min(chars.len())));
        }
    }
    match chars.get(quote) {
        Some('"') if matches!(word.as_str(), "" | "b" | "c") => {
            let mut end = quote + 1;
            while end < chars.len() && chars[end] != '"' {
                end += if chars[end] == '\\' { 2 } else { 1 };
            }
            let end = end.min(chars.len());
            Some((quote + 1, end, (end + 1).min(chars.len())))
        }
        Some('\'') if matches!(word.as_str(), "" | "b") => {
            // A lifetime has no closing quote two characters on.
            let escaped = chars.get(quote + 1) == Some(&'\\');
            let from = quote + if escaped { 3 } else { 2 };
            let end = if escaped {
                chars.get(from..)?.iter().position(|&c| c == '\'')? + from
            } else if chars.get(from) == Some(&'\'') {
                from
            } else {
                return None;
            };
            Some((quote + 1, end, end + 1))
        }
        _ => None,
    }
}

fn blank(out: &mut [char], from: usize, to: usize) {
    for c in &mut out[from..to] {
        if *c != '\n' {
            *c = ' ';
        }
    }
}

fn find(chars: &[char], text: &str, from: usize) -> Option<usize> {
    let text: Vec<char> = text.chars().collect();
    (from..chars.len()).find(|&at| chars[at..].starts_with(&text))
}

/// Whether `c` can stand in a name.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_len(chars: &[char]) -> usize {
    chars.iter().take_while(|&&c| is_word(c)).count()
}

fn word_at(chars: &[char], at: usize) -> String {
    chars.get(at..).unwrap_or(&[]).iter().take_while(|&&c| is_word(c)).collect()
}

#[test]
fn comments_texts_and_characters_are_blanked_and_code_is_not() {
    let sample =
        "a /* b /* c */ d */ e // f\n\"g \\\" h\" i r#\"j \" k\"# l 'm' '\\'' n: &'o str b\"p\" q_r\"s\"";
    let code = code_only(sample);
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(
        words.join(" "),
        "a e \" \" i r#\" \"# l ' ' ' ' n: &'o str b\" \" q_r\" \"",
        "the columns stay, the words go"
    );
    assert_eq!(code.chars().count(), sample.chars().count());
}

#[test]
fn tests_do_not_count() {
    let sample = "fn a() {}\n#[cfg(test)]\nuse x;\nfn b() {}\n#[cfg(test)]\nmod tests {\n fn c() {}\n}\n";
    let (code, lines) = without_tests(&code_only(sample));
    assert_eq!(lines, 2 + 4);
    let names: Vec<String> = functions(&code).into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn functions_are_measured_from_head_to_brace() {
    let sample = "trait T {\n fn a(x: [u8; 3]);\n}\n\npub fn b<'x>(\n s: &'x str,\n) -> u8 {\n { 1 }\n}\ntype F = fn(u8);\nstruct S {\n f: fn(u8) -> u8,\n}\n";
    let b = Function { name: "b".into(), line: 5, lines: 5 };
    assert_eq!(functions(&code_only(sample)), [b]);
}
