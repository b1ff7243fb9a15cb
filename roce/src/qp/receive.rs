//! Queues of receive buffers: a queue pair's own, or one shared by many (IBTA 10.2.9).

use std::collections::VecDeque;

use crate::memory::{Access, Keys, Pd};
use crate::work::{PostError, RecvRequest, Segments, checked_length};

/// A receive buffer that is waiting for a message, or being filled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecvWqe {
    pub(crate) wr_id: u64,
    pub(crate) segments: Segments,
    pub(crate) length: u32,
}

/// Receive buffers in the order in which they were posted.
#[derive(Debug)]
pub(crate) struct ReceiveQueue {
    pd: Pd,
    capacity: usize,
    waiting: VecDeque<RecvWqe>,
}

impl ReceiveQueue {
    pub(crate) fn new(pd: Pd, capacity: usize) -> Self {
        Self {
            pd,
            capacity,
            waiting: VecDeque::new(),
        }
    }

    pub(crate) fn post(&mut self, request: &RecvRequest<'_>, keys: &Keys) -> Result<(), PostError> {
        if self.waiting.len() >= self.capacity {
            return Err(PostError::Full(self.capacity));
        }
        let length = checked_length(request.sges)?;
        let segments = keys.resolve_list(self.pd, request.sges, Access::LOCAL_WRITE)?;
        self.waiting.push_back(RecvWqe {
            wr_id: request.wr_id,
            segments,
            length,
        });
        Ok(())
    }

    pub(crate) fn take(&mut self) -> Option<RecvWqe> {
        self.waiting.pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
