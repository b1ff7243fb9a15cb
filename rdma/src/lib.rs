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
//! The objects of one device belong to one worker thread (`!Send`). Only [`devices`] may be called from any
//! thread. Order of use: [`EventChannel`], [`Listener`]; at the first [`ConnectRequest`] of a device
//! [`Device`], [`ProtectionDomain`], [`MemoryRegion`], [`CompletionChannel`], [`CompletionQueue`],
//! [`SharedReceiveQueue`]; for each request a [`QueuePair`].
//!
//! The plain types stand at the root, and so does the bookkeeping of who owns which buffer (`send_queue`,
//! `receive_slots`): it is safe code that any provider can use. The `verbs` folder is the provider for RDMA
//! hardware and the kernel's soft devices.

mod address;
mod cm_event;
mod completion;
mod counters;
mod device;
mod error;
mod receive_slots;
mod send_queue;
mod verbs;
mod work;

pub use address::{Gid, ListenAddress, PathAddress};
pub use cm_event::{AcceptParameters, CmEvent, ConnectParameters, ConnectRequest, ConnectionId};
pub use completion::{CompletionQueueId, QueuePairNumber, WorkCompletion, WorkKind, WorkStatus};
pub use counters::VerbsCounters;
pub use device::{DeviceEvent, DeviceInfo, DeviceLimits, GidEntry, LinkLayer, PortInfo, PortState};
pub use error::Error;
pub use verbs::{
    CompletionChannel, CompletionQueue, Connection, Device, EventChannel, ExposedRegion, Listener,
    MemoryRegion, ProtectionDomain, QueuePair, SharedReceiveQueue, devices,
};
pub use work::{Completed, PostError, QueuePairConfig, ReceivePostError, Received};
