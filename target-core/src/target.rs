//! The front door: events go in by methods, the next thing to do comes out of [`Target::poll_next`].

use std::collections::VecDeque;
use std::sync::Arc;

use iobuf::{Buf, Pool};

use crate::backend::{BlockCompletion, BlockRequest, MediumId, TaskId};
use crate::command::{
    ChannelId, Command, ExchangeId, Outcome, TaskManagement, TaskManagementResponse,
};
use crate::counters::{Counters, LunCounters};
use crate::logical_unit::LogicalUnit;
pub use crate::nexus::{LuId, MapEntry, NexusId, TransportId};
use crate::slab::Slab;

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
    },
}

/// One worker's SCSI target.
#[derive(Debug)]
pub struct Target {
    out: VecDeque<Next>,
    data: Pool,
    units: Slab<Arc<LogicalUnit>>,
    nexuses: Slab<TransportId>,
}

impl Target {
    /// A target without logical units or nexuses, whose data buffers come from `data`.
    pub fn new(limits: TargetLimits, data: Pool) -> Self {
        Self {
            out: VecDeque::with_capacity(limits.tasks as usize),
            data,
            units: Slab::new(0),
            nexuses: Slab::new(0),
        }
    }

    /// Adds a logical unit whose blocks are on `medium`. No nexus sees it before it is mapped.
    pub fn lu_add(&mut self, lu: Arc<LogicalUnit>, _medium: MediumId) -> LuId {
        LuId(self.units.insert(lu))
    }

    /// Removes a logical unit. Commands that have not started end with LOGICAL UNIT NOT SUPPORTED, as do all
    /// later ones; running ones finish. Maps lose it, and the nexuses that had it are told.
    pub fn lu_remove(&mut self, _lu: LuId) {}

    /// True when no operation of the logical unit is in the back end any more, also after it was removed:
    /// then its medium may be closed.
    pub fn lu_is_idle(&self, _lu: LuId) -> bool {
        true
    }

    /// Directs operations that start from now on to another medium.
    pub fn lu_replace_medium(&mut self, _lu: LuId, _medium: MediumId) {}

    /// Establishes a unit attention on all nexuses that map the logical unit.
    pub fn lu_event(&mut self, _lu: LuId, _event: LuEvent) {}

    /// A nexus that sees nothing before [`Target::nexus_set_map`]. No two open nexuses have the same `id`.
    pub fn nexus_open(&mut self, id: TransportId) -> NexusId {
        NexusId(self.nexuses.insert(id))
    }

    /// I_T nexus loss: commands are abandoned without an outcome, reservations are released.
    pub fn nexus_close(&mut self, _nexus: NexusId) {}

    /// Sets what the nexus sees. What is new or changed for it establishes unit attentions.
    pub fn nexus_set_map(&mut self, _nexus: NexusId, _map: &[MapEntry]) {}

    /// Abandons the commands of one connection; the nexus lives on.
    pub fn channel_close(&mut self, _nexus: NexusId, _channel: ChannelId) {}

    /// A command came.
    pub fn submit(&mut self, _nexus: NexusId, _command: Command) {}

    /// The buffer of a [`Next::PullDataOut`] is filled.
    pub fn data_out_ready(&mut self, _task: TaskId, _buf: Buf) {}

    /// The operation of a [`Next::Execute`] has ended.
    pub fn complete(&mut self, _completion: BlockCompletion) {}

    /// A task management request came.
    pub fn task_management(&mut self, _nexus: NexusId, _request: TaskManagement) {}

    /// Data buffers came back to the pool: commands that wait for one may go on.
    pub fn handle_buffers_freed(&mut self) {}

    /// The next thing to do. The driver asks until `None` after each event.
    pub fn poll_next(&mut self) -> Option<Next> {
        self.out.pop_front()
    }

    /// What is going on, for leak checks and statistics.
    pub fn counters(&self) -> Counters {
        let _level = self.data.level();
        Counters::default()
    }

    /// What the nexus did with each of its logical units, by number.
    pub fn lun_counters(&self, _nexus: NexusId) -> impl Iterator<Item = (u8, LunCounters)> {
        std::iter::empty()
    }
}
