//! First-in-first-out lists over the slots of the task table, without an allocation per entry.

const NONE: u32 = u32::MAX;

/// The links of all slots for one purpose; a slot is in at most one list of that purpose.
#[derive(Debug)]
pub(crate) struct Links(Vec<Link>);

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

/// One list.
#[derive(Debug)]
pub(crate) struct List {
    first: u32,
    last: u32,
}

impl Default for List {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
        }
    }
}

impl List {
    pub(crate) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

impl Links {
    pub(crate) fn new(slots: u32) -> Self {
        let unlinked = Link {
            previous: NONE,
            next: NONE,
        };
        Self((0..slots).map(|_| unlinked).collect())
    }

    pub(crate) fn next(&self, slot: u32) -> Option<u32> {
        let next = self.0[slot as usize].next;
        (next != NONE).then_some(next)
    }

    #[inline]
    pub(crate) fn push_back(&mut self, list: &mut List, slot: u32) {
        self.0[slot as usize] = Link {
            previous: list.last,
            next: NONE,
        };
        match list.last {
            NONE => list.first = slot,
            last => self.0[last as usize].next = slot,
        }
        list.last = slot;
    }

    /// Takes a slot out of the list that it is in.
    #[inline]
    pub(crate) fn remove(&mut self, list: &mut List, slot: u32) {
        let Link { previous, next } = self.0[slot as usize];
        match previous {
            NONE => list.first = next,
            previous => self.0[previous as usize].next = next,
        }
        match next {
            NONE => list.last = previous,
            next => self.0[next as usize].previous = previous,
        }
    }

    pub(crate) fn iter(&self, list: &List) -> impl Iterator<Item = u32> {
        std::iter::successors(list.first(), |&slot| self.next(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_of_arrival() {
        let mut links = Links::new(5);
        let mut list = List::default();
        for slot in [3, 0, 4, 1] {
            links.push_back(&mut list, slot);
        }
        for (gone, left) in [
            (4, vec![3, 0, 1]),
            (3, vec![0, 1]),
            (1, vec![0]),
            (0, vec![]),
        ] {
            links.remove(&mut list, gone);
            assert_eq!(links.iter(&list).collect::<Vec<_>>(), left);
            assert_eq!(list.is_empty(), left.is_empty());
        }
        links.push_back(&mut list, 2);
        assert_eq!(list.first(), Some(2));
    }
}
