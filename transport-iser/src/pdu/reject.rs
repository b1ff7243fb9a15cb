//! Reject (RFC 7143 11.17). Its data segment is the complete header of the PDU that is rejected.

use super::{codes, pdu};
use crate::Sn;

codes! {
    /// Reason (RFC 7143 11.17.1).
    RejectReason(u8) {
        DATA_DIGEST_ERROR = 0x02,
        SNACK_REJECT = 0x03,
        PROTOCOL_ERROR = 0x04,
        COMMAND_NOT_SUPPORTED = 0x05,
        TOO_MANY_IMMEDIATE_COMMANDS = 0x06,
        TASK_IN_PROGRESS = 0x07,
        INVALID_DATA_ACK = 0x08,
        INVALID_PDU_FIELD = 0x09,
        OUT_OF_TARGET_TRANSFER_TAGS = 0x0a,
        NEGOTIATION_RESET = 0x0b,
        WAITING_FOR_LOGOUT = 0x0c,
    }
}

pdu! {
    /// Reject. Its Initiator Task Tag is 0xffffffff.
    Reject(REJECT, 0x80) {
        /// Reason.
        reason: RejectReason => 2,
        /// Reserved for tags: 0xffffffff.
        initiator_task_tag: u32 => 16,
        /// StatSN.
        stat_sn: Sn => 24,
        /// ExpCmdSN.
        exp_cmd_sn: Sn => 28,
        /// MaxCmdSN.
        max_cmd_sn: Sn => 32,
        /// DataSN or R2TSN; only when a Data-SNACK is rejected.
        data_sn: Sn => 36,
    }
}
