//! From the nodes' events to those of channels and devices: who is meant, and what it is called here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use roce::cm::{ConnectRequest as Asked, Event, RejectReason};

use super::connection::Connection;
use super::device::Device;
use super::event_channel::ChannelInner;
use super::fabric::SoftFabric;
use crate::cm_event::{CmEvent, ConnectRequest, ConnectionId};
use crate::completion::QueuePairNumber;
use crate::device_info::DeviceEvent;
use crate::provided::Provided;

/// Who hears of what.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) listeners: Vec<Listening>,
    /// By device and the node's own id.
    connections: HashMap<(usize, roce::cm::ConnectionId), Route>,
}

/// A listener.
#[derive(Clone, Debug)]
pub(super) struct Listening {
    pub(super) id: ConnectionId,
    pub(super) address: SocketAddr,
    pub(super) backlog: u32,
    pub(super) channel: Weak<ChannelInner>,
}

impl Listening {
    /// The wildcard address of IPv6 stands for both families.
    fn takes(&self, local: SocketAddr) -> bool {
        let own = self.address.ip();
        let is_wildcard = own.is_unspecified() && (own.is_ipv6() || local.is_ipv4());
        self.address.port() == local.port() && (own == local.ip() || is_wildcard)
    }
}

/// A connection.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) id: ConnectionId,
    pub(super) channel: Weak<ChannelInner>,
    /// Of a connection that was asked for here: RDMA READs that the peer may have outstanding.
    pub(super) asked: Option<u8>,
}

impl SoftFabric {
    pub(super) fn route(&self, device: usize, cm: roce::cm::ConnectionId, route: Route) {
        self.0
            .routes
            .borrow_mut()
            .connections
            .insert((device, cm), route);
    }

    pub(super) fn forget(&self, device: usize, cm: roce::cm::ConnectionId) {
        self.0.routes.borrow_mut().connections.remove(&(device, cm));
    }

    /// Takes what the nodes have to tell to those who should know.
    pub(super) fn dispatch(&self) {
        for place in 0.. {
            let Some(device) = self.device_at(place) else {
                return;
            };
            while let Some(event) = device.next_node_event() {
                self.handle_event(place, &device, event);
            }
        }
    }

    fn handle_event(&self, place: usize, device: &Device, event: Event) {
        match event {
            Event::ConnectRequest(asked) => self.handle_request(place, device, &asked),
            Event::Connected {
                connection,
                initiator_depth,
                private_data,
                ..
            } => self.tell(place, connection, |route| match route.asked {
                None => CmEvent::Established(route.id),
                Some(responder_resources) => CmEvent::Accepted {
                    id: route.id,
                    private_data: private_data.as_slice().to_vec(),
                    initiator_depth,
                    responder_resources,
                },
            }),
            Event::Rejected {
                connection,
                reason,
                private_data,
                ..
            } => self.tell(place, connection, |route| CmEvent::Rejected {
                id: route.id,
                reason: reason.0.into(),
                private_data: private_data.as_slice().to_vec(),
            }),
            Event::Unreachable { connection, .. } => {
                self.tell(place, connection, |route| CmEvent::Unreachable {
                    id: route.id,
                    errno: libc::ETIMEDOUT,
                });
            }
            Event::Disconnected { connection, qp } => {
                if let Some(qp) = qp {
                    device.tell(DeviceEvent::LastReceiveReached(QueuePairNumber(qp.0)));
                }
                self.tell(place, connection, |route| CmEvent::Disconnected(route.id));
            }
            Event::QueuePairError(qp) => {
                let number = QueuePairNumber(qp.0);
                device.tell(DeviceEvent::QueuePairError(number));
                device.tell(DeviceEvent::LastReceiveReached(number));
            }
            Event::SendQueueDrained(_) => {}
        }
    }

    fn tell(
        &self,
        place: usize,
        connection: roce::cm::ConnectionId,
        event: impl FnOnce(&Route) -> CmEvent,
    ) {
        let route = self
            .0
            .routes
            .borrow()
            .connections
            .get(&(place, connection))
            .cloned();
        let Some(route) = route else {
            return;
        };
        let Some(channel) = route.channel.upgrade() else {
            return;
        };
        // A request that nobody has seen yet is over before it began.
        if !channel.withdraw(route.id) {
            channel.push(event(&route));
        }
    }

    fn handle_request(&self, place: usize, device: &Device, asked: &Asked) {
        match self.listener_of(asked) {
            Ok((listener, channel, local, peer)) => {
                let connection =
                    Connection::asked_for(self, &channel, place, asked.connection, local, peer);
                let mut private_data = asked.private_data.as_slice().to_vec();
                private_data.truncate(usize::from(u8::MAX));
                channel.push(CmEvent::ConnectRequest(Box::new(ConnectRequest {
                    connection: crate::Connection(Provided::Soft(connection)),
                    listener,
                    private_data,
                    initiator_depth: asked.initiator_depth,
                    responder_resources: asked.responder_resources,
                })));
            }
            Err(reason) => {
                // The peer may have given up in the meantime.
                let _ = device.core().node.reject(asked.connection, reason, &[]);
            }
        }
    }

    /// Who takes the request, and both ends of the connection in words of RDMA-CM.
    fn listener_of(
        &self,
        asked: &Asked,
    ) -> Result<(ConnectionId, Rc<ChannelInner>, SocketAddr, SocketAddr), RejectReason> {
        // Every service here is RDMA-CM's, whose requests begin with its header.
        let header = asked.rdma_cm.ok_or(RejectReason::UNSUPPORTED)?;
        let port = (asked.service_id & u64::from(u16::MAX)) as u16;
        let local = SocketAddr::new(asked.path.local.ip(), port);
        let peer = SocketAddr::new(asked.path.remote.ip(), header.source.port());
        let routes = self.0.routes.borrow();
        let taking = routes
            .listeners
            .iter()
            .filter(|listener| listener.takes(local));
        let exact = |listener: &&Listening| !listener.address.ip().is_unspecified();
        let listener = taking
            .max_by_key(exact)
            .ok_or(RejectReason::INVALID_SERVICE_ID)?;
        let channel = listener
            .channel
            .upgrade()
            .ok_or(RejectReason::INVALID_SERVICE_ID)?;
        if channel.backlog_of(listener.id) >= listener.backlog as usize {
            return Err(RejectReason::NO_RESOURCES);
        }
        Ok((listener.id, channel, local, peer))
    }
}
