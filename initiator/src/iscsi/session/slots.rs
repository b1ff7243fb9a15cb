//! The iSCSI session as a [`Nexus`]: slots hold memory and the names of requests.

use std::time::{Duration, Instant};

use target_core::lun::Lun;
use transport_iser::pdu::{TaskManagementCode, TaskManagementResult};

use super::Session;
use super::execute::len32;
use crate::answer::Answer;
use crate::data::Data;
use crate::error::{ExecuteError, SessionError};
use crate::iscsi::machine::{Command, Outcome, RequestId, SubmitError, TaskFunction};
use crate::iscsi::memory::{Owner, Slot};
use crate::nexus::{Ended, Nexus, ServiceResponse, SlotCommand, SlotData, TaskManagement};

impl Session {
    /// The slot of a request that has ended, and how it did.
    fn end_slot(&mut self, request: RequestId, outcome: Option<Outcome>) -> Option<(usize, Ended)> {
        let is_it = |slot: &Slot| slot.request == Some(request);
        let number = self.memories.slots.iter().position(is_it)?;
        let ended = match outcome {
            None => return Some((number, Ended::Overdue)),
            Some(Outcome::Answered(answer)) => Ended::Answered(answer),
            Some(Outcome::ConnectionLost) => Ended::Lost,
            Some(_) => Ended::Aborted,
        };
        self.memories.slots.get_mut(number)?.request = None;
        Some((number, ended))
    }

    fn function(&self, function: TaskManagement) -> Option<TaskFunction> {
        Some(match function {
            TaskManagement::AbortTask(slot) => {
                TaskFunction::AbortTask(self.memories.slots.get(slot)?.request?)
            }
            TaskManagement::AbortTaskSet(lun) => {
                TaskFunction::Of(TaskManagementCode::ABORT_TASK_SET, lun)
            }
            TaskManagement::LogicalUnitReset(lun) => {
                TaskFunction::Of(TaskManagementCode::LOGICAL_UNIT_RESET, lun)
            }
        })
    }

    fn idle_slot(&mut self, slot: usize) -> Option<&mut Slot> {
        let slot = self.memories.slots.get_mut(slot);
        slot.filter(|slot| slot.request.is_none())
    }
}

impl Nexus for Session {
    fn set_slots(&mut self, count: usize, len: usize) -> Result<(), ExecuteError> {
        // The memory of the old ones may be what the new ones need.
        self.memories.slots.clear();
        for _ in 0..count {
            let memory = self.memory(len)?;
            self.memories.slots.push(Slot {
                memory,
                request: None,
            });
        }
        Ok(())
    }

    fn write_slot(&mut self, slot: usize, from: &[u8]) -> bool {
        let slot = self.idle_slot(slot);
        slot.is_some_and(|slot| slot.memory.write(0, from))
    }

    fn read_slot(&mut self, slot: usize, into: &mut [u8]) -> bool {
        let slot = self.idle_slot(slot);
        slot.is_some_and(|slot| slot.memory.read(0, into))
    }

    fn has_room(&self) -> bool {
        self.machine.has_room()
    }

    fn most_outstanding(&self) -> usize {
        let outstanding = u32::try_from(self.machine.outstanding()).unwrap_or(u32::MAX);
        let granted = self.machine.window().saturating_add(outstanding);
        granted.min(self.most_outstanding) as usize
    }

    fn send(&mut self, slot: usize, command: &SlotCommand<'_>) -> Result<(), ExecuteError> {
        let capacity = self.idle_slot(slot).map(|slot| slot.memory.capacity());
        let capacity = capacity.ok_or(SessionError::Full)?;
        let (data_in, data_out) = match command.data {
            SlotData::None => (0, 0),
            SlotData::In(len) => (len, 0),
            SlotData::Out(len) => (0, len),
        };
        if data_in.max(data_out) > capacity {
            return Err(SessionError::NoBuffer(data_in.max(data_out)).into());
        }
        let command = Command {
            lun: command.lun,
            cdb: command.cdb,
            data_in_len: len32(data_in)?,
            data_out_len: len32(data_out)?,
        };
        let submitted = self.machine.submit(&command, self.deadline_ms());
        let request = submitted.map_err(|error| self.submit_error(error))?;
        self.memories.hold(request, Owner::Slot(slot));
        if let Some(slot) = self.memories.slots.get_mut(slot) {
            slot.request = Some(request);
        }
        Ok(())
    }

    fn next_ended(&mut self, timeout: Duration) -> Result<Option<(usize, Ended)>, ExecuteError> {
        let limit = Instant::now() + timeout;
        loop {
            if self.finished.is_empty() {
                self.turn()?;
            }
            if let Some((request, outcome)) = self.finished.pop_front() {
                if let Some(ended) = self.end_slot(request, outcome) {
                    return Ok(Some(ended));
                }
                continue;
            }
            if self.closed.is_some() {
                return Err(self.over().into());
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.sleep(left);
        }
    }

    fn manage(&mut self, function: TaskManagement) -> Result<ServiceResponse, ExecuteError> {
        let Some(function) = self.function(function) else {
            return Ok(ServiceResponse::AlreadyEnded);
        };
        match self.task_management(function) {
            Ok(TaskManagementResult::FUNCTION_COMPLETE) => Ok(ServiceResponse::FunctionComplete),
            Ok(TaskManagementResult::TASK_DOES_NOT_EXIST) => Ok(ServiceResponse::AlreadyEnded),
            Ok(result) => Ok(ServiceResponse::Other(format!("{result:?}"))),
            Err(ExecuteError::Session(SessionError::Iscsi(SubmitError::NothingToAbort))) => {
                Ok(ServiceResponse::AlreadyEnded)
            }
            Err(error) => Err(error),
        }
    }

    fn execute(&mut self, lun: Lun, cdb: &[u8], data: Data<'_>) -> Result<Answer, ExecuteError> {
        Session::execute(self, lun, cdb, data)
    }

    fn log_out(self: Box<Self>) {
        self.logout();
    }
}
