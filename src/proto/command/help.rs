//! The help, made from the table of commands.

use super::entries::{ENTRIES, Entry};
use super::{CommandError, unknown};

const GRAMMAR: &str = "\
The numbers are those of the old menu and may be typed in place of the words.
Quote with \"…\" or '…' what must stay one word. A & at the end of a line runs the
command beside the next ones. A line that begins with # is a comment.
";

/// The help on one command, by its word, its number or both its words; without a topic a table of all of them.
///
/// # Errors
/// There is no such command.
pub fn help(topic: Option<&str>) -> Result<String, CommandError> {
    let Some(topic) = topic else { return Ok(overview()) };
    let topic = topic.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let found: Vec<_> = ENTRIES.iter().filter(|entry| is_about(entry, &topic)).map(paragraph).collect();
    if found.is_empty() { Err(unknown(&topic)) } else { Ok(found.join("\n")) }
}

fn is_about(entry: &Entry, topic: &str) -> bool {
    let both = entry.choice.map(|choice| format!("{} {}", entry.name, choice.word));
    entry.is_named(topic)
        || entry.number == Some(topic)
        || both.is_some_and(|both| both.eq_ignore_ascii_case(topic))
}

fn overview() -> String {
    let width = ENTRIES.iter().map(|entry| entry.syntax().chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for entry in ENTRIES {
        let number = entry.number.unwrap_or("");
        text.push_str(&format!("{number:>5}  {:width$}  {}\n", entry.syntax(), entry.summary));
    }
    text.push('\n');
    text.push_str(GRAMMAR);
    text
}

fn paragraph(entry: &Entry) -> String {
    let mut text = entry.syntax();
    let others: Vec<_> = entry.number.into_iter().chain(entry.alias).collect();
    if !others.is_empty() {
        text.push_str(&format!("   (or {})", others.join(", ")));
    }
    text.push_str(&format!("\n    {}\n", sentence(entry.summary)));
    for line in entry.details.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text
}

/// The summary with a capital and a full stop.
fn sentence(summary: &str) -> String {
    let mut chars = summary.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    format!("{}{}.", first.map(String::from).unwrap_or_default(), chars.as_str())
}
