//! START STOP UNIT (SBC-3 5.25).
//!
//! The logical unit is always ready: one host that stops it must not take it from the others. What a stop
//! promises about the cache is kept, though: unless NO_FLUSH is set, data is durable before GOOD.

use crate::cdb::Cdb;
use crate::request::{Refusal, UnitView, Work};
use crate::sense::Sense;

/// Starts or stops; the medium cannot be ejected, and there are no power conditions.
pub(crate) fn start_stop_unit(cdb: Cdb<'_>, _unit: &UnitView<'_>) -> Result<Work, Refusal> {
    if cdb.byte(4) >> 4 != 0 {
        return Err(Sense::invalid_field_in_cdb(4, Some(7)).into());
    }
    cdb.refuse_bit(4, 1)?;
    let (start, no_flush, immediate) = (cdb.bit(4, 0), cdb.bit(4, 2), cdb.bit(1, 0));
    Ok(match start || no_flush {
        true => Work::Nothing,
        false => Work::Flush { immediate },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CdbBytes;
    use crate::request::tests::{logical_unit, view};

    fn parse(immediate: u8, byte_4: u8) -> Result<Work, Refusal> {
        let bytes = CdbBytes::new(&[0x1b, immediate, 0, 0, byte_4, 0]);
        start_stop_unit(Cdb::new(&bytes), &view(&logical_unit()))
    }

    #[test]
    fn a_stop_flushes_unless_told_not_to() {
        assert_eq!(parse(0, 1), Ok(Work::Nothing));
        assert_eq!(parse(0, 0), Ok(Work::Flush { immediate: false }));
        assert_eq!(parse(1, 0), Ok(Work::Flush { immediate: true }));
        assert_eq!(parse(0, 4), Ok(Work::Nothing));
    }

    #[test]
    fn no_eject_and_no_power_conditions() {
        let field = |bit| Err(Refusal::Sense(Sense::invalid_field_in_cdb(4, Some(bit))));
        assert_eq!(parse(0, 2), field(1));
        assert_eq!(parse(0, 0x31), field(7));
    }
}
