//! A connection of the connection manager.

use std::net::SocketAddr;

use crate::address::PathAddress;
use crate::cm_event::{AcceptParameters, ConnectParameters, ConnectionId};
use crate::device::Device;
use crate::error::Error;
use crate::event_channel::EventChannel;
use crate::provided::{Provided, on_either};
use crate::queue_pair::QueuePair;
use crate::{soft, verbs};

/// A connection, or an attempt at one. It is independent of its queue pair, which may be dropped before or
/// after it.
///
/// Dropping it ends the connection without private data.
#[derive(Debug)]
pub struct Connection(pub(crate) Provided<verbs::Connection, soft::Connection>);

impl Connection {
    /// Names this connection in the events of its channel.
    pub fn id(&self) -> ConnectionId {
        on_either!(&self.0, connection => connection.id())
    }

    /// Name of the device that the connection is on, to be opened by `Device::open`. `None` before the
    /// address is resolved.
    pub fn device_name(&self) -> Option<String> {
        on_either!(&self.0, connection => connection.device_name())
    }

    /// Opens that device.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_device(&self) -> Result<Device, Error> {
        Ok(Device(match &self.0 {
            Provided::Verbs(connection) => {
                let name = connection.device_name().ok_or(Error::NoDevice)?;
                Provided::Verbs(verbs::Device::open(&name)?)
            }
            Provided::Soft(connection) => Provided::Soft(connection.device()?),
        }))
    }

    /// Number of the port that the connection is on; 0 before the address is resolved.
    pub fn port(&self) -> u8 {
        on_either!(&self.0, connection => connection.port())
    }

    /// Partition key of the path; `None` before the route is known.
    pub fn pkey(&self) -> Option<u16> {
        on_either!(&self.0, connection => connection.pkey())
    }

    /// Our end of the path.
    pub fn local(&self) -> PathAddress {
        on_either!(&self.0, connection => connection.local())
    }

    /// The peer's end of the path.
    pub fn peer(&self) -> PathAddress {
        on_either!(&self.0, connection => connection.peer())
    }

    /// Ends the connection, or answers the peer that ended it. The queue pair is not touched; put it into
    /// the error state too.
    ///
    /// # Errors
    /// The connection is not established.
    pub fn disconnect(&self) -> Result<(), Error> {
        on_either!(&self.0, connection => connection.disconnect())
    }

    /// Accepts the request with this queue pair, which is then ready: what is posted goes out, and receives
    /// can complete before `CmEvent::Established`.
    ///
    /// # Errors
    /// The peer has given up, the private data is too long, or the device is gone. Drop both then.
    pub fn accept(
        &self,
        queue_pair: &mut QueuePair,
        parameters: &AcceptParameters<'_>,
    ) -> Result<(), Error> {
        match (&self.0, &mut queue_pair.0) {
            (Provided::Verbs(connection), Provided::Verbs(queue_pair)) => {
                connection.accept(queue_pair, parameters)
            }
            (Provided::Soft(connection), Provided::Soft(queue_pair)) => {
                connection.accept(queue_pair, parameters)
            }
            _ => Err(Error::OtherFabric),
        }
    }

    /// Refuses the request.
    ///
    /// # Errors
    /// The peer has given up, or the private data is longer than 148 bytes.
    pub fn reject(self, private_data: &[u8]) -> Result<(), Error> {
        on_either!(self.0, connection => connection.reject(private_data))
    }

    /// Begins to connect to `destination`: finds the device. Answered by `CmEvent::AddressResolved`, or
    /// `ResolveFailed`.
    ///
    /// # Errors
    /// There is no route to the address from an RDMA device.
    pub fn resolve(
        channel: &EventChannel,
        source: Option<SocketAddr>,
        destination: SocketAddr,
        timeout_ms: u32,
    ) -> Result<Self, Error> {
        Ok(Self(match &channel.0 {
            Provided::Verbs(channel) => Provided::Verbs(verbs::Connection::resolve(
                channel,
                source,
                destination,
                timeout_ms,
            )?),
            Provided::Soft(channel) => {
                Provided::Soft(soft::Connection::resolve(channel, source, destination)?)
            }
        }))
    }

    /// Finds the route. Answered by `CmEvent::RouteResolved`, or `ResolveFailed`.
    ///
    /// # Errors
    /// The address is not resolved.
    pub fn resolve_route(&self, timeout_ms: u32) -> Result<(), Error> {
        match &self.0 {
            Provided::Verbs(connection) => connection.resolve_route(timeout_ms),
            Provided::Soft(connection) => connection.resolve_route(),
        }
    }

    /// Asks the peer. Answered by `CmEvent::Accepted`, `Rejected`, `Unreachable` or `ConnectFailed`.
    ///
    /// # Errors
    /// The route is not resolved, or the private data is too long.
    pub fn connect(
        &self,
        queue_pair: &mut QueuePair,
        parameters: &ConnectParameters<'_>,
    ) -> Result<(), Error> {
        match (&self.0, &mut queue_pair.0) {
            (Provided::Verbs(connection), Provided::Verbs(queue_pair)) => {
                connection.connect(queue_pair, parameters)
            }
            (Provided::Soft(connection), Provided::Soft(queue_pair)) => {
                connection.connect(queue_pair, parameters)
            }
            _ => Err(Error::OtherFabric),
        }
    }

    /// After `CmEvent::Accepted`: makes the queue pair ready and tells the peer, which sees
    /// `CmEvent::Established`.
    ///
    /// # Errors
    /// The peer has given up, or the device is gone.
    pub fn establish(&self, queue_pair: &mut QueuePair) -> Result<(), Error> {
        match (&self.0, &mut queue_pair.0) {
            (Provided::Verbs(connection), Provided::Verbs(queue_pair)) => {
                connection.establish(queue_pair)
            }
            // The queue pair was made ready, and the peer told, when the answer came.
            (Provided::Soft(_), Provided::Soft(_)) => Ok(()),
            _ => Err(Error::OtherFabric),
        }
    }
}
