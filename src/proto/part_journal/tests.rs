use super::*;
use crate::config::Key;
use crate::proto::content::pieces;
use crate::proto::entropy::Entropy;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SIZE: u64 = 9 * PIECE + 5000;

fn header() -> Header {
    Header::new(Root::new([7; 32]), SIZE, "a/ñandú.bin").expect("a good name")
}

fn other(root: u8, size: u64, name: &str) -> Header {
    Header::new(Root::new([root; 32]), size, name).expect("a good name")
}

/// What a reader came to: pieces, mark, good bytes, damage.
type Came = (Vec<u64>, Option<i64>, u64, Option<Damage>);

fn came(reader: &Reader) -> Came {
    let claims: Vec<Range<u64>> = reader.claims().collect();
    assert!(claims.iter().all(|claim| !claim.is_empty()));
    assert!(claims.windows(2).all(|two| two[0].end < two[1].start), "they touch: {claims:?}");
    if let Some(header) = reader.header() {
        assert!(claims.last().is_none_or(|claim| claim.end <= pieces(header.size())));
    }
    assert_eq!(reader.header().is_some(), reader.good() > 0);
    (claims.into_iter().flatten().collect(), reader.mark(), reader.good(), reader.damage())
}

/// Read in slices of `step` bytes.
fn read_by(journal: &[u8], step: usize) -> Came {
    let mut reader = Reader::new();
    for slice in journal.chunks(step) {
        let more = reader.push(slice);
        assert_eq!(more, reader.damage().is_none());
    }
    came(&reader)
}

fn read(journal: &[u8]) -> Came {
    let whole = read_by(journal, usize::MAX);
    for step in [1, 7, 16, 100] {
        assert_eq!(read_by(journal, step), whole, "slices of {step}");
    }
    whole
}

/// A journal with claims, marks and, at the end, the file's short piece; and where its parts end.
fn journal() -> (Vec<u8>, Vec<u64>) {
    let header = header();
    let writer = Writer::new(&header);
    let mut bytes = header.encode();
    let mut ends = vec![bytes.len() as u64];
    let claim = |range| writer.claim(range).expect("pieces of it");
    for record in [
        claim(3..5),
        writer.mark(1_700_000_000_123_456_789),
        claim(0..1),
        claim(4..6),
        claim(9..10),
        writer.mark(i64::MAX),
        writer.take_back(4..5).expect("pieces of it"),
        writer.take_back(9..10).expect("pieces of it"),
        claim(4..5),
    ] {
        bytes.extend_from_slice(&record);
        ends.push(bytes.len() as u64);
    }
    (bytes, ends)
}

/// What [`journal`] claims up to its n-th part, 0 being the header.
fn claimed(parts: usize) -> Vec<u64> {
    match parts {
        0 => vec![],
        1 | 2 => vec![3, 4],
        3 => vec![0, 3, 4],
        4 => vec![0, 3, 4, 5],
        5 | 6 => vec![0, 3, 4, 5, 9],
        7 => vec![0, 3, 5, 9],
        8 => vec![0, 3, 5],
        _ => vec![0, 3, 4, 5],
    }
}

fn mark(parts: usize) -> Option<i64> {
    match parts {
        2 => Some(1_700_000_000_123_456_789),
        6 => Some(i64::MAX),
        _ => None,
    }
}

#[test]
fn a_journal_has_its_bytes() {
    let header = other(0xAB, 5000, "ab");
    let bytes = header.encode();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let root = "ab".repeat(32);
    let sum = &hex[hex.len() - 8..];
    assert_eq!(hex, format!("8944534a4e4c0d0a0100000044000000{root}88130000000000000010000002006162{sum}"));
    let writer = Writer::new(&header);
    let id = &bytes[bytes.len() - 4..];
    let claim = writer.claim(0..1).expect("its only piece");
    assert_eq!(claim[..12], [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(claim[12..], CRC32C.checksum(&[id, &claim[..12]].concat()).to_le_bytes());
    let mark = writer.mark(0x0102_0304_0506_0708);
    assert_eq!(mark[..12], [8, 7, 6, 5, 4, 3, 2, 0x81, 0, 0, 0, 0]);
    // The check value of CRC-32C in every catalogue.
    assert_eq!(CRC32C.checksum(b"123456789"), 0xE306_9283);
}

#[test]
fn what_is_written_is_read() {
    let (bytes, ends) = journal();
    assert_eq!(read(&bytes), (claimed(9), None, bytes.len() as u64, None));
    let mut reader = Reader::new();
    assert!(reader.push(&bytes[..ends[0] as usize]) && reader.header() == Some(&header()));
    assert_eq!(came(&reader), (vec![], None, ends[0], None));
    let header = reader.header().expect("it was read");
    assert_eq!((header.root(), header.size(), header.name()), (Root::new([7; 32]), SIZE, "a/ñandú.bin"));
}

#[test]
fn a_header_is_of_a_file_that_can_be() {
    let root = Root::new([0; 32]);
    for size in [0, 1, SIZE_MAX] {
        assert!(Header::new(root, size, "a").is_some());
    }
    let long = ["n".repeat(255).as_str(); 4].join("/");
    let longest = Header::new(root, 1, &long[..NAME_MAX - 1]).expect("the longest name");
    assert!(longest.encode().len() <= HEADER_MAX);
    assert_eq!(read(&longest.encode()), (vec![], None, longest.encode().len() as u64, None));
    assert!(Header::new(root, SIZE_MAX + 1, "a").is_none());
    for name in ["", "../a", "/etc/passwd", "a\0", ".hidden"] {
        assert!(Header::new(root, 1, name).is_none(), "{name:?}");
    }
}

#[test]
fn claims_are_of_pieces_that_the_file_has() {
    let writer = Writer::new(&header());
    let none = 5..5;
    let backwards = Range { start: 5, end: 4 };
    for range in [none, backwards, 0..11, 10..11, 0..u64::MAX, u64::MAX - 1..u64::MAX] {
        assert_eq!(writer.claim(range.clone()), None, "{range:?}");
    }
    assert!(writer.claim(0..10).is_some());
    assert_eq!(Writer::new(&other(7, 0, "a")).claim(0..1), None, "an empty file has no piece");
    let largest = other(7, SIZE_MAX, "a");
    let claim = Writer::new(&largest).claim(0..1 << 23).expect("all");
    let (claims, ..) = read_by(&[&largest.encode()[..], &claim].concat(), usize::MAX);
    assert_eq!(claims.len(), 1 << 23);
}

#[test]
fn a_time_before_1970_is_1970() {
    let header = header();
    for (time, kept) in [(-1, 0), (i64::MIN, 0), (0, 0), (1, 1), (i64::MAX, i64::MAX)] {
        let bytes = [&header.encode()[..], &Writer::new(&header).mark(time)].concat();
        assert_eq!(read(&bytes), (vec![], Some(kept), bytes.len() as u64, None));
    }
}

#[test]
fn a_journal_cut_anywhere_is_good_up_to_there() {
    // hostile: 166
    let (bytes, ends) = journal();
    for len in 0..=bytes.len() {
        let parts = ends.iter().filter(|&&end| end <= len as u64).count();
        let expected = match parts.checked_sub(1) {
            None => (vec![], None, 0, None),
            Some(records) => (claimed(records), mark(records), ends[records], None),
        };
        assert_eq!(read(&bytes[..len]), expected, "cut at {len}");
    }
}

#[test]
fn a_bit_that_flipped_ends_it_there() {
    // hostile: 166
    let (bytes, ends) = journal();
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let (claims, mark_seen, good, damage) = read_by(&bad, 64);
        let parts = ends.iter().filter(|&&end| end <= bit as u64 / 8).count();
        let records = parts.saturating_sub(1);
        assert_eq!(claims, claimed(records), "bit {bit}");
        assert_eq!(mark_seen, if parts == 0 { None } else { mark(records) }, "bit {bit}");
        assert_eq!(good, if parts == 0 { 0 } else { ends[records] }, "bit {bit}");
        // A header that became longer waits for the rest of itself.
        assert!(damage.is_some() || (12..16).contains(&(bit / 8)), "bit {bit}");
    }
}

#[test]
fn another_version_or_another_program_claims_nothing() {
    // hostile: 166
    let (bytes, _) = journal();
    let with = |at: usize, new: &[u8]| {
        let mut bad = bytes.clone();
        bad[at..at + new.len()].copy_from_slice(new);
        read(&bad)
    };
    let none = |damage| (vec![], None, 0, Some(damage));
    for version in [0u32, 2, u32::MAX] {
        assert_eq!(with(8, &version.to_le_bytes()), none(Damage::Version(version)));
    }
    assert_eq!(with(0, b"SQLite format 3\0"), none(Damage::Foreign));
    for len in [0u32, 65, HEADER_MAX as u32 + 1, u32::MAX] {
        assert_eq!(with(12, &len.to_le_bytes()), none(Damage::Header), "a header of {len} bytes");
    }
    // With the right checksum, too: a chunk of another size, a name of another length, a name that leaves its folder, a
    // file beyond all files.
    let front = header().encode().len() - CHECK;
    let signed = |at: usize, new: &[u8]| {
        let mut bad = bytes.clone();
        bad[at..at + new.len()].copy_from_slice(new);
        let sum = CRC32C.checksum(&bad[..front]);
        bad[front..front + CHECK].copy_from_slice(&sum.to_le_bytes());
        read(&bad)
    };
    assert_eq!(signed(56, &8192u32.to_le_bytes()), none(Damage::Header));
    assert_eq!(signed(60, &1u16.to_le_bytes()), none(Damage::Header));
    assert_eq!(signed(FIXED, b"../"), none(Damage::Header));
    assert_eq!(signed(FIXED, b"\xFF"), none(Damage::Header));
    assert_eq!(signed(48, &(SIZE_MAX + 1).to_le_bytes()), none(Damage::Header));
}

#[test]
fn records_of_another_journal_are_not_believed() {
    // hostile: 166
    let (bytes, ends) = journal();
    let start = ends[0] as usize;
    for other in [other(8, SIZE, "a/ñandú.bin"), other(7, SIZE + 1, "a/ñandú.bin"), other(7, SIZE, "a/b")]
    {
        let mixed = [&other.encode()[..], &bytes[start..]].concat();
        let good = other.encode().len() as u64;
        assert_eq!(read(&mixed), (vec![], None, good, Some(Damage::Checksum)));
        let mut late = bytes[..start + 2 * RECORD].to_vec();
        late.extend_from_slice(&Writer::new(&other).claim(7..8).expect("a piece"));
        late.extend_from_slice(&Writer::new(&header()).claim(8..9).expect("a piece"));
        assert_eq!(read(&late), (claimed(2), mark(2), ends[2], Some(Damage::Checksum)));
    }
}

#[test]
fn claims_of_what_is_no_piece_are_refused() {
    // hostile: 166
    let header = header();
    let writer = Writer::new(&header);
    let all = chunks(SIZE);
    assert_eq!(all, 9 * 256 + 2);
    let good = header.encode().len() as u64;
    for (first, count) in [
        (0, 0),
        (0, 255),
        (0, 257),
        (1, 256),
        (1, 255),
        (9 * 256, 1),
        (9 * 256, 3),
        (9 * 256, 256),
        (10 * 256, 256),
        (all, 0),
        (0, u32::MAX),
        (MARK, 256),
        (MARK | 256, 256),
        (u64::MAX, 1),
        (MARK - 256, 256),
    ] {
        let bytes = [&header.encode()[..], &writer.record(first, count)].concat();
        assert_eq!(read(&bytes), (vec![], None, good, Some(Damage::Record)), "{first} {count}");
    }
    let bytes = [&header.encode()[..], &writer.record(0, all as u32)].concat();
    assert_eq!(read(&bytes).0.len(), 10);
}

#[test]
fn garbage_is_not_read_and_not_kept() {
    // hostile: 166
    let mut entropy = Entropy::new(&Key::new([1; 32]));
    let mut slice = vec![0; 1 << 16];
    let (bytes, ends) = journal();
    for start in [&b""[..], &bytes[..9], &bytes[..ends[0] as usize], &bytes] {
        let mut reader = Reader::new();
        assert!(reader.push(start));
        let before = came(&reader);
        // Somebody who reads on nevertheless: as of 4 GiB, each slice counts for many.
        for _ in 0..64 {
            slice.chunks_exact_mut(32).for_each(|chunk| chunk.copy_from_slice(&entropy.bytes::<32>()));
            assert!(!reader.push(&slice));
        }
        let after = came(&reader);
        assert_eq!((&after.0, after.1, after.2), (&before.0, before.1, before.2));
        assert!(after.3.is_some());
        assert!(reader.held() <= 2 * HEADER_MAX + 64, "{} bytes", reader.held());
    }
    // A file that grew by a hole reads as zeros.
    assert_eq!(read(&[&bytes[..], &[0; 1000]].concat()).3, Some(Damage::Checksum));
    assert_eq!(read(&[0; 1000]).3, Some(Damage::Foreign));
}

#[test]
fn a_long_journal_costs_no_more_than_the_file_has_pieces() {
    let largest = other(1, SIZE_MAX, "a");
    let writer = Writer::new(&largest);
    let mut reader = Reader::new();
    reader.push(&largest.encode());
    for n in 0..200_000u64 {
        // Every other piece, then all of them again.
        let piece = n * 2 % (1 << 23);
        reader.push(&writer.claim(piece..piece + 1).expect("a piece"));
    }
    reader.push(&writer.claim((1 << 23) - 1..1 << 23).expect("the last"));
    assert_eq!(reader.claims().count(), 200_001);
    assert!(reader.held() <= (1 << 20) + 2 * HEADER_MAX, "{} bytes", reader.held());
    reader.push(&writer.claim(0..1 << 23).expect("all"));
    assert_eq!(reader.claims().collect::<Vec<_>>(), [Range { start: 0, end: 1 << 23 }]);
}

#[test]
fn every_damage_has_a_sentence() {
    let all = [Damage::Foreign, Damage::Version(9), Damage::Header, Damage::Checksum, Damage::Record];
    let texts: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
    assert!(texts.len() == all.len() && texts.iter().all(|text| text.contains(' ')));
}

proptest! {
    #[test]
    fn any_journal_is_read_as_it_was_written(
        size in prop_oneof![0..40 * PIECE, (0..400u64).prop_map(|pieces| pieces * PIECE)],
        steps in prop::collection::vec(
            (any::<u64>(), 1..90u64, prop::option::weighted(0.2, any::<i64>()), prop::bool::weighted(0.2)),
            0..40,
        ),
        slice in 1usize..200,
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let header = other(3, size, "x");
        let writer = Writer::new(&header);
        let mut bytes = header.encode();
        // What is claimed, and whether a mark is last, after each part.
        let mut states = vec![(bytes.len() as u64, BTreeSet::new(), None)];
        let mut claimed = BTreeSet::new();
        for (start, len, time, back) in steps {
            let start = start.checked_rem(pieces(size)).unwrap_or(0);
            let range = start..pieces(size).min(start + len);
            let record = match time {
                Some(time) => Some(writer.mark(time)),
                None if back => writer.take_back(range.clone()),
                None => writer.claim(range.clone()),
            };
            let Some(record) = record else { continue };
            match time {
                Some(_) => {}
                None if back => claimed.retain(|piece| !range.contains(piece)),
                None => claimed.extend(range),
            }
            bytes.extend_from_slice(&record);
            states.push((bytes.len() as u64, claimed.clone(), time.map(|time| time.max(0))));
        }
        let check = |journal: &[u8], touched: usize| {
            let (claims, mark, good, _) = read_by(journal, slice);
            let whole = states.iter().rev().find(|(end, ..)| *end <= touched as u64);
            let none = (0, BTreeSet::new(), None);
            let expected = whole.unwrap_or(&none);
            prop_assert_eq!((good, claims.into_iter().collect(), mark), expected.clone());
            Ok(())
        };
        check(&bytes, bytes.len())?;
        let cut = cut.index(bytes.len());
        check(&bytes[..cut], cut)?;
        let flip = flip.index(bytes.len() * 8);
        let mut bad = bytes.clone();
        bad[flip / 8] ^= 1 << (flip % 8);
        check(&bad, flip / 8)?;
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000), keep in 0usize..200) {
        let (journal, ends) = journal();
        let keep = keep.min(journal.len());
        let (claims, ..) = read_by(&[&journal[..keep], &bytes].concat(), 50);
        let parts = ends.iter().filter(|&&end| end <= keep as u64).count();
        // Random bytes may happen to be the right ones, but not those of a whole record.
        let [before, after] = [claimed(parts.saturating_sub(1)), claimed(parts)];
        prop_assert!(claims.iter().all(|piece| before.contains(piece) || after.contains(piece)), "{claims:?}");
    }
}
