//! A completion queue.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use rdma_sys as sys;

use super::channel::CompletionChannel;
use super::device::Device;
use crate::completion::{CompletionQueueId, QueuePairNumber, WorkCompletion, WorkKind, WorkStatus};
use crate::error::{Error, check};

/// Completions taken from the library in one call.
const BATCH: usize = 32;

/// Where the completions of queue pairs and receive queues come. Clones are the same queue.
///
/// It cannot overrun, which would break every queue pair on it: each queue pair reserves the room that its
/// sends need, and the queue is resized when that is more than it has.
#[derive(Clone, Debug)]
pub(crate) struct CompletionQueue(pub(super) Rc<QueueInner>);

pub(super) struct QueueInner {
    pub(super) raw: NonNull<sys::ibv_cq>,
    pub(super) device: Device,
    _channel: Option<CompletionChannel>,
    depth: Cell<u32>,
    reserved: Cell<u32>,
    /// Events that the library must know of before the queue is destroyed; wraps as the kernel's own count
    /// does.
    handled: Cell<u32>,
    batch: RefCell<Batch>,
}

/// Where the library writes completions; kept, so that a poll that finds nothing does not clear it.
type Batch = [sys::ibv_wc; BATCH];

impl CompletionQueue {
    pub(crate) fn new(
        device: &Device,
        receives: u32,
        channel: Option<&CompletionChannel>,
    ) -> Result<Self, Error> {
        let depth = depth_for(receives.into(), device)?;
        let context = &device.0.context;
        let raw_channel = channel.map_or(ptr::null_mut(), |channel| channel.0.raw.as_ptr());
        // SAFETY: the context is open and the channel lives; the queue keeps both.
        let raw = unsafe {
            (context.verbs.ibv_create_cq)(
                context.raw.as_ptr(),
                depth.cast_signed(),
                ptr::null_mut(),
                raw_channel,
                0,
            )
        };
        let raw = NonNull::new(raw).ok_or_else(|| Error::last("ibv_create_cq"))?;
        let queue = Rc::new(QueueInner {
            raw,
            device: device.clone(),
            _channel: channel.cloned(),
            depth: Cell::new(depth),
            reserved: Cell::new(receives),
            handled: Cell::new(0),
            batch: RefCell::new([sys::ibv_wc::default(); BATCH]),
        });
        if let Some(channel) = channel {
            channel.add(&queue);
        }
        Ok(Self(queue))
    }

    pub(crate) fn id(&self) -> CompletionQueueId {
        self.0.id()
    }

    pub(crate) fn poll(&self, into: &mut [WorkCompletion]) -> Result<usize, Error> {
        let mut batch = self.0.batch.borrow_mut();
        let most = into.len().min(BATCH);
        // SAFETY: the queue lives, and the batch has room for that many.
        let got = unsafe { sys::ibv_poll_cq(self.0.raw.as_ptr(), most as i32, batch.as_mut_ptr()) };
        let got = usize::try_from(got).map_err(|_| Error::last("ibv_poll_cq"))?;
        for (to, from) in into.iter_mut().zip(batch.iter().take(got)) {
            *to = translate(from);
        }
        self.0.device.0.counters.count(|c| {
            c.polls += 1;
            c.completions += got as u64;
        });
        Ok(got)
    }

    pub(crate) fn arm(&self) -> Result<(), Error> {
        self.0.device.0.counters.count(|c| c.arms += 1);
        // SAFETY: the queue lives.
        let result = unsafe { sys::ibv_req_notify_cq(self.0.raw.as_ptr(), 0) };
        check("ibv_req_notify_cq", result)
    }

    /// Makes room for `count` more completions, until [`QueueInner::release`].
    pub(super) fn reserve(&self, count: u32) -> Result<(), Error> {
        let queue = &self.0;
        let needed = queue.reserved.get().saturating_add(count);
        if needed > queue.depth.get() {
            // Doubling keeps a storm of logins from resizing at each.
            let doubled = u64::from(queue.depth.get()) * 2;
            let most = u64::from(queue.device.info().limits.completions);
            let depth = depth_for(doubled.min(most).max(needed.into()), &queue.device)?;
            let verbs = queue.device.0.context.verbs;
            // SAFETY: the queue lives, and this thread is the only one that polls it.
            let result = unsafe { (verbs.ibv_resize_cq)(queue.raw.as_ptr(), depth.cast_signed()) };
            check("ibv_resize_cq", result)?;
            queue.depth.set(depth);
        }
        queue.reserved.set(needed);
        Ok(())
    }
}

impl QueueInner {
    /// The kernel names a queue in an event by what the library registered: the address of its structure.
    pub(super) fn id(&self) -> CompletionQueueId {
        CompletionQueueId(self.raw.as_ptr() as u64)
    }

    pub(super) fn event_handled(&self) {
        self.handled.set(self.handled.get().wrapping_add(1));
    }

    pub(super) fn release(&self, count: u32) {
        self.reserved.set(self.reserved.get().saturating_sub(count));
    }
}

impl fmt::Debug for QueueInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionQueue")
            .field("depth", &self.depth.get())
            .field("reserved", &self.reserved.get())
            .finish_non_exhaustive()
    }
}

impl Drop for QueueInner {
    fn drop(&mut self) {
        let verbs = self.device.0.context.verbs;
        // SAFETY: the queue lives; all events that were read are acknowledged in one go, as destroying
        // waits for that.
        unsafe { (verbs.ibv_ack_cq_events)(self.raw.as_ptr(), self.handled.get()) };
        // SAFETY: what reports here holds this object, so nothing is left.
        unsafe { (verbs.ibv_destroy_cq)(self.raw.as_ptr()) };
    }
}

fn depth_for(needed: u64, device: &Device) -> Result<u32, Error> {
    let most = device.info().limits.completions;
    match u32::try_from(needed) {
        Ok(depth) if depth <= most => Ok(depth.max(1)),
        _ => Err(Error::CompletionQueueFull { needed, most }),
    }
}

fn translate(from: &sys::ibv_wc) -> WorkCompletion {
    // SAFETY: all views of this union are plain numbers.
    let key = unsafe { from.__bindgen_anon_1.invalidated_rkey };
    WorkCompletion {
        queue_pair: QueuePairNumber(from.qp_num),
        kind: WorkKind::of(from.wr_id),
        status: status(from.status),
        byte_len: from.byte_len,
        invalidated_key: (from.wc_flags & sys::IBV_WC_WITH_INV != 0).then_some(key),
        work_id: from.wr_id,
    }
}

fn status(number: sys::ibv_wc_status) -> WorkStatus {
    match number {
        sys::IBV_WC_SUCCESS => WorkStatus::Success,
        sys::IBV_WC_WR_FLUSH_ERR => WorkStatus::Flushed,
        sys::IBV_WC_LOC_LEN_ERR => WorkStatus::LocalLength,
        sys::IBV_WC_LOC_QP_OP_ERR => WorkStatus::LocalOperation,
        sys::IBV_WC_LOC_PROT_ERR => WorkStatus::LocalProtection,
        sys::IBV_WC_REM_ACCESS_ERR => WorkStatus::RemoteAccess,
        sys::IBV_WC_REM_INV_REQ_ERR => WorkStatus::RemoteInvalidRequest,
        sys::IBV_WC_REM_OP_ERR => WorkStatus::RemoteOperation,
        sys::IBV_WC_RETRY_EXC_ERR => WorkStatus::RetryExceeded,
        sys::IBV_WC_RNR_RETRY_EXC_ERR => WorkStatus::ReceiverNotReady,
        other => WorkStatus::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion::receive_id;

    #[test]
    fn a_completion_keeps_what_the_library_said() {
        let mut raw = sys::ibv_wc {
            wr_id: receive_id(5),
            status: sys::IBV_WC_SUCCESS,
            byte_len: 36,
            qp_num: 0x12,
            wc_flags: sys::IBV_WC_WITH_INV,
            ..sys::ibv_wc::default()
        };
        raw.__bindgen_anon_1.invalidated_rkey = 0x1234;
        let completion = translate(&raw);
        assert_eq!(completion.kind, WorkKind::Receive);
        assert_eq!(completion.status, WorkStatus::Success);
        assert_eq!(completion.queue_pair, QueuePairNumber(0x12));
        assert_eq!(completion.byte_len, 36);
        assert_eq!(completion.invalidated_key, Some(0x1234));
        assert_eq!(completion.index(), 5);
        assert_eq!(status(23), WorkStatus::Other(23));
    }
}
