//! SCSI Response (RFC 7143 11.4). Its data segment is SenseLength, sense data and response data.

use target_core::status::Status;

use super::{PduError, codes, pdu};
use crate::Sn;

codes! {
    /// Response (RFC 7143 11.4.3).
    ResponseCode(u8) {
        COMMAND_COMPLETED_AT_TARGET = 0x00,
        TARGET_FAILURE = 0x01,
    }
}

pdu! {
    /// SCSI Response.
    ScsiResponse(SCSI_RESPONSE, 0x80) {
        /// o: residual overflow of the input of a bidirectional command.
        bidirectional_read_overflow: bool => (1, 0x10),
        /// u: residual underflow of the input of a bidirectional command.
        bidirectional_read_underflow: bool => (1, 0x08),
        /// O: residual overflow.
        overflow: bool => (1, 0x04),
        /// U: residual underflow.
        underflow: bool => (1, 0x02),
        /// Response.
        response: ResponseCode => 2,
        /// Status.
        status: Status => 3,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => 16,
        /// SNACK Tag.
        snack_tag: u32 => 20,
        /// StatSN.
        stat_sn: Sn => 24,
        /// ExpCmdSN.
        exp_cmd_sn: Sn => 28,
        /// MaxCmdSN.
        max_cmd_sn: Sn => 32,
        /// ExpDataSN: how many Data-In and R2T PDUs were sent.
        exp_data_sn: Sn => 36,
        /// Bidirectional Read Residual Count in bytes.
        bidirectional_read_residual_count: u32 => 40,
        /// Residual Count in bytes.
        residual_count: u32 => 44,
    }
}

/// Bytes of SenseLength before the sense data.
pub const SENSE_LENGTH_BYTES: usize = 2;

/// The sense data of a response's data segment; empty when there is no segment.
///
/// # Errors
/// SenseLength is greater than the segment.
pub fn sense(data: &[u8]) -> Result<&[u8], PduError> {
    if data.is_empty() {
        return Ok(data);
    }
    let Some((length, rest)) = data.split_first_chunk() else {
        return Err(PduError::truncated("SenseLength", 48, 2, data.len()));
    };
    let needed = usize::from(u16::from_be_bytes(*length));
    rest.get(..needed)
        .ok_or_else(|| PduError::truncated("Sense Data", 50, needed, rest.len()))
}
