//! SNACK Request (RFC 7143 11.16).

use target_core::lun::Lun;

use super::field::code_bits;
use super::{codes, pdu};
use crate::Sn;

codes! {
    /// Type (RFC 7143 11.16.1).
    SnackType(u8) {
        DATA_OR_R2T = 0,
        STATUS = 1,
        DATA_ACK = 2,
        R_DATA = 3,
    }
}
code_bits!(SnackType);

pdu! {
    /// SNACK Request.
    Snack(SNACK, 0x80) {
        /// Type.
        kind: SnackType => (1, 0x0f),
        /// LUN.
        lun: Lun => 8,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => 16,
        /// Target Transfer Tag of a DataACK, SNACK Tag of an R-Data SNACK.
        target_transfer_tag: u32 => 20,
        /// ExpStatSN.
        exp_stat_sn: Sn => 28,
        /// BegRun: the first number that is missing.
        beg_run: Sn => 40,
        /// RunLength: how many are missing; 0 means all from BegRun on.
        run_length: u32 => 44,
    }
}
