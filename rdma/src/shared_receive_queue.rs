//! A shared receive queue.

use iobuf::Buf;

use crate::completion::WorkCompletion;
use crate::error::Error;
use crate::protection_domain::ProtectionDomain;
use crate::provided::{Provided, on_either};
use crate::work::{ReceivePostError, Received};
use crate::{soft, verbs};

/// Receives that all queue pairs made with it share. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct SharedReceiveQueue(
    pub(crate) Provided<verbs::SharedReceiveQueue, soft::SharedReceiveQueue>,
);

impl SharedReceiveQueue {
    /// A queue of `depth` receives.
    ///
    /// # Errors
    /// The device holds fewer, or is gone.
    pub fn new(domain: &ProtectionDomain, depth: u32) -> Result<Self, Error> {
        Ok(Self(match &domain.inner {
            Provided::Verbs(domain) => {
                Provided::Verbs(verbs::SharedReceiveQueue::new(domain, depth)?)
            }
            Provided::Soft(domain) => Provided::Soft(soft::SharedReceiveQueue::new(domain, depth)?),
        }))
    }

    /// Gives the window of `buf` to the NIC at the next [`SharedReceiveQueue::flush`].
    ///
    /// # Errors
    /// The queue is full, or the buffer's arena is not registered; the buffer is in the error.
    pub fn post(&self, buf: Buf) -> Result<(), ReceivePostError> {
        on_either!(&self.0, queue => queue.post(buf))
    }

    /// Posts in one call what was given since the last flush.
    ///
    /// # Errors
    /// The device is gone or broken. The buffers stay with the queue until it is destroyed.
    pub fn flush(&self) -> Result<(), Error> {
        match &self.0 {
            Provided::Verbs(queue) => queue.flush(),
            // They were posted at once: no call waits to be saved.
            Provided::Soft(_) => Ok(()),
        }
    }

    /// The buffer of a completed receive, cut to what came. `None` for a completion of something else.
    pub fn take(&self, completion: &WorkCompletion) -> Option<Received> {
        on_either!(&self.0, queue => queue.take(completion))
    }

    /// Receives that can be posted now.
    pub fn room(&self) -> usize {
        on_either!(&self.0, queue => queue.room())
    }

    /// Receives that the queue has room for in all.
    pub fn depth(&self) -> u32 {
        on_either!(&self.0, queue => queue.depth())
    }
}
