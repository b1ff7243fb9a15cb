//! NOP-Out and NOP-In (RFC 7143 11.18, 11.19). Ping data is the data segment.

use target_core::lun::Lun;

use super::pdu;
use crate::Sn;

pdu! {
    /// NOP-Out: a ping of the initiator, or its answer to one of the target.
    NopOut(NOP_OUT, 0x80) {
        /// I.
        immediate: bool => (0, 0x40),
        /// LUN; of the NOP-In that is answered.
        lun: Lun => 8,
        /// Initiator Task Tag; 0xffffffff when no answer is wanted.
        initiator_task_tag: u32 => 16,
        /// Target Transfer Tag of the NOP-In that is answered, else 0xffffffff.
        target_transfer_tag: u32 => 20,
        /// CmdSN.
        cmd_sn: Sn => 24,
        /// ExpStatSN.
        exp_stat_sn: Sn => 28,
    }
}

pdu! {
    /// NOP-In: the answer to a ping, or a ping of the target.
    NopIn(NOP_IN, 0x80) {
        /// LUN; set when the initiator has to send it back.
        lun: Lun => 8,
        /// Initiator Task Tag of the ping that is answered, else 0xffffffff.
        initiator_task_tag: u32 => 16,
        /// Target Transfer Tag; 0xffffffff when no answer is wanted.
        target_transfer_tag: u32 => 20,
        /// StatSN; the next one, not used up, when the Initiator Task Tag is 0xffffffff.
        stat_sn: Sn => 24,
        /// ExpCmdSN.
        exp_cmd_sn: Sn => 28,
        /// MaxCmdSN.
        max_cmd_sn: Sn => 32,
    }
}
