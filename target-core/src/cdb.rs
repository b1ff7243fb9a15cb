//! Fields of a command descriptor block (SPC-4): big-endian, at fixed places.

use crate::command::{CDB_BYTES, CdbBytes};
use crate::sense::Sense;

/// A CDB that is as long as its operation code says. Places are constants of the callers, never the peer's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cdb<'a>(&'a [u8; CDB_BYTES]);

impl<'a> Cdb<'a> {
    pub(crate) fn new(bytes: &'a CdbBytes) -> Self {
        Self(bytes.padded())
    }

    pub(crate) fn byte(self, at: usize) -> u8 {
        self.0[at]
    }

    pub(crate) fn bit(self, at: usize, bit: u8) -> bool {
        self.0[at] >> bit & 1 != 0
    }

    /// The big-endian field of `width` bytes, at most eight.
    pub(crate) fn field(self, at: usize, width: usize) -> u64 {
        self.0[at..at + width]
            .iter()
            .fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    pub(crate) fn u32(self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    pub(crate) fn u16(self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    pub(crate) fn u64(self, at: usize) -> u64 {
        u64::from(self.u32(at)) << 32 | u64::from(self.u32(at + 4))
    }

    /// INVALID FIELD IN CDB, pointing to this bit, when it is set.
    pub(crate) fn refuse_bit(self, at: u8, bit: u8) -> Result<(), Sense> {
        match self.bit(usize::from(at), bit) {
            true => Err(Sense::invalid_field_in_cdb(u16::from(at), Some(bit))),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_big_endian() {
        let bytes = CdbBytes::new(&[0x88, 0x18, 1, 2, 3, 4, 5, 6, 7, 8]);
        let cdb = Cdb::new(&bytes);
        assert_eq!(cdb.u16(2), 0x0102);
        assert_eq!(cdb.u32(2), 0x0102_0304);
        assert_eq!(cdb.u64(2), 0x0102_0304_0506_0708);
        assert_eq!(cdb.field(2, 3), 0x01_0203);
        assert_eq!(cdb.field(10, 4), 0, "bytes that did not come are zero");
        assert!(cdb.bit(1, 3) && !cdb.bit(1, 2));
        assert_eq!(
            cdb.refuse_bit(1, 4),
            Err(Sense::invalid_field_in_cdb(1, Some(4)))
        );
    }
}
