//! A logical unit as one worker knows it: the shared part, the medium, and this worker's part of the task set.

use std::sync::Arc;

use crate::backend::MediumId;
use crate::index_list::List;
use crate::logical_unit::LogicalUnit;
use crate::sbc::block_size::Bytes;
use crate::task::State;
use crate::task_set::TaskSet;

#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) lu: Arc<LogicalUnit>,
    /// For operations that start from now on.
    pub(crate) medium: MediumId,
    pub(crate) max_transfer: Bytes,
    pub(crate) task_set: TaskSet,
    /// Operations in the back end that nobody waits for any more.
    pub(crate) orphans: List,
    /// Operations in the back end, orphans included.
    pub(crate) in_backend: u32,
    /// Commands that wait for an orphan.
    pub(crate) waiting_for_orphan: u32,
    /// In the list of units whose waiting commands have to be looked at.
    pub(crate) is_unsettled: bool,
    /// No map has it any more; it goes when its last task has ended.
    pub(crate) is_removed: bool,
}

impl Unit {
    pub(crate) fn new(lu: Arc<LogicalUnit>, medium: MediumId, largest_buffer: usize) -> Self {
        let max_transfer = u64::from(lu.geometry.max_transfer_bytes).min(largest_buffer as u64);
        Self {
            lu,
            medium,
            max_transfer: Bytes(max_transfer),
            task_set: TaskSet::default(),
            orphans: List::default(),
            in_backend: 0,
            waiting_for_orphan: 0,
            is_unsettled: false,
            is_removed: false,
        }
    }

    /// A task has left the task set. True when those that wait have to be looked at, and were not to be before.
    #[inline]
    pub(crate) fn becomes_unsettled(&mut self) -> bool {
        let has_waiting = self.task_set.dormant != 0 || self.waiting_for_orphan != 0;
        has_waiting && !std::mem::replace(&mut self.is_unsettled, true)
    }

    /// A task is no longer in this state.
    #[inline]
    pub(crate) fn leave_state(&mut self, state: State) {
        match state {
            State::Dormant => self.task_set.dormant -= 1,
            State::WaitingForOrphan(_) => self.waiting_for_orphan -= 1,
            State::Executing { .. } => self.in_backend -= 1,
            State::Received | State::WaitingForBuffer(_) | State::Pulling { .. } => {}
        }
    }

    /// Nothing refers to the unit any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_removed && self.task_set.tasks.is_empty() && self.orphans.is_empty()
    }
}
