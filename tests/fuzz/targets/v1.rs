//! The original's formats: requests, answers, the registry, HELLO and GOODBYE.

use super::{Feed, check_error, pieces};
use distrishare::config::{Secret, V1_DEFAULT_SECRET};
use distrishare::proto::announce::{self, ANNOUNCE_MAX};
use distrishare::proto::json::{JsonError, ObjectScanner, REQUEST_MAX, Scan};
use distrishare::proto::registry::{
    ERROR_MAX, PORT_MIN, encode_error, encode_register, encode_reply, parse_answer, parse_register,
};
use distrishare::proto::v1::{
    self as wire, Head, HeadEnd, Request, SearchAnswer, download_head, encode_request, parse_request,
    whole_download,
};

/// The scanner is shown `stream` whole and in pieces; what it found: an object, and whether more stands behind it.
fn scanned(stream: &[u8], step: u8) -> Result<Option<(Vec<u8>, bool)>, JsonError> {
    let run = |parts: &[&[u8]]| {
        let mut scanner = ObjectScanner::new(REQUEST_MAX);
        let last = parts.iter().map(|part| scanner.push(part)).last();
        assert!(scanner.len() <= REQUEST_MAX && scanner.object().len() <= scanner.len());
        (last, scanner.object().to_vec(), scanner.trailing())
    };
    let whole = run(&[stream]);
    assert_eq!(run(&pieces(stream, step.max(1))), whole, "pieces of {step}");
    match whole {
        (Some(Scan::Complete), object, trailing) => {
            assert!(object.starts_with(b"{") && object.ends_with(b"}"));
            assert!(std::str::from_utf8(&object).is_ok());
            assert_eq!(ObjectScanner::new(REQUEST_MAX).push(&object), Scan::Complete);
            Ok(Some((object, trailing)))
        }
        (Some(Scan::Bad(why)), object, _) => {
            assert!(object.is_empty());
            check_error(&why);
            Err(why)
        }
        _ => Ok(None),
    }
}

/// The length of the pieces, then what a client sends to the file port.
pub(crate) fn v1_request(data: &[u8]) {
    let mut feed = Feed::new(data);
    let step = feed.byte();
    let Ok(Some((object, _))) = scanned(feed.rest(), step) else { return };
    let secret = Secret::new(V1_DEFAULT_SECRET);
    let other = Secret::new("another");
    match parse_request(&object, &secret) {
        Err(refusal) => assert!(wire::Refusal::ALL.contains(&refusal)),
        Ok(request) => {
            assert!(parse_request(&object, &other).is_err(), "any secret does");
            assert_eq!(parse_request(&encode_request(&request, &secret), &secret), Ok(request.clone()));
            let (Request::Search { name } | Request::Download { name }) = request;
            assert!(name.len() <= object.len());
        }
    }
}

/// Whether a search said FOUND before, the length of the pieces, then a whole answer.
pub(crate) fn v1_answer(data: &[u8]) {
    let mut feed = Feed::new(data);
    let (found, step) = (feed.flag(), feed.byte());
    let stream = feed.rest();
    if let SearchAnswer::Refused(text) = wire::parse_search_answer(stream) {
        assert!(text.len() <= wire::ERROR_MAX);
    }
    let known = &stream[..stream.len().min(wire::ERROR_MAX + 3)];
    assert_eq!(wire::parse_search_answer(known), wire::parse_search_answer(stream), "the start says all");
    let end = whole_download(stream.to_vec(), found);
    match &end {
        HeadEnd::Content(content) => assert_eq!(content, stream),
        HeadEnd::Refused(text) => assert!(text.as_bytes() == stream && text.len() <= wire::ERROR_MAX),
        HeadEnd::Empty => assert!(stream.is_empty()),
    }
    let mut seen = 0;
    for piece in pieces(stream, step.max(1)) {
        seen += piece.len();
        if download_head(&stream[..seen], found) == Head::Content {
            assert_eq!(end, HeadEnd::Content(stream.to_vec()), "content at {seen}, then another word");
        } else {
            assert!(seen <= wire::ERROR_MAX, "bytes held back without need");
        }
    }
}

/// The length of the pieces, then what a node sends to a registry.
pub(crate) fn registry_request(data: &[u8]) {
    let mut feed = Feed::new(data);
    let step = feed.byte();
    let Ok(Some((object, trailing))) = scanned(feed.rest(), step) else { return };
    match parse_register(&object, trailing) {
        Err(why) => {
            assert!(!why.to_string().is_empty());
            let answer = encode_error(&why.to_string());
            let read = parse_answer(&answer).expect("our own error");
            let text = read.error.expect("a text");
            assert!((1..=ERROR_MAX).contains(&text.len()) && read.nodes.is_empty());
        }
        Ok(register) => {
            assert!(!trailing && register.port >= PORT_MIN);
            assert!(!register.ip.is_unspecified() && !register.ip.is_multicast());
            let again = encode_register(register.ip, register.port);
            let again = parse_register(&again, false).expect("our own");
            assert_eq!((again.ip, again.port), (register.ip, register.port));
        }
    }
}

/// What a registry answers.
pub(crate) fn registry_answer(data: &[u8]) {
    match parse_answer(data) {
        Err(why) => check_error(&why),
        Ok(answer) => {
            assert!(answer.error.as_ref().is_none_or(|text| text.len() <= ERROR_MAX));
            // The shortest entry is `["::",1]` with a comma.
            assert!(answer.nodes.len() <= data.len() / 8);
            let (bytes, given) = encode_reply(&answer.nodes, usize::MAX);
            assert_eq!(given, answer.nodes.len());
            let again = parse_answer(&bytes).expect("our own answer");
            assert_eq!((again.nodes, again.skipped, again.cut), (answer.nodes.clone(), 0, false));
            let (bytes, given) = encode_reply(&answer.nodes, 1400);
            assert!(bytes.len() <= 1400);
            let again = parse_answer(&bytes).expect("our own short answer");
            assert_eq!(again.nodes, answer.nodes[..given]);
        }
    }
}

/// A datagram of the v1 group.
pub(crate) fn announce(data: &[u8]) {
    if let Some(announced) = announce::parse(data) {
        let bytes = announce::encode(&announced);
        assert!(bytes.is_ascii() && bytes.len() <= ANNOUNCE_MAX && data.len() <= ANNOUNCE_MAX);
        assert_eq!(announce::parse(&bytes), Some(announced));
        let colons: Vec<u8> = data.iter().map(|&b| if b == b' ' { b':' } else { b }).collect();
        assert!(colons.len() >= bytes.len(), "shorter than what it says");
    }
}
