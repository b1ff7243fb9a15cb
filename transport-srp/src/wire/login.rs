//! SRP_LOGIN_REQ, SRP_LOGIN_RSP, SRP_LOGIN_REJ (SRP r16a 6.2 to 6.4; immediate data from SRP-2).

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{Opcode, WireError, codes, expect_opcode, split};

/// BUFFER FORMATS bit: direct data buffer descriptors.
pub const FORMAT_DIRECT: u16 = 1 << 1;
/// BUFFER FORMATS bit: indirect data buffer descriptors.
pub const FORMAT_INDIRECT: u16 = 1 << 2;

const MULTICHANNEL_ACTION: u8 = 0x03;
const IMMED_REQUESTED: u8 = 0x80;
const IMMED_SUPP: u8 = 0x80;

codes! {
    /// MULTI-CHANNEL ACTION of a login request: what becomes of the other channels of the I_T
    /// nexus.
    MultichannelAction(u8) {
        SINGLE = 0,
        MULTI = 1,
    }
}

codes! {
    /// MULTI-CHANNEL RESULT of a login response: what became of the other channels of the I_T
    /// nexus.
    MultichannelResult(u8) {
        NO_CHAN = 0,
        TERMINATED = 1,
        MAINTAINED = 2,
    }
}

codes! {
    /// REASON of a login reject.
    LoginRejReason(u32) {
        UNABLE_TO_ESTABLISH_CHANNEL = 0x0001_0000,
        INSUFFICIENT_RESOURCES = 0x0001_0001,
        REQ_IT_IU_LENGTH_TOO_LARGE = 0x0001_0002,
        UNABLE_TO_ASSOCIATE_CHANNEL = 0x0001_0003,
        UNSUPPORTED_DESCRIPTOR_FORMAT = 0x0001_0004,
        MULTI_CHANNEL_UNSUPPORTED = 0x0001_0005,
        CHANNEL_LIMIT_REACHED = 0x0001_0006,
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawLoginReq {
    opcode: u8,
    reserved1: [u8; 7],
    tag: U64,
    req_it_iu_len: U32,
    reserved2: [u8; 4],
    req_buf_fmt: U16,
    req_flags: u8,
    reserved3: u8,
    imm_data_offset: U16,
    reserved4: [u8; 2],
    initiator_port_id: [u8; 16],
    target_port_id: [u8; 16],
}
const _: () = assert!(size_of::<RawLoginReq>() == LoginReq::BYTES);

/// The same without the reserved bytes, for the 56 bytes that RDMA-CM leaves of the private data.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawLoginReqRdmaCm {
    tag: U64,
    req_buf_fmt: U16,
    req_flags: u8,
    opcode: u8,
    req_it_iu_len: U32,
    initiator_port_id: [u8; 16],
    target_port_id: [u8; 16],
    imm_data_offset: U16,
    reserved: [u8; 6],
}
const _: () = assert!(size_of::<RawLoginReqRdmaCm>() == LoginReq::RDMA_CM_BYTES);

/// SRP_LOGIN_REQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginReq {
    /// Comes back in the answer.
    pub tag: u64,
    /// REQUESTED MAXIMUM INITIATOR TO TARGET IU LENGTH in bytes.
    pub req_it_iu_len: u32,
    /// REQUIRED BUFFER FORMATS: [`FORMAT_DIRECT`], [`FORMAT_INDIRECT`].
    pub req_buf_fmt: u16,
    /// MULTI-CHANNEL ACTION.
    pub multichannel: MultichannelAction,
    /// Where immediate data would begin in an SRP_CMD, when the initiator asks for it (SRP-2).
    pub imm_data_offset: Option<u16>,
    /// INITIATOR PORT IDENTIFIER.
    pub initiator_port_id: [u8; 16],
    /// TARGET PORT IDENTIFIER.
    pub target_port_id: [u8; 16],
}

impl LoginReq {
    /// Length of the form that native InfiniBand connections carry.
    pub const BYTES: usize = 64;
    /// Length of the form that RDMA-CM carries.
    pub const RDMA_CM_BYTES: usize = 56;

    /// Reads the 64-byte form; bytes behind it are padding of the private data.
    ///
    /// # Errors
    /// The message is shorter, or not a login request.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (raw, _) = split::<RawLoginReq>("SRP_LOGIN_REQ", bytes)?;
        expect_opcode(raw.opcode, Opcode::LOGIN_REQ, "SRP_LOGIN_REQ")?;
        Ok(Self {
            tag: raw.tag.get(),
            req_it_iu_len: raw.req_it_iu_len.get(),
            req_buf_fmt: raw.req_buf_fmt.get(),
            multichannel: MultichannelAction(raw.req_flags & MULTICHANNEL_ACTION),
            imm_data_offset: offset_if_requested(raw.req_flags, raw.imm_data_offset),
            initiator_port_id: raw.initiator_port_id,
            target_port_id: raw.target_port_id,
        })
    }

    /// Reads the 56-byte form; bytes behind it are padding of the private data.
    ///
    /// # Errors
    /// The message is shorter, or not a login request.
    pub fn parse_rdma_cm(bytes: &[u8]) -> Result<Self, WireError> {
        let (raw, _) = split::<RawLoginReqRdmaCm>("SRP_LOGIN_REQ for RDMA-CM", bytes)?;
        if raw.opcode != Opcode::LOGIN_REQ.0 {
            return Err(WireError::value("TYPE", 11, "SRP_LOGIN_REQ", raw.opcode));
        }
        Ok(Self {
            tag: raw.tag.get(),
            req_it_iu_len: raw.req_it_iu_len.get(),
            req_buf_fmt: raw.req_buf_fmt.get(),
            multichannel: MultichannelAction(raw.req_flags & MULTICHANNEL_ACTION),
            imm_data_offset: offset_if_requested(raw.req_flags, raw.imm_data_offset),
            initiator_port_id: raw.initiator_port_id,
            target_port_id: raw.target_port_id,
        })
    }

    /// Writes the 64-byte form.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        transmute!(RawLoginReq {
            opcode: Opcode::LOGIN_REQ.0,
            reserved1: [0; 7],
            tag: self.tag.into(),
            req_it_iu_len: self.req_it_iu_len.into(),
            reserved2: [0; 4],
            req_buf_fmt: self.req_buf_fmt.into(),
            req_flags: self.flags(),
            reserved3: 0,
            imm_data_offset: self.imm_data_offset.unwrap_or(0).into(),
            reserved4: [0; 2],
            initiator_port_id: self.initiator_port_id,
            target_port_id: self.target_port_id,
        })
    }

    /// Writes the 56-byte form.
    pub fn to_rdma_cm_bytes(&self) -> [u8; Self::RDMA_CM_BYTES] {
        transmute!(RawLoginReqRdmaCm {
            tag: self.tag.into(),
            req_buf_fmt: self.req_buf_fmt.into(),
            req_flags: self.flags(),
            opcode: Opcode::LOGIN_REQ.0,
            req_it_iu_len: self.req_it_iu_len.into(),
            initiator_port_id: self.initiator_port_id,
            target_port_id: self.target_port_id,
            imm_data_offset: self.imm_data_offset.unwrap_or(0).into(),
            reserved: [0; 6],
        })
    }

    fn flags(&self) -> u8 {
        let immediate = self.imm_data_offset.map_or(0, |_| IMMED_REQUESTED);
        self.multichannel.0 & MULTICHANNEL_ACTION | immediate
    }
}

fn offset_if_requested(flags: u8, offset: U16) -> Option<u16> {
    (flags & IMMED_REQUESTED != 0).then(|| offset.get())
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawLoginRsp {
    opcode: u8,
    reserved1: [u8; 3],
    req_lim_delta: U32,
    tag: U64,
    max_it_iu_len: U32,
    max_ti_iu_len: U32,
    buf_fmt: U16,
    rsp_flags: u8,
    reserved2: [u8; 25],
}
const _: () = assert!(size_of::<RawLoginRsp>() == LoginRsp::BYTES);

/// SRP_LOGIN_RSP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginRsp {
    /// The request's tag.
    pub tag: u64,
    /// REQUEST LIMIT DELTA: how many requests the initiator may send at first.
    pub request_limit_delta: u32,
    /// MAXIMUM INITIATOR TO TARGET IU LENGTH in bytes.
    pub max_it_iu_len: u32,
    /// MAXIMUM TARGET TO INITIATOR IU LENGTH in bytes.
    pub max_ti_iu_len: u32,
    /// SUPPORTED BUFFER FORMATS.
    pub buf_fmt: u16,
    /// MULTI-CHANNEL RESULT.
    pub multichannel: MultichannelResult,
    /// Whether immediate data may be sent (SRP-2).
    pub immediate_data: bool,
}

impl LoginRsp {
    /// Length in bytes.
    pub const BYTES: usize = 52;

    /// Reads a login response; bytes behind it are padding of the private data.
    ///
    /// # Errors
    /// The message is shorter, or not a login response.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (raw, _) = split::<RawLoginRsp>("SRP_LOGIN_RSP", bytes)?;
        expect_opcode(raw.opcode, Opcode::LOGIN_RSP, "SRP_LOGIN_RSP")?;
        Ok(Self {
            tag: raw.tag.get(),
            request_limit_delta: raw.req_lim_delta.get(),
            max_it_iu_len: raw.max_it_iu_len.get(),
            max_ti_iu_len: raw.max_ti_iu_len.get(),
            buf_fmt: raw.buf_fmt.get(),
            multichannel: MultichannelResult(raw.rsp_flags & MULTICHANNEL_ACTION),
            immediate_data: raw.rsp_flags & IMMED_SUPP != 0,
        })
    }

    /// Writes the login response.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let immediate = if self.immediate_data { IMMED_SUPP } else { 0 };
        transmute!(RawLoginRsp {
            opcode: Opcode::LOGIN_RSP.0,
            reserved1: [0; 3],
            req_lim_delta: self.request_limit_delta.into(),
            tag: self.tag.into(),
            max_it_iu_len: self.max_it_iu_len.into(),
            max_ti_iu_len: self.max_ti_iu_len.into(),
            buf_fmt: self.buf_fmt.into(),
            rsp_flags: self.multichannel.0 & MULTICHANNEL_ACTION | immediate,
            reserved2: [0; 25],
        })
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawLoginRej {
    opcode: u8,
    reserved1: [u8; 3],
    reason: U32,
    tag: U64,
    reserved2: [u8; 8],
    buf_fmt: U16,
    reserved3: [u8; 6],
}
const _: () = assert!(size_of::<RawLoginRej>() == LoginRej::BYTES);

/// SRP_LOGIN_REJ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginRej {
    /// The request's tag.
    pub tag: u64,
    /// REASON.
    pub reason: LoginRejReason,
    /// SUPPORTED BUFFER FORMATS.
    pub buf_fmt: u16,
}

impl LoginRej {
    /// Length in bytes.
    pub const BYTES: usize = 32;

    /// Reads a login reject; bytes behind it are padding of the private data.
    ///
    /// # Errors
    /// The message is shorter, or not a login reject.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (raw, _) = split::<RawLoginRej>("SRP_LOGIN_REJ", bytes)?;
        expect_opcode(raw.opcode, Opcode::LOGIN_REJ, "SRP_LOGIN_REJ")?;
        Ok(Self {
            tag: raw.tag.get(),
            reason: LoginRejReason(raw.reason.get()),
            buf_fmt: raw.buf_fmt.get(),
        })
    }

    /// Writes the login reject.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        transmute!(RawLoginRej {
            opcode: Opcode::LOGIN_REJ.0,
            reserved1: [0; 3],
            reason: self.reason.0.into(),
            tag: self.tag.into(),
            reserved2: [0; 8],
            buf_fmt: self.buf_fmt.into(),
            reserved3: [0; 6],
        })
    }
}
