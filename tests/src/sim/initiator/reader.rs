//! The ear of an initiator on a stream: it may be slow, and deaf for a while.

use crate::sim::random::Random;
use crate::sim::scenario::Reading;

/// Bytes that are read at a time.
const READ_BYTES: usize = 16 << 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    habits: Reading,
    /// Nothing is read before.
    deaf_until_us: u64,
}

impl Reader {
    pub(super) fn new(habits: Reading) -> Self {
        Self {
            habits,
            deaf_until_us: 0,
        }
    }

    /// Bytes that may be read now.
    pub(super) fn most(&self, now_us: u64) -> Option<usize> {
        let most = match self.habits.bytes {
            0 => READ_BYTES,
            few => few,
        };
        (self.deaf_until_us <= now_us).then_some(most)
    }

    /// Something was read.
    pub(super) fn handle_read(&mut self, now_us: u64) {
        if self.habits.bytes > 0 {
            self.deaf_until_us = now_us + self.habits.pause_us;
        }
    }

    /// Nothing is read for a while.
    pub(super) fn turn_away(&mut self, random: &mut Random, now_us: u64) {
        self.deaf_until_us = now_us + random.below(self.habits.deaf_us);
    }

    /// From now on everything is read at once.
    pub(super) fn calm(&mut self) {
        *self = Self::new(Reading::default());
    }

    /// When something is read again.
    pub(super) fn next_time(&self, now_us: u64) -> Option<u64> {
        Some(self.deaf_until_us).filter(|at| *at > now_us)
    }
}
