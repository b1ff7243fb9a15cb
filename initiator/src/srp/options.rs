//! How to connect.

use std::net::SocketAddr;

use transport_srp::layout::DEFAULT_MAX_IT_IU_LEN;
use transport_srp::wire::login::MultichannelAction;
use transport_srp::{PortIdOrder, TargetPortId};

/// What a session is to be. The defaults are those of a Linux initiator with one channel.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Where the target listens for RDMA-CM.
    pub address: SocketAddr,
    /// From where; `None` lets the machine choose.
    pub source: Option<SocketAddr>,
    /// The target port's name.
    pub target_port: TargetPortId,
    /// What the initiator port calls itself; `None` is the GUID of the RDMA port that is used.
    pub initiator_guid: Option<u64>,
    /// The other half of the initiator port identifier: sessions that differ in it are different I_T nexuses.
    pub initiator_extension: u64,
    /// Order of the halves in both identifiers.
    pub order: PortIdOrder,
    /// Channels, at least 1.
    pub channels: u16,
    /// Whether other sessions of the same nexus live on at the target.
    pub keep_other_channels: bool,
    /// Longest message in bytes that is asked for.
    pub max_it_iu_len: u32,
    /// Whether short writes carry their data in the command, if the target agrees.
    pub immediate_data: bool,
    /// Commands that may be outstanding on each channel, if the target agrees.
    pub outstanding: u32,
    /// Pieces that each data buffer is told in: 1 is a direct descriptor, more an indirect table.
    pub pieces: u16,
    /// Entries of an indirect table that travel in the command; the target fetches the rest. At most 255.
    pub inline_pieces: u16,
    /// Memory in bytes for all data buffers.
    pub data_bytes: usize,
    /// Longest time in milliseconds for each step of connecting.
    pub connect_timeout_ms: u32,
    /// Longest time in milliseconds for a command; then it is aborted.
    pub command_timeout_ms: u32,
}

impl ConnectOptions {
    /// The usual session to this target port.
    pub fn new(address: SocketAddr, target_port: TargetPortId) -> Self {
        Self {
            address,
            source: None,
            target_port,
            initiator_guid: None,
            initiator_extension: 0,
            order: PortIdOrder::Rev16a,
            channels: 1,
            keep_other_channels: false,
            max_it_iu_len: DEFAULT_MAX_IT_IU_LEN,
            immediate_data: true,
            outstanding: 64,
            pieces: 1,
            inline_pieces: 255,
            data_bytes: 16 << 20,
            connect_timeout_ms: 10_000,
            command_timeout_ms: 30_000,
        }
    }

    pub(super) fn first_channel(&self) -> MultichannelAction {
        match self.keep_other_channels {
            true => MultichannelAction::MULTI,
            false => MultichannelAction::SINGLE,
        }
    }
}
