//! Answers of the file port, as its client reads them. The format gives a file's bytes and an error's text the same
//! clothes, so what a stream is has to be guessed; the rule for that is here and nowhere else.

use super::Refusal;
use crate::proto::escape::cut;

/// The answer to a search for a file that is there.
pub const FOUND: &str = "FOUND";
/// The answer to a search for one that is not.
pub const NOT_FOUND: &str = "NOT_FOUND";
/// Bytes of an error text that are looked at; a longer stream that begins like one is a file.
pub const ERROR_MAX: usize = 200;

const ERROR: &[u8] = b"ERROR: ";
const BUSY: &[u8] = b"ERROR: busy";

/// What a whole answer to a search says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchAnswer {
    /// The file is there.
    Found,
    /// It is not.
    NotFound,
    /// An error text, cut to [`ERROR_MAX`] bytes; not escaped.
    Refused(String),
    /// Nothing the original would send.
    Garbage,
}

/// Reads the stream that answered a search, at its end. A caller needs to keep no more than [`ERROR_MAX`] bytes of it
/// and one: what comes after cannot change the verdict.
pub fn parse_search_answer(bytes: &[u8]) -> SearchAnswer {
    if bytes == FOUND.as_bytes() {
        return SearchAnswer::Found;
    }
    if bytes == NOT_FOUND.as_bytes() {
        return SearchAnswer::NotFound;
    }
    if !bytes.starts_with(b"ERROR") {
        return SearchAnswer::Garbage;
    }
    // Three more bytes than shown, so that a character at the edge is still whole.
    let start = &bytes[..bytes.len().min(ERROR_MAX + 3)];
    SearchAnswer::Refused(cut(&String::from_utf8_lossy(start), ERROR_MAX).to_owned())
}

/// What the stream of a download is so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// It may still be an error text.
    Undecided,
    /// The file's bytes, from the first on.
    Content,
}

/// What the stream of a download was, at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadEnd {
    /// A file: these bytes, which are all of it that was held back.
    Content(Vec<u8>),
    /// An error text; not escaped.
    Refused(String),
    /// Nothing: an empty file or a peer that failed, which v1 cannot tell.
    Empty,
}

/// What a download stream is that began with `start`. `found_before`: a search just before said [`FOUND`].
///
/// Only a whole stream of at most [`ERROR_MAX`] bytes of valid UTF-8 that begins with `ERROR: ` can be an error. After
/// a FOUND the only errors are those known to exist: the texts of [`Refusal`], and anything that begins with
/// `ERROR: busy`. **What stays ambiguous:** a file that consists of exactly such a text cannot be downloaded by v1, and
/// without a FOUND no short file that begins with `ERROR: ` can. A false error costs the operator a second look, a
/// false file would be an error text saved under the file's name.
pub fn download_head(start: &[u8], found_before: bool) -> Head {
    let possible = if start.len() > ERROR_MAX {
        false
    } else if found_before {
        Refusal::ALL.iter().any(|refusal| refusal.text().as_bytes().starts_with(start)) || agrees(start, BUSY)
    } else {
        agrees(start, ERROR)
    };
    let broken = std::str::from_utf8(start).is_err_and(|error| error.error_len().is_some());
    if possible && !broken { Head::Undecided } else { Head::Content }
}

/// What a download stream is whose `bytes` are all there is of it; the rule of [`download_head`].
pub fn whole_download(bytes: Vec<u8>, found_before: bool) -> HeadEnd {
    if bytes.is_empty() {
        return HeadEnd::Empty;
    }
    let known = |bytes: &[u8]| Refusal::ALL.iter().any(|refusal| refusal.text().as_bytes() == bytes);
    let error = bytes.len() <= ERROR_MAX
        && if found_before { known(&bytes) || bytes.starts_with(BUSY) } else { bytes.starts_with(ERROR) };
    if !error {
        return HeadEnd::Content(bytes);
    }
    match String::from_utf8(bytes) {
        Ok(text) => HeadEnd::Refused(text),
        Err(error) => HeadEnd::Content(error.into_bytes()),
    }
}

/// Whether one of the two begins with the other.
fn agrees(start: &[u8], pattern: &[u8]) -> bool {
    start.starts_with(pattern) || pattern.starts_with(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The verdict on a stream that comes in one piece, without held bytes.
    fn verdict(stream: &[u8], found_before: bool) -> HeadEnd {
        match download_head(stream, found_before) {
            Head::Content => HeadEnd::Content(stream.to_vec()),
            Head::Undecided => whole_download(stream.to_vec(), found_before),
        }
    }

    fn refused(text: &str) -> HeadEnd {
        HeadEnd::Refused(text.to_owned())
    }

    #[test]
    fn search_answers_are_read_whole() {
        assert_eq!(parse_search_answer(b"FOUND"), SearchAnswer::Found);
        assert_eq!(parse_search_answer(b"NOT_FOUND"), SearchAnswer::NotFound);
        for garbage in [&b""[..], b"FOUN", b"FOUND\n", b"FOUNDFOUND", b"found", b"\xFF", b"HTTP/1.1 400"] {
            assert_eq!(parse_search_answer(garbage), SearchAnswer::Garbage, "{garbage:?}");
        }
        assert_eq!(
            parse_search_answer(Refusal::BadSecret.text().as_bytes()),
            SearchAnswer::Refused(Refusal::BadSecret.text().into())
        );
    }

    #[test]
    fn long_error_texts_are_cut() {
        // hostile: 80
        let long = format!("ERROR: \x1b[2J{}", "ñ".repeat(500_000));
        let SearchAnswer::Refused(text) = parse_search_answer(long.as_bytes()) else { panic!("no error") };
        assert!(text.len() <= ERROR_MAX && text.len() > ERROR_MAX - 2 && long.starts_with(&text));
        let SearchAnswer::Refused(text) = parse_search_answer(b"ERROR: \xFF\xFE") else { panic!("no error") };
        assert_eq!(text, "ERROR: \u{fffd}\u{fffd}");
        let SearchAnswer::Refused(text) = parse_search_answer(&[&b"ERROR: "[..], &[0xFF; 400]].concat())
        else {
            panic!("no error")
        };
        assert!(text.len() <= ERROR_MAX);
    }

    #[test]
    fn a_file_that_begins_like_an_error_is_a_file() {
        // hostile: 77
        let mut essay = b"ERROR is how I learned".to_vec();
        essay.resize(1 << 20, b'.');
        let mut log = b"ERROR: disk on fire\n".to_vec();
        log.resize(1 << 20, b'.');
        for found in [false, true] {
            assert_eq!(verdict(&essay, found), HeadEnd::Content(essay.clone()));
            assert_eq!(verdict(&log, found), HeadEnd::Content(log.clone()));
            assert_eq!(
                verdict(b"ERROR", found),
                HeadEnd::Content(b"ERROR".to_vec()),
                "too short for the prefix"
            );
            assert_eq!(verdict(b"ERROR: \xFF", found), HeadEnd::Content(b"ERROR: \xFF".to_vec()));
            assert_eq!(
                verdict(b"ERROR: \xC3", found),
                HeadEnd::Content(b"ERROR: \xC3".to_vec()),
                "half a character"
            );
            // An error text in mid-file is content, at whatever chunk it begins.
            let mid = [&[b'x'; 4096][..], b"ERROR: File not found."].concat();
            assert_eq!(verdict(&mid, found), HeadEnd::Content(mid.clone()));
        }
        let edge = format!("ERROR: {}", "x".repeat(ERROR_MAX - 7));
        assert_eq!(verdict(edge.as_bytes(), false), refused(&edge));
        let over = format!("{edge}x");
        assert_eq!(verdict(over.as_bytes(), false), HeadEnd::Content(over.into_bytes()));
    }

    #[test]
    fn after_found_only_known_texts_are_errors() {
        for refusal in Refusal::ALL {
            for found in [false, true] {
                assert_eq!(verdict(refusal.text().as_bytes(), found), refused(refusal.text()));
            }
            let line = format!("{}\n", refusal.text());
            let expected = match refusal {
                Refusal::Busy => refused(&line),
                _ => HeadEnd::Content(line.clone().into_bytes()),
            };
            assert_eq!(verdict(line.as_bytes(), true), expected);
        }
        let short = b"ERROR: line 7\n";
        assert_eq!(verdict(short, true), HeadEnd::Content(short.to_vec()));
        assert_eq!(verdict(short, false), refused("ERROR: line 7\n"));
        assert_eq!(verdict(b"ERROR: busy until noon", true), refused("ERROR: busy until noon"));
        assert_eq!(download_head(b"ERROR: l", true), Head::Content, "no need to wait for the end");
        assert_eq!(download_head(b"ERROR: l", false), Head::Undecided);
    }

    #[test]
    fn nothing_is_nothing() {
        // hostile: 74
        for found in [false, true] {
            assert_eq!(verdict(b"", found), HeadEnd::Empty);
        }
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "ERROR(: ?(busy|File not found\\.|é)?[a-zé]{0,250})?".prop_map(String::into_bytes),
            (0usize..5, 0usize..60).prop_map(|(i, n)| {
                let text = Refusal::ALL[i].text().as_bytes();
                text[..n.min(text.len())].to_vec()
            }),
        ]
    }

    proptest! {
        #[test]
        fn segments_make_no_difference(stream in stream(), found: bool) {
            let end = whole_download(stream.clone(), found);
            prop_assert_eq!(&end, &verdict(&stream, found));
            // Once the start says content, more of the stream and its end say the same.
            for n in 0..=stream.len() {
                if download_head(&stream[..n], found) == Head::Content {
                    prop_assert_eq!(&end, &HeadEnd::Content(stream.clone()));
                }
            }
        }
    }
}
