//! Connection management on queue pair 1 (IBTA chapter 12), as Linux `ib_cm` and `rdma_cm` speak it.
//!
//! Active: REQ, wait for REP, make the queue pair ready, RTU. Passive: REQ, ask the consumer, make the queue pair
//! ready, REP, wait for RTU or for the first packet on the queue pair. Either: DREQ, DREP, time-wait. Alternate
//! paths (LAP) and service id resolution (SIDR) are refused.
//!
//! A stranger's datagram costs at most one half-open connection, and those are bounded; every other answer is
//! stateless, no longer than the question, and leaves through a bounded queue.

mod arrivals;
mod calls;
mod connection;
mod message;
mod private_data;
mod raw;
mod table;

use thiserror::Error;

pub(crate) use calls::ConnectionManager;
pub use connection::ConnectionId;
pub use message::{Answered, Ids, MAD_LEN, Mad, MadError, Message, Rej, RejectReason, Rep, Req};
pub use private_data::{
    PrivateData, RDMA_CM_HEADER_LEN, REJ_PRIVATE_DATA_LEN, REP_PRIVATE_DATA_LEN,
    REQ_PRIVATE_DATA_LEN, RdmaCmHeader, gid, tcp_service_id,
};

use crate::qp::{Path, PathMtu, RtrAttributes, RtsAttributes};
use crate::work::QueuePairNumber;

/// How connections are made.
#[derive(Clone, Copy, Debug)]
pub struct CmConfig {
    /// Node GUID, different for every node: EUI-64 of the interface as Linux derives it, or configured.
    pub ca_guid: u64,
    /// Largest path MTU that the interface carries.
    pub max_mtu: PathMtu,
    /// Exponent of the time after which a message is repeated.
    pub response_timeout: u8,
    /// How often a message is repeated, at most 15.
    pub max_retries: u8,
    /// Exponent of the local acknowledge timeout that this side's queue pairs begin with; it doubles with every retry.
    /// The peer is asked to use that of Linux, 537 ms.
    pub ack_timeout: u8,
    /// Retries of new connections, at most 7.
    pub retry_count: u8,
    /// RNR retries that the peer should make, 7 for ever.
    pub rnr_retry: u8,
    /// Code of the wait that RNR NAKs ask for.
    pub min_rnr_timer: u8,
    /// Connections at a time.
    pub max_connections: usize,
    /// Connections at a time that a peer has asked for and not confirmed.
    pub max_half_open: usize,
}

impl Default for CmConfig {
    fn default() -> Self {
        Self {
            ca_guid: 1,
            max_mtu: PathMtu::Mtu1024,
            response_timeout: 17,
            max_retries: 15,
            ack_timeout: 14,
            retry_count: 7,
            rnr_retry: 7,
            min_rnr_timer: 12,
            max_connections: 4096,
            max_half_open: 128,
        }
    }
}

/// A peer wants to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// For the answer.
    pub connection: ConnectionId,
    /// Which listener.
    pub service_id: u64,
    /// Between which addresses.
    pub path: Path,
    /// Who, in RDMA-CM's words; `None` when the private data does not begin with its header.
    pub rdma_cm: Option<RdmaCmHeader>,
    /// The peer's node GUID, self-declared.
    pub ca_guid: u64,
    /// RDMA READs at a time that the peer will issue.
    pub responder_resources: u8,
    /// RDMA READs at a time that the peer will answer.
    pub initiator_depth: u8,
    /// The consumer's part of the private data.
    pub private_data: PrivateData,
}

/// Something that the consumer should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "rare, and moved once")]
pub enum Event {
    /// A peer wants to connect: accept or reject.
    ConnectRequest(ConnectRequest),
    /// The connection stands, and the queue pair is ready.
    Connected {
        /// Which.
        connection: ConnectionId,
        /// Its queue pair.
        qp: QueuePairNumber,
        /// RDMA READs at a time that the peer answers.
        initiator_depth: u8,
        /// From the REP or RTU.
        private_data: PrivateData,
    },
    /// The peer refused.
    Rejected {
        /// Which.
        connection: ConnectionId,
        /// Its queue pair, when it had one.
        qp: Option<QueuePairNumber>,
        /// Why.
        reason: RejectReason,
        /// The consumer's words.
        private_data: PrivateData,
    },
    /// The peer does not answer, or the consumer did not decide in time.
    Unreachable {
        /// Which.
        connection: ConnectionId,
        /// Its queue pair, when it had one.
        qp: Option<QueuePairNumber>,
    },
    /// The connection is over; its queue pair is in the error state.
    Disconnected {
        /// Which.
        connection: ConnectionId,
        /// Its queue pair.
        qp: Option<QueuePairNumber>,
    },
    /// A queue pair failed on its own. Its connection still stands, and should be ended.
    QueuePairError(QueuePairNumber),
    /// Nothing of a draining send queue is on its way any more.
    SendQueueDrained(QueuePairNumber),
}

/// Why a connection management call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CmError {
    /// Unknown, or over.
    #[error("no connection of that id")]
    Unknown,
    /// Not now.
    #[error("the connection is not waiting for that call")]
    Phase,
    /// Too many connections.
    #[error("as many connections as are allowed exist already")]
    Full,
    /// More than the message has room for.
    #[error("{got} bytes of private data, at most {limit}")]
    PrivateData {
        /// Bytes.
        got: usize,
        /// Room.
        limit: usize,
    },
    /// The queue pair is not fresh.
    #[error("the queue pair does not exist or has been connected before")]
    QueuePair,
}

/// What a caller wants of a new connection.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    /// Between which addresses.
    pub path: Path,
    /// Who should answer, see [`tcp_service_id`].
    pub service_id: u64,
    /// The source port that RDMA-CM shows; `None` leaves its header out.
    pub rdma_cm_port: Option<u16>,
    /// Largest payload per packet.
    pub path_mtu: PathMtu,
    /// RDMA READs at a time that this side answers.
    pub responder_resources: u8,
    /// RDMA READs at a time that this side issues.
    pub initiator_depth: u8,
    /// For the peer's consumer: 56 bytes with the RDMA-CM header, 92 without.
    pub private_data: &'a [u8],
}

/// What a listener grants.
#[derive(Clone, Copy, Debug)]
pub struct Accept<'a> {
    /// RDMA READs at a time that this side answers.
    pub responder_resources: u8,
    /// RDMA READs at a time that this side issues.
    pub initiator_depth: u8,
    /// For the peer's consumer, up to 196 bytes.
    pub private_data: &'a [u8],
}

/// What the node has to do to queue pairs.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "rare, and moved once")]
pub(crate) enum Step {
    /// To RTR and RTS.
    MakeReady(QueuePairNumber, RtrAttributes, RtsAttributes),
    /// To the error state.
    Fail(QueuePairNumber),
    /// Tell the consumer.
    Tell(Event),
}

/// A MAD on its way out.
#[derive(Debug)]
pub(crate) struct OutgoingMad {
    pub(crate) path: Path,
    pub(crate) mad: [u8; MAD_LEN],
}
