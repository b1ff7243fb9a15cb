//! Numbered places whose numbers are not used again for a long time.
//!
//! A number that outlives what it named (a late completion, a stale message of the control plane) finds
//! nothing, never a stranger.

const INDEX_BITS: u32 = 12;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;

/// Values in a slab at the most.
pub(super) const MOST: usize = 1 << INDEX_BITS;

/// Up to 4,096 values by 32-bit number: a place and how often it was used before.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    uses: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Puts in what `make` returns when told its number; gives `None`, without calling it, when full.
    pub(super) fn insert_with(&mut self, make: impl FnOnce(u32) -> T) -> Option<u32> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() <= INDEX_MASK as usize => {
                self.places.push(Place {
                    uses: 0,
                    value: None,
                });
                u32::try_from(self.places.len() - 1).ok()?
            }
            None => return None,
        };
        let place = &mut self.places[index as usize];
        let number = place.uses << INDEX_BITS | index;
        place.value = Some(make(number));
        Some(number)
    }

    /// The value with this number.
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.place(number)
            .and_then(|index| self.places[index].value.as_ref())
    }

    /// The value with this number.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.place(number)
            .and_then(|index| self.places[index].value.as_mut())
    }

    /// Takes the value out; its number names nothing from now on.
    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let index = self.place(number)?;
        let place = &mut self.places[index];
        let value = place.value.take()?;
        place.uses = (place.uses + 1) & (u32::MAX >> INDEX_BITS);
        self.free.push(index as u32);
        Some(value)
    }

    /// All values with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            Some((
                place.uses << INDEX_BITS | index as u32,
                place.value.as_ref()?,
            ))
        })
    }

    /// The numbers in use.
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.iter().map(|(number, _)| number).collect()
    }

    fn place(&self, number: u32) -> Option<usize> {
        let index = (number & INDEX_MASK) as usize;
        let place = self.places.get(index)?;
        (place.uses == number >> INDEX_BITS).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_number_finds_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert_with(|_| 'a').expect("room");
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert_with(|_| 'b').expect("room");
        assert_ne!(first, second);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get(second), Some(&'b'));
        assert_eq!(slab.numbers(), [second]);
    }

    #[test]
    fn is_bounded() {
        let mut slab = Slab::default();
        let taken = (0..=4096).filter_map(|i| slab.insert_with(|_| i)).count();
        assert_eq!(taken, 4096);
    }
}
