//! Slots by [`Id`]: an answer only where the generation is the one asked for.

use crate::machine::Id;

/// A table whose slots the node numbers.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Option<(u32, T)>>,
    len: usize,
}

impl<T> Table<T> {
    pub(super) const fn new() -> Table<T> {
        Table { slots: Vec::new(), len: 0 }
    }

    pub(super) fn get(&self, id: Id) -> Option<&T> {
        match self.slots.get(id.index as usize)? {
            Some((generation, value)) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        match self.slots.get_mut(id.index as usize)? {
            Some((generation, value)) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// Fills the slot of `id`; gives back what was in it, whatever its generation.
    pub(super) fn insert(&mut self, id: Id, value: T) -> Option<T> {
        let index = id.index as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        let old = self.slots[index].replace((id.generation, value));
        self.len += usize::from(old.is_none());
        old.map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<T> {
        self.get(id)?;
        self.len -= 1;
        self.slots[id.index as usize].take().map(|(_, value)| value)
    }

    /// The full id in a slot, if the low bits of its generation (under `mask`) are `bits`.
    pub(super) fn id_at(&self, index: u32, bits: u32, mask: u32) -> Option<Id> {
        match self.slots.get(index as usize)? {
            Some((generation, _)) if generation & mask == bits => Some(Id { index, generation: *generation }),
            _ => None,
        }
    }

    /// Empties the table.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.len = 0;
        std::mem::take(&mut self.slots).into_iter().flatten().map(|(_, value)| value)
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_answers_to_its_generation_only() {
        let mut table = Table::new();
        let old = Id { index: 3, generation: 7 };
        let new = Id { index: 3, generation: 8 };
        assert_eq!(table.insert(old, 'a'), None);
        assert_eq!(table.remove(old), Some('a'));
        assert_eq!(table.insert(new, 'b'), None);
        assert_eq!((table.get(old), table.get(new), table.len()), (None, Some(&'b'), 1));
        assert_eq!(table.remove(old), None);
        assert_eq!(table.id_at(3, 8, 0xfff), Some(new));
        assert_eq!(table.id_at(3, 7, 0xfff), None);
        assert_eq!(table.id_at(9, 7, 0xfff), None);
    }
}
