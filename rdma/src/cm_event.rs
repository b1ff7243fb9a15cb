//! What the connection manager tells and is told: plain data.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::address::PathAddress;
use crate::connection::Connection;

/// Names a connection or a listener in the events of its channel. Never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u64);

impl ConnectionId {
    pub(crate) fn next() -> Self {
        /// All channels of the process draw from here.
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// An event of the connection manager. `errno` is a positive number of the C library.
#[derive(Debug)]
pub enum CmEvent {
    /// A peer wants to connect: accept or reject it. Dropping it refuses without private data.
    ConnectRequest(Box<ConnectRequest>),
    /// [`Connection::resolve`] has found the device; next is [`Connection::resolve_route`].
    AddressResolved(ConnectionId),
    /// The route is known; next is [`Connection::connect`].
    RouteResolved(ConnectionId),
    /// Address or route could not be resolved.
    ResolveFailed {
        /// Whose.
        id: ConnectionId,
        /// Why.
        errno: i32,
    },
    /// The peer accepted; next is [`Connection::establish`].
    Accepted {
        /// Whose.
        id: ConnectionId,
        /// The peer's words, bounded by the CM (196 bytes) and often padded with zeros.
        private_data: Vec<u8>,
        /// RDMA READs that may be outstanding towards the peer.
        initiator_depth: u8,
        /// RDMA READs that the peer may have outstanding.
        responder_resources: u8,
    },
    /// The peer knows that it was accepted. Its first message may have come before this.
    Established(ConnectionId),
    /// The peer refused.
    Rejected {
        /// Whose.
        id: ConnectionId,
        /// The CM's reason; 28 is "refused by the program", 8 "nobody listens".
        reason: i32,
        /// The peer's words.
        private_data: Vec<u8>,
    },
    /// The connection could not be made.
    ConnectFailed {
        /// Whose.
        id: ConnectionId,
        /// Why.
        errno: i32,
    },
    /// The peer does not answer.
    Unreachable {
        /// Whose.
        id: ConnectionId,
        /// Why.
        errno: i32,
    },
    /// The peer has disconnected, or the answer to our own disconnect came. A peer that disconnects waits
    /// for an answer: [`Connection::disconnect`], or dropping the connection.
    Disconnected(ConnectionId),
    /// No packet of the old connection can come any more.
    TimewaitExit(ConnectionId),
    /// The device under this connection or listener goes away: drop it.
    DeviceRemoval(ConnectionId),
    /// The network device's address changed under this connection.
    AddressChanged(ConnectionId),
}

/// A request to connect.
#[derive(Debug)]
pub struct ConnectRequest {
    /// The new connection, on which to accept or reject. It knows the device, the port and both addresses.
    pub connection: Connection,
    /// Who was listening.
    pub listener: ConnectionId,
    /// The peer's words: 56 bytes over RDMA-CM/IP and 92 natively, padded with zeros. At most 255.
    pub private_data: Vec<u8>,
    /// RDMA READs that the peer may serve to us at once: the most for [`AcceptParameters::initiator_depth`].
    pub initiator_depth: u8,
    /// RDMA READs that the peer wants to have outstanding: the most for
    /// [`AcceptParameters::responder_resources`].
    pub responder_resources: u8,
}

impl ConnectRequest {
    /// The peer.
    pub fn peer(&self) -> PathAddress {
        self.connection.peer()
    }

    /// Our end.
    pub fn local(&self) -> PathAddress {
        self.connection.local()
    }
}

/// How to accept.
#[derive(Clone, Copy, Debug)]
pub struct AcceptParameters<'a> {
    /// What the peer is told; at most 196 bytes.
    pub private_data: &'a [u8],
    /// RDMA READs that the peer may have outstanding.
    pub responder_resources: u8,
    /// RDMA READs that we may have outstanding.
    pub initiator_depth: u8,
    /// How often to retry when the peer has no receive posted; 7 is for ever.
    pub rnr_retry_count: u8,
}

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub struct ConnectParameters<'a> {
    /// What the peer is told; at most 56 bytes over IP.
    pub private_data: &'a [u8],
    /// RDMA READs that the peer may have outstanding.
    pub responder_resources: u8,
    /// RDMA READs that we may have outstanding.
    pub initiator_depth: u8,
    /// How often to retry when the peer does not answer; at most 7.
    pub retry_count: u8,
    /// How often to retry when the peer has no receive posted; 7 is for ever.
    pub rnr_retry_count: u8,
}
