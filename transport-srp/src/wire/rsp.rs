//! SRP_RSP (SRP r16a 6.9).

use target_core::command::Residual;
use target_core::status::Status;
use zerocopy::big_endian::{I32, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Opcode, WireError, codes, expect_opcode, list, put, split};

const RSPVALID: u8 = 1 << 0;
const SNSVALID: u8 = 1 << 1;
const DOOVER: u8 = 1 << 2;
const DOUNDER: u8 = 1 << 3;
const DIOVER: u8 = 1 << 4;
const DIUNDER: u8 = 1 << 5;

const FLAGS_OFFSET: usize = 18;
/// RESPONSE DATA is three reserved bytes and RSP_CODE.
const RESPONSE_DATA_BYTES: u32 = 4;

codes! {
    /// RSP_CODE (SRP table 22).
    RspCode(u8) {
        TASK_MANAGEMENT_FUNCTION_COMPLETE = 0,
        REQUEST_FIELDS_INVALID = 2,
        TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED = 4,
        TASK_MANAGEMENT_FUNCTION_FAILED = 5,
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRsp {
    opcode: u8,
    sol_not: u8,
    reserved1: [u8; 2],
    req_lim_delta: I32,
    tag: U64,
    reserved2: [u8; 2],
    flags: u8,
    status: u8,
    data_out_res_cnt: U32,
    data_in_res_cnt: U32,
    sense_data_len: U32,
    resp_data_len: U32,
}
const _: () = assert!(size_of::<RawRsp>() == Rsp::MIN_BYTES);

/// SRP_RSP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rsp<'a> {
    /// Solicited notification bit, as it came.
    pub sol_not: u8,
    /// REQUEST LIMIT DELTA: by how many more requests the initiator may send from now on.
    pub request_limit_delta: i32,
    /// TAG of the request that is answered.
    pub tag: u64,
    /// STATUS.
    pub status: Status,
    /// DOOVER, DOUNDER and DATA-OUT RESIDUAL COUNT.
    pub data_out_residual: Residual,
    /// DIOVER, DIUNDER and DATA-IN RESIDUAL COUNT.
    pub data_in_residual: Residual,
    /// RSPVALID and RESPONSE DATA.
    pub response: Option<RspCode>,
    /// SNSVALID and SENSE DATA.
    pub sense: Option<&'a [u8]>,
}

impl<'a> Rsp<'a> {
    /// Length of an SRP_RSP without response and sense data.
    pub const MIN_BYTES: usize = 36;

    /// Reads a response.
    ///
    /// # Errors
    /// The message is shorter than it says, both flags of a residual are set, response data is too
    /// short for its code, or this is no response.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (raw, rest) = split::<RawRsp>("SRP_RSP", bytes)?;
        expect_opcode(raw.opcode, Opcode::RSP, "SRP_RSP")?;
        let (response, rest) = response_data(raw, rest)?;
        let sense = if raw.flags & SNSVALID == 0 {
            None
        } else {
            let offset = bytes.len() - rest.len();
            Some(list("SENSE DATA", offset, rest, raw.sense_data_len.get())?.0)
        };
        Ok(Self {
            sol_not: raw.sol_not,
            request_limit_delta: raw.req_lim_delta.get(),
            tag: raw.tag.get(),
            status: Status(raw.status),
            data_out_residual: residual(raw.flags, DOOVER, DOUNDER, raw.data_out_res_cnt)?,
            data_in_residual: residual(raw.flags, DIOVER, DIUNDER, raw.data_in_res_cnt)?,
            response,
            sense,
        })
    }

    /// Writes the response. `None` when there is no room.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let (out_flag, out_count) = residual_fields(self.data_out_residual, DOOVER, DOUNDER);
        let (in_flag, in_count) = residual_fields(self.data_in_residual, DIOVER, DIUNDER);
        let response_data = self.response.map(|code| [0, 0, 0, code.0]);
        let response_data: &[u8] = response_data.as_ref().map_or(&[], |data| data);
        let sense = self.sense.unwrap_or(&[]);
        let response_flag = self.response.map_or(0, |_| RSPVALID);
        let sense_flag = self.sense.map_or(0, |_| SNSVALID);
        let raw = RawRsp {
            opcode: Opcode::RSP.0,
            sol_not: self.sol_not,
            reserved1: [0; 2],
            req_lim_delta: self.request_limit_delta.into(),
            tag: self.tag.into(),
            reserved2: [0; 2],
            flags: out_flag | in_flag | response_flag | sense_flag,
            status: self.status.0,
            data_out_res_cnt: out_count.into(),
            data_in_res_cnt: in_count.into(),
            sense_data_len: u32::try_from(sense.len()).ok()?.into(),
            resp_data_len: u32::try_from(response_data.len()).ok()?.into(),
        };
        let (fixed, rest) = out.split_at_mut_checked(Self::MIN_BYTES)?;
        fixed.copy_from_slice(raw.as_bytes());
        if response_flag | sense_flag == 0 {
            return Some(Self::MIN_BYTES);
        }
        Some(Self::MIN_BYTES + put(rest, &[response_data, sense])?)
    }
}

/// RESPONSE DATA, and what follows it. Its length field means nothing without RSPVALID.
fn response_data<'a>(
    raw: &RawRsp,
    rest: &'a [u8],
) -> Result<(Option<RspCode>, &'a [u8]), WireError> {
    if raw.flags & RSPVALID == 0 {
        return Ok((None, rest));
    }
    let len = raw.resp_data_len.get();
    if len < RESPONSE_DATA_BYTES {
        return Err(WireError::value(
            "RESPONSE DATA LENGTH",
            32,
            "4 or more",
            len,
        ));
    }
    let (data, rest) = list("RESPONSE DATA", Rsp::MIN_BYTES, rest, len)?;
    Ok((Some(RspCode(data[3])), rest))
}

fn residual(flags: u8, over: u8, under: u8, count: U32) -> Result<Residual, WireError> {
    match (flags & over != 0, flags & under != 0) {
        (false, false) => Ok(Residual::None),
        (true, false) => Ok(Residual::Overflow(count.get())),
        (false, true) => Ok(Residual::Underflow(count.get())),
        (true, true) => Err(WireError::value(
            "residual flags",
            FLAGS_OFFSET,
            "overflow or underflow of a buffer",
            flags,
        )),
    }
}

fn residual_fields(residual: Residual, over: u8, under: u8) -> (u8, u32) {
    match residual {
        Residual::None => (0, 0),
        Residual::Overflow(count) => (over, count),
        Residual::Underflow(count) => (under, count),
    }
}
