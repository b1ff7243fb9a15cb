//! What a login has come to.

use super::Identity;

/// HeaderDigest and DataDigest (RFC 7143 13.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Digest {
    /// No digest.
    #[default]
    None,
    /// CRC32C, four bytes.
    Crc32c,
}

/// TaskReporting (RFC 7143 13.23): when responses to aborted tasks may go. Later ones build on earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskReporting {
    /// As the first standard had it.
    #[default]
    Rfc3720,
    /// Responses are fenced (RFC 7143 4.2.3.3).
    ResponseFence,
    /// Aborted tasks are quiesced without waiting for the initiator (RFC 7143 4.2.3.4).
    FastAbort,
}

/// The values that hold in the full feature phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Who logged in.
    pub identity: Identity,
    /// The session's TSIH.
    pub tsih: u16,
    /// The longest data segment in bytes that may come. On iSER it is TargetRecvDataSegmentLength for a target.
    pub max_recv_data_segment_length: u32,
    /// The longest data segment in bytes that may be sent. On iSER it is InitiatorRecvDataSegmentLength for a target.
    pub max_xmit_data_segment_length: u32,
    /// HeaderDigest.
    pub header_digest: Digest,
    /// DataDigest.
    pub data_digest: Digest,
    /// InitialR2T: no unsolicited Data-Out PDUs.
    pub initial_r2t: bool,
    /// ImmediateData: commands may carry data.
    pub immediate_data: bool,
    /// MaxBurstLength in bytes.
    pub max_burst_length: u32,
    /// FirstBurstLength in bytes; not above MaxBurstLength.
    pub first_burst_length: u32,
    /// MaxOutstandingR2T.
    pub max_outstanding_r2t: u16,
    /// DefaultTime2Wait in seconds.
    pub default_time2wait: u16,
    /// DefaultTime2Retain in seconds.
    pub default_time2retain: u16,
    /// DataPDUInOrder.
    pub data_pdu_in_order: bool,
    /// DataSequenceInOrder.
    pub data_sequence_in_order: bool,
    /// ErrorRecoveryLevel; always 0 here.
    pub error_recovery_level: u8,
    /// iSCSIProtocolLevel.
    pub protocol_level: u8,
    /// TaskReporting.
    pub task_reporting: TaskReporting,
    /// What RFC 7145 adds; `None` unless RDMAExtensions=Yes was negotiated.
    pub rdma: Option<RdmaValues>,
}

/// The values of RFC 7145.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RdmaValues {
    /// InitiatorRecvDataSegmentLength in bytes.
    pub initiator_recv_data_segment_length: u32,
    /// TargetRecvDataSegmentLength in bytes.
    pub target_recv_data_segment_length: u32,
    /// MaxOutstandingUnexpectedPDUs that the peer declared; 0: it said nothing.
    pub max_outstanding_unexpected_pdus: u32,
    /// MaxAHSLength in bytes that the peer declared; 0: no limit.
    pub max_ahs_length: u32,
    /// TaggedBufferForSolicitedDataOnly that the initiator declared.
    pub tagged_buffer_for_solicited_data_only: bool,
    /// iSERHelloRequired that the initiator declared.
    pub iser_hello_required: bool,
}
