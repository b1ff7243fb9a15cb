//! Task Management Function Request and Response (RFC 7143 11.5, 11.6; RFC 7144 clause 4).

use target_core::lun::Lun;

use super::field::code_bits;
use super::{codes, pdu};
use crate::Sn;

codes! {
    /// Function (RFC 7143 11.5.1, RFC 7144 4.1).
    TaskManagementCode(u8) {
        ABORT_TASK = 1,
        ABORT_TASK_SET = 2,
        CLEAR_ACA = 3,
        CLEAR_TASK_SET = 4,
        LOGICAL_UNIT_RESET = 5,
        TARGET_WARM_RESET = 6,
        TARGET_COLD_RESET = 7,
        TASK_REASSIGN = 8,
        QUERY_TASK = 9,
        QUERY_TASK_SET = 10,
        I_T_NEXUS_RESET = 11,
        QUERY_ASYNCHRONOUS_EVENT = 12,
    }
}
code_bits!(TaskManagementCode);

codes! {
    /// Response (RFC 7143 11.6.1, RFC 7144 4.2).
    TaskManagementResult(u8) {
        FUNCTION_COMPLETE = 0,
        TASK_DOES_NOT_EXIST = 1,
        LUN_DOES_NOT_EXIST = 2,
        TASK_STILL_ALLEGIANT = 3,
        TASK_ALLEGIANCE_REASSIGNMENT_NOT_SUPPORTED = 4,
        TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED = 5,
        FUNCTION_AUTHORIZATION_FAILED = 6,
        FUNCTION_SUCCEEDED = 7,
        FUNCTION_REJECTED = 255,
    }
}

pdu! {
    /// Task Management Function Request.
    TaskManagementRequest(TASK_MANAGEMENT_REQUEST, 0x80) {
        /// I.
        immediate: bool => (0, 0x40),
        /// Function.
        function: TaskManagementCode => (1, 0x7f),
        /// LUN.
        lun: Lun => 8,
        /// Initiator Task Tag of the request itself.
        initiator_task_tag: u32 => 16,
        /// Referenced Task Tag; 0xffffffff for what concerns no single task.
        referenced_task_tag: u32 => 20,
        /// CmdSN.
        cmd_sn: Sn => 24,
        /// ExpStatSN.
        exp_stat_sn: Sn => 28,
        /// RefCmdSN: CmdSN of the referenced task.
        ref_cmd_sn: Sn => 32,
        /// ExpDataSN; only with TASK REASSIGN.
        exp_data_sn: Sn => 36,
    }
}

pdu! {
    /// Task Management Function Response.
    TaskManagementResponse(TASK_MANAGEMENT_RESPONSE, 0x80) {
        /// Response.
        response: TaskManagementResult => 2,
        /// Initiator Task Tag of the request.
        initiator_task_tag: u32 => 16,
        /// StatSN.
        stat_sn: Sn => 24,
        /// ExpCmdSN.
        exp_cmd_sn: Sn => 28,
        /// MaxCmdSN.
        max_cmd_sn: Sn => 32,
    }
}
