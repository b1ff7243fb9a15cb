//! REQUEST SENSE (SPC-4): sense data as data, with GOOD.

use crate::request::{Addressed, Answer, LOGICAL_UNIT_NOT_SUPPORTED};
use crate::sense::{AdditionalSense, Sense, SenseKey};

const NO_SENSE: Sense = Sense::new(
    SenseKey::NoSense,
    AdditionalSense::NO_ADDITIONAL_SENSE_INFORMATION,
);

/// REQUEST SENSE: a unit attention that waits, which is then no more, or that there is nothing to say.
pub(crate) fn request_sense(answer: &mut Answer<'_>) -> Result<(), Sense> {
    let sense = match answer.addressed {
        Addressed::Unit(unit) => answer.nexus.take_attention(unit.number).unwrap_or(NO_SENSE),
        Addressed::ReportLunsWellKnown => NO_SENSE,
        Addressed::LunZero | Addressed::Nothing => LOGICAL_UNIT_NOT_SUPPORTED,
    };
    match answer.cdb.bit(1, 0) {
        true => sense.append_descriptors(answer.data_in),
        false => answer.data_in.extend(sense.to_fixed()),
    }
    Ok(())
}
