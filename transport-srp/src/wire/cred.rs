//! SRP_CRED_REQ and SRP_CRED_RSP (SRP r16a 6.10, 6.11).

use zerocopy::big_endian::{I32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{Opcode, WireError, expect_opcode, split};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawCredReq {
    opcode: u8,
    sol_not: u8,
    reserved: [u8; 2],
    req_lim_delta: I32,
    tag: U64,
}
const _: () = assert!(size_of::<RawCredReq>() == CredReq::BYTES);

/// SRP_CRED_REQ: the target changes the request limit outside a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredReq {
    /// Solicited notification bit, as it came.
    pub sol_not: u8,
    /// REQUEST LIMIT DELTA.
    pub request_limit_delta: i32,
    /// TAG of this request of the target; comes back in the SRP_CRED_RSP.
    pub tag: u64,
}

impl CredReq {
    /// Length in bytes.
    pub const BYTES: usize = 16;

    /// Reads a credit request.
    ///
    /// # Errors
    /// The message is shorter, or not a credit request.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (raw, _) = split::<RawCredReq>("SRP_CRED_REQ", bytes)?;
        expect_opcode(raw.opcode, Opcode::CRED_REQ, "SRP_CRED_REQ")?;
        Ok(Self {
            sol_not: raw.sol_not,
            request_limit_delta: raw.req_lim_delta.get(),
            tag: raw.tag.get(),
        })
    }

    /// Writes the credit request.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        transmute!(RawCredReq {
            opcode: Opcode::CRED_REQ.0,
            sol_not: self.sol_not,
            reserved: [0; 2],
            req_lim_delta: self.request_limit_delta.into(),
            tag: self.tag.into(),
        })
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawCredRsp {
    opcode: u8,
    reserved: [u8; 7],
    tag: U64,
}
const _: () = assert!(size_of::<RawCredRsp>() == CredRsp::BYTES);

/// SRP_CRED_RSP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredRsp {
    /// TAG of the SRP_CRED_REQ.
    pub tag: u64,
}

impl CredRsp {
    /// Length in bytes.
    pub const BYTES: usize = 16;

    /// Reads a credit response.
    ///
    /// # Errors
    /// The message is shorter, or not a credit response.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (raw, _) = split::<RawCredRsp>("SRP_CRED_RSP", bytes)?;
        expect_opcode(raw.opcode, Opcode::CRED_RSP, "SRP_CRED_RSP")?;
        Ok(Self { tag: raw.tag.get() })
    }

    /// Writes the credit response.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        transmute!(RawCredRsp {
            opcode: Opcode::CRED_RSP.0,
            reserved: [0; 7],
            tag: self.tag.into(),
        })
    }
}
