use super::*;
use crate::proto::content::{GROUP_PIECES, Span, group_values, piece_range, root_of};
use proptest::prelude::*;

/// No two pieces of it are alike.
fn some_bytes(len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn hashed(bytes: &[u8]) -> Hashed {
    let mut hasher = FileHasher::new();
    hasher.update(bytes);
    hasher.finish()
}

/// What each piece of a file is checked against.
fn expected(hashed: &Hashed) -> Vec<Expected> {
    match hashed.values.as_slice() {
        [] => vec![Expected::Root(hashed.root)],
        values => values.iter().copied().map(Expected::Value).collect(),
    }
}

fn piece_of(bytes: &[u8], index: u64) -> &[u8] {
    let range = piece_range(bytes.len() as u64, index).unwrap_or(0..0);
    &bytes[range.start as usize..range.end as usize]
}

fn check(size: u64, index: u64, piece: &[u8], expected: &Expected) -> bool {
    let mut hasher = PieceHasher::new(size, index);
    hasher.update(piece);
    hasher.verify(expected)
}

#[test]
fn the_root_is_the_hash_of_the_whole() {
    // hostile: 105
    let sizes = [0, 1, 1023, 1024, 1025, 4096, PIECE - 1, PIECE, PIECE + 1, PIECE + 1024, 2 * PIECE];
    let odd = (2..=9).map(|n| n * PIECE + [0, 1, 1024, PIECE - 1, 5000][n as usize % 5]);
    let all = some_bytes(10 * PIECE);
    for size in sizes.into_iter().chain(odd) {
        let bytes = &all[..size as usize];
        let hashed = hashed(bytes);
        assert_eq!(hashed.root, blake3::hash(bytes).into(), "{size}");
        assert_eq!(hashed.size, size);
        assert_eq!(hashed.groups, Vec::<Value>::new());
        let list = if size > PIECE { pieces(size) } else { 0 };
        assert_eq!(hashed.values.len() as u64, list, "{size}");
        if list > 0 {
            assert_eq!(root_of(&hashed.values, Span::Piece, size), Some(hashed.root), "{size}");
        }
        for (index, expected) in expected(&hashed).iter().enumerate() {
            let piece = piece_of(bytes, index as u64);
            assert!(check(size, index as u64, piece, expected), "{size}: {index}");
        }
    }
}

#[test]
fn lists_of_several_groups_lead_to_the_root() {
    for count in [2, 2047, 2048, 2049, 4096, 4097, 5000] {
        let values: Vec<Value> =
            (0..count).map(|n: u64| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
        let mut lists = Lists::default();
        values.iter().for_each(|&value| lists.push(value));
        let size = count * PIECE;
        let hashed = lists.finish(size);
        // What these are compared with is itself compared with a slow reference, in the tests of the tree.
        assert_eq!(Some(hashed.root), root_of(&values, Span::Piece, size), "{count}");
        assert_eq!(hashed.groups, group_values(&values, size), "{count}");
        assert_eq!(hashed.groups.is_empty(), count <= GROUP_PIECES);
        assert_eq!(hashed.values, values);
    }
}

#[test]
fn values_can_be_taken_as_they_come() {
    let bytes = some_bytes(5 * PIECE + 3);
    let whole = hashed(&bytes);
    let mut hasher = FileHasher::new();
    let (mut taken, mut counts) = (Vec::new(), Vec::new());
    for slice in bytes.chunks(PIECE as usize / 2) {
        hasher.update(slice);
        let values = hasher.take_values();
        counts.push(values.len());
        taken.extend(values);
    }
    // A full piece is ready when something follows it.
    assert_eq!(counts, [0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    assert_eq!(hasher.bytes(), bytes.len() as u64);
    let rest = hasher.finish();
    assert_eq!((rest.root, rest.size), (whole.root, whole.size));
    taken.extend(rest.values);
    assert_eq!(taken, whole.values);
}

#[test]
fn a_flipped_bit_is_caught_by_its_piece_alone() {
    // hostile: 102
    for size in [1, PIECE, 3 * PIECE + 1025] {
        let bytes = some_bytes(size);
        let expected = expected(&hashed(&bytes));
        let places = (0..pieces(size)).filter_map(|index| piece_range(size, index));
        for at in places.flat_map(|range| [range.start, (range.start + range.end) / 2, range.end - 1]) {
            for bit in [0x01, 0x80] {
                let mut wrong = bytes.clone();
                wrong[at as usize] ^= bit;
                let bad: Vec<u64> = (0..pieces(size))
                    .filter(|&i| !check(size, i, piece_of(&wrong, i), &expected[i as usize]))
                    .collect();
                assert_eq!(bad, [at / PIECE], "{size}: {at}");
            }
        }
    }
}

#[test]
fn a_piece_is_right_in_its_own_place_and_length_only() {
    // hostile: 97, 101
    let size = 2 * PIECE + 5000;
    let bytes = some_bytes(size);
    let whole = hashed(&bytes);
    let expected = expected(&whole);
    let last = piece_of(&bytes, 2);
    assert!(check(size, 2, last, &expected[2]));
    assert!(!check(size, 1, last, &expected[2]));
    assert!(!check(size, 2, &last[..4095], &expected[2]));
    assert!(!check(size, 2, &[last, &[0]].concat(), &expected[2]));
    assert!(!check(size, 0, &bytes, &expected[0]));
    assert!(!check(size, 0, &[], &expected[0]));
    assert!(!check(size, 0, piece_of(&bytes, 1), &expected[0]));
    assert!(!check(size, 1, piece_of(&bytes, 0), &expected[0]));
    // What comes after too much does not mend it.
    let mut hasher = PieceHasher::new(size, 2);
    hasher.update(&[last, &[0]].concat());
    hasher.update(last);
    assert!(!hasher.verify(&expected[2]));
    // A file of one piece is its root, and no other file is.
    assert!(!check(size, 2, last, &Expected::Root(whole.root)));
    assert!(!check(5, 0, &bytes[..5], &Expected::Value(*blake3::hash(&bytes[..5]).as_bytes())));
    for (size, index) in [(size, 3), (size, u64::MAX), (0, 1), (0, u64::MAX), (1, 1), (u64::MAX, 1 << 44)] {
        for piece in [&[][..], &[0], last] {
            assert!(!check(size, index, piece, &expected[2]), "{size}: {index}");
            assert!(!check(size, index, piece, &Expected::Root(whole.root)), "{size}: {index}");
            let empty = Expected::Root(blake3::hash(piece).into());
            assert!(!check(size, index, piece, &empty), "{size}: {index}");
        }
    }
}

#[test]
fn an_empty_file_has_an_empty_piece() {
    // hostile: 105
    let empty = Expected::Root(blake3::hash(b"").into());
    assert!(check(0, 0, &[], &empty));
    assert!(!check(0, 0, &[0], &empty));
    assert!(!check(0, 0, &[], &Expected::Root(blake3::hash(b"a").into())));
    assert!(!check(0, 0, &[], &Expected::Value([0; 32])));
}

#[test]
fn pieces_at_the_far_end_of_numbers_do_no_harm() {
    // hostile: 105
    for size in [1 << 43, (1 << 43) + 1, u64::MAX] {
        let mut hasher = PieceHasher::new(size, pieces(size) - 1);
        assert_eq!(hasher.missing(), (size - 1) % PIECE + 1);
        hasher.update(&vec![7; hasher.missing() as usize]);
        assert_eq!(hasher.missing(), 0);
        assert!(!hasher.verify(&Expected::Value([0; 32])));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn slices_make_no_difference(len in 0..3 * PIECE + 9, cuts in prop::collection::vec(0..3 * PIECE + 9, 0..12)) {
        let bytes = some_bytes(len);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(len) as usize).collect();
        cuts.extend([0, len as usize]);
        cuts.sort_unstable();
        let mut hasher = FileHasher::new();
        for cut in cuts.windows(2) {
            hasher.update(&bytes[cut[0]..cut[1]]);
        }
        let whole = hashed(&bytes);
        prop_assert_eq!(&hasher.finish(), &whole);
        prop_assert_eq!(whole.root, blake3::hash(&bytes).into());
        for (index, expected) in expected(&whole).iter().enumerate() {
            let range = piece_range(len, index as u64).unwrap_or(0..0);
            let mut hasher = PieceHasher::new(len, index as u64);
            for cut in cuts.windows(2) {
                let inside = |at: usize| (at as u64).clamp(range.start, range.end) as usize;
                hasher.update(&bytes[inside(cut[0])..inside(cut[1])]);
            }
            prop_assert!(hasher.verify(expected));
        }
    }
}
