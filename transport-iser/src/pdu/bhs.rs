//! What all basic header segments have in common (RFC 7143 11.2.1).

use thiserror::Error;

use super::codes;

/// Length in bytes of a basic header segment.
pub const BHS_BYTES: usize = 48;

/// A basic header segment.
pub type Bhs = [u8; BHS_BYTES];

/// The task tag that means "none" (Initiator and Target Transfer Tag, Referenced Task Tag).
pub const RESERVED_TAG: u32 = 0xffff_ffff;

const OPCODE: u8 = 0x3f;
const IMMEDIATE: u8 = 0x40;
const TOTAL_AHS_LENGTH: usize = 4;
const DATA_SEGMENT_LENGTH: usize = 5;
const INITIATOR_TASK_TAG: usize = 16;

codes! {
    /// Opcode (RFC 7143 11.2.1.2): the low six bits of byte 0.
    Opcode(u8) {
        NOP_OUT = 0x00,
        SCSI_COMMAND = 0x01,
        TASK_MANAGEMENT_REQUEST = 0x02,
        LOGIN_REQUEST = 0x03,
        TEXT_REQUEST = 0x04,
        DATA_OUT = 0x05,
        LOGOUT_REQUEST = 0x06,
        SNACK = 0x10,
        NOP_IN = 0x20,
        SCSI_RESPONSE = 0x21,
        TASK_MANAGEMENT_RESPONSE = 0x22,
        LOGIN_RESPONSE = 0x23,
        TEXT_RESPONSE = 0x24,
        DATA_IN = 0x25,
        LOGOUT_RESPONSE = 0x26,
        R2T = 0x31,
        ASYNC_MESSAGE = 0x32,
        REJECT = 0x3f,
    }
}

impl Opcode {
    /// The opcode of a header.
    #[inline]
    pub fn of(bhs: &Bhs) -> Self {
        Self(bhs[0] & OPCODE)
    }
}

/// The I bit of a request.
#[inline]
pub fn is_immediate(bhs: &Bhs) -> bool {
    bhs[0] & IMMEDIATE != 0
}

/// The Initiator Task Tag, which has the same place in all PDUs.
#[inline]
pub fn initiator_task_tag(bhs: &Bhs) -> u32 {
    super::field::Whole::get(bhs, INITIATOR_TASK_TAG)
}

/// A PDU that cannot be what it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{field} at byte {offset}: {fault}")]
pub struct PduError {
    /// The field by the RFC's name.
    pub field: &'static str,
    /// Where it begins in the PDU.
    pub offset: usize,
    /// What is wrong with it.
    pub fault: PduFault,
}

/// What can be wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PduFault {
    /// The bytes end before the field does.
    #[error("{needed} bytes expected, {received} came")]
    Truncated {
        /// Bytes from `offset` that the field takes.
        needed: usize,
        /// Bytes from `offset` that are there.
        received: usize,
    },
    /// A length is greater than what was agreed on.
    #[error("{found} bytes came, at most {max} are agreed on")]
    TooLong {
        /// The most that is taken.
        max: u32,
        /// What came.
        found: u32,
    },
    /// The field holds something that it may not hold there.
    #[error("{expected} expected, {found:#x} came")]
    Value {
        /// What the field may hold.
        expected: &'static str,
        /// What it holds.
        found: u32,
    },
}

impl PduError {
    /// A field that is cut.
    #[cold]
    pub fn truncated(field: &'static str, offset: usize, needed: usize, received: usize) -> Self {
        let fault = PduFault::Truncated { needed, received };
        Self {
            field,
            offset,
            fault,
        }
    }

    /// A length that is greater than agreed.
    #[cold]
    pub fn too_long(field: &'static str, offset: usize, max: u32, found: u32) -> Self {
        let fault = PduFault::TooLong { max, found };
        Self {
            field,
            offset,
            fault,
        }
    }

    /// A field with a wrong value.
    #[cold]
    pub fn value(
        field: &'static str,
        offset: usize,
        expected: &'static str,
        found: impl Into<u32>,
    ) -> Self {
        let found = found.into();
        let fault = PduFault::Value { expected, found };
        Self {
            field,
            offset,
            fault,
        }
    }
}

/// How long a PDU is behind its basic header (RFC 7143 11.2.1.5 and 6). Digests are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Bytes of the additional header segments: a multiple of four, at most 1020.
    pub ahs: u32,
    /// Bytes of the data segment without its padding, at most 2^24 - 1.
    pub data: u32,
}

impl Lengths {
    /// The lengths that a header says, compared with what may come.
    ///
    /// # Errors
    /// TotalAHSLength or DataSegmentLength is greater than its bound.
    #[inline]
    pub fn parse(bhs: &Bhs, max_ahs: u32, max_data: u32) -> Result<Self, PduError> {
        let lengths = Self::of(bhs);
        if lengths.ahs > max_ahs {
            let at = TOTAL_AHS_LENGTH;
            return Err(PduError::too_long(
                "TotalAHSLength",
                at,
                max_ahs,
                lengths.ahs,
            ));
        }
        if lengths.data > max_data {
            let at = DATA_SEGMENT_LENGTH;
            return Err(PduError::too_long(
                "DataSegmentLength",
                at,
                max_data,
                lengths.data,
            ));
        }
        Ok(lengths)
    }

    /// The lengths that a header says, whatever they are.
    #[inline]
    pub fn of(bhs: &Bhs) -> Self {
        let [words, high, middle, low] = super::field::Whole::get(bhs, TOTAL_AHS_LENGTH);
        Self {
            ahs: u32::from(words) * 4,
            data: u32::from_be_bytes([0, high, middle, low]),
        }
    }

    /// Bytes of the data segment with its padding.
    #[inline]
    pub fn padded_data(&self) -> u32 {
        self.data + padding(self.data)
    }
}

/// How many bytes fill a segment of `len` bytes up to a multiple of four (RFC 7143 11.1).
#[inline]
pub fn padding(len: u32) -> u32 {
    len.wrapping_neg() & 3
}

/// Sets TotalAHSLength; `ahs_bytes` is a multiple of four and at most 1020.
pub(crate) fn set_ahs_length(bhs: &mut Bhs, ahs_bytes: usize) {
    let words = ahs_bytes.div_ceil(4);
    debug_assert!(words <= usize::from(u8::MAX));
    bhs[TOTAL_AHS_LENGTH] = u8::try_from(words).unwrap_or(u8::MAX);
}

#[inline]
pub(super) fn begin(opcode: Opcode, fixed: u8, data_segment_length: u32) -> Bhs {
    let mut bhs = [0; BHS_BYTES];
    bhs[0] = opcode.0;
    bhs[1] = fixed;
    let [over, high, middle, low] = data_segment_length.to_be_bytes();
    debug_assert_eq!(over, 0, "a data segment of {data_segment_length} bytes");
    bhs[DATA_SEGMENT_LENGTH..DATA_SEGMENT_LENGTH + 3].copy_from_slice(&[high, middle, low]);
    bhs
}

#[inline]
pub(super) fn expect_opcode(
    bhs: &Bhs,
    expected: Opcode,
    name: &'static str,
) -> Result<(), PduError> {
    let found = Opcode::of(bhs);
    if found == expected {
        return Ok(());
    }
    Err(PduError::value("Opcode", 0, name, found.0))
}
