//! Buddy allocation: data buffers of any power-of-two size, without a heap allocation per buffer.

/// Smallest block in bytes, and the alignment that O_DIRECT wants.
pub(crate) const MIN_BLOCK_BYTES: usize = 4096;

const NONE: u32 = u32::MAX;
const NOT_FREE: u8 = u8::MAX;

/// Free blocks by order; a block of order n has `MIN_BLOCK_BYTES << n` bytes and is aligned to its size.
#[derive(Debug)]
pub(crate) struct Buddy {
    /// Head of the list of free blocks, by order.
    heads: Vec<u32>,
    /// Links of the free lists, by index of the block's first page.
    next: Vec<u32>,
    prev: Vec<u32>,
    /// Order of the free block that starts at this page, or `NOT_FREE`.
    free_order: Vec<u8>,
}

impl Buddy {
    /// `largest` is rounded up to a power of two; what does not fill a block of that size stays in smaller ones.
    pub(crate) fn new(region_len: usize, largest: usize) -> Self {
        let pages = region_len / MIN_BLOCK_BYTES;
        let top = order_of(largest.min(region_len.max(MIN_BLOCK_BYTES)));
        let mut buddy = Self {
            heads: vec![NONE; top + 1],
            next: vec![NONE; pages],
            prev: vec![NONE; pages],
            free_order: vec![NOT_FREE; pages],
        };
        let mut page = 0;
        while page < pages {
            let aligned = if page == 0 {
                top
            } else {
                (page.trailing_zeros() as usize).min(top)
            };
            let fits = (pages - page).ilog2() as usize;
            let order = aligned.min(fits);
            buddy.push(page as u32, order);
            page += 1 << order;
        }
        buddy
    }

    /// Offset and length in bytes of a block with room for `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Option<(usize, usize)> {
        let order = order_of(len);
        let from = (order..self.heads.len()).find(|&o| self.heads[o] != NONE)?;
        let page = self.heads[from];
        self.unlink(page, from);
        for smaller in (order..from).rev() {
            self.push(page + (1 << smaller), smaller);
        }
        Some((page as usize * MIN_BLOCK_BYTES, MIN_BLOCK_BYTES << order))
    }

    /// Takes a block back and joins it with its free buddies.
    pub(crate) fn give_back(&mut self, offset: usize, block_len: usize) {
        let mut page = (offset / MIN_BLOCK_BYTES) as u32;
        let mut order = order_of(block_len);
        while order + 1 < self.heads.len() {
            let buddy = page ^ (1 << order);
            if self.free_order.get(buddy as usize) != Some(&(order as u8)) {
                break;
            }
            self.unlink(buddy, order);
            page = page.min(buddy);
            order += 1;
        }
        self.push(page, order);
    }

    pub(crate) fn largest(&self) -> usize {
        MIN_BLOCK_BYTES << (self.heads.len() - 1)
    }

    fn push(&mut self, page: u32, order: usize) {
        let head = self.heads[order];
        self.next[page as usize] = head;
        self.prev[page as usize] = NONE;
        if head != NONE {
            self.prev[head as usize] = page;
        }
        self.heads[order] = page;
        self.free_order[page as usize] = order as u8;
    }

    fn unlink(&mut self, page: u32, order: usize) {
        let (prev, next) = (self.prev[page as usize], self.next[page as usize]);
        match prev {
            NONE => self.heads[order] = next,
            _ => self.next[prev as usize] = next,
        }
        if next != NONE {
            self.prev[next as usize] = prev;
        }
        self.free_order[page as usize] = NOT_FREE;
    }
}

fn order_of(len: usize) -> usize {
    len.max(1)
        .div_ceil(MIN_BLOCK_BYTES)
        .next_power_of_two()
        .trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REGION: usize = 1 << 20;

    #[test]
    fn gives_aligned_blocks_of_enough_room() {
        let mut buddy = Buddy::new(REGION, REGION);
        let (offset, len) = buddy.take(5000).expect("room");
        assert_eq!(len, 8192);
        assert_eq!(offset % len, 0);
    }

    #[test]
    fn a_region_that_is_no_power_of_two_is_used_whole() {
        let mut buddy = Buddy::new(7 * MIN_BLOCK_BYTES, 4 * MIN_BLOCK_BYTES);
        let blocks: Vec<_> = std::iter::from_fn(|| buddy.take(1)).collect();
        assert_eq!(blocks.len(), 7);
    }

    proptest! {
        #[test]
        fn blocks_never_overlap_and_all_room_returns(
            steps in prop::collection::vec((any::<bool>(), 1usize..200_000), 1..300)
        ) {
            let mut buddy = Buddy::new(REGION, REGION);
            let mut taken: Vec<(usize, usize)> = Vec::new();
            for (give, len) in steps {
                if give && !taken.is_empty() {
                    let (offset, block) = taken.swap_remove(len % taken.len());
                    buddy.give_back(offset, block);
                } else if let Some((offset, block)) = buddy.take(len) {
                    prop_assert!(block >= len && offset + block <= REGION && offset % block == 0);
                    for &(other, other_len) in &taken {
                        prop_assert!(offset + block <= other || other + other_len <= offset);
                    }
                    taken.push((offset, block));
                }
            }
            for (offset, block) in taken {
                buddy.give_back(offset, block);
            }
            prop_assert_eq!(buddy.take(REGION), Some((0, REGION)));
        }
    }
}
