//! SRP_AER_REQ and SRP_AER_RSP (SRP r16a 6.12, 6.13).

use target_core::lun::Lun;
use zerocopy::big_endian::{I32, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{Opcode, WireError, expect_opcode, list, put, split};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawAerReq {
    opcode: u8,
    sol_not: u8,
    reserved1: [u8; 2],
    req_lim_delta: I32,
    tag: U64,
    reserved2: [u8; 4],
    lun: [u8; 8],
    sense_data_len: U32,
    reserved3: [u8; 4],
}
const _: () = assert!(size_of::<RawAerReq>() == AerReq::MIN_BYTES);

/// SRP_AER_REQ: an asynchronous event report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AerReq<'a> {
    /// Solicited notification bit, as it came.
    pub sol_not: u8,
    /// REQUEST LIMIT DELTA.
    pub request_limit_delta: i32,
    /// TAG of this request of the target; comes back in the SRP_AER_RSP.
    pub tag: u64,
    /// LOGICAL UNIT NUMBER.
    pub lun: Lun,
    /// SENSE DATA.
    pub sense: &'a [u8],
}

impl<'a> AerReq<'a> {
    /// Length without sense data.
    pub const MIN_BYTES: usize = 36;

    /// Reads an asynchronous event report.
    ///
    /// # Errors
    /// The message is shorter than it says, or not an asynchronous event report.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (raw, rest) = split::<RawAerReq>("SRP_AER_REQ", bytes)?;
        expect_opcode(raw.opcode, Opcode::AER_REQ, "SRP_AER_REQ")?;
        let len = raw.sense_data_len.get();
        let (sense, _) = list("SENSE DATA", Self::MIN_BYTES, rest, len)?;
        Ok(Self {
            sol_not: raw.sol_not,
            request_limit_delta: raw.req_lim_delta.get(),
            tag: raw.tag.get(),
            lun: Lun(raw.lun),
            sense,
        })
    }

    /// Writes the report. `None` when there is no room.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let raw = RawAerReq {
            opcode: Opcode::AER_REQ.0,
            sol_not: self.sol_not,
            reserved1: [0; 2],
            req_lim_delta: self.request_limit_delta.into(),
            tag: self.tag.into(),
            reserved2: [0; 4],
            lun: self.lun.0,
            sense_data_len: u32::try_from(self.sense.len()).ok()?.into(),
            reserved3: [0; 4],
        };
        put(out, &[raw.as_bytes(), self.sense])
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawAerRsp {
    opcode: u8,
    reserved: [u8; 7],
    tag: U64,
}
const _: () = assert!(size_of::<RawAerRsp>() == AerRsp::BYTES);

/// SRP_AER_RSP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AerRsp {
    /// TAG of the SRP_AER_REQ.
    pub tag: u64,
}

impl AerRsp {
    /// Length in bytes.
    pub const BYTES: usize = 16;

    /// Reads the answer to an asynchronous event report.
    ///
    /// # Errors
    /// The message is shorter, or not such an answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (raw, _) = split::<RawAerRsp>("SRP_AER_RSP", bytes)?;
        expect_opcode(raw.opcode, Opcode::AER_RSP, "SRP_AER_RSP")?;
        Ok(Self { tag: raw.tag.get() })
    }

    /// Writes the answer.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        transmute!(RawAerRsp {
            opcode: Opcode::AER_RSP.0,
            reserved: [0; 7],
            tag: self.tag.into(),
        })
    }
}
