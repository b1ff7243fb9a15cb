//! REPORT SUPPORTED OPERATION CODES (SPC-4), out of the command table.

use crate::length_field::set_length;
use crate::opcode::{self, Row};
use crate::request::Answer;
use crate::sense::Sense;

/// SERVACTV and CTDP of a command descriptor.
const SERVACTV: u8 = 0x01;
const CTDP: u8 = 0x02;
/// CTDP of the one-command form.
const ONE_CTDP: u8 = 0x80;

/// SUPPORT.
const NOT_SUPPORTED: u8 = 1;
const SUPPORTED: u8 = 3;

/// Length after the length field, reserved, command specific, then two timeouts that are "not reported".
const TIMEOUTS: [u8; 12] = [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Everything, or one command in full.
pub(crate) fn report_supported_opcodes(answer: &mut Answer<'_>) -> Result<(), Sense> {
    answer.unit()?;
    let cdb = answer.cdb;
    let timeouts = cdb.bit(2, 7);
    let (opcode, service_action) = (cdb.byte(3), cdb.u16(4));
    let row = match cdb.byte(2) & 0x07 {
        0 => {
            all(answer.data_in, timeouts);
            return Ok(());
        }
        1 => plain(opcode)?,
        2 => with_service_action(opcode, service_action)?,
        3 => either(opcode, service_action),
        _ => return Err(Sense::invalid_field_in_cdb(2, Some(2))),
    };
    one(answer.data_in, row, timeouts);
    Ok(())
}

/// REPORTING OPTIONS 001b is for operation codes that have no service actions.
fn plain(opcode: u8) -> Result<Option<&'static Row>, Sense> {
    match opcode::has_service_actions(opcode) {
        true => Err(Sense::invalid_field_in_cdb(2, Some(2))),
        false => Ok(opcode::row(opcode, 0)),
    }
}

/// REPORTING OPTIONS 010b is for operation codes that have service actions.
fn with_service_action(opcode: u8, action: u16) -> Result<Option<&'static Row>, Sense> {
    match opcode::row(opcode, action) {
        Some(row) if row.service_action.is_none() => Err(Sense::invalid_field_in_cdb(2, Some(2))),
        row => Ok(row),
    }
}

/// REPORTING OPTIONS 011b is for both; without service actions, the field has to be zero.
fn either(opcode: u8, action: u16) -> Option<&'static Row> {
    opcode::row(opcode, action).filter(|row| row.service_action.is_some() || action == 0)
}

fn all(data: &mut Vec<u8>, timeouts: bool) {
    data.extend([0; 4]);
    for row in opcode::ROWS {
        let mut flags = 0;
        flags |= row.service_action.map_or(0, |_| SERVACTV);
        flags |= if timeouts { CTDP } else { 0 };
        data.extend([row.opcode(), 0]);
        data.extend(row.service_action.map_or(0, u16::from).to_be_bytes());
        data.extend([0, flags]);
        data.extend(u16::from(row.cdb_len()).to_be_bytes());
        if timeouts {
            data.extend(TIMEOUTS);
        }
    }
    set_length(data, 0..4, 4);
}

fn one(data: &mut Vec<u8>, row: Option<&'static Row>, timeouts: bool) {
    let Some(row) = row else {
        data.extend([0, NOT_SUPPORTED, 0, 0]);
        return;
    };
    let flags = SUPPORTED | if timeouts { ONE_CTDP } else { 0 };
    data.extend([0, flags]);
    data.extend(u16::from(row.cdb_len()).to_be_bytes());
    data.extend(row.usage);
    if timeouts {
        data.extend(TIMEOUTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{answer, logical_unit};

    fn report(options: u8, opcode: u8, action: u8) -> Result<Vec<u8>, Sense> {
        let cdb = [0xa3, 0x0c, options, opcode, 0, action, 0, 0, 255, 255, 0, 0];
        answer(report_supported_opcodes, &logical_unit(), &cdb)
    }

    #[test]
    fn all_commands() {
        let data = report(0, 0, 0).expect("data");
        assert_eq!(data.len(), 4 + 8 * opcode::ROWS.len());
        assert_eq!(data[..4], (data.len() as u32 - 4).to_be_bytes());
        assert_eq!(data[4..12], [0, 0, 0, 0, 0, 0, 0, 6]);
        let capacity = data[4..].chunks(8).find(|c| c[0] == 0x9e).expect("row");
        assert_eq!(capacity, [0x9e, 0, 0, 0x10, 0, 1, 0, 16]);
        let data = report(0x80, 0, 0).expect("data");
        assert_eq!(data.len(), 4 + 20 * opcode::ROWS.len());
        assert_eq!(data[9], CTDP);
        assert_eq!(data[12..14], [0, 10]);
    }

    #[test]
    fn one_command() {
        let read = [0, 3, 0, 10, 0x28, 0x18, 255, 255, 255, 255, 0, 255, 255, 0];
        assert_eq!(report(1, 0x28, 0), Ok(read.to_vec()));
        assert_eq!(report(3, 0x28, 0), Ok(read.to_vec()));
        assert_eq!(report(3, 0x28, 1), Ok(vec![0, 1, 0, 0]));
        assert_eq!(report(1, 0x42, 0), Ok(vec![0, 1, 0, 0]));
        let with_timeouts = report(0x81, 0x28, 0).expect("data");
        assert_eq!(with_timeouts[..4], [0, 0x83, 0, 10]);
        assert_eq!(with_timeouts[14..], TIMEOUTS);
    }

    #[test]
    fn service_actions() {
        let data = report(2, 0x9e, 0x10).expect("data");
        assert_eq!(data[..6], [0, 3, 0, 16, 0x9e, 0x10]);
        assert_eq!(report(3, 0x9e, 0x10), Ok(data));
        assert_eq!(report(2, 0x9e, 0x12), Ok(vec![0, 1, 0, 0]));
        let refused = Err(Sense::invalid_field_in_cdb(2, Some(2)));
        assert_eq!(report(1, 0x9e, 0), refused);
        assert_eq!(report(2, 0x28, 0), refused);
        assert_eq!(report(4, 0, 0), refused);
    }
}
