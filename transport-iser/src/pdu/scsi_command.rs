//! SCSI Command (RFC 7143 11.3). Immediate data is the data segment; a longer CDB and the second length of a bidirectional
//! command are in additional headers ([`super::Ahs`]).

use target_core::command::TaskAttribute;
use target_core::lun::Lun;

use super::bhs::set_ahs_length;
use super::field::code_bits;
use super::{Bhs, PduError, codes, pdu};
use crate::Sn;

codes! {
    /// ATTR (RFC 7143 11.3.1).
    AttributeCode(u8) {
        UNTAGGED = 0,
        SIMPLE = 1,
        ORDERED = 2,
        HEAD_OF_QUEUE = 3,
        ACA = 4,
    }
}
code_bits!(AttributeCode);

impl AttributeCode {
    /// The attribute; a task without one is simple, as SAM has no other for it.
    ///
    /// # Errors
    /// The code is reserved.
    #[inline]
    pub fn attribute(self) -> Result<TaskAttribute, PduError> {
        match self {
            Self::UNTAGGED | Self::SIMPLE => Ok(TaskAttribute::Simple),
            Self::ORDERED => Ok(TaskAttribute::Ordered),
            Self::HEAD_OF_QUEUE => Ok(TaskAttribute::HeadOfQueue),
            Self::ACA => Ok(TaskAttribute::Aca),
            Self(code) => Err(PduError::value("ATTR", 1, "0 to 4", code)),
        }
    }
}

pdu! {
    /// SCSI Command.
    ScsiCommand(SCSI_COMMAND, 0) {
        /// I.
        immediate: bool => (0, 0x40),
        /// F: no unsolicited Data-Out follows.
        is_final: bool => (1, 0x80),
        /// R: input data is expected.
        read: bool => (1, 0x40),
        /// W: output data is expected.
        write: bool => (1, 0x20),
        /// ATTR.
        attribute: AttributeCode => (1, 0x07),
        /// Logical Unit Number.
        lun: Lun => 8,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => 16,
        /// Expected Data Transfer Length in bytes: of the output of a bidirectional command.
        expected_data_transfer_length: u32 => 20,
        /// CmdSN.
        cmd_sn: Sn => 24,
        /// ExpStatSN.
        exp_stat_sn: Sn => 28,
        /// The first 16 bytes of the CDB.
        cdb: [u8; 16] => 32,
    }
}

impl ScsiCommand {
    /// The basic header segment before `ahs_bytes` of additional headers (a multiple of four, at most 1020).
    pub fn encode_with_ahs(&self, ahs_bytes: usize, data_segment_length: u32) -> Bhs {
        let mut bhs = self.encode(data_segment_length);
        set_ahs_length(&mut bhs, ahs_bytes);
        bhs
    }
}
