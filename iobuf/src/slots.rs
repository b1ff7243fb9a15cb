//! Equal slots: receive and send buffers.

/// Free list over `count` slots of `slot_len` bytes.
#[derive(Debug)]
pub(crate) struct Slots {
    slot_len: usize,
    free: Vec<u32>,
}

impl Slots {
    pub(crate) fn new(region_len: usize, slot_len: usize) -> Self {
        assert!(slot_len > 0, "a slot has at least one byte");
        let count =
            u32::try_from(region_len / slot_len).expect("an arena has fewer than 2^32 slots");
        Self {
            slot_len,
            free: (0..count).rev().collect(),
        }
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<(usize, usize)> {
        if len > self.slot_len {
            return None;
        }
        let slot = self.free.pop()? as usize;
        Some((slot * self.slot_len, self.slot_len))
    }

    pub(crate) fn give_back(&mut self, offset: usize) {
        self.free.push((offset / self.slot_len) as u32);
    }

    pub(crate) fn largest(&self) -> usize {
        self.slot_len
    }
}
