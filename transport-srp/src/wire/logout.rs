//! SRP_I_LOGOUT and SRP_T_LOGOUT (SRP r16a 6.5, 6.6).

use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{Opcode, WireError, codes, expect_opcode, split};

codes! {
    /// REASON of a target logout (SRP table 14).
    LogoutReason(u32) {
        NO_REASON = 0,
        INACTIVE_CHANNEL = 1,
        INVALID_IU_TYPE = 2,
        UNEXPECTED_INITIATOR_RESPONSE = 3,
        MULTI_CHANNEL_ACTION = 4,
        INVALID_DATA_OUT_FORMAT = 6,
        INVALID_DATA_IN_FORMAT = 7,
        INVALID_IU_LENGTH = 8,
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawILogout {
    opcode: u8,
    reserved: [u8; 7],
    tag: U64,
}
const _: () = assert!(size_of::<RawILogout>() == ILogout::BYTES);

/// SRP_I_LOGOUT; nothing answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ILogout {
    /// TAG.
    pub tag: u64,
}

impl ILogout {
    /// Length in bytes.
    pub const BYTES: usize = 16;

    /// Reads an initiator logout.
    ///
    /// # Errors
    /// The message is shorter, or not an initiator logout.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (raw, _) = split::<RawILogout>("SRP_I_LOGOUT", bytes)?;
        expect_opcode(raw.opcode, Opcode::I_LOGOUT, "SRP_I_LOGOUT")?;
        Ok(Self { tag: raw.tag.get() })
    }

    /// Writes the initiator logout.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        transmute!(RawILogout {
            opcode: Opcode::I_LOGOUT.0,
            reserved: [0; 7],
            tag: self.tag.into(),
        })
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawTLogout {
    opcode: u8,
    sol_not: u8,
    reserved: [u8; 2],
    reason: U32,
    tag: U64,
}
const _: () = assert!(size_of::<RawTLogout>() == TLogout::BYTES);

/// SRP_T_LOGOUT; nothing answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TLogout {
    /// Solicited notification bit, as it came.
    pub sol_not: u8,
    /// Why.
    pub reason: LogoutReason,
    /// TAG.
    pub tag: u64,
}

impl TLogout {
    /// Length in bytes.
    pub const BYTES: usize = 16;

    /// Reads a target logout.
    ///
    /// # Errors
    /// The message is shorter, or not a target logout.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (raw, _) = split::<RawTLogout>("SRP_T_LOGOUT", bytes)?;
        expect_opcode(raw.opcode, Opcode::T_LOGOUT, "SRP_T_LOGOUT")?;
        Ok(Self {
            sol_not: raw.sol_not,
            reason: LogoutReason(raw.reason.get()),
            tag: raw.tag.get(),
        })
    }

    /// Writes the target logout.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        transmute!(RawTLogout {
            opcode: Opcode::T_LOGOUT.0,
            sol_not: self.sol_not,
            reserved: [0; 2],
            reason: self.reason.0.into(),
            tag: self.tag.into(),
        })
    }
}
