use super::*;
use crate::proto::content::{GROUP_PIECES, PIECE, group_values};
use proptest::prelude::*;

/// The lists of a file of `count` pieces that nobody has to read.
struct File {
    size: u64,
    pieces: Vec<Value>,
    groups: Vec<Value>,
    root: Root,
}

fn file(count: u64) -> File {
    let pieces: Vec<Value> = (0..count).map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
    let size = count * PIECE - 1;
    let root = root_of(&pieces, Span::Piece, size).expect("more than one piece");
    File { size, groups: group_values(&pieces, size), pieces, root }
}

impl File {
    fn list(&self) -> ValueList {
        ValueList::new(self.size, self.root).expect("not too long")
    }

    fn values(&self, span: Span, first: u64, count: u64) -> Vec<u8> {
        let all = if span == Span::Piece { &self.pieces } else { &self.groups };
        all[first as usize..(first + count) as usize].concat()
    }

    fn give(&self, list: &mut ValueList, span: Span, first: u64, count: u64) -> Result<(), ValuesError> {
        list.accept(span, first, &self.values(span, first, count))
    }
}

fn wants(span: Span, first: u64, count: u32) -> Option<Want> {
    Some(Want { span, first, count })
}

#[test]
fn a_file_of_one_piece_needs_no_list() {
    // hostile: 105
    for len in [0, 1, 4096, PIECE] {
        let root = Root::from(blake3::hash(&vec![0; len as usize]));
        let mut list = ValueList::new(len, root).expect("fine");
        assert_eq!((list.needs(0), list.needs(1)), (None, None));
        assert_eq!(list.expected(0), Some(Expected::Root(root)));
        assert_eq!(list.expected(1), None);
        for span in [Span::Piece, Span::Group] {
            assert_eq!(list.accept(span, 0, root.as_bytes()), Err(ValuesError::Unwanted));
        }
        assert_eq!((list.size(), list.root(), list.held()), (len, root, 0));
    }
}

#[test]
fn sizes_at_the_limit_are_taken_and_beyond_it_refused() {
    // hostile: 105
    let root = Root::new([9; 32]);
    let mut list = ValueList::new(SIZE_MAX, root).expect("at the limit");
    assert_eq!(list.needs(u64::MAX), None);
    assert_eq!(list.expected(u64::MAX), None);
    assert_eq!(list.needs((1 << 23) - 1), wants(Span::Group, 0, 4096));
    assert_eq!(list.needs(1 << 23), None);
    let values = vec![1; 4096 * VALUE];
    assert_eq!(list.accept(Span::Group, 0, &values), Err(ValuesError::Mismatch(Span::Group)));
    for size in [SIZE_MAX + 1, u64::MAX] {
        let error = ValueList::new(size, root).expect_err("too long");
        assert_eq!(error, ValuesError::TooLong(size));
        assert!(error.to_string().contains(&size.to_string()));
    }
    assert_eq!(ValueList::new(0, root).expect_err("not its root"), ValuesError::NotEmpty);
}

#[test]
fn one_group_has_one_list() {
    for count in [2, 7, GROUP_PIECES] {
        let file = file(count);
        let mut list = file.list();
        assert_eq!(list.needs(count - 1), wants(Span::Piece, 0, count as u32));
        assert_eq!(list.needs(count), None);
        assert_eq!(list.expected(0), None);
        file.give(&mut list, Span::Piece, 0, count).expect("the right list");
        for piece in 0..count {
            assert_eq!(list.needs(piece), None);
            assert_eq!(list.expected(piece), Some(Expected::Value(file.pieces[piece as usize])));
        }
        assert_eq!(list.expected(count), None);
        // There is none that was asked for any more.
        assert_eq!(file.give(&mut list, Span::Piece, 0, count), Err(ValuesError::Unwanted));
        assert_eq!(list.accept(Span::Group, 0, &[0; VALUE]), Err(ValuesError::Unwanted));
    }
}

#[test]
fn groups_come_first_and_then_one_at_a_time() {
    let file = file(5000);
    let mut list = file.list();
    assert_eq!(list.needs(4999), wants(Span::Group, 0, 3));
    assert_eq!(file.give(&mut list, Span::Piece, 0, 2048), Err(ValuesError::Unwanted));
    file.give(&mut list, Span::Group, 0, 3).expect("the right list");
    for (group, first, count) in [(2, 4096, 904), (0, 0, 2048), (1, 2048, 2048), (2, 4096, 904)] {
        assert_eq!(list.needs(first + count - 1), wants(Span::Piece, first, count as u32));
        file.give(&mut list, Span::Piece, first, count).expect("the right list");
        for piece in 0..5000 {
            let here = group_of(piece) == group;
            let value = Expected::Value(file.pieces[piece as usize]);
            assert_eq!(list.expected(piece), here.then_some(value), "{piece}");
            assert_eq!(list.needs(piece).is_none(), here, "{piece}");
        }
    }
    assert_eq!((list.needs(5000), list.expected(5000)), (None, None));
}

#[test]
fn a_wrong_list_is_refused_whole() {
    // hostile: 106
    let file = file(4100);
    let mut list = file.list();
    for at in [0, 40, 95] {
        let mut bytes = file.values(Span::Group, 0, 3);
        bytes[at] ^= 1;
        assert_eq!(list.accept(Span::Group, 0, &bytes), Err(ValuesError::Mismatch(Span::Group)));
        assert_eq!((list.needs(0), list.held()), (wants(Span::Group, 0, 3), 0));
    }
    file.give(&mut list, Span::Group, 0, 3).expect("the right list");
    for (first, count) in [(0, 2048), (2048, 2048), (4096, 4)] {
        for at in [0, count as usize * 16, count as usize * 32 - 1] {
            let mut bytes = file.values(Span::Piece, first, count);
            bytes[at] ^= 0x80;
            assert_eq!(list.accept(Span::Piece, first, &bytes), Err(ValuesError::Mismatch(Span::Piece)));
            assert_eq!(list.needs(first), wants(Span::Piece, first, count as u32));
            assert_eq!(list.expected(first), None);
        }
    }
    // Right values of another place are wrong ones too.
    let bytes = file.values(Span::Piece, 0, 2048);
    assert_eq!(list.accept(Span::Piece, 2048, &bytes), Err(ValuesError::Mismatch(Span::Piece)));
    file.give(&mut list, Span::Piece, 2048, 2048).expect("the right list");
}

#[test]
fn wrong_lengths_are_refused_and_change_nothing() {
    // hostile: 97, 106
    let file = file(4100);
    let mut list = file.list();
    let right = file.values(Span::Group, 0, 3);
    let long = [&right[..], &[0; VALUE]].concat();
    for len in [0, 1, 31, 33, 95, 97] {
        let bytes = &long[..len];
        assert_eq!(list.accept(Span::Group, 0, bytes), Err(ValuesError::Length(len)));
        assert_eq!(list.accept(Span::Piece, 0, bytes), Err(ValuesError::Length(len)));
    }
    assert_eq!(list.accept(Span::Group, 0, &long), Err(ValuesError::TooMany));
    for first in [1, 3, 4, u64::MAX] {
        assert_eq!(list.accept(Span::Group, first, &right), Err(ValuesError::Unwanted));
    }
    list.accept(Span::Group, 0, &right).expect("the right list");
    assert_eq!(list.accept(Span::Group, 0, &right), Err(ValuesError::Unwanted));
    let five = file.values(Span::Piece, 4095, 5);
    assert_eq!(list.accept(Span::Piece, 4096, &five), Err(ValuesError::TooMany));
    for first in [1, 2047, 4095, 4097, 4100, u64::MAX] {
        assert_eq!(list.accept(Span::Piece, first, &five), Err(ValuesError::Unwanted), "{first}");
    }
    assert_eq!(list.needs(4096), wants(Span::Piece, 4096, 4));
}

#[test]
fn a_list_in_parts_counts_when_it_is_whole() {
    let file = file(2050);
    let mut list = file.list();
    file.give(&mut list, Span::Group, 0, 1).expect("a part");
    assert_eq!(list.needs(0), wants(Span::Group, 1, 1));
    assert_eq!(file.give(&mut list, Span::Piece, 0, 4), Err(ValuesError::Unwanted));
    file.give(&mut list, Span::Group, 1, 1).expect("the rest");
    file.give(&mut list, Span::Piece, 0, 1000).expect("a part");
    assert_eq!((list.needs(2), list.expected(2)), (wants(Span::Piece, 1000, 1048), None));
    // Nothing is left out, and nothing comes twice.
    for first in [999, 1001] {
        assert_eq!(file.give(&mut list, Span::Piece, first, 10), Err(ValuesError::Unwanted));
    }
    // A new source begins anew, with the list or by saying so.
    file.give(&mut list, Span::Piece, 0, 4).expect("from its beginning");
    assert_eq!(list.needs(2), wants(Span::Piece, 4, 2044));
    list.restart();
    assert_eq!(list.needs(2), wants(Span::Piece, 0, 2048));
    file.give(&mut list, Span::Piece, 0, 4).expect("a part");
    file.give(&mut list, Span::Piece, 4, 2044).expect("the rest");
    list.restart();
    assert_eq!(list.expected(2), Some(Expected::Value(file.pieces[2])));
}

#[test]
fn a_long_file_is_never_held_whole() {
    // hostile: 107
    let file = file(65_536);
    let mut list = file.list();
    let mut given = 0;
    for piece in (0..65_536).step_by(2048) {
        while let Some(want) = list.needs(piece) {
            let count = u64::from(want.count).min(1500);
            file.give(&mut list, want.span, want.first, count).expect("the right list");
            given += count;
            assert!(list.held() <= 32 * VALUE + 64 * 1024, "{}", list.held());
        }
        assert!(list.expected(piece).is_some());
    }
    assert_eq!(given, 65_536 + 32);
}

#[test]
fn lists_of_groups_that_were_needed_before_are_kept_as_told_for_others() {
    // hostile: 107 (what is kept has a bound)
    let file = file(5 * 2048 + 3);
    let groups = [(0u64, 2048u64), (1, 2048), (2, 2048), (3, 2048), (4, 2048), (5, 3)];
    let right = |group: u64, from: u64, count: u64| file.values(Span::Piece, group * 2048 + from, count);
    for keep in [0usize, 1, 3, 9] {
        let mut list = file.list().keeping(keep);
        file.give(&mut list, Span::Group, 0, 6).expect("the right list");
        for (group, count) in groups {
            file.give(&mut list, Span::Piece, group * 2048, count).expect("the right list");
            let most = 6 * VALUE + (keep.min(5) + 1) * 64 * 1024;
            assert!(list.held() <= most, "{} of {most}", list.held());
        }
        for (group, count) in groups {
            let known = group as usize + keep >= 5;
            let values = list.values(Span::Piece, group * 2048, count);
            assert_eq!(values, known.then(|| right(group, 0, count)), "{keep}: {group}");
            let (from, some) = (count / 2, count - count / 2);
            let values = list.values(Span::Piece, group * 2048 + from, some);
            assert_eq!(values, known.then(|| right(group, from, some)), "{keep}: {group}");
            // Never beyond the group, whoever holds the next one.
            assert_eq!(list.values(Span::Piece, group * 2048 + from, some + 1), None);
        }
        // Half a list is none; a wrong one is none, and takes nothing that was right with it.
        file.give(&mut list, Span::Piece, 0, 7).expect("a part");
        assert_eq!(list.values(Span::Piece, 0, 7), None);
        assert_eq!(list.values(Span::Piece, 5 * 2048, 3).is_some(), keep > 0);
        let mut bytes = right(0, 7, 2041);
        bytes[9] ^= 1;
        assert_eq!(list.accept(Span::Piece, 7, &bytes), Err(ValuesError::Mismatch(Span::Piece)));
        assert_eq!(list.values(Span::Piece, 0, 1), None);
        assert_eq!(list.values(Span::Piece, 4 * 2048, 9).is_some(), keep > 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_lists_never_give_a_wrong_value(
        tries in prop::collection::vec((any::<bool>(), 0u64..4300, 0u64..2100, any::<bool>()), 1..24),
    ) {
        let file = file(4100);
        let mut list = file.list();
        for (groups, first, count, spoil) in tries {
            let span = if groups { Span::Group } else { Span::Piece };
            // Often what is asked for, else anything.
            let want = list.needs(first).filter(|_| first % 3 > 0);
            let (span, from, count) = want.map_or((span, first, count), |w| (w.span, w.first, w.count.into()));
            let all = if span == Span::Piece { &file.pieces } else { &file.groups };
            let mut bytes: Vec<u8> = all.iter().skip(from as usize).take(count as usize).flatten().copied().collect();
            if let (Some(byte), true) = (bytes.last_mut(), spoil) {
                *byte ^= 1;
            }
            let _ = list.accept(span, from, &bytes);
            prop_assert!(list.held() <= (3 + 2048) * VALUE);
            for piece in [0, first, 2047, 2048, 4095, 4096, 4099] {
                let value = file.pieces.get(piece as usize).copied().map(Expected::Value);
                prop_assert!(list.expected(piece).is_none() || list.expected(piece) == value);
            }
        }
    }
}
