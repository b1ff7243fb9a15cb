//! RESERVE and RELEASE (SPC-2 5.5.1): one I_T nexus has the logical unit for itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::nexus::TransportId;

/// Who holds the logical unit. All workers share it; the flag spares the data path the lock.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    held: AtomicBool,
    holder: Mutex<Option<TransportId>>,
}

impl Reservation {
    /// True when somebody else holds the logical unit.
    #[inline]
    pub(crate) fn conflicts_with(&self, initiator: &TransportId) -> bool {
        self.held.load(Ordering::Acquire) && self.holder().as_ref().is_some_and(|h| h != initiator)
    }

    /// Takes or keeps the reservation. False when somebody else has it.
    pub(crate) fn reserve(&self, initiator: &TransportId) -> bool {
        let mut holder = self.holder();
        let free = holder.as_ref().is_none_or(|h| h == initiator);
        if free {
            *holder = Some(initiator.clone());
            self.held.store(true, Ordering::Release);
        }
        free
    }

    /// Gives the reservation up; does nothing when somebody else has it.
    pub(crate) fn release(&self, initiator: &TransportId) {
        if !self.held.load(Ordering::Acquire) {
            return;
        }
        let mut holder = self.holder();
        if holder.as_ref() == Some(initiator) {
            self.give_up(&mut holder);
        }
    }

    /// Ends the reservation, whoever has it.
    pub(crate) fn clear(&self) {
        self.give_up(&mut self.holder());
    }

    fn give_up(&self, holder: &mut Option<TransportId>) {
        *holder = None;
        self.held.store(false, Ordering::Release);
    }

    /// A panic elsewhere leaves the value whole: it is written in one assignment.
    fn holder(&self) -> MutexGuard<'_, Option<TransportId>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TransportId = TransportId::Srp {
        initiator_port_id: [1; 16],
    };
    const B: TransportId = TransportId::Srp {
        initiator_port_id: [2; 16],
    };

    #[test]
    fn one_holder_at_a_time() {
        let reservation = Reservation::default();
        assert!(reservation.reserve(&A) && reservation.reserve(&A));
        assert!(!reservation.reserve(&B));
        assert!(reservation.conflicts_with(&B) && !reservation.conflicts_with(&A));
        reservation.release(&B);
        assert!(reservation.conflicts_with(&B));
        reservation.release(&A);
        assert!(!reservation.conflicts_with(&B));
        assert!(reservation.reserve(&B));
        reservation.clear();
        assert!(!reservation.conflicts_with(&A));
    }
}
