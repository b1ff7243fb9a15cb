//! Listening.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use roce::cm::tcp_service_id;

use super::dispatch::Listening;
use super::event_channel::EventChannel;
use super::fabric::SoftFabric;
use crate::address::ListenAddress;
use crate::cm_event::ConnectionId;
use crate::error::Error;

/// First of the ports that are given to who asks for any.
const FIRST_FREE_PORT: u16 = 49_152;

/// Ended when dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    fabric: SoftFabric,
    id: ConnectionId,
    address: SocketAddr,
    /// Places of the devices that it listens on.
    devices: Vec<usize>,
}

impl Listener {
    pub(crate) fn bind(
        channel: &EventChannel,
        address: &ListenAddress,
        backlog: u32,
    ) -> Result<Self, Error> {
        let fabric = channel.0.fabric.clone();
        let mut address = match address {
            ListenAddress::Ip(address) => *address,
            ListenAddress::InfiniBand { device, port, .. } => {
                return Err(Error::NotInfiniBand {
                    device: device.clone(),
                    port: *port,
                });
            }
        };
        let devices = open_devices(&fabric, address.ip())?;
        let listeners = &mut fabric.0.routes.borrow_mut().listeners;
        if address.port() == 0 {
            let is_free = |port: &u16| !listeners.iter().any(|known| known.address.port() == *port);
            let free = (FIRST_FREE_PORT..=u16::MAX).find(is_free);
            address.set_port(free.unwrap_or(FIRST_FREE_PORT));
        }
        if listeners.iter().any(|known| known.address == address) {
            let in_use = std::io::Error::from_raw_os_error(libc::EADDRINUSE);
            return Err(Error::call("listen", in_use));
        }
        let id = ConnectionId::next();
        listeners.push(Listening {
            id,
            address,
            backlog,
            channel: Rc::downgrade(&channel.0),
        });
        let listener = Self {
            fabric: channel.0.fabric.clone(),
            id,
            address,
            devices,
        };
        listener.begin();
        Ok(listener)
    }

    /// Makes the nodes of its devices listen. Does nothing to those that do.
    fn begin(&self) {
        let service_id = tcp_service_id(self.address.port());
        let device_at = |place: &usize| self.fabric.device_at(*place);
        for device in self.devices.iter().filter_map(device_at) {
            // False when another address of the device has a listener on this port, which is as good.
            device.core().node.listen(service_id);
        }
    }

    /// Opens sockets on what has become an address of this machine, if this listens on all of them. One that is gone
    /// keeps its socket, which serves again when it is back.
    pub(crate) fn follow_addresses(&mut self) -> Result<(), Error> {
        if !self.address.ip().is_unspecified() {
            return Ok(());
        }
        for device in open_devices(&self.fabric, self.address.ip())? {
            if !self.devices.contains(&device) {
                self.devices.push(device);
            }
        }
        self.begin();
        Ok(())
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        Some(self.address)
    }
}

/// Places of the devices that have the address, or of all for the wildcard address.
fn open_devices(fabric: &SoftFabric, address: IpAddr) -> Result<Vec<usize>, Error> {
    let mut devices = Vec::new();
    if !address.is_unspecified() {
        devices.push(fabric.use_address(address)?);
        return Ok(devices);
    }
    for address in fabric.addresses(address)? {
        match fabric.use_address(address) {
            Ok(device) if !devices.contains(&device) => devices.push(device),
            Ok(_) => {}
            // An address on its way in or out, such as a tentative one of IPv6.
            Err(Error::Socket { source, .. })
                if source.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
            Err(error) => return Err(error),
        }
    }
    match devices.is_empty() {
        true => Err(Error::NoSuchAddress { address }),
        false => Ok(devices),
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let routes = &mut *self.fabric.0.routes.borrow_mut();
        routes.listeners.retain(|known| known.id != self.id);
        let port = self.address.port();
        if routes
            .listeners
            .iter()
            .any(|known| known.address.port() == port)
        {
            return;
        }
        for device in self
            .devices
            .iter()
            .filter_map(|place| self.fabric.device_at(*place))
        {
            device.core().node.stop_listening(tcp_service_id(port));
        }
    }
}
