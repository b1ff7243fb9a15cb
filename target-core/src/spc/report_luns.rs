//! REPORT LUNS (SPC-4).

use crate::length_field::set_length;
use crate::lun::Lun;
use crate::request::{Addressed, Answer, LOGICAL_UNIT_NOT_SUPPORTED};
use crate::sense::Sense;
use crate::unit_attention::UnitAttention;

/// What SELECT REPORT asks for, as (numbers, well-known logical units).
fn selected(select_report: u8) -> Result<(bool, bool), Sense> {
    match select_report {
        0 => Ok((true, false)),
        1 => Ok((false, true)),
        2 => Ok((true, true)),
        _ => Err(Sense::invalid_field_in_cdb(2, None)),
    }
}

/// REPORT LUNS to a mapped logical unit, to LUN 0, or to the well-known logical unit for it.
pub(crate) fn report_luns(answer: &mut Answer<'_>) -> Result<(), Sense> {
    if matches!(answer.addressed, Addressed::Nothing) {
        return Err(LOGICAL_UNIT_NOT_SUPPORTED);
    }
    let (numbers, well_known) = selected(answer.cdb.byte(2))?;
    answer.data_in.extend([0; 8]);
    if numbers {
        for number in answer.nexus.numbers() {
            answer.data_in.extend(Lun::peripheral(number).0);
        }
    }
    if well_known {
        answer.data_in.extend(Lun::WELL_KNOWN_REPORT_LUNS.0);
    }
    set_length(answer.data_in, 0..4, 8);
    answer
        .nexus
        .clear_attention(UnitAttention::ReportedLunsChanged);
    Ok(())
}
