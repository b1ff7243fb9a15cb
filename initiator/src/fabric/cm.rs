//! Events of the connection manager: those that a step waits for, and the others, which are kept.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rdma::{CmEvent, Connection, ConnectionId, Error, EventChannel, Fabric};

use crate::error::ConnectError;

/// The CM's reason for a reject when nobody listens (InfiniBand Architecture, table 111).
const REASON_INVALID_SERVICE: i32 = 8;

#[derive(Debug)]
pub(crate) struct CmEvents {
    pub(crate) fabric: Fabric,
    pub(crate) channel: EventChannel,
    aside: VecDeque<CmEvent>,
}

/// A peer's answer to a connection request.
#[derive(Debug)]
pub(crate) enum Verdict {
    Accepted(Vec<u8>),
    Rejected { reason: i32, private_data: Vec<u8> },
}

/// The limits of one attempt to connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) address: SocketAddr,
    pub(crate) timeout_ms: u32,
}

impl CmEvents {
    pub(crate) fn new(fabric: &Fabric) -> Result<Self, Error> {
        Ok(Self {
            fabric: fabric.clone(),
            channel: EventChannel::new(fabric)?,
            aside: VecDeque::new(),
        })
    }

    /// Waits until this channel or `other` has something, but not longer than `most`; moves the packets of a fabric
    /// that does not move them by itself.
    pub(crate) fn wait(&self, other: Option<BorrowedFd<'_>>, most: Duration) -> Result<(), Error> {
        self.fabric.wait(&[self.channel.fd(), other], most)
    }

    /// Takes in and sends what a fabric does not move by itself, without waiting.
    pub(crate) fn move_packets(&self) -> Result<(), Error> {
        match self.fabric.is_driven() {
            true => self.wait(None, Duration::ZERO),
            false => Ok(()),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<CmEvent>, Error> {
        match self.aside.pop_front() {
            Some(event) => Ok(Some(event)),
            None => self.channel.next_event(),
        }
    }

    /// Waits for the next event of this connection; events of others are kept for [`CmEvents::next`].
    fn of(
        &mut self,
        id: ConnectionId,
        step: &'static str,
        timeout_ms: u32,
    ) -> Result<CmEvent, ConnectError> {
        let limit = Instant::now() + Duration::from_millis(timeout_ms.into());
        loop {
            match self.channel.next_event()? {
                Some(event) if connection_of(&event) == Some(id) => return Ok(event),
                Some(event) => self.aside.push_back(event),
                None => {
                    let left = limit.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(ConnectError::TimedOut { step, timeout_ms });
                    }
                    self.wait(None, left)?;
                }
            }
        }
    }

    /// A connection whose device is known.
    pub(crate) fn resolve(
        &mut self,
        source: Option<SocketAddr>,
        patience: Patience,
    ) -> Result<Connection, ConnectError> {
        let Patience {
            address,
            timeout_ms,
        } = patience;
        let connection = Connection::resolve(&self.channel, source, address, timeout_ms)?;
        let step = "finding the device that leads to the target";
        match self.of(connection.id(), step, timeout_ms)? {
            CmEvent::AddressResolved(_) => Ok(connection),
            event => Err(failure(&event, address)),
        }
    }

    pub(crate) fn resolve_route(
        &mut self,
        connection: &Connection,
        patience: Patience,
    ) -> Result<(), ConnectError> {
        connection.resolve_route(patience.timeout_ms)?;
        let step = "finding the route to the target";
        match self.of(connection.id(), step, patience.timeout_ms)? {
            CmEvent::RouteResolved(_) => Ok(()),
            event => Err(failure(&event, patience.address)),
        }
    }

    /// What the peer says to a connection request that was sent.
    pub(crate) fn verdict(
        &mut self,
        connection: &Connection,
        patience: Patience,
    ) -> Result<Verdict, ConnectError> {
        let step = "waiting for the target's answer to the login";
        match self.of(connection.id(), step, patience.timeout_ms)? {
            CmEvent::Accepted { private_data, .. } => Ok(Verdict::Accepted(private_data)),
            CmEvent::Rejected {
                reason,
                private_data,
                ..
            } if reason != REASON_INVALID_SERVICE => Ok(Verdict::Rejected {
                reason,
                private_data,
            }),
            event => Err(failure(&event, patience.address)),
        }
    }
}

fn failure(event: &CmEvent, address: SocketAddr) -> ConnectError {
    match *event {
        CmEvent::Rejected { .. } => ConnectError::NobodyListens(address),
        CmEvent::ResolveFailed { errno, .. } => ConnectError::NoRoute { address, errno },
        CmEvent::ConnectFailed { errno, .. } | CmEvent::Unreachable { errno, .. } => {
            ConnectError::NoAnswer { address, errno }
        }
        _ => ConnectError::NoAnswer { address, errno: 0 },
    }
}

/// Whose event it is; `None` for those of listeners.
pub(crate) fn connection_of(event: &CmEvent) -> Option<ConnectionId> {
    match *event {
        CmEvent::ConnectRequest(_) => None,
        CmEvent::AddressResolved(id)
        | CmEvent::RouteResolved(id)
        | CmEvent::ResolveFailed { id, .. }
        | CmEvent::Accepted { id, .. }
        | CmEvent::Established(id)
        | CmEvent::Rejected { id, .. }
        | CmEvent::ConnectFailed { id, .. }
        | CmEvent::Unreachable { id, .. }
        | CmEvent::Disconnected(id)
        | CmEvent::TimewaitExit(id)
        | CmEvent::DeviceRemoval(id)
        | CmEvent::AddressChanged(id) => Some(id),
    }
}

/// Whether the event ends an established connection.
pub(crate) fn is_end(event: &CmEvent) -> bool {
    matches!(
        event,
        CmEvent::Disconnected(_) | CmEvent::TimewaitExit(_) | CmEvent::DeviceRemoval(_)
    )
}
