//! The connection manager's event channel.

use std::os::fd::BorrowedFd;

use crate::cm_event::CmEvent;
use crate::error::Error;
use crate::fabric::Fabric;
use crate::provided::{Provided, on_either};
use crate::{soft, verbs};

/// Where listeners and connections report. Clones are the same channel.
#[derive(Clone, Debug)]
pub struct EventChannel(pub(crate) Provided<verbs::EventChannel, soft::EventChannel>);

impl EventChannel {
    /// A new channel, whose descriptor does not block.
    ///
    /// # Errors
    /// A missing library, or [`Error::NoConnectionManager`] when the kernel's `rdma_ucm` cannot be reached.
    pub fn new(fabric: &Fabric) -> Result<Self, Error> {
        Ok(Self(match &fabric.0 {
            Provided::Verbs(()) => Provided::Verbs(verbs::EventChannel::new()?),
            Provided::Soft(fabric) => Provided::Soft(soft::EventChannel::new(fabric)),
        }))
    }

    /// The next event; `None` when there is none now. It is acknowledged here, so that connections can be
    /// dropped at any time; of a dropped connection no event comes any more.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub fn next_event(&self) -> Result<Option<CmEvent>, Error> {
        on_either!(&self.0, channel => channel.next_event())
    }

    /// Readable when [`EventChannel::next_event`] has something. The soft fabric has none: ask after each
    /// [`Fabric::receive`].
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Provided::Verbs(channel) => Some(channel.fd()),
            Provided::Soft(_) => None,
        }
    }
}
