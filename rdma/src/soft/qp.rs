//! Queue pairs.

use iobuf::{Buf, RemoteSegment};
use roce::{Access, Key, Remote, SendRequest, Sge};

use super::cq::CompletionQueue;
use super::domain::ProtectionDomain;
use super::interface::MAX_MESSAGE_BYTES;
use super::srq::SharedReceiveQueue;
use crate::completion::{QueuePairNumber, WorkCompletion, WorkKind, WorkStatus, send_id};
use crate::error::{Error, check_limit};
use crate::send_queue::{KeyedBuf, Operation, SendLimits, SendQueue, WorkRequest};
use crate::work::{Completed, PostError, QueuePairConfig};

/// A queue pair of the node. Its packets leave at the fabric's next transmission.
#[derive(Debug)]
pub(crate) struct QueuePair {
    number: QueuePairNumber,
    generation: u32,
    send_queue: SendQueue,
    send_depth: u32,
    pub(super) domain: ProtectionDomain,
    send_cq: CompletionQueue,
    _recv_cq: CompletionQueue,
    _srq: SharedReceiveQueue,
}

impl QueuePair {
    pub(crate) fn new(
        domain: &ProtectionDomain,
        send_cq: &CompletionQueue,
        recv_cq: &CompletionQueue,
        srq: &SharedReceiveQueue,
        config: QueuePairConfig,
    ) -> Result<Self, Error> {
        let device = &domain.0.device;
        device.check_same(&send_cq.0.device)?;
        device.check_same(&recv_cq.0.device)?;
        device.check_same(&srq.0.domain.0.device)?;
        let limits = device.info().limits;
        check_limit("a send queue", config.send_depth, limits.work_requests)?;
        send_cq.reserve(config.send_depth)?;
        let access = match config.remote_access {
            true => Access::REMOTE_READ.or(Access::REMOTE_WRITE),
            false => Access::LOCAL_READ,
        };
        let wanted = roce::qp::QueuePairConfig {
            pd: domain.0.number,
            access,
            send_capacity: config.send_depth as usize,
            recv_capacity: 0,
        };
        let Some(number) = device.create_queue_pair(wanted, srq.0.id, send_cq, recv_cq) else {
            send_cq.0.release(config.send_depth);
            return Err(Error::DeviceLimit {
                what: "a table of queue pairs",
                asked: limits.queue_pairs + 1,
                most: limits.queue_pairs,
            });
        };
        Ok(Self {
            number,
            generation: domain.0.next_generation(),
            send_queue: SendQueue::new(SendLimits {
                depth: config.send_depth,
                // A message is sent from where it lies, which saves the copy.
                max_inline_bytes: 0,
                max_message_bytes: MAX_MESSAGE_BYTES,
            }),
            send_depth: config.send_depth,
            domain: domain.clone(),
            send_cq: send_cq.clone(),
            _recv_cq: recv_cq.clone(),
            _srq: srq.clone(),
        })
    }

    pub(crate) fn number(&self) -> QueuePairNumber {
        self.number
    }

    pub(crate) fn queue_respond(
        &mut self,
        data: Option<Buf>,
        segments: &[RemoteSegment],
        message: Buf,
        invalidate: Option<u32>,
    ) -> Result<(), PostError> {
        let data = data.map(|data| self.keyed(data)).transpose()?;
        let message = self.keyed(message)?;
        self.send_queue
            .queue_respond(data, segments, message, invalidate)
    }

    pub(crate) fn queue_pull(
        &mut self,
        token: u64,
        buf: Buf,
        segments: &[RemoteSegment],
    ) -> Result<(), PostError> {
        let buf = self.keyed(buf)?;
        self.send_queue.queue_pull(token, buf, segments)
    }

    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        let requests = &mut *self.domain.0.scratch.borrow_mut();
        requests.clear();
        self.send_queue.fill(requests);
        let device = &self.domain.0.device;
        for request in requests.iter() {
            if let Err(error) = device.post_send(self.number, self.generation, request) {
                self.send_queue.not_posted(request.sequence);
                device.settle();
                return Err(Error::refused("post a send", error));
            }
        }
        if !requests.is_empty() {
            self.send_queue.posted();
            device.settle();
            device.count(|c| {
                c.doorbells += 1;
                c.sends_posted += requests.len() as u64;
            });
        }
        Ok(())
    }

    pub(crate) fn handle_completion(&mut self, completion: &WorkCompletion) -> bool {
        let sequence = completion.index();
        completion.kind == WorkKind::Send
            && completion.work_id == send_id(self.generation, sequence)
            && self.send_queue.retire(sequence, completion.status)
    }

    pub(crate) fn poll_completed(&mut self) -> Option<Completed> {
        self.send_queue.poll_completed()
    }

    pub(crate) fn enter_error(&mut self) -> Result<(), Error> {
        self.send_queue.fail(WorkStatus::Flushed);
        self.domain.0.device.fail_queue_pair(self.number);
        Ok(())
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.send_queue.is_drained()
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.send_queue.has_pending()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.send_queue.has_failed()
    }

    fn keyed(&self, buf: Buf) -> Result<KeyedBuf, PostError> {
        self.domain.0.keyed(buf).ok_or(PostError::NotRegistered)
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        self.domain.0.device.destroy_queue_pair(self.number);
        self.send_cq.0.forget_sends(self.number);
        self.send_cq.0.release(self.send_depth);
    }
}

/// Hands a work request to the node in its own words.
pub(super) fn with_request<R>(
    request: &WorkRequest,
    generation: u32,
    act: impl FnOnce(&SendRequest<'_>) -> R,
) -> R {
    let remote = |address, key| Remote {
        address,
        key: Key(key),
    };
    let sge = Sge {
        address: request.address,
        length: request.len,
        key: Key(request.key),
    };
    act(&SendRequest {
        wr_id: send_id(generation, request.sequence),
        operation: match request.operation {
            Operation::Send => roce::Operation::Send,
            Operation::SendWithInvalidate { key } => roce::Operation::SendWithInvalidate(Key(key)),
            Operation::Write { address, key } => roce::Operation::Write(remote(address, key)),
            Operation::Read { address, key } => roce::Operation::Read(remote(address, key)),
        },
        sges: &[sge],
        signaled: request.signalled,
        fence: false,
        solicited: false,
    })
}
