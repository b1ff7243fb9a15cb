//! A buffer with one owner.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;

use crate::arena::Arena;
use crate::pool::PoolCore;

/// A block of a pool and the window of it that is in use.
///
/// The window starts as what was asked for and can be moved inside the block, so that a receive buffer
/// becomes the data of a write in place. Dropping the buffer gives the block back.
pub struct Buf {
    home: Rc<PoolCore>,
    block: NonNull<u8>,
    block_len: u32,
    start: u32,
    len: u32,
}

impl Buf {
    /// The block's first `len` bytes, at most all of them.
    pub(crate) fn new(home: Rc<PoolCore>, block: NonNull<u8>, block_len: u32, len: usize) -> Self {
        debug_assert!(len <= block_len as usize);
        Self {
            home,
            block,
            block_len,
            start: 0,
            len: len as u32,
        }
    }

    /// Bytes in the window.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// True when the window has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the whole block.
    pub fn block_len(&self) -> usize {
        self.block_len as usize
    }

    /// Sets the window to `len` bytes from `start` of the block. Returns false, and changes nothing, when
    /// the block is not that long.
    #[must_use]
    #[inline]
    pub fn set_window(&mut self, start: usize, len: usize) -> bool {
        let end = start.checked_add(len);
        let fits = end.is_some_and(|end| end <= self.block_len());
        if fits {
            (self.start, self.len) = (start as u32, len as u32);
        }
        fits
    }

    /// Keeps the first `len` bytes of the window; does nothing when it is shorter.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len().min(len) as u32;
    }

    /// Drops up to `count` bytes from the front of the window.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        let count = self.len().min(count) as u32;
        self.start += count;
        self.len -= count;
    }

    /// The window's first byte as the NIC and the kernel know it.
    pub fn address(&self) -> u64 {
        self.as_ptr() as u64
    }

    /// Pointer to the window's first byte, valid for [`Buf::len`] bytes while this buffer is owned.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.as_ptr().cast_mut()
    }

    /// The arena that was registered for this memory.
    pub fn arena(&self) -> &Arena {
        &self.home.arena
    }

    fn as_ptr(&self) -> *const u8 {
        // SAFETY: the pool cut the block from inside the arena, and the window is inside the block.
        unsafe { self.block.as_ptr().add(self.start as usize) }
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the window is mapped (the pool holds the arena) and no other `Buf` covers any byte of it; whatever
        // else writes there (ring, NIC) has taken this `Buf` by value and holds it meanwhile.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.len()) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.as_ptr().cast_mut(), self.len()) }
    }
}

impl Drop for Buf {
    #[inline]
    fn drop(&mut self) {
        self.home.give_back(self.block, self.block_len);
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.start + self.len;
        write!(
            f,
            "Buf({}..{end} of {} at {:?})",
            self.start, self.block_len, self.block
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::{Arena, Pool};

    #[test]
    fn the_window_moves_inside_the_block_only() {
        let arena = Arena::new(1).expect("map");
        let pool = Pool::slots(&arena, 0..4096, 4096);
        let mut buf = pool.take(100).expect("room");
        buf.copy_from_slice(&[7; 100]);
        buf.advance(98);
        assert_eq!(&*buf, &[7, 7]);
        assert!(!buf.set_window(4000, 97));
        assert!(!buf.set_window(usize::MAX, 2));
        assert_eq!(buf.len(), 2);
        assert!(buf.set_window(0, 4096));
        assert_eq!(buf[99], 7);
    }
}
