//! From values to the value or root above them.

use super::{GROUP_PIECES, Root, SIZE_MAX, Span, Value, group_range, list_len, pieces};
use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};

/// Values of equal subtrees side by side, merged as BLAKE3 does: what is left of a node is always a full subtree. Holds one
/// value per bit of their number. The newest is merged only when another follows it: the topmost merge, which differs
/// from all others, cannot be told before the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    stack: Vec<Value>,
    count: u64,
}

impl Tree {
    pub(super) fn push(&mut self, value: &Value) {
        let full = self.count.count_ones() as usize;
        while self.stack.len() > full {
            self.merge();
        }
        self.stack.push(*value);
        self.count += 1;
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    fn merge(&mut self) {
        if let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) {
            self.stack.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
    }

    /// The value of them all, as a part of something larger; `None`: there is none.
    pub(super) fn value(mut self) -> Option<Value> {
        while self.stack.len() > 1 {
            self.merge();
        }
        self.stack.pop()
    }

    /// The root of them all; `None`: fewer than two, which have no node above them.
    pub(super) fn root(mut self) -> Option<Root> {
        while self.stack.len() > 2 {
            self.merge();
        }
        let [left, right] = self.stack.as_slice() else { return None };
        Some(merge_subtrees_root(left, right, Mode::Hash).into())
    }
}

impl<'a> FromIterator<&'a Value> for Tree {
    fn from_iter<I: IntoIterator<Item = &'a Value>>(values: I) -> Tree {
        let mut tree = Tree::default();
        values.into_iter().for_each(|value| tree.push(value));
        tree
    }
}

/// The values of the groups of a file of `size` bytes, from those of its pieces. Empty where there is one group only, and
/// where the number of values is wrong for the size.
pub fn group_values(piece_values: &[Value], size: u64) -> Vec<Value> {
    if list_len(Span::Group, size) == 0 || piece_values.len() as u64 != pieces(size) {
        return Vec::new();
    }
    piece_values.chunks(GROUP_PIECES as usize).filter_map(|group| Tree::from_iter(group).value()).collect()
}

/// The root that a whole list leads to; `None`: a file of this size has no such list, or not with so many values.
pub fn root_of(values: &[Value], span: Span, size: u64) -> Option<Root> {
    if size > SIZE_MAX || values.len() as u64 != list_len(span, size) {
        return None;
    }
    Tree::from_iter(values).root()
}

/// The value of one group, from those of its pieces; `None`: the file has no such group, or not with so many pieces.
pub fn group_value_of(piece_values: &[Value], group: u64, size: u64) -> Option<Value> {
    let range = group_range(size, group)?;
    if piece_values.len() as u64 != range.end - range.start {
        return None;
    }
    Tree::from_iter(piece_values).value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::content::PIECE;

    /// As the paper on BLAKE3 says it: left of a node is the largest power of two that leaves something for the right.
    fn slowly(values: &[Value]) -> Value {
        let Some((left, right)) = halves(values) else { return values[0] };
        merge_subtrees_non_root(&slowly(left), &slowly(right), Mode::Hash)
    }

    fn slow_root(values: &[Value]) -> Root {
        let (left, right) = halves(values).expect("a root has two sides");
        merge_subtrees_root(&slowly(left), &slowly(right), Mode::Hash).into()
    }

    fn halves(values: &[Value]) -> Option<(&[Value], &[Value])> {
        let left = (1..).map(|bit| 1 << bit).find(|&full: &usize| full >= values.len())? / 2;
        (values.len() > 1).then(|| values.split_at(left))
    }

    fn some_values(count: u64) -> Vec<Value> {
        (0..count).map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect()
    }

    #[test]
    fn every_number_of_values_is_merged_as_the_paper_says() {
        for count in 1..=130 {
            let values = some_values(count);
            assert_eq!(Tree::from_iter(&values).value(), Some(slowly(&values)), "{count}");
            let root = Tree::from_iter(&values).root();
            assert_eq!(root, (count > 1).then(|| slow_root(&values)), "{count}");
        }
        assert_eq!(Tree::default().value(), None);
        assert_eq!(Tree::default().root(), None);
    }

    #[test]
    fn pieces_and_groups_lead_to_the_same_root() {
        for count in [2, 3, 2047, 2048, 2049, 2050, 4095, 4096, 4097, 5000, 6144, 6145] {
            let (values, size) = (some_values(count), count * PIECE - 77);
            let root = slow_root(&values);
            assert_eq!(root_of(&values, Span::Piece, size), Some(root), "{count}");
            let groups = group_values(&values, size);
            if count <= GROUP_PIECES {
                assert_eq!(groups, Vec::<Value>::new(), "{count}");
                assert_eq!(root_of(&groups, Span::Group, size), None, "{count}");
                continue;
            }
            assert_eq!(groups.len() as u64, count.div_ceil(GROUP_PIECES));
            assert_eq!(root_of(&groups, Span::Group, size), Some(root), "{count}");
            for (n, group) in values.chunks(GROUP_PIECES as usize).enumerate() {
                assert_eq!(groups[n], slowly(group), "{count}: {n}");
                assert_eq!(group_value_of(group, n as u64, size), Some(groups[n]), "{count}: {n}");
            }
        }
    }

    #[test]
    fn a_wrong_number_of_values_leads_nowhere() {
        // hostile: 106
        let size = 5000 * PIECE;
        let values = some_values(5001);
        for count in [0, 1, 2, 3, 4999, 5001] {
            assert_eq!(root_of(&values[..count], Span::Piece, size), None, "{count}");
            assert_eq!(group_values(&values[..count], size), Vec::<Value>::new(), "{count}");
        }
        for count in [0, 1, 2, 4, 5000] {
            assert_eq!(root_of(&values[..count], Span::Group, size), None, "{count}");
        }
        for (group, count) in
            [(0, 2047), (0, 2049), (2, 903), (2, 905), (2, 2048), (3, 0), (3, 1), (u64::MAX, 1)]
        {
            assert_eq!(group_value_of(&values[..count], group, size), None, "{group}: {count}");
        }
        // A file of one piece has no list, and nothing is above a single group.
        for size in [0, 1, PIECE] {
            for count in [0, 1, 2] {
                assert_eq!(root_of(&values[..count], Span::Piece, size), None, "{size}");
                assert_eq!(root_of(&values[..count], Span::Group, size), None, "{size}");
            }
        }
        assert_eq!(root_of(&values[..2], Span::Piece, u64::MAX), None);
        assert_eq!(group_values(&values[..2], u64::MAX), Vec::<Value>::new());
    }
}
