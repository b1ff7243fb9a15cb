//! A queue pair.

use std::ptr::{self, NonNull};

use iobuf::{Buf, RemoteSegment};
use rdma_sys as sys;

use super::cq::CompletionQueue;
use super::pd::{ProtectionDomain, Scratch};
use super::qp_state;
use super::srq::SharedReceiveQueue;
use crate::completion::{QueuePairNumber, WorkCompletion, WorkKind, WorkStatus, send_id};
use crate::error::{Error, check, check_limit};
use crate::send_queue::{KeyedBuf, Operation, SendLimits, SendQueue, WorkRequest};
use crate::work::{Completed, PostError, QueuePairConfig};

/// A reliable connection's queue pair. What is queued is posted by [`QueuePair::flush`], in order and as
/// far as the send queue has room; completions make room, so flush again after them.
#[derive(Debug)]
pub(crate) struct QueuePair {
    pub(super) raw: NonNull<sys::ibv_qp>,
    pub(super) remote_access: bool,
    number: QueuePairNumber,
    generation: u32,
    send_queue: SendQueue,
    send_depth: u32,
    domain: ProtectionDomain,
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
        let most = domain.device().info().limits.work_requests;
        check_limit("a send queue", config.send_depth, most)?;
        send_cq.reserve(config.send_depth)?;
        let created = create(domain, send_cq, recv_cq, srq, config);
        let (raw, max_inline_bytes) =
            created.inspect_err(|_| send_cq.0.release(config.send_depth))?;
        // SAFETY: the library has just made the queue pair.
        let number = QueuePairNumber(unsafe { raw.as_ref() }.qp_num);
        Ok(Self {
            raw,
            remote_access: config.remote_access,
            number,
            generation: domain.0.next_generation(),
            send_queue: SendQueue::new(SendLimits {
                depth: config.send_depth,
                max_inline_bytes,
                max_message_bytes: domain.device().max_message_bytes(),
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
        let scratch = &mut *self.domain.0.scratch.borrow_mut();
        scratch.requests.clear();
        self.send_queue.fill(&mut scratch.requests);
        if scratch.requests.is_empty() {
            return Ok(());
        }
        let chain = scratch.link(self.generation);
        let mut bad = ptr::null_mut();
        // SAFETY: the queue pair lives, the chain was just linked, and the send queue owns the memory that
        // it names until the requests complete.
        let result = unsafe { sys::ibv_post_send(self.raw.as_ptr(), chain, &raw mut bad) };
        if result != 0 {
            self.send_queue.not_posted(scratch.first_not_posted(bad));
            return check("ibv_post_send", result);
        }
        self.send_queue.posted();
        let posted = scratch.requests.len() as u64;
        self.domain.device().0.counters.count(|c| {
            c.doorbells += 1;
            c.sends_posted += posted;
        });
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
        qp_state::to_error(self)
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

    pub(super) fn verbs(&self) -> &'static sys::Verbs {
        self.domain.device().0.context.verbs
    }

    fn keyed(&self, buf: Buf) -> Result<KeyedBuf, PostError> {
        self.domain.0.keyed(buf).ok_or(PostError::NotRegistered)
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        // SAFETY: the queue pair lives, and this is its only owner.
        let result = unsafe { (self.verbs().ibv_destroy_qp)(self.raw.as_ptr()) };
        if result != 0 {
            // The NIC may still use the buffers, so they are lost rather than reused.
            self.send_queue.leak();
        }
        self.send_cq.0.release(self.send_depth);
    }
}

/// Makes the queue pair. Returns also how many bytes it can take inline.
fn create(
    domain: &ProtectionDomain,
    send_cq: &CompletionQueue,
    recv_cq: &CompletionQueue,
    srq: &SharedReceiveQueue,
    config: QueuePairConfig,
) -> Result<(NonNull<sys::ibv_qp>, u32), Error> {
    let mut attributes = sys::ibv_qp_init_attr {
        send_cq: send_cq.0.raw.as_ptr(),
        recv_cq: recv_cq.0.raw.as_ptr(),
        srq: srq.0.raw.as_ptr(),
        cap: sys::ibv_qp_cap {
            max_send_wr: config.send_depth,
            max_recv_wr: 0,
            max_send_sge: 1,
            max_recv_sge: 0,
            max_inline_data: config.max_inline_bytes,
        },
        qp_type: sys::IBV_QPT_RC,
        sq_sig_all: 0,
        ..sys::ibv_qp_init_attr::default()
    };
    let verbs = domain.device().0.context.verbs;
    // SAFETY: the domain and the queues live, and the queue pair keeps them.
    let raw = unsafe { (verbs.ibv_create_qp)(domain.0.raw.as_ptr(), &raw mut attributes) };
    let raw = NonNull::new(raw).ok_or_else(|| Error::last("ibv_create_qp"))?;
    Ok((raw, attributes.cap.max_inline_data))
}

impl Scratch {
    /// Builds the library's chain from the requests, in entries that are kept from one chain to the next.
    fn link(&mut self, generation: u32) -> *mut sys::ibv_send_wr {
        let count = self.requests.len();
        if self.sends.len() < count {
            self.sends.resize_with(count, Default::default);
            self.elements.resize_with(count, Default::default);
        }
        let entries = self.sends.iter_mut().take(count);
        let entries = entries.zip(self.elements.iter_mut().take(count));
        let mut next = ptr::null_mut();
        for (request, (entry, element)) in self.requests.iter().zip(entries).rev() {
            write(request, generation, entry, element);
            entry.sg_list = element;
            entry.next = next;
            next = entry;
        }
        next
    }

    /// Sequence number of the request that `bad` points to, or of the first one when it points nowhere.
    fn first_not_posted(&self, bad: *mut sys::ibv_send_wr) -> u32 {
        let bad = bad.cast_const();
        let found = self.sends.iter().position(|entry| ptr::eq(entry, bad));
        let request = self.requests.get(found.unwrap_or(0));
        request.map_or(0, |request| request.sequence)
    }
}

/// Sets everything of a request but the pointers.
fn write(
    request: &WorkRequest,
    generation: u32,
    entry: &mut sys::ibv_send_wr,
    element: &mut sys::ibv_sge,
) {
    let (opcode, remote_addr, rkey) = match request.operation {
        Operation::Send => (sys::IBV_WR_SEND, 0, 0),
        Operation::SendWithInvalidate { .. } => (sys::IBV_WR_SEND_WITH_INV, 0, 0),
        Operation::Write { address, key } => (sys::IBV_WR_RDMA_WRITE, address, key),
        Operation::Read { address, key } => (sys::IBV_WR_RDMA_READ, address, key),
    };
    let signalled = if request.signalled {
        sys::IBV_SEND_SIGNALED
    } else {
        0
    };
    let inline = if request.inline {
        sys::IBV_SEND_INLINE
    } else {
        0
    };
    entry.wr_id = send_id(generation, request.sequence);
    // To some NICs an element of length 0 means 2 GiB.
    entry.num_sge = (request.len > 0).into();
    entry.opcode = opcode;
    entry.send_flags = signalled | inline;
    entry.wr.rdma.remote_addr = remote_addr;
    entry.wr.rdma.rkey = rkey;
    if let Operation::SendWithInvalidate { key } = request.operation {
        entry.__bindgen_anon_1.invalidate_rkey = key;
    }
    element.addr = request.address;
    element.length = request.len;
    element.lkey = request.key;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(request: &WorkRequest, generation: u32) -> (sys::ibv_send_wr, sys::ibv_sge) {
        let (mut entry, mut element) = Default::default();
        write(request, generation, &mut entry, &mut element);
        (entry, element)
    }

    #[test]
    fn a_read_names_both_sides() {
        let request = WorkRequest {
            sequence: 9,
            operation: Operation::Read {
                address: 0x1000,
                key: 0x22,
            },
            address: 0x7f00,
            len: 512,
            key: 0x33,
            signalled: true,
            inline: false,
        };
        let (entry, element) = written(&request, 3);
        assert_eq!(entry.opcode, sys::IBV_WR_RDMA_READ);
        assert_eq!(entry.send_flags, sys::IBV_SEND_SIGNALED);
        assert_eq!(entry.wr_id, send_id(3, 9));
        // SAFETY: the entry was made with this view of the union.
        let remote = unsafe { entry.wr.rdma };
        assert_eq!((remote.remote_addr, remote.rkey), (0x1000, 0x22));
        assert_eq!(
            (element.addr, element.length, element.lkey),
            (0x7f00, 512, 0x33)
        );
    }

    #[test]
    fn a_send_names_the_key_that_it_invalidates() {
        let request = |operation| WorkRequest {
            sequence: 1,
            operation,
            address: 0x7f00,
            len: 48,
            key: 0x33,
            signalled: false,
            inline: false,
        };
        let invalidate = Operation::SendWithInvalidate { key: 0x1234 };
        let (entry, _) = written(&request(invalidate), 0);
        assert_eq!(entry.opcode, sys::IBV_WR_SEND_WITH_INV);
        // SAFETY: the entry was made with this view of the union.
        assert_eq!(unsafe { entry.__bindgen_anon_1.invalidate_rkey }, 0x1234);
        let (plain, _) = written(&request(Operation::Send), 0);
        assert_eq!(plain.opcode, sys::IBV_WR_SEND);
    }

    #[test]
    fn a_chain_is_linked_in_order_and_ends() {
        let request = |sequence| WorkRequest {
            sequence,
            operation: Operation::Send,
            address: 0,
            len: 0,
            key: 0,
            signalled: false,
            inline: true,
        };
        let mut scratch = Scratch {
            requests: (5..8).map(request).collect(),
            ..Scratch::default()
        };
        let first = scratch.link(1);
        assert!(ptr::eq(first, &raw const scratch.sends[0]));
        assert!(ptr::eq(scratch.sends[0].next, &raw const scratch.sends[1]));
        assert!(scratch.sends[2].next.is_null());
        let bad = &raw mut scratch.sends[1];
        assert_eq!(scratch.first_not_posted(bad), 6);
        assert_eq!(scratch.first_not_posted(ptr::null_mut()), 5);

        // A shorter one in the same entries.
        scratch.requests.truncate(2);
        let first = scratch.link(1);
        assert!(ptr::eq(first, &raw const scratch.sends[0]));
        assert!(scratch.sends[1].next.is_null());
    }
}
