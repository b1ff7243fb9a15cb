//! Equal slots: receive and send buffers.

/// Free list over the slots of a region.
#[derive(Debug)]
pub(crate) struct Slots {
    slot_len: u32,
    /// Where the free slots begin, in bytes from the start of the region.
    free: Vec<usize>,
}

impl Slots {
    pub(crate) fn new(region_len: usize, slot_len: usize) -> Self {
        assert!(slot_len > 0, "a slot has at least one byte");
        Self {
            slot_len: u32::try_from(slot_len).expect("a slot has fewer than 2^32 bytes"),
            free: (0..region_len / slot_len)
                .rev()
                .map(|slot| slot * slot_len)
                .collect(),
        }
    }

    /// Offset and length in bytes of a slot with room for `len` bytes.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Option<(usize, u32)> {
        if len > self.slot_len as usize {
            return None;
        }
        Some((self.free.pop()?, self.slot_len))
    }

    #[inline]
    pub(crate) fn give_back(&mut self, offset: usize) {
        self.free.push(offset);
    }

    pub(crate) fn largest(&self) -> usize {
        self.slot_len as usize
    }
}
