//! Logout Request and Logout Response (RFC 7143 11.14, 11.15).

use super::field::code_bits;
use super::{codes, pdu};
use crate::Sn;

codes! {
    /// Reason Code (RFC 7143 11.14.1).
    LogoutReason(u8) {
        CLOSE_SESSION = 0,
        CLOSE_CONNECTION = 1,
        REMOVE_CONNECTION_FOR_RECOVERY = 2,
    }
}
code_bits!(LogoutReason);

codes! {
    /// Response (RFC 7143 11.15.1).
    LogoutResult(u8) {
        CLOSED_SUCCESSFULLY = 0,
        CID_NOT_FOUND = 1,
        CONNECTION_RECOVERY_NOT_SUPPORTED = 2,
        CLEANUP_FAILED = 3,
    }
}

pdu! {
    /// Logout Request.
    LogoutRequest(LOGOUT_REQUEST, 0x80) {
        /// I.
        immediate: bool => (0, 0x40),
        /// Reason Code.
        reason: LogoutReason => (1, 0x7f),
        /// Initiator Task Tag.
        initiator_task_tag: u32 => 16,
        /// CID; without meaning when the session is closed.
        cid: u16 => 20,
        /// CmdSN.
        cmd_sn: Sn => 24,
        /// ExpStatSN.
        exp_stat_sn: Sn => 28,
    }
}

pdu! {
    /// Logout Response.
    LogoutResponse(LOGOUT_RESPONSE, 0x80) {
        /// Response.
        response: LogoutResult => 2,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => 16,
        /// StatSN.
        stat_sn: Sn => 24,
        /// ExpCmdSN.
        exp_cmd_sn: Sn => 28,
        /// MaxCmdSN.
        max_cmd_sn: Sn => 32,
        /// Time2Wait in seconds.
        time2wait: u16 => 40,
        /// Time2Retain in seconds.
        time2retain: u16 => 42,
    }
}
