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
