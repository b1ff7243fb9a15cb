//! The buffer that the NIC, the kernel's ring and the SCSI core share.
//!
//! Room: memory and its ownership, nothing else; no I/O beyond mapping the memory. An [`Arena`] is one
//! aligned mapping, registered once as RDMA memory and once as an io_uring fixed buffer. A [`Pool`] cuts
//! buffers from it, and a [`Buf`] has exactly one owner at a time (pool, task, ring or NIC): it is moved
//! into whatever may touch the memory, comes back with the completion, and returns to its pool when
//! dropped. There is no way to copy or share one.
//!
//! Pools and buffers belong to one worker thread (`!Send`), so taking one costs neither a lock nor an
//! atomic operation. `unsafe` stands in `arena.rs` and `buf.rs` only.

mod arena;
mod buddy;
mod buf;
mod pool;
mod remote;
mod slots;

pub use arena::Arena;
pub use buf::Buf;
pub use pool::{Pool, PoolLevel};
pub use remote::RemoteSegment;
