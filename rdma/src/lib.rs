//! Safe RDMA objects.
//!
//! Room: devices, memory registration, completion and receive queues, queue pairs and the connection
//! manager. It may touch the RDMA libraries through `rdma-sys`, and buffers through `iobuf`; it knows no
//! SCSI and no transport protocol.
//!
//! A [`iobuf::Buf`] moves into whatever the NIC may touch and comes back with the completion, or when the
//! object that held it is gone: nothing that the NIC may still write can be read or written by the program.
//!
//! ```
//! fn post(queue: &rdma::SharedReceiveQueue, buf: iobuf::Buf) -> usize {
//!     let len = buf.len();
//!     queue.post(buf).unwrap();
//!     len
//! }
//! ```
//!
//! ```compile_fail,E0382
//! fn post(queue: &rdma::SharedReceiveQueue, buf: iobuf::Buf) -> usize {
//!     queue.post(buf).unwrap();
//!     buf.len() // the NIC owns it now
//! }
//! ```
//!
//! Everything is made from a [`Fabric`]: hardware and the kernel's soft devices, or RoCEv2 in this process.
//! The objects of one fabric belong to one worker thread (`!Send`). Only [`devices`] and [`soft_devices`] may be
//! called from any thread. Order of use: [`EventChannel`], [`Listener`]; at the first [`ConnectRequest`] of a device
//! [`Device`], [`ProtectionDomain`], [`MemoryRegion`], [`CompletionChannel`], [`CompletionQueue`],
//! [`SharedReceiveQueue`]; for each request a [`QueuePair`].
//!
//! The plain types stand at the root, and so do the objects, which only choose between their two providers, and
//! the bookkeeping of who owns which buffer (`send_queue`, `receive_slots`). The `verbs` folder is the provider for
//! RDMA hardware and the kernel's soft devices, the `soft` folder drives the state machine of `roce` over UDP.

mod address;
mod cm_event;
mod completion;
mod completion_queue;
mod connection;
mod counters;
mod device;
mod device_info;
mod error;
mod event_channel;
mod exposed_region;
mod fabric;
mod listener;
mod memory_region;
mod protection_domain;
mod provided;
mod queue_pair;
mod readable;
mod receive_slots;
mod send_queue;
mod shared_receive_queue;
mod soft;
mod verbs;
mod work;

pub use address::{Gid, ListenAddress, PathAddress};
pub use cm_event::{AcceptParameters, CmEvent, ConnectParameters, ConnectRequest, ConnectionId};
pub use completion::{CompletionQueueId, QueuePairNumber, WorkCompletion, WorkKind, WorkStatus};
pub use completion_queue::{CompletionChannel, CompletionQueue};
pub use connection::Connection;
pub use counters::VerbsCounters;
pub use device::Device;
pub use device_info::{
    DeviceEvent, DeviceInfo, DeviceLimits, GidEntry, LinkLayer, PortInfo, PortState,
};
pub use error::Error;
pub use event_channel::EventChannel;
pub use exposed_region::ExposedRegion;
pub use fabric::{Fabric, FabricCounters};
pub use listener::Listener;
pub use memory_region::MemoryRegion;
pub use protection_domain::ProtectionDomain;
pub use queue_pair::QueuePair;
pub use shared_receive_queue::SharedReceiveQueue;
pub use soft::{Impairment, SoftConfig, soft_devices};
pub use verbs::devices;
pub use work::{Completed, PostError, QueuePairConfig, ReceivePostError, Received};
