//! A line as words, and back.

use super::CommandError;

/// A word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// The blanks in front of it, so that a file name can be put together again.
    pub(super) gap: String,
    /// What it means, without quotes and escapes.
    pub(super) text: String,
    /// A quote or an escape had a part in it.
    quoted: bool,
}

impl Word {
    /// Whether a quote or an escape had a part in it.
    pub(super) fn is_quoted(&self) -> bool {
        self.quoted
    }

    /// Whether it is the mark of a background command, when it is the last one.
    pub(super) fn is_background(&self) -> bool {
        self.text == "&" && !self.quoted
    }
}

/// Parts a line into its words.
pub(super) fn split(line: &str) -> Result<Vec<Word>, CommandError> {
    if line.contains(|c: char| c.is_control() && c != '\t') {
        return Err(CommandError::Control);
    }
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let start = rest.trim_start_matches([' ', '\t']);
        let gap = &rest[..rest.len() - start.len()];
        if start.is_empty() {
            return Ok(words);
        }
        let (text, quoted, after) = word(start)?;
        words.push(Word { gap: gap.to_owned(), text, quoted });
        rest = after;
    }
}

/// The word at the start of `line`, whether it was quoted, and what follows it.
fn word(line: &str) -> Result<(String, bool, &str), CommandError> {
    let mut text = String::new();
    let mut chars = line.chars();
    let quote = line.chars().next().filter(|c| matches!(c, '"' | '\''));
    let mut quoted = quote.is_some();
    if let Some(quote) = quote {
        chars.next();
        loop {
            match chars.next() {
                None => return Err(CommandError::UnclosedQuote),
                Some(c) if c == quote => break,
                Some('\\') if quote == '"' => text.push(chars.next().ok_or(CommandError::UnclosedQuote)?),
                Some(c) => text.push(c),
            }
        }
    }
    loop {
        let after = chars.as_str();
        match chars.next() {
            None | Some(' ' | '\t') => return Ok((text, quoted, after)),
            Some('\\') => {
                quoted = true;
                text.push(chars.next().ok_or(CommandError::OpenEscape)?);
            }
            Some(c) => text.push(c),
        }
    }
}

/// The line with one more argument, which means `answer` whatever is in it; a number stays a number. The mark of a
/// background command stays last.
pub fn append_argument(line: &str, answer: &str) -> String {
    let line = line.trim_end_matches(['\r', '\n']);
    let answer = quote(answer.trim());
    let background = split(line).is_ok_and(|words| words.last().is_some_and(Word::is_background));
    match line.trim_end_matches([' ', '\t']).strip_suffix('&') {
        Some(before) if background => format!("{before} {answer} &"),
        _ => format!("{line} {answer}"),
    }
}

fn quote(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return text.to_owned();
    }
    if !text.contains('\'') {
        return format!("'{text}'");
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}
