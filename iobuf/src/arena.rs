//! One aligned, anonymous mapping that buffers are cut from.

use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

/// Alignment of an arena in bytes: a huge page, so that a NIC and the kernel need few translations.
pub(crate) const ARENA_ALIGN_BYTES: usize = 2 << 20;

/// A mapping that lives as long as anything that was registered with it or cut from it.
///
/// The memory is zeroed by the kernel, and is only handed out through [`crate::Pool`]: that is what makes
/// each [`crate::Buf`] the only access to its range.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    len: usize,
    mapping: NonNull<u8>,
    mapping_len: usize,
    /// Regions that pools cut their buffers from. Disjoint, so that no byte has two owners.
    claimed: Mutex<Vec<Range<usize>>>,
}

// SAFETY: the arena is plain memory without thread affinity; access to its bytes goes through `Buf` only.
unsafe impl Send for Arena {}
// SAFETY: as above; a shared `Arena` gives out addresses, never references to its bytes.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `len` bytes, rounded up to [`ARENA_ALIGN_BYTES`].
    ///
    /// # Errors
    /// The kernel's error when the address space or memory for the mapping is not there.
    pub fn new(len: usize) -> io::Result<Arc<Self>> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let len = len
            .max(1)
            .checked_next_multiple_of(ARENA_ALIGN_BYTES)
            .ok_or_else(too_large)?;
        let mapping_len = len.checked_add(ARENA_ALIGN_BYTES).ok_or_else(too_large)?;
        // SAFETY: an anonymous private mapping at an address that the kernel chooses touches no memory of ours.
        let mapping = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapping_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = NonNull::new(mapping.cast::<u8>()).ok_or_else(too_large)?;
        let skip = mapping.as_ptr().align_offset(ARENA_ALIGN_BYTES);
        // SAFETY: `skip < ARENA_ALIGN_BYTES`, and the mapping is that much longer than `len`.
        let base = unsafe { mapping.add(skip) };
        // A child of fork (there is none by design) must not get copy-on-write pages that the NIC writes.
        // SAFETY: the range is inside the mapping made above; the advice changes no contents.
        unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_DONTFORK) };
        Ok(Arc::new(Self {
            base,
            len,
            mapping,
            mapping_len,
            claimed: Mutex::default(),
        }))
    }

    /// First byte, as registration calls want it.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: an arena has at least one huge page.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives `region` to one pool. Panics when it is outside the arena or another pool has a part of it.
    pub(crate) fn claim(&self, region: &Range<usize>) {
        assert!(
            region.start <= region.end && region.end <= self.len,
            "region {region:?} is outside an arena of {} bytes",
            self.len
        );
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = claimed
            .iter()
            .find(|c| c.start < region.end && region.start < c.end)
        {
            panic!("region {region:?} overlaps {other:?}, which another pool has");
        }
        claimed.push(region.clone());
    }

    pub(crate) fn release(&self, region: &Range<usize>) {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.retain(|c| c != region);
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: `mapping` and `mapping_len` are what mmap returned, and every `Buf` holds its arena alive.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapping_len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_and_rounded_up() {
        let arena = Arena::new(3 << 20).expect("map");
        assert_eq!(arena.len(), 4 << 20);
        assert_eq!(arena.base().as_ptr().align_offset(ARENA_ALIGN_BYTES), 0);
    }

    #[test]
    fn refuses_what_cannot_be_mapped() {
        assert!(Arena::new(usize::MAX).is_err());
    }
}
