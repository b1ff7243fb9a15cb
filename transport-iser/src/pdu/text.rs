//! Text Request and Text Response (RFC 7143 11.10, 11.11). The keys are in the data segment.

use target_core::lun::Lun;

use super::pdu;
use crate::Sn;

pdu! {
    /// Text Request.
    TextRequest(TEXT_REQUEST, 0) {
        /// I.
        immediate: bool => (0, 0x40),
        /// F: the initiator has no more to say.
        is_final: bool => (1, 0x80),
        /// C: the text goes on in the next request.
        continues: bool => (1, 0x40),
        /// LUN of the response that is gone on with.
        lun: Lun => 8,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => 16,
        /// Target Transfer Tag of the response that is gone on with; 0xffffffff begins a new exchange.
        target_transfer_tag: u32 => 20,
        /// CmdSN.
        cmd_sn: Sn => 24,
        /// ExpStatSN.
        exp_stat_sn: Sn => 28,
    }
}

pdu! {
    /// Text Response.
    TextResponse(TEXT_RESPONSE, 0) {
        /// F: the target has no more to say.
        is_final: bool => (1, 0x80),
        /// C: the text goes on in the next response.
        continues: bool => (1, 0x40),
        /// LUN, to be given back with the Target Transfer Tag.
        lun: Lun => 8,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => 16,
        /// Target Transfer Tag; 0xffffffff ends the exchange.
        target_transfer_tag: u32 => 20,
        /// StatSN.
        stat_sn: Sn => 24,
        /// ExpCmdSN.
        exp_cmd_sn: Sn => 28,
        /// MaxCmdSN.
        max_cmd_sn: Sn => 32,
    }
}
