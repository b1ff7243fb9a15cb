//! A shared receive queue.

use std::cell::RefCell;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use iobuf::Buf;
use rdma_sys as sys;

use super::pd::ProtectionDomain;
use crate::completion::{WorkCompletion, receive_id};
use crate::error::{Error, check, check_limit};
use crate::receive_slots::ReceiveSlots;
use crate::work::{ReceivePostError, Received};

/// Receives that all queue pairs made with it share. Clones are the same queue.
#[derive(Clone, Debug)]
pub(crate) struct SharedReceiveQueue(pub(super) Rc<ReceiveQueueInner>);

#[derive(Debug)]
pub(super) struct ReceiveQueueInner {
    pub(super) raw: NonNull<sys::ibv_srq>,
    domain: ProtectionDomain,
    depth: u32,
    state: RefCell<ReceiveState>,
}

#[derive(Debug)]
struct ReceiveState {
    slots: ReceiveSlots,
    /// Receives that the next flush posts; the pointers in it are set then.
    chain: Vec<sys::ibv_recv_wr>,
    elements: Vec<sys::ibv_sge>,
}

impl SharedReceiveQueue {
    pub(crate) fn new(domain: &ProtectionDomain, depth: u32) -> Result<Self, Error> {
        let most = domain.device().info().limits.shared_receives;
        check_limit("a receive queue", depth, most)?;
        let mut attributes = sys::ibv_srq_init_attr {
            attr: sys::ibv_srq_attr {
                max_wr: depth,
                max_sge: 1,
                srq_limit: 0,
            },
            ..sys::ibv_srq_init_attr::default()
        };
        let verbs = domain.device().0.context.verbs;
        // SAFETY: the domain lives, and the queue keeps it.
        let raw = unsafe { (verbs.ibv_create_srq)(domain.0.raw.as_ptr(), &raw mut attributes) };
        let raw = NonNull::new(raw).ok_or_else(|| Error::last("ibv_create_srq"))?;
        let state = ReceiveState {
            slots: ReceiveSlots::new(depth),
            chain: Vec::new(),
            elements: Vec::new(),
        };
        Ok(Self(Rc::new(ReceiveQueueInner {
            raw,
            domain: domain.clone(),
            depth,
            state: RefCell::new(state),
        })))
    }

    pub(crate) fn post(&self, buf: Buf) -> Result<(), ReceivePostError> {
        let Some(lkey) = self.0.domain.0.key_of(&buf) else {
            return Err(ReceivePostError::NotRegistered(buf));
        };
        let element = sys::ibv_sge {
            addr: buf.address(),
            length: u32::try_from(buf.len()).unwrap_or(u32::MAX),
            lkey,
        };
        let mut state = self.0.state.borrow_mut();
        let slot = state.slots.insert(buf).map_err(ReceivePostError::Full)?;
        state.elements.push(element);
        state.chain.push(sys::ibv_recv_wr {
            wr_id: receive_id(slot),
            num_sge: 1,
            ..sys::ibv_recv_wr::default()
        });
        Ok(())
    }

    pub(crate) fn flush(&self) -> Result<(), Error> {
        let mut state = self.0.state.borrow_mut();
        if state.chain.is_empty() {
            return Ok(());
        }
        let posted = state.chain.len() as u64;
        let chain = state.link();
        let mut bad = ptr::null_mut();
        // SAFETY: the queue lives, the chain was just linked, and the slots own the memory that it names
        // until each receive completes.
        let result = unsafe { sys::ibv_post_srq_recv(self.0.raw.as_ptr(), chain, &raw mut bad) };
        state.chain.clear();
        state.elements.clear();
        let counters = &self.0.domain.device().0.counters;
        counters.count(|c| c.receives_posted += posted);
        check("ibv_post_srq_recv", result)
    }

    pub(crate) fn take(&self, completion: &WorkCompletion) -> Option<Received> {
        self.0.state.borrow_mut().slots.take(completion)
    }

    pub(crate) fn room(&self) -> usize {
        self.0.state.borrow().slots.room()
    }

    pub(crate) fn depth(&self) -> u32 {
        self.0.depth
    }
}

impl ReceiveState {
    /// Sets the pointers of the chain: each entry to its element and to the next entry.
    fn link(&mut self) -> *mut sys::ibv_recv_wr {
        let mut next = ptr::null_mut();
        for (entry, element) in self.chain.iter_mut().zip(&mut self.elements).rev() {
            entry.sg_list = element;
            entry.next = next;
            next = entry;
        }
        next
    }
}

impl Drop for ReceiveQueueInner {
    fn drop(&mut self) {
        let verbs = self.domain.device().0.context.verbs;
        // SAFETY: each queue pair that takes from here holds this object, so none is left.
        let result = unsafe { (verbs.ibv_destroy_srq)(self.raw.as_ptr()) };
        if result != 0 {
            self.state.get_mut().slots.leak();
        }
    }
}
