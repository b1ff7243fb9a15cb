//! The SRP session as a [`Nexus`]: slots hold data buffers and the names of requests.

use std::time::{Duration, Instant};

use target_core::lun::Lun;
use transport_srp::wire::rsp::RspCode;

use super::{DataBuffer, Finished, Refused, Request, Session, Transfer};
use crate::answer::Answer;
use crate::data::Data;
use crate::error::{ExecuteError, SessionError};
use crate::nexus::{Ended, Nexus, ServiceResponse, SlotCommand, SlotData, TaskManagement};
use crate::srp::machine::{ChannelNumber, Outcome, RequestId, SubmitError, TaskFunction};

/// A place for one command.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Gone while a command transfers it, and for ever when its command was lost.
    buffer: Option<DataBuffer>,
    /// What is outstanding.
    request: Option<RequestId>,
}

impl Slot {
    fn idle_buffer(&mut self) -> Option<&mut DataBuffer> {
        self.buffer.as_mut().filter(|_| self.request.is_none())
    }

    fn load(&mut self, data: SlotData) -> Result<Transfer, SessionError> {
        let (len, transfer): (usize, fn(DataBuffer) -> Transfer) = match data {
            SlotData::None => return Ok(Transfer::None),
            SlotData::In(len) => (len, Transfer::In),
            SlotData::Out(len) => (len, Transfer::Out),
        };
        let fits = |buffer: &mut DataBuffer| buffer.set_len(len);
        match self.idle_buffer().is_some_and(fits) {
            true => self.buffer.take().map(transfer),
            false => None,
        }
        .ok_or(SessionError::NoBuffer(len))
    }

    fn unload(&mut self, transfer: Transfer) {
        if let Transfer::In(buffer) | Transfer::Out(buffer) = transfer {
            self.buffer = Some(buffer);
        }
    }
}

impl Session {
    fn slot(&mut self, slot: usize) -> Option<&mut Slot> {
        self.slots.get_mut(slot)
    }

    /// The slot of a request that has ended, and how it did.
    fn end_slot(&mut self, finished: Finished) -> Option<(usize, Ended)> {
        let is_it = |slot: &Slot| slot.request == Some(finished.request);
        let number = self.slots.iter().position(is_it)?;
        let slot = self.slots.get_mut(number)?;
        let ended = match finished.outcome {
            None => return Some((number, Ended::Overdue)),
            Some(Outcome::Answered(answer)) => Ended::Answered(answer),
            Some(Outcome::Aborted | Outcome::TaskManagement(_)) => Ended::Aborted,
            Some(Outcome::ChannelLost) => Ended::Lost,
        };
        slot.request = None;
        slot.unload(finished.transfer);
        Some((number, ended))
    }

    fn function(&self, function: TaskManagement) -> Option<TaskFunction> {
        Some(match function {
            TaskManagement::AbortTask(slot) => {
                TaskFunction::AbortTask(self.slots.get(slot)?.request?)
            }
            TaskManagement::AbortTaskSet(lun) => TaskFunction::AbortTaskSet(lun),
            TaskManagement::LogicalUnitReset(lun) => TaskFunction::LogicalUnitReset(lun),
        })
    }
}

impl Nexus for Session {
    fn set_slots(&mut self, count: usize, len: usize) -> Result<(), ExecuteError> {
        // The memory of the old ones may be what the new ones need.
        self.slots.clear();
        self.spare.clear();
        for _ in 0..count {
            let buffer = Some(self.buffer(len)?);
            self.slots.push(Slot {
                buffer,
                request: None,
            });
        }
        Ok(())
    }

    fn write_slot(&mut self, slot: usize, from: &[u8]) -> bool {
        let buffer = self.slot(slot).and_then(Slot::idle_buffer);
        buffer.is_some_and(|buffer| buffer.write(0, from))
    }

    fn read_slot(&mut self, slot: usize, into: &mut [u8]) -> bool {
        let buffer = self.slot(slot).and_then(Slot::idle_buffer);
        buffer.is_some_and(|buffer| buffer.read(0, into))
    }

    fn has_room(&self) -> bool {
        let mut channels = (0..self.options.channels.max(1)).map(ChannelNumber);
        channels.any(|channel| self.machine.has_room(channel))
    }

    fn most_outstanding(&self) -> usize {
        let channels = (0..self.options.channels.max(1)).map(ChannelNumber);
        let granted = channels.filter_map(|channel| self.machine.granted(channel));
        // One is kept for task management.
        let usable = granted.map(|granted| granted.request_limit.saturating_sub(1).max(1));
        usable
            .map(|limit| limit.min(self.options.outstanding) as usize)
            .sum()
    }

    fn send(&mut self, slot: usize, command: &SlotCommand<'_>) -> Result<(), ExecuteError> {
        let place = self.slot(slot).filter(|slot| slot.request.is_none());
        let transfer = place.ok_or(SessionError::Full)?.load(command.data)?;
        let request = Request {
            lun: command.lun,
            cdb: command.cdb,
            transfer,
        };
        let submitted = self.submit(request);
        let Some(slot) = self.slot(slot) else {
            return Err(SessionError::Full.into());
        };
        match submitted {
            Ok(request) => {
                slot.request = Some(request);
                Ok(())
            }
            Err(Refused { error, transfer }) => {
                slot.unload(transfer);
                Err(error.into())
            }
        }
    }

    fn next_ended(&mut self, timeout: Duration) -> Result<Option<(usize, Ended)>, ExecuteError> {
        let limit = Instant::now() + timeout;
        loop {
            let left = limit.saturating_duration_since(Instant::now());
            let Some(finished) = self.wait(left)? else {
                return Ok(None);
            };
            if let Some(ended) = self.end_slot(finished) {
                return Ok(Some(ended));
            }
        }
    }

    fn manage(&mut self, function: TaskManagement) -> Result<ServiceResponse, ExecuteError> {
        let Some(function) = self.function(function) else {
            return Ok(ServiceResponse::AlreadyEnded);
        };
        match self.task_management(function) {
            Ok(RspCode::TASK_MANAGEMENT_FUNCTION_COMPLETE) => Ok(ServiceResponse::FunctionComplete),
            Ok(code) => Ok(ServiceResponse::Other(format!("{code:?}"))),
            Err(ExecuteError::Session(SessionError::Submit(SubmitError::NothingToAbort))) => {
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
