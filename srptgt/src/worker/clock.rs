//! Time for the data path: read without a system call, and only forward.

use std::time::Duration;

/// A clock whose zero is its own creation.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    clock: quanta::Clock,
    zero: quanta::Instant,
}

impl Clock {
    /// Starts at zero; calibrates the processor's counter against the system clock.
    pub(super) fn new() -> Self {
        let clock = quanta::Clock::new();
        let zero = clock.now();
        Self { clock, zero }
    }

    /// Time since the clock was made.
    pub(super) fn now(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.zero)
    }
}

/// Milliseconds of a duration, as protocol machines count time.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
