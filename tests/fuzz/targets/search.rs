//! The language of search, and what is done to foreign text.

use super::check_error;
use distrishare::proto::escape::{LOG_LINE_MAX, cut, for_log, for_terminal, for_terminal_bytes};
use distrishare::proto::fold::{fold, is_folded_ascii};
use distrishare::proto::name::{COMPONENT_MAX, COMPONENTS_MAX, NAME_MAX, check_name};
use distrishare::proto::query::{Candidate, Query, TEXT_MAX};
use std::time::{Duration, Instant};

/// Far more than any query may take for one name, and far less than a pattern that goes back and forth.
const LONGEST: Duration = Duration::from_secs(2);

/// A query, a line end, then names of files, a line each.
pub(crate) fn query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (asked, names) = text.split_once('\n').unwrap_or((&text, ""));
    let query = match Query::parse(asked) {
        Ok(query) => query,
        Err(why) => return check_error(&why),
    };
    let written = query.text();
    assert!(written.len() <= TEXT_MAX, "{} bytes: {written:?}", written.len());
    let read = Query::parse(&written).unwrap_or_else(|why| panic!("our own {written:?}: {why}"));
    assert_eq!((&read, read.text()), (&query, written.clone()), "{asked:?}");
    assert!(query.exact_name().is_none_or(|name| !name.is_empty()), "{asked:?}");

    for name in names.lines().take(8).chain([asked, "music/Ñandú & Söhne (1).FLAC"]) {
        let folded = fold(name);
        let (size, root) = (name.len() as u64, [data.len() as u8; 32]);
        let file = Candidate { name, folded: &folded, size, root: Some(&root) };
        #[allow(clippy::disallowed_methods)] // no result depends on the clock
        let before = Instant::now();
        let score = query.matches(&file);
        assert!(before.elapsed() < LONGEST, "{asked:?} takes for ever on {name:?}");
        assert_eq!(read.matches(&file), score, "what was sent finds something else: {written:?} {name:?}");
        folding(asked, &query, &file, score.is_some());
    }
}

/// Words mean what folding says, in any spelling.
fn folding(asked: &str, query: &Query, file: &Candidate<'_>, found: bool) {
    if asked.chars().all(|c| c.is_alphanumeric() || c == ' ') {
        let all = asked.split_whitespace().all(|word| file.folded.contains(&*fold(word)));
        assert_eq!(found, all, "{asked:?} {:?}", file.name);
    }
    if !asked.contains('"') {
        // Only a name in quotes looks at more than the folded name.
        let plain = Candidate { name: file.folded, ..*file };
        assert_eq!(query.matches(&plain).is_some(), found, "{asked:?} {:?}", file.name);
        if asked.is_ascii() {
            let loud = Query::parse(&asked.to_ascii_uppercase());
            let loud = loud.unwrap_or_else(|why| panic!("{asked:?} in capitals: {why}"));
            assert_eq!(loud.matches(file).is_some(), found, "{asked:?} {:?}", file.name);
        }
    }
}

/// Any bytes, as a name and as a text that is to be shown.
pub(crate) fn text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for shown in [for_terminal(&text), for_log(&text), for_terminal_bytes(data)] {
        assert!(!shown.contains(char::is_control), "{shown:?}");
        assert!(!shown.contains(|c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')));
    }
    assert!(for_log(&text).len() <= LOG_LINE_MAX);
    let max = data.first().map_or(0, |&byte| usize::from(byte));
    let short = cut(&text, max);
    assert!(text.starts_with(short) && short.len() <= max && short.len() + 3 >= max.min(text.len()));

    let folded = fold(&text);
    assert_eq!(fold(&folded), folded, "{text:?}");
    assert_eq!(folded.matches('/').count(), text.matches('/').count());
    assert!(folded.len() <= 11 * text.len());
    assert_eq!(is_folded_ascii(&text), text.is_ascii() && folded == text);

    match check_name(&text) {
        Err(why) => check_error(&why),
        Ok(()) => {
            assert!((1..=NAME_MAX).contains(&text.len()) && !text.contains('\\'));
            assert!(!text.contains(char::is_control));
            let parts: Vec<&str> = text.split('/').collect();
            assert!(parts.len() <= COMPONENTS_MAX);
            for part in parts {
                assert!((1..=COMPONENT_MAX).contains(&part.len()) && !part.starts_with(['.', '-', '~']));
                assert!(!part.ends_with(['.', ' ']));
            }
        }
    }
}
