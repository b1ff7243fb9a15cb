//! The command table: one row per operation code and service action (SPC-4).
//!
//! Dispatch, the length check, reservation checks and REPORT SUPPORTED OPERATION CODES all read it. A CDB usage
//! mask has ones for what is evaluated; reserved bits are not checked, as SPC-4 leaves open, because
//! old initiators put the logical unit number there.

use crate::cdb::Cdb;
use crate::command::CdbBytes;
use crate::request::{Answer, Refusal, UnitView, Work};
use crate::sbc::{capacity, read_write, start_stop, synchronize_cache};
use crate::sense::{AdditionalSense, Sense};
use crate::spc::{
    inquiry, mode_sense, report_luns, request_sense, reserve, supported_functions,
    supported_opcodes, test_unit_ready,
};

/// One command.
#[derive(Debug)]
pub(crate) struct Row {
    /// As T10 prints it.
    pub(crate) name: &'static str,
    /// CDB USAGE DATA, as long as the CDB; its first byte is the operation code.
    pub(crate) usage: &'static [u8],
    cdb_len: u8,
    pub(crate) service_action: Option<u8>,
    pub(crate) data: Data,
    pub(crate) access: Access,
    /// Served whatever waits: the command reports no unit attention, and enters the enabled state at once
    /// (SAM-5).
    pub(crate) always: bool,
    pub(crate) function: Function,
}

/// Which buffer a command uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    None,
    /// Data-In, as much as the command defines.
    In,
    /// Data-In, at most the ALLOCATION LENGTH of `width` bytes that begins at byte `at`.
    Allocated {
        at: usize,
        width: usize,
    },
    Out,
}

/// What a reservation of another nexus does to a command (SPC-2 5.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Allowed,
    Conflict,
}

/// How a command is carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Function {
    /// From what the core knows.
    Answer(fn(&mut Answer<'_>) -> Result<(), Sense>),
    /// Checks, then perhaps work for the medium.
    Operate(fn(Cdb<'_>, &UnitView<'_>) -> Result<Work, Refusal>),
}

impl Row {
    pub(crate) fn opcode(&self) -> u8 {
        self.usage[0]
    }

    pub(crate) fn cdb_len(&self) -> u8 {
        self.cdb_len
    }

    const fn new(
        name: &'static str,
        usage: &'static [u8],
        data: Data,
        access: Access,
        function: Function,
    ) -> Self {
        Self {
            name,
            usage,
            cdb_len: usage.len() as u8,
            service_action: None,
            data,
            access,
            always: false,
            function,
        }
    }

    /// The low five bits of byte 1 of the usage data are the service action.
    const fn with_service_action(mut self) -> Self {
        self.service_action = Some(self.usage[1]);
        self
    }

    const fn served_always(mut self) -> Self {
        self.always = true;
        self
    }
}

use Access::{Allowed, Conflict};
use Function::{Answer as A, Operate as O};

const fn allocated(at: usize, width: usize) -> Data {
    Data::Allocated { at, width }
}

/// The one command without data that the REPORT LUNS well-known logical unit has.
pub(crate) const TEST_UNIT_READY: u8 = 0x00;

/// All commands, by operation code and service action.
#[rustfmt::skip]
pub(crate) static ROWS: &[Row] = &[
    Row::new("TEST UNIT READY", &[TEST_UNIT_READY, 0, 0, 0, 0, 0],
        Data::None, Conflict, O(test_unit_ready::test_unit_ready)),
    Row::new("REQUEST SENSE", &[0x03, 0x01, 0, 0, 0xff, 0],
        allocated(4, 1), Allowed, A(request_sense::request_sense)).served_always(),
    Row::new("READ(6)", &[0x08, 0x1f, 0xff, 0xff, 0xff, 0],
        Data::In, Conflict, O(read_write::read)),
    Row::new("WRITE(6)", &[0x0a, 0x1f, 0xff, 0xff, 0xff, 0],
        Data::Out, Conflict, O(read_write::write)),
    Row::new("INQUIRY", &[0x12, 0x01, 0xff, 0xff, 0xff, 0],
        allocated(3, 2), Allowed, A(inquiry::inquiry)).served_always(),
    Row::new("RESERVE(6)", &[0x16, 0, 0, 0, 0, 0],
        Data::None, Conflict, O(reserve::reserve)),
    Row::new("RELEASE(6)", &[0x17, 0, 0, 0, 0, 0],
        Data::None, Allowed, O(reserve::release)),
    Row::new("MODE SENSE(6)", &[0x1a, 0x08, 0xff, 0xff, 0xff, 0],
        allocated(4, 1), Conflict, A(mode_sense::mode_sense_6)),
    Row::new("START STOP UNIT", &[0x1b, 0x01, 0, 0, 0xf7, 0],
        Data::None, Conflict, O(start_stop::start_stop_unit)),
    Row::new("READ CAPACITY(10)", &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        Data::In, Allowed, A(capacity::read_capacity_10)),
    Row::new("READ(10)", &[0x28, 0x18, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0],
        Data::In, Conflict, O(read_write::read)),
    Row::new("WRITE(10)", &[0x2a, 0x18, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0],
        Data::Out, Conflict, O(read_write::write)),
    Row::new("SYNCHRONIZE CACHE(10)", &[0x35, 0x02, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0],
        Data::None, Conflict, O(synchronize_cache::synchronize_cache_10)),
    Row::new("RESERVE(10)", &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        Data::None, Conflict, O(reserve::reserve)),
    Row::new("RELEASE(10)", &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        Data::None, Allowed, O(reserve::release)),
    Row::new("MODE SENSE(10)", &[0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 0],
        allocated(7, 2), Conflict, A(mode_sense::mode_sense_10)),
    Row::new("READ(16)",
        &[0x88, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
        Data::In, Conflict, O(read_write::read)),
    Row::new("WRITE(16)",
        &[0x8a, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
        Data::Out, Conflict, O(read_write::write)),
    Row::new("SYNCHRONIZE CACHE(16)",
        &[0x91, 0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
        Data::None, Conflict, O(synchronize_cache::synchronize_cache_16)),
    Row::new("READ CAPACITY(16)",
        &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
        allocated(10, 4), Allowed, A(capacity::read_capacity_16)).with_service_action(),
    Row::new("REPORT LUNS", &[0xa0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
        allocated(6, 4), Allowed, A(report_luns::report_luns)).served_always(),
    Row::new("REPORT SUPPORTED OPERATION CODES",
        &[0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
        allocated(6, 4), Allowed, A(supported_opcodes::report_supported_opcodes))
        .with_service_action(),
    Row::new("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
        &[0xa3, 0x0d, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
        allocated(6, 4), Allowed, A(supported_functions::report_supported_functions))
        .with_service_action(),
    Row::new("READ(12)", &[0xa8, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
        Data::In, Conflict, O(read_write::read)),
    Row::new("WRITE(12)", &[0xaa, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
        Data::Out, Conflict, O(read_write::write)),
];

const NO_ROW: u8 = u8::MAX;

/// The first row of each operation code; those with more than one service action follow each other.
static FIRST: [u8; 256] = first_rows();

const fn first_rows() -> [u8; 256] {
    let mut first = [NO_ROW; 256];
    let mut index = ROWS.len();
    while index > 0 {
        index -= 1;
        first[ROWS[index].usage[0] as usize] = index as u8;
    }
    first
}

fn rows(opcode: u8) -> impl Iterator<Item = &'static Row> {
    let first = usize::from(FIRST[usize::from(opcode)]);
    let rows = ROWS.get(first..).unwrap_or_default();
    rows.iter().take_while(move |row| row.opcode() == opcode)
}

/// The row of an operation code, and of this service action when the operation code has any.
#[inline]
pub(crate) fn row(opcode: u8, service_action: u16) -> Option<&'static Row> {
    rows(opcode).find(|row| {
        row.service_action
            .is_none_or(|action| u16::from(action) == service_action)
    })
}

/// Whether byte 1 of the CDB is part of what names the command.
pub(crate) fn has_service_actions(opcode: u8) -> bool {
    rows(opcode).any(|row| row.service_action.is_some())
}

/// What T10 calls the command, for logs; `None` for one that this target does not have.
pub fn command_name(cdb: &CdbBytes) -> Option<&'static str> {
    find(Cdb::new(cdb)).ok().map(|row| row.name)
}

/// The row of a command, or the sense data for one that there is not.
#[inline]
pub(crate) fn find(cdb: Cdb<'_>) -> Result<&'static Row, Sense> {
    let opcode = cdb.byte(0);
    row(opcode, u16::from(cdb.byte(1) & 0x1f)).ok_or_else(|| match has_service_actions(opcode) {
        true => Sense::invalid_field_in_cdb(1, Some(4)),
        false => Sense::illegal_request(AdditionalSense::INVALID_COMMAND_OPERATION_CODE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_code_has_a_row_or_is_refused() {
        for opcode in 0..=255 {
            let bytes = CdbBytes::new(&[opcode; 16]);
            match find(Cdb::new(&bytes)) {
                Ok(row) => assert_eq!(row.opcode(), opcode),
                Err(sense) if has_service_actions(opcode) => {
                    assert_eq!(sense, Sense::invalid_field_in_cdb(1, Some(4)));
                }
                Err(sense) => assert_eq!(
                    (opcode, sense.code),
                    (opcode, AdditionalSense::INVALID_COMMAND_OPERATION_CODE)
                ),
            }
            assert_eq!(
                rows(opcode).next().is_some(),
                ROWS.iter().any(|row| row.opcode() == opcode)
            );
        }
    }

    #[test]
    fn the_table_is_sorted_and_says_the_truth_about_lengths() {
        let key = |row: &Row| (row.opcode(), row.service_action);
        assert!(ROWS.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])));
        for row in ROWS {
            let by_group = match row.opcode() >> 5 {
                0 => 6,
                1 | 2 => 10,
                4 => 16,
                5 => 12,
                group => panic!("group code {group} has no length"),
            };
            assert_eq!(row.cdb_len(), by_group, "{}", row.name);
        }
    }

    #[test]
    fn allocation_lengths_are_in_the_usage_data() {
        for row in ROWS {
            if let Data::Allocated { at, width } = row.data {
                let field = &row.usage[at..at + width];
                assert!(field.iter().all(|&byte| byte == 0xff), "{}", row.name);
            }
        }
    }

    #[test]
    fn every_service_action_has_its_own_row() {
        let names = |action| row(0xa3, action).map(|row| row.name);
        assert_eq!(names(0x0c), Some("REPORT SUPPORTED OPERATION CODES"));
        assert_eq!(
            names(0x0d),
            Some("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS")
        );
        assert_eq!(names(0x0a), None);
    }
}
