//! A command and its buffers, as an SRP_CMD (SRP r16a 5.4.2, 6.8; immediate data from SRP-2).

use iobuf::RemoteSegment;
use target_core::lun::Lun;
use thiserror::Error;
use transport_srp::wire::Cmd;
use transport_srp::wire::cmd::{BufferFormat, TaskAttributeCode};
use transport_srp::wire::desc::{DIRECT_BYTES, IndirectDesc, direct_to_bytes, immediate_to_bytes};

use super::login::Granted;

/// A SCSI command to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// LOGICAL UNIT NUMBER.
    pub lun: Lun,
    /// TASK ATTRIBUTE.
    pub attribute: TaskAttributeCode,
    /// Command descriptor block; filled up with zeroes.
    pub cdb: &'a [u8],
    /// Data-Out Buffer.
    pub data_out: Buffer<'a>,
    /// Data-In Buffer; cannot be [`Buffer::Immediate`].
    pub data_in: Buffer<'a>,
}

/// How the target is told of a data buffer.
#[derive(Clone, Copy, Debug)]
pub enum Buffer<'a> {
    /// There is none.
    None,
    /// One piece of memory.
    Direct(RemoteSegment),
    /// Several pieces.
    Indirect {
        /// The pieces, in order.
        entries: &'a [RemoteSegment],
        /// How many of them, from the first on, are in the message; the rest is fetched from `table`.
        inline: usize,
        /// Where the whole table lies in memory that the target may read. When all entries are inline a target
        /// need not look there.
        table: RemoteSegment,
    },
    /// The bytes travel in the message.
    Immediate(&'a [u8]),
}

/// Why a command cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The message would be longer than the login, or the caller's buffer, allows.
    #[error("the command takes a message of {needed} bytes, {max} are allowed")]
    TooLong {
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that there are.
        max: usize,
    },
    /// The CDB is longer than the standard can say.
    #[error("a CDB of {0} bytes is longer than an SRP_CMD can carry")]
    CdbTooLong(usize),
    /// Immediate data was not agreed on, or is asked for in the wrong direction.
    #[error("immediate data was not agreed on at login")]
    NoImmediateData,
    /// The descriptors leave no room before the place that was agreed on for immediate data.
    #[error("descriptors end at byte {end}, behind byte {offset} where immediate data begins")]
    ImmediateOverlap {
        /// Where the descriptors end.
        end: usize,
        /// Where immediate data begins.
        offset: usize,
    },
    /// More inline entries than entries, or than a count field can say.
    #[error("{inline} inline entries of an indirect table of {entries}; at most 255 can be inline")]
    InlineCount {
        /// Inline entries.
        inline: usize,
        /// All entries.
        entries: usize,
    },
    /// The buffer is longer than 4 GiB.
    #[error("a data buffer of 4 GiB or more cannot be described")]
    BufferTooLong,
}

const NO_SEGMENT: RemoteSegment = RemoteSegment {
    address: 0,
    key: 0,
    length: 0,
};

impl Command<'_> {
    /// Writes the SRP_CMD and says how long it is.
    pub(super) fn emit(
        &self,
        tag: u64,
        granted: &Granted,
        out: &mut [u8],
    ) -> Result<usize, CommandError> {
        let max = out.len().min(granted.max_it_iu_len as usize);
        let out = out.get_mut(..max).unwrap_or_default();
        let mut message = Message { out, len: 0 };
        message.command(&Cmd {
            sol_not: 0,
            data_out_format: self.data_out.format(),
            data_in_format: self.data_in.format(),
            data_out_count: self.data_out.count()?,
            data_in_count: self.data_in.count()?,
            tag,
            lun: self.lun,
            task_attribute: self.attribute,
            cdb: self.cdb,
            data: &[],
        })?;
        self.data_out.describe(&mut message)?;
        if let Buffer::Immediate(_) = self.data_in {
            return Err(CommandError::NoImmediateData);
        }
        self.data_in.describe(&mut message)?;
        if let Buffer::Immediate(data) = self.data_out {
            message.immediate(granted.imm_data_offset, data)?;
        }
        Ok(message.len)
    }
}

impl Buffer<'_> {
    fn format(&self) -> BufferFormat {
        match self {
            Self::None => BufferFormat::NONE,
            Self::Direct(_) => BufferFormat::DIRECT,
            Self::Indirect { .. } => BufferFormat::INDIRECT,
            Self::Immediate(_) => BufferFormat::IMMEDIATE,
        }
    }

    fn count(&self) -> Result<u8, CommandError> {
        let Self::Indirect {
            entries, inline, ..
        } = *self
        else {
            return Ok(0);
        };
        let count = u8::try_from(inline)
            .ok()
            .filter(|_| inline <= entries.len());
        count.ok_or(CommandError::InlineCount {
            inline,
            entries: entries.len(),
        })
    }

    /// Appends the data buffer descriptor.
    fn describe(&self, message: &mut Message<'_>) -> Result<(), CommandError> {
        match *self {
            Self::None => Ok(()),
            Self::Direct(segment) => message.put(&direct_to_bytes(segment)),
            Self::Immediate(data) => {
                let len = u32::try_from(data.len()).map_err(|_| CommandError::BufferTooLong)?;
                message.put(&immediate_to_bytes(len))
            }
            Self::Indirect {
                entries,
                inline,
                table,
            } => message.indirect(entries, inline, table),
        }
    }
}

/// A message that grows; `out` is all the room that there is.
struct Message<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Message<'_> {
    fn command(&mut self, cmd: &Cmd<'_>) -> Result<(), CommandError> {
        let padded = cmd.cdb.len().next_multiple_of(4).max(16);
        let max = self.out.len();
        let needed = Cmd::MIN_BYTES - 16 + padded;
        if needed <= max {
            self.len = cmd
                .emit(self.out)
                .ok_or(CommandError::CdbTooLong(cmd.cdb.len()))?;
            return Ok(());
        }
        Err(CommandError::TooLong { needed, max })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        let needed = self.len + bytes.len();
        let max = self.out.len();
        let room = self.out.get_mut(self.len..needed);
        room.ok_or(CommandError::TooLong { needed, max })?
            .copy_from_slice(bytes);
        self.len = needed;
        Ok(())
    }

    fn indirect(
        &mut self,
        entries: &[RemoteSegment],
        inline: usize,
        table: RemoteSegment,
    ) -> Result<(), CommandError> {
        let total = entries
            .iter()
            .map(|entry| u64::from(entry.length))
            .sum::<u64>();
        let total_len = u32::try_from(total).map_err(|_| CommandError::BufferTooLong)?;
        let table_len = u32::try_from(entries.len() * DIRECT_BYTES);
        let descriptor = IndirectDesc {
            table: RemoteSegment {
                length: table_len.map_err(|_| CommandError::BufferTooLong)?,
                ..table
            },
            total_len,
            partial_list: &[],
        };
        let mut fixed = [0; transport_srp::wire::desc::INDIRECT_MIN_BYTES];
        if descriptor.emit(&mut fixed).is_some() {
            self.put(&fixed)?;
        }
        for entry in entries.iter().take(inline) {
            self.put(&direct_to_bytes(*entry))?;
        }
        Ok(())
    }

    fn immediate(&mut self, offset: Option<u16>, data: &[u8]) -> Result<(), CommandError> {
        let offset = offset.ok_or(CommandError::NoImmediateData)?.into();
        let end = self.len;
        let Some(padding) = self.out.get_mut(end..offset) else {
            return Err(CommandError::ImmediateOverlap { end, offset });
        };
        padding.fill(0);
        self.len = offset;
        self.put(data)
    }
}

impl<'a> Buffer<'a> {
    /// A whole table in the message; it lies nowhere else.
    pub fn inline(entries: &'a [RemoteSegment]) -> Self {
        Self::Indirect {
            entries,
            inline: entries.len(),
            table: NO_SEGMENT,
        }
    }
}
