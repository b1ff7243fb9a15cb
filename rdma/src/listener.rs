//! Waiting for peers to connect.

use std::net::SocketAddr;

use crate::address::ListenAddress;
use crate::cm_event::ConnectionId;
use crate::error::Error;
use crate::event_channel::EventChannel;
use crate::provided::{Provided, on_either};
use crate::{soft, verbs};

/// A listener; its requests come as `CmEvent::ConnectRequest`. Dropping it ends the listening and leaves
/// connections alone.
#[derive(Debug)]
pub struct Listener(Provided<verbs::Listener, soft::Listener>);

impl Listener {
    /// Listens on `address`, with room for `backlog` requests that are not accepted or rejected yet.
    ///
    /// # Errors
    /// The address is in use, or no RDMA device has it.
    pub fn bind(
        channel: &EventChannel,
        address: &ListenAddress,
        backlog: u32,
    ) -> Result<Self, Error> {
        Ok(Self(match &channel.0 {
            Provided::Verbs(channel) => {
                Provided::Verbs(verbs::Listener::bind(channel, address, backlog)?)
            }
            Provided::Soft(channel) => {
                Provided::Soft(soft::Listener::bind(channel, address, backlog)?)
            }
        }))
    }

    /// Listens on the addresses too that have come since, when it is on the wildcard address. What the kernel listens on
    /// follows by itself.
    ///
    /// # Errors
    /// The kernel does not list its interfaces, or refuses a socket on a new address.
    pub fn follow_addresses(&mut self) -> Result<(), Error> {
        match &mut self.0 {
            Provided::Verbs(_) => Ok(()),
            Provided::Soft(listener) => listener.follow_addresses(),
        }
    }

    /// Names this listener in the events of its channel.
    pub fn id(&self) -> ConnectionId {
        on_either!(&self.0, listener => listener.id())
    }

    /// The IP address and port that it listens on; `None` for a native one.
    pub fn local_address(&self) -> Option<SocketAddr> {
        on_either!(&self.0, listener => listener.local_address())
    }
}
