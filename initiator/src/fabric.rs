//! A connection over RDMA, whatever protocol it is for: the connection manager, a queue pair, and the memory and queues
//! that belong to a device.
//!
//! It knows queue pairs, completions and remote keys by the words of the crate `rdma`, and nothing of the provider
//! behind them. Everything that it waits for is waited for with a bound.

pub(crate) mod cm;
pub(crate) mod link;
pub(crate) mod port;
mod raw;

pub use raw::{RawChannel, RawLogin, RawReceived};
