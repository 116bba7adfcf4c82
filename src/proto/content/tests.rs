//! Sizes and numbers.

use super::*;

#[test]
fn sizes_divide_into_pieces_and_groups() {
    // hostile: 105
    let cases = [
        (0, 0, 0),
        (1, 1, 1),
        (4096, 1, 1),
        (PIECE - 1, 1, 1),
        (PIECE, 1, 1),
        (PIECE + 1, 2, 1),
        (GROUP_PIECES * PIECE, 2048, 1),
        (GROUP_PIECES * PIECE + 1, 2049, 2),
        (SIZE_MAX, 1 << 23, 4096),
        (SIZE_MAX + 1, (1 << 23) + 1, 4097),
        (u64::MAX, 1 << 44, 1 << 33),
    ];
    for (size, piece_count, group_count) in cases {
        assert_eq!(pieces(size), piece_count, "{size}");
        assert_eq!(groups(size), group_count, "{size}");
        assert_eq!(list_len(Span::Piece, size), if piece_count > 1 { piece_count } else { 0 }, "{size}");
        assert_eq!(list_len(Span::Group, size), if group_count > 1 { group_count } else { 0 }, "{size}");
    }
}

#[test]
fn pieces_and_groups_beyond_the_end_are_none() {
    // hostile: 97, 105
    for size in [0, 1, 4096, PIECE, PIECE + 1, SIZE_MAX - 1, SIZE_MAX, SIZE_MAX + 1, u64::MAX] {
        let (count, group_count) = (pieces(size), groups(size));
        for index in [count, count + 1, 1 << 44, (1 << 44) + 1, u64::MAX / PIECE + 1, u64::MAX - 1, u64::MAX]
        {
            assert_eq!(piece_range(size, index), None, "{size}: {index}");
            assert_eq!(piece_len(size, index), 0, "{size}: {index}");
        }
        for group in [group_count, group_count + 1, 1 << 53, u64::MAX / GROUP_PIECES + 1, u64::MAX] {
            assert_eq!(group_range(size, group), None, "{size}: {group}");
        }
        if size > 0 {
            let last = piece_range(size, count - 1).expect("the last piece");
            assert_eq!(last.end, size);
            assert_eq!(piece_len(size, count - 1), size - last.start);
            assert!(last.start % PIECE == 0 && (1..=PIECE).contains(&(size - last.start)));
            let group = group_range(size, group_count - 1).expect("the last group");
            assert_eq!((group.end, group_of(count - 1)), (count, group_count - 1));
            assert!((1..=GROUP_PIECES).contains(&(group.end - group.start)));
        }
    }
    assert_eq!(piece_range(PIECE + 5, 1), Some(PIECE..PIECE + 5));
    assert_eq!(group_range(SIZE_MAX, 1), Some(2048..4096));
}

#[test]
fn spans_have_their_numbers() {
    assert_eq!([Span::Piece, Span::Group].map(Span::number), [0, 11]);
    assert_eq!(GROUP_PIECES, 1 << Span::Group.number());
    for number in 0..=255 {
        let span = Span::from_number(number);
        assert_eq!(span.map(Span::number), [0, 11].contains(&number).then_some(number));
    }
}
