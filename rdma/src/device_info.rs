//! What a device is: plain data.

use crate::address::Gid;
use crate::completion::QueuePairNumber;

/// A device and its ports as they were when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Name, such as `mlx5_0` or `rxe0`.
    pub name: String,
    /// GUID of the node, which is not that of any port.
    pub node_guid: u64,
    /// What the device can hold.
    pub limits: DeviceLimits,
    /// Its ports, from number 1 on.
    pub ports: Vec<PortInfo>,
}

impl DeviceInfo {
    /// The port of this number.
    pub fn port(&self, number: u8) -> Option<&PortInfo> {
        self.ports.iter().find(|port| port.number == number)
    }
}

/// The most that a device takes of each thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceLimits {
    /// Queue pairs.
    pub queue_pairs: u32,
    /// Work requests in one queue.
    pub work_requests: u32,
    /// Completions in one completion queue.
    pub completions: u32,
    /// Receives in one shared receive queue.
    pub shared_receives: u32,
    /// RDMA READs that a peer may have outstanding towards one queue pair.
    pub responder_resources: u8,
    /// RDMA READs that one queue pair may have outstanding.
    pub initiator_depth: u8,
    /// Bytes of one memory region.
    pub region_bytes: u64,
    /// A SEND can invalidate a key of the peer's.
    pub send_with_invalidate: bool,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// Number, from 1.
    pub number: u8,
    /// Port GUID as `ibstat` prints it: the low half of the first GID.
    pub port_guid: u64,
    /// What the port runs on.
    pub link_layer: LinkLayer,
    /// Logical state.
    pub state: PortState,
    /// Local identifier; 0 on Ethernet.
    pub lid: u16,
    /// Path MTU in bytes.
    pub active_mtu_bytes: u32,
    /// Longest message in bytes.
    pub max_message_bytes: u32,
    /// The entries of the GID table that are in use.
    pub gids: Vec<GidEntry>,
    /// The partition keys in use.
    pub pkeys: Vec<u16>,
}

/// A used entry of a GID table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GidEntry {
    /// Index in the table.
    pub index: u32,
    /// The GID.
    pub gid: Gid,
}

/// What a port runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// InfiniBand.
    InfiniBand,
    /// Ethernet: RoCE or iWARP.
    Ethernet,
    /// The device does not say.
    Unspecified,
}

/// Logical state of a port (InfiniBand Architecture, 7.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// No link.
    Down,
    /// Link, but no subnet manager has set it up.
    Initialize,
    /// Set up, not yet activated.
    Armed,
    /// Ready.
    Active,
    /// Ready, with the link interrupted for a moment.
    ActiveDeferred,
    /// A state that has no name here.
    Other(u32),
}

/// Something happened to a device or to one of its objects, outside any completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceEvent {
    /// The port is active.
    PortActive(u8),
    /// The port is not active any more.
    PortError(u8),
    /// LID, GID, partition keys or subnet manager of the port changed.
    PortChanged(u8),
    /// The queue pair is in the error state.
    QueuePairError(QueuePairNumber),
    /// The queue pair will take no more from its shared receive queue.
    LastReceiveReached(QueuePairNumber),
    /// A completion queue overran or broke: its queue pairs are lost.
    CompletionQueueError,
    /// A shared receive queue broke.
    SharedReceiveQueueError,
    /// The device is gone or must be reset: drop all objects of it.
    DeviceFatal,
    /// An event that needs no action.
    Other(u32),
}
