//! A command as a transport delivers it, and its outcome (SAM-5 5.1, "Execute Command").

use std::cmp::Ordering;

use iobuf::Buf;

use crate::lun::Lun;
use crate::sense::Sense;
use crate::status::Status;

/// One connection of a transport, as the driver numbers them. A nexus may have several (SRP multi-channel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelId(pub u32);

/// A channel's own number for a command; comes back with everything that concerns the command.
///
/// The low half is a place that no other running exchange of the channel has, counted from 0 and bounded by its request
/// limit, so that a table can be kept beside the channel. The high half tells users of a place apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExchangeId(pub u32);

impl ExchangeId {
    /// The place, as an index.
    pub fn place(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

/// TASK ATTRIBUTE (SAM-5 8.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's own words")]
pub enum TaskAttribute {
    Simple,
    HeadOfQueue,
    Ordered,
    Aca,
}

/// The longest CDB in bytes that is kept. No command of this target is longer than 32; a longer one is refused
/// by its operation code, so its tail is never needed.
pub const CDB_BYTES: usize = 32;

/// A command descriptor block, cut to the bytes that came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CdbBytes {
    bytes: [u8; CDB_BYTES],
    len: u8,
}

impl CdbBytes {
    /// Keeps the first [`CDB_BYTES`] of `cdb`.
    #[inline]
    pub fn new(cdb: &[u8]) -> Self {
        let len = cdb.len().min(CDB_BYTES);
        let mut bytes = [0; CDB_BYTES];
        match cdb[..len].split_first_chunk::<16>() {
            // Nearly all initiators send 16 bytes: a copy of known length, and no rest.
            Some((first, rest)) => {
                bytes[..16].copy_from_slice(first);
                if !rest.is_empty() {
                    bytes[16..len].copy_from_slice(rest);
                }
            }
            None => bytes[..len].copy_from_slice(&cdb[..len]),
        }
        Self {
            bytes,
            len: len as u8,
        }
    }

    /// How many bytes came.
    pub fn len(&self) -> u8 {
        self.len
    }

    /// True when none came.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that came, with zeroes after them.
    pub fn padded(&self) -> &[u8; CDB_BYTES] {
        &self.bytes
    }

    /// The bytes that came.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for CdbBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x?}", self.as_slice())
    }
}

/// A SCSI command on its way in.
#[derive(Debug)]
pub struct Command {
    /// Where it came from.
    pub channel: ChannelId,
    /// The channel's number for it.
    pub exchange: ExchangeId,
    /// The initiator's command identifier, which task management names (SRP TAG, iSCSI Initiator Task Tag).
    pub tag: u64,
    /// Which logical unit it is for.
    pub lun: Lun,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Command descriptor block.
    pub cdb: CdbBytes,
    /// Bytes of the initiator's Data-In Buffer.
    pub data_in_len: u32,
    /// Bytes of the initiator's Data-Out Buffer.
    pub data_out_len: u32,
    /// The first bytes of the Data-Out Buffer, when they came with the command (SRP immediate data, iSCSI
    /// immediate data). Never longer than `data_out_len`.
    pub immediate: Option<Buf>,
}

/// By how much the initiator's buffer and the data did not fit (SRP DIOVER/DIUNDER/DOOVER/DOUNDER, iSCSI O and U).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residual {
    /// The buffer was used exactly.
    #[default]
    None,
    /// Bytes of the buffer that were not used.
    Underflow(u32),
    /// Bytes that had no room in the buffer.
    Overflow(u32),
}

impl Residual {
    /// Of a buffer of `buffer_len` bytes and a command that had `len` bytes to transfer.
    #[inline]
    pub fn of(buffer_len: u32, len: u32) -> Self {
        match len.cmp(&buffer_len) {
            Ordering::Less => Residual::Underflow(buffer_len - len),
            Ordering::Equal => Residual::None,
            Ordering::Greater => Residual::Overflow(len - buffer_len),
        }
    }
}

/// What a finished command tells its initiator.
#[derive(Debug)]
pub struct Outcome {
    /// Status byte.
    pub status: Status,
    /// Sense data, always there with CHECK CONDITION.
    pub sense: Option<Sense>,
    /// What goes to the Data-In Buffer; never longer than `data_in_len` of the command.
    pub data_in: Option<Buf>,
    /// Residual of the Data-In Buffer.
    pub data_in_residual: Residual,
    /// Residual of the Data-Out Buffer.
    pub data_out_residual: Residual,
}

/// FUNCTION of a task management request (SAM-5 clause 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskManagementFunction {
    /// ABORT TASK: the command with this tag on this nexus and logical unit.
    AbortTask {
        /// The command's tag.
        tag: u64,
    },
    /// ABORT TASK SET: all commands of this nexus on the logical unit.
    AbortTaskSet,
    /// CLEAR TASK SET: all commands on the logical unit.
    ClearTaskSet,
    /// LOGICAL UNIT RESET.
    LogicalUnitReset,
    /// TARGET WARM RESET (RFC 7143 11.5.1), which is SAM-2's TARGET RESET: a reset of every logical unit that this nexus
    /// has. Its LUN field says nothing.
    TargetWarmReset,
    /// TARGET COLD RESET (RFC 7143 11.5.1): the same as a power on, after which no session of this transport is left. Only for
    /// a nexus that has every logical unit that any of those sessions has.
    TargetColdReset,
    /// CLEAR ACA; there never is one (NORMACA = 0), so it has nothing to do.
    ClearAca,
    /// A code that the transport knows to be none of these.
    Unknown(u8),
}

/// A task management request on its way in.
#[derive(Clone, Copy, Debug)]
pub struct TaskManagement {
    /// Where it came from.
    pub channel: ChannelId,
    /// The channel's number for it.
    pub exchange: ExchangeId,
    /// Which logical unit it is for.
    pub lun: Lun,
    /// What to do.
    pub function: TaskManagementFunction,
}

/// Service response of a task management request (SAM-5 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskManagementResponse {
    /// FUNCTION COMPLETE; also for an ABORT TASK whose command has already ended.
    FunctionComplete,
    /// FUNCTION REJECTED: not supported.
    FunctionRejected,
    /// INCORRECT LOGICAL UNIT NUMBER.
    IncorrectLogicalUnitNumber,
    /// Function authorization failed (RFC 7143 11.6.1): it would end what is not this nexus's to end.
    FunctionAuthorizationFailed,
}
