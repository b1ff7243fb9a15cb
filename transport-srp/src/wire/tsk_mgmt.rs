//! SRP_TSK_MGMT (SRP r16a 6.7).

use target_core::command::TaskManagementFunction;
use target_core::lun::Lun;
use zerocopy::big_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{Opcode, WireError, codes, expect_opcode, split};

codes! {
    /// TASK MANAGEMENT FLAGS, one bit per function (SRP table 16).
    TaskFunctionCode(u8) {
        ABORT_TASK = 0x01,
        ABORT_TASK_SET = 0x02,
        CLEAR_TASK_SET = 0x04,
        LOGICAL_UNIT_RESET = 0x08,
        CLEAR_ACA = 0x40,
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawTskMgmt {
    opcode: u8,
    sol_not: u8,
    reserved1: [u8; 6],
    tag: U64,
    reserved2: [u8; 4],
    lun: [u8; 8],
    reserved3: [u8; 2],
    tsk_mgmt_func: u8,
    reserved4: u8,
    task_tag: U64,
    reserved5: [u8; 8],
}
const _: () = assert!(size_of::<RawTskMgmt>() == TskMgmt::BYTES);

/// SRP_TSK_MGMT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TskMgmt {
    /// Solicited notification bits, as they came.
    pub sol_not: u8,
    /// TAG of this request.
    pub tag: u64,
    /// LOGICAL UNIT NUMBER.
    pub lun: Lun,
    /// What to do.
    pub function: TaskFunctionCode,
    /// TAG OF TASK TO BE MANAGED; only ABORT TASK looks at it.
    pub task_tag: u64,
}

impl TskMgmt {
    /// Length in bytes.
    pub const BYTES: usize = 48;

    /// Reads a task management request; bytes behind it are ignored.
    ///
    /// # Errors
    /// The message is shorter, or not a task management request.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (raw, _) = split::<RawTskMgmt>("SRP_TSK_MGMT", bytes)?;
        expect_opcode(raw.opcode, Opcode::TSK_MGMT, "SRP_TSK_MGMT")?;
        Ok(Self {
            sol_not: raw.sol_not,
            tag: raw.tag.get(),
            lun: Lun(raw.lun),
            function: TaskFunctionCode(raw.tsk_mgmt_func),
            task_tag: raw.task_tag.get(),
        })
    }

    /// Writes the task management request.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        transmute!(RawTskMgmt {
            opcode: Opcode::TSK_MGMT.0,
            sol_not: self.sol_not,
            reserved1: [0; 6],
            tag: self.tag.into(),
            reserved2: [0; 4],
            lun: self.lun.0,
            reserved3: [0; 2],
            tsk_mgmt_func: self.function.0,
            reserved4: 0,
            task_tag: self.task_tag.into(),
            reserved5: [0; 8],
        })
    }

    /// The function in SAM's words; several bits at once, or none, are a function that nobody
    /// knows.
    pub fn sam_function(&self) -> TaskManagementFunction {
        match self.function {
            TaskFunctionCode::ABORT_TASK => {
                TaskManagementFunction::AbortTask { tag: self.task_tag }
            }
            TaskFunctionCode::ABORT_TASK_SET => TaskManagementFunction::AbortTaskSet,
            TaskFunctionCode::CLEAR_TASK_SET => TaskManagementFunction::ClearTaskSet,
            TaskFunctionCode::LOGICAL_UNIT_RESET => TaskManagementFunction::LogicalUnitReset,
            TaskFunctionCode::CLEAR_ACA => TaskManagementFunction::ClearAca,
            TaskFunctionCode(code) => TaskManagementFunction::Unknown(code),
        }
    }
}
