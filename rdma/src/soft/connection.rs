//! Connections.

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::rc::{Rc, Weak};

use roce::cm::{Accept, CmError, Connect, RejectReason, tcp_service_id};
use roce::packet::UDP_PORT;
use roce::qp::Path;

use super::device::Device;
use super::dispatch::Route;
use super::event_channel::{ChannelInner, EventChannel};
use super::fabric::SoftFabric;
use super::qp::QueuePair;
use crate::address::{Gid, PathAddress};
use crate::cm_event::{AcceptParameters, CmEvent, ConnectParameters, ConnectionId};
use crate::error::Error;

/// Source ports of connections that are asked for here: any that is not a service will do.
const FIRST_PORT: u16 = 49_152;

/// Ended when dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    fabric: SoftFabric,
    channel: Weak<ChannelInner>,
    id: ConnectionId,
    /// Place of the device.
    device: usize,
    /// The node's name for it, from the request on.
    cm: Cell<Option<roce::cm::ConnectionId>>,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Connection {
    /// A connection that a peer asks for.
    pub(super) fn asked_for(
        fabric: &SoftFabric,
        channel: &Rc<ChannelInner>,
        device: usize,
        cm: roce::cm::ConnectionId,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Self {
        let connection = Self {
            fabric: fabric.clone(),
            channel: Rc::downgrade(channel),
            id: ConnectionId::next(),
            device,
            cm: Cell::new(Some(cm)),
            local,
            peer,
        };
        fabric.route(device, cm, connection.as_route(None));
        connection
    }

    fn as_route(&self, asked: Option<u8>) -> Route {
        Route {
            id: self.id,
            channel: self.channel.clone(),
            asked,
        }
    }

    pub(crate) fn resolve(
        channel: &EventChannel,
        source: Option<SocketAddr>,
        destination: SocketAddr,
    ) -> Result<Self, Error> {
        let fabric = &channel.0.fabric;
        let configured = fabric.0.config.addresses.iter();
        let mut same_family = configured.filter(|ip| ip.is_ipv4() == destination.is_ipv4());
        let local = match (source, same_family.next()) {
            (Some(source), _) => source,
            (None, Some(address)) => SocketAddr::new(*address, 0),
            (None, None) => route_to(destination)?,
        };
        let device = fabric.use_address(local.ip())?;
        let id = ConnectionId::next();
        // The remainder fits.
        let port = FIRST_PORT | (id.0 % (1 << 14)) as u16;
        channel.0.push(CmEvent::AddressResolved(id));
        Ok(Self {
            fabric: fabric.clone(),
            channel: Rc::downgrade(&channel.0),
            id,
            device,
            cm: Cell::new(None),
            local: SocketAddr::new(local.ip(), port),
            peer: destination,
        })
    }

    pub(crate) fn resolve_route(&self) -> Result<(), Error> {
        if let Some(channel) = self.channel.upgrade() {
            channel.push(CmEvent::RouteResolved(self.id));
        }
        Ok(())
    }

    /// Asks the peer. How often things are repeated is the node's own choice.
    pub(crate) fn connect(
        &self,
        queue_pair: &mut QueuePair,
        parameters: &ConnectParameters<'_>,
    ) -> Result<(), Error> {
        let device = &self.device_of(queue_pair)?;
        let connect = Connect {
            path: Path {
                local: SocketAddr::new(self.local.ip(), UDP_PORT),
                remote: SocketAddr::new(self.peer.ip(), UDP_PORT),
            },
            service_id: tcp_service_id(self.peer.port()),
            rdma_cm_port: Some(self.local.port()),
            path_mtu: device.path_mtu(),
            responder_resources: parameters.responder_resources,
            initiator_depth: parameters.initiator_depth,
            private_data: parameters.private_data,
        };
        let number = roce::QueuePairNumber(queue_pair.number().0);
        let now_us = device.now_us();
        let asked = device.core().node.connect(number, &connect, now_us);
        let cm = asked.map_err(|error| refused("connect", error))?;
        self.cm.set(Some(cm));
        let route = self.as_route(Some(parameters.responder_resources));
        self.fabric.route(self.device, cm, route);
        Ok(())
    }

    pub(crate) fn accept(
        &self,
        queue_pair: &mut QueuePair,
        parameters: &AcceptParameters<'_>,
    ) -> Result<(), Error> {
        let cm = self.asked()?;
        let accept = Accept {
            responder_resources: parameters.responder_resources,
            initiator_depth: parameters.initiator_depth,
            private_data: parameters.private_data,
        };
        let number = roce::QueuePairNumber(queue_pair.number().0);
        let device = self.device_of(queue_pair)?;
        let now_us = device.now_us();
        let accepted = device.core().node.accept(cm, number, &accept, now_us);
        accepted.map_err(|error| refused("accept a connection", error))
    }

    pub(crate) fn reject(self, private_data: &[u8]) -> Result<(), Error> {
        let cm = self.asked()?;
        let device = self.device()?;
        let node = &mut device.core().node;
        let rejected = node.reject(cm, RejectReason::CONSUMER_DEFINED, private_data);
        rejected.map_err(|error| refused("refuse a connection", error))
    }

    pub(crate) fn disconnect(&self) -> Result<(), Error> {
        let cm = self.asked()?;
        let device = self.device()?;
        let now_us = device.now_us();
        let ended = device.core().node.disconnect(cm, now_us);
        device.settle();
        ended.map_err(|error| refused("end a connection", error))
    }

    pub(crate) fn device(&self) -> Result<Device, Error> {
        self.fabric.device_at(self.device).ok_or(Error::NoDevice)
    }

    /// The device that connection and queue pair have in common.
    fn device_of(&self, queue_pair: &QueuePair) -> Result<Device, Error> {
        let device = self.device()?;
        device.check_same(&queue_pair.domain.0.device)?;
        Ok(device)
    }

    fn asked(&self) -> Result<roce::cm::ConnectionId, Error> {
        self.cm
            .get()
            .ok_or_else(|| refused("use a connection", CmError::Phase))
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn device_name(&self) -> Option<String> {
        let device = self.fabric.device_at(self.device)?;
        Some(device.info().name.clone())
    }

    pub(crate) fn port(&self) -> u8 {
        1
    }

    pub(crate) fn pkey(&self) -> Option<u16> {
        Some(0xffff)
    }

    pub(crate) fn local(&self) -> PathAddress {
        path_address(self.local)
    }

    pub(crate) fn peer(&self) -> PathAddress {
        path_address(self.peer)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (Some(cm), Some(device)) = (self.cm.get(), self.fabric.device_at(self.device)) else {
            return;
        };
        self.fabric.forget(self.device, cm);
        end(&device, cm);
        // Often this is the last that a program does, and nobody would send the goodbye.
        self.fabric.transmit();
    }
}

/// Ends a connection, or refuses one that is not accepted yet. That it is gone already is as well.
fn end(device: &Device, cm: roce::cm::ConnectionId) {
    let now_us = device.now_us();
    let node = &mut device.core().node;
    if node.disconnect(cm, now_us) == Err(CmError::Phase) {
        let _ = node.reject(cm, RejectReason::CONSUMER_DEFINED, &[]);
    }
}

/// On RoCE the GID is the IP address.
fn path_address(socket: SocketAddr) -> PathAddress {
    PathAddress {
        socket: Some(socket),
        gid: Gid(roce::cm::gid(socket.ip())),
    }
}

/// The address from which the kernel would send.
fn route_to(destination: SocketAddr) -> Result<SocketAddr, Error> {
    let any = if destination.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let route = || {
        let socket = UdpSocket::bind(any)?;
        socket.connect(destination)?;
        socket.local_addr()
    };
    route().map_err(|error| Error::call("connect", error))
}

fn refused(what: &'static str, error: CmError) -> Error {
    match error {
        CmError::PrivateData { got, limit } => Error::PrivateData {
            len: got,
            most: limit,
        },
        other => Error::refused(what, other),
    }
}
