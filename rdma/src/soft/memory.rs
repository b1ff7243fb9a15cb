//! Registered memory as `roce` sees it: bytes behind a handle.

use std::ptr::NonNull;
use std::slice;

use roce::{Memory, RegionHandle};

/// What is registered with one device. Handles are never used twice.
#[derive(Debug, Default)]
pub(super) struct Regions {
    regions: Vec<(RegionHandle, Range)>,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    base: NonNull<u8>,
    len: usize,
}

impl Regions {
    /// Makes memory known. The caller keeps it mapped until [`Regions::remove`], and leaves those of its bytes
    /// alone that are in a posted request or exposed to a peer.
    pub(super) fn insert(&mut self, base: NonNull<u8>, len: usize) -> RegionHandle {
        self.last += 1;
        let handle = RegionHandle(self.last);
        self.regions.push((handle, Range { base, len }));
        handle
    }

    pub(super) fn remove(&mut self, handle: RegionHandle) {
        self.regions.retain(|(known, _)| *known != handle);
    }

    /// Address of `length` bytes at `offset` of a region, when they are inside it.
    fn find(&self, handle: RegionHandle, offset: u64, length: u32) -> Option<(NonNull<u8>, usize)> {
        // Handles only grow, so the list is in their order.
        let place = self
            .regions
            .binary_search_by_key(&handle.0, |(known, _)| known.0);
        let (_, range) = self.regions.get(place.ok()?)?;
        let start = usize::try_from(offset).ok()?;
        let len = usize::try_from(length).ok()?;
        let is_inside = start.checked_add(len)? <= range.len;
        // SAFETY: the offset is inside the region.
        is_inside.then(|| (unsafe { range.base.add(start) }, len))
    }
}

impl Memory for Regions {
    fn bytes(&self, region: RegionHandle, offset: u64, length: u32) -> Option<&[u8]> {
        let (base, len) = self.find(region, offset, length)?;
        // SAFETY: registered memory is mapped, and `roce` asks only for bytes of posted requests and exposed
        // regions, whose owner holds no reference to them meanwhile.
        Some(unsafe { slice::from_raw_parts(base.as_ptr(), len) })
    }

    fn bytes_mut(&mut self, region: RegionHandle, offset: u64, length: u32) -> Option<&mut [u8]> {
        let (base, len) = self.find(region, offset, length)?;
        // SAFETY: as in `bytes`, and `&mut self` makes this the only reference that is given out.
        Some(unsafe { slice::from_raw_parts_mut(base.as_ptr(), len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registered_bytes_are_given() {
        let mut bytes = [7_u8; 16];
        let mut regions = Regions::default();
        let handle = regions.insert(NonNull::from(&mut bytes[0]), 16);
        assert_eq!(regions.bytes(handle, 12, 4), Some(&[7; 4][..]));
        assert_eq!(regions.bytes(handle, 12, 5), None);
        assert_eq!(regions.bytes(handle, u64::MAX, 1), None);
        regions.remove(handle);
        assert_eq!(regions.bytes(handle, 0, 1), None);
        let again = regions.insert(NonNull::from(&mut bytes[0]), 16);
        assert_ne!(again, handle);
    }
}
