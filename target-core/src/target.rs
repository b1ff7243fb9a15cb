//! The front door: events go in by methods, the next thing to do comes out of [`Target::poll_next`].
//!
//! The machine behind it is in the modules below, in the order of a command's life: `admission` lets it in,
//! `progress` takes it from state to state, `completion` ends it; `task_management` and `teardown` end it early.

mod admission;
mod completion;
mod page;
mod progress;
mod task_management;
mod teardown;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use iobuf::{Buf, Pool};

use crate::backend::{BlockRequest, MediumId, TaskId};
use crate::command::{ChannelId, ExchangeId, Outcome, TaskManagementResponse};
use crate::counters::{Counters, LunCounters, Totals};
use crate::logical_unit::LogicalUnit;
use crate::nexus::Nexus;
pub use crate::nexus::{LuId, MapEntry, NexusId, TransportId};
use crate::slab::Slab;
use crate::target::page::Page;
use crate::target::task_management::Pending;
use crate::task::{Audience, State, TaskTable};
use crate::unit::Unit;
use crate::unit_attention::UnitAttention;

/// Sizes that never change.
#[derive(Clone, Copy, Debug)]
pub struct TargetLimits {
    /// Commands at a time; one more is answered with TASK SET FULL.
    pub tasks: u32,
}

/// A change of a logical unit that its initiators must hear about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LuEvent {
    /// CAPACITY DATA HAS CHANGED.
    CapacityChanged,
    /// MODE PARAMETERS CHANGED: write protection or write cache.
    ModeParametersChanged,
    /// INQUIRY DATA HAS CHANGED.
    InquiryChanged,
}

/// What the driver does next.
#[derive(Debug)]
pub enum Next {
    /// Hand the operation to the back end; its completion comes to [`Target::complete`].
    Execute(BlockRequest),
    /// Ask the back end to cancel the task's operation; its completion still comes.
    Cancel(TaskId),
    /// Fill `buf` from byte `offset` of the command's Data-Out Buffer; comes to [`Target::data_out_ready`].
    PullDataOut {
        /// The command's connection.
        channel: ChannelId,
        /// The connection's number for the command.
        exchange: ExchangeId,
        /// Goes back with the buffer.
        task: TaskId,
        /// First byte of the Data-Out Buffer.
        offset: u32,
        /// Where to, all of its window.
        buf: Buf,
    },
    /// The command of a [`Next::PullDataOut`] was aborted: nobody has to wait for its data any more.
    StopDataOut {
        /// The command's connection.
        channel: ChannelId,
        /// The connection's number for the command.
        exchange: ExchangeId,
    },
    /// The command has ended.
    Done {
        /// The command's connection.
        channel: ChannelId,
        /// The connection's number for the command.
        exchange: ExchangeId,
        /// The number of the mapped logical unit that it was for.
        lun: Option<u8>,
        /// What the initiator is told.
        outcome: Outcome,
    },
    /// The command was aborted; the initiator is told nothing.
    Aborted {
        /// The command's connection.
        channel: ChannelId,
        /// The connection's number for the command.
        exchange: ExchangeId,
    },
    /// The task management request has ended; every task that it stopped came out as [`Next::Aborted`] before.
    TaskManagementDone {
        /// The request's connection.
        channel: ChannelId,
        /// The connection's number for the request.
        exchange: ExchangeId,
        /// What the initiator is told.
        response: TaskManagementResponse,
        /// Once it is told, every session of its transport ends (TARGET COLD RESET).
        ends_sessions: bool,
    },
}

impl Next {
    /// The connection that this is for; `None` for what goes to the back end.
    fn channel(&self) -> Option<ChannelId> {
        match *self {
            Next::Execute(_) | Next::Cancel(_) => None,
            Next::PullDataOut { channel, .. }
            | Next::StopDataOut { channel, .. }
            | Next::Done { channel, .. }
            | Next::Aborted { channel, .. }
            | Next::TaskManagementDone { channel, .. } => Some(channel),
        }
    }
}

#[derive(Debug)]
struct Queued {
    nexus: NexusId,
    next: Next,
}

/// One worker's SCSI target.
#[derive(Debug)]
pub struct Target {
    tasks: TaskTable,
    units: Slab<Unit>,
    nexuses: Slab<Nexus>,
    /// Task management requests that wait for tasks to stop.
    pending: Vec<Pending>,
    /// Logical units whose waiting tasks have to be looked at.
    unsettled: Vec<LuId>,
    /// Commands that came so far.
    arrivals: u64,
    data: Pool,
    page: Page,
    out: VecDeque<Queued>,
    totals: Totals,
}

impl Target {
    /// A target without logical units or nexuses, whose data buffers come from `data`.
    pub fn new(limits: TargetLimits, data: Pool) -> Self {
        Self {
            tasks: TaskTable::new(limits.tasks),
            units: Slab::new(0),
            nexuses: Slab::new(0),
            pending: Vec::new(),
            unsettled: Vec::new(),
            arrivals: 0,
            data,
            page: Page::new(),
            out: VecDeque::with_capacity(limits.tasks as usize),
            totals: Totals::default(),
        }
    }

    /// Adds a logical unit whose blocks are on `medium`. No nexus sees it before it is mapped.
    pub fn lu_add(&mut self, lu: Arc<LogicalUnit>, medium: MediumId) -> LuId {
        LuId(
            self.units
                .insert(Unit::new(lu, medium, self.data.largest())),
        )
    }

    /// True when no operation of the logical unit is in the back end any more, also after it was removed:
    /// then its medium may be closed.
    pub fn lu_is_idle(&self, lu: LuId) -> bool {
        self.units.get(lu.0).is_none_or(|unit| unit.in_backend == 0)
    }

    /// True when no operation in the back end is for this medium: then it may be closed, if no logical unit
    /// has it any more.
    pub fn medium_is_idle(&self, medium: MediumId) -> bool {
        !self
            .tasks
            .iter()
            .any(|(_, task)| task.is_in_backend_for(medium))
    }

    /// Directs operations that start from now on to another medium. Those in the back end finish on the old one.
    pub fn lu_replace_medium(&mut self, lu: LuId, medium: MediumId) {
        if let Some(unit) = self.units.get_mut(lu.0) {
            unit.medium = medium;
        }
    }

    /// Establishes a unit attention on all nexuses that map the logical unit.
    pub fn lu_event(&mut self, lu: LuId, event: LuEvent) {
        let attention = match event {
            LuEvent::CapacityChanged => UnitAttention::CapacityChanged,
            LuEvent::ModeParametersChanged => UnitAttention::ModeParametersChanged,
            LuEvent::InquiryChanged => UnitAttention::InquiryChanged,
        };
        for nexus in self.nexuses.values_mut() {
            nexus.establish(lu, attention);
        }
    }

    /// A nexus that sees nothing before [`Target::nexus_set_map`]. No two open nexuses have the same `id`.
    pub fn nexus_open(&mut self, id: TransportId) -> NexusId {
        NexusId(self.nexuses.insert(Nexus::new(id, self.data.share())))
    }

    /// Data buffers came back to the pool: commands that wait for one may go on.
    pub fn handle_buffers_freed(&mut self) {
        self.settle();
    }

    /// The next thing to do. The driver asks until `None` after each event.
    #[inline]
    pub fn poll_next(&mut self) -> Option<Next> {
        self.out.pop_front().map(|queued| queued.next)
    }

    /// True when [`Target::poll_next`] has something: who is about to sleep asks.
    #[inline]
    pub fn has_next(&self) -> bool {
        !self.out.is_empty()
    }

    /// True while a command waits for a data buffer: tell [`Target::handle_buffers_freed`] when some come back.
    #[inline]
    pub fn waits_for_buffer(&self) -> bool {
        !self.tasks.is_buffer_queue_empty()
    }

    /// Bytes of the buffer that goes to a waiting command as soon as the pool has it. Commands of a nexus that holds its share
    /// of the memory wait on.
    pub fn next_buffer_len(&self) -> Option<usize> {
        self.next_for_buffer().map(|(.., len)| len)
    }

    /// True when no command is in the task table.
    pub fn is_idle(&self) -> bool {
        self.tasks.len() == 0
    }

    /// What is going on, for leak checks and statistics. Looks at every task.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters {
            tasks: self.tasks.len(),
            task_management_pending: u32::try_from(self.pending.len()).unwrap_or(u32::MAX),
            nexuses: self.nexuses.len(),
            logical_units: self.units.len(),
            totals: self.totals,
            ..Counters::default()
        };
        for (_, task) in self.tasks.iter() {
            match task.state {
                State::Received => {}
                State::Dormant => counters.dormant += 1,
                State::WaitingForOrphan(_) => counters.waiting_for_orphan += 1,
                State::WaitingForBuffer(_) => counters.waiting_for_buffer += 1,
                State::Pulling { .. } => counters.pulling += 1,
                State::Executing { .. } => counters.in_backend += 1,
            }
            if task.audience == Audience::Nobody {
                counters.orphaned += 1;
            }
        }
        counters
    }

    /// What the nexus did with each of its logical units, by number.
    pub fn lun_counters(&self, nexus: NexusId) -> impl Iterator<Item = (u8, LunCounters)> {
        let mappings = self.nexuses.get(nexus.0).map_or(&[][..], Nexus::mappings);
        mappings.iter().map(|m| (m.entry.number, m.counters))
    }

    #[inline]
    fn push(&mut self, nexus: NexusId, next: Next) {
        self.out.push_back(Queued { nexus, next });
    }
}
