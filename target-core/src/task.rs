//! A task: a command in the table, and where it stands.

use iobuf::Buf;

use crate::backend::{MediumId, TaskId};
use crate::command::{CdbBytes, ChannelId, ExchangeId, TaskAttribute};
use crate::index_list::{Links, List};
use crate::nexus::{LuId, NexusId};
use crate::opcode::Row;
use crate::request::{Extent, Work};
use crate::slab::{Handle, Slab};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// On its way to the next state within the same call.
    Received,
    /// Waits for its turn in the task set.
    Dormant,
    /// Waits until an orphaned write to the same bytes has ended.
    WaitingForOrphan(Work),
    /// Waits for a data buffer.
    WaitingForBuffer(Work),
    /// The transport fills the buffer.
    Pulling { extent: Extent, durable: bool },
    /// The back end works.
    Executing { work: Work, medium: MediumId },
}

/// Who waits for the end of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The initiator, for the outcome.
    Initiator,
    /// Task management, for the task to have stopped.
    TaskManagement,
    /// Nobody; but its operation is still in the back end.
    Nobody,
}

/// Where a command came from and which buffers it has: all that is needed to answer it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) nexus: NexusId,
    pub(crate) channel: ChannelId,
    pub(crate) exchange: ExchangeId,
    /// The number of a mapped logical unit.
    pub(crate) number: Option<u8>,
    pub(crate) data_in_len: u32,
    pub(crate) data_out_len: u32,
}

/// A command in the table.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) origin: Origin,
    pub(crate) tag: u64,
    pub(crate) lu: LuId,
    pub(crate) row: &'static Row,
    pub(crate) attribute: TaskAttribute,
    pub(crate) cdb: CdbBytes,
    /// What is here of the Data-Out Buffer, from its first byte on, until it is used.
    pub(crate) data_out: Option<Buf>,
    /// Counts up from command to command; task management is for those before it.
    pub(crate) arrival: u64,
    pub(crate) state: State,
    pub(crate) audience: Audience,
}

impl Task {
    /// The write that is under way in the back end.
    pub(crate) fn write_extent(&self) -> Option<Extent> {
        match self.state {
            State::Executing {
                work: Work::Write { extent, .. },
                ..
            } => Some(extent),
            _ => None,
        }
    }

    pub(crate) fn is_in_backend_for(&self, medium: MediumId) -> bool {
        matches!(self.state, State::Executing { medium: m, .. } if m == medium)
    }
}

impl From<TaskId> for Handle {
    fn from(id: TaskId) -> Self {
        let TaskId { index, generation } = id;
        Handle { index, generation }
    }
}

impl From<Handle> for TaskId {
    fn from(handle: Handle) -> Self {
        let Handle { index, generation } = handle;
        TaskId { index, generation }
    }
}

/// All tasks of a worker. Allocates nothing after it was made.
#[derive(Debug)]
pub(crate) struct TaskTable {
    tasks: Slab<Task>,
    capacity: u32,
    /// For the lists of a [`crate::unit::Unit`].
    pub(crate) in_unit: Links,
    in_buffer_queue: Links,
    /// First come, first served, so that a large request is not overtaken for ever.
    buffer_queue: List,
}

impl TaskTable {
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            tasks: Slab::new(capacity),
            capacity,
            in_unit: Links::new(capacity),
            in_buffer_queue: Links::new(capacity),
            buffer_queue: List::default(),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.tasks.len() >= self.capacity
    }

    pub(crate) fn len(&self) -> u32 {
        self.tasks.len()
    }

    /// The caller has asked [`TaskTable::is_full`].
    #[inline]
    pub(crate) fn insert_with(&mut self, make: impl FnOnce() -> Task) -> TaskId {
        self.tasks.insert_with(make).into()
    }

    #[inline]
    pub(crate) fn get(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(id.into())
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(id.into())
    }

    pub(crate) fn set_state(&mut self, id: TaskId, state: State) {
        if let Some(task) = self.get_mut(id) {
            task.state = state;
        }
    }

    pub(crate) fn at(&self, index: u32) -> Option<(TaskId, &Task)> {
        let (handle, task) = self.tasks.at(index)?;
        Some((handle.into(), task))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        self.tasks
            .iter()
            .map(|(handle, task)| (handle.into(), task))
    }

    /// Takes a task out of the table, and of the buffer queue when it waits there.
    #[inline]
    pub(crate) fn remove(&mut self, id: TaskId) {
        self.leave_buffer_queue(id);
        self.tasks.discard(id.into());
    }

    /// The tasks that wait for a buffer and what they are to do, in order of arrival.
    pub(crate) fn waiting_for_buffer(&self) -> impl Iterator<Item = (TaskId, &Task, Work)> {
        let queue = self.in_buffer_queue.iter(&self.buffer_queue);
        queue.filter_map(|index| {
            let (id, task) = self.at(index)?;
            match task.state {
                State::WaitingForBuffer(work) => Some((id, task, work)),
                _ => None,
            }
        })
    }

    #[inline]
    pub(crate) fn is_buffer_queue_empty(&self) -> bool {
        self.buffer_queue.is_empty()
    }

    pub(crate) fn enter_buffer_queue(&mut self, id: TaskId, work: Work) {
        if let Some(task) = self.tasks.get_mut(id.into()) {
            task.state = State::WaitingForBuffer(work);
            self.in_buffer_queue
                .push_back(&mut self.buffer_queue, id.index);
        }
    }

    /// Does nothing for a task that is not in the queue.
    #[inline]
    pub(crate) fn leave_buffer_queue(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(id.into())
            && matches!(task.state, State::WaitingForBuffer(_))
        {
            task.state = State::Received;
            self.in_buffer_queue
                .remove(&mut self.buffer_queue, id.index);
        }
    }
}
