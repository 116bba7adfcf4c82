//! What is left of a command line beside its options.

use super::{Result, wrong};
use pico_args::Arguments;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// `--option=value` as two words, where the help shows a value behind the option: pico-args does so for text only and
/// not for paths.
pub(super) fn values_apart(args: Vec<OsString>, help: &str) -> Vec<OsString> {
    let mut words = Vec::with_capacity(args.len());
    for word in args {
        let bytes = word.as_bytes();
        let at = bytes.iter().position(|b| *b == b'=').filter(|_| bytes.starts_with(b"--"));
        let option = at.and_then(|at| std::str::from_utf8(&bytes[..at]).ok());
        match (option, at) {
            (Some(option), Some(at)) if takes_value(option, help) => {
                words.extend([option.into(), OsStr::from_bytes(&bytes[at + 1..]).into()]);
            }
            _ => words.push(word),
        }
    }
    words
}

/// Whether the help has a value right behind this option; a switch is followed by its column's blanks.
fn takes_value(option: &str, help: &str) -> bool {
    help.split_once(&format!("{option} ")).is_some_and(|(_, rest)| !rest.starts_with(' '))
}

/// Whether the help is asked for, in front of a `--`.
pub(super) fn is_asked_for_help(args: &[OsString]) -> bool {
    args.iter().take_while(|word| *word != "--").any(|word| word == "-h" || word == "--help")
}

/// What is left of a command line, whatever it looks like.
pub(super) fn words(args: Arguments) -> Result<Vec<String>> {
    let words = args.finish().into_iter().map(OsString::into_string).collect::<std::result::Result<_, _>>();
    words.or_else(|_| wrong("the command line is not valid UTF-8"))
}

/// Behind the command it is for the node to judge: `search song -live`. In front of it stands no option that is none.
pub(super) fn refuse_option(word: Option<&String>) -> Result<()> {
    match word.filter(|word| word.starts_with('-')) {
        Some(option) => wrong(format!("unknown option `{option}`")),
        None => Ok(()),
    }
}

/// What is left are words; anything that looks like an option is one we do not have, or one too many.
pub(super) fn rest(args: Arguments, help: &str) -> Result<Vec<String>> {
    let words = words(args)?;
    for word in &words {
        if word.starts_with('-') {
            let (option, value) = word.split_once('=').map_or((word.as_str(), None), |(a, b)| (a, Some(b)));
            let known = option.starts_with("--") && help.split_whitespace().any(|known| known == option);
            return match value {
                Some(_) if known => wrong(format!("`{word}`: {option} takes no value")),
                None if known => wrong(format!("{option} is given twice")),
                _ => wrong(format!("unknown option `{word}`")),
            };
        }
    }
    Ok(words)
}
