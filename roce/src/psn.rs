//! Packet sequence numbers: 24-bit serial numbers of one direction of a connection (IBTA 9.7.1).

use std::fmt;

const MASK: u32 = 0x00ff_ffff;
const HALF: u32 = 0x0080_0000;

/// A packet sequence number. Arithmetic wraps at 24 bits; two numbers compare by [`Psn::distance`] only, since
/// "greater" has no meaning without a window.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Psn(u32);

impl Psn {
    /// The low 24 bits of `value`.
    pub const fn new(value: u32) -> Self {
        Self(value & MASK)
    }

    /// The number as it stands in a BTH.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The number `count` packets later.
    #[must_use]
    pub const fn add(self, count: u32) -> Self {
        Self::new(self.0.wrapping_add(count))
    }

    /// The next number.
    #[must_use]
    pub const fn next(self) -> Self {
        self.add(1)
    }

    /// The number before this one.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self::new(self.0.wrapping_sub(1))
    }

    /// Packets from `earlier` to this one, going forward, 0 to 2^24 - 1.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0) & MASK
    }

    /// Signed distance from `other`: positive when this one comes later, -2^23 to 2^23 - 1.
    pub fn distance(self, other: Self) -> i32 {
        let ahead = self.since(other);
        if ahead < HALF {
            ahead.cast_signed()
        } else {
            ahead.cast_signed() - MASK.cast_signed() - 1
        }
    }
}

impl fmt::Debug for Psn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Psn({:#08x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Psn;

    #[test]
    fn arithmetic_wraps_at_24_bits() {
        let last = Psn::new(0xff_ffff);
        assert_eq!(last.next(), Psn::new(0));
        assert_eq!(Psn::new(0).previous(), last);
        assert_eq!(Psn::new(3).since(last), 4);
        assert_eq!(Psn::new(3).distance(last), 4);
        assert_eq!(last.distance(Psn::new(3)), -4);
        assert_eq!(Psn::new(0x01ff_ffff), last);
    }

    #[test]
    fn half_of_the_space_lies_behind() {
        let here = Psn::new(0x10_0000);
        assert_eq!(here.add(0x7f_ffff).distance(here), 0x7f_ffff);
        assert_eq!(here.add(0x80_0000).distance(here), -0x80_0000);
    }
}
