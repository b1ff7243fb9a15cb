//! What a connection counts, for the session views of the daemon.

/// Counters of one connection since its login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// SCSI commands that came, refused ones included.
    pub commands: u64,
    /// Task management requests that came.
    pub task_management: u64,
    /// Commands whose Data-Out Buffer came whole with the command.
    pub immediate_writes: u64,
    /// Data-Out PDUs that came.
    pub data_out_pdus: u64,
    /// Commands that lost data on their way: damaged, or out of sequence.
    pub data_out_lost: u64,
    /// Data-In PDUs that were sent.
    pub data_in_pdus: u64,
    /// R2Ts that were sent.
    pub r2ts: u64,
    /// Commands whose status went with their last Data-In PDU.
    pub phase_collapses: u64,
    /// Requests that were ignored, since their CmdSN was outside the window.
    pub outside_window: u64,
    /// Commands that were answered by the connection itself.
    pub refused_commands: u64,
    /// Rejects that were sent.
    pub rejects: u64,
    /// Commands that waited for a buffer for their data.
    pub buffer_waits: u64,
    /// Those of them for which none came in time.
    pub buffer_timeouts: u64,
    /// Times when nothing more was read, since the initiator did not take its answers.
    pub unread: u64,
    /// Pings of the target.
    pub pings: u64,
    /// PDUs that ended the connection.
    pub protocol_errors: u64,
}
