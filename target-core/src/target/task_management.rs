//! Task management (SAM-5 clause 7): tasks are told to stop, and the answer waits until they have.

use crate::backend::TaskId;
use crate::command::{
    ChannelId, ExchangeId, TaskManagement, TaskManagementFunction as Function,
    TaskManagementResponse as Response,
};
use crate::nexus::{LuId, NexusId};
use crate::request::Addressed;
use crate::target::admission::Route;
use crate::target::{Next, Target};
use crate::task::{Audience, State, Task};
use crate::unit_attention::UnitAttention;

/// Which tasks a request is about.
#[derive(Clone, Copy, Debug)]
struct Scope {
    lu: LuId,
    /// Of one nexus, or of all.
    nexus: Option<NexusId>,
    /// With this tag, or all.
    tag: Option<u64>,
    /// The last command that came before the request.
    arrival: u64,
}

impl Scope {
    fn covers(&self, task: &Task) -> bool {
        task.lu == self.lu
            && task.arrival <= self.arrival
            && self.nexus.is_none_or(|nexus| nexus == task.origin.nexus)
            && self.tag.is_none_or(|tag| tag == task.tag)
    }
}

/// A request that waits for tasks to stop.
#[derive(Debug)]
pub(super) struct Pending {
    nexus: NexusId,
    channel: ChannelId,
    exchange: ExchangeId,
    scope: Scope,
    /// How many have not stopped yet.
    tasks: usize,
}

impl Pending {
    pub(super) fn is_from(&self, nexus: NexusId, channel: Option<ChannelId>) -> bool {
        self.nexus == nexus && channel.is_none_or(|channel| channel == self.channel)
    }
}

impl Target {
    /// A task management request came. It ends once, as [`Next::TaskManagementDone`], after every task that
    /// it is about has stopped, unless its connection goes first.
    pub fn task_management(&mut self, nexus: NexusId, request: TaskManagement) {
        self.count_request(request.function);
        let Some(known) = self.nexuses.get(nexus.0) else {
            return;
        };
        let answer = match Route::find(known, request.lun) {
            Route::Unit { lu, .. } => self.manage(nexus, lu, &request),
            // It never has a task that waits.
            Route::Elsewhere(Addressed::ReportLunsWellKnown) => Some(Response::FunctionComplete),
            Route::Elsewhere(_) => Some(Response::IncorrectLogicalUnitNumber),
        };
        if let Some(response) = answer {
            self.respond(nexus, request.channel, request.exchange, response);
        }
        self.settle();
    }

    /// `None` when tasks have to stop first.
    fn manage(&mut self, nexus: NexusId, lu: LuId, request: &TaskManagement) -> Option<Response> {
        let (nexus_only, tag) = match request.function {
            Function::AbortTask { tag } => (Some(nexus), Some(tag)),
            Function::AbortTaskSet => (Some(nexus), None),
            Function::ClearTaskSet | Function::LogicalUnitReset => (None, None),
            Function::ClearAca => return Some(Response::FunctionComplete),
            Function::Unknown(_) => return Some(Response::FunctionRejected),
        };
        if self.pending.len() >= self.limits.tasks as usize {
            return Some(Response::FunctionRejected);
        }
        let scope = Scope {
            lu,
            nexus: nexus_only,
            tag,
            arrival: self.arrivals,
        };
        let covered = self.covered(&scope);
        self.establish_attentions(nexus, lu, request.function, &covered);
        for &id in &covered {
            self.abort(id);
        }
        let still_there = |&&id: &&TaskId| self.tasks.get(id).is_some();
        let tasks = covered.iter().filter(still_there).count();
        if tasks == 0 {
            return Some(Response::FunctionComplete);
        }
        self.pending.push(Pending {
            nexus,
            channel: request.channel,
            exchange: request.exchange,
            scope,
            tasks,
        });
        None
    }

    /// Orphans too: what a reset came after must not change the medium later.
    fn covered(&self, scope: &Scope) -> Vec<TaskId> {
        let Some(unit) = self.units.get(scope.lu.0) else {
            return Vec::new();
        };
        let tasks = self.tasks.in_unit.iter(&unit.task_set.tasks);
        tasks
            .chain(self.tasks.in_unit.iter(&unit.orphans))
            .filter_map(|index| self.tasks.at(index))
            .filter(|(_, task)| scope.covers(task))
            .map(|(id, _)| id)
            .collect()
    }

    /// What initiators are told (SAM-5 6.2): of cleared commands those whose commands they were, of a reset everybody, also
    /// whoever asked for it.
    fn establish_attentions(
        &mut self,
        nexus: NexusId,
        lu: LuId,
        function: Function,
        covered: &[TaskId],
    ) {
        match function {
            Function::ClearTaskSet => {
                for task in covered.iter().filter_map(|&id| self.tasks.get(id)) {
                    let other = task.origin.nexus;
                    if let Some(other) = self.nexuses.get_mut(other.0).filter(|_| other != nexus) {
                        other.establish(lu, UnitAttention::CommandsCleared);
                    }
                }
            }
            Function::LogicalUnitReset => {
                for (_, nexus) in self.nexuses.iter_mut() {
                    nexus.establish(lu, UnitAttention::BusDeviceReset);
                }
                if let Some(unit) = self.units.get(lu.0) {
                    unit.lu.reservation.clear();
                }
            }
            _ => {}
        }
    }

    /// Tells a task to stop. One that only waits has stopped.
    fn abort(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        if task.audience != Audience::Initiator {
            return;
        }
        match task.state {
            State::Pulling { .. } => {
                task.audience = Audience::TaskManagement;
                let origin = task.origin;
                let (channel, exchange) = (origin.channel, origin.exchange);
                self.push(origin.nexus, Next::StopDataOut { channel, exchange });
            }
            State::Executing { .. } => {
                task.audience = Audience::TaskManagement;
                let nexus = task.origin.nexus;
                self.push(nexus, Next::Cancel(id));
            }
            State::Received
            | State::Dormant
            | State::WaitingForOrphan(_)
            | State::WaitingForBuffer(_) => self.finish_aborted(id),
        }
    }

    /// A task that requests may wait for has stopped; they are answered once everybody else knows.
    pub(super) fn count_stopped(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get(id) {
            for pending in self.pending.iter_mut().filter(|p| p.scope.covers(task)) {
                pending.tasks -= 1;
            }
        }
    }

    /// Answers the requests that have nothing to wait for any more.
    pub(super) fn answer_requests(&mut self) {
        while let Some(done) = self.pending.iter().position(|pending| pending.tasks == 0) {
            let Pending {
                nexus,
                channel,
                exchange,
                ..
            } = self.pending.remove(done);
            self.respond(nexus, channel, exchange, Response::FunctionComplete);
        }
    }

    fn respond(
        &mut self,
        nexus: NexusId,
        channel: ChannelId,
        exchange: ExchangeId,
        response: Response,
    ) {
        self.push(
            nexus,
            Next::TaskManagementDone {
                channel,
                exchange,
                response,
            },
        );
    }

    fn count_request(&mut self, function: Function) {
        let totals = &mut self.totals;
        let count = match function {
            Function::AbortTask { .. } => &mut totals.abort_task,
            Function::AbortTaskSet => &mut totals.abort_task_set,
            Function::ClearTaskSet => &mut totals.clear_task_set,
            Function::LogicalUnitReset => &mut totals.logical_unit_reset,
            Function::ClearAca => &mut totals.clear_aca,
            Function::Unknown(_) => &mut totals.task_management_rejected,
        };
        *count += 1;
    }
}
