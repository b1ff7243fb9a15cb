//! What the core counts, so that a leak or a stuck task shows from outside.

/// The state of a [`crate::target::Target`] now, and totals since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands in the task table. Zero when nothing runs: anything else is a leak.
    pub tasks: u32,
    /// Of these, how many wait for their turn behind an ORDERED or HEAD OF QUEUE command.
    pub dormant: u32,
    /// Of these, how many wait for a data buffer.
    pub waiting_for_buffer: u32,
    /// Of these, how many wait for an orphaned write to the same blocks.
    pub waiting_for_orphan: u32,
    /// Of these, how many wait for data from the initiator.
    pub pulling: u32,
    /// Of these, how many have an operation in the back end.
    pub in_backend: u32,
    /// Of these, how many have nobody left who waits for their outcome; a flush with IMMED is one, too.
    pub orphaned: u32,
    /// Task management requests that wait for tasks to stop.
    pub task_management_pending: u32,
    /// I_T nexuses.
    pub nexuses: u32,
    /// Logical units, removed ones with running tasks included.
    pub logical_units: u32,
    /// Since the target began.
    pub totals: Totals,
}

/// Events since the target began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Commands that came in.
    pub commands: u64,
    /// Commands that were answered with a status.
    pub answered: u64,
    /// Commands aborted by task management.
    pub aborted: u64,
    /// Commands whose connection or nexus went away before they were answered.
    pub abandoned: u64,
    /// Commands refused with TASK SET FULL.
    pub task_set_full: u64,
    /// Commands that had to wait for a data buffer.
    pub buffer_waits: u64,
    /// Commands that had to wait for an orphaned write.
    pub orphan_waits: u64,
    /// Unit attentions reported with CHECK CONDITION.
    pub unit_attentions: u64,
    /// ABORT TASK requests.
    pub abort_task: u64,
    /// ABORT TASK SET requests.
    pub abort_task_set: u64,
    /// CLEAR TASK SET requests.
    pub clear_task_set: u64,
    /// LOGICAL UNIT RESET requests.
    pub logical_unit_reset: u64,
    /// TARGET WARM RESET and TARGET COLD RESET requests.
    pub target_reset: u64,
    /// CLEAR ACA requests.
    pub clear_aca: u64,
    /// Task management requests with a function that is not supported.
    pub task_management_rejected: u64,
}

/// What one nexus did with one logical unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LunCounters {
    /// READ commands that ended with GOOD.
    pub reads: u64,
    /// WRITE commands that ended with GOOD.
    pub writes: u64,
    /// Other commands that ended with GOOD.
    pub other: u64,
    /// Bytes given to READ commands.
    pub read_bytes: u64,
    /// Bytes taken from WRITE commands.
    pub write_bytes: u64,
    /// Commands that ended with any other status.
    pub errors: u64,
}
