//! Where buffers come from and go back to.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use crate::arena::Arena;
use crate::buddy::Buddy;
use crate::buf::Buf;
use crate::slots::Slots;

/// Buffers of one worker, cut from a range of an arena that no other pool uses.
#[derive(Clone, Debug)]
pub struct Pool(pub(crate) Rc<PoolCore>);

/// How full a pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolLevel {
    /// Bytes that buffers hold now, rounded to their blocks.
    pub in_use_bytes: usize,
    /// The most that was ever in use.
    pub high_water_bytes: usize,
    /// All bytes of the pool.
    pub capacity_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct PoolCore {
    pub(crate) arena: Arc<Arena>,
    region: Range<usize>,
    /// First byte of the region.
    base: NonNull<u8>,
    room: RefCell<Room>,
    /// The pool that this is a share of, which has the room.
    whole: Option<Rc<PoolCore>>,
    in_use: Cell<usize>,
    high_water: Cell<usize>,
}

#[derive(Debug)]
enum Room {
    Slots(Slots),
    Buddy(Buddy),
    /// That of another pool.
    None,
}

impl Pool {
    /// Equal slots of `slot_len` bytes in `region` (byte offsets in the arena).
    ///
    /// # Panics
    /// When the region is not inside the arena, reaches into another pool's, or a slot has no bytes or 4 GiB:
    /// all are mistakes of the program that sets the pools up.
    pub fn slots(arena: &Arc<Arena>, region: Range<usize>, slot_len: usize) -> Self {
        let room = Room::Slots(Slots::new(region.len(), slot_len));
        Self::new(arena, region, room)
    }

    /// Blocks of any power-of-two size from 4 KiB to `largest` bytes in `region`.
    ///
    /// # Panics
    /// As [`Pool::slots`], and when `largest` is more than 2 GiB.
    pub fn buddy(arena: &Arc<Arena>, region: Range<usize>, largest: usize) -> Self {
        let room = Room::Buddy(Buddy::new(region.len(), largest));
        Self::new(arena, region, room)
    }

    /// One user's share of this pool: buffers come from here, and a user that holds some gets no more than there would
    /// remain for others. So many that take all they can get end with equal parts, and as much is left for who comes
    /// next; who holds nothing gets whatever is there. A share of a share is one of the same pool.
    #[must_use]
    pub fn share(&self) -> Self {
        let core = self.0.whole.as_ref().unwrap_or(&self.0);
        Self(Rc::new(PoolCore {
            arena: Arc::clone(&core.arena),
            region: core.region.clone(),
            base: core.base,
            room: RefCell::new(Room::None),
            whole: Some(Rc::clone(core)),
            in_use: Cell::new(0),
            high_water: Cell::new(0),
        }))
    }

    /// True when it is for what this share holds already that [`Pool::take`] refuses `len` bytes.
    pub fn exceeds_share(&self, len: usize) -> bool {
        let whole = self.0.whole.as_ref();
        whole.is_some_and(|whole| self.0.exceeds_share_of(whole, len))
    }

    fn new(arena: &Arc<Arena>, region: Range<usize>, room: Room) -> Self {
        arena.claim(&region);
        // SAFETY: a region that could be claimed is inside the arena.
        let base = unsafe { arena.base().add(region.start) };
        Self(Rc::new(PoolCore {
            arena: Arc::clone(arena),
            region,
            base,
            room: RefCell::new(room),
            whole: None,
            in_use: Cell::new(0),
            high_water: Cell::new(0),
        }))
    }

    /// A buffer of exactly `len` bytes, or `None` while the pool has no block that large. The contents are
    /// whatever the last owner left: whoever sends a buffer to a peer fills all of it first.
    #[inline]
    pub fn take(&self, len: usize) -> Option<Buf> {
        let core = &self.0;
        let (offset, block_len) = core.take_block(len)?;
        // SAFETY: the room is not longer than the region.
        let block = unsafe { core.base.add(offset) };
        Some(Buf::new(Rc::clone(core), block, block_len, len))
    }

    /// The largest buffer in bytes that [`Pool::take`] can ever give.
    pub fn largest(&self) -> usize {
        match &*self.0.whole().room.borrow() {
            Room::Slots(slots) => slots.largest(),
            Room::Buddy(buddy) => buddy.largest(),
            Room::None => 0,
        }
    }

    /// How full the pool is.
    pub fn level(&self) -> PoolLevel {
        PoolLevel {
            in_use_bytes: self.0.in_use.get(),
            high_water_bytes: self.0.high_water.get(),
            capacity_bytes: self.0.region.len(),
        }
    }

    /// The arena that all buffers of this pool are in.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.0.arena
    }
}

impl PoolCore {
    /// Who has the room.
    #[inline]
    fn whole(&self) -> &Self {
        self.whole.as_deref().unwrap_or(self)
    }

    /// Offset and length of a block for `len` bytes.
    #[inline]
    fn take_block(&self, len: usize) -> Option<(usize, u32)> {
        let Some(whole) = &self.whole else {
            return self.take_own_block(len);
        };
        if self.exceeds_share_of(whole, len) {
            return None;
        }
        let (offset, block_len) = whole.take_own_block(len)?;
        self.count_taken(block_len);
        Some((offset, block_len))
    }

    #[inline]
    fn take_own_block(&self, len: usize) -> Option<(usize, u32)> {
        let (offset, block_len) = match &mut *self.room.borrow_mut() {
            Room::Slots(slots) => slots.take(len)?,
            Room::Buddy(buddy) => buddy.take(len)?,
            Room::None => return None,
        };
        self.count_taken(block_len);
        Some((offset, block_len))
    }

    #[inline]
    fn count_taken(&self, block_len: u32) {
        let in_use = self.in_use.get() + block_len as usize;
        self.in_use.set(in_use);
        self.high_water.set(self.high_water.get().max(in_use));
    }

    #[inline]
    fn exceeds_share_of(&self, whole: &PoolCore, len: usize) -> bool {
        let held = self.in_use.get();
        let free = whole.region.len() - whole.in_use.get();
        held != 0 && held.saturating_add(len) > free
    }

    #[inline]
    pub(crate) fn give_back(&self, block: NonNull<u8>, block_len: u32) {
        if let Some(whole) = &self.whole {
            whole.give_back_own(block, block_len);
            self.in_use.set(self.in_use.get() - block_len as usize);
        } else {
            self.give_back_own(block, block_len);
        }
    }

    #[inline]
    fn give_back_own(&self, block: NonNull<u8>, block_len: u32) {
        let offset = block.addr().get() - self.base.addr().get();
        match &mut *self.room.borrow_mut() {
            Room::Slots(slots) => slots.give_back(offset),
            Room::Buddy(buddy) => buddy.give_back(offset, block_len),
            Room::None => {}
        }
        self.in_use.set(self.in_use.get() - block_len as usize);
    }
}

impl Drop for PoolCore {
    fn drop(&mut self) {
        if self.whole.is_none() {
            self.arena.release(&self.region);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_dropped_buffer_returns() {
        let arena = Arena::new(2 * MIB).expect("map");
        let pool = Pool::slots(&arena, 0..4096, 1024);
        let held: Vec<_> = std::iter::from_fn(|| pool.take(1000)).collect();
        assert_eq!(held.len(), 4);
        assert_eq!(pool.level().in_use_bytes, 4096);
        drop(held);
        assert_eq!(pool.level().in_use_bytes, 0);
        assert_eq!(pool.level().high_water_bytes, 4096);
        assert!(pool.take(1).is_some());
    }

    #[test]
    fn a_pool_gives_nothing_larger_than_its_largest() {
        let arena = Arena::new(2 * MIB).expect("map");
        let pool = Pool::buddy(&arena, 0..2 * MIB, MIB);
        assert_eq!(pool.largest(), MIB);
        assert!(pool.take(MIB + 1).is_none());
        assert!(pool.take(MIB).is_some());
    }

    #[test]
    fn who_takes_all_there_is_leaves_as_much_for_others() {
        let arena = Arena::new(2 * MIB).expect("map");
        let pool = Pool::buddy(&arena, 0..2 * MIB, MIB);
        let grab =
            |share: &Pool| -> Vec<Buf> { std::iter::from_fn(|| share.take(64 << 10)).collect() };
        let (first, second) = (pool.share(), pool.share());
        let of_first = grab(&first);
        assert_eq!(first.level().in_use_bytes, MIB);
        assert!(first.exceeds_share(4096));
        let of_second = grab(&second);
        assert_eq!(second.level().in_use_bytes, MIB / 2);
        assert_eq!(pool.level().in_use_bytes, MIB + MIB / 2);
        let third = pool.share();
        assert!(
            third.take(MIB / 2).is_some(),
            "who holds nothing gets what is there"
        );
        drop(of_first);
        assert!(!second.exceeds_share(MIB / 2));
        drop((first, of_second, second, third));
        assert_eq!(pool.level().in_use_bytes, 0);
        assert_eq!(pool.take(MIB).map(|buf| buf.len()), Some(MIB));
    }

    #[test]
    #[should_panic(expected = "overlaps")]
    fn two_pools_cannot_share_memory() {
        let arena = Arena::new(2 * MIB).expect("map");
        let _first = Pool::slots(&arena, 0..8192, 4096);
        let _second = Pool::slots(&arena, 4096..12288, 4096);
    }

    #[test]
    fn a_region_is_free_again_after_its_pool() {
        let arena = Arena::new(2 * MIB).expect("map");
        let buf = Pool::slots(&arena, 0..8192, 4096).take(1).expect("room");
        drop(buf);
        let _again = Pool::slots(&arena, 0..8192, 4096);
    }
}
