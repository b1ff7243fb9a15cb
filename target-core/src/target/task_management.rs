//! Task management (SAM-5 clause 7): tasks are told to stop, and the answer waits until they have.

use std::mem::discriminant;

use crate::backend::TaskId;
use crate::command::{
    ChannelId, ExchangeId, TaskManagement, TaskManagementFunction as Function,
    TaskManagementResponse as Response,
};
use crate::nexus::{LuId, Nexus, NexusId};
use crate::request::Addressed;
use crate::target::admission::Route;
use crate::target::{Next, Target};
use crate::task::{Audience, State, Task};
use crate::unit_attention::UnitAttention;

/// Which tasks a request is about.
#[derive(Debug)]
struct Scope {
    units: Vec<LuId>,
    /// Of one nexus, or of all.
    nexus: Option<NexusId>,
    /// With this tag, or all.
    tag: Option<u64>,
    /// The last command that came before the request.
    arrival: u64,
}

impl Scope {
    fn covers(&self, task: &Task) -> bool {
        task.arrival <= self.arrival
            && self.units.contains(&task.lu)
            && self.nexus.is_none_or(|nexus| nexus == task.origin.nexus)
            && self.tag.is_none_or(|tag| tag == task.tag)
    }
}

/// Who is told when a request has ended.
#[derive(Clone, Copy, Debug)]
struct Asker {
    nexus: NexusId,
    channel: ChannelId,
    exchange: ExchangeId,
    /// It asked for a TARGET COLD RESET.
    ends_sessions: bool,
}

/// A request that waits for tasks to stop. There are at most as many as channels have exchanges, so that none is ever refused:
/// who aborts one command after the other would be left with nothing but a new login.
#[derive(Debug)]
pub(super) struct Pending {
    asker: Asker,
    scope: Scope,
    /// How many have not stopped yet.
    tasks: usize,
}

impl Pending {
    pub(super) fn is_from(&self, nexus: NexusId, channel: Option<ChannelId>) -> bool {
        let asker = self.asker;
        asker.nexus == nexus && channel.is_none_or(|channel| channel == asker.channel)
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
        let asker = Asker {
            nexus,
            channel: request.channel,
            exchange: request.exchange,
            ends_sessions: request.function == Function::TargetColdReset,
        };
        let answer = match units_of(known, &request) {
            Ok(units) => self.manage(asker, units, request.function),
            Err(response) => Some(response),
        };
        if let Some(response) = answer {
            self.respond(asker, response);
        }
        self.settle();
    }

    /// `None` when tasks have to stop first.
    fn manage(&mut self, asker: Asker, units: Vec<LuId>, function: Function) -> Option<Response> {
        let (nexus, tag) = match function {
            Function::AbortTask { tag } => (Some(asker.nexus), Some(tag)),
            Function::AbortTaskSet => (Some(asker.nexus), None),
            Function::ClearTaskSet | Function::LogicalUnitReset | Function::TargetWarmReset => {
                (None, None)
            }
            Function::TargetColdReset if self.has_all_of_its_transport(asker.nexus) => (None, None),
            Function::TargetColdReset => return Some(Response::FunctionAuthorizationFailed),
            Function::ClearAca => return Some(Response::FunctionComplete),
            Function::Unknown(_) => return Some(Response::FunctionRejected),
        };
        let scope = Scope {
            units,
            nexus,
            tag,
            arrival: self.arrivals,
        };
        let covered = self.covered(&scope);
        for &lu in &scope.units {
            self.establish_attentions(asker.nexus, lu, function, &covered);
        }
        for &id in &covered {
            self.abort(id);
        }
        let still_there = |&&id: &&TaskId| self.tasks.get(id).is_some();
        let tasks = covered.iter().filter(still_there).count();
        if tasks == 0 {
            return Some(Response::FunctionComplete);
        }
        self.pending.push(Pending {
            asker,
            scope,
            tasks,
        });
        None
    }

    /// Whether the nexus has every logical unit that any nexus of its transport has: then it may end whatever there is on
    /// them one by one, and nobody loses by a TARGET COLD RESET what it could not take away anyhow.
    fn has_all_of_its_transport(&self, nexus: NexusId) -> bool {
        let Some(known) = self.nexuses.get(nexus.0) else {
            return false;
        };
        let transport = discriminant(&known.id);
        let others = self.nexuses.iter().map(|(_, other)| other);
        others
            .filter(|other| discriminant(&other.id) == transport)
            .all(|other| other.units().all(|lu| known.maps(lu)))
    }

    /// Orphans too: what a reset came after must not change the medium later.
    fn covered(&self, scope: &Scope) -> Vec<TaskId> {
        let units = scope.units.iter().filter_map(|lu| self.units.get(lu.0));
        let tasks = units.flat_map(|unit| {
            let tasks = self.tasks.in_unit.iter(&unit.task_set.tasks);
            tasks.chain(self.tasks.in_unit.iter(&unit.orphans))
        });
        tasks
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
            Function::LogicalUnitReset | Function::TargetWarmReset => {
                self.reset(lu, UnitAttention::BusDeviceReset);
            }
            Function::TargetColdReset => self.reset(lu, UnitAttention::PowerOnOrReset),
            _ => {}
        }
    }

    /// The logical unit reset condition (SAM-5 6.3.3), but for the tasks.
    fn reset(&mut self, lu: LuId, attention: UnitAttention) {
        for (_, nexus) in self.nexuses.iter_mut() {
            nexus.establish(lu, attention);
        }
        if let Some(unit) = self.units.get(lu.0) {
            unit.lu.reservation.clear();
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
            let asker = self.pending.remove(done).asker;
            self.respond(asker, Response::FunctionComplete);
        }
    }

    fn respond(&mut self, asker: Asker, response: Response) {
        self.push(
            asker.nexus,
            Next::TaskManagementDone {
                channel: asker.channel,
                exchange: asker.exchange,
                response,
                ends_sessions: asker.ends_sessions && response == Response::FunctionComplete,
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
            Function::TargetWarmReset | Function::TargetColdReset => &mut totals.target_reset,
            Function::ClearAca => &mut totals.clear_aca,
            Function::Unknown(_) => &mut totals.task_management_rejected,
        };
        *count += 1;
    }
}

/// The logical units that a request is about, or its answer when there are none.
fn units_of(nexus: &Nexus, request: &TaskManagement) -> Result<Vec<LuId>, Response> {
    if let Function::TargetWarmReset | Function::TargetColdReset = request.function {
        let mut units = Vec::new();
        for lu in nexus.units() {
            if !units.contains(&lu) {
                units.push(lu);
            }
        }
        return Ok(units);
    }
    match Route::find(nexus, request.lun) {
        Route::Unit { lu, .. } => Ok(vec![lu]),
        // It never has a task that waits.
        Route::Elsewhere(Addressed::ReportLunsWellKnown) => Err(Response::FunctionComplete),
        Route::Elsewhere(_) => Err(Response::IncorrectLogicalUnitNumber),
    }
}
