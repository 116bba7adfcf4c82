//! Names typed as they were shown. What can be read in several ways is read as what the operator has before his eyes.

use super::entries::ENTRIES;
use super::{Command, CommandError, Line, Wanted, Which, parse};
use crate::proto::escape::for_terminal;
use crate::proto::name::is_same;

/// [`parse`], for somebody to whom names were shown: `shown` gives the name that a text stands for ([`is_shown_as`]). It
/// decides where a line could be read otherwise: as a host with its port, as quoted, as run beside other commands. Numbers,
/// and addresses that are numbers, are never taken for names, so no name that a stranger gives a file takes their place.
///
/// # Errors
/// As [`parse`], unless it is a name that was shown.
pub fn parse_among(line: &str, shown: &dyn Fn(&str) -> Option<String>) -> Result<Line, CommandError> {
    let parsed = parse(line);
    let Some((command, typed)) = argument(line).filter(|_| !is_settled(&parsed)) else { return parsed };
    if let Some(name) = name_of(&parsed).and_then(shown) {
        let background = parsed.is_ok_and(|line| line.background);
        return Ok(Line { command: command(name), background });
    }
    let as_typed = |typed: &str| shown(typed).or_else(|| shown(typed.trim_matches(BLANKS)));
    let before_mark = typed.trim_end_matches(BLANKS).strip_suffix('&');
    let before_mark = before_mark.filter(|typed| typed.ends_with(BLANKS));
    if let Some(name) = before_mark.and_then(|typed| as_typed(typed.trim_end_matches(BLANKS))) {
        return Ok(Line { command: command(name), background: true });
    }
    match as_typed(typed) {
        Some(name) => Ok(Line { command: command(name), background: false }),
        None => parsed,
    }
}

/// How well `typed` stands for `name`: as it is, in Unicode's other spelling of the same, as a terminal shows it.
pub fn is_shown_as(name: &str, typed: &str) -> Option<u8> {
    if name == typed {
        Some(0)
    } else if is_same(name, typed) {
        Some(1)
    } else {
        (is_same(&for_terminal(name), typed)).then_some(2)
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// Makes a command of the name it is for.
type Named = fn(String) -> Command;

/// A command whose argument is a name, and that argument as it was typed.
fn argument(line: &str) -> Option<(Named, &str)> {
    let line = line.trim_end_matches(['\r', '\n']).trim_start_matches(BLANKS);
    let (word, typed) = line.split_once(BLANKS)?;
    let named = |name: &String| name == word;
    let entry = ENTRIES
        .iter()
        .find(|entry| entry.number.map(str::to_owned).as_ref().is_some_and(named) || entry.is_named(word))?;
    let command: Named = match entry.name {
        "get" => |name| Command::Get(Wanted::Name(name)),
        "pause" => |name| Command::Pause(Which::Name(name)),
        "resume" => |name| Command::Resume(Which::Name(name)),
        "cancel" => |name| Command::Cancel(Which::Name(name)),
        _ => return None,
    };
    Some((command, typed))
}

/// Whether it can be read in one way only.
fn is_settled(parsed: &Result<Line, CommandError>) -> bool {
    let Ok(Line { command, .. }) = parsed else { return false };
    match command {
        Command::Get(Wanted::Numbers { .. } | Wanted::All) => true,
        Command::Get(Wanted::At { node, .. } | Wanted::Folder { node: Some(node), .. }) => {
            node.literal().is_some()
        }
        Command::Get(Wanted::Folder { node: None, .. }) => true,
        Command::Pause(which) | Command::Resume(which) | Command::Cancel(which) => {
            !matches!(which, Which::Name(_))
        }
        _ => false,
    }
}

/// The name that the line means as it stands.
fn name_of(parsed: &Result<Line, CommandError>) -> Option<&str> {
    match &parsed.as_ref().ok()?.command {
        Command::Get(Wanted::Name(name))
        | Command::Pause(Which::Name(name))
        | Command::Resume(Which::Name(name))
        | Command::Cancel(Which::Name(name)) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn among(line: &str, names: &[&str]) -> Result<Line, CommandError> {
        let shown = |typed: &str| {
            let fits = names.iter().filter_map(|name| Some((is_shown_as(name, typed)?, *name)));
            fits.min().map(|(_, name)| name.to_owned())
        };
        parse_among(line, &shown)
    }

    fn get(name: &str, background: bool) -> Result<Line, CommandError> {
        Ok(Line { command: Command::Get(Wanted::Name(name.to_owned())), background })
    }

    #[test]
    fn names_are_typed_as_they_were_shown() {
        for name in [
            "Season 1 Episode 2.mkv",
            "Track 01 Intro.mp3",
            "Rock &",
            "'quoted' name.txt",
            "'open name.txt",
            "\"double\" name.txt",
            "a:80 b.txt",
            "a  b",
            " leading",
            "plain.txt",
        ] {
            assert_eq!(among(&format!("get {name}"), &[name]), get(name, false), "{name:?}");
            assert_eq!(among(&format!("3.4 {name}\r\n"), &[name]), get(name, false), "{name:?}");
            assert_eq!(among(&format!("get {name} &"), &[name]), get(name, true), "{name:?}");
            let cancel = Command::Cancel(Which::Name(name.to_owned()));
            let line = Ok(Line { command: cancel, background: false });
            assert_eq!(among(&format!("cancel {name}"), &[name]), line, "{name:?}");
        }
        assert_eq!(among("get cafe\u{301}", &["caf\u{e9}"]), get("caf\u{e9}", false));
        assert_eq!(among("get a\\u{202e}b", &["a\u{202e}b"]), get("a\u{202e}b", false));
        assert_eq!(among("get a\\u{202e}b", &["a\u{202e}b", "a\\u{202e}b"]), get("a\\u{202e}b", false));
    }

    #[test]
    fn numbers_addresses_and_what_was_meant_so_are_no_other_names() {
        for (line, name) in [
            ("get 3", "3"),
            ("get 1 4-7", "1 4-7"),
            ("get 3.1", "3.1"),
            ("get all", "all"),
            ("get 10.0.0.5 9000 x", "10.0.0.5 9000 x"),
            ("get 10.0.0.5:9000 x", "10.0.0.5:9000 x"),
            ("get music/", "music/"),
            ("cancel all", "all"),
            ("search a b", "a b"),
            ("get a b", "b"),
        ] {
            assert_eq!(among(line, &[name]), parse(line), "{line}");
        }
        assert_eq!(among("get 'a b'", &["'a b'", "a b"]), get("a b", false));
        assert_eq!(among("get Rock &", &["Rock &", "Rock"]), get("Rock", true));
        assert!(matches!(
            among("get box.lan 9000 x", &[]),
            Ok(Line { command: Command::Get(Wanted::At { .. }), .. })
        ));
    }

    proptest! {
        #[test]
        fn what_was_shown_can_be_typed(name in "[a-zA-Z'\"0-9 :.&é\u{301}-]{0,12}[a-zA-Z'\".&é]") {
            // A number, with a port or without, has a meaning of its own.
            prop_assume!(!is_settled(&parse(&format!("get {name}"))));
            prop_assume!(!name.starts_with(' '));
            prop_assert_eq!(among(&format!("get {name}"), &[&name]), get(&name, false));
        }
    }
}
