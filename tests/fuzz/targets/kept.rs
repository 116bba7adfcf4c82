//! What an operator types, and what is read back from our own files, which anything may have happened to.

use super::session::key;
use super::{Feed, check_error, pieces};
use distrishare::machine::Meta;
use distrishare::proto::command::{Command, CommandError, append_argument, parse};
use distrishare::proto::content::{
    Expected, Hashed, PIECE, Root, SIZE_MAX, Span, VALUE, Value, ValueList, group_values, list_len,
    pieces as piece_count, root_of,
};
use distrishare::proto::group::{GroupLine, group_name};
use distrishare::proto::index_log::{self, Entry, HEADER, Reader, header};
use distrishare::proto::part_journal::{self, RECORD, Writer};
use distrishare::proto::query::Query;
use distrishare::proto::registry_file;
use distrishare::proto::v2::identity::Identity;
use std::sync::LazyLock;

/// A line of the console.
pub(crate) fn command(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    match parse(&line) {
        Ok(parsed) => {
            if let Command::Search { words } = &parsed.command {
                assert!(!words.is_empty() && line.contains(words.as_str()) || line.contains(['\'', '\\']));
                let _ = Query::parse(words);
            }
            assert_eq!(parsed.command == Command::Empty, parsed.command.name().is_empty());
        }
        Err(why) => {
            let text = why.to_string();
            assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
            if let CommandError::MissingArgument { .. } = why {
                for answer in ["1", "x y", "it's \"quoted\" \\ and &", "&", "#"] {
                    let longer = append_argument(&line, answer);
                    let next = parse(&longer);
                    assert_ne!(next, Err(why.clone()), "asked for the same again: {longer:?}");
                    let broken = [CommandError::UnclosedQuote, CommandError::OpenEscape];
                    assert!(!next.is_err_and(|why| broken.contains(&why)), "{longer:?}");
                }
            }
        }
    }
}

/// The file of a node's key.
pub(crate) fn identity(data: &[u8]) {
    match Identity::decode(data) {
        Err(why) => check_error(&why),
        Ok(identity) => {
            let file = identity.encode();
            let again = Identity::decode(&file).expect("our own file");
            assert_eq!((again.id(), again.encode()), (identity.id(), file));
            assert!(!format!("{identity:?}").contains(&"00".repeat(8)), "a secret shows");
        }
    }
}

/// A group's line, as pasted; the same bytes are a key and a typing error.
pub(crate) fn group_line(data: &[u8]) {
    match GroupLine::decode(&String::from_utf8_lossy(data)) {
        Err(why) => check_error(&why),
        Ok(key) => {
            let line = GroupLine::encode(&key);
            let again = GroupLine::decode(&line).expect("our own line");
            assert_eq!((again.reveal(), group_name(&again)), (key.reveal(), group_name(&key)));
        }
    }
    let mut feed = Feed::new(data);
    let key = distrishare::config::Key::new(feed.array());
    let mut line = GroupLine::encode(&key).into_bytes();
    let (at, typed) = (feed.word() % line.len(), feed.byte() % 128);
    line[at] = typed;
    let line = String::from_utf8(line).expect("ASCII");
    if let Ok(read) = GroupLine::decode(&line) {
        assert_eq!(read.reveal(), key.reveal(), "a typing error made another key: {line:?}");
    }
}

/// A registry's file.
pub(crate) fn registry_file(data: &[u8]) {
    match registry_file::decode(data) {
        Err(why) => assert!(!why.to_string().is_empty()),
        Ok(records) => {
            let file = registry_file::encode(&records, usize::MAX);
            assert_eq!(registry_file::decode(&file), Ok(records));
        }
    }
}

/// The length of the pieces, then a log of roots; the same bytes decide on a log of ours, and on a byte that changed in it.
pub(crate) fn index_log(data: &[u8]) {
    let mut feed = Feed::new(data);
    let step = feed.byte();
    let log = feed.rest();
    let (entries, good) = read_log(log, step);
    for entry in &entries {
        assert_eq!(encoded(entry, log), log[range(entry.record.clone())], "one record has one form");
    }
    assert!(good <= log.len() as u64);

    let mut feed = Feed::new(data);
    let mut log = header().to_vec();
    let mut written = Vec::new();
    for _ in 0..1 + feed.byte() % 4 {
        let size = match feed.byte() {
            few @ 0..200 => u64::from(few) * 5000,
            many => u64::from(many - 199) * PIECE - u64::from(feed.byte()),
        };
        let mut meta =
            Meta { size, mtime: feed.long() as i64, device: 1, inode: feed.long(), ..Meta::default() };
        (meta.ctime, meta.marks) = (meta.mtime ^ 5, meta.mtime as u32);
        let values = (0..list_len(Span::Piece, size)).map(|n| [n as u8; VALUE]).collect();
        let hashed = Hashed { root: Root::new(feed.array()), size, values, groups: Vec::new() };
        let (record, entry) =
            index_log::encode(&meta, size as u32, &hashed, log.len() as u64).expect("a file of that size");
        log.extend_from_slice(&record);
        written.push(entry);
    }
    assert_eq!(read_log(&log, step), (written.clone(), log.len() as u64));
    let (at, change) = (feed.word() % log.len(), feed.byte().max(1));
    log[at] ^= change;
    let before = written.iter().take_while(|entry| entry.record.end <= at as u64).count();
    let (read, good) = read_log(&log, step);
    let untouched = if at < HEADER { 0 } else { before };
    assert_eq!(read, written[..untouched], "byte {at} changed by {change:02x}");
    assert!(good <= at as u64);
}

fn read_log(log: &[u8], step: u8) -> (Vec<Entry>, u64) {
    let run = |parts: &[&[u8]]| {
        let mut reader = Reader::new();
        let entries: Vec<Entry> = parts.iter().flat_map(|part| reader.push(part)).collect();
        if let Some(why) = reader.damage() {
            check_error(&why);
        }
        (entries, reader.good(), reader.damage())
    };
    let whole = run(&[log]);
    assert_eq!(run(&pieces(log, step.max(1))), whole, "pieces of {step}");
    (whole.0, whole.1)
}

/// The length of the slices, then a journal; the same bytes decide on a journal of ours, and on a byte that changed in it.
pub(crate) fn part_journal(data: &[u8]) {
    // hostile: 166
    let mut feed = Feed::new(data);
    let step = feed.byte();
    let journal = feed.rest();
    let (header, claims, _, good) = read_journal(journal, step);
    match &header {
        None => assert!(good == 0 && claims.is_empty()),
        Some(header) => {
            let encoded = header.encode();
            assert_eq!(encoded, journal[..encoded.len()], "one header has one form");
            assert_eq!((good as usize - encoded.len()) % RECORD, 0);
        }
    }

    let mut feed = Feed::new(data);
    let size = feed.long() % (100 * PIECE);
    let header = part_journal::Header::new(Root::new(feed.array()), size, "a/b").expect("a good name");
    let writer = Writer::new(&header);
    let mut journal = header.encode();
    // What it says after the header and after each record: the claimed pieces, a mark at the end.
    let mut states = vec![(vec![], None, journal.len())];
    for _ in 0..1 + feed.byte() % 8 {
        let (mut claims, first, count) = (states[states.len() - 1].0.clone(), feed.byte(), feed.byte());
        let (record, mark) = if feed.flag() {
            let time = feed.long() as i64;
            (writer.mark(time), Some(time.max(0)))
        } else {
            let range = u64::from(first)..u64::from(first) + u64::from(count % 16);
            let Some(record) = writer.claim(range.clone()) else {
                assert!(range.is_empty() || range.end > piece_count(size));
                continue;
            };
            claims.extend(range);
            claims.sort_unstable();
            claims.dedup();
            (record, None)
        };
        journal.extend_from_slice(&record);
        states.push((claims, mark, journal.len()));
    }
    let check = |journal: &[u8], touched: usize| {
        let (_, claims, mark, good) = read_journal(journal, step);
        let none = (vec![], None, 0);
        let expected = states.iter().rev().find(|(.., end)| *end <= touched).unwrap_or(&none);
        assert_eq!((claims, mark, good as usize), *expected, "touched from {touched} on");
    };
    check(&journal, journal.len());
    let (at, change) = (feed.word() % journal.len(), feed.byte().max(1));
    check(&journal[..at], at);
    journal[at] ^= change;
    check(&journal, at);
}

/// Header, claimed pieces, mark at the end, bytes that are good.
type Journal = (Option<part_journal::Header>, Vec<u64>, Option<i64>, u64);

fn read_journal(journal: &[u8], step: u8) -> Journal {
    let run = |parts: &[&[u8]]| {
        let mut reader = part_journal::Reader::new();
        for part in parts {
            assert_eq!(reader.push(part), reader.damage().is_none());
        }
        if let Some(why) = reader.damage() {
            check_error(&why);
        }
        let pieces = reader.header().map_or(0, |header| piece_count(header.size()));
        assert!(reader.held() as u64 <= pieces / 8 + 8 + 2 * part_journal::HEADER_MAX as u64);
        assert!(reader.claims().all(|claim| claim.start < claim.end && claim.end <= pieces));
        assert!(reader.good() <= journal.len() as u64 && reader.mark().is_none_or(|time| time >= 0));
        // A claim may be of 2^23 pieces: those of small files are enough to look at one by one.
        let claims = reader.claims().flatten().take(1 << 10).collect();
        (reader.header().cloned(), claims, reader.mark(), reader.good())
    };
    let whole = run(&[journal]);
    assert_eq!(run(&pieces(journal, step.max(1))), whole, "slices of {step}");
    whole
}

fn encoded(entry: &Entry, log: &[u8]) -> Vec<u8> {
    let list = |span| -> Vec<Value> {
        let count = u32::try_from(list_len(span, entry.meta.size)).expect("below 2^24");
        let bytes = entry.values(span, 0, count).map_or(&[][..], |at| &log[range(at)]);
        bytes.chunks_exact(VALUE).map(|value| value.try_into().expect("a value")).collect()
    };
    let (size, root) = (entry.meta.size, entry.root);
    let hashed = Hashed { root, size, values: list(Span::Piece), groups: list(Span::Group) };
    index_log::encode(&entry.meta, entry.path, &hashed, entry.record.start).expect("it was one").0
}

fn range(range: std::ops::Range<u64>) -> std::ops::Range<usize> {
    range.start as usize..range.end as usize
}

/// A file whose lists are known.
struct File {
    size: u64,
    root: Root,
    pieces: Vec<Value>,
    groups: Vec<Value>,
}

/// Of one piece, of some, of one group and a bit, of three groups.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let file = |count: u64| {
        let size = count * PIECE - 77;
        let pieces: Vec<Value> = (0..count).map(|n| [n as u8 ^ (n >> 8) as u8; VALUE]).collect();
        let root = root_of(&pieces, Span::Piece, size).unwrap_or(Root::new(*key(9).reveal()));
        let groups = group_values(&pieces, size);
        File { size, root, pieces, groups }
    };
    [1, 2, 3, 64, 2049, 4097].map(file).into()
});

/// A file of which the lists are known, then what somebody answers to each request for them. At the end an honest source
/// answers, and all must be well.
pub(crate) fn value_list(data: &[u8]) {
    // hostile: 106
    let mut feed = Feed::new(data);
    let file = &FILES[usize::from(feed.byte()) % FILES.len()];
    if let Err(why) = ValueList::new(feed.long(), file.root) {
        check_error(&why);
    }
    let mut list = ValueList::new(file.size, file.root).expect("a file's size and root");
    while !feed.is_empty() {
        let piece = feed.word() as u64 % (file.pieces.len() as u64 + 1);
        let Some(want) = list.needs(piece) else {
            check_expected(&list, file, piece);
            continue;
        };
        let (what, number) = (feed.byte(), feed.word());
        let (mut first, mut bytes) = (want.first, right(file, want.span, want.first, want.count));
        match what % 8 {
            1 => bytes.truncate((1 + number % want.count as usize) * VALUE),
            2 => bytes.truncate(number % (bytes.len() + 1)),
            3 => {
                let at = number % bytes.len();
                bytes[at] ^= what | 1;
            }
            4 => first = number as u64,
            5 => first = feed.long(),
            6 => bytes.extend_from_within(..VALUE),
            7 => list.restart(),
            _ => {}
        }
        let span = if what & 128 == 0 { want.span } else { Span::Group };
        if let Err(why) = list.accept(span, first, &bytes) {
            check_error(&why);
        }
        check_expected(&list, file, piece);
    }
    list.restart();
    for piece in [0, file.pieces.len() as u64 / 2, file.pieces.len() as u64 - 1] {
        for _ in 0..2 {
            if let Some(want) = list.needs(piece) {
                let bytes = right(file, want.span, want.first, want.count);
                assert_eq!(
                    list.accept(want.span, want.first, &bytes),
                    Ok(()),
                    "the right values of {want:?}"
                );
            }
        }
        assert!(list.needs(piece).is_none() && list.expected(piece).is_some());
        check_expected(&list, file, piece);
    }
    assert!(file.size <= SIZE_MAX);
}

fn right(file: &File, span: Span, first: u64, count: u32) -> Vec<u8> {
    let all = if span == Span::Piece { &file.pieces } else { &file.groups };
    all[first as usize..first as usize + count as usize].as_flattened().to_vec()
}

/// What is told of a piece is right, whoever said it; and little is held.
fn check_expected(list: &ValueList, file: &File, piece: u64) {
    match list.expected(piece) {
        None => {}
        Some(Expected::Root(root)) => assert!(root == file.root && file.pieces.len() <= 1),
        Some(Expected::Value(value)) => assert_eq!(value, file.pieces[piece as usize], "piece {piece}"),
    }
    assert!(list.held() <= 192 << 10, "{} bytes held", list.held());
}
