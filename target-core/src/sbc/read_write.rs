//! READ and WRITE (6), (10), (12), (16) (SBC-3).

use crate::cdb::Cdb;
use crate::request::{Extent, Refusal, UnitView, Work};
use crate::sbc::block_size::{Blocks, Lba};
use crate::sense::{AdditionalSense, Sense, SenseKey};

/// What the four lengths of CDB have in common.
#[derive(Clone, Copy, Debug)]
struct Fields {
    lba: Lba,
    transfer_length: Blocks,
    /// First byte of the TRANSFER LENGTH field.
    transfer_length_byte: u16,
    force_unit_access: bool,
    /// RDPROTECT or WRPROTECT, three bits.
    protect: u8,
}

impl Fields {
    /// The group code in the operation code tells the length (SPC-4).
    fn parse(cdb: Cdb<'_>) -> Self {
        let (lba, transfer_length, transfer_length_byte) = match cdb.byte(0) >> 5 {
            0 => return Self::parse_6(cdb),
            4 => (cdb.u64(2), u64::from(cdb.u32(10)), 10),
            5 => (u64::from(cdb.u32(2)), u64::from(cdb.u32(6)), 6),
            _ => (u64::from(cdb.u32(2)), u64::from(cdb.u16(7)), 7),
        };
        Self {
            lba: Lba(lba),
            transfer_length: Blocks(transfer_length),
            transfer_length_byte,
            force_unit_access: cdb.bit(1, 3),
            protect: cdb.byte(1) >> 5,
        }
    }

    /// 21 bits of address, and a TRANSFER LENGTH of zero that means 256.
    fn parse_6(cdb: Cdb<'_>) -> Self {
        let blocks = match cdb.byte(4) {
            0 => 256,
            blocks => u64::from(blocks),
        };
        Self {
            lba: Lba(cdb.field(1, 3) & 0x1f_ffff),
            transfer_length: Blocks(blocks),
            transfer_length_byte: 4,
            force_unit_access: false,
            protect: 0,
        }
    }

    /// The range on the medium, when the logical unit has it and takes so much at a time.
    fn extent(&self, unit: &UnitView<'_>) -> Result<Extent, Sense> {
        if self.protect != 0 {
            return Err(Sense::invalid_field_in_cdb(1, Some(7)));
        }
        check_range(self.lba, self.transfer_length, unit)?;
        let size = unit.block_size();
        let len = size
            .bytes(self.transfer_length)
            .filter(|&len| len <= unit.max_transfer)
            .and_then(|len| u32::try_from(len.0).ok());
        let offset = size.offset(self.lba).ok_or(LBA_OUT_OF_RANGE)?.0;
        match len {
            Some(len) => Ok(Extent {
                offset,
                len,
                block_size: size,
            }),
            None => Err(Sense::invalid_field_in_cdb(self.transfer_length_byte, None)),
        }
    }
}

/// READ: a cache never holds anything but what the medium would give, so DPO and FUA change nothing.
pub(crate) fn read(cdb: Cdb<'_>, unit: &UnitView<'_>) -> Result<Work, Refusal> {
    Ok(Work::Read(Fields::parse(cdb).extent(unit)?))
}

/// WRITE: durable with FUA, and always when the logical unit has no volatile cache.
pub(crate) fn write(cdb: Cdb<'_>, unit: &UnitView<'_>) -> Result<Work, Refusal> {
    let fields = Fields::parse(cdb);
    let extent = fields.extent(unit)?;
    if unit.write_protected {
        return Err(WRITE_PROTECTED.into());
    }
    Ok(Work::Write {
        extent,
        durable: fields.force_unit_access || !unit.lu.write_cache(),
    })
}

/// Whether the logical unit has these blocks. No blocks at the very end are within its capacity.
pub(crate) fn check_range(lba: Lba, blocks: Blocks, unit: &UnitView<'_>) -> Result<(), Sense> {
    let end = lba.0.checked_add(blocks.0).ok_or(LBA_OUT_OF_RANGE)?;
    match end <= unit.lu.blocks() {
        true => Ok(()),
        false => Err(LBA_OUT_OF_RANGE),
    }
}

const LBA_OUT_OF_RANGE: Sense =
    Sense::illegal_request(AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE);

const WRITE_PROTECTED: Sense = Sense::new(SenseKey::DataProtect, AdditionalSense::WRITE_PROTECTED);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CdbBytes;
    use crate::request::tests::{BLOCKS, extent as at, logical_unit, view};

    fn parse(cdb: &[u8]) -> Result<Work, Refusal> {
        let lu = logical_unit();
        let bytes = CdbBytes::new(cdb);
        let cdb = Cdb::new(&bytes);
        match cdb.byte(0) & 0x0f {
            0x8 => read(cdb, &view(&lu)),
            _ => write(cdb, &view(&lu)),
        }
    }

    #[test]
    fn all_lengths_of_cdb() {
        let blocks_2_at_0x123 = Ok(Work::Read(at(0x123 * 512, 1024)));
        assert_eq!(parse(&[0x08, 0, 1, 0x23, 2, 0]), blocks_2_at_0x123);
        assert_eq!(
            parse(&[0x28, 0, 0, 0, 1, 0x23, 0, 0, 2, 0]),
            blocks_2_at_0x123
        );
        assert_eq!(
            parse(&[0xa8, 0, 0, 0, 1, 0x23, 0, 0, 0, 2, 0, 0]),
            blocks_2_at_0x123
        );
        assert_eq!(
            parse(&[0x88, 0, 0, 0, 0, 0, 0, 0, 1, 0x23, 0, 0, 0, 2, 0, 0]),
            blocks_2_at_0x123
        );
    }

    #[test]
    fn six_byte_cdbs_have_their_own_rules() {
        assert_eq!(
            parse(&[0x08, 0, 0, 0, 0, 0]),
            Ok(Work::Read(at(0, 256 * 512)))
        );
        // The upper three bits of byte 1 are no part of the address.
        assert_eq!(
            parse(&[0x08, 0xe0, 0, 1, 1, 0]),
            Ok(Work::Read(at(512, 512)))
        );
    }

    #[test]
    fn range_is_checked_to_the_last_block() {
        let [high, low] = (BLOCKS as u16 - 1).to_be_bytes();
        assert!(parse(&[0x28, 0, 0, 0, high, low, 0, 0, 1, 0]).is_ok());
        let beyond = Err(Refusal::Sense(LBA_OUT_OF_RANGE));
        assert_eq!(parse(&[0x28, 0, 0, 0, high, low, 0, 0, 2, 0]), beyond);
        let mut wraps = [0xff; 16];
        (wraps[0], wraps[1]) = (0x88, 0);
        assert_eq!(parse(&wraps), beyond);
    }

    #[test]
    fn no_blocks_are_no_error_within_the_capacity() {
        let end = (BLOCKS as u32).to_be_bytes();
        let mut cdb = [0x28, 0, end[0], end[1], end[2], end[3], 0, 0, 0, 0];
        assert!(parse(&cdb).is_ok());
        cdb[5] += 1;
        assert_eq!(parse(&cdb), Err(Refusal::Sense(LBA_OUT_OF_RANGE)));
    }

    #[test]
    fn protection_and_long_transfers_point_to_their_field() {
        let field = |byte, bit| Err(Refusal::Sense(Sense::invalid_field_in_cdb(byte, bit)));
        assert_eq!(
            parse(&[0x2a, 0x20, 0, 0, 0, 0, 0, 0, 1, 0]),
            field(1, Some(7))
        );
        // 2,049 blocks of 512 are more than 1 MiB.
        assert_eq!(parse(&[0x28, 0, 0, 0, 0, 0, 0, 8, 1, 0]), field(7, None));
        assert_eq!(
            parse(&[0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 1, 0, 0]),
            field(10, None)
        );
    }

    #[test]
    fn durable_with_fua_or_without_a_cache() {
        let durable = |fua: u8, cache: bool| {
            let lu = logical_unit();
            lu.set_write_cache(cache);
            let bytes = CdbBytes::new(&[0x2a, fua << 3, 0, 0, 0, 0, 0, 0, 1, 0]);
            match write(Cdb::new(&bytes), &view(&lu)) {
                Ok(Work::Write { durable, .. }) => durable,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([durable(0, false), durable(1, false)], [true, true]);
        assert_eq!([durable(0, true), durable(1, true)], [false, true]);
    }

    #[test]
    fn a_protected_unit_takes_no_write() {
        let lu = logical_unit();
        lu.set_read_only(true);
        let bytes = CdbBytes::new(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let refused = write(Cdb::new(&bytes), &view(&lu));
        assert_eq!(refused, Err(Refusal::Sense(WRITE_PROTECTED)));
    }
}
