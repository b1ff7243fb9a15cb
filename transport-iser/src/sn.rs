//! Sequence numbers that wrap: CmdSN, StatSN, DataSN (RFC 7143 4.2.2.1, RFC 1982 with SERIAL_BITS = 32).

use std::cmp::Ordering;

/// A 32-bit serial number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sn(pub u32);

impl Sn {
    /// The number `count` further on; wraps.
    #[must_use]
    pub fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// Whether the number lies in the window from `first` to `last`, both included. A window whose last number is one before its
    /// first is empty: that is how a target closes the command window (RFC 7143 4.2.2.1, MaxCmdSN = ExpCmdSN - 1).
    pub fn is_within(self, first: Sn, last: Sn) -> bool {
        self.0.wrapping_sub(first.0) <= last.0.wrapping_sub(first.0) && last.plus(1) != first
    }
}

/// Serial number order: `None` for two numbers that are half the space apart, where RFC 1982 3.2 leaves the order undefined.
impl PartialOrd for Sn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.0.wrapping_sub(other.0) {
            0 => Some(Ordering::Equal),
            1..0x8000_0000 => Some(Ordering::Greater),
            0x8000_0000 => None,
            _ => Some(Ordering::Less),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        assert!(Sn(0xffff_ffff) < Sn(0));
        assert!(Sn(5) > Sn(0xffff_fff0));
        assert_eq!(Sn(0).partial_cmp(&Sn(0x8000_0000)), None);
        assert_eq!(Sn(0xffff_ffff).plus(2), Sn(1));
    }

    #[test]
    fn windows_hold_across_the_wrap() {
        let (first, last) = (Sn(0xffff_fffe), Sn(1));
        for inside in [0xffff_fffe, 0xffff_ffff, 0, 1] {
            assert!(Sn(inside).is_within(first, last), "{inside:#x}");
        }
        for outside in [2, 0xffff_fffd, 0x8000_0000] {
            assert!(!Sn(outside).is_within(first, last), "{outside:#x}");
        }
    }

    #[test]
    fn a_closed_window_holds_nothing() {
        let (first, last) = (Sn(7), Sn(6));
        for number in [6, 7, 8, 0xffff_ffff] {
            assert!(!Sn(number).is_within(first, last), "{number:#x}");
        }
    }
}
