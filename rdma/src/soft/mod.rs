//! The provider that needs no RDMA in the kernel: RoCEv2 (`roce`) over UDP sockets, in the thread of its owner.
//!
//! One interface is one device with one port and one `roce` node; each of its addresses that is in use has a
//! socket on UDP port 4791. `unsafe` stands where the kernel is called (`interface`, `socket`, `inbox`, `outbox`)
//! and where registered memory becomes bytes (`memory`).

mod connection;
mod cq;
mod device;
mod dispatch;
mod domain;
mod event_channel;
mod fabric;
mod inbox;
mod interface;
mod listener;
mod memory;
mod outbox;
mod qp;
mod socket;
mod socket_address;
mod srq;

use std::net::IpAddr;

pub(crate) use connection::Connection;
pub(crate) use cq::CompletionQueue;
pub(crate) use device::Device;
pub(crate) use domain::{ExposedMemory, MemoryRegion, ProtectionDomain};
pub(crate) use event_channel::EventChannel;
pub(crate) use fabric::SoftFabric;
pub(crate) use listener::Listener;
pub(crate) use qp::QueuePair;
pub(crate) use srq::SharedReceiveQueue;

pub use interface::soft_devices;

/// How a soft fabric is set up. The default suits a daemon.
#[derive(Clone, Debug, Default)]
pub struct SoftConfig {
    /// The addresses that a listener on the wildcard address takes, and from which connections go out; empty
    /// for all addresses of the interfaces that are up.
    pub addresses: Vec<IpAddr>,
    /// Port GUID of all devices, instead of the one that the interface's hardware address gives.
    pub port_guid: Option<u64>,
    /// Largest path MTU in bytes, instead of what the interface carries.
    pub max_mtu_bytes: Option<u32>,
    /// Packets to lose on the way out, for tests.
    pub impairment: Option<Impairment>,
}

/// A bad wire, for tests of what depends on a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impairment {
    /// Packets of a thousand that are lost.
    pub loss_per_mille: u16,
    /// Makes a run repeatable.
    pub seed: u64,
}
