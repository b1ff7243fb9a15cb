//! Logical unit numbers (SAM-5 4.7).

use std::fmt;

/// The 64-bit logical unit number as it travels in a command.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Lun(pub [u8; 8]);

impl Lun {
    /// The largest number that a host can be given: ESXi looks no further on ordinary devices, and the
    /// peripheral device addressing method has eight bits.
    pub const MAX_FLAT: u16 = 255;

    /// REPORT LUNS well-known logical unit (SAM-5 4.7.5.5.1, SPC-4 8.2).
    pub const WELL_KNOWN_REPORT_LUNS: Lun = Lun([0xc1, 0x01, 0, 0, 0, 0, 0, 0]);

    /// Single-level number in peripheral device addressing (SAM-5 4.7.7.2), the form that REPORT LUNS uses.
    pub fn peripheral(number: u8) -> Self {
        Lun([0, number, 0, 0, 0, 0, 0, 0])
    }

    /// The plain number behind a single-level address by the peripheral or the flat space method
    /// (SAM-5 4.7.7), or `None` for what addresses something else.
    #[inline]
    pub fn flat(self) -> Option<u16> {
        let [a, b, rest @ ..] = self.0;
        if rest != [0; 6] {
            return None;
        }
        match a >> 6 {
            // Peripheral device addressing with bus identifier 0.
            0b00 if a == 0 => Some(u16::from(b)),
            // Flat space addressing.
            0b01 => Some(u16::from_be_bytes([a & 0x3f, b])),
            _ => None,
        }
    }
}

impl fmt::Debug for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flat() {
            Some(number) => write!(f, "LUN {number}"),
            None => write!(f, "LUN {:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_peripheral_and_flat_space_addresses() {
        assert_eq!(Lun::peripheral(7).flat(), Some(7));
        assert_eq!(Lun([0x40, 7, 0, 0, 0, 0, 0, 0]).flat(), Some(7));
        assert_eq!(Lun([0x41, 7, 0, 0, 0, 0, 0, 0]).flat(), Some(0x107));
    }

    #[test]
    fn refuses_other_addresses() {
        assert_eq!(Lun([1, 7, 0, 0, 0, 0, 0, 0]).flat(), None, "bus 1");
        assert_eq!(Lun([0, 7, 0, 1, 0, 0, 0, 0]).flat(), None, "second level");
        assert_eq!(Lun::WELL_KNOWN_REPORT_LUNS.flat(), None);
    }
}
