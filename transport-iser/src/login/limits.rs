//! What this end offers.

use super::negotiated::TaskReporting;

/// What carries the PDUs (RFC 5047): which keys have a meaning depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datamover {
    /// Bytes in a stream.
    Tcp,
    /// iSER: RDMA.
    Iser,
}

/// The values of this end in every negotiation. The standard's ranges hold for them (RFC 7143 clause 13); FirstBurstLength is not
/// above MaxBurstLength. MaxConnections is 1 and ErrorRecoveryLevel 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginLimits {
    /// What carries the connection.
    pub datamover: Datamover,
    /// The longest data segment in bytes that this end takes: MaxRecvDataSegmentLength, and on iSER
    /// TargetRecvDataSegmentLength for a target and InitiatorRecvDataSegmentLength for an initiator; 8192 to 2^24 - 1.
    pub max_recv_data_segment_length: u32,
    /// On iSER the longest data segment in bytes that this end cares to send; 8192 to 2^24 - 1.
    pub max_xmit_data_segment_length: u32,
    /// Whether this end can do CRC32C over headers; never on iSER.
    pub header_digest: bool,
    /// Whether this end can do CRC32C over data; never on iSER.
    pub data_digest: bool,
    /// Whether this end needs an R2T before any data.
    pub initial_r2t: bool,
    /// Whether this end takes or sends data with a command.
    pub immediate_data: bool,
    /// In bytes; 512 to 2^24 - 1.
    pub max_burst_length: u32,
    /// In bytes; 512 to 2^24 - 1.
    pub first_burst_length: u32,
    /// 1 to 65535.
    pub max_outstanding_r2t: u16,
    /// In seconds; at most 3600.
    pub default_time2wait: u16,
    /// In seconds; at most 3600.
    pub default_time2retain: u16,
    /// Whether this end needs the PDUs of a sequence in order.
    pub data_pdu_in_order: bool,
    /// Whether this end needs the sequences in order.
    pub data_sequence_in_order: bool,
    /// iSER: unexpected control PDUs that this end can take at once; 0 says nothing, else at least 2.
    pub max_outstanding_unexpected_pdus: u32,
    /// iSCSIProtocolLevel (RFC 7144); 1 is RFC 7143, 2 adds RFC 7144.
    pub protocol_level: u8,
    /// The farthest TaskReporting; those before it are taken too.
    pub task_reporting: TaskReporting,
}

impl LoginLimits {
    /// The usual values.
    pub fn new(datamover: Datamover) -> Self {
        Self {
            datamover,
            max_recv_data_segment_length: match datamover {
                Datamover::Tcp => 262_144,
                Datamover::Iser => 8192,
            },
            max_xmit_data_segment_length: 8192,
            header_digest: datamover == Datamover::Tcp,
            data_digest: datamover == Datamover::Tcp,
            initial_r2t: false,
            immediate_data: true,
            max_burst_length: 1_048_576,
            first_burst_length: 262_144,
            max_outstanding_r2t: 8,
            default_time2wait: 2,
            default_time2retain: 0,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            max_outstanding_unexpected_pdus: 0,
            protocol_level: 1,
            task_reporting: TaskReporting::Rfc3720,
        }
    }
}
