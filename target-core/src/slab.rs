//! Slots with generations: a handle outlives its slot without ever meaning the next user of it.

/// Names a slot of a [`Slab`] and which of its users is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Handle {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values by handle. A slot's memory is used again, never given back.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    len: u32,
}

impl<T> Slab<T> {
    /// Allocates nothing until more than `slots` values are in it.
    pub(crate) fn new(slots: u32) -> Self {
        let slot = |_| Slot {
            generation: 0,
            value: None,
        };
        Self {
            slots: (0..slots).map(slot).collect(),
            free: (0..slots).rev().collect(),
            len: 0,
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Handle {
        self.insert_with(|| value)
    }

    /// Makes the value where it is going to be: cheaper than [`Slab::insert`] for a large one.
    #[inline]
    pub(crate) fn insert_with(&mut self, make: impl FnOnce() -> T) -> Handle {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let slot = &mut self.slots[index as usize];
        slot.value = Some(make());
        self.len += 1;
        Handle {
            index,
            generation: slot.generation,
        }
    }

    #[inline]
    pub(crate) fn get(&self, handle: Handle) -> Option<&T> {
        let slot = self.slots.get(handle.index as usize)?;
        (slot.generation == handle.generation).then_some(slot.value.as_ref()?)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let slot = self.slots.get_mut(handle.index as usize)?;
        (slot.generation == handle.generation).then_some(slot.value.as_mut()?)
    }

    pub(crate) fn remove(&mut self, handle: Handle) -> Option<T> {
        let slot = self.slots.get_mut(handle.index as usize)?;
        if slot.generation != handle.generation {
            return None;
        }
        let value = slot.value.take()?;
        self.free_slot(handle.index);
        Some(value)
    }

    /// Drops the value where it is: cheaper than [`Slab::remove`] for a large one.
    #[inline]
    pub(crate) fn discard(&mut self, handle: Handle) {
        if let Some(slot) = self.slots.get_mut(handle.index as usize)
            && slot.generation == handle.generation
            && slot.value.is_some()
        {
            slot.value = None;
            self.free_slot(handle.index);
        }
    }

    #[inline]
    fn free_slot(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        self.len -= 1;
    }

    /// The value in this slot now, and its handle.
    pub(crate) fn at(&self, index: u32) -> Option<(Handle, &T)> {
        let slot = self.slots.get(index as usize)?;
        let generation = slot.generation;
        Some((Handle { index, generation }, slot.value.as_ref()?))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        (0..)
            .map_while(|index| ((index as usize) < self.slots.len()).then(|| self.at(index)))
            .flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Handle, &mut T)> {
        (0..).zip(&mut self.slots).filter_map(|(index, slot)| {
            let generation = slot.generation;
            Some((Handle { index, generation }, slot.value.as_mut()?))
        })
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    #[cold]
    fn grow(&mut self) -> u32 {
        let index = self.slots.len();
        self.slots.push(Slot {
            generation: 0,
            value: None,
        });
        u32::try_from(index).expect("2^32 values do not fit in memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_never_means_the_next_user() {
        let mut slab = Slab::new(0);
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(first.index, second.index);
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&'b')));
        assert_eq!(slab.remove(first), None);
        slab.discard(first);
        assert_eq!(slab.len(), 1);
        slab.discard(second);
        assert_eq!((slab.len(), slab.get(second)), (0, None));
    }

    #[test]
    fn grows_when_all_slots_are_taken() {
        let mut slab = Slab::new(1);
        let handles = [slab.insert(10), slab.insert(20)];
        slab.remove(handles[0]);
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(handles[1], &20)]);
    }
}
