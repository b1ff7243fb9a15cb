//! What a channel counts, for the session views of the daemon.

/// Counters of one channel since its login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelCounters {
    /// SRP_CMD that came, refused ones included.
    pub commands: u64,
    /// SRP_TSK_MGMT that came.
    pub task_management: u64,
    /// SRP_RSP that were made.
    pub responses: u64,
    /// Commands whose Data-Out Buffer came as immediate data.
    pub immediate_writes: u64,
    /// Indirect tables of which a part was fetched from the initiator.
    pub tables_fetched: u64,
    /// Commands that were answered by the channel itself, since their descriptors or fields were
    /// wrong.
    pub refused_commands: u64,
    /// Commands that were answered BUSY, since there was no buffer for their indirect table.
    pub busy_commands: u64,
    /// Messages that ended the channel.
    pub protocol_errors: u64,
    /// SRP_CRED_REQ that were made.
    pub credit_requests: u64,
}
