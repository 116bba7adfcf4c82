//! Slots with generations: an id given out once never names a later tenant of the same slot.

use crate::machine::Id;
use slab::Slab;

/// A table of `T` by [`Id`].
#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Slab<(u32, T)>,
    /// How often each slot was given out; grows with the highest slot ever used.
    generations: Vec<u32>,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Table<T> {
        Table { slots: Slab::new(), generations: Vec::new() }
    }

    /// Puts `value` into a free slot.
    pub(crate) fn insert(&mut self, value: T) -> Id {
        let id = self.next_id();
        let index = self.slots.insert((id.generation, value));
        if index == self.generations.len() {
            self.generations.push(0);
        }
        self.generations[index] = id.generation;
        id
    }

    /// The id that the next value will have.
    pub(crate) fn next_id(&self) -> Id {
        let index = self.slots.vacant_key();
        let generation = self.generations.get(index).map_or(0, |last| last.wrapping_add(1));
        Id { index: u32::try_from(index).unwrap_or(u32::MAX), generation }
    }

    pub(crate) fn get(&self, id: Id) -> Option<&T> {
        match self.slots.get(id.index as usize) {
            Some((generation, value)) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        match self.slots.get_mut(id.index as usize) {
            Some((generation, value)) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// Takes the value out and frees its slot.
    pub(crate) fn remove(&mut self, id: Id) -> Option<T> {
        self.get(id)?;
        self.slots.try_remove(id.index as usize).map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// All values, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slots.iter().map(|(index, (generation, value))| {
            (Id { index: u32::try_from(index).unwrap_or(u32::MAX), generation: *generation }, value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_id_never_names_the_next_tenant() {
        // hostile: 186
        let mut table = Table::new();
        let a = table.insert("a");
        assert_eq!(table.remove(a), Some("a"));
        let next = table.next_id();
        let b = table.insert("b");
        assert_eq!(b, next);
        assert_eq!(a.index, b.index);
        assert_ne!(a.generation, b.generation);
        assert_eq!(table.get(a), None);
        assert_eq!(table.get_mut(a), None);
        assert_eq!(table.remove(a), None);
        assert_eq!(table.get(b), Some(&"b"));
        assert_eq!(table.len(), 1);
        assert_eq!(table.iter().map(|(id, v)| (id, *v)).collect::<Vec<_>>(), [(b, "b")]);
    }
}
