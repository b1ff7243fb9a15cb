//! Waiting for peers to connect.

use std::net::SocketAddr;

use rdma_sys as sys;

use super::cm::EventChannel;
use super::cm_address::{RawAddress, path_addresses};
use super::cm_id::CmId;
use super::listing::devices;
use crate::address::{Gid, ListenAddress};
use crate::cm_event::ConnectionId;
use crate::error::{Error, check};

/// A listener; its requests come as `CmEvent::ConnectRequest`. Dropping it ends the listening and leaves
/// connections alone.
#[derive(Debug)]
pub(crate) struct Listener(CmId);

impl Listener {
    pub(crate) fn bind(
        channel: &EventChannel,
        address: &ListenAddress,
        backlog: u32,
    ) -> Result<Self, Error> {
        let (port_space, mut raw_address) = match address {
            ListenAddress::Ip(address) => (sys::RDMA_PS_TCP, RawAddress::ip(*address)),
            ListenAddress::InfiniBand {
                device,
                port,
                service,
                pkey,
            } => {
                let gid = first_gid(device, *port)?;
                (
                    sys::RDMA_PS_IB,
                    RawAddress::infiniband(gid, *service, *pkey),
                )
            }
        };
        let id = CmId::new(channel, port_space)?;
        let cm = channel.cm();
        // SAFETY: the identifier lives, and the address is one of the families that the call knows.
        let bound = unsafe { (cm.rdma_bind_addr)(id.raw.as_ptr(), raw_address.as_mut_ptr()) };
        check("rdma_bind_addr", bound)?;
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        // SAFETY: the identifier lives and is bound.
        let listening = unsafe { (cm.rdma_listen)(id.raw.as_ptr(), backlog) };
        check("rdma_listen", listening)?;
        Ok(Self(id))
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.0.id
    }

    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        path_addresses(self.0.raw()).0.socket
    }
}

/// The port's own GID, which holds its GUID.
fn first_gid(device: &str, port: u8) -> Result<Gid, Error> {
    let devices = devices()?;
    let Some(info) = devices.iter().find(|info| info.name == device) else {
        let names: Vec<_> = devices.iter().map(|info| info.name.as_str()).collect();
        return Err(Error::NoSuchDevice {
            name: device.to_owned(),
            present: names.join(", "),
        });
    };
    let entry = info.port(port).and_then(|port| port.gids.first());
    entry.map(|entry| entry.gid).ok_or_else(|| Error::NoGid {
        device: device.to_owned(),
        port,
    })
}
