//! SCSI Data-Out, SCSI Data-In, Ready To Transfer (RFC 7143 11.7, 11.8).

use target_core::lun::Lun;
use target_core::status::Status;

use super::pdu;
use crate::Sn;

pdu! {
    /// SCSI Data-Out.
    DataOut(DATA_OUT, 0) {
        /// F: the last PDU of its sequence.
        is_final: bool => (1, 0x80),
        /// LUN; given back when the R2T had one.
        lun: Lun => 8,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => 16,
        /// Target Transfer Tag of the R2T that is answered; 0xffffffff for unsolicited data.
        target_transfer_tag: u32 => 20,
        /// ExpStatSN.
        exp_stat_sn: Sn => 28,
        /// DataSN: counts from 0 in each sequence.
        data_sn: Sn => 36,
        /// Buffer Offset in bytes of the data in the Data-Out Buffer.
        buffer_offset: u32 => 40,
    }
}

pdu! {
    /// SCSI Data-In.
    DataIn(DATA_IN, 0) {
        /// F: the last PDU of its sequence.
        is_final: bool => (1, 0x80),
        /// A: an acknowledgement is wanted.
        acknowledge: bool => (1, 0x40),
        /// O: residual overflow; only with S.
        overflow: bool => (1, 0x04),
        /// U: residual underflow; only with S.
        underflow: bool => (1, 0x02),
        /// S: the status is in this PDU, and no response follows.
        has_status: bool => (1, 0x01),
        /// Status; only with S.
        status: Status => 3,
        /// LUN; only with A.
        lun: Lun => 8,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => 16,
        /// Target Transfer Tag; 0xffffffff without A.
        target_transfer_tag: u32 => 20,
        /// StatSN; only with S.
        stat_sn: Sn => 24,
        /// ExpCmdSN.
        exp_cmd_sn: Sn => 28,
        /// MaxCmdSN.
        max_cmd_sn: Sn => 32,
        /// DataSN: counts the command's Data-In PDUs from 0.
        data_sn: Sn => 36,
        /// Buffer Offset in bytes of the data in the Data-In Buffer.
        buffer_offset: u32 => 40,
        /// Residual Count in bytes; only with S.
        residual_count: u32 => 44,
    }
}

pdu! {
    /// Ready To Transfer.
    R2t(R2T, 0x80) {
        /// LUN.
        lun: Lun => 8,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => 16,
        /// Target Transfer Tag.
        target_transfer_tag: u32 => 20,
        /// StatSN: the next one, not used up.
        stat_sn: Sn => 24,
        /// ExpCmdSN.
        exp_cmd_sn: Sn => 28,
        /// MaxCmdSN.
        max_cmd_sn: Sn => 32,
        /// R2TSN: counts the command's R2T PDUs from 0.
        r2t_sn: Sn => 36,
        /// Buffer Offset in bytes of what is wanted in the Data-Out Buffer.
        buffer_offset: u32 => 40,
        /// Desired Data Transfer Length in bytes: not 0, at most MaxBurstLength.
        desired_data_transfer_length: u32 => 44,
    }
}
