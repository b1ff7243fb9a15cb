//! The provider for RDMA hardware and the kernel's soft devices: `libibverbs` and `librdmacm`.
//!
//! One object per file; `unsafe` is inside, and each object keeps alive what it was made from.

mod async_event;
mod channel;
mod cm;
mod cm_accept;
mod cm_address;
mod cm_connect;
mod cm_event;
mod cm_id;
mod cm_listener;
mod cq;
mod device;
mod listing;
mod mr;
mod pd;
mod qp;
mod qp_state;
mod srq;

pub(crate) use channel::CompletionChannel;
pub(crate) use cm::EventChannel;
pub(crate) use cm_id::Connection;
pub(crate) use cm_listener::Listener;
pub(crate) use cq::CompletionQueue;
pub(crate) use device::Device;
pub use listing::devices;
pub(crate) use mr::{ExposedMemory, MemoryRegion};
pub(crate) use pd::ProtectionDomain;
pub(crate) use qp::QueuePair;
pub(crate) use srq::SharedReceiveQueue;
