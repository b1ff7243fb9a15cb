//! Buddy allocation: data buffers of any power-of-two size, without a heap allocation per buffer.

/// Smallest block in bytes, and the alignment that O_DIRECT wants.
pub(crate) const MIN_BLOCK_BYTES: usize = 4096;

const NONE: u32 = u32::MAX;
const NOT_FREE: u8 = u8::MAX;

/// Blocks of one order that are kept whole for the next taker.
const KEPT_BLOCKS: usize = 64;

/// Free blocks by order; a block of order n has `MIN_BLOCK_BYTES << n` bytes and is aligned to its size.
///
/// Blocks that come back are kept as they are, some of each order, because the next command mostly wants
/// the same size again. They are joined with their buddies once a block is asked for that is not there.
#[derive(Debug)]
pub(crate) struct Buddy {
    /// Blocks that came back and were not joined yet, by order and by first page.
    kept: Vec<Vec<u32>>,
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
        assert!(largest <= 1 << 31, "a block has fewer than 2^32 bytes");
        let pages = region_len / MIN_BLOCK_BYTES;
        let top = order_of(largest.min(region_len.max(MIN_BLOCK_BYTES)));
        let mut buddy = Self {
            kept: (0..=top).map(|_| Vec::with_capacity(KEPT_BLOCKS)).collect(),
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
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Option<(usize, u32)> {
        let order = order_of(len);
        let page = match self.kept.get_mut(order)?.pop() {
            Some(page) => page,
            None => self.find(order)?,
        };
        Some((page as usize * MIN_BLOCK_BYTES, block_len(order)))
    }

    /// Takes a block back.
    #[inline]
    pub(crate) fn give_back(&mut self, offset: usize, block_len: u32) {
        let page = (offset / MIN_BLOCK_BYTES) as u32;
        let order = order_of(block_len as usize);
        let kept = &mut self.kept[order];
        match kept.len() < KEPT_BLOCKS {
            true => kept.push(page),
            false => self.join(page, order),
        }
    }

    /// A block that was not kept, for which those that were are joined if nothing else helps.
    #[cold]
    fn find(&mut self, order: usize) -> Option<u32> {
        self.split(order).or_else(|| {
            self.join_all();
            self.split(order)
        })
    }

    /// Cuts a block of this order from the smallest free block that has one.
    fn split(&mut self, order: usize) -> Option<u32> {
        let from = (order..self.heads.len()).find(|&o| self.heads[o] != NONE)?;
        let page = self.heads[from];
        self.unlink(page, from);
        for smaller in (order..from).rev() {
            self.push(page + (1 << smaller), smaller);
        }
        Some(page)
    }

    fn join_all(&mut self) {
        for order in 0..self.kept.len() {
            while let Some(page) = self.kept[order].pop() {
                self.join(page, order);
            }
        }
    }

    /// Frees a block, joined with its free buddies.
    #[cold]
    fn join(&mut self, mut page: u32, mut order: usize) {
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

/// Bytes of a block. [`Buddy::new`] has no order that is too high for it.
fn block_len(order: usize) -> u32 {
    (MIN_BLOCK_BYTES << order) as u32
}

/// The smallest order with room for `len` bytes.
fn order_of(len: usize) -> usize {
    let last_page = len.saturating_sub(1) / MIN_BLOCK_BYTES;
    (usize::BITS - last_page.leading_zeros()) as usize
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
        assert_eq!(offset % 8192, 0);
    }

    #[test]
    fn a_region_that_is_no_power_of_two_is_used_whole() {
        let mut buddy = Buddy::new(7 * MIN_BLOCK_BYTES, 4 * MIN_BLOCK_BYTES);
        let blocks: Vec<_> = std::iter::from_fn(|| buddy.take(1)).collect();
        assert_eq!(blocks.len(), 7);
    }

    #[test]
    fn orders_are_the_powers_of_two_that_have_room() {
        let orders = [0, 1, 4096, 4097, 8192, 8193, 1 << 20].map(order_of);
        assert_eq!(orders, [0, 0, 0, 1, 1, 2, 8]);
    }

    #[test]
    fn blocks_that_were_kept_are_joined_for_a_larger_one() {
        let mut buddy = Buddy::new(REGION, REGION);
        let pages: Vec<_> = std::iter::from_fn(|| buddy.take(1)).collect();
        assert_eq!(pages.len(), REGION / MIN_BLOCK_BYTES);
        for (offset, len) in pages {
            buddy.give_back(offset, len);
        }
        assert_eq!(buddy.kept[0].len(), KEPT_BLOCKS);
        assert_eq!(buddy.take(REGION), Some((0, REGION as u32)));
        assert_eq!(buddy.kept[0].len(), 0);
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
                    buddy.give_back(offset, block as u32);
                } else if let Some((offset, block)) = buddy.take(len) {
                    let block = block as usize;
                    prop_assert!(block >= len && offset + block <= REGION && offset % block == 0);
                    for &(other, other_len) in &taken {
                        prop_assert!(offset + block <= other || other + other_len <= offset);
                    }
                    taken.push((offset, block));
                }
            }
            for (offset, block) in taken {
                buddy.give_back(offset, block as u32);
            }
            prop_assert_eq!(buddy.take(REGION), Some((0, REGION as u32)));
        }
    }
}
