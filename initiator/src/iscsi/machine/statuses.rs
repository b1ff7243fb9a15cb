//! The numbers of the statuses that have come (RFC 7143 4.2.2.2).

use transport_iser::Sn;

/// Which statuses have come.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    due: Sn,
    /// What has come before its turn: the lowest bit is the number after the one that is due.
    early: u128,
}

impl Statuses {
    /// The longest distance by which a status may come early.
    pub(super) const MOST_EARLY: u32 = u128::BITS;

    /// None has come, and the first will have this number.
    pub(super) fn from(due: Sn) -> Self {
        Self { due, early: 0 }
    }

    /// The next number that has not come: ExpStatSN.
    pub(super) fn due(&self) -> Sn {
        self.due
    }

    /// Takes a number that is due, or at most `most_early` behind the one that is. False for any other, and for one that has
    /// come already.
    pub(super) fn take(&mut self, number: Sn, most_early: u32) -> bool {
        let distance = number.0.wrapping_sub(self.due.0);
        if distance == 0 {
            let waited = self.early.trailing_ones();
            self.due = number.plus(1 + waited);
            self.early = self.early.checked_shr(1 + waited).unwrap_or(0);
            return true;
        }
        if distance > most_early.min(Self::MOST_EARLY) {
            return false;
        }
        let bit = 1 << (distance - 1);
        let is_new = self.early & bit == 0;
        self.early |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(numbers: &[u32], most_early: u32) -> Vec<bool> {
        let mut statuses = Statuses::from(Sn(u32::MAX));
        let numbers = numbers.iter().map(|number| Sn(u32::MAX).plus(*number));
        numbers
            .map(|number| statuses.take(number, most_early))
            .collect()
    }

    #[test]
    fn in_order_is_in_order() {
        assert_eq!(taken(&[0, 1, 2, 2], 0), [true, true, true, false]);
        assert_eq!(taken(&[1, 0], 0), [false, true]);
    }

    #[test]
    fn what_comes_early_comes_once() {
        assert_eq!(
            taken(&[2, 1, 2, 0, 1, 3], 8),
            [true, true, false, true, false, true]
        );
        assert_eq!(taken(&[9, 8, 0, 9], 8), [false, true, true, true]);
    }

    #[test]
    fn the_due_number_passes_all_that_waited() {
        let mut statuses = Statuses::from(Sn(0));
        for number in (1..=Statuses::MOST_EARLY).rev() {
            assert!(statuses.take(Sn(number), u32::MAX));
            assert_eq!(statuses.due(), Sn(0));
        }
        assert!(!statuses.take(Sn(Statuses::MOST_EARLY + 1), u32::MAX));
        assert!(statuses.take(Sn(0), 0));
        assert_eq!(statuses.due(), Sn(Statuses::MOST_EARLY + 1));
        assert!(statuses.take(statuses.due(), 0));
    }
}
