//! RESERVE and RELEASE (6) and (10) (SPC-2), for the whole logical unit and for oneself only.

use crate::cdb::Cdb;
use crate::request::{Refusal, UnitView, Work};
use crate::sense::Sense;
use crate::status::Status;

/// RESERVE (6) and (10).
pub(crate) fn reserve(cdb: Cdb<'_>, unit: &UnitView<'_>) -> Result<Work, Refusal> {
    refuse_third_party_and_extents(cdb)?;
    match unit.lu.reservation.reserve(unit.initiator) {
        true => Ok(Work::Nothing),
        false => Err(Refusal::Status(Status::RESERVATION_CONFLICT)),
    }
}

/// RELEASE (6) and (10); GOOD as well when there is nothing to release.
pub(crate) fn release(cdb: Cdb<'_>, unit: &UnitView<'_>) -> Result<Work, Refusal> {
    refuse_third_party_and_extents(cdb)?;
    unit.lu.reservation.release(unit.initiator);
    Ok(Work::Nothing)
}

/// 3RDPTY, LONGID (in the ten-byte form; reserved in the other) and EXTENT.
fn refuse_third_party_and_extents(cdb: Cdb<'_>) -> Result<(), Sense> {
    cdb.refuse_bit(1, 4)?;
    cdb.refuse_bit(1, 1)?;
    cdb.refuse_bit(1, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CdbBytes;
    use crate::nexus::TransportId;
    use crate::request::tests::{logical_unit, view};

    #[test]
    fn the_second_initiator_conflicts_until_release() {
        let lu = logical_unit();
        let first = view(&lu);
        let second = UnitView {
            initiator: &TransportId::Srp {
                initiator_port_id: [9; 16],
            },
            ..first
        };
        let bytes = CdbBytes::new(&[0x16]);
        let cdb = Cdb::new(&bytes);
        let conflict = Err(Refusal::Status(Status::RESERVATION_CONFLICT));
        assert_eq!(reserve(cdb, &first), Ok(Work::Nothing));
        assert_eq!(reserve(cdb, &second), conflict);
        assert_eq!(release(cdb, &second), Ok(Work::Nothing));
        assert_eq!(reserve(cdb, &second), conflict);
        assert_eq!(release(cdb, &first), Ok(Work::Nothing));
        assert_eq!(reserve(cdb, &second), Ok(Work::Nothing));
    }

    #[test]
    fn third_party_and_extent_reservations_are_refused() {
        let lu = logical_unit();
        for bit in [0, 1, 4] {
            let bytes = CdbBytes::new(&[0x56, 1 << bit]);
            let refused = Err(Sense::invalid_field_in_cdb(1, Some(bit)).into());
            assert_eq!(reserve(Cdb::new(&bytes), &view(&lu)), refused);
            assert_eq!(release(Cdb::new(&bytes), &view(&lu)), refused);
        }
    }
}
