//! Targets on loopback addresses that need no RDMA and leave nothing behind: one in this process, as `demo` shows it,
//! and one in a process of its own, whose cost can be told from that of the initiators.
//!
//! Room: a temporary folder, loopback addresses, threads and a child process. It reads and leaves nothing of the
//! machine's own configuration.

mod daemon;
mod target;

use std::net::{IpAddr, TcpListener};

use anyhow::Context;

pub use daemon::{Cost, Daemon, Guest};
pub use target::Target;

/// A TCP port of this address that nobody has: another program may hold any fixed one.
fn free_tcp_port(address: IpAddr) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((address, 0));
    let listener = listener.with_context(|| format!("no TCP port of {address} can be had"))?;
    Ok(listener.local_addr()?.port())
}
