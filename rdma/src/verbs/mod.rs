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
mod exposed;
mod listing;
mod mr;
mod pd;
mod qp;
mod qp_state;
mod srq;

pub use channel::CompletionChannel;
pub use cm::EventChannel;
pub use cm_id::Connection;
pub use cm_listener::Listener;
pub use cq::CompletionQueue;
pub use device::Device;
pub use exposed::ExposedRegion;
pub use listing::devices;
pub use mr::MemoryRegion;
pub use pd::ProtectionDomain;
pub use qp::QueuePair;
pub use srq::SharedReceiveQueue;
