//! SYNCHRONIZE CACHE (10) and (16) (SBC-3).
//!
//! A logical unit without a volatile cache flushes as well: its medium may have one below that it was told
//! to write through, and a flush of nothing costs little. More than the named blocks may be synchronized.

use crate::cdb::Cdb;
use crate::request::{Refusal, UnitView, Work};
use crate::sbc::block_size::{Blocks, Lba};
use crate::sbc::read_write::check_range;

/// SYNCHRONIZE CACHE (10).
pub(crate) fn synchronize_cache_10(cdb: Cdb<'_>, unit: &UnitView<'_>) -> Result<Work, Refusal> {
    let (lba, blocks) = (cdb.u32(2).into(), cdb.u16(7).into());
    synchronize(cdb, Lba(lba), Blocks(blocks), unit)
}

/// SYNCHRONIZE CACHE (16).
pub(crate) fn synchronize_cache_16(cdb: Cdb<'_>, unit: &UnitView<'_>) -> Result<Work, Refusal> {
    let (lba, blocks) = (cdb.u64(2), cdb.u32(10).into());
    synchronize(cdb, Lba(lba), Blocks(blocks), unit)
}

/// A NUMBER OF LOGICAL BLOCKS of zero means up to the end.
fn synchronize(
    cdb: Cdb<'_>,
    lba: Lba,
    blocks: Blocks,
    unit: &UnitView<'_>,
) -> Result<Work, Refusal> {
    check_range(lba, blocks, unit)?;
    let immediate = cdb.bit(1, 1);
    Ok(Work::Flush { immediate })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CdbBytes;
    use crate::request::tests::{logical_unit, view};

    #[test]
    fn vectors() {
        let lu = logical_unit();
        let ten = CdbBytes::new(&[0x35, 0, 0, 0, 0x1f, 0xff, 0, 0, 1, 0]);
        assert_eq!(
            synchronize_cache_10(Cdb::new(&ten), &view(&lu)),
            Ok(Work::Flush { immediate: false })
        );
        let beyond = CdbBytes::new(&[0x35, 0, 0, 0, 0x1f, 0xff, 0, 0, 2, 0]);
        assert!(synchronize_cache_10(Cdb::new(&beyond), &view(&lu)).is_err());
        let sixteen = CdbBytes::new(&[0x91, 2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            synchronize_cache_16(Cdb::new(&sixteen), &view(&lu)),
            Ok(Work::Flush { immediate: true })
        );
        let beyond = CdbBytes::new(&[0x91, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert!(synchronize_cache_16(Cdb::new(&beyond), &view(&lu)).is_err());
    }
}
