//! The initiator's end of an I_T nexus, whatever carries it: transport protocol services (SAM-5 5.4, 7.12), and the
//! commands that most users need on top of them.
//!
//! Room: what every transport's session can do, so that who measures, tests or demonstrates names no transport. A
//! session has *slots*: each has a place for one outstanding command and the memory for its data.

use std::time::Duration;

use target_core::lun::Lun;

use crate::{Answer, Data, ExecuteError};

/// Which way the data of a command goes, and how much of the slot's memory it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotData {
    /// No data.
    None,
    /// To the initiator, this many bytes.
    In(usize),
    /// From the initiator, this many bytes.
    Out(usize),
}

/// A command that is sent from a slot.
#[derive(Clone, Copy, Debug)]
pub struct SlotCommand<'a> {
    /// LOGICAL UNIT NUMBER.
    pub lun: Lun,
    /// Command descriptor block.
    pub cdb: &'a [u8],
    /// Its data.
    pub data: SlotData,
}

/// How a slot's command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The target answered.
    Answered(Answer),
    /// Task management of this session ended it; there is no answer.
    Aborted,
    /// The connection broke; whether the command was carried out is not known.
    Lost,
    /// Its time is over, and it is still outstanding.
    Overdue,
}

/// A task management function (SAM-5 clause 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskManagement {
    /// ABORT TASK, of the command in this slot.
    AbortTask(usize),
    /// ABORT TASK SET.
    AbortTaskSet(Lun),
    /// LOGICAL UNIT RESET.
    LogicalUnitReset(Lun),
}

/// What the target says to a task management function (SAM-5 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceResponse {
    /// FUNCTION COMPLETE.
    FunctionComplete,
    /// The command had been answered before it could be aborted; nothing was sent.
    AlreadyEnded,
    /// Another response, in the transport's words.
    Other(String),
}

/// A session that is logged in. It belongs to the thread that made it, and ends when it is dropped; [`Nexus::log_out`] says
/// goodbye first.
pub trait Nexus {
    /// Makes `count` slots with memory for `len` bytes each; what there were before are gone. None may be in use.
    ///
    /// # Errors
    /// The session has not that much memory for data.
    fn set_slots(&mut self, count: usize, len: usize) -> Result<(), ExecuteError>;

    /// Copies `from` to the beginning of the slot's memory. Returns false, and copies nothing, when it is shorter, or
    /// the slot is in use.
    #[must_use]
    fn write_slot(&mut self, slot: usize, from: &[u8]) -> bool;

    /// Copies the beginning of the slot's memory. Returns false, and copies nothing, when it is shorter, or the slot
    /// is in use.
    #[must_use]
    fn read_slot(&mut self, slot: usize, into: &mut [u8]) -> bool;

    /// True when the target takes one more command now.
    fn has_room(&self) -> bool;

    /// Commands that may be outstanding at a time, by what the target granted and this side wants.
    fn most_outstanding(&self) -> usize;

    /// Send SCSI Command: from a slot that is not in use. [`Nexus::next_ended`] says how it ended.
    ///
    /// # Errors
    /// Nothing is sent.
    fn send(&mut self, slot: usize, command: &SlotCommand<'_>) -> Result<(), ExecuteError>;

    /// Command Complete Received: the next slot whose command has ended; `None` when none did within `timeout`.
    ///
    /// # Errors
    /// The session is over.
    fn next_ended(&mut self, timeout: Duration) -> Result<Option<(usize, Ended)>, ExecuteError>;

    /// Sends a task management request and waits for its answer. What it ends comes out of [`Nexus::next_ended`].
    ///
    /// # Errors
    /// There is no answer.
    fn manage(&mut self, function: TaskManagement) -> Result<ServiceResponse, ExecuteError>;

    /// Sends a command that takes no slot and waits for its answer, whatever its status. A command that takes too
    /// long is aborted.
    ///
    /// # Errors
    /// There is no answer.
    fn execute(&mut self, lun: Lun, cdb: &[u8], data: Data<'_>) -> Result<Answer, ExecuteError>;

    /// Says goodbye, and waits a moment until the target has heard it.
    fn log_out(self: Box<Self>);
}
