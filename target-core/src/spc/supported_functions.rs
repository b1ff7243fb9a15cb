//! REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4).

use crate::request::Answer;
use crate::sense::Sense;

/// ABORT TASK, ABORT TASK SET, CLEAR ACA, CLEAR TASK SET, LOGICAL UNIT RESET.
const SUPPORTED: u8 = 0xf8;

/// The short form, or with REPD the extended one, which has timeouts that are all "not reported".
pub(crate) fn report_supported_functions(answer: &mut Answer<'_>) -> Result<(), Sense> {
    answer.unit()?;
    let extended = answer.cdb.bit(2, 7);
    let additional_length = if extended { 12 } else { 0 };
    answer.data_in.extend([SUPPORTED, 0, 0, additional_length]);
    answer.data_in.resize(4 + usize::from(additional_length), 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{answer, logical_unit};

    #[test]
    fn vectors() {
        let report = |byte_2| {
            let cdb = [0xa3, 0x0d, byte_2, 0, 0, 0, 0, 0, 0, 16, 0, 0];
            answer(report_supported_functions, &logical_unit(), &cdb).expect("data")
        };
        assert_eq!(report(0), [0xf8, 0, 0, 0]);
        let extended = report(0x80);
        assert_eq!(
            (extended.len(), &extended[..4]),
            (16, &[0xf8, 0, 0, 12][..])
        );
    }
}
