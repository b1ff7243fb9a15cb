//! SRP_CMD (SRP r16a 6.8).

use target_core::command::TaskAttribute;
use target_core::lun::Lun;
use zerocopy::big_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Opcode, WireError, codes, expect_opcode, list, put, split};

codes! {
    /// DATA-OUT or DATA-IN BUFFER DESCRIPTOR FORMAT (SRP table 1; IMMEDIATE from SRP-2, DATA-OUT
    /// only).
    BufferFormat(u8) {
        NONE = 0,
        DIRECT = 1,
        INDIRECT = 2,
        IMMEDIATE = 3,
    }
}

codes! {
    /// TASK ATTRIBUTE (SRP table 18).
    TaskAttributeCode(u8) {
        SIMPLE = 0,
        HEAD_OF_QUEUE = 1,
        ORDERED = 2,
        ACA = 4,
    }
}

impl TaskAttributeCode {
    /// The attribute, or the field's name and place when the code is reserved.
    pub(crate) fn attribute(self) -> Result<TaskAttribute, WireError> {
        match self {
            Self::SIMPLE => Ok(TaskAttribute::Simple),
            Self::HEAD_OF_QUEUE => Ok(TaskAttribute::HeadOfQueue),
            Self::ORDERED => Ok(TaskAttribute::Ordered),
            Self::ACA => Ok(TaskAttribute::Aca),
            Self(code) => Err(WireError::value(
                "TASK ATTRIBUTE",
                TASK_ATTRIBUTE_OFFSET,
                "0, 1, 2 or 4",
                code,
            )),
        }
    }
}

const TASK_ATTRIBUTE_OFFSET: usize = 29;
const TASK_ATTRIBUTE: u8 = 0x07;
/// ADDITIONAL CDB LENGTH counts dwords in bits 7 to 2; the byte without its low bits is a length in
/// bytes.
const ADDITIONAL_CDB_LENGTH: u8 = 0xfc;
const CDB_OFFSET: usize = 32;
const CDB_FIXED_BYTES: usize = 16;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawCmd {
    opcode: u8,
    sol_not: u8,
    reserved1: [u8; 3],
    buf_fmt: u8,
    data_out_desc_cnt: u8,
    data_in_desc_cnt: u8,
    tag: U64,
    reserved2: [u8; 4],
    lun: [u8; 8],
    reserved3: u8,
    task_attr: u8,
    reserved4: u8,
    add_cdb_len: u8,
    cdb: [u8; CDB_FIXED_BYTES],
}
const _: () = assert!(size_of::<RawCmd>() == Cmd::MIN_BYTES);

/// SRP_CMD. The descriptors are still bytes; [`crate::data`] reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cmd<'a> {
    /// Solicited notification bits, as they came.
    pub sol_not: u8,
    /// DATA-OUT BUFFER DESCRIPTOR FORMAT.
    pub data_out_format: BufferFormat,
    /// DATA-IN BUFFER DESCRIPTOR FORMAT.
    pub data_in_format: BufferFormat,
    /// DATA-OUT BUFFER DESCRIPTOR COUNT.
    pub data_out_count: u8,
    /// DATA-IN BUFFER DESCRIPTOR COUNT.
    pub data_in_count: u8,
    /// TAG.
    pub tag: u64,
    /// LOGICAL UNIT NUMBER.
    pub lun: Lun,
    /// TASK ATTRIBUTE.
    pub task_attribute: TaskAttributeCode,
    /// CDB with the ADDITIONAL CDB: 16 bytes and a multiple of four more, at most 268.
    pub cdb: &'a [u8],
    /// What follows: DATA-OUT and DATA-IN BUFFER DESCRIPTOR, and immediate data.
    pub data: &'a [u8],
}

impl<'a> Cmd<'a> {
    /// Length of an SRP_CMD without additional CDB and descriptors.
    pub const MIN_BYTES: usize = 48;

    /// Reads a command; what is behind the CDB is left as bytes.
    ///
    /// # Errors
    /// The message is shorter than its fixed part or its additional CDB, or not a command.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (raw, rest) = split::<RawCmd>("SRP_CMD", bytes)?;
        expect_opcode(raw.opcode, Opcode::CMD, "SRP_CMD")?;
        let additional = raw.add_cdb_len & ADDITIONAL_CDB_LENGTH;
        let (_, data) = list("ADDITIONAL CDB", Self::MIN_BYTES, rest, additional.into())?;
        let cdb_end = bytes.len() - data.len();
        Ok(Self {
            sol_not: raw.sol_not,
            data_out_format: BufferFormat(raw.buf_fmt >> 4),
            data_in_format: BufferFormat(raw.buf_fmt & 0x0f),
            data_out_count: raw.data_out_desc_cnt,
            data_in_count: raw.data_in_desc_cnt,
            tag: raw.tag.get(),
            lun: Lun(raw.lun),
            task_attribute: TaskAttributeCode(raw.task_attr & TASK_ATTRIBUTE),
            cdb: &bytes[CDB_OFFSET..cdb_end],
            data,
        })
    }

    /// Writes the command; a CDB is filled up with zeroes to 16 bytes or a multiple of four. `None`
    /// when there is no room, or the CDB is longer than the standard can say.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let (fixed, additional) = self.cdb.split_at(self.cdb.len().min(CDB_FIXED_BYTES));
        let padding = additional.len().next_multiple_of(4) - additional.len();
        let add_cdb_len = u8::try_from(additional.len() + padding).ok()?;
        let mut cdb = [0; CDB_FIXED_BYTES];
        cdb[..fixed.len()].copy_from_slice(fixed);
        let raw = RawCmd {
            opcode: Opcode::CMD.0,
            sol_not: self.sol_not,
            reserved1: [0; 3],
            buf_fmt: self.data_out_format.0 << 4 | self.data_in_format.0 & 0x0f,
            data_out_desc_cnt: self.data_out_count,
            data_in_desc_cnt: self.data_in_count,
            tag: self.tag.into(),
            reserved2: [0; 4],
            lun: self.lun.0,
            reserved3: 0,
            task_attr: self.task_attribute.0 & TASK_ATTRIBUTE,
            reserved4: 0,
            add_cdb_len,
            cdb,
        };
        let padding = &[0; 3][..padding];
        put(out, &[raw.as_bytes(), additional, padding, self.data])
    }

    /// Where [`Cmd::data`] begins in the message.
    pub fn data_offset(&self) -> usize {
        CDB_OFFSET + self.cdb.len()
    }
}
