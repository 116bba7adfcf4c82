//! The lists of a download, taken from others.

use super::{
    Expected, GROUP_PIECES, Root, SIZE_MAX, Span, VALUE, Value, group_of, group_range, group_value_of,
    list_len, pieces, root_of,
};
use std::collections::VecDeque;
use std::fmt;

/// Knows size and root of a file and takes its lists: those of the groups first where there are several, then that of each
/// group's pieces when it is needed. Holds the groups' list (4096 values at most) and the list of one group's pieces
/// (2048 values at most), and of other groups as many as it is told to keep, for others who ask for them. Lists may come in
/// parts; nothing of one is given out before all of it was found right.
#[derive(Clone, Debug)]
pub struct ValueList {
    size: u64,
    root: Root,
    /// Verified when complete, and only then.
    groups: Vec<Value>,
    /// The group that `pieces` belongs to.
    group: u64,
    /// Verified when complete, and only then.
    pieces: Vec<Value>,
    /// Lists of groups that were needed before, all verified, the oldest first.
    past: VecDeque<(u64, Vec<Value>)>,
    /// How many of those at most.
    keep: usize,
}

/// Values to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Of pieces or of groups.
    pub span: Span,
    /// The first piece or group.
    pub first: u64,
    /// How many, never 0.
    pub count: u32,
}

/// Why values, or a file as a whole, are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValuesError {
    /// The file is longer than [`SIZE_MAX`].
    TooLong(u64),
    /// An empty file has one root only, and it is not this one.
    NotEmpty,
    /// Not a whole number of values, or none.
    Length(usize),
    /// More values than the list has.
    TooMany,
    /// Not the values that are needed next.
    Unwanted,
    /// The list does not lead to the root. All of it was dropped.
    Mismatch(Span),
}

impl fmt::Display for ValuesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValuesError::TooLong(size) => write!(f, "a file of {size} bytes is too long: at most {SIZE_MAX}"),
            ValuesError::NotEmpty => f.write_str("the root is not that of an empty file"),
            ValuesError::Length(len) => write!(f, "{len} bytes are no list of values of {VALUE} bytes each"),
            ValuesError::TooMany => f.write_str("there are more values than the file has"),
            ValuesError::Unwanted => f.write_str("these values were not asked for"),
            ValuesError::Mismatch(Span::Piece) => {
                f.write_str("the values of the pieces do not lead to the root")
            }
            ValuesError::Mismatch(Span::Group) => {
                f.write_str("the values of the groups do not lead to the root")
            }
        }
    }
}

impl std::error::Error for ValuesError {}

impl ValueList {
    /// No list yet.
    ///
    /// # Errors
    /// [`ValuesError::TooLong`]; [`ValuesError::NotEmpty`].
    pub fn new(size: u64, root: Root) -> Result<ValueList, ValuesError> {
        if size > SIZE_MAX {
            return Err(ValuesError::TooLong(size));
        }
        if size == 0 && root != blake3::hash(b"").into() {
            return Err(ValuesError::NotEmpty);
        }
        let (groups, pieces, past) = (Vec::new(), Vec::new(), VecDeque::new());
        Ok(ValueList { size, root, groups, group: 0, pieces, past, keep: 0 })
    }

    /// Keeps the lists of so many groups besides that of the last one: 64 KiB each.
    #[must_use]
    pub fn keeping(mut self, groups: usize) -> ValueList {
        self.keep = groups;
        self
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its root.
    pub fn root(&self) -> Root {
        self.root
    }

    /// The values to ask for before this piece can be checked: of a list that came in part, the rest. `None`: none, or the
    /// file has no such piece.
    pub fn needs(&self, piece: u64) -> Option<Want> {
        if piece >= list_len(Span::Piece, self.size) {
            return None;
        }
        let groups = list_len(Span::Group, self.size);
        let have = self.groups.len() as u64;
        if have < groups {
            return Some(want(Span::Group, have, groups));
        }
        let range = group_range(self.size, group_of(piece))?;
        let have = if self.group == group_of(piece) { self.pieces.len() as u64 } else { 0 };
        let first = range.start + have;
        (first < range.end).then(|| want(Span::Piece, first, range.end))
    }

    /// Takes values, those of `first` and on. They are what [`ValueList::needs`] named or the beginning of it, or a list
    /// from its beginning: then what came of it before is dropped, and the list of another group's pieces too. So the
    /// caller takes only what it asked for.
    ///
    /// # Errors
    /// Why they are refused. After [`ValuesError::Mismatch`] the whole list is needed again; nothing else changes anything.
    pub fn accept(&mut self, span: Span, first: u64, bytes: &[u8]) -> Result<(), ValuesError> {
        if bytes.is_empty() || bytes.len() % VALUE != 0 {
            return Err(ValuesError::Length(bytes.len()));
        }
        match span {
            Span::Group => self.accept_groups(first, bytes),
            Span::Piece => self.accept_pieces(first, bytes),
        }
    }

    fn accept_groups(&mut self, first: u64, bytes: &[u8]) -> Result<(), ValuesError> {
        let all = list_len(Span::Group, self.size);
        let have = self.groups.len() as u64;
        if have == all || (first != have && first != 0) {
            return Err(ValuesError::Unwanted);
        }
        check_count(bytes, first, all)?;
        if first == 0 {
            self.groups.clear();
            self.groups.reserve_exact(all as usize);
        }
        self.groups.extend(values(bytes));
        let complete = self.groups.len() as u64 == all;
        if complete && root_of(&self.groups, Span::Group, self.size) != Some(self.root) {
            self.groups = Vec::new();
            return Err(ValuesError::Mismatch(Span::Group));
        }
        Ok(())
    }

    fn accept_pieces(&mut self, first: u64, bytes: &[u8]) -> Result<(), ValuesError> {
        // That list is what this one is checked against; and it may be that there is no list at all.
        if first >= list_len(Span::Piece, self.size) || !self.knows_groups() {
            return Err(ValuesError::Unwanted);
        }
        let group = group_of(first);
        let range = group_range(self.size, group).ok_or(ValuesError::Unwanted)?;
        let have = if self.group == group { self.pieces.len() as u64 } else { 0 };
        if have == range.end - range.start || (first != range.start + have && first != range.start) {
            return Err(ValuesError::Unwanted);
        }
        check_count(bytes, first, range.end)?;
        if first == range.start {
            self.make_room_for(group);
        }
        self.pieces.extend(values(bytes));
        let complete = self.pieces.len() as u64 == range.end - range.start;
        if complete && !self.pieces_are_right() {
            self.pieces = Vec::new();
            return Err(ValuesError::Mismatch(Span::Piece));
        }
        Ok(())
    }

    /// The list of this group is about to come: what is held of another one's is kept, or dropped.
    fn make_room_for(&mut self, group: u64) {
        let old = std::mem::take(&mut self.pieces);
        let known = self.keep > 0 && old.len() as u64 == range_len(self.size, self.group);
        if known && group != self.group {
            self.past.retain(|(other, _)| *other != self.group && *other != group);
            while self.past.len() >= self.keep {
                self.past.pop_front();
            }
            self.past.push_back((self.group, old));
        } else {
            self.pieces = old;
            self.pieces.clear();
        }
        self.pieces.reserve_exact(GROUP_PIECES as usize);
        self.group = group;
    }

    /// Drops what came of a list that is not complete: another source begins it anew, so that a wrong list has one culprit.
    pub fn restart(&mut self) {
        if !self.knows_groups() {
            self.groups = Vec::new();
        }
        if !self.knows_pieces() {
            self.pieces = Vec::new();
        }
    }

    /// Bytes that its lists take: 192 KiB at most, and 64 KiB for each group that it keeps.
    pub fn held(&self) -> usize {
        let past: usize = self.past.iter().map(|(_, values)| values.capacity()).sum();
        (self.groups.capacity() + self.pieces.capacity() + past) * VALUE
    }

    /// What the piece must come to; `None`: its value is not known by now (see [`ValueList::needs`]), or the file has no such
    /// piece. An empty file passes as having an empty piece 0.
    pub fn expected(&self, piece: u64) -> Option<Expected> {
        if pieces(self.size) <= 1 {
            return (piece == 0).then_some(Expected::Root(self.root));
        }
        if group_of(piece) != self.group || !self.knows_pieces() {
            return None;
        }
        let start = group_range(self.size, self.group)?.start;
        let at = usize::try_from(piece.checked_sub(start)?).ok()?;
        self.pieces.get(at).copied().map(Expected::Value)
    }

    /// Values that are held and were verified, for others; `None`: not all of these are.
    pub fn values(&self, span: Span, first: u64, count: u64) -> Option<Vec<u8>> {
        let (known, start, held) = match span {
            Span::Group => (self.knows_groups(), 0, &self.groups),
            Span::Piece => {
                let group = group_of(first);
                let past = self.past.iter().find(|(other, _)| *other == group && group != self.group);
                let (known, held) = match past {
                    Some((_, values)) => (true, values),
                    None => (group == self.group && self.knows_pieces(), &self.pieces),
                };
                (known, group_range(self.size, group)?.start, held)
            }
        };
        let from = usize::try_from(first.checked_sub(start)?).ok()?;
        let to = from.checked_add(usize::try_from(count).ok()?)?;
        let values = held.get(from..to).filter(|values| known && !values.is_empty())?;
        Some(values.as_flattened().to_vec())
    }

    fn knows_groups(&self) -> bool {
        self.groups.len() as u64 == list_len(Span::Group, self.size)
    }

    fn knows_pieces(&self) -> bool {
        let range = group_range(self.size, self.group);
        range.is_some_and(|range| self.pieces.len() as u64 == range.end - range.start)
    }

    fn pieces_are_right(&self) -> bool {
        if self.groups.is_empty() {
            return root_of(&self.pieces, Span::Piece, self.size) == Some(self.root);
        }
        let value = group_value_of(&self.pieces, self.group, self.size);
        let right = usize::try_from(self.group).ok().and_then(|group| self.groups.get(group));
        value.is_some() && value.as_ref() == right
    }
}

/// Pieces of a group; 0 where the file has no such group.
fn range_len(size: u64, group: u64) -> u64 {
    group_range(size, group).map_or(0, |range| range.end - range.start)
}

/// Both ends are below 2^23: a file has no more pieces.
fn want(span: Span, first: u64, end: u64) -> Want {
    Want { span, first, count: u32::try_from(end.saturating_sub(first)).unwrap_or(u32::MAX) }
}

fn check_count(bytes: &[u8], first: u64, end: u64) -> Result<(), ValuesError> {
    let count = (bytes.len() / VALUE) as u64;
    if count > end.saturating_sub(first) {
        return Err(ValuesError::TooMany);
    }
    Ok(())
}

fn values(bytes: &[u8]) -> impl Iterator<Item = Value> + '_ {
    bytes.chunks_exact(VALUE).filter_map(|value| value.try_into().ok())
}

#[cfg(test)]
mod tests;
