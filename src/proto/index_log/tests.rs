use super::*;
use crate::proto::content::{FileHasher, GROUP_PIECES, PIECE, group_values, root_of};
use proptest::prelude::*;

fn meta(size: u64) -> Meta {
    let mtime = -1_760_000_000_123_456_789;
    Meta { size, mtime, ctime: 7 - mtime, marks: 0x8001, born: 9, device: 0xfe01, inode: u64::MAX - size }
}

/// What a file of zeros comes to.
fn short(size: u64) -> Hashed {
    let mut hasher = FileHasher::new();
    hasher.update(&vec![0; size as usize]);
    hasher.finish()
}

/// What a file comes to that nobody has to read.
fn long(count: u64) -> Hashed {
    let values: Vec<Value> = (0..count).map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
    let size = count * PIECE - 3;
    let root = root_of(&values, Span::Piece, size).expect("more than one piece");
    Hashed { root, size, groups: group_values(&values, size), values }
}

fn log_of(files: &[Hashed]) -> (Vec<u8>, Vec<Entry>) {
    let (mut log, mut entries) = (header().to_vec(), Vec::new());
    for hashed in files {
        let (record, entry) =
            encode(&meta(hashed.size), path_of("a/b"), hashed, log.len() as u64).expect("they agree");
        assert_eq!(entry.record, log.len() as u64..(log.len() + record.len()) as u64);
        log.extend_from_slice(&record);
        entries.push(entry);
    }
    (log, entries)
}

fn read(log: &[u8]) -> (Vec<Entry>, Reader) {
    let mut reader = Reader::new();
    let entries = reader.push(log);
    (entries, reader)
}

fn at(log: &[u8], range: Range<u64>) -> &[u8] {
    &log[range.start as usize..range.end as usize]
}

#[test]
fn what_was_written_is_read() {
    let files =
        [short(0), short(1), short(PIECE), short(PIECE + 1), long(2048), long(2049), long(5000), short(7)];
    let (log, entries) = log_of(&files);
    let (found, reader) = read(&log);
    assert_eq!(found, entries);
    assert_eq!((reader.good(), reader.damage()), (log.len() as u64, None));
    for (hashed, entry) in files.iter().zip(&found) {
        assert_eq!((entry.root, entry.meta), (hashed.root, meta(hashed.size)));
        let (pieces, groups) = (hashed.values.len(), hashed.groups.len());
        assert_eq!(entry.values_at.is_some(), pieces > 0);
        assert_eq!(entry.groups_at.is_some(), groups > 0);
        if let Some(range) = entry.values(Span::Piece, 0, pieces as u32) {
            assert_eq!(Some(range.start), entry.values_at);
            assert_eq!(at(&log, range), hashed.values.as_flattened());
        }
        if let Some(range) = entry.values(Span::Group, 0, groups as u32) {
            assert_eq!(Some(range.start), entry.groups_at);
            assert_eq!(at(&log, range), hashed.groups.as_flattened());
        }
    }
}

#[test]
fn the_format_is_what_the_page_says() {
    let (log, _) = log_of(&[short(1)]);
    assert_eq!(log[..16], *b"\x89DSIDX\r\n\x02\0\0\0\0\0\0\0");
    assert_eq!(log.len(), 16 + 4 + 1 + 40 + 12 + 4 + 32 + 8);
    let record = &log[16..];
    assert_eq!(record[..5], [101, 0, 0, 0, 1]);
    assert_eq!(record[5..13], 0xfe01_u64.to_le_bytes());
    assert_eq!(record[13..21], (u64::MAX - 1).to_le_bytes());
    assert_eq!(record[21..29], 1_u64.to_le_bytes());
    assert_eq!(record[29..37], (-1_760_000_000_123_456_789_i64).to_le_bytes());
    assert_eq!(record[37..45], 1_760_000_000_123_456_796_i64.to_le_bytes());
    assert_eq!(record[45..53], [0x01, 0x80, 0, 0, 9, 0, 0, 0]);
    assert_eq!(record[53..57], blake3::hash(b"a/b").as_bytes()[..4]);
    assert_eq!(record[57..61], [0; 4]);
    assert_eq!(record[61..93], *blake3::hash(&[0]).as_bytes());
    assert_eq!(record[93..], blake3::hash(&record[..93]).as_bytes()[..8]);
}

#[test]
fn values_outside_of_a_list_stand_nowhere() {
    // hostile: 97
    let (_, entries) = log_of(&[long(5000), short(PIECE + 1), short(5)]);
    let (first, last) = (entries[0].values_at.expect("a list"), entries[0].groups_at.expect("a list"));
    assert_eq!(last, first + 5000 * 32);
    assert_eq!(entries[0].values(Span::Piece, 4096, 904), Some(first + 4096 * 32..last));
    assert_eq!(entries[0].values(Span::Group, 2, 1), Some(last + 64..last + 96));
    for (from, count) in [
        (0, 0),
        (0, 5001),
        (4999, 2),
        (5000, 1),
        (5000, 0),
        (0, u32::MAX),
        (u64::MAX, 1),
        (u64::MAX - 1, 2),
        (1 << 59, 1),
    ] {
        for span in [Span::Piece, Span::Group] {
            assert_eq!(entries[0].values(span, from, count), None, "{from}: {count}");
        }
    }
    assert_eq!(entries[0].values(Span::Group, 0, 4), None);
    assert_eq!(entries[1].values(Span::Group, 0, 1), None);
    assert_eq!(entries[2].values(Span::Piece, 0, 1), None);
}

#[test]
fn a_long_file_is_written_in_parts() {
    let whole = long(GROUP_PIECES + 900);
    let (log, entries) = log_of(&[short(3), whole.clone()]);
    let start = entries[1].record.start;
    let (mut encoder, mut parts) =
        Encoder::begin(&meta(whole.size), path_of("a/b"), start).expect("not too long");
    for values in whole.values[..2500].chunks(64) {
        parts.extend(encoder.values(values).expect("not too many"));
    }
    let rest = Hashed { values: whole.values[2500..].to_vec(), ..whole };
    let (end, entry) = encoder.finish(&rest).expect("they agree");
    parts.extend(end);
    assert!(parts == log[start as usize..]);
    assert_eq!(entry, entries[1]);
}

#[test]
fn what_does_not_belong_together_is_not_written() {
    let hashed = long(2050);
    let right = meta(hashed.size);
    assert!(encode(&right, 1, &hashed, 16).is_some());
    for size in [0, 1, hashed.size - 1, hashed.size + 1, SIZE_MAX, SIZE_MAX + 1, u64::MAX] {
        assert!(encode(&Meta { size, ..right }, 1, &hashed, 16).is_none(), "{size}");
    }
    for size in [0, 1, hashed.size - PIECE, hashed.size + PIECE, SIZE_MAX, SIZE_MAX + 1, u64::MAX] {
        let wrong = Hashed { size, ..hashed.clone() };
        assert!(encode(&Meta { size, ..right }, 1, &wrong, 16).is_none(), "{size}");
    }
    let mut taken = hashed.clone();
    taken.values.remove(0);
    assert!(encode(&right, 1, &taken, 16).is_none());
    let mut twice = hashed.clone();
    twice.values.push([0; 32]);
    assert!(encode(&right, 1, &twice, 16).is_none());
    let no_groups = Hashed { groups: Vec::new(), ..hashed.clone() };
    assert!(encode(&right, 1, &no_groups, 16).is_none());
    let (mut encoder, _) = Encoder::begin(&right, 1, 16).expect("not too long");
    assert!(encoder.values(&hashed.values).is_some());
    assert!(encoder.values(&hashed.values[..1]).is_none());
}

#[test]
fn the_longest_file_has_a_record() {
    // hostile: 105
    let (_, head) = Encoder::begin(&meta(SIZE_MAX), 1, 16).expect("at the limit");
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    assert_eq!(u64::from(len), 101 + ((1 << 23) + 4096) * 32);
    let mut reader = Reader::new();
    assert_eq!(reader.push(&header()), []);
    assert_eq!(reader.push(&head), []);
    assert_eq!(reader.damage(), None);
}

#[test]
fn a_cut_log_keeps_its_whole_records() {
    let (log, entries) = log_of(&[short(5), short(2 * PIECE + 1), short(0), long(3)]);
    for cut in 0..=log.len() {
        let (found, reader) = read(&log[..cut]);
        let whole = entries.iter().filter(|entry| entry.record.end <= cut as u64).count();
        assert_eq!(found, entries[..whole], "{cut}");
        let good = entries[..whole].last().map_or(16, |entry| entry.record.end);
        assert_eq!(reader.good(), if cut < 16 { 0 } else { good }, "{cut}");
        assert_eq!(reader.damage(), None, "{cut}");
        // What is appended behind the good part is found again.
        if cut >= 16 {
            let again = [&log[..reader.good() as usize], &log[good as usize..]].concat();
            assert_eq!(read(&again).0, entries);
        }
    }
}

#[test]
fn a_changed_byte_ends_the_log_there() {
    let (log, entries) = log_of(&[short(5), short(2 * PIECE + 1), short(0)]);
    for place in 0..log.len() {
        for bit in [0x01, 0x80, 0xff] {
            let mut wrong = log.clone();
            wrong[place] ^= bit;
            let (found, reader) = read(&wrong);
            let before = entries.iter().filter(|entry| entry.record.end <= place as u64).count();
            let (whole, good) = match place {
                0..16 => (0, 0),
                _ => (before, entries[before].record.start),
            };
            assert_eq!(found, entries[..whole], "{place}");
            assert_eq!(reader.good(), good, "{place}");
            assert!(reader.damage().is_some(), "{place}");
        }
    }
}

#[test]
fn another_file_or_version_is_begun_anew() {
    assert_eq!((read(b"").1.good(), read(b"").1.damage()), (0, None));
    let lost_line_end = b"\x89DSIDX\n\n\x01\0\0\0\0\0\0\0";
    for foreign in [&[0; 20][..], b"PK\x03\x04 and something else", lost_line_end] {
        let (found, mut reader) = read(foreign);
        assert_eq!((found, reader.good(), reader.damage()), (vec![], 0, Some(Damage::Foreign)));
        // Nothing behind it is taken for ours.
        assert_eq!(reader.push(&log_of(&[short(1)]).0), []);
        assert_eq!(reader.good(), 0);
    }
    let (mut log, _) = log_of(&[short(1)]);
    for version in [0, 1, 255, u32::MAX] {
        log[8..12].copy_from_slice(&version.to_le_bytes());
        let (found, reader) = read(&log);
        assert_eq!((found, reader.good()), (vec![], 0));
        assert_eq!(reader.damage(), Some(Damage::Version(version)));
    }
}

#[test]
fn numbers_that_do_not_agree_are_no_record() {
    let (log, _) = log_of(&[short(PIECE + 1)]);
    let numbers = [0, 1, 2, 3, 101, 165, 166, 1 << 28, u32::MAX - 1, u32::MAX];
    let sizes = [0, 1, PIECE, PIECE + 2, 2 * PIECE, 2 * PIECE + 1, SIZE_MAX, SIZE_MAX + 1, u64::MAX];
    let with_sum = |place: usize, field: &[u8]| {
        let mut wrong = log.clone();
        wrong[16 + place..16 + place + field.len()].copy_from_slice(field);
        let end = wrong.len() - CHECK;
        let sum = blake3::hash(&wrong[16..end]);
        wrong[end..].copy_from_slice(&sum.as_bytes()[..CHECK]);
        wrong
    };
    let lengths = numbers.iter().filter(|&&n| n != 165).map(|n| with_sum(0, &n.to_le_bytes()));
    let counts = numbers.iter().filter(|&&n| n != 2).map(|n| with_sum(57, &n.to_le_bytes()));
    // A size with as many pieces makes a right record, of another file.
    let sizes = sizes.iter().filter(|&&n| n != PIECE + 2 && n != 2 * PIECE);
    let sizes = sizes.map(|n| with_sum(21, &n.to_le_bytes()));
    let kinds = [0, 2, 255].iter().map(|&n| with_sum(4, &[n]));
    for wrong in lengths.chain(counts).chain(sizes).chain(kinds) {
        let (found, reader) = read(&wrong);
        assert_eq!((found, reader.good()), (vec![], 16));
        assert_eq!(reader.damage(), Some(Damage::Record));
    }
    assert_eq!(read(&with_sum(21, &(2 * PIECE).to_le_bytes())).0.len(), 1);
    // What a power cut leaves where the length was stored and the content was not.
    let zeros = [&log[..], &[0; 500]].concat();
    let (found, reader) = read(&zeros);
    assert_eq!((found.len(), reader.good()), (1, log.len() as u64));
    assert_eq!(reader.damage(), Some(Damage::Record));
}

#[test]
fn records_move_into_a_fresh_log() {
    let files = [short(5), long(2049), short(PIECE * 2), long(4)];
    let (log, entries) = log_of(&files);
    let (mut fresh, mut moved) = (header().to_vec(), Vec::new());
    for entry in [&entries[1], &entries[3]] {
        moved.push(entry.moved(fresh.len() as u64));
        fresh.extend_from_slice(at(&log, entry.record.clone()));
    }
    let (found, reader) = read(&fresh);
    assert_eq!(found, moved);
    assert_eq!(reader.good(), fresh.len() as u64);
    let range = found[1].values(Span::Piece, 0, 4).expect("a list");
    assert_eq!(at(&fresh, range), files[3].values.as_flattened());
}

proptest! {
    #[test]
    fn slices_make_no_difference(
        counts in prop::collection::vec(2u64..40, 0..5),
        cuts in prop::collection::vec(0usize..6000, 0..30),
        spoil in prop::option::of(0usize..6000),
    ) {
        let (mut log, entries) = log_of(&counts.into_iter().map(long).collect::<Vec<_>>());
        if let Some(byte) = spoil.and_then(|place| log.get_mut(place)) {
            *byte ^= 4;
        }
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(log.len())).collect();
        cuts.extend([0, log.len()]);
        cuts.sort_unstable();
        let mut reader = Reader::new();
        let mut found = Vec::new();
        for cut in cuts.windows(2) {
            found.extend(reader.push(&log[cut[0]..cut[1]]));
        }
        let (whole, once) = read(&log);
        prop_assert_eq!(&found, &whole);
        prop_assert_eq!((reader.good(), reader.damage()), (once.good(), once.damage()));
        prop_assert_eq!(&found[..], &entries[..found.len()]);
        let mut bytewise = Reader::new();
        let found: Vec<Entry> = log.iter().flat_map(|&byte| bytewise.push(&[byte])).collect();
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn noise_behind_a_header_is_no_entry(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let (found, reader) = read(&[&header()[..], &noise].concat());
        prop_assert_eq!((found, reader.good()), (vec![], 16));
    }
}
