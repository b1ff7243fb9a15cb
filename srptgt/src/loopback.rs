//! Targets on loopback addresses that need no RDMA and leave nothing behind: one in this process, as `demo` shows it,
//! and one in a process of its own, whose cost can be told from that of the initiators.
//!
//! Room: a temporary folder, loopback addresses, threads and a child process. It reads and leaves nothing of the
//! machine's own configuration.

mod daemon;
mod target;

pub use daemon::{Cost, Daemon};
pub use target::Target;
