//! Shared receive queues.

use std::cell::RefCell;
use std::rc::Rc;

use iobuf::Buf;
use roce::{RecvRequest, Sge, SharedReceiveQueueId};

use super::domain::ProtectionDomain;
use crate::completion::{WorkCompletion, WorkStatus, receive_id};
use crate::error::{Error, check_limit};
use crate::receive_slots::ReceiveSlots;
use crate::work::{ReceivePostError, Received};

/// Clones are the same queue.
#[derive(Clone, Debug)]
pub(crate) struct SharedReceiveQueue(pub(super) Rc<ReceiveQueueInner>);

#[derive(Debug)]
pub(super) struct ReceiveQueueInner {
    pub(super) id: SharedReceiveQueueId,
    pub(super) domain: ProtectionDomain,
    depth: u32,
    slots: RefCell<ReceiveSlots>,
}

impl SharedReceiveQueue {
    pub(crate) fn new(domain: &ProtectionDomain, depth: u32) -> Result<Self, Error> {
        let device = &domain.0.device;
        check_limit(
            "a receive queue",
            depth,
            device.info().limits.shared_receives,
        )?;
        let node = &mut device.core().node;
        let id = node.create_shared_receive_queue(domain.0.number, depth as usize);
        Ok(Self(Rc::new(ReceiveQueueInner {
            id,
            domain: domain.clone(),
            depth,
            slots: RefCell::new(ReceiveSlots::new(depth)),
        })))
    }

    pub(crate) fn post(&self, buf: Buf) -> Result<(), ReceivePostError> {
        let Some(key) = self.0.domain.0.key_of(&buf) else {
            return Err(ReceivePostError::NotRegistered(buf));
        };
        let sge = Sge {
            address: buf.address(),
            length: u32::try_from(buf.len()).unwrap_or(u32::MAX),
            key,
        };
        let mut slots = self.0.slots.borrow_mut();
        let slot = slots.insert(buf).map_err(ReceivePostError::Full)?;
        let request = RecvRequest {
            wr_id: receive_id(slot),
            sges: &[sge],
        };
        let device = &self.0.domain.0.device;
        let posted = device.core().node.post_shared_recv(self.0.id, &request);
        device.count(|c| c.receives_posted += 1);
        if posted.is_err() {
            let refused = WorkCompletion {
                status: WorkStatus::Flushed,
                work_id: receive_id(slot),
                ..WorkCompletion::default()
            };
            if let Some(received) = slots.take(&refused) {
                return Err(ReceivePostError::NotRegistered(received.buf));
            }
        }
        Ok(())
    }

    pub(crate) fn take(&self, completion: &WorkCompletion) -> Option<Received> {
        self.0.slots.borrow_mut().take(completion)
    }

    pub(crate) fn room(&self) -> usize {
        self.0.slots.borrow().room()
    }

    pub(crate) fn depth(&self) -> u32 {
        self.0.depth
    }
}
