//! A switch that makes a medium stall or fail, for tests and rehearsals.
//!
//! While it is off, which is always in normal service, it costs the data path one relaxed load.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Set while the medium stalls; the bits below hold the errno for the next operation.
const STALLED: u32 = 1 << 31;

/// What is to happen to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Accepted, and not started until the switch is off.
    Stall,
    /// Ends with this errno.
    Fail(i32),
}

/// An eventfd that each engine waits for: media ring it when held operations may go on.
pub(crate) type Bell = Arc<OwnedFd>;

/// The switch of one medium.
#[derive(Debug, Default)]
pub(crate) struct FaultSwitch {
    state: AtomicU32,
    bells: Mutex<Vec<Weak<OwnedFd>>>,
}

impl FaultSwitch {
    /// What happens to an operation that arrives now.
    pub(crate) fn check(&self) -> Option<Fault> {
        match self.state.load(Ordering::Relaxed) {
            0 => None,
            _ => self.take(),
        }
    }

    #[cold]
    fn take(&self) -> Option<Fault> {
        let state = self.state.fetch_and(STALLED, Ordering::AcqRel);
        match state & !STALLED {
            0 => (state & STALLED != 0).then_some(Fault::Stall),
            errno => Some(Fault::Fail(errno as i32)),
        }
    }

    pub(crate) fn stalled(&self) -> bool {
        self.state.load(Ordering::Acquire) & STALLED != 0
    }

    pub(crate) fn stall(&self, on: bool) {
        if on {
            self.state.fetch_or(STALLED, Ordering::AcqRel);
        } else {
            self.state.fetch_and(!STALLED, Ordering::AcqRel);
            self.ring_bells();
        }
    }

    pub(crate) fn fail_next(&self, errno: u16) {
        let replace = |state| Some((state & STALLED) | u32::from(errno));
        // The closure always gives a value, so the update cannot fail.
        let _ = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, replace);
    }

    pub(crate) fn add_bell(&self, bell: &Bell) {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        let bell = Arc::downgrade(bell);
        bells.retain(|b| b.strong_count() > 0 && !b.ptr_eq(&bell));
        bells.push(bell);
    }

    fn ring_bells(&self) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        for bell in bells.iter().filter_map(Weak::upgrade) {
            // Fails only when the counter is full, and then the engine wakes anyway.
            let _ = rustix::io::write(&bell, &1u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_hits_one_operation() {
        let switch = FaultSwitch::default();
        assert_eq!(switch.check(), None);
        switch.fail_next(28);
        switch.fail_next(5);
        assert_eq!(switch.check(), Some(Fault::Fail(5)));
        assert_eq!(switch.check(), None);
    }

    #[test]
    fn a_stall_lasts_until_it_is_switched_off() {
        let switch = FaultSwitch::default();
        switch.stall(true);
        switch.fail_next(5);
        assert_eq!(switch.check(), Some(Fault::Fail(5)));
        assert_eq!(switch.check(), Some(Fault::Stall));
        assert_eq!(switch.check(), Some(Fault::Stall));
        switch.stall(false);
        assert_eq!(switch.check(), None);
    }
}
