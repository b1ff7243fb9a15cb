//! Completion queues.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::device::Device;
use crate::completion::{CompletionQueueId, QueuePairNumber, WorkCompletion, WorkKind};
use crate::error::Error;

/// Completions taken in one call, as with the other provider.
const BATCH: usize = 32;

/// Clones are the same queue.
#[derive(Clone, Debug)]
pub(crate) struct CompletionQueue(pub(super) Rc<QueueInner>);

#[derive(Debug)]
pub(super) struct QueueInner {
    id: CompletionQueueId,
    pub(super) device: Device,
    reserved: Cell<u32>,
    waiting: RefCell<VecDeque<WorkCompletion>>,
}

impl CompletionQueue {
    pub(crate) fn new(device: &Device, receives: u32) -> Result<Self, Error> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let queue = Self(Rc::new(QueueInner {
            id: CompletionQueueId(LAST.fetch_add(1, Ordering::Relaxed) + 1),
            device: device.clone(),
            reserved: Cell::new(0),
            waiting: RefCell::default(),
        }));
        queue.reserve(receives)?;
        Ok(queue)
    }

    pub(crate) fn id(&self) -> CompletionQueueId {
        self.0.id
    }

    pub(crate) fn poll(&self, into: &mut [WorkCompletion]) -> usize {
        let mut waiting = self.0.waiting.borrow_mut();
        let most = into.len().min(BATCH).min(waiting.len());
        for (to, from) in into.iter_mut().zip(waiting.drain(..most)) {
            *to = from;
        }
        self.0.device.count(|c| {
            c.polls += 1;
            c.completions += most as u64;
        });
        most
    }

    /// Counts `count` completions more that can be outstanding, until [`QueueInner::release`].
    pub(super) fn reserve(&self, count: u32) -> Result<(), Error> {
        let needed = u64::from(self.0.reserved.get()) + u64::from(count);
        let most = self.0.device.info().limits.completions;
        match u32::try_from(needed) {
            Ok(reserved) if reserved <= most => self.0.reserved.set(reserved),
            _ => return Err(Error::CompletionQueueFull { needed, most }),
        }
        Ok(())
    }
}

impl QueueInner {
    pub(super) fn release(&self, count: u32) {
        self.reserved.set(self.reserved.get().saturating_sub(count));
    }

    pub(super) fn push(&self, completion: WorkCompletion) {
        self.waiting.borrow_mut().push_back(completion);
    }

    /// Forgets the sends of a queue pair that is destroyed.
    pub(super) fn forget_sends(&self, number: QueuePairNumber) {
        let of_it = |completion: &WorkCompletion| {
            completion.queue_pair == number && completion.kind == WorkKind::Send
        };
        self.waiting
            .borrow_mut()
            .retain(|completion| !of_it(completion));
    }
}
