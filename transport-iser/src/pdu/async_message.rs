//! Asynchronous Message (RFC 7143 11.9, RFC 7144 clause 7).

use target_core::lun::Lun;

use super::{codes, pdu};
use crate::Sn;

codes! {
    /// AsyncEvent (RFC 7143 11.9.1).
    AsyncEvent(u8) {
        SCSI_ASYNCHRONOUS_EVENT = 0,
        TARGET_REQUESTS_LOGOUT = 1,
        TARGET_WILL_DROP_CONNECTION = 2,
        TARGET_WILL_DROP_ALL_CONNECTIONS = 3,
        TARGET_REQUESTS_PARAMETER_NEGOTIATION = 4,
        TASKS_TERMINATED = 5,
        VENDOR_SPECIFIC = 255,
    }
}

pdu! {
    /// Asynchronous Message. Its Initiator Task Tag is 0xffffffff.
    AsyncMessage(ASYNC_MESSAGE, 0x80) {
        /// LUN; only with a SCSI event.
        lun: Lun => 8,
        /// Reserved for tags: 0xffffffff.
        initiator_task_tag: u32 => 16,
        /// StatSN.
        stat_sn: Sn => 24,
        /// ExpCmdSN.
        exp_cmd_sn: Sn => 28,
        /// MaxCmdSN.
        max_cmd_sn: Sn => 32,
        /// AsyncEvent.
        event: AsyncEvent => 36,
        /// AsyncVCode; only with a vendor-specific event.
        vendor_code: u8 => 37,
        /// Parameter1: a CID when a connection is dropped.
        parameter1: u16 => 38,
        /// Parameter2: Time2Wait in seconds, when connections are dropped.
        parameter2: u16 => 40,
        /// Parameter3: Time2Retain, or the seconds in which the target wants the logout.
        parameter3: u16 => 42,
    }
}
