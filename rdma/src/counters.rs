//! What the objects of a device cost.

use std::cell::Cell;

/// Counts since the device was opened. On the kernel's soft devices each doorbell, arm and event is a system
/// call, a poll is not. On the soft fabric none of them is; see [`crate::FabricCounters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerbsCounters {
    /// Send work requests posted.
    pub sends_posted: u64,
    /// Chains of send work requests posted.
    pub doorbells: u64,
    /// Receives posted.
    pub receives_posted: u64,
    /// Completion queues armed.
    pub arms: u64,
    /// Completion queues polled.
    pub polls: u64,
    /// Completions polled.
    pub completions: u64,
    /// Events of completion channels handled.
    pub events: u64,
}

/// The counters while they count.
#[derive(Debug, Default)]
pub(crate) struct Counters(Cell<VerbsCounters>);

impl Counters {
    pub(crate) fn count(&self, change: impl FnOnce(&mut VerbsCounters)) {
        let mut counters = self.0.get();
        change(&mut counters);
        self.0.set(counters);
    }

    pub(crate) fn read(&self) -> VerbsCounters {
        self.0.get()
    }
}
