//! How to connect.

use std::net::SocketAddr;

use super::machine::LoginOptions;

/// What a session is to be.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Where the target listens.
    pub address: SocketAddr,
    /// From where; `None` lets the machine choose.
    pub source: Option<SocketAddr>,
    /// Names, credentials, keys.
    pub login: LoginOptions,
    /// Memory in bytes for the data of all commands, over RDMA.
    pub data_bytes: usize,
    /// Longest time in milliseconds for each step of connecting.
    pub connect_timeout_ms: u32,
    /// Longest time in milliseconds for a command; then it is aborted.
    pub command_timeout_ms: u32,
}

impl ConnectOptions {
    /// The usual patience and memory.
    pub fn new(address: SocketAddr, login: LoginOptions) -> Self {
        Self {
            address,
            source: None,
            login,
            data_bytes: 16 << 20,
            connect_timeout_ms: 10_000,
            command_timeout_ms: 30_000,
        }
    }
}
