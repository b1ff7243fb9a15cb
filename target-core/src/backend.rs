//! What a medium is to the SCSI core: five operations on bytes, and errors that keep their cause.

use std::fmt;

use iobuf::Buf;

/// A command in the target's task table; `generation` tells a slot's users apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskId {
    /// Slot in the table.
    pub index: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

/// A medium as the worker's back end knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MediumId(pub u32);

/// One operation on a medium. Offsets and lengths are in bytes and multiples of the logical block length.
#[derive(Debug)]
pub enum BlockOperation {
    /// Fill all of `buf` from `offset`.
    Read {
        /// First byte.
        offset: u64,
        /// Where to.
        buf: Buf,
    },
    /// Write all of `buf` to `offset`.
    Write {
        /// First byte.
        offset: u64,
        /// What.
        buf: Buf,
        /// The data is on stable storage before the completion (FUA, or a write-through logical unit).
        durable: bool,
    },
    /// Everything written and completed so far is on stable storage before the completion.
    Flush,
    /// The range need not be kept; it reads as zeroes afterwards on a medium that says so, as before on one that
    /// cannot unmap, and else as anything until it is written.
    Unmap {
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// The range reads as zeroes afterwards.
    WriteZeroes {
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
        /// As for [`BlockOperation::Write`].
        durable: bool,
        /// The space may be given back.
        unmap: bool,
    },
}

/// An operation for a task.
#[derive(Debug)]
pub struct BlockRequest {
    /// Whose it is; comes back in the completion.
    pub task: TaskId,
    /// Where.
    pub medium: MediumId,
    /// What.
    pub operation: BlockOperation,
}

/// What came of a [`BlockRequest`].
#[derive(Debug)]
pub struct BlockCompletion {
    /// Whose it was.
    pub task: TaskId,
    /// The buffer of a read or write comes back, whatever the result.
    pub buf: Option<Buf>,
    /// Whole operation done, or why not.
    pub result: Result<(), BlockError>,
}

/// Why a medium could not do an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockErrorKind {
    /// No space is left where the medium is kept (ENOSPC, EDQUOT).
    NoSpace,
    /// The medium failed (EIO, EBADMSG, EILSEQ and the like).
    Medium,
    /// The medium ends before the range: the file or device shrank.
    Shrunk,
    /// The medium is not there any more (ENODEV, ENXIO, ENOTCONN, ESHUTDOWN).
    Gone,
    /// The medium does not take writes (EROFS, EPERM, EACCES).
    ReadOnly,
    /// The medium cannot do this operation (EOPNOTSUPP).
    Unsupported,
    /// The operation was cancelled (ECANCELED): what lies before `offset` is done, the rest may or may not be.
    Cancelled,
    /// Memory or queue space is short (ENOMEM, EAGAIN, EBUSY): the initiator may try again.
    Busy,
    /// The medium took too long (ETIMEDOUT).
    TimedOut,
    /// Anything else.
    Other,
}

/// A failed operation: kind, place and errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockError {
    /// Kind, which decides the sense data.
    pub kind: BlockErrorKind,
    /// First byte on the medium that is not known to be done.
    pub offset: u64,
    /// errno as the kernel gave it, or 0 when the back end found the fault itself.
    pub errno: i32,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} at byte {} (errno {})",
            self.kind, self.offset, self.errno
        )
    }
}

/// All media of one worker.
pub trait Backend {
    /// Takes a request; its completion comes out of [`Backend::poll`], once, in any order.
    fn submit(&mut self, request: BlockRequest);

    /// The next completion, or `None` when there is none now.
    fn poll(&mut self) -> Option<BlockCompletion>;

    /// Asks for the task's operation to be cancelled. Its completion still comes, cancelled or done.
    fn cancel(&mut self, task: TaskId);
}
