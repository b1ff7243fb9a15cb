//! The messages as `ib_srp` sends them (SRP r16a 6.8).

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use iobuf::RemoteSegment;
use target_core::lun::Lun;
use transport_srp::layout::LINUX_IMM_DATA_OFFSET;
use transport_srp::wire::Cmd;
use transport_srp::wire::cmd::{BufferFormat, TaskAttributeCode};
use transport_srp::wire::desc::{direct_to_bytes, immediate_to_bytes};

/// Bytes of data of one command.
pub(crate) const DATA_BYTES: u32 = 4096;

pub(crate) const READ_16: u8 = 0x88;
pub(crate) const WRITE_16: u8 = 0x8a;
const BLOCKS: u8 = 8;
const LBA: u8 = 64;

/// One kind of command, 4 KiB each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// READ(16) into a direct memory descriptor.
    Read,
    /// WRITE(16) whose data come with the command.
    WriteImmediate,
    /// WRITE(16) whose data are fetched from a direct memory descriptor.
    WritePulled,
}

impl Job {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Read, Self::WriteImmediate, Self::WritePulled];

    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::WriteImmediate => "write-immediate",
            Self::WritePulled => "write-pulled",
        }
    }

    /// The SRP_CMD, with immediate data if it has such.
    ///
    /// # Errors
    /// The message does not fit: a mistake in this file.
    pub(crate) fn message(self) -> Result<Vec<u8>> {
        let direct = direct_to_bytes(RemoteSegment {
            address: 0x1000,
            key: 0x1234,
            length: DATA_BYTES,
        });
        let immediate = immediate_message_data();
        let none = BufferFormat::NONE;
        let (opcode, data_out_format, data_in_format, data) = match self {
            Self::Read => (READ_16, none, BufferFormat::DIRECT, &direct[..]),
            Self::WritePulled => (WRITE_16, BufferFormat::DIRECT, none, &direct[..]),
            Self::WriteImmediate => (WRITE_16, BufferFormat::IMMEDIATE, none, &immediate[..]),
        };
        let cdb = cdb(opcode);
        let cmd = Cmd {
            sol_not: 0,
            data_out_format,
            data_in_format,
            data_out_count: 0,
            data_in_count: 0,
            tag: 0x1122_3344_5566_7788,
            lun: Lun::peripheral(0),
            task_attribute: TaskAttributeCode::SIMPLE,
            cdb: &cdb,
            data,
        };
        let mut message = vec![0; Cmd::MIN_BYTES + data.len()];
        cmd.emit(&mut message)
            .context("the canned command does not fit")?;
        Ok(message)
    }
}

/// The sixteen bytes of READ and WRITE for [`DATA_BYTES`].
pub(crate) fn cdb(opcode: u8) -> [u8; 16] {
    [opcode, 0, 0, 0, 0, 0, 0, 0, 0, LBA, 0, 0, 0, BLOCKS, 0, 0]
}

/// The descriptor, what lies between it and the offset agreed on, and the data.
fn immediate_message_data() -> Vec<u8> {
    let mut data = immediate_to_bytes(DATA_BYTES).to_vec();
    data.resize(usize::from(LINUX_IMM_DATA_OFFSET) - Cmd::MIN_BYTES, 0);
    data.resize(data.len() + DATA_BYTES as usize, 0x5a);
    data
}

impl FromStr for Job {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some(job) = Self::ALL.into_iter().find(|job| job.name() == text) else {
            bail!(
                "'{text}' is no job; accepted: {}",
                Self::ALL.map(Self::name).join(", ")
            );
        };
        Ok(job)
    }
}
