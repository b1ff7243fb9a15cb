//! A queue pair.

use iobuf::{Buf, RemoteSegment};

use crate::completion::{QueuePairNumber, WorkCompletion};
use crate::completion_queue::CompletionQueue;
use crate::error::Error;
use crate::protection_domain::ProtectionDomain;
use crate::provided::{Provided, on_either};
use crate::shared_receive_queue::SharedReceiveQueue;
use crate::work::{Completed, PostError, QueuePairConfig};
use crate::{soft, verbs};

/// A reliable connection's queue pair. What is queued is posted by [`QueuePair::flush`], in order and as
/// far as the send queue has room; completions make room, so flush again after them.
#[derive(Debug)]
pub struct QueuePair(pub(crate) Provided<verbs::QueuePair, soft::QueuePair>);

impl QueuePair {
    /// A queue pair that is not connected yet: accept or connect with it. Its receives come from `srq` and
    /// complete on `recv_cq`.
    ///
    /// # Errors
    /// The device is used up or gone, or the completion queue cannot grow.
    pub fn new(
        domain: &ProtectionDomain,
        send_cq: &CompletionQueue,
        recv_cq: &CompletionQueue,
        srq: &SharedReceiveQueue,
        config: QueuePairConfig,
    ) -> Result<Self, Error> {
        use Provided::{Soft, Verbs};
        match (&domain.inner, &send_cq.0, &recv_cq.0, &srq.0) {
            (Verbs(domain), Verbs(send_cq), Verbs(recv_cq), Verbs(srq)) => {
                let made = verbs::QueuePair::new(domain, send_cq, recv_cq, srq, config)?;
                Ok(Self(Verbs(made)))
            }
            (Soft(domain), Soft(send_cq), Soft(recv_cq), Soft(srq)) => {
                let made = soft::QueuePair::new(domain, send_cq, recv_cq, srq, config)?;
                Ok(Self(Soft(made)))
            }
            _ => Err(Error::OtherFabric),
        }
    }

    /// Its number, as completions carry it.
    pub fn number(&self) -> QueuePairNumber {
        on_either!(&self.0, pair => pair.number())
    }

    /// Queues RDMA WRITEs of `data` to the segments in order, then a SEND of `message`. Segments longer
    /// than the data are filled as far as it goes. With `invalidate`, the SEND makes that key of the peer's invalid.
    ///
    /// # Errors
    /// Nothing is queued, and the buffers return to their pools.
    pub fn queue_respond(
        &mut self,
        data: Option<Buf>,
        segments: &[RemoteSegment],
        message: Buf,
        invalidate: Option<u32>,
    ) -> Result<(), PostError> {
        on_either!(&mut self.0, pair => pair
            .queue_respond(data, segments, message, invalidate))
    }

    /// Queues RDMA READs of the segments in order into `buf`, which comes back by [`Completed::Pulled`]
    /// with this token.
    ///
    /// # Errors
    /// Nothing is queued, and the buffer returns to its pool.
    pub fn queue_pull(
        &mut self,
        token: u64,
        buf: Buf,
        segments: &[RemoteSegment],
    ) -> Result<(), PostError> {
        on_either!(&mut self.0, pair => pair.queue_pull(token, buf, segments))
    }

    /// Posts one chain of as many work requests as the send queue has room for, with one doorbell. Does
    /// nothing when nothing is queued, or no room is left.
    ///
    /// # Errors
    /// The queue pair is lost; what was queued fails.
    pub fn flush(&mut self) -> Result<(), Error> {
        on_either!(&mut self.0, pair => pair.flush())
    }

    /// Takes a completion of the send queue; then ask [`QueuePair::poll_completed`] until `None`. Returns
    /// false for a completion that is not of this queue pair: one of a destroyed one that had the same
    /// number.
    pub fn handle_completion(&mut self, completion: &WorkCompletion) -> bool {
        on_either!(&mut self.0, pair => pair.handle_completion(completion))
    }

    /// The next operation that has ended. Operations succeed in the order of queueing; after a failure,
    /// those that were never posted end first.
    pub fn poll_completed(&mut self) -> Option<Completed> {
        on_either!(&mut self.0, pair => pair.poll_completed())
    }

    /// Puts the queue pair into the error state: what is not posted fails at once, what is posted comes
    /// back flushed.
    ///
    /// # Errors
    /// The queue pair was never connected, or the device is gone. Dropping it is safe nevertheless.
    pub fn to_error(&mut self) -> Result<(), Error> {
        on_either!(&mut self.0, pair => pair.enter_error())
    }

    /// True when the NIC has given every posted request back. A queue pair can be dropped at any time;
    /// dropping it drained, after [`crate::DeviceEvent::LastReceiveReached`], leaves no completion behind.
    pub fn is_drained(&self) -> bool {
        on_either!(&self.0, pair => pair.is_drained())
    }

    /// True when something is queued that [`QueuePair::flush`] has not posted.
    pub fn has_pending(&self) -> bool {
        on_either!(&self.0, pair => pair.has_pending())
    }

    /// True after a failed completion, a failed flush, or [`QueuePair::to_error`].
    pub fn has_failed(&self) -> bool {
        on_either!(&self.0, pair => pair.has_failed())
    }
}
