//! Who owns the buffers of a receive queue: each posted receive has a slot, and its completion gives the
//! buffer back.
//!
//! Safe code without a library call, so that every provider shares it.

use iobuf::Buf;

use crate::completion::WorkCompletion;
use crate::work::Received;

/// The posted receives of one queue. All memory is taken when it is made.
#[derive(Debug)]
pub(crate) struct ReceiveSlots {
    slots: Vec<Option<Buf>>,
    free: Vec<u32>,
}

impl ReceiveSlots {
    pub(crate) fn new(depth: u32) -> Self {
        Self {
            slots: (0..depth).map(|_| None).collect(),
            free: (0..depth).rev().collect(),
        }
    }

    /// Keeps `buf` until its completion. Returns its slot, or the buffer when all slots are in use.
    pub(crate) fn insert(&mut self, buf: Buf) -> Result<u32, Buf> {
        let Some(slot) = self.free.pop() else {
            return Err(buf);
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(buf);
        }
        Ok(slot)
    }

    /// The buffer of a completed receive, cut to what came. `None` for a completion that is not of a posted
    /// receive.
    pub(crate) fn take(&mut self, completion: &WorkCompletion) -> Option<Received> {
        let slot = completion.index();
        let mut buf = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        if completion.status.is_success() {
            buf.truncate(completion.byte_len as usize);
        }
        Some(Received {
            buf,
            queue_pair: completion.queue_pair,
            status: completion.status,
        })
    }

    /// Receives that can be posted now.
    pub(crate) fn room(&self) -> usize {
        self.free.len()
    }

    /// Never gives the buffers back: for a queue that could not be destroyed.
    pub(crate) fn leak(&mut self) {
        self.slots.drain(..).for_each(std::mem::forget);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion::{WorkStatus, receive_id};
    use iobuf::{Arena, Pool};

    fn completion(slot: u32, status: WorkStatus, byte_len: u32) -> WorkCompletion {
        WorkCompletion {
            status,
            byte_len,
            work_id: receive_id(slot),
            ..WorkCompletion::default()
        }
    }

    #[test]
    fn a_receive_is_cut_to_what_came_and_taken_once() {
        let pool = Pool::slots(&Arena::new(1).expect("map"), 0..8192, 4096);
        let mut slots = ReceiveSlots::new(2);
        let slot = slots.insert(pool.take(4096).expect("room")).expect("slot");
        let received = slots
            .take(&completion(slot, WorkStatus::Success, 16))
            .expect("posted");
        assert_eq!(received.buf.len(), 16);
        assert!(
            slots
                .take(&completion(slot, WorkStatus::Success, 16))
                .is_none()
        );
        assert!(
            slots
                .take(&completion(99, WorkStatus::Success, 16))
                .is_none()
        );
        assert_eq!(slots.room(), 2);
    }

    #[test]
    fn a_failed_receive_comes_back_whole() {
        let pool = Pool::slots(&Arena::new(1).expect("map"), 0..4096, 4096);
        let mut slots = ReceiveSlots::new(1);
        let slot = slots.insert(pool.take(4096).expect("room")).expect("slot");
        let received = slots
            .take(&completion(slot, WorkStatus::Flushed, 0))
            .expect("posted");
        assert_eq!(received.buf.len(), 4096);
        assert_eq!(received.status, WorkStatus::Flushed);
    }

    #[test]
    fn a_full_queue_gives_the_buffer_back() {
        let pool = Pool::slots(&Arena::new(1).expect("map"), 0..8192, 4096);
        let mut slots = ReceiveSlots::new(1);
        slots.insert(pool.take(1).expect("room")).expect("slot");
        let buf = slots.insert(pool.take(7).expect("room")).expect_err("full");
        assert_eq!(buf.len(), 7);
    }
}
