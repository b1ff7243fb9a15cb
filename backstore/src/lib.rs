//! Block media on io_uring: file, block device, ram, null; and the sockets that share the ring with them.
//!
//! Room: everything between a [`BlockRequest`](target_core::backend::BlockRequest) and the bytes that a
//! [`Medium`] keeps. A medium is opened by the control plane, where blocking is allowed, and shared by all
//! workers; each worker has one [`Engine`], which owns the worker's only io_uring, runs the requests of all
//! its media, moves the bytes of its TCP streams, and reports whatever else the worker waits for (event fds,
//! completion channels, sockets).
//!
//! `unsafe` stands in `ram.rs` (one mapping), `enter.rs` and `ring.rs` (the kernel's ring) and where
//! `engine.rs`, `watch.rs` and `stream/` hand the kernel an address. What makes that safe is one rule: memory that
//! the kernel may touch is owned by a table entry that only the kernel's last completion removes.

mod attachment;
mod block;
mod descriptor;
mod engine;
mod enter;
mod errno;
mod fault;
mod file;
mod geometry;
#[cfg(test)]
mod loop_device;
mod medium;
mod memory;
mod null;
mod open_error;
mod operation;
mod ram;
mod ring;
mod ring_error;
mod slots;
mod stream;
mod submission;
mod watch;

pub use descriptor::Direct;
pub use engine::{Engine, EngineCounters, EngineSettings, StillBusy};
pub use geometry::{MediumGeometry, UnmapGeometry};
pub use medium::{Identity, Medium, MediumConfig, StoreConfig};
pub use open_error::{NotWholeBlocks, OpenError, ResizeError};
pub use ring::{RingFeatures, Wait};
pub use ring_error::RingError;
pub use stream::{SendError, StreamCounters, StreamEvent, StreamId};
pub use watch::Woken;
